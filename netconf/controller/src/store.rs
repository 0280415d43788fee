//! Where a controller keeps its networks: in a file of SQLite, or in a PostgreSQL database that several controllers share.
//!
//! All statements are the same for both ([`database`]); what the two do differently is how they are opened, how a
//! network is locked, and how others are told.

mod changes;
mod database;
mod error;
mod migrations;
#[cfg(feature = "postgres")]
mod postgres;
mod records;
mod sqlite;

use std::path::Path;

use farlan_netconf::NetworkId;
use tokio::sync::broadcast;

pub use changes::{Change, Changes};
pub use error::StoreError;

pub(crate) use database::Transaction;
pub(crate) use records::{DelegateRecord, InviteRecord, MemberRecord, NetworkRecord, Reserved};

/// An open store. It holds the keys of networks, plain: whoever reads it controls them.
///
/// A process opens a store once, since closing it a second time would give up the locks of the first.
pub struct Store {
    backend: Backend,
    changes: broadcast::Sender<Change>,
}

enum Backend {
    Sqlite(sqlite::SqliteStore),
    #[cfg(feature = "postgres")]
    Postgres(postgres::PostgresStore),
}

/// Changes that may be waiting to be read; whoever falls behind farther reads everything anew.
const CHANGES: usize = 256;

impl Store {
    /// Opens the store in the file at `path`, or makes it there with mode 0600.
    ///
    /// # Errors
    /// [`StoreError`]: the file is open to others, is no database, was written by a newer version, …
    pub async fn open_file(path: &Path) -> Result<Self, StoreError> {
        Ok(Self {
            backend: Backend::Sqlite(sqlite::SqliteStore::open(path).await?),
            changes: broadcast::Sender::new(CHANGES),
        })
    }

    /// Opens the store at `url`, `postgres://USER:PASSWORD@HOST/DATABASE` or, by a Unix socket,
    /// `postgres:///DATABASE?host=/run/postgresql&user=USER`. It makes its tables in the schema that it finds itself in.
    ///
    /// # Errors
    /// [`StoreError`]: the database does not answer, is not on this machine and `sslmode=disable` was not said, …
    #[cfg(feature = "postgres")]
    pub async fn open_postgres(url: &str) -> Result<Self, StoreError> {
        let changes = broadcast::Sender::new(CHANGES);
        Ok(Self {
            backend: Backend::Postgres(postgres::PostgresStore::open(url, changes.clone()).await?),
            changes,
        })
    }

    /// Opens what `[controller] store` of a configuration names: a `postgres://` URL, or else a path.
    ///
    /// # Errors
    /// [`StoreError`]; a URL in a build without PostgreSQL, or of another database.
    pub async fn open(place: &str) -> Result<Self, StoreError> {
        let scheme = place.split_once("://").map(|(scheme, _)| scheme);
        match scheme {
            #[cfg(feature = "postgres")]
            Some("postgres" | "postgresql") => Self::open_postgres(place).await,
            #[cfg(not(feature = "postgres"))]
            Some("postgres" | "postgresql") => Err(StoreError::Url(
                "this farlan was built without PostgreSQL: build it with `--features postgres`, or name a file"
                    .to_owned(),
            )),
            Some(other) => Err(StoreError::Url(format!(
                "a controller's store is a file or begins with postgres://, not with {other}://"
            ))),
            None => Self::open_file(Path::new(place)).await,
        }
    }

    /// What changes from now on. A change is told once it lasts.
    pub fn changes(&self) -> Changes {
        Changes(self.changes.subscribe())
    }

    /// Writes what is to be written and closes the store.
    pub async fn close(&self) {
        match &self.backend {
            Backend::Sqlite(store) => store.close().await,
            #[cfg(feature = "postgres")]
            Backend::Postgres(store) => store.close().await,
        }
    }

    /// Begins a transaction that writes.
    pub(crate) async fn begin(&self) -> Result<Transaction, StoreError> {
        match &self.backend {
            Backend::Sqlite(store) => store.begin().await,
            #[cfg(feature = "postgres")]
            Backend::Postgres(store) => store.begin().await,
        }
    }

    /// Begins a transaction that only reads.
    pub(crate) async fn read(&self) -> Result<Transaction, StoreError> {
        match &self.backend {
            Backend::Sqlite(store) => store.read().await,
            #[cfg(feature = "postgres")]
            Backend::Postgres(store) => store.read().await,
        }
    }

    /// Commits a transaction that changed `network`, and tells of it.
    #[cfg_attr(
        not(feature = "postgres"),
        expect(unused_mut, reason = "only PostgreSQL is told within the transaction")
    )]
    pub(crate) async fn commit_change(
        &self,
        mut transaction: Transaction,
        network: &NetworkId,
    ) -> Result<(), StoreError> {
        match &self.backend {
            Backend::Sqlite(_) => {
                transaction.commit().await?;
                let _ = self.changes.send(Change::Network(*network));
            }
            // The listener hears of it as of everybody else's.
            #[cfg(feature = "postgres")]
            Backend::Postgres(_) => {
                postgres::notify(&mut transaction, network).await?;
                transaction.commit().await?;
            }
        }
        Ok(())
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.backend {
            Backend::Sqlite(_) => "Store(SQLite)",
            #[cfg(feature = "postgres")]
            Backend::Postgres(_) => "Store(PostgreSQL)",
        })
    }
}
