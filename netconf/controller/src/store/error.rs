//! Why a store does not do what it should.

use std::path::PathBuf;
use std::time::Duration;

use farlan_crypto::private_file;
use sqlx::migrate::MigrateError;
use thiserror::Error;

/// Why a store cannot be opened, read or written. Nothing was changed then, except where the answer to a commit was lost
/// ([`Lost`](Self::Lost), [`Silent`](Self::Silent)): asking again is right in every case.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The file of the store, or of a key, is not one that farlan may believe, or that was kept secret.
    #[error("{} is not used: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// The text that names a store names none.
    #[error("{0}")]
    Url(String),
    /// A newer farlan has changed the store.
    #[error("the controller's store was written by a newer farlan: install that version again, or a later one")]
    Newer,
    /// The tables are not those that farlan makes.
    #[error(
        "the tables of the controller's store cannot be brought up to date ({0}): give farlan a database of its own, or restore a backup"
    )]
    Tables(MigrateError),
    /// Another process writes to the store, and does not end.
    #[error("the controller's store is busy: another program has kept it open for writing; end that, and try again")]
    Busy,
    /// The disk is full, or may not be written to.
    #[error(
        "the controller's store cannot be written ({0}): make room on its disk, or give farlan back the right to write there"
    )]
    Full(String),
    /// The database is not there any more.
    #[error(
        "the controller's database does not answer ({0}): see that PostgreSQL runs and lets farlan in; farlan tries again by itself"
    )]
    Lost(String),
    /// The database does not answer in time.
    #[error("the controller's database has not answered for {} s: see whether it is overloaded; farlan tries again by itself", after.as_secs())]
    Silent {
        /// How long it was waited for.
        after: Duration,
    },
    /// The store holds what farlan does not write.
    #[error(
        "the controller's store is damaged ({0}): restore a backup, or import the exported network key into a new store"
    )]
    Damaged(&'static str),
    /// The database refuses a statement.
    #[error("the controller's database refuses: {0}")]
    Refused(sqlx::Error),
}

impl StoreError {
    pub(crate) fn file(path: &std::path::Path, error: private_file::OpenError) -> Self {
        use private_file::OpenError;
        let shown = path.display();
        let reason = match error {
            OpenError::Missing => "it has just been removed; try again".to_owned(),
            OpenError::NotAFile => "it is a link, a directory or a device: put the database itself there".to_owned(),
            OpenError::Names => {
                "it has another name (a hard link), by which others may reach it: remove that".to_owned()
            }
            OpenError::Owner(owner) => {
                format!(
                    "it belongs to user {owner}, who so knows the keys in it: give it with `chown` to the user that farlan runs as, or move it away"
                )
            }
            OpenError::Permissions(mode) => {
                format!("it is open to other users (mode {mode:04o}): run `chmod 600 {shown}`")
            }
            OpenError::Io(error) => error.to_string(),
        };
        Self::File {
            path: path.into(),
            reason,
        }
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        use sqlx::Error;
        match error {
            Error::Database(ref refused) => match refused.code().as_deref() {
                // SQLite's result codes, in decimal: the lower 8 bits are the kind (SQLITE_BUSY 5, LOCKED 6, READONLY 8,
                // IOERR 10, CORRUPT 11, FULL 13, CANTOPEN 14, NOTADB 26).
                Some(code) if code.len() < 5 => match code.parse::<u32>().map(|code| code & 0xff) {
                    Ok(5 | 6) => Self::Busy,
                    Ok(8 | 10 | 13 | 14) => Self::Full(refused.message().to_owned()),
                    Ok(11 | 26) => Self::Damaged("SQLite finds the file malformed"),
                    _ => Self::Refused(error),
                },
                // Classes of PostgreSQL: 08 connection, 28 not let in, 53 resources (disk full, too many connections),
                // 57 the server is going down, starting, or ended the statement; 3D the database does not exist.
                Some("53100") => Self::Full(refused.message().to_owned()),
                Some(code) if ["08", "28", "3D", "53", "57"].contains(&&code[..2]) => {
                    Self::Lost(refused.message().to_owned())
                }
                Some("55P03") => Self::Busy,
                _ => Self::Refused(error),
            },
            Error::Io(error) => Self::Lost(error.to_string()),
            Error::PoolTimedOut => Self::Lost("no connection in time".to_owned()),
            Error::PoolClosed | Error::WorkerCrashed => Self::Lost("the connection was closed".to_owned()),
            Error::Protocol(message) => Self::Lost(message),
            Error::Tls(message) => Self::Lost(message.to_string()),
            Error::Configuration(message) => Self::Url(format!("the controller's database cannot be used: {message}")),
            Error::ColumnDecode { .. } | Error::Decode(_) => Self::Damaged("a column of another type"),
            other => Self::Refused(other),
        }
    }
}

impl From<MigrateError> for StoreError {
    fn from(error: MigrateError) -> Self {
        match error {
            MigrateError::VersionMissing(_) | MigrateError::VersionTooNew(..) => Self::Newer,
            MigrateError::Execute(error) => match Self::from(error) {
                Self::Refused(error) => Self::Tables(MigrateError::Execute(error)),
                known => known,
            },
            other => Self::Tables(other),
        }
    }
}
