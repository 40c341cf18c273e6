//! Origins that misbehave on purpose. All keep what they were told, so that a test can count.

use std::{
    collections::HashMap,
    future::Future,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
};
use tokio_rustls::TlsAcceptor;

use super::{
    resin::soon,
    wire::{Fields, Head, Length, Wire},
};

/// A request as an origin read it.
#[derive(Debug, Clone)]
pub struct Heard {
    pub head: Head,
    pub body: Vec<u8>,
    pub trailers: Fields,
}

impl Heard {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.get(name)
    }
}

/// What an origin does about a request that it has read whole.
#[derive(Debug, Clone)]
pub enum Reply {
    /// These bytes, and the connection stays.
    Say(Vec<u8>),
    /// These bytes, then an orderly end.
    Close(Vec<u8>),
    /// These bytes, then a reset.
    Reset(Vec<u8>),
    /// Nothing ever; the connection stays open.
    Silence,
}

impl Reply {
    pub fn say(text: impl Into<String>) -> Self {
        Self::Say(text.into().into_bytes())
    }

    /// `200` with this body and its length.
    pub fn ok(body: &str) -> Self {
        Self::say(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()))
    }
}

/// A TCP server that hands each connection to a task of its own and counts them.
pub struct Server {
    pub address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

impl Server {
    pub async fn start<F, Fut>(serve: F) -> Self
    where
        F: Fn(TcpStream) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        Self::over(TcpListener::bind("127.0.0.1:0").await.unwrap(), serve)
    }

    pub fn over<F, Fut>(listener: TcpListener, serve: F) -> Self
    where
        F: Fn(TcpStream) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&connections);
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                connection.set_nodelay(true).unwrap();
                tokio::spawn(serve(connection));
            }
        });
        Self { address, connections }
    }

    /// Connections accepted so far.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

type Script = dyn Fn(&Heard) -> Reply + Send + Sync;
type Book = Arc<watch::Sender<Vec<Heard>>>;

/// An HTTP/1.1 origin that reads each request whole, writes it into its book and follows a script.
pub struct Origin {
    pub address: SocketAddr,
    server: Server,
    book: Book,
}

impl Origin {
    pub async fn start(script: impl Fn(&Heard) -> Reply + Send + Sync + 'static) -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap(), script).await
    }

    pub async fn start_at(
        address: SocketAddr,
        script: impl Fn(&Heard) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let (script, book): (Arc<Script>, Book) = (Arc::new(script), Arc::default());
        let kept = Arc::clone(&book);
        let server = Server::over(TcpListener::bind(address).await.unwrap(), move |connection| {
            let (script, book) = (Arc::clone(&script), Arc::clone(&kept));
            async move { converse(connection, &*script, &book).await }
        });
        Self { address: server.address, server, book }
    }

    /// The same over TLS.
    pub async fn secure(
        acceptor: TlsAcceptor,
        script: impl Fn(&Heard) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let (script, book): (Arc<Script>, Book) = (Arc::new(script), Arc::default());
        let kept = Arc::clone(&book);
        let server = Server::start(move |connection| {
            let (script, book, acceptor) = (Arc::clone(&script), Arc::clone(&kept), acceptor.clone());
            async move {
                if let Ok(connection) = acceptor.accept(connection).await {
                    converse(connection, &*script, &book).await;
                }
            }
        })
        .await;
        Self { address: server.address, server, book }
    }

    /// Says this to whatever it is sent, request or not.
    pub async fn deaf(answer: &'static str) -> Self {
        let server = Server::start(move |mut connection| async move {
            let _ = connection.read(&mut [0; 1024]).await;
            let _ = connection.write_all(answer.as_bytes()).await;
        })
        .await;
        Self { address: server.address, server, book: Arc::default() }
    }

    /// Answers everything with `200` and `ok`.
    pub async fn ok() -> Self {
        Self::start(|_| Reply::ok("ok")).await
    }

    pub fn authority(&self) -> String {
        self.address.to_string()
    }

    pub fn connections(&self) -> usize {
        self.server.connections()
    }

    /// Requests so far.
    pub fn heard(&self) -> Vec<Heard> {
        self.book.borrow().clone()
    }

    pub fn count(&self) -> usize {
        self.book.borrow().len()
    }

    /// The one request that there was.
    pub fn only(&self) -> Heard {
        let mut heard = self.heard();
        assert_eq!(heard.len(), 1, "{heard:#?}");
        heard.remove(0)
    }

    /// Waits for so many requests.
    pub async fn arrived(&self, count: usize) {
        let mut book = self.book.subscribe();
        soon("a request at the origin", book.wait_for(|book| book.len() >= count)).await.unwrap();
    }
}

async fn converse<S: Resettable>(connection: S, script: &Script, book: &Book) {
    let mut wire = Wire::new(connection);
    while let Ok(Some(head)) = wire.head().await {
        if head.get("expect").is_some() && wire.say("HTTP/1.1 100 Continue\r\n\r\n").await.is_err() {
            return;
        }
        let payload = wire.body(Length::of_request(&head)).await;
        if !payload.whole {
            return;
        }
        let heard = Heard { head, body: payload.bytes, trailers: payload.trailers };
        let reply = script(&heard);
        book.send_modify(|book| book.push(heard));
        match reply {
            Reply::Say(bytes) => {
                if wire.say(bytes).await.is_err() {
                    return;
                }
            }
            Reply::Close(bytes) => {
                let _ = wire.say(bytes).await;
                let _ = wire.stream.shutdown().await;
                return;
            }
            Reply::Reset(bytes) => {
                let _ = wire.say(bytes).await;
                return wire.stream.reset();
            }
            Reply::Silence => std::future::pending().await,
        }
    }
}

/// A connection that can be ended rudely.
pub trait Resettable: AsyncRead + AsyncWrite + Unpin + Send {
    fn reset(self);
}

impl Resettable for TcpStream {
    fn reset(self) {
        self.set_zero_linger().unwrap();
    }
}

impl Resettable for tokio_rustls::server::TlsStream<TcpStream> {
    fn reset(self) {
        self.get_ref().0.set_zero_linger().unwrap();
    }
}

/// Deliveries by `x-request-id`.
#[derive(Default)]
pub struct Ledger(Mutex<HashMap<String, usize>>);

impl Ledger {
    pub fn enter(&self, head: &Head) {
        let id = head.get("x-request-id").expect("every request has its id").to_owned();
        *self.0.lock().unwrap().entry(id).or_default() += 1;
    }

    pub fn deliveries(&self) -> HashMap<String, usize> {
        self.0.lock().unwrap().clone()
    }
}

/// Closes 0 to 400 µs after each answer, half with a FIN and half with a reset; enters each request's head as soon as
/// it is there.
pub async fn random_closer(ledger: Arc<Ledger>) -> Server {
    Server::start(move |connection| {
        let ledger = Arc::clone(&ledger);
        async move {
            let mut wire = Wire::new(connection);
            // Some answers are followed by another on the same connection, so that reuse is tempting.
            while let Ok(Some(head)) = wire.head().await {
                ledger.enter(&head);
                if !wire.body(Length::of_request(&head)).await.whole
                    || wire.say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.is_err()
                {
                    return;
                }
                let closes_at = std::time::Instant::now() + Duration::from_micros(fastrand::u64(0..400));
                while std::time::Instant::now() < closes_at {
                    tokio::task::yield_now().await; // tokio's timer is too coarse for this
                }
                if fastrand::u8(0..4) > 0 {
                    if fastrand::bool() {
                        wire.stream.reset();
                    }
                    return;
                }
            }
        }
    })
    .await
}

/// Answers `413` when the head is there, and resets with the body unread.
pub async fn early_413(requests: Arc<AtomicUsize>) -> Server {
    Server::start(move |connection| {
        let requests = Arc::clone(&requests);
        async move {
            let mut wire = Wire::new(connection);
            if let Ok(Some(_)) = wire.head().await {
                requests.fetch_add(1, Ordering::SeqCst);
                let _ = wire
                    .say(
                        "HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 3\r\n\r\nbig",
                    )
                    .await;
                // The answer is out before the reset overtakes it.
                tokio::time::sleep(Duration::from_millis(50)).await;
                wire.stream.reset();
            }
        }
    })
    .await
}

/// Sends each request's body back while it comes, under the length or the chunks that it came with.
pub async fn streaming_echo() -> Server {
    Server::start(|connection| async move {
        let mut wire = Wire::new(connection);
        let Ok(Some(head)) = wire.head().await else { return };
        let framing = match head.get("content-length") {
            Some(length) => format!("Content-Length: {length}"),
            None => "Transfer-Encoding: chunked".to_owned(),
        };
        let early = std::mem::take(&mut wire.ahead);
        let head = format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n");
        if wire.say(head).await.is_err() || wire.say(early).await.is_err() {
            return;
        }
        let (mut from, mut to) = wire.stream.split();
        let _ = tokio::io::copy(&mut from, &mut to).await; // a chunked body's bytes are their own framing
    })
    .await
}

/// Reads a body of any length and tells how much it was (`?sink`), or gives one of so many bytes (`/give/N`).
pub async fn bulk() -> Server {
    Server::start(|connection| async move {
        let mut wire = Wire::new(connection);
        let Ok(Some(head)) = wire.head().await else { return };
        if let Some(count) = head.target().strip_prefix("/give/") {
            let mut left: usize = count.parse().unwrap();
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {left}\r\n\r\n");
            let block = [b'x'; 64 * 1024];
            let mut sent = wire.say(head).await;
            while left > 0 && sent.is_ok() {
                let part = left.min(block.len());
                sent = wire.say(&block[..part]).await;
                left -= part;
            }
            return;
        }
        let Length::Exactly(length) = Length::of_request(&head) else { panic!("bulk wants a length") };
        let (mut count, mut block) = (wire.ahead.len(), vec![0; 64 * 1024]);
        while count < length {
            match wire.stream.read(&mut block).await {
                Ok(read) if read > 0 => count += read,
                _ => return,
            }
        }
        let text = count.to_string();
        let _ = wire.say(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len())).await;
    })
    .await
}

/// Switches to a protocol that echoes, with its first bytes right behind the head.
pub async fn switching(heads: Arc<Mutex<Vec<Head>>>) -> Server {
    Server::start(move |connection| {
        let heads = Arc::clone(&heads);
        async move {
            let mut wire = Wire::new(connection);
            let Ok(Some(head)) = wire.head().await else { return };
            heads.lock().unwrap().push(head);
            let answer =
                "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nwelcome";
            let early = std::mem::take(&mut wire.ahead);
            if wire.say(answer).await.is_err() || wire.say(early).await.is_err() {
                return;
            }
            let (mut from, mut to) = wire.stream.split();
            let _ = tokio::io::copy(&mut from, &mut to).await;
            let _ = to.shutdown().await;
        }
    })
    .await
}
