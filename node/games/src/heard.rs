//! What was heard on a network, read as sightings of servers and services.
//!
//! Some announce themselves (Minecraft, mDNS, SSDP), others answer a search. Both are read by the same readers, one a protocol:
//!
//! | module | announced | answered | taken leave |
//! |---|---|---|---|
//! | `minecraft` | Java, to 224.0.2.60:4445 | Bedrock | |
//! | `quake3` | | `infoResponse`, `statusResponse` | |
//! | `source` | | A2S_INFO, its challenge | |
//! | `teeworlds` | | 0.6, 0.7 with its token, DDNet | |
//! | `openttd` | | that there is a server | |
//! | `freeciv` | to 225.1.1.1:4556, when asked | | |
//! | `mdns` | service instances | the same | TTL 0 |
//! | `ssdp` | devices | the same | `ssdp:byebye` |
//!
//! **A server is where its packet came from.** The address of a sighting is the packet's source, and a packet that names
//! another one is not believed: on networks where nobody can send as somebody else, nobody can alter or end what is told of
//! somebody else.

mod freeciv;
mod mdns;
mod minecraft;
mod openttd;
mod quake3;
mod source;
mod ssdp;
mod teeworlds;

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use serde::Deserialize;

pub use self::mdns::SERVICES;
use crate::text;

/// What servers and services speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// Minecraft's Java edition: worlds that are open to the LAN.
    Minecraft,
    /// Minecraft's Bedrock edition, by RakNet.
    Bedrock,
    /// Quake III Arena and what came of it; the engine of Xonotic answers to the same.
    Quake3,
    /// Valve's A2S_INFO.
    Source,
    /// Teeworlds 0.6 and 0.7, and DDNet.
    Teeworlds,
    /// OpenTTD.
    OpenTtd,
    /// Freeciv.
    Freeciv,
    /// Multicast DNS, with DNS-based service discovery (RFC 6762, RFC 6763).
    #[serde(skip)]
    Mdns,
    /// The discovery of UPnP.
    #[serde(skip)]
    Ssdp,
}

/// A packet that came.
#[derive(Clone, Copy, Debug)]
pub struct Heard<'a> {
    /// Who sent it.
    pub source: SocketAddr,
    /// The UDP port here to which it came: a group's, or that of the searches.
    pub port: u16,
    /// The UDP payload.
    pub payload: &'a [u8],
}

/// What a packet tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// A server or service is there.
    Seen(Sighting),
    /// One has gone.
    Gone(Departure),
    /// It wants to be asked again, in this way, before it tells more.
    Ask(Vec<u8>),
}

/// A server or service that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// What it is.
    pub kind: Kind,
    /// Its name, as its owner gave it, cleaned; may be empty.
    pub name: String,
    /// The name of its machine, if it tells that.
    pub host: Option<String>,
    /// Where it is.
    pub address: IpAddr,
    /// The port to connect to.
    pub port: u16,
    /// Who plays.
    pub players: Option<Players>,
    /// The map or world.
    pub map: Option<String>,
    /// The rules that are played by.
    pub mode: Option<String>,
    /// The version of the server or of what it speaks.
    pub version: Option<String>,
    /// How long this holds if nothing more is heard; at most [`LONGEST_LIFE`].
    pub lifetime: Duration,
    /// Whether it is an answer to a search.
    pub answers: Answers,
}

/// What a server or service is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A game's server, by what it speaks.
    Game(Protocol),
    /// A service, by its type: `_daap._tcp`.
    Service(String),
    /// A UPnP device, by its type: `MediaServer`.
    Device(String),
}

/// How many play, and how many may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Players {
    /// Who plays now.
    pub current: u32,
    /// For how many there is room, if it tells that.
    pub most: Option<u32>,
}

/// A server or service that has gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Departure {
    /// What it was.
    pub kind: Kind,
    /// Where it was.
    pub address: IpAddr,
    /// Its name; nothing for all of that kind there.
    pub name: Option<String>,
}

/// Whether a packet answers a search, so that the time since then tells a round trip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answers {
    /// It was sent unasked, or after a delay that its sender chose.
    Nothing,
    /// It answers the latest search, as far as can be known.
    Search,
    /// It answers the search whose token has these bits under `mask`.
    Token {
        /// The bits.
        token: u32,
        /// Which ones it repeats.
        mask: u32,
    },
}

impl Heard<'_> {
    /// What the packet tells; nothing if it is none that is understood. At most [`MOST_TOLD`] at once.
    #[must_use]
    pub fn decode(&self) -> Vec<Told> {
        let one = |told: Option<Told>| told.into_iter().collect();
        match self.protocol() {
            Some(Protocol::Minecraft) => one(minecraft::decode(self)),
            Some(Protocol::Bedrock) => one(minecraft::decode_bedrock(self)),
            Some(Protocol::Quake3) => one(quake3::decode(self)),
            Some(Protocol::Source) => one(source::decode(self)),
            Some(Protocol::Teeworlds) => one(teeworlds::decode(self)),
            Some(Protocol::OpenTtd) => one(openttd::decode(self)),
            Some(Protocol::Freeciv) => one(freeciv::decode(self)),
            Some(Protocol::Mdns) => mdns::decode(self),
            Some(Protocol::Ssdp) => one(ssdp::decode(self)),
            None => Vec::new(),
        }
    }

    /// What a packet is, by the port here and by how it begins. Answers come from whatever port a server has.
    #[must_use]
    pub fn protocol(&self) -> Option<Protocol> {
        let begins = |with: &[u8]| self.payload.starts_with(with);
        match self.port {
            minecraft::PORT => return Some(Protocol::Minecraft),
            freeciv::PORT => return Some(Protocol::Freeciv),
            _ if self.port == mdns::PORT || self.source.port() == mdns::PORT => return Some(Protocol::Mdns),
            _ if self.port == ssdp::PORT || begins(ssdp::ANSWER) => return Some(Protocol::Ssdp),
            _ => {}
        }
        if begins(quake3::INFO) || begins(quake3::STATUS) {
            Some(Protocol::Quake3)
        } else if begins(&[0xff; 10])
            || begins(teeworlds::EXTENDED)
            || begins(&[teeworlds::CONNECTIONLESS])
            || begins(teeworlds::CONTROL)
        {
            Some(Protocol::Teeworlds)
        } else if begins(source::PREFIX) {
            Some(Protocol::Source)
        } else if begins(&[minecraft::PONG]) {
            Some(Protocol::Bedrock)
        } else if openttd::is_one(self.payload) {
            Some(Protocol::OpenTtd)
        } else {
            None
        }
    }

    /// A game's server at the place from which the packet came, of which nothing more is known.
    fn server(&self, protocol: Protocol) -> Sighting {
        Sighting {
            kind: Kind::Game(protocol),
            name: String::new(),
            host: None,
            address: self.source.ip(),
            port: self.source.port(),
            players: None,
            map: None,
            mode: None,
            version: None,
            lifetime: ASKED_LIFE,
            answers: Answers::Search,
        }
    }
}

/// A name of others.
fn name(bytes: &[u8]) -> String {
    text::clean(bytes, LONGEST_NAME)
}

/// Another word of others: a map, a mode, a version.
fn word(bytes: &[u8]) -> Option<String> {
    text::some(bytes, LONGEST_WORD)
}

/// How long an answer holds: four searches may get lost.
pub const ASKED_LIFE: Duration = Duration::from_secs(22);

/// How long anything holds without being heard again: whoever is gone is forgotten within half a minute, even if its
/// announcements say hours, as those of mDNS and SSDP do.
pub const LONGEST_LIFE: Duration = Duration::from_secs(25);

/// Characters of the longest name.
pub const LONGEST_NAME: usize = 64;

/// Characters of the longest other word.
pub const LONGEST_WORD: usize = 40;

/// What one packet may tell of at the most.
pub const MOST_TOLD: usize = 32;

/// Searches as they are sent.
pub(crate) mod searches {
    pub(crate) use super::{
        freeciv::{GROUP as FREECIV, SEARCH as FREECIV_SEARCH},
        mdns::{GROUP as MDNS, questions},
        minecraft::ping as bedrock,
        openttd::SEARCH as OPENTTD_SEARCH,
        quake3::search as quake3,
        source::SEARCH as SOURCE_SEARCH,
        ssdp::{GROUP as SSDP, SEARCH as SSDP_SEARCH},
        teeworlds::{search as teeworlds, token_request as teeworlds_token},
    };
}
