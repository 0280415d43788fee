//! What datagrams show to those on the way: type, index, counter and size, and nothing else.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use super::lab::{Lab, Place, frame, link, name};
use crate::{Batch, FrameLabel, Outbox, Target, wire::datagram::DATA_HEADER};

/// The tag at the end of a sealed message.
const TAG: usize = farlan_crypto::TAG;

/// A data datagram, taken out of the relay datagram that holds it.
fn data(datagram: &[u8]) -> Option<&[u8]> {
    let inner = match datagram[0] {
        4 | 7 | 8 => &datagram[12..],
        5 => &datagram[24..],
        _ => datagram,
    };
    (inner[0] == 3).then_some(inner)
}

/// All datagrams that `from` sends, as its engine writes them, for the same frame of zeros again and again.
fn datagrams(lab: &mut Lab, [from, to]: [Place; 2], count: usize) -> Vec<Vec<u8>> {
    const AT_ONCE: usize = 50;
    let network = lab.hosts[from].engine.networks()[0].handle;
    let other = lab.hosts[to].engine.networks()[0].handle;
    let frame = frame(lab.mac(to, other), lab.mac(from, network), 0);
    let mut made = Vec::with_capacity(count);
    let (mut batch, mut out) = (Batch::<FrameLabel>::default(), Outbox::default());
    while made.len() < count {
        batch.clear();
        for _ in 0..AT_ONCE {
            batch.push(network, &frame);
        }
        lab.hosts[from].engine.handle_frames(lab.now, &mut batch, &mut out);
        let before = made.len();
        let sealed = out
            .datagrams
            .iter()
            .filter_map(|(_, bytes)| Some(data(bytes)?.to_vec()));
        made.extend(sealed);
        assert!(made.len() > before, "nothing goes out");
        out.clear();
    }
    made
}

/// Of frames that are all the same: at each place behind the header every byte is as frequent as any other, by a chi-square
/// test whose bound random bytes exceed once in 10^15 tries.
#[test]
fn sealed_bytes_are_random_at_every_place() {
    const COUNT: usize = 100_000;
    // 255 degrees of freedom: mean 255, standard deviation 22.6.
    const BOUND: f64 = 255.0 + 11.0 * 22.6;
    let (mut lab, [_, a, b]) = Lab::with_two_nodes();
    for node in [a, b] {
        lab.join(node, &link(1));
    }
    lab.run_seconds(5);
    let [network, other] = [a, b].map(|node| lab.hosts[node].engine.networks()[0].handle);
    let first = frame(lab.mac(b, other), lab.mac(a, network), 0);
    lab.send(a, network, &first);
    lab.run_seconds(5);
    assert_eq!(lab.received(b, other, &first), 1);
    let made = datagrams(&mut lab, [a, b], COUNT);
    let length = made[0].len();
    let mut worst: f64 = 0.0;
    let mut constant = BTreeSet::new();
    let mut judged = 0;
    for place in 0..length {
        let mut counts = [0_u32; 256];
        let same = made.iter().filter(|datagram| datagram.len() == length);
        for datagram in same {
            counts[usize::from(datagram[place])] += 1;
        }
        let total: u32 = counts.iter().sum();
        assert!(
            total as usize >= COUNT * 99 / 100,
            "other datagrams among them: {total}"
        );
        if counts.iter().filter(|count| **count > 0).count() == 1 {
            constant.insert(place);
        }
        if place >= DATA_HEADER {
            let expected = f64::from(total) / 256.0;
            let squares = counts.map(|count| (f64::from(count) - expected).powi(2) / expected);
            worst = worst.max(squares.iter().sum());
            judged += 1;
        }
    }
    println!(
        "{} datagrams of {length} bytes, {judged} places, worst chi-square {worst:.0}",
        made.len()
    );
    assert!(worst < BOUND, "{worst}");
    assert_eq!(judged, length - DATA_HEADER);
    // Type, flags, zeros, the receiver's index, and the upper bytes of a counter below 2^24.
    assert_eq!(constant, BTreeSet::from_iter(0..13));
}

/// Everything but frames, in the life of two nodes in several networks: empty, or a number of blocks.
#[test]
fn control_messages_come_in_few_sizes() {
    const BLOCK: usize = 64;
    const CLASSES: usize = 24;
    let (mut lab, [supernode, a, b]) = Lab::with_two_nodes();
    let sizes = Rc::new(RefCell::new(BTreeMap::<usize, usize>::new()));
    let seen = Rc::clone(&sizes);
    lab.wire = Box::new(move |_, _, bytes| {
        if let Some(datagram) = data(bytes) {
            *seen.borrow_mut().entry(datagram.len() - DATA_HEADER - TAG).or_default() += 1;
        }
        true
    });
    lab.open = true;
    for number in 1..6 {
        for node in [a, b] {
            lab.join(node, &link(number));
        }
        lab.run_seconds(3);
    }
    for node in [a, b] {
        lab.join(node, &name());
    }
    let (other, now) = (lab.key(b).node_id(), lab.now);
    lab.hosts[a].engine.ping(now, Target::Node(other), 7);
    lab.run_seconds(400);
    let mut out = Outbox::default();
    lab.hosts[a].engine.shutdown(lab.now, &mut out);
    lab.take(a, &mut out);
    lab.run_seconds(2);
    lab.restart(supernode);
    lab.run_seconds(200);
    let sizes = sizes.take();
    println!("sizes of control messages: {sizes:?}");
    assert!(sizes.keys().all(|size| size.is_multiple_of(BLOCK)), "{sizes:?}");
    assert!((3..=CLASSES).contains(&sizes.len()), "{sizes:?}");
    assert!(sizes.values().sum::<usize>() > 100, "{sizes:?}");
}
