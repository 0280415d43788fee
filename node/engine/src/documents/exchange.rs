//! How members hand each other documents, in the sessions that share the network.
//!
//! Each tells what it holds, and whoever lacks something asks for it: the newest revocations, all of them if that was not enough,
//! and then the config, never the other way round: who was kicked could get the new seed from somebody who does not know that yet.
//! What was asked for once from somebody who told one digest is not asked for again.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use farlan_crypto::defects::planted;
use farlan_netconf::private::{Config, Revocations};
use tracing::debug;

use super::{
    Check, DISTRUSTED, LATER, SILENT,
    assembly::{Assembly, Taken, piece_at},
    checking::Source,
    due,
    shelf::first,
};
use crate::{
    Engine, Event, NetworkHandle, Outbox, Time,
    handshakes::Via,
    networks::RESEND,
    peers::PeerId,
    rates::{Meters, Rate},
    retry::Retry,
    sessions::Session,
    wire::{
        control::{Control, Holding, Papers, Part},
        datagram::SessionIndex,
        sealed::CONTROL,
    },
    work::Paper,
};

/// So often what is fetched may change under way.
const CHANGES: u32 = 4;

/// Most bytes of the newest revocations.
const MAX_NEWS: usize = 1000;

/// Pieces that one peer is given: a set of 4,096 at once, and two a second of such sets.
const PIECES: Rate = Rate::per_second(1024, Duration::from_secs(1));

/// Peers of which that is counted.
const MAX_RATED: usize = 4096;

/// What this node fetches and hands out.
#[derive(Debug)]
pub(super) struct Exchange {
    fetches: BTreeMap<Slot, Fetch>,
    /// Networks whose members may have something that could not be fetched before.
    again: BTreeMap<NetworkHandle, Time>,
    served: Meters<PeerId>,
}

impl Default for Exchange {
    fn default() -> Self {
        Self {
            fetches: BTreeMap::new(),
            again: BTreeMap::new(),
            served: Meters::new(PIECES, MAX_RATED),
        }
    }
}

/// One of each is fetched at one time.
type Slot = (NetworkHandle, Kind);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Config,
    Revocations,
}

#[derive(Debug)]
struct Fetch {
    from: PeerId,
    session: SessionIndex,
    part: Part,
    told: Holding,
    /// The hash of the whole, once a piece has come, and how often it changed.
    hash: Option<[u8; 8]>,
    changes: u32,
    assembly: Assembly,
    /// Whether all has come and is checked.
    checking: bool,
}

/// What the two ends of a session told of the documents of one network.
#[derive(Debug, Default)]
pub(crate) struct Spoken {
    /// Number of the message last sent, and whether it is to be sent again.
    pub(crate) number: u32,
    retry: Option<Retry>,
    theirs: Option<(u32, Holding)>,
    /// The digest that the other end told when its newest revocations were fetched, and all of them.
    news: Option<[u8; 16]>,
    whole: Option<[u8; 16]>,
    /// The hash of its config that was fetched.
    config: Option<[u8; 8]>,
}

impl Spoken {
    /// Tells anew.
    pub(super) fn tell(&mut self, now: Time, number: u32) {
        self.number = number;
        self.retry = Some(Retry::due(RESEND, now));
    }

    pub(crate) fn deadline(&self) -> Option<Time> {
        due(self.retry.as_ref())
    }
}

/// A config that came, to be checked.
#[derive(Debug)]
pub(crate) struct ConfigFetched {
    network: NetworkHandle,
    from: PeerId,
    session: SessionIndex,
    hash: [u8; 8],
    bytes: Secret,
}

/// Bytes with seeds in them.
pub(crate) struct Secret(Vec<u8>);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl Exchange {
    pub(super) fn deadline(&self) -> Option<Time> {
        let fetches = self.fetches.values().map(|fetch| fetch.assembly.at());
        fetches.chain(self.again.values().copied()).min()
    }

    pub(super) fn drop_network(&mut self, network: NetworkHandle) {
        self.fetches.retain(|(of, _), _| *of != network);
        self.again.remove(&network);
    }

    /// What the members of a network told is looked at again.
    pub(super) fn again(&mut self, network: NetworkHandle, at: Time) {
        let again = self.again.entry(network).or_insert(at);
        *again = at.min(*again);
    }

    /// Transfers under way, and the bytes that they take.
    #[cfg(test)]
    pub(crate) fn fetching(&self) -> (usize, usize) {
        let bytes = self.fetches.values().map(|fetch| fetch.assembly.len()).sum();
        (self.fetches.len(), bytes)
    }
}

impl Engine {
    #[cfg(test)]
    pub(crate) fn documents_fetching(&self) -> (usize, usize) {
        self.documents.exchange.fetching()
    }

    /// Tells a peer what is held, where that is new or was not acknowledged.
    pub(crate) fn tend_telling(&mut self, now: Time, id: PeerId, out: &mut Outbox) {
        let Some(peer) = self.peers.get_mut(id) else { return };
        let mut messages: Vec<(SessionIndex, Papers)> = Vec::new();
        for session in peer.sessions.usable_mut() {
            let networks = &mut session.networks;
            let due: Vec<NetworkHandle> = networks
                .shown
                .iter()
                .filter(|shown| shown.spoken.deadline().is_some_and(|at| at <= now))
                .map(|shown| shown.network)
                .collect();
            for handle in due {
                let place = networks.position(handle);
                let private = self.networks.get(handle).and_then(|network| network.private.as_ref());
                let Some(shown) = networks.shown_of(handle) else {
                    continue;
                };
                let spoken = &mut shown.spoken;
                let (Some(place), Some(private), Some(retry)) = (place, private, &mut spoken.retry) else {
                    spoken.retry = None;
                    continue;
                };
                retry.again(now);
                let told = Papers::Told {
                    number: spoken.number,
                    place,
                    holding: private.shelf().holding,
                };
                messages.push((session.local, told));
            }
        }
        for (local, message) in messages {
            self.send_control(now, id, Some(local), &[Control::Papers(message)], out);
        }
        self.arm(id);
    }

    /// The other end has what was told.
    pub(crate) fn documents_acknowledged(&mut self, id: PeerId, local: SessionIndex, number: u32) {
        let session = self.peers.get_mut(id).and_then(|peer| peer.sessions.by_index(local));
        let shown = session.into_iter().flat_map(|session| &mut session.networks.shown);
        for shown in shown.filter(|shown| shown.spoken.number == number) {
            shown.spoken.retry = None;
        }
    }

    /// Somebody tells what it holds.
    pub(crate) fn documents_told(
        &mut self,
        now: Time,
        id: PeerId,
        (local, via): (SessionIndex, Via),
        (number, place, holding): (u32, u8, Holding),
        out: &mut Outbox,
    ) {
        let Some(session) = self.peers.get_mut(id).and_then(|peer| peer.sessions.by_index(local)) else {
            return;
        };
        let Some(handle) = session.networks.at(place) else {
            if session.networks.is_pending(place) {
                let told = Papers::Told { number, place, holding };
                let mut message = vec![CONTROL];
                Control::Papers(told).encode(&mut message);
                self.early.push(now, (id, local), via, &message);
            }
            return;
        };
        let Some(shown) = session.networks.shown_of(handle) else {
            return;
        };
        let newer = shown.spoken.theirs.is_none_or(|(last, _)| last < number);
        if newer {
            shown.spoken.theirs = Some((number, holding));
        }
        self.send_control(now, id, Some(local), &[Control::Papers(Papers::Ack { number })], out);
        if newer {
            self.compare_documents(now, handle, (id, local), out);
        }
    }

    /// Fetches what a member has and this node has not.
    fn compare_documents(
        &mut self,
        now: Time,
        handle: NetworkHandle,
        (id, local): (PeerId, SessionIndex),
        out: &mut Outbox,
    ) {
        let network = self.networks.get(handle);
        let shelf = network.and_then(|network| Some(network.private.as_ref()?.shelf()));
        let session = self.peers.get_mut(id).and_then(|peer| peer.sessions.by_index(local));
        let session = session.filter(|session| session.networks.shared(handle));
        let spoken = session.and_then(|session| Some(&session.networks.shown_of(handle)?.spoken));
        let (Some(shelf), Some(spoken)) = (shelf, spoken) else {
            return;
        };
        let Some((_, told)) = spoken.theirs else { return };
        let covers = shelf.covers(&told.digest) || spoken.whole == Some(told.digest);
        let wants_config = shelf.wants_config(&told) && spoken.config != Some(told.hash);
        let part = match (
            covers || planted("config-before-revocations") && wants_config,
            wants_config,
        ) {
            (false, _) if spoken.news != Some(told.digest) => Part::News,
            (false, _) => Part::Revocations,
            (true, true) => Part::Config,
            (true, false) => return,
        };
        if self.documents.is_shunned(now, id) {
            // There may be nobody else.
            return self.documents.exchange.again(handle, now + SILENT);
        }
        let (kind, most) = match part {
            Part::Config => (Kind::Config, Config::MAX_SIZE),
            Part::Revocations => (Kind::Revocations, Revocations::MAX_SIZE),
            Part::News => (Kind::Revocations, MAX_NEWS),
        };
        if self.documents.exchange.fetches.contains_key(&(handle, kind)) {
            return;
        }
        let fetch = Fetch {
            from: id,
            session: local,
            part,
            told,
            hash: None,
            changes: 0,
            assembly: Assembly::new(now, most),
            checking: false,
        };
        self.documents.exchange.fetches.insert((handle, kind), fetch);
        self.ask_for_pieces(now, (handle, kind), out);
    }

    fn ask_for_pieces(&mut self, now: Time, slot: Slot, out: &mut Outbox) {
        let Some(fetch) = self.documents.exchange.fetches.get_mut(&slot) else {
            return;
        };
        let (from, local, part) = (fetch.from, fetch.session, fetch.part);
        let offsets = fetch.assembly.ask(now);
        let session = self.peers.get(from).and_then(|peer| peer.sessions.get(local));
        let Some(place) = session.and_then(|session| session.networks.position(slot.0)) else {
            // That session is over, or shares the network no more.
            return self.fetch_ended(now, slot);
        };
        let wanted = |offset| Control::Papers(Papers::Wanted { place, part, offset });
        let messages: Vec<Control> = offsets.into_iter().map(wanted).collect();
        self.send_control(now, from, Some(local), &messages, out);
    }

    /// A transfer is over: others may have what this one did not bring.
    fn fetch_ended(&mut self, now: Time, slot: Slot) {
        self.documents.exchange.fetches.remove(&slot);
        self.documents.exchange.again(slot.0, now);
    }

    /// Somebody asks for a piece.
    pub(crate) fn piece_wanted(
        &mut self,
        now: Time,
        id: PeerId,
        local: SessionIndex,
        (place, part, offset): (u8, Part, u32),
        out: &mut Outbox,
    ) {
        let session = self.peers.get(id).and_then(|peer| peer.sessions.get(local));
        let own = |session: &Session| {
            let handle = session.networks.at(place)?;
            Some((handle, session.networks.position(handle)?))
        };
        let Some((handle, place)) = session.and_then(own) else {
            return;
        };
        let network = self.networks.get(handle);
        let Some(private) = network.and_then(|network| network.private.as_ref()) else {
            return;
        };
        let config;
        let piece = match (part, private.config()) {
            (Part::Config, Some(own)) => {
                config = own.encode();
                let length = u32::try_from(config.len()).unwrap_or(u32::MAX);
                piece_at(&config, offset).map(|piece| (first(&own.order().hash), length, piece))
            }
            (Part::Config, None) => None,
            _ => private.shelf().piece(part, offset),
        };
        let Some((hash, length, bytes)) = piece else { return };
        let message = Control::Papers(Papers::Piece {
            place,
            part,
            hash,
            length,
            offset,
            bytes: bytes.to_vec(),
        });
        if !self.documents.exchange.served.take(now, id) {
            self.counters.documents_limited += 1;
            return;
        }
        self.send_control(now, id, Some(local), &[message], out);
    }

    /// A piece that was asked for.
    pub(crate) fn piece_told(
        &mut self,
        now: Time,
        id: PeerId,
        local: SessionIndex,
        (place, part, hash, length, offset): (u8, Part, [u8; 8], u32, u32),
        bytes: &[u8],
        out: &mut Outbox,
    ) {
        let session = self.peers.get(id).and_then(|peer| peer.sessions.get(local));
        let Some(handle) = session.and_then(|session| session.networks.at(place)) else {
            return;
        };
        let kind = if part == Part::Config {
            Kind::Config
        } else {
            Kind::Revocations
        };
        let slot = (handle, kind);
        let Some(fetch) = self.documents.exchange.fetches.get_mut(&slot) else {
            return;
        };
        if (fetch.from, fetch.session, fetch.part, fetch.checking) != (id, local, part, false) {
            return;
        }
        if *fetch.hash.get_or_insert(hash) != hash {
            fetch.hash = Some(hash);
            fetch.changes += 1;
            fetch.assembly.restart(now);
            if fetch.changes > CHANGES {
                self.documents.shun(now, id, DISTRUSTED);
                return self.fetch_ended(now, slot);
            }
            if offset != 0 {
                return self.ask_for_pieces(now, slot, out);
            }
        }
        match fetch.assembly.take(now, length, offset, bytes) {
            Taken::Nothing => {}
            Taken::Ask => self.ask_for_pieces(now, slot, out),
            Taken::Wrong => {
                debug!(from = %self.name(id), "no piece of what was asked for");
                self.counters.documents_refused += 1;
                self.documents.shun(now, id, DISTRUSTED);
                self.fetch_ended(now, slot);
            }
            Taken::Whole(bytes) => self.fetched(now, slot, bytes),
        }
    }

    /// All pieces have come: what they make waits for its turn to be checked.
    fn fetched(&mut self, now: Time, slot: Slot, bytes: Vec<u8>) {
        let handle = slot.0;
        let Some(fetch) = self.documents.exchange.fetches.get_mut(&slot) else {
            return;
        };
        fetch.checking = true;
        let (from, session, part, told) = (fetch.from, fetch.session, fetch.part, fetch.told);
        let hash = fetch.hash.unwrap_or_default();
        if part == Part::Config {
            let bytes = Secret(bytes);
            let fetched = ConfigFetched {
                network: handle,
                from,
                session,
                hash,
                bytes,
            };
            if !self.handshakes.queue.add_paper(now, from, Paper::Config(fetched)) {
                self.documents.exchange.fetches.remove(&slot);
                self.documents.exchange.again(handle, now + LATER);
            }
        } else {
            let digest = told.digest;
            let source = Source::Member {
                peer: from,
                session,
                part,
                digest,
            };
            self.handshakes.queue.add_check(Check::new(handle, source, bytes));
        }
    }

    /// Revocations that a member handed over were looked at.
    pub(super) fn revocations_checked(
        &mut self,
        now: Time,
        handle: NetworkHandle,
        (id, local): (PeerId, SessionIndex),
        (part, digest): (Part, [u8; 16]),
        good: bool,
        out: &mut Outbox,
    ) {
        self.documents.exchange.fetches.remove(&(handle, Kind::Revocations));
        let session = self.peers.get_mut(id).and_then(|peer| peer.sessions.by_index(local));
        let shown = session.and_then(|session| session.networks.shown_of(handle));
        if let Some(shown) = shown.filter(|_| good) {
            match part {
                Part::Revocations => shown.spoken.whole = Some(digest),
                _ => shown.spoken.news = Some(digest),
            }
        }
        // First what is left of the same member's, so that a kick is not late.
        self.compare_documents(now, handle, (id, local), out);
        self.look_for_documents(now, handle, out);
    }

    /// A config that was fetched has its turn to be checked.
    pub(crate) fn check_config(&mut self, now: Time, fetched: &ConfigFetched, out: &mut Outbox) {
        let ConfigFetched {
            network: handle,
            from,
            session,
            hash,
            ref bytes,
        } = *fetched;
        self.documents.exchange.fetches.remove(&(handle, Kind::Config));
        let work = self.work;
        let network = self.networks.get_mut(handle);
        let Some(private) = network.and_then(|network| network.private.as_mut()) else {
            return;
        };
        let decoded = Config::decode(&bytes.0, work).ok();
        let Some(config) = decoded.filter(|config| config.network() == private.network()) else {
            debug!(from = %self.name(from), "config refused");
            self.counters.documents_refused += 1;
            self.documents.shun(now, from, DISTRUSTED);
            return self.look_for_documents(now, handle, out);
        };
        let session = self
            .peers
            .get_mut(from)
            .and_then(|peer| peer.sessions.by_index(session));
        if let Some(shown) = session.and_then(|session| session.networks.shown_of(handle)) {
            shown.spoken.config = Some(hash);
        }
        let own = private.config().cloned();
        if let Some(other) = own.filter(|own| own.forks(&config)) {
            // Whichever is in force, the other one is known from now on.
            let lower = if other.order() < config.order() {
                &other
            } else {
                &config
            };
            if private.shelf_mut().note_fork(lower) {
                let counter = config.fields().counter;
                self.events.push(Event::ConfigForked {
                    network: handle,
                    counter,
                });
            }
        }
        if self.config_known(now, handle, config) {
            self.documents_taken(now, handle);
        }
        self.look_for_documents(now, handle, out);
    }

    /// Looks at what all members told, for something that is still to be fetched.
    fn look_for_documents(&mut self, now: Time, handle: NetworkHandle, out: &mut Outbox) {
        for id in self.peers.ids() {
            let Some(peer) = self.peers.get(id).filter(|peer| !peer.supernode) else {
                continue;
            };
            let sessions = peer.sessions.iter().filter(|session| session.networks.shared(handle));
            let sessions: Vec<SessionIndex> = sessions.map(|session| session.local).collect();
            for local in sessions {
                self.compare_documents(now, handle, (id, local), out);
            }
        }
    }

    /// Asks again for pieces that did not come, and others for what nobody brought.
    pub(super) fn tend_exchange(&mut self, now: Time, out: &mut Outbox) {
        let exchange = &self.documents.exchange;
        let due = exchange.fetches.iter().filter(|(_, fetch)| fetch.assembly.at() <= now);
        let due: Vec<(Slot, bool, PeerId)> = due.map(|(slot, fetch)| (*slot, fetch.checking, fetch.from)).collect();
        let mut networks = BTreeSet::new();
        for (slot, checking, from) in due {
            let fetch = self.documents.exchange.fetches.get_mut(&slot);
            let Some(fetch) = fetch else { continue };
            if fetch.assembly.is_over(now) {
                if !checking {
                    self.documents.shun(now, from, SILENT);
                }
                self.documents.exchange.fetches.remove(&slot);
                networks.insert(slot.0);
            } else if checking {
                // It waits for its turn, unless it lost it.
                fetch.assembly.ask(now);
            } else {
                self.ask_for_pieces(now, slot, out);
            }
        }
        let again = &mut self.documents.exchange.again;
        networks.extend(again.extract_if(.., |_, at| *at <= now).map(|(network, _)| network));
        for network in networks {
            self.look_for_documents(now, network, out);
        }
    }
}
