//! Streams between hosts of the laboratory.

use std::net::SocketAddr;

use super::{DELAY, Host, Lab, Place};
use crate::{Role, Socket, Time};

/// A stream from a node to a supernode.
pub(super) struct Connection {
    pub(super) ends: [Place; 2],
    /// Its number at each end.
    pub(super) numbers: [u32; 2],
    pub(super) addresses: [SocketAddr; 2],
    /// When each end learns that it stands; none once it has.
    stands: [Option<Time>; 2],
    pub(super) closed: bool,
}

impl Lab {
    /// A node asks for a stream.
    pub(super) fn connect(&mut self, place: Place, number: u32, address: SocketAddr) {
        let role = |host: &Host| host.role == Role::Supernode && tcp(host.address) == address;
        let Some(to) = self.hosts.iter().position(role).filter(|_| self.tcp) else {
            return;
        };
        let accepted = u32::try_from(self.streams.len()).unwrap() + 1000;
        self.streams.push(Connection {
            ends: [place, to],
            numbers: [number, accepted],
            addresses: [SocketAddr::new(self.hosts[place].address.ip(), 4_000), address],
            stands: [Some(self.now + 2 * DELAY), Some(self.now + DELAY)],
            closed: false,
        });
    }

    /// A host closes a socket, which may be a stream's.
    pub(super) fn close_stream(&mut self, place: Place, socket: Socket) {
        let end = |stream: &&mut Connection| matches!(socket, Socket::Stream(number) if stream.is_at(place, number));
        let closed = self.streams.iter_mut().find(|stream| !stream.closed && end(stream));
        if let Some(stream) = closed {
            stream.closed = true;
            let other = usize::from(stream.ends[0] == place);
            let (other, number) = (stream.ends[other], stream.numbers[other]);
            self.hosts[other].engine.stream_closed(self.now, number);
        }
    }

    /// All streams of a host end.
    pub(in crate::scenarios) fn end_streams(&mut self, place: Place) {
        for stream in self
            .streams
            .iter_mut()
            .filter(|stream| !stream.closed && stream.ends.contains(&place))
        {
            stream.closed = true;
            for (end, number) in stream.ends.iter().zip(stream.numbers) {
                self.hosts[*end].engine.stream_closed(self.now, number);
            }
        }
    }

    /// The streams of a host that stand.
    pub(in crate::scenarios) fn open_streams(&self, place: Place) -> usize {
        let open = |stream: &&Connection| !stream.closed && stream.ends.contains(&place);
        self.streams.iter().filter(open).count()
    }

    /// The ends of streams that stand now learn of it; returns when the next one does.
    pub(super) fn tend_streams(&mut self) -> Option<Time> {
        let mut next = None;
        for stream in self.streams.iter_mut().filter(|stream| !stream.closed) {
            for end in 0..2 {
                match stream.stands[end] {
                    Some(at) if at <= self.now => {
                        stream.stands[end] = None;
                        let engine = &mut self.hosts[stream.ends[end]].engine;
                        engine.stream_opened(self.now, stream.numbers[end]);
                    }
                    Some(at) => next = Some(next.map_or(at, |next: Time| next.min(at))),
                    None => {}
                }
            }
        }
        next
    }
}

impl Connection {
    pub(super) fn is_at(&self, place: Place, number: u32) -> bool {
        (0..2).any(|end| self.ends[end] == place && self.numbers[end] == number)
    }

    /// The endpoints, that of the host at `place` first.
    pub(super) fn seen_from(&self, place: Place) -> [SocketAddr; 2] {
        let [node, supernode] = self.addresses;
        if self.ends[0] == place {
            [node, supernode]
        } else {
            [supernode, node]
        }
    }
}

/// Where a supernode takes streams.
pub(in crate::scenarios) fn tcp(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip(), 443)
}
