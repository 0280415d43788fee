//! What it takes: memory, bytes on the wire, time.

use super::*;
use crate::{Message, spreading::MAX_UNDER_WAY};

#[test]
fn one_network_takes_no_more_than_512_kib() {
    let (mut me, mut allowances) = (spreading(0), Allowances::new());
    for number in 1..2000 {
        talk(&mut me, at(u64::from(number)), number, 1);
        me.contacts_mut().pin(&node(number));
        me.contacts_mut().mute(&node(number + 10_000));
    }
    let now = at(5000);
    let mut largest = 0;
    for number in 0..30_000_u64 {
        // Ten minutes, so that everything is renewed now and then.
        let now = now + Duration::from_millis(20 * number);
        let from = u16::try_from(2000 + number % 3000).unwrap();
        me.direct(now, &node(from), number);
        let text = number.to_string().repeat(200);
        let frame = frame(&text[..1400.min(text.len())]);
        let what = origination(now, &frame, 192);
        if number % 5 == 0 {
            me.originate(now, &what, &Around::default(), &Keys(key(0)));
        }
        let mut origin = spreading(from);
        talk(&mut origin, now, 0, 1);
        let copies = origin
            .originate(now, &what, &Around::default(), &Keys(key(from)))
            .unwrap();
        take(&mut me, &mut allowances, now, from, &bytes(&copies[0]));
        me.due(now);
        if number % 100 == 0 {
            largest = largest.max(me.bytes());
        }
    }
    println!("{largest} bytes, at most {}", me.most_bytes());
    assert!(largest <= me.most_bytes());
    assert!(largest > MAX_UNDER_WAY, "{largest}");
    assert!(me.most_bytes() <= 512 * 1024, "{}", me.most_bytes());
}

#[test]
fn one_that_was_never_used_takes_next_to_nothing() {
    let me = spreading(0);
    assert!(
        size_of::<Spreading>() + me.bytes() < 2048,
        "{}",
        size_of::<Spreading>() + me.bytes()
    );
}

#[test]
fn headers_are_as_short_as_is_said() {
    let mut me = spreading(0);
    for number in 1..=150 {
        talk(&mut me, at(0), number, 1);
    }
    for number in 200..250 {
        me.direct(at(0), &node(number), 1);
    }
    let frame = frame("payload");
    let what = origination(at(0), &frame, 192);
    let copies = me.originate(at(0), &what, &Around::default(), &Keys(key(0))).unwrap();
    assert!(copies.iter().any(|copy| matches!(copy.form, Form::Direct(_))));
    let payload = frame.len() - 14;
    let longest = copies.iter().filter(|copy| matches!(copy.form, Form::Spread(_)));
    let longest = longest.max_by_key(|copy| bytes(copy).len()).unwrap();
    assert_eq!(bytes(longest).len(), 309 + payload);
    let longest_bytes = bytes(longest);
    let (forwarders, _) = Message::parse(&longest_bytes).unwrap().right().unwrap();
    let needed = 165 + 2 * usize::from(forwarders) + payload;
    let (mut next, mut allowances) = (spreading(1), Allowances::new());
    for number in 300..340 {
        talk(&mut next, at(0), number, 1);
    }
    let taken = take(&mut next, &mut allowances, at(0), 0, &bytes(longest));
    let lengths: BTreeSet<_> = taken.copies.iter().map(|copy| bytes(copy).len() - payload).collect();
    assert_eq!(lengths.first(), Some(&148));
    assert!(lengths.last().unwrap() <= &309);
    // Tags give way where there is no room.
    let Form::Spread(spread) = &longest.form else {
        unreachable!("it was asked for");
    };
    for room in 0..400 {
        let mut written = Vec::new();
        spread.write_within(&mut written, room);
        assert!(written.len() <= room.max(needed) && written.len() + 1 >= room.min(309 + payload));
        assert_eq!(Message::parse(&written).unwrap().frame(), frame);
    }
}

/// All are let in, without looking.
struct Open;

impl Neighbours for Open {
    fn rtt(&self, _: &NodeId) -> Option<Duration> {
        Some(Duration::from_millis(50))
    }

    fn is_relayed(&self, _: &NodeId) -> bool {
        false
    }

    fn wants(&self, _: &NodeId, _: &ChannelOf) -> bool {
        true
    }

    fn admits(&self, _: &NodeId, _: &[u8; 32], _: &[u8]) -> bool {
        true
    }
}

/// Prints how long it takes to take a broadcast, but for its signature: the shortest of several runs, since others use the machine.
#[test]
fn a_receive_takes_little() {
    let nodes: Vec<_> = (0..100).map(node).collect();
    for (contacts, length, goes_on) in [
        (8, 100, false),
        (8, 1400, false),
        (8, 100, true),
        (64, 100, true),
        (64, 1400, true),
    ] {
        let all: Vec<_> = (0..500_u64)
            .map(|number| {
                let mut origin = spreading(1);
                talk(&mut origin, at(0), 0, 3);
                origin.contacts_mut().set_need(&node(0), 64);
                let frame = frame(&format!("{number:>length$}"));
                let what = origination(at(100 * number), &frame, 192);
                let copies = origin.originate(at(0), &what, &Open, &Keys(key(1))).unwrap();
                let mut bytes = bytes(&copies[0]);
                if !goes_on {
                    let signed = 3 + 2 * usize::from(bytes[2]) + 17;
                    bytes.splice(..signed, [3, 0, 0]);
                }
                bytes
            })
            .collect();
        let mut best = Duration::MAX;
        let mut sent = 0;
        for _ in 0..5 {
            let (mut me, mut allowances) = (spreading(0), Allowances::new());
            for number in 1..=contacts {
                talk(&mut me, at(0), number, 30);
            }
            let keys = Keys(key(0));
            sent = 0;
            let mut spent = Duration::ZERO;
            // As many as come within the limits.
            for (number, bytes) in (0..).zip(&all).take(200) {
                let now = at(10 * number);
                #[expect(clippy::disallowed_methods, reason = "a measurement")]
                let begun = std::time::Instant::now();
                let arrival = me.arrive(now, &nodes[1], bytes, None, &Open, &keys, &mut allowances);
                let Arrival::Check(pending) = arrival else {
                    panic!("{arrival:?}");
                };
                let accepted = me.verified(now, pending, true, &Open, &mut allowances);
                spent += begun.elapsed();
                sent += accepted.copies.len();
                assert!(accepted.deliver.is_some());
                for copy in &accepted.copies {
                    me.acknowledged(now, &copy.to, &[copy.id], None);
                }
            }
            best = best.min(spent / 200);
        }
        // A hundred times what it takes where it is optimised: what does something for each node or message kept shows.
        assert!(best < Duration::from_millis(1), "{best:?}");
        println!(
            "{contacts} contacts, frames of {length} bytes: {best:?} each, {} copies each",
            sent / 200
        );
    }
}

impl Spreading {
    /// The memory in use behind it.
    fn bytes(&self) -> usize {
        self.parts().iter().sum()
    }
}
