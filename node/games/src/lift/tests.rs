use std::sync::LazyLock;

use etherparse::{NetSlice, PacketBuilder, SlicedPacket, TransportSlice};
use proptest::{collection::vec, prelude::*};

use super::*;

const CARD: [u8; 6] = [0x52, 0x54, 0, 1, 2, 3];
const OWN: [u8; 4] = [192, 168, 1, 7];
const ALL: [u8; 4] = [255; 4];

fn card() -> Watched {
    Watched {
        mac: Mac::from_bytes(CARD),
        addresses: vec![
            (OWN.into(), 24),
            ([172, 16, 5, 9].into(), 30),
            ([10, 9, 8, 7].into(), 32),
        ],
    }
}

fn overlay() -> Overlay {
    Overlay {
        mac: Mac::from_bytes([2, 0, 0, 9, 9, 9]),
        address: [10, 128, 3, 4].into(),
        mtu: 1400,
    }
}

/// A datagram that leaves a card.
fn datagram(destination: [u8; 4], port: u16, payload: &[u8]) -> Vec<u8> {
    let builder = PacketBuilder::ethernet2(CARD, [0xff; 6])
        .ipv4(OWN, destination, 64)
        .udp(40_000, port);
    let mut frame = Vec::new();
    builder.write(&mut frame, payload).unwrap();
    frame
}

/// The copy of a frame.
fn lifted(frame: &[u8]) -> Result<Vec<u8>, Left> {
    static LIST: LazyLock<List> = LazyLock::new(List::shipped);
    let mut out = Vec::new();
    read(frame, &card(), &LIST)?.write(&overlay(), &mut out)?;
    Ok(out)
}

/// Checks a copy by another's reading of it.
fn check(copy: &[u8], destination: [u8; 4], port: u16, payload: &[u8]) {
    let sliced = SlicedPacket::from_ethernet(copy).unwrap();
    let ethernet = Ethernet2HeaderSlice::from_slice(copy).unwrap();
    assert_eq!(ethernet.source(), *overlay().mac.as_bytes());
    let Some(NetSlice::Ipv4(ip)) = sliced.net else {
        panic!("no IPv4")
    };
    let header = ip.header().to_header();
    assert_eq!(
        (header.source, header.destination),
        (overlay().address.octets(), destination)
    );
    assert_eq!(header.header_checksum, header.calc_header_checksum());
    assert_eq!(
        (header.time_to_live, header.dont_fragment, header.identification),
        (1, true, MARK)
    );
    assert_eq!(usize::from(header.total_len) + 14, copy.len());
    let Some(TransportSlice::Udp(udp)) = sliced.transport else {
        panic!("no UDP")
    };
    assert_eq!(
        (udp.source_port(), udp.destination_port(), udp.payload()),
        (40_000, port, payload)
    );
    assert_ne!(udp.checksum(), 0);
    let right = udp.to_header().calc_checksum_ipv4(&header, payload).unwrap();
    assert_eq!(udp.checksum(), right);
}

#[test]
fn a_search_by_broadcast_is_copied() {
    for destination in [ALL, [192, 168, 1, 255], [172, 16, 5, 11]] {
        let copy = lifted(&datagram(destination, 27960, b"getinfo")).unwrap();
        assert_eq!(copy[..6], [0xff; 6]);
        check(&copy, ALL, 27960, b"getinfo");
    }
}

#[test]
fn an_announcement_to_a_group_is_copied() {
    let copy = lifted(&datagram([224, 0, 2, 60], 4445, b"[AD]25565[/AD]")).unwrap();
    assert_eq!(copy[..6], [0x01, 0x00, 0x5e, 0x00, 0x02, 0x3c]);
    check(&copy, [224, 0, 2, 60], 4445, b"[AD]25565[/AD]");
    // RFC 1112: of a group's address, 23 bits are in its MAC.
    assert_eq!(group_mac([225, 129, 1, 1].into()), [0x01, 0x00, 0x5e, 0x01, 0x01, 0x01]);
}

#[test]
fn checksums_are_right_whatever_stood_there() {
    let genuine = datagram(ALL, 27960, b"getinfo xyz");
    let whole = lifted(&genuine).unwrap();
    for checksum in [0_u16, 0xffff, 0x1234] {
        let mut frame = genuine.clone();
        frame[40..42].copy_from_slice(&checksum.to_be_bytes());
        assert_eq!(lifted(&frame).unwrap(), whole, "none, open or wrong");
        // A card completes the sum of the IP header too.
        frame[24..26].copy_from_slice(&checksum.to_be_bytes());
        assert_eq!(lifted(&frame).unwrap(), whole);
    }
    // A sum that comes out as zero is written as 0xffff: taking the sum of a payload of zeros as payload makes it so.
    let zeros = lifted(&datagram(ALL, 27960, &[0; 2])).unwrap();
    let payload = &zeros[40..42];
    let copy = lifted(&datagram(ALL, 27960, payload)).unwrap();
    assert_eq!(copy[40..42], [0xff, 0xff]);
    check(&copy, ALL, 27960, payload);
}

#[test]
fn what_is_no_search_of_this_card_is_left_alone() {
    let list = List::shipped();
    let left = |frame: &[u8]| read(frame, &card(), &list).unwrap_err();
    let genuine = datagram(ALL, 27960, b"x");
    let with = |at: usize, bytes: &[u8]| {
        let mut frame = genuine.clone();
        frame[at..at + bytes.len()].copy_from_slice(bytes);
        frame
    };
    assert!(read(&genuine, &card(), &list).is_ok());
    for (frame, why) in [
        (with(12, &[0x86, 0xdd]), Left::OtherProtocol),
        (with(12, &[0x81, 0x00]), Left::OtherProtocol),
        (with(12, &[0x08, 0x06]), Left::OtherProtocol),
        (with(23, &[6]), Left::NoUdp),
        (with(30, &[192, 168, 1, 8]), Left::Unicast),
        (with(30, &[192, 168, 2, 255]), Left::Unicast),
        (with(30, &[10, 9, 8, 7]), Left::Unicast),
        (with(36, &[0, 67]), Left::NotListed),
        (with(36, &[0x14, 0xe9]), Left::NotListed),
        (datagram([224, 0, 0, 251], 5353, b"x"), Left::NotListed),
        (datagram([239, 255, 255, 250], 1900, b"x"), Left::NotListed),
        (datagram([224, 0, 2, 60], 4446, b"x"), Left::NotListed),
        (datagram([224, 0, 2, 60], 27960, b"x"), Left::NotListed),
        (datagram(ALL, 4445, b"x"), Left::NotListed),
        (with(26, &[192, 168, 1, 8]), Left::Foreign),
        (with(26, &[0, 0, 0, 0]), Left::Foreign),
        (with(6, &[0x52, 0x54, 0, 1, 2, 4]), Left::Foreign),
        (with(20, &[0x20, 0x00]), Left::Fragment),
        (with(20, &[0x00, 0x01]), Left::Fragment),
        (with(16, &[0xff, 0xff]), Left::Malformed),
        (with(38, &[0xff, 0xff]), Left::Malformed),
        (with(38, &[0x00, 0x07]), Left::Malformed),
        (with(34, &[0, 0]), Left::Malformed),
        (with(14, &[0x4f]), Left::Malformed),
        (genuine[..20].to_vec(), Left::Malformed),
        (genuine[..10].to_vec(), Left::Malformed),
        (Vec::new(), Left::Malformed),
    ] {
        assert_eq!(left(&frame), why, "{frame:x?}");
    }
}

#[test]
fn what_fills_up_a_short_frame_and_options_are_not_copied() {
    let mut frame = datagram(ALL, 3979, &[3, 0, 0]);
    frame.resize(60, 0xaa);
    check(&lifted(&frame).unwrap(), ALL, 3979, &[3, 0, 0]);
    // A router alert.
    let mut optioned = datagram(ALL, 3979, &[3, 0, 0]);
    optioned[14] = 0x46;
    let total = u16::try_from(optioned.len() - 14 + 4).unwrap();
    optioned[16..18].copy_from_slice(&total.to_be_bytes());
    optioned.splice(34..34, [0x94, 4, 0, 0]);
    check(&lifted(&optioned).unwrap(), ALL, 3979, &[3, 0, 0]);
}

#[test]
fn a_copy_is_never_copied_again() {
    let copy = lifted(&datagram(ALL, 27960, b"getinfo")).unwrap();
    let list = List::shipped();
    // It comes over a bridge to another card: one with its own address, and even one that has the overlay's.
    let overlay = overlay();
    let same = Watched {
        mac: overlay.mac,
        addresses: vec![(overlay.address, 20)],
    };
    assert_eq!(read(&copy, &card(), &list), Err(Left::Copy));
    assert_eq!(read(&copy, &same, &list), Err(Left::Copy));
    // Without its mark it would be one.
    let mut unmarked = copy;
    unmarked[18] ^= 1;
    assert!(read(&unmarked, &same, &list).is_ok());
    assert_eq!(read(&unmarked, &card(), &list), Err(Left::Foreign));
}

#[test]
fn what_is_too_long_for_the_overlay_is_left_alone() {
    let fits = vec![7; usize::from(overlay().mtu) - 28];
    check(&lifted(&datagram(ALL, 27960, &fits)).unwrap(), ALL, 27960, &fits);
    let long = vec![7; fits.len() + 1];
    assert_eq!(lifted(&datagram(ALL, 27960, &long)), Err(Left::TooLong));
    assert_eq!(
        lifted(&datagram(ALL, 27960, &[7; 20_000])),
        Err(Left::TooLong),
        "a super-frame"
    );
    check(&lifted(&datagram(ALL, 27960, &[])).unwrap(), ALL, 27960, &[]);
}

#[test]
fn one_channel_gone_wild_leaves_room_for_others() {
    let mut limiter = Limiter::default();
    let to = |port| SocketAddrV4::new(Ipv4Addr::BROADCAST, port);
    let mut count = |from: u64, seconds: u64, port| {
        // A hundred a second.
        let times = (from * 100..(from + seconds) * 100).map(|tick| Time::ZERO + Duration::from_millis(tick * 10));
        times.filter(|now| limiter.take(*now, to(port)).is_ok()).count()
    };
    let wild = count(0, 10, 1);
    assert!((28..=31).contains(&wild), "10 at once and 2 a second: {wild}");
    let other = count(10, 1, 2);
    assert!((10..=13).contains(&other), "{other}");
    let mut total = 0;
    for second in 100..110 {
        for port in 0..50 {
            let now = Time::ZERO + Duration::from_secs(second);
            total += usize::from(limiter.take(now, to(port)).is_ok());
        }
    }
    assert!((70..=80).contains(&total), "30 at once and 5 a second: {total}");
}

#[test]
fn the_limiter_forgets_channels_that_are_quiet() {
    let mut limiter = Limiter::default();
    for port in 0..10_000 {
        let now = Time::ZERO + Duration::from_millis(u64::from(port));
        _ = limiter.take(now, SocketAddrV4::new(Ipv4Addr::BROADCAST, port));
        assert!(limiter.channels.len() <= MOST_CHANNELS);
    }
    let later = Time::ZERO + Duration::from_secs(60);
    assert_eq!(limiter.take(later, SocketAddrV4::new(Ipv4Addr::BROADCAST, 1)), Ok(()));
}

proptest! {
    #[test]
    fn every_payload_arrives_with_right_sums(
        payload in vec(any::<u8>(), 0..1372),
        port in prop::sample::select(vec![3979_u16, 8303, 19132, 27015, 27960]),
    ) {
        check(&lifted(&datagram(ALL, port, &payload)).unwrap(), ALL, port, &payload);
    }
}
