//! What this machine says to its own LAN only: names, shares and devices, told by programs that speak on every card alike.
//!
//! mDNS, LLMNR, NetBIOS, SSDP and WS-Discovery announce what this machine is called and what it offers, and ask for what it
//! looks for. On networks of strangers nothing of that leaves: neither calls to all, nor answers to one, from or to a port of theirs,
//! unless the user opened that very port.

use std::{net::IpAddr, time::Duration};

use super::{
    open::{Opened, Protocol},
    packet::{Content, Fragment, IpPacket},
};
use crate::Time;

/// UDP ports of the services of a LAN: NetBIOS names and datagrams (with the browser), SSDP, WS-Discovery, mDNS, LLMNR.
const LAN_SERVICES: [u16; 6] = [137, 138, 1900, 3702, 5353, 5355];

/// How long later fragments of a packet are kept back after its first. They leave a kernel together.
const KEPT: Duration = Duration::from_secs(5);

/// Packets in fragments at one time; the one begun longest ago makes room.
const MAX_PIECES: usize = 16;

/// What is kept back of the packets that this machine sends.
#[derive(Debug, Default)]
pub(crate) struct Leaving {
    /// The packets of which the first fragment was kept back, in order.
    pieces: Vec<(Piece, Time)>,
}

/// A packet in fragments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Piece {
    source: IpAddr,
    destination: IpAddr,
    identification: u32,
}

impl Leaving {
    /// Whether a packet of this machine's is kept back.
    pub(crate) fn keeps_back(&mut self, now: Time, packet: &IpPacket, opened: &Opened) -> bool {
        let is_kept = |port: u16| LAN_SERVICES.contains(&port) && !opened.contains(Protocol::Udp, port);
        match (packet.content, packet.fragment) {
            (Content::Udp { from, to, .. }, fragment) => {
                let kept = is_kept(from) || is_kept(to);
                if let Some(fragment) = fragment.filter(|_| kept) {
                    self.first(now, Piece::of(packet, &fragment));
                }
                kept
            }
            (Content::Later, Some(fragment)) => {
                let piece = Piece::of(packet, &fragment);
                self.pieces.iter().any(|(kept, until)| *kept == piece && *until > now)
            }
            _ => false,
        }
    }

    fn first(&mut self, now: Time, piece: Piece) {
        self.pieces.retain(|(kept, until)| *kept != piece && *until > now);
        if self.pieces.len() >= MAX_PIECES {
            self.pieces.remove(0);
        }
        self.pieces.push((piece, now + KEPT));
    }
}

impl Piece {
    fn of(packet: &IpPacket, fragment: &Fragment) -> Self {
        Self {
            source: packet.source,
            destination: packet.destination,
            identification: fragment.identification,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{OpenPorts, Transport};

    fn opened(ports: &[u16]) -> Opened {
        let open = |port: &u16| OpenPorts {
            transport: Transport::Udp,
            first: *port,
            last: *port,
        };
        Opened::new(&ports.iter().map(open).collect::<Vec<_>>())
    }

    fn packet(from: u16, to: u16) -> IpPacket {
        IpPacket {
            source: IpAddr::from([10, 64, 0, 1]),
            destination: IpAddr::from([10, 64, 0, 2]),
            fragment: None,
            content: Content::Udp {
                from,
                to,
                is_name_answer: false,
            },
        }
    }

    fn piece(packet: IpPacket, identification: u32, offset: usize) -> IpPacket {
        let fragment = Fragment {
            protocol: 17,
            identification,
            offset,
            length: 1352,
        };
        let content = if offset > 0 { Content::Later } else { packet.content };
        IpPacket {
            fragment: Some(fragment),
            content,
            ..packet
        }
    }

    #[test]
    fn services_of_the_lan_are_kept_back_and_nothing_else() {
        let mut leaving = Leaving::default();
        let none = opened(&[]);
        for port in 1..=u16::MAX {
            let is_service = [137, 138, 1900, 3702, 5353, 5355].contains(&port);
            for ports in [(port, port), (port, 40000), (40000, port)] {
                let kept = leaving.keeps_back(Time::ZERO, &packet(ports.0, ports.1), &none);
                assert_eq!(kept, is_service, "{ports:?}");
            }
        }
        let tcp = Content::Tcp {
            from: 40000,
            to: 5353,
            flags: crate::filter::packet::TcpFlags {
                syn: true,
                ack: false,
                fin: false,
                rst: false,
            },
        };
        let tcp = IpPacket {
            content: tcp,
            ..packet(1, 2)
        };
        assert!(!leaving.keeps_back(Time::ZERO, &tcp, &none));
    }

    #[test]
    fn what_the_user_opened_leaves() {
        let mut leaving = Leaving::default();
        let mdns = opened(&[5353]);
        for ports in [(5353, 5353), (5353, 40000), (40000, 5353)] {
            assert!(!leaving.keeps_back(Time::ZERO, &packet(ports.0, ports.1), &mdns));
        }
        for ports in [(1900, 5353), (5353, 1900), (5355, 5355)] {
            assert!(
                leaving.keeps_back(Time::ZERO, &packet(ports.0, ports.1), &mdns),
                "that very port: {ports:?}"
            );
        }
    }

    #[test]
    fn the_rest_of_what_was_kept_back_is_kept_back_too() {
        let mut leaving = Leaving::default();
        let none = opened(&[]);
        let keeps = |leaving: &mut Leaving, now: Time, packet: IpPacket| leaving.keeps_back(now, &packet, &none);
        let (mdns, game) = (packet(5353, 5353), packet(27960, 27960));
        assert!(keeps(&mut leaving, Time::ZERO, piece(mdns, 1, 0)));
        assert!(!keeps(&mut leaving, Time::ZERO, piece(game, 2, 0)));
        assert!(keeps(&mut leaving, Time::ZERO, piece(mdns, 1, 1352)));
        assert!(!keeps(&mut leaving, Time::ZERO, piece(game, 2, 1352)));
        let later = Time::ZERO + KEPT;
        assert!(
            !keeps(&mut leaving, later, piece(mdns, 1, 1352)),
            "another packet by now"
        );
        for identification in 0..100 {
            assert!(keeps(&mut leaving, later, piece(mdns, identification, 0)));
            assert!(leaving.pieces.len() <= MAX_PIECES);
        }
        assert!(keeps(&mut leaving, later, piece(mdns, 99, 1352)));
    }
}
