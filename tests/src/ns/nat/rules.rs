//! The kinds of router as nftables rules.

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::time::Duration;

use super::Nat;

/// What the rules of a router are made from.
#[derive(Clone, Copy, Debug)]
pub(in crate::ns) struct Router<'a> {
    /// How it translates.
    pub nat: Nat,
    /// Whether it also translates between hosts on the inside.
    pub hairpins: bool,
    /// Its outside interface.
    pub wan: &'a str,
    /// Its inside interface.
    pub lan: &'a str,
    /// Its outside address.
    pub outside: Ipv4Addr,
    /// How long it remembers a mapping or a destination that is not used, in tables of its own.
    pub memory: Duration,
}

impl Router<'_> {
    /// The rules. Loading them again replaces them, and forgets all mappings that are in tables of their own.
    pub(in crate::ns) fn rules(&self) -> String {
        let body = if self.nat == Nat::Absent {
            String::new()
        } else {
            [self.tables(), self.forward(), self.input(), self.translate()].concat()
        };
        format!("table ip home {{ }}\ndelete table ip home\ntable ip home {{\n{body}}}\n")
    }

    /// Whether it keeps a table of mappings, by which it knows whose a port is.
    fn has_table(&self) -> bool {
        let by_table = matches!(self.nat, Nat::FullCone | Nat::AddressRestricted | Nat::PortStrict);
        by_table || self.hairpins
    }

    /// Mappings that all destinations share, and to which addresses each of them has sent.
    ///
    /// Chains of type nat see only the first packet of a flow, so both are noted in a chain of type filter before
    /// the translation.
    fn tables(&self) -> String {
        if !self.has_table() {
            return String::new();
        }
        let Self {
            wan,
            lan,
            outside,
            memory,
            ..
        } = self;
        let seconds = memory.as_secs().max(1);
        let mut tables = format!(
            "map mapped {{ type inet_service : ipv4_addr . inet_service; flags dynamic,timeout; timeout {seconds}s; }}
            set seen {{ type ipv4_addr . inet_service . ipv4_addr; flags dynamic,timeout; timeout {seconds}s; }}
            chain remember {{
                type filter hook postrouting priority 90;
                oifname {wan} meta l4proto udp update @mapped {{ udp sport : ip saddr . udp sport }}
                oifname {wan} meta l4proto udp update @seen {{ ip saddr . udp sport . ip daddr }}
            }}
            chain admit {{
                type nat hook prerouting priority dstnat;\n"
        );
        let mut admit = |interface: &str, mark: u8| {
            let _ = writeln!(
                tables,
                "iifname {interface} ip daddr {outside} meta l4proto udp ct mark set {mark} dnat to udp dport map @mapped"
            );
        };
        // The ordinary router's own mappings are the kernel's, which lets in only what belongs to them.
        if self.nat != Nat::Port {
            admit(wan, FROM_OUTSIDE);
        }
        if self.hairpins {
            admit(lan, HAIRPIN);
        }
        tables + "}\n"
    }

    /// Who gets in. What the router's own table translates is marked; what else is translated was asked for.
    fn forward(&self) -> String {
        let wan = self.wan;
        let admission = match self.nat {
            Nat::AddressRestricted => "ct status dnat ct mark 0 accept
                ct status dnat ip daddr . udp dport . ip saddr @seen accept"
                .to_owned(),
            Nat::PortStrict => "ct status dnat ct mark 0 accept".to_owned(),
            Nat::UdpBlocked => format!(
                "oifname {wan} meta l4proto udp drop
                oifname {wan} tcp dport != {{ 80, 443 }} drop"
            ),
            _ => "ct status dnat accept".to_owned(),
        };
        format!(
            "chain forward {{
                type filter hook forward priority 0;
                ct state established,related accept
                {admission}
                iifname {wan} drop
            }}\n"
        )
    }

    /// The router's own firewall. It matters for translation, see [`Nat::Poison`].
    fn input(&self) -> String {
        if self.nat == Nat::Poison {
            return String::new();
        }
        firewall_input(self.wan, "icmp")
    }

    /// Which address and port the home has outside.
    fn translate(&self) -> String {
        let Self { wan, lan, outside, .. } = self;
        let hashed = |of: &str| {
            let port = format!("jhash {of} mod 64000 seed 0x5eed offset 1024");
            format!("meta l4proto udp snat to {outside} : {port}; oifname {wan} masquerade")
        };
        let translate = match self.nat {
            Nat::FullCone | Nat::AddressRestricted | Nat::PortStrict => format!("snat to {outside}"),
            Nat::Absent | Nat::Port | Nat::Poison | Nat::UdpBlocked => "masquerade".to_owned(),
            Nat::PortShuffled => hashed("ip saddr . udp sport"),
            Nat::SymmetricByAddress => hashed("ip saddr . udp sport . ip daddr"),
            Nat::Symmetric => "masquerade random,fully-random".to_owned(),
            Nat::SymmetricSequential => {
                // The bare number would step by 256: it has the byte order of this machine, a port that of the network.
                let ports = (0..SEQUENTIAL_PORTS).map(|number| format!("{number} : {}", FIRST_SEQUENTIAL + number));
                let ports = ports.collect::<Vec<_>>().join(", ");
                format!(
                    "meta l4proto udp snat to {outside} : numgen inc mod {SEQUENTIAL_PORTS} map {{ {ports} }}
                    oifname {wan} masquerade"
                )
            }
        };
        let hairpin = if self.hairpins {
            format!("oifname {lan} ct mark {HAIRPIN} snat to {outside}")
        } else {
            String::new()
        };
        format!(
            "chain translate {{
                type nat hook postrouting priority srcnat;
                {hairpin}
                oifname {wan} {translate}
            }}\n"
        )
    }
}

/// The marks of flows that a router's own table has translated.
const FROM_OUTSIDE: u8 = 1;
const HAIRPIN: u8 = 2;

/// The ports that [`Nat::SymmetricSequential`] gives out in turn.
const FIRST_SEQUENTIAL: u16 = 20_000;
const SEQUENTIAL_PORTS: u16 = 2048;

/// The rules of a router that lets IPv6 out, and in only what belongs to it.
pub(in crate::ns) fn ipv6_firewall(wan: &str) -> String {
    let input = firewall_input(wan, "ipv6-icmp");
    format!(
        "table ip6 home {{
            chain forward {{
                type filter hook forward priority 0;
                ct state established,related accept
                iifname {wan} drop
            }}
            {input}
        }}"
    )
}

fn firewall_input(wan: &str, icmp: &str) -> String {
    format!(
        "chain input {{
            type filter hook input priority 0;
            ct state established,related accept
            iifname {wan} ct state new meta l4proto != {icmp} drop
        }}\n"
    )
}
