//! How many frames to groups others may put on this machine's card: every program that listens has to look at each.

use std::time::Duration;

use crate::{
    Engine, Time,
    peers::PeerId,
    rates::{Meter, Rate},
};

/// Those of one origin a second, and at once. It may be seen from far above what a machine in normal use broadcasts: a few at
/// its start (addresses, names, DHCP), and what a game tells, thirty times a second.
const OF_ONE: Rate = Rate::per_second(50, Duration::from_secs(2));

/// Those of all origins.
const OF_ALL: Rate = Rate::per_second(500, Duration::from_secs(2));

/// An origin that goes beyond its rate is watched for so long. If more of it was dropped than delivered in that time, it is
/// ignored for [`IGNORED`].
const WATCHED: Duration = Duration::from_secs(10);

/// See [`WATCHED`].
const IGNORED: Duration = Duration::from_secs(60);

/// What one origin put on the card.
#[derive(Debug, Default)]
pub(crate) struct Injected {
    /// What it used of [`OF_ONE`].
    meter: Meter,
    /// Since when it is watched, and how many were delivered and dropped since.
    watched: Option<(Time, u32, u32)>,
    /// Until when it is ignored.
    ignored: Option<Time>,
}

/// What becomes of a frame of an origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Deliver,
    TooMany,
    Ignore,
}

impl Injected {
    fn judge(&mut self, now: Time) -> Verdict {
        self.ignored.take_if(|until| *until <= now);
        if self.ignored.is_some() {
            return Verdict::Ignore;
        }
        let fits = self.meter.take(now, &OF_ONE, 1);
        if !fits {
            self.watched.get_or_insert((now, 0, 0));
        }
        if let Some((since, delivered, dropped)) = &mut self.watched {
            *delivered += u32::from(fits);
            *dropped += u32::from(!fits);
            if now.since(*since) >= WATCHED {
                self.ignored = (dropped > delivered).then_some(now + IGNORED);
                self.watched = None;
            }
        }
        if fits { Verdict::Deliver } else { Verdict::TooMany }
    }
}

impl Engine {
    /// Whether one more frame to a group may be delivered that comes from a peer.
    pub(crate) fn may_inject(&mut self, now: Time, id: PeerId) -> bool {
        let Some(peer) = self.peers.get_mut(id) else {
            return false;
        };
        let counters = &mut self.counters;
        match peer.injected.get_or_insert_default().judge(now) {
            Verdict::Deliver if self.groups.injected.take(now, &OF_ALL, 1) => return true,
            Verdict::Deliver => counters.group_delivery_limited += 1,
            Verdict::TooMany => counters.group_origin_limited += 1,
            Verdict::Ignore => counters.group_origin_ignored += 1,
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What becomes of `count` frames a second, evenly sent, for so many seconds: delivered, dropped, ignored.
    fn judged(injected: &mut Injected, from: u64, seconds: u64, count: u64) -> [u64; 3] {
        let mut judged = [0; 3];
        for number in 0..seconds * count {
            let now = Time::from_nanos(from * 1_000_000_000 + number * 1_000_000_000 / count);
            let verdict = match injected.judge(now) {
                Verdict::Deliver => 0,
                Verdict::TooMany => 1,
                Verdict::Ignore => 2,
            };
            judged[verdict] += 1;
        }
        judged
    }

    #[test]
    fn an_origin_has_fifty_a_second_and_a_hundred_at_once() {
        let mut injected = Injected::default();
        assert_eq!(judged(&mut injected, 1, 100, 50), [5000, 0, 0]);
        let at_once = (0..200).filter(|_| injected.judge(Time::from_nanos(200_000_000_000)) == Verdict::Deliver);
        assert_eq!(at_once.count(), 100);
    }

    #[test]
    fn a_flood_is_ignored_after_ten_seconds_for_a_minute() {
        let mut injected = Injected::default();
        let [delivered, dropped, ignored] = judged(&mut injected, 1, 60, 1000);
        assert!((590..=610).contains(&delivered), "{delivered}");
        assert!((9_000..=9_600).contains(&dropped), "{dropped}");
        assert_eq!(delivered + dropped + ignored, 60_000);
        // It went on meanwhile, so it is ignored again ten seconds after it was heard again.
        let [delivered, _, ignored] = judged(&mut injected, 61, 60, 1000);
        assert!((590..=620).contains(&delivered), "{delivered}");
        assert!(ignored >= 48_000, "{ignored}");
        // A minute of silence, and it is heard as before.
        assert_eq!(judged(&mut injected, 200, 10, 50), [500, 0, 0]);
    }

    #[test]
    fn who_sends_a_little_too_much_loses_that_and_no_more() {
        let mut injected = Injected::default();
        let [delivered, dropped, ignored] = judged(&mut injected, 1, 100, 60);
        assert_eq!(ignored, 0);
        assert!((5000..=5150).contains(&delivered), "{delivered} and {dropped}");
    }
}
