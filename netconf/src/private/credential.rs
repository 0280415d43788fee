//! Credentials: what a member shows, and whether it is good.

use std::net::Ipv4Addr;

use farlan_crypto::{Identity, KeyPair, PublicKey, Signature, Work, defects::planted};
use thiserror::Error;

use super::{
    Certificate, CertificateFields, Delegate, Delegation, DnsLabel, DocumentError, PrivateNetwork, Revocations, Rights,
    Seconds, Signer,
};
use crate::codec::Reader;

/// Separates signatures of extensions from all other signatures.
const EXTENSION_DOMAIN: &[u8] = b"farlan extension 1";

/// What a member shows to others: a certificate, extended or not. A value exists only with good signatures, back to the
/// network key.
///
/// Bytes:
/// ```text
/// certificate | extended 1 (0 or 1) | and if extended:
///     time 8 | expiry 8 | delegation of the renewer 138 | signature of the renewer 64
/// ```
/// The signature of the renewer is in the domain `"farlan extension 1"`, over all bytes before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    certificate: Certificate,
    extension: Option<Extension>,
}

/// Another expiry that a renewer gave to a certificate of the network key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extension {
    time: Seconds,
    expiry: Seconds,
    delegation: Delegation,
    signature: Signature,
}

/// What the holder of a valid credential is in the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// What it may do.
    pub rights: Rights,
    /// Its address, if one was given.
    pub ipv4: Option<Ipv4Addr>,
    /// What it is called.
    pub name: Option<DnsLabel>,
    /// Whether an invite let it in and no holder has given it a certificate yet.
    pub provisional: bool,
    /// From when on the credential is not valid any more.
    pub expiry: Seconds,
}

/// Why a credential is not valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Invalid {
    /// It is of another network.
    #[error("the credential belongs to another network")]
    OtherNetwork,
    /// It is another node's.
    #[error("the credential belongs to another node")]
    OtherNode,
    /// Its time is over.
    #[error("the credential has expired")]
    Expired,
    /// The node was removed from the network.
    #[error("the member was removed from the network")]
    MemberRevoked,
    /// What the invite or renewer signed that stands in it does not count any more.
    #[error("the invite or renewer in the credential was revoked")]
    DelegationRevoked,
}

impl Credential {
    /// Most bytes of a credential: a certificate of the network key with the longest name, extended.
    pub const MAX_SIZE: usize =
        79 + DnsLabel::MAX_LENGTH + Signature::LENGTH + 1 + 16 + Delegation::LENGTH + Signature::LENGTH;

    /// A certificate by the network key, not extended.
    ///
    /// # Errors
    /// As [`Certificate::by_network`].
    pub fn by_network(
        network: &PrivateNetwork,
        key: &KeyPair,
        fields: CertificateFields,
    ) -> Result<Self, DocumentError> {
        Certificate::by_network(network, key, fields).map(Self::from)
    }

    /// A provisional certificate by an invite, with all rights that the invite gives.
    ///
    /// # Errors
    /// As [`Certificate::by_invite`].
    pub fn by_invite(
        network: &PrivateNetwork,
        key: &KeyPair,
        delegation: Delegation,
        node: PublicKey,
        name: Option<DnsLabel>,
        time: Seconds,
    ) -> Result<Self, DocumentError> {
        let rights = delegation.fields().rights;
        Certificate::by_invite(network, key, delegation, node, rights, name, time).map(Self::from)
    }

    /// The certificate with another expiry, by `renewer` to whom `delegation` belongs; an extension that is there already is
    /// replaced. It begins at `time` and lives as long as the delegation allows, at most for `life` seconds.
    ///
    /// # Errors
    /// A provisional certificate, and a delegation of another key or network.
    pub fn extend(
        &self,
        renewer: &Identity,
        delegation: Delegation,
        time: Seconds,
        life: u32,
    ) -> Result<Self, DocumentError> {
        match delegation.fields().delegate {
            Delegate::Renewer { node } if node == renewer.public() => {}
            Delegate::Invite { .. } | Delegate::Renewer { .. } => return Err(DocumentError::WrongKey),
        }
        let mut extension = Extension {
            time,
            expiry: delegation.latest_expiry(time).min(time.plus(life.into())),
            delegation,
            signature: Signature::from_bytes([0; 64]),
        };
        check(&self.certificate, &extension)?;
        let bytes = signed_bytes(&self.certificate, &extension);
        extension.signature = renewer.sign(EXTENSION_DOMAIN, &bytes);
        Ok(Self {
            certificate: self.certificate.clone(),
            extension: Some(extension),
        })
    }

    /// Reads and verifies what [`encode`](Self::encode) writes. The keys of nodes must carry `work`.
    ///
    /// # Errors
    /// Anything that `encode` would not have written, and credentials of other networks.
    pub fn decode(bytes: &[u8], network: &PrivateNetwork, work: Work) -> Result<Self, DocumentError> {
        if bytes.len() > Self::MAX_SIZE {
            return Err(DocumentError::Size {
                size: bytes.len(),
                most: Self::MAX_SIZE,
            });
        }
        let mut reader = Reader::new(bytes);
        let certificate = Certificate::decode(&mut reader, network, work)?;
        let extension = match reader.u8()? {
            0 => None,
            1 => {
                let extension = Extension::decode(&mut reader, network, work)?;
                check(&certificate, &extension)?;
                let signed = &bytes[..bytes.len() - reader.remaining() - Signature::LENGTH];
                extension.verify(signed)?;
                Some(extension)
            }
            other => return Err(DocumentError::Kind(other)),
        };
        reader.finish()?;
        Ok(Self { certificate, extension })
    }

    /// The bytes drawn at the type.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match &self.extension {
            None => {
                let mut out = Vec::with_capacity(Self::MAX_SIZE);
                self.certificate.encode(&mut out);
                out.push(0);
                out
            }
            Some(extension) => {
                let mut out = signed_bytes(&self.certificate, extension);
                out.extend_from_slice(extension.signature.as_bytes());
                out
            }
        }
    }

    /// Whether it is valid for `network` and `node` at the time `now`, as [`now`](super::now) makes it.
    ///
    /// # Errors
    /// Why it is not.
    pub fn check(
        &self,
        network: &PrivateNetwork,
        node: &PublicKey,
        now: Seconds,
        revocations: &Revocations,
    ) -> Result<Standing, Invalid> {
        let fields = self.certificate.fields();
        if self.certificate.network() != network.id() {
            return Err(Invalid::OtherNetwork);
        }
        if fields.node != *node && !planted("credential-of-anybody") {
            return Err(Invalid::OtherNode);
        }
        if now >= self.expiry() && !planted("expiry-ignored") {
            return Err(Invalid::Expired);
        }
        revocations.check(self)?;
        Ok(Standing {
            rights: fields.rights,
            ipv4: fields.ipv4,
            name: fields.name.clone(),
            provisional: self.is_provisional(),
            expiry: self.expiry(),
        })
    }

    /// The certificate, whose expiry counts only if it is not extended.
    #[must_use]
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// The extension.
    #[must_use]
    pub fn extension(&self) -> Option<&Extension> {
        self.extension.as_ref()
    }

    /// The delegations in it: that of the invite or of the renewer.
    pub fn delegations(&self) -> impl Iterator<Item = &Delegation> {
        let invite = match self.certificate.signer() {
            Signer::Network => None,
            Signer::Invite(delegation) => Some(delegation),
        };
        let renewer = self.extension.as_ref().map(|extension| &extension.delegation);
        invite.into_iter().chain(renewer)
    }

    /// Whether it has to be exchanged for one of the network key.
    #[must_use]
    pub fn is_provisional(&self) -> bool {
        self.certificate.is_provisional()
    }

    /// When what is in force of it began.
    #[must_use]
    pub fn time(&self) -> Seconds {
        self.extension
            .as_ref()
            .map_or_else(|| self.certificate.fields().time, |e| e.time)
    }

    /// From when on it is not valid any more.
    #[must_use]
    pub fn expiry(&self) -> Seconds {
        self.extension
            .as_ref()
            .map_or_else(|| self.certificate.fields().expiry, |e| e.expiry)
    }

    /// Whether its holder should ask for another: it is provisional, or past half of its life.
    #[must_use]
    pub fn needs_renewal(&self, now: Seconds) -> bool {
        self.is_provisional() || self.life_left(now) <= self.expiry().since(self.time()) / 2
    }

    /// The seconds until it expires.
    #[must_use]
    pub fn life_left(&self, now: Seconds) -> u64 {
        self.expiry().since(now)
    }

    /// The newest time in it that the network key signed, for [`now`](super::now).
    #[must_use]
    pub fn newest_signed(&self) -> Seconds {
        let certificate = match self.certificate.signer() {
            Signer::Network => Some(self.certificate.fields().time),
            Signer::Invite(_) => None,
        };
        let delegations = self.delegations().map(|delegation| delegation.fields().time);
        delegations.chain(certificate).max().unwrap_or_default()
    }
}

impl From<Certificate> for Credential {
    fn from(certificate: Certificate) -> Self {
        Self {
            certificate,
            extension: None,
        }
    }
}

impl Extension {
    /// When it was signed.
    #[must_use]
    pub fn time(&self) -> Seconds {
        self.time
    }

    /// The expiry that it gives.
    #[must_use]
    pub fn expiry(&self) -> Seconds {
        self.expiry
    }

    /// What lets the renewer sign it.
    #[must_use]
    pub fn delegation(&self) -> &Delegation {
        &self.delegation
    }

    fn decode(reader: &mut Reader<'_>, network: &PrivateNetwork, work: Work) -> Result<Self, DocumentError> {
        Ok(Self {
            time: Seconds::new(reader.u64()?),
            expiry: Seconds::new(reader.u64()?),
            delegation: Delegation::decode(reader, network, work)?,
            signature: Signature::from_bytes(reader.array()?),
        })
    }

    fn verify(&self, signed: &[u8]) -> Result<(), DocumentError> {
        match self.delegation.fields().delegate {
            Delegate::Renewer { .. } if planted("document-unsigned") => Ok(()),
            Delegate::Renewer { node } => Ok(node.verify(EXTENSION_DOMAIN, signed, &self.signature)?),
            Delegate::Invite { .. } => Err(DocumentError::Purpose),
        }
    }
}

/// The rules that hold for the content of every extension.
fn check(certificate: &Certificate, extension: &Extension) -> Result<(), DocumentError> {
    if certificate.is_provisional() && !planted("provisional-extended") {
        return Err(DocumentError::NotExtendable);
    }
    if extension.delegation.network() != certificate.network() {
        return Err(DocumentError::OtherNetwork);
    }
    if let Delegate::Invite { .. } = extension.delegation.fields().delegate {
        return Err(DocumentError::Purpose);
    }
    if extension.expiry <= extension.time {
        return Err(DocumentError::Times);
    }
    extension.delegation.allows(extension.time, extension.expiry)
}

/// All that the renewer signs.
fn signed_bytes(certificate: &Certificate, extension: &Extension) -> Vec<u8> {
    let mut out = Vec::with_capacity(Credential::MAX_SIZE);
    certificate.encode(&mut out);
    out.push(1);
    out.extend_from_slice(&extension.time.get().to_be_bytes());
    out.extend_from_slice(&extension.expiry.get().to_be_bytes());
    extension.delegation.encode(&mut out);
    out
}
