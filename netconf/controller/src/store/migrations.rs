//! The tables, made and altered when a store is opened.

use std::borrow::Cow;

use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::{AssertSqlSafe, SqlSafeStr};

/// For which database the statements are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    Sqlite,
    #[cfg(feature = "postgres")]
    Postgres,
}

/// Every migration, oldest first. What stands here is never altered: stores exist that were made by it.
const MIGRATIONS: [(i64, &str, &str); 1] = [(1, "store", include_str!("../../migrations/0001_store.sql"))];

/// Brings a store of any age up to date.
pub(crate) fn migrator(dialect: Dialect) -> Migrator {
    let migrations = MIGRATIONS.map(|(version, description, sql)| {
        let sql = AssertSqlSafe(translated(sql, dialect)).into_sql_str();
        Migration::new(version, Cow::Borrowed(description), MigrationType::Simple, sql, false)
    });
    Migrator::with_migrations(migrations.into())
}

/// The statements as the database spells them. PostgreSQL sorts text by the rules of a language unless told otherwise,
/// and its tables are strict anyway.
fn translated(sql: &str, dialect: Dialect) -> String {
    match dialect {
        Dialect::Sqlite => sql.replace("BYTEA", "BLOB").replace("BIGINT", "INTEGER"),
        #[cfg(feature = "postgres")]
        Dialect::Postgres => sql.replace(" STRICT;", ";").replace(" TEXT ", " TEXT COLLATE \"C\" "),
    }
}
