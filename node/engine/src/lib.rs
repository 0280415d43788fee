//! The farlan protocol as a state machine without input or output.
//!
//! An [`Engine`] is one node. It takes [`Batch`]es of datagrams and of Ethernet frames, requests, and the passing of time,
//! and fills an [`Outbox`] with datagrams to send, frames to deliver and events. It owns no socket, clock, task, thread
//! or source of randomness: [`Time`] and randomness are handed in. The same engine runs in the daemon and in the
//! simulator; a supernode is the same engine in another [`Role`].
//!
//! To read it, follow a frame through `outbound` (frame → datagram) and `inbound` (datagram → frame); each opens with
//! the list of its steps.

#![forbid(unsafe_code)]

mod acquaintances;
mod addresses;
mod ahead;
mod aims;
mod anchor;
mod api;
mod applications;
mod batch;
mod beacons;
mod behaviour;
mod bridging;
mod change;
mod channels;
mod claimed;
mod classes;
mod content;
mod cookies;
mod counters;
mod direct;
mod directory;
mod documents;
mod early;
mod engine;
mod examinations;
mod filter;
mod forwarding;
mod fragments;
mod fresh;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod gate;
mod grants;
mod handing;
mod handshakes;
mod hints;
mod history;
mod homes;
mod inbound;
mod injection;
mod islands;
mod keepalive;
mod lanes;
mod learned;
mod leg;
mod lookups;
mod members;
mod mtu;
mod multicast;
mod names;
mod neighbours;
mod networks;
mod observations;
mod outbound;
mod paths;
mod peers;
mod ping;
mod places;
mod prediction;
mod private;
mod ranges;
mod rare;
mod rates;
mod reach;
mod recognition;
mod relay_limits;
mod relays;
mod rendezvous;
mod retry;
mod room;
mod search;
mod sessions;
mod showing;
mod sights;
mod sizes;
mod sockets;
mod spreading;
mod streams;
mod subscriptions;
mod supernodes;
mod surroundings;
mod switch;
mod table;
mod threshold;
mod traversal;
mod twins;
mod versions;
mod ways;
mod windows;
mod wire;
mod work;
mod worlds;

pub use api::{
    Anchor, AnchorStatus, Config, Contact, CredentialStatus, Event, Handed, Invite, Join, JoinError, Limits,
    MAX_NETWORKS, Membership, NetworkHandle, NetworkStatus, PathKind, PeerNetwork, PeerStatus, Role, SupernodeStatus,
    Target,
};
pub use batch::{Batch, FrameLabel, Outbox, Places, Received, Transmit};
pub use beacons::{BeaconCard, Cast, LinkSubnet};
pub use behaviour::{Behaviour, Filtering, Mapping, Ports};
pub use channels::Channel;
pub use counters::Counters;
pub use engine::Engine;
pub use examinations::{Examination, Standing, Theirs};
pub use farlan_spreading::{Circle, Counts as SpreadCounts, Neighbour, Time, Why};
pub use filter::{OpenPorts, Transport};
pub use leg::{Leg, Socket};
pub use observations::{Endpoints, Finding, Observations, Openness, PortMapping, Search, Seconds, Way};
pub use rates::{Meter, Rate};
pub use spreading::{ChannelSubscribers, CircleStatus};
pub use surroundings::{Reached, Surroundings};
pub use wire::datagram::VERSION as PROTOCOL_VERSION;

// The bodies of the fuzz targets name the crate as their own programs do.
#[cfg(test)]
extern crate self as farlan_engine;

#[cfg(test)]
mod scenarios;
