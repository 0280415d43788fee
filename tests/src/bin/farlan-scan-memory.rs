//! Looks for session keys in the memory of the released programs: while they are in use, and when they were renewed and have
//! reached the age at which they end.

use std::process::ExitCode;
use std::time::Duration;

use farlan_tests::ns::secrecy::Watched;
use farlan_tests::ns::{limit, requirements};

/// Three minutes of waiting, and what a slow machine needs for the rest.
const LIMIT: Duration = Duration::from_secs(400);

fn main() -> ExitCode {
    let outcome = requirements::check_all()
        .and_then(|()| limit::with_lab(LIMIT, |lab| Watched::start(lab)?.renewed_keys_are_wiped()));
    match outcome {
        Ok(()) => {
            println!("nothing is left of the old keys");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
