//! ARP and neighbour discovery, which a node answers itself where it knows the answer.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use etherparse::{ArpOperation, EtherType, IpNumber, LaxNetSlice, LaxSlicedPacket, TransportSlice};
use farlan_netconf::Mac;

use crate::switch::{HEADER, mac_at};

/// Who is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    Ipv4(Ipv4Addr),
    Ipv6(Ipv6Addr),
}

/// An ARP request or a neighbour solicitation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Question {
    pub(crate) target: Asked,
    /// The asker's address; none for a check whether the target is free.
    pub(crate) asker: Option<Asked>,
    /// An ARP request for the asker's own address tells it to others.
    pub(crate) is_announcement: bool,
}

const NEIGHBOUR_SOLICITATION: u8 = 135;
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;

/// RFC 4861 §7.1: with any other hop limit the message came from elsewhere.
const ND_HOP_LIMIT: u8 = 255;

/// An option's type (RFC 4861 §4.6.1).
const TARGET_LINK_ADDRESS: u8 = 2;

/// The question in an untagged group frame, if it is one.
pub(crate) fn question(frame: &[u8]) -> Option<Question> {
    match ethertype(frame)? {
        EtherType::ARP => {
            let packet = LaxSlicedPacket::from_ethernet(frame).ok()?;
            let Some(LaxNetSlice::Arp(arp)) = &packet.net else {
                return None;
            };
            let arp = arp.to_packet().try_eth_ipv4().ok()?;
            if arp.operation != ArpOperation::REQUEST {
                return None;
            }
            let sender = Ipv4Addr::from(arp.sender_ipv4);
            let target = Ipv4Addr::from(arp.target_ipv4);
            Some(Question {
                target: Asked::Ipv4(target),
                asker: (!sender.is_unspecified()).then_some(Asked::Ipv4(sender)),
                is_announcement: sender == target,
            })
        }
        EtherType::IPV6 => {
            let nd = neighbour_message(frame)?;
            if nd.kind != NEIGHBOUR_SOLICITATION {
                return None;
            }
            Some(Question {
                target: Asked::Ipv6(nd.target),
                asker: (!nd.source.is_unspecified()).then_some(Asked::Ipv6(nd.source)),
                is_announcement: false,
            })
        }
        _ => None,
    }
}

/// The frame that answers `question` asked in `frame`: the target has `mac`.
pub(crate) fn answer(frame: &[u8], question: &Question, mac: Mac) -> Vec<u8> {
    let asker_mac = mac_at(frame, 6).unwrap_or(Mac::BROADCAST);
    let mut answer = Vec::with_capacity(HEADER + 72);
    answer.extend_from_slice(asker_mac.as_bytes());
    answer.extend_from_slice(mac.as_bytes());
    match question.target {
        Asked::Ipv4(target) => {
            let asker = match question.asker {
                Some(Asked::Ipv4(asker)) => asker,
                _ => Ipv4Addr::UNSPECIFIED,
            };
            answer.extend_from_slice(&EtherType::ARP.0.to_be_bytes());
            // Ethernet, IPv4, lengths 6 and 4, reply.
            answer.extend_from_slice(&[0, 1, 8, 0, 6, 4, 0, 2]);
            answer.extend_from_slice(mac.as_bytes());
            answer.extend_from_slice(&target.octets());
            answer.extend_from_slice(asker_mac.as_bytes());
            answer.extend_from_slice(&asker.octets());
        }
        Asked::Ipv6(target) => put_advertisement(&mut answer, target, question.asker, mac),
    }
    answer
}

/// A frame to all that tells who has an address now, and that nobody asked for: an ARP reply (RFC 5227 §3) or a neighbour
/// advertisement (RFC 4861 §7.2.6).
pub(crate) fn announcement(address: IpAddr, mac: Mac) -> Vec<u8> {
    let (target, group) = match address {
        IpAddr::V4(address) => (Asked::Ipv4(address), Mac::BROADCAST),
        IpAddr::V6(address) => (Asked::Ipv6(address), Mac::from_bytes([0x33, 0x33, 0, 0, 0, 1])),
    };
    let question = Question {
        target,
        // In an ARP announcement both addresses are the one told of.
        asker: matches!(target, Asked::Ipv4(_)).then_some(target),
        is_announcement: true,
    };
    // It is addressed to whom it answers: to the group.
    let mut frame = answer(&group.as_bytes().repeat(2), &question, mac);
    if matches!(target, Asked::Ipv4(_))
        && let Some(target_mac) = frame.get_mut(ARP_TARGET_MAC)
    {
        // Linux lets a reply override an entry of the last second only if it names its sender twice (`arp_is_garp`).
        target_mac.copy_from_slice(mac.as_bytes());
    }
    frame
}

/// Where the target's MAC stands in a frame with an ARP message.
const ARP_TARGET_MAC: std::ops::Range<usize> = HEADER + 18..HEADER + 24;

/// The address that an untagged ARP or neighbour message says to be at its sender: what others write into their tables. A
/// check for duplicates says nothing.
pub(crate) fn spoken_for(frame: &[u8]) -> Option<Asked> {
    const NEXT_HEADER: usize = HEADER + 6;
    match ethertype(frame)? {
        EtherType::ARP => {
            let packet = LaxSlicedPacket::from_ethernet(frame).ok()?;
            let Some(LaxNetSlice::Arp(arp)) = &packet.net else {
                return None;
            };
            let sender = Ipv4Addr::from(arp.to_packet().try_eth_ipv4().ok()?.sender_ipv4);
            (!sender.is_unspecified()).then_some(Asked::Ipv4(sender))
        }
        // TCP and UDP, which most frames are, need not be parsed.
        EtherType::IPV6 if !matches!(frame.get(NEXT_HEADER), Some(6 | 17)) => {
            let nd = neighbour_message(frame)?;
            match nd.kind {
                NEIGHBOUR_SOLICITATION if nd.source.is_unspecified() => None,
                NEIGHBOUR_SOLICITATION => Some(Asked::Ipv6(nd.source)),
                _ => Some(Asked::Ipv6(nd.target)),
            }
        }
        _ => None,
    }
}

/// A neighbour advertisement (RFC 4861 §4.4): solicited where somebody asked, overriding, with the link-layer address.
fn put_advertisement(answer: &mut Vec<u8>, target: Ipv6Addr, asker: Option<Asked>, mac: Mac) {
    const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
    const LENGTH: u16 = 32;
    let (destination, flags) = match asker {
        Some(Asked::Ipv6(asker)) => (asker, 0x60),
        _ => (ALL_NODES, 0x20),
    };
    answer.extend_from_slice(&EtherType::IPV6.0.to_be_bytes());
    answer.extend_from_slice(&[0x60, 0, 0, 0]);
    answer.extend_from_slice(&LENGTH.to_be_bytes());
    answer.extend_from_slice(&[IpNumber::IPV6_ICMP.0, ND_HOP_LIMIT]);
    answer.extend_from_slice(&target.octets());
    answer.extend_from_slice(&destination.octets());
    let mut message = vec![NEIGHBOUR_ADVERTISEMENT, 0, 0, 0, flags, 0, 0, 0];
    message.extend_from_slice(&target.octets());
    message.extend_from_slice(&[TARGET_LINK_ADDRESS, 1]);
    message.extend_from_slice(mac.as_bytes());
    let pseudo_header = [
        &target.octets()[..],
        &destination.octets(),
        &u32::from(LENGTH).to_be_bytes(),
        &[0, 0, 0, 58],
    ];
    let checksum = checksum(pseudo_header.iter().copied().chain([message.as_slice()]));
    if let Some(field) = message.get_mut(2..4) {
        field.copy_from_slice(&checksum.to_be_bytes());
    }
    answer.extend_from_slice(&message);
}

/// The Internet checksum (RFC 1071) over parts of even length.
fn checksum<'a>(parts: impl Iterator<Item = &'a [u8]>) -> u16 {
    let words = parts.flat_map(|part| part.chunks(2));
    let sum: u32 = words
        .map(|word| u32::from(u16::from_be_bytes([word[0], word.get(1).copied().unwrap_or(0)])))
        .sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let folded = (folded & 0xffff) + (folded >> 16);
    !u16::try_from(folded).unwrap_or(u16::MAX)
}

/// Whether a group frame only tells routers and snooping switches which groups this machine listens to (IGMP, MLD).
pub(crate) fn is_membership_report(frame: &[u8]) -> bool {
    const QUERY_TO_DONE: std::ops::RangeInclusive<u8> = 130..=132;
    const REPORT_V2: u8 = 143;
    if !matches!(ethertype(frame), Some(EtherType::IPV4 | EtherType::IPV6)) {
        return false;
    }
    let Ok(packet) = LaxSlicedPacket::from_ethernet(frame) else {
        return false;
    };
    match (&packet.net, &packet.transport) {
        (Some(LaxNetSlice::Ipv4(ip)), _) => ip.payload().ip_number == IpNumber::IGMP,
        (Some(LaxNetSlice::Ipv6(_)), Some(TransportSlice::Icmpv6(icmp))) => {
            let kind = icmp.type_u8();
            QUERY_TO_DONE.contains(&kind) || kind == REPORT_V2
        }
        _ => false,
    }
}

struct NeighbourMessage {
    kind: u8,
    source: Ipv6Addr,
    target: Ipv6Addr,
}

fn neighbour_message(frame: &[u8]) -> Option<NeighbourMessage> {
    let packet = LaxSlicedPacket::from_ethernet(frame).ok()?;
    let (Some(LaxNetSlice::Ipv6(ip)), Some(TransportSlice::Icmpv6(icmp))) = (&packet.net, &packet.transport) else {
        return None;
    };
    let kind = icmp.type_u8();
    if !matches!(kind, NEIGHBOUR_SOLICITATION | NEIGHBOUR_ADVERTISEMENT)
        || icmp.code_u8() != 0
        || ip.header().hop_limit() != ND_HOP_LIMIT
    {
        return None;
    }
    let message = icmp.slice();
    let target = Ipv6Addr::from(*message.get(8..)?.first_chunk::<16>()?);
    Some(NeighbourMessage {
        kind,
        source: ip.header().source_addr(),
        target,
    })
}

fn ethertype(frame: &[u8]) -> Option<EtherType> {
    let bytes = frame.get(12..HEADER)?.first_chunk::<2>()?;
    Some(EtherType(u16::from_be_bytes(*bytes)))
}

#[cfg(test)]
mod tests {
    use etherparse::{Icmpv6Slice, PacketBuilder};

    use super::*;

    const ASKER: [u8; 6] = [2, 0, 0, 0, 0, 1];
    const OWNER: [u8; 6] = [2, 0, 0, 0, 0, 2];

    fn arp_request(sender: [u8; 4], target: [u8; 4]) -> Vec<u8> {
        let mut frame = [
            &[0xff; 6][..],
            &ASKER,
            &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1],
            &ASKER,
            &sender,
            &[0; 6],
        ]
        .concat();
        frame.extend_from_slice(&target);
        frame
    }

    #[test]
    fn an_arp_request_is_read_and_answered() {
        let frame = arp_request([10, 0, 0, 1], [10, 0, 0, 2]);
        let asked = question(&frame).unwrap();
        assert_eq!(asked.target, Asked::Ipv4(Ipv4Addr::new(10, 0, 0, 2)));
        let answer = answer(&frame, &asked, Mac::from_bytes(OWNER));
        let expected = [
            &ASKER[..],
            &OWNER,
            &[8, 6, 0, 1, 8, 0, 6, 4, 0, 2],
            &OWNER,
            &[10, 0, 0, 2],
            &ASKER,
            &[10, 0, 0, 1],
        ];
        assert_eq!(answer, expected.concat());
        assert!(question(&answer).is_none());
    }

    #[test]
    fn an_arp_probe_and_an_announcement_are_told_apart() {
        let probe = question(&arp_request([0; 4], [10, 0, 0, 2])).unwrap();
        assert_eq!((probe.asker, probe.is_announcement), (None, false));
        assert!(
            question(&arp_request([10, 0, 0, 2], [10, 0, 0, 2]))
                .unwrap()
                .is_announcement
        );
    }

    #[test]
    fn a_cut_request_is_none() {
        let frame = arp_request([10, 0, 0, 1], [10, 0, 0, 2]);
        for length in 0..frame.len() {
            assert!(question(&frame[..length]).is_none());
        }
    }

    fn solicitation(source: Ipv6Addr, target: Ipv6Addr) -> Vec<u8> {
        let group = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00, 2);
        let body = [&target.octets()[..], &[1, 1], &ASKER].concat();
        let mut frame = Vec::new();
        PacketBuilder::ethernet2(ASKER, [0x33, 0x33, 0xff, 0, 0, 2])
            .ipv6(source.octets(), group.octets(), ND_HOP_LIMIT)
            .icmpv6_raw(NEIGHBOUR_SOLICITATION, 0, [0; 4])
            .write(&mut frame, &body)
            .unwrap();
        frame
    }

    #[test]
    fn a_solicitation_is_answered_with_a_valid_checksum() {
        let (source, target) = ("fe80::1".parse().unwrap(), "fe80::2".parse().unwrap());
        let frame = solicitation(source, target);
        let asked = question(&frame).unwrap();
        assert_eq!(asked.target, Asked::Ipv6(target));
        assert_eq!(asked.asker, Some(Asked::Ipv6(source)));
        let answer = answer(&frame, &asked, Mac::from_bytes(OWNER));
        let message = Icmpv6Slice::from_slice(&answer[HEADER + 40..]).unwrap();
        assert!(message.is_checksum_valid(target.octets(), source.octets()));
        assert_eq!(message.slice()[4], 0x60);
    }

    #[test]
    fn a_check_for_a_duplicate_is_answered_to_all_nodes() {
        let target = "fe80::2".parse().unwrap();
        let frame = solicitation(Ipv6Addr::UNSPECIFIED, target);
        let asked = question(&frame).unwrap();
        assert_eq!(asked.asker, None);
        let answer = answer(&frame, &asked, Mac::from_bytes(OWNER));
        let all_nodes: Ipv6Addr = "ff02::1".parse().unwrap();
        let message = Icmpv6Slice::from_slice(&answer[HEADER + 40..]).unwrap();
        assert!(message.is_checksum_valid(target.octets(), all_nodes.octets()));
        assert_eq!(message.slice()[4], 0x20);
    }

    #[test]
    fn who_speaks_for_an_address_is_told_from_who_asks_for_one() {
        let ip = |text: &str| Some(Asked::Ipv4(text.parse().unwrap()));
        assert_eq!(spoken_for(&arp_request([10, 0, 0, 1], [10, 0, 0, 2])), ip("10.0.0.1"));
        assert_eq!(
            spoken_for(&arp_request([0; 4], [10, 0, 0, 2])),
            None,
            "a check for a duplicate"
        );
        let (source, target) = ("fe80::1".parse().unwrap(), "fe80::2".parse().unwrap());
        assert_eq!(spoken_for(&solicitation(source, target)), Some(Asked::Ipv6(source)));
        assert_eq!(spoken_for(&solicitation(Ipv6Addr::UNSPECIFIED, target)), None);
        for address in ["10.0.0.7", "fd07::7"] {
            let address: IpAddr = address.parse().unwrap();
            let frame = announcement(address, Mac::from_bytes(OWNER));
            let spoken = spoken_for(&frame).map(|asked| match asked {
                Asked::Ipv4(address) => IpAddr::V4(address),
                Asked::Ipv6(address) => IpAddr::V6(address),
            });
            assert_eq!(spoken, Some(address));
            assert_eq!((frame[0] & 1, &frame[6..12]), (1, &OWNER[..]));
            // Behind a tag it is another LAN's.
            let tagged = [&frame[..12], &[0x81, 0, 0, 7], &frame[12..]].concat();
            assert_eq!(spoken_for(&tagged), None);
            for length in 0..frame.len().min(42) {
                assert_eq!(spoken_for(&frame[..length]), None, "cut to {length}");
            }
        }
    }

    #[test]
    fn an_announcement_by_arp_names_its_sender_twice() {
        let frame = announcement(IpAddr::from([10, 0, 0, 7]), Mac::from_bytes(OWNER));
        let expected = [
            &[0xff; 6][..],
            &OWNER,
            &[8, 6, 0, 1, 8, 0, 6, 4, 0, 2],
            &OWNER,
            &[10, 0, 0, 7],
            &OWNER,
            &[10, 0, 0, 7],
        ];
        assert_eq!(frame, expected.concat());
    }

    #[test]
    fn membership_reports_are_recognised() {
        let mut igmp = Vec::new();
        PacketBuilder::ethernet2(ASKER, [1, 0, 0x5e, 0, 0, 22])
            .ipv4([10, 0, 0, 1], [224, 0, 0, 22], 1)
            .write(&mut igmp, IpNumber::IGMP, &[0x22, 0, 0, 0])
            .unwrap();
        assert!(is_membership_report(&igmp));
        // MLDv2 stands behind a hop-by-hop header with a router alert.
        let group = "ff02::16".parse::<Ipv6Addr>().unwrap().octets();
        let report = [&[58, 0, 5, 2, 0, 0, 1, 0][..], &[143, 0, 0, 0, 0, 0, 0, 0]].concat();
        let mut mld = [
            &[0x33, 0x33, 0, 0, 0, 0x16][..],
            &ASKER,
            &[0x86, 0xdd, 0x60, 0, 0, 0, 0, 16, 0, 1],
        ]
        .concat();
        mld.extend_from_slice(&Ipv6Addr::LOCALHOST.octets());
        mld.extend_from_slice(&group);
        mld.extend_from_slice(&report);
        assert!(is_membership_report(&mld));
        assert!(!is_membership_report(&solicitation(
            Ipv6Addr::LOCALHOST,
            Ipv6Addr::LOCALHOST
        )));
        assert!(!is_membership_report(&arp_request([10, 0, 0, 1], [10, 0, 0, 2])));
    }
}
