//! Many engines in one process, on a simulated Internet and in virtual time.
//!
//! A [`Lab`] holds hosts, each with the released [`farlan_engine::Engine`] (real handshakes, real sealing), and an
//! underlay of NATs and links that delay, lose, double and reorder datagrams. Every random draw comes from one seed, so
//! a run is repeated by its seed; [`Lab::trace`] is a hash over everything that happened and proves it.
//!
//! Each joined network has a [`Card`] on its host: a small model of a kernel with a neighbour table, which resolves
//! addresses and answers pings. An independent [`Model`] watches all frames and panics the moment one arrives that must
//! not.
//!
//! Tests run over the seeds of [`for_each_seed`].

mod batch;
mod changes;
mod faults;
mod frames;
mod health;
mod homes;
mod kernel;
mod lab;
mod links;
mod model;
mod nat;
mod oracle;
mod pair_batch;
mod pairs;
mod plan;
mod random;
mod run;
mod scene;
mod seeds;
mod trace;
mod underlay;

pub use batch::{FIRED, Report, batch};
pub use changes::{Change, ChangeReport, Cost};
pub use faults::{FaultCounts, FaultKind};
pub(crate) use frames::DATAGRAM_PORT;
pub use frames::{
    ARP_REPLY, ARP_REQUEST, Arp, BROADCAST, Echo, MacAddress, Neighbour, Packet, arp, broadcast_to_port,
    datagram_frame, echo4, echo6, ethernet, neighbour_advertisement, neighbour_solicitation, parse, payload_frame,
};
pub use health::{CONVERGENCE, Health, SILENT};
pub use homes::Home;
pub use kernel::{Card, Received};
pub use lab::{Family, HostId, Lab, NetId, PingId};
pub use links::LinkQuality;
pub use model::{MemberKey, Model, NetworkKey, Rules, SendId};
pub use nat::{Filtering, Mapping, NatKind, Ports};
pub use oracle::{Expected, expected, expected_of};
pub use pair_batch::PairReport;
pub use pairs::{LATER, Meeting, Pair, SOON, Seen, Talk};
pub use random::ReproducibleRandom;
pub use run::{Outcome, run};
pub use scene::{Kind, Scene};
pub use seeds::{FIXED_SEEDS, for_each_seed};
pub use trace::Trace;
pub use underlay::{NatId, Traffic, Underlay};
