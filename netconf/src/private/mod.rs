//! The documents of private networks: who is a member, for how long, and how that is found out.
//!
//! ```text
//! network key ─ signs ─ config          what the network is like, and its secret
//!                     ─ certificate     a node is a member
//!                     ─ delegation ─ of an invite  ─ signs ─ provisional certificate
//!                                  ─ of a renewer  ─ signs ─ extension of a certificate
//!                     ─ revocation      a certificate or a delegation is void
//! ```
//!
//! A value of these types exists only with good signatures, back to the network key: a decoder verifies them. What
//! changes with time, expiry and revocations, is asked again and again: [`Credential::check`].
//!
//! Times are [`Seconds`] since 1970. All documents are canonical.

mod application;
mod certificate;
mod config;
mod credential;
mod delegation;
mod dns_label;
mod error;
mod exported;
mod revocation;
mod sealed;
mod seconds;
mod seed;
mod session;

pub use application::{Admission, Application, Refusal};
pub use certificate::{Certificate, CertificateFields, Signer};
pub use config::{Config, ConfigFields, ConfigOrder};
pub use credential::{Credential, Extension, Invalid, Standing};
pub use delegation::{Delegate, Delegation, DelegationFields};
pub use dns_label::{DnsLabel, DnsLabelError};
pub use error::DocumentError;
pub use exported::{ExportedKey, ExportedKeyError};
pub use revocation::{Revocation, Revocations, Revoked};
pub use sealed::{SealedDocument, document_key};
pub use seconds::{Seconds, now};
pub use seed::NetworkSeed;
pub use session::{Purpose, SEALED};

use std::net::Ipv4Addr;

use farlan_crypto::{BadSignature, KeyPair, Signature, VerifyingKey, defects::planted};

use crate::codec::{CodecError, Reader};
use crate::network::{Kind, NetworkId, Parameters};
use crate::subnet::Subnet;

/// What of a private network's parameters its documents are checked against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrivateNetwork {
    id: NetworkId,
    key: VerifyingKey,
    subnet: Subnet,
}

/// What a member may do beyond speaking for itself: a set, one bit each.
///
/// Bit 0 is the right to bridge. The others have no meaning yet and are refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rights(u8);

impl PrivateNetwork {
    /// That of these parameters, if they are a private network's.
    #[must_use]
    pub fn of(parameters: &Parameters) -> Option<Self> {
        match parameters.kind {
            Kind::Private { key } => Some(Self {
                id: parameters.id(),
                key,
                subnet: parameters.subnet,
            }),
            Kind::Name { .. } | Kind::Link { .. } => None,
        }
    }

    /// The id of the network.
    #[must_use]
    pub fn id(&self) -> NetworkId {
        self.id
    }

    /// The network key.
    #[must_use]
    pub fn key(&self) -> &VerifyingKey {
        &self.key
    }

    /// The range of its IPv4 addresses.
    #[must_use]
    pub fn subnet(&self) -> &Subnet {
        &self.subnet
    }

    /// Verifies a signature of the network key.
    fn verify(&self, domain: &[u8], message: &[u8], signature: &Signature) -> Result<(), BadSignature> {
        if planted("document-unsigned") {
            return Ok(());
        }
        self.key.verify(domain, message, signature)
    }

    /// Whether `pair` is the network's.
    fn expect_key(&self, pair: &KeyPair) -> Result<(), DocumentError> {
        if pair.public() == self.key {
            Ok(())
        } else {
            Err(DocumentError::WrongKey)
        }
    }
}

impl Rights {
    /// No rights beyond those of every member.
    pub const NONE: Self = Self(0);
    /// Frames of machines behind the member pass through it.
    pub const BRIDGE: Self = Self(1);
    /// All that there are.
    pub const ALL: Self = Self(1);

    /// Whether all of `other` are among these.
    #[must_use]
    pub const fn include(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Those that are in both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// The byte that stands for them.
    #[must_use]
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// The rights of that byte.
    ///
    /// # Errors
    /// [`DocumentError::Rights`] for bits without a meaning.
    pub fn from_bits(bits: u8) -> Result<Self, DocumentError> {
        if Self::ALL.include(Self(bits)) {
            Ok(Self(bits))
        } else {
            Err(DocumentError::Rights)
        }
    }
}

/// Splits a document into what its signature covers and the signature.
fn split_signature(bytes: &[u8]) -> Result<(&[u8], Signature), CodecError> {
    let (signed, signature) = bytes
        .split_last_chunk::<{ Signature::LENGTH }>()
        .ok_or(CodecError::Truncated)?;
    Ok((signed, Signature::from_bytes(*signature)))
}

/// An IPv4 address or, as 0.0.0.0, none.
fn read_ipv4(reader: &mut Reader<'_>) -> Result<Option<Ipv4Addr>, CodecError> {
    let address = Ipv4Addr::from(reader.array::<4>()?);
    Ok(Some(address).filter(|address| !address.is_unspecified()))
}

/// The 4 bytes of an address, or 0.0.0.0 for none.
fn ipv4_bytes(address: Option<Ipv4Addr>) -> [u8; 4] {
    address.unwrap_or(Ipv4Addr::UNSPECIFIED).octets()
}

#[cfg(test)]
mod tests;
