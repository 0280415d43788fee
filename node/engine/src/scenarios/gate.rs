//! What stands before public-key work for strangers, and what a flood of initiations does.

use std::{cell::RefCell, net::SocketAddr, rc::Rc, time::Duration};

use farlan_crypto::PublicKey;

use super::{
    lab::{Lab, Place, frame, intact, link},
    stranger::{COOKIE, INITIATION, RESPONSE, address, bogus, initiation, replies, with_cookie},
};
use crate::{Role, Time, gate::INITIATION as LENGTH};

const RELAY: u8 = 4;
const RELAY_HEADER: usize = 12;

/// Puts the host at `place` under load: for a second it asks everybody for a cookie.
fn load(lab: &mut Lab, place: Place) {
    let bogus = bogus(7, &lab.key(place));
    for _ in 0..500 {
        lab.deliver(place, address(7), &bogus);
    }
    lab.settle();
    lab.passing.retain(|passing| passing.to != address(7));
}

/// How much the engine at `place` remembers of strangers: peers, handshakes it answered, initiations that wait, sources.
fn remembered(lab: &Lab, place: Place) -> [usize; 4] {
    let engine = &lab.hosts[place].engine;
    [
        engine.peers.len(),
        engine.handshakes.answered_lately(),
        engine.handshakes.queue.initiations(),
        engine.gate.remembered(),
    ]
}

fn work_done(lab: &Lab, place: Place) -> u64 {
    lab.hosts[place].engine.counters().public_key_work
}

#[test]
fn who_does_not_know_the_key_gets_no_answer_and_no_public_key_work() {
    let mut lab = Lab::new();
    let (supernode, another) = (lab.add(Role::Supernode), lab.add(Role::Supernode));
    let (key, other) = (lab.key(supernode), lab.key(another));
    let good = initiation(1, 0, &key);
    let mut tried = 0;
    // Every bit of what the MAC covers, and of the MAC itself; and a MAC for somebody else.
    for bit in 0..160 * 8 {
        let mut bent = good.clone();
        bent[bit / 8] ^= 1 << (bit % 8);
        if bent[..2] != good[..2] {
            continue;
        }
        assert_eq!(replies(&mut lab, supernode, address(1), &bent), Vec::<Vec<u8>>::new());
        tried += 1;
    }
    assert_eq!(
        replies(&mut lab, supernode, address(1), &initiation(1, 0, &other)),
        Vec::<Vec<u8>>::new()
    );
    assert_eq!(work_done(&lab, supernode), 0);
    assert_eq!(lab.hosts[supernode].engine.counters().handshakes_keyless, tried + 1);
    assert_eq!(remembered(&lab, supernode), [0; 4]);
    assert_eq!(replies(&mut lab, supernode, address(1), &good)[0][0], RESPONSE);
    assert_eq!(work_done(&lab, supernode), 1);
}

#[test]
fn a_hundred_thousand_bogus_initiations_leave_nothing_behind() {
    let mut lab = Lab::new();
    let supernode = lab.add(Role::Supernode);
    load(&mut lab, supernode);
    let (before, done) = (remembered(&lab, supernode), work_done(&lab, supernode));
    let key = lab.key(supernode);
    let bogus: Vec<Vec<u8>> = (0..100).map(|number| bogus(number, &key)).collect();
    for number in 0..100_000_u32 {
        let from = SocketAddr::from((number.to_be_bytes(), 9600));
        lab.deliver(supernode, from, &bogus[number as usize % bogus.len()]);
        if number % 1000 == 0 {
            lab.settle();
            let cookies = lab.passing.drain(..);
            assert!(
                cookies
                    .into_iter()
                    .all(|passing| passing.bytes[0] == COOKIE && passing.bytes.len() < LENGTH)
            );
        }
    }
    lab.settle();
    assert_eq!(remembered(&lab, supernode), before);
    assert_eq!(remembered(&lab, supernode), [0; 4]);
    assert_eq!(work_done(&lab, supernode), done);
}

#[test]
fn one_source_cannot_fill_the_queue() {
    let mut lab = Lab::new();
    let supernode = lab.add(Role::Supernode);
    let key = lab.key(supernode);
    for number in 0..150 {
        lab.deliver(supernode, address(1), &bogus(number, &key));
    }
    assert_eq!(lab.hosts[supernode].engine.handshakes.queue.initiations(), 8);
    // It does not keep others out, who come without being asked for a cookie.
    lab.deliver(supernode, address(2), &initiation(2, 0, &key));
    lab.settle();
    let answered = |passing: &super::lab::Passing| passing.to == address(2) && passing.bytes[0] == RESPONSE;
    assert!(lab.passing.iter().any(answered));
}

/// A cookie of the host at `place`, which is under load, for an initiation of the stranger `who`; and the initiation with it.
fn proved(lab: &mut Lab, place: Place, who: u16, try_number: u8) -> (Vec<u8>, Vec<u8>) {
    let key = lab.key(place);
    let initiation = initiation(who, try_number, &key);
    let replies = replies(lab, place, address(who), &initiation);
    let [cookie] = &replies[..] else {
        panic!("{} replies", replies.len())
    };
    assert_eq!((cookie[0], cookie.len()), (COOKIE, 56));
    let proved = with_cookie(&initiation, cookie, &key).expect("a cookie for the initiation");
    (cookie.clone(), proved)
}

#[test]
fn under_load_a_cookie_is_asked_for_and_counts_for_its_source_alone() {
    let mut lab = Lab::new();
    let supernode = lab.add(Role::Supernode);
    load(&mut lab, supernode);
    let done = work_done(&lab, supernode);
    let (_, proved) = proved(&mut lab, supernode, 1, 0);
    let mut other_port = address(1);
    other_port.set_port(9601);
    for elsewhere in [address(2), other_port] {
        let replies = replies(&mut lab, supernode, elsewhere, &proved);
        assert!(replies.iter().all(|reply| reply[0] == COOKIE), "from {elsewhere}");
        assert_eq!(replies.len(), 1);
    }
    assert_eq!(work_done(&lab, supernode), done);
    let replies = replies(&mut lab, supernode, address(1), &proved);
    assert_eq!((replies.len(), replies[0][0]), (1, RESPONSE));
    assert_eq!(work_done(&lab, supernode), done + 1);
}

#[test]
fn a_changed_second_mac_does_not_make_a_second_handshake() {
    let mut lab = Lab::new();
    let supernode = lab.add(Role::Supernode);
    let first = initiation(1, 0, &lab.key(supernode));
    let response = replies(&mut lab, supernode, address(1), &first);
    let mut other = first.clone();
    other[170] = 1;
    assert_eq!(replies(&mut lab, supernode, address(1), &other), response);
    load(&mut lab, supernode);
    let (_, proved) = proved(&mut lab, supernode, 1, 0);
    assert_eq!(replies(&mut lab, supernode, address(1), &proved), response);
    assert_eq!(lab.hosts[supernode].engine.handshakes.answered_lately(), 1);
}

#[test]
fn a_cookie_counts_for_two_changes_of_the_secret() {
    let mut lab = Lab::new();
    let supernode = lab.add(Role::Supernode);
    load(&mut lab, supernode);
    let (_, first) = proved(&mut lab, supernode, 1, 0);
    for (seconds, counts) in [(119, true), (200, true), (241, false)] {
        lab.now = Time::ZERO + Duration::from_secs(1 + seconds);
        load(&mut lab, supernode);
        let replies = replies(&mut lab, supernode, address(1), &first);
        let expected = if counts { RESPONSE } else { COOKIE };
        assert_eq!(replies[0][0], expected, "after {seconds} s");
    }
}

#[test]
fn a_proved_source_has_a_budget_of_its_own() {
    let mut lab = Lab::new();
    let supernode = lab.add(Role::Supernode);
    load(&mut lab, supernode);
    let (_, one) = proved(&mut lab, supernode, 1, 0);
    let (_, other) = proved(&mut lab, supernode, 2, 0);
    let before = lab.hosts[supernode].engine.counters();
    for _ in 0..1000 {
        let _ = replies(&mut lab, supernode, address(1), &one);
    }
    let after = lab.hosts[supernode].engine.counters();
    assert_eq!(after.public_key_work - before.public_key_work, 20);
    assert_eq!(after.handshakes_limited - before.handshakes_limited, 980);
    assert_eq!(replies(&mut lab, supernode, address(2), &other)[0][0], RESPONSE);
}

/// A node that wants to register at a supernode that asks for a cookie, its initiation, and the cookie, which was held back.
fn asked_for_a_cookie() -> (Lab, [Place; 2], Vec<u8>, Vec<u8>) {
    let mut lab = Lab::new();
    let (supernode, node) = (lab.add(Role::Supernode), lab.add(Role::Node));
    load(&mut lab, supernode);
    lab.set_world(node, 1, &[supernode]);
    lab.settle();
    let initiation = lab.passing.front().unwrap().bytes.clone();
    lab.run(Duration::from_millis(20));
    let cookie = lab.passing.pop_front().unwrap().bytes;
    assert_eq!((initiation[0], cookie[0]), (INITIATION, COOKIE));
    assert!(lab.passing.is_empty());
    (lab, [supernode, node], initiation, cookie)
}

#[test]
fn an_initiator_takes_its_own_cookies_alone() {
    let (mut lab, [supernode, node], initiation, cookie) = asked_for_a_cookie();
    let at = lab.hosts[supernode].address;
    let taken = |lab: &Lab| lab.hosts[node].engine.counters().cookies_received;
    let mut for_another = cookie.clone();
    for_another[4] ^= 1;
    let mut bent = cookie.clone();
    bent[40] ^= 1;
    // Another one of the same host, for another initiation under the same index.
    let other = {
        let mut other = bogus(0, &lab.key(supernode));
        other[4..8].copy_from_slice(&initiation[4..8]);
        other.truncate(crate::gate::AUTHENTIC);
        crate::gate::put_first_mac(&lab.key(supernode), &mut other);
        other.resize(LENGTH, 0);
        load(&mut lab, supernode);
        replies(&mut lab, supernode, address(3), &other).remove(0)
    };
    assert_eq!(other[..8], cookie[..8]);
    for (from, datagram) in [
        (address(3), &cookie),
        (at, &for_another),
        (at, &bent),
        (at, &other),
        (at, &cookie[..55].to_vec()),
    ] {
        lab.deliver(node, from, datagram);
        assert_eq!((taken(&lab), lab.passing.len()), (0, 0));
    }
    lab.deliver(node, at, &cookie);
    assert_eq!(taken(&lab), 1);
    let again = lab.passing.pop_front().unwrap();
    assert_eq!((again.to, again.bytes.len()), (at, LENGTH));
    assert_eq!(again.bytes[..160], initiation[..160]);
    assert_ne!(again.bytes[160..], [0; 16]);
    // It is no mirror: the same again makes it send nothing.
    for _ in 0..100 {
        lab.deliver(node, at, &cookie);
    }
    assert!(lab.passing.is_empty());
    lab.passing.push_back(again);
    lab.run(Duration::from_millis(100));
    assert!(lab.hosts[node].engine.supernodes()[0].registered);
}

#[test]
fn a_cookie_costs_one_round_trip_and_serves_the_handshakes_that_follow() {
    let (mut lab, [supernode, node], _, cookie) = asked_for_a_cookie();
    let at = lab.hosts[supernode].address;
    // Nothing that the node sends arrives until it has begun anew.
    lab.wire = Box::new(move |_, to, _| to != supernode);
    lab.deliver(node, at, &cookie);
    lab.run_seconds(6);
    assert!(lab.hosts[node].engine.counters().handshakes_begun >= 2);
    lab.wire = intact();
    load(&mut lab, supernode);
    let before = lab.hosts[supernode].engine.counters().handshakes_unproved;
    let begun = lab.now;
    while !lab.hosts[node].engine.supernodes()[0].registered {
        load(&mut lab, supernode);
        lab.run(Duration::from_millis(100));
        assert!(lab.now.since(begun) < Duration::from_secs(6));
    }
    let after = lab.hosts[supernode].engine.counters().handshakes_unproved;
    // All of them were given to `load`.
    let loads = 500 * (lab.now.since(begun).as_millis() / 100);
    assert_eq!(u128::from(after - before), loads);
}

#[test]
fn a_hidden_node_gives_no_cookie_to_what_came_straight() {
    let (mut lab, [_, a, b]) = Lab::with_two_nodes();
    let (a1, b1) = (lab.join(a, &link(1)), lab.join(b, &link(1)));
    lab.hosts[b].engine.set_hide_address(true);
    lab.run_seconds(3);
    load(&mut lab, b);
    let before = lab.hosts[b].engine.counters().handshakes_unproved;
    let key = lab.key(b);
    assert_eq!(
        replies(&mut lab, b, address(1), &initiation(1, 0, &key)),
        Vec::<Vec<u8>>::new()
    );
    assert_eq!(lab.hosts[b].engine.counters().handshakes_unproved, before + 1);
    // Nor does it tell its version there.
    let mut other_version = initiation(1, 0, &key);
    other_version[1] = 2;
    assert_eq!(replies(&mut lab, b, address(1), &other_version), Vec::<Vec<u8>>::new());
    // Friends come over the relay, and show there where they are.
    let first = frame(lab.mac(b, b1), lab.mac(a, a1), 1);
    lab.send(a, a1, &first);
    lab.run_seconds(1);
    assert_eq!(lab.received(b, b1, &first), 1);
    assert_eq!(lab.hosts[a].engine.counters().cookies_received, 1);
}

#[test]
fn a_node_under_load_is_reached_over_the_relay_and_the_cookie_counts_for_the_index_there() {
    let (mut lab, [supernode, a, b]) = Lab::with_two_nodes();
    let (a1, b1) = (lab.join(a, &link(1)), lab.join(b, &link(1)));
    lab.run_seconds(3);
    load(&mut lab, b);
    let proved = Rc::new(RefCell::new(Vec::new()));
    let see = Rc::clone(&proved);
    lab.wire = Box::new(move |_, to, bytes| {
        let inner = bytes.get(RELAY_HEADER..).filter(|_| to == b && bytes[0] == RELAY);
        if let Some(inner) = inner.filter(|inner| inner[0] == INITIATION && inner[160..] != [0; 16]) {
            see.borrow_mut().push((bytes[..RELAY_HEADER].to_vec(), inner.to_vec()));
        }
        true
    });
    let first = frame(lab.mac(b, b1), lab.mac(a, a1), 1);
    lab.send(a, a1, &first);
    lab.run_seconds(1);
    assert_eq!(lab.received(b, b1, &first), 1);
    assert_eq!(lab.hosts[a].engine.counters().cookies_received, 1);
    let (header, inner) = proved.borrow()[0].clone();
    // The same from another index is asked for another cookie.
    load(&mut lab, b);
    let (at, done) = (lab.hosts[supernode].address, work_done(&lab, b));
    let unproved = lab.hosts[b].engine.counters().handshakes_unproved;
    let mut from_elsewhere = [header.clone(), inner.clone()].concat();
    from_elsewhere[11] ^= 1;
    lab.deliver(b, at, &from_elsewhere);
    lab.settle();
    assert_eq!(work_done(&lab, b), done);
    assert_eq!(lab.hosts[b].engine.counters().handshakes_unproved, unproved + 1);
    // And straight from the node itself.
    let straight = lab.hosts[a].address;
    lab.deliver(b, straight, &inner);
    lab.settle();
    assert_eq!(work_done(&lab, b), done);
    lab.deliver(b, at, &[header, inner].concat());
    lab.settle();
    assert_eq!(work_done(&lab, b), done + 1);
}

#[test]
fn keys_are_renewed_under_load_and_no_frame_is_lost() {
    let (mut lab, [supernode, a, b]) = Lab::with_two_nodes();
    let (a1, b1) = (lab.join(a, &link(1)), lab.join(b, &link(1)));
    lab.run_seconds(3);
    let frame = frame(lab.mac(b, b1), lab.mac(a, a1), 1);
    let before = lab.handshakes_begun();
    let mut sent = 0;
    for number in 0..1300 {
        if number % 9 == 0 {
            load(&mut lab, b);
            load(&mut lab, supernode);
        }
        lab.send(a, a1, &frame);
        sent += 1;
        lab.run(Duration::from_millis(100));
    }
    assert_eq!(lab.received(b, b1, &frame), sent);
    assert_eq!(lab.handshakes_begun() - before, 2, "first contact and one renewal");
    assert_eq!(lab.hosts[a].engine.counters().cookies_received, 2, "one for each");
}

#[test]
fn forged_responses_to_one_handshake_cost_little_and_keep_no_other_out() {
    let mut lab = Lab::new();
    let supernodes = [lab.add(Role::Supernode), lab.add(Role::Supernode)];
    let node = lab.add(Role::Node);
    lab.set_world(node, 1, &supernodes);
    lab.settle();
    let initiations: Vec<(SocketAddr, Vec<u8>)> = lab
        .passing
        .iter()
        .map(|passing| (passing.to, passing.bytes.clone()))
        .collect();
    assert_eq!(initiations.len(), 2);
    let victim = &initiations
        .iter()
        .find(|(to, _)| *to == lab.hosts[supernodes[0]].address)
        .unwrap()
        .1;
    let before = work_done(&lab, node);
    // A response as somebody would forge it who saw the initiation.
    let mut forged = vec![0x5a; 104];
    forged[..4].copy_from_slice(&[RESPONSE, 1, 0, 0]);
    forged[4..8].copy_from_slice(&victim[4..8]);
    let at = lab.hosts[supernodes[0]].address;
    for _ in 0..1000 {
        for _ in 0..10 {
            lab.deliver(node, at, &forged);
        }
        lab.settle();
    }
    assert_eq!(work_done(&lab, node) - before, 8);
    // The other handshake is done, and this one is when the forger is gone.
    lab.run_seconds(3);
    let registered = lab.hosts[node].engine.supernodes();
    assert!(
        registered
            .iter()
            .all(|supernode| supernode.registered || supernode.rtt.is_some())
    );
    assert_eq!(lab.hosts[node].engine.counters().handshakes_done, 2);
}

/// What a flood is made of.
#[derive(Clone, Copy, Debug)]
enum Flood {
    /// By somebody who does not know the key.
    Keyless,
    /// With the right first MAC, from sources that are not his.
    ForgedSources,
    /// The same with a second MAC that means nothing.
    ForgedSourcesWithMac,
    /// With the right first MAC, all from one source.
    OneSource,
    /// The same, proved by a cookie.
    OneProvedSource,
}

/// Datagrams in a turn of the shell, and the turns in a second at which they are 100,000: so many pieces of work at the most.
const PER_TURN: usize = 64;
const TURN: Duration = Duration::from_micros(640);

/// The flood on the host with `key`: the datagrams of the turn `number`, and their sources.
fn of_turn(kind: Flood, number: u32, pool: &[Vec<u8>]) -> Vec<(SocketAddr, &[u8])> {
    let datagram = |index: u32| {
        let number = number * 64 + index;
        let from = match kind {
            Flood::OneSource | Flood::OneProvedSource => address(9),
            // Spread over all addresses.
            _ => SocketAddr::from((number.wrapping_mul(0x9e37_79b1).to_be_bytes(), 9600)),
        };
        (from, &pool[number as usize % pool.len()][..])
    };
    (0..u32::try_from(PER_TURN).unwrap()).map(datagram).collect()
}

fn pool(kind: Flood, lab: &mut Lab, place: Place, key: &PublicKey) -> Vec<Vec<u8>> {
    let good = (0..200).map(|number| bogus(number, key));
    match kind {
        Flood::Keyless => good
            .map(|mut bogus| {
                bogus[150] ^= 1;
                bogus
            })
            .collect(),
        Flood::ForgedSourcesWithMac => good
            .map(|mut bogus| {
                bogus[170] ^= 1;
                bogus
            })
            .collect(),
        Flood::ForgedSources | Flood::OneSource => good.collect(),
        Flood::OneProvedSource => good
            .map(|bogus| {
                // Answered at once, so that nothing of other hosts is touched.
                lab.passing.retain(|passing| passing.to != address(9));
                lab.deliver(place, address(9), &bogus);
                let cookie = lab.passing.iter().rfind(|passing| passing.to == address(9));
                with_cookie(&bogus, &cookie.expect("a cookie").bytes, key).expect("a cookie for the initiation")
            })
            .collect(),
    }
}

#[test]
fn a_flood_of_initiations_takes_nothing_from_flows_and_lets_newcomers_in() {
    let (mut lab, [supernode, a, b]) = Lab::with_two_nodes();
    let (a1, b1) = (lab.join(a, &link(1)), lab.join(b, &link(1)));
    lab.run_seconds(3);
    let frame = frame(lab.mac(b, b1), lab.mac(a, a1), 1);
    lab.send(a, a1, &frame);
    lab.run_seconds(1);
    let key = lab.key(supernode);
    let (mut sent, mut flooded) = (1, 0);
    let mut number = 0;
    // Two seconds of each, one after the other.
    let kinds = [
        Flood::Keyless,
        Flood::ForgedSources,
        Flood::OneSource,
        Flood::OneProvedSource,
        Flood::ForgedSourcesWithMac,
    ];
    for kind in kinds {
        let pool = pool(kind, &mut lab, supernode, &key);
        let (begun, done) = (lab.now, work_done(&lab, supernode));
        let before = remembered(&lab, supernode);
        let mut newcomers: Vec<(Place, Time, Option<Duration>)> = Vec::new();
        while lab.now.since(begun) < Duration::from_secs(2) {
            // One comes when the flood begins, the others when it has gone on for a while.
            if newcomers.len() < 4
                && lab.now.since(begun) >= Duration::from_millis(250) * u32::try_from(newcomers.len()).unwrap()
            {
                let newcomer = lab.add(Role::Node);
                lab.set_world(newcomer, 1, &[supernode]);
                newcomers.push((newcomer, lab.now, None));
            }
            let flood = of_turn(kind, number, &pool);
            lab.run_one_turn(TURN, supernode, &flood);
            lab.send(a, a1, &frame);
            (number, flooded, sent) = (number + 1, flooded + flood.len(), sent + 1);
            for (newcomer, since, took) in &mut newcomers {
                if took.is_none() && lab.hosts[*newcomer].engine.supernodes()[0].registered {
                    *took = Some(lab.now.since(*since));
                }
            }
        }
        let took: Vec<Option<Duration>> = newcomers.iter().map(|(.., took)| *took).collect();
        let done = work_done(&lab, supernode) - done;
        println!("{kind:?}: registered after {took:?}; {done} pieces of public-key work");
        let soon = |took: &Option<Duration>| took.is_some_and(|took| took < Duration::from_secs(1));
        assert!(took.len() == 4 && took.iter().all(soon), "{kind:?}: {took:?}");
        // Those that came before they had to be asked for cookies, the newcomers', and 20 a second of one source.
        assert!(done <= 300, "{kind:?}: {done}");
        let [peers, .., sources] = remembered(&lab, supernode);
        assert!(peers <= before[0] + newcomers.len(), "{kind:?}");
        assert!(sources <= lab.hosts.len(), "{kind:?}: {sources}");
    }
    assert!(flooded >= 990_000, "{flooded}");
    lab.run_seconds(1);
    assert_eq!(lab.received(b, b1, &frame), sent);
}
