//! Packets of real servers, as `scripts/record-games` recorded them, and some made by hand from published descriptions: what
//! is read of them, and that the searches sent here are those which real servers answered.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use farlan_engine::Time;

use crate::{
    heard::{Answers, Departure, Heard, Kind, Players, Protocol, Sighting, Told, searches},
    list::List,
    listing::Listing,
};

/// A packet of a file.
pub(crate) struct Packet {
    pub(crate) source: SocketAddr,
    pub(crate) destination: SocketAddr,
    pub(crate) payload: Vec<u8>,
}

impl Packet {
    pub(crate) fn heard(&self) -> Heard<'_> {
        Heard {
            source: self.source,
            port: self.destination.port(),
            payload: &self.payload,
        }
    }

    /// Whether a server or service sent it.
    fn is_answer(&self) -> bool {
        self.source.ip() == SERVER
    }
}

/// All files, by name.
pub(crate) const FILES: [(&str, &str); 10] = [
    ("bedrock", include_str!("../packets/bedrock.txt")),
    ("ddnet", include_str!("../packets/ddnet.txt")),
    ("freeciv", include_str!("../packets/freeciv.txt")),
    ("mdns", include_str!("../packets/mdns.txt")),
    ("minecraft", include_str!("../packets/minecraft.txt")),
    ("openttd", include_str!("../packets/openttd.txt")),
    ("quake3", include_str!("../packets/quake3.txt")),
    ("source", include_str!("../packets/source.txt")),
    ("ssdp", include_str!("../packets/ssdp.txt")),
    ("teeworlds", include_str!("../packets/teeworlds.txt")),
];

/// The packets of a file.
pub(crate) fn packets(file: &str) -> Vec<Packet> {
    let (_, text) = FILES.iter().find(|(name, _)| *name == file).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let packet = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        let [source, destination, hex] = words[..] else {
            panic!("{file}: {line}");
        };
        let (pairs, []) = hex.as_bytes().as_chunks::<2>() else {
            panic!("{file}: {hex}");
        };
        let byte = |pair: &[u8; 2]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
        Packet {
            source: source.parse().unwrap(),
            destination: destination.parse().unwrap(),
            payload: pairs.iter().map(byte).collect(),
        }
    };
    lines.map(packet).collect()
}

const SERVER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 77, 0, 1));

/// What the packets of a file tell that a server sent.
fn told(file: &str) -> Vec<Told> {
    let packets = packets(file);
    packets
        .iter()
        .filter(|packet| packet.is_answer())
        .flat_map(|packet| packet.heard().decode())
        .collect()
}

/// The questions of a file.
fn questions(file: &str) -> Vec<Vec<u8>> {
    packets(file)
        .into_iter()
        .filter(|packet| !packet.is_answer())
        .map(|packet| packet.payload)
        .collect()
}

/// A sighting of a game at a port of the server.
fn game(protocol: Protocol, port: u16, name: &str) -> Sighting {
    Sighting {
        kind: Kind::Game(protocol),
        name: name.to_owned(),
        host: None,
        address: SERVER,
        port,
        players: None,
        map: None,
        mode: None,
        version: None,
        lifetime: Duration::from_secs(22),
        answers: Answers::Nothing,
    }
}

fn players(current: u32, most: u32) -> Option<Players> {
    Some(Players {
        current,
        most: Some(most),
    })
}

fn text(text: &str) -> Option<String> {
    Some(text.to_owned())
}

fn token(token: u32, mask: u32) -> Answers {
    Answers::Token { token, mask }
}

#[test]
fn minecraft() {
    assert_eq!(
        told("minecraft"),
        [Told::Seen(Sighting {
            lifetime: Duration::from_secs(10),
            ..game(Protocol::Minecraft, 54321, "Alice - Alice's world")
        })]
    );
    let heard = |payload: &'static [u8]| Heard {
        source: "10.77.0.1:5".parse().unwrap(),
        port: 4445,
        payload,
    };
    for other in [
        &b"[AD]0[/AD]"[..],
        b"[AD]65536[/AD]",
        b"[AD][/AD]",
        b"[AD]25565",
        b"[MOTD]x[/MOTD]",
        b"",
    ] {
        assert_eq!(heard(other).decode(), [], "{other:?}");
    }
    // A world without a name is one.
    assert_eq!(heard(b"[AD]25565[/AD]").decode().len(), 1);
}

#[test]
fn bedrock() {
    assert_eq!(
        told("bedrock"),
        [Told::Seen(Sighting {
            version: text("1.19.1"),
            players: players(0, 10),
            map: text("Bedrock level"),
            mode: text("Survival"),
            answers: token(4711, u32::MAX),
            ..game(Protocol::Bedrock, 19132, "Dedicated Server")
        })]
    );
    assert_eq!(questions("bedrock"), [searches::bedrock(4711)]);
}

#[test]
fn quake3() {
    let server = game(Protocol::Quake3, 27960, "farlan arena");
    let server = Sighting {
        map: text("oa_dm1"),
        mode: text("free for all"),
        version: text("protocol 71"),
        players: players(1, 12),
        answers: token(4711, u32::MAX),
        ..server
    };
    // The version goes on.
    let status = Sighting {
        version: text("ioq3 1.36+u20221123.70d07d9+dfsg-1/Debia"),
        ..server.clone()
    };
    assert_eq!(told("quake3"), [Told::Seen(server), Told::Seen(status)]);
    for question in questions("quake3").iter().take(4) {
        assert_eq!(*question, searches::quake3(4711));
    }
}

#[test]
fn source() {
    let question = [searches::SOURCE_SEARCH, &[0x0a, 0x08, 0xce, 0xb1]].concat();
    let strike = Sighting {
        map: text("de_dust"),
        mode: text("Counter-Strike: Source"),
        version: text("1.0.0.22"),
        players: players(5, 16),
        answers: Answers::Search,
        ..game(Protocol::Source, 27015, "game2xs.com Counter-Strike Source #1")
    };
    let ship = Sighting {
        map: text("batavier"),
        mode: text("The Ship"),
        version: text("1.0.0.4"),
        players: players(1, 5),
        answers: Answers::Search,
        ..game(Protocol::Source, 27016, "Ship Server")
    };
    assert_eq!(
        told("source"),
        [Told::Ask(question.clone()), Told::Seen(strike), Told::Seen(ship)]
    );
    assert_eq!(questions("source"), [searches::SOURCE_SEARCH.to_vec(), question]);
}

#[test]
fn teeworlds() {
    let asked = packets("teeworlds").remove(2).payload;
    let server = Sighting {
        map: text("dm1"),
        mode: text("DM"),
        version: text("0.7.5"),
        players: players(0, 12),
        answers: token(0x2143_6587, u32::MAX),
        ..game(Protocol::Teeworlds, 8303, "farlan Alice's tees")
    };
    assert_eq!(told("teeworlds"), [Told::Ask(asked), Told::Seen(server)]);
    assert_eq!(questions("teeworlds")[0], searches::teeworlds_token(0x2143_6587));
}

#[test]
fn ddnet() {
    let older = Sighting {
        map: text("Tutorial"),
        mode: text("TestDDraceNetwor"),
        version: text("0.6.4, 16.4"),
        players: players(0, 16),
        answers: token(0x2a, 0xff),
        ..game(Protocol::Teeworlds, 8303, "farlan DDNet [0/64]")
    };
    let newer = Sighting {
        name: "farlan DDNet".to_owned(),
        players: players(0, 64),
        answers: token(0x12_342a, 0xff_ffff),
        ..older.clone()
    };
    assert_eq!(told("ddnet"), [Told::Seen(older), Told::Seen(newer)]);
    assert_eq!(questions("ddnet")[1], searches::teeworlds(0x12_342a));
}

#[test]
fn openttd() {
    let server = Sighting {
        answers: Answers::Search,
        ..game(Protocol::OpenTtd, 3979, "")
    };
    assert_eq!(told("openttd"), [Told::Seen(server)]);
    assert_eq!(questions("openttd"), [searches::OPENTTD_SEARCH]);
}

#[test]
fn freeciv() {
    let server = Sighting {
        host: text("farlan"),
        mode: text("Pregame"),
        version: text("3.0.6"),
        players: Some(Players { current: 0, most: None }),
        ..game(Protocol::Freeciv, 5556, "farlan")
    };
    assert_eq!(told("freeciv"), [Told::Seen(server)]);
    assert_eq!(questions("freeciv"), [searches::FREECIV_SEARCH]);
}

#[test]
fn mdns() {
    let music = Sighting {
        kind: Kind::Service("_daap._tcp".to_owned()),
        host: text("alice"),
        ..game(Protocol::Mdns, 3689, "Alice's music")
    };
    let told = told("mdns");
    // Announced, answered to the group, and to a port; then both its records take leave.
    let (seen, gone) = told.split_at(3);
    assert_eq!(seen, vec![Told::Seen(music); 3]);
    let leave = Told::Gone(Departure {
        kind: Kind::Service("_daap._tcp".to_owned()),
        address: SERVER,
        name: text("Alice's music"),
    });
    assert_eq!(gone, [leave.clone(), leave]);
    assert_eq!(
        questions("mdns").last(),
        Some(&searches::questions()),
        "a real responder answered these"
    );
}

#[test]
fn ssdp() {
    let films = Told::Seen(Sighting {
        kind: Kind::Device("MediaServer".to_owned()),
        version: text("1.3.0"),
        ..game(Protocol::Ssdp, 8200, "MiniDLNA")
    });
    let told = told("ssdp");
    let seen: Vec<_> = told.iter().filter(|told| matches!(told, Told::Seen(_))).collect();
    assert_eq!(seen, [&films; 2], "announced, and answered");
    assert!(
        matches!(told.first(), Some(Told::Gone(_))),
        "it says that it had gone before it says that it is there"
    );
    assert!(matches!(told.last(), Some(Told::Gone(_))));
    assert_eq!(questions("ssdp"), [searches::SSDP_SEARCH]);
}

/// Everything in one listing, as if it came at once.
#[test]
fn a_listing_of_all_that_was_recorded() {
    let mut listing = Listing::new(List::shipped(), 0);
    for (file, _) in FILES {
        for packet in packets(file).iter().filter(|packet| packet.is_answer()) {
            listing.heard(Time::ZERO, &packet.heard());
        }
    }
    let entries = listing.entries(Time::ZERO);
    let shown: Vec<String> = entries
        .iter()
        .map(|entry| {
            let game = entry.game.as_deref().unwrap_or("-");
            format!(
                "{game} {} {:?} :{}",
                entry.title, entry.sighting.name, entry.sighting.port
            )
        })
        .collect();
    // What took its leave is not there.
    assert_eq!(
        shown,
        [
            "freeciv Freeciv \"farlan\" :5556",
            "source Half-Life 2, Counter-Strike, Team Fortress 2 and other games of the Source engine \
             \"game2xs.com Counter-Strike Source #1\" :27015",
            "source Half-Life 2, Counter-Strike, Team Fortress 2 and other games of the Source engine \"Ship Server\" :27016",
            "bedrock Minecraft: Bedrock Edition \"Dedicated Server\" :19132",
            "minecraft Minecraft: Java Edition \"Alice - Alice's world\" :54321",
            "openttd OpenTTD \"\" :3979",
            "quake3 Quake III Arena, ioquake3, OpenArena \"farlan arena\" :27960",
            "teeworlds Teeworlds, DDNet \"farlan Alice's tees\" :8303",
        ]
    );
}

#[test]
fn cut_packets_tell_less_or_nothing_and_never_more() {
    for (file, _) in FILES {
        for packet in packets(file) {
            let whole = packet.heard().decode().len();
            for length in 0..packet.payload.len() {
                let cut = Heard {
                    payload: &packet.payload[..length],
                    ..packet.heard()
                };
                assert!(cut.decode().len() <= whole.max(1), "{file} {length}");
            }
        }
    }
}
