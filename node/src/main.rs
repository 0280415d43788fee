//! The `farlan` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    farlan::cli::main()
}
