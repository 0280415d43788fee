//! What two ends tell each other for a diagnosis, to whom they tell it, and that every change of the way of data is reported once.

use std::{net::SocketAddr, time::Duration};

use farlan_netconf::Parameters;

use super::lab::{Lab, Place, cut, datagram, frame, intact, link, name};
use crate::{
    Event, Examination, Finding, NetworkHandle, Observations, Openness, PathKind, Role, Target, Theirs, Way,
    wire::control::Control,
};

/// Nodes with public addresses, registered at supernodes of one world, not in touch yet.
struct Scene {
    lab: Lab,
    supernodes: Vec<Place>,
    nodes: [Place; 2],
    networks: [NetworkHandle; 2],
}

impl Scene {
    fn new(supernodes: usize, parameters: [&Parameters; 2]) -> Self {
        let mut lab = Lab::new();
        let supernodes: Vec<_> = (0..supernodes).map(|_| lab.add(Role::Supernode)).collect();
        let nodes = [(); 2].map(|()| lab.add(Role::Node));
        for place in supernodes.iter().chain(&nodes) {
            let last = u8::try_from(place + 1).unwrap();
            lab.hosts[*place].address = SocketAddr::from(([203, 0, 113, last], 9600));
        }
        for place in supernodes.iter().chain(&nodes) {
            lab.set_world(*place, 1, &supernodes);
        }
        lab.open = true;
        let networks = [0, 1].map(|at| {
            let network = lab.join(nodes[at], parameters[at]);
            lab.open_all(nodes[at], network);
            network
        });
        for node in nodes {
            let (now, address) = (lab.now, lab.hosts[node].address);
            lab.hosts[node].engine.set_local_endpoints(now, vec![address]);
        }
        lab.run_seconds(5);
        Self {
            lab,
            supernodes,
            nodes,
            networks,
        }
    }

    fn pair() -> Self {
        Self::new(1, [&link(1); 2])
    }

    fn strangers() -> Self {
        Self::new(1, [&name(); 2])
    }

    /// Both send a frame every 50 ms.
    fn converse(&mut self, time: Duration) {
        let end = self.lab.now + time;
        let macs = [0, 1].map(|at| self.lab.mac(self.nodes[at], self.networks[at]));
        while self.lab.now < end {
            for from in [0, 1] {
                let (to, from_mac) = (macs[1 - from], macs[from]);
                let policy = self.lab.status(self.nodes[from], self.networks[from]).policy;
                let bytes = match policy {
                    farlan_netconf::Policy::Friends => frame(to, from_mac, 1),
                    farlan_netconf::Policy::Strangers => datagram(to, from_mac, &[1; 60]),
                };
                self.lab.send(self.nodes[from], self.networks[from], &bytes);
            }
            self.lab.run(Duration::from_millis(50));
        }
    }

    /// What the node `at` (0 or 1) finds out of the other.
    fn examine(&mut self, at: usize) -> Examination {
        let (now, node) = (self.lab.now, self.nodes[at]);
        let other = self.lab.key(self.nodes[1 - at]).node_id();
        self.lab.hosts[node].events.clear();
        self.lab.hosts[node].engine.examine(now, Target::Node(other), None, 7);
        self.lab.run(Duration::from_millis(4500));
        let mut found = self.lab.hosts[node].events.iter().filter_map(|event| match event {
            Event::Examined { token: 7, examination } => Some(Examination::clone(examination)),
            _ => None,
        });
        let examination = found.next().expect("it ends within 4 s");
        assert!(found.next().is_none(), "it ends once");
        examination
    }

    /// The changes of the way of data that the node `at` reported.
    fn changes(&self, at: usize) -> Vec<PathKind> {
        let events = self.lab.hosts[self.nodes[at]].events.iter();
        let changes = events.filter_map(|event| match event {
            Event::PathChanged { path, .. } => Some(*path),
            _ => None,
        });
        changes.collect()
    }
}

fn told(examination: &Examination) -> Observations {
    match examination.theirs {
        Theirs::Told(told) => told,
        other => panic!("{other:?}"),
    }
}

#[test]
fn both_ends_tell_what_they_found_out() {
    let mut scene = Scene::pair();
    scene.converse(Duration::from_secs(2));
    for at in [0, 1] {
        let examination = scene.examine(at);
        let standing = examination.standing;
        assert!(standing.registered && standing.listed && standing.session && standing.shared && standing.heard);
        for found in [examination.own, told(&examination)] {
            assert_eq!((found.openness, found.way), (Openness::Open, Way::Direct));
            assert_eq!((found.udp, found.twin), (Finding::Yes, Finding::No));
            assert_eq!((found.told.outside, found.told.mapped), (1, 0));
            assert_eq!(found.behaviour.translated, Some(false), "{found:?}");
            // They were in use until a moment ago; what they tried ended with the path.
            assert!(
                found.used.is_some_and(|used| used.get() < 10) && found.rounds == 0,
                "{found:?}"
            );
        }
        assert_eq!(examination.peer.unwrap().path, Some(PathKind::Direct));
        // The wire takes anything, so all sizes up to the usual one pass.
        assert_eq!((examination.own.mtu, examination.own.too_large), (1500, 0));
    }
}

#[test]
fn what_was_tried_in_vain_is_counted_at_both_ends() {
    let mut scene = Scene::pair();
    scene.lab.wire = cut(scene.nodes[0], scene.nodes[1]);
    scene.converse(Duration::from_secs(8));
    let examination = scene.examine(0);
    for found in [examination.own, told(&examination)] {
        assert_eq!(found.way, Way::Relay);
        assert!(found.rounds >= 2 && found.sent > 5, "{found:?}");
        assert_eq!((found.came, found.answered), (0, 0));
    }
    // One direction passes: who hears knows that the other does not.
    let [deaf, heard] = scene.nodes;
    scene.lab.wire = Box::new(move |from, to, _| (from, to) != (heard, deaf));
    scene.converse(Duration::from_secs(15));
    let examination = scene.examine(0);
    assert_eq!(examination.own.came, 0);
    assert!(told(&examination).came > 0);
}

#[test]
fn an_examination_is_no_use_of_the_peer() {
    let mut scene = Scene::pair();
    scene.lab.run_seconds(20);
    let examination = scene.examine(0);
    assert_eq!((examination.own.way, examination.own.rounds), (Way::Relay, 0));
    assert_eq!(examination.own.used, None);
    scene.lab.run_seconds(20);
    assert!(scene.lab.straight.is_empty(), "nothing was tried because of it");
}

#[test]
fn who_hides_tells_that_and_nothing_else() {
    let mut scene = Scene::strangers();
    scene.lab.hosts[scene.nodes[1]].engine.set_hide_address(true);
    scene.converse(Duration::from_secs(2));
    let examination = scene.examine(0);
    assert_eq!(told(&examination), Observations::closed(Openness::Hidden));
    assert_eq!(examination.own.openness, Openness::Open);
    let hidden = scene.examine(1);
    assert_eq!(
        (hidden.own.openness, told(&hidden).openness),
        (Openness::Hidden, Openness::Open)
    );
    assert!(scene.lab.straight.iter().all(|sent| sent.from != scene.nodes[1]));
}

#[test]
fn who_shares_no_network_is_told_nothing() {
    let mut scene = Scene::new(1, [&link(1), &link(2)]);
    let examination = scene.examine(0);
    let standing = examination.standing;
    assert!(standing.session && standing.heard && !standing.shared, "{standing:?}");
    assert_eq!(examination.theirs, Theirs::NotAsked);
    // Nor if it asks all the same.
    let [one, other] = scene.nodes;
    let key = scene.lab.key(other);
    scene.lab.run_seconds(2);
    scene.lab.log = Some(Vec::new());
    scene.lab.tell(one, &key, Control::ObservationsWanted { request: 1 });
    scene.lab.run(Duration::from_millis(300));
    let sent = scene.lab.log.take().unwrap();
    let answers = sent.iter().filter(|sent| sent.from == other && sent.bytes.len() >= 64);
    assert_eq!(answers.count(), 0);
}

#[test]
fn a_silent_peer_and_a_dead_supernode_are_told_apart() {
    let mut scene = Scene::pair();
    let silent = scene.nodes[1];
    scene.lab.wire = Box::new(move |from, to, _| from != silent && to != silent);
    let standing = scene.examine(0).standing;
    assert!(
        standing.registered && standing.listed && !standing.heard,
        "{standing:?}"
    );
    // Its registration ends.
    scene.lab.run_seconds(80);
    let standing = scene.examine(0).standing;
    assert!(
        standing.registered && !standing.listed && !standing.heard,
        "{standing:?}"
    );
    let supernode = scene.supernodes[0];
    scene.lab.wire = Box::new(move |from, to, _| from != supernode && to != supernode);
    let standing = scene.examine(0).standing;
    assert!(!standing.registered && !standing.heard, "{standing:?}");
}

#[test]
fn nobody_is_found_by_an_id_that_nobody_has() {
    let mut scene = Scene::pair();
    let (now, node) = (scene.lab.now, scene.nodes[0]);
    let nobody = farlan_crypto::NodeId::from_bytes([9; 16]);
    scene.lab.hosts[node].engine.examine(now, Target::Node(nobody), None, 8);
    scene.lab.run_seconds(5);
    let events = &scene.lab.hosts[node].events;
    let found = events.iter().find_map(|event| match event {
        Event::Examined { token: 8, examination } => Some(examination),
        _ => None,
    });
    let found = found.expect("it ends");
    assert!(found.peer.is_none() && found.standing.registered);
}

#[test]
fn questions_are_answered_at_a_bounded_rate() {
    let mut scene = Scene::pair();
    scene.converse(Duration::from_secs(1));
    let [one, other] = scene.nodes;
    let key = scene.lab.key(other);
    for request in 0..600 {
        scene.lab.tell(one, &key, Control::ObservationsWanted { request });
        scene.lab.run(Duration::from_millis(100));
    }
    let limited = scene.lab.hosts[other].engine.counters().questions_limited;
    // In a minute half a question a second, and the first handful.
    assert!((550..=570).contains(&limited), "{limited} of 600");
}

#[test]
fn examinations_are_few_and_each_one_ends() {
    let mut scene = Scene::pair();
    let (now, node) = (scene.lab.now, scene.nodes[0]);
    let other = scene.lab.key(scene.nodes[1]).node_id();
    for token in 100..140 {
        scene.lab.hosts[node]
            .engine
            .examine(now, Target::Node(other), None, token);
    }
    scene.lab.run_seconds(5);
    let events = scene.lab.hosts[node].events.iter();
    let ended = events.filter(|event| matches!(event, Event::Examined { token: 100.., .. }));
    assert_eq!(ended.count(), 40);
}

#[test]
fn every_change_of_the_way_is_reported_once() {
    let mut scene = Scene::new(2, [&link(1); 2]);
    let second = Duration::from_secs(1);
    scene.lab.open = false;
    scene.converse(2 * second);
    assert_eq!(
        [scene.changes(0), scene.changes(1)],
        [[], []],
        "the first way is no change"
    );
    scene.lab.open = true;
    scene.converse(30 * second);
    let direct = PathKind::Direct;
    assert_eq!([scene.changes(0), scene.changes(1)], [[direct], [direct]]);
    // The direct path dies: both fall to the relay, once.
    scene.lab.open = false;
    scene.converse(4 * second);
    let relay = PathKind::Relay;
    assert_eq!([scene.changes(0), scene.changes(1)], [[direct, relay], [direct, relay]]);
    // Their supernode dies: the other one takes over, once.
    let over = |scene: &Scene, at: usize| {
        let key = scene.lab.key(scene.nodes[1 - at]);
        let peers = scene.lab.hosts[scene.nodes[at]].engine.peers(scene.lab.now);
        peers
            .into_iter()
            .find(|peer| peer.key == key)
            .unwrap()
            .supernode
            .unwrap()
    };
    let used = [over(&scene, 0), over(&scene, 1)];
    let dead = *scene
        .supernodes
        .iter()
        .find(|place| scene.lab.key(**place).node_id() == used[0])
        .unwrap();
    scene.lab.wire = Box::new(move |from, to, _| from != dead && to != dead);
    scene.converse(20 * second);
    for at in [0, 1] {
        assert_ne!(over(&scene, at), scene.lab.key(dead).node_id());
        let moved = usize::from(over(&scene, at) != used[at]);
        assert_eq!(scene.changes(at).len(), 2 + moved, "{:?}", scene.changes(at));
    }
    // And straight again.
    scene.lab.wire = intact();
    scene.lab.open = true;
    scene.converse(70 * second);
    for at in [0, 1] {
        let changes = scene.changes(at);
        assert_eq!(changes.iter().filter(|path| **path == direct).count(), 2, "{changes:?}");
        assert_eq!(changes.last(), Some(&direct));
    }
}
