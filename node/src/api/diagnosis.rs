//! The documents of the diagnosis: what stands between this node and a peer, and what this node's own network is like.

use std::net::SocketAddr;

use farlan_engine::{Behaviour, Finding, Observations, Ports, Seconds};
use serde::{Deserialize, Serialize};

use super::schema::PortMapping;

/// Asks why a peer is, or is not, in direct touch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WhyRequest {
    /// A node id, its first 10 letters and more, or an overlay address.
    pub peer: String,
}

/// A verdict and what it stands on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WhyReply {
    /// [`SCHEMA`](super::SCHEMA).
    pub schema: u32,
    /// The peer's id; nothing if nobody is known by what was asked for.
    pub node_id: Option<String>,
    /// Which case it is, in a word of `docs/DIAGNOSIS.md` that does not change.
    pub code: String,
    /// Whether nothing is wrong.
    pub fine: bool,
    /// The case, for people.
    pub sentence: String,
    /// What it follows from, for people.
    pub evidence: Vec<String>,
    /// Other causes that would remain if this one were removed, by their codes.
    pub also: Vec<String>,
    /// What to do, for people.
    pub advice: String,
    /// `direct` or `relay`; nothing without a session.
    pub path: Option<String>,
    /// The underlay endpoint in use; on a relay the supernode's.
    pub address: Option<SocketAddr>,
    /// The id of the supernode that relays.
    pub supernode: Option<String>,
    /// Whether the way begins with a TCP connection.
    pub tcp: bool,
    /// What this end has found out.
    pub own: Option<Observed>,
    /// What the other end has; nothing where it does not tell.
    pub theirs: Option<Observed>,
}

/// What one end has found out, in words and numbers. What is not known is `unknown` or nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Observed {
    /// `open`, `hidden` or `too many strangers`: how far it opens itself to the other end.
    pub openness: String,
    /// The version of its program.
    pub version: Option<String>,
    /// How its NAT behaves.
    pub nat: Nat,
    /// Whether UDP reaches supernodes.
    pub udp: String,
    /// Whether TCP reaches supernodes.
    pub tcp: String,
    /// Whether its carrier translates.
    pub carrier: String,
    /// What its router gave it: `none`, `held`, `refused`.
    pub port_mapping: String,
    /// Whether another machine uses its identity.
    pub twin: String,
    /// The way its datagrams take: `none`, `relay`, `direct`, `direct-lan`.
    pub way: String,
    /// Endpoints it told the other end: from outside, local, mapped.
    pub told: [u8; 3],
    /// Rounds of tries since the last change of path.
    pub rounds: u16,
    /// Whole seconds since the first of them began.
    pub round_s: Option<u16>,
    /// Challenges it sent straight in these rounds.
    pub sent: u16,
    /// Authentic datagrams that came straight.
    pub came: u16,
    /// Challenges that were answered.
    pub answered: u16,
    /// What came of its search for a port: `none`, `under way`, `found`, `nothing`.
    pub search: String,
    /// Whether it held challenges back.
    pub limited: String,
    /// Whole seconds since a direct path was lost.
    pub lost_s: Option<u16>,
    /// Whole seconds since a frame or ping went to the other end or came from it.
    pub used_s: Option<u16>,
    /// The largest IP packet known to pass, in bytes.
    pub mtu: Option<u16>,
    /// The smallest that was tried without an answer.
    pub too_large: Option<u16>,
}

/// How a NAT behaves, in the words of RFC 4787. What is not known is `unknown`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Nat {
    /// Whether there is one: `yes` or `no`.
    pub translated: String,
    /// What its mappings go by: `independent`, `address dependent`, `port dependent`, or `dependent`, where only that is
    /// known.
    pub mapping: String,
    /// What it, or a firewall, lets in: `by port` (answers only), `not by port`.
    pub filtering: String,
    /// How it picks ports: `kept`, `changed`, `sequential`, `random`.
    pub ports: String,
    /// Whether it brings back what goes from inside to an outside endpoint of its own: `yes` or `no`.
    pub hairpin: String,
}

impl From<&Behaviour> for Nat {
    fn from(behaviour: &Behaviour) -> Self {
        let ports = match behaviour.ports {
            Ports::Unknown => "unknown",
            Ports::Kept => "kept",
            Ports::Changed => "changed",
            Ports::Sequential { .. } => "sequential",
            Ports::Random => "random",
        };
        Self {
            translated: Finding::from(behaviour.translated).word().into(),
            mapping: behaviour.mapping.word().into(),
            filtering: behaviour.filtering.word().into(),
            ports: ports.into(),
            hairpin: Finding::from(behaviour.hairpin).word().into(),
        }
    }
}

impl From<&Observations> for Observed {
    fn from(found: &Observations) -> Self {
        let [major, minor, patch] = found.version;
        Self {
            openness: found.openness.word().into(),
            version: (found.version != [0; 3]).then(|| format!("{major}.{minor}.{patch}")),
            nat: Nat::from(&found.behaviour),
            udp: found.udp.word().into(),
            tcp: found.tcp.word().into(),
            carrier: found.carrier.word().into(),
            port_mapping: found.port_mapping.word().into(),
            twin: found.twin.word().into(),
            way: found.way.word().into(),
            told: [found.told.outside, found.told.local, found.told.mapped],
            rounds: found.rounds,
            round_s: found.round.map(Seconds::get),
            sent: found.sent,
            came: found.came,
            answered: found.answered,
            search: found.search.word().into(),
            limited: found.limited.word().into(),
            lost_s: found.lost.map(Seconds::get),
            used_s: found.used.map(Seconds::get),
            mtu: Some(found.mtu).filter(|mtu| *mtu > 0),
            too_large: Some(found.too_large).filter(|size| *size > 0),
        }
    }
}

/// What this node's own network is like.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NetcheckReply {
    /// [`SCHEMA`](super::SCHEMA).
    pub schema: u32,
    /// Whether supernodes are reached by UDP: `yes`, `no` or `unknown`.
    pub udp: String,
    /// Whether they are reached by TCP.
    pub tcp: String,
    /// How the NAT behaves: that for IPv4, where supernodes see this node by IPv4.
    pub nat: Nat,
    /// What is known of IPv6, where `nat` is of IPv4 and supernodes see this node by both.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nat_ipv6: Option<Nat>,
    /// Whether the carrier translates.
    pub carrier: String,
    /// What the router was asked for, and gave.
    pub port_mapping: PortMapping,
    /// Endpoints of the own cards.
    pub local: Vec<SocketAddr>,
    /// Where supernodes see this node, and its global addresses.
    pub outside: Vec<SocketAddr>,
    /// The largest IP packet known to pass to all supernodes that were asked, in bytes.
    pub mtu: Option<u16>,
    /// Whether the address is hidden from members of open networks.
    pub hidden: bool,
    /// The supernodes in use.
    pub supernodes: Vec<CheckedSupernode>,
    /// Whether something was still being found out when the time was over.
    pub unfinished: bool,
    /// What stands in the way.
    pub obstacles: Vec<Obstacle>,
}

/// A supernode, and the way to it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CheckedSupernode {
    /// Its id.
    pub node_id: String,
    /// The underlay endpoint in use, or as its operator wrote it.
    pub address: Option<String>,
    /// Whether it registered this node.
    pub registered: bool,
    /// Whether it is the one at which others reach this node.
    pub home: bool,
    /// Round trip in milliseconds, once measured.
    pub rtt_ms: Option<f64>,
    /// Whether UDP reaches it.
    pub udp: String,
    /// Whether TCP reaches it.
    pub tcp: String,
    /// Where it sees this node, by the family of `address`.
    pub seen_at: Option<SocketAddr>,
    /// The same by the other family, where it and this node have both.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub also_seen_at: Option<SocketAddr>,
    /// The largest IP packet known to pass, in bytes.
    pub mtu: Option<u16>,
    /// The smallest that was tried without an answer.
    pub too_large: Option<u16>,
    /// The version of the protocol that it says it speaks, where that is another than this node's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub other_version: Option<u8>,
}

/// Something that stands in the way of direct paths, or of any.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Obstacle {
    /// Which, in a word of `docs/DIAGNOSIS.md` that does not change.
    pub code: String,
    /// What it is, for people.
    pub sentence: String,
    /// What to do about it, for people.
    pub advice: String,
}
