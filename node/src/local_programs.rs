//! What programs of this machine listen to: ports of UDP and TCP, and groups of link layers.
//!
//! The kernel tells all of it to everybody, in tables of text under `/proc/net`, for the daemon's own network namespace. They say
//! nothing of which card a socket is bound to; a program that listens on another card alone counts as one here.
//!
//! ```text
//! udp, udp6, tcp, tcp6:  sl  local_address rem_address   st …
//!                         9: 00000000:6D38 00000000:0000 07 …      addresses as words of this machine's byte order
//! dev_mcast:             7    fl-lan          1     0     01005e000001
//! ```

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::Read,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::{Duration, Instant},
};

use farlan_engine::{Channel, OpenPorts, Transport};
use farlan_games::list::Group;
use farlan_netconf::Mac;

use crate::{games::List, ports::PortSet};

/// What programs listen to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LocalPrograms {
    /// Where datagrams from anybody are received.
    udp: BTreeSet<(u16, IpAddr)>,
    /// Where connections are accepted.
    tcp: BTreeSet<(u16, IpAddr)>,
    /// The link-layer groups of each card, by its number.
    groups: BTreeMap<u32, BTreeSet<Mac>>,
}

/// Reads the kernel's tables.
///
/// Behind the sockets that listen, those of TCP hold all connections, and the kernel walks through a table of some 500,000 places for
/// them, which takes milliseconds. So they are read only when the number of sockets is another than before, and now and then.
#[derive(Debug, Default)]
pub struct Reader {
    tcp: Option<ReadTcp>,
}

/// What was read of TCP.
#[derive(Debug)]
struct ReadTcp {
    listening: BTreeSet<(u16, IpAddr)>,
    /// How many sockets of TCP there were, over IPv4 and IPv6.
    counts: [Option<u64>; 2],
    when: Instant,
}

impl Reader {
    /// What the kernel says now; what it does not say is nothing. `with_tcp` is worth it for ports that are to be opened.
    pub fn read(&mut self, with_tcp: bool) -> LocalPrograms {
        let mut programs = LocalPrograms::default();
        for (table, name) in TABLES.into_iter().filter(|(table, _)| *table != Table::Tcp) {
            programs.parse(table, &read(name));
        }
        if with_tcp {
            // Counted before: what begins to listen meanwhile changes the next count.
            let counts = [("sockstat", "TCP:"), ("sockstat6", "TCP6:")].map(|(name, kind)| in_use(&read(name), kind));
            let is_fresh = |before: &ReadTcp| before.counts == counts && before.when.elapsed() < TCP_AGAIN;
            if !(counts[0].is_some() && self.tcp.as_ref().is_some_and(is_fresh)) {
                let mut read_now = LocalPrograms::default();
                for (table, name) in TABLES.into_iter().filter(|(table, _)| *table == Table::Tcp) {
                    read_now.parse(table, &read(name));
                }
                self.tcp = Some(ReadTcp {
                    listening: read_now.tcp,
                    counts,
                    when: Instant::now(),
                });
            }
            if let Some(before) = &self.tcp {
                programs.tcp.clone_from(&before.listening);
            }
        }
        programs
    }
}

/// A kind of table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// Sockets of UDP, over IPv4 or IPv6.
    Udp,
    /// Those of TCP.
    Tcp,
    /// Groups of link layers.
    Groups,
}

/// A card as far as it matters who listens there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListeningCard {
    /// Its number.
    pub index: u32,
    /// Its addresses, with its broadcast address.
    pub addresses: Vec<IpAddr>,
}

impl LocalPrograms {
    /// Adds what a table says. A line that is none of it is passed over, and so is what lies beyond the bounds.
    pub fn parse(&mut self, table: Table, text: &str) {
        for line in text.lines().take(MOST_LINES) {
            match table {
                Table::Udp => self.udp.extend(listening(line, UNCONNECTED)),
                Table::Tcp => self.tcp.extend(listening(line, LISTENING)),
                Table::Groups => {
                    if let Some((card, group)) = group(line)
                        && (self.groups.contains_key(&card) || self.groups.len() < MOST_CARDS)
                    {
                        let groups = self.groups.entry(card).or_default();
                        if groups.len() < MOST_GROUPS {
                            groups.insert(group);
                        }
                    }
                }
            }
        }
    }

    /// The ports among `within` at which a program can be reached through a card.
    #[must_use]
    pub fn reached(&self, card: &ListeningCard, within: &PortSet) -> PortSet {
        let both = [(Transport::Tcp, &self.tcp), (Transport::Udp, &self.udp)];
        let ports = both.into_iter().flat_map(|(transport, sockets)| {
            let here = sockets.iter().filter(move |(_, address)| card.has(*address, transport));
            here.map(move |(port, _)| (transport, *port))
        });
        let wanted = ports.filter(|(transport, port)| within.contains(*transport, *port));
        wanted
            .map(|(transport, port)| OpenPorts {
                transport,
                first: port,
                last: port,
            })
            .collect()
    }

    /// What a card's programs want to hear of what goes to many: broadcasts to those ports of listed searches on which a program
    /// listens, and the card's groups. Those of listed games this node joins by itself, so they count only where a program listens
    /// at a port of theirs.
    #[must_use]
    pub fn channels(&self, card: &ListeningCard, list: &List) -> Vec<Channel> {
        let searched = list
            .games()
            .iter()
            .fold(PortSet::default(), |all, game| all.with(&game.search));
        let listening = self.reached(card, &searched);
        let ports = listening.ranges().iter().flat_map(|range| range.first..=range.last);
        let mut listed: BTreeMap<Mac, BTreeSet<u16>> = BTreeMap::new();
        for group in list.groups().into_iter().map(Group::address) {
            listed.entry(mac_of(*group.ip())).or_default().insert(group.port());
        }
        let is_heard = |group: &Mac| {
            let ports = listed.get(group);
            ports.is_none_or(|ports| ports.iter().any(|port| self.hears(card, *port)))
        };
        let groups = self.groups.get(&card.index).into_iter().flatten();
        ports
            .map(Channel::broadcasts)
            .chain(groups.copied().filter(is_heard).map(Channel::multicast))
            .filter(Channel::is_specific)
            .collect()
    }

    /// Whether a program gets what comes to a UDP port through a card.
    fn hears(&self, card: &ListeningCard, port: u16) -> bool {
        let lowest = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        let mut there = self.udp.range((port, lowest)..).take_while(|(at, _)| *at == port);
        there.any(|(_, address)| card.has(*address, Transport::Udp))
    }
}

impl ListeningCard {
    /// Whether a socket that is bound to an address gets what comes to this card. Whoever is bound to a group, or to the
    /// broadcast address, hears that.
    fn has(&self, bound: IpAddr, transport: Transport) -> bool {
        let of_all = transport == Transport::Udp && (bound.is_multicast() || bound == IpAddr::V4(Ipv4Addr::BROADCAST));
        bound.is_unspecified() || of_all || self.addresses.contains(&bound)
    }
}

/// The link layer's group of a group of IPv4 (RFC 1112 §6.4), which 31 others share.
pub(crate) fn mac_of(group: Ipv4Addr) -> Mac {
    let [_, b, c, d] = group.octets();
    Mac::from_bytes([0x01, 0x00, 0x5e, b & 0x7f, c, d])
}

/// Where a socket of the state listens.
fn listening(line: &str, state: u8) -> Option<(u16, IpAddr)> {
    let mut words = line.split_ascii_whitespace();
    words.next()?.strip_suffix(':')?;
    let (address, port) = words.next()?.split_once(':')?;
    words.next()?;
    if hexadecimal(words.next()?, 2)? != u32::from(state) {
        return None;
    }
    let port = u16::try_from(hexadecimal(port, 4)?).ok().filter(|port| *port > 0)?;
    Some((port, ip(address)?))
}

/// An address as the kernel writes it: each 32 bits of it as a number of this machine's byte order.
fn ip(text: &str) -> Option<IpAddr> {
    let word = |at: usize| Some(hexadecimal(text.get(at..at + 8)?, 8)?.to_ne_bytes());
    match text.len() {
        8 => Some(Ipv4Addr::from(word(0)?).into()),
        32 => {
            let words = [word(0)?, word(8)?, word(16)?, word(24)?];
            let bytes: [u8; 16] = words.concat().try_into().ok()?;
            Some(Ipv6Addr::from(bytes).to_canonical())
        }
        _ => None,
    }
}

/// The card's number and the group of a line.
fn group(line: &str) -> Option<(u32, Mac)> {
    let mut words = line.split_ascii_whitespace();
    let card = words.next()?.parse().ok()?;
    // Names of cards have no blanks.
    let [_, _, _, text] = [words.next()?, words.next()?, words.next()?, words.next()?];
    if text.len() != 12 || words.next().is_some() {
        return None;
    }
    let byte = |at: usize| u8::try_from(hexadecimal(text.get(at..at + 2)?, 2)?).ok();
    let bytes = [byte(0)?, byte(2)?, byte(4)?, byte(6)?, byte(8)?, byte(10)?];
    Some((card, Mac::from_bytes(bytes))).filter(|(_, group)| group.is_group())
}

/// A number of exactly so many hexadecimal digits, 8 at the most.
fn hexadecimal(text: &str, digits: usize) -> Option<u32> {
    let plain = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    plain.then(|| u32::from_str_radix(text, 16).ok())?
}

/// How many sockets of a kind there are: `TCP: inuse 3 …`.
fn in_use(text: &str, kind: &str) -> Option<u64> {
    let mut lines = text.lines().filter_map(|line| line.strip_prefix(kind));
    lines.next()?.strip_prefix(" inuse ")?.split(' ').next()?.parse().ok()
}

/// A table, as far as it is looked at; empty if there is none, as where IPv6 is switched off.
fn read(name: &str) -> String {
    let mut bytes = Vec::new();
    // What was read before an error is of use all the same.
    let _ = File::open(format!("/proc/net/{name}")).and_then(|file| file.take(MOST_BYTES).read_to_end(&mut bytes));
    String::from_utf8_lossy(&bytes).into_owned()
}

/// All tables. Those of TCP begin with the sockets that listen.
const TABLES: [(Table, &str); 5] = [
    (Table::Udp, "udp"),
    (Table::Udp, "udp6"),
    (Table::Tcp, "tcp"),
    (Table::Tcp, "tcp6"),
    (Table::Groups, "dev_mcast"),
];

/// When the tables of TCP are read again whatever is counted: one program may have taken another's place in between.
const TCP_AGAIN: Duration = Duration::from_secs(30);

/// The state of a UDP socket that takes datagrams from anybody (`TCP_CLOSE` in Linux' `tcp_states.h`).
const UNCONNECTED: u8 = 7;

/// That of a TCP socket that accepts connections (`TCP_LISTEN`).
const LISTENING: u8 = 10;

/// How much of a table is read, in bytes: about 7,000 sockets over IPv4.
const MOST_BYTES: u64 = 1 << 20;

/// How many lines of a table are looked at.
const MOST_LINES: usize = 8192;

/// Of how many cards the groups are kept.
const MOST_CARDS: usize = 256;

/// How many groups of a card are kept; the kernel joins a few by itself, and each program a few more.
const MOST_GROUPS: usize = 256;

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};

    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn ports(texts: &[&str]) -> PortSet {
        let parse = |text: &&str| text.parse::<PortSet>().unwrap();
        texts
            .iter()
            .map(parse)
            .fold(PortSet::default(), |all, one| all.with(&one))
    }

    fn card() -> ListeningCard {
        ListeningCard {
            index: 7,
            addresses: ["10.64.0.1", "10.127.255.255", "fd00::1", "fe80::1"]
                .map(|text| text.parse().unwrap())
                .to_vec(),
        }
    }

    /// A line as the kernel writes it.
    fn line(address: &str, port: u16, state: u8) -> String {
        let address: IpAddr = address.parse().unwrap();
        let bytes = match address {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        };
        let words: String = bytes
            .chunks(4)
            .map(|word| format!("{:08X}", u32::from_ne_bytes(word.try_into().unwrap())))
            .collect();
        let nobody = "0".repeat(words.len());
        format!(
            "  21: {words}:{port:04X} {nobody}:0000 {state:02X} 00000000:00000000 00:00000000 00000000     0        0 \
             1234 2 0000000000000000 0\n"
        )
    }

    fn all(programs: &LocalPrograms) -> String {
        programs.reached(&card(), &ports(&["1-65535"])).to_string()
    }

    #[test]
    fn who_can_be_reached_through_the_card_listens() {
        let mut programs = LocalPrograms::default();
        let head = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n";
        let udp: String = [
            line("0.0.0.0", 27960, 7),
            line("10.64.0.1", 8303, 7),
            line("10.127.255.255", 8304, 7),
            line("255.255.255.255", 8305, 7),
            line("224.0.2.60", 4445, 7),
            line("127.0.0.1", 1, 7),
            line("192.168.1.2", 2, 7),
            line("0.0.0.0", 3, 1),
        ]
        .concat();
        programs.parse(Table::Udp, &format!("{head}{udp}"));
        let udp6 = [
            line("::", 3979, 7),
            line("fd00::1", 19132, 7),
            line("::1", 4, 7),
            line("fd00::2", 5, 7),
            line("::ffff:10.64.0.1", 7777, 7),
            line("::ffff:192.168.1.2", 6, 7),
        ];
        programs.parse(Table::Udp, &udp6.concat());
        let tcp = [
            line("0.0.0.0", 25565, 10),
            line("0.0.0.0", 7, 1),
            line("224.0.2.60", 8, 10),
        ];
        programs.parse(Table::Tcp, &tcp.concat());
        assert_eq!(
            all(&programs),
            "25565/tcp, 3979/udp, 4445/udp, 7777/udp, 8303-8305/udp, 19132/udp, 27960/udp"
        );
        let few = programs.reached(&card(), &ports(&["27960-27963/udp", "25565/udp"]));
        assert_eq!(few.to_string(), "27960/udp");
    }

    #[test]
    fn channels_are_the_cards_groups_and_the_listed_searches_that_somebody_hears() {
        let mut programs = LocalPrograms::default();
        let groups = "1    lo              1     0     01005e000001\n\
                      7    fl-earth        1     0     01005e000001\n\
                      7    fl-earth        1     0     01005e00023c\n\
                      7    fl-earth        1     0     01005e010101\n\
                      7    fl-earth        1     0     01005e010203\n\
                      7    fl-earth        2     0     3333000000fb\n\
                      7    fl-earth        1     0     021122334455\n\
                      7    fl-earth        1     0     01005e00000\n\
                      7    fl-earth        1     0     +1005e000001\n";
        programs.parse(Table::Groups, groups);
        let udp = [
            line("0.0.0.0", 27961, 7),
            line("0.0.0.0", 5353, 7),
            line("224.0.2.60", 4445, 7),
            line("127.0.0.1", 8303, 7),
            line("127.0.0.1", 4555, 7),
        ];
        programs.parse(Table::Udp, &udp.concat());
        assert_eq!(
            programs.channels(&card(), &List::shipped()),
            [
                Channel::broadcasts(27961),
                Channel::multicast(Mac::from_bytes([1, 0, 0x5e, 0, 2, 60])),
                Channel::multicast(Mac::from_bytes([1, 0, 0x5e, 1, 2, 3])),
            ],
            "what all listen to is no channel, nor what nobody hears at its port"
        );
    }

    #[test]
    fn memberships_in_listed_groups_alone_are_no_channels() {
        let list = List::shipped();
        let mut programs = LocalPrograms::default();
        let groups: String = list
            .groups()
            .iter()
            .map(|group| {
                let [_, b, c, d] = group.address().ip().octets();
                format!(
                    "7    fl-earth        1     0     01005e{:02x}{c:02x}{d:02x}\n",
                    b & 0x7f
                )
            })
            .collect();
        programs.parse(Table::Groups, &groups);
        assert_eq!(programs.channels(&card(), &list), []);
        // Freeciv's group has two ports, and one of them is enough.
        for port in [4555, 4556] {
            let mut programs = programs.clone();
            programs.parse(Table::Udp, &line("::", port, 7));
            let group = Channel::multicast(Mac::from_bytes([1, 0, 0x5e, 1, 1, 1]));
            assert_eq!(programs.channels(&card(), &list), [group]);
        }
    }

    #[test]
    fn tables_have_a_bound() {
        let mut programs = LocalPrograms::default();
        let udp: String = (1..=9000).map(|port| line("0.0.0.0", port, 7)).collect();
        programs.parse(Table::Udp, &udp);
        assert_eq!(programs.udp.len(), MOST_LINES);
        let group = |card: usize, group: usize| format!("{card} x 1 0 0100{group:08x}\n");
        programs.parse(Table::Groups, &(0..1000).map(|at| group(1, at)).collect::<String>());
        programs.parse(Table::Groups, &(0..1000).map(|at| group(at, 1)).collect::<String>());
        assert_eq!(programs.groups.len(), MOST_CARDS);
        assert_eq!(programs.groups[&1].len(), MOST_GROUPS);
    }

    #[test]
    fn this_machine_tells_who_listens() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let connected = UdpSocket::bind("127.0.0.1:0").unwrap();
        connected.connect(socket.local_addr().unwrap()).unwrap();
        let card = ListeningCard {
            index: 1,
            addresses: vec!["127.0.0.1".parse().unwrap()],
        };
        let found = Reader::default().read(false).reached(&card, &ports(&["1-65535/udp"]));
        assert!(found.contains(Transport::Udp, socket.local_addr().unwrap().port()));
        assert!(!found.contains(Transport::Udp, connected.local_addr().unwrap().port()));
    }

    #[test]
    fn who_accepts_connections_is_found_though_the_tables_are_not_always_read() {
        let card = ListeningCard {
            index: 1,
            addresses: vec!["127.0.0.1".parse().unwrap()],
        };
        let mut reader = Reader::default();
        let mut found = |port: u16| {
            let reached = reader.read(true).reached(&card, &ports(&["1-65535/tcp"]));
            reached.contains(Transport::Tcp, port)
        };
        let mut listeners = Vec::new();
        let mut is_found_soon = || {
            // Other tests open and close sockets meanwhile, so that a count may be as before by chance.
            (0..100).any(|_| {
                listeners.push(TcpListener::bind("127.0.0.1:0").unwrap());
                found(listeners.last().unwrap().local_addr().unwrap().port())
            })
        };
        assert!(is_found_soon(), "the first time");
        assert!(is_found_soon(), "when there are more");
        let sockstat = "sockets: used 9\nTCP: inuse 3 orphan 0 tw 1 alloc 5 mem 1\nUDP: inuse 2 mem 1\n";
        assert_eq!(in_use(sockstat, "TCP:"), Some(3));
        assert_eq!(in_use("TCP6: inuse 7\n", "TCP6:"), Some(7));
        for other in ["", "TCP: inuse", "TCP: used 3", "TCP: inuse x 3"] {
            assert_eq!(in_use(other, "TCP:"), None, "{other:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_passed_over(text in "[ 0-9A-Fa-f:\\n]{0,300}", other in "\\PC{0,100}") {
            let mut programs = LocalPrograms::default();
            for table in [Table::Udp, Table::Tcp, Table::Groups] {
                programs.parse(table, &text);
                programs.parse(table, &other);
            }
        }

        #[test]
        fn what_the_kernel_writes_is_what_is_read(
            sockets in vec((any::<[u8; 16]>(), any::<bool>(), 1_u16.., 0_u8..12), 0..20),
        ) {
            let mut programs = LocalPrograms::default();
            let mut expected = BTreeSet::new();
            for (bytes, ipv6, port, state) in sockets {
                let address = match ipv6 {
                    true => IpAddr::from(bytes),
                    false => IpAddr::from(*bytes.first_chunk::<4>().unwrap()),
                };
                programs.parse(Table::Udp, &line(&address.to_string(), port, state));
                if state == 7 {
                    expected.insert((port, address.to_canonical()));
                }
            }
            prop_assert_eq!(programs.udp, expected);
        }
    }
}
