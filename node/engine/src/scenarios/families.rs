//! Nodes with IPv4, IPv6 or both, whose supernodes are listed with IPv6 first: who reaches whom, and what it costs.

use std::{
    net::{Ipv6Addr, SocketAddr},
    time::Duration,
};

use super::{
    lab::{FIRST_EXTRA, Lab, Place, frame, link},
    nat::{Dependence, Nat, PortRule},
};
use crate::{Finding, Mapping, NetworkHandle, Outbox, PathKind, Role, peers::Path, wire::control::Control};

const MILLISECOND: Duration = Duration::from_millis(1);

/// What a machine has of the Internet.
enum Stack {
    Ipv4(Nat),
    Ipv6,
    Both(Nat),
}

use Stack::{Both, Ipv4, Ipv6};

/// A home router that keeps ports, and lets in what comes from where something went.
fn port() -> Nat {
    Nat::new(Dependence::Endpoint, Dependence::Port, PortRule::Kept)
}

/// One that gives every far endpoint a port at random.
fn random() -> Nat {
    Nat::new(Dependence::Port, Dependence::Port, PortRule::Random)
}

fn ipv6(place: Place) -> SocketAddr {
    let last = u16::try_from(place + 1).unwrap();
    SocketAddr::from((Ipv6Addr::new(0x2001, 0xdb8, last, 0, 0, 0, 0, 1), 9600))
}

fn ipv4(last: usize) -> SocketAddr {
    SocketAddr::from(([203, 0, 113, u8::try_from(last).unwrap()], 9600))
}

/// Two nodes in one network, and supernodes with both families.
struct Mixed {
    lab: Lab,
    supernodes: Vec<Place>,
    nodes: [Place; 2],
    networks: [NetworkHandle; 2],
    marks: u8,
    /// Between two frames of one.
    pause: Duration,
}

impl Mixed {
    fn new(supernodes: usize, stacks: [Stack; 2]) -> Self {
        let mut lab = Lab::new();
        let supernodes: Vec<Place> = (0..supernodes).map(|_| lab.add(Role::Supernode)).collect();
        for place in &supernodes {
            let host = &mut lab.hosts[*place];
            (host.address, host.ipv6) = (ipv4(place + 1), Some(ipv6(*place)));
            host.engine.set_second_port(Some(FIRST_EXTRA));
            host.extras.insert(0);
            let own = host.addresses();
            host.engine.set_local_endpoints(lab.now, own);
        }
        let nodes = stacks.map(|stack| {
            let place = lab.add(Role::Node);
            let inside = SocketAddr::from(([192, 168, u8::try_from(place).unwrap(), 2], 9600));
            let host = &mut lab.hosts[place];
            let mut own = Vec::new();
            if matches!(stack, Ipv6 | Both(_)) {
                host.address = ipv6(place);
                own.push(ipv6(place));
            }
            if let Ipv4(nat) | Both(nat) = stack {
                host.ipv6 = own.first().copied();
                (host.address, host.nat) = (ipv4(place + 1), Some(nat));
                own.push(inside);
            }
            let now = lab.now;
            lab.hosts[place].engine.set_local_endpoints(now, own);
            place
        });
        for place in 0..lab.hosts.len() {
            lab.set_world(place, 1, &supernodes);
        }
        lab.open = true;
        let networks = nodes.map(|node| lab.join(node, &link(1)));
        lab.run_seconds(12);
        Self {
            lab,
            supernodes,
            nodes,
            networks,
            marks: 0,
            pause: 20 * MILLISECOND,
        }
    }

    /// Both send frames to each other. Returns how many did not arrive.
    fn talk(&mut self, time: Duration, mut until: impl FnMut(&mut Self) -> bool) -> usize {
        let end = self.lab.now + time;
        let mut sent = Vec::new();
        while self.lab.now < end && !until(self) {
            let macs = [0, 1].map(|at| self.lab.mac(self.nodes[at], self.networks[at]));
            for from in [0, 1] {
                self.marks = self.marks.wrapping_add(1);
                let stamp = self.lab.now.as_nanos().to_be_bytes();
                let frame = [&frame(macs[1 - from], macs[from], self.marks)[..], &stamp].concat();
                self.lab.send(self.nodes[from], self.networks[from], &frame);
                sent.push((1 - from, frame));
            }
            self.lab.run(self.pause);
        }
        self.lab.run(500 * MILLISECOND);
        let came = |(to, frame): &&(usize, Vec<u8>)| self.lab.received(self.nodes[*to], self.networks[*to], frame) == 1;
        sent.len() - sent.iter().filter(came).count()
    }

    /// The paths between the two, with the endpoints at their other ends.
    fn paths(&self) -> [(Option<PathKind>, Option<SocketAddr>); 2] {
        [0, 1].map(|at| {
            let peers = self.lab.hosts[self.nodes[at]].engine.peers(self.lab.now);
            let key = self.lab.key(self.nodes[1 - at]);
            let peer = peers.iter().find(|peer| peer.key == key);
            peer.map_or((None, None), |peer| (peer.path, peer.address))
        })
    }

    /// Whether both speak straight, to where the other one is in a family.
    fn are_direct(&self, ipv6: bool) -> bool {
        let there = [1, 0].map(|at| {
            let host = &self.lab.hosts[self.nodes[at]];
            let mut addresses = host.addresses().into_iter();
            addresses.find(|address| address.is_ipv6() == ipv6)
        });
        let kinds = self.paths();
        (0..2).all(|at| {
            let (kind, address) = kinds[at];
            kind == Some(PathKind::Direct)
                && address.is_some()
                && address.map(|at| at.ip()) == there[at].map(|at| at.ip())
        })
    }

    /// Lets both talk until they speak straight in a family; how long that took.
    fn direct(&mut self, ipv6: bool, most: Duration) -> Option<Duration> {
        let begun = self.lab.now;
        let mut taken = None;
        self.talk(most, |mixed| {
            let direct = mixed.are_direct(ipv6);
            taken = direct.then(|| mixed.lab.now.since(begun));
            direct
        });
        taken
    }

    /// Where supernodes see a node, by IPv4.
    fn seen_by_ipv4(&self, at: usize) -> Vec<SocketAddr> {
        let observed = self.lab.hosts[self.nodes[at]].engine.traversal.observed();
        let observed = observed.map(|(_, endpoint)| endpoint);
        observed.filter(SocketAddr::is_ipv4).collect()
    }

    /// What the first node sent to supernodes by IPv4 since the log began.
    fn looks(&mut self) -> usize {
        let log = self.lab.log.replace(Vec::new()).unwrap_or_default();
        let places = self.supernodes.iter().map(|place| self.lab.hosts[*place].address.ip());
        let places: Vec<_> = places.collect();
        let looks = log
            .iter()
            .filter(|sent| sent.from == self.nodes[0] && places.contains(&sent.to.ip()));
        looks.count()
    }
}

/// A supernode can name no victim by that.
#[test]
fn an_address_is_shown_once_for_each_look_and_to_nobody_who_was_not_asked() {
    let mut mixed = Mixed::new(1, [Both(port()), Ipv4(port())]);
    let (node, supernode) = (mixed.nodes[0], mixed.supernodes[0]);
    let (id, now) = (mixed.lab.peer_id(supernode, &mixed.lab.key(node)), mixed.lab.now);
    let shows: Vec<Control> = (0..100).map(|nonce| Control::Show { nonce }).collect();
    let mut sent = Vec::new();
    for from in [
        SocketAddr::from(([198, 51, 100, 77], 443)),
        mixed.lab.hosts[supernode].address,
    ] {
        mixed.lab.passing.clear();
        let mut out = Outbox::default();
        let engine = &mut mixed.lab.hosts[supernode].engine;
        engine.send_control(now, id, None, &shows, &mut out);
        mixed.lab.take(supernode, &mut out);
        let datagram = mixed.lab.passing.pop_back().unwrap().bytes;
        mixed.lab.passing.clear();
        mixed.lab.log = Some(Vec::new());
        mixed.lab.deliver(node, from, &datagram);
        let log = mixed.lab.log.take().unwrap();
        sent.push(log.iter().filter(|sent| sent.from == node && sent.to == from).count());
    }
    assert_eq!(sent, [0, 0]);
}

/// Where IPv4 did not answer for a while, and nobody needed it when that was over, it is asked as soon as somebody does.
#[test]
fn an_ipv4_that_comes_back_while_nobody_is_in_use_is_found_at_the_next_use() {
    let mut mixed = Mixed::new(1, [Both(port()), Ipv4(port())]);
    let (node, now) = (mixed.nodes[0], mixed.lab.now);
    mixed.lab.blocked = Some(Box::new(|_, _, ipv6| !ipv6));
    mixed.lab.hosts[node].engine.look_around(now);
    mixed.lab.run_seconds(8);
    assert!(mixed.seen_by_ipv4(0).is_empty());
    // The pause after that is over, and nobody asks.
    mixed.lab.run_seconds(1200);
    mixed.lab.blocked = None;
    let taken = mixed.direct(false, Duration::from_secs(8));
    assert!(taken.is_some(), "{:?}", mixed.paths());
}

#[test]
fn who_is_registered_by_ipv6_is_direct_with_who_has_ipv4_only() {
    let mut mixed = Mixed::new(1, [Both(port()), Ipv4(port())]);
    let node = mixed.nodes[0];
    let supernode = mixed.lab.key(mixed.supernodes[0]);
    let way = mixed.lab.peer(node, &supernode).path;
    assert_eq!(way, Some(Path::Direct(ipv6(mixed.supernodes[0]).into())));
    assert_eq!(mixed.seen_by_ipv4(0), [ipv4(node + 1)]);
    let engine = &mixed.lab.hosts[node].engine;
    assert_eq!(
        engine.behaviour().translated,
        Some(true),
        "what is known of NATs is known of IPv4"
    );
    let outside = engine.surroundings().outside;
    assert!(
        outside.contains(&ipv4(node + 1)) && outside.contains(&ipv6(node)),
        "{outside:?}"
    );
    let taken = mixed.direct(false, Duration::from_secs(3));
    println!("direct after {taken:?}");
    assert!(taken.is_some(), "{:?}", mixed.paths());
    // Its router gets another address, and tells nobody.
    let host = &mut mixed.lab.hosts[node];
    host.address = ipv4(77);
    host.nat.as_mut().unwrap().reboot();
    let again = mixed.direct(false, Duration::from_secs(10));
    println!("and {again:?} after another address");
    assert!(again.is_some(), "{:?}", mixed.paths());
    assert_eq!(mixed.seen_by_ipv4(0), [ipv4(77)]);
    let way = mixed.lab.peer(node, &supernode).path;
    assert_eq!(
        way,
        Some(Path::Direct(ipv6(mixed.supernodes[0]).into())),
        "the registration stays"
    );
    let key = mixed.lab.key(node);
    let there = mixed.lab.peer(mixed.supernodes[0], &key).path;
    assert_eq!(there, Some(Path::Direct(ipv6(node).into())), "on both sides");
}

#[test]
fn two_with_ipv6_meet_by_it_and_two_without_a_common_family_over_the_supernode() {
    let mut mixed = Mixed::new(1, [Ipv6, Both(port())]);
    assert!(
        mixed.direct(true, Duration::from_secs(3)).is_some(),
        "{:?}",
        mixed.paths()
    );
    let mut mixed = Mixed::new(1, [Ipv4(port()), Ipv6]);
    assert_eq!(mixed.talk(Duration::from_secs(20), |_| false), 0);
    assert!(
        mixed.paths().iter().all(|(kind, _)| *kind == Some(PathKind::Relay)),
        "{:?}",
        mixed.paths()
    );
}

#[test]
fn behind_random_ports_of_ipv4_a_search_finds_who_is_registered_by_ipv6() {
    for stacks in [
        [Both(random()), Ipv4(port())],
        [Both(random()), Both(port())],
        [Ipv4(random()), Both(port())],
    ] {
        let mut mixed = Mixed::new(1, stacks);
        let supernode = mixed.supernodes[0];
        // By IPv6 the two would meet at once: here its firewalls let nothing in.
        let nodes = mixed.nodes;
        mixed.lab.blocked = Some(Box::new(move |from, to, ipv6| {
            ipv6 && nodes.contains(&from) && nodes.contains(&to)
        }));
        let taken = mixed.direct(false, Duration::from_secs(20));
        println!("found after {taken:?}");
        assert!(taken.is_some(), "{:?}", mixed.paths());
        assert!(mixed.lab.hosts[supernode].engine.counters().searches_granted > 0);
    }
}

#[test]
fn where_ipv6_dies_the_registration_goes_on_by_ipv4_and_nobody_is_told_of_ipv6() {
    let mut mixed = Mixed::new(1, [Both(port()), Ipv4(port())]);
    assert!(mixed.direct(false, Duration::from_secs(3)).is_some());
    mixed.lab.blocked = Some(Box::new(|_, _, ipv6| ipv6));
    mixed.pause = 200 * MILLISECOND;
    let lost = mixed.talk(Duration::from_secs(60), |_| false);
    assert_eq!(lost, 0, "the path is by IPv4");
    let (node, supernode) = (mixed.nodes[0], mixed.supernodes[0]);
    let way = mixed.lab.peer(node, &mixed.lab.key(supernode)).path;
    assert_eq!(way, Some(Path::Direct(ipv4(supernode + 1).into())));
    let seen: Vec<_> = mixed.lab.hosts[node].engine.traversal.observed().collect();
    assert!(seen.iter().all(|(_, endpoint)| endpoint.is_ipv4()), "{seen:?}");
    // And by IPv6 it is seen again once that leads anywhere.
    mixed.lab.blocked = None;
    mixed.talk(Duration::from_secs(120), |_| false);
    assert_eq!(mixed.lab.hosts[node].engine.traversal.observed().count(), 2);
}

#[test]
fn with_two_supernodes_the_mapping_for_ipv4_is_recognised() {
    for (nat, mapping) in [(port(), Mapping::Independent), (random(), Mapping::PortDependent)] {
        let mixed = Mixed::new(2, [Both(nat), Ipv6]);
        let engine = &mixed.lab.hosts[mixed.nodes[0]].engine;
        assert_eq!(engine.behaviour().mapping, mapping);
        assert_eq!(mixed.seen_by_ipv4(0).len(), 2);
    }
}

#[test]
fn the_mapping_for_ipv4_is_kept_as_long_as_a_peer_is_in_use_and_no_longer() {
    let mut nat = port();
    nat.forgets = Some(Duration::from_secs(30));
    let mut mixed = Mixed::new(1, [Both(nat), Ipv6]);
    mixed.lab.run_seconds(60);
    mixed.lab.log = Some(Vec::new());
    mixed.lab.run_seconds(900);
    assert_eq!(mixed.looks(), 0, "nobody needs it");
    mixed.talk(Duration::from_secs(2), |_| false);
    mixed.looks();
    mixed.lab.run_seconds(500);
    let looks = mixed.looks();
    // Each look is followed by what shows the supernode that this end is there.
    assert!((38..=42).contains(&looks), "{looks}");
    mixed.lab.run_seconds(150);
    mixed.looks();
    mixed.lab.run_seconds(1800);
    assert_eq!(mixed.looks(), 0, "and nobody needs it any more");
    // What was seen is still what is known, and asked for at once when it is needed.
    assert_eq!(mixed.seen_by_ipv4(0).len(), 1);
    mixed.talk(Duration::from_secs(1), |_| false);
    assert!(mixed.looks() > 0);
}

#[test]
fn an_ipv4_that_leads_nowhere_costs_little_and_nothing_else() {
    let mut mixed = Mixed::new(1, [Both(port()), Ipv6]);
    mixed.lab.run_seconds(60);
    assert_eq!(mixed.seen_by_ipv4(0).len(), 1);
    mixed.lab.blocked = Some(Box::new(|_, _, ipv6| !ipv6));
    let now = mixed.lab.now;
    let (node, supernode) = (mixed.nodes[0], mixed.supernodes[0]);
    mixed.lab.hosts[node].engine.look_around(now);
    mixed.lab.log = Some(Vec::new());
    let lost = mixed.talk(Duration::from_secs(30), |_| false);
    assert_eq!(lost, 0);
    assert!(mixed.seen_by_ipv4(0).is_empty(), "who is not seen is nowhere");
    mixed.looks();
    mixed.lab.run_seconds(600);
    let looks = mixed.looks();
    assert!((10..=30).contains(&looks), "{looks}");
    assert_eq!(mixed.lab.hosts[node].engine.surroundings().udp, Finding::Yes);
    let way = mixed.lab.peer(node, &mixed.lab.key(supernode)).path;
    assert_eq!(way, Some(Path::Direct(ipv6(supernode).into())));
    // It comes back, and somebody asks.
    mixed.lab.blocked = None;
    let now = mixed.lab.now;
    mixed.lab.hosts[node].engine.look_around(now);
    mixed.lab.run_seconds(2);
    assert_eq!(mixed.seen_by_ipv4(0).len(), 1);
}
