//! A duration as PostgreSQL's `interval`, in microseconds.

use std::{error::Error, time::Duration};

use tokio_postgres::types::{FromSql, Type};

type BoxError = Box<dyn Error + Sync + Send>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Interval(pub(super) Duration);

impl FromSql<'_> for Interval {
    fn from_sql(_: &Type, raw: &[u8]) -> Result<Self, BoxError> {
        let micros: [u8; 8] = raw.get(..8).ok_or("an interval of less than 8 bytes")?.try_into()?;
        let micros = u64::try_from(i64::from_be_bytes(micros)).unwrap_or(0);
        Ok(Self(Duration::from_micros(micros)))
    }

    fn accepts(kind: &Type) -> bool {
        *kind == Type::INTERVAL
    }
}
