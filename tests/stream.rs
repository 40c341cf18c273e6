//! StreamRequestLogs: nothing lost, nothing twice, whoever writes at once and whatever breaks in between.

#![allow(clippy::unwrap_used)] // a broken expectation is a failed test

mod support;

use std::{
    collections::HashSet,
    time::{Duration, Instant, SystemTime},
};

use resin::proto::{
    RequestLog, RequestLogFilter, StreamRequestLogsRequest, StreamRequestLogsResponse,
    stream_request_logs_request::Start,
};
use support::{
    grpc::{Grpc, violations},
    postgres::{Database, Wire},
    resin::{Resin, soon},
    world::{Dying, Origin, forward},
};
use tonic::{Code, Status, Streaming};

fn following(start: Option<Start>) -> StreamRequestLogsRequest {
    StreamRequestLogsRequest { filter: None, start, follow: true }
}

fn once(start: Option<Start>) -> StreamRequestLogsRequest {
    StreamRequestLogsRequest { follow: false, ..following(start) }
}

fn all() -> Option<Start> {
    Some(Start::Since(SystemTime::UNIX_EPOCH.into()))
}

async fn open(
    grpc: &Grpc,
    request: StreamRequestLogsRequest,
) -> Result<Streaming<StreamRequestLogsResponse>, Status> {
    let answer = soon("the stream opens", grpc.logs.clone().stream_request_logs(request)).await?;
    Ok(answer.into_inner())
}

/// A stream that ends by itself: its records and its last cursor.
async fn whole(grpc: &Grpc, request: StreamRequestLogsRequest) -> Result<(Vec<RequestLog>, String), Status> {
    let mut stream = open(grpc, request).await?;
    let (mut records, mut cursor) = (Vec::new(), String::new());
    while let Some(answer) = soon("the stream ends", stream.message()).await? {
        assert!(!answer.cursor.is_empty(), "a cursor after each batch");
        cursor = answer.cursor;
        records.extend(answer.request_logs);
    }
    Ok((records, cursor))
}

/// Reads a stream that follows up to so many records, and gives the cursor after them.
async fn read(stream: &mut Streaming<StreamRequestLogsResponse>, count: usize) -> (Vec<RequestLog>, String) {
    let (mut records, mut cursor) = (Vec::new(), String::new());
    while records.len() < count {
        let answer = soon("the next batch", stream.message()).await.unwrap().expect("the stream goes on");
        cursor = answer.cursor;
        records.extend(answer.request_logs);
    }
    (records, cursor)
}

fn paths(records: &[RequestLog]) -> Vec<&str> {
    records.iter().map(|record| record.target_url.rsplit('/').next().unwrap()).collect()
}

async fn with_origin() -> (Resin, Origin) {
    let resin = Resin::start(&[]).await;
    resin.upsert_nodes(&[("direct://", "")]).await;
    (resin, Origin::start().await)
}

#[tokio::test]
async fn a_follower_sees_a_finished_request_within_a_second() {
    let resin = Resin::start(&[]).await;
    let dying = Dying::nodes(2).await;
    dying.join(&resin).await;
    resin.set_retries("Default", 1).await;
    let mut stream = open(&resin.grpc(), following(None)).await.unwrap();

    assert_eq!(forward(&resin, "Default", "http://shop.test/").await.0, 502);
    let finished = Instant::now();
    let (records, cursor) = read(&mut stream, 1).await;

    assert!(finished.elapsed() < Duration::from_secs(1), "{:?}", finished.elapsed());
    assert_eq!(
        (records[0].retry_attempts, records[0].retry_details.len()),
        (1, 1),
        "with its failed attempts"
    );
    assert!(!cursor.is_empty());
}

#[tokio::test]
async fn the_start_says_where_it_begins() {
    let (resin, origin) = with_origin().await;
    let grpc = resin.grpc();
    for path in ["1", "2", "3", "4"] {
        forward(&resin, "Default", &origin.url(&format!("/{path}"))).await;
    }
    let records = resin.records_until(4).await;

    let (logs, end) = whole(&grpc, once(all())).await.unwrap();
    assert_eq!(paths(&logs), ["1", "2", "3", "4"], "in order of insertion, oldest first");
    let (logs, _) = whole(&grpc, once(Some(Start::Tail(2)))).await.unwrap();
    assert_eq!(paths(&logs), ["3", "4"]);
    let (logs, _) = whole(&grpc, once(Some(Start::Tail(100)))).await.unwrap();
    assert_eq!(paths(&logs), ["1", "2", "3", "4"]);
    let since = records[2].started_at.map(Start::Since);
    assert_eq!(paths(&whole(&grpc, once(since)).await.unwrap().0), ["3", "4"], "since compares started_at");
    assert!(whole(&grpc, once(Some(Start::Cursor(end.clone())))).await.unwrap().0.is_empty());

    // Neither `tail: 0` nor no start shows what was; a new record comes to both.
    let mut from_now = open(&grpc, following(None)).await.unwrap();
    let mut tail = open(&grpc, following(Some(Start::Tail(0)))).await.unwrap();
    let mut last = open(&grpc, following(Some(Start::Tail(1)))).await.unwrap();
    let mut resumed = open(&grpc, following(Some(Start::Cursor(end)))).await.unwrap();
    forward(&resin, "Default", &origin.url("/5")).await;
    assert_eq!(paths(&read(&mut from_now, 1).await.0), ["5"]);
    assert_eq!(paths(&read(&mut tail, 1).await.0), ["5"]);
    assert_eq!(paths(&read(&mut last, 2).await.0), ["4", "5"]);
    assert_eq!(paths(&read(&mut resumed, 1).await.0), ["5"]);
}

#[tokio::test]
async fn filters_hold_for_what_was_and_what_comes() {
    let (resin, origin) = with_origin().await;
    let grpc = resin.grpc();
    let send = async |identity: &str, path: &str| forward(&resin, identity, &origin.url(path)).await;
    send("Default.Tom", "/1").await;
    send("Default.Tim", "/2").await;
    send("Default.Tom", "/3").await;
    resin.records_until(3).await;
    let filter = RequestLogFilter { account: Some("Tom".to_owned()), ..RequestLogFilter::default() };
    let request = |start| StreamRequestLogsRequest { filter: Some(filter.clone()), ..following(start) };

    let mut stream = open(&grpc, request(all())).await.unwrap();
    assert_eq!(paths(&read(&mut stream, 2).await.0), ["1", "3"]);
    let mut tail = open(&grpc, request(Some(Start::Tail(1)))).await.unwrap();
    assert_eq!(paths(&read(&mut tail, 1).await.0), ["3"], "the newest that match");
    send("Default.Tim", "/4").await;
    send("Default.Tom", "/5").await;
    assert_eq!(paths(&read(&mut stream, 1).await.0), ["5"]);
    assert_eq!(paths(&read(&mut tail, 1).await.0), ["5"]);
}

#[tokio::test]
async fn what_is_no_cursor_of_ours_is_refused_by_name() {
    let (resin, _origin) = with_origin().await;
    let grpc = resin.grpc();
    let refused = async |request: StreamRequestLogsRequest| whole(&grpc, request).await.unwrap_err();
    for cursor in ["", "nonsense", "AAAA", "1-2-3", "////////", "-1"] {
        let status = refused(once(Some(Start::Cursor(cursor.to_owned())))).await;
        assert_eq!(violations(&status), ["cursor"], "{cursor:?}");
    }
    assert_eq!(violations(&refused(once(Some(Start::Tail(-1)))).await), ["tail"]);
    assert_eq!(violations(&refused(once(Some(Start::Tail(10_001)))).await), ["tail"]);
    let bad_time = prost_types::Timestamp { seconds: 0, nanos: 2_000_000_000 };
    assert_eq!(violations(&refused(once(Some(Start::Since(bad_time)))).await), ["since"]);
    let filter = RequestLogFilter { node_hash: Some("x".to_owned()), ..RequestLogFilter::default() };
    let status = refused(StreamRequestLogsRequest { filter: Some(filter), ..once(all()) }).await;
    assert_eq!(violations(&status), ["filter.node_hash"]);
}

#[tokio::test]
async fn an_idle_stream_says_every_ten_seconds_that_it_is_alive() {
    let (resin, origin) = with_origin().await;
    let grpc = resin.grpc();
    let mut stream = open(&grpc, following(None)).await.unwrap();
    let opened = Instant::now();

    let beat = soon("a heartbeat", stream.message()).await.unwrap().unwrap();

    let waited = opened.elapsed();
    assert!((9..15).contains(&waited.as_secs()), "{waited:?}");
    assert!(beat.heartbeat && beat.request_logs.is_empty() && !beat.cursor.is_empty(), "{beat:?}");
    forward(&resin, "Default", &origin.url("/after")).await;
    resin.records_until(1).await;
    let (records, _) = whole(&grpc, once(Some(Start::Cursor(beat.cursor)))).await.unwrap();
    assert_eq!(paths(&records), ["after"], "a heartbeat's cursor is one to resume from");
}

/// Two instances write at once; a reader that is cut off after every few records and resumes elsewhere sees each once.
#[tokio::test]
async fn a_cursor_resumes_without_loss_or_repetition_while_two_instances_write() {
    const EACH: usize = 600;
    let database = Database::new().await;
    let instances = [Resin::start_on(&database, &[]).await, Resin::start_on(&database, &[]).await];
    let origin = Origin::start().await;
    instances[0].upsert_nodes(&[("direct://", "")]).await;
    while instances[1].grpc().all_nodes().await.is_empty() {}
    let clients = [instances[0].grpc(), instances[1].grpc()];
    let writing = async |resin: &Resin, name: &str| {
        for number in 0..EACH {
            forward(resin, "Default", &origin.url(&format!("/{name}-{number}"))).await;
        }
    };
    let reading = async {
        let (mut seen, mut cursor, mut turn) = (Vec::new(), None, 0);
        while seen.len() < 2 * EACH {
            let start = cursor.map(Start::Cursor).or_else(all);
            let mut stream = open(&clients[turn % 2], following(start)).await.unwrap();
            let answer = soon("records", stream.message()).await.unwrap().unwrap();
            seen.extend(answer.request_logs);
            cursor = Some(answer.cursor);
            turn += 1;
        }
        (seen, cursor.unwrap(), turn)
    };

    let ((seen, cursor, turns), (), ()) =
        tokio::join!(reading, writing(&instances[0], "a"), writing(&instances[1], "b"));

    assert!(turns > 2, "the reader was to resume again and again, not {turns} times");
    let ids: HashSet<&str> = seen.iter().map(|record| record.id.as_str()).collect();
    assert_eq!((seen.len(), ids.len()), (2 * EACH, 2 * EACH), "each once");
    let by: HashSet<&str> = seen.iter().map(|record| record.instance_id.as_str()).collect();
    assert_eq!(by.len(), 2);
    assert!(whole(&clients[0], once(Some(Start::Cursor(cursor)))).await.unwrap().0.is_empty());
}

#[tokio::test]
async fn a_transaction_that_commits_late_is_not_skipped() {
    let (resin, origin) = with_origin().await;
    let grpc = resin.grpc();
    forward(&resin, "Default", &origin.url("/first")).await;
    resin.records_until(1).await;
    let mut stream = open(&grpc, following(all())).await.unwrap();
    read(&mut stream, 1).await;

    // A writer that got its transaction first and commits after the next record has long been in.
    let mut writer = resin.database().client().await;
    let late = writer.transaction().await.unwrap();
    let copy = "create temporary table late on commit drop as select * from request_logs limit 1";
    late.batch_execute(copy).await.unwrap();
    let id = uuid::Uuid::now_v7();
    late.execute("update late set id = $1, target_url = 'http://origin.test/late'", &[&id]).await.unwrap();
    let columns = "select string_agg(quote_ident(column_name), ', ') from information_schema.columns \
                   where table_schema = 'public' and table_name = 'request_logs' and column_default is null \
                   and is_identity = 'NO' and is_generated = 'NEVER'";
    let columns: String = late.query_one(columns, &[]).await.unwrap().get(0);
    let insert = format!("insert into request_logs ({columns}) select {columns} from late");
    late.batch_execute(&insert).await.unwrap();
    forward(&resin, "Default", &origin.url("/second")).await;
    let inserted = async { while resin.database().count("select count(*) from request_logs").await < 2 {} };
    soon("the second record in the table", inserted).await;
    late.commit().await.unwrap();

    let (records, cursor) = read(&mut stream, 2).await;
    let mut seen = paths(&records);
    seen.sort_unstable();
    assert_eq!(seen, ["late", "second"]);
    assert!(whole(&grpc, once(Some(Start::Cursor(cursor)))).await.unwrap().0.is_empty());
}

#[tokio::test]
async fn a_cursor_outlives_its_instance_and_lost_database_connections() {
    let database = Database::new().await;
    let mut wire = Wire::new(&database).await;
    let url = wire.url.clone();
    let settings = [("RESIN_DATABASE_URL", url.as_str()), ("RESIN_NODES", "direct://")];
    let origin = Origin::start().await;
    let first = Resin::start_bare(&settings).await;
    forward(&first, "Default", &origin.url("/1")).await;
    let (_, cursor) = read(&mut open(&first.grpc(), following(all())).await.unwrap(), 1).await;

    wire.cut().await;
    forward(&first, "Default", &origin.url("/2")).await;
    let refused = soon("an answer", whole(&first.grpc(), once(all()))).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    wire.restore().await;
    forward(&first, "Default", &origin.url("/3")).await;
    assert!(first.stop().await.success());

    let second = Resin::start_bare(&settings).await;
    let (records, _) = whole(&second.grpc(), once(Some(Start::Cursor(cursor)))).await.unwrap();
    let mut seen = paths(&records);
    seen.sort_unstable();
    assert_eq!(seen, ["2", "3"], "records waited for the database and were flushed at the end");
}
