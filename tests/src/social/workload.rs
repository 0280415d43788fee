//! Everybody broadcasts, each once per 20 s: what that costs a node.

use super::{
    counts::Counts,
    draw::Draw,
    figures::{percentile, share},
    keys::Keys,
    run::{Manner, Run},
    trials::{CEILING, in_lobby},
    world::World,
};

/// Broadcasts of each node in a second.
pub const RATE: f64 = 0.05;

/// Nanoseconds that what was begun in time is given to end.
const DRAIN_NS: u64 = 5_000_000_000;

/// What it came to.
#[derive(Clone, Debug, Default)]
pub struct Load {
    /// For how many seconds nodes broadcast.
    pub seconds: f64,
    /// Broadcasts.
    pub broadcasts: u64,
    /// Share of (broadcast, other in the lobby) that got it.
    pub recall: f64,
    /// Deliveries of a broadcast.
    pub reach: f64,
    /// Copies that a node sends in a second: on average, at the 99th percentile of nodes, at most.
    pub sent: [f64; 3],
    /// Copies that a node receives in a second, likewise.
    pub received: [f64; 3],
    /// What was counted.
    pub counts: Counts,
    /// How many broadcasts were not sent on somewhere, since a limit was reached.
    pub limited: u64,
}

/// Everybody broadcasts at `rate` for `seconds`.
pub fn load(world: &World, keys: &Keys, rate: f64, seconds: f64) -> Load {
    let mut run = Run::new(world, keys, u64::MAX, Manner::default());
    let draw = Draw::new(world.seed, "load");
    let calls = (f64::from(world.nodes) * rate * seconds) as u64;
    for number in 0..calls {
        let draw = draw.of(number);
        let node = draw.of(0).below(world.nodes.into()) as u32;
        if !world.is_gone(node) {
            run.call_at((draw.of(1).unit() * seconds * 1e9) as u64, node, CEILING);
        }
    }
    run.run_for((seconds * 1e9) as u64 + DRAIN_NS);
    let states = || run.touched().iter().filter_map(|node| run.node(*node));
    let per_second = |count: fn(&super::node::Node) -> u32| {
        let mut counts: Vec<u32> = states().map(count).collect();
        // Those that nothing came to sent and received nothing.
        counts.resize((world.nodes as usize).max(counts.len()), 0);
        counts.sort_unstable();
        let sum: u64 = counts.iter().map(|count| u64::from(*count)).sum();
        let most = [percentile(&counts, 0.99), percentile(&counts, 1.0)].map(|count| f64::from(count) / seconds);
        [sum as f64 / f64::from(world.nodes) / seconds, most[0], most[1]]
    };
    let in_lobbies = run.casts.iter().filter_map(|cast| in_lobby(&run, cast));
    Load {
        seconds,
        broadcasts: run.casts.len() as u64,
        recall: share(in_lobbies.map(|lobby| (lobby.times.len() as u64, u64::from(lobby.wanted)))),
        reach: share(run.casts.iter().map(|cast| (cast.delivered.len() as u64, 1))),
        sent: per_second(|node| node.sent),
        received: per_second(|node| node.received),
        counts: run.counts,
        limited: states().map(|node| node.spreading.counts().limited).sum(),
    }
}
