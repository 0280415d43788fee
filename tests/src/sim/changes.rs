//! What a change of network costs two nodes that speak directly, in virtual time: `scripts/simulate --changes`.

use std::{fmt, ops::Range, panic, time::Duration};

use farlan_engine::Event;

use super::{
    batch::{first_line, spread},
    homes::Home,
    lab::PingId,
    pair_batch::quantile,
    pairs::{Pair, Talk},
    random::ReproducibleRandom,
    underlay::NatId,
};

/// What changes, always for the first of the two nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Its router forgets all flows, under load.
    Reboot,
    /// The same, and the router gives other ports afterwards.
    Rebind,
    /// Its router gets another address from the provider, under load.
    WanAddress,
    /// It moves to another home, under load.
    Roam,
    /// It sleeps for 10 minutes.
    Sleep,
    /// Nobody speaks for 10 minutes, behind routers that forget after 30 s.
    Idle,
    /// The same behind routers that forget after 15 to 30 s.
    ShortTimer,
    /// Its router lets no UDP out any more, under load.
    Mute,
    /// Its router lets no UDP in any more, under load.
    Deaf,
    /// Its router lets no UDP through any more, under load.
    Blocked,
    /// Nothing, on a long line that loses up to 5 %, for a minute: how often the path is changed for nothing.
    Lossy,
}

const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// How long a sleep or a silence lasts.
const LONG: Duration = Duration::from_secs(600);

/// How long the two speak before the change, and after it; and how long where nothing changes.
const BEFORE: Duration = Duration::from_secs(5);
const AFTER: Duration = Duration::from_secs(20);
const LOSSY: Duration = Duration::from_secs(60);

/// Of so many minutes on a line that loses up to 5 %, one may see the path changed for nothing.
const ALARMS: usize = 20;

/// The time between two pings of each node.
const PING: Duration = Duration::from_millis(50);

/// So many runs with something remarkable are shown.
const SHOWN: usize = 10;

/// So many intervals in a row in which something went straight both ways show that frames do.
const STEADY: u32 = 4;

/// Homes without a hard side, so that the way back to a direct path is short.
const EASY: [&str; 10] = [
    "full",
    "addr",
    "port",
    "port-strict",
    "port-rand",
    "poison",
    "port/full",
    "port/port",
    "full~",
    "port~",
];

/// What one change cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// The longest time between two pings that were answered, in either direction, around the change; after a sleep, from the
    /// waking to the first ping that was answered; after a silence, how long the first ping took.
    pub gap: Option<Duration>,
    /// Pings without answer after the change.
    pub lost: usize,
    /// From the change until both sent straight again.
    pub direct: Option<Duration>,
    /// How often either changed its path since the change.
    pub paths: usize,
}

impl Change {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Reboot,
        Self::Rebind,
        Self::WanAddress,
        Self::Roam,
        Self::Sleep,
        Self::Idle,
        Self::ShortTimer,
        Self::Mute,
        Self::Deaf,
        Self::Blocked,
        Self::Lossy,
    ];

    /// The longest gap that 95 of 100 may have; nothing may be lost after a silence.
    pub fn bound(self) -> Duration {
        match self {
            Self::Reboot | Self::Rebind | Self::Sleep => 3 * SECOND,
            Self::Mute | Self::Deaf | Self::Blocked => 3 * SECOND,
            Self::WanAddress | Self::Roam => 2 * SECOND,
            // Both ways in a row lose one in ten.
            Self::Lossy => SECOND,
            // The way there and back, by the relay if need be, and a question for the neighbour.
            Self::Idle | Self::ShortTimer => SECOND,
        }
    }

    /// Whether nothing at all may be lost.
    pub fn is_lossless(self) -> bool {
        matches!(self, Self::Idle | Self::ShortTimer)
    }

    /// Whether a direct path must work afterwards.
    pub fn ends_direct(self) -> bool {
        !matches!(self, Self::Mute | Self::Deaf | Self::Blocked)
    }

    /// The pair of a seed, and the home that the first of the two moves to if it does.
    pub fn draw(self, seed: u64) -> (Pair, Home) {
        let mut random = ReproducibleRandom::new(seed, "change", 0);
        let mut easy = || -> Home {
            let name = EASY[random.below(EASY.len() as u64) as usize];
            name.parse().expect("the name of a kind")
        };
        let (homes, next) = ([easy(), easy()], easy());
        let lifetime = match self {
            Self::ShortTimer => 15 * SECOND + random.duration_below(15 * SECOND),
            _ => 30 * SECOND,
        };
        let longest = if self == Self::Lossy { 300 } else { 150 };
        let lost = random.below(5_000) as f64 / 100_000.0;
        let pair = Pair {
            round_trip: random.duration_below(longest * MILLISECOND),
            supernodes: 1 + random.below(2) as usize,
            loss: if self == Self::Lossy { lost } else { 0.0 },
            ..Pair::new(seed, homes.map(|home| home.map_router(|kind| kind.lifetime(lifetime))))
        };
        (pair, next)
    }

    /// Runs the change of a seed.
    ///
    /// # Panics
    /// If the two do not come to a direct path in the first place.
    pub fn run(self, seed: u64) -> Cost {
        let (pair, next) = self.draw(seed);
        let (mut lab, network, nodes, places) = pair.build();
        let next = next.build(&mut lab);
        let mut talk = Talk::new(lab, network, nodes);
        talk.interval = PING;
        assert!(talk.settle(30 * SECOND), "{pair}: never came to a supernode");
        let start = talk.lab.now();
        while !talk.says_direct() {
            assert!(talk.lab.now() - start < 10 * SECOND, "{pair}: never direct");
            talk.step();
        }
        talk.speak(BEFORE);
        let begun = talk.lab.now();
        let router = places[0].expect("a home with a router");
        match self {
            Self::Idle | Self::ShortTimer => return silence(&mut talk, (seed % 2) as usize),
            Self::Sleep => return sleep(&mut talk, seed.is_multiple_of(2)),
            Self::Lossy => talk.speak(LOSSY - AFTER),
            Self::Reboot | Self::Rebind | Self::WanAddress | Self::Roam => {}
            Self::Mute | Self::Deaf | Self::Blocked => {}
        }
        let at = talk.lab.now();
        self.happen(&mut talk, (pair.homes[0], router), next);
        let direct = speak_on(&mut talk, pair.round_trip);
        let end = talk.lab.now();
        talk.faults();
        Cost {
            gap: [0, 1].map(|end_of| gap(&talk, end_of, at, end)).into_iter().max(),
            lost: lost(&talk, at),
            direct,
            paths: paths(&talk, if self == Self::Lossy { begun } else { at }),
        }
    }

    fn happen(self, talk: &mut Talk, (home, router): (Home, NatId), next: Option<NatId>) {
        match self {
            Self::Reboot => talk.lab.reboot(router),
            Self::Rebind => talk.lab.rebind(router),
            Self::WanAddress => talk.lab.renumber(router),
            Self::Roam => talk.lab.roam(talk.nodes[0], next),
            Self::Mute | Self::Deaf | Self::Blocked => {
                let kind = home.router.expect("a home with a router");
                let kind = match self {
                    Self::Mute => kind.without_udp(),
                    Self::Deaf => kind.deaf(),
                    _ => kind.without_udp().deaf(),
                };
                talk.lab.set_nat(router, kind);
            }
            Self::Sleep | Self::Idle | Self::ShortTimer | Self::Lossy => {}
        }
    }
}

/// Speaks for [`AFTER`] from now on, and tells after how long frames went straight both ways.
fn speak_on(talk: &mut Talk, round_trip: Duration) -> Option<Duration> {
    let at = talk.lab.now();
    let (mut direct, mut straight) = (None, 0);
    while talk.lab.now() < at + AFTER {
        let [a, b] = talk.nodes;
        let passed = |talk: &Talk| [talk.lab.straight(a, b), talk.lab.straight(b, a)];
        let before = passed(talk);
        talk.step();
        // What was under way at the change still arrives, and challenges go straight as well.
        let grown = passed(talk)
            .into_iter()
            .zip(before)
            .all(|(after, before)| after > before);
        let late = talk.lab.now() > at + round_trip;
        straight = if grown && late { straight + 1 } else { 0 };
        if direct.is_none() && straight >= STEADY {
            direct = Some((talk.lab.now() - at).saturating_sub(STEADY * talk.interval));
        }
    }
    direct
}

/// Nobody speaks for long; then one of the two pings once.
fn silence(talk: &mut Talk, end: usize) -> Cost {
    talk.lab.run(LONG);
    let at = talk.lab.now();
    let ping = talk.ping(end);
    let direct = talk.says_direct().then_some(Duration::ZERO);
    talk.faults();
    Cost {
        gap: ping.and_then(|ping| talk.lab.answer(ping)),
        lost: lost(talk, at),
        direct,
        paths: paths(talk, at),
    }
}

/// The first of the two sleeps while the other one goes on pinging for a while; `counted` says whether its clock goes on.
fn sleep(talk: &mut Talk, counted: bool) -> Cost {
    let [sleeper, _] = talk.nodes;
    talk.lab.sleep(sleeper);
    let asleep = talk.lab.now();
    while talk.lab.now() < asleep + BEFORE {
        talk.ping(1);
        talk.lab.run(talk.interval);
    }
    talk.lab.run(LONG - BEFORE);
    talk.lab.wake(sleeper, counted);
    let at = talk.lab.now();
    let direct = speak_on(talk, Duration::ZERO);
    talk.faults();
    let first = |end: usize| {
        let mut answered = answered(talk, end).filter(|&sent| sent >= at);
        answered.next().map(|sent| sent - at)
    };
    Cost {
        gap: first(0).zip(first(1)).map(|(one, other)| one.max(other)),
        lost: lost(talk, at),
        direct,
        paths: paths(talk, at),
    }
}

/// When the pings of one of the two that were answered were sent.
fn answered(talk: &Talk, end: usize) -> impl Iterator<Item = Duration> {
    let node = talk.nodes[end];
    let of_end = move |ping: &&PingId| ping.from() == node;
    let pings = talk.pings.iter().filter(of_end);
    pings
        .filter(|&&ping| talk.lab.answer(ping).is_some())
        .map(|ping| ping.sent())
}

/// The longest time without an answered ping of one of the two, from just before `at` to `end`.
fn gap(talk: &Talk, of: usize, at: Duration, end: Duration) -> Duration {
    let around = answered(talk, of).filter(|&sent| sent + 2 * PING >= at);
    let (last, longest) = around.fold((at, Duration::ZERO), |(last, longest), sent| {
        (sent, longest.max(sent.saturating_sub(last)))
    });
    longest.max(end.saturating_sub(last))
}

fn lost(talk: &Talk, since: Duration) -> usize {
    let pings = talk.pings.iter().filter(|ping| ping.sent() >= since);
    pings.filter(|&&ping| talk.lab.answer(ping).is_none()).count()
}

/// How often the two changed their paths.
fn paths(talk: &Talk, since: Duration) -> usize {
    let events = talk.nodes.iter().flat_map(|&node| talk.lab.events(node));
    let changed = events.filter(|(at, event)| *at >= since && matches!(event, Event::PathChanged { .. }));
    changed.count()
}

/// What one kind of change cost over many seeds.
#[derive(Clone, Debug)]
pub struct ChangeReport {
    /// What changed.
    pub change: Change,
    /// The costs.
    pub costs: Vec<Cost>,
    /// Seeds of those that never came back or that failed otherwise, with the reason.
    pub failed: Vec<(u64, String)>,
    /// Those that stayed relayed.
    pub relayed: Vec<u64>,
}

impl ChangeReport {
    /// Runs a change for these seeds on as many threads.
    pub fn run(change: Change, seeds: Range<u64>, threads: usize) -> Self {
        let mut report = Self {
            change,
            costs: Vec::new(),
            failed: Vec::new(),
            relayed: Vec::new(),
        };
        let one = |seed| panic::catch_unwind(|| change.run(seed)).map_err(|reason| first_line(reason.as_ref()));
        spread(seeds, threads, None, one, |seed, cost| match cost {
            Err(reason) => report.failed.push((seed, reason)),
            Ok(cost) => {
                if cost.gap.is_none() {
                    report.failed.push((seed, "no ping was answered any more".to_owned()));
                } else if change.is_lossless() && cost.lost > 0 {
                    report.failed.push((seed, "the first ping was lost".to_owned()));
                }
                let relayed = cost.direct.is_none() && change.ends_direct();
                report.relayed.extend(relayed.then_some(seed));
                report.costs.push(cost);
            }
        });
        report.failed.sort();
        report.relayed.sort_unstable();
        report
    }

    /// The quantile of the gaps, in milliseconds.
    pub fn quantile(&self, share: f64) -> Option<u64> {
        quantile(&self.gaps(), share)
    }

    /// Whether the gaps are within the bound, nothing failed, nobody stays relayed, and paths are not changed for nothing.
    pub fn is_good(&self) -> bool {
        let bound = u64::try_from(self.change.bound().as_millis()).unwrap_or(u64::MAX);
        let calm = self.change != Change::Lossy || self.paths() <= self.costs.len() / ALARMS;
        let well = self.failed.is_empty() && self.relayed.is_empty();
        well && calm && self.quantile(0.95).is_some_and(|p95| p95 <= bound)
    }

    /// How often paths were changed, in all runs.
    pub fn paths(&self) -> usize {
        self.costs.iter().map(|cost| cost.paths).sum()
    }

    fn gaps(&self) -> Vec<u64> {
        let gaps = self.costs.iter().filter_map(|cost| cost.gap);
        gaps.map(|gap| u64::try_from(gap.as_millis()).unwrap_or(u64::MAX))
            .collect()
    }
}

impl fmt::Display for ChangeReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = |share| self.quantile(share).unwrap_or_default();
        let mut lost: Vec<u64> = self.costs.iter().map(|cost| cost.lost as u64).collect();
        lost.sort_unstable();
        let back: Vec<u64> = self
            .costs
            .iter()
            .filter_map(|cost| u64::try_from(cost.direct?.as_millis()).ok())
            .collect();
        write!(
            f,
            "{:<11} {:>5} runs: gap median {} ms, p95 {} ms, longest {} ms (p95 may be {} ms); pings lost: median {}, most {}; {} straight again after {} ms (median), {} ms (p95), {} ms at most; {} changes of path; {} failed",
            format!("{:?}", self.change),
            self.costs.len(),
            of(0.5),
            of(0.95),
            of(1.0),
            self.change.bound().as_millis(),
            quantile(&lost, 0.5).unwrap_or_default(),
            lost.last().copied().unwrap_or_default(),
            back.len(),
            quantile(&back, 0.5).unwrap_or_default(),
            quantile(&back, 0.95).unwrap_or_default(),
            quantile(&back, 1.0).unwrap_or_default(),
            self.paths(),
            self.failed.len()
        )?;
        for &seed in self.relayed.iter().take(SHOWN) {
            let (pair, next) = self.change.draw(seed);
            write!(
                f,
                "\n  relayed after {} s: seed {seed}, {pair}, next {next}",
                AFTER.as_secs()
            )?;
        }
        for (seed, reason) in self.failed.iter().take(SHOWN) {
            write!(f, "\n  seed {seed}: {reason}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{super::nat::NatKind, *};

    #[test]
    fn every_home_of_a_change_has_a_router() {
        for name in EASY {
            let home: Home = name.parse().unwrap();
            assert!(home.router.is_some(), "{name}");
            let short = home.map_router(|kind: NatKind| kind.lifetime(SECOND));
            assert_eq!(short.router.unwrap().lifetime, SECOND);
        }
    }
}
