//! One node broadcasts a thousand times a second, whatever its own limits say.

use std::collections::BTreeMap;

use super::{
    draw::Draw,
    keys::Keys,
    run::{Manner, Run},
    trials::CEILING,
    world::World,
};

/// Broadcasts in a second, and for how many seconds.
const PER_SECOND: u64 = 1000;
const SECONDS: u64 = 5;

/// Who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attacker {
    /// A player.
    Player,
    /// One who visited hubs.
    Visitor,
    /// The busiest hub.
    Hub,
}

/// What it came to.
#[derive(Clone, Debug)]
pub struct Storm {
    /// Who it was.
    pub attacker: Attacker,
    /// Copies in a second, those of the attacker included.
    pub copies: f64,
    /// Copies in a second of everybody else.
    pub honest: f64,
    /// All copies for one of the attacker.
    pub amplification: f64,
    /// The most that one honest node sent in a second, over the whole time.
    pub most_sent: f64,
    /// The most that came to one honest node in a second.
    pub most_received: f64,
    /// The most frames that came to one card in a second, less those that a burst may have.
    pub most_delivered: f64,
    /// Nodes that got any of it.
    pub hit: usize,
}

/// Frames of one origin that may come to a card at once.
const BURST: f64 = 100.0;

/// A storm in this world.
pub fn storm(world: &World, keys: &Keys, attacker: Attacker) -> Option<Storm> {
    let node = who(world, attacker)?;
    let mut run = Run::new(world, keys, u64::MAX - 1, Manner::default());
    for _ in 0..PER_SECOND * SECONDS {
        run.unleash(node);
        run.call(node, CEILING, &[]);
        run.run_for(1_000_000_000 / PER_SECOND);
    }
    run.finish();
    let seconds = SECONDS as f64;
    let states = || {
        run.touched()
            .iter()
            .filter(|other| **other != node)
            .filter_map(|node| run.node(*node))
    };
    let own = u64::from(run.node(node)?.sent);
    let mut delivered: BTreeMap<u32, u32> = BTreeMap::new();
    for cast in &run.casts {
        for (node, _) in &cast.delivered {
            *delivered.entry(*node).or_default() += 1;
        }
    }
    let most = |numbers: Box<dyn Iterator<Item = u32> + '_>| f64::from(numbers.max().unwrap_or(0));
    Some(Storm {
        attacker,
        copies: run.counts.copies as f64 / seconds,
        honest: (run.counts.copies - own) as f64 / seconds,
        amplification: run.counts.copies as f64 / own.max(1) as f64,
        most_sent: most(Box::new(states().map(|state| state.sent))) / seconds,
        most_received: most(Box::new(states().map(|state| state.received))) / seconds,
        most_delivered: (most(Box::new(delivered.values().copied())) - BURST) / seconds,
        hit: delivered.len(),
    })
}

/// A player with many others, one who visited a hub lately, or the busiest hub; nobody if there is none.
fn who(world: &World, attacker: Attacker) -> Option<u32> {
    if attacker == Attacker::Hub {
        return Some(world.hub(0));
    }
    let draw = Draw::new(world.seed, "attacker");
    (0..100_000)
        .map(|attempt| draw.of(attempt).below(world.nodes.into()) as u32)
        .filter(|node| !world.is_gone(*node) && !world.is_newcomer(*node))
        .find(|node| match (attacker, world.lobbies.of(*node)) {
            (Attacker::Player, lobby) => lobby.is_some_and(|lobby| !lobby.star && lobby.size >= 30),
            (_, lobby) => {
                let contacts = world.contacts(*node);
                lobby.is_none() && contacts.len() >= 3 && contacts.iter().any(|contact| contact.ago < 5.0)
            }
        })
}
