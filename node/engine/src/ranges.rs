//! What ranges of addresses mean.

use std::net::IpAddr;

/// Whether an address of a card may mean something to everybody: not the private ones, nor those that carriers and tunnels
/// use between themselves and their customers (RFC 6598, RFC 7335).
pub(crate) fn is_global(address: IpAddr) -> bool {
    let tunnel = match address {
        IpAddr::V4(address) => address.octets()[..3] == [192, 0, 0],
        IpAddr::V6(_) => false,
    };
    !is_private(address) && !is_carriers(address) && !tunnel
}

/// Whether an address is one of those that carriers give their customers behind a NAT of theirs (RFC 6598).
pub(crate) fn is_carriers(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => matches!(address.octets(), [100, b, ..] if b & 0xc0 == 64),
        IpAddr::V6(_) => false,
    }
}

/// Whether an address means something only inside a local network (RFC 1918, RFC 3927, RFC 4193, RFC 4291 §2.5.6).
/// Addresses between a home and its carrier (RFC 6598) are not among them: they are behind a NAT of their own.
pub(crate) fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_private() || address.is_link_local(),
        IpAddr::V6(address) => address.is_unique_local() || address.is_unicast_link_local(),
    }
}

/// Whether two addresses are in one range of private addresses: of RFC 1918, or the first 48 bits of RFC 4193.
pub(crate) fn same_range(one: IpAddr, other: IpAddr) -> bool {
    match (one, other) {
        (IpAddr::V4(one), IpAddr::V4(other)) => {
            let range = |address: std::net::Ipv4Addr| address.is_private().then(|| address.octets()[0]);
            range(one).is_some_and(|of| range(other) == Some(of))
        }
        (IpAddr::V6(one), IpAddr::V6(other)) => one.octets()[..6] == other.octets()[..6],
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_carriers_are_neither_private_nor_global() {
        let address = |text: &str| -> IpAddr { text.parse().expect("a literal address") };
        for text in ["100.64.0.1", "100.127.255.255", "192.0.0.4"] {
            assert!(!is_private(address(text)) && !is_global(address(text)), "{text}");
        }
        for text in ["100.128.0.1", "100.63.255.255", "192.0.1.1", "2001:db8::1"] {
            assert!(is_global(address(text)), "{text}");
        }
        for text in ["192.168.1.1", "172.31.0.1", "fd00::1", "fe80::1"] {
            assert!(is_private(address(text)) && !is_global(address(text)), "{text}");
        }
    }
}
