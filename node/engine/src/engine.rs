//! The engine: what it owns, how it is entered, and its timers.

use std::{
    collections::{BTreeSet, VecDeque},
    time::Duration,
};

use farlan_crypto::{Identity, NodeId, PublicKey, Secret, Work, wipe_stack};
use rand_core::{CryptoRng, Rng as _};

use crate::{
    AnchorStatus, Batch, Config, Counters, Event, Join, JoinError, Leg, NetworkHandle, NetworkStatus, Outbox,
    PeerNetwork, PeerStatus, Role, SupernodeStatus, Time, Transmit,
    acquaintances::{Acquaintances, answered_at},
    addresses::Contests,
    anchor::Anchor,
    applications::Applications,
    beacons::Beacons,
    behaviour::Detection,
    content::PendingSeal,
    directory::Directory,
    documents::Documents,
    early::Early,
    examinations::Examinations,
    forwarding::Siblings,
    fragments::Assemblies,
    gate::Gate,
    handing::Handing,
    handshakes::Handshakes,
    hints::Hints,
    lookups::Lookups,
    multicast::Groups,
    networks::Networks,
    peers::{Path, Peer, PeerId, Peers},
    ping::Pings,
    private::WallClock,
    reach::Reach,
    search::Searches,
    sights::Sights,
    sockets::ExtraSockets,
    spreading::Spreads,
    streams::Streams,
    switch::HeldFrames,
    threshold::Threshold,
    traversal::Traversal,
    twins::Twins,
    versions::Versions,
    wire::datagram::{
        RELAY_FIRST_HEADER, RELAY_HEADER, RelayIndex, RelayTarget, SupernodeTag, passed_header, put_relay,
    },
    worlds::Worlds,
};

/// The whole protocol of one node as a state machine.
///
/// It takes batches of datagrams, batches of frames, requests and the passing of time, and fills an [`Outbox`]. It owns
/// no socket, clock, task, thread or source of randomness of its own; the same inputs give the same outputs.
pub struct Engine {
    pub(crate) identity: Identity,
    pub(crate) public: PublicKey,
    pub(crate) node_id: NodeId,
    pub(crate) work: Work,
    pub(crate) role: Role,
    pub(crate) random: Box<dyn CryptoRng + Send>,
    pub(crate) entropy: VecDeque<Secret<32>>,
    pub(crate) counters: Counters,
    pub(crate) peers: Peers,
    pub(crate) handshakes: Handshakes,
    pub(crate) gate: Gate,
    pub(crate) networks: Networks,
    pub(crate) directory: Directory,
    pub(crate) lookups: Lookups,
    pub(crate) worlds: Worlds,
    pub(crate) held: HeldFrames,
    pub(crate) groups: Groups,
    pub(crate) spreads: Spreads,
    pub(crate) contests: Contests,
    pub(crate) pings: Pings,
    pub(crate) examinations: Examinations,
    pub(crate) reach: Reach,
    pub(crate) anchor: Anchor,
    pub(crate) traversal: Traversal,
    pub(crate) beacons: Beacons,
    pub(crate) applications: Applications,
    pub(crate) handing: Handing,
    pub(crate) documents: Documents,
    pub(crate) wall_clock: WallClock,
    /// IPv4 addresses of this node changed outside a turn.
    pub(crate) claims_changed: bool,
    pub(crate) acquaintances: Acquaintances,
    pub(crate) detection: Detection,
    pub(crate) sights: Sights,
    pub(crate) sockets: ExtraSockets,
    pub(crate) searches: Searches,
    pub(crate) assemblies: Assemblies,
    pub(crate) twins: Twins,
    pub(crate) versions: Versions,
    pub(crate) hints: Hints,
    /// Peers a node keeps.
    pub(crate) max_peers: usize,
    /// Up to how many get a copy each of what goes to all.
    pub(crate) threshold: Threshold,
    pub(crate) early: Early,
    pub(crate) siblings: Siblings,
    pub(crate) streams: Streams,
    pub(crate) pending_seals: Vec<PendingSeal>,
    /// Peers with group frames to acknowledge at the end of this turn.
    pub(crate) acks_due: Vec<PeerId>,
    pub(crate) events: Vec<Event>,
    /// When each peer is looked at next: as [`Peer::timer`] says, and no entry more.
    timers: BTreeSet<(Time, PeerId)>,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine")
            .field("node", &self.node_id)
            .field("role", &self.role)
            .finish_non_exhaustive()
    }
}

/// A peer without session, not heard for so long, is forgotten.
const FORGET_AFTER: Duration = Duration::from_secs(600);

/// Timers that go off in one turn, each of which may end a registration.
const TIMERS_AT_ONCE: usize = 64;

/// Blocks of fresh randomness the engine keeps in store, one a handshake.
const ENTROPY_KEPT: usize = 64;

impl Engine {
    /// An engine that knows nobody yet. `random` must be a cryptographically secure generator seeded by the operating
    /// system; only simulators pass a reproducible one.
    pub fn new(config: Config, mut random: Box<dyn CryptoRng + Send>) -> Self {
        let groups = Groups::new(random.next_u64());
        let documents = Documents::new(config.limits.documents);
        let anchor = Anchor::new(random.next_u64(), config.limits);
        Self {
            public: config.identity.public(),
            node_id: config.identity.node_id(),
            gate: Gate::new(&config.identity.public()),
            identity: config.identity,
            work: config.work,
            role: config.role,
            random,
            entropy: VecDeque::new(),
            counters: Counters::default(),
            peers: Peers::default(),
            handshakes: Handshakes::default(),
            networks: Networks::default(),
            directory: Directory::default(),
            lookups: Lookups::default(),
            worlds: Worlds::default(),
            held: HeldFrames::default(),
            groups,
            spreads: Spreads::default(),
            contests: Contests::default(),
            pings: Pings::default(),
            examinations: Examinations::default(),
            reach: Reach::default(),
            anchor,
            traversal: Traversal::default(),
            beacons: Beacons::default(),
            applications: Applications::default(),
            handing: Handing::default(),
            documents,
            wall_clock: WallClock::default(),
            claims_changed: false,
            acquaintances: Acquaintances::default(),
            detection: Detection::default(),
            sights: Sights::default(),
            sockets: ExtraSockets::default(),
            searches: Searches::default(),
            assemblies: Assemblies::default(),
            twins: Twins::default(),
            versions: Versions::default(),
            hints: Hints::new(config.limits.registrations),
            max_peers: config.limits.peers.max(1),
            threshold: Threshold::new(config.limits.full_max),
            early: Early::default(),
            siblings: Siblings::default(),
            streams: Streams::default(),
            pending_seals: Vec::new(),
            acks_due: Vec::new(),
            events: Vec::new(),
            timers: BTreeSet::new(),
        }
    }

    /// This node's id.
    pub fn node_id(&self) -> NodeId {
        self.node_id
    }

    /// This node's key.
    pub fn public(&self) -> PublicKey {
        self.public
    }

    /// How many blocks for [`Self::add_entropy`] it would like.
    pub fn entropy_wanted(&self) -> usize {
        ENTROPY_KEPT.saturating_sub(self.entropy.len())
    }

    /// Takes 32 fresh bytes of the operating system's randomness, to be mixed into the next handshake.
    pub fn add_entropy(&mut self, bytes: Secret<32>) {
        if self.entropy.len() < ENTROPY_KEPT {
            self.entropy.push_back(bytes);
        }
    }

    /// Joins a network. Its addresses can be read from [`Self::networks`] at once; an IPv4 address comes as an event.
    ///
    /// # Errors
    /// [`JoinError`]; nothing is changed then.
    pub fn join(&mut self, now: Time, join: Join) -> Result<NetworkHandle, JoinError> {
        if !self.directory.knows(&join.world) {
            return Err(JoinError::UnknownWorld(join.world));
        }
        let (world, mut greet) = (join.world, join.greet.clone());
        let clock = self.clock(now);
        let threshold = self.threshold;
        let handle = self.networks.add(now, join, threshold, (&self.public, &clock))?;
        if let Some(private) = self.networks.get(handle).and_then(|network| network.private.as_ref()) {
            greet.extend(private.whom_to_ask());
        }
        self.begin_membership(now, handle);
        self.begin_beacons(now);
        self.memberships_changed(&world);
        self.offer_everywhere(now);
        self.greet(now, world, &greet);
        Ok(handle)
    }

    /// Leaves a network and forgets what was known of it.
    pub fn leave(&mut self, now: Time, network: NetworkHandle) {
        let Some(left) = self.networks.remove(network) else {
            return;
        };
        self.held.drop_network(network);
        self.lookups.drop_network(network);
        self.groups.drop_network(network);
        self.applications.drop_network(network);
        self.handing.drop_network(network);
        self.documents.drop_network(network);
        for id in self.peers.ids() {
            if let Some(peer) = self.peers.get_mut(id) {
                peer.claims.remove(&network);
                peer.names.remove(&network);
                peer.channels.remove(&network);
                peer.up.remove(&network);
                peer.waiting.retain(|waiting| waiting.network != network);
                peer.sessions.withdraw(network);
            }
        }
        self.memberships_changed(&left.world);
        self.offer_everywhere(now);
    }

    /// Does what is due, and one queued public-key operation. Call it when [`Self::next_timeout`] has come, after the
    /// data that waits.
    pub fn handle_timeout(&mut self, now: Time, out: &mut Outbox) {
        // Each timer once: one that is set to a moment that has come goes off in the next call. So do those that are too many,
        // as when all nodes of a supernode fall silent at once.
        let due = self.timers.iter().take_while(|(at, _)| *at <= now).take(TIMERS_AT_ONCE);
        for (at, id) in due.copied().collect::<Vec<_>>() {
            let timer = self.peers.get_mut(id).map(|peer| &mut peer.timer);
            if let Some(timer) = timer.filter(|timer| **timer == Some(at)) {
                *timer = None;
                self.timers.remove(&(at, id));
                self.tend_peer(now, id, out);
            }
        }
        self.tend_held(now);
        self.counters.fragments_lost += self.assemblies.expire(now);
        self.early.expire(now);
        self.tend_groups(now, out);
        self.tend_channels(now, out);
        self.tend_spreading(now, out);
        self.tend_lookups(now, out);
        self.tend_worlds(now, out);
        self.tend_pings(now, out);
        self.tend_examinations(now, out);
        self.tend_reach(now, out);
        self.tend_contests(now);
        self.tend_anchor(now, out);
        self.tend_traversal(now, out);
        self.tend_islands(now, out);
        self.tend_acquaintances(now);
        self.tend_memberships(now, out);
        self.tend_documents(now, out);
        self.tend_beacons(now, out);
        self.streams.tend(now);
        self.tend_sights(now, out);
        self.tend_detection(now, out);
        self.tend_search(now, out);
        self.work(now, out);
        self.end_turn(now, out);
    }

    /// When [`Self::handle_timeout`] is to be called, at the latest; a moment in the past means at once.
    pub fn next_timeout(&self) -> Option<Time> {
        if !self.handshakes.is_idle()
            || !self.events.is_empty()
            || self.directory.is_dirty()
            || self.pings.is_fresh()
            || self.is_reach_fresh()
            || self.traversal.is_fresh()
        {
            return Some(Time::ZERO);
        }
        [
            self.timers.first().map(|(at, _)| *at),
            self.held.deadline(),
            self.assemblies.deadline(),
            self.early.deadline(),
            self.groups.deadline(),
            self.channels_deadline(),
            self.spreading_deadline(),
            self.lookups.deadline(),
            self.worlds.deadline(),
            self.examinations.deadline(),
            self.contests.deadline(),
            self.reach.deadline(),
            self.anchor.deadline(),
            self.directory.review_deadline(),
            self.beacons.deadline(),
            self.islands_deadline(),
            self.memberships_deadline(),
            self.documents.deadline(),
            self.acquaintances.deadline(),
            self.streams.deadline(),
            self.sights.deadline(),
            self.detection.deadline(),
            self.searches.deadline(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Says goodbye to supernodes and peers; the engine is of no use afterwards.
    pub fn shutdown(&mut self, now: Time, out: &mut Outbox) {
        // Supernodes last, and of them those reached directly: what goes over them would not be passed on any more.
        let direct: Vec<PeerId> = self.directory.homes().collect();
        let rank = |id: &PeerId| {
            (
                self.peers.get(*id).is_some_and(|peer| peer.supernode),
                direct.contains(id),
            )
        };
        let mut ids = self.peers.ids();
        ids.sort_by_key(rank);
        for id in ids {
            self.send_bye(now, id, out);
        }
    }

    /// Ends every call that takes packets or time: acknowledgements leave, events are handed over, and what ended keys left
    /// on the stack is wiped.
    pub(crate) fn end_turn(&mut self, now: Time, out: &mut Outbox) {
        self.review_supernodes(now, out);
        self.flush_registrations(now, out);
        self.flush_contests(now, out);
        self.flush_acks(now, out);
        self.streams.flush(out);
        out.events.append(&mut self.events);
        out.closed.append(&mut self.sockets.take_closed());
        if self.peers.take_keys_ended() {
            wipe_stack();
        }
    }

    fn tend_peer(&mut self, now: Time, id: PeerId, out: &mut Outbox) {
        self.expire_sessions(now, id, out);
        self.tend_handshake(now, id, out);
        if self.role == Role::Node {
            self.tend_acquaintance(now, id, out);
        }
        self.tend_anchored(now, id, out);
        self.forget_if_idle(now, id);
        self.arm(id);
    }

    /// What a supernode has with nobody.
    fn tend_acquaintance(&mut self, now: Time, id: PeerId, out: &mut Outbox) {
        self.tend_silence(now, id, out);
        self.tend_report(now, id);
        self.tend_direct(now, id, out);
        self.tend_mtu(now, id, out);
        self.tend_networks(now, id, out);
        self.tend_credentials(now, id, out);
        self.tend_settling(now, id, out);
        self.tend_telling(now, id, out);
        self.tend_addresses(now, id, out);
        self.tend_names(now, id, out);
        self.tend_peer_channels(now, id, out);
        self.tend_registration(now, id, out);
        self.tend_stream(now, id, out);
    }

    /// Sets the timer of a peer to its next deadline.
    pub(crate) fn arm(&mut self, id: PeerId) {
        let registration = self.directory.registration_deadline(id);
        let anchored = self.anchor.registration_deadline(id);
        let stream = self.stream_deadline(id);
        let Some(peer) = self.peers.get_mut(id) else { return };
        let forgotten = peer
            .heard
            .filter(|_| anchored.is_none() && peer.forgettable())
            .map(|heard| heard + FORGET_AFTER);
        let deadline = [peer.deadline(), registration, stream, anchored, forgotten]
            .into_iter()
            .flatten()
            .min();
        if let Some(deadline) = deadline {
            self.look_at(deadline, id);
        }
    }

    /// Has it looked at a peer then, whatever is due.
    pub(crate) fn look_at(&mut self, deadline: Time, id: PeerId) {
        let Some(peer) = self.peers.get_mut(id) else { return };
        // An earlier timer stays: it looks again.
        if peer.timer.is_none_or(|timer| deadline < timer) {
            if let Some(before) = peer.timer.replace(deadline) {
                self.timers.remove(&(before, id));
            }
            self.timers.insert((deadline, id));
        }
    }

    /// A peer is about to be forgotten.
    pub(crate) fn disarm(&mut self, id: PeerId) {
        if let Some(timer) = self.peers.get_mut(id).and_then(|peer| peer.timer.take()) {
            self.timers.remove(&(timer, id));
        }
    }

    fn expire_sessions(&mut self, now: Time, id: PeerId, out: &mut Outbox) {
        let Some(peer) = self.peers.get_mut(id) else { return };
        let ended = peer.sessions.expire(now);
        if ended.is_empty() {
            return;
        }
        let down = peer.sessions.is_empty().then(|| {
            peer.session_ended();
            peer.key.node_id()
        });
        for index in ended {
            self.peers.unbind(index);
        }
        let supernode = self.peers.get(id).is_some_and(|peer| peer.supernode);
        if let Some(node) = down.filter(|_| self.role == Role::Node && !supernode) {
            out.events.push(Event::PeerDown { node });
        }
    }

    fn forget_if_idle(&mut self, now: Time, id: PeerId) {
        let Some(peer) = self.peers.get(id) else { return };
        let quiet = peer.heard.is_none_or(|heard| now.since(heard) >= FORGET_AFTER);
        if peer.forgettable() && quiet && !self.anchor.has_registration(id) {
            self.forget_peer(id);
        }
    }

    /// A random number, for tokens and challenges.
    pub(crate) fn random_u64(&mut self) -> u64 {
        self.random.next_u64()
    }

    /// A peer's id for the log.
    pub(crate) fn name(&self, id: PeerId) -> String {
        self.peers
            .get(id)
            .map(|peer| peer.key.node_id().short())
            .unwrap_or_default()
    }

    /// Sends a datagram along `path`: what `fill` appends. Returns whether the path can be used.
    pub(crate) fn transmit(&self, path: Path, out: &mut Outbox, fill: impl FnOnce(&mut Vec<u8>)) -> bool {
        let Some(envelope) = self.envelope(path) else {
            return false;
        };
        envelope.write(&mut out.datagrams, fill);
        true
    }

    /// Where datagrams along `path` go and what stands before them.
    pub(crate) fn envelope(&self, path: Path) -> Option<Envelope> {
        match path {
            Path::Direct(destination) => Some(Envelope {
                transmit: destination.into(),
                relay: None,
            }),
            Path::Passed { sibling, index } => Some(Envelope {
                transmit: self.siblings.leg(sibling)?.into(),
                relay: Some(RelayHeader::Passed {
                    origin: SupernodeTag::of(&self.node_id),
                    index,
                }),
            }),
            Path::Relay { supernode, target } => {
                let source = self.directory.relay_index(supernode)?;
                let Some(Path::Direct(destination)) = self.peers.get(supernode)?.path else {
                    return None;
                };
                Some(Envelope {
                    transmit: destination.into(),
                    relay: Some(RelayHeader::Relay(target, source)),
                })
            }
        }
    }

    /// What this node knows of its supernodes.
    pub fn supernodes(&self) -> Vec<SupernodeStatus> {
        self.directory.status(&self.peers)
    }

    /// The joined networks.
    pub fn networks(&self) -> Vec<NetworkStatus> {
        self.networks.iter().map(|network| network.status()).collect()
    }

    /// The members of the joined networks that the supernodes list, and everybody with whom a session stands. A supernode
    /// names nobody: [`Self::anchor`] counts a million in no time.
    pub fn peers(&self, now: Time) -> Vec<PeerStatus> {
        if self.role == Role::Supernode {
            return Vec::new();
        }
        let mut found = std::collections::BTreeMap::new();
        for network in self.networks.iter() {
            for member in network.listed() {
                found.entry(member.key.node_id()).or_insert(member.key);
            }
            let met = Some(network).filter(|network| !network.list_complete());
            for member in met.iter().flat_map(|network| network.met.members().values()) {
                found.entry(member.key.node_id()).or_insert(member.key);
            }
        }
        for (_, peer) in self
            .peers
            .iter()
            .filter(|(_, peer)| !peer.supernode && !peer.sessions.is_empty())
        {
            found.entry(peer.key.node_id()).or_insert(peer.key);
        }
        found.remove(&self.node_id);
        found.into_values().map(|key| self.peer_status(now, key)).collect()
    }

    pub(crate) fn peer_status(&self, now: Time, key: PublicKey) -> PeerStatus {
        let node = key.node_id();
        let peer = self.peers.by_node(&node).and_then(|id| self.peers.get(id));
        let path = peer
            .filter(|peer| peer.sessions.current().is_some())
            .and_then(Peer::way);
        let networks = self.networks.iter().filter_map(|network| {
            let member = network.member(&node);
            let shared = peer.is_some_and(|peer| peer.up.contains(&network.handle));
            (member.is_some() || shared).then(|| PeerNetwork {
                network: network.handle,
                mac: network.plan.mac(&node),
                ipv6: network.plan.ipv6(&node),
                ipv4: network
                    .private
                    .as_ref()
                    .and_then(|private| private.certified(&node))
                    .or_else(|| peer.and_then(|peer| peer.claims.get(&network.handle).copied()))
                    .or_else(|| member.and_then(|member| member.ipv4)),
                membership: network.private.as_ref().and_then(|private| private.status_of(&node)),
                name: peer.and_then(|peer| peer.names.get(&network.handle).cloned()),
            })
        });
        let leg = path
            .and_then(|path| self.envelope(path))
            .map(|envelope| envelope.destination());
        PeerStatus {
            node,
            key,
            path: path.map(Path::kind),
            address: leg.map(|leg| leg.endpoint),
            supernode: path.and_then(|path| self.supernode_on(path)),
            tcp: leg.is_some_and(|leg| leg.is_stream()),
            rtt: peer.and_then(|peer| peer.rtt),
            heard: peer.and_then(|peer| peer.heard).map(|heard| now.since(heard)),
            endpoints: peer.map(answered_at).unwrap_or_default(),
            networks: networks.collect(),
        }
    }

    /// What this supernode serves.
    pub fn anchor(&self) -> AnchorStatus {
        let (documents, document_bytes) = self.documents.kept.size();
        AnchorStatus {
            documents,
            document_bytes,
            ..self.anchor.status()
        }
    }

    /// What happened to packets so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }
}

/// Lengths of IP and UDP headers together.
const IPV4_UDP: usize = 28;
const IPV6_UDP: usize = 48;

/// Where a datagram goes and what stands before it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Envelope {
    transmit: Transmit,
    relay: Option<RelayHeader>,
}

/// What stands before a datagram that others pass on.
#[derive(Clone, Copy, Debug)]
enum RelayHeader {
    Relay(RelayTarget, RelayIndex),
    /// From this supernode itself.
    Passed {
        origin: SupernodeTag,
        index: RelayIndex,
    },
}

impl Envelope {
    /// The way it leaves.
    pub(crate) fn destination(&self) -> Leg {
        self.transmit.destination
    }

    /// Bytes around the datagram inside: IP and UDP headers, and those of a relay. The way behind a relay may be IPv6.
    pub(crate) fn overhead(&self) -> usize {
        match self.relay {
            Some(RelayHeader::Relay(RelayTarget::Node(_), _)) => IPV6_UDP + RELAY_FIRST_HEADER,
            Some(RelayHeader::Relay(..) | RelayHeader::Passed { .. }) => IPV6_UDP + RELAY_HEADER,
            None if self.transmit.destination.is_ipv6() => IPV6_UDP,
            None => IPV4_UDP,
        }
    }

    /// Whether it goes over a relay.
    pub(crate) fn is_relayed(&self) -> bool {
        self.relay.is_some()
    }

    /// The same with another time to live.
    pub(crate) fn with_ttl(self, ttl: Option<u8>) -> Self {
        Self {
            transmit: Transmit { ttl, ..self.transmit },
            ..self
        }
    }

    /// The same for what may be too large for the way, if it may.
    pub(crate) fn alike_if(self, alike: bool) -> Self {
        Self {
            transmit: Transmit { alike, ..self.transmit },
            ..self
        }
    }
}

impl Envelope {
    /// Adds a datagram; returns where in the arena the part behind the relay header lies.
    pub(crate) fn write(
        self,
        datagrams: &mut Batch<Transmit>,
        fill: impl FnOnce(&mut Vec<u8>),
    ) -> std::ops::Range<usize> {
        let mut inner = 0;
        let range = datagrams.write(self.transmit, |bytes| {
            match self.relay {
                Some(RelayHeader::Relay(target, source)) => put_relay(bytes, target, source),
                Some(RelayHeader::Passed { origin, index }) => {
                    bytes.extend_from_slice(&passed_header(origin, index, RelayIndex::SUPERNODE));
                }
                None => {}
            }
            inner = bytes.len();
            fill(bytes);
        });
        inner..range.end
    }
}
