//! Supernodes of one world, and links of networks there.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use farlan_crypto::{Work, sha512};
use farlan_netconf::{Label, Link, Mtu, NetworkLink, Parameters, Subnet};

use super::command::wait_for;
use super::program::Supernode;
use super::topology::{Lab, Wire};

/// How long supernodes may take to hand on a list, on a busy machine.
const SOON: Duration = Duration::from_secs(20);

/// Supernodes that know each other.
#[derive(Debug)]
pub struct World {
    /// The supernodes, each on a public host of its own.
    pub supernodes: Vec<Supernode>,
    /// The link with all of them.
    pub link: String,
}

impl World {
    /// Starts that many supernodes.
    ///
    /// # Errors
    /// One fails, or does not learn of the others.
    pub fn start(lab: &mut Lab, count: usize, wire: Wire) -> Result<Self> {
        let mut supernodes: Vec<Supernode> = Vec::new();
        let mut link = None;
        for number in 0..count {
            let name = format!("s{number}");
            let host = lab.public_host(&name, wire)?;
            let supernode = Supernode::start_as(lab, &host, &name)?;
            link = Some(match supernodes.first() {
                None => supernode.link().to_owned(),
                Some(first) => {
                    let printed = first.cli(&["world", "add", supernode.link()])?.stdout;
                    printed.trim().to_owned()
                }
            });
            supernodes.push(supernode);
        }
        let link = link.context("a world without supernodes")?;
        for supernode in supernodes.iter().skip(1) {
            supernode.cli(&["world", "use", &link])?;
        }
        for supernode in &supernodes {
            wait_for("the newest list", SOON, || {
                Ok((supernode.status()?["version"] == count).then_some(()))
            })?;
        }
        Ok(Self { supernodes, link })
    }

    /// The link of a network that nobody is in yet, with cards of that MTU. Other labels make other networks.
    ///
    /// # Errors
    /// The world's own link does not read.
    pub fn network(&self, label: &str, mtu: Mtu) -> Result<String> {
        let Link::Supernode(world) = Link::parse(&self.link, Work::REQUIRED)? else {
            bail!("the link of a world is another link: {}", self.link);
        };
        let digest = sha512(&[b"network of a lab", label.as_bytes(), &std::process::id().to_be_bytes()]);
        let mut random = [0; 16];
        random.copy_from_slice(&digest[..16]);
        let subnet = Subnet::new(SUBNET.0.into(), SUBNET.1)?;
        let link = NetworkLink {
            parameters: Parameters::link(random, subnet, mtu),
            label: Label::parse(label)?,
            world,
            peers: Vec::new(),
        };
        Ok(Link::Network(link).to_string())
    }
}

/// The networks' subnet, which nothing else in a lab uses.
const SUBNET: ([u8; 4], u8) = ([10, 200, 0, 0], 20);
