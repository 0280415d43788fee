//! What the crate makes of frames, against frames that etherparse builds and checksums that are made another way.

mod corpus;
mod cutting;
mod flow;
mod hostile;
mod joining;
mod vectors;
mod vnet;

#[path = "../../../../fuzz/bodies/offload.rs"]
mod bodies;
