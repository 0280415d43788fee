//! Who gets a copy, and what share of the budget.
//!
//! A share is what a child may cause to be delivered, and lost if it cannot use it. So active contacts get first what they can
//! use, in the order of their scores; the rest is spread by weight, among who can use it as long as there are such.

use farlan_crypto::NodeId;

use crate::message::MAX_FORWARDERS;

/// Why somebody gets a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// It was pinned.
    Pinned,
    /// An active contact.
    Active,
    /// Its broadcasts were heard lately.
    Heard,
    /// A subscriber that a supernode told.
    Sample,
    /// A contact, but not an active one.
    Recent,
    /// A member at random, since there are few contacts.
    Bootstrap,
    /// A member at random.
    LongLink,
}

impl Why {
    /// Whether it is served first.
    const fn is_first(self) -> bool {
        matches!(self, Self::Pinned | Self::Active)
    }
}

/// One who gets a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Planned {
    /// Who.
    pub node: NodeId,
    /// Why.
    pub why: Why,
    /// The deliveries it may cause.
    pub share: u8,
}

/// Who gets a copy of a broadcast, in the order in which they were chosen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Those who get a copy. Their number and their shares are together no more than the budget.
    pub copies: Vec<Planned>,
}

impl Plan {
    /// The deliveries that the broadcast may cause: the copies, and what their receivers may cause.
    #[must_use]
    pub fn deliveries(&self) -> usize {
        self.copies.iter().map(|copy| 1 + usize::from(copy.share)).sum()
    }
}

/// What a share may be at most, at the origin and at the next level. Beyond that nobody sends anything on.
pub(crate) const MAX_SHARES: [u8; 2] = [64, 8];

/// What a share of a member at random may be at most. Without that bound, who has few contacts spends all that those have no use
/// for on members that have nothing to do with it: half as much again for a broadcast on average.
const MAX_RANDOM_SHARE: u8 = 6;

/// What somebody can make use of, as long as it has not said it.
const NEED_UNKNOWN: u8 = 8;

/// The weight of a contact that frames go to and come from at this moment.
pub(crate) const WEIGHT: u64 = 1 << 24;

/// Somebody who may get a copy.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Candidate {
    pub(crate) node: NodeId,
    pub(crate) why: Why,
    /// What it said it could make use of.
    pub(crate) need: Option<u8>,
    /// Its part of what is left.
    pub(crate) weight: u64,
    /// Whether it wants the broadcast itself.
    pub(crate) wants: bool,
}

/// The shares of what is left of `budget` when each candidate has got a copy; no share is above `most_of_all`. Of the candidates the first
/// get something where it is not enough for all.
pub(crate) fn divide(budget: u8, most_of_all: u8, mut candidates: Vec<Candidate>) -> Plan {
    candidates.truncate(usize::from(budget));
    let mut left = budget.saturating_sub(u8::try_from(candidates.len()).unwrap_or(u8::MAX));
    let mut shares = vec![0_u8; candidates.len()];
    if most_of_all > 0 {
        let most = |candidate: &Candidate| match candidate.why {
            Why::Bootstrap | Why::LongLink => most_of_all.min(MAX_RANDOM_SHARE),
            Why::Pinned | Why::Active | Why::Heard | Why::Sample | Why::Recent => most_of_all,
        };
        let need = |candidate: &Candidate| candidate.need.unwrap_or(NEED_UNKNOWN).min(most(candidate));
        for (candidate, share) in candidates.iter().zip(&mut shares) {
            if candidate.why.is_first() {
                *share = need(candidate).min(left);
                left -= *share;
            }
        }
        for _ in 0..3 {
            spread(&mut left, &candidates, &mut shares, need);
        }
        spread(&mut left, &candidates, &mut shares, most);
        // What was too little to be divided.
        for (candidate, share) in candidates.iter().zip(&mut shares) {
            if left > 0 && *share < most(candidate) {
                *share += 1;
                left -= 1;
            }
        }
        if most_of_all == MAX_SHARES[0] {
            leave_to_the_first(MAX_FORWARDERS, &candidates, &mut shares, most);
        }
    }
    let copies = candidates.iter().zip(shares).map(|(candidate, share)| {
        let planned = Planned {
            node: candidate.node,
            why: candidate.why,
            share,
        };
        (candidate.wants, planned)
    });
    // One who does not want it is of use only if it sends it to several.
    let copies = copies.filter(|(wants, planned)| *wants || planned.share > 1);
    Plan {
        copies: copies.map(|(_, planned)| planned).collect(),
    }
}

/// Those whom an origin lets send a broadcast on are signed, and there is room for so many: what others had goes to the first.
fn leave_to_the_first(count: usize, candidates: &[Candidate], shares: &mut [u8], most: impl Fn(&Candidate) -> u8) {
    let others = shares.iter_mut().filter(|share| **share > 0).skip(count);
    let mut left: u8 = others.map(std::mem::take).sum();
    let mut before = 0;
    while left != before {
        before = left;
        for (candidate, share) in candidates.iter().zip(shares.iter_mut()) {
            if left > 0 && *share > 0 && *share < most(candidate) {
                *share += 1;
                left -= 1;
            }
        }
    }
}

/// Spreads what is left by weight, over those whose share is below `most`.
fn spread(left: &mut u8, candidates: &[Candidate], shares: &mut [u8], most: impl Fn(&Candidate) -> u8) {
    let pairs = || candidates.iter().zip(shares.iter());
    let all: u64 = pairs()
        .filter(|(candidate, share)| **share < most(candidate))
        .map(|(candidate, _)| candidate.weight)
        .sum();
    let before = u64::from(*left);
    if all == 0 || before == 0 {
        return;
    }
    for (candidate, share) in candidates.iter().zip(shares.iter_mut()) {
        let room = most(candidate).saturating_sub(*share);
        let part = u8::try_from(before * candidate.weight / all).unwrap_or(u8::MAX);
        let part = part.min(room).min(*left);
        *share += part;
        *left -= part;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn candidate(number: u8, why: Why, need: Option<u8>, weight: u64) -> Candidate {
        Candidate {
            node: NodeId::from_bytes([number; 16]),
            why,
            need,
            weight,
            wants: true,
        }
    }

    fn shares(plan: &Plan) -> Vec<u8> {
        plan.copies.iter().map(|copy| copy.share).collect()
    }

    #[test]
    fn active_contacts_get_first_what_they_can_use() {
        let candidates = vec![
            candidate(1, Why::Active, Some(40), WEIGHT),
            candidate(2, Why::Active, Some(3), WEIGHT),
            candidate(3, Why::Active, Some(100), WEIGHT),
            candidate(4, Why::Recent, Some(60), WEIGHT / 2),
            candidate(5, Why::LongLink, None, WEIGHT / 25),
        ];
        assert_eq!(shares(&divide(192, 64, candidates.clone())), [46, 9, 64, 62, 6]);
        assert_eq!(shares(&divide(60, 64, candidates.clone())), [40, 3, 12, 0, 0]);
        assert_eq!(shares(&divide(3, 64, candidates.clone())), [0, 0, 0]);
        assert_eq!(shares(&divide(64, 8, candidates.clone())), [8, 8, 8, 8, 6]);
        assert_eq!(shares(&divide(8, 0, candidates)), [0; 5]);
    }

    #[test]
    fn the_rest_goes_by_weight_and_is_used_up() {
        let candidates: Vec<_> = (0..10)
            .map(|number| candidate(number, Why::Recent, None, 100))
            .collect();
        let plan = divide(192, 64, candidates);
        assert_eq!(plan.deliveries(), 192);
        assert!(plan.copies.iter().all(|copy| (18..=19).contains(&copy.share)));
    }

    #[test]
    fn members_at_random_do_not_get_what_is_left() {
        let mut candidates = vec![candidate(0, Why::Active, Some(20), WEIGHT)];
        candidates.extend((1..9).map(|number| candidate(number, Why::Bootstrap, Some(60), 100)));
        candidates.extend((9..11).map(|number| candidate(number, Why::LongLink, None, 100)));
        let plan = shares(&divide(192, 64, candidates.clone()));
        assert_eq!((plan[0], &plan[1..]), (64, &[6; 10][..]));
        candidates.remove(0);
        assert_eq!(shares(&divide(192, 64, candidates)), [6; 10]);
    }

    #[test]
    fn no_more_may_send_it_on_than_can_be_named_and_nothing_is_lost_by_that() {
        let candidates = |active: u8, need: u8| -> Vec<_> {
            let sampled = |number: u8| (number + active, Why::Sample, None);
            let those = (0..active).map(|number| (number, Why::Active, Some(need)));
            let all = those.chain((0..32).map(sampled));
            all.map(|(number, why, need)| candidate(number, why, need, WEIGHT / 2))
                .collect()
        };
        for (active, need) in [(48, 1), (64, 1), (64, 0)] {
            let plan = divide(192, 64, candidates(active, need));
            assert_eq!(plan.deliveries(), 192, "{active} {need}");
            assert!(plan.copies.iter().filter(|copy| copy.share > 0).count() <= 64);
            assert_eq!(plan.copies.len(), usize::from(active) + 32);
        }
    }

    #[test]
    fn one_who_does_not_want_it_gets_it_only_to_send_it_to_several() {
        let mut candidates = vec![
            candidate(1, Why::Active, Some(1), WEIGHT),
            candidate(2, Why::Active, Some(5), WEIGHT),
            candidate(3, Why::Active, Some(0), WEIGHT),
        ];
        for candidate in &mut candidates {
            candidate.wants = false;
        }
        candidates[2].wants = true;
        let plan = divide(9, 64, candidates.clone());
        let nodes: Vec<_> = plan
            .copies
            .iter()
            .map(|copy| (copy.node.as_bytes()[0], copy.share))
            .collect();
        assert_eq!(nodes, [(2, 5), (3, 0)]);
        let plan = divide(8, 0, candidates);
        assert_eq!(plan.copies.len(), 1);
    }

    proptest! {
        #[test]
        fn no_plan_exceeds_its_budget_or_a_share_the_most(
            budget in 0_u8..=192,
            most in prop_oneof![Just(0_u8), Just(8), Just(64)],
            those in proptest::collection::vec((0_u8..7, proptest::option::of(0_u8..90), 0..=WEIGHT), 0..250),
        ) {
            let whys = [Why::Pinned, Why::Active, Why::Heard, Why::Sample, Why::Recent, Why::Bootstrap, Why::LongLink];
            let candidates: Vec<_> = those
                .iter()
                .map(|(why, need, weight)| candidate(1, whys[usize::from(*why)], *need, *weight))
                .collect();
            let count = candidates.len();
            let plan = divide(budget, most, candidates);
            prop_assert!(plan.deliveries() <= usize::from(budget));
            prop_assert!(plan.copies.iter().all(|copy| copy.share <= most));
            prop_assert_eq!(plan.copies.len(), count.min(usize::from(budget)));
        }
    }
}
