//! How often something may happen: rates with a burst, and bounded tables of them for whoever is not known.

use std::net::IpAddr;

pub(crate) use farlan_spreading::Meters;
pub use farlan_spreading::{Meter, Rate};

use crate::Leg;

/// The addresses that one household or one customer of a host is likely to have together: an IPv4 /24 or an IPv6 /56.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Prefix {
    /// The first 24 bits.
    V4([u8; 3]),
    /// The first 56 bits.
    V6([u8; 7]),
}

impl Prefix {
    pub(crate) fn of(leg: Leg) -> Self {
        match leg.ip().to_canonical() {
            IpAddr::V4(address) => {
                let [a, b, c, _] = address.octets();
                Self::V4([a, b, c])
            }
            IpAddr::V6(address) => {
                let [a, b, c, d, e, f, g, ..] = address.octets();
                Self::V6([a, b, c, d, e, f, g])
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_holds_a_household_and_nothing_more() {
        let of = |text: &str| Prefix::of(text.parse::<std::net::SocketAddr>().unwrap().into());
        assert_eq!(of("192.0.2.1:1"), of("192.0.2.255:2"));
        assert_ne!(of("192.0.2.1:1"), of("192.0.3.1:1"));
        assert_eq!(of("192.0.2.1:1"), of("[::ffff:192.0.2.7]:1"));
        assert_eq!(of("[2001:db8:0:12::1]:1"), of("[2001:db8:0:ff::2]:1"));
        assert_ne!(of("[2001:db8:0:12::1]:1"), of("[2001:db8:0:112::1]:1"));
    }
}
