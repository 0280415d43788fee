//! The time of day in the engine, which has no clock: it is handed in and goes on with [`Time`]. How much of it counts says
//! [`farlan_netconf::private::now`].

use std::time::Duration;

use farlan_netconf::Seconds;

use crate::{Engine, Time};

/// Nothing is judged later than this after the last time.
pub(super) const JUDGED_EVERY: Duration = Duration::from_secs(24 * 3600);

/// The time of day as it was handed in.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct WallClock {
    seconds: Seconds,
    build: Seconds,
    at: Time,
}

impl WallClock {
    /// Milliseconds since 1970, if the time of day was handed in.
    pub(crate) fn millis(&self, now: Time) -> Option<u64> {
        let since = u64::try_from(now.since(self.at).as_millis()).unwrap_or(u64::MAX);
        let handed_in = self.seconds != Seconds::default();
        handed_in.then(|| {
            self.seconds
                .since(Seconds::default())
                .saturating_mul(1000)
                .saturating_add(since)
        })
    }
}

/// The time of day at one moment, as this machine has it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    pub(crate) seconds: Seconds,
    pub(crate) build: Seconds,
    pub(super) at: Time,
}

impl Clock {
    /// When it will be so late; a past moment is now.
    pub(super) fn when(&self, time: Seconds) -> Time {
        self.at + Duration::from_secs(time.since(self.seconds)).min(JUDGED_EVERY)
    }
}

impl Engine {
    /// Tells the engine the time of day, and the date of this build, before which it cannot be. Call it before networks are
    /// joined and when the clock was set.
    pub fn set_wall_clock(&mut self, now: Time, seconds: Seconds, build: Seconds) {
        self.wall_clock = WallClock {
            seconds,
            build,
            at: now,
        };
        for handle in self.networks.handles() {
            self.look_at_membership(now, handle);
        }
    }

    /// The time of day.
    pub(crate) fn clock(&self, now: Time) -> Clock {
        let WallClock { seconds, build, at } = self.wall_clock;
        Clock {
            seconds: seconds.plus(now.since(at).as_secs()),
            build,
            at: now,
        }
    }
}
