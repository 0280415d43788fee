//! A host of the laboratory: an engine, and the addresses, sockets and NAT by which it is on the wire.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
};

use super::{FIRST_EXTRA, OTHER_PORT};
use crate::{Engine, Event, FrameLabel, Leg, NetworkHandle, Role, Socket, ranges::is_private, scenarios::nat::Nat};

/// An engine at an address, and what came out of it.
pub(in crate::scenarios) struct Host {
    pub(in crate::scenarios) engine: Engine,
    pub(in crate::scenarios) address: SocketAddr,
    /// Its IPv6 address where it has one beside that; no NAT translates it.
    pub(in crate::scenarios) ipv6: Option<SocketAddr>,
    /// Its address on a LAN it shares with every other host that has one.
    pub(in crate::scenarios) inside: Option<SocketAddr>,
    /// The link on which it hears the beacons of all others on it.
    pub(in crate::scenarios) link: Option<u8>,
    /// The NAT behind which it is; its address is the NAT's then.
    pub(in crate::scenarios) nat: Option<Nat>,
    /// Its extra sockets that are open.
    pub(in crate::scenarios) extras: BTreeSet<u16>,
    pub(in crate::scenarios) frames: Vec<(NetworkHandle, Vec<u8>)>,
    /// Their labels.
    pub(in crate::scenarios) labels: Vec<FrameLabel>,
    pub(in crate::scenarios) events: Vec<Event>,
    pub(super) seed: u8,
    pub(super) role: Role,
}

impl Host {
    /// Its addresses, IPv6 first.
    pub(in crate::scenarios) fn addresses(&self) -> Vec<SocketAddr> {
        self.ipv6.into_iter().chain([self.address]).collect()
    }

    /// Whether an address is its own.
    pub(super) fn has(&self, address: IpAddr) -> bool {
        self.addresses()
            .into_iter()
            .chain(self.inside)
            .any(|own| own.ip() == address)
    }

    /// Whence a datagram by a leg seems to come; none where there is no way by that family.
    pub(super) fn leaves_from(&mut self, leg: Leg) -> Option<SocketAddr> {
        let port = |address: SocketAddr| match leg.socket {
            Socket::Main | Socket::Stream(_) => address.port(),
            Socket::Extra(number) => FIRST_EXTRA + number,
        };
        if leg.is_ipv6() != self.address.is_ipv6() {
            return self.ipv6.map(|own| SocketAddr::new(own.ip(), port(own)));
        }
        Some(match (self.inside, &mut self.nat) {
            (Some(inside), _) if is_private(leg.ip()) => SocketAddr::new(inside.ip(), port(inside)),
            (_, Some(nat)) => SocketAddr::new(self.address.ip(), nat.leaves(port(self.address), leg.endpoint)),
            (_, None) => SocketAddr::new(self.address.ip(), port(self.address)),
        })
    }

    /// By which socket a datagram comes in, if it does.
    pub(super) fn comes_in(&mut self, from: SocketAddr, to: SocketAddr) -> Option<Socket> {
        let own = |port: u16| match port {
            OTHER_PORT => Some(Socket::Main),
            FIRST_EXTRA.. => Some(Socket::Extra(port - FIRST_EXTRA)),
            _ => None,
        };
        let main = self.address.port();
        let by = |port: u16| if port == main { Some(Socket::Main) } else { own(port) };
        let socket = match &mut self.nat {
            _ if Some(to) == self.inside => Some(Socket::Main),
            _ if self.ipv6.is_some_and(|own| own.ip() == to.ip()) => by(to.port()),
            _ if to.ip() != self.address.ip() => None,
            Some(nat) => nat.comes(from, to.port()).and_then(by),
            None => by(to.port()),
        };
        socket.filter(|socket| match socket {
            Socket::Extra(number) => self.extras.contains(number),
            Socket::Main | Socket::Stream(_) => true,
        })
    }
}
