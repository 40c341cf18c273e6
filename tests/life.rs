//! A life: announced, ready, asked to stop, drained, gone.

#![allow(clippy::unwrap_used)] // a broken expectation is a failed test

mod support;

use std::time::{Duration, Instant};

use rustix::process::Signal;
use support::{
    grpc::Grpc,
    postgres::{Database, PASSWORD, Wire},
    resin::{DEFAULTS, Process, Resin, get, soon},
    world::{Origin, basic, echo, forward, tunnel},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// An instance with a way out and an origin that holds its answers.
async fn busy(settings: &[(&str, &str)]) -> (Resin, Origin) {
    let resin = Resin::start(settings).await;
    resin.upsert_nodes(&[("direct://", "")]).await;
    let origin = Origin::start().await;
    origin.hold();
    (resin, origin)
}

async fn begin(resin: &Resin, origin: &Origin) -> TcpStream {
    let mut client = TcpStream::connect(resin.data).await.unwrap();
    let authorization = basic("Default", "any");
    let url = origin.url("/slow");
    let head = format!("GET {url} HTTP/1.1\r\nHost: a\r\nProxy-Authorization: {authorization}\r\n\r\n");
    client.write_all(head.as_bytes()).await.unwrap();
    origin.arrived(1).await;
    client
}

/// SIGTERM, and until readiness says so.
async fn draining(resin: &Resin) {
    resin.process.signal(Signal::TERM);
    let unready = async {
        while get(resin.ops, "/readyz").await.is_ok_and(|(status, _)| status != 503) {
            tokio::task::yield_now().await;
        }
    };
    soon("readyz is no longer 200", unready).await;
}

async fn rest_of(client: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let _ = soon("the end of the answer", client.read_to_end(&mut answer)).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn addresses_are_announced_in_order_and_nothing_else_is_on_standard_output() {
    let resin = Resin::start(&[]).await;
    let expected = [
        format!("resin data {}", resin.data),
        format!("resin control {}", resin.control),
        format!("resin ops {}", resin.ops),
        "resin ready".to_owned(),
    ];
    assert_eq!(resin.process.said, expected);
    for port in [resin.data, resin.control, resin.ops] {
        assert_ne!(port.port(), 0);
    }
    assert_eq!(resin.ops_get("/livez").await.0, 200);
    assert_eq!(resin.ops_get("/readyz").await.0, 200);
    assert_eq!(resin.ops_get("/nothing").await.0, 404);

    resin.process.signal(Signal::TERM);
    let ended = resin.ended().await;
    assert_eq!((ended.status.code(), ended.stdout), (Some(0), expected.to_vec()));
    assert!(!ended.stderr.is_empty(), "logs go to standard error");
}

#[tokio::test]
async fn a_port_in_use_is_an_error_at_once() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let database = Database::new().await;
    for setting in ["RESIN_DATA_LISTEN", "RESIN_CONTROL_LISTEN", "RESIN_OPS_LISTEN"] {
        let more = [("RESIN_DATABASE_URL", database.url.as_str()), (setting, address.as_str())];
        let ended = Process::spawn(&["serve"], &[&DEFAULTS[..], &more].concat()).ended().await;
        assert!(ended.status.code().is_some_and(|code| code != 0), "{setting}: {ended:?}");
        assert!(ended.stderr.contains(&address), "{setting}: {}", ended.stderr);
        assert!(!ended.stdout.contains(&"resin ready".to_owned()));
    }
}

#[tokio::test]
async fn a_database_that_is_away_at_start_is_awaited_and_named_without_its_password() {
    let database = Database::new().await;
    let mut wire = Wire::cut_off(&database).await;
    let more = [("RESIN_DATABASE_URL", wire.url.as_str())];
    let mut process = Process::spawn(&["serve"], &[&DEFAULTS[..], &more].concat());
    let ops = process.line("resin ops ").await.parse().unwrap();

    let address = wire.url.split('@').nth(1).unwrap().split('/').next().unwrap().to_owned();
    process.stderr_line(&address, |line| line.contains(&address)).await;
    assert_eq!(get(ops, "/livez").await.unwrap().0, 200, "ops answers from the start");
    assert_eq!(get(ops, "/readyz").await.unwrap().0, 503);

    wire.restore().await;
    process.line("resin ready").await;
    assert_eq!(get(ops, "/readyz").await.unwrap().0, 200);
    process.signal(Signal::TERM);
    let ended = process.ended().await;
    assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
    assert!(!ended.stderr.contains(PASSWORD), "{}", ended.stderr);
}

#[tokio::test]
async fn sigterm_while_the_database_is_awaited_ends_it() {
    let database = Database::new().await;
    let wire = Wire::cut_off(&database).await;
    let more = [("RESIN_DATABASE_URL", wire.url.as_str())];
    let mut process = Process::spawn(&["serve"], &[&DEFAULTS[..], &more].concat());
    process.line("resin ops ").await;
    process.signal(Signal::TERM);
    assert_eq!(process.ended().await.status.code(), Some(0));
}

#[tokio::test]
async fn sigterm_lets_a_request_in_flight_end_well_and_its_record_is_written() {
    let (resin, origin) = busy(&[]).await;
    let database = resin.database().clone();
    let mut client = begin(&resin, &origin).await;

    draining(&resin).await;
    origin.release();
    let answer = rest_of(&mut client).await;

    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("ok"), "{answer}");
    let ended = resin.ended().await;
    assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
    assert_eq!(database.count("select count(*) from request_logs where http_status = 200").await, 1);
}

#[tokio::test]
async fn a_connection_that_was_made_before_sigterm_and_asks_after_it_is_served() {
    let (resin, origin) = busy(&[]).await;
    let mut under_way = begin(&resin, &origin).await;
    let mut silent = TcpStream::connect(resin.data).await.unwrap();

    draining(&resin).await;
    let asks = format!("GET {} HTTP/1.1\r\nHost: a\r\n\r\n", origin.url("/late"));
    silent.write_all(asks.as_bytes()).await.unwrap();
    origin.arrived(2).await;
    origin.release();

    for client in [&mut under_way, &mut silent] {
        let answer = rest_of(client).await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("ok"), "{answer}");
        assert!(answer.contains("connection: close"), "{answer}");
    }
    assert_eq!(resin.ended().await.status.code(), Some(0));
}

#[tokio::test]
async fn sigterm_lets_a_tunnel_live_until_its_ends_close_it() {
    let (resin, _origin) = busy(&[]).await;
    let echo = echo().await;
    let database = resin.database().clone();
    let mut through = tunnel(&resin, "Default", &echo.to_string()).await;

    draining(&resin).await;
    through.write_all(b"still here").await.unwrap();
    let mut back = [0; 10];
    soon("the echo", through.read_exact(&mut back)).await.unwrap();
    assert_eq!(&back, b"still here");
    drop(through);

    assert_eq!(resin.ended().await.status.code(), Some(0));
    assert_eq!(database.count("select count(*) from request_logs where ingress_bytes = 10").await, 1);
}

#[tokio::test]
async fn the_drain_deadline_ends_what_does_not_end_and_exits_with_0() {
    let (resin, origin) = busy(&[("RESIN_DRAIN_TIMEOUT", "300ms")]).await;
    let database = resin.database().clone();
    let mut client = begin(&resin, &origin).await;
    let asked = Instant::now();

    let status = resin.stop().await;

    assert_eq!(status.code(), Some(0));
    let took = asked.elapsed();
    assert!((Duration::from_millis(300)..Duration::from_secs(10)).contains(&took), "{took:?}");
    assert!(!rest_of(&mut client).await.ends_with("ok"));
    assert_eq!(
        database.count("select count(*) from request_logs").await,
        1,
        "it has its record all the same"
    );
}

#[tokio::test]
async fn a_second_signal_exits_at_once_with_1() {
    for (first, second) in [(Signal::TERM, Signal::TERM), (Signal::INT, Signal::TERM)] {
        let (resin, origin) = busy(&[]).await;
        let _client = begin(&resin, &origin).await;
        resin.process.signal(first);
        let unready = async { while get(resin.ops, "/readyz").await.unwrap().0 != 503 {} };
        soon("readyz is 503", unready).await;
        resin.process.signal(second);
        assert_eq!(resin.ended().await.status.code(), Some(1));
    }
}

#[tokio::test]
async fn open_streams_of_controllers_do_not_hold_up_the_end() {
    let resin = Resin::start(&[]).await;
    let grpc: Grpc = resin.grpc();
    let request = resin::proto::StreamRequestLogsRequest { follow: true, ..Default::default() };
    let mut logs = grpc.logs.clone().stream_request_logs(request).await.unwrap().into_inner();
    let watch = grpc.platforms.clone().watch_platforms(resin::proto::WatchPlatformsRequest {}).await.unwrap();
    let mut watch = watch.into_inner();
    let asked = Instant::now();

    assert_eq!(resin.stop().await.code(), Some(0));

    assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
    let over = async {
        while let Ok(Some(_)) = logs.message().await {}
        while let Ok(Some(_)) = watch.message().await {}
    };
    soon("the streams end", over).await;
}

#[tokio::test]
async fn records_that_wait_are_flushed_before_the_end() {
    let resin = Resin::start(&[("RESIN_NODES", "direct://")]).await;
    let origin = Origin::start().await;
    let database = resin.database().clone();
    for _ in 0..50 {
        assert_eq!(forward(&resin, "Default", &origin.url("/")).await.0, 200);
    }
    assert_eq!(resin.stop().await.code(), Some(0));
    assert_eq!(database.count("select count(*) from request_logs").await, 50);
}

#[tokio::test]
async fn migrate_alone_ends_with_0_or_1() {
    let database = Database::new().await;
    let wire = Wire::cut_off(&database).await;
    for (url, code) in [(&database.url, 0), (&database.url, 0), (&wire.url, 1)] {
        let ended = Process::spawn(&["migrate"], &[("RESIN_DATABASE_URL", url.as_str())]).ended().await;
        assert_eq!(ended.status.code(), Some(code), "{ended:?}");
        assert!(!ended.stderr.contains(PASSWORD), "{}", ended.stderr);
    }
    assert_eq!(database.count("select count(*) from request_logs").await, 0);
}

#[tokio::test]
async fn instances_that_start_at_once_migrate_once() {
    let database = Database::new().await;
    let start = || Resin::start_on(&database, &[]);
    let (first, second, third) = tokio::join!(start(), start(), start());
    for resin in [first, second, third] {
        assert_eq!(resin.grpc().platform("Default").await.unwrap().name, "Default");
    }
}
