//! Tests of the simulated Internet.

use super::{
    super::{
        homes::Home,
        nat::{Filtering, Mapping},
    },
    *,
};

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

/// The mapping and the filtering of what a home is behind, as hosts outside find them, and whether it keeps the port.
fn classified(home: Home) -> Option<(Mapping, Filtering, bool)> {
    let mut underlay = Underlay::new(1);
    let mut realm = None;
    for kind in home.routers().into_iter().rev() {
        realm = Some(underlay.add_nat(kind, realm));
    }
    // Two hosts outside with two ports each.
    underlay.add_host(None, true);
    underlay.add_host(None, true);
    underlay.add_host(realm, false);
    let now = Duration::from_secs(1);
    let [one, two] = [0, 1].map(|host| underlay.endpoints(host)[0]);
    let second = SocketAddr::new(one.ip(), SECOND_PORT);
    // Filters first: the inside spoke to one endpoint only.
    let (_, outside) = pass(&mut underlay, now, 2, one).ok()?;
    let second_port = Socket::Extra(0);
    let by_port = pass_from(&mut underlay, now, (0, second_port), outside).is_err();
    let by_address = pass(&mut underlay, now, 1, outside).is_err();
    assert_eq!(
        pass(&mut underlay, now, 0, outside).map(|(host, _)| host),
        Ok(2),
        "{home}"
    );
    let filtering = match (by_address, by_port) {
        (false, false) => Filtering::EndpointIndependent,
        (true, false) => Filtering::AddressDependent,
        (_, true) => Filtering::AddressAndPortDependent,
    };
    // Long after, so that no entry of the refused is left.
    let later = now + Duration::from_secs(100);
    let [first, again, other] =
        [one, second, two].map(|remote| pass(&mut underlay, later, 2, remote).unwrap().1.port());
    let mapping = match (first == again, first == other) {
        (true, true) => Mapping::EndpointIndependent,
        (true, false) => Mapping::AddressDependent,
        (false, _) => Mapping::Symmetric,
    };
    Some((mapping, filtering, first == PORT))
}

#[test]
fn the_seventeen_kinds_are_what_kernels_were_measured_to_be() {
    use Filtering::{
        AddressAndPortDependent as ByEndpoint, AddressDependent as ByAddress, EndpointIndependent as Open,
    };
    use Mapping::{AddressDependent, EndpointIndependent as One, Symmetric};
    let measured = [
        ("none", Some((One, Open, true))),
        ("full", Some((One, Open, true))),
        ("addr", Some((One, ByAddress, true))),
        ("port", Some((One, ByEndpoint, true))),
        ("port-strict", Some((One, ByEndpoint, true))),
        ("port-rand", Some((One, ByEndpoint, false))),
        ("poison", Some((One, ByEndpoint, true))),
        ("sym", Some((Symmetric, ByEndpoint, false))),
        ("sym-seq", Some((Symmetric, ByEndpoint, false))),
        ("sym-addr", Some((AddressDependent, ByEndpoint, false))),
        ("udp-blocked", None),
        ("port/full", Some((One, ByEndpoint, true))),
        ("port/port", Some((One, ByEndpoint, true))),
        ("full/full", Some((One, Open, true))),
        ("port/sym", Some((Symmetric, ByEndpoint, false))),
        ("full~", Some((One, Open, true))),
        ("port~", Some((One, ByEndpoint, true))),
    ];
    for (home, (name, expected)) in Home::ALL.into_iter().zip(measured) {
        assert_eq!((home.name(), classified(home)), (name, expected));
    }
}

#[test]
fn extra_sockets_have_ports_of_their_own_until_they_are_closed() {
    let mut underlay = underlay(NatKind::HOME);
    let now = Duration::from_secs(1);
    let open = underlay.endpoints(0)[0];
    let extra = Socket::Extra(7);
    let (_, _, main) = pass_from(&mut underlay, now, (2, Socket::Main), open).unwrap();
    let (_, _, first) = pass_from(&mut underlay, now, (2, extra), open).unwrap();
    assert_ne!(main.port(), first.port());
    assert_eq!(
        pass_from(&mut underlay, now, (2, extra), open),
        Ok((0, Socket::Main, first))
    );
    // What answers comes by the same socket.
    assert_eq!(
        pass_from(&mut underlay, now, (0, Socket::Main), first),
        Ok((2, extra, open))
    );
    assert_eq!(
        pass_from(&mut underlay, now, (0, Socket::Main), main),
        Ok((2, Socket::Main, open))
    );
    underlay.close(2, extra);
    assert_eq!(
        pass_from(&mut underlay, now, (0, Socket::Main), first),
        Err("closed port")
    );
    let (_, _, second) = pass_from(&mut underlay, now, (2, extra), open).unwrap();
    assert_ne!(first.port(), second.port());
    // A supernode's second port stays what it is.
    underlay.add_host(None, true);
    let endpoint = SocketAddr::new(underlay.endpoints(3)[0].ip(), SECOND_PORT);
    let (host, socket, _) = pass_from(&mut underlay, now, (0, Socket::Main), endpoint).unwrap();
    assert_eq!((host, socket), (3, Socket::Extra(0)));
    underlay.close(3, socket);
    let (.., source) = pass_from(&mut underlay, now, (3, socket), open).unwrap();
    assert_eq!(source, endpoint);
}

#[test]
fn each_router_on_the_way_takes_one_hop() {
    let mut underlay = Underlay::new(1);
    let carrier = underlay.add_nat(NatKind::HOME, None);
    let home = underlay.add_nat(NatKind::HOME, Some(carrier));
    underlay.add_host(None, false);
    underlay.add_host(Some(home), false);
    let now = Duration::from_secs(1);
    let open = underlay.endpoints(0)[0];
    let outside = SocketAddr::new(underlay.nats[carrier.0].outside.into(), PORT);
    // Two hops open the home's router and not the carrier's, three open both.
    for (ttl, opens) in [(2, false), (3, true)] {
        assert_eq!(
            underlay.send(now, 1, open.into(), Some(ttl), 100).map(|_| ()),
            Err("time to live exceeded")
        );
        assert_eq!(pass(&mut underlay, now, 0, outside).is_ok(), opens, "{ttl} hops");
    }
}

#[test]
fn a_home_that_lets_no_udp_out_is_one_lan_still() {
    let mut underlay = underlay(NatKind::UDP_BLOCKED);
    underlay.add_host(Some(NatId(0)), false);
    let now = Duration::from_secs(1);
    let [open, neighbour] = [0, 3].map(|host| underlay.endpoints(host)[0]);
    assert_eq!(pass(&mut underlay, now, 2, open), Err("UDP blocked"));
    assert_eq!(pass(&mut underlay, now, 2, neighbour).map(|(host, _)| host), Ok(3));
}

#[test]
fn a_hairpin_asks_no_filter() {
    let mut underlay = Underlay::new(1);
    let nat = underlay.add_nat(NatKind::PORT.hairpin(), None);
    underlay.add_host(None, false);
    underlay.add_host(None, false);
    underlay.add_host(Some(nat), false);
    underlay.add_host(Some(nat), false);
    let now = Duration::from_secs(1);
    let open = underlay.endpoints(0)[0];
    let [one, two] = [2, 3].map(|host| pass(&mut underlay, now, host, open).unwrap().1);
    assert_eq!(pass(&mut underlay, now, 1, two), Err("filtered"));
    assert_eq!(pass(&mut underlay, now, 2, two), Ok((3, one)));
    // A symmetric one translates what goes to its own address, too, and the answer back again.
    underlay.set_kind(nat, NatKind::SYM.hairpin());
    underlay.reboot(now, nat);
    let [_, two] = [2, 3].map(|host| pass(&mut underlay, now, host, open).unwrap().1);
    let (_, seen) = pass(&mut underlay, now, 2, two).unwrap();
    assert_eq!(pass(&mut underlay, now, 3, seen), Ok((2, two)));
}

#[test]
fn what_goes_nowhere_is_counted() {
    let mut underlay = underlay(NatKind::HOME);
    let now = Duration::from_secs(1);
    let nobody: SocketAddr = "9.9.0.1:9600".parse().unwrap();
    assert!(pass(&mut underlay, now, 2, nobody).is_err());
    assert!(pass(&mut underlay, now, 2, "10.1.1.1:1".parse().unwrap()).is_err());
    let open = underlay.endpoints(0)[0];
    assert!(pass(&mut underlay, now, 2, open).is_ok());
    assert_eq!(underlay.traffic(2).astray, 2);
    // A router that moved leaves its old address to nobody.
    let (_, old) = pass(&mut underlay, now, 2, open).unwrap();
    underlay.renumber(now, NatId(0));
    assert_eq!(pass(&mut underlay, now, 0, old), Err("nobody there"));
    assert_eq!(underlay.traffic(0).astray, 1);
    let (_, new) = pass(&mut underlay, now, 2, open).unwrap();
    assert_ne!(old.ip(), new.ip());
    assert_eq!(pass(&mut underlay, now, 0, new), Ok((2, open)));
}
