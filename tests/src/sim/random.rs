//! The simulator's source of randomness.

use std::{convert::Infallible, time::Duration};

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng, TryCryptoRng, TryRng};
use sha2::{Digest, Sha512};

/// A random source that repeats itself for the same seed, label and index.
///
/// It claims to be fit for cryptography, as the engine demands, but anyone who knows the seed can predict it. The type
/// exists in this test crate only, so no released program can be built with it.
#[derive(Debug)]
pub struct ReproducibleRandom(ChaCha20Rng);

impl ReproducibleRandom {
    /// The stream number `index` of those named `label` in the run of `seed`.
    ///
    /// Streams are independent: drawing from one never shifts another.
    pub fn new(seed: u64, label: &str, index: u64) -> Self {
        let digest = Sha512::new()
            .chain_update(b"farlan simulator stream")
            .chain_update(seed.to_be_bytes())
            .chain_update(index.to_be_bytes())
            .chain_update(label.as_bytes())
            .finalize();
        let mut key = [0; 32];
        key.copy_from_slice(&digest[..32]);
        Self(ChaCha20Rng::from_seed(key))
    }

    /// 32 bytes.
    pub fn block(&mut self) -> [u8; 32] {
        let mut block = [0; 32];
        self.0.fill_bytes(&mut block);
        block
    }

    /// A number below `bound`; 0 for a `bound` of 0. The tiny bias of the remainder does not matter here.
    pub fn below(&mut self, bound: u64) -> u64 {
        let number = self.0.next_u64();
        number.checked_rem(bound).unwrap_or(0)
    }

    /// Whether something of probability `share` (0 to 1) happens. It draws the same amount for any share.
    pub fn chance(&mut self, share: f64) -> bool {
        // The upper 53 bits as a fraction of one.
        ((self.0.next_u64() >> 11) as f64) / ((1_u64 << 53) as f64) < share
    }

    /// A duration from zero to below `bound`.
    pub fn duration_below(&mut self, bound: Duration) -> Duration {
        Duration::from_nanos(self.below(u64::try_from(bound.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl TryRng for ReproducibleRandom {
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

impl TryCryptoRng for ReproducibleRandom {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_repeat_and_differ_by_seed_label_and_index() {
        let first = ReproducibleRandom::new(1, "a", 0).block();
        assert_eq!(first, ReproducibleRandom::new(1, "a", 0).block());
        assert_ne!(first, ReproducibleRandom::new(2, "a", 0).block());
        assert_ne!(first, ReproducibleRandom::new(1, "b", 0).block());
        assert_ne!(first, ReproducibleRandom::new(1, "a", 1).block());
    }

    #[test]
    fn chance_hits_about_its_share() {
        let mut random = ReproducibleRandom::new(1, "chance", 0);
        let hits = (0..100_000).filter(|_| random.chance(0.05)).count();
        assert!((4_700..5_300).contains(&hits), "{hits}");
        assert!((0..1_000).all(|_| !random.chance(0.0)));
    }
}
