//! The way of finished records from the journal to PostgreSQL.
//!
//! Comes by the clock, so that nobody has to wake it. While the database is away records stay in the journal as far as
//! it holds them; what is lost is counted and said.

use std::{
    collections::{HashSet, VecDeque},
    iter,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{Store, StoreError, records::DELETED_AT_ONCE};
use crate::record::{Journal, Record};

const TICK: Duration = Duration::from_millis(40);
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
        let mut pause = TICK;
        let mut refused = 0;
        let mut expire_at = Instant::now();
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                () = sleep(pause) => {}
            }
            refused = self.report_refused(refused);
            let records = self.journal.take();
            pause = match self.write(records).await {
                Ok(()) => TICK,
                Err(error) => self.after_failure(pause, &error),
            };
            if Instant::now() >= expire_at && pause <= TICK {
                let more = self.expire().await;
                expire_at = if more { Instant::now() } else { Instant::now() + RETENTION_PERIOD };
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

    /// Writes in batches. What cannot be written for now goes back to the journal.
    async fn write(&self, records: Vec<Record>) -> Result<(), StoreError> {
        let mut parts = batches(records);
        while let Some(part) = parts.pop_front() {
            match self.store.copy_in(self.instance, &part).await {
                Ok(()) => self.count_written(part.len()),
                Err(StoreError::Value(why)) => {
                    let (there, ours) = match self.store.record_ids_of(&part).await {
                        Ok(there) => (there, part),
                        Err(error) => return Err(self.give_back(part, parts, error)),
                    };
                    self.isolate(ours, &there, &mut parts, &why);
                }
                Err(error) => return Err(self.give_back(part, parts, error)),
            }
        }
        Ok(())
    }

    /// The database refused a value: a record must not take the others along. Those that are there already are from
    /// a COPY whose commit was not heard of.
    fn isolate(
        &self,
        mut part: Vec<Record>,
        there: &HashSet<Uuid>,
        parts: &mut VecDeque<Vec<Record>>,
        why: &str,
    ) {
        if !there.is_empty() {
            self.count_written(there.len());
            part.retain(|record| !there.contains(&record.id));
            if !part.is_empty() {
                parts.push_front(part);
            }
        } else if part.len() > 1 {
            let half = part.split_off(part.len() / 2);
            parts.push_front(half);
            parts.push_front(part);
        } else if let [record] = &part[..] {
            self.counts.lost.fetch_add(1, Ordering::Relaxed);
            tracing::error!(error = why, id = %record.id, "a record cannot be written and is lost");
        }
    }

    fn give_back(&self, part: Vec<Record>, rest: VecDeque<Vec<Record>>, error: StoreError) -> StoreError {
        self.journal.give_back(iter::once(part).chain(rest).flatten().collect());
        error
    }

    fn count_written(&self, records: usize) {
        self.counts.written.fetch_add(records as u64, Ordering::Relaxed);
    }

    fn after_failure(&self, pause: Duration, error: &StoreError) -> Duration {
        let next = if pause <= TICK { FIRST_PAUSE } else { (pause * 2).min(LONGEST_PAUSE) };
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

    /// Drops some of the old records. Whether there are more: new ones go in between.
    async fn expire(&self) -> bool {
        let Some(before) = SystemTime::now().checked_sub(self.retention) else { return false };
        match self.store.delete_records_before(before).await {
            Ok(0) => false,
            Ok(dropped) => {
                tracing::info!(dropped, "records beyond RESIN_LOG_RETENTION were dropped");
                dropped >= DELETED_AT_ONCE
            }
            Err(error) => {
                tracing::warn!(%error, "old records could not be dropped");
                false
            }
        }
    }
}

fn batches(records: Vec<Record>) -> VecDeque<Vec<Record>> {
    if (1..=BATCH).contains(&records.len()) {
        return VecDeque::from([records]);
    }
    let mut records = records.into_iter();
    iter::repeat_with(|| records.by_ref().take(BATCH).collect::<Vec<_>>())
        .take_while(|batch| !batch.is_empty())
        .collect()
}
