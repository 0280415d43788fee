//! Registration, member lists and claims, with one supernode and with several.

use std::{collections::BTreeSet, net::Ipv4Addr};

use super::lab::{DELAY, Lab, Place, cut, frame, intact, link, name, udp, world_id};
use crate::{
    Anchor, Event, NetworkHandle, Role,
    multicast::ALL,
    networks::Ipv4Claim,
    peers::Path,
    wire::{
        control::{Control, Membership},
        datagram::{RelayIndex, RelayTarget},
    },
};

const DATA: u8 = 3;

#[test]
fn a_member_cannot_register_the_address_of_another() {
    let mut lab = Lab::new();
    let supernode = lab.add(Role::Supernode);
    let (liar, other, victim) = (lab.add(Role::Node), lab.add(Role::Node), lab.add(Role::Node));
    for node in [liar, other, victim] {
        lab.set_world(node, 1, &[supernode]);
    }
    let (other1, victim1) = (lab.join(other, &name()), lab.join(victim, &name()));
    lab.run_seconds(2);
    let address = lab.status(victim, victim1).ipv4.unwrap();
    let liar1 = lab.join(liar, &name());
    lab.hosts[liar].engine.networks.get_mut(liar1).unwrap().ipv4 = Ipv4Claim::Off;
    lab.run_seconds(2);

    // Under the key of a free address it registers the victim's.
    let secret = name().secret().unwrap();
    let membership = Membership {
        member_key: secret.member_key(),
        address_key: secret.address_key(Ipv4Addr::new(10, 64, 0, 9)),
        ipv4: Some(address),
        version: 0,
        home: None,
    };
    let register = Control::Register {
        request: 77,
        memberships: vec![membership],
    };
    let key = lab.key(supernode);
    lab.tell(liar, &key, register);
    lab.run_seconds(2);
    let (to, from) = (lab.mac(other, other1), lab.mac(liar, liar1));
    let frame = udp(to, from, 0, [address, lab.status(other, other1).ipv4.unwrap()]);
    lab.send(liar, liar1, &frame);
    lab.run_seconds(1);
    assert_eq!(lab.received(other, other1, &frame), 0);
    assert_eq!(lab.hosts[other].engine.counters().foreign_source_ip, 1);
}

#[test]
fn a_peer_greeted_in_a_second_world_is_reached_through_that_world() {
    let mut lab = Lab::new();
    let (first, second) = (lab.add(Role::Supernode), lab.add(Role::Supernode));
    let (a, b) = (lab.add(Role::Node), lab.add(Role::Node));
    lab.set_world(b, 2, &[second]);
    let b1 = lab.join_in(b, &link(1), 2, &[]);
    lab.set_world(a, 1, &[first]);
    lab.run_seconds(2);
    lab.set_world(a, 2, &[second]);
    // The first member list is lost, so the index of the peer is not known when it is greeted.
    let mut lost = false;
    lab.wire = Box::new(move |from, to, bytes| {
        let list = (from, to) == (second, a) && bytes[0] == DATA && bytes.len() > 16 + 64 + 16;
        !list || std::mem::replace(&mut lost, true)
    });
    let greeted = lab.key(b);
    let a1 = lab.join_in(a, &link(1), 2, &[greeted]);
    lab.run_seconds(5);
    let frame = frame(lab.mac(b, b1), lab.mac(a, a1), 1);
    for _ in 0..5 {
        lab.send(a, a1, &frame);
        lab.run_seconds(1);
    }
    assert_eq!(lab.received(b, b1, &frame), 5);
}

#[test]
fn a_peer_that_lost_one_supernode_is_reached_through_the_other() {
    let mut lab = Lab::new();
    let (first, second) = (lab.add(Role::Supernode), lab.add(Role::Supernode));
    let (a, b) = (lab.add(Role::Node), lab.add(Role::Node));
    for node in [a, b] {
        lab.set_world(node, 1, &[first, second]);
    }
    let (a1, b1) = (lab.join(a, &link(1)), lab.join(b, &link(1)));
    lab.run_seconds(3);
    let frame = frame(lab.mac(b, b1), lab.mac(a, a1), 1);
    lab.send(a, a1, &frame);
    lab.run_seconds(1);
    assert_eq!(lab.received(b, b1, &frame), 1);
    lab.wire = cut(first, b);
    for _ in 0..30 {
        lab.send(a, a1, &frame);
        lab.run_seconds(1);
    }
    let received = lab.received(b, b1, &frame);
    assert!(received > 20, "{received} of 31 frames");
}

#[test]
fn a_supernode_of_two_worlds_registers_the_networks_of_both() {
    let mut lab = Lab::new();
    let (supernode, node) = (lab.add(Role::Supernode), lab.add(Role::Node));
    lab.set_world(node, 1, &[supernode]);
    lab.set_world(node, 2, &[supernode]);
    let network = lab.join_in(node, &link(1), 2, &[]);
    lab.run_seconds(2);
    assert!(lab.status(node, network).ipv4.is_some());
    assert_eq!(lab.status(node, network).members, 1);
    let registered = lab.hosts[node].events.iter().filter_map(|event| match event {
        Event::Registered { world, .. } => Some(*world),
        _ => None,
    });
    assert_eq!(registered.collect::<Vec<_>>(), [world_id(1), world_id(2)]);
}

#[test]
fn a_supernode_known_from_another_world_registers_the_networks_of_a_world_that_it_comes_to_serve() {
    let mut lab = Lab::new();
    let (first, second) = (lab.add(Role::Supernode), lab.add(Role::Supernode));
    let node = lab.add(Role::Node);
    lab.set_world(node, 1, &[first]);
    lab.set_world(node, 2, &[second]);
    lab.join_in(node, &link(1), 2, &[]);
    lab.run_seconds(2);
    let lists = |lab: &Lab| lab.hosts[first].engine.anchor().subscriptions;
    assert_eq!(lists(&lab), 0);
    lab.set_world(node, 2, &[second, first]);
    lab.run_seconds(2);
    assert_eq!(lists(&lab), 1);
}

#[test]
fn ten_unanswered_requests_to_register_make_a_handshake_that_finds_the_next_address() {
    let mut lab = Lab::new();
    // One supernode at two addresses, the first of which dies as soon as a session stands.
    let supernode = lab.add_with(Role::Supernode, 1);
    let elsewhere = lab.add_with(Role::Supernode, 1);
    let node = lab.add(Role::Node);
    let anchor = Anchor {
        key: lab.key(supernode),
        addresses: vec![lab.hosts[supernode].address, lab.hosts[elsewhere].address],
        streams: Vec::new(),
    };
    let mut stands = false;
    let mut requests = 0;
    lab.wire = Box::new(move |from, to, bytes| {
        if (from, to) == (node, supernode) && bytes[0] == DATA {
            stands = true;
            requests += 1;
            assert!(requests <= 10, "request {requests} to the first address");
        }
        !stands || (from != supernode && to != supernode)
    });
    lab.hosts[node].engine.set_world(lab.now, world_id(1), vec![anchor]);
    // 3 s, 1 s, 2 s, 4 s and 5 s between the requests, and 5 s for the handshake.
    lab.run_seconds(40);
    assert_eq!(lab.hosts[supernode].engine.anchor().registrations, 0);
    assert_eq!(lab.hosts[elsewhere].engine.anchor().registrations, 1);
    let status = &lab.hosts[node].engine.supernodes()[0];
    assert_eq!(
        (status.registered, status.address),
        (true, Some(lab.hosts[elsewhere].address))
    );
}

#[test]
fn a_greeting_waits_for_a_supernode_of_its_world() {
    let mut lab = Lab::new();
    let (first, second) = (lab.add(Role::Supernode), lab.add(Role::Supernode));
    let (a, b) = (lab.add(Role::Node), lab.add(Role::Node));
    lab.set_world(b, 2, &[second]);
    lab.join_in(b, &link(1), 2, &[]);
    lab.set_world(a, 1, &[first]);
    lab.run_seconds(2);
    lab.wire = cut(second, a);
    lab.set_world(a, 2, &[second]);
    let greeted = lab.key(b);
    lab.join_in(a, &link(1), 2, &[greeted]);
    lab.run_seconds(3);
    let known = |lab: &Lab| lab.hosts[a].engine.peers.by_node(&greeted.node_id()).is_some();
    assert!(!known(&lab));
    lab.wire = intact();
    lab.run_seconds(3);
    assert!(known(&lab) && lab.peer(a, &greeted).sessions.current().is_some());
}

#[test]
fn a_list_of_before_a_restart_of_its_supernode_is_replaced() {
    let mut lab = Lab::new();
    let supernode = lab.add(Role::Supernode);
    let nodes = [(); 4].map(|()| lab.add(Role::Node));
    let [a, gone, new, newer] = nodes;
    for node in nodes {
        lab.set_world(node, 1, &[supernode]);
    }
    let a1 = lab.join(a, &link(1));
    lab.join(gone, &link(1));
    lab.run_seconds(3);
    // While the first is away the new list counts as many changes as the old one did.
    lab.restart(supernode);
    lab.wire = Box::new(move |from, to, _| ![from, to].iter().any(|place| [a, gone].contains(place)));
    lab.join(new, &link(1));
    lab.join(newer, &link(1));
    lab.run_seconds(60);
    lab.wire = cut(supernode, gone);
    lab.run_seconds(60);
    let network = lab.hosts[a].engine.networks.get(a1).unwrap();
    let listed: BTreeSet<_> = network.listed().map(|member| member.key.node_id()).collect();
    assert_eq!(
        listed,
        BTreeSet::from([a, new, newer].map(|node| lab.key(node).node_id()))
    );
    assert_eq!(lab.status(a, a1).members, 3);
}

#[test]
fn a_member_of_before_the_list_grew_too_long_looks_newcomers_up() {
    let mut lab = Lab::new();
    let supernode = lab.add(Role::Supernode);
    let nodes: Vec<_> = (0..ALL + 2).map(|_| lab.add(Role::Node)).collect();
    let mut handles = Vec::new();
    // All but one make a list that is just too long, so that nobody hears of the last.
    for node in &nodes {
        lab.set_world(*node, 1, &[supernode]);
        handles.push(lab.join(*node, &name()));
        if handles.len() == ALL + 1 {
            lab.run_seconds(3);
        }
    }
    lab.run_seconds(3);
    let (first, last) = (nodes[0], nodes[ALL + 1]);
    let network = lab.hosts[first].engine.networks.get(handles[0]).unwrap();
    let listed = network.listed().any(|member| member.key == lab.key(last));
    assert!(!listed && !network.list_complete());
    // An ARP question of its kernel for the newcomer is answered.
    let (asker, answer) = (lab.status(first, handles[0]), lab.status(last, handles[ALL + 1]));
    let question = [
        &[0xff; 6],
        &asker.mac.as_bytes()[..],
        &[0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, 1],
        asker.mac.as_bytes(),
        &asker.ipv4.unwrap().octets(),
        &[0; 6],
        &answer.ipv4.unwrap().octets(),
    ]
    .concat();
    lab.send(first, handles[0], &question);
    lab.run_seconds(1);
    let told = lab.hosts[first]
        .frames
        .iter()
        .any(|(_, frame)| frame[..6] == asker.mac.as_bytes()[..] && frame[22..28] == answer.mac.as_bytes()[..]);
    assert!(told);
}

#[test]
fn a_member_that_took_an_earlier_copy_hears_that_the_list_grew_too_long() {
    let mut lab = Lab::new();
    let supernode = lab.add(Role::Supernode);
    let nodes: Vec<_> = (0..ALL + 2).map(|_| lab.add(Role::Node)).collect();
    let first = nodes[0];
    for node in &nodes {
        lab.set_world(*node, 1, &[supernode]);
    }
    let handle = lab.join(first, &name());
    lab.run_seconds(2);
    // It takes the message about the second member, but the acknowledgement is lost, and what is sent again tells more.
    lab.wire = Box::new(move |from, to, _| (from, to) != (first, supernode));
    lab.join(nodes[1], &name());
    lab.run_seconds(1);
    for node in &nodes[2..] {
        lab.join(*node, &name());
    }
    lab.run_seconds(3);
    assert_eq!(lab.status(first, handle).members, 2);
    lab.wire = intact();
    lab.run_seconds(10);
    let network = lab.hosts[first].engine.networks.get(handle).unwrap();
    assert!(!network.list_complete());
}

#[test]
fn the_first_frame_of_an_unlisted_stranger_waits_for_its_address() {
    let mut lab = Lab::new();
    let supernode = lab.add(Role::Supernode);
    let (a, b) = (lab.add(Role::Node), lab.add(Role::Node));
    for node in [a, b] {
        lab.set_world(node, 1, &[supernode]);
    }
    let (a1, b1) = (lab.join(a, &name()), lab.join(b, &name()));
    lab.run_seconds(3);
    lab.open_all(b, b1);
    // As in a network whose list is too long.
    for (node, handle) in [(a, a1), (b, b1)] {
        let network = lab.hosts[node].engine.networks.get_mut(handle).unwrap();
        network.listings.clear();
    }
    let (from, to) = (lab.mac(a, a1), lab.mac(b, b1));
    let there = lab.status(b, b1).ipv4.unwrap();
    let own = udp(to, from, 0, [lab.status(a, a1).ipv4.unwrap(), there]);
    let foreign = udp(to, from, 0, [there, there]);
    lab.send(a, a1, &own);
    lab.send(a, a1, &foreign);
    lab.run_seconds(1);
    assert_eq!(lab.received(b, b1, &own), 1);
    assert_eq!(lab.received(b, b1, &foreign), 0);
    let counters = lab.hosts[b].engine.counters();
    assert_eq!((counters.foreign_source_ip, counters.queue_dropped), (1, 0));
}

/// Two nodes with a session over a relay, to each other unlisted, as in a network whose list is too long.
fn unlisted_pair() -> (Lab, [Place; 3], [NetworkHandle; 2]) {
    let (mut lab, places) = Lab::with_two_nodes();
    let nodes = [places[1], places[2]];
    let handles = nodes.map(|node| lab.join(node, &link(1)));
    lab.run_seconds(3);
    let call = frame(lab.mac(nodes[1], handles[1]), lab.mac(nodes[0], handles[0]), 1);
    lab.send(nodes[0], handles[0], &call);
    lab.run_seconds(2);
    assert_eq!(lab.received(nodes[1], handles[1], &call), 1);
    (lab, places, handles)
}

#[test]
fn a_destination_that_the_supernode_does_not_know_is_reached_by_its_id() {
    let (mut lab, [supernode, a, b], [a1, b1]) = unlisted_pair();
    let (id, home) = (lab.peer_id(a, &lab.key(b)), lab.peer_id(a, &lab.key(supernode)));
    lab.hosts[a].engine.peers.get_mut(id).unwrap().path = Some(Path::Relay {
        supernode: home,
        target: RelayTarget::Index(RelayIndex(7)),
    });
    let [lost, next] = [2, 3].map(|mark| frame(lab.mac(b, b1), lab.mac(a, a1), mark));
    lab.send(a, a1, &lost);
    lab.run(2 * DELAY);
    lab.send(a, a1, &next);
    lab.run(2 * DELAY);
    assert_eq!((lab.received(b, b1, &lost), lab.received(b, b1, &next)), (0, 1));
}
