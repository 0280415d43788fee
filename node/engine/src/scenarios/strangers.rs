//! What strangers can and cannot do to a member of an open network. The one who tries has a valid session and an engine that
//! sends what it is told to; everything comes in by the front door.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    num::NonZeroU16,
    time::Duration,
};

use farlan_netconf::{Mac, Parameters};
use farlan_offload::Offload;
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng as _, SeedableRng as _};

use super::lab::{DELAY, Lab, Place, frame, link, name};
use crate::{Batch, Counters, FrameLabel, NetworkHandle, OpenPorts, Outbox, Role, Transport, peers::PeerId};

/// A member with its addresses.
#[derive(Clone, Copy)]
struct Party {
    place: Place,
    network: NetworkHandle,
    mac: Mac,
    ipv4: Ipv4Addr,
    ipv6: Ipv6Addr,
    link_local: Ipv6Addr,
}

/// The one who tries, the one it is tried on, and a third.
struct Street {
    lab: Lab,
    liar: Party,
    victim: Party,
    other: Party,
    /// The victim, at the liar's.
    towards: PeerId,
}

impl Street {
    fn new(parameters: &Parameters) -> Self {
        let mut lab = Lab::new();
        let supernode = lab.add(Role::Supernode);
        let places = [(); 3].map(|()| lab.add(Role::Node));
        lab.open = true;
        let networks = places.map(|place| {
            lab.set_world(place, 1, &[supernode]);
            lab.join(place, parameters)
        });
        lab.run_seconds(3);
        let mut parties = places.into_iter().zip(networks).map(|(place, network)| {
            let status = lab.status(place, network);
            Party {
                place,
                network,
                mac: status.mac,
                ipv4: status.ipv4.unwrap(),
                ipv6: status.ipv6,
                link_local: status.link_local,
            }
        });
        let [liar, victim, other] = [(); 3].map(|()| parties.next().unwrap());
        drop(parties);
        // Pings bring the sessions and the direct paths about.
        for _ in 0..3 {
            for (from, to) in [(liar, victim), (victim, liar), (other, victim), (liar, other)] {
                lab.send(from.place, from.network, &ping(from, to, 1));
                lab.run_seconds(1);
            }
        }
        for host in &mut lab.hosts {
            host.frames.clear();
        }
        let towards = lab.peer_id(liar.place, &lab.key(victim.place));
        Self {
            lab,
            liar,
            victim,
            other,
            towards,
        }
    }

    /// The liar's engine seals frames for the victim as they are, and the victim's takes the datagrams. Returns what came
    /// to the victim's card.
    fn forge<'a>(&mut self, frames: impl IntoIterator<Item = &'a [u8]>) -> Vec<Vec<u8>> {
        let now = self.lab.now;
        let mut out = Outbox::default();
        let engine = &mut self.lab.hosts[self.liar.place].engine;
        for frame in frames {
            engine.send_frame(now, self.towards, self.liar.network, frame, false, &mut out);
        }
        engine.seal_pending(&mut out);
        let [source, destination] = [self.liar, self.victim].map(|party| self.lab.hosts[party.place].address);
        let mut batch = Batch::default();
        for (transmit, bytes) in out.datagrams.iter() {
            assert_eq!(transmit.destination, destination, "there is a direct path");
            batch.push(source, bytes);
        }
        let mut out = Outbox::default();
        let engine = &mut self.lab.hosts[self.victim.place].engine;
        engine.handle_datagrams(now, &mut batch, &mut out);
        let came = out.frames.iter().map(|(_, frame)| frame.to_vec()).collect();
        self.lab.take(self.victim.place, &mut out);
        came
    }

    fn passes(&mut self, frame: &[u8]) -> bool {
        self.forge([frame]) == [frame]
    }

    /// The victim's machine sends a frame.
    fn speak(&mut self, frame: &[u8]) {
        self.lab.send(self.victim.place, self.victim.network, frame);
        self.lab.run(2 * DELAY);
    }

    fn open(&mut self, transport: Transport, port: u16) {
        let ports = OpenPorts {
            transport,
            first: port,
            last: port,
        };
        let engine = &mut self.lab.hosts[self.victim.place].engine;
        engine.set_opened(self.victim.network, &[ports]);
    }

    fn counters(&self) -> Counters {
        self.lab.hosts[self.victim.place].engine.counters()
    }
}

fn ethernet(to: Mac, from: Mac, ethertype: u16, payload: &[u8]) -> Vec<u8> {
    [to.as_bytes(), &from.as_bytes()[..], &ethertype.to_be_bytes(), payload].concat()
}

/// An IP packet, of the family of its source.
fn ip(protocol: u8, source: IpAddr, destination: IpAddr, payload: &[u8]) -> Vec<u8> {
    fragment(protocol, source, destination, 0, payload)
}

/// With `flags and offset` where it is IPv4.
fn fragment(protocol: u8, source: IpAddr, destination: IpAddr, part: u16, payload: &[u8]) -> Vec<u8> {
    let length = |more: usize| u16::try_from(payload.len() + more).unwrap().to_be_bytes();
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => [
            &[0x45, 0],
            &length(20)[..],
            &[0, 7],
            &part.to_be_bytes(),
            &[64, protocol, 0, 0],
            &source.octets(),
            &destination.octets(),
            payload,
        ]
        .concat(),
        (IpAddr::V6(source), IpAddr::V6(destination)) => [
            &[0x60, 0, 0, 0],
            &length(0)[..],
            &[protocol, 255],
            &source.octets(),
            &destination.octets(),
            payload,
        ]
        .concat(),
        _ => panic!("one family"),
    }
}

/// An IP packet in a frame from one member to another.
fn packet(from: Party, to: Party, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let packet = ip(protocol, from.ipv4.into(), to.ipv4.into(), payload);
    ethernet(to.mac, from.mac, 0x0800, &packet)
}

fn ping(from: Party, to: Party, identifier: u8) -> Vec<u8> {
    packet(from, to, 1, &[8, 0, 0, 0, 0, identifier, 0, 1])
}

const SYN: u8 = 2;
const SYN_ACK: u8 = 0x12;
const ACK: u8 = 0x10;
const RST: u8 = 4;

fn tcp_segment(from: u16, to: u16, flags: u8) -> Vec<u8> {
    let ports = [from.to_be_bytes(), to.to_be_bytes()].concat();
    [&ports[..], &[0; 8], &[0x50, flags], &[0; 6]].concat()
}

fn tcp(from: Party, to: Party, ports: (u16, u16), flags: u8) -> Vec<u8> {
    packet(from, to, 6, &tcp_segment(ports.0, ports.1, flags))
}

fn udp_datagram(from: u16, to: u16, payload: &[u8]) -> Vec<u8> {
    let ports = [from.to_be_bytes(), to.to_be_bytes()].concat();
    let length = u16::try_from(8 + payload.len()).unwrap().to_be_bytes();
    [&ports[..], &length, &[0, 0], payload].concat()
}

fn udp(from: Party, to: Party, ports: (u16, u16)) -> Vec<u8> {
    packet(from, to, 17, &udp_datagram(ports.0, ports.1, &[0; 12]))
}

fn arp(to: Mac, from: Mac, operation: u8, sender: (Mac, Ipv4Addr), target: (Mac, Ipv4Addr)) -> Vec<u8> {
    let mut body = vec![0, 1, 8, 0, 6, 4, 0, operation];
    for (mac, address) in [sender, target] {
        body.extend(mac.as_bytes());
        body.extend(address.octets());
    }
    ethernet(to, from, 0x0806, &body)
}

/// A neighbour message with one link-layer address option, or none.
fn neighbour(
    [to, from]: [Mac; 2],
    kind: u8,
    [source, destination, target]: [Ipv6Addr; 3],
    link_address: Option<Mac>,
) -> Vec<u8> {
    let mut message = [&[kind, 0, 0, 0, 0x20, 0, 0, 0], &target.octets()[..]].concat();
    if let Some(mac) = link_address {
        message.extend([kind - 134, 1]);
        message.extend(mac.as_bytes());
    }
    ethernet(to, from, 0x86dd, &ip(58, source.into(), destination.into(), &message))
}

fn tagged(frame: &[u8]) -> Vec<u8> {
    [&frame[..12], &[0x81, 0, 0, 0], &frame[12..]].concat()
}

const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ALL_NODES_MAC: Mac = Mac::from_bytes([0x33, 0x33, 0, 0, 0, 1]);

/// Makes frames in which at least one address is not the liar's.
struct Forger {
    random: ChaCha20Rng,
    liar: Party,
    victim: Party,
    other: Party,
}

impl Forger {
    fn below(&mut self, bound: u32) -> u32 {
        self.random.next_u32() % bound
    }

    fn foreign_mac(&mut self) -> Mac {
        let mut bytes = [0; 6];
        self.random.fill_bytes(&mut bytes);
        match self.below(4) {
            0 => self.other.mac,
            1 => self.victim.mac,
            2 => Mac::from_bytes([bytes[0] & !1, bytes[1], bytes[2], bytes[3], bytes[4], bytes[5]]),
            _ => {
                // The own one but for a bit.
                let mut near = *self.liar.mac.as_bytes();
                near[usize::from(bytes[0]) % 6] ^= 1 << (bytes[1] % 8);
                Mac::from_bytes(near)
            }
        }
    }

    fn foreign_ipv4(&mut self) -> Ipv4Addr {
        let random = self.random.next_u32();
        let address = match self.below(9) {
            0 => self.other.ipv4,
            1 => self.victim.ipv4,
            2 => Ipv4Addr::UNSPECIFIED,
            3 => Ipv4Addr::LOCALHOST,
            4 => Ipv4Addr::BROADCAST,
            5 => Ipv4Addr::from_bits(0xe000_0000 | random >> 4),
            6 => Ipv4Addr::from_bits(self.liar.ipv4.to_bits() ^ (1 << (random % 32))),
            // In the subnet.
            7 => Ipv4Addr::from_bits(0x0a40_0000 | random >> 10),
            _ => Ipv4Addr::from_bits(random),
        };
        if address == self.liar.ipv4 {
            self.victim.ipv4
        } else {
            address
        }
    }

    fn foreign_ipv6(&mut self) -> Ipv6Addr {
        let mut random = [0; 16];
        self.random.fill_bytes(&mut random);
        let random = u128::from_be_bytes(random);
        match self.below(9) {
            0 => self.other.ipv6,
            1 => self.victim.ipv6,
            2 => self.other.link_local,
            3 => self.victim.link_local,
            4 => Ipv6Addr::UNSPECIFIED,
            5 => Ipv6Addr::LOCALHOST,
            6 => Ipv6Addr::from_bits(self.liar.ipv6.to_bits() ^ (1 << (random % 128))),
            7 => Ipv6Addr::from_bits(self.liar.link_local.to_bits() ^ (1 << (random % 128))),
            _ => Ipv6Addr::from_bits(random),
        }
    }

    fn next(&mut self) -> Vec<u8> {
        let (liar, victim) = (self.liar, self.victim);
        let to_all = self.below(4) == 0;
        let to = if to_all { Mac::BROADCAST } else { victim.mac };
        // The MAC, the address inside, or both.
        let what = self.below(3);
        let mac = if what == 1 { liar.mac } else { self.foreign_mac() };
        let foreign = what > 0;
        let ipv4 = if foreign { self.foreign_ipv4() } else { liar.ipv4 };
        let ipv6 = match (foreign, self.below(2)) {
            (true, _) => self.foreign_ipv6(),
            (false, 0) => liar.ipv6,
            _ => liar.link_local,
        };
        let payload = match self.below(3) {
            0 => (6, tcp_segment(4000, 80, SYN)),
            1 => (17, udp_datagram(4000, 5000, &[1; 20])),
            _ => (1, vec![8, 0, 0, 0, 0, 1, 0, 1]),
        };
        let frame = match self.below(8) {
            0 | 1 => {
                let destination = if to_all { Ipv4Addr::BROADCAST } else { victim.ipv4 };
                let packet = ip(payload.0, ipv4.into(), destination.into(), &payload.1);
                ethernet(to, mac, 0x0800, &packet)
            }
            2 | 3 => {
                let destination = if to_all { ALL_NODES } else { victim.ipv6 };
                let (protocol, mut bytes) = payload;
                if protocol == 1 {
                    bytes[0] = 128;
                }
                let protocol = if protocol == 1 { 58 } else { protocol };
                ethernet(to, mac, 0x86dd, &ip(protocol, ipv6.into(), destination.into(), &bytes))
            }
            4 => {
                let inner = if foreign && self.below(2) == 0 {
                    self.foreign_mac()
                } else {
                    mac
                };
                // No address but the liar's own target would be an honest probe.
                let target = if ipv4.is_unspecified() {
                    self.other.ipv4
                } else {
                    victim.ipv4
                };
                let operation = 1 + u8::try_from(self.below(2)).unwrap();
                arp(to, mac, operation, (inner, ipv4), (victim.mac, target))
            }
            5 => {
                let link = match self.below(3) {
                    0 => None,
                    1 => Some(self.foreign_mac()),
                    _ => Some(mac),
                };
                let target = if ipv6.is_unspecified() {
                    self.other.ipv6
                } else {
                    victim.ipv6
                };
                let destination = if to_all { ALL_NODES } else { victim.ipv6 };
                neighbour([to, mac], 135, [ipv6, destination, target], link)
            }
            6 => {
                // The source is the liar's own, and the target is not.
                let target = if foreign { ipv6 } else { liar.ipv6 };
                let destination = if to_all { ALL_NODES } else { victim.ipv6 };
                neighbour([to, mac], 136, [liar.ipv6, destination, target], Some(mac))
            }
            _ => {
                let packet = ip(17, ipv4.into(), victim.ipv4.into(), &udp_datagram(1, 2, &[]));
                tagged(&ethernet(to, mac, 0x0800, &packet))
            }
        };
        let mut frame = frame;
        // Some are padded, as short frames on a wire are.
        if self.below(4) == 0 {
            frame.resize(frame.len().max(60), 0);
        }
        frame
    }
}

/// Frames sealed together.
const TOGETHER: usize = 64;

/// Sends `count` forged frames, every 64th a genuine one, and tells how many of each came.
fn flood(count: usize) -> (usize, usize, Street) {
    let mut street = Street::new(&name());
    // What is refused is refused for its sources alone.
    street.lab.open_all(street.victim.place, street.victim.network);
    let mut forger = Forger {
        random: ChaCha20Rng::seed_from_u64(5),
        liar: street.liar,
        victim: street.victim,
        other: street.other,
    };
    let genuine = udp(street.liar, street.victim, (7, 9));
    let (mut forged_came, mut genuine_came) = (0, 0);
    for _ in 0..count / TOGETHER {
        let mut frames: Vec<_> = (0..TOGETHER).map(|_| forger.next()).collect();
        frames.push(genuine.clone());
        for came in street.forge(frames.iter().map(Vec::as_slice)) {
            if came == genuine {
                genuine_came += 1;
            } else {
                forged_came += 1;
            }
        }
        street.lab.hosts[street.victim.place].frames.clear();
        street.lab.hosts[street.victim.place].labels.clear();
    }
    (forged_came, genuine_came, street)
}

#[test]
fn of_a_million_frames_with_forged_sources_none_is_delivered() {
    const COUNT: usize = 1_000_000;
    let (forged, genuine, street) = flood(COUNT);
    assert_eq!(
        (forged, genuine),
        (0, COUNT / TOGETHER),
        "forged and genuine frames that came"
    );
    let counters = street.counters();
    let refused = [
        counters.foreign_source_mac,
        counters.foreign_source_ip,
        counters.foreign_neighbour,
        counters.filtered_tagged,
    ];
    assert!(refused.iter().all(|count| *count > 10_000), "{refused:?}");
    // Neither a packet of a multicast target nor one of the victim's own, as bits fall, is anything else.
    assert_eq!(
        refused.iter().sum::<u64>() + counters.filtered_malformed,
        COUNT as u64,
        "{counters:?}"
    );
    assert!(counters.filtered_malformed < 10_000, "{counters:?}");
}

#[test]
fn nobody_speaks_for_this_machine_by_claiming_its_address() {
    let mut street = Street::new(&name());
    street.lab.open_all(street.victim.place, street.victim.network);
    let (liar, victim) = (street.liar, street.victim);
    let id = street.lab.peer_id(victim.place, &street.lab.key(liar.place));
    let peer = street.lab.hosts[victim.place].engine.peers.get_mut(id).unwrap();
    peer.claims.insert(victim.network, victim.ipv4);
    let disguised = Party {
        ipv4: victim.ipv4,
        ..liar
    };
    assert!(!street.passes(&udp(disguised, victim, (1, 2))));
    let target = (Mac::BROADCAST, victim.ipv4);
    assert!(!street.passes(&arp(victim.mac, liar.mac, 2, (liar.mac, victim.ipv4), target)));
    let counters = street.counters();
    assert_eq!((counters.foreign_source_ip, counters.foreign_neighbour), (1, 1));
}

/// The attacks known of LANs, each with the counter that tells of it.
fn attacks(liar: Party, victim: Party, other: Party) -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let to_all = |destination: Ipv4Addr, mac: [u8; 6], protocol, payload: &[u8]| {
        let packet = ip(protocol, liar.ipv4.into(), destination.into(), payload);
        ethernet(Mac::from_bytes(mac), liar.mac, 0x0800, &packet)
    };
    let six = |mac: Mac, source: Ipv6Addr, destination: Ipv6Addr, protocol, payload: &[u8]| {
        let packet = ip(protocol, source.into(), destination.into(), payload);
        ethernet(mac, liar.mac, 0x86dd, &packet)
    };
    let answer = [&[0, 0, 0x84, 0, 0, 0, 0, 1][..], &[0; 24]].concat();
    let dns = |port, group: [u8; 4], mac| to_all(group.into(), mac, 17, &udp_datagram(port, port, &answer));
    let inner = ip(17, other.ipv4.into(), victim.ipv4.into(), &udp_datagram(1, 2, &[]));
    let icmp6 = |kind: u8, length| [&[kind, 0][..], &vec![0; length]].concat();
    let routed = [
        &[0x46, 0, 0, 32, 0, 0, 0, 0, 64, 17, 0, 0][..],
        &liar.ipv4.octets(),
        &victim.ipv4.octets(),
        &[131, 3, 4, 0],
        &udp_datagram(1, 9, &[]),
    ]
    .concat();
    let syn = tcp_segment(4000, 22, SYN);
    let broadcast = [0xff; 6];
    vec![
        (
            "DHCP offer",
            "filtered_dhcp",
            to_all(Ipv4Addr::BROADCAST, broadcast, 17, &udp_datagram(67, 68, &[2; 240])),
        ),
        (
            "DHCP acknowledgement for one",
            "filtered_dhcp",
            packet(liar, victim, 17, &udp_datagram(67, 68, &[2; 240])),
        ),
        (
            "DHCPv6 advertisement",
            "filtered_dhcp",
            six(
                victim.mac,
                liar.link_local,
                victim.link_local,
                17,
                &udp_datagram(547, 546, &[2; 40]),
            ),
        ),
        (
            "router advertisement",
            "filtered_router_advertisement",
            six(ALL_NODES_MAC, liar.link_local, ALL_NODES, 58, &icmp6(134, 30)),
        ),
        (
            "router advertisement behind options",
            "filtered_router_advertisement",
            six(
                ALL_NODES_MAC,
                liar.link_local,
                ALL_NODES,
                60,
                &[&[58, 0, 1, 4, 0, 0, 0, 0], &icmp6(134, 30)[..]].concat(),
            ),
        ),
        (
            "router advertisement in a fragment",
            "filtered_fragment",
            six(
                ALL_NODES_MAC,
                liar.link_local,
                ALL_NODES,
                44,
                &[&[58, 0, 0, 1, 0, 0, 0, 9], &icmp6(134, 30)[..]].concat(),
            ),
        ),
        (
            "ICMP redirect",
            "filtered_redirect",
            packet(liar, victim, 1, &[&[5, 1, 0, 0, 10, 64, 6, 6], &inner[..28]].concat()),
        ),
        (
            "ICMPv6 redirect",
            "filtered_redirect",
            six(victim.mac, liar.link_local, victim.link_local, 58, &icmp6(137, 38)),
        ),
        (
            "STP",
            "filtered_link_control",
            ethernet(
                Mac::from_bytes([1, 0x80, 0xc2, 0, 0, 0]),
                liar.mac,
                38,
                &[&[0x42, 0x42, 3][..], &[0; 35]].concat(),
            ),
        ),
        (
            "LLDP",
            "filtered_link_control",
            ethernet(Mac::from_bytes([1, 0x80, 0xc2, 0, 0, 14]), liar.mac, 0x88cc, &[0; 46]),
        ),
        (
            "802.1X to this node",
            "filtered_link_control",
            ethernet(victim.mac, liar.mac, 0x888e, &[0; 46]),
        ),
        (
            "gratuitous ARP for the victim's address",
            "foreign_neighbour",
            arp(
                Mac::BROADCAST,
                liar.mac,
                1,
                (liar.mac, victim.ipv4),
                (Mac::BROADCAST, victim.ipv4),
            ),
        ),
        (
            "ARP reply for another's address",
            "foreign_neighbour",
            arp(
                victim.mac,
                liar.mac,
                2,
                (liar.mac, other.ipv4),
                (victim.mac, victim.ipv4),
            ),
        ),
        (
            "ARP probe for another's address",
            "foreign_neighbour",
            arp(
                Mac::BROADCAST,
                liar.mac,
                1,
                (liar.mac, Ipv4Addr::UNSPECIFIED),
                (Mac::BROADCAST, victim.ipv4),
            ),
        ),
        (
            "neighbour advertisement for another's address",
            "foreign_neighbour",
            neighbour(
                [victim.mac, liar.mac],
                136,
                [liar.ipv6, victim.ipv6, other.ipv6],
                Some(liar.mac),
            ),
        ),
        (
            "neighbour advertisement of another's MAC",
            "foreign_neighbour",
            neighbour(
                [victim.mac, liar.mac],
                136,
                [liar.ipv6, victim.ipv6, liar.ipv6],
                Some(other.mac),
            ),
        ),
        (
            "neighbour solicitation of another's MAC",
            "foreign_neighbour",
            neighbour(
                [victim.mac, liar.mac],
                135,
                [liar.ipv6, victim.ipv6, victim.ipv6],
                Some(other.mac),
            ),
        ),
        (
            "check for a duplicate of the victim's address",
            "foreign_neighbour",
            neighbour(
                [ALL_NODES_MAC, liar.mac],
                135,
                [Ipv6Addr::UNSPECIFIED, ALL_NODES, victim.ipv6],
                None,
            ),
        ),
        (
            "mDNS answer",
            "filtered_name_service",
            dns(5353, [224, 0, 0, 251], [1, 0, 0x5e, 0, 0, 0xfb]),
        ),
        (
            "LLMNR answer",
            "filtered_name_service",
            dns(5355, [224, 0, 0, 252], [1, 0, 0x5e, 0, 0, 0xfc]),
        ),
        (
            "NetBIOS name answer",
            "filtered_name_service",
            udp(liar, victim, (137, 137)),
        ),
        (
            "IGMP query",
            "filtered_membership",
            to_all(
                [224, 0, 0, 1].into(),
                [1, 0, 0x5e, 0, 0, 1],
                2,
                &[0x11, 100, 0, 0, 0, 0, 0, 0],
            ),
        ),
        (
            "MLD query",
            "filtered_membership",
            six(
                ALL_NODES_MAC,
                liar.link_local,
                ALL_NODES,
                0,
                &[&[58, 0, 5, 2, 0, 0, 1, 0], &icmp6(130, 22)[..]].concat(),
            ),
        ),
        (
            "TCP to a port that is not opened",
            "filtered_not_open",
            tcp(liar, victim, (4000, 22), SYN),
        ),
        (
            "an answer nobody asked for",
            "filtered_not_open",
            tcp(liar, victim, (80, 4000), SYN_ACK),
        ),
        (
            "the middle of a connection there is not",
            "filtered_not_open",
            tcp(liar, victim, (80, 4000), ACK),
        ),
        (
            "UDP to a port that is not opened",
            "filtered_not_open",
            udp(liar, victim, (4000, 53)),
        ),
        (
            "UDP to everybody",
            "filtered_not_open",
            to_all(Ipv4Addr::BROADCAST, broadcast, 17, &udp_datagram(1, 2, &[])),
        ),
        (
            "behind a VLAN tag",
            "filtered_tagged",
            tagged(&tcp(liar, victim, (4000, 80), SYN)),
        ),
        (
            "behind a tag of VLAN 0",
            "filtered_tagged",
            tagged(&ping(liar, victim, 1)),
        ),
        ("IP in IP", "filtered_tunnel", packet(liar, victim, 4, &inner)),
        (
            "6to4",
            "filtered_tunnel",
            packet(liar, victim, 41, &ip(17, other.ipv6.into(), victim.ipv6.into(), &syn)),
        ),
        (
            "GRE",
            "filtered_tunnel",
            packet(liar, victim, 47, &[&[0, 0, 8, 0], &inner[..]].concat()),
        ),
        (
            "a source route",
            "filtered_options",
            ethernet(victim.mac, liar.mac, 0x0800, &routed),
        ),
        (
            "a routing header",
            "filtered_options",
            six(
                victim.mac,
                liar.ipv6,
                victim.ipv6,
                43,
                &[
                    &[17, 2, 0, 1, 0, 0, 0, 0],
                    &other.ipv6.octets()[..],
                    &udp_datagram(1, 9, &[]),
                ]
                .concat(),
            ),
        ),
        (
            "the head of a TCP header",
            "filtered_malformed",
            ethernet(
                victim.mac,
                liar.mac,
                0x0800,
                &fragment(6, liar.ipv4.into(), victim.ipv4.into(), 0x2000, &syn[..16]),
            ),
        ),
        (
            "a TCP header from its flags on",
            "filtered_fragment",
            ethernet(
                victim.mac,
                liar.mac,
                0x0800,
                &fragment(6, liar.ipv4.into(), victim.ipv4.into(), 1, &syn[8..]),
            ),
        ),
        (
            "an echo in fragments",
            "filtered_fragment",
            ethernet(
                victim.mac,
                liar.mac,
                0x0800,
                &fragment(1, liar.ipv4.into(), victim.ipv4.into(), 0x2000, &[8; 64]),
            ),
        ),
        (
            "for another address of this machine",
            "filtered_destination",
            ethernet(
                victim.mac,
                liar.mac,
                0x0800,
                &ip(
                    17,
                    liar.ipv4.into(),
                    IpAddr::from([192, 168, 1, 1]),
                    &udp_datagram(1, 9, &[]),
                ),
            ),
        ),
        (
            "for one, sent to all",
            "filtered_destination",
            ethernet(
                Mac::BROADCAST,
                liar.mac,
                0x0800,
                &ip(17, liar.ipv4.into(), victim.ipv4.into(), &udp_datagram(1, 9, &[])),
            ),
        ),
        (
            "a wake-up call",
            "filtered_ethertype",
            ethernet(Mac::BROADCAST, liar.mac, 0x0842, &[0xff; 102]),
        ),
        (
            "PPPoE discovery",
            "filtered_ethertype",
            ethernet(Mac::BROADCAST, liar.mac, 0x8863, &[0x11, 7, 0, 0, 0, 0]),
        ),
        (
            "an error about nothing",
            "filtered_icmp",
            packet(liar, victim, 1, &[&[3, 3, 0, 0, 0, 0, 0, 0], &inner[..]].concat()),
        ),
        (
            "an echo reply nobody asked for",
            "filtered_icmp",
            packet(liar, victim, 1, &[0, 0, 0, 0, 0, 77, 0, 1]),
        ),
        ("SCTP", "filtered_protocol", packet(liar, victim, 132, &[0; 20])),
    ]
}

#[test]
fn the_attacks_of_a_lan_reach_no_card() {
    let mut street = Street::new(&name());
    let attacks = attacks(street.liar, street.victim, street.other);
    assert!(attacks.len() >= 12);
    // Ports that no attack is about, so that what passes there passes.
    street.open(Transport::Udp, 9);
    let allowed = udp(street.liar, street.victim, (7, 9));
    for (what, counter, frame) in attacks {
        let value = |counters: Counters| {
            counters
                .iter()
                .find(|(name, _)| *name == counter)
                .map(|(_, value)| value)
        };
        let before = value(street.counters()).expect(counter);
        assert_eq!(street.forge([&frame[..]]), Vec::<Vec<u8>>::new(), "{what}");
        assert_eq!(
            value(street.counters()),
            Some(before + 1),
            "{what} is counted as {counter}"
        );
        assert!(street.passes(&allowed), "what is allowed passes after {what}");
    }
}

#[test]
fn the_same_frames_pass_among_friends() {
    let mut street = Street::new(&link(1));
    let friendly = ["foreign_neighbour"];
    let mut passed = 0;
    for (what, counter, frame) in attacks(street.liar, street.victim, street.other) {
        if !friendly.contains(&counter) {
            assert!(street.passes(&frame), "{what}");
            passed += 1;
        }
    }
    assert!(passed > 30);
    assert!(
        street
            .counters()
            .iter()
            .all(|(name, value)| !name.starts_with("filtered") || value == 0)
    );
}

#[test]
fn answers_to_what_this_machine_began_are_let_in() {
    let mut street = Street::new(&name());
    let (liar, victim, other) = (street.liar, street.victim, street.other);
    let answer = tcp(liar, victim, (80, 4000), SYN_ACK);
    assert!(!street.passes(&answer));
    street.speak(&tcp(victim, liar, (4000, 80), SYN));
    assert!(street.passes(&answer));
    assert!(
        !street.passes(&tcp(liar, victim, (80, 4000), SYN)),
        "it may not begin one itself"
    );
    assert!(!street.passes(&tcp(liar, victim, (80, 4001), SYN_ACK)));
    street.speak(&udp(victim, liar, (4000, 53)));
    assert!(street.passes(&udp(liar, victim, (53, 4000))));
    assert!(!street.passes(&udp(liar, victim, (54, 4000))));
    street.speak(&udp(victim, other, (4002, 53)));
    assert!(!street.passes(&udp(liar, victim, (53, 4002))), "another was asked");
    let quote = |packet: &[u8]| packet[14..].to_vec();
    let refusal = |about: &[u8]| packet(liar, victim, 1, &[&[3, 3, 0, 0, 0, 0, 0, 0], about].concat());
    assert!(street.passes(&refusal(&quote(&udp(victim, liar, (4000, 53))))));
    assert!(
        !street.passes(&refusal(&quote(&udp(victim, other, (4002, 53))))),
        "about what went to another"
    );
    street.speak(&ping(victim, liar, 9));
    let reply = |identifier| packet(liar, victim, 1, &[0, 0, 0, 0, 0, identifier, 0, 1]);
    assert!(street.passes(&reply(9)));
    assert!(!street.passes(&reply(8)));
    // Over IPv6, between link-local addresses.
    let six = |from: Party, to: Party, ports: (u16, u16)| {
        let packet = ip(
            17,
            from.link_local.into(),
            to.link_local.into(),
            &udp_datagram(ports.0, ports.1, &[]),
        );
        ethernet(to.mac, from.mac, 0x86dd, &packet)
    };
    assert!(!street.passes(&six(liar, victim, (53, 4000))));
    street.speak(&six(victim, liar, (4000, 53)));
    assert!(street.passes(&six(liar, victim, (53, 4000))));
    street.lab.run_seconds(181);
    assert!(!street.passes(&udp(liar, victim, (53, 4000))), "long ago");
}

#[test]
fn answers_to_a_call_to_all_are_let_in() {
    let mut street = Street::new(&name());
    let (liar, victim) = (street.liar, street.victim);
    let call = |destination: Ipv4Addr, ports: (u16, u16)| {
        let packet = ip(
            17,
            victim.ipv4.into(),
            destination.into(),
            &udp_datagram(ports.0, ports.1, &[0; 12]),
        );
        ethernet(Mac::BROADCAST, victim.mac, 0x0800, &packet)
    };
    for (port, destination) in [(5000, Ipv4Addr::BROADCAST), (5001, "10.127.255.255".parse().unwrap())] {
        assert!(!street.passes(&udp(liar, victim, (27960, port))));
        street.speak(&call(destination, (port, 27960)));
        assert!(street.passes(&udp(liar, victim, (27961, port))), "{destination}");
    }
    let group = Ipv4Addr::new(224, 0, 0, 251);
    street.speak(&call(group, (5353, 5353)));
    assert!(street.passes(&udp(liar, victim, (5353, 5353))));
}

#[test]
fn opened_ports_are_reached_until_they_are_closed() {
    let mut street = Street::new(&name());
    let (liar, victim) = (street.liar, street.victim);
    let to_all = |port| {
        let packet = ip(
            17,
            liar.ipv4.into(),
            Ipv4Addr::BROADCAST.into(),
            &udp_datagram(1, port, &[]),
        );
        ethernet(Mac::BROADCAST, liar.mac, 0x0800, &packet)
    };
    street.open(Transport::Tcp, 80);
    for flags in [SYN, ACK, RST] {
        assert!(street.passes(&tcp(liar, victim, (4000, 80), flags)));
        street.speak(&tcp(victim, liar, (80, 4000), if flags == SYN { SYN_ACK } else { ACK }));
    }
    assert!(!street.passes(&tcp(liar, victim, (4000, 81), SYN)));
    assert!(!street.passes(&udp(liar, victim, (4000, 80))));
    street.open(Transport::Udp, 4445);
    assert!(street.passes(&to_all(4445)), "a game's announcement");
    assert!(!street.passes(&to_all(4446)));
    assert!(
        !street.passes(&tcp(liar, victim, (4000, 80), ACK)),
        "closed, and its connections with it"
    );
}

#[test]
fn fragments_pass_behind_a_first_one_that_did() {
    let mut street = Street::new(&name());
    let (liar, victim) = (street.liar, street.victim);
    let piece = |protocol, part, payload: &[u8]| {
        let packet = fragment(protocol, liar.ipv4.into(), victim.ipv4.into(), part, payload);
        ethernet(victim.mac, liar.mac, 0x0800, &packet)
    };
    let mut first = udp_datagram(1, 9, &[1; 1336]);
    first[4..6].copy_from_slice(&2000_u16.to_be_bytes());
    let [first, later, overlapping] = [
        piece(17, 0x2000, &first),
        piece(17, 168, &[2; 656]),
        piece(17, 167, &[2; 656]),
    ];
    assert!(!street.passes(&later), "before the first");
    assert!(!street.passes(&first), "the port is not opened");
    assert!(!street.passes(&later));
    street.open(Transport::Udp, 9);
    assert!(street.passes(&first));
    assert!(street.passes(&later));
    assert!(!street.passes(&overlapping));
    assert!(!street.passes(&piece(6, 168, &[2; 656])), "of another packet");
    street.lab.run(Duration::from_secs(5));
    assert!(!street.passes(&later));
}

#[test]
fn pings_of_a_stranger_are_answered_up_to_a_rate() {
    let mut street = Street::new(&name());
    let (liar, victim) = (street.liar, street.victim);
    let request = ping(liar, victim, 1);
    let mut passed = 0;
    for _ in 0..100 {
        passed += (0..10).filter(|_| street.passes(&request)).count();
        street.lab.run(Duration::from_millis(100));
    }
    assert!((200..=220).contains(&passed), "{passed} of 1000 in 10 s");
    let six = ip(
        58,
        liar.link_local.into(),
        victim.link_local.into(),
        &[128, 0, 0, 0, 0, 1, 0, 1],
    );
    assert!(street.passes(&ethernet(victim.mac, liar.mac, 0x86dd, &six)));
}

#[test]
fn neighbours_find_each_other() {
    let mut street = Street::new(&name());
    let (liar, victim) = (street.liar, street.victim);
    let own = [
        arp(
            victim.mac,
            liar.mac,
            1,
            (liar.mac, liar.ipv4),
            (Mac::BROADCAST, victim.ipv4),
        ),
        arp(
            victim.mac,
            liar.mac,
            2,
            (liar.mac, liar.ipv4),
            (victim.mac, victim.ipv4),
        ),
        arp(
            Mac::BROADCAST,
            liar.mac,
            1,
            (liar.mac, Ipv4Addr::UNSPECIFIED),
            (Mac::BROADCAST, liar.ipv4),
        ),
        neighbour(
            [victim.mac, liar.mac],
            135,
            [liar.ipv6, victim.ipv6, victim.ipv6],
            Some(liar.mac),
        ),
        neighbour(
            [victim.mac, liar.mac],
            135,
            [liar.link_local, victim.link_local, victim.link_local],
            None,
        ),
        neighbour(
            [victim.mac, liar.mac],
            136,
            [liar.ipv6, victim.ipv6, liar.ipv6],
            Some(liar.mac),
        ),
        neighbour(
            [ALL_NODES_MAC, liar.mac],
            136,
            [liar.link_local, ALL_NODES, liar.link_local],
            Some(liar.mac),
        ),
        neighbour(
            [ALL_NODES_MAC, liar.mac],
            135,
            [Ipv6Addr::UNSPECIFIED, ALL_NODES, liar.ipv6],
            None,
        ),
    ];
    for frame in own {
        assert!(street.passes(&frame), "{frame:x?}");
    }
}

#[test]
fn every_flow_of_a_batch_is_noted() {
    let mut street = Street::new(&name());
    let (liar, victim) = (street.liar, street.victim);
    let label = |segment| FrameLabel {
        network: victim.network,
        offload: Offload {
            partial: segment,
            segment: NonZeroU16::new(500).filter(|_| segment),
        },
    };
    // All to the same MACs: the later ones take the lane of the first.
    let mut long = udp_datagram(6000, 53, &[3; 3000]);
    long[4..6].copy_from_slice(&3008_u16.to_be_bytes());
    let frames = [
        (label(false), udp(victim, liar, (4000, 53))),
        (label(false), udp(victim, liar, (4000, 53))),
        (label(false), udp(victim, liar, (4001, 53))),
        (label(true), packet(victim, liar, 17, &long)),
        (label(false), tcp(victim, liar, (4000, 80), SYN)),
        (label(false), ping(victim, liar, 5)),
        (label(false), udp(victim, liar, (4003, 53))),
    ];
    let batch: Vec<_> = frames.iter().map(|(label, frame)| (*label, &frame[..])).collect();
    street.lab.send_batch(victim.place, &batch);
    for port in [4000, 4001, 6000, 4003] {
        assert!(street.passes(&udp(liar, victim, (53, port))), "{port}");
    }
    assert!(street.passes(&tcp(liar, victim, (80, 4000), SYN_ACK)));
    assert!(street.passes(&packet(liar, victim, 1, &[0, 0, 0, 0, 0, 5, 0, 1])));
    let sent = street.lab.hosts[liar.place].frames.len();
    street.lab.run(2 * DELAY);
    assert_eq!(
        street.lab.hosts[liar.place].frames.len() - sent,
        1,
        "the ping; the liar's ports are closed"
    );
}

#[test]
fn a_frame_of_no_known_protocol_passes_among_friends_only() {
    for (parameters, expected) in [(link(1), true), (name(), false)] {
        let mut street = Street::new(&parameters);
        let frame = frame(street.victim.mac, street.liar.mac, 1);
        assert_eq!(street.passes(&frame), expected);
    }
}
