//! What the daemon and the card helper say to each other: a few fixed requests and their answers.
//!
//! Each is one message of a socket pair that keeps messages apart (`SOCK_SEQPACKET`), of at most [`LONGEST`] bytes, with
//! numbers in little-endian order. A request is answered before the next one is sent. The helper believes nothing of a
//! request, so parsing is strict: every length, kind and flag is checked, and bytes left over are a mistake.
//!
//! ```text
//! request = kind 1 | fields
//!   1 begin             owner text | count u16 | names text …
//!   2 create            name text | MAC 6 | MTU u16 | queue u32 | flags 1 | count u16 | addresses …
//!                       flags: 1 router advertisements are obeyed, 2 offloads
//!   3 add address       index u32 | address
//!   4 remove address    index u32 | address
//!   5 restore addresses index u32 | count u16 | addresses …
//!   6 remove stale
//!   7 direct names      index u32 | port u16
//!   8 revert names      index u32
//!   9 hosts             flags 1 | count u16 | names …
//!                       flags: 1 more are to come
//!  10 group routes      index u32 | flags 1 | count u16, at most MOST_GROUPS | groups 4 …
//!                       flags: 1 the limited broadcast too
//!
//! answer = kind 1 | fields
//!   0 error             see `TapError`: variant 1 | fields in the order of their declaration
//!   1 done
//!   2 card              name text | index u32 | flags 1 | reason text            (with the card's descriptor)
//!                       flags: 1 IPv6, 2 header, 4 TCP, 8 ECN, 16 UDP
//!   3 restored          IPv6 1 | count u16 | addresses …
//!   4 removed           count u16 | names text …
//!
//! text    = length u16, at most LONGEST_TEXT | UTF-8
//! name    = flags 1 | IPv4 4 if there is one | IPv6 16 if there is one | text
//!           flags: 1 IPv4, 2 IPv6
//! address = 4 | octets 4 | prefix 1, or 6 | octets 16 | prefix 1
//! ```

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::device::{Address, Restored};
use crate::error::TapError;
use crate::offloads::Offloads;

/// What the daemon asks of the helper.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Request {
    /// The first one, and only that: whose cards the helper makes from now on, and which names they may have besides
    /// those of farlan's own pattern.
    Begin {
        /// As [`Create::owner`](crate::Create::owner).
        owner: String,
        /// Interface names.
        names: Vec<String>,
    },
    /// [`create`](crate::create); the owner is known.
    Create(Wanted),
    /// [`add_address`](crate::add_address).
    AddAddress {
        /// The card's interface index.
        index: u32,
        /// Which address.
        address: Address,
    },
    /// [`remove_address`](crate::remove_address).
    RemoveAddress {
        /// The card's interface index.
        index: u32,
        /// Which address.
        address: Address,
    },
    /// [`restore_addresses`](crate::restore_addresses).
    RestoreAddresses {
        /// The card's interface index.
        index: u32,
        /// Which it should have.
        addresses: Vec<Address>,
    },
    /// [`remove_stale`](crate::remove_stale); the owner is known.
    RemoveStale,
    /// Has systemd-resolved ask the daemon for the names of a card's network.
    DirectNames {
        /// The card's interface index.
        index: u32,
        /// Where the daemon answers: a UDP and TCP port of 127.0.0.1.
        port: u16,
    },
    /// Takes that back.
    RevertNames {
        /// The card's interface index.
        index: u32,
    },
    /// Replaces the names in `/etc/hosts`; none take the block out.
    Hosts {
        /// These, and what is to come.
        names: Vec<HostName>,
        /// Whether the file waits for more of them.
        more: bool,
    },
    /// Replaces the routes by which groups, and the limited broadcast, lead to a card.
    GroupRoutes {
        /// The card's interface index.
        index: u32,
        /// The groups; none take the routes away.
        groups: Vec<Ipv4Addr>,
        /// Whether 255.255.255.255 leads there, too.
        broadcast: bool,
    },
}

/// A name with its addresses.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HostName {
    /// Its IPv4 address.
    pub ipv4: Option<Ipv4Addr>,
    /// Its IPv6 address.
    pub ipv6: Option<Ipv6Addr>,
    /// `MEMBER.NETWORK.farlan.internal`.
    pub name: String,
}

impl HostName {
    /// Its addresses.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        let ipv6 = self.ipv6.map(IpAddr::V6);
        self.ipv4.map(IpAddr::V4).into_iter().chain(ipv6)
    }
}

/// A [`Create`](crate::Create) without its owner; the fields are those of it.
#[allow(missing_docs, reason = "as above")]
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Wanted {
    pub name: String,
    pub mac: [u8; 6],
    pub mtu: u16,
    pub addresses: Vec<Address>,
    pub tx_queue: u32,
    pub accept_router_advertisements: bool,
    pub offloads: bool,
}

/// What the helper answers.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Answer {
    /// It was not done, or not wholly.
    Error(TapError),
    /// It is done.
    Done,
    /// The card is made; its descriptor comes beside the message.
    Card(Made),
    /// What was put back.
    Restored(Restored),
    /// The names of the devices that were removed.
    Removed(Vec<String>),
}

/// A [`Card`](crate::Card) without its descriptor; the fields are those of it.
#[allow(missing_docs, reason = "as above")]
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Made {
    pub name: String,
    pub index: u32,
    pub ipv6: bool,
    pub offloads: Offloads,
}

/// A message that is none.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Malformed;

/// Bytes of the longest message.
pub const LONGEST: usize = 16 << 10;

/// Bytes of the longest text. The longest that is sent names a file and an interface, or an interface's alias, of 255 bytes
/// at most; what is longer is cut.
const LONGEST_TEXT: usize = 400;

/// Names and addresses in one message, at most: more than a daemon has networks.
pub const MOST: usize = 256;

/// Host names in one message, at most. They have up to 143 characters, so as many fit.
pub const MOST_NAMES: usize = 64;

/// Groups that lead to cards, at most.
pub const MOST_GROUPS: usize = 64;

impl Request {
    /// The message, which is longer than [`LONGEST`] for no request whose lists have at most [`MOST`] entries with names
    /// that interfaces can have.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Writer::default();
        match self {
            Self::Begin { owner, names } => {
                out.u8(1);
                out.text(owner);
                out.texts(names);
            }
            Self::Create(wanted) => {
                out.u8(2);
                out.text(&wanted.name);
                out.bytes(&wanted.mac);
                out.u16(wanted.mtu);
                out.u32(wanted.tx_queue);
                out.flags([wanted.accept_router_advertisements, wanted.offloads]);
                out.addresses(&wanted.addresses);
            }
            Self::AddAddress { index, address } => {
                out.u8(3);
                out.u32(*index);
                out.address(address);
            }
            Self::RemoveAddress { index, address } => {
                out.u8(4);
                out.u32(*index);
                out.address(address);
            }
            Self::RestoreAddresses { index, addresses } => {
                out.u8(5);
                out.u32(*index);
                out.addresses(addresses);
            }
            Self::RemoveStale => out.u8(6),
            Self::DirectNames { index, port } => {
                out.u8(7);
                out.u32(*index);
                out.u16(*port);
            }
            Self::RevertNames { index } => {
                out.u8(8);
                out.u32(*index);
            }
            Self::Hosts { names, more } => {
                out.u8(9);
                out.flags([*more]);
                let names = names.get(..MOST_NAMES).unwrap_or(names);
                out.u16(u16::try_from(names.len()).unwrap_or(0));
                names.iter().for_each(|name| out.host_name(name));
            }
            Self::GroupRoutes {
                index,
                groups,
                broadcast,
            } => {
                out.u8(10);
                out.u32(*index);
                out.flags([*broadcast]);
                let groups = groups.get(..MOST_GROUPS).unwrap_or(groups);
                out.u16(u16::try_from(groups.len()).unwrap_or(0));
                groups.iter().for_each(|group| out.bytes(&group.octets()));
            }
        }
        out.0
    }

    /// Reads a message.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn parse(message: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(message)?;
        let request = match reader.u8()? {
            1 => Self::Begin {
                owner: reader.text()?,
                names: reader.texts()?,
            },
            2 => {
                let name = reader.text()?;
                let mac = reader.array()?;
                let mtu = reader.u16()?;
                let tx_queue = reader.u32()?;
                let [accept_router_advertisements, offloads] = reader.flags()?;
                Self::Create(Wanted {
                    name,
                    mac,
                    mtu,
                    addresses: reader.addresses()?,
                    tx_queue,
                    accept_router_advertisements,
                    offloads,
                })
            }
            3 => Self::AddAddress {
                index: reader.u32()?,
                address: reader.address()?,
            },
            4 => Self::RemoveAddress {
                index: reader.u32()?,
                address: reader.address()?,
            },
            5 => Self::RestoreAddresses {
                index: reader.u32()?,
                addresses: reader.addresses()?,
            },
            6 => Self::RemoveStale,
            7 => Self::DirectNames {
                index: reader.u32()?,
                port: reader.u16()?,
            },
            8 => Self::RevertNames { index: reader.u32()? },
            9 => {
                let [more] = reader.flags()?;
                let count = reader.u16()?;
                if usize::from(count) > MOST_NAMES {
                    return Err(Malformed);
                }
                let names = (0..count).map(|_| reader.host_name()).collect::<Result<_, _>>()?;
                Self::Hosts { names, more }
            }
            10 => {
                let index = reader.u32()?;
                let [broadcast] = reader.flags()?;
                let count = reader.u16()?;
                if usize::from(count) > MOST_GROUPS {
                    return Err(Malformed);
                }
                let group = |_| reader.array::<4>().map(Ipv4Addr::from);
                Self::GroupRoutes {
                    index,
                    groups: (0..count).map(group).collect::<Result<_, _>>()?,
                    broadcast,
                }
            }
            _ => return Err(Malformed),
        };
        reader.end()?;
        Ok(request)
    }
}

impl Answer {
    /// The message.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Writer::default();
        match self {
            Self::Error(error) => {
                out.u8(0);
                out.error(error);
            }
            Self::Done => out.u8(1),
            Self::Card(made) => {
                out.u8(2);
                out.text(&made.name);
                out.u32(made.index);
                let (header, tcp, ecn, udp, reason) = match &made.offloads {
                    Offloads::Plain { reason } => (false, false, false, false, reason.as_str()),
                    Offloads::Header { tcp, ecn, udp } => (true, *tcp, *ecn, *udp, ""),
                };
                out.flags([made.ipv6, header, tcp, ecn, udp]);
                out.text(reason);
            }
            Self::Restored(restored) => {
                out.u8(3);
                out.flags([restored.ipv6]);
                out.addresses(&restored.added);
            }
            Self::Removed(names) => {
                out.u8(4);
                out.texts(names);
            }
        }
        out.0
    }

    /// Reads a message.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn parse(message: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(message)?;
        let answer = match reader.u8()? {
            0 => Self::Error(reader.error()?),
            1 => Self::Done,
            2 => {
                let name = reader.text()?;
                let index = reader.u32()?;
                let [ipv6, header, tcp, ecn, udp] = reader.flags()?;
                let reason = reader.text()?;
                let offloads = match header {
                    true if reason.is_empty() => Offloads::Header { tcp, ecn, udp },
                    false if !(tcp || ecn || udp) => Offloads::Plain { reason },
                    _ => return Err(Malformed),
                };
                Self::Card(Made {
                    name,
                    index,
                    ipv6,
                    offloads,
                })
            }
            3 => {
                let [ipv6] = reader.flags()?;
                Self::Restored(Restored {
                    added: reader.addresses()?,
                    ipv6,
                })
            }
            4 => Self::Removed(reader.texts()?),
            _ => return Err(Malformed),
        };
        reader.end()?;
        Ok(answer)
    }
}

/// A message under way.
#[derive(Default)]
struct Writer(Vec<u8>);

impl Writer {
    fn u8(&mut self, value: u8) {
        self.0.push(value);
    }

    fn u16(&mut self, value: u16) {
        self.bytes(&value.to_le_bytes());
    }

    fn u32(&mut self, value: u32) {
        self.bytes(&value.to_le_bytes());
    }

    fn errno(&mut self, value: i32) {
        self.bytes(&value.to_le_bytes());
    }

    fn bytes(&mut self, value: &[u8]) {
        self.0.extend_from_slice(value);
    }

    /// The first is the lowest bit.
    fn flags<const COUNT: usize>(&mut self, flags: [bool; COUNT]) {
        let bits = flags.iter().enumerate().map(|(bit, &is_set)| u8::from(is_set) << bit);
        self.u8(bits.sum());
    }

    fn text(&mut self, text: &str) {
        let text = text.get(..text.floor_char_boundary(LONGEST_TEXT)).unwrap_or_default();
        // The constant is below 65,536.
        self.u16(u16::try_from(text.len()).unwrap_or(0));
        self.bytes(text.as_bytes());
    }

    fn texts(&mut self, texts: &[String]) {
        let texts = texts.get(..MOST).unwrap_or(texts);
        self.u16(u16::try_from(texts.len()).unwrap_or(0));
        texts.iter().for_each(|text| self.text(text));
    }

    fn ip(&mut self, ip: IpAddr) {
        match ip {
            IpAddr::V4(ip) => {
                self.u8(4);
                self.bytes(&ip.octets());
            }
            IpAddr::V6(ip) => {
                self.u8(6);
                self.bytes(&ip.octets());
            }
        }
    }

    fn address(&mut self, address: &Address) {
        self.ip(address.ip);
        self.u8(address.prefix);
    }

    fn addresses(&mut self, addresses: &[Address]) {
        let addresses = addresses.get(..MOST).unwrap_or(addresses);
        self.u16(u16::try_from(addresses.len()).unwrap_or(0));
        addresses.iter().for_each(|address| self.address(address));
    }

    fn host_name(&mut self, name: &HostName) {
        self.flags([name.ipv4.is_some(), name.ipv6.is_some()]);
        if let Some(ipv4) = name.ipv4 {
            self.bytes(&ipv4.octets());
        }
        if let Some(ipv6) = name.ipv6 {
            self.bytes(&ipv6.octets());
        }
        self.text(&name.name);
    }

    fn error(&mut self, error: &TapError) {
        match error {
            TapError::NoTunDevice { errno } => {
                self.u8(1);
                self.errno(*errno);
            }
            TapError::Permission { what } => {
                self.u8(2);
                self.text(what);
            }
            TapError::NameTaken { name, holder } => {
                self.u8(3);
                self.text(name);
                self.text(holder);
            }
            TapError::BadName { name } => {
                self.u8(4);
                self.text(name);
            }
            TapError::BadOwner { owner } => {
                self.u8(5);
                self.text(owner);
            }
            TapError::BadAddress { ip, prefix } => {
                self.u8(6);
                self.ip(*ip);
                self.u8(*prefix);
            }
            TapError::NotOurs { index, name } => {
                self.u8(7);
                self.u32(*index);
                self.text(name);
            }
            TapError::NoSuchDevice { index } => {
                self.u8(8);
                self.u32(*index);
            }
            TapError::Ipv6Off { ip } => {
                self.u8(9);
                self.ip(*ip);
            }
            TapError::Kernel { what, errno } => {
                self.u8(10);
                self.text(what);
                self.errno(*errno);
            }
            TapError::Refused { what } => {
                self.u8(11);
                self.text(what);
            }
            TapError::NoHelper => self.u8(12),
            TapError::NoResolver { reason } => {
                self.u8(13);
                self.text(reason);
            }
            TapError::Hosts { reason } => {
                self.u8(14);
                self.text(reason);
            }
        }
    }
}

/// What is left of a message.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn new(message: &'a [u8]) -> Result<Self, Malformed> {
        if message.len() <= LONGEST {
            Ok(Self(message))
        } else {
            Err(Malformed)
        }
    }

    fn end(&self) -> Result<(), Malformed> {
        if self.0.is_empty() { Ok(()) } else { Err(Malformed) }
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const LENGTH: usize>(&mut self) -> Result<[u8; LENGTH], Malformed> {
        self.take(LENGTH)?.try_into().map_err(|_| Malformed)
    }

    fn u8(&mut self) -> Result<u8, Malformed> {
        self.array().map(u8::from_le_bytes)
    }

    fn u16(&mut self) -> Result<u16, Malformed> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_le_bytes)
    }

    fn errno(&mut self) -> Result<i32, Malformed> {
        self.array().map(i32::from_le_bytes)
    }

    fn flags<const COUNT: usize>(&mut self) -> Result<[bool; COUNT], Malformed> {
        let bits = self.u8()?;
        if bits >> COUNT != 0 {
            return Err(Malformed);
        }
        Ok(std::array::from_fn(|bit| bits >> bit & 1 != 0))
    }

    fn text(&mut self) -> Result<String, Malformed> {
        let length = usize::from(self.u16()?);
        if length > LONGEST_TEXT {
            return Err(Malformed);
        }
        let text = std::str::from_utf8(self.take(length)?).map_err(|_| Malformed)?;
        Ok(text.to_owned())
    }

    fn texts(&mut self) -> Result<Vec<String>, Malformed> {
        (0..self.count()?).map(|_| self.text()).collect()
    }

    fn count(&mut self) -> Result<usize, Malformed> {
        match usize::from(self.u16()?) {
            count @ ..=MOST => Ok(count),
            _ => Err(Malformed),
        }
    }

    fn ip(&mut self) -> Result<IpAddr, Malformed> {
        match self.u8()? {
            4 => self.array::<4>().map(IpAddr::from),
            6 => self.array::<16>().map(IpAddr::from),
            _ => Err(Malformed),
        }
    }

    /// The prefix is checked with everything else that concerns addresses.
    fn address(&mut self) -> Result<Address, Malformed> {
        Ok(Address {
            ip: self.ip()?,
            prefix: self.u8()?,
        })
    }

    fn addresses(&mut self) -> Result<Vec<Address>, Malformed> {
        (0..self.count()?).map(|_| self.address()).collect()
    }

    fn host_name(&mut self) -> Result<HostName, Malformed> {
        let [has_ipv4, has_ipv6] = self.flags()?;
        Ok(HostName {
            ipv4: has_ipv4.then(|| self.array::<4>()).transpose()?.map(Ipv4Addr::from),
            ipv6: has_ipv6.then(|| self.array::<16>()).transpose()?.map(Ipv6Addr::from),
            name: self.text()?,
        })
    }

    fn error(&mut self) -> Result<TapError, Malformed> {
        Ok(match self.u8()? {
            1 => TapError::NoTunDevice { errno: self.errno()? },
            2 => TapError::Permission { what: self.text()? },
            3 => TapError::NameTaken {
                name: self.text()?,
                holder: self.text()?,
            },
            4 => TapError::BadName { name: self.text()? },
            5 => TapError::BadOwner { owner: self.text()? },
            6 => TapError::BadAddress {
                ip: self.ip()?,
                prefix: self.u8()?,
            },
            7 => TapError::NotOurs {
                index: self.u32()?,
                name: self.text()?,
            },
            8 => TapError::NoSuchDevice { index: self.u32()? },
            9 => TapError::Ipv6Off { ip: self.ip()? },
            10 => TapError::Kernel {
                what: self.text()?,
                errno: self.errno()?,
            },
            11 => TapError::Refused { what: self.text()? },
            12 => TapError::NoHelper,
            13 => TapError::NoResolver { reason: self.text()? },
            14 => TapError::Hosts { reason: self.text()? },
            _ => return Err(Malformed),
        })
    }
}

#[cfg(test)]
mod tests;
