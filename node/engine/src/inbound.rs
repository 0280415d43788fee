//! From a datagram to a frame. The steps of a batch:
//!
//! 1. [`Engine::handle_datagrams`] has the data of a batch opened together ([`Engine::open_ahead`]) and takes the datagrams in order.
//! 2. [`Engine::handle_datagram`] tells them apart: handshake messages go through the `gate` into the queue, a supernode passes
//!    on what it relays, a node takes the relay header off what was relayed to it.
//! 3. [`Engine::open`] finds the session and uses up the counter of what was opened, or opens the datagram in place.
//! 4. [`Engine::opened`] tells frames, group frames and control messages apart and puts fragments together; what comes before the networks of its
//!    session are matched waits.
//! 5. [`Engine::let_in`] (in `bridging`) checks the sources and learns foreign ones, and the frame leaves for its card.
//! 6. [`Engine::end_turn`] acknowledges what is to be acknowledged.

use std::time::Duration;

use farlan_crypto::{NodeId, TAG, defects::planted, session::OpenError};
use farlan_netconf::Policy;
use farlan_offload::Offload;
use tracing::trace;

use crate::{
    Batch, Engine, FrameLabel, Leg, NetworkHandle, Outbox, Received, Role, Socket, Time,
    forwarding::{Onward, PassedOn},
    fragments::Part,
    handshakes::{Via, version_fits},
    lanes::{InLane, InLanes},
    networks::Network,
    peers::{Path, PeerId},
    spreading::Exchange,
    subscriptions::ListKey,
    switch::carries_ipv4,
    wire::{
        control::{Audience, Control, PADDING, Papers, messages},
        datagram::{DATA_HEADER, Datagram, RELAY_HEADER, RelayTarget, SessionIndex, Unknown},
        sealed::{FULL, FrameIn, GROUP, MACS, OWN, PARTIAL, SPREAD, Sealed},
    },
};

/// What still comes over two supernodes, so long after something came over one, was under way when the path changed.
const ONE_HOP_KEPT: Duration = Duration::from_secs(2);

impl Engine {
    /// Takes datagrams from the underlay, each with its source. They are opened in place.
    ///
    /// What a supernode passes on is marked in the batch ([`Received::onward`](crate::Received::onward)), and is to be
    /// sent from there.
    pub fn handle_datagrams(&mut self, now: Time, received: &mut Batch<Received>, out: &mut Outbox) {
        let mut lanes = InLanes::default();
        let ahead = self.open_ahead(now, received);
        for index in 0..received.len() {
            let Some((label, datagram)) = received.packet_mut(index) else {
                continue;
            };
            lanes.ahead = ahead.get(index).copied().flatten();
            let source = label.source;
            let onward = match lanes.onward(source, datagram) {
                Some(onward) => self.readdress(datagram, RELAY_HEADER, onward),
                None => self.handle_datagram(now, Via::Direct(source), datagram, &mut lanes, out),
            };
            if let Some((to, skipped)) = onward {
                received.send_on(index, to, skipped);
            }
        }
        self.settle_onward(&mut lanes);
        self.end_turn(now, out);
    }

    /// Gives back what the run of datagrams that go on did not use of its quota.
    fn settle_onward(&mut self, lanes: &mut InLanes) {
        if let Some(grant) = lanes.leave_onward() {
            self.anchor.give_back(&grant);
        }
    }

    /// Writes the header with which a datagram goes on over the old one, which is `length` bytes long. Returns whither
    /// it goes, and how many of its bytes stay behind.
    fn readdress(&mut self, datagram: &mut [u8], length: usize, onward: Onward) -> Option<(Leg, usize)> {
        let skipped = length.checked_sub(RELAY_HEADER)?;
        let header = datagram.get_mut(skipped..length)?;
        header.copy_from_slice(&onward.header);
        self.counters.relayed += 1;
        Some((onward.to, skipped))
    }

    /// Returns whither it goes on, and how many of its bytes stay behind, if it is for somebody else.
    fn handle_datagram(
        &mut self,
        now: Time,
        via: Via,
        datagram: &mut [u8],
        lanes: &mut InLanes,
        out: &mut Outbox,
    ) -> Option<(Leg, usize)> {
        if let Via::Direct(leg) = via
            && let Some(via) = lanes.relayed(leg, datagram)
        {
            let inner = datagram.get_mut(RELAY_HEADER..)?;
            return self.handle_datagram(now, via, inner, lanes, out);
        }
        let Ok(parsed) = Datagram::parse(datagram) else {
            self.counters.malformed_datagrams += 1;
            return None;
        };
        if !version_fits(&parsed) {
            self.other_version_received(now, via, &parsed, out);
            return None;
        }
        if let Via::Direct(leg) = via
            && self.role == Role::Node
            && leg.is_stream()
            && !self.may_come_by(leg, &parsed)
        {
            self.counters.foreign_stream += 1;
            return None;
        }
        match parsed {
            Datagram::Initiation { sender, .. } => self.initiation_received(now, via, sender, datagram, out),
            Datagram::Response { receiver, .. } => self.response_received(now, via, receiver, datagram),
            Datagram::Cookie { receiver, .. } => self.cookie_received(now, via, receiver, datagram, out),
            Datagram::Data { receiver, counter } => self.open(now, via, (receiver, counter), datagram, lanes, out),
            Datagram::Relay {
                destination,
                source,
                inner,
            } => {
                let Via::Direct(leg) = via else {
                    // A relayed datagram holds no other.
                    self.counters.malformed_datagrams += 1;
                    return None;
                };
                if self.role == Role::Supernode {
                    let length = datagram.len() - inner.len();
                    let (onward, grant) = self.relay(now, leg, (destination, source), datagram, inner, out)?;
                    self.settle_onward(lanes);
                    let short = matches!(destination, RelayTarget::Index(_));
                    if !short || !lanes.keep_onward(leg, datagram, onward, Some(grant)) {
                        self.anchor.give_back(&grant);
                    }
                    return self.readdress(datagram, length, onward);
                }
                let supernode = self.supernode_at(leg);
                let (Some(supernode), RelayTarget::Index(_)) = (supernode, destination) else {
                    self.counters.foreign_relay += 1;
                    return None;
                };
                let source = RelayTarget::Index(source);
                let via = Via::Relay { supernode, source };
                lanes.keep_relayed(leg, datagram, via);
                let inner = datagram.get_mut(RELAY_HEADER..)?;
                return self.handle_datagram(now, via, inner, lanes, out);
            }
            Datagram::OtherVersion { version, index } => self.other_version_told(via, version, index, out),
            Datagram::Forward { .. } | Datagram::Passed { .. } => {
                // Where one is within another, it is not to be passed on.
                match self.passed_on(now, via, (datagram.len(), parsed), out) {
                    PassedOn::Here(inside) => {
                        if let Via::Direct(leg) = via {
                            lanes.keep_relayed(leg, datagram, inside);
                        }
                        let inner = datagram.get_mut(RELAY_HEADER..)?;
                        return self.handle_datagram(now, inside, inner, lanes, out);
                    }
                    PassedOn::Onward(onward, grant) => {
                        self.settle_onward(lanes);
                        let kept = match via {
                            Via::Direct(leg) => lanes.keep_onward(leg, datagram, onward, grant),
                            _ => false,
                        };
                        if let Some(grant) = grant.filter(|_| !kept) {
                            self.anchor.give_back(&grant);
                        }
                        return self.readdress(datagram, RELAY_HEADER, onward);
                    }
                    PassedOn::Nowhere => {}
                }
            }
            Datagram::Hint(unknown) => self.hinted(now, via, unknown, out),
            // Those that count come to the group (`handle_beacons`).
            Datagram::Beacon(_) => self.counters.beacons_foreign += 1,
        }
        None
    }

    /// The supernode of this node that is reached by `leg`.
    pub(crate) fn supernode_at(&self, leg: Leg) -> Option<PeerId> {
        self.directory.wanted().find(|id| {
            let peer = self.peers.get(*id);
            let registration = self.directory.registrations.get(id);
            peer.is_some_and(|peer| peer.path == Some(Path::Direct(leg)))
                || registration.is_some_and(|registration| registration.is_also_at(leg))
        })
    }

    fn open(
        &mut self,
        now: Time,
        via: Via,
        (local, counter): (SessionIndex, u64),
        datagram: &mut [u8],
        lanes: &mut InLanes,
        out: &mut Outbox,
    ) {
        let id = self.peers.by_session(local);
        let peer = id.and_then(|id| Some((id, self.peers.get_mut(id)?)));
        let session = peer.and_then(|(id, peer)| Some((id, peer.sessions.by_index(local)?)));
        let Some((id, session)) = session.filter(|(_, session)| session.ends() > now) else {
            if let Via::Direct(leg) = via
                && self.mirrored(leg, local, counter)
            {
                return;
            }
            self.counters.unknown_session += 1;
            // A supernode that restarted tells its nodes so, in less than they sent.
            if self.role == Role::Supernode {
                self.hint(now, via, Unknown::Session(local), out);
            }
            return;
        };
        let Some((header, sealed)) = datagram.split_at_mut_checked(DATA_HEADER) else {
            return;
        };
        let opened = match lanes.ahead.take() {
            Some(authentic) => session.opener.accept(counter, authentic).map(|()| {
                let length = sealed.len().saturating_sub(TAG);
                sealed.get_mut(..length).unwrap_or_default()
            }),
            None => session.opener.open(counter, header, sealed),
        };
        let message = match opened {
            Ok(message) => message,
            Err(OpenError::Forged) => {
                self.counters.forged += 1;
                return;
            }
            Err(OpenError::Replayed | OpenError::TooOld) => {
                self.counters.replayed += 1;
                return;
            }
        };
        trace!(bytes = message.len(), "opened");
        if let Some(lane) = lanes.frames(via, local)
            && let Some(frame) = lane.frame_in(message)
        {
            return self.frame_in_lane(now, &lane, frame, out);
        }
        session.heard = now;
        session.answered = true;
        if !session.confirmed {
            self.confirmed(now, id, local, via, out);
        }
        if self.replaced_session_heard(now, id, local, via, message, out) {
            return;
        }
        if let (Role::Supernode, Via::Direct(leg)) = (self.role, via) {
            self.streams.heard(now, leg);
        }
        if self.role == Role::Supernode && self.looked(now, id, via, message, out) {
            return self.arm(id);
        }
        self.heard(now, id, (local, via), message, out);
        if self.role == Role::Supernode && self.way_probed(now, id, via, message, out) {
            return self.arm(id);
        }
        // A supernode does nothing for whoever may be anybody but to challenge him.
        if self.role == Role::Supernode && !self.is_proved(id, via) {
            self.challenge_answered_in(id, via, message);
            return self.arm(id);
        }
        self.opened(now, id, (local, via), message, out);
        self.arm(id);
        lanes.keep_frames(self.lane_in(id, (local, via), message));
    }

    /// The lane of what comes after a frame that came this way. None as long as frames may have to wait.
    fn lane_in(&self, id: PeerId, (local, via): (SessionIndex, Via), message: &[u8]) -> Option<InLane> {
        let (Ok(Sealed::Own { network: place, .. } | Sealed::Full { network: place, .. }), Role::Node) =
            (Sealed::parse(message), self.role)
        else {
            return None;
        };
        let peer = self.peers.get(id)?;
        // What comes from where nothing is proved yet is counted one by one.
        if matches!(via, Via::Direct(leg) if !peer.direct.is_proven(leg)) {
            return None;
        }
        let session = peer.sessions.get(local).filter(|session| session.confirmed)?;
        let told = session.networks.known() && session.networks.their_claims_number.is_some();
        let network = self.networks.get(session.networks.at(place).filter(|_| told)?)?;
        Some(InLane {
            via,
            peer: id,
            session: local,
            place,
            network: network.handle,
            macs: macs_between(network, &peer.key.node_id()),
        })
    }

    /// A frame under the session and by the way of the one before it.
    fn frame_in_lane(&mut self, now: Time, lane: &InLane, frame: FrameIn<'_>, out: &mut Outbox) {
        // What was sent in this batch may have given the sign of life that the frames before asked for.
        if let Some(peer) = self.peers.get_mut(lane.peer)
            && peer.owed.is_none()
        {
            peer.owed = Some(now);
            self.arm(lane.peer);
        }
        self.deliver(now, lane.peer, (lane.network, &lane.macs), frame, out);
    }

    /// Hands a frame to its card, if the network's policy lets it in. Returns whether it did.
    fn deliver(
        &mut self,
        now: Time,
        id: PeerId,
        (network, macs): (NetworkHandle, &[u8; MACS]),
        frame: FrameIn<'_>,
        out: &mut Outbox,
    ) -> bool {
        let label = FrameLabel {
            network,
            offload: Offload {
                partial: frame.partial,
                segment: None,
            },
        };
        let range = out.frames.write(label, |bytes| {
            if frame.own {
                bytes.extend_from_slice(macs);
            }
            bytes.extend_from_slice(frame.bytes);
        });
        let Some(written) = out.frames.slice_mut(range) else {
            return false;
        };
        // Who sends what goes to many without a number has no more of it let in than others.
        if self.let_in(now, id, network, written) && (frame.own || self.may_inject(now, id, network, written)) {
            self.counters.frames_received += 1;
            return true;
        }
        out.frames.pop();
        false
    }

    /// Something sealed came from a peer: it is alive, and that is a way to it.
    fn heard(&mut self, now: Time, id: PeerId, (local, via): (SessionIndex, Via), message: &[u8], out: &mut Outbox) {
        let (role, empty) = (self.role, message.is_empty());
        let Some(peer) = self.peers.get_mut(id) else { return };
        let by_supernode = role == Role::Node && peer.supernode;
        if !by_supernode {
            peer.heard = Some(now);
        }
        if peer.sessions.answers_for_use(local) {
            peer.answered();
        }
        if role == Role::Supernode {
            self.anchored_heard(now, id, via, message, out);
        } else if by_supernode {
            // What came by the other family, or by an extra socket, says nothing of the way in use.
            if !self.came_by_other_family(id, via)
                && let Some(peer) = self.peers.get_mut(id)
            {
                peer.heard = Some(now);
            }
            if !matches!(via, Via::Direct(leg) if matches!(leg.socket, Socket::Extra(_))) {
                self.anchor_heard(now, id, via, message);
            }
        } else {
            if !empty && peer.owed.is_none() {
                peer.owed = Some(now);
            }
            match via {
                // The supernode vouches for the index; a wrong one is mended by the next genuine datagram.
                Via::Relay { supernode, source } => {
                    // The way over one supernode wins over the way over two.
                    let detour = matches!(source, RelayTarget::Remote { .. });
                    if !detour || peer.one_hop.is_none_or(|at| now.since(at) >= ONE_HOP_KEPT) {
                        let same =
                            matches!(peer.path, Some(Path::Relay { supernode: before, .. }) if before == supernode);
                        if !same || peer.reported.is_none() {
                            peer.moved = Some(now);
                        }
                        peer.path = Some(via.path());
                    }
                    if matches!(source, RelayTarget::Index(_)) {
                        peer.one_hop = Some(now);
                    }
                    peer.direct.relayed(now);
                    self.relay_works(now, supernode);
                }
                // Who only asks whether the way works may get nothing over it.
                Via::Direct(leg) => {
                    let bytes = DATA_HEADER + message.len() + TAG;
                    self.direct_heard(now, id, (leg, bytes), !is_challenge(message));
                }
                _ => {}
            }
        }
    }

    /// An opened message: a frame, a group frame, control messages, or nothing but a sign of life.
    pub(crate) fn opened(
        &mut self,
        now: Time,
        id: PeerId,
        (local, via): (SessionIndex, Via),
        message: &[u8],
        out: &mut Outbox,
    ) {
        let Ok(parsed) = Sealed::parse(message) else {
            self.counters.malformed_messages += 1;
            return;
        };
        match parsed {
            Sealed::Empty => {}
            Sealed::Own { .. } | Sealed::Full { .. } | Sealed::Group { .. } | Sealed::Spread { .. }
                if self.role == Role::Supernode =>
            {
                self.counters.unknown_messages += 1;
            }
            Sealed::Own { network: place, .. } | Sealed::Full { network: place, .. } => {
                let handle = self.matched(now, id, (local, via), place, message);
                let network = handle.and_then(|handle| self.networks.get(handle));
                if let (Some(network), Some(peer), Some(frame)) = (network, self.peers.get(id), FrameIn::of(message)) {
                    let macs = macs_between(network, &peer.key.node_id());
                    let handle = network.handle;
                    if self.deliver(now, id, (handle, &macs), frame, out) {
                        self.note_exchange(now, handle, id, Exchange::Received, frame.ether());
                    }
                    self.note_use(now, id, out);
                }
            }
            Sealed::Group {
                network,
                sequence,
                frame,
            } => {
                if let Some(handle) = self.matched(now, id, (local, via), network, message) {
                    self.group_received(now, id, handle, sequence, frame, out);
                }
            }
            Sealed::Spread { network, copy } => {
                if let Some(handle) = self.matched(now, id, (local, via), network, message) {
                    self.spread_received(now, id, handle, copy);
                }
            }
            Sealed::Fragment { .. } if self.role == Role::Supernode => self.counters.unknown_messages += 1,
            Sealed::Fragment {
                message,
                position,
                count,
                part,
            } => {
                let part = Part {
                    message,
                    position,
                    count,
                    bytes: part,
                };
                let (whole, lost) = self.assemblies.take(now, id, local, part);
                self.counters.fragments_lost += lost;
                // Only frames are cut, and no part is a cut message itself.
                match whole {
                    Some(whole)
                        if whole
                            .first()
                            .is_some_and(|kind| [OWN, FULL, GROUP, SPREAD].contains(&(kind & !PARTIAL))) =>
                    {
                        self.opened(now, id, (local, via), &whole, out);
                    }
                    Some(_) => self.counters.malformed_messages += 1,
                    None => {}
                }
            }
            Sealed::Control(body) => self.control_received(now, id, (local, via), body, out),
            Sealed::Unknown => self.counters.unknown_messages += 1,
        }
    }

    /// This node's network at a position of the other end's list. Where the list is not known yet, the message waits.
    fn matched(
        &mut self,
        now: Time,
        id: PeerId,
        (local, via): (SessionIndex, Via),
        position: u8,
        message: &[u8],
    ) -> Option<NetworkHandle> {
        let session = self.peers.get_mut(id)?.sessions.by_index(local)?;
        let handle = session.networks.at(position);
        let told = session.networks.their_claims_number.is_some();
        let pending = handle.is_none() && session.networks.is_pending(position);
        let early = !session.networks.known() || pending || (!told && self.waits_for_claim(id, handle, message));
        if !early {
            if handle.is_none() {
                self.counters.unmatched_network += 1;
            }
            return handle;
        }
        if !self.early.push(now, (id, local), via, message) {
            self.counters.queue_dropped += 1;
        }
        None
    }

    /// Whether the frame in a message cannot be judged before its sender told its claims: it carries IPv4 on a *strangers*
    /// network, and no list names the sender's address.
    fn waits_for_claim(&self, id: PeerId, handle: Option<NetworkHandle>, message: &[u8]) -> bool {
        let (Some(network), Some(peer)) = (handle.and_then(|handle| self.networks.get(handle)), self.peers.get(id))
        else {
            return false;
        };
        let listed = || network.member(&peer.key.node_id()).and_then(|member| member.ipv4);
        if network.policy != Policy::Strangers || peer.claims.contains_key(&network.handle) || listed().is_some() {
            return false;
        }
        match Sealed::parse(message) {
            Ok(Sealed::Own { rest, .. }) => carries_ipv4(rest),
            Ok(Sealed::Full { frame, .. } | Sealed::Group { frame, .. }) => frame.get(12..).is_some_and(carries_ipv4),
            _ => false,
        }
    }

    fn control_received(&mut self, now: Time, id: PeerId, way: (SessionIndex, Via), body: &[u8], out: &mut Outbox) {
        for message in messages(body) {
            match message {
                Ok(Some(message)) => {
                    // One that is padded only tries what the way carries.
                    let padded = body.len() >= PADDING;
                    if matches!(message, Control::Ping { .. }) && !padded && self.role == Role::Node {
                        self.note_use(now, id, out);
                    }
                    self.control(now, id, way, &message, out);
                }
                Ok(None) => self.counters.unknown_messages += 1,
                Err(_) => self.counters.malformed_messages += 1,
            }
        }
    }

    fn control(
        &mut self,
        now: Time,
        id: PeerId,
        (local, via): (SessionIndex, Via),
        message: &Control,
        out: &mut Outbox,
    ) {
        let node = self.role == Role::Node;
        match message {
            Control::Ack { number } => self.acknowledged(now, id, local, *number),
            Control::Networks { number, tags } if node => self.networks_told(now, id, local, (*number, tags), out),
            Control::Claims { number, claims } if node => self.claims_told(now, id, local, (*number, claims), out),
            Control::Addresses { number, addresses } if node => {
                self.addresses_told(now, id, local, (*number, addresses), out);
            }
            Control::Credentials { number, place, sealed } if node => {
                self.credentials_told(now, id, (local, via), (*number, *place, sealed), out);
            }
            Control::CredentialsAck { number } if node => self.credentials_acknowledged(id, local, *number),
            Control::Application { request, place, sealed } if node => {
                self.application_told(now, id, local, (*request, *place, sealed));
            }
            Control::Admission {
                request,
                place,
                status,
                sealed,
            } if node => self.admission_told(now, id, local, (*request, *place, *status), sealed),
            Control::Names { number, names } if node => self.names_told(now, id, local, (*number, names), out),
            Control::NamesAck { number } if node => self.names_acknowledged(now, id, local, *number),
            Control::Papers(papers) => self.papers(now, id, (local, via), papers, out),
            Control::Ping { token } => {
                self.send_control(now, id, None, &[Control::Pong { token: *token }], out);
            }
            Control::Pong { token } => self.ponged(now, id, via, *token, out),
            Control::GroupAck { sequences } => self.group_acknowledged(now, id, sequences),
            Control::Bye => self.bye(now, id, local, out),
            Control::Candidates {
                number,
                ask,
                candidates,
                behaviour,
            } if node => self.candidates_told(now, id, local, (*number, *ask, candidates, behaviour), out),
            Control::SearchOffer {
                number,
                supernode,
                technique,
            } if node => self.search_offered(now, id, (*number, supernode), *technique, out),
            Control::SearchStep { number, step } if node => self.search_stepped(now, id, *number, *step),
            Control::SearchGranted {
                number,
                node: whom,
                address,
            } if node => {
                self.search_granted(id, (*number, whom, *address));
            }
            Control::SearchWanted { number, node: whom } if !node => {
                self.search_asked(now, id, (*number, *whom), out);
            }
            Control::PathChallenge { token } if node => self.path_challenged(now, id, via, *token, out),
            Control::PathResponse { token, .. } if node => self.path_answered(now, id, via, *token, out),
            Control::Window { millis } if node => self.window_told(id, *millis),
            Control::Observed { endpoint } if node => self.observed_told(now, id, *endpoint),
            Control::Registered {
                request,
                index,
                observed,
                refused,
            } if node => {
                self.registered(now, id, (*request, *index, *observed, refused), out);
            }
            Control::Members {
                member_key,
                from,
                upto,
                count,
                entries,
            } if node => {
                self.members_told(now, id, *member_key, (*from, *upto, *count), entries, out);
            }
            Control::Located { request, found } if node => self.located(now, id, *request, found.as_ref(), out),
            Control::World { world, version } => self.world_told(now, id, *world, *version, out),
            Control::WorldWanted { world, version, offset } => {
                self.world_wanted(now, id, (*world, *version, *offset), out);
            }
            Control::WorldPiece {
                world,
                version,
                length,
                offset,
                bytes,
            } => self.world_piece(now, id, (*world, *version, *length, *offset), bytes, out),
            Control::ObservationsWanted { request } if node => {
                self.observations_wanted(now, id, local, *request, out);
            }
            Control::Observations { request, told } if node => self.observations_told(now, id, *request, told),
            Control::Homes { places } if node => self.homes_told(now, id, places, out),
            Control::Introduce { record } if node => self.introduced(id, record),
            Control::Challenge { nonce } if node => self.challenged(now, id, via, *nonce, out),
            Control::WayAnswer { token, observed } if node => self.way_answer_told(now, id, via, (*token, *observed)),
            // A copy of one that counted.
            Control::Answer { .. } if !node => {}
            Control::Seen {
                token,
                observed,
                second,
            } if node => {
                self.seen_told(id, (*token, *observed, *second));
                self.search_seen(id, (*token, *observed));
                self.fresh_seen(id, *token, *observed);
                self.other_family_seen(now, id, (*token, *observed));
            }
            Control::Show { nonce } if node => self.show_other_family(now, id, via, *nonce, out),
            // It came too late, or comes from elsewhere.
            Control::Shown { .. } if !node => {}
            Control::TwinQuestion { nonce, newer } if node => self.twin_asked(now, id, local, (*nonce, *newer), out),
            Control::Twin { other } if node => self.twin_told(now, id, *other, out),
            Control::Reached { nonce, endpoint } if node => self.reach_answered(id, via, *nonce, *endpoint),
            Control::Reach { nonce, port } if !node => self.reach_asked(now, id, via, (*nonce, *port), out),
            Control::Register { request, memberships } if !node => {
                self.register_asked(now, id, local, (*request, memberships), out);
            }
            Control::MembersAck { member_key, version } if !node => {
                self.members_acknowledged(now, id, ListKey::Members(*member_key), *version, out);
            }
            Control::Spread(told) => self.spread_told(now, id, local, told, out),
            Control::Audience(audience) => self.audience(now, id, local, audience, out),
            Control::Locate { request, query } if !node => self.locate_asked(now, id, *request, query, out),
            _ => self.counters.unknown_messages += 1,
        }
    }

    /// Something about channels.
    fn audience(&mut self, now: Time, id: PeerId, local: SessionIndex, audience: &Audience, out: &mut Outbox) {
        let node = self.role == Role::Node;
        match audience {
            Audience::Subscribe {
                number,
                member_key,
                channels,
            } if !node => self.subscribe_asked(now, id, local, (*number, *member_key, channels), out),
            Audience::SubscribersAck { channel_key, version } if !node => {
                self.members_acknowledged(now, id, ListKey::Subscribers(*channel_key), *version, out);
            }
            Audience::Subscribed { number } if node => self.subscribed(now, id, *number),
            Audience::Subscribers {
                channel_key,
                from,
                upto,
                count,
                entries,
            } if node => self.subscribers_told(now, id, *channel_key, (*from, *upto, *count), entries, out),
            Audience::Channels {
                number,
                place,
                more,
                channels,
            } if node => self.channels_told(now, id, local, (*number, *place), (channels, *more), out),
            Audience::ChannelsAck { number } if node => self.channels_acknowledged(now, id, local, *number),
            _ => self.counters.unknown_messages += 1,
        }
    }

    /// Something about documents.
    fn papers(&mut self, now: Time, id: PeerId, (local, via): (SessionIndex, Via), papers: &Papers, out: &mut Outbox) {
        let node = self.role == Role::Node;
        match papers {
            Papers::Told { number, place, holding } if node => {
                self.documents_told(now, id, (local, via), (*number, *place, *holding), out);
            }
            Papers::Ack { number } if node => self.documents_acknowledged(id, local, *number),
            Papers::Wanted { place, part, offset } if node => {
                self.piece_wanted(now, id, local, (*place, *part, *offset), out);
            }
            Papers::Piece {
                place,
                part,
                hash,
                length,
                offset,
                bytes,
            } if node => {
                self.piece_told(now, id, local, (*place, *part, *hash, *length, *offset), bytes, out);
            }
            Papers::Issued {
                number,
                place,
                gift,
                bytes,
            } if node => self.issued_told(now, id, (local, via), (*number, *place, *gift), bytes, out),
            Papers::IssuedAck { number } if node => self.issued_acknowledged(id, *number),
            Papers::Held { key, version, flags } if node => {
                self.sealed_held_told(now, id, (*key, *version, *flags), out);
            }
            Papers::Held { key, version, flags } => {
                self.sealed_held_asked(now, id, via, (*key, *version, *flags), out);
            }
            Papers::SealedWanted { key, version, offset } if node => {
                self.sealed_wanted_of_node(now, id, (*key, *version, *offset), out);
            }
            Papers::SealedWanted { key, version, offset } => {
                self.sealed_wanted_of_supernode(now, id, via, (*key, *version, *offset), out);
            }
            Papers::SealedPiece {
                key,
                version,
                length,
                offset,
                bytes,
            } => {
                let piece = (*key, *version, *length, *offset);
                if node {
                    self.sealed_piece_for_node(now, id, piece, bytes, out);
                } else {
                    self.sealed_piece_for_supernode(now, id, piece, bytes, out);
                }
            }
            _ => self.counters.unknown_messages += 1,
        }
    }

    /// A goodbye ends the session it came under and older ones: a late one does not end what a restarted peer has made since.
    fn bye(&mut self, now: Time, id: PeerId, local: SessionIndex, out: &mut Outbox) {
        let newest = self
            .peers
            .get(id)
            .and_then(|peer| peer.sessions.iter().rfind(|session| session.confirmed));
        if newest.is_none_or(|newest| newest.local != local && !planted("late-goodbye-heard")) {
            return;
        }
        self.end_sessions(id, out);
        if let Some(node) = self.peers.get(id).map(|peer| peer.key.node_id()) {
            self.note_left(&node, &[]);
        }
        if self.role == Role::Supernode {
            self.end_registration(now, id, true, out);
        } else if self.peers.get(id).is_some_and(|peer| peer.supernode) {
            self.waits_to_return(now, id);
            self.registration_lost(now, id, out);
        }
    }
}

/// The MACs of a frame that `node` sends to this one.
fn macs_between(network: &Network, node: &NodeId) -> [u8; MACS] {
    let mut macs = [0; MACS];
    let (destination, source) = macs.split_at_mut(MACS / 2);
    destination.copy_from_slice(network.mac.as_bytes());
    source.copy_from_slice(network.plan.mac(node).as_bytes());
    macs
}

/// Whether a message begins with a challenge.
fn is_challenge(message: &[u8]) -> bool {
    match Sealed::parse(message) {
        Ok(Sealed::Control(body)) => matches!(messages(body).next(), Some(Ok(Some(Control::PathChallenge { .. })))),
        _ => false,
    }
}
