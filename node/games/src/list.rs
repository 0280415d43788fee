//! The list of games: where their servers listen, where their searches on a LAN go, and what they speak.
//!
//! The shipped list is `games.toml` beside this crate. A user's list may add games and replace those of the same name.
//! What is in a list is copied from the real LAN to the overlay ([`lift`](crate::lift)) and routed to it (groups), so a list
//! that takes more than games would break the real LAN: a group is one address, never a range, and what all machines of a LAN
//! share is refused with a reason.

use std::{collections::BTreeMap, fmt, net::Ipv4Addr, net::SocketAddrV4};

use farlan_engine::Transport;
use serde::{Deserialize, Deserializer, de::Error as _};
use thiserror::Error;
use toml::Spanned;

use crate::{heard::Protocol, ports::PortSet};

/// A listed game.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Game {
    /// The name it is opened by: small letters, digits and hyphens.
    #[serde(deserialize_with = "name")]
    pub name: String,
    /// What people call it.
    #[serde(deserialize_with = "title")]
    pub title: String,
    /// Where it listens, and where its announcements go.
    #[serde(deserialize_with = "some_ports")]
    pub ports: PortSet,
    /// Whether strangers are let in where nothing else is said.
    #[serde(default = "yes")]
    pub default: bool,
    /// The UDP ports to which its search, or its announcement, is broadcast.
    #[serde(default, deserialize_with = "searched_ports")]
    pub search: PortSet,
    /// The groups of its search and of its announcements.
    #[serde(default)]
    pub groups: Vec<Group>,
    /// What its server speaks, if that is understood here.
    #[serde(default)]
    pub protocol: Option<Protocol>,
}

impl Game {
    /// The ports to which its search is broadcast.
    pub fn searched(&self) -> impl Iterator<Item = u16> {
        self.search.ranges().iter().flat_map(|range| range.first..=range.last)
    }
}

/// One multicast group that a game uses, with its port. It is written as `224.0.2.60:4445`.
///
/// It is never one of the link's own (224.0.0.0/24), nor that of a service which all programs of a machine share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Group(SocketAddrV4);

impl Group {
    /// Checks a group.
    ///
    /// # Errors
    /// Why it is none that a list may have.
    pub fn new(address: SocketAddrV4) -> Result<Self, GroupError> {
        let ip = *address.ip();
        if ip == Ipv4Addr::BROADCAST {
            return Err(GroupError::Broadcast);
        }
        if !ip.is_multicast() {
            return Err(GroupError::NoGroup(ip));
        }
        if ip.octets()[..3] == LINK_LOCAL {
            return Err(GroupError::LinkLocal(ip));
        }
        if ip == SSDP_GROUP {
            return Err(GroupError::Shared(ip));
        }
        if address.port() == 0 {
            return Err(GroupError::Port);
        }
        Ok(Self(address))
    }

    /// Address and port.
    pub fn address(self) -> SocketAddrV4 {
        self.0
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<'de> Deserialize<'de> for Group {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.contains('/') {
            return Err(D::Error::custom(GroupError::Range(text)));
        }
        let address = text.parse().map_err(|_| D::Error::custom(GroupError::Syntax(text)))?;
        Self::new(address).map_err(D::Error::custom)
    }
}

/// Why something is no group that a list may have.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum GroupError {
    /// It is no IPv4 address with a port.
    #[error("{0:?} is no group; write address and port, like 224.0.2.60:4445, with a port from 1 to 65535")]
    Syntax(String),
    /// It is a range of groups.
    #[error(
        "{0:?} is a range of groups, which would take the traffic of other programs from the real LAN; write each group \
         by itself, like 224.0.2.60:4445"
    )]
    Range(String),
    /// It is the broadcast address.
    #[error("255.255.255.255 is no group; the ports of a search by broadcast belong in `search`")]
    Broadcast,
    /// It is another address.
    #[error("{0} is no multicast group; those are 224.0.1.0 to 239.255.255.255")]
    NoGroup(Ipv4Addr),
    /// It is one of those that routers and resolvers of a link speak in.
    #[error(
        "{0} belongs to the link itself (224.0.0.0/24: routing, IGMP, mDNS, LLMNR), and must stay on the real LAN; groups \
         of games are 224.0.1.0 to 239.255.255.255"
    )]
    LinkLocal(Ipv4Addr),
    /// It is that of a service which is dealt with apart.
    #[error("{0} is the group of SSDP, which is no game's alone and is searched without being listed")]
    Shared(Ipv4Addr),
    /// Port 0.
    #[error("a group's port is from 1 to 65535")]
    Port,
}

/// A list of games, in order of their names, which differ.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct List(Vec<Game>);

/// A list of games that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{}{message}", .line.map(|line| format!("line {line}: ")).unwrap_or_default())]
pub struct ListError {
    /// Where, from 1 on; nothing if it is nowhere in particular.
    pub line: Option<usize>,
    /// What is wrong, and what is allowed.
    pub message: String,
}

impl List {
    /// The list that comes with farlan.
    #[must_use]
    pub fn shipped() -> Self {
        // A test reads it, so it can be read.
        Self::parse(SHIPPED).expect("the shipped list is sound")
    }

    /// Reads a list.
    ///
    /// # Errors
    /// A syntax error, an unknown key, a value that is not allowed, or a name that comes twice; with the line.
    pub fn parse(text: &str) -> Result<Self, ListError> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct File {
            #[serde(default)]
            game: Vec<Spanned<Game>>,
        }
        let line = |start: usize| text.get(..start).map(|before| before.matches('\n').count() + 1);
        let file: File = toml::from_str(text).map_err(|error| ListError {
            line: error.span().and_then(|span| line(span.start)),
            message: error.message().to_owned(),
        })?;
        let mut games = BTreeMap::new();
        for spanned in file.game {
            let start = spanned.span().start;
            let game = spanned.into_inner();
            let name = game.name.clone();
            if games.insert(name.clone(), game).is_some() {
                return Err(ListError {
                    line: line(start),
                    message: format!("the game {name:?} is listed twice"),
                });
            }
        }
        Ok(Self(games.into_values().collect()))
    }

    /// This list with another one laid over it: games of the same name are replaced, others added.
    #[must_use]
    pub fn with(self, over: Self) -> Self {
        let all = self.0.into_iter().chain(over.0);
        let games: BTreeMap<String, Game> = all.map(|game| (game.name.clone(), game)).collect();
        Self(games.into_values().collect())
    }

    /// The games, in order of their names.
    #[must_use]
    pub fn games(&self) -> &[Game] {
        &self.0
    }

    /// The game of a name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&Game> {
        self.0.iter().find(|game| game.name == name)
    }

    /// All groups, each once, in order.
    #[must_use]
    pub fn groups(&self) -> Vec<Group> {
        let mut groups: Vec<Group> = self.0.iter().flat_map(|game| game.groups.iter().copied()).collect();
        groups.sort_unstable();
        groups.dedup();
        groups
    }

    /// The game whose search is broadcast to a UDP port.
    #[must_use]
    pub fn searching(&self, port: u16) -> Option<&Game> {
        self.0.iter().find(|game| game.search.contains(Transport::Udp, port))
    }

    /// The game that sends to a group's port.
    #[must_use]
    pub fn announcing(&self, group: SocketAddrV4) -> Option<&Game> {
        self.0.iter().find(|game| game.groups.contains(&Group(group)))
    }

    /// The game of a server that speaks `protocol` at `port`: the one that is searched there, else the first one that speaks it.
    #[must_use]
    pub fn speaking(&self, protocol: Protocol, port: u16) -> Option<&Game> {
        let mut speaking = self.0.iter().filter(|game| game.protocol == Some(protocol));
        let first = speaking.clone().next();
        let exact = speaking
            .find(|game| game.search.contains(Transport::Udp, port) || game.ports.contains(Transport::Udp, port));
        exact.or(first)
    }
}

fn name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if text.is_empty() || text.len() > LONGEST_NAME || !text.bytes().all(plain) {
        return Err(D::Error::custom(format_args!(
            "{text:?} is no name of a game; it is 1 to {LONGEST_NAME} small letters, digits and hyphens"
        )));
    }
    if text.parse::<PortSet>().is_ok() {
        return Err(D::Error::custom(format_args!(
            "{text:?} is a port, so it cannot name a game"
        )));
    }
    Ok(text)
}

fn title<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.is_empty() || text.chars().count() > LONGEST_TITLE || text.chars().any(char::is_control) {
        return Err(D::Error::custom(format_args!(
            "a title is 1 to {LONGEST_TITLE} characters without control characters"
        )));
    }
    Ok(text)
}

fn some_ports<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PortSet, D::Error> {
    let ports = PortSet::deserialize(deserializer)?;
    if ports.is_empty() {
        return Err(D::Error::custom("a game has at least one port, like \"25565/tcp\""));
    }
    Ok(ports)
}

fn searched_ports<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PortSet, D::Error> {
    let ports = PortSet::deserialize(deserializer)?;
    let mut count = 0;
    for range in ports.ranges() {
        if range.transport != Transport::Udp {
            return Err(D::Error::custom(
                "a search is broadcast over UDP; write its ports like \"27960-27963/udp\"",
            ));
        }
        if range.first < 1024 {
            return Err(D::Error::custom(
                "ports below 1024 are those of services that all machines of a LAN share, such as DHCP; a search goes to one \
                 from 1024 to 65535",
            ));
        }
        for (shared, service) in SHARED_PORTS {
            if (range.first..=range.last).contains(&shared) {
                return Err(D::Error::custom(format_args!(
                    "port {shared} is that of {service}, which all machines of a LAN share, and no game's search"
                )));
            }
        }
        count += usize::from(range.last - range.first) + 1;
    }
    if count > MOST_SEARCHED {
        return Err(D::Error::custom(format_args!(
            "a game's search goes to {MOST_SEARCHED} ports at the most, and here it would be {count}"
        )));
    }
    Ok(ports)
}

fn yes() -> bool {
    true
}

const SHIPPED: &str = include_str!("../games.toml");

/// Characters of the longest name, so that tables stay tables.
const LONGEST_NAME: usize = 32;

/// Characters of the longest title.
const LONGEST_TITLE: usize = 100;

/// How many ports one game may search: each costs a broadcast, and each is copied from the real LAN.
const MOST_SEARCHED: usize = 32;

/// The groups of a link itself, which no router passes on (RFC 5771 §4).
const LINK_LOCAL: [u8; 3] = [224, 0, 0];

/// The group of SSDP, in which every machine of a LAN speaks.
pub(crate) const SSDP_GROUP: Ipv4Addr = Ipv4Addr::new(239, 255, 255, 250);

/// Ports of a LAN's own services.
const SHARED_PORTS: [(u16, &str); 5] = [
    (1900, "SSDP"),
    (3702, "WS-Discovery"),
    (5353, "mDNS"),
    (5355, "LLMNR"),
    (9600, "farlan"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_list_is_sound() {
        let list = List::shipped();
        assert!(list.games().len() >= 21, "{}", list.games().len());
        assert!(list.games().is_sorted_by(|one, other| one.name < other.name));
        let in_file: Vec<&str> = SHIPPED
            .lines()
            .filter_map(|line| line.strip_prefix("name = "))
            .collect();
        assert!(in_file.is_sorted(), "the file is in order too");
        assert_eq!(
            list.groups().iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["224.0.2.60:4445", "225.1.1.1:4555", "225.1.1.1:4556"]
        );
        // Whoever is understood here is asked somewhere, or announces itself somewhere.
        for game in list.games().iter().filter(|game| game.protocol.is_some()) {
            assert!(!game.search.is_empty() || !game.groups.is_empty(), "{}", game.name);
        }
        let told = |port| list.searching(port).map(|game| game.name.as_str());
        assert_eq!(told(27962), Some("quake3"));
        assert_eq!(told(26000), Some("xonotic"));
        assert_eq!(told(6112), Some("warcraft3"));
        assert_eq!(told(67), None);
        assert_eq!(told(5353), None);
        let group = |text: &str| list.announcing(text.parse().unwrap()).map(|game| game.name.as_str());
        assert_eq!(group("224.0.2.60:4445"), Some("minecraft"));
        assert_eq!(group("224.0.2.60:4446"), None);
        assert_eq!(list.speaking(Protocol::Quake3, 26000).unwrap().name, "xonotic");
        assert_eq!(list.speaking(Protocol::Quake3, 27961).unwrap().name, "quake3");
        assert_eq!(list.speaking(Protocol::Quake3, 4711).unwrap().name, "quake3");
        assert_eq!(List::default().speaking(Protocol::Quake3, 27960), None);
    }

    #[test]
    fn a_list_of_ones_own_replaces_and_adds() {
        let own = List::parse(
            "[[game]]\nname = \"warsow\"\ntitle = \"Warsow\"\nports = [\"44400/udp\"]\nsearch = [\"44400/udp\"]\n\
             protocol = \"quake3\"\n\
             [[game]]\nname = \"quake3\"\ntitle = \"Quake\"\nports = [\"27970/udp\"]\n",
        )
        .unwrap();
        let list = List::shipped().with(own);
        assert_eq!(list.games().len(), List::shipped().games().len() + 1);
        assert!(list.games().is_sorted_by(|one, other| one.name < other.name));
        assert_eq!(list.searching(44400).unwrap().name, "warsow");
        let quake = list.find("quake3").unwrap();
        assert_eq!((quake.title.as_str(), quake.protocol), ("Quake", None));
        assert_eq!(list.searching(27960), None, "the whole entry is replaced");
        assert_eq!(List::parse("").unwrap(), List::default());
    }

    #[test]
    fn what_is_wrong_is_said_with_the_line_and_with_what_is_allowed() {
        let game = "[[game]]\nname = \"chess\"\ntitle = \"Chess\"\nports = [\"5000/udp\"]\n";
        let wrong = |text: &str| List::parse(&format!("{game}\n{text}")).unwrap_err().to_string();
        for (text, said) in [
            ("x = 1", "line 6: unknown field `x`"),
            ("search = \"5\"", "line 6: invalid type"),
            (
                "search = [\"5\"]",
                "line 6: a search is broadcast over UDP; write its ports like \"27960-27963/udp\"",
            ),
            (
                "search = [\"0/udp\"]",
                "line 6: \"0/udp\" is no port; write it like 25565",
            ),
            ("search = [\"65536/udp\"]", "with ports from 1 to 65535"),
            ("search = [\"67-68/udp\"]", "line 6: ports below 1024"),
            ("search = [\"1890-1910/udp\"]", "line 6: port 1900 is that of SSDP"),
            ("search = [\"5353/udp\"]", "line 6: port 5353 is that of mDNS"),
            (
                "search = [\"2000-2032/udp\"]",
                "32 ports at the most, and here it would be 33",
            ),
            (
                "groups = [\"224.0.0.0/4\"]",
                "line 6: \"224.0.0.0/4\" is a range of groups",
            ),
            (
                "groups = [\"255.255.255.255:4445\"]",
                "line 6: 255.255.255.255 is no group; the ports",
            ),
            (
                "groups = [\"10.0.0.1:4445\"]",
                "line 6: 10.0.0.1 is no multicast group; those are 224.0.1.0 to",
            ),
            (
                "groups = [\"224.0.0.251:5353\"]",
                "line 6: 224.0.0.251 belongs to the link itself",
            ),
            (
                "groups = [\"224.0.0.1:4445\"]",
                "line 6: 224.0.0.1 belongs to the link itself",
            ),
            (
                "groups = [\"239.255.255.250:1900\"]",
                "line 6: 239.255.255.250 is the group of SSDP",
            ),
            (
                "groups = [\"224.0.2.60\"]",
                "line 6: \"224.0.2.60\" is no group; write address and port",
            ),
            (
                "groups = [\"224.0.2.60:0\"]",
                "line 6: a group's port is from 1 to 65535",
            ),
            (
                "groups = [\"[ff02::1]:4445\"]",
                "line 6: \"[ff02::1]:4445\" is no group",
            ),
            (
                "protocol = \"chess\"",
                "line 6: unknown variant `chess`, expected one of `minecraft`, `bedrock`",
            ),
            ("protocol = \"mdns\"", "line 6: unknown variant `mdns`"),
            (
                "[[game]]\nname = \"Chess\"",
                "line 7: \"Chess\" is no name of a game; it is 1 to 32 small letters",
            ),
            ("[[game]]\nname = \"1\"", "line 7: \"1\" is a port"),
            ("[[game]]\nname = \"x\"", "missing field `title`"),
            (
                "[[game]]\nname = \"x\"\ntitle = \"\"",
                "line 8: a title is 1 to 100 characters",
            ),
            (
                "[[game]]\nname = \"x\"\ntitle = \"x\"\nports = []",
                "line 9: a game has at least one port",
            ),
            ("[[game]]\nname = \"x\"\ntitle = \"a\\u001bb\"", "line 8: a title is"),
            (game, "line 6: the game \"chess\" is listed twice"),
            ("[[game", "line 6: "),
        ] {
            let said_is = wrong(text);
            assert!(said_is.contains(said), "{text}: {said_is}");
        }
        assert_eq!(List::parse(&format!("{game}default = false")).unwrap().games().len(), 1);
    }
}
