//! Hosts without farlan behind a member's Linux bridge.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use anyhow::{Context, Result};

use super::namespace::Namespace;
use super::topology::{INSIDE, Lab};
use super::trio::Member;

/// The name of every bridge.
const BRIDGE: &str = "br0";

/// The prefix length of a network's IPv6 addresses.
const IPV6_PREFIX: u8 = 48;

/// A bridge whose first port is the card of a member.
#[derive(Debug)]
pub struct Bridge {
    host: Arc<Namespace>,
    ipv4_prefix: String,
    broadcast: Ipv4Addr,
    ipv6: Ipv6Addr,
    mtu: String,
}

impl Bridge {
    /// Puts the card of a member into a bridge, and the addresses of the card on the bridge, as one does with any card.
    ///
    /// # Errors
    /// The kernel or `ip` refuses; the member has no addresses.
    pub fn around(member: &Member) -> Result<Self> {
        let (host, card) = (Arc::clone(&member.home.host), &member.network.interface);
        let bridge = Self {
            ipv4_prefix: prefix_of(member)?,
            broadcast: member.broadcast_address()?,
            ipv6: member.ipv6()?,
            mtu: mtu(&host, card)?,
            host,
        };
        let host = &bridge.host;
        host.ip(&format!("link add {BRIDGE} type bridge forward_delay 0"))?;
        for table in ["iptables", "ip6tables", "arptables"] {
            // Bridged frames are not this host's packets; the module need not be loaded.
            host.set_sysctl_if_there(&format!("bridge/bridge-nf-call-{table}"), "0")?;
        }
        host.ip(&format!("link set {card} master {BRIDGE}"))?;
        host.ip(&format!("link set {BRIDGE} up"))?;
        for address in [
            format!("{}/{}", member.ipv4()?, bridge.ipv4_prefix),
            format!("{}/{IPV6_PREFIX}", bridge.ipv6),
        ] {
            host.ip(&format!("address del {address} dev {card}"))?;
            host.ip(&format!("address add {address} dev {BRIDGE} nodad"))?;
        }
        Ok(bridge)
    }
}

/// A host behind a bridge, with addresses in the subnets of the network.
#[derive(Debug)]
pub struct Guest {
    /// Its namespace.
    pub host: Arc<Namespace>,
    /// Its IPv4 address.
    pub ipv4: Ipv4Addr,
    /// Its IPv6 address.
    pub ipv6: Ipv6Addr,
    /// The end of its cable at the bridge, and where that is.
    cable: String,
    at: Arc<Namespace>,
}

impl Guest {
    /// Makes a host and plugs it into a bridge. `number` tells it from others, and from the members' own addresses: it
    /// gets one of the last addresses of the subnet.
    ///
    /// # Errors
    /// The kernel or `ip` refuses.
    pub fn plug(lab: &mut Lab, bridge: &Bridge, name: &str, number: u8) -> Result<Self> {
        let host = lab.loose_host(name)?;
        let at = Arc::clone(&bridge.host);
        let cable = format!("to-{name}");
        at.ip(&format!(
            "link add {cable} type veth peer name {INSIDE} netns {}",
            host.name()
        ))?;
        let ipv4 = Ipv4Addr::from(u32::from(bridge.broadcast) - 1 - u32::from(number));
        let mut segments = bridge.ipv6.segments();
        segments[3..].copy_from_slice(&[0xffff, 0, 0, 0, u16::from(number)]);
        let ipv6 = Ipv6Addr::from(segments);
        host.ip(&format!("link set {INSIDE} mtu {}", bridge.mtu))?;
        host.ip(&format!("address add {ipv4}/{} dev {INSIDE}", bridge.ipv4_prefix))?;
        host.ip(&format!("address add {ipv6}/{IPV6_PREFIX} dev {INSIDE} nodad"))?;
        host.ip(&format!("link set {INSIDE} up"))?;
        let guest = Self {
            host,
            ipv4,
            ipv6,
            cable,
            at,
        };
        guest.plug_in()?;
        Ok(guest)
    }

    /// Pulls the cable and plugs it into another bridge.
    ///
    /// # Errors
    /// The kernel or `ip` refuses.
    pub fn move_to(&mut self, bridge: &Bridge) -> Result<()> {
        self.at
            .ip(&format!("link set {} netns {}", self.cable, bridge.host.name()))?;
        self.at = Arc::clone(&bridge.host);
        self.plug_in()
    }

    fn plug_in(&self) -> Result<()> {
        self.at.ip(&format!("link set {} master {BRIDGE}", self.cable))?;
        self.at.ip(&format!("link set {} up", self.cable))?;
        Ok(())
    }
}

fn mtu(host: &Namespace, card: &str) -> Result<String> {
    let listing = host.ip(&format!("-o link show dev {card}"))?;
    let mtu = listing.split_whitespace().skip_while(|word| *word != "mtu").nth(1);
    Ok(mtu.context("the card has no MTU")?.to_owned())
}

/// The prefix length of a member's IPv4 subnet.
///
/// # Errors
/// The card has no IPv4 address.
pub fn prefix_of(member: &Member) -> Result<String> {
    let own = format!("{}/", member.ipv4()?);
    let addresses = member.host().addresses(&member.network.interface, "-4")?;
    let prefix = addresses.iter().find_map(|address| address.strip_prefix(&own));
    Ok(prefix.context("the kernel does not have the IPv4 address")?.to_owned())
}
