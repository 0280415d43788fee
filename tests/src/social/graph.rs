//! What a world looks like: contacts of a node, sizes of lobbies, visitors of hubs.

use std::fmt;

use super::{draw::Draw, world::World};

/// Contacts that talked less than so many seconds ago are active.
const ACTIVE: f64 = 30.0;

/// Nodes that are looked at.
const LOOKED_AT: u32 = 20_000;

/// The figures of a world's graph, from a sample of its nodes.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    nodes: u32,
    lobbies: u32,
    games: u32,
    hubs: u32,
    /// Contacts of one node, and active ones, in order.
    contacts: Vec<usize>,
    active: Vec<usize>,
    /// Players of a lobby, and of the lobby of a player, in order.
    sizes: Vec<u32>,
    of_player: Vec<u32>,
    busiest: u64,
    relayed: f64,
}

impl Graph {
    /// The figures of this world.
    pub fn of(world: &World) -> Self {
        let mut graph = Self {
            nodes: world.nodes,
            lobbies: world.lobbies.count(),
            games: world.lobbies.games(),
            hubs: world.hubs(),
            busiest: world.visited(0),
            ..Self::default()
        };
        let draw = Draw::new(world.seed, "graph");
        let mut relayed = 0;
        for number in 0..LOOKED_AT.min(world.nodes) {
            let node = draw.of(number.into()).below(world.nodes.into()) as u32;
            let contacts = world.contacts(node);
            graph.contacts.push(contacts.len());
            graph
                .active
                .push(contacts.iter().filter(|contact| contact.ago < ACTIVE).count());
            let other = draw.of(number.into()).of(1).below(world.nodes.into()) as u32;
            relayed += u32::from(world.places.relayed(node, other));
            if let Some(lobby) = world.lobbies.of(node) {
                graph.of_player.push(lobby.size);
            }
            let lobby = draw.of(number.into()).of(2).below(world.lobbies.count().into()) as u32;
            graph.sizes.push(world.lobbies.lobby(lobby).size);
        }
        graph.relayed = f64::from(relayed) / f64::from(LOOKED_AT.min(world.nodes));
        graph.contacts.sort_unstable();
        graph.active.sort_unstable();
        graph.sizes.sort_unstable();
        graph.of_player.sort_unstable();
        graph
    }
}

/// Mean, median, 99th percentile and maximum of numbers in order.
fn row(numbers: impl ExactSizeIterator<Item = f64> + Clone) -> String {
    let count = numbers.len().max(1);
    let at = |share: f64| {
        let place = ((count as f64 * share) as usize).min(count - 1);
        numbers.clone().nth(place).unwrap_or_default()
    };
    let mean = numbers.clone().sum::<f64>() / count as f64;
    format!(
        "mean {mean:.1}, median {:.0}, 99 % {:.0}, most {:.0}",
        at(0.5),
        at(0.99),
        at(1.0)
    )
}

impl fmt::Display for Graph {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            out,
            "{} nodes: {} lobbies, {} games, {} hubs, the busiest with {} visitors; {:.1} % of pairs need a supernode",
            self.nodes,
            self.lobbies,
            self.games,
            self.hubs,
            self.busiest,
            self.relayed * 100.0
        )?;
        writeln!(
            out,
            "  contacts of a node: {}",
            row(self.contacts.iter().map(|count| *count as f64))
        )?;
        writeln!(
            out,
            "  active ones:        {}",
            row(self.active.iter().map(|count| *count as f64))
        )?;
        writeln!(
            out,
            "  players of a lobby: {}",
            row(self.sizes.iter().map(|size| f64::from(*size)))
        )?;
        writeln!(
            out,
            "  a player's lobby:   {}",
            row(self.of_player.iter().map(|size| f64::from(*size)))
        )
    }
}
