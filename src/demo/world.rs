//! The world of the demo: an origin, one good node and two bad ones, and a client that speaks plain HTTP/1.1.

use std::{io, net::SocketAddr};

use axum::{Router, extract::Path, routing::get};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, copy_bidirectional},
    net::{TcpListener, TcpStream},
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

/// Runs until dropped.
pub(super) struct World {
    pub(super) origin: SocketAddr,
    good: SocketAddr,
    dead: SocketAddr,
    refusing: SocketAddr,
    _tasks: JoinSet<()>,
}

impl World {
    pub(super) async fn start() -> io::Result<Self> {
        let mut tasks = JoinSet::new();
        let origin = TcpListener::bind("127.0.0.1:0").await?;
        let good = TcpListener::bind("127.0.0.1:0").await?;
        let refusing = TcpListener::bind("127.0.0.1:0").await?;
        // Nobody listens here any more.
        let dead = TcpListener::bind("127.0.0.1:0").await?.local_addr()?;
        let world = Self {
            origin: origin.local_addr()?,
            good: good.local_addr()?,
            dead,
            refusing: refusing.local_addr()?,
            _tasks: JoinSet::new(),
        };
        tasks.spawn(serve_origin(origin));
        tasks.spawn(serve_node(good, true));
        tasks.spawn(serve_node(refusing, false));
        Ok(Self { _tasks: tasks, ..world })
    }

    pub(super) fn nodes(&self) -> [(&'static str, SocketAddr); 3] {
        [(GOOD, self.good), (DEAD, self.dead), (REFUSING, self.refusing)]
    }

    /// What the origin says to request `number`.
    pub(super) fn says(number: usize) -> String {
        format!("hello, request {number}\n")
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

    /// The end of the world, said so that it is not dropped before.
    pub(super) fn say_goodbye(&self) {
        println!();
    }
}

async fn serve_origin(listener: TcpListener) {
    let hello = async |Path(number): Path<usize>| World::says(number);
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
