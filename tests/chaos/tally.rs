//! The ledger: for every request's id, what nodes and origins saw of it.
//!
//! Counted is the strictest there is: a request whose head an origin has read, and also bytes of one that merely lay in
//! the socket of a node or an origin when it hung up. All of it is judged after the last connection has ended.

use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering::SeqCst};

/// In front of the id in every request's path.
const MARK: &[u8] = b"/c/";
const DIGITS: usize = 8;

/// The path that carries an id.
pub fn path(id: usize) -> String {
    format!("/c/{id:08}")
}

/// The first id in these bytes.
pub fn id_in(bytes: &[u8]) -> Option<usize> {
    let at = bytes.windows(MARK.len()).position(|window| window == MARK)? + MARK.len();
    std::str::from_utf8(bytes.get(at..at + DIGITS)?).ok()?.parse().ok()
}

#[derive(Default)]
struct Entry {
    /// An origin read the head.
    delivered: AtomicU8,
    /// Bytes of it came to an origin that hung up before there was a head.
    touched: AtomicU8,
    /// A node passed its head on.
    passed: AtomicU8,
    /// Bytes of it came to a node that hung up on them.
    held: AtomicU8,
}

pub struct Tally {
    entries: Vec<Entry>,
    /// Bodies that an origin read to their end and that were not what the client had sent.
    pub mangled: AtomicUsize,
}

/// What was seen of a request, anywhere.
#[derive(Debug, Clone, Copy)]
pub struct Seen {
    pub delivered: u8,
    pub touched: u8,
    pub passed: u8,
    pub held: u8,
}

impl Seen {
    /// More than once, at an origin or at a node.
    pub fn twice(self) -> bool {
        self.at_origins() + self.held > 1 || self.passed + self.held > 1
    }

    pub fn never(self) -> bool {
        self.at_origins() + self.held + self.passed == 0
    }

    fn at_origins(self) -> u8 {
        self.delivered + self.touched
    }
}

impl Tally {
    pub fn of(requests: usize) -> Self {
        Self {
            entries: std::iter::repeat_with(Entry::default).take(requests).collect(),
            mangled: AtomicUsize::new(0),
        }
    }

    pub fn delivered(&self, id: usize) {
        self.entries[id].delivered.fetch_add(1, SeqCst);
    }

    /// Unread or unfinished bytes at an origin, of the request that was under way where they bear no id.
    pub fn touched(&self, bytes: &[u8], under_way: usize) {
        if let Some(entry) = self.entry(bytes, under_way) {
            entry.touched.fetch_add(1, SeqCst);
        }
    }

    /// The same at a node.
    pub fn held(&self, bytes: &[u8], under_way: usize) {
        if let Some(entry) = self.entry(bytes, under_way) {
            entry.held.fetch_add(1, SeqCst);
        }
    }

    fn entry(&self, bytes: &[u8], under_way: usize) -> Option<&Entry> {
        match id_in(bytes) {
            _ if bytes.is_empty() => None,
            id => Some(&self.entries[id.unwrap_or(under_way)]),
        }
    }

    /// A node hands these bytes on.
    pub fn passing(&self, bytes: &[u8]) {
        if let Some(id) = id_in(bytes) {
            self.entries[id].passed.fetch_add(1, SeqCst);
        }
    }

    pub fn seen(&self, id: usize) -> Seen {
        let entry = &self.entries[id];
        Seen {
            delivered: entry.delivered.load(SeqCst),
            touched: entry.touched.load(SeqCst),
            passed: entry.passed.load(SeqCst),
            held: entry.held.load(SeqCst),
        }
    }
}
