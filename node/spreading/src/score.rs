//! What decays, in whole numbers: the same on every machine.

use std::time::Duration;

/// The half-life of a score, in milliseconds.
const HALF_LIFE_MS: u64 = 30_000;

/// A score after some time.
pub(crate) fn decayed(score: u32, age: Duration) -> u32 {
    u32::try_from(halved(u64::from(score), age)).unwrap_or(u32::MAX)
}

/// A number that halves every 30 s, on a straight line between the 32nds of that.
pub(crate) fn halved(number: u64, age: Duration) -> u64 {
    let life = HALF_LIFE_MS;
    let age = u64::try_from(age.as_millis()).unwrap_or(u64::MAX).saturating_mul(32);
    let (steps, between) = (age / life, age % life);
    let at = |step: u64| {
        HALVES
            .get(usize::try_from(step).unwrap_or(0))
            .copied()
            .map_or(0, u64::from)
    };
    let (from, to) = (at(steps % 32), at(steps % 32 + 1));
    let part = (number * (from - (from - to) * between / life)) >> 16;
    let halvings = u32::try_from(steps / 32).unwrap_or(u32::MAX);
    part.checked_shr(halvings).unwrap_or(0)
}

/// 2^16 · 2^(-n/32).
const HALVES: [u32; 33] = [
    65536, 64132, 62757, 61413, 60097, 58809, 57549, 56316, 55109, 53928, 52773, 51642, 50535, 49452, 48393, 47356,
    46341, 45348, 44376, 43425, 42495, 41584, 40693, 39821, 38968, 38133, 37316, 36516, 35734, 34968, 34219, 33486,
    32768,
];
