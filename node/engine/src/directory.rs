//! A node's side of the directory: the supernodes of its worlds, and registration with them. Member lists are in
//! `members`, look-ups in `lookups`.
//!
//! Which supernodes a node registers at follows in `supernodes` from its home (`homes`) and from the places of its networks'
//! records (`rendezvous`).

mod alive;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use farlan_crypto::{NodeId, PublicKey};
use farlan_netconf::{DirectoryKey, WorldId};
use tracing::{debug, info};

use alive::{Over, Unanswered};

use crate::{
    Anchor, Engine, Event, Leg, MAX_NETWORKS, NetworkHandle, Outbox, Role, Socket, SupernodeStatus, Time,
    homes::Homes,
    keepalive::Kept,
    networks::Network,
    peers::{Peer, PeerId, Peers},
    relays::Telling,
    rendezvous,
    retry::{Retry, Schedule},
    streams::Stream,
    supernodes::LEFT_KEPT,
    ways::Way,
    windows::Return,
    wire::{
        control::{Control, Membership, Place},
        datagram::RelayIndex,
    },
};

/// Supernodes of one world that a node takes note of, as many as a world lists.
const MAX_ANCHORS: usize = farlan_netconf::World::MAX_SUPERNODES;

/// Peers that wait to be greeted; more are found when they are needed.
const MAX_GREETINGS: usize = 1024;

/// Versions of lists that go with one request.
const MAX_TOLD: usize = 2;

/// An unanswered request to a supernode is sent again after these pauses.
pub(crate) const REQUEST: Schedule = Schedule {
    first: Duration::from_millis(400),
    steady: 6,
    longest: Duration::from_secs(5),
};

/// The holders of a former list are written to and read from for so long after a change: two refreshes of records.
const FORMER_KEPT: Duration = Duration::from_secs(2 * REFRESH.as_secs());

/// A registration that holds records only is refreshed this often.
pub(crate) const REFRESH: Duration = Duration::from_secs(400);

/// After so many unanswered requests to register, the session is taken for dead: a new one may find another address.
const REQUESTS_MISSED: u32 = 10;

/// What a node knows of its supernodes.
#[derive(Debug, Default)]
pub(crate) struct Directory {
    pub(crate) worlds: BTreeMap<WorldId, KnownWorld>,
    pub(crate) registrations: BTreeMap<PeerId, Registration>,
    /// Something changed that decides where this node registers.
    pub(crate) changed: bool,
    /// What peers were told of this node's own places.
    pub(crate) telling: Telling,
    next_request: u32,
    /// Supernodes to be told of changed memberships at the end of this turn.
    pub(crate) dirty: BTreeSet<PeerId>,
    /// Peers to be greeted once their world's supernode has registered this node.
    greetings: Vec<(WorldId, PublicKey)>,
}

/// A world in use.
#[derive(Debug, Default)]
pub(crate) struct KnownWorld {
    /// Its supernodes, in the order of its list.
    pub(crate) list: Vec<(NodeId, PeerId)>,
    /// Those of the list before, and until when its holders keep what theirs do: others may not have the newer list yet.
    pub(crate) former: Option<(Vec<(NodeId, PeerId)>, Time)>,
    pub(crate) homes: Homes,
    /// Where this node is reached, as its records say.
    pub(crate) place: Option<Place>,
}

impl KnownWorld {
    pub(crate) fn lists(&self, supernode: PeerId) -> bool {
        let former = self.former.iter().flat_map(|(list, _)| list);
        let mut all = self.list.iter().chain(former);
        all.any(|(_, listed)| *listed == supernode)
    }
}

/// A supernode of a world in use, and the registration there.
#[derive(Debug)]
pub(crate) struct Registration {
    pub(crate) addresses: Vec<SocketAddr>,
    address: usize,
    /// The way to it.
    pub(crate) way: Way,
    /// The stream to it.
    pub(crate) stream: Stream,
    /// Whether this node is registered there, or tries to be.
    pub(crate) wanted: bool,
    /// Whether it is wanted for more than records, and so has to be reached directly.
    pub(crate) near: bool,
    /// Whether it keeps records of this node.
    pub(crate) records: bool,
    /// Until when it is wanted for its own sake.
    pub(crate) until: Option<Time>,
    /// This node's relay index there, while registered.
    pub(crate) index: Option<RelayIndex>,
    /// Since when it is wanted and missing.
    pub(crate) missed: Option<Time>,
    /// The unanswered `register` request.
    request: Option<Request>,
    /// When the next sign of life is due.
    pub(crate) keepalive: Time,
    /// How long the NAT keeps the mapping to it, and how long it was idle before the last sign of life.
    pub(crate) kept: Kept,
    pub(crate) idle: Duration,
    pub(crate) unanswered: Option<Unanswered>,
    /// What came over the supernode, and whether it answered since.
    over: Over,
    /// When a sign of life is due, because what was sent over the supernode stays unanswered.
    watched: Option<Time>,
    /// How often the supernode answered a sign of life with the question for a twin, since it registered this node.
    twin_questions: u32,
    /// When a hint of the supernode was last followed.
    hinted: Option<Time>,
    /// Whether it registered this node before.
    known: bool,
    /// When this node comes back to it after it forgot it.
    pub(crate) comes_back: Return,
}

impl Registration {
    /// Forgets the registration.
    pub(crate) fn forget(&mut self) {
        self.index = None;
        self.way = Way::default();
        self.request = None;
        self.unanswered = None;
        self.watched = None;
    }

    /// The supernode's address in use; none if it is reached through another one.
    pub(crate) fn in_use(&self) -> Option<SocketAddr> {
        self.addresses.get(self.address).copied().filter(|_| !self.way.through)
    }

    /// The first UDP addresses to be tried, the one used last before all.
    pub(crate) fn scouted(&self, most: usize) -> Vec<SocketAddr> {
        let (before, from) = self.addresses.split_at(self.address.min(self.addresses.len()));
        from.iter().chain(before).copied().take(most).collect()
    }

    /// Whether what comes by a leg comes from the supernode, though the way there may lead elsewhere at the moment: by its
    /// stream, or over UDP while there is one.
    pub(crate) fn is_also_at(&self, leg: Leg) -> bool {
        let udp = leg.socket == Socket::Main && self.addresses.get(self.address) == Some(&leg.endpoint);
        self.stream.is_at(leg) || (udp && self.stream.leg_in_use().is_some())
    }

    /// Goes on directly at one of the supernode's addresses.
    pub(crate) fn use_address(&mut self, address: SocketAddr) {
        if let Some(position) = self.addresses.iter().position(|known| *known == address) {
            self.address = position;
            self.way.through = false;
        }
    }

    /// When a sign of life is due because of what was sent, or came, over the supernode.
    fn watched(&self) -> Option<Time> {
        [self.watched, self.over.due()].into_iter().flatten().min()
    }

    /// How often a sign of life is due.
    fn keepalive(&self, now: Time) -> Duration {
        if self.way.through && !self.near {
            REFRESH
        } else {
            self.kept.interval(now)
        }
    }
}

/// A `register` request under way.
#[derive(Debug)]
struct Request {
    number: u32,
    /// The networks in the order of its memberships, each with the member key that it is registered under, and the addresses
    /// claimed.
    networks: Vec<(NetworkHandle, DirectoryKey, Option<Ipv4Addr>)>,
    since: Time,
    retry: Retry,
}

impl Directory {
    pub(crate) fn knows(&self, world: &WorldId) -> bool {
        self.worlds.contains_key(world)
    }

    /// This node's relay index at a supernode; none while not registered.
    pub(crate) fn relay_index(&self, supernode: PeerId) -> Option<RelayIndex> {
        // One that forgot this node relays nothing until it is back.
        let registration = self.registrations.get(&supernode);
        registration
            .filter(|registration| registration.comes_back.at.is_none())?
            .index
    }

    /// The stream to a supernode that is open and not in use.
    pub(crate) fn spare_stream(&self, supernode: PeerId) -> Option<Leg> {
        self.registrations.get(&supernode)?.stream.spare_leg()
    }

    /// The home and the second of every world, and then the other supernodes at which this node is registered.
    pub(crate) fn homes(&self) -> impl Iterator<Item = PeerId> {
        let chosen: Vec<PeerId> = self.worlds.values().flat_map(|world| world.homes.both()).collect();
        let others = self.registrations.keys().copied().filter(|id| !chosen.contains(id));
        let all: Vec<PeerId> = chosen.iter().copied().chain(others).collect();
        all.into_iter().filter(|id| self.is_registered_directly(*id))
    }

    /// Whether this node is registered at a supernode that answers it directly.
    pub(crate) fn is_registered_directly(&self, supernode: PeerId) -> bool {
        let registration = self.registrations.get(&supernode);
        registration.is_some_and(|registration| registration.index.is_some() && registration.way.direct)
    }

    /// The supernodes at which this node is registered, or tries to be.
    pub(crate) fn wanted(&self) -> impl Iterator<Item = PeerId> {
        let wanted = self
            .registrations
            .iter()
            .filter(|(_, registration)| registration.wanted);
        wanted.map(|(id, _)| *id)
    }

    /// All supernodes of this node.
    pub(crate) fn anchors(&self) -> impl Iterator<Item = PeerId> {
        self.registrations.keys().copied()
    }

    /// The worlds that name a supernode.
    pub(crate) fn worlds_of(&self, supernode: PeerId) -> Vec<WorldId> {
        let worlds = self.worlds.iter().filter(|(_, known)| known.lists(supernode));
        worlds.map(|(world, _)| *world).collect()
    }

    /// Whether a world names a supernode.
    pub(crate) fn serves(&self, supernode: PeerId, world: &WorldId) -> bool {
        self.worlds.get(world).is_some_and(|known| known.lists(supernode))
    }

    /// The supernodes of a world that keep the records of a network, by its member key; for a while after a change of the
    /// list then those that kept them before.
    pub(crate) fn holders(&self, world: &WorldId, key: &DirectoryKey) -> Vec<PeerId> {
        let Some(known) = self.worlds.get(world) else {
            return Vec::new();
        };
        let mut holders = rendezvous::holders(key, &known.list);
        for former in known.former.iter().flat_map(|(list, _)| rendezvous::holders(key, list)) {
            if !holders.contains(&former) {
                holders.push(former);
            }
        }
        holders
    }

    /// Whether a registration at a supernode is wanted.
    pub(crate) fn wants(&self, supernode: PeerId) -> bool {
        self.registrations
            .get(&supernode)
            .is_some_and(|registration| registration.wanted)
    }

    /// Whether a world of this supernode has no home: then nothing is more urgent than to reach one of its supernodes.
    pub(crate) fn needs(&self, supernode: PeerId) -> bool {
        let mut worlds = self.worlds.values();
        worlds.any(|known| known.homes.home().is_none() && known.lists(supernode))
    }

    /// Whether this node is registered at a supernode, and waits for no sign of life of it.
    pub(crate) fn may_ask(&self, supernode: PeerId) -> bool {
        let registration = self.registrations.get(&supernode);
        registration.is_some_and(|registration| {
            let waits = registration.unanswered.is_some() || registration.comes_back.at.is_some();
            registration.index.is_some() && !waits
        })
    }

    pub(crate) fn is_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    pub(crate) fn registration_deadline(&self, id: PeerId) -> Option<Time> {
        let registration = self.registrations.get(&id)?;
        let keepalive = registration
            .unanswered
            .map_or(registration.keepalive, |unanswered| unanswered.sent + unanswered.pause);
        let watched = registration.watched().filter(|_| registration.unanswered.is_none());
        let keepalive = registration
            .index
            .map(|_| watched.map_or(keepalive, |watched| watched.min(keepalive)));
        let request = registration.request.as_ref().map(|request| request.retry.at());
        [keepalive, request, registration.comes_back.at]
            .into_iter()
            .flatten()
            .min()
    }

    pub(crate) fn status(&self, peers: &Peers) -> Vec<SupernodeStatus> {
        let status = |(id, registration): (&PeerId, &Registration)| {
            let peer = peers.get(*id)?;
            let stream = registration.stream.leg_in_use().filter(|_| !registration.way.through);
            Some(SupernodeStatus {
                node: peer.key.node_id(),
                world: *self.worlds_of(*id).first()?,
                address: stream.map(|leg| leg.endpoint).or_else(|| registration.in_use()),
                tcp: stream.is_some(),
                registered: registration.index.is_some(),
                home: self.worlds.values().any(|known| known.homes.home() == Some(*id)),
                rtt: peer.rtt,
            })
        };
        let wanted = self
            .registrations
            .iter()
            .filter(|(_, registration)| registration.wanted);
        wanted.filter_map(status).collect()
    }

    /// The registered supernodes of a world, in order.
    pub(crate) fn registered(&self, world: &WorldId) -> impl Iterator<Item = PeerId> {
        let list = self.worlds.get(world).map(|known| known.list.as_slice());
        let list = list.unwrap_or_default().iter().map(|(_, supernode)| *supernode);
        list.filter(|id| self.relay_index(*id).is_some())
    }

    /// Since when no supernode of a world answers: none while one has registered this node and keeps it not waiting.
    pub(crate) fn silent_since(&self, world: &WorldId) -> Option<Time> {
        let requests = self.registered(world).filter_map(|id| self.registrations.get(&id));
        let since = requests.map(|registration| registration.request.as_ref().map(|request| request.since));
        // The least is one that keeps nobody waiting.
        since.min().unwrap_or(Some(Time::ZERO))
    }

    pub(crate) fn request_number(&mut self) -> u32 {
        self.next_request = self.next_request.wrapping_add(1);
        self.next_request
    }
}

impl Engine {
    /// Adds a world with its supernodes, or brings their addresses up to date. A node registers with them as long as it
    /// knows the world; a supernode passes on to them what its nodes cannot bring there.
    pub fn set_world(&mut self, now: Time, world: WorldId, anchors: Vec<Anchor>) {
        if self.role == Role::Supernode {
            let own = self.public;
            let (own, others): (Vec<_>, Vec<_>) = anchors.into_iter().partition(|anchor| anchor.key == own);
            self.siblings.set(world, &own, others);
            return;
        }
        let mut list = Vec::new();
        let own = self.public;
        for anchor in anchors.into_iter().filter(|anchor| anchor.key != own).take(MAX_ANCHORS) {
            let Some(id) = self.peers.pin(anchor.key) else { continue };
            list.push((anchor.key.node_id(), id));
            let registration = self.directory.registrations.entry(id).or_insert_with(|| Registration {
                addresses: Vec::new(),
                address: 0,
                way: Way::default(),
                stream: Stream::default(),
                wanted: false,
                near: false,
                records: false,
                until: None,
                index: None,
                missed: None,
                request: None,
                keepalive: now,
                kept: Kept::default(),
                idle: Duration::ZERO,
                unanswered: None,
                over: Over::default(),
                twin_questions: 0,
                watched: None,
                hinted: None,
                known: false,
                comes_back: Return::default(),
            });
            let in_use = registration.addresses.get(registration.address).copied();
            registration.address = in_use
                .and_then(|used| anchor.addresses.iter().position(|a| *a == used))
                .unwrap_or_default();
            // Names that are not looked up yet: the addresses known so far stay.
            if !anchor.addresses.is_empty() || registration.addresses.is_empty() {
                registration.addresses = anchor.addresses;
            }
            if !anchor.streams.is_empty() || registration.stream.addresses.is_empty() {
                registration.stream.addresses = anchor.streams;
            }
            if let Some(peer) = self.peers.get_mut(id) {
                peer.supernode = true;
            }
            self.point(id);
            if !self.directory.serves(id, &world) {
                self.directory.dirty.insert(id);
            }
        }
        self.directory.changed = true;
        let known = self.directory.worlds.entry(world).or_default();
        known.homes.measure_all();
        let mut dropped = Vec::new();
        let same = |one: &[(NodeId, PeerId)], other: &[(NodeId, PeerId)]| {
            one.len() == other.len() && one.iter().all(|listed| other.contains(listed))
        };
        if known.list.is_empty() || same(&known.list, &list) {
            known.list = list;
        } else {
            // The networks of which a supernode is a holder may be others now.
            self.directory.dirty.extend(list.iter().map(|(_, id)| *id));
            let before = std::mem::replace(&mut known.list, list);
            // Others know this node at one that is listed no more.
            for (_, gone) in before.iter().filter(|gone| !known.list.contains(gone)) {
                if let Some(registration) = self.directory.registrations.get_mut(gone) {
                    registration.until = registration.until.max(Some(now + LEFT_KEPT));
                }
            }
            let former = known.former.replace((before, now + FORMER_KEPT));
            dropped.extend(former.into_iter().flat_map(|(list, _)| list));
        }
        for (_, gone) in dropped {
            self.drop_anchor(gone);
        }
    }

    /// Forgets the supernodes of former lists, once nobody looks there any more.
    pub(crate) fn drop_former(&mut self, now: Time) {
        let over = |known: &mut KnownWorld| known.former.take_if(|(_, until)| *until <= now);
        let over: Vec<_> = self.directory.worlds.values_mut().filter_map(over).collect();
        for (_, former) in over.into_iter().flat_map(|(list, _)| list) {
            self.directory.dirty.insert(former);
            self.drop_anchor(former);
        }
    }

    /// Forgets a world. Its networks must have been left.
    pub fn remove_world(&mut self, _now: Time, world: WorldId) {
        self.siblings.forget(&world);
        let known = self.directory.worlds.remove(&world).unwrap_or_default();
        let former = known.former.into_iter().flat_map(|(list, _)| list);
        for (_, id) in known.list.into_iter().chain(former) {
            self.drop_anchor(id);
        }
        self.worlds.forget(&world);
        self.directory.greetings.retain(|(greeted, _)| *greeted != world);
    }

    fn drop_anchor(&mut self, id: PeerId) {
        if !self.directory.worlds_of(id).is_empty() {
            return;
        }
        self.end_stream(id);
        self.forget_watches(id);
        self.directory.registrations.remove(&id);
        self.traversal.forget(id);
        self.directory.dirty.remove(&id);
        for network in self.networks.iter_mut() {
            network.forget_listings(id);
        }
        self.disarm(id);
        self.peers.forget(id);
    }

    /// Begins sessions with peers known from before, as soon as a supernode of their world has registered this node.
    pub fn greet(&mut self, now: Time, world: WorldId, peers: &[PublicKey]) {
        let room = MAX_GREETINGS.saturating_sub(self.directory.greetings.len());
        self.directory
            .greetings
            .extend(peers.iter().take(room).map(|key| (world, *key)));
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
            if let Some(id) = self.pin(now, key) {
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
    pub(crate) fn try_other_address(&mut self, now: Time, id: PeerId) {
        let possible = self.should_go_through(now, id);
        let Some(registration) = self.directory.registrations.get_mut(&id) else {
            return;
        };
        let last = registration.address + 1 >= registration.addresses.len();
        if registration.way.through {
            registration.way.through = false;
            registration.address = 0;
        } else {
            registration.address = if last { 0 } else { registration.address + 1 };
            // Behind the last address comes the way through the home.
            registration.way.through = last && registration.records && possible;
        }
        registration.way.direct = false;
        self.point(id);
    }

    /// The memberships in a world changed: its supernodes are told at the end of the turn.
    pub(crate) fn memberships_changed(&mut self, world: &WorldId) {
        let list = self.directory.worlds.get(world).map(|known| known.list.as_slice());
        let list = list.unwrap_or_default().iter().map(|(_, supernode)| *supernode);
        self.directory.dirty.extend(list);
        self.directory.changed = true;
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
        let directory = &self.directory;
        let keeps = |network: &Network, key: &DirectoryKey| directory.holders(&network.world, key).contains(&id);
        let mut networks: Vec<(NetworkHandle, DirectoryKey, Option<Ipv4Addr>)> = Vec::new();
        for network in self
            .networks
            .iter()
            .filter(|network| keeps(network, &network.member_key))
        {
            networks.push((network.handle, network.member_key, network.ipv4_claim()));
        }
        // Behind them, since a supernode takes so many entries only: who was away looks under the latest former secrets. Addresses
        // are claimed under those in force alone.
        let former = |network: &Network| network.private.as_ref()?.latest_former();
        for network in self.networks.iter() {
            if let Some(key) = former(network).filter(|key| keeps(network, key)) {
                networks.push((network.handle, key, None));
            }
        }
        networks.truncate(MAX_NETWORKS);
        // What it does not hold (any more) it does not list either.
        let held = |key: DirectoryKey| networks.iter().any(|(_, held, _)| *held == key);
        for network in self.networks.iter_mut() {
            if !held(network.member_key) {
                network.listings.remove(&id);
            }
            if let Some(private) = &mut network.private
                && !private.latest_former().is_some_and(held)
            {
                private.former_listings.remove(&id);
            }
        }
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
        let (number, networks) = (request.number, request.networks.clone());
        let membership = |(handle, key, ipv4): &(NetworkHandle, DirectoryKey, Option<Ipv4Addr>)| {
            let network = self.networks.get(*handle)?;
            let secret = network.secret_under(key)?;
            Some(Membership {
                member_key: *key,
                address_key: secret.address_key(ipv4.unwrap_or(Ipv4Addr::UNSPECIFIED)),
                ipv4: *ipv4,
                version: network.listed_under(key, id).map_or(0, |listing| listing.version),
                home: self.home_place(&network.world, id),
            })
        };
        let memberships = networks.iter().filter_map(membership).collect();
        let message = Control::Register {
            request: number,
            memberships,
        };
        let mut messages = vec![message];
        let worlds = self.directory.worlds_of(id);
        messages.extend(worlds.iter().take(MAX_TOLD).filter_map(|world| self.worlds.told(world)));
        self.send_control(now, id, None, &messages, out);
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
        let forgot = first && std::mem::replace(&mut registration.known, true);
        registration.missed = None;
        registration.comes_back.at = None;
        self.directory.changed |= first;
        registration.keepalive = now + registration.keepalive(now);
        registration.unanswered = None;
        registration.twin_questions = 0;
        self.observed_told(now, id, observed);
        self.review_sights_of(id);
        let Some(peer) = self.peers.get_mut(id) else { return };
        let supernode = peer.key.node_id();
        if answered.retry.sent() == 1 {
            peer.measure_rtt(now.since(answered.since));
        }
        let mut changed = false;
        for (position, (handle, _, claim)) in answered.networks.iter().enumerate() {
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
        self.watch_all(now, id, first);
        for (handle, ..) in &answered.networks {
            let Some(network) = self.networks.get_mut(*handle) else {
                continue;
            };
            if first {
                network.channels.announce_again(now, id);
            } else {
                network.channels.review(now);
            }
        }
        if first {
            if forgot {
                // It may have forgotten the others, too.
                self.distrust_indexes(id, None);
            }
            info!(supernode = %supernode.short(), "registered");
            for world in self.directory.worlds_of(id) {
                // Through another supernode it does not see this node.
                if !observed.ip().is_unspecified() {
                    out.events.push(Event::Registered {
                        supernode,
                        world,
                        observed,
                    });
                }
                self.send_greetings(now, world);
            }
            self.want_again(now);
        }
        self.arm(id);
    }

    /// What waited for a way to somebody is tried again.
    fn want_again(&mut self, now: Time) {
        let spreading = self.spread_waiting();
        for id in self.peers.ids() {
            let waits = |peer: &Peer| {
                let frames = !peer.waiting.is_empty() && peer.outgoing.is_none();
                frames || !spreading.is_empty() && spreading.contains(&peer.key.node_id())
            };
            if self.peers.get(id).is_some_and(waits) || self.groups.wait_for(id) || self.pings.wait_for(id) {
                self.want(now, id);
            }
        }
    }

    /// Keeps a registration alive, or takes it for lost.
    pub(crate) fn tend_registration(&mut self, now: Time, id: PeerId, out: &mut Outbox) {
        self.tend_return(now, id);
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
                self.try_other_address(now, id);
                self.registration_lost(now, id, out);
                return;
            }
            Some(_) => self.resend_register(now, id, out),
            None => {}
        }
        let Some(registration) = self.directory.registrations.get_mut(&id) else {
            return;
        };
        let registered = registration.index.is_some();
        if std::mem::take(&mut registration.over.denied) && registered && registration.unanswered.is_none() {
            registration.hinted = Some(now);
            self.send_keepalive(now, id, None, true, out);
        }
        let Some(registration) = self.directory.registrations.get_mut(&id) else {
            return;
        };
        let watched = registration.watched().is_some_and(|watched| now >= watched);
        let lost = match registration.unanswered {
            Some(unanswered) => {
                let overdue = now.since(unanswered.sent) >= unanswered.pause;
                if overdue && unanswered.count < unanswered.limit() {
                    self.send_keepalive(now, id, Some(unanswered), false, out);
                }
                overdue && unanswered.count >= unanswered.limit()
            }
            None => {
                if registered && watched {
                    self.ask_urgently(now, id, out);
                } else if registered && now >= registration.keepalive {
                    if registration.near && registration.way.through {
                        self.take_way(now, id, false, out);
                    } else {
                        self.send_keepalive(now, id, None, false, out);
                    }
                }
                false
            }
        };
        let session = self.peers.get(id).and_then(|peer| peer.sessions.current());
        if session.is_none() && self.peers.get(id).is_some_and(|peer| peer.outgoing.is_none()) {
            if self.directory.wants(id) {
                self.registration_lost(now, id, out);
            }
        } else if lost && self.way_back(now, id, out) {
            debug!(supernode = %self.name(id), "not that way");
        } else if lost {
            debug!(supernode = %self.name(id), "no answer");
            self.end_sessions(id, out);
            self.registration_lost(now, id, out);
        }
    }

    /// Without a registration: begins anew, without end.
    pub(crate) fn registration_lost(&mut self, now: Time, id: PeerId, out: &mut Outbox) {
        let Some(registration) = self.directory.registrations.get_mut(&id) else {
            return;
        };
        let had = registration.index.take().is_some();
        registration.request = None;
        registration.unanswered = None;
        registration.watched = None;
        registration.way.direct = false;
        registration.way.trial = false;
        registration.missed.get_or_insert(now);
        self.directory.changed |= had;
        self.forget_watches(id);
        if had && let Some(peer) = self.peers.get(id) {
            info!(supernode = %peer.key.node_id().short(), "registration lost");
            out.events.push(Event::RegistrationLost {
                supernode: peer.key.node_id(),
            });
        }
        self.stream_silent(now, id);
        if self
            .directory
            .registrations
            .get(&id)
            .is_none_or(|registration| registration.comes_back.at.is_none())
        {
            self.begin_handshake(id, false);
        }
    }
}
