//! The store in a PostgreSQL database, which several controllers of the same networks share.
//!
//! Whoever changes a network locks its row first, so that changes of one network follow each other and those of
//! different networks do not wait for each other. At its end the transaction tells all controllers by NOTIFY.

use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use farlan_netconf::NetworkId;
use sqlx::postgres::{PgConnectOptions, PgListener, PgPool, PgPoolOptions, PgSslMode};
use tokio::sync::broadcast;
use tokio::task::JoinHandle;
use tracing::{info, warn};

use super::changes::Change;
use super::database::{Transaction, patiently};
use super::error::StoreError;
use super::migrations::{Dialect, migrator};

/// The channel on which controllers tell each other which network changed.
const CHANNEL: &str = "farlan_changed";

/// Connections of one controller: as many transactions run at a time, the others wait. One more listens. A server has 100
/// to give unless told otherwise, for all controllers together.
const CONNECTIONS: u32 = 8;

/// How long somebody waits for one of them.
const QUEUE: Duration = Duration::from_secs(15);

/// After how long the server ends a statement, and a transaction whose controller says nothing: a controller that vanished must
/// not keep the networks locked that it was changing. In milliseconds.
const LIMITS: [(&str, &str); 3] = [
    ("statement_timeout", "15000"),
    ("lock_timeout", "10000"),
    ("idle_in_transaction_session_timeout", "15000"),
];

/// How long after a failure the listener connects anew.
const RECONNECT: Duration = Duration::from_secs(2);

pub(crate) struct PostgresStore {
    pool: PgPool,
    listener: JoinHandle<()>,
}

impl PostgresStore {
    pub(crate) async fn open(url: &str, changes: broadcast::Sender<Change>) -> Result<Self, StoreError> {
        let options = options(url)?;
        let pool = PgPoolOptions::new()
            .max_connections(CONNECTIONS)
            .acquire_timeout(QUEUE)
            .connect_with(options.clone())
            .await?;
        // Takes an advisory lock, so controllers that start at once do not meet.
        patiently(async { Ok(migrator(Dialect::Postgres).run(&pool).await) }).await??;
        let listener = listen(options.clone()).await?;
        let listener = tokio::spawn(tell(listener, options, changes));
        Ok(Self { pool, listener })
    }

    pub(crate) async fn begin(&self) -> Result<Transaction, StoreError> {
        Ok(Transaction::Postgres(patiently(self.pool.begin()).await?))
    }

    /// A transaction that sees the database at one moment, and cannot write.
    pub(crate) async fn read(&self) -> Result<Transaction, StoreError> {
        let begin = self.pool.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY");
        Ok(Transaction::Postgres(patiently(begin).await?))
    }

    pub(crate) async fn close(&self) {
        self.listener.abort();
        self.pool.close().await;
    }
}

impl Drop for PostgresStore {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

/// Has all controllers told of a change once the transaction is committed.
pub(crate) async fn notify(transaction: &mut Transaction, network: &NetworkId) -> Result<(), StoreError> {
    let text = network.to_string();
    let values = [CHANNEL.into(), text.as_str().into()];
    transaction.rows("SELECT pg_notify($1, $2)", &values).await?;
    Ok(())
}

/// The keys of networks go to the database, and this connection is not encrypted. So one that leaves the machine has to be asked
/// for by name.
fn options(url: &str) -> Result<PgConnectOptions, StoreError> {
    let options = PgConnectOptions::from_str(url)?;
    let host = options.get_host();
    let here = options.get_socket().is_some()
        || host.starts_with('/')
        || host == "localhost"
        || IpAddr::from_str(host).is_ok_and(|address| address.is_loopback());
    match options.get_ssl_mode() {
        PgSslMode::Disable => {}
        PgSslMode::Prefer | PgSslMode::Allow if here => {}
        PgSslMode::Prefer | PgSslMode::Allow => {
            return Err(StoreError::Url(format!(
                "the database at {host} would get the keys of networks without encryption: use one on this machine, or, if the \
                 way there is safe (a tunnel, or a network of farlan), say so with `?sslmode=disable` at the end of the address"
            )));
        }
        _ => {
            return Err(StoreError::Url(
                "farlan does not speak TLS with PostgreSQL: use a Unix socket, or a tunnel and `sslmode=disable`"
                    .to_owned(),
            ));
        }
    }
    Ok(options
        .ssl_mode(PgSslMode::Disable)
        .application_name("farlan-controller")
        .options(LIMITS))
}

async fn listen(options: PgConnectOptions) -> Result<PgListener, StoreError> {
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .max_lifetime(None)
        .idle_timeout(None)
        .connect_with(options)
        .await?;
    let mut listener = PgListener::connect_with(&pool).await?;
    // What comes while nobody listens is lost, so that has to be noticed: a lost connection must not mend itself unseen.
    listener.eager_reconnect(false);
    listener.listen(CHANNEL).await?;
    Ok(listener)
}

/// Passes on what other controllers tell. After each gap everything may have changed, and that is what is said.
async fn tell(mut listener: PgListener, options: PgConnectOptions, changes: broadcast::Sender<Change>) {
    loop {
        match listener.try_recv().await {
            Ok(Some(notification)) => {
                // Whoever cannot be understood is a newer farlan.
                let change = notification
                    .payload()
                    .parse()
                    .map_or(Change::Everything, Change::Network);
                // Nobody listens: then nobody has to know.
                let _ = changes.send(change);
                continue;
            }
            Ok(None) => warn!("the controller's database closed the connection on which it tells of changes"),
            Err(error) => warn!(%error, "the controller's database does not tell of changes any more"),
        }
        listener = loop {
            match listen(options.clone()).await {
                Ok(listener) => break listener,
                Err(_) => tokio::time::sleep(RECONNECT).await,
            }
        };
        info!("the controller's database tells of changes again");
        let _ = changes.send(Change::Everything);
    }
}
