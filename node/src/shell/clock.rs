//! The engine's clock: time since the shell's start, the machine's sleep included.
//!
//! `CLOCK_BOOTTIME`, not `CLOCK_MONOTONIC`: while the machine sleeps, the keys that others hold grow old, and they, supernodes
//! and NATs forget it. A clock that stands still meanwhile would believe for minutes what was true before.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use farlan_engine::Time;
use farlan_netconf::Seconds;
use rustix::time::{ClockId, clock_gettime};

/// A clock that began at zero.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    origin: Duration,
}

impl Clock {
    /// A clock that begins now.
    pub(super) fn start() -> Self {
        Self { origin: since_boot() }
    }

    /// The time.
    pub(super) fn now(self) -> Time {
        Time::ZERO + since_boot().saturating_sub(self.origin)
    }
}

/// The time of day, as this machine has it.
#[must_use]
pub fn time_of_day() -> Seconds {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    Seconds::new(since.map_or(0, |since| since.as_secs()))
}

fn since_boot() -> Duration {
    let now = clock_gettime(ClockId::Boottime);
    Duration::try_from(now).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_begins_at_zero_and_runs() {
        let clock = Clock::start();
        let before = clock.now();
        assert!(before.since(Time::ZERO) < Duration::from_secs(10));
        std::thread::sleep(Duration::from_millis(2));
        assert!(clock.now().since(before) >= Duration::from_millis(2));
    }
}
