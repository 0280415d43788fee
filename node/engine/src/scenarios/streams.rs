//! Streams: UDP to a supernode is blocked or starved, and works again.

use std::{cell::Cell, net::SocketAddr, rc::Rc, time::Duration};

use super::lab::{DELAY, Lab, Place, Wire, frame, intact, link, tcp, world_id};
use crate::{
    Batch, Event, Leg, NetworkHandle, Outbox, PathKind, PeerStatus, Received, Role, Socket, SupernodeStatus, Time,
    peers::Path, wire::control::Control,
};

/// What the wire does with UDP between nodes and supernodes; it can be changed while it is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Udp {
    Open,
    /// Nothing passes to or from this host.
    Blocked(Place),
    /// Nothing comes from this host.
    Mute(Place),
    /// Nothing reaches this host.
    Deaf(Place),
    /// Nothing passes at all.
    AllBlocked,
    /// Of each hundred datagrams so many are lost.
    Loses(u64),
}

struct Pair {
    lab: Lab,
    supernode: Place,
    nodes: [Place; 2],
    networks: [NetworkHandle; 2],
    udp: Rc<Cell<Udp>>,
}

impl Pair {
    /// Two nodes that are in one network since now.
    fn new(udp: Udp) -> Self {
        Self::with(udp, false)
    }

    fn with(udp: Udp, open: bool) -> Self {
        let mut lab = Lab::new();
        lab.tcp = true;
        lab.open = open;
        let supernode = lab.add(Role::Supernode);
        let nodes = [lab.add(Role::Node), lab.add(Role::Node)];
        for (place, last) in [(supernode, 1), (nodes[0], 2), (nodes[1], 3)] {
            lab.hosts[place].address = SocketAddr::from(([203, 0, 113, last], 9600));
        }
        let udp = Rc::new(Cell::new(udp));
        lab.wire = wire(Rc::clone(&udp), supernode);
        for place in [supernode, nodes[0], nodes[1]] {
            lab.set_world(place, 1, &[supernode]);
        }
        let networks = nodes.map(|node| lab.join(node, &link(1)));
        Self {
            lab,
            supernode,
            nodes,
            networks,
            udp,
        }
    }

    /// Sends frames both ways every 100 ms; returns how many of how many came, and the longest time without one, from
    /// the beginning and at the end too.
    fn talk(&mut self, time: Duration) -> (usize, usize, Duration) {
        let ([a, b], [a1, b1]) = (self.nodes, self.networks);
        let (there, back) = (
            frame(self.lab.mac(b, b1), self.lab.mac(a, a1), 1),
            frame(self.lab.mac(a, a1), self.lab.mac(b, b1), 2),
        );
        let lab = &mut self.lab;
        let received = |lab: &Lab| [lab.received(b, b1, &there), lab.received(a, a1, &back)];
        let (before, mut count) = (received(lab), received(lab));
        let (mut gap, mut last, mut sent) = (Duration::ZERO, [lab.now; 2], 0);
        let end = lab.now + time;
        while lab.now < end {
            lab.send(a, a1, &there);
            lab.send(b, b1, &back);
            sent += 2;
            lab.run(Duration::from_millis(100));
            let new = received(lab);
            for way in 0..2 {
                if new[way] > count[way] {
                    last[way] = lab.now;
                }
                gap = gap.max(lab.now.since(last[way]));
            }
            count = new;
        }
        let came = count.iter().sum::<usize>() - before.iter().sum::<usize>();
        (came, sent, gap)
    }

    fn supernode_of(&self, node: Place) -> SupernodeStatus {
        self.lab.hosts[self.nodes[node]].engine.supernodes()[0].clone()
    }

    fn over_tcp(&self) -> [bool; 2] {
        [0, 1].map(|node| self.supernode_of(node).tcp)
    }

    fn peer_of(&self, node: Place) -> PeerStatus {
        let peers = self.lab.hosts[self.nodes[node]].engine.peers(self.lab.now);
        peers.into_iter().next().unwrap()
    }

    /// How often a path was left for the relay.
    fn relayed(&self) -> usize {
        let events = self.lab.hosts.iter().flat_map(|host| &host.events);
        let relay = |event: &&Event| {
            matches!(
                event,
                Event::PathChanged {
                    path: PathKind::Relay,
                    ..
                }
            )
        };
        events.filter(relay).count()
    }

    /// Lets time pass until the ways to the supernode are these.
    fn wait_for(&mut self, over_tcp: [bool; 2], most: Duration) -> Duration {
        let start: Time = self.lab.now;
        while self.over_tcp() != over_tcp || ![0, 1].iter().all(|node| self.supernode_of(*node).registered) {
            self.lab.run(Duration::from_millis(50));
            let waited = self.lab.now.since(start);
            assert!(waited < most, "{:?} after {waited:?}", self.over_tcp());
        }
        self.lab.now.since(start)
    }
}

fn wire(udp: Rc<Cell<Udp>>, supernode: Place) -> Wire {
    let mut state = 1_u64;
    Box::new(move |from, to, _| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let straight = from != supernode && to != supernode;
        match udp.get() {
            Udp::Open => true,
            Udp::Blocked(host) => from != host && to != host,
            Udp::Mute(host) => from != host,
            Udp::Deaf(host) => to != host,
            Udp::AllBlocked => false,
            Udp::Loses(share) => straight || (state >> 33) % 100 >= share,
        }
    })
}

const LONG: Duration = Duration::from_secs(30);

#[test]
fn where_udp_is_blocked_from_the_start_frames_pass_over_tcp_within_three_seconds() {
    for udp in [Udp::Blocked(1), Udp::AllBlocked] {
        let mut pair = Pair::new(udp);
        let (_, _, gap) = pair.talk(Duration::from_secs(10));
        assert!(gap < Duration::from_secs(3), "{udp:?}: {gap:?}");
        assert_eq!(pair.over_tcp(), [true, udp == Udp::AllBlocked]);
        assert_eq!(
            pair.supernode_of(0).address,
            Some(tcp(pair.lab.hosts[pair.supernode].address))
        );
        let peer = pair.peer_of(0);
        assert_eq!((peer.path, peer.tcp), (Some(PathKind::Relay), true));
        assert_eq!(pair.peer_of(1).tcp, udp == Udp::AllBlocked);
        let (came, sent, _) = pair.talk(LONG);
        assert_eq!(came, sent);
    }
}

#[test]
fn the_way_leads_over_udp_again_within_a_minute_after_it_works_and_the_stream_is_closed() {
    // Whenever it begins to work, seen from the tries.
    for second in [6, 8, 11, 14, 17, 20] {
        let mut pair = Pair::new(Udp::AllBlocked);
        pair.talk(Duration::from_secs(second));
        assert_eq!(pair.over_tcp(), [true; 2]);
        pair.udp.set(Udp::Open);
        let back = pair.wait_for([false; 2], Duration::from_secs(60));
        assert!(
            back > Duration::from_secs(5),
            "what works for a moment only is not taken: {back:?}"
        );
        let (came, sent, _) = pair.talk(LONG);
        assert_eq!(came, sent);
        let open = [0, 1, 2].map(|place| pair.lab.open_streams(place));
        assert_eq!(open, [0; 3]);
    }
}

#[test]
fn nothing_is_lost_on_the_way_back_to_udp() {
    let mut pair = Pair::new(Udp::AllBlocked);
    pair.talk(Duration::from_secs(10));
    pair.udp.set(Udp::Open);
    let (came, sent, _) = pair.talk(Duration::from_secs(60));
    assert_eq!(pair.over_tcp(), [false; 2]);
    assert!(sent - came <= 2, "{came} of {sent}");
}

/// What the other end sends over the supernode reaches who can say nothing any more, and must not pass for an answer.
#[test]
fn a_block_of_one_direction_in_mid_traffic_is_over_within_three_seconds() {
    for (udp, open) in [Udp::Mute(1), Udp::Deaf(1)]
        .into_iter()
        .flat_map(|udp| [(udp, false), (udp, true)])
    {
        let mut pair = Pair::with(Udp::Open, open);
        pair.talk(Duration::from_secs(10));
        let path = pair.peer_of(0).path;
        assert_eq!(path == Some(PathKind::Relay), !open, "{path:?}");
        pair.udp.set(udp);
        let (_, _, gap) = pair.talk(Duration::from_secs(10));
        assert!(gap < Duration::from_secs(3), "{udp:?}, {path:?}: {gap:?}");
        assert_eq!(pair.over_tcp(), [true, false], "{udp:?}, {path:?}");
        let (came, sent, _) = pair.talk(LONG);
        assert_eq!(came, sent, "{udp:?}, {path:?}");
    }
}

#[test]
fn a_block_in_mid_traffic_is_over_within_three_seconds_without_a_new_session() {
    for idle in [false, true] {
        let mut pair = Pair::new(Udp::Open);
        pair.talk(Duration::from_secs(10));
        assert_eq!(pair.over_tcp(), [false; 2]);
        let handshakes = pair.lab.handshakes_begun();
        pair.udp.set(Udp::AllBlocked);
        if idle {
            // Its keep-alive shows it to a node that says nothing.
            pair.wait_for([true; 2], LONG);
        }
        let (_, _, gap) = pair.talk(Duration::from_secs(10));
        assert!(gap < Duration::from_secs(3), "{gap:?}");
        assert_eq!(pair.over_tcp(), [true; 2]);
        // Those of the peers towards each other are others.
        assert!(pair.lab.handshakes_begun() - handshakes <= 4);
        assert_eq!(pair.lab.hosts[pair.supernode].engine.anchor().registrations, 2);
    }
}

#[test]
fn udp_that_loses_most_is_left_and_one_that_loses_little_is_not() {
    let mut pair = Pair::new(Udp::Open);
    pair.talk(Duration::from_secs(10));
    pair.udp.set(Udp::Loses(60));
    // It is noticed at a sign of life that is not answered at once, of which there is one in 25 s, and measured for 10 s.
    for _ in 0..40 {
        pair.talk(Duration::from_secs(3));
        if pair.over_tcp() == [true; 2] {
            break;
        }
    }
    assert_eq!(pair.over_tcp(), [true; 2]);
    // There it stays.
    let mut left = 0;
    for _ in 0..100 {
        pair.talk(Duration::from_secs(3));
        left += pair.over_tcp().iter().filter(|tcp| !**tcp).count();
    }
    assert!(left <= 10, "{left} of 200");
    pair.udp.set(Udp::Open);
    pair.wait_for([false; 2], Duration::from_secs(60));

    pair.udp.set(Udp::Loses(10));
    let mut over = 0;
    for _ in 0..100 {
        pair.talk(Duration::from_secs(3));
        over += pair.over_tcp().iter().filter(|tcp| **tcp).count();
    }
    assert!(over <= 20, "{over} of 200");
}

#[test]
fn a_direct_path_goes_on_whatever_the_way_to_the_supernode_is() {
    let mut pair = Pair::with(Udp::Open, true);
    pair.talk(Duration::from_secs(5));
    assert_eq!(pair.peer_of(0).path, Some(PathKind::Direct));
    // What goes between the nodes is none of the supernode's.
    let before = pair.relayed();
    pair.udp.set(Udp::Loses(100));
    let (came, sent, _) = pair.talk(Duration::from_secs(60));
    assert_eq!(came, sent);
    assert_eq!(pair.over_tcp(), [true; 2]);
    assert_eq!(pair.relayed(), before, "neither end left it, were it for a moment");
    let peer = pair.peer_of(0);
    assert_eq!((peer.path, peer.tcp), (Some(PathKind::Direct), false));
    // And when it dies as well, there is the relay.
    pair.udp.set(Udp::AllBlocked);
    let (_, _, gap) = pair.talk(Duration::from_secs(10));
    assert!(gap < Duration::from_secs(3), "{gap:?}");
    assert_eq!(
        (pair.peer_of(0).path, pair.peer_of(0).tcp),
        (Some(PathKind::Relay), true)
    );
}

#[test]
fn the_endpoint_of_a_stream_is_never_told_as_one_of_udp() {
    let mut pair = Pair::with(Udp::AllBlocked, true);
    pair.talk(Duration::from_secs(30));
    let straight: Vec<SocketAddr> = pair.lab.straight.iter().map(|straight| straight.to).collect();
    let streams = |address: &&SocketAddr| address.port() == 4_000 || address.port() == 443;
    assert_eq!(straight.iter().find(streams), None);
    // Once a probe comes through, others are told what it shows.
    pair.udp.set(Udp::Open);
    pair.talk(Duration::from_secs(60));
    assert_eq!(pair.peer_of(0).path, Some(PathKind::Direct));
}

#[test]
fn a_stream_is_no_direct_way_to_anybody_but_the_supernode_at_its_end() {
    let mut pair = Pair::new(Udp::AllBlocked);
    pair.talk(Duration::from_secs(10));
    // A supernode takes its own header off and hands on what a peer sealed as if it had come straight.
    let node = pair.nodes[0];
    let key = pair.lab.key(pair.nodes[1]);
    let to_node = pair.lab.key(node);
    let from = pair.lab.peer_id(pair.nodes[1], &to_node);
    let leg = match pair.lab.peer(node, &pair.lab.key(pair.supernode)).path {
        Some(Path::Direct(leg)) => leg,
        other => panic!("{other:?}"),
    };
    assert!(leg.is_stream());
    let before = pair.lab.hosts[node].engine.counters().foreign_stream;
    for _ in 0..5 {
        let mut out = Outbox::default();
        let now = pair.lab.now;
        pair.lab.hosts[pair.nodes[1]]
            .engine
            .send_control(now, from, None, &[Control::Ping { token: 7 }], &mut out);
        let mut batch: Batch<Received> = Batch::default();
        for (_, bytes) in out.datagrams.iter() {
            // Without the header of the relay.
            batch.push(leg, &bytes[12..]);
        }
        let mut answers = Outbox::default();
        pair.lab.hosts[node]
            .engine
            .handle_datagrams(now, &mut batch, &mut answers);
        let by_stream = answers
            .datagrams
            .iter()
            .filter(|(transmit, _)| transmit.destination == leg);
        assert_eq!(by_stream.count(), 0);
    }
    pair.lab.run_seconds(5);
    assert_eq!(pair.lab.hosts[node].engine.counters().foreign_stream, before + 5);
    assert!(!pair.lab.peer(node, &key).direct.has(leg));
}

#[test]
fn a_stream_that_ends_while_it_is_in_use_is_made_anew() {
    let mut pair = Pair::new(Udp::AllBlocked);
    pair.talk(Duration::from_secs(20));
    let node = pair.nodes[0];
    pair.lab.end_streams(node);
    let (_, _, gap) = pair.talk(Duration::from_secs(10));
    assert!(gap < Duration::from_secs(2), "{gap:?}");
    assert_eq!(pair.over_tcp(), [true; 2]);
    // The supernode begins anew.
    let supernode = pair.supernode;
    pair.lab.restart(supernode);
    pair.lab.set_world(supernode, 1, &[supernode]);
    let (_, _, gap) = pair.talk(LONG);
    assert!(gap < Duration::from_secs(8), "{gap:?}");
    assert_eq!(pair.over_tcp(), [true; 2]);
}

#[test]
fn where_tcp_is_blocked_too_both_are_tried_without_end_and_without_haste() {
    let mut pair = Pair::new(Udp::AllBlocked);
    pair.lab.tcp = false;
    let mut asked = 0;
    for _ in 0..600 {
        pair.lab.run_seconds(1);
        let stream = &pair.lab.hosts[pair.nodes[0]].engine.streams;
        asked = asked.max(stream.asked());
    }
    assert!((10..=60).contains(&asked), "{asked}");
    pair.lab.tcp = true;
    pair.wait_for([true; 2], Duration::from_secs(40));
}

#[test]
fn a_supernode_closes_what_nobody_proves_to_be_at_the_end_of() {
    let mut lab = Lab::new();
    let supernode = lab.add(Role::Supernode);
    let stream = Leg {
        socket: Socket::Stream(7),
        endpoint: SocketAddr::from(([203, 0, 113, 9], 4_000)),
    };
    lab.hosts[supernode].engine.stream_opened(lab.now, 7);
    let mut closed = None;
    for second in 0..60 {
        let mut out = Outbox::default();
        let mut batch: Batch<Received> = Batch::default();
        batch.push(stream, &[3; 100]);
        lab.hosts[supernode]
            .engine
            .handle_datagrams(lab.now, &mut batch, &mut out);
        lab.hosts[supernode].engine.handle_timeout(lab.now, &mut out);
        if out.closed.contains(&Socket::Stream(7)) {
            closed = closed.or(Some(second));
        }
        lab.now += Duration::from_secs(1);
    }
    assert!(closed.is_some_and(|second| (15..=20).contains(&second)), "{closed:?}");
}

#[test]
fn a_stream_is_proved_by_what_a_node_says_and_told_once() {
    let mut pair = Pair::new(Udp::AllBlocked);
    pair.talk(Duration::from_secs(5));
    pair.lab.run_seconds(60);
    let proved = pair.lab.proved.clone();
    let streams: std::collections::BTreeSet<_> = proved.iter().collect();
    assert_eq!((streams.len(), proved.len()), (2, 2), "{proved:?}");
}

#[test]
fn a_world_that_is_left_takes_its_streams_along() {
    let mut pair = Pair::new(Udp::AllBlocked);
    pair.talk(Duration::from_secs(5));
    let (node, network) = (pair.nodes[0], pair.networks[0]);
    assert_eq!(pair.lab.open_streams(node), 1);
    pair.lab.leave(node, network);
    let now = pair.lab.now;
    pair.lab.hosts[node].engine.remove_world(now, world_id(1));
    pair.lab.run_seconds(1);
    assert_eq!(pair.lab.open_streams(node), 0);
}

#[test]
fn no_more_than_forty_way_probes_of_one_node_are_answered_in_a_minute() {
    let mut pair = Pair::new(Udp::Open);
    pair.talk(Duration::from_secs(5));
    let (node, supernode) = (pair.nodes[0], pair.supernode);
    let key = pair.lab.key(supernode);
    let limited = |pair: &Pair| pair.lab.hosts[supernode].engine.counters().way_probes_limited;
    for minute in 0..2 {
        let before = limited(&pair);
        pair.lab.log = Some(Vec::new());
        for token in 0..200 {
            pair.lab.tell(node, &key, Control::WayProbe { token });
            pair.lab.run(Duration::from_millis(5));
        }
        pair.lab.run_seconds(1);
        let to = pair.lab.hosts[node].address;
        let log = pair.lab.log.take().unwrap();
        let answers = log
            .iter()
            .filter(|sent| sent.from == supernode && sent.to == to)
            .count();
        // Beside them there are frames of the directory and signs of life; in a second or two one more falls due.
        assert!((40..=46).contains(&answers), "{minute}: {answers}");
        assert!((158..=160).contains(&(limited(&pair) - before)), "{minute}");
        pair.lab.run_seconds(60);
    }
}

#[test]
fn with_udp_open_nothing_goes_over_tcp() {
    let mut pair = Pair::new(Udp::Open);
    assert!(pair.lab.passing.is_empty() && DELAY > Duration::ZERO);
    pair.talk(Duration::from_secs(120));
    assert_eq!(pair.lab.hosts[pair.nodes[0]].engine.streams.asked(), 0);
    pair.lab.wire = intact();
}
