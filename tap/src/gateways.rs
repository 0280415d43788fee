//! The routers to which this machine's default routes lead.

use std::io;
use std::net::{IpAddr, Ipv4Addr};

use netlink_packet_core::{Emitable, NlasIterator, parse_u32};
use netlink_packet_route::address::AddressMessage;
use netlink_packet_route::link::LinkMessage;
use netlink_packet_route::route::{RouteHeader, RouteMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use crate::addresses::Entry as AddressEntry;
use crate::error::TapError;
use crate::machine::leading_out;
use crate::netlink::{Netlink, Reply, malformed};

/// A router to which an IPv4 default route of this machine leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Gateway {
    /// The router's address.
    pub address: Ipv4Addr,
    /// This machine's address on the card that leads there.
    pub own: Ipv4Addr,
    /// The prefix length of that address, 0 to 32 bits.
    pub prefix: u8,
}

impl Gateway {
    /// Whether the router's address lies in the subnet of this machine's own one.
    pub fn is_on_link(&self) -> bool {
        let mask = u32::MAX.checked_shl(32 - u32::from(self.prefix.min(32))).unwrap_or(0);
        (self.address.to_bits() ^ self.own.to_bits()) & mask == 0
    }
}

/// The routers to which the default routes of the main table lead, the preferred one first, each once. Routes over
/// farlan's own cards, and what is built on those, do not count. Needs no privilege.
///
/// # Errors
/// [`TapError::Kernel`] when the lists cannot be had.
pub fn default_gateways() -> Result<Vec<Gateway>, TapError> {
    list().map_err(|error| TapError::refused("list the routes", &error))
}

fn list() -> io::Result<Vec<Gateway>> {
    let mut netlink = Netlink::open()?;
    let mut request = RouteMessage::default();
    request.header.address_family = AddressFamily::Inet;
    let routes = netlink.dump(&RouteNetlinkMessage::GetRoute(request))?;
    let cards = leading_out(&netlink.dump(&RouteNetlinkMessage::GetLink(LinkMessage::default()))?)?;
    let mut addresses = Vec::new();
    for reply in &netlink.dump(&RouteNetlinkMessage::GetAddress(AddressMessage::default()))? {
        let entry = AddressEntry::read(reply)?;
        if let Some(address) = entry.address
            && let IpAddr::V4(ip) = address.ip
        {
            addresses.push((entry.card, ip, address.prefix));
        }
    }
    let mut hops = Vec::new();
    for reply in &routes {
        hops.extend(Hop::read(reply)?);
    }
    hops.sort_by_key(|hop| hop.priority);
    let mut gateways: Vec<Gateway> = Vec::new();
    for hop in hops
        .iter()
        .filter(|hop| cards.iter().any(|card| card.index == hop.card))
    {
        let on_card = || addresses.iter().filter(|(card, ..)| *card == hop.card);
        let gateway = |&(_, own, prefix): &(u32, Ipv4Addr, u8)| Gateway {
            address: hop.gateway,
            own,
            prefix,
        };
        let found = on_card()
            .find(|(_, own, _)| Some(*own) == hop.source)
            .or_else(|| on_card().find(|entry| gateway(entry).is_on_link()))
            .or_else(|| on_card().next())
            .map(gateway);
        gateways.extend(found.filter(|found| gateways.iter().all(|other| other.address != found.address)));
    }
    Ok(gateways)
}

/// A next hop of a default route.
struct Hop {
    gateway: Ipv4Addr,
    card: u32,
    /// The address that the route prescribes for what is sent along it.
    source: Option<Ipv4Addr>,
    /// Its metric; the lowest is preferred.
    priority: u32,
}

impl Hop {
    /// The next hops of a route, none if it is no default route of the main table.
    fn read(reply: &Reply) -> io::Result<Vec<Self>> {
        let header = RouteHeader::parse(reply.body()).map_err(malformed)?;
        if header.destination_prefix_length != 0 {
            return Ok(Vec::new());
        }
        let mut table = u32::from(header.table);
        let (mut gateway, mut card, mut source, mut priority) = (None, 0, None, 0);
        let mut several = Vec::new();
        reply.attributes(header.buffer_len(), |kind, value| match kind {
            libc::RTA_GATEWAY => gateway = ipv4(value),
            libc::RTA_OIF => card = parse_u32(value).unwrap_or(0),
            libc::RTA_PREFSRC => source = ipv4(value),
            libc::RTA_PRIORITY => priority = parse_u32(value).unwrap_or(0),
            libc::RTA_TABLE => table = parse_u32(value).unwrap_or(table),
            libc::RTA_MULTIPATH => several = next_hops(value),
            _ => {}
        })?;
        if table != u32::from(libc::RT_TABLE_MAIN) {
            return Ok(Vec::new());
        }
        several.extend(gateway.map(|gateway| (gateway, card)));
        let hop = |(gateway, card)| Self {
            gateway,
            card,
            source,
            priority,
        };
        Ok(several.into_iter().map(hop).collect())
    }
}

/// The routers and interface indices in an RTA_MULTIPATH value, a row of `struct rtnexthop` of `linux/rtnetlink.h`, each
/// with its attributes behind it; see `routes`.
fn next_hops(mut value: &[u8]) -> Vec<(Ipv4Addr, u32)> {
    let mut hops = Vec::new();
    while let [l0, l1, _, _, i0, i1, i2, i3, ..] = *value {
        let length = usize::from(u16::from_ne_bytes([l0, l1])).max(8);
        let card = u32::from_ne_bytes([i0, i1, i2, i3]);
        let attributes = value.get(8..length.min(value.len())).unwrap_or_default();
        let gateway = NlasIterator::new(attributes)
            .map_while(Result::ok)
            .find(|attribute| attribute.kind() == libc::RTA_GATEWAY)
            .and_then(|attribute| ipv4(attribute.value()));
        hops.extend(gateway.map(|gateway| (gateway, card)));
        value = value.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    hops
}

fn ipv4(value: &[u8]) -> Option<Ipv4Addr> {
    <[u8; 4]>::try_from(value).ok().map(Ipv4Addr::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn next_hops_are_read_and_never_loop() {
        let hop = |length: u16, index: u32, gateway: Option<[u8; 4]>| {
            let mut bytes = length.to_ne_bytes().to_vec();
            bytes.extend([0, 0]);
            bytes.extend(index.to_ne_bytes());
            if let Some(gateway) = gateway {
                bytes.extend(8_u16.to_ne_bytes());
                bytes.extend(libc::RTA_GATEWAY.to_ne_bytes());
                bytes.extend(gateway);
            }
            bytes
        };
        let mut value = hop(16, 7, Some([10, 0, 0, 1]));
        value.extend(hop(8, 8, None));
        value.extend(hop(16, 9, Some([10, 0, 0, 2])));
        let expected = [([10, 0, 0, 1].into(), 7), ([10, 0, 0, 2].into(), 9)];
        assert_eq!(next_hops(&value), expected);
        assert!(next_hops(&hop(0, 3, None)).is_empty());
        assert!(next_hops(&hop(u16::MAX, 3, None)).is_empty());
        for cut in 0..value.len() {
            assert!(next_hops(&value[..cut]).len() <= 2);
        }
    }

    #[test]
    fn a_gateway_is_on_link_in_the_subnet_of_the_own_address() {
        let gateway = |address: [u8; 4], own: [u8; 4], prefix| Gateway {
            address: address.into(),
            own: own.into(),
            prefix,
        };
        assert!(gateway([192, 168, 1, 1], [192, 168, 1, 2], 24).is_on_link());
        assert!(!gateway([192, 168, 2, 1], [192, 168, 1, 2], 24).is_on_link());
        assert!(!gateway([192, 168, 1, 1], [192, 168, 1, 2], 32).is_on_link());
        assert!(gateway([1, 2, 3, 4], [200, 2, 3, 4], 0).is_on_link());
    }
}
