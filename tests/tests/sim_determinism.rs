//! The simulator itself: a run follows from its seed and from nothing else.

use std::time::Duration;

use farlan_tests::sim::{BROADCAST, Family, Kind, LinkQuality, Scene, payload_frame};

const SECOND: Duration = Duration::from_secs(1);

/// A busy minute with every fault there is; returns its hash and number of log entries.
fn run(seed: u64) -> (String, u64) {
    let links = LinkQuality::of_delay(Duration::from_millis(20))
        .with_jitter(Duration::from_millis(30))
        .with_loss(0.05)
        .with_duplication(0.05);
    let mut scene = Scene::new(seed, Kind::Link, 4, links);
    scene.lab.run(8 * SECOND);
    let nodes = scene.nodes.clone();
    for round in 0..40 {
        for &from in &nodes {
            let to = nodes[(from.index() + round) % nodes.len()];
            if from != to && scene.lab.address(to, scene.network, Family::V4).is_some() {
                scene.ping(from, to, Family::V4);
            }
        }
        match round {
            5 => scene.lab.rebind(scene.nats[1]),
            10 => scene.lab.crash(nodes[2]),
            13 => scene.lab.restart(nodes[2]),
            20 => scene.lab.crash(scene.supernode),
            22 => scene.lab.restart(scene.supernode),
            30 => scene.lab.set_isolated(nodes[0], true),
            33 => scene.lab.set_isolated(nodes[0], false),
            _ => {}
        }
        if round % 4 == 0 {
            let mac = scene.lab.card(nodes[3], scene.network).mac();
            scene.lab.send(
                nodes[3],
                scene.network,
                payload_frame(BROADCAST, mac, round as u64, 300),
            );
        }
        scene.lab.run(Duration::from_millis(1_500));
    }
    (scene.lab.trace().hash(), scene.lab.trace().entries())
}

#[test]
fn one_seed_twice_is_one_run() {
    let first = run(1);
    println!("seed 1: event log {} of {} entries", first.0, first.1);
    assert!(first.1 > 1_000, "only {} entries: nothing happened", first.1);
    assert_eq!(first, run(1));
}

#[test]
fn another_seed_is_another_run() {
    assert_ne!(run(2).0, run(3).0);
}
