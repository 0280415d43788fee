//! Whose broadcasts came, what time it is there, and how much of theirs was sent on.

use std::time::Duration;

use farlan_crypto::NodeId;

use crate::{Meter, Time};

/// Origins that are remembered; the one heard the longest ago makes room.
const MAX_ORIGINS: usize = 1024;

/// How far a broadcast's time may be from what its origin's clock shows, or, as long as that is not known, from the clock of
/// others.
pub(crate) const TOLERANCE_MS: u64 = 60_000;

/// An origin of whom nothing was taken for so long is a new one: its clock may have been set meanwhile.
const KEPT: Duration = Duration::from_secs(600);

/// The origins of broadcasts that were genuine, in the order of their keys.
#[derive(Debug, Default)]
pub(crate) struct Origins {
    origins: Vec<Origin>,
}

/// One of them.
#[derive(Debug)]
pub(crate) struct Origin {
    key: [u8; 32],
    node: NodeId,
    /// Its clock, less the own time, in milliseconds: the highest seen, thus the one that was the shortest on the way.
    ahead: i64,
    /// When a broadcast of it was last taken.
    at: Time,
    /// What of its broadcasts was sent on.
    pub(crate) forwarded: Meter,
}

impl Origins {
    fn find(&self, now: Time, key: &[u8; 32]) -> Option<&Origin> {
        let place = self.origins.binary_search_by(|origin| origin.key.cmp(key)).ok()?;
        self.origins.get(place).filter(|origin| now.since(origin.at) < KEPT)
    }

    /// The node id of an origin that is known: looking at its key takes a while.
    pub(crate) fn node(&self, key: &[u8; 32]) -> Option<NodeId> {
        let place = self.origins.binary_search_by(|origin| origin.key.cmp(key)).ok()?;
        self.origins.get(place).map(|origin| origin.node)
    }

    pub(crate) fn find_mut(&mut self, key: &[u8; 32]) -> Option<&mut Origin> {
        let place = self.origins.binary_search_by(|origin| origin.key.cmp(key)).ok()?;
        self.origins.get_mut(place)
    }

    /// Whether a broadcast with this time may be new. What is taken can be taken again for as long as [`crate::seen`] remembers
    /// it, and no longer.
    pub(crate) fn is_fresh(&self, now: Time, key: &[u8; 32], time: u64, clock: Option<u64>) -> bool {
        let tolerance = milliseconds(TOLERANCE_MS);
        let near = |expected: i64| milliseconds(time).saturating_sub(expected);
        let by_clock = || clock.is_some_and(|clock| near(milliseconds(clock)).abs() <= tolerance);
        match self.find(now, key) {
            Some(origin) => {
                let difference = near(own(now).saturating_add(origin.ahead));
                // A clock that was set forward is believed if others show that time.
                difference >= -tolerance && (difference <= tolerance || by_clock())
            }
            None => by_clock(),
        }
    }

    /// Notes that a genuine broadcast with this time was taken. One that came straight from its origin shows its clock even if it
    /// was set back.
    pub(crate) fn note(
        &mut self,
        now: Time,
        key: &[u8; 32],
        node: NodeId,
        time: u64,
        straight: bool,
    ) -> Option<&mut Origin> {
        let ahead = milliseconds(time).saturating_sub(own(now));
        let place = match self.origins.binary_search_by(|origin| origin.key.cmp(key)) {
            Ok(place) => place,
            Err(place) => {
                let place = self.make_room(place);
                let origin = Origin {
                    key: *key,
                    node,
                    ahead,
                    at: now,
                    forwarded: Meter::default(),
                };
                self.origins.insert(place, origin);
                place
            }
        };
        let origin = self.origins.get_mut(place)?;
        let is_set_back = straight && ahead < origin.ahead.saturating_sub(milliseconds(TOLERANCE_MS));
        if ahead > origin.ahead || is_set_back || now.since(origin.at) >= KEPT {
            origin.ahead = ahead;
        }
        origin.at = now;
        Some(origin)
    }

    /// Makes room for one more at `place`; returns where that is then.
    fn make_room(&mut self, place: usize) -> usize {
        if self.origins.len() < MAX_ORIGINS {
            return place;
        }
        let oldest = self.origins.iter().enumerate().min_by_key(|(_, origin)| origin.at);
        let Some((oldest, _)) = oldest else { return place };
        self.origins.remove(oldest);
        place - usize::from(oldest < place)
    }

    #[cfg(test)]
    pub(crate) const fn most_bytes() -> usize {
        MAX_ORIGINS * size_of::<Origin>()
    }

    #[cfg(test)]
    pub(crate) fn bytes(&self) -> usize {
        self.origins.capacity() * size_of::<Origin>()
    }
}

fn milliseconds(unix_ms: u64) -> i64 {
    i64::try_from(unix_ms).unwrap_or(i64::MAX)
}

fn own(now: Time) -> i64 {
    milliseconds(now.as_nanos() / 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNIX: u64 = 1_790_000_000_000;

    fn at(seconds: u64) -> Time {
        Time::ZERO + Duration::from_secs(1000 + seconds)
    }

    fn key(number: u16) -> [u8; 32] {
        let mut key = [0; 32];
        key[..2].copy_from_slice(&number.to_be_bytes());
        key
    }

    fn node(number: u16) -> NodeId {
        NodeId::of_key(&key(number))
    }

    #[test]
    fn an_origin_is_measured_by_its_own_clock() {
        let mut origins = Origins::default();
        let clock = |seconds: u64| Some(UNIX + 1000 * seconds);
        assert!(
            !origins.is_fresh(at(0), &key(1), UNIX, None),
            "nothing tells what time it is"
        );
        assert!(origins.is_fresh(at(0), &key(1), UNIX + 60_000, clock(0)));
        assert!(!origins.is_fresh(at(0), &key(1), UNIX + 60_001, clock(0)));
        // Its clock is an hour behind.
        let hers = |seconds: u64| UNIX - 3_600_000 + 1000 * seconds;
        origins.note(at(0), &key(1), node(1), hers(0), true);
        assert!(origins.is_fresh(at(100), &key(1), hers(40), clock(100)));
        assert!(!origins.is_fresh(at(100), &key(1), hers(39), clock(100)));
        assert!(origins.is_fresh(at(100), &key(1), hers(160), None));
        assert!(!origins.is_fresh(at(100), &key(1), hers(161), None));
        // It is set forward: others' clocks say so, too, or it comes straight from there.
        assert!(origins.is_fresh(at(100), &key(1), UNIX + 100_000, clock(100)));
        origins.note(at(100), &key(1), node(1), UNIX + 100_000, false);
        assert!(!origins.is_fresh(at(101), &key(1), hers(101), clock(101)));
        // A late one does not set it back, one from itself does.
        origins.note(at(101), &key(1), node(1), UNIX + 50_000, false);
        assert!(!origins.is_fresh(at(101), &key(1), UNIX + 40_000, None));
        origins.note(at(101), &key(1), node(1), hers(101), true);
        assert!(origins.is_fresh(at(101), &key(1), hers(101), None));
        // After a while it is a new one.
        assert!(!origins.is_fresh(at(702), &key(1), hers(702), clock(702)));
        assert!(origins.is_fresh(at(702), &key(1), UNIX + 702_000, clock(702)));
    }

    #[test]
    fn no_time_makes_it_overflow() {
        let mut origins = Origins::default();
        for (number, time) in (0..).zip([0, 1, u64::MAX, u64::MAX / 2, UNIX]) {
            for clock in [None, Some(0), Some(u64::MAX), Some(UNIX)] {
                origins.is_fresh(at(0), &key(number), time, clock);
                origins.note(at(0), &key(number), node(number), time, number % 2 == 0);
                origins.is_fresh(Time::from_nanos(u64::MAX), &key(number), u64::MAX - time, clock);
                origins.note(at(1), &key(number), node(number), u64::MAX - time, true);
            }
        }
    }

    #[test]
    fn the_one_heard_the_longest_ago_makes_room() {
        let mut origins = Origins::default();
        for number in 0..1500 {
            origins.note(at(u64::from(number)), &key(number), node(number), UNIX, true);
            origins.note(at(u64::from(number)), &key(7), node(7), UNIX, true);
        }
        assert_eq!(origins.origins.len(), MAX_ORIGINS);
        assert!(origins.origins.is_sorted_by_key(|origin| origin.key));
        assert_eq!(origins.node(&key(7)), Some(node(7)));
        assert!(origins.node(&key(1499)).is_some() && origins.node(&key(10)).is_none());
        assert!(origins.find_mut(&key(1499)).is_some());
    }
}
