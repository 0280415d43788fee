//! What is put into a data datagram.

use std::ops::Range;

use crate::{
    fragments::Part,
    peers::PeerId,
    wire::{
        control::{Control, PADDING},
        datagram::SessionIndex,
        sealed::{CONTROL, FRAGMENT, FULL, GROUP, GROUP_HEADER, MACS, OWN, SPREAD},
    },
};

/// What stands before a frame for one peer: kind and network.
pub(crate) const FRAME_HEADER: usize = 2;

/// A datagram that is laid out but not yet sealed.
#[derive(Debug)]
pub(crate) struct PendingSeal {
    pub(crate) peer: PeerId,
    pub(crate) session: SessionIndex,
    pub(crate) counter: u64,
    pub(crate) range: Range<usize>,
}

/// What is put into a data datagram.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Content<'a> {
    Empty,
    /// A frame for one peer; the MACs are left out where they are the two nodes' own.
    Frame {
        network: u8,
        frame: &'a [u8],
        own: bool,
    },
    Group {
        network: u8,
        sequence: u64,
        frame: &'a [u8],
    },
    /// A copy of a frame that spreads.
    Spread {
        network: u8,
        copy: &'a [u8],
    },
    Control(&'a [Control]),
    /// A message that is filled up to a length of its own.
    Padded {
        message: &'a Control,
        length: usize,
    },
    /// A part of another message.
    Part(Part<'a>),
    /// Whatever a fuzzer says.
    #[cfg(any(test, feature = "fuzzing"))]
    Raw(&'a [u8]),
}

impl Content<'_> {
    /// Its length, where it may be cut into parts.
    pub(crate) fn length(&self) -> Option<usize> {
        match self {
            Self::Frame { frame, own, .. } => Some(FRAME_HEADER + frame.len() - if *own { MACS } else { 0 }),
            Self::Group { frame, .. } => Some(GROUP_HEADER + frame.len()),
            Self::Spread { copy, .. } => Some(FRAME_HEADER + copy.len()),
            Self::Empty | Self::Control(_) | Self::Padded { .. } | Self::Part(_) => None,
            #[cfg(any(test, feature = "fuzzing"))]
            Self::Raw(_) => None,
        }
    }

    pub(crate) fn write(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Empty => {}
            Self::Frame { network, frame, own } => {
                bytes.extend_from_slice(&[if *own { OWN } else { FULL }, *network]);
                let skipped = if *own { MACS } else { 0 };
                bytes.extend_from_slice(frame.get(skipped..).unwrap_or_default());
            }
            Self::Group {
                network,
                sequence,
                frame,
            } => {
                bytes.extend_from_slice(&[GROUP, *network]);
                bytes.extend_from_slice(&sequence.to_be_bytes());
                bytes.extend_from_slice(frame);
            }
            Self::Spread { network, copy } => {
                bytes.extend_from_slice(&[SPREAD, *network]);
                bytes.extend_from_slice(copy);
            }
            Self::Control(messages) => {
                let start = bytes.len();
                bytes.push(CONTROL);
                for message in *messages {
                    message.encode(bytes);
                }
                let length = bytes.len() - start;
                bytes.resize(start + length.next_multiple_of(PADDING), 0);
            }
            Self::Padded { message, length } => {
                let start = bytes.len();
                bytes.push(CONTROL);
                message.encode(bytes);
                bytes.resize((start + length).max(bytes.len()), 0);
            }
            Self::Part(part) => {
                bytes.push(FRAGMENT);
                bytes.extend_from_slice(&part.message.to_be_bytes());
                bytes.extend_from_slice(&[part.position, part.count]);
                bytes.extend_from_slice(part.bytes);
            }
            #[cfg(any(test, feature = "fuzzing"))]
            Self::Raw(message) => bytes.extend_from_slice(message),
        }
    }
}
