//! A run: nodes that send each other real bytes in virtual time, and what is counted.

use std::collections::{BinaryHeap, HashMap};

use farlan_crypto::NodeId;
use farlan_spreading::{Accepted, Arrival, CopyTo, Form, Origination, Time};

use super::{
    counts::{Cast, Counts},
    draw::{Draw, Stream},
    events::{Event, Packet, What},
    frames,
    keys::Keys,
    node::{BEGINNING, Behaviour, Node, View},
    places::{Milliseconds, Way},
    world::World,
};

/// How long a copy, and an acknowledgement, take an uplink of 2 Mbit/s.
const COPY_NS: u64 = 2_000_000;
const ACK_NS: u64 = 250_000;

/// The clock of the world when a run begins, in milliseconds since 1970.
const UNIX_MS: u64 = 1_800_000_000_000;

/// How a run is to go.
#[derive(Clone, Copy, Debug, Default)]
pub struct Manner {
    /// Share of nodes that do so, other than what they should.
    pub hostile: f64,
    /// What those do.
    pub behaviour: Behaviour,
    /// Whether a session takes a round trip over the supernode before a copy can be sent in it. Otherwise the first copy goes
    /// with the handshake.
    pub handshakes: bool,
}

/// Nodes that send each other real bytes in virtual time.
pub struct Run<'w> {
    world: &'w World,
    keys: &'w Keys,
    manner: Manner,
    now: u64,
    events: BinaryHeap<Event>,
    order: u64,
    nodes: HashMap<u32, Box<Node>>,
    touched: Vec<u32>,
    chance: Stream,
    behaviours: Draw,
    /// What liars keep, to send it again much later.
    pub(super) hoard: Vec<(u32, Box<[u8]>)>,
    tokens: Draw,
    /// The node whose uplink has no bounds.
    unleashed: Option<u32>,
    /// The broadcasts so far.
    pub casts: Vec<Cast>,
    /// What was counted so far.
    pub counts: Counts,
}

impl<'w> Run<'w> {
    /// The run of this number in a world.
    pub fn new(world: &'w World, keys: &'w Keys, number: u64, manner: Manner) -> Self {
        Self {
            world,
            keys,
            manner,
            now: BEGINNING.as_nanos(),
            events: BinaryHeap::new(),
            order: 0,
            nodes: HashMap::new(),
            touched: Vec::new(),
            chance: Stream::new(Draw::new(world.seed, "chance").of(number)),
            behaviours: Draw::new(world.seed, "behaviours"),
            hoard: Vec::new(),
            tokens: Draw::new(world.seed, "tokens").of(number),
            unleashed: None,
            casts: Vec::new(),
            counts: Counts::default(),
        }
    }

    /// The world it runs in.
    pub fn world(&self) -> &'w World {
        self.world
    }

    /// Nanoseconds since the run began.
    pub fn elapsed(&self) -> u64 {
        self.now - BEGINNING.as_nanos()
    }

    /// The nodes that took part so far, in the order in which they came to.
    pub fn touched(&self) -> &[u32] {
        &self.touched
    }

    /// The state of a node that took part.
    pub fn node(&self, node: u32) -> Option<&Node> {
        self.nodes.get(&node).map(AsRef::as_ref)
    }

    /// Whether a node does what it should.
    pub fn is_honest(&self, node: u32) -> bool {
        self.behaviour(node) == Behaviour::Honest
    }

    /// Counts what nodes send and receive from 0 on again.
    pub fn forget_traffic(&mut self) {
        for node in &self.touched {
            if let Some(state) = self.nodes.get_mut(node) {
                (state.sent, state.received) = (0, 0);
            }
        }
        self.counts = Counts::default();
    }

    /// Forgets what this node has sent, so that its own limits do not hold it, and lets its uplink be as wide as it likes.
    pub fn unleash(&mut self, node: u32) {
        let (world, keys, now) = (self.world, self.keys, self.time());
        let fresh = Node::new(world, keys, node, now);
        let state = self.touch(node);
        (state.spreading, state.uplink) = (fresh.spreading, 0);
        self.unleashed = Some(node);
    }

    /// A node broadcasts after so many nanoseconds from now.
    pub fn call_at(&mut self, after: u64, node: u32, ceiling: u8) {
        self.push(self.now + after, What::Call { node, ceiling });
    }

    /// A node broadcasts now; the number of the broadcast, none if the node's own limits are against it.
    pub fn call(&mut self, node: u32, ceiling: u8, sample: &[NodeId]) -> Option<usize> {
        let number = self.casts.len();
        let mut token = [0; 16];
        token[..8].copy_from_slice(&self.tokens.of(number as u64).of(0).number().to_be_bytes());
        token[8..].copy_from_slice(&self.tokens.of(number as u64).of(1).number().to_be_bytes());
        let frame = frames::frame(&self.keys.id(node), number as u64);
        let (now, unix_ms) = (self.time(), self.unix_ms(node));
        let (world, keys) = (self.world, self.keys);
        let state = self.touch(node);
        let view = View {
            world,
            keys,
            node,
            sessions: &state.sessions,
        };
        let what = Origination {
            unix_ms,
            token,
            frame: &frame,
            port: frames::PORT,
            ceiling,
            sample,
            already: &[],
        };
        let copies = state.spreading.originate(now, &what, &view, &keys.signer(node))?;
        self.casts.push(Cast {
            origin: node,
            at: self.now,
            delivered: Vec::new(),
            copies: 0,
        });
        self.send_copies(node, copies);
        self.set_alarm(node);
        Some(number)
    }

    /// Runs until nothing is under way any more.
    pub fn finish(&mut self) {
        while self.step(u64::MAX) {}
    }

    /// Runs for so many nanoseconds.
    pub fn run_for(&mut self, nanoseconds: u64) {
        let end = self.now + nanoseconds;
        while self.step(end) {}
        self.now = end;
    }

    fn step(&mut self, end: u64) -> bool {
        if self.events.peek().is_none_or(|event| event.at > end) {
            return false;
        }
        let Some(event) = self.events.pop() else { return false };
        self.now = event.at;
        match event.what {
            What::Packet { from, to, packet } => self.arrive(from, to, packet),
            What::Wake(node) => self.wake(node),
            What::Session { one, other } => self.meet(one, other),
            What::Call { node, ceiling } => {
                self.call(node, ceiling, &[]);
            }
        }
        true
    }

    fn arrive(&mut self, from: u32, to: u32, packet: Packet) {
        let (now, keys) = (self.time(), self.keys);
        let from_id = keys.id(from);
        let state = self.touch(to);
        state.meet(from);
        match packet {
            Packet::Ack { id, need } => state.spreading.acknowledged(now, &from_id, &[id], Some(need)),
            Packet::Direct(bytes) => {
                state.received += 1;
                let (number, frame) = bytes.split_at(8);
                let id = u64::from_be_bytes(number.try_into().unwrap_or_default());
                let new = state.spreading.direct(now, &from_id, id);
                self.counts.received += 1;
                if new {
                    self.deliver(to, from, frame);
                } else {
                    self.counts.duplicates += 1;
                }
                self.acknowledge(to, from, id);
            }
            Packet::Signed(bytes) => {
                self.arrive_signed(from, to, &bytes);
            }
        }
        if self.is_honest(to) {
            self.set_alarm(to);
        }
    }

    fn arrive_signed(&mut self, from: u32, to: u32, bytes: &[u8]) {
        let (now, unix_ms) = (self.time(), UNIX_MS + self.elapsed() / 1_000_000);
        let (world, keys) = (self.world, self.keys);
        let state = self.touch(to);
        state.received += 1;
        let view = View {
            world,
            keys,
            node: to,
            sessions: &state.sessions,
        };
        let allowances = &mut state.allowances;
        let arrival = state
            .spreading
            .arrive(now, &keys.id(from), bytes, Some(unix_ms), &view, keys, allowances);
        let mut accepted = Accepted::default();
        let (mut known, mut refused, mut forged) = (0, 0, 0);
        match arrival {
            Arrival::Known { id } => {
                known = 1;
                accepted.ack = Some(id);
            }
            Arrival::Refused { ack, .. } => {
                refused = 1;
                accepted.ack = ack;
            }
            Arrival::Check(pending) => {
                let genuine = pending.is_genuine(keys);
                forged = u64::from(!genuine);
                accepted = state.spreading.verified(now, pending, genuine, &view, allowances);
            }
        }
        self.counts.received += 1;
        self.counts.duplicates += known;
        self.counts.refused += refused;
        self.counts.forged += forged;
        if let Some(id) = accepted.ack {
            self.acknowledge(to, from, id);
        }
        if let Some(delivery) = &accepted.deliver {
            if let Some(origin) = keys.number(&delivery.origin) {
                self.deliver(to, origin, delivery.frame());
            } else {
                self.counts.false_deliveries += 1;
            }
        }
        match self.behaviour(to) {
            Behaviour::Honest => self.send_copies(to, accepted.copies),
            Behaviour::Drops => {}
            Behaviour::Inflates => {
                if accepted.deliver.is_some() {
                    self.inflate(to, from, bytes);
                }
            }
        }
    }

    /// A frame comes to a node's card.
    fn deliver(&mut self, node: u32, origin: u32, frame: &[u8]) {
        let number = frames::number(frame).unwrap_or(u64::MAX);
        let known = usize::try_from(number)
            .ok()
            .and_then(|number| self.casts.get_mut(number));
        let genuine = known.as_ref().is_some_and(|cast| {
            cast.origin == origin && origin != node && frames::frame(&self.keys.id(origin), number) == frame
        });
        match known {
            Some(cast) if genuine => {
                let after = (self.now - cast.at) as f32 / 1e6;
                cast.delivered.push((node, after));
            }
            _ => self.counts.false_deliveries += 1,
        }
    }

    fn acknowledge(&mut self, from: u32, to: u32, id: u64) {
        let now = self.time();
        let need = self.touch(from).spreading.contacts().need(now);
        self.counts.acks += 1;
        self.send(from, to, Packet::Ack { id, need });
    }

    fn wake(&mut self, node: u32) {
        let (now, at) = (self.time(), self.now);
        let Some(state) = self.nodes.get_mut(&node) else { return };
        if state.wake != at {
            return;
        }
        state.wake = u64::MAX;
        let copies = state.spreading.due(now);
        self.send_copies(node, copies);
        self.set_alarm(node);
    }

    /// Two nodes have a session: what waited for it is sent.
    fn meet(&mut self, one: u32, other: u32) {
        let (now, world, keys) = (self.time(), self.world, self.keys);
        self.touch(other).meet(one);
        let other_id = keys.id(other);
        let state = self.touch(one);
        state.meet(other);
        let view = View {
            world,
            keys,
            node: one,
            sessions: &state.sessions,
        };
        let copies = state.spreading.release(now, &other_id, &view);
        self.send_copies(one, copies);
        self.set_alarm(one);
    }

    fn send_copies(&mut self, from: u32, copies: Vec<CopyTo>) {
        for copy in copies {
            let Some(to) = self.keys.number(&copy.to) else { continue };
            if self.manner.handshakes && !self.touch(from).knows(to) {
                self.touch(from).spreading.unsent(&copy.to, copy.id);
                let way = self.world.places.relay(from, to);
                self.shake(from, to, way);
                continue;
            }
            self.send_copy(from, to, &copy);
        }
    }

    /// A handshake over the supernode; one that is lost is begun again after half a second.
    fn shake(&mut self, from: u32, to: u32, way: Way) {
        if self.world.is_gone(to) {
            return;
        }
        let mut after = 0;
        loop {
            let there = way.next(&mut self.chance);
            let back = way.next(&mut self.chance);
            if let (Some(there), Some(back)) = (there, back) {
                after += nanoseconds(there + back);
                break;
            }
            after += 500_000_000;
        }
        self.push(self.now + after, What::Session { one: from, other: to });
    }

    fn send_copy(&mut self, from: u32, to: u32, copy: &CopyTo) {
        let (spread, direct) = match &copy.form {
            Form::Direct(spread) => (spread, true),
            Form::Spread(spread) => (spread, false),
        };
        let mut bytes = Vec::with_capacity(512);
        if direct {
            bytes.extend(copy.id.to_be_bytes());
            bytes.extend(spread.frame());
        } else {
            spread.write(&mut bytes);
        }
        let header = bytes.len() - spread.frame().len();
        self.counts.header = self.counts.header.max(header);
        self.counts.header_bytes += header as u64;
        if spread.budget() == 0 {
            self.counts.leaf_header = self.counts.leaf_header.max(header);
        }
        let number = frames::number(spread.frame()).and_then(|number| usize::try_from(number).ok());
        if let Some(cast) = number.and_then(|number| self.casts.get_mut(number)) {
            cast.copies += 1;
        }
        let bytes = bytes.into_boxed_slice();
        let packet = if direct {
            Packet::Direct(bytes)
        } else {
            Packet::Signed(bytes)
        };
        self.send(from, to, packet);
    }

    pub(super) fn send(&mut self, from: u32, to: u32, packet: Packet) {
        let is_copy = !matches!(packet, Packet::Ack { .. });
        let (now, world) = (self.now, self.world);
        let takes = match (self.unleashed == Some(from), is_copy) {
            (true, _) => 0,
            (false, true) => COPY_NS,
            (false, false) => ACK_NS,
        };
        let state = self.touch(from);
        state.uplink = state.uplink.max(now) + takes;
        let sent = state.uplink;
        state.sent += u32::from(is_copy);
        // The first packet to whom there is no session with goes over the supernode, with the handshake.
        let way = if state.meet(to) {
            world.places.relay(from, to)
        } else {
            world.places.way(from, to)
        };
        if is_copy {
            self.counts.copies += 1;
            self.counts.relayed += u64::from(way.relayed);
        }
        let Some(delay) = way.next(&mut self.chance) else {
            return;
        };
        if !world.is_gone(to) {
            self.push(sent + nanoseconds(delay), What::Packet { from, to, packet });
        }
    }

    fn set_alarm(&mut self, node: u32) {
        let now = self.now;
        let Some(state) = self.nodes.get_mut(&node) else { return };
        let Some(deadline) = state.spreading.deadline() else {
            return;
        };
        let at = deadline.as_nanos().max(now);
        if at < state.wake {
            state.wake = at;
            self.push(at, What::Wake(node));
        }
    }

    /// The state of a node, which begins to exist here if it has not yet.
    pub(super) fn touch(&mut self, node: u32) -> &mut Node {
        let (world, keys, now) = (self.world, self.keys, Time::from_nanos(self.now));
        let touched = &mut self.touched;
        let state = self.nodes.entry(node).or_insert_with(|| {
            touched.push(node);
            Box::new(Node::new(world, keys, node, now))
        });
        state.talk(now);
        state
    }

    fn behaviour(&self, node: u32) -> Behaviour {
        if self.manner.hostile > 0.0 && self.behaviours.of(node.into()).chance(self.manner.hostile) {
            self.manner.behaviour
        } else {
            Behaviour::Honest
        }
    }

    fn push(&mut self, at: u64, what: What) {
        self.order += 1;
        self.events.push(Event {
            at,
            order: self.order,
            what,
        });
    }

    fn time(&self) -> Time {
        Time::from_nanos(self.now)
    }

    fn unix_ms(&self, node: u32) -> u64 {
        (UNIX_MS + self.elapsed() / 1_000_000).saturating_add_signed(self.world.skew(node))
    }
}

fn nanoseconds(milliseconds: Milliseconds) -> u64 {
    (milliseconds * 1e6) as u64
}
