//! The lab: hosts with engines and cards on an underlay, driven through virtual time.

mod beacons;
mod streams;
mod taken;
mod trouble;
mod turns;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    thread,
    time::Duration,
};

use farlan_crypto::{NodeId, PublicKey};
use farlan_engine::{
    AnchorStatus, Channel, Counters, Engine, Event, NetworkHandle, NetworkStatus, Outbox, PeerStatus, Role,
    SupernodeStatus, Target,
};
use farlan_netconf::{Mtu, NetworkName, Parameters, Policy, Subnet, WorldId};

use streams::{Connection, Step};

use super::{
    faults::FaultKind,
    frames::{MacAddress, datagram_frame, payload_frame},
    kernel::Card,
    links::LinkQuality,
    model::{Model, SendId},
    nat::NatKind,
    random::ReproducibleRandom,
    trace::Trace,
    underlay::{NatId, Parcel, Traffic, Underlay},
};

/// A host of a [`Lab`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostId(usize);

impl HostId {
    /// Its number, which is also its key in the [`Model`].
    pub fn index(self) -> usize {
        self.0
    }
}

/// A network of a [`Lab`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NetId(usize);

/// Which of a host's addresses to ping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// The IPv4 address.
    V4,
    /// The IPv6 address.
    V6,
    /// The IPv6 link-local address.
    LinkLocal,
}

impl Family {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::V4, Self::V6, Self::LinkLocal];
}

/// A ping under way or answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PingId {
    from: HostId,
    network: NetId,
    token: u64,
    sent: Duration,
}

impl PingId {
    /// Who pinged.
    pub fn from(self) -> HostId {
        self.from
    }

    /// When.
    pub fn sent(self) -> Duration {
        self.sent
    }
}

/// Hosts, networks, underlay and clock of one run.
#[derive(Debug)]
pub struct Lab {
    seed: u64,
    now: Duration,
    queue: BinaryHeap<Reverse<Entry>>,
    sequence: u64,
    underlay: Underlay,
    hosts: Vec<Host>,
    connections: Vec<Connection>,
    /// Whether nodes send beacons into their LANs.
    beacons: bool,
    /// Whether supernodes are listed with IPv6 before IPv4.
    ipv6_first: bool,
    networks: Vec<Parameters>,
    world: WorldId,
    model: Model,
    trace: Trace,
    tokens: u64,
}

/// Something due: ordered by time, then by the order in which it was planned.
#[derive(Debug)]
struct Entry {
    at: Duration,
    sequence: u64,
    what: Due,
}

#[derive(Debug)]
enum Due {
    Arrival(Parcel, Vec<u8>),
    /// Something happens to a connection, at one of its ends.
    Stream(usize, usize, Step),
    /// A host hears what another one of its LAN sent to everybody.
    Beacon(usize, SocketAddr, Vec<u8>),
    Engine(usize),
    Kernel(usize),
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.sequence) == (other.at, other.sequence)
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.sequence).cmp(&(other.at, other.sequence))
    }
}

struct Host {
    role: Role,
    secret: [u8; 32],
    id: NodeId,
    key: PublicKey,
    engine: Option<Engine>,
    /// When the running engine was made: its time zero.
    started: Duration,
    /// How far the clock of the running engine jumped ahead.
    jumped: Duration,
    /// Since when it sleeps, if it does.
    asleep: Option<Duration>,
    starts: u64,
    entropy: ReproducibleRandom,
    /// Networks joined, now or again after a restart, with the IPv4 address held last.
    joined: BTreeMap<usize, Option<Ipv4Addr>>,
    cards: BTreeMap<usize, (NetworkHandle, Card)>,
    /// Peers as a daemon caches them on disk.
    contacts: Vec<PublicKey>,
    events: Vec<(Duration, Event)>,
    engine_due: Option<Duration>,
    kernel_due: Option<Duration>,
    turns: (Duration, u32),
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Host")
            .field("id", &self.id)
            .field("up", &self.engine.is_some())
            .finish_non_exhaustive()
    }
}

/// How finely [`Lab::run_until`] looks.
const STEP: Duration = Duration::from_millis(10);

/// How fresh a cached peer must be to be greeted by a daemon that starts.
const CONTACT_AGE: Duration = Duration::from_secs(180);

impl Lab {
    /// An empty lab. Whatever is random in it follows from `seed`.
    pub fn new(seed: u64) -> Self {
        let world = ReproducibleRandom::new(seed, "world", 0).block();
        let mut id = [0; 16];
        id.copy_from_slice(&world[..16]);
        Self {
            seed,
            now: Duration::ZERO,
            queue: BinaryHeap::new(),
            sequence: 0,
            underlay: Underlay::new(seed),
            hosts: Vec::new(),
            connections: Vec::new(),
            beacons: false,
            ipv6_first: false,
            networks: Vec::new(),
            world: WorldId::from_bytes(id),
            model: Model::default(),
            trace: Trace::default(),
            tokens: 0,
        }
    }

    // Building.

    /// How links behave that have no rule of their own; 10 ms one way and no faults at first.
    pub fn set_links(&mut self, quality: LinkQuality) {
        self.underlay.set_default(quality);
        self.tell_links();
    }

    /// How the link between two hosts behaves, both ways.
    pub fn set_link(&mut self, a: HostId, b: HostId, quality: LinkQuality) {
        self.underlay.set_link(a.0, b.0, quality);
        self.tell_links();
    }

    /// Adds a NAT.
    pub fn add_nat(&mut self, kind: impl Into<NatKind>) -> NatId {
        self.underlay.add_nat(kind.into(), None)
    }

    /// Adds a NAT behind a carrier's.
    pub fn add_nat_behind(&mut self, carrier: NatId, kind: impl Into<NatKind>) -> NatId {
        self.underlay.add_nat(kind.into(), Some(carrier))
    }

    /// Adds a supernode on the open Internet and starts it. All supernodes must come before the first node.
    pub fn add_supernode(&mut self) -> HostId {
        self.add_host(Role::Supernode, None)
    }

    /// Adds a node, behind a NAT or on the open Internet, and starts it.
    pub fn add_node(&mut self, nat: Option<NatId>) -> HostId {
        self.add_host(Role::Node, nat)
    }

    /// Adds a link network (policy `friends`), which nobody has joined yet.
    ///
    /// # Panics
    /// If there are more than 16 networks.
    pub fn add_link_network(&mut self) -> NetId {
        let number = self.networks.len();
        let block = ReproducibleRandom::new(self.seed, "network", number as u64).block();
        let mut random = [0; 16];
        random.copy_from_slice(&block[..16]);
        let subnet = Subnet::new(Ipv4Addr::new(10, 128, (number * 16) as u8, 0), 20).expect("a /20 of 10.128.0.0/9");
        self.networks.push(Parameters::link(random, subnet, Mtu::DEFAULT));
        NetId(number)
    }

    /// Adds a name network (policy `strangers`), which nobody has joined yet.
    ///
    /// # Panics
    /// If `name` is none.
    pub fn add_name_network(&mut self, name: &str) -> NetId {
        let name = NetworkName::parse(name).expect("a network's name");
        self.networks.push(Parameters::open_name(self.world, name));
        NetId(self.networks.len() - 1)
    }

    // Acting.

    /// A host joins a network.
    ///
    /// # Panics
    /// If it is down or the engine refuses.
    pub fn join(&mut self, host: HostId, network: NetId) {
        let later = self.now > Duration::ZERO;
        self.underlay.faults().add(FaultKind::Membership, later.into());
        self.hosts[host.0].joined.insert(network.0, None);
        self.join_engine(host.0, network.0);
        self.run_timers(host.0);
    }

    /// A host leaves a network.
    ///
    /// # Panics
    /// If it is not in it.
    pub fn leave(&mut self, host: HostId, network: NetId) {
        let later = self.now > Duration::ZERO;
        self.underlay.faults().add(FaultKind::Membership, later.into());
        let now = self.engine_time(host.0);
        let key = self.network_key(network.0);
        let this = &mut self.hosts[host.0];
        this.joined.remove(&network.0);
        let (handle, _) = this.cards.remove(&network.0).expect("a joined network");
        this.engine.as_mut().expect("a host that is up").leave(now, handle);
        self.model.leave(self.now, key, host.0);
        self.run_timers(host.0);
    }

    /// Takes a host down at once, as by a power cut. What the daemon would have cached on disk survives.
    pub fn crash(&mut self, host: HostId) {
        if let Some(kind) = self.running(host, FaultKind::Crash, FaultKind::SupernodeCrash) {
            self.underlay.faults().fired(kind);
        }
        self.take_down(host);
    }

    fn take_down(&mut self, host: HostId) {
        self.record("crash", host.0, &[]);
        self.model.health(self.now).set_up(self.now, host.0, false);
        let now = self.engine_time(host.0);
        let this = &mut self.hosts[host.0];
        if let Some(engine) = this.engine.take() {
            let fresh = |peer: &PeerStatus| peer.heard.is_some_and(|age| age <= CONTACT_AGE);
            this.contacts = engine
                .peers(now)
                .into_iter()
                .filter(fresh)
                .map(|peer| peer.key)
                .collect();
        }
        for (&network, (_, card)) in &this.cards {
            this.joined.insert(network, card.ipv4());
        }
        this.cards.clear();
        this.asleep = None;
        self.underlay.close_all(host.0);
        self.lose_streams(host.0);
        for network in self.hosts[host.0].joined.keys().copied().collect::<Vec<_>>() {
            self.model.leave(self.now, self.network_key(network), host.0);
        }
    }

    /// Takes a host down in good order: its engine says goodbye first.
    pub fn shut_down(&mut self, host: HostId) {
        if let Some(kind) = self.running(host, FaultKind::Goodbye, FaultKind::SupernodeCrash) {
            self.underlay.faults().fired(kind);
        }
        let now = self.engine_time(host.0);
        let mut out = Outbox::default();
        if let Some(engine) = &mut self.hosts[host.0].engine {
            engine.shutdown(now, &mut out);
        }
        self.deliver(host.0, &mut out);
        self.take_down(host);
    }

    /// Starts a host that is down, with its identity, networks, addresses and cached contacts.
    pub fn restart(&mut self, host: HostId) {
        let kind = match self.hosts[host.0].role {
            Role::Node => FaultKind::Restart,
            Role::Supernode => FaultKind::SupernodeRestart,
        };
        self.underlay.faults().fired(kind);
        self.model.health(self.now).set_up(self.now, host.0, true);
        self.start(host.0);
    }

    /// Cuts or mends the underlay between two hosts; through others they may still reach each other.
    pub fn set_cut(&mut self, a: HostId, b: HostId, cut: bool) {
        self.model.health(self.now).set_cut(self.now, a.0, b.0, cut);
        self.underlay.set_cut(a.0, b.0, cut);
    }

    /// Cuts or mends the underlay between a host and all others.
    pub fn set_isolated(&mut self, host: HostId, isolated: bool) {
        (0..self.hosts.len())
            .filter(|&other| other != host.0)
            .for_each(|other| {
                self.set_cut(host, HostId(other), isolated);
            });
    }

    /// A NAT forgets its flows and gives other ports from now on.
    pub fn rebind(&mut self, nat: NatId) {
        self.tell_rebound(nat);
        self.break_streams_behind(nat);
        self.underlay.rebind(self.now, nat);
    }

    /// What happens is not hashed from now on, which saves time.
    pub fn set_unrecorded(&mut self) {
        self.trace.stop();
    }

    /// The kernel of `from` pings an address of `to`.
    ///
    /// # Panics
    /// If `to` has no such address at the moment.
    pub fn ping(&mut self, from: HostId, to: HostId, network: NetId, family: Family) -> PingId {
        let address = self.address(to, network, family).expect("an address to ping");
        self.ping_address(from, network, address)
    }

    /// The kernel of `from` pings an address, a broadcast or multicast address among them.
    ///
    /// # Panics
    /// If `from` is not in the network.
    pub fn ping_address(&mut self, from: HostId, network: NetId, address: IpAddr) -> PingId {
        self.tokens += 1;
        let token = self.tokens;
        let now = self.now;
        // A host that is down sends nothing; a ping that runs there meanwhile has lost its card.
        if let Some((_, card)) = self.hosts[from.0].cards.get_mut(&network.0) {
            card.ping(now, address, token);
            self.run_timers(from.0);
        }
        PingId {
            from,
            network,
            token,
            sent: now,
        }
    }

    /// The kernel of a host asks who holds an IPv4 address.
    pub fn ask_arp(&mut self, host: HostId, network: NetId, target: Ipv4Addr) {
        self.card_mut(host, network).ask_arp(target);
        self.run_timers(host.0);
    }

    /// The kernel of a host asks who holds an IPv6 address.
    pub fn ask_solicitation(&mut self, host: HostId, network: NetId, target: Ipv6Addr) {
        self.card_mut(host, network).ask_solicitation(target);
        self.run_timers(host.0);
    }

    /// A program on a host sends a raw frame.
    pub fn send(&mut self, host: HostId, network: NetId, frame: Vec<u8>) -> SendId {
        let id = self.model.sent(self.now, self.network_key(network.0), host.0, &frame);
        self.record("raw", host.0, &frame);
        let handle = self.hosts[host.0].cards[&network.0].0;
        self.give_frames(host.0, &[(handle, frame)]);
        self.run_timers(host.0);
        id
    }

    /// Tells the engine of a host what its machine listens to.
    ///
    /// # Panics
    /// If the host is down or not in the network.
    pub fn set_channels(&mut self, host: HostId, network: NetId, channels: &[Channel]) {
        let now = self.engine_time(host.0);
        let this = &mut self.hosts[host.0];
        let handle = this.cards[&network.0].0;
        let engine = this.engine.as_mut().expect("a host that is up");
        engine.set_channels(now, handle, channels);
        self.run_timers(host.0);
    }

    /// Asks the engine of a host to ping a target; the answer is an event with `token`.
    ///
    /// # Panics
    /// If the host is down.
    pub fn engine_ping(&mut self, host: HostId, target: Target, token: u64) {
        let now = self.engine_time(host.0);
        self.hosts[host.0]
            .engine
            .as_mut()
            .expect("a host that is up")
            .ping(now, target, token);
        self.run_timers(host.0);
    }

    // Time.

    /// Virtual time since the lab was made.
    pub fn now(&self) -> Duration {
        self.now
    }

    /// Lets `duration` of virtual time pass.
    pub fn run(&mut self, duration: Duration) {
        let end = self.now + duration;
        while let Some(Reverse(entry)) = self.queue.peek()
            && entry.at <= end
        {
            let Some(Reverse(entry)) = self.queue.pop() else {
                break;
            };
            self.now = entry.at;
            self.act(entry);
        }
        self.now = end;
        self.model.check(end);
    }

    /// Lets time pass until `done`, at most `limit`. Returns how long it took, or nothing if it was never done.
    pub fn run_until(&mut self, limit: Duration, mut done: impl FnMut(&mut Self) -> bool) -> Option<Duration> {
        let start = self.now;
        while !done(self) {
            if self.now - start >= limit {
                return None;
            }
            self.run(STEP);
        }
        Some(self.now - start)
    }

    /// Lets time pass until all these hosts are registered, have their IPv4 addresses and count each other.
    ///
    /// # Panics
    /// If that takes longer than 10 s.
    pub fn settle(&mut self, network: NetId, hosts: &[HostId]) -> Duration {
        self.run_until(Duration::from_secs(10), |lab| {
            hosts.iter().all(|&host| {
                lab.is_registered(host)
                    && lab
                        .network(host, network)
                        .is_some_and(|status| status.ipv4.is_some() && status.members as usize == hosts.len())
            })
        })
        .unwrap_or_else(|| {
            let states: Vec<_> = hosts.iter().map(|&host| (host, self.network(host, network))).collect();
            panic!("not settled after 10 s: {states:#?}")
        })
    }

    // Looking.

    /// Its seed.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// What happened so far, as a hash.
    pub fn trace(&self) -> &Trace {
        &self.trace
    }

    /// The judge of frames.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// How long a ping took, if it was answered.
    pub fn answer(&self, ping: PingId) -> Option<Duration> {
        let (_, card) = self.hosts[ping.from.0].cards.get(&ping.network.0)?;
        Some(card.answered(ping.token)? - ping.sent)
    }

    /// Everyone who answered a ping.
    pub fn answerers(&self, ping: PingId) -> Vec<IpAddr> {
        let card = self.hosts[ping.from.0].cards.get(&ping.network.0);
        card.map_or_else(Vec::new, |(_, card)| card.answerers(ping.token).to_vec())
    }

    /// The card of a host in a network.
    ///
    /// # Panics
    /// If it is not in it, or down.
    pub fn card(&self, host: HostId, network: NetId) -> &Card {
        &self.hosts[host.0].cards.get(&network.0).expect("a joined network").1
    }

    /// A frame from a host with a unique number that members of the network get whatever its policy: of an EtherType that no
    /// engine knows, or a datagram for an opened port.
    ///
    /// # Panics
    /// If the host is not in the network.
    pub fn payload(
        &self,
        host: HostId,
        network: NetId,
        destination: MacAddress,
        number: u64,
        length: usize,
    ) -> Vec<u8> {
        let make = match self.networks[network.0].policy() {
            Policy::Friends => payload_frame,
            Policy::Strangers => datagram_frame,
        };
        make(destination, self.card(host, network).mac(), number, length)
    }

    /// The card of a host in a network, to look after its kernel.
    ///
    /// # Panics
    /// If it is not in it, or down.
    pub fn card_mut(&mut self, host: HostId, network: NetId) -> &mut Card {
        &mut self.hosts[host.0]
            .cards
            .get_mut(&network.0)
            .expect("a joined network")
            .1
    }

    /// An address of a host.
    pub fn address(&self, host: HostId, network: NetId, family: Family) -> Option<IpAddr> {
        let (_, card) = self.hosts[host.0].cards.get(&network.0)?;
        Some(match family {
            Family::V4 => card.ipv4()?.into(),
            Family::V6 => card.ipv6().into(),
            Family::LinkLocal => card.link_local().into(),
        })
    }

    /// The node id of a host.
    pub fn node_id(&self, host: HostId) -> NodeId {
        self.hosts[host.0].id
    }

    /// The handle of a network on a host that is in it.
    pub fn handle(&self, host: HostId, network: NetId) -> Option<NetworkHandle> {
        self.hosts[host.0].cards.get(&network.0).map(|(handle, _)| *handle)
    }

    /// Whether any supernode has registered a host.
    pub fn is_registered(&self, host: HostId) -> bool {
        let engine = self.hosts[host.0].engine.as_ref();
        engine.is_some_and(|engine| engine.supernodes().iter().any(|supernode| supernode.registered))
    }

    /// A network as the engine of a host sees it.
    pub fn network(&self, host: HostId, network: NetId) -> Option<NetworkStatus> {
        let this = &self.hosts[host.0];
        let handle = this.cards.get(&network.0)?.0;
        this.engine
            .as_ref()?
            .networks()
            .into_iter()
            .find(|status| status.handle == handle)
    }

    /// The peers of a host.
    pub fn peers(&self, host: HostId) -> Vec<PeerStatus> {
        let engine = self.hosts[host.0].engine.as_ref();
        engine.map_or_else(Vec::new, |engine| engine.peers(self.engine_time(host.0)))
    }

    /// The counters of a host since it started.
    pub fn counters(&self, host: HostId) -> Counters {
        self.hosts[host.0]
            .engine
            .as_ref()
            .map_or_else(Counters::default, Engine::counters)
    }

    /// The supernodes as a node sees them.
    ///
    /// # Panics
    /// If it is down.
    pub fn supernodes(&self, host: HostId) -> Vec<SupernodeStatus> {
        self.hosts[host.0]
            .engine
            .as_ref()
            .expect("a host that is up")
            .supernodes()
    }

    /// What a supernode serves.
    pub fn anchor(&self, host: HostId) -> AnchorStatus {
        self.hosts[host.0]
            .engine
            .as_ref()
            .map_or_else(AnchorStatus::default, Engine::anchor)
    }

    /// What the engine of a host told, in order, over all its starts, with the virtual time.
    pub fn events(&self, host: HostId) -> &[(Duration, Event)] {
        &self.hosts[host.0].events
    }

    /// Datagrams of a host.
    pub fn traffic(&self, host: HostId) -> Traffic {
        self.underlay.traffic(host.0)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!(
                "lab of seed {} at virtual time {:?}, event log {} ({} entries)",
                self.seed,
                self.now,
                self.trace.hash(),
                self.trace.entries()
            );
            for host in (0..self.hosts.len()).map(HostId) {
                let counters = self.counters(host);
                let counted: Vec<_> = counters.iter().filter(|(_, count)| *count > 0).collect();
                eprintln!("{host:?} {} {counted:?}", self.node_id(host));
            }
        }
    }
}
