//! Which seeds a test runs over.

use std::{
    collections::hash_map::RandomState,
    env,
    hash::{BuildHasher, Hasher},
    thread,
};

/// How many seeds are always run by a test that asks for no other number: 1 to this.
pub const FIXED_SEEDS: u64 = 20;

/// Runs `test` with the seeds 1 to `fixed`, and with as many random ones as `FARLAN_SIM_SEEDS` says.
///
/// With `FARLAN_SIM_SEED` set, only that seed is run. When `test` panics, its seed is printed with the way to replay it.
///
/// # Panics
/// If one of the two variables is no number.
pub fn for_each_seed(fixed: u64, mut test: impl FnMut(u64)) {
    let mut run = |seed| {
        let _notice = Notice { seed };
        test(seed);
    };
    if let Some(seed) = number("FARLAN_SIM_SEED") {
        run(seed);
        return;
    }
    (1..=fixed).for_each(&mut run);
    if let Some(more) = number("FARLAN_SIM_SEEDS").filter(|&more| more > 0) {
        // The standard library seeds its hash maps from the operating system.
        let base = RandomState::new().build_hasher().finish() >> 16;
        eprintln!("random seeds: {base} and the {} after it", more - 1);
        (base..base.saturating_add(more)).for_each(&mut run);
    }
}

/// Prints the seed if its run ends in a panic.
struct Notice {
    seed: u64,
}

impl Drop for Notice {
    fn drop(&mut self) {
        if thread::panicking() {
            let test = thread::current().name().unwrap_or("TEST").to_owned();
            eprintln!(
                "failed with seed {seed}; replay: FARLAN_SIM_SEED={seed} cargo test -p farlan-tests -- --exact {test}",
                seed = self.seed
            );
        }
    }
}

fn number(variable: &str) -> Option<u64> {
    let text = env::var(variable).ok()?;
    match text.parse() {
        Ok(number) => Some(number),
        Err(error) => panic!("{variable}={text}: {error}"),
    }
}
