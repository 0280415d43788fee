//! The config of a private network.

use farlan_crypto::{KeyPair, PublicKey, Signature, Work, hash};

use super::{DnsLabel, DocumentError, NetworkSeed, PrivateNetwork, Seconds, split_signature};
use crate::codec::Reader;
use crate::link::Label;
use crate::network::Parameters;
use crate::secret::NetworkSecret;
use crate::world::WorldId;

/// Separates signatures of configs from all other signatures.
const SIGNATURE_DOMAIN: &[u8] = b"farlan config 1";

/// What a private network is like, in one of its versions. A value exists only with a good signature of the network key.
///
/// Bytes:
/// ```text
/// parameters | counter 8 | time 8 | life 4 | length of the label 1 | label | length of the domain 1 | domain |
///     world id 16 | number of seeds 1 | seeds 32 each | number of holders 1 | keys 32 each | signature 64
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    network: PrivateNetwork,
    fields: ConfigFields,
    signature: Signature,
    hash: [u8; 64],
}

/// What a config says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigFields {
    /// What fixes the network, which is a private one.
    pub parameters: Parameters,
    /// The number of the version, from 1.
    pub counter: u64,
    /// When it was signed.
    pub time: Seconds,
    /// How long certificates live, in seconds; at least 1.
    pub life: u32,
    /// How people call the network.
    pub label: Label,
    /// What stands behind its members' names in the DNS.
    pub domain: DnsLabel,
    /// The world through whose supernodes members meet.
    pub world: WorldId,
    /// 1 to 8 seeds, the one in force first, then those before it, the latest first; none twice.
    pub seeds: Vec<NetworkSeed>,
    /// The nodes to turn to for certificates: controllers and renewers, 16 at most, none twice.
    pub holders: Vec<PublicKey>,
}

/// Which of two configs is in force: the greater one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConfigOrder {
    /// The number of the version; 0 for a node that has none yet.
    pub counter: u64,
    /// The SHA-512 of the whole config.
    pub hash: [u8; 64],
}

impl Config {
    /// Most bytes of an encoded config.
    pub const MAX_SIZE: usize = 4096;
    /// Most seeds.
    pub const MAX_SEEDS: usize = 8;
    /// Most holders.
    pub const MAX_HOLDERS: usize = 16;

    /// Makes and signs a version of the config.
    ///
    /// # Errors
    /// Parameters of no private network or of one with another key, and anything outside the ranges at [`ConfigFields`].
    pub fn sign(key: &KeyPair, fields: ConfigFields) -> Result<Self, DocumentError> {
        let network = check(&fields)?;
        network.expect_key(key)?;
        let bytes = fields.to_bytes();
        let signature = key.sign(SIGNATURE_DOMAIN, &bytes);
        Ok(Self {
            network,
            hash: hash::sha512(&[&bytes, signature.as_bytes()]),
            fields,
            signature,
        })
    }

    /// Reads and verifies what [`encode`](Self::encode) writes. The keys of holders must carry `work`.
    ///
    /// # Errors
    /// Anything that [`sign`](Self::sign) and `encode` would not have written.
    pub fn decode(bytes: &[u8], work: Work) -> Result<Self, DocumentError> {
        if bytes.len() > Self::MAX_SIZE {
            return Err(DocumentError::Size {
                size: bytes.len(),
                most: Self::MAX_SIZE,
            });
        }
        let (signed, signature) = split_signature(bytes)?;
        let mut reader = Reader::new(signed);
        let parameters = Parameters::decode(&mut reader)?;
        PrivateNetwork::of(&parameters)
            .ok_or(DocumentError::NotPrivate)?
            .verify(SIGNATURE_DOMAIN, signed, &signature)?;
        let fields = ConfigFields::decode(parameters, &mut reader, work)?;
        reader.finish()?;
        Ok(Self {
            network: check(&fields)?,
            fields,
            signature,
            hash: hash::sha512(&[bytes]),
        })
    }

    /// The bytes drawn at the type. They contain the seeds.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = self.fields.to_bytes();
        bytes.extend_from_slice(self.signature.as_bytes());
        bytes
    }

    /// What it says.
    #[must_use]
    pub fn fields(&self) -> &ConfigFields {
        &self.fields
    }

    /// The network that it is of.
    #[must_use]
    pub fn network(&self) -> &PrivateNetwork {
        &self.network
    }

    /// Its place among the versions.
    #[must_use]
    pub fn order(&self) -> ConfigOrder {
        ConfigOrder {
            counter: self.fields.counter,
            hash: self.hash,
        }
    }

    /// Whether both are of one network and have one counter, but are not the same: somebody made two versions, who cannot
    /// have known of each other.
    #[must_use]
    pub fn forks(&self, other: &Self) -> bool {
        self.network.id() == other.network.id()
            && self.fields.counter == other.fields.counter
            && self.hash != other.hash
    }

    /// The secrets of the network, the one in force first, then the former ones, the latest first.
    #[must_use]
    pub fn secrets(&self) -> Vec<NetworkSecret> {
        let id = self.network.id();
        self.fields.seeds.iter().map(|seed| seed.secret(&id)).collect()
    }
}

impl ConfigFields {
    /// All that is signed.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.parameters.encode(&mut out);
        out.extend_from_slice(&self.counter.to_be_bytes());
        out.extend_from_slice(&self.time.get().to_be_bytes());
        out.extend_from_slice(&self.life.to_be_bytes());
        self.label.encode(&mut out);
        self.domain.encode(&mut out);
        out.extend_from_slice(self.world.as_bytes());
        // `check` allows 8 seeds and 16 holders.
        out.push(self.seeds.len() as u8);
        for seed in &self.seeds {
            out.extend_from_slice(seed.as_bytes());
        }
        out.push(self.holders.len() as u8);
        for holder in &self.holders {
            out.extend_from_slice(holder.as_bytes());
        }
        out
    }

    fn decode(parameters: Parameters, reader: &mut Reader<'_>, work: Work) -> Result<Self, DocumentError> {
        let counter = reader.u64()?;
        let time = Seconds::new(reader.u64()?);
        let life = reader.u32()?;
        let label = Label::decode(reader.short_bytes()?)?;
        let domain = DnsLabel::decode(reader)?;
        let world = WorldId::from_bytes(reader.array()?);
        let mut seeds = Vec::new();
        for _ in 0..reader.u8()? {
            seeds.push(NetworkSeed::from_bytes(reader.array()?));
        }
        let mut holders = Vec::new();
        for _ in 0..reader.u8()? {
            holders.push(PublicKey::from_bytes(&reader.array()?, work)?);
        }
        Ok(Self {
            parameters,
            counter,
            time,
            life,
            label,
            domain,
            world,
            seeds,
            holders,
        })
    }
}

/// The rules that hold for the content of every config.
fn check(fields: &ConfigFields) -> Result<PrivateNetwork, DocumentError> {
    let network = PrivateNetwork::of(&fields.parameters).ok_or(DocumentError::NotPrivate)?;
    if fields.counter == 0 {
        return Err(DocumentError::Counter);
    }
    if fields.life == 0 {
        return Err(DocumentError::Life);
    }
    if !(1..=Config::MAX_SEEDS).contains(&fields.seeds.len()) {
        return Err(DocumentError::Seeds(fields.seeds.len()));
    }
    if fields.holders.len() > Config::MAX_HOLDERS {
        return Err(DocumentError::Holders(fields.holders.len()));
    }
    if is_repeated(&fields.seeds) || is_repeated(&fields.holders) {
        return Err(DocumentError::Repeated);
    }
    Ok(network)
}

/// Whether something stands twice in a short list.
fn is_repeated<T: PartialEq>(list: &[T]) -> bool {
    list.iter().enumerate().any(|(i, item)| list[..i].contains(item))
}
