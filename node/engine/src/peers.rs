//! The nodes this node knows: their keys, sessions, paths, and what waits for them.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    mem,
    net::Ipv4Addr,
    ops::{Deref, DerefMut},
    time::Duration,
};

use farlan_crypto::{NodeId, PublicKey, defects::planted};
use farlan_netconf::{DnsLabel, NodePrefix};

use crate::{
    Leg, NetworkHandle, PathKind, Time,
    beacons::Near,
    channels::Wanted,
    direct::{Direct, Use},
    handshakes::{HalfOpen, Outgoing},
    history::History,
    injection::Injected,
    mtu::PathMtu,
    paths::{RELAY_SETTLED, Reported},
    rare::{Rare, blank},
    retry::Retry,
    sessions::Sessions,
    table::Table,
    traversal::Exchange,
    wire::{
        control::Place,
        datagram::{RelayIndex, RelayTarget, SessionIndex, SupernodeTag},
    },
};

/// Names a peer as long as it is known. A number is not used twice for different peers within a table's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct PeerId(u64);

impl PeerId {
    /// Its place in a [`Table`].
    pub(crate) const fn number(self) -> u64 {
        self.0
    }
}

#[cfg(any(test, feature = "fuzzing"))]
impl PeerId {
    /// A number for a table's own test.
    pub(crate) const fn for_test(number: u64) -> Self {
        Self(number)
    }
}

/// One way to reach a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Path {
    /// Straight over the underlay.
    Direct(Leg),
    /// Through a supernode of this node.
    Relay { supernode: PeerId, target: RelayTarget },
    /// From a supernode through another one, at which the node is registered under the index.
    Passed { sibling: SupernodeTag, index: RelayIndex },
}

impl Path {
    /// What kind of way it is.
    pub(crate) fn kind(self) -> PathKind {
        match self {
            Self::Direct(_) => PathKind::Direct,
            Self::Relay { .. } | Self::Passed { .. } => PathKind::Relay,
        }
    }
}

/// A frame that waits for a session.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) network: NetworkHandle,
    pub(crate) frame: Vec<u8>,
    pub(crate) since: Time,
}

/// Frames that wait for one peer's session; the oldest gives way.
pub(crate) const MAX_WAITING: usize = 32;

/// How long a frame waits for a session.
pub(crate) const WAITING_KEPT: Duration = Duration::from_secs(3);

/// Having sent for so long without hearing anything sealed, a node begins a new handshake.
pub(crate) const SILENCE: Duration = Duration::from_millis(1500);

/// Having heard something and sent nothing for so long, a node gives a sign of life, so that the other end does not take
/// one-way traffic for [`SILENCE`]. The difference leaves a second for the round trip.
pub(crate) const SIGN_OF_LIFE: Duration = Duration::from_millis(500);

/// The least and the most patience with a question inside a session whose round trip is known.
const PATIENCE_MIN: Duration = Duration::from_millis(100);
const PATIENCE_MAX: Duration = Duration::from_secs(1);

/// A node this node knows. What a supernode knows of nobody is in [`Acquaintance`], and read as if it were here.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) key: PublicKey,
    /// Whether it is a supernode of one of this node's worlds.
    pub(crate) supernode: bool,
    pub(crate) sessions: Sessions,
    /// The handshake this node has begun with it.
    pub(crate) outgoing: Option<Box<Outgoing>>,
    /// The handshakes it began and this node answered, one per way they came, oldest first.
    pub(crate) half_open: Vec<HalfOpen>,
    /// The relay to it; for a supernode the way to it. Where data goes is [`Peer::way`].
    pub(crate) path: Option<Path>,
    /// When something sealed last came from it.
    pub(crate) heard: Option<Time>,
    /// When its timer is set to go off.
    pub(crate) timer: Option<Time>,
    met: Rare<Acquaintance>,
}

/// What a node knows of another besides that there is one.
#[derive(Debug, Default)]
pub(crate) struct Acquaintance {
    /// The way of data that was last reported.
    pub(crate) reported: Option<Reported>,
    /// When the peer last took another supernode than the one before.
    pub(crate) moved: Option<Time>,
    /// The direct paths to it.
    pub(crate) direct: Direct,
    /// Where it is on a link of this machine, as its beacons say.
    pub(crate) near: Option<Near>,
    /// The path MTU over the relay.
    pub(crate) relay_mtu: PathMtu,
    /// The number of the message cut last.
    pub(crate) cut: u16,
    /// What was told of endpoints.
    pub(crate) exchange: Exchange,
    /// What came of trying to reach it straight.
    pub(crate) history: History,
    /// When a frame or ping last went to it or came from it.
    pub(crate) used: Option<Time>,
    /// How much it was used when last looked at.
    pub(crate) usage: Use,
    /// Where it is registered, as it told in session: its home first.
    pub(crate) homes: Vec<Place>,
    /// When something sealed last came from it over one supernode.
    pub(crate) one_hop: Option<Time>,
    /// Since when things were sent to it without hearing anything.
    pub(crate) unanswered: Option<Time>,
    /// Since when something it sent has waited for a sign of life.
    pub(crate) owed: Option<Time>,
    /// When something was last to be sent to it.
    pub(crate) wanted: Option<Time>,
    /// When frames of this machine first and last went to it alone.
    pub(crate) served: Option<(Time, Time)>,
    pub(crate) rtt: Option<Duration>,
    pub(crate) waiting: VecDeque<Waiting>,
    /// The IPv4 addresses it told in session.
    pub(crate) claims: BTreeMap<NetworkHandle, Ipv4Addr>,
    /// What it calls itself in common networks.
    pub(crate) names: BTreeMap<NetworkHandle, DnsLabel>,
    /// What it wants to hear in common networks, where it told.
    pub(crate) channels: BTreeMap<NetworkHandle, Wanted>,
    /// The networks it was reported up in.
    pub(crate) up: BTreeSet<NetworkHandle>,
    /// Group frames of its own received lately.
    pub(crate) seen: Option<Box<SeenSequences>>,
    /// How many group frames of it were delivered lately.
    pub(crate) injected: Option<Box<Injected>>,
    /// Group frames to acknowledge at the end of this turn.
    pub(crate) acks: Vec<u64>,
    /// Copies of broadcasts that spread, likewise.
    pub(crate) spread_acks: Vec<(NetworkHandle, u64)>,
}

blank!(Acquaintance);

impl Deref for Peer {
    type Target = Acquaintance;

    fn deref(&self) -> &Acquaintance {
        &self.met
    }
}

impl DerefMut for Peer {
    fn deref_mut(&mut self) -> &mut Acquaintance {
        &mut self.met
    }
}

impl Peer {
    fn new(key: PublicKey) -> Self {
        Self {
            key,
            supernode: false,
            sessions: Sessions::default(),
            outgoing: None,
            half_open: Vec::new(),
            path: None,
            heard: None,
            timer: None,
            met: Rare::default(),
        }
    }

    /// Takes a round trip into the smoothed one (RFC 6298 §2, α = 1/8).
    pub(crate) fn measure_rtt(&mut self, sample: Duration) {
        self.rtt = Some(self.rtt.map_or(sample, |rtt| (rtt * 7 + sample) / 8));
    }

    /// How long an answer over the relay may take.
    pub(crate) fn patience(&self) -> Option<Duration> {
        self.rtt.map(|rtt| (rtt * 3 / 2).clamp(PATIENCE_MIN, PATIENCE_MAX))
    }

    /// The last session ended: what was true in it is forgotten, but for where the peer was reached.
    pub(crate) fn session_ended(&mut self) {
        let Some(met) = self.met.made() else { return };
        met.unanswered = None;
        met.owed = None;
        met.up.clear();
        met.names.clear();
        met.channels.clear();
        met.direct.session_ended();
        met.exchange.session_ended();
        met.history.session_ended();
        met.reported = None;
        met.moved = None;
        met.relay_mtu.session_ended();
    }

    /// It was heard: what was sent to it has an answer.
    pub(crate) fn answered(&mut self) {
        if let Some(met) = self.met.made() {
            met.unanswered = None;
        }
    }

    /// Something was sent to it, which is a sign of life.
    pub(crate) fn signed(&mut self) {
        if let Some(met) = self.met.made() {
            met.owed = None;
        }
    }

    /// The way data takes: a direct path if one works, else the relay.
    pub(crate) fn way(&self) -> Option<Path> {
        self.direct.active().map(Path::Direct).or(self.path)
    }

    /// When this peer next needs attention, apart from what its registration does.
    pub(crate) fn deadline(&self) -> Option<Time> {
        let sessions = self.sessions.iter().flat_map(|session| {
            let networks = &session.networks;
            [
                Some(session.ends()),
                networks.offer_retry.as_ref().map(|retry| retry.at()),
                networks.claims_retry.as_ref().map(|retry| retry.at()),
                networks.addresses_retry.as_ref().map(|retry| retry.at()),
                networks.settling,
                networks
                    .shown
                    .iter()
                    .flat_map(|shown| [shown.retry.as_ref().map(Retry::at), shown.spoken.deadline()])
                    .flatten()
                    .min(),
                networks.names_retry.as_ref().map(|retry| retry.at()),
                networks.channels.deadline(),
            ]
        });
        let silence = if self.outgoing.is_none() && !self.supernode {
            self.unanswered.map(|since| since + SILENCE)
        } else {
            None
        };
        [
            self.outgoing.as_deref().map(Outgoing::deadline),
            self.half_open.first().map(HalfOpen::deadline),
            self.owed.map(|since| since + SIGN_OF_LIFE),
            self.moved.map(|moved| moved + RELAY_SETTLED),
            silence,
            Some(&self.direct)
                .filter(|_| !self.supernode)
                .and_then(|direct| direct.deadline(self.usage)),
            Some(&self.exchange)
                .filter(|_| !self.supernode)
                .and_then(Exchange::deadline),
            self.relay_mtu.deadline(self.patience()),
            self.waiting.front().map(|waiting| waiting.since + WAITING_KEPT),
        ]
        .into_iter()
        .chain(sessions)
        .flatten()
        .min()
    }

    /// Whether nothing is known of this peer that its key does not tell.
    pub(crate) fn forgettable(&self) -> bool {
        !self.supernode
            && self.sessions.is_empty()
            && self.outgoing.is_none()
            && self.half_open.is_empty()
            && self.waiting.is_empty()
    }
}

/// Which group frames of one origin were delivered lately.
///
/// Numbers are remembered by their low bits, so a restarted origin with another random start never collides with its
/// former self for long, and the order of arrival does not matter.
#[derive(Debug)]
pub(crate) struct SeenSequences([u64; SEEN]);

/// More than an origin sends while it retries a frame: 5 s at 200 frames a second.
const SEEN: usize = 1024;

impl Default for SeenSequences {
    fn default() -> Self {
        Self([0; SEEN])
    }
}

impl SeenSequences {
    /// Remembers `sequence`; whether it is new. 0 is never used as a sequence.
    pub(crate) fn insert(&mut self, sequence: u64) -> bool {
        let slot = usize::try_from(sequence % SEEN as u64).unwrap_or_default();
        match self.0.get_mut(slot) {
            Some(seen) if *seen != sequence || planted("group-doubled") => {
                *seen = sequence;
                true
            }
            _ => false,
        }
    }
}

/// All peers, by number, id and session index.
#[derive(Debug, Default)]
pub(crate) struct Peers {
    peers: Table<Peer>,
    by_node: BTreeMap<NodeId, PeerId>,
    by_session: BTreeMap<SessionIndex, PeerId>,
    next: u64,
    /// Whether keys were dropped, of which there may be traces on the stack.
    keys_ended: bool,
    /// The group frames seen of peers that were forgotten, the latest last: a clock that jumps makes a peer old at once, while
    /// copies of its frames are still under way.
    parted: VecDeque<(NodeId, Box<SeenSequences>)>,
}

/// Forgotten peers whose group frames are remembered: 8 KiB each.
const MAX_PARTED: usize = 32;

impl Peers {
    pub(crate) fn get(&self, id: PeerId) -> Option<&Peer> {
        self.peers.get(id.0)
    }

    pub(crate) fn get_mut(&mut self, id: PeerId) -> Option<&mut Peer> {
        self.peers.get_mut(id.0)
    }

    pub(crate) fn by_node(&self, node: &NodeId) -> Option<PeerId> {
        self.by_node.get(node).copied()
    }

    /// The first peer whose node id begins with `prefix`.
    pub(crate) fn by_prefix(&self, prefix: &NodePrefix) -> Option<PeerId> {
        let (low, high) = prefix.bounds();
        self.by_node.range(low..=high).next().map(|(_, id)| *id)
    }

    pub(crate) fn by_session(&self, index: SessionIndex) -> Option<PeerId> {
        self.by_session.get(&index).copied()
    }

    /// The peer with `key`, made if it is new; none if another key with the same id was pinned first.
    pub(crate) fn pin(&mut self, key: PublicKey) -> Option<PeerId> {
        let node = key.node_id();
        if let Some(id) = self.by_node(&node) {
            return self.get(id).filter(|peer| peer.key == key).map(|_| id);
        }
        self.next += 1;
        let id = PeerId(self.next);
        let mut peer = Peer::new(key);
        let parted = self.parted.iter().position(|(parted, _)| *parted == node);
        if let Some((_, seen)) = parted.and_then(|at| self.parted.remove(at)) {
            peer.seen = Some(seen);
        }
        self.peers.insert(id.0, peer);
        self.by_node.insert(node, id);
        Some(id)
    }

    pub(crate) fn bind(&mut self, index: SessionIndex, peer: PeerId) {
        self.by_session.insert(index, peer);
    }

    pub(crate) fn unbind(&mut self, index: SessionIndex) {
        self.keys_ended |= self.by_session.remove(&index).is_some();
    }

    /// Whether keys were dropped since this was asked last.
    pub(crate) fn take_keys_ended(&mut self) -> bool {
        mem::take(&mut self.keys_ended)
    }

    pub(crate) fn index_taken(&self, index: SessionIndex) -> bool {
        self.by_session.contains_key(&index)
    }

    pub(crate) fn forget(&mut self, id: PeerId) {
        if let Some(mut peer) = self.peers.remove(id.0) {
            self.by_node.remove(&peer.key.node_id());
            if let Some(seen) = peer.met.made().and_then(|met| met.seen.take()) {
                if self.parted.len() >= MAX_PARTED {
                    self.parted.pop_front();
                }
                self.parted.push_back((peer.key.node_id(), seen));
            }
            for index in peer.sessions.clear() {
                self.unbind(index);
            }
            if let Some(outgoing) = &peer.outgoing {
                self.unbind(outgoing.local());
            }
            for half_open in &peer.half_open {
                self.unbind(half_open.local());
            }
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.peers.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (PeerId, &Peer)> {
        self.peers.iter().map(|(id, peer)| (PeerId(id), peer))
    }

    pub(crate) fn ids(&self) -> Vec<PeerId> {
        self.peers.iter().map(|(id, _)| PeerId(id)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_group_frames_of_a_forgotten_peer_are_still_known() {
        let key = |seed: u8| {
            let seed = farlan_crypto::Seed::from_bytes([seed; 32]);
            let identity = farlan_crypto::Identity::from_seed(seed, farlan_crypto::Work::NONE);
            identity.expect("without a stamp any seed will do").public()
        };
        let mut peers = Peers::default();
        for number in 0..100 {
            let id = peers.pin(key(number)).expect("a peer");
            let seen = &mut peers.get_mut(id).expect("it was made").seen;
            assert!(seen.get_or_insert_default().insert(7));
            peers.forget(id);
        }
        assert_eq!(peers.parted.len(), MAX_PARTED);
        let back = peers.pin(key(99)).expect("a peer");
        assert!(
            !peers
                .get_mut(back)
                .expect("it was made")
                .seen
                .get_or_insert_default()
                .insert(7)
        );
        let long_gone = peers.pin(key(0)).expect("a peer");
        assert!(peers.get(long_gone).expect("it was made").seen.is_none());
    }

    #[test]
    fn sequences_are_new_once_in_any_order_and_after_a_restart() {
        let mut seen = SeenSequences::default();
        for sequence in [5, 7, 6, u64::MAX, 5 + (1 << 40)] {
            assert!(seen.insert(sequence), "{sequence}");
            assert!(!seen.insert(sequence), "{sequence}");
        }
        assert!(!seen.insert(7));
    }
}
