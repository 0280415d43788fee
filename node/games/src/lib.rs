//! How games and services find each other on a LAN, as far as that needs no input or output.
//!
//! | module | what it holds |
//! |---|---|
//! | [`list`], [`ports`] | the list of games: ports, searches, groups, and what their servers speak |
//! | [`heard`] | what was heard on a network, read as sightings of servers and services |
//! | [`listing`] | the table of what is there now, and the searches that keep it so |
//! | [`lift`](mod@lift) | a search that leaves another card, copied for the overlay |
//! | [`text`] | names of others, made fit for a terminal |
//!
//! All that comes from the network is untrusted: readers are total, allocate no more than a few short texts, and what they
//! take from others is cut and cleaned before anybody sees it.

#![forbid(unsafe_code)]

// The bodies of the fuzz targets name the crate as their own programs do.
#[cfg(test)]
extern crate self as farlan_games;

#[cfg(test)]
mod fuzzing;
pub mod heard;
pub mod lift;
pub mod list;
pub mod listing;
pub mod ports;
#[cfg(test)]
mod recorded;
pub mod text;
