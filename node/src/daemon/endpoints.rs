//! This machine's own underlay endpoints: the data plane is told at the start and after every change, so that a node that
//! moves to another network shows itself there at once.

use std::{io, net::SocketAddr, time::Duration};

use farlan_tap::{ChangeMonitor, Changes, TapError, underlay_addresses};

use super::changes::Changed;
use crate::shell::{DataPlane, DataPlaneError, Request};

/// Tells the data plane of this machine's endpoints as long as it lives, and `others` of each change. `port` is the
/// underlay's.
pub(super) async fn follow(data_plane: DataPlane, port: u16, others: impl Fn()) {
    let changed = watch();
    // At least what there is now is told.
    if tell(&data_plane, port).await.is_err() {
        return;
    }
    let told = async {
        let changed = changed?;
        loop {
            changed.next(SETTLING).await?;
            others();
            if tell(&data_plane, port).await.is_err() {
                return Ok(());
            }
        }
    };
    let told: io::Result<()> = told.await;
    if let Err(error) = told {
        tracing::warn!(%error, "changes of this machine's addresses go unnoticed");
    }
}

fn watch() -> io::Result<Changed> {
    let monitor = ChangeMonitor::open(&[Changes::Links, Changes::Addresses, Changes::Routes]);
    Changed::new(monitor.map_err(io::Error::other)?)
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

/// How long changes are gathered before they are looked at: an address that is new may not be used yet.
const SETTLING: Duration = Duration::from_millis(100);
