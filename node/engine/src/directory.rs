//! A node's side of the directory: the supernodes of its worlds, and registration with them. Member lists are in
//! `members`, look-ups in `lookups`.
//!
//! A node registers with every supernode of a world, three at most, so each of them knows all members and each can relay
//! to them.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use farlan_crypto::PublicKey;
use farlan_netconf::WorldId;
use tracing::{debug, info};

use crate::{
    Anchor, Engine, Event, NetworkHandle, Outbox, SupernodeStatus, Time,
    peers::{Path, Peer, PeerId, Peers},
    retry::{Retry, Schedule},
    wire::{
        control::{Control, Membership},
        datagram::{RelayIndex, Unknown},
    },
};

/// Supernodes of one world with which a node registers.
const MAX_ANCHORS: usize = 3;

/// A registration is kept alive, and the NAT's mapping with it, by a sealed datagram this often: below the 30 s after
/// which the shortest-lived common NATs forget an idle mapping.
const KEEPALIVE: Duration = Duration::from_secs(25);

/// An unanswered sign of life is repeated after this time.
const KEEPALIVE_RETRY: Duration = Duration::from_secs(1);

/// After so many unanswered ones the registration is taken for lost.
const KEEPALIVES_MISSED: u32 = 3;

/// An unanswered request to a supernode is sent again after these pauses.
pub(crate) const REQUEST: Schedule = Schedule {
    first: Duration::from_millis(500),
    steady: 6,
    longest: Duration::from_secs(5),
};

/// After so many unanswered requests to register, the session is taken for dead: a new one may find another address.
const REQUESTS_MISSED: u32 = 10;

/// What a node knows of its supernodes.
#[derive(Debug, Default)]
pub(crate) struct Directory {
    worlds: BTreeMap<WorldId, Vec<PeerId>>,
    registrations: BTreeMap<PeerId, Registration>,
    next_request: u32,
    /// Supernodes to be told of changed memberships at the end of this turn.
    dirty: BTreeSet<PeerId>,
    /// Peers to be greeted once their world's supernode has registered this node.
    greetings: Vec<(WorldId, PublicKey)>,
}

/// A registration at one supernode.
#[derive(Debug)]
struct Registration {
    addresses: Vec<SocketAddr>,
    address: usize,
    /// This node's relay index there, while registered.
    index: Option<RelayIndex>,
    /// The unanswered `register` request.
    request: Option<Request>,
    /// When the next sign of life is due.
    keepalive: Time,
    /// When an unanswered sign of life was sent, and how many there are.
    unanswered: Option<(Time, u32)>,
    /// How often the supernode answered a sign of life with the question for a twin, since it registered this node.
    twin_questions: u32,
    /// When a hint of the supernode was last followed.
    hinted: Option<Time>,
}

impl Registration {
    /// The supernode's address in use.
    fn in_use(&self) -> Option<SocketAddr> {
        self.addresses.get(self.address).copied()
    }
}

/// A `register` request under way.
#[derive(Debug)]
struct Request {
    number: u32,
    /// The networks in the order of its memberships, and the addresses claimed.
    networks: Vec<(NetworkHandle, Option<Ipv4Addr>)>,
    since: Time,
    retry: Retry,
}

impl Directory {
    pub(crate) fn knows(&self, world: &WorldId) -> bool {
        self.worlds.contains_key(world)
    }

    /// This node's relay index at a supernode; none while not registered.
    pub(crate) fn relay_index(&self, supernode: PeerId) -> Option<RelayIndex> {
        self.registrations.get(&supernode)?.index
    }

    /// The supernodes at which this node is registered.
    pub(crate) fn homes(&self) -> impl Iterator<Item = PeerId> {
        let registered = self
            .registrations
            .iter()
            .filter(|(_, registration)| registration.index.is_some());
        registered.map(|(id, _)| *id)
    }

    /// All supernodes of this node.
    pub(crate) fn anchors(&self) -> impl Iterator<Item = PeerId> {
        self.registrations.keys().copied()
    }

    /// The worlds that name a supernode.
    fn worlds_of(&self, supernode: PeerId) -> Vec<WorldId> {
        let worlds = self.worlds.iter().filter(|(_, anchors)| anchors.contains(&supernode));
        worlds.map(|(world, _)| *world).collect()
    }

    /// Whether a world names a supernode.
    pub(crate) fn serves(&self, supernode: PeerId, world: &WorldId) -> bool {
        self.worlds
            .get(world)
            .is_some_and(|anchors| anchors.contains(&supernode))
    }

    /// Has a supernode told of the memberships again at the end of this turn.
    pub(crate) fn mark_dirty(&mut self, supernode: PeerId) {
        self.dirty.insert(supernode);
    }

    pub(crate) fn is_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    pub(crate) fn registration_deadline(&self, id: PeerId) -> Option<Time> {
        let registration = self.registrations.get(&id)?;
        let keepalive = registration
            .unanswered
            .map_or(registration.keepalive, |(sent, _)| sent + KEEPALIVE_RETRY);
        let keepalive = registration.index.map(|_| keepalive);
        let request = registration.request.as_ref().map(|request| request.retry.at());
        [keepalive, request].into_iter().flatten().min()
    }

    pub(crate) fn status(&self, peers: &Peers) -> Vec<SupernodeStatus> {
        let status = |(id, registration): (&PeerId, &Registration)| {
            let peer = peers.get(*id)?;
            Some(SupernodeStatus {
                node: peer.key.node_id(),
                world: *self.worlds_of(*id).first()?,
                address: registration.in_use(),
                registered: registration.index.is_some(),
                rtt: peer.rtt,
            })
        };
        self.registrations.iter().filter_map(status).collect()
    }

    /// The registered supernodes of a world, in order.
    pub(crate) fn registered(&self, world: &WorldId) -> impl Iterator<Item = PeerId> {
        let anchors = self.worlds.get(world).map(Vec::as_slice).unwrap_or_default();
        anchors.iter().copied().filter(|id| self.relay_index(*id).is_some())
    }

    pub(crate) fn request_number(&mut self) -> u32 {
        self.next_request = self.next_request.wrapping_add(1);
        self.next_request
    }
}

impl Engine {
    /// Adds a world with its supernodes, or brings their addresses up to date. A node registers with them as long as it
    /// knows the world.
    pub fn set_world(&mut self, now: Time, world: WorldId, anchors: Vec<Anchor>) {
        let mut ids = Vec::new();
        let own = self.public;
        for anchor in anchors.into_iter().filter(|anchor| anchor.key != own).take(MAX_ANCHORS) {
            let Some(id) = self.peers.pin(anchor.key) else { continue };
            ids.push(id);
            let registration = self.directory.registrations.entry(id).or_insert_with(|| Registration {
                addresses: Vec::new(),
                address: 0,
                index: None,
                request: None,
                keepalive: now,
                unanswered: None,
                twin_questions: 0,
                hinted: None,
            });
            let in_use = registration.in_use();
            registration.address = in_use
                .and_then(|used| anchor.addresses.iter().position(|a| *a == used))
                .unwrap_or_default();
            registration.addresses = anchor.addresses;
            let path = registration.in_use().map(Path::Direct);
            if let Some(peer) = self.peers.get_mut(id) {
                peer.supernode = true;
                peer.path = path;
            }
            if self.peers.get(id).is_some_and(|peer| peer.sessions.is_empty()) {
                self.begin_handshake(id, false);
            } else if !self.directory.serves(id, &world) {
                self.directory.dirty.insert(id);
            }
        }
        let before = self.directory.worlds.insert(world, ids.clone()).unwrap_or_default();
        for gone in before.into_iter().filter(|id| !ids.contains(id)) {
            self.drop_anchor(gone);
        }
    }

    /// Forgets a world. Its networks must have been left.
    pub fn remove_world(&mut self, _now: Time, world: WorldId) {
        for id in self.directory.worlds.remove(&world).unwrap_or_default() {
            self.drop_anchor(id);
        }
        self.directory.greetings.retain(|(greeted, _)| *greeted != world);
    }

    fn drop_anchor(&mut self, id: PeerId) {
        if !self.directory.worlds_of(id).is_empty() {
            return;
        }
        self.directory.registrations.remove(&id);
        self.traversal.forget(id);
        self.directory.dirty.remove(&id);
        for network in self.networks.iter_mut() {
            network.listings.remove(&id);
        }
        self.peers.forget(id);
    }

    /// Begins sessions with peers known from before, as soon as a supernode of their world has registered this node.
    pub fn greet(&mut self, now: Time, world: WorldId, peers: &[PublicKey]) {
        self.directory.greetings.extend(peers.iter().map(|key| (world, *key)));
        self.send_greetings(now, world);
    }

    fn send_greetings(&mut self, now: Time, world: WorldId) {
        if self.directory.registered(&world).next().is_none() {
            return;
        }
        let due: Vec<_> = self
            .directory
            .greetings
            .extract_if(.., |(greeted, _)| *greeted == world)
            .collect();
        let own = self.public;
        for (_, key) in due.into_iter().filter(|(_, key)| *key != own) {
            if let Some(id) = self.peers.pin(key) {
                self.want(now, id);
            }
        }
    }

    /// Notes that something is to be sent to `id`: a session is made unless one stands.
    pub(crate) fn want(&mut self, now: Time, id: PeerId) {
        let Some(peer) = self.peers.get_mut(id) else { return };
        peer.wanted = Some(now);
        if peer.sessions.current().is_none() && peer.outgoing.is_none() {
            self.begin_handshake(id, false);
        }
    }

    /// A supernode that does not answer is tried at its next address.
    pub(crate) fn try_other_address(&mut self, id: PeerId) {
        let Some(registration) = self.directory.registrations.get_mut(&id) else {
            return;
        };
        if registration.addresses.is_empty() {
            return;
        }
        registration.address = (registration.address + 1) % registration.addresses.len();
        let path = registration.in_use().map(Path::Direct);
        if let Some(peer) = self.peers.get_mut(id) {
            peer.path = path;
        }
    }

    /// The memberships in a world changed: its supernodes are told at the end of the turn.
    pub(crate) fn memberships_changed(&mut self, world: &WorldId) {
        let anchors = self.directory.worlds.get(world).cloned().unwrap_or_default();
        self.directory.dirty.extend(anchors);
    }

    pub(crate) fn flush_registrations(&mut self, now: Time, out: &mut Outbox) {
        for id in std::mem::take(&mut self.directory.dirty) {
            if self.peers.get(id).is_some_and(|peer| peer.sessions.current().is_some()) {
                self.register(now, id, out);
            }
        }
    }

    /// Registers at a supernode, or shows it that this node is still there.
    pub(crate) fn register(&mut self, now: Time, id: PeerId, out: &mut Outbox) {
        let number = self.directory.request_number();
        let networks = self
            .networks
            .iter()
            .filter(|network| self.directory.serves(id, &network.world))
            .map(|network| (network.handle, network.ipv4_claim()))
            .collect();
        let Some(registration) = self.directory.registrations.get_mut(&id) else {
            return;
        };
        registration.request = Some(Request {
            number,
            networks,
            since: now,
            retry: Retry::due(REQUEST, now),
        });
        self.directory.dirty.remove(&id);
        self.resend_register(now, id, out);
    }

    fn resend_register(&mut self, now: Time, id: PeerId, out: &mut Outbox) {
        let Some(registration) = self.directory.registrations.get_mut(&id) else {
            return;
        };
        let Some(request) = &mut registration.request else {
            return;
        };
        request.retry.again(now);
        let membership = |(handle, ipv4): &(NetworkHandle, Option<Ipv4Addr>)| {
            let network = self.networks.get(*handle)?;
            Some(Membership {
                member_key: network.member_key,
                address_key: network.secret.address_key(ipv4.unwrap_or(Ipv4Addr::UNSPECIFIED)),
                ipv4: *ipv4,
                version: network.listings.get(&id).map_or(0, |listing| listing.version),
            })
        };
        let memberships = request.networks.iter().filter_map(membership).collect();
        let message = Control::Register {
            request: request.number,
            memberships,
        };
        self.send_control(now, id, None, &[message], out);
        self.arm(id);
    }

    /// The supernode's answer to `register`.
    pub(crate) fn registered(
        &mut self,
        now: Time,
        id: PeerId,
        (request, index, observed, refused): (u32, RelayIndex, SocketAddr, &[u8]),
        out: &mut Outbox,
    ) {
        let Some(registration) = self.directory.registrations.get_mut(&id) else {
            return;
        };
        let Some(answered) = registration.request.take_if(|waiting| waiting.number == request) else {
            return;
        };
        let first = registration.index.replace(index) != Some(index);
        self.observed_told(id, observed);
        let Some(registration) = self.directory.registrations.get_mut(&id) else {
            return;
        };
        registration.keepalive = now + KEEPALIVE;
        registration.unanswered = None;
        registration.twin_questions = 0;
        let Some(peer) = self.peers.get_mut(id) else { return };
        let supernode = peer.key.node_id();
        if answered.retry.sent() == 1 {
            peer.measure_rtt(now.since(answered.since));
        }
        let mut changed = false;
        for (position, (handle, claim)) in answered.networks.iter().enumerate() {
            let Some(claim) = *claim else { continue };
            if refused.iter().any(|refused| usize::from(*refused) == position) {
                if let Some(world) = self.ipv4_refused(*handle, claim) {
                    self.memberships_changed(&world);
                    changed = true;
                }
            } else {
                changed |= self.ipv4_accepted(*handle, claim);
            }
        }
        if changed {
            self.tell_claims_everywhere(now, out);
        }
        if first {
            info!(supernode = %supernode.short(), "registered");
            for world in self.directory.worlds_of(id) {
                out.events.push(Event::Registered {
                    supernode,
                    world,
                    observed,
                });
                self.send_greetings(now, world);
            }
            self.want_again(now);
        }
        self.arm(id);
    }

    /// What waited for a way to somebody is tried again.
    fn want_again(&mut self, now: Time) {
        for id in self.peers.ids() {
            let waits = |peer: &Peer| !peer.waiting.is_empty() && peer.outgoing.is_none();
            if self.peers.get(id).is_some_and(waits) || self.groups.wait_for(id) || self.pings.wait_for(id) {
                self.want(now, id);
            }
        }
    }

    /// Keeps a registration alive, or takes it for lost.
    pub(crate) fn tend_registration(&mut self, now: Time, id: PeerId, out: &mut Outbox) {
        let Some(registration) = self.directory.registrations.get_mut(&id) else {
            return;
        };
        let due = registration
            .request
            .as_ref()
            .filter(|request| request.retry.at() <= now);
        match due.map(|request| request.retry.sent()) {
            Some(sent) if sent >= REQUESTS_MISSED => {
                self.end_sessions(id, out);
                self.try_other_address(id);
                self.registration_lost(id, out);
                return;
            }
            Some(_) => self.resend_register(now, id, out),
            None => {}
        }
        let Some(registration) = self.directory.registrations.get_mut(&id) else {
            return;
        };
        let (registered, keepalive, unanswered) = (
            registration.index.is_some(),
            registration.keepalive,
            registration.unanswered,
        );
        let lost = match unanswered {
            Some((sent, missed)) => {
                let overdue = now.since(sent) >= KEEPALIVE_RETRY;
                if overdue && missed < KEEPALIVES_MISSED {
                    self.send_keepalive(now, id, missed + 1, out);
                }
                overdue && missed >= KEEPALIVES_MISSED
            }
            None => {
                if registered && now >= keepalive {
                    self.send_keepalive(now, id, 1, out);
                }
                false
            }
        };
        let session = self.peers.get(id).and_then(|peer| peer.sessions.current());
        if session.is_none() && self.peers.get(id).is_some_and(|peer| peer.outgoing.is_none()) {
            self.registration_lost(id, out);
        } else if lost {
            debug!(supernode = %self.name(id), "no answer");
            self.end_sessions(id, out);
            self.registration_lost(id, out);
        }
    }

    /// Without a registration: begins anew, without end.
    pub(crate) fn registration_lost(&mut self, id: PeerId, out: &mut Outbox) {
        let Some(registration) = self.directory.registrations.get_mut(&id) else {
            return;
        };
        let had = registration.index.take().is_some();
        registration.request = None;
        registration.unanswered = None;
        if had && let Some(peer) = self.peers.get(id) {
            info!(supernode = %peer.key.node_id().short(), "registration lost");
            out.events.push(Event::RegistrationLost {
                supernode: peer.key.node_id(),
            });
        }
        self.begin_handshake(id, false);
    }

    /// Shows a supernode at once that this node is still there, and from where.
    pub(crate) fn prove_registration(&mut self, now: Time, id: PeerId, out: &mut Outbox) {
        if self.directory.relay_index(id).is_some() {
            self.send_keepalive(now, id, 1, out);
        }
    }

    fn send_keepalive(&mut self, now: Time, id: PeerId, missed: u32, out: &mut Outbox) {
        if let Some(registration) = self.directory.registrations.get_mut(&id) {
            registration.unanswered = Some((now, missed));
            registration.keepalive = now + KEEPALIVE;
        }
        let rekey = self
            .peers
            .get(id)
            .and_then(|peer| peer.sessions.current())
            .is_some_and(|session| session.wants_rekey(now));
        if rekey {
            self.begin_handshake(id, true);
        }
        self.send_empty(now, id, out);
        self.arm(id);
    }

    /// Something sealed came from a supernode.
    pub(crate) fn anchor_heard(&mut self, now: Time, id: PeerId) {
        let Some(registration) = self.directory.registrations.get_mut(&id) else {
            return;
        };
        if let Some((sent, missed)) = registration.unanswered.take()
            && missed == 1
            && let Some(peer) = self.peers.get_mut(id)
        {
            peer.measure_rtt(now.since(sent));
        }
    }

    /// A supernode asks, where it should have answered a sign of life: this node's session was replaced by a twin's. The
    /// sign of life is repeated like one without an answer, and the registration is lost after as many.
    pub(crate) fn sign_of_life_questioned(&mut self, now: Time, id: PeerId) {
        let Some(registration) = self.directory.registrations.get_mut(&id) else {
            return;
        };
        registration.twin_questions += 1;
        registration.unanswered = Some((now, registration.twin_questions));
        self.arm(id);
    }

    /// A supernode says that it does not know this node's registration or session. Anybody could say so: it is asked,
    /// sealed, or a new session is made beside the old one, at most once a second.
    pub(crate) fn hinted(&mut self, now: Time, source: SocketAddr, unknown: Unknown, out: &mut Outbox) {
        let hinted = self.directory.registrations.iter_mut().find(|(id, registration)| {
            let Some(peer) = self.peers.get(**id) else { return false };
            let ours = match unknown {
                Unknown::Registration(index) => registration.index == Some(index),
                Unknown::Session(index) => peer.sessions.current().is_some_and(|session| session.remote == index),
            };
            ours && peer.path == Some(Path::Direct(source))
        });
        let Some((id, registration)) = hinted else { return };
        let id = *id;
        if registration
            .hinted
            .is_some_and(|last| now.since(last) < KEEPALIVE_RETRY)
        {
            return;
        }
        match unknown {
            Unknown::Registration(_) if registration.unanswered.is_some() => {}
            Unknown::Registration(_) => {
                registration.hinted = Some(now);
                self.send_keepalive(now, id, 1, out);
            }
            Unknown::Session(_) => {
                registration.hinted = Some(now);
                self.begin_handshake(id, false);
            }
        }
    }
}
