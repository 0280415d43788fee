//! The card helper against the kernel: it does what farlan asks for, and touches nothing else.

use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::thread;

use farlan_tap::requests::HostName;
use farlan_tap::{
    Address, CardHelper, Create, Keep, Restored, TapError, card_state, give_up_capabilities, pair, serve,
};

use crate::support::{exists, in_namespace, index_of, ip, leftover, line_with, request};

/// A helper on a thread of its own in this thread's namespace, with what a helper has of privileges.
fn helper() -> CardHelper {
    let (ours, theirs) = pair().expect("sockets");
    thread::spawn(move || {
        give_up_capabilities(Keep::Cards).expect("give up the rest");
        serve(theirs.as_fd()).expect("serve to the end");
    });
    CardHelper::at(ours)
}

fn begun() -> CardHelper {
    let helper = helper();
    helper.begin("london", ["games0"]).expect("the helper begins");
    helper
}

fn wanted(name: &str) -> Create {
    let mut request = request(name);
    request.addresses = vec![
        address("10.77.0.1", 24),
        address("fd12:3456:789a::1", 48),
        address("fe80::1", 64),
    ];
    request
}

fn address(ip: &str, prefix: u8) -> Address {
    Address {
        ip: ip.parse().expect("a literal address"),
        prefix,
    }
}

#[test]
fn a_caller_without_capabilities_makes_and_alters_cards_by_it() {
    in_namespace(|| {
        let helper = begun();
        give_up_capabilities(Keep::Nothing).unwrap();
        assert!(
            matches!(farlan_tap::create(&wanted("fl-own")), Err(TapError::Permission { .. })),
            "this thread can still do it by itself"
        );
        let card = helper.create(&wanted("fl-lan")).unwrap();
        assert_eq!(
            (card.name.as_str(), card.index, card.ipv6),
            ("fl-lan", index_of("fl-lan"), true)
        );
        assert!(card.offloads.has_header(), "{}", card.offloads);
        let shown = ip(&["-d", "address", "show", "dev", "fl-lan"]);
        for part in [
            "mtu 1400",
            "alias farlan:london",
            "10.77.0.1/24",
            "fd12:3456:789a::1/48",
            "fe80::1/64",
            "LOWER_UP",
        ] {
            line_with(&shown, part);
        }

        helper.add_address(card.index, &address("10.78.0.1", 16)).unwrap();
        line_with(&ip(&["address", "show", "dev", "fl-lan"]), "10.78.0.1/16");
        helper.remove_address(card.index, &address("10.78.0.1", 16)).unwrap();
        assert!(!ip(&["address", "show", "dev", "fl-lan"]).contains("10.78.0.1"));
        let both = [address("10.77.0.1", 24), address("10.78.0.1", 16)];
        let restored = helper.restore_addresses(card.index, &both).unwrap();
        let expected = Restored {
            added: vec![both[1]],
            ipv6: true,
        };
        assert_eq!(restored, expected);

        // Its descriptor is the device, which is read, written and gone with it.
        let mut device = std::fs::File::from(card.fd);
        assert!(device.write(&[0; 70]).is_ok());
        assert!(!matches!(device.read(&mut [0; 2000]), Ok(0)));
        drop(device);
        assert!(!exists("fl-lan"));
        assert_eq!(card_state(card.index), Ok(None));
        assert_eq!(
            helper.add_address(card.index, &address("10.78.0.1", 16)),
            Err(TapError::NoSuchDevice { index: card.index })
        );
    });
}

#[test]
fn what_it_did_not_make_stays_as_it_is() {
    in_namespace(|| {
        leftover("eth7", None);
        leftover("fl-other", Some("farlan:paris"));
        let shown = || ip(&["address", "show"]);
        let before = shown();
        let helper = begun();
        give_up_capabilities(Keep::Nothing).unwrap();
        for index in [1, index_of("eth7"), index_of("fl-other"), 0, 4_000_000_000] {
            let address = address("10.77.0.1", 24);
            for refused in [
                helper.add_address(index, &address),
                helper.remove_address(index, &address),
                helper.restore_addresses(index, &[address]).map(drop),
            ] {
                assert!(matches!(refused, Err(TapError::Refused { .. })), "{index}: {refused:?}");
            }
        }
        let Err(TapError::NameTaken { holder, .. }) = helper.create(&wanted("fl-other")) else {
            panic!("the name is another's");
        };
        assert!(holder.contains("farlan:paris"), "{holder}");
        for name in ["eth7", "eth8", "lo"] {
            let name_refused = TapError::BadName { name: name.to_owned() };
            assert_eq!(helper.create(&wanted(name)).map(drop), Err(name_refused));
        }
        assert_eq!(helper.remove_stale(), Ok(Vec::new()));
        assert_eq!(shown(), before);
    });
}

#[test]
fn no_card_draws_in_what_the_machine_sends_elsewhere() {
    in_namespace(|| {
        leftover("eth7", None);
        ip(&["address", "add", "192.168.7.20/24", "dev", "eth7"]);
        ip(&["link", "set", "eth7", "up"]);
        ip(&["route", "add", "blackhole", "10.200.0.0/16"]);
        ip(&["route", "add", "blackhole", "0.0.0.0/1"]);
        let helper = begun();
        let card = helper.create(&wanted("fl-lan")).unwrap();
        for clashing in [
            address("192.168.7.1", 25),
            address("192.168.7.1", 16),
            address("192.168.7.20", 30),
            address("10.200.1.1", 24),
            address("10.200.1.1", 8),
        ] {
            assert_refused(&helper, card.index, clashing);
        }
        // Around what is another's, its narrower route goes first.
        helper.add_address(card.index, &address("192.168.0.1", 16)).unwrap();
        let way = ip(&["route", "get", "192.168.7.77"]);
        assert!(way.contains("dev eth7"), "{way}");
        // Half a default route is none that a network competes with, and those of cards made here are not another's.
        let games = helper.create(&wanted("games0"));
        assert_eq!(games.map(|card| card.name).as_deref(), Ok("games0"));
        helper.add_address(card.index, &address("10.77.0.2", 24)).unwrap();
        helper.add_address(card.index, &address("10.78.0.1", 16)).unwrap();
        // A route that came later leaves the card what it has.
        ip(&["route", "add", "blackhole", "10.78.0.0/17"]);
        let restored = helper.restore_addresses(card.index, &[address("10.78.0.1", 16)]);
        assert_eq!(restored.map(|restored| restored.added), Ok(Vec::new()));

        for first in [20, 21, 22, 23] {
            let public = address(&format!("{first}.0.0.1"), 8);
            helper.add_address(card.index, &public).unwrap();
            helper.remove_address(card.index, &public).unwrap();
            helper.add_address(card.index, &public).unwrap();
        }
        let refused = helper.add_address(card.index, &address("24.0.0.1", 24)).unwrap_err();
        assert!(
            refused.to_string().contains("a further part of the Internet"),
            "{refused}"
        );
        helper.add_address(card.index, &address("100.64.0.1", 10)).unwrap();
    });
}

#[test]
fn no_card_draws_in_what_the_machine_sends_elsewhere_by_ipv6() {
    in_namespace(|| {
        leftover("eth7", None);
        ip(&["link", "set", "eth7", "up"]);
        ip(&["address", "add", "fd77:1:2:3::1/64", "dev", "eth7", "nodad"]);
        ip(&["-6", "route", "add", "fd88:1:2::/48", "dev", "eth7"]);
        ip(&["-6", "route", "add", "fd99:1::/32", "dev", "eth7"]);
        ip(&["-6", "route", "add", "fdaa::/16", "dev", "eth7"]);
        ip(&["-6", "route", "add", "fd00::/8", "dev", "eth7"]);
        let helper = begun();
        // All of fd00::/8 led elsewhere keeps nobody from a network.
        let card = helper.create(&wanted("fl-lan")).unwrap();
        for clashing in [
            "fd77:1:2:3::2",
            "fd77:1:2:3::1",
            "fd88:1:2::1",
            "fd99:1:2::1",
            "fdaa:1:2::1",
        ] {
            let clashing = address(clashing, 48);
            assert_refused(&helper, card.index, clashing);
        }
        // Around what is another's, its narrower route goes first.
        helper.add_address(card.index, &address("fd77:1:2::1", 48)).unwrap();
        let way = ip(&["route", "get", "fd77:1:2:3::9"]);
        assert!(way.contains("dev eth7"), "{way}");
        // The routes of cards made here are not another's, nor those of other nodes' cards and of what holds the card.
        helper.create(&wanted("games0")).unwrap();
        leftover("fl-theirs", Some("farlan:another"));
        ip(&["link", "set", "fl-theirs", "up"]);
        ip(&["address", "add", "fdcc:1:2::1/48", "dev", "fl-theirs", "nodad"]);
        helper.add_address(card.index, &address("fdcc:1:2::2", 48)).unwrap();
        ip(&["link", "add", "br0", "type", "bridge"]);
        ip(&["link", "set", "br0", "up"]);
        ip(&["address", "add", "fdbb:1:2::1/48", "dev", "br0", "nodad"]);
        let own = address("fdbb:1:2::2", 48);
        assert!(helper.add_address(card.index, &own).is_err());
        ip(&["link", "set", "fl-lan", "master", "br0"]);
        helper.add_address(card.index, &own).unwrap();
    });
}

#[test]
fn on_a_bridge_the_cards_subnet_may_be_the_bridges() {
    in_namespace(|| {
        let helper = begun();
        let card = helper.create(&wanted("fl-lan")).unwrap();
        ip(&["link", "add", "br0", "type", "bridge"]);
        ip(&["address", "flush", "dev", "fl-lan"]);
        ip(&["address", "add", "10.77.0.1/24", "dev", "br0"]);
        ip(&["link", "set", "br0", "up"]);
        let own = address("10.77.0.2", 24);
        assert!(helper.add_address(card.index, &own).is_err());
        ip(&["link", "set", "fl-lan", "master", "br0"]);
        helper.add_address(card.index, &own).unwrap();
    });
}

#[test]
fn it_removes_its_own_leftovers_and_gives_known_names_again() {
    in_namespace(|| {
        leftover("fl-old", Some("farlan:london"));
        let helper = begun();
        assert_eq!(helper.remove_stale(), Ok(vec!["fl-old".to_owned()]));
        assert!(!exists("fl-old"));
        let known = helper.create(&wanted("games0")).unwrap();
        assert_eq!(known.name, "games0");

        // What somebody called a card while it lived is its name when it is made anew.
        ip(&["link", "set", "games0", "name", "arcade"]);
        let arcade = wanted("arcade");
        assert!(matches!(helper.create(&arcade), Err(TapError::BadName { .. })));
        helper.restore_addresses(known.index, &arcade.addresses).unwrap();
        drop(known);
        assert_eq!(helper.create(&arcade).unwrap().name, "arcade");
    });
}

#[test]
fn a_helper_that_is_gone_or_talks_nonsense_is_used_no_more() {
    in_namespace(|| {
        let (ours, theirs) = pair().unwrap();
        drop(theirs);
        let helper = CardHelper::at(ours);
        for _ in 0..2 {
            assert_eq!(helper.begin("london", []), Err(TapError::NoHelper));
        }

        let (ours, theirs) = pair().unwrap();
        let helper = CardHelper::at(ours);
        let liar = thread::spawn(move || {
            let mut socket = std::fs::File::from(theirs);
            let mut room = [0; 1000];
            assert!(socket.read(&mut room).unwrap() > 0);
            // The answer to another request.
            socket.write_all(&[4, 0, 0]).unwrap();
            socket.read(&mut room).unwrap()
        });
        assert_eq!(helper.begin("london", []), Err(TapError::NoHelper));
        assert_eq!(liar.join().unwrap(), 0, "the way is closed");
        assert_eq!(helper.remove_stale(), Err(TapError::NoHelper));
    });
}

#[test]
fn nonsense_does_not_end_it() {
    in_namespace(|| {
        let (ours, theirs) = pair().unwrap();
        let served = thread::spawn(move || serve(theirs.as_fd()));
        let mut socket = std::fs::File::from(ours.try_clone().unwrap());
        let mut room = vec![0; 1 << 16];
        let long = vec![6; 40_000];
        for nonsense in [&[0][..], &[9, 9, 9], &[2], &[1, 255, 255], &[0xff; 300], &long] {
            socket.write_all(nonsense).unwrap();
            let length = socket.read(&mut room).unwrap();
            assert!(room[..length].ends_with(b"do what it cannot read"), "{nonsense:?}");
        }
        let helper = CardHelper::at(OwnedFd::from(socket));
        helper.begin("london", []).unwrap();
        assert!(helper.create(&wanted("fl-lan")).is_ok());
        drop((helper, ours));
        assert!(served.join().unwrap().is_ok(), "it ends with its daemon");
        assert!(!exists("fl-lan"));
    });
}

/// No card gets the address: neither the one with `index`, in either way, nor a new one.
fn assert_refused(helper: &CardHelper, index: u32, clashing: Address) {
    let mut other = wanted("fl-other");
    other.addresses = vec![clashing];
    for refused in [
        helper.add_address(index, &clashing),
        helper.restore_addresses(index, &[clashing]).map(drop),
        helper.create(&other).map(drop),
    ] {
        assert!(
            matches!(refused, Err(TapError::Refused { .. })),
            "{clashing:?}: {refused:?}"
        );
    }
}

#[test]
fn only_names_of_farlans_are_directed_and_only_for_its_own_subnets_and_cards() {
    in_namespace(|| {
        let helper = begun();
        let before = std::fs::read("/etc/hosts").unwrap_or_default();
        let name = |ipv4: &str, name: &str| HostName {
            ipv4: Some(ipv4.parse().unwrap()),
            ipv6: None,
            name: name.to_owned(),
        };
        let refused = |name: HostName| matches!(helper.set_hosts(&[name]), Err(TapError::Refused { .. }));
        // No card yet, so no subnet either.
        assert!(refused(name("10.77.0.2", "ann.lan.farlan.internal")));
        let card = helper.create(&wanted("fl-lan")).unwrap();
        for (ip, text) in [
            ("10.77.0.2", "example.org"),
            ("10.77.0.2", "farlan.internal"),
            ("10.77.0.2", "ann.lan.farlan.internal example.org"),
            ("10.77.0.2", "ann.lan.farlan.internal\n10.0.0.1 example.org"),
            ("10.77.1.2", "ann.lan.farlan.internal"),
            ("127.0.0.1", "ann.lan.farlan.internal"),
            ("93.184.216.34", "ann.lan.farlan.internal"),
        ] {
            assert!(refused(name(ip, text)), "{ip} {text:?}");
        }
        let own = name("10.77.0.2", "ann.lan.farlan.internal");
        // What would be right, in a namespace whose cards nobody sees who reads that file.
        let error = helper.set_hosts(std::slice::from_ref(&own)).unwrap_err();
        assert!(error.to_string().contains("another network namespace"), "{error}");
        let error = helper.direct_names(card.index, 5353).unwrap_err();
        assert!(error.to_string().contains("another network namespace"), "{error}");
        // Nor is anything done for a card that is not its own.
        for index in [1, card.index + 1] {
            assert!(matches!(
                helper.direct_names(index, 5353),
                Err(TapError::Refused { .. })
            ));
            assert!(matches!(helper.revert_names(index), Err(TapError::Refused { .. })));
        }
        assert!(matches!(
            helper.direct_names(card.index, 0),
            Err(TapError::Refused { .. })
        ));
        // To have nothing taken out is always right.
        helper.set_hosts(&[]).unwrap();
        assert!(matches!(
            helper.set_hosts(&vec![own; 3000]),
            Err(TapError::Refused { .. })
        ));
        assert_eq!(std::fs::read("/etc/hosts").unwrap_or_default(), before);
    });
}

/// The routes of this namespace that lead somewhere by a card, one a line.
fn routes_by(card: &str) -> Vec<String> {
    let shown = ip(&["route", "show", "table", "all", "dev", card]);
    let lines = shown
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    lines
        .filter(|line| line.contains("224.") || line.contains("225.") || line.contains("255.255.255.255"))
        .collect()
}

#[test]
fn routes_to_groups_are_replaced_wholly_and_only_on_its_own_cards() {
    in_namespace(|| {
        let helper = begun();
        let card = helper.create(&wanted("fl-lan")).unwrap();
        let groups = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<_>>();
        helper
            .set_group_routes(card.index, &groups(&["224.0.2.60", "225.1.1.1"]), false)
            .unwrap();
        assert_eq!(
            routes_by("fl-lan"),
            [
                "224.0.2.60 proto static scope link",
                "225.1.1.1 proto static scope link"
            ]
        );
        // Once more the same, after somebody took one away.
        ip(&["route", "delete", "225.1.1.1/32", "dev", "fl-lan"]);
        helper
            .set_group_routes(card.index, &groups(&["224.0.2.60", "225.1.1.1"]), false)
            .unwrap();
        assert_eq!(routes_by("fl-lan").len(), 2);
        helper
            .set_group_routes(card.index, &groups(&["225.1.1.1"]), true)
            .unwrap();
        let shown = routes_by("fl-lan");
        assert_eq!(shown[0], "225.1.1.1 proto static scope link");
        assert!(
            shown[1].starts_with("broadcast 255.255.255.255 table local"),
            "{shown:?}"
        );
        helper.set_group_routes(card.index, &[], false).unwrap();
        assert_eq!(routes_by("fl-lan"), Vec::<String>::new());

        // A route of somebody else's stays, and the others are set all the same.
        ip(&["link", "add", "wire0", "type", "veth", "peer", "name", "wire1"]);
        ip(&["link", "set", "dev", "wire0", "up"]);
        ip(&["route", "add", "224.0.2.60/32", "dev", "wire0"]);
        let taken = helper.set_group_routes(card.index, &groups(&["224.0.2.60", "225.1.1.1"]), false);
        assert!(
            matches!(
                taken,
                Err(TapError::Kernel {
                    errno: libc::EEXIST,
                    ..
                })
            ),
            "{taken:?}"
        );
        assert_eq!(routes_by("fl-lan"), ["225.1.1.1 proto static scope link"]);
        assert_eq!(routes_by("wire0").len(), 1);

        for (index, bad) in [
            (index_of("wire0"), "225.1.1.1"),
            (card.index, "224.0.0.251"),
            (card.index, "239.255.255.250"),
            (card.index, "255.255.255.255"),
            (card.index, "10.0.0.1"),
        ] {
            let refused = helper.set_group_routes(index, &groups(&[bad]), false);
            assert!(matches!(refused, Err(TapError::Refused { .. })), "{bad}: {refused:?}");
        }
        // They are bounded over all cards.
        let other = helper
            .create(&Create {
                addresses: vec![address("10.79.0.1", 24)],
                ..wanted("fl-other")
            })
            .unwrap();
        let many: Vec<_> = (0..40u8).map(|number| [225, 2, 2, number].into()).collect();
        helper.set_group_routes(other.index, &many, false).unwrap();
        let too_many = helper.set_group_routes(card.index, &many, false);
        assert!(matches!(too_many, Err(TapError::Refused { .. })), "{too_many:?}");
        drop(other);
        helper.set_group_routes(card.index, &many, false).unwrap();
        assert_eq!(routes_by("fl-lan").len(), 40);
        // With the card they go, and nobody else's do.
        drop(card);
        assert!(!ip(&["route", "show", "table", "all"]).contains("225."));
    });
}
