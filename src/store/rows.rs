//! Rows in PostgreSQL's binary COPY format, gathered into large pieces.
//!
//! Why not the library's writer: it hands its connection's task 4 KiB at a time, and each piece costs a wake and a
//! system call. Why not its conversions: they are called through a pointer and checked for each value anew, at twice
//! the cost, and there is one row for each request.

use std::{
    net::IpAddr,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use uuid::Uuid;

const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// What is sent at a time.
const PIECE: usize = 64 * 1024;
/// PostgreSQL counts from the year 2000.
const EPOCH: Duration = Duration::from_secs(946_684_800);
const NULL: i32 = -1;

/// Rows that were not sent yet.
pub(super) struct Rows(Vec<u8>);

/// A row that is being written, value by value in the order of its columns.
pub(super) struct Row<'r>(&'r mut Vec<u8>);

impl Rows {
    pub(super) fn new() -> Self {
        let mut waiting = room();
        waiting.extend_from_slice(HEADER);
        Self(waiting)
    }

    /// Begins a row of so many values.
    pub(super) fn row(&mut self, values: i16) -> Row<'_> {
        self.0.extend_from_slice(&values.to_be_bytes());
        Row(&mut self.0)
    }

    /// A piece that is worth being sent.
    pub(super) fn piece(&mut self) -> Option<Bytes> {
        (self.0.len() >= PIECE).then(|| std::mem::replace(&mut self.0, room()).into())
    }

    /// The last piece.
    pub(super) fn end(mut self) -> Bytes {
        self.0.extend_from_slice(&(-1_i16).to_be_bytes());
        self.0.into()
    }
}

fn room() -> Vec<u8> {
    Vec::with_capacity(PIECE + PIECE / 8)
}

impl Row<'_> {
    fn length(&mut self, length: usize) {
        // No value of ours comes near the limit of 1 GiB.
        self.0.extend_from_slice(&i32::try_from(length).unwrap_or(i32::MAX).to_be_bytes());
    }

    /// One whose size is known beforehand costs no call.
    fn fixed<const N: usize>(&mut self, value: [u8; N]) {
        self.length(N);
        self.0.extend_from_slice(&value);
    }

    fn bytes(&mut self, value: &[u8]) {
        self.length(value.len());
        self.0.extend_from_slice(value);
    }

    fn option<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        match value {
            Some(value) => write(self, value),
            None => self.0.extend_from_slice(&NULL.to_be_bytes()),
        }
    }

    pub(super) fn uuid(&mut self, id: Uuid) {
        self.fixed(id.into_bytes());
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

    /// Microseconds, and no days and no months behind them.
    pub(super) fn interval(&mut self, duration: Duration) {
        self.fixed((i128::from(micros(duration)) << 64).to_be_bytes());
    }

    /// One of our own words.
    pub(super) fn word(&mut self, word: &'static str) {
        self.bytes(word.as_bytes());
    }

    /// One NUL would make PostgreSQL refuse the whole batch.
    pub(super) fn text(&mut self, text: &str) {
        if text.as_bytes().contains(&0) {
            self.bytes(text.replace('\0', "").as_bytes());
        } else {
            self.bytes(text.as_bytes());
        }
    }

    /// Without a mask that is shorter than the address.
    pub(super) fn inet(&mut self, ip: IpAddr) {
        match ip {
            IpAddr::V4(ip) => {
                self.length(8);
                self.0.extend_from_slice(&[2, 32, 0, 4]);
                self.0.extend_from_slice(&ip.octets());
            }
            IpAddr::V6(ip) => {
                self.length(20);
                self.0.extend_from_slice(&[3, 128, 0, 16]);
                self.0.extend_from_slice(&ip.octets());
            }
        }
    }

    pub(super) fn maybe_inet(&mut self, ip: Option<IpAddr>) {
        self.option(ip, Self::inet);
    }

    pub(super) fn bool(&mut self, value: bool) {
        self.fixed([value.into()]);
    }

    pub(super) fn int4(&mut self, number: i32) {
        self.fixed(number.to_be_bytes());
    }

    pub(super) fn int8(&mut self, number: i64) {
        self.fixed(number.to_be_bytes());
    }

    /// `json` is text that is JSON.
    pub(super) fn jsonb(&mut self, json: &[u8]) {
        self.length(1 + json.len());
        self.0.push(1);
        self.0.extend_from_slice(json);
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}
