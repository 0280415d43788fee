//! Whether strangers get through to a node, proved by a supernode.

use std::{cell::Cell, net::SocketAddr, rc::Rc, time::Duration};

use super::lab::{Lab, OTHER_PORT, Place, intact};
use crate::{Event, wire::control::Control};

/// A supernode and a node registered there.
fn registered() -> (Lab, Place, Place) {
    let (mut lab, [supernode, node, _]) = Lab::with_two_nodes();
    lab.run_seconds(2);
    lab.hosts[node].events.clear();
    (lab, supernode, node)
}

fn ask(lab: &mut Lab, supernode: Place, node: Place, port: u16, token: u64) {
    let (now, key) = (lab.now, lab.key(supernode));
    lab.hosts[node].engine.prove_reach(now, key.node_id(), port, token);
}

/// What became of the questions, in the order of the answers.
fn answers(lab: &Lab, node: Place) -> Vec<(u64, Option<SocketAddr>)> {
    let reached = |event: &Event| match event {
        Event::Reached { token, endpoint } => Some((*token, *endpoint)),
        _ => None,
    };
    lab.hosts[node].events.iter().filter_map(reached).collect()
}

#[test]
fn a_port_that_strangers_get_through_to_is_proved() {
    let (mut lab, supernode, node) = registered();
    ask(&mut lab, supernode, node, 0, 7);
    ask(&mut lab, supernode, node, OTHER_PORT, 8);
    lab.run_seconds(1);
    let seen = lab.hosts[node].address;
    let mapped = SocketAddr::new(seen.ip(), OTHER_PORT);
    assert_eq!(answers(&lab, node), [(7, Some(seen)), (8, Some(mapped))]);
}

#[test]
fn a_port_that_only_known_endpoints_get_through_to_is_not_proved() {
    let (mut lab, supernode, node) = registered();
    lab.closed.push(node);
    ask(&mut lab, supernode, node, 0, 7);
    lab.run_seconds(5);
    assert_eq!(answers(&lab, node), [(7, None)]);
    // The registration stays what it was.
    assert!(lab.hosts[node].engine.supernodes()[0].registered);
}

#[test]
fn lost_questions_are_asked_again() {
    let (mut lab, supernode, node) = registered();
    let lost = Rc::new(Cell::new(0));
    let count = Rc::clone(&lost);
    lab.wire = Box::new(move |_, _, _| {
        count.set(count.get() + 1);
        count.get() > 3
    });
    ask(&mut lab, supernode, node, 0, 7);
    lab.run_seconds(5);
    assert!(lost.get() > 3);
    assert_eq!(answers(&lab, node), [(7, Some(lab.hosts[node].address))]);
}

#[test]
fn whoever_is_not_registered_proves_nothing() {
    let (mut lab, supernode, node) = registered();
    lab.wire = Box::new(|_, _, _| false);
    lab.run_seconds(120);
    ask(&mut lab, supernode, node, 0, 7);
    lab.wire = intact();
    lab.run_seconds(1);
    assert_eq!(answers(&lab, node), [(7, None)]);
}

#[test]
fn answers_are_no_larger_than_questions_and_no_more_than_a_few() {
    let (mut lab, supernode, node) = registered();
    let key = lab.key(supernode);
    lab.log = Some(Vec::new());
    for nonce in 0..200 {
        lab.tell(node, &key, Control::Reach { nonce, port: 1 });
    }
    lab.run_seconds(1);
    let log = lab.log.take().unwrap();
    let target = SocketAddr::new(lab.hosts[node].address.ip(), 1);
    let sent: Vec<usize> = log
        .iter()
        .filter(|sent| sent.to == target)
        .map(|sent| sent.bytes.len())
        .collect();
    let asked = log.iter().find(|sent| sent.from == node).unwrap().bytes.len();
    assert!((1..=20).contains(&sent.len()), "{}", sent.len());
    assert!(sent.iter().all(|length| *length <= asked), "{sent:?} {asked}");
    assert!(lab.hosts[supernode].engine.counters().reach_limited > 150);
}

#[test]
fn a_port_is_kept_open_by_what_does_not_arrive() {
    let (mut lab, supernode, _) = registered();
    let towards = SocketAddr::from(([203, 0, 113, 9], 9600));
    let now = lab.now;
    lab.hosts[supernode].engine.keep_open(now, Some(towards));
    lab.log = Some(Vec::new());
    lab.run(Duration::from_secs(61));
    let log = lab.log.take().unwrap();
    let sent: Vec<_> = log.iter().filter(|sent| sent.to == towards).collect();
    assert_eq!(sent.len(), 4);
    assert!(sent.iter().all(|sent| sent.bytes.len() == 1 && sent.ttl.is_some()));
    let now = lab.now;
    lab.hosts[supernode].engine.keep_open(now, None);
    lab.log = Some(Vec::new());
    lab.run(Duration::from_secs(61));
    assert!(lab.log.take().unwrap().iter().all(|sent| sent.to != towards));
}
