//! Messages about channels: what a node subscribes to, and who else did.
//!
//! ```text
//! 59 subscribe       number 4 | member key 16 | count 1 | count × (channel key 16 | version 8)
//! 60 subscribed      number 4
//! 61 subscribers     channel key 16 | from 8 | upto 8 | subscribers 4 | count 1 | count × (state 1 | node record 52 | IPv4 4)
//! 62 subscribers ack channel key 16 | version 8
//! 63 channels        number 4 | place 1, the highest bit set if there are more groups | count 1 | count × (group MAC 6 | port 2, 0 for none)
//! 64 channels ack    number 4
//! ```
//! `subscribers` and `subscribers ack` are `members` and `members ack` in all but their kind, so that no list is taken for one
//! of the other sort.

use farlan_netconf::{DirectoryKey, Mac, Reader};

use super::{
    list, put_list, put_u16, put_u32, put_u64,
    records::{MemberEntry, entry, put_entry},
};
use crate::{Channel, wire::endpoint::Malformed};

/// The bit of a place that says that the sender listens to more groups than it lists. Places are below 64.
const MORE: u8 = 0x80;

/// Something about channels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Audience {
    /// These are the sender's channels in a network, instead of those it told before.
    Subscribe {
        number: u32,
        member_key: DirectoryKey,
        /// Each with the number of the last change of its list that the sender has from the receiver; 0 if it has none.
        channels: Vec<(DirectoryKey, u64)>,
    },
    /// They were taken.
    Subscribed { number: u32 },
    /// Changes of a channel's list, or a sample of a long one.
    Subscribers {
        channel_key: DirectoryKey,
        from: u64,
        upto: u64,
        count: u32,
        entries: Vec<MemberEntry>,
    },
    /// The sender has the list up to there.
    SubscribersAck { channel_key: DirectoryKey, version: u64 },
    /// These are the sender's channels in a network of the receiver's, too, instead of those it told before.
    Channels {
        number: u32,
        place: u8,
        /// Whether the sender listens to more groups than these.
        more: bool,
        channels: Vec<Channel>,
    },
    /// They were taken.
    ChannelsAck { number: u32 },
}

impl Audience {
    pub(super) fn kind(&self) -> u8 {
        match self {
            Self::Subscribe { .. } => 59,
            Self::Subscribed { .. } => 60,
            Self::Subscribers { .. } => 61,
            Self::SubscribersAck { .. } => 62,
            Self::Channels { .. } => 63,
            Self::ChannelsAck { .. } => 64,
        }
    }

    pub(super) fn encode(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Subscribe {
                number,
                member_key,
                channels,
            } => {
                put_u32(bytes, *number);
                bytes.extend_from_slice(member_key.as_bytes());
                put_list(bytes, channels, |bytes, (key, version)| {
                    bytes.extend_from_slice(key.as_bytes());
                    put_u64(bytes, *version);
                });
            }
            Self::Subscribed { number } | Self::ChannelsAck { number } => put_u32(bytes, *number),
            Self::Subscribers {
                channel_key,
                from,
                upto,
                count,
                entries,
            } => {
                bytes.extend_from_slice(channel_key.as_bytes());
                put_u64(bytes, *from);
                put_u64(bytes, *upto);
                put_u32(bytes, *count);
                put_list(bytes, entries, put_entry);
            }
            Self::SubscribersAck { channel_key, version } => {
                bytes.extend_from_slice(channel_key.as_bytes());
                put_u64(bytes, *version);
            }
            Self::Channels {
                number,
                place,
                more,
                channels,
            } => {
                put_u32(bytes, *number);
                bytes.push(place & !MORE | if *more { MORE } else { 0 });
                put_list(bytes, channels, |bytes, channel| {
                    bytes.extend_from_slice(channel.group.as_bytes());
                    put_u16(bytes, channel.port.unwrap_or(0));
                });
            }
        }
    }

    /// The message of a kind; nothing if the kind is none of these.
    pub(super) fn decode(kind: u8, reader: &mut Reader<'_>) -> Result<Option<Self>, Malformed> {
        Ok(Some(match kind {
            59 => Self::Subscribe {
                number: reader.u32()?,
                member_key: DirectoryKey::from_bytes(reader.array()?),
                channels: list(reader, |reader| {
                    Ok::<_, Malformed>((DirectoryKey::from_bytes(reader.array()?), reader.u64()?))
                })?,
            },
            60 => Self::Subscribed { number: reader.u32()? },
            61 => Self::Subscribers {
                channel_key: DirectoryKey::from_bytes(reader.array()?),
                from: reader.u64()?,
                upto: reader.u64()?,
                count: reader.u32()?,
                entries: list(reader, entry)?,
            },
            62 => Self::SubscribersAck {
                channel_key: DirectoryKey::from_bytes(reader.array()?),
                version: reader.u64()?,
            },
            63 => {
                let (number, place) = (reader.u32()?, reader.u8()?);
                Self::Channels {
                    number,
                    place: place & !MORE,
                    more: place & MORE != 0,
                    channels: list(reader, channel)?,
                }
            }
            64 => Self::ChannelsAck { number: reader.u32()? },
            _ => return Ok(None),
        }))
    }
}

fn channel(reader: &mut Reader<'_>) -> Result<Channel, Malformed> {
    let group = Mac::from_bytes(reader.array()?);
    let port = Some(reader.u16()?).filter(|port| *port != 0);
    Ok(Channel { group, port })
}
