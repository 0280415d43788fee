//! The lab that most tests and the demo use: a supernode and three homes on one `friends` network.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::namespace::Namespace;
use super::program::{NetworkView, Node, Supernode};
use super::topology::{Access, Home, Lab, PublicHost, Wire};

/// How long a node may take to register and to get its addresses, on a busy machine.
pub const JOIN_LIMIT: Duration = Duration::from_secs(20);

/// A supernode and members of one network, each behind its own NAT.
#[derive(Debug)]
pub struct Trio {
    /// The public host of the supernode.
    pub public: PublicHost,
    /// The supernode.
    pub supernode: Supernode,
    /// The members `a`, `b` and `c`; `a` made the network.
    pub members: Vec<Member>,
    /// The network's link.
    pub link: String,
}

/// One member of the network.
#[derive(Debug)]
pub struct Member {
    /// Its home.
    pub home: Home,
    /// Its daemon.
    pub node: Node,
    /// The network as it sees it.
    pub network: NetworkView,
}

impl Trio {
    /// Builds it: starts the programs, makes and joins the network, and waits for addresses.
    ///
    /// # Errors
    /// Anything on the way fails or takes longer than [`JOIN_LIMIT`].
    pub fn start(lab: &mut Lab, nats: [impl Into<Access>; 3], wire: Wire) -> Result<Self> {
        let public = lab.public_host("s", wire)?;
        let supernode = Supernode::start(lab, &public)?;
        let mut link = None;
        let mut members = Vec::new();
        for (name, nat) in ["a", "b", "c"].into_iter().zip(nats) {
            let home = lab.home(name, nat, wire)?;
            let mut node = Node::new(lab, name, &home.host, Some(supernode.link()))?;
            node.start()?;
            node.wait_registered(JOIN_LIMIT)?;
            match &link {
                None => link = Some(node.host()?),
                Some(link) => {
                    node.join(link)?;
                }
            }
            let network = node.wait_addressed(JOIN_LIMIT)?;
            members.push(Member { home, node, network });
        }
        let link = link.context("nobody made the network")?;
        Ok(Self {
            public,
            supernode,
            members,
            link,
        })
    }

    /// The members one by one.
    ///
    /// # Errors
    /// Never for a trio that [`start`](Self::start) made.
    pub fn abc(&self) -> Result<[&Member; 3]> {
        let members: Vec<_> = self.members.iter().collect();
        members.try_into().ok().context("not three members")
    }
}

impl Member {
    /// The namespace of its host.
    pub fn host(&self) -> &Namespace {
        &self.home.host
    }

    /// Its IPv4 address on the network.
    ///
    /// # Errors
    /// It has none.
    pub fn ipv4(&self) -> Result<Ipv4Addr> {
        self.network
            .ipv4
            .with_context(|| format!("{} has no IPv4 address", self.node.name()))
    }

    /// Its IPv6 address on the network.
    ///
    /// # Errors
    /// It has none.
    pub fn ipv6(&self) -> Result<Ipv6Addr> {
        self.network
            .ipv6
            .with_context(|| format!("{} has no IPv6 address", self.node.name()))
    }

    /// The MAC address of its card, as its kernel shows it.
    ///
    /// # Errors
    /// There is no card.
    pub fn mac(&self) -> Result<String> {
        self.host().mac(&self.network.interface)
    }

    /// The card's link-local address, as its kernel shows it.
    ///
    /// # Errors
    /// There is no card or not exactly one such address.
    pub fn link_local(&self) -> Result<Ipv6Addr> {
        let addresses = self.host().addresses(&self.network.interface, "-6")?;
        let local: Vec<_> = addresses
            .iter()
            .filter(|address| address.starts_with("fe80:"))
            .collect();
        ensure!(
            local.len() == 1,
            "{} has link-local addresses {local:?}",
            self.node.name()
        );
        Ok(local[0].split('/').next().unwrap_or_default().parse()?)
    }

    /// The broadcast address of its IPv4 network, from the prefix length its kernel shows.
    ///
    /// # Errors
    /// The card has no IPv4 address.
    pub fn broadcast_address(&self) -> Result<Ipv4Addr> {
        let own = self.ipv4()?;
        let addresses = self.host().addresses(&self.network.interface, "-4")?;
        let prefix = addresses
            .iter()
            .find_map(|address| address.strip_prefix(&format!("{own}/")));
        let length: u32 = prefix.context("the kernel does not have the IPv4 address")?.parse()?;
        let hosts = u32::MAX.checked_shr(length).unwrap_or(0);
        Ok(Ipv4Addr::from(u32::from(own) | hosts))
    }
}
