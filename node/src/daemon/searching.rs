//! Searching the joined networks for games, services and devices, while somebody asks.
//!
//! [`Listing`] knows what is sent, and what comes of what is heard. Here are its sockets and a task for each network, which begins
//! with a question over the API and ends [`PATIENCE`] after the last one. What was found stays in the table until it expires.

mod sockets;

use std::{
    collections::BTreeMap,
    hash::{BuildHasher, RandomState},
    net::{IpAddr, Ipv4Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use farlan_engine::Time;
use farlan_games::{
    heard::Kind,
    listing::{Entry, Listing},
};
use farlan_netconf::NetworkId;
use tokio::task::JoinHandle;

use super::{Daemon, networks::Joined};
use crate::{
    api::{FoundServer, GamesReply, NetworkGames, SCHEMA, milliseconds},
    failure::Failure,
    games::List,
    names::Directory,
};
use sockets::SearchSockets;

/// The searches of all networks.
#[derive(Debug, Default)]
pub(super) struct Searches(Mutex<BTreeMap<NetworkId, Searched>>);

/// Where it is searched.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    interface: String,
    index: u32,
    /// This machine's address there.
    own: Ipv4Addr,
}

/// A network that was asked about.
#[derive(Debug)]
struct Searched {
    place: Place,
    table: Arc<Mutex<Table>>,
    task: JoinHandle<()>,
}

impl Drop for Searched {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[derive(Debug)]
struct Table {
    listing: Listing,
    /// When somebody asked last.
    asked: Time,
    /// When the search began; nothing while nobody asks.
    begun: Option<Time>,
    /// What could not be had for it.
    notes: Vec<String>,
}

/// A clock that began with the daemon.
#[derive(Clone, Copy, Debug)]
struct Clock(Instant);

impl Clock {
    fn now(self) -> Time {
        Time::ZERO + self.0.elapsed()
    }
}

impl Searches {
    /// Somebody asks what is there. Returns the table, and whether a search has just begun.
    fn ask(
        &self,
        clock: Clock,
        id: NetworkId,
        place: Place,
        listing: impl FnOnce() -> Listing,
    ) -> (Arc<Mutex<Table>>, bool) {
        let mut networks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = clock.now();
        let before = networks.remove(&id);
        let table = match before {
            Some(searched) if searched.place == place && searched.goes_on(now) => {
                let table = Arc::clone(&searched.table);
                networks.insert(id, searched);
                return (table, false);
            }
            // What was found is there still.
            Some(searched) => Arc::clone(&searched.table),
            None => Arc::new(Mutex::new(Table::new(now, listing()))),
        };
        let begun = {
            let mut begun = locked(&table);
            begun.asked = now;
            begun.begun = None;
            match SearchSockets::open(&place, &begun.listing.groups()) {
                Ok((sockets, notes)) => {
                    begun.begun = Some(now);
                    begun.notes = notes;
                    let task = tokio::spawn(sockets.search(clock, Arc::clone(&table)));
                    let table = Arc::clone(&table);
                    networks.insert(id, Searched { place, table, task });
                    true
                }
                Err(error) => {
                    begun.notes = vec![format!("it cannot be searched: {error}")];
                    false
                }
            }
        };
        (table, begun)
    }

    /// Whether a network is searched now.
    pub(super) fn is_any_going_on(&self) -> bool {
        let networks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        networks.values().any(Searched::is_going_on)
    }

    /// Forgets networks that are left.
    pub(super) fn keep(&self, ids: &[NetworkId]) {
        let mut networks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        networks.retain(|id, _| ids.contains(id));
    }
}

impl Searched {
    /// Whether its task runs and will; it is told that somebody asks.
    fn goes_on(&self, now: Time) -> bool {
        locked(&self.table).asked = now;
        self.is_going_on()
    }

    fn is_going_on(&self) -> bool {
        locked(&self.table).begun.is_some() && !self.task.is_finished()
    }
}

/// What is searched for in a network. Strangers are not told what services a machine's own LAN has, so nobody looks for them there.
fn listing(list: &List, strangers: bool) -> Listing {
    let [a, b, c, d, ..] = RandomState::new().hash_one(0).to_ne_bytes();
    let listing = Listing::new(list.clone(), u32::from_ne_bytes([a, b, c, d]));
    if strangers { listing.without_services() } else { listing }
}

impl Table {
    fn new(now: Time, listing: Listing) -> Self {
        Self {
            listing,
            asked: now,
            begun: None,
            notes: Vec::new(),
        }
    }

    /// Whether somebody asks still. If nobody does, the search has ended.
    fn is_wanted(&mut self, now: Time) -> bool {
        let wanted = now.since(self.asked) < PATIENCE;
        if !wanted {
            self.begun = None;
        }
        wanted
    }
}

fn locked(table: &Mutex<Table>) -> MutexGuard<'_, Table> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A network as it is asked about.
struct Asked {
    id: NetworkId,
    name: String,
    interface: String,
    strangers: bool,
    place: Result<Place, &'static str>,
}

impl Daemon {
    /// What is there on the joined networks, or on the one called so; it is searched for there while somebody asks.
    ///
    /// # Errors
    /// None or several networks are called that, or it could not be joined; the data plane has ended.
    pub async fn games(&self, network: Option<&str>) -> Result<GamesReply, Failure> {
        self.renew_names().await?;
        let asked: Vec<Asked> = {
            let book = self.book.lock().await;
            let networks = &book.networks;
            let only = network.map(|name| networks.called(name)).transpose()?;
            let joined: Vec<_> = networks.joined().map(Joined::id).collect();
            self.searches.keep(&joined);
            if only.is_some_and(|only| !joined.contains(&only)) {
                return Err(Failure::negative(
                    "the network could not be joined; `farlan status` says why",
                ));
            }
            let meant = networks
                .joined()
                .filter(|joined| only.is_none_or(|only| only == joined.id()));
            meant.map(|joined| self.asked(joined)).collect()
        };
        let directory = self.names.directory();
        let networks = asked.into_iter().map(|asked| self.network_games(asked, &directory));
        Ok(GamesReply {
            schema: SCHEMA,
            networks: networks.collect(),
        })
    }

    fn asked(&self, joined: &Joined) -> Asked {
        let (interface, index) = (joined.interface().to_owned(), joined.card_index());
        let state = self.cards.state(index).ok().flatten();
        let place = match (self.ipv4_on_card(joined), state) {
            _ if index == 0 => Err("it has no card here"),
            (None, _) => Err("this machine has no IPv4 address there, by which games are searched"),
            (_, None) => Err("its card is gone"),
            (_, Some(state)) if !state.up => Err("its card is down"),
            (_, Some(state)) if state.is_port => Err("its card belongs to a bridge, by which it is not searched"),
            (Some(own), Some(_)) => Ok(Place {
                interface: interface.clone(),
                index,
                own,
            }),
        };
        Asked {
            id: joined.id(),
            name: joined.name().to_owned(),
            interface,
            strangers: joined.is_of_strangers(),
            place,
        }
    }

    fn network_games(&self, asked: Asked, directory: &Directory) -> NetworkGames {
        let clock = Clock(self.started);
        let mut view = NetworkGames {
            name: asked.name,
            network_id: asked.id.to_string(),
            interface: asked.interface,
            searching_s: None,
            found: Vec::new(),
            notes: Vec::new(),
        };
        let own = match asked.place {
            Ok(place) => {
                let own = place.own;
                let (table, begun) = self
                    .searches
                    .ask(clock, asked.id, place, || listing(&self.lift.list(), asked.strangers));
                if begun {
                    // Announcements come in where a program listens, and this is one.
                    self.programs.look_again();
                }
                let (mut table, now) = (locked(&table), clock.now());
                let begun = table.begun.map(|begun| now.since(begun));
                view.searching_s = begun.map(|begun| (begun.as_secs_f64() * 10.0).floor() / 10.0);
                view.notes.clone_from(&table.notes);
                let found = table.listing.entries(now).into_iter();
                view.found = found.map(|entry| found_server(entry, asked.id, directory)).collect();
                own
            }
            Err(reason) => {
                view.notes.push(reason.to_owned());
                return view;
            }
        };
        for found in &mut view.found {
            found.own |= found.address == IpAddr::V4(own);
        }
        view
    }
}

fn found_server(entry: &Entry, network: NetworkId, directory: &Directory) -> FoundServer {
    let sighting = &entry.sighting;
    let host = directory.reverse(sighting.address);
    let host = host.filter(|host| host.network == network);
    FoundServer {
        kind: match sighting.kind {
            Kind::Game(_) => "game",
            Kind::Service(_) => "service",
            Kind::Device(_) => "device",
        }
        .to_owned(),
        game: entry.game.clone(),
        title: entry.title.clone(),
        name: sighting.name.clone(),
        own: host.as_ref().is_some_and(|host| host.own),
        host: host.map(|host| host.name),
        address: sighting.address,
        port: sighting.port,
        players: sighting.players.map(|players| players.current),
        max_players: sighting.players.and_then(|players| players.most),
        map: sighting.map.clone(),
        mode: sighting.mode.clone(),
        version: sighting.version.clone(),
        rtt_ms: entry.round_trip.map(milliseconds),
    }
}

/// How long it is searched after somebody asked.
const PATIENCE: Duration = Duration::from_secs(15);

#[cfg(test)]
mod tests;
