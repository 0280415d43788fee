//! The measurements of direct paths, behind `farlan-measure direct`.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;

use super::cold::ColdPair;
use super::pair::Pair;
use super::paths::{Change, Fetched, Orphaned, Outage, RoundTrip};
use super::summary::Summary;
use super::topology::{Nat, Wire};
use super::{limit, requirements};

/// The round trip of the measurements that tell paths by it.
const FAR: Duration = Duration::from_millis(150);

/// How soon after "both registered" two homes must be direct.
const DIRECT: Duration = Duration::from_secs(3);

/// What to measure, and how often.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// Cold starts of two ordinary homes; a quarter of that for each other pair of routers.
    #[arg(long, default_value_t = 40)]
    runs: u16,
    /// How long two direct nodes live without any supernode, in seconds; above 120 they renew their keys meanwhile.
    #[arg(long, default_value_t = 200)]
    alone: u64,
    /// Size of the files, in megabytes.
    #[arg(long, default_value_t = 200)]
    megabytes: usize,
    /// Only these parts.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Part>,
}

/// The parts of the measurement.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// Cold starts of two ordinary homes.
    Cold,
    /// Cold starts behind other routers.
    Routers,
    /// The change from relay to direct under pings.
    Change,
    /// A direct path that is blocked and opened again.
    Outage,
    /// A router that begins to use other ports.
    Rebind,
    /// Life without a supernode.
    Alone,
    /// Files over the relay and over the direct path.
    Files,
    /// Files with lost packets.
    Loss,
}

const PARTS: [Part; 8] = [
    Part::Cold,
    Part::Routers,
    Part::Change,
    Part::Outage,
    Part::Rebind,
    Part::Alone,
    Part::Files,
    Part::Loss,
];

/// Measures and prints.
///
/// # Errors
/// The machine lacks something, or a goal is missed; what was measured before is printed by then.
pub fn measure(options: &Options) -> Result<()> {
    requirements::check_transfers()?;
    let mut missed = Vec::new();
    for part in PARTS {
        if options.only.is_empty() || options.only.contains(&part) {
            // The other parts are worth measuring even then.
            if let Err(error) = part.measure(options) {
                println!("{part:?}: {error:#}");
                missed.push(part);
            }
        }
    }
    ensure!(missed.is_empty(), "missed: {missed:?}");
    Ok(())
}

impl Part {
    fn measure(self, options: &Options) -> Result<()> {
        match self {
            Self::Cold => cold([Nat::Port, Nat::Port], options.runs),
            Self::Routers => {
                let pairs = [
                    [Nat::Port, Nat::Poison],
                    [Nat::Poison, Nat::Poison],
                    [Nat::PortShuffled, Nat::PortShuffled],
                    [Nat::AddressRestricted, Nat::Port],
                    [Nat::FullCone, Nat::Symmetric],
                ];
                let outcomes = pairs.map(|nats| cold(nats, options.runs.div_ceil(4)));
                outcomes.into_iter().collect()
            }
            Self::Change => (0..5).try_for_each(|_| change()),
            Self::Outage => outages("blocked path", |lab, trip| {
                let pair = Pair::start(lab, [Nat::Port, Nat::Port], Wire::for_round_trip(FAR))?;
                Outage::of_direct_path(lab, &pair, trip, Duration::from_secs(5))
            }),
            Self::Rebind => outages("other ports", |lab, trip| {
                let pair = Pair::start(lab, [Nat::Port, Nat::Port], Wire::for_round_trip(FAR))?;
                Outage::of_rebinding(&pair, trip)
            }),
            Self::Alone => alone(Duration::from_secs(options.alone)),
            Self::Files => files(options.megabytes * 1_000_000),
            Self::Loss => [(0.01, 2), (0.2, 10)]
                .into_iter()
                .try_for_each(|(loss, most)| lossy(loss, most)),
        }
    }
}

fn cold(nats: [Nat; 2], runs: u16) -> Result<()> {
    let time_limit = Duration::from_secs(120 + u64::from(runs) * 60);
    let mut late = 0;
    let (mut registered, mut first) = (Vec::new(), Vec::new());
    limit::with_lab(time_limit, |lab| {
        let mut pair = ColdPair::new(lab, nats, Wire::for_round_trip(FAR))?;
        for run in 0..runs {
            match pair.start_direct(lab, run) {
                Ok(direct) => {
                    late += usize::from(direct.registered > DIRECT);
                    registered.push(milliseconds(direct.registered));
                    first.push(milliseconds(direct.first_ping));
                }
                Err(error) => {
                    println!("cold {nats:?}, run {run}: {error:#}");
                    late += 1;
                }
            }
        }
        Ok(())
    })?;
    for (from, measured) in [("both registered", &registered), ("the first ping", &first)] {
        let summary = Summary::of(measured).context("never direct")?;
        println!("cold {nats:?}, ms from {from} to a direct answer: {summary}");
    }
    ensure!(
        late == 0,
        "{nats:?}: {late} of {runs} were not direct within {DIRECT:?}"
    );
    Ok(())
}

fn change() -> Result<()> {
    let wire = Wire::for_round_trip(FAR);
    let trip = RoundTrip::of(wire).context("no delay")?;
    limit::with_lab(Duration::from_secs(300), |lab| {
        let pair = Pair::start_apart(lab, [wire, wire], wire)?;
        let change = Change::under_pings(lab, &pair, trip, 1000)?;
        println!(
            "change, direct {:.1} s after it could: {}",
            change.took.as_secs_f64(),
            change.record
        );
        change.check(trip)
    })
}

fn outages(name: &str, once: impl Fn(&mut super::Lab, RoundTrip) -> Result<Outage>) -> Result<()> {
    let trip = RoundTrip::of(Wire::for_round_trip(FAR)).context("no delay")?;
    let (mut gaps, mut backs, mut lost) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..5 {
        let outage = limit::with_lab(Duration::from_secs(300), |lab| once(lab, trip))?;
        gaps.push(milliseconds(outage.gap));
        backs.push(milliseconds(outage.back));
        lost.push(outage.lost as f64);
    }
    let figures = [
        ("ms without an answer", gaps),
        ("pings lost at 100/s", lost),
        ("ms until direct again", backs),
    ];
    for (figure, measured) in figures {
        println!("{name}, {figure}: {}", Summary::of(&measured).context("no runs")?);
    }
    Ok(())
}

fn alone(time: Duration) -> Result<()> {
    let wire = Wire::for_round_trip(Duration::from_millis(40));
    limit::with_lab(Duration::from_secs(300) + time, |lab| {
        let mut pair = Pair::start(lab, [Nat::Port, Nat::Port], wire)?;
        let orphaned = Orphaned::of_supernode(&mut pair, time)?;
        let (record, bytes, handshakes) = (&orphaned.record, orphaned.bytes, orphaned.handshakes);
        println!(
            "{} s without a supernode: {record}; {bytes} bytes by TCP; {handshakes} ends of handshakes",
            time.as_secs()
        );
        ensure!(
            record.lost().is_empty() && record.doubled() == 0,
            "lost {:?}",
            record.lost()
        );
        // Keys are renewed every 120 s; both ends count it.
        let due = time.as_secs() / 125 * 2;
        ensure!(handshakes >= due, "{handshakes} handshakes where {due} are due");
        Ok(())
    })
}

fn files(bytes: usize) -> Result<()> {
    both_ways(Wire::PLAIN, bytes, "no loss").map(drop)
}

fn lossy(loss: f64, most_handshakes: u64) -> Result<()> {
    let wire = Wire {
        delay: Duration::from_millis(2),
        loss,
        ..Wire::PLAIN
    };
    let handshakes = both_ways(wire, 10_000_000, &format!("{:.0} % lost", loss * 100.0))?;
    ensure!(
        handshakes <= most_handshakes,
        "{handshakes} handshakes, {most_handshakes} at most"
    );
    Ok(())
}

/// Fetches a file over the relay, then over the direct path, with one home on the given wire; returns how many handshakes
/// both took.
fn both_ways(wire: Wire, bytes: usize, what: &str) -> Result<u64> {
    limit::with_lab(Duration::from_secs(1800), |lab| {
        let pair = Pair::start_apart(lab, [wire, Wire::PLAIN], Wire::PLAIN)?;
        let relayed = Fetched::once(lab, &pair, "relay", bytes)?;
        println!("files, {what}, {relayed}");
        lab.unblock(&pair.a.home, &pair.b.home)?;
        let direct = Fetched::once(lab, &pair, "direct", bytes)?;
        println!("files, {what}, {direct}");
        Ok(relayed.handshakes + direct.handshakes)
    })
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
