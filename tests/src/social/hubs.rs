//! Hubs: servers that many visit. Who visited which, and whom a hub still remembers.

use super::{
    draw::{Draw, Shuffle},
    proportions::Proportions,
    zipf::Zipf,
};

/// Seconds in which a visit is remembered at most.
pub const REMEMBERED: f64 = 600.0;

/// One visit, seen from either end.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Visit {
    /// The hub's rank, or the visitor's number among those who may visit.
    pub who: u32,
    /// Seconds since it ended.
    pub ago: f64,
    /// Seconds that it lasted.
    pub seconds: u32,
}

/// All hubs. Each visit is one place of a shuffle: the places are shared out among hubs by demand, and within a hub they are in
/// order of time. So a visitor finds its hubs, and a hub its latest visitors, without a table of everybody.
#[derive(Debug)]
pub struct Hubs {
    /// Those who may visit, in another order: the first of them do.
    people: Shuffle,
    visitors: u64,
    visits: u64,
    how_many: Draw,
    how_long: Draw,
    /// Of each visitor so many visits, some of which do not take place.
    places: Shuffle,
    demand: Zipf,
    /// For each hub the last place that it remembers, and its visitors.
    remembered: Vec<(u64, Vec<Visit>)>,
}

impl Hubs {
    /// The hubs of `nodes` nodes, `people` of whom may visit some. A hub remembers `table` visitors.
    pub fn new(seed: u64, nodes: u32, people: u32, table: usize, proportions: &Proportions) -> Self {
        let visitors = ((f64::from(nodes) * proportions.visitors) as u64)
            .min(people.into())
            .max(1);
        let mut hubs = Self {
            people: Shuffle::new(Draw::new(seed, "visitors"), people.into()),
            visitors,
            visits: proportions.visits,
            how_many: Draw::new(seed, "visits"),
            how_long: Draw::new(seed, "visit"),
            places: Shuffle::new(Draw::new(seed, "visit place"), visitors * proportions.visits),
            demand: Zipf::new(Self::count(nodes, proportions) as usize, proportions.hub_exponent),
            remembered: Vec::new(),
        };
        hubs.remembered = (0..hubs.demand.count()).map(|hub| hubs.latest(hub, table)).collect();
        hubs
    }

    /// How many hubs so many nodes have.
    pub fn count(nodes: u32, proportions: &Proportions) -> u32 {
        (u64::from(nodes) / proportions.nodes_per_hub).max(5) as u32
    }

    /// The visitors that a hub remembers, latest first.
    pub fn visitors(&self, hub: u32) -> &[Visit] {
        &self.remembered[hub as usize].1
    }

    /// How many visited a hub within the time in which it could remember them, roughly.
    pub fn visited(&self, hub: u32) -> u64 {
        let (first, end) = self.range(hub as usize);
        let mean = (self.visits as f64 + 1.0) / 2.0;
        ((end - first) as f64 * mean / self.visits as f64) as u64
    }

    /// The hubs that a person visited and is remembered by.
    pub fn visited_by(&self, person: u32) -> Vec<Visit> {
        let visitor = self.people.place(person.into());
        let mut visits: Vec<Visit> = Vec::new();
        if visitor >= self.visitors {
            return visits;
        }
        for number in 0..self.visits {
            let pair = visitor * self.visits + number;
            if !self.takes_place(pair) {
                continue;
            }
            let place = self.places.place(pair);
            let hub = self.demand.at((place as f64 + 0.5) / self.places.bound() as f64);
            if place > self.remembered[hub].0 {
                continue;
            }
            match visits.iter_mut().find(|visit| visit.who == hub as u32) {
                // A hub remembers the latest visit.
                Some(known) => {
                    let other = self.visit(hub, place, pair, hub as u32);
                    if other.ago < known.ago {
                        *known = other;
                    }
                }
                None => visits.push(self.visit(hub, place, pair, hub as u32)),
            }
        }
        visits
    }

    /// The last place that a hub remembers, and its latest visitors.
    fn latest(&self, hub: usize, table: usize) -> (u64, Vec<Visit>) {
        let (first, end) = self.range(hub);
        let mut visitors: Vec<Visit> = Vec::new();
        let mut known = std::collections::BTreeSet::new();
        let mut last = first;
        for place in first..end {
            if visitors.len() == table {
                break;
            }
            last = place;
            let pair = self.places.number(place);
            let person = self.people.number(pair / self.visits) as u32;
            if self.takes_place(pair) && known.insert(person) {
                visitors.push(self.visit(hub, place, pair, person));
            }
        }
        (last, visitors)
    }

    fn visit(&self, hub: usize, place: u64, pair: u64, who: u32) -> Visit {
        let (first, end) = self.range(hub);
        Visit {
            who,
            ago: REMEMBERED * (place - first) as f64 / (end - first) as f64,
            seconds: 1 + self.how_long.of(pair).below(20) as u32,
        }
    }

    fn takes_place(&self, pair: u64) -> bool {
        let (visitor, number) = (pair / self.visits, pair % self.visits);
        number <= self.how_many.of(visitor).below(self.visits)
    }

    /// The places of a hub: those whose middle lies in its share.
    fn range(&self, hub: usize) -> (u64, u64) {
        let bound = self.places.bound();
        let (begin, end) = self.demand.share(hub);
        let place = |point: f64| ((point * bound as f64 + 0.5) as u64).min(bound);
        (place(begin), place(end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hub_and_its_visitors_remember_the_same_visits() {
        let hubs = Hubs::new(1, 20_000, 16_000, 256, &Proportions::social());
        let mut visits = 0;
        for hub in 0..Hubs::count(20_000, &Proportions::social()) {
            assert!(hubs.visitors(hub).len() <= 256);
            for visit in hubs.visitors(hub) {
                let seen = hubs.visited_by(visit.who);
                let other = seen.iter().find(|other| other.who == hub).unwrap();
                assert_eq!((other.ago, other.seconds), (visit.ago, visit.seconds));
                visits += 1;
            }
        }
        let seen: usize = (0..16_000).map(|person| hubs.visited_by(person).len()).sum();
        assert_eq!(seen, visits);
        assert!(hubs.visited(0) > 3000);
    }
}
