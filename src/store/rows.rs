//! Rows in PostgreSQL's binary COPY format, gathered into large pieces.
//!
//! Why not the library's writer: it hands its connection's task 4 KiB at a time, and each piece costs a wake and a
//! system call. Why not its conversions: they are called through a pointer and checked for each value anew, at twice
//! the cost, and there is one row for each request.

use std::{
    net::IpAddr,
    time::{Duration, SystemTime},
};

use bytes::{BufMut, Bytes, BytesMut};
use uuid::Uuid;

const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// What is sent at a time.
const PIECE: usize = 64 * 1024;
/// PostgreSQL counts from the year 2000.
const EPOCH: Duration = Duration::from_secs(946_684_800);
const NULL: i32 = -1;

/// Rows that were not sent yet.
pub(super) struct Rows(BytesMut);

/// A row that is being written, value by value in the order of its columns.
pub(super) struct Row<'r>(&'r mut BytesMut);

impl Rows {
    pub(super) fn new() -> Self {
        let mut waiting = BytesMut::with_capacity(PIECE + PIECE / 8);
        waiting.put_slice(HEADER);
        Self(waiting)
    }

    /// Begins a row of so many values.
    pub(super) fn row(&mut self, values: i16) -> Row<'_> {
        self.0.put_i16(values);
        Row(&mut self.0)
    }

    /// A piece that is worth being sent.
    pub(super) fn piece(&mut self) -> Option<Bytes> {
        (self.0.len() >= PIECE).then(|| self.0.split().freeze())
    }

    /// The last piece.
    pub(super) fn end(mut self) -> Bytes {
        self.0.put_i16(-1);
        self.0.freeze()
    }
}

impl Row<'_> {
    fn value(&mut self, parts: [&[u8]; 2]) {
        // No value of ours comes near the limit of 1 GiB.
        let length = parts[0].len() + parts[1].len();
        self.0.reserve(4 + length);
        self.0.put_i32(i32::try_from(length).unwrap_or(i32::MAX));
        self.0.put_slice(parts[0]);
        self.0.put_slice(parts[1]);
    }

    fn option<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        match value {
            Some(value) => write(self, value),
            None => self.0.put_i32(NULL),
        }
    }

    pub(super) fn uuid(&mut self, id: Uuid) {
        self.value([id.as_bytes(), &[]]);
    }

    pub(super) fn maybe_uuid(&mut self, id: Option<Uuid>) {
        self.option(id, Self::uuid);
    }

    pub(super) fn timestamptz(&mut self, time: SystemTime) {
        self.int8(match time.duration_since(SystemTime::UNIX_EPOCH + EPOCH) {
            Ok(since) => micros(since),
            Err(earlier) => -micros(earlier.duration()),
        });
    }

    /// In microseconds; without days or months.
    pub(super) fn interval(&mut self, duration: Duration) {
        self.value([&micros(duration).to_be_bytes(), &[0; 8]]);
    }

    /// One of our own words.
    pub(super) fn word(&mut self, word: &'static str) {
        self.value([word.as_bytes(), &[]]);
    }

    /// One NUL would make PostgreSQL refuse the whole batch.
    pub(super) fn text(&mut self, text: &str) {
        if memchr::memchr(0, text.as_bytes()).is_some() {
            self.value([text.replace('\0', "").as_bytes(), &[]]);
        } else {
            self.value([text.as_bytes(), &[]]);
        }
    }

    /// Without a mask that is shorter than the address.
    pub(super) fn inet(&mut self, ip: IpAddr) {
        match ip {
            IpAddr::V4(ip) => self.value([&[2, 32, 0, 4], &ip.octets()]),
            IpAddr::V6(ip) => self.value([&[3, 128, 0, 16], &ip.octets()]),
        }
    }

    pub(super) fn maybe_inet(&mut self, ip: Option<IpAddr>) {
        self.option(ip, Self::inet);
    }

    pub(super) fn bool(&mut self, value: bool) {
        self.value([&[value.into()], &[]]);
    }

    pub(super) fn int4(&mut self, number: i32) {
        self.value([&number.to_be_bytes(), &[]]);
    }

    pub(super) fn int8(&mut self, number: i64) {
        self.value([&number.to_be_bytes(), &[]]);
    }

    /// `json` is text that is JSON.
    pub(super) fn jsonb(&mut self, json: &[u8]) {
        self.value([&[1], json]);
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}
