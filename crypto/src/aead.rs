//! Authenticated encryption: Salsa20/20 with Poly1305.
//!
//! ```text
//! nonce         counter, 8 bytes little-endian
//! keystream     Salsa20/20 under the 32-byte key and that nonce, from block 0
//! one-time key  bytes 0..32 of block 0; bytes 32..64 are not used
//! ciphertext    message XOR keystream from block 1 (byte 64) on
//! tag           Poly1305(one-time key, aad ‖ pad16 ‖ ciphertext ‖ pad16 ‖ le64(|aad|) ‖ le64(|ciphertext|))
//! sealed        ciphertext ‖ tag (16 bytes)
//! ```
//!
//! The composition is that of RFC 8439 §2.8 with Salsa20 in the place of ChaCha20; pad16 is as many zero bytes as
//! reach the next multiple of 16. Salsa20: D. J. Bernstein, "The Salsa20 family of stream ciphers"; Poly1305:
//! RFC 8439 §2.5. A counter MUST NOT be used twice under one key.

use std::fmt;

use poly1305::Poly1305;
use poly1305::universal_hash::{KeyInit, UniversalHash};
use salsa20::Salsa20;
use salsa20::cipher::{KeyIvInit, StreamCipher};
use subtle::ConstantTimeEq;
use thiserror::Error;
use zeroize::Zeroize;

use crate::defects::planted;
pub use crate::job::{Job, KEY, TAG};
use crate::secret::Secret;
#[cfg(target_arch = "x86_64")]
use crate::simd::Isa;

/// A cipher that seals messages in place, identified by a 64-bit counter under its key.
///
/// farlan has one, [`SalsaPoly`]; the trait lets the handshake be tested with another for which vectors are published.
pub trait Aead {
    /// The name in a Noise protocol name.
    const NAME: &'static str;

    /// Encrypts all but the last [`TAG`] bytes of `message_and_tag` in place and writes the tag into those.
    ///
    /// # Panics
    /// If `message_and_tag` is shorter than [`TAG`]: the caller has not left room for the tag.
    fn seal(key: &Key, counter: u64, aad: &[u8], message_and_tag: &mut [u8]);

    /// Checks the tag at the end of `sealed`, decrypts in place and returns the message.
    ///
    /// # Errors
    /// [`OpenError`] if `sealed` is shorter than a tag or the tag is wrong; `sealed` is then unchanged.
    fn open<'a>(key: &Key, counter: u64, aad: &[u8], sealed: &'a mut [u8]) -> Result<&'a mut [u8], OpenError>;
}

/// A key of an [`Aead`]: a [`Secret`].
pub struct Key(Secret<KEY>);

impl Key {
    /// A key of these bytes.
    pub fn from_bytes(bytes: [u8; KEY]) -> Self {
        Self(Secret::from(bytes))
    }

    /// The key that `secret` is.
    pub fn new(secret: Secret<KEY>) -> Self {
        Self(secret)
    }

    /// The secret bytes.
    pub fn as_bytes(&self) -> &[u8; KEY] {
        self.0.as_bytes()
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

/// The tag is wrong: the message was forged, damaged, or sealed under another key, counter or associated data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the message is not authentic")]
pub struct OpenError;

/// Salsa20/20 with Poly1305, as drawn in the module's documentation.
#[derive(Clone, Copy, Debug)]
pub struct SalsaPoly;

impl Aead for SalsaPoly {
    const NAME: &'static str = "SalsaPoly";

    fn seal(key: &Key, counter: u64, aad: &[u8], message_and_tag: &mut [u8]) {
        let mut job =
            Job::new(key.as_bytes(), counter, aad, message_and_tag).expect("the caller leaves room for the tag");
        #[cfg(target_arch = "x86_64")]
        if let Some(isa) = Isa::chosen() {
            return isa.seal(&mut job);
        }
        seal_portably(&mut job);
    }

    fn open<'a>(key: &Key, counter: u64, aad: &[u8], sealed: &'a mut [u8]) -> Result<&'a mut [u8], OpenError> {
        let length = sealed.len().checked_sub(TAG).ok_or(OpenError)?;
        let mut job = Job::new(key.as_bytes(), counter, aad, sealed).ok_or(OpenError)?;
        #[cfg(target_arch = "x86_64")]
        match Isa::chosen() {
            Some(isa) => isa.open(&mut job),
            None => open_portably(&mut job),
        }
        #[cfg(not(target_arch = "x86_64"))]
        open_portably(&mut job);
        if job.authentic {
            Ok(&mut sealed[..length])
        } else {
            Err(OpenError)
        }
    }
}

impl SalsaPoly {
    /// Seals many messages, each exactly as [`Aead::seal`] would.
    pub fn seal_batch(jobs: &mut [Job<'_>]) {
        #[cfg(target_arch = "x86_64")]
        if let Some(isa) = Isa::chosen() {
            return isa.seal_batch(jobs);
        }
        jobs.iter_mut().for_each(seal_portably);
    }

    /// Opens many messages, each exactly as [`Aead::open`] would; [`Job::is_authentic`] tells with what result.
    pub fn open_batch(jobs: &mut [Job<'_>]) {
        #[cfg(target_arch = "x86_64")]
        if let Some(isa) = Isa::chosen() {
            return isa.open_batch(jobs);
        }
        jobs.iter_mut().for_each(open_portably);
    }
}

/// Seals with the crates that work on every machine, which take one block after the other.
pub fn seal_portably(job: &mut Job<'_>) {
    let (mut cipher, mac) = start(job.key, job.counter);
    cipher.apply_keystream(job.text);
    *job.tag = authenticate(mac, job.aad, job.text);
}

/// Opens with the crates that work on every machine.
pub fn open_portably(job: &mut Job<'_>) {
    let (mut cipher, mac) = start(job.key, job.counter);
    let expected = authenticate(mac, job.aad, job.text);
    job.authentic = bool::from(expected.ct_eq(job.tag)) || planted("tag-unchecked");
    if job.authentic {
        cipher.apply_keystream(job.text);
    }
}

/// The keystream, standing at block 1, and the authenticator keyed with block 0.
fn start(key: &[u8; KEY], counter: u64) -> (Salsa20, Poly1305) {
    let mut cipher = Salsa20::new(key.into(), &counter.to_le_bytes().into());
    let mut block = [0; 64];
    cipher.apply_keystream(&mut block);
    let mut one_time_key = poly1305::Key::default();
    one_time_key.copy_from_slice(&block[..32]);
    let mac = Poly1305::new(&one_time_key);
    one_time_key.zeroize();
    block.zeroize();
    (cipher, mac)
}

pub(crate) fn authenticate(mut mac: Poly1305, aad: &[u8], ciphertext: &[u8]) -> [u8; TAG] {
    mac.update_padded(aad);
    mac.update_padded(ciphertext);
    let mut lengths = poly1305::Block::default();
    lengths[..8].copy_from_slice(&(aad.len() as u64).to_le_bytes());
    lengths[8..].copy_from_slice(&(ciphertext.len() as u64).to_le_bytes());
    mac.update(&[lengths]);
    mac.finalize().into()
}

#[cfg(test)]
pub(crate) mod tests;
