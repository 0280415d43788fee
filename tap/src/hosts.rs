//! A marked block in `/etc/hosts`: names of members, where nothing better resolves them.
//!
//! ```text
//! # BEGIN farlan <owner> (farlan takes this out again when it ends)
//! 10.128.16.7 ann.lan.farlan.internal
//! # END farlan <owner>
//! ```
//!
//! What lies outside the block stays as it is, byte for byte. The file is replaced by a rename, so that whoever reads it sees the
//! old one or the new one; where that cannot be, because the file itself is mounted there as in containers, it is written in place.

use std::ffi::OsString;
use std::fs::{self, File, Metadata, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read, Write};
use std::net::IpAddr;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use crate::requests::HostName;

/// The file (hosts(5)).
pub(crate) const FILE: &str = "/etc/hosts";

/// What all names end with; only lines with such names are ever taken out.
pub(crate) const DOMAIN: &str = "farlan.internal";

/// The contents of a file with the block of `owner` anew, or without one if there are no names.
pub(crate) fn with_block(contents: &[u8], owner: &str, names: &[HostName]) -> Vec<u8> {
    let mut out = without_block(contents, owner);
    if names.is_empty() {
        return out;
    }
    let unfinished = out.last().is_some_and(|last| *last != b'\n');
    let note = if unfinished { UNFINISHED } else { FINISHED };
    if unfinished {
        out.push(b'\n');
    }
    let mut block = format!("{BEGIN}{owner}{note}\n");
    for name in names {
        let addresses = name.addresses();
        addresses.for_each(|address| block.push_str(&format!("{address} {}\n", name.name)));
    }
    block.push_str(&format!("{END}{owner}\n"));
    out.extend_from_slice(block.as_bytes());
    out
}

/// The contents without any block of `owner`. Of what stands between the marks only lines that farlan could have written are
/// taken out, so nothing is lost if somebody removed a mark, or wrote between them.
fn without_block(contents: &[u8], owner: &str) -> Vec<u8> {
    let end = format!("{END}{owner}");
    let begin = [FINISHED, UNFINISHED].map(|note| format!("{BEGIN}{owner}{note}"));
    let mut out = Vec::with_capacity(contents.len());
    let (mut inside, mut unfinished) = (false, false);
    for line in contents.split_inclusive(|byte| *byte == b'\n') {
        let text = line.strip_suffix(b"\n").unwrap_or(line);
        if let Some(note) = begin.iter().position(|begin| begin.as_bytes() == text) {
            inside = true;
            unfinished = note == 1;
        } else if inside && text == end.as_bytes() {
            inside = false;
        } else if !inside || !is_ours(text) {
            // Somebody wrote something behind the line that had no end, which needs one now, unless it is another node.
            let others = text
                .starts_with(BEGIN.as_bytes())
                .then(|| text.strip_suffix(FINISHED.as_bytes()));
            match others.flatten().filter(|_| unfinished) {
                Some(begin) => out.extend_from_slice(&[begin, UNFINISHED.as_bytes(), b"\n"].concat()),
                None => out.extend_from_slice(line),
            }
            unfinished = false;
        }
    }
    if unfinished {
        out.pop_if(|last| *last == b'\n');
    }
    out
}

/// Whether farlan could have written a line of a block.
fn is_ours(line: &[u8]) -> bool {
    let Ok(line) = std::str::from_utf8(line) else {
        return false;
    };
    let fields = line.split_once(' ');
    fields.is_some_and(|(address, name)| address.parse::<IpAddr>().is_ok() && is_name(name))
}

/// Whether a text is `MEMBER.NETWORK.farlan.internal`.
pub(crate) fn is_name(text: &str) -> bool {
    let Some(labels) = text.strip_suffix(DOMAIN).and_then(|rest| rest.strip_suffix('.')) else {
        return false;
    };
    let is_label = |label: &str| {
        let plain = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
        (1..=63).contains(&label.len()) && label.bytes().all(plain) && !label.starts_with('-') && !label.ends_with('-')
    };
    let mut labels = labels.split('.');
    matches!((labels.next(), labels.next(), labels.next()), (Some(member), Some(network), None) if is_label(member) && is_label(network))
}

/// Puts the block of `owner` into the file at `path`, or takes it out if there are no names. Nothing is written if it is so already.
///
/// # Errors
/// The file is missing where names are to stand in it; it is longer than [`LONGEST`]; it was changed again and again meanwhile;
/// the system refuses.
pub(crate) fn replace(path: &Path, owner: &str, names: &[HostName]) -> io::Result<()> {
    // What a link leads to is replaced, not the link.
    let path = match fs::canonicalize(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && names.is_empty() => return Ok(()),
        path => path?,
    };
    let directory = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    // Helpers of several nodes take turns. Other programs know nothing of it, so the file is looked at again before the end.
    let lock = File::open(directory)?;
    take_turn(&lock)?;
    for _ in 0..TRIES {
        let before = Contents::read(&path)?;
        let wanted = with_block(&before.bytes, owner, names);
        if wanted == before.bytes {
            return Ok(());
        }
        let replaced = match exchange(&path, owner, &before, &wanted) {
            Err(error) if is_mounted(&error) => in_place(&path, &before, &wanted).map_err(|_| error),
            replaced => replaced,
        };
        if replaced? {
            return Ok(());
        }
    }
    Err(io::Error::other("others change it all the time"))
}

/// A file as it was read.
struct Contents {
    bytes: Vec<u8>,
    metadata: Metadata,
}

impl Contents {
    fn read(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::other("it is no file"));
        }
        let mut bytes = Vec::new();
        file.take(LONGEST + 1).read_to_end(&mut bytes)?;
        if u64::try_from(bytes.len()).is_ok_and(|length| length > LONGEST) {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        Ok(Self { bytes, metadata })
    }

    /// Whether the same file with the same contents is still there.
    fn is_still_at(&self, path: &Path) -> io::Result<bool> {
        let now = Self::read(path)?;
        let same = |metadata: &Metadata| (metadata.dev(), metadata.ino());
        Ok(now.bytes == self.bytes && same(&now.metadata) == same(&self.metadata))
    }
}

fn take_turn(directory: &File) -> io::Result<()> {
    for _ in 0..LOOKS {
        match directory.try_lock() {
            Err(TryLockError::WouldBlock) => thread::sleep(BETWEEN_LOOKS),
            Err(TryLockError::Error(error)) => return Err(error),
            Ok(()) => return Ok(()),
        }
    }
    Err(io::ErrorKind::WouldBlock.into())
}

/// Whether renaming fails because the file or its directory is mounted there by itself.
fn is_mounted(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EBUSY | libc::EXDEV | libc::EROFS))
}

/// Replaces the file by one with the same owner, mode and label. `false` if it was changed since it was read.
fn exchange(path: &Path, owner: &str, before: &Contents, wanted: &[u8]) -> io::Result<bool> {
    let temporary = temporary(path, owner);
    // One that is left of a run that was killed. Nobody but root can have put anything else there.
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let exchanged = (|| {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC)
            .open(&temporary)?;
        file.write_all(wanted)?;
        let (own, old) = (file.metadata()?, &before.metadata);
        if (own.uid(), own.gid()) != (old.uid(), old.gid()) {
            fchown(&file, Some(old.uid()), Some(old.gid()))?;
        }
        file.set_permissions(Permissions::from_mode(old.mode() & 0o7777))?;
        copy_label(path, &file);
        file.sync_all()?;
        if !before.is_still_at(path)? {
            return Ok(false);
        }
        fs::rename(&temporary, path)?;
        Ok(true)
    })();
    if !matches!(exchanged, Ok(true)) {
        // It is there no more, or was never made.
        let _ = fs::remove_file(&temporary);
    }
    exchanged
}

/// Where the new file is written: in the same directory, hidden, and always under the same name.
fn temporary(path: &Path, owner: &str) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".farlan-{owner}"));
    path.with_file_name(name)
}

/// Gives a new file the label that SELinux tells the old one's use by. Without SELinux there is none.
fn copy_label(from: &Path, to: &File) {
    let mut label = [0; 256];
    if let Ok(length) = rustix::fs::getxattr(from, LABEL, &mut label) {
        let label = label.get(..length).unwrap_or_default();
        // Where it is refused, the file has its directory's, which may do.
        let _ = rustix::fs::fsetxattr(to, LABEL, label, rustix::fs::XattrFlags::empty());
    }
}

/// Writes the file in place. `false` if it was changed since it was read.
fn in_place(path: &Path, before: &Contents, wanted: &[u8]) -> io::Result<bool> {
    let file = OpenOptions::new().write(true).open(path)?;
    if !before.is_still_at(path)? {
        return Ok(false);
    }
    file.write_all_at(wanted, 0)?;
    file.set_len(u64::try_from(wanted.len()).map_err(io::Error::other)?)?;
    file.sync_all()?;
    Ok(true)
}

const BEGIN: &str = "# BEGIN farlan ";
const END: &str = "# END farlan ";

/// What follows the owner in the first line. By the second, whose last line had no end gets it back so.
const FINISHED: &str = " (farlan takes this out again when it ends)";
const UNFINISHED: &str = " (farlan takes this out again when it ends, with the line end before it)";

/// Bytes of the longest file that is read: blocklists of some megabytes are in use.
const LONGEST: u64 = 32 << 20;

/// How often the file is read again because somebody changed it meanwhile.
const TRIES: u32 = 5;

/// How often, and with which pause, another helper's end is waited for: 2 s.
const LOOKS: u32 = 100;
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);

const LABEL: &str = "security.selinux";

#[cfg(test)]
mod tests;
