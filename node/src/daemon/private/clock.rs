//! The time of day, by which documents of private networks expire.

use std::time::{SystemTime, UNIX_EPOCH};

use farlan_netconf::Seconds;

use crate::{
    daemon::Daemon,
    shell::{DataPlaneError, Request},
};

/// The date of this build, before which no clock can be right: 1 November 2026, before which none of these documents was made.
/// A date in the source, and not that of the compiler's machine, so that one source gives one program.
pub(in crate::daemon) const BUILD: Seconds = Seconds::new(1_793_491_200);

/// The machine's clock.
pub(in crate::daemon) fn clock() -> Seconds {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    Seconds::new(since.map_or(0, |since| since.as_secs()))
}

impl Daemon {
    /// Tells the engine the time of day: before the first network is joined, and now and then, since clocks are set.
    pub(in crate::daemon) async fn tell_clock(&self) -> Result<(), DataPlaneError> {
        let request = Request::SetWallClock {
            seconds: clock(),
            build: BUILD,
        };
        self.data_plane.send(request).await
    }
}
