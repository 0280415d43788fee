//! Which addresses a device has, whoever put them there.

use std::io;
use std::net::IpAddr;

use netlink_packet_core::{Emitable, parse_u32};
use netlink_packet_route::address::{AddressHeader, AddressMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

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
        let entry = Entry::read(reply)?;
        addresses.extend(entry.address.filter(|_| entry.card == index && entry.is_in_use()));
    }
    Ok(addresses)
}

/// One entry of the kernel's list of addresses.
pub(crate) struct Entry {
    /// The index of the device it is on.
    pub(crate) card: u32,
    /// The own address; with a peer's beside it, as on a point-to-point link, not that one. An entry without any is of
    /// no use.
    pub(crate) address: Option<Address>,
    /// `IFA_F_…`
    pub(crate) flags: u32,
}

impl Entry {
    pub(crate) fn read(reply: &Reply) -> io::Result<Self> {
        let header = AddressHeader::parse(reply.body()).map_err(malformed)?;
        let mut flags = u32::from(header.flags.bits());
        let (mut local, mut only) = (None, None);
        reply.attributes(header.buffer_len(), |kind, value| match kind {
            libc::IFA_LOCAL => local = ip(value),
            libc::IFA_ADDRESS => only = ip(value),
            libc::IFA_FLAGS => flags = parse_u32(value).unwrap_or(flags),
            _ => {}
        })?;
        let address = local.or(only).map(|ip| Address {
            ip,
            prefix: header.prefix_len,
        });
        Ok(Self {
            card: header.index,
            address,
            flags,
        })
    }

    fn is_in_use(&self) -> bool {
        let checked = self.flags & (libc::IFA_F_TENTATIVE | libc::IFA_F_OPTIMISTIC) != libc::IFA_F_TENTATIVE;
        checked && self.flags & libc::IFA_F_DADFAILED == 0
    }
}

fn ip(value: &[u8]) -> Option<IpAddr> {
    if let Ok(octets) = <[u8; 4]>::try_from(value) {
        return Some(octets.into());
    }
    <[u8; 16]>::try_from(value).ok().map(IpAddr::from)
}
