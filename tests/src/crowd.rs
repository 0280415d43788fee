//! A crowd of made-up nodes at a real supernode, over real sockets on loopback: what a million of them cost it.
//!
//! The supernode is the shell's data plane with the engine in its role, in a process of its own ([`serve`]), as
//! `farlan-supernode` runs it, but for the work stamp, which a million keys cannot have. A made-up node ([`light`]) is no engine: it is an
//! identity, the keys of one session and a few numbers, and speaks as PROTOCOL.md says. [`load`] lets them do what nodes do, each from an
//! address of its own in 127.0.0.0/8, spread over thousands of /24, so that no limit by address has to be lifted.

pub mod goals;
pub mod light;
pub mod load;
pub mod measure;
pub mod process;
pub mod serve;
