//! Making sessions: the handshakes begun and answered, and what is sent again when.
//!
//! What others send comes through the `gate`; all public-key work waits in the queue of `work`.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use farlan_crypto::{
    Initiator, MESSAGE_1_OVERHEAD, MESSAGE_2_OVERHEAD, PublicKey, Responder, SalsaPoly, Secret, Window,
    defects::planted, sha512,
};
use farlan_netconf::Role as Side;
use rand_core::Rng as _;
use tracing::debug;
use zeroize::Zeroizing;

use crate::{
    Engine, Event, Leg, Outbox, Role, Time,
    cookies::{Route, Routes},
    direct::OPENING_TTL,
    gate::{AUTHENTIC, put_first_mac, put_second_mac},
    peers::{Path, PeerId},
    ranges::is_private,
    rates::{Meter, Rate},
    retry::{Retry, Schedule},
    sessions::{Lifetime, Session},
    wire::datagram::{
        Datagram, PROLOGUE, RelayIndex, RelayTarget, SessionIndex, SupernodeTag, VERSION, put_initiation, put_response,
    },
    work::WorkQueue,
};

/// The way a datagram came, and its answer goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Via {
    /// Straight over the underlay.
    Direct(Leg),
    /// Relayed by a supernode of this node; the source is where an answer goes.
    Relay { supernode: PeerId, source: RelayTarget },
    /// Passed on by another supernode to this one.
    Passed { sibling: SupernodeTag, source: RelayIndex },
}

impl Via {
    pub(crate) fn path(self) -> Path {
        match self {
            Self::Direct(address) => Path::Direct(address),
            Self::Relay { supernode, source } => Path::Relay {
                supernode,
                target: source,
            },
            Self::Passed { sibling, source } => Path::Passed { sibling, index: source },
        }
    }
}

/// A handshake this node began.
#[derive(Debug)]
pub(crate) struct Outgoing {
    state: Initiator<SalsaPoly>,
    /// The initiation without its second MAC, which depends on the route.
    datagram: Vec<u8>,
    local: SessionIndex,
    begun: Time,
    retry: Retry,
    /// Whether it renews keys that work.
    rekey: bool,
    /// Where it was sent.
    pub(crate) routes: Routes,
    /// The responses that may still be read.
    responses: Meter,
}

impl Outgoing {
    pub(crate) fn local(&self) -> SessionIndex {
        self.local
    }

    pub(crate) fn deadline(&self) -> Time {
        self.retry.at()
    }

    /// The initiation without its second MAC.
    pub(crate) fn datagram(&self) -> &[u8] {
        &self.datagram
    }

    /// Appends the initiation as it goes along a path.
    fn write(&self, now: Time, path: Path, bytes: &mut Vec<u8>) {
        put_second_mac(self.routes.cookie(now, path.into()), &self.datagram, bytes);
    }
}

/// A handshake of another node that this one answered, until the other's first sealed datagram.
#[derive(Debug)]
pub(crate) struct HalfOpen {
    digest: Digest,
    response: Vec<u8>,
    local: SessionIndex,
    via: Via,
    /// Whether message 2 went another way, too: what answers it then proves none of them.
    ways: bool,
    since: Time,
}

impl HalfOpen {
    pub(crate) fn local(&self) -> SessionIndex {
        self.local
    }

    pub(crate) fn deadline(&self) -> Time {
        self.since + HALF_OPEN_KEPT
    }
}

type Digest = [u8; 32];

/// The queue of public-key work, and the messages answered lately.
#[derive(Debug, Default)]
pub(crate) struct Handshakes {
    pub(crate) queue: WorkQueue,
    /// Messages whose answers wait for their first sealed datagram.
    answered: BTreeMap<Digest, PeerId>,
    /// The same, the oldest first, with some that are over.
    answered_in_order: VecDeque<(PeerId, Digest)>,
    /// Messages whose sessions stand: a copy that the network made is not answered again.
    settled: VecDeque<Digest>,
}

/// Length of the header of an initiation. What follows up to its MACs is message 1.
const INITIATION_HEADER: usize = 8;
const _: () = assert!(AUTHENTIC == INITIATION_HEADER + MESSAGE_1_OVERHEAD + INITIATION_HEADER + 32);

/// Length of a datagram with message 2, and of the header in it.
const RESPONSE: usize = RESPONSE_HEADER + MESSAGE_2_OVERHEAD + RESPONSE_HEADER + 32;
const RESPONSE_HEADER: usize = 12;

/// Responses read for one handshake. There is one, and one more for each time the initiation was sent again; who saw the
/// initiation can forge others.
const RESPONSES: Rate = Rate::each_second(8);

/// Answered handshakes that wait for their first sealed datagram, each less than a kilobyte: at a node, and at the largest supernodes.
/// A supernode answers thousands a second while its nodes come back to it, and whoever is around the globe, or busy, says its first word
/// after most of a second; what gives way before that was answered in vain, and is answered again.
const MAX_HALF_OPEN: usize = 1024;
const MAX_HALF_OPEN_OF_MANY: usize = 16_384;

/// At a supernode they are this part of the registrations that it may have.
const HALF_OPEN_SHARE: usize = 16;

/// Those of one peer: over the relay and straight to two endpoints, or one of a recorded message beside the true one.
const MAX_HALF_OPEN_OF_ONE: usize = 3;

/// Settled messages that are remembered; the oldest gives way.
const MAX_SETTLED: usize = 256;

/// How long an answered handshake waits for it.
const HALF_OPEN_KEPT: Duration = Duration::from_secs(5);

/// The pauses after which an unanswered message 1 is sent again. The first leaves room for a relayed round trip between
/// continents; one around the globe costs a second datagram.
const RESEND: Schedule = Schedule {
    first: Duration::from_millis(450),
    steady: 8,
    longest: Duration::from_secs(5),
};

/// A message 1 is sent again byte for byte for so long, then made anew: the other end has forgotten it.
const RESENT_FOR: Duration = HALF_OPEN_KEPT;

/// A handshake goes on while something was to be sent within this time.
const WANTED: Duration = Duration::from_secs(6);

impl Handshakes {
    pub(crate) fn is_idle(&self) -> bool {
        self.queue.is_empty()
    }

    /// Initiations whose answers wait for their first sealed datagram.
    #[cfg(test)]
    pub(crate) fn answered_lately(&self) -> usize {
        self.answered.len()
    }
}

impl Engine {
    /// Asks for a session with `peer`; nothing happens if a handshake is under way.
    pub(crate) fn begin_handshake(&mut self, peer: PeerId, rekey: bool) {
        if self.peers.get(peer).is_some_and(|peer| peer.outgoing.is_none()) {
            self.handshakes.queue.begin(peer, rekey);
        }
    }

    /// A response of this version: lets it into the queue, if it is to a handshake of this node.
    pub(crate) fn response_received(&mut self, now: Time, via: Via, local: SessionIndex, datagram: &[u8]) {
        if datagram.len() != RESPONSE {
            self.counters.malformed_datagrams += 1;
            return;
        }
        let peer = self.peers.by_session(local).and_then(|id| self.peers.get_mut(id));
        let outgoing = peer.and_then(|peer| peer.outgoing.as_mut());
        let Some(outgoing) = outgoing.filter(|outgoing| outgoing.local == local) else {
            self.counters.unknown_session += 1;
            return;
        };
        if !self.handshakes.queue.takes_response(local) {
            self.counters.handshakes_overflow += 1;
            return;
        }
        if !outgoing.responses.take(now, &RESPONSES, 1) {
            self.counters.handshakes_limited += 1;
            return;
        }
        self.handshakes.queue.add_response(local, (via, datagram.to_vec()));
    }

    /// Resends or renews the handshake begun with `peer`, or ends it if nothing is to be sent any more.
    pub(crate) fn tend_handshake(&mut self, now: Time, id: PeerId, out: &mut Outbox) {
        let Some(peer) = self.peers.get_mut(id) else { return };
        let over = peer.half_open.iter().filter(|half_open| half_open.deadline() <= now);
        let over: Vec<SessionIndex> = over.map(HalfOpen::local).collect();
        for local in over {
            self.end_half_open(id, local);
        }
        let Some(peer) = self.peers.get_mut(id) else { return };
        let wanted = self.directory.wants(id) || peer.wanted.is_some_and(|wanted| now.since(wanted) < WANTED);
        let Some(outgoing) = &mut peer.outgoing else { return };
        if outgoing.retry.at() > now {
            return;
        }
        if !wanted {
            self.drop_outgoing(id);
        } else if now.since(outgoing.begun) < RESENT_FOR {
            // What is heard meanwhile shows that the way works.
            let heard = peer.heard.is_some_and(|heard| heard > outgoing.begun);
            let stale = outgoing.retry.sent() >= 2 && !heard;
            outgoing.retry.again(now);
            if stale {
                self.try_other_relay(now, id);
            }
            self.send_initiation(now, id, out);
        } else {
            let (retry, rekey) = (outgoing.retry, outgoing.rekey);
            let routes = std::mem::take(&mut outgoing.routes).for_the_next();
            let heard = peer.heard.is_some_and(|heard| heard > outgoing.begun);
            self.drop_outgoing(id);
            // Where the pauses are long, every try is a new one, and the way may have to change all the same: the index known
            // for the peer may be of a time before its supernode restarted.
            if heard {
                self.try_other_address(now, id);
            } else {
                self.try_other_relay(now, id);
            }
            self.begin(now, id, rekey, Some((retry, routes)), out);
        }
    }

    /// Begins a handshake, or begins one anew that was sent as `before` says.
    pub(crate) fn begin(
        &mut self,
        now: Time,
        id: PeerId,
        rekey: bool,
        before: Option<(Retry, Routes)>,
        out: &mut Outbox,
    ) {
        self.find_path(now, id);
        let local = self.fresh_session_index();
        let ephemeral = self.fresh_secret();
        let spread = if self.peers.get(id).is_some_and(|peer| peer.supernode) {
            self.random_u64()
        } else {
            0
        };
        let Some(peer) = self.peers.get_mut(id) else { return };
        let near = peer.near.is_some_and(|near| near.is_open());
        if peer.outgoing.is_some() || (peer.way().is_none() && peer.direct.known().is_empty() && !near) {
            return;
        }
        let schedule = if peer.supernode {
            self.directory.schedule(now, id, spread)
        } else {
            RESEND
        };
        let mut datagram = Vec::new();
        put_initiation(&mut datagram, local);
        let payload = proof(&datagram, &self.public);
        let started = Initiator::start(
            PROLOGUE,
            &self.identity,
            &peer.key,
            ephemeral.as_bytes(),
            &payload,
            &mut datagram,
        );
        let Ok(state) = started else {
            self.counters.handshakes_refused += 1;
            return;
        };
        put_first_mac(&peer.key, &mut datagram);
        let (mut retry, mut routes) = (Retry::begin(schedule, now), Routes::default());
        if let Some((before, known)) = before {
            // The pauses go on from where they were, and the NATs are open.
            retry = before.with(retry);
            retry.again(now);
            routes = known;
        }
        peer.outgoing = Some(Box::new(Outgoing {
            state,
            datagram,
            local,
            begun: now,
            retry,
            rekey,
            routes,
            responses: Meter::default(),
        }));
        self.peers.bind(local, id);
        self.counters.handshakes_begun += 1;
        self.send_initiation(now, id, out);
        self.arm(id);
    }

    /// Sends message 1 the way data goes. Where that is no direct path, or brought no answer, it goes to the endpoints
    /// where the peer answered before and over the relay alike, and the first answer counts.
    pub(crate) fn send_initiation(&mut self, now: Time, id: PeerId, out: &mut Outbox) {
        self.find_path(now, id);
        let Some(peer) = self.peers.get(id) else { return };
        let Some(outgoing) = &peer.outgoing else { return };
        let first = outgoing.retry.sent() == 1;
        let active = peer.direct.active();
        let mut routes: Vec<Route> = Vec::new();
        if let Some(path) = peer.path.filter(|_| active.is_none() || !first) {
            self.transmit(path, out, |bytes| outgoing.write(now, path, bytes));
            routes.push(path.into());
        }
        if let Some(leg) = self.directory.spare_stream(id) {
            let path = Path::Direct(leg);
            self.transmit(path, out, |bytes| outgoing.write(now, path, bytes));
            routes.push(path.into());
        }
        for leg in peer.direct.known() {
            let path = Path::Direct(leg);
            // The first one only opens this end's NAT: see `direct::OPENING`.
            let ttl = (first && active != Some(leg) && !is_private(leg.ip())).then_some(OPENING_TTL);
            if let Some(envelope) = self.envelope(path) {
                let envelope = envelope.with_ttl(ttl);
                envelope.write(&mut out.datagrams, |bytes| outgoing.write(now, path, bytes));
            }
            routes.push(path.into());
        }
        let known = peer.direct.known();
        let near = self.peers.get_mut(id).and_then(|peer| peer.near.as_mut());
        let near = near.and_then(|near| {
            let fits = !known.contains(&near.leg) && near.spend(now);
            fits.then(|| (Path::Direct(near.leg), near.time_to_live()))
        });
        if let Some(outgoing) = self.peers.get_mut(id).and_then(|peer| peer.outgoing.as_mut()) {
            for route in routes {
                outgoing.routes.go(route);
            }
        }
        if let Some(along) = near {
            self.send_initiation_along(now, id, along, out);
        }
    }

    /// Sends the message 1 under way along one more path, with a time to live if it is not the system's.
    pub(crate) fn send_initiation_along(
        &mut self,
        now: Time,
        id: PeerId,
        (path, ttl): (Path, Option<u8>),
        out: &mut Outbox,
    ) {
        let outgoing = self.peers.get(id).and_then(|peer| peer.outgoing.as_ref());
        if let (Some(outgoing), Some(envelope)) = (outgoing, self.envelope(path)) {
            let envelope = envelope.with_ttl(ttl);
            envelope.write(&mut out.datagrams, |bytes| outgoing.write(now, path, bytes));
        }
        if let Some(outgoing) = self.peers.get_mut(id).and_then(|peer| peer.outgoing.as_mut()) {
            outgoing.routes.go(path.into());
        }
    }

    pub(crate) fn drop_outgoing(&mut self, id: PeerId) {
        if let Some(outgoing) = self.peers.get_mut(id).and_then(|peer| peer.outgoing.take()) {
            self.peers.unbind(outgoing.local);
        }
    }

    /// The initiation of another node, let in by the gate: answers with message 2.
    pub(crate) fn answer(&mut self, now: Time, via: Via, datagram: &[u8], out: &mut Outbox) {
        let (Ok(Datagram::Initiation { sender: remote, .. }), Some((authentic, _))) =
            (Datagram::parse(datagram), datagram.split_at_checked(AUTHENTIC))
        else {
            self.counters.malformed_datagrams += 1;
            return;
        };
        let message = authentic.get(INITIATION_HEADER..).unwrap_or_default();
        // The MACs are none of it: they follow from it and from where it goes.
        let digest = digest(authentic);
        if let Some(id) = self.handshakes.answered.get(&digest) {
            let id = *id;
            let peer = self.peers.get_mut(id);
            let answered = peer.and_then(|peer| peer.half_open.iter_mut().find(|half_open| half_open.digest == digest));
            if let Some(half_open) = answered {
                half_open.ways |= half_open.via != via;
                let response = half_open.response.clone();
                self.transmit(via.path(), out, |bytes| bytes.extend_from_slice(&response));
            }
            return;
        }
        if self.handshakes.settled.contains(&digest) {
            return;
        }
        let mut payload = Vec::new();
        let Ok(responder) = Responder::<SalsaPoly>::read(PROLOGUE, &self.identity, message, &mut payload) else {
            self.counters.handshakes_refused += 1;
            return;
        };
        let key = proved(authentic, INITIATION_HEADER, &payload).and_then(|key| responder.remote_key(key, self.work));
        let Some(key) = key.filter(|key| *key != self.public) else {
            self.counters.handshakes_refused += 1;
            return;
        };
        if let Via::Direct(leg) = via
            && !self.may_answer_straight(&key, leg)
        {
            self.counters.handshakes_refused += 1;
            return;
        }
        let Some(id) = self.pin(now, key) else {
            self.counters.handshakes_refused += 1;
            return;
        };
        // Crossing handshakes: the one begun by the lower node id wins. The loser's message shows a way to it, which
        // may be newer than the one ours took.
        let crossing = self.peers.get(id).is_some_and(|peer| peer.outgoing.is_some());
        if crossing && self.node_id < key.node_id() {
            return self.send_initiation_along(now, id, (via.path(), None), out);
        }
        // This node's own handshake goes on until the other's has proved to be alive.
        self.make_room_for_half_open(id, via);
        self.make_room_for_answer();

        let local = self.fresh_session_index();
        let ephemeral = self.fresh_secret();
        let mut response = Vec::new();
        put_response(&mut response, remote, local);
        let payload = proof(&response, &self.public);
        let Ok(keys) = responder.respond(ephemeral.as_bytes(), &payload, &mut response) else {
            self.counters.handshakes_refused += 1;
            return;
        };
        let session = Session::new(
            keys,
            (local, remote),
            Side::Responder,
            self.lifetime(id),
            self.window(),
            now,
        );
        self.transmit(via.path(), out, |bytes| bytes.extend_from_slice(&response));
        self.peers.bind(local, id);
        self.handshakes.answered.insert(digest, id);
        self.handshakes.answered_in_order.push_back((id, digest));
        if let Some(peer) = self.peers.get_mut(id) {
            peer.sessions.add(session);
            peer.half_open.push(HalfOpen {
                digest,
                response,
                local,
                via,
                ways: false,
                since: now,
            });
        }
        self.arm(id);
    }

    /// Ends the handshake of a peer that a new one takes the place of: one that came the same way, so that what somebody
    /// else replays from elsewhere does not end the true one.
    fn make_room_for_half_open(&mut self, id: PeerId, via: Via) {
        let Some(peer) = self.peers.get(id) else { return };
        let same_way = peer
            .half_open
            .iter()
            .find(|half_open| half_open.via == via || planted("half-open-displaced"));
        let oldest = peer.half_open.first();
        let oldest = oldest.filter(|_| peer.half_open.len() >= MAX_HALF_OPEN_OF_ONE);
        if let Some(local) = same_way.or(oldest).map(HalfOpen::local) {
            self.end_half_open(id, local);
        }
    }

    /// Answered handshakes that may wait for their first sealed datagram.
    pub(crate) fn max_half_open(&self) -> usize {
        match self.role {
            Role::Node => MAX_HALF_OPEN,
            Role::Supernode => {
                (self.anchor.places.most() / HALF_OPEN_SHARE).clamp(MAX_HALF_OPEN, MAX_HALF_OPEN_OF_MANY)
            }
        }
    }

    /// Where too many handshakes wait for their first sealed datagram, the oldest gives way: a true one waits for a round trip.
    fn make_room_for_answer(&mut self) {
        let most = self.max_half_open();
        let Handshakes {
            answered,
            answered_in_order: order,
            ..
        } = &mut self.handshakes;
        if order.len() >= 2 * most {
            order.retain(|(_, digest)| answered.contains_key(digest));
        }
        while self.handshakes.answered.len() >= most
            && let Some((id, digest)) = self.handshakes.answered_in_order.pop_front()
        {
            let peer = self.peers.get(id);
            let waits = peer.and_then(|peer| peer.half_open.iter().find(|half_open| half_open.digest == digest));
            if let Some(local) = waits.map(HalfOpen::local) {
                self.end_half_open(id, local);
                self.counters.handshakes_overflow += 1;
            }
        }
    }

    /// Ends the wait for the first sealed datagram of a handshake that was answered, with its keys if none came.
    pub(crate) fn end_half_open(&mut self, id: PeerId, local: SessionIndex) {
        let Some(peer) = self.peers.get_mut(id) else { return };
        let Some(position) = peer.half_open.iter().position(|half_open| half_open.local == local) else {
            return;
        };
        let half_open = peer.half_open.remove(position);
        peer.half_open.shrink_to_fit();
        self.handshakes.answered.remove(&half_open.digest);
        if peer.sessions.by_index(local).is_some_and(|session| !session.confirmed) {
            peer.sessions.remove(local);
            self.peers.unbind(local);
        }
    }

    /// Message 2 for a handshake this node began: the session stands.
    pub(crate) fn finish(&mut self, now: Time, via: Via, datagram: &[u8], out: &mut Outbox) {
        let Ok(Datagram::Response {
            receiver: local,
            sender: remote,
            message,
            ..
        }) = Datagram::parse(datagram)
        else {
            self.counters.malformed_datagrams += 1;
            return;
        };
        let id = self.peers.by_session(local);
        let Some((id, peer)) = id.and_then(|id| Some((id, self.peers.get_mut(id)?))) else {
            self.counters.unknown_session += 1;
            return;
        };
        let Some(outgoing) = peer.outgoing.take_if(|outgoing| outgoing.local == local) else {
            self.counters.unknown_session += 1;
            return;
        };
        let mut payload = Vec::new();
        let finished = outgoing.state.finish(&self.identity, message, &mut payload);
        let named = proved(datagram, RESPONSE_HEADER, &payload) == Some(peer.key.as_bytes());
        let Some(keys) = finished.ok().filter(|_| named) else {
            // A forged message 2 does not spoil the true one.
            peer.outgoing = Some(outgoing);
            self.counters.handshakes_refused += 1;
            return;
        };
        self.counters.handshakes_done += 1;
        if outgoing.retry.sent() == 1 {
            peer.measure_rtt(now.since(outgoing.begun));
        }
        peer.heard = Some(now);
        peer.unanswered = None;
        if !peer.supernode && matches!(via, Via::Relay { .. }) {
            peer.path = Some(via.path());
        }
        let straight = match via {
            // What was not asked there proves nothing: its source may be anybody's.
            Via::Direct(leg) => Some(leg).filter(|_| !peer.supernode && outgoing.routes.went(via.into())),
            _ => None,
        };
        if peer.supernode {
            self.way_answered(now, id, via);
        }
        let lifetime = self.lifetime(id);
        let session = Session::new(keys, (local, remote), Side::Initiator, lifetime, self.window(), now);
        let Some(peer) = self.peers.get_mut(id) else { return };
        peer.sessions.add(session);
        let room = peer.sessions.make_room();
        // Where the old keys still work, the new ones carry frames once the other end's networks are known.
        if !outgoing.rekey || peer.supernode {
            peer.sessions.prefer(local, now);
        }
        let supernode = peer.supernode;
        if let Some(ended) = room {
            self.peers.unbind(ended);
        }
        debug!(peer = %self.name(id), "session stands");
        if let Some(leg) = straight {
            self.direct_proved(now, id, leg, out);
        }
        if supernode {
            self.register(now, id, out);
        } else {
            self.offer_networks(now, id, local, out);
            self.release_waiting(now, id, out);
        }
        self.arm(id);
    }

    /// The first sealed datagram under a session this node answered: the other end holds the keys.
    pub(crate) fn confirmed(&mut self, now: Time, id: PeerId, local: SessionIndex, via: Via, out: &mut Outbox) {
        self.counters.handshakes_done += 1;
        let Some(peer) = self.peers.get_mut(id) else { return };
        if let Some(session) = peer.sessions.by_index(local) {
            session.confirmed = true;
        }
        let room = peer.sessions.make_room();
        let position = peer.half_open.iter().position(|half_open| half_open.local == local);
        let half_open = position.map(|position| peer.half_open.remove(position));
        peer.half_open.shrink_to_fit();
        if let Some(ended) = room {
            self.peers.unbind(ended);
        }
        let proved = half_open
            .as_ref()
            .is_some_and(|half_open| half_open.via == via && !half_open.ways);
        let Some(peer) = self.peers.get_mut(id) else { return };
        match self.role {
            Role::Supernode => {
                let newer = peer.sessions.get(local).map(|session| session.remote);
                let before = peer
                    .sessions
                    .iter()
                    .rfind(|session| session.confirmed && session.local != local);
                let replaced = before.map(|session| session.local).zip(peer.path);
                peer.sessions.prefer(local, now);
                // Message 2 went there, and who received it answered from there.
                if proved || (peer.path.is_none() && planted("registration-moves-without-challenge")) {
                    peer.path = Some(via.path());
                }
                if let (Some(newer), Some(replaced)) = (newer, replaced) {
                    self.session_replaced(now, id, replaced, newer, out);
                }
            }
            Role::Node => {
                if let Via::Direct(leg) = via
                    && proved
                {
                    self.direct_proved(now, id, leg, out);
                }
                self.offer_networks(now, id, local, out);
            }
        }
        self.drop_outgoing(id);
        if let Some(half_open) = half_open {
            self.handshakes.answered.remove(&half_open.digest);
            if self.handshakes.settled.len() >= MAX_SETTLED {
                self.handshakes.settled.pop_front();
            }
            self.handshakes.settled.push_back(half_open.digest);
        }
    }

    /// Drops a peer's sessions, as after its goodbye.
    pub(crate) fn end_sessions(&mut self, id: PeerId, out: &mut Outbox) {
        let Some(peer) = self.peers.get_mut(id) else { return };
        let had = !peer.sessions.is_empty();
        let node = peer.key.node_id();
        if !peer.waiting.is_empty() {
            peer.waiting.clear();
        }
        peer.session_ended();
        let ended = peer.sessions.clear();
        for index in ended {
            self.peers.unbind(index);
        }
        if had && self.role == Role::Node {
            out.events.push(Event::PeerDown { node });
        }
    }

    fn lifetime(&self, id: PeerId) -> &'static Lifetime {
        let supernode = self.role == Role::Supernode || self.peers.get(id).is_some_and(|peer| peer.supernode);
        if supernode { Lifetime::SUPERNODE } else { Lifetime::PEER }
    }

    fn window(&self) -> Window {
        match self.role {
            Role::Node => Window::Node,
            Role::Supernode => Window::Supernode,
        }
    }

    fn fresh_session_index(&mut self) -> SessionIndex {
        loop {
            let index = SessionIndex(self.random.next_u32());
            if !self.peers.index_taken(index) {
                return index;
            }
        }
    }

    /// 32 secret bytes: the engine's generator and a block of fresh randomness from outside, hashed together, so that
    /// neither alone decides them. Where more handshakes fall into one turn than there are blocks in store, the generator
    /// decides the others.
    pub(crate) fn fresh_secret(&mut self) -> Secret<32> {
        let own: Secret<32> = Secret::filled(|own| self.random.fill_bytes(own));
        let outside = self.entropy.pop_front().unwrap_or_else(|| Secret::from([0; 32]));
        let hash = Zeroizing::new(sha512(&[b"farlan ephemeral 1", own.as_bytes(), outside.as_bytes()]));
        Secret::filled(|secret| secret.copy_from_slice(&hash[..32]))
    }
}

/// The payload of a handshake message: the header before the message, which is thereby authenticated, and the sender's key.
fn proof(header: &[u8], key: &PublicKey) -> Vec<u8> {
    [header, key.as_bytes()].concat()
}

/// The key in a payload made by [`proof`], if the datagram begins with the header it was made for.
fn proved<'a>(datagram: &[u8], header: usize, payload: &'a [u8]) -> Option<&'a [u8; 32]> {
    let (proved, key) = payload.split_at_checked(header)?;
    let fits = datagram.get(..header) == Some(proved) || planted("handshake-header-unchecked");
    <&[u8; 32]>::try_from(key).ok().filter(|_| fits)
}

/// Whether a handshake message is of this version.
pub(crate) fn version_fits(datagram: &Datagram<'_>) -> bool {
    match datagram {
        Datagram::Initiation { version, .. }
        | Datagram::Response { version, .. }
        | Datagram::Cookie { version, .. } => *version == VERSION,
        _ => true,
    }
}

fn digest(datagram: &[u8]) -> Digest {
    let hash = sha512(&[datagram]);
    let mut digest = [0; 32];
    digest.copy_from_slice(&hash[..32]);
    digest
}
