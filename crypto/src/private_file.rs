//! Files that only their owner may read.
//!
//! All that farlan writes goes through here. A file is made or replaced whole: its bytes are on disk under another name
//! before it gets its own, so that after a crash at any moment the old file is there, or the new one, or none. That other
//! name, `.NAME.PROCESS-ATTEMPT.new`, is made exclusively, so nothing that somebody put there is opened or followed; what a
//! crash leaves of it is [swept](sweep).
//!
//! A file that is read must be what was written: a regular file under one name, not a link, of an owner who may decide
//! here, and closed to everybody else.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use rustix::fs::{CWD, OFlags, RenameFlags};

use crate::defects::planted;

/// Who may read a file beside its owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readers {
    /// Nobody: mode 0600.
    Owner,
    /// The members of the group with this id: mode 0640.
    Group(u32),
}

/// Writes a new file at `path`, mode 0600 whatever the umask: all of it or nothing, on disk before this returns.
///
/// # Errors
/// [`AlreadyExists`](io::ErrorKind::AlreadyExists) if anything is at `path`, which is left as it is; the system refuses
/// an operation.
pub fn create(path: &Path, bytes: &[u8]) -> io::Result<()> {
    place(path, bytes, Readers::Owner, |temporary| {
        match rustix::fs::renameat_with(CWD, temporary, CWD, path, RenameFlags::NOREPLACE) {
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {}
            renamed => return renamed.map_err(io::Error::from),
        }
        // A file system that cannot rename so can link, which fails alike if the name is taken.
        fs::hard_link(temporary, path)?;
        fs::remove_file(temporary)
    })
}

/// Writes a file at `path` in the place of what is there, whatever the umask: after a crash the old one is there or the new
/// one, whole. A link at `path` is replaced, not followed.
///
/// # Errors
/// The system refuses an operation; the old file is there as it was.
pub fn replace(path: &Path, bytes: &[u8], readers: Readers) -> io::Result<()> {
    place(path, bytes, readers, |temporary| fs::rename(temporary, path))
}

/// Opens the file at `path` for reading, if it is one that may be believed and was kept secret.
///
/// # Errors
/// [`OpenError`].
pub fn open(path: &Path) -> Result<File, OpenError> {
    // A name more is what `create` leaves for a moment on file systems that cannot rename exclusively.
    for _ in 0..NAME_CHECKS {
        match open_once(path) {
            Err(OpenError::Names) => thread::sleep(NAME_PAUSE),
            result => return result,
        }
    }
    open_once(path)
}

/// Takes the rights of all but the owner from the file at `path`.
///
/// # Errors
/// It is no regular file; it cannot be opened or changed.
pub fn close_to_others(path: &Path) -> io::Result<()> {
    let file = open_unfollowed(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    file.set_permissions(fs::Permissions::from_mode(0o600))
}

/// Removes from `directory` what crashes have left there of files that were being written. Nobody may be writing there.
///
/// # Errors
/// The directory cannot be listed, or a file not be removed.
pub fn sweep(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        if is_temporary(name.as_encoded_bytes()) && !entry.file_type()?.is_dir() {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Why a file is not opened.
#[derive(Debug)]
pub enum OpenError {
    /// There is none.
    Missing,
    /// It is a symbolic link, a directory, a pipe or a device.
    NotAFile,
    /// It has further names (hard links), by which others may reach or have placed it.
    Names,
    /// It belongs to this user, who is neither this process's, nor the superuser, nor the directory's owner.
    Owner(u32),
    /// Other users may read or change it; these are its permission bits.
    Permissions(u32),
    /// The system refused.
    Io(io::Error),
}

/// How many names are tried for the temporary file; leftovers of crashed processes take some.
const TEMPORARY_NAMES: u32 = 64;

/// How often a file with two names is looked at again, and how long after.
const NAME_CHECKS: u32 = 20;
const NAME_PAUSE: Duration = Duration::from_millis(5);

/// The end of a temporary file's name.
const TEMPORARY: &str = ".new";

/// Writes a temporary file, has it moved to its place, and waits until both are on disk.
fn place(path: &Path, bytes: &[u8], readers: Readers, put: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<()> {
    let (temporary, file) = create_temporary(path)?;
    let placed = write(file, bytes, readers).and_then(|()| put(&temporary));
    if placed.is_err() {
        // What did not fit takes room that is needed.
        let _ = fs::remove_file(&temporary);
    }
    placed?;
    File::open(directory_of(path))?.sync_all()
}

/// A new empty file beside `path`. Exclusive creation neither follows a link nor opens a file that somebody put there.
fn create_temporary(path: &Path) -> io::Result<(PathBuf, File)> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let mut attempt = 0;
    loop {
        let mut hidden = OsString::from(".");
        hidden.push(name);
        hidden.push(format!(".{}-{attempt}{TEMPORARY}", std::process::id()));
        let temporary = directory_of(path).join(hidden);
        match OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)
        {
            Ok(file) => return Ok((temporary, file)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && attempt < TEMPORARY_NAMES => attempt += 1,
            Err(error) => return Err(error),
        }
    }
}

fn write(mut file: File, bytes: &[u8], readers: Readers) -> io::Result<()> {
    let mode = match readers {
        Readers::Owner => 0o600,
        Readers::Group(group) => {
            // The sandbox of a service forbids the call, even where it changes nothing.
            if file.metadata()?.gid() != group {
                fchown(&file, None, Some(group))?;
            }
            0o640
        }
    };
    // A umask can have taken bits of the owner away.
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// The name is examined before the file is opened, so that a pipe does not block and a device does nothing, and the
/// opened file is compared with what was examined, in case it was exchanged in between.
fn open_once(path: &Path) -> Result<File, OpenError> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => OpenError::Missing,
        // A link has come there since.
        _ if rustix::io::Errno::from_io_error(&error) == Some(rustix::io::Errno::LOOP) => OpenError::NotAFile,
        _ => OpenError::Io(error),
    };
    let named = fs::symlink_metadata(path).map_err(failed)?;
    check(path, &named)?;
    let file = open_unfollowed(path).map_err(failed)?;
    let opened = file.metadata().map_err(OpenError::Io)?;
    if (opened.dev(), opened.ino()) != (named.dev(), named.ino()) {
        return Err(OpenError::NotAFile);
    }
    check(path, &opened)?;
    Ok(file)
}

fn open_unfollowed(path: &Path) -> io::Result<File> {
    // Flags of open(2) are below 2^31.
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32;
    OpenOptions::new().read(true).custom_flags(flags).open(path)
}

fn check(path: &Path, metadata: &fs::Metadata) -> Result<(), OpenError> {
    if !metadata.is_file() {
        return Err(OpenError::NotAFile);
    }
    let owner = metadata.uid();
    if owner != 0 && owner != rustix::process::geteuid().as_raw() {
        let directory = fs::metadata(directory_of(path)).map_err(OpenError::Io)?;
        if owner != directory.uid() {
            return Err(OpenError::Owner(owner));
        }
    }
    let mode = metadata.mode() & 0o7777;
    if mode & 0o077 != 0 && !planted("loose-key-file-accepted") {
        return Err(OpenError::Permissions(mode));
    }
    if metadata.nlink() > 1 {
        return Err(OpenError::Names);
    }
    Ok(())
}

/// Whether this is the name of a temporary file: `.NAME.PROCESS-ATTEMPT.new`.
pub fn is_temporary(name: &[u8]) -> bool {
    let numbers = || {
        let rest = name.strip_prefix(b".")?.strip_suffix(TEMPORARY.as_bytes())?;
        let dot = rest.iter().rposition(|&byte| byte == b'.')?;
        let (process, attempt) = rest[dot + 1..].split_at_checked(rest[dot + 1..].iter().position(|&b| b == b'-')?)?;
        let digits = |bytes: &[u8]| !bytes.is_empty() && bytes.iter().all(u8::is_ascii_digit);
        Some(dot > 0 && digits(process) && digits(&attempt[1..]))
    };
    numbers() == Some(true)
}

pub(crate) fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests;
