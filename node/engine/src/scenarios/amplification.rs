//! Nobody gets more than was received from him before he has shown that he is where he says, whatever is sent in his name.

use std::{
    collections::BTreeSet,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use farlan_netconf::NodePrefix;

use super::lab::{Lab, Place, Sent, frame, link, world_id};
use crate::{
    Anchor, NetworkHandle, PathKind, Role,
    direct::CHALLENGE,
    wire::{
        control::{Candidate, Control, MEMBERS_AT_ONCE, Query, tests},
        datagram::{Datagram, RelayIndex, RelayTarget, SupernodeTag, passed_header, put_relay},
    },
};

/// Somebody in whose name datagrams are sent, and who answers nothing.
const VICTIM: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(198, 51, 100, 7)), 7777);

/// The kinds of datagrams that this test sends. The parser tells which there are.
const KINDS: [u8; 10] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10];

/// The kinds of sealed messages; control messages have kinds of their own.
const SEALED: [u8; 6] = [1, 2, 3, 4, 5, 6];

/// Puts something before a datagram.
type Envelope = Box<dyn Fn(&mut Vec<u8>)>;

/// Two supernodes of one world, and two nodes that speak straight to each other.
struct World {
    lab: Lab,
    supernodes: [Place; 2],
    nodes: [Place; 2],
    networks: [NetworkHandle; 2],
}

impl World {
    fn new() -> Self {
        let mut lab = Lab::new();
        let supernodes = [(); 2].map(|()| lab.add(Role::Supernode));
        let nodes = [(); 2].map(|()| lab.add(Role::Node));
        for (number, place) in supernodes.iter().chain(&nodes).enumerate() {
            let last = u8::try_from(number + 1).unwrap();
            lab.hosts[*place].address = SocketAddr::from(([203, 0, 113, last], 9600));
        }
        for place in supernodes.iter().chain(&nodes) {
            lab.set_world(*place, 1, &supernodes);
        }
        lab.open = true;
        let networks = nodes.map(|node| lab.join(node, &link(1)));
        lab.run_seconds(4);
        let mut world = Self {
            lab,
            supernodes,
            nodes,
            networks,
        };
        for _ in 0..10 {
            let (frame, [from, _], [network, _]) = (world.frame(), world.nodes, world.networks);
            world.lab.send(from, network, &frame);
            world.lab.run(Duration::from_millis(100));
        }
        let key = world.lab.key(world.nodes[1]);
        let peers = world.lab.hosts[world.nodes[0]].engine.peers(world.lab.now);
        let path = peers.iter().find(|peer| peer.key == key).and_then(|peer| peer.path);
        assert_eq!(path, Some(PathKind::Direct));
        world
    }

    fn frame(&self) -> Vec<u8> {
        let [from, to] = [0, 1].map(|at| self.lab.mac(self.nodes[at], self.networks[at]));
        frame(to, from, 1)
    }

    /// What the first node sends to `target` when it does this; it does not arrive.
    fn caught(&mut self, target: Place, send: impl FnOnce(&mut Self)) -> Vec<Vec<u8>> {
        let address = self.lab.hosts[target].address;
        let before = self.lab.passing.len();
        send(self);
        let sent = self.lab.passing.drain(before..);
        sent.filter(|passing| passing.to == address)
            .map(|passing| passing.bytes)
            .collect()
    }

    /// An authentic message of the first node to `target`; none once it said goodbye.
    fn message(&mut self, target: Place, message: &Control) -> Option<Vec<u8>> {
        let (from, key) = (self.nodes[0], self.lab.key(target));
        let caught = self.caught(target, |world| world.lab.tell(from, &key, message.clone()));
        caught.into_iter().next()
    }

    /// A genuine initiation of a stranger to `target`.
    fn initiation(&mut self, target: Place) -> Vec<u8> {
        let stranger = self.lab.add(Role::Node);
        let anchor = Anchor {
            key: self.lab.key(target),
            addresses: vec![self.lab.hosts[target].address],
            streams: Vec::new(),
        };
        let now = self.lab.now;
        self.lab.hosts[stranger]
            .engine
            .set_world(now, world_id(9), vec![anchor]);
        let caught = self.caught(target, |world| world.lab.settle());
        self.lab.hosts[stranger].engine.remove_world(self.lab.now, world_id(9));
        caught.into_iter().next().unwrap()
    }

    /// Delivers datagrams to `target` in the name of `from`, 50 ms apart, and says what went where meanwhile and for 10 s
    /// after.
    fn deliver(&mut self, target: Place, from: SocketAddr, datagrams: &[Vec<u8>]) -> Vec<Sent> {
        self.lab.passing.clear();
        self.lab.log = Some(Vec::new());
        for datagram in datagrams {
            self.lab.deliver(target, from, datagram);
            self.lab.run(Duration::from_millis(50));
        }
        self.lab.run_seconds(10);
        self.lab.log.take().unwrap()
    }

    fn addresses(&self) -> Vec<SocketAddr> {
        self.lab.hosts.iter().map(|host| host.address).collect()
    }
}

/// Checks that `from` gets no more than came from him, and nobody who has nothing to do with it more than ten datagrams.
fn check(what: &str, world: &World, from: SocketAddr, datagrams: &[Vec<u8>], sent: &[Sent]) {
    let received: usize = datagrams.iter().map(Vec::len).sum();
    let known = world.addresses();
    let back: Vec<usize> = sent
        .iter()
        .filter(|sent| sent.to == from)
        .map(|sent| sent.bytes.len())
        .collect();
    let bytes: usize = back.iter().sum();
    assert!(bytes <= received, "{what}: {bytes} bytes for {received}");
    assert!(
        back.len() <= datagrams.len(),
        "{what}: {} for {}",
        back.len(),
        datagrams.len()
    );
    let others: BTreeSet<SocketAddr> = sent.iter().map(|sent| sent.to).collect();
    for other in others
        .into_iter()
        .filter(|other| *other != from && !known.contains(other))
    {
        let arriving = sent.iter().filter(|sent| sent.to == other && sent.ttl.is_none());
        assert!(arriving.count() <= 10, "{what}: {other}");
    }
}

/// The first two bytes with which the parser takes a datagram, if it is long enough.
fn parsed() -> Vec<[u8; 2]> {
    let mut found = Vec::new();
    for kind in 0..=u8::MAX {
        for second in 0..=u8::MAX {
            // As long as the shortest beacon.
            let bytes = [&[kind, second][..], &[0; 274]].concat();
            // Where any second byte will do, two stand for all.
            if Datagram::parse(&bytes).is_ok() && (second < 8 || second == u8::MAX) {
                found.push([kind, second]);
            }
        }
    }
    found
}

#[test]
fn the_parser_knows_no_kind_that_is_not_sent_here() {
    let kinds: BTreeSet<u8> = parsed().iter().map(|[kind, _]| *kind).collect();
    assert_eq!(kinds, BTreeSet::from(KINDS));
    let sealed = |kind: &u8| {
        let message = [&[*kind][..], &[0; 100]].concat();
        !matches!(
            crate::wire::sealed::Sealed::parse(&message),
            Ok(crate::wire::sealed::Sealed::Unknown)
        )
    };
    let sealed: Vec<u8> = (0..0x80).filter(sealed).collect();
    assert_eq!(sealed, SEALED);
}

/// Datagrams that look like each kind, of many lengths, and nothing behind them.
fn looking_like_each_kind() -> Vec<Vec<u8>> {
    let mut datagrams = Vec::new();
    for start in parsed() {
        for fill in [0, 0x5a] {
            for length in [8, 12, 16, 20, 24, 32, 64, 96, 104, 144, 176, 200, 276, 1200] {
                let mut datagram = vec![fill; length];
                datagram[..2].copy_from_slice(&start);
                datagrams.push(datagram);
            }
        }
    }
    datagrams
}

#[test]
fn what_only_looks_like_a_datagram_brings_no_more_back() {
    let mut world = World::new();
    let genuine = [world.supernodes[0], world.nodes[1]].map(|target| world.initiation(target));
    let looking = looking_like_each_kind();
    for (target, genuine) in [world.supernodes[0], world.nodes[1]].into_iter().zip(genuine) {
        let inner: Vec<Vec<u8>> = looking.iter().cloned().chain([genuine]).collect();
        let node_id = world.lab.key(world.nodes[1]).node_id();
        let tag = SupernodeTag::of(&world.lab.key(world.supernodes[1]).node_id());
        let index = RelayIndex(0x0101_0101);
        let envelopes: [Envelope; 6] = [
            Box::new(|_| {}),
            Box::new(move |bytes| put_relay(bytes, RelayTarget::Index(index), index)),
            Box::new(move |bytes| put_relay(bytes, RelayTarget::Node(node_id), index)),
            Box::new(move |bytes| {
                let supernode = tag;
                put_relay(bytes, RelayTarget::Remote { supernode, index }, index);
            }),
            Box::new(move |bytes| bytes.extend_from_slice(&passed_header(tag, index, index))),
            Box::new(move |bytes| bytes.extend_from_slice(&passed_header(tag, RelayIndex::SUPERNODE, index))),
        ];
        // In the name of somebody, of the other supernode, and of the own one.
        let [own, other] = world.supernodes.map(|supernode| world.lab.hosts[supernode].address);
        let mut spoken_for = vec![VICTIM];
        spoken_for.push(if target == world.supernodes[0] { other } else { own });
        for from in spoken_for {
            for (number, envelope) in envelopes.iter().enumerate() {
                for inner in &inner {
                    let mut datagram = Vec::new();
                    envelope(&mut datagram);
                    datagram.extend_from_slice(inner);
                    world.lab.passing.clear();
                    world.lab.log = Some(Vec::new());
                    world.lab.deliver(target, from, &datagram);
                    world.lab.settle();
                    let sent = world.lab.log.take().unwrap();
                    let sent: Vec<Sent> = sent.into_iter().filter(|sent| sent.from == target).collect();
                    // A node asks its own supernode when that seems to have forgotten it: that is once a second.
                    if from == VICTIM || target == world.supernodes[0] {
                        let what = format!("{:?} in envelope {number}", &inner[..8]);
                        check(&what, &world, from, &[datagram], &sent);
                    }
                    world.lab.now += Duration::from_millis(30);
                }
            }
        }
    }
}

/// A message of each control kind, and some that have an effect.
fn each_control(world: &World) -> Vec<Control> {
    let mut messages = tests::all();
    let other = world.lab.key(world.nodes[1]);
    let engine = &world.lab.hosts[world.nodes[0]].engine;
    let network = engine.networks.get(world.networks[0]).unwrap();
    let named = Candidate {
        local: false,
        endpoint: SocketAddr::from(([192, 0, 2, 99], 99)),
    };
    messages.extend([
        Control::Locate {
            request: 1000,
            query: Query::Prefix(NodePrefix::of(&other.node_id())),
        },
        Control::Register {
            request: 1000,
            memberships: vec![crate::wire::control::Membership {
                member_key: network.member_key,
                address_key: network.member_key,
                ipv4: None,
                version: 0,
                home: None,
            }],
        },
        Control::Candidates {
            number: 1000,
            ask: true,
            candidates: vec![named; 1],
            behaviour: crate::Behaviour::default(),
        },
        Control::MembersAck {
            member_key: network.member_key,
            version: 0,
        },
    ]);
    assert!(messages.len() > tests::known_kinds().len() && MEMBERS_AT_ONCE > 1);
    messages
}

#[test]
fn an_authentic_message_from_an_unproved_address_brings_no_more_back() {
    let messages = each_control(&World::new());
    for message in messages {
        for supernode in [true, false] {
            // Once, and again and again.
            for count in [1, 12] {
                let mut world = World::new();
                let target = if supernode { world.supernodes[0] } else { world.nodes[1] };
                let datagrams: Vec<_> = (0..count).filter_map(|_| world.message(target, &message)).collect();
                assert!(!datagrams.is_empty());
                let sent = world.deliver(target, VICTIM, &datagrams);
                let what = format!("{message:?} × {count}, to a supernode: {supernode}");
                check(&what, &world, VICTIM, &datagrams, &sent);
            }
        }
    }
}

#[test]
fn authentic_frames_and_signs_of_life_from_an_unproved_address_bring_no_more_back() {
    let big: usize = 3000;
    for length in [0, 1, 60, 100, 300, 1200, big] {
        for group in [false, true] {
            for count in [1, 12] {
                let mut world = World::new();
                let target = world.nodes[1];
                let (from, network, key) = (world.nodes[0], world.networks[0], world.lab.key(target));
                let mut datagrams = Vec::new();
                for number in 0..count {
                    let mut frame = world.frame();
                    frame.truncate(14);
                    frame.resize(14 + length, number);
                    if group {
                        frame[..6].fill(0xff);
                    }
                    datagrams.extend(world.caught(target, |world| {
                        if length == 0 {
                            let id = world.lab.peer_id(from, &key);
                            let mut out = crate::Outbox::default();
                            world.lab.hosts[from].engine.send_empty(world.lab.now, id, &mut out);
                            world.lab.take(from, &mut out);
                        } else {
                            world.lab.send(from, network, &frame);
                        }
                    }));
                }
                assert!(datagrams.len() >= usize::from(count));
                let sent = world.deliver(target, VICTIM, &datagrams);
                check(
                    &format!("{count} × {length} bytes, group: {group}"),
                    &world,
                    VICTIM,
                    &datagrams,
                    &sent,
                );
            }
        }
    }
}

#[test]
fn a_session_whose_first_message_comes_from_elsewhere_brings_nobody_a_list() {
    // The first message under a session is taken on its way to the supernode and sent from elsewhere, for half a minute.
    let mut lab = Lab::new();
    let supernode = lab.add(Role::Supernode);
    let members: Vec<Place> = (0..20).map(|_| lab.add(Role::Node)).collect();
    let node = lab.add(Role::Node);
    for place in members.iter().chain([&node]) {
        lab.set_world(*place, 1, &[supernode]);
        if *place != node {
            lab.join(*place, &link(1));
        }
    }
    lab.run_seconds(5);
    lab.restart(node);
    lab.set_world(node, 1, &[supernode]);
    lab.join(node, &link(1));
    let (at, to) = (lab.hosts[node].address, lab.hosts[supernode].address);
    let [mut received, mut packets] = [0; 2];
    lab.log = Some(Vec::new());
    for _ in 0..3000 {
        lab.run(Duration::from_millis(10));
        let sealed = |passing: &super::lab::Passing| passing.from == at && passing.to == to && passing.bytes[0] == 3;
        let taken: Vec<Vec<u8>> = {
            let (taken, kept): (Vec<_>, Vec<_>) = lab.passing.drain(..).partition(sealed);
            lab.passing.extend(kept);
            taken.into_iter().map(|passing| passing.bytes).collect()
        };
        for bytes in taken {
            received += bytes.len();
            packets += 1;
            lab.deliver(supernode, VICTIM, &bytes);
        }
    }
    let sent = lab.log.take().unwrap();
    let to_victim: Vec<usize> = sent
        .iter()
        .filter(|sent| sent.to == VICTIM)
        .map(|sent| sent.bytes.len())
        .collect();
    assert!(received > 1000 && packets > 5, "{packets} datagrams were taken");
    assert!(to_victim.iter().sum::<usize>() <= received && to_victim.len() <= packets);
    assert!(to_victim.iter().all(|bytes| *bytes <= CHALLENGE), "challenges alone");
}

#[test]
fn an_authenticated_peer_that_names_a_victim_again_and_again_aims_ten_datagrams_at_it() {
    let mut world = World::new();
    let [hostile, target] = world.nodes;
    let key = world.lab.key(target);
    let victim = Ipv4Addr::new(192, 0, 2, 99);
    // The path that works would make trying others idle: it is cut.
    let nodes = world.nodes;
    world.lab.wire = super::lab::cut(nodes[0], nodes[1]);
    for _ in 0..40 {
        let (frame, network) = (world.frame(), world.networks[0]);
        world.lab.send(hostile, network, &frame);
        world.lab.run(Duration::from_millis(100));
    }
    world.lab.log = Some(Vec::new());
    for round in 0..58_u32 {
        let candidates = (0..8_u16).map(|port| Candidate {
            local: false,
            endpoint: SocketAddr::from((victim, 1000 + port / 2 * 100 + u16::try_from(round).unwrap())),
        });
        let message = Control::Candidates {
            number: 5000 + round,
            ask: true,
            candidates: candidates.collect(),
            behaviour: crate::Behaviour::default(),
        };
        world.lab.tell(hostile, &key, message);
        world.lab.run_seconds(1);
    }
    let sent = world.lab.log.take().unwrap();
    let aimed = || sent.iter().filter(|sent| sent.from == target && sent.to.ip() == victim);
    let arriving = aimed().filter(|sent| sent.ttl.is_none()).count();
    assert!((1..=10).contains(&arriving), "{arriving} of 58 orders in 58 s");
    assert!(
        aimed().count() <= 34,
        "{} with those that die on the way",
        aimed().count()
    );
}

#[test]
fn many_challenges_in_one_datagram_are_no_more_than_one() {
    let mut world = World::new();
    let [a, b] = world.nodes;
    let key = world.lab.key(b);
    let caught = world.caught(b, |world| {
        let id = world.lab.peer_id(a, &key);
        let messages: Vec<Control> = (0..100).map(|token| Control::PathChallenge { token }).collect();
        let mut out = crate::Outbox::default();
        world.lab.hosts[a]
            .engine
            .send_control(world.lab.now, id, None, &messages, &mut out);
        world.lab.take(a, &mut out);
    });
    eprintln!("{:?}", caught.iter().map(Vec::len).collect::<Vec<_>>());
    let sent = world.deliver(b, VICTIM, &caught);
    let back: Vec<usize> = sent
        .iter()
        .filter(|sent| sent.to == VICTIM)
        .map(|sent| sent.bytes.len())
        .collect();
    eprintln!("{} datagrams, {} bytes", back.len(), back.iter().sum::<usize>());
    check("many", &world, VICTIM, &caught, &sent);
}
