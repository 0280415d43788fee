//! Trying UDP: what is asked when, and what the answers mean.

use std::{net::SocketAddr, time::Duration};

use crate::Time;

/// UDP endpoints that are tried at one time, how often, and how soon after each other; after the last one an answer is waited
/// for so long.
pub(super) const SCOUTED: usize = 4;
const SCOUTS: u32 = 2;
const SCOUT_PAUSE: Duration = Duration::from_millis(500);
const PATIENCE: Duration = Duration::from_secs(1);

/// Probes of a measurement, one each second; so many answers are enough to go back to UDP, or to stay there.
const PROBES: u32 = 10;
const PROBE_PAUSE: Duration = Duration::from_secs(1);
pub(super) const ENOUGH_TO_RETURN: u32 = 7;
pub(super) const ENOUGH_TO_STAY: u32 = 5;

/// UDP being tried: first several endpoints, then the first of them that answered.
#[derive(Debug)]
pub(super) struct Trial {
    pub(super) endpoints: Vec<SocketAddr>,
    /// Whether it is one that answered.
    pub(super) measuring: bool,
    begun: Time,
    pub(super) sent: u32,
    pub(super) answered: u32,
    /// Answers that are enough.
    enough: u32,
    pub(super) waiting: Vec<(u64, SocketAddr)>,
}

/// What became of a trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Open,
    /// Nothing was answered at all.
    Silent,
    Failed,
    Works(SocketAddr),
}

impl Trial {
    pub(super) fn of(endpoints: Vec<SocketAddr>, now: Time, measuring: bool, enough: u32) -> Self {
        Self {
            endpoints,
            measuring,
            begun: now,
            sent: 0,
            answered: 0,
            enough,
            waiting: Vec::new(),
        }
    }

    fn plan(&self) -> (u32, Duration) {
        if self.measuring {
            (PROBES, PROBE_PAUSE)
        } else {
            (SCOUTS, SCOUT_PAUSE)
        }
    }

    /// When there is something to do next: one more probe, or to see what came of it.
    pub(super) fn deadline(&self) -> Time {
        let (most, pause) = self.plan();
        match self.sent {
            sent if sent < most => self.begun + pause * sent,
            _ => self.begun + pause * (most - 1) + PATIENCE,
        }
    }

    pub(super) fn verdict(&self, now: Time) -> Verdict {
        let (most, _) = self.plan();
        match self.endpoints.first() {
            Some(endpoint) if self.measuring && self.answered >= self.enough => Verdict::Works(*endpoint),
            _ if self.sent < most || now < self.deadline() => Verdict::Open,
            _ if self.answered == 0 => Verdict::Silent,
            _ => Verdict::Failed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint() -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], 9600))
    }

    /// Runs a measurement of which the answers numbered so come at once; returns what came of it, and when.
    fn measure(enough: u32, answers: impl Fn(u32) -> bool) -> (Verdict, Duration) {
        let begin = Time::ZERO + Duration::from_secs(5);
        let mut trial = Trial::of(vec![endpoint()], begin, true, enough);
        loop {
            let now = trial.deadline();
            match trial.verdict(now) {
                Verdict::Open => {
                    trial.answered += u32::from(answers(trial.sent));
                    trial.sent += 1;
                }
                verdict => return (verdict, now.since(begin)),
            }
        }
    }

    #[test]
    fn seven_answers_of_ten_are_enough_to_return_and_five_to_stay() {
        let works = Verdict::Works(endpoint());
        for (count, back, stay) in [(10, works, works), (7, works, works), (6, Verdict::Failed, works)] {
            assert_eq!(measure(ENOUGH_TO_RETURN, |number| number < count).0, back, "{count}");
            assert_eq!(measure(ENOUGH_TO_STAY, |number| number < count).0, stay, "{count}");
        }
        assert_eq!(measure(ENOUGH_TO_STAY, |number| number < 4).0, Verdict::Failed);
        assert_eq!(measure(ENOUGH_TO_STAY, |_| false).0, Verdict::Silent);
    }

    #[test]
    fn a_measurement_takes_ten_seconds_at_the_most() {
        for answered in 0..10 {
            let (_, took) = measure(ENOUGH_TO_RETURN, |number| number < answered);
            assert!((6..=10).contains(&took.as_secs()), "{took:?}");
        }
    }

    #[test]
    fn several_endpoints_are_asked_twice_and_given_up_soon() {
        let begin = Time::ZERO;
        let mut trial = Trial::of(vec![endpoint(); 3], begin, false, ENOUGH_TO_RETURN);
        let mut asked = 0;
        while trial.verdict(trial.deadline()) == Verdict::Open {
            trial.sent += 1;
            asked += 1;
        }
        assert_eq!((asked, trial.verdict(trial.deadline())), (SCOUTS, Verdict::Silent));
        assert!(trial.deadline().since(begin) <= Duration::from_secs(2));
    }
}
