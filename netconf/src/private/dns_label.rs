//! Names that can stand in the DNS: those of members, and the domains of networks.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use crate::codec::Reader;

/// One label of a domain name: 1 to 32 of `a-z`, `0-9` and `-`, no hyphen at its ends.
///
/// Upper case is folded when parsing and refused in documents.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DnsLabel(String);

/// Why a text is not a DNS label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum DnsLabelError {
    /// The label is empty.
    #[error("a name needs at least one character")]
    Empty,
    /// The label is longer than 32 characters.
    #[error("a name has at most 32 characters, this one has {0}")]
    TooLong(usize),
    /// The label contains a character that is not allowed.
    #[error("a name consists of a-z, 0-9 and '-'; {0:?} is not allowed")]
    Character(char),
    /// There is a hyphen at an end.
    #[error("a name begins and ends with a letter or a digit")]
    Hyphen,
    /// The label in a document is not in lower case, or not in ASCII.
    #[error("the name is not in its canonical form")]
    Form,
}

impl DnsLabel {
    /// Most characters (and bytes) of a label.
    pub const MAX_LENGTH: usize = 32;

    /// The label written as `text`, folded to lower case.
    ///
    /// # Errors
    /// A [`DnsLabelError`] naming a rule that `text` breaks.
    pub fn parse(text: &str) -> Result<Self, DnsLabelError> {
        if text.is_empty() {
            return Err(DnsLabelError::Empty);
        }
        if let Some(other) = text.chars().find(|c| !c.is_ascii_alphanumeric() && *c != '-') {
            return Err(DnsLabelError::Character(other));
        }
        if text.len() > Self::MAX_LENGTH {
            return Err(DnsLabelError::TooLong(text.len()));
        }
        if text.starts_with('-') || text.ends_with('-') {
            return Err(DnsLabelError::Hyphen);
        }
        Ok(Self(text.to_ascii_lowercase()))
    }

    /// The label that comes nearest to `text`, for example to a host name: what is not allowed becomes a hyphen, and what is
    /// too long is cut. None if nothing remains.
    #[must_use]
    pub fn nearest(text: &str) -> Option<Self> {
        let mut label = String::new();
        for c in text.chars() {
            match c.to_ascii_lowercase() {
                c @ ('a'..='z' | '0'..='9') => label.push(c),
                _ if label.is_empty() || label.ends_with('-') => {}
                _ => label.push('-'),
            }
        }
        label.truncate(Self::MAX_LENGTH);
        label.truncate(label.trim_end_matches('-').len());
        (!label.is_empty()).then_some(Self(label))
    }

    /// The label with `-number` behind it, its end cut off where that is too long: for the second of one name and later.
    #[must_use]
    pub fn numbered(&self, number: u32) -> Self {
        let suffix = format!("-{number}");
        let mut label = self.0.clone();
        label.truncate(Self::MAX_LENGTH - suffix.len());
        label.truncate(label.trim_end_matches('-').len());
        label.push_str(&suffix);
        Self(label)
    }

    /// The label in lower case.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Appends a length byte and the label.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        Self::encode_option(Some(self), out);
    }

    /// The same; none is of length 0.
    pub(crate) fn encode_option(label: Option<&Self>, out: &mut Vec<u8>) {
        let text = label.map_or("", Self::as_str);
        // A label has at most 32 bytes.
        out.push(text.len() as u8);
        out.extend_from_slice(text.as_bytes());
    }

    /// Reads what [`encode`](Self::encode) writes.
    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, super::DocumentError> {
        Self::decode_option(reader)?.ok_or_else(|| DnsLabelError::Empty.into())
    }

    /// Reads what [`encode_option`](Self::encode_option) writes.
    pub(crate) fn decode_option(reader: &mut Reader<'_>) -> Result<Option<Self>, super::DocumentError> {
        let bytes = reader.short_bytes()?;
        if bytes.is_empty() {
            return Ok(None);
        }
        let text = std::str::from_utf8(bytes).map_err(|_| DnsLabelError::Form)?;
        let label = Self::parse(text)?;
        if label.0 == text {
            Ok(Some(label))
        } else {
            Err(DnsLabelError::Form.into())
        }
    }
}

impl FromStr for DnsLabel {
    type Err = DnsLabelError;

    fn from_str(text: &str) -> Result<Self, DnsLabelError> {
        Self::parse(text)
    }
}

impl fmt::Display for DnsLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}
