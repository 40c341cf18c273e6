//! Records in, out, and as a stream.

use std::{
    collections::HashSet,
    net::IpAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::task::JoinSet;
use tokio_postgres::Client;
use uuid::Uuid;

use super::{attempt, cluster::Database, node, of_account, record, records, refused};
use crate::{
    model::{ProxyType, ResinError},
    record::Record,
    store::{Cursor, RecordFilter, Store, StoredRecord},
};

const INSTANCE: Uuid = Uuid::from_u128(7);

fn ids<'a>(records: impl IntoIterator<Item = &'a StoredRecord>) -> Vec<Uuid> {
    records.into_iter().map(|record| record.id).collect()
}

fn ids_of(records: &[Record]) -> Vec<Uuid> {
    records.iter().map(|record| record.id).collect()
}

/// Everything that is settled behind the cursor, in batches of `limit`.
async fn drain(store: &Store, cursor: &mut Cursor, filter: &RecordFilter, limit: i64) -> Vec<StoredRecord> {
    let mut all = Vec::new();
    loop {
        let (batch, next) = store.records_after(*cursor, filter, limit).await.unwrap();
        assert!(next >= *cursor, "a cursor went back");
        *cursor = next;
        let last = (batch.len() as i64) < limit;
        all.extend(batch);
        if last {
            return all;
        }
    }
}

/// A row in whatever transaction the client has open.
async fn insert(client: &Client) -> Uuid {
    let id = Uuid::now_v7();
    let insert = "insert into request_logs (id, started_at, duration, proxy_type, client_ip, platform_name, account, \
        target_host, target_port, target_url, node_hash, node_tag, net_ok, http_method, http_status, resin_error, \
        upstream_stage, upstream_phase, upstream_err_kind, upstream_errno, upstream_err_msg, request_written, \
        ingress_bytes, egress_bytes, retry_attempts, retry_details, trace_id, instance_id) \
        values ($1, now(), '1 ms', 'FORWARD', '::1', '', '', '', 0, '', '', '', true, 'GET', 200, '', '', '', '', '', \
        '', false, 0, 0, 0, '[]', '', $1)";
    client.execute(insert, &[&id]).await.unwrap();
    id
}

#[tokio::test]
async fn a_record_is_read_as_it_was_written() {
    let database = Database::new().await;
    let node = node("http://u:hunter2@node.test:1", "first");
    let written = Record {
        client_ip: "2001:db8::1".parse().unwrap(),
        platform_id: Some(Uuid::now_v7()),
        node: Some(Arc::clone(&node)),
        net_ok: false,
        http_status: 502,
        resin_error: Some(ResinError::UpstreamRequestFailed),
        failure: Some(refused()),
        retries: vec![attempt(&node), attempt(&node)],
        trace_id: Some([0xab; 16]),
        account: "with\0NUL".to_owned(),
        ..record()
    };
    database.store.copy_in(INSTANCE, &[record(), written.clone()]).await.unwrap();

    let read = database.store.record(written.id).await.unwrap().unwrap();
    assert_eq!((read.duration, read.client_ip), (written.duration, written.client_ip));
    assert_eq!((read.platform_id, read.egress_ip), (written.platform_id, node.egress_ip));
    assert_eq!((&*read.account, &*read.upstream_err_msg), ("withNUL", "nobodylistens"));
    assert_eq!((&*read.node_hash, &*read.node_tag), (&*node.hash.to_string(), "first"));
    assert_eq!((read.http_status, &*read.resin_error), (502, "UPSTREAM_REQUEST_FAILED"));
    assert_eq!((&*read.upstream_stage, &*read.upstream_errno), ("connect_dial", "ECONNREFUSED"));
    assert_eq!((read.retry_attempts, read.retry_details.len()), (2, 2));
    let detail = &read.retry_details[0];
    assert_eq!((&*detail.err_kind, &*detail.duration), ("connection_refused", "0.000283s"));
    assert_eq!((read.trace_id, read.instance_id), ("ab".repeat(16), INSTANCE));
    let drift = written.started_at.duration_since(read.started_at).unwrap();
    assert!(drift < Duration::from_micros(1));
    assert!(database.store.record(Uuid::now_v7()).await.unwrap().is_none());
}

#[tokio::test]
async fn the_newest_come_first_and_pages_cover_all_once() {
    let database = Database::new().await;
    let same_moment = SystemTime::now();
    let mut written = records(25);
    written[5..15].iter_mut().for_each(|record| record.started_at = same_moment);
    database.store.copy_in(INSTANCE, &written).await.unwrap();

    let (mut paged, mut before) = (Vec::new(), None);
    loop {
        let page = database.store.records(&RecordFilter::default(), before, 4).await.unwrap();
        let Some(last) = page.last() else { break };
        before = Some((last.started_at, last.id));
        paged.extend(page);
    }
    assert_eq!(paged.len(), 25);
    assert_eq!(ids(&paged).into_iter().collect::<HashSet<_>>().len(), 25);
    assert!(paged.is_sorted_by_key(|record| std::cmp::Reverse((record.started_at, record.id))));
}

#[tokio::test]
async fn each_filter_keeps_what_it_names() {
    let database = Database::new().await;
    let node = node("direct://", "out");
    let odd = Record {
        platform_name: "Other".into(),
        account: "Ann".to_owned(),
        target_host: "odd.test".to_owned(),
        node: Some(Arc::clone(&node)),
        proxy_type: ProxyType::Reverse,
        net_ok: false,
        http_status: 503,
        resin_error: Some(ResinError::NoAvailableNodes),
        retries: vec![attempt(&node)],
        started_at: SystemTime::now() + Duration::from_secs(60),
        ..record()
    };
    database.store.copy_in(INSTANCE, &[record(), odd.clone(), record()]).await.unwrap();

    let any = RecordFilter::default;
    let later = Some(SystemTime::now() + Duration::from_secs(30));
    let egress_ip: Option<IpAddr> = node.egress_ip;
    for filter in [
        RecordFilter { platform_name: Some("Other".to_owned()), ..any() },
        RecordFilter { account: Some("Ann".to_owned()), ..any() },
        RecordFilter { target_host: Some("odd.test".to_owned()), ..any() },
        RecordFilter { node_hash: Some(node.hash), ..any() },
        RecordFilter { egress_ip, ..any() },
        RecordFilter { proxy_type: Some(ProxyType::Reverse), ..any() },
        RecordFilter { net_ok: Some(false), ..any() },
        RecordFilter { http_status: Some(503), ..any() },
        RecordFilter { resin_error: Some("NO_AVAILABLE_NODES".to_owned()), ..any() },
        RecordFilter { min_retry_attempts: Some(1), ..any() },
        RecordFilter { started_after: later, ..any() },
    ] {
        let listed = database.store.records(&filter, None, 10).await.unwrap();
        assert_eq!(ids(&listed), [odd.id], "{filter:?}");
        let mut cursor = Cursor::START;
        let streamed = drain(&database.store, &mut cursor, &filter, 10).await;
        assert_eq!(ids(&streamed), [odd.id], "{filter:?}");
    }
    let before = RecordFilter { started_before: later, ..any() };
    assert_eq!(database.store.records(&before, None, 10).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_transaction_that_commits_late_is_neither_lost_nor_are_others_repeated() {
    let database = Database::new().await;
    let late = database.client().await;
    late.batch_execute("begin").await.unwrap();
    let late_row = insert(&late).await;
    let early = records(3);
    database.store.copy_in(INSTANCE, &early).await.unwrap();

    let (any, mut cursor) = (RecordFilter::default(), Cursor::START);
    let seen_before = drain(&database.store, &mut cursor, &any, 2).await;
    late.batch_execute("commit").await.unwrap();
    let seen_after = drain(&database.store, &mut cursor, &any, 2).await;

    let expected: Vec<Uuid> = std::iter::once(late_row).chain(ids_of(&early)).collect();
    assert_eq!(ids(seen_before.iter().chain(&seen_after)), expected);
    assert!(drain(&database.store, &mut cursor, &any, 2).await.is_empty());
}

/// Writers whose transactions end in any order, some of them never.
#[tokio::test]
async fn readers_of_writers_at_once_lose_and_repeat_nothing() {
    let database = Database::new().await;
    let mut writers = JoinSet::new();
    for writer in 0..5_u64 {
        let client = database.client().await;
        writers.spawn(async move {
            let (mut random, mut committed) = (fastrand::Rng::with_seed(writer), Vec::new());
            for _ in 0..30 {
                client.batch_execute("begin").await.unwrap();
                let mut rows = Vec::new();
                for _ in 0..random.usize(1..5) {
                    rows.push(insert(&client).await);
                    tokio::time::sleep(Duration::from_micros(random.u64(0..3000))).await;
                }
                let keep = random.u8(0..5) > 0;
                client.batch_execute(if keep { "commit" } else { "rollback" }).await.unwrap();
                committed.extend(rows.into_iter().filter(|_| keep));
            }
            committed
        });
    }
    let (any, mut cursor, mut seen) = (RecordFilter::default(), Cursor::START, Vec::new());
    let mut committed = HashSet::new();
    while !writers.is_empty() {
        seen.extend(drain(&database.store, &mut cursor, &any, 7).await);
        while let Some(done) = writers.try_join_next() {
            committed.extend(done.unwrap());
        }
    }
    seen.extend(drain(&database.store, &mut cursor, &any, 7).await);

    let distinct: HashSet<Uuid> = ids(&seen).into_iter().collect();
    assert_eq!(distinct.len(), seen.len(), "a record came twice");
    assert_eq!(distinct, committed);
    assert!(seen.is_sorted_by_key(|record| record.cursor));
    // Whoever goes on from anywhere sees exactly the rest.
    let middle = seen.len() / 2;
    let rest = drain(&database.store, &mut seen[middle - 1].cursor.clone(), &any, 11).await;
    assert_eq!(ids(&rest), ids(&seen[middle..]));
}

#[tokio::test]
async fn a_transaction_that_is_left_open_in_another_database_holds_nothing_up() {
    let (database, elsewhere) = (Database::new().await, Database::new().await);
    let open = elsewhere.client().await;
    open.batch_execute("begin").await.unwrap();
    insert(&open).await;

    let written = records(3);
    database.store.copy_in(INSTANCE, &written).await.unwrap();
    let (any, mut cursor) = (RecordFilter::default(), Cursor::START);
    assert_eq!(ids(&drain(&database.store, &mut cursor, &any, 10).await), ids_of(&written));
    let (mut again, none) = (database.store.cursor_at_end().await.unwrap(), cursor);
    assert!(again >= none);
    assert!(drain(&database.store, &mut again, &any, 10).await.is_empty());
}

#[tokio::test]
async fn a_filter_that_nothing_passes_still_moves_the_cursor() {
    let database = Database::new().await;
    database.store.copy_in(INSTANCE, &records(3)).await.unwrap();
    let nobody = RecordFilter { account: Some("Nobody".to_owned()), ..RecordFilter::default() };
    let mut cursor = Cursor::START;
    assert!(drain(&database.store, &mut cursor, &nobody, 10).await.is_empty());

    assert!(drain(&database.store, &mut cursor.clone(), &RecordFilter::default(), 10).await.is_empty());
    let ours = of_account("Nobody");
    database.store.copy_in(INSTANCE, std::slice::from_ref(&ours)).await.unwrap();
    assert_eq!(ids(&drain(&database.store, &mut cursor, &nobody, 10).await), [ours.id]);
}

#[tokio::test]
async fn a_stream_starts_at_the_end_or_before_the_last_ones() {
    let database = Database::new().await;
    let store = &database.store;
    let any = RecordFilter::default();
    let mut from_nothing = store.cursor_before_last(&any, 3).await.unwrap();
    let mut old: Vec<Record> = records(4);
    old.push(of_account("Ann"));
    store.copy_in(INSTANCE, &old).await.unwrap();
    let mut end = store.cursor_at_end().await.unwrap();
    let mut none = store.cursor_before_last(&any, 0).await.unwrap();
    let mut last_two = store.cursor_before_last(&any, 2).await.unwrap();
    let ann = RecordFilter { account: Some("Ann".to_owned()), ..any.clone() };
    let mut last_of_ann = store.cursor_before_last(&ann, 9).await.unwrap();
    let new = record();
    store.copy_in(INSTANCE, std::slice::from_ref(&new)).await.unwrap();

    let all = [ids_of(&old), vec![new.id]].concat();
    assert_eq!(ids(&drain(store, &mut from_nothing, &any, 10).await), all);
    assert_eq!(ids(&drain(store, &mut end, &any, 10).await), [new.id]);
    assert_eq!(ids(&drain(store, &mut none, &any, 10).await), [new.id]);
    assert_eq!(ids(&drain(store, &mut last_two, &any, 10).await), all[3..]);
    assert_eq!(ids(&drain(store, &mut last_of_ann, &ann, 10).await), [old[4].id]);
}

#[tokio::test]
async fn old_records_go_and_no_other() {
    let database = Database::new().await;
    let now = SystemTime::now();
    let mut written = records(4);
    written[0].started_at = now - Duration::from_secs(3600);
    written[2].started_at = now - Duration::from_secs(7200);
    database.store.copy_in(INSTANCE, &written).await.unwrap();
    assert_eq!(database.store.delete_records_before(now - Duration::from_secs(60)).await.unwrap(), 2);
    assert!(database.store.record(written[1].id).await.unwrap().is_some());
    assert!(database.store.record(written[2].id).await.unwrap().is_none());
}
