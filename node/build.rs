//! Finds the date of the source, before which the clock of no machine that runs it can be right (`daemon::private::clock`).
//!
//! It is taken from the source and not from the compiler's machine, so that one source gives one program: `SOURCE_DATE_EPOCH`, as
//! whoever makes packages sets it (<https://reproducible-builds.org/specs/source-date-epoch/>); else the day of the newest commit, where
//! the source is a git checkout; else nothing, and the date of the documents' format counts.

use std::{env, process::Command};

/// Commits of one day need not compile the crate anew.
const DAY: u64 = 24 * 3600;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=SOURCE_DATE_EPOCH");
    let date = match env::var("SOURCE_DATE_EPOCH") {
        Ok(epoch) => match epoch.trim().parse() {
            Ok(seconds) => seconds,
            Err(_) => {
                println!("cargo::error=SOURCE_DATE_EPOCH is no number of seconds: {epoch}");
                return;
            }
        },
        Err(_) => commit_day().unwrap_or_default(),
    };
    println!("cargo::rustc-env=FARLAN_SOURCE_DATE={date}");
}

/// The beginning of the day of the newest commit, in seconds since 1970.
fn commit_day() -> Option<u64> {
    // What is written at each commit and checkout.
    let log = git(&["rev-parse", "--git-path", "logs/HEAD"])?;
    println!("cargo::rerun-if-changed={log}");
    let seconds: u64 = git(&["log", "-1", "--format=%ct"])?.parse().ok()?;
    Some(seconds / DAY * DAY)
}

/// What git says of this checkout; nothing where there is none.
fn git(arguments: &[&str]) -> Option<String> {
    // Another user may own it, as in a container.
    let output = Command::new("git")
        .args(["-c", "safe.directory=*"])
        .args(arguments)
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
