//! A world of nodes: who had to do with whom in the last 10 minutes. All of it is a pure function of seed and number.
//!
//! ```text
//! node      0 .. players        in lobbies of games, one after the other
//!     players .. + hubs         servers that others visit
//!          .. newcomers         neither of both
//!   newcomers .. nodes          came a moment ago and know nobody
//! ```
//!
//! Everybody but hubs and newcomers may visit hubs and chat besides.

use super::{chats::Chats, draw::Draw, hubs::Hubs, lobbies::Lobbies, places::Places, proportions::Proportions};

/// What a node remembers of another one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Contact {
    /// The other one.
    pub node: u32,
    /// Seconds since they last talked both ways.
    pub ago: f64,
    /// Seconds in a row in which they had done so by then.
    pub seconds: u32,
}

/// Contacts that a node remembers at most.
pub const CONTACTS: usize = 256;

/// Seconds in a row that players have talked: more would weigh no more.
const PLAYED: u32 = 30;

/// Clocks are off by up to so many milliseconds.
const SKEW: u64 = 2000;

/// Nodes that the supernode names to one who has few contacts: half of them come a moment ago.
const BOOTSTRAP: u64 = 8;

/// With fewer contacts a node is named others.
const FEW: usize = 4;

/// Random nodes that each knows besides.
const LONG_LINKS: u64 = 2;

/// All nodes.
#[derive(Debug)]
pub struct World {
    /// The seed that all is drawn from.
    pub seed: u64,
    /// How many nodes there are.
    pub nodes: u32,
    /// What people are assumed to do.
    pub proportions: Proportions,
    /// Where they are.
    pub places: Places,
    /// The lobbies of games.
    pub lobbies: Lobbies,
    hubs: Hubs,
    chats: Chats,
    hub_count: u32,
    newcomers: u32,
    gone: Draw,
    named: Draw,
    clocks: Draw,
    moments: Draw,
}

impl World {
    /// The world of `seed` with `nodes` nodes, at least 100 of them.
    pub fn new(seed: u64, nodes: u32, proportions: &Proportions) -> Self {
        let newcomers = nodes - (f64::from(nodes) * proportions.newcomers) as u32;
        let hub_count = Hubs::count(nodes, proportions);
        let people = newcomers - hub_count;
        Self {
            seed,
            nodes,
            proportions: proportions.clone(),
            places: Places::new(seed, proportions),
            lobbies: Lobbies::new(seed, nodes, proportions),
            hubs: Hubs::new(seed, nodes, people, CONTACTS, proportions),
            chats: Chats::new(seed, nodes, people, proportions),
            hub_count,
            newcomers,
            gone: Draw::new(seed, "gone"),
            named: Draw::new(seed, "named"),
            clocks: Draw::new(seed, "clocks"),
            moments: Draw::new(seed, "moments"),
        }
    }

    /// Whether a node has gone without a word.
    pub fn is_gone(&self, node: u32) -> bool {
        self.gone.of(node.into()).chance(self.proportions.gone)
    }

    /// How far a node's clock is off, in milliseconds.
    pub fn skew(&self, node: u32) -> i64 {
        self.clocks.of(node.into()).below(2 * SKEW + 1) as i64 - SKEW as i64
    }

    /// When in each second two nodes that talk do so, in nanoseconds: each pair at a moment of its own.
    pub fn moment(&self, one: u32, other: u32) -> u64 {
        let pair = self.moments.of(one.min(other).into()).of(one.max(other).into());
        pair.below(1_000_000_000)
    }

    /// Whether a node knows nobody yet.
    pub fn is_newcomer(&self, node: u32) -> bool {
        node >= self.newcomers
    }

    /// The nodes that know nobody yet.
    pub fn newcomers(&self) -> std::ops::Range<u32> {
        self.newcomers..self.nodes
    }

    /// The hub of this rank; the first is the busiest.
    pub fn hub(&self, rank: u32) -> u32 {
        self.lobbies.players() + rank
    }

    /// How many hubs there are.
    pub fn hubs(&self) -> u32 {
        self.hub_count
    }

    /// How many visited the hub of this rank in 10 minutes, of whom it remembers [`CONTACTS`].
    pub fn visited(&self, rank: u32) -> u64 {
        self.hubs.visited(rank)
    }

    /// With whom a node talked in the last 10 minutes, at most [`CONTACTS`] of them.
    pub fn contacts(&self, node: u32) -> Vec<Contact> {
        if self.is_newcomer(node) {
            return Vec::new();
        }
        if let Some(rank) = self.hub_rank(node) {
            let visitors = self.hubs.visitors(rank).iter();
            return latest(visitors.map(|visit| Contact {
                node: self.node(visit.who),
                ago: visit.ago,
                seconds: visit.seconds,
            }));
        }
        let mut contacts: Vec<Contact> = Vec::new();
        if let Some(lobby) = self.lobbies.of(node) {
            let peers = self.lobbies.peers(&lobby, node);
            contacts.extend(peers.into_iter().map(|node| Contact {
                node,
                ago: 0.0,
                seconds: PLAYED,
            }));
        }
        let person = self.person(node);
        contacts.extend(self.hubs.visited_by(person).into_iter().map(|visit| Contact {
            node: self.hub(visit.who),
            ago: visit.ago,
            seconds: visit.seconds,
        }));
        for chat in self.chats.of(person) {
            let other = self.node(chat.who);
            contacts.push(Contact {
                node: other,
                ago: chat.ago,
                seconds: chat.seconds,
            });
        }
        latest(contacts.into_iter())
    }

    /// The nodes that the supernode named to one with so many contacts.
    pub fn bootstrap(&self, node: u32, contacts: usize) -> Vec<u32> {
        if contacts >= FEW {
            return Vec::new();
        }
        let draw = self.named.of(node.into());
        let newcomers = u64::from(self.nodes - self.newcomers);
        (0..BOOTSTRAP)
            .map(|number| {
                if number % 2 == 0 && newcomers > 0 {
                    self.newcomers + draw.of(number).below(newcomers) as u32
                } else {
                    draw.of(number).below(self.nodes.into()) as u32
                }
            })
            .filter(|other| *other != node)
            .collect()
    }

    /// The random nodes that a node keeps besides its contacts.
    pub fn long_links(&self, node: u32) -> Vec<u32> {
        let draw = self.named.of(node.into());
        (0..LONG_LINKS)
            .map(|number| draw.of(BOOTSTRAP + number).below(self.nodes.into()) as u32)
            .filter(|other| *other != node)
            .collect()
    }

    fn hub_rank(&self, node: u32) -> Option<u32> {
        node.checked_sub(self.lobbies.players())
            .filter(|rank| *rank < self.hub_count)
    }

    /// A node's number among all but hubs and newcomers.
    fn person(&self, node: u32) -> u32 {
        if node < self.lobbies.players() {
            node
        } else {
            node - self.hub_count
        }
    }

    /// The node with this number among all but hubs and newcomers.
    fn node(&self, person: u32) -> u32 {
        if person < self.lobbies.players() {
            person
        } else {
            person + self.hub_count
        }
    }
}

/// Of two ways in which the same two have to do with each other the later counts, at both ends.
fn latest(contacts: impl Iterator<Item = Contact>) -> Vec<Contact> {
    let mut kept: Vec<Contact> = Vec::new();
    for contact in contacts {
        match kept.iter_mut().find(|known| known.node == contact.node) {
            Some(known) if known.ago > contact.ago => *known = contact,
            Some(_) => {}
            None => kept.push(contact),
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contacts_are_mutual_few_and_say_the_same_at_both_ends() {
        for proportions in [Proportions::social(), Proportions::adverse()] {
            let world = World::new(5, 5000, &proportions);
            for node in 0..world.nodes {
                let contacts = world.contacts(node);
                assert!(contacts.len() <= CONTACTS);
                for contact in contacts {
                    assert_ne!(contact.node, node);
                    let back = world.contacts(contact.node);
                    let back = back.iter().find(|back| back.node == node).unwrap();
                    assert_eq!((back.ago, back.seconds), (contact.ago, contact.seconds));
                }
            }
        }
    }
}
