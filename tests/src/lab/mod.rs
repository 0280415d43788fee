//! Measurements of any two homes, behind `scripts/lab`: how soon they are direct, whatever routers they have, and what a
//! change of the network costs them.
//!
//! [`pair`] builds one lab and runs real nodes in it again and again; [`matrix`] does that for all pairs of kinds, several at
//! once, each in a process of its own, and writes [`row`]s; [`expectation`] says what must come out.

pub mod expectation;
pub mod matrix;
pub mod pair;
pub mod row;
pub mod verdict;
