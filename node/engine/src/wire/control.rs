//! Control messages: what nodes and supernodes tell each other inside a session.
//!
//! A sealed control message is a run of `kind 1 | length 2 | body`, filled with zero bytes to a multiple of 64: a kind of
//! 0 ends the run. Unknown kinds are skipped and counted; bytes behind the fields of a body are ignored.
//!
//! ```text
//!  1 ack          number 4
//!  2 networks     number 4 | count 1 | count × tag 16
//!  3 claims       number 4 | count 1 | count × (network 1 | IPv4 4)
//!  4 ping         token 8
//!  5 pong         token 8
//!  6 group ack    count 1 | count × sequence 8
//!  7 bye
//!  8 candidates   number 4 | flags 1 (1: send yours) | count 1 | count × (kind 1 (1: outside; 2: local) | endpoint 18)
//!                 | behaviour 1 (bits 0-1: mapping; 2-3: filter; 4-6: ports)
//!  9 path challenge  token 8
//! 10 path response   token 8 | endpoint the challenge came from 18
//! 12 search offer number 4 | supernode's node id 16 | technique 1 (1: birthday, 2: predicted, 3: both predicted, 4: either)
//! 13 search step  number 4 | step 1 (0: no, 1: yes, 2: open) | port 2 | stride 2
//! 15 twin         observed endpoint 18
//! 11 addresses    number 4 | count 1 | count × (network 1 | address 16)
//! 16 register     request 4 | count 1 | count × (member key 16 | address key 16 | IPv4 4 | version 8 | home 16 | index 4)
//! 17 registered   request 4 | relay index 4 | observed endpoint 18 | count 1 | count × refused membership 1
//! 18 members      member key 16 | from 8 | upto 8 | members 4 | count 1 | count × (state 1 | node record 52 | IPv4 4)
//! 19 members ack  member key 16 | version 8
//! 20 locate       request 4 | kind 1 (1: node prefix 17; 2: address key 16)
//! 21 located      request 4 | found 1 | node record 52 if found
//! 22 introduce    node record 52
//! 23 challenge    nonce 8
//! 24 answer       nonce 8
//! 25 observed     endpoint 18
//! 30 look         token 8 | flags 1 (1: answer from the second port; 2: with show)
//! 31 seen         token 8 | observed endpoint 18 | second port 2
//! 34 search       number 4 | node id 16
//! 35 search granted number 4 | node id 16 | address 16
//! 32 twin question nonce 8 | session index 4
//! 33 twin answer  nonce 8
//! 36 observations wanted  request 4
//! 37 observations         request 4 | observations 40 (see `observations`)
//! 38 way probe    token 8
//! 39 way answer   token 8 | endpoint the probe came from 18
//! 26 homes        count 1 | count × (supernode's node id 16 | relay index 4)
//! 27 world        world id 16 | version 4
//! 28 world wanted world id 16 | version 4 | offset 2
//! 29 world piece  world id 16 | version 4 | length of the list 2 | offset 2 | length of the piece 2 | piece
//! 42 credentials  number 4 | network 1 | length 2 | sealed credential
//! 43 credentials ack number 4
//! 44 application  request 4 | network 1 | length 2 | sealed application
//! 45 admission    request 4 | network 1 | status 1 | length 2 | sealed credential
//! 46 to 48, 50 to 52, 54, 57 and 58 stand in `documents`, 59 to 62 in `channels`.
//! 40 reach        nonce 8 | port 2
//! 41 reached      nonce 8 | endpoint 18
//! 49 names        number 4 | count 1 | count × (network 1 | length 1 | name)
//! 53 names ack    number 4
//! 55 show         nonce 8
//! 70 window       milliseconds 4
//! 56 shown        nonce 8
//! ```
//! A node record is `Ed25519 key 32 | home's node id 16 | relay index there 4`. An IPv4 address of 0.0.0.0 means none, and an
//! IPv4 address in `addresses` stands as `::ffff:a.b.c.d`.

mod channels;
mod documents;
mod records;
mod spreading;
mod traversal;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use farlan_crypto::NodeId;
use farlan_netconf::{DirectoryKey, DnsLabel, Reader, WorldId};

use crate::{Behaviour, observations::Observations, prediction::Technique};

use super::{
    datagram::{RelayIndex, SessionIndex},
    endpoint::{Malformed, endpoint, put_endpoint},
    observations::{observations, put_observations},
};
use records::{
    entry, membership, name, place, put_entry, put_membership, put_name, put_place, put_query, put_record, query,
    record,
};
use traversal::{behaviour_of, candidate, put_candidate, put_step, step, technique_code, technique_of};

pub(crate) use channels::Audience;
pub(crate) use documents::{Gift, Holding, Papers, Part, TO_BE_ANSWERED, WATCH};
pub(crate) use records::{MemberEntry, Membership, NodeRecord, Place, Query};
pub(crate) use spreading::Spread;
pub(crate) use traversal::{Candidate, Step, behaviour_code};

/// A sealed control message is filled to a multiple of this, so that its length tells little.
pub(crate) const PADDING: usize = 64;

/// The number of tags is filled with random ones to a multiple of this, so that it does not tell how many networks a
/// node is in.
pub(crate) const TAG_PADDING: usize = 8;

/// Most addresses in one `addresses` message: 64 × 17 bytes, padded, sealed and relayed, fit an underlay MTU of 1280.
pub(crate) const ADDRESSES_AT_ONCE: usize = 64;

/// Length of a recognition tag.
pub(crate) const TAG: usize = 16;

/// Most entries in one `members` message: 19 × 57 bytes, padded and sealed, fit an underlay MTU of 1280.
pub(crate) const MEMBERS_AT_ONCE: usize = 19;

/// The flag of candidates that asks for the other end's.
const ASK: u8 = 1;

/// The flag of a look that asks for the answer from the supernode's second port.
pub(crate) const FROM_SECOND: u8 = 1;

/// The flag of a look that asks for `show` beside the answer.
pub(crate) const WITH_SHOW: u8 = 2;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Control {
    Ack {
        number: u32,
    },
    Networks {
        number: u32,
        tags: Vec<[u8; TAG]>,
    },
    Claims {
        number: u32,
        claims: Vec<(u8, Option<Ipv4Addr>)>,
    },
    Ping {
        token: u64,
    },
    Pong {
        token: u64,
    },
    GroupAck {
        sequences: Vec<u64>,
    },
    Bye,
    Candidates {
        number: u32,
        /// Whether the other end is to send its own.
        ask: bool,
        candidates: Vec<Candidate>,
        /// How the sender's NAT behaves, as far as it says.
        behaviour: Behaviour,
    },
    PathChallenge {
        token: u64,
    },
    PathResponse {
        token: u64,
        observed: SocketAddr,
    },
    /// What the sender is called in common networks, by its own places.
    Names {
        number: u32,
        names: Vec<(u8, DnsLabel)>,
    },
    /// `names` with this number has come.
    NamesAck {
        number: u32,
    },
    Addresses {
        number: u32,
        addresses: Vec<(u8, IpAddr)>,
    },
    Register {
        request: u32,
        memberships: Vec<Membership>,
    },
    Registered {
        request: u32,
        index: RelayIndex,
        observed: SocketAddr,
        refused: Vec<u8>,
    },
    Members {
        member_key: DirectoryKey,
        from: u64,
        upto: u64,
        count: u32,
        entries: Vec<MemberEntry>,
    },
    MembersAck {
        member_key: DirectoryKey,
        version: u64,
    },
    Locate {
        request: u32,
        query: Query,
    },
    Located {
        request: u32,
        found: Option<NodeRecord>,
    },
    Introduce {
        record: NodeRecord,
    },
    Challenge {
        nonce: u64,
    },
    Answer {
        nonce: u64,
    },
    Observed {
        endpoint: SocketAddr,
    },
    /// Let us search a way; the sender is the hard end, or one of two.
    SearchOffer {
        number: u32,
        /// Who is to grant it.
        supernode: NodeId,
        technique: Technique,
    },
    SearchStep {
        number: u32,
        step: Step,
    },
    /// Tell me and this node each other's addresses.
    SearchWanted {
        number: u32,
        node: NodeId,
    },
    SearchGranted {
        number: u32,
        node: NodeId,
        address: IpAddr,
    },
    /// Where do you see me?
    Look {
        token: u64,
        flags: u8,
    },
    Seen {
        token: u64,
        observed: SocketAddr,
        /// The supernode's second port; 0 if it has none.
        second: u16,
    },
    /// Show me that you are where your look came from.
    Show {
        nonce: u64,
    },
    Shown {
        nonce: u64,
    },
    /// Another machine uses the receiver's key, and is seen there.
    Twin {
        other: SocketAddr,
    },
    /// Whether the receiver did not make the session that it receives under this index.
    TwinQuestion {
        nonce: u64,
        newer: SessionIndex,
    },
    TwinAnswer {
        nonce: u64,
    },
    /// Whether datagrams of this length come and go this way.
    WayProbe {
        token: u64,
    },
    WayAnswer {
        token: u64,
        observed: SocketAddr,
    },
    /// Whether strangers get through to the sender, at its address and this port; 0 for the one it is seen at.
    Reach {
        nonce: u64,
        port: u16,
    },
    /// They do: this was sent to that endpoint by a stranger.
    Reached {
        nonce: u64,
        endpoint: SocketAddr,
    },
    /// The sender's credential in the network at that place of its list, sealed for members.
    Credentials {
        number: u32,
        place: u8,
        sealed: Vec<u8>,
    },
    /// It could be opened and is valid.
    CredentialsAck {
        number: u32,
    },
    /// A certificate is wanted.
    Application {
        request: u32,
        place: u8,
        sealed: Vec<u8>,
    },
    /// The answer.
    Admission {
        request: u32,
        place: u8,
        status: u8,
        sealed: Vec<u8>,
    },
    /// About the documents of private networks.
    Papers(Papers),
    /// About channels.
    Audience(Audience),
    /// Something about broadcasts that spread.
    Spread(Spread),
    Homes {
        places: Vec<Place>,
    },
    /// Over which time the nodes are to come back, should the supernode forget them.
    Window {
        millis: u32,
    },
    World {
        world: WorldId,
        version: u32,
    },
    WorldWanted {
        world: WorldId,
        version: u32,
        offset: u16,
    },
    WorldPiece {
        world: WorldId,
        version: u32,
        length: u16,
        offset: u16,
        bytes: Vec<u8>,
    },
    /// What has the receiver found out of its own side and of the way between the two?
    ObservationsWanted {
        request: u32,
    },
    Observations {
        request: u32,
        told: Box<Observations>,
    },
}

impl Control {
    /// Appends this message.
    pub(crate) fn encode(&self, bytes: &mut Vec<u8>) {
        let start = bytes.len();
        bytes.extend_from_slice(&[self.kind(), 0, 0]);
        self.encode_body(bytes);
        let length = u16::try_from(bytes.len() - start - 3).unwrap_or(u16::MAX);
        if let Some(field) = bytes.get_mut(start + 1..start + 3) {
            field.copy_from_slice(&length.to_be_bytes());
        }
    }

    fn kind(&self) -> u8 {
        match self {
            Self::Ack { .. } => 1,
            Self::Networks { .. } => 2,
            Self::Claims { .. } => 3,
            Self::Ping { .. } => 4,
            Self::Pong { .. } => 5,
            Self::GroupAck { .. } => 6,
            Self::Bye => 7,
            Self::Candidates { .. } => 8,
            Self::PathChallenge { .. } => 9,
            Self::PathResponse { .. } => 10,
            Self::Addresses { .. } => 11,
            Self::Names { .. } => 49,
            Self::NamesAck { .. } => 53,
            Self::Show { .. } => 55,
            Self::Shown { .. } => 56,
            Self::Register { .. } => 16,
            Self::Registered { .. } => 17,
            Self::Members { .. } => 18,
            Self::MembersAck { .. } => 19,
            Self::Locate { .. } => 20,
            Self::Located { .. } => 21,
            Self::Introduce { .. } => 22,
            Self::Challenge { .. } => 23,
            Self::Answer { .. } => 24,
            Self::Observed { .. } => 25,
            Self::SearchOffer { .. } => 12,
            Self::SearchStep { .. } => 13,
            Self::SearchWanted { .. } => 34,
            Self::SearchGranted { .. } => 35,
            Self::Look { .. } => 30,
            Self::Seen { .. } => 31,
            Self::Twin { .. } => 15,
            Self::TwinQuestion { .. } => 32,
            Self::TwinAnswer { .. } => 33,
            Self::WayProbe { .. } => 38,
            Self::WayAnswer { .. } => 39,
            Self::Reach { .. } => 40,
            Self::Reached { .. } => 41,
            Self::Credentials { .. } => 42,
            Self::CredentialsAck { .. } => 43,
            Self::Application { .. } => 44,
            Self::Admission { .. } => 45,
            Self::Papers(papers) => papers.kind(),
            Self::Audience(audience) => audience.kind(),
            Self::Spread(spread) => spread.kind(),
            Self::Homes { .. } => 26,
            Self::Window { .. } => 70,
            Self::World { .. } => 27,
            Self::WorldWanted { .. } => 28,
            Self::WorldPiece { .. } => 29,
            Self::ObservationsWanted { .. } => 36,
            Self::Observations { .. } => 37,
        }
    }

    fn encode_body(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Ack { number } => put_u32(bytes, *number),
            Self::Networks { number, tags } => {
                put_u32(bytes, *number);
                put_list(bytes, tags, |bytes, tag| bytes.extend_from_slice(tag));
            }
            Self::Claims { number, claims } => {
                put_u32(bytes, *number);
                put_list(bytes, claims, |bytes, (network, ipv4)| {
                    bytes.push(*network);
                    put_ipv4(bytes, *ipv4);
                });
            }
            Self::Ping { token } | Self::Pong { token } => bytes.extend_from_slice(&token.to_be_bytes()),
            Self::GroupAck { sequences } => {
                put_list(bytes, sequences, |bytes, sequence| {
                    bytes.extend_from_slice(&sequence.to_be_bytes())
                });
            }
            Self::Bye => {}
            Self::Candidates {
                number,
                ask,
                candidates,
                behaviour,
            } => {
                put_u32(bytes, *number);
                bytes.push(u8::from(*ask));
                put_list(bytes, candidates, put_candidate);
                bytes.push(behaviour_code(behaviour));
            }
            Self::SearchOffer {
                number,
                supernode,
                technique,
            } => {
                put_u32(bytes, *number);
                bytes.extend_from_slice(supernode.as_bytes());
                bytes.push(technique_code(*technique));
            }
            Self::SearchStep { number, step } => {
                put_u32(bytes, *number);
                put_step(bytes, *step);
            }
            Self::SearchWanted { number, node } => {
                put_u32(bytes, *number);
                bytes.extend_from_slice(node.as_bytes());
            }
            Self::SearchGranted { number, node, address } => {
                put_u32(bytes, *number);
                bytes.extend_from_slice(node.as_bytes());
                bytes.extend_from_slice(&mapped(*address).octets());
            }
            Self::PathChallenge { token } => put_u64(bytes, *token),
            Self::PathResponse { token, observed } => {
                put_u64(bytes, *token);
                put_endpoint(bytes, *observed);
            }
            Self::Observed { endpoint } => put_endpoint(bytes, *endpoint),
            Self::Names { number, names } => {
                put_u32(bytes, *number);
                put_list(bytes, names, put_name);
            }
            Self::NamesAck { number } => put_u32(bytes, *number),
            Self::Addresses { number, addresses } => {
                put_u32(bytes, *number);
                put_list(bytes, addresses, |bytes, (network, address)| {
                    bytes.push(*network);
                    bytes.extend_from_slice(&mapped(*address).octets());
                });
            }
            Self::Register { request, memberships } => {
                put_u32(bytes, *request);
                put_list(bytes, memberships, put_membership);
            }
            Self::Registered {
                request,
                index,
                observed,
                refused,
            } => {
                put_u32(bytes, *request);
                put_u32(bytes, index.0);
                put_endpoint(bytes, *observed);
                put_list(bytes, refused, |bytes, position| bytes.push(*position));
            }
            Self::Members {
                member_key,
                from,
                upto,
                count,
                entries,
            } => {
                bytes.extend_from_slice(member_key.as_bytes());
                put_u64(bytes, *from);
                put_u64(bytes, *upto);
                put_u32(bytes, *count);
                put_list(bytes, entries, put_entry);
            }
            Self::MembersAck { member_key, version } => {
                bytes.extend_from_slice(member_key.as_bytes());
                put_u64(bytes, *version);
            }
            Self::Locate { request, query } => {
                put_u32(bytes, *request);
                put_query(bytes, query);
            }
            Self::Located { request, found } => {
                put_u32(bytes, *request);
                bytes.push(u8::from(found.is_some()));
                if let Some(record) = found {
                    put_record(bytes, record);
                }
            }
            Self::Introduce { record } => put_record(bytes, record),
            Self::Challenge { nonce } | Self::Answer { nonce } | Self::Show { nonce } | Self::Shown { nonce } => {
                put_u64(bytes, *nonce);
            }
            Self::Look { token, flags } => {
                put_u64(bytes, *token);
                bytes.push(*flags);
            }
            Self::Seen {
                token,
                observed,
                second,
            } => {
                put_u64(bytes, *token);
                put_endpoint(bytes, *observed);
                put_u16(bytes, *second);
            }
            Self::Twin { other } => put_endpoint(bytes, *other),
            Self::TwinQuestion { nonce, newer } => {
                put_u64(bytes, *nonce);
                put_u32(bytes, newer.0);
            }
            Self::TwinAnswer { nonce } => put_u64(bytes, *nonce),
            Self::WayProbe { token } => put_u64(bytes, *token),
            Self::WayAnswer { token, observed } => {
                put_u64(bytes, *token);
                put_endpoint(bytes, *observed);
            }
            Self::Window { millis } => put_u32(bytes, *millis),
            Self::Reach { nonce, port } => {
                put_u64(bytes, *nonce);
                put_u16(bytes, *port);
            }
            Self::Reached { nonce, endpoint } => {
                put_u64(bytes, *nonce);
                put_endpoint(bytes, *endpoint);
            }
            Self::Credentials { number, place, sealed } => {
                put_u32(bytes, *number);
                bytes.push(*place);
                put_long(bytes, sealed);
            }
            Self::CredentialsAck { number } => put_u32(bytes, *number),
            Self::Application { request, place, sealed } => {
                put_u32(bytes, *request);
                bytes.push(*place);
                put_long(bytes, sealed);
            }
            Self::Admission {
                request,
                place,
                status,
                sealed,
            } => {
                put_u32(bytes, *request);
                bytes.extend_from_slice(&[*place, *status]);
                put_long(bytes, sealed);
            }
            Self::Papers(papers) => papers.encode(bytes),
            Self::Audience(audience) => audience.encode(bytes),
            Self::Spread(spread) => spread.encode(bytes),
            Self::Homes { places } => put_list(bytes, places, |bytes, place| put_place(bytes, Some(place))),
            Self::World { world, version } => {
                bytes.extend_from_slice(world.as_bytes());
                put_u32(bytes, *version);
            }
            Self::WorldWanted { world, version, offset } => {
                bytes.extend_from_slice(world.as_bytes());
                put_u32(bytes, *version);
                put_u16(bytes, *offset);
            }
            Self::WorldPiece {
                world,
                version,
                length,
                offset,
                bytes: piece,
            } => {
                bytes.extend_from_slice(world.as_bytes());
                put_u32(bytes, *version);
                put_u16(bytes, *length);
                put_u16(bytes, *offset);
                put_long(bytes, piece);
            }
            Self::ObservationsWanted { request } => put_u32(bytes, *request),
            Self::Observations { request, told } => {
                put_u32(bytes, *request);
                put_observations(bytes, told);
            }
        }
    }

    fn decode(kind: u8, body: &[u8]) -> Result<Option<Self>, Malformed> {
        let mut reader = Reader::new(body);
        let reader = &mut reader;
        Ok(Some(match kind {
            1 => Self::Ack { number: reader.u32()? },
            2 => Self::Networks {
                number: reader.u32()?,
                tags: list(reader, Reader::array)?,
            },
            3 => Self::Claims {
                number: reader.u32()?,
                claims: list(reader, |reader| Ok::<_, Malformed>((reader.u8()?, ipv4(reader)?)))?,
            },
            4 => Self::Ping { token: reader.u64()? },
            5 => Self::Pong { token: reader.u64()? },
            6 => Self::GroupAck {
                sequences: list(reader, Reader::u64)?,
            },
            7 => Self::Bye,
            8 => Self::Candidates {
                number: reader.u32()?,
                ask: reader.u8()? & ASK != 0,
                candidates: list(reader, candidate)?,
                behaviour: behaviour_of(reader.u8()?),
            },
            12 => Self::SearchOffer {
                number: reader.u32()?,
                supernode: NodeId::from_bytes(reader.array()?),
                technique: technique_of(reader.u8()?)?,
            },
            13 => Self::SearchStep {
                number: reader.u32()?,
                step: step(reader)?,
            },
            34 => Self::SearchWanted {
                number: reader.u32()?,
                node: NodeId::from_bytes(reader.array()?),
            },
            35 => Self::SearchGranted {
                number: reader.u32()?,
                node: NodeId::from_bytes(reader.array()?),
                address: Ipv6Addr::from(reader.array::<16>()?).to_canonical(),
            },
            9 => Self::PathChallenge { token: reader.u64()? },
            10 => Self::PathResponse {
                token: reader.u64()?,
                observed: endpoint(reader)?,
            },
            49 => Self::Names {
                number: reader.u32()?,
                // What is no name is left out, so that it does not cost the others.
                names: list(reader, name)?.into_iter().flatten().collect(),
            },
            53 => Self::NamesAck { number: reader.u32()? },
            55 => Self::Show { nonce: reader.u64()? },
            56 => Self::Shown { nonce: reader.u64()? },
            11 => Self::Addresses {
                number: reader.u32()?,
                addresses: list(reader, |reader| {
                    let (network, address) = (reader.u8()?, Ipv6Addr::from(reader.array::<16>()?));
                    Ok::<_, Malformed>((network, address.to_canonical()))
                })?,
            },
            16 => Self::Register {
                request: reader.u32()?,
                memberships: list(reader, membership)?,
            },
            17 => Self::Registered {
                request: reader.u32()?,
                index: RelayIndex(reader.u32()?),
                observed: endpoint(reader)?,
                refused: list(reader, Reader::u8)?,
            },
            18 => Self::Members {
                member_key: DirectoryKey::from_bytes(reader.array()?),
                from: reader.u64()?,
                upto: reader.u64()?,
                count: reader.u32()?,
                entries: list(reader, entry)?,
            },
            19 => Self::MembersAck {
                member_key: DirectoryKey::from_bytes(reader.array()?),
                version: reader.u64()?,
            },
            20 => Self::Locate {
                request: reader.u32()?,
                query: query(reader)?,
            },
            21 => Self::Located {
                request: reader.u32()?,
                found: if reader.u8()? == 0 { None } else { Some(record(reader)?) },
            },
            22 => Self::Introduce {
                record: record(reader)?,
            },
            23 => Self::Challenge { nonce: reader.u64()? },
            24 => Self::Answer { nonce: reader.u64()? },
            25 => Self::Observed {
                endpoint: endpoint(reader)?,
            },
            30 => Self::Look {
                token: reader.u64()?,
                flags: reader.u8()?,
            },
            31 => Self::Seen {
                token: reader.u64()?,
                observed: endpoint(reader)?,
                second: reader.u16()?,
            },
            15 => Self::Twin {
                other: endpoint(reader)?,
            },
            32 => Self::TwinQuestion {
                nonce: reader.u64()?,
                newer: SessionIndex(reader.u32()?),
            },
            33 => Self::TwinAnswer { nonce: reader.u64()? },
            38 => Self::WayProbe { token: reader.u64()? },
            39 => Self::WayAnswer {
                token: reader.u64()?,
                observed: endpoint(reader)?,
            },
            70 => Self::Window { millis: reader.u32()? },
            40 => Self::Reach {
                nonce: reader.u64()?,
                port: reader.u16()?,
            },
            41 => Self::Reached {
                nonce: reader.u64()?,
                endpoint: endpoint(reader)?,
            },
            42 => Self::Credentials {
                number: reader.u32()?,
                place: reader.u8()?,
                sealed: long(reader)?,
            },
            43 => Self::CredentialsAck { number: reader.u32()? },
            44 => Self::Application {
                request: reader.u32()?,
                place: reader.u8()?,
                sealed: long(reader)?,
            },
            45 => Self::Admission {
                request: reader.u32()?,
                place: reader.u8()?,
                status: reader.u8()?,
                sealed: long(reader)?,
            },
            26 => Self::Homes {
                places: list(reader, |reader| place(reader)?.ok_or(Malformed))?,
            },
            27 => Self::World {
                world: WorldId::from_bytes(reader.array()?),
                version: reader.u32()?,
            },
            28 => Self::WorldWanted {
                world: WorldId::from_bytes(reader.array()?),
                version: reader.u32()?,
                offset: reader.u16()?,
            },
            29 => Self::WorldPiece {
                world: WorldId::from_bytes(reader.array()?),
                version: reader.u32()?,
                length: reader.u16()?,
                offset: reader.u16()?,
                bytes: long(reader)?,
            },
            36 => Self::ObservationsWanted { request: reader.u32()? },
            37 => Self::Observations {
                request: reader.u32()?,
                told: Box::new(observations(reader)?),
            },
            59..=64 => return Ok(Audience::decode(kind, reader)?.map(Self::Audience)),
            65..=69 => return Ok(Spread::decode(kind, reader)?.map(Self::Spread)),
            _ => return Ok(Papers::decode(kind, reader)?.map(Self::Papers)),
        }))
    }
}

/// The messages in an opened control message, one by one: `Ok(None)` for one of an unknown kind.
///
/// Ends after the first that is malformed.
pub(crate) fn messages(bytes: &[u8]) -> impl Iterator<Item = Result<Option<Control>, Malformed>> {
    let mut reader = Reader::new(bytes);
    let mut ended = false;
    std::iter::from_fn(move || {
        if ended || reader.remaining() == 0 {
            return None;
        }
        let mut next = || {
            let kind = reader.u8()?;
            if kind == 0 {
                return Ok(None);
            }
            let length = reader.u16()?;
            let body = reader.bytes(usize::from(length))?;
            Control::decode(kind, body).map(Some)
        };
        let message = next();
        ended = !matches!(message, Ok(Some(_)));
        message.transpose()
    })
}

fn put_u64(bytes: &mut Vec<u8>, value: u64) {
    bytes.extend_from_slice(&value.to_be_bytes());
}

fn put_u16(bytes: &mut Vec<u8>, value: u16) {
    bytes.extend_from_slice(&value.to_be_bytes());
}

fn put_u32(bytes: &mut Vec<u8>, value: u32) {
    bytes.extend_from_slice(&value.to_be_bytes());
}

fn mapped(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    }
}

fn put_ipv4(bytes: &mut Vec<u8>, ipv4: Option<Ipv4Addr>) {
    bytes.extend_from_slice(&ipv4.unwrap_or(Ipv4Addr::UNSPECIFIED).octets());
}

fn ipv4(reader: &mut Reader<'_>) -> Result<Option<Ipv4Addr>, Malformed> {
    let address = Ipv4Addr::from(reader.array::<4>()?);
    Ok(Some(address).filter(|address| !address.is_unspecified()))
}

/// Bytes behind their length.
fn put_long(bytes: &mut Vec<u8>, long: &[u8]) {
    let length = u16::try_from(long.len()).unwrap_or(u16::MAX);
    put_u16(bytes, length);
    bytes.extend(long.iter().take(usize::from(length)));
}

fn long(reader: &mut Reader<'_>) -> Result<Vec<u8>, Malformed> {
    let length = reader.u16()?;
    Ok(reader.bytes(usize::from(length))?.to_vec())
}

fn put_list<T>(bytes: &mut Vec<u8>, items: &[T], put: impl Fn(&mut Vec<u8>, &T)) {
    let count = u8::try_from(items.len()).unwrap_or(u8::MAX);
    bytes.push(count);
    for item in items.iter().take(usize::from(count)) {
        put(bytes, item);
    }
}

fn list<'a, T, E>(reader: &mut Reader<'a>, item: impl Fn(&mut Reader<'a>) -> Result<T, E>) -> Result<Vec<T>, Malformed>
where
    Malformed: From<E>,
{
    let count = reader.u8()?;
    (0..count).map(|_| item(reader).map_err(Malformed::from)).collect()
}

#[cfg(test)]
pub(crate) mod tests;
