//! The listener against the kernel: it hears what games send by other cards, and nothing else.

use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsFd;
use std::thread;
use std::time::{Duration, Instant};

use farlan_tap::{
    Keep, LanListener, Memberships, Report, Told, Watch, give_up_capabilities, pair, serve_listener, underlay_cards,
};

use crate::support::{in_namespace, index_of, ip, tell_losses};

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
    loop {
        return match listener.receive(&mut room).expect("it is there") {
            Told::Nothing => None,
            Told::Report(Report::Left { card, frame }) => Some((card, i32::from(*frame.last().unwrap_or(&0)))),
            Told::Report(Report::Refused { card, errno }) => Some((card, -errno)),
            Told::Report(Report::Dropped { .. }) => continue,
        };
    }
}

/// The next report but those of what was said so that it listens.
fn next(listener: &LanListener) -> (u32, i32) {
    let end = Instant::now() + SOON;
    loop {
        match heard(listener) {
            Some((_, 0)) => {}
            Some(told) => return told,
            None => thread::sleep(Duration::from_millis(2)),
        }
        assert!(Instant::now() < end, "nothing is heard");
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

/// Says a byte to an address from a card's own, and sees to it that it leaves.
fn say(from: [u8; 4], to: [u8; 4], port: u16, byte: u8) {
    let socket = UdpSocket::bind((Ipv4Addr::from(from), 0)).expect("a socket");
    socket.set_broadcast(true).expect("broadcasts");
    tell_losses(&socket);
    let end = Instant::now() + SOON;
    while let Err(error) = socket.send_to(&[byte], (Ipv4Addr::from(to), port)) {
        // The kernel is short of neighbours, which all namespaces share, or of room.
        let is_short = matches!(error.raw_os_error(), Some(libc::ENOBUFS | libc::EAGAIN));
        assert!(is_short && Instant::now() < end, "it is not sent: {error}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Says to the port of [`SETTLE`] until the listener listens: before it does, what is sent is not heard.
fn settle(listener: &LanListener, from: [u8; 4]) {
    let end = Instant::now() + SOON;
    while heard(listener).is_none() {
        assert!(Instant::now() < end, "it does not listen");
        say(from, [255; 4], SETTLE, 0);
        thread::sleep(Duration::from_millis(5));
    }
}

/// A port of its own, as each port is limited.
const SETTLE: u16 = 7777;

const FIRST: [u8; 4] = [192, 0, 2, 1];
const SECOND: [u8; 4] = [198, 51, 100, 1];

#[test]
fn searches_that_leave_a_watched_card_are_heard_once_and_nothing_else_is() {
    in_namespace(|| {
        let (first, second) = cables();
        let listener = listener(Keep::Listening);
        listener.watch(&Watch::new([first], [6112, 4445, SETTLE])).unwrap();
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
            say(FIRST, to, port, byte);
            assert_eq!(next(&listener), (first, byte.into()));
        }

        // Another card, and another port.
        listener.watch(&Watch::new([second], [6113, SETTLE])).unwrap();
        settle(&listener, SECOND);
        say(FIRST, [255; 4], 6113, 8);
        say(SECOND, [255; 4], 6112, 9);
        say(SECOND, [255; 4], 6113, 10);
        assert_eq!(next(&listener), (second, 10));
    });
}

#[test]
fn a_flood_is_cut_and_deafens_no_other_port_nor_card() {
    in_namespace(|| {
        let (first, second) = cables();
        let listener = listener(Keep::Listening);
        listener
            .watch(&Watch::new([first, second], [6112, 6113, SETTLE]))
            .unwrap();
        settle(&listener, FIRST);
        settle(&listener, SECOND);
        let begun = Instant::now();
        let mut count = 0;
        let mut others = Vec::new();
        let mut count_all = || {
            while let Some((card, byte)) = heard(&listener) {
                match byte {
                    0 => {}
                    1 => count += 1,
                    _ => others.push((card, byte)),
                }
            }
            (count, others.clone())
        };
        for _ in 0..20 {
            for _ in 0..200 {
                say(FIRST, [255; 4], 6112, 1);
            }
            count_all();
        }
        say(SECOND, [255; 4], 6112, 2);
        say(FIRST, [255; 4], 6113, 3);
        let end = Instant::now() + SOON;
        let (count, others) = loop {
            let (count, mut others) = count_all();
            // On one card what comes later can be lost in the kernel's full buffer.
            if others.contains(&(second, 2)) && others.contains(&(first, 3)) {
                others.sort_unstable();
                break (count, others);
            }
            assert!(Instant::now() < end, "deafened: {others:?}");
            thread::sleep(Duration::from_millis(5));
            if !others.contains(&(first, 3)) {
                say(FIRST, [255; 4], 6113, 3);
            }
        };
        assert_eq!(others.iter().filter(|told| told.0 == second).count(), 1);
        let most = 10 * (begun.elapsed().as_secs() + 2) + 20;
        assert!((1..=most).contains(&count), "{count}, not {most}");
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
        let watch = Watch::new([first, 4711], [6112, SETTLE]);
        listener.watch(&watch).unwrap();
        assert_eq!(next(&listener), (4711, -libc::ENODEV));
        settle(&listener, FIRST);
        // It is told when it is brought down, and heard again when that is asked for.
        ip(&["link", "set", "dev", "eth0", "down"]);
        assert_eq!(next(&listener), (first, -libc::ENETDOWN));
        ip(&["link", "set", "dev", "eth0", "up"]);
        listener.watch(&watch).unwrap();
        assert_eq!(next(&listener), (4711, -libc::ENODEV));
        settle(&listener, FIRST);
        ip(&["link", "delete", "dev", "eth0"]);
        let (card, error) = next(&listener);
        assert!(card == first && error < 0, "{card} {error}");
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
