//! Being told what changed in a store.

use farlan_netconf::NetworkId;
use tokio::sync::broadcast;

/// What may have changed: whoever is told reads it anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Config, revocations, invites, renewers, reservations or what somebody is called in this network; or it is new, or gone. That somebody came in
    /// is not told, since nobody has to know.
    Network(NetworkId),
    /// Anything: changes may have been missed.
    Everything,
}

/// The changes that this controller and, on a shared database, all others make, from its making on.
#[derive(Debug)]
pub struct Changes(pub(crate) broadcast::Receiver<Change>);

impl Changes {
    /// The next change; `None` once the store is closed.
    pub async fn next(&mut self) -> Option<Change> {
        match self.0.recv().await {
            Ok(change) => Some(change),
            Err(broadcast::error::RecvError::Lagged(_)) => Some(Change::Everything),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}
