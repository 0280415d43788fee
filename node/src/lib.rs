//! The farlan node: the shell around the engine, the daemon, its API and its command line.
//!
//! | module | what it holds |
//! |---|---|
//! | [`shell`] | the data-plane thread: underlay socket, cards and engine in one loop |
//! | [`daemon`] | the control side: worlds, networks, contacts and what is kept of them on disk |
//! | [`api`] | HTTP/JSON on a Unix socket: the server, the client, and the documents they exchange |
//! | [`cli`] | the command line |
//! | [`config`] | the TOML configuration and its errors |
//! | [`state`] | the state directory: lock, secrets, files |
//! | [`games`], [`ports`] | listed games, and what strangers may reach |
//! | [`local_programs`] | what programs of this machine listen to |
//! | [`portmap`] | mappings at the home's router: PCP, NAT-PMP, UPnP |
//! | [`failure`] | what can go wrong for a user, with its exit code |
//! | [`logs`] | logging to standard error |
//! | [`privileges`] | what is taken hold of with privileges, and giving them up |
//! | [`secret_text`] | text that debugging output does not show |
//! | [`signals`] | the signals a daemon obeys |
//! | [`notify`] | what the service manager is told |
//!
//! `farlan-supernode` is built from the same parts.

// The bodies of the fuzz targets name the crate as their own programs do.
#[cfg(test)]
extern crate self as farlan;

pub mod api;
pub mod cli;
pub mod config;
pub mod daemon;
pub mod diagnosis;
pub mod failure;
pub mod games;
pub mod local_programs;
pub mod logs;
pub mod names;
pub mod notify;
pub mod portmap;
pub mod privileges;
pub mod secret_text;
pub mod shell;
pub mod signals;
pub mod state;

pub use farlan_games::ports;
