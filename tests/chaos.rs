//! Chaos with a ledger: thousands of requests through everything that can go wrong at once, and every record held
//! against what nodes, origins and clients saw.
//!
//! `RESIN_CHAOS_REQUESTS` says how many, `RESIN_CHAOS_SEED` which; both are printed. ARCHITECTURE.md has the command of
//! the long run.

#![allow(clippy::unwrap_used)] // a broken expectation is a failed test

mod chaos {
    //! The parts of the run: script, servers, lanes, ledger, judge.
    #![allow(unreachable_pub)] // a module of its own within each test
    use std::time::Duration;

    pub mod cause;
    pub mod fuse;
    pub mod judge;
    pub mod lane;
    pub mod nodes;
    pub mod origin;
    pub mod plan;
    pub mod stage;
    pub mod tally;

    /// `RESIN_RETRY_DEADLINE` of the run.
    pub const DEADLINE: Duration = Duration::from_secs(4);
}
mod support;

use std::{
    io::Write as _,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use chaos::{
    judge::{Judge, Verdict},
    lane::{Content, Lane, Sender, churn},
    plan::Plan,
    stage::Stage,
    tally::Tally,
};
use hyper::client::conn::http2::SendRequest;
use resin::proto::{StreamRequestLogsRequest, stream_request_logs_request::Start};
use support::{
    client::http2,
    grpc::spec,
    resin::{Resin, soon},
    tls::Authority,
};
use tokio::task::JoinSet;
use tokio_util::task::TaskTracker;

const LANES: usize = 32;
/// Connections that clients over HTTP/2 share.
const HTTP2: usize = 3;

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |value| value.parse().unwrap())
}

/// Past the harness, which keeps what a passing test prints.
fn tell(text: &str) {
    let _nobody_reads = writeln!(std::io::stderr(), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_chaos_nothing_is_delivered_twice_and_every_record_agrees_with_what_was_seen() {
    let requests = usize::try_from(number("RESIN_CHAOS_REQUESTS", 4_000)).unwrap();
    let seed = number("RESIN_CHAOS_SEED", fastrand::u64(..));
    tell(&format!("chaos: RESIN_CHAOS_REQUESTS={requests} RESIN_CHAOS_SEED={seed}"));
    let world = World::open(requests).await;
    let began = Instant::now();

    let records = tokio::spawn(read(Arc::clone(&world), requests));
    let mut churning = churned(&world);
    let next = Arc::new(AtomicUsize::new(0));
    let mut running = JoinSet::new();
    for lane in 0..LANES {
        running.spawn(run(Arc::clone(&world), lane, Arc::clone(&next), seed, requests));
    }
    running.join_all().await;
    let took = began.elapsed();
    churning.shutdown().await;
    soon("the last records", records).await.unwrap();
    let verdict = world.end().await;

    print(&verdict, requests, took);
    for complaint in verdict.complaints.iter().rev().take(12) {
        tell(complaint);
    }
    assert_eq!(verdict.judged, requests);
    assert_eq!((verdict.duplicates, verdict.misclassified, verdict.not_moved), (0, 0, 0));
    assert!(verdict.complaints.is_empty(), "{} complaints, seed {seed}", verdict.complaints.len());
    assert!(verdict.slow * 20 <= requests, "too many time-outs that nobody planned: {}", verdict.slow);
}

/// An instance and everything around it.
struct World {
    resin: Resin,
    lanes: Arc<Vec<Lane>>,
    judge: Judge,
    tally: Arc<Tally>,
    tasks: TaskTracker,
    http2: Vec<SendRequest<Content>>,
    _authority: Authority,
}

impl World {
    async fn open(requests: usize) -> Arc<Self> {
        let authority = Authority::new();
        let acceptor = authority.acceptor("127.0.0.1");
        let (tally, tasks) = (Arc::new(Tally::of(requests)), TaskTracker::new());
        let mut lanes = Vec::new();
        for number in 0..LANES {
            let stage = Stage::new(Arc::clone(&tally), tasks.clone());
            lanes.push(Lane::open(number, stage, &acceptor).await);
        }
        let deadline = format!("{}s", chaos::DEADLINE.as_secs());
        let settings = [
            ("RESIN_CA_FILE", authority.file()),
            ("RESIN_CONNECT_TIMEOUT", "1s"),
            ("RESIN_RETRY_DEADLINE", &deadline),
            ("RESIN_RESPONSE_TIMEOUT", "1s"),
            ("RESIN_LOG_QUEUE", "1000000"),
            ("RESIN_DATA_THREADS", "2"),
            ("RESIN_LOG", "warn"),
        ];
        let resin = Resin::start(&settings).await;
        for lane in &lanes {
            soon("UpsertPlatform", resin.grpc().upsert_platform(lane.as_platform())).await.unwrap();
        }
        let nodes = lanes.iter().flat_map(|lane| lane.steady()).map(|node| spec(&node.uri, &node.tag));
        soon("UpsertNodes", resin.grpc().upsert_nodes(nodes.collect())).await.unwrap();
        let mut connections = Vec::new();
        for _ in 0..HTTP2 {
            connections.push(http2(&resin).await);
        }
        let lanes = Arc::new(lanes);
        let judge = Judge::over(Arc::clone(&lanes));
        Arc::new(Self { resin, lanes, judge, tally, tasks, http2: connections, _authority: authority })
    }

    /// Ends the instance, waits for the last connection to be served, and judges.
    async fn end(self: Arc<Self>) -> Verdict {
        let world = Arc::into_inner(self).expect("nobody else works here any more");
        drop(world.http2);
        assert!(world.resin.stop().await.success());
        world.tasks.close();
        soon("the servers' last connections", world.tasks.wait()).await;
        assert_eq!(world.tally.mangled.load(Ordering::SeqCst), 0, "bodies arrive as they were sent");
        world.judge.close(&world.tally)
    }
}

/// One lane's requests, one after the other, as long as there are any left.
async fn run(world: Arc<World>, lane: usize, next: Arc<AtomicUsize>, seed: u64, requests: usize) {
    let http2 = world.http2[lane % HTTP2].clone();
    let lane = &world.lanes[lane];
    let mut sender = Sender { resin: &world.resin, lane, kept: None, http2 };
    loop {
        let id = next.fetch_add(1, Ordering::Relaxed);
        if id >= requests {
            return;
        }
        let mut report = sender.send(id, Plan::draw(seed, id)).await;
        if report.outcome.left {
            // Somebody has seen it, so there will be a record; and then nothing more can begin.
            soon("a record of a client that left", world.judge.recorded(id)).await.unwrap();
            lane.settle().await;
            report.dials.extend(lane.stage.dials());
        }
        world.judge.report(report);
    }
}

/// Nodes that come and go, until this is dropped.
fn churned(world: &Arc<World>) -> JoinSet<()> {
    let mut churning = JoinSet::new();
    for lane in world.lanes.iter().filter(|lane| lane.churned) {
        let (world, lane) = (Arc::clone(world), lane.number);
        churning.spawn(async move { churn(&world.resin, &world.lanes[lane]).await });
    }
    churning
}

/// The records, as a controller gets them.
async fn read(world: Arc<World>, requests: usize) {
    let start = Some(Start::Since(SystemTime::UNIX_EPOCH.into()));
    let request = StreamRequestLogsRequest { filter: None, start, follow: true };
    let mut stream = world.resin.grpc().logs.stream_request_logs(request).await.unwrap().into_inner();
    let mut read = 0;
    while read < requests {
        let batch = stream.message().await.unwrap().expect("a stream that follows does not end");
        read += batch.request_logs.len();
        for record in batch.request_logs {
            world.judge.record(record);
        }
    }
}

fn print(verdict: &Verdict, requests: usize, took: Duration) {
    let rate = requests as f64 / took.as_secs_f64();
    tell(&format!(
        "chaos: {requests} requests in {took:.1?}, {rate:.0} a second, {} answered",
        verdict.answered
    ));
    tell(&format!(
        "{:<44}{:>10}{:>10}{:>10}{:>10}",
        "failed attempts by kind of fault", "recovered", "spent", "uncertain", "canceled"
    ));
    let (mut recovered, mut uncertain) = (0, 0);
    for (cause, row) in &verdict.rows {
        tell(&format!(
            "{cause:<44}{:>10}{:>10}{:>10}{:>10}",
            row.recovered, row.spent, row.uncertain, row.canceled
        ));
        recovered += row.recovered;
        uncertain += row.uncertain;
    }
    let could = recovered + verdict.not_moved;
    let share = 100.0 * recovered as f64 / could.max(1) as f64;
    tell(&format!(
        "provable with retries, nodes and time left: {could}, recovered {share:.1} %; uncertain {uncertain}; \
         duplicates {}; misclassified {}; time-outs of a slow machine {}",
        verdict.duplicates, verdict.misclassified, verdict.slow
    ));
}
