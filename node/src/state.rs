//! The state directory: whoever holds its lock owns the secrets and files in it.

use std::{
    fmt,
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Read},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use farlan_crypto::{
    Identity, Work,
    private_file::{self, OpenError, Readers},
    random::SystemRandom,
    secret_file,
};
use serde::{Serialize, de::DeserializeOwned};

use crate::{config, failure::Failure};

/// Name of the file that holds the identity of a node or supernode.
pub const IDENTITY: &str = "identity.secret";

/// Name of the file whose lock its user holds.
pub const LOCK: &str = "lock";

/// A state directory, locked for this process.
#[derive(Debug)]
pub struct StateDir {
    path: PathBuf,
    /// Holds the lock, at most as long as it is open.
    lock: File,
}

impl StateDir {
    /// Makes the directory if it is missing (mode 0700), locks it, and removes what crashes have left in it.
    ///
    /// # Errors
    /// Another process holds the lock; the directory cannot be made or written, or others can write it.
    pub fn open(path: &Path) -> Result<Self, Failure> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(|error| Failure::file("make the state directory", path, &error))?;
        // Whoever can write here can put other files in the place of farlan's.
        let mode = fs::metadata(path)
            .map_err(|error| Failure::file("examine", path, &error))?
            .mode();
        if mode & 0o022 != 0 {
            return Err(Failure::permission(format_args!(
                "other users can write the state directory {0} (mode {1:04o}): run `chmod 700 {0}`",
                path.display(),
                mode & 0o7777
            )));
        }
        let lock_path = path.join(LOCK);
        let lock = OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(false)
            .mode(0o600)
            // Nothing is to be made elsewhere through a link, and a pipe without a reader is not to be waited for.
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
            .open(&lock_path)
            .map_err(|error| Failure::file("open", &lock_path, &error))?;
        match lock.try_lock() {
            Ok(()) => {
                sweep(path);
                Ok(Self {
                    path: path.into(),
                    lock,
                })
            }
            Err(TryLockError::WouldBlock) => Err(Failure::negative(format_args!(
                "the state directory {} is in use by another running farlan; stop that one first, or give this one \
                 another directory with --state-dir",
                path.display()
            ))),
            Err(TryLockError::Error(error)) => Err(Failure::file("lock", &lock_path, &error)),
        }
    }

    /// Gives the lock back: nothing may be written here any more.
    pub fn release(&self) {
        // What cannot be unlocked now is unlocked when the file is closed.
        let _ = self.lock.unlock();
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The identity kept here, made at the first call; `true` if it was made now.
    ///
    /// # Errors
    /// A file that others could have read, or that is no identity. It is never replaced.
    pub fn identity(&self, work: Work) -> Result<(Identity, bool), Failure> {
        let path = self.path.join(IDENTITY);
        match secret_file::load(&path, work) {
            Ok(identity) => Ok((identity, false)),
            Err(secret_file::SecretFileError::Missing { .. }) => {
                let mut random = SystemRandom::from_os().map_err(Failure::negative)?;
                Ok((secret_file::load_or_create(&path, &mut random, work)?, true))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Reads a TOML file of this directory; nothing if there is none.
    ///
    /// # Errors
    /// An unreadable file, or one that is not what it should be, with its name.
    pub fn load<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, Failure> {
        let path = self.path.join(name);
        let Some(mut file) = self.open_file(name, &path)? else {
            return Ok(None);
        };
        let mut text = String::new();
        match file.read_to_string(&mut text) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::InvalidData => return Err(self.damaged(name, "is no text")),
            Err(error) => return Err(Failure::file("read", &path, &error)),
        }
        toml::from_str(&text)
            .map(Some)
            .map_err(|error| Failure::negative(format_args!("{}; {REMEDY}", config::located(&path, &text, &error))))
    }

    /// Opens a file of this directory, closed to others from now on.
    fn open_file(&self, name: &str, path: &Path) -> Result<Option<File>, Failure> {
        let opened = match private_file::open(path) {
            // Somebody copied it back, for instance. Unlike the identity, what it holds can be made anew.
            Err(OpenError::Permissions(mode)) => {
                tracing::warn!(
                    "{} was open to other users (mode {mode:04o}) and is closed to them now; the links in it are known to \
                     whoever read it",
                    path.display()
                );
                private_file::close_to_others(path).map_err(|error| Failure::file("change", path, &error))?;
                private_file::open(path)
            }
            opened => opened,
        };
        match opened {
            Ok(file) => Ok(Some(file)),
            Err(OpenError::Missing) => Ok(None),
            Err(OpenError::NotAFile) => Err(self.damaged(name, "is not a regular file")),
            Err(OpenError::Names) => Err(self.damaged(name, "has another name (a hard link)")),
            Err(OpenError::Owner(owner)) => Err(self.damaged(name, format_args!("belongs to user {owner}"))),
            Err(OpenError::Permissions(mode)) => Err(self.damaged(name, format_args!("has the mode {mode:04o}"))),
            Err(OpenError::Io(error)) => Err(Failure::file("read", path, &error)),
        }
    }

    /// What to say of a file of this directory that is not what it should be: its path, `reason` and the remedy.
    pub fn damaged(&self, name: &str, reason: impl fmt::Display) -> Failure {
        Failure::negative(format_args!("{}: {reason}; {REMEDY}", self.path.join(name).display()))
    }

    /// Writes a TOML file of this directory (mode 0600): after a crash either the old or the new one is there, whole.
    ///
    /// # Errors
    /// The directory cannot be written.
    pub fn save<T: Serialize>(&self, name: &str, content: &T) -> Result<(), Failure> {
        let path = self.path.join(name);
        let text = toml::to_string(content)
            .map_err(|error| Failure::negative(format_args!("cannot write {}: {error}", path.display())))?;
        // A disk that is full or read-only does not matter where nothing changes.
        if fs::read(&path).is_ok_and(|before| before == text.as_bytes()) {
            return Ok(());
        }
        private_file::replace(&path, text.as_bytes(), Readers::Owner)
            .map_err(|error| Failure::file("write", &path, &error))
    }
}

/// What to do about a damaged file.
const REMEDY: &str = "mend this file of farlan's state, or move it away to go on without what it holds";

/// Removes what crashes have left in a state directory that is locked.
fn sweep(path: &Path) {
    // A supernode's commands write in its directory without its lock, holding one on the directory itself. What is not
    // removed now is at the next start.
    let swept = File::open(path).and_then(|directory| match directory.try_lock() {
        Ok(()) => private_file::sweep(path),
        Err(TryLockError::WouldBlock) => Ok(()),
        Err(TryLockError::Error(error)) => Err(error),
    });
    if let Err(error) = swept {
        tracing::debug!(%error, "leftovers in the state directory stay");
    }
}

#[cfg(test)]
mod tests;
