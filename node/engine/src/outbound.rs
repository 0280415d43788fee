//! From a frame to a datagram. The steps of a batch:
//!
//! 1. [`Engine::handle_frames`] takes the frames of the cards in order.
//! 2. [`Engine::route`] (in `switch`) decides where each goes: answered here, to one peer, to all, held, or nowhere.
//!    On networks of strangers its flow is noted ([`Engine::lets_out`]), so that answers are let in, and what is meant for this
//!    machine's own LAN stays here.
//! 3. [`Engine::lane_out`] finds the peer's session and path; frames to the same MACs behind it take the lane too.
//!    Otherwise [`Engine::send_frame`] does it frame by frame, or lets the frame wait.
//! 4. [`Engine::send_in_lane`] cuts super-frames and writes
//!    `[relay header | header | kind, network, frame | room for the tag]` into the arena; so does [`Engine::lay_out`],
//!    in parts where the path carries less ([`Engine::room`]).
//! 5. [`Engine::seal_pending`] seals the whole batch in place.
//!
//! What the engine has to say for itself takes the short way: [`Engine::send_sealed`] lays out and seals one datagram.

use farlan_crypto::{Job, TAG, seal_batch};
use farlan_netconf::Policy;
use farlan_offload::{Offload, Segments, complete};

use crate::{
    Batch, Engine, FrameLabel, NetworkHandle, Outbox, Time,
    content::{Content, FRAME_HEADER, PendingSeal},
    engine::Envelope,
    filter::FlowMark,
    fragments::Part,
    lanes::OutLane,
    mtu,
    peers::{MAX_WAITING, Path, Peer, PeerId, SIGN_OF_LIFE, SILENCE, WAITING_KEPT, Waiting},
    sessions::Session,
    spreading::Exchange,
    switch::{HEADER, MAX_FRAME, Route},
    wire::{
        control::Control,
        datagram::{DATA_HEADER, SessionIndex, put_data},
        sealed::{FRAGMENT_HEADER, FULL, LONGEST, MACS, OWN, PARTIAL},
    },
};

impl Engine {
    /// Takes frames and super-frames that the machine sent through its cards.
    pub fn handle_frames(&mut self, now: Time, frames: &mut Batch<FrameLabel>, out: &mut Outbox) {
        let mut lane: Option<OutLane> = None;
        for (label, frame) in frames.iter() {
            let known = lane.as_mut().filter(|lane| lane.is_for(label.network, frame));
            if known.is_some_and(|lane| {
                !self.lets_out_in_lane(now, lane, frame) || self.send_in_lane(now, lane, label.offload, frame, out)
            }) {
                continue;
            }
            lane = self.handle_frame(now, label, frame, out);
        }
        self.seal_pending(out);
        self.end_turn(now, out);
    }

    /// Returns the lane of the frames that have the same MACs, where there is one.
    fn handle_frame(&mut self, now: Time, label: &FrameLabel, frame: &[u8], out: &mut Outbox) -> Option<OutLane> {
        let network = label.network;
        self.source_is_here(now, network, frame);
        // Where a super-frame goes shows at its front; how long it is says nothing of the frames it stands for.
        let front = match label.offload.segment {
            Some(_) => frame.get(..MAX_FRAME).unwrap_or(frame),
            None => frame,
        };
        let route = self.route(now, network, front);
        if !matches!(route, Route::Answer(_) | Route::Nowhere) && !self.lets_out(now, network, frame) {
            return None;
        }
        if let Route::Peer { peer, own } = route
            && let Some(mut lane) = self.lane_out(now, network, peer, own, frame)
            && self.send_in_lane(now, &mut lane, label.offload, frame, out)
        {
            self.note_exchange(
                now,
                network,
                peer,
                Exchange::Sent,
                frame.get(MACS..).unwrap_or_default(),
            );
            self.frames_left(now, peer, out);
            return Some(lane);
        }
        if label.offload == Offload::default() {
            self.handle_plain_frame(now, network, frame, route, out);
        } else {
            self.handle_cut(now, label, frame, out);
        }
        None
    }

    /// The lane to a peer, if there is nothing to wait for.
    fn lane_out(&mut self, now: Time, network: NetworkHandle, id: PeerId, own: bool, frame: &[u8]) -> Option<OutLane> {
        let strangers = self.networks.get(network)?.policy == Policy::Strangers;
        let peer = self.peers.get_mut(id)?;
        let way = peer.way()?;
        let session = peer.sessions.sending().filter(|session| session.ends() > now)?;
        let networks = &session.networks;
        if networks.known() && !networks.shared(network) {
            return None;
        }
        let place = networks.position(network)?;
        let (session, remote) = (session.local, session.remote);
        Some(OutLane {
            network,
            macs: *frame.first_chunk()?,
            peer: id,
            own,
            session,
            remote,
            place,
            envelope: self.envelope(way)?,
            noted: OutLane::ROOM,
            limit: OutLane::ROOM,
            flow: strangers.then(|| FlowMark::of(frame)),
        })
    }

    /// Lays a frame, or all that a super-frame stands for, out in a lane. Returns whether that was possible; if not,
    /// nothing was laid out.
    fn send_in_lane(
        &mut self,
        now: Time,
        lane: &mut OutLane,
        offload: Offload,
        frame: &[u8],
        out: &mut Outbox,
    ) -> bool {
        let Ok(segments) = Segments::new(frame, offload) else {
            return false;
        };
        let skipped = if lane.own { MACS } else { 0 };
        let longest = segments.longest();
        if !(HEADER..=MAX_FRAME).contains(&longest) || !self.fits(now, lane, longest - skipped) {
            return false;
        }
        let Some(peer) = self.peers.get_mut(lane.peer) else {
            return false;
        };
        let Some(session) = peer.sessions.by_index(lane.session) else {
            return false;
        };
        let partial = if offload.partial { PARTIAL } else { 0 };
        let kind = if lane.own { OWN } else { FULL } | partial;
        for index in 0..segments.len() {
            // A session ends long before its counters do.
            let Ok(counter) = session.sealer.next_counter() else {
                break;
            };
            let range = lane.envelope.write(&mut out.datagrams, |bytes| {
                put_data(bytes, lane.remote, counter);
                bytes.extend_from_slice(&[kind, lane.place]);
                segments.write(index, skipped, bytes);
                bytes.extend_from_slice(&[0; TAG]);
            });
            self.pending_seals.push(PendingSeal {
                peer: lane.peer,
                session: lane.session,
                counter,
                range,
            });
            self.counters.frames_sent += 1;
        }
        peer.owed = None;
        true
    }

    /// As [`lets_out`](Self::lets_out), unless the frame is of the flow of the frame before: within a batch no time passes.
    fn lets_out_in_lane(&mut self, now: Time, lane: &mut OutLane, frame: &[u8]) -> bool {
        let Some(flow) = &mut lane.flow else {
            return true;
        };
        let mark = FlowMark::of(frame);
        if mark.is_some() && mark == *flow {
            return true;
        }
        let leaves = self.lets_out(now, lane.network, frame);
        // What stays here is no flow, and is looked at each time.
        *flow = mark.filter(|_| leaves);
        leaves
    }

    /// Whether a frame of `length` bytes passes on a lane whole.
    fn fits(&mut self, now: Time, lane: &mut OutLane, length: usize) -> bool {
        let packet = lane.envelope.overhead() + DATA_HEADER + FRAME_HEADER + length + TAG;
        if packet > lane.noted {
            let Some(limit) = self.note_size(now, lane.peer, &lane.envelope, packet) else {
                return false;
            };
            lane.noted = packet;
            lane.limit = limit;
        }
        packet <= lane.limit
    }

    /// Frames were laid out for a peer.
    fn frames_left(&mut self, now: Time, id: PeerId, out: &mut Outbox) {
        let Some(peer) = self.peers.get_mut(id) else { return };
        peer.wanted = Some(now);
        peer.served = Some((peer.served.map_or(now, |(first, _)| first), now));
        let rekey = peer.sessions.wants_rekey(now);
        self.expect_answer(now, id);
        self.note_use(now, id, out);
        if rekey {
            self.begin_handshake(id, true);
        }
    }

    /// Cuts what offloads left open into plain frames.
    fn handle_cut(&mut self, now: Time, label: &FrameLabel, frame: &[u8], out: &mut Outbox) {
        let Ok(segments) = Segments::new(frame, label.offload) else {
            self.counters.malformed_frames += 1;
            return;
        };
        let mut plain = Vec::with_capacity(segments.longest());
        for index in 0..segments.len() {
            plain.clear();
            segments.write(index, 0, &mut plain);
            if label.offload.partial && complete(&mut plain).is_err() {
                self.counters.malformed_frames += 1;
                continue;
            }
            let route = self.route(now, label.network, &plain);
            self.handle_plain_frame(now, label.network, &plain, route, out);
        }
    }

    fn handle_plain_frame(&mut self, now: Time, network: NetworkHandle, frame: &[u8], route: Route, out: &mut Outbox) {
        match route {
            Route::Peer { peer, own } => self.send_frame(now, peer, network, frame, own, out),
            Route::Group => self.send_group(now, network, frame, out),
            Route::Answer(answer) => {
                self.counters.neighbours_answered += 1;
                out.frames.push(network, &answer);
            }
            Route::Ask { target, query, flood } => {
                self.held.push(now, network, frame);
                if let Some(query) = query {
                    self.look_up(now, network, target, query);
                }
                if flood {
                    self.send_group(now, network, frame, out);
                }
            }
            Route::Nowhere => {}
        }
    }

    /// Sends a frame to one peer, now or as soon as a session stands.
    pub(crate) fn send_frame(
        &mut self,
        now: Time,
        id: PeerId,
        network: NetworkHandle,
        frame: &[u8],
        own: bool,
        out: &mut Outbox,
    ) {
        let Some(peer) = self.peers.get_mut(id) else { return };
        peer.wanted = Some(now);
        let session = peer.sessions.sending();
        let place = session.as_ref().and_then(|session| session.networks.position(network));
        let (Some(session), Some(place)) = (session, place) else {
            self.let_wait(now, id, network, frame);
            return;
        };
        if session.networks.known() && !session.networks.shared(network) {
            self.counters.unmatched_network += 1;
            return;
        }
        let local = session.local;
        let rekey = peer.sessions.wants_rekey(now);
        if self.lay_out(
            now,
            id,
            local,
            Content::Frame {
                network: place,
                frame,
                own,
            },
            out,
        ) {
            self.counters.frames_sent += 1;
            self.note_exchange(now, network, id, Exchange::Sent, frame.get(MACS..).unwrap_or_default());
            self.frames_left(now, id, out);
        } else {
            self.let_wait(now, id, network, frame);
            if rekey {
                self.begin_handshake(id, true);
            }
        }
    }

    fn let_wait(&mut self, now: Time, id: PeerId, network: NetworkHandle, frame: &[u8]) {
        let Some(peer) = self.peers.get_mut(id) else { return };
        if peer.waiting.len() >= MAX_WAITING {
            peer.waiting.pop_front();
            self.counters.queue_dropped += 1;
        }
        peer.waiting.push_back(Waiting {
            network,
            frame: frame.to_vec(),
            since: now,
        });
        self.want(now, id);
        self.arm(id);
    }

    /// Sends what waited for a session.
    pub(crate) fn release_waiting(&mut self, now: Time, id: PeerId, out: &mut Outbox) {
        let Some(peer) = self.peers.get_mut(id) else { return };
        for waiting in std::mem::take(&mut peer.waiting) {
            let own = self.is_own_pair(waiting.network, id, &waiting.frame);
            self.send_frame(now, id, waiting.network, &waiting.frame, own, out);
        }
        self.seal_pending(out);
        self.release_groups(now, id, out);
        self.release_spread(now, id, out);
        self.send_pings(now, id, out);
    }

    /// Lays a datagram out under a session, to be sealed with its batch. Returns whether that was possible.
    pub(crate) fn lay_out(
        &mut self,
        now: Time,
        id: PeerId,
        local: SessionIndex,
        content: Content<'_>,
        out: &mut Outbox,
    ) -> bool {
        let way = self.peers.get(id).and_then(Peer::way);
        let envelope = way.and_then(|way| self.envelope(way)).or_else(|| {
            self.find_path(now, id);
            let peer = self.peers.get(id)?;
            let relay = peer.path.and_then(|path| self.envelope(path));
            // Without any relay, a path that worked is better than none.
            relay.or_else(|| self.envelope(Path::Direct(*peer.direct.known().first()?)))
        });
        let Some(envelope) = envelope else { return false };
        let room = self.room(now, id, &envelope, &content);
        let laid_out = match room {
            Some(room) => self.lay_out_parts(now, id, (local, envelope), (content, room), out),
            None => self.lay_out_in(now, id, local, envelope, content, out),
        };
        if laid_out && let Some(peer) = self.peers.get_mut(id) {
            peer.signed();
        }
        laid_out
    }

    /// How much of a message fits one datagram, if all of it does not.
    pub(crate) fn room(&mut self, now: Time, id: PeerId, envelope: &Envelope, content: &Content<'_>) -> Option<usize> {
        let around = envelope.overhead() + DATA_HEADER + TAG;
        let packet = around + content.length()?;
        if packet <= mtu::FLOOR {
            return None;
        }
        let limit = self.note_size(now, id, envelope, packet)?;
        (packet > limit).then(|| limit.saturating_sub(around + FRAGMENT_HEADER).max(1))
    }

    /// Tells the path that a packet of `size` bytes is to be sent on it, and returns what it carries.
    fn note_size(&mut self, now: Time, id: PeerId, envelope: &Envelope, size: usize) -> Option<usize> {
        let peer = self.peers.get_mut(id)?;
        let path = if envelope.is_relayed() {
            let met = &mut **peer;
            met.relay_mtu.lead_to(envelope.destination());
            &mut met.relay_mtu
        } else {
            peer.direct.mtu(envelope.destination())?
        };
        let news = path.note(now, size);
        let limit = path.limit();
        if news {
            self.arm(id);
        }
        Some(limit)
    }

    /// Lays a message out in parts of `room` bytes.
    fn lay_out_parts(
        &mut self,
        now: Time,
        id: PeerId,
        (local, envelope): (SessionIndex, Envelope),
        (content, room): (Content<'_>, usize),
        out: &mut Outbox,
    ) -> bool {
        let Some(peer) = self.peers.get_mut(id) else {
            return false;
        };
        peer.cut = peer.cut.wrapping_add(1);
        let message = peer.cut;
        let mut whole = Vec::with_capacity(LONGEST);
        content.write(&mut whole);
        let Ok(count) = u8::try_from(whole.len().div_ceil(room)) else {
            return false;
        };
        self.counters.messages_cut += 1;
        (0..count).zip(whole.chunks(room)).all(|(position, bytes)| {
            let part = Part {
                message,
                position,
                count,
                bytes,
            };
            self.lay_out_in(now, id, local, envelope, Content::Part(part), out)
        })
    }

    /// Lays a datagram out in an envelope of the caller's choice.
    fn lay_out_in(
        &mut self,
        now: Time,
        id: PeerId,
        local: SessionIndex,
        envelope: Envelope,
        content: Content<'_>,
        out: &mut Outbox,
    ) -> bool {
        let Some(peer) = self.peers.get_mut(id) else {
            return false;
        };
        let Some(session) = peer.sessions.by_index(local).filter(|session| session.ends() > now) else {
            return false;
        };
        let Ok(counter) = session.sealer.next_counter() else {
            return false;
        };
        let remote = session.remote;
        let range = envelope.write(&mut out.datagrams, |bytes| {
            put_data(bytes, remote, counter);
            content.write(bytes);
            bytes.extend_from_slice(&[0; TAG]);
        });
        self.pending_seals.push(PendingSeal {
            peer: id,
            session: local,
            counter,
            range,
        });
        true
    }

    /// Seals what was laid out, in place.
    pub(crate) fn seal_pending(&mut self, out: &mut Outbox) {
        if self.pending_seals.is_empty() {
            return;
        }
        let end = self.pending_seals.last().map_or(0, |seal| seal.range.end);
        let mut arena = out.datagrams.slice_mut(0..end).unwrap_or_default();
        let mut offset = 0;
        let mut jobs: Vec<Job<'_>> = Vec::with_capacity(self.pending_seals.len());
        let mut last: Option<(&PendingSeal, Option<&Session>)> = None;
        for seal in &self.pending_seals {
            let (_, tail) = std::mem::take(&mut arena).split_at_mut(seal.range.start - offset);
            let (datagram, tail) = tail.split_at_mut(seal.range.len());
            arena = tail;
            offset = seal.range.end;
            let session = match last {
                Some((before, session)) if (before.peer, before.session) == (seal.peer, seal.session) => session,
                _ => self
                    .peers
                    .get(seal.peer)
                    .and_then(|peer| peer.sessions.get(seal.session)),
            };
            last = Some((seal, session));
            let (header, message_and_tag) = datagram.split_at_mut(DATA_HEADER);
            match session {
                Some(session) => jobs.push(session.sealer.job(seal.counter, header, message_and_tag)),
                // No session ends between the layout and here; if one did, nothing readable may leave.
                None => message_and_tag.fill(0),
            }
        }
        seal_batch(&mut jobs);
        self.pending_seals.clear();
    }

    /// Sends one datagram sealed, under the session `under` or the one in use. Returns whether that was possible.
    pub(crate) fn send_sealed(
        &mut self,
        now: Time,
        id: PeerId,
        under: Option<SessionIndex>,
        content: Content<'_>,
        out: &mut Outbox,
    ) -> bool {
        let session = self.peers.get(id).and_then(|peer| peer.sessions.current());
        let Some(local) = under.or_else(|| session.map(|session| session.local)) else {
            return false;
        };
        // What was laid out before is sealed along with it: the ranges stay in order.
        let sent = self.lay_out(now, id, local, content, out);
        self.seal_pending(out);
        sent
    }

    /// Sends one datagram sealed under the session in use along a path of the caller's choice, with a time to live where
    /// it is not to be the system's.
    pub(crate) fn send_along(
        &mut self,
        now: Time,
        id: PeerId,
        (path, ttl): (Path, Option<u8>),
        content: Content<'_>,
        out: &mut Outbox,
    ) -> bool {
        let session = self.peers.get(id).and_then(|peer| peer.sessions.current());
        let (Some(local), Some(envelope)) = (session.map(|session| session.local), self.envelope(path)) else {
            return false;
        };
        let tries_a_size = matches!(content, Content::Padded { .. });
        let envelope = envelope.with_ttl(ttl).alike_if(tries_a_size);
        let sent = self.lay_out_in(now, id, local, envelope, content, out);
        self.seal_pending(out);
        sent
    }

    /// Sends control messages in one datagram.
    pub(crate) fn send_control(
        &mut self,
        now: Time,
        id: PeerId,
        under: Option<SessionIndex>,
        messages: &[Control],
        out: &mut Outbox,
    ) -> bool {
        self.send_sealed(now, id, under, Content::Control(messages), out)
    }

    /// Sends a sign of life.
    pub(crate) fn send_empty(&mut self, now: Time, id: PeerId, out: &mut Outbox) {
        self.send_sealed(now, id, None, Content::Empty, out);
    }

    /// Says goodbye.
    pub(crate) fn send_bye(&mut self, now: Time, id: PeerId, out: &mut Outbox) {
        self.send_control(now, id, None, &[Control::Bye], out);
        self.end_sessions(id, out);
    }

    /// Something was sent that the other end shows to have received, by traffic of its own or by a sign of life.
    pub(crate) fn expect_answer(&mut self, now: Time, id: PeerId) {
        let Some(peer) = self.peers.get_mut(id) else { return };
        let asked = peer.direct.expect_answer(now);
        if peer.unanswered.is_none() {
            peer.unanswered = Some(now);
            if let Some(Path::Relay { supernode, .. }) = peer.way() {
                self.watch_relay(now, supernode);
            }
            self.arm(id);
        } else if asked {
            self.arm(id);
        }
    }

    /// Gives the sign of life that is owed, begins a new handshake where none comes, and drops what waited too long.
    pub(crate) fn tend_silence(&mut self, now: Time, id: PeerId, out: &mut Outbox) {
        let Some(peer) = self.peers.get_mut(id) else { return };
        let before = peer.waiting.len();
        peer.waiting.retain(|waiting| now.since(waiting.since) < WAITING_KEPT);
        let dropped = before - peer.waiting.len();
        self.counters.queue_dropped += u64::try_from(dropped).unwrap_or_default();
        let owed = peer.owed.is_some_and(|since| now.since(since) >= SIGN_OF_LIFE);
        let silent = peer.unanswered.is_some_and(|since| now.since(since) >= SILENCE);
        if silent && !peer.supernode {
            // Counted anew from what is sent next; the old session stays until the new one is confirmed.
            peer.unanswered = None;
            if !self.leave_silent_path(now, id, out) {
                self.begin_handshake(id, false);
            }
        }
        if owed {
            if let Some(peer) = self.peers.get_mut(id) {
                peer.owed = None;
            }
            self.send_empty(now, id, out);
        }
    }
}
