//! Single broadcasts, each in a run of its own: cold, and after others of the same lobby have broadcast.

use std::{
    collections::BTreeSet,
    num::NonZero,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use super::{
    counts::{Cast, Counts},
    draw::Draw,
    keys::Keys,
    node::Behaviour,
    run::{Manner, Run},
    world::World,
};

/// The most deliveries that a broadcast may cause.
pub const CEILING: u8 = 192;

/// Others that broadcast before a warmed-up broadcast, and nanoseconds between them.
const WARMERS: usize = 32;
const WARMING_NS: u64 = 150_000_000;

/// After so long nobody remembers a broadcast by its id any more: only its time tells that it is old.
const FORGOTTEN_NS: u64 = 130_000_000_000;

/// In this many trials one is looked at for how many contacts of contacts it reached.
const TWO_HOPS: u64 = 4;

/// What one broadcast came to.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Whether it was a newcomer's.
    pub newcomer: bool,
    /// Deliveries.
    pub reach: u32,
    /// The most that one node sent.
    pub most_sent: u32,
    /// What was counted.
    pub counts: Counts,
    /// How it went in the lobby of its origin, if its host is there and does what it should.
    pub lobby: Option<InLobby>,
    /// Contacts of contacts that have it, of so many.
    pub two_hops: Option<(u32, u32)>,
}

/// What a broadcast came to in the lobby of its origin.
#[derive(Clone, Debug, Default)]
pub struct InLobby {
    /// Whether the lobby is a star.
    pub star: bool,
    /// Whether the origin is a client of it, not the host.
    pub client: bool,
    /// Players.
    pub size: u32,
    /// Others that are there, and those of them that have it.
    pub wanted: u32,
    /// After how many milliseconds each of those had it.
    pub times: Vec<f32>,
}

/// A broadcast of a random node.
pub fn cold(world: &World, keys: &Keys, number: u64, manner: Manner) -> Outcome {
    let mut run = Run::new(world, keys, number, manner);
    let Some(origin) = origin(&run, number, world.nodes) else {
        return Outcome::default();
    };
    let Some(cast) = run.call(origin, CEILING, &[]) else {
        return Outcome::default();
    };
    run.finish();
    let mut outcome = outcome(&run, cast, number.is_multiple_of(TWO_HOPS));
    if manner.behaviour == Behaviour::Inflates {
        run.replay(FORGOTTEN_NS);
        outcome.counts.false_deliveries = run.false_deliveries();
        outcome.counts.forged = run.counts.forged;
    }
    outcome
}

/// A broadcast of a random player, after others of its lobby have broadcast.
pub fn warm(world: &World, keys: &Keys, number: u64, manner: Manner) -> Outcome {
    let mut run = Run::new(world, keys, number, manner);
    let Some(origin) = origin(&run, number, world.nodes) else {
        return Outcome::default();
    };
    let mut others: Vec<u32> = match world.lobbies.of(origin) {
        Some(lobby) => lobby.players().collect(),
        None => world.contacts(origin).iter().map(|contact| contact.node).collect(),
    };
    others.retain(|other| *other != origin && !world.is_gone(*other));
    let draw = Draw::new(world.seed, "warmers").of(number);
    others.sort_by_key(|other| draw.of((*other).into()).number());
    for other in others.into_iter().take(WARMERS) {
        run.call(other, CEILING, &[]);
        run.run_for(WARMING_NS);
    }
    run.finish();
    run.forget_traffic();
    let Some(cast) = run.call(origin, CEILING, &[]) else {
        return Outcome::default();
    };
    run.finish();
    outcome(&run, cast, number.is_multiple_of(TWO_HOPS))
}

/// A random node that is there and honest.
fn origin(run: &Run<'_>, number: u64, nodes: u32) -> Option<u32> {
    let draw = Draw::new(run.world().seed, "origins").of(number);
    (0..1000)
        .map(|attempt| draw.of(attempt).below(nodes.into()) as u32)
        .find(|node| !run.world().is_gone(*node) && run.is_honest(*node))
}

fn outcome(run: &Run<'_>, cast: usize, two_hops: bool) -> Outcome {
    let cast = &run.casts[cast];
    let sent = run
        .touched()
        .iter()
        .filter_map(|node| run.node(*node))
        .map(|state| state.sent);
    Outcome {
        newcomer: run.world().is_newcomer(cast.origin),
        reach: cast.delivered.len() as u32,
        most_sent: sent.max().unwrap_or(0),
        counts: Counts {
            false_deliveries: run.false_deliveries(),
            ..run.counts
        },
        lobby: in_lobby(run, cast),
        two_hops: two_hops.then(|| two_hops_of(run.world(), cast)),
    }
}

/// What a broadcast came to in its origin's lobby. None if there is none, or the game is over since its host is not there, or the
/// host is hostile.
pub fn in_lobby(run: &Run<'_>, cast: &Cast) -> Option<InLobby> {
    let world = run.world();
    let lobby = world.lobbies.of(cast.origin)?;
    if lobby.star && (world.is_gone(lobby.host) || !run.is_honest(lobby.host)) {
        return None;
    }
    let others = lobby
        .players()
        .filter(|node| *node != cast.origin && !world.is_gone(*node));
    let within = |node: &u32| lobby.players().contains(node);
    let delivered = cast.delivered.iter().filter(|(node, _)| within(node));
    Some(InLobby {
        star: lobby.star,
        client: cast.origin != lobby.host,
        size: lobby.size,
        wanted: others.count() as u32,
        times: delivered.map(|(_, after)| *after).collect(),
    })
}

/// How many of the contacts of a node's contacts, who are no contacts themselves, have a broadcast of it, and how many might.
fn two_hops_of(world: &World, cast: &Cast) -> (u32, u32) {
    let near: BTreeSet<u32> = world.contacts(cast.origin).iter().map(|contact| contact.node).collect();
    let mut far = BTreeSet::new();
    for node in near.iter().filter(|node| !world.is_gone(**node)) {
        far.extend(world.contacts(*node).iter().map(|contact| contact.node));
    }
    far.retain(|node| *node != cast.origin && !near.contains(node) && !world.is_gone(*node));
    let got = cast.delivered.iter().filter(|(node, _)| far.contains(node)).count() as u32;
    let wanted = (far.len() as u32).min(CEILING.into());
    (got.min(wanted), wanted)
}

/// Does something for each number below `count` on all processors; the results are in order.
pub fn on_all_processors<T: Send>(count: u64, each: impl Fn(u64) -> T + Sync) -> Vec<T> {
    let next = AtomicU64::new(0);
    let done = Mutex::new(Vec::new());
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        break;
                    }
                    let result = each(number);
                    if let Ok(mut done) = done.lock() {
                        done.push((number, result));
                    }
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_default();
    done.sort_by_key(|(number, _)| *number);
    done.into_iter().map(|(_, result)| result).collect()
}
