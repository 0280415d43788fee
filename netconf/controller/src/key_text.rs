//! The network key as a text, for a safe place.
//!
//! ```text
//! farlan-network-key-1 BASE64URL\n
//! bytes: issued 8 | seed of the network key 32 | config (to the checksum) | checksum 4
//! ```
//!
//! Whoever has the text controls the network. *issued* is the latest number of what the key issued, so that whoever
//! goes on from here uses none a second time. The config comes along since the network id follows from its parameters; it is
//! the one of the time of export, and a newer one is learned from any member. The checksum, the first 4 bytes of SHA-512
//! of what is before it, finds typing errors.

use std::fmt;
use std::io::{self, Read};
use std::path::Path;

use data_encoding::BASE64URL_NOPAD;
use farlan_crypto::{Secret, hash, private_file};
use farlan_netconf::private::Config;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::store::StoreError;

/// An exported network key.
pub struct KeyText(Zeroizing<String>);

/// Why a text is not an exported network key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum KeyTextError {
    /// It begins otherwise.
    #[error("this is not an exported network key: it begins with `{PREFIX}`")]
    NotAKey,
    /// Characters are wrong or missing.
    #[error("the network key is mistyped or cut: copy it again, from `{PREFIX}` to the last character")]
    Mistyped,
    /// The key in it is not that of the config beside it.
    #[error("the network key and the config beside it do not belong together: use another copy")]
    OtherKey,
}

/// What every exported key begins with; the digit is the version of the format.
const PREFIX: &str = "farlan-network-key-1";
const CHECKSUM: usize = 4;

/// What the text says.
pub(crate) struct Exported {
    pub(crate) issued: u64,
    pub(crate) seed: Secret<32>,
    pub(crate) config: Vec<u8>,
}

impl KeyText {
    pub(crate) fn new(exported: &Exported) -> Self {
        let mut bytes = Zeroizing::new(Vec::with_capacity(8 + 32 + Config::MAX_SIZE + CHECKSUM));
        bytes.extend_from_slice(&exported.issued.to_be_bytes());
        bytes.extend_from_slice(exported.seed.as_bytes());
        bytes.extend_from_slice(&exported.config);
        let sum = checksum(&bytes);
        bytes.extend_from_slice(&sum);
        let mut text = Zeroizing::new(String::with_capacity(PREFIX.len() + 2 + bytes.len().div_ceil(3) * 4));
        text.push_str(PREFIX);
        text.push(' ');
        BASE64URL_NOPAD.encode_append(&bytes, &mut text);
        text.push('\n');
        Self(text)
    }

    /// Takes a text that is meant to be an exported key; white space in it counts for nothing.
    ///
    /// # Errors
    /// [`KeyTextError`].
    pub fn parse(text: &str) -> Result<Self, KeyTextError> {
        let body = text.trim().strip_prefix(PREFIX).ok_or(KeyTextError::NotAKey)?;
        let mut clean = Zeroizing::new(String::with_capacity(text.len() + 2));
        clean.push_str(PREFIX);
        clean.push(' ');
        clean.extend(body.split_whitespace());
        clean.push('\n');
        let text = Self(clean);
        text.content()?;
        Ok(text)
    }

    /// Reads a file that [`write_file`](Self::write_file) made. One that others could read is refused.
    ///
    /// # Errors
    /// [`StoreError::File`] for what is wrong with the file, [`KeyTextError`] for its content.
    pub fn read_file(path: &Path) -> Result<Self, crate::ControllerError> {
        let file = private_file::open(path).map_err(|error| StoreError::file(path, error))?;
        let mut text = Zeroizing::new(String::with_capacity(LONGEST));
        let read = Read::take(file, LONGEST as u64).read_to_string(&mut text);
        read.map_err(|_| KeyTextError::NotAKey)?;
        Ok(Self::parse(&text)?)
    }

    /// Writes the text to a new file with mode 0600.
    ///
    /// # Errors
    /// [`AlreadyExists`](io::ErrorKind::AlreadyExists) if there is anything at `path`; the system refuses.
    pub fn write_file(&self, path: &Path) -> io::Result<()> {
        private_file::create(path, self.0.as_bytes())
    }

    /// The text itself, one line.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn content(&self) -> Result<Exported, KeyTextError> {
        let body = self.0.strip_prefix(PREFIX).ok_or(KeyTextError::NotAKey)?.trim();
        let bytes = BASE64URL_NOPAD.decode(body.as_bytes()).map_err(|_| KeyTextError::Mistyped)?;
        let bytes = Zeroizing::new(bytes);
        let (content, sum) = bytes.split_last_chunk::<CHECKSUM>().ok_or(KeyTextError::Mistyped)?;
        if checksum(content) != *sum {
            return Err(KeyTextError::Mistyped);
        }
        let (issued, rest) = content.split_first_chunk::<8>().ok_or(KeyTextError::Mistyped)?;
        let (seed, config) = rest.split_first_chunk::<32>().ok_or(KeyTextError::Mistyped)?;
        Ok(Exported {
            issued: u64::from_be_bytes(*issued),
            seed: Secret::copy_of(seed),
            config: config.to_vec(),
        })
    }
}

impl fmt::Debug for KeyText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyText(..)")
    }
}

/// Bytes of the longest file that is read: the largest config in base64, and room for white space.
const LONGEST: usize = 8192;

fn checksum(content: &[u8]) -> [u8; CHECKSUM] {
    let mut sum = [0; CHECKSUM];
    sum.copy_from_slice(&hash::sha512(&[content])[..CHECKSUM]);
    sum
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    fn text() -> KeyText {
        KeyText::new(&Exported {
            issued: 7,
            seed: Secret::from([9; 32]),
            config: vec![1, 2, 3],
        })
    }

    #[test]
    fn what_is_written_is_read_through_white_space() {
        let text = text();
        let (first, second) = text.as_str().split_at(40);
        let read = KeyText::parse(&format!("  {first}\n  {second}\t")).unwrap().content().unwrap();
        assert_eq!((read.issued, read.seed.as_bytes(), &read.config[..]), (7, &[9; 32], &[1, 2, 3][..]));
    }

    #[test]
    fn a_wrong_character_is_found() {
        let text = text();
        for at in PREFIX.len() + 1..text.as_str().len() - 1 {
            let mut other = text.as_str().as_bytes().to_vec();
            other[at] = if other[at] == b'A' { b'B' } else { b'A' };
            let other = String::from_utf8(other).unwrap();
            assert_eq!(KeyText::parse(&other).err(), Some(KeyTextError::Mistyped), "{other}");
        }
        assert_eq!(KeyText::parse("farlan:AQ").err(), Some(KeyTextError::NotAKey));
        assert_eq!(KeyText::parse(PREFIX).err(), Some(KeyTextError::Mistyped));
    }

    #[test]
    fn files_are_closed_to_others_and_not_replaced() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        text().write_file(&path).unwrap();
        assert_eq!(text().write_file(&path).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(KeyText::read_file(&path).unwrap().as_str(), text().as_str());
        let open = std::fs::Permissions::from_mode(0o644);
        File::open(&path).unwrap().set_permissions(open).unwrap();
        let refused = KeyText::read_file(&path).unwrap_err().to_string();
        assert!(refused.contains("chmod 600"), "{refused}");
    }
}
