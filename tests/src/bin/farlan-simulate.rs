//! Many seeded runs of the simulator: `scripts/simulate`.

use std::{
    process::ExitCode,
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::Duration,
};

use clap::Parser;
use farlan_tests::sim::{Change, ChangeReport, FIRED, Pair, PairReport, batch};

#[derive(Parser)]
#[command(about = "Run the simulator over many seeds, on all cores")]
struct Arguments {
    /// How many runs; with --changes, of each change (200).
    #[arg(long)]
    runs: Option<u64>,
    /// The first seed; the others follow it.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Stop after this time, wherever it is.
    #[arg(long)]
    minutes: Option<f64>,
    /// Every kind of fault must have had an effect so often, or the batch is worth nothing; 100 from 200 runs on.
    #[arg(long)]
    fired: Option<u64>,
    /// Pairs of nodes behind all kinds of homes instead: whether they come to a direct path where they must.
    #[arg(long, conflicts_with = "fired")]
    traversal: bool,
    /// Changes of network instead: how long nothing gets through.
    #[arg(long, conflicts_with_all = ["fired", "traversal", "minutes"])]
    changes: bool,
}

impl Arguments {
    fn seeds(&self, usual: u64) -> std::ops::Range<u64> {
        self.seed..self.seed.saturating_add(self.runs.unwrap_or(usual))
    }

    fn limit(&self) -> Option<Duration> {
        self.minutes.map(|minutes| Duration::from_secs_f64(minutes * 60.0))
    }
}

/// How many runs there usually are, and how many of each change.
const RUNS: u64 = 10_000;
const CHANGES: u64 = 200;

/// Runs between two signs of life.
const TOLD: u64 = 500;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let good = if arguments.traversal {
        pairs(&arguments, threads)
    } else if arguments.changes {
        changes(&arguments, threads)
    } else {
        faults(&arguments, threads)
    };
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn faults(arguments: &Arguments, threads: usize) -> bool {
    let done = AtomicU64::new(0);
    let report = batch(arguments.seeds(RUNS), threads, arguments.limit(), |seed, good| {
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
    let runs = arguments.runs.unwrap_or(RUNS);
    println!("go on with: scripts/simulate --seed {} --runs {runs}", report.next);
    let idle = report.idle(arguments.fired);
    if !idle.is_empty() {
        println!(
            "had an effect less than {} times: {idle:?}",
            arguments.fired.unwrap_or(FIRED)
        );
    }
    report.failed.is_empty() && idle.is_empty()
}

fn pairs(arguments: &Arguments, threads: usize) -> bool {
    let mut done = 0_u64;
    let told = |pair: &Pair, wrong: Option<&str>| {
        done += 1;
        if let Some(wrong) = wrong {
            let seed = pair.seed;
            println!("seed {seed}: {pair}: {wrong}; replay: scripts/simulate --traversal --seed {seed} --runs 1");
        } else if done.is_multiple_of(TOLD) {
            println!("{done} pairs");
        }
    };
    let report = PairReport::run(arguments.seeds(RUNS), threads, arguments.limit(), Pair::draw, told);
    print!("{report}");
    let runs = arguments.runs.unwrap_or(RUNS);
    println!(
        "go on with: scripts/simulate --traversal --seed {} --runs {runs}",
        report.next
    );
    report.is_good()
}

fn changes(arguments: &Arguments, threads: usize) -> bool {
    Change::ALL.into_iter().fold(true, |good, change| {
        let report = ChangeReport::run(change, arguments.seeds(CHANGES), threads);
        println!("{report}");
        good && report.is_good()
    })
}
