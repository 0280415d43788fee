//! What decays, in whole numbers: the same on every machine.

use std::time::Duration;

/// The half-life of a score.
const HALF_LIFE: Duration = Duration::from_secs(30);

/// A score after some time.
pub(crate) fn decayed(score: u32, age: Duration) -> u32 {
    u32::try_from(halved(u64::from(score), age)).unwrap_or(u32::MAX)
}

/// A number that halves every [`HALF_LIFE`], in steps of a 32nd of that.
pub(crate) fn halved(number: u64, age: Duration) -> u64 {
    let steps = age.as_millis() * 32 / HALF_LIFE.as_millis();
    let Ok(halvings) = u32::try_from(steps / 32) else {
        return 0;
    };
    let step = usize::try_from(steps % 32).unwrap_or(0);
    let part = (number * u64::from(HALVES.get(step).copied().unwrap_or(0))) >> 16;
    part.checked_shr(halvings).unwrap_or(0)
}

/// 2^16 · 2^(-n/32).
const HALVES: [u32; 32] = [
    65536, 64132, 62757, 61413, 60097, 58809, 57549, 56316, 55109, 53928, 52773, 51642, 50535, 49452, 48393, 47356,
    46341, 45348, 44376, 43425, 42495, 41584, 40693, 39821, 38968, 38133, 37316, 36516, 35734, 34968, 34219, 33486,
];
