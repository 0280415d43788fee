//! An exported network key in a file.
//!
//! Whoever reads the file controls the network. So it is a [private file](farlan_crypto::private_file), and one that others
//! could have read or placed is refused.

use std::io::{self, Read};
use std::path::Path;

use farlan_crypto::{Work, private_file};
use farlan_netconf::private::{ExportedKey, ExportedKeyError};
use zeroize::Zeroizing;

use crate::error::ControllerError;
use crate::store::StoreError;

/// Writes the key to a new file with mode 0600.
///
/// # Errors
/// [`AlreadyExists`](io::ErrorKind::AlreadyExists) if there is anything at `path`, which is left as it is; the system
/// refuses.
pub fn write_key_file(path: &Path, key: &ExportedKey) -> io::Result<()> {
    private_file::create(path, key.to_text().as_bytes())
}

/// Reads the key in a file. The keys of holders in its config must carry `work`.
///
/// # Errors
/// [`StoreError::File`] for what is wrong with the file, [`ExportedKeyError`] for its content.
pub fn read_key_file(path: &Path, work: Work) -> Result<ExportedKey, ControllerError> {
    let file = private_file::open(path).map_err(|error| StoreError::file(path, error))?;
    let mut text = Zeroizing::new(String::with_capacity(ExportedKey::MAX_TEXT + 1));
    let read = file.take(ExportedKey::MAX_TEXT as u64 + 1).read_to_string(&mut text);
    read.map_err(|_| ExportedKeyError::NotAKey)?;
    Ok(ExportedKey::parse(&text, work)?)
}
