//! Streams: connections over TCP from nodes to supernodes, as a shell would hold them.
//!
//! A connection delivers everything in order; what a link loses comes later. All NATs let it out, and it lasts as long as these
//! know it and its ends stay where they are: when one of them forgets or moves, what is sent is lost, and each end learns of
//! it [`GIVEN_UP`] after it sent something.

use std::{net::SocketAddr, time::Duration};

use farlan_engine::{Batch, Leg, Received, Role, Socket};

use super::{super::underlay::NatId, Due, HostId, Lab};

/// One connection.
#[derive(Debug)]
pub(super) struct Connection {
    /// The node and the supernode.
    ends: [usize; 2],
    /// Under which number each of them knows it.
    numbers: [u32; 2],
    /// The endpoint that each of them sees at the other end.
    far: [SocketAddr; 2],
    /// Whether each end has it still.
    open: [bool; 2],
    /// Something on the way or at an end forgot it.
    broken: bool,
    /// When what each of them sent last arrives.
    latest: [Duration; 2],
}

/// What happens to a connection at a moment, seen from one of its ends.
#[derive(Debug)]
pub(super) enum Step {
    /// The end learns that it stands.
    Opened,
    /// The end learns that it is over.
    Closed,
    /// A datagram arrives.
    Arrived(Vec<u8>),
}

/// Where supernodes take streams.
const TCP_PORT: u16 = 443;

/// How long a shell waits for somebody to take what was sent.
const GIVEN_UP: Duration = Duration::from_secs(15);

/// Streams that supernodes accepted have numbers from here on.
const ACCEPTED: u32 = 1_000_000;

const NODE: usize = 0;
const SUPERNODE: usize = 1;

impl Lab {
    /// Where a supernode takes streams, in the families that `host` has.
    pub(super) fn stream_addresses(&self, host: usize, supernode: usize) -> Vec<SocketAddr> {
        let addresses = self.reachable(host, supernode).into_iter();
        addresses
            .map(|address| SocketAddr::new(address.ip(), TCP_PORT))
            .collect()
    }

    /// A node's engine asks for a stream.
    pub(super) fn connect(&mut self, node: usize, number: u32, address: SocketAddr) {
        self.record("connect", node, address.to_string().as_bytes());
        let takes = |&other: &usize| {
            let host = &self.hosts[other];
            host.role == Role::Supernode && address.port() == TCP_PORT && self.underlay.has_address(other, address.ip())
        };
        let Some(supernode) = (0..self.hosts.len()).find(takes) else {
            return;
        };
        if self.hosts[supernode].engine.is_none() || self.underlay.is_cut(node, supernode) {
            return;
        }
        let index = self.connections.len();
        let there = self.underlay.stream_delay(node, supernode);
        let back = self.underlay.stream_delay(supernode, node);
        let seen = SocketAddr::new(self.underlay.seen_from_core(node), 40_000 + (index % 20_000) as u16);
        self.connections.push(Connection {
            ends: [node, supernode],
            numbers: [number, ACCEPTED + index as u32],
            far: [address, seen],
            open: [true; 2],
            broken: false,
            latest: [self.now + there + back, self.now + there + back],
        });
        self.enter(self.now + there, Due::Stream(index, SUPERNODE, Step::Opened));
        self.enter(self.now + there + back, Due::Stream(index, NODE, Step::Opened));
    }

    /// A host's engine sends a datagram by a stream.
    pub(super) fn send_by_stream(&mut self, host: usize, number: u32, bytes: &[u8]) {
        let Some((index, end)) = self.find_stream(host, number) else {
            return;
        };
        let other = self.connections[index].ends[1 - end];
        let cut = self.underlay.is_cut(host, other);
        let delay = self.underlay.stream_delay(host, other);
        let now = self.now;
        let connection = &mut self.connections[index];
        connection.broken |= cut;
        if connection.broken {
            self.enter(now + GIVEN_UP, Due::Stream(index, end, Step::Closed));
            return;
        }
        let at = connection.latest[end].max(now + delay);
        connection.latest[end] = at;
        self.enter(at, Due::Stream(index, 1 - end, Step::Arrived(bytes.to_vec())));
    }

    /// A host's engine has no use for a stream any more.
    pub(super) fn close_stream(&mut self, host: usize, number: u32) {
        let Some((index, end)) = self.find_stream(host, number) else {
            return;
        };
        let connection = &mut self.connections[index];
        connection.open[end] = false;
        let (other, broken) = (connection.ends[1 - end], connection.broken);
        if !broken {
            let delay = self.underlay.stream_delay(host, other);
            let at = self.connections[index].latest[end].max(self.now + delay);
            self.enter(at, Due::Stream(index, 1 - end, Step::Closed));
        }
    }

    /// A NAT forgot the connections of the hosts behind it.
    pub(super) fn break_streams_behind(&mut self, nat: NatId) {
        for host in 0..self.hosts.len() {
            if self.underlay.chain(host).iter().any(|&(other, _)| other == nat) {
                self.break_streams(host);
            }
        }
    }

    /// A host or something before it forgot its connections.
    pub(super) fn break_streams(&mut self, host: usize) {
        let of_host = |connection: &&mut Connection| connection.ends.contains(&host);
        self.connections
            .iter_mut()
            .filter(of_host)
            .for_each(|connection| connection.broken = true);
    }

    /// The same for a host that is down: it has none any more.
    pub(super) fn lose_streams(&mut self, host: usize) {
        self.break_streams(host);
        for connection in &mut self.connections {
            if let Some(end) = connection.ends.iter().position(|&end| end == host) {
                connection.open[end] = false;
            }
        }
    }

    /// How many streams a host has.
    pub fn streams(&self, host: HostId) -> usize {
        let ends = self.connections.iter().flat_map(|connection| {
            let open = connection.open;
            connection.ends.into_iter().zip(open)
        });
        ends.filter(|&(end, open)| end == host.0 && open).count()
    }

    pub(super) fn step_stream(&mut self, index: usize, end: usize, step: Step) {
        let connection = &mut self.connections[index];
        // Nobody takes what comes for a host that sleeps.
        connection.broken |= self.hosts[connection.ends[end]].asleep.is_some();
        let (host, number, far) = (connection.ends[end], connection.numbers[end], connection.far[end]);
        let lost = connection.broken && !matches!(step, Step::Closed);
        if !connection.open[end] || lost {
            return;
        }
        let now = self.engine_time(host);
        match step {
            Step::Opened => {
                self.record("stream opened", host, &number.to_be_bytes());
                if let Some(engine) = &mut self.hosts[host].engine {
                    engine.stream_opened(now, number);
                }
                self.run_timers(host);
            }
            Step::Closed => {
                self.record("stream closed", host, &number.to_be_bytes());
                self.connections[index].open[end] = false;
                if let Some(engine) = &mut self.hosts[host].engine {
                    engine.stream_closed(now, number);
                }
                self.run_timers(host);
            }
            Step::Arrived(bytes) => {
                self.record("streamed", host, &bytes);
                let leg = Leg {
                    socket: Socket::Stream(number),
                    endpoint: far,
                };
                let mut batch: Batch<Received> = Batch::default();
                batch.push(leg, &bytes);
                self.give_datagrams(host, &mut batch);
            }
        }
    }

    /// A connection that a host has under a number, and which of its ends that is.
    fn find_stream(&self, host: usize, number: u32) -> Option<(usize, usize)> {
        let mut found = self
            .connections
            .iter()
            .enumerate()
            .rev()
            .flat_map(|(index, connection)| {
                [NODE, SUPERNODE].map(|end| {
                    let is = connection.ends[end] == host && connection.numbers[end] == number && connection.open[end];
                    is.then_some((index, end))
                })
            });
        found.find_map(|found| found)
    }
}
