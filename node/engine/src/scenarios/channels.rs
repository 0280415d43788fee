//! Channels: who subscribes at the directory or tells its peers, who gets what in a network too large for copies to all, and how much of it.

use std::{net::Ipv4Addr, time::Duration};

use farlan_netconf::{DirectoryKey, Mac};

use super::lab::{DELAY, Lab, Place, intact, link, udp};
use crate::{
    Channel, Limits, NetworkHandle, Outbox, Role,
    multicast::ALL,
    wire::control::{Audience, Control},
};

const PORT: u16 = 27_015;

/// Nodes in one network, which take it for a large one: so their supernode counts, as they think.
struct Crowd {
    lab: Lab,
    supernode: Place,
    members: Vec<(Place, NetworkHandle)>,
}

impl Crowd {
    fn new(count: usize) -> Self {
        let mut lab = Lab::new();
        let supernode = lab.add(Role::Supernode);
        let nodes: Vec<Place> = (0..count).map(|_| lab.add(Role::Node)).collect();
        let mut members = Vec::new();
        for node in nodes {
            lab.set_world(node, 1, &[supernode]);
            members.push((node, lab.join(node, &link(1))));
        }
        lab.run_seconds(4);
        let mut crowd = Self {
            lab,
            supernode,
            members,
        };
        crowd.swell();
        crowd
    }

    /// Nobody is told any more how few there are, and nobody is listed but as a subscriber.
    fn swell(&mut self) {
        for (place, network) in &self.members {
            let engine = &mut self.lab.hosts[*place].engine;
            let own = engine.node_id();
            let network = engine.networks.get_mut(*network).unwrap();
            for listing in network.listings.values_mut() {
                listing.count = 1000;
                listing.members.clear();
            }
            network.begin_spreading(own);
            // Those who subscribed are to be told from those who are company.
            network.social.as_mut().unwrap().company.off_for_test = true;
        }
    }

    /// Two members speak with each other.
    fn speak(&mut self, one: usize, other: usize, mark: u8) {
        for (from, to) in [(one, other), (other, one)] {
            let [source, destination] = [from, to].map(|at| self.lab.mac(self.members[at].0, self.members[at].1));
            let addresses = [from, to].map(|at| Ipv4Addr::new(10, 128, mark, u8::try_from(at).unwrap()));
            let alone = udp(destination, source, 0, addresses);
            self.send(from, &alone);
            self.lab.run(Duration::from_millis(400));
            assert_eq!(self.counts(&alone)[to], 1);
        }
    }

    fn subscribe(&mut self, member: usize, channels: &[Channel]) {
        let (place, network) = self.members[member];
        let now = self.lab.now;
        self.lab.hosts[place].engine.set_channels(now, network, channels);
    }

    /// A broadcast to a port, or a frame to a group.
    fn call(&self, from: usize, channel: Channel, mark: u8) -> Vec<u8> {
        let (place, network) = self.members[from];
        let addresses = [Ipv4Addr::new(10, 128, 16, mark), Ipv4Addr::BROADCAST];
        let mut frame = udp(channel.group, self.lab.mac(place, network), 0, addresses);
        let port = frame.len() - 6;
        frame[port..port + 2].copy_from_slice(&channel.port.unwrap_or(PORT).to_be_bytes());
        frame
    }

    /// Sends one, and says how often each member got it.
    fn reached(&mut self, from: usize, channel: Channel, mark: u8) -> Vec<usize> {
        let frame = self.call(from, channel, mark);
        self.send(from, &frame);
        self.lab.run_seconds(2);
        self.counts(&frame)
    }

    fn send(&mut self, from: usize, frame: &[u8]) {
        let (place, network) = self.members[from];
        self.lab.send(place, network, frame);
    }

    fn counts(&self, frame: &[u8]) -> Vec<usize> {
        let members = self.members.iter();
        members
            .map(|(place, network)| self.lab.received(*place, *network, frame))
            .collect()
    }

    fn counters(&self, member: usize) -> crate::Counters {
        self.lab.hosts[self.members[member].0].engine.counters()
    }

    /// How many a member knows to have subscribed, and whether it takes that for all.
    fn known(&self, member: usize, channel: Channel) -> Option<(usize, bool)> {
        let (place, network) = self.members[member];
        let subscribers = self.lab.hosts[place].engine.subscribers_of(network, &channel)?;
        Some((subscribers.keys.len(), subscribers.whole))
    }

    /// Lists that the supernode keeps, beside that of the members.
    fn channels(&self) -> usize {
        self.lab.hosts[self.supernode].engine.anchor().subscriptions - 1
    }
}

#[test]
fn a_broadcast_goes_to_the_subscribers_of_its_port() {
    let mut crowd = Crowd::new(6);
    let games = Channel::broadcasts(PORT);
    for member in [0, 1, 2] {
        crowd.subscribe(member, &[games, Channel::broadcasts(137)]);
    }
    crowd.subscribe(3, &[Channel::broadcasts(PORT + 1)]);
    crowd.lab.run_seconds(1);
    assert_eq!(crowd.known(0, games), Some((3, true)));
    assert_eq!(crowd.channels(), 2, "what all listen to is none");
    assert_eq!(crowd.reached(0, games, 1), [0, 1, 1, 0, 0, 0]);
    // Who answered once may want to hear it.
    assert_eq!(crowd.reached(1, games, 2), [1, 0, 1, 0, 0, 0]);
    crowd.subscribe(2, &[]);
    crowd.lab.run_seconds(2);
    assert_eq!(crowd.known(0, games), Some((2, true)));
    assert_eq!(crowd.known(2, games), None);
    crowd.subscribe(1, &[]);
    crowd.subscribe(0, &[]);
    crowd.subscribe(3, &[]);
    crowd.lab.run_seconds(2);
    assert_eq!(crowd.channels(), 1, "two have broadcast to it");
    crowd.lab.run_seconds(610);
    assert_eq!(crowd.channels(), 0, "the directory forgets");
}

#[test]
fn a_multicast_group_reaches_its_subscribers_and_no_contacts() {
    let mut crowd = Crowd::new(5);
    let group = Channel::multicast(Mac::from_bytes([0x01, 0, 0x5e, 1, 2, 3]));
    let games = Channel::broadcasts(PORT);
    crowd.subscribe(0, &[games, group]);
    crowd.subscribe(1, &[group]);
    crowd.subscribe(2, &[games]);
    crowd.lab.run_seconds(1);
    assert_eq!(crowd.reached(0, games, 1), [0, 0, 1, 0, 0]);
    assert_eq!(crowd.reached(0, group, 2), [0, 1, 0, 0, 0]);
    assert_eq!(crowd.reached(0, games, 3), [0, 0, 1, 0, 0]);
    crowd.speak(0, 1, 9);
    assert_eq!(crowd.reached(0, games, 5), [0, 1, 1, 0, 0], "a contact by now");
    // Who tells something to a group need not have joined it: its first frame waits for who did.
    assert_eq!(crowd.reached(4, group, 4), [1, 1, 0, 0, 0]);
}

#[test]
fn who_broadcasts_to_a_port_subscribes_to_it_for_ten_minutes() {
    let mut crowd = Crowd::new(4);
    let games = Channel::broadcasts(PORT);
    // Even the first one goes to those who did the same before.
    assert_eq!(crowd.reached(0, games, 1), [0, 0, 0, 0]);
    assert_eq!(crowd.reached(1, games, 2), [1, 0, 0, 0]);
    assert_eq!(crowd.reached(2, games, 3), [1, 1, 0, 0]);
    assert_eq!(crowd.known(0, games), Some((3, true)));
    assert_eq!(crowd.reached(0, games, 7), [0, 1, 1, 0]);
    crowd.lab.run_seconds(590);
    assert_eq!(crowd.channels(), 1);
    crowd.lab.run_seconds(20);
    assert_eq!(crowd.channels(), 0);
}

#[test]
fn the_directory_forgets_who_leaves_who_says_goodbye_and_who_is_silent() {
    let mut crowd = Crowd::new(4);
    let games = Channel::broadcasts(PORT);
    for member in 0..4 {
        crowd.subscribe(member, &[games]);
    }
    crowd.lab.run_seconds(1);
    assert_eq!(crowd.known(0, games), Some((4, true)));
    let (left, network) = crowd.members[1];
    crowd.lab.leave(left, network);
    crowd.lab.run_seconds(1);
    assert_eq!(crowd.known(0, games), Some((3, true)));
    let (ended, mut out, now) = (crowd.members[2].0, Outbox::default(), crowd.lab.now);
    crowd.lab.hosts[ended].engine.shutdown(now, &mut out);
    crowd.lab.take(ended, &mut out);
    crowd.lab.restart(ended);
    crowd.lab.run_seconds(1);
    assert_eq!(crowd.known(0, games), Some((2, true)));
    crowd.lab.restart(crowd.members[3].0);
    crowd.lab.run_seconds(80);
    assert_eq!(crowd.known(0, games), Some((1, true)));
}

#[test]
fn subscriptions_survive_loss_and_a_supernode_that_begins_anew() {
    let mut crowd = Crowd::new(3);
    let games = Channel::broadcasts(PORT);
    let mut random = 1_u32;
    crowd.lab.wire = Box::new(move |_, _, _| {
        // The constants of Numerical Recipes §7.1.
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        random < 3 << 30
    });
    for member in 0..3 {
        crowd.subscribe(member, &[games]);
    }
    crowd.lab.run_seconds(15);
    crowd.lab.wire = intact();
    assert_eq!(crowd.known(0, games), Some((3, true)));
    crowd.lab.restart(crowd.supernode);
    // They register one by one, and are told how few they are for a moment.
    for _ in 0..40 {
        crowd.lab.run_seconds(1);
        crowd.swell();
        crowd.members.clone().into_iter().for_each(|(place, network)| {
            let now = crowd.lab.now;
            let network = crowd.lab.hosts[place].engine.networks.get_mut(network).unwrap();
            network.channels.review(now);
        });
    }
    assert_eq!(crowd.channels(), 1);
    assert_eq!(crowd.known(1, games), Some((3, true)));
}

#[test]
fn a_broadcast_waits_a_second_for_the_directory_and_no_longer() {
    let mut crowd = Crowd::new(3);
    let games = Channel::broadcasts(PORT);
    // The two know each other.
    crowd.lab.open = true;
    crowd.speak(0, 1, 9);
    crowd.lab.run_seconds(2);
    // A supernode of an older version, as it seems: what is asked of it is not heard.
    let (supernode, asking) = (crowd.supernode, crowd.members[0].0);
    crowd.lab.wire = Box::new(move |from, to, _| (from, to) != (asking, supernode));
    let frames: Vec<_> = (0..20).map(|mark| crowd.call(0, games, mark)).collect();
    for frame in &frames {
        crowd.send(0, frame);
        crowd.lab.run(Duration::from_millis(200));
    }
    crowd.lab.wire = intact();
    crowd.lab.run_seconds(8);
    let late = |frame: &Vec<u8>| crowd.counts(frame) != [0, 1, 0];
    assert_eq!(frames.iter().filter(|frame| late(frame)).count(), 0);
    assert_eq!(crowd.known(0, games), Some((1, true)));
}

#[test]
fn a_small_network_subscribes_to_nothing() {
    let mut lab = Lab::new();
    let supernode = lab.add(Role::Supernode);
    let nodes = [lab.add(Role::Node), lab.add(Role::Node)];
    for node in nodes {
        lab.set_world(node, 1, &[supernode]);
        let network = lab.join(node, &link(1));
        let now = lab.now;
        lab.hosts[node]
            .engine
            .set_channels(now, network, &[Channel::broadcasts(PORT)]);
    }
    lab.run_seconds(10);
    assert_eq!(
        lab.hosts[supernode].engine.anchor().subscriptions,
        1,
        "the members' list alone"
    );
}

#[test]
fn a_long_list_of_subscribers_is_told_as_a_sample() {
    let mut crowd = Crowd::new(150);
    let games = Channel::broadcasts(PORT);
    for member in 0..150 {
        crowd.subscribe(member, &[games]);
    }
    crowd.lab.run_seconds(5);
    assert_eq!(crowd.known(0, games), Some((16, false)));
    for member in 100..150 {
        crowd.subscribe(member, &[]);
    }
    crowd.lab.run_seconds(5);
    assert_eq!(crowd.known(0, games), Some((100, true)));
    let reached = crowd.reached(0, games, 1);
    assert_eq!(reached[1..100], [1; 99]);
    let others = reached[100..].iter().sum::<usize>();
    assert!(others <= 10, "{others}: company, and two at random");
    assert!(reached.len() > ALL);
}

#[test]
fn a_newcomer_that_left_again_is_not_named_to_those_who_did_not_hear_of_it() {
    let mut crowd = Crowd::new(151);
    let games = Channel::broadcasts(PORT);
    for member in 0..150 {
        crowd.subscribe(member, &[games]);
    }
    crowd.lab.run_seconds(5);
    let (supernode, newcomer) = (crowd.supernode, crowd.members[150].0);
    let key = crowd.lab.key(newcomer);
    let names = |crowd: &Crowd, member: usize| {
        let (place, network) = crowd.members[member];
        let subscribers = crowd.lab.hosts[place].engine.subscribers_of(network, &games);
        subscribers.is_some_and(|subscribers| subscribers.keys.contains(&key))
    };
    for leaves in [true, false] {
        // Those who are told of it first do not hear of it.
        crowd.lab.wire = Box::new(move |from, to, _| from != supernode || to == newcomer);
        crowd.subscribe(150, &[games]);
        crowd.lab.run(Duration::from_millis(200));
        if leaves {
            crowd.subscribe(150, &[]);
            crowd.lab.run_seconds(2);
        }
        crowd.lab.wire = intact();
        crowd.lab.run_seconds(5);
        let named = (0..150).filter(|member| names(&crowd, *member)).count();
        assert_eq!(named > 0, !leaves, "{named}");
        // Whoever was told of somebody lately is told of nobody else.
        crowd.lab.run_seconds(40);
    }
}

#[test]
fn who_subscribes_without_end_fills_nothing() {
    let mut lab = Lab::new();
    lab.limits = Limits {
        registrations: 10,
        ..Limits::default()
    };
    let supernode = lab.add(Role::Supernode);
    let node = lab.add(Role::Node);
    lab.set_world(node, 1, &[supernode]);
    lab.join(node, &link(1));
    lab.run_seconds(2);
    let (key, member_key) = (lab.key(supernode), link(1).secret().unwrap().member_key());
    let subscribe = |round: u32, member_key: DirectoryKey| {
        let channel = |number: u32| {
            let mut bytes = [0x77; 16];
            bytes[..4].copy_from_slice(&(round * 40 + number).to_be_bytes());
            (DirectoryKey::from_bytes(bytes), 0)
        };
        Control::Audience(Audience::Subscribe {
            number: 1000 + round,
            member_key,
            channels: (0..40).map(channel).collect(),
        })
    };
    for round in 0..300 {
        lab.tell(node, &key, subscribe(round, member_key));
        lab.tell(node, &key, subscribe(round, DirectoryKey::from_bytes([9; 16])));
        lab.run(2 * DELAY);
        assert!(lab.hosts[supernode].engine.anchor().subscriptions <= 1 + 8);
    }
    let limited = lab.hosts[supernode].engine.counters().subscriptions_limited;
    assert!(limited > 250, "{limited}");
    assert!(lab.hosts[node].engine.supernodes()[0].registered);
}

/// Nodes of a small network, who know each other.
fn acquainted(count: usize) -> Crowd {
    let mut lab = Lab::new();
    let supernode = lab.add(Role::Supernode);
    let nodes: Vec<Place> = (0..count).map(|_| lab.add(Role::Node)).collect();
    nodes.iter().for_each(|node| lab.set_world(*node, 1, &[supernode]));
    let members = nodes.iter().map(|node| (*node, lab.join(*node, &link(1)))).collect();
    lab.run_seconds(3);
    let mut crowd = Crowd {
        lab,
        supernode,
        members,
    };
    for from in 0..count {
        crowd.reached(from, Channel::broadcasts(PORT), from as u8);
    }
    crowd
}

#[test]
fn a_card_sends_fifty_broadcasts_a_second_to_one_port() {
    let mut crowd = acquainted(3);
    for number in 0..3000_u32 {
        let mut frame = crowd.call(0, Channel::broadcasts(PORT), 0);
        frame.extend(number.to_be_bytes());
        crowd.send(0, &frame);
        crowd.lab.run(Duration::from_millis(1));
    }
    crowd.lab.run_seconds(1);
    let sent = 3000 - crowd.counters(0).group_rate_limited;
    assert!((240..=260).contains(&sent), "{sent}");
    assert_eq!(crowd.counters(1).group_origin_limited, 0);
    // Another port has a share of its own.
    assert_eq!(crowd.reached(0, Channel::broadcasts(PORT + 1), 9), [0, 1, 1]);
}

#[test]
fn of_a_flood_fifty_frames_a_second_are_delivered_and_then_none() {
    let mut crowd = acquainted(3);
    let origin = crowd.members[0].0;
    crowd.lab.hosts[origin].engine.groups.lift_limits_for_test();
    let heard = |crowd: &Crowd| crowd.lab.hosts[crowd.members[1].0].frames.len();
    let before = heard(&crowd);
    let mut after_five = 0;
    for number in 0..15_000_u32 {
        let mut frame = crowd.call(0, Channel::broadcasts(PORT), 0);
        frame.extend(number.to_be_bytes());
        crowd.send(0, &frame);
        crowd.lab.run(Duration::from_millis(1));
        if number == 5000 {
            after_five = heard(&crowd) - before;
        }
    }
    crowd.lab.run_seconds(10);
    assert!(
        (330..=360).contains(&after_five),
        "{after_five}: a hundred at once, fifty a second"
    );
    let all = heard(&crowd) - before;
    assert!((580..=620).contains(&all), "{all}: ten seconds of it");
    let counters = crowd.counters(1);
    assert!(
        counters.group_origin_limited > 9_000 && counters.group_origin_ignored > 4_000,
        "{counters:?}"
    );
    assert_eq!(
        crowd.counters(0).group_copies_lost,
        0,
        "what is dropped is acknowledged"
    );
    // Others are heard meanwhile, and frames for this node alone.
    assert_eq!(crowd.reached(2, Channel::broadcasts(PORT), 77), [1, 1, 0]);
    assert_eq!(crowd.reached(0, Channel::broadcasts(PORT), 78), [0, 0, 0]);
    let (to, from) = (crowd.members[1], crowd.members[0]);
    let alone = super::lab::frame(crowd.lab.mac(to.0, to.1), crowd.lab.mac(from.0, from.1), 5);
    crowd.send(0, &alone);
    crowd.lab.run_seconds(1);
    assert_eq!(crowd.counts(&alone), [0, 1, 0]);
    crowd.lab.run_seconds(60);
    assert_eq!(crowd.reached(0, Channel::broadcasts(PORT), 79), [0, 1, 1]);
}

#[test]
fn what_goes_to_many_without_a_number_is_limited_too() {
    let mut crowd = acquainted(3);
    let (from, network) = crowd.members[0];
    let to = crowd.lab.key(crowd.members[1].0);
    let peer = crowd.lab.peer_id(from, &to);
    let before = crowd.lab.hosts[crowd.members[1].0].frames.len();
    for number in 0..2000_u32 {
        let mut frame = crowd.call(0, Channel::broadcasts(PORT), 1);
        frame.extend(number.to_be_bytes());
        let mut out = Outbox::default();
        let now = crowd.lab.now;
        let engine = &mut crowd.lab.hosts[from].engine;
        engine.send_frame(now, peer, network, &frame, false, &mut out);
        engine.seal_pending(&mut out);
        crowd.lab.take(from, &mut out);
        crowd.lab.run(Duration::from_millis(1));
    }
    crowd.lab.run_seconds(2);
    let heard = crowd.lab.hosts[crowd.members[1].0].frames.len() - before;
    assert!((190..=210).contains(&heard), "{heard}");
    assert!(crowd.counters(1).group_origin_limited > 1_700);
}

#[test]
fn three_games_of_one_machine_and_what_its_lan_needs_are_heard_whole() {
    let mut crowd = acquainted(3);
    let (place, network) = crowd.members[0];
    let arp = [
        &[0xff; 6][..],
        crowd.lab.mac(place, network).as_bytes(),
        &[0x08, 0x06, 0, 1],
    ]
    .concat();
    let before = crowd.lab.hosts[crowd.members[1].0].frames.len();
    for turn in 0..30 * 20_u32 {
        for game in 0..3 {
            let mut frame = crowd.call(0, Channel::broadcasts(PORT + game), 1);
            frame.extend(turn.to_be_bytes());
            crowd.send(0, &frame);
        }
        crowd.send(0, &[&arp[..], &turn.to_be_bytes()].concat());
        crowd.lab.run(Duration::from_micros(33_333));
    }
    crowd.lab.run_seconds(2);
    let heard = crowd.lab.hosts[crowd.members[1].0].frames.len() - before;
    assert_eq!(heard, 4 * 30 * 20);
    assert_eq!(crowd.counters(1).group_origin_limited, 0);
}

#[test]
fn a_flood_in_one_network_takes_nothing_from_another() {
    let mut crowd = acquainted(3);
    let others: Vec<(Place, NetworkHandle)> = crowd
        .members
        .clone()
        .into_iter()
        .map(|(place, _)| (place, crowd.lab.join(place, &link(2))))
        .collect();
    crowd.lab.run_seconds(3);
    let hears = |crowd: &mut Crowd, mark: u8| {
        let (place, network) = others[2];
        let mut frame = crowd.call(2, Channel::broadcasts(PORT), mark);
        frame[6..12].copy_from_slice(crowd.lab.mac(place, network).as_bytes());
        crowd.lab.send(place, network, &frame);
        crowd.lab.run_seconds(1);
        crowd.lab.received(others[1].0, others[1].1, &frame)
    };
    assert_eq!(hears(&mut crowd, 1), 1);
    // As if hundreds had spent all that the first network has.
    let (place, network) = crowd.members[1];
    let now = crowd.lab.now;
    crowd.lab.hosts[place]
        .engine
        .networks
        .get_mut(network)
        .unwrap()
        .injected
        .spend_for_test(now);
    assert_eq!(crowd.reached(0, Channel::broadcasts(PORT), 90), [0, 0, 1]);
    assert_eq!(hears(&mut crowd, 2), 1);
}

/// The same, but no supernode lists anybody any more, and who knows of whom is what is left.
fn unlisted(count: usize) -> Crowd {
    let mut crowd = acquainted(count);
    for (place, network) in &crowd.members {
        let network = crowd.lab.hosts[*place].engine.networks.get_mut(*network).unwrap();
        network.listings.clear();
        network.channels.many_for_test = true;
    }
    crowd.lab.run_seconds(2);
    crowd
}

/// A group that is its subscribers' alone.
fn group(number: u8) -> Channel {
    Channel::multicast(Mac::from_bytes([0x01, 0, 0x5e, 1, 2, number]))
}

/// How many lists of channels a member was told by its peers, and how many channels are in them.
fn told(crowd: &Crowd, member: usize) -> (usize, usize) {
    let peers = crowd.lab.hosts[crowd.members[member].0].engine.peers.iter();
    let lists: Vec<_> = peers.flat_map(|(_, peer)| peer.channels.values()).collect();
    (lists.len(), lists.iter().map(|wanted| wanted.channels.len()).sum())
}

#[test]
fn without_a_directory_a_group_reaches_the_peers_that_told_of_it_and_a_broadcast_all() {
    let mut crowd = unlisted(4);
    let games = Channel::broadcasts(PORT);
    assert_eq!(crowd.reached(0, group(1), 1), [0, 1, 1, 1], "nobody has told yet");
    for member in 0..4 {
        crowd.subscribe(member, &[]);
    }
    crowd.subscribe(1, &[group(1), group(3)]);
    crowd.lab.run_seconds(2);
    // Beside it the port to which all broadcast.
    assert_eq!(told(&crowd, 0), (3, 5));
    assert_eq!(crowd.reached(0, group(1), 2), [0, 1, 0, 0]);
    assert_eq!(crowd.reached(3, group(3), 3), [0, 1, 0, 0]);
    assert_eq!(crowd.reached(0, group(2), 4), [0; 4]);
    assert_eq!(crowd.reached(0, games, 5), [0, 1, 1, 1]);
    let to_all = Channel::multicast(Mac::from_bytes([0x01, 0, 0x5e, 0, 0, 0xfb]));
    assert_eq!(crowd.reached(0, to_all, 6), [0, 1, 1, 1], "what all listen to");
    crowd.subscribe(1, &[]);
    crowd.subscribe(2, &[group(1)]);
    crowd.lab.run(Duration::from_millis(1500));
    assert_eq!(crowd.reached(0, group(1), 7), [0, 0, 1, 0]);
    // New keys change nothing.
    for mark in 10..25 {
        crowd.lab.run_seconds(10);
        assert_eq!(crowd.reached(0, group(1), mark), [0, 0, 1, 0]);
        assert_eq!(crowd.reached(0, games, mark), [0, 1, 1, 1]);
    }
}

#[test]
fn in_a_large_network_the_peers_that_told_are_added_to_those_that_the_directory_names() {
    let mut crowd = acquainted(4);
    for member in 0..4 {
        crowd.subscribe(member, &[]);
    }
    crowd.lab.run_seconds(2);
    assert_eq!(told(&crowd, 0).0, 0, "in a small network nobody is told");
    crowd.swell();
    crowd.subscribe(2, &[group(1)]);
    crowd.lab.run_seconds(3);
    assert_eq!(
        crowd.reached(0, group(1), 1),
        [0, 0, 1, 0],
        "this node is no subscriber"
    );
    crowd.subscribe(0, &[group(1)]);
    crowd.lab.run_seconds(2);
    assert_eq!(crowd.known(0, group(1)), Some((2, true)));
    assert_eq!(crowd.reached(0, group(1), 2), [0, 0, 1, 0]);
    // This one tells no supernode.
    let (place, network) = crowd.members[3];
    let supernode = crowd.lab.peer_id(place, &crowd.lab.key(crowd.supernode));
    let alone = crowd.lab.hosts[place].engine.networks.get_mut(network).unwrap();
    alone.forget_listings(supernode);
    crowd.subscribe(3, &[group(1)]);
    crowd.lab.run_seconds(2);
    assert_eq!(crowd.known(0, group(1)), Some((2, true)));
    assert_eq!(crowd.reached(0, group(1), 3), [0, 0, 1, 1]);
}

#[test]
fn who_cannot_name_all_its_groups_gets_all() {
    let mut crowd = unlisted(5);
    let groups: Vec<Channel> = (10..19).map(group).collect();
    crowd.subscribe(1, &groups);
    crowd.subscribe(2, &groups[..8]);
    crowd.subscribe(3, &[]);
    crowd.lab.run_seconds(2);
    assert_eq!(
        crowd.reached(0, group(1), 1),
        [0, 1, 0, 0, 1],
        "the last one has told nothing"
    );
    // Another machine is behind the card of one.
    let (place, network) = crowd.members[3];
    let mut frame = crowd.call(3, Channel::broadcasts(PORT), 2);
    frame[6..12].copy_from_slice(&[2, 0, 0, 0, 0, 9]);
    crowd.lab.send(place, network, &frame);
    crowd.lab.run_seconds(2);
    assert_eq!(crowd.reached(0, group(1), 3), [0, 1, 0, 1, 1]);
    crowd.subscribe(1, &groups[1..]);
    crowd.lab.run_seconds(2);
    assert_eq!(crowd.reached(0, group(1), 4), [0, 0, 0, 1, 1]);
}

#[test]
fn a_list_of_channels_that_is_lost_comes_again_and_ends_with_its_acknowledgement() {
    let mut crowd = unlisted(3);
    for member in 0..3 {
        crowd.subscribe(member, &[]);
    }
    crowd.lab.run_seconds(2);
    assert_eq!(crowd.reached(0, group(1), 1), [0; 3]);
    crowd.lab.wire = Box::new(|_, _, _| false);
    crowd.subscribe(1, &[group(1)]);
    crowd.lab.run_seconds(1);
    crowd.lab.wire = intact();
    crowd.lab.run_seconds(6);
    assert_eq!(crowd.reached(0, group(1), 2), [0, 1, 0]);
    let (key, place) = (crowd.lab.key(crowd.members[0].0), crowd.members[1].0);
    let waits = |crowd: &Crowd| {
        let mut sessions = crowd.lab.peer(place, &key).sessions.iter();
        sessions.any(|session| session.networks.channels.deadline().is_some())
    };
    assert!(!waits(&crowd));
    // The acknowledgement is lost.
    let other = crowd.members[0].0;
    crowd.lab.wire = Box::new(move |from, _, _| from != other);
    crowd.subscribe(1, &[]);
    crowd.lab.run_seconds(1);
    assert!(waits(&crowd));
    crowd.lab.wire = intact();
    crowd.lab.run_seconds(6);
    assert!(!waits(&crowd));
    assert_eq!(crowd.reached(0, group(1), 3), [0; 3]);
}

#[test]
fn a_program_that_changes_its_groups_all_the_time_is_told_of_once_a_second() {
    let mut crowd = unlisted(2);
    crowd.subscribe(0, &[]);
    crowd.lab.run_seconds(2);
    crowd.lab.log = Some(Vec::new());
    for number in 0..100 {
        crowd.subscribe(0, &[group(number)]);
        crowd.lab.run(Duration::from_millis(100));
    }
    let from = crowd.members[0].0;
    let sent = crowd.lab.log.take().unwrap();
    let sent = sent.iter().filter(|sent| sent.from == from).count();
    assert!(sent < 40, "{sent}");
    crowd.lab.run_seconds(2);
    assert_eq!(crowd.reached(1, group(99), 1), [1, 0]);
    assert_eq!(crowd.reached(1, group(98), 2), [0, 0]);
}

#[test]
fn a_peer_that_tells_without_end_fills_nothing() {
    let mut crowd = unlisted(2);
    let key = crowd.lab.key(crowd.members[0].0);
    let hostile = crowd.members[1].0;
    for number in 1..50_u32 {
        let channels = (0..140).map(|port| Channel::broadcasts(port * 100 + u16::try_from(number).unwrap()));
        let message = Audience::Channels {
            number: 1000 + number,
            place: u8::try_from(number % 4).unwrap(),
            more: false,
            channels: channels.chain([Channel::broadcasts(137)]).collect(),
        };
        crowd.lab.tell(hostile, &key, Control::Audience(message));
        crowd.lab.run(2 * DELAY);
        assert!(told(&crowd, 0).0 <= 1 && told(&crowd, 0).1 <= 8);
    }
    assert_eq!(told(&crowd, 0), (1, 8));
    // One that was overtaken changes nothing.
    let message = Audience::Channels {
        number: 1000,
        place: 0,
        more: false,
        channels: Vec::new(),
    };
    crowd.lab.tell(hostile, &key, Control::Audience(message));
    crowd.lab.run(2 * DELAY);
    assert_eq!(told(&crowd, 0), (1, 8));
    let (place, network) = crowd.members[1];
    crowd.lab.leave(place, network);
    crowd.lab.run_seconds(1);
    assert_eq!(told(&crowd, 0), (0, 0), "with the network");
}
