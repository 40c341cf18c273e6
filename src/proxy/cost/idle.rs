//! What a connection costs that idles: it holds no buffers.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use allocation_counter::measure;
use tokio::{runtime::Runtime, sync::oneshot, task::yield_now, time};
use tokio_util::sync::CancellationToken;

use super::{accept, hear, origin, worker};
use crate::proxy::{listener::connection, worker::Worker};

const CLIENTS: usize = 16;
/// Of the heap, for a client at rest and a parked upstream connection. A request's two buffers alone are 16 KiB.
const MOST: i64 = 3 * 1024;
const A_WHILE: Duration = Duration::from_secs(5);

/// Clients of a thread of the data plane, which runs on the test's own.
struct Crowd {
    runtime: Runtime,
    worker: Arc<Worker>,
    /// Asks once on each connection.
    go: mpsc::Sender<oneshot::Sender<()>>,
    clients: thread::JoinHandle<Vec<TcpStream>>,
}

impl Crowd {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let worker = worker(0);
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let to = listener.local_addr().unwrap();
        runtime.spawn(accept(Arc::clone(&worker), listener, CancellationToken::new()));
        let (go, gone) = mpsc::channel();
        let clients = thread::spawn(move || clients(to, &gone));
        Self { runtime, worker, go, clients }
    }

    fn ask(&self) {
        let (done, is_done) = oneshot::channel();
        self.go.send(done).unwrap();
        self.runtime.block_on(is_done).unwrap();
        drop(self.worker.journal.take());
    }

    /// All idle for so long, and what is to become of them is done.
    fn idle(&self, long: Duration) {
        self.runtime.block_on(async {
            time::pause();
            time::advance(long).await;
            time::resume();
            self.worker.pool.sweep();
            self.worker.roster.sweep();
            self.turn().await;
        });
    }

    /// Lets every task have its turn.
    async fn turn(&self) {
        for _ in 0..4 * CLIENTS {
            yield_now().await;
        }
    }

    fn assert_all_have_ended(self) {
        drop(self.go);
        for mut stream in self.clients.join().unwrap() {
            assert_eq!(stream.read(&mut [0]).unwrap(), 0);
        }
    }
}

fn clients(to: SocketAddr, gone: &mpsc::Receiver<oneshot::Sender<()>>) -> Vec<TcpStream> {
    let request = format!("GET http://{}/ HTTP/1.1\r\nHost: a\r\n\r\n", origin(0));
    let mut streams: Vec<_> = (0..CLIENTS).map(|_| TcpStream::connect(to).unwrap()).collect();
    for done in gone {
        // All at once, so that many upstream connections are needed.
        for stream in &mut streams {
            stream.write_all(request.as_bytes()).unwrap();
        }
        for stream in &mut streams {
            assert!(hear(stream, 2));
        }
        done.send(()).unwrap();
    }
    streams
}

#[test]
fn a_client_that_idles_costs_no_buffers_and_is_served_as_ever_when_it_comes_again() {
    let crowd = Crowd::new();
    let counted = measure(|| {
        for round in 0..3 {
            let awake = measure(|| crowd.ask()).bytes_current;
            println!("round {round}: {awake} bytes more while awake");
            crowd.idle(A_WHILE);
        }
    });
    let each = counted.bytes_current / i64::try_from(CLIENTS).unwrap();
    println!("{each} bytes of each client at rest, with its upstream connection");
    assert!((1..MOST).contains(&each), "{each} bytes");
}

#[test]
fn a_client_at_rest_is_let_go_when_its_time_is_over_or_the_end_begins() {
    for drains in [false, true] {
        let crowd = Crowd::new();
        crowd.ask();
        crowd.idle(A_WHILE);
        if drains {
            crowd.runtime.block_on(async {
                crowd.worker.drain.drained().await;
                crowd.worker.roster.call_all();
                crowd.turn().await;
            });
        } else {
            crowd.idle(Duration::from_secs(3600));
        }
        crowd.assert_all_have_ended();
    }
}

#[test]
fn a_connections_task_has_room_for_no_request() {
    fn size<A, B, C, D, F>(_: impl Fn(A, B, C, D) -> F) -> usize {
        size_of::<F>()
    }
    let task = size(connection);
    println!("{task} bytes");
    assert!(task <= 512, "{task} bytes");
}
