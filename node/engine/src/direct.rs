//! The direct paths to one peer: what is known of each, which of them carries data, and when each is probed.
//!
//! A path begins as a candidate. It is *proven* by the answer to a sealed challenge that was sent over it, and only a
//! proven path carries data. A proven path that stops answering *fails*: data goes over the relay, the path stays under
//! probing, and it is used again after [`ANSWERS_AGAIN`] answers in a row. So probes can promote a path, and only
//! silence can demote it.
//!
//! Nothing here sends: [`Direct::due`] says what is to be sent now, and `traversal` sends it.

mod path;

use std::{collections::VecDeque, time::Duration};

use farlan_crypto::{TAG, defects::planted};

use crate::{
    Leg, Socket, Time,
    keepalive::Kept,
    mtu::PathMtu,
    ranges::is_private,
    wire::{control::PADDING, datagram::DATA_HEADER},
};

/// When challenges go to a candidate, counted from the first of them: dense while both ends open their NATs, then
/// fewer.
const SCHEDULE: [Duration; 7] = [
    Duration::ZERO,
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(200),
    Duration::from_millis(400),
    Duration::from_millis(800),
    Duration::from_millis(1600),
];

/// For so long, at the least, what goes to an outside endpoint dies before it gets there: a router that keeps an entry
/// for an early packet of the other end would send this end's own packets from another port as long as the entry lives.
pub(crate) const OPENING: Duration = Duration::from_millis(200);

/// And at the most.
pub(crate) const OPENING_MAX: Duration = Duration::from_secs(1);

/// The time to live of those datagrams: enough for a home router and a carrier's, too little for the way beyond.
pub(crate) const OPENING_TTL: u8 = 5;

/// A candidate is not tried again sooner than this, however often the peer names it: it may be somebody who has nothing to
/// do with it.
pub(crate) const AGAIN: Duration = Duration::from_secs(4);

/// Paths kept to one peer, candidates included; a candidate that did not answer makes room.
const MAX_PATHS: usize = 16;

/// Addresses from which something authentic came unexpectedly, kept as candidates at one time.
const MAX_NOTICED: usize = 4;

/// A proven path is probed this often while it carries traffic, unless it shows by itself that it works.
const PROBE_BUSY: Duration = Duration::from_secs(1);

/// The round trip of a busy path is measured at least this often.
const MEASURE: Duration = Duration::from_secs(10);

/// A proven path to a peer used lately is kept open as often as [`Kept`] says, or up to so many milliseconds sooner, so that
/// the probes of many paths spread out ...
const PROBE_SPREAD: u64 = 5000;

/// ... but not more often than this.
const KEPT_AT_LEAST: Duration = Duration::from_secs(15);

/// After a missed probe, and on a path that failed lately, probes come this often.
const PROBE_MISSED: Duration = Duration::from_millis(250);

/// A path that failed is probed as often as after a miss for so long, then every [`PROBE_BUSY`].
const FAILED_LATELY: Duration = Duration::from_secs(5);

/// A path that failed so long ago is forgotten.
const FAILED_KEPT: Duration = Duration::from_secs(60);

/// After so many missed probes a path has failed.
const MISSES: u32 = 4;

/// A busy path over which something went that has to be answered, and nothing came for as long as a sign of life takes and
/// 1.5 round trips more, is *doubted*: it may be that only the line is slow, or that one sign of life was lost. Where the peer
/// was heard by another path meanwhile, the round trips are enough.
const DOUBT_MIN: Duration = Duration::from_millis(100);
const DOUBT_MAX: Duration = Duration::from_millis(500);

/// A path over which something came for so long without a pause of [`STEADY_PAUSE`] is *steady*. Where that ends, this end may
/// have nothing under way that has to be answered, and yet the other end, which goes on sending, may not be heard any more: the
/// path is probed after [`STEADY_SILENCE`], and is in doubt if that is not answered.
const STEADY: Duration = Duration::from_secs(1);
const STEADY_PAUSE: Duration = Duration::from_millis(250);
const STEADY_SILENCE: Duration = Duration::from_millis(500);

/// A path in doubt is probed in these pauses, the last one repeated.
const DOUBT_PROBES: [Duration; 4] = [
    Duration::from_millis(100),
    Duration::from_millis(100),
    Duration::from_millis(150),
    PROBE_MISSED,
];

/// After so many missed probes a path in doubt has failed, if the peer is heard over the relay or another path meanwhile: it is
/// there, and not to be heard this way.
const DOUBT_MISSES: u32 = 2;

/// The same for a path over which something comes while the other end says over the relay that it hears nothing by it: it may
/// work one way only. Where half is lost on the way there
/// and back, three in a row are once in eight times.
const CONTESTED_MISSES: u32 = 3;

/// After so many probes without answer a path has failed even if something comes over it: it may work one way only, or
/// the other end may be elsewhere by now. As many are lost at random once in days where a fifth of all datagrams is.
const UNANSWERED: u32 = 10;

/// After so many answers in a row a path that failed is used again.
const ANSWERS_AGAIN: u32 = 3;

/// How long a probe may go unanswered where the round trip is not known.
const PATIENCE_UNKNOWN: Duration = Duration::from_millis(500);

/// An answer that comes later is one of another time: the machine may have slept.
const ANSWERED_WITHIN: Duration = Duration::from_secs(5);

/// Probes under way on one path, late ones included.
const MAX_PROBES: usize = 8;

/// A direct path is preferred to another of its kind if its round trip is so much shorter: less is noise.
const BETTER_SHARE: u32 = 5;
const BETTER_AT_LEAST: Duration = Duration::from_millis(2);

/// A datagram with a challenge, and one with an answer and a challenge, in bytes.
pub(crate) const CHALLENGE: usize = DATA_HEADER + PADDING + TAG;

/// Endpoints remembered from an ended session.
const MAX_CACHED: usize = 2;

/// One of them that has not answered for so long, which is longer than [`SCHEDULE`], makes room for another.
const NOTICED_FOR: Duration = Duration::from_secs(2);

/// How much a peer is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Use {
    /// Not in the last minutes: paths are left alone.
    #[default]
    Idle,
    /// In the last minutes: paths are kept open.
    Lately,
    /// Right now: a path that dies is noticed at once.
    Busy,
}

/// The direct paths to one peer.
#[derive(Debug, Default)]
pub(crate) struct Direct {
    paths: Vec<DirectPath>,
    /// The proven path that carries data; without one, the relay does.
    active: Option<Leg>,
    /// Where the peer was reached in an earlier session, latest first.
    cached: Vec<Leg>,
    /// How long the NATs between keep what is idle.
    kept: Kept,
    /// When this end last began to open its NAT towards the peer, and for how long it does.
    opening: Option<(Time, Duration)>,
    /// When something sealed last came from the peer over the relay.
    relayed: Option<Time>,
}

/// One endpoint of the peer.
#[derive(Debug)]
struct DirectPath {
    leg: Leg,
    /// When the first challenge of this round was due.
    since: Time,
    /// The next one of the schedule.
    step: usize,
    /// Whether it came from nowhere: from a datagram of the peer.
    noticed: bool,
    /// Whether the peer named it.
    told: bool,
    /// Whether it was challenged since the opening is over.
    opened: bool,
    /// What came from there and is not answered yet: before it is proven, no more goes there than came.
    credit: Credit,
    proven: bool,
    failed: Option<Failed>,
    /// When something sealed last came over it.
    heard: Option<Time>,
    rtt: Option<Duration>,
    probes: VecDeque<Probe>,
    last_probe: Option<Time>,
    /// Since when something that has to be answered went over it and nothing came straight, while it carries data.
    asked: Option<Time>,
    /// Whether that is a probe alone, which is answered at once.
    by_probe: bool,
    /// Since when something came over it without a pause.
    steady: Time,
    /// When something came straight by another path meanwhile: the other end is there, and perhaps not at the end of this one.
    outdone: Option<Time>,
    /// Until when that raises no doubt, since it was raised for nothing.
    calm: Time,
    /// Probes sent in doubt.
    doubts: usize,
    /// Since when the other end says that it hears nothing by it, though something comes from there.
    contested: Option<Time>,
    /// Probes missed in a row: without answer, and nothing else came either.
    missed: u32,
    /// Probes without answer in a row, whatever else came.
    unanswered: u32,
    mtu: PathMtu,
}

#[derive(Clone, Copy, Debug)]
struct Failed {
    since: Time,
    answers: u32,
}

#[derive(Clone, Copy, Debug)]
struct Probe {
    token: u64,
    sent: Time,
    /// Whether it was not answered in time.
    late: bool,
}

/// Bytes and datagrams.
#[derive(Clone, Copy, Debug, Default)]
struct Credit {
    bytes: usize,
    datagrams: usize,
}

impl Credit {
    /// What is worth remembering.
    const MOST: Self = Self {
        bytes: 64 << 10,
        datagrams: 64,
    };

    fn add(&mut self, bytes: usize) {
        self.bytes = (self.bytes + bytes).min(Self::MOST.bytes);
        self.datagrams = (self.datagrams + 1).min(Self::MOST.datagrams);
    }

    /// Whether a challenge may be sent.
    fn suffices(&self) -> bool {
        (self.bytes >= CHALLENGE && self.datagrams > 0) || planted("amplified-challenge")
    }

    fn spend(&mut self) -> bool {
        let suffices = self.suffices();
        if suffices {
            self.bytes = self.bytes.saturating_sub(CHALLENGE);
            self.datagrams = self.datagrams.saturating_sub(1);
        }
        suffices
    }
}

/// What a response to a challenge meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answered {
    /// Nothing was asked with that token.
    Unasked,
    /// It came from another leg than the challenge went to.
    Elsewhere,
    /// The path works; the round trip.
    Works(Duration),
}

impl Direct {
    /// The endpoint that carries data, if one does.
    pub(crate) fn active(&self) -> Option<Leg> {
        self.active
    }

    /// The smoothed round trip of the path that carries data.
    pub(crate) fn active_rtt(&self) -> Option<Duration> {
        let active = self.active?;
        self.paths.iter().find(|path| path.leg == active)?.rtt
    }

    /// The path MTU towards an endpoint.
    pub(crate) fn mtu(&mut self, leg: Leg) -> Option<&mut PathMtu> {
        let path = self.paths.iter_mut().find(|path| path.leg == leg);
        path.map(|path| &mut path.mtu)
    }

    /// The padded pings that are due, as endpoint and size of the IP packet.
    pub(crate) fn sizes_due(&mut self, now: Time) -> Vec<(Leg, usize)> {
        let of_path = |path: &mut DirectPath| {
            let (leg, patience) = (path.leg, Some(path.patience()));
            let due = path.mtu.due(now, patience, path.heard);
            due.into_iter().map(move |size| (leg, size))
        };
        self.paths
            .iter_mut()
            .filter(|path| path.proven)
            .flat_map(of_path)
            .collect()
    }

    /// A padded ping was answered; whether it was one of these.
    pub(crate) fn size_answered(&mut self, now: Time, token: u64) -> bool {
        self.paths.iter_mut().any(|path| path.mtu.answered(now, token))
    }

    /// Where the peer answered before, in this session or an earlier one: worth a handshake where nothing else is left.
    pub(crate) fn known(&self) -> Vec<Leg> {
        let proven = self.paths.iter().filter(|path| path.proven).map(|path| path.leg);
        let mut known: Vec<Leg> = self.active.into_iter().collect();
        for leg in proven.chain(self.cached.iter().copied()) {
            if !known.contains(&leg) && known.len() < MAX_CACHED {
                known.push(leg);
            }
        }
        known
    }

    /// Takes note of where the peer answered before, of an earlier run or before it was forgotten.
    pub(crate) fn recall(&mut self, legs: &[Leg]) {
        for leg in legs {
            if !self.cached.contains(leg) && self.cached.len() < MAX_CACHED {
                self.cached.push(*leg);
            }
        }
    }

    /// Begins to try candidates; `opening` is how long datagrams to outside endpoints are to die on the way.
    pub(crate) fn try_candidates(&mut self, now: Time, candidates: &[Leg], opening: Duration) {
        let mut begun = false;
        for leg in candidates {
            match self.paths.iter_mut().find(|path| path.leg == *leg) {
                Some(path) if path.proven || now.since(path.since) < AGAIN => path.told = true,
                Some(path) => {
                    path.told = true;
                    path.since = now;
                    path.step = 0;
                    path.opened = false;
                    begun = true;
                }
                None => {
                    self.add(DirectPath::new(*leg, now, false));
                    begun = true;
                }
            }
        }
        // What was being tried already goes on as it was.
        if begun || self.opening.is_none() {
            self.opening = Some((now, opening));
        }
    }

    /// When this end's opening is over, if it has begun one.
    pub(crate) fn opening_ends(&self) -> Option<Time> {
        self.opening.map(|(since, opening)| since + opening)
    }

    /// The extra sockets that paths use, or may.
    pub(crate) fn sockets(&self) -> impl Iterator<Item = Socket> {
        let sockets = self.paths.iter().map(|path| path.leg.socket);
        sockets.filter(|socket| matches!(socket, Socket::Extra(_)))
    }

    /// No way is sought by a socket any more.
    pub(crate) fn forget_tried_by(&mut self, socket: Socket) {
        self.paths.retain(|path| path.leg.socket != socket || path.proven);
    }

    /// Whether a path to `leg` has proved to work.
    pub(crate) fn is_proven(&self, leg: Leg) -> bool {
        self.paths.iter().any(|path| path.leg == leg && path.proven)
    }

    /// Whether `leg` is known as a path, one that works or a candidate.
    pub(crate) fn has(&self, leg: Leg) -> bool {
        self.paths.iter().any(|path| path.leg == leg)
    }

    /// A datagram of `bytes` that is authentic came straight from `leg`; `shows` is whether that speaks for the way
    /// there, too. Whether that was a known path; otherwise it is tried, as far as what comes from there allows.
    pub(crate) fn heard(&mut self, now: Time, leg: Leg, shows: bool, bytes: usize) -> bool {
        let active = self.active;
        for path in self.paths.iter_mut().filter(|path| shows && path.asked.is_some()) {
            if path.leg == leg {
                path.trusted();
            } else if Some(path.leg) == active && now >= path.calm {
                path.outdone = Some(now);
            }
        }
        if let Some(path) = self.paths.iter_mut().find(|path| path.leg == leg) {
            if !path.proven {
                path.credit.add(bytes);
            }
            if shows {
                if path.heard.is_none_or(|heard| now.since(heard) >= STEADY_PAUSE) {
                    path.steady = now;
                }
                path.heard = Some(now);
            }
            if shows && path.failed.is_none() {
                path.missed = 0;
            }
            if !path.proven && path.step >= SCHEDULE.len() {
                // It did not answer when it was tried, and speaks now.
                path.step = 0;
                path.since = now;
            }
            return true;
        }
        let noticed = |path: &DirectPath| path.noticed && !path.proven;
        if self.paths.iter().filter(|path| noticed(path)).count() >= MAX_NOTICED {
            // One that did not answer in its time makes room, however little of the schedule what came from there allowed.
            let tried = |path: &DirectPath| {
                let heard = path.heard.unwrap_or(path.since);
                noticed(path) && (path.step >= SCHEDULE.len() || now.since(heard) >= NOTICED_FOR)
            };
            if let Some(position) = self.paths.iter().position(tried) {
                self.paths.remove(position);
            }
        }
        if self.paths.iter().filter(|path| noticed(path)).count() < MAX_NOTICED {
            // Where this end has been opening its NAT for long enough, there is nothing to wait for.
            let since = self.opening.map_or(now, |(since, _)| since);
            let mut path = DirectPath::new(leg, since, true);
            path.heard = Some(now);
            path.credit.add(bytes);
            path.proven = planted("path-without-challenge");
            path.step = SCHEDULE.iter().position(|step| since + *step >= now).unwrap_or(0);
            if path.step == 0 {
                path.since = now;
            }
            self.add(path);
        }
        false
    }

    /// Whether one more datagram, as long as a challenge, may go to `leg` for what came from there; it is noted then.
    pub(crate) fn spend(&mut self, leg: Leg) -> bool {
        let path = self.paths.iter_mut().find(|path| path.leg == leg);
        path.is_some_and(|path| path.credit.spend())
    }

    /// Whether the peer named `leg`, and it has not proved to work.
    pub(crate) fn is_only_told(&self, leg: Leg) -> bool {
        let mut paths = self.paths.iter();
        paths.any(|path| path.leg == leg && path.told && !path.proven)
    }

    fn add(&mut self, path: DirectPath) {
        if self.paths.len() >= MAX_PATHS {
            let unproven = self
                .paths
                .iter()
                .position(|path| !path.proven && path.step >= SCHEDULE.len());
            let Some(position) = unproven.or_else(|| self.paths.iter().position(|path| path.failed.is_some())) else {
                return;
            };
            self.paths.remove(position);
        }
        self.paths.push(path);
    }

    /// The time to live of a datagram to `leg` now, if it is not the system's; `unheard` says whether the other end may
    /// not have this end's candidates yet, and so not have begun to open its own NAT.
    pub(crate) fn ttl(&self, now: Time, leg: Leg, unheard: bool) -> Option<u8> {
        if is_private(leg.ip()) || self.paths.iter().any(|path| path.leg == leg && path.proven) {
            return None;
        }
        let (since, opening) = self.opening?;
        let opening = if unheard { opening.max(OPENING_MAX) } else { opening };
        (now.since(since) < opening && !planted("early-full-ttl")).then_some(OPENING_TTL)
    }

    /// The endpoints to be challenged now.
    pub(crate) fn due(&mut self, now: Time, used: Use) -> Vec<Leg> {
        let (active, kept) = (self.active, self.kept);
        let settled = active.is_some();
        let ends = self.opening_ends();
        let mut due = Vec::new();
        for path in &mut self.paths {
            if path.proven {
                if path.next_probe(active, used, kept).is_some_and(|at| at <= now) {
                    due.push(path.leg);
                }
            } else if path.next_step(ends).is_some_and(|at| at <= now) {
                path.opened |= ends.is_none_or(|ends| ends <= now);
                path.step = SCHEDULE
                    .iter()
                    .position(|step| path.since + *step > now)
                    .unwrap_or(SCHEDULE.len());
                // Where a path works, later challenges only look for one on the own LAN.
                if !settled || is_private(path.leg.ip()) || path.noticed {
                    due.push(path.leg);
                }
            }
        }
        due
    }

    /// Something that has to be answered goes over the path in use. Returns whether it is the first that waits for an answer.
    pub(crate) fn expect_answer(&mut self, now: Time) -> bool {
        let active = self.active;
        let path = self.paths.iter_mut().find(|path| Some(path.leg) == active);
        path.is_some_and(|path| path.asked.is_none() && path.asked.replace(now).is_none())
    }

    /// Something sealed came from the peer over the relay.
    pub(crate) fn relayed(&mut self, now: Time) {
        self.relayed = Some(now);
    }

    /// Whether the path in use is in doubt.
    pub(crate) fn is_doubted(&self, now: Time) -> bool {
        let mut paths = self.paths.iter();
        paths.any(|path| Some(path.leg) == self.active && path.doubted_from().is_some_and(|from| from <= now))
    }

    /// The other end hears nothing straight: the path in use is contested, and in doubt now if this end does not either.
    pub(crate) fn doubt(&mut self, now: Time) {
        let active = self.active;
        if let Some(path) = self.paths.iter_mut().find(|path| Some(path.leg) == active)
            && path.failed.is_none()
            && !planted("undoubted")
        {
            // Whatever came straight in the same moment.
            path.contested.get_or_insert(now);
            if path.heard.is_none_or(|heard| now.since(heard) >= path.patience()) {
                path.asked = Some(Time::ZERO);
            }
        }
    }

    /// A challenge with this token was sent to `leg`.
    pub(crate) fn challenged(&mut self, now: Time, leg: Leg, token: u64) {
        let active = self.active;
        if let Some(path) = self.paths.iter_mut().find(|path| path.leg == leg) {
            if active == Some(leg) && path.doubted_from().is_some_and(|from| from <= now) {
                path.doubts += 1;
            }
            if active == Some(leg) && path.asked.is_none() && path.is_steady() && path.is_silent(now) {
                path.asked = Some(now);
                path.by_probe = true;
            }
            if path.probes.len() >= MAX_PROBES {
                path.probes.pop_front();
            }
            let late = false;
            path.probes.push_back(Probe { token, sent: now, late });
            path.last_probe = Some(now);
        }
    }

    /// A response came straight from `leg`.
    pub(crate) fn answered(&mut self, now: Time, leg: Leg, token: u64) -> Answered {
        let asked = |path: &DirectPath| {
            let mut probes = path.probes.iter();
            probes.any(|probe| probe.token == token && now.since(probe.sent) < ANSWERED_WITHIN)
        };
        let Some(path) = self.paths.iter_mut().find(|path| asked(path)) else {
            return Answered::Unasked;
        };
        if path.leg != leg {
            return Answered::Elsewhere;
        }
        let position = path.probes.iter().position(|probe| probe.token == token);
        let Some(probe) = position.and_then(|position| path.probes.remove(position)) else {
            return Answered::Unasked;
        };
        let sample = now.since(probe.sent);
        // RFC 6298 §2, α = 1/8.
        path.rtt = Some(path.rtt.map_or(sample, |rtt| (rtt * 7 + sample) / 8));
        path.works(now);
        Answered::Works(sample)
    }

    /// A handshake went and came over `leg`, which shows the same as a challenge.
    pub(crate) fn proved(&mut self, now: Time, leg: Leg) {
        if !self.paths.iter().any(|path| path.leg == leg) {
            self.add(DirectPath::new(leg, now, true));
        }
        if let Some(path) = self.paths.iter_mut().find(|path| path.leg == leg) {
            // What failed under the old session may have been the session's fault.
            path.failed = None;
            path.works(now);
        }
    }

    /// Counts probes that were missed, and forgets what is of no use any more. Returns whether a path has failed.
    pub(crate) fn judge(&mut self, now: Time) -> bool {
        let mut failed = false;
        for path in &mut self.paths {
            let patience = path.patience();
            let late = |probe: &&mut Probe| !probe.late && now.since(probe.sent) >= patience;
            for probe in path.probes.iter_mut().filter(late) {
                // Its answer still counts if it comes: the round trip may be longer than it was, or than was thought.
                probe.late = true;
                path.unanswered = path.unanswered.saturating_add(1);
                if path.heard.is_some_and(|heard| heard >= probe.sent) {
                    continue;
                }
                path.missed = path.missed.saturating_add(1);
                if let Some(failed) = &mut path.failed {
                    failed.answers = 0;
                }
            }
            let contested = path.contested.is_some() && path.unanswered >= CONTESTED_MISSES;
            let silent = path.missed >= MISSES
                || path.unanswered >= UNANSWERED
                || contested
                || path.is_heard_elsewhere(self.relayed);
            if path.proven && path.failed.is_none() && silent && !planted("stale-path") {
                // The first probe that was missed ended the time in which nothing kept the mapping.
                let asked = path.probes.iter().map(|probe| probe.sent).min();
                if let (Some(heard), Some(asked)) = (path.heard, asked) {
                    self.kept.gone_after(now, asked.since(heard));
                }
                path.fail(now);
                failed = true;
            }
        }
        let forgotten =
            |path: &mut DirectPath| path.failed.is_some_and(|failed| now.since(failed.since) >= FAILED_KEPT);
        for path in self.paths.extract_if(.., forgotten) {
            // Where no supernode helps, it is all that is known.
            // An extra socket does not outlive its path.
            if path.leg.socket == Socket::Main {
                self.cached.retain(|cached| *cached != path.leg);
                self.cached.insert(0, path.leg);
                self.cached.truncate(MAX_CACHED);
            }
        }
        failed
    }

    /// The path in use brought nothing for too long while data was sent over it.
    pub(crate) fn active_fell_silent(&mut self, now: Time) {
        let active = self.active;
        if let Some(path) = self.paths.iter_mut().find(|path| Some(path.leg) == active)
            && !planted("stale-path")
        {
            path.fail(now);
        }
    }

    /// Chooses the path that carries data: on the own LAN before any other, then by round trip. Returns the choice if
    /// it is another than before.
    pub(crate) fn choose(&mut self) -> Option<Option<Leg>> {
        let usable = || self.paths.iter().filter(|path| path.proven && path.failed.is_none());
        let best = usable().min_by_key(|path| path.rank());
        let current = usable().find(|path| Some(path.leg) == self.active);
        let choice = match (best, current) {
            (Some(best), Some(current)) if !best.clearly_better_than(current) => Some(current.leg),
            (best, _) => best.map(|best| best.leg),
        };
        (choice != self.active).then(|| {
            self.active = choice;
            choice
        })
    }

    /// The last session ended: what worked is remembered for the next one.
    pub(crate) fn session_ended(&mut self) {
        self.cached = self.known();
        self.cached.retain(|leg| leg.socket == Socket::Main);
        self.paths.clear();
        self.active = None;
        self.opening = None;
        self.relayed = None;
    }

    /// All endpoints that are known as paths, and those remembered from before.
    pub(crate) fn legs(&self) -> Vec<Leg> {
        let paths = self.paths.iter().map(|path| path.leg);
        paths.chain(self.cached.iter().copied()).collect()
    }

    /// Leaves paths that cannot work any more; whether the one that carries data is among them. They stay under probing for a
    /// while like others that failed.
    pub(crate) fn leave(&mut self, now: Time, is_void: impl Fn(Leg) -> bool) -> bool {
        self.paths.retain(|path| path.proven || !is_void(path.leg));
        for path in self.paths.iter_mut().filter(|path| is_void(path.leg)) {
            path.fail(now);
        }
        self.active.is_some_and(is_void)
    }

    /// Probes every proven path at once, as after this machine moved to another network.
    pub(crate) fn probe_now(&mut self) {
        for path in self.paths.iter_mut().filter(|path| path.proven) {
            path.last_probe = None;
            path.since = Time::ZERO;
            path.missed = path.missed.max(1);
        }
    }

    /// When [`Self::due`] or [`Self::judge`] has something to do.
    pub(crate) fn deadline(&self, used: Use) -> Option<Time> {
        let of_path = |path: &DirectPath| {
            let next = if path.proven {
                path.next_probe(self.active, used, self.kept)
            } else {
                path.next_step(self.opening_ends())
            };
            let waiting = path.probes.iter().find(|probe| !probe.late);
            let missed = waiting.map(|probe| probe.sent + path.patience());
            let forgotten = path.failed.map(|failed| failed.since + FAILED_KEPT);
            let mtu = path.mtu.deadline(Some(path.patience())).filter(|_| path.proven);
            let over = path.is_heard_elsewhere(self.relayed) && path.failed.is_none();
            let over = over.then_some(Time::ZERO);
            [next, missed, forgotten, mtu, over].into_iter().flatten().min()
        };
        self.paths.iter().filter_map(of_path).min()
    }
}

#[cfg(test)]
mod tests;
