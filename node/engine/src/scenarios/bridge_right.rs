//! The right to bridge: in a private network machines behind a member are let in only if its certificate says so.

use farlan_netconf::{Mac, private::Rights};

use super::{lab::frame, town::Town};
use crate::Membership;

/// A host behind somebody's bridge.
const HOST: Mac = Mac::from_bytes([0, 0x16, 0x3e, 0, 0, 1]);

/// Three members, of whom the last has these rights.
fn three(rights: Rights) -> Town {
    let mut town = Town::new(3);
    for node in 0..3 {
        let key = town.key(node);
        let mut fields = town.club.fields(key);
        fields.rights = if node == 2 { rights } else { Rights::NONE };
        let credential = Some(town.club.sign(fields));
        let membership = Membership {
            credential,
            ..town.club.papers()
        };
        town.join(node, membership);
    }
    town.lab.run_seconds(4);
    town
}

/// Whose cards get a frame within a second, and how often.
fn reached(town: &mut Town, from: usize, frame: &[u8]) -> [usize; 3] {
    town.lab.send(town.nodes[from], town.networks[from], frame);
    town.lab.run_seconds(1);
    [0, 1, 2].map(|node| town.lab.received(town.nodes[node], town.networks[node], frame))
}

fn mac(town: &Town, node: usize) -> Mac {
    town.lab.mac(town.nodes[node], town.networks[node])
}

fn dropped(town: &Town, node: usize) -> u64 {
    town.lab.hosts[town.nodes[node]].engine.counters().bridged_without_right
}

#[test]
fn machines_behind_a_member_without_the_right_are_not_let_in_and_not_learned() {
    let mut town = three(Rights::NONE);
    let own = mac(&town, 2);
    assert_eq!(
        reached(&mut town, 2, &frame(Mac::BROADCAST, own, 1)),
        [1, 1, 0],
        "for itself it speaks"
    );
    let first = mac(&town, 0);
    assert_eq!(reached(&mut town, 2, &frame(first, own, 2)), [1, 0, 0]);
    assert_eq!(reached(&mut town, 2, &frame(Mac::BROADCAST, HOST, 3)), [0; 3]);
    assert_eq!(reached(&mut town, 2, &frame(first, HOST, 4)), [0; 3]);
    assert_eq!((dropped(&town, 0), dropped(&town, 1)), (2, 1));
    // Nothing was learned: what is for the host is looked for everywhere.
    assert_eq!(reached(&mut town, 0, &frame(HOST, first, 5)), [0, 1, 1]);
}

#[test]
fn machines_behind_a_member_with_the_right_are_reached() {
    let mut town = three(Rights::BRIDGE);
    let first = mac(&town, 0);
    assert_eq!(reached(&mut town, 2, &frame(Mac::BROADCAST, HOST, 1)), [1, 1, 0]);
    assert_eq!(
        reached(&mut town, 0, &frame(HOST, first, 2)),
        [0, 0, 1],
        "to that member alone"
    );
    assert_eq!(dropped(&town, 0) + dropped(&town, 1), 0);
}

#[test]
fn the_right_ends_and_begins_with_the_certificate_that_gives_it() {
    let mut town = three(Rights::BRIDGE);
    assert_eq!(reached(&mut town, 2, &frame(Mac::BROADCAST, HOST, 1)), [1, 1, 0]);
    let key = town.key(2);
    for (mark, rights, expected) in [(2, Rights::NONE, [0; 3]), (3, Rights::BRIDGE, [1, 1, 0])] {
        let mut fields = town.club.fields(key);
        fields.rights = rights;
        let credential = town.club.sign(fields);
        let (now, network) = (town.lab.now, town.networks[2]);
        assert!(town.engine(2).credential_issued(now, network, credential));
        town.lab.run_seconds(1);
        assert_eq!(reached(&mut town, 2, &frame(Mac::BROADCAST, HOST, mark)), expected);
    }
}
