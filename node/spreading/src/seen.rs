//! What came already.

use std::time::Duration;

use crate::Time;

/// Something is remembered for at least so long, unless too much came: as long as a copy of it could be taken for fresh
/// ([`crate::origins`]).
const KEPT: Duration = Duration::from_secs(120);

/// New ones are put in order a few at a time.
const UNSORTED: usize = 64;

/// A set of keys that came lately, the oldest of which are forgotten.
///
/// Two generations in sorted order, and the latest few: exactly the size of the keys, and nobody can make it slow by choosing
/// them.
#[derive(Debug)]
pub(crate) struct Seen<K> {
    latest: Vec<K>,
    current: Vec<K>,
    previous: Vec<K>,
    since: Time,
    most: usize,
}

impl<K: Ord + Copy> Seen<K> {
    /// Remembers `most` keys at the most, and at least half as many.
    pub(crate) const fn new(most: usize) -> Self {
        Self {
            latest: Vec::new(),
            current: Vec::new(),
            previous: Vec::new(),
            since: Time::ZERO,
            most,
        }
    }

    pub(crate) fn contains(&self, key: &K) -> bool {
        self.latest.contains(key) || self.current.binary_search(key).is_ok() || self.previous.binary_search(key).is_ok()
    }

    /// Notes a key; returns whether it is new.
    pub(crate) fn insert(&mut self, now: Time, key: K) -> bool {
        if self.contains(&key) {
            return false;
        }
        self.age(now);
        if self.latest.len() >= UNSORTED {
            self.settle();
        }
        self.latest.push(key);
        true
    }

    fn age(&mut self, now: Time) {
        let age = now.since(self.since);
        if age < KEPT && self.current.len() + self.latest.len() < self.most / 2 {
            return;
        }
        self.settle();
        self.previous = std::mem::take(&mut self.current);
        if age >= 2 * KEPT {
            self.previous = Vec::new();
        }
        self.since = now;
    }

    fn settle(&mut self) {
        self.current.reserve_exact(self.latest.len());
        self.current.append(&mut self.latest);
        // Two runs, the first of which is sorted: this merges them.
        self.current.sort();
    }

    #[cfg(test)]
    pub(crate) fn bytes(&self) -> usize {
        (self.latest.capacity() + self.current.capacity() + self.previous.capacity()) * size_of::<K>()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: u64) -> Time {
        Time::ZERO + Duration::from_secs(1000 + seconds)
    }

    #[test]
    fn what_came_is_remembered_for_two_minutes_and_not_for_ever() {
        let mut seen = Seen::new(1000);
        for second in 0..600 {
            assert!(seen.insert(at(second), second));
            assert!(!seen.insert(at(second), second));
            for before in 0..120.min(second) {
                assert!(seen.contains(&(second - before)), "{second} {before}");
            }
            assert!(second < 300 || !seen.contains(&(second - 300)));
        }
        // After a pause nothing of before is left.
        seen.insert(at(5000), 5000);
        seen.insert(at(5121), 5121);
        assert!(!seen.contains(&599) && seen.contains(&5000));
    }

    proptest! {
        #[test]
        fn it_holds_at_least_half_as_many_as_it_may_and_no_more_than_that(
            keys in proptest::collection::vec(0_u64..5000, 1..3000), most in 200_usize..2000
        ) {
            let mut seen = Seen::new(most);
            let mut order = Vec::new();
            for key in keys {
                let known = order.iter().rev().take(most / 2).any(|one| *one == key);
                let is_new = seen.insert(at(0), key);
                prop_assert!(!(known && is_new));
                if is_new {
                    order.push(key);
                }
                prop_assert!(seen.bytes() <= (most + 2 * UNSORTED) * size_of::<u64>());
            }
        }
    }
}
