//! How much later than is reckoned with a node's acknowledgements come: one with much to do queues them.
//!
//! Who sends copies again to a node that cannot keep up has it acknowledge still more, which makes it later. So the pause before that is as
//! much longer as the node was late, and twice as long after one in which nothing came, as TCP's is (RFC 6298), within bounds: who gets a
//! copy long after the others has little of it. The numbers were found in simulation, between busy nodes that are sent too much and lost
//! copies that come late (docs/SOCIAL.md).

use std::time::Duration;

use crate::{Time, score::decayed};

/// The most that is added to a pause, in milliseconds.
const MOST: u32 = 150;

/// What is known holds for so long after the last news; then half of it is forgotten each second, [thirty times](FASTER) as fast as a
/// [score](crate::score): queues come and go.
const HOLDS: Duration = Duration::from_secs(1);

/// See [`HOLDS`].
const FASTER: u32 = 30;

/// What is known of one node, in milliseconds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Late {
    /// How late it was, and a quarter more, since no two acknowledgements are alike.
    measured: u32,
    /// How late it would be if it needed twice the latest pause in which no acknowledgement came; 0 once one comes of which it is known to
    /// which try it belongs.
    doubled: u32,
    /// When the latest of that was learned.
    since: Time,
}

impl Late {
    /// An acknowledgement came so much later than was reckoned with. What was measured before is given up by and by.
    pub(crate) fn measured(&mut self, now: Time, late: Duration) {
        let (before, late) = (self.left(now, self.measured), bounded(late + late / 4));
        *self = Self {
            measured: late.max(before - before.saturating_sub(late) / 8),
            doubled: 0,
            since: now,
        };
    }

    /// A copy was sent again; so late would the node be if it needed twice the pause before.
    pub(crate) fn waited(&mut self, now: Time, doubled: Duration) {
        *self = Self {
            measured: self.left(now, self.measured),
            doubled: self.left(now, self.doubled).max(bounded(doubled)),
            since: now,
        };
    }

    /// How much is to be added to a pause that begins now.
    pub(crate) fn at(&self, now: Time) -> Duration {
        Duration::from_millis(self.left(now, self.measured.max(self.doubled)).into())
    }

    fn left(&self, now: Time, of: u32) -> u32 {
        decayed(of, now.since(self.since).saturating_sub(HOLDS).saturating_mul(FASTER))
    }
}

fn bounded(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(MOST).min(MOST)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: u64) -> Time {
        Time::ZERO + ms(milliseconds)
    }

    fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[test]
    fn what_was_measured_rises_at_once_and_falls_slowly_and_is_forgotten() {
        let mut late = Late::default();
        assert_eq!(late.at(at(0)), ms(0));
        late.measured(at(0), ms(100));
        assert_eq!(late.at(at(1000)), ms(125));
        late.measured(at(1000), ms(0));
        assert_eq!(late.at(at(1000)), ms(110));
        late.measured(at(1000), ms(5000));
        assert_eq!(late.at(at(2000)), ms(150));
        assert_eq!(late.at(at(3000)), ms(75));
        assert_eq!(late.at(at(60_000)), ms(0));
    }

    #[test]
    fn a_pause_without_an_answer_counts_until_there_is_one() {
        let mut late = Late::default();
        late.measured(at(0), ms(80));
        late.waited(at(0), ms(140));
        late.waited(at(0), ms(120));
        assert_eq!(late.at(at(0)), ms(140));
        assert_eq!(late.at(at(2000)), ms(70));
        late.measured(at(0), ms(0));
        assert_eq!(late.at(at(0)), ms(88));
    }
}
