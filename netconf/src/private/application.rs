//! What a node asks a holder for, and what it is answered.

use std::net::Ipv4Addr;

use farlan_crypto::{KeyPair, PublicKey, Signature, Work, defects::planted};
use thiserror::Error;

use super::{Credential, Delegate, Delegation, DnsLabel, DocumentError, PrivateNetwork, ipv4_bytes, read_ipv4};
use crate::codec::Reader;

/// Separates the proofs of applicants from all other signatures.
const PROOF_DOMAIN: &[u8] = b"farlan application 1";

/// What a node asks a holder for. A value with an invite exists only with a good signature of the invite's key for the node
/// and the session in which it was made; one with a certificate only if that is the node's and the network key signed it.
///
/// Bytes:
/// ```text
/// length of the name 1 | name | IPv4 4 | ground 1 (0, 1 or 2) | and by an invite (1):
///     delegation of the invite 138 | signature of the invite's key 64
/// or by a certificate of the network key (2):
///     credential, to the end
/// ```
/// The signature is in the domain `"farlan application 1"`, over `network id 16 | node's key 32 | handshake hash 64`. No name is
/// wished where the certificate gives one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Application {
    /// What the node would like to be called.
    pub name: Option<DnsLabel>,
    /// The address that it would like to have.
    pub ipv4: Option<Ipv4Addr>,
    ground: Ground,
}

/// What entitles to a credential.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Ground {
    /// What is shown in the session, if anything is.
    Shown,
    /// An invite, with a proof that the node holds its secret.
    Invite(Box<(Delegation, Signature)>),
    /// The node's own certificate by the network key.
    Certificate(Box<Credential>),
}

/// What a holder answers: a credential, or why there is none.
///
/// The status byte of the message is 0 with a credential, and the code of the refusal without.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    /// The credential that the node shows from now on.
    Granted(Box<Credential>),
    /// There is none.
    Refused(Refusal),
}

/// Why a holder gives no credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    /// The invite has expired (1).
    #[error("the invite has expired")]
    Expired,
    /// The invite, or the node, was removed (2).
    #[error("the invite or the member was removed from the network")]
    Revoked,
    /// The invite has let in as many as it should (3).
    #[error("the invite is used up")]
    UsedUp,
    /// The node needs somebody with the network key, and this holder can only extend certificates (4).
    #[error("only a controller of the network can do this, and the holder asked is none")]
    NoController,
    /// No address is free in the subnet (5).
    #[error("no address is free in the network")]
    Full,
    /// Not now (6).
    #[error("the controller cannot answer now")]
    Later,
    /// Something that a newer version tells.
    #[error("the controller refuses, for a reason ({0}) that this farlan does not know")]
    Other(u8),
}

impl Application {
    /// Most bytes of an application: one with the largest credential, which has a name of its own.
    pub const MAX_SIZE: usize = 1 + 4 + 1 + Credential::MAX_SIZE;

    /// That of a node whose credential the holder knows.
    #[must_use]
    pub fn new(name: Option<DnsLabel>, ipv4: Option<Ipv4Addr>) -> Self {
        Self {
            name,
            ipv4,
            ground: Ground::Shown,
        }
    }

    /// The same from a node without a credential: it proves to hold the secret `key` of an invite, in the session with this
    /// handshake hash.
    ///
    /// # Errors
    /// A delegation of another key.
    #[must_use = "the application without the proof is not changed"]
    pub fn invited(
        self,
        key: &KeyPair,
        delegation: Delegation,
        node: &PublicKey,
        handshake_hash: &[u8; 64],
    ) -> Result<Self, DocumentError> {
        match delegation.fields().delegate {
            Delegate::Invite { key: invite, .. } if invite == key.public() => {}
            Delegate::Invite { .. } | Delegate::Renewer { .. } => return Err(DocumentError::WrongKey),
        }
        let message = proof_bytes(&delegation, node, handshake_hash);
        let signature = key.sign(PROOF_DOMAIN, &message);
        Ok(Self {
            ground: Ground::Invite(Box::new((delegation, signature))),
            ..self
        })
    }

    /// The same from a node with a certificate by the network key, which may have expired; the name in it goes before the one that is
    /// wished.
    ///
    /// # Errors
    /// A certificate by an invite.
    #[must_use = "the application without the credential is not changed"]
    pub fn certified(self, credential: Credential) -> Result<Self, DocumentError> {
        if credential.is_provisional() {
            return Err(DocumentError::Purpose);
        }
        let named = credential.certificate().fields().name.is_some();
        Ok(Self {
            name: self.name.filter(|_| !named),
            ground: Ground::Certificate(Box::new(credential)),
            ..self
        })
    }

    /// Reads and verifies what [`encode`](Self::encode) writes, from `node` in the session with this handshake hash.
    ///
    /// # Errors
    /// Anything that `encode` would not have written, and invites of other networks.
    pub fn decode(
        bytes: &[u8],
        network: &PrivateNetwork,
        node: &PublicKey,
        handshake_hash: &[u8; 64],
        work: Work,
    ) -> Result<Self, DocumentError> {
        let mut reader = Reader::new(bytes);
        let name = DnsLabel::decode_option(&mut reader)?;
        let ipv4 = read_ipv4(&mut reader)?;
        let ground = match reader.u8()? {
            0 => Ground::Shown,
            1 => {
                let delegation = Delegation::decode(&mut reader, network, work)?;
                let signature = Signature::from_bytes(reader.array()?);
                let message = proof_bytes(&delegation, node, handshake_hash);
                match delegation.fields().delegate {
                    Delegate::Invite { .. } if planted("document-unsigned") => {}
                    Delegate::Invite { key, .. } => key.verify(PROOF_DOMAIN, &message, &signature)?,
                    Delegate::Renewer { .. } => return Err(DocumentError::Purpose),
                }
                Ground::Invite(Box::new((delegation, signature)))
            }
            2 => {
                let credential = Credential::decode(reader.bytes(reader.remaining())?, network, work)?;
                let fields = credential.certificate().fields();
                if credential.is_provisional() || (name.is_some() && fields.name.is_some()) {
                    return Err(DocumentError::Purpose);
                }
                if fields.node != *node {
                    return Err(DocumentError::WrongKey);
                }
                Ground::Certificate(Box::new(credential))
            }
            other => return Err(DocumentError::Kind(other)),
        };
        reader.finish()?;
        Ok(Self { name, ipv4, ground })
    }

    /// The bytes drawn at the type.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(Self::MAX_SIZE);
        DnsLabel::encode_option(self.name.as_ref(), &mut out);
        out.extend_from_slice(&ipv4_bytes(self.ipv4));
        match &self.ground {
            Ground::Shown => out.push(0),
            Ground::Invite(invited) => {
                let (delegation, signature) = &**invited;
                out.push(1);
                delegation.encode(&mut out);
                out.extend_from_slice(signature.as_bytes());
            }
            Ground::Certificate(credential) => {
                out.push(2);
                out.extend_from_slice(&credential.encode());
            }
        }
        out
    }

    /// The invite that lets the node in.
    #[must_use]
    pub fn invite(&self) -> Option<&Delegation> {
        match &self.ground {
            Ground::Invite(invited) => Some(&invited.0),
            Ground::Shown | Ground::Certificate(_) => None,
        }
    }

    /// The node's certificate by the network key, whose signatures are good. It may have expired or been revoked.
    #[must_use]
    pub fn credential(&self) -> Option<&Credential> {
        match &self.ground {
            Ground::Certificate(credential) => Some(credential),
            Ground::Shown | Ground::Invite(_) => None,
        }
    }
}

impl Admission {
    /// The status byte, and the bytes to be sealed: the credential, or nothing.
    #[must_use]
    pub fn encode(&self) -> (u8, Vec<u8>) {
        match self {
            Self::Granted(credential) => (0, credential.encode()),
            Self::Refused(refusal) => (refusal.code(), Vec::new()),
        }
    }

    /// Reads and verifies what [`encode`](Self::encode) writes. The keys of nodes must carry `work`.
    ///
    /// # Errors
    /// As [`Credential::decode`]; bytes behind a refusal.
    pub fn decode(status: u8, bytes: &[u8], network: &PrivateNetwork, work: Work) -> Result<Self, DocumentError> {
        match Refusal::from_code(status) {
            None => Ok(Self::Granted(Box::new(Credential::decode(bytes, network, work)?))),
            Some(refusal) => {
                Reader::new(bytes).finish()?;
                Ok(Self::Refused(refusal))
            }
        }
    }
}

impl Refusal {
    /// The status byte that stands for it, which is not 0.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Expired => 1,
            Self::Revoked => 2,
            Self::UsedUp => 3,
            Self::NoController => 4,
            Self::Full => 5,
            Self::Later => 6,
            Self::Other(code) => code,
        }
    }

    /// That of a status byte; none for 0, with which a credential comes.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            0 => return None,
            1 => Self::Expired,
            2 => Self::Revoked,
            3 => Self::UsedUp,
            4 => Self::NoController,
            5 => Self::Full,
            6 => Self::Later,
            other => Self::Other(other),
        })
    }
}

/// What the invite's key signs for one node and session.
fn proof_bytes(delegation: &Delegation, node: &PublicKey, handshake_hash: &[u8; 64]) -> Vec<u8> {
    [delegation.network().as_bytes(), &node.as_bytes()[..], handshake_hash].concat()
}
