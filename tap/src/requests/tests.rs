use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn address() -> impl Strategy<Value = Address> {
    (any::<IpAddr>(), any::<u8>()).prop_map(|(ip, prefix)| Address { ip, prefix })
}

fn addresses() -> impl Strategy<Value = Vec<Address>> {
    vec(address(), 0..20)
}

fn name() -> impl Strategy<Value = String> {
    "[a-z0-9-]{0,15}"
}

fn text() -> impl Strategy<Value = String> {
    "\\PC{0,60}"
}

fn host_name() -> impl Strategy<Value = HostName> {
    (any::<Option<Ipv4Addr>>(), any::<Option<Ipv6Addr>>(), text()).prop_map(|(ipv4, ipv6, name)| HostName {
        ipv4,
        ipv6,
        name,
    })
}

fn request() -> impl Strategy<Value = Request> {
    let wanted = (
        name(),
        any::<[u8; 6]>(),
        any::<u16>(),
        addresses(),
        any::<u32>(),
        any::<[bool; 2]>(),
    );
    prop_oneof![
        any::<(u32, u16)>().prop_map(|(index, port)| Request::DirectNames { index, port }),
        any::<u32>().prop_map(|index| Request::RevertNames { index }),
        (vec(host_name(), 0..20), any::<bool>()).prop_map(|(names, more)| Request::Hosts { names, more }),
        (text(), vec(name(), 0..20)).prop_map(|(owner, names)| Request::Begin { owner, names }),
        wanted.prop_map(|(name, mac, mtu, addresses, tx_queue, flags)| Request::Create(Wanted {
            name,
            mac,
            mtu,
            addresses,
            tx_queue,
            accept_router_advertisements: flags[0],
            offloads: flags[1],
        })),
        (any::<u32>(), address()).prop_map(|(index, address)| Request::AddAddress { index, address }),
        (any::<u32>(), address()).prop_map(|(index, address)| Request::RemoveAddress { index, address }),
        (any::<u32>(), addresses()).prop_map(|(index, addresses)| Request::RestoreAddresses { index, addresses }),
        Just(Request::RemoveStale),
        (any::<u32>(), vec(any::<Ipv4Addr>(), 0..20), any::<bool>()).prop_map(|(index, groups, broadcast)| {
            Request::GroupRoutes {
                index,
                groups,
                broadcast,
            }
        }),
    ]
}

fn error() -> impl Strategy<Value = TapError> {
    prop_oneof![
        any::<i32>().prop_map(|errno| TapError::NoTunDevice { errno }),
        text().prop_map(|what| TapError::Permission { what }),
        (text(), text()).prop_map(|(name, holder)| TapError::NameTaken { name, holder }),
        text().prop_map(|name| TapError::BadName { name }),
        text().prop_map(|owner| TapError::BadOwner { owner }),
        (any::<IpAddr>(), any::<u8>()).prop_map(|(ip, prefix)| TapError::BadAddress { ip, prefix }),
        (any::<u32>(), text()).prop_map(|(index, name)| TapError::NotOurs { index, name }),
        any::<u32>().prop_map(|index| TapError::NoSuchDevice { index }),
        any::<IpAddr>().prop_map(|ip| TapError::Ipv6Off { ip }),
        (text(), any::<i32>()).prop_map(|(what, errno)| TapError::Kernel { what, errno }),
        text().prop_map(|what| TapError::Refused { what }),
        Just(TapError::NoHelper),
    ]
}

fn answer() -> impl Strategy<Value = Answer> {
    let offloads = prop_oneof![
        text().prop_map(|reason| Offloads::Plain { reason }),
        any::<[bool; 3]>().prop_map(|[tcp, ecn, udp]| Offloads::Header { tcp, ecn, udp }),
    ];
    prop_oneof![
        error().prop_map(Answer::Error),
        Just(Answer::Done),
        (name(), any::<u32>(), any::<bool>(), offloads).prop_map(|(name, index, ipv6, offloads)| {
            Answer::Card(Made {
                name,
                index,
                ipv6,
                offloads,
            })
        }),
        (addresses(), any::<bool>()).prop_map(|(added, ipv6)| Answer::Restored(Restored { added, ipv6 })),
        vec(name(), 0..20).prop_map(Answer::Removed),
    ]
}

proptest! {
    #[test]
    fn requests_arrive_as_they_were_sent(request in request()) {
        prop_assert_eq!(Request::parse(&request.to_bytes()), Ok(request));
    }

    #[test]
    fn answers_arrive_as_they_were_sent(answer in answer()) {
        prop_assert_eq!(Answer::parse(&answer.to_bytes()), Ok(answer));
    }

    /// Whatever is understood is understood in one way, so nothing can be hidden in a message.
    #[test]
    fn any_bytes_are_a_message_or_none(kind in 0u8..11, bytes in vec(any::<u8>(), 0..200)) {
        let message = [&[kind], bytes.as_slice()].concat();
        if let Ok(request) = Request::parse(&message) {
            prop_assert_eq!(request.to_bytes(), message.clone());
        }
        if let Ok(answer) = Answer::parse(&message) {
            prop_assert_eq!(answer.to_bytes(), message);
        }
    }

    #[test]
    fn a_message_cut_or_continued_is_none(request in request(), answer in answer(), more in any::<u8>()) {
        for (message, is_request) in [(request.to_bytes(), true), (answer.to_bytes(), false)] {
            let is_read = |message: &[u8]| {
                if is_request { Request::parse(message).is_ok() } else { Answer::parse(message).is_ok() }
            };
            for length in 0..message.len() {
                prop_assert!(!is_read(&message[..length]), "{} of {} bytes", length, message.len());
            }
            prop_assert!(!is_read(&[message.as_slice(), &[more]].concat()));
        }
    }

    #[test]
    fn a_changed_message_is_another_or_none(request in request(), place in any::<prop::sample::Index>(), bit in 0u32..8) {
        let mut message = request.to_bytes();
        let place = place.index(message.len());
        message[place] ^= 1u8 << bit;
        prop_assert_ne!(Request::parse(&message), Ok(request));
    }
}

#[test]
fn the_longest_requests_and_answers_fit_and_longer_texts_are_cut() {
    let names = vec!["exactly15bytes0".to_owned(); MOST];
    let addresses = vec![
        Address {
            ip: "fd00::1".parse().unwrap(),
            prefix: 48
        };
        MOST
    ];
    let begin = Request::Begin {
        owner: "x".repeat(128),
        names: names.clone(),
    };
    let restore = Request::RestoreAddresses { index: 1, addresses };
    for message in [begin.to_bytes(), restore.to_bytes(), Answer::Removed(names).to_bytes()] {
        assert!(message.len() <= LONGEST, "{}", message.len());
    }
    assert_eq!(Request::parse(&begin.to_bytes()), Ok(begin));
    assert_eq!(Request::parse(&vec![6; LONGEST + 1]), Err(Malformed));

    let what = "ü".repeat(LONGEST_TEXT);
    let cut = Answer::Error(TapError::Permission { what }).to_bytes();
    let Ok(Answer::Error(TapError::Permission { what })) = Answer::parse(&cut) else {
        panic!("it is not understood");
    };
    assert_eq!(what, "ü".repeat(LONGEST_TEXT / 2));
}
