//! OpenTTD. A packet is its length (2, little-endian) and its kind (1). Since version 12 the answer to a search says only
//! that there is a server (name and players are asked over TCP); earlier ones put them behind it, in forms that changed
//! often, and are not read.
//!
//! ```text
//! search  03 00  00
//! answer  length (2)  01  …
//! ```

use super::{Heard, Protocol, Told};

/// A search.
pub(crate) const SEARCH: &[u8] = &[3, 0, 0];

/// Whether it is an answer.
pub(super) fn is_one(payload: &[u8]) -> bool {
    match payload {
        [low, high, 1, ..] => usize::from(u16::from_le_bytes([*low, *high])) == payload.len(),
        _ => false,
    }
}

pub(super) fn decode(heard: &Heard<'_>) -> Option<Told> {
    is_one(heard.payload).then(|| Told::Seen(heard.server(Protocol::OpenTtd)))
}
