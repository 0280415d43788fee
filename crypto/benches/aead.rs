//! What sealing and opening take: by length, by itself and in batches, with each instruction set of this processor, and with the
//! crates alone. Run by: cargo bench -p farlan-crypto
//!
//! Each figure is the least of many tries, which take turns, since other programs run meanwhile: nanoseconds per message.

// Measuring is what this program is for; `unwrap` ends it.
#![allow(clippy::disallowed_methods, clippy::print_stdout, clippy::unwrap_used)]

use std::time::{Duration, Instant};

use farlan_crypto::aead::{open_portably, seal_portably};
use farlan_crypto::{Job, TAG};

#[cfg(target_arch = "x86_64")]
use farlan_crypto::simd::Isa;

const KEY: [u8; 32] = [7; 32];
const HEADER: [u8; 16] = [1; 16];

/// Times each figure is taken; the least counts.
const TRIES: usize = 400;

/// How long a try is about.
const TRY: Duration = Duration::from_micros(150);

/// What works on all messages of a batch.
type Work = Box<dyn Fn(&mut [Job<'_>])>;

fn main() {
    println!("nanoseconds per message (GB/s)\n");
    for (name, is_opening) in [("seal", false), ("open", true)] {
        let ways = ways(is_opening);
        print!("| {name}: bytes | messages at once |");
        ways.iter().for_each(|(name, _)| print!(" {name} |"));
        println!("\n|---|---|{}", "---|".repeat(ways.len()));
        for length in [64, 256, 1400, 8192] {
            for count in [1, 32, 64] {
                row(length, count, is_opening, &ways);
            }
        }
        println!();
    }
}

fn ways(is_opening: bool) -> Vec<(&'static str, Work)> {
    let portably = if is_opening { open_portably } else { seal_portably };
    let mut ways: Vec<(_, Work)> = vec![("crates", Box::new(move |jobs| jobs.iter_mut().for_each(portably)))];
    #[cfg(target_arch = "x86_64")]
    for isa in Isa::all() {
        let work = move |jobs: &mut [Job<'_>]| match (jobs, is_opening) {
            ([job], false) => isa.seal(job),
            ([job], true) => isa.open(job),
            (jobs, false) => isa.seal_batch(jobs),
            (jobs, true) => isa.open_batch(jobs),
        };
        ways.push((isa.name(), Box::new(work)));
    }
    ways
}

fn row(length: usize, count: usize, is_opening: bool, ways: &[(&'static str, Work)]) {
    let mut plain = vec![vec![5; length + TAG]; count];
    if is_opening {
        jobs(&mut plain).iter_mut().for_each(seal_portably);
    }
    // Opening changes what it opens, so each time needs its own; the copies stand aside of the clock.
    let mut least = vec![Duration::MAX; ways.len()];
    for _ in 0..TRIES {
        for ((_, work), least) in ways.iter().zip(&mut least) {
            let mut times = 0;
            let mut spent = Duration::ZERO;
            while spent < TRY {
                let mut sets = vec![plain.clone(); 64_usize.div_ceil(count)];
                let mut work_for: Vec<_> = sets.iter_mut().map(|set| jobs(set)).collect();
                let begin = Instant::now();
                work_for.iter_mut().for_each(|jobs| work(jobs));
                spent += begin.elapsed();
                times += (work_for.len() * count) as u32;
                assert!(!is_opening || work_for.iter().flatten().all(Job::is_authentic));
            }
            *least = (*least).min(spent * 100 / times);
        }
    }
    print!("| {length} | {count} |");
    for least in least {
        let nanoseconds = least.as_nanos() as f64 / 100.0;
        print!(" {nanoseconds:.0} ({:.2}) |", length as f64 / nanoseconds);
    }
    println!();
}

fn jobs(messages: &mut [Vec<u8>]) -> Vec<Job<'_>> {
    let jobs = (0..).zip(messages);
    jobs.map(|(counter, message)| Job::new(&KEY, counter, &HEADER, message).unwrap())
        .collect()
}
