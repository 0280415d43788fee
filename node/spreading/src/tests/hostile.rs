//! What liars can do.

use super::*;
use crate::{MAX_TAGS, Message, Refusal};

const ORIGIN: u16 = 1;
const ME: u16 = 2;
const LIAR: u16 = 3;

/// Another child of the origin.
const CHILD: u16 = 4;

/// The node under attack: an active contact of the origin and of the liar, and of a hundred others.
fn me() -> (Spreading, Allowances) {
    let mut me = spreading(ME);
    for other in (0..200).filter(|other| *other != ME) {
        talk(&mut me, at(0), other, 3);
    }
    (me, Allowances::new())
}

/// A broadcast as its origin sends it to `ME`, with a share.
fn genuine(now: Time, text: &str) -> Vec<u8> {
    from_origin(now, text, ME)
}

fn from_origin(now: Time, text: &str, to: u16) -> Vec<u8> {
    let mut origin = spreading(ORIGIN);
    talk(&mut origin, now, to, 3);
    origin.contacts_mut().set_need(&node(to), 64);
    let frame = frame(text);
    let what = origination(now, &frame, 192);
    let copies = origin
        .originate(now, &what, &Around::default(), &Keys(key(ORIGIN)))
        .unwrap();
    bytes(&copies[0])
}

/// The same as a child of the origin sends it, with a share.
fn second_hand(now: Time, text: &str) -> Vec<u8> {
    let (mut child, mut allowances) = (spreading(CHILD), Allowances::new());
    talk(&mut child, now, ME, 3);
    talk(&mut child, now, ORIGIN, 3);
    child.contacts_mut().set_need(&node(ME), 8);
    let taken = take(&mut child, &mut allowances, now, ORIGIN, &from_origin(now, text, CHILD));
    let copy = taken.copies.iter().find(|copy| copy.to == node(ME)).unwrap();
    bytes(copy)
}

/// Where the signed part begins.
fn signed_at(bytes: &[u8]) -> usize {
    3 + 2 * usize::from(bytes[2]) + if bytes[1] > 0 { 17 } else { 0 }
}

fn resigned(bytes: &[u8], with: &[u8; 32]) -> Vec<u8> {
    let (start, end) = (signed_at(bytes), bytes.len() - 64);
    let mut bytes = bytes.to_vec();
    let made = signature(with, &bytes[start..end]);
    bytes[end..].copy_from_slice(&made);
    bytes
}

#[test]
fn nobody_speaks_in_anothers_name() {
    let (mut me, mut allowances) = me();
    let genuine = genuine(at(0), "hello");
    let forged = resigned(&genuine, &key(LIAR));
    let taken = take(&mut me, &mut allowances, at(0), LIAR, &forged);
    assert!(taken.ack.is_none() && taken.delivered.is_none() && taken.copies.is_empty());
    assert_eq!(me.counts().forged, 1);
    // It keeps nobody from hearing the genuine one.
    let taken = take(&mut me, &mut allowances, at(0), ORIGIN, &genuine);
    assert_eq!(taken.delivered, Some(frame("hello")));
    assert_eq!(taken.copies.len(), 64);
}

#[test]
fn nothing_that_is_signed_can_be_altered() {
    let genuine = genuine(at(0), "hello");
    let start = signed_at(&genuine);
    let (mut me, _) = me();
    for place in start..genuine.len() {
        for bit in 0..8 {
            let mut allowances = Allowances::new();
            let mut altered = genuine.clone();
            altered[place] ^= 1 << bit;
            let taken = take(&mut me, &mut allowances, at(0), LIAR, &altered);
            assert!(taken.delivered.is_none() && taken.copies.is_empty(), "{place}");
        }
    }
    for length in 0..genuine.len() {
        let mut allowances = Allowances::new();
        let taken = take(&mut me, &mut allowances, at(0), LIAR, &genuine[..length]);
        assert!(
            taken.ack.is_none() && taken.delivered.is_none() && taken.copies.is_empty(),
            "{length}"
        );
    }
}

#[test]
fn a_replay_is_known_for_a_while_and_then_too_old() {
    let (mut me, mut allowances) = me();
    let first = genuine(at(0), "hello");
    assert!(
        take(&mut me, &mut allowances, at(0), ORIGIN, &first)
            .delivered
            .is_some()
    );
    for seconds in (1..2000).step_by(7) {
        let now = at(1000 * seconds);
        for clock in [Some(clock(now)), None] {
            let taken = take_with(&mut me, &mut allowances, now, LIAR, &first, clock);
            assert!(
                taken.delivered.is_none() && taken.copies.is_empty(),
                "after {seconds} s"
            );
        }
    }
    // Somebody who never heard of it takes it for new for 60 s, and not at all without a clock.
    let stale = |milliseconds, clock| {
        let (mut me, mut allowances) = hostile::me();
        let taken = take_with(&mut me, &mut allowances, at(milliseconds), LIAR, &first, clock);
        assert_eq!(taken.why.is_none(), taken.delivered.is_some());
        taken.why == Some(Refusal::Stale) && taken.ack.is_some()
    };
    assert!(!stale(59_000, Some(clock(at(59_000)))));
    assert!(stale(61_000, Some(clock(at(61_000)))));
    assert!(stale(1000, None));
    assert!(stale(0, Some(clock(at(0)) - 61_000)));
}

#[test]
fn an_origin_whose_clock_is_wrong_is_heard_by_those_who_know_it_and_set_back_by_its_contacts() {
    let (mut me, mut allowances) = me();
    let day = Duration::from_secs(86_400);
    let wrong = |now: Time| now + day;
    let from_origin = genuine(wrong(at(0)), "1");
    assert!(
        take(&mut me, &mut allowances, at(0), ORIGIN, &from_origin)
            .delivered
            .is_some()
    );
    let by_another = genuine(wrong(at(5000)), "2");
    assert!(
        take(&mut me, &mut allowances, at(5000), 9, &by_another)
            .delivered
            .is_some()
    );
    // Set right, it is heard straight, and then by others; what was said before is not.
    let right = genuine(at(10_000), "3");
    assert_eq!(
        take(&mut me, &mut allowances, at(10_000), 9, &right).why,
        Some(Refusal::Stale)
    );
    assert!(
        take(&mut me, &mut allowances, at(10_000), ORIGIN, &right)
            .delivered
            .is_some()
    );
    assert!(
        take(&mut me, &mut allowances, at(11_000), 9, &genuine(at(11_000), "4"))
            .delivered
            .is_some()
    );
    let before = genuine(wrong(at(7000)), "5");
    assert_eq!(
        take(&mut me, &mut allowances, at(12_000), 9, &before).why,
        Some(Refusal::Stale)
    );
}

#[test]
fn nobody_raises_a_level() {
    // The origin's copy for a child, from that child as it came: it counts as one of level 2.
    let first = from_origin(at(0), "hello", CHILD);
    assert_eq!((first[0], first[signed_at(&first) - 17]), (1, 1));
    let (mut own, mut allowances) = me();
    let taken = take(&mut own, &mut allowances, at(0), CHILD, &first);
    assert!(taken.delivered.is_some());
    assert_eq!(taken.copies.len(), 8);
    assert!(taken.copies.iter().all(|copy| bytes(copy)[..3] == [3, 0, 0]));
    let leaf = bytes(&taken.copies[0]);

    // Whoever is none of the forwarders cannot claim to be one: with the copy of one, whatever level it says ...
    let message = Message::parse(&first).unwrap();
    let (_, token) = message.right().unwrap();
    let salt = crate::salt_of(&message.key(), message.time());
    let own_tag = crate::tag_of(salt, &node(LIAR)).to_be_bytes();
    let refused = |raised: &[u8]| {
        let (mut own, mut allowances) = me();
        let taken = take(&mut own, &mut allowances, at(0), LIAR, raised);
        assert!(taken.delivered.is_some() && taken.copies.is_empty());
    };
    for mut copy in [first.clone(), second_hand(at(0), "hello")] {
        for level in [1, 2] {
            copy[0] = level;
            refused(&copy);
        }
    }
    // ... with its own tag in the place of the forwarder's, or beside it, and the true token or another; nor without any.
    let signed = &first[signed_at(&first)..];
    let true_tag = &first[3..5];
    for level in [1, 2] {
        for token in [token, [0x55; 16]] {
            refused(&[&[level, 200, 1], &own_tag[..], &[1], &token, signed].concat());
            refused(&[&[level, 200, 2], true_tag, &own_tag, &[2], &token, signed].concat());
            refused(&[&[level, 200, 2], true_tag, &own_tag, &[1], &token, signed].concat());
            refused(&[&[level, 200, 0, 0][..], &token, &leaf[3..]].concat());
        }
    }
    // A child to which the origin gave nothing has no token.
    refused(&[&[2, 200, 1], &own_tag[..], &[1], &[0x55; 16], &leaf[3..]].concat());
    let (mut last, mut allowances) = me();
    let mut third = leaf;
    third[1] = 8;
    assert_eq!(
        take(&mut last, &mut allowances, at(0), LIAR, &third).why,
        Some(Refusal::Malformed)
    );
}

#[test]
fn nobody_raises_a_budget_or_a_ceiling() {
    let mut raised = genuine(at(0), "hello");
    raised[1] = 255;
    let (mut one, mut allowances) = me();
    let taken = take(&mut one, &mut allowances, at(0), ORIGIN, &raised);
    assert_eq!(taken.copies.len(), 64, "of an origin that wants more than it may");

    let mut raised = second_hand(at(0), "hello");
    assert_eq!(raised[0], 2);
    raised[1] = 255;
    let (mut one, mut allowances) = me();
    let taken = take(&mut one, &mut allowances, at(0), CHILD, &raised);
    assert_eq!(taken.copies.len(), 8);
    assert!(taken.copies.iter().all(|copy| bytes(copy)[0] == 3));

    // A ceiling below what the level allows holds.
    let small = |ceiling: u8| {
        let mut bytes = second_hand(at(0), "small");
        let place = signed_at(&bytes) + 64;
        bytes[place] = ceiling;
        let bytes = resigned(&bytes, &key(ORIGIN));
        let (mut me, mut allowances) = me();
        take(&mut me, &mut allowances, at(0), CHILD, &bytes).copies.len()
    };
    assert_eq!([small(3), small(192)], [3, 8]);
}

#[test]
fn forged_ones_in_somebodys_name_do_not_silence_it() {
    let (mut me, mut allowances) = me();
    let mut heard = 0;
    for second in 0..10 {
        for step in 0..64 {
            let now = at(1000 * second + 15 * step);
            let text = format!("{second} {step}");
            let forged = resigned(&genuine(now, &text), &key(LIAR));
            let taken = take(&mut me, &mut allowances, now, LIAR, &forged);
            assert!(taken.delivered.is_none() && taken.copies.is_empty());
            if step % 20 == 0 {
                let now = at(1000 * second + 15 * step + 1);
                let taken = take(&mut me, &mut allowances, now, CHILD, &second_hand(now, "I am here"));
                heard += usize::from(taken.delivered.is_some() && taken.copies.len() == 8);
            }
        }
    }
    assert_eq!(heard, 40);
}

#[test]
fn a_storm_of_one_origin_is_not_multiplied() {
    let (mut me, mut allowances) = me();
    let (mut sent, mut delivered) = (Vec::new(), 0);
    for second in 0..10 {
        let before: usize = sent.iter().sum();
        let mut now_sent = 0;
        for step in 0..1000 {
            let now = at(1000 * second + step);
            let storm = genuine(now, &format!("{second} {step}"));
            let taken = take(&mut me, &mut allowances, now, ORIGIN, &storm);
            delivered += usize::from(taken.delivered.is_some());
            now_sent += taken.copies.len();
            me.acknowledged(now, &node(0), &[], None);
        }
        sent.push(now_sent);
        assert!(before <= 256 + 64 * usize::try_from(second).unwrap());
    }
    assert!(
        sent.iter().all(|sent| *sent <= 320) && sent[1..].iter().all(|sent| *sent <= 65),
        "{sent:?}"
    );
    // The signatures that are checked are bounded, too.
    assert!((2500..=2760).contains(&delivered), "{delivered}");
    assert!(me.counts().limited > 0);
}

#[test]
fn many_origins_by_one_neighbour_or_to_one_channel_are_not_multiplied_either() {
    let (mut me, mut allowances) = me();
    let mut sent = 0;
    let mut origins: Vec<_> = (1000..1040).map(spreading).collect();
    for origin in &mut origins {
        talk(origin, at(0), LIAR, 3);
        origin.contacts_mut().set_need(&node(LIAR), 64);
    }
    for millisecond in (0..10_000).step_by(25) {
        let now = at(millisecond);
        let number = usize::try_from(millisecond / 25 % 40).unwrap();
        let frame = frame(&millisecond.to_string());
        let what = origination(now, &frame, 192);
        let signer = Keys(key(1000 + u16::try_from(number).unwrap()));
        let copies = origins[number]
            .originate(now, &what, &Around::default(), &signer)
            .unwrap();
        if matches!(copies[0].form, Form::Spread(_)) {
            let taken = take(&mut me, &mut allowances, now, LIAR, &bytes(&copies[0]));
            sent += taken.copies.len();
        }
        let now = at(millisecond);
        for origin in &mut origins {
            origin.contacts_mut().sent(now, &node(LIAR));
            origin.contacts_mut().received(now, &node(LIAR));
        }
    }
    assert!((1200..=256 + 1280).contains(&sent), "{sent}");
}

#[test]
fn a_number_claimed_by_one_suppresses_nothing_of_another() {
    let (mut me, mut allowances) = me();
    let genuine = genuine(at(0), "hello");
    let id = Message::parse(&genuine).unwrap().id();
    assert!(me.direct(at(0), &node(LIAR), id));
    let taken = take(&mut me, &mut allowances, at(0), ORIGIN, &genuine);
    assert_eq!(taken.delivered, Some(frame("hello")));
    // But each form of the same one is known by the other.
    assert!(!me.direct(at(0), &node(ORIGIN), id));
    let (mut other, mut allowances) = hostile::me();
    assert!(other.direct(at(0), &node(ORIGIN), id));
    assert!(!other.direct(at(0), &node(ORIGIN), id));
    let taken = take(&mut other, &mut allowances, at(0), 9, &genuine);
    assert!(taken.delivered.is_none() && taken.ack == Some(id) && taken.copies.is_empty());
}

#[test]
fn a_flood_of_direct_copies_pushes_out_no_signed_ones() {
    let (mut me, mut allowances) = me();
    let genuine = genuine(at(0), "hello");
    assert!(
        take(&mut me, &mut allowances, at(0), ORIGIN, &genuine)
            .delivered
            .is_some()
    );
    let taken = (0..100_000_u64)
        .filter(|number| me.direct(at(*number / 2), &node(LIAR), *number))
        .count();
    assert!((9600..=10_100).contains(&taken), "{taken}");
    let taken = take(&mut me, &mut allowances, at(50_000), 9, &genuine);
    assert!(taken.delivered.is_none() && taken.ack.is_some());
}

#[test]
fn tags_only_leave_out_those_they_stand_for() {
    // A liar who tags all it likes keeps a few from hearing it, by this way, and has no more tags than others.
    let first = genuine(at(0), "hello");
    let message = Message::parse(&first).unwrap();
    let salt = crate::salt_of(&message.key(), message.time());
    let mut tagged = vec![1, 64, u8::try_from(MAX_TAGS).unwrap()];
    tagged.extend_from_slice(&first[3..5]);
    for other in 0..71 {
        tagged.extend_from_slice(&crate::tag_of(salt, &node(10 + other)).to_be_bytes());
    }
    tagged.extend_from_slice(&first[signed_at(&first) - 17..]);
    let (mut me, mut allowances) = me();
    let taken = take(&mut me, &mut allowances, at(0), ORIGIN, &tagged);
    assert_eq!(taken.copies.len(), 64);
    let left_out: Vec<_> = (10..81).map(node).collect();
    assert!(taken.copies.iter().all(|copy| !left_out.contains(&copy.to)));
    tagged[2] += 1;
    assert_eq!(Message::parse(&tagged), Err(crate::Malformed));
}

#[test]
fn what_is_not_for_here_is_refused_and_only_acknowledged_if_it_would_be_again() {
    let genuine = genuine(at(0), "hello");
    let (mut other, mut allowances) = (Spreading::new([8; 8], node(ME)), Allowances::new());
    let taken = take(&mut other, &mut allowances, at(0), ORIGIN, &genuine);
    assert_eq!((taken.why, taken.ack), (Some(Refusal::OtherNetwork), None));
    let (mut me, mut allowances) = me();
    me.contacts_mut().mute(&node(ORIGIN));
    let taken = take(&mut me, &mut allowances, at(0), 9, &genuine);
    assert!(taken.why == Some(Refusal::Muted) && taken.ack.is_some());
    assert!(!me.direct(at(0), &node(ORIGIN), 1));
    me.contacts_mut().unmute(&node(ORIGIN));
    let mut around = Around::default();
    around.refused.insert(node(ORIGIN));
    let keys = Keys(key(0));
    let arrival = me.arrive(
        at(0),
        &node(9),
        &genuine,
        Some(clock(at(0))),
        &around,
        &keys,
        &mut allowances,
    );
    assert!(matches!(
        arrival,
        Arrival::Refused {
            why: Refusal::NotAdmitted,
            ack: Some(_)
        }
    ));
    assert!(take(&mut me, &mut allowances, at(0), 9, &genuine).delivered.is_some());
}
