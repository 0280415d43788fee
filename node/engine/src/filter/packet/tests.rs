use etherparse::{PacketBuilder, TcpHeader};
use proptest::prelude::*;

use super::*;

const TO: [u8; 6] = [2, 0, 0, 0, 0, 1];
const FROM: [u8; 6] = [2, 0, 0, 0, 0, 2];
const A: [u8; 4] = [10, 64, 0, 1];
const B: [u8; 4] = [10, 64, 0, 2];
const A6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1);
const B6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2);

fn ethernet(ethertype: u16, payload: &[u8]) -> Vec<u8> {
    [&TO[..], &FROM, &ethertype.to_be_bytes(), payload].concat()
}

/// An IPv4 packet with its `flags and offset`.
fn ipv4_packet(protocol: u8, fragment: u16, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(20 + payload.len()).unwrap();
    let header = [
        &[0x45, 0][..],
        &length.to_be_bytes(),
        &[0, 7],
        &fragment.to_be_bytes(),
        &[64, protocol, 0, 0],
        &B,
        &A,
    ];
    ethernet(IPV4, &[header.concat(), payload.to_vec()].concat())
}

fn ipv6_packet(next: u8, hops: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).unwrap();
    let header = [
        &[0x60, 0, 0, 0][..],
        &length.to_be_bytes(),
        &[next, hops],
        &B6.octets(),
        &A6.octets(),
    ];
    ethernet(IPV6, &[header.concat(), payload.to_vec()].concat())
}

fn udp(length: u16) -> Vec<u8> {
    [&[0x10, 0, 0, 53][..], &length.to_be_bytes(), &[0, 0]].concat()
}

fn refused(frame: &[u8]) -> Refused {
    Packet::parse(frame).unwrap_err()
}

fn content_of(frame: &[u8]) -> Content {
    let Ok(Packet::Ip(packet)) = Packet::parse(frame) else {
        panic!("{:?}", Packet::parse(frame))
    };
    packet.content
}

const UDP: Content = Content::Udp {
    from: 0x1000,
    to: 53,
    is_name_answer: false,
};

#[test]
fn what_kernels_send_is_read() {
    let mut frame = Vec::new();
    let mut header = TcpHeader::new(4000, 80, 1, 1000);
    header.syn = true;
    PacketBuilder::ethernet2(FROM, TO)
        .ipv4(B, A, 64)
        .tcp_header(header)
        .write(&mut frame, &[])
        .unwrap();
    let Content::Tcp { from, to, flags } = content_of(&frame) else {
        panic!()
    };
    assert_eq!((from, to, flags.asks()), (4000, 80, true));
    for payload in [0, 1, 1000] {
        let mut frame = Vec::new();
        PacketBuilder::ethernet2(FROM, TO)
            .ipv6(B6.octets(), A6.octets(), 64)
            .udp(0x1000, 53)
            .write(&mut frame, &vec![0; payload])
            .unwrap();
        assert_eq!(content_of(&frame), UDP);
    }
    let mut frame = Vec::new();
    PacketBuilder::ethernet2(FROM, TO)
        .ipv4(B, A, 64)
        .icmpv4_echo_request(7, 1)
        .write(&mut frame, &[1; 48])
        .unwrap();
    assert_eq!(content_of(&frame), Content::EchoRequest { identifier: 7 });
}

#[test]
fn lengths_that_do_not_fit_are_refused() {
    let frame = ipv4_packet(17, 0, &udp(8));
    assert_eq!(content_of(&frame), UDP);
    // Short frames are padded; nothing else may stand behind a packet.
    let padded = [&frame[..], &[0; 18]].concat();
    assert_eq!((padded.len(), content_of(&padded)), (60, UDP));
    for more in [1, 17, 19, 100] {
        let longer = [&frame[..], &vec![0; more]].concat();
        assert_eq!(refused(&longer), Refused::Malformed, "{more}");
    }
    for less in 1..frame.len() - HEADER {
        assert_eq!(refused(&frame[..frame.len() - less]), Refused::Malformed, "{less}");
    }
    for said in [0, 7, 9, 100] {
        assert_eq!(refused(&ipv4_packet(17, 0, &udp(said))), Refused::Malformed, "{said}");
        assert_eq!(refused(&ipv6_packet(17, 64, &udp(said))), Refused::Malformed, "{said}");
    }
    let mut jumbo = ipv6_packet(17, 64, &udp(8));
    jumbo[HEADER + 4..HEADER + 6].fill(0);
    assert_eq!(refused(&jumbo), Refused::Malformed);
}

#[test]
fn what_is_no_plain_ip_is_refused_with_its_reason() {
    let plain = ipv4_packet(17, 0, &udp(8));
    for tag in VLAN_TAGS {
        let tagged = [&plain[..12], &tag.to_be_bytes(), &[0, 0], &plain[12..]].concat();
        assert_eq!(refused(&tagged), Refused::Tagged);
    }
    for ethertype in [38_u16, 0x5ff, 0x88cc, 0x888e, 0x8809] {
        assert_eq!(refused(&ethernet(ethertype, &[0; 46])), Refused::LinkControl);
    }
    let mut to_bridges = plain.clone();
    to_bridges[..6].copy_from_slice(&[1, 0x80, 0xc2, 0, 0, 0x0e]);
    assert_eq!(refused(&to_bridges), Refused::LinkControl);
    for ethertype in [0x88b5_u16, 0x8035, 0x8863, 0x0805] {
        assert_eq!(refused(&ethernet(ethertype, &[0; 46])), Refused::EtherType);
    }
    for protocol in [4, 41, 47, 50, 97] {
        assert_eq!(refused(&ipv4_packet(protocol, 0, &plain[HEADER..])), Refused::Tunnel);
        assert_eq!(refused(&ipv6_packet(protocol, 64, &plain[HEADER..])), Refused::Tunnel);
    }
    assert_eq!(refused(&ipv4_packet(132, 0, &[0; 20])), Refused::Protocol);
    assert_eq!(refused(&ipv4_packet(58, 0, &[128; 20])), Refused::Protocol);
    assert_eq!(refused(&ipv6_packet(1, 64, &[8; 20])), Refused::Protocol);
    assert_eq!(
        refused(&ipv4_packet(2, 0, &[0x11, 0, 0, 0, 0, 0, 0, 0])),
        Refused::Membership
    );
    // A strict source route: one that names nobody, but who knows what reads it.
    let mut routed = plain;
    routed[HEADER] = 0x46;
    routed[HEADER + 3] += 4;
    routed.splice(HEADER + 20..HEADER + 20, [137, 3, 4, 0]);
    assert_eq!(refused(&routed), Refused::Options);
}

#[test]
fn extension_headers_are_passed_over_or_refused() {
    let options = |next| [next, 0, 1, 4, 0, 0, 0, 0];
    let behind = |headers: &[u8]| ipv6_packet(headers[0], 64, &[&headers[1..], &udp(8)[..]].concat());
    let chain = |kinds: &[u8]| {
        let mut bytes = vec![kinds[0]];
        for next in kinds[1..].iter().copied().chain([17]) {
            bytes.extend(options(next));
        }
        behind(&bytes)
    };
    for kinds in [&[0][..], &[60], &[0, 60], &[0, 60, 60, 60]] {
        assert_eq!(content_of(&chain(kinds)), UDP, "{kinds:?}");
    }
    for kinds in [&[60, 0][..], &[0, 0], &[0, 60, 60, 60, 60], &[43], &[60, 43]] {
        assert_eq!(refused(&chain(kinds)), Refused::Options, "{kinds:?}");
    }
    assert_eq!(refused(&chain(&[60, 51])), Refused::Tunnel);
    assert_eq!(refused(&chain(&[135])), Refused::Protocol);
    // A header longer than what is there.
    let mut long = chain(&[60]);
    long[HEADER + 41] = 9;
    assert_eq!(refused(&long), Refused::Malformed);
}

#[test]
fn fragments_are_read_as_first_and_later_ones() {
    const MORE: u16 = 0x2000;
    let first = ipv4_packet(17, MORE, &[udp(3000), vec![0; 1336]].concat());
    let Ok(Packet::Ip(packet)) = Packet::parse(&first) else {
        panic!()
    };
    assert_eq!(packet.content, UDP);
    let expected = Fragment {
        protocol: 17,
        identification: 7,
        offset: 0,
        length: 1344,
    };
    assert_eq!(packet.fragment, Some(expected));
    assert_eq!(content_of(&ipv4_packet(17, 168, &[0; 100])), Content::Later);
    assert_eq!(content_of(&ipv4_packet(6, MORE | 168, &[0; 8])), Content::Later);
    // A first one without its ports, and a TCP header in two pieces.
    assert_eq!(refused(&ipv4_packet(17, MORE, &[0; 4])), Refused::Malformed);
    assert_eq!(refused(&ipv4_packet(6, MORE, &[0; 16])), Refused::Malformed);
    for fragment in [MORE, 8] {
        assert_eq!(refused(&ipv4_packet(1, fragment, &[8; 64])), Refused::Fragment);
    }
    let six = |next: u8, offset: u16, payload: &[u8]| {
        let header = [&[next, 0][..], &offset.to_be_bytes(), &[0, 0, 0, 7]].concat();
        ipv6_packet(44, 255, &[&header[..], payload].concat())
    };
    assert_eq!(content_of(&six(17, 1, &udp(900))), UDP);
    assert_eq!(content_of(&six(17, 8, &[0; 8])), Content::Later);
    // Neighbour discovery is never in fragments (RFC 6980), not even in one that is whole.
    for offset in [0, 1, 8] {
        assert_eq!(refused(&six(58, offset, &[136; 24])), Refused::Fragment);
    }
    let twice = [&[44, 0, 0, 1, 0, 0, 0, 7][..], &[17, 0, 0, 1, 0, 0, 0, 8], &udp(900)].concat();
    assert_eq!(refused(&ipv6_packet(44, 64, &twice)), Refused::Options);
}

#[test]
fn a_fragment_ends_within_the_longest_packet() {
    // The last offset there is, in units of 8 bytes, and what is behind it.
    const LAST: u16 = 0x1fff;
    assert_eq!(content_of(&ipv4_packet(17, LAST, &[0; 7])), Content::Later);
    assert_eq!(refused(&ipv4_packet(17, LAST, &[0; 8])), Refused::Malformed);
    let six = |payload: &[u8]| {
        let header = [&[17, 0][..], &(LAST << 3).to_be_bytes(), &[0, 0, 0, 7]].concat();
        ipv6_packet(44, 255, &[&header[..], payload].concat())
    };
    assert_eq!(content_of(&six(&[0; 7])), Content::Later);
    assert_eq!(refused(&six(&[0; 8])), Refused::Malformed);
}

#[test]
fn flags_that_make_no_sense_are_refused() {
    let segment = |flags| {
        let mut tcp = vec![0; 20];
        (tcp[12], tcp[13]) = (0x50, flags);
        ipv4_packet(6, 0, &tcp)
    };
    // Nothing, FIN alone, SYN with FIN, SYN with RST, everything.
    for flags in [0, 1, 3, 6, 0x3f, 0x29] {
        assert_eq!(refused(&segment(flags)), Refused::Malformed, "{flags:x}");
    }
    for flags in [2, 0x12, 0x10, 0x11, 0x18, 4, 0x14] {
        assert!(matches!(content_of(&segment(flags)), Content::Tcp { .. }), "{flags:x}");
    }
}

#[test]
fn icmp_is_told_apart() {
    for (kind, expected) in [
        (5, Refused::Redirect),
        (9, Refused::RouterAdvertisement),
        (13, Refused::Icmp),
        (3, Refused::Icmp),
        (4, Refused::Icmp),
    ] {
        let message = [&[kind, 0][..], &[0; 18]].concat();
        assert_eq!(refused(&ipv4_packet(1, 0, &message)), expected, "{kind}");
    }
    for (kind, expected) in [
        (133, Refused::Icmp),
        (134, Refused::RouterAdvertisement),
        (137, Refused::Redirect),
        (130, Refused::Membership),
        (143, Refused::Membership),
        (1, Refused::Icmp),
        (200, Refused::Icmp),
    ] {
        let message = [&[kind, 0][..], &[0; 38]].concat();
        assert_eq!(refused(&ipv6_packet(58, 255, &message)), expected, "{kind}");
    }
}

#[test]
fn errors_are_read_with_what_they_quote() {
    let quote = ipv4_packet(17, 0, &udp(8));
    let error = ipv4_packet(1, 0, &[&[3, 4, 0, 0, 0, 0, 5, 0], &quote[HEADER..]].concat());
    let expected = Quoted {
        protocol: Protocol::Udp,
        source: B.into(),
        destination: A.into(),
        ports: (0x1000, 53),
    };
    assert_eq!(content_of(&error), Content::Error(expected));
    let cut = ipv4_packet(1, 0, &[&[3, 4, 0, 0, 0, 0, 5, 0], &quote[HEADER..HEADER + 27]].concat());
    assert_eq!(refused(&cut), Refused::Icmp);
    let ping = ipv6_packet(58, 64, &[128, 0, 0, 0, 0, 9, 0, 1]);
    let error = ipv6_packet(58, 64, &[&[2, 0, 0, 0, 0, 0, 5, 0], &ping[HEADER..]].concat());
    let Content::Error(quoted) = content_of(&error) else {
        panic!()
    };
    assert_eq!((quoted.protocol, quoted.ports), (Protocol::Echo, (9, 0)));
    assert_eq!((quoted.source, quoted.destination), (B6.into(), A6.into()));
}

fn advertisement(hops: u8, code: u8, options: &[u8]) -> Vec<u8> {
    let message = [&[136, code, 0, 0, 0x20, 0, 0, 0], &B6.octets()[..], options].concat();
    ipv6_packet(58, hops, &message)
}

#[test]
fn a_neighbour_message_gives_one_link_layer_address_or_none() {
    let option = |kind: u8, mac: [u8; 6]| [&[kind, 1][..], &mac].concat();
    let nonce = [14, 1, 1, 2, 3, 4, 5, 6];
    let read = |options: &[u8]| match Packet::parse(&advertisement(255, 0, options)) {
        Ok(Packet::Neighbour(message)) => Ok(message.link_address.map(|mac| *mac.as_bytes())),
        other => Err(other),
    };
    assert_eq!(read(&[]), Ok(None));
    assert_eq!(read(&nonce), Ok(None));
    assert_eq!(read(&[&nonce[..], &option(2, FROM)].concat()), Ok(Some(FROM)));
    assert_eq!(read(&[option(1, FROM), option(2, FROM)].concat()), Ok(Some(FROM)));
    // One of them for whoever checks, the other for the kernel.
    let mixed = [
        [option(1, FROM), option(2, TO)].concat(),
        [option(2, FROM), option(2, TO)].concat(),
        [&option(2, FROM)[..], &nonce, &option(1, TO)].concat(),
        [&[2, 2][..], &FROM, &[0; 8]].concat(),
        vec![2, 0, 0, 0, 0, 0, 0, 0],
        vec![2, 2, 0, 0, 0, 0, 0, 0],
        vec![2],
    ];
    for options in mixed {
        assert_eq!(read(&options), Err(Err(Refused::Malformed)), "{options:?}");
    }
}

#[test]
fn a_neighbour_message_from_elsewhere_is_refused() {
    assert!(Packet::parse(&advertisement(255, 0, &[])).is_ok());
    assert_eq!(refused(&advertisement(254, 0, &[])), Refused::Malformed);
    assert_eq!(refused(&advertisement(255, 1, &[])), Refused::Malformed);
    let cut = ipv6_packet(58, 255, &[136; 23]);
    assert_eq!(refused(&cut), Refused::Malformed);
}

#[test]
fn arp_is_read_for_ipv4_over_ethernet_only() {
    let body =
        |hardware: u8, operation: u8| [&[0, hardware, 8, 0, 6, 4, 0, operation][..], &FROM, &B, &TO, &A].concat();
    let Ok(Packet::Arp(message)) = Packet::parse(&ethernet(ARP, &body(1, 2))) else {
        panic!()
    };
    assert_eq!((message.sender_mac.as_bytes(), message.sender), (&FROM, B.into()));
    assert_eq!((message.target, message.is_request), (A.into(), false));
    assert_eq!(refused(&ethernet(ARP, &body(6, 2))), Refused::Malformed);
    for operation in [0, 3, 8] {
        assert_eq!(refused(&ethernet(ARP, &body(1, operation))), Refused::EtherType);
    }
    assert_eq!(refused(&ethernet(ARP, &body(1, 1)[..27])), Refused::Malformed);
}

#[test]
fn packets_of_one_flow_have_one_mark() {
    let tcp = |port: u8, flags: u8, payload: usize| {
        let mut tcp = vec![0; 20 + payload];
        (tcp[1], tcp[12], tcp[13]) = (port, 0x50, flags);
        FlowMark::of(&ipv4_packet(6, 0x4000, &tcp))
    };
    assert!(tcp(1, 0x10, 0).is_some());
    assert_eq!(tcp(1, 0x10, 0), tcp(1, 0x18, 500));
    assert_ne!(tcp(1, 0x10, 0), tcp(2, 0x10, 0));
    assert_ne!(tcp(1, 0x10, 0), tcp(1, 0x11, 0));
    assert_eq!(FlowMark::of(&ipv4_packet(17, 0x2000, &udp(900))), None);
    assert!(FlowMark::of(&ipv6_packet(17, 64, &udp(8))).is_some());
    assert_eq!(FlowMark::of(&ipv6_packet(58, 64, &udp(8))), None);
}

proptest! {
    #[test]
    fn anything_is_read_or_refused(
        frame in proptest::collection::vec(any::<u8>(), 0..200),
        ethertype in prop_oneof![Just(IPV4), Just(IPV6), Just(ARP), any::<u16>()],
    ) {
        let mut frame = frame;
        if let Some(place) = frame.get_mut(12..14) {
            place.copy_from_slice(&ethertype.to_be_bytes());
        }
        let _ = (Packet::parse(&frame), FlowMark::of(&frame));
    }

    #[test]
    fn what_is_bent_is_read_or_refused_and_never_with_other_addresses(
        six in any::<bool>(),
        protocol in prop_oneof![Just(6_u8), Just(17), Just(1), Just(58), Just(44), Just(60), any::<u8>()],
        payload in proptest::collection::vec(any::<u8>(), 0..120),
        fragment in prop_oneof![4 => Just(0_u16), 1 => any::<u16>()],
    ) {
        let frame = if six { ipv6_packet(protocol, 255, &payload) } else { ipv4_packet(protocol, fragment, &payload) };
        let sources = [IpAddr::from(B), IpAddr::from(B6)];
        match Packet::parse(&frame) {
            Ok(Packet::Ip(packet)) => prop_assert_eq!(packet.source, sources[usize::from(six)]),
            Ok(Packet::Neighbour(message)) => prop_assert!(six && message.source == B6),
            Ok(Packet::Arp(_)) => prop_assert!(false, "that is IP"),
            Err(_) => {}
        }
    }
}
