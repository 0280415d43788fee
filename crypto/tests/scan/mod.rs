//! Looking for secrets in the memory of a process, by what the kernel shows of it under `/proc`.

#![allow(unreachable_pub, reason = "other crates' tests include this file")]

use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

/// Bytes looked for at a time. Ciphers keep a key in two halves, so a half counts as the whole.
pub const NEEDLE: usize = 16;

/// Bytes read at a time.
const CHUNK: usize = 1 << 20;

/// The memory of a process that it can write, where secrets can be.
pub struct Memory {
    file: File,
    regions: Vec<Range<u64>>,
}

impl Memory {
    /// The memory of a process, `"self"` or a number.
    ///
    /// # Errors
    /// There is no such process, or it may not be looked at: another user's, or without CAP_SYS_PTRACE.
    pub fn of(process: &str) -> io::Result<Self> {
        let maps = fs::read_to_string(format!("/proc/{process}/maps"))?;
        let regions = maps.lines().filter_map(region).collect();
        let file = File::open(format!("/proc/{process}/mem"))?;
        Ok(Self { file, regions })
    }

    /// Shows `visit` all of it, piece by piece, each with its address. A piece begins with the last `overlap` bytes of the
    /// one before if that lies directly in front. Returns how many bytes there are.
    pub fn visit(&self, overlap: usize, mut visit: impl FnMut(u64, &[u8])) -> u64 {
        let mut buffer = vec![0; overlap + CHUNK];
        // What this process reads of itself lies in the buffer too, and is not to be found there.
        let place = buffer.as_ptr() as u64;
        let own = place..place + buffer.len() as u64;
        let mut total = 0;
        for region in &self.regions {
            let mut at = region.start;
            let mut kept = 0;
            while at < region.end {
                if own.contains(&at) {
                    (at, kept) = (own.end, 0);
                    continue;
                }
                let mut end = region.end.min(at + CHUNK as u64);
                if own.start > at {
                    end = end.min(own.start);
                }
                let length = (end - at) as usize;
                let piece = &mut buffer[kept..kept + length];
                // The process goes on meanwhile, and some of its pages are the kernel's.
                if self.file.read_exact_at(piece, at).is_err() {
                    (at, kept) = (end, 0);
                    continue;
                }
                total += length as u64;
                let shown = kept + length;
                visit(at - kept as u64, &buffer[..shown]);
                let next = overlap.min(shown);
                buffer.copy_within(shown - next..shown, 0);
                (at, kept) = (end, next);
            }
        }
        buffer.fill(0);
        std::hint::black_box(&buffer);
        total
    }
}

/// A line of `/proc/PID/maps` that is writable memory.
fn region(line: &str) -> Option<Range<u64>> {
    let mut words = line.split(' ');
    let (start, end) = words.next()?.split_once('-')?;
    let rights = words.next()?;
    let number = |text| u64::from_str_radix(text, 16).ok();
    rights.starts_with("rw").then_some(number(start)?..number(end)?)
}

/// Secrets to look for, masked so that they are not found where they are kept for this.
#[derive(Default)]
pub struct Needles(Vec<(String, [u8; NEEDLE])>);

/// The mask of needles, a byte; secrets are random, so any will do.
const MASK: u8 = 0xa5;

impl Needles {
    /// Looks for `secret` as well: for each of its pieces of [`NEEDLE`] bytes. Returns how many pieces there are by now.
    pub fn add(&mut self, name: &str, secret: &[u8]) -> usize {
        let (pieces, _) = secret.as_chunks::<NEEDLE>();
        for (number, piece) in pieces.iter().enumerate() {
            let mut masked = [0; NEEDLE];
            for (byte, secret) in masked.iter_mut().zip(piece) {
                *byte = secret ^ MASK;
            }
            self.0.push((format!("{name}, piece {number}"), masked));
        }
        self.0.len()
    }

    /// The pieces that are somewhere in `memory`, by name, with how often.
    pub fn found(&self, memory: &Memory) -> Vec<(&str, usize)> {
        // Which needles begin with a byte.
        let mut first = vec![Vec::new(); 256];
        for (number, (_, masked)) in self.0.iter().enumerate() {
            first[usize::from(masked[0] ^ MASK)].push(number);
        }
        let mut counts = vec![0; self.0.len()];
        memory.visit(NEEDLE - 1, |_, bytes| {
            for window in bytes.windows(NEEDLE) {
                for number in &first[usize::from(window[0])] {
                    let masked = &self.0[*number].1;
                    if window.iter().zip(masked).all(|(byte, masked)| byte ^ MASK == *masked) {
                        counts[*number] += 1;
                    }
                }
            }
        });
        let found = self.0.iter().zip(counts).filter(|(_, count)| *count > 0);
        found.map(|((name, _), count)| (name.as_str(), count)).collect()
    }
}
