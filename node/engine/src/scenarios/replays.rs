//! Somebody on the way keeps every datagram of a session and sends them all again.

use std::{cell::RefCell, rc::Rc};

use super::lab::{Lab, Place, frame, link};
use crate::{Batch, Outbox};

/// Datagrams on record: whence, whither, and what.
type Record = Rc<RefCell<Vec<(Place, Place, Vec<u8>)>>>;

/// Two nodes that reach each other as `open` says, everything between the hosts on record, and after some traffic.
fn talked(open: bool) -> (Lab, [Place; 3], Record) {
    let (mut lab, places) = Lab::with_two_nodes();
    let [_, a, b] = places;
    lab.open = open;
    let record = Record::default();
    let kept = Rc::clone(&record);
    lab.wire = Box::new(move |from, to, bytes| {
        kept.borrow_mut().push((from, to, bytes.clone()));
        true
    });
    let networks = [a, b].map(|node| lab.join(node, &link(1)));
    lab.run_seconds(5);
    let macs = [lab.mac(a, networks[0]), lab.mac(b, networks[1])];
    for mark in 0..100 {
        lab.send(a, networks[0], &frame(macs[1], macs[0], mark));
        lab.send(b, networks[1], &frame(macs[0], macs[1], mark));
        lab.run(super::lab::DELAY);
    }
    lab.run_seconds(2);
    (lab, places, record)
}

/// Sends what `place` received again and again until it has got `replays` datagrams; returns what came of it: frames, and data
/// datagrams sent in answer.
fn replay(lab: &mut Lab, place: Place, record: &[(Place, Place, Vec<u8>)], replays: usize) -> (usize, usize) {
    const AT_ONCE: usize = 64;
    let received: Vec<_> = record.iter().filter(|(_, to, _)| *to == place).collect();
    assert!(received.len() > 40, "{}", received.len());
    let (mut batch, mut out) = (Batch::default(), Outbox::default());
    let (mut sent, mut frames, mut answers) = (0, 0, 0);
    for (from, _, bytes) in received.iter().cycle().take(replays) {
        batch.push(lab.hosts[*from].address, bytes);
        sent += 1;
        if batch.len() == AT_ONCE || sent == replays {
            lab.hosts[place].engine.handle_datagrams(lab.now, &mut batch, &mut out);
            frames += out.frames.len();
            answers += out.datagrams.iter().filter(|(_, bytes)| bytes[0] == 3).count();
            out.clear();
            batch.clear();
        }
    }
    (frames, answers)
}

#[test]
fn a_million_replayed_datagrams_deliver_nothing() {
    for (open, replays) in [(true, 1_000_000), (false, 100_000)] {
        let (mut lab, [supernode, a, b], record) = talked(open);
        let record = record.take();
        let before = [supernode, a, b].map(|place| lab.hosts[place].engine.counters());
        assert_eq!(lab.hosts[b].frames.len(), 100, "each once");
        let outcome = replay(&mut lab, b, &record, replays);
        assert_eq!(outcome, (0, 0), "frames delivered, and data sent in answer");
        let refused = lab.hosts[b].engine.counters().replayed - before[2].replayed;
        assert!(
            refused > replays as u64 * 9 / 10,
            "{refused} of {replays} refused as replays"
        );
        println!("open {open}: {replays} replays, {refused} refused by their counters, 0 delivered");

        // A supernode passes on what is for others, and takes nothing twice that is for itself.
        let registrations = lab.hosts[supernode].engine.anchor();
        let (frames, _) = replay(&mut lab, supernode, &record, 20_000);
        assert_eq!(frames, 0);
        assert_eq!(lab.hosts[supernode].engine.anchor(), registrations);

        // The session is none the worse.
        let networks = [a, b].map(|node| lab.hosts[node].engine.networks()[0].handle);
        let macs = [lab.mac(a, networks[0]), lab.mac(b, networks[1])];
        let last = frame(macs[1], macs[0], 200);
        lab.send(a, networks[0], &last);
        lab.run_seconds(1);
        assert_eq!(lab.received(b, networks[1], &last), 1);
    }
}
