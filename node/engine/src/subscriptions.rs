//! The lists that a supernode keeps and pushes: of the members of networks, and of the subscribers to channels.
//!
//! Each list counts its changes. A member that is behind gets all changes since the last one it acknowledged, oldest
//! first, as many as fit one datagram, until it is up to date; an unacknowledged message is sent again. A member that
//! begins at 0 gets the whole list. Of a list that is long everybody gets a sample instead, and now and then a newcomer.
//!
//! A list keeps 32 bytes of whoever is on it, and the node's registration where on it that is. What is told of a member is made of
//! its registration when it is told.

mod list;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use farlan_netconf::DirectoryKey;
use rand_core::Rng as _;

use self::list::{List, Part, Review, Told};
use crate::{
    Engine, Outbox, Time,
    multicast::ALL,
    peers::PeerId,
    rates::{Meter, Rate},
    retry::{Retry, Schedule},
    wire::{
        control::{Audience, Control, MemberEntry, Membership, NodeRecord},
        datagram::RelayIndex,
    },
};

const RESEND: Schedule = Schedule {
    first: Duration::from_millis(700),
    steady: 4,
    longest: Duration::from_secs(8),
};

/// A change of a channel's list waits so long for others before it is told: whoever subscribes and leaves all the time wakes the
/// others four times a second at the most.
const GATHERED: Duration = Duration::from_millis(250);

/// The list of a channel that has grown beyond [`ALL`] is pushed up to this length, and then not before it has shrunk to
/// [`ALL`] again: one that comes and goes must not cost everybody a sample and a whole list in turn.
const MANY: usize = 144;

/// Members that are named to who looks for company.
const COMPANY: usize = 16;

/// The list of members, which is pushed up to [`ALL`], is pushed again from here on.
const FEW: usize = 112;

/// Members in the sample of a long list.
pub(crate) const SAMPLE: usize = 16;

/// Places of a list that are tried for a sample: some come up twice.
const SAMPLE_TRIES: usize = 4 * SAMPLE;

/// Who is on a long list is told of a newcomer once in so many seconds.
const INTRODUCTION_PAUSE: u16 = 30;

/// Introductions of all long lists together: a twentieth of a processor. When all nodes come back after a restart there would be
/// sixteen for each.
const INTRODUCTIONS: Rate = Rate::per_second(2000, Duration::from_millis(500));

/// Messages that are sent again or late in one turn.
const MESSAGES_AT_ONCE: usize = 64;

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

    /// The most that a whole list has, and that with which a crowd becomes whole again.
    fn lengths(self) -> (usize, usize) {
        match self {
            Self::Members(_) => (ALL, FEW),
            Self::Subscribers(_) => (MANY, ALL),
        }
    }
}

/// Names a list as long as it is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ListId(u32);

/// All lists of a supernode.
#[derive(Debug, Default)]
pub(crate) struct Subscriptions {
    by_key: BTreeMap<ListKey, ListId>,
    lists: Vec<Option<Box<List>>>,
    free: Vec<ListId>,
    under_way: BTreeMap<(ListId, PeerId), UnderWay>,
    /// When messages are sent again.
    due: BTreeSet<(Time, ListId, PeerId)>,
    introductions: Meter,
}

/// A message to a member that was not acknowledged yet, or waits for others.
#[derive(Debug)]
struct UnderWay {
    retry: Retry,
    /// The newcomer whom it tells of.
    newcomer: Option<PeerId>,
}

impl Subscriptions {
    pub(crate) fn len(&self) -> usize {
        self.by_key.len()
    }

    /// How many there are on a list, and some of those but one: the last who came, then others at random.
    pub(crate) fn company(&self, key: ListKey, but: PeerId, random: impl FnMut() -> u64) -> (u32, Vec<PeerId>) {
        let list = self.by_key.get(&key).and_then(|list| self.get(*list));
        let Some(list) = list else { return (0, Vec::new()) };
        let last = list.members.iter().rev().map(|member| member.id);
        let mut chosen: Vec<PeerId> = last.filter(|id| *id != but).take(COMPANY / 2).collect();
        for id in list.sample(but, random) {
            if chosen.len() < COMPANY && !chosen.contains(&id) {
                chosen.push(id);
            }
        }
        (u32::try_from(list.present()).unwrap_or(u32::MAX), chosen)
    }

    pub(crate) fn deadline(&self) -> Option<Time> {
        self.due.first().map(|(at, ..)| *at)
    }

    fn get(&self, list: ListId) -> Option<&List> {
        self.lists.get(usize::try_from(list.0).ok()?)?.as_deref()
    }

    fn get_mut(&mut self, list: ListId) -> Option<&mut List> {
        self.lists.get_mut(usize::try_from(list.0).ok()?)?.as_deref_mut()
    }

    /// The list with a key, made if there is none.
    fn open(&mut self, key: ListKey, start: u64) -> ListId {
        if let Some(id) = self.by_key.get(&key) {
            return *id;
        }
        let id = self.free.pop().unwrap_or_else(|| {
            self.lists.push(None);
            ListId(u32::try_from(self.lists.len() - 1).unwrap_or(u32::MAX))
        });
        if let Some(place) = usize::try_from(id.0).ok().and_then(|place| self.lists.get_mut(place)) {
            *place = Some(Box::new(List::new(key, start)));
        }
        self.by_key.insert(key, id);
        id
    }

    /// Forgets a list that nobody is on.
    fn close(&mut self, id: ListId) {
        let place = usize::try_from(id.0).ok().and_then(|place| self.lists.get_mut(place));
        if let Some(list) = place.and_then(Option::take) {
            self.by_key.remove(&list.key);
            self.free.push(id);
        }
    }

    /// Waits for no acknowledgement any more.
    fn settle(&mut self, list: ListId, id: PeerId) -> Option<UnderWay> {
        let under_way = self.under_way.remove(&(list, id))?;
        self.due.remove(&(under_way.retry.at(), list, id));
        Some(under_way)
    }

    fn wait(&mut self, list: ListId, id: PeerId, under_way: UnderWay) {
        self.due.insert((under_way.retry.at(), list, id));
        self.under_way.insert((list, id), under_way);
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
            self.list(now, id, key, Some(membership.version), out);
        }
    }

    /// Where a node stands on a list.
    fn place_on(&self, id: PeerId, list: ListId) -> Option<usize> {
        let listed = &self.anchor.registration(id)?.listed;
        let (_, place) = listed.iter().find(|(on, _)| *on == list)?;
        usize::try_from(*place).ok()
    }

    /// What is told of a node on a list: where it is as a member of the network.
    pub(crate) fn list_entry(&self, id: PeerId, key: ListKey) -> Option<MemberEntry> {
        self.list_entries(&[id], key).pop()
    }

    /// The same of several. What is kept of each lies elsewhere in memory, and the processor fetches it for some of them at one time
    /// where each step is made for all before the next.
    pub(crate) fn list_entries(&self, ids: &[PeerId], key: ListKey) -> Vec<MemberEntry> {
        let registered = all_of(ids, |id| Some((*id, self.anchor.registration(*id)?)));
        let members = all_of(&registered, |(id, registration)| {
            Some((*id, registration.index, registration.membership_on(key)?))
        });
        let known = all_of(&members, |(id, index, membership)| {
            Some((self.peers.get(*id)?, *index, *membership))
        });
        all_of(&known, |(peer, index, membership)| {
            Some(MemberEntry {
                present: true,
                record: self.member_record(peer, *index, Some(membership)),
                ipv4: membership.ipv4,
            })
        })
    }

    /// Puts a node on a list, as its membership says where it is, or brings its entry up to date. It has the list up to
    /// `version`; up to where it acknowledged it, if that is not told.
    pub(crate) fn list(&mut self, now: Time, id: PeerId, key: ListKey, version: Option<u64>, out: &mut Outbox) {
        let Some(entry) = self.list_entry(id, key) else { return };
        let start = self.random_u64() >> 1;
        let on = self.anchor.subscriptions.open(key, start);
        let known = self.place_on(id, on);
        let Some(list) = self.anchor.subscriptions.get_mut(on) else {
            return;
        };
        let place = match known {
            Some(place) => {
                list.update(place, &entry);
                place
            }
            None => list.come(id, &entry),
        };
        if let Some(acknowledged) = version.map(|version| list.known(version))
            && let Some(member) = list.members.get_mut(place)
        {
            member.acknowledged = acknowledged;
            member.set_knows_crowd(member.knows_crowd() && acknowledged != 0);
        }
        let review = list.review();
        if known.is_none()
            && let Some(registration) = self.anchor.registration_mut(id)
        {
            registration.listed.reserve_exact(1);
            registration.listed.push((on, u32::try_from(place).unwrap_or(u32::MAX)));
        }
        let only = (review == Review::One).then_some(id);
        self.push_list(now, on, only, out);
    }

    /// Takes a node out of lists.
    pub(crate) fn unsubscribe(&mut self, now: Time, id: PeerId, keys: &[ListKey], out: &mut Outbox) {
        for key in keys {
            if let Some(list) = self.anchor.subscriptions.by_key.get(key).copied() {
                self.leave_list(now, id, list, out);
            }
        }
    }

    /// Takes a node out of all lists that it is on.
    pub(crate) fn leave_lists(&mut self, now: Time, id: PeerId, out: &mut Outbox) {
        while let Some((list, _)) = self
            .anchor
            .registration(id)
            .and_then(|node| node.listed.last().copied())
        {
            self.leave_list(now, id, list, out);
        }
    }

    fn leave_list(&mut self, now: Time, id: PeerId, on: ListId, out: &mut Outbox) {
        let key = self.peers.get(id).map(|peer| *peer.key.as_bytes());
        let (Some(key), Some(place)) = (key, self.place_on(id, on)) else {
            return;
        };
        // Where it was is of no use any more.
        let record = NodeRecord {
            key,
            home: self.node_id,
            index: RelayIndex(0),
        };
        let anchor = &mut self.anchor;
        if let Some(registration) = anchor.registration_mut(id) {
            registration.listed.retain(|(list, _)| *list != on);
            registration.listed.shrink_to_fit();
        }
        anchor.subscriptions.settle(on, id);
        let Some(list) = anchor.subscriptions.get_mut(on) else {
            return;
        };
        let entry = MemberEntry {
            present: false,
            record,
            ipv4: None,
        };
        let moved = list.leave(place, entry);
        if list.present() == 0 {
            return anchor.subscriptions.close(on);
        }
        let review = list.review();
        list.prune();
        let moved = moved.and_then(|moved| anchor.registration_mut(moved));
        if let Some((_, at)) = moved.and_then(|moved| moved.listed.iter_mut().find(|(list, _)| *list == on)) {
            *at = u32::try_from(place).unwrap_or(u32::MAX);
        }
        if review == Review::All {
            self.push_list(now, on, None, out);
        }
    }

    /// Sends everybody on a list what he lacks, unless a message to him is under way.
    ///
    /// Longer lists than a node sends copies to are not pushed: their members are found by look-ups. Only once is everyone
    /// told that there are so many, or it would take what it has for all. Whoever has
    /// some of a channel's list is told of changes a moment later, of several at once. `only` leaves all others out.
    fn push_list(&mut self, now: Time, on: ListId, only: Option<PeerId>, out: &mut Outbox) {
        let place = only.and_then(|id| self.place_on(id, on));
        let Some(list) = self.anchor.subscriptions.get_mut(on) else {
            return;
        };
        let (key, crowd, version) = (list.key, list.crowd, list.version);
        let range = match (only, place) {
            (None, _) => 0..list.members.len(),
            (Some(_), Some(place)) => place..place + 1,
            (Some(_), None) => return,
        };
        let mut due = Vec::new();
        for member in list.members.get_mut(range).unwrap_or_default() {
            let is_behind = if crowd {
                !member.knows_crowd()
            } else {
                member.acknowledged < version
            };
            if is_behind && !member.is_under_way() {
                member.set_under_way(true);
                due.push((member.id, member.acknowledged));
            }
        }
        for (id, acknowledged) in due {
            // Who has to get more of what it began to get need not wait.
            let waits = key.is_channel() && acknowledged > 0 && only.is_none();
            let at = if waits { now + GATHERED } else { now };
            let under_way = UnderWay {
                retry: Retry::due(RESEND, at),
                newcomer: None,
            };
            self.anchor.subscriptions.wait(on, id, under_way);
            if !waits {
                self.push_to(now, on, id, out);
            }
        }
    }

    /// Sends the message to a member that is due.
    fn push_to(&mut self, now: Time, on: ListId, id: PeerId, out: &mut Outbox) {
        let place = self.place_on(id, on);
        let Some(mut under_way) = self.anchor.subscriptions.settle(on, id) else {
            return;
        };
        let list = self.anchor.subscriptions.get(on);
        let Some((list, member)) = list.and_then(|list| Some((list, list.members.get(place?)?))) else {
            return;
        };
        let (mut met, crowd, is_channel) = (Vec::new(), list.crowd, list.key.is_channel());
        let part = if !list.crowd {
            list.next_part(member.acknowledged)
        } else {
            // Who had the list of members keeps what it has of it, and is told how many there are now.
            let goes_on = member.knows_crowd() || (!is_channel && member.acknowledged > 0);
            let (from, entries) = if goes_on {
                // It may have left since.
                let newcomer = under_way
                    .newcomer
                    .filter(|newcomer| self.place_on(*newcomer, on).is_some());
                (member.acknowledged, newcomer.into_iter().collect())
            } else {
                met = list.sample(id, || self.random.next_u64());
                (0, met.clone())
            };
            Part {
                from,
                upto: list.version,
                entries: entries.into_iter().map(Told::There).collect(),
            }
        };
        let there: Vec<PeerId> = part.entries.iter().filter_map(Told::there).collect();
        let gone = part.entries.iter().filter_map(Told::gone);
        let entries = self.list_entries(&there, list.key).into_iter().chain(gone);
        let message = list.message((part.from, part.upto), entries.collect());
        under_way.retry.again(now);
        self.anchor.subscriptions.wait(on, id, under_way);
        self.send_control(now, id, None, &[message], out);
        if crowd && is_channel && !met.is_empty() && self.is_to_be_shown(id, on) {
            self.introduce(now, on, (id, &met), out);
        }
    }

    /// Whether those of a member's sample are to be told of it.
    fn is_to_be_shown(&mut self, id: PeerId, on: ListId) -> bool {
        let place = self.place_on(id, on);
        let list = self.anchor.subscriptions.get_mut(on);
        let member = list.and_then(|list| list.members.get_mut(place?));
        member.is_some_and(list::Member::show)
    }

    /// Tells those whom a newcomer was told of that it is there, if they were not told of somebody lately.
    fn introduce(&mut self, now: Time, on: ListId, (newcomer, met): (PeerId, &[PeerId]), out: &mut Outbox) {
        for id in met {
            let place = self.place_on(*id, on);
            let subscriptions = &mut self.anchor.subscriptions;
            let list = subscriptions.lists.get_mut(usize::try_from(on.0).unwrap_or(usize::MAX));
            let list = list.and_then(|list| list.as_deref_mut());
            let Some(member) = list.and_then(|list| list.members.get_mut(place?)) else {
                continue;
            };
            if subscriptions.introductions.is_spent(now, &INTRODUCTIONS) {
                return;
            }
            if !member.may_be_introduced(now, INTRODUCTION_PAUSE) {
                continue;
            }
            subscriptions.introductions.take(now, &INTRODUCTIONS, 1);
            member.set_under_way(true);
            let under_way = UnderWay {
                retry: Retry::due(RESEND, now),
                newcomer: Some(newcomer),
            };
            subscriptions.wait(on, *id, under_way);
            self.push_to(now, on, *id, out);
        }
    }

    /// A node has a list up to `version`.
    pub(crate) fn members_acknowledged(&mut self, now: Time, id: PeerId, key: ListKey, version: u64, out: &mut Outbox) {
        let Some(on) = self.anchor.subscriptions.by_key.get(&key).copied() else {
            return;
        };
        let Some(place) = self.place_on(id, on) else { return };
        // An acknowledgement that nothing waits for is an old one.
        let Some(under_way) = self.anchor.subscriptions.settle(on, id) else {
            return;
        };
        let Some(list) = self.anchor.subscriptions.get_mut(on) else {
            return;
        };
        list.acknowledged(place, version);
        let crowd = list.crowd;
        let member = list.members.get_mut(place);
        if let Some(member) = member.filter(|member| crowd && !member.knows_crowd()) {
            // It comes again when it would have without an answer, and no sooner: who answers wrongly gets no more for that.
            member.set_under_way(true);
            return self.anchor.subscriptions.wait(on, id, under_way);
        }
        list.prune();
        self.push_list(now, on, Some(id), out);
        if !crowd {
            self.push_list(now, on, None, out);
        }
    }

    /// Sends again what was not acknowledged.
    pub(crate) fn tend_subscriptions(&mut self, now: Time, out: &mut Outbox) {
        for _ in 0..MESSAGES_AT_ONCE {
            let due = self.anchor.subscriptions.due.first().copied();
            let Some((_, list, id)) = due.filter(|(at, ..)| *at <= now) else {
                return;
            };
            self.push_to(now, list, id, out);
        }
    }
}

/// What a step makes of each of several; the place it stands in is as large from the start as it can have to be.
fn all_of<A, B>(several: &[A], step: impl FnMut(&A) -> Option<B>) -> Vec<B> {
    let mut made = Vec::with_capacity(several.len());
    made.extend(several.iter().filter_map(step));
    made
}
