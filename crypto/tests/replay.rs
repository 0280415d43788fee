//! A datagram is accepted once, whatever order it and its copies come in.

use farlan_crypto::session::COUNTER_LIMIT;
use farlan_crypto::{Key, OpenError, Opener, Sealer, TAG, Window};

const HEADER: &[u8; 16] = b"sixteen byte hdr";

const WINDOWS: [Window; 2] = [Window::Node, Window::Supernode];

fn pair(window: Window) -> (Sealer, Opener) {
    let key = || Key::from_bytes([7; 32]);
    (Sealer::new(key()), Opener::new(key(), window))
}

/// Datagrams with these counters that hold nothing.
fn sealed(sealer: &Sealer, counters: impl Iterator<Item = u64>) -> Vec<(u64, [u8; TAG])> {
    let seal = |counter| {
        let mut message = [0; TAG];
        sealer.seal(counter, HEADER, &mut message);
        (counter, message)
    };
    counters.map(seal).collect()
}

/// A number that looks random and is always the same (the generator of Numerical Recipes, its upper half).
fn random(state: &mut u64, below: u64) -> u64 {
    *state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
    (*state >> 16) % below
}

/// Orders them as a network would that holds each back by at most `most` others.
fn reordered(datagrams: &[(u64, [u8; TAG])], most: u64) -> Vec<(u64, [u8; TAG])> {
    let mut state = most;
    let mut order: Vec<_> = datagrams
        .iter()
        .map(|datagram| (datagram.0 + random(&mut state, most + 1), *datagram))
        .collect();
    order.sort();
    order.into_iter().map(|(_, datagram)| datagram).collect()
}

#[test]
fn a_million_replays_at_all_positions_are_refused() {
    const REPLAYS: u64 = 1_000_000;
    for window in WINDOWS {
        let (sealer, mut opener) = pair(window);
        let width = u64::from(window.bits());
        // Three windows' worth, so that some are behind it.
        let datagrams = sealed(&sealer, 0..3 * width);
        for (counter, datagram) in reordered(&datagrams, width / 2) {
            assert!(opener.open(counter, HEADER, &mut datagram.clone()).is_ok(), "{counter}");
        }
        let (mut replayed, mut too_old) = (0, 0);
        for n in 0..REPLAYS {
            let (counter, datagram) = datagrams[(n % datagrams.len() as u64) as usize];
            match opener.open(counter, HEADER, &mut datagram.clone()) {
                Err(OpenError::Replayed) => replayed += 1,
                Err(OpenError::TooOld) => too_old += 1,
                other => panic!("{counter}: {other:?}"),
            }
        }
        assert_eq!(replayed + too_old, REPLAYS);
        let third = REPLAYS / 3;
        assert!(
            replayed.abs_diff(third) <= width && too_old.abs_diff(2 * third) <= 2 * width,
            "{replayed} {too_old}"
        );
        println!("{window:?}: {REPLAYS} replays at {} positions, 0 accepted", 3 * width);
    }
}

#[test]
fn nothing_is_lost_to_reordering_within_the_window() {
    for (window, distances) in [
        (Window::Node, &[1, 64, 1024, 8191][..]),
        (Window::Supernode, &[1, 64, 255]),
    ] {
        for distance in distances {
            let (sealer, mut opener) = pair(window);
            let datagrams = sealed(&sealer, 0..30_000);
            let order = reordered(&datagrams, *distance);
            let open =
                |(counter, datagram): &(u64, [u8; TAG])| opener.open(*counter, HEADER, &mut datagram.clone()).is_err();
            let lost = order.iter().map(open).filter(|lost| *lost).count();
            assert_eq!(lost, 0, "{window:?}, {distance}");
        }
        // The farthest there is: the first comes last.
        let (sealer, mut opener) = pair(window);
        let mut last = sealed(&sealer, 0..u64::from(window.bits()));
        last.rotate_left(1);
        for (counter, mut datagram) in last {
            assert!(
                opener.open(counter, HEADER, &mut datagram).is_ok(),
                "{window:?}, {counter}"
            );
        }
    }
}

#[test]
fn counters_end_at_two_to_the_sixtieth() {
    assert_eq!(COUNTER_LIMIT, 1 << 60);
    for window in WINDOWS {
        let (sealer, mut opener) = pair(window);
        for (counter, mut datagram) in sealed(&sealer, COUNTER_LIMIT - 2..COUNTER_LIMIT + 2) {
            let opened = opener.open(counter, HEADER, &mut datagram);
            assert_eq!(opened.is_ok(), counter < COUNTER_LIMIT, "{counter:x}");
        }
        let (counter, mut datagram) = sealed(&sealer, [u64::MAX].into_iter())[0];
        assert_eq!(opener.open(counter, HEADER, &mut datagram), Err(OpenError::Forged));
    }
}

/// The next counter is one that was never given out, also when it was not used.
#[test]
fn no_counter_is_given_out_twice() {
    let (mut sealer, _) = pair(Window::Node);
    for expected in 0..100_000 {
        assert_eq!(sealer.next_counter(), Ok(expected));
    }
}
