//! The smallest world around an instance: an origin that can be made to wait, one that echoes, nodes that refuse and
//! nodes that take the call and hang up, each counting.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use base64::{Engine, prelude::BASE64_STANDARD};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::watch,
};

use super::resin::{Resin, exchange, soon};

/// Answers `200` with `ok` to one request per connection; keeps the heads.
pub struct Origin {
    pub address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
    arrived: watch::Receiver<usize>,
    gate: watch::Sender<bool>,
}

impl Origin {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (arrivals, arrived) = watch::channel(0);
        let (gate, opened) = watch::channel(true);
        let heads = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&heads);
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                let (kept, arrivals, opened) = (Arc::clone(&kept), arrivals.clone(), opened.clone());
                tokio::spawn(async move {
                    let _ = answer(connection, &kept, &arrivals, opened).await;
                });
            }
        });
        Self { address, heads, arrived, gate }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// From now on answers wait.
    pub fn hold(&self) {
        self.gate.send_replace(false);
    }

    pub fn release(&self) {
        self.gate.send_replace(true);
    }

    /// Returns once so many requests have come in, answered or not.
    pub async fn arrived(&self, count: usize) {
        let mut arrived = self.arrived.clone();
        soon("a request at the origin", arrived.wait_for(|come| *come >= count)).await.unwrap();
    }

    /// Every request's head, lower case.
    pub fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

async fn answer(
    mut connection: TcpStream,
    heads: &Mutex<Vec<String>>,
    arrivals: &watch::Sender<usize>,
    mut opened: watch::Receiver<bool>,
) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(connection.read_u8().await?);
    }
    heads.lock().unwrap().push(String::from_utf8_lossy(&head).to_ascii_lowercase());
    arrivals.send_modify(|count| *count += 1);
    if opened.wait_for(|open| *open).await.is_err() {
        return Ok(());
    }
    connection.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok").await?;
    connection.shutdown().await
}

/// Sends back what it is sent.
pub async fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut from, mut to) = connection.split();
                let _ = copy(&mut from, &mut to).await;
                let _ = to.shutdown().await;
            });
        }
    });
    address
}

/// HTTP proxy nodes that accept, count the call and hang up before anything was said.
pub struct Dying {
    pub uris: Vec<String>,
    dials: Arc<AtomicUsize>,
}

impl Dying {
    pub async fn nodes(count: usize) -> Self {
        let dials = Arc::new(AtomicUsize::new(0));
        let mut uris = Vec::new();
        for _ in 0..count {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            uris.push(format!("http://{}", listener.local_addr().unwrap()));
            let dials = Arc::clone(&dials);
            tokio::spawn(async move {
                while let Ok((connection, _)) = listener.accept().await {
                    dials.fetch_add(1, Ordering::SeqCst);
                    drop(connection);
                }
            });
        }
        Self { uris, dials }
    }

    pub fn dials(&self) -> usize {
        self.dials.load(Ordering::SeqCst)
    }

    /// Puts them into an instance, tagged `dying-1` and so on.
    pub async fn join(&self, resin: &Resin) {
        let tags: Vec<String> = (1..=self.uris.len()).map(|number| format!("dying-{number}")).collect();
        let nodes: Vec<(&str, &str)> =
            self.uris.iter().zip(&tags).map(|(uri, tag)| (uri.as_str(), tag.as_str())).collect();
        resin.upsert_nodes(&nodes).await;
    }
}

/// A port that refuses, and is nobody else's while this lives.
pub struct Refusing {
    pub address: SocketAddr,
    _socket: TcpSocket,
}

impl Refusing {
    pub fn port() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        Self { address: socket.local_addr().unwrap(), _socket: socket }
    }
}

/// Value of a `Proxy-Authorization` header.
pub fn basic(identity: &str, token: &str) -> String {
    format!("Basic {}", BASE64_STANDARD.encode(format!("{identity}:{token}")))
}

/// A forward GET as this identity: status and head of the answer.
pub async fn forward(resin: &Resin, identity: &str, url: &str) -> (u16, String) {
    forward_with(resin, url, &format!("Proxy-Authorization: {}\r\n", basic(identity, "any"))).await
}

/// A forward GET with these header lines.
pub async fn forward_with(resin: &Resin, url: &str, headers: &str) -> (u16, String) {
    let request = format!("GET {url} HTTP/1.1\r\nHost: ignored.test\r\nConnection: close\r\n{headers}\r\n");
    let answer = exchange(resin.data, &request).await.unwrap();
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    (status, answer)
}

/// A tunnel to this authority, after its `200`.
pub async fn tunnel(resin: &Resin, identity: &str, authority: &str) -> TcpStream {
    let mut connection = TcpStream::connect(resin.data).await.unwrap();
    let authorization = basic(identity, "any");
    let request = format!(
        "CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\nProxy-Authorization: {authorization}\r\n\r\n"
    );
    connection.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(soon("an answer to CONNECT", connection.read_u8()).await.unwrap());
    }
    let head = String::from_utf8(head).unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    connection
}
