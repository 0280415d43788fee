//! Worlds of several supernodes, of which each node reaches some, while they die and come back.

use std::time::Duration;

use farlan_tests::sim::{
    FIXED_SEEDS, Family, HostId, Lab, LinkQuality, Mapping, NetId, ReproducibleRandom, for_each_seed,
};

const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

const PLAIN: LinkQuality = LinkQuality::of_delay(Duration::from_millis(20)).with_jitter(Duration::from_millis(2));

/// How soon after the last fault everything works again.
const CONVERGED: Duration = Duration::from_secs(10);

/// Five supernodes and four nodes, each of which is cut from two of the supernodes at random.
struct World {
    lab: Lab,
    supernodes: Vec<HostId>,
    nodes: Vec<HostId>,
    network: NetId,
    random: ReproducibleRandom,
}

impl World {
    fn new(seed: u64, links: LinkQuality) -> Self {
        let mut random = ReproducibleRandom::new(seed, "supernodes", 0);
        let mut lab = Lab::new(seed);
        lab.set_links(links);
        let supernodes: Vec<_> = (0..5).map(|_| lab.add_supernode()).collect();
        let network = lab.add_link_network();
        let mappings = [Mapping::EndpointIndependent, Mapping::Symmetric];
        let nodes: Vec<_> = mappings
            .into_iter()
            .cycle()
            .take(4)
            .map(|mapping| {
                let nat = lab.add_nat(mapping);
                lab.add_node(Some(nat))
            })
            .collect();
        for &node in &nodes {
            let first = pick(&mut random, 5);
            let second = (first + 1 + pick(&mut random, 4)) % 5;
            for cut in [first, second] {
                lab.set_cut(node, supernodes[cut], true);
            }
            lab.join(node, network);
        }
        lab.settle(network, &nodes);
        Self {
            lab,
            supernodes,
            nodes,
            network,
            random,
        }
    }

    /// How many of the pings between all pairs are not answered within half a second.
    fn unanswered(&mut self) -> usize {
        let mut pings = Vec::new();
        for &from in &self.nodes {
            for &to in self.nodes.iter().filter(|to| **to != from) {
                pings.push(self.lab.ping(from, to, self.network, Family::V4));
            }
        }
        self.lab.run(500 * MILLISECOND);
        pings.iter().filter(|&&ping| self.lab.answer(ping).is_none()).count()
    }

    fn converge(&mut self, what: &str) -> Duration {
        let start = self.lab.now();
        while self.unanswered() > 0 {
            assert!(
                self.lab.now() - start < CONVERGED,
                "{what}: still pings without answer after {CONVERGED:?}"
            );
        }
        self.lab.now() - start
    }
}

fn pick(random: &mut ReproducibleRandom, of: u64) -> usize {
    usize::try_from(random.below(of)).unwrap_or_default()
}

/// Links that lose nothing, but double, reorder and bend. (A copy replayed late would be the first to arrive of what went to a
/// dead supernode, and be delivered.)
const HOSTILE: LinkQuality = LinkQuality {
    duplication: 0.05,
    corruption: 0.05,
    jitter: Duration::from_millis(15),
    ..PLAIN
};

#[test]
fn nodes_that_reach_three_of_five_supernodes_find_each_other_while_these_die_and_come_back() {
    die_and_come_back(FIXED_SEEDS, PLAIN);
}

#[test]
fn so_they_do_on_a_hostile_network() {
    die_and_come_back(FIXED_SEEDS / 2, HOSTILE);
}

fn die_and_come_back(seeds: u64, links: LinkQuality) {
    for_each_seed(seeds, |seed| {
        let mut world = World::new(seed, links);
        world.converge("at first");
        for round in 0..6 {
            let dies = world.supernodes[pick(&mut world.random, 5)];
            world.lab.crash(dies);
            world.converge(&format!("round {round}, one dead"));
            let pause = 100 * u32::try_from(pick(&mut world.random, 900)).unwrap_or_default();
            world.lab.run(pause * MILLISECOND);
            world.converge(&format!("round {round}, one dead for {pause} ms"));
            world.lab.restart(dies);
            world.converge(&format!("round {round}, restarted"));
        }
    });
}

#[test]
fn a_dead_supernode_interrupts_for_less_than_five_seconds() {
    for_each_seed(FIXED_SEEDS, |seed| {
        let mut world = World::new(seed, PLAIN);
        world.converge("at first");
        world.lab.run(10 * SECOND);
        world.converge("later");
        let dies = world.supernodes[pick(&mut world.random, 5)];
        world.lab.crash(dies);
        let took = world.converge("one dead");
        assert!(took <= 5 * SECOND, "{took:?}");
    });
}

#[test]
fn a_nearer_supernode_becomes_home_after_a_minute_and_nothing_is_lost() {
    for_each_seed(FIXED_SEEDS / 2, |seed| {
        let mut lab = Lab::new(seed);
        lab.set_links(PLAIN);
        let supernodes = [(); 3].map(|()| lab.add_supernode());
        let network = lab.add_link_network();
        let nodes = [Mapping::EndpointIndependent, Mapping::Symmetric].map(|mapping| {
            let nat = lab.add_nat(mapping);
            lab.add_node(Some(nat))
        });
        for &node in &nodes {
            lab.set_link(node, supernodes[1], LinkQuality::of_delay(5 * MILLISECOND));
            lab.join(node, network);
        }
        lab.settle(network, &nodes);
        let home = |lab: &Lab, node: HostId| {
            let all = lab.supernodes(node);
            let home = all
                .iter()
                .find(|supernode| supernode.home)
                .map(|supernode| supernode.node);
            supernodes
                .iter()
                .position(|supernode| Some(lab.node_id(*supernode)) == home)
        };
        lab.run(3 * SECOND);
        assert!(
            nodes.iter().all(|node| home(&lab, *node) == Some(1)),
            "the nearest is home"
        );
        let first = lab.ping(nodes[0], nodes[1], network, Family::V4);
        lab.run(2 * SECOND);
        assert!(lab.answer(first).is_some());
        // Its line becomes slow; another one is a fifth better from now on.
        for &node in &nodes {
            lab.set_link(node, supernodes[1], LinkQuality::of_delay(60 * MILLISECOND));
        }
        let mut moved = None;
        let start = lab.now();
        for _ in 0..600 {
            let pings = [(0, 1), (1, 0)].map(|(from, to)| lab.ping(nodes[from], nodes[to], network, Family::V4));
            lab.run(500 * MILLISECOND);
            assert!(
                pings.iter().all(|ping| lab.answer(*ping).is_some()),
                "lost at {:?}",
                lab.now()
            );
            if moved.is_none() && nodes.iter().all(|node| home(&lab, *node) != Some(1)) {
                moved = Some(lab.now() - start);
            }
        }
        let moved = moved.expect("another home");
        assert!(moved >= 60 * SECOND, "{moved:?}");
    });
}
