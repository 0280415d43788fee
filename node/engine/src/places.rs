//! The places of a supernode: how many may register, and with how many lists, so that the nodes of one household or host do
//! not take the last ones from all others.
//!
//! Half of the places are for whoever comes. Of the other half a /24 or /56 may hold no more than an eighth of what is still
//! free, so dozens of them together leave some, and whoever has no place yet gets one as long as there is any. Nobody
//! who has one loses it.

use std::collections::BTreeMap;

use crate::rates::Prefix;

/// Memberships there is room for, in times of the registrations.
const MEMBERSHIPS: usize = 2;

/// Subscriptions to channels there is room for, in times of the registrations.
const SUBSCRIPTIONS: usize = 8;

/// Numbers of registrations, those that rest included, in times of the registrations.
const NUMBERS: usize = 4;

/// Who has which share. Nodes that are registered through another supernode have none: that one divides its own places.
#[derive(Debug)]
pub(crate) struct Places {
    most: usize,
    registered: usize,
    memberships: usize,
    subscriptions: usize,
    resting: usize,
    shares: BTreeMap<Prefix, Share>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Share {
    registered: usize,
    memberships: usize,
    subscriptions: usize,
    resting: usize,
}

impl Places {
    pub(crate) fn new(most: usize) -> Self {
        Self {
            most,
            registered: 0,
            memberships: 0,
            subscriptions: 0,
            resting: 0,
            shares: BTreeMap::new(),
        }
    }

    /// How many may be registered.
    pub(crate) fn most(&self) -> usize {
        self.most
    }

    /// How many numbers there are.
    pub(crate) fn numbers(&self) -> usize {
        self.most * NUMBERS
    }

    /// Takes a place, if there is one.
    pub(crate) fn take(&mut self, of: Option<Prefix>) -> bool {
        let share = self.share(of);
        let free = self.most.saturating_sub(self.registered);
        let numbers = self.numbers().saturating_sub(self.registered + self.resting);
        let fits = is_fair(share.registered, free, self.most)
            && is_fair(share.registered + share.resting, numbers, self.numbers());
        if fits {
            self.registered += 1;
            self.change(of, |share| share.registered += 1);
        }
        fits
    }

    /// Gives back what was just taken.
    pub(crate) fn untake(&mut self, of: Option<Prefix>) {
        self.registered -= 1;
        self.change(of, |share| share.registered -= 1);
    }

    /// Takes room for memberships instead of those that were `held`, as many of those `wanted` as there is room for.
    pub(crate) fn take_memberships(&mut self, of: Option<Prefix>, held: usize, wanted: usize) -> usize {
        self.memberships -= held;
        self.change(of, |share| share.memberships -= held);
        let most = self.most * MEMBERSHIPS;
        let taken = fair_part(self.share(of).memberships, self.memberships, most, (held, wanted));
        self.memberships += taken;
        self.change(of, |share| share.memberships += taken);
        taken
    }

    /// The same for subscriptions to channels.
    pub(crate) fn take_subscriptions(&mut self, of: Option<Prefix>, held: usize, wanted: usize) -> usize {
        self.subscriptions -= held;
        self.change(of, |share| share.subscriptions -= held);
        let most = self.most * SUBSCRIPTIONS;
        let taken = fair_part(self.share(of).subscriptions, self.subscriptions, most, (held, wanted));
        self.subscriptions += taken;
        self.change(of, |share| share.subscriptions += taken);
        taken
    }

    /// A registration ended; its number rests.
    pub(crate) fn leave(&mut self, of: Option<Prefix>, memberships: usize) {
        self.registered -= 1;
        self.memberships -= memberships;
        self.resting += 1;
        self.change(of, |share| {
            share.registered -= 1;
            share.memberships -= memberships;
            share.resting += 1;
        });
    }

    /// A number has rested.
    pub(crate) fn rested(&mut self, of: Option<Prefix>) {
        self.resting -= 1;
        self.change(of, |share| share.resting -= 1);
    }

    fn share(&self, of: Option<Prefix>) -> Share {
        of.and_then(|of| self.shares.get(&of)).copied().unwrap_or_default()
    }

    fn change(&mut self, of: Option<Prefix>, change: impl FnOnce(&mut Share)) {
        let Some(of) = of else { return };
        let share = self.shares.entry(of).or_default();
        change(share);
        if *share == Share::default() {
            self.shares.remove(&of);
        }
    }
}

/// How many of those `wanted` whoever has `own` may have, where `all` have so many of `most`. What it `held` it keeps.
fn fair_part(own: usize, all: usize, most: usize, (held, wanted): (usize, usize)) -> usize {
    let free = most.saturating_sub(all);
    let mut taken = 0;
    while taken < wanted && (taken < held || is_fair(own + taken, free.saturating_sub(taken), most)) {
        taken += 1;
    }
    taken
}

/// Whether whoever has `taken` of `most` may have one more while so many are free.
fn is_fair(taken: usize, free: usize, most: usize) -> bool {
    free > 0 && (free > most / 2 || taken < (free / LAST_SHARE).max(1))
}

/// Of the last half of the places one prefix may hold this part of those that are free.
const LAST_SHARE: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(number: u8) -> Option<Prefix> {
        Some(Prefix::V4([10, 0, number]))
    }

    #[test]
    fn one_prefix_takes_half_of_the_places_and_many_leave_some() {
        let mut places = Places::new(1000);
        assert_eq!((0..5000).filter(|_| places.take(prefix(1))).count(), 500);
        assert_eq!((0..5000).filter(|_| places.take(prefix(2))).count(), 55);
        for number in 3..40 {
            while places.take(prefix(number)) {}
        }
        assert!(places.registered < 1000);
        assert!(places.take(prefix(200)), "somebody from elsewhere");
        for number in 0..250 {
            while places.take(prefix(number)) {}
        }
        assert_eq!(places.registered, 1000);
        places.leave(prefix(2), 0);
        assert!(places.take(prefix(251)), "the place that became free");
    }

    #[test]
    fn numbers_that_rest_count_for_whoever_had_them() {
        let mut places = Places::new(100);
        let mut taken = 0;
        while places.take(prefix(1)) {
            taken += 1;
            places.leave(prefix(1), 0);
        }
        assert_eq!(taken, 200, "half of the numbers");
        assert!(places.take(prefix(2)));
        for _ in 0..taken {
            places.rested(prefix(1));
        }
        assert!(places.take(prefix(1)));
        places.leave(prefix(1), 0);
        places.leave(prefix(2), 0);
        places.rested(prefix(1));
        places.rested(prefix(2));
        assert!(places.shares.is_empty());
    }

    #[test]
    fn memberships_are_divided_alike_and_kept() {
        let mut places = Places::new(100);
        let mut taken = 0;
        for _ in 0..50 {
            assert!(places.take(prefix(1)));
            taken += places.take_memberships(prefix(1), 0, 16);
        }
        assert_eq!(taken, 100, "half of 200");
        assert_eq!(places.take_memberships(prefix(1), 16, 16), 16, "what was held stays");
        assert!(places.take(prefix(2)));
        assert_eq!(
            places.take_memberships(prefix(2), 0, 16),
            11,
            "an eighth of what is free"
        );
        assert_eq!(places.take_memberships(prefix(2), 11, 3), 3);
        places.leave(prefix(2), 3);
        assert_eq!(places.memberships, 100);
    }

    #[test]
    fn subscriptions_are_divided_alike_and_kept() {
        let mut places = Places::new(100);
        let mut taken = 0;
        for _ in 0..100 {
            taken += places.take_subscriptions(prefix(1), 0, 8);
        }
        assert_eq!(taken, 400, "half of 800");
        assert!((1..=50).contains(&places.take_subscriptions(prefix(2), 0, 800)));
        assert_eq!(places.take_subscriptions(prefix(1), 8, 8), 8, "what was held stays");
    }
}
