//! Which supernode of a world is a node's home, which one stands by, and which are asked meanwhile.
//!
//! The *home* is the registered supernode with the lowest round trip; a *second* one stays registered beside it, so that
//! nothing has to be made when the home is lost. Another one takes over as home only if it was better by a fifth all
//! through a minute. While a home or a second is missing, more and more supernodes of the world are tried at once; when
//! both stand, the others are measured one after the other, seldom.

use std::{
    collections::{BTreeSet, VecDeque},
    time::Duration,
};

use crate::{Time, peers::PeerId};

/// Another supernode must have been better for so long before it becomes home.
const BETTER_FOR: Duration = Duration::from_secs(60);

/// The first choice is open for so long after the first supernode has answered: nobody knows the home yet.
const CHOICE_OPEN: Duration = Duration::from_secs(2);

/// Supernodes tried at once, and how soon more are, while there is no home.
const TRIED_AT_ONCE: usize = 4;
const TRY_MORE: Duration = Duration::from_secs(1);

/// The same while only the second is missing.
const SECOND_TRIED_AT_ONCE: usize = 2;
const SECOND_TRY_MORE: Duration = Duration::from_secs(5);

/// Pauses between measurements of supernodes that are neither home nor second: of each once at first, then seldom.
const FIRST_PROBES: Duration = Duration::from_secs(2);
const PROBES: Duration = Duration::from_secs(1800);

/// A supernode of a world as this node sees it now.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Candidate {
    pub(crate) id: PeerId,
    /// Whether this node is registered there, and not by way of another supernode.
    pub(crate) registered: bool,
    pub(crate) rtt: Option<Duration>,
}

/// The choice in one world.
#[derive(Debug, Default)]
pub(crate) struct Homes {
    home: Option<PeerId>,
    second: Option<PeerId>,
    /// Who is better than the home, and since when.
    better: Option<(PeerId, Time)>,
    /// Until when the choice is open; set when the first supernode answers.
    open: Option<Time>,
    /// Tried because somebody is missing.
    tried: BTreeSet<PeerId>,
    more: Option<Time>,
    /// Not measured yet in this round, and whether it is a later one than the first.
    unmeasured: VecDeque<PeerId>,
    seldom: bool,
    probe: Option<Time>,
}

/// What follows from a look at the supernodes.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Decision {
    /// The home that was left for a better one, and answers still.
    pub(crate) left: Option<PeerId>,
    /// Who is to be measured.
    pub(crate) measure: Option<PeerId>,
}

impl Homes {
    /// The supernode at which this node can always be reached.
    pub(crate) fn home(&self) -> Option<PeerId> {
        self.home
    }

    /// The home, then the second, as far as there are.
    pub(crate) fn both(&self) -> impl Iterator<Item = PeerId> {
        [self.home, self.second].into_iter().flatten()
    }

    /// Whether a registration is wanted for what is decided here.
    pub(crate) fn wants(&self, id: PeerId) -> bool {
        self.both().any(|chosen| chosen == id)
            || self.tried.contains(&id)
            || self.better.is_some_and(|(better, _)| better == id)
    }

    /// The list or the underlay changed: everybody is measured again.
    pub(crate) fn measure_all(&mut self) {
        self.probe = None;
    }

    /// When to look again, if nothing else happens.
    pub(crate) fn deadline(&self) -> Option<Time> {
        let better = self.better.map(|(_, since)| since + BETTER_FOR);
        [better, self.open, self.more, self.probe].into_iter().flatten().min()
    }

    /// Looks at the supernodes of the world, in the order of its list.
    pub(crate) fn decide(&mut self, now: Time, candidates: &[Candidate]) -> Decision {
        let mut decision = Decision {
            left: self.choose(now, candidates),
            measure: None,
        };
        self.tried
            .retain(|id| candidates.iter().any(|candidate| candidate.id == *id));
        let complete = self.home.is_some() && (self.second.is_some() || candidates.len() < 2) && self.open.is_none();
        if complete {
            self.tried.clear();
            self.more = None;
            decision.measure = self.next_probe(now, candidates);
        } else {
            self.probe = None;
            self.try_more(now, candidates);
        }
        decision
    }

    /// Chooses home and second among those that are registered; returns a home that was left though it answers.
    fn choose(&mut self, now: Time, candidates: &[Candidate]) -> Option<PeerId> {
        let answers = |id: PeerId| {
            candidates
                .iter()
                .any(|candidate| candidate.registered && candidate.id == id)
        };
        self.home = self.home.filter(|home| answers(*home));
        self.second = self.second.filter(|second| answers(*second));
        self.open = self.open.filter(|until| now < *until);
        let best = |other_than: Option<PeerId>| {
            let registered = candidates.iter().filter(|candidate| candidate.registered);
            registered
                .filter(|candidate| Some(candidate.id) != other_than)
                .min_by_key(|candidate| candidate.rtt.unwrap_or(Duration::MAX))
        };
        let Some(best_of_all) = best(None) else {
            // Nobody answers, so nobody is better.
            self.better = None;
            return None;
        };
        let rtt = |id: PeerId| {
            candidates
                .iter()
                .find(|candidate| candidate.id == id)
                .and_then(|found| found.rtt)
        };
        let mut left = None;
        match self.home {
            None => {
                // Whoever stands by takes over at once; a first choice waits for others to answer.
                self.open = self.second.is_none().then(|| now + CHOICE_OPEN);
                self.home = self.second.take().or(Some(best_of_all.id));
                self.better = None;
            }
            Some(home) if self.open.is_some() => {
                self.better = None;
                self.home = Some(if better(best_of_all.rtt, rtt(home), 1) {
                    best_of_all.id
                } else {
                    home
                })
            }
            Some(home) => {
                // The one that was better goes on counting, even where a third is better still for a moment.
                let running = self
                    .better
                    .filter(|(id, _)| answers(*id) && better(rtt(*id), rtt(home), 5));
                self.better = running.or_else(|| {
                    let better = best_of_all.id != home && better(best_of_all.rtt, rtt(home), 5);
                    better.then_some((best_of_all.id, now))
                });
                if let Some((id, _)) = self.better.filter(|(_, since)| now.since(*since) >= BETTER_FOR) {
                    self.better = None;
                    left = self.home.replace(id);
                    if self.second == Some(id) {
                        self.second = left;
                    }
                }
            }
        }
        if self.second.is_none() || self.second == self.home || self.open.is_some() {
            self.second = best(self.home).map(|candidate| candidate.id);
        }
        left
    }

    fn try_more(&mut self, now: Time, candidates: &[Candidate]) {
        if self.more.is_some_and(|at| at > now) {
            return;
        }
        let (count, pause) = match self.home {
            None => (TRIED_AT_ONCE, TRY_MORE),
            Some(_) => (SECOND_TRIED_AT_ONCE, SECOND_TRY_MORE),
        };
        let untried = candidates
            .iter()
            .filter(|candidate| !candidate.registered && !self.tried.contains(&candidate.id));
        let next: Vec<PeerId> = untried.take(count).map(|candidate| candidate.id).collect();
        self.more = (!next.is_empty()).then(|| now + pause);
        self.tried.extend(next);
    }

    fn next_probe(&mut self, now: Time, candidates: &[Candidate]) -> Option<PeerId> {
        let everybody = || candidates.iter().map(|candidate| candidate.id).collect();
        let Some(at) = self.probe else {
            self.unmeasured = everybody();
            self.seldom = false;
            self.probe = Some(now + FIRST_PROBES);
            return None;
        };
        if at > now {
            return None;
        }
        if self.unmeasured.is_empty() {
            self.unmeasured = everybody();
        }
        let unknown = |id: &PeerId| {
            candidates
                .iter()
                .any(|candidate| candidate.id == *id && !candidate.registered)
        };
        let next = std::iter::from_fn(|| self.unmeasured.pop_front()).find(unknown);
        self.seldom |= self.unmeasured.is_empty();
        self.probe = Some(now + if self.seldom { PROBES } else { FIRST_PROBES });
        next
    }
}

/// Whether `one` is shorter than `other` by at least a `share`-th part of it; by anything for a share of 1.
fn better(one: Option<Duration>, other: Option<Duration>, share: u32) -> bool {
    match (one, other) {
        (Some(one), Some(other)) if share == 1 => one < other,
        (Some(one), Some(other)) => one + other / share < other,
        (one, other) => one.is_some() && other.is_none(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ids(count: usize) -> Vec<PeerId> {
        let mut peers = crate::peers::Peers::default();
        let key = |number: usize| {
            let seed = farlan_crypto::Seed::from_bytes([u8::try_from(number + 1).unwrap(); 32]);
            farlan_crypto::Identity::from_seed(seed, farlan_crypto::Work::NONE)
                .unwrap()
                .public()
        };
        (0..count).map(|number| peers.pin(key(number)).unwrap()).collect()
    }

    fn at(milliseconds: u64) -> Time {
        Time::ZERO + Duration::from_millis(milliseconds)
    }

    /// Supernodes by round trip in milliseconds; 0 for those that do not answer.
    fn seen(ids: &[PeerId], rtts: &[u64]) -> Vec<Candidate> {
        let candidate = |(id, rtt): (&PeerId, &u64)| Candidate {
            id: *id,
            registered: *rtt > 0,
            rtt: (*rtt > 0).then(|| Duration::from_millis(*rtt)),
        };
        ids.iter().zip(rtts).map(candidate).collect()
    }

    #[test]
    fn the_nearest_of_the_first_answers_becomes_home_and_the_next_one_second() {
        let ids = ids(3);
        let mut homes = Homes::default();
        homes.decide(at(0), &seen(&ids, &[0, 0, 0]));
        assert!(ids.iter().all(|id| homes.wants(*id)));
        homes.decide(at(100), &seen(&ids, &[90, 0, 0]));
        assert_eq!(homes.home(), Some(ids[0]));
        homes.decide(at(400), &seen(&ids, &[90, 0, 30]));
        homes.decide(at(500), &seen(&ids, &[90, 60, 30]));
        assert_eq!(homes.both().collect::<Vec<_>>(), [ids[2], ids[1]]);
        homes.decide(at(2200), &seen(&ids, &[90, 60, 30]));
        assert!(!homes.wants(ids[0]));
    }

    #[test]
    fn another_home_is_taken_after_a_minute_of_a_fifth_less() {
        let ids = ids(2);
        let mut homes = Homes::default();
        for now in [0, 2000] {
            homes.decide(at(now), &seen(&ids, &[50, 60]));
        }
        let decision = homes.decide(at(10_000), &seen(&ids, &[50, 39]));
        assert_eq!(decision.left, None);
        // Not a fifth better: the minute begins anew.
        homes.decide(at(60_000), &seen(&ids, &[50, 41]));
        homes.decide(at(61_000), &seen(&ids, &[50, 39]));
        assert_eq!(homes.decide(at(120_999), &seen(&ids, &[50, 39])).left, None);
        assert_eq!(homes.deadline(), Some(at(121_000)));
        let decision = homes.decide(at(121_000), &seen(&ids, &[50, 39]));
        assert_eq!(decision.left, Some(ids[0]));
        assert_eq!(homes.both().collect::<Vec<_>>(), [ids[1], ids[0]]);
    }

    #[test]
    fn the_second_takes_over_at_once_and_others_are_looked_for() {
        let ids = ids(6);
        let mut homes = Homes::default();
        for now in [0, 2000, 4000] {
            homes.decide(at(now), &seen(&ids, &[50, 60, 0, 0, 0, 0]));
        }
        assert!(!homes.wants(ids[2]));
        let decision = homes.decide(at(5000), &seen(&ids, &[0, 60, 0, 0, 0, 0]));
        assert_eq!((homes.home(), decision.left), (Some(ids[1]), None));
        assert_eq!(
            ids.iter().filter(|id| homes.wants(**id)).count(),
            3,
            "home and two more"
        );
        homes.decide(at(10_000), &seen(&ids, &[0, 60, 0, 0, 0, 0]));
        homes.decide(at(15_000), &seen(&ids, &[0, 60, 0, 0, 0, 0]));
        assert!(ids.iter().all(|id| homes.wants(*id)), "in the end all");
    }

    #[test]
    fn without_a_home_a_world_of_64_is_tried_within_a_quarter_of_a_minute() {
        let ids = ids(64);
        let mut homes = Homes::default();
        let nobody = seen(&ids, &[0; 64]);
        homes.decide(at(0), &nobody);
        assert_eq!(ids.iter().filter(|id| homes.wants(**id)).count(), TRIED_AT_ONCE);
        let mut now = at(0);
        while let Some(next) = homes.deadline() {
            now = next;
            homes.decide(now, &nobody);
        }
        assert!(ids.iter().all(|id| homes.wants(*id)));
        assert!(now <= at(16_000), "{now}");
    }

    #[test]
    fn the_others_are_measured_once_and_then_one_in_half_an_hour() {
        let ids = ids(5);
        let mut homes = Homes::default();
        let seen = seen(&ids, &[50, 60, 0, 0, 0]);
        let mut measured = Vec::new();
        homes.decide(at(0), &seen);
        while let Some(now) = homes.deadline().filter(|now| *now < at(5_500_000)) {
            if let Some(id) = homes.decide(now, &seen).measure {
                measured.push((
                    now.since(at(0)).as_secs(),
                    ids.iter().position(|known| *known == id).unwrap(),
                ));
            }
        }
        assert_eq!(measured[..3], [(4, 2), (6, 3), (8, 4)]);
        assert_eq!(measured[3..], [(1808, 2), (3608, 3), (5408, 4)]);
    }

    #[test]
    fn what_was_to_be_done_is_done_when_nobody_answers_any_more() {
        let ids = ids(2);
        let mut homes = Homes::default();
        let mut now = 0;
        for rtts in [[50, 40], [50, 30], [50, 30]] {
            homes.decide(at(now), &seen(&ids, &rtts));
            now += 10_000;
        }
        homes.decide(at(now), &seen(&ids, &[30, 50]));
        // Long after: a machine that slept, and whose supernodes are gone.
        now += 100_000_000;
        for _ in 0..3 {
            homes.decide(at(now), &seen(&ids, &[0, 0]));
            assert!(homes.deadline().is_none_or(|deadline| deadline > at(now)));
            now += 60_000;
        }
    }

    proptest! {
        #[test]
        fn a_home_that_answers_is_left_for_a_minute_of_better_answers_only(
            steps in prop::collection::vec((1u64..20_000, prop::array::uniform3(0u64..100)), 1..60)
        ) {
            let ids = ids(3);
            let mut homes = Homes::default();
            let mut now = 0;
            // Since when each was a fifth better than the home, the home being the same.
            let mut since: [Option<u64>; 3] = [None; 3];
            for (pause, rtts) in steps {
                now += pause;
                let (before, open) = (homes.home(), homes.open);
                let decision = homes.decide(at(now), &seen(&ids, &rtts));
                let home = homes.home();
                prop_assert!(homes.deadline().is_none_or(|deadline| deadline > at(now)));
                prop_assert_eq!(home.is_some(), rtts.iter().any(|rtt| *rtt > 0));
                prop_assert!(homes.both().all(|id| rtts[ids.iter().position(|known| *known == id).unwrap()] > 0));
                prop_assert!(homes.second != home || home.is_none());
                let position = |id: Option<PeerId>| ids.iter().position(|known| Some(*known) == id);
                if let Some(old) = position(before) {
                    for (number, rtt) in rtts.iter().enumerate() {
                        let better = rtts[old] > 0 && *rtt > 0 && better(Some(Duration::from_millis(*rtt)), Some(Duration::from_millis(rtts[old])), 5);
                        since[number] = better.then(|| since[number].unwrap_or(now));
                    }
                    if home != before && rtts[old] > 0 && open.is_none_or(|open| open <= at(now)) {
                        prop_assert_eq!(decision.left, before);
                        let new = position(home).unwrap();
                        prop_assert!(since[new].is_some_and(|since| now - since >= 60_000));
                    }
                }
                if home != before {
                    since = [None; 3];
                }
            }
        }
    }
}
