//! The identity of a node: one Ed25519 key and what follows from it.
//!
//! ```text
//! digest      = SHA-512("farlan node id 1" ‖ Ed25519 public key)     64 bytes
//! node id     = digest[0..16]
//! work stamp  : SHA-512(digest) begins with 14 zero bits (most significant bit of the first byte first)
//! Noise static: the Montgomery image of the Ed25519 key; its secret is the first half of SHA-512(seed), clamped
//! signature   = Ed25519 over  length of domain (1 byte) ‖ domain ‖ message
//! ```
//!
//! The map from Ed25519 to X25519 keys is the one libsodium defines (`crypto_sign_ed25519_pk_to_curve25519` and
//! `…_sk_to_curve25519`). Nothing may be authorised by a node id: identities are compared by their full keys.

use std::fmt;
use std::str::FromStr;

use curve25519_dalek::edwards::{CompressedEdwardsY, EdwardsPoint};
use data_encoding::{BASE32_NOPAD, BASE32_NOPAD_NOCASE};
use ed25519_dalek::{Signer, SigningKey, VerifyingKey};
use rand_core::CryptoRng;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::defects::planted;
use crate::hash::sha512;
use crate::noise::StaticKey;
use crate::secret::{Secret, cleanly};

/// Separates the hash behind node ids from every other use of SHA-512; the digit is the version of the rule.
const NODE_ID_DOMAIN: &[u8] = b"farlan node id 1";

/// How much work a public key must carry, in leading zero bits of the stamp.
///
/// It is friction against the mass creation of identities; no limit relies on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Work(u8);

impl Work {
    /// 14 zero bits, about 16,000 tries (some tenths of a second): what every real node requires of every key.
    pub const REQUIRED: Self = Self(14);

    /// No work, for the simulator and load generators only.
    pub const NONE: Self = Self(0);

    /// Whether the stamp of this digest meets it.
    fn is_met(self, digest: &[u8; 64]) -> bool {
        let stamp = sha512(&[digest]);
        let mut first = [0; 8];
        first.copy_from_slice(&stamp[..8]);
        u64::from_be_bytes(first).leading_zeros() >= u32::from(self.0)
    }
}

/// The 32 random bytes an identity is made from: a [`Secret`].
pub struct Seed(Secret<32>);

impl Seed {
    /// A seed of these bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Secret::from(bytes))
    }

    /// The seed that `secret` is.
    pub fn new(secret: Secret<32>) -> Self {
        Self(secret)
    }

    /// The secret bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }
}

impl fmt::Debug for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seed(..)")
    }
}

/// The secret half of an identity: signs, and takes part in handshakes. Wiped when dropped.
pub struct Identity {
    seed: Seed,
    signing: Box<SigningKey>,
    noise: Box<StaticKey>,
    public: PublicKey,
}

impl Identity {
    /// Draws seeds until one meets `work`.
    pub fn generate(rng: &mut (impl CryptoRng + ?Sized), work: Work) -> Self {
        loop {
            let seed = Secret::filled(|seed| rng.fill_bytes(seed));
            if let Ok(identity) = Self::from_seed(Seed(seed), work) {
                return identity;
            }
        }
    }

    /// The identity of this seed.
    ///
    /// # Errors
    /// [`KeyError::Work`] if its public key does not carry the work.
    pub fn from_seed(seed: Seed, work: Work) -> Result<Self, KeyError> {
        cleanly(|| {
            let signing = Box::new(SigningKey::from_bytes(seed.as_bytes()));
            let verifying = signing.verifying_key();
            let public = PublicKey::stamped(verifying.to_bytes(), work)?;
            let scalar = Zeroizing::new(signing.to_scalar_bytes());
            let noise = Box::new(StaticKey::from_parts(*scalar, verifying.to_montgomery().to_bytes()));
            Ok(Self {
                seed,
                signing,
                noise,
                public,
            })
        })
    }

    /// The seed, for backup and storage.
    pub fn seed(&self) -> &Seed {
        &self.seed
    }

    /// The public key.
    pub fn public(&self) -> PublicKey {
        self.public
    }

    /// The node id of the public key.
    pub fn node_id(&self) -> NodeId {
        self.public.node_id()
    }

    /// Signs `message` for one purpose, named by `domain` (at most 255 bytes, a constant of the caller).
    ///
    /// # Panics
    /// If `domain` is longer than 255 bytes.
    pub fn sign(&self, domain: &[u8], message: &[u8]) -> Signature {
        cleanly(|| Signature(self.signing.sign(&signed_bytes(domain, message)).to_bytes()))
    }

    /// The Noise static key, for the handshake.
    pub(crate) fn noise(&self) -> &StaticKey {
        &self.noise
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("node_id", &self.node_id())
            .finish_non_exhaustive()
    }
}

/// A checked Ed25519 public key: canonical, of large order, and carrying the work its constructor asked for.
///
/// Equality and order are those of the 32 key bytes, from which everything else follows.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey {
    bytes: [u8; 32],
    node_id: NodeId,
}

impl PublicKey {
    /// Checks a key that came from outside.
    ///
    /// # Errors
    /// [`KeyError`] says which check failed. Work is checked first, since it is the cheapest.
    pub fn from_bytes(bytes: &[u8; 32], work: Work) -> Result<Self, KeyError> {
        let key = Self::stamped(*bytes, work)?;
        let point = CompressedEdwardsY(*bytes).decompress().ok_or(KeyError::NotAPoint)?;
        if point.compress().as_bytes() != bytes && !planted("other-encoding-taken") {
            return Err(KeyError::NotCanonical);
        }
        if point.is_small_order() {
            return Err(KeyError::Weak);
        }
        Ok(key)
    }

    /// The same for bytes that are to be `point`, or its negative: their Montgomery image is the same. Saves computing the point.
    ///
    /// # Errors
    /// [`KeyError`]; [`KeyError::NotAPoint`] also where they are another point.
    pub(crate) fn of_point(bytes: &[u8; 32], point: &EdwardsPoint, work: Work) -> Result<Self, KeyError> {
        const SIGN: u8 = 0x80;
        let key = Self::stamped(*bytes, work)?;
        let mut plain = *bytes;
        plain[31] &= !SIGN;
        let mut expected = point.compress().to_bytes();
        expected[31] &= !SIGN;
        if plain != expected {
            return Err(KeyError::NotAPoint);
        }
        // Where x is 0 there is one sign only; those points are of small order.
        if point.is_small_order() {
            return Err(KeyError::Weak);
        }
        Ok(key)
    }

    /// The 32 bytes of the key.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.bytes
    }

    /// The node id, computed when the key was checked.
    pub fn node_id(&self) -> NodeId {
        self.node_id
    }

    /// The Noise static key of the same node: the u coordinate of the key's Montgomery image.
    ///
    /// It is computed anew at each call (a decompression and an inversion, about 10 µs).
    pub fn noise_static(&self) -> [u8; 32] {
        CompressedEdwardsY(self.bytes)
            .decompress()
            .expect("the constructors accept only points of the curve")
            .to_montgomery()
            .to_bytes()
    }

    /// Checks a signature made by [`Identity::sign`] with the same `domain`.
    ///
    /// The check is strict: canonical scalar, no small-order point, no cofactor, so that a signature cannot be
    /// turned into another valid one.
    ///
    /// # Errors
    /// [`BadSignature`] if it is not this key's signature of `message` in `domain`.
    ///
    /// # Panics
    /// If `domain` is longer than 255 bytes.
    pub fn verify(&self, domain: &[u8], message: &[u8], signature: &Signature) -> Result<(), BadSignature> {
        let holds = verifies(&self.bytes, &signed_bytes(domain, message), signature);
        holds.then_some(()).ok_or(BadSignature)
    }

    /// A key whose point is known to be good, with its id; checks the work only.
    fn stamped(bytes: [u8; 32], work: Work) -> Result<Self, KeyError> {
        let digest = sha512(&[NODE_ID_DOMAIN, &bytes]);
        if !work.is_met(&digest) && !planted("work-unchecked") {
            return Err(KeyError::Work);
        }
        Ok(Self {
            bytes,
            node_id: NodeId::of_digest(&digest),
        })
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.node_id)
    }
}

/// The short name of a public key: the first 16 bytes of its domain-separated SHA-512.
///
/// Shown as 26 lower-case letters and digits of base32 (RFC 4648 §6 alphabet, no padding). It finds keys and is shown
/// to people; it authorises nothing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId([u8; 16]);

impl NodeId {
    /// Characters of the text form.
    pub const TEXT: usize = 26;

    /// An id of these bytes, for example one that was asked for in a look-up.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The id of whoever has this key, which may as well be no key at all: for documents that name keys, to find nodes by.
    pub fn of_key(bytes: &[u8; 32]) -> Self {
        Self::of_digest(&sha512(&[NODE_ID_DOMAIN, bytes]))
    }

    fn of_digest(digest: &[u8; 64]) -> Self {
        let mut id = [0; 16];
        id.copy_from_slice(&digest[..16]);
        Self(id)
    }

    /// The 16 bytes.
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// The first 10 characters of the text form (50 bits), for tables and logs.
    pub fn short(&self) -> String {
        let mut text = self.to_string();
        text.truncate(10);
        text
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = BASE32_NOPAD.encode(&self.0).to_ascii_lowercase();
        f.pad(&text)
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for NodeId {
    type Err = ParseNodeIdError;

    /// Reads the text form, in either case.
    ///
    /// The 2 spare bits of the last character must be zero, so that an id has one spelling.
    fn from_str(text: &str) -> Result<Self, ParseNodeIdError> {
        if text.len() != Self::TEXT {
            return Err(ParseNodeIdError);
        }
        let bytes = BASE32_NOPAD_NOCASE
            .decode(text.as_bytes())
            .map_err(|_| ParseNodeIdError)?;
        Ok(Self(bytes.try_into().map_err(|_| ParseNodeIdError)?))
    }
}

/// The text is not a node id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a node id is 26 characters of a-z and 2-7")]
pub struct ParseNodeIdError;

/// An Ed25519 signature: 32 bytes R, 32 bytes S (RFC 8032 §5.1.6).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Signature([u8; 64]);

impl Signature {
    /// Bytes of a signature.
    pub const LENGTH: usize = 64;

    /// A signature of these bytes; whether it is one is found out by [`PublicKey::verify`].
    pub fn from_bytes(bytes: [u8; 64]) -> Self {
        Self(bytes)
    }

    /// The 64 bytes.
    pub fn as_bytes(&self) -> &[u8; 64] {
        &self.0
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Signature({:02x}{:02x}{:02x}{:02x}..)",
            self.0[0], self.0[1], self.0[2], self.0[3]
        )
    }
}

/// The signature is not this key's signature of this message in this domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the signature is wrong")]
pub struct BadSignature;

/// Why 32 bytes are not an acceptable public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum KeyError {
    /// The work stamp has too few zero bits.
    #[error("the key does not carry the required work")]
    Work,
    /// They do not encode a point of the curve.
    #[error("the key is not a point of the curve")]
    NotAPoint,
    /// They are a second encoding of a point.
    #[error("the key is not in canonical form")]
    NotCanonical,
    /// The point has small order: anybody can sign and agree on secrets for it.
    #[error("the key is of small order")]
    Weak,
    /// The point has a part of small order, so other points are as good as it to some who verify.
    #[error("the key is not in the group of prime order")]
    Mixed,
}

/// Whether `signature` is that of `bytes` by `key`, by the strict rules.
pub(crate) fn verifies(key: &[u8; 32], bytes: &[u8], signature: &Signature) -> bool {
    let signature = ed25519_dalek::Signature::from_bytes(&signature.0);
    let Ok(key) = VerifyingKey::from_bytes(key) else {
        return false;
    };
    if planted("lax-signatures") {
        return ed25519_dalek::Verifier::verify(&key, bytes, &signature).is_ok();
    }
    key.verify_strict(bytes, &signature).is_ok()
}

/// What Ed25519 signs. The length prefix keeps two domains of which one begins with the other apart.
pub(crate) fn signed_bytes(domain: &[u8], message: &[u8]) -> Vec<u8> {
    let length = u8::try_from(domain.len()).expect("a domain is a constant of at most 255 bytes");
    let mut bytes = Vec::with_capacity(1 + domain.len() + message.len());
    bytes.push(length);
    bytes.extend_from_slice(domain);
    bytes.extend_from_slice(message);
    bytes
}

#[cfg(test)]
mod tests;
