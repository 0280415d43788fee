//! What happens at one moment on one host: input to its engine, and everything the engine wants done after it.

use std::{cmp::Reverse, collections::BTreeMap, net::SocketAddr, time::Duration};

use farlan_crypto::{Identity, Seed, Work};
use farlan_engine::{
    Anchor, Batch, Config, Engine, Event, Join, Leg, Limits, NetworkHandle, OpenPorts, Outbox, Received, Role, Socket,
    Time, Transport,
};
use farlan_netconf::{Policy, Seconds};

use super::{
    super::{
        frames::DATAGRAM_PORT,
        kernel::Card,
        model::{NetworkKey, Rules},
        random::ReproducibleRandom,
        underlay::{NatId, Parcel, SECOND_PORT},
    },
    Due, Entry, Host, HostId, Lab,
};

/// Turns of one engine at one moment that prove an endless loop.
const MAX_TURNS: u32 = 10_000;

/// Datagrams of one moment that go into an engine together.
const BATCH: usize = 64;

/// The time of day when a lab begins, in seconds since 1970: in November 2026.
const BEGUN: u64 = 1_795_000_000;

impl Lab {
    pub(super) fn add_host(&mut self, role: Role, nat: Option<NatId>) -> HostId {
        let index = self.hosts.len();
        let secret = ReproducibleRandom::new(self.seed, "identity", index as u64).block();
        let identity = identity(secret);
        let supernode = role == Role::Supernode;
        self.underlay.add_host(nat, supernode);
        self.model.health(self.now).add(self.now, index, supernode);
        self.hosts.push(Host {
            role,
            secret,
            id: identity.node_id(),
            key: identity.public(),
            engine: None,
            started: Duration::ZERO,
            jumped: Duration::ZERO,
            asleep: None,
            starts: 0,
            entropy: ReproducibleRandom::new(self.seed, "entropy", index as u64),
            joined: BTreeMap::new(),
            cards: BTreeMap::new(),
            contacts: Vec::new(),
            events: Vec::new(),
            engine_due: None,
            kernel_due: None,
            turns: (Duration::ZERO, 0),
        });
        self.start(index);
        HostId(index)
    }

    /// The supernodes as a host knows them.
    fn anchors(&self, host: usize) -> Vec<Anchor> {
        (0..self.hosts.len())
            .filter(|&other| self.hosts[other].role == Role::Supernode)
            .map(|other| Anchor {
                key: self.hosts[other].key,
                addresses: self.reachable(host, other),
                streams: self.stream_addresses(host, other),
            })
            .collect()
    }

    /// Tells the supernodes of each other.
    fn introduce_supernodes(&mut self) {
        for host in 0..self.hosts.len() {
            let (anchors, world, now) = (self.anchors(host), self.world, self.engine_time(host));
            let this = &mut self.hosts[host];
            if let (Role::Supernode, Some(engine)) = (this.role, &mut this.engine) {
                engine.set_world(now, world, anchors);
            }
        }
    }

    pub(super) fn start(&mut self, host: usize) {
        self.record("start", host, &[]);
        let anchors = self.anchors(host);
        let this = &mut self.hosts[host];
        assert!(this.engine.is_none(), "host {host} is up already");
        let stream = host as u64 * 1_000_000 + this.starts;
        let random = ReproducibleRandom::new(self.seed, "engine", stream);
        let config = Config {
            identity: identity(this.secret),
            work: Work::NONE,
            role: this.role,
            limits: Limits::default(),
        };
        let mut engine = Engine::new(config, Box::new(random));
        this.starts += 1;
        this.started = self.now;
        this.jumped = Duration::ZERO;
        engine.set_world(Time::ZERO, self.world, anchors);
        if this.role == Role::Node {
            let passed = this.started.as_secs();
            engine.set_wall_clock(Time::ZERO, Seconds::new(BEGUN + passed), Seconds::default());
            engine.set_local_endpoints(Time::ZERO, self.underlay.endpoints(host));
        }
        if this.role == Role::Supernode {
            engine.set_second_port(Some(SECOND_PORT));
        }
        this.engine = Some(engine);
        if this.role == Role::Supernode {
            self.introduce_supernodes();
        }
        let this = &mut self.hosts[host];
        for network in this.joined.keys().copied().collect::<Vec<_>>() {
            self.join_engine(host, network);
        }
        let this = &mut self.hosts[host];
        let contacts = std::mem::take(&mut this.contacts);
        self.set_beacon_cards(host);
        let this = &mut self.hosts[host];
        if let (false, Some(engine)) = (contacts.is_empty(), &mut this.engine) {
            engine.greet(Time::ZERO, self.world, &contacts);
        }
        self.run_timers(host);
    }

    /// The addresses of `other` in the families that `host` has.
    pub(super) fn reachable(&self, host: usize, other: usize) -> Vec<SocketAddr> {
        let own = self.underlay.endpoints(host);
        let known = |address: &SocketAddr| own.iter().any(|own| own.is_ipv4() == address.is_ipv4());
        let mut reachable: Vec<SocketAddr> = self.underlay.endpoints(other).into_iter().filter(known).collect();
        reachable.sort_by_key(|endpoint| endpoint.is_ipv6() != self.ipv6_first);
        reachable
    }

    pub(super) fn join_engine(&mut self, host: usize, network: usize) {
        let parameters = self.networks[network].clone();
        let key = self.network_key(network);
        let rules = match parameters.policy() {
            Policy::Friends => Rules::Friends,
            Policy::Strangers => Rules::Strangers,
        };
        let now = self.engine_time(host);
        let this = &mut self.hosts[host];
        let preferred = this.joined.get(&network).copied().flatten();
        let join = Join {
            parameters,
            world: self.world,
            ipv4: true,
            preferred,
            greet: Vec::new(),
            membership: None,
            name: None,
        };
        let engine = this.engine.as_mut().expect("a host that is up");
        let handle = engine.join(now, join).expect("a network that can be joined");
        let status = engine
            .networks()
            .into_iter()
            .find(|status| status.handle == handle)
            .expect("its status");
        engine.set_opened(
            handle,
            &[OpenPorts {
                transport: Transport::Udp,
                first: DATAGRAM_PORT,
                last: DATAGRAM_PORT,
            }],
        );
        let mac = *status.mac.as_bytes();
        this.cards.insert(
            network,
            (handle, Card::new(mac, status.ipv6, status.link_local, status.ipv4)),
        );
        self.model
            .join(self.now, key, rules, host, mac, vec![status.ipv6, status.link_local]);
    }

    pub(super) fn network_key(&self, network: usize) -> NetworkKey {
        *self.networks[network].id().as_bytes()
    }

    /// The clock of a host's engine, which starts at zero with it.
    pub(super) fn engine_time(&self, host: usize) -> Time {
        let host = &self.hosts[host];
        Time::ZERO + (self.now - host.started + host.jumped)
    }

    pub(super) fn act(&mut self, entry: Entry) {
        match entry.what {
            Due::Engine(host) => {
                if self.hosts[host].engine_due == Some(entry.at) {
                    self.hosts[host].engine_due = None;
                    self.run_timers(host);
                }
            }
            Due::Kernel(host) => {
                if self.hosts[host].kernel_due == Some(entry.at) {
                    self.hosts[host].kernel_due = None;
                    self.run_timers(host);
                }
            }
            Due::Arrival(parcel, bytes) => self.arrivals(entry.at, parcel, bytes),
            Due::Beacon(host, source, bytes) => self.hear_beacon(host, source, &bytes),
            Due::Stream(connection, end, step) => self.step_stream(connection, end, step),
        }
    }

    /// Hands a datagram to its host, with those that arrive there at the same moment behind it.
    fn arrivals(&mut self, at: Duration, parcel: Parcel, bytes: Vec<u8>) {
        let mut batch: Batch<Received> = Batch::default();
        let mut target = self.arrive(&parcel, &bytes);
        let mut bytes = bytes;
        loop {
            if let Some((_, leg)) = target {
                batch.push(leg, &bytes);
            }
            let next_is_now = self.queue.peek().is_some_and(|Reverse(next)| {
                next.at == at && matches!(next.what, Due::Arrival(..)) && batch.len() < BATCH
            });
            if !next_is_now {
                break;
            }
            let Some(Reverse(Entry {
                what: Due::Arrival(parcel, next),
                ..
            })) = self.queue.pop()
            else {
                break;
            };
            let next_target = self.arrive(&parcel, &next);
            if let Some((host, _)) = target
                && next_target.map(|(host, _)| host) != Some(host)
            {
                self.give_datagrams(host, &mut batch);
            }
            target = next_target;
            bytes = next;
        }
        if let Some((host, _)) = target {
            self.give_datagrams(host, &mut batch);
        }
    }

    /// The host that is up and gets a datagram, if any, and the way it came.
    fn arrive(&mut self, parcel: &Parcel, bytes: &[u8]) -> Option<(usize, Leg)> {
        let result = self.underlay.arrive(parcel, bytes.len());
        self.tell_expired();
        let result = result.and_then(|(host, socket)| {
            let this = &self.hosts[host];
            let awake = this.engine.is_some() && this.asleep.is_none();
            awake.then_some((host, socket)).ok_or("host down")
        });
        match result {
            Ok((host, socket)) => {
                self.trace.record(
                    self.now,
                    "arrived",
                    format!("{host} {}", parcel.source).as_bytes(),
                    bytes,
                );
                let endpoint = parcel.source;
                Some((host, Leg { socket, endpoint }))
            }
            Err(reason) => {
                self.trace
                    .record(self.now, reason, parcel.destination.to_string().as_bytes(), bytes);
                None
            }
        }
    }

    pub(super) fn give_datagrams(&mut self, host: usize, batch: &mut Batch<Received>) {
        let now = self.engine_time(host);
        let mut out = Outbox::default();
        if let Some(engine) = &mut self.hosts[host].engine {
            engine.handle_datagrams(now, batch, &mut out);
        }
        for (transmit, bytes) in batch.onward() {
            out.datagrams.push(*transmit, bytes);
        }
        batch.clear();
        self.deliver(host, &mut out);
        self.run_timers(host);
    }

    pub(super) fn give_frames(&mut self, host: usize, frames: &[(NetworkHandle, Vec<u8>)]) {
        let now = self.engine_time(host);
        let mut batch = Batch::default();
        for (handle, frame) in frames {
            batch.push(*handle, frame);
        }
        let mut out = Outbox::default();
        if let Some(engine) = &mut self.hosts[host].engine {
            engine.handle_frames(now, &mut batch, &mut out);
        }
        self.deliver(host, &mut out);
    }

    /// Everything that is to be done on a host now: frames of its kernel, time-outs, fresh randomness.
    pub(super) fn run_timers(&mut self, host: usize) {
        if self.hosts[host].asleep.is_some() {
            return;
        }
        loop {
            self.count_turn(host);
            let clock = self.now;
            let now = self.engine_time(host);
            let this = &mut self.hosts[host];
            let Some(engine) = &mut this.engine else {
                return;
            };
            for _ in 0..engine.entropy_wanted() {
                engine.add_entropy(this.entropy.block().into());
            }
            let mut frames = Vec::new();
            for (&network, (handle, card)) in &mut this.cards {
                if card.next_timer().is_some_and(|due| due <= clock) {
                    card.timer(clock);
                }
                frames.extend(card.take_outgoing().into_iter().map(|frame| (network, *handle, frame)));
            }
            if !frames.is_empty() {
                let mut batch = Vec::with_capacity(frames.len());
                for (network, handle, frame) in frames {
                    self.model.sent(clock, self.network_key(network), host, &frame);
                    self.record("kernel", host, &frame);
                    batch.push((handle, frame));
                }
                self.give_frames(host, &batch);
            } else if engine.next_timeout().is_some_and(|due| due <= now) {
                let mut out = Outbox::default();
                engine.handle_timeout(now, &mut out);
                self.deliver(host, &mut out);
            } else {
                break;
            }
        }
        self.plan(host);
    }

    fn count_turn(&mut self, host: usize) {
        let turns = &mut self.hosts[host].turns;
        if turns.0 != self.now {
            *turns = (self.now, 0);
        }
        turns.1 += 1;
        assert!(
            turns.1 < MAX_TURNS,
            "host {host} had {MAX_TURNS} turns at {:?} and still wants more: an endless loop in its engine",
            self.now
        );
    }

    /// Enters the next time-outs of a host into the queue.
    fn plan(&mut self, host: usize) {
        let this = &mut self.hosts[host];
        let started = this.started;
        let engine = this.engine.as_ref().and_then(Engine::next_timeout);
        // What was due during a jump is due now.
        let engine = engine.map(|due| started + due.since(Time::ZERO).saturating_sub(this.jumped));
        let kernel = this.cards.values().filter_map(|(_, card)| card.next_timer()).min();
        let new_engine = engine.filter(|_| this.engine_due != engine);
        let new_kernel = kernel.filter(|_| this.kernel_due != kernel);
        this.engine_due = engine;
        this.kernel_due = kernel;
        if let Some(at) = new_engine {
            self.enter(at, Due::Engine(host));
        }
        if let Some(at) = new_kernel {
            self.enter(at, Due::Kernel(host));
        }
    }

    pub(super) fn enter(&mut self, at: Duration, what: Due) {
        self.sequence += 1;
        self.queue.push(Reverse(Entry {
            at,
            sequence: self.sequence,
            what,
        }));
    }

    /// Does what the engine of a host wants done.
    pub(super) fn deliver(&mut self, host: usize, out: &mut Outbox) {
        self.cast(host, out);
        for (number, address) in out.opens.drain(..) {
            self.connect(host, number, address);
        }
        for (transmit, bytes) in out.datagrams.iter() {
            let details = format!("{host} {} {:?}", transmit.destination.endpoint, transmit.ttl);
            self.trace.record(self.now, "sent", details.as_bytes(), bytes);
            if let Socket::Stream(number) = transmit.destination.socket {
                self.send_by_stream(host, number, bytes);
                continue;
            }
            match self
                .underlay
                .send(self.now, host, transmit.destination, transmit.ttl, bytes.len())
            {
                Ok(parcels) => {
                    for parcel in parcels {
                        let contents = parcel.contents(bytes);
                        self.enter(parcel.at, Due::Arrival(parcel, contents));
                    }
                }
                Err(reason) => self.trace.record(self.now, reason, &[], &[]),
            }
        }
        self.tell_expired();
        for socket in out.closed.drain(..) {
            match socket {
                Socket::Stream(number) => self.close_stream(host, number),
                Socket::Main | Socket::Extra(_) => self.underlay.close(host, socket),
            }
        }
        for (label, frame) in out.frames.iter() {
            let handle = label.network;
            let card = self.hosts[host]
                .cards
                .iter_mut()
                .find(|(_, (known, _))| *known == handle);
            let Some((&network, (_, card))) = card else {
                panic!("host {host} got a frame for network handle {handle:?}, which it has left");
            };
            let key = *self.networks[network].id().as_bytes();
            self.trace
                .record(self.now, "frame", format!("{host} {network}").as_bytes(), frame);
            self.model.delivered(self.now, key, host, frame);
            card.receive(self.now, frame);
        }
        for event in out.events.drain(..) {
            self.record("event", host, format!("{event:?}").as_bytes());
            assert!(
                !matches!(event, Event::Twin { .. }),
                "host {host} has an identity of its own and is told of a twin"
            );
            let address = match &event {
                Event::Ipv4Assigned { network, address } => Some((*network, Some(*address))),
                Event::Ipv4Withdrawn { network, .. } => Some((*network, None)),
                _ => None,
            };
            if let Some((handle, address)) = address {
                let card = self.hosts[host]
                    .cards
                    .iter_mut()
                    .find(|(_, (known, _))| *known == handle);
                if let Some((&network, (_, card))) = card {
                    card.set_ipv4(address);
                    let key = *self.networks[network].id().as_bytes();
                    self.model.set_ipv4(self.now, key, host, address);
                }
            }
            self.hosts[host].events.push((self.now, event));
        }
        out.clear();
    }

    pub(super) fn record(&mut self, what: &str, host: usize, packet: &[u8]) {
        self.trace.record(self.now, what, &host.to_be_bytes(), packet);
    }
}

fn identity(secret: [u8; 32]) -> Identity {
    Identity::from_seed(Seed::from_bytes(secret), Work::NONE).expect("any seed will do without a work stamp")
}
