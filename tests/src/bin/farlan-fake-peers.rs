//! Very many made-up nodes: `scripts/measure-fake-peers`.

use std::{process::ExitCode, time::Instant};

use anyhow::Result;
use clap::{Parser, ValueEnum};
use farlan_engine::Limits;
use farlan_tests::fakes::{Doing, measure};

#[derive(Clone, Copy, Debug, ValueEnum)]
enum What {
    Members,
    Registering,
    Forging,
}

#[derive(Parser)]
#[command(about = "Let very many made-up nodes come, and see what they take of memory and whether real ones notice")]
struct Arguments {
    /// What they do.
    what: What,
    /// How many come.
    #[arg(long, default_value_t = 1_000_000)]
    fakes: u64,
}

/// What the memory of a supernode or node must stay below.
const RESIDENT: u64 = 256 << 20;

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    let doing = match arguments.what {
        What::Members => Doing::Members,
        What::Registering => Doing::Registering,
        What::Forging => Doing::Forging,
    };
    let start = Instant::now();
    let seen = measure(doing, arguments.fakes, Limits::default(), |done| {
        eprintln!("{done} after {:.0?}", start.elapsed());
    })?;
    println!("{:?}: {seen:#?}", arguments.what);
    println!(
        "peak resident {} MiB, after {:.0?}",
        seen.resident >> 20,
        start.elapsed()
    );
    let good = seen.resident < RESIDENT && seen.lost == 0 && seen.parted == 0;
    Ok(ExitCode::from(u8::from(!good)))
}
