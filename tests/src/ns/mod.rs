//! The namespace lab: the real programs on real kernels.
//!
//! A [`Lab`] is a small Internet in Linux network namespaces: a routed core with public test addresses, homes
//! behind nftables NATs, and wires with a chosen delay. [`program`] starts and drives the released binaries in
//! it, [`ping`], [`avahi`] and [`sys::PacketSocket`] look at what they do from outside.
//!
//! Everything here needs root. What the machine lacks is named by [`requirements`]; nothing is skipped.

pub mod api;
pub mod avahi;
pub mod bare_map;
pub mod bridge;
pub mod broadcasts;
pub mod caller;
pub mod capabilities;
pub mod capture;
pub mod changes;
pub mod cold;
pub mod command;
pub mod conntrack;
pub mod crowd;
pub mod desk;
pub mod ears;
pub mod eavesdropper;
pub mod echo;
pub mod flood;
pub mod flows;
pub mod games;
pub mod home;
pub mod impairment;
pub mod keys;
pub mod limit;
pub mod measure_paths;
pub mod members;
pub mod namespace;
pub mod nat;
pub mod pair;
pub mod party;
pub mod paths;
pub mod ping;
pub mod privileges;
pub mod program;
pub mod record;
pub mod recorded;
pub mod requirements;
pub mod rsync;
pub mod secrecy;
pub mod services;
pub mod snmp;
pub mod summary;
pub mod switch;
pub mod sys;
pub mod syscalls;
pub mod topology;
pub mod traffic;
pub mod transfer;
pub mod trio;
pub mod upnp;
pub mod usage;
pub mod wire;
pub mod world;

pub use command::run;
pub use home::Home;
pub use namespace::Namespace;
pub use nat::{Access, Nat};
pub use program::{Node, Supernode};
pub use topology::Lab;
pub use wire::Wire;
