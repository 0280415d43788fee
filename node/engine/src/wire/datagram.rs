//! The outermost format: what a UDP payload is.
//!
//! ```text
//! byte       0        1        2     3     4          8          12
//! initiation 1        version  0     0     sender     Noise message 1, and two MACs (see `gate`)
//! response   2        version  0     0     receiver   sender     Noise message 2 …
//! data       3        flags    0     0     receiver   counter (8 bytes)     sealed …
//! relay      4        flags    0     0     destination source    inner datagram …
//! first      5        flags    0     0     destination node id (16 bytes) source inner datagram …
//! hint       6        what     0     0     index
//! version    6        2        version 0   index
//! forward    7        supernode (3 bytes)  destination source     inner datagram …
//! passed     8        supernode (3 bytes)  destination source     inner datagram …
//! cookie     9        version  0     0     receiver   nonce, sealed cookie (see `gate`)
//! beacon     10       version  0     0     nonce and slots (see `beacon`)
//! ```
//! *sender* and *receiver* are session indexes, each chosen at random by the end that receives under it; *destination*
//! and *source* are relay indexes, given out by the supernode. A data datagram's first 16 bytes are authenticated as
//! they stand. A hint is a supernode's answer to what it does not know: *what* is 0 for a relay index that is not the
//! sender's, 1 for a session index, 3 for the relay index of a destination. The hint with *what* 2 is
//! anybody's answer to an initiation of another version: its own version, and *sender* as it stood there. Flags and the two zero bytes are sent as zero and not interpreted in this version.

use farlan_crypto::{NodeId, PLAINTEXT};

use farlan_netconf::Reader;

use super::{beacon::Beacon, endpoint::Malformed};

/// The version in handshake messages, and in the prologue of the handshake.
pub const VERSION: u8 = 1;

/// The Noise prologue: protocol name and version. A build for benchmarks has its own, so that its handshakes with
/// nodes that encrypt fail.
pub(crate) const PROLOGUE: &[u8] = if PLAINTEXT { b"farlan 1 plaintext" } else { b"farlan 1" };

/// Length of the authenticated header of a data datagram.
pub(crate) const DATA_HEADER: usize = 16;

/// Length of what stands before the inner datagram in a relay datagram.
pub(crate) const RELAY_HEADER: usize = 12;

/// The same where the destination is named by its node id.
pub(crate) const RELAY_FIRST_HEADER: usize = 24;

const INITIATION: u8 = 1;
const RESPONSE: u8 = 2;
const DATA: u8 = 3;
const RELAY: u8 = 4;
const RELAY_FIRST: u8 = 5;
const HINT: u8 = 6;
const FORWARD: u8 = 7;
const PASSED: u8 = 8;
const COOKIE: u8 = 9;
pub(crate) const BEACON: u8 = 10;

const UNKNOWN_REGISTRATION: u8 = 0;
const UNKNOWN_SESSION: u8 = 1;
const OTHER_VERSION: u8 = 2;
const UNKNOWN_DESTINATION: u8 = 3;

/// Names a session at the end that receives under it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SessionIndex(pub(crate) u32);

/// Names a registration at a supernode; 0 is never given out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct RelayIndex(pub(crate) u32);

impl RelayIndex {
    /// In place of an index: the supernode itself.
    pub(crate) const SUPERNODE: Self = Self(0);

    /// In place of an index: not known. The same number, since none is given out for it.
    pub(crate) const NONE: Self = Self(0);
}

/// Names a supernode among those that know each other: the first bytes of its node id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SupernodeTag(pub(crate) [u8; 3]);

impl SupernodeTag {
    pub(crate) fn of(supernode: &NodeId) -> Self {
        let [a, b, c, ..] = *supernode.as_bytes();
        Self([a, b, c])
    }
}

/// Whom a relay datagram is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum RelayTarget {
    /// A registration.
    Index(RelayIndex),
    /// A node whose index is not known yet.
    Node(NodeId),
    /// A registration at another supernode, to which this one forwards, or that supernode itself.
    Remote { supernode: SupernodeTag, index: RelayIndex },
}

/// What a supernode says not to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unknown {
    /// The source index of a relay datagram, from that address.
    Registration(RelayIndex),
    /// The destination index of a relay datagram.
    Destination(RelayIndex),
    /// The receiver index of a data datagram.
    Session(SessionIndex),
}

/// A parsed datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Datagram<'a> {
    Initiation {
        version: u8,
        sender: SessionIndex,
    },
    Response {
        version: u8,
        receiver: SessionIndex,
        sender: SessionIndex,
        message: &'a [u8],
    },
    /// The answer of a responder under load.
    Cookie {
        version: u8,
        receiver: SessionIndex,
    },
    /// The sealed part is all behind [`DATA_HEADER`].
    Data {
        receiver: SessionIndex,
        counter: u64,
    },
    Relay {
        destination: RelayTarget,
        source: RelayIndex,
        inner: &'a [u8],
    },
    /// A supernode does not know this.
    Hint(Unknown),
    /// The answer to an initiation of another version.
    OtherVersion {
        /// The version that is spoken there.
        version: u8,
        /// The sender's index in the initiation.
        index: SessionIndex,
    },
    /// From a node to its supernode: to be passed on to another supernode.
    Forward {
        supernode: SupernodeTag,
        destination: RelayIndex,
        source: RelayIndex,
        inner: &'a [u8],
    },
    /// To everybody on a link.
    Beacon(Beacon<'a>),
    /// From one supernode to another, and from that one to its node; never passed on to a third. Named is the first one.
    Passed {
        supernode: SupernodeTag,
        destination: RelayIndex,
        source: RelayIndex,
        inner: &'a [u8],
    },
}

impl<'a> Datagram<'a> {
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        let [kind, second, third, fourth] = reader.array()?;
        Ok(match kind {
            INITIATION => Self::Initiation {
                version: second,
                sender: SessionIndex(reader.u32()?),
            },
            RESPONSE => Self::Response {
                version: second,
                receiver: SessionIndex(reader.u32()?),
                sender: SessionIndex(reader.u32()?),
                message: reader.rest(),
            },
            DATA => Self::Data {
                receiver: SessionIndex(reader.u32()?),
                counter: reader.u64()?,
            },
            RELAY => Self::Relay {
                destination: RelayTarget::Index(RelayIndex(reader.u32()?)),
                source: RelayIndex(reader.u32()?),
                inner: reader.rest(),
            },
            RELAY_FIRST => Self::Relay {
                destination: RelayTarget::Node(NodeId::from_bytes(reader.array()?)),
                source: RelayIndex(reader.u32()?),
                inner: reader.rest(),
            },
            HINT => match second {
                UNKNOWN_REGISTRATION => Self::Hint(Unknown::Registration(RelayIndex(reader.u32()?))),
                UNKNOWN_DESTINATION => Self::Hint(Unknown::Destination(RelayIndex(reader.u32()?))),
                UNKNOWN_SESSION => Self::Hint(Unknown::Session(SessionIndex(reader.u32()?))),
                OTHER_VERSION => Self::OtherVersion {
                    version: third,
                    index: SessionIndex(reader.u32()?),
                },
                _ => return Err(Malformed),
            },
            FORWARD => Self::Forward {
                supernode: SupernodeTag([second, third, fourth]),
                destination: RelayIndex(reader.u32()?),
                source: RelayIndex(reader.u32()?),
                inner: reader.rest(),
            },
            PASSED => Self::Passed {
                supernode: SupernodeTag([second, third, fourth]),
                destination: RelayIndex(reader.u32()?),
                source: RelayIndex(reader.u32()?),
                inner: reader.rest(),
            },
            COOKIE => Self::Cookie {
                version: second,
                receiver: SessionIndex(reader.u32()?),
            },
            BEACON => Self::Beacon(Beacon::parse(bytes)?),
            _ => return Err(Malformed),
        })
    }

    /// Whether [`Self::parse`] finds a data datagram: asked of everything that a supernode passes on.
    pub(crate) fn is_data(bytes: &[u8]) -> bool {
        bytes.len() >= DATA_HEADER && bytes[0] == DATA
    }

    /// Whether this is a message of a handshake.
    pub(crate) fn is_handshake(&self) -> bool {
        matches!(
            self,
            Self::Initiation { .. } | Self::Response { .. } | Self::Cookie { .. }
        )
    }
}

pub(crate) fn put_initiation(bytes: &mut Vec<u8>, sender: SessionIndex) {
    bytes.extend_from_slice(&[INITIATION, VERSION, 0, 0]);
    bytes.extend_from_slice(&sender.0.to_be_bytes());
}

pub(crate) fn put_response(bytes: &mut Vec<u8>, receiver: SessionIndex, sender: SessionIndex) {
    bytes.extend_from_slice(&[RESPONSE, VERSION, 0, 0]);
    bytes.extend_from_slice(&receiver.0.to_be_bytes());
    bytes.extend_from_slice(&sender.0.to_be_bytes());
}

/// What a cookie's nonce and the sealed cookie follow.
pub(crate) fn put_cookie(bytes: &mut Vec<u8>, receiver: SessionIndex) {
    bytes.extend_from_slice(&[COOKIE, VERSION, 0, 0]);
    bytes.extend_from_slice(&receiver.0.to_be_bytes());
}

pub(crate) fn put_data(bytes: &mut Vec<u8>, receiver: SessionIndex, counter: u64) {
    bytes.extend_from_slice(&[DATA, 0, 0, 0]);
    bytes.extend_from_slice(&receiver.0.to_be_bytes());
    bytes.extend_from_slice(&counter.to_be_bytes());
}

pub(crate) fn put_relay(bytes: &mut Vec<u8>, destination: RelayTarget, source: RelayIndex) {
    match destination {
        RelayTarget::Index(index) => bytes.extend_from_slice(&relay_header(index, source)),
        RelayTarget::Node(node) => {
            bytes.extend_from_slice(&[RELAY_FIRST, 0, 0, 0]);
            bytes.extend_from_slice(node.as_bytes());
            bytes.extend_from_slice(&source.0.to_be_bytes());
        }
        RelayTarget::Remote { supernode, index } => {
            bytes.extend_from_slice(&header(FORWARD, supernode.0, index, source));
        }
    }
}

/// What stands before a relayed datagram in the short form.
pub(crate) fn relay_header(destination: RelayIndex, source: RelayIndex) -> [u8; RELAY_HEADER] {
    header(RELAY, [0; 3], destination, source)
}

/// What stands before a datagram passed on from supernode `origin`.
pub(crate) fn passed_header(origin: SupernodeTag, destination: RelayIndex, source: RelayIndex) -> [u8; RELAY_HEADER] {
    header(PASSED, origin.0, destination, source)
}

fn header(kind: u8, [a, b, c]: [u8; 3], destination: RelayIndex, source: RelayIndex) -> [u8; RELAY_HEADER] {
    let [d0, d1, d2, d3] = destination.0.to_be_bytes();
    let [s0, s1, s2, s3] = source.0.to_be_bytes();
    [kind, a, b, c, d0, d1, d2, d3, s0, s1, s2, s3]
}

pub(crate) fn put_hint(bytes: &mut Vec<u8>, unknown: Unknown) {
    let (what, index) = match unknown {
        Unknown::Registration(RelayIndex(index)) => (UNKNOWN_REGISTRATION, index),
        Unknown::Destination(RelayIndex(index)) => (UNKNOWN_DESTINATION, index),
        Unknown::Session(SessionIndex(index)) => (UNKNOWN_SESSION, index),
    };
    bytes.extend_from_slice(&[HINT, what, 0, 0]);
    bytes.extend_from_slice(&index.to_be_bytes());
}

/// Answers an initiation of another version whose sender index was `index`.
pub(crate) fn put_other_version(bytes: &mut Vec<u8>, index: SessionIndex) {
    bytes.extend_from_slice(&[HINT, OTHER_VERSION, VERSION, 0]);
    bytes.extend_from_slice(&index.0.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_kind_comes_back() {
        let mut bytes = Vec::new();
        put_initiation(&mut bytes, SessionIndex(7));
        bytes.extend_from_slice(b"one");
        let expected = Datagram::Initiation {
            version: VERSION,
            sender: SessionIndex(7),
        };
        assert_eq!(Datagram::parse(&bytes), Ok(expected));

        bytes.clear();
        put_cookie(&mut bytes, SessionIndex(7));
        let (version, receiver) = (VERSION, SessionIndex(7));
        assert_eq!(Datagram::parse(&bytes), Ok(Datagram::Cookie { version, receiver }));

        bytes.clear();
        put_response(&mut bytes, SessionIndex(7), SessionIndex(8));
        let (receiver, sender) = (SessionIndex(7), SessionIndex(8));
        let expected = Datagram::Response {
            version: VERSION,
            receiver,
            sender,
            message: b"",
        };
        assert_eq!(Datagram::parse(&bytes), Ok(expected));

        bytes.clear();
        put_data(&mut bytes, SessionIndex(9), 0x0102_0304_0506_0708);
        assert_eq!(bytes.len(), DATA_HEADER);
        let expected = Datagram::Data {
            receiver: SessionIndex(9),
            counter: 0x0102_0304_0506_0708,
        };
        assert_eq!(Datagram::parse(&bytes), Ok(expected));

        for destination in [
            RelayTarget::Index(RelayIndex(3)),
            RelayTarget::Node(NodeId::from_bytes([5; 16])),
        ] {
            bytes.clear();
            put_relay(&mut bytes, destination, RelayIndex(4));
            bytes.extend_from_slice(b"inner");
            let expected = Datagram::Relay {
                destination,
                source: RelayIndex(4),
                inner: b"inner",
            };
            assert_eq!(Datagram::parse(&bytes), Ok(expected));
        }

        let supernode = SupernodeTag([7, 8, 9]);
        let (destination, source) = (RelayIndex(3), RelayIndex(4));
        bytes.clear();
        let index = destination;
        put_relay(&mut bytes, RelayTarget::Remote { supernode, index }, source);
        assert_eq!(bytes.len(), RELAY_HEADER);
        bytes.extend_from_slice(b"inner");
        let expected = Datagram::Forward {
            supernode,
            destination,
            source,
            inner: b"inner",
        };
        assert_eq!(Datagram::parse(&bytes), Ok(expected));

        bytes.clear();
        bytes.extend_from_slice(&passed_header(supernode, destination, source));
        assert_eq!(bytes.len(), RELAY_HEADER);
        bytes.extend_from_slice(b"inner");
        let expected = Datagram::Passed {
            supernode,
            destination,
            source,
            inner: b"inner",
        };
        assert_eq!(Datagram::parse(&bytes), Ok(expected));

        for unknown in [
            Unknown::Registration(RelayIndex(4)),
            Unknown::Session(SessionIndex(5)),
            Unknown::Destination(RelayIndex(6)),
        ] {
            bytes.clear();
            put_hint(&mut bytes, unknown);
            assert_eq!(Datagram::parse(&bytes), Ok(Datagram::Hint(unknown)));
        }

        bytes.clear();
        put_other_version(&mut bytes, SessionIndex(6));
        let (version, index) = (VERSION, SessionIndex(6));
        assert_eq!(Datagram::parse(&bytes), Ok(Datagram::OtherVersion { version, index }));
    }

    proptest! {
        #[test]
        fn any_bytes_parse_or_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let parsed = Datagram::parse(&bytes);
            let shortest = match bytes.first() {
                Some(1 | 9) => 8,
                Some(6) if bytes.get(1).is_some_and(|what| *what > 3) => usize::MAX,
                Some(6) => 8,
                Some(2 | 4 | 7 | 8) => 12,
                Some(3) => 16,
                Some(5) => 24,
                // The tests of `beacon` say which lengths it has.
                _ => usize::MAX,
            };
            prop_assert_eq!(parsed.is_ok(), bytes.len() >= shortest);
        }
    }
}
