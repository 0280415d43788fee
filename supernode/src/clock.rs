//! The time of day, which the supernode tells its nodes.
//!
//! Clocks are set while programs run: that of a machine without a battery begins years ago, and is right once its time service has answered.

use std::time::Duration;

use farlan::shell::{DataPlane, DataPlaneError, Request, time_of_day};
use farlan_netconf::Seconds;

/// How often the clock is looked at.
pub(crate) const LOOK_EVERY: Duration = Duration::from_secs(30);

/// Tells the data plane the time of day now and every so often, until the data plane ends.
pub(crate) async fn follow(data_plane: &DataPlane, every: Duration) -> Result<(), DataPlaneError> {
    let mut looks = tokio::time::interval(every);
    loop {
        looks.tick().await;
        let request = Request::SetWallClock {
            seconds: time_of_day(),
            // A supernode judges no documents by it.
            build: Seconds::default(),
        };
        data_plane.send(request).await?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_time_of_day_is_told_again_and_again_until_the_data_plane_ends() {
        let (data_plane, mut requests) = DataPlane::channel();
        let told = async {
            for _ in 0..3 {
                let Some(Request::SetWallClock { seconds, .. }) = requests.recv().await else {
                    panic!("something else was told");
                };
                // The test's clock may be set, too, but not by an hour.
                let (one, other) = (time_of_day(), seconds);
                assert!(one.since(other) < 3600 && other.since(one) < 3600);
            }
            drop(requests);
        };
        let (ended, ()) = tokio::join!(follow(&data_plane, Duration::from_millis(1)), told);
        assert!(matches!(ended, Err(DataPlaneError::Ended)), "{ended:?}");
    }
}
