//! Finding the session keys in a program's memory, by trying what is there on recorded datagrams.

#[path = "../../../crypto/tests/scan/mod.rs"]
mod scan;

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use farlan_crypto::{KEY, Key};

use super::record::Data;
use scan::{Memory, Needles};

/// The key of each session that was found, by the receiver's index.
pub type Keys = BTreeMap<u32, Key>;

/// Keys lie at multiples of this, wherever the compiler or the allocator puts them.
const ALIGNMENT: usize = 4;

/// Looks in the memory of a process for keys that open recorded datagrams: tries what lies at every address on the shortest
/// datagram of every session.
///
/// # Errors
/// The process is gone or may not be looked at.
pub fn find(pid: u32, recorded: &[Data]) -> Result<Keys> {
    let mut shortest: BTreeMap<u32, &Data> = BTreeMap::new();
    for data in recorded {
        let one = shortest.entry(data.receiver).or_insert(data);
        if data.sealed.len() < one.sealed.len() {
            *one = data;
        }
    }
    let mut keys = Keys::new();
    let (mut tried, mut last) = (0_u64, [0; KEY]);
    let total = memory(pid)?.visit(KEY - ALIGNMENT, |_, bytes| {
        for place in (0..bytes.len().saturating_sub(KEY - 1)).step_by(ALIGNMENT) {
            let Some(candidate) = bytes[place..].first_chunk::<KEY>() else {
                break;
            };
            if !may_be_key(candidate) || *candidate == last {
                continue;
            }
            last = *candidate;
            tried += 1;
            let key = Key::from_bytes(*candidate);
            let opened = shortest.values().find(|data| data.opens(&key));
            if let Some(data) = opened {
                keys.insert(data.receiver, key);
            }
        }
    });
    println!(
        "process {pid}: {} MB of memory, {tried} candidates, {} keys of {} sessions",
        total >> 20,
        keys.len(),
        shortest.len()
    );
    Ok(keys)
}

/// How many halves of these keys are in the memory of a process.
///
/// # Errors
/// As [`find`].
pub fn halves_left<'a>(pid: u32, keys: impl IntoIterator<Item = (&'a u32, &'a Key)>) -> Result<usize> {
    let mut needles = Needles::default();
    for (index, key) in keys {
        needles.add(&format!("{index:08x}"), key.as_bytes());
    }
    Ok(needles.found(&memory(pid)?).len())
}

fn memory(pid: u32) -> Result<Memory> {
    Memory::of(&pid.to_string()).with_context(|| format!("cannot look at the memory of process {pid}"))
}

/// Whether these bytes are as diverse as random ones: of 32 fewer than 20 different ones come once in 10^9 keys.
fn may_be_key(bytes: &[u8; KEY]) -> bool {
    let mut seen = [0_u64; 4];
    for byte in bytes {
        seen[usize::from(byte >> 6)] |= 1 << (byte & 63);
    }
    seen.iter().map(|bits| bits.count_ones()).sum::<u32>() >= 20
}
