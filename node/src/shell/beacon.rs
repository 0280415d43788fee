//! The beacon of the local network: two sockets at a port and groups of their own, and a membership on each card.
//!
//! Beacons come to [`PORT`], not to the underlay's port: all daemons of a machine share it (`SO_REUSEADDR`; the kernel
//! gives each a copy of what comes to a group), while the underlay's port is one daemon's alone, and a second claim to it
//! must fail. The IPv4 socket is bound to the group, and the engine takes what seems to come from the link only: over IPv4 from the
//! subnets of the cards, over IPv6 from link-local addresses. Where a router passes groups on, somebody behind it can write a
//! source of the link; the time to live on arrival would not tell. So what the engine sends for a beacon has the time to live 1:
//! it is lost on the link.
//!
//! They leave by the underlay's socket, so that their source is where an answer goes. The groups are those that nobody
//! has to assign: 239.255.0.0/16 is each site's own (RFC 2365 §6.1), ff12::/16 are transient groups of a link (RFC 4291 §2.7). With
//! the default time to live of multicast, 1, they stay on the link. All-hosts groups would need no membership, but would wake every
//! machine on it.

use std::{
    collections::BTreeSet,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket},
    os::fd::{AsFd, BorrowedFd},
};

use farlan_engine::{Batch, BeaconCard, Cast, LinkSubnet, Received};
use socket2::{Domain, InterfaceIndexOrAddress, Protocol, SockRef, Socket, Type};

/// Where beacons go.
pub(super) const PORT: u16 = 9620;

/// The IPv4 group: "`" is the first letter of the default port's number in ASCII, 96.
const GROUP_V4: Ipv4Addr = Ipv4Addr::new(239, 255, 96, 1);

/// The IPv6 group: "farlan" in ASCII.
const GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff12, 0, 0, 0, 0, 0x6661, 0x726c, 0x616e);

/// A card by which beacons are sent and received.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LinkCard {
    /// Its number.
    pub index: u32,
    /// Its IPv4 addresses, with what is on the link. Beacons leave from the first.
    pub ipv4: Vec<LinkSubnet>,
    /// Whether it has an IPv6 link-local address.
    pub ipv6: bool,
}

impl From<LinkCard> for BeaconCard {
    fn from(card: LinkCard) -> Self {
        Self {
            index: card.index,
            ipv4: card.ipv4,
            ipv6: card.ipv6,
        }
    }
}

/// The sockets at which beacons arrive; one that cannot be had is none.
#[derive(Debug, Default)]
pub(super) struct BeaconSockets {
    v4: Option<UdpSocket>,
    v6: Option<UdpSocket>,
    cards: Vec<LinkCard>,
    /// On which cards the groups were joined, and whether the IPv6 one.
    joined: BTreeSet<(u32, bool)>,
}

impl BeaconSockets {
    /// Opens the sockets. What the system refuses is said in the log: peers on one link find each other less easily then.
    pub(super) fn open() -> Self {
        let or_none = |family: &str, socket: io::Result<UdpSocket>| {
            socket
                .inspect_err(|error| tracing::debug!(%error, family, "no beacons"))
                .ok()
        };
        Self {
            v4: or_none("IPv4", bind(SocketAddr::from((GROUP_V4, PORT)))),
            v6: or_none("IPv6", bind(SocketAddr::from((Ipv6Addr::UNSPECIFIED, PORT)))),
            ..Self::default()
        }
    }

    /// The sockets to wait for.
    pub(super) fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        [&self.v4, &self.v6].into_iter().flatten().map(AsFd::as_fd)
    }

    /// Joins and leaves so that beacons come from the links of these cards, and no others. Returns those on which that is
    /// possible.
    pub(super) fn set_cards(&mut self, cards: &[LinkCard]) -> Vec<BeaconCard> {
        let wanted: BTreeSet<(u32, bool)> = cards
            .iter()
            .flat_map(|card| {
                [
                    (!card.ipv4.is_empty()).then_some((card.index, false)),
                    card.ipv6.then_some((card.index, true)),
                ]
            })
            .flatten()
            .collect();
        for (card, ipv6) in self.joined.difference(&wanted).copied().collect::<Vec<_>>() {
            // A card that is gone took the membership along.
            let _ = self.change_membership(card, ipv6, false);
            self.joined.remove(&(card, ipv6));
        }
        for (card, ipv6) in wanted {
            if self.joined.contains(&(card, ipv6)) {
                continue;
            }
            match self.change_membership(card, ipv6, true) {
                Ok(()) => _ = self.joined.insert((card, ipv6)),
                Err(error) => tracing::debug!(card, ipv6, %error, "no beacons by this card"),
            }
        }
        self.cards = cards.to_vec();
        let possible = cards.iter().map(|card| BeaconCard {
            index: card.index,
            ipv4: if self.joined.contains(&(card.index, false)) {
                card.ipv4.clone()
            } else {
                Vec::new()
            },
            ipv6: self.joined.contains(&(card.index, true)),
        });
        possible.collect()
    }

    fn change_membership(&self, card: u32, ipv6: bool, join: bool) -> io::Result<()> {
        let socket = if ipv6 { &self.v6 } else { &self.v4 };
        let socket = SockRef::from(socket.as_ref().ok_or(io::ErrorKind::Unsupported)?);
        let interface = InterfaceIndexOrAddress::Index(card);
        match (ipv6, join) {
            (true, true) => socket.join_multicast_v6(&GROUP_V6, card),
            (true, false) => socket.leave_multicast_v6(&GROUP_V6, card),
            (false, true) => socket.join_multicast_v4_n(&GROUP_V4, &interface),
            (false, false) => socket.leave_multicast_v4_n(&GROUP_V4, &interface),
        }
    }

    /// Takes in beacons that have come, at most [`AT_ONCE`] of each family.
    pub(super) fn receive(&self, beacons: &mut Batch<Received>) {
        let mut buffer = [0; LONGEST];
        for socket in [&self.v4, &self.v6].into_iter().flatten() {
            for _ in 0..AT_ONCE {
                // An error belongs to one datagram; the others stay readable.
                let Ok((length, source)) = socket.recv_from(&mut buffer) else {
                    break;
                };
                if let Some(beacon) = buffer.get(..length) {
                    beacons.push(source, beacon);
                }
            }
        }
    }

    /// Sends a beacon to everybody on one link, by the underlay's socket.
    ///
    /// # Errors
    /// Those of the system: the card is gone, or has no route.
    pub(super) fn send(&self, underlay: BorrowedFd<'_>, cast: Cast, beacon: &[u8]) -> io::Result<()> {
        let socket = SockRef::from(&underlay);
        let group: SocketAddr = if cast.ipv6 {
            SocketAddrV6::new(GROUP_V6, PORT, 0, cast.card).into()
        } else {
            let card = self.cards.iter().find(|card| card.index == cast.card);
            let subnet = card.and_then(|card| card.ipv4.first()).ok_or(io::ErrorKind::NotFound)?;
            socket.set_multicast_if_v4(&subnet.address)?;
            let dual = socket.domain()? == Domain::IPV6;
            let group: IpAddr = if dual {
                GROUP_V4.to_ipv6_mapped().into()
            } else {
                GROUP_V4.into()
            };
            SocketAddr::new(group, PORT)
        };
        socket.send_to(beacon, &group.into()).map(|_| ())
    }
}

fn bind(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
        socket.set_multicast_all_v6(false)?;
    } else {
        socket.set_multicast_all_v4(false)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// Beacons taken at once from one socket: with a whole network of 128 members that starts together, a few turns.
const AT_ONCE: usize = 16;

/// A beacon is not longer; what is longer is none.
const LONGEST: usize = 1280;

#[cfg(test)]
mod tests {
    use super::*;

    /// The loopback card of a machine: it has both families, but no link-local address.
    fn loopback() -> LinkCard {
        let subnet = LinkSubnet {
            address: Ipv4Addr::LOCALHOST,
            prefix: 8,
        };
        LinkCard {
            index: 1,
            ipv4: vec![subnet],
            ipv6: false,
        }
    }

    #[test]
    fn two_daemons_of_a_machine_share_the_port_and_both_hear_a_beacon() {
        let mut sockets = [BeaconSockets::open(), BeaconSockets::open()];
        for sockets in &mut sockets {
            assert_eq!(sockets.descriptors().count(), 2);
            let cards = sockets.set_cards(&[loopback()]);
            assert_eq!(cards, [BeaconCard::from(loopback())]);
        }
        let underlay = super::super::Underlay::bind(0).unwrap();
        let port = underlay.port().unwrap();
        let underlay = underlay.attach().unwrap();
        let cast = Cast { card: 1, ipv6: false };
        sockets[0].send(underlay.as_fd(), cast, b"beacon").unwrap();
        for sockets in &sockets {
            let mut batch = Batch::default();
            sockets.receive(&mut batch);
            let heard: Vec<_> = batch
                .iter()
                .filter(|(label, _)| label.source.endpoint.port() == port)
                .collect();
            assert_eq!(heard.len(), 1);
            assert_eq!(heard[0].1, b"beacon");
        }
    }

    #[test]
    fn a_card_that_is_left_brings_nothing_more() {
        let mut sockets = BeaconSockets::open();
        sockets.set_cards(&[loopback()]);
        assert_eq!(sockets.set_cards(&[]), []);
        assert!(sockets.joined.is_empty());
        let gone = LinkCard {
            index: 987_654,
            ..loopback()
        };
        let cards = sockets.set_cards(&[gone]);
        assert!(cards.iter().all(|card| card.ipv4.is_empty() && !card.ipv6), "{cards:?}");
    }
}
