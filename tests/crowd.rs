//! A crowd: ten thousand clients that idle, two hundred that never finish a head, and heads without end, all at once.
//! Others are served meanwhile, and afterwards the memory is back.
//!
//! `RESIN_TEST_CROWD` is another number of idle clients.

#![allow(clippy::unwrap_used)] // a broken expectation is a failed test

mod support;

use std::{
    fs,
    io::Write,
    net::SocketAddr,
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use support::{
    nodes::resin_direct,
    origins::Server,
    postgres::Database,
    resin::{DEFAULTS, PATIENCE, PROGRAM, Process, Resin, soon},
    wire::{Length, Wire},
};
use tokio::{
    net::{TcpSocket, TcpStream},
    sync::Semaphore,
    task::JoinSet,
};

const IDLE: usize = 10_000;
const SLOW: usize = 200;
const BOMBS: usize = 20;
/// Connections from one address, far from the end of its ports.
const OF_ONE_ADDRESS: usize = 5_000;

fn say(line: &str) {
    std::io::stderr().write_all(format!("crowd: {line}\n").as_bytes()).unwrap(); // past the harness
}

/// All descriptors that this process may have.
fn raise_own_limit() -> usize {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }).unwrap();
    limit.maximum.map_or(usize::MAX, |most| usize::try_from(most).unwrap())
}

fn memory_kib(resin: &Resin) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", resin.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches("kB").trim().parse().unwrap()
}

/// Connects as the n-th of many.
async fn come(data: SocketAddr, number: usize) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    let address = [127, 0, 1, u8::try_from(1 + number / OF_ONE_ADDRESS).unwrap()];
    socket.bind(SocketAddr::from((address, 0))).unwrap();
    let stream = soon("a connection", socket.connect(data)).await.unwrap();
    // When it goes, it leaves nothing behind that would keep its port.
    stream.set_zero_linger().unwrap();
    stream
}

/// One whole exchange on a connection that stays.
async fn ask(wire: &mut Wire<TcpStream>, target: &str) {
    wire.say(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n")).await.unwrap();
    let head = soon("an answer", wire.head()).await.unwrap().expect("an answer, not an end");
    assert_eq!(head.status(), 200, "{head:?}");
    assert!(wire.body(Length::of_answer(&head, "GET")).await.whole);
}

/// That many clients, each with one exchange behind it.
async fn crowd(data: SocketAddr, target: &str, count: usize) -> Vec<Wire<TcpStream>> {
    let (few, target): (_, Arc<str>) = (Arc::new(Semaphore::new(64)), target.into());
    let mut coming = JoinSet::new();
    for number in 0..count {
        let (few, target) = (Arc::clone(&few), Arc::clone(&target));
        coming.spawn(async move {
            let _turn = few.acquire().await.unwrap();
            let mut wire = Wire::new(come(data, number).await);
            ask(&mut wire, &target).await;
            wire
        });
    }
    coming.join_all().await
}

/// Sends a head byte by byte until it is told off; the status of that.
async fn slowloris(data: SocketAddr, number: usize, begun: Arc<AtomicUsize>) -> u16 {
    let mut wire = Wire::new(come(data, number).await);
    wire.say("GET http://a.test/ HTTP/1.1\r\nHost: a.test\r\nX-Slow: ").await.unwrap();
    begun.fetch_add(1, Ordering::SeqCst);
    loop {
        // That it is slow is the point.
        let told = tokio::time::timeout(Duration::from_millis(50), wire.head()).await;
        match told {
            Ok(Ok(Some(head))) => return head.status(),
            Ok(_) => return 0,
            Err(_) => {
                let _ = wire.say("x").await;
            }
        }
    }
}

/// Sends header lines without end until it is told off; how many bytes that took.
async fn bomb(data: SocketAddr, number: usize) -> (u16, usize) {
    let mut wire = Wire::new(come(data, number).await);
    let line = format!("X-Bomb: {}\r\n", "b".repeat(1000));
    let mut sent = 0;
    wire.say("GET http://a.test/ HTTP/1.1\r\nHost: a.test\r\n").await.unwrap();
    while wire.say(&line).await.is_ok() {
        sent += line.len();
        if let Ok(Ok(Some(head))) = tokio::time::timeout(Duration::from_millis(1), wire.head()).await {
            return (head.status(), sent);
        }
        assert!(sent < 64 << 20, "it takes header lines without end");
    }
    // The answer may have been lost with the reset.
    (0, sent)
}

/// Bombs without end, until dropped.
async fn bombs(data: SocketAddr, count: Arc<AtomicUsize>) {
    loop {
        let mut several = JoinSet::new();
        for number in 0..BOMBS {
            several.spawn(bomb(data, number));
        }
        for (status, sent) in several.join_all().await {
            assert!(status == 431 || status == 0, "{status} after {sent} bytes");
            count.fetch_add(1, Ordering::SeqCst);
        }
    }
}

/// One crowd from first to last.
async fn one_crowd(resin: &Resin, target: &str, count: usize) {
    let (before, began) = (memory_kib(resin), Instant::now());
    let mut idle = crowd(resin.data, target, count).await;
    let all = memory_kib(resin);
    say(&format!(
        "{count} idle clients in {:?}: {before} KiB before, {all} KiB with them, {:.1} KiB each",
        began.elapsed(),
        (all.saturating_sub(before)) as f64 / count as f64
    ));

    let (begun, thrown) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let mut slow = JoinSet::new();
    for number in 0..SLOW {
        slow.spawn(slowloris(resin.data, number, Arc::clone(&begun)));
    }
    let throwing = tokio::spawn(bombs(resin.data, Arc::clone(&thrown)));
    let (mut served, mut slowest) = (0, Duration::ZERO);
    let mut normal = Wire::new(come(resin.data, 0).await);
    // As long as there is anybody who is slow.
    while !slow.is_empty() {
        let asked = Instant::now();
        ask(&mut normal, target).await;
        slowest = slowest.max(asked.elapsed());
        served += 1;
        while let Some(told) = slow.try_join_next() {
            assert_eq!(told.unwrap(), 408);
        }
    }
    throwing.abort();
    assert!(throwing.await.unwrap_err().is_cancelled(), "a bomb went off");
    let (peak, bombs) = (memory_kib(resin), thrown.load(Ordering::SeqCst));
    assert!(bombs > 0 && begun.load(Ordering::SeqCst) == SLOW);
    say(&format!(
        "{SLOW} slow clients told off with 408, {bombs} bombs with 431; meanwhile {served} requests served, \
         the slowest in {slowest:?}; {peak} KiB"
    ));
    // Those that idled are still welcome.
    for wire in idle.iter_mut().step_by(100) {
        ask(wire, target).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_of_idle_slow_and_hostile_clients_harms_nobody_and_leaves_no_memory_behind() {
    let wanted = std::env::var("RESIN_TEST_CROWD").ok().map_or(IDLE, |text| text.parse().unwrap());
    let may = raise_own_limit();
    let count = wanted.min(may.saturating_sub(1_000));
    let origin = quiet_origin().await;
    let resin = resin_direct(&[
        ("RESIN_HEADER_TIMEOUT", "3s"),
        ("RESIN_CLIENT_IDLE_TIMEOUT", "10m"),
        ("RESIN_POOL_IDLE_TIMEOUT", "1s"),
        ("RESIN_DATA_THREADS", "2"),
        // Memory that is free goes back after so long (10 s where nothing is said), so that this is not waited for.
        ("_RJEM_MALLOC_CONF", "dirty_decay_ms:1000"),
    ])
    .await;
    let target = format!("http://{}/", origin.address);

    // What the first of each kind needs is no part of it: pages of the program, tables, buffers of each thread.
    drop(crowd(resin.data, &target, 500).await);
    bomb(resin.data, 0).await;
    let start = quiet(&resin).await;
    one_crowd(&resin, &target, count).await;
    let between = quiet(&resin).await;
    one_crowd(&resin, &target, count).await;
    let end = quiet(&resin).await;
    say(&format!(
        "{start} KiB at the start, {between} KiB after the first crowd, {end} KiB after the second"
    ));
    assert!(between <= start + start / 10, "{between} KiB after a crowd, {start} KiB before it");
    assert!(end <= between + between / 10, "{end} KiB after another crowd, {between} KiB before it");
}

#[tokio::test]
async fn the_limit_of_descriptors_is_raised_to_what_is_allowed() {
    let database = Database::new().await;
    let mut command = std::process::Command::new("sh");
    command.args(["-c", "ulimit -S -n 256 && exec \"$0\" serve", PROGRAM]);
    command.envs(DEFAULTS).env("RESIN_DATABASE_URL", &database.url);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let resin = Resin::ready(Process::of(command)).await;
    let limits = fs::read_to_string(format!("/proc/{}/limits", resin.pid())).unwrap();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
    let mut numbers = line.split_whitespace();
    assert_eq!(numbers.next(), numbers.next(), "{line}");
    resin.process.stderr_line("the limit", |line| line.contains("limit of file descriptors")).await;
}

/// Answers everything, and keeps no book of it.
async fn quiet_origin() -> Server {
    Server::start(|connection| async move {
        let mut wire = Wire::new(connection);
        while let Ok(Some(head)) = wire.head().await {
            let whole = wire.body(Length::of_request(&head)).await.whole;
            if !whole || wire.say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.is_err() {
                return;
            }
        }
    })
    .await
}

/// The memory once it no longer falls.
async fn quiet(resin: &Resin) -> u64 {
    let (began, mut least, mut still) = (Instant::now(), u64::MAX, 0);
    while began.elapsed() < PATIENCE && still < 40 {
        let now = memory_kib(resin);
        still = if now < least { 0 } else { still + 1 };
        least = least.min(now);
        tokio::time::sleep(Duration::from_millis(100)).await; // memory gives no sign
    }
    memory_kib(resin)
}
