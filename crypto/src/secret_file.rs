//! The identity on disk.
//!
//! ```text
//! farlan-seed-1 <64 hexadecimal digits of the seed>\n
//! ```
//!
//! Whoever reads the file is the node. It is therefore created with mode 0600 and never overwritten, and a file that
//! others could have read, or a symbolic link, is refused.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use rand_core::CryptoRng;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::identity::{Identity, KeyError, Seed, Work};

/// Reads the identity at `path`.
///
/// # Errors
/// [`SecretFileError`]; [`SecretFileError::Missing`] if there is no such file.
pub fn load(path: &Path, work: Work) -> Result<Identity, SecretFileError> {
    let mut file = open_checked(path)?;
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
    let (temporary, file) = create_temporary(path)?;
    let linked = write_line(file, identity)
        .map_err(|error| in_file(&temporary, "write", error))
        // A link, unlike a rename, fails if the name is taken.
        .and_then(|()| {
            fs::hard_link(&temporary, path).map_err(|error| match error.kind() {
                io::ErrorKind::AlreadyExists => SecretFileError::Exists { path: path.into() },
                _ => in_file(path, "create", error),
            })
        });
    let removed = fs::remove_file(&temporary).map_err(|error| in_file(&temporary, "remove", error));
    linked?;
    removed?;
    let directory = directory_of(path);
    File::open(directory)
        .and_then(|directory| directory.sync_all())
        .map_err(|error| in_file(directory, "sync", error))
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

/// How many names are tried for the temporary file; leftovers of crashed processes take some.
const TEMPORARY_NAMES: u32 = 64;

/// Opens a regular file that only its owner can reach.
///
/// The name is examined before the file is opened, so that a pipe does not block and a link is not followed, and the
/// opened file is compared with what was examined, in case it was exchanged in between.
fn open_checked(path: &Path) -> Result<File, SecretFileError> {
    let missing = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => SecretFileError::Missing { path: path.into() },
        _ => in_file(path, "open", error),
    };
    let named = fs::symlink_metadata(path).map_err(missing)?;
    if !named.file_type().is_file() {
        return Err(SecretFileError::NotAFile { path: path.into() });
    }
    check_mode(path, &named)?;
    let file = File::open(path).map_err(missing)?;
    let opened = file.metadata().map_err(|error| in_file(path, "examine", error))?;
    if (opened.dev(), opened.ino()) != (named.dev(), named.ino()) {
        return Err(SecretFileError::NotAFile { path: path.into() });
    }
    check_mode(path, &opened)?;
    Ok(file)
}

fn check_mode(path: &Path, metadata: &fs::Metadata) -> Result<(), SecretFileError> {
    let mode = metadata.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(SecretFileError::Permissions {
            path: path.into(),
            mode,
        });
    }
    Ok(())
}

/// A new empty file beside `path`, mode 0600 whatever the umask.
///
/// Exclusive creation neither follows a link nor opens a file that somebody put there.
fn create_temporary(path: &Path) -> Result<(PathBuf, File), SecretFileError> {
    let name = path
        .file_name()
        .ok_or_else(|| SecretFileError::NotAFile { path: path.into() })?;
    let mut attempt = 0;
    loop {
        let mut hidden = std::ffi::OsString::from(".");
        hidden.push(name);
        hidden.push(format!(".{}-{attempt}", std::process::id()));
        let temporary = directory_of(path).join(hidden);
        match OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)
        {
            Ok(file) => return Ok((temporary, file)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && attempt < TEMPORARY_NAMES => attempt += 1,
            Err(error) => return Err(in_file(&temporary, "create", error)),
        }
    }
}

/// Writes the line and waits until it is on disk.
fn write_line(mut file: File, identity: &Identity) -> io::Result<()> {
    // A umask can have taken bits of the owner away.
    file.set_permissions(fs::Permissions::from_mode(0o600))?;
    file.write_all(line(identity.seed()).as_bytes())?;
    file.sync_all()
}

/// The text of a secret file.
pub(crate) fn line(seed: &Seed) -> Zeroizing<String> {
    let digits = Zeroizing::new(HEXLOWER.encode(seed.as_bytes()));
    Zeroizing::new(format!("{KIND} {}\n", *digits))
}

/// The seed in the text of a secret file. The end of the line may be missing, digits may be of either case.
pub(crate) fn parse(text: &[u8]) -> Option<Seed> {
    let line = text.strip_suffix(b"\n").unwrap_or(text);
    let digits = line.strip_prefix(KIND.as_bytes())?.strip_prefix(b" ")?;
    let bytes = Zeroizing::new(HEXLOWER_PERMISSIVE.decode(digits).ok()?);
    Some(Seed::from_bytes(bytes.as_slice().try_into().ok()?))
}

fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
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
