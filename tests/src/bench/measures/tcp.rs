//! TCP by iperf3.

use std::fmt;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::cpu::{self, Spent};
use super::{Extent, Sample};
use crate::bench::systems::{End, Tunnel};
use crate::ns::command::{DEFAULT_LIMIT, wait_for};
use crate::ns::program::Process;

/// How many streams at once.
pub const STREAMS: [u32; 2] = [1, 4];

/// Both directions.
pub const DIRECTIONS: [Direction; 2] = [Direction::Forth, Direction::Back];

/// iperf3's port.
const PORT: &str = "5201";

/// TCP's congestion control.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Congestion {
    /// CUBIC, the kernel's own default.
    Cubic,
    /// BBR.
    Bbr,
}

impl Congestion {
    /// Its name in the kernel.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cubic => "cubic",
            Self::Bbr => "bbr",
        }
    }
}

/// Which host sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// `A` to `B`.
    Forth,
    /// `B` to `A`.
    Back,
}

impl Direction {
    /// Its place in the names of figures.
    pub fn key(self) -> &'static str {
        match self {
            Self::Forth => "ab",
            Self::Back => "ba",
        }
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Forth => "A→B",
            Self::Back => "B→A",
        })
    }
}

/// A transfer that runs.
pub(super) struct Transfer {
    server: Process,
    client: Process,
    direction: Direction,
    congestion: Option<Congestion>,
    limit: Duration,
}

/// What a transfer has come to.
pub(super) struct Transferred {
    gigabytes: f64,
    pub(super) gigabits_per_second: f64,
    retransmits: f64,
    sender_seconds: f64,
    receiver_seconds: f64,
}

/// Measures one transfer.
pub(super) fn measure(
    tunnel: &Tunnel,
    streams: u32,
    direction: Direction,
    extent: Extent,
    sample: &mut Sample,
) -> Result<()> {
    let before = Spent::read(tunnel)?;
    let done = Transfer::start(tunnel, streams, direction, extent)?.finish()?;
    let spent = Spent::read(tunnel)?.since(&before);
    let prefix = format!("tcp{streams}.{}", direction.key());
    let mut put = |name: &str, value: f64| sample.insert(format!("{prefix}.{name}"), value);
    put("gbit", done.gigabits_per_second);
    put("gigabytes", done.gigabytes);
    put("retransmits", done.retransmits);
    put("cpu.sender", done.sender_seconds / done.gigabytes);
    put("cpu.receiver", done.receiver_seconds / done.gigabytes);
    let daemons = spent.put(&prefix, done.gigabytes, sample);
    let all = daemons + done.sender_seconds + done.receiver_seconds;
    if tunnel.ends.iter().any(|end| end.daemon.is_some()) {
        sample.insert(format!("{prefix}.cpu.daemons"), daemons / done.gigabytes);
    }
    sample.insert(format!("{prefix}.cpu.all"), all / done.gigabytes);
    Ok(())
}

impl Transfer {
    /// Starts the server on `B` and, once it listens, the client on `A`.
    pub(super) fn start(tunnel: &Tunnel, streams: u32, direction: Direction, extent: Extent) -> Result<Self> {
        let [a, b] = &tunnel.ends;
        let address = b.address.to_string();
        let mut server = iperf3(tunnel, b, &["-s", "-1", "-B", &address])?;
        wait_for("iperf3 to listen", DEFAULT_LIMIT, || {
            server.ensure_running()?;
            let sockets = b.host.exec(&["ss", "-Hltn"], DEFAULT_LIMIT)?.success()?.stdout;
            Ok(sockets.contains(&format!("{address}:{PORT}")).then_some(()))
        })?;
        let (streams, time) = (streams.to_string(), extent.seconds.to_string());
        let mut words = vec!["-c", &address, "-P", &streams, "-t", &time, "--connect-timeout", "5000"];
        if direction == Direction::Back {
            words.push("-R");
        }
        if let Some(congestion) = extent.congestion {
            // By the socket's option, since a namespace may not choose what the machine does not offer to everybody.
            words.extend(["-C", congestion.name()]);
        }
        let client = iperf3(tunnel, a, &words)?;
        Ok(Self {
            server,
            client,
            direction,
            congestion: extent.congestion,
            limit: Duration::from_secs(u64::from(extent.seconds) + 20),
        })
    }

    pub(super) fn finish(mut self) -> Result<Transferred> {
        let client_seconds = cpu::at_its_end(&self.client, self.limit)?;
        let _ = self.client.wait(self.limit)?;
        let server_seconds = cpu::at_its_end(&self.server, self.limit)?;
        let _ = self.server.wait(self.limit)?;
        let (sender_seconds, receiver_seconds) = match self.direction {
            Direction::Forth => (client_seconds, server_seconds),
            Direction::Back => (server_seconds, client_seconds),
        };
        let log = self.client.log();
        let report: Value = serde_json::from_str(&log).with_context(|| format!("iperf3 wrote no JSON: {log}"))?;
        if let Some(error) = report.get("error") {
            bail!("iperf3 says {error}");
        }
        if let Some(congestion) = self.congestion {
            let used = report.pointer("/end/sender_tcp_congestion").and_then(Value::as_str);
            ensure!(used == Some(congestion.name()), "iperf3 used {used:?}");
        }
        let figure = |pointer: &str| report.pointer(pointer).and_then(Value::as_f64);
        let of = |pointer: &str| figure(pointer).with_context(|| format!("iperf3 tells no {pointer}: {report}"));
        Ok(Transferred {
            gigabytes: of("/end/sum_received/bytes")? / 1e9,
            gigabits_per_second: of("/end/sum_received/bits_per_second")? / 1e9,
            retransmits: of("/end/sum_sent/retransmits")?,
            sender_seconds,
            receiver_seconds,
        })
    }
}

/// Starts iperf3 on a host.
fn iperf3(tunnel: &Tunnel, end: &End, words: &[&str]) -> Result<Process> {
    let mut command = end.host.command("iperf3");
    command.args(["--json", "-i", "0", "-p", PORT]).args(words);
    tunnel.spawn(command, "iperf3")
}
