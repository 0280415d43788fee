//! The benchmark of the released programs beside other systems, in network namespaces. `scripts/bench` builds what it
//! needs and runs it.

use std::process::ExitCode;

use clap::Parser;
use farlan_tests::bench::load::Load;
use farlan_tests::bench::{self, plan::Options};

#[derive(Parser)]
#[command(
    about = "Measure farlan beside other systems in network namespaces",
    args_conflicts_with_subcommands = true
)]
struct Arguments {
    #[command(subcommand)]
    load: Option<Load>,
    #[command(flatten)]
    options: Options,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = match &arguments.load {
        Some(load) => load.run(),
        None if arguments.options.list_builds => {
            for build in arguments.options.builds() {
                println!("{build}");
            }
            Ok(())
        }
        None => bench::run(&arguments.options),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("the benchmark failed: {error:#}");
            ExitCode::FAILURE
        }
    }
}
