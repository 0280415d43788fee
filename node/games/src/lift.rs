//! The lift: a game's search that leaves another card of this machine, copied for the overlay.
//!
//! A program that is bound to no card sends 255.255.255.255 and groups by its machine's default route, so over the real LAN, and
//! never over farlan's card. [`read`] looks at a frame that leaves such a card; if it is a listed game's search (or
//! announcement), [`Lifted::write`] makes the frame that the same program would have sent on the overlay:
//!
//! ```text
//! Ethernet   destination ff:ff:ff:ff:ff:ff, or the group's   source: farlan's card's
//! IPv4       source: farlan's card's   destination 255.255.255.255, or the group
//!            TTL 1, DF, identification 0xfa71, no options, header checksum anew
//! UDP        ports kept   checksum anew      payload kept
//! ```
//!
//! * **What was sent is lifted, and nothing that passes through.** The source MAC and address must be the card's own:
//!   this machine may be a bridge or a router, and what others send must not be said anew in its name. What comes in is
//!   never looked at, so a lift is one-way.
//! * **A directed broadcast of the card's subnet** becomes a limited one, as its address means nothing on the overlay.
//! * **Checksums.** That of the frame is not looked at: a card with offloads has not completed it yet. A datagram without a
//!   checksum gets one.
//! * **Fragments and super-frames are refused.** A search is short; half of one helps nobody.
//!
//! ## Why nothing is lifted twice
//!
//! The caller watches no card of farlan's, and hands copies to the engine, not to a card; so on this machine a copy leaves no
//! card that is watched. Should it come to one all the same, as over a bridge that joins farlan's card with another, its
//! source is not that card's own. And it bears a mark, which is looked for before all else: TTL 1, DF and the identification
//! [`MARK`]. The identification of a packet that may not be fragmented and is no fragment means nothing (RFC 6864 §4.1), so it is
//! free; bridges keep it, and TTL 1 ends at the next router. A game's own packet looks like that once in 65,536 times, if it
//! sets TTL 1 and DF, and then this one search is not lifted.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddrV4},
    time::Duration,
};

use etherparse::{
    EtherType, Ethernet2HeaderSlice, IpFragOffset, IpNumber, Ipv4Header, Ipv4HeaderSlice, UdpHeaderSlice,
};
use farlan_engine::{Meter, Rate, Time};
use farlan_netconf::Mac;
use farlan_offload::complete;

use crate::list::List;

/// A card whose outgoing frames are looked at; none of farlan's.
#[derive(Clone, Debug)]
pub struct Watched {
    /// Its MAC.
    pub mac: Mac,
    /// Its addresses, each with the bits of its prefix.
    pub addresses: Vec<(Ipv4Addr, u8)>,
}

/// The card of an overlay for which a copy is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overlay {
    /// This node's MAC on it.
    pub mac: Mac,
    /// This node's address on it.
    pub address: Ipv4Addr,
    /// Bytes of the longest IP packet on it.
    pub mtu: u16,
}

/// A search that is to be lifted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifted<'a> {
    /// The game's name in the list.
    pub game: &'a str,
    /// Where to: 255.255.255.255 or a group, with the port.
    pub destination: SocketAddrV4,
    /// The port from which, to which answers go.
    pub source_port: u16,
    /// The UDP payload.
    pub payload: &'a [u8],
}

/// Why a frame is not lifted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Left {
    /// It is no IPv4, or behind a VLAN tag.
    OtherProtocol,
    /// It is no UDP.
    NoUdp,
    /// It goes to one machine.
    Unicast,
    /// No listed game searches there.
    NotListed,
    /// It is a copy already.
    Copy,
    /// The card did not send it itself.
    Foreign,
    /// It is a fragment.
    Fragment,
    /// Cut, or lengths that contradict each other.
    Malformed,
    /// It is longer than packets on the overlay may be.
    TooLong,
    /// There were too many.
    Rate,
}

/// Reads a frame that leaves a card.
///
/// # Errors
/// Why it is left alone.
pub fn read<'a>(frame: &'a [u8], card: &Watched, list: &'a List) -> Result<Lifted<'a>, Left> {
    let ethernet = Ethernet2HeaderSlice::from_slice(frame).map_err(|_| Left::Malformed)?;
    if ethernet.ether_type() != EtherType::IPV4 {
        return Err(Left::OtherProtocol);
    }
    let packet = &frame[ethernet.slice().len()..];
    let ip = Ipv4HeaderSlice::from_slice(packet).map_err(|_| Left::Malformed)?;
    if ip.protocol() != IpNumber::UDP {
        return Err(Left::NoUdp);
    }
    let destination = ip.destination_addr();
    let is_broadcast = destination == Ipv4Addr::BROADCAST || card.is_broadcast(destination);
    if !is_broadcast && !destination.is_multicast() {
        return Err(Left::Unicast);
    }
    if ip.ttl() == TTL && ip.dont_fragment() && ip.identification() == MARK {
        return Err(Left::Copy);
    }
    let is_own = ethernet.source() == *card.mac.as_bytes()
        && card.addresses.iter().any(|(address, _)| *address == ip.source_addr());
    if !is_own {
        return Err(Left::Foreign);
    }
    if ip.is_fragmenting_payload() {
        return Err(Left::Fragment);
    }
    let header = ip.slice().len();
    // What lies behind the packet fills up a short frame.
    let datagram = packet.get(header..usize::from(ip.total_len())).ok_or(Left::Malformed)?;
    let udp = UdpHeaderSlice::from_slice(datagram).map_err(|_| Left::Malformed)?;
    let payload = datagram
        .get(UDP_HEADER..usize::from(udp.length()))
        .ok_or(Left::Malformed)?;
    let port = udp.destination_port();
    let (game, destination) = if is_broadcast {
        (list.searching(port), Ipv4Addr::BROADCAST)
    } else {
        (list.announcing(SocketAddrV4::new(destination, port)), destination)
    };
    // Nobody can answer to port 0.
    if udp.source_port() == 0 {
        return Err(Left::Malformed);
    }
    Ok(Lifted {
        game: &game.ok_or(Left::NotListed)?.name,
        destination: SocketAddrV4::new(destination, port),
        source_port: udp.source_port(),
        payload,
    })
}

impl Watched {
    /// Whether it is the directed broadcast of one of the card's subnets.
    fn is_broadcast(&self, address: Ipv4Addr) -> bool {
        self.addresses.iter().any(|(own, prefix)| {
            // A subnet of one or two addresses has no broadcast.
            let hosts = u32::MAX.checked_shr(u32::from(*prefix)).unwrap_or(0);
            hosts > 1 && own.to_bits() | hosts == address.to_bits()
        })
    }
}

impl Lifted<'_> {
    /// Writes the frame for an overlay to the end of `out`.
    ///
    /// # Errors
    /// [`Left::TooLong`]; nothing is written then.
    pub fn write(&self, overlay: &Overlay, out: &mut Vec<u8>) -> Result<(), Left> {
        let datagram = UDP_HEADER + self.payload.len();
        let total = Ipv4Header::MIN_LEN + datagram;
        if total > usize::from(overlay.mtu) {
            return Err(Left::TooLong);
        }
        // Both fit, as an MTU has 16 bits.
        let (datagram, mut header) = (datagram as u16, self.header(overlay));
        header.total_len = total as u16;
        header.header_checksum = header.calc_header_checksum();

        let start = out.len();
        out.extend_from_slice(&group_mac(*self.destination.ip()));
        out.extend_from_slice(overlay.mac.as_bytes());
        out.extend_from_slice(&EtherType::IPV4.0.to_be_bytes());
        out.extend_from_slice(&header.to_bytes());
        for field in [self.source_port, self.destination.port(), datagram, 0] {
            out.extend_from_slice(&field.to_be_bytes());
        }
        out.extend_from_slice(self.payload);
        complete(&mut out[start..]).map_err(|_| {
            out.truncate(start);
            Left::Malformed
        })
    }

    fn header(&self, overlay: &Overlay) -> Ipv4Header {
        Ipv4Header {
            identification: MARK,
            dont_fragment: true,
            more_fragments: false,
            fragment_offset: IpFragOffset::ZERO,
            time_to_live: TTL,
            protocol: IpNumber::UDP,
            source: overlay.address.octets(),
            destination: self.destination.ip().octets(),
            ..Ipv4Header::default()
        }
    }
}

/// How much may be lifted to one overlay.
///
/// A node's broadcasts go to all that should hear them as long as they are no more than 10 a second, 60 at once; searches from
/// other cards must leave most of that to what is sent on the overlay itself. So all of them together have half of it, and one
/// port or group, so that a program gone wild silences no other, has a third of that.
#[derive(Debug, Default)]
pub struct Limiter {
    total: Meter,
    channels: BTreeMap<SocketAddrV4, Meter>,
}

impl Limiter {
    /// Takes one copy to `destination`, if there may be one more.
    ///
    /// # Errors
    /// [`Left::Rate`].
    pub fn take(&mut self, now: Time, destination: SocketAddrV4) -> Result<(), Left> {
        if !self.channels.contains_key(&destination) && self.channels.len() >= MOST_CHANNELS {
            self.channels.retain(|_, meter| !meter.is_idle(now));
            if self.channels.len() >= MOST_CHANNELS {
                return Err(Left::Rate);
            }
        }
        // Of the total nothing is used by what the channel refuses.
        let channel = self.channels.entry(destination).or_default();
        let fits = channel.take(now, &CHANNEL_RATE, 1) && self.total.take(now, &TOTAL_RATE, 1);
        fits.then_some(()).ok_or(Left::Rate)
    }
}

/// The MAC of a group (RFC 1112 §6.4), or that of all.
fn group_mac(address: Ipv4Addr) -> [u8; 6] {
    if address == Ipv4Addr::BROADCAST {
        return *Mac::BROADCAST.as_bytes();
    }
    let [_, b, c, d] = address.octets();
    [0x01, 0x00, 0x5e, b & 0x7f, c, d]
}

/// The identification of a copy.
pub const MARK: u16 = 0xfa71;

/// The TTL of a copy: a search is for one network.
const TTL: u8 = 1;

/// Bytes of a UDP header.
const UDP_HEADER: usize = 8;

/// All copies to one overlay: 5 a second, 30 at once.
const TOTAL_RATE: Rate = Rate::per_second(5, Duration::from_secs(6));

/// The copies to one port or group: 2 a second, 10 at once.
const CHANNEL_RATE: Rate = Rate::per_second(2, Duration::from_secs(5));

/// How many ports and groups are told apart.
const MOST_CHANNELS: usize = 256;

#[cfg(test)]
mod tests;
