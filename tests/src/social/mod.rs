//! How broadcasts spread among very many nodes: a world around the shipped package `farlan-spreading`, whose copies it carries as
//! real bytes from node to node in virtual time and counts.

pub mod chats;
pub mod draw;
pub mod graph;
pub mod hubs;
pub mod lobbies;
pub mod places;
pub mod proportions;
pub mod world;
pub mod zipf;

pub use self::{graph::Graph, proportions::Proportions, world::World};
