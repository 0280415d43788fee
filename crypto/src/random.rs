//! The daemon's random generator.
//!
//! Everything that needs randomness takes a `CryptoRng` as an argument. [`SystemRandom`] is the one a real node hands
//! in; a reproducible generator is a different type, which only the simulator and the fuzzers construct, so it cannot
//! reach a daemon by mistake.

use std::convert::Infallible;
use std::fmt;

use chacha20::ChaCha20Rng;
use rand_core::{Rng, SeedableRng, TryCryptoRng, TryRng};
use thiserror::Error;
use zeroize::Zeroize;

use crate::secret::{Secret, cleanly};

/// A generator seeded with 32 bytes of the operating system, whose state tells nothing of what it yielded before.
///
/// ChaCha20 under a key fills the next key and a store; what is taken from the store is wiped there, and so is the key with
/// the next filling (D. J. Bernstein, "Fast-key-erasure random-number generators"). It is a `rand_core::CryptoRng`, and
/// cannot be cloned, since two copies would yield the same secrets.
pub struct SystemRandom {
    key: Secret<32>,
    /// The bytes from `taken` on are still to be had; those before are zeros.
    store: Secret<STORE>,
    taken: usize,
}

/// Bytes made at a time, which with the key are 8 blocks of ChaCha20.
const STORE: usize = 8 * 64 - 32;

impl SystemRandom {
    /// Seeds a generator from the operating system.
    ///
    /// # Errors
    /// Fails where the system has no entropy source.
    pub fn from_os() -> Result<Self, RandomError> {
        Ok(Self {
            key: os_bytes()?,
            store: Secret::filled(|_| {}),
            taken: STORE,
        })
    }

    fn fill_store(&mut self) {
        cleanly(|| {
            let mut stream = ChaCha20Rng::from_seed(*self.key.as_bytes());
            stream.fill_bytes(self.key.as_mut_bytes());
            stream.fill_bytes(self.store.as_mut_bytes());
        });
        self.taken = 0;
    }
}

impl TryRng for SystemRandom {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        let mut rest = bytes;
        while !rest.is_empty() {
            if self.taken == STORE {
                self.fill_store();
            }
            let store = &mut self.store.as_mut_bytes()[self.taken..];
            let length = rest.len().min(store.len());
            let (filled, left) = rest.split_at_mut(length);
            filled.copy_from_slice(&store[..length]);
            store[..length].zeroize();
            self.taken += length;
            rest = left;
        }
        Ok(())
    }
}

impl TryCryptoRng for SystemRandom {}

impl fmt::Debug for SystemRandom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SystemRandom(..)")
    }
}

/// 32 fresh bytes from the operating system, which a daemon hands in with each handshake.
///
/// # Errors
/// Fails where the system has no entropy source.
pub fn os_bytes() -> Result<Secret<32>, RandomError> {
    let mut bytes = Secret::filled(|_| {});
    getrandom::fill(bytes.as_mut_bytes()).map_err(RandomError)?;
    Ok(bytes)
}

/// The operating system gave no randomness; holds its reason.
#[derive(Debug, Error)]
#[error("the operating system gave no randomness: {0}")]
pub struct RandomError(getrandom::Error);

#[cfg(test)]
mod tests {
    use super::*;
    use rand_core::CryptoRng;

    fn draw(random: &mut impl CryptoRng) -> [u8; 32] {
        let mut bytes = [0; 32];
        random.fill_bytes(&mut bytes);
        bytes
    }

    #[test]
    fn generators_differ_and_move_on() {
        let mut first = SystemRandom::from_os().unwrap();
        let mut second = SystemRandom::from_os().unwrap();
        let drawn = draw(&mut first);
        assert_ne!(drawn, draw(&mut second));
        assert_ne!(drawn, draw(&mut first));
        assert_ne!(os_bytes().unwrap().as_bytes(), os_bytes().unwrap().as_bytes());
    }

    fn keyed(key: [u8; 32]) -> SystemRandom {
        SystemRandom {
            key: Secret::from(key),
            store: Secret::filled(|_| {}),
            taken: STORE,
        }
    }

    /// However the bytes are asked for, they are those of ChaCha20 under one key after the other.
    #[test]
    fn it_yields_chacha20_of_keys_that_follow_from_each_other() {
        let mut expected = Vec::new();
        let mut key = [7; 32];
        for _ in 0..5 {
            let mut stream = ChaCha20Rng::from_seed(key);
            let mut store = [0; STORE];
            stream.fill_bytes(&mut key);
            stream.fill_bytes(&mut store);
            expected.extend(store);
        }
        let mut random = keyed([7; 32]);
        let mut drawn = Vec::new();
        for length in (0..).map(|n| n * 7 % 61) {
            if drawn.len() + length > expected.len() {
                break;
            }
            match length {
                4 => drawn.extend(random.next_u32().to_le_bytes()),
                8 => drawn.extend(random.next_u64().to_le_bytes()),
                _ => {
                    let mut bytes = vec![0; length];
                    random.fill_bytes(&mut bytes);
                    drawn.extend(bytes);
                }
            }
        }
        assert!(drawn.len() > 4 * STORE);
        assert_eq!(drawn, expected[..drawn.len()]);
    }

    #[test]
    fn what_was_drawn_is_in_its_state_no_more() {
        let mut random = keyed([7; 32]);
        let first = draw(&mut random);
        assert_eq!(random.store.as_bytes()[..32], [0; 32]);
        assert_ne!(random.key.as_bytes(), &[7; 32]);
        assert!(!random.store.as_bytes().windows(8).any(|bytes| bytes == &first[..8]));
    }

    #[test]
    fn debug_shows_no_state() {
        assert_eq!(format!("{:?}", SystemRandom::from_os().unwrap()), "SystemRandom(..)");
    }
}
