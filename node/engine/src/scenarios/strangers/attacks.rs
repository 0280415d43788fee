//! The attacks known of LANs.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use farlan_netconf::Mac;

use super::{
    super::lab::{link, name},
    ACK, ALL_NODES, ALL_NODES_MAC, Party, SYN, SYN_ACK, Street, arp, ethernet, fragment, ip, neighbour, packet, ping,
    tagged, tcp, tcp_segment, udp, udp_datagram,
};
use crate::{Counters, Transport};

/// The attacks, each with the counter that tells of it.
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
