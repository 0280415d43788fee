//! Clocks that are wrong by twenty years keep nobody out, and let nobody in.

use super::*;

const TWENTY_YEARS: u64 = 20 * 365 * DAY;

/// The date of the build, of a program that is not new.
fn build() -> Seconds {
    at(0).minus(100 * DAY)
}

fn judged(clock: Seconds, newest_signed: Seconds, own: &Credential) -> Seconds {
    now(clock, build(), newest_signed, Some(own.expiry()))
}

fn check(credential: &Credential, now: Seconds) -> Result<Standing, Invalid> {
    let (network, node) = (network(), identity(3).public());
    credential.check(&network, &node, now, &Revocations::new(network))
}

#[test]
fn a_right_clock_counts() {
    assert_eq!(judged(at(100), at(20), &member()), at(100));
    assert_eq!(judged(at(365), at(20), &member()), at(365));
    assert_eq!(now(at(100), build(), at(20), None), at(100));
}

#[test]
fn a_clock_twenty_years_behind_gives_way_to_what_was_signed_and_built() {
    let clock = at(100).minus(TWENTY_YEARS);
    assert_eq!(judged(clock, at(20), &member()), at(20));
    assert_eq!(judged(clock, Seconds::default(), &member()), build());
    // What has expired by what was signed has expired.
    assert_eq!(check(&guest(), judged(clock, at(20), &member())), Err(Invalid::Expired));
    assert_eq!(check(&guest(), judged(clock, at(8), &member())).map(|_| ()), Ok(()));
}

#[test]
fn a_clock_twenty_years_ahead_counts_for_nothing() {
    let clock = at(100).plus(TWENTY_YEARS);
    assert_eq!(judged(clock, at(20), &member()), at(20));
    assert_eq!(judged(clock, Seconds::default(), &member()), build());
    for own in [member(), guest(), extended()] {
        assert_eq!(
            check(&own, judged(clock, own.newest_signed(), &own)).map(|_| ()),
            Ok(())
        );
    }
    // The same for who has no credential yet, by the expiry of the invite.
    let expiry = invite(0).fields().expiry;
    assert_eq!(now(clock, build(), at(0), Some(expiry)), at(0));
}

#[test]
fn a_clock_is_trusted_until_the_second_in_which_the_own_credential_expires() {
    let expiry = member().expiry();
    assert_eq!(judged(expiry.minus(1), at(20), &member()), expiry.minus(1));
    assert_eq!(judged(expiry, at(20), &member()), at(20));
}

#[test]
fn what_delegates_signed_does_not_move_the_time() {
    assert_eq!(member().newest_signed(), at(1));
    // It begins on day 2, and the network key signed its delegation on day 0.
    assert_eq!(guest().newest_signed(), at(0));
    // It was extended on day 200.
    assert_eq!(extended().newest_signed(), at(1));
    let mut revocations = Revocations::new(network());
    assert_eq!(revocations.newest_signed(), Seconds::default());
    let revoked = Revoked::Delegation { key: [1; 32] };
    revocations.insert(Revocation::sign(&network(), &pair(1), revoked, at(7)).unwrap());
    assert_eq!(revocations.newest_signed(), at(7));
}

#[test]
fn who_joins_with_a_clock_twenty_years_wrong_makes_a_certificate_that_others_take() {
    let delegation = invite(0);
    let by = |clock| {
        let start = delegation.start(clock, build());
        Credential::by_invite(
            &network(),
            &pair(2),
            delegation.clone(),
            identity(3).public(),
            None,
            start,
        )
        .unwrap()
    };
    let right = by(at(10));
    assert_eq!((right.time(), right.expiry()), (at(10), at(17)));
    for clock in [at(10).plus(TWENTY_YEARS), at(10).minus(TWENTY_YEARS), at(30)] {
        let made = by(clock);
        assert_eq!((made.time(), made.expiry()), (at(23), at(30)), "{clock}");
        assert_eq!(check(&made, at(10)).map(|standing| standing.provisional), Ok(true));
    }
}

#[test]
fn renewal_is_due_at_half_of_the_life_and_at_once_for_the_provisional() {
    let half = at(1).plus(365 * DAY / 2);
    assert!(!member().needs_renewal(half.minus(1)));
    assert!(member().needs_renewal(half));
    assert!(guest().needs_renewal(at(2)));
    assert!(!extended().needs_renewal(at(349)));
    assert!(extended().needs_renewal(at(350)));
    assert_eq!(extended().life_left(at(499)), DAY);
    assert_eq!(extended().life_left(at(600)), 0);
}
