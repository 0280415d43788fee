//! What stands in a copy with a signature.

use farlan_crypto::NodeId;
use thiserror::Error;

/// Separates signatures of broadcasts from all others.
pub const SIGNING_DOMAIN: &[u8] = b"farlan broadcast 1";
/// Separates ids of broadcasts from all other hashes.
pub const ID_DOMAIN: &[u8] = b"farlan broadcast id 1";
/// Separates anchors from all other hashes.
pub const ANCHOR_DOMAIN: &[u8] = b"farlan broadcast anchor 1";
/// The most tags in a copy.
pub const MAX_TAGS: usize = 64;

/// The bytes are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the bytes are no broadcast")]
pub struct Malformed;

/// A parsed copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    signed: &'a [u8],
}

/// The anchor of a token.
#[must_use]
pub fn anchor_of(token: &[u8; 16]) -> [u8; 16] {
    todo!()
}

/// The tag of a node in a message.
#[must_use]
pub fn tag_of(id: u64, node: &NodeId) -> u16 {
    todo!()
}
