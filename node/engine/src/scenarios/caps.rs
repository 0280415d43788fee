//! Whoever fills tables from outside finds them bounded, and whoever was there before stays.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use farlan_crypto::{Identity, PublicKey, Seed, Work};
use farlan_netconf::{NodePrefix, WorldId};

use super::lab::{DELAY, Lab, Place, datagram, frame, name};
use crate::{
    Limits, NetworkHandle, Outbox, Role,
    content::Content,
    fragments::Part,
    wire::control::{Candidate, Control, MEMBERS_AT_ONCE, MemberEntry, Membership, NodeRecord, Place as Home, Query},
    wire::datagram::RelayIndex,
};

fn made_up(number: u32) -> PublicKey {
    let mut seed = [0xfa; 32];
    seed[..4].copy_from_slice(&number.to_be_bytes());
    Identity::from_seed(Seed::from_bytes(seed), Work::NONE)
        .unwrap()
        .public()
}

/// Two nodes in one network that have spoken with each other for over a minute.
fn acquainted(limits: Limits) -> (Lab, Place, [Place; 2], [NetworkHandle; 2]) {
    let mut lab = Lab::new();
    lab.limits = limits;
    let supernode = lab.add(Role::Supernode);
    let nodes = [(); 2].map(|()| lab.add(Role::Node));
    for node in nodes {
        lab.set_world(node, 1, &[supernode]);
    }
    let networks = nodes.map(|node| lab.join(node, &name()));
    for (node, network) in nodes.into_iter().zip(networks) {
        lab.open_all(node, network);
    }
    lab.run_seconds(4);
    for second in 0..66 {
        let lost = speak(&mut lab, (nodes, networks));
        assert!(lost == 0 || second == 0, "{lost} lost in second {second}");
        lab.run_seconds(1);
    }
    (lab, supernode, nodes, networks)
}

/// Each sends the other a frame; how many of the two did not arrive.
fn speak(lab: &mut Lab, (nodes, networks): ([Place; 2], [NetworkHandle; 2])) -> usize {
    let macs = [0, 1].map(|at| lab.mac(nodes[at], networks[at]));
    let before: usize = nodes.iter().map(|node| lab.hosts[*node].frames.len()).sum();
    for from in 0..2 {
        let frame = datagram(macs[1 - from], macs[from], &[9; 20]);
        lab.send(nodes[from], networks[from], &frame);
    }
    lab.run(3 * DELAY);
    let after: usize = nodes.iter().map(|node| lab.hosts[*node].frames.len()).sum();
    2 - (after - before).min(2)
}

#[test]
fn a_supernode_that_lists_and_locates_without_end_fills_nothing_and_parts_nobody() {
    let peers = 64;
    let limits = Limits {
        peers,
        ..Limits::default()
    };
    let (mut lab, supernode, nodes, networks) = acquainted(limits);
    let [node, other] = nodes;
    let key = lab.key(node);
    let (member_key, home) = {
        let network = lab.hosts[node].engine.networks.get(networks[0]).unwrap();
        (network.member_key, lab.key(supernode).node_id())
    };
    let begun = lab.peer(node, &lab.key(other)).sessions.iter().count();
    assert!(begun > 0);
    let entry = |number: u32| MemberEntry {
        present: true,
        record: NodeRecord {
            key: *made_up(number).as_bytes(),
            home,
            index: RelayIndex(number + 1),
        },
        ipv4: None,
    };
    let (mut version, mut lost) = (0, 0);
    for message in 0..200_u32 {
        let first = message * u32::try_from(MEMBERS_AT_ONCE).unwrap();
        let entries = (first..).take(MEMBERS_AT_ONCE).map(entry).collect();
        let members = Control::Members {
            member_key,
            from: version,
            upto: version + 1000,
            count: 1_000_000,
            entries,
        };
        version += 1000;
        lab.tell(supernode, &key, members);
        lab.run(2 * DELAY);
        // The machine turns to some of them, and to all.
        let own = lab.mac(node, networks[0]);
        let plan = |lab: &Lab, number| {
            let network = lab.hosts[node].engine.networks.get(networks[0]).unwrap();
            network.plan.mac(&made_up(number).node_id())
        };
        // Those that it listed first are known.
        for number in (3 * message..).take(3).map(|number| number % 400) {
            let to = plan(&lab, number);
            lab.send(node, networks[0], &frame(to, own, 1));
        }
        let mut to_all = frame(own, own, 2);
        to_all[..6].fill(0xff);
        lab.send(node, networks[0], &to_all);
        lost += speak(&mut lab, (nodes, networks));
        let engine = &lab.hosts[node].engine;
        assert!(engine.peers.len() <= peers, "{} peers", engine.peers.len());
        let network = engine.networks.get(networks[0]).unwrap();
        assert!(network.listings.values().all(|listing| listing.members.len() <= 512));
    }
    assert_eq!(lost, 0, "frames between those who know each other");
    let counters = lab.hosts[node].engine.counters();
    assert!(counters.peers_displaced + counters.peers_refused > 100);
    // What it answers to look-ups that this node makes is forgotten like them.
    for number in 10_000..12_000_u32 {
        let id = made_up(number).node_id();
        let now = lab.now;
        let target = crate::lookups::LookupTarget::Node { low: id, bits: 128 };
        let query = Query::Prefix(NodePrefix::of(&id));
        lab.hosts[node].engine.look_up(now, networks[0], target, query);
        lab.now += Duration::from_millis(1);
        if number % 50 == 0 {
            lab.run(4 * DELAY);
            assert!(lab.hosts[node].engine.peers.len() <= peers);
        }
    }
    assert_eq!(speak(&mut lab, (nodes, networks)), 0);
}

#[test]
fn a_member_that_says_all_it_can_fills_nothing() {
    let (mut lab, supernode, nodes, _) = acquainted(Limits::default());
    let [hostile, node] = nodes;
    let key = lab.key(node);
    let third = lab.add(Role::Node);
    lab.set_world(third, 1, &[supernode]);
    for round in 0..200_u32 {
        let places = vec![
            Home {
                home: made_up(round).node_id(),
                index: RelayIndex(round + 1),
            };
            40
        ];
        let candidates = (0..8_u8).map(|number| Candidate {
            local: number % 2 == 0,
            endpoint: SocketAddr::from(([198, 51, (round & 0xff) as u8, number], 1000)),
        });
        let addresses = (0..60_u8).map(|number| (0, IpAddr::from([10, 77, (round & 0xff) as u8, number])));
        let messages = [
            Control::Homes { places },
            Control::Candidates {
                number: 10_000 + round,
                ask: true,
                candidates: candidates.collect(),
                behaviour: crate::Behaviour::default(),
            },
            Control::Addresses {
                number: 10_000 + round,
                addresses: addresses.collect(),
            },
            Control::World {
                world: WorldId::from_bytes([(round & 0xff) as u8; 16]),
                version: 9,
            },
            Control::World {
                world: super::lab::world_id(1),
                version: 100 + round,
            },
            Control::Networks {
                number: 10_000 + round,
                tags: vec![[(round & 0xff) as u8; 16]; 60],
            },
            Control::Claims {
                number: 10_000 + round,
                claims: (0..100_u8)
                    .map(|place| (place, Some(Ipv4Addr::new(10, 64, 1, place))))
                    .collect(),
            },
            Control::GroupAck {
                sequences: (0..100).collect(),
            },
            Control::Pong { token: round.into() },
            Control::PathResponse {
                token: 1,
                observed: SocketAddr::from(([198, 51, 100, 1], 1)),
            },
            Control::Ack { number: round },
        ];
        for message in messages {
            lab.tell(hostile, &key, message);
        }
        // Parts of messages that never become whole.
        let id = lab.peer_id(hostile, &key);
        let mut out = Outbox::default();
        for number in 0..20_u16 {
            let part = Part {
                message: number.wrapping_mul(7).wrapping_add(u16::try_from(round).unwrap()),
                position: 0,
                count: 2,
                bytes: &[1; 1000],
            };
            let engine = &mut lab.hosts[hostile].engine;
            engine.send_sealed(lab.now, id, None, Content::Part(part), &mut out);
        }
        lab.take(hostile, &mut out);
        lab.run(2 * DELAY);
        let engine = &lab.hosts[node].engine;
        let peer = lab.peer(node, &lab.key(hostile));
        assert!(peer.homes.len() <= 4 && peer.claims.len() <= 16 && peer.up.len() <= 16 && peer.channels.len() <= 16);
        assert!(peer.sessions.iter().count() <= 4 && peer.direct.known().len() <= 2);
        assert!(
            engine.peers.len() <= 10 && engine.assemblies.len() <= 8,
            "{}",
            engine.assemblies.len()
        );
        assert!(engine.traversal.aimed() <= 64 && engine.worlds.fetching() <= 8);
        assert!(engine.early.bytes() <= 4 << 20);
    }
    assert!(lab.hosts[node].engine.counters().fragments_lost > 1000);
}

#[test]
fn a_node_that_says_all_it_can_to_a_supernode_fills_nothing() {
    let limits = Limits {
        registrations: 10,
        ..Limits::default()
    };
    let (mut lab, supernode, nodes, _) = acquainted(limits);
    let (hostile, key) = (nodes[0], lab.key(supernode));
    for round in 0..300_u32 {
        let directory_key = |number: u32| {
            let mut bytes = [0x77; 16];
            bytes[..4].copy_from_slice(&(round * 40 + number).to_be_bytes());
            farlan_netconf::DirectoryKey::from_bytes(bytes)
        };
        let memberships = (0..20).map(|number| Membership {
            member_key: directory_key(number),
            address_key: directory_key(number + 20),
            ipv4: Some(Ipv4Addr::new(10, 1, 1, 1)),
            version: 0,
            home: None,
        });
        let register = Control::Register {
            request: 10_000 + round,
            memberships: memberships.take(10).collect(),
        };
        lab.tell(hostile, &key, register);
        let query = Query::Prefix(NodePrefix::of(&lab.key(nodes[1]).node_id()));
        for request in 0..10 {
            lab.tell(hostile, &key, Control::Locate { request, query });
        }
        lab.run(2 * DELAY);
        let status = lab.hosts[supernode].engine.anchor();
        assert!(
            status.registrations == 2 && status.subscriptions <= 20 && status.claims <= 40,
            "{status:?}"
        );
    }
    assert!(lab.hosts[supernode].engine.counters().lookups_limited > 100);
    assert!(lab.hosts[nodes[1]].engine.supernodes()[0].registered);
}

#[test]
fn strangers_at_a_supernode_take_places_of_each_other_alone() {
    let limits = Limits {
        registrations: 10,
        ..Limits::default()
    };
    let (mut lab, supernode, nodes, _) = acquainted(limits);
    let now = lab.now;
    let engine = &mut lab.hosts[supernode].engine;
    assert!(engine.anchor.unregistered.is_empty());
    for number in 0..10_000 {
        assert!(engine.pin(now, made_up(number)).is_some());
        assert!(engine.peers.len() <= 10 + 4096);
    }
    assert!(engine.peers.len() > 3500);
    let unregistered: Vec<_> = engine
        .peers
        .ids()
        .into_iter()
        .filter(|id| !engine.anchor.has_registration(*id))
        .collect();
    assert!(unregistered.iter().eq(&engine.anchor.unregistered));
    assert_eq!(engine.peers.len(), unregistered.len() + 2);
    lab.run_seconds(30);
    for node in nodes {
        assert!(lab.hosts[node].engine.supernodes()[0].registered);
    }
}

#[test]
fn who_is_registered_keeps_its_place_when_many_more_come() {
    let mut lab = Lab::new();
    lab.limits = Limits {
        registrations: 20,
        ..Limits::default()
    };
    let supernode = lab.add(Role::Supernode);
    let mut nodes = Vec::new();
    for number in 0..60_u8 {
        let node = lab.add(Role::Node);
        // The first ten are from here and there, then forty from one place, then ten from elsewhere again.
        let address = if (10..50).contains(&number) {
            [10, 7, 7, number]
        } else {
            [10, 8, number, 1]
        };
        lab.hosts[node].address = SocketAddr::from((address, 9600));
        lab.set_world(node, 1, &[supernode]);
        nodes.push(node);
        lab.run(Duration::from_millis(200));
    }
    lab.run_seconds(60);
    let registered = |range: std::ops::Range<usize>| {
        let nodes = nodes[range].iter();
        nodes
            .filter(|node| lab.hosts[**node].engine.supernodes()[0].registered)
            .count()
    };
    assert_eq!(registered(0..10), 10, "who was there first");
    let [crowd, later] = [registered(10..50), registered(50..60)];
    assert!(crowd <= 2, "{crowd} of one prefix");
    assert!(later >= 6, "{later} from elsewhere");
    assert_eq!(lab.hosts[supernode].engine.anchor().registrations, 10 + crowd + later);
}
