//! The network key as a text, for a safe place.

use std::fmt;

use data_encoding::BASE64URL_NOPAD;
use farlan_crypto::{KeyPair, Secret, Seed, Work, hash};
use thiserror::Error;
use zeroize::Zeroizing;

use super::{Config, DocumentError};
use crate::codec::{CodecError, Reader};

/// What every exported key begins with; the digit is the version of the format.
const PREFIX: &str = "farlan-network-key-1";
/// Bytes of the checksum.
const CHECKSUM: usize = 4;

/// A network key that leaves its controller's store, or comes into one. Whoever has it controls the network.
///
/// Text form, one line:
/// ```text
/// farlan-network-key-1 BASE64URL
/// bytes: issued 8 | seed of the network key 32 | config (to the checksum) | checksum 4
/// ```
/// The checksum is the first 4 bytes of SHA-512 of what is before it. The config comes along since the network id follows from the
/// parameters in it; it is the one of the time of export.
#[derive(Debug)]
pub struct ExportedKey {
    /// The latest number of what the key issued: whoever goes on from here uses none a second time.
    pub issued: u64,
    key: KeyPair,
    config: Config,
}

/// Why a text is not an exported network key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ExportedKeyError {
    /// It begins otherwise.
    #[error("this is not an exported network key: it begins with `{PREFIX}`")]
    NotAKey,
    /// It is longer than any.
    #[error("this text is too long for an exported network key")]
    TooLong,
    /// Characters are wrong or missing.
    #[error("the network key is mistyped or cut: copy it again, from `{PREFIX}` to the last character")]
    Mistyped,
    /// The config in it is bad, or of another key.
    #[error("the config beside the network key is bad: {0}")]
    Config(DocumentError),
}

impl ExportedKey {
    /// Most characters of the text form, line break and white space that somebody added included.
    pub const MAX_TEXT: usize = 8192;

    /// The key of the network of `config`.
    ///
    /// # Errors
    /// [`DocumentError::WrongKey`] if it is another one's.
    pub fn new(key: KeyPair, config: Config, issued: u64) -> Result<Self, DocumentError> {
        config.network().expect_key(&key)?;
        Ok(Self { issued, key, config })
    }

    /// Reads the text form; white space in it counts for nothing. The keys of holders must carry `work`.
    ///
    /// # Errors
    /// An [`ExportedKeyError`] that says whether the text is no key at all or was damaged.
    pub fn parse(text: &str, work: Work) -> Result<Self, ExportedKeyError> {
        if text.len() > Self::MAX_TEXT {
            return Err(ExportedKeyError::TooLong);
        }
        let body = text.trim().strip_prefix(PREFIX).ok_or(ExportedKeyError::NotAKey)?;
        let mut clean = Zeroizing::new(String::with_capacity(body.len()));
        clean.extend(body.split_whitespace());
        let bytes = BASE64URL_NOPAD.decode(clean.as_bytes());
        let bytes = Zeroizing::new(bytes.map_err(|_| ExportedKeyError::Mistyped)?);
        let (content, sum) = bytes.split_last_chunk::<CHECKSUM>().ok_or(ExportedKeyError::Mistyped)?;
        if checksum(content) != *sum {
            return Err(ExportedKeyError::Mistyped);
        }
        let mut reader = Reader::new(content);
        let truncated = |_: CodecError| ExportedKeyError::Mistyped;
        let issued = reader.u64().map_err(truncated)?;
        let seed = Secret::from(reader.array().map_err(truncated)?);
        let config = Config::decode(reader.rest(), work).map_err(ExportedKeyError::Config)?;
        let key = KeyPair::from_seed(Seed::new(seed));
        Self::new(key, config, issued).map_err(ExportedKeyError::Config)
    }

    /// The text form, with a line break at its end.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(8 + 32 + Config::MAX_SIZE + CHECKSUM));
        bytes.extend_from_slice(&self.issued.to_be_bytes());
        bytes.extend_from_slice(self.key.seed().as_bytes());
        bytes.extend_from_slice(&self.config.encode());
        let sum = checksum(&bytes);
        bytes.extend_from_slice(&sum);
        let mut text = Zeroizing::new(String::with_capacity(Self::MAX_TEXT));
        text.push_str(PREFIX);
        text.push(' ');
        BASE64URL_NOPAD.encode_append(&bytes, &mut text);
        text.push('\n');
        text
    }

    /// The network key.
    #[must_use]
    pub fn key(&self) -> &KeyPair {
        &self.key
    }

    /// The config that was in force when it was exported.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }
}

impl fmt::Display for ExportedKey {
    /// Which network's it is: the key itself is written by [`to_text`](Self::to_text) alone.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the key of network {}", self.config.network().id())
    }
}

fn checksum(content: &[u8]) -> [u8; CHECKSUM] {
    let mut sum = [0; CHECKSUM];
    sum.copy_from_slice(&hash::sha512(&[content])[..CHECKSUM]);
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::private::{ConfigFields, DnsLabel, NetworkSeed, Seconds};
    use crate::{Label, Mtu, Parameters, Subnet, WorldId};

    fn exported() -> ExportedKey {
        let key = KeyPair::from_seed(Seed::from_bytes([4; 32]));
        let fields = ConfigFields {
            parameters: Parameters::private(key.public(), Subnet::LINK_RANGE, Mtu::DEFAULT),
            counter: 3,
            time: Seconds::new(1_800_000_000),
            life: 86_400,
            label: Label::default(),
            domain: DnsLabel::parse("home").unwrap(),
            world: WorldId::from_bytes([5; 16]),
            seeds: vec![NetworkSeed::from_bytes([6; 32])],
            holders: Vec::new(),
        };
        let config = Config::sign(&key, fields).unwrap();
        ExportedKey::new(key, config, 7).unwrap()
    }

    /// [`exported`] as another program writes it.
    const VECTOR: &str = "farlan-network-key-1 \
        AAAAAAAAAAcEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAMBBVwKgAAACcqTrBcFGHBx1nuDx_8O_oEI6O\
        xFMFdddyaHkzPb2r58AAAAAAAAAAMAAAAAa0nSAAABUYAABGhvbWUFBQUFBQUFBQUFBQUFBQUFAQYGBgYGBgYGBgYG\
        BgYGBgYGBgYGBgYGBgYGBgYGBgYGAMnJq0qr63cKiR1l7Ic-ojS4KxA8VdPowT4XCSoU1unGzRfXqxtoUZaW2tWh-K\
        Cg8zSBjxnEuqRvTRaY0shUXQkcwbV-\
        \n";

    #[test]
    fn the_text_is_that_of_another_program() {
        assert_eq!(exported().to_text().as_str(), VECTOR);
        assert!(ExportedKey::parse(VECTOR, Work::NONE).is_ok());
    }

    #[test]
    fn what_is_written_is_read_through_white_space() {
        let text = exported().to_text();
        let (first, second) = text.split_at(40);
        let read = ExportedKey::parse(&format!("  {first}\n  {second}\t"), Work::NONE).unwrap();
        assert_eq!((read.issued, read.config()), (7, exported().config()));
        assert_eq!(read.key().seed().as_bytes(), &[4; 32]);
        assert_eq!(read.to_text(), text);
    }

    #[test]
    fn a_wrong_character_is_found() {
        let text = exported().to_text();
        for at in PREFIX.len() + 1..text.len() - 1 {
            let mut other = text.as_bytes().to_vec();
            other[at] = if other[at] == b'A' { b'B' } else { b'A' };
            let other = String::from_utf8(other).unwrap();
            if other != *text {
                assert_eq!(
                    ExportedKey::parse(&other, Work::NONE).err(),
                    Some(ExportedKeyError::Mistyped)
                );
            }
        }
        let error = |text: &str| ExportedKey::parse(text, Work::NONE).err();
        assert_eq!(error("farlan:AQ"), Some(ExportedKeyError::NotAKey));
        assert_eq!(error(PREFIX), Some(ExportedKeyError::Mistyped));
        assert_eq!(error(&"x".repeat(9000)), Some(ExportedKeyError::TooLong));
    }

    #[test]
    fn a_key_beside_another_networks_config_is_refused() {
        let config = exported().config;
        let other = KeyPair::from_seed(Seed::from_bytes([9; 32]));
        assert_eq!(ExportedKey::new(other, config, 0).err(), Some(DocumentError::WrongKey));
    }

    #[test]
    fn it_is_not_shown_by_accident() {
        let (shown, debugged) = (exported().to_string(), format!("{:?}", exported()));
        let seed = format!("{:?}", [4; 32]);
        assert!(
            !shown.contains(&seed) && !debugged.contains(&seed) && !debugged.contains("[4, 4"),
            "{debugged}"
        );
    }
}
