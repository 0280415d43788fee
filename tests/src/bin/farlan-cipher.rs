//! Measures the cipher alone: `scripts/bench cipher`.

use std::process::ExitCode;

use clap::Parser;
use farlan_tests::cipher::{BOUNDS, Row};

#[derive(Parser)]
#[command(
    about = "Measure sealing and opening by length and instruction set, and fail if a bound is missed or cannot be measured on this processor"
)]
struct Arguments {
    /// How often each figure is taken; the least counts.
    #[arg(long, default_value_t = 400)]
    tries: u32,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    println!(
        "Nanoseconds per message (GB/s) and how many times as fast as the crates, as ring's ChaCha20-Poly1305; least of {} tries.",
        arguments.tries
    );
    let rows = Row::measure_all(arguments.tries);
    for is_opening in [false, true] {
        println!("\n{}", Row::heading(is_opening));
        rows.iter()
            .filter(|row| row.is_opening() == is_opening)
            .for_each(|row| println!("{row}"));
    }
    println!();
    let (mut missed, mut unknown) = (0, 0);
    for bound in BOUNDS {
        let verdict = match bound.is_kept(&rows) {
            Some(true) => "kept",
            Some(false) => {
                missed += 1;
                "MISSED"
            }
            // Which is not a pass.
            None => {
                unknown += 1;
                "this processor cannot tell"
            }
        };
        println!("* {}: {verdict}", bound.describe(&rows));
    }
    println!("\n{missed} of {} bounds missed, {unknown} not measured", BOUNDS.len());
    if missed == 0 && unknown == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
