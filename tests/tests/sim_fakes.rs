//! Made-up nodes, more than there is room for: memory is bounded, and the real nodes notice nothing. A million of them come
//! in `scripts/measure-fake-peers`.

use farlan_engine::Limits;
use farlan_tests::fakes::{Doing, Seen, measure};

/// Small tables, so that few fill them.
const LIMITS: Limits = Limits {
    peers: 200,
    registrations: 300,
    relay_source: 12_500_000,
    relay_pair: 0,
    documents: 64 << 20,
    full_max: Limits::FULL_MAX,
};

fn unharmed(doing: Doing, fakes: u64, limits: Limits) -> Seen {
    let seen = measure(doing, fakes, limits, |_| ()).expect("the real nodes speak");
    println!("{doing:?}: {seen:?}");
    assert_eq!((seen.lost, seen.parted), (0, 0), "{seen:?}");
    assert!(seen.frames >= 20, "{seen:?}");
    assert!(seen.registrations <= limits.registrations, "{seen:?}");
    // Members that were met are shown, too, of whom 256 are remembered.
    assert!(seen.peers <= limits.peers + 256, "{seen:?}");
    seen
}

#[test]
fn members_that_are_made_up_take_no_more_peers_than_there_may_be() {
    let limits = Limits {
        registrations: 3000,
        ..LIMITS
    };
    let seen = unharmed(Doing::Members, 1200, limits);
    assert!(seen.served > 600 && seen.refused > 300, "{seen:?}");
}

#[test]
fn registrations_that_are_made_up_take_no_more_places_than_there_are() {
    let seen = unharmed(Doing::Registering, 6000, LIMITS);
    assert!(
        seen.registrations >= LIMITS.registrations - 1 && seen.refused > 3000,
        "{seen:?}"
    );
}

#[test]
fn datagrams_in_anybodys_name_take_nothing() {
    let seen = unharmed(Doing::Forging, 20_000, LIMITS);
    assert_eq!(seen.registrations, 2);
    assert!(seen.resident < 256 << 20, "{seen:?}");
}
