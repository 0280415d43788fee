//! Channels in the simulator: broadcasts to one port in a network too large for copies to all.

use std::time::Duration;

use farlan_engine::Channel;
use farlan_tests::sim::{HostId, Lab, LinkQuality, NetId, SendId, broadcast_to_port};

const SECOND: Duration = Duration::from_secs(1);
const MILLISECOND: Duration = Duration::from_millis(1);

/// Members: more than a node sends copies to.
const MEMBERS: usize = 200;

/// Those who subscribe to [`PORT`].
const SUBSCRIBERS: usize = 20;

const PORT: u16 = 27_015;

/// A large network, some of whose members listen to one port.
struct Crowd {
    lab: Lab,
    network: NetId,
    nodes: Vec<HostId>,
    sent: u64,
}

impl Crowd {
    fn new(seed: u64) -> Self {
        let mut lab = Lab::new(seed);
        lab.set_links(LinkQuality::of_delay(20 * MILLISECOND).with_jitter(2 * MILLISECOND));
        lab.add_supernode();
        let network = lab.add_link_network();
        let nodes: Vec<HostId> = (0..MEMBERS).map(|_| lab.add_node(None)).collect();
        nodes.iter().for_each(|&node| lab.join(node, network));
        lab.run(5 * SECOND);
        let mut crowd = Self {
            lab,
            network,
            nodes,
            sent: 0,
        };
        for number in 0..SUBSCRIBERS {
            crowd.listen(crowd.nodes[number]);
        }
        crowd.lab.run(3 * SECOND);
        crowd
    }

    fn listen(&mut self, node: HostId) {
        self.lab.set_channels(node, self.network, &[Channel::broadcasts(PORT)]);
    }

    fn call(&mut self, from: HostId) -> SendId {
        self.sent += 1;
        let mac = self.lab.card(from, self.network).mac();
        let frame = broadcast_to_port(mac, PORT, self.sent, 100);
        self.lab.send(from, self.network, frame)
    }
}

#[test]
fn a_broadcast_reaches_all_who_listen_and_some_others() {
    let mut crowd = Crowd::new(1);
    crowd.lab.set_links(
        LinkQuality::of_delay(20 * MILLISECOND)
            .with_jitter(2 * MILLISECOND)
            .with_loss(0.01),
    );
    let listeners: Vec<usize> = crowd.nodes[..SUBSCRIBERS].iter().map(|node| node.index()).collect();
    let mut calls = Vec::new();
    for _ in 0..10 {
        for number in 0..SUBSCRIBERS {
            let from = crowd.nodes[number];
            calls.push((from.index(), crowd.call(from)));
            crowd.lab.run(50 * MILLISECOND);
        }
    }
    crowd.lab.run(6 * SECOND);
    // The model panics at a second copy.
    let (mut pairs, mut missed, mut others) = (0, 0, 0);
    for (from, call) in calls {
        let reached = crowd.lab.model().reached(call);
        let strangers = reached.iter().filter(|node| !listeners.contains(node)).count();
        // Whoever answers a broadcast need not have listened to its port: some hear it by the way.
        assert!(strangers + SUBSCRIBERS - 1 <= 192, "{strangers} others");
        others += strangers;
        let expected = listeners.iter().filter(|node| **node != from);
        missed += expected.clone().filter(|node| !reached.contains(node)).count();
        pairs += expected.count();
    }
    assert_eq!(pairs, 10 * SUBSCRIBERS * (SUBSCRIBERS - 1));
    assert_eq!(missed, 0, "of {pairs}");
    assert!(others > 0);
}

#[test]
fn a_newcomer_hears_an_announced_game_within_three_seconds() {
    let mut crowd = Crowd::new(2);
    let announcer = crowd.nodes[0];
    for _ in 0..3 {
        crowd.call(announcer);
        crowd.lab.run(1500 * MILLISECOND);
    }
    let newcomers: Vec<HostId> = (0..3).map(|_| crowd.lab.add_node(None)).collect();
    for newcomer in newcomers {
        let network = crowd.network;
        crowd.lab.join(newcomer, network);
        crowd.listen(newcomer);
        let joined = crowd.lab.now();
        let mut calls = Vec::new();
        let mut heard = None;
        while heard.is_none() && crowd.lab.now() - joined < 10 * SECOND {
            calls.push(crowd.call(announcer));
            for _ in 0..150 {
                crowd.lab.run(10 * MILLISECOND);
                let model = crowd.lab.model();
                if calls
                    .iter()
                    .any(|call| model.reached(*call).contains(&newcomer.index()))
                {
                    heard.get_or_insert_with(|| crowd.lab.now() - joined);
                }
            }
        }
        assert!(heard.is_some_and(|heard| heard <= 3 * SECOND), "{heard:?}");
    }
}

#[test]
fn a_flood_is_held_to_fifty_a_second() {
    let mut crowd = Crowd::new(3);
    let flooder = crowd.nodes[0];
    let mut calls = Vec::new();
    for _ in 0..3000 {
        calls.push(crowd.call(flooder));
        crowd.lab.run(MILLISECOND);
    }
    crowd.lab.run(6 * SECOND);
    for node in &crowd.nodes[1..SUBSCRIBERS] {
        let model = crowd.lab.model();
        let got = calls
            .iter()
            .filter(|call| model.reached(**call).contains(&node.index()))
            .count();
        // A hundred at once, and fifty a second.
        assert!((200..=260).contains(&got), "{got} at {node:?}");
    }
}
