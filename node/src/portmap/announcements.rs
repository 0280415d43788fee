//! Hearing gateways that started anew, or whose address outside changed: they say so to all hosts of the LAN, from their own
//! address to UDP port 5350 (RFC 6886 §3.2.1, RFC 6887 §14.1).

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

use socket2::{Domain, Socket, Type};
use tokio::net::UdpSocket;

/// Where announcements arrive; shared with other programs that listen.
#[derive(Debug)]
pub(super) struct Announcements(Option<UdpSocket>);

impl Announcements {
    /// Listens. Where that is not possible, nothing is heard, and gateways are noticed at the next renewal.
    pub(super) fn listen() -> Self {
        match open(SocketAddr::new(GROUP.into(), PORT)) {
            Ok(socket) => Self(Some(socket)),
            Err(error) => {
                tracing::debug!(%error, "announcements of gateways are not heard");
                Self(None)
            }
        }
    }

    /// Waits for the next announcement. Who sent it is all that counts: anybody in the LAN can send one, so it makes
    /// nothing but a question to the gateway.
    pub(super) async fn next(&self) -> IpAddr {
        let Some(socket) = &self.0 else {
            return std::future::pending().await;
        };
        loop {
            match socket.recv_from(&mut [0; 64]).await {
                Ok((_, from)) => return from.ip(),
                Err(error) => {
                    tracing::debug!(%error, "cannot hear announcements");
                    tokio::time::sleep(AFTER_ERROR).await;
                }
            }
        }
    }
}

fn open(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM.nonblocking().cloexec(), None)?;
    socket.set_reuse_address(true)?;
    // Every host is in this group; bound to it, nothing else arrives.
    socket.bind(&address.into())?;
    UdpSocket::from_std(socket.into())
}

/// All hosts (RFC 1112).
const GROUP: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 1);

/// The port of hosts, beside 5351 of gateways.
const PORT: u16 = 5350;

/// The pause after an error, so that a broken socket costs nothing.
const AFTER_ERROR: std::time::Duration = std::time::Duration::from_secs(10);
