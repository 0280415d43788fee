//! Whose broadcasts came, what time it is there, and how much of theirs was sent on.

use std::time::Duration;

use farlan_crypto::NodeId;

use crate::{Meter, Time};

/// Origins that are remembered; the one heard the longest ago makes room.
const MAX_ORIGINS: usize = 1024;

/// How far a broadcast's time may be from what its origin's clock shows, or, as long as that is not known, from the clock of
/// others.
const TOLERANCE_MS: i64 = 60_000;

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
        let near = |expected: i64| milliseconds(time).saturating_sub(expected);
        let by_clock = || clock.is_some_and(|clock| near(milliseconds(clock)).abs() <= TOLERANCE_MS);
        match self.find(now, key) {
            Some(origin) => {
                let difference = near(own(now).saturating_add(origin.ahead));
                // A clock that was set forward is believed if others show that time.
                difference >= -TOLERANCE_MS && (difference <= TOLERANCE_MS || by_clock())
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
        let is_set_back = straight && ahead < origin.ahead.saturating_sub(TOLERANCE_MS);
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
