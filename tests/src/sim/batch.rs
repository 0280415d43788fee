//! Many runs, on all cores.

use std::{
    collections::BTreeMap,
    fmt,
    ops::Range,
    panic,
    sync::Mutex,
    thread,
    time::{Duration, Instant},
};

use super::{
    faults::{FaultCounts, FaultKind},
    plan::MANY,
    run::{Outcome, run},
};

/// What a batch came to.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Runs that ended.
    pub runs: u64,
    /// Those of them with very many nodes.
    pub big: u64,
    /// Those of them that were done twice, with the same log.
    pub repeated: u64,
    /// Seeds of runs that failed, with the first line of the reason.
    pub failed: BTreeMap<u64, String>,
    /// Effects of faults, all runs together.
    pub faults: FaultCounts,
    /// Flows that a NAT moved because of a refused datagram.
    pub poisoned: u64,
    /// Frames that had to arrive, and did.
    pub demanded: u64,
    /// Pings that had to be answered, and were.
    pub pings: u64,
    /// The seed after the last one that was begun.
    pub next: u64,
    /// How long it took.
    pub time: Duration,
}

/// How often each kind of fault must have had an effect for a batch to say anything.
pub const FIRED: u64 = 100;

/// From so many runs on a batch is to say something: smaller ones look at single seeds.
const BATCH: u64 = 200;

/// One run in this many is done twice, to see that its seed decides everything.
const REPEATED: u64 = 25;

impl Report {
    /// The kinds of faults that had an effect too seldom: less than `fired` times, which is [`FIRED`] for whole batches and
    /// nothing for single seeds.
    pub fn idle(&self, fired: Option<u64>) -> Vec<FaultKind> {
        let usual = if self.runs >= BATCH { FIRED } else { 0 };
        self.faults.fewer_than(fired.unwrap_or(usual))
    }

    fn add(&mut self, outcome: &Outcome) {
        self.runs += 1;
        self.big += u64::from(outcome.nodes >= MANY);
        self.faults += outcome.faults;
        self.poisoned += outcome.poisoned;
        self.demanded += outcome.demanded;
        self.pings += outcome.pings;
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let minutes = self.time.as_secs_f64() / 60.0;
        writeln!(
            f,
            "{} runs in {minutes:.1} minutes ({:.0} a minute): {} with {MANY} nodes or more, {} done twice, {} failed",
            self.runs,
            self.runs as f64 / minutes,
            self.big,
            self.repeated,
            self.failed.len(),
        )?;
        writeln!(
            f,
            "{} frames had to arrive, {} pings to be answered; faults that had an effect:",
            self.demanded, self.pings
        )?;
        write!(f, "{}", self.faults)?;
        writeln!(f, "{:>12}  flows moved by a poisoned NAT", self.poisoned)
    }
}

/// Runs the seeds of `seeds` on as many threads, until `limit` has passed. `each` is told of every run that ends.
pub fn batch(seeds: Range<u64>, threads: usize, limit: Option<Duration>, each: impl Fn(u64, bool) + Sync) -> Report {
    let mut report = Report::default();
    let spread = spread(seeds, threads, limit, judged, |seed, outcome| {
        each(seed, outcome.is_ok());
        match outcome {
            Ok((outcome, repeated)) => {
                report.add(&outcome);
                report.repeated += u64::from(repeated);
            }
            Err(reason) => {
                report.failed.insert(seed, reason);
            }
        }
    });
    (report.next, report.time) = spread;
    report
}

/// Does `run` for the seeds of `seeds` on as many threads, until `limit` has passed, and gives each result to `take`, in
/// whatever order. Returns the seed after the last one that was begun, and how long it took.
pub(super) fn spread<T: Send>(
    seeds: Range<u64>,
    threads: usize,
    limit: Option<Duration>,
    run: impl Fn(u64) -> T + Sync,
    take: impl FnMut(u64, T) + Send,
) -> (u64, Duration) {
    let start = Instant::now();
    let next = Mutex::new(seeds.start);
    let taker = Mutex::new(take);
    let draw = || {
        let mut next = next.lock().ok()?;
        let over = *next >= seeds.end || limit.is_some_and(|limit| start.elapsed() >= limit);
        (!over).then(|| {
            *next += 1;
            *next - 1
        })
    };
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(seed) = draw() {
                    let outcome = run(seed);
                    let Ok(mut take) = taker.lock() else { return };
                    take(seed, outcome);
                }
            });
        }
    });
    let next = next.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
    (next, start.elapsed())
}

/// The outcome of a seed, and whether it was run twice.
fn judged(seed: u64) -> Result<(Outcome, bool), String> {
    let once = || panic::catch_unwind(|| run(seed)).map_err(|reason| first_line(reason.as_ref()));
    let outcome = once()?;
    let repeat = seed % REPEATED == 1;
    if repeat && once()? != outcome {
        return Err("two runs of this seed differ".to_owned());
    }
    Ok((outcome, repeat))
}

pub(super) fn first_line(reason: &(dyn std::any::Any + Send)) -> String {
    let text = reason
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| reason.downcast_ref::<&str>().copied())
        .unwrap_or("a panic without words");
    text.lines().next().unwrap_or_default().chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_without_faults_says_nothing_and_a_single_seed_may_have_none() {
        let report = |runs| Report {
            runs,
            ..Report::default()
        };
        assert_eq!(report(BATCH).idle(None), FaultKind::ALL);
        assert_eq!(report(1).idle(None), []);
        assert_eq!(report(BATCH).idle(Some(0)), []);
        assert_eq!(report(1).idle(Some(1)), FaultKind::ALL);
    }
}
