//! The machine's own addresses and their changes.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::thread;
use std::time::Duration;

use farlan_tap::{ChangeMonitor, Changes, create, underlay_addresses};

use crate::support::*;

fn addresses() -> BTreeSet<IpAddr> {
    underlay_addresses().expect("a list").into_iter().collect()
}

fn set(addresses: &[&str]) -> BTreeSet<IpAddr> {
    addresses
        .iter()
        .map(|address| address.parse().expect("a literal address"))
        .collect()
}

#[test]
fn only_cards_that_lead_out_count() {
    in_namespace(|| {
        ip(&["link", "set", "dev", "lo", "up"]);
        ip(&["link", "add", "wire0", "type", "veth", "peer", "name", "wire1"]);
        for device in ["wire0", "wire1"] {
            ip(&["link", "set", "dev", device, "addrgenmode", "none"]);
            ip(&["link", "set", "dev", device, "up"]);
        }
        ip(&["address", "add", "192.0.2.1/24", "dev", "wire0"]);
        ip(&["address", "add", "2001:db8::1/64", "dev", "wire0", "nodad"]);
        ip(&["address", "add", "192.0.2.9", "peer", "192.0.2.10", "dev", "wire1"]);
        assert_eq!(addresses(), set(&["192.0.2.1", "2001:db8::1", "192.0.2.9"]));

        let card = create(&request("fl-test")).unwrap();
        ip(&["link", "add", "link", "fl-test", "name", "above", "type", "macvlan"]);
        ip(&["link", "add", "br0", "type", "bridge"]);
        for device in ["above", "br0"] {
            ip(&["link", "set", "dev", device, "addrgenmode", "none"]);
            ip(&["link", "set", "dev", device, "up"]);
        }
        ip(&["address", "add", "10.9.0.1/24", "dev", "above"]);
        ip(&["address", "add", "10.9.1.1/24", "dev", "br0"]);
        assert_eq!(addresses(), set(&["192.0.2.1", "2001:db8::1", "192.0.2.9", "10.9.1.1"]));
        // A device with another on top of it cannot be in a bridge.
        ip(&["link", "del", "dev", "above"]);
        ip(&["link", "set", "dev", "fl-test", "master", "br0"]);
        assert_eq!(addresses(), set(&["192.0.2.1", "2001:db8::1", "192.0.2.9"]));

        ip(&["link", "set", "dev", "wire1", "down"]);
        assert_eq!(addresses(), set(&["192.0.2.1", "2001:db8::1"]));
        drop(card);
    });
}

#[test]
fn a_change_is_told_once() {
    in_namespace(|| {
        let monitor = ChangeMonitor::open(&[Changes::Links, Changes::Addresses, Changes::Routes]).unwrap();
        assert!(!monitor.drain().unwrap());
        ip(&["link", "add", "wire0", "type", "veth", "peer", "name", "wire1"]);
        ip(&["address", "add", "192.0.2.1/24", "dev", "wire0"]);
        // The kernel has told before the command ends; what follows of its own accord needs a moment.
        assert!(monitor.drain().unwrap());
        thread::sleep(Duration::from_millis(50));
        monitor.drain().unwrap();
        assert!(!monitor.drain().unwrap());
        ip(&["address", "del", "192.0.2.1/24", "dev", "wire0"]);
        assert!(monitor.drain().unwrap());
    });
}
