use farlan_tap::Address;

use super::*;

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 9];
const OWN: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 9);

fn card(index: u32, addresses: &[&str]) -> UnderlayCard {
    let address = |text: &&str| {
        let (ip, prefix) = text.split_once('/').unwrap();
        Address {
            ip: ip.parse().unwrap(),
            prefix: prefix.parse().unwrap(),
        }
    };
    UnderlayCard {
        index,
        reaches_groups: true,
        mac: Some(MAC),
        addresses: addresses.iter().map(address).collect(),
    }
}

fn target(network: u8, mtu: u16) -> Target {
    Target {
        network: NetworkHandle::from_u8(network),
        id: NetworkId::from_bytes([network; 16]),
        name: "lan".to_owned(),
        overlay: Overlay {
            mac: Mac::from_bytes([2, 0, 0, 0, 0, network]),
            address: Ipv4Addr::new(10, 128, 0, network),
            mtu,
        },
        limiter: Limiter::default(),
    }
}

/// What a program on this machine broadcasts to a port.
fn search(source: Ipv4Addr, port: u16) -> Vec<u8> {
    let payload = b"anybody there?";
    let mut frame = vec![0xff; 6];
    frame.extend(MAC);
    frame.extend([8, 0, 0x45, 0, 0, 28 + payload.len() as u8, 0, 0, 0, 0, 64, 17, 0, 0]);
    frame.extend(source.octets());
    frame.extend([255; 4]);
    frame.extend(50_000u16.to_be_bytes());
    frame.extend(port.to_be_bytes());
    frame.extend([0, 8 + payload.len() as u8, 0, 0]);
    frame.extend(payload);
    frame
}

fn state(targets: Vec<Target>) -> State {
    State {
        list: Arc::new(List::shipped()),
        watched: [watched(&card(3, &["192.0.2.9/24", "fe80::1/64"])).unwrap()].into(),
        overlays: targets,
        ..State::default()
    }
}

#[test]
fn only_ethernet_cards_with_an_ipv4_address_are_watched() {
    let (index, found) = watched(&card(7, &["fe80::1/64", "192.0.2.9/24", "10.0.0.1/8"])).unwrap();
    assert_eq!(index, 7);
    assert_eq!(found.addresses, [(OWN, 24), ([10, 0, 0, 1].into(), 8)]);
    assert!(watched(&card(7, &["fe80::1/64"])).is_none());
    let tunnel = UnderlayCard {
        mac: None,
        ..card(7, &["192.0.2.9/24"])
    };
    assert!(watched(&tunnel).is_none());
}

#[test]
fn a_search_is_copied_to_each_network_from_its_own_address() {
    let mut state = state(vec![target(1, 1372), target(2, 1372)]);
    let copies = state.copies(3, &search(OWN, 6112), Time::ZERO);
    let networks: Vec<_> = copies.iter().map(|(network, _)| network.as_u8()).collect();
    assert_eq!(networks, [1, 2]);
    for (network, copy) in copies {
        assert_eq!(copy[6..12], [2, 0, 0, 0, 0, network.as_u8()]);
        assert_eq!(copy[26..30], [10, 128, 0, network.as_u8()]);
        assert!(copy.ends_with(b"anybody there?"));
    }
    assert_eq!(state.counters.lifted, 2);
}

#[test]
fn what_is_not_copied_is_counted_by_its_reason() {
    let mut state = state(vec![target(1, 30), target(2, 1372)]);
    // A card that is not watched any more.
    assert!(state.copies(4, &search(OWN, 6112), Time::ZERO).is_empty());
    assert!(state.copies(3, &search(OWN, 6113), Time::ZERO).is_empty());
    assert!(
        state
            .copies(3, &search(Ipv4Addr::new(192, 0, 2, 8), 6112), Time::ZERO)
            .is_empty()
    );
    assert!(state.copies(3, &search(OWN, 6112)[..40], Time::ZERO).is_empty());
    let copies: usize = (0..40)
        .map(|_| state.copies(3, &search(OWN, 6112), Time::ZERO).len())
        .sum();
    let expected = LiftCounters {
        lifted: copies as u64,
        lift_not_listed: 1,
        lift_foreign: 1,
        lift_unfit: 1,
        lift_too_long: 10,
        lift_too_many: 60,
        ..LiftCounters::default()
    };
    assert_eq!((copies, state.counters), (10, expected));
    for (name, _) in expected.iter() {
        assert!(LiftCounters::meaning(name).is_some_and(|meaning| meaning.ends_with('.')));
    }
}

#[test]
fn a_network_that_stays_keeps_what_it_used_up() {
    let mut state = state(vec![target(2, 1372)]);
    for _ in 0..10 {
        assert_eq!(state.copies(3, &search(OWN, 6112), Time::ZERO).len(), 1);
    }
    state.set_overlays([target(1, 1372), target(2, 1372)].into_iter());
    let copies = state.copies(3, &search(OWN, 6112), Time::ZERO);
    assert_eq!(copies.len(), 1, "the new one alone");
    assert_eq!(copies[0].0.as_u8(), 1);
}

#[test]
fn ports_and_groups_are_those_of_the_list() {
    let state = state(Vec::new());
    let ports = state.ports();
    assert!(
        ports.contains(&6112) && ports.contains(&4445) && !ports.contains(&5353),
        "{ports:?}"
    );
    let groups = [[224, 0, 2, 60], [225, 1, 1, 1]].map(Ipv4Addr::from);
    assert_eq!(state.groups(), groups);
}
