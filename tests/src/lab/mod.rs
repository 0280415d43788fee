//! Measurements of any two homes, behind `scripts/lab`: how soon they are direct, whatever routers they have, and what a
//! change of the network costs them.
//!
//! [`pair`] builds one lab and runs real nodes in it again and again; [`matrix`] does that for all pairs of kinds, several at
//! once, each in a process of its own, and writes [`row`]s; [`expectation`] says what must come out, and [`verdict`] whether it
//! did. What changes cost is measured by [`outages`], [`quiet`], [`blocked`], [`narrow`] and [`islands`], each many times by
//! [`repeat`]. [`games`] has real games find each other over farlan, and many members broadcast.

pub mod blocked;
pub mod ends;
pub mod expectation;
pub mod games;
pub mod islands;
pub mod matrix;
pub mod narrow;
pub mod outages;
pub mod pair;
pub mod player;
pub mod quiet;
pub mod repeat;
pub mod row;
pub mod verdict;
