//! Being told when the machine's links, addresses or routes change.

use std::{io, time::Duration};

use farlan_tap::ChangeMonitor;
use tokio::io::{Interest, unix::AsyncFd};

/// A monitor that can be waited for.
pub(super) struct Changed(AsyncFd<ChangeMonitor>);

impl Changed {
    pub(super) fn new(monitor: ChangeMonitor) -> io::Result<Self> {
        #[expect(
            deprecated,
            reason = "its successor is unsafe; a monitor keeps its descriptor, which is all that asks"
        )]
        AsyncFd::with_interest(monitor, Interest::READABLE).map(Self)
    }

    /// Waits for the next change, and then `settling`: one change seldom comes alone. An error says that no more will be
    /// told.
    pub(super) async fn next(&self, settling: Duration) -> io::Result<()> {
        loop {
            // What comes from here on makes it ready again, so none is lost; at worst one is looked at twice.
            self.0.readable().await?.clear_ready();
            tokio::time::sleep(settling).await;
            if self.0.get_ref().drain()? {
                return Ok(());
            }
        }
    }
}
