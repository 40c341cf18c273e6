//! The world of the demo: an origin, one good node and two bad ones, and a client that speaks plain HTTP/1.1.

use std::{collections::HashMap, io, net::SocketAddr, sync::Arc};

use axum::{Router, extract::Path, routing::get};
use parking_lot::Mutex;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, copy_bidirectional},
    net::{TcpListener, TcpSocket, TcpStream},
    task::JoinSet,
};

pub(super) const GOOD: &str = "demo-good";
const DEAD: &str = "demo-dead";
const REFUSING: &str = "demo-refusing";

/// A way through the data port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trip {
    Forward,
    Connect,
    Reverse,
}

impl Trip {
    pub(super) const ALL: [Self; 3] = [Self::Forward, Self::Connect, Self::Reverse];
}

/// How often each request has reached the origin, by its number.
type Deliveries = Arc<Mutex<HashMap<usize, usize>>>;

/// Runs until dropped.
pub(super) struct World {
    pub(super) origin: SocketAddr,
    good: SocketAddr,
    dead: SocketAddr,
    refusing: SocketAddr,
    deliveries: Deliveries,
    /// Bound and not listening: its port refuses, and nobody else can take it meanwhile.
    _deaf: TcpSocket,
    _tasks: JoinSet<()>,
}

impl World {
    pub(super) async fn start() -> io::Result<Self> {
        let origin = TcpListener::bind("127.0.0.1:0").await?;
        let good = TcpListener::bind("127.0.0.1:0").await?;
        let refusing = TcpListener::bind("127.0.0.1:0").await?;
        let deaf = TcpSocket::new_v4()?;
        deaf.bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
        let addresses =
            [origin.local_addr()?, good.local_addr()?, deaf.local_addr()?, refusing.local_addr()?];
        let deliveries = Deliveries::default();
        let mut tasks = JoinSet::new();
        tasks.spawn(serve_origin(origin, Arc::clone(&deliveries)));
        tasks.spawn(serve_node(good, true));
        tasks.spawn(serve_node(refusing, false));
        let [origin, good, dead, refusing] = addresses;
        Ok(Self { origin, good, dead, refusing, deliveries, _deaf: deaf, _tasks: tasks })
    }

    pub(super) fn nodes(&self) -> [(&'static str, SocketAddr); 3] {
        [(GOOD, self.good), (DEAD, self.dead), (REFUSING, self.refusing)]
    }

    /// What the origin says to request `number`.
    pub(super) fn says(number: usize) -> String {
        format!("hello, request {number}\n")
    }

    /// How often request `number` has reached the origin.
    pub(super) fn delivered(&self, number: usize) -> usize {
        self.deliveries.lock().get(&number).copied().unwrap_or_default()
    }

    /// Sends request `number`, and gives the body of its answer.
    pub(super) async fn send(
        &self,
        trip: Trip,
        data: SocketAddr,
        platform: &str,
        number: usize,
    ) -> io::Result<String> {
        let mut stream = TcpStream::connect(data).await?;
        let credentials = base64::Engine::encode(
            &base64::engine::general_purpose::STANDARD,
            format!("{platform}.visitor:"),
        );
        let auth = format!("Proxy-Authorization: Basic {credentials}\r\n");
        let origin = self.origin;
        let get = |target: String, fields: &str| {
            format!("GET {target} HTTP/1.1\r\nHost: {origin}\r\n{fields}Connection: close\r\n\r\n")
        };
        let request = match trip {
            Trip::Forward => get(format!("http://{origin}/hello/{number}"), &auth),
            Trip::Reverse => get(format!("/any/{platform}.visitor/http/{origin}/hello/{number}"), ""),
            Trip::Connect => {
                let connect = format!("CONNECT {origin} HTTP/1.1\r\nHost: {origin}\r\n{auth}\r\n");
                stream.write_all(connect.as_bytes()).await?;
                read_head(&mut stream).await?;
                get(format!("/hello/{number}"), "")
            }
        };
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer.split_once("\r\n\r\n").map_or(answer.clone(), |(_, body)| body.to_owned()))
    }
}

async fn serve_origin(listener: TcpListener, deliveries: Deliveries) {
    let hello = move |Path(number): Path<usize>| {
        *deliveries.lock().entry(number).or_default() += 1;
        async move { World::says(number) }
    };
    let router = Router::new()
        .route("/hello/{number}", get(hello))
        .route("/", get(async || "hello from the demo's origin\n"));
    let _until_dropped = axum::serve(listener, router).await;
}

/// A proxy that knows CONNECT only, and, where it is not `good`, not even that.
async fn serve_node(listener: TcpListener, good: bool) {
    let mut tunnels = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        tunnels.spawn(async move {
            let _broken = tunnel(stream, good).await;
        });
        while tunnels.try_join_next().is_some() {}
    }
}

async fn tunnel(mut client: TcpStream, good: bool) -> io::Result<()> {
    let head = read_head(&mut client).await?;
    if !good {
        return client.write_all(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n").await;
    }
    let target = head.split_whitespace().nth(1).unwrap_or_default();
    let mut origin = TcpStream::connect(target).await?;
    client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
    copy_bidirectional(&mut client, &mut origin).await.map(|_| ())
}

/// Up to the empty line. Who speaks behind it waits for an answer first, so that nothing is read too far.
async fn read_head(stream: &mut TcpStream) -> io::Result<String> {
    let mut lines = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if lines.read_line(&mut head).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(head)
}
