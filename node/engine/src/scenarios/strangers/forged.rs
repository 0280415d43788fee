//! Frames that say to be from somebody else.

use std::net::{Ipv4Addr, Ipv6Addr};

use farlan_netconf::Mac;
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng as _, SeedableRng as _};

use super::{
    super::lab::name, ALL_NODES, Party, SYN, Street, arp, ethernet, ip, neighbour, tagged, tcp_segment, udp,
    udp_datagram,
};

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
    // A target can be a multicast address, as bits fall, which no neighbour message may have.
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

#[test]
fn nobody_gets_an_address_by_telling_it_that_another_member_told_before() {
    let mut street = Street::new(&name());
    let (liar, victim, other) = (street.liar, street.victim, street.other);
    let lab = &mut street.lab;
    let (liar_key, other_key) = (lab.key(liar.place), lab.key(other.place));
    let (liar_id, other_id) = (
        lab.peer_id(victim.place, &liar_key),
        lab.peer_id(victim.place, &other_key),
    );
    let engine = &mut lab.hosts[victim.place].engine;
    let network = engine.networks.get(victim.network).unwrap();
    let candidates = network.plan.ipv4_candidates(&liar_key.node_id());
    let wanted = candidates.into_iter().find(|address| *address != liar.ipv4).unwrap();
    assert!(engine.may_claim(liar_id, victim.network, wanted));
    assert!(engine.may_claim(liar_id, victim.network, liar.ipv4), "its own again");
    let peer = engine.peers.get_mut(other_id).unwrap();
    peer.claims.insert(victim.network, wanted);
    assert!(!engine.may_claim(liar_id, victim.network, wanted));
}
