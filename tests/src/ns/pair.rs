//! Two members of one network, as the tests of paths need them.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::command::wait_for;
use super::echo::EchoStream;
use super::program::{Node, Supernode};
use super::topology::{Access, Home, Lab, Nat, PublicHost, Wire};
use super::trio::{JOIN_LIMIT, Member};

/// A supernode and two members of one `friends` network.
#[derive(Debug)]
pub struct Pair {
    /// The public host of the supernode.
    pub public: PublicHost,
    /// The supernode.
    pub supernode: Supernode,
    /// The member that made the network.
    pub a: Member,
    /// The other one.
    pub b: Member,
    /// The network's link.
    pub link: String,
}

/// A peer as `peers --json` shows it.
#[derive(Clone, Debug, PartialEq)]
pub struct PeerView {
    /// `direct` or `relay`; none where there is no way yet.
    pub path: Option<String>,
    /// The underlay endpoint in use.
    pub address: Option<SocketAddr>,
    /// The round trip in milliseconds, once known.
    pub rtt_ms: Option<f64>,
}

impl Pair {
    /// Builds two homes, starts the programs, and waits until both members have addresses.
    ///
    /// # Errors
    /// Anything on the way fails or takes longer than [`JOIN_LIMIT`].
    pub fn start(lab: &mut Lab, nats: [impl Into<Access>; 2], wire: Wire) -> Result<Self> {
        let [a, b] = nats;
        let homes = [lab.home("a", a, wire)?, lab.home("b", b, wire)?];
        Self::in_homes(lab, homes, wire)
    }

    /// As [`start`](Self::start), with homes that cannot reach each other, but only the supernode.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_apart(lab: &mut Lab, wires: [Wire; 2], supernode_wire: Wire) -> Result<Self> {
        let homes = [lab.home("a", Nat::Port, wires[0])?, lab.home("b", Nat::Port, wires[1])?];
        lab.block(&homes[0], &homes[1])?;
        Self::in_homes(lab, homes, supernode_wire)
    }

    /// As [`start`](Self::start), in homes that are there already.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn in_homes(lab: &mut Lab, homes: [Home; 2], supernode_wire: Wire) -> Result<Self> {
        Self::in_homes_with(lab, homes, supernode_wire, &[])
    }

    /// As [`in_homes`](Self::in_homes), with options of `host` for the network.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn in_homes_with(lab: &mut Lab, homes: [Home; 2], supernode_wire: Wire, options: &[&str]) -> Result<Self> {
        Self::build(lab, homes, supernode_wire, options, None)
    }

    /// As [`start`](Self::start) over plain wires, the daemons with these configuration files.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn with_configurations(lab: &mut Lab, nats: [impl Into<Access>; 2], texts: [&str; 2]) -> Result<Self> {
        let [a, b] = nats;
        let homes = [lab.home("a", a, Wire::PLAIN)?, lab.home("b", b, Wire::PLAIN)?];
        Self::build(lab, homes, Wire::PLAIN, &[], Some(texts))
    }

    fn build(
        lab: &mut Lab,
        homes: [Home; 2],
        supernode_wire: Wire,
        options: &[&str],
        configurations: Option<[&str; 2]>,
    ) -> Result<Self> {
        let public = lab.public_host("s", supernode_wire)?;
        let supernode = Supernode::start(lab, &public)?;
        Self::around(lab, homes, (public, supernode), options, configurations)
    }

    /// As [`in_homes`](Self::in_homes), with a supernode that runs already.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn with_supernode(lab: &Lab, homes: [Home; 2], public: PublicHost, supernode: Supernode) -> Result<Self> {
        Self::around(lab, homes, (public, supernode), &[], None)
    }

    fn around(
        lab: &Lab,
        homes: [Home; 2],
        (public, supernode): (PublicHost, Supernode),
        options: &[&str],
        configurations: Option<[&str; 2]>,
    ) -> Result<Self> {
        let [home_a, home_b] = homes;
        let start = |index: usize, name: &str, home: &Home| -> Result<Node> {
            let mut node = Node::new(lab, name, &home.host, Some(supernode.link()))?;
            if let Some(texts) = configurations {
                let file = lab.directory().join(format!("{name}.toml"));
                fs::write(&file, texts[index])?;
                node.set_arguments(&["--config", file.to_str().context("a path in UTF-8")?]);
            }
            node.start()?;
            node.wait_registered(JOIN_LIMIT)?;
            Ok(node)
        };
        let (node_a, node_b) = (start(0, "a", &home_a)?, start(1, "b", &home_b)?);
        let link = node_a.host_with(options)?;
        node_b.join(&link)?;
        let member = |home: Home, node: Node| -> Result<Member> {
            let network = node.wait_addressed(JOIN_LIMIT)?;
            Ok(Member { home, node, network })
        };
        Ok(Self {
            public,
            a: member(home_a, node_a)?,
            b: member(home_b, node_b)?,
            link,
            supernode,
        })
    }

    /// Pings from `a` to `b`, over IPv4 on the network.
    ///
    /// # Errors
    /// The kernel refuses the socket.
    pub fn pings(&self, interval: Duration) -> Result<EchoStream> {
        EchoStream::start(self.a.host(), IpAddr::from(self.b.ipv4()?), interval)
    }

    /// How each sees the other: `a` first.
    ///
    /// # Errors
    /// A daemon does not answer, or one does not know the other.
    pub fn views(&self) -> Result<[PeerView; 2]> {
        Ok([
            PeerView::of(&self.a.node, &self.b.node)?,
            PeerView::of(&self.b.node, &self.a.node)?,
        ])
    }

    /// The sum of a counter of both.
    ///
    /// # Errors
    /// A daemon does not answer or has no such counter.
    pub fn counter(&self, name: &str) -> Result<u64> {
        Ok(self.a.node.counter(name)? + self.b.node.counter(name)?)
    }

    /// The counters of both that are not zero, and those of their cards, for messages: a frame that is missing in neither
    /// was lost in a card's queue, by a daemon that got no processor for too long.
    ///
    /// # Errors
    /// A daemon does not answer.
    pub fn counters(&self) -> Result<String> {
        let mut text = String::new();
        for member in [&self.a, &self.b] {
            let status = member.node.status()?;
            let counters = status
                .get("counters")
                .and_then(Value::as_object)
                .context("no counters")?;
            text.push_str(&format!("{}:", member.node.name()));
            for (name, value) in counters.iter().filter(|(_, value)| value.as_u64() != Some(0)) {
                text.push_str(&format!(" {name} {value}"));
            }
            let card = format!("-s link show dev {}", member.network.interface);
            text.push_str(&format!("\n{}\n", member.host().ip(&card)?));
        }
        Ok(text)
    }

    /// Waits until both say that the path to the other is of that kind (`direct`, `relay`).
    ///
    /// # Errors
    /// They do not within `limit`.
    pub fn wait_path(&self, kind: &str, limit: Duration) -> Result<[PeerView; 2]> {
        wait_for(&format!("both to say {kind}"), limit, || {
            let views = self.views()?;
            ensure!(views.iter().all(|view| view.path.as_deref() == Some(kind)), "{views:?}");
            Ok(Some(views))
        })
    }
}

impl PeerView {
    /// How one node sees another.
    ///
    /// # Errors
    /// A daemon does not answer, or the peer is not listed.
    pub fn of(node: &Node, peer: &Node) -> Result<Self> {
        let id = peer
            .status()?
            .get("node_id")
            .cloned()
            .context("a status without node_id")?;
        Self::by_id(node, &id)
    }

    fn by_id(node: &Node, id: &Value) -> Result<Self> {
        let peers = node.peers()?;
        let row = peers.iter().find(|row| row.get("node_id") == Some(id));
        let row = row.with_context(|| format!("{} does not list {id}: {peers:?}", node.name()))?;
        let text = |field: &str| row.get(field).and_then(Value::as_str);
        Ok(Self {
            path: text("path").map(str::to_owned),
            address: text("address").map(str::parse).transpose()?,
            rtt_ms: row.get("rtt_ms").and_then(Value::as_f64),
        })
    }
}
