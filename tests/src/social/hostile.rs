//! What those who lie send: whatever their keys allow, and what they do not.

use farlan_spreading::Message;

/// The signed part before the frame, and the signature behind it.
const SIGNED_HEADER: usize = 67;
const SIGNATURE: usize = 64;

/// Where the ceiling stands in the signed part, and where the frame's payload is behind its headers.
const CEILING: usize = 64;
const PAYLOAD: usize = SIGNED_HEADER + 60;

/// What a liar makes of a copy that it got.
#[derive(Clone, Debug)]
pub struct Lies {
    /// The same broadcast with the highest level and budget that can be claimed for it.
    pub inflated: Box<[u8]>,
    /// Copies that nobody must take: a level without the token for it and with a token of the liar's own, the ceiling raised, the
    /// frame altered, the origin another.
    pub forgeries: Vec<Box<[u8]>>,
}

impl Lies {
    /// Of this copy, if it is one.
    pub fn of(bytes: &[u8]) -> Option<Self> {
        let message = Message::parse(bytes).ok()?;
        let token = message.token();
        let mutable = 3 + 2 * message.tags().count() + token.map_or(0, |token| token.len());
        let sealed = bytes.get(mutable..)?;
        let inflated = match token {
            Some(token) => copy(2, 255, &token, sealed),
            None => copy(1, 255, &[0x55; 16], sealed),
        };
        let changed = |place: usize| {
            let mut other = sealed.to_vec();
            if let Some(byte) = other.get_mut(place) {
                *byte ^= 1;
            }
            copy(1, 192, &token.unwrap_or([0x55; 16]), &other)
        };
        // The last one has a signature of somebody else: part of another place.
        let forgeries = [CEILING, PAYLOAD, 8, 45, sealed.len() - SIGNATURE].map(changed).into();
        Some(Self { inflated, forgeries })
    }
}

fn copy(level: u8, budget: u8, token: &[u8; 16], sealed: &[u8]) -> Box<[u8]> {
    let mut bytes = vec![level, budget, 0];
    bytes.extend_from_slice(token);
    bytes.extend_from_slice(sealed);
    bytes.into()
}
