//! Revocations: what the network key signed and takes back.

use std::collections::BTreeSet;

use farlan_crypto::{KeyPair, Signature, defects::planted, hash};

use super::{Credential, Delegation, DocumentError, Invalid, PrivateNetwork, Seconds};
use crate::codec::Reader;
use crate::network::NetworkId;

/// Separates signatures of revocations from all other signatures.
const SIGNATURE_DOMAIN: &[u8] = b"farlan revocation 1";
/// Separates digests of sets from all other hashes.
const DIGEST_DOMAIN: &[u8] = b"farlan revocations 1";

/// The kind byte of the revocation of a member.
const KIND_MEMBER: u8 = 1;
/// The kind byte of the revocation of a delegation.
const KIND_DELEGATION: u8 = 2;

/// That certificates or a delegation do not count any more. A value exists only with a good signature of the network key.
///
/// Bytes, of which the signature covers the network id and all that is before it:
/// ```text
/// kind 1 (1: member, 2: delegation) | key 32 | issue 8 | time 8 | signature 64
/// ```
/// The key is not looked at further: for what is no key there is nothing to revoke.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Revocation {
    network: NetworkId,
    bytes: [u8; Self::LENGTH],
}

/// What a revocation voids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Revoked {
    /// The certificates of a node with this issue or a lower one, those by invites (issue 0) included.
    Member {
        /// The node's key.
        node: [u8; 32],
        /// The highest issue that does not count any more.
        issue: u64,
    },
    /// All that was signed under the delegations of this key that are not newer than the revocation.
    Delegation {
        /// The key of the invite or of the renewing node.
        key: [u8; 32],
    },
}

/// The revocations of one network: a set that only grows, by union.
///
/// Bytes: `count 2 | revocations`, in the order of their bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocations {
    network: PrivateNetwork,
    set: BTreeSet<Revocation>,
}

impl Revocation {
    /// Bytes of a revocation.
    pub const LENGTH: usize = 113;

    /// Makes and signs a revocation in `network`.
    ///
    /// # Errors
    /// A key that is not the network's.
    pub fn sign(
        network: &PrivateNetwork,
        key: &KeyPair,
        revoked: Revoked,
        time: Seconds,
    ) -> Result<Self, DocumentError> {
        network.expect_key(key)?;
        let (kind, of, issue) = match revoked {
            Revoked::Member { node, issue } => (KIND_MEMBER, node, issue),
            Revoked::Delegation { key } => (KIND_DELEGATION, key, 0),
        };
        let mut bytes = [0; Self::LENGTH];
        bytes[0] = kind;
        bytes[1..33].copy_from_slice(&of);
        bytes[33..41].copy_from_slice(&issue.to_be_bytes());
        bytes[41..49].copy_from_slice(&time.get().to_be_bytes());
        let signature = key.sign(SIGNATURE_DOMAIN, &[network.id().as_bytes(), &bytes[..49]].concat());
        bytes[49..].copy_from_slice(signature.as_bytes());
        Ok(Self {
            network: network.id(),
            bytes,
        })
    }

    /// Reads and verifies the bytes drawn at the type.
    ///
    /// # Errors
    /// Anything that [`sign`](Self::sign) would not have made, and revocations of other networks.
    pub fn decode(bytes: &[u8; Self::LENGTH], network: &PrivateNetwork) -> Result<Self, DocumentError> {
        let revocation = Self::unverified(bytes, network)?;
        let (signed, signature) = super::split_signature(bytes)?;
        let signed = [network.id().as_bytes(), signed].concat();
        network.verify(SIGNATURE_DOMAIN, &signed, &signature)?;
        Ok(revocation)
    }

    /// The same without a look at the signature.
    fn unverified(bytes: &[u8; Self::LENGTH], network: &PrivateNetwork) -> Result<Self, DocumentError> {
        let revocation = Self {
            network: network.id(),
            bytes: *bytes,
        };
        match bytes[0] {
            KIND_MEMBER => Ok(revocation),
            KIND_DELEGATION if revocation.issue() == 0 => Ok(revocation),
            KIND_DELEGATION => Err(DocumentError::Issue),
            other => Err(DocumentError::Kind(other)),
        }
    }

    /// What it voids.
    #[must_use]
    pub fn revoked(&self) -> Revoked {
        let mut key = [0; 32];
        key.copy_from_slice(&self.bytes[1..33]);
        if self.bytes[0] == KIND_MEMBER {
            Revoked::Member {
                node: key,
                issue: self.issue(),
            }
        } else {
            Revoked::Delegation { key }
        }
    }

    /// When it was signed.
    #[must_use]
    pub fn time(&self) -> Seconds {
        Seconds::new(self.number(41))
    }

    /// The network that it is of.
    #[must_use]
    pub fn network(&self) -> NetworkId {
        self.network
    }

    /// The bytes drawn at the type.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; Self::LENGTH] {
        &self.bytes
    }

    fn issue(&self) -> u64 {
        self.number(33)
    }

    fn number(&self, at: usize) -> u64 {
        let mut number = [0; 8];
        number.copy_from_slice(&self.bytes[at..at + 8]);
        u64::from_be_bytes(number)
    }
}

impl Revocations {
    /// Most revocations in a set. Of more the newest ones stay.
    pub const MAX_COUNT: usize = 4096;
    /// Most bytes of an encoded set.
    pub const MAX_SIZE: usize = 2 + Self::MAX_COUNT * Revocation::LENGTH;
    /// How many of them stand in a [sealed document](super::SealedDocument): with 560, it has 63.4 KB.
    pub const SEALED_COUNT: usize = 560;

    /// The empty set of a network.
    #[must_use]
    pub fn new(network: PrivateNetwork) -> Self {
        Self {
            network,
            set: BTreeSet::new(),
        }
    }

    /// Reads and verifies what [`encode`](Self::encode) writes.
    ///
    /// # Errors
    /// Anything that `encode` would not have written, and revocations of other networks.
    pub fn decode(bytes: &[u8], network: &PrivateNetwork) -> Result<Self, DocumentError> {
        let mut revocations = Self::new(*network);
        revocations.merge_encoded(bytes)?;
        Ok(revocations)
    }

    /// Adds those in an encoded set, verifying what is new, and tells whether anything was. If something is wrong nothing is
    /// added.
    ///
    /// # Errors
    /// As [`decode`](Self::decode).
    pub fn merge_encoded(&mut self, bytes: &[u8]) -> Result<bool, DocumentError> {
        let mut reader = Reader::new(bytes);
        let count = usize::from(reader.u16()?);
        if count > Self::MAX_COUNT {
            return Err(DocumentError::Revocations(count));
        }
        let mut last: Option<Revocation> = None;
        let mut new = Vec::new();
        for _ in 0..count {
            let bytes = reader.array()?;
            let mut next = Revocation::unverified(&bytes, &self.network)?;
            if last.is_some_and(|last| last >= next) {
                return Err(DocumentError::Order);
            }
            if !self.set.contains(&next) {
                next = Revocation::decode(&bytes, &self.network)?;
                new.push(next.clone());
            }
            last = Some(next);
        }
        reader.finish()?;
        self.set.extend(new.iter().cloned());
        self.trim();
        Ok(new.iter().any(|revocation| self.set.contains(revocation)))
    }

    /// Adds those of another set of the same network and tells whether anything was new.
    pub fn merge(&mut self, other: &Self) -> bool {
        if other.network.id() != self.network.id() {
            return false;
        }
        let new: Vec<Revocation> = other.set.difference(&self.set).cloned().collect();
        self.set.extend(new.iter().cloned());
        self.trim();
        new.iter().any(|revocation| self.set.contains(revocation))
    }

    /// Adds one and tells whether it was new. One of another network is left out.
    pub fn insert(&mut self, revocation: Revocation) -> bool {
        if revocation.network != self.network.id() {
            return false;
        }
        let is_new = self.set.insert(revocation.clone());
        self.trim();
        is_new && self.set.contains(&revocation)
    }

    /// The bytes drawn at the type.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        encode(self.set.iter())
    }

    /// The set of the `count` newest.
    #[must_use]
    pub fn newest(&self, count: usize) -> Self {
        let mut newest: Vec<_> = self.set.iter().collect();
        newest.sort_by_key(|revocation| std::cmp::Reverse((revocation.time(), *revocation)));
        Self {
            network: self.network,
            set: newest.into_iter().take(count).cloned().collect(),
        }
    }

    /// What tells two sets apart: the first 16 bytes of SHA-512(`"farlan revocations 1"` ‖ set).
    #[must_use]
    pub fn digest(&self) -> [u8; 16] {
        let mut digest = [0; 16];
        digest.copy_from_slice(&hash::sha512(&[DIGEST_DOMAIN, &self.encode()])[..16]);
        digest
    }

    /// Whether a revocation with these bytes is in it.
    #[must_use]
    pub fn contains(&self, bytes: &[u8; Revocation::LENGTH]) -> bool {
        let revocation = Revocation {
            network: self.network.id(),
            bytes: *bytes,
        };
        self.set.contains(&revocation)
    }

    /// The revocations, in the order of their bytes.
    pub fn iter(&self) -> impl Iterator<Item = &Revocation> {
        self.set.iter()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.set.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.set.is_empty()
    }

    /// The network that they are of.
    #[must_use]
    pub fn network(&self) -> &PrivateNetwork {
        &self.network
    }

    /// The newest time in it, for [`now`](super::now).
    #[must_use]
    pub fn newest_signed(&self) -> Seconds {
        self.set.iter().map(Revocation::time).max().unwrap_or_default()
    }

    /// Whether none of them voids the credential, which is of the same network.
    ///
    /// # Errors
    /// [`Invalid::MemberRevoked`] or [`Invalid::DelegationRevoked`].
    pub fn check(&self, credential: &Credential) -> Result<(), Invalid> {
        let fields = credential.certificate().fields();
        if self.voids_member(fields.node.as_bytes(), fields.issue) {
            return Err(Invalid::MemberRevoked);
        }
        if credential
            .delegations()
            .any(|delegation| self.voids_delegation(delegation))
        {
            return Err(Invalid::DelegationRevoked);
        }
        Ok(())
    }

    /// Whether certificates of `node` with that issue do not count.
    #[must_use]
    pub fn voids_member(&self, node: &[u8; 32], issue: u64) -> bool {
        self.of(KIND_MEMBER, node).any(|revocation| issue <= revocation.issue()) && !planted("revocations-ignored")
    }

    /// Whether what was signed under this delegation does not count.
    #[must_use]
    pub fn voids_delegation(&self, delegation: &Delegation) -> bool {
        let time = delegation.fields().time;
        self.of(KIND_DELEGATION, &delegation.key())
            .any(|revocation| time <= revocation.time())
            && !planted("revocations-ignored")
    }

    /// The revocations of one kind for one key, which stand together.
    fn of(&self, kind: u8, key: &[u8; 32]) -> impl Iterator<Item = &Revocation> {
        let bound = |rest: u8| {
            let mut bytes = [rest; Revocation::LENGTH];
            bytes[0] = kind;
            bytes[1..33].copy_from_slice(key);
            Revocation {
                network: self.network.id(),
                bytes,
            }
        };
        self.set.range(bound(0)..=bound(0xff))
    }

    /// Keeps the newest [`MAX_COUNT`](Self::MAX_COUNT): whatever the order of unions, the same ones.
    fn trim(&mut self) {
        if self.set.len() > Self::MAX_COUNT {
            *self = self.newest(Self::MAX_COUNT);
        }
    }
}

fn encode<'a>(revocations: impl ExactSizeIterator<Item = &'a Revocation>) -> Vec<u8> {
    // A set has at most 4,096.
    let mut out = (revocations.len() as u16).to_be_bytes().to_vec();
    for revocation in revocations {
        out.extend_from_slice(&revocation.bytes);
    }
    out
}

// The signature stands behind everything else.
const _: () = assert!(Revocation::LENGTH == 49 + Signature::LENGTH);
// As many as stand in a sealed document fit one.
const _: () = assert!(2 + Revocations::SEALED_COUNT * Revocation::LENGTH <= super::SealedDocument::MAX_CONTENT);
