//! Tells the script how many inputs there were, and how many of them counted: got past authentication, or for the
//! handshakes, had a message spoilt.

use std::{
    env, fs,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

/// How often it is written down, in inputs.
const EVERY: u64 = 64;

/// Counts an input, and writes `inputs counted` into the file that FARLAN_FUZZ_SHARE names now and then.
pub(crate) fn note(counts: bool) {
    static FILE: OnceLock<Option<String>> = OnceLock::new();
    static INPUTS: AtomicU64 = AtomicU64::new(0);
    static COUNTED: AtomicU64 = AtomicU64::new(0);
    let inputs = INPUTS.fetch_add(1, Ordering::Relaxed) + 1;
    let counted = COUNTED.fetch_add(u64::from(counts), Ordering::Relaxed) + u64::from(counts);
    if inputs.is_multiple_of(EVERY)
        && let Some(file) = FILE.get_or_init(|| env::var("FARLAN_FUZZ_SHARE").ok())
    {
        fs::write(file, format!("{inputs} {counted}\n")).expect("the script made the directory");
    }
}
