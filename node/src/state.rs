//! The state directory: whoever holds its lock owns the secrets and files in it.

use std::{
    fmt,
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use farlan_crypto::{Identity, Work, random::SystemRandom, secret_file};
use serde::{Serialize, de::DeserializeOwned};

use crate::{config, failure::Failure};

/// Name of the file that holds the identity of a node or supernode.
pub const IDENTITY: &str = "identity.secret";

/// A state directory, locked for this process.
#[derive(Debug)]
pub struct StateDir {
    path: PathBuf,
    /// Holds the lock, at most as long as it is open.
    lock: File,
}

impl StateDir {
    /// Makes the directory if it is missing (mode 0700) and locks it.
    ///
    /// # Errors
    /// Another process holds the lock; the directory cannot be made or written.
    pub fn open(path: &Path) -> Result<Self, Failure> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(|error| Failure::file("make the state directory", path, &error))?;
        let lock_path = path.join("lock");
        let lock = OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(false)
            .mode(0o600)
            .open(&lock_path)
            .map_err(|error| Failure::file("open", &lock_path, &error))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self {
                path: path.into(),
                lock,
            }),
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
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => return Err(self.damaged(name, "is no text")),
            Err(error) => return Err(Failure::file("read", &path, &error)),
        };
        toml::from_str(&text)
            .map(Some)
            .map_err(|error| Failure::negative(format_args!("{}; {REMEDY}", config::located(&path, &text, &error))))
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
        let temporary = self.path.join(format!(".{name}.new"));
        let written = write_synced(&temporary, text.as_bytes())
            .and_then(|()| fs::rename(&temporary, &path))
            .and_then(|()| File::open(&self.path)?.sync_all());
        written.map_err(|error| {
            // What did not fit takes room that is needed.
            let _ = fs::remove_file(&temporary);
            Failure::file("write", &path, &error)
        })
    }
}

/// What to do about a damaged file.
const REMEDY: &str = "mend this file of farlan's state, or move it away to go on without what it holds";

fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    // A leftover of a crash may be there; it is nobody's.
    let mut file = OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, os::unix::fs::PermissionsExt};

    use super::*;
    use crate::failure::FailureKind;

    #[test]
    fn one_process_at_a_time() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("deep/state");
        let first = StateDir::open(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        let second = StateDir::open(&path).unwrap_err();
        assert_eq!(second.kind, FailureKind::Negative);
        assert!(second.message.contains("in use"), "{second}");
        first.release();
        let third = StateDir::open(&path).unwrap();
        drop(third);
        StateDir::open(&path).unwrap();
    }

    #[test]
    fn files_round_trip_and_bad_ones_are_named() {
        let directory = tempfile::tempdir().unwrap();
        let state = StateDir::open(directory.path()).unwrap();
        assert_eq!(state.load::<BTreeMap<String, u8>>("x.toml").unwrap(), None);
        let content = BTreeMap::from([("a".to_owned(), 1u8)]);
        state.save("x.toml", &content).unwrap();
        state.save("x.toml", &content).unwrap();
        assert_eq!(state.load("x.toml").unwrap(), Some(content));
        let mode = fs::metadata(directory.path().join("x.toml"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        fs::write(directory.path().join("x.toml"), "a = 1\nb = [").unwrap();
        let failure = state.load::<BTreeMap<String, u8>>("x.toml").unwrap_err();
        assert!(failure.message.contains("x.toml:2: "), "{failure}");
        fs::write(directory.path().join("x.toml"), b"a = \"\xff\"").unwrap();
        let failure = state.load::<BTreeMap<String, u8>>("x.toml").unwrap_err();
        assert!(failure.message.contains("x.toml: is no text; mend"), "{failure}");
    }

    #[test]
    fn the_identity_stays() {
        let directory = tempfile::tempdir().unwrap();
        let state = StateDir::open(directory.path()).unwrap();
        let (first, made) = state.identity(Work::NONE).unwrap();
        assert!(made);
        let (second, made) = state.identity(Work::NONE).unwrap();
        assert!(!made);
        assert_eq!(first.public(), second.public());
        let path = directory.path().join(IDENTITY);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(state.identity(Work::NONE).unwrap_err().kind, FailureKind::Permission);
    }
}
