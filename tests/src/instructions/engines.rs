//! Engines with sessions in memory, in their steady state.

use std::{net::SocketAddr, time::Duration};

use farlan_engine::{
    Batch, Engine, FrameLabel, NetworkHandle, NetworkStatus, OpenPorts, Outbox, PathKind, Received, Time, Transport,
};

use farlan_netconf::Mtu;

use super::packets;
use crate::sim::{Family, HostId, Lab, NetId, ethernet};

/// One engine taken out of a lab.
pub(super) struct End {
    pub(super) engine: Engine,
    pub(super) now: Time,
    /// Where its datagrams come from.
    pub(super) address: SocketAddr,
}

/// A node, taken out of a lab.
pub(super) struct Member {
    pub(super) end: End,
    network: NetworkStatus,
}

/// A supernode and two members of a network with a session.
pub(super) struct Trio {
    pub(super) supernode: End,
    pub(super) a: Member,
    pub(super) b: Member,
}

impl Trio {
    /// Lets the three find each other, over `path`, and find out what it carries.
    ///
    /// # Panics
    /// If they do not.
    pub(super) fn new(path: PathKind) -> Self {
        Self::in_network(path, Lab::add_link_network)
    }

    /// The same in a network of strangers, where frames of [`Member::frame`] are for an opened port.
    ///
    /// # Panics
    /// If they do not find each other.
    pub(super) fn of_strangers() -> Self {
        let mut trio = Self::in_network(PathKind::Direct, |lab| lab.add_name_network("earth"));
        for member in [&mut trio.a, &mut trio.b] {
            let port = OpenPorts {
                transport: Transport::Udp,
                first: packets::PORT,
                last: packets::PORT,
            };
            member.end.engine.set_opened(member.network.handle, &[port]);
        }
        trio
    }

    fn in_network(path: PathKind, make: impl FnOnce(&mut Lab) -> NetId) -> Self {
        let mut lab = Lab::new(1);
        let supernode = lab.add_supernode();
        let nodes = [lab.add_node(None), lab.add_node(None)];
        if path == PathKind::Relay {
            lab.set_cut(nodes[0], nodes[1], true);
        }
        let network = make(&mut lab);
        for node in nodes {
            lab.join(node, network);
        }
        lab.settle(network, &nodes);
        for _ in 0..SETTLING {
            lab.ping(nodes[0], nodes[1], network, Family::V4);
            lab.ping(nodes[1], nodes[0], network, Family::V4);
            // Only large frames make an end find out what a path carries.
            for [from, to] in [[nodes[0], nodes[1]], [nodes[1], nodes[0]]] {
                let macs = [to, from].map(|node| lab.card(node, network).mac());
                let frame = lab.payload(from, network, macs[0], 0, LARGE);
                lab.send(from, network, frame);
            }
            lab.run(Duration::from_secs(1));
        }
        for node in nodes {
            let ways: Vec<_> = lab.peers(node).into_iter().map(|peer| peer.path).collect();
            assert_eq!(ways, [Some(path)], "the way to the other node");
        }
        let [a, b] = nodes.map(|node| Member::take(&mut lab, node, network));
        let supernode = End::take(&mut lab, supernode);
        Self { supernode, a, b }
    }
}

impl End {
    fn take(lab: &mut Lab, host: HostId) -> Self {
        let (engine, now, address) = lab.take_engine(host);
        Self { engine, now, address }
    }
}

impl Member {
    fn take(lab: &mut Lab, host: HostId, network: NetId) -> Self {
        let network = lab.network(host, network).expect("a joined network");
        Self {
            end: End::take(lab, host),
            network,
        }
    }

    pub(super) fn handle(&self) -> NetworkHandle {
        self.network.handle
    }

    /// A UDP datagram over IPv4 to `other` in a frame of `length` bytes, without a checksum, which is allowed there.
    pub(super) fn frame(&self, other: &Self, length: usize) -> Vec<u8> {
        let ip = |member: &Self| member.network.ipv4.expect("an IPv4 address");
        let mac = |member: &Self| *member.network.mac.as_bytes();
        let packet = packets::udp(ip(self), ip(other), length - packets::ETHERNET);
        ethernet(mac(other), mac(self), packets::ETHERTYPE_IPV4, &packet)
    }

    /// A TCP super-frame to `other` that stands for `count` full frames.
    pub(super) fn super_frame(&self, other: &Self, count: usize) -> Vec<u8> {
        let ip = |member: &Self| member.network.ipv4.expect("an IPv4 address");
        let mac = |member: &Self| *member.network.mac.as_bytes();
        packets::super_frame(mac(other), mac(self), ip(self), ip(other), count)
    }

    /// `count` such frames as one batch.
    pub(super) fn frames(&self, other: &Self, count: usize, length: usize) -> Batch<FrameLabel> {
        let mut batch = Batch::default();
        for _ in 0..count {
            batch.push(self.handle(), &self.frame(other, length));
        }
        batch
    }

    /// The datagrams in which those frames leave, as `at` receives them.
    ///
    /// # Panics
    /// If it is not one datagram a frame.
    pub(super) fn datagrams(&mut self, other: &Self, count: usize, length: usize) -> Batch<Received> {
        let mut out = Outbox::default();
        let mut frames = self.frames(other, count, length);
        self.end.engine.handle_frames(self.end.now, &mut frames, &mut out);
        assert_eq!(out.datagrams.iter().count(), count, "datagrams for {count} frames");
        let mut batch = Batch::default();
        for (_, bytes) in out.datagrams.iter() {
            batch.push(self.end.address, bytes);
        }
        batch
    }
}

/// Seconds after which a direct path stands, its room is known and nothing is under way.
const SETTLING: u32 = 10;

/// Filling of a frame as large as the network's MTU allows, if it is a datagram.
const LARGE: usize = Mtu::DEFAULT.bytes() as usize - 56;
