//! What is measured on a connected [`Tunnel`].

mod cpu;
mod packets;
mod rtt;
mod tcp;

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

use super::systems::Tunnel;
use crate::ns::snmp::Counts;
use crate::ns::usage::resident_bytes;

pub use cpu::PARTS;
pub use packets::SIZES;
pub use tcp::{Congestion, DIRECTIONS, Direction, STREAMS};

/// How long a connected system is left alone before its first measurement, so that its own chatter is over.
const SETTLE: Duration = Duration::from_millis(500);

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub struct Extent {
    /// How long each transfer takes, in seconds.
    pub seconds: u32,
    /// UDP packets a second that are offered.
    pub rate: u32,
    /// TCP's congestion control, if not the machine's default.
    pub congestion: Option<Congestion>,
    /// Nothing but TCP with one stream in both directions.
    pub is_gate: bool,
}

/// The figures of one run of one system, by name.
pub type Sample = BTreeMap<String, f64>;

/// Measures everything once.
///
/// # Errors
/// A transfer fails or takes too long.
pub fn measure(tunnel: &Tunnel, extent: Extent) -> Result<Sample> {
    let mut sample = Sample::new();
    thread::sleep(SETTLE);
    sample.insert("mtu".to_owned(), tunnel.mtu()?.into());
    memory(tunnel, "idle", &mut sample)?;
    let before = Losses::read(tunnel)?;
    let counters = tunnel.counters()?;
    if !extent.is_gate {
        rtt::idle(tunnel, &mut sample).context("the idle round trips")?;
    }
    for streams in STREAMS {
        for direction in DIRECTIONS {
            if streams == 1 || !extent.is_gate {
                tcp::measure(tunnel, streams, direction, extent, &mut sample)
                    .with_context(|| format!("TCP, {streams} streams, {direction}"))?;
            }
        }
    }
    both_directions(&mut sample);
    Losses::read(tunnel)?.since(&before, "tcp", &mut sample);
    retransmissions(&mut sample);
    if !extent.is_gate {
        rtt::loaded(tunnel, extent, &mut sample).context("the round trips under load")?;
        for bytes in SIZES {
            packets::measure(tunnel, bytes, extent, &mut sample).with_context(|| format!("UDP, {bytes} bytes"))?;
        }
    }
    memory(tunnel, "loaded", &mut sample)?;
    for (name, value) in tunnel.counters()? {
        let grown = value - counters.get(&name).copied().unwrap_or_default();
        if grown != 0 {
            sample.insert(format!("counter.{name}"), grown as f64);
        }
    }
    Ok(sample)
}

/// Adds what one stream costs, both directions taken together, weighted by what they carried.
fn both_directions(sample: &mut Sample) {
    let figure = |key: &str| sample.get(key).copied();
    let gigabytes = DIRECTIONS.map(|direction| figure(&format!("tcp1.{}.gigabytes", direction.key())).unwrap_or(0.0));
    let all: f64 = gigabytes.iter().sum();
    let mut sums = Vec::new();
    for part in PARTS.into_iter().chain(["daemons", "all"]) {
        let seconds = DIRECTIONS
            .iter()
            .zip(gigabytes)
            .map(|(direction, gigabytes)| Some(figure(&format!("tcp1.{}.cpu.{part}", direction.key()))? * gigabytes));
        if let Some(seconds) = seconds.sum::<Option<f64>>() {
            sums.push((format!("tcp1.both.cpu.{part}"), seconds / all));
        }
    }
    sample.extend(sums);
}

/// Adds the segments sent again by the gigabyte that arrived, as the transfers and as the kernels count them.
fn retransmissions(sample: &mut Sample) {
    let sum = |figure: &str| -> f64 {
        let transfers = STREAMS
            .into_iter()
            .flat_map(|streams| DIRECTIONS.map(|direction| (streams, direction)));
        let keys = transfers.map(|(streams, direction)| format!("tcp{streams}.{}.{figure}", direction.key()));
        keys.filter_map(|key| sample.get(&key)).sum()
    };
    let gigabytes = sum("gigabytes");
    let by_kernel = sample.get("tcp.retransmitted").copied().unwrap_or_default();
    let figures = [("iperf3", sum("retransmits")), ("nstat", by_kernel)];
    for (whose, count) in figures {
        sample.insert(format!("tcp.retransmitted_per_gb.{whose}"), count / gigabytes);
    }
}

/// Resident memory of the daemons, in megabytes.
fn memory(tunnel: &Tunnel, when: &str, sample: &mut Sample) -> Result<()> {
    let [a, b] = &tunnel.ends;
    for (part, pid) in [("a", a.daemon), ("b", b.daemon), ("middle", tunnel.middle)] {
        if let Some(pid) = pid {
            sample.insert(format!("memory.{when}.{part}"), resident_bytes(pid)? as f64 / 1e6);
        }
    }
    Ok(())
}

/// What was lost on the way, as the kernels of both hosts count it.
struct Losses {
    /// Frames that the cards did not take from their hosts.
    card_drops: f64,
    /// TCP segments that were sent again.
    retransmitted: f64,
    /// UDP packets, those of the daemons among them, that came to a full socket.
    socket_drops: f64,
}

impl Losses {
    fn read(tunnel: &Tunnel) -> Result<Self> {
        let mut losses = Self {
            card_drops: 0.0,
            retransmitted: 0.0,
            socket_drops: 0.0,
        };
        for end in &tunnel.ends {
            let counts = Counts::of(&end.host)?;
            losses.card_drops += end.host.card_sent(&end.card)?.dropped as f64;
            losses.retransmitted += counts.get("Tcp.RetransSegs")? as f64;
            losses.socket_drops += counts.get("Udp.RcvbufErrors")? as f64;
        }
        Ok(losses)
    }

    fn since(&self, before: &Self, during: &str, sample: &mut Sample) {
        let differences = [
            ("card_drops", self.card_drops - before.card_drops),
            ("retransmitted", self.retransmitted - before.retransmitted),
            ("socket_drops", self.socket_drops - before.socket_drops),
        ];
        for (name, difference) in differences {
            sample.insert(format!("{during}.{name}"), difference);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(figures: &[(&str, f64)]) -> Sample {
        figures
            .iter()
            .map(|(name, value)| ((*name).to_owned(), *value))
            .collect()
    }

    #[test]
    fn both_directions_count_by_what_they_carried() {
        let mut sample = sample(&[
            ("tcp1.ab.gigabytes", 1.0),
            ("tcp1.ab.cpu.all", 2.0),
            ("tcp1.ab.cpu.a", 1.0),
            ("tcp1.ba.gigabytes", 3.0),
            ("tcp1.ba.cpu.all", 4.0),
        ]);
        both_directions(&mut sample);
        assert_eq!(sample.get("tcp1.both.cpu.all"), Some(&3.5));
        // What only one direction has is no figure of both.
        assert_eq!(sample.get("tcp1.both.cpu.a"), None);
    }

    #[test]
    fn retransmissions_are_by_the_gigabytes_of_all_transfers() {
        let mut sample = sample(&[
            ("tcp1.ab.gigabytes", 1.0),
            ("tcp1.ab.retransmits", 6.0),
            ("tcp4.ba.gigabytes", 3.0),
            ("tcp4.ba.retransmits", 2.0),
            ("tcp.retransmitted", 12.0),
        ]);
        retransmissions(&mut sample);
        assert_eq!(sample.get("tcp.retransmitted_per_gb.iperf3"), Some(&2.0));
        assert_eq!(sample.get("tcp.retransmitted_per_gb.nstat"), Some(&3.0));
    }
}
