//! Devices: made, altered, removed, refused.
#![allow(unsafe_code)]

use std::fs;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::Duration;

use farlan_tap::{
    Address, CardState, Create, Restored, TapError, add_address, card_state, clashing_routes, create, remove_address,
    remove_stale, restore_addresses, set_link, set_mtu,
};

use crate::support::*;

#[test]
fn a_new_device_is_exactly_as_asked() {
    in_namespace(|| {
        let card = create(&request("farlan%d")).unwrap();
        assert_eq!(card.name, "farlan0");
        assert!(card.ipv6);

        let link = ip(&["-d", "-o", "link", "show", "dev", "farlan0"]);
        for expected in [
            "link/ether 02:11:22:33:44:55 ",
            " mtu 1400 ",
            " qlen 128",
            "alias farlan:london",
            "addrgenmode none",
            "tun type tap pi off vnet_hdr on persist off",
            ",UP,LOWER_UP>",
        ] {
            assert!(link.contains(expected), "{expected:?} is not in {link}");
        }
        assert!(
            link.starts_with(&format!("{}: ", card.index)),
            "index {} is not in {link}",
            card.index
        );

        let addresses = ip(&["-o", "address", "show", "dev", "farlan0"]);
        assert!(
            addresses.contains("inet 10.77.0.1/24 brd 10.77.0.255 scope global farlan0"),
            "{addresses}"
        );
        let global = line_with(&addresses, "inet6 fd12:3456::1/40 scope global");
        let local = line_with(&addresses, "inet6 fe80::11:22ff:fe33:4455/64 scope link");
        for line in [global, local] {
            assert!(line.contains("nodad"), "{line}");
            assert!(!line.contains("tentative"), "{line}");
        }
        assert_eq!(addresses.lines().count(), 3, "an address nobody asked for: {addresses}");
        // A tentative address could not be bound.
        UdpSocket::bind("[fd12:3456::1]:0").unwrap();

        // SAFETY: F_GETFD takes and gives integers only.
        let flags = unsafe { libc::fcntl(card.fd.as_raw_fd(), libc::F_GETFD) };
        assert_eq!(flags, libc::FD_CLOEXEC);
    });
}

#[test]
fn no_address_appears_by_itself() {
    in_namespace(|| {
        let card = create(&Create {
            addresses: Vec::new(),
            ..request("bare")
        })
        .unwrap();
        // The kernel would make the link-local address as the device comes up; give it time to be wrong.
        std::thread::sleep(Duration::from_millis(200));
        assert_eq!(ip(&["-o", "address", "show", "dev", &card.name]), "");
    });
}

#[test]
fn router_advertisements_are_refused_unless_wanted() {
    in_namespace(|| {
        let deaf = create(&request("deaf")).unwrap();
        assert_eq!(
            (
                sysctl(&deaf.name, "accept_ra"),
                sysctl(&deaf.name, "router_solicitations")
            ),
            (0, 0)
        );
        let mut wanted = request("open");
        wanted.mac[5] += 1;
        wanted.addresses.clear();
        wanted.accept_router_advertisements = true;
        let open = create(&wanted).unwrap();
        assert_eq!(sysctl(&open.name, "accept_ra"), 1);
        assert_ne!(sysctl(&open.name, "router_solicitations"), 0);
    });
}

#[test]
fn the_device_goes_with_the_descriptor() {
    in_namespace(|| {
        let card = create(&request("gone")).unwrap();
        assert!(exists("gone"));
        drop(card);
        assert!(!exists("gone"));
    });
}

#[test]
fn a_refused_setting_leaves_no_device() {
    in_namespace(|| {
        let multicast = Create {
            mac: [0x03, 0, 0, 0, 0, 1],
            ..request("refused")
        };
        let tiny = Create {
            mtu: 10,
            ..request("refused")
        };
        let wrong = Address {
            ip: IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)),
            prefix: 33,
        };
        let long = Create {
            addresses: vec![wrong],
            ..request("refused")
        };
        let kernel = |what: &str, errno| {
            Err(TapError::Kernel {
                what: what.to_owned(),
                errno,
            })
        };
        let outcome = |wanted: &Create| create(wanted).map(|card| card.name);
        assert_eq!(
            outcome(&multicast),
            kernel("set the hardware address of refused", libc::EADDRNOTAVAIL)
        );
        assert_eq!(outcome(&tiny), kernel("set the MTU of refused", libc::EINVAL));
        assert_eq!(
            outcome(&long),
            Err(TapError::BadAddress {
                ip: wrong.ip,
                prefix: 33
            })
        );
        for name in ["", "..", "a/b", "a b", "sixteen-bytes-00", "all", "a%s", "%d"] {
            assert_eq!(
                outcome(&request(name)),
                Err(TapError::BadName { name: name.to_owned() })
            );
        }
        let owner = "two words".to_owned();
        let unmarked = Create {
            owner: owner.clone(),
            ..request("refused")
        };
        assert_eq!(outcome(&unmarked), Err(TapError::BadOwner { owner }));
        assert_eq!(ip(&["-o", "link", "show"]).lines().count(), 1, "only lo is there");
    });
}

#[test]
fn ipv6_being_off_is_not_fatal() {
    in_namespace(|| {
        // An MTU too small for IPv6.
        let card = create(&Create {
            mtu: 1000,
            ..request("small")
        })
        .unwrap();
        let addresses = ip(&["-o", "address", "show", "dev", "small"]);
        assert!(!card.ipv6);
        assert!(
            addresses.contains("10.77.0.1/24") && !addresses.contains("inet6"),
            "{addresses}"
        );
        let sixth = Address {
            ip: "fd12::7".parse().unwrap(),
            prefix: 64,
        };
        assert_eq!(add_address(card.index, &sixth), Err(TapError::Ipv6Off { ip: sixth.ip }));
        assert_eq!(remove_address(card.index, &sixth), Ok(()));
        drop(card);

        // IPv6 switched off by sysctl.
        fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1").unwrap();
        let card = create(&request("off")).unwrap();
        let addresses = ip(&["-o", "address", "show", "dev", "off"]);
        assert!(!card.ipv6);
        assert!(
            addresses.contains("10.77.0.1/24") && !addresses.contains("inet6"),
            "{addresses}"
        );
        assert_eq!(add_address(card.index, &sixth), Err(TapError::Ipv6Off { ip: sixth.ip }));
        assert_eq!(remove_address(card.index, &sixth), Ok(()));
    });
}

#[test]
fn a_name_of_a_foreign_device_is_refused_and_the_device_kept() {
    in_namespace(|| {
        leftover("taken", None);
        let error = create(&request("taken")).unwrap_err();
        assert_eq!(
            error,
            TapError::NameTaken {
                name: "taken".to_owned(),
                holder: "not made by farlan".to_owned()
            }
        );
        assert!(exists("taken"));

        leftover("other", Some("farlan:paris"));
        assert!(matches!(create(&request("other")), Err(TapError::NameTaken { .. })));
        assert!(exists("other"));

        ip(&["link", "add", "wire0", "type", "veth", "peer", "name", "wire1"]);
        assert!(matches!(create(&request("wire0")), Err(TapError::NameTaken { .. })));
        assert!(exists("wire0"));
    });
}

#[test]
fn a_leftover_of_the_same_owner_is_replaced_but_a_live_device_is_not() {
    in_namespace(|| {
        leftover("mine", Some("farlan:london"));
        ip(&["address", "add", "10.99.0.1/24", "dev", "mine"]);
        let card = create(&request("mine")).unwrap();
        assert_eq!(card.name, "mine");
        let addresses = ip(&["-o", "address", "show", "dev", "mine"]);
        assert!(
            !addresses.contains("10.99.0.1"),
            "the leftover was taken over: {addresses}"
        );

        assert!(matches!(create(&request("mine")), Err(TapError::NameTaken { .. })));
        set_mtu(card.index, 1300).unwrap();
    });
}

#[test]
fn remove_stale_removes_exactly_the_owners_devices() {
    in_namespace(|| {
        leftover("stale0", Some("farlan:london"));
        leftover("stale1", Some("farlan:london"));
        leftover("foreign", None);
        leftover("paris", Some("farlan:paris"));
        leftover("longer", Some("farlan:london2"));
        leftover("shorter", Some("farlan:londo"));
        leftover("within", Some("x farlan:london"));
        let mut removed = remove_stale("london").unwrap();
        removed.sort();
        assert_eq!(removed, ["stale0", "stale1"]);
        for (name, stays) in [
            ("stale0", false),
            ("stale1", false),
            ("foreign", true),
            ("paris", true),
            ("longer", true),
            ("shorter", true),
            ("within", true),
            ("lo", true),
        ] {
            assert_eq!(exists(name), stays, "{name}");
        }
        assert_eq!(remove_stale("london"), Ok(Vec::new()));
        assert!(matches!(remove_stale(""), Err(TapError::BadOwner { .. })));
    });
}

#[test]
fn adding_and_removing_addresses_twice_is_fine() {
    in_namespace(|| {
        let card = create(&request("twice")).unwrap();
        for text in ["10.88.0.1/16", "fd99::1/64"] {
            let (ip_text, prefix) = text.split_once('/').unwrap();
            let address = Address {
                ip: ip_text.parse().unwrap(),
                prefix: prefix.parse().unwrap(),
            };
            let shown = || ip(&["-o", "address", "show", "dev", "twice"]);
            for _ in 0..2 {
                add_address(card.index, &address).unwrap();
                assert!(shown().contains(text), "{}", shown());
            }
            for _ in 0..2 {
                remove_address(card.index, &address).unwrap();
                assert!(!shown().contains(text), "{}", shown());
            }
        }
        let shown = ip(&["-o", "address", "show", "dev", "twice"]);
        assert_eq!(shown.lines().count(), 3, "{shown}");
    });
}

#[test]
fn link_state_and_mtu_change() {
    in_namespace(|| {
        let card = create(&request("change")).unwrap();
        let shown = || ip(&["-o", "link", "show", "dev", "change"]);
        set_mtu(card.index, 1304).unwrap();
        assert!(shown().contains(" mtu 1304 "), "{}", shown());
        assert!(matches!(
            set_mtu(card.index, 67),
            Err(TapError::Kernel {
                errno: libc::EINVAL,
                ..
            })
        ));
        for _ in 0..2 {
            set_link(card.index, false).unwrap();
            assert!(!shown().contains(",UP"), "{}", shown());
        }
        for _ in 0..2 {
            set_link(card.index, true).unwrap();
            assert!(shown().contains(",UP"), "{}", shown());
        }
        let addresses = ip(&["-o", "address", "show", "dev", "change"]);
        assert!(
            addresses.contains("10.77.0.1/24"),
            "IPv4 addresses outlast going down: {addresses}"
        );
        // The IPv6 ones may not.
        let sixth = Address {
            ip: "fd12:3456::1".parse().unwrap(),
            prefix: 40,
        };
        add_address(card.index, &sixth).unwrap();
        let addresses = ip(&["-o", "address", "show", "dev", "change"]);
        assert!(addresses.contains("fd12:3456::1/40"), "{addresses}");
    });
}

#[test]
fn what_others_did_to_a_device_is_seen_and_mended() {
    in_namespace(|| {
        let card = create(&request("seen")).unwrap();
        let asked = request("seen").addresses;
        let whole = Restored {
            added: Vec::new(),
            ipv6: true,
        };
        assert_eq!(restore_addresses(card.index, &asked), Ok(whole.clone()));

        ip(&["link", "set", "seen", "down"]);
        ip(&["link", "set", "seen", "name", "other"]);
        let state = |name: &str, up| {
            Ok(Some(CardState {
                name: name.to_owned(),
                up,
                is_port: false,
                dropped: 0,
            }))
        };
        // The kernel may have had a multicast report to send at the moment the device went down, and dropped it.
        let seen = || card_state(card.index).map(|state| state.map(|state| CardState { dropped: 0, ..state }));
        assert_eq!(seen(), state("other", false));
        ip(&["link", "set", "other", "up"]);
        assert_eq!(seen(), state("other", true));
        ip(&["address", "flush", "dev", "other"]);
        assert_eq!(ip(&["-o", "address", "show", "dev", "other"]), "");
        let restored = restore_addresses(card.index, &asked).unwrap();
        assert_eq!(restored.added, asked);
        let shown = ip(&["-o", "address", "show", "dev", "other"]);
        for text in ["10.77.0.1/24", "fd12:3456::1/40", "fe80::11:22ff:fe33:4455/64"] {
            assert!(shown.contains(text), "{shown}");
        }
        assert_eq!(restore_addresses(card.index, &asked), Ok(whole));

        ip(&["link", "add", "bridge", "type", "bridge"]);
        ip(&["link", "set", "other", "master", "bridge"]);
        let is_port = || card_state(card.index).unwrap().unwrap().is_port;
        assert!(is_port());
        ip(&["link", "set", "other", "nomaster"]);
        assert!(!is_port());

        fs::write("/proc/sys/net/ipv6/conf/other/disable_ipv6", "1").unwrap();
        let restored = restore_addresses(card.index, &asked).unwrap();
        assert_eq!((restored.added, restored.ipv6), (Vec::new(), false));

        ip(&["link", "delete", "other"]);
        assert_eq!(card_state(card.index), Ok(None));
        assert_eq!(
            restore_addresses(card.index, &asked),
            Err(TapError::NoSuchDevice { index: card.index })
        );
    });
}

#[test]
fn a_device_that_is_not_ours_is_left_alone() {
    in_namespace(|| {
        leftover("foreign", None);
        leftover("nearly", Some("farlan"));
        let before = ip(&["-o", "address", "show"]) + &ip(&["-o", "link", "show"]);
        let address = Address {
            ip: "10.88.0.1".parse().unwrap(),
            prefix: 16,
        };
        for name in ["lo", "foreign", "nearly"] {
            let index = index_of(name);
            let error = Err(TapError::NotOurs {
                index,
                name: name.to_owned(),
            });
            assert_eq!(add_address(index, &address), error);
            assert_eq!(remove_address(index, &address), error);
            assert_eq!(set_link(index, true), error);
            assert_eq!(set_mtu(index, 1300), error);
            assert_eq!(restore_addresses(index, &[address]).map(drop), error);
            assert_eq!(card_state(index).map(drop), error);
        }
        for index in [0, 4_000_000, u32::MAX] {
            assert_eq!(set_link(index, true), Err(TapError::NoSuchDevice { index }));
        }
        assert_eq!(ip(&["-o", "address", "show"]) + &ip(&["-o", "link", "show"]), before);
    });
}

#[test]
fn without_the_privilege_the_error_says_so() {
    in_namespace(|| {
        let card = create(&request("mine")).unwrap();
        // SAFETY: the bare system call takes the privileges from this thread alone, which ends with the test.
        let done = unsafe { libc::syscall(libc::SYS_setresuid, 65534, 65534, 65534) };
        assert_eq!(done, 0, "setresuid: {}", std::io::Error::last_os_error());
        let address = Address {
            ip: "10.88.0.1".parse().unwrap(),
            prefix: 16,
        };
        let sixth = Address {
            ip: "fd88::1".parse().unwrap(),
            prefix: 64,
        };
        for result in [
            create(&request("other")).map(drop),
            add_address(card.index, &address),
            add_address(card.index, &sixth),
            remove_address(card.index, &address),
            set_link(card.index, false),
            set_mtu(card.index, 1300),
            remove_stale("london").map(drop),
        ] {
            assert!(matches!(result, Err(TapError::Permission { .. })), "{result:?}");
        }
        // The card's own routes: the subnet and the address.
        assert_eq!(
            clashing_routes(([10, 77, 0, 0].into(), 24), None).map(|routes| routes.len()),
            Ok(2)
        );
    });
}
