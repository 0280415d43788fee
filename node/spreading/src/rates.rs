//! How often something may happen: rates with a burst, and bounded tables of them for whoever is not known.

use std::{collections::BTreeMap, time::Duration};

use crate::Time;

/// So many a second, and at once as many as come within `burst`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Events, or bytes, in `within`.
    pub count: u64,
    /// In which time.
    pub within: Duration,
    /// The time whose share may be taken at once.
    pub burst: Duration,
}

impl Rate {
    /// `count` a second, and so many of a second at once.
    #[must_use]
    pub const fn per_second(count: u64, burst: Duration) -> Self {
        Self {
            count,
            within: Duration::from_secs(1),
            burst,
        }
    }

    /// `count` a second, and as many at once as come in a second.
    pub const fn each_second(count: u64) -> Self {
        Self::per_second(count, Duration::from_secs(1))
    }

    /// The time that `count` take.
    fn time_of(&self, count: u64) -> Duration {
        let nanoseconds = u128::from(count) * self.within.as_nanos() / u128::from(self.count.max(1));
        Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX))
    }

    /// How many fit into a time.
    fn within(&self, time: Duration) -> u64 {
        let count = time.as_nanos() * u128::from(self.count) / self.within.as_nanos().max(1);
        u64::try_from(count).unwrap_or(u64::MAX)
    }
}

/// What was used of a [`Rate`]: the moment until which it is spoken for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Meter(Time);

impl Meter {
    /// Nothing of it was used yet.
    pub const UNUSED: Self = Self(Time::ZERO);

    /// Takes `count`, if so many are left.
    pub fn take(&mut self, now: Time, rate: &Rate, count: u64) -> bool {
        let until = self.0.max(now) + rate.time_of(count);
        let fits = until.since(now) <= rate.burst;
        if fits {
            self.0 = until;
        }
        fits
    }

    /// Takes as many as are left, `most` at the most; returns how many.
    pub fn draw(&mut self, now: Time, rate: &Rate, most: u64) -> u64 {
        let begun = self.0.max(now);
        let drawn = rate.within(rate.burst.saturating_sub(begun.since(now))).min(most);
        self.0 = begun + rate.time_of(drawn);
        drawn
    }

    /// Gives back what was drawn and not used.
    pub fn give_back(&mut self, rate: &Rate, count: u64) {
        let nanoseconds = u64::try_from(rate.time_of(count).as_nanos()).unwrap_or(u64::MAX);
        self.0 = Time::from_nanos(self.0.as_nanos().saturating_sub(nanoseconds));
    }

    /// Takes one whether it is left or not, and owes at most as much as comes in a second.
    pub fn owe(&mut self, now: Time, rate: &Rate) {
        self.owe_many(now, rate, 1);
    }

    /// Takes so many whether they are left or not, and owes at most as much as comes in a second.
    pub fn owe_many(&mut self, now: Time, rate: &Rate, count: u64) {
        let most = now + rate.burst + Duration::from_secs(1);
        self.0 = (self.0.max(now) + rate.time_of(count)).min(most);
    }

    /// Whether there is none left.
    pub fn is_spent(&self, now: Time, rate: &Rate) -> bool {
        self.0.since(now) + rate.time_of(1) > rate.burst
    }

    /// Whether nothing of it is in use.
    #[must_use]
    pub fn is_idle(&self, now: Time) -> bool {
        self.0 <= now
    }
}

/// One rate for each of many, who may be anybody: those that used nothing lately make room, and where all did, whoever is
/// new gets nothing.
#[derive(Debug)]
pub struct Meters<K> {
    meters: BTreeMap<K, Meter>,
    rate: Rate,
    most: usize,
}

impl<K: Ord + Copy> Meters<K> {
    /// `most` of them at a time, each with `rate`.
    #[must_use]
    pub const fn new(rate: Rate, most: usize) -> Self {
        Self {
            meters: BTreeMap::new(),
            rate,
            most,
        }
    }

    /// Takes one for `key`, if it has one left.
    pub fn take(&mut self, now: Time, key: K) -> bool {
        let rate = self.rate;
        self.meter(now, key).is_some_and(|meter| meter.take(now, &rate, 1))
    }

    /// Takes for `key` as many as it has left, `most` at the most; returns how many.
    pub fn draw(&mut self, now: Time, key: K, most: u64) -> u64 {
        let rate = self.rate;
        self.meter(now, key).map_or(0, |meter| meter.draw(now, &rate, most))
    }

    /// Gives back what was drawn for `key` and not used.
    pub fn give_back(&mut self, key: K, count: u64) {
        if let Some(meter) = self.meters.get_mut(&key) {
            meter.give_back(&self.rate, count);
        }
    }

    /// The meter of `key`, if there is room for it.
    pub(crate) fn meter(&mut self, now: Time, key: K) -> Option<&mut Meter> {
        if !self.meters.contains_key(&key) && self.meters.len() >= self.most {
            self.meters.retain(|_, meter| !meter.is_idle(now));
            if self.meters.len() >= self.most {
                return None;
            }
        }
        Some(self.meters.entry(key).or_default())
    }

    /// How many of them used something lately.
    pub(crate) fn busy(&self, now: Time) -> usize {
        self.meters.values().filter(|meter| !meter.is_idle(now)).count()
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.meters.len()
    }

    /// The bytes of those there are, and of as many as there may be, in a tree whose leaves are as empty as they may be.
    #[cfg(test)]
    pub(crate) fn bytes(&self) -> usize {
        tree_bytes::<K>(self.meters.len())
    }

    #[cfg(test)]
    pub(crate) fn most_bytes(&self) -> usize {
        tree_bytes::<K>(self.most)
    }
}

#[cfg(test)]
fn tree_bytes<K>(count: usize) -> usize {
    let leaf = 16 + 11 * (size_of::<K>() + size_of::<Meter>());
    let leaves = count.div_ceil(5);
    leaves * leaf + leaves.div_ceil(5) * (leaf + 12 * 8)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TEN: Rate = Rate::per_second(10, Duration::from_secs(2));

    #[test]
    fn a_rate_gives_its_burst_and_then_so_many_a_second() {
        let mut meter = Meter::default();
        let start = Time::ZERO + Duration::from_secs(100);
        assert_eq!((0..100).filter(|_| meter.take(start, &TEN, 1)).count(), 20);
        let taken: usize = (1..=1000)
            .map(|step| usize::from(meter.take(start + Duration::from_millis(10) * step, &TEN, 1)))
            .sum();
        assert_eq!(taken, 100);
    }

    #[test]
    fn what_is_owed_is_bounded() {
        const RATE: Rate = Rate::per_second(20, Duration::from_millis(250));
        let at = |milliseconds| Time::ZERO + Duration::from_millis(milliseconds);
        let mut meter = Meter::default();
        for _ in 0..5 {
            assert!(!meter.is_spent(at(0), &RATE));
            meter.owe(at(0), &RATE);
        }
        for _ in 0..1_000_000 {
            meter.owe(at(0), &RATE);
        }
        assert!(meter.is_spent(at(1000), &RATE));
        assert!(!meter.is_spent(at(1051), &RATE));
    }

    proptest! {
        #[test]
        fn what_is_drawn_and_given_back_never_exceeds_the_rate(
            steps in proptest::collection::vec((0_u64..3_000_000_000, 0_u64..50, 0_u64..50), 1..60)
        ) {
            let mut meter = Meter::default();
            let mut now = Time::ZERO + Duration::from_secs(9);
            let (mut used, mut passed) = (0, Duration::ZERO);
            for (pause, wanted, kept) in steps {
                now += Duration::from_nanos(pause);
                passed += Duration::from_nanos(pause);
                let drawn = meter.draw(now, &TEN, wanted);
                prop_assert!(drawn <= wanted);
                let kept = kept.min(drawn);
                meter.give_back(&TEN, drawn - kept);
                used += kept;
                prop_assert!(used <= TEN.within(TEN.burst + passed));
            }
        }
    }

    #[test]
    fn a_table_of_meters_is_bounded_and_idle_ones_make_room() {
        let mut meters = Meters::new(TEN, 4);
        let now = Time::ZERO + Duration::from_secs(1);
        for key in 0..4 {
            assert!(meters.take(now, key));
        }
        assert!(!meters.take(now, 4), "all were used lately");
        assert!(meters.take(now, 3), "whoever is in goes on");
        assert!(meters.take(now + Duration::from_millis(150), 4));
        assert!(meters.len() <= 4);
    }
}
