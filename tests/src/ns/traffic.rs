//! What the core lets through: it can be told to drop what goes between two machines or to and from one, and packets
//! with a small TTL expire in it, as if it were many routers.

use std::net::IpAddr;

use anyhow::{Context, Result};

use super::command::DEFAULT_LIMIT;
use super::topology::{Home, Lab, OUTSIDE};

/// A UDP packet that has fewer hops left when it reaches the core expires there; one that was sent with five still
/// passes a home's router and a carrier's behind it.
pub const LEAST_TTL: u8 = 6;

/// The core's rules. An expired packet is one whose TTL the core sets to 1, so that its kernel reports "time exceeded" to
/// the sender as a router does.
pub(super) const RULES: &str = "table inet middle {
    set blocked4 { type ipv4_addr . ipv4_addr; }
    set blocked6 { type ipv6_addr . ipv6_addr; }
    set cut4 { type ipv4_addr; }
    set cut6 { type ipv6_addr; }
    counter expired { }
    counter dropped { }
    chain age {
        type filter hook prerouting priority mangle;
        meta l4proto udp ip ttl lt 6 counter name expired ip ttl set 1
        meta l4proto udp ip6 hoplimit lt 6 counter name expired ip6 hoplimit set 1
    }
    chain forward {
        type filter hook forward priority 0;
        ip saddr . ip daddr @blocked4 counter name dropped drop
        ip6 saddr . ip6 daddr @blocked6 counter name dropped drop
        ip saddr @cut4 counter name dropped drop
        ip daddr @cut4 counter name dropped drop
        ip6 saddr @cut6 counter name dropped drop
        ip6 daddr @cut6 counter name dropped drop
    }
}";

/// The rules of a router that tells nobody when a packet is too large.
const SILENCE: &str = "table ip silent {
    chain silent {
        type filter hook output priority 0;
        icmp type destination-unreachable drop
    }
}";

/// A count the core keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// UDP packets that arrived with a TTL below [`LEAST_TTL`].
    Expired,
    /// Packets dropped by [`Lab::block`] and [`Lab::cut`].
    Dropped,
}

/// Packets that are counted both ways.
#[derive(Clone, Debug)]
pub struct Watched {
    counters: [String; 2],
}

impl Lab {
    /// Counts, from now on, the packets that two homes send each other over IPv4, by their present addresses.
    ///
    /// # Errors
    /// `nft` refuses.
    pub fn watch(&self, one: &Home, other: &Home) -> Result<Watched> {
        let (one, other) = (one.outside, other.outside);
        let watched = Watched {
            counters: [(one, other), (other, one)]
                .map(|(from, to)| format!("from{}to{}", u32::from(from), u32::from(to))),
        };
        let [there, back] = &watched.counters;
        self.core().nft(&format!(
            "add counter inet middle {there}
            add counter inet middle {back}
            add rule inet middle forward ip saddr {one} ip daddr {other} counter name {there}
            add rule inet middle forward ip saddr {other} ip daddr {one} counter name {back}"
        ))?;
        Ok(watched)
    }

    /// Counts, from now on, the UDP packets that a home sends and gets over IPv4, by its present address.
    ///
    /// # Errors
    /// `nft` refuses.
    pub fn watch_udp(&self, home: &Home) -> Result<Watched> {
        let address = home.outside;
        let watched = Watched {
            counters: ["from", "to"].map(|way| format!("udp{way}{}", u32::from(address))),
        };
        let [from, to] = &watched.counters;
        self.core().nft(&format!(
            "add counter inet middle {from}
            add counter inet middle {to}
            add rule inet middle forward ip saddr {address} meta l4proto udp counter name {from}
            add rule inet middle forward ip daddr {address} meta l4proto udp counter name {to}"
        ))?;
        Ok(watched)
    }

    /// How many packets of the watched have passed so far: from the (first) home, and to it.
    ///
    /// # Errors
    /// `nft` fails.
    pub fn passed(&self, watched: &Watched) -> Result<[u64; 2]> {
        let [there, back] = &watched.counters;
        Ok([self.count_of(there)?, self.count_of(back)?])
    }

    /// Drops, from now on, whatever two homes send each other, by any of their addresses.
    ///
    /// # Errors
    /// `nft` refuses.
    pub fn block(&self, one: &Home, other: &Home) -> Result<()> {
        self.core().nft(&pairs("add", one, other))
    }

    /// Ends [`block`](Self::block).
    ///
    /// # Errors
    /// `nft` refuses, for instance because nothing was blocked.
    pub fn unblock(&self, one: &Home, other: &Home) -> Result<()> {
        self.core().nft(&pairs("delete", one, other))
    }

    /// Cuts a machine off: drops whatever comes from its addresses or goes to them. Nobody is told.
    ///
    /// # Errors
    /// `nft` refuses.
    pub fn cut(&self, addresses: &[IpAddr]) -> Result<()> {
        self.core().nft(&singles("add", addresses))
    }

    /// Ends [`cut`](Self::cut).
    ///
    /// # Errors
    /// `nft` refuses, for instance because nothing was cut.
    pub fn heal(&self, addresses: &[IpAddr]) -> Result<()> {
        self.core().nft(&singles("delete", addresses))
    }

    /// Limits the size of packets between a home's router and the core. What is larger and must not be cut into fragments
    /// is dropped; the sender is told, or not if `tells` is false.
    ///
    /// # Errors
    /// `ip` or `nft` refuses.
    pub fn limit_packets(&self, home: &Home, bytes: u16, tells: bool) -> Result<()> {
        let edge = home.edge();
        edge.ip(&format!("link set {OUTSIDE} mtu {bytes}"))?;
        self.core()
            .ip(&format!("link set {} mtu {bytes}", home.core_interface))?;
        if tells {
            return Ok(());
        }
        for namespace in [edge, self.core()] {
            namespace.nft(SILENCE)?;
        }
        Ok(())
    }

    /// How many packets the core has counted so far.
    ///
    /// # Errors
    /// `nft` fails.
    pub fn counted(&self, count: Count) -> Result<u64> {
        let name = match count {
            Count::Expired => "expired",
            Count::Dropped => "dropped",
        };
        self.count_of(name)
    }

    fn count_of(&self, name: &str) -> Result<u64> {
        let words = ["nft", "list", "counter", "inet", "middle", name];
        let listing = self.core().exec(&words, DEFAULT_LIMIT)?.success()?.stdout;
        let mut words = listing.split_whitespace().skip_while(|word| *word != "packets");
        let number = words.nth(1).with_context(|| format!("no count in {listing}"))?;
        Ok(number.parse()?)
    }
}

/// Commands that add or delete every ordered pair of addresses of one family.
fn pairs(verb: &str, one: &Home, other: &Home) -> String {
    let mut commands = String::new();
    for left in one.outsides() {
        for right in other.outsides() {
            if left.is_ipv4() == right.is_ipv4() {
                let set = if left.is_ipv4() { "blocked4" } else { "blocked6" };
                let elements = format!("{left} . {right}, {right} . {left}");
                commands.push_str(&format!("{verb} element inet middle {set} {{ {elements} }}\n"));
            }
        }
    }
    commands
}

fn singles(verb: &str, addresses: &[IpAddr]) -> String {
    let command = |address: &IpAddr| {
        let set = if address.is_ipv4() { "cut4" } else { "cut6" };
        format!("{verb} element inet middle {set} {{ {address} }}\n")
    };
    addresses.iter().map(command).collect()
}
