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
use crate::secret::Secret;

/// Bytes of the tag at the end of every sealed message.
pub const TAG: usize = 16;

/// Bytes of a key.
pub const KEY: usize = 32;

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
        let (message, tag) = message_and_tag
            .split_last_chunk_mut::<TAG>()
            .expect("the caller leaves room for the tag");
        let (mut cipher, mac) = start(key, counter);
        cipher.apply_keystream(message);
        *tag = authenticate(mac, aad, message);
    }

    fn open<'a>(key: &Key, counter: u64, aad: &[u8], sealed: &'a mut [u8]) -> Result<&'a mut [u8], OpenError> {
        let (ciphertext, tag) = sealed.split_last_chunk_mut::<TAG>().ok_or(OpenError)?;
        let (mut cipher, mac) = start(key, counter);
        let expected = authenticate(mac, aad, ciphertext);
        if !bool::from(expected.ct_eq(tag)) && !planted("tag-unchecked") {
            return Err(OpenError);
        }
        cipher.apply_keystream(ciphertext);
        Ok(ciphertext)
    }
}

/// The keystream, standing at block 1, and the authenticator keyed with block 0.
fn start(key: &Key, counter: u64) -> (Salsa20, Poly1305) {
    let mut cipher = Salsa20::new(key.as_bytes().into(), &counter.to_le_bytes().into());
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
