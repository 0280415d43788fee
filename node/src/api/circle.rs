//! The documents of `farlan circle`.

use serde::{Deserialize, Serialize};

/// Asks who hears this machine's broadcasts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CircleRequest {
    /// In which network: its name, label, id or interface; all joined ones if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
    /// Those to the ports and groups that this listed game searches; not together with `port`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub game: Option<String>,
    /// Those to this UDP port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
}

/// Who hears this machine's broadcasts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CircleReply {
    /// [`SCHEMA`](super::SCHEMA).
    pub schema: u32,
    /// The networks.
    pub networks: Vec<NetworkCircle>,
}

/// Who hears them in a network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NetworkCircle {
    /// The network's name or label.
    pub name: String,
    /// Its id.
    pub network_id: String,
    /// How many members the supernode counts, this node among them; 0 until it answered.
    pub members: u32,
    /// Up to how many members each gets a copy.
    pub full_max: usize,
    /// Whether there are more, so that broadcasts spread.
    pub spreads: bool,
    /// Who would get a copy now, in order. Where broadcasts do not spread these are the members that are known here.
    pub copies: Vec<CircleMember>,
    /// Contacts that would get none.
    pub others: Vec<CircleMember>,
    /// Muted members: they get none, and nothing of theirs is heard.
    pub muted: Vec<CircleMember>,
    /// The deliveries that one broadcast would cause at the most: the copies, and what their receivers may pass on.
    pub deliveries: usize,
    /// The most that these may be; 0 where broadcasts do not spread.
    pub ceiling: usize,
    /// How many deliveries this node says it could make use of; 0 where broadcasts do not spread.
    pub need: u8,
    /// The channel, where a game or port was named and broadcasts spread.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<CircleChannel>,
    /// What was sent and came there since the daemon started, where broadcasts spread.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counts: Option<CircleCounts>,
}

/// A member, as far as broadcasts have to do with it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CircleMember {
    /// Its id.
    pub node_id: String,
    /// Its whole name there: `ann.lan.farlan.internal`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Why it gets a copy: `member` (all get one), `pinned`, `active` (unicast frames go both ways now), `heard` (a broadcast of its came
    /// lately), `subscriber` (of the channel), `recent` (frames went both ways lately), `bootstrap` (at random, since there are few
    /// contacts) or `long_link` (at random, as two always are). Nothing if it gets none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// How many further members it may pass the broadcast on to, all in all.
    #[serde(default)]
    pub share: u8,
    /// How many it said it could make use of, if it did.
    pub need: Option<u8>,
    /// Seconds since unicast frames last went both ways, of a contact.
    pub age_s: Option<f64>,
    /// In how many of the last seconds they did; a second counts half after 30 s.
    #[serde(default)]
    pub score: u32,
    /// `direct` or `relay`; nothing without a session.
    pub path: Option<String>,
    /// Whether the user pinned it.
    #[serde(default)]
    pub pinned: bool,
    /// Whether the user muted it.
    #[serde(default)]
    pub muted: bool,
    /// Whether it did not acknowledge the last copies, so that it gets none until something comes from it.
    #[serde(default)]
    pub silent: bool,
}

/// The subscribers of a channel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CircleChannel {
    /// What is sent there: `27015/udp`, or the group `224.0.2.60:4445`.
    pub channel: String,
    /// How many supernodes count, this node among them if it is one; nothing as long as none told.
    pub subscribers: Option<usize>,
    /// How many others are known here by name.
    pub known: usize,
    /// Whether these get a copy each.
    pub served: bool,
}

/// How often what happened to broadcasts that spread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CircleCounts {
    /// Own ones.
    pub sent: u64,
    /// Of them those above the rate, which went to active contacts alone.
    pub thinned: u64,
    /// Own ones above the rate of those, which went nowhere.
    pub suppressed: u64,
    /// Received from others, each once.
    pub received: u64,
    /// Copies of what was here already.
    pub duplicates: u64,
    /// Copies that were not taken.
    pub refused: u64,
    /// Copies whose signature is bad.
    pub forged: u64,
    /// Copies passed on.
    pub forwarded: u64,
    /// Copies not passed on, as a limit was reached.
    pub limited: u64,
    /// Copies sent again.
    pub resent: u64,
    /// Copies given up.
    pub lost: u64,
}

/// Mutes or pins a member, or ends that.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MarkRequest {
    /// Whom: a name, a node id, its first 10 letters and more, or an overlay address.
    pub node: String,
    /// In which network: its name, label, id or interface; may be left out where only one can be meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
}

/// What a member is now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MarkReply {
    /// [`SCHEMA`](super::SCHEMA).
    pub schema: u32,
    /// The network's name or label.
    pub name: String,
    /// The network's id.
    pub network_id: String,
    /// The member's id.
    pub node_id: String,
    /// Its whole name there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Whether it is muted.
    pub muted: bool,
    /// Whether it is pinned.
    pub pinned: bool,
    /// What the user should know.
    pub notes: Vec<String>,
}

impl CircleReply {
    /// Without what is another every time: times, counts, and what follows from how long ago something was.
    #[must_use]
    pub fn lasting(&self) -> Self {
        let mut lasting = self.clone();
        for network in &mut lasting.networks {
            network.counts = None;
            network.deliveries = 0;
            network.need = 0;
            let members = network.copies.iter_mut().chain(&mut network.others);
            for member in members.chain(&mut network.muted) {
                member.age_s = None;
                member.score = 0;
                member.share = 0;
            }
        }
        lasting
    }
}
