//! Random faults, one after the other; when they end, the LAN must come together again.
//!
//! The model judges every frame on the way.

use std::time::Duration;

use farlan_tests::sim::{
    BROADCAST, Family, HostId, Kind, LinkQuality, NetId, ReproducibleRandom, Scene, for_each_seed,
};

const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// Seeds that are always run; each takes about 0.2 s.
const SEEDS: u64 = 150;

const NODES: usize = 4;

/// A link network and a name network, with the same nodes.
const NETWORKS: usize = 2;

/// Faults and traffic, a step about every 700 ms.
const STEPS: u64 = 100;

/// How long after the last fault everyone must reach everyone again.
const CONVERGENCE: Duration = Duration::from_secs(10);

/// The same after a fault that a silent node notices only at its next sign of life to the supernode: that comes every
/// 25 s, is sent three times a second apart, and then it takes a moment to register.
const SILENT_CONVERGENCE: Duration = Duration::from_secs(31);

/// A fault, drawn at random.
#[derive(Clone, Copy, Debug)]
enum Fault {
    Crash(usize),
    Restart(usize),
    Goodbye(usize),
    CrashSupernode,
    RestartSupernode,
    Rebind(usize),
    Isolate(usize, bool),
    Links(u64),
    Leave(usize, usize),
    Join(usize, usize),
}

/// What of a scene is in order.
struct State {
    up: [bool; NODES],
    joined: [[bool; NETWORKS]; NODES],
    networks: [NetId; NETWORKS],
    supernode: bool,
}

impl State {
    fn draw(&self, random: &mut ReproducibleRandom) -> Option<Fault> {
        let node = random.below(NODES as u64) as usize;
        let network = random.below(NETWORKS as u64) as usize;
        Some(match random.below(20) {
            0 | 1 if self.up[node] => Fault::Crash(node),
            0..=4 if !self.up[node] => Fault::Restart(node),
            2 if self.up[node] => Fault::Goodbye(node),
            5 if self.supernode => Fault::CrashSupernode,
            5..=8 if !self.supernode => Fault::RestartSupernode,
            9 => Fault::Rebind(node),
            10 => Fault::Isolate(node, true),
            11 | 12 => Fault::Isolate(node, false),
            13 => Fault::Links(random.below(4)),
            14 if self.is_member(node, network) => Fault::Leave(node, network),
            14..=16 if self.up[node] && !self.joined[node][network] => Fault::Join(node, network),
            _ => return None,
        })
    }

    fn apply(&mut self, scene: &mut Scene, fault: Fault) {
        match fault {
            Fault::Crash(node) => {
                scene.lab.crash(scene.nodes[node]);
                self.up[node] = false;
            }
            Fault::Goodbye(node) => {
                scene.lab.shut_down(scene.nodes[node]);
                self.up[node] = false;
            }
            Fault::Restart(node) => {
                scene.lab.restart(scene.nodes[node]);
                self.up[node] = true;
            }
            Fault::CrashSupernode => {
                scene.lab.crash(scene.supernode);
                self.supernode = false;
            }
            Fault::RestartSupernode => {
                scene.lab.restart(scene.supernode);
                self.supernode = true;
            }
            Fault::Rebind(node) => scene.lab.rebind(scene.nats[node]),
            Fault::Isolate(node, isolated) => scene.lab.set_isolated(scene.nodes[node], isolated),
            Fault::Links(grade) => scene.lab.set_links(links(grade)),
            Fault::Leave(node, network) => {
                scene.lab.leave(scene.nodes[node], self.networks[network]);
                self.joined[node][network] = false;
            }
            Fault::Join(node, network) => {
                scene.lab.join(scene.nodes[node], self.networks[network]);
                self.joined[node][network] = true;
            }
        }
    }

    fn is_member(&self, node: usize, network: usize) -> bool {
        self.up[node] && self.joined[node][network]
    }
}

/// Links from faultless (0) to bad (3).
fn links(grade: u64) -> LinkQuality {
    let share = grade as f64 / 15.0;
    LinkQuality::of_delay(Duration::from_millis(15 + 20 * grade))
        .with_loss(share)
        .with_duplication(share / 2.0)
        .with_jitter(20 * MILLISECOND * grade as u32)
}

/// Some traffic of the members.
fn speak(scene: &mut Scene, state: &State, random: &mut ReproducibleRandom, step: u64) {
    let [from, to] = [(); 2].map(|()| random.below(NODES as u64) as usize);
    let network = random.below(NETWORKS as u64) as usize;
    let (is_member, network) = (state.is_member(from, network), state.networks[network]);
    if from == to || !is_member {
        return;
    }
    let (sender, receiver) = (scene.nodes[from], scene.nodes[to]);
    if random.chance(0.3) {
        let frame = scene.lab.payload(sender, network, BROADCAST, step, 200);
        scene.lab.send(sender, network, frame);
    }
    for family in [Family::V4, Family::V6] {
        if scene.lab.address(receiver, network, family).is_some() {
            scene.lab.ping(sender, receiver, network, family);
        }
    }
}

/// Pings of everyone by everyone that were not answered within 2 s.
fn silent_pairs(scene: &mut Scene, network: NetId) -> Vec<(HostId, HostId, Family)> {
    let mut pings = Vec::new();
    for (from, to) in scene.pairs() {
        for family in [Family::V4, Family::V6] {
            let address = scene.lab.address(to, network, family);
            assert!(address.is_some(), "{to:?} has no address by {family:?} in {network:?}");
            pings.push(((from, to, family), scene.lab.ping(from, to, network, family)));
        }
    }
    scene.lab.run(2 * SECOND);
    pings
        .into_iter()
        .filter(|&(_, ping)| scene.lab.answer(ping).is_none())
        .map(|(pair, _)| pair)
        .collect()
}

#[test]
fn a_lan_comes_together_after_any_faults() {
    for_each_seed(SEEDS, |seed| {
        let mut random = ReproducibleRandom::new(seed, "chaos", 0);
        let mut scene = Scene::settled(seed, Kind::Link, NODES, links(0));
        let networks = [scene.network, scene.lab.add_name_network("earth")];
        let mut state = State {
            up: [true; NODES],
            joined: [[true, false]; NODES],
            networks,
            supernode: true,
        };
        let mut log = Vec::new();
        for step in 0..STEPS {
            if let Some(fault) = state.draw(&mut random) {
                log.push((scene.lab.now(), fault));
                state.apply(&mut scene, fault);
            }
            speak(&mut scene, &state, &mut random, step);
            scene
                .lab
                .run(100 * MILLISECOND + random.duration_below(1_200 * MILLISECOND));
        }
        let places = (0..NODES).flat_map(|node| (0..NETWORKS).map(move |network| (node, network)));
        let mends = (0..NODES)
            .map(|node| Fault::Isolate(node, false))
            .chain([Fault::Links(0)])
            .chain((!state.supernode).then_some(Fault::RestartSupernode))
            .chain((0..NODES).filter(|&node| !state.up[node]).map(Fault::Restart))
            .chain(
                places
                    .filter(|&(node, network)| !state.joined[node][network])
                    .map(|(node, network)| Fault::Join(node, network)),
            );
        for mend in mends.collect::<Vec<_>>() {
            log.push((scene.lab.now(), mend));
            state.apply(&mut scene, mend);
        }
        // Traffic goes on, as a LAN in use has it; that is how dead sessions are noticed.
        let silent_fault = |fault: &Fault| matches!(fault, Fault::RestartSupernode | Fault::Rebind(_));
        let silent_faults = log.iter().filter(|(_, fault)| silent_fault(fault)).map(|(at, _)| *at);
        let end = (scene.lab.now() + CONVERGENCE).max(silent_faults.max().unwrap_or_default() + SILENT_CONVERGENCE);
        let mut step = STEPS;
        while scene.lab.now() < end {
            step += 1;
            speak(&mut scene, &state, &mut random, step);
            scene.lab.run(100 * MILLISECOND);
        }
        for network in networks {
            let silent = silent_pairs(&mut scene, network);
            assert!(
                silent.is_empty(),
                "no answer in {network:?} in the end after {log:?}: {silent:?}"
            );
        }
        let (first, network) = (scene.nodes[0], scene.network);
        let frame = scene.lab.payload(first, network, BROADCAST, u64::MAX, 100);
        let frame = scene.lab.send(first, network, frame);
        scene.lab.run(2 * SECOND);
        let others: Vec<usize> = scene.nodes[1..].iter().map(|node| node.index()).collect();
        assert_eq!(scene.lab.model().reached(frame), others);
    });
}
