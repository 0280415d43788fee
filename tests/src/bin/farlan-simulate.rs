//! Many seeded runs of the simulator: `scripts/simulate`.

use std::{
    process::ExitCode,
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::Duration,
};

use clap::Parser;
use farlan_tests::sim::{FIRED, batch};

#[derive(Parser)]
#[command(about = "Run the simulator over many seeds, on all cores")]
struct Arguments {
    /// How many runs.
    #[arg(long, default_value_t = 10_000)]
    runs: u64,
    /// The first seed; the others follow it.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Stop after this time, wherever it is.
    #[arg(long)]
    minutes: Option<f64>,
    /// Every kind of fault must have had an effect so often, or the batch is worth nothing; 100 from 200 runs on.
    #[arg(long)]
    fired: Option<u64>,
}

/// Runs between two signs of life.
const TOLD: u64 = 500;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let limit = arguments.minutes.map(|minutes| Duration::from_secs_f64(minutes * 60.0));
    let done = AtomicU64::new(0);
    let seeds = arguments.seed..arguments.seed.saturating_add(arguments.runs);
    let report = batch(seeds, threads, limit, |seed, good| {
        let done = done.fetch_add(1, Ordering::Relaxed) + 1;
        if !good {
            println!("seed {seed} failed; replay: scripts/simulate --seed {seed} --runs 1");
        } else if done.is_multiple_of(TOLD) {
            println!("{done} runs");
        }
    });
    print!("{report}");
    for (seed, reason) in &report.failed {
        println!("seed {seed}: {reason}");
    }
    println!(
        "go on with: scripts/simulate --seed {} --runs {}",
        report.next, arguments.runs
    );
    let idle = report.idle(arguments.fired);
    if !idle.is_empty() {
        println!(
            "had an effect less than {} times: {idle:?}",
            arguments.fired.unwrap_or(FIRED)
        );
    }
    if report.failed.is_empty() && idle.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
