//! A network of friends is Ethernet: foreign MACs, frames for nobody, and addresses set by hand.

use std::{
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use farlan_netconf::Mac;

use super::lab::{Lab, Place, cut, frame, intact, link, name};
use crate::{Event, NetworkHandle, Role, neighbours::announcement};

/// A host behind somebody's bridge: a MAC that no node can have.
const HOST: Mac = Mac::from_bytes([0, 0x16, 0x3e, 0, 0, 1]);

/// Another one.
const OTHER: Mac = Mac::from_bytes([0, 0x16, 0x3e, 0, 0, 2]);

/// A virtual machine: a MAC that a node could have.
const MACHINE: Mac = Mac::from_bytes([0x52, 0x54, 0, 0, 0, 1]);

const X: Ipv4Addr = Ipv4Addr::new(192, 168, 7, 1);

/// Three members with sessions between all of them.
struct Three {
    lab: Lab,
    supernode: Place,
    /// Each with its handle of the network.
    members: [(Place, NetworkHandle); 3],
    marks: u8,
}

impl Three {
    fn new() -> Self {
        Self::in_network(&link(1))
    }

    fn in_network(parameters: &farlan_netconf::Parameters) -> Self {
        let mut lab = Lab::new();
        let supernode = lab.add(Role::Supernode);
        let places = [(); 3].map(|()| lab.add(Role::Node));
        let members = places.map(|place| {
            lab.set_world(place, 1, &[supernode]);
            (place, lab.join(place, parameters))
        });
        lab.run_seconds(3);
        let mut three = Self {
            lab,
            supernode,
            members,
            marks: 0,
        };
        for from in 0..3 {
            let greeting = three.frame(Mac::BROADCAST, three.mac(from));
            three.send(from, &greeting);
        }
        three.lab.run_seconds(1);
        three
    }

    fn mac(&self, member: usize) -> Mac {
        let (place, network) = self.members[member];
        self.lab.mac(place, network)
    }

    /// A frame that was not sent before.
    fn frame(&mut self, to: Mac, from: Mac) -> Vec<u8> {
        self.marks += 1;
        frame(to, from, self.marks)
    }

    fn send(&mut self, member: usize, frame: &[u8]) {
        let (place, network) = self.members[member];
        self.lab.send(place, network, frame);
    }

    /// How often the cards were given a frame.
    fn counts(&self, frame: &[u8]) -> [usize; 3] {
        self.members
            .map(|(place, network)| self.lab.received(place, network, frame))
    }

    /// Sends a fresh frame, and tells whose cards got it how often within 3 s.
    fn reached(&mut self, member: usize, to: Mac, from: Mac) -> [usize; 3] {
        let frame = self.frame(to, from);
        self.send(member, &frame);
        self.lab.run_seconds(3);
        self.counts(&frame)
    }

    fn set(&mut self, member: usize, addresses: &[IpAddr]) {
        let (place, network) = self.members[member];
        let now = self.lab.now;
        self.lab.hosts[place].engine.set_addresses(now, network, addresses);
        self.lab.run(Duration::from_millis(200));
    }

    /// Who the own engine of a member says to have `target`, asked by ARP from address `asker` (none: a probe).
    fn answer(&mut self, member: usize, asker: Option<Ipv4Addr>, target: Ipv4Addr) -> Option<Mac> {
        let (place, network) = self.members[member];
        let asker = asker.unwrap_or(Ipv4Addr::UNSPECIFIED);
        let question = arp(1, self.mac(member), asker, target);
        self.lab.hosts[place].frames.clear();
        self.send(member, &question);
        let frames = self.lab.hosts[place].frames.iter();
        let mut answers =
            frames.filter(|(at, frame)| *at == network && frame[12..22] == [8, 6, 0, 1, 8, 0, 6, 4, 0, 2]);
        answers
            .next()
            .map(|(_, frame)| Mac::from_bytes(frame[22..28].try_into().unwrap()))
    }

    fn counters(&self, member: usize) -> crate::Counters {
        self.lab.hosts[self.members[member].0].engine.counters()
    }
}

/// An ARP message to everybody.
fn arp(operation: u8, from: Mac, sender: Ipv4Addr, target: Ipv4Addr) -> Vec<u8> {
    [
        Mac::BROADCAST.as_bytes(),
        &from.as_bytes()[..],
        &[8, 6, 0, 1, 8, 0, 6, 4, 0, operation],
        from.as_bytes(),
        &sender.octets(),
        &[0; 6],
        &target.octets(),
    ]
    .concat()
}

#[test]
fn frames_for_a_host_behind_a_member_go_to_that_member() {
    for host in [HOST, MACHINE] {
        let mut three = Three::new();
        assert_eq!(three.reached(0, Mac::BROADCAST, host), [0, 1, 1], "it speaks");
        assert_eq!(three.reached(1, host, three.mac(1)), [1, 0, 0]);
        assert_eq!(three.reached(2, host, OTHER), [1, 0, 0], "from a host to a host");
        assert_eq!(three.reached(0, OTHER, host), [0, 0, 1], "and back");
    }
}

#[test]
fn a_host_that_moves_is_followed() {
    let mut three = Three::new();
    three.reached(0, Mac::BROADCAST, HOST);
    three.reached(2, Mac::BROADCAST, HOST);
    assert_eq!(three.reached(1, HOST, three.mac(1)), [0, 0, 1]);
    // To the own machine, of all places.
    let (to, from) = (three.mac(0), HOST);
    assert_eq!(three.reached(1, to, from), [1, 0, 0]);
    let (place, network) = three.members[1];
    let learned = &mut three.lab.hosts[place].engine.networks.get_mut(network).unwrap().learned;
    assert_eq!(learned.towards(three.lab.now, HOST), None);
    assert_eq!(three.reached(0, HOST, three.mac(0)), [0, 1, 0]);
}

#[test]
fn a_host_that_moves_without_a_word_is_found_within_a_second() {
    let mut three = Three::new();
    three.reached(0, Mac::BROADCAST, HOST);
    let mut found = None;
    for tenth in 0..20 {
        let call = three.frame(HOST, three.mac(1));
        three.send(1, &call);
        three.lab.run(Duration::from_millis(100));
        if three.counts(&call)[2] > 0 {
            found.get_or_insert(tenth);
        } else {
            assert_eq!(three.counts(&call), [1, 0, 0]);
        }
    }
    assert_eq!(found, Some(10));
    assert_eq!(three.counters(1).flooded, 1);
}

#[test]
fn a_frame_for_a_mac_that_nobody_is_known_to_have_goes_to_all() {
    let mut three = Three::new();
    for mac in [HOST, MACHINE] {
        assert_eq!(three.reached(0, mac, three.mac(0)), [0, 1, 1]);
    }
    assert_eq!(three.counters(0).flooded, 2);
}

#[test]
fn an_incomplete_list_is_no_reason_to_ask_everybody_before_the_directory() {
    let mut three = Three::new();
    let (place, network) = three.members[0];
    for listing in three.lab.hosts[place]
        .engine
        .networks
        .get_mut(network)
        .unwrap()
        .listings
        .values_mut()
    {
        listing.count += 1;
    }
    let call = three.frame(MACHINE, three.mac(0));
    three.send(0, &call);
    three.lab.run(Duration::from_millis(35));
    assert_eq!(three.counters(0).flooded, 0, "the supernode has not answered yet");
    three.lab.run_seconds(3);
    assert_eq!(three.counts(&call), [0, 1, 1]);
    // What it said counts for a second.
    assert_eq!(three.counters(0).flooded, 1);
    let (first, second) = (three.frame(MACHINE, three.mac(0)), three.frame(MACHINE, three.mac(0)));
    three.send(0, &first);
    three.lab.run(Duration::from_millis(500));
    three.send(0, &second);
    assert_eq!(three.counters(0).flooded, 3);
}

#[test]
fn where_no_supernode_can_be_asked_everybody_is() {
    let mut three = Three::new();
    let (place, network) = three.members[0];
    let network = three.lab.hosts[place].engine.networks.get_mut(network).unwrap();
    for listing in network.listings.values_mut() {
        listing.count += 1;
    }
    three.lab.wire = cut(three.supernode, place);
    three.lab.run_seconds(40);
    let call = three.frame(MACHINE, three.mac(0));
    three.send(0, &call);
    assert_eq!(three.counters(0).flooded, 1);
}

#[test]
fn of_the_frames_that_wait_for_the_directory_the_latest_32_are_kept() {
    let mut three = Three::new();
    let (place, network) = three.members[0];
    let network = three.lab.hosts[place].engine.networks.get_mut(network).unwrap();
    for listing in network.listings.values_mut() {
        listing.count += 1;
    }
    let calls: Vec<_> = (0..40).map(|_| three.frame(MACHINE, three.mac(0))).collect();
    for call in &calls {
        three.send(0, call);
    }
    three.lab.run_seconds(2);
    let reached: Vec<_> = calls.iter().map(|call| three.counts(call)).collect();
    assert_eq!(reached, [[[0, 0, 0]; 8].as_slice(), &[[0, 1, 1]; 32]].concat());
}

#[test]
fn a_big_network_is_not_flooded() {
    let mut three = Three::new();
    three.reached(1, Mac::BROADCAST, HOST);
    let (place, network) = three.members[0];
    for listing in three.lab.hosts[place]
        .engine
        .networks
        .get_mut(network)
        .unwrap()
        .listings
        .values_mut()
    {
        listing.count = 129;
    }
    assert_eq!(three.reached(0, OTHER, three.mac(0)), [0, 0, 0]);
    assert_eq!(three.reached(0, MACHINE, three.mac(0)), [0, 0, 0]);
    for _ in 0..3 {
        assert_eq!(
            three.reached(0, HOST, three.mac(0)),
            [0, 1, 0],
            "a learned one is reached, silent or not"
        );
    }
    assert_eq!(three.counters(0).flooded, 0);
}

#[test]
fn what_a_member_told_before_it_left_a_network_is_forgotten() {
    let mut three = Three::new();
    let (place, network) = three.members[0];
    // Both stay in touch through another network.
    for (member, _) in three.members {
        three.lab.join(member, &link(2));
    }
    three.set(0, &[X.into()]);
    three.lab.run_seconds(2);
    assert_eq!(three.answer(1, None, X), Some(three.mac(0)));
    three.lab.leave(place, network);
    three.lab.run_seconds(2);
    three.members[0] = (place, three.lab.join(place, &link(1)));
    three.lab.run_seconds(5);
    assert_eq!(three.reached(0, three.mac(1), three.mac(0)), [0, 1, 0]);
    assert_eq!(three.answer(1, None, X), None);
    three.set(0, &[X.into()]);
    assert_eq!(three.answer(1, None, X), Some(three.mac(0)));
}

#[test]
fn what_is_for_somebody_who_left_is_not_shown_to_others() {
    let mut three = Three::new();
    let gone = three.mac(2);
    let (place, network) = three.members[2];
    three.lab.leave(place, network);
    three.lab.run_seconds(2);
    assert_eq!(three.reached(0, gone, three.mac(0)), [0, 0, 0]);
    assert_eq!(three.counters(0).flooded, 0);
}

#[test]
fn strangers_have_no_foreign_macs_and_no_hand_set_addresses() {
    let mut three = Three::in_network(&name());
    assert_eq!(three.reached(0, Mac::BROADCAST, HOST), [0, 0, 0]);
    assert_eq!(three.reached(0, HOST, three.mac(0)), [0, 0, 0]);
    assert_eq!(three.counters(0).flooded, 0);
    three.set(0, &[X.into()]);
    assert_eq!(three.answer(1, None, X), None);
    // A member that sends such a frame nevertheless.
    let (place, _) = three.members[1];
    let key = three.lab.key(place);
    let (from, network) = three.members[0];
    let id = three.lab.peer_id(from, &key);
    let call = three.frame(HOST, three.mac(0));
    let (now, mut out) = (three.lab.now, crate::Outbox::default());
    let engine = &mut three.lab.hosts[from].engine;
    engine.send_frame(now, id, network, &call, false, &mut out);
    engine.seal_pending(&mut out);
    three.lab.take(from, &mut out);
    three.lab.run_seconds(1);
    assert_eq!(three.counts(&call), [0, 0, 0]);
    assert_eq!(three.counters(1).foreign_destination, 1);
}

#[test]
fn nobody_takes_a_members_own_mac() {
    let mut three = Three::new();
    let taken = three.mac(0);
    assert_eq!(three.reached(2, Mac::BROADCAST, taken), [0, 0, 0]);
    assert_eq!(three.reached(1, taken, three.mac(1)), [1, 0, 0]);
    assert_eq!(three.counters(1).foreign_source_mac, 1);
    // Nor that of a member that no list names.
    for (place, network) in three.members {
        let network = three.lab.hosts[place].engine.networks.get_mut(network).unwrap();
        network.listings.clear();
    }
    assert_eq!(three.reached(2, Mac::BROADCAST, taken), [0, 0, 0]);
    assert_eq!(three.counters(1).foreign_source_mac, 2);
}

#[test]
fn flooding_has_a_limit() {
    let mut three = Three::new();
    let call = three.frame(HOST, three.mac(0));
    for _ in 0..2500 {
        three.send(0, &call);
    }
    let counters = three.counters(0);
    assert!(counters.group_rate_limited >= 400, "{counters:?}");
}

#[test]
fn a_hand_set_address_is_answered_for_until_it_is_gone() {
    let mut three = Three::new();
    let own = three.lab.status(three.members[1].0, three.members[1].1).ipv4;
    let inside = Ipv4Addr::new(10, 128, 16, 77);
    three.set(0, &[X.into(), inside.into(), "fd77::1".parse().unwrap()]);
    for member in [1, 2] {
        for address in [X, inside] {
            assert_eq!(three.answer(member, own, address), Some(three.mac(0)));
            assert_eq!(
                three.answer(member, None, address),
                Some(three.mac(0)),
                "a check for duplicates"
            );
        }
    }
    three.set(0, &[]);
    let asked = three.counters(1).group_copies_sent;
    assert_eq!(three.answer(1, own, X), None);
    assert_eq!(three.counters(1).group_copies_sent, asked + 2, "all are asked");
}

#[test]
fn hand_set_addresses_are_told_over_a_wire_that_loses_half() {
    let mut three = Three::new();
    let mut random = 1_u32;
    three.lab.wire = Box::new(move |_, _, _| {
        // The constants of Numerical Recipes §7.1.
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        random < 1 << 31
    });
    three.set(0, &[X.into()]);
    three.lab.run_seconds(10);
    three.lab.wire = intact();
    assert_eq!(three.answer(1, None, X), Some(three.mac(0)));
    assert_eq!(three.answer(2, None, X), Some(three.mac(0)));
}

#[test]
fn an_address_set_before_the_network_is_shared_is_told_with_it() {
    let mut three = Three::new();
    let parameters = link(2);
    let (a, b) = (three.members[0].0, three.members[1].0);
    let b2 = three.lab.join(b, &parameters);
    three.lab.run_seconds(2);
    let a2 = three.lab.join(a, &parameters);
    three.members = [(a, a2), (b, b2), (b, b2)];
    three.set(0, &[X.into()]);
    three.lab.run_seconds(3);
    assert_eq!(three.answer(1, None, X), Some(three.mac(0)));
}

#[test]
fn an_address_that_overtakes_its_network_is_told_again() {
    let mut three = Three::new();
    let parameters = link(2);
    let (a, b) = (three.members[0].0, three.members[1].0);
    let b2 = three.lab.join(b, &parameters);
    three.lab.run_seconds(2);
    let a2 = three.lab.join(a, &parameters);
    three.members = [(a, a2), (b, b2), (b, b2)];
    // The list of networks, which is the first to go to each, is lost, and repeated after 0.7 s.
    let mut destinations = std::collections::BTreeSet::new();
    three.lab.wire = Box::new(move |from, _, datagram| {
        let is_relayed = from == a && datagram[0] == 4;
        !is_relayed || !destinations.insert(datagram[4..8].to_vec())
    });
    let now = three.lab.now;
    three.lab.hosts[a].engine.set_addresses(now, a2, &[X.into()]);
    three.lab.run_seconds(5);
    assert_eq!(three.answer(1, None, X), Some(three.mac(0)));
}

#[test]
fn a_member_that_restarts_without_an_address_has_it_no_more() {
    let mut three = Three::new();
    three.set(0, &[X.into()]);
    let (place, _) = three.members[0];
    three.lab.restart(place);
    three.lab.set_world(place, 1, &[three.supernode]);
    let network = three.lab.join(place, &link(1));
    three.members[0] = (place, network);
    three.lab.run_seconds(3);
    let greeting = three.frame(Mac::BROADCAST, three.mac(0));
    three.send(0, &greeting);
    three.lab.run_seconds(2);
    assert_eq!(three.answer(1, None, X), None);
}

#[test]
fn of_two_who_set_one_address_the_first_has_it_and_the_second_sees_it() {
    let mut three = Three::new();
    three.set(0, &[X.into()]);
    // Before it is set, and after.
    assert_eq!(three.answer(1, None, X), Some(three.mac(0)));
    three.set(1, &[X.into()]);
    assert_eq!(three.answer(1, None, X), Some(three.mac(0)));
    assert_eq!(three.answer(1, Some(X), X), Some(three.mac(0)), "an announcement");
    assert_eq!(
        three.answer(0, None, X),
        Some(three.mac(1)),
        "the first sees the second"
    );
    assert_eq!(three.answer(0, Some(X), X), None, "and announces it for all that");
    assert_eq!(three.answer(2, None, X), Some(three.mac(0)));
    // Both are told once.
    for (member, other) in [(0, 1), (1, 0)] {
        let node = three.lab.key(three.members[other].0).node_id();
        let (place, network) = three.members[member];
        let events = three.lab.hosts[place].events.iter();
        let conflicts: Vec<_> = events
            .filter(|event| matches!(event, Event::AddressConflict { .. }))
            .cloned()
            .collect();
        let address = X.into();
        assert_eq!(conflicts, [Event::AddressConflict { network, address, node }]);
    }
    // Whatever the second says.
    for operation in [1, 2] {
        let claim = arp(operation, three.mac(1), X, Ipv4Addr::new(192, 168, 7, 9));
        let (place, network) = three.members[1];
        let mut out = crate::Outbox::default();
        let now = three.lab.now;
        let engine = &mut three.lab.hosts[place].engine;
        engine.send_group(now, network, &claim, &mut out);
        engine.seal_pending(&mut out);
        three.lab.take(place, &mut out);
        three.lab.run_seconds(1);
        assert_eq!(
            three.counts(&claim),
            [1, 0, 0],
            "the holder's kernel is to see the duplicate"
        );
    }
    assert_eq!(three.counters(2).foreign_neighbour, 2);
}

#[test]
fn nobody_speaks_for_an_address_of_the_directory_or_of_arithmetic() {
    let mut three = Three::new();
    let status = three.lab.status(three.members[0].0, three.members[0].1);
    let (v4, v6) = (status.ipv4.unwrap(), status.ipv6);
    let second = three.mac(1);
    for claim in [
        arp(2, second, v4, v4),
        announcement(v6.into(), second),
        announcement(status.link_local.into(), second),
    ] {
        three.send(1, &claim);
        three.lab.run_seconds(1);
        assert_eq!(three.counts(&claim)[2], 0);
    }
    // Telling it helps as little.
    three.set(1, &[v4.into(), v6.into()]);
    assert_eq!(three.answer(2, None, v4), Some(three.mac(0)));
}

#[test]
fn an_address_given_up_passes_to_the_next_and_the_kernel_is_told() {
    let mut three = Three::new();
    three.set(0, &[X.into()]);
    three.set(1, &[X.into()]);
    let told = announcement(X.into(), three.mac(1));
    assert_eq!(three.counts(&told)[2], 0);
    three.set(0, &[]);
    assert_eq!(three.counts(&told)[2], 1);
    assert_eq!(three.answer(2, None, X), Some(three.mac(1)));
    three.set(1, &[]);
    three.set(0, &["fd77::1".parse().unwrap()]);
    let told = announcement("fd77::1".parse().unwrap(), three.mac(0));
    assert_eq!(three.counts(&told), [0, 1, 1]);
}

#[test]
fn a_holder_that_fell_silent_loses_a_contested_address() {
    let mut three = Three::new();
    three.set(0, &[X.into()]);
    three.lab.run_seconds(5);
    three.lab.wire = cut(three.supernode, three.members[0].0);
    three.set(1, &[X.into()]);
    assert_eq!(
        three.answer(2, None, X),
        Some(three.mac(0)),
        "it has been asked and has time"
    );
    three.lab.run(Duration::from_millis(1400));
    let told = announcement(X.into(), three.mac(1));
    assert_eq!(three.counts(&told)[2], 1, "the kernel is told of the next");
    assert_eq!(three.answer(2, None, X), Some(three.mac(1)));
    // One that is there keeps it, however often it is contested.
    three.lab.wire = intact();
    let mut three = Three::new();
    three.set(0, &[X.into()]);
    three.lab.run_seconds(5);
    three.set(1, &[X.into()]);
    for _ in 0..10 {
        assert_eq!(three.answer(2, None, X), Some(three.mac(0)));
        three.lab.run(Duration::from_millis(700));
    }
}
