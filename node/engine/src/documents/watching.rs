//! A node and the documents that supernodes keep for its networks: it watches them, takes what is newer, and brings back what a
//! supernode has lost.
//!
//! A network is not shared with anybody before that was done once, or 3 s passed: who was away at a kick hears of it before the one
//! who was kicked is heard.

use std::{collections::BTreeMap, time::Duration};

use farlan_crypto::defects::planted;
use farlan_netconf::{DirectoryKey, private::SealedDocument};
use tracing::debug;

use super::{
    Check, DISTRUSTED, LATER, SILENT,
    assembly::{Assembly, Taken, piece_at},
    checking::Source,
    due,
};
use crate::{
    Engine, NetworkHandle, Outbox, Time,
    directory::REQUEST,
    peers::PeerId,
    retry::Retry,
    wire::control::{Control, Papers, TO_BE_ANSWERED, WATCH},
    work::Paper,
};

/// How long a network waits for its supernodes before it is shared with anybody.
pub(crate) const STARTING: Duration = Duration::from_secs(3);

/// A supernode is asked so often what it holds; it may be one that does not know how to answer.
const ASKINGS: u32 = 10;

/// What is asked of supernodes and fetched from them.
#[derive(Debug, Default)]
pub(super) struct Watching {
    watches: BTreeMap<(PeerId, DirectoryKey), Watch>,
    /// One of each document.
    fetches: BTreeMap<DirectoryKey, Fetch>,
}

/// A document at a supernode.
#[derive(Debug)]
struct Watch {
    network: NetworkHandle,
    /// Whether it is one of those that this node registers under.
    watched: bool,
    /// When the supernode is told what is held here.
    retry: Option<Retry>,
    /// The version that it said to hold.
    answered: Option<u64>,
}

#[derive(Debug)]
struct Fetch {
    network: NetworkHandle,
    from: PeerId,
    version: u64,
    assembly: Assembly,
    checking: bool,
}

/// A document that was fetched, to be checked.
#[derive(Debug)]
pub(crate) struct SealedFetched {
    network: NetworkHandle,
    from: PeerId,
    key: DirectoryKey,
    version: u64,
    bytes: Vec<u8>,
}

impl Watching {
    pub(super) fn deadline(&self) -> Option<Time> {
        let watches = self.watches.values().filter_map(|watch| due(watch.retry.as_ref()));
        let fetches = self.fetches.values().map(|fetch| fetch.assembly.at());
        watches.chain(fetches).min()
    }

    pub(super) fn drop_network(&mut self, network: NetworkHandle) {
        self.watches.retain(|_, watch| watch.network != network);
        self.fetches.retain(|_, fetch| fetch.network != network);
    }
}

impl Engine {
    /// Documents that the controller of a private network signed, to be kept by its supernodes: those under the secrets of its config
    /// that are newer than what is held here are taken and put where they belong. Returns how many.
    pub fn publish(&mut self, now: Time, network: NetworkHandle, documents: &[Vec<u8>]) -> usize {
        self.refresh_shelf(network);
        let private = self
            .networks
            .get_mut(network)
            .and_then(|network| network.private.as_mut());
        let Some(private) = private else { return 0 };
        let mut taken = 0;
        for bytes in documents {
            let Ok(document) = SealedDocument::decode(bytes) else {
                continue;
            };
            let key = document.document_key();
            if private.shelf_mut().keep_sealed(&key, document.version(), bytes.clone()) {
                taken += 1;
            }
        }
        if taken > 0 {
            self.watch_anew(now, network);
        }
        taken
    }

    /// The highest version of the documents of a private network that was seen: what is published next has one above.
    pub fn document_version(&self, network: NetworkHandle) -> u64 {
        let private = self.networks.get(network).and_then(|network| network.private.as_ref());
        let sealed = private.into_iter().flat_map(|private| private.shelf().sealed());
        sealed.map(|(_, sealed)| sealed.version).max().unwrap_or_default()
    }

    /// What is held of a network's documents, or under which secrets, may have changed: its supernodes are told.
    pub(super) fn watch_anew(&mut self, now: Time, handle: NetworkHandle) {
        let supernodes: Vec<PeerId> = self.directory.anchors().collect();
        for id in supernodes {
            if self.directory.relay_index(id).is_some() {
                self.watch(now, id, handle);
            }
        }
    }

    /// A supernode has registered this node.
    pub(crate) fn watch_all(&mut self, now: Time, id: PeerId, first: bool) {
        if first {
            self.forget_watches(id);
        }
        for handle in self.networks.handles() {
            self.watch(now, id, handle);
        }
    }

    /// A supernode has this node no longer.
    pub(crate) fn forget_watches(&mut self, id: PeerId) {
        self.documents.watching.watches.retain(|(at, _), _| *at != id);
        self.documents
            .watching
            .fetches
            .retain(|_, fetch| fetch.from != id || fetch.checking);
    }

    /// Tells a supernode what is held of a network's documents, where it keeps them and was not told yet.
    fn watch(&mut self, now: Time, id: PeerId, handle: NetworkHandle) {
        let Some(network) = self.networks.get(handle) else {
            return;
        };
        let Some(private) = &network.private else { return };
        let watching = &mut self.documents.watching;
        // Not those under secrets that are too old to count.
        let shelf = private.shelf();
        watching
            .watches
            .retain(|(at, key), watch| *at != id || watch.network != handle || shelf.sealed_at(key).is_some());
        for (key, sealed) in shelf.sealed() {
            let holders = self.directory.holders(&network.world, &sealed.member_key);
            if !holders.contains(&id) || (!sealed.watched && sealed.version == 0) {
                continue;
            }
            let watch = watching.watches.entry((id, *key)).or_insert(Watch {
                network: handle,
                watched: !sealed.watched,
                retry: None,
                answered: None,
            });
            let told = watch.watched == sealed.watched && watch.answered == Some(sealed.version);
            watch.watched = sealed.watched;
            if !told && watch.retry.is_none() {
                watch.retry = Some(Retry::due(REQUEST, now));
            }
        }
    }

    /// A supernode says what it holds.
    pub(crate) fn sealed_held_told(
        &mut self,
        now: Time,
        id: PeerId,
        (key, version, flags): (DirectoryKey, u64, u8),
        out: &mut Outbox,
    ) {
        let Some(watch) = self.documents.watching.watches.get_mut(&(id, key)) else {
            return;
        };
        watch.answered = Some(version);
        let (handle, watched) = (watch.network, watch.watched);
        let own = self.sealed_version(handle, &key);
        let pushed = flags & TO_BE_ANSWERED != 0;
        if pushed {
            let flags = if watched { WATCH } else { 0 };
            let held = Papers::Held {
                key,
                version: own,
                flags,
            };
            self.send_control(now, id, None, &[Control::Papers(held)], out);
        }
        if version >= own {
            self.watch_settled(now, (id, key));
        }
        if version > own && watched {
            self.fetch_sealed(now, id, handle, (key, version), out);
        }
        self.consider_start(now, handle, out);
    }

    /// A supernode has what this node holds of a document. It takes one after the other, so it is told of the next one now.
    fn watch_settled(&mut self, now: Time, (id, key): (PeerId, DirectoryKey)) {
        let watches = &mut self.documents.watching.watches;
        let Some(watch) = watches.get_mut(&(id, key)) else {
            return;
        };
        let waited = watch.retry.take().is_some();
        for ((at, _), other) in watches.iter_mut().filter(|_| waited) {
            if *at == id && other.answered.is_some() && other.retry.is_some() {
                other.retry = Some(Retry::due(REQUEST, now));
            }
        }
    }

    fn sealed_version(&self, handle: NetworkHandle, key: &DirectoryKey) -> u64 {
        let network = self.networks.get(handle);
        let sealed = network.and_then(|network| network.private.as_ref()?.shelf().sealed_at(key));
        sealed.map_or(0, |sealed| sealed.version)
    }

    fn fetch_sealed(
        &mut self,
        now: Time,
        id: PeerId,
        network: NetworkHandle,
        (key, version): (DirectoryKey, u64),
        out: &mut Outbox,
    ) {
        if self.documents.is_shunned(now, id) {
            return;
        }
        let fetches = &mut self.documents.watching.fetches;
        let better = |fetch: &Fetch| fetch.version >= version || fetch.from != id || fetch.checking;
        if fetches.get(&key).is_some_and(better) {
            return;
        }
        let fetch = Fetch {
            network,
            from: id,
            version,
            assembly: Assembly::new(now, SealedDocument::MAX_SIZE),
            checking: false,
        };
        fetches.insert(key, fetch);
        self.ask_for_sealed(now, key, out);
    }

    fn ask_for_sealed(&mut self, now: Time, key: DirectoryKey, out: &mut Outbox) {
        let Some(fetch) = self.documents.watching.fetches.get_mut(&key) else {
            return;
        };
        let (from, version) = (fetch.from, fetch.version);
        let wanted = |offset| Control::Papers(Papers::SealedWanted { key, version, offset });
        let messages: Vec<Control> = fetch.assembly.ask(now).into_iter().map(wanted).collect();
        self.send_control(now, from, None, &messages, out);
    }

    /// A supernode asks for a piece of a document that it lacks.
    pub(crate) fn sealed_wanted_of_node(
        &mut self,
        now: Time,
        id: PeerId,
        (key, version, offset): (DirectoryKey, u64, u32),
        out: &mut Outbox,
    ) {
        let Some(watch) = self.documents.watching.watches.get(&(id, key)) else {
            return;
        };
        let network = self.networks.get(watch.network);
        let sealed = network.and_then(|network| network.private.as_ref()?.shelf().sealed_at(&key));
        let Some(sealed) = sealed.filter(|sealed| sealed.version == version) else {
            return;
        };
        let piece = piece_at(&sealed.bytes, offset);
        let Some((piece, length)) = piece.zip(u32::try_from(sealed.bytes.len()).ok()) else {
            return;
        };
        let message = Papers::SealedPiece {
            key,
            version,
            length,
            offset,
            bytes: piece.to_vec(),
        };
        self.send_control(now, id, None, &[Control::Papers(message)], out);
    }

    /// A piece of a document that a supernode keeps.
    pub(crate) fn sealed_piece_for_node(
        &mut self,
        now: Time,
        id: PeerId,
        (key, version, length, offset): (DirectoryKey, u64, u32, u32),
        bytes: &[u8],
        out: &mut Outbox,
    ) {
        let Some(fetch) = self.documents.watching.fetches.get_mut(&key) else {
            return;
        };
        if (fetch.from, fetch.version, fetch.checking) != (id, version, false) {
            return;
        }
        match fetch.assembly.take(now, length, offset, bytes) {
            Taken::Nothing => {}
            Taken::Ask => self.ask_for_sealed(now, key, out),
            Taken::Wrong => {
                self.counters.documents_refused += 1;
                self.sealed_failed(now, id, key, DISTRUSTED);
            }
            Taken::Whole(bytes) => {
                fetch.checking = true;
                let fetched = SealedFetched {
                    network: fetch.network,
                    from: id,
                    key,
                    version,
                    bytes,
                };
                if !self.handshakes.queue.add_paper(now, id, Paper::Sealed(fetched)) {
                    self.sealed_failed(now, id, key, LATER);
                }
            }
        }
    }

    /// A supernode did not bring what it said to hold: it is asked again after a pause, and the others now.
    fn sealed_failed(&mut self, now: Time, id: PeerId, key: DirectoryKey, pause: Duration) {
        self.documents.watching.fetches.remove(&key);
        if pause > LATER {
            self.documents.shun(now, id, pause);
        }
        let watches = &mut self.documents.watching.watches;
        for ((at, _), watch) in watches.iter_mut().filter(|((_, of), _)| *of == key) {
            let pause = if *at == id { pause } else { Duration::ZERO };
            watch.retry = Some(Retry::due(REQUEST, now + pause));
        }
    }

    /// A document that was fetched has its turn to be checked.
    pub(crate) fn check_sealed(&mut self, now: Time, fetched: SealedFetched, out: &mut Outbox) {
        let SealedFetched {
            network: handle,
            from,
            key,
            version,
            bytes,
        } = fetched;
        let network = self.networks.get(handle);
        let opened = network.and_then(|network| {
            let private = network.private.as_ref()?;
            let sealed = private.shelf().sealed_at(&key)?;
            let secret = network.secret_under(&sealed.member_key)?;
            let document = SealedDocument::decode(&bytes).ok()?;
            let fits = document.document_key() == key && document.version() == version;
            fits.then(|| document.open(private.network().key(), secret).ok())?
        });
        let Some(content) = opened else {
            debug!(from = %self.name(from), "no document of this network");
            self.counters.documents_refused += 1;
            self.sealed_failed(now, from, key, DISTRUSTED);
            return self.consider_start(now, handle, out);
        };
        let source = Source::Supernode {
            peer: from,
            key,
            version,
            document: bytes,
        };
        self.handshakes.queue.add_check(Check::new(handle, source, content));
    }

    /// The revocations in a document were looked at: if they are good it is kept, to be put again where it is missing.
    pub(super) fn sealed_checked(
        &mut self,
        now: Time,
        handle: NetworkHandle,
        from: PeerId,
        (key, version): (DirectoryKey, u64),
        document: Option<Vec<u8>>,
        out: &mut Outbox,
    ) {
        if let Some(document) = document {
            self.documents.watching.fetches.remove(&key);
            let network = self.networks.get_mut(handle);
            let private = network.and_then(|network| network.private.as_mut());
            if private.is_some_and(|private| private.shelf_mut().keep_sealed(&key, version, document)) {
                self.watch_anew(now, handle);
            }
        } else {
            self.sealed_failed(now, from, key, DISTRUSTED);
        }
        self.consider_start(now, handle, out);
    }

    /// Shares a network that waited for its supernodes, once one has answered for all its documents and what it has was taken.
    fn consider_start(&mut self, now: Time, handle: NetworkHandle, out: &mut Outbox) {
        let watching = &self.documents.watching;
        let of_network: Vec<_> = watching
            .watches
            .iter()
            .filter(|(_, watch)| watch.network == handle && watch.watched)
            .collect();
        let taken = |(id, _): &(PeerId, DirectoryKey)| {
            let mut own = of_network.iter().filter(|((at, _), _)| at == id);
            own.all(|((_, key), watch)| {
                watch
                    .answered
                    .is_some_and(|held| held <= self.sealed_version(handle, key))
            })
        };
        let fetching = watching.fetches.values().any(|fetch| fetch.network == handle);
        if !fetching && of_network.iter().any(|(at, _)| taken(at)) {
            self.start_sharing(now, handle, out);
        }
    }

    /// From now on a network is shared with whoever has shown it.
    pub(crate) fn start_sharing(&mut self, now: Time, handle: NetworkHandle, out: &mut Outbox) {
        let network = self.networks.get_mut(handle);
        let private = network.and_then(|network| network.private.as_mut());
        if private.is_none_or(|private| private.starting.take().is_none()) {
            return;
        }
        for id in self.peers.ids() {
            let Some(peer) = self.peers.get(id).filter(|peer| !peer.supernode) else {
                continue;
            };
            let sessions: Vec<_> = peer.sessions.iter().map(|session| session.local).collect();
            for local in sessions {
                self.share(now, id, local, out);
            }
        }
    }

    /// Tells supernodes what is held here, and asks again for what did not come.
    pub(super) fn tend_watching(&mut self, now: Time, out: &mut Outbox) {
        let mut told: BTreeMap<PeerId, Vec<Control>> = BTreeMap::new();
        let watching = &mut self.documents.watching;
        for ((id, key), watch) in &mut watching.watches {
            let Some(retry) = watch.retry.as_mut().filter(|retry| retry.at() <= now) else {
                continue;
            };
            retry.again(now);
            if retry.sent() > ASKINGS {
                watch.retry = None;
                continue;
            }
            let network = self.networks.get(watch.network);
            let sealed = network.and_then(|network| network.private.as_ref()?.shelf().sealed_at(key));
            let Some(sealed) = sealed else {
                watch.retry = None;
                continue;
            };
            let flags = TO_BE_ANSWERED | if sealed.watched { WATCH } else { 0 };
            let held = Papers::Held {
                key: *key,
                version: sealed.version,
                flags,
            };
            told.entry(*id).or_default().push(Control::Papers(held));
        }
        for (id, messages) in told {
            for messages in messages.chunks(MOST_TOLD) {
                self.send_control(now, id, None, messages, out);
            }
        }
        let fetches = self.documents.watching.fetches.iter_mut();
        let late = fetches.filter(|(_, fetch)| fetch.assembly.at() <= now);
        let late: Vec<_> = late
            .map(|(key, fetch)| (*key, fetch.from, fetch.assembly.is_over(now)))
            .collect();
        for (key, from, over) in late {
            if over {
                self.sealed_failed(now, from, key, SILENT);
            } else if let Some(fetch) = self
                .documents
                .watching
                .fetches
                .get_mut(&key)
                .filter(|fetch| fetch.checking)
            {
                fetch.assembly.ask(now);
            } else {
                self.ask_for_sealed(now, key, out);
            }
        }
    }
}

/// So many of them stand in one datagram.
const MOST_TOLD: usize = 32;

/// Whether a network waits for its supernodes, which a broken build does not.
pub(crate) fn starts_at_once() -> bool {
    planted("started-without-documents")
}
