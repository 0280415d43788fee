//! Many pairs, on all cores: `scripts/simulate --traversal`.

use std::{collections::BTreeMap, fmt, ops::Range, panic, time::Duration};

use super::{
    batch::{first_line, spread},
    oracle::Expected,
    pairs::{Meeting, Pair, SOON, Seen},
};

/// What many pairs came to.
#[derive(Clone, Debug, Default)]
pub struct PairReport {
    /// Pairs that were run.
    pub pairs: u64,
    /// Those that are not as they must be, by seed, with what is wrong.
    pub failed: BTreeMap<u64, String>,
    /// Pairs without loss that had to be direct with a hard side among them.
    pub searched: u64,
    /// The seeds of those that took longer than [`SOON`], as a second search makes it, and how long they took.
    pub late: BTreeMap<u64, Duration>,
    /// Pairs by what the oracle said and by what was seen.
    seen: BTreeMap<(&'static str, &'static str), u64>,
    /// The same for each two kinds that meet in the core: those that must be direct and were, and were not, and those that
    /// must be relayed, or all but a few, and were, and were not.
    kinds: BTreeMap<(&'static str, &'static str), [u64; 4]>,
    /// From the first frame to the direct path, in milliseconds, where nothing was lost, by the number of hard sides.
    times: BTreeMap<usize, Vec<u64>>,
    /// The same where datagrams were lost.
    lossy: BTreeMap<usize, Vec<u64>>,
    /// Pings where nothing was lost on the way, and those of them without answer.
    pings: u64,
    lost: u64,
    /// Datagrams to addresses that nobody has, and the most of one pair.
    astray: u64,
    most_astray: u64,
    /// The most datagrams that one node sent in ten seconds.
    most_sent: u64,
    /// The seed after the last one that was begun.
    pub next: u64,
    /// How long it took.
    pub time: Duration,
}

impl PairReport {
    /// Runs the pairs that `pair` makes of the seeds of `seeds` on as many threads, until `limit` has passed. `each` is told
    /// of every pair that ends, and what is wrong with it, if anything is.
    pub fn run(
        seeds: Range<u64>,
        threads: usize,
        limit: Option<Duration>,
        pair: impl Fn(u64) -> Pair + Sync,
        mut each: impl FnMut(&Pair, Option<&str>) + Send,
    ) -> Self {
        let mut report = Self::default();
        let one = |seed| {
            let pair = pair(seed);
            let seen = panic::catch_unwind(|| pair.run()).map_err(|reason| first_line(reason.as_ref()));
            (pair, seen)
        };
        let spread = spread(seeds, threads, limit, one, |seed, (pair, seen)| {
            let wrong = report.add(&pair, seen);
            each(&pair, wrong.as_deref());
            if let Some(wrong) = wrong {
                report.failed.insert(seed, format!("{pair}: {wrong}"));
            }
        });
        (report.next, report.time) = spread;
        report
    }

    /// Counts a pair and returns what is wrong with it.
    fn add(&mut self, pair: &Pair, seen: Result<Seen, String>) -> Option<String> {
        self.pairs += 1;
        let seen = match seen {
            Ok(seen) => seen,
            Err(reason) => return Some(reason),
        };
        let came = match (seen.settled, seen.direct) {
            (false, _) => "nothing",
            (true, None) => "relayed",
            (true, Some(_)) => "direct",
        };
        let expected = match seen.expected {
            Expected::Direct => "direct",
            Expected::Relay => "relayed",
            Expected::Unlikely => "unlikely",
            Expected::Either => "either",
        };
        *self.seen.entry((expected, came)).or_default() += 1;
        if pair.meeting == Meeting::Core {
            let [a, b] = pair.homes.map(super::homes::Home::name);
            let counts = self.kinds.entry((a.min(b), a.max(b))).or_default();
            let place = match (seen.expected, seen.direct) {
                (Expected::Direct, Some(_)) => Some(0),
                (Expected::Direct, None) => Some(1),
                (Expected::Relay | Expected::Unlikely, None) => Some(2),
                (Expected::Relay | Expected::Unlikely, Some(_)) => Some(3),
                (Expected::Either, _) => None,
            };
            if let Some(place) = place {
                counts[place] += 1;
            }
            if let Some(direct) = seen.direct {
                let times = if pair.loss == 0.0 {
                    &mut self.times
                } else {
                    &mut self.lossy
                };
                let milliseconds = u64::try_from(direct.as_millis()).unwrap_or(u64::MAX);
                times.entry(pair.hard_sides()).or_default().push(milliseconds);
            }
        }
        if pair.loss == 0.0 && pair.hard_sides() > 0 && seen.expected == Expected::Direct {
            self.searched += 1;
            if let Some(direct) = seen.direct.filter(|direct| *direct > SOON) {
                self.late.insert(pair.seed, direct);
            }
        }
        if pair.loss == 0.0 {
            self.pings += seen.pings as u64;
            self.lost += seen.lost as u64;
        }
        self.astray += seen.astray;
        self.most_astray = self.most_astray.max(seen.astray);
        self.most_sent = self.most_sent.max(seen.sent);
        let complaints = pair.complaints(&seen);
        (!complaints.is_empty()).then(|| complaints.join("; "))
    }

    /// Pairs of kinds for which the oracle was wrong at least once: those that had to be direct and were, and were not, and
    /// those that had to be relayed and were, and were not.
    pub fn disagreements(&self) -> Vec<((&'static str, &'static str), [u64; 4])> {
        let wrong = self.kinds.iter().filter(|(_, counts)| counts[1] > 0 || counts[3] > 0);
        wrong.map(|(&kinds, &counts)| (kinds, counts)).collect()
    }

    /// Whether every pair is as it must be, no more of them took a second search than one in 500 and one, since a first one
    /// misses once in 3,200, and no more of those that could be direct by luck alone were: where both ends try 2,000 ports of
    /// each other's, both hit once in 1,000.
    pub fn is_good(&self) -> bool {
        let lucky = self.count("unlikely", "direct");
        let luckless = self.count("unlikely", "relayed");
        let usual = self.late.len() as u64 <= 1 + self.searched / 500 && lucky <= 1 + luckless / 500;
        self.failed.is_empty() && usual
    }

    /// How many pairs had to be `expected` ("direct", "relayed", "unlikely", "either") and came to `seen` ("direct", "relayed",
    /// "nothing").
    pub fn count(&self, expected: &'static str, seen: &'static str) -> u64 {
        self.seen.get(&(expected, seen)).copied().unwrap_or_default()
    }

    /// The quantile of the times to the direct path without loss, in milliseconds, of pairs with so many hard sides.
    pub fn quantile(&self, hard_sides: usize, share: f64) -> Option<u64> {
        quantile(self.times.get(&hard_sides)?, share)
    }
}

impl fmt::Display for PairReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.time.as_secs_f64();
        writeln!(
            f,
            "{} pairs in {seconds:.1} s ({:.0} a second), {} not as they must be",
            self.pairs,
            self.pairs as f64 / seconds,
            self.failed.len(),
        )?;
        writeln!(f, "had to be  direct  relayed  without any path")?;
        for expected in ["direct", "relayed", "unlikely", "either"] {
            let [direct, relayed, nothing] = ["direct", "relayed", "nothing"].map(|seen| self.count(expected, seen));
            writeln!(f, "{expected:9} {direct:>7} {relayed:>8} {nothing:>17}")?;
        }
        for (times, name) in [(&self.times, "nothing lost"), (&self.lossy, "up to 5 % lost")] {
            for (hard, times) in times {
                let of = |share| quantile(times, share).unwrap_or_default();
                writeln!(
                    f,
                    "{hard} hard sides, {name}: {} direct, median {} ms, p95 {} ms, longest {} ms",
                    times.len(),
                    of(0.5),
                    of(0.95),
                    of(1.0)
                )?;
            }
        }
        writeln!(
            f,
            "{} of {} pings lost where links lose nothing; {} datagrams to addresses that nobody has ({} of one pair at most); at most {} sent by a node in 10 s",
            self.lost, self.pings, self.astray, self.most_astray, self.most_sent
        )?;
        writeln!(
            f,
            "{} of {} with a hard side where nothing is lost took longer than {SOON:?}: {:?}",
            self.late.len(),
            self.searched,
            self.late
        )?;
        for ((a, b), [right, not_direct, relayed, direct]) in self.disagreements() {
            writeln!(
                f,
                "{a} × {b}: had to be direct: {right} were, {not_direct} were not; had to be relayed: {relayed} were, {direct} were not"
            )?;
        }
        Ok(())
    }
}

/// The smallest of these numbers that so large a share of them does not exceed.
pub(super) fn quantile(numbers: &[u64], share: f64) -> Option<u64> {
    let mut numbers = numbers.to_vec();
    numbers.sort_unstable();
    let place = (numbers.len() as f64 * share).ceil() as usize;
    numbers.get(place.saturating_sub(1)).copied()
}
