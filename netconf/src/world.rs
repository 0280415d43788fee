//! Worlds: signed lists of the supernodes through which nodes meet.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use farlan_crypto::{BadSignature, Identity, KeyError, PublicKey, Signature, Work, defects::planted, hash};
use thiserror::Error;

use crate::base32::{self, IdError};
use crate::codec::{CodecError, Reader};
use crate::endpoint::{Endpoint, EndpointError};

/// Separates world ids from all other hashes.
const ID_DOMAIN: &[u8] = b"farlan world id 1";
/// Separates signatures of worlds from all other signatures.
const SIGNATURE_DOMAIN: &[u8] = b"farlan world 1";

/// A signed list of supernodes, in one of its versions. A value exists only with a good signature of its operator.
///
/// Bytes:
/// ```text
/// operator key 32 | version 4 | number of supernodes 1 |
///     for each: key 32 | number of endpoints 1 | for each: protocol 1 | length of the host 1 | host | port 2
/// | signature 64
/// ```
/// The signature is the operator's, in the domain `"farlan world 1"`, over all bytes before it. The supernodes stand in
/// the order in which the operator wrote them, and no key stands twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct World {
    operator: PublicKey,
    version: u32,
    supernodes: Vec<Supernode>,
    signature: Signature,
}

/// A supernode as its world lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Supernode {
    /// The key by which it is recognised.
    pub key: PublicKey,
    /// 1 to 8 places where it can be reached, the preferred one first, at least one of them over UDP.
    pub endpoints: Vec<Endpoint>,
}

/// What stays the same in all versions of a world: the first 16 bytes of SHA-512(`"farlan world id 1"` ‖ operator key).
///
/// Text form: 26 letters of lower-case base32.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorldId([u8; 16]);

/// Why a list of supernodes is not a world.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum WorldError {
    /// The bytes are cut, or bytes follow the end.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// The world is larger than 16 KiB.
    #[error("a world has at most 16384 bytes, this one has {0}")]
    Size(usize),
    /// The key of the operator or of a supernode is not acceptable.
    #[error("a key in the world is not acceptable: {0}")]
    Key(#[from] KeyError),
    /// The operator did not sign these bytes.
    #[error("the signature of the world's operator is wrong")]
    Signature(#[from] BadSignature),
    /// Versions count from 1.
    #[error("the versions of a world count from 1")]
    Version,
    /// There are no supernodes, or more than 64.
    #[error("a world has 1 to 64 supernodes, not {0}")]
    Supernodes(usize),
    /// Two supernodes have the same key.
    #[error("a supernode stands twice in the world")]
    Repeated,
    /// A supernode has no endpoints, or more than 8.
    #[error("a supernode has 1 to 8 endpoints, not {0}")]
    Endpoints(usize),
    /// A supernode has no endpoint over UDP.
    #[error("a supernode has an endpoint over UDP; streams over TCP are for those whose UDP is blocked")]
    NoUdp,
    /// An endpoint is not acceptable.
    #[error(transparent)]
    Endpoint(EndpointError),
}

impl From<EndpointError> for WorldError {
    fn from(error: EndpointError) -> Self {
        match error {
            EndpointError::Codec(error) => Self::Codec(error),
            other => Self::Endpoint(other),
        }
    }
}

impl World {
    /// Most supernodes in a world.
    pub const MAX_SUPERNODES: usize = 64;
    /// Most endpoints of a supernode.
    pub const MAX_ENDPOINTS: usize = 8;
    /// Most bytes of an encoded world: room for 64 supernodes with 4 endpoints of 50 characters each.
    pub const MAX_SIZE: usize = 16 * 1024;

    /// Makes and signs a version of the world of `operator`.
    ///
    /// # Errors
    /// A version of 0, 0 or more than 64 supernodes, a repeated supernode, 0 or more than 8 endpoints of one, or a
    /// world above [`MAX_SIZE`](Self::MAX_SIZE).
    pub fn sign(operator: &Identity, version: u32, supernodes: Vec<Supernode>) -> Result<Self, WorldError> {
        check(version, &supernodes)?;
        let mut bytes = Vec::new();
        encode_unsigned(&operator.public(), version, &supernodes, &mut bytes);
        let size = bytes.len() + Signature::LENGTH;
        if size > Self::MAX_SIZE {
            return Err(WorldError::Size(size));
        }
        Ok(Self {
            operator: operator.public(),
            version,
            supernodes,
            signature: operator.sign(SIGNATURE_DOMAIN, &bytes),
        })
    }

    /// The id of the world.
    #[must_use]
    pub fn id(&self) -> WorldId {
        WorldId::of(&self.operator)
    }

    /// The key that signs the versions of this world. It carries no work stamp.
    #[must_use]
    pub fn operator(&self) -> &PublicKey {
        &self.operator
    }

    /// The version, from 1 upwards: of two versions the higher one is in force.
    #[must_use]
    pub fn version(&self) -> u32 {
        self.version
    }

    /// The 1 to 64 supernodes, in the operator's order.
    #[must_use]
    pub fn supernodes(&self) -> &[Supernode] {
        &self.supernodes
    }

    /// The bytes drawn at the type, signature included.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        encode_unsigned(&self.operator, self.version, &self.supernodes, &mut bytes);
        bytes.extend_from_slice(self.signature.as_bytes());
        bytes
    }

    /// Reads and verifies what [`encode`](Self::encode) writes. The keys of supernodes must carry `work`.
    ///
    /// The signature is checked before anything but the operator's key is looked at.
    ///
    /// # Errors
    /// Anything that [`sign`](Self::sign) and `encode` would not have written.
    pub fn decode(bytes: &[u8], work: Work) -> Result<Self, WorldError> {
        Self::read(bytes, work, |operator, signed, signature| {
            if planted("world-unsigned") {
                return Ok(());
            }
            operator.verify(SIGNATURE_DOMAIN, signed, signature)
        })
    }

    /// The same without a look at the signature, which takes the fuzzers too long.
    ///
    /// # Errors
    /// As [`Self::decode`], but for the signature.
    #[cfg(any(test, feature = "fuzzing"))]
    pub fn unverified(bytes: &[u8], work: Work) -> Result<Self, WorldError> {
        Self::read(bytes, work, |_, _, _| Ok(()))
    }

    fn read(
        bytes: &[u8],
        work: Work,
        verify: impl FnOnce(&PublicKey, &[u8], &Signature) -> Result<(), BadSignature>,
    ) -> Result<Self, WorldError> {
        if bytes.len() > Self::MAX_SIZE {
            return Err(WorldError::Size(bytes.len()));
        }
        let (signed, signature) = bytes
            .split_last_chunk::<{ Signature::LENGTH }>()
            .ok_or(CodecError::Truncated)?;
        let signature = Signature::from_bytes(*signature);
        let mut reader = Reader::new(signed);
        let operator = PublicKey::from_bytes(&reader.array()?, Work::NONE)?;
        verify(&operator, signed, &signature)?;
        let version = reader.u32()?;
        let count = reader.u8()?;
        let mut supernodes = Vec::new();
        for _ in 0..count {
            supernodes.push(Supernode::decode(&mut reader, work)?);
        }
        reader.finish()?;
        check(version, &supernodes)?;
        Ok(Self {
            operator,
            version,
            supernodes,
            signature,
        })
    }
}

impl Supernode {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.key.as_bytes());
        // `check` allows 8 endpoints.
        out.push(self.endpoints.len() as u8);
        for endpoint in &self.endpoints {
            endpoint.encode(out);
        }
    }

    fn decode(reader: &mut Reader<'_>, work: Work) -> Result<Self, WorldError> {
        let key = PublicKey::from_bytes(&reader.array()?, work)?;
        let count = reader.u8()?;
        let mut endpoints = Vec::new();
        for _ in 0..count {
            endpoints.push(Endpoint::decode(reader)?);
        }
        Ok(Self { key, endpoints })
    }
}

impl WorldId {
    /// The id of the world of this operator.
    #[must_use]
    pub fn of(operator: &PublicKey) -> Self {
        let digest = hash::sha512(&[ID_DOMAIN, operator.as_bytes()]);
        let mut id = [0; 16];
        id.copy_from_slice(&digest[..16]);
        Self(id)
    }

    /// The id made of these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The 16 bytes of the id.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for WorldId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&base32::encode(&self.0))
    }
}

impl fmt::Debug for WorldId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WorldId({self})")
    }
}

impl FromStr for WorldId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        base32::decode(text).map(Self)
    }
}

/// The rules that hold for the content of every world.
fn check(version: u32, supernodes: &[Supernode]) -> Result<(), WorldError> {
    if version == 0 {
        return Err(WorldError::Version);
    }
    if !(1..=World::MAX_SUPERNODES).contains(&supernodes.len()) {
        return Err(WorldError::Supernodes(supernodes.len()));
    }
    let mut keys = BTreeSet::new();
    for supernode in supernodes {
        if !keys.insert(supernode.key) {
            return Err(WorldError::Repeated);
        }
        if !(1..=World::MAX_ENDPOINTS).contains(&supernode.endpoints.len()) {
            return Err(WorldError::Endpoints(supernode.endpoints.len()));
        }
        if supernode.endpoints.iter().all(Endpoint::is_tcp) {
            return Err(WorldError::NoUdp);
        }
    }
    Ok(())
}

/// Appends all that the signature covers.
fn encode_unsigned(operator: &PublicKey, version: u32, supernodes: &[Supernode], out: &mut Vec<u8>) {
    out.extend_from_slice(operator.as_bytes());
    out.extend_from_slice(&version.to_be_bytes());
    // `check` allows 64 supernodes.
    out.push(supernodes.len() as u8);
    for supernode in supernodes {
        supernode.encode(out);
    }
}

#[cfg(test)]
mod tests {
    use farlan_crypto::Seed;
    use proptest::prelude::*;

    use super::*;

    fn identity(number: u8) -> Identity {
        Identity::from_seed(Seed::from_bytes([number; 32]), Work::NONE).unwrap()
    }

    fn supernode(number: u8, endpoints: &[&str]) -> Supernode {
        Supernode {
            key: identity(number).public(),
            endpoints: endpoints.iter().map(|e| e.parse().unwrap()).collect(),
        }
    }

    fn small() -> World {
        let supernodes = vec![
            supernode(2, &["203.0.113.5:9600", "[2001:db8::5]:9600", "tcp/203.0.113.5:443"]),
            supernode(3, &["super.example.org:443", "tcp/super.example.org:443"]),
        ];
        World::sign(&identity(1), 7, supernodes).unwrap()
    }

    /// The bytes of a world with any content, with a good signature.
    fn signed(version: u32, supernodes: &[Supernode], more: &[u8]) -> Vec<u8> {
        let operator = identity(1);
        let mut bytes = Vec::new();
        encode_unsigned(&operator.public(), version, supernodes, &mut bytes);
        bytes.extend_from_slice(more);
        let signature = operator.sign(SIGNATURE_DOMAIN, &bytes);
        bytes.extend_from_slice(signature.as_bytes());
        bytes
    }

    #[test]
    fn a_world_round_trips() {
        let world = small();
        let bytes = world.encode();
        let decoded = World::decode(&bytes, Work::NONE).unwrap();
        assert_eq!(decoded, world);
        assert_eq!(decoded.encode(), bytes);
        assert_eq!(decoded.id(), WorldId::of(&identity(1).public()));
        assert_eq!((decoded.version(), decoded.supernodes().len()), (7, 2));
        assert_eq!(world.id().to_string().parse(), Ok(world.id()));
    }

    #[test]
    fn every_cut_and_every_changed_bit_is_refused() {
        let bytes = small().encode();
        for length in 0..bytes.len() {
            assert!(World::decode(&bytes[..length], Work::NONE).is_err(), "{length}");
        }
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let error = World::decode(&changed, Work::NONE).unwrap_err();
            let in_key = bit < 32 * 8;
            let expected = matches!(error, WorldError::Signature(_)) || in_key && matches!(error, WorldError::Key(_));
            assert!(expected, "bit {bit}: {error}");
        }
        let longer = [&bytes[..], &[0]].concat();
        assert!(World::decode(&longer, Work::NONE).is_err());
    }

    #[test]
    fn another_operator_cannot_sign() {
        let own = small();
        let other = World::sign(&identity(9), 7, own.supernodes().to_vec()).unwrap();
        assert_ne!(own.id(), other.id());
        let mut bytes = own.encode();
        let at = bytes.len() - 64;
        bytes[at..].copy_from_slice(other.signature.as_bytes());
        assert_eq!(
            World::decode(&bytes, Work::NONE),
            Err(WorldError::Signature(BadSignature))
        );
    }

    #[test]
    fn keys_of_supernodes_carry_work_and_the_operator_does_not() {
        // None of these keys was made with work, and none has it by chance.
        let bytes = small().encode();
        assert_eq!(
            World::decode(&bytes, Work::REQUIRED),
            Err(WorldError::Key(KeyError::Work))
        );
    }

    #[test]
    fn the_rules_hold_when_signing_and_when_reading() {
        let one = || supernode(2, &["203.0.113.5:9600"]);
        let crowd = |count: u8| (10..10 + count).map(|n| supernode(n, &["a.org:1"])).collect();
        let nine = ["a.org:1"; 9];
        let long = format!("{}a.org:1", "abcdefg.".repeat(30));
        let huge: Vec<_> = (10..74).map(|n| supernode(n, &[long.as_str(); 2])).collect();
        let cases: Vec<(u32, Vec<Supernode>, WorldError)> = vec![
            (0, vec![one()], WorldError::Version),
            (1, vec![], WorldError::Supernodes(0)),
            (1, crowd(65), WorldError::Supernodes(65)),
            (1, vec![one(), one()], WorldError::Repeated),
            (1, vec![supernode(2, &[])], WorldError::Endpoints(0)),
            (1, vec![supernode(2, &nine)], WorldError::Endpoints(9)),
            (1, vec![supernode(2, &["tcp/a.org:1"])], WorldError::NoUdp),
        ];
        for (version, supernodes, error) in cases {
            let bytes = signed(version, &supernodes, &[]);
            assert_eq!(World::decode(&bytes, Work::NONE), Err(error.clone()));
            assert_eq!(World::sign(&identity(1), version, supernodes), Err(error));
        }
        let bytes = signed(1, &huge, &[]);
        assert_eq!(World::decode(&bytes, Work::NONE), Err(WorldError::Size(bytes.len())));
        assert_eq!(World::sign(&identity(1), 1, huge), Err(WorldError::Size(bytes.len())));
        assert_eq!(
            World::decode(&signed(1, &[one()], &[0]), Work::NONE),
            Err(CodecError::Trailing(1).into())
        );
        assert!(World::sign(&identity(1), 1, crowd(64)).is_ok());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn signed_rubbish_does_not_panic(rubbish in prop::collection::vec(any::<u8>(), 0..200)) {
            let operator = identity(1);
            let mut bytes = operator.public().as_bytes().to_vec();
            bytes.extend_from_slice(&rubbish);
            let signature = operator.sign(SIGNATURE_DOMAIN, &bytes);
            bytes.extend_from_slice(signature.as_bytes());
            if let Ok(world) = World::decode(&bytes, Work::NONE) {
                prop_assert_eq!(world.encode(), bytes);
            }
        }

        #[test]
        fn worlds_of_any_size_round_trip(version in 1u32.., counts in prop::collection::vec(1usize..=8, 1..=64)) {
            let supernodes = counts.iter().zip(10u8..).map(|(count, number)| Supernode {
                key: identity(number).public(),
                endpoints: (1..).map(|port| Endpoint::new("203.0.113.5", port).unwrap()).take(*count).collect(),
            }).collect();
            let world = World::sign(&identity(1), version, supernodes).unwrap();
            prop_assert_eq!(World::decode(&world.encode(), Work::NONE), Ok(world));
        }
    }
}
