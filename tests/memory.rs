//! What a request costs beside its bytes: a body is never held, and a record wakes nobody.

#![allow(clippy::unwrap_used)] // a broken expectation is a failed test

mod support;

use std::{collections::BTreeMap, fs};

use support::{
    client::{Client, EXCHANGES, Way},
    nodes::{Manner, Nodes, lead_through, resin_direct},
    origins::{Origin, bulk},
    resin::{Resin, soon},
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const MUCH: usize = 256 << 20;
const ALLOWED_KIB: u64 = 8 * 1024;

async fn upload(resin: &Resin, way: Way, authority: &str, much: usize) {
    let mut client = Client::of(resin).await;
    if way == Way::Connect {
        assert_eq!(client.connect(authority).await.status, 200);
    }
    let target = way.target(authority, "/");
    client.say(format!("POST {target} HTTP/1.1\r\nHost: a\r\nContent-Length: {much}\r\n\r\n")).await;
    let block = vec![b'x'; 256 * 1024];
    for _ in 0..much / block.len() {
        client.say(&block).await;
    }
    let answer = client.answer("POST").await;
    assert_eq!((answer.status, answer.text()), (200, much.to_string()), "{way:?}");
}

async fn download(resin: &Resin, way: Way, authority: &str, much: usize) {
    let mut client = Client::of(resin).await;
    if way == Way::Connect {
        assert_eq!(client.connect(authority).await.status, 200);
    }
    let target = way.target(authority, &format!("/give/{much}"));
    client.say(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n")).await;
    assert_eq!(client.head().await.status(), 200);
    let (mut count, mut block) = (client.wire.ahead.len(), vec![0; 256 * 1024]);
    while count < much {
        let read = soon("more of the body", client.wire.stream.read(&mut block)).await.unwrap();
        assert!(read > 0, "{way:?}: an end after {count} bytes");
        count += read;
    }
    let _ = client.wire.stream.shutdown().await;
}

#[tokio::test]
async fn a_large_body_is_never_held_on_any_way_in_either_direction() {
    let origin = bulk().await;
    let authority = origin.address.to_string();
    let resin = Resin::start(&[]).await;
    let warm = Nodes::http(&[Manner::Good; 3]).await;
    lead_through(&resin, &warm, 2).await;
    for way in support::client::WAYS {
        // What every first request needs is no part of it.
        upload(&resin, way, &authority, 4 << 20).await;
        download(&resin, way, &authority, 4 << 20).await;
    }
    for way in support::client::WAYS {
        // With a retry under way before it.
        let nodes = Nodes::http(&[Manner::Refuse(502), Manner::Good, Manner::Good]).await;
        lead_through(&resin, &nodes, 2).await;
        resin.forget_peak_memory();
        let before = resin.peak_memory_kib();

        upload(&resin, way, &authority, MUCH).await;
        download(&resin, way, &authority, MUCH).await;

        let growth = resin.peak_memory_kib().saturating_sub(before);
        println!("{way:?}: {} MiB each way, peak memory grew by {growth} KiB", MUCH >> 20);
        assert!(growth < ALLOWED_KIB, "{way:?}: {growth} KiB");
        assert!(nodes.dial_count() >= 2, "{way:?}: the first dial is refused");
    }
}

#[tokio::test]
async fn a_slow_reader_holds_the_origin_back() {
    let origin = bulk().await;
    let resin = resin_direct(&[]).await;
    for way in EXCHANGES {
        let mut client = Client::of(&resin).await;
        resin.forget_peak_memory();
        let before = resin.peak_memory_kib();
        let target = way.target(&origin.address.to_string(), &format!("/give/{MUCH}"));
        client.say(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n")).await;
        assert_eq!(client.head().await.status(), 200);
        // Nothing is read for as long as another client reads its whole answer.
        download(&resin, way, &origin.address.to_string(), 64 << 20).await;
        let growth = resin.peak_memory_kib().saturating_sub(before);
        assert!(growth < ALLOWED_KIB, "{way:?}: {growth} KiB");
    }
}

/// Voluntary context switches of each thread: how often it went to sleep, and so was woken.
fn sleeps(resin: &Resin) -> BTreeMap<(String, String), u64> {
    let tasks = fs::read_dir(format!("/proc/{}/task", resin.pid())).unwrap();
    let mut sleeps = BTreeMap::new();
    for task in tasks.flatten() {
        let Ok(status) = fs::read_to_string(task.path().join("status")) else { continue };
        let of = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
            line.trim().to_owned()
        };
        let key = (of("Pid:"), of("Name:"));
        sleeps.insert(key, of("voluntary_ctxt_switches:").parse().unwrap());
    }
    sleeps
}

#[tokio::test]
async fn a_record_wakes_no_other_thread() {
    const REQUESTS: usize = 4_000;
    let origin = Origin::ok().await;
    let resin = resin_direct(&[("RESIN_DATA_THREADS", "1")]).await;
    for way in EXCHANGES {
        let mut client = Client::of(&resin).await;
        let target = way.target(&origin.authority(), "/");
        let mut get = async || assert_eq!(client.ask("GET", &target, "Host: a\r\n\r\n").await.status, 200);
        for _ in 0..50 {
            get().await;
        }
        let before = sleeps(&resin);
        for _ in 0..REQUESTS {
            get().await;
        }
        let growth: BTreeMap<_, _> = sleeps(&resin)
            .into_iter()
            .map(|(thread, count)| (count - before.get(&thread).copied().unwrap_or(0), thread))
            .collect();
        println!("{way:?}: {growth:?}");
        // The data thread sleeps for each request; everybody else only by the clock.
        let others: u64 = growth.keys().rev().skip(1).sum();
        let share = u64::try_from(REQUESTS).unwrap() / 4;
        assert!(
            others < share,
            "{way:?}: {others} sleeps of other threads in {REQUESTS} requests: {growth:?}"
        );
    }
}
