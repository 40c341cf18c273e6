//! Finished records between the data plane and PostgreSQL: bounded, and never a reason to wait.
//!
//! One mutex-guarded queue. Why no channel: a channel whose receiver waits is woken by a send, and a wake costs more
//! than the rest of the request. The reader drains by the clock instead.

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::Record;

/// The bounded queue of finished records.
#[derive(Debug)]
pub struct Journal {
    queue: Mutex<Vec<Record>>,
    limit: usize,
    refused: AtomicU64,
}

impl Journal {
    /// A journal that holds at most `limit` records (`RESIN_LOG_QUEUE`).
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { queue: Mutex::new(Vec::new()), limit, refused: AtomicU64::new(0) }
    }

    /// Takes a record, or counts it as lost when the journal is full. Never blocks on IO, wakes nobody.
    pub fn put(&self, record: Record) {
        let mut queue = self.queue.lock();
        if queue.len() < self.limit {
            queue.push(record);
        } else {
            drop(queue);
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Everything that waits, oldest first; the journal is empty afterwards.
    #[must_use]
    pub fn take(&self) -> Vec<Record> {
        let mut queue = self.queue.lock();
        // Most likely as many come again: they are not to be moved about while the queue grows.
        let room = Vec::with_capacity(queue.len());
        std::mem::replace(&mut queue, room)
    }

    /// Gives back what could not be written, in front of what came since. What no longer fits is lost and counted:
    /// the newest records go first, so that what was promised longest stays.
    pub fn give_back(&self, mut records: Vec<Record>) {
        let mut queue = self.queue.lock();
        records.append(&mut queue);
        let lost = records.len().saturating_sub(self.limit);
        records.truncate(self.limit);
        *queue = records;
        drop(queue);
        self.refused.fetch_add(lost as u64, Ordering::Relaxed);
    }

    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.queue.lock().len()
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many were lost because the journal was full, since the start.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}
