//! Key pairs that sign documents: those of networks and of invites. They take no part in handshakes.
//!
//! ```text
//! signature     Ed25519 over  length of domain (1 byte) ‖ domain ‖ message, as that of an identity
//! blinded key   A' = b · A; signatures under it are made with the secret scalar times b and the nonce prefix
//!               SHA-512("farlan blinded prefix 1" ‖ prefix ‖ b)[0..32]
//! ```
//!
//! A blinded key is an ordinary Ed25519 key to all who verify. Nobody can tell from which key it was made without
//! knowing the blinding, and only the holder of the secret key can sign for it.

use std::fmt;

use curve25519_dalek::EdwardsPoint;
use curve25519_dalek::edwards::CompressedEdwardsY;
use curve25519_dalek::scalar::Scalar;
use ed25519_dalek::hazmat::{ExpandedSecretKey, raw_sign};
use ed25519_dalek::{Signer, SigningKey};
use rand_core::CryptoRng;
use sha2::Sha512;
use zeroize::Zeroizing;

use crate::hash::sha512;
use crate::identity::{BadSignature, KeyError, Seed, Signature, signed_bytes, verifies};
use crate::secret::{Secret, cleanly};

/// Separates the nonce prefixes of blinded keys from every other use of SHA-512.
const PREFIX_DOMAIN: &[u8] = b"farlan blinded prefix 1";

/// The secret half of a key that signs documents. It carries no work stamp. Wiped when dropped.
pub struct KeyPair {
    seed: Seed,
    signing: Box<SigningKey>,
    public: VerifyingKey,
}

/// The public half of a [`KeyPair`], or a [blinded](Self::blinded) one: a canonical point of the group of prime order,
/// not the neutral element.
///
/// Equality and order are those of its 32 bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VerifyingKey([u8; 32]);

/// A secret factor by which keys are blinded: a scalar. Wiped when dropped.
pub struct Blinding(Secret<32>);

/// The secret half of a blinded key, which only the holder of the [`KeyPair`] can make. Wiped when dropped.
pub struct BlindedKeyPair {
    expanded: Box<ExpandedSecretKey>,
    public: VerifyingKey,
}

impl KeyPair {
    /// A fresh pair.
    pub fn generate(rng: &mut (impl CryptoRng + ?Sized)) -> Self {
        Self::from_seed(Seed::new(Secret::filled(|seed| rng.fill_bytes(seed))))
    }

    /// The pair of this seed, by RFC 8032.
    #[must_use]
    pub fn from_seed(seed: Seed) -> Self {
        cleanly(|| {
            let signing = Box::new(SigningKey::from_bytes(seed.as_bytes()));
            // A clamped multiple of the base point is in the group of prime order and not the neutral element.
            let public = VerifyingKey(signing.verifying_key().to_bytes());
            Self { seed, signing, public }
        })
    }

    /// The seed, for storage.
    #[must_use]
    pub fn seed(&self) -> &Seed {
        &self.seed
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> VerifyingKey {
        self.public
    }

    /// Signs `message` for one purpose, named by `domain` (at most 255 bytes, a constant of the caller).
    ///
    /// # Panics
    /// If `domain` is longer than 255 bytes.
    #[must_use]
    pub fn sign(&self, domain: &[u8], message: &[u8]) -> Signature {
        cleanly(|| Signature::from_bytes(self.signing.sign(&signed_bytes(domain, message)).to_bytes()))
    }

    /// The pair behind [`VerifyingKey::blinded`] of the public half.
    #[must_use]
    pub fn blinded(&self, blinding: &Blinding) -> BlindedKeyPair {
        cleanly(|| {
            let digest = Zeroizing::new(sha512(&[self.seed.as_bytes()]));
            let mut expanded = Box::new(ExpandedSecretKey::from_bytes(&digest));
            expanded.scalar *= blinding.scalar();
            let prefix = Zeroizing::new(sha512(&[PREFIX_DOMAIN, &expanded.hash_prefix, blinding.0.as_bytes()]));
            expanded.hash_prefix.copy_from_slice(&prefix[..32]);
            let public = VerifyingKey(EdwardsPoint::mul_base(&expanded.scalar).compress().to_bytes());
            BlindedKeyPair { expanded, public }
        })
    }
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyPair(..)")
    }
}

impl VerifyingKey {
    /// Bytes of a key.
    pub const LENGTH: usize = 32;

    /// Checks a key that came from outside.
    ///
    /// # Errors
    /// [`KeyError`] says which check failed.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, KeyError> {
        let point = CompressedEdwardsY(*bytes).decompress().ok_or(KeyError::NotAPoint)?;
        if point.compress().as_bytes() != bytes {
            return Err(KeyError::NotCanonical);
        }
        if point.is_small_order() {
            return Err(KeyError::Weak);
        }
        if !point.is_torsion_free() {
            return Err(KeyError::Mixed);
        }
        Ok(Self(*bytes))
    }

    /// The 32 bytes of the key.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Verifies a signature strictly: canonical S, no small-order R, no cofactor.
    ///
    /// # Errors
    /// [`BadSignature`] if it is not this key's signature of `message` in `domain`.
    pub fn verify(&self, domain: &[u8], message: &[u8], signature: &Signature) -> Result<(), BadSignature> {
        if verifies(&self.0, &signed_bytes(domain, message), signature) {
            Ok(())
        } else {
            Err(BadSignature)
        }
    }

    /// The key times the blinding.
    ///
    /// # Panics
    /// Never: the constructors accept only points of the curve.
    #[must_use]
    pub fn blinded(&self, blinding: &Blinding) -> Self {
        cleanly(|| {
            let point = CompressedEdwardsY(self.0)
                .decompress()
                .expect("the constructors accept only points of the curve");
            Self((point * blinding.scalar()).compress().to_bytes())
        })
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("VerifyingKey(")?;
        for byte in &self.0[..4] {
            write!(f, "{byte:02x}")?;
        }
        f.write_str("..)")
    }
}

impl Blinding {
    /// The little-endian number of these 64 bytes, which must look random, modulo the order of the group.
    #[must_use]
    pub fn from_wide(bytes: &[u8; 64]) -> Self {
        cleanly(|| {
            let scalar = Zeroizing::new(Scalar::from_bytes_mod_order_wide(bytes));
            Self(Secret::copy_of(scalar.as_bytes()))
        })
    }

    fn scalar(&self) -> Scalar {
        // It was reduced when made.
        Scalar::from_bytes_mod_order(*self.0.as_bytes())
    }
}

impl fmt::Debug for Blinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Blinding(..)")
    }
}

impl BlindedKeyPair {
    /// The public half, to which nothing is special.
    #[must_use]
    pub fn public(&self) -> VerifyingKey {
        self.public
    }

    /// Signs as [`KeyPair::sign`] does, under the blinded key.
    ///
    /// # Panics
    /// If `domain` is longer than 255 bytes.
    #[must_use]
    pub fn sign(&self, domain: &[u8], message: &[u8]) -> Signature {
        cleanly(|| {
            let key = ed25519_dalek::VerifyingKey::from_bytes(&self.public.0)
                .expect("the blinded key was made as a point of the curve");
            let bytes = signed_bytes(domain, message);
            Signature::from_bytes(raw_sign::<Sha512>(&self.expanded, &bytes, &key).to_bytes())
        })
    }
}

impl fmt::Debug for BlindedKeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BlindedKeyPair(..)")
    }
}

#[cfg(test)]
mod tests {
    use curve25519_dalek::constants::{ED25519_BASEPOINT_POINT, EIGHT_TORSION};
    use curve25519_dalek::traits::Identity as _;
    use proptest::prelude::*;

    use super::*;

    fn pair(seed: [u8; 32]) -> KeyPair {
        KeyPair::from_seed(Seed::from_bytes(seed))
    }

    #[test]
    fn a_signature_is_good_for_its_key_domain_and_message_only() {
        let (key, other) = (pair([1; 32]), pair([2; 32]));
        let signature = key.sign(b"domain", b"message");
        assert_eq!(key.public().verify(b"domain", b"message", &signature), Ok(()));
        assert_eq!(
            other.public().verify(b"domain", b"message", &signature),
            Err(BadSignature)
        );
        assert_eq!(
            key.public().verify(b"domainm", b"essage", &signature),
            Err(BadSignature)
        );
        assert_eq!(key.public().verify(b"domain", b"messag", &signature), Err(BadSignature));
    }

    #[test]
    fn keys_outside_the_group_of_prime_order_are_refused() {
        let good = pair([1; 32]).public();
        assert_eq!(VerifyingKey::from_bytes(good.as_bytes()), Ok(good));
        let neutral = EdwardsPoint::identity().compress().to_bytes();
        assert_eq!(VerifyingKey::from_bytes(&neutral), Err(KeyError::Weak));
        for torsion in &EIGHT_TORSION[1..] {
            let mixed = (ED25519_BASEPOINT_POINT + torsion).compress().to_bytes();
            assert_eq!(VerifyingKey::from_bytes(&mixed), Err(KeyError::Mixed));
            let small = torsion.compress().to_bytes();
            assert_eq!(VerifyingKey::from_bytes(&small), Err(KeyError::Weak));
        }
        // y = p + 1, a second encoding of the neutral element; y = 2, of no point.
        let mut second = [0xff; 32];
        (second[0], second[31]) = (0xee, 0x7f);
        assert_eq!(VerifyingKey::from_bytes(&second), Err(KeyError::NotCanonical));
        let mut none = [0; 32];
        none[0] = 2;
        assert_eq!(VerifyingKey::from_bytes(&none), Err(KeyError::NotAPoint));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn blinded_keys_sign_like_any_and_as_computed_by_hand(
            seed: [u8; 32],
            wide: [u8; 32],
            message in prop::collection::vec(any::<u8>(), 0..100),
        ) {
            let mut bytes = [0x5a; 64];
            bytes[..32].copy_from_slice(&wide);
            let key = pair(seed);
            let blinding = Blinding::from_wide(&bytes);
            let blinded = key.blinded(&blinding);
            prop_assert_eq!(blinded.public(), key.public().blinded(&blinding));
            prop_assert_ne!(blinded.public(), key.public());
            prop_assert_eq!(VerifyingKey::from_bytes(blinded.public().as_bytes()), Ok(blinded.public()));
            let signature = blinded.sign(b"domain", &message);
            prop_assert_eq!(blinded.public().verify(b"domain", &message, &signature), Ok(()));
            prop_assert_eq!(key.public().verify(b"domain", &message, &signature), Err(BadSignature));

            // RFC 8032 §5.1.6, step by step, with scalars of another origin.
            let h = sha512(&[&seed]);
            let mut clamped = [0; 32];
            clamped.copy_from_slice(&h[..32]);
            clamped[0] &= 248;
            clamped[31] = clamped[31] & 127 | 64;
            let b = Scalar::from_bytes_mod_order_wide(&bytes);
            let a = Scalar::from_bytes_mod_order(clamped) * b;
            let public = (ED25519_BASEPOINT_POINT * a).compress().to_bytes();
            let prefix = sha512(&[b"farlan blinded prefix 1", &h[32..], b.as_bytes()]);
            let signed = [&[6][..], b"domain", &message].concat();
            let r = Scalar::from_bytes_mod_order_wide(&sha512(&[&prefix[..32], &signed]));
            let big_r = (ED25519_BASEPOINT_POINT * r).compress().to_bytes();
            let k = Scalar::from_bytes_mod_order_wide(&sha512(&[&big_r, &public, &signed]));
            let s = r + k * a;
            prop_assert_eq!(*blinded.public().as_bytes(), public);
            prop_assert_eq!(&signature.as_bytes()[..32], &big_r);
            prop_assert_eq!(&signature.as_bytes()[32..], s.as_bytes());
        }
    }

    #[test]
    fn debug_shows_no_secrets() {
        let key = pair([0xab; 32]);
        let blinding = Blinding::from_wide(&[0xab; 64]);
        assert_eq!(format!("{key:?}"), "KeyPair(..)");
        assert_eq!(format!("{blinding:?}"), "Blinding(..)");
        assert_eq!(format!("{:?}", key.blinded(&blinding)), "BlindedKeyPair(..)");
    }
}
