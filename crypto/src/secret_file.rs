//! The identity on disk.
//!
//! ```text
//! farlan-seed-1 <64 hexadecimal digits of the seed>\n
//! ```
//!
//! Whoever reads the file is the node. It is therefore a [private file](crate::private_file), never overwritten, and one
//! that others could have read or placed is refused.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use rand_core::CryptoRng;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::identity::{Identity, KeyError, Seed, Work};
use crate::private_file::{self, OpenError};
use crate::secret::Secret;

/// Reads the identity at `path`.
///
/// # Errors
/// [`SecretFileError`]; [`SecretFileError::Missing`] if there is no such file.
pub fn load(path: &Path, work: Work) -> Result<Identity, SecretFileError> {
    let mut file = private_file::open(path).map_err(|error| refused(path, error))?;
    let mut text = Zeroizing::new(Vec::with_capacity(LINE + 1));
    // One byte more than a line shows that there is more than one.
    (&mut file)
        .take(LINE as u64 + 1)
        .read_to_end(&mut text)
        .map_err(|error| in_file(path, "read", error))?;
    let seed = parse(&text).ok_or_else(|| SecretFileError::Garbage { path: path.into() })?;
    Identity::from_seed(seed, work).map_err(|error| SecretFileError::Key {
        path: path.into(),
        error,
    })
}

/// Writes `identity` to a new file at `path`: all of it or nothing, on disk before this returns.
///
/// # Errors
/// [`SecretFileError::Exists`] if there is anything at `path`, which is left as it is.
pub fn create(path: &Path, identity: &Identity) -> Result<(), SecretFileError> {
    private_file::create(path, line(identity.seed()).as_bytes()).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => SecretFileError::Exists { path: path.into() },
        _ => in_file(path, "write", error),
    })
}

/// Reads the identity at `path`, or makes one and writes it there.
///
/// If another process creates the file at the same time, its identity is the one returned.
///
/// # Errors
/// [`SecretFileError`]; an unreadable or refused file is never replaced.
pub fn load_or_create(
    path: &Path,
    rng: &mut (impl CryptoRng + ?Sized),
    work: Work,
) -> Result<Identity, SecretFileError> {
    match load(path, work) {
        Err(SecretFileError::Missing { .. }) => {}
        result => return result,
    }
    let identity = Identity::generate(rng, work);
    match create(path, &identity) {
        Ok(()) => Ok(identity),
        Err(SecretFileError::Exists { .. }) => load(path, work),
        Err(error) => Err(error),
    }
}

/// Why the identity could not be read or written.
#[derive(Debug, Error)]
pub enum SecretFileError {
    /// There is no file at the path.
    #[error("there is no identity at {}", path.display())]
    Missing {
        /// The path asked for.
        path: PathBuf,
    },
    /// There is a file, which is not overwritten.
    #[error("{} exists already and is not overwritten", path.display())]
    Exists {
        /// The path asked for.
        path: PathBuf,
    },
    /// It is a symbolic link, a directory, a pipe or a device.
    #[error("{} is not a regular file: put the identity itself there, not a link to it", path.display())]
    NotAFile {
        /// The path asked for.
        path: PathBuf,
    },
    /// It has a second name, so it is also within reach of whoever made that.
    #[error(
        "{0} has another name (a hard link), by which others may reach it: if you made that, remove it; if not, move the \
         file away, and farlan makes a new identity",
        path.display()
    )]
    Names {
        /// The path asked for.
        path: PathBuf,
    },
    /// It is somebody else's.
    #[error(
        "{0} belongs to user {owner}, who so knows this identity: if you put it there, give it with `chown` to the user \
         that farlan runs as; if not, move it away, and farlan makes a new one",
        path.display()
    )]
    Owner {
        /// The path asked for.
        path: PathBuf,
        /// The id of the user whose it is.
        owner: u32,
    },
    /// Other users may read or change it.
    #[error("{0} is open to other users (mode {mode:04o}): run `chmod 600 {0}`", path.display())]
    Permissions {
        /// The path asked for.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It does not hold the one line of a secret file.
    #[error("{} is not an identity file: it should be one line, `farlan-seed-1` and 64 hexadecimal digits", path.display())]
    Garbage {
        /// The path asked for.
        path: PathBuf,
    },
    /// It holds a seed, but not that of an acceptable key.
    #[error("the identity in {} cannot be used: {error}", path.display())]
    Key {
        /// The path asked for.
        path: PathBuf,
        /// What is wrong with the key.
        error: KeyError,
    },
    /// The system refused an operation.
    #[error("cannot {operation} {}: {error}", path.display())]
    Io {
        /// The file or directory concerned.
        path: PathBuf,
        /// What was to be done, as a verb.
        operation: &'static str,
        /// The system's reason.
        error: io::Error,
    },
}

/// First word of the file; the digit is the version of the format.
const KIND: &str = "farlan-seed-1";

/// Bytes of the one line, its end included.
const LINE: usize = KIND.len() + 1 + 64 + 1;

/// What to say of a file that is not opened.
fn refused(path: &Path, error: OpenError) -> SecretFileError {
    let path = path.to_owned();
    match error {
        OpenError::Missing => SecretFileError::Missing { path },
        OpenError::NotAFile => SecretFileError::NotAFile { path },
        OpenError::Names => SecretFileError::Names { path },
        OpenError::Owner(owner) => SecretFileError::Owner { path, owner },
        OpenError::Permissions(mode) => SecretFileError::Permissions { path, mode },
        OpenError::Io(error) => in_file(&path, "open", error),
    }
}

/// The text of a secret file.
pub(crate) fn line(seed: &Seed) -> Zeroizing<String> {
    // A text that grows would leave its beginnings behind.
    let mut line = Zeroizing::new(String::with_capacity(LINE));
    line.push_str(KIND);
    line.push(' ');
    HEXLOWER.encode_append(seed.as_bytes(), &mut line);
    line.push('\n');
    line
}

/// The seed in the text of a secret file. The end of the line may be missing, digits may be of either case.
pub(crate) fn parse(text: &[u8]) -> Option<Seed> {
    let line = text.strip_suffix(b"\n").unwrap_or(text);
    let digits = line.strip_prefix(KIND.as_bytes())?.strip_prefix(b" ")?;
    if digits.len() != 64 {
        return None;
    }
    let mut decoded = Ok(0);
    let seed = Secret::filled(|seed| decoded = HEXLOWER_PERMISSIVE.decode_mut(digits, seed));
    decoded.ok().map(|_| Seed::new(seed))
}

fn in_file(path: &Path, operation: &'static str, error: io::Error) -> SecretFileError {
    SecretFileError::Io {
        path: path.into(),
        operation,
        error,
    }
}

#[cfg(test)]
mod tests;
