//! When the nodes of a supernode that forgot them come back: not all at once.
//!
//! A supernode that restarts has lost all sessions, and a handshake with each node is to be answered again. It says beforehand, as long as
//! it knows them, over which **window** they are to come back: as long as it takes to answer so many. A node that learns that it was
//! forgotten waits for a random part of that.

use std::time::Duration;

use crate::{Engine, Time, peers::PeerId, retry::Schedule, wire::control::Control};

/// Nodes that a supernode takes back in a second: half of what one processor of 2026 answers with all that they want, beside the signs
/// of life of those that are back (`scripts/bench supernode`). Where more come than are answered, all come again and again, and fewer are
/// answered than before.
const BACK_IN_A_SECOND: u64 = 1200;

/// Whoever is told less comes back at once.
const LEAST: Duration = Duration::from_millis(100);

/// No supernode makes a node wait for longer.
const MOST: Duration = Duration::from_secs(900);

/// Where the supernode does not answer either, a node tries it at once, for so long as its own network may be at fault, and then as seldom as
/// the window says.
const AT_ONCE: Duration = Duration::from_secs(3);

/// It is tried no more seldom than this: its own network may have been at fault for as long.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// What a window is counted in where it is kept for each node.
const UNIT: Duration = Duration::from_millis(100);

/// The window for so many nodes.
pub(crate) fn window_for(registrations: usize) -> Duration {
    let nodes = u64::try_from(registrations).unwrap_or(u64::MAX);
    Duration::from_millis(nodes.saturating_mul(1000) / BACK_IN_A_SECOND).min(MOST)
}

/// What a node was told, in 16 bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Told(u16);

impl Told {
    fn of(window: Duration) -> Self {
        let units = window.as_millis() / UNIT.as_millis();
        Self(u16::try_from(units).unwrap_or(u16::MAX))
    }

    /// What is told at each registration.
    pub(crate) fn anew(&mut self, registrations: usize) -> Control {
        let window = window_for(registrations);
        *self = Self::of(window);
        let millis = u32::try_from(window.as_millis()).unwrap_or(u32::MAX);
        Control::Window { millis }
    }

    /// What is to be told now in its place: not every change, but what is half as long again, or half as long.
    pub(crate) fn renewed(&mut self, registrations: usize) -> Option<Control> {
        let window = window_for(registrations);
        let now = Self::of(window);
        let (before, units) = (u32::from(self.0), u32::from(now.0));
        if units * 2 <= before * 3 && units * 2 >= before {
            return None;
        }
        *self = now;
        let millis = u32::try_from(window.as_millis()).unwrap_or(u32::MAX);
        Some(Control::Window { millis })
    }
}

/// What a node was told of a supernode, and what came of it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Return {
    window: Duration,
    /// When it comes back, having been forgotten.
    pub(crate) at: Option<Time>,
}

impl Return {
    pub(crate) fn told(&mut self, millis: u32) {
        self.window = Duration::from_millis(millis.into()).min(MOST);
    }

    /// It was forgotten. Whether it waits.
    fn begin(&mut self, now: Time, random: u64) -> bool {
        if self.window < LEAST {
            return false;
        }
        let at = now + part(self.window, random);
        self.at.get_or_insert(at);
        true
    }

    /// How a supernode that has been missed for so long is tried again, where that is seldomer than otherwise.
    pub(crate) fn schedule(&self, missed: Duration, random: u64) -> Option<Schedule> {
        let pause = (self.window / 2 + part(self.window, random)).min(LONGEST_PAUSE);
        (missed >= AT_ONCE && self.window > 2 * AT_ONCE).then_some(Schedule {
            first: pause,
            steady: u32::MAX,
            longest: pause,
        })
    }
}

/// A random part of a time.
fn part(whole: Duration, random: u64) -> Duration {
    let nanos = u64::try_from(whole.as_nanos()).unwrap_or(u64::MAX).max(1);
    Duration::from_nanos(random % nanos)
}

impl Engine {
    /// A supernode says over which time its nodes are to come back, should it forget them.
    pub(crate) fn window_told(&mut self, id: PeerId, millis: u32) {
        if let Some(registration) = self.directory.registrations.get_mut(&id) {
            registration.comes_back.told(millis);
        }
    }

    /// A supernode has forgotten this node: whether it waits before it comes back.
    pub(crate) fn waits_to_return(&mut self, now: Time, id: PeerId) -> bool {
        let random = self.random_u64();
        let registration = self.directory.registrations.get_mut(&id);
        let waits = registration.is_some_and(|registration| registration.comes_back.begin(now, random));
        if waits {
            self.arm(id);
        }
        waits
    }

    /// Comes back, if it is time.
    pub(crate) fn tend_return(&mut self, now: Time, id: PeerId) {
        let registration = self.directory.registrations.get_mut(&id);
        let due = registration.and_then(|registration| registration.comes_back.at.take_if(|at| *at <= now));
        if due.is_some() {
            self.begin_handshake(id, false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_25_s_for_30_000_nodes_and_grows_with_them() {
        assert_eq!(window_for(0), Duration::ZERO);
        assert_eq!(window_for(30_000), Duration::from_secs(25));
        assert_eq!(window_for(2_000_000), MOST);
        assert_eq!(window_for(usize::MAX), MOST);
    }

    #[test]
    fn a_node_is_told_of_changes_by_half() {
        let (mut told, mut messages) = (Told::default(), 0);
        for registrations in 0..1_000_000 {
            messages += usize::from(told.renewed(registrations).is_some());
        }
        assert!((10..25).contains(&messages), "{messages}");
        assert_eq!(told.renewed(700_000), None);
        assert_eq!(told.renewed(300_000), Some(Control::Window { millis: 250_000 }));
        assert!(told.renewed(0).is_some() && told.renewed(100).is_none());
    }

    #[test]
    fn whoever_was_forgotten_comes_back_within_the_window_and_once() {
        let now = Time::ZERO + Duration::from_secs(9);
        let mut few = Return::default();
        few.told(99);
        assert!(!few.begin(now, 5));
        let mut many = Return::default();
        many.told(5000);
        assert!(many.begin(now, u64::MAX / 3) && many.begin(now + Duration::from_secs(1), 7));
        assert!(many.at.is_some_and(|at| at >= now && at < now + Duration::from_secs(5)));
        assert_eq!(
            many.schedule(Duration::from_secs(60), 3),
            None,
            "the usual pauses are as long"
        );
        many.told(60_000);
        assert_eq!(many.schedule(Duration::from_secs(1), 3), None);
        let schedule = many.schedule(Duration::from_secs(4), 3).unwrap();
        assert!(schedule.first >= Duration::from_secs(30) && schedule.first < Duration::from_secs(90));
    }
}
