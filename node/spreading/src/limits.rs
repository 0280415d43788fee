//! How much is spent on broadcasts: signatures to check, copies to send on, own ones.
//!
//! Before a signature is checked nothing is charged but the neighbour that a copy came from: who is named as its origin, or the
//! channel it names, may have nothing to do with it. All other rates count deliveries: copies sent on.

use std::time::Duration;

use farlan_crypto::NodeId;

use crate::{ChannelOf, Meter, Meters, Rate, Time, origins::Origin};

/// Signatures that a node checks: one takes about 45 µs.
const CHECKS: Rate = Rate::per_second(500, Duration::from_secs(1));

/// What of that may come by one neighbour while there is enough.
const CHECKS_OF_ONE: Rate = Rate::per_second(CHECKS.count / 2, Duration::from_secs(1));

/// What a bad signature costs its neighbour beside the check.
const FORGED: u64 = 10;

/// Neighbours for which that is counted.
const MAX_NEIGHBOURS: usize = 1024;

/// How often it is counted how many neighbours share.
const COUNTED_EVERY: Duration = Duration::from_millis(100);

/// Copies that a node sends on.
const FORWARDED: Rate = Rate::per_second(256, Duration::from_secs(2));

/// The same for origins that are none of its active contacts: half of what may be sent at once is left to those.
const FORWARDED_OF_OTHERS: Rate = Rate::per_second(256, Duration::from_secs(1));

/// Copies that a node sends on of one origin.
const OF_ORIGIN: Rate = Rate::per_second(64, Duration::from_secs(4));

/// Copies that a node sends on of what came by one neighbour.
const OF_NEIGHBOUR: Rate = Rate::per_second(128, Duration::from_secs(2));

/// Copies of one channel that a node sends on at level 2.
const OF_CHANNEL: Rate = Rate::per_second(128, Duration::from_secs(4));

/// Neighbours and channels for which that is counted.
const MAX_COUNTED: usize = 256;

/// Own broadcasts with a full ceiling.
const OWN_FULL: Rate = Rate::per_second(10, Duration::from_secs(6));

/// All own broadcasts.
const OWN: Rate = Rate::per_second(50, Duration::from_secs(2));

/// Direct copies from one origin that are told apart: more than an origin that keeps to [`OWN`] sends, and to channels of few.
const DIRECT: Rate = Rate::per_second(192, Duration::from_secs(2));

/// What one node spends on others' broadcasts in all its networks: signatures checked, copies sent on.
#[derive(Debug)]
pub struct Allowances {
    checks: Meter,
    neighbours: Meters<NodeId>,
    /// How many neighbours shared when it was last counted, and when that was.
    busy: u64,
    counted: Option<Time>,
    forwarded: Meter,
}

impl Default for Allowances {
    fn default() -> Self {
        Self::new()
    }
}

impl Allowances {
    /// Nothing is used.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            checks: Meter::UNUSED,
            neighbours: Meters::new(CHECKS_OF_ONE, MAX_NEIGHBOURS),
            busy: 0,
            counted: None,
            forwarded: Meter::UNUSED,
        }
    }

    /// Takes the check of a signature that came by a neighbour. Where more than half is used, each gets its fair share only.
    pub(crate) fn may_check(&mut self, now: Time, from: &NodeId) -> bool {
        let half = Rate {
            burst: CHECKS.burst / 2,
            ..CHECKS
        };
        let mut rate = CHECKS_OF_ONE;
        if self.checks.is_spent(now, &half) {
            if self.counted.is_none_or(|counted| now.since(counted) >= COUNTED_EVERY) {
                self.busy = u64::try_from(self.neighbours.busy(now)).unwrap_or(u64::MAX);
                self.counted = Some(now);
            }
            // One share is left to whoever comes next.
            rate.count = (CHECKS.count / self.busy.saturating_add(1)).clamp(1, CHECKS_OF_ONE.count);
        }
        let Some(meter) = self.neighbours.meter(now, *from) else {
            return false;
        };
        if meter.is_spent(now, &rate) || !self.checks.take(now, &CHECKS, 1) {
            return false;
        }
        meter.take(now, &rate, 1)
    }

    /// A signature that came by a neighbour was bad.
    pub(crate) fn forged(&mut self, now: Time, from: &NodeId) {
        if let Some(meter) = self.neighbours.meter(now, *from) {
            meter.owe_many(now, &CHECKS_OF_ONE, FORGED);
        }
    }
}

/// What is spent in one network.
#[derive(Debug)]
pub(crate) struct Limits {
    own_full: Meter,
    own: Meter,
    neighbours: Meters<NodeId>,
    channels: Meters<ChannelOf>,
    direct: Meters<NodeId>,
}

/// How an own broadcast may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Own {
    Full,
    /// To active contacts, and no further.
    Thin,
    Nowhere,
}

/// What came to be sent on.
pub(crate) struct Onward<'a> {
    pub(crate) from: NodeId,
    /// Counted at level 2.
    pub(crate) channel: Option<ChannelOf>,
    pub(crate) origin: Option<&'a mut Origin>,
    /// Whether the origin is an active contact.
    pub(crate) near: bool,
}

impl Limits {
    pub(crate) const fn new() -> Self {
        Self {
            own_full: Meter::UNUSED,
            own: Meter::UNUSED,
            neighbours: Meters::new(OF_NEIGHBOUR, MAX_COUNTED),
            channels: Meters::new(OF_CHANNEL, MAX_COUNTED),
            direct: Meters::new(DIRECT, MAX_COUNTED),
        }
    }

    pub(crate) fn own(&mut self, now: Time) -> Own {
        if !self.own.take(now, &OWN, 1) {
            Own::Nowhere
        } else if self.own_full.take(now, &OWN_FULL, 1) {
            Own::Full
        } else {
            Own::Thin
        }
    }

    pub(crate) fn direct(&mut self, now: Time, origin: &NodeId) -> bool {
        self.direct.take(now, *origin)
    }

    /// Takes up to `wanted` copies to be sent on; returns how many may be.
    pub(crate) fn onward(&mut self, now: Time, what: Onward<'_>, allowances: &mut Allowances, wanted: u64) -> u64 {
        let Some(origin) = what.origin else { return 0 };
        let total = if what.near { &FORWARDED } else { &FORWARDED_OF_OTHERS };
        let of_origin = origin.forwarded.draw(now, &OF_ORIGIN, wanted);
        let by_neighbour = self.neighbours.draw(now, what.from, of_origin);
        let in_channel = match what.channel {
            Some(channel) => self.channels.draw(now, channel, by_neighbour),
            None => by_neighbour,
        };
        let drawn = allowances.forwarded.draw(now, total, in_channel);
        origin.forwarded.give_back(&OF_ORIGIN, of_origin - drawn);
        self.neighbours.give_back(what.from, by_neighbour - drawn);
        if let Some(channel) = what.channel {
            self.channels.give_back(channel, in_channel - drawn);
        }
        drawn
    }

    #[cfg(test)]
    pub(crate) fn bytes(&self) -> usize {
        self.neighbours.bytes() + self.channels.bytes() + self.direct.bytes()
    }

    #[cfg(test)]
    pub(crate) fn most_bytes(&self) -> usize {
        self.neighbours.most_bytes() + self.channels.most_bytes() + self.direct.most_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(number: u8) -> NodeId {
        NodeId::from_bytes([number; 16])
    }

    fn at(milliseconds: u64) -> Time {
        Time::ZERO + Duration::from_secs(100) + Duration::from_millis(milliseconds)
    }

    #[test]
    fn checks_are_shared_among_neighbours_and_one_alone_gets_half() {
        let mut allowances = Allowances::new();
        let alone = (0..20_000)
            .filter(|step| allowances.may_check(at(step / 2), &node(1)))
            .count();
        assert!((2500..=2760).contains(&alone), "{alone}");

        // Three that send 1,000 a second each, and one that sends 40.
        let mut allowances = Allowances::new();
        let mut taken = [0; 4];
        for millisecond in 0..10_000 {
            for number in 0..3 {
                taken[usize::from(number)] += usize::from(allowances.may_check(at(millisecond), &node(number)));
            }
            if millisecond % 25 == 0 {
                taken[3] += usize::from(allowances.may_check(at(millisecond), &node(3)));
            }
        }
        assert!(taken[3] >= 390, "{taken:?}");
        assert!(taken.iter().sum::<usize>() <= 5500, "{taken:?}");
        assert!(taken[..3].iter().all(|taken| *taken > 900), "{taken:?}");
    }

    #[test]
    fn bad_signatures_soon_cost_their_neighbour_all_it_has_and_others_nothing() {
        let mut allowances = Allowances::new();
        let mut checked = 0;
        for millisecond in 0..10_000 {
            if allowances.may_check(at(millisecond), &node(1)) {
                checked += 1;
                allowances.forged(at(millisecond), &node(1));
            }
            if millisecond % 10 == 0 {
                assert!(allowances.may_check(at(millisecond), &node(2)));
            }
        }
        assert!(checked <= 260, "{checked}");
    }

    #[test]
    fn own_broadcasts_thin_out_and_then_stop() {
        let mut limits = Limits::new();
        let mut went = |now: Time, kind: Own| (0..200).map(|_| limits.own(now)).filter(|own| *own == kind).count();
        assert_eq!(went(at(0), Own::Full), 60);
        assert_eq!(went(at(2000), Own::Full), 20);
        assert_eq!(went(at(4000), Own::Thin), 80);
    }

    #[test]
    fn half_of_what_is_sent_on_is_left_to_those_near() {
        let (mut limits, mut allowances) = (Limits::new(), Allowances::new());
        let mut origins = crate::origins::Origins::default();
        let mut sent = |number: u8, near: bool, channel: Option<ChannelOf>| {
            let origin = origins.note(at(0), &[number; 32], node(number), 0, true);
            let from = node(number);
            limits.onward(
                at(0),
                Onward {
                    from,
                    channel,
                    origin,
                    near,
                },
                &mut allowances,
                200,
            )
        };
        assert_eq!([sent(1, false, None), sent(2, false, None)], [200, 56]);
        assert_eq!(sent(3, false, None), 0);
        assert_eq!([sent(4, true, None), sent(4, true, None)], [200, 56]);
        assert_eq!(sent(5, true, None), 0);
    }
}
