//! All that is measured in one world.

use super::{
    figures::Figures,
    graph::Graph,
    keys::Keys,
    newcomers::{self, Found},
    node::Behaviour,
    proportions::Proportions,
    run::Manner,
    storm::{Attacker, Storm, storm},
    trials::{self, on_all_processors},
    workload::{Load, RATE, load},
    world::World,
};

/// How much is done.
#[derive(Clone, Copy, Debug, Default)]
pub struct Effort {
    /// Cold broadcasts, and warmed-up ones.
    pub cold: u64,
    /// See [`Effort::cold`].
    pub warm: u64,
    /// For how many seconds everybody broadcasts; not at all for 0.
    pub load: f64,
    /// Whether there are storms.
    pub storms: bool,
    /// Newcomers of each game.
    pub newcomers: u64,
    /// Broadcasts for each loss, and among hostile nodes.
    pub losses: u64,
    /// See [`Effort::losses`].
    pub hostile: u64,
}

/// What was measured in one world.
#[derive(Clone, Debug)]
pub struct Study {
    /// What people were assumed to do.
    pub world: String,
    /// Nodes.
    pub nodes: u32,
    /// What signatures were.
    pub keys: String,
    /// What its graph looks like.
    pub graph: Graph,
    /// Broadcasts of random nodes.
    pub cold: Figures,
    /// The same after others of the lobby had broadcast.
    pub warm: Figures,
    /// Cold and warm at each probability of a loss.
    pub losses: Vec<(f64, Figures, Figures)>,
    /// Where everybody broadcasts.
    pub load: Option<Load>,
    /// Storms.
    pub storms: Vec<Storm>,
    /// Newcomers of a popular and of a rare game.
    pub newcomers: Vec<Found>,
    /// Where one node in twenty sends nothing on, and where it inflates.
    pub droppers: Option<Figures>,
    /// See [`Study::droppers`].
    pub liars: Option<Figures>,
}

/// Losses on a link that are tried.
const LOSSES: [f64; 5] = [0.0, 0.01, 0.03, 0.05, 0.10];

/// Share of nodes that are hostile where some are.
const HOSTILE: f64 = 0.05;

/// Players of a rare game, and the part of all nodes that play a popular one.
const RARE: u32 = 30;
const POPULAR: u32 = 100;

/// Measures a world. Every step is told to `progress` before it is done.
pub fn study(
    seed: u64,
    nodes: u32,
    proportions: &Proportions,
    effort: &Effort,
    progress: &(dyn Fn(&str) + Sync),
) -> Study {
    progress("the world");
    let mut world = World::new(seed, nodes, proportions);
    let keys = Keys::new(seed, nodes);
    let graph = Graph::of(&world);
    progress("cold broadcasts");
    let cold = cold(&world, &keys, effort.cold, Manner::default());
    progress("warmed-up broadcasts");
    let warm = warm(&world, &keys, effort.warm);
    let mut study = Study {
        world: proportions.name.to_owned(),
        nodes,
        keys: keys.to_string(),
        graph,
        cold,
        warm,
        losses: Vec::new(),
        load: None,
        storms: Vec::new(),
        newcomers: Vec::new(),
        droppers: None,
        liars: None,
    };
    if effort.newcomers > 0 {
        progress("newcomers");
        for players in [nodes / POPULAR, RARE] {
            if let Some(game) = newcomers::game_of(&world, players) {
                study
                    .newcomers
                    .push(newcomers::look(&world, &keys, game, effort.newcomers));
            }
        }
    }
    if effort.hostile > 0 {
        let manner = |behaviour| Manner {
            hostile: HOSTILE,
            behaviour,
            ..Manner::default()
        };
        progress("droppers");
        study.droppers = Some(self::cold(&world, &keys, effort.hostile * 4, manner(Behaviour::Drops)));
        progress("liars");
        study.liars = Some(self::cold(&world, &keys, effort.hostile, manner(Behaviour::Inflates)));
    }
    if effort.storms {
        progress("storms");
        let attackers = [Attacker::Player, Attacker::Visitor, Attacker::Hub];
        let storms = on_all_processors(3, |number| storm(&world, &keys, attackers[number as usize]));
        study.storms = storms.into_iter().flatten().collect();
    }
    if effort.load > 0.0 {
        progress("everybody broadcasts");
        study.load = Some(load(&world, &keys, RATE, effort.load));
    }
    if effort.losses > 0 {
        for loss in LOSSES {
            progress(&format!("{:.0} % lost", loss * 100.0));
            world.places.set_loss(loss);
            let cold = self::cold(&world, &keys, effort.losses, Manner::default());
            study
                .losses
                .push((loss, cold, self::warm(&world, &keys, effort.losses / 2)));
        }
    }
    study
}

fn cold(world: &World, keys: &Keys, count: u64, manner: Manner) -> Figures {
    Figures::of(&on_all_processors(count, |number| {
        trials::cold(world, keys, number, manner)
    }))
}

fn warm(world: &World, keys: &Keys, count: u64) -> Figures {
    Figures::of(&on_all_processors(count, |number| {
        trials::warm(world, keys, number, Manner::default())
    }))
}
