//! How many pings each sender may send.

use std::{collections::BTreeMap, time::Duration};

use crate::{Time, peers::PeerId};

/// Pings a second that one sender may send, and at once. People send one a second; who measures a path sends ten.
const PER_SECOND: u32 = 20;

/// One ping is refilled in this time.
const EACH: Duration = Duration::from_millis(1000 / PER_SECOND as u64);

/// Senders whose pings are counted at one time.
const MAX_SENDERS: usize = 1024;

/// Pings of each sender.
///
/// An entry holds when its allowance is whole again, as in the generic cell rate algorithm: one that is in the past says
/// nothing and is dropped.
#[derive(Debug, Default)]
pub(crate) struct PingRates(BTreeMap<PeerId, Time>);

impl PingRates {
    /// Whether a sender may send one more.
    pub(crate) fn allows(&mut self, now: Time, sender: PeerId) -> bool {
        if self.0.len() >= MAX_SENDERS && !self.0.contains_key(&sender) {
            self.0.retain(|_, whole| *whole > now);
            if self.0.len() >= MAX_SENDERS {
                return false;
            }
        }
        let whole = self.0.entry(sender).or_insert(now);
        let next = (*whole).max(now) + EACH;
        let allowed = next.since(now) <= EACH * PER_SECOND;
        if allowed {
            *whole = next;
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: PeerId = PeerId::for_test(1);
    const B: PeerId = PeerId::for_test(2);

    #[test]
    fn a_sender_has_20_pings_a_second() {
        let mut rates = PingRates::default();
        let mut allowed = 0;
        for millisecond in 0..10_000 {
            let now = Time::ZERO + Duration::from_millis(millisecond);
            allowed += u32::from(rates.allows(now, A));
            if millisecond % 100 == 0 {
                assert!(rates.allows(now, B), "another's flood is none of its business");
            }
        }
        assert_eq!(allowed, 20 + 199, "at once, and 20 in each second");
    }

    #[test]
    fn senders_that_are_silent_make_room() {
        let mut rates = PingRates::default();
        for sender in 0..2000 {
            let now = Time::ZERO + Duration::from_millis(sender);
            assert!(rates.allows(now, PeerId::for_test(sender)));
            assert!(rates.0.len() <= MAX_SENDERS);
        }
        for sender in 5000..5000 + MAX_SENDERS as u64 {
            rates.allows(Time::ZERO + Duration::from_secs(9), PeerId::for_test(sender));
        }
        assert!(!rates.allows(Time::ZERO + Duration::from_secs(9), A));
        assert!(rates.allows(Time::ZERO + Duration::from_secs(10), A));
    }
}
