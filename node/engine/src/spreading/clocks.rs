//! What time it is: the median of what supernodes and peers tell, and of this machine's clock.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    Engine, Outbox, Time,
    peers::PeerId,
    wire::control::{Control, Spread},
};

/// Clocks that are remembered; of more, the one told longest ago gives way.
const MAX_CLOCKS: usize = 32;

/// A clock counts for so long after it was told.
const KEPT: Duration = Duration::from_secs(3600);

/// The clocks of others.
#[derive(Debug, Default)]
pub(crate) struct Clocks {
    told: BTreeMap<PeerId, Told>,
}

#[derive(Clone, Copy, Debug)]
struct Told {
    millis: u64,
    at: Time,
}

impl Clocks {
    /// Somebody tells the time.
    pub(crate) fn told(&mut self, now: Time, by: PeerId, millis: u64) {
        self.told.retain(|_, told| now.since(told.at) < KEPT);
        if !self.told.contains_key(&by) && self.told.len() >= MAX_CLOCKS {
            let oldest = self.told.iter().min_by_key(|(_, told)| told.at).map(|(id, _)| *id);
            self.told.retain(|id, _| Some(*id) != oldest);
        }
        self.told.insert(by, Told { millis, at: now });
    }

    /// The median of the clocks of others and the own one. Of two, the own one counts, since one other is no judge of it; without
    /// any there is none.
    pub(crate) fn median(&self, now: Time, own: Option<u64>) -> Option<u64> {
        let fresh = self.told.values().filter(|told| now.since(told.at) < KEPT);
        let mut all: Vec<u64> = fresh
            .map(|told| told.millis.saturating_add(millis(now.since(told.at))))
            .collect();
        if let (1, Some(own)) = (all.len(), own) {
            return Some(own);
        }
        all.extend(own);
        all.sort_unstable();
        all.get(all.len() / 2).copied()
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl Engine {
    /// This machine's time of day in milliseconds since 1970, if it was handed in.
    pub(crate) fn own_clock(&self, now: Time) -> Option<u64> {
        self.wall_clock.millis(now)
    }

    /// What time it is, as far as this node knows.
    pub(crate) fn agreed_clock(&self, now: Time) -> Option<u64> {
        self.spreads.clocks.median(now, self.own_clock(now))
    }

    /// Tells a peer the time, once a session.
    pub(crate) fn tell_clock(&mut self, now: Time, id: PeerId, out: &mut Outbox) {
        let Some(millis) = self.own_clock(now) else { return };
        let peer = self.peers.get_mut(id);
        let session = peer.and_then(|peer| peer.sessions.sending());
        if session.is_some_and(|session| !std::mem::replace(&mut session.networks.clock_told, true)) {
            self.send_control(now, id, None, &[Control::Spread(Spread::Clock { millis })], out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Time {
        Time::from_nanos(seconds * 1_000_000_000)
    }

    #[test]
    fn the_median_counts_and_goes_on() {
        let mut clocks = Clocks::default();
        assert_eq!(clocks.median(at(1), None), None);
        assert_eq!(clocks.median(at(1), Some(5000)), Some(5000));
        clocks.told(at(1), PeerId::for_test(1), 900_000);
        assert_eq!(clocks.median(at(1), Some(5000)), Some(5000), "one other is no judge");
        assert_eq!(clocks.median(at(2), None), Some(901_000));
        clocks.told(at(2), PeerId::for_test(2), 100_000);
        clocks.told(at(2), PeerId::for_test(2), 5100);
        assert_eq!(clocks.median(at(2), Some(5000)), Some(5100));
        assert_eq!(clocks.median(at(12), Some(15_000)), Some(15_100));
        assert_eq!(clocks.median(at(3700), Some(7)), Some(7), "told long ago");
    }

    #[test]
    fn they_are_few() {
        let mut clocks = Clocks::default();
        for number in 0..1000 {
            clocks.told(at(number), PeerId::for_test(number), 1000);
        }
        assert_eq!(clocks.told.len(), MAX_CLOCKS);
        assert!(clocks.told.contains_key(&PeerId::for_test(999)));
    }
}
