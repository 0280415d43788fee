//! The wire formats: what stands in a datagram, in a sealed message and in a control message.
//!
//! All integers are big-endian. Each format has one checked constructor; what it returns cannot fail any more.

pub(crate) mod beacon;
pub(crate) mod control;
pub(crate) mod datagram;
pub(crate) mod endpoint;
mod observations;
pub(crate) mod sealed;
