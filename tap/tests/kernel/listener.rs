//! The listener against the kernel: it hears what games send by other cards, and nothing else.

use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsFd;
use std::thread;
use std::time::{Duration, Instant};

use farlan_tap::{
    Keep, LanListener, Memberships, Report, Told, Watch, give_up_capabilities, pair, serve_listener, underlay_cards,
};

use crate::support::{in_namespace, index_of, ip};

/// What a busy machine may take for something small.
const SOON: Duration = Duration::from_secs(10);

/// A listener on a thread of its own in this thread's namespace, with what a listener has of privileges.
fn listener(keep: Keep) -> LanListener {
    let (ours, theirs) = pair().expect("sockets");
    thread::spawn(move || {
        give_up_capabilities(keep).expect("give up the rest");
        serve_listener(theirs.as_fd()).expect("serve to the end");
    });
    LanListener::at(ours)
}

/// A report of the listener: of which card, and the last byte of the frame or the error.
fn heard(listener: &LanListener) -> Option<(u32, i32)> {
    let mut room = Vec::new();
    match listener.receive(&mut room).expect("it is there") {
        Told::Nothing => None,
        Told::Report(Report::Left { card, frame }) => Some((card, i32::from(*frame.last().unwrap_or(&0)))),
        Told::Report(Report::Refused { card, errno }) => Some((card, -errno)),
    }
}

fn next(listener: &LanListener) -> (u32, i32) {
    let end = Instant::now() + SOON;
    loop {
        if let Some(told) = heard(listener) {
            return told;
        }
        assert!(Instant::now() < end, "nothing is heard");
        thread::sleep(Duration::from_millis(2));
    }
}

/// Two cables, each with both ends here, and a sender at each card.
fn cables() -> (u32, u32) {
    for (one, other, address) in [("eth0", "far0", "192.0.2.1/24"), ("eth1", "far1", "198.51.100.1/24")] {
        ip(&["link", "add", one, "type", "veth", "peer", "name", other]);
        ip(&["address", "add", address, "dev", one]);
        for card in [one, other] {
            ip(&["link", "set", "dev", card, "up"]);
        }
    }
    ip(&["route", "add", "default", "dev", "eth0"]);
    (index_of("eth0"), index_of("eth1"))
}

/// Says a byte to an address from a card's own.
fn say(from: [u8; 4], to: [u8; 4], port: u16, byte: u8) {
    let socket = UdpSocket::bind((Ipv4Addr::from(from), 0)).expect("a socket");
    socket.set_broadcast(true).expect("broadcasts");
    socket.send_to(&[byte], (Ipv4Addr::from(to), port)).expect("it is sent");
}

/// Says a byte until it is heard, as a frame may be lost on a machine that is short of everything; nothing else is heard meanwhile but what
/// was said so before.
fn say_until_heard(listener: &LanListener, (from, to, port): ([u8; 4], [u8; 4], u16), (card, byte): (u32, u8)) {
    let end = Instant::now() + SOON;
    loop {
        assert!(Instant::now() < end, "{byte} is not heard");
        say(from, to, port, byte);
        let again = Instant::now() + Duration::from_millis(500);
        while Instant::now() < again {
            match heard(listener) {
                Some(told) if told == (card, byte.into()) => return,
                Some((other, said)) => assert!(other == card && (4..8).contains(&said), "{said} of {other}"),
                None => thread::sleep(Duration::from_millis(2)),
            }
        }
    }
}

/// Whether the listener listens already: until it does, what is sent is not heard.
fn settle(listener: &LanListener, from: [u8; 4]) {
    let end = Instant::now() + SOON;
    while heard(listener).is_none() {
        assert!(Instant::now() < end, "it does not listen");
        say(from, [255; 4], 6112, 0);
        thread::sleep(Duration::from_millis(5));
    }
    // What was said meanwhile.
    while let Some((_, byte)) = heard(listener) {
        assert_eq!(byte, 0);
    }
}

const FIRST: [u8; 4] = [192, 0, 2, 1];
const SECOND: [u8; 4] = [198, 51, 100, 1];

#[test]
fn searches_that_leave_a_watched_card_are_heard_once_and_nothing_else_is() {
    in_namespace(|| {
        let (first, second) = cables();
        let listener = listener(Keep::Listening);
        listener.watch(&Watch::new([first], [6112, 4445])).unwrap();
        settle(&listener, FIRST);
        // Another port, one machine, and a card that is not watched.
        say(FIRST, [255; 4], 6113, 1);
        say(FIRST, [192, 0, 2, 2], 6112, 2);
        say(SECOND, [255; 4], 6112, 3);
        // Those would have come before these.
        for (byte, to, port) in [
            (4, [255; 4], 6112),
            (5, [224, 0, 2, 60], 4445),
            (6, [192, 0, 2, 255], 6112),
        ] {
            say_until_heard(&listener, (FIRST, to, port), (first, byte));
        }

        // Another card, and another port.
        listener.watch(&Watch::new([second], [6113])).unwrap();
        let end = Instant::now() + SOON;
        while heard(&listener).is_none() {
            assert!(Instant::now() < end, "it does not listen to the other card");
            say(SECOND, [255; 4], 6113, 7);
            thread::sleep(Duration::from_millis(5));
        }
        while heard(&listener).is_some() {}
        say(FIRST, [255; 4], 6113, 8);
        say(SECOND, [255; 4], 6112, 9);
        say_until_heard(&listener, (SECOND, [255; 4], 6113), (second, 10));
    });
}

#[test]
fn a_flood_is_cut_to_a_bounded_number_a_second() {
    in_namespace(|| {
        let (first, _) = cables();
        let listener = listener(Keep::Listening);
        listener.watch(&Watch::new([first], [6112])).unwrap();
        settle(&listener, FIRST);
        let begun = Instant::now();
        let mut count = 0;
        for _ in 0..20 {
            for _ in 0..200 {
                say(FIRST, [255; 4], 6112, 1);
            }
            while heard(&listener).is_some() {
                count += 1;
            }
        }
        if count == 0 {
            // On a busy machine it comes to nothing before.
            next(&listener);
            count = 1;
        }
        let seconds = begun.elapsed().as_secs() + 2;
        assert!((1..=100 * seconds).contains(&count), "{count} in {seconds} s");
    });
}

#[test]
fn without_the_capability_it_says_so_and_goes_on() {
    in_namespace(|| {
        let (first, _) = cables();
        let listener = listener(Keep::Nothing);
        listener.watch(&Watch::new([first], [6112])).unwrap();
        assert_eq!(next(&listener), (first, -libc::EPERM));
        assert_eq!(heard(&listener), None);
    });
}

#[test]
fn a_card_that_is_not_there_is_told_and_the_others_are_heard() {
    in_namespace(|| {
        let (first, _) = cables();
        let listener = listener(Keep::Listening);
        listener.watch(&Watch::new([first, 4711], [6112])).unwrap();
        assert_eq!(next(&listener), (4711, -libc::ENODEV));
        settle(&listener, FIRST);
        // Brought down and up again it is heard as before.
        ip(&["link", "set", "dev", "eth0", "down"]);
        ip(&["link", "set", "dev", "eth0", "up"]);
        settle(&listener, FIRST);
        ip(&["link", "delete", "dev", "eth0"]);
        thread::sleep(Duration::from_millis(50));
        assert_eq!(heard(&listener).filter(|told| told.1 >= 0), None);
    });
}

#[test]
fn the_end_of_one_end_is_that_of_the_other() {
    let (ours, theirs) = pair().unwrap();
    let served = thread::spawn(move || serve_listener(theirs.as_fd()));
    drop(LanListener::at(ours));
    served.join().unwrap().unwrap();
    let (ours, theirs) = pair().unwrap();
    let listener = LanListener::at(ours);
    drop(theirs);
    assert!(listener.receive(&mut Vec::new()).is_err());
    assert!(listener.watch(&Watch::default()).is_err());
}

#[test]
fn what_comes_to_a_group_is_taken_by_memberships_that_somebody_else_holds() {
    in_namespace(|| {
        let (first, second) = cables();
        let cards = underlay_cards().unwrap();
        let card = cards.iter().find(|card| card.index == first).unwrap();
        assert!(card.mac.is_some_and(|mac| mac != [0; 6]));
        let groups: std::collections::BTreeSet<_> = (0..40u8)
            .flat_map(|number| [first, second].map(|card| (card, Ipv4Addr::new(225, 1, 1, number))))
            .collect();
        let shown = || ip(&["maddress", "show"]).matches("225.1.1.").count();
        let mut memberships = Memberships::default();
        memberships.set(&groups).unwrap();
        assert_eq!(shown(), 80);
        memberships.set(&[(first, Ipv4Addr::new(225, 1, 1, 7))].into()).unwrap();
        assert_eq!(shown(), 1);
        ip(&["link", "delete", "dev", "eth0"]);
        assert!(memberships.set(&[(first, Ipv4Addr::new(225, 1, 1, 8))].into()).is_err());
        memberships
            .set(&[(second, Ipv4Addr::new(225, 1, 1, 9))].into())
            .unwrap();
        drop(memberships);
        assert_eq!(shown(), 0);
    });
}
