//! What a card gets and what it does not.

use std::{net::Ipv4Addr, time::Duration};

use farlan_netconf::Mac;

use super::lab::{Lab, cut, frame, intact, link, name, udp};

#[test]
fn nothing_of_strangers_passes_behind_tags() {
    let (mut lab, [_, a, b]) = Lab::with_two_nodes();
    let (a1, b1) = (lab.join(a, &name()), lab.join(b, &name()));
    lab.open_all(b, b1);
    lab.run_seconds(3);
    let (to, from) = (lab.mac(b, b1), lab.mac(a, a1));
    let own = lab.status(a, a1).ipv4.unwrap();
    let there = lab.status(b, b1).ipv4.unwrap();
    let foreign = Ipv4Addr::new(10, 64, 66, 66);
    for (tags, source, passes) in [
        (0, own, 1),
        (0, foreign, 0),
        (1, own, 0),
        (1, foreign, 0),
        (3, own, 0),
        (6, own, 0),
    ] {
        let frame = udp(to, from, tags, [source, there]);
        lab.send(a, a1, &frame);
        lab.run_seconds(1);
        assert_eq!(lab.received(b, b1, &frame), passes, "{tags} tags");
    }
}

/// How often a broadcast arrives that is sent when the other member cannot be reached for `gap`, and how many copies
/// its origin has given up.
fn broadcast_over_a_gap(gap: Duration) -> (usize, u64) {
    let (mut lab, [supernode, a, b]) = Lab::with_two_nodes();
    let (a1, b1) = (lab.join(a, &link(1)), lab.join(b, &link(1)));
    lab.run_seconds(3);
    let frame = frame(Mac::BROADCAST, lab.mac(a, a1), 1);
    lab.wire = cut(supernode, b);
    lab.send(a, a1, &frame);
    lab.run(gap);
    lab.wire = intact();
    lab.run_seconds(10);
    let lost = lab.hosts[a].engine.counters().group_copies_lost;
    (lab.received(b, b1, &frame), lost)
}

#[test]
fn a_group_frame_waits_for_a_session_for_five_seconds() {
    assert_eq!(broadcast_over_a_gap(Duration::from_millis(3500)), (1, 0));
    assert_eq!(broadcast_over_a_gap(Duration::from_millis(5100)), (0, 1));
}

#[test]
fn a_group_frame_is_sent_again_for_no_more_than_five_seconds() {
    let (mut lab, [supernode, a, b]) = Lab::with_two_nodes();
    let (a1, b1) = (lab.join(a, &link(1)), lab.join(b, &link(1)));
    lab.run_seconds(3);
    let first = frame(Mac::BROADCAST, lab.mac(a, a1), 1);
    lab.send(a, a1, &first);
    lab.run_seconds(1);
    assert_eq!(lab.received(b, b1, &first), 1);
    // Once the round trip is long, the pauses are: the fifth try would fall behind the five seconds.
    let id = lab.peer_id(a, &lab.key(b));
    let engine = &mut lab.hosts[a].engine;
    engine.peers.get_mut(id).unwrap().rtt = Some(Duration::from_millis(400));
    let resent = engine.counters().group_copies_resent;
    let second = frame(Mac::BROADCAST, lab.mac(a, a1), 2);
    lab.wire = cut(supernode, b);
    lab.send(a, a1, &second);
    lab.run_seconds(9);
    lab.wire = intact();
    lab.run_seconds(5);
    let counters = lab.hosts[a].engine.counters();
    assert_eq!(lab.received(b, b1, &second), 0);
    assert_eq!(counters.group_copies_lost, 1);
    assert_eq!(counters.group_copies_resent - resent, 3, "after 0.65, 1.95 and 4.55 s");
}
