//! The queue of public-key work, of which [`Engine::work`] does one piece a turn, after the data has passed.
//!
//! What this node wants itself does not wait behind strangers: the handshakes it begins, the answers to them and the
//! signatures it checks go first three times out of four. Of the strangers' initiations those whose senders are proved
//! to be where they say go first three times out of four, and sources take turns. Each kind has a bound.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use farlan_netconf::WorldId;

use crate::{
    Engine, NetworkHandle, Outbox, Role, Time,
    applications::Applied,
    documents::{Check, ConfigFetched, SealedFetched, SealedPut},
    gate::Source,
    handshakes::Via,
    peers::PeerId,
    rates::{Meters, Rate},
    showing::Proof,
    spreading::Unchecked,
    wire::{control::Gift, datagram::SessionIndex},
};

/// Initiations that wait; at 150 µs each they are done within 40 ms.
pub(crate) const MAX_INITIATIONS: usize = 256;

/// Those of one source. What stands behind one address, a household or an office, begins no more at one moment.
const MAX_FROM_ONE: usize = 8;

/// Responses that wait, and those to one handshake: one that was sent twice, or a forged one beside the true one.
const MAX_RESPONSES: usize = 256;
const MAX_TO_ONE: usize = 2;

/// Documents of private networks that wait, and those of one peer; each costs up to three signatures.
const MAX_PAPERS: usize = 64;
const MAX_PAPERS_OF_ONE: usize = 8;

/// Copies of broadcasts that wait, and those of one peer.
const MAX_COPIES: usize = 512;
const MAX_COPIES_OF_ONE: usize = 64;

/// Those that one peer may bring, so many networks can it be in; peers of which that is counted.
const PAPERS: Rate = Rate::per_second(2, Duration::from_secs(8));
const MAX_RATED: usize = 1024;

/// Every so often the lesser kind goes first.
const LESSER_FIRST: u32 = 4;

/// Pieces that a supernode does in a turn while more than so many initiations wait: packets wait half a millisecond then.
const AT_ONCE: usize = 4;
const CROWDED: usize = 16;

/// A handshake message that waits.
pub(crate) type Message = (Via, Vec<u8>);

/// A list of supernodes that was fetched, and from whom.
#[derive(Debug)]
pub(crate) struct FetchedList {
    pub(crate) world: WorldId,
    pub(crate) version: u32,
    pub(crate) from: PeerId,
    pub(crate) bytes: Vec<u8>,
}

/// A document of a private network that a peer sent, with a signature to check.
#[derive(Debug)]
pub(crate) enum Paper {
    /// Its credential.
    Credential(Proof, Vec<u8>),
    /// It wants a certificate.
    Application(Applied),
    /// A certificate for this node.
    Admission(NetworkHandle, Vec<u8>),
    /// What a holder hands this node unasked.
    Issued(NetworkHandle, Gift, Vec<u8>),
    /// A config.
    Config(ConfigFetched),
    /// What a supernode keeps for a network.
    Sealed(SealedFetched),
    /// What this supernode is to keep.
    Put(SealedPut),
}

/// A piece of public-key work.
#[derive(Debug)]
pub(crate) enum Job {
    /// Begin a handshake, maybe one that renews keys that work.
    Begin {
        peer: PeerId,
        rekey: bool,
    },
    Initiation(Message),
    Response(Message),
    /// Check the signature.
    List(FetchedList),
    /// Check those of a document.
    Paper(Paper),
    /// Check a few of a set of revocations.
    Check(Check),
    /// Check the signature of a copy of a broadcast.
    Copy(Unchecked),
}

/// All public-key work that waits.
#[derive(Debug)]
pub(crate) struct WorkQueue {
    begins: VecDeque<(PeerId, bool)>,
    begin_queued: BTreeSet<PeerId>,
    responses: Turns<SessionIndex, Message>,
    lists: VecDeque<FetchedList>,
    checks: VecDeque<Check>,
    papers: Turns<PeerId, Paper>,
    copies: Turns<PeerId, Unchecked>,
    paper_rates: Meters<PeerId>,
    proved: Turns<Source, Message>,
    unproved: Turns<Source, Message>,
    taken: u32,
    strangers_taken: u32,
}

impl Default for WorkQueue {
    fn default() -> Self {
        Self {
            begins: VecDeque::new(),
            begin_queued: BTreeSet::new(),
            responses: Turns::default(),
            lists: VecDeque::new(),
            checks: VecDeque::new(),
            papers: Turns::default(),
            copies: Turns::default(),
            paper_rates: Meters::new(PAPERS, MAX_RATED),
            proved: Turns::default(),
            unproved: Turns::default(),
            taken: 0,
            strangers_taken: 0,
        }
    }
}

impl WorkQueue {
    pub(crate) fn is_empty(&self) -> bool {
        self.begins.is_empty()
            && self.responses.is_empty()
            && self.lists.is_empty()
            && self.checks.is_empty()
            && self.papers.is_empty()
            && self.copies.is_empty()
            && self.initiations() == 0
    }

    /// Initiations that wait.
    pub(crate) fn initiations(&self) -> usize {
        self.proved.length + self.unproved.length
    }

    /// Once for each peer.
    pub(crate) fn begin(&mut self, peer: PeerId, rekey: bool) {
        if self.begin_queued.insert(peer) {
            self.begins.push_back((peer, rekey));
        }
    }

    /// Adds an initiation; returns how many had to be dropped for want of room, this one or another.
    pub(crate) fn add_initiation(&mut self, source: Source, proved: bool, message: Message) -> u64 {
        let (queue, other) = if proved {
            (&mut self.proved, &self.unproved)
        } else {
            (&mut self.unproved, &self.proved)
        };
        queue.add(
            source,
            message,
            MAX_FROM_ONE,
            MAX_INITIATIONS.saturating_sub(other.length),
        )
    }

    /// Whether there is room for a response to the handshake begun under `local`.
    pub(crate) fn takes_response(&self, local: SessionIndex) -> bool {
        self.responses.length < MAX_RESPONSES
            && self
                .responses
                .waiting
                .get(&local)
                .is_none_or(|waiting| waiting.len() < MAX_TO_ONE)
    }

    /// Adds one, if there is.
    pub(crate) fn add_response(&mut self, local: SessionIndex, message: Message) {
        self.responses.add(local, message, MAX_TO_ONE, MAX_RESPONSES);
    }

    /// Adds a list. There are no more than can be fetched at one time.
    pub(crate) fn add_list(&mut self, list: FetchedList) {
        self.lists.push_back(list);
    }

    /// Lists that wait.
    pub(crate) fn lists(&self) -> usize {
        self.lists.len()
    }

    /// Adds a set of revocations, or what is left of one. There are no more than can be fetched at one time.
    pub(crate) fn add_check(&mut self, check: Check) {
        self.checks.push_back(check);
    }

    /// Adds a document of a peer; whether there is room for it and it does not send too many.
    pub(crate) fn add_paper(&mut self, now: Time, from: PeerId, paper: Paper) -> bool {
        self.paper_rates.take(now, from) && self.papers.add(from, paper, MAX_PAPERS_OF_ONE, MAX_PAPERS) == 0
    }

    /// Adds a copy of a broadcast; returns how many had to be dropped for want of room, this one or another.
    pub(crate) fn add_copy(&mut self, from: PeerId, copy: Unchecked) -> u64 {
        self.copies.add(from, copy, MAX_COPIES_OF_ONE, MAX_COPIES)
    }

    fn take(&mut self) -> Option<Job> {
        self.taken = self.taken.wrapping_add(1);
        if self.taken.is_multiple_of(LESSER_FIRST) {
            self.take_initiation().or_else(|| self.take_own())
        } else {
            self.take_own().or_else(|| self.take_initiation())
        }
    }

    fn take_own(&mut self) -> Option<Job> {
        const KINDS: u32 = 6;
        (0..KINDS).find_map(|step| match (self.taken.wrapping_add(step)) % KINDS {
            0 => self.begins.pop_front().map(|(peer, rekey)| {
                self.begin_queued.remove(&peer);
                Job::Begin { peer, rekey }
            }),
            1 => self.responses.take().map(Job::Response),
            2 => self.lists.pop_front().map(Job::List),
            3 => self.checks.pop_front().map(Job::Check),
            4 => self.copies.take().map(Job::Copy),
            _ => self.papers.take().map(Job::Paper),
        })
    }

    fn take_initiation(&mut self) -> Option<Job> {
        self.strangers_taken = self.strangers_taken.wrapping_add(1);
        let [first, second] = if self.strangers_taken.is_multiple_of(LESSER_FIRST) {
            [&mut self.unproved, &mut self.proved]
        } else {
            [&mut self.proved, &mut self.unproved]
        };
        first.take().or_else(|| second.take()).map(Job::Initiation)
    }
}

/// A queue in which those who want something take turns.
#[derive(Debug)]
struct Turns<K, T> {
    waiting: BTreeMap<K, VecDeque<T>>,
    /// Whose turn it is: everybody in `waiting` once.
    order: VecDeque<K>,
    length: usize,
}

impl<K, T> Default for Turns<K, T> {
    fn default() -> Self {
        Self {
            waiting: BTreeMap::new(),
            order: VecDeque::new(),
            length: 0,
        }
    }
}

impl<K: Ord + Copy, T> Turns<K, T> {
    fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Adds something, up to `each` of one and `all` together. Where all places are taken, whoever has the most gives one up
    /// for somebody who has less. Returns how many were dropped.
    fn add(&mut self, key: K, wanted: T, each: usize, all: usize) -> u64 {
        let own = self.waiting.get(&key).map_or(0, VecDeque::len);
        if own >= each {
            return 1;
        }
        let mut dropped = 0;
        if self.length >= all {
            let most = self.waiting.iter().max_by_key(|(_, waiting)| waiting.len());
            let Some(most) = most.filter(|(_, waiting)| waiting.len() > own + 1).map(|(key, _)| *key) else {
                return 1;
            };
            // It had at least two, so its turn stays.
            if let Some(waiting) = self.waiting.get_mut(&most) {
                waiting.pop_back();
                self.length -= 1;
                dropped = 1;
            }
        }
        if own == 0 {
            self.order.push_back(key);
        }
        self.waiting.entry(key).or_default().push_back(wanted);
        self.length += 1;
        dropped
    }

    fn take(&mut self) -> Option<T> {
        let key = self.order.pop_front()?;
        let waiting = self.waiting.get_mut(&key)?;
        let wanted = waiting.pop_front()?;
        self.length -= 1;
        if waiting.is_empty() {
            self.waiting.remove(&key);
        } else {
            self.order.push_back(key);
        }
        Some(wanted)
    }
}

impl Engine {
    /// Does one piece of public-key work from the queue; a supernode at which many wait does a few, since a turn has its price, too.
    pub(crate) fn work(&mut self, now: Time, out: &mut Outbox) {
        let crowded = self.role == Role::Supernode && self.handshakes.queue.initiations() > CROWDED;
        for _ in 0..if crowded { AT_ONCE } else { 1 } {
            let Some(job) = self.handshakes.queue.take() else {
                return;
            };
            self.do_piece(now, job, out);
        }
    }

    fn do_piece(&mut self, now: Time, job: Job, out: &mut Outbox) {
        self.counters.public_key_work += 1;
        match job {
            Job::Begin { peer, rekey } => self.begin(now, peer, rekey, None, out),
            Job::Initiation((via, datagram)) => self.answer(now, via, &datagram, out),
            Job::Response((via, datagram)) => self.finish(now, via, &datagram, out),
            Job::List(list) => self.check_list(now, list, out),
            Job::Paper(Paper::Credential(proof, credential)) => self.check_credential(now, &proof, &credential, out),
            Job::Paper(Paper::Application(applied)) => self.check_application(now, applied),
            Job::Paper(Paper::Admission(network, credential)) => self.check_admission(now, network, &credential),
            Job::Paper(Paper::Issued(network, gift, bytes)) => self.check_issued(now, network, gift, &bytes),
            Job::Paper(Paper::Config(fetched)) => self.check_config(now, &fetched, out),
            Job::Paper(Paper::Sealed(fetched)) => self.check_sealed(now, fetched, out),
            Job::Paper(Paper::Put(put)) => self.check_put(now, put, out),
            Job::Check(check) => self.check_revocations(now, check, out),
            Job::Copy(copy) => self.check_copy(now, copy, out),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a queue gives, until it is empty.
    fn all<K: Ord + Copy, T>(turns: &mut Turns<K, T>) -> Vec<T> {
        std::iter::from_fn(|| turns.take()).collect()
    }

    #[test]
    fn sources_take_turns() {
        let mut turns = Turns::default();
        for number in 0..4 {
            assert_eq!(turns.add('a', ('a', number), 8, 100), 0);
        }
        turns.add('b', ('b', 0), 8, 100);
        turns.add('c', ('c', 0), 8, 100);
        let order = [('a', 0), ('b', 0), ('c', 0), ('a', 1), ('a', 2), ('a', 3)];
        assert_eq!(all(&mut turns), order);
        assert!(turns.is_empty() && turns.waiting.is_empty() && turns.order.is_empty());
    }

    #[test]
    fn one_source_has_few_places() {
        let mut turns = Turns::default();
        let dropped: u64 = (0..1000).map(|number| turns.add('a', number, 8, 100)).sum();
        assert_eq!(dropped, 992);
        assert_eq!(all(&mut turns), (0..8).collect::<Vec<_>>());
    }

    #[test]
    fn whoever_has_the_most_gives_a_place_to_whoever_has_less() {
        let mut turns = Turns::default();
        for source in 0..10 {
            for _ in 0..8 {
                turns.add(source, source, 8, 20);
            }
        }
        assert_eq!(turns.length, 20);
        let mut counts = BTreeMap::<i32, usize>::new();
        for source in all(&mut turns) {
            *counts.entry(source).or_default() += 1;
        }
        // Ten sources and twenty places: everybody has the same.
        assert_eq!(counts.len(), 10);
        assert!(counts.values().all(|count| (1..=3).contains(count)), "{counts:?}");
        for source in 0..20 {
            turns.add(source, source, 8, 20);
        }
        assert_eq!(turns.add(99, 99, 8, 20), 1, "nobody has two");
        assert_eq!(turns.length, 20);
    }

    #[test]
    fn own_work_goes_before_that_of_strangers_and_does_not_keep_it_out() {
        let mut queue = WorkQueue::default();
        let peer = |number| PeerId::for_test(number);
        let via = Via::Direct(std::net::SocketAddr::from(([192, 0, 2, 1], 1)).into());
        for number in 0..200 {
            queue.begin(peer(number), false);
            queue.begin(peer(number), false);
            let source = Source::Ipv4(std::net::Ipv4Addr::from(u32::try_from(number).unwrap()));
            assert_eq!(queue.add_initiation(source, number % 2 == 0, (via, vec![])), 0);
        }
        let jobs: Vec<Job> = std::iter::from_fn(|| queue.take()).collect();
        assert_eq!(jobs.len(), 400, "a handshake is begun once");
        let own = |jobs: &[Job]| jobs.iter().filter(|job| matches!(job, Job::Begin { .. })).count();
        assert_eq!(own(&jobs[..100]), 75);
        assert!(queue.is_empty());
    }
}
