//! The time of day, by which documents of private networks expire.

use farlan_netconf::Seconds;

use crate::{
    daemon::Daemon,
    shell::{DataPlaneError, Request, time_of_day},
};

/// The date of this build, before which no clock can be right: that of its source (see `build.rs`), and 1 November 2026 at least,
/// before which none of these documents was made.
pub(in crate::daemon) const BUILD: Seconds = Seconds::new(latest(FORMAT, seconds(env!("FARLAN_SOURCE_DATE"))));

/// When the format of the documents was laid down.
const FORMAT: u64 = 1_793_491_200;

/// The number that digits stand for.
const fn seconds(digits: &str) -> u64 {
    match u64::from_str_radix(digits, 10) {
        Ok(seconds) => seconds,
        Err(_) => panic!("the build script writes a number"),
    }
}

const fn latest(one: u64, other: u64) -> u64 {
    if one > other { one } else { other }
}

impl Daemon {
    /// Tells the engine the time of day: before the first network is joined, and now and then, since clocks are set.
    pub(in crate::daemon) async fn tell_clock(&self) -> Result<(), DataPlaneError> {
        let request = Request::SetWallClock {
            seconds: time_of_day(),
            build: BUILD,
        };
        self.data_plane.send(request).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_build_is_not_older_than_the_documents_and_not_younger_than_its_test() {
        assert_eq!(
            latest(FORMAT, seconds("0")),
            FORMAT,
            "where nothing is known of the source"
        );
        assert_eq!(latest(FORMAT, seconds("1800000000")), 1_800_000_000);
        assert!(BUILD >= Seconds::new(FORMAT) && BUILD <= time_of_day());
    }
}
