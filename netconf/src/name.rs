//! Names of open networks.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// The name of an open network: 1 to 32 of `a-z`, `0-9`, `-`, `_`, `.`, starting with a letter or a digit.
///
/// Upper case is folded when parsing, since names are told by mouth. The name is part of the network id, so two people
/// who write it differently would meet nobody.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NetworkName(String);

/// Why a text is not the name of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NameError {
    /// The name is empty.
    #[error("a network name needs at least one character")]
    Empty,
    /// The name is longer than 32 characters.
    #[error(
        "a network name has at most 32 characters, this one has {0}; if this is a link, it begins with \"farlan:\""
    )]
    TooLong(usize),
    /// The name starts with `-`, `_` or `.`.
    #[error("a network name starts with a letter or a digit, not with {0:?}")]
    Start(char),
    /// The name contains a character that is not allowed.
    #[error("a network name consists of a-z, 0-9, '-', '_' and '.'; {0:?} is not allowed{hint}", hint = link_hint(*.0))]
    Character(char),
}

impl NetworkName {
    /// Most characters (and bytes) of a name.
    pub const MAX_LENGTH: usize = 32;

    /// The name written as `text`, folded to lower case.
    ///
    /// # Errors
    /// A [`NameError`] naming the first rule that `text` breaks.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let first = text.chars().next().ok_or(NameError::Empty)?;
        let allowed = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if let Some(other) = text.chars().find(|c| !allowed(c)) {
            return Err(NameError::Character(other));
        }
        if !first.is_ascii_alphanumeric() {
            return Err(NameError::Start(first));
        }
        if text.len() > Self::MAX_LENGTH {
            return Err(NameError::TooLong(text.len()));
        }
        Ok(Self(text.to_ascii_lowercase()))
    }

    /// The name in lower case.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for NetworkName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::parse(text)
    }
}

impl fmt::Display for NetworkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// What to add for somebody who may have meant a link, which names never look like.
fn link_hint(refused: char) -> &'static str {
    match refused {
        ':' => "; if this is a link, it begins with \"farlan:\"",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_and_folded() {
        let long = "a".repeat(32);
        let too_long = "a".repeat(33);
        let cases: &[(&str, Result<&str, NameError>)] = &[
            ("earth", Ok("earth")),
            ("London-2.west_end", Ok("london-2.west_end")),
            ("7", Ok("7")),
            (&long, Ok(&long)),
            (&too_long, Err(NameError::TooLong(33))),
            ("", Err(NameError::Empty)),
            ("-a", Err(NameError::Start('-'))),
            (".", Err(NameError::Start('.'))),
            ("_x", Err(NameError::Start('_'))),
            ("a b", Err(NameError::Character(' '))),
            ("earth@", Err(NameError::Character('@'))),
            ("zürich", Err(NameError::Character('ü'))),
            // Folding is ASCII only: the Kelvin sign is no k.
            ("\u{212a}", Err(NameError::Character('\u{212a}'))),
            ("a\n", Err(NameError::Character('\n'))),
        ];
        for (text, expected) in cases {
            let name = NetworkName::parse(text);
            assert_eq!(
                name.as_ref().map(NetworkName::as_str),
                expected.as_ref().copied(),
                "{text:?}"
            );
        }
    }

    #[test]
    fn texts_that_may_be_links_get_a_hint() {
        let long = "A".repeat(300);
        for (text, hinted) in [
            ("FARLAN:AQIC", true),
            ("arlan:AQIC", true),
            (&long, true),
            ("a b", false),
        ] {
            let message = NetworkName::parse(text).unwrap_err().to_string();
            assert_eq!(message.contains("it begins with \"farlan:\""), hinted, "{message}");
        }
    }
}
