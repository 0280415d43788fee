//! Addresses that others put on a device.
#![allow(unsafe_code)]

use std::net::IpAddr;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use farlan_tap::{ChangeMonitor, Changes, TapError, card_addresses, create};

use crate::support::{in_namespace, index_of, ip, request};

/// How long the kernel may take for its check for duplicates, on a busy machine; by itself it takes 1 to 2 s.
const LIMIT: Duration = Duration::from_secs(20);

/// Waits for a report and takes in all there are.
fn reported(watch: &ChangeMonitor) {
    let mut poll = libc::pollfd {
        fd: watch.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    let limit = i32::try_from(LIMIT.as_millis()).expect("it is short");
    // SAFETY: the one structure is there for the time of the call.
    let ready = unsafe { libc::poll(&raw mut poll, 1, limit) };
    assert_eq!(ready, 1, "no report came");
    assert!(watch.drain().expect("reports go on"));
}

fn watch() -> Result<ChangeMonitor, TapError> {
    ChangeMonitor::open(&[Changes::Links, Changes::Addresses])
}

fn addresses(index: u32) -> Vec<IpAddr> {
    let addresses = card_addresses(index).expect("addresses can be listed");
    let mut addresses: Vec<_> = addresses.into_iter().map(|address| address.ip).collect();
    addresses.sort_unstable();
    addresses
}

#[test]
fn what_others_put_on_a_device_is_reported_and_listed() {
    in_namespace(|| {
        let watch = watch().expect("changes can be watched");
        let card = create(&request("seen")).expect("a device");
        ip(&["link", "set", "lo", "up"]);
        reported(&watch);
        let mut own: Vec<IpAddr> = request("seen").addresses.iter().map(|address| address.ip).collect();
        own.sort_unstable();
        assert_eq!(addresses(card.index), own, "and none of the loopback's");

        watch.drain().expect("reports go on");
        ip(&["address", "add", "192.168.9.1/24", "dev", "seen"]);
        reported(&watch);
        let by_hand: IpAddr = "192.168.9.1".parse().expect("an address");
        assert!(addresses(card.index).contains(&by_hand));
        // With a peer beside it, it is the own one that counts.
        ip(&["address", "add", "192.168.8.1", "peer", "192.168.8.2", "dev", "seen"]);
        let (near, far) = (IpAddr::from([192, 168, 8, 1]), IpAddr::from([192, 168, 8, 2]));
        let there = addresses(card.index);
        assert!(there.contains(&near) && !there.contains(&far), "{there:?}");
        ip(&["link", "set", "seen", "down"]);
        reported(&watch);
        assert_eq!(
            addresses(card.index),
            [] as [IpAddr; 0],
            "the kernel keeps those of IPv4"
        );
        ip(&["link", "set", "seen", "up"]);
        reported(&watch);
        assert!(addresses(card.index).contains(&by_hand));
        for sixth in ["fd12:3456::1/40", "fe80::11:22ff:fe33:4455/64"] {
            ip(&["address", "add", sixth, "dev", "seen", "nodad"]);
        }
        watch.drain().expect("reports go on");
        ip(&["address", "flush", "dev", "seen", "to", "192.168.0.0/16"]);
        reported(&watch);
        assert_eq!(addresses(card.index), own);

        ip(&["address", "add", "fd99::1/64", "dev", "seen"]);
        let sixth: IpAddr = "fd99::1".parse().expect("an address");
        assert!(!addresses(card.index).contains(&sixth), "it is checked for duplicates");
        let end = Instant::now() + LIMIT;
        while !addresses(card.index).contains(&sixth) {
            assert!(Instant::now() < end, "the check does not end");
            reported(&watch);
        }
        assert_eq!(card_addresses(index_of("lo") + 4_000_000), Ok(Vec::new()));
    });
}

#[test]
fn watching_and_listing_need_no_privilege() {
    in_namespace(|| {
        let card = create(&request("seen")).expect("a device");
        // SAFETY: the bare system call takes the privileges from this thread alone, which ends with the test.
        let done = unsafe { libc::syscall(libc::SYS_setresuid, 65534, 65534, 65534) };
        assert_eq!(done, 0, "setresuid: {}", std::io::Error::last_os_error());
        assert_eq!(addresses(card.index).len(), request("seen").addresses.len());
        assert!(watch().is_ok());
    });
}
