//! The crate against the kernel: every test has a network namespace of its own and leaves the host alone.
//!
//! Needed: root, `/dev/net/tun` and the `ip` command, which is the independent witness of what the kernel was told. A
//! test that lacks one of them fails and names it.

mod addresses;
mod device;
mod frames;
mod helper;
mod listener;
mod machine;
mod offloads;
mod refusal;
mod routes;
mod support;
