//! What becomes of messages that are bent or cut on the way: never a session.

use std::time::Duration;

use super::{
    lab::{Lab, Place},
    stranger::{COOKIE, INITIATION, RESPONSE, bogus},
};
use crate::{Role, Time};

const DATA: u8 = 3;

/// What the wire does with all datagrams of a kind.
#[derive(Clone, Copy, Debug)]
enum Harm {
    Nothing,
    /// Turns a bit.
    Flip(usize),
    /// Leaves so many bytes.
    Cut(usize),
}

/// A supernode, under load or not, and a node that wants to register over a wire that does harm to one kind of datagram.
fn over_a_harmful_wire(kind: u8, harm: Harm, loaded: bool) -> (Lab, Place, Place) {
    let mut lab = Lab::new();
    let (supernode, node) = (lab.add(Role::Supernode), lab.add(Role::Node));
    if loaded {
        load(&mut lab, supernode);
    }
    lab.wire = Box::new(move |_, _, bytes| {
        if bytes[0] == kind {
            match harm {
                Harm::Nothing => {}
                Harm::Flip(bit) => bytes[bit / 8] ^= 1 << (bit % 8),
                Harm::Cut(length) => bytes.truncate(length),
            }
        }
        true
    });
    lab.set_world(node, 1, &[supernode]);
    (lab, supernode, node)
}

/// Puts the host at `place` under load, so that it asks for cookies for a second and more.
fn load(lab: &mut Lab, place: Place) {
    let bogus = bogus(7, &lab.key(place));
    for _ in 0..500 {
        lab.deliver(place, super::stranger::address(7), &bogus);
    }
    lab.settle();
    lab.passing.clear();
}

/// Sessions that the supernode knows to stand, those that the node has, and whether it is registered.
fn stands(lab: &Lab, supernode: Place, node: Place) -> (usize, usize, bool) {
    let sessions = |place: Place| {
        let peers = lab.hosts[place].engine.peers.iter();
        let sessions = peers.flat_map(|(_, peer)| peer.sessions.iter());
        sessions.filter(|session| session.confirmed).count()
    };
    let registered = lab.hosts[node].engine.supernodes()[0].registered;
    (sessions(supernode), sessions(node), registered)
}

/// The lengths of a node's initiation, a response, a cookie, and the first sealed datagram.
fn lengths() -> [(u8, usize); 4] {
    let (mut lab, ..) = over_a_harmful_wire(u8::MAX, Harm::Nothing, true);
    let seen = std::rc::Rc::new(std::cell::RefCell::new(std::collections::BTreeMap::new()));
    let see = std::rc::Rc::clone(&seen);
    lab.wire = Box::new(move |_, _, bytes| {
        see.borrow_mut().entry(bytes[0]).or_insert(bytes.len());
        true
    });
    lab.run_seconds(1);
    let seen = seen.borrow();
    [INITIATION, RESPONSE, COOKIE, DATA].map(|kind| (kind, seen[&kind]))
}

#[test]
fn over_an_honest_wire_there_is_one_session() {
    for loaded in [false, true] {
        let (mut lab, supernode, node) = over_a_harmful_wire(u8::MAX, Harm::Nothing, loaded);
        lab.run(Duration::from_millis(500));
        assert_eq!(stands(&lab, supernode, node), (1, 1, true), "under load: {loaded}");
        let cookies = lab.hosts[node].engine.counters().cookies_received;
        assert_eq!(cookies, u64::from(loaded));
    }
    let [initiation, response, cookie, data] = lengths().map(|(_, length)| length);
    assert_eq!([initiation, response, cookie], [176, 104, 56]);
    assert!(data > 32);
}

/// Every harm of a kind that one bit or one cut can do to a datagram of `length` bytes.
fn harms(length: usize) -> impl Iterator<Item = Harm> {
    (0..length * 8).map(Harm::Flip).chain((1..length).map(Harm::Cut))
}

/// The harms to one kind that nevertheless made a session, of all.
fn that_made_a_session(kind: u8, loaded: bool) -> (Vec<String>, usize) {
    let (_, length) = lengths().into_iter().find(|(which, _)| *which == kind).unwrap();
    let mut tried = 0;
    let made = harms(length).filter(|harm| {
        tried += 1;
        let (mut lab, supernode, node) = over_a_harmful_wire(kind, *harm, loaded);
        // Long enough for the message to be sent twice.
        lab.run(Duration::from_millis(800));
        stands(&lab, supernode, node) != (0, 0, false)
    });
    let made = made.map(|harm| format!("{harm:?}")).collect();
    (made, tried)
}

#[test]
fn a_bit_turned_or_a_cut_in_an_initiation_makes_no_session() {
    let (made, tried) = that_made_a_session(INITIATION, false);
    // The second MAC means nothing to a responder that is not under load: it is no part of the handshake.
    let of_no_meaning: Vec<String> = (160 * 8..176 * 8).map(|bit| format!("{:?}", Harm::Flip(bit))).collect();
    assert_eq!(made, of_no_meaning);
    assert_eq!(tried, 176 * 8 + 175);
}

#[test]
fn a_bit_turned_or_a_cut_in_an_initiation_under_load_makes_no_session() {
    let (made, tried) = that_made_a_session(INITIATION, true);
    assert_eq!(made, Vec::<String>::new());
    assert_eq!(tried, 176 * 8 + 175);
}

#[test]
fn a_bit_turned_or_a_cut_in_a_response_makes_no_session() {
    let (made, tried) = that_made_a_session(RESPONSE, false);
    assert_eq!(made, Vec::<String>::new());
    assert_eq!(tried, 104 * 8 + 103);
}

#[test]
fn a_bit_turned_or_a_cut_in_a_cookie_makes_no_session() {
    let (made, tried) = that_made_a_session(COOKIE, true);
    assert_eq!(made, Vec::<String>::new());
    assert_eq!(tried, 56 * 8 + 55);
}

#[test]
fn a_bit_turned_or_a_cut_in_the_first_sealed_datagrams_makes_no_session() {
    let [.., (kind, length)] = lengths();
    let mut tried = 0;
    for harm in harms(length) {
        // The supernode answers nothing it cannot open, so that all sealed datagrams are the node's first ones.
        let (mut lab, supernode, node) = over_a_harmful_wire(kind, harm, false);
        lab.run(Duration::from_millis(800));
        // The node has the response, and so the keys; nobody knows of it.
        assert_eq!(stands(&lab, supernode, node), (0, 1, false), "{harm:?}");
        tried += 1;
    }
    assert_eq!(tried, length * 8 + length - 1);
}

#[test]
fn no_handshake_needs_a_clock() {
    const YEAR: u64 = 365 * 24 * 3600;
    for (supernode_years, node_years) in [(0, 20), (20, 0), (20, 20), (0, 0)] {
        // Each engine counts from an origin of its own; what one tells the other holds no time.
        let mut lab = Lab::new();
        let (supernode, node) = (lab.add(Role::Supernode), lab.add(Role::Node));
        lab.set_world(node, 1, &[supernode]);
        let origin = |years: u64| Duration::from_secs(years * YEAR);
        let mut out = crate::Outbox::default();
        let times = |now: Time| {
            [
                (supernode, now + origin(supernode_years)),
                (node, now + origin(node_years)),
            ]
        };
        for _ in 0..200 {
            lab.now += Duration::from_millis(10);
            for (place, now) in times(lab.now) {
                lab.hosts[place].engine.handle_timeout(now, &mut out);
                lab.take(place, &mut out);
            }
            for passing in std::mem::take(&mut lab.passing) {
                let Some(place) = lab.hosts.iter().position(|host| host.address == passing.to) else {
                    continue;
                };
                let (_, now) = times(lab.now)[place];
                let mut batch = crate::Batch::default();
                batch.push(passing.from, &passing.bytes);
                lab.hosts[place].engine.handle_datagrams(now, &mut batch, &mut out);
                lab.take(place, &mut out);
            }
        }
        assert_eq!(
            stands(&lab, supernode, node),
            (1, 1, true),
            "{supernode_years} and {node_years} years"
        );
    }
}

#[test]
fn a_clock_that_jumps_by_twenty_years_ends_the_session_and_the_next_stands() {
    let (mut lab, supernode, node) = over_a_harmful_wire(u8::MAX, Harm::Nothing, false);
    lab.run_seconds(1);
    assert_eq!(stands(&lab, supernode, node), (1, 1, true));
    lab.now += Duration::from_secs(20 * 365 * 24 * 3600);
    lab.run_seconds(30);
    assert_eq!(stands(&lab, supernode, node), (1, 1, true));
}
