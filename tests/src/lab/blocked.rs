//! A home through whose router no UDP passes, for a while or from the start.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;
use farlan_netconf::Mtu;

use super::ends::Ends;
use super::pair::{Distance, SUPERNODES};
use super::repeat::{Figures, Goal, Repeat};
use crate::ns::echo::EchoStream;
use crate::ns::traffic::Watched;
use crate::ns::world::World;
use crate::ns::{Access, Home, Lab};

/// Pace of the pings: 50 a second.
const PACE: Duration = Duration::from_millis(20);

/// How long traffic may take to come, and to be on UDP again, before a run counts as failed.
const FLOW_LIMIT: Duration = Duration::from_secs(30);
const UDP_LIMIT: Duration = Duration::from_secs(120);

/// How many answers in a row show that traffic flows.
const SOME: usize = 20;

/// How often the core is asked what has passed.
const LOOK: Duration = Duration::from_millis(250);

/// Of the pings in that time, how many must be on UDP to say so.
const LEAST_SHARE: f64 = 0.5;

/// How long traffic runs before something changes.
const STEADY: Duration = Duration::from_secs(2);

/// Most seconds until traffic flows through TCP, and until it is back on UDP.
const THROUGH_TCP: f64 = 3.0;
const BACK_ON_UDP: f64 = 60.0;

const START: &str = "seconds from the start to an answer, UDP blocked";
const REGISTERED: &str = "seconds from the start to both registered, UDP blocked";
const OPENED: &str = "seconds from the opening until on UDP";
const BLOCKED: &str = "seconds without an answer when UDP is blocked";
const LOST: &str = "pings lost by the opening";

/// Two homes, and how often.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// The kind of the home that UDP passes.
    #[arg(long, default_value = "port")]
    from: Access,
    /// The kind of the home where it is blocked and opened.
    #[arg(long, default_value = "port")]
    to: Access,
    #[command(flatten)]
    repeat: Repeat,
}

/// Starts a node where no UDP passes, opens it, and blocks it again, again and again.
///
/// # Errors
/// None so far.
pub fn block(options: &Options) -> Result<bool> {
    let goals = [
        Goal {
            figure: START,
            percentile: 95,
            most: THROUGH_TCP,
        },
        Goal {
            figure: OPENED,
            percentile: 100,
            most: BACK_ON_UDP,
        },
    ];
    let Options { from, to, repeat } = options;
    let what = format!("{to} without UDP, then with, then without; {from} stays");
    let each = FLOW_LIMIT * 3 + UDP_LIMIT;
    repeat.measure(&what, each, &goals, |lab, run| {
        let wire = Distance::NONE.wire();
        let world = World::start(lab, SUPERNODES, wire)?;
        let (a, b) = (lab.home("a", *from, wire)?, lab.home("b", *to, wire)?);
        let watched = lab.watch_udp(&b)?;
        b.block_udp()?;
        let link = world.network("blocked", Mtu::DEFAULT)?;
        let ends = Ends::start(lab, &world, [("a", &a), ("b", &b)], run, &link)?;
        let pings = ends.pings(0, PACE)?;
        pings.wait_until(SOME, FLOW_LIMIT, |_| true)?;
        let first = pings.record().first(|_| true).context("no answer")?.at;
        let mut figures: Figures = vec![
            (REGISTERED, (ends.registered - ends.launched).as_secs_f64()),
            (START, (first - ends.launched).as_secs_f64()),
        ];
        ensure!(
            udp_packets(lab, &watched)? == 0,
            "UDP has passed a router that blocks it"
        );
        drop(pings.stop()?);
        figures.extend(open_and_block(lab, &ends, &b, &watched)?);
        ends.stop()?;
        Ok(figures)
    })
}

fn open_and_block(lab: &Lab, ends: &Ends, home: &Home, watched: &Watched) -> Result<Figures> {
    let pings = ends.pings(0, PACE)?;
    thread::sleep(STEADY);
    let opened = Instant::now();
    home.unblock_udp()?;
    let on_udp = await_udp(lab, watched, opened + UDP_LIMIT)?;
    let record = pings.stop()?;
    let mut figures: Figures = vec![
        (OPENED, (on_udp - opened).as_secs_f64()),
        (LOST, record.lost().len() as f64),
    ];
    // Whatever path the traffic has found by now is taken from it.
    let pings = ends.pings(0, PACE)?;
    thread::sleep(STEADY);
    let blocked = Instant::now();
    home.block_udp()?;
    figures.push((BLOCKED, outage(pings, blocked)?));
    Ok(figures)
}

/// The longest time without an answer after `blocked`, until answers come again.
fn outage(pings: EchoStream, blocked: Instant) -> Result<f64> {
    // What was under way is still answered.
    thread::sleep(STEADY / 4);
    pings.wait_until(SOME, FLOW_LIMIT, |_| true)?;
    let record = pings.stop()?;
    let (gap, _) = record
        .longest_gap_after(blocked)
        .context("no answers after the block")?;
    Ok(gap.as_secs_f64())
}

/// When the pings went by UDP again, by what the core has seen.
fn await_udp(lab: &Lab, watched: &Watched, deadline: Instant) -> Result<Instant> {
    let mut before = (Instant::now(), udp_packets(lab, watched)?);
    while Instant::now() < deadline {
        thread::sleep(LOOK);
        let now = (Instant::now(), udp_packets(lab, watched)?);
        let least = (now.0 - before.0).as_secs_f64() / PACE.as_secs_f64() * LEAST_SHARE;
        if (now.1 - before.1) as f64 >= least {
            return Ok(now.0);
        }
        before = now;
    }
    anyhow::bail!("traffic is not on UDP after {} s", UDP_LIMIT.as_secs())
}

/// UDP packets so far, in the direction with fewer: probes without an answer do not count.
fn udp_packets(lab: &Lab, watched: &Watched) -> Result<u64> {
    let [from, to] = lab.passed(watched)?;
    Ok(from.min(to))
}
