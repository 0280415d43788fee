//! Members on one link find each other, and are a network, without a supernode.

use std::{
    cell::RefCell,
    collections::BTreeSet,
    net::{Ipv4Addr, SocketAddr},
    rc::Rc,
    time::Duration,
};

use farlan_netconf::Parameters;

use crate::{
    BeaconCard, Contact, Event, Join, NetworkHandle, Outbox, PathKind, Role,
    scenarios::lab::{LINK, Lab, Place, frame, link, name, world_id},
    wire::{
        beacon::{self, Sender},
        datagram::Datagram,
    },
};

/// Nodes on links, and a supernode that can be cut off.
struct Islands {
    lab: Lab,
    nodes: Vec<Place>,
    networks: Vec<NetworkHandle>,
    parameters: Parameters,
    /// The link of each host.
    links: Rc<RefCell<Vec<u8>>>,
    /// Whether the supernode, which is host 0, is reached.
    internet: Rc<RefCell<bool>>,
}

impl Islands {
    /// Nodes on these links. They have not joined yet.
    fn new(parameters: Parameters, links: &[u8]) -> Self {
        let mut lab = Lab::new();
        let supernode = lab.add(Role::Supernode);
        let nodes: Vec<Place> = links.iter().map(|_| lab.add(Role::Node)).collect();
        for node in &nodes {
            lab.set_world(*node, 1, &[supernode]);
        }
        lab.open = true;
        let places: Vec<u8> = [0].iter().chain(links).copied().collect();
        let islands = Self {
            links: Rc::new(RefCell::new(places)),
            internet: Rc::new(RefCell::new(false)),
            networks: Vec::new(),
            lab,
            nodes,
            parameters,
        };
        let (links, internet) = (Rc::clone(&islands.links), Rc::clone(&islands.internet));
        let mut islands = islands;
        islands.lab.wire = Box::new(move |from, to, _| {
            let links = links.borrow();
            if from == 0 || to == 0 {
                *internet.borrow()
            } else {
                links[from] == links[to]
            }
        });
        islands
    }

    /// All nodes join, and find their links.
    fn joined(parameters: Parameters, links: &[u8]) -> Self {
        let mut islands = Self::new(parameters, links);
        for index in 0..links.len() {
            islands.join(index);
        }
        islands
    }

    fn join(&mut self, index: usize) {
        let (place, parameters) = (self.nodes[index], self.parameters.clone());
        let network = self.lab.join(place, &parameters);
        self.networks.push(network);
        let link = self.links.borrow()[place];
        self.lab.plug(place, link);
    }

    /// The machine starts anew, with the address that it held.
    fn restart(&mut self, index: usize) {
        let place = self.nodes[index];
        let held = self.ipv4(index);
        self.lab.restart(place);
        self.lab.set_world(place, 1, &[0]);
        let join = Join {
            parameters: self.parameters.clone(),
            world: world_id(1),
            ipv4: true,
            preferred: held,
            greet: Vec::new(),
            membership: None,
            name: None,
        };
        let now = self.lab.now;
        self.networks[index] = self.lab.hosts[place].engine.join(now, join).unwrap();
        let link = self.links.borrow()[place];
        self.lab.plug(place, link);
    }

    fn move_to(&mut self, index: usize, link: u8) {
        let place = self.nodes[index];
        self.links.borrow_mut()[place] = link;
        self.lab.hosts[place].link = Some(link);
    }

    fn ipv4(&self, index: usize) -> Option<Ipv4Addr> {
        self.lab.status(self.nodes[index], self.networks[index]).ipv4
    }

    /// With whom a node speaks straight.
    fn direct(&self, index: usize) -> usize {
        let peers = self.lab.hosts[self.nodes[index]].engine.peers(self.lab.now);
        peers.iter().filter(|peer| peer.path == Some(PathKind::Direct)).count()
    }

    /// Sends a frame from one to another, and says whether it arrives within a second.
    fn reaches(&mut self, from: usize, to: usize) -> bool {
        let macs = [from, to].map(|index| self.lab.mac(self.nodes[index], self.networks[index]));
        let now = self.lab.now.as_nanos().to_be_bytes();
        let bytes = [&frame(macs[1], macs[0], 1)[..], &now].concat();
        self.lab.send(self.nodes[from], self.networks[from], &bytes);
        self.lab.run_seconds(1);
        self.lab.received(self.nodes[to], self.networks[to], &bytes) == 1
    }

    /// What the card of a node gets when its machine asks who has an address.
    fn arp(&mut self, from: usize, address: Ipv4Addr) -> usize {
        let place = self.nodes[from];
        let own = self.lab.mac(place, self.networks[from]);
        let sender = self.ipv4(from).unwrap();
        let request = [
            &[0xff; 6][..],
            own.as_bytes(),
            &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1],
            own.as_bytes(),
            &sender.octets(),
            &[0; 6],
            &address.octets(),
        ]
        .concat();
        let before = self.lab.hosts[place].frames.len();
        self.lab.send(place, self.networks[from], &request);
        self.lab.run_seconds(1);
        let answers = self.lab.hosts[place].frames[before..].iter();
        answers
            .filter(|(_, frame)| {
                frame[12..14] == [8, 6] && frame[20..22] == [0, 2] && frame[28..32] == address.octets()
            })
            .count()
    }
}

#[test]
fn members_on_one_switch_meet_and_hold_addresses_without_any_supernode() {
    let mut islands = Islands::joined(link(1), &[1, 1, 1]);
    islands.lab.run_seconds(5);
    let addresses: BTreeSet<Ipv4Addr> = (0..3).filter_map(|index| islands.ipv4(index)).collect();
    assert_eq!(addresses.len(), 3);
    for (from, to) in [(0, 1), (1, 2), (2, 0)] {
        assert_eq!(islands.direct(from), 2);
        assert!(islands.reaches(from, to));
        let address = islands.ipv4(to).unwrap();
        assert_eq!(islands.arp(from, address), 1);
        let status = islands.lab.status(islands.nodes[from], islands.networks[from]);
        assert_eq!((status.members, status.ipv4_pending), (3, false));
    }
    let cry = [&[0xff; 6][..], &[2, 0, 0, 0, 0, 9], &[0x88, 0xb5], &[1; 60]].concat();
    islands.lab.send(islands.nodes[0], islands.networks[0], &cry);
    islands.lab.run_seconds(1);
    for index in 1..3 {
        assert_eq!(
            islands
                .lab
                .received(islands.nodes[index], islands.networks[index], &cry),
            1
        );
    }
}

#[test]
fn strangers_on_one_switch_meet_and_resolve_addresses_too() {
    let mut islands = Islands::joined(name(), &[1, 1]);
    islands.lab.run_seconds(5);
    assert_eq!((islands.direct(0), islands.direct(1)), (1, 1));
    let address = islands.ipv4(1).unwrap();
    assert_eq!(islands.arp(0, address), 1);
}

#[test]
fn nodes_that_restarted_keep_their_addresses_and_meet_within_five_seconds() {
    let mut islands = Islands::joined(link(1), &[1, 1]);
    *islands.internet.borrow_mut() = true;
    islands.lab.run_seconds(5);
    let before = [islands.ipv4(0).unwrap(), islands.ipv4(1).unwrap()];
    *islands.internet.borrow_mut() = false;
    for index in 0..2 {
        islands.restart(index);
    }
    islands.lab.run_seconds(4);
    assert_eq!([islands.ipv4(0), islands.ipv4(1)], before.map(Some));
    assert_eq!(islands.arp(0, before[1]), 1);
    assert!(islands.reaches(0, 1) && islands.reaches(1, 0));
    // One alone, while the other still has the session of before.
    islands.restart(1);
    islands.lab.run_seconds(4);
    assert!(islands.reaches(0, 1) && islands.reaches(1, 0));
}

#[test]
fn an_address_of_before_is_held_with_nobody_there() {
    let mut islands = Islands::joined(link(1), &[1]);
    islands.lab.run_seconds(10);
    assert_eq!(islands.ipv4(0), None, "nobody is there who could say that it is taken");
    *islands.internet.borrow_mut() = true;
    islands.lab.run_seconds(60);
    let held = islands.ipv4(0);
    assert!(held.is_some());
    *islands.internet.borrow_mut() = false;
    islands.restart(0);
    islands.lab.run_seconds(2);
    assert_eq!(islands.ipv4(0), held);
}

#[test]
fn an_idle_member_is_found_after_an_hour_of_silence() {
    let mut islands = Islands::joined(link(1), &[1, 1]);
    islands.lab.run_seconds(5);
    let done = |islands: &Islands| -> u64 {
        let hosts = islands.lab.hosts.iter();
        hosts.map(|host| host.engine.counters().handshakes_done).sum()
    };
    let before = done(&islands);
    islands.lab.run_seconds(4000);
    let idle = done(&islands) - before;
    assert!(idle <= 2, "{idle} handshakes for nothing");
    let address = islands.ipv4(1).unwrap();
    assert_eq!(islands.arp(0, address), 1);
    assert!(islands.reaches(0, 1), "the first frame is not lost");
}

#[test]
fn two_islands_become_one_when_a_link_appears_between_them() {
    let mut islands = Islands::joined(link(1), &[1, 1, 2, 2]);
    islands.lab.run_seconds(60);
    for index in 0..4 {
        assert_eq!(islands.direct(index), 1);
    }
    // Nothing on the machines tells them.
    for index in 2..4 {
        islands.move_to(index, 1);
    }
    islands.lab.run_seconds(25);
    for from in 0..4 {
        assert_eq!(islands.direct(from), 3);
        let to = (from + 2) % 4;
        let address = islands.ipv4(to).unwrap();
        assert_eq!(islands.arp(from, address), 1);
    }
}

#[test]
fn of_two_islands_that_gave_out_one_address_one_member_moves() {
    // Many addresses for few members would never clash: this subnet has six hosts.
    let subnet = farlan_netconf::Subnet::new(Ipv4Addr::new(10, 129, 0, 0), 29).unwrap();
    let parameters = Parameters::link([9; 16], subnet, farlan_netconf::Mtu::DEFAULT);
    let mut islands = Islands::joined(parameters, &[1, 1, 2, 2]);
    islands.lab.run_seconds(5);
    let apart: Vec<Ipv4Addr> = (0..4).map(|index| islands.ipv4(index).unwrap()).collect();
    assert!(
        apart.iter().collect::<BTreeSet<_>>().len() < 4,
        "nothing clashes: {apart:?}"
    );
    for index in 2..4 {
        islands.move_to(index, 1);
    }
    islands.lab.run_seconds(30);
    let together: BTreeSet<Ipv4Addr> = (0..4).map(|index| islands.ipv4(index).unwrap()).collect();
    assert_eq!(together.len(), 4, "before: {apart:?}");
    // A supernode has the last word, and agrees.
    *islands.internet.borrow_mut() = true;
    islands.lab.run_seconds(60);
    let granted: BTreeSet<Ipv4Addr> = (0..4).map(|index| islands.ipv4(index).unwrap()).collect();
    assert_eq!(granted, together);
    for index in 0..4 {
        let place = islands.nodes[index];
        let withdrawn = |event: &&Event| matches!(event, Event::Ipv4Withdrawn { .. });
        assert!(islands.lab.hosts[place].events.iter().filter(withdrawn).count() <= 2);
    }
}

#[test]
fn direct_peers_go_on_for_ten_minutes_after_all_supernodes_died() {
    let mut islands = Islands::joined(link(1), &[1, 1]);
    *islands.internet.borrow_mut() = true;
    islands.lab.run_seconds(10);
    *islands.internet.borrow_mut() = false;
    let (mut sent, mut arrived) = (0, 0);
    for _ in 0..600 {
        sent += 1;
        arrived += usize::from(islands.reaches(0, 1));
    }
    assert_eq!(arrived, sent);
    let place = islands.nodes[0];
    let down = |event: &&Event| matches!(event, Event::PeerDown { node } if *node == islands.lab.key(islands.nodes[1]).node_id());
    assert_eq!(islands.lab.hosts[place].events.iter().filter(down).count(), 0);
}

#[test]
fn a_contact_is_found_where_it_answered_without_beacon_or_supernode() {
    let mut islands = Islands::joined(link(1), &[1, 1]);
    islands.lab.run_seconds(5);
    let contact = |islands: &Islands, index: usize, lately| Contact {
        key: islands.lab.key(islands.nodes[index]),
        endpoints: vec![islands.lab.hosts[islands.nodes[index]].address],
        lately,
    };
    for lately in [true, false] {
        let contacts = [contact(&islands, 1, lately), contact(&islands, 0, lately)];
        for index in 0..2 {
            islands.restart(index);
            let (place, now) = (islands.nodes[index], islands.lab.now);
            let engine = &mut islands.lab.hosts[place].engine;
            engine.set_beacon_cards(now, Vec::new());
            engine.remember(now, world_id(1), &contacts[index..=index]);
        }
        islands.lab.run_seconds(4);
        assert!(islands.reaches(0, 1) && islands.reaches(1, 0), "heard lately: {lately}");
    }
}

#[test]
fn who_hides_is_not_shown_to_strangers_and_found_by_friends() {
    for (parameters, found) in [(name(), 0), (link(1), 1)] {
        let mut islands = Islands::new(parameters, &[1, 1]);
        for index in 0..2 {
            islands.lab.hosts[islands.nodes[index]].engine.set_hide_address(true);
        }
        for index in 0..2 {
            islands.join(index);
        }
        islands.lab.log = Some(Vec::new());
        islands.lab.run_seconds(120);
        assert_eq!([islands.direct(0), islands.direct(1)], [found; 2]);
        let beacons = |place: Place| islands.lab.hosts[place].engine.counters().beacons_sent;
        assert_eq!(beacons(islands.nodes[0]) > 0, found > 0);
        if found == 0 {
            let sent = islands.lab.log.take().unwrap();
            let others = |place: Place| islands.lab.hosts[islands.nodes[place]].address;
            assert!(sent.iter().all(|sent| sent.to != others(0) && sent.to != others(1)));
        }
    }
}

#[test]
fn one_that_hides_from_strangers_does_not_answer_their_beacons() {
    let mut islands = Islands::new(name(), &[1, 1]);
    islands.lab.hosts[islands.nodes[0]].engine.set_hide_address(true);
    islands.join(0);
    islands.join(1);
    islands.lab.log = Some(Vec::new());
    islands.lab.run_seconds(120);
    let stranger = islands.lab.hosts[islands.nodes[1]].address;
    let sent = islands.lab.log.take().unwrap();
    assert!(
        sent.iter()
            .all(|sent| sent.from != islands.nodes[0] || sent.to != stranger)
    );
    assert_eq!(islands.direct(1), 0);
}

/// A beacon that a member of the network makes up, of the node with this seed, who seeks.
fn made_up(number: u32, seed: u32) -> Vec<u8> {
    let mut nonce = [0; 16];
    nonce[..4].copy_from_slice(&number.to_be_bytes());
    let header = beacon::header(&nonce);
    let mut bytes = [9; 32];
    bytes[..4].copy_from_slice(&seed.to_be_bytes());
    let identity =
        farlan_crypto::Identity::from_seed(farlan_crypto::Seed::from_bytes(bytes), farlan_crypto::Work::NONE).unwrap();
    let sender = Sender {
        key: *identity.public().as_bytes(),
        seeks: true,
    };
    let mut bytes = header.to_vec();
    bytes.extend_from_slice(&beacon::slot(
        &header,
        &link(1).secret().unwrap().beacon(&nonce),
        &sender,
    ));
    bytes.resize(beacon::HEADER + beacon::SLOTS * beacon::SLOT, 0);
    assert!(matches!(Datagram::parse(&bytes), Ok(Datagram::Beacon(_))));
    bytes
}

/// A genuine beacon of the first node.
fn recorded(islands: &mut Islands) -> Vec<u8> {
    let (place, now) = (islands.nodes[0], islands.lab.now);
    let engine = &mut islands.lab.hosts[place].engine;
    let card = |index| BeaconCard {
        index,
        ipv4: vec![LINK],
        ipv6: false,
    };
    engine.set_beacon_cards(now, vec![card(9)]);
    let mut out = Outbox::default();
    engine.handle_timeout(now, &mut out);
    let beacon = out.beacons.iter().next().unwrap().1.to_vec();
    engine.set_beacon_cards(now, vec![card(2)]);
    beacon
}

#[test]
fn a_recorded_beacon_sends_nobody_more_than_it_is_long() {
    let mut islands = Islands::joined(link(1), &[1, 2]);
    islands.lab.run_seconds(5);
    let beacon = recorded(&mut islands);
    // On the link, and nobody's.
    let victim = "10.0.0.66:9600".parse().unwrap();
    islands.lab.log = Some(Vec::new());
    let node = islands.nodes[1];
    for _ in 0..50 {
        islands.lab.deliver(node, victim, &beacon);
        islands.lab.run(Duration::from_millis(100));
    }
    islands.lab.run_seconds(60);
    let sent = islands.lab.log.take().unwrap();
    let there = || sent.iter().filter(|sent| sent.to == victim);
    let bytes: usize = there().map(|sent| sent.bytes.len()).sum();
    assert!(bytes > 0, "it was believed at first");
    assert!(there().all(|sent| sent.ttl == Some(1)), "a router would pass it on");
    assert!(
        bytes <= beacon.len(),
        "{bytes} bytes for one beacon of {}",
        beacon.len()
    );
}

#[test]
fn forged_beacons_send_nothing_to_an_outsider_however_many_hear_them() {
    let mut islands = Islands::joined(link(1), &[1; 12]);
    islands.lab.run_seconds(20);
    let outsiders = ["198.51.100.9:53", "[2001:db8::9]:53", "10.255.255.255:53"];
    let outsiders = outsiders.map(|outsider| outsider.parse::<SocketAddr>().unwrap());
    islands.lab.log = Some(Vec::new());
    for number in 0..21 {
        // Of somebody made up, and of one with whom all of them speak.
        let bytes = if number < 15 {
            made_up(7000 + number, 77)
        } else {
            recorded(&mut islands)
        };
        let outsider = outsiders[number as usize % outsiders.len()];
        for node in islands.nodes.clone() {
            islands.lab.deliver(node, outsider, &bytes);
        }
        islands.lab.run(Duration::from_millis(100));
    }
    islands.lab.run_seconds(60);
    let sent = islands.lab.log.take().unwrap();
    assert!(!sent.is_empty());
    assert_eq!(sent.iter().filter(|sent| outsiders.contains(&sent.to)).count(), 0);
    // One on the link would have been answered.
    assert_eq!(
        islands.lab.hosts[islands.nodes[1]].engine.counters().beacons_foreign,
        21
    );
}

#[test]
fn what_goes_for_a_beacon_of_a_peer_one_speaks_with_stays_on_the_link() {
    let mut islands = Islands::joined(link(1), &[1, 1]);
    islands.lab.run_seconds(15);
    let beacon = recorded(&mut islands);
    let victim = "10.0.0.66:9600".parse().unwrap();
    islands.lab.log = Some(Vec::new());
    islands.lab.deliver(islands.nodes[1], victim, &beacon);
    islands.lab.run_seconds(60);
    let sent = islands.lab.log.take().unwrap();
    let there: Vec<_> = sent.iter().filter(|sent| sent.to == victim).collect();
    let bytes: usize = there.iter().map(|sent| sent.bytes.len()).sum();
    assert!(!there.is_empty() && bytes <= beacon.len(), "{bytes} bytes");
    assert!(
        there.iter().all(|sent| sent.ttl == Some(1)),
        "a router would pass it on"
    );
}

#[test]
fn a_flood_of_beacons_costs_a_bounded_number_of_looks_and_answers() {
    let mut islands = Islands::joined(link(1), &[1, 1]);
    islands.lab.run_seconds(5);
    let node = islands.nodes[1];
    let before = islands.lab.hosts[node].engine.counters();
    islands.lab.log = Some(Vec::new());
    for number in 0..4000_u32 {
        // Whoever knows the network makes up members; their sources are as made up.
        let bytes = made_up(number, number);
        let source = SocketAddr::from(([10, 16, (number >> 8) as u8, number as u8], 9600));
        islands.lab.deliver(node, source, &bytes);
        if number % 100 == 0 {
            islands.lab.run(Duration::from_millis(10));
        }
    }
    let after = islands.lab.hosts[node].engine.counters();
    let recognised = after.beacons_recognised - before.beacons_recognised;
    assert!(recognised <= 1000, "{recognised}");
    islands.lab.run_seconds(20);
    let begun = islands.lab.hosts[node].engine.counters().handshakes_begun - before.handshakes_begun;
    assert!(begun <= 600, "{begun}");
    assert!(islands.reaches(1, 0), "true members are reached all the same");
    let peers = |islands: &Islands| islands.lab.hosts[node].engine.peers.len();
    assert!(peers(&islands) <= 2 + 256, "{} peers", peers(&islands));
    islands.lab.run_seconds(15 * 60);
    assert!(peers(&islands) <= 2, "{} peers are never forgotten", peers(&islands));
}

#[test]
fn observers_see_nothing_that_two_beacons_have_in_common() {
    let mut islands = Islands::joined(link(1), &[1, 1]);
    let mut seen: BTreeSet<[u8; 4]> = BTreeSet::new();
    for _ in 0..20 {
        let beacon = recorded(&mut islands);
        assert_eq!(beacon.len(), 276);
        for word in beacon[4..].as_chunks::<4>().0 {
            assert!(seen.insert(*word), "{word:?} is in two beacons");
        }
    }
}

#[test]
fn a_quiet_island_sends_few_beacons() {
    let mut islands = Islands::joined(link(1), &[1, 1]);
    *islands.internet.borrow_mut() = true;
    islands.lab.run_seconds(10);
    // Somebody speaks now and then, so that they stay in touch.
    let count = |islands: &Islands| islands.lab.hosts[islands.nodes[0]].engine.counters().beacons_sent;
    let before = count(&islands);
    for _ in 0..20 {
        assert!(islands.reaches(0, 1));
        islands.lab.run_seconds(59);
    }
    let sent = count(&islands) - before;
    assert!((15..=25).contains(&sent), "{sent} in 20 minutes");
}
