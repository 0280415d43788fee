//! What sealing and opening take: by length, by itself and in batches, with each instruction set of this processor, beside the
//! crates alone and ring's ChaCha20-Poly1305; and whether that keeps to what was promised. `scripts/bench cipher` prints it.
//!
//! Each figure is the least of many tries, which take turns, since other programs run meanwhile.

// Measuring is what this is for.
#![allow(clippy::disallowed_methods)]

use std::{
    fmt,
    time::{Duration, Instant},
};

#[cfg(target_arch = "x86_64")]
use farlan_crypto::simd::Isa;
use farlan_crypto::{
    Job, TAG,
    aead::{open_portably, seal_portably},
};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, Tag, UnboundKey};

/// What does the work. Instruction sets have the names that `FARLAN_SIMD` gives them.
pub const WAYS: [&str; 5] = ["crates", "ring", "avx512", "avx2", "sse2"];

/// Bytes of messages.
const LENGTHS: [usize; 6] = [16, 64, 256, 512, 1400, 9000];

/// How many messages are sealed or opened at once.
const COUNTS: [usize; 2] = [1, TOGETHER];

const TOGETHER: usize = 32;

/// What was promised of sealing.
pub const BOUNDS: [Bound; 7] = [
    Bound::rate("avx512", 1400, 3.0),
    Bound::rate("avx2", 1400, 1.2),
    Bound::time("avx512", 64, 80.0),
    Bound::time("avx2", 64, 80.0),
    Bound::as_crates("avx512"),
    Bound::as_crates("avx2"),
    Bound::as_crates("sse2"),
];

/// A promise.
#[derive(Clone, Copy, Debug)]
pub struct Bound {
    way: &'static str,
    length: usize,
    count: usize,
    limit: Limit,
}

#[derive(Clone, Copy, Debug)]
enum Limit {
    /// At least so many gigabytes of messages a second.
    Rate(f64),
    /// At most so many nanoseconds a message.
    Time(f64),
    /// Not slower than the crates.
    Crates,
}

impl Bound {
    const fn rate(way: &'static str, length: usize, rate: f64) -> Self {
        let (count, limit) = (TOGETHER, Limit::Rate(rate));
        Self {
            way,
            length,
            count,
            limit,
        }
    }

    const fn time(way: &'static str, length: usize, nanoseconds: f64) -> Self {
        let (count, limit) = (TOGETHER, Limit::Time(nanoseconds));
        Self {
            way,
            length,
            count,
            limit,
        }
    }

    const fn as_crates(way: &'static str) -> Self {
        let (length, count, limit) = (64, 1, Limit::Crates);
        Self {
            way,
            length,
            count,
            limit,
        }
    }

    /// Whether these measurements keep to it. None if the processor has no such instructions.
    pub fn is_kept(&self, rows: &[Row]) -> Option<bool> {
        let (time, row) = self.find(rows)?;
        Some(match self.limit {
            Limit::Rate(least) => self.length as f64 / time >= least,
            Limit::Time(most) => time <= most,
            Limit::Crates => time <= row.time("crates")?,
        })
    }

    /// The bound and what was measured.
    pub fn describe(&self, rows: &[Row]) -> String {
        let Self { way, length, count, .. } = self;
        let measured = self.find(rows);
        let seen =
            |show: &dyn Fn(f64) -> String| measured.map_or_else(|| "not measured".into(), |(time, _)| show(time));
        let nanoseconds = |time: f64| format!("{time:.0} ns");
        let (limit, seen) = match self.limit {
            Limit::Rate(least) => {
                let rate = |time| format!("{:.2} GB/s", *length as f64 / time);
                (format!("at least {least:.2} GB/s"), seen(&rate))
            }
            Limit::Time(most) => (format!("at most {most:.0} ns"), seen(&nanoseconds)),
            Limit::Crates => {
                let crates = measured.and_then(|(_, row)| row.time("crates"));
                let limit = crates.map_or(String::new(), |time| format!(", {time:.0} ns"));
                (format!("not slower than the crates{limit}"), seen(&nanoseconds))
            }
        };
        format!("{way}, sealing {length} bytes, {count} at once: {limit}: {seen}")
    }

    fn find<'a>(&self, rows: &'a [Row]) -> Option<(f64, &'a Row)> {
        let is_it = |row: &&Row| (row.length, row.count, row.is_opening) == (self.length, self.count, false);
        let row = rows.iter().find(is_it)?;
        Some((row.time(self.way)?, row))
    }
}

/// The measurements of one kind of messages.
#[derive(Clone, Debug)]
pub struct Row {
    is_opening: bool,
    length: usize,
    count: usize,
    /// Nanoseconds a message by each of [`WAYS`]; none if the processor lacks it.
    times: [Option<f64>; WAYS.len()],
}

impl Row {
    fn time(&self, way: &str) -> Option<f64> {
        let at = WAYS.iter().position(|known| *known == way)?;
        self.times[at]
    }

    /// Measures all kinds of messages, each figure `tries` times.
    pub fn measure_all(tries: u32) -> Vec<Self> {
        let ways: Vec<_> = WAYS.iter().map(|way| Work::by(way)).collect();
        let mut rows = Vec::new();
        for is_opening in [false, true] {
            for length in LENGTHS {
                for count in COUNTS {
                    let mut times = [None; WAYS.len()];
                    for _ in 0..tries {
                        for (work, time) in ways.iter().zip(&mut times) {
                            let Some(work) = work else { continue };
                            let tried = work.try_once(is_opening, length, count);
                            *time = Some(time.unwrap_or(f64::MAX).min(tried));
                        }
                    }
                    rows.push(Self {
                        is_opening,
                        length,
                        count,
                        times,
                    });
                }
            }
        }
        rows
    }

    /// The heading of a table of such rows.
    pub fn heading(is_opening: bool) -> String {
        let action = if is_opening { "open" } else { "seal" };
        let ways = WAYS.join(" | ");
        format!(
            "| {action}: bytes | at once | {ways} |\n|---|---|{}",
            "---|".repeat(WAYS.len())
        )
    }

    /// Whether this is about opening.
    pub fn is_opening(&self) -> bool {
        self.is_opening
    }
}

/// A line of a table.
impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "| {} | {} |", self.length, self.count)?;
        for (way, time) in WAYS.iter().zip(self.times) {
            let Some(time) = time else {
                write!(f, " not measured |")?;
                continue;
            };
            write!(f, " {time:.0} ({:.2})", self.length as f64 / time)?;
            if let (Some(crates), Some(ring), false) = (self.time("crates"), self.time("ring"), *way == "crates") {
                write!(f, " {:.1}", crates / time)?;
                if *way != "ring" {
                    write!(f, ", {:.1}", ring / time)?;
                }
            }
            write!(f, " |")?;
        }
        Ok(())
    }
}

/// Somebody who seals and opens.
enum Work {
    Crates,
    Ring(Box<LessSafeKey>),
    #[cfg(target_arch = "x86_64")]
    Simd(Isa),
}

impl Work {
    fn by(way: &str) -> Option<Self> {
        match way {
            "crates" => Some(Self::Crates),
            "ring" => {
                let key = UnboundKey::new(&CHACHA20_POLY1305, &KEY).ok()?;
                Some(Self::Ring(Box::new(LessSafeKey::new(key))))
            }
            #[cfg(target_arch = "x86_64")]
            name => Isa::all().find(|isa| isa.name() == name).map(Self::Simd),
            #[cfg(not(target_arch = "x86_64"))]
            _ => None,
        }
    }

    /// Nanoseconds a message, of a try of about [`TRY`].
    ///
    /// # Panics
    /// If what was sealed is not authentic.
    fn try_once(&self, is_opening: bool, length: usize, count: usize) -> f64 {
        let mut plain = vec![vec![5; length + TAG]; count];
        if is_opening {
            self.time(false, &mut [&mut plain]);
        }
        let (mut spent, mut times) = (Duration::ZERO, 0);
        while spent < TRY {
            // Opening changes what it opens, so each time needs its own; the copies stand aside of the clock.
            let mut sets = vec![plain.clone(); AT_HAND.div_ceil(count)];
            times += sets.len() * count;
            spent += self.time(is_opening, &mut sets.iter_mut().collect::<Vec<_>>());
        }
        spent.as_nanos() as f64 / times as f64
    }

    /// Seals or opens batches.
    fn time(&self, is_opening: bool, sets: &mut [&mut Vec<Vec<u8>>]) -> Duration {
        if let Self::Ring(key) = self {
            let begin = Instant::now();
            for set in sets.iter_mut() {
                for (counter, message) in (0..).zip(set.iter_mut()) {
                    by_ring(key, is_opening, counter, message);
                }
            }
            return begin.elapsed();
        }
        let mut batches: Vec<_> = sets.iter_mut().map(|set| jobs(set)).collect();
        let begin = Instant::now();
        for batch in &mut batches {
            self.work(is_opening, batch);
        }
        let spent = begin.elapsed();
        assert!(!is_opening || batches.iter().flatten().all(Job::is_authentic));
        spent
    }

    fn work(&self, is_opening: bool, jobs: &mut [Job<'_>]) {
        match (self, is_opening, jobs) {
            #[cfg(target_arch = "x86_64")]
            (Self::Simd(isa), false, [job]) => isa.seal(job),
            #[cfg(target_arch = "x86_64")]
            (Self::Simd(isa), true, [job]) => isa.open(job),
            #[cfg(target_arch = "x86_64")]
            (Self::Simd(isa), false, jobs) => isa.seal_batch(jobs),
            #[cfg(target_arch = "x86_64")]
            (Self::Simd(isa), true, jobs) => isa.open_batch(jobs),
            (Self::Crates | Self::Ring(_), false, jobs) => jobs.iter_mut().for_each(seal_portably),
            (Self::Crates | Self::Ring(_), true, jobs) => jobs.iter_mut().for_each(open_portably),
        }
    }
}

fn by_ring(key: &LessSafeKey, is_opening: bool, counter: u64, message: &mut [u8]) {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&u64::to_le_bytes(counter));
    let nonce = Nonce::assume_unique_for_key(nonce);
    let (text, tag) = message.split_last_chunk_mut::<TAG>().expect("room for a tag");
    if is_opening {
        let sent = Tag::from(*tag);
        key.open_in_place_separate_tag(nonce, Aad::from(HEADER), sent, text, 0..)
            .expect("what was sealed");
    } else {
        let made = key.seal_in_place_separate_tag(nonce, Aad::from(HEADER), text);
        tag.copy_from_slice(made.expect("a short message").as_ref());
    }
}

fn jobs(messages: &mut [Vec<u8>]) -> Vec<Job<'_>> {
    let jobs = (0..).zip(messages);
    jobs.filter_map(|(counter, message)| Job::new(&KEY, counter, &HEADER, message))
        .collect()
}

const KEY: [u8; 32] = [7; 32];

/// As long as the header of a datagram.
const HEADER: [u8; 16] = [1; 16];

/// How long a try is about.
const TRY: Duration = Duration::from_micros(150);

/// Messages between two looks at the clock.
const AT_HAND: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn row(count: usize, length: usize, times: [Option<f64>; WAYS.len()]) -> Row {
        Row {
            is_opening: false,
            length,
            count,
            times,
        }
    }

    #[test]
    fn bounds_are_kept_missed_or_not_measured() {
        let rows = [
            row(1, 64, [Some(340.0), Some(400.0), None, Some(341.0), Some(339.0)]),
            row(32, 64, [Some(340.0), Some(400.0), None, Some(81.0), Some(120.0)]),
            row(32, 1400, [Some(3000.0), Some(900.0), None, Some(700.0), Some(1400.0)]),
        ];
        let kept = BOUNDS.map(|bound| bound.is_kept(&rows));
        let expected = [None, Some(true), None, Some(false), None, Some(false), Some(true)];
        assert_eq!(kept, expected);
        assert!(BOUNDS[0].describe(&rows).ends_with("3.00 GB/s: not measured"));
        assert!(BOUNDS[1].describe(&rows).ends_with("1.20 GB/s: 2.00 GB/s"));
        assert!(
            rows[2]
                .to_string()
                .ends_with("| not measured | 700 (2.00) 4.3, 1.3 | 1400 (1.00) 2.1, 0.6 |")
        );
    }

    #[test]
    fn everything_that_is_measured_works() {
        for row in Row::measure_all(1) {
            let measured = row.times.iter().flatten().count();
            assert!(
                measured >= 2 && row.times.iter().flatten().all(|time| *time > 0.0),
                "{row}"
            );
        }
    }
}
