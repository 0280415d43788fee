//! Round trips of small UDP packets, on an idle LAN and beside a transfer.

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use super::packets::{own, wait_ready};
use super::tcp::{Direction, Transfer};
use super::{Extent, Sample};
use crate::bench::systems::Tunnel;
use crate::ns::command::DEFAULT_LIMIT;

/// How many packets are sent, one a millisecond.
const COUNT: u32 = 1200;

/// How long a transfer runs before the first packet, so that its window has opened.
const OPENING: Duration = Duration::from_millis(700);

/// The echo's UDP port.
const PORT: u16 = 5301;

/// Measures on an idle LAN.
pub(super) fn idle(tunnel: &Tunnel, sample: &mut Sample) -> Result<()> {
    ask(tunnel, "idle", sample)
}

/// Measures beside one full TCP stream in the same direction as the questions.
pub(super) fn loaded(tunnel: &Tunnel, extent: Extent, sample: &mut Sample) -> Result<()> {
    let seconds = COUNT.div_ceil(1000) + 2;
    let extent = Extent { seconds, ..extent };
    let transfer = Transfer::start(tunnel, 1, Direction::Forth, extent)?;
    thread::sleep(OPENING);
    ask(tunnel, "loaded", sample)?;
    let done = transfer.finish()?;
    sample.insert("rtt.loaded.gbit".to_owned(), done.gigabits_per_second);
    Ok(())
}

fn ask(tunnel: &Tunnel, when: &str, sample: &mut Sample) -> Result<()> {
    let [a, b] = &tunnel.ends;
    let target = format!("{}:{PORT}", b.address);
    let mut command = b.host.command(own()?);
    command.args(["echo", &target]);
    let mut echo = tunnel.spawn(command, "echo")?;
    wait_ready(&mut echo)?;
    let program = own()?;
    let count = COUNT.to_string();
    let words = [
        program.to_str().context("a path that is no text")?,
        "ask",
        &target,
        "--count",
        &count,
    ];
    let asked = a.host.exec(&words, DEFAULT_LIMIT)?.success()?.stdout;
    let report: Value = serde_json::from_str(&asked).with_context(|| format!("no JSON: {asked}"))?;
    for name in ["lost", "p50", "p95", "p99"] {
        let value = report.get(name).and_then(Value::as_f64);
        let value = value.with_context(|| format!("no {name} in {report}"))?;
        sample.insert(format!("rtt.{when}.{name}"), value);
    }
    Ok(())
}
