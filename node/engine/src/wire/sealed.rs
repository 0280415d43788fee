//! What stands inside a data datagram once it is opened.
//!
//! ```text
//! empty    (no bytes)                                     a sign of life
//! own      1 | network | ethertype 2 | payload …          a frame between the two nodes' own MACs, which are implied
//! full     2 | network | frame …                          any other frame for one node
//! group    3 | network | sequence 8 | frame …             a broadcast or multicast frame, sent by its origin
//! control  4 | control messages …
//! fragment 5 | message 2 | position 1 | count 1 | part …  a part of a message of kind 1, 2, 3 or 6
//! spread   6 | network | copy …                           a broadcast or multicast frame that is or was forwarded
//! ```
//! With the high bit of *own* or *full* set the frame's TCP or UDP checksum is open
//! ([`Offload::partial`](farlan_offload::Offload)). *network* is the position of the network in the sender's own list
//! of this session. *sequence* is unique among the group frames of one origin; it starts at random when the origin
//! starts. What a *copy* is says [`farlan_spreading`].

use farlan_netconf::Reader;
use farlan_spreading::MAX_TAGS;

use super::endpoint::Malformed;
use crate::{content::FRAME_HEADER, switch::MAX_FRAME};

pub(crate) const OWN: u8 = 1;
pub(crate) const FULL: u8 = 2;
pub(crate) const GROUP: u8 = 3;
pub(crate) const CONTROL: u8 = 4;
pub(crate) const FRAGMENT: u8 = 5;
pub(crate) const SPREAD: u8 = 6;

/// Set in [`OWN`] and [`FULL`]: the frame's TCP or UDP checksum is open.
pub(crate) const PARTIAL: u8 = 0x80;
const OWN_PARTIAL: u8 = OWN | PARTIAL;
const FULL_PARTIAL: u8 = FULL | PARTIAL;

/// The header before a part.
pub(crate) const FRAGMENT_HEADER: usize = 5;

/// Most parts of one message: the longest one on the narrowest path.
pub(crate) const MAX_PARTS: usize = 32;

/// The header before a group frame.
pub(crate) const GROUP_HEADER: usize = 10;

/// The longest that stands around a frame that spreads.
const MAX_SPREAD: usize = 3 + 2 * MAX_TAGS + 1 + 16 + 67 + 64;

/// The longest message that holds a frame: one that spreads.
pub(crate) const LONGEST: usize = FRAME_HEADER + MAX_SPREAD + MAX_FRAME;

/// The two MACs at the front of a frame, which [`OWN`] leaves out.
pub(crate) const MACS: usize = 12;

/// An opened message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sealed<'a> {
    Empty,
    Own {
        network: u8,
        rest: &'a [u8],
    },
    Full {
        network: u8,
        frame: &'a [u8],
    },
    Group {
        network: u8,
        sequence: u64,
        frame: &'a [u8],
    },
    Spread {
        network: u8,
        copy: &'a [u8],
    },
    Control(&'a [u8]),
    Fragment {
        message: u16,
        position: u8,
        count: u8,
        part: &'a [u8],
    },
    Unknown,
}

/// A frame for one node, as an *own* or *full* message holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameIn<'a> {
    /// Whether the MACs are left out.
    pub(crate) own: bool,
    pub(crate) partial: bool,
    pub(crate) place: u8,
    pub(crate) bytes: &'a [u8],
}

impl<'a> FrameIn<'a> {
    /// It from its EtherType on.
    pub(crate) fn ether(&self) -> &'a [u8] {
        let skipped = if self.own { 0 } else { MACS };
        self.bytes.get(skipped..).unwrap_or_default()
    }

    /// The frame in a message, if it is of one of these kinds.
    pub(crate) fn of(message: &'a [u8]) -> Option<Self> {
        let (&[kind, place], bytes) = message.split_first_chunk()?;
        let own = match kind & !PARTIAL {
            OWN => true,
            FULL => false,
            _ => return None,
        };
        Some(Self {
            own,
            partial: kind & PARTIAL != 0,
            place,
            bytes,
        })
    }
}

impl<'a> Sealed<'a> {
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        if reader.remaining() == 0 {
            return Ok(Self::Empty);
        }
        let kind = reader.u8()?;
        Ok(match kind {
            OWN | OWN_PARTIAL => Self::Own {
                network: reader.u8()?,
                rest: reader.rest(),
            },
            FULL | FULL_PARTIAL => Self::Full {
                network: reader.u8()?,
                frame: reader.rest(),
            },
            GROUP => Self::Group {
                network: reader.u8()?,
                sequence: reader.u64()?,
                frame: reader.rest(),
            },
            SPREAD => Self::Spread {
                network: reader.u8()?,
                copy: reader.rest(),
            },
            CONTROL => Self::Control(reader.rest()),
            FRAGMENT => Self::Fragment {
                message: reader.u16()?,
                position: reader.u8()?,
                count: reader.u8()?,
                part: reader.rest(),
            },
            _ => Self::Unknown,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts() {
        assert_eq!(Sealed::parse(b""), Ok(Sealed::Empty));
        assert_eq!(
            Sealed::parse(&[1, 5, 8, 0, 9]),
            Ok(Sealed::Own {
                network: 5,
                rest: &[8, 0, 9]
            })
        );
        assert_eq!(
            Sealed::parse(&[2, 5, 8]),
            Ok(Sealed::Full {
                network: 5,
                frame: &[8]
            })
        );
        let group = Sealed::Group {
            network: 1,
            sequence: 258,
            frame: &[7],
        };
        assert_eq!(Sealed::parse(&[3, 1, 0, 0, 0, 0, 0, 0, 1, 2, 7]), Ok(group));
        assert_eq!(Sealed::parse(&[4, 1]), Ok(Sealed::Control(&[1])));
        let fragment = Sealed::Fragment {
            message: 258,
            position: 1,
            count: 3,
            part: &[7],
        };
        assert_eq!(Sealed::parse(&[5, 1, 2, 1, 3, 7]), Ok(fragment));
        assert_eq!(Sealed::parse(&[5, 1, 2, 1]), Err(Malformed));
        assert_eq!(Sealed::parse(&[200]), Ok(Sealed::Unknown));
        assert_eq!(Sealed::parse(&[1]), Err(Malformed));
        assert_eq!(Sealed::parse(&[3, 1, 0, 0]), Err(Malformed));
    }
}
