//! UDP packets at a rate that is offered, by the own generator.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use super::cpu::Spent;
use super::{Extent, Losses, Sample};
use crate::bench::systems::Tunnel;
use crate::ns::command::{DEFAULT_LIMIT, wait_for};
use crate::ns::program::{Process, helper};

/// Bytes of payload of the packets.
pub const SIZES: [u32; 2] = [64, 1200];

/// The receiver's UDP port.
const PORT: u16 = 5302;

/// Sends from `A` to `B` and counts what arrives.
pub(super) fn measure(tunnel: &Tunnel, bytes: u32, extent: Extent, sample: &mut Sample) -> Result<()> {
    let [a, b] = &tunnel.ends;
    let target = format!("{}:{PORT}", b.address);
    let mut command = b.host.command(own()?);
    command.args(["receive", &target]);
    let mut receiver = tunnel.spawn(command, "receive")?;
    wait_ready(&mut receiver)?;
    let losses = Losses::read(tunnel)?;
    let before = Spent::read(tunnel)?;
    let program = own()?;
    let program = program.to_str().context("a path that is no text")?;
    let numbers = [bytes, extent.rate, extent.seconds].map(|number| number.to_string());
    let [size, rate, seconds] = &numbers;
    let words = [
        program,
        "send",
        &target,
        "--bytes",
        size,
        "--rate",
        rate,
        "--seconds",
        seconds,
    ];
    let sent = a.host.exec(&words, DEFAULT_LIMIT)?.success()?.stdout;
    let limit = Duration::from_secs(10);
    receiver.wait(limit)?;
    let spent = Spent::read(tunnel)?.since(&before);
    let log = receiver.log();
    let received = log.lines().last().unwrap_or_default();
    let figure = |text: &str, name: &str| -> Result<f64> {
        let report: Value = serde_json::from_str(text).with_context(|| format!("no JSON: {text}"))?;
        let value = report.get(name).and_then(Value::as_f64);
        value.with_context(|| format!("no {name} in {text}"))
    };
    let (count, time) = (figure(&sent, "sent")?, figure(&sent, "seconds")?);
    let delivered = figure(received, "received")?;
    let prefix = format!("udp{bytes}");
    let mut put = |name: &str, value: f64| sample.insert(format!("{prefix}.{name}"), value);
    put("offered_kpps", count / time / 1e3);
    put("delivered_kpps", delivered / time / 1e3);
    put("lost_percent", (count - delivered) / count * 100.0);
    put("doubled", figure(received, "doubled")?);
    put("reordered", figure(received, "reordered")?);
    if delivered > 0.0 {
        // Microseconds per packet that arrived.
        spent.put(&prefix, delivered / 1e6, sample);
    }
    Losses::read(tunnel)?.since(&losses, &prefix, sample);
    Ok(())
}

/// The benchmark's program, whose subcommands generate and count.
pub(super) fn own() -> Result<PathBuf> {
    helper("farlan-bench")
}

/// Waits until a subcommand of this program has opened its socket.
pub(super) fn wait_ready(process: &mut Process) -> Result<()> {
    wait_for("the socket", DEFAULT_LIMIT, || {
        process.ensure_running()?;
        Ok(process.log().lines().any(|line| line == "ready").then_some(()))
    })
}
