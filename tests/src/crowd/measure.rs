//! The measurement: all come, keep alive, do everything at once, and come back after a restart.

use std::{path::Path, time::Duration};

use anyhow::{Result, ensure};
use serde::Serialize;

use super::{
    light::Supernode,
    load::{Crowd, Rates, Seen, Shape},
    process::{Process, free_port},
    serve::{Status, identity},
};

/// What is measured.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// The crowd.
    pub shape: Shape,
    /// What it does in the second part.
    pub rates: Rates,
    /// How long each part takes.
    pub part: Duration,
}

/// The load finds its pace before it is measured.
const SETTLING: Duration = Duration::from_secs(3);

/// One part.
#[derive(Clone, Debug, Serialize)]
pub struct Part {
    /// What was done.
    pub name: &'static str,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// The window in which the nodes came, in seconds.
    pub window: f64,
    /// What the data plane's thread used of a processor, in seconds, and how long it waited for one.
    pub used: (f64, f64),
    /// Registered at the end.
    pub registered: usize,
    /// How many know that they are.
    pub came: usize,
    /// Resident memory at the end, in bytes.
    pub resident: u64,
    /// The longest turn, in milliseconds, which counts the time in which the thread had no processor.
    pub longest_turn: f64,
    /// Keepalives sent and answered.
    pub keepalives: (u64, u64),
    /// Look-ups sent, those that found somebody, and the median and 99th percentile of their round trips in milliseconds.
    pub lookups: (u64, u64, f64, f64),
    /// Relayed datagrams sent and arrived.
    pub relayed: (u64, u64),
    /// Lists and samples that came.
    pub lists: u64,
    /// Initiations sent, and cookies that came.
    pub initiations: (u64, u64),
    /// How late the load was, in milliseconds.
    pub late: f64,
    /// The supernode's counters.
    pub counters: Vec<(String, u64)>,
}

impl Part {
    /// Core time for each of so many things, in microseconds.
    pub fn each(&self, count: f64) -> f64 {
        self.used.0 * 1e6 / count.max(1.0)
    }

    /// In words.
    pub fn line(&self) -> String {
        let share = 100.0 * self.used.0 / self.seconds.max(0.001);
        format!(
            "{:<12} {:>8} registered  {:>6.1} s (window {:.1} s)  {:>6.1} core-s ({share:.0} %, waited {:.1} s)  {:>5} MiB  longest turn {:.1} ms\n\
             {:13}keepalives {}/{} ({:.1} us of core time each)  look-ups {}/{} p50 {:.2} ms p99 {:.2} ms  relayed {}/{}  lists {}  initiations {} \
             cookies {}  load late {:.0} ms",
            self.name,
            self.registered,
            self.seconds,
            self.window,
            self.used.0,
            self.used.1,
            self.resident >> 20,
            self.longest_turn,
            "",
            self.keepalives.1,
            self.keepalives.0,
            self.each(self.keepalives.0 as f64),
            self.lookups.1,
            self.lookups.0,
            self.lookups.2,
            self.lookups.3,
            self.relayed.1,
            self.relayed.0,
            self.lists,
            self.initiations.0,
            self.initiations.1,
            self.late,
        )
    }
}

/// The window that a supernode states for so many nodes, where it has not yet: 1,200 a second.
fn window(nodes: u32) -> Duration {
    Duration::from_secs_f64(f64::from(nodes) / 1200.0).max(Duration::from_secs(1))
}

/// Measures; `program` is this program, which serves as the supernode.
///
/// # Errors
/// The supernode ends, or not all nodes are registered in time.
pub fn measure(program: &Path, plan: &Plan, mut told: impl FnMut(&Part)) -> Result<Vec<Part>> {
    let port = free_port()?;
    let nodes = plan.shape.nodes;
    let mut crowd = Crowd::new(plan.shape, Supernode::new(identity()?.public()), port)?;
    let mut parts = Vec::new();
    // Room for a few more: the last places of all are not for whoever comes first.
    let registrations = usize::try_from(nodes)? + usize::try_from(nodes / 20)?;
    crowd.prepare()?;
    let mut supernode = Process::start(program, port, registrations)?;
    parts.push(come(&mut crowd, &mut supernode, "they come", window(nodes))?);
    parts.last().into_iter().for_each(&mut told);
    ensure!(
        crowd.registered() == nodes,
        "{} of {nodes} are registered; the supernode counted {:?}",
        crowd.registered(),
        parts.last().map(|part| &part.counters)
    );
    crowd.run(Duration::from_secs(5), false)?;
    parts.push(part(&mut crowd, &mut supernode, "keepalives", plan.part, false)?);
    parts.last().into_iter().for_each(&mut told);
    crowd.set_rates(plan.rates);
    parts.push(part(&mut crowd, &mut supernode, "everything", plan.part, false)?);
    parts.last().into_iter().for_each(&mut told);
    crowd.set_rates(Rates::default());
    let stated = Duration::from_millis(crowd.window.into());
    supernode.kill();
    crowd.prepare()?;
    let mut supernode = Process::start(program, port, registrations)?;
    let stated = if stated.is_zero() { window(nodes) } else { stated };
    parts.push(come(&mut crowd, &mut supernode, "come back", stated)?);
    parts.last().into_iter().for_each(&mut told);
    ensure!(
        crowd.registered() == nodes,
        "{} of {nodes} came back",
        crowd.registered()
    );
    Ok(parts)
}

fn come(crowd: &mut Crowd, supernode: &mut Process, name: &'static str, window: Duration) -> Result<Part> {
    crowd.come_within(window);
    let mut part = part(crowd, supernode, name, window * 3 + Duration::from_secs(120), true)?;
    part.window = window.as_secs_f64();
    Ok(part)
}

fn part(
    crowd: &mut Crowd,
    supernode: &mut Process,
    name: &'static str,
    time: Duration,
    until_registered: bool,
) -> Result<Part> {
    supernode.status()?;
    if !until_registered {
        // What waited while nothing was sent is not counted.
        crowd.run(SETTLING, false)?;
    }
    crowd.seen = Seen::default();
    let (begun, used) = (crowd.now(), supernode.used()?);
    crowd.run(time, until_registered)?;
    let (ended, after) = (crowd.now(), supernode.used()?);
    let Status {
        registrations,
        longest_turn,
        counters,
        ..
    } = supernode.status()?;
    let mut seen = std::mem::take(&mut crowd.seen);
    seen.lookups.sort_unstable();
    let at = |share: f64| {
        let place = (seen.lookups.len() as f64 * share) as usize;
        seen.lookups
            .get(place.min(seen.lookups.len().saturating_sub(1)))
            .map_or(0.0, |micros| f64::from(*micros) / 1000.0)
    };
    Ok(Part {
        name,
        seconds: (ended - begun).as_secs_f64(),
        window: 0.0,
        used: ((after.0 - used.0).as_secs_f64(), (after.1 - used.1).as_secs_f64()),
        registered: registrations,
        came: usize::try_from(crowd.registered())?,
        resident: supernode.resident()?,
        longest_turn: longest_turn as f64 / 1000.0,
        keepalives: seen.keepalives,
        lookups: (seen.located.0, seen.located.1, at(0.5), at(0.99)),
        relayed: seen.relayed,
        lists: seen.lists.0,
        initiations: seen.initiations,
        late: seen.late.as_secs_f64() * 1000.0,
        counters,
    })
}
