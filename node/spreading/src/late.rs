//! How much later than is reckoned with a node's acknowledgements come: one with much to do queues them.
//!
//! Who sends copies again to a node that cannot keep up has it acknowledge still more, which makes it later. So the pause before that is as
//! long as the node was late, and twice as long after one in which nothing came, as TCP's is (RFC 6298).

use std::time::Duration;

use crate::{Time, score::decayed};

/// The most that is added to a pause, in milliseconds: three tries at the least have to fit into the five seconds in which a copy is sent.
const MOST: u32 = 1000;

/// It holds for so long; then half of it is forgotten each second, [thirty times](FASTER) as fast as a [score](crate::score): queues come and go.
const HOLDS: Duration = Duration::from_secs(1);

/// See [`HOLDS`].
const FASTER: u32 = 30;

/// What is known of one node.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Late {
    /// What was measured, in milliseconds.
    measured: u32,
    /// The latest pause in which no acknowledgement came, in milliseconds, until one does of which it is known to which try it belongs.
    waited: u32,
    /// When either was so.
    since: Time,
}

impl Late {
    /// An acknowledgement came so much later than was reckoned with. What was measured before is given up by and by.
    pub(crate) fn measured(&mut self, now: Time, late: Duration) {
        let (before, late) = (self.left(now, self.measured), milliseconds(late));
        *self = Self {
            measured: late.max(before - before.saturating_sub(late) / 8),
            waited: 0,
            since: now,
        };
    }

    /// A copy was sent again after this pause.
    pub(crate) fn waited(&mut self, now: Time, pause: Duration) {
        *self = Self {
            measured: self.left(now, self.measured),
            waited: self.left(now, self.waited).max(milliseconds(pause)),
            since: now,
        };
    }

    /// How much is to be added to a pause that begins now: a quarter more than was measured, since no two are alike.
    pub(crate) fn at(&self, now: Time) -> Duration {
        let added = (self.measured + self.measured / 4).max(self.waited);
        Duration::from_millis(self.left(now, added).min(MOST).into())
    }

    fn left(&self, now: Time, of: u32) -> u32 {
        decayed(of, now.since(self.since).saturating_sub(HOLDS).saturating_mul(FASTER))
    }
}

fn milliseconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(MOST).min(MOST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_measured_rises_at_once_and_falls_slowly_and_is_forgotten() {
        let at = |milliseconds| Time::ZERO + Duration::from_millis(milliseconds);
        let ms = Duration::from_millis;
        let mut late = Late::default();
        assert_eq!(late.at(at(0)), ms(0));
        late.measured(at(0), ms(800));
        assert_eq!(late.at(at(1000)), ms(1000));
        late.measured(at(1000), ms(0));
        assert_eq!(late.at(at(1000)), ms(875));
        late.measured(at(1000), ms(5000));
        assert_eq!(late.at(at(2000)), ms(1000));
        assert_eq!(late.at(at(3000)), ms(625));
        assert_eq!(late.at(at(60_000)), ms(0));
    }

    #[test]
    fn a_pause_without_an_answer_counts_until_there_is_one() {
        let at = |milliseconds| Time::ZERO + Duration::from_millis(milliseconds);
        let ms = Duration::from_millis;
        let mut late = Late::default();
        late.measured(at(0), ms(80));
        late.waited(at(0), ms(300));
        late.waited(at(0), ms(200));
        assert_eq!(late.at(at(0)), ms(300));
        assert_eq!(late.at(at(2000)), ms(150));
        late.measured(at(0), ms(0));
        assert_eq!(late.at(at(0)), ms(87));
    }
}
