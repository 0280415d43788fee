//! The lists of members that a supernode keeps and pushes.
//!
//! Each list counts its changes. A member that is behind gets all changes since the last one it acknowledged, oldest
//! first, as many as fit one datagram, until it is up to date; an unacknowledged message is sent again. A member that
//! begins at 0 gets the whole list.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use farlan_crypto::NodeId;
use farlan_netconf::DirectoryKey;

use crate::{
    Engine, Outbox, Time,
    multicast::ALL,
    peers::PeerId,
    retry::{Retry, Schedule},
    wire::control::{Control, MEMBERS_AT_ONCE, MemberEntry, Membership},
};

const RESEND: Schedule = Schedule {
    first: Duration::from_millis(700),
    steady: 4,
    longest: Duration::from_secs(8),
};

/// Entries of members that left are kept until everybody has heard of them, or until there are so many more than members.
const GONE_KEPT: usize = 64;

/// All lists of a supernode.
#[derive(Debug, Default)]
pub(crate) struct Subscriptions {
    lists: BTreeMap<DirectoryKey, List>,
    /// When messages are sent again.
    due: BTreeSet<(Time, DirectoryKey, PeerId)>,
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
}

impl List {
    fn new(start: u64) -> Self {
        Self {
            version: start,
            floor: start + 1,
            changes: BTreeMap::new(),
            members: BTreeMap::new(),
            present: 0,
            subscribers: BTreeMap::new(),
        }
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
        let left: Vec<Membership> = before
            .iter()
            .filter(|old| !memberships.iter().any(|new| new.member_key == old.member_key))
            .copied()
            .collect();
        self.unsubscribe(now, id, &left, out);
        let Some(node) = self.peers.get(id).map(|peer| peer.key.node_id()) else {
            return;
        };
        for membership in memberships {
            let Some(record) = self.member_record(id, Some(membership)) else {
                return;
            };
            let start = self.random_u64() >> 1;
            let lists = &mut self.anchor.subscriptions.lists;
            let list = lists.entry(membership.member_key).or_insert_with(|| List::new(start));
            let entry = MemberEntry {
                present: true,
                record,
                ipv4: membership.ipv4,
            };
            let known = list.members.get(&node).and_then(|version| list.changes.get(version));
            let known = known.is_some_and(|known| **known == entry);
            if !known {
                list.change(node, entry);
            }
            let acknowledged = list.known(membership.version);
            list.subscribers.entry(id).or_default().acknowledged = acknowledged;
            self.push_list(now, membership.member_key, out);
        }
    }

    /// Takes a node out of lists.
    pub(crate) fn unsubscribe(&mut self, now: Time, id: PeerId, memberships: &[Membership], out: &mut Outbox) {
        let Some(node) = self.peers.get(id).map(|peer| peer.key.node_id()) else {
            return;
        };
        for membership in memberships {
            let key = membership.member_key;
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
                list.prune();
                self.push_list(now, key, out);
            }
        }
    }

    /// Sends every subscriber of a list what it lacks, unless a message to it is under way.
    ///
    /// Longer lists than a node sends copies to are not pushed: their members are found by look-ups. Only once is everyone
    /// told that there are so many, or it would take what it has for all.
    fn push_list(&mut self, now: Time, key: DirectoryKey, out: &mut Outbox) {
        let Some(list) = self.anchor.subscriptions.lists.get_mut(&key) else {
            return;
        };
        let behind = |subscriber: &Subscriber| subscriber.under_way.is_none() && subscriber.acknowledged < list.version;
        let many = list.present > ALL;
        let due: Vec<PeerId> = list
            .subscribers
            .iter()
            .filter(|(_, subscriber)| behind(subscriber))
            .filter(|(_, subscriber)| !many || subscriber.acknowledged == 0 || subscriber.told <= ALL)
            .map(|(id, _)| *id)
            .collect();
        for id in due {
            let subscriber = self
                .anchor
                .subscriptions
                .lists
                .get_mut(&key)
                .and_then(|list| list.subscribers.get_mut(&id));
            if let Some(subscriber) = subscriber {
                subscriber.under_way = Some(Retry::due(RESEND, now));
                self.push_to(now, key, id, out);
            }
        }
    }

    fn push_to(&mut self, now: Time, key: DirectoryKey, id: PeerId, out: &mut Outbox) {
        let subscriptions = &mut self.anchor.subscriptions;
        let Some(list) = subscriptions.lists.get_mut(&key) else {
            return;
        };
        let Some(subscriber) = list.subscribers.get_mut(&id) else {
            return;
        };
        let Some(retry) = &mut subscriber.under_way else { return };
        subscriptions.due.remove(&(retry.at(), key, id));
        retry.again(now);
        subscriptions.due.insert((retry.at(), key, id));
        let from = subscriber.acknowledged;
        let changes: Vec<(u64, MemberEntry)> = list
            .changes
            .range(from + 1..)
            .take(MEMBERS_AT_ONCE)
            .map(|(version, entry)| (*version, **entry))
            .collect();
        let last = changes.last().map_or(list.version, |(version, _)| *version);
        let more = list.changes.range(last + 1..).next().is_some();
        let upto = if more { last } else { list.version };
        subscriber.telling = (upto, list.present);
        let count = u32::try_from(list.present).unwrap_or(u32::MAX);
        let entries = changes.into_iter().map(|(_, entry)| entry).collect();
        let message = Control::Members {
            member_key: key,
            from,
            upto,
            count,
            entries,
        };
        self.send_control(now, id, None, &[message], out);
    }

    /// A node has a list up to `version`.
    pub(crate) fn members_acknowledged(
        &mut self,
        now: Time,
        id: PeerId,
        key: DirectoryKey,
        version: u64,
        out: &mut Outbox,
    ) {
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
            }
        }
        list.prune();
        self.push_list(now, key, out);
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
