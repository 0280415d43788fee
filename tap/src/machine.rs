//! The machine's own addresses, by which others may reach it beside farlan's cards, and word of their changes.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use netlink_packet_core::{Emitable, parse_u32};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{AddressHeader, AddressMessage};
use netlink_packet_route::link::{LinkFlags, LinkHeader, LinkMessage};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

use crate::device::MARK;
use crate::error::TapError;
use crate::netlink::{Netlink, Reply, malformed};

/// The addresses of this machine's cards that are up, without the loopback's, farlan's own cards, and what is built on
/// those (bridges that hold one, VLANs on top of one). Needs no privilege.
///
/// # Errors
/// [`TapError::Kernel`] when the list cannot be had.
pub fn underlay_addresses() -> Result<Vec<IpAddr>, TapError> {
    list().map_err(|error| TapError::refused("list the addresses", &error))
}

fn list() -> io::Result<Vec<IpAddr>> {
    let mut netlink = Netlink::open()?;
    let cards = underlay_cards(&netlink.dump(&RouteNetlinkMessage::GetLink(LinkMessage::default()))?)?;
    let replies = netlink.dump(&RouteNetlinkMessage::GetAddress(AddressMessage::default()))?;
    let mut addresses = Vec::new();
    for reply in &replies {
        if let Some((card, address)) = read_address(reply)?
            && cards.contains(&card)
        {
            addresses.push(address);
        }
    }
    Ok(addresses)
}

/// The indices of the cards that lead out of this machine.
fn underlay_cards(replies: &[Reply]) -> io::Result<BTreeSet<u32>> {
    /// A device, what it is built on, and what holds it.
    struct Card {
        index: u32,
        below: u32,
        master: u32,
        /// Whether what it is built on lies in another network namespace, as a container's card does, and so does its number.
        elsewhere: bool,
        ours: bool,
        usable: bool,
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
        };
        reply.attributes(header.buffer_len(), |kind, value| match kind {
            libc::IFLA_LINK => card.below = parse_u32(value).unwrap_or(0),
            libc::IFLA_LINK_NETNSID => card.elsewhere = true,
            libc::IFLA_MASTER => card.master = parse_u32(value).unwrap_or(0),
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
    Ok(cards.iter().filter(leads_out).map(|card| card.index).collect())
}

/// The card and address of one entry; none for what cannot be used (yet, or any more).
fn read_address(reply: &Reply) -> io::Result<Option<(u32, IpAddr)>> {
    let header = AddressHeader::parse(reply.body()).map_err(malformed)?;
    let mut flags = u32::from(header.flags.bits());
    let (mut address, mut local) = (None, None);
    reply.attributes(header.buffer_len(), |kind, value| match kind {
        libc::IFA_ADDRESS => address = ip(value),
        // On a point-to-point link the other one is the peer's.
        libc::IFA_LOCAL => local = ip(value),
        libc::IFA_FLAGS => flags = parse_u32(value).unwrap_or(flags),
        _ => {}
    })?;
    Ok(local
        .or(address)
        .filter(|_| flags & UNUSABLE == 0)
        .map(|address| (header.index, address)))
}

fn ip(value: &[u8]) -> Option<IpAddr> {
    if let Ok(octets) = <[u8; 4]>::try_from(value) {
        return Some(octets.into());
    }
    <[u8; 16]>::try_from(value).ok().map(IpAddr::from)
}

/// Tells when links, addresses or routes of this machine change. Needs no privilege.
#[derive(Debug)]
pub struct ChangeMonitor {
    socket: Socket,
}

impl ChangeMonitor {
    /// Begins to listen in the network namespace of the calling thread.
    ///
    /// # Errors
    /// [`TapError::Kernel`].
    pub fn open() -> Result<Self, TapError> {
        let open = || -> io::Result<Socket> {
            let mut socket = Socket::new(NETLINK_ROUTE)?;
            socket.set_non_blocking(true)?;
            socket.bind(&SocketAddr::new(0, 0))?;
            for group in [
                libc::RTNLGRP_LINK,
                libc::RTNLGRP_IPV4_IFADDR,
                libc::RTNLGRP_IPV6_IFADDR,
                libc::RTNLGRP_IPV4_ROUTE,
                libc::RTNLGRP_IPV6_ROUTE,
            ] {
                socket.add_membership(group)?;
            }
            Ok(socket)
        };
        let socket = open().map_err(|error| TapError::refused("watch for changes of addresses", &error))?;
        Ok(Self { socket })
    }

    /// Takes in all that was told since the last call; returns whether there was something. An overrun counts too:
    /// whatever was missed, it was a change.
    pub fn drain(&self) -> bool {
        let mut told = false;
        let mut datagram = Vec::with_capacity(DATAGRAM);
        loop {
            datagram.clear();
            match self.socket.recv(&mut datagram, 0) {
                Ok(_) => told = true,
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => told = true,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return told,
            }
        }
    }
}

impl AsRawFd for ChangeMonitor {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

impl AsFd for ChangeMonitor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Flags of addresses that are checked for duplicates, are duplicates, or are being phased out.
const UNUSABLE: u32 = libc::IFA_F_TENTATIVE | libc::IFA_F_DADFAILED | libc::IFA_F_DEPRECATED;

/// Room for one message; what is longer is cut, and only that it came matters.
const DATAGRAM: usize = 8192;
