//! The thin shell around the engine: everything in farlan that touches packets and the operating system at once.
//!
//! One thread, the data plane, owns the engine, the underlay socket and the cards ([`DataPlane`]). It is driven by
//! readiness and one deadline, and joined to the rest of the program by two bounded channels: requests in, events out.

mod beacon;
mod cards;
mod clock;
mod data_plane;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod peer_groups;
mod poller;
mod scheduling;
mod segments;
mod streams;
mod udp;

pub use beacon::LinkCard;
pub use cards::AttachedCard;
pub use clock::time_of_day;
pub use data_plane::{DataPlane, DataPlaneError, Request, ShellCounters, Snapshot};
pub use peer_groups::peer_groups;
pub use streams::StreamListener;
pub use udp::{Underlay, UnderlayOffloads};
