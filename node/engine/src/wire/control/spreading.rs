//! Messages about broadcasts that spread in large networks.
//!
//! ```text
//! 65 spread ack    place 1 | need 1 | count 1 | count × message id 8
//! 66 contact       place 1 | need 1 | flags 1 (1: bye)
//! 67 clock         milliseconds since 1970 8
//! 68 sample wanted request 4 | member key 16
//! 69 sample        request 4 | members 4 | count 1 | count × node record 52
//! ```

use farlan_netconf::{DirectoryKey, Reader};

use super::{
    list, put_list, put_u32, put_u64,
    records::{NodeRecord, put_record, record},
};
use crate::wire::endpoint::Malformed;

/// The flag of `contact` by which a contact is given up.
const BYE: u8 = 1;

/// Something about broadcasts that spread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Spread {
    /// Copies of these messages came.
    Ack { place: u8, need: u8, ids: Vec<u64> },
    /// How many nodes the sender would forward to; whether the receiver is no contact of it any more.
    Contact { place: u8, need: u8, bye: bool },
    /// What time it is, in milliseconds since 1970.
    Clock { millis: u64 },
    /// Some members of a network are wanted.
    SampleWanted { request: u32, member_key: DirectoryKey },
    /// Some members: those that came last, then others at random.
    Sample {
        request: u32,
        /// How many there are.
        members: u32,
        records: Vec<NodeRecord>,
    },
}

impl Spread {
    pub(super) fn kind(&self) -> u8 {
        match self {
            Self::Ack { .. } => 65,
            Self::Contact { .. } => 66,
            Self::Clock { .. } => 67,
            Self::SampleWanted { .. } => 68,
            Self::Sample { .. } => 69,
        }
    }

    pub(super) fn encode(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Ack { place, need, ids } => {
                bytes.extend_from_slice(&[*place, *need]);
                put_list(bytes, ids, |bytes, id| put_u64(bytes, *id));
            }
            Self::Contact { place, need, bye } => {
                bytes.extend_from_slice(&[*place, *need, if *bye { BYE } else { 0 }]);
            }
            Self::Clock { millis } => put_u64(bytes, *millis),
            Self::SampleWanted { request, member_key } => {
                put_u32(bytes, *request);
                bytes.extend_from_slice(member_key.as_bytes());
            }
            Self::Sample {
                request,
                members,
                records,
            } => {
                put_u32(bytes, *request);
                put_u32(bytes, *members);
                put_list(bytes, records, put_record);
            }
        }
    }

    /// The message of a kind; nothing if the kind is none of these.
    pub(super) fn decode(kind: u8, reader: &mut Reader<'_>) -> Result<Option<Self>, Malformed> {
        Ok(Some(match kind {
            65 => Self::Ack {
                place: reader.u8()?,
                need: reader.u8()?,
                ids: list(reader, Reader::u64)?,
            },
            66 => Self::Contact {
                place: reader.u8()?,
                need: reader.u8()?,
                bye: reader.u8()? & BYE != 0,
            },
            67 => Self::Clock { millis: reader.u64()? },
            68 => Self::SampleWanted {
                request: reader.u32()?,
                member_key: DirectoryKey::from_bytes(reader.array()?),
            },
            69 => Self::Sample {
                request: reader.u32()?,
                members: reader.u32()?,
                records: list(reader, record)?,
            },
            _ => return Ok(None),
        }))
    }
}
