//! Processor time and memory of processes, from `/proc`.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::Sample;
use crate::bench::systems::Tunnel;
use crate::ns::program::Process;

/// The processes whose time is taken: daemons, the program in the middle, both iperf3, and the kernel's threads for what
/// it has put off.
pub const PARTS: [&str; 6] = ["a", "b", "middle", "sender", "receiver", "ksoftirqd"];

/// proc(5) counts in USER_HZ, which is 100 on every Linux of today.
const TICKS_PER_SECOND: f64 = 100.0;

/// Seconds of processor time that the processes of a tunnel and the kernel's threads have used.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spent {
    pub(super) a: Option<f64>,
    pub(super) b: Option<f64>,
    middle: Option<f64>,
    ksoftirqd: Option<f64>,
}

impl Spent {
    pub(super) fn read(tunnel: &Tunnel) -> Result<Self> {
        let [a, b] = &tunnel.ends;
        let seconds = |pid: Option<u32>| pid.map(seconds).transpose();
        Ok(Self {
            a: seconds(a.daemon)?,
            b: seconds(b.daemon)?,
            middle: seconds(tunnel.middle)?,
            ksoftirqd: ksoftirqd(),
        })
    }

    pub(super) fn since(&self, before: &Self) -> Self {
        let difference = |now: Option<f64>, then: Option<f64>| Some(now? - then?);
        Self {
            a: difference(self.a, before.a),
            b: difference(self.b, before.b),
            middle: difference(self.middle, before.middle),
            ksoftirqd: difference(self.ksoftirqd, before.ksoftirqd),
        }
    }

    /// Puts the seconds into a sample, divided by `per`, and returns their sum without the kernel's threads, which serve
    /// the whole machine.
    pub(super) fn put(&self, prefix: &str, per: f64, sample: &mut Sample) -> f64 {
        let mut sum = 0.0;
        for (part, seconds) in [("a", self.a), ("b", self.b), ("middle", self.middle)] {
            if let Some(seconds) = seconds {
                sample.insert(format!("{prefix}.cpu.{part}"), seconds / per);
                sum += seconds;
            }
        }
        if let Some(seconds) = self.ksoftirqd {
            sample.insert(format!("{prefix}.cpu.ksoftirqd"), seconds / per);
        }
        sum
    }
}

/// Waits until a process of ours has ended and returns the processor time it has used. It is still to be waited for by
/// [`Process::wait`], until when the kernel keeps its times.
pub(super) fn at_its_end(process: &Process, limit: Duration) -> Result<f64> {
    let start = Instant::now();
    loop {
        let fields = stat(process.pid())?;
        if fields.first().is_some_and(|state| state == "Z") {
            return of_fields(&fields);
        }
        ensure!(start.elapsed() < limit, "still running after {} s", limit.as_secs());
        thread::sleep(Duration::from_millis(5));
    }
}

/// Processor time of a process so far, user and system, in seconds.
fn seconds(pid: u32) -> Result<f64> {
    of_fields(&stat(pid)?)
}

fn of_fields(fields: &[String]) -> Result<f64> {
    // After the state: ten fields of no use here, then user and system time.
    let ticks = |index: usize| -> Result<f64> { Ok(fields.get(index).context("a short stat line")?.parse()?) };
    Ok((ticks(11)? + ticks(12)?) / TICKS_PER_SECOND)
}

/// The fields of `/proc/PID/stat` behind the name, which stands in parentheses and may hold spaces.
fn stat(pid: u32) -> Result<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).with_context(|| format!("process {pid} is gone"))?;
    let behind = text.rsplit(')').next().unwrap_or_default();
    Ok(behind.split_whitespace().map(str::to_owned).collect())
}

/// The time of all `ksoftirqd`; none where processes of the kernel are not shown.
fn ksoftirqd() -> Option<f64> {
    let mut sum = None;
    for entry in fs::read_dir("/proc").ok()?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let name = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
        if name.starts_with("ksoftirqd/") {
            *sum.get_or_insert(0.0) += seconds(pid).ok()?;
        }
    }
    sum
}

/// Resident memory of a process, in megabytes.
pub(super) fn resident_megabytes(pid: u32) -> Result<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line
        .and_then(|line| line.split_whitespace().next())
        .context("no VmRSS")?;
    Ok(kilobytes.parse::<f64>()? * 1024.0 / 1e6)
}
