//! What a supernode relays for whom, and how much: who has answered whom, who was introduced to whom, and the limits of
//! what nobody has asked for.
//!
//! Until its destination has answered a source, only handshakes pass, and few of them: so many for a source, for the
//! household or host it is in, and for a destination, whose share is divided among those who want it. Where the supernode
//! itself named the destination to the source, nothing of this is charged. What was answered is limited in bytes only.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    Limits, Time,
    peers::PeerId,
    rates::{Meter, Meters, Prefix, Rate},
    wire::datagram::{RelayIndex, SupernodeTag},
};

/// A registration: the supernode where it is, and its index there.
pub(crate) type Far = (SupernodeTag, RelayIndex);

/// Handshakes of one source to destinations that have not answered it: some for the peers that a node greets when it
/// comes, more only one after the other.
const HANDSHAKES: Rate = Rate::per_second(10, Duration::from_secs(2));

/// Destinations to which one source has not sent anything before.
const NEWCOMERS: Rate = Rate {
    count: 100,
    within: Duration::from_secs(60),
    burst: Duration::from_secs(30),
};

/// Handshakes to destinations that have not answered, from the sources of one [`Prefix`].
const PREFIX_HANDSHAKES: Rate = Rate::per_second(100, Duration::from_secs(2));

/// Prefixes and sources at other supernodes whose handshakes are counted at one time.
const MAX_COUNTED: usize = 16_384;

/// Handshakes that reach one destination within [`WINDOW`] from sources it has not answered; each costs it a fifth of a
/// millisecond.
const INBOUND: usize = 200;

/// See [`INBOUND`].
const WINDOW: Duration = Duration::from_secs(1);

/// Destinations whose handshakes are counted at one time.
const MAX_WINDOWS: usize = 4096;

/// Look-ups of one registration.
const LOOKUPS: Rate = Rate::per_second(64, Duration::from_secs(4));

/// The quotas of bytes allow so much of a second at once.
const QUOTA_BURST: Duration = Duration::from_millis(250);

/// Others that one registration is remembered to have to do with; the one that was not heard of for the longest time
/// gives way.
const MAX_RELATIONS: usize = 4096;

/// As many are kept in all; beyond that each registration has [`FEW_RELATIONS`].
const MAX_RELATIONS_IN_ALL: usize = 1 << 19;

/// See [`MAX_RELATIONS_IN_ALL`].
const FEW_RELATIONS: usize = 16;

/// A supernode's limits on what it relays, and what was used of them.
#[derive(Debug)]
pub(crate) struct RelayLimits {
    prefixes: Meters<Prefix>,
    far_sources: Meters<Far>,
    inbound: Inbound,
    /// Bytes of one source, and from one source to one destination.
    source: Option<Rate>,
    pair: Option<Rate>,
    /// How many relations all registrations have.
    relations: usize,
}

/// Why something is not relayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The source began too many handshakes, or with too many others.
    Source,
    /// The sources of its prefix did.
    Prefix,
    /// The destination gets too many.
    Destination,
}

/// Who shares a destination's handshakes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Origin {
    /// A registered node, by its prefix.
    Near(Prefix),
    /// A node at another supernode.
    Far(Far),
}

/// What one registration has to do with others, and used of its limits.
#[derive(Debug, Default)]
pub(crate) struct Relations {
    known: BTreeMap<Far, Relation>,
    handshakes: Meter,
    newcomers: Meter,
    lookups: Meter,
    bytes: Meter,
}

#[derive(Clone, Copy, Debug, Default)]
struct Relation {
    at: Time,
    /// This one relayed something there, and so takes answers.
    sent: bool,
    /// This supernode named it to this one.
    introduced: bool,
    /// Something came from there over another supernode.
    answered: bool,
    bytes: Meter,
}

/// Bytes that may be relayed from a registration to another without asking again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Grant {
    from: PeerId,
    to: Far,
    left: u64,
    limited: bool,
}

impl Grant {
    /// As much as one wants.
    pub(crate) const UNLIMITED: Option<Self> = None;

    /// Uses some of it, if so much is left.
    pub(crate) fn take(&mut self, bytes: usize) -> bool {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        let enough = self.left >= bytes;
        if enough && self.limited {
            self.left -= bytes;
        }
        enough
    }

    pub(crate) fn from(&self) -> PeerId {
        self.from
    }
}

impl RelayLimits {
    pub(crate) fn new(limits: &Limits) -> Self {
        let quota = |bytes: u64| (bytes > 0).then_some(Rate::per_second(bytes, QUOTA_BURST));
        Self {
            prefixes: Meters::new(PREFIX_HANDSHAKES, MAX_COUNTED),
            far_sources: Meters::new(HANDSHAKES, MAX_COUNTED),
            inbound: Inbound::default(),
            source: quota(limits.relay_source),
            pair: quota(limits.relay_pair),
            relations: 0,
        }
    }

    /// Whether a handshake may go from a registered node to one that has not answered it and was not named to it.
    pub(crate) fn handshake(
        &mut self,
        now: Time,
        (from, prefix): (&mut Relations, Prefix),
        (to, far): (PeerId, Far),
    ) -> Result<(), Refused> {
        self.begin(now, (from, prefix), far)?;
        self.arrive(now, Origin::Near(prefix), to)
    }

    /// The same where the destination is at another supernode, which divides its share.
    pub(crate) fn begin(
        &mut self,
        now: Time,
        (from, prefix): (&mut Relations, Prefix),
        to: Far,
    ) -> Result<(), Refused> {
        if !from.handshakes.take(now, &HANDSHAKES, 1) || !from.may_meet(now, to) {
            return Err(Refused::Source);
        }
        let fits = self.prefixes.take(now, prefix);
        fits.then_some(()).ok_or(Refused::Prefix)
    }

    /// Whether a handshake of a node at another supernode may reach a node here that has not answered it.
    pub(crate) fn arrive_from_afar(&mut self, now: Time, from: Far, to: PeerId) -> Result<(), Refused> {
        if !self.far_sources.take(now, from) {
            return Err(Refused::Source);
        }
        self.arrive(now, Origin::Far(from), to)
    }

    /// Takes one of a destination's share.
    pub(crate) fn arrive(&mut self, now: Time, from: Origin, to: PeerId) -> Result<(), Refused> {
        let fits = self.inbound.admit(now, from, to);
        fits.then_some(()).ok_or(Refused::Destination)
    }

    /// Draws bytes that may go from a registration to another: `least` or nothing, and up to `most`.
    pub(crate) fn draw(
        &self,
        now: Time,
        (from, relations): (PeerId, &mut Relations),
        to: Far,
        (least, most): (usize, u64),
    ) -> Option<Grant> {
        let mut grant = Grant {
            from,
            to,
            left: u64::MAX,
            limited: self.source.is_some() || self.pair.is_some(),
        };
        let mut most = most;
        if let Some(source) = &self.source {
            most = relations.bytes.draw(now, source, most);
            grant.left = most;
        }
        if let Some(pair) = &self.pair
            && let Some(relation) = relations.known.get_mut(&to)
        {
            grant.left = relation.bytes.draw(now, pair, most);
            if let Some(source) = &self.source {
                relations.bytes.give_back(source, most - grant.left);
            }
        }
        if grant.take(least) {
            return Some(grant);
        }
        self.give_back(relations, &grant);
        None
    }

    /// Takes back what was drawn and not used.
    pub(crate) fn give_back(&self, relations: &mut Relations, grant: &Grant) {
        if !grant.limited {
            return;
        }
        if let Some(source) = &self.source {
            relations.bytes.give_back(source, grant.left);
        }
        if let Some(pair) = &self.pair
            && let Some(relation) = relations.known.get_mut(&grant.to)
        {
            relation.bytes.give_back(pair, grant.left);
        }
    }

    /// Notes that a registration relays something there.
    pub(crate) fn note_sent(&mut self, now: Time, from: &mut Relations, to: Far) {
        self.note(now, from, to).sent = true;
    }

    /// Notes that somebody was named to a registration.
    pub(crate) fn note_introduced(&mut self, now: Time, to: &mut Relations, who: Far) {
        self.note(now, to, who).introduced = true;
    }

    fn note<'a>(&mut self, now: Time, relations: &'a mut Relations, to: Far) -> &'a mut Relation {
        if !relations.known.contains_key(&to) {
            let most = if self.relations >= MAX_RELATIONS_IN_ALL {
                FEW_RELATIONS
            } else {
                MAX_RELATIONS
            };
            while relations.known.len() >= most {
                let oldest = relations.known.iter().min_by_key(|(_, relation)| relation.at);
                let Some(oldest) = oldest.map(|(far, _)| *far) else {
                    break;
                };
                relations.known.remove(&oldest);
                self.relations -= 1;
            }
            self.relations += 1;
        }
        let relation = relations.known.entry(to).or_default();
        relation.at = now;
        relation
    }

    /// A registration ended.
    pub(crate) fn forget(&mut self, relations: &Relations) {
        self.relations -= relations.known.len();
    }
}

impl Relations {
    /// Whether it relayed something there.
    pub(crate) fn has_sent(&self, to: &Far) -> bool {
        self.known.get(to).is_some_and(|relation| relation.sent)
    }

    /// Whether this supernode named that one to it.
    pub(crate) fn was_introduced(&self, to: &Far) -> bool {
        self.known.get(to).is_some_and(|relation| relation.introduced)
    }

    /// Whether something came from there over another supernode.
    pub(crate) fn was_answered(&self, by: &Far) -> bool {
        self.known.get(by).is_some_and(|relation| relation.answered)
    }

    /// Something came from there over another supernode.
    pub(crate) fn note_answered(&mut self, by: &Far) {
        if let Some(relation) = self.known.get_mut(by) {
            relation.answered = true;
        }
    }

    /// Whether it may turn to somebody, who may be new to it.
    pub(crate) fn may_meet(&mut self, now: Time, to: Far) -> bool {
        self.has_sent(&to) || self.newcomers.take(now, &NEWCOMERS, 1)
    }

    /// Whether it may look somebody up.
    pub(crate) fn may_look_up(&mut self, now: Time) -> bool {
        self.lookups.take(now, &LOOKUPS, 1)
    }

    /// The other supernodes to which it relayed something for themselves.
    pub(crate) fn records_at(&self) -> impl Iterator<Item = SupernodeTag> {
        let known = self.known.iter();
        let records = known.filter(|((_, index), relation)| *index == RelayIndex::SUPERNODE && relation.sent);
        records.map(|((supernode, _), _)| *supernode)
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.known.len()
    }
}

/// What destinations got lately from sources that they have not answered.
#[derive(Debug, Default)]
struct Inbound(BTreeMap<PeerId, Window>);

#[derive(Debug)]
struct Window {
    since: Time,
    /// How many wanted something in the window before.
    before: usize,
    shares: BTreeMap<Origin, usize>,
    taken: usize,
}

impl Inbound {
    /// Each of those who want something gets as much as the others, and as much stays for whoever comes next.
    fn admit(&mut self, now: Time, from: Origin, to: PeerId) -> bool {
        if !self.0.contains_key(&to) && self.0.len() >= MAX_WINDOWS {
            self.0.retain(|_, window| now.since(window.since) < WINDOW);
            if self.0.len() >= MAX_WINDOWS {
                return false;
            }
        }
        let window = self.0.entry(to).or_insert_with(|| Window {
            since: now,
            before: 0,
            shares: BTreeMap::new(),
            taken: 0,
        });
        let passed = now.since(window.since);
        if passed >= WINDOW {
            window.before = if passed < 2 * WINDOW { window.shares.len() } else { 0 };
            window.since = now;
            window.shares.clear();
            window.taken = 0;
        }
        let sharers = window.shares.len() + usize::from(!window.shares.contains_key(&from));
        let share = (INBOUND / (sharers.max(window.before) + 1)).max(1);
        if window.taken >= INBOUND {
            return false;
        }
        let taken = window.shares.entry(from).or_default();
        if *taken >= share {
            return false;
        }
        *taken += 1;
        window.taken += 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(number: u8) -> Origin {
        Origin::Near(Prefix::V4([192, 0, number]))
    }

    fn at(millis: u64) -> Time {
        Time::ZERO + Duration::from_secs(9) + Duration::from_millis(millis)
    }

    #[test]
    fn a_destination_is_shared_fairly_and_a_newcomer_always_finds_room() {
        for flooders in [1, 5, 50] {
            let mut inbound = Inbound::default();
            let to = PeerId::for_test(1);
            let (mut all, mut newcomer) = (0, 0);
            for second in 0..10 {
                let mut of_each = vec![0_usize; flooders];
                for _ in 0..300 {
                    for flooder in 0..flooders {
                        let number = u8::try_from(flooder).unwrap();
                        of_each[flooder] += usize::from(inbound.admit(at(second * 1000), origin(number), to));
                    }
                }
                newcomer += usize::from(inbound.admit(at(second * 1000 + 999), origin(200), to));
                let (most, least) = (of_each.iter().max().unwrap(), of_each.iter().min().unwrap());
                assert!(second == 0 || most - least <= 1, "{flooders} flooders: {of_each:?}");
                all = all.max(of_each.iter().sum());
            }
            assert!(all <= INBOUND, "{flooders} flooders: {all} in a second");
            assert_eq!(newcomer, 10, "{flooders} flooders");
        }
    }

    #[test]
    fn the_table_of_destinations_is_bounded() {
        let mut inbound = Inbound::default();
        for number in 0..3 * u64::try_from(MAX_WINDOWS).unwrap() {
            inbound.admit(at(number), origin(1), PeerId::for_test(number));
            assert!(inbound.0.len() <= MAX_WINDOWS);
        }
    }

    #[test]
    fn relations_are_bounded_and_the_oldest_gives_way() {
        let mut limits = RelayLimits::new(&Limits::default());
        let mut relations = Relations::default();
        let far = |number: usize| (SupernodeTag([0; 3]), RelayIndex(u32::try_from(number).unwrap()));
        for number in 1..=MAX_RELATIONS + 10 {
            limits.note_sent(at(u64::try_from(number).unwrap()), &mut relations, far(number));
            limits.note_sent(at(u64::try_from(number).unwrap()), &mut relations, far(1));
        }
        assert_eq!((relations.len(), limits.relations), (MAX_RELATIONS, MAX_RELATIONS));
        assert!(relations.has_sent(&far(1)), "it was spoken to all the time");
        assert!(!relations.has_sent(&far(2)));
        // Where there are too many in all, whoever has many keeps few.
        limits.relations = MAX_RELATIONS_IN_ALL;
        limits.note_introduced(at(99_999), &mut relations, far(5_000_000));
        assert_eq!(relations.len(), FEW_RELATIONS);
        assert!(relations.was_introduced(&far(5_000_000)));
        limits.relations = relations.len();
        limits.forget(&relations);
        assert_eq!(limits.relations, 0);
    }

    #[test]
    fn quotas_are_of_a_source_and_of_a_pair() {
        let limits = Limits {
            relay_source: 8_000,
            relay_pair: 4_000,
            ..Limits::default()
        };
        let mut limits = RelayLimits::new(&limits);
        let mut relations = Relations::default();
        let [one, two, three] = [1, 2, 3].map(|index| (SupernodeTag([0; 3]), RelayIndex(index)));
        for to in [one, two, three] {
            limits.note_sent(at(0), &mut relations, to);
        }
        let mut sent = |now: Time, to: Far| {
            let mut sent = 0;
            while let Some(grant) = limits.draw(now, (PeerId::for_test(1), &mut relations), to, (100, 300)) {
                sent += 100;
                limits.give_back(&mut relations, &grant);
            }
            sent
        };
        assert_eq!(
            [sent(at(0), one), sent(at(0), two), sent(at(0), three)],
            [1000, 1000, 0]
        );
        assert_eq!(
            [sent(at(100), one), sent(at(100), two), sent(at(100), three)],
            [400, 400, 0]
        );
        let unlimited = RelayLimits::new(&Limits {
            relay_source: 0,
            relay_pair: 0,
            ..Limits::default()
        });
        let grant = unlimited.draw(at(0), (PeerId::for_test(1), &mut relations), one, (1 << 40, 1));
        assert!(grant.is_some());
    }
}
