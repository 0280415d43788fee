//! One lab with two homes, in which two new nodes meet again and again.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use farlan_netconf::Mtu;

use super::ends::Ends;
use super::expectation::{Expected, Kinds};
use super::row::{Outcome, Row, Times};
use crate::ns::traffic::Watched;
use crate::ns::world::World;
use crate::ns::{Home, Lab, Wire};

/// Time between two pings.
const PACE: Duration = Duration::from_millis(20);

/// How long a pair that can be direct may take before the run counts as relayed.
const DIRECT_LIMIT: Duration = Duration::from_secs(15);

/// How long a pair that must stay relayed is watched: ample for the first rounds of tries.
const WATCH: Duration = Duration::from_secs(10);

/// How long a direct path is watched.
const HOLD: Duration = Duration::from_secs(1);

/// Of the pings in that time, how many must be seen to go straight: a few are not sent in time on a busy machine.
const LEAST_SHARE: f64 = 0.5;

/// Supernodes of a lab: to know how its NAT behaves, a node needs two.
pub(super) const SUPERNODES: usize = 2;

/// What packets meet between any two of the homes and supernodes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Distance {
    /// Milliseconds one way; a round trip takes twice as long.
    pub delay_ms: f64,
    /// Share lost one way, 0 to 1.
    pub loss: f64,
}

impl Distance {
    /// Neither delay nor loss.
    pub const NONE: Self = Self {
        delay_ms: 0.0,
        loss: 0.0,
    };

    /// The wire of each machine, of which two are between any two of them.
    pub fn wire(self) -> Wire {
        Wire {
            delay: Duration::from_secs_f64(self.delay_ms / 2000.0),
            loss: 1.0 - (1.0 - self.loss).sqrt(),
            ..Wire::PLAIN
        }
    }
}

/// Two homes and two supernodes, all on wires of the same kind.
#[derive(Debug)]
pub struct PairLab {
    kinds: Kinds,
    distance: Distance,
    world: World,
    homes: [Home; 2],
    watched: Watched,
    at_once: usize,
}

impl PairLab {
    /// Builds it. `at_once` is for the record only.
    ///
    /// # Errors
    /// The lab or the supernodes fail.
    pub fn new(lab: &mut Lab, kinds: Kinds, distance: Distance, at_once: usize) -> Result<Self> {
        let wire = distance.wire();
        let world = World::start(lab, SUPERNODES, wire)?;
        let [one, other] = kinds.0;
        let homes = [lab.home("a", one, wire)?, lab.home("b", other, wire)?];
        let watched = lab.watch(&homes[0], &homes[1])?;
        Ok(Self {
            kinds,
            distance,
            world,
            homes,
            watched,
            at_once,
        })
    }

    /// Starts two nodes without any state but an identity behind rebooted routers, joins both to a new network, pings from one to the other
    /// (in turn from each home) until both are direct or time is up, and stops them. What fails is a row too.
    pub fn run(&self, lab: &Lab, run: u16) -> Row {
        let mut row = Row {
            kinds: self.kinds,
            distance: self.distance,
            run,
            at_once: self.at_once,
            outcome: Outcome::Failed,
            times: None,
            sent: 0,
            lost: 0,
            doubled: 0,
            load: load(),
        };
        if let Err(error) = self.measure(lab, &mut row) {
            row.outcome = Outcome::Failed;
            eprintln!("{}, run {run}: {error:#}", self.kinds);
        }
        row
    }

    fn measure(&self, lab: &Lab, row: &mut Row) -> Result<()> {
        self.homes.iter().try_for_each(Home::reboot_router)?;
        let link = self.world.network(&format!("run {}", row.run), Mtu::DEFAULT)?;
        let [a, b] = [("a", &self.homes[0]), ("b", &self.homes[1])];
        let homes = if row.run.is_multiple_of(2) { [a, b] } else { [b, a] };
        let ends = Ends::start(lab, &self.world, homes, row.run, &link)?;
        let judged = self.judge(lab, &ends, row);
        ends.stop()?;
        judged
    }

    fn judge(&self, lab: &Lab, ends: &Ends, row: &mut Row) -> Result<()> {
        let pings = ends.pings(0, PACE)?;
        let limit = match self.kinds.expected() {
            Expected::Direct => DIRECT_LIMIT,
            Expected::Relay => WATCH,
        };
        let direct = ends.await_direct(Instant::now() + limit)?;
        let straight = match direct {
            Some(_) => self.straight(lab)?,
            None => 0,
        };
        let record = pings.stop()?;
        let first = *record.sent.first().context("no ping was sent")?;
        ensure!(!record.answers.is_empty(), "no ping was answered: {record}");
        row.sent = record.sent.len();
        row.lost = record.lost().len();
        row.doubled = record.doubled();
        let Some(direct) = direct else {
            row.outcome = Outcome::Relay;
            return Ok(());
        };
        let least = (HOLD.as_secs_f64() / PACE.as_secs_f64() * LEAST_SHARE) as u64;
        ensure!(
            straight >= least,
            "both nodes say direct, but only {straight} packets went straight one way or the other"
        );
        let since = |moment: Instant| direct.saturating_duration_since(moment).as_secs_f64();
        row.outcome = Outcome::Direct;
        row.times = Some(Times {
            first_frame: since(first),
            registered: since(ends.registered),
            launched: since(ends.launched),
        });
        Ok(())
    }

    /// How many packets go straight from home to home in the next second, in the direction with fewer.
    fn straight(&self, lab: &Lab) -> Result<u64> {
        let before = lab.passed(&self.watched)?;
        thread::sleep(HOLD);
        let after = lab.passed(&self.watched)?;
        Ok((after[0] - before[0]).min(after[1] - before[1]))
    }
}

/// The load average over the last minute, 0 where the system does not tell.
pub fn load() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let first = text.split_whitespace().next();
    first.and_then(|word| word.parse().ok()).unwrap_or(0.0)
}
