//! Why bytes are not a document of a private network.

use farlan_crypto::aead::OpenError;
use farlan_crypto::{BadSignature, KeyError};
use thiserror::Error;

use super::dns_label::DnsLabelError;
use crate::codec::CodecError;
use crate::link::LabelError;
use crate::network::ParametersError;

/// Why bytes are not a document of a private network, or one cannot be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum DocumentError {
    /// The bytes are cut, or bytes follow the end.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// The document is larger than any of its sort.
    #[error("the document has {size} bytes; it has at most {most}")]
    Size {
        /// Its bytes.
        size: usize,
        /// The most that it may have.
        most: usize,
    },
    /// A byte that says what follows has no meaning.
    #[error("the document is of kind {0}, which this farlan does not know; it may need a newer one")]
    Kind(u8),
    /// The parameters are those of a network known by name or link.
    #[error("the document is of no private network")]
    NotPrivate,
    /// The document is one of another network.
    #[error("the document belongs to another network")]
    OtherNetwork,
    /// Somebody signs with a key that is not the one the document needs.
    #[error("this key cannot sign the document")]
    WrongKey,
    /// A key in it is not acceptable.
    #[error("a key in the document is not acceptable: {0}")]
    Key(#[from] KeyError),
    /// A signature is wrong.
    #[error("a signature of the document is wrong")]
    Signature(#[from] BadSignature),
    /// The parameters of the network break a rule.
    #[error("the network in the document is bad: {0}")]
    Parameters(ParametersError),
    /// The label of the network breaks a rule.
    #[error("the label in the document is bad: {0}")]
    Label(#[from] LabelError),
    /// A name or a domain breaks a rule.
    #[error("a name in the document is bad: {0}")]
    Name(#[from] DnsLabelError),
    /// Configs count from 1.
    #[error("the counters of a network's configs count from 1")]
    Counter,
    /// A life of 0 seconds, or that of an invite above 7 days.
    #[error("certificates live for a second at least, those of invites for 7 days at most")]
    Life,
    /// It would expire before it begins.
    #[error("the document expires before it begins")]
    Times,
    /// Bits that are no right.
    #[error("the document gives rights that are not known; it may need a newer farlan")]
    Rights,
    /// More rights than the delegation has to give.
    #[error("the document gives more rights than its delegation has")]
    MoreRights,
    /// A renewer's delegation that gives rights or is counted.
    #[error("a renewer gives no rights, and its uses are not counted")]
    Renewer,
    /// A certificate by an invite whose uses are counted.
    #[error("an invite whose uses are counted signs no certificates; a controller does")]
    Counted,
    /// What a delegate signed begins before its delegation, or lives longer than that allows.
    #[error("the document begins earlier or lives longer than its delegation allows")]
    Lifetime,
    /// A delegation for another purpose, for example that of a renewer for a certificate.
    #[error("the delegation in the document is for another purpose")]
    Purpose,
    /// The certificate is not signed by whom it should be.
    #[error("only certificates of the network key are extended")]
    NotExtendable,
    /// The issue is 0 for the network key, or another for an invite.
    #[error("certificates of the network key are numbered from 1, those of invites have the number 0")]
    Issue,
    /// The address is not a host of the subnet, or an invite gives one.
    #[error("the address is none that the document can give")]
    Address,
    /// A config with 0 or more than 8 seeds.
    #[error("a config has 1 to 8 seeds, not {0}")]
    Seeds(usize),
    /// A config with more than 16 holders.
    #[error("a config has at most 16 holders, not {0}")]
    Holders(usize),
    /// Something stands twice in a list.
    #[error("a seed or a key stands twice in the document")]
    Repeated,
    /// The revocations are not in their order, or one stands twice.
    #[error("the revocations are not in order")]
    Order,
    /// More than 4,096 revocations.
    #[error("a network has at most 4096 revocations, not {0}")]
    Revocations(usize),
    /// Versions of sealed documents count from 1.
    #[error("the versions of a sealed document count from 1")]
    Version,
    /// The document is not sealed for this network and secret.
    #[error("the document cannot be opened with the secret of this network")]
    Sealed,
    /// Bytes that fill up a sealed message are not zero.
    #[error("the sealed message is not in its canonical form")]
    Fill,
}

impl From<ParametersError> for DocumentError {
    fn from(error: ParametersError) -> Self {
        match error {
            ParametersError::Codec(error) => Self::Codec(error),
            other => Self::Parameters(other),
        }
    }
}

impl From<OpenError> for DocumentError {
    fn from(_: OpenError) -> Self {
        Self::Sealed
    }
}
