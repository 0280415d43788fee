//! The rules by which broadcasts go on, one by one.

use super::*;
use crate::{MAX_CEILING, Message, Why};

fn whys(spreading: &Spreading, now: Time, what: &Reach<'_>) -> Vec<(NodeId, Why)> {
    let plan = spreading.plan(now, what, &Around::default());
    plan.copies.iter().map(|copy| (copy.node, copy.why)).collect()
}

#[test]
fn a_plan_begins_with_those_nearest() {
    let mut me = spreading(0);
    let now = at(0) + Duration::from_secs(100);
    talk(&mut me, now, 1, 2);
    talk(&mut me, now, 2, 20);
    talk(&mut me, at(0), 3, 5);
    me.direct(now, &node(4), 1);
    me.contacts_mut().pin(&node(5));
    me.contacts_mut().set_bootstrap(now, &[node(6), node(2)]);
    me.contacts_mut().set_long_links(now, &[node(7), node(0)]);
    let what = Reach {
        sample: &[node(8), node(1)],
        ..reach(MAX_CEILING)
    };
    let expected = [
        (5, Why::Pinned),
        (2, Why::Active),
        (1, Why::Active),
        (4, Why::Heard),
        (8, Why::Sample),
        (3, Why::Recent),
        (6, Why::Bootstrap),
        (7, Why::LongLink),
    ];
    assert_eq!(whys(&me, now, &what), expected.map(|(number, why)| (node(number), why)));
    // The ceiling is used up where there is somebody to use it.
    assert_eq!(
        me.plan(now, &what, &Around::default()).deliveries(),
        usize::from(MAX_CEILING)
    );
    // With four contacts nobody needs members at random, but for the long links.
    talk(&mut me, now, 9, 1);
    let with_four = whys(&me, now, &what);
    assert!(with_four.iter().all(|(_, why)| *why != Why::Bootstrap) && with_four.len() == 8);
    // Those that have it anyhow, the muted and the dead get none.
    me.contacts_mut().mute(&node(5));
    me.contacts_mut().dead(&node(2));
    me.contacts_mut().dead(&node(4));
    let already = [node(8), node(9)];
    let what = Reach {
        already: &already,
        ..what
    };
    let left = [(1, Why::Active), (3, Why::Recent), (7, Why::LongLink)];
    let mut found = whys(&me, now, &what);
    found.retain(|(_, why)| *why != Why::Bootstrap);
    assert_eq!(found, left.map(|(number, why)| (node(number), why)));
    let circle = me.circle(now, &what, &Around::default());
    let shown = |number| {
        circle
            .neighbours
            .iter()
            .find(|neighbour| neighbour.node == node(number))
            .unwrap()
    };
    assert!(shown(2).dead && shown(2).copy.is_none() && shown(5).muted && shown(5).pinned);
    assert!(shown(1).copy.is_some() && shown(3).score < shown(1).score + 3);
}

#[test]
fn of_those_heard_few_are_sent_copies_by_supernodes() {
    let (mut me, now) = (spreading(0), at(100));
    for number in 1..=20 {
        me.direct(now, &node(number), 1);
    }
    let planned = |around: &Around| me.plan(now, &reach(MAX_CEILING), around).copies.len();
    assert_eq!(planned(&Around::default()), 20);
    let relayed = (1..=15).map(node).collect();
    let around = Around {
        relayed,
        ..Around::default()
    };
    assert_eq!(planned(&around), 5 + 8);
}

#[test]
fn a_small_ceiling_goes_to_the_first() {
    let mut me = spreading(0);
    for number in 1..100 {
        talk(&mut me, at(0), number, 1 + u64::from(number % 7));
    }
    for ceiling in 0..=192 {
        let plan = me.plan(at(0), &reach(ceiling), &Around::default());
        assert_eq!(plan.copies.len(), usize::from(ceiling).min(64));
        assert!(plan.deliveries() <= usize::from(ceiling));
    }
}

#[test]
fn broadcasts_of_this_node_thin_out_above_its_rates() {
    let mut me = spreading(0);
    talk(&mut me, at(0), 1, 3);
    me.contacts_mut().set_long_links(at(0), &[node(2), node(3)]);
    let mut counts = BTreeMap::new();
    let mut ids = BTreeSet::new();
    for number in 0..200 {
        let frame = frame(&number.to_string());
        let copies = me.originate(
            at(0),
            &origination(at(0), &frame, 192),
            &Around::default(),
            &Keys(key(0)),
        );
        let copies = copies.map(|copies| {
            ids.extend(copies.iter().map(|copy| copy.id));
            copies.len()
        });
        *counts.entry(copies).or_insert(0) += 1;
    }
    assert_eq!(counts, BTreeMap::from([(Some(3), 60), (Some(1), 40), (None, 100)]));
    assert_eq!(ids.len(), 100);
    assert_eq!((me.counts().thinned, me.counts().suppressed), (40, 100));
}

#[test]
fn equal_frames_are_different_broadcasts_even_if_the_clock_stands_still_or_goes_back() {
    let mut me = spreading(0);
    talk(&mut me, at(0), 1, 3);
    let frame = frame("the same");
    let mut ids = BTreeSet::new();
    for back in [0, 0, 5000, 0, 86_400_000] {
        let mut what = origination(at(0), &frame, 192);
        what.unix_ms -= back;
        let copies = me.originate(at(0), &what, &Around::default(), &Keys(key(0))).unwrap();
        ids.insert(copies[0].id);
        let time = Message::parse(&bytes(&copies[0])).unwrap().time();
        assert!((what.unix_ms..=clock(at(0)) + 10).contains(&time));
        assert!(
            back < 60_000 || time == what.unix_ms,
            "it follows a clock that was set back"
        );
    }
    assert_eq!(ids.len(), 5);
    // What is for one machine is no broadcast.
    let mut unicast = frame.clone();
    unicast[0] = 2;
    let what = origination(at(0), &unicast, 192);
    assert!(me.originate(at(0), &what, &Around::default(), &Keys(key(0))).is_none());
}

/// A node of these contacts, and what it sends on of a broadcast that comes from its origin.
fn sent_on(contacts: &[u16], now: Time, around: &Around, group: Option<Mac>) -> Vec<CopyTo> {
    let mut origin = spreading(100);
    talk(&mut origin, at(0), 0, 3);
    origin.contacts_mut().set_need(&node(0), 40);
    let mut frame = frame("on");
    let mut what = origination(at(0), &[], 192);
    if let Some(group) = group {
        frame[..6].copy_from_slice(group.as_bytes());
        what.port = 0;
    }
    what.frame = &frame;
    let copies = origin
        .originate(at(0), &what, &Around::default(), &Keys(key(100)))
        .unwrap();
    let (mut me, mut allowances) = (spreading(0), Allowances::new());
    for number in contacts {
        talk(&mut me, now, *number, 3);
        me.contacts_mut().set_need(&node(*number), 1);
    }
    let keys = Keys(key(0));
    let arrival = me.arrive(
        at(0),
        &node(100),
        &bytes(&copies[0]),
        None,
        around,
        &keys,
        &mut allowances,
    );
    let Arrival::Check(pending) = arrival else {
        panic!("{arrival:?}");
    };
    me.verified(at(0), pending, true, around, &mut allowances).copies
}

#[test]
fn what_comes_by_no_active_contact_goes_to_fewer() {
    let many: Vec<u16> = (1..=60).collect();
    assert_eq!(sent_on(&many, at(0), &Around::default(), None).len(), 16);
    let with_origin: Vec<u16> = (1..=59).chain([100]).collect();
    assert_eq!(sent_on(&with_origin, at(0), &Around::default(), None).len(), 59);
}

#[test]
fn nothing_is_sent_on_by_supernodes_to_those_who_are_not_active() {
    let relayed = || Around {
        relayed: (1..=3).map(node).collect(),
        ..Around::default()
    };
    let contacts = [1, 2, 3, 4, 5, 6];
    assert_eq!(sent_on(&contacts, at(0), &relayed(), None).len(), 6);
    let before = Time::from_nanos(at(0).as_nanos() - 60_000_000_000);
    let copies = sent_on(&contacts, before, &relayed(), None);
    let to: BTreeSet<_> = copies.iter().map(|copy| copy.to).collect();
    assert_eq!(to, [4, 5, 6].map(node).into());
}

#[test]
fn a_group_goes_to_those_who_want_it_and_to_those_who_send_it_to_several() {
    let around = Around {
        unwilling: (1..=3).map(node).collect(),
        ..Around::default()
    };
    let group = Mac::from_bytes([1, 0, 0x5e, 1, 2, 3]);
    let copies = sent_on(&[1, 2, 3, 4], at(0), &around, Some(group));
    let shares: BTreeMap<_, _> = copies
        .iter()
        .map(|copy| match &copy.form {
            Form::Spread(spread) => (copy.to, spread.budget()),
            Form::Direct(_) => panic!("only an origin sends such"),
        })
        .collect();
    assert_eq!(shares.len(), 4);
    assert!((1..=3).all(|number| shares[&node(number)] > 1));
    assert_eq!(sent_on(&[1, 2, 3, 4], at(0), &around, None).len(), 4);
}

#[test]
fn an_own_broadcast_that_comes_back_is_known() {
    let mut me = spreading(0);
    talk(&mut me, at(0), 1, 3);
    let frame = frame("mine");
    let copies = me
        .originate(
            at(0),
            &origination(at(0), &frame, 192),
            &Around::default(),
            &Keys(key(0)),
        )
        .unwrap();
    let mine = bytes(&copies[0]);
    let taken = take(&mut me, &mut Allowances::new(), at(0), 1, &mine);
    assert!(taken.ack == Some(copies[0].id) && taken.delivered.is_none());
    // As well after a restart.
    let mut again = spreading(0);
    let taken = take(&mut again, &mut Allowances::new(), at(0), 1, &mine);
    assert!(taken.ack == Some(copies[0].id) && taken.delivered.is_none());
}

#[test]
fn of_two_copies_that_are_checked_at_the_same_time_one_counts() {
    let mut origin = spreading(1);
    talk(&mut origin, at(0), 0, 3);
    let frame = frame("twice");
    let what = origination(at(0), &frame, 192);
    let copies = origin
        .originate(at(0), &what, &Around::default(), &Keys(key(1)))
        .unwrap();
    let (mut me, mut allowances, around) = (spreading(0), Allowances::new(), Around::default());
    let mut pending = Vec::new();
    for _ in 0..2 {
        let bytes = bytes(&copies[0]);
        match me.arrive(at(0), &node(1), &bytes, None, &around, &Keys(key(0)), &mut allowances) {
            Arrival::Check(one) => pending.push(one),
            other => panic!("{other:?}"),
        }
    }
    let taken = pending
        .into_iter()
        .map(|one| me.verified(at(0), one, true, &around, &mut allowances));
    let delivered: Vec<_> = taken
        .map(|taken| (taken.ack.is_some(), taken.deliver.is_some()))
        .collect();
    assert_eq!(delivered, [(true, true), (true, false)]);
}

#[test]
fn copies_wait_for_a_session_and_go_to_no_former_member() {
    let mut me = spreading(0);
    talk(&mut me, at(0), 1, 3);
    talk(&mut me, at(0), 2, 3);
    let frame = frame("wait");
    let copies = me
        .originate(
            at(0),
            &origination(at(0), &frame, 192),
            &Around::default(),
            &Keys(key(0)),
        )
        .unwrap();
    let id = copies[0].id;
    me.unsent(&node(1), id);
    assert!(me.waiting_for(&node(1)) && !me.waiting_for(&node(2)));
    let released = me.release(at(1000), &node(1), &Around::default());
    assert_eq!(
        released.iter().map(|copy| (copy.to, copy.id)).collect::<Vec<_>>(),
        [(node(1), id)]
    );
    me.forget(&node(2));
    me.acknowledged(at(1100), &node(1), &[id], Some(3));
    assert_eq!(me.deadline(), None);
    assert!(
        me.plan(at(1100), &reach(192), &Around::default())
            .copies
            .iter()
            .all(|copy| copy.node == node(1))
    );
}

#[test]
fn a_contact_that_answers_late_is_not_sent_everything_again() {
    let around = Around::default();
    let mut me = spreading(0);
    talk(&mut me, at(0), 1, 3);
    // An answer after so long, five times in a row, a second apart: the pause before each broadcast is sent again, and how often it was.
    let mut broadcasts = |start: u64, answer: u64| -> Vec<(u128, usize)> {
        let broadcast = |number: u64| {
            let begin = at(start + number * 1000);
            let frame = frame(&begin.to_string());
            let what = origination(begin, &frame, 192);
            let copies = me.originate(begin, &what, &around, &Keys(key(0))).unwrap();
            let (to, id) = (copies[0].to, copies[0].id);
            let pause = me.deadline().unwrap().since(begin).as_millis();
            let answered = begin + Duration::from_millis(answer);
            let mut resent = 0;
            while me.deadline().is_some_and(|due| due < answered) {
                resent += me.due(me.deadline().unwrap()).len();
            }
            me.acknowledged(answered, &to, &[id], None);
            (pause, resent)
        };
        (0..5).map(broadcast).collect()
    };
    // 7/4 of 50 ms, and 50 ms.
    assert_eq!(broadcasts(10_000, 20), [(137, 0); 5]);
    let late = broadcasts(20_000, 250);
    assert_eq!(late[0], (137, 1));
    assert!(late[1..].iter().all(|(pause, _)| *pause > 137), "{late:?}");
    assert!(late[3..].iter().all(|(_, resent)| *resent == 0), "{late:?}");
    // What it was late before is forgotten.
    assert_eq!(broadcasts(60_000, 20), [(137, 0); 5]);
}

#[test]
fn who_acknowledges_what_was_not_sent_does_not_answer_by_that() {
    let mut me = spreading(0);
    talk(&mut me, at(0), 1, 3);
    let frame = frame("unanswered");
    let what = origination(at(1000), &frame, 192);
    me.originate(at(1000), &what, &Around::default(), &Keys(key(0)))
        .unwrap();
    me.acknowledged(at(1100), &node(1), &[7], None);
    let mut now = at(1100);
    while let Some(due) = me.deadline() {
        me.due(due);
        now = due;
    }
    assert!(me.contacts().is_dead(&node(1)));
    // It is there all the same.
    me.acknowledged(now, &node(1), &[7], None);
    assert!(!me.contacts().is_dead(&node(1)));
}

#[test]
fn what_is_never_acknowledged_makes_nobody_wait_for_long() {
    let mut me = spreading(0);
    for other in 1..=64 {
        talk(&mut me, at(1000), other, 3);
    }
    let mut broadcast = |number: u64| {
        let frame = frame(&number.to_string());
        let what = origination(at(1000), &frame, 192);
        let copies = me.originate(at(1000), &what, &Around::default(), &Keys(key(0)));
        copies.unwrap()[0].id
    };
    // 20 broadcasts to 64 are under way, and one more.
    for number in 0..20 {
        broadcast(number);
    }
    let last = broadcast(20);
    let (mut again, mut left) = (at(1000), 64);
    while left > 0 {
        again = me.deadline().unwrap();
        left -= me.due(again).iter().filter(|copy| copy.id == last).count();
    }
    // 512 ms of queue count, and the round trip, also for the last of them.
    assert_eq!(again.since(at(1000)).as_millis(), (512 + 50) * 7 / 4 + 50);
}
