//! The token of the API on the loopback address: whoever can read its file may ask.

use std::{
    fmt,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use data_encoding::HEXLOWER;
use farlan_crypto::{
    SystemRandom,
    private_file::{self, Readers},
};
use rand_core::Rng;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::sockets::FileId;
use crate::failure::Failure;

/// 32 random bytes as 64 hexadecimal digits, made anew at each start of the daemon.
pub struct Token(Zeroizing<String>);

impl Token {
    /// A new one.
    ///
    /// # Errors
    /// The system gives no random numbers.
    pub(super) fn new() -> Result<Self, Failure> {
        let mut bytes = Zeroizing::new([0; 32]);
        SystemRandom::from_os()
            .map_err(Failure::negative)?
            .fill_bytes(bytes.as_mut_slice());
        Ok(Self(Zeroizing::new(HEXLOWER.encode(bytes.as_slice()))))
    }

    /// Reads the token in the file at `path`.
    ///
    /// # Errors
    /// The file cannot be read, or holds none.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let mut text = Zeroizing::new(String::with_capacity(DIGITS + 2));
        File::open(path)
            .and_then(|file| file.take(DIGITS as u64 + 2).read_to_string(&mut text))
            .map_err(|error| match error.kind() {
                io::ErrorKind::NotFound => Failure::daemon_down(format_args!(
                    "there is no token at {}: farlan is not running here, or does not serve TCP (the key api.tcp of its \
                     configuration)",
                    path.display()
                )),
                _ => Failure::file("read the token", path, &error),
            })?;
        Self::parse(&text).ok_or_else(|| {
            Failure::negative(format_args!(
                "{} holds no token of farlan: it should be {DIGITS} hexadecimal digits",
                path.display()
            ))
        })
    }

    /// The token in the `text` of a file.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let digits = text.trim_end();
        let is_token = digits.len() == DIGITS && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_token.then(|| Self(Zeroizing::new(digits.to_owned())))
    }

    /// Whether this is what was `shown`, in a time that tells nothing of where it differs.
    pub(super) fn matches(&self, shown: &[u8]) -> bool {
        self.0.as_bytes().ct_eq(shown).into()
    }

    /// The value of the header Authorization that shows it.
    pub fn header(&self) -> Zeroizing<String> {
        Zeroizing::new(format!("Bearer {}", *self.0))
    }
}

/// Tells nothing of it.
impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// A token's file, which vanishes with this.
#[derive(Debug)]
pub(super) struct TokenFile {
    path: PathBuf,
    file: FileId,
}

impl TokenFile {
    /// Writes `token` to `path`: for the owner alone, or for the owner and a group. What is there is replaced.
    ///
    /// # Errors
    /// The directory cannot be written.
    pub(super) fn write(path: PathBuf, token: &Token, group: Option<u32>) -> Result<Self, Failure> {
        let line = Zeroizing::new(format!("{}\n", *token.0));
        let written = match group {
            // Refused to those who are neither root nor in the group; then it stays the owner's.
            Some(group) => private_file::replace(&path, line.as_bytes(), Readers::Group(group))
                .or_else(|_| private_file::replace(&path, line.as_bytes(), Readers::Owner)),
            None => private_file::replace(&path, line.as_bytes(), Readers::Owner),
        };
        written
            .and_then(|()| FileId::of(&path))
            .map(|file| Self {
                path: path.clone(),
                file,
            })
            .map_err(|error| Failure::file("write the token", &path, &error))
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for TokenFile {
    fn drop(&mut self) {
        self.file.remove(&self.path);
    }
}

/// Where the token of the daemon with this socket is: beside it, `farlan.token` beside `farlan.sock`.
pub fn token_path(socket: &Path) -> PathBuf {
    let path = socket.with_extension("token");
    if path != socket {
        return path;
    }
    socket.with_extension("token.token")
}

/// Hexadecimal digits of a token.
const DIGITS: usize = 64;

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::fs::{PermissionsExt, symlink},
    };

    use super::*;
    use crate::failure::FailureKind;

    #[test]
    fn a_token_is_found_beside_the_socket() {
        for (socket, token) in [
            ("/run/farlan/farlan.sock", "/run/farlan/farlan.token"),
            ("/tmp/s", "/tmp/s.token"),
            ("/tmp/s.token", "/tmp/s.token.token"),
        ] {
            assert_eq!(token_path(Path::new(socket)), Path::new(token));
        }
    }

    #[test]
    fn a_token_fits_itself_alone_and_is_not_shown() {
        let (one, other) = (Token::new().unwrap(), Token::new().unwrap());
        let text = one.header();
        let digits = text.strip_prefix("Bearer ").unwrap();
        assert_eq!(digits.len(), DIGITS);
        assert!(one.matches(digits.as_bytes()));
        assert!(!other.matches(digits.as_bytes()));
        for wrong in ["", &digits[1..], &format!("{digits}0"), &digits.to_uppercase()] {
            assert!(!one.matches(wrong.as_bytes()) || wrong == digits, "{wrong}");
        }
        assert!(!format!("{one:?}").contains(&digits[..4]));
    }

    #[test]
    fn the_file_is_its_owners_or_the_groups_and_goes_with_the_daemon() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("t");
        let precious = directory.path().join("precious");
        fs::write(&precious, "text").unwrap();
        symlink(&precious, &path).unwrap();
        let mode = || fs::symlink_metadata(&path).unwrap().permissions().mode();
        let token = Token::new().unwrap();
        let file = TokenFile::write(path.clone(), &token, None).unwrap();
        assert_eq!(mode() & 0o170_777, 0o100_600);
        assert_eq!(fs::read(&precious).unwrap(), b"text");
        assert_eq!(*Token::read(&path).unwrap().header(), *token.header());
        drop(file);
        assert!(!path.exists());
        let group = std::os::unix::fs::MetadataExt::gid(&fs::metadata(directory.path()).unwrap());
        let _file = TokenFile::write(path.clone(), &token, Some(group)).unwrap();
        assert_eq!(mode() & 0o7777, 0o640);
    }

    #[test]
    fn what_is_no_token_is_said_so() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("t");
        let missing = Token::read(&path).unwrap_err();
        assert_eq!(missing.kind, FailureKind::DaemonDown);
        assert!(missing.message.contains("api.tcp"), "{missing}");
        for text in ["", "abc\n", &"g".repeat(64), &"a".repeat(65)] {
            fs::write(&path, text).unwrap();
            let failure = Token::read(&path).unwrap_err();
            assert!(failure.message.contains("holds no token"), "{failure}");
            assert!(text.is_empty() || !failure.message.contains(text), "{failure}");
        }
    }
}
