//! Networks joined and left while sessions live, and the messages that tell of them.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use farlan_crypto::{Identity, NodeId, Seed, Work};
use farlan_netconf::{DirectoryKey, Mac, NodePrefix, private::SEALED};

use super::lab::{Lab, Place, frame, link, name, world_id};
use crate::{
    MAX_NETWORKS, NetworkHandle,
    content::Content,
    networks::Member,
    peers::Path,
    wire::{
        control::{ADDRESSES_AT_ONCE, Control, MEMBERS_AT_ONCE, MemberEntry, Membership, NodeRecord, Query, TAG},
        datagram::{RelayIndex, RelayTarget},
    },
    worlds::PIECE,
};

/// The header and the tag of a sealed datagram, and the IPv6 and UDP headers before it.
const AROUND: usize = 16 + 16 + 48;

/// The smallest MTU of an IPv6 underlay (RFC 8200 §5).
const UNDERLAY: usize = 1280;

/// Two nodes in network 1, and the second in network 2 as well, when the session between them has begun.
struct Pair {
    lab: Lab,
    a: Place,
    b: Place,
    a1: NetworkHandle,
    b1: NetworkHandle,
    b2: NetworkHandle,
}

impl Pair {
    fn new() -> Self {
        let (mut lab, [_, a, b]) = Lab::with_two_nodes();
        let a1 = lab.join(a, &link(1));
        let b1 = lab.join(b, &link(1));
        let b2 = lab.join(b, &link(2));
        lab.run_seconds(3);
        let mut pair = Self { lab, a, b, a1, b1, b2 };
        let first = pair.frame(1);
        pair.lab.send(a, a1, &first);
        pair.lab.run_seconds(1);
        assert_eq!(pair.lab.hosts[b].frames, [(b1, first)]);
        pair
    }

    /// A frame of network 1 from the first node to the second.
    fn frame(&self, mark: u8) -> Vec<u8> {
        frame(self.lab.mac(self.b, self.b1), self.lab.mac(self.a, self.a1), mark)
    }

    /// Lets the keys of the session be renewed, up to where the new ones wait for the other end's list.
    fn run_into_renewal(&mut self) {
        self.lab.run_seconds(118);
        let frame = self.frame(9);
        for _ in 0..400 {
            self.lab.send(self.a, self.a1, &frame);
            self.lab.run(Duration::from_millis(10));
            let peer = self.lab.peer(self.a, &self.lab.key(self.b));
            if peer.sessions.iter().any(|session| !session.networks.known()) {
                return;
            }
        }
        panic!("the keys were not renewed");
    }
}

#[test]
fn a_network_joined_in_the_turn_another_was_left_gets_its_own_frames_only() {
    let mut pair = Pair::new();
    pair.lab.leave(pair.a, pair.a1);
    let a2 = pair.lab.join(pair.a, &link(2));
    assert_eq!(pair.a1, a2, "the handle is used again");
    let frame = frame(Mac::BROADCAST, pair.lab.mac(pair.a, a2), 2);
    pair.lab.send(pair.a, a2, &frame);
    pair.lab.run_seconds(3);
    pair.lab.send(pair.a, a2, &frame);
    pair.lab.run_seconds(3);
    assert_eq!(pair.lab.received(pair.b, pair.b1, &frame), 0);
    assert!(pair.lab.received(pair.b, pair.b2, &frame) > 0);
}

#[test]
fn a_network_left_and_another_joined_during_a_renewal_of_keys_are_told_apart() {
    let mut pair = Pair::new();
    pair.run_into_renewal();
    pair.lab.leave(pair.a, pair.a1);
    pair.lab.settle();
    let a2 = pair.lab.join(pair.a, &link(2));
    assert_eq!(pair.a1, a2, "the handle is used again");
    pair.lab.settle();
    pair.lab.run_seconds(2);
    pair.lab.hosts[pair.b].frames.clear();
    let frame = frame(pair.lab.mac(pair.b, pair.b2), pair.lab.mac(pair.a, a2), 2);
    for _ in 0..20 {
        pair.lab.send(pair.a, a2, &frame);
        pair.lab.run_seconds(1);
    }
    assert_eq!(pair.lab.received(pair.b, pair.b2, &frame), 20);
    assert_eq!(pair.lab.hosts[pair.b].frames.len(), 20);
}

#[test]
fn a_network_joined_during_a_renewal_of_keys_is_matched_in_the_new_session() {
    let mut pair = Pair::new();
    pair.run_into_renewal();
    let a2 = pair.lab.join(pair.a, &link(2));
    pair.lab.run_seconds(2);
    let handshakes = pair.lab.handshakes_begun();
    let peer = pair.lab.peer(pair.a, &pair.lab.key(pair.b));
    let current = peer.sessions.current().unwrap();
    assert!(current.networks.shared(pair.a1) && current.networks.shared(a2));
    let frame = frame(pair.lab.mac(pair.b, pair.b2), pair.lab.mac(pair.a, a2), 2);
    pair.lab.send(pair.a, a2, &frame);
    pair.lab.run_seconds(1);
    assert_eq!(pair.lab.received(pair.b, pair.b2, &frame), 1);
    assert_eq!(pair.lab.handshakes_begun(), handshakes);
}

#[test]
fn the_member_list_of_a_network_left_and_joined_again_in_one_turn_arrives() {
    let mut pair = Pair::new();
    pair.lab.leave(pair.a, pair.a1);
    let again = pair.lab.join(pair.a, &link(1));
    let network = pair.lab.hosts[pair.a].engine.networks.get(again).unwrap();
    assert!(network.listings.is_empty(), "nothing is remembered");
    pair.lab.run_seconds(2);
    assert_eq!(pair.lab.status(pair.a, again).members, 2);
    let network = pair.lab.hosts[pair.a].engine.networks.get(again).unwrap();
    assert!(network.member(&pair.lab.key(pair.b).node_id()).is_some());
}

#[test]
fn a_node_that_a_look_up_found_does_not_become_a_listed_member() {
    let (mut lab, [_, a, b]) = Lab::with_two_nodes();
    let a1 = lab.join(a, &name());
    lab.join(b, &link(2));
    lab.run_seconds(3);
    // The second node is registered and not in the network, and somebody there calls the MAC it would have.
    let node = lab.key(b).node_id();
    let mac = lab.hosts[a].engine.networks.get(a1).unwrap().plan.mac(&node);
    let call = frame(mac, lab.mac(a, a1), 1);
    lab.send(a, a1, &call);
    lab.run_seconds(2);
    let network = lab.hosts[a].engine.networks.get(a1).unwrap();
    assert!(network.member(&node).is_some(), "the look-up found it");
    assert!(network.listed().all(|member| member.key.node_id() != node));
    assert_eq!(lab.status(a, a1).members, 1);
    let everybody = frame(Mac::BROADCAST, lab.mac(a, a1), 2);
    lab.send(a, a1, &everybody);
    lab.run_seconds(2);
    assert_eq!(lab.hosts[a].engine.counters().group_copies_sent, 0);
    assert!(lab.hosts[b].frames.is_empty());
}

#[test]
fn a_network_remembers_256_nodes_that_look_ups_found() {
    let (mut lab, [_, a, _]) = Lab::with_two_nodes();
    let a1 = lab.join(a, &link(1));
    let network = lab.hosts[a].engine.networks.get_mut(a1).unwrap();
    let nodes: Vec<NodeId> = (0..300_u16)
        .map(|number| {
            let seed = [number.to_be_bytes(); 16].concat().try_into().unwrap();
            let key = Identity::from_seed(Seed::from_bytes(seed), Work::NONE)
                .unwrap()
                .public();
            network.note_located(Member {
                key,
                place: crate::wire::control::Place {
                    home: NodeId::from_bytes([1; 16]),
                    index: RelayIndex(1),
                },
                ipv4: None,
            });
            key.node_id()
        })
        .collect();
    assert_eq!(nodes.iter().filter(|node| network.member(node).is_some()).count(), 256);
    assert!(network.member(&nodes[299]).is_some(), "the latest is among them");
}

#[test]
fn the_largest_control_messages_fit_the_smallest_underlay() {
    let (mut lab, [supernode, a, b]) = Lab::with_two_nodes();
    let (a1, b1) = (lab.join(a, &link(1)), lab.join(b, &link(1)));
    lab.run_seconds(3);
    let first = frame(lab.mac(b, b1), lab.mac(a, a1), 1);
    lab.send(a, a1, &first);
    lab.run_seconds(1);
    // The long form of a relayed datagram is the longest way to a peer.
    let (to_node, to_supernode) = (lab.peer_id(a, &lab.key(b)), lab.peer_id(a, &lab.key(supernode)));
    lab.hosts[a].engine.peers.get_mut(to_node).unwrap().path = Some(Path::Relay {
        supernode: to_supernode,
        target: RelayTarget::Node(lab.key(b).node_id()),
    });
    for (message, between_nodes) in largest() {
        let name = format!("{message:?}").split(' ').next().unwrap().to_owned();
        let id = if between_nodes { to_node } else { to_supernode };
        let now = lab.now;
        let mut out = crate::Outbox::default();
        let content = Content::Control(std::slice::from_ref(&message));
        assert!(lab.hosts[a].engine.send_sealed(now, id, None, content, &mut out));
        let (_, datagram) = out.datagrams.packet(0).unwrap();
        let relayed = if between_nodes { 24 } else { 0 };
        let sealed = datagram.len() - relayed - 32;
        assert_eq!(sealed % 64, 0, "{name} is padded");
        assert!(sealed + AROUND + relayed <= UNDERLAY, "{name}: {sealed} bytes to seal");
    }
}

/// One of each control message, as long as it gets, and whether it goes from node to node.
fn largest() -> Vec<(Control, bool)> {
    let key = DirectoryKey::from_bytes([1; 16]);
    let ipv4 = Some(Ipv4Addr::new(10, 128, 0, 1));
    let record = NodeRecord {
        key: [2; 32],
        home: NodeId::from_bytes([3; 16]),
        index: RelayIndex(u32::MAX),
    };
    let membership = Membership {
        member_key: key,
        address_key: key,
        ipv4,
        version: u64::MAX,
        home: Some(record.place()),
    };
    let entry = MemberEntry {
        present: true,
        record,
        ipv4,
    };
    let (number, request) = (u32::MAX, u32::MAX);
    let all_networks = u8::try_from(MAX_NETWORKS).unwrap();
    vec![
        (Control::Ack { number }, true),
        (
            Control::World {
                world: world_id(1),
                version: u32::MAX,
            },
            true,
        ),
        (
            Control::WorldPiece {
                world: world_id(1),
                version: u32::MAX,
                length: u16::MAX,
                offset: u16::MAX,
                bytes: vec![0; PIECE],
            },
            true,
        ),
        (
            Control::Homes {
                places: vec![record.place(); 4],
            },
            true,
        ),
        (
            Control::Networks {
                number,
                // Four places for each network a node can be in.
                tags: vec![[4; TAG]; 4 * MAX_NETWORKS],
            },
            true,
        ),
        (
            Control::Claims {
                number,
                claims: (0..all_networks).map(|place| (place, ipv4)).collect(),
            },
            true,
        ),
        (
            Control::Credentials {
                number,
                place: u8::MAX,
                sealed: vec![0; SEALED],
            },
            true,
        ),
        (Control::CredentialsAck { number }, true),
        (
            Control::Application {
                request,
                place: u8::MAX,
                sealed: vec![0; SEALED],
            },
            true,
        ),
        (
            Control::Admission {
                request,
                place: u8::MAX,
                status: u8::MAX,
                sealed: vec![0; SEALED],
            },
            true,
        ),
        (Control::Ping { token: u64::MAX }, true),
        (Control::Pong { token: u64::MAX }, true),
        (
            Control::GroupAck {
                sequences: vec![u64::MAX; 7],
            },
            true,
        ),
        (Control::Bye, true),
        (
            Control::Addresses {
                number,
                addresses: vec![(all_networks, IpAddr::from([0xfd07; 8])); ADDRESSES_AT_ONCE],
            },
            true,
        ),
        (
            Control::Register {
                request,
                memberships: vec![membership; MAX_NETWORKS],
            },
            false,
        ),
        (
            Control::Registered {
                request,
                index: RelayIndex(u32::MAX),
                observed: SocketAddr::from(([192, 0, 2, 1], 9600)),
                refused: (0..all_networks).collect(),
            },
            false,
        ),
        (
            Control::Members {
                member_key: key,
                from: u64::MAX - 1,
                upto: u64::MAX,
                count: u32::MAX,
                entries: vec![entry; MEMBERS_AT_ONCE],
            },
            false,
        ),
        (
            Control::MembersAck {
                member_key: key,
                version: u64::MAX,
            },
            false,
        ),
        (
            Control::Locate {
                request,
                query: Query::Prefix(NodePrefix::of(&NodeId::from_bytes([5; 16]))),
            },
            false,
        ),
        (
            Control::Locate {
                request,
                query: Query::Address(key),
            },
            false,
        ),
        (
            Control::Located {
                request,
                found: Some(record),
            },
            false,
        ),
        (Control::Introduce { record }, false),
        (Control::Challenge { nonce: u64::MAX }, false),
        (Control::Answer { nonce: u64::MAX }, false),
    ]
}
