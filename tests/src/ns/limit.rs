//! One lab at a time, within a time limit, with the logs shown when something fails.

use std::panic::{self, AssertUnwindSafe};
use std::path::PathBuf;
use std::process;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::Result;

use super::namespace;
use super::program;
use super::requirements;
use super::topology::Lab;

/// Labs share the machine's CPU, and their timings are only comparable one at a time.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Runs a test in a lab of its own: checks what the machine must have, waits for its turn, ends the process if
/// `limit` passes, and shows the ends of all logs if `body` fails.
///
/// # Panics
/// The machine lacks something, or `body` fails or panics; so that libtest sees it.
pub fn test(limit: Duration, body: impl FnOnce(&mut Lab) -> Result<()>) {
    let outcome = requirements::check_all().and_then(|()| with_lab(limit, body));
    if let Err(error) = outcome {
        panic!("{error:#}");
    }
}

/// Makes a lab, passes it to `body` and removes it. See [`test()`] for limit and logs.
///
/// # Errors
/// The lab cannot be made, or what `body` reports.
pub fn with_lab<T>(limit: Duration, body: impl FnOnce(&mut Lab) -> Result<T>) -> Result<T> {
    let _turn = turn();
    beside_others(limit, body)
}

/// As [`with_lab`], but does not wait for other labs of this process: for measurements that mostly wait.
///
/// # Errors
/// As [`with_lab`].
pub fn beside_others<T>(limit: Duration, body: impl FnOnce(&mut Lab) -> Result<T>) -> Result<T> {
    let mut lab = Lab::new()?;
    let watchdog = Watchdog::start(limit, lab.directory().to_owned());
    let outcome = panic::catch_unwind(AssertUnwindSafe(|| body(&mut lab)));
    drop(watchdog);
    match outcome {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => {
            eprintln!("{}", program::log_tails(lab.directory()));
            Err(error)
        }
        Err(panicked) => {
            eprintln!("{}", program::log_tails(lab.directory()));
            drop(lab);
            panic::resume_unwind(panicked)
        }
    }
}

fn turn() -> MutexGuard<'static, ()> {
    // A failed test leaves nothing behind the mutex that could be half done.
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ends the whole process when time is up: a hanging test cannot be stopped otherwise.
struct Watchdog {
    done: mpsc::Sender<()>,
}

impl Watchdog {
    fn start(limit: Duration, directory: PathBuf) -> Self {
        let (done, waiting) = mpsc::channel();
        thread::spawn(move || {
            if waiting.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
                eprintln!("the time limit of {} s has passed: giving up\n", limit.as_secs());
                eprintln!("{}", program::log_tails(&directory));
                namespace::remove_own();
                let _ = std::fs::remove_dir_all(&directory);
                process::exit(101);
            }
        });
        Self { done }
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        // The receiver may be gone only if the process is ending anyway.
        let _ = self.done.send(());
    }
}
