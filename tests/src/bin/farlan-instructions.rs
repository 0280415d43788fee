//! Counts the instructions of the hot functions: `scripts/instructions`.

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context, Result};
use clap::Parser;
use farlan_tests::instructions::{Gate, measure_all};

#[derive(Parser)]
#[command(about = "Count the instructions of the data path's hot functions and compare them with the baseline")]
struct Arguments {
    /// Write the counts down as the new baseline.
    #[arg(long)]
    update: bool,
    /// The baseline.
    #[arg(long, default_value = "tests/instructions.toml")]
    baseline: PathBuf,
    /// Do what is to be measured; this is how the program starts itself in valgrind.
    #[arg(long, hide = true)]
    inner: bool,
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    if arguments.inner {
        measure_all(|name, operations| println!("{name} {operations}"));
        return Ok(ExitCode::SUCCESS);
    }
    let program = std::env::current_exe().context("where this program is")?;
    let gate = Gate::measure(&arguments.baseline, &program, &["--inner"])?;
    print!("{gate}");
    println!("not measured: avx512, which valgrind does not know; scripts/bench cipher takes its time");
    if arguments.update {
        gate.update()?;
        println!("wrote {}", arguments.baseline.display());
        return Ok(ExitCode::SUCCESS);
    }
    if gate.passes() {
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!(
        "the counts are not those of {}. If that is meant, or the compiler is another one: scripts/instructions --update, \
         and say why in the commit",
        arguments.baseline.display()
    );
    Ok(ExitCode::FAILURE)
}
