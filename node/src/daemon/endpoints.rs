//! This machine's own underlay endpoints: the data plane is told at the start and after every change, so that a node that
//! moves to another network shows itself there at once.

use std::{io, net::SocketAddr, time::Duration};

use farlan_tap::{ChangeMonitor, TapError, underlay_addresses};
use tokio::io::{Interest, unix::AsyncFd};

use crate::shell::{DataPlane, DataPlaneError, Request};

/// Tells the data plane of this machine's endpoints as long as it lives. `port` is the underlay's.
pub(super) async fn follow(data_plane: DataPlane, port: u16) {
    let monitor = match watch() {
        Ok(monitor) => monitor,
        Err(error) => {
            tracing::warn!(%error, "changes of this machine's addresses go unnoticed");
            // At least what there is now is told.
            let _ = tell(&data_plane, port).await;
            return;
        }
    };
    while tell(&data_plane, port).await.is_ok() {
        let Ok(mut ready) = monitor.readable().await else {
            return;
        };
        // One change seldom comes alone, and an address that is new may not be used yet.
        tokio::time::sleep(SETTLING).await;
        monitor.get_ref().drain();
        ready.clear_ready();
    }
}

fn watch() -> io::Result<AsyncFd<ChangeMonitor>> {
    let monitor = ChangeMonitor::open().map_err(io::Error::other)?;
    #[expect(
        deprecated,
        reason = "its successor is unsafe; a monitor keeps its descriptor, which is all that asks"
    )]
    let monitor = AsyncFd::with_interest(monitor, Interest::READABLE)?;
    Ok(monitor)
}

async fn tell(data_plane: &DataPlane, port: u16) -> Result<(), DataPlaneError> {
    match endpoints(port) {
        Ok(endpoints) => data_plane.send(Request::SetLocalEndpoints { endpoints }).await,
        Err(error) => {
            tracing::warn!(%error, "this machine's addresses are not known");
            Ok(())
        }
    }
}

fn endpoints(port: u16) -> Result<Vec<SocketAddr>, TapError> {
    let addresses = underlay_addresses()?;
    Ok(addresses
        .into_iter()
        .map(|address| SocketAddr::new(address, port))
        .collect())
}

/// How long changes are gathered before they are looked at.
const SETTLING: Duration = Duration::from_millis(100);
