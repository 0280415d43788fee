//! One identity on two running machines, and all that only looks like it.

use std::{cell::RefCell, net::SocketAddr, rc::Rc, time::Duration};

use super::lab::{Lab, Place, intact, link};
use crate::{Event, Role, wire::control::Control};

const DATA: u8 = 3;

/// A supernode and a node that is registered there, in one network.
fn registered() -> (Lab, [Place; 2]) {
    let mut lab = Lab::new();
    let (supernode, node) = (lab.add(Role::Supernode), lab.add(Role::Node));
    lab.set_world(node, 1, &[supernode]);
    lab.join(node, &link(1));
    lab.run_seconds(2);
    (lab, [supernode, node])
}

/// Where a host was told that its twin is.
fn told(lab: &Lab, place: Place) -> Vec<Option<SocketAddr>> {
    let events = lab.hosts[place].events.iter();
    events
        .filter_map(|event| match event {
            Event::Twin { other, .. } => Some(*other),
            _ => None,
        })
        .collect()
}

fn replaced(lab: &Lab, supernode: Place) -> u64 {
    lab.hosts[supernode].engine.counters().replaced_session
}

#[test]
fn two_machines_with_one_key_are_told_of_each_other_within_30_seconds() {
    let (mut lab, [supernode, one]) = registered();
    lab.run_seconds(7);
    let other = lab.add_with(Role::Node, 2);
    assert_eq!(lab.key(one), lab.key(other));
    lab.set_world(other, 1, &[supernode]);
    lab.run_seconds(30);
    for (here, there) in [(one, other), (other, one)] {
        let told = told(&lab, here);
        assert!(!told.is_empty(), "host {here}");
        assert!(told.iter().all(|address| *address == Some(lab.hosts[there].address)));
    }
    assert!(lab.hosts[supernode].engine.counters().twins_found > 0);
}

#[test]
fn machines_that_start_together_are_told_and_told_again() {
    let mut lab = Lab::new();
    let supernode = lab.add(Role::Supernode);
    let (one, other) = (lab.add(Role::Node), lab.add_with(Role::Node, 2));
    for node in [one, other] {
        lab.set_world(node, 1, &[supernode]);
    }
    lab.run_seconds(32);
    let before = [one, other].map(|place| told(&lab, place).len());
    assert!(before.iter().all(|told| *told > 0), "{before:?}");
    lab.run_seconds(60);
    for (place, before) in [one, other].into_iter().zip(before) {
        assert!(told(&lab, place).len() > before, "host {place}");
    }
    // When one of them is gone, the other is left alone.
    lab.wire = Box::new(move |from, to, _| from != other && to != other);
    lab.run_seconds(40);
    let before = told(&lab, one).len();
    lab.run_seconds(300);
    assert_eq!(told(&lab, one).len(), before);
    assert!(lab.hosts[one].engine.supernodes()[0].registered);
}

#[test]
fn lost_datagrams_delay_what_is_told_and_do_not_prevent_it() {
    // One lost in so many, and the seconds that it may take.
    for (lost, seconds) in [(50, 30), (5, 200)] {
        for seed in 0..20_u32 {
            let (mut lab, [supernode, one]) = registered();
            let other = lab.add_with(Role::Node, 2);
            let mut random = seed;
            lab.wire = Box::new(move |_, _, _| {
                // Numerical Recipes' generator, of which the high bits are good enough.
                random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (random >> 16) % lost != 0
            });
            lab.set_world(other, 1, &[supernode]);
            lab.run_seconds(seconds);
            assert!(!told(&lab, one).is_empty(), "1 in {lost}, seed {seed}");
            assert!(!told(&lab, other).is_empty(), "1 in {lost}, seed {seed}");
        }
    }
}

#[test]
fn a_request_of_a_replaced_machine_does_not_change_the_registration() {
    let (mut lab, [supernode, one]) = registered();
    let other = lab.add_with(Role::Node, 2);
    lab.set_world(other, 1, &[supernode]);
    let network = lab.join(other, &link(1));
    lab.run_seconds(4);
    let path = lab.peer(supernode, &lab.key(one)).path;
    lab.join(one, &link(2));
    lab.run(Duration::from_millis(400));
    assert!(replaced(&lab, supernode) > 0);
    assert_eq!(lab.peer(supernode, &lab.key(one)).path, path);
    assert_eq!(lab.status(other, network).members, 1);
}

/// A datagram of the node to the supernode, long enough to be answered with a question, is kept back; what it was.
fn keep_back_next(lab: &mut Lab, [supernode, node]: [Place; 2], seconds: u64) -> Vec<u8> {
    let kept = Rc::new(RefCell::new(None));
    let keep = Rc::clone(&kept);
    lab.wire = Box::new(move |from, to, bytes| {
        let first = (from, to) == (node, supernode) && bytes[0] == DATA && keep.borrow().is_none();
        if first {
            keep.replace(Some(bytes.clone()));
        }
        !first
    });
    let supernode_key = lab.key(supernode);
    lab.tell(node, &supernode_key, Control::Ping { token: 1 });
    lab.run_seconds(seconds);
    lab.wire = intact();
    kept.take().unwrap()
}

#[test]
fn a_restart_with_a_datagram_of_the_former_life_is_no_twin() {
    let (mut lab, places @ [supernode, node]) = registered();
    let kept = keep_back_next(&mut lab, places, 26);
    lab.restart(node);
    lab.set_world(node, 1, &[supernode]);
    lab.run_seconds(10);
    let from = lab.hosts[node].address;
    lab.deliver(supernode, from, &kept);
    lab.run_seconds(100);
    assert_eq!(replaced(&lab, supernode), 1, "it was authentic, and the node was asked");
    assert_eq!(told(&lab, node), []);
}

#[test]
fn a_late_or_kept_back_datagram_after_new_keys_is_no_twin() {
    let (mut lab, places @ [supernode, node]) = registered();
    lab.run_seconds(3550);
    let kept = keep_back_next(&mut lab, places, 26);
    let before = lab.handshakes_begun();
    lab.run_seconds(40);
    assert_eq!(lab.handshakes_begun(), before + 1, "the keys were renewed");
    let stranger = lab.add(Role::Node);
    for from in [lab.hosts[node].address, lab.hosts[stranger].address] {
        lab.deliver(supernode, from, &kept);
        lab.run_seconds(3);
    }
    // Received once more it is a replay.
    assert_eq!(replaced(&lab, supernode), 1);
    assert_eq!(told(&lab, node), []);
    assert!(lab.hosts[node].engine.supernodes()[0].registered);
}

#[test]
fn whoever_passes_the_question_on_gets_no_answer_from_the_one_machine() {
    let (mut lab, places @ [supernode, node]) = registered();
    lab.run_seconds(3550);
    let kept = keep_back_next(&mut lab, places, 26);
    lab.run_seconds(40);
    // The stranger sends what it kept back, and hands the question to the node.
    let stranger = lab.add(Role::Node);
    let (at, answered) = (lab.hosts[stranger].address, lab.hosts[supernode].address);
    lab.deliver(supernode, at, &kept);
    let asked = lab.passing.iter().find(|passing| passing.to == at).unwrap();
    let question = asked.bytes.clone();
    lab.passing.clear();
    lab.deliver(node, answered, &question);
    lab.settle();
    assert!(lab.passing.is_empty(), "the node holds both sessions and says nothing");
    lab.run_seconds(60);
    assert_eq!(told(&lab, node), []);
}

#[test]
fn another_address_behind_a_nat_is_no_twin() {
    let (mut lab, [supernode, node]) = registered();
    lab.hosts[node].address = SocketAddr::from(([10, 9, 9, 9], 4242));
    lab.run_seconds(120);
    assert_eq!(replaced(&lab, supernode), 0);
    assert_eq!(told(&lab, node), []);
    assert!(lab.hosts[node].engine.supernodes()[0].registered);
}

#[test]
fn restarts_and_hours_of_keys_are_no_twins() {
    let (mut lab, [supernode, node]) = registered();
    for _ in 0..5 {
        lab.restart(node);
        lab.set_world(node, 1, &[supernode]);
        lab.run_seconds(3);
    }
    lab.run_seconds(3 * 3600);
    assert_eq!(told(&lab, node), []);
    assert_eq!(lab.hosts[supernode].engine.counters().twins_found, 0);
}

#[test]
fn twins_with_different_homes_are_told_of_each_other() {
    for network in 1..12 {
        let mut lab = Lab::new();
        let supernodes: Vec<_> = (0..7).map(|_| lab.add(Role::Supernode)).collect();
        for supernode in &supernodes {
            lab.set_world(*supernode, 1, &supernodes);
        }
        let (one, other) = (lab.add(Role::Node), lab.add_with(Role::Node, 8));
        assert_eq!(lab.key(one), lab.key(other));
        // One reaches the first two, the other the next two; what keeps their records may be beyond both.
        lab.wire = Box::new(move |from, to, _| {
            let reaches = |node: Place, near: [Place; 2]| {
                let there = if from == node { to } else { from };
                ![from, to].contains(&node) || near.contains(&there)
            };
            reaches(one, [0, 1]) && reaches(other, [2, 3])
        });
        for (node, start) in [(one, 10), (other, 30)] {
            lab.set_world(node, 1, &supernodes);
            lab.join(node, &link(network));
            lab.run_seconds(start);
        }
        for place in [one, other] {
            assert!(!told(&lab, place).is_empty(), "network {network}, host {place}");
        }
    }
}
