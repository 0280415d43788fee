//! One list: who is on it, and what each of them was told.
//!
//! A list is **whole** as long as it is short: its changes are numbered and told. A longer one is a **crowd**: of it are kept who
//! is on it and how many those are, and what it costs to come, to leave and to be told does not depend on how many there are.

use crate::{
    Time,
    peers::PeerId,
    wire::control::{Control, MEMBERS_AT_ONCE, MemberEntry},
};

use super::{ListKey, SAMPLE, SAMPLE_TRIES};

/// Entries of members that left are kept until everybody has heard of them, or until there are so many more than members.
const GONE_KEPT: usize = 64;

/// A list. Its members stand in no order: whoever leaves is replaced by the last one.
#[derive(Debug)]
pub(super) struct List {
    pub(super) key: ListKey,
    /// The number of the latest change. The first of a list is random, so that a number of another time, as before this
    /// supernode restarted, is not taken for one of this list.
    pub(super) version: u64,
    /// Who knows the list up to a change before this one needs it whole.
    floor: u64,
    pub(super) members: Vec<Member>,
    /// Those who left a whole list, the first one first.
    gone: Vec<Gone>,
    /// It is too long to be pushed.
    pub(super) crowd: bool,
    /// The number of the change by which it became so: whoever acknowledges a later one was told that it is.
    crowd_since: u64,
}

/// Who is on a list. There are eight million of these where a million nodes have all the channels they may have.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) id: PeerId,
    /// The number of its latest change, in a whole list.
    change: u64,
    pub(super) acknowledged: u64,
    /// By which a change of its entry is told.
    mark: u32,
    flags: u16,
    /// When it was last told of a newcomer, in seconds: [`Member::may_be_introduced`].
    introduced: u16,
}

const _: () = assert!(size_of::<Member>() == 32);

/// It was told that the list is a crowd.
const TOLD_CROWD: u16 = 1;
/// A message to it is under way.
const UNDER_WAY: u16 = 2;
/// Those of its sample were told of it.
const SHOWN: u16 = 4;

/// Who left.
#[derive(Debug)]
struct Gone {
    change: u64,
    entry: MemberEntry,
}

/// What is told at once.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) from: u64,
    pub(super) upto: u64,
    pub(super) entries: Vec<Told>,
}

/// An entry of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    There(PeerId),
    Gone(MemberEntry),
}

impl Told {
    /// Who is there.
    pub(super) fn there(&self) -> Option<PeerId> {
        match self {
            Self::There(id) => Some(*id),
            Self::Gone(_) => None,
        }
    }

    /// The entry of who is gone.
    pub(super) fn gone(&self) -> Option<MemberEntry> {
        match self {
            Self::There(_) => None,
            Self::Gone(entry) => Some(*entry),
        }
    }
}

/// What came of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Review {
    /// All have to be told, whom it concerns.
    All,
    /// It is a crowd, as before: only who changed something is told anything.
    One,
}

impl Member {
    fn set(&mut self, flag: u16, on: bool) {
        if on {
            self.flags |= flag;
        } else {
            self.flags &= !flag;
        }
    }

    pub(super) fn knows_crowd(&self) -> bool {
        self.flags & TOLD_CROWD != 0
    }

    pub(super) fn set_knows_crowd(&mut self, knows: bool) {
        self.set(TOLD_CROWD, knows);
    }

    /// Whether those of its sample are to be told of it, which they are once.
    pub(super) fn show(&mut self) -> bool {
        let first = self.flags & SHOWN == 0;
        self.set(SHOWN, true);
        first
    }

    pub(super) fn is_under_way(&self) -> bool {
        self.flags & UNDER_WAY != 0
    }

    pub(super) fn set_under_way(&mut self, under_way: bool) {
        self.set(UNDER_WAY, under_way);
    }

    /// Whether it may be told of a newcomer, `pause` seconds after the last one at the soonest. What is kept of the time tells 18
    /// hours: once in them a newcomer too few may be told of.
    pub(super) fn may_be_introduced(&mut self, now: Time, pause: u16) -> bool {
        let seconds = u16::try_from(now.since(Time::ZERO).as_secs() % u64::from(u16::MAX)).unwrap_or_default() + 1;
        let may = self.introduced == 0 || seconds.abs_diff(self.introduced) >= pause;
        if may && self.knows_crowd() && !self.is_under_way() {
            self.introduced = seconds;
            return true;
        }
        false
    }
}

impl List {
    pub(super) fn new(key: ListKey, start: u64) -> Self {
        Self {
            key,
            version: start,
            floor: start + 1,
            members: Vec::new(),
            gone: Vec::new(),
            crowd: false,
            crowd_since: 0,
        }
    }

    pub(super) fn present(&self) -> usize {
        self.members.len()
    }

    /// A node comes; returns where it stands.
    pub(super) fn come(&mut self, id: PeerId, entry: &MemberEntry) -> usize {
        self.gone.retain(|gone| gone.entry.record.key != entry.record.key);
        self.version += 1;
        // Where there are many, half as many again would be a waste.
        if self.members.len() == self.members.capacity() {
            self.members.reserve_exact((self.members.len() / 8).max(2));
        }
        self.members.push(Member {
            id,
            change: self.version,
            acknowledged: 0,
            mark: mark(entry),
            flags: 0,
            introduced: 0,
        });
        self.members.len() - 1
    }

    /// What is told of a member may have changed.
    pub(super) fn update(&mut self, place: usize, entry: &MemberEntry) {
        let Some(member) = self.members.get_mut(place) else {
            return;
        };
        if member.mark != mark(entry) {
            self.version += 1;
            member.mark = mark(entry);
            member.change = self.version;
        }
    }

    /// A member leaves; `entry` tells the others. Returns who stands in its place now.
    pub(super) fn leave(&mut self, place: usize, entry: MemberEntry) -> Option<PeerId> {
        self.members.swap_remove(place);
        self.version += 1;
        if !self.crowd {
            let change = self.version;
            self.gone.push(Gone { change, entry });
        }
        if self.members.capacity() > 64 + 2 * self.members.len() {
            self.members.shrink_to(self.members.len() + 16);
        }
        self.members.get(place).map(|moved| moved.id)
    }

    /// After a change: begins or ends to be a crowd, as its length says. At the end it is numbered anew: what is known of a crowd is
    /// not the list, and everybody gets it whole.
    pub(super) fn review(&mut self) -> Review {
        let was = self.crowd;
        let (longest, shortest) = self.key.lengths();
        self.crowd = self.present() > if was { shortest } else { longest };
        match (was, self.crowd) {
            (true, true) => return Review::One,
            (false, true) => {
                self.gone = Vec::new();
                self.crowd_since = self.version;
                for member in &mut self.members {
                    member.set_knows_crowd(false);
                }
            }
            (true, false) => {
                self.floor = self.version + 1;
                for member in &mut self.members {
                    self.version += 1;
                    member.change = self.version;
                    member.acknowledged = 0;
                    member.set_knows_crowd(false);
                }
            }
            (false, false) => {}
        }
        Review::All
    }

    /// Where a node that knows the list up to `version` goes on: there, or at the beginning.
    pub(super) fn known(&self, version: u64) -> u64 {
        if (self.floor..=self.version).contains(&version) {
            version
        } else {
            0
        }
    }

    /// A member has the list up to a change, or none of it. Whichever message it was that told it that this is a crowd: where the
    /// answers come late, each copy told another change.
    pub(super) fn acknowledged(&mut self, place: usize, version: u64) {
        let version = self.known(version);
        let told = self.crowd && version >= self.crowd_since;
        if let Some(member) = self.members.get_mut(place) {
            // Nobody is told again and again by saying that he was not.
            let knows_crowd = told || self.crowd && member.knows_crowd();
            member.set_under_way(false);
            member.acknowledged = version;
            member.set_knows_crowd(knows_crowd);
        }
    }

    /// What a member of a whole list is told next.
    pub(super) fn next_part(&self, from: u64) -> Part {
        let there = self
            .members
            .iter()
            .map(|member| (member.change, Told::There(member.id)));
        let gone = self.gone.iter().map(|gone| (gone.change, Told::Gone(gone.entry)));
        let mut changes: Vec<(u64, Told)> = there.chain(gone).filter(|(change, _)| *change > from).collect();
        changes.sort_unstable_by_key(|(change, _)| *change);
        let upto = match changes.get(MEMBERS_AT_ONCE - 1) {
            Some((last, _)) if changes.len() > MEMBERS_AT_ONCE => *last,
            _ => self.version,
        };
        changes.truncate(MEMBERS_AT_ONCE);
        let entries = changes.into_iter().map(|(_, told)| told).collect();
        Part { from, upto, entries }
    }

    /// Up to [`SAMPLE`] of those present but one, each as likely as any other.
    pub(super) fn sample(&self, but: PeerId, mut random: impl FnMut() -> u64) -> Vec<PeerId> {
        let length = u64::try_from(self.members.len()).unwrap_or(u64::MAX).max(1);
        let mut chosen = Vec::with_capacity(SAMPLE);
        for _ in 0..SAMPLE_TRIES {
            let place = usize::try_from(random() % length).unwrap_or_default();
            if let Some(member) = self.members.get(place)
                && member.id != but
                && !chosen.contains(&member.id)
            {
                chosen.push(member.id);
            }
            if chosen.len() >= SAMPLE {
                break;
            }
        }
        chosen
    }

    /// Forgets members that left and that everybody knows to have left; if there are too many others, those who have not
    /// heard of them get the whole list again.
    pub(super) fn prune(&mut self) {
        let Some(first) = self.gone.first() else { return };
        let too_many = self.gone.len() > self.present() + GONE_KEPT;
        let heard = self.members.iter().map(|member| member.acknowledged).min();
        let heard = heard.unwrap_or(self.version);
        if !too_many && first.change > heard {
            return;
        }
        let forgotten = self.gone.iter().filter(|gone| too_many || gone.change <= heard).count();
        let Some(last) = forgotten.checked_sub(1).and_then(|last| self.gone.get(last)) else {
            return;
        };
        let last = last.change;
        self.gone.drain(..forgotten);
        self.floor = self.floor.max(last);
        for member in &mut self.members {
            if member.acknowledged < last {
                member.acknowledged = 0;
            }
        }
    }

    /// A message about the list.
    pub(super) fn message(&self, (from, upto): (u64, u64), entries: Vec<MemberEntry>) -> Control {
        let count = u32::try_from(self.present()).unwrap_or(u32::MAX);
        self.key.message(from, upto, count, entries)
    }
}

/// What an entry says, in 32 bits: FNV-1a. That a change of it does not show there happens to a node once in four billion, and it
/// is found by look-ups then.
fn mark(entry: &MemberEntry) -> u32 {
    let home = entry.record.home.as_bytes().iter();
    let index = entry.record.index.0.to_be_bytes();
    let ipv4 = entry.ipv4.map_or([0; 4], |ipv4| ipv4.octets());
    let bytes = home.chain(&index).chain(&ipv4);
    bytes.fold(0x811c_9dc5, |mark, byte| {
        (mark ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use farlan_crypto::NodeId;
    use farlan_netconf::DirectoryKey;

    use super::*;
    use crate::wire::{control::NodeRecord, datagram::RelayIndex};

    fn entry(number: u64, present: bool) -> MemberEntry {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&number.to_be_bytes());
        let record = NodeRecord {
            key,
            home: NodeId::from_bytes([1; 16]),
            index: RelayIndex(u32::try_from(number).unwrap() + 1),
        };
        let ipv4 = None;
        MemberEntry { present, record, ipv4 }
    }

    fn channel() -> List {
        List::new(ListKey::Subscribers(DirectoryKey::from_bytes([1; 16])), 7)
    }

    /// Brings a list to a length.
    fn grow(list: &mut List, length: usize) {
        let length = u64::try_from(length).unwrap();
        while list.present() as u64 > length {
            let place = list.present() - 1;
            let number = list.members[place].id.number();
            list.leave(place, entry(number, false));
            list.review();
        }
        while (list.present() as u64) < length {
            let number = list.present() as u64;
            list.come(PeerId::for_test(number), &entry(number, true));
            list.review();
        }
    }

    #[test]
    fn a_channel_is_a_crowd_from_145_on_and_whole_again_from_128_on() {
        let mut list = channel();
        for (length, crowd) in [(144, false), (145, true), (129, true), (128, false), (144, false)] {
            if let Some(first) = list.members.first_mut() {
                first.acknowledged = list.version;
                first.set_knows_crowd(true);
            }
            let before = list.version;
            grow(&mut list, length);
            assert_eq!((list.present(), list.crowd), (length, crowd));
            if length == 128 {
                let had_sample = &list.members[0];
                assert!(!had_sample.knows_crowd() && had_sample.acknowledged == 0);
                assert_eq!(list.known(before), 0, "what was told of a sample leads nowhere");
                let mut changes: Vec<u64> = list.members.iter().map(|member| member.change).collect();
                changes.sort_unstable();
                assert!(changes.is_sorted_by(|one, next| one < next) && changes[0] >= list.floor);
            }
        }
    }

    #[test]
    fn members_are_a_crowd_from_129_on_and_whole_again_from_112_on() {
        let mut list = List::new(ListKey::Members(DirectoryKey::from_bytes([1; 16])), 7);
        for (length, crowd) in [(128, false), (129, true), (113, true), (112, false), (128, false)] {
            grow(&mut list, length);
            assert_eq!(list.crowd, crowd, "{length}");
        }
    }

    #[test]
    fn a_whole_list_is_told_in_parts_by_the_order_of_its_changes() {
        let mut list = channel();
        grow(&mut list, 30);
        list.leave(3, entry(3, false));
        list.update(5, &entry(77, true));
        let (mut from, mut told) = (0, Vec::new());
        while from < list.version {
            let part = list.next_part(from);
            assert!(part.from == from && part.upto > from && part.entries.len() <= MEMBERS_AT_ONCE);
            from = part.upto;
            told.extend(part.entries);
        }
        assert_eq!(told.len(), 30);
        assert_eq!(told[28], Told::Gone(entry(3, false)));
        assert_eq!(told[29], Told::There(PeerId::for_test(5)));
        assert_eq!(list.next_part(list.version).entries, []);
    }

    #[test]
    fn who_left_is_forgotten_when_all_know_or_when_there_are_too_many() {
        let mut list = channel();
        grow(&mut list, 10);
        list.leave(9, entry(9, false));
        list.members
            .iter_mut()
            .skip(1)
            .for_each(|member| member.acknowledged = list.version);
        list.prune();
        assert_eq!(list.gone.len(), 1);
        list.members[0].acknowledged = list.version;
        list.prune();
        assert_eq!(list.gone.len(), 0);
        for number in 100..100 + 9 + GONE_KEPT as u64 + 1 {
            let place = list.come(PeerId::for_test(number), &entry(number, true));
            list.leave(place, entry(number, false));
            list.prune();
        }
        assert!(list.gone.len() <= list.present() + GONE_KEPT);
        assert!(list.members.iter().all(|member| member.acknowledged == 0));
    }

    #[test]
    fn a_sample_names_sixteen_others_and_each_as_often() {
        let mut list = channel();
        grow(&mut list, 160);
        let mut random = 1_u64;
        let mut seen = [0_u32; 160];
        let own = PeerId::for_test(159);
        for _ in 0..1000 {
            let sample = list.sample(own, || {
                // The constants of Knuth's MMIX.
                random = random
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                random >> 20
            });
            assert_eq!(sample.len(), SAMPLE);
            for id in sample {
                seen[usize::try_from(id.number()).unwrap()] += 1;
            }
        }
        assert_eq!(seen[159], 0);
        assert!(seen[..159].iter().all(|seen| (60..145).contains(seen)), "{seen:?}");
    }

    #[test]
    fn any_copy_of_a_sample_tells_that_there_is_a_crowd_and_what_was_told_before_does_not() {
        let mut list = channel();
        grow(&mut list, 144);
        let whole = list.version;
        grow(&mut list, 150);
        let sample = list.version;
        grow(&mut list, 160);
        for (version, knows) in [
            (whole, false),
            (0, false),
            (list.version + 1, false),
            (sample, true),
            (list.version, true),
            (0, true),
        ] {
            list.acknowledged(3, version);
            assert_eq!(list.members[3].knows_crowd(), knows, "{version}");
        }
    }

    #[test]
    fn a_member_is_told_of_newcomers_now_and_then() {
        let mut list = channel();
        grow(&mut list, 150);
        let member = &mut list.members[0];
        let at = |seconds: u64| Time::ZERO + Duration::from_secs(seconds);
        assert!(!member.may_be_introduced(at(5), 30), "it knows nothing yet");
        member.set_knows_crowd(true);
        let told = (0..100)
            .filter(|second| member.may_be_introduced(at(5 + second), 30))
            .count();
        assert_eq!(told, 4);
    }

    #[test]
    fn a_crowd_takes_32_bytes_a_member_and_forgets_who_left() {
        let mut list = channel();
        for number in 0..100_000 {
            list.come(PeerId::for_test(number), &entry(number, true));
            list.review();
        }
        assert!(list.members.capacity() * size_of::<Member>() <= 40 * 100_000);
        for number in 0..50_000 {
            let moved = list.leave(0, entry(number, false));
            assert!(moved.is_some());
            list.review();
        }
        assert_eq!((list.present(), list.gone.len()), (50_000, 0));
    }
}
