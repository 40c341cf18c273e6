//! From the journal to the database, whatever becomes of it meanwhile.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::{task::JoinHandle, time::timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{cluster::Database, of_account, record, records};
use crate::{
    record::{Journal, Record},
    store::{Recorder, RecorderCounts},
};

const DAY: Duration = Duration::from_secs(86_400);
const SOON: Duration = Duration::from_secs(20);
const ROWS: &str = "select count(*) from request_logs";

struct Running {
    journal: Arc<Journal>,
    counts: Arc<RecorderCounts>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    fn on(database: &Database, room: usize) -> Self {
        let journal = Arc::new(Journal::new(room));
        let recorder = Recorder::new(database.another(), Arc::clone(&journal), Uuid::now_v7(), DAY);
        let (counts, stop) = (recorder.counts(), CancellationToken::new());
        let task = tokio::spawn(recorder.run(stop.clone()));
        Self { journal, counts, stop, task }
    }

    fn put(&self, records: &[Record]) {
        records.iter().for_each(|record| self.journal.put(record.clone()));
    }

    fn written(&self) -> u64 {
        self.counts.written.load(Ordering::Relaxed)
    }

    fn lost(&self) -> u64 {
        self.counts.lost.load(Ordering::Relaxed) + self.journal.refused()
    }

    /// It comes by the clock and tells nobody.
    async fn has_dealt_with(&self, records: u64) {
        let done = async {
            while self.written() + self.lost() < records {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(SOON, done).await.expect("records were left");
    }

    async fn end(self) {
        self.stop.cancel();
        timeout(SOON, self.task).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn one_bad_record_takes_no_other_along() {
    let database = Database::new().await;
    let no_poison = "alter table request_logs add check (account not like 'poison%')";
    database.client().await.batch_execute(no_poison).await.unwrap();
    let mut all = records(5000);
    for place in [0, 17, 3999, 4000, 4999] {
        all[place] = of_account(&format!("poison {place}"));
    }
    let recorder = Running::on(&database, 10_000);
    recorder.put(&all);
    recorder.has_dealt_with(5000).await;
    assert_eq!((recorder.written(), recorder.lost()), (4995, 5));
    assert_eq!(database.count(ROWS).await, 4995);
    recorder.end().await;
}

#[tokio::test]
async fn a_commit_that_was_not_heard_of_is_neither_repeated_nor_a_loss() {
    let database = Database::new().await;
    let all = records(300);
    // These went in, but their writer believes that they did not.
    database.store.copy_in(Uuid::now_v7(), &all[..200]).await.unwrap();
    let recorder = Running::on(&database, 1000);
    recorder.put(&all);
    recorder.has_dealt_with(300).await;
    assert_eq!((recorder.written(), recorder.lost()), (300, 0));
    assert_eq!(database.count(ROWS).await, 300);
    recorder.end().await;
}

#[tokio::test]
async fn records_wait_while_the_database_is_away_and_what_has_no_room_is_counted() {
    let database = Database::new().await;
    let recorder = Running::on(&database, 50);
    recorder.put(&records(10));
    recorder.has_dealt_with(10).await;

    database.go_away().await;
    let waiting = records(40);
    recorder.put(&waiting);
    recorder.put(&records(30));
    database.come_back().await;
    recorder.has_dealt_with(80).await;

    assert!(recorder.lost() >= 20, "70 came and 50 had room");
    assert_eq!(database.count(ROWS).await, 80 - i64::try_from(recorder.lost()).unwrap());
    let first = database.store.record(waiting[0].id).await.unwrap();
    assert!(first.is_some(), "the oldest were kept");
    recorder.end().await;
}

#[tokio::test]
async fn a_table_that_is_not_there_for_a_while_costs_nothing() {
    let database = Database::new().await;
    database.client().await.batch_execute("alter table request_logs rename to away").await.unwrap();
    let recorder = Running::on(&database, 1000);
    recorder.put(&records(20));
    // Long enough for a first try.
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!((recorder.written(), recorder.lost()), (0, 0));
    database.client().await.batch_execute("alter table away rename to request_logs").await.unwrap();
    recorder.has_dealt_with(20).await;
    assert_eq!((recorder.written(), recorder.lost()), (20, 0));
    recorder.end().await;
}

#[tokio::test]
async fn the_last_records_are_flushed_at_the_end() {
    let database = Database::new().await;
    let recorder = Running::on(&database, 1000);
    recorder.stop.cancel();
    let last = record();
    recorder.put(std::slice::from_ref(&last));
    recorder.end().await;
    assert!(database.store.record(last.id).await.unwrap().is_some());
}
