//! The sockets of a search: one by which searches leave and answers come, one for this machine itself, and one in each group.
//!
//! All but that for this machine are bound to the card, so that nothing of other LANs is taken for the overlay's. What is sent to all by a
//! card does not come back to it, so servers of this machine are asked at its own address, by the loopback card.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4},
    sync::{Arc, Mutex},
    time::Duration,
};

use farlan_games::{heard::Heard, listing::Search};
use socket2::{Domain, InterfaceIndexOrAddress, Protocol, Socket, Type};
use tokio::{net::UdpSocket, task::JoinSet, time::sleep};

use super::{Clock, Place, Table, locked};

/// The sockets of one network's search.
#[derive(Debug)]
pub(super) struct SearchSockets {
    out: Out,
    groups: Vec<(u16, UdpSocket)>,
}

/// Those by which something is sent.
#[derive(Clone, Debug)]
struct Out {
    search: Arc<UdpSocket>,
    /// For this machine.
    own: Arc<UdpSocket>,
    address: Ipv4Addr,
}

impl SearchSockets {
    /// Opens them. Returns also what the user should know: groups that cannot be had.
    ///
    /// # Errors
    /// Those of the system; without the card, its address and a kernel from 5.7 on there is no search.
    pub(super) fn open(place: &Place, groups: &[SocketAddrV4]) -> io::Result<(Self, Vec<String>)> {
        let search = new_socket()?;
        search.bind_device(Some(place.interface.as_bytes()))?;
        search.set_broadcast(true)?;
        search.set_multicast_ttl_v4(1)?;
        search.bind(&SocketAddr::from((place.own, 0)).into())?;
        let own = new_socket()?;
        own.bind(&SocketAddr::from((place.own, 0)).into())?;
        let mut notes = Vec::new();
        let mut opened = Vec::new();
        for group in groups {
            match open_group(place, *group) {
                Ok(socket) => opened.push((group.port(), socket)),
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => notes.push(format!(
                    "what is announced to {group} is not heard: another program has UDP port {} for itself",
                    group.port()
                )),
                Err(error) => notes.push(format!("what is announced to {group} is not heard: {error}")),
            }
        }
        let out = Out {
            search: Arc::new(UdpSocket::from_std(search.into())?),
            own: Arc::new(UdpSocket::from_std(own.into())?),
            address: place.own,
        };
        Ok((Self { out, groups: opened }, notes))
    }

    /// Searches, and takes in what comes, as long as somebody asks.
    pub(super) async fn search(self, clock: Clock, table: Arc<Mutex<Table>>) {
        let Self { out, groups } = self;
        // They end with this.
        let mut ears = JoinSet::new();
        let ear = |port: u16, only: Option<IpAddr>| Ear {
            port,
            only,
            out: out.clone(),
            table: Arc::clone(&table),
            clock,
        };
        let own = Some(IpAddr::V4(out.address));
        for (socket, only) in [(&out.search, None), (&out.own, own)] {
            let port = socket.local_addr().map_or(0, |address| address.port());
            ears.spawn(ear(port, only).listen(Arc::clone(socket)));
        }
        for (port, socket) in groups {
            ears.spawn(ear(port, None).listen(Arc::new(socket)));
        }
        loop {
            let now = clock.now();
            let (searches, next) = {
                let mut table = locked(&table);
                if !table.is_wanted(now) {
                    return;
                }
                (table.listing.searches(now), table.listing.next_search())
            };
            for search in searches {
                out.send(&search).await;
            }
            // Whether somebody asks is looked at each time, which is often enough.
            sleep(next.since(now).max(SHORTEST_PAUSE)).await;
        }
    }
}

impl Out {
    /// Sends a search, or a second question; what is for all goes to this machine, too. What is lost is sent again in the next round.
    async fn send(&self, search: &Search) {
        let to = search.destination;
        if to.ip() == IpAddr::V4(self.address) {
            let _ = self.own.send_to(&search.payload, to).await;
            return;
        }
        let _ = self.search.send_to(&search.payload, to).await;
        if to.ip() == IpAddr::V4(Ipv4Addr::BROADCAST) {
            let _ = self.own.send_to(&search.payload, (self.address, to.port())).await;
        }
    }
}

/// Who listens at one socket.
struct Ear {
    port: u16,
    /// From where alone something is taken, if so.
    only: Option<IpAddr>,
    out: Out,
    table: Arc<Mutex<Table>>,
    clock: Clock,
}

impl Ear {
    async fn listen(self, socket: Arc<UdpSocket>) {
        let mut buffer = vec![0; LONGEST];
        loop {
            for _ in 0..AT_ONCE {
                let Ok((length, source)) = socket.recv_from(&mut buffer).await else {
                    break;
                };
                if self.only.is_some_and(|only| only != source.ip()) {
                    continue;
                }
                let payload = buffer.get(..length).unwrap_or_default();
                let heard = Heard {
                    source,
                    port: self.port,
                    payload,
                };
                let replies = locked(&self.table).listing.heard(self.clock.now(), &heard);
                for reply in replies {
                    self.out.send(&reply).await;
                }
            }
            sleep(BREATH).await;
        }
    }
}

fn open_group(place: &Place, group: SocketAddrV4) -> io::Result<UdpSocket> {
    let socket = new_socket()?;
    socket.set_reuse_address(true)?;
    socket.set_multicast_all_v4(false)?;
    socket.bind_device(Some(place.interface.as_bytes()))?;
    socket.bind(&group.into())?;
    socket.join_multicast_v4_n(group.ip(), &InterfaceIndexOrAddress::Index(place.index))?;
    UdpSocket::from_std(socket.into())
}

fn new_socket() -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// What comes is not longer; the rest of what is longer is cut off.
const LONGEST: usize = 9000;

/// How much is taken from a socket before others have their turn. With the pause a flood costs this thread 3,200 packets a second.
const AT_ONCE: usize = 32;

/// The pause in between.
const BREATH: Duration = Duration::from_millis(10);

/// Between two looks whether something is to be sent.
const SHORTEST_PAUSE: Duration = Duration::from_millis(20);
