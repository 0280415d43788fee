//! A way over the underlay as this end sees it: one of its own sockets, and the far endpoint.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
};

/// Which of this machine's sockets a datagram leaves by or came in by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Socket {
    /// The one UDP socket at the port that everybody is told.
    #[default]
    Main,
    /// One more UDP socket, at a port that the system picks. It is opened when a datagram first leaves by it, and stays
    /// open until the engine says otherwise ([`Outbox::closed`](crate::Outbox::closed)).
    Extra(u16),
    /// A TCP connection that carries datagrams, numbered by whoever opened or accepted it on this machine. What is sent
    /// by one that has ended is lost.
    Stream(u32),
}

/// One way over the underlay. Two datagrams of one leg pass the same NATs under the same translation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Leg {
    /// The own socket.
    pub socket: Socket,
    /// The far endpoint; of a stream, the one it is connected to.
    pub endpoint: SocketAddr,
}

impl Leg {
    /// The far address.
    pub fn ip(&self) -> IpAddr {
        self.endpoint.ip()
    }

    /// Whether it is one over TCP.
    pub fn is_stream(&self) -> bool {
        matches!(self.socket, Socket::Stream(_))
    }

    /// Whether its packets are IPv6.
    pub fn is_ipv6(&self) -> bool {
        self.endpoint.is_ipv6()
    }
}

impl From<SocketAddr> for Leg {
    /// By the main socket.
    fn from(endpoint: SocketAddr) -> Self {
        Self {
            socket: Socket::Main,
            endpoint,
        }
    }
}

impl fmt::Display for Leg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.socket {
            Socket::Stream(_) => write!(f, "tcp {}", self.endpoint),
            Socket::Main | Socket::Extra(_) => self.endpoint.fmt(f),
        }
    }
}
