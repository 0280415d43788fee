//! Hosts without farlan behind a member's Linux bridge.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use anyhow::{Context, Result};

use super::namespace::Namespace;
use super::topology::{INSIDE, Lab};
use super::trio::Member;

/// The bridge of a member.
const BRIDGE: &str = "br0";

/// Puts the card of a member into a bridge. Its own addresses are of no use then, as on any card in a bridge.
///
/// # Errors
/// The kernel or `ip` refuses.
pub fn bridge(member: &Member) -> Result<()> {
    let host = member.host();
    host.ip(&format!("link add {BRIDGE} type bridge forward_delay 0"))?;
    for table in ["iptables", "ip6tables", "arptables"] {
        // Bridged frames are not this host's packets; the module need not be loaded.
        host.set_sysctl_if_there(&format!("bridge/bridge-nf-call-{table}"), "0")?;
    }
    host.ip(&format!("link set {} master {BRIDGE}", member.network.interface))?;
    host.ip(&format!("link set {BRIDGE} up"))?;
    Ok(())
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
    /// Makes a host and plugs it into the bridge of a member. `number` tells it from others, and from the members' own
    /// addresses: it gets one of the last addresses of the subnet.
    ///
    /// # Errors
    /// The kernel or `ip` refuses.
    pub fn plug(lab: &mut Lab, member: &Member, name: &str, number: u8) -> Result<Self> {
        let host = lab.loose_host(name)?;
        let at = Arc::clone(&member.home.host);
        let cable = format!("to-{name}");
        at.ip(&format!(
            "link add {cable} type veth peer name {INSIDE} netns {}",
            host.name()
        ))?;
        let last = u32::from(member.broadcast_address()?) - 1;
        let ipv4 = Ipv4Addr::from(last - u32::from(number));
        let mut segments = member.ipv6()?.segments();
        segments[3..].copy_from_slice(&[0xffff, 0, 0, 0, u16::from(number)]);
        let ipv6 = Ipv6Addr::from(segments);
        let prefix = prefix_of(member)?;
        host.ip(&format!("link set {INSIDE} mtu {}", mtu(member)?))?;
        host.ip(&format!("address add {ipv4}/{prefix} dev {INSIDE}"))?;
        host.ip(&format!("address add {ipv6}/48 dev {INSIDE} nodad"))?;
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

    /// Pulls the cable and plugs it into the bridge of another member.
    ///
    /// # Errors
    /// The kernel or `ip` refuses.
    pub fn move_to(&mut self, member: &Member) -> Result<()> {
        let to = Arc::clone(&member.home.host);
        self.at.ip(&format!("link set {} netns {}", self.cable, to.name()))?;
        self.at = to;
        self.plug_in()
    }

    fn plug_in(&self) -> Result<()> {
        self.at.ip(&format!("link set {} master {BRIDGE}", self.cable))?;
        self.at.ip(&format!("link set {} up", self.cable))?;
        Ok(())
    }
}

fn mtu(member: &Member) -> Result<String> {
    let listing = member
        .host()
        .ip(&format!("-o link show dev {}", member.network.interface))?;
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
