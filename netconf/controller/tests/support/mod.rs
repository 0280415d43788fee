//! Where the tests' stores are.
#![allow(clippy::unwrap_used, reason = "tests fail by panics")]
#![allow(dead_code, reason = "each test program uses a part of this")]
#![allow(unreachable_pub, reason = "the test programs are the public")]

mod people;
mod postgres;

pub use people::*;
pub use postgres::Server;

use std::sync::Arc;

use farlan_controller::Store;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgSslMode};
use sqlx::{AssertSqlSafe, Connection};
use tempfile::TempDir;

/// Runs a test on a runtime with threads, as several controllers and applicants are.
pub fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    runtime.unwrap().block_on(test);
}

/// Makes of each function two tests: one on a file, one on a database.
#[macro_export]
macro_rules! on_both_stores {
    ($($test:ident,)*) => {
        mod sqlite {
            $(#[test]
            fn $test() {
                $crate::support::run(async { super::$test($crate::support::Place::file()).await });
            })*
        }

        mod postgres {
            $(#[test]
            fn $test() {
                $crate::support::run(async { super::$test($crate::support::Place::database().await).await });
            })*
        }
    };
}

/// Where a test's store is.
pub enum Place {
    File(TempDir),
    Database { server: Arc<Server>, url: String },
}

impl Place {
    pub fn file() -> Self {
        Self::File(tempfile::tempdir().unwrap())
    }

    pub async fn database() -> Self {
        let server = Server::shared();
        let url = server.database().await;
        Self::Database { server, url }
    }

    /// An empty one of the same kind.
    pub async fn another(&self) -> Self {
        match self {
            Self::File(_) => Self::file(),
            Self::Database { .. } => Self::database().await,
        }
    }

    /// What the configuration would say.
    pub fn name(&self) -> String {
        match self {
            Self::File(directory) => directory.path().join("controller.db").to_str().unwrap().to_owned(),
            Self::Database { url, .. } => url.clone(),
        }
    }

    pub async fn open(&self) -> Store {
        Store::open(&self.name()).await.unwrap()
    }
}

impl Server {
    /// A new database, as a URL.
    pub async fn database(&self) -> String {
        let name = self.new_name();
        self.run("postgres", &format!("CREATE DATABASE {name}")).await;
        self.url(&name)
    }

    /// Runs a statement in one of the databases.
    pub async fn run(&self, database: &str, sql: &str) {
        let options = PgConnectOptions::new()
            .socket(self.socket_directory())
            .username("farlan")
            .database(database)
            .ssl_mode(PgSslMode::Disable);
        let mut connection = PgConnection::connect_with(&options).await.unwrap();
        sqlx::query(AssertSqlSafe(sql.to_owned()))
            .execute(&mut connection)
            .await
            .unwrap();
        connection.close().await.unwrap();
    }
}
