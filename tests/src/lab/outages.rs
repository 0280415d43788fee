//! What a change of the network costs two nodes that are direct and busy: routers reboot, addresses change, a laptop goes to
//! another LAN.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};
use farlan_netconf::Mtu;

use super::ends::Ends;
use super::pair::{Distance, SUPERNODES};
use super::repeat::{Figures, Goal, Repeat};
use crate::ns::echo::{EchoRecord, EchoStream};
use crate::ns::transfer::SteadyTransfer;
use crate::ns::world::World;
use crate::ns::{Access, Home, Lab, Nat};

/// Pace of the pings: 100 a second.
const PACE: Duration = Duration::from_millis(10);

/// How long a path may take to come or to come back, before a run counts as failed.
const PATH_LIMIT: Duration = Duration::from_secs(90);

/// How long the load runs before the change, and after everything is well again.
const STEADY: Duration = Duration::from_secs(2);

/// How many answers in a row show that traffic is back.
const SOME: usize = 20;

/// What may take how long: a run with its waiting.
const RUN_LIMIT: Duration = Duration::from_secs(300);

/// Most seconds without an answer when a NAT reboots, and when an address or a LAN changes.
const REBOOT_GAP: f64 = 3.0;
const MOVE_GAP: f64 = 2.0;

const GAP: &str = "seconds without an answer";
const AFTER: &str = "seconds from link up to an answer";
const AGAIN: &str = "seconds until direct again";
const LOST: &str = "pings lost";
const BYTES: &str = "kB downloaded";

/// Two homes, and how often.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// The kind of the home whose network stays as it is.
    #[arg(long, default_value = "port")]
    from: Access,
    /// The kind of the home whose network changes.
    #[arg(long, default_value = "port")]
    to: Access,
    #[command(flatten)]
    repeat: Repeat,
}

/// A router that reboots.
#[derive(Args, Clone, Debug)]
pub struct RebootOptions {
    #[command(flatten)]
    options: Options,
    /// The router gives out the same ports as before; otherwise those of a router that keeps ports are others.
    #[arg(long)]
    same_ports: bool,
}

/// A laptop that goes elsewhere.
#[derive(Args, Clone, Debug)]
pub struct RoamOptions {
    #[command(flatten)]
    options: Options,
    /// Where to.
    #[arg(long, value_enum, default_value_t = Destination::Elsewhere)]
    destination: Destination,
    /// Seconds without any network in between.
    #[arg(long, default_value_t = 3.0)]
    away: f64,
}

/// Where a laptop goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Destination {
    /// The LAN of a third home.
    Elsewhere,
    /// The LAN of the other node.
    Peer,
}

/// Two direct nodes that ping and download.
struct Busy {
    ends: Ends,
    pings: EchoStream,
    transfer: SteadyTransfer,
}

impl Busy {
    /// Lets two new nodes become direct, and the second download from the first.
    fn start(lab: &Lab, world: &World, homes: [&Home; 2], run: u16) -> Result<Self> {
        let link = world.network("busy", Mtu::DEFAULT)?;
        let ends = Ends::start(lab, world, [("a", homes[0]), ("b", homes[1])], run, &link)?;
        let pings = ends.pings(0, PACE)?;
        let direct = ends.await_direct(Instant::now() + PATH_LIMIT)?;
        ensure!(direct.is_some(), "the two are not direct before anything changes");
        let [a, b] = ends.nodes.each_ref().map(|node| node.namespace());
        let transfer = SteadyTransfer::start(a, b, ends.addresses[1].into())?;
        thread::sleep(STEADY);
        Ok(Self { ends, pings, transfer })
    }

    /// Lets something happen, which returns since when traffic can flow again if it could not at all for a while, and measures
    /// until the two are direct again.
    fn measure(self, change: impl FnOnce() -> Result<Option<Instant>>) -> Result<Figures> {
        let Self { ends, pings, transfer } = self;
        let begun = Instant::now();
        let link_up = change()?;
        let possible = link_up.unwrap_or_else(Instant::now);
        pings.wait_until(SOME, PATH_LIMIT, |_| true)?;
        // What both say right after the change may be what they said before it.
        let settled = Instant::now();
        let direct = ends.await_direct(settled + PATH_LIMIT)?;
        thread::sleep(STEADY);
        let record = pings.stop()?;
        let bytes = transfer.stop().context("the download")?;
        ends.stop()?;
        let (gap, end) = gap(&record, begun)?;
        let mut figures = vec![
            (GAP, gap.as_secs_f64()),
            (LOST, record.lost().len() as f64),
            (BYTES, bytes as f64 / 1000.0),
        ];
        if let Some(link_up) = link_up {
            let answered = record.answers.iter().find(|answer| answer.at >= link_up);
            let answered = answered.context("no answer since the link is up")?;
            figures.push((AFTER, (answered.at - link_up).as_secs_f64()));
        }
        if let Some(direct) = direct {
            // Where nothing was interrupted the path has been direct all the time.
            let again = direct.max(end).saturating_duration_since(possible);
            figures.push((AGAIN, again.as_secs_f64()));
        }
        Ok(figures)
    }
}

/// The longest time without an answer after the change, and its end.
fn gap(record: &EchoRecord, begun: Instant) -> Result<(Duration, Instant)> {
    record.longest_gap_after(begun).context("no answers after the change")
}

/// Reboots the router of one of two homes again and again.
///
/// # Errors
/// The options do not fit.
pub fn reboot(options: &RebootOptions) -> Result<bool> {
    let goals = [Goal {
        figure: GAP,
        percentile: 95,
        most: REBOOT_GAP,
    }];
    let Options { from, to, repeat } = &options.options;
    repeat.measure(&format!("{to} reboots, {from} stays"), RUN_LIMIT, &goals, |lab, run| {
        let (world, [a, b]) = two_homes(lab, *from, *to)?;
        let busy = Busy::start(lab, &world, [&a, &b], run)?;
        busy.measure(|| {
            // A router whose ports are those of the sender would come back with the same ones.
            if options.same_ports || to.is_hard() || to.router == Nat::Absent {
                b.reboot_router()?;
            } else {
                b.rebind_router(40_000..=49_999)?;
            }
            Ok(None)
        })
    })
}

/// Changes the address of one of two homes again and again.
///
/// # Errors
/// The options do not fit.
pub fn wan(options: &Options) -> Result<bool> {
    let goals = [Goal {
        figure: GAP,
        percentile: 95,
        most: MOVE_GAP,
    }];
    let Options { from, to, repeat } = options;
    let what = format!("{to} gets another address, {from} stays");
    repeat.measure(&what, RUN_LIMIT, &goals, |lab, run| {
        let (world, [a, mut b]) = two_homes(lab, *from, *to)?;
        let busy = Busy::start(lab, &world, [&a, &b], run)?;
        busy.measure(|| {
            b.change_address(lab)?;
            Ok(None)
        })
    })
}

/// Takes a laptop to another LAN again and again.
///
/// # Errors
/// The options do not fit.
pub fn roam(options: &RoamOptions) -> Result<bool> {
    ensure!((0.0..=600.0).contains(&options.away), "--away is not within 0 to 600");
    let goals = [Goal {
        figure: AFTER,
        percentile: 95,
        most: MOVE_GAP,
    }];
    let Options { from, to, repeat } = &options.options;
    let what = match options.destination {
        Destination::Elsewhere => format!("a laptop goes from {to} to another {to}, {from} stays"),
        Destination::Peer => format!("a laptop goes from {to} to the LAN of its peer, {from}"),
    };
    repeat.measure(&what, RUN_LIMIT, &goals, |lab, run| {
        let (world, [a, b]) = two_homes(lab, *from, *to)?;
        let elsewhere = lab.home("c", *to, Distance::NONE.wire())?;
        let busy = Busy::start(lab, &world, [&a, &b], run)?;
        busy.measure(|| {
            b.unplug()?;
            thread::sleep(Duration::from_secs_f64(options.away));
            match options.destination {
                Destination::Elsewhere => b.plug_into(&elsewhere)?,
                Destination::Peer => b.plug_into(&a)?,
            };
            Ok(Some(Instant::now()))
        })
    })
}

fn two_homes(lab: &mut Lab, from: Access, to: Access) -> Result<(World, [Home; 2])> {
    let wire = Distance::NONE.wire();
    let world = World::start(lab, SUPERNODES, wire)?;
    Ok((world, [lab.home("a", from, wire)?, lab.home("b", to, wire)?]))
}
