//! What retry costs while nothing fails: a request of a platform that retries makes the same system calls as one of a
//! platform that does not. (That it allocates the same is counted in the process itself: `proxy::cost`.)
//!
//! Both run through one instance in turn, so that the machine's moods fall on both alike.

#![allow(clippy::unwrap_used)] // a broken expectation is a failed test

mod support;

use std::{
    collections::BTreeMap,
    fs,
    io::Write as _,
    process::Stdio,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use support::{
    client::{Client, EXCHANGES, Way},
    nodes::resin_direct,
    origins::Origin,
    resin::{Resin, soon},
};
use tempfile::NamedTempFile;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

const REQUESTS: usize = 1_000;
const ROUNDS: usize = 2;
/// How often the data thread looks after what stands still, at the most; and the calls of one such look.
const SWEEP: Duration = Duration::from_secs(5);
const CALLS_PER_SWEEP: usize = 3;
/// What strace itself interrupts, and what other threads wake it for, in all.
const STRAY_CALLS: usize = 12;
/// The allocator's, and those of a lock that another thread holds: of no request's.
const OF_NO_REQUEST: [&str; 6] = ["brk", "futex", "madvise", "mmap", "mprotect", "munmap"];

/// Past the harness, which keeps what a passing test prints.
fn tell(text: &str) {
    let _nobody_reads = writeln!(std::io::stderr(), "{text}");
}

/// The one thread of the data plane. It bears its name by the time that it has answered a request.
async fn data_thread(resin: &Resin, origin: &Origin) -> u32 {
    send(&mut Client::of(resin).await, Way::Forward, origin, 2).await;
    let tasks = fs::read_dir(format!("/proc/{}/task", resin.pid())).unwrap();
    let mut found = tasks.flatten().filter(|task| {
        fs::read_to_string(task.path().join("comm")).is_ok_and(|name| name.starts_with("data-"))
    });
    let task = found.next().expect("a data thread");
    assert!(found.next().is_none(), "one data thread");
    task.file_name().to_str().unwrap().parse().unwrap()
}

/// strace at work on one thread.
struct Tracer {
    strace: Child,
    report: NamedTempFile,
}

impl Tracer {
    /// None where strace is missing or may not look into other processes.
    async fn attach(thread: u32) -> Option<Self> {
        let report = NamedTempFile::new().unwrap();
        let mut command = Command::new("strace");
        command.args(["-c", "-p", &thread.to_string(), "-o"]).arg(report.path());
        let mut strace = command.stderr(Stdio::piped()).kill_on_drop(true).spawn().ok()?;
        let mut lines = BufReader::new(strace.stderr.take().unwrap()).lines();
        let line = soon("strace's first line", lines.next_line()).await.unwrap()?;
        line.contains("attached").then_some(Self { strace, report })
    }

    /// How often each system call was made.
    async fn detach(mut self) -> BTreeMap<String, usize> {
        let pid = Pid::from_raw(i32::try_from(self.strace.id().unwrap()).unwrap()).unwrap();
        kill_process(pid, Signal::INT).unwrap();
        soon("strace's end", self.strace.wait()).await.unwrap();
        let report = fs::read_to_string(self.report.path()).unwrap();
        let mut calls = BTreeMap::new();
        for line in report.lines().filter(|line| !line.contains("total")) {
            let columns: Vec<&str> = line.split_whitespace().collect();
            if let (Some(count), Some(name)) = (columns.get(3).and_then(|n| n.parse().ok()), columns.last()) {
                calls.insert((*name).to_owned(), count);
            }
        }
        calls
    }
}

async fn send(client: &mut Client, way: Way, origin: &Origin, requests: usize) {
    let target = way.target(&origin.authority(), "/");
    for number in 0..requests {
        let (method, rest) = match number % 2 {
            0 => ("GET", "Host: a\r\n\r\n"),
            _ => ("POST", "Host: a\r\nContent-Length: 12\r\n\r\na small body"),
        };
        assert_eq!(client.ask(method, &target, rest).await.status, 200);
    }
}

#[tokio::test]
async fn retry_that_is_on_and_not_used_makes_no_system_call_more() {
    let origin = Origin::ok().await;
    let resin = resin_direct(&[
        ("RESIN_DATA_THREADS", "1"),
        ("RESIN_POOL_IDLE_TIMEOUT", "1h"),
        ("RESIN_POOL_MAX_AGE", "2h"),
    ])
    .await;
    let thread = data_thread(&resin, &origin).await;
    for way in EXCHANGES {
        let mut client = Client::of(&resin).await;
        let mut all: [BTreeMap<String, usize>; 2] = Default::default();
        let begun = Instant::now();
        for _ in 0..ROUNDS {
            for (calls, max_retries) in all.iter_mut().zip([0, 2]) {
                resin.set_retries("Default", max_retries).await;
                send(&mut client, way, &origin, 20).await;
                let Some(tracer) = Tracer::attach(thread).await else {
                    tell("skipped: system calls are not counted, strace is missing or may not attach");
                    return;
                };
                send(&mut client, way, &origin, REQUESTS).await;
                for (name, count) in tracer.detach().await {
                    *calls.entry(name).or_default() += count;
                }
            }
        }
        let [off, on] = all;
        let total = |calls: &BTreeMap<String, usize>| -> usize {
            let of_requests = calls.iter().filter(|(name, _)| !OF_NO_REQUEST.contains(&name.as_str()));
            of_requests.map(|(_, count)| count).sum()
        };
        let requests = ROUNDS * REQUESTS;
        tell(&format!(
            "{way:?}, {requests} requests each: {} system calls without retry, {} with; {off:?} {on:?}",
            total(&off),
            total(&on),
        ));
        let sweeps = begun.elapsed().as_secs() / SWEEP.as_secs() + 1;
        let by_the_clock = STRAY_CALLS + CALLS_PER_SWEEP * usize::try_from(sweeps).unwrap();
        assert!(total(&off) >= 4 * requests, "they were counted: {off:?}");
        assert!(total(&on) <= total(&off) + by_the_clock, "{by_the_clock} are the clock's: {off:?} {on:?}");
        assert!(total(&off) <= total(&on) + by_the_clock, "{by_the_clock} are the clock's: {off:?} {on:?}");
    }
}

/// Nanoseconds that a thread has run.
fn ran(resin: &Resin, thread: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{}/task/{thread}/schedstat", resin.pid())).unwrap();
    text.split(' ').next().unwrap().parse().unwrap()
}

#[tokio::test]
async fn the_time_that_retry_costs_is_told() {
    const PAIRS: usize = 10;
    let origin = Origin::ok().await;
    let resin = resin_direct(&[("RESIN_DATA_THREADS", "1")]).await;
    let thread = data_thread(&resin, &origin).await;
    let mut client = Client::of(&resin).await;
    send(&mut client, Way::Forward, &origin, 200).await;
    let mut ratios = Vec::new();
    let mut spent = [0; 2];
    for pair in 0..PAIRS {
        // In turn the one and the other goes first.
        for place in 0..2 {
            let which = (pair + place) % 2;
            resin.set_retries("Default", [0, 2][which]).await;
            let before = ran(&resin, thread);
            send(&mut client, Way::Forward, &origin, 200).await;
            spent[which] = ran(&resin, thread) - before;
        }
        ratios.push(spent[1] as f64 / spent[0] as f64);
    }
    ratios.sort_by(f64::total_cmp);
    tell(&format!(
        "CPU of the data thread with retry on, to that with retry off, in {PAIRS} pairs: median {:.3}, {:.3} to {:.3}",
        ratios[PAIRS / 2],
        ratios[0],
        ratios[PAIRS - 1],
    ));
}
