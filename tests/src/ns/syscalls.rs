//! System calls of a thread of a running program, counted by strace.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::command::wait_for;
use super::program::Process;
use super::sys;
use super::topology::Lab;

/// strace at a thread.
#[derive(Debug)]
pub struct Tracer {
    strace: Process,
    thread: u32,
    counts: PathBuf,
}

impl Tracer {
    /// Begins to count the named calls of the thread `name` of a process.
    ///
    /// # Errors
    /// There is no such thread, or strace may not or cannot look at it.
    pub fn attach(lab: &Lab, process: u32, name: &str, calls: &[&str]) -> Result<Self> {
        let thread = thread_of(process, name)?;
        let counts = lab.directory().join(format!("strace-{thread}"));
        let mut command = Command::new("strace");
        command.args(["-c", "-e", &format!("trace={}", calls.join(",")), "-o"]);
        command.arg(&counts).args(["-p", &thread.to_string()]);
        let mut tracer = Self {
            strace: Process::spawn(command, &format!("strace-of-{thread}"), lab.directory())?,
            thread,
            counts,
        };
        wait_for("strace to attach", LIMIT, || {
            tracer.strace.ensure_running()?;
            let traced_by = status_of(process, thread, "TracerPid")?;
            Ok((traced_by == tracer.strace.pid().to_string()).then_some(()))
        })?;
        Ok(tracer)
    }

    /// Stops counting; what was counted, by the call's name.
    ///
    /// # Errors
    /// strace does not end or has written something else.
    pub fn stop(mut self) -> Result<BTreeMap<String, u64>> {
        sys::interrupt(self.strace.pid())?;
        // It passes the signal that ended it on to its parent, so there need not be an exit code.
        wait_for("strace to end", LIMIT, || {
            Ok(self.strace.ensure_running().is_err().then_some(()))
        })?;
        let text = fs::read_to_string(&self.counts).context("what strace counted")?;
        let counts = parse(&text);
        ensure!(counts.contains_key("total"), "strace of {} wrote: {text}", self.thread);
        Ok(counts)
    }
}

/// `% time  seconds  usecs/call  calls  [errors]  syscall`.
fn parse(text: &str) -> BTreeMap<String, u64> {
    let row = |line: &str| {
        let words: Vec<_> = line.split_whitespace().collect();
        let calls = words.get(3)?.parse().ok()?;
        Some(((*words.last()?).to_owned(), calls))
    };
    text.lines().filter_map(row).collect()
}

fn thread_of(process: u32, name: &str) -> Result<u32> {
    for entry in fs::read_dir(format!("/proc/{process}/task"))? {
        let path = entry?.path();
        if fs::read_to_string(path.join("comm"))?.trim_end() == name {
            let number = path.file_name().context("a thread's number")?;
            return Ok(number.to_string_lossy().parse()?);
        }
    }
    anyhow::bail!("process {process} has no thread {name}")
}

fn status_of(process: u32, thread: u32, field: &str) -> Result<String> {
    let text = fs::read_to_string(format!("/proc/{process}/task/{thread}/status"))?;
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    Ok(value
        .with_context(|| format!("no {field} in {text}"))?
        .trim()
        .to_owned())
}

const LIMIT: Duration = Duration::from_secs(20);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_strace_is_read() {
        let text = "% time     seconds  usecs/call     calls    errors syscall\n\
                    ------ ----------- ----------- --------- --------- ----------------\n \
                    75.00    0.000003           0       412        11 read\n \
                    25.00    0.000001           0         7           recvmmsg\n\
                    ------ ----------- ----------- --------- --------- ----------------\n\
                    100.00    0.000004           0       419        11 total\n";
        let expected = [("read", 412), ("recvmmsg", 7), ("total", 419)];
        assert_eq!(
            parse(text),
            expected.map(|(name, calls)| (name.to_owned(), calls)).into()
        );
    }
}
