//! Nodes that are joined by a wire in memory.

mod bounds;
mod company;
mod hostile;
mod mesh;
mod rules;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use farlan_crypto::{NodeId, hash::sha512};
use farlan_netconf::Mac;

use crate::{
    Allowances, Arrival, ChannelOf, CopyTo, Form, Neighbours, Origination, Reach, Signer, Spreading, Time, Verifier,
};

pub(crate) const NETWORK: [u8; 8] = [7; 8];

/// 2026, in milliseconds.
pub(crate) const UNIX: u64 = 1_790_000_000_000;

pub(crate) const GAME: ChannelOf = ChannelOf {
    group: Mac::BROADCAST,
    port: 27_015,
};

/// Keys whose signatures are hashes of them.
pub(crate) struct Keys(pub(crate) [u8; 32]);

pub(crate) fn signature(key: &[u8; 32], message: &[u8]) -> [u8; 64] {
    sha512(&[key, message])
}

impl Signer for Keys {
    fn key(&self) -> [u8; 32] {
        self.0
    }

    fn sign(&self, message: &[u8]) -> [u8; 64] {
        signature(&self.0, message)
    }
}

impl Verifier for Keys {
    fn node_id(&self, key: &[u8; 32]) -> Option<NodeId> {
        (key[31] != 0xff).then(|| NodeId::of_key(key))
    }

    fn verify(&self, key: &[u8; 32], message: &[u8], given: &[u8; 64]) -> bool {
        signature(key, message) == *given
    }
}

/// What is around a node.
#[derive(Default)]
pub(crate) struct Around {
    pub(crate) relayed: BTreeSet<NodeId>,
    pub(crate) unwilling: BTreeSet<NodeId>,
    pub(crate) refused: BTreeSet<NodeId>,
}

impl Neighbours for Around {
    fn rtt(&self, _: &NodeId) -> Option<Duration> {
        Some(Duration::from_millis(50))
    }

    fn is_relayed(&self, node: &NodeId) -> bool {
        self.relayed.contains(node)
    }

    fn wants(&self, node: &NodeId, _: &ChannelOf) -> bool {
        !self.unwilling.contains(node)
    }

    fn admits(&self, origin: &NodeId, key: &[u8; 32], frame: &[u8]) -> bool {
        *origin == NodeId::of_key(key) && !self.refused.contains(origin) && frame.len() >= 14
    }
}

pub(crate) fn key(number: u16) -> [u8; 32] {
    let mut key = [0; 32];
    key[..2].copy_from_slice(&number.to_be_bytes());
    key
}

pub(crate) fn node(number: u16) -> NodeId {
    NodeId::of_key(&key(number))
}

pub(crate) fn at(milliseconds: u64) -> Time {
    Time::ZERO + Duration::from_secs(3600) + Duration::from_millis(milliseconds)
}

/// The time of all clocks.
pub(crate) fn clock(now: Time) -> u64 {
    UNIX + now.as_nanos() / 1_000_000
}

pub(crate) fn frame(text: &str) -> Vec<u8> {
    let mut frame = vec![0xff; 6];
    frame.extend_from_slice(&[2, 0, 0, 0, 0, 1, 8, 0]);
    frame.extend_from_slice(text.as_bytes());
    frame
}

pub(crate) fn origination(now: Time, frame: &[u8], ceiling: u8) -> Origination<'_> {
    let mut token = [0; 16];
    token.copy_from_slice(&sha512(&[frame, &now.as_nanos().to_be_bytes()])[..16]);
    Origination {
        unix_ms: clock(now),
        token,
        frame,
        port: GAME.port,
        ceiling,
        sample: &[],
        already: &[],
    }
}

pub(crate) fn reach(ceiling: u8) -> Reach<'static> {
    Reach {
        channel: GAME,
        ceiling,
        sample: &[],
        already: &[],
    }
}

pub(crate) fn spreading(number: u16) -> Spreading {
    Spreading::new(NETWORK, node(number))
}

/// Makes two nodes contacts for so many seconds that end `now`.
pub(crate) fn talk(spreading: &mut Spreading, now: Time, other: u16, seconds: u64) {
    let start = now.as_nanos() - 1_000_000_000 * (seconds - 1);
    for second in 0..seconds {
        let now = Time::from_nanos(start + 1_000_000_000 * second);
        spreading.contacts_mut().sent(now, &node(other));
        spreading.contacts_mut().received(now, &node(other));
    }
}

/// The bytes of a copy with a signature.
pub(crate) fn bytes(copy: &CopyTo) -> Vec<u8> {
    let Form::Spread(spread) = &copy.form else {
        panic!("a direct copy");
    };
    let mut bytes = Vec::new();
    spread.write(&mut bytes);
    assert_eq!(bytes.len(), spread.length());
    bytes
}

/// One node takes bytes, with the clock of all.
pub(crate) fn take(
    spreading: &mut Spreading,
    allowances: &mut Allowances,
    now: Time,
    from: u16,
    bytes: &[u8],
) -> Taken {
    take_with(spreading, allowances, now, from, bytes, Some(clock(now)))
}

/// What became of bytes: whether they are acknowledged, the frame delivered, and the copies.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    pub(crate) why: Option<crate::Refusal>,
    pub(crate) ack: Option<u64>,
    pub(crate) delivered: Option<Vec<u8>>,
    pub(crate) copies: Vec<CopyTo>,
}

pub(crate) fn take_with(
    spreading: &mut Spreading,
    allowances: &mut Allowances,
    now: Time,
    from: u16,
    bytes: &[u8],
    clock: Option<u64>,
) -> Taken {
    let (around, keys) = (Around::default(), Keys(key(0)));
    match spreading.arrive(now, &node(from), bytes, clock, &around, &keys, allowances) {
        Arrival::Known { id } => Taken {
            ack: Some(id),
            ..Taken::default()
        },
        Arrival::Refused { why, ack } => Taken {
            why: Some(why),
            ack,
            ..Taken::default()
        },
        Arrival::Check(pending) => {
            let genuine = pending.is_genuine(&keys);
            let accepted = spreading.verified(now, pending, genuine, &around, allowances);
            Taken {
                why: None,
                ack: accepted.ack,
                delivered: accepted.deliver.map(|delivery| delivery.frame().to_vec()),
                copies: accepted.copies,
            }
        }
    }
}

/// Nodes, and the copies between them.
pub(crate) struct Mesh {
    pub(crate) nodes: BTreeMap<NodeId, (Spreading, Allowances)>,
    pub(crate) now: Time,
    /// From whom, and what.
    wire: VecDeque<(NodeId, CopyTo)>,
    /// Who delivered what, each as often as it did.
    pub(crate) delivered: Vec<(NodeId, u64)>,
    /// Copies laid on the wire.
    pub(crate) sent: usize,
    pub(crate) resent: usize,
}

impl Mesh {
    pub(crate) fn new(count: u16) -> Self {
        let nodes = (0..count).map(|number| (node(number), (spreading(number), Allowances::new())));
        Self {
            nodes: nodes.collect(),
            now: at(0),
            wire: VecDeque::new(),
            delivered: Vec::new(),
            sent: 0,
            resent: 0,
        }
    }

    pub(crate) fn of(&mut self, number: u16) -> &mut Spreading {
        &mut self.nodes.get_mut(&node(number)).unwrap().0
    }

    /// Two nodes have to do with each other, and tell each other their need.
    pub(crate) fn join(&mut self, one: u16, other: u16, seconds: u64) {
        let now = self.now;
        talk(self.of(one), now, other, seconds);
        talk(self.of(other), now, one, seconds);
    }

    pub(crate) fn tell_needs(&mut self) {
        let now = self.now;
        let told: Vec<_> = self
            .nodes
            .iter_mut()
            .map(|(node, (spreading, _))| (*node, spreading.contacts_mut().hints_due(now)))
            .collect();
        for (from, (need, to)) in told {
            for to in to {
                self.nodes.get_mut(&to).unwrap().0.contacts_mut().set_need(&from, need);
            }
        }
    }

    pub(crate) fn broadcast(&mut self, from: u16, text: &str, ceiling: u8) -> u64 {
        let (now, frame) = (self.now, frame(text));
        let what = origination(now, &frame, ceiling);
        let spreading = self.of(from);
        let copies = spreading
            .originate(now, &what, &Around::default(), &Keys(key(from)))
            .unwrap();
        let id = copies.first().map_or(0, |copy| copy.id);
        self.lay(node(from), copies);
        id
    }

    fn lay(&mut self, from: NodeId, copies: Vec<CopyTo>) {
        self.sent += copies.len();
        self.wire.extend(copies.into_iter().map(|copy| (from, copy)));
    }

    /// Delivers what is on the wire, and then what is sent again, until nothing is. `loses` says what is lost: a copy, or an
    /// acknowledgement.
    pub(crate) fn run(&mut self, mut loses: impl FnMut() -> bool) {
        for _ in 0..1000 {
            while let Some((from, copy)) = self.wire.pop_front() {
                if !loses() {
                    self.arrive(from, &copy, loses());
                }
            }
            let deadlines = self.nodes.values().filter_map(|(spreading, _)| spreading.deadline());
            let Some(next) = deadlines.min() else { return };
            self.now = self.now.max(next);
            let now = self.now;
            let mut again = Vec::new();
            for (node, (spreading, _)) in &mut self.nodes {
                again.extend(spreading.due(now).into_iter().map(|copy| (*node, copy)));
            }
            self.resent += again.len();
            self.wire.extend(again);
        }
        panic!("it goes on for ever");
    }

    fn arrive(&mut self, from: NodeId, copy: &CopyTo, ack_lost: bool) {
        let now = self.now;
        let keys = Keys(key(0));
        let Some((spreading, allowances)) = self.nodes.get_mut(&copy.to) else {
            return;
        };
        let (mut ack, mut copies) = (Some(copy.id), Vec::new());
        match &copy.form {
            Form::Direct(_) => {
                if spreading.direct(now, &from, copy.id) {
                    self.delivered.push((copy.to, copy.id));
                }
            }
            Form::Spread(_) => {
                let around = Around::default();
                let bytes = bytes(copy);
                match spreading.arrive(now, &from, &bytes, Some(clock(now)), &around, &keys, allowances) {
                    Arrival::Known { id } => assert_eq!(id, copy.id),
                    Arrival::Refused { why, ack: again } => {
                        assert_eq!(why, crate::Refusal::Overload);
                        ack = again;
                    }
                    Arrival::Check(pending) => {
                        assert!(pending.is_genuine(&keys));
                        let accepted = spreading.verified(now, pending, true, &around, allowances);
                        assert_eq!(accepted.ack, Some(copy.id));
                        if accepted.deliver.is_some() {
                            self.delivered.push((copy.to, copy.id));
                        }
                        copies = accepted.copies;
                    }
                }
            }
        }
        let need = spreading.contacts().need(now);
        self.lay(copy.to, copies);
        if let Some(ack) = ack.filter(|_| !ack_lost) {
            let (sender, _) = self.nodes.get_mut(&from).unwrap();
            sender.acknowledged(now, &copy.to, &[ack], Some(need));
        }
    }
}
