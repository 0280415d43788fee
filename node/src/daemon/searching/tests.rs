//! Searches by the loopback card, where this machine is everybody.

use std::net::{SocketAddrV4, UdpSocket};

use super::*;

/// The loopback card.
fn place() -> Place {
    Place {
        interface: "lo".to_owned(),
        index: 1,
        own: Ipv4Addr::LOCALHOST,
    }
}

fn clock() -> Clock {
    Clock(Instant::now())
}

/// Waits for what another task brings about.
async fn until(mut is_so: impl FnMut() -> bool) {
    for _ in 0..2000 {
        if is_so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it did not come about");
}

fn ports(table: &Arc<Mutex<Table>>, clock: Clock) -> Vec<u16> {
    let mut table = locked(table);
    let entries = table.listing.entries(clock.now());
    entries.into_iter().map(|entry| entry.sighting.port).collect()
}

#[tokio::test]
async fn what_is_announced_and_what_answers_on_this_machine_is_listed() {
    let (clock, searches) = (clock(), Searches::default());
    let server = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = server.local_addr().unwrap().port();
    let own = format!(
        "[[game]]\nname = \"trains\"\ntitle = \"Trains\"\nports = [\"{port}/udp\"]\nsearch = [\"{port}/udp\"]\n\
         protocol = \"openttd\"\n[[game]]\nname = \"minecraft\"\ntitle = \"M\"\nports = [\"4445/udp\"]\n\
         groups = [\"224.0.2.60:4445\"]\nprotocol = \"minecraft\"\n"
    );
    let list = List::parse(&own).unwrap();
    let id = NetworkId::from_bytes([1; 16]);
    let listing = Listing::new(list, 0).without_services();
    let table = Arc::new(Mutex::new(Table::new(clock.now(), listing)));
    let ended = tokio::spawn(async {});
    searches.0.lock().unwrap().insert(
        id,
        Searched {
            place: place(),
            table,
            task: ended,
        },
    );
    let (table, begun) = searches.ask(clock, id, place(), || unreachable!("there is a table"));
    assert!(begun);
    assert_eq!(locked(&table).notes, [""; 0]);
    server.set_nonblocking(true).unwrap();
    let announcer = socket2::Socket::from(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
    announcer.set_multicast_if_v4(&Ipv4Addr::LOCALHOST).unwrap();
    let group = SocketAddrV4::new(Ipv4Addr::new(224, 0, 2, 60), 4445);
    let mut searched = 0;
    until(|| {
        let mut buffer = [0; 64];
        while let Ok((length, from)) = server.recv_from(&mut buffer) {
            assert_eq!(buffer[..length], [3, 0, 0]);
            searched += 1;
            server.send_to(&[3, 0, 1], from).unwrap();
        }
        let announcement = b"[MOTD]Alice's world[/MOTD][AD]54321[/AD]";
        announcer.send_to(announcement, &group.into()).unwrap();
        let found = ports(&table, clock);
        found.contains(&port) && found.contains(&54321)
    })
    .await;
    assert!(searched > 0);
    let (again, begun) = searches.ask(clock, id, place(), || unreachable!("there is a table"));
    assert!(!begun && Arc::ptr_eq(&again, &table), "it goes on");
    // Another address: other sockets, and what was found stays.
    let moved = Place {
        own: Ipv4Addr::new(127, 0, 0, 2),
        ..place()
    };
    let (again, begun) = searches.ask(clock, id, moved, || unreachable!("there is a table"));
    assert!(begun && Arc::ptr_eq(&again, &table));
    assert!(ports(&table, clock).contains(&port));
    searches.keep(&[]);
    assert!(searches.0.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_search_ends_when_nobody_asks_any_more() {
    let (clock, searches) = (clock(), Searches::default());
    let id = NetworkId::from_bytes([2; 16]);
    let (table, begun) = searches.ask(clock, id, place(), || listing(&List::shipped(), true));
    assert!(begun && locked(&table).begun.is_some() && searches.is_any_going_on());
    let later = clock.now() + PATIENCE;
    assert!(locked(&table).is_wanted(clock.now()) && !locked(&table).is_wanted(later));
    assert!(locked(&table).begun.is_none() && !searches.is_any_going_on());
    let (again, begun) = searches.ask(clock, id, place(), || unreachable!("there is a table"));
    assert!(
        begun && Arc::ptr_eq(&again, &table),
        "it begins anew with what was found"
    );
}

#[tokio::test]
async fn a_port_that_another_program_has_for_itself_is_told_of() {
    // Taken without SO_REUSEADDR, by whichever program.
    let taken = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    let port = taken.local_addr().unwrap().port();
    let group = SocketAddrV4::new(Ipv4Addr::new(239, 255, 1, 2), port);
    let (_, notes) = SearchSockets::open(&place(), &[group]).unwrap();
    assert_eq!(notes.len(), 1);
    let words = format!("239.255.1.2:{port} is not heard: another program has UDP port {port} for itself");
    assert!(notes[0].contains(&words), "{notes:?}");
}

#[tokio::test]
async fn a_card_that_is_gone_cannot_be_searched() {
    let gone = Place {
        interface: "fl-no-card".to_owned(),
        ..place()
    };
    let (table, begun) = Searches::default().ask(clock(), NetworkId::from_bytes([3; 16]), gone, || {
        listing(&List::shipped(), false)
    });
    assert!(!begun);
    let table = locked(&table);
    assert!(table.begun.is_none());
    assert!(
        table.notes[0].starts_with("it cannot be searched: "),
        "{:?}",
        table.notes
    );
}

#[test]
fn services_are_looked_for_among_friends_alone() {
    let mut friends = listing(&List::shipped(), false);
    let mut strangers = listing(&List::shipped(), true);
    assert_eq!(friends.groups().len(), strangers.groups().len() + 2);
    let shared = |listing: &mut Listing| {
        let searches = listing.searches(Time::ZERO).into_iter();
        searches
            .filter(|search| [1900, 5353].contains(&search.destination.port()))
            .count()
    };
    assert_eq!((shared(&mut friends), shared(&mut strangers)), (2, 0));
}
