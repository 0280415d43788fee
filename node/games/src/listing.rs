//! What is there now: a table of sightings, and the searches that keep it so.
//!
//! The owner has a UDP socket for its searches and one in each of [`Listing::groups`]. Whatever comes goes through
//! [`Listing::heard`]; what [`Listing::searches`] yields is sent from the socket of the searches.
//!
//! * **An entry is a kind, an address and a port.** What is heard again takes the place of what was there, and its life
//!   begins anew. Who stops is forgotten with the lifetime of the last sighting, at most
//!   [`LONGEST_LIFE`](crate::heard::LONGEST_LIFE), or when it takes its leave.
//! * **Services and devices** (mDNS, SSDP) are those of friends: among strangers nothing of theirs passes, and none are looked for
//!   ([`Listing::without_services`]).
//! * **Who asks lists more.** Most servers say something only when asked. Searches go out every [`SEARCH_EVERY`], and an answer
//!   lives longer than four of them. A listing whose owner sends no searches is passive: it replies to nothing either.
//! * **Bounds.** One address has [`MOST_OF_ONE`] entries, of which a new one displaces the one heard longest ago. A full
//!   table takes a new one only from whoever has more than a fair share: the address with the most entries loses one to an
//!   address that has at least two fewer. So a flood displaces itself, and those with one entry keep it.
//! * **Round trips** are counted from the search, or from the second question where one was needed, to the answer;
//!   those that repeat a token must have repeated the current one. What is announced, or held back on purpose as by
//!   mDNS and SSDP, has none.

use std::{
    cmp::Reverse,
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4},
    time::Duration,
};

use farlan_engine::Time;

use crate::{
    heard::{Answers, Departure, Heard, Kind, Players, Protocol, SERVICES, Sighting, Told, searches},
    list::{Game, List},
};

/// The table.
#[derive(Debug)]
pub struct Listing {
    list: List,
    /// Whether services and devices are looked for, too.
    services: bool,
    entries: BTreeMap<Key, Entry>,
    /// How many entries each address has.
    shares: BTreeMap<IpAddr, usize>,
    /// Whom a second question was sent in this round, and when.
    asked: BTreeMap<SocketAddr, Time>,
    round: u32,
    searched: Option<Time>,
}

/// A server or service that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What was heard last.
    pub sighting: Sighting,
    /// The name in the list, of a game.
    pub game: Option<String>,
    /// What people call the game, service or device.
    pub title: String,
    /// When it was first heard.
    pub since: Time,
    /// When it was last heard.
    pub heard: Time,
    /// When it is forgotten, if it is not heard before.
    pub until: Time,
    /// How long an answer takes, smoothed.
    pub round_trip: Option<Duration>,
}

/// A packet to be sent from the socket of the searches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Search {
    /// Where to: 255.255.255.255, a group, or one server.
    pub destination: SocketAddr,
    /// The UDP payload.
    pub payload: Vec<u8>,
}

type Key = (Kind, IpAddr, u16);

impl Listing {
    /// An empty table. `seed`, of any kind, sets the tokens of searches off from those of another table.
    #[must_use]
    pub fn new(list: List, seed: u32) -> Self {
        Self {
            list,
            services: true,
            entries: BTreeMap::new(),
            shares: BTreeMap::new(),
            asked: BTreeMap::new(),
            round: seed,
            searched: None,
        }
    }

    /// The same table for games alone.
    #[must_use]
    pub fn without_services(self) -> Self {
        Self {
            services: false,
            ..self
        }
    }

    /// The groups in which announcements and answers come.
    #[must_use]
    pub fn groups(&self) -> Vec<SocketAddrV4> {
        let listed = self.list.groups().into_iter().map(crate::list::Group::address);
        let services = [searches::MDNS, searches::SSDP].into_iter().filter(|_| self.services);
        listed.chain(services).collect()
    }

    /// When the next round of searches is due.
    #[must_use]
    pub fn next_search(&self) -> Time {
        self.searched.map_or(Time::ZERO, |searched| searched + SEARCH_EVERY)
    }

    /// When the next entry is forgotten.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Time> {
        self.entries.values().map(|entry| entry.until).min()
    }

    /// The searches to be sent now: a round of them, if one is due.
    pub fn searches(&mut self, now: Time) -> Vec<Search> {
        if now < self.next_search() {
            return Vec::new();
        }
        self.round = self.round.wrapping_add(ROUND_STEP);
        self.searched = Some(now);
        self.asked.clear();
        let games = self.list.games().iter();
        let mut out: Vec<Search> = games.flat_map(|game| searches_of(game, self.token())).collect();
        if self.services {
            out.push(search(searches::MDNS, searches::questions()));
            out.push(search(searches::SSDP, searches::SSDP_SEARCH.to_vec()));
        }
        out
    }

    /// Takes what came; returns what is to be sent in reply, which is nothing unless a search was sent lately.
    pub fn heard(&mut self, now: Time, heard: &Heard<'_>) -> Vec<Search> {
        self.forget(now);
        let mut replies = Vec::new();
        for told in heard.decode() {
            match told {
                Told::Seen(sighting) => self.note(now, heard.source, sighting),
                Told::Gone(departure) => self.leave(&departure),
                Told::Ask(payload) => replies.extend(self.ask(now, heard.source, payload)),
            }
        }
        replies
    }

    /// Forgets whoever was not heard for too long.
    pub fn forget(&mut self, now: Time) {
        self.remove_where(|_, entry| entry.until <= now);
    }

    /// What is there, in the order in which to show it: games before services before devices, each by what they are called;
    /// of one kind those with more players first, then by name and address.
    pub fn entries(&mut self, now: Time) -> Vec<&Entry> {
        self.forget(now);
        let mut all: Vec<&Entry> = self.entries.values().collect();
        all.sort_by_cached_key(|entry| {
            let sighting = &entry.sighting;
            let class = match sighting.kind {
                Kind::Game(_) => 0,
                Kind::Service(_) => 1,
                Kind::Device(_) => 2,
            };
            let players = sighting.players.map_or(0, |Players { current, .. }| current);
            let place = (sighting.address, sighting.port);
            (
                class,
                entry.title.clone(),
                Reverse(players),
                sighting.name.to_lowercase(),
                place,
            )
        });
        all
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The token of the current round. DDNet repeats 24 bits.
    fn token(&self) -> u32 {
        self.round & 0x00ff_ffff
    }

    fn note(&mut self, now: Time, source: SocketAddr, sighting: Sighting) {
        let key = (sighting.kind.clone(), sighting.address, sighting.port);
        let sample = self.round_trip(now, source, sighting.answers);
        if !self.entries.contains_key(&key) && !self.make_room(sighting.address) {
            return;
        }
        let (game, title) = self.called(&sighting, source.port());
        let until = now + sighting.lifetime;
        match self.entries.get_mut(&key) {
            Some(entry) => {
                entry.round_trip = match (entry.round_trip, sample) {
                    (Some(before), Some(sample)) => Some((before * 3 + sample) / 4),
                    (before, sample) => sample.or(before),
                };
                (entry.heard, entry.until) = (now, until);
                entry.sighting = sighting;
            }
            None => {
                *self.shares.entry(sighting.address).or_default() += 1;
                self.entries.insert(
                    key,
                    Entry {
                        sighting,
                        game,
                        title,
                        since: now,
                        heard: now,
                        until,
                        round_trip: sample,
                    },
                );
            }
        }
    }

    /// The listed name and the title of what was seen.
    fn called(&self, sighting: &Sighting, port: u16) -> (Option<String>, String) {
        match &sighting.kind {
            Kind::Game(protocol) => match self.list.speaking(*protocol, port) {
                Some(game) => (Some(game.name.clone()), game.title.clone()),
                None => (None, format!("{protocol:?}")),
            },
            Kind::Service(service) => {
                let known = SERVICES.iter().find(|(name, _)| name == service);
                (
                    None,
                    known.map_or_else(|| service.clone(), |(_, title)| (*title).to_owned()),
                )
            }
            Kind::Device(device) => (None, device.clone()),
        }
    }

    /// How long ago the search that is answered was sent.
    fn round_trip(&self, now: Time, source: SocketAddr, answers: Answers) -> Option<Duration> {
        let is_current = match answers {
            Answers::Nothing => false,
            Answers::Search => true,
            Answers::Token { token, mask } => self.token() & mask == token,
        };
        let sent = self.asked.get(&source).copied().or(self.searched)?;
        Some(now.since(sent)).filter(|time| is_current && *time < SEARCH_EVERY)
    }

    /// A second question, if one may be sent.
    fn ask(&mut self, now: Time, source: SocketAddr, payload: Vec<u8>) -> Option<Search> {
        let is_searching = self.searched.is_some_and(|searched| now.since(searched) < SEARCH_EVERY);
        let is_one =
            source.port() != 0 && !source.ip().is_multicast() && source.ip() != IpAddr::V4(Ipv4Addr::BROADCAST);
        if !is_searching || !is_one || self.asked.len() >= MOST_ASKED || self.asked.contains_key(&source) {
            return None;
        }
        self.asked.insert(source, now);
        Some(Search {
            destination: source,
            payload,
        })
    }

    fn leave(&mut self, departure: &Departure) {
        self.remove_where(|(kind, address, _), entry| {
            let is_named = departure.name.as_ref().is_none_or(|name| *name == entry.sighting.name);
            *kind == departure.kind && *address == departure.address && is_named
        });
    }

    /// Makes room for one more entry of `address`; returns whether there is some.
    fn make_room(&mut self, address: IpAddr) -> bool {
        let own = self.shares.get(&address).copied().unwrap_or_default();
        if own >= MOST_OF_ONE {
            return self.displace(address);
        }
        if self.entries.len() < MOST_ENTRIES {
            return true;
        }
        let most = self.shares.iter().max_by_key(|(_, share)| **share);
        match most.map(|(address, share)| (*address, *share)) {
            Some((from, share)) if share > own + 1 => self.displace(from),
            // All have about as much: whoever has something there displaces that.
            _ => own > 0 && self.displace(address),
        }
    }

    /// Removes the entry of `address` that was heard longest ago.
    fn displace(&mut self, address: IpAddr) -> bool {
        let own = self.entries.iter().filter(|((_, at, _), _)| *at == address);
        let oldest = own.min_by_key(|(_, entry)| entry.heard).map(|(key, _)| key.clone());
        oldest.is_some_and(|oldest| {
            self.remove_where(|key, _| *key == oldest);
            true
        })
    }

    fn remove_where(&mut self, mut is_gone: impl FnMut(&Key, &Entry) -> bool) {
        let shares = &mut self.shares;
        self.entries.retain(|key, entry| {
            let gone = is_gone(key, entry);
            if gone && let Some(share) = shares.get_mut(&key.1) {
                *share -= 1;
                if *share == 0 {
                    shares.remove(&key.1);
                }
            }
            !gone
        });
    }
}

/// The searches for one game.
fn searches_of(game: &Game, token: u32) -> Vec<Search> {
    let broadcast = |payload: Vec<u8>| {
        let ports = game.searched();
        ports
            .map(move |port| search(SocketAddrV4::new(Ipv4Addr::BROADCAST, port), payload.clone()))
            .collect()
    };
    match game.protocol {
        Some(Protocol::Bedrock) => broadcast(searches::bedrock(token)),
        Some(Protocol::Quake3) => broadcast(searches::quake3(token)),
        Some(Protocol::Source) => broadcast(searches::SOURCE_SEARCH.to_vec()),
        Some(Protocol::OpenTtd) => broadcast(searches::OPENTTD_SEARCH.to_vec()),
        Some(Protocol::Teeworlds) => {
            let mut out: Vec<Search> = broadcast(searches::teeworlds(token));
            out.extend(broadcast(searches::teeworlds_token(token)));
            out
        }
        Some(Protocol::Freeciv) => vec![search(searches::FREECIV, searches::FREECIV_SEARCH.to_vec())],
        // Worlds of Minecraft announce themselves; the others are searched once for all.
        Some(Protocol::Minecraft | Protocol::Mdns | Protocol::Ssdp) | None => Vec::new(),
    }
}

fn search(destination: SocketAddrV4, payload: Vec<u8>) -> Search {
    Search {
        destination: destination.into(),
        payload,
    }
}

/// How often searches go out.
pub const SEARCH_EVERY: Duration = Duration::from_secs(5);

/// How many entries there are at the most.
pub const MOST_ENTRIES: usize = 512;

/// How many entries one address has at the most.
pub const MOST_OF_ONE: usize = 16;

/// How many are sent a second question in a round.
const MOST_ASKED: usize = 64;

/// An odd number, so that tokens do not come again soon, whose lowest byte differs from round to round.
const ROUND_STEP: u32 = 0x0001_0203;

#[cfg(test)]
mod tests;
