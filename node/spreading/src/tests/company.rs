//! Whom a node counts as a contact.

use super::*;
use crate::{Acknowledged, Contacts};

fn contacts() -> Contacts {
    Contacts::new(node(0))
}

fn second(seconds: u64) -> Time {
    at(1000 * seconds)
}

fn both(contacts: &mut Contacts, now: Time, number: u16) {
    contacts.sent(now, &node(number));
    contacts.received(now, &node(number));
}

#[test]
fn frames_make_a_contact_if_they_go_both_ways_within_a_second() {
    let mut contacts = contacts();
    contacts.sent(at(0), &node(1));
    contacts.received(at(1001), &node(1));
    assert!(!contacts.is_active(at(1001), &node(1)));
    contacts.sent(at(1900), &node(1));
    assert!(contacts.is_active(at(1900), &node(1)));
    assert!(contacts.is_active(at(31_899), &node(1)) && !contacts.is_active(at(31_901), &node(1)));
    for _ in 0..100 {
        contacts.sent(at(2000), &node(2));
        contacts.received(at(2000), &node(3));
    }
    assert!(!contacts.is_active(at(2000), &node(2)) && !contacts.is_active(at(2000), &node(3)));
    both(&mut contacts, at(2000), 0);
    assert!(!contacts.is_active(at(2000), &node(0)), "oneself is none");
}

#[test]
fn a_score_counts_seconds_and_halves_in_thirty() {
    let mut contacts = contacts();
    let score = |contacts: &Contacts, now| contacts.find(&node(1)).unwrap().score(now);
    for millisecond in (0..20_000).step_by(10) {
        both(&mut contacts, at(millisecond), 1);
    }
    let then = score(&contacts, at(19_000));
    // 20 seconds, each a little less than the one after it.
    assert!((15.0..17.0).contains(&(f64::from(then) / 65536.0)), "{then}");
    for halvings in 1..16 {
        let now = at(19_000 + 30_000 * halvings);
        assert_eq!(score(&contacts, now), then >> halvings);
    }
    assert_eq!(score(&contacts, at(10_000_000_000)), 0);
    // The most that there is.
    for step in 0..100_000 {
        both(&mut contacts, second(100_000 + step), 1);
    }
    let most = f64::from(score(&contacts, second(199_999))) / 65536.0;
    assert!((43.0..45.0).contains(&most), "{most}");
}

#[test]
fn the_need_is_that_of_so_many_active_and_recent_ones() {
    let mut contacts = contacts();
    for number in 1..=10 {
        both(&mut contacts, second(0), number);
    }
    assert_eq!(contacts.need(second(29)), 10);
    for number in 11..=50 {
        both(&mut contacts, second(100), number);
    }
    assert_eq!(contacts.need(second(100)), 50);
    assert_eq!(contacts.need(second(200)), 16);
    contacts.dead(&node(50));
    for number in 51..=200 {
        both(&mut contacts, second(599), number);
    }
    assert_eq!(contacts.need(second(599)), 80);
    assert_eq!(contacts.need(second(800)), 16);
    assert_eq!(contacts.need(second(1200)), 0);
}

#[test]
fn where_all_places_are_taken_the_lowest_score_gives_way_and_is_told() {
    let mut contacts = contacts();
    for number in 1..=256 {
        for step in 0..=u64::from(number % 100) {
            both(&mut contacts, second(step), number);
        }
    }
    // Those with the most recent scores have 100; node 100 has been there once, at the beginning.
    both(&mut contacts, second(100), 300);
    assert!(contacts.is_active(second(100), &node(300)));
    let gone = contacts.take_farewell(second(100)).unwrap();
    assert!([100, 200].map(node).contains(&gone));
    both(&mut contacts, second(100), 301);
    both(&mut contacts, second(100), 302);
    assert_eq!(contacts.take_farewell(second(100)), None, "one a second");
    assert!(contacts.take_farewell(second(101)).is_some() && contacts.take_farewell(second(102)).is_some());
    assert_eq!(contacts.take_farewell(second(103)), None);
    assert_eq!(contacts.all(second(103)).len(), 256);

    // Where all have a higher score, it is the new one that goes.
    let mut contacts = Contacts::new(node(0));
    for number in 1..=256 {
        for step in 0..5 {
            both(&mut contacts, second(step), number);
        }
    }
    both(&mut contacts, second(5), 300);
    assert!(!contacts.is_active(second(5), &node(300)));
    assert_eq!(contacts.take_farewell(second(5)), Some(node(300)));
    contacts.bye(&node(7));
    both(&mut contacts, second(7), 300);
    assert!(contacts.is_active(second(7), &node(300)) && !contacts.is_active(second(7), &node(7)));
    // Whoever is back before it was told need not be.
    both(&mut contacts, second(8), 300);
    both(&mut contacts, second(8), 301);
    contacts.bye(&node(8));
    both(&mut contacts, second(10), 301);
    assert!(contacts.is_active(second(10), &node(301)));
    assert_eq!(contacts.take_farewell(second(10)), None);
}

#[test]
fn whoever_only_sends_pushes_out_nobody_that_was_sent_something() {
    let mut contacts = contacts();
    contacts.sent(at(0), &node(1));
    for number in 100..2000 {
        contacts.received(at(10), &node(number));
    }
    contacts.received(at(50), &node(1));
    assert!(contacts.is_active(at(50), &node(1)));
}

#[test]
fn the_need_is_told_when_it_is_new_or_has_changed_and_seldom() {
    let mut contacts = contacts();
    both(&mut contacts, second(0), 1);
    assert_eq!(contacts.hints_due(second(0)), (1, vec![node(1)]));
    assert_eq!(contacts.hints_due(second(1)), (1, vec![]));
    for number in 2..=3 {
        both(&mut contacts, second(2), number);
    }
    let (need, mut told) = contacts.hints_due(second(2));
    told.sort();
    let mut expected = vec![node(2), node(3)];
    expected.sort();
    assert_eq!((need, told), (3, expected));
    for number in 1..=4 {
        both(&mut contacts, second(5), number);
    }
    // Changed by 3, but it was told less than 10 s ago.
    assert_eq!(contacts.hints_due(second(5)), (4, vec![node(4)]));
    assert_eq!(contacts.hints_due(second(10)), (4, vec![node(1)]));
    // A quarter of many is more.
    for number in 1..=40 {
        both(&mut contacts, second(12), number);
    }
    assert_eq!(contacts.hints_due(second(12)).1.len(), 38);
    for number in 1..=50 {
        both(&mut contacts, second(30), number);
    }
    let (need, told) = contacts.hints_due(second(30));
    assert_eq!(
        (need, told.len()),
        (50, 12),
        "the ten new ones, and those that were told 4"
    );
    // What others say is kept.
    contacts.set_need(&node(1), 77);
    assert_eq!(contacts.find(&node(1)).unwrap().need, Some(77));
}

#[test]
fn members_at_random_are_asked_for_when_they_are_needed() {
    let mut contacts = contacts();
    assert!(contacts.wants_bootstrap(second(0)) && contacts.wants_long_links(second(0)));
    contacts.set_bootstrap(second(0), &(10..30).map(node).collect::<Vec<_>>());
    contacts.set_long_links(second(0), &[node(31), node(32), node(33)]);
    assert_eq!(contacts.links(second(0)).count(), 10);
    assert!(!contacts.wants_bootstrap(second(599)) && !contacts.wants_long_links(second(599)));
    assert!(contacts.wants_bootstrap(second(600)) && contacts.wants_long_links(second(600)));
    contacts.dead(&node(31));
    assert!(!contacts.wants_long_links(second(9)) && contacts.wants_long_links(second(10)));
    for number in 1..=4 {
        both(&mut contacts, second(700), number);
    }
    assert!(!contacts.wants_bootstrap(second(700)));
    assert_eq!(contacts.links(second(700)).count(), 1);
    contacts.dead(&node(1));
    assert!(contacts.wants_bootstrap(second(700)));
    contacts.received(second(701), &node(1));
    assert!(!contacts.wants_bootstrap(second(701)));
    assert!(contacts.wants_bootstrap(second(1400)), "they have gone");
}

#[test]
fn pins_and_mutes_are_bounded() {
    let mut contacts = contacts();
    assert!((0..256).all(|number| contacts.pin(&node(number)) && contacts.mute(&node(number))));
    assert!(!contacts.pin(&node(256)) && !contacts.mute(&node(256)));
    assert!(contacts.pin(&node(3)) && contacts.mute(&node(3)));
    contacts.unpin(&node(3));
    contacts.unmute(&node(3));
    assert!(!contacts.is_pinned(&node(3)) && !contacts.is_muted(&node(3)));
    assert!(contacts.pin(&node(256)) && contacts.mute(&node(256)));
    assert!(contacts.is_active(second(0), &node(256)));
    let (active, _) = contacts.nearest(second(0), 64, |_| true);
    assert_eq!(active.len(), 64);
}

#[test]
fn one_miss_is_forgiven_to_whoever_answered_meanwhile() {
    let mut contacts = contacts();
    both(&mut contacts, second(0), 1);
    let answer = Acknowledged { copies: 1, late: None };
    contacts.answered(second(2), &node(1), answer);
    contacts.missed(&node(1), second(1));
    assert!(!contacts.is_dead(&node(1)));
    contacts.missed(&node(1), second(3));
    assert!(contacts.is_dead(&node(1)));
    contacts.answered(second(4), &node(1), answer);
    assert!(!contacts.is_dead(&node(1)));
}
