//! What stands in a copy with a signature.
//!
//! ```text
//! mutable    level 1 | budget 1 | tags n 1 | tag 2 × n | forwarders m 1 | token 16, both if the budget is not 0
//! signed     network 8 | origin key 32 | time 8 | anchor 16 | ceiling 1 | port 2 | frame …
//! signature  64
//! ```
//! *level* is 1 to 3. With a budget of 0 there are no tags; a copy of level 3 has a budget of 0. The first m tags are those of the
//! **forwarders**, whom the origin let send the broadcast on; *anchor* is the hash of these and the token. *time* is the origin's clock, in
//! milliseconds since 1970, and never the same twice. *ceiling* is 1 to 192. *port* is that of a UDP broadcast, and 0 for anything
//! else. The frame goes to a group and is the rest before the signature, without padding. So a copy that goes no further has 148
//! bytes beside what the frame has behind its Ethernet header, and none has more than 309.
//!
//! The *id* of a broadcast is the first 8 bytes of SHA-512([`ID_DOMAIN`] ‖ signed), as a big-endian number. It never stands in such
//! a copy: nobody can name another's broadcast before it came.

use farlan_crypto::{NodeId, hash::sha512};
use farlan_netconf::{Mac, Reader};
use thiserror::Error;

use crate::{ChannelOf, MAX_CEILING};

/// Separates the signatures of broadcasts from all others.
pub const SIGNING_DOMAIN: &[u8] = b"farlan broadcast 2";

/// Separates the ids of broadcasts from all other hashes.
pub const ID_DOMAIN: &[u8] = b"farlan broadcast id 2";

/// Separates anchors from all other hashes.
pub const ANCHOR_DOMAIN: &[u8] = b"farlan broadcast anchor 2";

/// The most tags in a copy: without them a third of the copies would go to members that have the broadcast already.
pub const MAX_TAGS: usize = 72;

/// The most whom an origin lets send a broadcast on: as many as it has active contacts that get a copy.
pub(crate) const MAX_FORWARDERS: usize = 64;

/// The signed part before the frame.
pub(crate) const SIGNED_HEADER: usize = 67;

/// The signature.
pub(crate) const SIGNATURE: usize = 64;

/// An Ethernet header, and the largest MTU with two VLAN tags.
const FRAME_LENGTHS: std::ops::RangeInclusive<usize> = 14..=9022;

/// The bytes are no broadcast.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the bytes are no broadcast")]
pub struct Malformed;

/// A copy, as it stands in the bytes. Nothing of it is authentic before the signature is checked, and the mutable part never.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    level: u8,
    budget: u8,
    tags: &'a [[u8; 2]],
    /// How many tags are forwarders', and the token.
    right: Option<(u8, [u8; 16])>,
    sealed: Sealed<&'a [u8]>,
}

impl<'a> Message<'a> {
    /// Reads a copy.
    ///
    /// # Errors
    /// [`Malformed`], if anything is not as it is written.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        let [level, budget, count] = reader.array().map_err(|_| Malformed)?;
        let count = usize::from(count);
        let most = match (level, budget) {
            (1..=3, 0) => 0,
            (1..=2, _) => MAX_TAGS,
            _ => return Err(Malformed),
        };
        let (tags, rest) = bytes[3..].split_at_checked(2 * count).ok_or(Malformed)?;
        let (tags, []) = tags.as_chunks() else {
            return Err(Malformed);
        };
        let (right, rest) = if budget > 0 {
            let (forwarders, rest) = rest.split_first().ok_or(Malformed)?;
            let (token, rest) = rest.split_first_chunk().ok_or(Malformed)?;
            (Some((*forwarders, *token)), rest)
        } else {
            (None, rest)
        };
        let forwarders = right.map_or(0, |(forwarders, _)| usize::from(forwarders));
        if count > most || forwarders > count.min(MAX_FORWARDERS) {
            return Err(Malformed);
        }
        let sealed = Sealed::read(rest)?;
        Ok(Self {
            level,
            budget,
            tags,
            right,
            sealed,
        })
    }

    /// The level that the copy claims.
    #[must_use]
    pub const fn level(&self) -> u8 {
        self.level
    }

    /// The deliveries that the copy says it may cause.
    #[must_use]
    pub const fn budget(&self) -> u8 {
        self.budget
    }

    /// Members that have it already, or are sent it.
    pub fn tags(&self) -> impl Iterator<Item = u16> {
        self.tags.iter().map(|tag| u16::from_be_bytes(*tag))
    }

    /// So many of the tags, the first ones, are those of whom the origin let send it on, and the token that comes with them. They
    /// are what its origin signed if [`anchor_of`] them is the anchor.
    #[must_use]
    pub const fn right(&self) -> Option<(u8, [u8; 16])> {
        self.right
    }

    /// The signed part and the signature.
    pub(crate) const fn sealed(&self) -> Sealed<&'a [u8]> {
        self.sealed
    }

    /// The broadcast's id.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.sealed.id()
    }

    /// How the id of the network begins that it is signed for.
    #[must_use]
    pub fn network(&self) -> [u8; 8] {
        *self.sealed.network()
    }

    /// Its origin's clock, in milliseconds since 1970.
    #[must_use]
    pub fn time(&self) -> u64 {
        self.sealed.time()
    }

    /// The origin's key.
    #[must_use]
    pub fn key(&self) -> [u8; 32] {
        *self.sealed.key()
    }

    /// The most deliveries that its origin let the broadcast cause.
    #[must_use]
    pub fn ceiling(&self) -> u8 {
        self.sealed.ceiling()
    }

    /// The channel.
    #[must_use]
    pub fn channel(&self) -> ChannelOf {
        self.sealed.channel()
    }

    /// The frame.
    #[must_use]
    pub fn frame(&self) -> &[u8] {
        self.sealed.frame()
    }
}

/// The signed part and the signature, which do not change on the way. What made one has looked at all fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sealed<B>(B);

/// What an origin signs, but for the frame.
#[derive(Debug)]
pub(crate) struct Header {
    pub(crate) network: [u8; 8],
    pub(crate) key: [u8; 32],
    pub(crate) time: u64,
    pub(crate) anchor: [u8; 16],
    pub(crate) ceiling: u8,
    pub(crate) port: u16,
}

impl<'a> Sealed<&'a [u8]> {
    fn read(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let frame = bytes.len().checked_sub(SIGNED_HEADER + SIGNATURE).ok_or(Malformed)?;
        let sealed = Self(bytes);
        let channel = sealed.channel();
        let holds = FRAME_LENGTHS.contains(&frame)
            && (1..=MAX_CEILING).contains(&sealed.ceiling())
            && channel.group.is_group()
            && (channel.port == 0 || channel.group == Mac::BROADCAST);
        holds.then_some(sealed).ok_or(Malformed)
    }

    /// The bytes, to be kept.
    pub(crate) fn keep<B: From<&'a [u8]>>(self) -> Sealed<B> {
        Sealed(B::from(self.0))
    }
}

impl Sealed<Vec<u8>> {
    /// What an origin sends, with `sign` over the signed part; none if the frame cannot be broadcast.
    pub(crate) fn make(header: &Header, frame: &[u8], sign: impl FnOnce(&[u8]) -> [u8; 64]) -> Option<(Self, u64)> {
        let mut bytes = Vec::with_capacity(SIGNED_HEADER + frame.len() + SIGNATURE);
        bytes.extend_from_slice(&header.network);
        bytes.extend_from_slice(&header.key);
        bytes.extend_from_slice(&header.time.to_be_bytes());
        bytes.extend_from_slice(&header.anchor);
        bytes.push(header.ceiling);
        bytes.extend_from_slice(&header.port.to_be_bytes());
        bytes.extend_from_slice(frame);
        let id = id_of(&bytes);
        let signature = sign(&bytes);
        bytes.extend_from_slice(&signature);
        Sealed::read(&bytes).ok()?;
        Some((Self(bytes), id))
    }

    pub(crate) fn share<B: From<Vec<u8>>>(self) -> Sealed<B> {
        Sealed(B::from(self.0))
    }
}

impl<B: AsRef<[u8]>> Sealed<B> {
    pub(crate) fn bytes(&self) -> &[u8] {
        self.0.as_ref()
    }

    fn array<const N: usize>(&self, from: usize) -> &[u8; N] {
        const { assert!(N <= SIGNED_HEADER + SIGNATURE) };
        self.bytes()[from..].first_chunk().unwrap_or(&[0; N])
    }

    pub(crate) fn network(&self) -> &[u8; 8] {
        self.array(0)
    }

    pub(crate) fn key(&self) -> &[u8; 32] {
        self.array(8)
    }

    pub(crate) fn time(&self) -> u64 {
        u64::from_be_bytes(*self.array(40))
    }

    pub(crate) fn anchor(&self) -> &[u8; 16] {
        self.array(48)
    }

    /// What the tags of this broadcast are made with.
    pub(crate) fn salt(&self) -> u64 {
        salt_of(self.key(), self.time())
    }

    pub(crate) fn ceiling(&self) -> u8 {
        self.bytes()[64]
    }

    pub(crate) fn channel(&self) -> ChannelOf {
        ChannelOf {
            group: Mac::from_bytes(*self.array(SIGNED_HEADER)),
            port: u16::from_be_bytes(*self.array(65)),
        }
    }

    pub(crate) fn frame(&self) -> &[u8] {
        &self.signed()[SIGNED_HEADER..]
    }

    pub(crate) fn signed(&self) -> &[u8] {
        &self.bytes()[..self.bytes().len() - SIGNATURE]
    }

    pub(crate) fn signature(&self) -> &[u8; 64] {
        self.array(self.bytes().len() - SIGNATURE)
    }

    pub(crate) fn id(&self) -> u64 {
        id_of(self.signed())
    }
}

/// Appends what may change on the way. Without a budget there are neither tags nor a token.
pub(crate) fn put_mutable(
    out: &mut Vec<u8>,
    level: u8,
    budget: u8,
    tags: &[u16],
    (forwarders, token): (u8, &[u8; 16]),
) {
    let tags = if budget > 0 { tags } else { &[] };
    let count = u8::try_from(tags.len()).unwrap_or(u8::MAX);
    out.extend_from_slice(&[level, budget, count]);
    for tag in tags {
        out.extend_from_slice(&tag.to_be_bytes());
    }
    if budget > 0 {
        out.push(forwarders);
        out.extend_from_slice(token);
    }
}

fn id_of(signed: &[u8]) -> u64 {
    first_u64(&sha512(&[ID_DOMAIN, signed]))
}

/// The anchor of a token and the tags of the forwarders: what an origin signs, so that what comes with both by one of these is a copy
/// of level 2. The token keeps the right from whoever got no share, the tags from whoever is given the token by a liar.
#[must_use]
pub fn anchor_of(token: &[u8; 16], forwarders: &[u16]) -> [u8; 16] {
    let tags: Vec<u8> = forwarders.iter().flat_map(|tag| tag.to_be_bytes()).collect();
    let digest = sha512(&[ANCHOR_DOMAIN, token, &tags]);
    let mut anchor = [0; 16];
    anchor.copy_from_slice(&digest[..16]);
    anchor
}

/// What the tags of the broadcast of that origin and time are made with: known before it is whole, and another for each.
#[must_use]
pub fn salt_of(key: &[u8; 32], time: u64) -> u64 {
    mix(time ^ first_u64(key))
}

/// The tag of a node in a broadcast with that salt: the first 16 bits of `mix(mix(salt ^ first half) ^ second half)` of its node id, as
/// big-endian numbers. Where two have the same one of them may miss the broadcast by this way; in another broadcast they will not.
#[must_use]
pub fn tag_of(salt: u64, node: &NodeId) -> u16 {
    let ([first, second], _) = node.as_bytes().as_chunks::<8>() else {
        return 0;
    };
    let mixed = mix(mix(salt ^ u64::from_be_bytes(*first)) ^ u64::from_be_bytes(*second));
    u16::try_from(mixed >> 48).unwrap_or(0)
}

/// The finishing step of the generator SplitMix64, by Steele, Lea and Flood. Tags are no secret: they need only be spread.
const fn mix(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

fn first_u64(digest: &[u8]) -> u64 {
    let mut first = [0; 8];
    first.copy_from_slice(&digest[..8]);
    u64::from_be_bytes(first)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(group: [u8; 6], payload: &[u8]) -> Vec<u8> {
        [&group[..], &[2, 0, 0, 0, 0, 1, 8, 0], payload].concat()
    }

    #[test]
    fn a_message_is_what_the_description_says() {
        let header = Header {
            network: [1; 8],
            key: [2; 32],
            time: 0x0102_0304_0506_0708,
            anchor: anchor_of(&[4; 16], &[0xaabb]),
            ceiling: 192,
            port: 0x1234,
        };
        let frame = frame([0xff; 6], b"payload");
        let (sealed, id) = Sealed::make(&header, &frame, |signed| [u8::try_from(signed.len()).unwrap(); 64]).unwrap();
        let mut bytes = Vec::new();
        put_mutable(&mut bytes, 2, 5, &[0xaabb, 0xccdd], (1, &[4; 16]));
        bytes.extend_from_slice(sealed.bytes());
        let mut expected = vec![2, 5, 2, 0xaa, 0xbb, 0xcc, 0xdd, 1];
        expected.extend_from_slice(&[4; 16]);
        expected.extend_from_slice(&[1; 8]);
        expected.extend_from_slice(&[2; 32]);
        expected.extend_from_slice(&[1, 2, 3, 4, 5, 6, 7, 8]);
        expected.extend_from_slice(&sha512(&[b"farlan broadcast anchor 2", &[4; 16], &[0xaa, 0xbb]])[..16]);
        expected.extend_from_slice(&[192, 0x12, 0x34]);
        expected.extend_from_slice(&frame);
        let signed = expected[24..].to_vec();
        expected.extend_from_slice(&[88; 64]);
        assert_eq!(bytes, expected);
        let message = Message::parse(&bytes).unwrap();
        assert_eq!(message.id(), id);
        assert_eq!(id.to_be_bytes(), sha512(&[b"farlan broadcast id 2", &signed])[..8]);
        assert_eq!(message.channel().port, 0x1234);
    }

    #[test]
    fn tags_are_spread_and_differ_from_one_message_to_the_next() {
        let nodes = (0..=255_u8).map(|number| NodeId::of_key(&[number; 32]));
        let tags: std::collections::BTreeSet<_> = nodes.clone().map(|node| tag_of(1, &node)).collect();
        assert!(tags.len() >= 253);
        assert!(nodes.filter(|node| tag_of(1, node) == tag_of(2, node)).count() <= 2);
        let fixed = NodeId::from_bytes(*b"0123456789abcdef");
        assert_eq!(tag_of(0x0011_2233_4455_6677, &fixed), TAG);
    }

    /// Computed by another program.
    const TAG: u16 = 0x661a;

    prop_compose! {
        fn any_message()(
            level in 1_u8..=3,
            budget: u8,
            tags in proptest::collection::vec(any::<u16>(), 0..=MAX_TAGS),
            (token, network, key, time, part) in any::<([u8; 16], [u8; 8], [u8; 32], u64, u8)>(),
            ceiling in 1_u8..=MAX_CEILING,
            port: u16,
            group in prop_oneof![Just([0xff; 6]), Just([1, 0, 0x5e, 1, 2, 3])],
            payload in proptest::collection::vec(any::<u8>(), 0..300),
        ) -> (u8, u8, Vec<u16>, (u8, [u8; 16]), Header, Vec<u8>) {
            let budget = if level == 3 { 0 } else { budget };
            let tags = if budget == 0 { Vec::new() } else { tags };
            let port = if group == [0xff; 6] { port } else { 0 };
            let forwarders = part % u8::try_from(tags.len().min(MAX_FORWARDERS) + 1).unwrap();
            let anchor = anchor_of(&token, &tags[..forwarders.into()]);
            let header = Header { network, key, time, anchor, ceiling, port };
            (level, budget, tags, (forwarders, token), header, frame(group, &payload))
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_and_nothing_that_is_cut(
            (level, budget, tags, (forwarders, token), header, frame) in any_message(),
        ) {
            let (sealed, id) = Sealed::make(&header, &frame, |_| [9; 64]).unwrap();
            let mut bytes = Vec::new();
            put_mutable(&mut bytes, level, budget, &tags, (forwarders, &token));
            bytes.extend_from_slice(sealed.bytes());
            let message = Message::parse(&bytes).unwrap();
            prop_assert_eq!((message.level(), message.budget()), (level, budget));
            prop_assert_eq!(message.tags().collect::<Vec<_>>(), tags);
            prop_assert_eq!(message.right(), Some((forwarders, token)).filter(|_| budget > 0));
            prop_assert_eq!((message.id(), message.key(), message.ceiling()), (id, header.key, header.ceiling));
            prop_assert_eq!(message.frame(), &frame);
            prop_assert_eq!(message.channel().port, header.port);
            let inner = message.sealed();
            prop_assert_eq!(inner.time(), header.time);
            prop_assert_eq!(inner.network(), &header.network);
            prop_assert_eq!(inner.anchor(), &header.anchor);
            prop_assert_eq!(inner.signature(), &[9; 64]);
            // The frame is the rest: what is cut of it only shows by the signature. Whatever is left must have a whole header.
            let least = bytes.len() - frame.len() + 14;
            for length in 0..least {
                prop_assert_eq!(Message::parse(&bytes[..length]), Err(Malformed));
            }
        }

        #[test]
        fn anything_is_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..400), level in 0_u8..5) {
            let mut bytes = bytes;
            if let Some(first) = bytes.first_mut() {
                *first = level;
            }
            if let Ok(message) = Message::parse(&bytes) {
                let mut written = Vec::new();
                let tags: Vec<_> = message.tags().collect();
                let (forwarders, token) = message.right().unwrap_or_default();
                put_mutable(&mut written, message.level(), message.budget(), &tags, (forwarders, &token));
                written.extend_from_slice(message.sealed().bytes());
                prop_assert_eq!(written, bytes);
            }
        }
    }
}
