//! How broadcasts spread among very many nodes: a world around the shipped package `farlan-spreading`, whose copies it carries as
//! real bytes from node to node in virtual time and counts.

pub mod chats;
pub mod counts;
pub mod draw;
mod events;
pub mod figures;
pub mod frames;
pub mod goals;
pub mod graph;
pub mod hostile;
pub mod hubs;
pub mod keys;
pub mod lobbies;
pub mod newcomers;
pub mod node;
pub mod places;
pub mod proportions;
pub mod report;
pub mod run;
pub mod storm;
pub mod study;
pub mod trials;
pub mod workload;
pub mod world;
pub mod zipf;

pub use self::{
    goals::{Judged, judge},
    proportions::Proportions,
    report::{tables, write_csv},
    study::{Effort, Study, study},
};
