//! Two nodes that say nothing for a while: one sleeps, or both are idle behind routers that forget.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;
use farlan_netconf::Mtu;

use super::ends::Ends;
use super::pair::{Distance, SUPERNODES};
use super::repeat::{Figures, Goal, Repeat};
use crate::ns::echo::EchoStream;
use crate::ns::world::World;
use crate::ns::{Access, Home, Lab};

/// Pace of the pings.
const PACE: Duration = Duration::from_millis(20);

/// How long traffic may take to come back before a run counts as failed, and the path to come.
const BACK_LIMIT: Duration = Duration::from_secs(60);
const PATH_LIMIT: Duration = Duration::from_secs(30);

/// How many answers in a row show that traffic flows.
const SOME: usize = 20;

/// How long an answer to the first packet may take before it counts as lost.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// How long it really takes.
const REAL: Duration = Duration::from_secs(600);

/// Most seconds from waking up until traffic flows.
const AWAKE: f64 = 3.0;

const THERE: &str = "seconds from waking up until its own pings are answered";
const BACK: &str = "seconds from waking up until it answers";
const LOST: &str = "first packets lost";
const TOOK: &str = "ms until the first packet is answered";

/// Two homes, for how long, and how often.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// The kind of one home.
    #[arg(long, default_value = "port")]
    from: Access,
    /// The kind of the other.
    #[arg(long, default_value = "port")]
    to: Access,
    /// For how many seconds nothing is said. Beyond 75 supernodes have forgotten a node that sleeps, beyond 180 keys have
    /// ended.
    #[arg(long, default_value_t = 100)]
    seconds: u64,
    /// Ten minutes, as in life.
    #[arg(long)]
    real: bool,
    /// How long routers remember, in seconds.
    #[arg(long, default_value_t = 30)]
    timer: u64,
    #[command(flatten)]
    repeat: Repeat,
}

impl Options {
    fn time(&self) -> Duration {
        if self.real {
            REAL
        } else {
            Duration::from_secs(self.seconds)
        }
    }

    fn homes(&self, lab: &mut Lab) -> Result<(World, [Home; 2])> {
        let wire = Distance::NONE.wire();
        let world = World::start(lab, SUPERNODES, wire)?;
        let mut homes = [lab.home("a", self.from, wire)?, lab.home("b", self.to, wire)?];
        let timer = Duration::from_secs(self.timer);
        homes
            .iter_mut()
            .try_for_each(|home| home.set_udp_timers(timer, timer))?;
        Ok((world, homes))
    }

    fn start(&self, lab: &mut Lab, run: u16) -> Result<(World, Ends)> {
        let (world, [a, b]) = self.homes(lab)?;
        let link = world.network("quiet", Mtu::DEFAULT)?;
        let ends = Ends::start(lab, &world, [("a", &a), ("b", &b)], run, &link)?;
        let pings = ends.pings(0, PACE)?;
        pings.wait_until(SOME, PATH_LIMIT, |_| true)?;
        // They may stay relayed, if their kinds are hard.
        let _ = ends.await_direct(Instant::now() + PATH_LIMIT)?;
        drop(pings.stop()?);
        Ok((world, ends))
    }
}

/// Lets one of two nodes sleep for a while, again and again: its program and all its children are stopped. Their clocks run on, as
/// they do on a machine that sleeps for those who look at the right one.
///
/// # Errors
/// None so far.
pub fn sleep(options: &Options) -> Result<bool> {
    let time = options.time();
    let goal = |figure| Goal {
        figure,
        percentile: 100,
        most: AWAKE,
    };
    let what = format!(
        "{} sleeps for {} s, {} stays; routers remember for {} s",
        options.to,
        time.as_secs(),
        options.from,
        options.timer
    );
    let goals = [goal(THERE), goal(BACK)];
    options
        .repeat
        .measure(&what, time + BACK_LIMIT * 2, &goals, |lab, run| {
            let (_world, mut ends) = options.start(lab, run)?;
            ends.nodes[1].process()?.sleep()?;
            thread::sleep(time);
            ends.nodes[1].process()?.wake()?;
            let woken = Instant::now();
            let streams = [ends.pings(1, PACE)?, ends.pings(0, PACE)?];
            let [there, back] = streams.map(|stream| first_answer(stream, woken));
            ends.stop()?;
            Ok(vec![(THERE, there?), (BACK, back?)])
        })
}

/// Seconds from `start` to the first answer.
fn first_answer(pings: EchoStream, start: Instant) -> Result<f64> {
    pings.wait_until(SOME, BACK_LIMIT, |_| true)?;
    let record = pings.stop()?;
    let first = record.first(|_| true).context("no answer")?;
    Ok((first.at - start).as_secs_f64())
}

/// Lets two nodes be idle for a while behind routers that forget, again and again, and sees what becomes of the first packet:
/// from one and the other in turn.
///
/// # Errors
/// None so far.
pub fn idle(options: &Options) -> Result<bool> {
    let time = options.time();
    let goals = [Goal {
        figure: LOST,
        percentile: 100,
        most: 0.0,
    }];
    let what = format!(
        "{} and {} are idle for {} s; routers remember for {} s",
        options.from,
        options.to,
        time.as_secs(),
        options.timer
    );
    options.repeat.measure(&what, time + BACK_LIMIT, &goals, |lab, run| {
        let (_world, ends) = options.start(lab, run)?;
        thread::sleep(time);
        let from = usize::from(!run.is_multiple_of(2));
        // One ping and no other: the next would be due later than all of this takes.
        let pings = ends.pings(from, ANSWER_LIMIT * 4)?;
        let asked = Instant::now();
        while pings.record().answers.is_empty() && asked.elapsed() < ANSWER_LIMIT {
            thread::sleep(PACE);
        }
        let record = pings.stop()?;
        ends.stop()?;
        ensure!(record.sent.len() == 1, "{record}");
        let mut figures: Figures = vec![(LOST, record.lost().len() as f64)];
        if let Some(answer) = record.first(|_| true) {
            figures.push((TOOK, answer.took.as_secs_f64() * 1000.0));
        }
        Ok(figures)
    })
}
