//! Copies under way: each is sent again until it is acknowledged, or given up.

use std::{collections::VecDeque, time::Duration};

use crate::Time;

/// The first pause before a copy is sent again is some of the round trip ([`Tries::quarters`]) and this much, but not below [`PAUSE_MIN`].
const PAUSE_BASE: Duration = Duration::from_millis(50);

/// The shortest first pause.
const PAUSE_MIN: Duration = Duration::from_millis(100);

/// The first pause where the round trip is not known yet.
const PAUSE_UNKNOWN: Duration = Duration::from_millis(500);

/// Pauses double up to this many times the first one.
const LONGEST: u32 = 4;

/// A copy waits for a session, or is sent again, no longer than this: later it would surprise. The pause after its last try is waited for to its end.
const KEPT: Duration = Duration::from_secs(5);

/// How often copies are sent, and how much may be under way. What was under way the longest gives way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tries {
    /// Tries of one copy.
    pub tries: u8,
    /// The first pause before a copy is sent again, in quarters of a round trip, to which 50 ms are added. The round trip itself is four;
    /// what acknowledgements wait for at the other end is more.
    pub quarters: u32,
    /// Messages under way.
    pub messages: usize,
    /// Bytes of memory of all of them: what [`Copies::add`] is told, and what is kept of each copy.
    pub bytes: usize,
}

/// A copy of a message, as it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outgoing<N, C> {
    /// To whom.
    pub node: N,
    /// What is particular about it.
    pub own: C,
    /// Whether it is sent now; otherwise it waits for a session.
    pub sent: bool,
    /// The round trip, if it is known.
    pub rtt: Option<Duration>,
    /// What the copy waits for before it leaves, to be counted as part of the round trip.
    pub queued: Duration,
    /// How much later than is reckoned with the node's acknowledgements come, by [`Acknowledged::late`].
    pub late: Duration,
}

/// What [`Copies::acknowledged`] came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Acknowledged {
    /// Copies that were under way and are no more.
    pub copies: usize,
    /// How much later than is reckoned with one of them was acknowledged, the most, if it can be told.
    pub late: Option<Duration>,
}

/// What [`Copies::due`] came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tended<N> {
    /// Copies sent again.
    pub resent: usize,
    /// Those to whom a copy was sent a second time, and how late they would be if twice the pause before were what they need.
    pub waited: Vec<(N, Duration)>,
    /// Those who did not acknowledge a copy in any of its tries, and when its first one was at the earliest; once for each copy.
    pub missed: Vec<(N, Time)>,
    /// Those with whom no session came about in time, once for each copy.
    pub unmet: Vec<N>,
}

/// The messages of which copies are under way. `N` names a node; the copies of a message share an `M`; a `C` belongs to one copy.
///
/// It sends nothing itself: whoever holds it hands in how. It keeps the moment when something is due, since that is asked for at
/// every turn.
#[derive(Clone, Debug)]
pub struct Copies<N, M, C> {
    tries: Tries,
    under_way: VecDeque<UnderWay<N, M, C>>,
    bytes: usize,
    due: Option<Time>,
}

#[derive(Clone, Debug)]
struct UnderWay<N, M, C> {
    number: u64,
    shared: M,
    bytes: usize,
    since: Time,
    copies: Vec<State<N, C>>,
}

#[derive(Clone, Debug)]
struct State<N, C> {
    node: N,
    /// When it is sent again.
    at: Time,
    /// The first pause, in milliseconds, and what of it the node's lateness is.
    first: u16,
    late: u16,
    /// The round trip, in milliseconds, at least 1; 0 while it is not known.
    rtt: u16,
    /// How often it was sent; 0 as long as no session stands.
    sent: u8,
    own: C,
}

impl<N, M, C> UnderWay<N, M, C> {
    fn memory(&self) -> usize {
        size_of::<Self>() + self.bytes + self.copies.capacity() * size_of::<State<N, C>>()
    }

    /// Drops copies, and the memory of many.
    fn keep(&mut self, keep: impl FnMut(&mut State<N, C>) -> bool) {
        self.copies.retain_mut(keep);
        if self.copies.len() * 2 <= self.copies.capacity() {
            self.copies.shrink_to_fit();
        }
    }
}

impl<N, C> State<N, C> {
    /// It is sent for the first time, after what is `queued`.
    fn begin(&mut self, now: Time, rtt: Option<Duration>, queued: Duration, quarters: u32) {
        let pause = rtt.map_or(PAUSE_UNKNOWN, |rtt| {
            let part = rtt.saturating_add(queued).saturating_mul(quarters) / 4;
            part.saturating_add(PAUSE_BASE).max(PAUSE_MIN)
        });
        self.rtt = rtt.map_or(0, |rtt| milliseconds(rtt).max(1));
        self.first = milliseconds(pause).saturating_add(self.late);
        self.sent = 1;
        self.at = now + self.pause(1);
    }

    fn again(&mut self, now: Time) {
        let times = (1 << u32::from(self.sent).min(8)).min(LONGEST);
        self.sent = self.sent.saturating_add(1);
        self.at = now + self.pause(times);
    }

    fn pause(&self, times: u32) -> Duration {
        Duration::from_millis(self.first.into()) * times
    }

    /// How much later than is reckoned with, lateness that was granted aside, an acknowledgement comes now. After a second try that can be told
    /// only if it comes sooner than that one's could, of which half the round trip is sure; otherwise the first was perhaps lost.
    fn late(&self, now: Time) -> Option<Duration> {
        let reckoned = Duration::from_millis(self.first.saturating_sub(self.late).into());
        let elapsed = match self.sent {
            1 => self.pause(1).saturating_sub(self.at.since(now)),
            2 => {
                let again = self.pause(2).saturating_sub(self.at.since(now));
                let other = Duration::from_millis(self.rtt.into()) / 2;
                (again < other).then(|| self.pause(1) + again)?
            }
            _ => return None,
        };
        Some(elapsed.saturating_sub(reckoned))
    }
}

impl<N: Ord + Copy, M, C> Copies<N, M, C> {
    /// Nothing is under way.
    #[must_use]
    pub const fn new(tries: Tries) -> Self {
        Self {
            tries,
            under_way: VecDeque::new(),
            bytes: 0,
            due: None,
        }
    }

    /// Notes a message, `number`, of so many bytes, and its copies. Returns how many others were given up for it.
    pub fn add(
        &mut self,
        now: Time,
        number: u64,
        shared: M,
        bytes: usize,
        copies: impl IntoIterator<Item = Outgoing<N, C>>,
    ) -> usize {
        let quarters = self.tries.quarters;
        let copies: Vec<_> = copies
            .into_iter()
            .map(|copy| {
                let mut state = State {
                    node: copy.node,
                    at: now + KEPT,
                    first: 0,
                    late: milliseconds(copy.late),
                    rtt: 0,
                    sent: 0,
                    own: copy.own,
                };
                if copy.sent {
                    state.begin(now, copy.rtt, copy.queued, quarters);
                }
                state
            })
            .collect();
        if copies.is_empty() {
            return 0;
        }
        self.due = copies.iter().map(|copy| copy.at).chain(self.due).min();
        let message = UnderWay {
            number,
            shared,
            bytes,
            since: now,
            copies,
        };
        self.bytes += message.memory();
        self.under_way.push_back(message);
        let mut lost = 0;
        while self.under_way.len() > self.tries.messages || self.bytes > self.tries.bytes {
            let Some(oldest) = self.under_way.pop_front() else {
                break;
            };
            lost += oldest.copies.len();
            self.bytes -= oldest.memory();
        }
        lost
    }

    /// A copy could not be sent: it waits for a session, and all its tries are before it.
    pub fn unsent(&mut self, node: &N, number: u64) {
        for message in self.under_way.iter_mut().filter(|message| message.number == number) {
            let since = message.since;
            for copy in message.copies.iter_mut().filter(|copy| copy.node == *node) {
                copy.sent = 0;
                copy.at = since + KEPT;
            }
        }
    }

    /// The nodes for which copies wait, each as often as copies do.
    pub fn waiting(&self) -> impl Iterator<Item = &N> {
        let copies = self.under_way.iter().flat_map(|message| &message.copies);
        copies.filter(|copy| copy.sent == 0).map(|copy| &copy.node)
    }

    /// Whether a copy waits for a session with a node.
    #[must_use]
    pub fn waits_for(&self, node: &N) -> bool {
        let mut copies = self.under_way.iter().flat_map(|message| &message.copies);
        copies.any(|copy| copy.sent == 0 && copy.node == *node)
    }

    /// A session with a node stands: hands each copy that waited for it to `send`, which says whether it is sent.
    pub fn release(
        &mut self,
        now: Time,
        node: &N,
        rtt: Option<Duration>,
        mut send: impl FnMut(u64, &M, &C) -> bool,
    ) -> usize {
        let (mut sent, quarters) = (0, self.tries.quarters);
        for message in &mut self.under_way {
            let waiting = message.copies.iter_mut();
            for copy in waiting.filter(|copy| copy.sent == 0 && copy.node == *node) {
                if send(message.number, &message.shared, &copy.own) {
                    copy.begin(now, rtt, Duration::ZERO, quarters);
                    sent += 1;
                }
            }
        }
        if sent > 0 {
            self.find_due();
        }
        sent
    }

    /// Hands each copy that is to be sent again to `send`, which says whether it is sent; otherwise it waits for a session. Gives
    /// up those that were sent often enough or are too old.
    pub fn due(&mut self, now: Time, mut send: impl FnMut(&N, u64, &M, &C) -> bool) -> Tended<N> {
        let mut tended = Tended {
            resent: 0,
            waited: Vec::new(),
            missed: Vec::new(),
            unmet: Vec::new(),
        };
        if self.due.is_none_or(|due| due > now) {
            return tended;
        }
        let tries = self.tries.tries;
        for message in &mut self.under_way {
            let end = message.since + KEPT;
            let (number, since) = (message.number, message.since);
            let mut copies = std::mem::take(&mut message.copies);
            let shared = &message.shared;
            copies.retain_mut(|copy| {
                if copy.at > now {
                    return true;
                }
                if copy.sent == 0 {
                    tended.unmet.push(copy.node);
                    return false;
                }
                if now >= end || copy.sent >= tries {
                    tended.missed.push((copy.node, since));
                    return false;
                }
                if send(&copy.node, number, shared, &copy.own) {
                    if copy.sent == 1 {
                        let doubled = Duration::from_millis(u64::from(copy.first) + u64::from(copy.late));
                        tended.waited.push((copy.node, doubled));
                    }
                    copy.again(now);
                    tended.resent += 1;
                } else {
                    copy.sent = 0;
                    copy.at = end;
                }
                true
            });
            message.copies = copies;
            message.keep(|_| true);
        }
        self.clean();
        tended
    }

    /// A node has received messages.
    pub fn acknowledged(&mut self, now: Time, node: &N, numbers: &[u64]) -> Acknowledged {
        let mut ended = false;
        let mut acknowledged = Acknowledged::default();
        let messages = self.under_way.iter_mut();
        for message in messages.filter(|message| numbers.contains(&message.number)) {
            let before = message.memory();
            message.keep(|copy| {
                if copy.node == *node {
                    acknowledged.copies += 1;
                    acknowledged.late = acknowledged.late.max(copy.late(now));
                }
                copy.node != *node
            });
            self.bytes = self.bytes + message.memory() - before;
            ended |= message.copies.is_empty();
        }
        // What is due is looked for anew only when it is: too early does no harm.
        if ended {
            self.clean();
        }
        acknowledged
    }

    /// Drops the copies for a node of those messages for which `of` holds.
    pub fn drop_copies(&mut self, node: &N, of: impl Fn(&M) -> bool) {
        for message in self.under_way.iter_mut().filter(|message| of(&message.shared)) {
            message.keep(|copy| copy.node != *node);
        }
        self.clean();
    }

    /// Drops the messages for which `keep` does not hold.
    pub fn retain(&mut self, keep: impl Fn(&M) -> bool) {
        self.under_way.retain(|message| keep(&message.shared));
        self.clean();
    }

    /// When something is due, or earlier.
    #[must_use]
    pub const fn deadline(&self) -> Option<Time> {
        self.due
    }

    /// How many messages are under way, and how many copies of them.
    #[must_use]
    pub fn under_way(&self) -> (usize, usize) {
        let copies = self.under_way.iter().map(|message| message.copies.len());
        (self.under_way.len(), copies.sum())
    }

    #[cfg(test)]
    pub(crate) fn bytes(&self) -> usize {
        let memory: usize = self.under_way.iter().map(UnderWay::memory).sum();
        assert_eq!(memory, self.bytes);
        memory
    }

    fn clean(&mut self) {
        self.under_way.retain(|message| !message.copies.is_empty());
        self.bytes = self.under_way.iter().map(UnderWay::memory).sum();
        self.find_due();
    }

    fn find_due(&mut self) {
        let copies = self.under_way.iter().flat_map(|message| &message.copies);
        self.due = copies.map(|copy| copy.at).min();
    }
}

fn milliseconds(duration: Duration) -> u16 {
    u16::try_from(duration.as_millis()).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRIES: Tries = Tries {
        tries: 6,
        quarters: 8,
        messages: 3,
        bytes: usize::MAX,
    };

    fn at(milliseconds: u64) -> Time {
        Time::ZERO + Duration::from_millis(milliseconds)
    }

    fn copy(node: u8, sent: bool, rtt: Option<u64>) -> Outgoing<u8, ()> {
        Outgoing {
            node,
            own: (),
            sent,
            rtt: rtt.map(Duration::from_millis),
            queued: Duration::ZERO,
            late: Duration::ZERO,
        }
    }

    /// When which copies were sent again, until nothing is due, and who missed all.
    fn times(copies: &mut Copies<u8, (), ()>) -> (Vec<(u64, u8)>, Vec<u8>, Vec<u8>) {
        let (mut sent, mut missed, mut unmet) = (Vec::new(), Vec::new(), Vec::new());
        while let Some(now) = copies.deadline() {
            let tended = copies.due(now, |node, _, (), ()| {
                sent.push((now.as_nanos() / 1_000_000, *node));
                true
            });
            missed.extend(tended.missed.into_iter().map(|(node, _)| node));
            unmet.extend(tended.unmet);
        }
        (sent, missed, unmet)
    }

    #[test]
    fn pauses_follow_the_round_trip_and_double_and_end() {
        let mut copies = Copies::new(TRIES);
        copies.add(at(0), 1, (), 0, [copy(1, true, Some(100))]);
        let (sent, missed, _) = times(&mut copies);
        assert_eq!(sent, [(250, 1), (750, 1), (1750, 1), (2750, 1), (3750, 1)]);
        assert_eq!(missed, [1]);
        let mut sooner = Copies::new(Tries { quarters: 6, ..TRIES });
        sooner.add(at(0), 1, (), 0, [copy(1, true, Some(100))]);
        let sent = times(&mut sooner).0;
        assert_eq!(sent, [(200, 1), (600, 1), (1400, 1), (2200, 1), (3000, 1)]);
        let mut copies = Copies::new(Tries { tries: 3, ..TRIES });
        copies.add(
            at(0),
            1,
            (),
            0,
            [copy(1, true, Some(1)), copy(2, true, None), copy(3, false, None)],
        );
        let (sent, missed, unmet) = times(&mut copies);
        assert_eq!(sent, [(100, 1), (300, 1), (500, 2), (1500, 2)]);
        assert_eq!((missed, unmet), (vec![1, 2], vec![3]));
        assert_eq!(copies.under_way(), (0, 0));
    }

    #[test]
    fn nothing_is_sent_again_that_is_older_than_five_seconds() {
        let mut copies = Copies::new(TRIES);
        copies.add(at(0), 1, (), 0, [copy(1, true, Some(1000))]);
        let (sent, missed, _) = times(&mut copies);
        assert_eq!(sent, [(2050, 1)]);
        assert_eq!(missed, [1]);
        // What was sent just before has its whole pause to be acknowledged.
        copies.add(at(0), 1, (), 0, [copy(1, false, None)]);
        assert_eq!(
            copies.release(at(4900), &1, Some(Duration::from_millis(100)), |_, (), ()| true),
            1
        );
        assert_eq!(copies.deadline(), Some(at(5150)));
        assert_eq!(copies.acknowledged(at(5010), &1, &[1]).late, Some(Duration::ZERO));
    }

    #[test]
    fn an_acknowledgement_ends_a_copy_and_no_other() {
        let mut copies = Copies::new(TRIES);
        for number in [1, 2] {
            copies.add(at(0), number, (), 0, [copy(1, true, None), copy(2, true, None)]);
        }
        copies.acknowledged(at(1), &1, &[1, 7]);
        copies.acknowledged(at(1), &2, &[2]);
        assert_eq!(copies.under_way(), (2, 2));
        let mut again = Vec::new();
        copies.due(at(500), |node, number, (), ()| {
            again.push((*node, number));
            true
        });
        assert_eq!(again, [(2, 1), (1, 2)]);
        copies.acknowledged(at(501), &2, &[1]);
        copies.acknowledged(at(501), &1, &[2]);
        assert_eq!((copies.under_way(), copies.deadline()), ((0, 0), None));
    }

    #[test]
    fn acknowledgements_tell_how_late_a_node_is_unless_a_copy_may_have_been_lost() {
        // Round trip, queue, lateness that is granted, how long after the pause before the second try the acknowledgement comes, if there is one,
        // or how long after the first.
        let late = |rtt, queued, late, sent_again: bool, after: u64| {
            let mut copies = Copies::new(Tries { quarters: 6, ..TRIES });
            let [queued, late] = [queued, late].map(Duration::from_millis);
            let outgoing = Outgoing {
                queued,
                late,
                ..copy(1, true, rtt)
            };
            copies.add(at(0), 1, (), 0, [outgoing]);
            let mut now = at(after);
            if sent_again {
                let due = copies.deadline().unwrap();
                assert_eq!(copies.due(due, |_, _, (), ()| true).resent, 1);
                now = due + Duration::from_millis(after);
            }
            let acknowledged = copies.acknowledged(now, &1, &[1]);
            assert_eq!(acknowledged.copies, 1);
            assert_eq!(copies.acknowledged(now, &1, &[1]), Acknowledged::default());
            acknowledged.late.map(|late| late.as_millis())
        };
        // In time, and in that which it is granted: the pause is 200 ms.
        assert_eq!(late(Some(100), 0, 0, false, 120), Some(0));
        assert_eq!(late(Some(100), 0, 300, false, 120), Some(0));
        assert_eq!(late(Some(100), 0, 300, false, 450), Some(250));
        // Sooner than half a round trip after the second try, and later.
        assert_eq!(late(Some(100), 0, 0, true, 40), Some(40));
        assert_eq!(late(Some(100), 0, 300, true, 40), Some(340));
        assert_eq!(late(Some(100), 0, 0, true, 60), None);
        // What is queued makes no round trip longer, and neither does the shortest pause, nor that for one that is not known.
        assert_eq!(late(Some(20), 150, 0, true, 9), Some(9));
        assert_eq!(late(Some(20), 150, 0, true, 20), None);
        assert_eq!(late(Some(2), 0, 0, true, 2), None);
        assert_eq!(late(None, 0, 0, true, 20), None);
        assert_eq!(late(None, 0, 0, false, 20), Some(0));
    }

    #[test]
    fn what_waits_before_a_copy_counts_as_round_trip_and_a_pause_without_an_answer_is_to_be_doubled() {
        let mut copies = Copies::new(Tries { quarters: 6, ..TRIES });
        let outgoing = Outgoing {
            queued: Duration::from_millis(60),
            late: Duration::from_millis(30),
            ..copy(1, true, Some(100))
        };
        copies.add(at(0), 1, (), 0, [outgoing]);
        assert_eq!(copies.deadline(), Some(at(320)));
        let tended = copies.due(at(320), |_, _, (), ()| true);
        // 290 ms without the lateness, 640 in all.
        assert_eq!(tended.waited, [(1, Duration::from_millis(350))]);
        let tended = copies.due(copies.deadline().unwrap(), |_, _, (), ()| true);
        assert_eq!((tended.resent, tended.waited), (1, vec![]));
    }

    #[test]
    fn what_cannot_be_sent_waits_for_a_session_and_begins_anew() {
        let mut copies = Copies::new(TRIES);
        copies.add(at(0), 1, (), 0, [copy(1, false, None), copy(2, true, Some(10))]);
        assert!(copies.waits_for(&1) && !copies.waits_for(&2));
        copies.unsent(&2, 1);
        assert!(copies.waits_for(&2));
        assert_eq!(
            copies.release(at(1000), &1, Some(Duration::from_millis(10)), |_, (), ()| false),
            0
        );
        assert!(copies.waits_for(&1));
        assert_eq!(
            copies.release(at(1000), &1, Some(Duration::from_millis(10)), |_, (), ()| true),
            1
        );
        assert_eq!(copies.deadline(), Some(at(1100)));
        // The session ends.
        let tended = copies.due(at(1100), |_, _, (), ()| false);
        assert_eq!(tended.resent, 0);
        assert!(copies.waits_for(&1));
        let (sent, missed, unmet) = times(&mut copies);
        assert!(sent.is_empty() && missed.is_empty());
        assert_eq!(unmet, [1, 2]);
    }

    #[test]
    fn the_oldest_give_way() {
        let mut copies = Copies::new(TRIES);
        let lost: Vec<_> = (0..5)
            .map(|number| copies.add(at(number), number, (), 0, [copy(1, true, None), copy(2, true, None)]))
            .collect();
        assert_eq!(lost, [0, 0, 0, 2, 2]);
        assert_eq!(copies.under_way(), (3, 6));
        copies.drop_copies(&1, |()| true);
        assert_eq!(copies.under_way(), (3, 3));
        copies.retain(|()| false);
        assert_eq!(copies.under_way(), (0, 0));
        let mut copies = Copies::new(Tries { bytes: 1000, ..TRIES });
        assert_eq!(copies.add(at(0), 1, (), 400, [copy(1, true, None)]), 0);
        assert_eq!(copies.add(at(0), 2, (), 400, [copy(1, true, None)]), 0);
        assert_eq!(copies.add(at(0), 3, (), 400, [copy(1, true, None)]), 1);
        // One that is too large by itself is not kept.
        assert_eq!(copies.add(at(0), 4, (), 4000, [copy(1, true, None)]), 3);
        assert_eq!(copies.add(at(0), 5, (), 400, [copy(1, true, None)]), 0);
    }
}
