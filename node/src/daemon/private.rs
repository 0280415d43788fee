//! Private networks: what a member keeps of them, and the controller of those whose keys are here.
//!
//! | module | what it holds |
//! |---|---|
//! | `clock` | the time of day |
//! | `commands` | what the owner of a network asks of its controller |
//! | `exchange` | documents that members and supernodes hand over, and those that are published |
//! | `kept` | a network's documents, in the daemon and on disk |
//! | `making` | making networks, and taking over those whose keys were exported |
//! | `office` | the controller, and handing on what it makes |
//! | `renewing` | members that extend certificates |
//! | `reports` | what the engine reports: credentials, applications, members |
//! | `views` | documents of the API |
//!
//! The engine decides who is a member; what it does not have is a disk, a clock and the keys of networks.

mod clock;
mod commands;
mod exchange;
mod kept;
mod making;
mod office;
mod renewing;
mod reports;
mod views;

pub(super) use kept::{Entry, Kept};
pub(super) use office::{FILES, Office};
