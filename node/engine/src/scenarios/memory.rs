//! Keys that a session used are in memory as long as the session, and no longer.

#[path = "../../../../crypto/tests/scan/mod.rs"]
mod scan;
#[path = "../../../../crypto/tests/shown/mod.rs"]
mod shown;

use std::time::Duration;

use farlan_crypto::wipe_stack;
use farlan_netconf::{Mtu, Parameters};
use scan::{Memory, Needles};

use super::lab::{Lab, Place, frame, link, world_id};
use crate::{Join, NetworkHandle, Outbox, sessions::Lifetime};

/// The keys under which the engine at `place` sends to the peer at `other`, and in how many pieces they are looked for.
fn keys(lab: &mut Lab, place: Place, other: Place) -> (usize, Needles) {
    let key = lab.key(other);
    let id = lab.peer_id(place, &key);
    let peer = lab.hosts[place].engine.peers.get_mut(id).unwrap();
    let (mut pieces, mut needles) = (0, Needles::default());
    for session in peer.sessions.iter() {
        let mut nothing = [0; 16];
        let job = session.sealer.job(0, &[], &mut nothing);
        pieces = needles.add(&format!("{:?} of {place}", session.local), job.key());
    }
    (pieces, needles)
}

fn found((_, needles): &(usize, Needles)) -> usize {
    let memory = Memory::of("self").expect("a process may look at itself");
    needles.found(&memory).len()
}

/// A frame a second from both, for so long.
fn talk(lab: &mut Lab, nodes: [Place; 2], networks: [NetworkHandle; 2], time: Duration) {
    let [a, b] = [0, 1].map(|n| lab.mac(nodes[n], networks[n]));
    for second in 0..time.as_secs() {
        lab.send(nodes[0], networks[0], &frame(b, a, second as u8));
        lab.send(nodes[1], networks[1], &frame(a, b, second as u8));
        lab.run_seconds(1);
    }
}

/// One test, for two at a time would each find what the other reads.
#[test]
fn keys_that_ended_are_nowhere_in_memory() {
    let (mut lab, [_, a, b]) = Lab::with_two_nodes();
    // Other tests run meanwhile, in labs whose generators begin alike: their keys are not to be these.
    for host in &mut lab.hosts {
        for block in 0..host.engine.entropy_wanted() {
            let mut bytes = [0xa7; 32];
            bytes[0] = block as u8;
            host.engine.add_entropy(bytes.into());
        }
    }
    let networks = [a, b].map(|node| lab.join(node, &link(1)));
    lab.run_seconds(5);
    talk(&mut lab, [a, b], networks, Duration::from_secs(5));
    let old = [keys(&mut lab, a, b), keys(&mut lab, b, a)];
    assert_eq!(
        old.each_ref().map(|keys| keys.0),
        [2, 2],
        "one session, two halves of a key"
    );
    assert_eq!(old.each_ref().map(found), [2, 2]);

    // The old keys stay until those who use the new ones have not heard of them for a minute, and never for longer than
    // their age allows.
    talk(&mut lab, [a, b], networks, Lifetime::PEER.rekey);
    let both = [keys(&mut lab, a, b), keys(&mut lab, b, a)];
    assert_eq!(
        both.each_ref().map(|keys| keys.0),
        [4, 4],
        "the new session beside the old one"
    );
    assert_eq!(both.each_ref().map(found), [4, 4]);
    talk(&mut lab, [a, b], networks, Lifetime::PEER.end - Lifetime::PEER.rekey);
    let new = [keys(&mut lab, a, b), keys(&mut lab, b, a)];
    assert_eq!(new.each_ref().map(|keys| keys.0), [2, 2], "the new session alone");
    assert_eq!(old.each_ref().map(found), [0, 0]);
    assert_eq!(new.each_ref().map(found), [2, 2]);

    // After a goodbye nothing is left at the one who goes on, though the other lives.
    let mut out = Outbox::default();
    let now = lab.now;
    lab.hosts[a].engine.shutdown(now, &mut out);
    lab.take(a, &mut out);
    lab.run_seconds(1);
    lab.restart(a);
    wipe_stack();
    assert_eq!(new.each_ref().map(found), [0, 0]);
}

#[test]
fn debug_shows_no_key_of_any_type() {
    let random: [u8; 16] = std::array::from_fn(|n| 0x91 + 3 * n as u8);
    let parameters = Parameters::link(random, "10.128.16.0/20".parse().unwrap(), Mtu::DEFAULT);
    let (mut lab, [_, a, b]) = Lab::with_two_nodes();
    for node in [a, b] {
        lab.join(node, &parameters);
    }
    lab.run_seconds(5);
    let join = Join {
        parameters,
        world: world_id(1),
        ipv4: true,
        preferred: None,
        greet: Vec::new(),
        membership: None,
        name: None,
    };
    let host = &lab.hosts[a];
    let statuses = format!("{:?} {:?}", host.engine.networks(), host.engine.peers(lab.now));
    for text in [
        format!("{join:?}"),
        format!("{:?}", host.engine),
        format!("{:?}", host.events),
        statuses,
    ] {
        shown::assert_hidden("what is told of a network", &text, &random);
    }
    let supernode = lab.key(0);
    let peer = lab.peer(a, &supernode);
    let mut judged = 0;
    for session in peer.sessions.iter() {
        let mut nothing = [0; 16];
        let key = *session.sealer.job(0, &[], &mut nothing).key();
        shown::assert_hidden("a peer", &format!("{peer:?} {peer:#x?}"), &key);
        judged += 1;
    }
    assert_eq!(judged, 1);
}
