//! Many members of one network, on one switch.

use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::command::wait_for;
use super::members::at_once;
use super::namespace::Namespace;
use super::program::{NetworkView, Node, Supernode};
use super::switch::{Cards, Switches};
use super::topology::{INSIDE, Lab};

/// How long each step of so many programs may take, for each of them, and at least.
const EACH: Duration = Duration::from_secs(3);
const LEAST: Duration = Duration::from_secs(40);

/// A supernode and members of one network.
#[derive(Debug)]
pub struct Crowd {
    /// The members; the first made the network, if it has a link.
    pub members: Vec<CrowdMember>,
    /// The network's link or name.
    pub link: String,
    supernode: Supernode,
    switches: Switches,
}

/// One of them.
#[derive(Debug)]
pub struct CrowdMember {
    /// Its daemon.
    pub node: Node,
    /// The network as it sees it.
    pub network: NetworkView,
}

impl CrowdMember {
    /// Where it runs.
    pub fn host(&self) -> &Arc<Namespace> {
        self.node.namespace()
    }

    /// Its address on the network.
    ///
    /// # Errors
    /// It has none.
    pub fn ipv4(&self) -> Result<Ipv4Addr> {
        self.network
            .ipv4
            .with_context(|| format!("{} has no address", self.node.name()))
    }
}

impl Crowd {
    /// Starts them in a network of friends, and waits until each has an address and lists all others.
    ///
    /// # Errors
    /// A program fails, or it takes too long.
    pub fn start(lab: &mut Lab, count: usize) -> Result<Self> {
        let (place, nodes) = Place::with_nodes(lab, count, None)?;
        let limit = limit(count)?;
        let link = nodes.first().context("a crowd of nobody")?.host()?;
        // Each join waits for an address, so not one after the other.
        for joined in at_once(nodes.iter().skip(1), &link)? {
            joined.success()?;
        }
        let crowd = place.crowd(nodes, link, limit)?;
        for member in &crowd.members {
            let node = &member.node;
            wait_for(&format!("{} to list all others", node.name()), limit, || {
                let peers = node.peers()?.len();
                ensure!(peers >= count - 1, "it lists {peers}");
                Ok(Some(()))
            })?;
        }
        Ok(crowd)
    }

    /// Starts nodes of a `program` in the network of strangers called `name`, and waits until each has an address: in a network that is large
    /// for them nobody lists all.
    ///
    /// # Errors
    /// A program fails, or it takes too long.
    pub fn of_strangers(lab: &mut Lab, count: usize, program: &Path, name: &str) -> Result<Self> {
        let (place, nodes) = Place::with_nodes(lab, count, Some(program))?;
        for joined in at_once(nodes.iter(), name)? {
            joined.success()?;
        }
        place.crowd(nodes, name.to_owned(), limit(count)?)
    }

    /// Another node, registered at the supernode, in no network yet.
    ///
    /// # Errors
    /// The program fails.
    pub fn newcomer(&mut self, lab: &mut Lab) -> Result<Node> {
        let mut node = plug(lab, &mut self.switches, &self.supernode, self.members.len())?;
        node.start()?;
        node.wait_registered(LEAST)?;
        Ok(node)
    }

    /// Lets every machine lose one of `one_in` packets that arrive by the real LAN, at random; 0 for none.
    ///
    /// # Errors
    /// `nft` refuses the rule.
    pub fn lose_one_in(&self, one_in: u32) -> Result<()> {
        for member in &self.members {
            let mut rules = "table inet loss { }\ndelete table inet loss\n".to_owned();
            if one_in > 0 {
                rules.push_str(&format!(
                    "table inet loss {{\nchain arriving {{\ntype filter hook input priority 0;\n\
                     iifname {INSIDE} meta l4proto udp numgen random mod {one_in} < 1 counter drop\n}}\n}}\n"
                ));
            }
            member.host().nft(&rules)?;
        }
        Ok(())
    }
}

/// Where they run.
struct Place {
    supernode: Supernode,
    switches: Switches,
}

impl Place {
    /// A supernode, and nodes that are registered there.
    fn with_nodes(lab: &mut Lab, count: usize, program: Option<&Path>) -> Result<(Self, Vec<Node>)> {
        let mut switches = Switches::new(lab, 1)?;
        switches.route()?;
        let place = switches.plug(lab, "s", 0, Cards::Ipv4)?;
        place.send_by_router()?;
        let place = place.public().context("a supernode without an address")?;
        let supernode = Supernode::start(lab, &place)?;
        let mut nodes = Vec::new();
        for number in 0..count {
            let mut node = plug(lab, &mut switches, &supernode, number)?;
            if let Some(program) = program {
                node.set_program(program.to_owned());
            }
            nodes.push(node);
        }
        for node in &mut nodes {
            node.launch()?;
        }
        let limit = limit(count)?;
        for node in &nodes {
            wait_for(&format!("{} to answer", node.name()), limit, || node.status().map(Some))?;
            node.wait_registered(limit)?;
        }
        Ok((Self { supernode, switches }, nodes))
    }

    /// The nodes, once each has an address.
    fn crowd(self, nodes: Vec<Node>, link: String, limit: Duration) -> Result<Crowd> {
        let mut members = Vec::new();
        for node in nodes {
            let network = node.wait_addressed(limit)?;
            members.push(CrowdMember { node, network });
        }
        Ok(Crowd {
            members,
            link,
            supernode: self.supernode,
            switches: self.switches,
        })
    }
}

/// How long a step of so many programs may take.
fn limit(count: usize) -> Result<Duration> {
    Ok(LEAST.max(EACH * u32::try_from(count)?))
}

fn plug(lab: &mut Lab, switches: &mut Switches, supernode: &Supernode, number: usize) -> Result<Node> {
    let name = format!("n{number}");
    let place = switches.plug(lab, &name, 0, Cards::Ipv4)?;
    place.send_by_router()?;
    Node::new(lab, &name, &place.host, Some(supernode.link()))
}
