//! How many instructions the hot functions of the data path take: a gate that does not depend on how busy or how fast
//! the machine is.
//!
//! `farlan-instructions` runs itself under valgrind's callgrind, which counts the instructions between entering and
//! leaving [`measured`], and compares them with `tests/instructions.toml`. What is counted is this code as it was
//! released: the profile is that of the released programs.
//!
//! The counts are those of one code path. Valgrind's processor has AVX2 at most, whatever the machine has, and libc
//! is told to do without it, so that its `memcpy` is the same one everywhere. Code of ours that looks for
//! features of the processor at run time is counted as it runs in valgrind.

mod engines;
mod gate;
mod packets;
mod parts;

pub use gate::{Baseline, Gate, Verdict};
pub use parts::measure_all;

/// Runs `operation` so often; callgrind counts what happens in here and nothing else.
#[inline(never)]
pub fn measured(times: u32, operation: &mut dyn FnMut()) {
    for _ in 0..times {
        operation();
    }
}
