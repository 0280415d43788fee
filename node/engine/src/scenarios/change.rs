//! What happens when a node's place in the underlay changes: its router starts anew, its address is another, it goes to another
//! network, it sleeps.

use std::{net::SocketAddr, time::Duration};

use crate::{
    NetworkHandle, PathKind, Role, Time,
    keepalive::Kept,
    scenarios::{
        lab::{Lab, Place, frame, intact, link},
        nat::{Dependence, Nat, PortRule},
    },
};

const STEP: Duration = Duration::from_millis(20);

/// Two nodes behind home routers that speak all the time, and a supernode.
struct Busy {
    lab: Lab,
    supernode: Place,
    nodes: [Place; 2],
    networks: [NetworkHandle; 2],
    /// When the last frame of either arrived at the other, by direction.
    arrived: [Vec<Time>; 2],
}

fn router() -> Nat {
    Nat::new(Dependence::Endpoint, Dependence::Port, PortRule::Kept)
}

impl Busy {
    fn new() -> Self {
        let mut lab = Lab::new();
        let supernode = lab.add(Role::Supernode);
        let nodes = [(); 2].map(|()| lab.add(Role::Node));
        lab.hosts[supernode].address = SocketAddr::from(([203, 0, 113, 1], 9600));
        for (node, last) in nodes.into_iter().zip([10, 20]) {
            lab.hosts[node].address = SocketAddr::from(([203, 0, 113, last], 9600));
            lab.hosts[node].nat = Some(router());
            let now = lab.now;
            let own = vec![SocketAddr::from(([192, 168, last, 2], 9600))];
            lab.hosts[node].engine.set_local_endpoints(now, own);
        }
        for place in 0..lab.hosts.len() {
            lab.set_world(place, 1, &[supernode]);
        }
        lab.open = true;
        let networks = nodes.map(|node| lab.join(node, &link(1)));
        lab.run_seconds(4);
        let mut busy = Self {
            lab,
            supernode,
            nodes,
            networks,
            arrived: [Vec::new(), Vec::new()],
        };
        busy.speak(Duration::from_secs(5));
        assert_eq!(busy.paths(), [Some(PathKind::Direct); 2]);
        busy
    }

    /// Both send a frame every 20 ms.
    fn speak(&mut self, time: Duration) {
        let end = self.lab.now + time;
        while self.lab.now < end {
            self.step(true);
        }
    }

    fn step(&mut self, send: bool) {
        let macs = [0, 1].map(|at| self.lab.mac(self.nodes[at], self.networks[at]));
        for from in 0..2 {
            let now = self.lab.now.as_nanos().to_be_bytes();
            let bytes = [&frame(macs[1 - from], macs[from], 1)[..], &now].concat();
            if send {
                self.lab.send(self.nodes[from], self.networks[from], &bytes);
            }
        }
        self.lab.run(STEP);
        for to in 0..2 {
            let host = &mut self.lab.hosts[self.nodes[to]];
            if !std::mem::take(&mut host.frames).is_empty() {
                self.arrived[1 - to].push(self.lab.now);
            }
        }
    }

    /// The longest time since `begun` in which nothing arrived, of both directions.
    fn gap(&self, begun: Time) -> Duration {
        let of = |arrived: &Vec<Time>| {
            let after: Vec<Time> = arrived.iter().copied().filter(|at| *at >= begun).collect();
            let times: Vec<Time> = [begun].into_iter().chain(after).chain([self.lab.now]).collect();
            times
                .windows(2)
                .map(|pair| pair[1].since(pair[0]))
                .max()
                .unwrap_or_default()
        };
        self.arrived.iter().map(of).max().unwrap_or_default()
    }

    fn paths(&self) -> [Option<PathKind>; 2] {
        [0, 1].map(|at| {
            let key = self.lab.key(self.nodes[1 - at]);
            let peers = self.lab.hosts[self.nodes[at]].engine.peers(self.lab.now);
            peers.into_iter().find(|peer| peer.key == key)?.path
        })
    }

    /// The second node's router forgets everything, and gives out other ports from now on.
    fn reboot(&mut self) {
        let node = self.nodes[1];
        let mut nat = Nat::new(Dependence::Endpoint, Dependence::Port, PortRule::Random);
        nat.hairpin = false;
        self.lab.hosts[node].nat = Some(nat);
    }

    /// The second node is in another home.
    fn roam(&mut self) {
        let (node, now) = (self.nodes[1], self.lab.now);
        self.lab.hosts[node].address = SocketAddr::from(([203, 0, 113, 30], 9600));
        self.lab.hosts[node].nat = Some(router());
        let own = vec![SocketAddr::from(([192, 168, 30, 7], 9600))];
        self.lab.hosts[node].engine.set_local_endpoints(now, own);
    }

    /// The session indexes under which the second node receives what the first sends.
    fn sessions(&self) -> Vec<u32> {
        let peer = self.lab.peer(self.nodes[0], &self.lab.key(self.nodes[1]));
        peer.sessions.iter().map(|session| session.remote.0).collect()
    }

    /// Nothing goes between the second node and anybody for a while, and its clock stands still if it sleeps.
    fn silent_for(&mut self, time: Duration) {
        let asleep = self.nodes[1];
        self.lab.wire = Box::new(move |from, to, _| from != asleep && to != asleep);
        self.lab.run(time);
        self.lab.wire = intact();
    }
}

#[test]
fn a_router_that_starts_anew_under_load_costs_less_than_three_seconds() {
    let mut busy = Busy::new();
    let begun = busy.lab.now;
    busy.reboot();
    busy.speak(Duration::from_secs(15));
    let gap = busy.gap(begun);
    assert!(gap <= Duration::from_secs(3), "{gap:?}");
    assert_eq!(busy.paths(), [Some(PathKind::Direct); 2]);
}

#[test]
fn another_address_outside_costs_less_than_a_second_and_a_half() {
    let mut busy = Busy::new();
    let begun = busy.lab.now;
    busy.reboot();
    let node = busy.nodes[1];
    busy.lab.hosts[node].address = SocketAddr::from(([203, 0, 113, 77], 9600));
    busy.speak(Duration::from_secs(15));
    let gap = busy.gap(begun);
    assert!(gap <= Duration::from_millis(1500), "{gap:?}");
    assert_eq!(busy.paths(), [Some(PathKind::Direct); 2]);
}

#[test]
fn who_goes_to_another_network_is_heard_within_a_second_and_renews_its_keys() {
    let mut busy = Busy::new();
    let before = busy.sessions();
    let begun = busy.lab.now;
    busy.roam();
    busy.speak(Duration::from_secs(1));
    assert!(busy.gap(begun) <= Duration::from_secs(1), "{:?}", busy.gap(begun));
    busy.speak(Duration::from_secs(10));
    assert_eq!(busy.paths(), [Some(PathKind::Direct); 2]);
    let after = busy.sessions();
    assert!(
        after.iter().any(|index| !before.contains(index)),
        "{before:?}, {after:?}"
    );
    let current = busy
        .lab
        .peer(busy.nodes[0], &busy.lab.key(busy.nodes[1]))
        .sessions
        .current();
    assert!(
        !before.contains(&current.unwrap().remote.0),
        "the old keys are still in use"
    );
}

#[test]
fn a_link_that_is_away_for_a_minute_and_comes_back_elsewhere_is_used_at_once() {
    let mut busy = Busy::new();
    let (node, now) = (busy.nodes[1], busy.lab.now);
    busy.lab.hosts[node].engine.set_local_endpoints(now, Vec::new());
    let asleep = node;
    busy.lab.wire = Box::new(move |from, to, _| from != asleep && to != asleep);
    busy.speak(Duration::from_secs(60));
    busy.lab.wire = intact();
    let begun = busy.lab.now;
    busy.roam();
    busy.speak(Duration::from_secs(5));
    assert!(busy.gap(begun) <= Duration::from_secs(2), "{:?}", busy.gap(begun));
}

#[test]
fn paths_of_a_local_network_are_left_with_its_address() {
    let mut lab = Lab::new();
    let supernode = lab.add(Role::Supernode);
    let nodes = [(); 2].map(|()| lab.add(Role::Node));
    lab.hosts[supernode].address = SocketAddr::from(([203, 0, 113, 1], 9600));
    for (at, node) in nodes.into_iter().enumerate() {
        let inside = SocketAddr::from(([192, 168, 1, u8::try_from(at + 1).unwrap()], 9600));
        lab.hosts[node].inside = Some(inside);
        lab.hosts[node].address = SocketAddr::from(([203, 0, 113, 9], 40_000 + u16::try_from(at).unwrap()));
        let now = lab.now;
        lab.hosts[node].engine.set_local_endpoints(now, vec![inside]);
    }
    for place in 0..3 {
        lab.set_world(place, 1, &[supernode]);
    }
    lab.open = true;
    let networks = nodes.map(|node| lab.join(node, &link(1)));
    lab.run_seconds(4);
    let mut busy = Busy {
        lab,
        supernode,
        nodes,
        networks,
        arrived: [Vec::new(), Vec::new()],
    };
    busy.speak(Duration::from_secs(5));
    let near = busy.lab.hosts[nodes[1]].inside;
    let address = |busy: &Busy| busy.lab.hosts[nodes[0]].engine.peers(busy.lab.now)[0].address;
    assert_eq!(address(&busy), near);
    // The first one takes its laptop away, to a network that looks different.
    let (now, begun) = (busy.lab.now, busy.lab.now);
    busy.lab.hosts[nodes[0]].inside = None;
    busy.lab.hosts[nodes[0]].address = SocketAddr::from(([203, 0, 113, 50], 9600));
    let elsewhere = vec![SocketAddr::from(([10, 7, 0, 9], 9600))];
    busy.lab.hosts[nodes[0]].engine.set_local_endpoints(now, elsewhere);
    busy.speak(Duration::from_millis(60));
    assert_ne!(address(&busy), near, "it is left at once");
    busy.speak(Duration::from_secs(5));
    assert!(busy.gap(begun) <= Duration::from_secs(1), "{:?}", busy.gap(begun));
}

#[test]
fn another_card_that_leads_outside_is_noticed_by_its_address() {
    let mut busy = Busy::new();
    let (node, now) = (busy.nodes[1], busy.lab.now);
    let both: Vec<SocketAddr> = [[192, 168, 20, 2], [192, 168, 30, 2]]
        .map(|ip| SocketAddr::from((ip, 9600)))
        .to_vec();
    busy.lab.hosts[node].engine.set_local_endpoints(now, both.clone());
    busy.lab.hosts[node].engine.set_sources(now, &[both[0].ip()]);
    busy.speak(Duration::from_secs(3));
    assert_eq!(busy.paths(), [Some(PathKind::Direct); 2]);
    // The default route goes to the second card. No address comes or goes.
    let begun = busy.lab.now;
    busy.lab.hosts[node].address = SocketAddr::from(([203, 0, 113, 30], 9600));
    busy.lab.hosts[node].nat = Some(router());
    busy.lab.hosts[node].engine.set_sources(begun, &[both[1].ip()]);
    busy.speak(Duration::from_secs(10));
    assert!(busy.gap(begun) <= Duration::from_secs(1), "{:?}", busy.gap(begun));
    assert_eq!(busy.paths(), [Some(PathKind::Direct); 2]);
}

#[test]
fn an_address_that_comes_besides_the_others_disturbs_nothing() {
    let mut busy = Busy::new();
    let (node, now) = (busy.nodes[1], busy.lab.now);
    let before = busy.sessions();
    let more = vec![
        SocketAddr::from(([172, 17, 0, 1], 9600)),
        SocketAddr::from(([192, 168, 20, 2], 9600)),
    ];
    busy.lab.hosts[node].engine.set_local_endpoints(now, more);
    busy.speak(Duration::from_secs(3));
    assert!(busy.gap(now) <= 4 * STEP, "{:?}", busy.gap(now));
    assert_eq!(busy.paths(), [Some(PathKind::Direct); 2]);
    assert_eq!(busy.sessions(), before);
}

#[test]
fn who_slept_for_ten_minutes_is_heard_within_three_seconds() {
    for slept in [30, 100, 600, 86_400] {
        let mut busy = Busy::new();
        let (node, begun) = (busy.nodes[1], busy.lab.now);
        // The engine of the sleeper does nothing meanwhile: the others live on, and its clock jumps.
        busy.lab.asleep = Some(node);
        busy.silent_for(Duration::from_secs(slept));
        busy.lab.asleep = None;
        busy.reboot();
        let woke = busy.lab.now;
        busy.lab.hosts[node].engine.woke(woke, woke.since(begun));
        // The machine says something first; the other has given it up.
        busy.speak(Duration::from_secs(4));
        let first = |from: usize| {
            busy.arrived[from]
                .iter()
                .find(|at| **at > woke)
                .map(|at| at.since(woke))
        };
        for from in 0..2 {
            let first = first(from).unwrap_or(Duration::MAX);
            assert!(
                first <= Duration::from_secs(3),
                "{slept} s of sleep: {first:?} from {from}"
            );
        }
    }
}

#[test]
fn after_eleven_idle_minutes_the_first_frame_arrives() {
    let mut busy = Busy::new();
    let node = busy.nodes[1];
    // Both routers forget what is idle for 30 s.
    for node in busy.nodes {
        if let Some(nat) = &mut busy.lab.hosts[node].nat {
            nat.forgets = Some(Duration::from_secs(30));
        }
    }
    busy.lab.run_seconds(660);
    let macs = [0, 1].map(|at| busy.lab.mac(busy.nodes[at], busy.networks[at]));
    let bytes = frame(macs[1], macs[0], 9);
    busy.lab.send(busy.nodes[0], busy.networks[0], &bytes);
    busy.lab.run_seconds(3);
    assert_eq!(busy.lab.received(node, busy.networks[1], &bytes), 1);
}

#[test]
fn a_mapping_that_is_gone_after_22_seconds_is_kept_sooner_from_then_on() {
    let mut busy = Busy::new();
    let node = busy.nodes[1];
    let mut nat = Nat::new(Dependence::Endpoint, Dependence::Port, PortRule::Random);
    nat.forgets = Some(Duration::from_secs(22));
    busy.lab.hosts[node].nat = Some(nat);
    let supernode = busy.lab.key(busy.supernode);
    let id = busy.lab.peer_id(node, &supernode);
    busy.lab.run_seconds(60);
    // The router is another than before, which looked the same.
    let registrations = &mut busy.lab.hosts[node].engine.directory.registrations;
    registrations.get_mut(&id).unwrap().kept = Kept::default();
    // Peers are idle, so nothing but signs of life goes out.
    busy.lab.run_seconds(800);
    let interval = |busy: &Busy| {
        let registration = &busy.lab.hosts[node].engine.directory.registrations[&id];
        registration.kept.interval(busy.lab.now)
    };
    assert_eq!(interval(&busy), Duration::from_secs(20));
    let observed = |busy: &Busy| busy.lab.hosts[node].engine.traversal.observed().collect::<Vec<_>>();
    let before = observed(&busy);
    busy.lab.run_seconds(600);
    assert_eq!(observed(&busy), before, "the mapping is kept now");
}
