//! The controller itself.
//!
//! | file | what it does |
//! |---|---|
//! | `desk` | a network in a transaction: what every change needs |
//! | `networks` | making, altering, exporting and importing networks; what other controllers did to them |
//! | `admission` | who may come in, and what it gets |
//! | `invites` | making, listing and withdrawing invites |
//! | `members` | listing, naming and kicking members; reserved addresses; renewers |
//!
//! **Time.** Documents are made and judged at the time that [`now`](farlan_netconf::private::now) makes of the machine's clock:
//! not before the newest time that the network key signed, and without the clock if this node's own credential has
//! expired by it. Then, though, a controller believes its clock as far as the renewers of the network have signed: a
//! controller that comes back after years finds the network alive by them, and must not give out certificates of
//! years ago. A renewer alone moves no time by this.

mod admission;
mod desk;
mod invites;
mod members;
mod networks;

use farlan_crypto::{PublicKey, Work};
use farlan_netconf::private::Seconds;

use crate::store::{Changes, Store};

pub use admission::Applicant;
pub use invites::{Invite, NewInvite, Uninvited};
pub use members::{Delegated, Holder, Kicked, Member, Outstanding, Reservation};
pub use networks::{Documents, Learned, NewNetwork, Settings, Wish};

/// The controller of all networks in a store.
#[derive(Debug)]
pub struct Controller {
    store: Store,
    node: PublicKey,
    build: Seconds,
    work: Work,
}

impl Controller {
    /// How long certificates live in a network of up to [`SMALL`](Self::SMALL) members, unless its owner says otherwise: 365 days, in
    /// seconds. Such a network outlives its controller for long.
    pub const LONG_LIFE: u32 = 365 * 24 * 3600;
    /// The same for larger networks, where somebody leaves every week: 30 days.
    pub const SHORT_LIFE: u32 = 30 * 24 * 3600;
    /// The most members of a network whose certificates live long.
    pub const SMALL: u64 = 128;
    /// Most members of one network, those that were kicked not counted: what one controller was measured with tenfold.
    pub const MAX_MEMBERS: u64 = 100_000;

    /// The controller on `node` of the networks in `store`. `build` is the date of the build, before which no clock is right; keys of nodes
    /// must carry `work`.
    #[must_use]
    pub fn new(store: Store, node: PublicKey, build: Seconds, work: Work) -> Self {
        Self {
            store,
            node,
            build,
            work,
        }
    }

    /// What changes from now on, by this controller or another one.
    pub fn changes(&self) -> Changes {
        self.store.changes()
    }

    /// Ends all work on the store. Afterwards every call fails.
    pub async fn close(&self) {
        self.store.close().await;
    }
}
