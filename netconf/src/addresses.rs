//! The addresses that a node has in a network, as arithmetic both ways.
//!
//! A node id determines the MAC, the two IPv6 addresses and 16 candidates for an IPv4 address. From a MAC or an IPv6
//! address the first 46 or 80 bits of the node id follow. These are enough to look a node up, but they authorise
//! nothing: the asker compares every bit it knows with the full id of the answer.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use farlan_crypto::{NodeId, hash};
use thiserror::Error;

use crate::codec::{CodecError, Reader};
use crate::network::NetworkId;
use crate::subnet::Subnet;

/// Separates the IPv4 candidates from all other hashes.
const CANDIDATES_DOMAIN: &[u8] = b"farlan ipv4 candidates 1";

/// How many IPv4 addresses a node can choose from in a network.
pub const CANDIDATES: usize = 16;

/// The two lowest bits of a MAC's first octet: local and unicast are `10`.
const LOCAL_UNICAST: u8 = 0b10;

/// A 48-bit Ethernet address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac([u8; 6]);

/// The 46 bits of a network that are added (XOR) to 46 bits of a node id in a MAC, so that a node has another MAC in
/// each of its networks: the first 46 bits of SHA-512(network id).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NetworkMask(u64);

/// The arithmetic between node ids and the addresses of one network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressPlan {
    network: NetworkId,
    mask: NetworkMask,
    subnet: Subnet,
}

/// What an address tells about a node id: its first 46, 80 or all 128 bits.
///
/// Bytes: `number of bits 1 | id 16`, where the bits of the id that are not known are zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodePrefix {
    bits: u8,
    id: [u8; 16],
}

/// Why bytes are not a node prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PrefixError {
    /// The bytes are cut.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// The number of bits is none of 46, 80 and 128.
    #[error("a node prefix has 46, 80 or 128 bits, not {0}")]
    Bits(u8),
    /// A bit behind the prefix is set.
    #[error("bits behind the node prefix are set")]
    Unused,
}

impl AddressPlan {
    /// The plan of the network with this id and subnet.
    #[must_use]
    pub fn new(network: &NetworkId, subnet: &Subnet) -> Self {
        Self {
            network: *network,
            mask: NetworkMask::of(network),
            subnet: *subnet,
        }
    }

    /// The subnet of the IPv4 candidates.
    #[must_use]
    pub fn subnet(&self) -> &Subnet {
        &self.subnet
    }

    /// The MAC of a node.
    ///
    /// Let v be the first 46 bits of the node id XOR the [mask](NetworkMask). The first octet is the first 6 bits of v
    /// and then `10` (local, unicast); the other five octets are the last 40 bits of v.
    #[must_use]
    pub fn mac(&self, node: &NodeId) -> Mac {
        let v = first_46_bits(node.as_bytes()) ^ self.mask.0;
        let bits = (v >> 40) << 42 | u64::from(LOCAL_UNICAST) << 40 | (v & 0xff_ffff_ffff);
        let [_, _, mac @ ..] = bits.to_be_bytes();
        Mac(mac)
    }

    /// The first 46 bits of the id of the node with this MAC, or `None` for a MAC that no node has by arithmetic: a
    /// group address, or one with the local bit clear.
    #[must_use]
    pub fn prefix_of_mac(&self, mac: Mac) -> Option<NodePrefix> {
        let [a, b, c, d, e, f] = mac.0;
        if a & 0b11 != LOCAL_UNICAST {
            return None;
        }
        let bits = u64::from_be_bytes([0, 0, a, b, c, d, e, f]);
        let v = (bits >> 42) << 40 | (bits & 0xff_ffff_ffff);
        let mut id = [0; 16];
        id[..8].copy_from_slice(&((v ^ self.mask.0) << 18).to_be_bytes());
        Some(NodePrefix {
            bits: NodePrefix::MAC_BITS,
            id,
        })
    }

    /// The unique local IPv6 address (RFC 4193) of a node: `fd | network id, first 5 bytes | node id, first 10 bytes`.
    #[must_use]
    pub fn ipv6(&self, node: &NodeId) -> Ipv6Addr {
        let mut octets = [0; 16];
        octets[..6].copy_from_slice(&self.ipv6_prefix());
        octets[6..].copy_from_slice(&node.as_bytes()[..10]);
        Ipv6Addr::from_octets(octets)
    }

    /// The first 80 bits of the id of the node with this IPv6 address, or `None` if the address belongs to another
    /// network.
    #[must_use]
    pub fn prefix_of_ipv6(&self, address: Ipv6Addr) -> Option<NodePrefix> {
        let octets = address.octets();
        let known = octets.strip_prefix(&self.ipv6_prefix())?;
        let mut id = [0; 16];
        id[..10].copy_from_slice(known);
        Some(NodePrefix {
            bits: NodePrefix::IPV6_BITS,
            id,
        })
    }

    /// The link-local IPv6 address of a node: fe80::/64 and the modified EUI-64 of its MAC (RFC 4291 appendix A).
    #[must_use]
    pub fn link_local(&self, node: &NodeId) -> Ipv6Addr {
        let [a, b, c, d, e, f] = self.mac(node).0;
        Ipv6Addr::from_octets([0xfe, 0x80, 0, 0, 0, 0, 0, 0, a ^ 0b10, b, c, 0xff, 0xfe, d, e, f])
    }

    /// The first 46 bits of the id of the node with this link-local address, or `None` for an address that no node has
    /// by arithmetic.
    #[must_use]
    pub fn prefix_of_link_local(&self, address: Ipv6Addr) -> Option<NodePrefix> {
        match address.octets() {
            [0xfe, 0x80, 0, 0, 0, 0, 0, 0, a, b, c, 0xff, 0xfe, d, e, f] => {
                self.prefix_of_mac(Mac([a ^ 0b10, b, c, d, e, f]))
            }
            _ => None,
        }
    }

    /// The IPv4 addresses that a node may claim, in the order in which it tries them.
    ///
    /// Let h be the hosts of the subnet, numbered from 0, and w₀ … w₁₅ the sixteen big-endian 32-bit words of
    /// SHA-512(`"farlan ipv4 candidates 1"` ‖ network id ‖ node id). Candidate i is host wᵢ mod h, or the next one
    /// (the first after the last) that no earlier candidate took. With fewer than 16 hosts all are taken after h
    /// candidates, and candidate i is then candidate i − h. The candidates are never the first or last address of the
    /// subnet. The bias of the remainder is below 1/256 and does not matter for addresses.
    #[must_use]
    pub fn ipv4_candidates(&self, node: &NodeId) -> [Ipv4Addr; CANDIDATES] {
        let digest = hash::sha512(&[CANDIDATES_DOMAIN, self.network.as_bytes(), node.as_bytes()]);
        let hosts = self.subnet.hosts();
        let (words, _) = digest.as_chunks::<4>();
        let mut taken = [0; CANDIDATES];
        for (i, word) in words.iter().enumerate() {
            taken[i] = if i >= hosts as usize {
                taken[i - hosts as usize]
            } else {
                let mut host = u32::from_be_bytes(*word) % hosts;
                while taken[..i].contains(&host) {
                    host = (host + 1) % hosts;
                }
                host
            };
        }
        taken.map(|host| Ipv4Addr::from_bits(self.subnet.address().to_bits() + 1 + host))
    }

    fn ipv6_prefix(&self) -> [u8; 6] {
        let [a, b, c, d, e, ..] = *self.network.as_bytes();
        [0xfd, a, b, c, d, e]
    }
}

impl NetworkMask {
    /// The mask of a network.
    #[must_use]
    pub fn of(network: &NetworkId) -> Self {
        let digest = hash::sha512(&[network.as_bytes()]);
        let mut first = [0; 16];
        first.copy_from_slice(&digest[..16]);
        Self(first_46_bits(&first))
    }
}

impl Mac {
    /// The address of all stations, ff:ff:ff:ff:ff:ff.
    pub const BROADCAST: Self = Self([0xff; 6]);

    /// The address made of these octets.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 6]) -> Self {
        Self(bytes)
    }

    /// The six octets.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 6] {
        &self.0
    }

    /// Whether this is a multicast or the broadcast address.
    #[must_use]
    pub const fn is_group(&self) -> bool {
        self.0[0] & 1 != 0
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        f.pad(&format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}"))
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mac({self})")
    }
}

impl NodePrefix {
    /// Bits of a node id that a MAC or a link-local address tells.
    pub const MAC_BITS: u8 = 46;
    /// Bits of a node id that an IPv6 address tells.
    pub const IPV6_BITS: u8 = 80;
    /// All bits of a node id.
    pub const ALL_BITS: u8 = 128;
    /// Bytes of the encoded form.
    pub const SIZE: usize = 17;

    /// The prefix that consists of a whole node id.
    #[must_use]
    pub fn of(node: &NodeId) -> Self {
        Self {
            bits: Self::ALL_BITS,
            id: *node.as_bytes(),
        }
    }

    /// The number of bits known: 46, 80 or 128.
    #[must_use]
    pub const fn bits(&self) -> u8 {
        self.bits
    }

    /// Whether `node` begins with the prefix.
    #[must_use]
    pub fn matches(&self, node: &NodeId) -> bool {
        let difference = u128::from_be_bytes(*node.as_bytes()) ^ u128::from_be_bytes(self.id);
        difference & !self.unknown() == 0
    }

    /// The lowest and the highest node id that begin with the prefix, for look-ups by range.
    #[must_use]
    pub fn bounds(&self) -> (NodeId, NodeId) {
        let highest = u128::from_be_bytes(self.id) | self.unknown();
        (NodeId::from_bytes(self.id), NodeId::from_bytes(highest.to_be_bytes()))
    }

    /// Appends the 17 bytes drawn at the type.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.bits);
        out.extend_from_slice(&self.id);
    }

    /// Reads what [`encode`](Self::encode) writes.
    ///
    /// # Errors
    /// Cut bytes, another number of bits than 46, 80 or 128, or a set bit behind the prefix.
    pub fn decode(reader: &mut Reader<'_>) -> Result<Self, PrefixError> {
        let bits = reader.u8()?;
        let id = reader.array()?;
        if !matches!(bits, Self::MAC_BITS | Self::IPV6_BITS | Self::ALL_BITS) {
            return Err(PrefixError::Bits(bits));
        }
        let prefix = Self { bits, id };
        if u128::from_be_bytes(id) & prefix.unknown() != 0 {
            return Err(PrefixError::Unused);
        }
        Ok(prefix)
    }

    /// The bits behind the prefix.
    fn unknown(&self) -> u128 {
        u128::MAX.checked_shr(u32::from(self.bits)).unwrap_or(0)
    }
}

/// The first 46 bits of 16 bytes as a number.
fn first_46_bits(bytes: &[u8; 16]) -> u64 {
    (u128::from_be_bytes(*bytes) >> (128 - 46)) as u64
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn plan(network: [u8; 16]) -> AddressPlan {
        AddressPlan::new(&NetworkId::from_bytes(network), &Subnet::NAME_NETWORKS)
    }

    /// The prefix as the bits of `node` that it claims to know, computed bit by bit.
    fn begins_with(node: &NodeId, prefix: &NodePrefix) -> bool {
        let (lower, upper) = prefix.bounds();
        let bit = |id: &NodeId, i: usize| id.as_bytes()[i / 8] >> (7 - i % 8) & 1;
        (0..128).all(|i| {
            if i < usize::from(prefix.bits()) {
                bit(&lower, i) == bit(node, i) && bit(&upper, i) == bit(node, i)
            } else {
                bit(&lower, i) == 0 && bit(&upper, i) == 1
            }
        })
    }

    proptest! {
        #[test]
        fn addresses_lead_back_to_the_node(network: [u8; 16], id: [u8; 16]) {
            let (plan, node) = (plan(network), NodeId::from_bytes(id));
            let mac = plan.mac(&node);
            prop_assert_eq!(mac.as_bytes()[0] & 3, 2);
            prop_assert!(!mac.is_group());
            let by_mac = plan.prefix_of_mac(mac).unwrap();
            prop_assert_eq!(by_mac.bits(), 46);
            prop_assert!(begins_with(&node, &by_mac));

            let by_ipv6 = plan.prefix_of_ipv6(plan.ipv6(&node)).unwrap();
            prop_assert_eq!(by_ipv6.bits(), 80);
            prop_assert!(begins_with(&node, &by_ipv6));

            let link_local = plan.link_local(&node);
            prop_assert!(link_local.is_unicast_link_local());
            prop_assert_eq!(plan.prefix_of_link_local(link_local), Some(by_mac));
            prop_assert_eq!(plan.prefix_of_ipv6(link_local), None);
            prop_assert!(begins_with(&node, &NodePrefix::of(&node)));
        }

        #[test]
        fn every_local_unicast_mac_is_the_mac_of_its_prefix(network: [u8; 16], mut mac: [u8; 6]) {
            mac[0] = mac[0] & !3 | 2;
            let plan = plan(network);
            let (lower, upper) = plan.prefix_of_mac(Mac(mac)).unwrap().bounds();
            prop_assert_eq!(plan.mac(&lower), Mac(mac));
            prop_assert_eq!(plan.mac(&upper), Mac(mac));
        }

        #[test]
        fn other_macs_lead_nowhere(network: [u8; 16], mut mac: [u8; 6], low in prop::sample::select(vec![0u8, 1, 3])) {
            mac[0] = mac[0] & !3 | low;
            let plan = plan(network);
            prop_assert_eq!(plan.prefix_of_mac(Mac(mac)), None);
            let [a, b, c, d, e, f] = mac;
            let eui = Ipv6Addr::from_octets([0xfe, 0x80, 0, 0, 0, 0, 0, 0, a ^ 2, b, c, 0xff, 0xfe, d, e, f]);
            prop_assert_eq!(plan.prefix_of_link_local(eui), None);
        }

        #[test]
        fn ipv6_addresses_of_other_networks_lead_nowhere(
            network: [u8; 16], id: [u8; 16], byte in 0usize..6, flip in 1u8..,
        ) {
            let plan = plan(network);
            let mut octets = plan.ipv6(&NodeId::from_bytes(id)).octets();
            octets[byte] ^= flip;
            prop_assert_eq!(plan.prefix_of_ipv6(Ipv6Addr::from_octets(octets)), None);
        }

        #[test]
        fn a_prefix_matches_exactly_its_range(
            id: [u8; 16], bits in prop::sample::select(vec![46u8, 80, 128]), other: [u8; 16], flip in 0u32..128,
        ) {
            let unknown = u128::MAX.checked_shr(u32::from(bits)).unwrap_or(0);
            let known = u128::from_be_bytes(id) & !unknown;
            let prefix = NodePrefix { bits, id: known.to_be_bytes() };
            let (lower, upper) = prefix.bounds();
            let near = known | u128::from_be_bytes(other) & unknown;
            for candidate in [NodeId::from_bytes(other), NodeId::from_bytes(near.to_be_bytes()),
                NodeId::from_bytes((near ^ 1 << flip).to_be_bytes())] {
                prop_assert_eq!(prefix.matches(&candidate), (lower..=upper).contains(&candidate));
            }
            prop_assert!(prefix.matches(&NodeId::from_bytes(near.to_be_bytes())));
            prop_assert_eq!(
                prefix.matches(&NodeId::from_bytes((known ^ 1 << flip).to_be_bytes())),
                flip < 128 - u32::from(bits)
            );
        }

        #[test]
        fn prefixes_round_trip_and_have_one_encoding(
            id: [u8; 16], bits in prop::sample::select(vec![46u8, 80, 128]), stray in 0u32..128,
        ) {
            let unknown = u128::MAX.checked_shr(u32::from(bits)).unwrap_or(0);
            let prefix = NodePrefix { bits, id: (u128::from_be_bytes(id) & !unknown).to_be_bytes() };
            let mut bytes = Vec::new();
            prefix.encode(&mut bytes);
            prop_assert_eq!(bytes.len(), NodePrefix::SIZE);
            prop_assert_eq!(NodePrefix::decode(&mut Reader::new(&bytes)), Ok(prefix));
            prop_assert_eq!(
                NodePrefix::decode(&mut Reader::new(&bytes[..16])),
                Err(PrefixError::Codec(CodecError::Truncated))
            );
            if stray < 128 - u32::from(bits) {
                bytes[16 - stray as usize / 8] |= 1 << (stray % 8);
                prop_assert_eq!(NodePrefix::decode(&mut Reader::new(&bytes)), Err(PrefixError::Unused));
            }
            bytes[0] = 64;
            prop_assert_eq!(NodePrefix::decode(&mut Reader::new(&bytes)), Err(PrefixError::Bits(64)));
        }

        #[test]
        fn candidates_are_distinct_hosts(network: [u8; 16], id: [u8; 16], prefix in 8u8..=30) {
            let mask = u32::MAX << (32 - prefix);
            let address = Ipv4Addr::from_bits(u32::from_be_bytes([10, 171, 205, 239]) & mask);
            let subnet = Subnet::new(address, prefix).unwrap();
            let plan = AddressPlan::new(&NetworkId::from_bytes(network), &subnet);
            let candidates = plan.ipv4_candidates(&NodeId::from_bytes(id));
            for candidate in candidates {
                prop_assert!(subnet.is_host(candidate), "{} in {}", candidate, subnet);
            }
            let distinct = BTreeSet::from(candidates).len();
            prop_assert_eq!(distinct, CANDIDATES.min(subnet.hosts() as usize));
        }
    }

    #[test]
    fn networks_and_nodes_have_their_own_candidates() {
        let node = NodeId::from_bytes([7; 16]);
        let here = plan([1; 16]).ipv4_candidates(&node);
        assert_ne!(here, plan([2; 16]).ipv4_candidates(&node));
        assert_ne!(here, plan([1; 16]).ipv4_candidates(&NodeId::from_bytes([8; 16])));
        assert_ne!(plan([1; 16]).mac(&node), plan([2; 16]).mac(&node));
    }

    #[test]
    fn macs_print_and_group_addresses_are_known() {
        let mac = Mac::from_bytes([0x02, 0, 0x5e, 0xab, 0xcd, 0xef]);
        assert_eq!(mac.to_string(), "02:00:5e:ab:cd:ef");
        assert!(!mac.is_group());
        assert!(Mac::BROADCAST.is_group());
        assert!(Mac::from_bytes([0x33, 0x33, 0, 0, 0, 1]).is_group());
    }
}
