//! What a supernode keeps for private networks: documents that it cannot read.
//!
//! A document takes up to 64 KiB, and all together no more than the limit says; those that nobody watches and that were not used
//! for longest make room. Under way are 64 documents at the most, which is 4 MiB, and one of each node. Only who is registered
//! and has proved where it is gets an answer.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use farlan_netconf::{DirectoryKey, private::SealedDocument};
use tracing::debug;

use super::{
    DISTRUSTED,
    assembly::{Assembly, Taken, piece_at},
};
use crate::{
    Engine, Outbox, Time,
    handshakes::Via,
    peers::PeerId,
    rates::{Meter, Prefix, Rate},
    retry::{Retry, Schedule},
    wire::control::{Control, Papers, TO_BE_ANSWERED, WATCH},
    work::Paper,
};

/// Documents that one node watches: as many as it has memberships.
const MAX_WATCHED: usize = 16;

/// Documents under way, and those of one source.
const MAX_INCOMING: usize = 64;
const MAX_OF_SOURCE: usize = 8;

/// Documents that one node may bring: that of each of its networks under two secrets.
const PUTS: Rate = Rate {
    count: 32,
    within: Duration::from_secs(600),
    burst: Duration::from_secs(600),
};

/// Pieces that one node is given: all its documents at once, and then one document in two seconds.
const PIECES: Rate = Rate::per_second(32, Duration::from_secs(64));

/// What changed is told again to who watches and does not answer.
const TELL: Schedule = Schedule {
    first: Duration::from_secs(1),
    steady: 3,
    longest: Duration::from_secs(8),
};
const TELLINGS: u32 = 5;

/// Of those who watch so many are told in one turn.
const TOLD_AT_ONCE: usize = 64;

/// What there is beside a document's bytes, as the limit counts it.
const OVERHEAD: usize = 256;

/// The documents that a supernode keeps.
#[derive(Debug)]
pub(crate) struct Kept {
    most: usize,
    bytes: usize,
    documents: BTreeMap<DirectoryKey, Document>,
    /// Those that were used longest ago come first.
    by_use: BTreeSet<(u64, DirectoryKey)>,
    uses: u64,
    watchers: BTreeMap<DirectoryKey, BTreeSet<PeerId>>,
    /// Those that a node watches, the latest told of last.
    watched: BTreeMap<PeerId, Vec<DirectoryKey>>,
    incoming: BTreeMap<PeerId, Incoming>,
    tellings: BTreeMap<(PeerId, DirectoryKey), Retry>,
    telling_due: BTreeSet<(Time, PeerId, DirectoryKey)>,
}

#[derive(Debug)]
struct Document {
    version: u64,
    bytes: Vec<u8>,
    used: u64,
}

/// A document that a node brings.
#[derive(Debug)]
struct Incoming {
    key: DirectoryKey,
    version: u64,
    source: Option<Prefix>,
    assembly: Assembly,
    checking: bool,
}

/// What a registered node asked of documents.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Asked {
    puts: Meter,
    pieces: Meter,
    distrusted: Option<Time>,
}

/// A document that came, to be checked.
#[derive(Debug)]
pub(crate) struct SealedPut {
    from: PeerId,
    key: DirectoryKey,
    version: u64,
    bytes: Vec<u8>,
}

impl Kept {
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            bytes: 0,
            documents: BTreeMap::new(),
            by_use: BTreeSet::new(),
            uses: 0,
            watchers: BTreeMap::new(),
            watched: BTreeMap::new(),
            incoming: BTreeMap::new(),
            tellings: BTreeMap::new(),
            telling_due: BTreeSet::new(),
        }
    }

    /// Documents, and their bytes.
    pub(crate) fn size(&self) -> (usize, usize) {
        (self.documents.len(), self.bytes)
    }

    pub(super) fn deadline(&self) -> Option<Time> {
        let incoming = self.incoming.values().map(|incoming| incoming.assembly.at());
        let telling = self.telling_due.first().map(|(at, ..)| *at);
        incoming.chain(telling).min()
    }

    fn version(&self, key: &DirectoryKey) -> u64 {
        self.documents.get(key).map_or(0, |document| document.version)
    }

    fn touch(&mut self, key: &DirectoryKey) {
        self.uses += 1;
        if let Some(document) = self.documents.get_mut(key) {
            self.by_use.remove(&(document.used, *key));
            document.used = self.uses;
            self.by_use.insert((self.uses, *key));
        }
    }

    /// Keeps a document; others may have to make room. Returns how many did.
    fn keep(&mut self, key: DirectoryKey, version: u64, bytes: Vec<u8>) -> u64 {
        self.drop_document(&key);
        self.bytes += bytes.len() + OVERHEAD;
        let document = Document {
            version,
            bytes,
            used: 0,
        };
        self.documents.insert(key, document);
        self.touch(&key);
        let mut dropped = 0;
        while self.bytes > self.most {
            let mut by_use = self.by_use.iter().map(|(_, key)| *key);
            let unwatched = by_use.find(|key| !self.watchers.contains_key(key));
            let first = unwatched.or_else(|| self.by_use.first().map(|(_, key)| *key));
            let Some(first) = first else { break };
            self.drop_document(&first);
            dropped += 1;
        }
        dropped
    }

    fn drop_document(&mut self, key: &DirectoryKey) {
        if let Some(document) = self.documents.remove(key) {
            self.bytes -= document.bytes.len() + OVERHEAD;
            self.by_use.remove(&(document.used, *key));
        }
    }

    /// Notes whether a node wants to be told of a document.
    fn watch(&mut self, id: PeerId, key: DirectoryKey, wanted: bool) {
        if wanted {
            let watched = self.watched.entry(id).or_default();
            if watched.contains(&key) {
                return;
            }
            let first = (watched.len() >= MAX_WATCHED).then(|| watched.remove(0));
            watched.push(key);
            self.watchers.entry(key).or_default().insert(id);
            if let Some(first) = first {
                self.unwatch(id, &first);
            }
        } else if let Some(watched) = self.watched.get_mut(&id) {
            watched.retain(|watched| *watched != key);
            self.unwatch(id, &key);
        }
    }

    fn unwatch(&mut self, id: PeerId, key: &DirectoryKey) {
        if let Some(watchers) = self.watchers.get_mut(key) {
            watchers.remove(&id);
            if watchers.is_empty() {
                self.watchers.remove(key);
            }
        }
        self.told(id, *key);
    }

    /// A node heard of a change, or need not.
    fn told(&mut self, id: PeerId, key: DirectoryKey) {
        if let Some(telling) = self.tellings.remove(&(id, key)) {
            self.telling_due.remove(&(telling.at(), id, key));
        }
    }

    /// All who watch but `from` are to be told of a change.
    fn tell(&mut self, now: Time, key: DirectoryKey, from: PeerId) {
        let watchers: Vec<PeerId> = self.watchers.get(&key).into_iter().flatten().copied().collect();
        for id in watchers.into_iter().filter(|id| *id != from) {
            self.told(id, key);
            let telling = Retry::due(TELL, now);
            self.telling_due.insert((telling.at(), id, key));
            self.tellings.insert((id, key), telling);
        }
    }

    /// A node is registered no more.
    pub(crate) fn forget(&mut self, id: PeerId) {
        for key in self.watched.remove(&id).unwrap_or_default() {
            self.unwatch(id, &key);
        }
        self.incoming.remove(&id);
    }

    /// Whether a node may bring one more.
    fn has_room(&self, id: PeerId, source: Option<Prefix>) -> bool {
        let of_source = |incoming: &&Incoming| source.is_some() && incoming.source == source;
        let others = self
            .incoming
            .iter()
            .filter(|(of, _)| **of != id)
            .map(|(_, incoming)| incoming);
        !self.incoming.contains_key(&id)
            && self.incoming.len() < MAX_INCOMING
            && others.filter(of_source).count() < MAX_OF_SOURCE
    }
}

impl Engine {
    /// A node says what it holds of a document.
    pub(crate) fn sealed_held_asked(
        &mut self,
        now: Time,
        id: PeerId,
        via: Via,
        (key, version, flags): (DirectoryKey, u64, u8),
        out: &mut Outbox,
    ) {
        if !self.is_proved(id, via) {
            return;
        }
        let Some((asked, source)) = self.anchor.documents_of(id) else {
            return;
        };
        let kept = &mut self.documents.kept;
        kept.watch(id, key, flags & WATCH != 0);
        kept.told(id, key);
        let held = kept.version(&key);
        let trusted = asked.distrusted.is_none_or(|until| until <= now);
        let wanted = version > held && trusted && kept.has_room(id, source) && asked.puts.take(now, &PUTS, 1);
        if version > held && !wanted {
            self.counters.documents_limited += 1;
        }
        kept.touch(&key);
        if flags & TO_BE_ANSWERED != 0 {
            let held = Papers::Held {
                key,
                version: held,
                flags: 0,
            };
            self.send_control(now, id, None, &[Control::Papers(held)], out);
        }
        if wanted {
            let incoming = Incoming {
                key,
                version,
                source,
                assembly: Assembly::new(now, SealedDocument::MAX_SIZE),
                checking: false,
            };
            self.documents.kept.incoming.insert(id, incoming);
            self.ask_for_document(now, id, out);
        }
    }

    fn ask_for_document(&mut self, now: Time, id: PeerId, out: &mut Outbox) {
        let Some(incoming) = self.documents.kept.incoming.get_mut(&id) else {
            return;
        };
        let (key, version) = (incoming.key, incoming.version);
        let wanted = |offset| Control::Papers(Papers::SealedWanted { key, version, offset });
        let messages: Vec<Control> = incoming.assembly.ask(now).into_iter().map(wanted).collect();
        self.send_control(now, id, None, &messages, out);
    }

    /// A node asks for a piece of a document.
    pub(crate) fn sealed_wanted_of_supernode(
        &mut self,
        now: Time,
        id: PeerId,
        via: Via,
        (key, version, offset): (DirectoryKey, u64, u32),
        out: &mut Outbox,
    ) {
        if !self.is_proved(id, via) {
            return;
        }
        let Some((asked, _)) = self.anchor.documents_of(id) else {
            return;
        };
        if !asked.pieces.take(now, &PIECES, 1) {
            self.counters.documents_limited += 1;
            return;
        }
        let kept = &mut self.documents.kept;
        kept.told(id, key);
        kept.touch(&key);
        let document = kept.documents.get(&key);
        let piece = document.filter(|document| document.version == version);
        let piece = piece.and_then(|document| {
            let length = u32::try_from(document.bytes.len()).ok()?;
            Some((length, piece_at(&document.bytes, offset)?.to_vec()))
        });
        let message = match piece {
            Some((length, bytes)) => Papers::SealedPiece {
                key,
                version,
                length,
                offset,
                bytes,
            },
            // It was replaced, or made room.
            None => Papers::Held {
                key,
                version: document.map_or(0, |document| document.version),
                flags: 0,
            },
        };
        self.send_control(now, id, None, &[Control::Papers(message)], out);
    }

    /// A piece of a document that a node brings.
    pub(crate) fn sealed_piece_for_supernode(
        &mut self,
        now: Time,
        id: PeerId,
        (key, version, length, offset): (DirectoryKey, u64, u32, u32),
        bytes: &[u8],
        out: &mut Outbox,
    ) {
        let Some(incoming) = self.documents.kept.incoming.get_mut(&id) else {
            return;
        };
        if (incoming.key, incoming.version, incoming.checking) != (key, version, false) {
            return;
        }
        match incoming.assembly.take(now, length, offset, bytes) {
            Taken::Nothing => {}
            Taken::Ask => self.ask_for_document(now, id, out),
            Taken::Wrong => self.document_refused(now, id),
            Taken::Whole(bytes) => {
                incoming.checking = true;
                let put = SealedPut {
                    from: id,
                    key,
                    version,
                    bytes,
                };
                if !self.handshakes.queue.add_paper(now, id, Paper::Put(put)) {
                    self.counters.documents_limited += 1;
                    self.documents.kept.incoming.remove(&id);
                }
            }
        }
    }

    fn document_refused(&mut self, now: Time, id: PeerId) {
        debug!(from = %self.name(id), "no document");
        self.counters.documents_refused += 1;
        self.documents.kept.incoming.remove(&id);
        if let Some((asked, _)) = self.anchor.documents_of(id) {
            asked.distrusted = Some(now + DISTRUSTED);
        }
    }

    /// A document has its turn to be checked.
    pub(crate) fn check_put(&mut self, now: Time, put: SealedPut, out: &mut Outbox) {
        let SealedPut {
            from,
            key,
            version,
            bytes,
        } = put;
        let fits = |document: &SealedDocument| document.document_key() == key && document.version() == version;
        if !SealedDocument::decode(&bytes).is_ok_and(|document| fits(&document)) {
            return self.document_refused(now, from);
        }
        let kept = &mut self.documents.kept;
        kept.incoming.remove(&from);
        if version > kept.version(&key) {
            self.counters.documents_kept += 1;
            self.counters.documents_displaced += kept.keep(key, version, bytes);
            kept.tell(now, key, from);
        }
        // Whoever brought it brings the next one, too.
        let held = Papers::Held {
            key,
            version: self.documents.kept.version(&key),
            flags: TO_BE_ANSWERED,
        };
        self.send_control(now, from, None, &[Control::Papers(held)], out);
    }

    /// Tells who watches what has changed, and asks again for pieces that did not come.
    pub(super) fn tend_kept(&mut self, now: Time, out: &mut Outbox) {
        let incoming = self.documents.kept.incoming.iter();
        let late = incoming.filter(|(_, incoming)| incoming.assembly.at() <= now);
        let late: Vec<_> = late
            .map(|(id, incoming)| (*id, incoming.assembly.is_over(now)))
            .collect();
        for (id, over) in late {
            let kept = &mut self.documents.kept;
            if over {
                kept.incoming.remove(&id);
            } else if let Some(incoming) = kept.incoming.get_mut(&id).filter(|incoming| incoming.checking) {
                incoming.assembly.ask(now);
            } else {
                self.ask_for_document(now, id, out);
            }
        }
        for _ in 0..TOLD_AT_ONCE {
            let kept = &mut self.documents.kept;
            let Some((_, id, key)) = kept.telling_due.pop_first_if(now) else {
                break;
            };
            let version = kept.version(&key);
            let Some(telling) = kept.tellings.get_mut(&(id, key)) else {
                continue;
            };
            telling.again(now);
            if telling.sent() >= TELLINGS {
                kept.tellings.remove(&(id, key));
            } else {
                let at = telling.at();
                kept.telling_due.insert((at, id, key));
            }
            let held = Papers::Held {
                key,
                version,
                flags: TO_BE_ANSWERED,
            };
            self.send_control(now, id, None, &[Control::Papers(held)], out);
        }
    }
}

/// The first that is due.
trait PopDue {
    fn pop_first_if(&mut self, now: Time) -> Option<(Time, PeerId, DirectoryKey)>;
}

impl PopDue for BTreeSet<(Time, PeerId, DirectoryKey)> {
    fn pop_first_if(&mut self, now: Time) -> Option<(Time, PeerId, DirectoryKey)> {
        let is_due = self.first().is_some_and(|(at, ..)| *at <= now);
        is_due.then(|| self.pop_first()).flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u8) -> DirectoryKey {
        DirectoryKey::from_bytes([number; 16])
    }

    #[test]
    fn of_one_node_the_latest_sixteen_are_watched() {
        let mut kept = Kept::new(1 << 20);
        let [one, other] = [1, 2].map(PeerId::for_test);
        for number in 0..20 {
            kept.watch(one, key(number), true);
            kept.watch(one, key(number), true);
        }
        kept.watch(other, key(0), true);
        assert_eq!(kept.watched[&one], (4..20).map(key).collect::<Vec<_>>());
        assert_eq!(kept.watchers.len(), 17);
        kept.keep(key(0), 1, vec![0; 100]);
        kept.tell(Time::ZERO, key(0), one);
        assert_eq!(kept.tellings.keys().copied().collect::<Vec<_>>(), [(other, key(0))]);
        kept.watch(other, key(0), false);
        kept.forget(one);
        kept.forget(other);
        assert!(kept.watchers.is_empty() && kept.watched.is_empty());
        assert!(kept.tellings.is_empty() && kept.telling_due.is_empty() && kept.deadline().is_none());
    }

    #[test]
    fn what_nobody_watches_makes_room_first_and_then_what_was_used_longest_ago() {
        let each = 1000 + OVERHEAD;
        let mut kept = Kept::new(3 * each);
        kept.watch(PeerId::for_test(1), key(0), true);
        for number in 0..3 {
            assert_eq!(kept.keep(key(number), 1, vec![0; 1000]), 0);
        }
        kept.touch(&key(1));
        assert_eq!(kept.keep(key(3), 1, vec![0; 1000]), 1);
        let left = |kept: &Kept| kept.documents.keys().copied().collect::<Vec<_>>();
        assert_eq!(left(&kept), [0, 1, 3].map(key));
        assert_eq!(kept.size(), (3, 3 * each));
        // The newer version takes the place of the older one.
        assert_eq!(kept.keep(key(3), 2, vec![0; 500]), 0);
        assert_eq!(kept.size(), (3, 3 * each - 500));
    }

    #[test]
    fn one_source_has_a_part_of_what_is_under_way() {
        let mut kept = Kept::new(1 << 20);
        let source = Some(Prefix::of(std::net::SocketAddr::from(([192, 0, 2, 1], 1)).into()));
        let other = Some(Prefix::of(std::net::SocketAddr::from(([198, 51, 100, 1], 1)).into()));
        for number in 0..MAX_OF_SOURCE {
            let id = PeerId::for_test(u64::try_from(number).unwrap());
            assert!(kept.has_room(id, source));
            let incoming = Incoming {
                key: key(0),
                version: 1,
                source,
                assembly: Assembly::new(Time::ZERO, SealedDocument::MAX_SIZE),
                checking: false,
            };
            kept.incoming.insert(id, incoming);
            assert!(!kept.has_room(id, source), "one after the other");
        }
        assert!(!kept.has_room(PeerId::for_test(99), source));
        assert!(kept.has_room(PeerId::for_test(99), other));
    }
}
