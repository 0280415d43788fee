//! A supernode and some nodes in virtual time, with fixed keys, sessions that stand, and a wire of one millisecond. What
//! engines must never do is watched at every step.

use std::{
    collections::{BTreeMap, VecDeque},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::OnceLock,
    time::Duration,
};

use farlan_crypto::{Identity, KeyPair, NodeId, PublicKey, Seed, Work};
use farlan_engine::{
    Anchor, Batch, Engine, FrameLabel, Join, Limits, Membership, NetworkHandle, NetworkStatus, Outbox, Role, Target,
    Time, fuzzing,
};
use farlan_netconf::{
    AddressPlan, Label, Mtu, NetworkName, NetworkSeed, Parameters, Policy, PrivateNetwork, Seconds, Subnet, Supernode,
    World,
    private::{CertificateFields, Config, ConfigFields, Credential, Revocations, Rights},
};
use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng as _};

/// The hosts of a laboratory, by position.
pub(crate) const SUPERNODE: usize = 0;
pub(crate) const ALICE: usize = 1;
pub(crate) const BERTA: usize = 2;

/// The networks, by position: of friends, of strangers, Alice's alone, Berta's alone. The private one has no frames of a plan.
pub(crate) const FRIENDS: usize = 0;
pub(crate) const STRANGERS: usize = 1;
pub(crate) const ALICES: usize = 2;
pub(crate) const BERTAS: usize = 3;
pub(crate) const CHOSEN: usize = 4;
pub(crate) const CLUB: usize = 4;
const NETWORKS: usize = 5;

/// Addresses at which nobody is: from the one nothing authentic comes, from the other anything can.
pub(crate) const NOBODY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(198, 51, 100, 77)), 47_811);
pub(crate) const ELSEWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 9)), 9600);

/// What one datagram takes to its destination.
const DELAY: Duration = Duration::from_millis(1);

/// Calls of `handle_timeout` at one moment, and in a second; an engine that wants more runs in circles.
const MAX_TURNS: u32 = 1000;
const MAX_TURNS_A_SECOND: u64 = 3000;

/// Genuine datagrams kept to be sent again, or spoilt.
const KEPT: usize = 32;

/// What goes wrong on the wire: it may change a datagram, and says whether it arrives.
pub(crate) type Wire<'a> = Box<dyn FnMut(&Passing, &mut Vec<u8>) -> bool + 'a>;

pub(crate) struct Host {
    pub(crate) engine: Engine,
    pub(crate) address: SocketAddr,
    pub(crate) key: PublicKey,
    pub(crate) id: NodeId,
    role: Role,
    /// The networks it is in.
    pub(crate) handles: [Option<NetworkHandle>; NETWORKS],
    /// The networks it was ever in.
    ever: [bool; NETWORKS],
    /// Whether its own card sent frames into a network, which the engine may have answered.
    asked: [bool; NETWORKS],
    /// Frames its card was given.
    pub(crate) delivered: u64,
    turns: u64,
}

/// A datagram under way.
#[derive(Clone, Debug)]
pub(crate) struct Passing {
    arrives: Time,
    pub(crate) from: SocketAddr,
    pub(crate) to: SocketAddr,
    pub(crate) bytes: Vec<u8>,
}

pub(crate) struct Lab<'a> {
    pub(crate) hosts: Vec<Host>,
    pub(crate) now: Time,
    pub(crate) world: World,
    /// A newer version of the world.
    pub(crate) newer: World,
    pub(crate) parameters: [Parameters; NETWORKS],
    /// Whether nodes reach each other straight.
    pub(crate) open: bool,
    pub(crate) wire: Wire<'a>,
    pub(crate) kept: VecDeque<Passing>,
    /// Handshake messages, by who made them and what they are: 1 or 2.
    pub(crate) handshakes: BTreeMap<Vec<u8>, (usize, u8)>,
    /// Handshake messages that arrived as they were made: who made them, at whom, and what they are.
    pub(crate) arrived: Vec<(usize, usize, u8)>,
    passing: VecDeque<Passing>,
    /// Relay indexes, as nodes named them to their supernode.
    indexes: BTreeMap<usize, u32>,
    /// Bytes from and to the addresses at which nobody is.
    unproved: BTreeMap<SocketAddr, (usize, usize)>,
    began: Time,
}

/// A private network, and what its two members have of it.
fn club(world: &World, members: [PublicKey; 2]) -> &'static (Parameters, [Membership; 2]) {
    static SIGNED: OnceLock<(Parameters, [Membership; 2])> = OnceLock::new();
    SIGNED.get_or_init(|| {
        let key = KeyPair::from_seed(Seed::from_bytes([98; 32]));
        let subnet = Subnet::new(Ipv4Addr::new(10, 129, 0, 0), 20).expect("it is one");
        let parameters = Parameters::private(key.public(), subnet, Mtu::DEFAULT);
        let network = PrivateNetwork::of(&parameters).expect("it is a private one");
        let fields = ConfigFields {
            parameters: parameters.clone(),
            counter: 1,
            time: Seconds::new(1),
            life: 1 << 30,
            label: Label::default(),
            domain: "club".parse().expect("it is a label"),
            world: world.id(),
            seeds: vec![NetworkSeed::from_bytes([97; 32])],
            holders: Vec::new(),
        };
        let config = Config::sign(&key, fields).expect("it keeps the rules");
        let mut issue = 0;
        let memberships = members.map(|node| {
            issue += 1;
            let fields = CertificateFields {
                node,
                // The third may not bridge.
                rights: if issue < 3 { Rights::BRIDGE } else { Rights::NONE },
                ipv4: None,
                issue,
                time: Seconds::new(1),
                expiry: Seconds::new(1 << 30),
                name: None,
            };
            Membership {
                config: Some(config.clone()),
                seed: None,
                credential: Some(Credential::by_network(&network, &key, fields).expect("it keeps the rules")),
                invite: None,
                revocations: Revocations::new(network),
                peers: Vec::new(),
                name: None,
                delegation: None,
            }
        });
        (parameters, memberships)
    })
}

impl<'a> Lab<'a> {
    /// Hosts that know their supernode; a third node where `third` says so. Nothing has been sent yet.
    pub(crate) fn new(third: bool, wire: Wire<'a>) -> Self {
        let identity =
            |seed: u8| Identity::from_seed(Seed::from_bytes([seed; 32]), Work::NONE).expect("no work is asked for");
        let now = Time::ZERO + Duration::from_secs(1);
        let mut hosts = Vec::new();
        for place in 0..if third { 4 } else { 3 } {
            let role = if place == 0 { Role::Supernode } else { Role::Node };
            let number = u8::try_from(place + 1).expect("there are few");
            let identity = identity(number);
            let (key, id) = (identity.public(), identity.node_id());
            let config = farlan_engine::Config {
                identity,
                work: Work::NONE,
                role,
                limits: Limits::default(),
            };
            hosts.push(Host {
                engine: Engine::new(config, Box::new(ChaCha20Rng::seed_from_u64(number.into()))),
                address: SocketAddr::from(([10, 0, 0, number], 9600)),
                key,
                id,
                role,
                handles: [None; NETWORKS],
                ever: [false; NETWORKS],
                asked: [false; NETWORKS],
                delivered: 0,
                turns: 0,
            });
        }
        static WORLDS: OnceLock<[World; 2]> = OnceLock::new();
        let [world, newer] = WORLDS.get_or_init(|| {
            let supernode = Supernode {
                key: hosts[SUPERNODE].key,
                endpoints: vec![hosts[SUPERNODE].address.try_into().expect("it is one")],
            };
            [1, 2].map(|version| {
                World::sign(&identity(99), version, vec![supernode.clone()]).expect("it keeps the rules")
            })
        });
        let (world, newer) = (world.clone(), newer.clone());
        let link = |number: u8| {
            let subnet = Subnet::new(Ipv4Addr::new(10, 128, number * 16, 0), 20).expect("it is one");
            Parameters::link([number; 16], subnet, Mtu::DEFAULT)
        };
        let name = NetworkName::parse("earth").expect("it is one");
        let club = club(&world, [hosts[ALICE].key, hosts[BERTA].key]);
        let parameters = [
            link(1),
            Parameters::open_name(world.id(), name),
            link(2),
            link(3),
            club.0.clone(),
        ];
        let mut lab = Self {
            hosts,
            now,
            world,
            newer,
            parameters,
            open: false,
            wire,
            kept: VecDeque::new(),
            handshakes: BTreeMap::new(),
            arrived: Vec::new(),
            passing: VecDeque::new(),
            indexes: BTreeMap::new(),
            unproved: BTreeMap::new(),
            began: now,
        };
        for place in 0..lab.hosts.len() {
            let world = lab.world.clone();
            lab.hosts[place].engine.hold_world(now, &world);
            if place != SUPERNODE {
                lab.know_supernode(place);
            }
        }
        lab
    }

    /// Everybody joins and speaks to Berta: their sessions stand.
    pub(crate) fn meet(&mut self) {
        for (place, networks) in [
            (ALICE, [FRIENDS, STRANGERS, ALICES, CLUB]),
            (BERTA, [FRIENDS, STRANGERS, BERTAS, CLUB]),
        ] {
            for network in networks {
                self.join(place, network);
            }
        }
        if self.hosts.len() > 3 {
            self.join(3, STRANGERS);
        }
        self.run(Duration::from_millis(60));
        for place in (ALICE..self.hosts.len()).filter(|place| *place != BERTA) {
            self.ping(place, BERTA);
        }
        self.run(Duration::from_millis(40));
        for place in (ALICE..self.hosts.len()).filter(|place| *place != BERTA) {
            let met = fuzzing::sessions(&self.hosts[place].engine, &self.hosts[BERTA].id);
            assert_eq!(met, (1, 1), "host {place} has not met Berta");
        }
    }

    pub(crate) fn ping(&mut self, place: usize, other: usize) {
        let target = Target::Node(self.hosts[other].id);
        self.hosts[place].engine.ping(self.now, target, 7);
    }

    /// The relay index of a node, as it named it last.
    pub(crate) fn index_of(&self, place: usize) -> u32 {
        self.indexes.get(&place).copied().unwrap_or_default()
    }

    pub(crate) fn know_supernode(&mut self, place: usize) {
        let anchor = Anchor {
            key: self.hosts[SUPERNODE].key,
            addresses: vec![self.hosts[SUPERNODE].address],
            streams: Vec::new(),
        };
        let (now, world) = (self.now, self.world.id());
        self.hosts[place].engine.set_world(now, world, vec![anchor]);
    }

    pub(crate) fn join(&mut self, place: usize, network: usize) {
        let join = Join {
            parameters: self.parameters[network].clone(),
            world: self.world.id(),
            ipv4: true,
            preferred: None,
            greet: Vec::new(),
            membership: self.membership(place, network),
            name: None,
        };
        let host = &mut self.hosts[place];
        // A second time it is refused.
        if let Ok(handle) = host.engine.join(self.now, join) {
            host.handles[network] = Some(handle);
            host.ever[network] = true;
        }
    }

    /// What Alice and Berta have of the private network.
    fn membership(&self, place: usize, network: usize) -> Option<Box<Membership>> {
        let (_, memberships) = club(&self.world, [self.hosts[ALICE].key, self.hosts[BERTA].key]);
        let membership = memberships.get(place.checked_sub(ALICE)?)?;
        (network == CLUB).then(|| Box::new(membership.clone()))
    }

    pub(crate) fn leave(&mut self, place: usize, network: usize) {
        let host = &mut self.hosts[place];
        if let Some(handle) = host.handles[network].take() {
            host.engine.leave(self.now, handle);
        }
    }

    /// The plan of addresses of a network.
    pub(crate) fn plan(&self, network: usize) -> AddressPlan {
        let parameters = &self.parameters[network];
        AddressPlan::new(&parameters.id(), &parameters.subnet)
    }

    pub(crate) fn status(&self, place: usize, network: usize) -> Option<NetworkStatus> {
        let handle = self.hosts[place].handles[network]?;
        let networks = self.hosts[place].engine.networks();
        networks.into_iter().find(|status| status.handle == handle)
    }

    /// A batch of frames comes from the card of `place`.
    pub(crate) fn send(&mut self, place: usize, network: usize, frames: &mut Batch<FrameLabel>) {
        self.hosts[place].asked[network] = true;
        let mut out = Outbox::default();
        self.hosts[place].engine.handle_frames(self.now, frames, &mut out);
        self.take(place, &mut out);
    }

    /// The engine at `from` says `message` to that at `to`. Returns whether they have a session.
    pub(crate) fn say(&mut self, from: usize, to: usize, message: &[u8]) -> bool {
        let id = self.hosts[to].id;
        let mut out = Outbox::default();
        let said = fuzzing::say(&mut self.hosts[from].engine, self.now, &id, message, &mut out);
        self.take(from, &mut out);
        said
    }

    /// A datagram reaches `place` at once, as if it came from `source`.
    pub(crate) fn deliver(&mut self, place: usize, source: SocketAddr, datagram: &[u8]) {
        if [NOBODY, ELSEWHERE].contains(&source) {
            self.unproved.entry(source).or_default().0 += datagram.len();
        }
        let inner = fuzzing::innermost(datagram);
        if fuzzing::is_handshake(datagram)
            && let Some((maker, kind)) = self.handshakes.get(fuzzing::essence(inner))
        {
            self.arrived.push((*maker, place, *kind));
        }
        let mut batch = Batch::default();
        batch.push(source, datagram);
        let mut out = Outbox::default();
        self.hosts[place]
            .engine
            .handle_datagrams(self.now, &mut batch, &mut out);
        for (transmit, bytes) in batch.onward() {
            assert!(bytes.len() <= datagram.len(), "nothing grows where it is passed on");
            out.datagrams.push(*transmit, bytes);
        }
        self.take(place, &mut out);
    }

    /// Does what is due at all hosts.
    pub(crate) fn settle(&mut self) {
        for place in 0..self.hosts.len() {
            let mut turns = 0;
            while self.hosts[place].engine.next_timeout().is_some_and(|at| at <= self.now) {
                let mut out = Outbox::default();
                self.hosts[place].engine.handle_timeout(self.now, &mut out);
                self.take(place, &mut out);
                turns += 1;
                assert!(turns < MAX_TURNS, "host {place} runs in circles at {}", self.now);
            }
            let host = &mut self.hosts[place];
            host.turns += u64::from(turns);
            let seconds = self.now.since(self.began).as_secs() + 2;
            assert!(host.turns <= seconds * MAX_TURNS_A_SECOND, "host {place} never rests");
        }
    }

    /// Lets time pass, from one thing that happens to the next.
    pub(crate) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            self.settle();
            let timers = self.hosts.iter().filter_map(|host| host.engine.next_timeout());
            let arrival = self.passing.front().map(|passing| passing.arrives);
            let next = timers.chain(arrival).min().map_or(end, |next| next.min(end));
            self.now = next.max(self.now);
            while let Some(mut passing) = self.passing.pop_front_if(|passing| passing.arrives <= self.now) {
                let mut bytes = std::mem::take(&mut passing.bytes);
                let place = self.hosts.iter().position(|host| host.address == passing.to);
                let from = self.hosts.iter().position(|host| host.address == passing.from);
                let straight = ![place, from].contains(&Some(SUPERNODE));
                if let Some(place) = place.filter(|_| self.open || !straight)
                    && (self.wire)(&passing, &mut bytes)
                {
                    self.deliver(place, passing.from, &bytes);
                }
            }
            if self.now >= end {
                break;
            }
        }
        self.settle();
    }

    /// Puts what an engine wants sent on the wire, and looks at the rest.
    fn take(&mut self, place: usize, out: &mut Outbox) {
        fuzzing::bounds(&self.hosts[place].engine);
        for (transmit, bytes) in out.datagrams.iter() {
            if [NOBODY, ELSEWHERE].contains(&transmit.destination.endpoint) {
                let (from, to) = self.unproved.entry(transmit.destination.endpoint).or_default();
                *to += bytes.len();
                assert!(to <= from, "an unproved address gets more than came from it");
            }
            if transmit.destination.endpoint == self.hosts[SUPERNODE].address
                && let Some((_, source)) = fuzzing::relay_indexes(bytes)
            {
                self.indexes.insert(place, source);
            }
            if fuzzing::is_handshake(bytes) {
                let inner = fuzzing::innermost(bytes);
                // A supernode that passes one on has not made it.
                let made = (place, inner[0]);
                self.handshakes.entry(fuzzing::essence(inner).to_vec()).or_insert(made);
            }
            let passing = Passing {
                arrives: self.now + DELAY,
                from: self.hosts[place].address,
                to: transmit.destination.endpoint,
                bytes: bytes.to_vec(),
            };
            if self.kept.len() == KEPT {
                self.kept.pop_front();
            }
            self.kept.push_back(passing.clone());
            // What has a time to live dies on the way.
            if transmit.ttl.is_none() {
                self.passing.push_back(passing);
            }
        }
        for (label, frame) in out.frames.iter() {
            self.hosts[place].delivered += 1;
            self.judge(place, *label, frame);
        }
        out.clear();
    }

    /// Looks at a frame that a card is given.
    fn judge(&self, place: usize, label: FrameLabel, frame: &[u8]) {
        let host = &self.hosts[place];
        assert!(host.role == Role::Node, "a supernode has no card");
        assert!(label.offload.segment.is_none(), "super-frames go in only");
        let network = host.handles.iter().position(|handle| *handle == Some(label.network));
        let network = network.expect("frames come from networks that are joined");
        let others = || self.hosts.iter().enumerate().filter(|(other, _)| *other != place);
        let senders: Vec<_> = others().filter(|(_, host)| host.ever[network]).collect();
        assert!(
            !senders.is_empty() || host.asked[network],
            "a frame of a network whose only member is here"
        );
        assert!((14..=9022).contains(&frame.len()), "a frame of {} bytes", frame.len());
        // What the own card asked may have been answered by the own engine, to whatever MAC it asked from.
        if self.parameters[network].policy() == Policy::Friends || host.asked[network] {
            return;
        }
        let ethertype = [frame[12], frame[13]];
        assert!(
            [[8, 0], [8, 6], [0x86, 0xdd]].contains(&ethertype),
            "strangers send ARP and IP"
        );
        let plan = self.plan(network);
        let to = &frame[..6];
        assert!(frame[0] & 1 == 1 || to == plan.mac(&host.id).as_bytes());
        let sender = senders
            .iter()
            .find(|(_, sender)| frame[6..12] == *plan.mac(&sender.id).as_bytes());
        let (_, sender) = sender.expect("on a network of strangers each speaks for itself");
        if let Some(source) = ipv6_source(frame) {
            let own = [
                plan.ipv6(&sender.id),
                plan.link_local(&sender.id),
                Ipv6Addr::UNSPECIFIED,
            ];
            assert!(own.contains(&source), "{source} is not its sender's");
        }
    }

    /// What must hold of sessions at any time, whatever came and went.
    pub(crate) fn judge_sessions(&self) {
        let arrived = |from, to, kind| self.arrived.contains(&(from, to, kind));
        for (place, host) in self.hosts.iter().enumerate() {
            for met in fuzzing::met(&host.engine) {
                let other = self.hosts.iter().position(|host| host.id == met);
                let other = other.expect("a session with somebody whose secret nobody has");
                let (_, confirmed) = fuzzing::sessions(&host.engine, &met);
                let as_responder = arrived(other, place, 1);
                let as_initiator = arrived(place, other, 1) && arrived(other, place, 2);
                assert!(
                    as_initiator || as_responder,
                    "host {place} has a session with {other} of no genuine message"
                );
                assert!(
                    confirmed == 0 || as_initiator || (as_responder && arrived(place, other, 2)),
                    "host {place} uses a session with {other} that no genuine messages made"
                );
            }
        }
        let nodes = self.hosts.len() - 1;
        assert!(self.hosts[SUPERNODE].engine.anchor().registrations <= nodes);
    }

    /// Whatever a card was given was counted when it was given.
    pub(crate) fn judge_counters(&self) {
        for host in &self.hosts {
            let counters = host.engine.counters();
            let (named, answered) = (counters.frames_received, counters.neighbours_answered);
            assert!(named + answered <= host.delivered, "{counters:?}");
        }
    }

    /// How many datagrams the engines refused so far, for what they are or whom they are from.
    pub(crate) fn refused(&self) -> u64 {
        let refused = |host: &Host| {
            let counters = host.engine.counters();
            counters.malformed_datagrams
                + counters.other_version
                + counters.unknown_session
                + counters.forged
                + counters.replayed
                + counters.foreign_relay
                + counters.relay_unknown_source
                + counters.relay_unknown_destination
                + counters.relay_unanswered
                + counters.handshakes_refused
        };
        self.hosts.iter().map(refused).sum()
    }
}

/// Gives a direct initiation, whatever is left of it, the first MAC with which its receiver looks at it.
pub(crate) fn let_pass(passing: &Passing, bytes: &mut Vec<u8>) {
    static KEYS: OnceLock<[PublicKey; 3]> = OnceLock::new();
    let keys = KEYS.get_or_init(|| {
        [1, 2, 3].map(|seed| {
            let identity = Identity::from_seed(Seed::from_bytes([seed; 32]), Work::NONE);
            identity.expect("no work is asked for").public()
        })
    });
    if let IpAddr::V4(ip) = passing.to.ip()
        && let Some(key) = keys.get(usize::from(ip.octets()[3]).wrapping_sub(1))
    {
        fuzzing::let_pass(key, bytes);
    }
}

/// The source of an IPv6 packet in an untagged frame.
fn ipv6_source(frame: &[u8]) -> Option<Ipv6Addr> {
    let packet = frame.get(12..)?.strip_prefix(&[0x86, 0xdd])?;
    let source = packet.get(8..)?.first_chunk::<16>()?;
    Some(Ipv6Addr::from(*source))
}
