//! The laboratory: hosts with an engine each, and a wire that takes 20 ms and does what a test wants with datagrams.

mod host;
mod streams;
mod words;

use std::{
    collections::{BTreeSet, VecDeque},
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use farlan_crypto::{Identity, PublicKey, Seed, TAG, Work};
use farlan_netconf::{Mac, Parameters};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;

use self::streams::Connection;
pub(super) use self::{
    host::Host,
    streams::tcp,
    words::{datagram, frame, link, name, udp, world_id},
};
use crate::{
    Anchor, Batch, Config, Engine, FrameLabel, Join, Leg, Limits, LinkSubnet, NetworkHandle, NetworkStatus, OpenPorts,
    Outbox, Received, Role, Socket, Time, Transport,
    peers::{Peer, PeerId},
    wire::{control::Control, datagram::DATA_HEADER},
};

/// What one datagram takes to its destination.
pub(super) const DELAY: Duration = Duration::from_millis(20);

/// A port under which every host can be seen too, as behind a NAT that forgets.
pub(super) const OTHER_PORT: u16 = 9601;

/// The extra sockets of a host are at ports from here on.
pub(super) const FIRST_EXTRA: u16 = 30_000;

/// Turns of one engine at one moment; an engine that wants more runs in circles.
const MAX_TURNS: usize = 1000;

/// What is on the link of every card: the addresses of all hosts.
pub(super) const LINK: LinkSubnet = LinkSubnet {
    address: Ipv4Addr::new(10, 0, 0, 1),
    prefix: 8,
};

/// A host of the laboratory, by its position.
pub(super) type Place = usize;

/// What the wire does with a datagram on its way between two hosts: it may change it, and says whether it arrives.
pub(super) type Wire = Box<dyn FnMut(Place, Place, &mut Vec<u8>) -> bool>;

/// Whether nothing passes from one host to another, by IPv6 or not.
pub(super) type Block = Box<dyn Fn(Place, Place, bool) -> bool>;

/// A datagram under way.
pub(super) struct Passing {
    arrives: Time,
    /// The connection it is under way in, if it is none of UDP.
    stream: Option<usize>,
    pub(super) from: SocketAddr,
    pub(super) to: SocketAddr,
    pub(super) ttl: Option<u8>,
    pub(super) bytes: Vec<u8>,
}

impl Passing {
    /// The same datagram, which the network doubled.
    pub(super) fn again(&self) -> Self {
        Self {
            bytes: self.bytes.clone(),
            ..*self
        }
    }
}

/// A datagram that was sent.
pub(super) struct Sent {
    pub(super) from: Place,
    pub(super) to: SocketAddr,
    pub(super) ttl: Option<u8>,
    pub(super) alike: bool,
    pub(super) bytes: Vec<u8>,
}

/// A datagram that a node sent past the supernodes.
pub(super) struct Straight {
    pub(super) at: Time,
    pub(super) from: Place,
    pub(super) by: Socket,
    pub(super) to: SocketAddr,
    pub(super) ttl: Option<u8>,
    pub(super) bytes: Vec<u8>,
}

pub(super) struct Lab {
    pub(super) hosts: Vec<Host>,
    pub(super) now: Time,
    pub(super) wire: Wire,
    pub(super) passing: VecDeque<Passing>,
    /// Whether nodes reach each other straight, as without NATs.
    pub(super) open: bool,
    /// What nodes sent straight to each other, or to nowhere.
    pub(super) straight: Vec<Straight>,
    /// What does not pass from one host to another, by IPv6 or not.
    pub(super) blocked: Option<Block>,
    /// Behind a NAT that lets in nothing from extra sockets, since it saw nothing go there.
    pub(super) closed: Vec<Place>,
    /// Whether packets that come together are handled in calls of their own.
    pub(super) one_by_one: bool,
    /// Whether packets that come together come in the order of who sent them, not of when in that moment they were sent.
    pub(super) ordered: bool,
    /// The host whose machine sleeps.
    pub(super) asleep: Option<Place>,
    /// Everything that was sent, from when on it is kept.
    pub(super) log: Option<Vec<Sent>>,
    /// The limits of engines that are made from now on.
    pub(super) limits: Limits,
    /// Whether supernodes take streams.
    pub(super) tcp: bool,
    /// The connections that were made or are being made.
    streams: Vec<Connection>,
    /// Accepted streams that engines told to be proved.
    pub(super) proved: Vec<u32>,
    /// What one datagram takes.
    pub(super) delay: Duration,
    engines_made: u64,
}

impl Lab {
    pub(super) fn new() -> Self {
        Self {
            hosts: Vec::new(),
            now: Time::ZERO + Duration::from_secs(1),
            wire: intact(),
            passing: VecDeque::new(),
            open: false,
            straight: Vec::new(),
            blocked: None,
            closed: Vec::new(),
            one_by_one: false,
            ordered: false,
            asleep: None,
            log: None,
            limits: Limits::default(),
            tcp: false,
            streams: Vec::new(),
            proved: Vec::new(),
            delay: DELAY,
            engines_made: 0,
        }
    }

    /// A supernode and two nodes that know it as the one supernode of world 1, not registered yet.
    pub(super) fn with_two_nodes() -> (Self, [Place; 3]) {
        let mut lab = Self::new();
        let places = [lab.add(Role::Supernode), lab.add(Role::Node), lab.add(Role::Node)];
        for node in &places[1..] {
            lab.set_world(*node, 1, &[places[0]]);
        }
        (lab, places)
    }

    pub(super) fn add(&mut self, role: Role) -> Place {
        let seed = u8::try_from(self.hosts.len() + 1).unwrap();
        self.add_with(role, seed)
    }

    /// A host with the identity of `seed`, which another may have as well.
    pub(super) fn add_with(&mut self, role: Role, seed: u8) -> Place {
        let place = self.hosts.len();
        let engine = self.engine(role, seed);
        self.hosts.push(Host {
            engine,
            address: SocketAddr::from(([10, 0, 0, u8::try_from(place + 1).unwrap()], 9600)),
            ipv6: None,
            inside: None,
            link: None,
            nat: None,
            extras: BTreeSet::new(),
            frames: Vec::new(),
            labels: Vec::new(),
            events: Vec::new(),
            seed,
            role,
        });
        place
    }

    fn engine(&mut self, role: Role, seed: u8) -> Engine {
        let identity = Identity::from_seed(Seed::from_bytes([seed; 32]), Work::NONE).unwrap();
        let config = Config {
            identity,
            work: Work::NONE,
            role,
            limits: self.limits,
        };
        self.engines_made += 1;
        Engine::new(config, Box::new(ChaCha20Rng::seed_from_u64(self.engines_made)))
    }

    /// The host begins anew: the same identity and address, nothing else.
    pub(super) fn restart(&mut self, place: Place) {
        self.end_streams(place);
        let (role, seed) = (self.hosts[place].role, self.hosts[place].seed);
        self.hosts[place].engine = self.engine(role, seed);
    }

    pub(super) fn key(&self, place: Place) -> PublicKey {
        self.hosts[place].engine.public()
    }

    pub(super) fn set_world(&mut self, place: Place, world: u8, supernodes: &[Place]) {
        let anchor = |supernode: &Place| Anchor {
            key: self.key(*supernode),
            addresses: self.hosts[*supernode].addresses(),
            streams: self
                .tcp
                .then_some(tcp(self.hosts[*supernode].address))
                .into_iter()
                .collect(),
        };
        let anchors = supernodes.iter().map(anchor).collect();
        let now = self.now;
        self.hosts[place].engine.set_world(now, world_id(world), anchors);
    }

    pub(super) fn join(&mut self, place: Place, parameters: &Parameters) -> NetworkHandle {
        self.join_in(place, parameters, 1, &[])
    }

    pub(super) fn join_in(
        &mut self,
        place: Place,
        parameters: &Parameters,
        world: u8,
        greet: &[PublicKey],
    ) -> NetworkHandle {
        let join = Join {
            parameters: parameters.clone(),
            world: world_id(world),
            ipv4: true,
            preferred: None,
            greet: greet.to_vec(),
            membership: None,
            name: None,
        };
        self.hosts[place].engine.join(self.now, join).unwrap()
    }

    /// Puts a host on a link, where it sends beacons.
    pub(super) fn plug(&mut self, place: Place, link: u8) {
        self.hosts[place].link = Some(link);
        let card = crate::BeaconCard {
            index: 2,
            ipv4: vec![LINK],
            ipv6: false,
        };
        let (now, address) = (self.now, self.hosts[place].address);
        let engine = &mut self.hosts[place].engine;
        engine.set_local_endpoints(now, vec![address]);
        engine.set_beacon_cards(now, vec![card]);
    }

    /// Opens all ports of the machine at `place` to strangers.
    pub(super) fn open_all(&mut self, place: Place, network: NetworkHandle) {
        let all = [Transport::Tcp, Transport::Udp].map(|transport| OpenPorts {
            transport,
            first: 0,
            last: u16::MAX,
        });
        self.hosts[place].engine.set_opened(network, &all);
    }

    pub(super) fn leave(&mut self, place: Place, network: NetworkHandle) {
        self.hosts[place].engine.leave(self.now, network);
    }

    /// Puts what an engine wants sent on the wire and keeps the rest.
    pub(super) fn take(&mut self, place: Place, out: &mut Outbox) {
        let supernodes = self.hosts.iter().filter(|host| host.role == Role::Supernode);
        let supernodes: Vec<SocketAddr> = supernodes.flat_map(Host::addresses).collect();
        let opens: Vec<_> = out.opens.drain(..).collect();
        for (number, address) in opens {
            self.connect(place, number, address);
        }
        self.proved.append(&mut out.proved);
        let host = &mut self.hosts[place];
        for (transmit, bytes) in out.datagrams.iter() {
            if let Socket::Stream(number) = transmit.destination.socket {
                let mut streams = self.streams.iter();
                let stream = streams.position(|stream| !stream.closed && stream.is_at(place, number));
                if let Some(stream) = stream {
                    let [from, to] = self.streams[stream].seen_from(place);
                    self.passing.push_back(Passing {
                        arrives: self.now + DELAY,
                        stream: Some(stream),
                        from,
                        to,
                        ttl: None,
                        bytes: bytes.to_vec(),
                    });
                }
                continue;
            }
            if let Some(log) = &mut self.log {
                log.push(Sent {
                    from: place,
                    to: transmit.destination.endpoint,
                    ttl: transmit.ttl,
                    alike: transmit.alike,
                    bytes: bytes.to_vec(),
                });
            }
            // To the second ports of supernodes, and by the own NAT back to itself, a node sends to find out how that behaves.
            let to = transmit.destination.ip();
            let looks = supernodes
                .iter()
                .any(|supernode| supernode.ip() == to && supernode.port() != 9600);
            let mirror = to == host.address.ip() && bytes.len() == DATA_HEADER + TAG;
            let known = supernodes.contains(&transmit.destination.endpoint);
            if host.role == Role::Node && !known && !looks && !mirror {
                self.straight.push(Straight {
                    at: self.now,
                    from: place,
                    by: transmit.destination.socket,
                    to: transmit.destination.endpoint,
                    ttl: transmit.ttl,
                    bytes: bytes.to_vec(),
                });
            }
            if let Socket::Extra(number) = transmit.destination.socket {
                host.extras.insert(number);
            }
            let Some(from) = host.leaves_from(transmit.destination) else {
                continue;
            };
            self.passing.push_back(Passing {
                arrives: self.now + self.delay,
                stream: None,
                from,
                to: transmit.destination.endpoint,
                ttl: transmit.ttl,
                bytes: bytes.to_vec(),
            });
        }
        let (from, link) = (host.address, host.link);
        let others = |host: &&Host| link.is_some() && host.link == link && host.address != from;
        let others: Vec<SocketAddr> = self.hosts.iter().filter(others).map(|host| host.address).collect();
        for ((_, beacon), to) in out
            .beacons
            .iter()
            .flat_map(|beacon| others.iter().map(move |to| (beacon, *to)))
        {
            self.passing.push_back(Passing {
                arrives: self.now + DELAY,
                from,
                to,
                ttl: None,
                stream: None,
                bytes: beacon.to_vec(),
            });
        }
        let host = &mut self.hosts[place];
        for (label, frame) in out.frames.iter() {
            host.frames.push((label.network, frame.to_vec()));
            host.labels.push(*label);
        }
        host.events.append(&mut out.events);
        let closed: Vec<_> = out.closed.drain(..).collect();
        for socket in closed {
            if let Socket::Extra(number) = socket {
                self.hosts[place].extras.remove(&number);
            }
            self.close_stream(place, socket);
        }
        out.clear();
    }

    /// The machine at `place` sends a frame through its card.
    pub(super) fn send(&mut self, place: Place, network: NetworkHandle, frame: &[u8]) {
        self.send_batch(place, &[(network.into(), frame)]);
    }

    /// The machine at `place` sends frames and super-frames through its card, which are read in one turn.
    pub(super) fn send_batch(&mut self, place: Place, frames: &[(FrameLabel, &[u8])]) {
        let (mut batch, mut out) = (Batch::default(), Outbox::default());
        for together in frames.chunks(if self.one_by_one { 1 } else { usize::MAX }) {
            batch.clear();
            for (label, frame) in together {
                batch.push(*label, frame);
            }
            self.hosts[place].engine.handle_frames(self.now, &mut batch, &mut out);
            self.take(place, &mut out);
        }
    }

    /// A datagram reaches `place` at once.
    pub(super) fn deliver(&mut self, place: Place, from: impl Into<Leg>, datagram: &[u8]) {
        let mut batch = Batch::default();
        batch.push(from.into(), datagram);
        self.deliver_batch(place, &mut batch);
    }

    fn deliver_batch(&mut self, place: Place, batch: &mut Batch<Received>) {
        if self.one_by_one && batch.len() > 1 {
            for (label, datagram) in batch.iter() {
                self.deliver(place, label.source, datagram);
            }
            return;
        }
        let mut out = Outbox::default();
        let (mut beacons, mut datagrams) = (Batch::default(), Batch::default());
        for (label, datagram) in batch.iter() {
            let is_beacon = datagram.first() == Some(&10) && self.hosts[place].link.is_some();
            let batch = if is_beacon { &mut beacons } else { &mut datagrams };
            batch.push(*label, datagram);
        }
        if !beacons.is_empty() {
            self.hosts[place].engine.handle_beacons(self.now, &beacons, &mut out);
            self.take(place, &mut out);
        }
        let batch = if beacons.is_empty() { batch } else { &mut datagrams };
        self.hosts[place].engine.handle_datagrams(self.now, batch, &mut out);
        for (transmit, bytes) in batch.onward() {
            out.datagrams.push(*transmit, bytes);
        }
        self.take(place, &mut out);
    }

    /// The engine at `place` says something to a peer inside their session.
    pub(super) fn tell(&mut self, place: Place, peer: &PublicKey, message: Control) {
        let id = self.peer_id(place, peer);
        let mut out = Outbox::default();
        self.hosts[place]
            .engine
            .send_control(self.now, id, None, &[message], &mut out);
        self.take(place, &mut out);
    }

    /// Does what is due at all hosts.
    pub(super) fn settle(&mut self) {
        for place in 0..self.hosts.len() {
            let mut turns = 0;
            while self.tend(place) {
                turns += 1;
                assert!(turns < MAX_TURNS, "host {place} runs in circles at {}", self.now);
            }
        }
    }

    /// Does what is due at a host in one turn; whether anything was.
    fn tend(&mut self, place: Place) -> bool {
        let due = self.hosts[place].engine.next_timeout().is_some_and(|at| at <= self.now);
        let due = due && self.asleep != Some(place);
        if due {
            let mut out = Outbox::default();
            self.hosts[place].engine.handle_timeout(self.now, &mut out);
            self.take(place, &mut out);
        }
        due
    }

    /// Lets `time` pass, in which the host at `busy` has one turn: it gets what came for it, `flood` included, and then does
    /// one piece of work. The others have time for everything.
    pub(super) fn run_one_turn(&mut self, time: Duration, busy: Place, flood: &[(SocketAddr, &[u8])]) {
        self.now += time;
        let mut batch = Batch::default();
        for (from, datagram) in flood {
            batch.push(*from, datagram);
        }
        while let Some(passing) = self.passing.pop_front_if(|passing| passing.arrives <= self.now) {
            match self.arrive(passing) {
                Some((place, from, bytes)) if place == busy => {
                    batch.push(from, &bytes);
                }
                Some((place, from, bytes)) => self.deliver(place, from, &bytes),
                None => {}
            }
        }
        self.deliver_batch(busy, &mut batch);
        self.tend(busy);
        for place in (0..self.hosts.len()).filter(|place| *place != busy) {
            let mut turns = 0;
            while self.tend(place) {
                turns += 1;
                assert!(turns < MAX_TURNS, "host {place} runs in circles at {}", self.now);
            }
        }
    }

    /// Lets time pass, from one thing that happens to the next.
    pub(super) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            let stands = self.tend_streams();
            self.settle();
            let awake = self
                .hosts
                .iter()
                .enumerate()
                .filter(|(place, _)| self.asleep != Some(*place));
            let timers = awake.filter_map(|(_, host)| host.engine.next_timeout());
            let arrival = self.passing.front().map(|passing| passing.arrives);
            let next = timers
                .chain(arrival)
                .chain(stands)
                .min()
                .map_or(end, |next| next.min(end));
            self.now = next.max(self.now);
            self.set_clocks();
            if self.ordered {
                let due = self.passing.partition_point(|passing| passing.arrives <= self.now);
                self.passing.make_contiguous()[..due]
                    .sort_by_key(|passing| (passing.arrives, passing.to, passing.from));
            }
            let mut batch = Batch::default();
            let mut target = None;
            while let Some(passing) = self.passing.pop_front_if(|passing| passing.arrives <= self.now) {
                let Some((place, from, bytes)) = self.arrive(passing) else {
                    continue;
                };
                // What arrives together is received together.
                if let Some(before) = target.filter(|before| *before != place) {
                    self.deliver_batch(before, &mut std::mem::take(&mut batch));
                }
                target = Some(place);
                batch.push(from, &bytes);
            }
            if let Some(place) = target {
                self.deliver_batch(place, &mut batch);
            }
            if self.now >= end {
                break;
            }
        }
        self.settle();
    }

    /// NATs know the time.
    fn set_clocks(&mut self) {
        for nat in self.hosts.iter_mut().filter_map(|host| host.nat.as_mut()) {
            nat.now = self.now;
        }
    }

    pub(super) fn run_seconds(&mut self, seconds: u64) {
        self.run(Duration::from_secs(seconds));
    }

    /// What the wire makes of a datagram that comes to its end.
    fn arrive(&mut self, mut passing: Passing) -> Option<(Place, Leg, Vec<u8>)> {
        if let Some(stream) = passing.stream {
            let stream = self.streams.get(stream).filter(|stream| !stream.closed)?;
            let end = usize::from(stream.addresses[1] == passing.to);
            let leg = Leg {
                socket: Socket::Stream(stream.numbers[end]),
                endpoint: passing.from,
            };
            return Some((stream.ends[end], leg, passing.bytes));
        }
        // Where hosts have one address, the port tells them apart.
        let place = |address: SocketAddr| {
            let exact = self.hosts.iter().position(|host| host.address == address);
            exact.or_else(|| self.hosts.iter().position(|host| host.has(address.ip())))
        };
        let (from, to) = (place(passing.from)?, place(passing.to)?);
        let straight = [from, to].iter().all(|place| self.hosts[*place].role == Role::Node);
        if from == to {
            return self.comes_back(to, passing);
        }
        // What has a time to live dies on the way, but for that on a link.
        let link = self.hosts[from].link;
        let lives = passing.ttl.is_none() || (link.is_some() && link == self.hosts[to].link);
        let unasked = passing.from.port() >= FIRST_EXTRA && self.closed.contains(&to);
        let blocked = self.blocked.as_ref();
        let blocked = blocked.is_some_and(|blocks| blocks(from, to, passing.to.is_ipv6()));
        let passes = lives && (self.open || !straight) && !unasked && !blocked;
        let arrives = passes && (self.wire)(from, to, &mut passing.bytes);
        let socket = arrives.then(|| self.hosts[to].comes_in(passing.from, passing.to))??;
        let leg = Leg {
            socket,
            endpoint: passing.from,
        };
        Some((to, leg, passing.bytes))
    }

    /// What goes to the sender's own NAT comes back in, whatever its time to live, where the NAT does that.
    fn comes_back(&mut self, place: Place, passing: Passing) -> Option<(Place, Leg, Vec<u8>)> {
        let host = &mut self.hosts[place];
        let hairpin = host.nat.as_ref().is_some_and(|nat| nat.hairpin);
        let socket = hairpin.then(|| host.comes_in(passing.from, passing.to))??;
        let leg = Leg {
            socket,
            endpoint: passing.from,
        };
        Some((place, leg, passing.bytes))
    }

    pub(super) fn status(&self, place: Place, network: NetworkHandle) -> NetworkStatus {
        let mut networks = self.hosts[place].engine.networks().into_iter();
        networks.find(|status| status.handle == network).unwrap()
    }

    pub(super) fn mac(&self, place: Place, network: NetworkHandle) -> Mac {
        self.status(place, network).mac
    }

    pub(super) fn peer_id(&self, place: Place, key: &PublicKey) -> PeerId {
        self.hosts[place].engine.peers.by_node(&key.node_id()).unwrap()
    }

    /// What the engine at `place` knows of a peer.
    pub(super) fn peer(&self, place: Place, key: &PublicKey) -> &Peer {
        self.hosts[place].engine.peers.get(self.peer_id(place, key)).unwrap()
    }

    /// How often the card of `place` in `network` was given `frame`.
    pub(super) fn received(&self, place: Place, network: NetworkHandle, frame: &[u8]) -> usize {
        let frames = self.hosts[place].frames.iter();
        frames.filter(|(at, bytes)| *at == network && bytes == frame).count()
    }

    /// Handshakes that the hosts began so far.
    pub(super) fn handshakes_begun(&self) -> u64 {
        let begun = |host: &Host| host.engine.counters().handshakes_begun;
        self.hosts.iter().map(begun).sum()
    }
}

/// A wire that brings everything as it is.
pub(super) fn intact() -> Wire {
    Box::new(|_, _, _| true)
}

/// A wire that loses what goes between two hosts, either way.
pub(super) fn cut(one: Place, other: Place) -> Wire {
    Box::new(move |from, to, _| (from, to) != (one, other) && (from, to) != (other, one))
}
