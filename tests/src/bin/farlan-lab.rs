//! Real nodes behind any two kinds of routers, in network namespaces: see `scripts/lab`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::{Args, Parser, Subcommand};
use farlan_tests::lab::expectation::Kinds;
use farlan_tests::lab::matrix::Plan;
use farlan_tests::lab::pair::{Distance, PairLab};
use farlan_tests::lab::row::{Outcome, Row};
use farlan_tests::lab::verdict::{Verdict, is_as_expected};
use farlan_tests::lab::{blocked, games, islands, narrow, outages, quiet};
use farlan_tests::ns::{Access, limit, requirements};

/// How long the building of a lab may take, and each run in it, on a busy machine.
const BUILD_LIMIT: Duration = Duration::from_secs(120);
const RUN_LIMIT: Duration = Duration::from_secs(120);

#[derive(Parser)]
#[command(about = "Measure real nodes behind any two kinds of routers, in network namespaces")]
struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// The kinds of routers that there are.
    Kinds,
    /// How soon two homes are direct.
    Pair {
        /// The kind of the first home's routers, as `kinds` lists them; each also as X~ (with hairpin) and X/Y (behind a
        /// carrier's Y).
        one: Access,
        /// The kind of the other's.
        other: Access,
        /// How often.
        #[arg(long, default_value_t = 1)]
        runs: u16,
        #[command(flatten)]
        far: Far,
    },
    /// How soon the homes of all pairs of kinds are direct.
    Matrix {
        /// The kinds; those of the yardstick without.
        #[arg(long, value_delimiter = ',')]
        kinds: Vec<Access>,
        /// How often each pair.
        #[arg(long, default_value_t = 1)]
        runs: u16,
        /// Every N-th pair only, from the I-th on, counted from 0: for several machines.
        #[arg(long, value_name = "I/N", default_value = "0/1", value_parser = shard)]
        shard: (usize, usize),
        /// How many pairs at once.
        #[arg(long, default_value_t = 4)]
        at_once: usize,
        /// The file that the runs are written to, as lines with commas. What fails is told in the file of that name with
        /// the extension `log`.
        #[arg(long, default_value = "target/lab-matrix.csv")]
        out: PathBuf,
        /// Go on with the file that is there.
        #[arg(long)]
        resume: bool,
        #[command(flatten)]
        far: Far,
    },
    /// What it costs when a router reboots, under load.
    Reboot(outages::RebootOptions),
    /// What it costs when a home gets another address outside, under load.
    Wan(outages::Options),
    /// What it costs when a laptop goes to another LAN, under load.
    Roam(outages::RoamOptions),
    /// How soon traffic flows when a node wakes up.
    Sleep(quiet::Options),
    /// Whether the first packet after a long silence arrives.
    Idle(quiet::Options),
    /// How soon traffic flows where UDP is blocked, and is back on UDP where it is opened.
    Block(blocked::Options),
    /// How soon frames of full size pass a wire that takes small packets only and tells nobody.
    Blackhole(narrow::Options),
    /// How soon nodes on one switch meet without any supernode, and two such islands when they get a link.
    Islands(islands::Options),
    /// Whether real games find real servers, and play: see `scripts/games`.
    Games(games::Options),
    /// Whether broadcasts of many members reach everybody once: see `scripts/games`.
    Broadcasts(games::Broadcasts),
    /// Runs of one pair, as lines for `matrix`.
    #[command(hide = true)]
    Rows {
        one: Access,
        other: Access,
        #[arg(long, value_delimiter = ',')]
        runs: Vec<u16>,
        #[arg(long)]
        at_once: usize,
        #[command(flatten)]
        far: Far,
    },
}

/// What packets meet between any two of the homes and the supernodes.
#[derive(Args, Clone, Debug)]
struct Far {
    /// Delay one way, in milliseconds; a round trip takes twice as long.
    #[arg(long, default_value_t = 0.0)]
    delay_ms: f64,
    /// Share of packets lost one way, 0 to 1.
    #[arg(long, default_value_t = 0.0)]
    loss: f64,
}

impl Far {
    fn distance(&self) -> Result<Distance> {
        ensure!(
            (0.0..=10_000.0).contains(&self.delay_ms),
            "--delay-ms is not within 0 to 10000"
        );
        ensure!((0.0..1.0).contains(&self.loss), "--loss is not within 0 to 1");
        Ok(Distance {
            delay_ms: self.delay_ms,
            loss: self.loss,
        })
    }
}

fn shard(text: &str) -> Result<(usize, usize)> {
    let (shard, shards) = text.split_once('/').context("not of the form I/N")?;
    let (shard, shards) = (shard.parse()?, shards.parse()?);
    ensure!(shard < shards, "I must be less than N");
    Ok((shard, shards))
}

fn main() -> ExitCode {
    match requirements::check_base().and_then(|()| run(Arguments::parse().what)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("the measurement failed: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Returns whether everything was as it must be.
fn run(what: What) -> Result<bool> {
    match what {
        What::Kinds => {
            for access in Access::ALL {
                let behaviour = access.behaviour();
                println!(
                    "{access:12} {}",
                    behaviour.map_or_else(|| "no UDP".to_owned(), |behaviour| format!("{behaviour:?}"))
                );
            }
            Ok(true)
        }
        What::Pair { one, other, runs, far } => pair(Kinds([one, other]), runs, far.distance()?),
        What::Matrix {
            kinds,
            runs,
            shard,
            at_once,
            out,
            resume,
            far,
        } => {
            ensure!(at_once > 0, "--at-once must be at least 1");
            let kinds = if kinds.is_empty() {
                Access::MATRIX.to_vec()
            } else {
                kinds
            };
            let plan = Plan {
                kinds,
                runs,
                shard,
                at_once,
                distance: far.distance()?,
                out,
                resume,
            };
            plan.measure()
        }
        What::Reboot(options) => outages::reboot(&options),
        What::Wan(options) => outages::wan(&options),
        What::Roam(options) => outages::roam(&options),
        What::Sleep(options) => quiet::sleep(&options),
        What::Idle(options) => quiet::idle(&options),
        What::Block(options) => blocked::block(&options),
        What::Blackhole(options) => narrow::blackhole(&options),
        What::Islands(options) => islands::islands(&options),
        What::Games(options) => games::games(&options),
        What::Broadcasts(options) => games::broadcasts(&options),
        What::Rows {
            one,
            other,
            runs,
            at_once,
            far,
        } => {
            runs_of(Kinds([one, other]), &runs, far.distance()?, at_once, |row| {
                println!("{row}")
            })?;
            Ok(true)
        }
    }
}

fn runs_of(
    kinds: Kinds,
    runs: &[u16],
    distance: Distance,
    at_once: usize,
    mut tell: impl FnMut(&Row),
) -> Result<Vec<Row>> {
    let time_limit = BUILD_LIMIT + RUN_LIMIT * u32::try_from(runs.len())?;
    limit::with_lab(time_limit, |lab| {
        let pair = PairLab::new(lab, kinds, distance, at_once)?;
        let row = |run: &u16| {
            let row = pair.run(lab, *run);
            tell(&row);
            row
        };
        Ok(runs.iter().map(row).collect())
    })
}

fn pair(kinds: Kinds, runs: u16, distance: Distance) -> Result<bool> {
    println!("{kinds}, which must be {}", kinds.expected().word());
    let runs: Vec<_> = (0..runs).collect();
    let rows = runs_of(kinds, &runs, distance, 1, |row| {
        let pings = format!("{} of {} frames lost, {} doubled", row.lost, row.sent, row.doubled);
        let run = row.run;
        match (row.outcome, row.times) {
            (Outcome::Direct, Some(times)) => println!(
                "run {run}: direct {:.2} s after the first frame, {:.2} s after both were registered, {:.2} s after the cold start; {pings}",
                times.first_frame, times.registered, times.launched
            ),
            (Outcome::Relay | Outcome::Direct, _) => println!("run {run}: relayed; {pings}"),
            (Outcome::Failed, _) => println!("run {run}: failed"),
        }
    })?;
    if rows.len() > 1 {
        println!("{}", Verdict::of(&rows));
    }
    Ok(rows.iter().all(is_as_expected))
}
