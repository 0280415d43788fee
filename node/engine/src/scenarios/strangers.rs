//! What strangers can and cannot do to a member of an open network. The one who tries has a valid session and an engine that
//! sends what it is told to; everything comes in by the front door.

mod attacks;
mod forged;

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    num::NonZeroU16,
    time::Duration,
};

use farlan_netconf::{Mac, Parameters};
use farlan_offload::Offload;

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
            assert_eq!(transmit.destination.endpoint, destination, "there is a direct path");
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
}

/// The victim's own services speak on its card, too: to all, and to whoever asked.
#[test]
fn what_this_machine_tells_its_own_lan_does_not_leave() {
    let mut street = Street::new(&name());
    let (liar, victim) = (street.liar, street.victim);
    let mdns = Mac::from_bytes([1, 0, 0x5e, 0, 0, 0xfb]);
    let says = |to: Mac, destination: IpAddr, from: u16, port: u16| {
        let payload = udp_datagram(from, port, &[0; 12]);
        match destination {
            IpAddr::V4(_) => ethernet(
                to,
                victim.mac,
                0x0800,
                &ip(17, victim.ipv4.into(), destination, &payload),
            ),
            IpAddr::V6(_) => {
                let packet = ip(17, victim.link_local.into(), destination, &payload);
                ethernet(to, victim.mac, 0x86dd, &packet)
            }
        }
    };
    let group = |text: &str| text.parse::<IpAddr>().unwrap();
    let kept = [
        says(mdns, group("224.0.0.251"), 5353, 5353),
        says(
            Mac::from_bytes([0x33, 0x33, 0, 0, 0, 0xfb]),
            group("ff02::fb"),
            5353,
            5353,
        ),
        says(
            Mac::from_bytes([1, 0, 0x5e, 0x7f, 0xff, 0xfa]),
            group("239.255.255.250"),
            40000,
            1900,
        ),
        says(
            Mac::from_bytes([0x33, 0x33, 0, 0, 0, 0x0c]),
            group("ff02::c"),
            1900,
            1900,
        ),
        says(
            Mac::from_bytes([1, 0, 0x5e, 0, 0, 0xfc]),
            group("224.0.0.252"),
            40001,
            5355,
        ),
        says(Mac::BROADCAST, group("10.127.255.255"), 137, 137),
        says(Mac::BROADCAST, group("255.255.255.255"), 138, 138),
        says(
            Mac::from_bytes([1, 0, 0x5e, 0x7f, 0xff, 0xfa]),
            group("239.255.255.250"),
            40002,
            3702,
        ),
        udp(victim, liar, (5353, 40003)),
        udp(victim, liar, (5353, 5353)),
    ];
    let seen = |street: &Street| street.lab.hosts[street.liar.place].frames.len() as u64;
    let counted = |street: &Street| {
        let there = street.lab.hosts[street.liar.place].engine.counters();
        (
            street.counters().kept_from_strangers,
            there.filtered_name_service + there.filtered_not_open,
        )
    };
    for (sent, frame) in (1..).zip(&kept) {
        street.speak(frame);
        assert_eq!(counted(&street), (sent, 0), "{frame:x?}");
    }
    assert_eq!(seen(&street), 0);
    // Nor does what was kept back let answers in.
    assert!(!street.passes(&udp(liar, victim, (5353, 5353))));
    assert!(!street.passes(&udp(liar, victim, (1900, 40000))));
    // In a batch, between frames that leave, and behind one to the same machine.
    let frames = [
        udp(victim, liar, (4000, 53)),
        udp(victim, liar, (5353, 40003)),
        udp(victim, liar, (5353, 40003)),
        udp(victim, liar, (4000, 53)),
        udp(victim, liar, (137, 40003)),
    ];
    let label = FrameLabel {
        network: victim.network,
        offload: Offload::default(),
    };
    let batch: Vec<_> = frames.iter().map(|frame| (label, &frame[..])).collect();
    street.lab.send_batch(victim.place, &batch);
    street.lab.run(2 * DELAY);
    assert_eq!(
        counted(&street),
        (13, 2),
        "the two for port 53 came, and found it closed"
    );
    // The user opened that very port.
    street.open(Transport::Udp, 5353);
    for (sent, frame) in (1..).zip([&kept[0], &kept[8]]) {
        street.speak(frame);
        assert_eq!(counted(&street), (13, 2 + sent), "{frame:x?}");
    }
    assert!(street.passes(&udp(liar, victim, (40000, 5353))));
    street.speak(&kept[2]);
    assert_eq!(counted(&street), (14, 4));
}

#[test]
fn friends_hear_what_this_machine_tells_its_lan() {
    let mut street = Street::new(&link(1));
    let (liar, victim) = (street.liar, street.victim);
    street.speak(&udp(victim, liar, (5353, 5353)));
    assert_eq!(street.counters().kept_from_strangers, 0);
    assert_eq!(street.lab.hosts[liar.place].frames.len(), 1);
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
fn a_closed_port_stays_closed_whatever_its_server_goes_on_sending() {
    for transport in [Transport::Tcp, Transport::Udp] {
        let mut street = Street::new(&name());
        let (liar, victim) = (street.liar, street.victim);
        street.open(transport, 80);
        let (there, back) = match transport {
            Transport::Tcp => (tcp(liar, victim, (4000, 80), ACK), tcp(victim, liar, (80, 4000), ACK)),
            Transport::Udp => (udp(liar, victim, (4000, 80)), udp(victim, liar, (80, 4000))),
        };
        assert!(street.passes(&there));
        street.speak(&back);
        let engine = &mut street.lab.hosts[victim.place].engine;
        engine.set_opened(victim.network, &[]);
        assert!(!street.passes(&there));
        street.speak(&back);
        assert!(!street.passes(&there), "{transport:?}");
    }
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
