//! Labels of the DNS, as machines and networks are called by them.

use std::fmt;

/// What a machine or a network is called in the DNS: `a-z 0-9 -`, 1 to 32 characters, no hyphen at its ends.
///
/// RFC 1035 allows 63 characters; the rest is room for what tells namesakes apart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DnsLabel(String);

/// A text that is no [`DnsLabel`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} cannot be a name in the DNS: 1 to 32 letters a-z, digits and hyphens, and no hyphen at its ends")]
pub struct DnsLabelError(String);

impl DnsLabel {
    /// Most characters.
    pub const MAX_LENGTH: usize = 32;

    /// The label written as `text`, exactly.
    ///
    /// # Errors
    /// It is none.
    pub fn parse(text: &str) -> Result<Self, DnsLabelError> {
        let fits = (1..=Self::MAX_LENGTH).contains(&text.len());
        let plain = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
        if fits && text.bytes().all(plain) && !text.starts_with('-') && !text.ends_with('-') {
            return Ok(Self(text.to_owned()));
        }
        // What comes from elsewhere is shown, but not all of it.
        Err(DnsLabelError(text.chars().take(Self::MAX_LENGTH * 2).collect()))
    }

    /// What of `text` can be a label: small letters, and a hyphen for each run of other characters, cut to the length. Nothing
    /// if there is no letter or digit in it.
    pub fn like(text: &str) -> Option<Self> {
        let mut label = String::new();
        for c in text.chars() {
            if c.is_ascii_alphanumeric() {
                label.push(c.to_ascii_lowercase());
            } else if !label.is_empty() && !label.ends_with('-') {
                label.push('-');
            }
        }
        label.truncate(Self::MAX_LENGTH);
        let label = label.trim_end_matches('-');
        (!label.is_empty()).then(|| Self(label.to_owned()))
    }

    /// Its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for DnsLabel {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_short_and_plain() {
        for good in ["a", "0", "ben-s-laptop", "a--b", "12345678901234567890123456789012"] {
            assert_eq!(DnsLabel::parse(good).unwrap().as_str(), good);
        }
        for bad in [
            "",
            "-",
            "-a",
            "a-",
            "A",
            "a.b",
            "a b",
            "ä",
            "a_b",
            "123456789012345678901234567890123",
        ] {
            assert!(DnsLabel::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_label_is_made_of_any_text_with_a_letter_or_digit_in_it() {
        let like = |text: &str| DnsLabel::like(text).map(|label| label.0);
        for (text, label) in [
            ("Ben's LAN", "ben-s-lan"),
            ("  DESKTOP_4711 ", "desktop-4711"),
            ("Zürich", "z-rich"),
            ("a..b", "a-b"),
            ("1234567890123456789012345678901-x", "1234567890123456789012345678901"),
        ] {
            assert_eq!(like(text).as_deref(), Some(label));
        }
        for nothing in ["", "--", "日本", "..."] {
            assert_eq!(like(nothing), None);
        }
    }

    proptest::proptest! {
        #[test]
        fn what_is_made_is_a_label(text in ".{0,80}") {
            if let Some(label) = DnsLabel::like(&text) {
                proptest::prop_assert_eq!(DnsLabel::parse(label.as_str()), Ok(label.clone()));
                proptest::prop_assert_eq!(DnsLabel::like(label.as_str()), Some(label));
            }
        }
    }
}
