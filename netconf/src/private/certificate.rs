//! Certificates: that a node is a member.

use std::net::Ipv4Addr;

use farlan_crypto::{KeyPair, PublicKey, Signature, Work, defects::planted};

use super::{Delegate, Delegation, DnsLabel, DocumentError, PrivateNetwork, Rights, Seconds, ipv4_bytes, read_ipv4};
use crate::codec::Reader;
use crate::network::NetworkId;

/// Separates signatures of certificates from all other signatures.
const SIGNATURE_DOMAIN: &[u8] = b"farlan certificate 1";

/// The signer byte of a certificate by the network key.
const SIGNER_NETWORK: u8 = 0;
/// The signer byte of a certificate by an invite.
const SIGNER_INVITE: u8 = 1;

/// That a node is a member of a private network. A value exists only with good signatures, back to the network key.
///
/// Bytes:
/// ```text
/// network id 16 | node's key 32 | rights 1 | IPv4 4 | issue 8 | time 8 | expiry 8 | length of the name 1 | name | signer 1 |
/// signer 0, network key: signature 64
/// signer 1, invite: delegation 138 | signature of the invite's key 64
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    network: NetworkId,
    fields: CertificateFields,
    signer: Signer,
    signature: Signature,
}

/// What a certificate says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFields {
    /// The key of the member.
    pub node: PublicKey,
    /// What it may do.
    pub rights: Rights,
    /// Its address, a host of the network's subnet; none by an invite.
    pub ipv4: Option<Ipv4Addr>,
    /// The number of the certificate: from 1 by the network key, 0 by an invite.
    pub issue: u64,
    /// When it begins.
    pub time: Seconds,
    /// When it ends; behind `time`.
    pub expiry: Seconds,
    /// What the member is called.
    pub name: Option<DnsLabel>,
}

/// Who signed a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signer {
    /// The network key.
    Network,
    /// An invite: the certificate is provisional.
    Invite(Delegation),
}

impl Certificate {
    /// Most bytes of a certificate: one by an invite with the longest name.
    pub const MAX_SIZE: usize = 79 + DnsLabel::MAX_LENGTH + Delegation::LENGTH + Signature::LENGTH;

    /// Makes a certificate by the network key.
    ///
    /// # Errors
    /// A key that is not the network's, and anything outside the ranges at [`CertificateFields`].
    pub fn by_network(
        network: &PrivateNetwork,
        key: &KeyPair,
        fields: CertificateFields,
    ) -> Result<Self, DocumentError> {
        network.expect_key(key)?;
        Self::sign(network, key, Signer::Network, fields)
    }

    /// Makes a provisional certificate by the invite to which `key` and `delegation` belong. It begins at `time` (see
    /// [`Delegation::start`]) and lives as long as the invite allows.
    ///
    /// # Errors
    /// A delegation of another key or network, one whose uses are counted, and rights that it does not have.
    pub fn by_invite(
        network: &PrivateNetwork,
        key: &KeyPair,
        delegation: Delegation,
        node: PublicKey,
        rights: Rights,
        name: Option<DnsLabel>,
        time: Seconds,
    ) -> Result<Self, DocumentError> {
        match delegation.fields().delegate {
            Delegate::Invite { key: invite, .. } if invite == key.public() => {}
            Delegate::Invite { .. } | Delegate::Renewer { .. } => return Err(DocumentError::WrongKey),
        }
        let fields = CertificateFields {
            node,
            rights,
            ipv4: None,
            issue: 0,
            time,
            expiry: delegation.latest_expiry(time),
            name,
        };
        Self::sign(network, key, Signer::Invite(delegation), fields)
    }

    fn sign(
        network: &PrivateNetwork,
        key: &KeyPair,
        signer: Signer,
        fields: CertificateFields,
    ) -> Result<Self, DocumentError> {
        check(network, &fields, &signer)?;
        let mut certificate = Self {
            network: network.id(),
            fields,
            signer,
            signature: Signature::from_bytes([0; 64]),
        };
        certificate.signature = key.sign(SIGNATURE_DOMAIN, &certificate.signed_bytes());
        Ok(certificate)
    }

    /// Reads and verifies what [`encode`](Self::encode) writes; bytes behind it are left in the reader. The keys of nodes must
    /// carry `work`.
    ///
    /// # Errors
    /// Anything that `encode` would not have written, and certificates of other networks.
    pub fn decode(reader: &mut Reader<'_>, network: &PrivateNetwork, work: Work) -> Result<Self, DocumentError> {
        let mut start = reader.clone();
        if NetworkId::from_bytes(reader.array()?) != network.id() {
            return Err(DocumentError::OtherNetwork);
        }
        let fields = CertificateFields::decode(reader, work)?;
        let signer = match reader.u8()? {
            SIGNER_NETWORK => Signer::Network,
            SIGNER_INVITE => Signer::Invite(Delegation::decode(reader, network, work)?),
            other => return Err(DocumentError::Kind(other)),
        };
        let signed = start.bytes(start.remaining() - reader.remaining())?;
        let signature = Signature::from_bytes(reader.array()?);
        check(network, &fields, &signer)?;
        match &signer {
            Signer::Network => network.verify(SIGNATURE_DOMAIN, signed, &signature)?,
            Signer::Invite(delegation) => match delegation.fields().delegate {
                Delegate::Invite { .. } if planted("document-unsigned") => {}
                Delegate::Invite { key, .. } => key.verify(SIGNATURE_DOMAIN, signed, &signature)?,
                Delegate::Renewer { .. } => return Err(DocumentError::Purpose),
            },
        }
        Ok(Self {
            network: network.id(),
            fields,
            signer,
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
    pub fn fields(&self) -> &CertificateFields {
        &self.fields
    }

    /// Who signed it.
    #[must_use]
    pub fn signer(&self) -> &Signer {
        &self.signer
    }

    /// The network that it is of.
    #[must_use]
    pub fn network(&self) -> NetworkId {
        self.network
    }

    /// Whether an invite signed it, so that it has to be exchanged for one of the network key.
    #[must_use]
    pub fn is_provisional(&self) -> bool {
        matches!(self.signer, Signer::Invite(_))
    }

    fn signed_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(Self::MAX_SIZE);
        out.extend_from_slice(self.network.as_bytes());
        let Self { fields, .. } = self;
        out.extend_from_slice(fields.node.as_bytes());
        out.push(fields.rights.bits());
        out.extend_from_slice(&ipv4_bytes(fields.ipv4));
        out.extend_from_slice(&fields.issue.to_be_bytes());
        out.extend_from_slice(&fields.time.get().to_be_bytes());
        out.extend_from_slice(&fields.expiry.get().to_be_bytes());
        DnsLabel::encode_option(fields.name.as_ref(), &mut out);
        match &self.signer {
            Signer::Network => out.push(SIGNER_NETWORK),
            Signer::Invite(delegation) => {
                out.push(SIGNER_INVITE);
                delegation.encode(&mut out);
            }
        }
        out
    }
}

impl CertificateFields {
    fn decode(reader: &mut Reader<'_>, work: Work) -> Result<Self, DocumentError> {
        Ok(Self {
            node: PublicKey::from_bytes(&reader.array()?, work)?,
            rights: Rights::from_bits(reader.u8()?)?,
            ipv4: read_ipv4(reader)?,
            issue: reader.u64()?,
            time: Seconds::new(reader.u64()?),
            expiry: Seconds::new(reader.u64()?),
            name: DnsLabel::decode_option(reader)?,
        })
    }
}

/// The rules that hold for the content of every certificate.
fn check(network: &PrivateNetwork, fields: &CertificateFields, signer: &Signer) -> Result<(), DocumentError> {
    if fields.expiry <= fields.time {
        return Err(DocumentError::Times);
    }
    if fields.ipv4.is_some_and(|address| !network.subnet().is_host(address)) {
        return Err(DocumentError::Address);
    }
    let Signer::Invite(delegation) = signer else {
        return if fields.issue == 0 {
            Err(DocumentError::Issue)
        } else {
            Ok(())
        };
    };
    match delegation.fields().delegate {
        Delegate::Invite { uses: 0, .. } => {}
        Delegate::Invite { .. } => return Err(DocumentError::Counted),
        Delegate::Renewer { .. } => return Err(DocumentError::Purpose),
    }
    if delegation.network() != network.id() {
        return Err(DocumentError::OtherNetwork);
    }
    if fields.issue != 0 {
        return Err(DocumentError::Issue);
    }
    if fields.ipv4.is_some() {
        return Err(DocumentError::Address);
    }
    if !delegation.fields().rights.include(fields.rights) && !planted("rights-grow") {
        return Err(DocumentError::MoreRights);
    }
    delegation.allows(fields.time, fields.expiry)
}
