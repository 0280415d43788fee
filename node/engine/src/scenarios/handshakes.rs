//! How sessions begin, are renewed and end.

use std::{cell::RefCell, rc::Rc, time::Duration};

use super::lab::{Lab, Place, cut, frame, intact, link};
use crate::{Event, Outbox, Role};

/// Kinds of datagrams, their first byte.
const INITIATION: u8 = 1;
const RESPONSE: u8 = 2;
const RELAY: u8 = 4;
const RELAY_HEADER: usize = 12;

#[test]
fn keys_are_renewed_by_one_handshake_under_steady_traffic() {
    let (mut lab, [_, a, b]) = Lab::with_two_nodes();
    let (a1, b1) = (lab.join(a, &link(1)), lab.join(b, &link(1)));
    lab.run_seconds(3);
    let frame = frame(lab.mac(b, b1), lab.mac(a, a1), 1);
    let before = lab.handshakes_begun();
    for _ in 0..2600 {
        lab.send(a, a1, &frame);
        lab.run(Duration::from_millis(50));
    }
    assert_eq!(lab.handshakes_begun() - before, 2, "first contact and one renewal");
    assert_eq!(lab.received(b, b1, &frame), 2600);
}

#[test]
fn both_ends_of_a_session_know_its_round_trip() {
    let (mut lab, [_, a, b]) = Lab::with_two_nodes();
    let (a1, b1) = (lab.join(a, &link(1)), lab.join(b, &link(1)));
    lab.run_seconds(3);
    let frame = frame(lab.mac(b, b1), lab.mac(a, a1), 1);
    lab.send(a, a1, &frame);
    lab.run_seconds(1);
    // 20 ms to the supernode and 20 ms on, there and back.
    for (here, there) in [(a, b), (b, a)] {
        let key = lab.key(there);
        assert_eq!(lab.peer(here, &key).rtt, Some(Duration::from_millis(80)));
    }
}

/// Whether a node registers over a wire that turns one bit in the headers of all messages of a kind.
fn registers_with_flipped(kind: u8, bit: usize) -> bool {
    let mut lab = Lab::new();
    let (supernode, node) = (lab.add(Role::Supernode), lab.add(Role::Node));
    lab.wire = Box::new(move |_, _, bytes| {
        if bytes[0] == kind {
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        true
    });
    lab.set_world(node, 1, &[supernode]);
    lab.run_seconds(2);
    let done = |place: Place| lab.hosts[place].engine.counters().handshakes_done;
    let registered = lab.hosts[node].engine.supernodes()[0].registered;
    let stands = done(supernode) + done(node) > 0;
    assert_eq!(registered, stands, "kind {kind}, bit {bit}");
    stands
}

#[test]
fn a_bit_turned_in_the_header_of_an_initiation_makes_no_session() {
    for bit in 0..8 * 8 {
        assert!(!registers_with_flipped(INITIATION, bit), "bit {bit}");
    }
}

#[test]
fn a_bit_turned_in_the_header_of_a_response_makes_no_session() {
    for bit in 0..12 * 8 {
        assert!(!registers_with_flipped(RESPONSE, bit), "bit {bit}");
    }
    assert!(registers_with_flipped(u8::MAX, 0), "it does over an honest wire");
}

/// Node `b` calls node `a`, whose id is `lower` than the other's or not, and a stranger records the message 1, which
/// `arrives` or not. Later `a` calls `b`, the stranger sends the recording, and `a`'s first message is lost. Whether the
/// stranger gets something, and how often the frame of `a` arrives before its message was sent three times.
fn call_after_a_replay(lower: bool, arrives: bool) -> (bool, usize) {
    let mut lab = Lab::new();
    let supernode = lab.add(Role::Supernode);
    let (one, other, stranger) = (lab.add(Role::Node), lab.add(Role::Node), lab.add(Role::Node));
    let in_order = (lab.key(one).node_id() < lab.key(other).node_id()) == lower;
    let (a, b) = if in_order { (one, other) } else { (other, one) };
    for node in [a, b] {
        lab.set_world(node, 1, &[supernode]);
    }
    let (a1, b1) = (lab.join(a, &link(1)), lab.join(b, &link(1)));
    lab.run_seconds(3);

    let recorded = Rc::new(RefCell::new(Vec::new()));
    let record = Rc::clone(&recorded);
    lab.wire = Box::new(move |_, to, bytes| {
        let initiation = to == a && bytes[0] == RELAY && bytes[RELAY_HEADER] == INITIATION;
        if initiation {
            record.replace(bytes[RELAY_HEADER..].to_vec());
        }
        arrives || !initiation
    });
    let first = frame(lab.mac(a, a1), lab.mac(b, b1), 1);
    lab.send(b, b1, &first);
    lab.run_seconds(10);
    assert_eq!(lab.received(a, a1, &first), usize::from(arrives));
    lab.wire = intact();
    let recorded = recorded.take();
    assert!(!recorded.is_empty());

    // All is quiet until the session, if there was one, is gone.
    lab.run_seconds(200);
    let second = frame(lab.mac(b, b1), lab.mac(a, a1), 2);
    lab.send(a, a1, &second);
    lab.settle();
    let stranger = lab.hosts[stranger].address;
    lab.deliver(a, stranger, &recorded);
    lab.settle();
    let told = lab.passing.iter().any(|passing| passing.to == stranger);
    let lost = lab.hosts[supernode].address;
    lab.passing.retain(|passing| passing.to != lost);
    lab.run(Duration::from_millis(1000));
    (told, lab.received(b, b1, &second))
}

#[test]
fn a_replayed_initiation_does_not_hinder_a_call() {
    for lower in [true, false] {
        let (_, received) = call_after_a_replay(lower, false);
        assert_eq!(received, 1, "lower: {lower}");
    }
}

#[test]
fn a_settled_initiation_is_not_answered_again() {
    for lower in [true, false] {
        assert_eq!(call_after_a_replay(lower, true), (false, 1), "lower: {lower}");
    }
}

#[test]
fn a_goodbye_under_an_older_session_does_not_end_a_newer_one() {
    let mut lab = Lab::new();
    let (supernode, node) = (lab.add(Role::Supernode), lab.add(Role::Node));
    let registered = |lab: &Lab| {
        (
            lab.hosts[supernode].engine.anchor().registrations,
            lab.hosts[node].engine.supernodes()[0].registered,
        )
    };
    lab.set_world(node, 1, &[supernode]);
    lab.run_seconds(1);
    let mut goodbye = Outbox::default();
    lab.hosts[node].engine.shutdown(lab.now, &mut goodbye);
    assert_eq!(goodbye.datagrams.len(), 1);

    // It is late: the node is back before it.
    lab.restart(node);
    lab.set_world(node, 1, &[supernode]);
    lab.run_seconds(1);
    assert_eq!(registered(&lab), (1, true));
    lab.take(node, &mut goodbye);
    lab.run_seconds(1);
    assert_eq!(registered(&lab), (1, true));
    assert!(!lab.peer(supernode, &lab.key(node)).sessions.is_empty());

    // In time it counts.
    lab.hosts[node].engine.shutdown(lab.now, &mut goodbye);
    lab.take(node, &mut goodbye);
    lab.wire = Box::new(move |from, to, bytes| (from, to) != (node, supernode) || bytes[0] != INITIATION);
    lab.run_seconds(1);
    assert_eq!(lab.hosts[supernode].engine.anchor().registrations, 0);
}

#[test]
fn peers_hear_the_goodbye_before_the_supernode_stops_relaying() {
    let (mut lab, [supernode, a, b]) = Lab::with_two_nodes();
    let (a1, b1) = (lab.join(a, &link(1)), lab.join(b, &link(1)));
    lab.run_seconds(3);
    lab.send(a, a1, &frame(lab.mac(b, b1), lab.mac(a, a1), 1));
    lab.run_seconds(1);
    let mut goodbye = Outbox::default();
    lab.hosts[a].engine.shutdown(lab.now, &mut goodbye);
    lab.take(a, &mut goodbye);
    // Whatever it would send afterwards, it is gone.
    lab.restart(a);
    lab.run(Duration::from_millis(100));
    let gone = Event::PeerDown {
        node: lab.key(a).node_id(),
    };
    assert!(lab.hosts[b].events.contains(&gone));
    assert_eq!(lab.hosts[supernode].engine.anchor().registrations, 1);
}

#[test]
fn a_supernode_forgets_a_node_that_fell_silent() {
    let mut lab = Lab::new();
    let (supernode, node) = (lab.add(Role::Supernode), lab.add(Role::Node));
    lab.set_world(node, 1, &[supernode]);
    lab.run_seconds(2);
    assert_eq!(lab.hosts[supernode].engine.anchor().registrations, 1);
    lab.wire = cut(supernode, node);
    lab.run_seconds(110);
    assert_eq!(lab.hosts[supernode].engine.anchor().registrations, 0);
    assert_eq!(lab.hosts[supernode].engine.peers.len(), 1);
    lab.run_seconds(600);
    assert_eq!(lab.hosts[supernode].engine.peers.len(), 0);
}

#[test]
fn a_supernode_keeps_no_frames() {
    let mut lab = Lab::new();
    let (supernode, node) = (lab.add(Role::Supernode), lab.add(Role::Node));
    lab.set_world(node, 1, &[supernode]);
    lab.run_seconds(2);
    let id = lab.peer_id(node, &lab.key(supernode));
    let mut out = Outbox::default();
    let frame = [0; 9000];
    for _ in 0..40 {
        let content = crate::outbound::Content::Frame {
            network: 0,
            frame: &frame,
            own: false,
        };
        assert!(lab.hosts[node].engine.send_sealed(lab.now, id, None, content, &mut out));
    }
    lab.take(node, &mut out);
    lab.run_seconds(1);
    assert_eq!(lab.hosts[supernode].engine.counters().unknown_messages, 40);
    let sessions = lab.peer(supernode, &lab.key(node)).sessions.iter();
    assert_eq!(sessions.map(|session| session.networks.early.len()).sum::<usize>(), 0);
}
