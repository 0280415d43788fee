//! `farlan`, but in networks of more than eight members broadcasts spread already: for tests of what the released program does above 128.
//!
//! Nodes alone look at that number, so the released supernode serves these, too.

use std::process::ExitCode;

use farlan::{cli, daemon::Tuning};

fn main() -> ExitCode {
    cli::main_with(Tuning { full_max: 8 })
}
