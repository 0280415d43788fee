//! Messages about the documents of private networks.
//!
//! ```text
//! 46 documents       number 4 | network 1 | counter 8 | hash of the config 8 | digest of the revocations 16
//! 47 piece wanted    network 1 | kind 1 | offset 4
//! 48 piece           network 1 | kind 1 | hash of the whole 8 | length 4 | offset 4 | length of the piece 2 | piece
//! 50 document held   document key 16 | version 8 | flags 1
//! 51 document wanted document key 16 | version 8 | offset 4
//! 52 document piece  document key 16 | version 8 | length 4 | offset 4 | length of the piece 2 | piece
//! 54 documents ack   number 4
//! 57 issued          number 4 | network 1 | kind 1 (1: credential; 2: delegation) | length 2 | document
//! 58 issued ack      number 4
//! ```

use farlan_netconf::{DirectoryKey, Reader};

use super::{long, put_long, put_u32, put_u64};
use crate::wire::endpoint::Malformed;

/// The flag of one who wants to be told of newer versions.
pub(crate) const WATCH: u8 = 1;

/// The flag of one who waits for an answer.
pub(crate) const TO_BE_ANSWERED: u8 = 2;

/// What members fetch from each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Part {
    Config,
    /// All revocations.
    Revocations,
    /// The newest of them.
    News,
}

impl Part {
    fn code(self) -> u8 {
        match self {
            Self::Config => 1,
            Self::Revocations => 2,
            Self::News => 3,
        }
    }

    fn of(code: u8) -> Result<Self, Malformed> {
        match code {
            1 => Ok(Self::Config),
            2 => Ok(Self::Revocations),
            3 => Ok(Self::News),
            _ => Err(Malformed),
        }
    }
}

/// What a member is handed without having asked for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Gift {
    /// Its credential.
    Credential,
    /// What makes it a renewer.
    Delegation,
}

impl Gift {
    fn code(self) -> u8 {
        match self {
            Self::Credential => 1,
            Self::Delegation => 2,
        }
    }

    fn of(code: u8) -> Result<Self, Malformed> {
        match code {
            1 => Ok(Self::Credential),
            2 => Ok(Self::Delegation),
            _ => Err(Malformed),
        }
    }
}

/// The documents of a network that somebody holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Holding {
    /// The number of the config; 0 without one.
    pub(crate) counter: u64,
    /// The first bytes of its hash.
    pub(crate) hash: [u8; 8],
    /// The digest of the revocations.
    pub(crate) digest: [u8; 16],
}

/// A message about documents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Papers {
    Told {
        number: u32,
        place: u8,
        holding: Holding,
    },
    Ack {
        number: u32,
    },
    Wanted {
        place: u8,
        part: Part,
        offset: u32,
    },
    Piece {
        place: u8,
        part: Part,
        hash: [u8; 8],
        length: u32,
        offset: u32,
        bytes: Vec<u8>,
    },
    Issued {
        number: u32,
        place: u8,
        gift: Gift,
        bytes: Vec<u8>,
    },
    IssuedAck {
        number: u32,
    },
    Held {
        key: DirectoryKey,
        version: u64,
        flags: u8,
    },
    SealedWanted {
        key: DirectoryKey,
        version: u64,
        offset: u32,
    },
    SealedPiece {
        key: DirectoryKey,
        version: u64,
        length: u32,
        offset: u32,
        bytes: Vec<u8>,
    },
}

impl Papers {
    pub(super) fn kind(&self) -> u8 {
        match self {
            Self::Told { .. } => 46,
            Self::Wanted { .. } => 47,
            Self::Piece { .. } => 48,
            Self::Held { .. } => 50,
            Self::SealedWanted { .. } => 51,
            Self::SealedPiece { .. } => 52,
            Self::Ack { .. } => 54,
            Self::Issued { .. } => 57,
            Self::IssuedAck { .. } => 58,
        }
    }

    pub(super) fn encode(&self, to: &mut Vec<u8>) {
        match self {
            Self::Told { number, place, holding } => {
                put_u32(to, *number);
                to.push(*place);
                put_u64(to, holding.counter);
                to.extend_from_slice(&holding.hash);
                to.extend_from_slice(&holding.digest);
            }
            Self::Ack { number } | Self::IssuedAck { number } => put_u32(to, *number),
            Self::Issued {
                number,
                place,
                gift,
                bytes,
            } => {
                put_u32(to, *number);
                to.extend_from_slice(&[*place, gift.code()]);
                put_long(to, bytes);
            }
            Self::Wanted { place, part, offset } => {
                to.extend_from_slice(&[*place, part.code()]);
                put_u32(to, *offset);
            }
            Self::Piece {
                place,
                part,
                hash,
                length,
                offset,
                bytes,
            } => {
                to.extend_from_slice(&[*place, part.code()]);
                to.extend_from_slice(hash);
                put_u32(to, *length);
                put_u32(to, *offset);
                put_long(to, bytes);
            }
            Self::Held { key, version, flags } => {
                to.extend_from_slice(key.as_bytes());
                put_u64(to, *version);
                to.push(*flags);
            }
            Self::SealedWanted { key, version, offset } => {
                to.extend_from_slice(key.as_bytes());
                put_u64(to, *version);
                put_u32(to, *offset);
            }
            Self::SealedPiece {
                key,
                version,
                length,
                offset,
                bytes,
            } => {
                to.extend_from_slice(key.as_bytes());
                put_u64(to, *version);
                put_u32(to, *length);
                put_u32(to, *offset);
                put_long(to, bytes);
            }
        }
    }

    /// Reads the body of a message of this kind; nothing for one of another.
    pub(super) fn decode(kind: u8, reader: &mut Reader<'_>) -> Result<Option<Self>, Malformed> {
        Ok(Some(match kind {
            46 => Self::Told {
                number: reader.u32()?,
                place: reader.u8()?,
                holding: Holding {
                    counter: reader.u64()?,
                    hash: reader.array()?,
                    digest: reader.array()?,
                },
            },
            47 => Self::Wanted {
                place: reader.u8()?,
                part: Part::of(reader.u8()?)?,
                offset: reader.u32()?,
            },
            48 => Self::Piece {
                place: reader.u8()?,
                part: Part::of(reader.u8()?)?,
                hash: reader.array()?,
                length: reader.u32()?,
                offset: reader.u32()?,
                bytes: long(reader)?,
            },
            50 => Self::Held {
                key: DirectoryKey::from_bytes(reader.array()?),
                version: reader.u64()?,
                flags: reader.u8()?,
            },
            51 => Self::SealedWanted {
                key: DirectoryKey::from_bytes(reader.array()?),
                version: reader.u64()?,
                offset: reader.u32()?,
            },
            52 => Self::SealedPiece {
                key: DirectoryKey::from_bytes(reader.array()?),
                version: reader.u64()?,
                length: reader.u32()?,
                offset: reader.u32()?,
                bytes: long(reader)?,
            },
            54 => Self::Ack { number: reader.u32()? },
            57 => Self::Issued {
                number: reader.u32()?,
                place: reader.u8()?,
                gift: Gift::of(reader.u8()?)?,
                bytes: long(reader)?,
            },
            58 => Self::IssuedAck { number: reader.u32()? },
            _ => return Ok(None),
        }))
    }
}
