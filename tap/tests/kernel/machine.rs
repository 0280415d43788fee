//! The machine's own addresses and their changes.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::thread;
use std::time::Duration;

use farlan_tap::{ChangeMonitor, Changes, Gateway, create, default_gateways, underlay_addresses, underlay_cards};

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
        let cards = underlay_cards().unwrap();
        let told = cards.iter().flat_map(|card| &card.addresses);
        let told: BTreeSet<_> = told.map(|address| (address.ip.to_string(), address.prefix)).collect();
        let expected = [("192.0.2.1", 24), ("2001:db8::1", 64), ("192.0.2.9", 32)];
        assert_eq!(told, expected.map(|(ip, prefix)| (ip.to_owned(), prefix)).into());

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
fn gateways_are_those_of_default_routes_that_lead_out() {
    in_namespace(|| {
        for (device, other, address) in [
            ("wire0", "wire1", "192.0.2.2/24"),
            ("wire2", "wire3", "198.51.100.2/24"),
        ] {
            ip(&["link", "add", device, "type", "veth", "peer", "name", other]);
            ip(&["link", "set", "dev", device, "up"]);
            ip(&["link", "set", "dev", other, "up"]);
            ip(&["address", "add", address, "dev", device]);
        }
        assert_eq!(default_gateways().unwrap(), []);
        ip(&["route", "add", "203.0.113.0/24", "via", "192.0.2.9"]);
        ip(&["route", "add", "default", "via", "198.51.100.1", "metric", "300"]);
        let gateway = |address: [u8; 4], own: [u8; 4]| Gateway {
            address: address.into(),
            own: own.into(),
            prefix: 24,
        };
        let second = gateway([198, 51, 100, 1], [198, 51, 100, 2]);
        assert_eq!(default_gateways().unwrap(), [second]);
        ip(&["route", "add", "default", "via", "192.0.2.1", "metric", "100"]);
        ip(&["route", "add", "default", "via", "192.0.2.7", "table", "100"]);
        let first = gateway([192, 0, 2, 1], [192, 0, 2, 2]);
        assert_eq!(default_gateways().unwrap(), [first, second]);
        // Not over farlan's own cards.
        let card = create(&request("fl-test")).unwrap();
        ip(&["link", "set", "dev", "fl-test", "up"]);
        ip(&["address", "add", "10.9.0.2/24", "dev", "fl-test"]);
        ip(&["route", "add", "default", "via", "10.9.0.1", "metric", "1"]);
        assert_eq!(default_gateways().unwrap(), [first, second]);
        drop(card);
        for address in ["192.0.2.1", "198.51.100.1"] {
            ip(&["route", "del", "default", "via", address]);
        }
        ip(&[
            "route",
            "add",
            "default",
            "nexthop",
            "via",
            "192.0.2.1",
            "nexthop",
            "via",
            "198.51.100.1",
        ]);
        assert_eq!(default_gateways().unwrap(), [first, second]);
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
