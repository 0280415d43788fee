//! Genuine datagrams that somebody on the way takes and sends from elsewhere move nothing: not a path, not a registration.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use super::lab::{Lab, Passing, Place, frame, link};
use crate::{NetworkHandle, Role, direct::CHALLENGE};

const ELSEWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(198, 51, 100, 7)), 7777);

/// A supernode and two nodes that speak to each other, straight where that is allowed.
fn speaking(straight: bool) -> (Lab, Place, [Place; 2], [NetworkHandle; 2]) {
    let mut lab = Lab::new();
    let supernode = lab.add(Role::Supernode);
    let nodes = [(); 2].map(|()| lab.add(Role::Node));
    for (place, last) in [supernode, nodes[0], nodes[1]].into_iter().zip(1..) {
        lab.hosts[place].address = SocketAddr::from(([203, 0, 113, last], 9600));
    }
    for node in nodes {
        lab.set_world(node, 1, &[supernode]);
    }
    lab.open = straight;
    let networks = nodes.map(|node| lab.join(node, &link(1)));
    lab.run_seconds(4);
    speak(&mut lab, (nodes, networks), 100, |_, _| ());
    (lab, supernode, nodes, networks)
}

/// Both send a frame of 100 bytes and more every 10 ms, and `meddle` sees what is under way.
fn speak(
    lab: &mut Lab,
    (nodes, networks): ([Place; 2], [NetworkHandle; 2]),
    times: usize,
    mut meddle: impl FnMut(&mut Lab, usize),
) {
    let macs = [0, 1].map(|at| lab.mac(nodes[at], networks[at]));
    for time in 0..times {
        for from in 0..2 {
            let frame = [frame(macs[1 - from], macs[from], 1), vec![7; 100]].concat();
            lab.send(nodes[from], networks[from], &frame);
        }
        meddle(lab, time);
        lab.run(Duration::from_millis(10));
    }
}

/// Takes the datagrams with sealed content that are under way from one address to another.
fn taken(lab: &mut Lab, from: SocketAddr, to: SocketAddr) -> Vec<Vec<u8>> {
    let sealed = |passing: &Passing| passing.from == from && passing.to == to && passing.bytes[0] == 3;
    let (taken, kept): (Vec<_>, Vec<_>) = lab.passing.drain(..).partition(sealed);
    lab.passing.extend(kept);
    taken.into_iter().map(|passing| passing.bytes).collect()
}

#[test]
fn no_data_goes_to_where_genuine_datagrams_are_sent_from() {
    let (mut lab, _, nodes, networks) = speaking(true);
    let [from, to] = nodes.map(|node| lab.hosts[node].address);
    let (target, speaker) = (nodes[1], lab.key(nodes[0]));
    // Copies of what arrives, and four times instead of what would arrive.
    for (instead, episodes, times, least) in [(false, 1, 10_000, 10_000), (true, 4, 1000, 300)] {
        lab.log = Some(Vec::new());
        let (mut spoofed, mut bytes) = (0, 0);
        for _ in 0..episodes {
            speak(&mut lab, (nodes, networks), times, |lab, _| {
                // After an episode it may be a fresh socket's.
                let active = lab.peer(target, &speaker).direct.active();
                let from = active.map_or(from, |leg| leg.endpoint);
                for datagram in taken(lab, from, to) {
                    if !instead {
                        lab.deliver(target, from, &datagram);
                    }
                    lab.deliver(target, ELSEWHERE, &datagram);
                    spoofed += 1;
                    bytes += datagram.len();
                }
            });
            // The path is left when nothing comes from where the peer is, which takes a second, and taken up again.
            speak(&mut lab, (nodes, networks), 1000, |_, _| ());
        }
        assert!(spoofed >= least, "{spoofed}");
        let sent = lab.log.take().unwrap();
        let elsewhere: Vec<usize> = sent
            .iter()
            .filter(|sent| sent.to == ELSEWHERE)
            .map(|sent| sent.bytes.len())
            .collect();
        assert!(elsewhere.iter().all(|bytes| *bytes == CHALLENGE), "challenges alone");
        assert!(elsewhere.iter().sum::<usize>() <= bytes && elsewhere.len() <= spoofed);
        assert_eq!(
            elsewhere.is_empty(),
            !instead,
            "copies are replays, and only what is new is challenged"
        );
    }
}

#[test]
fn a_registration_does_not_move_to_where_its_datagrams_are_sent_from() {
    let (mut lab, supernode, nodes, networks) = speaking(false);
    let [from, to] = [nodes[1], supernode].map(|place| lab.hosts[place].address);
    let key = lab.key(supernode);
    for instead in [false, true] {
        lab.log = Some(Vec::new());
        let (mut spoofed, mut bytes) = (0, 0);
        speak(&mut lab, (nodes, networks), 10_000, |lab, time| {
            // What the node tells the supernode, and what it relays, which shows nothing at all.
            if time % 2 == 0 {
                let token = time as u64;
                lab.tell(nodes[1], &key, crate::wire::control::Control::Ping { token });
            }
            for datagram in taken(lab, from, to) {
                if !instead {
                    lab.deliver(supernode, from, &datagram);
                }
                lab.deliver(supernode, ELSEWHERE, &datagram);
                spoofed += 1;
                bytes += datagram.len();
            }
            // Handshakes are answered to where they come from, by no more than came.
            let relayed: Vec<Vec<u8>> = {
                let passing = lab
                    .passing
                    .iter()
                    .filter(|passing| passing.from == from && passing.to == to && passing.bytes[0] > 2);
                passing.map(|passing| passing.bytes.clone()).collect()
            };
            for datagram in relayed {
                lab.deliver(supernode, ELSEWHERE, &datagram);
                spoofed += 1;
                bytes += datagram.len();
            }
        });
        // A supernode that answers nothing is left again and again, however much others relay over it.
        let least = if instead { 5_000 } else { 10_000 };
        assert!(spoofed >= least, "{spoofed}");
        let sent = lab.log.take().unwrap();
        let elsewhere: Vec<usize> = sent
            .iter()
            .filter(|sent| sent.to == ELSEWHERE)
            .map(|sent| sent.bytes.len())
            .collect();
        assert!(
            elsewhere.iter().all(|bytes| *bytes <= CHALLENGE),
            "challenges and hints alone"
        );
        assert!(elsewhere.iter().sum::<usize>() <= bytes && elsewhere.len() <= spoofed);
        let relayed = sent
            .iter()
            .filter(|sent| sent.to == ELSEWHERE && sent.bytes[0] == 4)
            .count();
        assert_eq!(relayed, 0, "what is relayed to the node goes where it is");
        let id = lab.peer_id(supernode, &lab.key(nodes[1]));
        let path = lab.hosts[supernode].engine.peers.get(id).unwrap().path;
        assert_eq!(path, Some(crate::peers::Path::Direct(from.into())));
    }
}

#[test]
fn a_node_that_moved_is_followed_once_it_answered_from_there() {
    let (mut lab, supernode, nodes, networks) = speaking(true);
    lab.hosts[nodes[0]].address = SocketAddr::from(([203, 0, 113, 200], 4000));
    let before = lab.hosts[nodes[0]].frames.len();
    speak(&mut lab, (nodes, networks), 500, |_, _| ());
    let id = lab.peer_id(supernode, &lab.key(nodes[0]));
    let path = lab.hosts[supernode].engine.peers.get(id).unwrap().path;
    assert_eq!(
        path,
        Some(crate::peers::Path::Direct(lab.hosts[nodes[0]].address.into()))
    );
    let active = lab.peer(nodes[1], &lab.key(nodes[0])).direct.active();
    assert_eq!(active, Some(lab.hosts[nodes[0]].address.into()));
    let received = lab.hosts[nodes[0]].frames.len() - before;
    assert!(received >= 250, "{received} of 500 frames while it moved");
}
