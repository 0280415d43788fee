//! Routes that clash with a subnet.

use farlan_tap::{Route, TapError, broadcast_card, clashing_routes, create};

use crate::support::*;

#[test]
fn clashing_routes_are_those_that_overlap() {
    in_namespace(|| {
        ip(&["link", "add", "wire0", "type", "veth", "peer", "name", "wire1"]);
        for device in ["wire0", "wire1"] {
            ip(&["link", "set", "dev", device, "up"]);
        }
        ip(&["address", "add", "10.50.0.1/24", "brd", "10.50.0.255", "dev", "wire0"]);
        ip(&["route", "add", "default", "via", "10.50.0.2"]);
        ip(&["route", "add", "10.60.0.0/16", "dev", "wire0", "table", "100"]);
        ip(&["route", "add", "blackhole", "10.61.0.0/16"]);
        ip(&[
            "route",
            "add",
            "10.62.0.0/16",
            "nexthop",
            "dev",
            "wire0",
            "nexthop",
            "dev",
            "wire1",
        ]);
        let (first, second) = (index_of("wire0"), index_of("wire1"));
        let clashes = |network: [u8; 4], prefix, except| clashing_routes((network.into(), prefix), except).unwrap();
        let route = |network: [u8; 4], prefix, interface: &str| Route {
            destination: network.into(),
            prefix,
            interface: interface.to_owned(),
        };

        assert_eq!(
            clashes([10, 50, 0, 128], 25, None),
            [route([10, 50, 0, 0], 24, "wire0")]
        );
        let wider = clashes([10, 50, 0, 0], 16, None);
        assert_eq!(wider.len(), 2, "{wider:?}");
        assert!(wider.contains(&route([10, 50, 0, 0], 24, "wire0")), "{wider:?}");
        assert!(wider.contains(&route([10, 50, 0, 1], 32, "wire0")), "{wider:?}");
        assert_eq!(clashes([10, 50, 0, 0], 16, Some(first)), []);
        assert_eq!(clashes([10, 50, 0, 0], 16, Some(second)), wider);

        assert_eq!(
            clashes([10, 99, 0, 0], 16, None),
            [],
            "the default route and table 100 do not count"
        );
        assert_eq!(clashes([10, 60, 0, 0], 16, None), []);
        assert_eq!(clashes([10, 61, 5, 0], 24, None), [route([10, 61, 0, 0], 16, "")]);
        assert_eq!(
            clashes([10, 61, 5, 0], 24, Some(first)),
            [route([10, 61, 0, 0], 16, "")]
        );
        assert_eq!(
            clashes([10, 62, 5, 0], 24, Some(first)).len(),
            1,
            "the route leads to wire1 too"
        );
        assert!(matches!(
            clashing_routes(([10, 0, 0, 0].into(), 33), None),
            Err(TapError::BadAddress { .. })
        ));

        ip(&["route", "add", "0.0.0.0/1", "dev", "wire1"]);
        assert_eq!(clashes([10, 99, 0, 0], 16, None), [route([0, 0, 0, 0], 1, "wire1")]);
    });
}

#[test]
fn a_list_longer_than_one_datagram_is_read_whole() {
    in_namespace(|| {
        let card = create(&request("many")).unwrap();
        let batch: String = (0..2000)
            .map(|n| format!("route add 10.90.{}.{}/32 dev many\n", n / 250, n % 250))
            .collect();
        ip_batch(&batch);
        assert_eq!(clashing_routes(([10, 90, 0, 0].into(), 16), None).unwrap().len(), 2000);
        assert_eq!(
            clashing_routes(([10, 90, 0, 0].into(), 16), Some(card.index)).unwrap(),
            []
        );
    });
}

#[test]
fn broadcasts_leave_by_the_card_of_the_best_route() {
    in_namespace(|| {
        ip(&["link", "set", "dev", "lo", "up"]);
        assert_eq!(broadcast_card().unwrap(), None);
        ip(&["link", "add", "wire0", "type", "veth", "peer", "name", "wire1"]);
        for device in ["wire0", "wire1"] {
            ip(&["link", "set", "dev", device, "up"]);
        }
        let (first, second) = (index_of("wire0"), index_of("wire1"));
        ip(&["address", "add", "10.50.0.1/24", "dev", "wire0"]);
        ip(&["route", "add", "default", "dev", "wire0", "metric", "100"]);
        assert_eq!(broadcast_card().unwrap(), Some((first, "wire0".to_owned())));
        // As VPN clients do it.
        ip(&["route", "add", "128.0.0.0/1", "dev", "wire1"]);
        assert_eq!(broadcast_card().unwrap(), Some((second, "wire1".to_owned())));
    });
}
