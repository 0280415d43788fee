//! What must hold of `farlan-games` whatever it is given.
//!
//! Checksums and places of fields come from etherparse, not from the crate.
#![allow(dead_code, reason = "each target uses a part")]

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::OnceLock,
    time::Duration,
};

use etherparse::{Ethernet2HeaderSlice, NetSlice, SlicedPacket, TransportSlice};
use farlan_engine::Time;
use farlan_games::{
    heard::{Heard, LONGEST_LIFE, LONGEST_NAME, LONGEST_WORD, MOST_TOLD, Sighting, Told},
    lift::{self, Left, Overlay, Watched},
    list::{Group, List},
    listing::{Listing, MOST_ENTRIES, MOST_OF_ONE},
};
use farlan_netconf::Mac;

/// Input: which ports, and a UDP payload. What is read of it is short, can be printed, and lies where it came from.
pub(crate) fn packets(input: &[u8]) {
    let Some((&ports, payload)) = input.split_first() else {
        return;
    };
    let (port, from) = [
        (40_000, 27_960),
        (4445, 49_152),
        (4556, 38_199),
        (5353, 5353),
        (1900, 54_792),
        (40_000, 5353),
        (40_000, 1900),
        (40_000, 8303),
    ][usize::from(ports & 7)];
    let ip = if ports & 8 == 0 {
        IpAddr::from([10, 77, 0, 1])
    } else {
        IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, 1])
    };
    let heard = Heard {
        source: SocketAddr::new(ip, from),
        port,
        payload,
    };
    let told = heard.decode();
    assert!(told.len() <= MOST_TOLD);
    let mut asked = 0;
    for one in &told {
        match one {
            Told::Seen(sighting) => is_fit(sighting, ip),
            Told::Gone(departure) => {
                assert_eq!(departure.address, ip);
                if let Some(name) = &departure.name {
                    is_shown(name, LONGEST_NAME);
                }
            }
            // A few questions at the most.
            Told::Ask(payload) => {
                assert!(payload.len() <= 2_200);
                asked += 1;
            }
        }
    }
    assert!(asked <= 1);

    let mut listing = Listing::new(short_list().clone(), 0);
    assert!(
        listing.heard(Time::ZERO, &heard).is_empty(),
        "who does not search is silent"
    );
    listing.searches(Time::ZERO);
    for other in 0..18 {
        let heard = Heard {
            source: SocketAddr::new(ip, from + other % 2),
            ..heard
        };
        let replies = listing.heard(Time::ZERO, &heard);
        assert!(replies.iter().all(|reply| reply.destination == heard.source));
        assert!(listing.len() <= MOST_OF_ONE && MOST_OF_ONE < MOST_ENTRIES);
    }
    let count = listing.len();
    assert_eq!(listing.entries(Time::ZERO).len(), count);
    assert!(listing.entries(Time::ZERO + LONGEST_LIFE).is_empty());
}

fn is_fit(sighting: &Sighting, from: IpAddr) {
    assert_eq!(sighting.address, from);
    assert_ne!(sighting.port, 0);
    assert!(sighting.lifetime <= LONGEST_LIFE && sighting.lifetime >= Duration::from_secs(8));
    is_shown(&sighting.name, LONGEST_NAME);
    if let Some(host) = &sighting.host {
        is_shown(host, LONGEST_NAME);
    }
    for word in [&sighting.map, &sighting.mode, &sighting.version].into_iter().flatten() {
        is_shown(word, LONGEST_WORD);
    }
}

fn is_shown(text: &str, longest: usize) {
    assert!(text.chars().count() <= longest);
    assert!(
        !text
            .chars()
            .any(|character| character.is_control() || character == '\u{202e}')
    );
    assert_eq!(text, text.trim());
}

/// Input: the text of a list of games. What is taken keeps the rules; of what is not, there is a reason.
pub(crate) fn lists(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    match List::parse(text) {
        Ok(read) => {
            assert!(read.games().is_sorted_by(|one, other| one.name < other.name));
            for game in read.games() {
                assert!(!game.ports.is_empty() && !game.title.is_empty() && !game.name.is_empty());
                assert!(game.searched().count() <= 32);
                for port in game.searched() {
                    assert!(port >= 1024 && ![1900, 5353, 5355].contains(&port));
                    assert!(read.searching(port).is_some());
                }
                for group in &game.groups {
                    let address = group.address();
                    let octets = address.ip().octets();
                    assert!(address.ip().is_multicast() && octets[..3] != [224, 0, 0] && address.port() != 0);
                    assert!(read.announcing(address).is_some());
                    assert_eq!(Group::new(address), Ok(*group));
                }
            }
            let both = list().clone().with(read.clone());
            assert!(both.games().is_sorted_by(|one, other| one.name < other.name));
            for game in read.games() {
                assert_eq!(both.find(&game.name), Some(game));
            }
        }
        Err(error) => {
            assert!(!error.message.is_empty());
            assert!(
                error
                    .line
                    .is_none_or(|line| (1..=text.matches('\n').count() + 1).contains(&line))
            );
        }
    }
}

/// Input: a frame that leaves a card. Its copy is what the overlay's card would have sent, and is no search that is
/// copied again.
pub(crate) fn frames(input: &[u8]) {
    let card = Watched {
        mac: Mac::from_bytes([0x52, 0x54, 0, 1, 2, 3]),
        addresses: vec![(Ipv4Addr::new(192, 168, 1, 7), 24)],
    };
    let overlay = Overlay {
        mac: Mac::from_bytes([2, 0, 0, 9, 9, 9]),
        address: Ipv4Addr::new(10, 128, 3, 4),
        mtu: 1400,
    };
    let Ok(lifted) = lift::read(input, &card, list()) else {
        return;
    };
    let mut copy = b"before".to_vec();
    if let Err(why) = lifted.write(&overlay, &mut copy) {
        assert_eq!((why, &copy[..]), (Left::TooLong, &b"before"[..]));
        assert!(lifted.payload.len() + 28 > usize::from(overlay.mtu));
        return;
    }
    let copy = copy.strip_prefix(b"before").expect("it is written behind");
    let ethernet = Ethernet2HeaderSlice::from_slice(copy).expect("a header");
    assert_eq!(ethernet.source(), *overlay.mac.as_bytes());
    let sliced = SlicedPacket::from_ethernet(copy).expect("a packet");
    let Some(NetSlice::Ipv4(ip)) = sliced.net else {
        panic!("no IPv4");
    };
    let header = ip.header().to_header();
    assert_eq!(Ipv4Addr::from(header.source), overlay.address);
    assert_eq!(Ipv4Addr::from(header.destination), *lifted.destination.ip());
    assert_eq!(header.header_checksum, header.calc_header_checksum());
    assert!(
        header.destination == [255; 4] && ethernet.destination() == [255; 6] || header.destination[0] & 0xf0 == 0xe0
    );
    let Some(TransportSlice::Udp(udp)) = sliced.transport else {
        panic!("no UDP");
    };
    assert_eq!(udp.payload(), lifted.payload);
    let checksum = udp
        .to_header()
        .calc_checksum_ipv4(&header, lifted.payload)
        .expect("it is short");
    assert_eq!(udp.checksum(), checksum);
    assert_ne!(checksum, 0);
    let same = Watched {
        mac: overlay.mac,
        addresses: vec![(overlay.address, 20)],
    };
    assert_eq!(lift::read(copy, &same, list()), Err(Left::Copy));
    assert_eq!(lift::read(copy, &card, list()), Err(Left::Copy));
}

/// A list that costs little to copy.
fn short_list() -> &'static List {
    static LIST: OnceLock<List> = OnceLock::new();
    LIST.get_or_init(|| {
        let game = "[[game]]\nname = \"quake3\"\ntitle = \"Quake\"\nports = [\"27960/udp\"]\nprotocol = \"quake3\"";
        List::parse(game).expect("a list")
    })
}

fn list() -> &'static List {
    static LIST: OnceLock<List> = OnceLock::new();
    LIST.get_or_init(List::shipped)
}
