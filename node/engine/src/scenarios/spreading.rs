//! Broadcasts that spread in a network too large for copies to all: whom they reach, what a hostile member may do, and what
//! supernodes tell whoever has no company.

use std::{net::Ipv4Addr, time::Duration};

use farlan_crypto::{Identity, NodeId, Seed, Work};
use farlan_netconf::{Mac, Parameters, Seconds};
use farlan_spreading::{Form, Origination, SIGNING_DOMAIN, Signer, Spreading};

use super::lab::{Lab, Place, link, name, udp};
use crate::{Channel, CircleStatus, Limits, NetworkHandle, Outbox, Role, Why, content::Content};

/// Members who know each other by what they said, in a network in which a frame to a group goes to all up to three members.
struct Party {
    lab: Lab,
    members: Vec<(Place, NetworkHandle)>,
    marks: u16,
}

/// The port to which the tests send.
const PORT: u16 = 27_015;

/// The time of day at the beginning.
const BEGUN: u64 = 1_795_000_000;

impl Party {
    /// Those who only have the contacts that they make.
    fn new(count: usize, parameters: &Parameters) -> Self {
        let mut party = Self::with_company(count, parameters);
        let now = party.lab.now;
        for (place, network) in &party.members {
            let network = party.lab.hosts[*place].engine.networks.get_mut(*network).unwrap();
            let social = network.social.as_mut().unwrap();
            social.company.off_for_test = true;
            social.spreading.contacts_mut().set_bootstrap(now, &[]);
            social.spreading.contacts_mut().set_long_links(now, &[]);
        }
        party
    }

    fn with_company(count: usize, parameters: &Parameters) -> Self {
        let mut lab = Lab::new();
        lab.limits = Limits {
            full_max: 3,
            ..Limits::default()
        };
        let supernode = lab.add(Role::Supernode);
        let nodes: Vec<Place> = (0..count).map(|_| lab.add(Role::Node)).collect();
        let now = lab.now;
        for host in &mut lab.hosts {
            let seconds = Seconds::new(BEGUN);
            host.engine.set_wall_clock(now, seconds, Seconds::default());
        }
        let mut members = Vec::new();
        for node in nodes {
            lab.set_world(node, 1, &[supernode]);
            let network = lab.join(node, parameters);
            lab.open_all(node, network);
            members.push((node, network));
        }
        lab.run_seconds(4);
        let marks = 0;
        Self { lab, members, marks }
    }

    fn mac(&self, member: usize) -> Mac {
        let (place, network) = self.members[member];
        self.lab.mac(place, network)
    }

    fn ipv4(&self, member: usize) -> Ipv4Addr {
        let (place, network) = self.members[member];
        self.lab.status(place, network).ipv4.unwrap()
    }

    /// A UDP datagram of a member to another or to all, unlike all others.
    fn said(&mut self, from: usize, to: Option<usize>) -> Vec<u8> {
        self.marks += 1;
        let (mac, address) = to.map_or((Mac::BROADCAST, Ipv4Addr::BROADCAST), |to| {
            (self.mac(to), self.ipv4(to))
        });
        let mut frame = udp(mac, self.mac(from), 0, [self.ipv4(from), address]);
        let ports = frame.len() - 8;
        for at in [ports, ports + 2] {
            frame[at..at + 2].copy_from_slice(&PORT.to_be_bytes());
        }
        // The identification tells them apart.
        frame[18..20].copy_from_slice(&self.marks.to_be_bytes());
        frame
    }

    fn send(&mut self, from: usize, frame: &[u8]) {
        let (place, network) = self.members[from];
        self.lab.send(place, network, frame);
    }

    /// Two speak with each other.
    fn speak(&mut self, one: usize, other: usize) {
        for (from, to) in [(one, other), (other, one)] {
            let alone = self.said(from, Some(to));
            self.send(from, &alone);
            self.lab.run(Duration::from_millis(300));
            assert_eq!(self.counts(&alone)[to], 1, "{from} to {to}");
        }
    }

    fn counts(&self, frame: &[u8]) -> Vec<usize> {
        let members = self.members.iter();
        members
            .map(|(place, network)| self.lab.received(*place, *network, frame))
            .collect()
    }

    /// How often each hears a broadcast of one.
    fn heard(&mut self, from: usize) -> Vec<usize> {
        let frame = self.said(from, None);
        self.send(from, &frame);
        self.lab.run_seconds(2);
        self.counts(&frame)
    }

    fn counters(&self, member: usize) -> crate::Counters {
        self.lab.hosts[self.members[member].0].engine.counters()
    }
}

#[test]
fn a_broadcast_reaches_contacts_and_theirs_each_once() {
    let mut party = Party::new(8, &link(1));
    assert_eq!(party.heard(0), [0; 8], "nobody knows anybody");
    // 0 - 1 - 2 - 3 - 4, and 5 knows 0 and 2.
    for (one, other) in [(0, 1), (1, 2), (2, 3), (3, 4), (0, 5), (5, 2)] {
        party.speak(one, other);
    }
    assert_eq!(party.heard(0), [0, 1, 1, 1, 0, 1, 0, 0], "three levels and no more");
    assert!(party.counters(1).spread_forwarded + party.counters(5).spread_forwarded >= 1);
    assert_eq!(party.counters(6).frames_received, 0);
    // Who was heard is sent to.
    assert_eq!(party.heard(3), [1, 1, 1, 0, 1, 1, 0, 0]);
    let lost: u64 = (0..8).map(|member| party.counters(member).spread_stale).sum();
    assert_eq!(lost, 0);
}

#[test]
fn among_strangers_an_unknown_origin_is_heard_and_can_be_answered() {
    let mut party = Party::new(5, &name());
    for (one, other) in [(0, 1), (1, 2)] {
        party.speak(one, other);
    }
    assert_eq!(party.heard(0), [0, 1, 1, 0, 0]);
    let answer = party.said(2, Some(0));
    party.send(2, &answer);
    party.lab.run_seconds(2);
    assert_eq!(party.counts(&answer), [1, 0, 0, 0, 0]);
}

#[test]
fn whoever_counts_fewer_members_hears_what_spreads() {
    let mut party = Party::new(5, &link(1));
    for (one, other) in [(0, 1), (1, 2)] {
        party.speak(one, other);
    }
    let (place, network) = party.members[2];
    let network = party.lab.hosts[place].engine.networks.get_mut(network).unwrap();
    network.social = None;
    network.listings.clear();
    assert_eq!(party.heard(0), [0, 1, 1, 0, 0]);
    // And sends to all whom it knows.
    assert_eq!(party.heard(2)[1], 1);
}

#[test]
fn copies_wait_for_sessions_and_are_sent_again() {
    let mut party = Party::new(5, &link(1));
    for (one, other) in [(0, 1), (1, 2)] {
        party.speak(one, other);
    }
    party.lab.open = true;
    party.lab.run_seconds(3);
    // Every fifth datagram is lost.
    let mut count = 0_u32;
    party.lab.wire = Box::new(move |_, _, _| {
        count += 1;
        !count.is_multiple_of(5)
    });
    let mut missed = 0;
    for _ in 0..20 {
        let heard = party.heard(0);
        missed += 2 - heard[1] - heard[2];
        assert!(heard.iter().all(|count| *count <= 1), "{heard:?}");
        party.speak_lossy(0, 1);
        party.speak_lossy(1, 2);
    }
    assert!(missed <= 4, "{missed} of 40");
    // A contact is still one when its session has ended.
    party.lab.wire = super::lab::intact();
    party.lab.run_seconds(300);
    assert_eq!(party.heard(0)[1], 1);
}

impl Party {
    /// As [`speak`](Self::speak), whatever comes of it.
    fn speak_lossy(&mut self, one: usize, other: usize) {
        for (from, to) in [(one, other), (other, one)] {
            let alone = self.said(from, Some(to));
            self.send(from, &alone);
            self.lab.run(Duration::from_millis(100));
        }
    }
}

#[test]
fn a_long_frame_spreads_in_parts() {
    let mut party = Party::new(5, &link(1));
    for (one, other) in [(0, 1), (1, 2)] {
        party.speak(one, other);
    }
    let mut frame = party.said(0, None);
    frame.resize(14 + 1372, 7);
    party.send(0, &frame);
    party.lab.run_seconds(2);
    assert_eq!(party.counts(&frame), [0, 1, 1, 0, 0]);
}

#[test]
fn tags_give_way_before_a_copy_is_cut() {
    for (beyond, cut) in [(0, false), (1, true)] {
        let mut party = Party::new(12, &link(1));
        party.lab.open = true;
        for other in 1..10 {
            party.speak(0, other);
            party.speak(other, (other % 9) + 1);
        }
        party.lab.run_seconds(3);
        for other in 1..10 {
            party.speak(0, other);
        }
        let limits: Vec<usize> = (1..10).map(|other| party.limit(0, other)).collect();
        let (shortest, longest) = (limits.iter().min().unwrap(), limits.iter().max().unwrap());
        assert_eq!(shortest, longest);
        let mut frame = party.said(0, None);
        frame.resize(shortest - UNTAGGED - 9 * TAG + beyond, 7);
        party.send(0, &frame);
        party.lab.run_seconds(1);
        assert_eq!(party.counts(&frame)[1..10], [1; 9]);
        assert_eq!(party.counters(0).messages_cut > 0, cut, "{}", frame.len());
    }
}

impl Party {
    /// What the direct path from one to another carries.
    fn limit(&mut self, from: usize, to: usize) -> usize {
        let to = self.lab.key(self.members[to].0);
        let place = self.members[from].0;
        let id = self.lab.peer_id(place, &to);
        let peer = self.lab.hosts[place].engine.peers.get_mut(id).unwrap();
        let Some(crate::peers::Path::Direct(leg)) = peer.way() else {
            panic!("a direct path");
        };
        peer.direct.mtu(leg).unwrap().limit()
    }
}

#[test]
fn what_subscribers_get_and_what_goes_round_is_one() {
    let mut party = Party::new(8, &link(1));
    party.lab.open = true;
    let games = Channel::broadcasts(PORT);
    for member in 0..3 {
        let (place, network) = party.members[member];
        let now = party.lab.now;
        party.lab.hosts[place].engine.set_channels(now, network, &[games]);
    }
    party.lab.run_seconds(3);
    let pairs = [(0, 3), (3, 1), (3, 2), (3, 4)];
    pairs.into_iter().for_each(|(one, other)| party.speak(one, other));
    party.lab.run_seconds(3);
    pairs.into_iter().for_each(|(one, other)| party.speak(one, other));
    // So long that there is no room for tags, which would keep the third from sending it to the subscribers.
    let mut frame = party.said(0, None);
    frame.resize(party.limit(0, 3) - UNTAGGED - TAG, 7);
    party.send(0, &frame);
    party.lab.run_seconds(2);
    assert_eq!(party.counts(&frame), [0, 1, 1, 1, 1, 0, 0, 0]);
    assert!(party.counters(3).spread_forwarded >= 3);
    let twice = party.counters(1).spread_duplicates + party.counters(1).group_duplicates;
    assert!(twice > 0);
}

/// What is around a copy without tags: kind and place, level, budget and count, how many may send it on, token, signed part,
/// signature; header and tag of a datagram, UDP, IPv4.
const UNTAGGED: usize = 2 + 3 + 1 + 16 + 67 + 64 + 16 + 16 + 8 + 20;

/// The tag of one who may send it on, which stays.
const TAG: usize = 2;

#[test]
fn what_the_directory_answers_goes_to_nobody() {
    let mut party = Party::new(5, &link(1));
    party.speak(0, 1);
    let (mac, own) = (party.mac(0), party.ipv4(0));
    let arp = |target: Ipv4Addr| {
        let head = [&[0xff; 6][..], mac.as_bytes(), &[0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1]].concat();
        [&head[..], mac.as_bytes(), &own.octets(), &[0; 6], &target.octets()].concat()
    };
    let mut dhcp = party.said(0, None);
    let ports = dhcp.len() - 8;
    dhcp[ports..ports + 4].copy_from_slice(&[0, 68, 0, 67]);
    let announcement = arp(own);
    for frame in [&dhcp, &announcement] {
        party.send(0, frame);
        party.lab.run_seconds(2);
        assert_eq!(party.counts(frame), [0; 5]);
    }
    assert!(party.counters(0).group_kept_back >= 1);
    // Nor does anybody take or forward it from a member that sends it all the same.
    let identity = Identity::from_seed(Seed::from_bytes([2; 32]), Work::NONE).unwrap();
    let seconds = party.seconds();
    for frame in [&dhcp, &announcement] {
        let copy = party.made(&Genuine(&identity), frame, seconds);
        party.pass(0, 1, &copy);
        party.lab.run_seconds(1);
        assert_eq!(party.counts(frame), [0; 5]);
    }
    assert_eq!(party.counters(1).spread_refused, 2);
}

#[test]
fn whoever_is_muted_neither_hears_nor_is_heard() {
    for (count, all) in [(6, [0, 1, 1, 0, 0, 0].as_slice()), (3, &[0, 1, 1])] {
        let mut party = if count > 3 {
            Party::new(count, &link(1))
        } else {
            Party::with_company(count, &link(1))
        };
        for (one, other) in [(0, 1), (0, 2)] {
            party.speak(one, other);
        }
        assert_eq!(party.heard(0), all);
        let muted = party.lab.key(party.members[1].0).node_id();
        let (place, network) = party.members[0];
        assert!(party.lab.hosts[place].engine.set_muted(network, &muted, true));
        assert_eq!(party.heard(0)[..3], [0, 0, 1]);
        assert_eq!(party.heard(1)[0], 0);
        // Nor if it sends what goes to all as if it were for one.
        let frame = party.said(1, None);
        let (from, at) = party.members[1];
        let peer = party.lab.peer_id(from, &party.lab.key(place));
        let (mut out, now) = (Outbox::default(), party.lab.now);
        let engine = &mut party.lab.hosts[from].engine;
        engine.send_frame(now, peer, at, &frame, false, &mut out);
        engine.seal_pending(&mut out);
        party.lab.take(from, &mut out);
        party.lab.run_seconds(1);
        assert_eq!(party.counts(&frame)[0], 0);
        assert_eq!(party.heard(2)[0], 1);
        party.speak(0, 1);
        party.lab.hosts[place].engine.set_muted(network, &muted, false);
        assert_eq!(party.heard(0)[..3], [0, 1, 1]);
        assert_eq!(party.heard(1)[0], 1);
    }
}

#[test]
fn who_knows_nobody_is_given_company() {
    let mut party = Party::with_company(12, &link(1));
    party.lab.run_seconds(3);
    let heard = party.heard(0);
    let reached: usize = heard.iter().sum();
    assert!(reached >= 8, "{heard:?}");
    assert!(heard.iter().all(|count| *count <= 1), "{heard:?}");
    // As well as whoever joined last.
    assert!(party.heard(11).iter().sum::<usize>() >= 8);
}

/// The victim's key without its secret: what a liar can sign in somebody's name.
struct Pretender([u8; 32]);

impl Signer for Pretender {
    fn key(&self) -> [u8; 32] {
        self.0
    }

    fn sign(&self, _: &[u8]) -> [u8; 64] {
        [7; 64]
    }
}

/// Knows everybody, directly.
struct Everybody;

impl farlan_spreading::Neighbours for Everybody {
    fn rtt(&self, _: &NodeId) -> Option<Duration> {
        None
    }

    fn is_relayed(&self, _: &NodeId) -> bool {
        false
    }

    fn wants(&self, _: &NodeId, _: &farlan_spreading::ChannelOf) -> bool {
        true
    }

    fn admits(&self, _: &NodeId, _: &[u8; 32], _: &[u8]) -> bool {
        true
    }
}

impl Party {
    /// What a broadcast looks like that is signed by whoever this is, as its first receiver gets it.
    fn made(&mut self, signer: &dyn Signer, frame: &[u8], seconds: u64) -> Vec<u8> {
        let (place, network) = self.members[0];
        let network = self.lab.hosts[place].engine.networks.get(network).unwrap();
        let id = *network.id.as_bytes().first_chunk().unwrap();
        let mut spreading = Spreading::new(id, NodeId::from_bytes([1; 16]));
        let to = NodeId::from_bytes([2; 16]);
        let now = self.lab.now;
        spreading.contacts_mut().sent(now, &to);
        spreading.contacts_mut().received(now, &to);
        spreading.contacts_mut().set_need(&to, 64);
        self.marks += 1;
        let what = Origination {
            unix_ms: (BEGUN + seconds) * 1000 + u64::from(self.marks),
            token: [9; 16],
            frame,
            port: PORT,
            ceiling: 192,
            sample: &[],
            already: &[],
        };
        let copies = spreading.originate(now, &what, &Everybody, signer).unwrap();
        let Some(Form::Spread(spread)) = copies.first().map(|copy| &copy.form) else {
            panic!("it may go on");
        };
        let mut bytes = Vec::new();
        spread.write(&mut bytes);
        bytes
    }

    /// A member sends a copy to another.
    fn pass(&mut self, from: usize, to: usize, copy: &[u8]) {
        let (place, network) = self.members[from];
        let to = self.lab.key(self.members[to].0);
        let id = self.lab.peer_id(place, &to);
        let (mut out, now) = (Outbox::default(), self.lab.now);
        let engine = &mut self.lab.hosts[place].engine;
        let sent = engine.send_to_group(now, id, network, &mut out, |place| Content::Spread {
            network: place,
            copy,
        });
        assert!(sent);
        engine.seal_pending(&mut out);
        self.lab.take(place, &mut out);
    }

    fn seconds(&self) -> u64 {
        self.lab.now.as_nanos() / 1_000_000_000 - 1
    }
}

/// Signs with the key of a member.
struct Genuine<'a>(&'a Identity);

impl Signer for Genuine<'_> {
    fn key(&self) -> [u8; 32] {
        *self.0.public().as_bytes()
    }

    fn sign(&self, message: &[u8]) -> [u8; 64] {
        *self.0.sign(SIGNING_DOMAIN, message).as_bytes()
    }
}

#[test]
fn what_is_forged_altered_or_old_reaches_nobody() {
    let mut party = Party::new(6, &link(1));
    for (one, other) in [(1, 2), (2, 3), (0, 4)] {
        party.speak(one, other);
    }
    let victim = party.lab.key(party.members[0].0);
    let seed = u8::try_from(party.members[0].0 + 1).unwrap();
    let identity = Identity::from_seed(Seed::from_bytes([seed; 32]), Work::NONE).unwrap();
    assert_eq!(identity.public(), victim);
    let seconds = party.seconds();
    let frame = party.said(0, None);
    let mut heard = 0;
    for _ in 0..50 {
        let forged = party.made(&Pretender(*victim.as_bytes()), &frame, seconds);
        party.pass(1, 2, &forged);
        party.lab.run(Duration::from_millis(200));
        heard += party.counts(&frame).iter().sum::<usize>();
    }
    let genuine = party.made(&Genuine(&identity), &frame, seconds);
    // Whatever of the signed part is altered; the part before it is not.
    let signed = genuine.len() - 64 - 67 - frame.len();
    for at in signed..genuine.len() {
        let mut altered = genuine.clone();
        altered[at] ^= 1;
        party.pass(1, 2, &altered);
        party.lab.run(Duration::from_millis(200));
    }
    party.lab.run_seconds(2);
    assert_eq!(heard + party.counts(&frame).iter().sum::<usize>(), 0);
    let counters = party.counters(2);
    assert!(counters.spread_forged + counters.spread_refused + counters.spread_stale + counters.spread_limited >= 200);
    // The genuine one goes through at once, whatever was tried before.
    let seconds = party.seconds();
    let genuine = party.made(&Genuine(&identity), &frame, seconds);
    party.pass(1, 2, &genuine);
    party.lab.run_seconds(1);
    assert_eq!(
        party.counts(&frame),
        [0, 0, 1, 0, 0, 0],
        "level 1 counts from its origin alone"
    );
    // Again, and much later.
    for wait in [1, 30, 100, 700] {
        party.lab.run_seconds(wait);
        party.speak(1, 2);
        party.pass(1, 2, &genuine);
        party.lab.run_seconds(1);
        assert_eq!(party.counts(&frame).iter().sum::<usize>(), 1, "after {wait} s");
    }
}

#[test]
fn forged_broadcasts_in_a_members_name_do_not_silence_it() {
    let mut party = Party::new(6, &link(1));
    for (one, other) in [(0, 1), (1, 2), (3, 2)] {
        party.speak(one, other);
    }
    let victim = party.lab.key(party.members[0].0);
    let mut missed = 0;
    for _ in 0..5 {
        let false_frame = party.said(0, None);
        let true_frame = party.said(0, None);
        for number in 0..64 {
            let seconds = party.seconds();
            let forged = party.made(&Pretender(*victim.as_bytes()), &false_frame, seconds);
            party.pass(3, 2, &forged);
            if number == 40 {
                party.send(0, &true_frame);
            }
            party.lab.run(Duration::from_millis(15));
        }
        party.lab.run_seconds(1);
        missed += 2 - party.counts(&true_frame)[1..3].iter().sum::<usize>();
        assert_eq!(party.counts(&false_frame), [0; 6]);
        party.speak(0, 1);
        party.speak(1, 2);
        party.speak(3, 2);
    }
    assert_eq!(missed, 0);
}

#[test]
fn the_circle_says_who_gets_a_copy_and_why() {
    let mut party = Party::new(8, &link(1));
    for (one, other) in [(0, 1), (0, 2), (0, 2)] {
        party.speak(one, other);
        party.lab.run_seconds(1);
    }
    let node = |party: &Party, member: usize| party.lab.hosts[party.members[member].0].engine.node_id();
    let ask = |party: &Party, channel| {
        let (place, network) = party.members[0];
        party.lab.hosts[place]
            .engine
            .circle(party.lab.now, network, channel)
            .unwrap()
    };
    let copies = |status: CircleStatus| -> Vec<(NodeId, Why)> {
        let all = status.circle.unwrap().neighbours.into_iter();
        all.filter_map(|neighbour| Some((neighbour.node, neighbour.copy?.0)))
            .collect()
    };
    let [one, two] = [1, 2].map(|member| (node(&party, member), Why::Active));
    let status = ask(&party, None);
    assert_eq!((status.members, status.full_max, status.ceiling), (8, 3, 192));
    assert_eq!(status.subscribers, None);
    assert_eq!(copies(status), [two, one], "the one it spoke with more goes first");

    // Three subscribers can have a copy each, beside which it spreads; of more some are told, who get copies like contacts.
    let channel = Channel::broadcasts(PORT);
    for (subscribers, served) in [(vec![0, 3, 4], true), (vec![0, 3, 4, 5, 6], false)] {
        for member in &subscribers {
            let (place, network) = party.members[*member];
            let now = party.lab.now;
            party.lab.hosts[place].engine.set_channels(now, network, &[channel]);
        }
        party.lab.run_seconds(5);
        let status = ask(&party, Some(channel));
        let told = status.subscribers.clone().unwrap();
        assert_eq!((told.count, told.served), (subscribers.len(), served));
        assert!(!told.known.is_empty() && told.known.len() < told.count);
        assert_eq!(status.ceiling, if served { 190 } else { 192 });
        let copies = copies(status);
        let sampled = copies.iter().filter(|(_, why)| *why == Why::Sample).count();
        assert_eq!(sampled, if served { 0 } else { told.known.len() });
        assert_eq!(copies[..2], [two, one]);
    }

    // Who is muted is in no plan; who is pinned is first.
    let (place, network) = party.members[0];
    let engine = &mut party.lab.hosts[place].engine;
    assert!(engine.set_muted(network, &two.0, true) && engine.set_pinned(network, &one.0, true));
    assert_eq!(copies(ask(&party, None)), [(one.0, Why::Pinned)]);
}
