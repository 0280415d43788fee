//! From a frame to a datagram. The steps of a batch:
//!
//! 1. [`Engine::handle_frames`] takes the frames of the cards in order.
//! 2. [`Engine::route`] (in `switch`) decides where each goes: answered here, to one peer, to all, held, or nowhere.
//! 3. [`Engine::send_frame`] picks the peer's session and path, or lets the frame wait for them.
//! 4. [`Engine::lay_out`] writes `[relay header | header | kind, network, frame | room for the tag]` into the arena, in
//!    parts where the path carries less ([`Engine::room`]).
//! 5. [`Engine::seal_pending`] seals the whole batch in place.
//!
//! What the engine has to say for itself takes the short way: [`Engine::send_sealed`] lays out and seals one datagram.

use std::ops::Range;

use farlan_crypto::{SealJob, TAG, seal_batch};

use crate::{
    Batch, Engine, FrameLabel, NetworkHandle, Outbox, Time,
    engine::Envelope,
    fragments::Part,
    mtu,
    peers::{MAX_WAITING, Path, Peer, PeerId, SIGN_OF_LIFE, SILENCE, WAITING_KEPT, Waiting},
    switch::{MAX_FRAME, Route},
    wire::{
        control::{Control, PADDING},
        datagram::{DATA_HEADER, SessionIndex, put_data},
        sealed::{CONTROL, FRAGMENT, FRAGMENT_HEADER, FULL, GROUP, GROUP_HEADER, MACS, OWN},
    },
};

/// What stands before a frame for one peer: kind and network.
const FRAME_HEADER: usize = 2;

/// A datagram that is laid out but not yet sealed.
#[derive(Debug)]
pub(crate) struct PendingSeal {
    peer: PeerId,
    session: SessionIndex,
    counter: u64,
    range: Range<usize>,
}

/// What is put into a data datagram.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Content<'a> {
    Empty,
    /// A frame for one peer; the MACs are left out where they are the two nodes' own.
    Frame {
        network: u8,
        frame: &'a [u8],
        own: bool,
    },
    Group {
        network: u8,
        sequence: u64,
        frame: &'a [u8],
    },
    Control(&'a [Control]),
    /// A message that is filled up to a length of its own.
    Padded {
        message: &'a Control,
        length: usize,
    },
    /// A part of another message.
    Part(Part<'a>),
}

impl Content<'_> {
    /// Its length, where it may be cut into parts.
    fn length(&self) -> Option<usize> {
        match self {
            Self::Frame { frame, own, .. } => Some(FRAME_HEADER + frame.len() - if *own { MACS } else { 0 }),
            Self::Group { frame, .. } => Some(GROUP_HEADER + frame.len()),
            Self::Empty | Self::Control(_) | Self::Padded { .. } | Self::Part(_) => None,
        }
    }

    fn write(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Empty => {}
            Self::Frame { network, frame, own } => {
                bytes.extend_from_slice(&[if *own { OWN } else { FULL }, *network]);
                let skipped = if *own { MACS } else { 0 };
                bytes.extend_from_slice(frame.get(skipped..).unwrap_or_default());
            }
            Self::Group {
                network,
                sequence,
                frame,
            } => {
                bytes.extend_from_slice(&[GROUP, *network]);
                bytes.extend_from_slice(&sequence.to_be_bytes());
                bytes.extend_from_slice(frame);
            }
            Self::Control(messages) => {
                let start = bytes.len();
                bytes.push(CONTROL);
                for message in *messages {
                    message.encode(bytes);
                }
                let length = bytes.len() - start;
                bytes.resize(start + length.next_multiple_of(PADDING), 0);
            }
            Self::Padded { message, length } => {
                let start = bytes.len();
                bytes.push(CONTROL);
                message.encode(bytes);
                bytes.resize((start + length).max(bytes.len()), 0);
            }
            Self::Part(part) => {
                bytes.push(FRAGMENT);
                bytes.extend_from_slice(&part.message.to_be_bytes());
                bytes.extend_from_slice(&[part.position, part.count]);
                bytes.extend_from_slice(part.bytes);
            }
        }
    }
}

impl Engine {
    /// Takes frames that the machine sent through its cards.
    pub fn handle_frames(&mut self, now: Time, frames: &mut Batch<FrameLabel>, out: &mut Outbox) {
        for (label, frame) in frames.iter() {
            self.handle_frame(now, label.network, frame, out);
        }
        self.seal_pending(out);
        self.end_turn(now, out);
    }

    fn handle_frame(&mut self, now: Time, network: NetworkHandle, frame: &[u8], out: &mut Outbox) {
        self.source_is_here(network, frame);
        match self.route(now, network, frame) {
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
            self.expect_answer(now, id);
            self.note_use(now, id, out);
        } else {
            self.let_wait(now, id, network, frame);
        }
        if rekey {
            self.begin_handshake(id, true);
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
            peer.owed = None;
        }
        laid_out
    }

    /// How much of a message fits one datagram, if all of it does not.
    fn room(&mut self, now: Time, id: PeerId, envelope: &Envelope, content: &Content<'_>) -> Option<usize> {
        let around = envelope.overhead() + DATA_HEADER + TAG;
        let packet = around + content.length()?;
        if packet <= mtu::FLOOR {
            return None;
        }
        let peer = self.peers.get_mut(id)?;
        let path = if envelope.is_relayed() {
            peer.relay_mtu.lead_to(envelope.destination);
            &mut peer.relay_mtu
        } else {
            peer.direct.mtu(envelope.destination)?
        };
        let news = path.note(now, packet);
        let limit = path.limit();
        if news {
            self.arm(id);
        }
        (packet > limit).then(|| limit.saturating_sub(around + FRAGMENT_HEADER).max(1))
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
        let mut whole = Vec::with_capacity(MAX_FRAME + GROUP_HEADER);
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
        let mut jobs: Vec<SealJob<'_>> = Vec::with_capacity(self.pending_seals.len());
        for seal in &self.pending_seals {
            let (_, tail) = std::mem::take(&mut arena).split_at_mut(seal.range.start - offset);
            let (datagram, tail) = tail.split_at_mut(seal.range.len());
            arena = tail;
            offset = seal.range.end;
            let session = self
                .peers
                .get(seal.peer)
                .and_then(|peer| peer.sessions.get(seal.session));
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
        let sent = self.lay_out_in(now, id, local, envelope.with_ttl(ttl), content, out);
        self.seal_pending(out);
        sent
    }

    /// Finds out what the paths to a peer carry, by padded pings.
    pub(crate) fn tend_mtu(&mut self, now: Time, id: PeerId, out: &mut Outbox) {
        let Some(peer) = self.peers.get_mut(id).filter(|peer| !peer.sessions.is_empty()) else {
            return;
        };
        let direct = peer.direct.sizes_due(now);
        let patience = peer.patience();
        let relayed = peer.relay_mtu.due(now, patience, peer.heard);
        let relay = peer.path;
        let direct = direct.into_iter().map(|(address, size)| (Path::Direct(address), size));
        let relayed = relayed.into_iter().filter_map(|size| Some((relay?, size)));
        for (path, size) in direct.chain(relayed).collect::<Vec<_>>() {
            self.try_size(now, id, path, size, out);
        }
    }

    fn try_size(&mut self, now: Time, id: PeerId, path: Path, size: usize, out: &mut Outbox) {
        let token = self.random_u64();
        let Some(envelope) = self.envelope(path) else { return };
        let Some(peer) = self.peers.get_mut(id) else { return };
        match path {
            Path::Direct(address) => {
                if let Some(mtu) = peer.direct.mtu(address) {
                    mtu.tried(size, token);
                }
            }
            Path::Relay { .. } | Path::Passed { .. } => peer.relay_mtu.tried(size, token),
        }
        let length = size.saturating_sub(envelope.overhead() + DATA_HEADER + TAG);
        let message = &Control::Ping { token };
        self.send_along(now, id, (path, None), Content::Padded { message, length }, out);
    }

    /// A ping was answered; whether it was padded to find out what a path carries.
    pub(crate) fn size_answered(&mut self, now: Time, id: PeerId, token: u64) -> bool {
        let Some(peer) = self.peers.get_mut(id) else {
            return false;
        };
        let answered = peer.relay_mtu.answered(now, token) || peer.direct.size_answered(now, token);
        if answered {
            self.arm(id);
        }
        answered
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
        if peer.unanswered.is_none() {
            peer.unanswered = Some(now);
            if let Some(Path::Relay { supernode, .. }) = peer.path {
                self.watch_relay(now, supernode);
            }
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
