//! Super-frames and open checksums: what a network card with offloads takes and gives, as pure functions.

use std::num::NonZeroU16;

/// What goes with a frame besides its bytes where a card has offloads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offload {
    /// The checksum of the TCP or UDP header is left open: its field holds the sum of the pseudo-header only, not
    /// complemented, as the kernel's `CHECKSUM_PARTIAL` has it.
    pub partial: bool,
    /// For a super-frame, the bytes of TCP or UDP payload in each frame it stands for; the last may have fewer.
    pub segment: Option<NonZeroU16>,
}
