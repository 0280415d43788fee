//! The daemon's random generator.
//!
//! Everything that needs randomness takes a `CryptoRng` as an argument. [`SystemRandom`] is the one a real node hands
//! in; a reproducible generator is a different type, which only the simulator and the fuzzers construct, so it cannot
//! reach a daemon by mistake.

use std::convert::Infallible;
use std::fmt;

use rand_chacha::ChaCha20Rng;
use rand_core::{SeedableRng, TryCryptoRng, TryRng};
use thiserror::Error;
use zeroize::Zeroize;

/// A ChaCha20 generator seeded with 32 bytes of the operating system.
///
/// It is a `rand_core::CryptoRng`. It cannot be cloned, since two copies would yield the same secrets.
pub struct SystemRandom(ChaCha20Rng);

impl SystemRandom {
    /// Seeds a generator from the operating system.
    ///
    /// # Errors
    /// Fails where the system has no entropy source.
    pub fn from_os() -> Result<Self, RandomError> {
        let mut seed = os_bytes()?;
        let random = Self(ChaCha20Rng::from_seed(seed));
        seed.zeroize();
        Ok(random)
    }
}

impl TryRng for SystemRandom {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        self.0.try_next_u32()
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        self.0.try_next_u64()
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        self.0.try_fill_bytes(bytes)
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
pub fn os_bytes() -> Result<[u8; 32], RandomError> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(RandomError)?;
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
        assert_ne!(os_bytes().unwrap(), os_bytes().unwrap());
    }

    #[test]
    fn debug_shows_no_state() {
        assert_eq!(format!("{:?}", SystemRandom::from_os().unwrap()), "SystemRandom(..)");
    }
}
