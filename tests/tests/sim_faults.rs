//! Crashes, restarts, loss, cuts and long times, in the simulator.

use std::{net::IpAddr, time::Duration};

use farlan_tests::sim::{
    FIXED_SEEDS, Family, HostId, Kind, Lab, LinkQuality, Mapping, NetId, PingId, Scene, for_each_seed, payload_frame,
};

const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

/// An ordinary connection: 20 ms one way, a little jitter.
const PLAIN: LinkQuality = LinkQuality::of_delay(Duration::from_millis(20)).with_jitter(Duration::from_millis(2));

/// Runs a ping ten times a second towards an address, as `ping -i 0.1` does, for `duration`.
fn ping_stream(lab: &mut Lab, from: HostId, network: NetId, address: IpAddr, duration: Duration) -> Vec<PingId> {
    let end = lab.now() + duration;
    let mut pings = Vec::new();
    while lab.now() < end {
        pings.push(lab.ping_address(from, network, address));
        lab.run(100 * MILLISECOND);
    }
    pings
}

/// How many tenths of a second at the start of a stream stayed without an answer.
fn unanswered_at_start(lab: &Lab, pings: &[PingId]) -> usize {
    pings.iter().take_while(|&&ping| lab.answer(ping).is_none()).count()
}

fn addresses(lab: &Lab, host: HostId, network: NetId) -> ([u8; 6], Vec<Option<IpAddr>>) {
    let mac = lab.card(host, network).mac();
    (
        mac,
        Family::ALL.map(|family| lab.address(host, network, family)).to_vec(),
    )
}

#[test]
fn a_restarted_node_is_found_again_by_warm_neighbours() {
    for family in [Family::V4, Family::V6] {
        for_each_seed(FIXED_SEEDS / 2, |seed| {
            let mut scene = Scene::settled(seed, Kind::Link, 3, PLAIN);
            let network = scene.network;
            let (a, b) = (scene.nodes[0], scene.nodes[1]);
            let before = addresses(&scene.lab, b, network);
            let target = scene.lab.address(b, network, family).expect("an address");
            let warm = ping_stream(&mut scene.lab, a, network, target, 2 * SECOND);
            assert!(scene.lab.answer(warm[5]).is_some());
            scene.lab.crash(b);
            ping_stream(&mut scene.lab, a, network, target, 3 * SECOND);
            assert_eq!(
                scene.lab.card(a, network).neighbour(target),
                Some(before.0),
                "the neighbour cache is warm"
            );
            scene.lab.restart(b);
            let after = ping_stream(&mut scene.lab, a, network, target, 8 * SECOND);
            scene.lab.run(SECOND);
            let gap = unanswered_at_start(&scene.lab, &after);
            assert!(
                gap <= 30,
                "{family:?}: still silent {gap} tenths of a second after the restart"
            );
            let lost = after[50..]
                .iter()
                .filter(|&&ping| scene.lab.answer(ping).is_none())
                .count();
            assert_eq!(lost, 0, "{family:?}: it does not stay");
            assert_eq!(addresses(&scene.lab, b, network), before, "addresses changed");
        });
    }
}

#[test]
fn a_restart_faster_than_anyone_notices() {
    for_each_seed(FIXED_SEEDS / 2, |seed| {
        let mut scene = Scene::settled(seed, Kind::Link, 2, PLAIN);
        let network = scene.network;
        let (a, b) = (scene.nodes[0], scene.nodes[1]);
        let target = scene.lab.address(b, network, Family::V4).expect("an address");
        ping_stream(&mut scene.lab, a, network, target, SECOND);
        scene.lab.crash(b);
        scene.lab.restart(b);
        let after = ping_stream(&mut scene.lab, a, network, target, 6 * SECOND);
        scene.lab.run(SECOND);
        let gap = unanswered_at_start(&scene.lab, &after);
        assert!(gap <= 30, "silent for {gap} tenths of a second");
    });
}

#[test]
fn a_restarted_supernode_gets_its_lan_back() {
    // Nodes that speak notice within seconds; a silent one at its next sign of life, which comes every 25 s.
    for (speaking, limit) in [(true, 10 * SECOND), (false, 31 * SECOND)] {
        for_each_seed(FIXED_SEEDS / 2, |seed| {
            let mut scene = Scene::settled(seed, Kind::Link, 3, PLAIN);
            for (from, to) in scene.pairs() {
                assert!(scene.ping_for(from, to, Family::V4, SECOND).is_some());
            }
            let all = |scene: &Scene| -> Vec<_> {
                scene
                    .nodes
                    .iter()
                    .map(|&node| addresses(&scene.lab, node, scene.network))
                    .collect()
            };
            let before = all(&scene);
            scene.lab.crash(scene.supernode);
            scene.lab.run(5 * SECOND);
            scene.lab.restart(scene.supernode);
            let start = scene.lab.now();
            while scene.lab.now() < start + limit {
                if speaking {
                    for (from, to) in scene.pairs() {
                        scene.ping(from, to, Family::V4);
                    }
                }
                scene.lab.run(500 * MILLISECOND);
            }
            for (from, to) in scene.pairs() {
                let answered = scene.ping_for(from, to, Family::V4, 2 * SECOND);
                assert!(
                    answered.is_some(),
                    "{from:?} to {to:?} silent {limit:?} after the restart"
                );
            }
            assert_eq!(all(&scene), before, "addresses changed");
            assert_eq!(scene.lab.anchor(scene.supernode).registrations, 3);
        });
    }
}

#[test]
fn a_supernode_that_restarts_at_once_is_noticed() {
    // No time-out helps here: the nodes' packets reach a supernode that knows nothing of them.
    for_each_seed(FIXED_SEEDS / 2, |seed| {
        let mut scene = Scene::settled(seed, Kind::Link, 2, PLAIN);
        let (a, b) = (scene.nodes[0], scene.nodes[1]);
        assert!(scene.ping_for(a, b, Family::V4, SECOND).is_some());
        scene.lab.crash(scene.supernode);
        scene.lab.restart(scene.supernode);
        let answered = scene.ping_until_answered(a, b, Family::V4, 500 * MILLISECOND, 20 * SECOND);
        assert!(answered.is_some_and(|time| time <= 10 * SECOND), "{answered:?}");
    });
}

#[test]
fn a_supernode_may_come_late() {
    for_each_seed(FIXED_SEEDS / 2, |seed| {
        let mut lab = Lab::new(seed);
        lab.set_links(PLAIN);
        let supernode = lab.add_supernode();
        lab.crash(supernode);
        let network = lab.add_link_network();
        let nodes = [Mapping::EndpointIndependent, Mapping::Symmetric].map(|mapping| {
            let nat = lab.add_nat(mapping);
            lab.add_node(Some(nat))
        });
        nodes.iter().for_each(|&node| lab.join(node, network));
        let silent = lab.ping(nodes[0], nodes[1], network, Family::V6);
        lab.run(MINUTE);
        assert!(nodes.iter().all(|&node| !lab.is_registered(node)));
        assert_eq!(lab.answer(silent), None);
        assert!(
            nodes.iter().all(|&node| lab.card(node, network).received().is_empty()),
            "frames without a supernode"
        );
        lab.restart(supernode);
        let start = lab.now();
        let registered = lab.run_until(30 * SECOND, |lab| {
            nodes
                .iter()
                .all(|&node| lab.address(node, network, Family::V4).is_some())
        });
        assert!(
            registered.is_some(),
            "not registered {:?} after the supernode came",
            lab.now() - start
        );
        lab.run(SECOND);
        let ping = lab.ping(nodes[0], nodes[1], network, Family::V4);
        assert!(lab.run_until(3 * SECOND, |lab| lab.answer(ping).is_some()).is_some());
    });
}

#[test]
fn a_rebound_nat_interrupts_for_seconds_only() {
    for_each_seed(FIXED_SEEDS / 2, |seed| {
        let mut scene = Scene::settled(seed, Kind::Link, 3, PLAIN);
        let network = scene.network;
        let (a, b) = (scene.nodes[0], scene.nodes[1]);
        // From within: the rebound node itself speaks.
        let target = scene.lab.address(b, network, Family::V4).expect("an address");
        ping_stream(&mut scene.lab, a, network, target, SECOND);
        scene.lab.rebind(scene.nats[0]);
        let pings = ping_stream(&mut scene.lab, a, network, target, 10 * SECOND);
        scene.lab.run(SECOND);
        let gap = unanswered_at_start(&scene.lab, &pings);
        assert!(gap <= 30, "silent for {gap} tenths of a second");
        // From outside: the node that is called has to notice by its keep-alive.
        scene.lab.rebind(scene.nats[1]);
        let pings = ping_stream(&mut scene.lab, a, network, target, 40 * SECOND);
        scene.lab.run(SECOND);
        let gap = unanswered_at_start(&scene.lab, &pings);
        assert!(gap <= 270, "silent for {gap} tenths of a second");
        let lost = pings[300..]
            .iter()
            .filter(|&&ping| scene.lab.answer(ping).is_none())
            .count();
        assert_eq!(lost, 0, "it does not stay");
    });
}

#[test]
fn a_cut_heals() {
    for_each_seed(FIXED_SEEDS / 2, |seed| {
        let mut scene = Scene::settled(seed, Kind::Link, 3, PLAIN);
        let (a, b) = (scene.nodes[0], scene.nodes[1]);
        assert!(scene.ping_for(a, b, Family::V4, SECOND).is_some());
        for length in [5, 200] {
            scene.lab.set_isolated(b, true);
            scene.lab.run(length * SECOND);
            assert_eq!(scene.ping_for(a, b, Family::V4, SECOND), None);
            scene.lab.set_isolated(b, false);
            let answered = scene.ping_until_answered(a, b, Family::V4, 250 * MILLISECOND, 20 * SECOND);
            assert!(
                answered.is_some_and(|time| time <= 10 * SECOND),
                "after a cut of {length} s: {answered:?}"
            );
        }
    });
}

#[test]
fn sessions_come_up_over_bad_links() {
    for_each_seed(FIXED_SEEDS / 2, |seed| {
        let bad = PLAIN.with_loss(0.2).with_duplication(0.1).with_jitter(60 * MILLISECOND);
        let mut scene = Scene::new(seed, Kind::Link, 3, bad);
        let nodes = scene.nodes.clone();
        let network = scene.network;
        let ready = scene.lab.run_until(30 * SECOND, |lab| {
            nodes
                .iter()
                .all(|&node| lab.address(node, network, Family::V4).is_some())
        });
        assert!(ready.is_some(), "no addresses after 30 s at 20 % loss");
        for (from, to) in scene.pairs() {
            let answered = scene.ping_until_answered(from, to, Family::V4, 500 * MILLISECOND, 20 * SECOND);
            assert!(
                answered.is_some(),
                "{from:?} to {to:?}: no answer within 20 s at 20 % loss"
            );
        }
    });
}

#[test]
fn bent_and_replayed_datagrams_do_no_harm() {
    // The model judges what arrives; here traffic must go on. Replays change nothing at all. A bent copy may overtake the
    // true datagram and spoil the unsealed relay header, which is mended by the next one.
    for (corruption, replay, allowed) in [(0.0, 0.5, 0), (0.2, 0.2, 30)] {
        for_each_seed(FIXED_SEEDS / 2, |seed| {
            let kind = if seed % 2 == 0 { Kind::Link } else { Kind::Name };
            let mut scene = Scene::new(seed, kind, 3, PLAIN.with_attacker(corruption, replay));
            scene.lab.settle(scene.network, &scene.nodes.clone());
            for (from, to) in scene.pairs() {
                let answered = scene.ping_until_answered(from, to, Family::V4, SECOND, 5 * SECOND);
                assert!(answered.is_some());
            }
            let mut pings = Vec::new();
            for _ in 0..100 {
                for (from, to) in scene.pairs() {
                    pings.push(scene.ping(from, to, Family::V4));
                }
                scene.lab.run(400 * MILLISECOND);
            }
            scene.lab.run(SECOND);
            let lost = pings.iter().filter(|&&ping| scene.lab.answer(ping).is_none()).count();
            assert!(lost <= allowed, "{lost} of {} pings lost", pings.len());
            let counters = scene.nodes.iter().map(|&node| scene.lab.counters(node));
            let (forged, replayed) = counters.fold((0, 0), |sum, counters| {
                (sum.0 + counters.forged, sum.1 + counters.replayed)
            });
            assert!(
                replayed > 100 && (corruption == 0.0 || forged > 100),
                "{forged} forged, {replayed} replayed"
            );
        });
    }
}

#[test]
fn with_two_supernodes_one_may_die() {
    for_each_seed(FIXED_SEEDS / 2, |seed| {
        let mut lab = Lab::new(seed);
        lab.set_links(PLAIN);
        let supernodes = [(); 2].map(|()| lab.add_supernode());
        let network = lab.add_link_network();
        let nodes = [
            Mapping::EndpointIndependent,
            Mapping::Symmetric,
            Mapping::EndpointIndependent,
        ]
        .map(|mapping| {
            let nat = lab.add_nat(mapping);
            lab.add_node(Some(nat))
        });
        nodes.iter().for_each(|&node| lab.join(node, network));
        lab.settle(network, &nodes);
        let pairs = [(0, 1), (1, 0), (1, 2), (2, 1), (0, 2), (2, 0)];
        let ping_all = |lab: &mut Lab| -> usize {
            let pings = pairs.map(|(from, to)| lab.ping(nodes[from], nodes[to], network, Family::V4));
            lab.run(500 * MILLISECOND);
            pings.iter().filter(|&&ping| lab.answer(ping).is_none()).count()
        };
        lab.run(SECOND);
        ping_all(&mut lab);
        assert_eq!(ping_all(&mut lab), 0);
        // One dies, comes back, then the other dies; each time traffic goes on as soon as its silence has been noticed.
        for (dies, other) in [(0, 1), (1, 0)] {
            lab.crash(supernodes[dies]);
            let start = lab.now();
            while ping_all(&mut lab) > 0 {
                assert!(lab.now() - start < 5 * SECOND, "silent 5 s after supernode {dies} died");
            }
            for _ in 0..20 {
                assert_eq!(ping_all(&mut lab), 0, "it does not stay");
            }
            lab.restart(supernodes[dies]);
            lab.run_until(40 * SECOND, |lab| lab.anchor(supernodes[dies]).registrations == 3);
            assert_eq!(lab.anchor(supernodes[dies]).registrations, 3);
            assert_eq!(lab.anchor(supernodes[other]).registrations, 3);
        }
    });
}

#[test]
fn re_keying_loses_nothing() {
    for_each_seed(2, |seed| {
        let mut scene = Scene::settled(seed, Kind::Link, 2, LinkQuality::of_delay(20 * MILLISECOND));
        let (a, b) = (scene.nodes[0], scene.nodes[1]);
        let network = scene.network;
        assert!(scene.ping_for(a, b, Family::V4, 2 * SECOND).is_some());
        let macs = [a, b].map(|host| scene.lab.card(host, network).mac());
        let begun = [a, b].map(|host| scene.lab.counters(host).handshakes_done);
        let arrived = |lab: &Lab, host, sender: [u8; 6]| -> Vec<u64> {
            let received = lab.card(host, network).received().iter();
            received
                .filter(|received| received.frame[6..12] == sender && received.frame[12..14] == [0x88, 0xb5])
                .filter_map(|received| Some(u64::from_be_bytes(received.frame.get(14..22)?.try_into().ok()?)))
                .collect()
        };
        let mut number = 0;
        // Ten minutes, 20 frames a second each way, at changing distances.
        let end = scene.lab.now() + 10 * MINUTE;
        while scene.lab.now() < end {
            number += 1;
            scene.lab.send(a, network, payload_frame(macs[1], macs[0], number, 100));
            scene.lab.run(7 * MILLISECOND);
            scene.lab.send(b, network, payload_frame(macs[0], macs[1], number, 100));
            scene.lab.run(43 * MILLISECOND);
        }
        scene.lab.run(SECOND);
        let expected: Vec<u64> = (1..=number).collect();
        assert!(
            arrived(&scene.lab, b, macs[0]) == expected,
            "frames were lost or changed their order"
        );
        assert!(
            arrived(&scene.lab, a, macs[1]) == expected,
            "frames were lost or changed their order"
        );
        let done = [a, b].map(|host| scene.lab.counters(host).handshakes_done);
        assert!(done != begun, "no new keys in ten minutes");
    });
}

#[test]
fn an_idle_node_is_quiet_and_stays_reachable() {
    for_each_seed(2, |seed| {
        let mut scene = Scene::settled(seed, Kind::Link, 3, PLAIN);
        let nodes = scene.nodes.clone();
        scene.lab.run(10 * MINUTE);
        let before: Vec<u64> = nodes.iter().map(|&node| scene.lab.traffic(node).bytes).collect();
        scene.lab.run(60 * MINUTE);
        for (&node, before) in nodes.iter().zip(before) {
            let a_day = (scene.lab.traffic(node).bytes - before) * 24;
            assert!(
                a_day < 1_000_000,
                "{node:?} would send and receive {a_day} bytes a day while idle"
            );
            assert!(
                a_day > 50_000,
                "{node:?} does nothing to stay reachable: {a_day} bytes a day"
            );
        }
        for (from, to) in scene.pairs() {
            assert!(
                scene.ping_for(from, to, Family::V4, SECOND).is_some(),
                "{from:?} to {to:?} after an hour"
            );
        }
    });
}

#[test]
fn leaving_and_joining_again_while_nobody_hears() {
    for kind in Kind::ALL {
        for_each_seed(FIXED_SEEDS / 4, |seed| {
            let mut scene = Scene::settled(seed, kind, 3, PLAIN);
            let b = scene.nodes[1];
            for (from, to) in scene.pairs() {
                assert!(scene.ping_for(from, to, Family::V4, SECOND).is_some());
            }
            scene.lab.set_isolated(b, true);
            scene.lab.leave(b, scene.network);
            scene.lab.join(b, scene.network);
            scene.lab.run(100 * MILLISECOND);
            scene.lab.set_isolated(b, false);
            scene.lab.settle(scene.network, &scene.nodes.clone());
            for (from, to) in scene.pairs() {
                let answered = scene.ping_until_answered(from, to, Family::V4, 500 * MILLISECOND, 10 * SECOND);
                assert!(answered.is_some(), "{kind:?}: {from:?} to {to:?}");
            }
        });
    }
}

#[test]
fn those_who_leave_are_gone() {
    for_each_seed(FIXED_SEEDS / 4, |seed| {
        let mut scene = Scene::settled(seed, Kind::Link, 3, PLAIN);
        let [a, b, c] = [scene.nodes[0], scene.nodes[1], scene.nodes[2]];
        let network = scene.network;
        for (from, to) in scene.pairs() {
            assert!(scene.ping_for(from, to, Family::V4, SECOND).is_some());
        }
        let gone = scene.lab.address(c, network, Family::V4).expect("an address");
        scene.lab.shut_down(c);
        let told = scene.lab.run_until(5 * SECOND, |lab| {
            [a, b]
                .iter()
                .all(|&host| lab.network(host, network).is_some_and(|status| status.members == 2))
        });
        assert!(told.is_some(), "a goodbye is known within 5 s");
        let ping = scene.lab.ping_address(a, network, gone);
        scene.lab.run(3 * SECOND);
        assert_eq!(scene.lab.answer(ping), None);
        // One that vanishes without a word is forgotten when its registration ends.
        scene.lab.crash(b);
        let told = scene.lab.run_until(100 * SECOND, |lab| {
            lab.network(a, network).is_some_and(|status| status.members == 1)
        });
        assert!(told.is_some(), "still counted 100 s after it vanished");
    });
}
