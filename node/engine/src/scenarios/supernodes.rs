//! Several supernodes: home and second, what happens when they die and come back, records and relays in larger worlds.

use std::{cell::Cell, net::SocketAddr, rc::Rc, time::Duration};

use farlan_crypto::{Identity, Seed, Work};
use farlan_netconf::{Supernode, World};

use super::lab::{Lab, Place, Wire, cut, frame, intact, link, world_id};
use crate::{
    Anchor, Event, Join, NetworkHandle, Outbox, Role, Time,
    peers::Path,
    wire::datagram::SessionIndex,
    wire::datagram::{RelayIndex, RelayTarget, SupernodeTag, Unknown, passed_header, put_data, put_hint, put_relay},
};

/// Two nodes that spoke to each other, and the supernodes of their world.
struct Pair {
    lab: Lab,
    supernodes: Vec<Place>,
    nodes: [Place; 2],
    networks: [NetworkHandle; 2],
}

impl Pair {
    fn new(supernodes: usize) -> Self {
        let mut lab = Lab::new();
        let supernodes: Vec<_> = (0..supernodes).map(|_| lab.add(Role::Supernode)).collect();
        let nodes = [(); 2].map(|()| lab.add(Role::Node));
        Self::of(lab, supernodes, nodes)
    }

    /// Two nodes on a wire that is as it is.
    fn of(mut lab: Lab, supernodes: Vec<Place>, nodes: [Place; 2]) -> Self {
        for host in supernodes.iter().chain(&nodes) {
            lab.set_world(*host, 1, &supernodes);
        }
        let networks = nodes.map(|node| lab.join(node, &link(1)));
        lab.run_seconds(4);
        let mut pair = Self {
            lab,
            supernodes,
            nodes,
            networks,
        };
        assert!(pair.gap(Duration::from_secs(3)) < Duration::from_secs(1));
        pair
    }

    fn home(&self, node: Place) -> Place {
        let status = self.lab.hosts[node].engine.supernodes();
        let home = status.iter().find(|supernode| supernode.home).unwrap().node;
        let found = self
            .supernodes
            .iter()
            .find(|place| self.lab.key(**place).node_id() == home);
        *found.unwrap()
    }

    /// Sends frames both ways every 100 ms and returns the longest time without one, at the end too.
    fn gap(&mut self, time: Duration) -> Duration {
        let lab = &mut self.lab;
        let ([a, b], [a1, b1]) = (self.nodes, self.networks);
        let there = frame(lab.mac(b, b1), lab.mac(a, a1), 1);
        let back = frame(lab.mac(a, a1), lab.mac(b, b1), 2);
        let mut gap = Duration::ZERO;
        let mut last = [lab.now; 2];
        let end = lab.now + time;
        let received = |lab: &Lab| [lab.received(b, b1, &there), lab.received(a, a1, &back)];
        let mut count = received(lab);
        while lab.now < end {
            lab.send(a, a1, &there);
            lab.send(b, b1, &back);
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
        gap
    }

    fn registered(&self, supernode: Place) -> usize {
        self.lab.hosts[supernode].engine.anchor().registrations
    }

    fn restart(&mut self, supernode: Place) {
        self.lab.restart(supernode);
        self.lab.set_world(supernode, 1, &self.supernodes);
    }

    /// The way from the first node to the second.
    fn path(&self) -> Path {
        let key = self.lab.key(self.nodes[1]);
        self.lab.peer(self.nodes[0], &key).path.unwrap()
    }

    /// When all nodes are registered at a supernode, from now on.
    fn wait_registered(&mut self, supernode: Place, limit: Duration) -> Duration {
        let start: Time = self.lab.now;
        while self.registered(supernode) < self.nodes.len() {
            self.lab.run(Duration::from_millis(50));
            assert!(self.lab.now.since(start) < limit, "not registered after {limit:?}");
        }
        self.lab.now.since(start)
    }
}

/// A wire on which some hosts are dead.
fn dead(hosts: Vec<Place>) -> Wire {
    Box::new(move |from, to, _| !hosts.contains(&from) && !hosts.contains(&to))
}

#[test]
fn relayed_traffic_goes_on_over_the_second_when_the_home_dies() {
    for supernodes in 2..=5 {
        let mut pair = Pair::new(supernodes);
        let home = pair.home(pair.nodes[0]);
        pair.lab.wire = dead(vec![home]);
        let gap = pair.gap(Duration::from_secs(20));
        assert!(gap <= Duration::from_secs(5), "{supernodes} supernodes: {gap:?}");
        assert_ne!(pair.home(pair.nodes[0]), home);
    }
}

#[test]
fn a_supernode_that_was_away_for_long_has_its_nodes_within_5_seconds() {
    for away in [60, 61, 63, 900] {
        let mut pair = Pair::new(1);
        let supernode = pair.supernodes[0];
        pair.lab.wire = dead(vec![supernode]);
        pair.lab.run_seconds(away);
        pair.restart(supernode);
        pair.lab.wire = intact();
        pair.wait_registered(supernode, Duration::from_secs(5));
        assert!(pair.gap(Duration::from_secs(10)) <= Duration::from_secs(5));
    }
}

#[test]
fn of_a_supernode_with_many_addresses_the_one_that_works_is_found() {
    let mut pair = Pair::new(1);
    let supernode = pair.supernodes[0];
    let nowhere = (1..=4).map(|number| SocketAddr::from(([10, 9, 9, number], 9600)));
    let anchor = Anchor {
        key: pair.lab.key(supernode),
        addresses: nowhere.chain([pair.lab.hosts[supernode].address]).collect(),
        streams: Vec::new(),
    };
    for node in pair.nodes {
        let now = pair.lab.now;
        pair.lab.hosts[node]
            .engine
            .set_world(now, world_id(1), vec![anchor.clone()]);
    }
    pair.lab.wire = dead(vec![supernode]);
    pair.lab.run_seconds(20);
    pair.restart(supernode);
    pair.lab.wire = intact();
    pair.wait_registered(supernode, Duration::from_secs(16));
    assert!(pair.gap(Duration::from_secs(10)) <= Duration::from_secs(1));
}

#[test]
fn a_supernode_that_restarted_has_its_nodes_back() {
    let mut pair = Pair::new(1);
    let supernode = pair.supernodes[0];
    pair.lab.run_seconds(200);
    pair.restart(supernode);
    pair.wait_registered(supernode, Duration::from_secs(30));
    pair.restart(supernode);
    let gap = pair.gap(Duration::from_secs(10));
    assert!(gap <= Duration::from_secs(5), "{gap:?}");
    assert_eq!(pair.registered(supernode), 2);
}

#[test]
fn a_supernode_listed_late_serves_those_who_reach_no_other() {
    let mut lab = Lab::new();
    let supernodes: Vec<_> = (0..12).map(|_| lab.add(Role::Supernode)).collect();
    let node = lab.add(Role::Node);
    lab.wire = dead(supernodes[..11].to_vec());
    lab.set_world(node, 1, &supernodes);
    lab.run_seconds(5);
    assert_eq!(lab.hosts[supernodes[11]].engine.anchor().registrations, 1);
    lab.wire = cut(node, supernodes[11]);
    lab.run_seconds(40);
    lab.wire = intact();
    lab.run_seconds(5);
    assert!(
        lab.hosts[node]
            .engine
            .supernodes()
            .iter()
            .any(|supernode| supernode.home)
    );
}

/// A wire on which each of the hosts named reaches only some of the first `supernodes` hosts.
fn reach(supernodes: usize, reached: Vec<(Place, Vec<Place>)>) -> Wire {
    Box::new(move |from, to, _| {
        let lets = |one: Place, other: Place| {
            let mut reached = reached.iter().filter(|(node, _)| *node == one);
            other >= supernodes || reached.all(|(_, supernodes)| supernodes.contains(&other))
        };
        lets(from, to) && lets(to, from)
    })
}

#[test]
fn nodes_that_reach_no_common_supernode_speak_over_two() {
    let mut lab = Lab::new();
    let supernodes = vec![lab.add(Role::Supernode), lab.add(Role::Supernode)];
    let nodes = [(); 2].map(|()| lab.add(Role::Node));
    lab.wire = reach(2, vec![(nodes[0], vec![0]), (nodes[1], vec![1])]);
    let mut pair = Pair::of(lab, supernodes, nodes);
    assert!(
        matches!(
            pair.path(),
            Path::Relay {
                target: RelayTarget::Remote { .. },
                ..
            }
        ),
        "{:?}",
        pair.path()
    );
    // The home of one begins anew, with other indexes.
    pair.restart(1);
    let gap = pair.gap(Duration::from_secs(20));
    assert!(gap <= Duration::from_secs(5), "{gap:?}");
    assert!(pair.gap(Duration::from_secs(100)) <= Duration::from_millis(500));
}

#[test]
fn a_guest_at_the_home_of_its_peer_needs_one_supernode_only() {
    let mut lab = Lab::new();
    let supernodes: Vec<_> = (0..4).map(|_| lab.add(Role::Supernode)).collect();
    let nodes = [(); 2].map(|()| lab.add(Role::Node));
    // The first has its home and its second apart from those of the other; later it could reach all.
    lab.wire = reach(4, vec![(nodes[0], vec![0, 1]), (nodes[1], vec![2, 3])]);
    let mut pair = Pair::of(lab, supernodes, nodes);
    assert!(
        matches!(
            pair.path(),
            Path::Relay {
                target: RelayTarget::Remote { .. },
                ..
            }
        ),
        "{:?}",
        pair.path()
    );
    pair.lab.wire = reach(4, vec![(nodes[1], vec![2, 3])]);
    // A new conversation: the way is chosen anew.
    pair.lab.run_seconds(700);
    let gap = pair.gap(Duration::from_secs(10));
    assert!(gap <= Duration::from_millis(1500), "{gap:?}");
    assert!(
        matches!(
            pair.path(),
            Path::Relay {
                target: RelayTarget::Index(_),
                ..
            }
        ),
        "{:?}",
        pair.path()
    );
    assert!(pair.gap(Duration::from_secs(200)) <= Duration::from_millis(500));
    assert!(
        matches!(
            pair.path(),
            Path::Relay {
                target: RelayTarget::Index(_),
                ..
            }
        ),
        "{:?}",
        pair.path()
    );
}

#[test]
fn records_come_back_to_a_holder_that_restarted_and_leave_with_a_node_that_died() {
    let mut pair = Pair::new(3);
    pair.lab.run_seconds(15);
    let [a, b] = pair.nodes;
    let homes = [a, b].map(|node| pair.home(node));
    let third = |pair: &Pair, node: Place| {
        let of = pair.lab.hosts[node].engine.supernodes();
        let through = of
            .iter()
            .find(|supernode| supernode.address.is_none())
            .map(|supernode| supernode.node);
        pair.supernodes
            .iter()
            .copied()
            .find(|place| Some(pair.lab.key(*place).node_id()) == through)
    };
    let holder = third(&pair, a).expect("one that keeps records only");
    assert!(!homes.contains(&holder));
    assert_eq!(pair.registered(holder), 2);
    pair.restart(holder);
    pair.lab.run_seconds(405);
    assert_eq!(pair.registered(holder), 2);
    // One dies: its home notices after 75 s and says so.
    pair.lab.wire = dead(vec![b]);
    pair.lab.run_seconds(75 + 20 + 5);
    assert!(pair.supernodes.iter().all(|supernode| pair.registered(*supernode) == 1));
    assert_eq!(pair.lab.status(a, pair.networks[0]).members, 1);
}

#[test]
fn what_was_passed_on_is_not_passed_on_again() {
    let pair = Pair::new(3);
    let (mut lab, [a, _]) = (pair.lab, pair.nodes);
    lab.run_seconds(15);
    let through = |supernode: &Place| {
        let id = lab.peer_id(*supernode, &lab.key(a));
        let engine = &lab.hosts[*supernode].engine;
        let path = engine.peers.get(id).and_then(|peer| peer.path);
        matches!(path, Some(Path::Passed { .. })).then(|| (*supernode, engine.anchor.registration(id).unwrap().index))
    };
    let (holder, index) = pair.supernodes.iter().find_map(through).unwrap();
    let other = *pair.supernodes.iter().find(|supernode| **supernode != holder).unwrap();
    let tag = SupernodeTag::of(&lab.key(other).node_id());
    let mut datagram = Vec::new();
    datagram.extend_from_slice(&passed_header(tag, index, RelayIndex(77)));
    datagram.extend([1; 144]);
    lab.passing.clear();
    let before = lab.hosts[holder].engine.counters();
    let from = lab.hosts[other].address;
    lab.deliver(holder, from, &datagram);
    assert!(lab.passing.is_empty());
    let after = lab.hosts[holder].engine.counters();
    assert_eq!(after.relay_unknown_destination, before.relay_unknown_destination + 1);
    // From another address, or within another one, it is nobody's.
    lab.deliver(holder, lab.hosts[a].address, &datagram);
    let mut nested = Vec::new();
    nested.extend_from_slice(&passed_header(tag, RelayIndex::SUPERNODE, RelayIndex(77)));
    nested.extend(&datagram);
    lab.deliver(holder, from, &nested);
    let end = lab.hosts[holder].engine.counters();
    assert_eq!(end.foreign_relay, after.foreign_relay + 1);
    assert_eq!(end.malformed_datagrams, after.malformed_datagrams + 1);
    assert!(lab.passing.is_empty());
}

#[test]
fn a_hint_is_never_larger_than_its_cause() {
    let mut pair = Pair::new(2);
    let (lab, supernode) = (&mut pair.lab, pair.supernodes[0]);
    let from = SocketAddr::from(([10, 9, 9, 9], 1));
    let mut data = Vec::new();
    put_data(&mut data, SessionIndex(1), 0);
    let mut relay = Vec::new();
    put_relay(&mut relay, RelayTarget::Index(RelayIndex(5)), RelayIndex(6));
    let mut forward = Vec::new();
    let remote = RelayTarget::Remote {
        supernode: SupernodeTag([1, 2, 3]),
        index: RelayIndex(1),
    };
    put_relay(&mut forward, remote, RelayIndex(6));
    let tag = SupernodeTag::of(&lab.key(pair.supernodes[1]).node_id());
    let mut passed = Vec::new();
    passed.extend_from_slice(&passed_header(tag, RelayIndex(3), RelayIndex::SUPERNODE));
    let sibling = lab.hosts[pair.supernodes[1]].address;
    for (from, datagram) in [(from, data), (from, relay), (from, forward), (sibling, passed)] {
        lab.passing.clear();
        lab.deliver(supernode, from, &datagram);
        let answers: usize = lab.passing.iter().map(|answer| answer.bytes.len()).sum();
        assert!(
            (1..=datagram.len()).contains(&answers),
            "{answers} for {}",
            datagram.len()
        );
    }
}

#[test]
fn hints_make_a_node_ask_once_a_second() {
    let mut pair = Pair::new(1);
    let (lab, node) = (&mut pair.lab, pair.nodes[0]);
    let supernode = lab.hosts[pair.supernodes[0]].address;
    let key = lab.key(pair.supernodes[0]);
    let id = lab.peer_id(node, &key);
    let index = lab.hosts[node].engine.directory.relay_index(id).unwrap();
    let session = lab.peer(node, &key).sessions.current().unwrap().remote;
    for unknown in [Unknown::Registration(index), Unknown::Session(session)] {
        lab.run_seconds(3);
        let sent = Rc::new(Cell::new(0));
        let counted = Rc::clone(&sent);
        lab.wire = Box::new(move |from, _, _| {
            counted.set(counted.get() + usize::from(from == node));
            true
        });
        let mut hint = Vec::new();
        put_hint(&mut hint, unknown);
        for _ in 0..300 {
            lab.deliver(node, supernode, &hint);
            lab.run(Duration::from_millis(10));
        }
        // A sign of life or an initiation and a registration each second; an address that is not the supernode's gets none.
        assert!((2..=12).contains(&sent.get()), "{unknown:?}: {} datagrams", sent.get());
        // Until what the answers brought about is over.
        lab.run_seconds(8);
        sent.set(0);
        lab.deliver(node, SocketAddr::from(([10, 9, 9, 9], 9600)), &hint);
        lab.run(Duration::from_millis(100));
        assert_eq!(sent.get(), 0);
    }
}

#[test]
fn a_forged_hint_ends_no_session() {
    let mut pair = Pair::new(1);
    let (lab, node) = (&mut pair.lab, pair.nodes[0]);
    let supernode = lab.hosts[pair.supernodes[0]].address;
    let key = lab.key(pair.supernodes[0]);
    let id = lab.peer_id(node, &key);
    let index = lab.hosts[node].engine.directory.relay_index(id).unwrap();
    let session = lab.peer(node, &key).sessions.current().unwrap();
    let (local, remote) = (session.local, session.remote);
    for unknown in [
        Unknown::Registration(index),
        Unknown::Session(remote),
        Unknown::Destination(index),
    ] {
        let mut hint = Vec::new();
        put_hint(&mut hint, unknown);
        lab.deliver(node, supernode, &hint);
        let peer = lab.peer(node, &key);
        assert!(peer.sessions.get(local).is_some(), "{unknown:?}");
        assert_eq!(
            lab.hosts[node].engine.directory.relay_index(id),
            Some(index),
            "{unknown:?}"
        );
        lab.run_seconds(2);
    }
    // The supernode was asked, and denied it.
    assert_eq!(lab.hosts[node].engine.directory.relay_index(id), Some(index));
}

#[test]
fn a_node_that_stops_is_gone_from_all_lists_at_once() {
    let mut pair = Pair::new(3);
    pair.lab.run_seconds(15);
    let (lab, [a, b]) = (&mut pair.lab, pair.nodes);
    let mut out = Outbox::default();
    lab.hosts[b].engine.shutdown(lab.now, &mut out);
    lab.take(b, &mut out);
    lab.wire = dead(vec![b]);
    // What it sent last is under way already.
    let last: Vec<_> = lab.passing.drain(..).collect();
    lab.run(Duration::from_millis(20));
    for passing in last {
        let to = lab.hosts.iter().position(|host| host.address == passing.to).unwrap();
        lab.deliver(to, passing.from, &passing.bytes);
    }
    lab.run_seconds(1);
    assert_eq!(lab.status(a, pair.networks[0]).members, 1);
    let key = lab.key(b);
    assert!(lab.peer(a, &key).sessions.is_empty(), "the goodbye was relayed");
}

/// What a node sends and receives in a day, with the headers of UDP and IPv4.
fn idle_day(supernodes: usize) -> u64 {
    let mut pair = Pair::new(supernodes);
    let node = pair.nodes[0];
    // Sessions with peers have ended.
    pair.lab.run_seconds(900);
    let bytes = Rc::new(Cell::new(0));
    let counted = Rc::clone(&bytes);
    pair.lab.wire = Box::new(move |from, to, datagram| {
        if from == node || to == node {
            counted.set(counted.get() + datagram.len() as u64 + 28);
        }
        true
    });
    // A quarter of a day: nothing happens less often than twice in an hour.
    pair.lab.run_seconds(21_600);
    4 * bytes.get()
}

#[test]
fn an_idle_day_costs_a_node_no_more_than_a_megabyte() {
    for supernodes in [1, 2, 3, 5] {
        let bytes = idle_day(supernodes);
        println!("{supernodes} supernodes: {bytes} bytes a day");
        assert!(bytes <= 1_000_000, "{supernodes} supernodes: {bytes} bytes a day");
    }
}

/// The list of a world with these supernodes in it.
fn list(lab: &Lab, version: u32, supernodes: &[Place]) -> World {
    let operator = Identity::from_seed(Seed::from_bytes([200; 32]), Work::NONE).unwrap();
    let supernode = |place: &Place| Supernode {
        key: lab.key(*place),
        endpoints: vec![lab.hosts[*place].address.to_string().parse().unwrap()],
    };
    World::sign(&operator, version, supernodes.iter().map(supernode).collect()).unwrap()
}

fn hold(lab: &mut Lab, place: Place, world: &World) {
    let anchor = |supernode: &Supernode| Anchor {
        streams: Vec::new(),
        key: supernode.key,
        addresses: supernode
            .endpoints
            .iter()
            .filter_map(farlan_netconf::Endpoint::address)
            .collect(),
    };
    let anchors = world.supernodes().iter().map(anchor).collect();
    let now = lab.now;
    lab.hosts[place].engine.hold_world(now, world);
    lab.hosts[place].engine.set_world(now, world.id(), anchors);
}

/// Does what a daemon does with newer lists; returns who got one.
fn adopt(lab: &mut Lab) -> Vec<(Place, u32)> {
    let mut adopted = Vec::new();
    for place in 0..lab.hosts.len() {
        for event in std::mem::take(&mut lab.hosts[place].events) {
            if let Event::WorldChanged { world } = event {
                adopted.push((place, world.version()));
                hold(lab, place, &world);
            }
        }
    }
    adopted
}

fn join(lab: &mut Lab, place: Place, world: &World) -> NetworkHandle {
    let join = Join {
        parameters: link(1),
        world: world.id(),
        ipv4: true,
        preferred: None,
        greet: Vec::new(),
        membership: None,
        name: None,
    };
    lab.hosts[place].engine.join(lab.now, join).unwrap()
}

#[test]
fn nodes_of_a_world_of_five_that_reach_three_each_find_each_other_and_the_newer_list() {
    for number in 0..4 {
        let mut lab = Lab::new();
        let supernodes: Vec<_> = (0..5).map(|_| lab.add(Role::Supernode)).collect();
        let nodes = [(); 3].map(|()| lab.add(Role::Node));
        let shift = |first: usize| (first..first + 3).map(|place| (place + number) % 5).collect();
        lab.wire = reach(
            5,
            vec![(nodes[0], shift(0)), (nodes[1], shift(2)), (nodes[2], shift(4))],
        );
        let (old, new) = (list(&lab, 1, &supernodes[..4]), list(&lab, 2, &supernodes));
        for place in supernodes.iter().chain(&nodes[..2]) {
            hold(&mut lab, *place, &new);
        }
        hold(&mut lab, nodes[2], &old);
        let networks = nodes.map(|node| join(&mut lab, node, &new));
        let mut adopted = Vec::new();
        for _ in 0..40 {
            lab.run(Duration::from_millis(200));
            adopted.extend(adopt(&mut lab));
        }
        assert_eq!(adopted, [(nodes[2], 2)]);
        for (from, to) in [(0, 1), (1, 2), (2, 0), (1, 0), (2, 1), (0, 2)] {
            let (to_mac, from_mac) = (lab.mac(nodes[to], networks[to]), lab.mac(nodes[from], networks[from]));
            let frame = frame(to_mac, from_mac, 1);
            lab.send(nodes[from], networks[from], &frame);
            lab.run_seconds(2);
            assert_eq!(
                lab.received(nodes[to], networks[to], &frame),
                1,
                "{number}: {from} to {to}"
            );
        }
        for (node, network) in nodes.into_iter().zip(networks) {
            assert_eq!(lab.status(node, network).members, 3);
        }
    }
}

#[test]
fn a_newer_list_spreads_from_whoever_holds_it() {
    let mut lab = Lab::new();
    let supernodes: Vec<_> = (0..2).map(|_| lab.add(Role::Supernode)).collect();
    let nodes = [(); 3].map(|()| lab.add(Role::Node));
    // A list that takes many pieces.
    let mut many: Vec<_> = supernodes.clone();
    many.extend((0..60).map(|_| lab.add(Role::Supernode)));
    let (old, new) = (list(&lab, 3, &supernodes), list(&lab, 4, &many));
    assert!(new.encode().len() > 2 * crate::worlds::PIECE);
    lab.wire = dead(many[2..].to_vec());
    for place in supernodes.iter().chain(&nodes) {
        hold(&mut lab, *place, &old);
    }
    for node in nodes {
        join(&mut lab, node, &old);
    }
    lab.run_seconds(10);
    // A node brings it, on a line that loses every fifth datagram.
    let mut count = 0;
    lab.wire = Box::new(move |from, to, _| {
        count += 1;
        count % 5 != 0 && from < 5 && to < 5
    });
    hold(&mut lab, nodes[1], &new);
    let mut adopted = Vec::new();
    for _ in 0..600 {
        lab.run(Duration::from_millis(100));
        adopted.extend(adopt(&mut lab));
    }
    adopted.sort_unstable();
    assert_eq!(
        adopted,
        [(supernodes[0], 4), (supernodes[1], 4), (nodes[0], 4), (nodes[2], 4)]
    );
}

#[test]
fn who_holds_an_older_list_than_the_engine_is_told_again() {
    let mut lab = Lab::new();
    let supernode = lab.add(Role::Supernode);
    let [old, new] = [1, 2].map(|version| list(&lab, version, &[supernode]));
    let mut told = |world: &World| {
        lab.hosts[supernode].engine.hold_world(lab.now, world);
        lab.settle();
        std::mem::take(&mut lab.hosts[supernode].events)
    };
    for quiet in [&old, &new, &new] {
        assert_eq!(told(quiet), []);
    }
    let world = Box::new(new.clone());
    assert_eq!(told(&old), [Event::WorldChanged { world }]);
}

#[test]
fn who_promises_a_list_and_does_not_deliver_keeps_nobody_from_it() {
    use crate::wire::control::Control;

    let mut lab = Lab::new();
    let supernode = lab.add(Role::Supernode);
    let nodes = [(); 2].map(|()| lab.add(Role::Node));
    let (old, new) = (list(&lab, 1, &[supernode]), list(&lab, 2, &[supernode]));
    for place in [supernode, nodes[0], nodes[1]] {
        hold(&mut lab, place, &old);
    }
    lab.run_seconds(2);
    let key = lab.key(supernode);
    let (world, version) = (old.id(), u32::MAX);
    lab.tell(nodes[0], &key, Control::World { world, version });
    lab.run(Duration::from_millis(100));
    lab.tell(nodes[1], &key, Control::World { world, version: 2 });
    lab.hosts[nodes[1]].engine.hold_world(lab.now, &new);
    lab.run_seconds(2);
    assert_eq!(adopt(&mut lab)[0], (supernode, 2));
}

#[test]
fn a_list_that_did_not_come_is_fetched_again_after_half_a_minute() {
    use crate::wire::control::Control;

    let mut lab = Lab::new();
    let supernode = lab.add(Role::Supernode);
    let node = lab.add(Role::Node);
    let (old, new) = (list(&lab, 1, &[supernode]), list(&lab, 2, &[supernode]));
    for place in [supernode, node] {
        hold(&mut lab, place, &old);
    }
    lab.run_seconds(2);
    let key = lab.key(node);
    let world = old.id();
    // The supernode says so and does not deliver: it has no such list.
    let fetches = |lab: &mut Lab| {
        lab.tell(supernode, &key, Control::World { world, version: 2 });
        lab.run(Duration::from_millis(100));
        lab.hosts[node].engine.worlds.deadline().is_some()
    };
    assert!(fetches(&mut lab));
    while lab.hosts[node].engine.worlds.deadline().is_some() {
        lab.run(Duration::from_millis(100));
    }
    assert!(!fetches(&mut lab));
    lab.run_seconds(28);
    assert!(!fetches(&mut lab));
    lab.hosts[supernode].engine.hold_world(lab.now, &new);
    lab.run_seconds(2);
    assert!(!adopt(&mut lab).contains(&(node, 2)));
    fetches(&mut lab);
    assert!(adopt(&mut lab).contains(&(node, 2)));
}

#[test]
fn a_list_that_its_operator_did_not_sign_is_refused_and_its_bringer_left_alone() {
    use crate::wire::control::Control;

    let mut lab = Lab::new();
    let supernode = lab.add(Role::Supernode);
    let node = lab.add(Role::Node);
    let world = list(&lab, 1, &[supernode]);
    hold(&mut lab, supernode, &world);
    hold(&mut lab, node, &world);
    lab.run_seconds(2);
    let mut forged = list(&lab, 2, &[supernode]).encode();
    let at = forged.len() - 1;
    forged[at] ^= 1;
    let (world, version) = (world.id(), 2);
    let key = lab.key(node);
    let pieces = |lab: &mut Lab| {
        lab.tell(supernode, &key, Control::World { world, version });
        lab.run_seconds(1);
        let piece = Control::WorldPiece {
            world,
            version,
            length: u16::try_from(forged.len()).unwrap(),
            offset: 0,
            bytes: forged.clone(),
        };
        lab.tell(supernode, &key, piece);
        lab.run_seconds(1);
        lab.hosts[node].engine.counters().worlds_refused
    };
    assert_eq!(pieces(&mut lab), 1);
    assert_eq!(pieces(&mut lab), 1, "nothing is fetched from there any more");
    assert!(adopt(&mut lab).is_empty());
    lab.run_seconds(600);
    assert_eq!(pieces(&mut lab), 2, "until ten minutes have passed");
}
