use super::*;

fn wanted() -> Wanted {
    Wanted {
        name: "fl-lan".to_owned(),
        mac: [0x02, 1, 2, 3, 4, 5],
        mtu: 1372,
        addresses: vec![address("fd12:3456:789a::1", 48), address("fe80::1", 64)],
        tx_queue: 1000,
        accept_router_advertisements: false,
        offloads: true,
    }
}

fn address(ip: &str, prefix: u8) -> Address {
    Address {
        ip: ip.parse().unwrap(),
        prefix,
    }
}

fn begun() -> Helper {
    let mut helper = Helper::default();
    helper.begin("london".to_owned(), vec!["games0".to_owned()]).unwrap();
    helper
}

#[test]
fn only_farlans_names_and_those_known_from_before_are_given() {
    let helper = begun();
    let judge = |name: &str| {
        helper.judge(&Wanted {
            name: name.to_owned(),
            ..wanted()
        })
    };
    for good in ["fl-lan", "fl-x%d", "games0"] {
        assert_eq!(judge(good), Ok(()), "{good}");
    }
    for bad in [
        "eth0",
        "games1",
        "fl",
        "flan0",
        "lo",
        "fl-/../eth0",
        "fl-a b",
        "fl-0123456789abc",
        "all",
        "",
    ] {
        assert_eq!(judge(bad), Err(TapError::BadName { name: bad.to_owned() }), "{bad}");
    }
}

#[test]
fn only_the_settings_of_farlans_cards_are_taken() {
    let helper = begun();
    assert_eq!(helper.judge(&wanted()), Ok(()));
    let group = Wanted {
        mac: [0x03, 0, 0, 0, 0, 1],
        ..wanted()
    };
    let makers = Wanted {
        mac: [0x00, 0x11, 0x22, 0x33, 0x44, 0x55],
        ..wanted()
    };
    let mtus = [0, 68, 1279, 9001, u16::MAX].map(|mtu| Wanted { mtu, ..wanted() });
    let queue = Wanted {
        tx_queue: LONGEST_QUEUE + 1,
        ..wanted()
    };
    let everything = Wanted {
        addresses: vec![address("10.0.0.1", 1)],
        ..wanted()
    };
    for bad in [group, makers, queue, everything].into_iter().chain(mtus) {
        assert!(matches!(helper.judge(&bad), Err(TapError::Refused { .. })), "{bad:?}");
    }
}

#[test]
fn addresses_that_would_take_the_machines_traffic_are_refused() {
    for (ip, prefix) in [
        ("10.128.16.7", 20),
        ("25.1.2.3", 8),
        ("192.168.7.5", 30),
        ("fd60:c111:9c75::1", 48),
        ("fe80::1", 64),
    ] {
        assert_eq!(allow(&address(ip, prefix)), Ok(()), "{ip}/{prefix}");
    }
    for (ip, prefix) in [
        ("10.0.0.1", 0),
        ("10.0.0.1", 7),
        ("10.0.0.1", 31),
        ("10.0.0.1", 255),
        ("0.0.0.0", 8),
        ("127.0.0.2", 8),
        ("169.254.1.1", 16),
        ("224.0.0.251", 24),
        ("255.255.255.255", 24),
        ("::", 128),
        ("::1", 128),
        ("2001:db8::1", 64),
        ("fd60:c111:9c75::1", 8),
        ("fd60:c111:9c75::1", 64),
        ("fd60:c111:9c75::1", 128),
        ("fd60:c111:9c75::1", 129),
        ("fe80::1", 10),
        ("ff02::1", 64),
        ("::ffff:10.0.0.1", 128),
    ] {
        let refused = allow(&address(ip, prefix));
        assert!(
            matches!(refused, Err(TapError::Refused { .. })),
            "{ip}/{prefix}: {refused:?}"
        );
    }
}

#[test]
fn nothing_is_done_before_the_owner_is_known_and_the_owner_stays() {
    let mut helper = Helper::default();
    for request in [
        Request::Create(wanted()),
        Request::RemoveStale,
        Request::AddAddress {
            index: 1,
            address: address("10.1.2.3", 24),
        },
    ] {
        let (answer, descriptor) = helper.answer(request);
        assert!(matches!(answer, Answer::Error(TapError::Refused { .. })), "{answer:?}");
        assert!(descriptor.is_none());
    }
    let begin = |owner: &str| Request::Begin {
        owner: owner.to_owned(),
        names: Vec::new(),
    };
    let (answer, _) = helper.answer(begin("not one word"));
    assert!(matches!(answer, Answer::Error(TapError::BadOwner { .. })), "{answer:?}");
    assert_eq!(helper.answer(begin("london")).0, Answer::Done);
    for owner in ["paris", "london"] {
        let (answer, _) = helper.answer(begin(owner));
        assert!(matches!(answer, Answer::Error(TapError::Refused { .. })), "{answer:?}");
    }
    assert_eq!(helper.owner.as_deref(), Some("london"));
}

/// Index 1 is the loopback in every network namespace.
#[test]
fn an_interface_that_was_not_made_here_is_not_touched() {
    let mut helper = begun();
    let address = address("10.1.2.3", 24);
    for request in [
        Request::AddAddress { index: 1, address },
        Request::RemoveAddress { index: 1, address },
        Request::RestoreAddresses {
            index: 1,
            addresses: vec![address],
        },
    ] {
        let (answer, _) = helper.answer(request);
        let Answer::Error(TapError::Refused { what }) = &answer else {
            panic!("{answer:?}");
        };
        assert!(what.contains("which it did not make"), "{what}");
    }
}
