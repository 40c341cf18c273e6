//! What can go wrong with the database, told apart by what a caller can do about it.

use std::error::Error;

use deadpool_postgres::PoolError;
use tokio_postgres::{
    Row,
    error::{DbError, SqlState},
    types::FromSql,
};

/// The database failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It cannot be reached, or cannot take part for the moment. Trying again later may help.
    #[error("the database is not available: {0}")]
    Unavailable(String),
    /// It refused a statement, whatever the values.
    #[error("the database: {0}")]
    Refused(String),
    /// It refused a value: the same statement passes with others.
    #[error("the database refused a value: {0}")]
    Value(String),
    #[error("migration: {0}")]
    Migration(String),
    #[error("the database connection cannot be set up: {0}")]
    Tls(String),
    /// A row that this version cannot read.
    #[error("the database holds something unreadable: {0}")]
    Unreadable(String),
}

impl StoreError {
    #[must_use]
    pub fn is_unavailable(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }

    pub(super) fn unreachable(error: &tokio_postgres::Error) -> Self {
        Self::Unavailable(chain(error))
    }

    pub(super) fn from_postgres(error: &tokio_postgres::Error) -> Self {
        match cause(error) {
            Cause::Passing => Self::Unavailable(chain(error)),
            Cause::Value => Self::Value(chain(error)),
            Cause::Statement => Self::Refused(chain(error)),
        }
    }

    pub(super) fn late() -> Self {
        Self::Unavailable("it does not answer".to_owned())
    }
}

impl From<tokio_postgres::Error> for StoreError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::from_postgres(&error)
    }
}

impl From<PoolError> for StoreError {
    /// No connection: whatever the reason, there may be one later.
    fn from(error: PoolError) -> Self {
        Self::Unavailable(chain(&error))
    }
}

/// A write was refused, or failed.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    #[error("not found")]
    NotFound,
    #[error("the name is in use")]
    NameInUse,
    #[error("the platform `Default` can be neither renamed nor deleted")]
    DefaultProtected,
    #[error("the etag is not the current one")]
    StaleEtag,
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<tokio_postgres::Error> for WriteError {
    fn from(error: tokio_postgres::Error) -> Self {
        if error.code() == Some(&SqlState::UNIQUE_VIOLATION) {
            Self::NameInUse
        } else {
            Self::Store(error.into())
        }
    }
}

enum Cause {
    Passing,
    Value,
    Statement,
}

fn cause(error: &tokio_postgres::Error) -> Cause {
    let Some(code) = error.code() else {
        // Not the server's word: the connection's.
        return Cause::Passing;
    };
    match &code.code()[..2] {
        // Connection, resources, operator intervention, serialization and deadlock, the server's disk.
        "08" | "53" | "57" | "40" | "58" => Cause::Passing,
        _ if *code == SqlState::READ_ONLY_SQL_TRANSACTION => Cause::Passing,
        // Data, integrity, limits of size.
        "22" | "23" | "54" => Cause::Value,
        _ => Cause::Statement,
    }
}

/// A column of a row. One that cannot be read says nothing about the connection.
pub(super) fn column<'r, T: FromSql<'r>>(row: &'r Row, name: &str) -> Result<T, StoreError> {
    row.try_get(name).map_err(|error| StoreError::Unreadable(chain(&error)))
}

/// An error with everything below it: Postgres hides its reason in the sources.
pub(super) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = said(cause);
        if !text.ends_with(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

/// The server's details may quote a row, and rows have secrets: its message and code are enough.
fn said(cause: &(dyn Error + 'static)) -> String {
    match cause.downcast_ref::<DbError>() {
        Some(error) => format!("{} ({})", error.message(), error.code().code()),
        None => cause.to_string(),
    }
}
