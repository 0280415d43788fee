//! Delegations: what the network key lets others sign.

use farlan_crypto::{KeyPair, PublicKey, Signature, VerifyingKey, Work};

use super::{DocumentError, PrivateNetwork, Rights, Seconds};
use crate::codec::Reader;
use crate::network::NetworkId;

/// Separates signatures of delegations from all other signatures.
const SIGNATURE_DOMAIN: &[u8] = b"farlan delegation 1";

/// The kind byte of the delegation of an invite.
const KIND_INVITE: u8 = 1;
/// The kind byte of the delegation of a renewer.
const KIND_RENEWER: u8 = 2;

/// What the network key lets an invite or a renewer sign. A value exists only with a good signature of the network key.
///
/// Bytes:
/// ```text
/// kind 1 (1: invite, 2: renewer) | network id 16 | key 32 | rights 1 | time 8 | expiry 8 | life 4 | uses 4 | signature 64
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delegation {
    network: NetworkId,
    fields: DelegationFields,
    signature: Signature,
}

/// What a delegation says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DelegationFields {
    /// Whose it is.
    pub delegate: Delegate,
    /// The most rights that it can give; none for a renewer.
    pub rights: Rights,
    /// When it was signed.
    pub time: Seconds,
    /// When it and all that was signed under it ends; behind `time`.
    pub expiry: Seconds,
    /// How long what is signed under it lives at the most, in seconds: at least 1, for an invite at most
    /// [`MAX_INVITE_LIFE`](Delegation::MAX_INVITE_LIFE).
    pub life: u32,
}

/// Whose a delegation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delegate {
    /// Whoever holds the secret key of an invite.
    Invite {
        /// The public key of the invite.
        key: VerifyingKey,
        /// How often it lets somebody in, as a controller counts; 0 for as often as wanted. Only if it is 0 the invite itself
        /// signs certificates.
        uses: u32,
    },
    /// A node that extends certificates.
    Renewer {
        /// The key of the node.
        node: PublicKey,
    },
}

impl Delegation {
    /// Bytes of a delegation.
    pub const LENGTH: usize = 138;
    /// The longest life of what an invite signs: 7 days, in seconds.
    pub const MAX_INVITE_LIFE: u32 = 7 * 24 * 3600;

    /// Makes and signs a delegation in `network`.
    ///
    /// # Errors
    /// A key that is not the network's, and anything outside the ranges at [`DelegationFields`].
    pub fn sign(network: &PrivateNetwork, key: &KeyPair, fields: DelegationFields) -> Result<Self, DocumentError> {
        network.expect_key(key)?;
        check(&fields)?;
        let mut delegation = Self {
            network: network.id(),
            fields,
            signature: Signature::from_bytes([0; 64]),
        };
        delegation.signature = key.sign(SIGNATURE_DOMAIN, &delegation.signed_bytes());
        Ok(delegation)
    }

    /// Reads and verifies what [`encode`](Self::encode) writes; bytes behind it are left in the reader. The key of a renewer
    /// must carry `work`.
    ///
    /// # Errors
    /// Anything that [`sign`](Self::sign) and `encode` would not have written, and delegations of other networks.
    pub fn decode(reader: &mut Reader<'_>, network: &PrivateNetwork, work: Work) -> Result<Self, DocumentError> {
        let bytes: [u8; Self::LENGTH] = reader.array()?;
        let (signed, signature) = super::split_signature(&bytes)?;
        let mut reader = Reader::new(signed);
        let kind = reader.u8()?;
        if NetworkId::from_bytes(reader.array()?) != network.id() {
            return Err(DocumentError::OtherNetwork);
        }
        network.verify(SIGNATURE_DOMAIN, signed, &signature)?;
        let key = reader.array()?;
        let rights = Rights::from_bits(reader.u8()?)?;
        let time = Seconds::new(reader.u64()?);
        let expiry = Seconds::new(reader.u64()?);
        let life = reader.u32()?;
        let uses = reader.u32()?;
        reader.finish()?;
        let delegate = match kind {
            KIND_INVITE => Delegate::Invite {
                key: VerifyingKey::from_bytes(&key)?,
                uses,
            },
            KIND_RENEWER if uses != 0 => return Err(DocumentError::Renewer),
            KIND_RENEWER => Delegate::Renewer {
                node: PublicKey::from_bytes(&key, work)?,
            },
            other => return Err(DocumentError::Kind(other)),
        };
        let fields = DelegationFields {
            delegate,
            rights,
            time,
            expiry,
            life,
        };
        check(&fields)?;
        Ok(Self {
            network: network.id(),
            fields,
            signature,
        })
    }

    /// Appends the bytes drawn at the type.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.signed_bytes());
        out.extend_from_slice(self.signature.as_bytes());
    }

    /// What it says.
    #[must_use]
    pub fn fields(&self) -> &DelegationFields {
        &self.fields
    }

    /// The network that it is of.
    #[must_use]
    pub fn network(&self) -> NetworkId {
        self.network
    }

    /// The bytes of the key by which it is revoked: that of the invite or the renewing node.
    #[must_use]
    pub fn key(&self) -> [u8; 32] {
        match &self.fields.delegate {
            Delegate::Invite { key, .. } => *key.as_bytes(),
            Delegate::Renewer { node } => *node.as_bytes(),
        }
    }

    /// Whether it is an invite that signs certificates itself, while no controller is there.
    #[must_use]
    pub fn signs_certificates(&self) -> bool {
        matches!(self.fields.delegate, Delegate::Invite { uses: 0, .. })
    }

    /// When what is signed now under it should begin. That is the clock; but the latest time that still gives it its whole
    /// life, if the clock cannot be right since it is before the date of the build or of the delegation, or behind the
    /// end of that.
    #[must_use]
    pub fn start(&self, clock: Seconds, build: Seconds) -> Seconds {
        let Self { fields, .. } = self;
        if clock < build.max(fields.time) || clock >= fields.expiry {
            fields.expiry.minus(fields.life.into()).max(fields.time)
        } else {
            clock
        }
    }

    /// When what begins at `time` ends at the latest.
    #[must_use]
    pub fn latest_expiry(&self, time: Seconds) -> Seconds {
        time.plus(self.fields.life.into()).min(self.fields.expiry)
    }

    /// Whether something signed under it may have these times.
    pub(super) fn allows(&self, time: Seconds, expiry: Seconds) -> Result<(), DocumentError> {
        if time < self.fields.time || expiry > self.latest_expiry(time) {
            return Err(DocumentError::Lifetime);
        }
        Ok(())
    }

    fn signed_bytes(&self) -> Vec<u8> {
        let (kind, uses) = match self.fields.delegate {
            Delegate::Invite { uses, .. } => (KIND_INVITE, uses),
            Delegate::Renewer { .. } => (KIND_RENEWER, 0),
        };
        let mut out = Vec::with_capacity(Self::LENGTH);
        out.push(kind);
        out.extend_from_slice(self.network.as_bytes());
        out.extend_from_slice(&self.key());
        out.push(self.fields.rights.bits());
        out.extend_from_slice(&self.fields.time.get().to_be_bytes());
        out.extend_from_slice(&self.fields.expiry.get().to_be_bytes());
        out.extend_from_slice(&self.fields.life.to_be_bytes());
        out.extend_from_slice(&uses.to_be_bytes());
        out
    }
}

/// The rules that hold for the content of every delegation.
fn check(fields: &DelegationFields) -> Result<(), DocumentError> {
    if fields.expiry <= fields.time {
        return Err(DocumentError::Times);
    }
    let most = match fields.delegate {
        Delegate::Invite { .. } => Delegation::MAX_INVITE_LIFE,
        Delegate::Renewer { .. } if fields.rights != Rights::NONE => return Err(DocumentError::Renewer),
        Delegate::Renewer { .. } => u32::MAX,
    };
    if !(1..=most).contains(&fields.life) {
        return Err(DocumentError::Life);
    }
    Ok(())
}
