//! A duration as PostgreSQL's `interval`, in microseconds.

use std::{error::Error, time::Duration};

use bytes::{BufMut, BytesMut};
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};

type BoxError = Box<dyn Error + Sync + Send>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Interval(pub(super) Duration);

impl ToSql for Interval {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, BoxError> {
        out.put_i64(i64::try_from(self.0.as_micros())?);
        out.put_i32(0);
        out.put_i32(0);
        Ok(IsNull::No)
    }

    fn accepts(kind: &Type) -> bool {
        *kind == Type::INTERVAL
    }

    to_sql_checked!();
}

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
