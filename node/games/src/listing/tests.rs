use proptest::{collection::vec, prelude::*};

use super::*;
use crate::recorded::packets;

fn seconds(seconds: f64) -> Time {
    Time::ZERO + Duration::from_secs_f64(seconds)
}

/// An announcement of a world at a port of 10.0.x.y.
fn announce(listing: &mut Listing, now: Time, host: u16, port: u16) {
    let payload = format!("[MOTD]world {port}[/MOTD][AD]{port}[/AD]");
    listing.heard(
        now,
        &Heard {
            source: SocketAddr::new(address(host), 4445),
            port: 4445,
            payload: payload.as_bytes(),
        },
    );
}

fn address(host: u16) -> IpAddr {
    let [high, low] = host.to_be_bytes();
    IpAddr::from([10, 0, high, low])
}

fn listing() -> Listing {
    Listing::new(List::shipped(), 0)
}

/// An answer of a quake server to the current search.
fn answer(listing: &Listing, token: u32) -> Vec<u8> {
    assert!(listing.searched.is_some());
    [
        b"\xff\xff\xff\xffinfoResponse\n\\hostname\\arena\\clients\\2\\sv_maxclients\\8\\challenge\\".to_vec(),
        token.to_string().into_bytes(),
    ]
    .concat()
}

#[test]
fn whoever_stops_is_forgotten_within_half_a_minute() {
    let mut listing = listing();
    for tick in 0..20 {
        announce(&mut listing, seconds(f64::from(tick) * 1.5), 1, 25565);
    }
    let last = seconds(19.0 * 1.5);
    assert_eq!(listing.len(), 1);
    let entry = listing.entries(last)[0];
    assert_eq!((entry.since, entry.heard, entry.round_trip), (Time::ZERO, last, None));
    let until = listing.next_timeout().unwrap();
    assert!(until.since(last) <= Duration::from_secs(30));
    assert_eq!(listing.entries(last + Duration::from_millis(9_999)).len(), 1);
    assert!(listing.entries(until).is_empty() && listing.shares.is_empty());
    assert_eq!(listing.next_timeout(), None);
}

#[test]
fn whoever_answers_is_listed_as_long_as_somebody_asks() {
    let mut listing = listing();
    let source = "10.0.0.1:27960".parse().unwrap();
    let mut now = Time::ZERO;
    for round in 0..40 {
        assert!(!listing.searches(now).is_empty(), "{round}");
        assert!(listing.searches(now).is_empty(), "once a round");
        assert!(listing.next_search().since(now) <= Duration::from_secs(5));
        // Three of four answers get lost.
        if round % 4 == 0 {
            let payload = answer(&listing, listing.token());
            listing.heard(
                now + Duration::from_millis(80),
                &Heard {
                    source,
                    port: 40_000,
                    payload: &payload,
                },
            );
        }
        now = listing.next_search();
        let entries = listing.entries(now);
        assert_eq!(entries.len(), 1, "{round}");
        assert_eq!(entries[0].round_trip, Some(Duration::from_millis(80)));
        assert_eq!(entries[0].game.as_deref(), Some("quake3"));
    }
    assert!(listing.entries(now + Duration::from_secs(30)).is_empty());
}

#[test]
fn a_late_answer_tells_no_round_trip() {
    let mut listing = listing();
    listing.searches(Time::ZERO);
    let late = answer(&listing, listing.token());
    listing.searches(seconds(5.0));
    let heard = |payload| Heard {
        source: "10.0.0.1:27960".parse().unwrap(),
        port: 40_000,
        payload,
    };
    listing.heard(seconds(5.01), &heard(&late));
    assert_eq!(listing.entries(seconds(5.01))[0].round_trip, None);
    let current = answer(&listing, listing.token());
    listing.heard(seconds(5.2), &heard(&current));
    listing.heard(seconds(5.6), &heard(&current));
    // 200 ms, then a quarter of the way to 600 ms.
    assert_eq!(
        listing.entries(seconds(5.6))[0].round_trip,
        Some(Duration::from_millis(300))
    );
}

#[test]
fn a_second_question_goes_out_only_while_searching_and_once_a_round() {
    let challenge = &packets("source")[1];
    let mut listing = listing();
    assert_eq!(listing.heard(Time::ZERO, &challenge.heard()), []);
    listing.searches(Time::ZERO);
    let replies = listing.heard(seconds(0.1), &challenge.heard());
    assert_eq!(
        replies,
        [Search {
            destination: challenge.source,
            payload: packets("source")[2].payload.clone()
        }]
    );
    assert_eq!(listing.heard(seconds(0.2), &challenge.heard()), []);
    // The round trip is that of the second question.
    listing.heard(seconds(0.15), &packets("source")[3].heard());
    assert_eq!(
        listing.entries(seconds(0.15))[0].round_trip,
        Some(Duration::from_millis(50))
    );
    assert_eq!(listing.heard(seconds(5.0), &challenge.heard()), []);
    listing.searches(seconds(6.0));
    assert_eq!(listing.heard(seconds(6.1), &challenge.heard()).len(), 1);
    // However many come, there is a bound.
    let others = (0..1000_u16).flat_map(|host| {
        let source = SocketAddr::new(address(host), 27015);
        let heard = Heard {
            source,
            ..challenge.heard()
        };
        listing.heard(seconds(6.2), &heard)
    });
    assert!(others.count() < MOST_ASKED);
}

#[test]
fn searches_go_where_the_list_says_and_cost_few_broadcasts() {
    let mut listing = listing();
    let searches = listing.searches(Time::ZERO);
    let to = |port: u16| {
        let here = searches.iter().filter(|search| search.destination.port() == port);
        here.map(|search| search.destination.ip().to_string())
            .collect::<Vec<_>>()
    };
    for port in [3979, 19132, 26000, 27015, 27020, 27960, 27963] {
        assert_eq!(to(port), ["255.255.255.255"], "{port}");
    }
    assert_eq!(to(8303), ["255.255.255.255"; 2], "0.6 and 0.7");
    assert_eq!((to(4555), to(4556)), (vec!["225.1.1.1".to_owned()], vec![]));
    assert_eq!(
        (to(5353), to(1900)),
        (vec!["224.0.0.251".to_owned()], vec!["239.255.255.250".to_owned()])
    );
    assert_eq!((to(4445), to(6112)), (vec![], vec![]), "announced, and not understood");
    // What a node may send with full reach is 10 a second, 60 at once.
    assert!(searches.len() <= 40, "{}", searches.len());
    assert!(searches.iter().all(|search| search.payload.len() <= 1200));
    let groups: Vec<_> = listing.groups().iter().map(ToString::to_string).collect();
    assert_eq!(
        groups,
        [
            "224.0.2.60:4445",
            "225.1.1.1:4555",
            "225.1.1.1:4556",
            "224.0.0.251:5353",
            "239.255.255.250:1900"
        ]
    );
    // Tokens differ from round to round, in all bits that are repeated and in the lowest eight.
    let first = listing.token();
    listing.searches(seconds(5.0));
    assert_ne!(first & 0xff, listing.token() & 0xff);
}

#[test]
fn who_takes_leave_takes_only_what_is_its_own() {
    let mut listing = listing();
    let files = ["mdns", "ssdp"];
    let goodbyes: Vec<_> = files.map(|file| packets(file).pop().unwrap()).into();
    let told = |listing: &mut Listing| {
        for packet in files.iter().flat_map(|file| packets(file)) {
            if packet.heard().decode().iter().any(|told| matches!(told, Told::Seen(_))) {
                listing.heard(Time::ZERO, &packet.heard());
            }
        }
    };
    told(&mut listing);
    assert_eq!(listing.len(), 2);
    let bytes: Vec<_> = packets("ssdp")
        .into_iter()
        .filter(|packet| packet.payload.starts_with(b"NOTIFY"))
        .collect();
    for packet in goodbyes
        .iter()
        .chain(&bytes)
        .filter(|packet| packet.heard().decode().iter().any(|told| matches!(told, Told::Gone(_))))
    {
        // Somebody else says it, and nothing happens.
        let other = Heard {
            source: SocketAddr::new(address(9), packet.source.port()),
            ..packet.heard()
        };
        listing.heard(Time::ZERO, &other);
        assert_eq!(listing.len(), 2);
    }
    for packet in goodbyes.iter().chain(&bytes) {
        if packet.heard().decode().iter().any(|told| matches!(told, Told::Gone(_))) {
            listing.heard(Time::ZERO, &packet.heard());
        }
    }
    assert!(listing.is_empty() && listing.shares.is_empty());
}

#[test]
fn a_flood_displaces_itself() {
    let mut listing = listing();
    announce(&mut listing, Time::ZERO, 1, 25565);
    for port in 1..=1000 {
        announce(&mut listing, seconds(1.0), 2, port);
        assert!(listing.len() <= 1 + MOST_OF_ONE);
    }
    assert!(
        listing
            .entries(seconds(1.0))
            .iter()
            .any(|entry| entry.sighting.port == 25565)
    );
    // Of its own, those heard last are left.
    assert!(
        listing
            .entries
            .contains_key(&(Kind::Game(Protocol::Minecraft), address(2), 1000))
    );
    // Many that fill the table, and then somebody with one server.
    for host in 10..100 {
        for port in 1..=20 {
            announce(&mut listing, seconds(2.0), host, port);
        }
    }
    assert_eq!(listing.len(), MOST_ENTRIES);
    announce(&mut listing, seconds(3.0), 5000, 25565);
    assert!(
        listing
            .entries(seconds(3.0))
            .iter()
            .any(|entry| entry.sighting.address == address(5000))
    );
    assert!(
        listing
            .entries(seconds(3.0))
            .iter()
            .any(|entry| entry.sighting.address == address(1))
    );
    assert_eq!(listing.len(), MOST_ENTRIES);
}

#[test]
fn a_table_full_of_single_ones_keeps_them() {
    let mut listing = listing();
    for host in 0..u16::try_from(MOST_ENTRIES).unwrap() {
        announce(&mut listing, Time::ZERO, host, 25565);
    }
    announce(&mut listing, Time::ZERO, 9000, 25565);
    assert_eq!(listing.len(), MOST_ENTRIES);
    assert!(!listing.shares.contains_key(&address(9000)));
    // Who is there displaces its own.
    announce(&mut listing, Time::ZERO, 7, 25566);
    assert_eq!(listing.shares[&address(7)], 1);
    assert!(
        listing
            .entries
            .contains_key(&(Kind::Game(Protocol::Minecraft), address(7), 25566))
    );
}

#[test]
fn the_order_is_that_of_people() {
    let mut listing = listing();
    listing.searches(Time::ZERO);
    let mut server = |host: u16, name: &str, players: u32| {
        let payload = format!("\u{0}infoResponse\n\\hostname\\{name}\\clients\\{players}");
        let payload = [&[0xff; 4], &payload.as_bytes()[1..]].concat();
        let source = SocketAddr::new(address(host), 27960);
        listing.heard(
            Time::ZERO,
            &Heard {
                source,
                port: 1,
                payload: &payload,
            },
        );
    };
    server(4, "beta", 2);
    server(3, "Alpha", 2);
    server(2, "gamma", 7);
    server(1, "alpha", 2);
    for packet in packets("mdns")
        .iter()
        .filter(|packet| packet.source.ip() != address(2))
        .take(5)
    {
        listing.heard(Time::ZERO, &packet.heard());
    }
    announce(&mut listing, Time::ZERO, 1, 25565);
    let names: Vec<_> = listing
        .entries(Time::ZERO)
        .iter()
        .map(|entry| entry.sighting.name.clone())
        .collect();
    assert_eq!(
        names,
        ["world 25565", "gamma", "alpha", "Alpha", "beta", "Alice's music"]
    );
}

proptest! {
    /// Whatever comes, from whomever: bounds hold, and shares are what they say.
    #[test]
    fn the_table_keeps_its_bounds(steps in vec((0_u16..40, 1_u16..40, 0_u64..3_000), 0..400)) {
        let mut listing = listing();
        let mut now = Time::ZERO;
        for (host, port, pause) in steps {
            now += Duration::from_millis(pause);
            announce(&mut listing, now, host, port);
            prop_assert!(listing.len() <= MOST_ENTRIES);
            prop_assert!(listing.shares.values().all(|share| (1..=MOST_OF_ONE).contains(share)));
            prop_assert_eq!(listing.shares.values().sum::<usize>(), listing.len());
            prop_assert!(listing.entries.values().all(|entry| entry.until > now));
        }
    }
}

#[test]
fn services_are_left_out_where_they_are_not_wanted() {
    let (mut all, mut games) = (listing(), listing().without_services());
    assert_eq!(all.groups().len(), games.groups().len() + 2);
    let mut left: Vec<_> = all.searches(Time::ZERO);
    left.retain(|search| ![1900, 5353].contains(&search.destination.port()));
    assert_eq!(games.searches(Time::ZERO), left);
}
