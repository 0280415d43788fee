//! Super-frames and open checksums: what a network card with offloads takes and gives, as pure functions.
//!
//! The kernel hands over and takes whole runs of frames as one *super-frame* with one set of headers, and leaves the
//! checksum of TCP and UDP open where nobody needs it. A `virtio_net_hdr` before the frame says so. [`read_vnet`]
//! understands what the kernel says, [`Segments`] cuts a super-frame into the frames it stands for, [`complete`] fills
//! in an open checksum, and a [`Run`] makes one super-frame of frames that follow each other.
//!
//! All of this is about frames of the *plain shape*: Ethernet, up to two VLAN tags, an IPv4 header that is no
//! fragment's or an IPv6 header without extension headers, and TCP or UDP right behind it, where all length fields
//! agree and lie within the frame.

#![forbid(unsafe_code)]

mod checksum;
mod run;
mod segments;
mod shape;
mod vnet;

use std::fmt;
use std::num::NonZeroU16;

pub use checksum::complete;
pub use run::{LONGEST_RUN, Run};
pub use segments::Segments;
pub use vnet::{VNET_HEADER, read_vnet};

/// What goes with a frame besides its bytes where a card has offloads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offload {
    /// The checksum of the TCP or UDP header is left open: its field holds the sum of the pseudo-header only, not
    /// complemented, as the kernel's `CHECKSUM_PARTIAL` has it.
    pub partial: bool,
    /// For a super-frame, the bytes of TCP or UDP payload in each frame it stands for; the last may have fewer.
    pub segment: Option<NonZeroU16>,
}

/// The frame is not of the shape that its offloads need, or what is said of it contradicts its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

impl fmt::Display for Malformed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the frame does not fit what is said of its offloads")
    }
}

impl std::error::Error for Malformed {}
