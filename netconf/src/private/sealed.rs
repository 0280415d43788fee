//! Sealed documents: what supernodes keep for a private network without being able to read it.

use farlan_crypto::{Aead, Blinding, KeyPair, SalsaPoly, Signature, TAG, VerifyingKey, defects::planted, hash};
use zeroize::Zeroizing;

use super::{DocumentError, Seconds, split_signature};
use crate::codec::{CodecError, Reader};
use crate::secret::{DirectoryKey, NetworkSecret};

/// Separates signatures of sealed documents from all other signatures.
const SIGNATURE_DOMAIN: &[u8] = b"farlan document 1";
/// Separates blindings from all other hashes.
const BLINDING_DOMAIN: &[u8] = b"farlan blinding 1";
/// Separates document keys from all other hashes.
const KEY_DOMAIN: &[u8] = b"farlan document key 1";

/// A document that anybody can keep and check, and only members can read. A value exists only with a good signature under
/// its blinded key, which only the holder of the network key can make.
///
/// Bytes:
/// ```text
/// blinded key 32 | version 8 | salt 16 | length 4 | sealed content | signature 64
/// ```
/// The content is sealed with the last 32 bytes of HMAC(network secret, `"document"` ‖ salt) at counter 0, AAD the bytes
/// before it; the length is that of the sealed content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedDocument {
    key: VerifyingKey,
    version: u64,
    salt: [u8; 16],
    sealed: Vec<u8>,
    signature: Signature,
}

/// The name under which supernodes keep the documents of the network with this key under this secret: the first 16 bytes of
/// SHA-512(`"farlan document key 1"` ‖ blinded key).
#[must_use]
pub fn document_key(network_key: &VerifyingKey, secret: &NetworkSecret) -> DirectoryKey {
    name_of(&network_key.blinded(&blinding(network_key, secret)))
}

impl SealedDocument {
    /// Most bytes of a document.
    pub const MAX_SIZE: usize = 65_536;
    /// Most bytes of its content.
    pub const MAX_CONTENT: usize = Self::MAX_SIZE - HEADER - TAG - Signature::LENGTH;

    /// The version for a new document: above `held`, the highest one that the controller has seen, and not below that of the time
    /// `now`. `random` must be fresh, so that two controllers that do not know of each other hardly ever choose the same.
    ///
    /// max(`held`, `now` · 2^30) + 1 + the lower 30 bits of `random`; the highest of all versions is not passed.
    #[must_use]
    pub fn next_version(held: u64, now: Seconds, random: u32) -> u64 {
        let step = u64::from(random & (u32::MAX >> (32 - RANDOM_BITS))) + 1;
        held.max(now.get().saturating_mul(1 << RANDOM_BITS))
            .saturating_add(step)
    }

    /// Seals and signs `content`. The salt must be fresh for each document: random.
    ///
    /// # Errors
    /// A version of 0, and more than [`MAX_CONTENT`](Self::MAX_CONTENT) bytes.
    pub fn seal(
        network_key: &KeyPair,
        secret: &NetworkSecret,
        version: u64,
        salt: [u8; 16],
        content: &[u8],
    ) -> Result<Self, DocumentError> {
        if version == 0 {
            return Err(DocumentError::Version);
        }
        if content.len() > Self::MAX_CONTENT {
            return Err(DocumentError::Size {
                size: content.len(),
                most: Self::MAX_CONTENT,
            });
        }
        let pair = network_key.blinded(&blinding(&network_key.public(), secret));
        let mut document = Self {
            key: pair.public(),
            version,
            salt,
            sealed: vec![0; content.len() + TAG],
            signature: Signature::from_bytes([0; 64]),
        };
        let head = document.head();
        document.sealed[..content.len()].copy_from_slice(content);
        SalsaPoly::seal(&content_key(secret, &salt), 0, &head, &mut document.sealed);
        document.signature = pair.sign(SIGNATURE_DOMAIN, &document.signed_bytes());
        Ok(document)
    }

    /// Reads and verifies what [`encode`](Self::encode) writes, without knowing of which network it is.
    ///
    /// # Errors
    /// Anything that [`seal`](Self::seal) and `encode` would not have written.
    pub fn decode(bytes: &[u8]) -> Result<Self, DocumentError> {
        if bytes.len() > Self::MAX_SIZE {
            return Err(DocumentError::Size {
                size: bytes.len(),
                most: Self::MAX_SIZE,
            });
        }
        let (signed, signature) = split_signature(bytes)?;
        let mut reader = Reader::new(signed);
        let key = VerifyingKey::from_bytes(&reader.array()?)?;
        let version = reader.u64()?;
        let salt = reader.array()?;
        let length = usize::try_from(reader.u32()?).map_err(|_| CodecError::Truncated)?;
        let sealed = reader.bytes(length)?.to_vec();
        reader.finish()?;
        if length < TAG {
            return Err(CodecError::Truncated.into());
        }
        if version == 0 {
            return Err(DocumentError::Version);
        }
        if !planted("document-unsigned") {
            key.verify(SIGNATURE_DOMAIN, signed, &signature)?;
        }
        Ok(Self {
            key,
            version,
            salt,
            sealed,
            signature,
        })
    }

    /// The bytes drawn at the type.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = self.signed_bytes();
        bytes.extend_from_slice(self.signature.as_bytes());
        bytes
    }

    /// Its content, for members of the network with this key who know the secret under which it was sealed.
    ///
    /// # Errors
    /// [`DocumentError::Sealed`] for the document of another network or secret.
    pub fn open(&self, network_key: &VerifyingKey, secret: &NetworkSecret) -> Result<Vec<u8>, DocumentError> {
        if network_key.blinded(&blinding(network_key, secret)) != self.key {
            return Err(DocumentError::Sealed);
        }
        let mut bytes = self.sealed.clone();
        let content = SalsaPoly::open(&content_key(secret, &self.salt), 0, &self.head(), &mut bytes)?;
        Ok(content.to_vec())
    }

    /// The name under which it is kept.
    #[must_use]
    pub fn document_key(&self) -> DirectoryKey {
        name_of(&self.key)
    }

    /// The number of the version, from 1: the higher one is in force.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// What stands before the sealed content, and is bound to it.
    fn head(&self) -> Vec<u8> {
        let mut head = Vec::with_capacity(HEADER);
        head.extend_from_slice(self.key.as_bytes());
        head.extend_from_slice(&self.version.to_be_bytes());
        head.extend_from_slice(&self.salt);
        // It has at most 64 KiB.
        head.extend_from_slice(&(self.sealed.len() as u32).to_be_bytes());
        head
    }

    fn signed_bytes(&self) -> Vec<u8> {
        let mut bytes = self.head();
        bytes.extend_from_slice(&self.sealed);
        bytes
    }
}

/// Random bits of a version, below those of the time: with 30, the versions of the year 2240 still fit 63 bits.
const RANDOM_BITS: u32 = 30;

/// Bytes before the sealed content.
const HEADER: usize = 32 + 8 + 16 + 4;

/// SHA-512(`"farlan blinding 1"` ‖ network key ‖ network secret), as a scalar.
fn blinding(network_key: &VerifyingKey, secret: &NetworkSecret) -> Blinding {
    let wide = Zeroizing::new(hash::sha512(&[
        BLINDING_DOMAIN,
        network_key.as_bytes(),
        secret.as_bytes(),
    ]));
    Blinding::from_wide(&wide)
}

fn content_key(secret: &NetworkSecret, salt: &[u8; 16]) -> farlan_crypto::Key {
    secret.sealing_key(&[b"document", salt])
}

fn name_of(blinded: &VerifyingKey) -> DirectoryKey {
    let digest = hash::sha512(&[KEY_DOMAIN, blinded.as_bytes()]);
    let mut key = [0; 16];
    key.copy_from_slice(&digest[..16]);
    DirectoryKey::from_bytes(key)
}
