//! What those who lie send: whatever their keys allow, and what they do not.

use farlan_spreading::Message;

use super::{counts::Cast, events::Packet, run::Run};

/// Contacts to whom a liar sends forgeries.
const FORGED_TO: usize = 3;

/// The signed part before the frame, and the signature behind it.
const SIGNED_HEADER: usize = 67;
const SIGNATURE: usize = 64;

/// Where the ceiling stands in the signed part, and where the frame's payload is behind its headers.
const CEILING: usize = 64;
const PAYLOAD: usize = SIGNED_HEADER + 60;

/// What a liar makes of a copy that it got.
#[derive(Clone, Debug)]
pub struct Lies {
    /// The same broadcast with the highest level and budget that can be claimed for it. To its receivers it is worth what the
    /// session tells: whether its origin let the liar send it on.
    pub inflated: Box<[u8]>,
    /// Copies that nobody must take: a level without the token for it and with a token of the liar's own, the ceiling raised, the
    /// frame altered, the origin another.
    pub forgeries: Vec<Box<[u8]>>,
}

impl Lies {
    /// Of this copy, if it is one.
    pub fn of(bytes: &[u8]) -> Option<Self> {
        let message = Message::parse(bytes).ok()?;
        let right = message.right();
        let mutable = 3 + 2 * message.tags().count() + right.map_or(0, |_| 17);
        let sealed = bytes.get(mutable..)?;
        let forwarders = message.tags().take(right.unwrap_or_default().0.into()).collect();
        let right = match right {
            Some((_, token)) => (forwarders, token),
            None => (vec![0x5555], [0x55; 16]),
        };
        let inflated = copy(2, 255, &right, sealed);
        let changed = |place: usize| {
            let mut other = sealed.to_vec();
            if let Some(byte) = other.get_mut(place) {
                *byte ^= 1;
            }
            copy(1, 192, &right, &other)
        };
        // The last one has a signature of somebody else: part of another place.
        let forgeries = [CEILING, PAYLOAD, 8, 45, sealed.len() - SIGNATURE].map(changed).into();
        Some(Self { inflated, forgeries })
    }
}

impl Run<'_> {
    /// A liar sends what it got to everybody it knows, as if it might go on from there; to some of them forgeries first.
    pub(super) fn inflate(&mut self, from: u32, sender: u32, bytes: &[u8]) {
        let Some(lies) = Lies::of(bytes) else { return };
        let known = self.touch(from).sessions.clone();
        for (number, to) in known.into_iter().filter(|to| *to != sender).enumerate() {
            if number < FORGED_TO {
                for forgery in &lies.forgeries {
                    self.send(from, to, Packet::Signed(forgery.clone()));
                }
            }
            self.send(from, to, Packet::Signed(lies.inflated.clone()));
        }
        self.hoard.push((from, bytes.into()));
    }

    /// After so long that nobody remembers what was, liars send all they got once more.
    pub fn replay(&mut self, nanoseconds: u64) {
        self.run_for(nanoseconds);
        for (from, bytes) in std::mem::take(&mut self.hoard) {
            let known = self.touch(from).sessions.clone();
            for to in known {
                self.send(from, to, Packet::Signed(bytes.clone()));
            }
        }
        self.finish();
    }

    /// Deliveries of what nobody sent, or to somebody for the second time. There must be none.
    pub fn false_deliveries(&self) -> u64 {
        let again = |cast: &Cast| {
            let mut nodes: Vec<u32> = cast.delivered.iter().map(|(node, _)| *node).collect();
            nodes.sort_unstable();
            let all = nodes.len();
            nodes.dedup();
            (all - nodes.len()) as u64
        };
        self.counts.false_deliveries + self.casts.iter().map(again).sum::<u64>()
    }
}

fn copy(level: u8, budget: u8, (forwarders, token): &(Vec<u16>, [u8; 16]), sealed: &[u8]) -> Box<[u8]> {
    let count = forwarders.len() as u8;
    let mut bytes = vec![level, budget, count];
    bytes.extend(forwarders.iter().flat_map(|tag| tag.to_be_bytes()));
    bytes.push(count);
    bytes.extend_from_slice(token);
    bytes.extend_from_slice(sealed);
    bytes.into()
}
