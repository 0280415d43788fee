//! Processor time of what takes part in a measurement.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::Sample;
use crate::bench::systems::Tunnel;
use crate::ns::program::Process;
use crate::ns::usage::{cpu_seconds, cpu_seconds_at_its_end};

/// The processes whose time is taken: daemons, the program in the middle, both iperf3, and the kernel's threads for what
/// it has put off.
pub const PARTS: [&str; 6] = ["a", "b", "middle", "sender", "receiver", "ksoftirqd"];

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
        let seconds = |pid: Option<u32>| pid.map(cpu_seconds).transpose();
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
        if let Some(seconds) = cpu_seconds_at_its_end(process.pid())? {
            return Ok(seconds);
        }
        ensure!(start.elapsed() < limit, "still running after {} s", limit.as_secs());
        thread::sleep(Duration::from_millis(5));
    }
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
            *sum.get_or_insert(0.0) += cpu_seconds(pid).ok()?;
        }
    }
    sum
}
