//! Which addresses a device has, whoever put them there, and being told when that changes.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};

use netlink_packet_core::Emitable;
use netlink_packet_route::address::{AddressHeader, AddressHeaderFlags, AddressMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::{Socket, protocols::NETLINK_ROUTE};

use crate::device::Address;
use crate::error::TapError;
use crate::netlink::{Netlink, Reply, malformed};

/// The addresses in use on the device `index`, in the kernel's order; none if there is no such device or it is down.
///
/// An IPv6 address that the kernel still checks for duplicates, or of which it found one, is left out. Needs no
/// privilege.
///
/// # Errors
/// [`TapError::Kernel`] when the list cannot be had.
pub fn card_addresses(index: u32) -> Result<Vec<Address>, TapError> {
    list(index).map_err(|error| TapError::refused("list the addresses", &error))
}

/// A descriptor that becomes readable when an address of any device comes, goes, or has passed the check for
/// duplicates, and when a device comes, goes, or is brought up or down.
///
/// It is non-blocking and close-on-exec, and tells of the network namespace of the calling thread. What can be read from
/// it, at most 64 KiB at a time, tells only that something changed; so does ENOBUFS, after which reports are missing.
/// Needs no privilege.
///
/// # Errors
/// [`TapError::Kernel`].
pub fn watch_addresses() -> Result<OwnedFd, TapError> {
    subscribe().map_err(|error| TapError::refused("watch the addresses", &error))
}

fn list(index: u32) -> io::Result<Vec<Address>> {
    let mut request = AddressMessage::default();
    request.header.family = AddressFamily::Unspec;
    let mut netlink = Netlink::open()?;
    if netlink.link_by_index(index)?.is_none_or(|link| !link.up) {
        return Ok(Vec::new());
    }
    let replies = netlink.dump(&RouteNetlinkMessage::GetAddress(request))?;
    let mut addresses = Vec::new();
    for reply in &replies {
        let header = AddressHeader::parse(reply.body()).map_err(malformed)?;
        if header.index == index && is_in_use(header.flags) {
            addresses.extend(read(reply, &header)?);
        }
    }
    Ok(addresses)
}

fn is_in_use(flags: AddressHeaderFlags) -> bool {
    let checked = !flags.contains(AddressHeaderFlags::Tentative) || flags.contains(AddressHeaderFlags::Optimistic);
    checked && !flags.contains(AddressHeaderFlags::Dadfailed)
}

/// The own address in a message: with a peer's beside it the local one, else the only one.
fn read(reply: &Reply, header: &AddressHeader) -> io::Result<Option<Address>> {
    let (mut local, mut only) = (None, None);
    reply.attributes(header.buffer_len(), |kind, value| match kind {
        libc::IFA_LOCAL => local = ip(value),
        libc::IFA_ADDRESS => only = ip(value),
        _ => {}
    })?;
    Ok(local.or(only).map(|ip| Address {
        ip,
        prefix: header.prefix_len,
    }))
}

fn ip(value: &[u8]) -> Option<IpAddr> {
    if let Ok(octets) = <[u8; 4]>::try_from(value) {
        return Some(octets.into());
    }
    <[u8; 16]>::try_from(value).ok().map(IpAddr::from)
}

fn subscribe() -> io::Result<OwnedFd> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind_auto()?;
    socket.set_non_blocking(true)?;
    for group in [libc::RTNLGRP_LINK, libc::RTNLGRP_IPV4_IFADDR, libc::RTNLGRP_IPV6_IFADDR] {
        socket.add_membership(group)?;
    }
    socket.as_fd().try_clone_to_owned()
}
