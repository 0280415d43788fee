//! Which routes a network's subnet would collide with.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netlink_packet_core::{Emitable, parse_u32};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteType};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use crate::error::TapError;
use crate::netlink::{Netlink, Reply, malformed};

/// An IPv4 route of this machine.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Route {
    /// The first address of the destination.
    pub destination: Ipv4Addr,
    /// The destination's prefix length, 1 to 32 bits.
    pub prefix: u8,
    /// The name of the interface it leads to, the first one of several; empty for a route that leads to none
    /// (blackhole, unreachable, prohibit, throw).
    pub interface: String,
}

/// The routes of the main and local tables that overlap `subnet` (address and prefix length of 0 to 32 bits; host bits
/// are ignored), except those that lead only to the device `except_index`.
///
/// Left out are default routes (prefix 0) and routes of the broadcast and multicast types. A route wider than the
/// subnet is listed too, such as the `0.0.0.0/1` some VPN clients set in place of a default route: the caller judges by
/// [`Route::prefix`]. The machine's own addresses appear as /32 routes of the local table. Needs no privilege.
///
/// # Errors
/// [`TapError::BadAddress`] for a prefix over 32; [`TapError::Kernel`] when the list cannot be had.
pub fn clashing_routes(subnet: (Ipv4Addr, u8), except_index: Option<u32>) -> Result<Vec<Route>, TapError> {
    let (address, prefix) = subnet;
    if prefix > 32 {
        return Err(TapError::BadAddress {
            ip: IpAddr::V4(address),
            prefix,
        });
    }
    let routes = list((address.into(), prefix), except_index);
    let routes = routes.map_err(|error| TapError::refused("list the routes", &error))?;
    let as_ipv4 = |route: AnyRoute| match route.destination {
        IpAddr::V4(destination) => Some(Route {
            destination,
            prefix: route.prefix,
            interface: route.interface,
        }),
        IpAddr::V6(_) => None,
    };
    Ok(routes.into_iter().filter_map(as_ipv4).collect())
}

/// A route of either family, with the fields of [`Route`].
pub(crate) struct AnyRoute {
    pub(crate) destination: IpAddr,
    pub(crate) prefix: u8,
    pub(crate) interface: String,
}

/// The routes of the main and local tables that cover an address, with the exceptions of [`clashing_routes`].
///
/// # Errors
/// [`TapError::Kernel`] when the list cannot be had.
pub(crate) fn routes_over(ip: IpAddr, except_index: Option<u32>) -> Result<Vec<AnyRoute>, TapError> {
    let prefix = if ip.is_ipv4() { 32 } else { 128 };
    list((ip, prefix), except_index).map_err(|error| TapError::refused("list the routes", &error))
}

/// The card by which what is broadcast to 255.255.255.255 leaves, if its sender names none: its interface index and name. None if
/// no route leads there. Needs no privilege.
///
/// # Errors
/// [`TapError::Kernel`] when the kernel cannot be asked.
pub fn broadcast_card() -> Result<Option<(u32, String)>, TapError> {
    card_towards(Ipv4Addr::BROADCAST).map_err(|error| TapError::refused("ask for a route", &error))
}

fn card_towards(to: Ipv4Addr) -> io::Result<Option<(u32, String)>> {
    let mut netlink = Netlink::open()?;
    let mut request = RouteMessage::default();
    request.header.address_family = AddressFamily::Inet;
    request.header.destination_prefix_length = 32;
    request.attributes = vec![RouteAttribute::Destination(RouteAddress::Inet(to))];
    let replies = match netlink.get(RouteNetlinkMessage::GetRoute(request)) {
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENETUNREACH | libc::EHOSTUNREACH)) => return Ok(None),
        result => result?,
    };
    let Some(reply) = replies.first() else { return Ok(None) };
    let Some(&card) = Entry::read(reply)?.interfaces.first() else {
        return Ok(None);
    };
    // It can vanish in between.
    Ok(netlink.link_by_index(card)?.map(|link| (card, link.name)))
}

fn list(subnet: (IpAddr, u8), except_index: Option<u32>) -> io::Result<Vec<AnyRoute>> {
    let mut netlink = Netlink::open()?;
    let mut request = RouteMessage::default();
    request.header.address_family = match subnet.0 {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    };
    let replies = netlink.dump(&RouteNetlinkMessage::GetRoute(request))?;
    let names: BTreeMap<u32, String> = netlink
        .links()?
        .into_iter()
        .map(|link| (link.index, link.name))
        .collect();

    let mut routes = Vec::new();
    for reply in &replies {
        let entry = Entry::read(reply)?;
        let excepted =
            !entry.interfaces.is_empty() && entry.interfaces.iter().all(|&index| Some(index) == except_index);
        if excepted || !entry.counts() || !overlap(subnet, (entry.destination, entry.prefix)) {
            continue;
        }
        let interface = entry.interfaces.first().map_or_else(String::new, |index| {
            // A device can vanish between the two lists.
            names.get(index).cloned().unwrap_or_else(|| format!("if{index}"))
        });
        routes.push(AnyRoute {
            destination: entry.destination,
            prefix: entry.prefix,
            interface,
        });
    }
    Ok(routes)
}

/// One entry of a routing table, as listed.
pub(crate) struct Entry {
    table: u32,
    kind: RouteType,
    protocol: RouteProtocol,
    /// The metric; the lowest is preferred.
    priority: u32,
    destination: IpAddr,
    prefix: u8,
    interfaces: Vec<u32>,
}

impl Entry {
    pub(crate) fn read(reply: &Reply) -> io::Result<Self> {
        let header = RouteHeader::parse(reply.body()).map_err(malformed)?;
        let mut entry = Self {
            table: u32::from(header.table),
            kind: header.kind,
            protocol: header.protocol,
            priority: 0,
            destination: match header.address_family {
                AddressFamily::Inet6 => Ipv6Addr::UNSPECIFIED.into(),
                _ => Ipv4Addr::UNSPECIFIED.into(),
            },
            prefix: header.destination_prefix_length,
            interfaces: Vec::new(),
        };
        let mut result = Ok(());
        reply.attributes(header.buffer_len(), |kind, value| {
            if let Err(error) = entry.take(kind, value) {
                result = Err(error);
            }
        })?;
        result.map(|()| entry)
    }

    fn take(&mut self, kind: u16, value: &[u8]) -> io::Result<()> {
        match kind {
            libc::RTA_DST => {
                let ipv4 = <[u8; 4]>::try_from(value).map(IpAddr::from);
                self.destination = ipv4
                    .or_else(|_| <[u8; 16]>::try_from(value).map(IpAddr::from))
                    .map_err(|_| io::Error::from_raw_os_error(libc::EBADMSG))?;
            }
            libc::RTA_OIF => self.interfaces.push(parse_u32(value).map_err(malformed)?),
            libc::RTA_TABLE => self.table = parse_u32(value).map_err(malformed)?,
            libc::RTA_PRIORITY => self.priority = parse_u32(value).map_err(malformed)?,
            libc::RTA_MULTIPATH => self.interfaces.extend(next_hops(value)),
            _ => {}
        }
        Ok(())
    }

    /// The address of which the route is, if it is one of a single IPv4 address that traffic follows.
    pub(crate) fn single(&self) -> Option<Ipv4Addr> {
        match self.destination {
            IpAddr::V4(to) if self.prefix == 32 && self.is_looked_at() => Some(to),
            _ => None,
        }
    }

    /// Whether it leads to this card and nowhere else.
    pub(crate) fn leads_to(&self, card: u32) -> bool {
        self.interfaces == [card]
    }

    /// Whether it has no metric and says that somebody's program set it, as those do that are set here.
    pub(crate) fn is_static(&self) -> bool {
        self.protocol == RouteProtocol::Static && self.priority == 0
    }

    /// Whether it stands in a table that is looked at in any case.
    fn is_looked_at(&self) -> bool {
        [libc::RT_TABLE_MAIN, libc::RT_TABLE_LOCAL]
            .map(u32::from)
            .contains(&self.table)
    }

    /// Whether traffic to this machine or elsewhere follows the route, a default route aside.
    fn counts(&self) -> bool {
        self.is_looked_at() && self.prefix > 0 && !matches!(self.kind, RouteType::Broadcast | RouteType::Multicast)
    }
}

/// The interface indices in an RTA_MULTIPATH value, a row of `struct rtnexthop` of `linux/rtnetlink.h`, in the
/// machine's byte order:
///
/// ```text
///  0        2      3      4                 8
/// +--------+------+------+-----------------+----------------------------+
/// | length | flags| hops | interface index | attributes, padded to 4    |
/// +--------+------+------+-----------------+----------------------------+
/// ```
fn next_hops(mut value: &[u8]) -> Vec<u32> {
    let mut interfaces = Vec::new();
    while let [l0, l1, _, _, i0, i1, i2, i3, ..] = *value {
        interfaces.push(u32::from_ne_bytes([i0, i1, i2, i3]));
        let length = usize::from(u16::from_ne_bytes([l0, l1])).max(8).next_multiple_of(4);
        value = value.get(length..).unwrap_or_default();
    }
    interfaces
}

/// Whether two subnets share an address: they do exactly when they are of one family and agree in the bits both fix.
fn overlap(a: (IpAddr, u8), b: (IpAddr, u8)) -> bool {
    let differing = match (a.0, b.0) {
        (IpAddr::V4(a), IpAddr::V4(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros(),
        (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros(),
        _ => return false,
    };
    differing >= u32::from(a.1.min(b.1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subnet(text: &str) -> (IpAddr, u8) {
        let (address, prefix) = text.split_once('/').unwrap();
        (address.parse().unwrap(), prefix.parse().unwrap())
    }

    #[test]
    fn subnets_overlap_when_one_holds_the_other() {
        for (a, b, expected) in [
            ("10.1.2.0/24", "10.1.2.0/24", true),
            ("10.1.2.0/24", "10.1.2.7/32", true),
            ("10.1.2.0/24", "10.0.0.0/8", true),
            ("10.1.2.0/24", "10.1.3.0/24", false),
            ("10.1.2.0/23", "10.1.3.0/24", true),
            ("10.1.2.7/24", "10.1.2.9/24", true),
            ("255.0.0.0/8", "0.0.0.0/1", false),
            ("1.2.3.4/32", "1.2.3.5/32", false),
            ("1.2.3.4/0", "200.2.3.5/32", true),
            ("fd00:1:2::/48", "fd00:1:2:3::1/128", true),
            ("fd00:1:2::/48", "fd00:1:3::1/128", false),
            ("fd00::/8", "fd12:3456:789a::1/128", true),
            ("::/0", "fd12::/16", true),
            ("0.0.0.0/0", "::/0", false),
        ] {
            assert_eq!(overlap(subnet(a), subnet(b)), expected, "{a} and {b}");
            assert_eq!(overlap(subnet(b), subnet(a)), expected, "{b} and {a}");
        }
    }

    #[test]
    fn next_hops_are_read_and_never_loop() {
        let hop = |length: u16, index: u32| {
            let mut bytes = length.to_ne_bytes().to_vec();
            bytes.extend([0, 0]);
            bytes.extend(index.to_ne_bytes());
            bytes
        };
        let mut value = hop(16, 7);
        value.extend([0xff; 8]);
        value.extend(hop(8, 9));
        assert_eq!(next_hops(&value), [7, 9]);
        assert_eq!(next_hops(&hop(0, 3)), [3]);
        assert_eq!(next_hops(&hop(u16::MAX, 3)), [3]);
        assert!(next_hops(&value[..7]).is_empty());
        assert!(next_hops(&[]).is_empty());
    }
}
