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
