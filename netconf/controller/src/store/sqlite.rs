//! The store in a file: SQLite, compiled in.
//!
//! What is acknowledged is on disk (`synchronous = FULL`: each commit waits for the write-ahead log to reach the disk). There is one
//! connection that writes, so that those who write queue up here instead of meeting locks, and some that only read,
//! which the log lets read meanwhile.

use std::io;
use std::path::Path;
use std::time::Duration;

use farlan_crypto::private_file;
use sqlx::sqlite::{Sqlite, SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};

use super::database::{Transaction, patiently};
use super::error::StoreError;
use super::migrations::{Dialect, migrator};

/// How long a statement waits for another process that writes (a backup, an administrator's shell).
pub(crate) const BUSY: Duration = Duration::from_secs(10);

/// Connections that read: each is a thread with a cache of its own, and reading is rare.
const READERS: u32 = 2;

/// How long somebody waits for the connection that writes. A transaction takes milliseconds, so thousands are ahead of
/// whoever waits so long.
const QUEUE: Duration = Duration::from_secs(30);

pub(crate) struct SqliteStore {
    writer: SqlitePool,
    readers: SqlitePool,
}

impl SqliteStore {
    /// Opens the store at `path`, or makes it: mode 0600, as are the two files that SQLite keeps beside it (`-wal`,
    /// `-shm`), which take the mode of the first.
    pub(crate) async fn open(path: &Path) -> Result<Self, StoreError> {
        match private_file::create(path, b"") {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => {
                return Err(StoreError::File {
                    path: path.into(),
                    reason: format!("it cannot be made: {error}"),
                });
            }
        }
        // Closed before SQLite opens the file: closing any descriptor of it later would give up SQLite's locks.
        drop(private_file::open(path).map_err(|error| StoreError::file(path, error))?);
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(false)
            .busy_timeout(BUSY)
            .foreign_keys(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            // What was deleted (seeds of networks, secrets of invites) is not to be read in the file afterwards.
            .pragma("secure_delete", "ON");
        let writer = pool(1).connect_with(options.clone()).await?;
        patiently(async { Ok(migrator(Dialect::Sqlite).run(&writer).await) }).await??;
        let readers = pool(READERS).connect_lazy_with(options.read_only(true));
        Ok(Self { writer, readers })
    }

    pub(crate) async fn begin(&self) -> Result<Transaction, StoreError> {
        // A transaction that begins by reading could not write any more once another one has written.
        let transaction = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        Ok(Transaction::Sqlite(transaction))
    }

    pub(crate) async fn read(&self) -> Result<Transaction, StoreError> {
        Ok(Transaction::Sqlite(self.readers.begin().await?))
    }

    pub(crate) async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}

fn pool(connections: u32) -> SqlitePoolOptions {
    sqlx::pool::PoolOptions::<Sqlite>::new()
        .max_connections(connections)
        .acquire_timeout(QUEUE)
        // A connection to a file does not age, and a new one would begin with a cold cache.
        .max_lifetime(None)
        .idle_timeout(None)
        .test_before_acquire(false)
}
