//! How sessions begin, are renewed and end.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::Duration,
};

use super::{
    lab::{Lab, Place, cut, frame, intact, link},
    stranger::{INITIATION, RESPONSE, address, answers, answers_to, initiation, initiation_with, replies},
};
use crate::{Event, NetworkHandle, Outbox, Role, wire::datagram::PROLOGUE};

/// The kind of a relay datagram, its first byte.
const RELAY: u8 = 4;

/// That of a sealed datagram.
const DATA: u8 = 3;
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
fn nothing_is_sent_under_new_keys_before_the_other_end_showed_that_it_has_them() {
    let (mut lab, [_, a, b]) = Lab::with_two_nodes();
    let (a1, b1) = (lab.join(a, &link(1)), lab.join(b, &link(1)));
    lab.run_seconds(3);
    let there = frame(lab.mac(b, b1), lab.mac(a, a1), 1);
    let back = frame(lab.mac(a, a1), lab.mac(b, b1), 2);
    lab.send(a, a1, &there);
    lab.run_seconds(1);
    let before = lab.handshakes_begun();
    // The answers to the one who renews the keys are lost: it never has them.
    lab.wire = Box::new(move |_, to, bytes| {
        let inner = if bytes[0] == RELAY {
            &bytes[RELAY_HEADER..]
        } else {
            bytes
        };
        to != a || inner[0] != RESPONSE
    });
    for _ in 0..160 {
        lab.send(a, a1, &there);
        lab.send(b, b1, &back);
        lab.run_seconds(1);
    }
    assert!(lab.handshakes_begun() > before, "the keys were to be renewed");
    assert_eq!(lab.received(a, a1, &back), 160);
    assert_eq!(lab.received(b, b1, &there), 161);
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
        let content = crate::content::Content::Frame {
            network: 0,
            frame: &frame,
            own: false,
        };
        assert!(lab.hosts[node].engine.send_sealed(lab.now, id, None, content, &mut out));
    }
    lab.take(node, &mut out);
    lab.run_seconds(1);
    assert_eq!(lab.hosts[supernode].engine.counters().unknown_messages, 40);
    assert_eq!(lab.hosts[supernode].engine.early.bytes(), 0);
}

/// Handshakes that the host at `place` answered and that wait for a sign of the other end.
fn half_open(lab: &Lab, place: Place) -> usize {
    let peers = &lab.hosts[place].engine.peers;
    let waits = |id| peers.get(id).is_some_and(|peer| !peer.half_open.is_empty());
    peers.ids().into_iter().filter(|id| waits(*id)).count()
}

#[test]
fn builds_that_encrypt_and_builds_for_benchmarks_do_not_answer_each_other() {
    let mut lab = Lab::new();
    let supernode = lab.add(Role::Supernode);
    let key = lab.key(supernode);
    for (who, prologue) in [(1, &b"farlan 1"[..]), (2, b"farlan 1 plaintext")] {
        let answered = answers_to(&mut lab, supernode, who, &initiation_with(prologue, who, 0, &key));
        assert_eq!(answered, prologue == PROLOGUE, "{who}");
    }
    assert!(answers(&mut lab, supernode, 3, 0));
}

#[test]
fn half_open_handshakes_are_bounded_in_number_and_time() {
    let mut lab = Lab::new();
    lab.limits.registrations = 16_384;
    let supernode = lab.add(Role::Supernode);
    for who in 1..=1024 {
        assert!(answers(&mut lab, supernode, who, 0), "{who}");
    }
    assert_eq!(half_open(&lab, supernode), 1024);
    // One more takes the place of the oldest, and whoever floods the table keeps nobody out.
    assert!(answers(&mut lab, supernode, 1025, 0));
    assert_eq!(half_open(&lab, supernode), 1024);
    assert_eq!(lab.hosts[supernode].engine.handshakes.answered_lately(), 1024);
    assert_eq!(lab.hosts[supernode].engine.counters().handshakes_overflow, 1);
    assert!(answers(&mut lab, supernode, 1025, 0), "a copy takes no room");
    assert_eq!(lab.hosts[supernode].engine.counters().handshakes_overflow, 1);

    lab.run(Duration::from_millis(4900));
    assert_eq!(half_open(&lab, supernode), 1024);
    lab.run(Duration::from_millis(200));
    assert_eq!(half_open(&lab, supernode), 0);
    assert!(answers(&mut lab, supernode, 1025, 0));
    assert_eq!(half_open(&lab, supernode), 1);
}

/// Half-open handshakes of the one peer of a host, and its sessions.
fn of_one_peer(lab: &Lab, place: Place) -> (usize, usize) {
    let engine = &lab.hosts[place].engine;
    let [id] = engine.peers.ids()[..] else {
        panic!("one peer")
    };
    let peer = engine.peers.get(id).unwrap();
    (peer.half_open.len(), peer.sessions.iter().count())
}

#[test]
fn a_peer_has_one_half_open_handshake_per_way_and_three_in_all() {
    let mut lab = Lab::new();
    let supernode = lab.add(Role::Supernode);
    for try_number in 0..20 {
        lab.run(Duration::from_millis(10));
        assert!(answers(&mut lab, supernode, 1, try_number), "{try_number}");
        assert_eq!(of_one_peer(&lab, supernode), (1, 1));
    }
    for elsewhere in 2..10 {
        let other = initiation(1, 100 + u8::try_from(elsewhere).unwrap(), &lab.key(supernode));
        assert_eq!(replies(&mut lab, supernode, address(elsewhere), &other).len(), 1);
        let expected = usize::from(elsewhere).min(3);
        assert_eq!(of_one_peer(&lab, supernode), (expected, expected));
    }
    assert_eq!(lab.hosts[supernode].engine.handshakes.answered_lately(), 3);
    lab.run_seconds(6);
    assert_eq!(half_open(&lab, supernode), 0);
    assert_eq!(lab.hosts[supernode].engine.handshakes.answered_lately(), 0);
    let engine = &lab.hosts[supernode].engine;
    let sessions = |id| engine.peers.get(id).map_or(0, |peer| peer.sessions.iter().count());
    assert_eq!(engine.peers.ids().into_iter().map(sessions).sum::<usize>(), 0);
}

#[test]
fn a_replayed_initiation_from_elsewhere_does_not_end_the_true_handshake() {
    let mut lab = Lab::new();
    let (supernode, node) = (lab.add(Role::Supernode), lab.add(Role::Node));
    // What the node sent to the supernode in former times, which the supernode has forgotten.
    let recorded = Rc::new(RefCell::new(Vec::new()));
    let record = Rc::clone(&recorded);
    lab.wire = Box::new(move |_, to, bytes| {
        if to == supernode && bytes[0] == INITIATION {
            record.borrow_mut().push(bytes.clone());
        }
        to != supernode
    });
    for _ in 0..10 {
        lab.restart(node);
        lab.set_world(node, 1, &[supernode]);
        lab.run(Duration::from_millis(100));
    }
    lab.wire = intact();
    lab.passing.clear();
    lab.restart(node);
    lab.set_world(node, 1, &[supernode]);
    // The true initiation has come, and its answer is under way, when the recorded ones come.
    lab.run(Duration::from_millis(25));
    let recorded = recorded.borrow();
    assert!(recorded.len() >= 10);
    for datagram in recorded.iter() {
        lab.deliver(supernode, address(1), datagram);
        lab.settle();
    }
    lab.run(Duration::from_millis(100));
    assert!(lab.hosts[node].engine.supernodes()[0].registered);
    let id = lab.peer_id(supernode, &lab.key(node));
    let current = lab.hosts[supernode].engine.peers.get(id).unwrap().sessions.current();
    assert!(current.is_some());
}

#[test]
fn replayed_initiations_end_no_session_that_stands() {
    let mut lab = Lab::new();
    let (supernode, node) = (lab.add(Role::Supernode), lab.add(Role::Node));
    lab.set_world(node, 1, &[supernode]);
    lab.run_seconds(1);
    let confirmed = |lab: &Lab| {
        let peer = lab.peer(supernode, &lab.key(node));
        peer.sessions.iter().filter(|session| session.confirmed).count()
    };
    let recorded = Rc::new(RefCell::new(Vec::new()));
    let record = Rc::clone(&recorded);
    lab.wire = Box::new(move |_, to, bytes| {
        let initiation = to == supernode && bytes[0] == INITIATION;
        if initiation {
            record.borrow_mut().push(bytes.clone());
        }
        !initiation
    });
    let id = lab.peer_id(node, &lab.key(supernode));
    lab.hosts[node].engine.begin_handshake(id, true);
    lab.run_seconds(1);
    assert_eq!(confirmed(&lab), 1);
    let recorded = recorded.borrow();
    assert!(!recorded.is_empty());
    for who in 0..50 {
        lab.deliver(supernode, address(who), &recorded[0]);
        lab.settle();
    }
    assert_eq!(confirmed(&lab), 1);
    assert_eq!(lab.hosts[supernode].engine.anchor().registrations, 1);
}

/// Two nodes that call each other at one moment: the one with the lower id, and the other one.
struct Crossing {
    lab: Lab,
    supernode: Place,
    nodes: [Place; 2],
    networks: [NetworkHandle; 2],
    frames: [Vec<u8>; 2],
}

impl Crossing {
    fn new() -> Self {
        let (mut lab, [supernode, one, other]) = Lab::with_two_nodes();
        let nodes = if lab.key(one).node_id() < lab.key(other).node_id() {
            [one, other]
        } else {
            [other, one]
        };
        let networks = nodes.map(|node| lab.join(node, &link(1)));
        lab.run_seconds(3);
        let [lower, higher] = [0, 1].map(|who| lab.mac(nodes[who], networks[who]));
        let frames = [frame(higher, lower, 1), frame(lower, higher, 2)];
        Self {
            lab,
            supernode,
            nodes,
            networks,
            frames,
        }
    }

    fn call(&mut self) {
        for who in 0..2 {
            self.lab.send(self.nodes[who], self.networks[who], &self.frames[who]);
        }
    }

    /// Whether the handshake that a node began goes on, and whether one that it answered is half-open.
    fn open(&self, who: usize) -> (bool, bool) {
        let peer = self.lab.peer(self.nodes[who], &self.lab.key(self.nodes[1 - who]));
        (peer.outgoing.is_some(), !peer.half_open.is_empty())
    }

    /// How often the frame of the other end arrived at a node.
    fn received(&self, who: usize) -> usize {
        let frame = &self.frames[1 - who];
        self.lab.received(self.nodes[who], self.networks[who], frame)
    }
}

/// A wire without the answers of a node to handshakes that came over the supernode.
fn unanswered_by(node: Place) -> super::lab::Wire {
    Box::new(move |from, _, bytes| from != node || bytes[0] != RELAY || bytes[RELAY_HEADER] != RESPONSE)
}

#[test]
fn of_two_handshakes_that_cross_that_of_the_lower_id_wins() {
    let mut crossing = Crossing::new();
    let answered = Rc::new(RefCell::new(Vec::new()));
    let (answers, supernode) = (Rc::clone(&answered), crossing.supernode);
    crossing.lab.wire = Box::new(move |from, to, bytes| {
        if to == supernode && bytes[0] == RELAY && bytes[RELAY_HEADER] == RESPONSE {
            answers.borrow_mut().push(from);
        }
        true
    });
    let before = crossing.lab.handshakes_begun();
    crossing.call();
    crossing.lab.run_seconds(2);
    assert_eq!(crossing.lab.handshakes_begun() - before, 2);
    let answered = answered.borrow();
    assert!(!answered.is_empty() && answered.iter().all(|from| *from == crossing.nodes[1]));
    for who in 0..2 {
        assert_eq!(crossing.open(who), (false, false));
        assert_eq!(crossing.received(who), 1);
        let peer = crossing
            .lab
            .peer(crossing.nodes[who], &crossing.lab.key(crossing.nodes[1 - who]));
        assert_eq!(peer.sessions.iter().count(), 1);
    }
}

#[test]
fn the_handshake_that_loses_goes_on_until_the_other_is_confirmed() {
    let mut crossing = Crossing::new();
    crossing.lab.wire = unanswered_by(crossing.nodes[1]);
    crossing.call();
    crossing.lab.run(Duration::from_millis(500));
    assert_eq!([0, 1].map(|who| crossing.open(who)), [(true, false), (true, true)]);
    crossing.lab.wire = intact();
    let end = crossing.lab.now + Duration::from_secs(2);
    while crossing.open(1).1 {
        assert!(crossing.open(1).0, "both go on");
        crossing.lab.run(Duration::from_millis(10));
        assert!(crossing.lab.now < end);
    }
    assert_eq!([0, 1].map(|who| crossing.open(who)), [(false, false); 2]);
    crossing.lab.run_seconds(1);
    assert_eq!([0, 1].map(|who| crossing.received(who)), [1, 1]);
}

#[test]
fn the_handshake_that_loses_makes_the_session_if_the_winner_is_gone() {
    let mut crossing = Crossing::new();
    let [lower, higher] = crossing.nodes;
    crossing.lab.wire = unanswered_by(higher);
    crossing.call();
    crossing.lab.run(Duration::from_millis(100));
    assert_eq!(crossing.open(1), (true, true));
    crossing.lab.wire = intact();
    // What it began is forgotten.
    crossing.lab.restart(lower);
    crossing.lab.set_world(lower, 1, &[crossing.supernode]);
    crossing.networks[0] = crossing.lab.join(lower, &link(1));
    crossing.lab.run_seconds(4);
    assert_eq!(crossing.received(0), 1);
    let begun = crossing.lab.hosts[lower].engine.counters().handshakes_begun;
    assert_eq!(begun, 1, "with the supernode alone");
    crossing.lab.run_seconds(2);
    assert_eq!(crossing.open(1), (false, false));
}

/// Node `b` has a session that `a` answered and then gave up, since nothing of `b` came under it in time: what `a` goes on
/// asking under the session before does not pass for an answer.
#[test]
fn what_comes_under_an_older_session_is_no_answer_to_what_goes_under_a_newer_one() {
    let (mut lab, [_, a, b]) = Lab::with_two_nodes();
    let (a1, b1) = (lab.join(a, &link(1)), lab.join(b, &link(1)));
    lab.open = true;
    lab.run_seconds(3);
    let there = frame(lab.mac(a, a1), lab.mac(b, b1), 1);
    let back = frame(lab.mac(b, b1), lab.mac(a, a1), 2);
    for _ in 0..50 {
        lab.send(a, a1, &back);
        lab.send(b, b1, &there);
        lab.run(Duration::from_millis(100));
    }
    assert!(lab.peer(b, &lab.key(a)).direct.active().is_some());

    // Nothing sealed reaches b, so it makes a new session; then nothing sealed of it reaches a.
    let answered = Rc::new(Cell::new(false));
    let seen = Rc::clone(&answered);
    lab.wire = Box::new(move |from, to, bytes| {
        let relayed = bytes[0] == RELAY;
        let kind = bytes[if relayed { RELAY_HEADER } else { 0 }];
        seen.set(seen.get() || (to == b && kind == RESPONSE));
        let between = relayed || [from, to].iter().all(|place| [a, b].contains(place));
        let deaf = if seen.get() { a } else { b };
        to != deaf || kind != DATA || !between
    });
    let send = |lab: &mut Lab, frames: usize| {
        for _ in 0..frames {
            lab.send(b, b1, &there);
            lab.run(Duration::from_millis(100));
        }
    };
    while !answered.get() {
        send(&mut lab, 1);
    }
    // The handshake that a answered ends.
    send(&mut lab, 55);
    lab.wire = intact();
    send(&mut lab, 50);
    let before = lab.received(a, a1, &there);
    send(&mut lab, 10);
    assert_eq!(lab.received(a, a1, &there) - before, 10);
}
