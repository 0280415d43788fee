//! Tests of the simulated Internet.

use super::{super::nat::Filtering, *};

/// Two open hosts 0 and 1, and host 2 behind a NAT.
fn underlay(kind: NatKind) -> Underlay {
    let mut underlay = Underlay::new(1);
    let nat = underlay.add_nat(kind, None);
    underlay.add_host(None, false);
    underlay.add_host(None, false);
    underlay.add_host(Some(nat), false);
    underlay
}

fn pass(
    underlay: &mut Underlay,
    now: Duration,
    from: usize,
    to: SocketAddr,
) -> Result<(usize, SocketAddr), &'static str> {
    pass_from(underlay, now, (from, Socket::Main), to).map(|(host, _, source)| (host, source))
}

/// The same from any socket; tells the socket where it arrives, too.
fn pass_from(
    underlay: &mut Underlay,
    now: Duration,
    (from, socket): (usize, Socket),
    endpoint: SocketAddr,
) -> Result<(usize, Socket, SocketAddr), &'static str> {
    let leg = Leg { socket, endpoint };
    let parcel = underlay.send(now, from, leg, None, 100)?.remove(0);
    let (host, socket) = underlay.arrive(&parcel, 100)?;
    Ok((host, socket, parcel.source))
}

#[test]
fn two_nats_in_a_row_translate_twice() {
    let mut underlay = Underlay::new(1);
    let carrier = underlay.add_nat(NatKind::HOME, None);
    for _ in 0..2 {
        let home = underlay.add_nat(NatKind::HOME, Some(carrier));
        underlay.add_host(Some(home), false);
    }
    underlay.add_host(None, false);
    let now = Duration::from_secs(1);
    let open = underlay.endpoints(2)[0];
    let (_, first) = pass(&mut underlay, now, 0, open).unwrap();
    let (_, second) = pass(&mut underlay, now, 1, open).unwrap();
    assert_eq!(first.ip(), second.ip());
    assert_ne!(first.port(), second.port());
    assert_eq!(pass(&mut underlay, now, 2, first), Ok((0, open)));
    assert_eq!(pass(&mut underlay, now, 2, second), Ok((1, open)));
    // Neighbours behind one carrier reach each other by their addresses there, once both spoke, at any time to live.
    let shared = [0, 1].map(|number| SocketAddr::new(Ipv4Addr::new(100, 64, 0, number).into(), PORT));
    assert_eq!(pass(&mut underlay, now, 0, shared[1]), Err("filtered"));
    assert_eq!(pass(&mut underlay, now, 1, shared[0]), Ok((0, shared[1])));
    assert_eq!(pass(&mut underlay, now, 0, shared[1]), Ok((1, shared[0])));
    assert_eq!(pass(&mut underlay, now, 0, second), Err("no hairpin"));
    assert_eq!(
        pass(&mut underlay, now, 2, shared[0]),
        Err("no route to a private address")
    );
}

#[test]
fn hairpin_comes_back_from_outside() {
    let mut underlay = Underlay::new(1);
    let kind = NatKind::HOME.filtering(Filtering::EndpointIndependent).hairpin();
    let nat = underlay.add_nat(kind, None);
    underlay.add_host(None, false);
    underlay.add_host(Some(nat), false);
    underlay.add_host(Some(nat), false);
    let now = Duration::from_secs(1);
    let open = underlay.endpoints(0)[0];
    let outsides = [1, 2].map(|host| pass(&mut underlay, now, host, open).unwrap().1);
    assert_eq!(pass(&mut underlay, now, 1, outsides[1]), Ok((2, outsides[0])));
    // Within the home nothing is translated.
    let [first, second] = [1, 2].map(|host| underlay.endpoints(host)[0]);
    assert_eq!(pass(&mut underlay, now, 1, second), Ok((2, first)));
}

#[test]
fn a_firewall_lets_in_what_was_asked_for() {
    let mut underlay = Underlay::new(1);
    let nat = underlay.add_nat(NatKind::HOME.with_ipv6(Filtering::AddressAndPortDependent), None);
    underlay.add_host(None, false);
    underlay.add_host(Some(nat), false);
    underlay.add_host(Some(nat), false);
    let [open, first, second] = [0, 1, 2].map(|host| underlay.endpoints(host)[1]);
    let now = Duration::from_secs(1);
    assert_eq!(pass(&mut underlay, now, 0, first), Err("filtered"));
    assert_eq!(pass(&mut underlay, now, 1, open), Ok((0, first)));
    assert_eq!(pass(&mut underlay, now, 0, first), Ok((1, open)));
    assert_eq!(pass(&mut underlay, now, 2, first), Ok((1, second)));
    let later = now + NatKind::HOME.lifetime;
    assert_eq!(pass(&mut underlay, later, 0, first), Err("filtered"));
    assert_eq!(underlay.fault_counts().of(FaultKind::Expiry), 1);
}

#[test]
fn who_moves_is_found_at_its_new_addresses_only() {
    let mut underlay = underlay(NatKind::HOME);
    let now = Duration::from_secs(1);
    let before = underlay.endpoints(1);
    underlay.move_host(1, None);
    let after = underlay.endpoints(1);
    assert!(before.iter().all(|endpoint| !after.contains(endpoint)));
    for (old, new) in before.into_iter().zip(after) {
        assert_eq!(pass(&mut underlay, now, 0, old), Err("nobody there"));
        assert!(pass(&mut underlay, now, 0, new).is_ok());
    }
    underlay.move_host(1, Some(NatId(0)));
    assert_eq!(underlay.endpoints(1).len(), 1);
    let open = underlay.endpoints(0)[0];
    let (_, outside) = pass(&mut underlay, now, 1, open).unwrap();
    assert_eq!(pass(&mut underlay, now, 0, outside), Ok((1, open)));
}

#[test]
fn rebinding_changes_the_port() {
    let mut underlay = underlay(NatKind::HOME);
    let first = underlay.endpoints(0)[0];
    let now = Duration::from_secs(1);
    let (_, before) = pass(&mut underlay, now, 2, first).unwrap();
    underlay.rebind(now, NatId(0));
    assert_eq!(pass(&mut underlay, now, 0, before), Err("filtered"));
    let (_, after) = pass(&mut underlay, now, 2, first).unwrap();
    assert_ne!(before, after);
}

#[test]
fn short_lived_datagrams_open_the_nat_and_die() {
    let mut underlay = underlay(NatKind::HOME);
    let first = underlay.endpoints(0)[0];
    let now = Duration::from_secs(1);
    assert!(underlay.send(now, 2, first.into(), Some(5), 100).is_err());
    let outside = SocketAddr::new(nat_address(0).into(), PORT);
    assert_eq!(pass(&mut underlay, now, 0, outside), Ok((2, first)));
}

#[test]
fn loss_and_duplication_come_at_their_rates() {
    let mut underlay = underlay(NatKind::HOME);
    let first = underlay.endpoints(0)[0];
    let quality = LinkQuality::of_delay(Duration::from_millis(1))
        .with_loss(0.2)
        .with_duplication(0.1);
    underlay.set_default(quality);
    let (mut lost, mut doubled) = (0, 0);
    for _ in 0..10_000 {
        match underlay.send(Duration::ZERO, 1, first.into(), None, 100) {
            Err(_) => lost += 1,
            Ok(copies) => doubled += copies.len() - 1,
        }
    }
    assert!((1_850..2_150).contains(&lost), "{lost}");
    assert!((700..900).contains(&doubled), "{doubled}");
}
