//! What messages of the directory hold: records of nodes, places and members.

use std::net::Ipv4Addr;

use farlan_crypto::NodeId;
use farlan_netconf::{DirectoryKey, DnsLabel, NodePrefix, Reader};

use super::{ipv4, put_ipv4, put_u32, put_u64};
use crate::wire::{datagram::RelayIndex, endpoint::Malformed};

/// How a node is reached: its key, its home supernode and its relay index there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NodeRecord {
    pub(crate) key: [u8; 32],
    pub(crate) home: NodeId,
    pub(crate) index: RelayIndex,
}

impl NodeRecord {
    pub(crate) fn place(&self) -> Place {
        Place {
            home: self.home,
            index: self.index,
        }
    }
}

/// A membership to be registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Membership {
    pub(crate) member_key: DirectoryKey,
    pub(crate) address_key: DirectoryKey,
    pub(crate) ipv4: Option<Ipv4Addr>,
    /// The number of the last change of the member list that the node knows; 0 if it knows none.
    pub(crate) version: u64,
    /// Where the node is reached; none if that is the supernode to which this goes.
    pub(crate) home: Option<Place>,
}

/// A supernode at which a node is registered, and its relay index there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) home: NodeId,
    pub(crate) index: RelayIndex,
}

/// One change of a member list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MemberEntry {
    pub(crate) present: bool,
    pub(crate) record: NodeRecord,
    pub(crate) ipv4: Option<Ipv4Addr>,
}

/// What to look for in the directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Query {
    Prefix(NodePrefix),
    Address(DirectoryKey),
}

pub(super) fn put_record(bytes: &mut Vec<u8>, record: &NodeRecord) {
    bytes.extend_from_slice(&record.key);
    bytes.extend_from_slice(record.home.as_bytes());
    put_u32(bytes, record.index.0);
}

pub(super) fn record(reader: &mut Reader<'_>) -> Result<NodeRecord, Malformed> {
    Ok(NodeRecord {
        key: reader.array()?,
        home: NodeId::from_bytes(reader.array()?),
        index: RelayIndex(reader.u32()?),
    })
}

/// A place whose index is 0, which is never given out, is none.
pub(super) fn put_place(bytes: &mut Vec<u8>, place: Option<&Place>) {
    let none = Place {
        home: NodeId::from_bytes([0; 16]),
        index: RelayIndex(0),
    };
    let place = place.unwrap_or(&none);
    bytes.extend_from_slice(place.home.as_bytes());
    put_u32(bytes, place.index.0);
}

pub(super) fn place(reader: &mut Reader<'_>) -> Result<Option<Place>, Malformed> {
    let place = Place {
        home: NodeId::from_bytes(reader.array()?),
        index: RelayIndex(reader.u32()?),
    };
    Ok(Some(place).filter(|place| place.index != RelayIndex(0)))
}

pub(super) fn put_membership(bytes: &mut Vec<u8>, membership: &Membership) {
    bytes.extend_from_slice(membership.member_key.as_bytes());
    bytes.extend_from_slice(membership.address_key.as_bytes());
    put_ipv4(bytes, membership.ipv4);
    put_u64(bytes, membership.version);
    put_place(bytes, membership.home.as_ref());
}

pub(super) fn membership(reader: &mut Reader<'_>) -> Result<Membership, Malformed> {
    Ok(Membership {
        member_key: DirectoryKey::from_bytes(reader.array()?),
        address_key: DirectoryKey::from_bytes(reader.array()?),
        ipv4: ipv4(reader)?,
        version: reader.u64()?,
        home: place(reader)?,
    })
}

pub(super) fn put_entry(bytes: &mut Vec<u8>, entry: &MemberEntry) {
    bytes.push(u8::from(entry.present));
    put_record(bytes, &entry.record);
    put_ipv4(bytes, entry.ipv4);
}

pub(super) fn entry(reader: &mut Reader<'_>) -> Result<MemberEntry, Malformed> {
    Ok(MemberEntry {
        present: reader.u8()? != 0,
        record: record(reader)?,
        ipv4: ipv4(reader)?,
    })
}

pub(super) fn put_query(bytes: &mut Vec<u8>, query: &Query) {
    match query {
        Query::Prefix(prefix) => {
            bytes.push(1);
            prefix.encode(bytes);
        }
        Query::Address(key) => {
            bytes.push(2);
            bytes.extend_from_slice(key.as_bytes());
        }
    }
}

pub(super) fn query(reader: &mut Reader<'_>) -> Result<Query, Malformed> {
    Ok(match reader.u8()? {
        1 => Query::Prefix(NodePrefix::decode(reader).map_err(|_| Malformed)?),
        2 => Query::Address(DirectoryKey::from_bytes(reader.array()?)),
        _ => return Err(Malformed),
    })
}

pub(super) fn put_name(bytes: &mut Vec<u8>, (network, name): &(u8, DnsLabel)) {
    bytes.push(*network);
    // A label has 32 bytes at most.
    bytes.push(u8::try_from(name.as_str().len()).unwrap_or(0));
    bytes.extend_from_slice(name.as_str().as_bytes());
}

/// A place and the name there; nothing if that is none, or not written as names are.
pub(super) fn name(reader: &mut Reader<'_>) -> Result<Option<(u8, DnsLabel)>, Malformed> {
    let (network, bytes) = (reader.u8()?, reader.short_bytes()?);
    let text = std::str::from_utf8(bytes).ok();
    let label = text.and_then(|text| DnsLabel::parse(text).ok().filter(|label| label.as_str() == text));
    Ok(label.map(|label| (network, label)))
}
