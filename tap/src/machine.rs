//! The machine's own addresses, by which others may reach it beside farlan's cards.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;

use netlink_packet_core::{Emitable, parse_u32};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::AddressMessage;
use netlink_packet_route::link::{LinkFlags, LinkHeader, LinkLayerType, LinkMessage};

use crate::addresses::Entry;
use crate::device::{Address, MARK};
use crate::error::TapError;
use crate::netlink::{Netlink, Reply, malformed};

/// The addresses of this machine's cards that are up, without the loopback's, farlan's own cards, and what is built on
/// those (bridges that hold one, VLANs on top of one). Needs no privilege.
///
/// # Errors
/// [`TapError::Kernel`] when the list cannot be had.
pub fn underlay_addresses() -> Result<Vec<IpAddr>, TapError> {
    let cards = underlay_cards()?;
    let addresses = cards.into_iter().flat_map(|card| card.addresses);
    Ok(addresses.map(|address| address.ip).collect())
}

/// A card of this machine that leads out of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnderlayCard {
    /// Its number.
    pub index: u32,
    /// Whether others hear what it sends to a group: it has a link, and the link has more than one far end.
    pub reaches_groups: bool,
    /// Its hardware address, if it is one of Ethernet.
    pub mac: Option<[u8; 6]>,
    /// Its addresses that may be used.
    pub addresses: Vec<Address>,
}

/// The cards of which [`underlay_addresses`] tells the addresses, those without any too. Needs no privilege.
///
/// # Errors
/// [`TapError::Kernel`] when the list cannot be had.
pub fn underlay_cards() -> Result<Vec<UnderlayCard>, TapError> {
    list().map_err(|error| TapError::refused("list the addresses", &error))
}

fn list() -> io::Result<Vec<UnderlayCard>> {
    let mut netlink = Netlink::open()?;
    let mut cards = leading_out(&netlink.dump(&RouteNetlinkMessage::GetLink(LinkMessage::default()))?)?;
    let replies = netlink.dump(&RouteNetlinkMessage::GetAddress(AddressMessage::default()))?;
    for reply in &replies {
        let entry = Entry::read(reply)?;
        let usable = entry.flags & UNUSABLE == 0;
        if let Some(card) = cards.iter_mut().find(|card| card.index == entry.card && usable) {
            card.addresses.extend(entry.address);
        }
    }
    Ok(cards)
}

/// The cards that lead out of this machine, still without addresses.
pub(crate) fn leading_out(replies: &[Reply]) -> io::Result<Vec<UnderlayCard>> {
    /// A device, what it is built on, and what holds it.
    struct Card {
        index: u32,
        below: u32,
        master: u32,
        /// Whether what it is built on lies in another network namespace, as a container's card does, and so does its number.
        elsewhere: bool,
        ours: bool,
        usable: bool,
        reaches_groups: bool,
        is_ethernet: bool,
        mac: Option<[u8; 6]>,
    }
    let mut cards = Vec::new();
    for reply in replies {
        let header = LinkHeader::parse(reply.body()).map_err(malformed)?;
        let mut card = Card {
            index: header.index,
            below: 0,
            master: 0,
            elsewhere: false,
            ours: false,
            usable: header.flags.contains(LinkFlags::Up) && !header.flags.contains(LinkFlags::Loopback),
            reaches_groups: header.flags.contains(LinkFlags::Multicast | LinkFlags::LowerUp)
                && !header.flags.contains(LinkFlags::Pointopoint),
            is_ethernet: header.link_layer_type == LinkLayerType::Ether,
            mac: None,
        };
        reply.attributes(header.buffer_len(), |kind, value| match kind {
            libc::IFLA_LINK => card.below = parse_u32(value).unwrap_or(0),
            libc::IFLA_LINK_NETNSID => card.elsewhere = true,
            libc::IFLA_MASTER => card.master = parse_u32(value).unwrap_or(0),
            libc::IFLA_ADDRESS if card.is_ethernet => card.mac = value.try_into().ok(),
            libc::IFLA_IFALIAS => card.ours = value.starts_with(MARK.as_bytes()),
            _ => {}
        })?;
        cards.push(card);
    }
    let ours: BTreeSet<u32> = cards.iter().filter(|card| card.ours).map(|card| card.index).collect();
    let holders: BTreeSet<u32> = cards.iter().filter(|card| card.ours).map(|card| card.master).collect();
    let leads_out = |card: &&Card| {
        let on_ours = !card.elsewhere && ours.contains(&card.below);
        card.usable && !card.ours && !holders.contains(&card.index) && !on_ours
    };
    let as_told = |card: &Card| UnderlayCard {
        index: card.index,
        reaches_groups: card.reaches_groups,
        mac: card.mac,
        addresses: Vec::new(),
    };
    Ok(cards.iter().filter(leads_out).map(as_told).collect())
}

/// Flags of addresses that are checked for duplicates, are duplicates, or are being phased out.
const UNUSABLE: u32 = libc::IFA_F_TENTATIVE | libc::IFA_F_DADFAILED | libc::IFA_F_DEPRECATED;
