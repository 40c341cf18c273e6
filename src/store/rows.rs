//! Rows in PostgreSQL's binary COPY format, gathered into large pieces.
//!
//! Why not the library's writer: it hands its connection's task 4 KiB at a time, and each piece costs a wake and a
//! system call.

use bytes::{BufMut, Bytes, BytesMut};
use tokio_postgres::types::{IsNull, ToSql, Type};

use super::StoreError;

const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// What is sent at a time.
const PIECE: usize = 64 * 1024;

/// Rows that were not sent yet.
pub(super) struct Rows<'t> {
    types: &'t [Type],
    waiting: BytesMut,
}

impl<'t> Rows<'t> {
    pub(super) fn new(types: &'t [Type]) -> Self {
        let mut waiting = BytesMut::with_capacity(PIECE + PIECE / 8);
        waiting.put_slice(HEADER);
        Self { types, waiting }
    }

    /// One value for each type.
    pub(super) fn push(&mut self, values: &[&(dyn ToSql + Sync)]) -> Result<(), StoreError> {
        let unfit = |why: &dyn std::fmt::Display| StoreError::Value(why.to_string());
        self.waiting.put_i16(i16::try_from(values.len()).map_err(|why| unfit(&why))?);
        for (value, kind) in values.iter().zip(self.types) {
            let at = self.waiting.len();
            self.waiting.put_i32(-1);
            let null = value.to_sql_checked(kind, &mut self.waiting).map_err(|why| unfit(&why))?;
            if matches!(null, IsNull::No) {
                let length = i32::try_from(self.waiting.len() - at - 4).map_err(|why| unfit(&why))?;
                self.waiting[at..at + 4].copy_from_slice(&length.to_be_bytes());
            }
        }
        Ok(())
    }

    /// A piece that is worth being sent.
    pub(super) fn piece(&mut self) -> Option<Bytes> {
        (self.waiting.len() >= PIECE).then(|| self.waiting.split().freeze())
    }

    /// The last piece.
    pub(super) fn end(mut self) -> Bytes {
        self.waiting.put_i16(-1);
        self.waiting.freeze()
    }
}
