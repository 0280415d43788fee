//! How long a NAT keeps a mapping that nothing passes: learned from mappings that were found gone.

use std::time::Duration;

use farlan_crypto::defects::planted;

use crate::Time;

/// What idle mappings are kept with at first: below the 30 s after which the shortest-lived common NATs forget them.
const LONGEST: Duration = Duration::from_secs(25);

/// And at the shortest, however soon they are gone.
const SHORTEST: Duration = Duration::from_secs(15);

/// By so much shorter after each mapping that was found gone, and longer again after [`LASTED`].
const STEP: Duration = Duration::from_secs(5);

/// An interval that has kept the mapping so long is tried a step longer: the NAT may be another by now.
const LASTED: Duration = Duration::from_secs(3600);

/// The longest pause that is safe on one way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kept {
    interval: Duration,
    /// Since when it is this long; none as long as nothing was found gone.
    since: Option<Time>,
}

impl Default for Kept {
    fn default() -> Self {
        Self {
            interval: LONGEST,
            since: None,
        }
    }
}

impl Kept {
    /// The pause after which an idle way is to be used again.
    pub(crate) fn interval(&self, now: Time) -> Duration {
        let steps = self
            .since
            .map_or(0, |since| now.since(since).as_secs() / LASTED.as_secs());
        let longer = STEP * u32::try_from(steps).unwrap_or(u32::MAX).min(8);
        (self.interval + longer).min(LONGEST)
    }

    /// After so long without anything the mapping was gone. What is shorter than the shortest pause has other reasons.
    pub(crate) fn gone_after(&mut self, now: Time, idle: Duration) {
        // Half a second is what a timer may be late.
        let tells = (SHORTEST..=LONGEST * 2).contains(&(idle + Duration::from_millis(500)));
        if !tells || planted("keepalive-unlearned") {
            return;
        }
        let interval = self.interval(now).saturating_sub(STEP);
        self.interval = interval.max(SHORTEST);
        self.since = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Time {
        Time::ZERO + Duration::from_secs(seconds)
    }

    #[test]
    fn it_becomes_shorter_with_the_evidence_down_to_15_seconds_and_longer_after_hours() {
        let mut kept = Kept::default();
        let mut intervals = Vec::new();
        for round in 0..4 {
            intervals.push(kept.interval(at(round)).as_secs());
            kept.gone_after(at(round), kept.interval(at(round)));
        }
        assert_eq!(intervals, [25, 20, 15, 15]);
        assert_eq!(kept.interval(at(3599)).as_secs(), 15);
        assert_eq!(kept.interval(at(3700)).as_secs(), 20);
        assert_eq!(kept.interval(at(999_999)).as_secs(), 25);
    }

    #[test]
    fn a_way_that_breaks_in_use_or_after_a_long_sleep_tells_nothing() {
        let mut kept = Kept::default();
        for idle in [0, 1, 10, 51, 600] {
            kept.gone_after(at(1), Duration::from_secs(idle));
            assert_eq!(kept, Kept::default());
        }
    }
}
