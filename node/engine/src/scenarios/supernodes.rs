//! Several supernodes: home and second, what happens when they die and come back, records and relays in larger worlds.

use std::time::Duration;

use super::lab::{Lab, Place, cut, frame, intact, link};
use crate::{NetworkHandle, Role, Time};

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
        for node in nodes {
            lab.set_world(node, 1, &supernodes);
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
fn dead(hosts: Vec<Place>) -> super::lab::Wire {
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
    for away in [60, 61, 63, 300, 3600] {
        let mut pair = Pair::new(1);
        let supernode = pair.supernodes[0];
        pair.lab.wire = dead(vec![supernode]);
        pair.lab.run_seconds(away);
        pair.lab.restart(supernode);
        pair.lab.wire = intact();
        pair.wait_registered(supernode, Duration::from_secs(5));
        assert!(pair.gap(Duration::from_secs(10)) <= Duration::from_secs(5));
    }
}

#[test]
fn a_supernode_that_restarted_has_its_nodes_back() {
    let mut pair = Pair::new(1);
    let supernode = pair.supernodes[0];
    pair.lab.run_seconds(200);
    pair.lab.restart(supernode);
    pair.wait_registered(supernode, Duration::from_secs(30));
    pair.lab.restart(supernode);
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
