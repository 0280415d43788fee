//! One path: when it is probed next, and what is made of what comes over it or does not.

use std::{collections::VecDeque, time::Duration};

use farlan_crypto::defects::planted;

use super::{
    ANSWERS_AGAIN, BETTER_AT_LEAST, BETTER_SHARE, Credit, DOUBT_MAX, DOUBT_MIN, DOUBT_MISSES, DOUBT_PROBES, DirectPath,
    FAILED_LATELY, Failed, KEPT_AT_LEAST, MEASURE, PATIENCE_UNKNOWN, PROBE_BUSY, PROBE_MISSED, PROBE_SPREAD, SCHEDULE,
    STEADY, STEADY_SILENCE, Use,
};
use crate::{Leg, Time, keepalive::Kept, mtu::PathMtu, peers::SIGN_OF_LIFE, ranges::is_private};

impl DirectPath {
    pub(super) fn new(leg: Leg, since: Time, noticed: bool) -> Self {
        Self {
            leg,
            since,
            step: 0,
            noticed,
            told: !noticed,
            opened: false,
            credit: Credit::default(),
            proven: false,
            failed: None,
            heard: None,
            rtt: None,
            probes: VecDeque::new(),
            last_probe: None,
            asked: None,
            by_probe: false,
            steady: since,
            outdone: None,
            calm: Time::ZERO,
            doubts: 0,
            contested: None,
            missed: 0,
            unanswered: 0,
            mtu: PathMtu::default(),
        }
    }

    /// When the next challenge of the schedule is due, or the one at the end of the opening. Whoever was not named gets one
    /// only for what came from there.
    pub(super) fn next_step(&self, opening_ends: Option<Time>) -> Option<Time> {
        let step = SCHEDULE.get(self.step).filter(|_| self.told || self.credit.suffices());
        let step = step.map(|step| self.since + *step);
        let first = opening_ends.filter(|ends| self.told && !self.opened && *ends > self.since);
        [step, first].into_iter().flatten().min()
    }

    /// When a proven path is to be probed next.
    pub(super) fn next_probe(&self, active: Option<Leg>, used: Use, kept: Kept) -> Option<Time> {
        if used == Use::Idle {
            return None;
        }
        let probed = self.last_probe.unwrap_or(self.since);
        if let Some(failed) = self.failed {
            let lately = probed.since(failed.since) < FAILED_LATELY;
            return Some(probed + if lately { PROBE_MISSED } else { PROBE_BUSY });
        }
        let in_use = used == Use::Busy && active == Some(self.leg);
        let doubted = self.doubted_from().filter(|_| in_use);
        if self.doubts > 0 && doubted.is_some_and(|from| from <= probed) {
            let pause = DOUBT_PROBES.get(self.doubts - 1).copied().unwrap_or(PROBE_MISSED);
            return Some(probed + pause);
        }
        if let Some(contested) = self.contested.filter(|_| in_use) {
            return Some(contested.max(probed + DOUBT_PROBES[0]));
        }
        if self.missed > 0 {
            let next = probed + PROBE_MISSED;
            return Some(doubted.map_or(next, |from| from.min(next)));
        }
        let shown = self.heard.map_or(probed, |heard| heard.max(probed));
        if in_use {
            let measure = if self.unanswered > 0 { PROBE_BUSY } else { MEASURE };
            let silence = if self.is_steady() { STEADY_SILENCE } else { PROBE_BUSY };
            let next = (shown + silence).min(probed + measure);
            return Some(doubted.map_or(next, |from| from.min(next)));
        }
        let spread = u64::from(self.leg.endpoint.port()) * 97 % PROBE_SPREAD;
        let longest = kept.interval(probed);
        Some(probed + longest.saturating_sub(Duration::from_millis(spread)).max(KEPT_AT_LEAST))
    }

    /// Whether something came over it for a while without a pause, at the time when something last came.
    pub(super) fn is_steady(&self) -> bool {
        self.heard.is_some_and(|heard| heard.since(self.steady) >= STEADY)
    }

    /// Whether nothing has come over it for longer than a steady path pauses.
    pub(super) fn is_silent(&self, now: Time) -> bool {
        self.heard.is_none_or(|heard| now.since(heard) >= STEADY_SILENCE)
    }

    pub(super) fn patience(&self) -> Duration {
        self.rtt
            .map_or(PATIENCE_UNKNOWN, |rtt| (rtt * 3 / 2).max(PROBE_MISSED))
            .min(Duration::from_secs(1))
    }

    /// From when on it is in doubt, if nothing comes.
    pub(super) fn doubted_from(&self) -> Option<Time> {
        let more = self.rtt.map_or(DOUBT_MAX, |rtt| rtt * 3 / 2);
        let asked = self.asked.filter(|_| self.failed.is_none() && !planted("undoubted"))?;
        // Who is heard by another path does not merely have nothing to say, and a probe is answered at once.
        let sign = if self.outdone.is_some() || self.by_probe {
            Duration::ZERO
        } else {
            SIGN_OF_LIFE
        };
        Some(asked + sign + more.clamp(DOUBT_MIN, DOUBT_MAX))
    }

    /// Whether the peer was heard over the relay or another path while this one is in doubt and missed enough probes.
    pub(super) fn is_heard_elsewhere(&self, relayed: Option<Time>) -> bool {
        let doubted = self.doubted_from().filter(|_| self.missed >= DOUBT_MISSES);
        let heard = relayed.max(self.outdone);
        heard.zip(doubted).is_some_and(|(heard, from)| heard >= from)
    }

    /// Something came over it, or it carries no data any more.
    pub(super) fn trusted(&mut self) {
        self.asked = None;
        self.by_probe = false;
        self.outdone = None;
        self.doubts = 0;
    }

    /// An answer came over this path.
    pub(super) fn works(&mut self, now: Time) {
        if self.outdone.is_some() {
            self.calm = now + PROBE_BUSY;
        }
        self.trusted();
        self.contested = None;
        self.proven = true;
        self.heard = Some(now);
        self.missed = 0;
        self.unanswered = 0;
        if let Some(failed) = &mut self.failed {
            failed.answers += 1;
            if failed.answers >= ANSWERS_AGAIN {
                self.failed = None;
            }
        }
    }

    pub(super) fn fail(&mut self, now: Time) {
        self.failed.get_or_insert(Failed { since: now, answers: 0 });
        self.trusted();
        self.contested = None;
        self.missed = 0;
        self.unanswered = 0;
    }

    /// What is preferred sorts first.
    pub(super) fn rank(&self) -> (bool, Duration) {
        (!is_private(self.leg.ip()), self.rtt.unwrap_or(Duration::MAX))
    }

    pub(super) fn clearly_better_than(&self, other: &Self) -> bool {
        let ((outside, rtt), (others_outside, others_rtt)) = (self.rank(), other.rank());
        if outside != others_outside {
            return !outside;
        }
        let margin = (others_rtt / BETTER_SHARE).max(BETTER_AT_LEAST);
        rtt.saturating_add(margin) < others_rtt
    }
}
