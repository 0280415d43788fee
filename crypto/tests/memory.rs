//! What is left in memory of secrets that are not used any more: nothing.
//!
//! This is a program of its own, so that all that is found in it is of the one test.

#![allow(
    clippy::unwrap_used,
    reason = "a step that fails is a test that fails, in the helpers too"
)]

mod scan;

use data_encoding::HEXLOWER;
use farlan_crypto::{
    Identity, Initiator, Opener, Responder, SalsaPoly, Sealer, Secret, SystemRandom, TAG, Window, Work, secret_file,
};
use rand_core::Rng;
use scan::{Memory, Needles};
use zeroize::Zeroizing;

/// Everything secret that two ends of a session hold, and its names.
#[derive(Default)]
struct Secrets {
    lasting: Needles,
    session: Needles,
}

const HEADER: &[u8; 16] = b"sixteen byte hdr";

/// A session: both ends, at work.
struct Session {
    sealer: Sealer,
    opener: Opener,
}

/// Makes a session between two nodes, and moves all that it is made of about, as a program does.
fn session(secrets: &mut Secrets, alice: &Identity, bob: &Identity, random: &mut SystemRandom) -> Vec<Session> {
    let mut ephemerals = Vec::new();
    for name in ["first ephemeral", "second ephemeral"] {
        let ephemeral = Secret::<32>::filled(|bytes| random.fill_bytes(bytes));
        secrets.session.add(name, ephemeral.as_bytes());
        ephemerals.push(ephemeral);
    }
    let (mut first, mut second) = (Vec::new(), Vec::new());
    let begun =
        Initiator::<SalsaPoly>::start(b"p", alice, &bob.public(), ephemerals[0].as_bytes(), b"", &mut first).unwrap();
    let read = Responder::<SalsaPoly>::read(b"p", bob, &first, &mut Vec::new()).unwrap();
    let bobs = read.respond(ephemerals[1].as_bytes(), b"", &mut second).unwrap();
    let alices = begun.finish(alice, &second, &mut Vec::new()).unwrap();
    secrets.session.add("key of the initiator", alices.send.as_bytes());
    secrets.session.add("key of the responder", bobs.send.as_bytes());
    let pair = |keys: farlan_crypto::SessionKeys| Session {
        sealer: Sealer::new(keys.send),
        opener: Opener::new(keys.receive, Window::Node),
    };
    let mut sessions = vec![pair(alices)];
    sessions.push(pair(bobs));
    sessions.reserve(100);
    sessions
}

/// Sends some messages, and forged ones the other way.
fn talk(sessions: &mut [Session]) {
    let [alice, bob] = sessions else { panic!("two ends") };
    for _ in 0..100 {
        let mut message = vec![7; 1000 + TAG];
        let counter = alice.sealer.next_counter().unwrap();
        alice.sealer.seal(counter, HEADER, &mut message);
        bob.opener.open(counter, HEADER, &mut message).unwrap();
        let mut forged = vec![7; 1000 + TAG];
        let counter = bob.sealer.next_counter().unwrap();
        bob.sealer.seal(counter, HEADER, &mut forged);
        forged[0] ^= 1;
        assert!(alice.opener.open(counter, HEADER, &mut forged).is_err());
    }
}

fn found(needles: &Needles) -> Vec<(&str, usize)> {
    needles.found(&Memory::of("self").expect("a process may look at itself"))
}

/// A node's identity, drawn, written to a file and read from it.
fn identity(secrets: &mut Secrets, name: &str, directory: &std::path::Path, random: &mut SystemRandom) -> Identity {
    let path = directory.join(name);
    let made = secret_file::load_or_create(&path, random, Work::NONE).unwrap();
    let read = secret_file::load(&path, Work::NONE).unwrap();
    secrets.lasting.add(name, read.seed().as_bytes());
    // As they stand in the file.
    let mut digits = Zeroizing::new([0; 64]);
    HEXLOWER.encode_mut(made.seed().as_bytes(), &mut *digits);
    secrets.lasting.add(&format!("digits of {name}"), &*digits);
    made
}

#[test]
fn nothing_is_left_of_a_secret_that_is_dropped() {
    let directory = tempfile::tempdir().unwrap();
    let mut secrets = Secrets::default();
    let mut random = SystemRandom::from_os().unwrap();
    let alice = identity(&mut secrets, "alice", directory.path(), &mut random);
    let bob = identity(&mut secrets, "bob", directory.path(), &mut random);
    let mut sessions = session(&mut secrets, &alice, &bob, &mut random);
    talk(&mut sessions);
    // While the session lives its keys are found, which shows that they would be; the ephemeral secrets are gone.
    let alive = found(&secrets.session);
    let mut names: Vec<_> = alive.iter().map(|(name, _)| *name).collect();
    names.retain(|name| !name.starts_with("key of"));
    assert_eq!((alive.len(), names), (4, vec![]), "{alive:?}");
    let lasting = found(&secrets.lasting);
    assert!(
        lasting.iter().all(|(name, _)| !name.starts_with("digits")),
        "{lasting:?}"
    );
    assert_eq!(lasting.len(), 4, "{lasting:?}");

    // A newer session takes over, then the old one ends.
    let mut newer = Secrets::default();
    let mut renewed = session(&mut newer, &alice, &bob, &mut random);
    talk(&mut renewed);
    drop(sessions);
    farlan_crypto::wipe_stack();
    assert_eq!(found(&secrets.session), []);
    assert_eq!(found(&newer.session).len(), 4);

    drop((renewed, alice, bob));
    farlan_crypto::wipe_stack();
    assert_eq!(found(&newer.session), []);
    assert_eq!(found(&secrets.lasting), []);
}
