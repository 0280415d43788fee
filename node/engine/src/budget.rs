//! How often something may be done, in one number.

use std::time::Duration;

use crate::Time;

/// How often something may be done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rate {
    per_second: u32,
    /// So often at once, after a pause.
    at_once: u32,
}

impl Rate {
    pub(crate) const fn new(per_second: u32, at_once: u32) -> Self {
        Self { per_second, at_once }
    }

    /// What one takes of the budget.
    fn one(self) -> Duration {
        Duration::from_nanos(1_000_000_000 / u64::from(self.per_second.max(1)))
    }

    fn all(self) -> Duration {
        self.one() * self.at_once
    }
}

/// What is left of a [`Rate`], kept as the moment at which all of it is there again.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Budget(Time);

impl Budget {
    /// Takes one, if it is there.
    pub(crate) fn spend(&mut self, now: Time, rate: Rate) -> bool {
        let after = self.0.max(now) + rate.one();
        let there = after.since(now) <= rate.all();
        if there {
            self.0 = after;
        }
        there
    }

    /// Takes one whether it is there or not, and owes at most as much as comes in a second.
    pub(crate) fn owe(&mut self, now: Time, rate: Rate) {
        let most = now + rate.all() + Duration::from_secs(1);
        self.0 = (self.0.max(now) + rate.one()).min(most);
    }

    /// Whether there is none left.
    pub(crate) fn is_spent(&self, now: Time, rate: Rate) -> bool {
        self.0.since(now) + rate.one() > rate.all()
    }

    /// Whether nothing of it is spent.
    pub(crate) fn is_whole(&self, now: Time) -> bool {
        self.0 <= now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate::new(20, 5);

    fn at(milliseconds: u64) -> Time {
        Time::ZERO + Duration::from_millis(milliseconds)
    }

    #[test]
    fn it_is_spent_at_once_and_comes_back_at_its_rate() {
        let mut budget = Budget::default();
        assert!(budget.is_whole(at(0)));
        let spent = (0..100).filter(|_| budget.spend(at(0), RATE)).count();
        assert_eq!(spent, 5);
        assert!(budget.is_spent(at(0), RATE) && !budget.is_whole(at(0)));
        let spent = (0..1000).filter(|time| budget.spend(at(*time), RATE)).count();
        assert!((19..=20).contains(&spent), "{spent}");
        assert!(budget.is_whole(at(1300)));
        let spent = (0..100).filter(|_| budget.spend(at(9000), RATE)).count();
        assert_eq!(spent, 5, "no more is saved up");
    }

    #[test]
    fn what_is_owed_is_bounded() {
        let mut budget = Budget::default();
        for _ in 0..5 {
            assert!(!budget.is_spent(at(0), RATE));
            budget.owe(at(0), RATE);
        }
        for _ in 0..1_000_000 {
            budget.owe(at(0), RATE);
        }
        assert!(budget.is_spent(at(1000), RATE));
        assert!(!budget.is_spent(at(1051), RATE));
    }
}
