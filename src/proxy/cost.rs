//! What is not paid for: retry that is not used costs not one allocation more, and an idle tunnel holds next to nothing.
//!
//! A data thread's work is done on the test's own thread, where every allocation is counted; client and origin are
//! threads of their own, whose allocations are not. (System calls are counted from outside: `tests/cost.rs`.)

mod idle;

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, mpsc},
    thread,
    time::SystemTime,
};

use allocation_counter::measure;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::{Numbers, Shared, Worker, accept};
use crate::{
    config::{Ambient, Config},
    drain::Drain,
    model::{Node, NodeConfig, Platform, PlatformName},
    record::Journal,
    routing::{Directory, Snapshot},
    telemetry::{Metrics, Tracing},
    upstream::{OwnRoots, Targets, Trust},
};

const WARM_UP: usize = 50;
const BLOCK: usize = 50;
const BLOCKS: usize = 8;
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// Reads a head and a body of this length; false at the end.
fn hear(stream: &mut TcpStream, body: usize) -> bool {
    let (mut buffer, mut filled) = ([0; 4096], 0);
    loop {
        let head = buffer[..filled].windows(4).position(|four| four == b"\r\n\r\n");
        if head.is_some_and(|head| filled >= head + 4 + body) {
            return true;
        }
        match stream.read(&mut buffer[filled..]) {
            Ok(0) | Err(_) => return false,
            Ok(read) => filled += read,
        }
    }
}

/// Answers every request that has a body of this length, on any number of connections.
fn origin(body: usize) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            thread::spawn(move || while hear(&mut stream, body) && stream.write_all(ANSWER).is_ok() {});
        }
    });
    address
}

fn worker(max_retries: i32) -> Arc<Worker> {
    let platform = Platform {
        id: uuid::Uuid::nil(),
        name: PlatformName::parse("Default").unwrap(),
        filters: Vec::new(),
        max_retries,
        revision: 1,
        create_time: SystemTime::UNIX_EPOCH,
        update_time: SystemTime::UNIX_EPOCH,
    };
    let config = NodeConfig::Direct;
    let tags = vec!["direct".to_owned()];
    let node = Node { hash: config.hash(), config, tags, egress_ip: None, region: None };
    let ambient = Ambient { root: false, cores: 1, current_dir: "/".into() };
    let config = Config::parse(|name| (name == "HOME").then(|| "/nowhere".to_owned()), &ambient).unwrap();
    let shared = Shared {
        directory: Arc::new(Directory::new(Snapshot::new(vec![platform], vec![node]))),
        journal: Arc::new(Journal::new(1 << 20)),
        metrics: Metrics::new(),
        tracing: Tracing::default(),
        trust: Trust::load(OwnRoots::read(None).unwrap()).unwrap(),
        targets: Targets::new(config.targets, []),
        drain: Drain::new(),
        idle: Arc::default(),
        numbers: Numbers::default(),
    };
    Worker::new(shared, &config)
}

/// Hears what comes and says it again, on any number of connections.
fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            thread::spawn(move || std::io::copy(&mut &stream, &mut &stream));
        }
    });
    address
}

/// A tunnel that something has gone through: it stands, and nothing of what HTTP needed is left.
fn tunnel(through: SocketAddr, to: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(through).unwrap();
    write!(stream, "CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n\r\n").unwrap();
    assert!(hear(&mut stream, 0));
    stream.write_all(b"ping").unwrap();
    stream.read_exact(&mut [0; 4]).unwrap();
    stream
}

#[test]
fn an_idle_tunnel_holds_little_more_than_its_task() {
    const TUNNELS: usize = 64;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    listener.set_nonblocking(true).unwrap();
    let (origin, worker) = (echo(), worker(2));
    let (warm, is_warm) = oneshot::channel();
    let (open, are_open) = oneshot::channel();
    let (go, gone) = mpsc::channel();
    let client = thread::spawn(move || {
        let open_some = || -> Vec<_> { (0..TUNNELS).map(|_| tunnel(address, origin)).collect() };
        let first = open_some();
        warm.send(()).unwrap();
        gone.recv().unwrap();
        let second = open_some();
        open.send((first, second)).unwrap();
    });
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        tokio::spawn(accept(Arc::clone(&worker), listener, CancellationToken::new()));
        is_warm.await.unwrap();
    });
    go.send(()).unwrap();
    let mut tunnels = None;
    let counted = measure(|| {
        tunnels = Some(runtime.block_on(are_open).unwrap());
        // What is kept only for the next sweep is not held.
        worker.roster.sweep();
    });
    let held = usize::try_from(counted.bytes_current).unwrap() / TUNNELS;
    println!(
        "an idle tunnel holds {held} bytes; to open one took {} allocations of {} bytes",
        counted.count_total / 64,
        counted.bytes_total / 64
    );
    assert!(held < 2 * 1024, "{held} bytes");
    client.join().unwrap();
    drop(tunnels);
}

/// What a thread of the data plane allocates for a block of this request, one after the other on one connection: how
/// often, and how many bytes. Of several blocks the least, as once a second the date is written anew, and the journal
/// grows at times.
fn allocated(max_retries: i32, request: &str) -> (u64, u64) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    listener.set_nonblocking(true).unwrap();
    let worker = worker(max_retries);
    let (done, is_done): (Vec<_>, Vec<_>) = (0..=BLOCKS).map(|_| oneshot::channel()).unzip();
    let (go, gone) = mpsc::channel();
    let text = request.to_owned();
    let client = thread::spawn(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        for (block, done) in done.into_iter().enumerate() {
            for _ in 0..if block == 0 { WARM_UP } else { BLOCK } {
                stream.write_all(text.as_bytes()).unwrap();
                assert!(hear(&mut stream, 2));
            }
            done.send(()).unwrap();
            gone.recv().unwrap();
        }
    });
    let mut is_done = is_done.into_iter();
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        tokio::spawn(accept(Arc::clone(&worker), listener, CancellationToken::new()));
        is_done.next().unwrap().await.unwrap();
    });
    let blocks = is_done.map(|is_done| {
        go.send(()).unwrap();
        let counted = measure(|| runtime.block_on(is_done).unwrap());
        (counted.count_total, counted.bytes_total)
    });
    let least = blocks.min().unwrap();
    go.send(()).unwrap();
    client.join().unwrap();
    assert_eq!(worker.journal.len(), WARM_UP + BLOCKS * BLOCK, "each of them left its record");
    least
}

#[test]
fn retry_that_is_on_and_not_used_allocates_nothing_more() {
    let (plain, with_body) = (origin(0), origin(12));
    let forms = [
        format!("GET http://{plain}/ HTTP/1.1\r\nHost: a\r\n\r\n"),
        format!("GET /any/Default/http/{plain}/ HTTP/1.1\r\nHost: a\r\n\r\n"),
        format!("POST http://{with_body}/ HTTP/1.1\r\nHost: a\r\nContent-Length: 12\r\n\r\na small body"),
    ];
    for request in forms {
        let (off, on) = (allocated(0, &request), allocated(2, &request));
        println!("{BLOCK} times: {off:?} without retry, {on:?} with: {request}");
        assert!(off.0 > BLOCK as u64, "they were counted: {off:?}");
        assert_eq!(on, off, "allocations and their bytes: {request}");
    }
}
