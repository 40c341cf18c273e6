//! The way of finished records from the journal to PostgreSQL.
//!
//! Comes by the clock, so that nobody has to wake it. While the database is away records stay in the journal as far as
//! it holds them; what is lost is counted and said.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{Store, StoreError};
use crate::record::{Journal, Record};

const BUSY: Duration = Duration::from_millis(25);
const IDLE: Duration = Duration::from_millis(100);
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
const BATCH: usize = 4000;
const RETENTION_PERIOD: Duration = Duration::from_secs(60);

/// Empties the journal into the database.
pub struct Recorder {
    store: Store,
    journal: Arc<Journal>,
    instance: Uuid,
    retention: Duration,
    counts: Arc<RecorderCounts>,
}

/// What became of the records, since the start.
#[derive(Debug, Default)]
pub struct RecorderCounts {
    pub written: AtomicU64,
    /// Beside those that the journal refused.
    pub lost: AtomicU64,
}

impl Recorder {
    /// Records are those of `instance`; older ones than `retention` are dropped.
    #[must_use]
    pub fn new(store: Store, journal: Arc<Journal>, instance: Uuid, retention: Duration) -> Self {
        Self { store, journal, instance, retention, counts: Arc::default() }
    }

    #[must_use]
    pub fn counts(&self) -> Arc<RecorderCounts> {
        Arc::clone(&self.counts)
    }

    /// Goes on until `stop`, then flushes what is left.
    pub async fn run(self, stop: CancellationToken) {
        let mut pause = BUSY;
        let mut refused = 0;
        let mut expire_at = Instant::now();
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                () = sleep(pause) => {}
            }
            refused = self.report_refused(refused);
            let records = self.journal.take();
            let any = !records.is_empty();
            pause = match self.write(records).await {
                Ok(()) if any => BUSY,
                Ok(()) => IDLE,
                Err(error) => self.after_failure(pause, &error),
            };
            if Instant::now() >= expire_at && pause <= IDLE {
                expire_at = Instant::now() + RETENTION_PERIOD;
                self.expire().await;
            }
        }
        self.flush().await;
    }

    /// The last records. A database that is away is tried for as long as the caller waits.
    async fn flush(&self) {
        while !self.journal.is_empty() {
            if let Err(error) = self.write(self.journal.take()).await {
                tracing::warn!(%error, waiting = self.journal.len(), "records cannot be written; trying again");
                sleep(FIRST_PAUSE).await;
            }
        }
    }

    /// Writes in batches. What could not be written because the database is away goes back to the journal.
    async fn write(&self, mut records: Vec<Record>) -> Result<(), StoreError> {
        while !records.is_empty() {
            let rest = records.split_off(records.len().min(BATCH));
            match self.store.copy_in(self.instance, &records).await {
                Ok(()) => self.count_written(records.len()),
                Err(error) if error.is_unavailable() => {
                    records.extend(rest);
                    self.journal.give_back(records);
                    return Err(error);
                }
                Err(error) => self.write_what_can_be(records, &error).await?,
            }
            records = rest;
        }
        Ok(())
    }

    /// The database refused a batch: a record in it must not take the others along.
    async fn write_what_can_be(&self, records: Vec<Record>, refusal: &StoreError) -> Result<(), StoreError> {
        let mut parts = vec![records];
        while let Some(mut part) = parts.pop() {
            match self.store.copy_in(self.instance, &part).await {
                Ok(()) => self.count_written(part.len()),
                Err(error) if error.is_unavailable() => {
                    part.extend(parts.into_iter().flatten());
                    self.journal.give_back(part);
                    return Err(error);
                }
                Err(_) if part.len() > 1 => {
                    let half = part.split_off(part.len() / 2);
                    parts.extend([half, part]);
                }
                Err(error) => {
                    self.counts.lost.fetch_add(1, Ordering::Relaxed);
                    tracing::error!(%error, %refusal, id = %part[0].id, "a record cannot be written and is lost");
                }
            }
        }
        Ok(())
    }

    fn count_written(&self, records: usize) {
        self.counts.written.fetch_add(records as u64, Ordering::Relaxed);
    }

    fn after_failure(&self, pause: Duration, error: &StoreError) -> Duration {
        let next = if pause <= IDLE { FIRST_PAUSE } else { (pause * 2).min(LONGEST_PAUSE) };
        tracing::warn!(%error, waiting = self.journal.len(), "records cannot be written; trying again");
        next
    }

    /// Says it when the journal had to refuse records.
    fn report_refused(&self, before: u64) -> u64 {
        let refused = self.journal.refused();
        if refused > before {
            let lost = refused - before;
            tracing::error!(lost, "records were lost: more finished than RESIN_LOG_QUEUE lets wait");
        }
        refused
    }

    async fn expire(&self) {
        let Some(before) = SystemTime::now().checked_sub(self.retention) else { return };
        match self.store.delete_records_before(before).await {
            Ok(0) => {}
            Ok(dropped) => tracing::info!(dropped, "records beyond RESIN_LOG_RETENTION were dropped"),
            Err(error) => tracing::warn!(%error, "old records could not be dropped"),
        }
    }
}
