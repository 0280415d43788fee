//! Names and frames that scenarios use.

use std::net::Ipv4Addr;

use farlan_netconf::{Mac, Mtu, NetworkName, Parameters, Subnet, WorldId};

pub(in crate::scenarios) fn world_id(world: u8) -> WorldId {
    WorldId::from_bytes([world; 16])
}

/// A link network, policy *friends*.
pub(in crate::scenarios) fn link(number: u8) -> Parameters {
    let subnet = Subnet::new(Ipv4Addr::new(10, 128, number * 16, 0), 20).unwrap();
    Parameters::link([number; 16], subnet, Mtu::DEFAULT)
}

/// A name network of world 1, policy *strangers*.
pub(in crate::scenarios) fn name() -> Parameters {
    Parameters::open_name(world_id(1), NetworkName::parse("earth").unwrap())
}

/// A frame of no protocol the engine knows.
pub(in crate::scenarios) fn frame(to: Mac, from: Mac, mark: u8) -> Vec<u8> {
    [&to.as_bytes()[..], from.as_bytes(), &[0x88, 0xb5], &[mark; 60]].concat()
}

/// A UDP datagram over IPv6 between the link-local addresses that follow from two MACs, which strangers may send to opened
/// ports.
pub(in crate::scenarios) fn datagram(to: Mac, from: Mac, payload: &[u8]) -> Vec<u8> {
    let link_local = |mac: Mac| {
        let [a, b, c, d, e, f] = *mac.as_bytes();
        [0xfe, 0x80, 0, 0, 0, 0, 0, 0, a ^ 2, b, c, 0xff, 0xfe, d, e, f]
    };
    let length = u16::try_from(8 + payload.len()).unwrap().to_be_bytes();
    let header = [&[0x60, 0, 0, 0], &length[..], &[17, 64]].concat();
    let ports = [&[0, 9, 0, 9], &length[..], &[0, 0]].concat();
    let addresses = [link_local(from), link_local(to)].concat();
    let macs = [*to.as_bytes(), *from.as_bytes()].concat();
    [&macs[..], &[0x86, 0xdd], &header, &addresses, &ports, payload].concat()
}

/// A frame with `tags` VLAN tags and an empty UDP datagram from one address to another.
pub(in crate::scenarios) fn udp(to: Mac, from: Mac, tags: usize, [source, destination]: [Ipv4Addr; 2]) -> Vec<u8> {
    let mut frame = [&to.as_bytes()[..], from.as_bytes()].concat();
    frame.extend([0x81, 0, 0, 0].repeat(tags));
    frame.extend([0x08, 0, 0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0]);
    frame.extend(source.octets());
    frame.extend(destination.octets());
    frame.extend([0, 1, 0, 2, 0, 8, 0, 0]);
    frame
}
