//! Where nodes are, behind which NAT, and how long a packet takes.

use super::{
    draw::{Draw, Stream},
    proportions::Proportions,
};

/// Milliseconds of virtual time, the unit of all delays here.
pub type Milliseconds = f64;

/// The way from any place to itself, and between opposite corners, one way.
pub const NEAREST: Milliseconds = 5.0;
/// See [`NEAREST`].
pub const FARTHEST: Milliseconds = 125.0;

/// A packet comes up to so much later than the distance has it.
const JITTER: Milliseconds = 4.0;

/// Supernodes: on a ring around the middle.
pub const SUPERNODES: usize = 8;

/// What a node's NAT lets through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nat {
    /// Everything.
    Open,
    /// Answers, from whoever was called first.
    Restricted,
    /// As [`Nat::Restricted`], with another port for each destination.
    Symmetric,
}

/// A point of the unit square.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Place {
    x: f64,
    y: f64,
}

impl Place {
    /// How long a packet is under way between two places, without jitter.
    fn delay(self, other: Self) -> Milliseconds {
        let (x, y) = (self.x - other.x, self.y - other.y);
        NEAREST + (FARTHEST - NEAREST) * (x * x + y * y).sqrt() / std::f64::consts::SQRT_2
    }
}

/// How two nodes reach each other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Way {
    /// One way, without jitter.
    pub delay: Milliseconds,
    /// Whether it leads over a supernode.
    pub relayed: bool,
    loss: f64,
}

impl Way {
    /// How long the next packet takes; none if it is lost.
    pub fn next(&self, chance: &mut Stream) -> Option<Milliseconds> {
        let links = if self.relayed { 2 } else { 1 };
        let mut delay = self.delay;
        for _ in 0..links {
            if chance.draw().chance(self.loss) {
                return None;
            }
            delay += chance.draw().unit() * JITTER;
        }
        Some(delay)
    }
}

/// The geography of a world.
#[derive(Clone, Debug)]
pub struct Places {
    place: Draw,
    nat: Draw,
    open: f64,
    symmetric: f64,
    loss: f64,
    supernodes: [Place; SUPERNODES],
}

impl Places {
    /// The geography of `seed`.
    pub fn new(seed: u64, proportions: &Proportions) -> Self {
        let mut supernodes = [Place { x: 0.5, y: 0.5 }; SUPERNODES];
        for (number, supernode) in supernodes.iter_mut().enumerate() {
            let angle = std::f64::consts::TAU * number as f64 / SUPERNODES as f64;
            supernode.x += 0.3 * angle.cos();
            supernode.y += 0.3 * angle.sin();
        }
        Self {
            place: Draw::new(seed, "place"),
            nat: Draw::new(seed, "nat"),
            open: proportions.open,
            symmetric: proportions.symmetric,
            loss: proportions.loss,
            supernodes,
        }
    }

    /// Another probability of a loss.
    pub fn set_loss(&mut self, loss: f64) {
        self.loss = loss;
    }

    /// Where a node is.
    pub fn place(&self, node: u32) -> Place {
        let draw = self.place.of(node.into());
        Place {
            x: draw.of(0).unit(),
            y: draw.of(1).unit(),
        }
    }

    /// What a node is behind.
    pub fn nat(&self, node: u32) -> Nat {
        let drawn = self.nat.of(node.into()).unit();
        if drawn < self.open {
            Nat::Open
        } else if drawn < self.open + self.symmetric {
            Nat::Symmetric
        } else {
            Nat::Restricted
        }
    }

    /// Whether two nodes need a supernode between them.
    pub fn relayed(&self, one: u32, other: u32) -> bool {
        matches!(
            (self.nat(one), self.nat(other)),
            (Nat::Symmetric, Nat::Symmetric | Nat::Restricted) | (Nat::Restricted, Nat::Symmetric)
        )
    }

    /// The way between two nodes that have a session.
    pub fn way(&self, one: u32, other: u32) -> Way {
        if self.relayed(one, other) {
            self.relay(one, other)
        } else {
            Way {
                delay: self.place(one).delay(self.place(other)),
                relayed: false,
                loss: self.loss,
            }
        }
    }

    /// The way between two nodes over the second one's supernode, which is the only one before they have a session.
    pub fn relay(&self, one: u32, other: u32) -> Way {
        let (from, to) = (self.place(one), self.place(other));
        let supernode = self.supernodes[self.home(to)];
        Way {
            delay: from.delay(supernode) + supernode.delay(to),
            relayed: true,
            loss: self.loss,
        }
    }

    /// The way between a node and its own supernode.
    pub fn to_supernode(&self, node: u32) -> Milliseconds {
        let place = self.place(node);
        place.delay(self.supernodes[self.home(place)])
    }

    /// The supernode nearest to a place.
    fn home(&self, place: Place) -> usize {
        let far = |number: &usize| place.delay(self.supernodes[*number]);
        (0..SUPERNODES)
            .min_by(|one, other| far(one).total_cmp(&far(other)))
            .unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fifth_of_all_pairs_need_a_supernode_and_delays_are_within_bounds() {
        let places = Places::new(1, &Proportions::social());
        let mut relayed = 0;
        for pair in 0..10_000 {
            let way = places.way(pair, pair + 20_000);
            relayed += u32::from(way.relayed);
            assert!(way.delay >= NEAREST && way.delay <= FARTHEST * 2.0);
            assert_eq!(places.relayed(pair, pair + 20_000), places.relayed(pair + 20_000, pair));
        }
        assert!((1700..2100).contains(&relayed), "{relayed}");
    }

    #[test]
    fn what_is_lost_is_one_in_a_hundred_for_each_link() {
        let places = Places::new(1, &Proportions::social());
        let mut chance = Stream::new(Draw::new(1, "chance"));
        let lost = |way: Way, chance: &mut Stream| (0..20_000).filter(|_| way.next(chance).is_none()).count();
        let pair = (0..).find(|node| !places.relayed(0, *node)).unwrap();
        let direct = lost(places.way(0, pair), &mut chance);
        let relayed = lost(places.relay(0, pair), &mut chance);
        assert!((140..260).contains(&direct), "{direct}");
        assert!((320..480).contains(&relayed), "{relayed}");
    }
}
