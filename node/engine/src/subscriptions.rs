//! The lists that a supernode keeps and pushes: of the members of networks, and of the subscribers to channels.
//!
//! Each list counts its changes. A member that is behind gets all changes since the last one it acknowledged, oldest
//! first, as many as fit one datagram, until it is up to date; an unacknowledged message is sent again. A member that
//! begins at 0 gets the whole list. Of the subscribers to a channel that has many everybody gets a sample instead.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use farlan_crypto::NodeId;
use farlan_netconf::DirectoryKey;
use rand_core::Rng as _;

use crate::{
    Engine, Outbox, Time,
    multicast::ALL,
    peers::PeerId,
    retry::{Retry, Schedule},
    wire::control::{Audience, Control, MEMBERS_AT_ONCE, MemberEntry, Membership},
};

const RESEND: Schedule = Schedule {
    first: Duration::from_millis(700),
    steady: 4,
    longest: Duration::from_secs(8),
};

/// A change of a channel's list waits so long for others before it is told: whoever subscribes and leaves all the time wakes the
/// others four times a second at the most.
const GATHERED: Duration = Duration::from_millis(250);

/// Entries of members that left are kept until everybody has heard of them, or until there are so many more than members.
const GONE_KEPT: usize = 64;

/// The list of a channel that has grown beyond [`ALL`] is pushed up to this length, and then not before it has shrunk to
/// [`ALL`] again: one that comes and goes must not cost everybody a sample and a whole list in turn.
const MANY: usize = 144;

/// Members that are named to who looks for company.
const COMPANY: usize = 16;

/// Subscribers in the sample of a long list.
pub(crate) const SAMPLE: usize = 16;

/// Places of a list that are tried for a sample: some are empty, and some come up twice.
const SAMPLE_TRIES: usize = 4 * SAMPLE;

/// What a list is of, and the key under which it is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ListKey {
    Members(DirectoryKey),
    Subscribers(DirectoryKey),
}

impl ListKey {
    /// A message about the list.
    fn message(self, from: u64, upto: u64, count: u32, entries: Vec<MemberEntry>) -> Control {
        match self {
            Self::Members(member_key) => Control::Members {
                member_key,
                from,
                upto,
                count,
                entries,
            },
            Self::Subscribers(channel_key) => Control::Audience(Audience::Subscribers {
                channel_key,
                from,
                upto,
                count,
                entries,
            }),
        }
    }

    fn is_channel(self) -> bool {
        matches!(self, Self::Subscribers(_))
    }
}

/// All lists of a supernode.
#[derive(Debug, Default)]
pub(crate) struct Subscriptions {
    lists: BTreeMap<ListKey, List>,
    /// When messages are sent again.
    due: BTreeSet<(Time, ListKey, PeerId)>,
}

#[derive(Debug)]
struct List {
    /// The number of the latest change. The first of a list is random, so that a number of another time, as before this
    /// supernode restarted, is not taken for one of this list.
    version: u64,
    /// Who knows the list up to a change before this one needs it whole.
    floor: u64,
    /// The latest change of each member, by number.
    changes: BTreeMap<u64, Box<MemberEntry>>,
    /// Where each member's latest change stands.
    members: BTreeMap<NodeId, u64>,
    present: usize,
    /// It is a channel's, and too long to be pushed.
    sampled: bool,
    subscribers: BTreeMap<PeerId, Box<Subscriber>>,
}

#[derive(Debug, Default)]
struct Subscriber {
    acknowledged: u64,
    /// How many members it knows that there are.
    told: usize,
    /// What it will know once it acknowledges the message under way: up to which change, and how many members.
    telling: (u64, usize),
    under_way: Option<Retry>,
    /// Whether it has a sample, not the list, and whether such a one is under way.
    has_sample: bool,
    telling_sample: bool,
}

impl List {
    fn new(start: u64) -> Self {
        Self {
            version: start,
            floor: start + 1,
            changes: BTreeMap::new(),
            members: BTreeMap::new(),
            present: 0,
            sampled: false,
            subscribers: BTreeMap::new(),
        }
    }

    /// After a change; whether this is a channel's list that is given as samples, as it was before.
    fn review(&mut self, key: ListKey) -> bool {
        let sampled = self.sampled;
        if key.is_channel() {
            self.review_length();
        }
        sampled && self.sampled
    }

    /// Begins or ends to give samples, as the length of a channel's list says. At the end it is numbered anew: whoever has a
    /// sample, or is about to say so, knows nothing of the list, and gets the whole.
    fn review_length(&mut self) {
        let sampled = self.present > if self.sampled { ALL } else { MANY };
        if !std::mem::replace(&mut self.sampled, sampled) || sampled {
            return;
        }
        self.floor = self.version + 1;
        let changes = std::mem::take(&mut self.changes);
        let there: BTreeMap<u64, _> = self.members.iter().map(|(node, version)| (*version, *node)).collect();
        self.members.clear();
        for (version, entry) in changes.into_iter().filter(|(_, entry)| entry.present) {
            if let Some(node) = there.get(&version) {
                self.version += 1;
                self.members.insert(*node, self.version);
                self.changes.insert(self.version, entry);
            }
        }
        for subscriber in self.subscribers.values_mut() {
            subscriber.acknowledged = 0;
            subscriber.has_sample = false;
        }
    }

    /// Up to [`SAMPLE`] of those present, each about as likely as any other.
    fn sample(&self, mut random: impl FnMut() -> u64) -> Vec<MemberEntry> {
        let (Some(first), Some(last)) = (self.changes.first_key_value(), self.changes.last_key_value()) else {
            return Vec::new();
        };
        let (first, places) = (*first.0, last.0 - first.0 + 1);
        let mut chosen = BTreeMap::new();
        for _ in 0..SAMPLE_TRIES {
            let from = first + random() % places;
            let mut behind = self.changes.range(from..).take(SAMPLE_TRIES);
            if let Some((version, entry)) = behind.find(|(_, entry)| entry.present) {
                chosen.insert(*version, **entry);
            }
            if chosen.len() >= SAMPLE {
                break;
            }
        }
        chosen.into_values().collect()
    }

    /// Where a node that knows the list up to `version` goes on: there, or at the beginning.
    fn known(&self, version: u64) -> u64 {
        if (self.floor..=self.version).contains(&version) {
            version
        } else {
            0
        }
    }

    fn change(&mut self, node: NodeId, entry: MemberEntry) {
        let old = self.members.get(&node).and_then(|version| self.changes.remove(version));
        let was = old.is_some_and(|old| old.present);
        self.version += 1;
        self.members.insert(node, self.version);
        self.changes.insert(self.version, Box::new(entry));
        match (was, entry.present) {
            (false, true) => self.present += 1,
            (true, false) => self.present -= 1,
            _ => {}
        }
    }

    /// Forgets members that left and that everybody knows to have left; if there are too many others, those who have not
    /// heard of them get the whole list again.
    fn prune(&mut self) {
        let gone = self.changes.len() - self.present;
        if gone == 0 {
            return;
        }
        let subscribers = self.subscribers.values();
        let heard = subscribers.map(|subscriber| subscriber.acknowledged).min();
        let heard = heard.unwrap_or(self.version);
        let too_many = gone > self.present + GONE_KEPT;
        let forgotten: Vec<u64> = self
            .changes
            .iter()
            .filter(|(version, entry)| !entry.present && (**version <= heard || too_many))
            .map(|(version, _)| *version)
            .collect();
        let Some(last) = forgotten.last().copied() else { return };
        for version in &forgotten {
            self.changes.remove(version);
        }
        self.members
            .retain(|_, version| forgotten.binary_search(version).is_err());
        self.floor = self.floor.max(last);
        for subscriber in self.subscribers.values_mut() {
            if subscriber.acknowledged < last {
                subscriber.acknowledged = 0;
            }
        }
    }
}

impl Subscriptions {
    pub(crate) fn len(&self) -> usize {
        self.lists.len()
    }

    /// How many there are on a list, and some of those present: the last who came, then others at random.
    pub(crate) fn company(&self, key: ListKey, random: impl FnMut() -> u64) -> (u32, Vec<MemberEntry>) {
        let Some(list) = self.lists.get(&key) else {
            return (0, Vec::new());
        };
        let present = list.changes.values().rev().filter(|entry| entry.present);
        let mut chosen: Vec<MemberEntry> = present.take(COMPANY / 2).map(|entry| **entry).collect();
        for entry in list.sample(random) {
            if chosen.len() < COMPANY && !chosen.iter().any(|known| known.record.key == entry.record.key) {
                chosen.push(entry);
            }
        }
        (u32::try_from(list.present).unwrap_or(u32::MAX), chosen)
    }

    pub(crate) fn deadline(&self) -> Option<Time> {
        self.due.first().map(|(at, ..)| *at)
    }
}

impl Engine {
    /// Brings a node's memberships up to date.
    pub(crate) fn subscribe(
        &mut self,
        now: Time,
        id: PeerId,
        before: &[Membership],
        memberships: &[Membership],
        out: &mut Outbox,
    ) {
        let left = before
            .iter()
            .filter(|old| !memberships.iter().any(|new| new.member_key == old.member_key))
            .map(|old| ListKey::Members(old.member_key));
        let left: Vec<ListKey> = left.collect();
        self.unsubscribe(now, id, &left, out);
        for membership in memberships {
            let key = ListKey::Members(membership.member_key);
            self.list(now, id, key, membership, Some(membership.version), out);
        }
    }

    /// Puts a node on a list, as its membership says where it is, or brings its entry up to date. It has the list up to
    /// `version`; up to where it acknowledged it, if that is not told.
    pub(crate) fn list(
        &mut self,
        now: Time,
        id: PeerId,
        key: ListKey,
        membership: &Membership,
        version: Option<u64>,
        out: &mut Outbox,
    ) {
        let node = self.peers.get(id).map(|peer| peer.key.node_id());
        let (Some(node), Some(record)) = (node, self.member_record(id, Some(membership))) else {
            return;
        };
        let start = self.random_u64() >> 1;
        let list = self.anchor.subscriptions.lists.entry(key);
        let list = list.or_insert_with(|| List::new(start));
        let entry = MemberEntry {
            present: true,
            record,
            ipv4: membership.ipv4,
        };
        let known = list.members.get(&node).and_then(|version| list.changes.get(version));
        if known.is_none_or(|known| **known != entry) {
            list.change(node, entry);
        }
        let acknowledged = version.map(|version| list.known(version));
        let subscriber = list.subscribers.entry(id).or_default();
        if let Some(acknowledged) = acknowledged {
            subscriber.acknowledged = acknowledged;
            subscriber.has_sample &= acknowledged != 0;
        }
        let only = list.review(key).then_some(id);
        self.push_list(now, key, only, out);
    }

    /// Takes a node out of lists.
    pub(crate) fn unsubscribe(&mut self, now: Time, id: PeerId, keys: &[ListKey], out: &mut Outbox) {
        let Some(node) = self.peers.get(id).map(|peer| peer.key.node_id()) else {
            return;
        };
        for key in keys.iter().copied() {
            let Some(list) = self.anchor.subscriptions.lists.get_mut(&key) else {
                continue;
            };
            if let Some(subscriber) = list.subscribers.remove(&id)
                && let Some(retry) = subscriber.under_way
            {
                self.anchor.subscriptions.due.remove(&(retry.at(), key, id));
            }
            let latest = list
                .members
                .get(&node)
                .and_then(|version| list.changes.get(version))
                .map(|entry| **entry);
            if let Some(entry) = latest.filter(|entry| entry.present) {
                list.change(
                    node,
                    MemberEntry {
                        present: false,
                        ..entry
                    },
                );
            }
            if list.present == 0 {
                self.anchor.subscriptions.lists.remove(&key);
            } else {
                let only_samples = list.review(key);
                list.prune();
                if !only_samples {
                    self.push_list(now, key, None, out);
                }
            }
        }
    }

    /// Sends every subscriber of a list what it lacks, unless a message to it is under way.
    ///
    /// Longer lists than a node sends copies to are not pushed: their members are found by look-ups. Only once is everyone
    /// told that there are so many, or it would take what it has for all; of a channel everyone gets a sample then. Whoever has
    /// some of a channel's list is told of changes a moment later, of several at once. `only` leaves all others out.
    fn push_list(&mut self, now: Time, key: ListKey, only: Option<PeerId>, out: &mut Outbox) {
        let Some(list) = self.anchor.subscriptions.lists.get_mut(&key) else {
            return;
        };
        let behind = |subscriber: &Subscriber| subscriber.under_way.is_none() && subscriber.acknowledged < list.version;
        let pushed = |subscriber: &Subscriber| match key {
            ListKey::Members(_) => list.present <= ALL || subscriber.told <= ALL,
            ListKey::Subscribers(_) => !list.sampled || !subscriber.has_sample,
        };
        let is_due =
            |subscriber: &Subscriber| behind(subscriber) && (subscriber.acknowledged == 0 || pushed(subscriber));
        let due: Vec<PeerId> = match only {
            Some(id) => list
                .subscribers
                .get(&id)
                .filter(|it| is_due(it))
                .map(|_| id)
                .into_iter()
                .collect(),
            None => {
                let due = list.subscribers.iter().filter(|(_, subscriber)| is_due(subscriber));
                due.map(|(id, _)| *id).collect()
            }
        };
        for id in due {
            let subscriptions = &mut self.anchor.subscriptions;
            let list = subscriptions.lists.get_mut(&key);
            let Some(subscriber) = list.and_then(|list| list.subscribers.get_mut(&id)) else {
                continue;
            };
            // Who has to get more of what it began to get need not wait.
            let waits = key.is_channel() && subscriber.acknowledged > 0 && only.is_none();
            let at = if waits { now + GATHERED } else { now };
            subscriber.under_way = Some(Retry::due(RESEND, at));
            if waits {
                subscriptions.due.insert((at, key, id));
            } else {
                self.push_to(now, key, id, out);
            }
        }
    }

    fn push_to(&mut self, now: Time, key: ListKey, id: PeerId, out: &mut Outbox) {
        let subscriptions = &mut self.anchor.subscriptions;
        let Some(list) = subscriptions.lists.get_mut(&key) else {
            return;
        };
        let sample = list.sampled.then(|| list.sample(|| self.random.next_u64()));
        let Some(subscriber) = list.subscribers.get_mut(&id) else {
            return;
        };
        let Some(retry) = &mut subscriber.under_way else { return };
        subscriptions.due.remove(&(retry.at(), key, id));
        retry.again(now);
        subscriptions.due.insert((retry.at(), key, id));
        subscriber.telling_sample = sample.is_some();
        let (from, upto, entries) = match sample {
            Some(entries) => (0, list.version, entries),
            None => {
                let from = subscriber.acknowledged;
                let changes = list.changes.range(from + 1..).take(MEMBERS_AT_ONCE);
                let changes: Vec<(u64, MemberEntry)> = changes.map(|(version, entry)| (*version, **entry)).collect();
                let last = changes.last().map_or(list.version, |(version, _)| *version);
                let more = list.changes.range(last + 1..).next().is_some();
                let upto = if more { last } else { list.version };
                (from, upto, changes.into_iter().map(|(_, entry)| entry).collect())
            }
        };
        subscriber.telling = (upto, list.present);
        let count = u32::try_from(list.present).unwrap_or(u32::MAX);
        let message = key.message(from, upto, count, entries);
        self.send_control(now, id, None, &[message], out);
    }

    /// A node has a list up to `version`.
    pub(crate) fn members_acknowledged(&mut self, now: Time, id: PeerId, key: ListKey, version: u64, out: &mut Outbox) {
        let subscriptions = &mut self.anchor.subscriptions;
        let Some(list) = subscriptions.lists.get_mut(&key) else {
            return;
        };
        let Some(subscriber) = list.subscribers.get_mut(&id) else {
            return;
        };
        // An acknowledgement that nothing waits for is an old one.
        let Some(retry) = subscriber.under_way.take() else {
            return;
        };
        subscriptions.due.remove(&(retry.at(), key, id));
        let acknowledged = list.known(version);
        if let Some(subscriber) = list.subscribers.get_mut(&id) {
            subscriber.acknowledged = acknowledged;
            // It took the message sent last only if it is where that leads: not if it had taken an earlier copy.
            if version == subscriber.telling.0 {
                subscriber.told = subscriber.telling.1;
                subscriber.has_sample = subscriber.telling_sample;
            }
        }
        list.prune();
        let sampled = list.sampled;
        self.push_list(now, key, Some(id), out);
        if !sampled {
            self.push_list(now, key, None, out);
        }
    }

    /// Sends again what was not acknowledged.
    pub(crate) fn tend_subscriptions(&mut self, now: Time, out: &mut Outbox) {
        while let Some((_, key, id)) = self
            .anchor
            .subscriptions
            .due
            .first()
            .copied()
            .filter(|(at, ..)| *at <= now)
        {
            self.push_to(now, key, id, out);
        }
    }
}

#[cfg(test)]
mod tests {
    use farlan_crypto::NodeId;

    use super::*;
    use crate::wire::{control::NodeRecord, datagram::RelayIndex};

    fn entry(number: u8, present: bool) -> (NodeId, MemberEntry) {
        let node = NodeId::from_bytes([number; 16]);
        let record = NodeRecord {
            key: [number; 32],
            home: node,
            index: RelayIndex(1),
        };
        let ipv4 = None;
        (node, MemberEntry { present, record, ipv4 })
    }

    /// Brings a list of a channel to a length.
    fn grow(list: &mut List, length: u8) {
        for number in 0..200 {
            let (node, entry) = entry(number, number < length);
            let known = list.members.get(&node).and_then(|version| list.changes.get(version));
            if entry.present != known.is_some_and(|known| known.present) {
                list.change(node, entry);
                list.review_length();
            }
        }
    }

    #[test]
    fn a_channel_gives_samples_from_145_on_and_its_list_again_from_128_on() {
        let mut list = List::new(7);
        let subscriber = |list: &mut List| {
            let known = Subscriber {
                acknowledged: list.version,
                has_sample: true,
                ..Subscriber::default()
            };
            list.subscribers.insert(PeerId::for_test(1), Box::new(known));
        };
        for (length, sampled) in [(144, false), (145, true), (129, true), (128, false), (144, false)] {
            subscriber(&mut list);
            let before = list.version;
            grow(&mut list, length);
            assert_eq!((list.present, list.sampled), (usize::from(length), sampled));
            if length == 128 {
                let had_sample = &list.subscribers[&PeerId::for_test(1)];
                assert!(!had_sample.has_sample && had_sample.acknowledged == 0);
                assert_eq!(list.known(before), 0, "what was told of a sample leads nowhere");
            }
        }
    }

    #[test]
    fn a_sample_names_sixteen_who_are_there_and_each_about_as_often() {
        let mut list = List::new(7);
        grow(&mut list, 190);
        // Every third left.
        for number in (0..190).step_by(3) {
            let (node, entry) = entry(number, false);
            list.change(node, entry);
        }
        let mut random = 1_u64;
        let mut seen = [0_u32; 256];
        for _ in 0..500 {
            let sample = list.sample(|| {
                // The constants of Knuth's MMIX.
                random = random
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                random >> 20
            });
            assert_eq!(sample.len(), SAMPLE);
            for entry in sample {
                assert!(entry.present);
                seen[usize::from(entry.record.key[0])] += 1;
            }
        }
        // 63 each are expected of those whose neighbours are there, and more of who stands behind those that left.
        let seen = (0..190).filter(|number| number % 3 != 0).map(|number| seen[number]);
        assert!(
            seen.clone().all(|seen| (20..250).contains(&seen)),
            "{:?}",
            seen.collect::<Vec<_>>()
        );
    }
}
