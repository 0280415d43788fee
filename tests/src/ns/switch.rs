//! Switches without a router: hosts that share nothing but an Ethernet.

use std::net::Ipv4Addr;
use std::sync::Arc;

use anyhow::Result;

use super::namespace::Namespace;
use super::topology::{INSIDE, Lab, PublicHost};

/// What the hosts of a switch have on their cards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cards {
    /// An IPv4 address, and no IPv6.
    Ipv4,
    /// What IPv6 gives a card by itself, and no IPv4.
    LinkLocal,
}

/// Switches in a namespace of their own, each a Linux bridge, with no way out.
#[derive(Debug)]
pub struct Switches {
    namespace: Arc<Namespace>,
    hosts: u8,
}

/// A host on a switch.
#[derive(Clone, Debug)]
pub struct Plugged {
    /// Where its programs run.
    pub host: Arc<Namespace>,
    /// Its address, if it has one.
    pub ipv4: Option<Ipv4Addr>,
    /// The end of its cable at the switch.
    port: String,
}

/// The address of the router, where there is one.
const ROUTER: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 254);

impl Plugged {
    /// Sends what is for other hosts by the [router](Switches::route). The kernel has one table of neighbours for all namespaces, of 1024
    /// entries: too few for the pairs of more than 30 hosts.
    ///
    /// # Errors
    /// The kernel or `ip` refuses.
    pub fn send_by_router(&self) -> Result<()> {
        self.host.ip(&format!(
            "route replace 192.168.77.0/24 via {ROUTER} dev {INSIDE} onlink"
        ))?;
        Ok(())
    }

    /// The same as a supernode's host.
    pub fn public(&self) -> Option<PublicHost> {
        Some(PublicHost {
            namespace: Arc::clone(&self.host),
            address: self.ipv4?,
            ipv6: None,
        })
    }
}

impl Switches {
    /// Makes `count` switches, numbered from 0.
    ///
    /// # Errors
    /// The kernel or `ip` refuses.
    pub fn new(lab: &mut Lab, count: usize) -> Result<Self> {
        let namespace = lab.loose_host("switch")?;
        for number in 0..count {
            namespace.ip(&format!("link add br{number} type bridge forward_delay 0"))?;
            namespace.set_sysctl_if_there(&format!("ipv6/conf/br{number}/disable_ipv6"), "1")?;
            namespace.ip(&format!("link set br{number} up"))?;
        }
        for table in ["iptables", "ip6tables", "arptables"] {
            namespace.set_sysctl_if_there(&format!("bridge/bridge-nf-call-{table}"), "0")?;
        }
        Ok(Self { namespace, hosts: 0 })
    }

    /// Plugs a new host into a switch.
    ///
    /// # Errors
    /// The kernel or `ip` refuses.
    pub fn plug(&mut self, lab: &mut Lab, name: &str, switch: usize, cards: Cards) -> Result<Plugged> {
        let host = lab.loose_host(name)?;
        self.hosts += 1;
        let port = format!("to-{name}");
        self.namespace.ip(&format!(
            "link add {port} type veth peer name {INSIDE} netns {}",
            host.name()
        ))?;
        let ipv4 = match cards {
            Cards::Ipv4 => Some(Ipv4Addr::new(192, 168, 77, self.hosts)),
            Cards::LinkLocal => None,
        };
        host.set_sysctl_if_there(
            &format!("ipv6/conf/{INSIDE}/disable_ipv6"),
            if ipv4.is_some() { "1" } else { "0" },
        )?;
        if let Some(address) = ipv4 {
            host.ip(&format!("address add {address}/24 dev {INSIDE}"))?;
        }
        host.ip(&format!("link set {INSIDE} up"))?;
        self.namespace.ip(&format!("link set {port} master br{switch}"))?;
        self.namespace
            .set_sysctl_if_there(&format!("ipv6/conf/{port}/disable_ipv6"), "1")?;
        self.namespace.ip(&format!("link set {port} up"))?;
        Ok(Plugged { host, ipv4, port })
    }

    /// Puts a router at the first switch: see [`Plugged::send_by_router`].
    ///
    /// # Errors
    /// The kernel or `ip` refuses.
    pub fn route(&self) -> Result<()> {
        self.namespace.set_sysctl("ipv4/ip_forward", "1")?;
        for card in ["all", "br0"] {
            self.namespace
                .set_sysctl(&format!("ipv4/conf/{card}/send_redirects"), "0")?;
        }
        self.namespace.ip(&format!("address add {ROUTER}/24 dev br0"))?;
        Ok(())
    }

    /// Pulls a host's cable out of its switch, or plugs it in again. Its card loses its link meanwhile.
    ///
    /// # Errors
    /// The kernel or `ip` refuses.
    pub fn set_plugged(&self, host: &Plugged, plugged: bool) -> Result<()> {
        let state = if plugged { "up" } else { "down" };
        self.namespace.ip(&format!("link set {} {state}", host.port))?;
        Ok(())
    }

    /// Connects two switches.
    ///
    /// # Errors
    /// The kernel or `ip` refuses.
    pub fn connect(&self, one: usize, other: usize) -> Result<()> {
        let ends = [(one, format!("x{one}-{other}")), (other, format!("x{other}-{one}"))];
        self.namespace
            .ip(&format!("link add {} type veth peer name {}", ends[0].1, ends[1].1))?;
        for (switch, end) in ends {
            self.namespace.ip(&format!("link set {end} master br{switch}"))?;
            self.namespace.ip(&format!("link set {end} up"))?;
        }
        Ok(())
    }
}
