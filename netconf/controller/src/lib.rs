//! Controllers of private networks: who holds a network's key lets nodes in, names them, gives them addresses, and throws
//! them out.
//!
//! A [`Controller`] does that for all networks whose keys are in its [`Store`], a file or a database. It knows the documents of
//! [`farlan_netconf::private`] and the store, and nothing of sessions or sockets: whoever runs it hands in what peers say, and
//! hands on what it signs. It reads no clock; every method takes the time of the machine's as `clock`.
//!
//! What one call acknowledges lasts, whatever happens to the process afterwards; a call that fails changed nothing. Several
//! controllers may share a database, and one network's changes follow each other whoever makes them.

#![forbid(unsafe_code)]

mod addresses;
mod controller;
mod error;
mod key_file;
mod names;
mod store;

pub use controller::{
    Applicant, Controller, Delegated, Documents, Holder, Invite, Kicked, Learned, Member, NewInvite, NewNetwork,
    Outstanding, Reservation, Settings, Uninvited, Wish,
};
pub use error::ControllerError;
pub use key_file::{read_key_file, write_key_file};
pub use store::{Change, Changes, Store, StoreError};
