//! The view of a node's contacts, to be shown.

use std::time::Duration;

use farlan_crypto::NodeId;

use crate::Why;

/// Whom a node has to do with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Circle {
    /// All of them; those who would get a copy of a broadcast first, in their order.
    pub neighbours: Vec<Neighbour>,
    /// The own need.
    pub need: u8,
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// Who.
    pub node: NodeId,
    /// Why it would get a copy of a broadcast, and with which share; none if it would not.
    pub copy: Option<(Why, u8)>,
    /// How long ago unicast frames last went both ways, for a contact.
    pub age: Option<Duration>,
    /// In how many seconds of the last ones unicast frames went both ways, with a half-life of 30 s.
    pub score: u32,
    /// What it said it could make use of.
    pub need: Option<u8>,
    /// Pinned.
    pub pinned: bool,
    /// Muted.
    pub muted: bool,
    /// It does not answer.
    pub dead: bool,
}
