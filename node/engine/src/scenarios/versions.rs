//! Ends that speak another version of the protocol say so.

use std::net::SocketAddr;

use super::lab::{Lab, Place, frame, link};
use crate::{Event, Role};

const INITIATION: u8 = 1;
const HINT: u8 = 6;
const OTHER_VERSION: u8 = 2;
const RELAY: u8 = 4;
const RELAY_FIRST: u8 = 5;

/// What a host reported: whom it called, if it was the caller, and the version.
fn reported(lab: &Lab, place: Place) -> Vec<(Option<farlan_crypto::NodeId>, u8)> {
    let events = lab.hosts[place].events.iter();
    events
        .filter_map(|event| match event {
            Event::OtherVersion { node, version, .. } => Some((*node, *version)),
            _ => None,
        })
        .collect()
}

/// Where the inner datagram begins.
fn inner(bytes: &[u8]) -> usize {
    match bytes[0] {
        RELAY => 12,
        RELAY_FIRST => 24,
        _ => 0,
    }
}

#[test]
fn a_supernode_of_another_version_and_its_node_name_the_versions() {
    let mut lab = Lab::new();
    let (supernode, node) = (lab.add(Role::Supernode), lab.add(Role::Node));
    // As if the node spoke version 2: so do its initiations, and what it calls version 1 is 2 to it.
    lab.wire = Box::new(move |from, _, bytes| {
        if from == node && bytes[0] == INITIATION {
            bytes[1] = 2;
        }
        if from != node && bytes[..3] == [HINT, OTHER_VERSION, 1] {
            bytes[2] = 3;
        }
        true
    });
    lab.set_world(node, 1, &[supernode]);
    lab.run_seconds(3);
    assert!(reported(&lab, supernode).contains(&(None, 2)));
    let expected = (Some(lab.key(supernode).node_id()), 3);
    assert!(reported(&lab, node).contains(&expected));
    assert!(!lab.hosts[node].engine.supernodes()[0].registered);
    assert!(lab.hosts[supernode].engine.counters().other_version > 0);
}

#[test]
fn peers_of_another_version_say_so_through_a_relay() {
    let (mut lab, [supernode, a, b]) = Lab::with_two_nodes();
    let (a1, b1) = (lab.join(a, &link(1)), lab.join(b, &link(1)));
    lab.run_seconds(3);
    lab.wire = Box::new(move |from, to, bytes| {
        let start = inner(bytes);
        if start > 0 && from == a && bytes[start] == INITIATION {
            bytes[start + 1] = 2;
        }
        if start > 0 && to == a && bytes[start..].starts_with(&[HINT, OTHER_VERSION]) {
            bytes[start + 2] = 2;
        }
        true
    });
    lab.send(a, a1, &frame(lab.mac(b, b1), lab.mac(a, a1), 1));
    lab.run_seconds(2);
    assert!(reported(&lab, a).contains(&(Some(lab.key(b).node_id()), 2)));
    assert!(reported(&lab, b).contains(&(None, 2)));
    assert_eq!(reported(&lab, supernode), []);
}

#[test]
fn only_the_way_of_a_handshake_under_way_is_believed() {
    let mut lab = Lab::new();
    let (supernode, node) = (lab.add(Role::Supernode), lab.add(Role::Node));
    lab.wire = Box::new(move |_, to, _| to != supernode);
    lab.set_world(node, 1, &[supernode]);
    lab.settle();
    let initiation = lab.passing.front().unwrap().bytes.clone();
    let index: [u8; 4] = initiation[4..8].try_into().unwrap();
    let hint = |version: u8, index: [u8; 4]| [&[HINT, OTHER_VERSION, version, 0][..], &index].concat();
    let (known, stranger) = (lab.hosts[supernode].address, SocketAddr::from(([10, 7, 7, 7], 9600)));
    let mut wrong = index;
    wrong[0] ^= 1;
    for (from, hint) in [
        (stranger, hint(2, index)),
        (known, hint(2, wrong)),
        (known, hint(1, index)),
    ] {
        lab.deliver(node, from, &hint);
        assert_eq!(reported(&lab, node), [], "{hint:?} from {from}");
    }
    lab.deliver(node, known, &hint(2, index));
    assert_eq!(reported(&lab, node), [(Some(lab.key(supernode).node_id()), 2)]);
    // It changes nothing: the handshake goes on, and succeeds where it can.
    lab.wire = super::lab::intact();
    lab.run_seconds(2);
    assert!(lab.hosts[node].engine.supernodes()[0].registered);
    lab.hosts[node].events.clear();
    lab.deliver(node, known, &hint(2, index));
    assert_eq!(reported(&lab, node), []);
}

#[test]
fn answers_are_short_and_few() {
    let mut lab = Lab::new();
    let supernode = lab.add(Role::Supernode);
    let stranger = SocketAddr::from(([10, 7, 7, 7], 9600));
    let mut initiation = vec![0; 176];
    initiation[..8].copy_from_slice(&[INITIATION, 2, 0, 0, 9, 9, 9, 9]);
    for _ in 0..1000 {
        lab.deliver(supernode, stranger, &initiation);
    }
    assert_eq!(lab.passing.len(), 16);
    assert!(
        lab.passing
            .iter()
            .all(|passing| passing.bytes == [HINT, OTHER_VERSION, 1, 0, 9, 9, 9, 9])
    );
    assert_eq!(lab.hosts[supernode].events.len(), 16);
    // Nothing answers what is no initiation, and even the shortest gets no more than it cost.
    lab.run_seconds(2);
    lab.deliver(supernode, stranger, &[2, 2, 0, 0, 9, 9, 9, 9, 8, 8, 8, 8]);
    lab.deliver(supernode, stranger, &[HINT, OTHER_VERSION, 2, 0, 9, 9, 9, 9]);
    assert!(lab.passing.is_empty());
    lab.deliver(supernode, stranger, &initiation[..8]);
    assert_eq!(lab.passing.len(), 1);
}
