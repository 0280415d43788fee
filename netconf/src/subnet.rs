//! IPv4 subnets of networks.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use thiserror::Error;

use crate::codec::{CodecError, Reader};

/// The IPv4 range of a network: an address whose host bits are zero, and a prefix of 8 to 30 bits.
///
/// Ranges that a machine uses for itself (0.0.0.0/8, 127.0.0.0/8), that belong to whatever link it is on (169.254.0.0/16,
/// RFC 3927) and those that are no unicast addresses (224.0.0.0/3) are refused, since a link must not be able to take
/// them over. Text form: `10.128.16.0/20`.
/// Bytes: `address 4 | prefix 1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subnet {
    address: Ipv4Addr,
    prefix: u8,
}

/// Why an address and a prefix are not a subnet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SubnetError {
    /// The text is not `A.B.C.D/PREFIX`.
    #[error("a subnet is written like 10.128.16.0/20")]
    Syntax,
    /// The prefix is outside 8 to 30.
    #[error("the prefix of a subnet is 8 to 30 bits, not {0}")]
    Prefix(u8),
    /// The address has bits set behind the prefix.
    #[error("{address}/{prefix} has host bits set; the subnet is {network}/{prefix}")]
    HostBits {
        /// The address as given.
        address: Ipv4Addr,
        /// The prefix as given.
        prefix: u8,
        /// The address with its host bits cleared.
        network: Ipv4Addr,
    },
    /// The range belongs to the machine itself, to its links, to multicast or is reserved, wholly or in part.
    #[error("{0} is not a range that a network can use")]
    Unusable(Ipv4Addr),
    /// The encoded subnet is cut.
    #[error(transparent)]
    Codec(#[from] CodecError),
}

impl Subnet {
    /// 10.64.0.0/10, the subnet of every network known by its name.
    pub const NAME_NETWORKS: Self = Self {
        address: Ipv4Addr::new(10, 64, 0, 0),
        prefix: 10,
    };

    /// 169.254.0.0/16, whose addresses machines on one link give themselves (RFC 3927).
    const LINK_LOCAL: Self = Self {
        address: Ipv4Addr::new(169, 254, 0, 0),
        prefix: 16,
    };

    /// 10.128.0.0/9, from which networks known by a link take a /20.
    pub const LINK_RANGE: Self = Self {
        address: Ipv4Addr::new(10, 128, 0, 0),
        prefix: 9,
    };

    /// The prefix of the subnets that [`random_link_subnet`](Self::random_link_subnet) gives out: 4,094 hosts each.
    pub const LINK_PREFIX: u8 = 20;

    /// The subnet of `address` and `prefix`.
    ///
    /// # Errors
    /// A prefix outside 8 to 30, host bits that are not zero, or a range that is no unicast range of a network.
    pub fn new(address: Ipv4Addr, prefix: u8) -> Result<Self, SubnetError> {
        if !(8..=30).contains(&prefix) {
            return Err(SubnetError::Prefix(prefix));
        }
        let network = Ipv4Addr::from_bits(address.to_bits() & !host_mask(prefix));
        if network != address {
            return Err(SubnetError::HostBits {
                address,
                prefix,
                network,
            });
        }
        // A prefix of 8 or more lies within one value of the first octet.
        if matches!(address.octets()[0], 0 | 127 | 224..) {
            return Err(SubnetError::Unusable(address));
        }
        let subnet = Self { address, prefix };
        if subnet.overlaps(&Self::LINK_LOCAL) {
            return Err(SubnetError::Unusable(address));
        }
        Ok(subnet)
    }

    /// A /20 of [`LINK_RANGE`](Self::LINK_RANGE) that `is_free` accepts, trying all 2,048 from the one that `random`
    /// picks onwards, or `None` when all are refused.
    pub fn random_link_subnet(random: u32, mut is_free: impl FnMut(&Self) -> bool) -> Option<Self> {
        const COUNT: u32 = 1 << (Subnet::LINK_PREFIX - Subnet::LINK_RANGE.prefix);
        let first = random % COUNT;
        (0..COUNT)
            .map(|step| {
                let index = (first + step) % COUNT;
                let bits = Self::LINK_RANGE.address.to_bits() | index << (32 - Self::LINK_PREFIX);
                Self {
                    address: Ipv4Addr::from_bits(bits),
                    prefix: Self::LINK_PREFIX,
                }
            })
            .find(|subnet| is_free(subnet))
    }

    /// The first address, which names the subnet and belongs to no host.
    #[must_use]
    pub const fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// The length of the prefix in bits, 8 to 30.
    #[must_use]
    pub const fn prefix(&self) -> u8 {
        self.prefix
    }

    /// The last address, to which broadcasts go.
    #[must_use]
    pub fn broadcast(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.address.to_bits() | host_mask(self.prefix))
    }

    /// The number of addresses that hosts can have: all but the first and the last, 2 to 16,777,214.
    #[must_use]
    pub const fn hosts(&self) -> u32 {
        host_mask(self.prefix) - 1
    }

    /// Whether `address` lies in the subnet, its first and last address included.
    #[must_use]
    pub fn contains(&self, address: Ipv4Addr) -> bool {
        address.to_bits() & !host_mask(self.prefix) == self.address.to_bits()
    }

    /// Whether `address` lies in the subnet and can belong to a host.
    #[must_use]
    pub fn is_host(&self, address: Ipv4Addr) -> bool {
        self.contains(address) && address != self.address && address != self.broadcast()
    }

    /// Whether the two subnets share an address.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        self.contains(other.address) || other.contains(self.address)
    }

    /// Whether the subnet lies in a range that is not routed on the Internet: 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16
    /// (RFC 1918) or 100.64.0.0/10 (RFC 6598). Joining a network with any other subnet hides a part of the Internet.
    #[must_use]
    pub fn is_private(&self) -> bool {
        let range = |a, b, prefix| Self {
            address: Ipv4Addr::new(a, b, 0, 0),
            prefix,
        };
        [
            range(10, 0, 8),
            range(172, 16, 12),
            range(192, 168, 16),
            range(100, 64, 10),
        ]
        .iter()
        .any(|private| private.prefix <= self.prefix && private.contains(self.address))
    }

    /// Appends `address 4 | prefix 1`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.address.octets());
        out.push(self.prefix);
    }

    /// Reads what [`encode`](Self::encode) writes.
    ///
    /// # Errors
    /// Cut bytes, and what [`new`](Self::new) refuses.
    pub fn decode(reader: &mut Reader<'_>) -> Result<Self, SubnetError> {
        let address = reader.array::<4>()?;
        let prefix = reader.u8()?;
        Self::new(Ipv4Addr::from_octets(address), prefix)
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl FromStr for Subnet {
    type Err = SubnetError;

    fn from_str(text: &str) -> Result<Self, SubnetError> {
        let (address, prefix) = text.split_once('/').ok_or(SubnetError::Syntax)?;
        let address = address.parse().map_err(|_| SubnetError::Syntax)?;
        // `u8::from_str` takes a plus sign, which is not part of the syntax.
        if !prefix.bytes().all(|b| b.is_ascii_digit()) {
            return Err(SubnetError::Syntax);
        }
        let prefix = prefix.parse().map_err(|_| SubnetError::Syntax)?;
        Self::new(address, prefix)
    }
}

/// The bits behind a prefix of 1 to 32 bits.
const fn host_mask(prefix: u8) -> u32 {
    ((1u64 << (32 - prefix)) - 1) as u32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn subnet(text: &str) -> Subnet {
        text.parse().unwrap()
    }

    #[test]
    fn texts_are_checked() {
        for good in [
            "10.128.16.0/20",
            "10.0.0.0/8",
            "192.168.7.4/30",
            "172.16.0.0/12",
            "25.0.0.0/8",
            "169.253.0.0/16",
        ] {
            assert_eq!(subnet(good).to_string(), good);
        }
        let cases = [
            ("10.0.0.0", SubnetError::Syntax),
            ("10.0.0/8", SubnetError::Syntax),
            ("10.0.0.0/", SubnetError::Syntax),
            ("10.0.0.0/+9", SubnetError::Syntax),
            ("10.0.0.0/256", SubnetError::Syntax),
            ("10.0.0.0/16/2", SubnetError::Syntax),
            (" 10.0.0.0/16", SubnetError::Syntax),
            ("fd00::/64", SubnetError::Syntax),
            ("10.0.0.0/7", SubnetError::Prefix(7)),
            ("10.0.0.0/31", SubnetError::Prefix(31)),
            ("10.0.0.0/0", SubnetError::Prefix(0)),
            (
                "10.128.16.1/20",
                SubnetError::HostBits {
                    address: Ipv4Addr::new(10, 128, 16, 1),
                    prefix: 20,
                    network: Ipv4Addr::new(10, 128, 16, 0),
                },
            ),
            ("0.0.0.0/8", SubnetError::Unusable(Ipv4Addr::UNSPECIFIED)),
            ("127.1.0.0/16", SubnetError::Unusable(Ipv4Addr::new(127, 1, 0, 0))),
            ("169.254.7.0/24", SubnetError::Unusable(Ipv4Addr::new(169, 254, 7, 0))),
            ("169.0.0.0/8", SubnetError::Unusable(Ipv4Addr::new(169, 0, 0, 0))),
            ("224.0.0.0/8", SubnetError::Unusable(Ipv4Addr::new(224, 0, 0, 0))),
            (
                "255.255.255.0/24",
                SubnetError::Unusable(Ipv4Addr::new(255, 255, 255, 0)),
            ),
        ];
        for (bad, error) in cases {
            assert_eq!(bad.parse::<Subnet>(), Err(error), "{bad}");
        }
    }

    #[test]
    fn edges_and_hosts() {
        let small = subnet("192.168.7.4/30");
        assert_eq!(small.broadcast(), Ipv4Addr::new(192, 168, 7, 7));
        assert_eq!(small.hosts(), 2);
        assert!(!small.is_host(Ipv4Addr::new(192, 168, 7, 4)));
        assert!(small.is_host(Ipv4Addr::new(192, 168, 7, 5)));
        assert!(!small.is_host(Ipv4Addr::new(192, 168, 7, 7)));
        assert!(!small.contains(Ipv4Addr::new(192, 168, 7, 8)));
        assert_eq!(subnet("10.0.0.0/8").hosts(), 16_777_214);
        assert_eq!(subnet("10.64.0.0/10"), Subnet::NAME_NETWORKS);
        assert_eq!(subnet("10.128.0.0/9"), Subnet::LINK_RANGE);
        assert!(!Subnet::NAME_NETWORKS.overlaps(&Subnet::LINK_RANGE));
    }

    #[test]
    fn private_ranges() {
        for (text, private) in [
            ("10.64.0.0/10", true),
            ("172.16.0.0/12", true),
            ("172.16.0.0/11", false),
            ("192.168.1.0/24", true),
            ("192.168.0.0/15", false),
            ("100.64.0.0/10", true),
            ("100.0.0.0/8", false),
            ("8.8.8.0/24", false),
        ] {
            let parsed = text.parse::<Subnet>();
            assert_eq!(parsed.is_ok_and(|s| s.is_private()), private, "{text}");
        }
    }

    #[test]
    fn link_subnets_are_tried_from_a_random_one_on() {
        let first = Subnet::random_link_subnet(0, |_| true);
        assert_eq!(first, Some(subnet("10.128.0.0/20")));
        let last = Subnet::random_link_subnet(2047 + 2048, |_| true);
        assert_eq!(last, Some(subnet("10.255.240.0/20")));
        let wrapped = Subnet::random_link_subnet(2047, |s| *s != subnet("10.255.240.0/20"));
        assert_eq!(wrapped, first);
        let mut seen = std::collections::BTreeSet::new();
        let none = Subnet::random_link_subnet(77, |s| {
            assert!(Subnet::LINK_RANGE.contains(s.address()));
            assert_eq!(Subnet::new(s.address(), s.prefix()), Ok(*s));
            seen.insert(*s);
            false
        });
        assert_eq!(none, None);
        assert_eq!(seen.len(), 2048);
    }

    proptest! {
        #[test]
        fn bytes_and_text_round_trip(bits: u32, prefix in 8u8..=30) {
            let address = Ipv4Addr::from_bits(bits & !host_mask(prefix));
            prop_assume!(!matches!(address.octets()[0], 0 | 127 | 169 | 224..));
            let subnet = Subnet::new(address, prefix).unwrap();
            prop_assert_eq!(subnet.to_string().parse::<Subnet>(), Ok(subnet));
            let mut bytes = Vec::new();
            subnet.encode(&mut bytes);
            let mut reader = Reader::new(&bytes);
            prop_assert_eq!(Subnet::decode(&mut reader), Ok(subnet));
            prop_assert_eq!(reader.finish(), Ok(()));
            prop_assert!(Subnet::decode(&mut Reader::new(&bytes[..4])).is_err());
        }

        #[test]
        fn overlap_is_a_common_edge(a: u32, b: u32, p in 8u8..=30, q in 8u8..=30) {
            // Few distinct high bits, so that overlaps occur.
            let make = |bits: u32, prefix| {
                let bits = (bits & 0x0303_ffff | 0x0a00_0000) & !host_mask(prefix);
                Subnet::new(Ipv4Addr::from_bits(bits), prefix).unwrap()
            };
            let (a, b) = (make(a, p), make(b, q));
            let ranges_meet = a.address() <= b.broadcast() && b.address() <= a.broadcast();
            prop_assert_eq!(a.overlaps(&b), ranges_meet);
            prop_assert_eq!(b.overlaps(&a), ranges_meet);
        }
    }
}
