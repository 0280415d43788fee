//! Config and revocations get to all members, whoever of them is there, and to nobody else.

use std::time::Duration;

use farlan_netconf::{
    AddressPlan,
    private::{Revocation, Revocations, Revoked, document_key},
};

use super::{
    club::{Club, MORNING, join, set_clock},
    lab::{Lab, Place, cut, frame, intact},
};
use crate::{
    Event, Membership, NetworkHandle, Role,
    wire::{
        control::{Control, Holding, Papers, Part, TO_BE_ANSWERED, WATCH},
        datagram::{Datagram, RelayTarget},
    },
};

/// A supernode at the first place, and members of one private network.
struct Town {
    lab: Lab,
    club: Club,
    networks: Vec<NetworkHandle>,
}

/// The supernode.
const SUPERNODE: Place = 0;

impl Town {
    /// Nobody has joined yet. Members are at the places from 1 on.
    fn empty(members: usize) -> Self {
        let mut lab = Lab::new();
        lab.add(Role::Supernode);
        for _ in 0..members {
            let place = lab.add(Role::Node);
            lab.set_world(place, 1, &[SUPERNODE]);
            set_clock(&mut lab, place, MORNING);
        }
        Self {
            lab,
            club: Club::new(100),
            networks: vec![NetworkHandle(0); members + 1],
        }
    }

    fn new(members: usize) -> Self {
        let mut town = Self::empty(members);
        for place in 1..=members {
            let membership = town.membership(place);
            town.join(place, membership);
        }
        town.lab.run_seconds(5);
        town
    }

    fn membership(&mut self, place: Place) -> Membership {
        let key = self.lab.key(place);
        self.club.member(key)
    }

    fn join(&mut self, place: Place, membership: Membership) {
        self.networks[place] = join(&mut self.lab, place, &self.club, membership);
    }

    /// A member's machine starts anew with what it has on disk.
    fn start_anew(&mut self, place: Place, membership: Membership) {
        self.lab.restart(place);
        self.lab.set_world(place, 1, &[SUPERNODE]);
        set_clock(&mut self.lab, place, MORNING);
        self.lab.hosts[place].frames.clear();
        self.join(place, membership);
    }

    fn shares(&self, place: Place, with: Place) -> bool {
        let engine = &self.lab.hosts[place].engine;
        let id = engine.peers.by_node(&self.lab.key(with).node_id());
        id.is_some_and(|id| engine.shares(id, self.networks[place]))
    }

    fn has_session(&self, place: Place, with: Place) -> bool {
        let engine = &self.lab.hosts[place].engine;
        let id = engine.peers.by_node(&self.lab.key(with).node_id());
        let peer = id.and_then(|id| engine.peers.get(id));
        peer.is_some_and(|peer| peer.sessions.current().is_some())
    }

    fn revocations(&self, place: Place) -> usize {
        let engine = &self.lab.hosts[place].engine;
        engine.revocations(self.networks[place]).unwrap().len()
    }

    fn counter(&self, place: Place) -> u64 {
        let engine = &self.lab.hosts[place].engine;
        engine
            .config(self.networks[place])
            .map_or(0, |config| config.fields().counter)
    }

    /// The controller's daemon at `place` hands over what the network key signed, and puts it where supernodes keep it.
    fn hand_over(&mut self, place: Place, version: u64) {
        let (now, network) = (self.lab.now, self.networks[place]);
        let (config, revocations) = (self.club.config(), self.club.revocations.clone());
        let sealed = self.club.sealed(version);
        let engine = &mut self.lab.hosts[place].engine;
        engine.set_documents(now, network, Some(config), &revocations);
        assert_eq!(engine.publish(now, network, &sealed), sealed.len());
    }

    fn kick(&mut self, at: Place, victim: Place, version: u64) {
        let victim = self.lab.key(victim);
        self.club.kick(victim);
        self.club.renew_secret();
        self.hand_over(at, version);
    }

    fn send(&mut self, from: Place, to: Place, mark: u8) {
        let plan = AddressPlan::new(&self.club.network.id(), self.club.network.subnet());
        let mac = |place: Place| plan.mac(&self.lab.key(place).node_id());
        let frame = frame(mac(to), mac(from), mark);
        self.lab.send(from, self.networks[from], &frame);
    }

    /// Frames that came from a member.
    fn frames_from(&self, at: Place, from: Place) -> usize {
        let plan = AddressPlan::new(&self.club.network.id(), self.club.network.subnet());
        let source = plan.mac(&self.lab.key(from).node_id());
        let frames = self.lab.hosts[at].frames.iter();
        frames
            .filter(|(_, frame)| frame[6..12] == source.as_bytes()[..])
            .count()
    }

    /// Runs in small steps until something is so; how long that took.
    fn until(&mut self, most: Duration, is: impl Fn(&Self) -> bool) -> Option<Duration> {
        let begun = self.lab.now;
        while !is(self) {
            if self.lab.now.since(begun) >= most {
                return None;
            }
            self.lab.run(Duration::from_millis(5));
        }
        Some(self.lab.now.since(begun))
    }

    fn documents_kept(&self) -> usize {
        self.lab.hosts[SUPERNODE].engine.anchor().documents
    }

    fn events(&self, place: Place) -> &[Event] {
        &self.lab.hosts[place].events
    }

    /// Revocations of nobody that is here.
    fn revoke_others(&mut self, count: u32) {
        for number in 0..count {
            let mut node = [9; 32];
            node[..4].copy_from_slice(&number.to_be_bytes());
            self.club.revoke(Revoked::Member { node, issue: 1 });
        }
    }
}

/// Whether a datagram is for somebody else than whoever it goes to first.
fn is_relayed(bytes: &[u8]) -> bool {
    matches!(
        Datagram::parse(bytes),
        Ok(Datagram::Relay {
            destination: RelayTarget::Index(_) | RelayTarget::Node(_) | RelayTarget::Remote { .. },
            ..
        })
    )
}

#[test]
fn a_kick_reaches_whoever_is_connected_in_two_round_trips() {
    for others in [0, 300] {
        let mut town = Town::new(5);
        town.revoke_others(others);
        town.hand_over(1, 1);
        town.lab.run_seconds(10);
        for place in 2..=5 {
            assert!(town.shares(1, place) && town.shares(place, 5) || place == 5, "{place}");
            assert_eq!(town.revocations(place), usize::try_from(others).unwrap());
        }
        town.kick(1, 5, 2);
        let out = |town: &Town| (1..=4).all(|place| !town.shares(place, 5) && town.revocations(place) > 0);
        let all = usize::try_from(others).unwrap() + 1;
        let all = move |town: &Town| out(town) && (1..=4).all(|place| town.revocations(place) == all);
        // Over the supernode a datagram takes two times 20 ms.
        let took = town.until(Duration::from_secs(5), all).expect("it comes");
        assert!(took <= Duration::from_millis(160), "{took:?}");
        assert!(
            town.until(Duration::from_secs(1), |town| (1..=4)
                .all(|place| town.counter(place) == 2))
                .is_some()
        );
        for place in 2..=4 {
            let kept = town.events(place).iter().rev().find_map(|event| match event {
                Event::DocumentsChanged {
                    config, revocations, ..
                } => Some((config.clone(), revocations.clone())),
                _ => None,
            });
            let (config, revocations) = kept.expect("to be kept");
            assert_eq!(*config.unwrap(), town.club.config());
            assert_eq!(*revocations, town.club.revocations);
        }
        town.lab.run_seconds(60);
        assert_eq!(town.counter(5), 1, "who was kicked knows the former secret only");
        for place in 2..=4 {
            assert!(town.shares(1, place) && town.shares(place, 1), "{place}");
        }
    }
}

#[test]
fn who_meets_nobody_hears_of_a_kick_from_the_supernode() {
    for lossy in [false, true] {
        let mut town = Town::empty(3);
        let mut passed = 0_u32;
        // No two members reach each other, straight or over the supernode.
        town.lab.wire = Box::new(move |from, to, bytes| {
            passed += 1;
            let between = from != SUPERNODE && to != SUPERNODE || is_relayed(bytes);
            !(between || lossy && passed.is_multiple_of(3))
        });
        for place in 1..=3 {
            let membership = town.membership(place);
            town.join(place, membership);
        }
        town.lab.run_seconds(20);
        town.kick(1, 3, 1);
        let heard = town.until(Duration::from_secs(30), |town| town.revocations(2) == 1);
        assert!(
            heard.is_some_and(|took| lossy || took < Duration::from_secs(2)),
            "{heard:?}"
        );
        assert!((1..=3).all(|place| (1..=3).all(|other| !town.has_session(place, other))));
        // Under the secret in force and the former one.
        let two = |town: &Town| town.documents_kept() == 2;
        assert!(town.until(Duration::from_secs(30), two).is_some());
    }
}

/// The first member kicks the third while the second is away, and goes. What the second has after it came back to the
/// third, who sends all the time: frames of the third, and how many revocations.
fn comes_back(supernode: bool, other: bool) -> (usize, usize) {
    let mut town = Town::new(4);
    let papers = town.club.papers();
    let key = town.lab.key(2);
    let membership = Membership {
        credential: Some(town.club.sign(town.club.fields_of(2, key))),
        ..papers
    };
    assert!(town.shares(2, 3));
    // It does not do what is right.
    let network = town.networks[3];
    town.lab.hosts[3].engine.networks.deaf_for_test(network);
    town.lab.wire = Box::new(|from, to, _| from != 2 && to != 2);
    town.lab.run_seconds(1);
    // A long document, which takes its time.
    town.revoke_others(300);
    town.kick(1, 3, 1);
    town.lab.run_seconds(10);
    assert!(!town.shares(1, 3) && !town.shares(4, 3));
    // The controller is gone, and so is who is not wanted. A switch connects the others, who meet there before any supernode has
    // answered.
    town.lab.open = true;
    town.lab.wire = Box::new(move |from, to, _| {
        let there = |place| place == 2 || place == 3 || supernode && place == SUPERNODE || other && place == 4;
        there(from) && there(to)
    });
    town.start_anew(2, membership);
    for place in [2, 3, 4] {
        town.lab.plug(place, 1);
    }
    for mark in 0..100 {
        town.send(3, 2, mark);
        town.send(2, 3, mark);
        town.lab.run(Duration::from_millis(200));
    }
    (town.frames_from(2, 3), town.revocations(2))
}

#[test]
fn who_was_away_at_a_kick_hears_of_it_from_the_supernode_before_the_victim_is_heard() {
    assert_eq!(comes_back(true, false), (0, 301));
}

#[test]
fn who_was_away_at_a_kick_hears_of_it_from_the_first_member_that_it_meets() {
    let (frames, revocations) = comes_back(false, true);
    assert_eq!(revocations, 301);
    // It may meet the victim first.
    assert!(frames < 20, "{frames}");
}

/// The limit: nobody is there to tell.
#[test]
fn who_comes_back_to_the_victim_alone_cannot_know() {
    let (frames, revocations) = comes_back(false, false);
    assert_eq!(revocations, 0);
    assert!(frames > 20, "{frames}");
}

#[test]
fn what_a_supernode_lost_members_bring_back() {
    let mut town = Town::new(3);
    town.kick(1, 3, 1);
    town.lab.run_seconds(10);
    assert_eq!(town.documents_kept(), 2);
    // The controller is gone.
    town.lab.wire = Box::new(|from, to, _| from != 1 && to != 1);
    town.lab.restart(SUPERNODE);
    assert_eq!(town.documents_kept(), 0);
    assert!(
        town.until(Duration::from_secs(120), |town| town.documents_kept() == 2)
            .is_some()
    );
}

#[test]
fn long_documents_arrive_whatever_is_lost() {
    let mut town = Town::new(2);
    town.revoke_others(700);
    let mut passed = 0_u32;
    town.lab.wire = Box::new(move |_, _, _| {
        passed += 1;
        !passed.is_multiple_of(7)
    });
    town.hand_over(1, 1);
    let all = |town: &Town| town.revocations(2) == 700 && town.documents_kept() == 1;
    assert!(town.until(Duration::from_secs(60), all).is_some());
    // Who comes later has the newest 560 of the supernode, and all of a member.
    town.lab.wire = cut(1, 2);
    let kept = town.lab.hosts[SUPERNODE].engine.anchor();
    assert!((63_000..65_000).contains(&kept.document_bytes), "{kept:?}");
}

#[test]
fn signatures_are_checked_a_few_in_a_turn_and_known_ones_not_again() {
    let mut town = Town::new(2);
    town.revoke_others(400);
    let work = |town: &Town| town.lab.hosts[2].engine.counters().public_key_work;
    let before = work(&town);
    let (now, network, revocations) = (town.lab.now, town.networks[1], town.club.revocations.clone());
    town.lab.hosts[1].engine.set_documents(now, network, None, &revocations);
    assert!(
        town.until(Duration::from_secs(10), |town| town.revocations(2) == 400)
            .is_some()
    );
    let done = work(&town) - before;
    assert!((200..=230).contains(&done), "two in a turn: {done}");
    // Another 9: what is known costs no signature.
    for number in 0..9 {
        town.club.revoke(Revoked::Member {
            node: [100 + number; 32],
            issue: 1,
        });
    }
    let before = work(&town);
    let (now, revocations) = (town.lab.now, town.club.revocations.clone());
    town.lab.hosts[1].engine.set_documents(now, network, None, &revocations);
    assert!(
        town.until(Duration::from_secs(10), |town| town.revocations(2) == 409)
            .is_some()
    );
    let done = work(&town) - before;
    assert!(done <= 20, "{done}");
}

#[test]
fn two_configs_of_one_number_are_reported_and_one_is_in_force() {
    let mut town = Town::new(2);
    let (one, other) = (town.club.config(), town.club.other_config());
    let (lower, higher) = if one.order() < other.order() {
        (one, other)
    } else {
        (other, one)
    };
    let now = town.lab.now;
    for (place, config) in [(1, &lower), (2, &higher)] {
        let (network, none) = (town.networks[place], Revocations::new(town.club.network));
        town.lab.hosts[place]
            .engine
            .set_documents(now, network, Some(config.clone()), &none);
    }
    town.lab.run_seconds(5);
    let forked = |event: &&Event| matches!(event, Event::ConfigForked { counter: 1, .. });
    for place in [1, 2] {
        let engine = &town.lab.hosts[place].engine;
        assert_eq!(engine.config(town.networks[place]), Some(&higher));
        assert!(town.events(place).iter().filter(forked).count() <= 1);
    }
    let reported = town.events(1).iter().filter(forked).count();
    assert_eq!(reported, 1, "whoever has seen both");
}

#[test]
fn a_new_seed_hides_the_members_from_who_was_kicked() {
    let mut town = Town::new(3);
    let before = town.club.config().secrets()[0].member_key();
    town.kick(1, 3, 1);
    town.lab.run_seconds(5);
    let secret = &town.club.config().secrets()[0];
    assert_ne!(secret.member_key(), before);
    for place in [1, 2] {
        let network = town.lab.hosts[place].engine.networks.get(town.networks[place]).unwrap();
        assert_eq!(network.member_key, secret.member_key());
    }
    let network = town.lab.hosts[3].engine.networks.get(town.networks[3]).unwrap();
    assert!(network.secret_under(&secret.member_key()).is_none());
    // New sessions, and still nothing for the third.
    for place in 1..=3 {
        let id = town.lab.key(place % 3 + 1);
        town.lab.tell(place, &id, Control::Bye);
    }
    for mark in 0..40 {
        town.send(3, 1, mark);
        town.send(3, 2, mark);
        town.send(1, 2, mark);
        town.lab.run_seconds(1);
    }
    assert_eq!((town.frames_from(1, 3), town.frames_from(2, 3)), (0, 0));
    assert!(town.frames_from(2, 1) >= 30);
    assert_eq!(town.counter(3), 1);
}

/// Everything that somebody may ask for.
fn questions() -> Vec<Papers> {
    let mut questions = Vec::new();
    for place in 0..8 {
        for part in [Part::Config, Part::Revocations, Part::News] {
            questions.push(Papers::Wanted { place, part, offset: 0 });
        }
        let holding = Holding {
            counter: 0,
            hash: [0; 8],
            digest: [1; 16],
        };
        questions.push(Papers::Told {
            number: 1000,
            place,
            holding,
        });
    }
    questions
}

#[test]
fn who_is_no_member_gets_no_document() {
    let mut town = Town::new(3);
    town.kick(1, 3, 1);
    town.lab.run_seconds(5);
    assert!(town.has_session(1, 3));
    let key = town.lab.key(1);
    let sent = |town: &mut Town| {
        town.lab.log = Some(Vec::new());
        for question in questions() {
            town.lab.tell(3, &key, Control::Papers(question));
        }
        town.lab.run(Duration::from_millis(300));
        let log = town.lab.log.take().unwrap();
        log.iter()
            .filter(|sent| sent.from == 1)
            .map(|sent| sent.bytes.len())
            .sum::<usize>()
    };
    let asked = sent(&mut town);
    assert!(asked < 500, "acknowledgements and signs of life at the most: {asked}");
    assert_eq!(town.counter(3), 1);
}

/// What a peer does that is up to no good.
fn annoyed_by(town: &mut Town, answers: impl Fn(Part, u32) -> Option<Papers>) -> (u64, usize) {
    let victim = town.lab.key(2);
    let (mut number, mut most) = (100, 0);
    for _ in 0..200 {
        number += 1;
        let told = Papers::Told {
            number,
            place: 0,
            holding: Holding {
                counter: 99,
                hash: [1; 8],
                digest: [u8::try_from(number % 250).unwrap(); 16],
            },
        };
        town.lab.tell(1, &victim, Control::Papers(told));
        for part in [Part::News, Part::Revocations, Part::Config] {
            for offset in 0..20 {
                if let Some(answer) = answers(part, offset * 1000) {
                    town.lab.tell(1, &victim, Control::Papers(answer));
                }
            }
        }
        town.lab.run(Duration::from_secs(1));
        most = most.max(town.lab.hosts[2].engine.documents_fetching().1);
    }
    (town.lab.hosts[2].engine.counters().documents_refused, most)
}

#[test]
fn a_member_that_sends_rubbish_is_asked_once_in_ten_minutes() {
    let piece = |part, length, offset, bytes: Vec<u8>| Papers::Piece {
        place: 0,
        part,
        hash: [3; 8],
        length,
        offset,
        bytes,
    };
    let mut town = Town::new(3);
    // Pieces of the wrong length, then a set whose signatures are wrong, and a config that is none.
    let (refused, _) = annoyed_by(&mut town, |part, offset| Some(piece(part, 900, offset, vec![1; 7])));
    assert_eq!(refused, 1);
    let mut town = Town::new(3);
    let forged: Vec<u8> = [&[0, 1, 1][..], &[5; Revocation::LENGTH - 1]].concat();
    let (refused, _) = annoyed_by(&mut town, |part, offset| {
        let length = u32::try_from(forged.len()).unwrap();
        (offset == 0).then(|| piece(part, length, 0, forged.clone()))
    });
    assert_eq!(refused, 1);
    // One that never ends, and changes all the time, takes no more room than a set may have.
    let mut town = Town::new(3);
    let (_, most) = annoyed_by(&mut town, |part, offset| {
        Some(piece(part, 460_000, offset, vec![0; 1000]))
    });
    assert!(most <= Revocations::MAX_SIZE, "{most}");
    // What others bring comes meanwhile.
    town.kick(3, 1, 1);
    assert!(
        town.until(Duration::from_secs(5), |town| town.revocations(2) == 1)
            .is_some()
    );
}

/// Tells the supernode of a document, and brings it when asked.
fn bring(town: &mut Town, from: Place, document: &[u8], as_key: Option<farlan_netconf::DirectoryKey>, version: u64) {
    let supernode = town.lab.key(SUPERNODE);
    let key = as_key.unwrap_or_else(|| {
        farlan_netconf::private::SealedDocument::decode(document)
            .unwrap()
            .document_key()
    });
    let held = Papers::Held {
        key,
        version,
        flags: WATCH | TO_BE_ANSWERED,
    };
    town.lab.tell(from, &supernode, Control::Papers(held));
    town.lab.run(Duration::from_millis(100));
    let length = u32::try_from(document.len()).unwrap();
    for (number, piece) in document.chunks(1000).enumerate() {
        let piece = Papers::SealedPiece {
            key,
            version,
            length,
            offset: u32::try_from(number * 1000).unwrap(),
            bytes: piece.to_vec(),
        };
        town.lab.tell(from, &supernode, Control::Papers(piece));
    }
    town.lab.run_seconds(1);
}

#[test]
fn a_supernode_takes_no_document_that_is_forged_older_or_anothers() {
    let mut town = Town::new(3);
    let secret = &town.club.config().secrets()[0];
    let key = document_key(town.club.network.key(), secret);
    let kept = |town: &Town| {
        let counters = town.lab.hosts[SUPERNODE].engine.counters();
        (
            town.documents_kept(),
            counters.documents_kept,
            counters.documents_refused,
        )
    };
    let sealed = |town: &Town, version| town.club.sealed(version).remove(0);
    let (second, third) = (sealed(&town, 2), sealed(&town, 3));
    bring(&mut town, 1, &second, None, 2);
    assert_eq!(kept(&town), (1, 1, 0));
    // An older one is not even asked for, and one that says to be newer than it is is refused.
    let older = sealed(&town, 1);
    bring(&mut town, 1, &older, None, 1);
    assert_eq!(kept(&town), (1, 1, 0));
    bring(&mut town, 1, &older, None, 9);
    assert_eq!(kept(&town), (1, 1, 1));
    // Somebody who did that is not asked for a while.
    bring(&mut town, 1, &third, None, 3);
    assert_eq!(kept(&town), (1, 1, 1));
    let mut forged = third.clone();
    let last = forged.len() - 1;
    forged[last] ^= 1;
    bring(&mut town, 2, &forged, Some(key), 3);
    assert_eq!(kept(&town), (1, 1, 2));
    // The document of another network under this one's name.
    let mut other = Club::new(101);
    other.number_config(2);
    let foreign = other.sealed(4).remove(0);
    bring(&mut town, 3, &foreign, Some(key), 4);
    assert_eq!(kept(&town), (1, 1, 3));
    town.lab.run_seconds(700);
    bring(&mut town, 1, &third, None, 3);
    assert_eq!(kept(&town), (1, 2, 3));
}

#[test]
fn a_supernode_keeps_what_fits_and_what_was_used_last() {
    let mut lab = Lab::new();
    lab.limits.documents = 3000;
    let mut town = Town::empty(0);
    town.lab = lab;
    town.lab.add(Role::Supernode);
    for _ in 0..2 {
        let place = town.lab.add(Role::Node);
        town.lab.set_world(place, 1, &[SUPERNODE]);
        set_clock(&mut town.lab, place, MORNING);
    }
    town.networks = vec![NetworkHandle(0); 3];
    for place in 1..=2 {
        let membership = town.membership(place);
        town.join(place, membership);
    }
    town.lab.run_seconds(5);
    let documents: Vec<Vec<u8>> = (0..10)
        .map(|number| Club::with_secret(50 + number, number).sealed(1).remove(0))
        .collect();
    for document in &documents {
        bring(&mut town, 1, document, None, 1);
    }
    let status = town.lab.hosts[SUPERNODE].engine.anchor();
    assert!(status.document_bytes <= 3000, "{status:?}");
    assert!((4..10).contains(&status.documents), "{status:?}");
    let counters = town.lab.hosts[SUPERNODE].engine.counters();
    assert_eq!(counters.documents_kept, 10);
    assert_eq!(
        counters.documents_displaced,
        10 - u64::try_from(status.documents).unwrap()
    );
}

#[test]
fn what_a_supernode_forged_is_not_taken_and_it_is_not_asked_again() {
    let mut town = Town::new(3);
    let mut other = Club::with_secret(100, 100);
    std::mem::swap(&mut other.revocations, &mut town.club.revocations);
    let secret = &town.club.config().secrets()[0];
    let key = document_key(town.club.network.key(), secret);
    let member = town.lab.key(2);
    let told = |town: &mut Town, papers| {
        town.lab.tell(SUPERNODE, &member, Control::Papers(papers));
        town.lab.run(Duration::from_millis(200));
    };
    let held = |version| Papers::Held {
        key,
        version,
        flags: TO_BE_ANSWERED,
    };
    told(&mut town, held(5));
    told(
        &mut town,
        Papers::SealedPiece {
            key,
            version: 5,
            length: 300,
            offset: 0,
            bytes: vec![1; 300],
        },
    );
    let refused = |town: &Town| town.lab.hosts[2].engine.counters().documents_refused;
    assert_eq!(refused(&town), 1);
    told(&mut town, held(6));
    told(
        &mut town,
        Papers::SealedPiece {
            key,
            version: 6,
            length: 300,
            offset: 0,
            bytes: vec![1; 300],
        },
    );
    assert_eq!((refused(&town), town.revocations(2)), (1, 0));
}

#[test]
fn who_has_news_greets_those_whom_it_does_not_meet() {
    let mut town = Town::empty(4);
    // The third and the fourth are listed, but met nobody.
    town.lab.wire = Box::new(|from, to, bytes| !(is_relayed(bytes) && (from >= 3 || to >= 3)));
    for place in 1..=4 {
        let membership = town.membership(place);
        town.join(place, membership);
    }
    town.lab.run_seconds(40);
    assert!(town.shares(1, 2) && !town.has_session(1, 3) && !town.has_session(2, 3));
    town.lab.wire = intact();
    let victim = town.lab.key(4);
    town.club.kick(victim);
    let (now, network, revocations) = (town.lab.now, town.networks[1], town.club.revocations.clone());
    town.lab.hosts[1].engine.set_documents(now, network, None, &revocations);
    let heard = town.until(Duration::from_secs(30), |town| town.revocations(3) == 1);
    assert!(heard.is_some_and(|took| took < Duration::from_secs(12)), "{heard:?}");
    assert!(!town.shares(3, 4));
}

#[test]
fn a_network_without_supernodes_is_shared_after_three_seconds() {
    let mut town = Town::empty(2);
    town.lab.open = true;
    town.lab.wire = Box::new(|from, to, _| from != SUPERNODE && to != SUPERNODE);
    let begun = town.lab.now;
    for place in 1..=2 {
        let membership = town.membership(place);
        town.join(place, membership);
        town.lab.plug(place, 1);
    }
    assert!(town.until(Duration::from_secs(5), |town| town.shares(1, 2)).is_some());
    let took = town.lab.now.since(begun);
    assert!(took >= Duration::from_secs(3), "{took:?}");
}

#[test]
fn who_was_kicked_gets_no_new_seed_from_somebody_who_does_not_know_that_yet() {
    let mut town = Town::new(3);
    assert!(town.shares(2, 3) && town.shares(1, 2));
    let victim = town.lab.key(3);
    town.club.kick(victim);
    town.club.renew_secret();
    let (now, network) = (town.lab.now, town.networks[1]);
    let (config, revocations) = (town.club.config(), town.club.revocations.clone());
    let engine = &mut town.lab.hosts[1].engine;
    engine.set_documents(now, network, Some(config), &revocations);
    // The controller goes as soon as the second has anything of it.
    let something = |town: &Town| town.revocations(2) == 1 || town.counter(2) == 2;
    assert!(town.until(Duration::from_secs(2), something).is_some());
    town.lab.wire = Box::new(|from, to, _| from != 1 && to != 1);
    town.lab.run_seconds(10);
    assert_eq!((town.counter(3), town.revocations(2)), (1, 1));
}
