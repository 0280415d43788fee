//! What a process uses: processor time and memory, from `/proc`.

use std::fs;

use anyhow::{Context, Result};

/// proc(5) counts in USER_HZ, which is 100 on every Linux of today.
const TICKS_PER_SECOND: f64 = 100.0;

/// Processor time of a process so far, user and system, in seconds.
///
/// # Errors
/// There is no such process.
pub fn cpu_seconds(process: u32) -> Result<f64> {
    of_fields(&stat(process)?)
}

/// The same of a child that has ended and was not waited for yet, until when the kernel keeps its times; none while it
/// runs.
///
/// # Errors
/// There is no such process.
pub fn cpu_seconds_at_its_end(process: u32) -> Result<Option<f64>> {
    let fields = stat(process)?;
    let has_ended = fields.first().is_some_and(|state| state == "Z");
    has_ended.then(|| of_fields(&fields)).transpose()
}

/// Resident memory of a process (VmRSS), in bytes.
///
/// # Errors
/// There is no such process.
pub fn resident_bytes(process: u32) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next());
    Ok(kilobytes.context("no VmRSS")?.parse::<u64>()? * 1024)
}

fn of_fields(fields: &[String]) -> Result<f64> {
    // After the state: ten fields of no use here, then user and system time.
    let ticks = |index: usize| -> Result<f64> { Ok(fields.get(index).context("a short stat line")?.parse()?) };
    Ok((ticks(11)? + ticks(12)?) / TICKS_PER_SECOND)
}

/// The fields of `/proc/PID/stat` behind the name, which stands in parentheses and may hold spaces.
fn stat(process: u32) -> Result<Vec<String>> {
    let text =
        fs::read_to_string(format!("/proc/{process}/stat")).with_context(|| format!("process {process} is gone"))?;
    let behind = text.rsplit(')').next().unwrap_or_default();
    Ok(behind.split_whitespace().map(str::to_owned).collect())
}
