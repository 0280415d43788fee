//! Whom a node has to do with.

use std::{collections::VecDeque, time::Duration};

use farlan_crypto::NodeId;

use crate::{
    Acknowledged, Time,
    choices::Pinned,
    heard::Heard,
    late::Late,
    links::Links,
    nearest::{MAX_ACTIVE, MAX_RECENT},
    score::decayed,
};

/// Contacts that are kept; the one with the lowest score gives way, and is told. It bounds for how many a member that all have to
/// do with sends broadcasts on.
const MAX_CONTACTS: usize = 256;

/// Nodes to or from which frames went one way so far.
const MAX_ONE_WAY: usize = 64;

/// Frames count as going both ways if they are no further apart, and once in that time.
const TOGETHER: Duration = Duration::from_secs(1);

/// A contact is active for so long.
pub(crate) const ACTIVE: Duration = Duration::from_secs(30);

/// A contact is dropped after so long.
pub(crate) const KEPT: Duration = Duration::from_secs(600);

/// Farewells that wait.
const MAX_FAREWELLS: usize = 64;

/// No more than one in this time.
const FAREWELL_EVERY: Duration = Duration::from_secs(1);

/// A contact is told the own need no more often.
const HINT_EVERY: Duration = Duration::from_secs(10);

/// A score of one, in the fixed-point arithmetic of scores.
const ONE: u32 = 1 << 16;

/// The members that a node has to do with: see the words in the [crate]'s documentation.
#[derive(Debug)]
pub struct Contacts {
    pub(crate) own: NodeId,
    /// In the order of their ids.
    pub(crate) contacts: Vec<Contact>,
    pub(crate) one_way: VecDeque<OneWay>,
    pub(crate) heard: Heard,
    pub(crate) bootstrap: Links,
    pub(crate) long_links: Links,
    pub(crate) pinned: Vec<Pinned>,
    pub(crate) muted: Vec<NodeId>,
    farewells: VecDeque<NodeId>,
    next_farewell: Time,
}

/// A member with whom frames went both ways.
#[derive(Clone, Debug)]
pub(crate) struct Contact {
    pub(crate) node: NodeId,
    /// The score at the moment [`Self::both`].
    score: u32,
    /// When frames last went both ways, as far as that was counted.
    pub(crate) both: Time,
    sent: Time,
    received: Time,
    answered: Time,
    late: Late,
    /// When it was told the own need, and what it was told.
    told: Option<(Time, u8)>,
    pub(crate) need: Option<u8>,
    pub(crate) dead: bool,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct OneWay {
    node: NodeId,
    at: Time,
    sent: bool,
}

impl Contact {
    pub(crate) fn score(&self, now: Time) -> u32 {
        decayed(self.score, now.since(self.both))
    }

    /// The score in whole seconds.
    pub(crate) fn seconds(&self, now: Time) -> u32 {
        (self.score(now) + ONE / 2) / ONE
    }

    pub(crate) fn age(&self, now: Time) -> Duration {
        now.since(self.both)
    }

    /// A frame goes one way.
    fn note(&mut self, now: Time, sent: bool) {
        let other = if sent {
            self.sent = now;
            self.received
        } else {
            self.received = now;
            self.dead = false;
            self.sent
        };
        if now.since(other) <= TOGETHER && now.since(self.both) >= TOGETHER {
            self.score = self.score(now).saturating_add(ONE);
            self.both = now;
        }
    }
}

impl Contacts {
    pub(crate) fn new(own: NodeId) -> Self {
        Self {
            own,
            contacts: Vec::new(),
            one_way: VecDeque::new(),
            heard: Heard::default(),
            bootstrap: Links::default(),
            long_links: Links::default(),
            pinned: Vec::new(),
            muted: Vec::new(),
            farewells: VecDeque::new(),
            next_farewell: Time::ZERO,
        }
    }

    /// A unicast IP frame of this machine went to a node. Telling that more often than ten times a second changes nothing.
    pub fn sent(&mut self, now: Time, node: &NodeId) {
        self.note(now, node, true);
    }

    /// A unicast IP frame came from a node, and was let in. Telling that more often than ten times a second changes nothing.
    pub fn received(&mut self, now: Time, node: &NodeId) {
        self.revive_pinned(node);
        self.note(now, node, false);
    }

    fn note(&mut self, now: Time, node: &NodeId, sent: bool) {
        if let Some(contact) = self.find_mut(node) {
            contact.note(now, sent);
            return;
        }
        if *node == self.own {
            return;
        }
        let known = self.one_way.iter().position(|one| one.node == *node);
        let before = known.and_then(|place| self.one_way.get_mut(place));
        match before {
            Some(before) if before.sent != sent && now.since(before.at) <= TOGETHER => {
                let (sent, received) = if sent { (now, before.at) } else { (before.at, now) };
                let contact = Contact {
                    node: *node,
                    score: ONE,
                    both: now,
                    sent,
                    received,
                    answered: Time::ZERO,
                    late: Late::default(),
                    told: None,
                    need: None,
                    dead: false,
                };
                self.one_way.retain(|one| one.node != *node);
                self.admit(now, contact);
            }
            Some(before) => {
                *before = OneWay {
                    node: *node,
                    at: now,
                    sent,
                }
            }
            None => self.note_one_way(OneWay {
                node: *node,
                at: now,
                sent,
            }),
        }
    }

    /// Those that only send give way before those that were sent something: anybody may send.
    fn note_one_way(&mut self, one: OneWay) {
        if self.one_way.len() >= MAX_ONE_WAY {
            let oldest_received = self.one_way.iter().position(|one| !one.sent);
            self.one_way.remove(oldest_received.unwrap_or(0));
        }
        self.one_way.push_back(one);
    }

    /// Where there is no room, whoever has the lowest score goes, and is told: it may be the new one.
    fn admit(&mut self, now: Time, contact: Contact) {
        self.contacts.retain(|contact| contact.age(now) < KEPT);
        if self.contacts.len() >= MAX_CONTACTS {
            let lowest = self.contacts.iter().enumerate();
            let lowest = lowest.min_by_key(|(_, contact)| (contact.score(now), contact.both));
            let Some((place, score)) = lowest.map(|(place, lowest)| (place, lowest.score(now))) else {
                return;
            };
            let gone = if score <= contact.score {
                self.contacts.remove(place).node
            } else {
                contact.node
            };
            if self.farewells.len() < MAX_FAREWELLS && !self.farewells.contains(&gone) {
                self.farewells.push_back(gone);
            }
            if gone == contact.node {
                return;
            }
        }
        self.farewells.retain(|gone| *gone != contact.node);
        if let Err(place) = self.place(&contact.node) {
            self.contacts.insert(place, contact);
        }
    }

    fn place(&self, node: &NodeId) -> Result<usize, usize> {
        self.contacts.binary_search_by(|contact| contact.node.cmp(node))
    }

    pub(crate) fn find(&self, node: &NodeId) -> Option<&Contact> {
        self.contacts.get(self.place(node).ok()?)
    }

    pub(crate) fn find_mut(&mut self, node: &NodeId) -> Option<&mut Contact> {
        let place = self.place(node).ok()?;
        self.contacts.get_mut(place)
    }

    /// How many deliveries this node could make use of: those to its active contacts, 64 at the most, and to recent ones, 16.
    #[must_use]
    pub fn need(&self, now: Time) -> u8 {
        let alive = self.contacts.iter().filter(|contact| !contact.dead);
        let (mut active, mut recent) = (0_usize, 0_usize);
        for age in alive.map(|contact| contact.age(now)) {
            active += usize::from(age < ACTIVE);
            recent += usize::from((ACTIVE..KEPT).contains(&age));
        }
        u8::try_from(active.min(MAX_ACTIVE) + recent.min(MAX_RECENT)).unwrap_or(u8::MAX)
    }

    /// What a node said it could make use of.
    pub fn set_need(&mut self, node: &NodeId, need: u8) {
        if let Some(contact) = self.find_mut(node) {
            contact.need = Some(need);
        }
        self.heard.set_need(node, need);
        for links in [&mut self.bootstrap, &mut self.long_links] {
            for link in links.nodes.iter_mut().filter(|(link, _)| link == node) {
                link.1 = Some(need);
            }
        }
    }

    /// The active contacts that are to be told the own need now, and that: those that were told nothing yet, and if it changed by
    /// more than a quarter and by more than 2, the others. It is told each of them every 10 s at the most. To be asked once a second
    /// or so.
    pub fn hints_due(&mut self, now: Time) -> (u8, Vec<NodeId>) {
        let need = self.need(now);
        let mut due = Vec::new();
        for contact in &mut self.contacts {
            let changed = contact
                .told
                .is_none_or(|(at, told)| now.since(at) >= HINT_EVERY && need.abs_diff(told) > (told / 4).max(2));
            if changed && !contact.dead && contact.age(now) < ACTIVE {
                contact.told = Some((now, need));
                due.push(contact.node);
            }
        }
        (need, due)
    }

    /// A node that is to be told that it is no contact here any more: one a second at the most. To be asked once a second or so.
    pub fn take_farewell(&mut self, now: Time) -> Option<NodeId> {
        if now < self.next_farewell {
            return None;
        }
        let gone = self.farewells.pop_front()?;
        self.next_farewell = now + FAREWELL_EVERY;
        Some(gone)
    }

    /// A node said that this one is no contact there any more.
    pub fn bye(&mut self, node: &NodeId) {
        if let Ok(place) = self.place(node) {
            self.contacts.remove(place);
        }
    }

    /// A node does not answer: it gets nothing before something comes from it.
    pub fn dead(&mut self, node: &NodeId) {
        if let Some(contact) = self.find_mut(node) {
            contact.dead = true;
        }
        for pinned in self.pinned.iter_mut().filter(|pinned| pinned.node == *node) {
            pinned.dead = true;
        }
        self.drop_links(node);
    }

    /// A node acknowledged something, so that it is there. Only what was under way is an answer.
    pub(crate) fn answered(&mut self, now: Time, node: &NodeId, acknowledged: Acknowledged) {
        self.revive_pinned(node);
        if let Some(contact) = self.find_mut(node) {
            contact.dead = false;
            if acknowledged.copies > 0 {
                contact.answered = now;
            }
            if let Some(late) = acknowledged.late {
                contact.late.measured(now, late);
            }
        }
    }

    /// A copy was sent to a node again; so late would it be if it needed twice the pause before.
    pub(crate) fn waited(&mut self, now: Time, node: &NodeId, doubled: Duration) {
        if let Some(contact) = self.find_mut(node) {
            contact.late.waited(now, doubled);
        }
    }

    /// How much longer than is reckoned with a node's acknowledgements are to be waited for.
    pub(crate) fn late(&self, now: Time, node: &NodeId) -> Duration {
        self.find(node).map_or(Duration::ZERO, |contact| contact.late.at(now))
    }

    /// A node acknowledged no try of a copy that was under way since then. It is dead if it acknowledged nothing else meanwhile.
    pub(crate) fn missed(&mut self, node: &NodeId, since: Time) {
        if self.find(node).is_none_or(|contact| contact.answered < since) {
            self.dead(node);
        }
    }

    /// Something came from a node: it is there.
    pub(crate) fn revive(&mut self, node: &NodeId) {
        self.revive_pinned(node);
        if let Some(contact) = self.find_mut(node) {
            contact.dead = false;
        }
    }

    /// Whether there is an active contact.
    #[must_use]
    pub fn has_active(&self, now: Time) -> bool {
        self.contacts.iter().any(|contact| contact.age(now) < ACTIVE)
    }

    fn revive_pinned(&mut self, node: &NodeId) {
        for pinned in self.pinned.iter_mut().filter(|pinned| pinned.node == *node) {
            pinned.dead = false;
        }
    }

    /// A node is no member any more.
    pub fn forget(&mut self, node: &NodeId) {
        self.bye(node);
        self.drop_links(node);
        self.one_way.retain(|one| one.node != *node);
        self.farewells.retain(|gone| gone != node);
    }

    fn drop_links(&mut self, node: &NodeId) {
        self.heard.forget(node);
        for links in [&mut self.bootstrap, &mut self.long_links] {
            links.nodes.retain(|(link, _)| link != node);
        }
    }

    /// Whether a node is an active contact, or pinned.
    #[must_use]
    pub fn is_active(&self, now: Time, node: &NodeId) -> bool {
        let active = |contact: &Contact| contact.age(now) < ACTIVE;
        self.find(node).is_some_and(active) || self.is_pinned(node)
    }

    /// All that are contacts or pinned, in the order of their ids.
    pub(crate) fn all(&self, now: Time) -> Vec<NodeId> {
        let contacts = self.contacts.iter().filter(|contact| contact.age(now) < KEPT);
        let mut all: Vec<_> = contacts.map(|contact| contact.node).collect();
        all.extend(self.pinned.iter().map(|pinned| pinned.node));
        all.sort();
        all.dedup();
        all
    }

    pub(crate) fn is_dead(&self, node: &NodeId) -> bool {
        let pinned = self.pinned.iter().any(|pinned| pinned.node == *node && pinned.dead);
        pinned || self.find(node).is_some_and(|contact| contact.dead)
    }

    #[cfg(test)]
    pub(crate) fn bytes(&self) -> usize {
        self.contacts.capacity() * size_of::<Contact>()
            + self.one_way.capacity() * size_of::<OneWay>()
            + self.pinned.capacity() * size_of::<Pinned>()
            + (self.muted.capacity() + self.farewells.capacity()) * size_of::<NodeId>()
            + self.bootstrap.bytes()
            + self.long_links.bytes()
            + self.heard.bytes()
    }

    #[cfg(test)]
    pub(crate) const fn most_bytes() -> usize {
        MAX_CONTACTS * size_of::<Contact>()
            + MAX_ONE_WAY * size_of::<OneWay>()
            + crate::choices::MAX_CHOSEN * (size_of::<Pinned>() + size_of::<NodeId>())
            + MAX_FAREWELLS * size_of::<NodeId>()
            + 2 * Links::MOST_BYTES
            + Heard::MOST_BYTES
    }
}
