//! What fixes a network: its parameters, and the id that is their hash.

use std::fmt;
use std::str::FromStr;

use farlan_crypto::{KeyError, VerifyingKey, hash};
use thiserror::Error;

use crate::base32::{self, IdError};
use crate::codec::{CodecError, Reader};
use crate::name::{NameError, NetworkName};
use crate::secret::NetworkSecret;
use crate::subnet::{Subnet, SubnetError};
use crate::world::WorldId;

/// Separates network ids from all other hashes.
const ID_DOMAIN: &[u8] = b"farlan network id 1";
/// Separates network secrets from all other hashes.
const SECRET_DOMAIN: &[u8] = b"farlan network secret 1";

/// The first byte of the parameters of a network known by its name.
const KIND_NAME: u8 = 1;
/// The first byte of the parameters of a network known by a link.
const KIND_LINK: u8 = 2;
/// The first byte of the parameters of a private network.
const KIND_PRIVATE: u8 = 3;

/// All that fixes a network. Whoever knows the parameters can be a member, private networks apart.
///
/// Bytes: `kind 1 | policy 1 | MTU 2 | subnet address 4 | subnet prefix 1 |` and then, for kind 1 (name),
/// `world id 16 | length of the name 1 | name`, for kind 2 (link) `random 16`, for kind 3 (private) `network key 32`.
/// The policy byte is 1 for friends and 2 for strangers, and must be the one of the kind.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Parameters {
    /// How the network is known, which also decides its policy.
    pub kind: Kind,
    /// The largest packet on its network card.
    pub mtu: Mtu,
    /// The range of its IPv4 addresses.
    pub subnet: Subnet,
}

/// How a network is known, and with it who can come in.
///
/// `Debug` does not show the random bits, since they let in whoever reads them in a log.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Open to all who know the name. The same name in two worlds is two networks.
    Name {
        /// The world in whose supernodes members meet.
        world: WorldId,
        /// The name itself.
        name: NetworkName,
    },
    /// Open to all who hold the link that carries the random bits.
    Link {
        /// 128 bits that nobody can guess.
        random: [u8; 16],
    },
    /// Open to those whom the holder of the network key let in.
    Private {
        /// The network key, from which every membership follows.
        key: VerifyingKey,
    },
}

/// Whether the members of a network trust each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Policy {
    /// It is Ethernet: members may use any address that nobody else holds.
    Friends,
    /// Members may use their own addresses only, and a filter lets in replies and what was opened.
    Strangers,
}

/// The MTU of a network's card in bytes: 1280 to 9000, the Ethernet header not counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mtu(u16);

/// An MTU outside 1280 to 9000.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the MTU of a network is 1280 to 9000 bytes, not {0}")]
pub struct MtuError(pub u16);

/// The id of a network: the first 16 bytes of SHA-512(`"farlan network id 1"` ‖ [parameters](Parameters)).
///
/// Text form: 26 letters of lower-case base32. An id is not secret towards members, but it never leaves them either:
/// supernodes see [directory keys](crate::DirectoryKey) only.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NetworkId([u8; 16]);

/// Why bytes are not the parameters of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ParametersError {
    /// The bytes are cut.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// The kind is none of those known here.
    #[error("networks of kind {0} are not known to this version")]
    Kind(u8),
    /// The policy is not the one of the kind.
    #[error("policy {policy} does not belong to networks of kind {kind}")]
    Policy {
        /// The kind as read.
        kind: u8,
        /// The policy as read.
        policy: u8,
    },
    /// The MTU is out of range.
    #[error(transparent)]
    Mtu(#[from] MtuError),
    /// The subnet breaks a rule.
    #[error(transparent)]
    Subnet(SubnetError),
    /// The name breaks a rule.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The name is not written in lower case, or not in UTF-8.
    #[error("the network name is not in its canonical form")]
    NameForm,
    /// The network key is not acceptable.
    #[error("the network key is not acceptable: {0}")]
    Key(#[from] KeyError),
}

impl From<SubnetError> for ParametersError {
    fn from(error: SubnetError) -> Self {
        match error {
            SubnetError::Codec(error) => Self::Codec(error),
            other => Self::Subnet(other),
        }
    }
}

impl Parameters {
    /// The open network that is called `name` in `world`.
    #[must_use]
    pub fn open_name(world: WorldId, name: NetworkName) -> Self {
        Self {
            kind: Kind::Name { world, name },
            mtu: Mtu::DEFAULT,
            subnet: Subnet::NAME_NETWORKS,
        }
    }

    /// The network of a link with these `random` bits, which must come from a cryptographic generator.
    #[must_use]
    pub fn link(random: [u8; 16], subnet: Subnet, mtu: Mtu) -> Self {
        Self {
            kind: Kind::Link { random },
            mtu,
            subnet,
        }
    }

    /// The private network of this network key.
    #[must_use]
    pub fn private(key: VerifyingKey, subnet: Subnet, mtu: Mtu) -> Self {
        Self {
            kind: Kind::Private { key },
            mtu,
            subnet,
        }
    }

    /// The id of the network: a hash of everything here, so nobody can show another policy, MTU or subnet under one id.
    #[must_use]
    pub fn id(&self) -> NetworkId {
        let digest = hash::sha512(&[ID_DOMAIN, &self.to_bytes()]);
        let mut id = [0; 16];
        id.copy_from_slice(&digest[..16]);
        NetworkId(id)
    }

    /// The secret of the network: SHA-512(`"farlan network secret 1"` ‖ parameters). Whoever knows the parameters
    /// knows it; the id does not reveal it. None for private networks, whose secrets come from
    /// [seeds](crate::NetworkSeed).
    #[must_use]
    pub fn secret(&self) -> Option<NetworkSecret> {
        match self.kind {
            Kind::Name { .. } | Kind::Link { .. } => {
                Some(NetworkSecret::new(hash::sha512(&[SECRET_DOMAIN, &self.to_bytes()])))
            }
            Kind::Private { .. } => None,
        }
    }

    /// The policy that belongs to the kind: strangers on networks known by name, friends on all others.
    #[must_use]
    pub fn policy(&self) -> Policy {
        match self.kind {
            Kind::Name { .. } => Policy::Strangers,
            Kind::Link { .. } | Kind::Private { .. } => Policy::Friends,
        }
    }

    /// Appends the bytes drawn at the type.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(match self.kind {
            Kind::Name { .. } => KIND_NAME,
            Kind::Link { .. } => KIND_LINK,
            Kind::Private { .. } => KIND_PRIVATE,
        });
        out.push(self.policy().code());
        out.extend_from_slice(&self.mtu.0.to_be_bytes());
        self.subnet.encode(out);
        match &self.kind {
            Kind::Name { world, name } => {
                out.extend_from_slice(world.as_bytes());
                // A name has at most 32 bytes.
                out.push(name.as_str().len() as u8);
                out.extend_from_slice(name.as_str().as_bytes());
            }
            Kind::Link { random } => out.extend_from_slice(random),
            Kind::Private { key } => out.extend_from_slice(key.as_bytes()),
        }
    }

    /// Reads what [`encode`](Self::encode) writes; bytes behind it are left in the reader.
    ///
    /// # Errors
    /// Anything that `encode` would not have written.
    pub fn decode(reader: &mut Reader<'_>) -> Result<Self, ParametersError> {
        let kind_code = reader.u8()?;
        let policy_code = reader.u8()?;
        if !matches!(kind_code, KIND_NAME | KIND_LINK | KIND_PRIVATE) {
            return Err(ParametersError::Kind(kind_code));
        }
        let mtu = Mtu::new(reader.u16()?)?;
        let subnet = Subnet::decode(reader)?;
        let kind = match kind_code {
            KIND_NAME => {
                let world = WorldId::from_bytes(reader.array()?);
                let text = std::str::from_utf8(reader.short_bytes()?).map_err(|_| ParametersError::NameForm)?;
                let name = NetworkName::parse(text)?;
                if name.as_str() != text {
                    return Err(ParametersError::NameForm);
                }
                Kind::Name { world, name }
            }
            KIND_LINK => Kind::Link {
                random: reader.array()?,
            },
            KIND_PRIVATE => Kind::Private {
                key: VerifyingKey::from_bytes(&reader.array()?)?,
            },
            other => return Err(ParametersError::Kind(other)),
        };
        let parameters = Self { kind, mtu, subnet };
        if parameters.policy().code() != policy_code {
            return Err(ParametersError::Policy {
                kind: kind_code,
                policy: policy_code,
            });
        }
        Ok(parameters)
    }

    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.encode(&mut bytes);
        bytes
    }
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name { world, name } => write!(f, "Name({}@{world})", name.as_str()),
            Self::Link { .. } => f.write_str("Link(..)"),
            Self::Private { .. } => f.write_str("Private(..)"),
        }
    }
}

impl Policy {
    /// The byte that stands for the policy in [`Parameters`].
    fn code(self) -> u8 {
        match self {
            Self::Friends => 1,
            Self::Strangers => 2,
        }
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Friends => "friends",
            Self::Strangers => "strangers",
        })
    }
}

impl Mtu {
    /// 1372: the largest for which a full frame crosses a PPPoE line (1492) over IPv6, through a relay, in one piece.
    ///
    /// 1372 + 14 Ethernet header + 4 VLAN tag + 34 data datagram (header 16, tag 16, kind 1, network index 1)
    /// + 8 broadcast number + 12 relay header + 48 IPv6 and UDP headers = 1492.
    pub const DEFAULT: Self = Self(1372);

    /// 1280, the smallest MTU that IPv6 allows (RFC 8200 §5).
    pub const MIN: Self = Self(1280);

    /// 9000, the usual size of jumbo frames.
    pub const MAX: Self = Self(9000);

    /// An MTU of `bytes`.
    ///
    /// # Errors
    /// Outside 1280 to 9000.
    pub fn new(bytes: u16) -> Result<Self, MtuError> {
        if (Self::MIN.0..=Self::MAX.0).contains(&bytes) {
            Ok(Self(bytes))
        } else {
            Err(MtuError(bytes))
        }
    }

    /// The MTU in bytes.
    #[must_use]
    pub const fn bytes(self) -> u16 {
        self.0
    }
}

impl Default for Mtu {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl fmt::Display for Mtu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl NetworkId {
    /// The id made of these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The 16 bytes of the id.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for NetworkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&base32::encode(&self.0))
    }
}

impl fmt::Debug for NetworkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NetworkId({self})")
    }
}

impl FromStr for NetworkId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        base32::decode(text).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn encoded(parameters: &Parameters) -> Vec<u8> {
        parameters.to_bytes()
    }

    fn decode(bytes: &[u8]) -> Result<Parameters, ParametersError> {
        let mut reader = Reader::new(bytes);
        let parameters = Parameters::decode(&mut reader)?;
        reader.finish()?;
        Ok(parameters)
    }

    fn earth() -> Parameters {
        Parameters::open_name(WorldId::from_bytes([9; 16]), NetworkName::parse("earth").unwrap())
    }

    fn any_parameters() -> impl Strategy<Value = Parameters> {
        let kind = prop_oneof![
            any::<[u8; 16]>().prop_map(|random| Kind::Link { random }),
            (any::<[u8; 16]>(), "[a-z0-9][a-z0-9._-]{0,31}").prop_map(|(world, name)| Kind::Name {
                world: WorldId::from_bytes(world),
                name: NetworkName::parse(&name).unwrap(),
            }),
        ];
        let subnet = (any::<u32>(), 8u8..=30).prop_filter_map("unusable", |(bits, prefix)| {
            let bits = bits & u32::MAX << (32 - prefix);
            Subnet::new(std::net::Ipv4Addr::from_bits(bits), prefix).ok()
        });
        (kind, 1280u16..=9000, subnet).prop_map(|(kind, mtu, subnet)| Parameters {
            kind,
            mtu: Mtu::new(mtu).unwrap(),
            subnet,
        })
    }

    proptest! {
        #[test]
        fn parameters_round_trip_and_cuts_are_refused(parameters in any_parameters()) {
            let mut bytes = encoded(&parameters);
            prop_assert_eq!(decode(&bytes), Ok(parameters));
            for length in 0..bytes.len() {
                prop_assert_eq!(decode(&bytes[..length]), Err(CodecError::Truncated.into()));
            }
            bytes.push(0);
            prop_assert_eq!(decode(&bytes), Err(CodecError::Trailing(1).into()));
        }

        #[test]
        fn what_decodes_is_canonical(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(parameters) = decode(&bytes) {
                prop_assert_eq!(encoded(&parameters), bytes);
            }
        }

        #[test]
        fn a_changed_bit_is_another_network_or_none(parameters in any_parameters(), bit: prop::sample::Index) {
            let mut bytes = encoded(&parameters);
            let bit = bit.index(bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            if let Ok(other) = decode(&bytes) {
                prop_assert_eq!(encoded(&other), bytes);
                prop_assert_ne!(other.id(), parameters.id());
            }
        }
    }

    #[test]
    fn every_parameter_is_in_the_id() {
        let subnet: Subnet = "10.128.16.0/20".parse().unwrap();
        let mut networks = vec![
            earth(),
            Parameters {
                mtu: Mtu::new(1400).unwrap(),
                ..earth()
            },
            Parameters { subnet, ..earth() },
            Parameters::open_name(WorldId::from_bytes([8; 16]), NetworkName::parse("earth").unwrap()),
            Parameters::open_name(WorldId::from_bytes([9; 16]), NetworkName::parse("mars").unwrap()),
        ];
        for random in [[0; 16], [9; 16]] {
            for subnet in ["10.128.16.0/20", "10.128.16.0/21", "10.128.32.0/20"] {
                for mtu in [1372, 1373] {
                    networks.push(Parameters::link(
                        random,
                        subnet.parse().unwrap(),
                        Mtu::new(mtu).unwrap(),
                    ));
                }
            }
        }
        let ids: BTreeSet<_> = networks.iter().map(Parameters::id).collect();
        let keys: BTreeSet<_> = networks.iter().map(|n| n.secret().unwrap().member_key()).collect();
        assert_eq!(ids.len(), networks.len());
        assert_eq!(keys.len(), networks.len());
    }

    #[test]
    fn the_policy_is_the_one_of_the_kind_and_part_of_what_is_hashed() {
        assert_eq!(earth().policy(), Policy::Strangers);
        let link = Parameters::link([1; 16], Subnet::LINK_RANGE, Mtu::DEFAULT);
        assert_eq!(link.policy(), Policy::Friends);
        for (parameters, kind, own, other) in [(earth(), 1, 2, 1), (link, 2, 1, 2)] {
            let mut bytes = encoded(&parameters);
            assert_eq!(bytes[..2], [kind, own]);
            bytes[1] = other;
            assert_eq!(decode(&bytes), Err(ParametersError::Policy { kind, policy: other }));
        }
    }

    #[test]
    fn bad_fields_are_named() {
        let good = encoded(&earth());
        let with = |at: usize, byte: u8| {
            let mut bytes = good.clone();
            bytes[at] = byte;
            decode(&bytes)
        };
        assert_eq!(with(0, 4), Err(ParametersError::Kind(4)));
        assert_eq!(with(2, 0), Err(MtuError(0x5c).into()));
        assert_eq!(with(8, 31), Err(SubnetError::Prefix(31).into()));
        assert_eq!(with(25, 0), Err(NameError::Empty.into()));
        assert_eq!(with(26, b'E'), Err(ParametersError::NameForm));
        assert_eq!(with(26, 0xff), Err(ParametersError::NameForm));
        assert_eq!(with(26, b'.'), Err(NameError::Start('.').into()));
    }

    #[test]
    fn debug_does_not_let_anybody_in() {
        let link = Parameters::link([0xab; 16], Subnet::LINK_RANGE, Mtu::DEFAULT);
        let shown = format!("{link:?}");
        assert!(shown.contains("Link(..)") && !shown.contains("171"), "{shown}");
    }

    #[test]
    fn mtus_have_limits() {
        assert_eq!(Mtu::default().bytes(), 1372);
        assert_eq!(Mtu::new(1280), Ok(Mtu::MIN));
        assert_eq!(Mtu::new(9000), Ok(Mtu::MAX));
        assert_eq!(Mtu::new(1279), Err(MtuError(1279)));
        assert_eq!(Mtu::new(9001), Err(MtuError(9001)));
    }

    #[test]
    fn ids_have_a_text_form() {
        let id = earth().id();
        assert_eq!(id.to_string().len(), 26);
        assert_eq!(id.to_string().parse(), Ok(id));
        assert!("earth".parse::<NetworkId>().is_err());
    }
}
