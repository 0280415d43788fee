//! Newer versions of a world's list: whoever holds one tells its number with every request and at the start of every
//! session, and whoever holds an older one fetches it, piece by piece, from the one who told.
//!
//! Only the operator's signature counts, not the one who hands the list over. The fetching end keeps all state, so a
//! piece that is lost is asked for again, and nobody is sent more than it asked for.

use std::{collections::BTreeMap, time::Duration};

use farlan_crypto::defects::planted;
use farlan_netconf::{World, WorldId};
use tracing::{debug, info};

use crate::{
    Engine, Event, Outbox, Role, Time,
    peers::PeerId,
    retry::{Retry, Schedule},
    wire::control::Control,
    work::FetchedList,
};

/// Bytes of a list in one message: it fits an underlay MTU of 1280.
pub(crate) const PIECE: usize = 1000;

/// A piece that does not come is asked for again.
const FETCH: Schedule = Schedule {
    first: Duration::from_millis(500),
    steady: 4,
    longest: Duration::from_secs(4),
};

/// After so many requests for one piece the fetching ends, and whoever promised it counts as [`SILENT`].
const FETCHES: u32 = 10;

/// Nothing is fetched for so long from somebody whose list was not what it was said to be.
const DISTRUSTED: Duration = Duration::from_secs(600);

/// Nothing is fetched for so long from somebody whose list did not come: it may only have restarted, or the line was down.
const SILENT: Duration = Duration::from_secs(30);

/// How many of both are remembered; the oldest gives way.
const MAX_SHUNNED: usize = 64;

/// Lists fetched at one time, so that somebody who promises one and does not deliver keeps nobody else from it; the one
/// begun first gives way.
const MAX_FETCHES: usize = 8;

/// The lists this engine holds and fetches.
#[derive(Debug, Default)]
pub(crate) struct Worlds {
    held: BTreeMap<WorldId, Held>,
    fetches: BTreeMap<(WorldId, PeerId), Fetch>,
    /// From whom nothing is fetched until when.
    shunned: Vec<(PeerId, Time)>,
}

#[derive(Debug)]
struct Held {
    version: u32,
    bytes: Vec<u8>,
    list: World,
}

#[derive(Debug)]
struct Fetch {
    version: u32,
    begun: Time,
    bytes: Vec<u8>,
    retry: Retry,
}

impl Worlds {
    pub(crate) fn forget(&mut self, world: &WorldId) {
        self.held.remove(world);
        self.fetches.retain(|(fetched, _), _| fetched != world);
    }

    pub(crate) fn deadline(&self) -> Option<Time> {
        self.fetches.values().map(|fetch| fetch.retry.at()).min()
    }

    /// What says which version of a world is held here.
    pub(crate) fn told(&self, world: &WorldId) -> Option<Control> {
        let version = self.held.get(world)?.version;
        Some(Control::World { world: *world, version })
    }

    /// The version held.
    pub(crate) fn version(&self, world: &WorldId) -> Option<u32> {
        self.held.get(world).map(|held| held.version)
    }

    fn hold(&mut self, world: &World) -> bool {
        let newer = self
            .held
            .get(&world.id())
            .is_none_or(|held| held.version < world.version() || planted("world-rolled-back"));
        if newer {
            let version = world.version();
            let held = Held {
                version,
                bytes: world.encode(),
                list: world.clone(),
            };
            self.held.insert(world.id(), held);
            self.fetches
                .retain(|(id, _), fetch| *id != world.id() || fetch.version > version);
        }
        newer
    }
}

impl Engine {
    /// Hands over the signed list of a world in use, so that others get it from this node, and newer ones are taken from
    /// them. An older version than the one held changes nothing; the newer one is reported again
    /// ([`Event::WorldChanged`]), since the caller missed it.
    pub fn hold_world(&mut self, _now: Time, world: &World) {
        self.worlds.hold(world);
        if let Some(newer) = self.worlds.held.get(&world.id())
            && newer.version > world.version()
        {
            let world = Box::new(newer.list.clone());
            self.events.push(Event::WorldChanged { world });
        }
    }

    /// Somebody says which version of a world it holds.
    pub(crate) fn world_told(&mut self, now: Time, id: PeerId, world: WorldId, version: u32, out: &mut Outbox) {
        if self.role == Role::Supernode {
            self.anchor.world_told(id, world, version);
        }
        let Some(held) = self.worlds.held.get(&world) else {
            return;
        };
        if version < held.version {
            let newer = Control::World {
                world,
                version: held.version,
            };
            self.send_control(now, id, None, &[newer], out);
        } else if version > held.version {
            let worlds = &mut self.worlds;
            worlds.shunned.retain(|(_, until)| now < *until);
            let trusted = worlds.shunned.iter().all(|(shunned, _)| *shunned != id);
            let fetch = worlds.fetches.get(&(world, id));
            if trusted && fetch.is_none_or(|fetch| fetch.version < version) {
                if worlds.fetches.len() >= MAX_FETCHES {
                    let first = worlds.fetches.iter().min_by_key(|(_, fetch)| fetch.begun);
                    let first = first.map(|(key, _)| *key);
                    first.map(|key| worlds.fetches.remove(&key));
                }
                let fetch = Fetch {
                    version,
                    begun: now,
                    bytes: Vec::new(),
                    retry: Retry::due(FETCH, now),
                };
                worlds.fetches.insert((world, id), fetch);
                self.fetch(now, (world, id), out);
            }
        }
    }

    /// Asks for the next piece.
    fn fetch(&mut self, now: Time, (world, from): (WorldId, PeerId), out: &mut Outbox) {
        let Some(fetch) = self.worlds.fetches.get_mut(&(world, from)) else {
            return;
        };
        fetch.retry.again(now);
        let message = Control::WorldWanted {
            world,
            version: fetch.version,
            offset: u16::try_from(fetch.bytes.len()).unwrap_or(u16::MAX),
        };
        self.send_control(now, from, None, &[message], out);
    }

    /// Asks again for pieces that did not come.
    pub(crate) fn tend_worlds(&mut self, now: Time, out: &mut Outbox) {
        let due = self.worlds.fetches.iter().filter(|(_, fetch)| fetch.retry.at() <= now);
        let due: Vec<_> = due.map(|(key, fetch)| (*key, fetch.retry.sent())).collect();
        for (key, sent) in due {
            if sent >= FETCHES {
                self.worlds.fetches.remove(&key);
                self.shun(key.1, now + SILENT);
            } else {
                self.fetch(now, key, out);
            }
        }
    }

    fn shun(&mut self, id: PeerId, until: Time) {
        if self.worlds.shunned.len() >= MAX_SHUNNED {
            self.worlds.shunned.remove(0);
        }
        self.worlds.shunned.push((id, until));
    }

    /// Somebody asks for a piece.
    pub(crate) fn world_wanted(
        &mut self,
        now: Time,
        id: PeerId,
        (world, version, offset): (WorldId, u32, u16),
        out: &mut Outbox,
    ) {
        let Some(held) = self.worlds.held.get(&world) else {
            return;
        };
        if held.version != version {
            if let Some(told) = self.worlds.told(&world) {
                self.send_control(now, id, None, &[told], out);
            }
            return;
        }
        let Some(rest) = held.bytes.get(usize::from(offset)..) else {
            return;
        };
        let message = Control::WorldPiece {
            world,
            version,
            length: u16::try_from(held.bytes.len()).unwrap_or(u16::MAX),
            offset,
            bytes: rest.iter().take(PIECE).copied().collect(),
        };
        self.send_control(now, id, None, &[message], out);
    }

    /// A piece that was asked for.
    pub(crate) fn world_piece(
        &mut self,
        now: Time,
        id: PeerId,
        (world, version, length, offset): (WorldId, u32, u16, u16),
        bytes: &[u8],
        out: &mut Outbox,
    ) {
        let Some(fetch) = self.worlds.fetches.get_mut(&(world, id)) else {
            return;
        };
        let length = usize::from(length);
        let expected = fetch.version == version && fetch.bytes.len() == usize::from(offset);
        if !expected || bytes.is_empty() || length > World::MAX_SIZE || fetch.bytes.len() + bytes.len() > length {
            return;
        }
        fetch.bytes.extend_from_slice(bytes);
        if fetch.bytes.len() < length {
            fetch.retry = Retry::due(FETCH, now);
            self.fetch(now, (world, id), out);
            return;
        }
        let Some(fetch) = self.worlds.fetches.remove(&(world, id)) else {
            return;
        };
        // A sender that is told again of the same list meanwhile is asked again: no harm, and no more at one time than lists
        // can be fetched.
        if self.handshakes.queue.lists() < MAX_FETCHES {
            self.handshakes.queue.add_list(FetchedList {
                world,
                version,
                from: id,
                bytes: fetch.bytes,
            });
        }
    }

    /// A list that was fetched has its turn to be checked.
    pub(crate) fn check_list(&mut self, now: Time, list: FetchedList, out: &mut Outbox) {
        let FetchedList {
            world,
            version,
            from,
            bytes,
        } = list;
        match World::decode(&bytes, self.work) {
            Ok(list) if list.id() == world && list.version() == version => self.world_fetched(now, from, list, out),
            _ => {
                debug!(from = %self.name(from), "a list of supernodes that its operator did not sign");
                self.counters.worlds_refused += 1;
                self.shun(from, now + DISTRUSTED);
            }
        }
    }

    /// A newer list: whoever holds the older one gets it from here.
    fn world_fetched(&mut self, now: Time, from: PeerId, list: World, out: &mut Outbox) {
        if !self.worlds.hold(&list) {
            return;
        }
        info!(world = %list.id(), version = list.version(), "a newer list of supernodes");
        let id = list.id();
        self.events.push(Event::WorldChanged { world: Box::new(list) });
        // A supernode tells its nodes when they show themselves next.
        let told = self.worlds.told(&id).filter(|_| self.role == Role::Node);
        for peer in self.peers.ids() {
            let concerned = self.directory.serves(peer, &id)
                || self.peers.get(peer).is_some_and(|peer| {
                    let mut shared = peer.up.iter().filter_map(|handle| self.networks.get(*handle));
                    shared.any(|network| network.world == id)
                });
            if let Some(told) = told.clone().filter(|_| concerned && peer != from) {
                self.send_control(now, peer, None, &[told], out);
            }
        }
    }
}
