//! What a supernode relays before anybody has answered, how much it relays at all, and how often it says that it does not
//! know something.

use std::{net::SocketAddr, time::Duration};

use farlan_netconf::NodePrefix;

use super::lab::{DELAY, Lab, Place, Wire, frame, link, name};
use crate::{
    Limits, Role,
    wire::{
        control::{Control, Query},
        datagram::{
            DATA_HEADER, Datagram, RelayIndex, RelayTarget, SessionIndex, SupernodeTag, put_data, put_initiation,
            put_relay,
        },
    },
};

/// What a handshake looks like to a supernode.
fn handshake() -> Vec<u8> {
    let mut bytes = Vec::new();
    put_initiation(&mut bytes, SessionIndex(1));
    bytes.resize(144, 7);
    bytes
}

fn data(length: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    put_data(&mut bytes, SessionIndex(1), 1);
    bytes.resize(length, 7);
    bytes
}

/// The relay index of a node at a supernode.
fn index(lab: &Lab, node: Place, supernode: Place) -> RelayIndex {
    let id = lab.peer_id(node, &lab.key(supernode));
    lab.hosts[node].engine.directory.relay_index(id).unwrap()
}

/// A supernode, and registered nodes in households of so many.
fn registered(nodes: usize, household: usize) -> (Lab, Place, Vec<Place>) {
    let mut lab = Lab::new();
    let supernode = lab.add(Role::Supernode);
    let nodes: Vec<Place> = (0..nodes).map(|_| lab.add(Role::Node)).collect();
    for (number, node) in nodes.iter().enumerate() {
        let [third, last] = [number / household, number % household].map(|part| u8::try_from(part + 1).unwrap());
        lab.hosts[*node].address = SocketAddr::from(([10, 1, third, last], 9600));
        lab.set_world(*node, 1, &[supernode]);
    }
    lab.run_seconds(3);
    assert_eq!(lab.hosts[supernode].engine.anchor().registrations, nodes.len());
    (lab, supernode, nodes)
}

/// Sends `inner` over a supernode; whether it was passed on.
fn relayed(lab: &mut Lab, from: Place, supernode: Place, target: RelayTarget, inner: &[u8]) -> bool {
    let mut bytes = Vec::new();
    put_relay(&mut bytes, target, index(lab, from, supernode));
    bytes.extend_from_slice(inner);
    let before = lab.hosts[supernode].engine.counters().relayed;
    let address = lab.hosts[from].address;
    lab.deliver(supernode, address, &bytes);
    // Nobody answers what is made up.
    lab.passing.clear();
    lab.hosts[supernode].engine.counters().relayed > before
}

fn to(lab: &Lab, node: Place, supernode: Place) -> RelayTarget {
    RelayTarget::Index(index(lab, node, supernode))
}

#[test]
fn nothing_but_handshakes_reaches_whoever_has_not_answered() {
    let (mut lab, supernode, nodes) = registered(2, 1);
    let [there, back] = [(0, 1), (1, 0)].map(|(from, target)| (nodes[from], to(&lab, nodes[target], supernode)));
    for _ in 0..1000 {
        assert!(!relayed(&mut lab, there.0, supernode, there.1, &data(100)));
    }
    assert!(relayed(&mut lab, there.0, supernode, there.1, &handshake()));
    assert!(
        !relayed(&mut lab, there.0, supernode, there.1, &data(100)),
        "a handshake is no answer"
    );
    assert!(
        relayed(&mut lab, back.0, supernode, back.1, &data(100)),
        "it takes answers"
    );
    assert!(
        relayed(&mut lab, there.0, supernode, there.1, &data(100)),
        "it was answered"
    );
}

#[test]
fn a_source_begins_ten_handshakes_a_second() {
    let (mut lab, supernode, nodes) = registered(2, 1);
    let target = to(&lab, nodes[1], supernode);
    let mut passed = 0;
    for _ in 0..1000 {
        for _ in 0..10 {
            passed += usize::from(relayed(&mut lab, nodes[0], supernode, target, &handshake()));
        }
        lab.now += Duration::from_millis(10);
    }
    assert!((100..=120).contains(&passed), "{passed} of 10,000 in 10 s");
    assert_eq!(
        lab.hosts[supernode].engine.counters().relay_limited_source,
        10_000 - passed as u64
    );
}

#[test]
fn a_source_turns_to_100_new_destinations_a_minute() {
    let mut lab = Lab::new();
    let supernodes = [lab.add(Role::Supernode), lab.add(Role::Supernode)];
    let node = lab.add(Role::Node);
    for host in [supernodes[0], supernodes[1], node] {
        lab.set_world(host, 1, &supernodes);
    }
    lab.run_seconds(3);
    let far = SupernodeTag::of(&lab.key(supernodes[1]).node_id());
    let target = |number| RelayTarget::Remote {
        supernode: far,
        index: RelayIndex(number),
    };
    let mut passed = Vec::new();
    for number in 1..=600 {
        if relayed(&mut lab, node, supernodes[0], target(number), &handshake()) {
            passed.push(number);
        }
        lab.now += Duration::from_millis(100);
    }
    assert!(
        (100..=150).contains(&passed.len()),
        "{} of 600 in a minute",
        passed.len()
    );
    // Whom it turned to before is nobody new.
    lab.now += Duration::from_millis(100);
    assert!(relayed(&mut lab, node, supernodes[0], target(passed[0]), &handshake()));
    let more = (5000..5005).filter(|number| relayed(&mut lab, node, supernodes[0], target(*number), &handshake()));
    assert!(more.count() <= 1);
}

#[test]
fn the_sources_of_one_household_begin_100_handshakes_a_second() {
    let (mut lab, supernode, nodes) = registered(60, 60);
    let mut passed = 0;
    for _ in 0..100 {
        for pair in nodes.chunks(2) {
            let target = to(&lab, pair[1], supernode);
            for _ in 0..2 {
                passed += usize::from(relayed(&mut lab, pair[0], supernode, target, &handshake()));
            }
        }
        lab.now += Duration::from_millis(100);
    }
    assert!((1000..=1200).contains(&passed), "{passed} of 6,000 in 10 s");
    assert!(lab.hosts[supernode].engine.counters().relay_limited_prefix > 1000);
}

#[test]
fn a_node_that_many_sources_flood_is_still_reached_by_a_stranger() {
    let (mut lab, supernode, nodes) = registered(82, 1);
    let (victim, stranger, flooders) = (nodes[0], nodes[1], &nodes[2..]);
    let target = to(&lab, victim, supernode);
    let victim_key = lab.key(victim);
    let mut arrived = 0_u64;
    for step in 0..100 {
        for flooder in flooders {
            let mut bytes = Vec::new();
            put_relay(&mut bytes, target, index(&lab, *flooder, supernode));
            bytes.extend_from_slice(&handshake());
            let before = lab.hosts[supernode].engine.counters().relayed;
            let address = lab.hosts[*flooder].address;
            lab.deliver(supernode, address, &bytes);
            arrived += lab.hosts[supernode].engine.counters().relayed - before;
        }
        if step == 50 {
            let now = lab.now;
            lab.hosts[stranger]
                .engine
                .greet(now, super::lab::world_id(1), &[victim_key]);
        }
        lab.run(Duration::from_millis(50));
    }
    assert!(arrived <= 6 * 200, "{arrived} of 8,000 in 5 s");
    assert!(lab.hosts[supernode].engine.counters().relay_limited_destination > 2000);
    assert!(
        !lab.peer(stranger, &victim_key).sessions.is_empty(),
        "the stranger got through"
    );
}

#[test]
fn whoever_the_supernode_named_is_not_charged() {
    let (mut lab, supernode, nodes) = registered(120, 120);
    let (asker, others) = (nodes[0], &nodes[1..]);
    let supernode_key = lab.key(supernode);
    for (request, other) in others.iter().enumerate() {
        let query = Query::Prefix(NodePrefix::of(&lab.key(*other).node_id()));
        let request = u32::try_from(request).unwrap();
        lab.tell(asker, &supernode_key, Control::Locate { request, query });
        lab.run(Duration::from_millis(20));
    }
    lab.run(4 * DELAY);
    for other in others {
        let target = to(&lab, *other, supernode);
        assert!(relayed(&mut lab, asker, supernode, target, &handshake()));
        assert!(
            !relayed(&mut lab, asker, supernode, target, &data(100)),
            "named is not answered"
        );
    }
    let stranger = nodes[1];
    let passed = others.iter().filter(|other| {
        let target = to(&lab, **other, supernode);
        **other != stranger && relayed(&mut lab, stranger, supernode, target, &handshake())
    });
    assert!(passed.count() <= 20, "whoever was named nobody is charged");
}

#[test]
fn members_of_a_short_list_are_not_charged() {
    let mut lab = Lab::new();
    let supernode = lab.add(Role::Supernode);
    let nodes: Vec<Place> = (0..40).map(|_| lab.add(Role::Node)).collect();
    for node in &nodes {
        lab.set_world(*node, 1, &[supernode]);
        lab.join(*node, &name());
    }
    lab.run_seconds(5);
    for other in &nodes[1..] {
        let target = to(&lab, *other, supernode);
        assert!(relayed(&mut lab, nodes[0], supernode, target, &handshake()));
        assert!(relayed(&mut lab, nodes[0], supernode, target, &data(100)));
    }
}

#[test]
fn a_quota_bounds_what_is_relayed_for_one_and_leaves_others_alone() {
    for (limits, expected) in [
        (
            Limits {
                relay_source: 100_000,
                ..Limits::default()
            },
            100_000,
        ),
        (
            Limits {
                relay_source: 0,
                relay_pair: 50_000,
                ..Limits::default()
            },
            50_000,
        ),
    ] {
        let mut lab = Lab::new();
        lab.limits = limits;
        let supernode = lab.add(Role::Supernode);
        let nodes = [(); 3].map(|()| lab.add(Role::Node));
        for node in nodes {
            lab.set_world(node, 1, &[supernode]);
        }
        let networks = nodes.map(|node| lab.join(node, &link(1)));
        lab.run_seconds(4);
        let macs: Vec<_> = (0..3).map(|place| lab.mac(nodes[place], networks[place])).collect();
        let big = [&frame(macs[1], macs[0], 1)[..], &[1; 900]].concat();
        let small = frame(macs[0], macs[2], 2);
        let before = [
            lab.received(nodes[1], networks[1], &big),
            lab.received(nodes[0], networks[0], &small),
        ];
        for _ in 0..400 {
            // In batches, which a lane handles.
            let batch = [(networks[0].into(), &big[..]); 10];
            lab.send_batch(nodes[0], &batch);
            lab.send(nodes[2], networks[2], &small);
            lab.run(Duration::from_millis(10));
        }
        lab.run(4 * DELAY);
        let bytes = (lab.received(nodes[1], networks[1], &big) - before[0]) * (big.len() + 60);
        let most = expected * 4 + expected / 4;
        assert!(
            (expected * 3..=most + 20_000).contains(&bytes),
            "{bytes} in 4 s of {expected}/s"
        );
        assert!(lab.hosts[supernode].engine.counters().relay_over_quota > 1000);
        assert_eq!(lab.received(nodes[0], networks[0], &small) - before[1], 400);
    }
}

#[test]
fn hints_are_small_and_few() {
    let (mut lab, supernode, _) = registered(1, 1);
    let relay = {
        let mut bytes = Vec::new();
        put_relay(&mut bytes, RelayTarget::Index(RelayIndex(77)), RelayIndex(78));
        bytes
    };
    let [mut received, mut sent, mut count] = [0; 3];
    let start = lab.now;
    for step in 0..20_000_u32 {
        // One household asks for most, many others for the rest.
        let source = if step % 2 == 0 {
            SocketAddr::from(([192, 0, 2, 1], 1))
        } else {
            SocketAddr::from(([203, (step >> 8) as u8, step as u8, 1], 1))
        };
        let datagram = if step % 3 == 0 {
            relay.clone()
        } else {
            data(DATA_HEADER)
        };
        received += datagram.len();
        lab.deliver(supernode, source, &datagram);
        let hints = lab.passing.drain(..).filter(|passing| passing.to == source);
        for hint in hints {
            assert!(matches!(Datagram::parse(&hint.bytes), Ok(Datagram::Hint(_))));
            assert!(hint.bytes.len() <= datagram.len());
            sent += hint.bytes.len();
            count += 1;
        }
        lab.now += Duration::from_micros(100);
    }
    assert_eq!(lab.now.since(start), Duration::from_secs(2));
    assert!(count <= 5000, "{count} hints in 2 s: for a twentieth of all nodes each");
    assert!(sent * 2 <= received);
    assert!(lab.hosts[supernode].engine.counters().hints_limited >= 15_000);
    let of_household = {
        let mut hints = 0;
        lab.now += Duration::from_secs(10);
        for _ in 0..1000 {
            lab.deliver(supernode, SocketAddr::from(([192, 0, 2, 1], 1)), &data(DATA_HEADER));
            hints += lab.passing.drain(..).count();
        }
        hints
    };
    assert_eq!(of_household, 40);
}

#[test]
fn a_flood_of_hints_makes_a_node_ask_once_a_second() {
    let (mut lab, supernode, nodes) = registered(1, 1);
    let own = index(&lab, nodes[0], supernode);
    let from = lab.hosts[supernode].address;
    let mut hint = Vec::new();
    crate::wire::datagram::put_hint(&mut hint, crate::wire::datagram::Unknown::Registration(own));
    // The supernode is silent, so that nothing but the hints makes the node send.
    let silent: Wire = Box::new(move |from, _, _| from != supernode);
    lab.wire = silent;
    let mut sent = 0;
    for _ in 0..250 {
        for _ in 0..100 {
            lab.deliver(nodes[0], from, &hint);
        }
        lab.run(Duration::from_millis(10));
        sent += lab
            .passing
            .iter()
            .filter(|passing| passing.from == lab.hosts[nodes[0]].address)
            .count();
        lab.passing.clear();
    }
    assert!((1..=4).contains(&sent), "{sent} datagrams for 25,000 hints in 2.5 s");
}
