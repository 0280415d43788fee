//! Sending again what was not answered.

use std::time::Duration;

use crate::Time;

/// When something is sent again, and how often it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Retry {
    at: Time,
    last: Time,
    sent: u32,
    twice: bool,
    schedule: Schedule,
}

/// How soon something that many wait for is sent again for the first time: sooner than an answer can come, since the loss of
/// a single datagram would cost them a whole pause, and it costs but one more.
const TWICE: Duration = Duration::from_millis(60);

/// The pauses between tries: the first pause so many times, then doubled each time up to the longest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Schedule {
    pub(crate) first: Duration,
    pub(crate) steady: u32,
    pub(crate) longest: Duration,
}

impl Retry {
    /// Something that is sent now for the first time.
    pub(crate) fn begin(schedule: Schedule, now: Time) -> Self {
        Self {
            at: now + schedule.first,
            last: now,
            sent: 1,
            twice: false,
            schedule,
        }
    }

    /// Something to be sent for the first time as soon as possible.
    pub(crate) fn due(schedule: Schedule, now: Time) -> Self {
        Self {
            at: now,
            last: now,
            sent: 0,
            twice: false,
            schedule,
        }
    }

    /// The same, but sent a second time at once, see [`TWICE`].
    pub(crate) fn twice(self) -> Self {
        Self { twice: true, ..self }
    }

    /// When it is sent again.
    pub(crate) fn at(&self) -> Time {
        self.at
    }

    /// How often it was sent.
    pub(crate) fn sent(&self) -> u32 {
        self.sent
    }

    /// How long the answer took that comes now: known only for what was sent once.
    pub(crate) fn round_trip(&self, now: Time) -> Option<Duration> {
        (self.sent == 1).then(|| now.since(self.last))
    }

    /// As often as this one was sent, with the pauses of another.
    pub(crate) fn with(self, other: Self) -> Self {
        Self {
            schedule: other.schedule,
            ..self
        }
    }

    /// Notes that it is sent now.
    pub(crate) fn again(&mut self, now: Time) {
        let doublings = (self.sent + 1).saturating_sub(self.schedule.steady).min(16);
        let pause = self
            .schedule
            .first
            .saturating_mul(1 << doublings)
            .min(self.schedule.longest);
        self.at = now + if self.twice && self.sent == 0 { TWICE } else { pause };
        self.last = now;
        self.sent += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_after_the_steady_ones_up_to_the_longest() {
        let schedule = Schedule {
            first: Duration::from_millis(250),
            steady: 2,
            longest: Duration::from_secs(1),
        };
        let mut retry = Retry::due(schedule, Time::ZERO);
        let mut pauses = Vec::new();
        for _ in 0..6 {
            let now = retry.at();
            retry.again(now);
            pauses.push(retry.at().since(now).as_millis());
        }
        assert_eq!(pauses, [250, 250, 500, 1000, 1000, 1000]);
        assert_eq!(retry.sent(), 6);
        assert_eq!(Retry::begin(schedule, Time::ZERO).at(), Time::ZERO + schedule.first);
        assert_eq!(retry.round_trip(retry.at()), None);
    }

    #[test]
    fn a_round_trip_is_known_for_what_was_sent_once() {
        let schedule = Schedule {
            first: Duration::from_secs(1),
            steady: 1,
            longest: Duration::from_secs(1),
        };
        let mut retry = Retry::due(schedule, Time::ZERO);
        assert_eq!(retry.round_trip(Time::ZERO), None);
        let sent = Time::ZERO + Duration::from_millis(10);
        retry.again(sent);
        assert_eq!(
            retry.round_trip(sent + Duration::from_millis(7)),
            Some(Duration::from_millis(7))
        );
        retry.again(sent + Duration::from_secs(1));
        assert_eq!(retry.round_trip(sent + Duration::from_secs(2)), None);
    }
}
