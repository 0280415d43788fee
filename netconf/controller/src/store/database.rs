//! The two databases behind one face: transactions that run the same statements on either.
//!
//! Statements number their parameters (`$1`), and use what both databases know. Values keep their types: each is an
//! integer, bytes or text, as the column is.

use std::time::Duration;

use sqlx::Row as _;
#[cfg(feature = "postgres")]
use sqlx::postgres::{PgRow, Postgres};
use sqlx::sqlite::{Sqlite, SqliteRow};

use super::error::StoreError;

/// A parameter of a statement.
#[derive(Clone, Copy)]
pub(crate) enum Value<'a> {
    Integer(Option<i64>),
    Bytes(Option<&'a [u8]>),
    Text(&'a str),
}

/// A row of what a statement yields.
pub(crate) enum Row {
    Sqlite(SqliteRow),
    #[cfg(feature = "postgres")]
    Postgres(PgRow),
}

/// A transaction. Unless it is committed, nothing of it remains.
pub(crate) enum Transaction {
    Sqlite(sqlx::Transaction<'static, Sqlite>),
    #[cfg(feature = "postgres")]
    Postgres(sqlx::Transaction<'static, Postgres>),
}

/// How long one statement may take before the database counts as lost. A statement takes milliseconds; SQLite's wait for
/// another process ([`BUSY`](super::sqlite::BUSY)) and the server's own limits are shorter.
const PATIENCE: Duration = Duration::from_secs(20);

/// What comes of a statement, or that the database does not answer.
pub(crate) async fn patiently<T>(answer: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, StoreError> {
    match tokio::time::timeout(PATIENCE, answer).await {
        Ok(answer) => answer.map_err(StoreError::from),
        Err(_) => Err(StoreError::Silent { after: PATIENCE }),
    }
}

/// `sqlx::query` of either database with its parameters, whose types do not allow for one function.
macro_rules! bound {
    ($sql:expr, $values:expr) => {{
        let mut query = sqlx::query($sql);
        for value in $values {
            query = match *value {
                Value::Integer(integer) => query.bind(integer),
                Value::Bytes(bytes) => query.bind(bytes.map(<[u8]>::to_vec)),
                Value::Text(text) => query.bind(text.to_owned()),
            };
        }
        query
    }};
}

impl Transaction {
    /// Runs a statement, and says how many rows it changed.
    pub(crate) async fn execute(&mut self, sql: &'static str, values: &[Value<'_>]) -> Result<u64, StoreError> {
        match self {
            Self::Sqlite(transaction) => {
                let done = patiently(bound!(sql, values).execute(&mut **transaction)).await?;
                Ok(done.rows_affected())
            }
            #[cfg(feature = "postgres")]
            Self::Postgres(transaction) => {
                let done = patiently(bound!(sql, values).execute(&mut **transaction)).await?;
                Ok(done.rows_affected())
            }
        }
    }

    /// Runs a statement that yields rows.
    pub(crate) async fn rows(&mut self, sql: &'static str, values: &[Value<'_>]) -> Result<Vec<Row>, StoreError> {
        match self {
            Self::Sqlite(transaction) => {
                let rows = patiently(bound!(sql, values).fetch_all(&mut **transaction)).await?;
                Ok(rows.into_iter().map(Row::Sqlite).collect())
            }
            #[cfg(feature = "postgres")]
            Self::Postgres(transaction) => {
                let rows = patiently(bound!(sql, values).fetch_all(&mut **transaction)).await?;
                Ok(rows.into_iter().map(Row::Postgres).collect())
            }
        }
    }

    /// Runs a statement that yields a row or none.
    pub(crate) async fn row(&mut self, sql: &'static str, values: &[Value<'_>]) -> Result<Option<Row>, StoreError> {
        Ok(self.rows(sql, values).await?.into_iter().next())
    }

    /// Makes all of it last: once this returns, neither a killed process nor a lost machine undoes it.
    pub(crate) async fn commit(self) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(transaction) => patiently(transaction.commit()).await,
            #[cfg(feature = "postgres")]
            Self::Postgres(transaction) => patiently(transaction.commit()).await,
        }
    }
}

/// Reads column `$column` of either row as `$type`.
macro_rules! column {
    ($row:expr, $column:expr, $type:ty) => {
        match $row {
            Row::Sqlite(row) => row.try_get::<$type, _>($column),
            #[cfg(feature = "postgres")]
            Row::Postgres(row) => row.try_get::<$type, _>($column),
        }
        .map_err(StoreError::from)
    };
}

impl Row {
    pub(crate) fn integer(&self, column: usize) -> Result<i64, StoreError> {
        column!(self, column, i64)
    }

    pub(crate) fn optional_integer(&self, column: usize) -> Result<Option<i64>, StoreError> {
        column!(self, column, Option<i64>)
    }

    pub(crate) fn bytes(&self, column: usize) -> Result<Vec<u8>, StoreError> {
        column!(self, column, Vec<u8>)
    }

    pub(crate) fn optional_bytes(&self, column: usize) -> Result<Option<Vec<u8>>, StoreError> {
        column!(self, column, Option<Vec<u8>>)
    }

    pub(crate) fn text(&self, column: usize) -> Result<String, StoreError> {
        column!(self, column, String)
    }

    /// Bytes of a length that is fixed, as of keys and ids.
    pub(crate) fn array<const N: usize>(&self, column: usize) -> Result<[u8; N], StoreError> {
        let bytes = self.bytes(column)?;
        bytes
            .try_into()
            .map_err(|_| StoreError::Damaged("bytes of another length than they must have"))
    }

    /// A number that is never below zero, as of times and counts.
    pub(crate) fn unsigned(&self, column: usize) -> Result<u64, StoreError> {
        let integer = self.integer(column)?;
        u64::try_from(integer).map_err(|_| StoreError::Damaged("a number below zero"))
    }

    pub(crate) fn optional_unsigned(&self, column: usize) -> Result<Option<u64>, StoreError> {
        self.optional_integer(column)?
            .map(|integer| u64::try_from(integer).map_err(|_| StoreError::Damaged("a number below zero")))
            .transpose()
    }
}

/// A time or count as the databases hold it, which know no numbers from 2^63 on. Such a time is beyond all that happens.
impl From<u64> for Value<'_> {
    fn from(number: u64) -> Self {
        Self::Integer(Some(i64::try_from(number).unwrap_or(i64::MAX)))
    }
}

impl From<Option<u64>> for Value<'_> {
    fn from(number: Option<u64>) -> Self {
        number.map_or(Self::Integer(None), Self::from)
    }
}

impl<'a> From<&'a [u8]> for Value<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self::Bytes(Some(bytes))
    }
}

impl<'a, const N: usize> From<&'a [u8; N]> for Value<'a> {
    fn from(bytes: &'a [u8; N]) -> Self {
        Self::Bytes(Some(bytes))
    }
}

impl<'a> From<&'a Vec<u8>> for Value<'a> {
    fn from(bytes: &'a Vec<u8>) -> Self {
        Self::Bytes(Some(bytes))
    }
}

impl<'a, const N: usize> From<Option<&'a [u8; N]>> for Value<'a> {
    fn from(bytes: Option<&'a [u8; N]>) -> Self {
        Self::Bytes(bytes.map(<[u8; N]>::as_slice))
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text)
    }
}
