//! Accepting clients and speaking HTTP with them: HTTP/1.1, or HTTP/2 by prior knowledge.
//!
//! Each thread of the data plane has a listening socket of its own on the same port, so that a connection and all that
//! is done for it stay on one thread.

use std::{
    convert::Infallible,
    io,
    net::{IpAddr, SocketAddr},
    panic::AssertUnwindSafe,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;
use http::{Request, Response};
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::Notify,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    answer,
    body::ProxyBody,
    entry::{self, Entry},
    exchange, tunnel,
    worker::Worker,
};
use crate::{
    model::ResinError,
    upstream::{Counted, Wire},
};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const BACKLOG: i32 = 1024;
/// How long a connection may take to send a head, and may idle between two.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);

/// One listening socket per thread, all on one port.
pub(crate) struct Listeners {
    pub(crate) address: SocketAddr,
    pub(crate) sockets: Vec<std::net::TcpListener>,
}

/// Binds the port. The first socket takes it alone, so that a port in use is an error.
pub(crate) fn bind(address: SocketAddr, threads: usize) -> io::Result<Listeners> {
    let first = socket(address)?;
    first.bind(&address.into())?;
    let address = first.local_addr()?.as_socket().ok_or(io::ErrorKind::AddrNotAvailable)?;
    first.set_reuse_port(true)?;
    first.listen(BACKLOG)?;
    let first = std::net::TcpListener::from(first);
    let mut sockets = Vec::with_capacity(threads);
    for _ in 1..threads {
        let another = socket(address).and_then(|socket| {
            socket.set_reuse_port(true)?;
            socket.bind(&address.into())?;
            socket.listen(BACKLOG)?;
            Ok(std::net::TcpListener::from(socket))
        });
        // A system that does not let them share the port lets them share the socket.
        sockets.push(another.or_else(|_| first.try_clone())?);
    }
    sockets.push(first);
    Ok(Listeners { address, sockets })
}

fn socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// A client's connection, as its requests see it.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) ip: IpAddr,
    wire: Arc<Wire>,
    /// Ends the connection from outside, where one request is all that it carries.
    pub(crate) hang_up: Option<Arc<Notify>>,
}

impl Client {
    /// Whether the peer is known to have closed.
    pub(crate) fn has_left(&self) -> bool {
        self.wire.peer_has_left()
    }

    /// Makes the end of its connection a reset.
    pub(crate) fn reset_on_close(&self) {
        self.wire.reset_on_close();
    }
}

/// Accepts until `halt`. A shortage of ours makes it wait; nothing makes it end.
pub(crate) async fn accept(worker: Arc<Worker>, listener: TcpListener, halt: CancellationToken) {
    loop {
        let accepted = tokio::select! {
            biased;
            () = halt.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                tokio::spawn(connection(Arc::clone(&worker), stream, peer));
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept connections for the moment");
                sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset)
}

async fn connection(worker: Arc<Worker>, stream: TcpStream, peer: SocketAddr) {
    let Ok(wire) = Wire::new(stream) else { return };
    let mut io = ClientIo { early: Bytes::new(), io: Counted(Arc::clone(&wire)) };
    let Ok(Some(http2)) = timeout(HEAD_TIMEOUT, starts_with_preface(&mut io)).await else { return };
    let ip = peer.ip().to_canonical();
    if http2 {
        speak_http2(worker, Client { ip, wire, hang_up: None }, io).await;
    } else {
        let hang_up = Arc::new(Notify::new());
        speak_http1(worker, Client { ip, wire, hang_up: Some(Arc::clone(&hang_up)) }, io, hang_up).await;
    }
}

/// Reads until it is known which HTTP this is; what was read stays in front. None: nothing came.
async fn starts_with_preface(io: &mut ClientIo) -> Option<bool> {
    let mut first = BytesMut::with_capacity(1024);
    loop {
        if io.io.read_buf(&mut first).await.ok()? == 0 {
            return None;
        }
        let compared = first.len().min(PREFACE.len());
        let same = first[..compared] == PREFACE[..compared];
        if !same || compared == PREFACE.len() {
            io.early = first.freeze();
            return Some(same);
        }
    }
}

async fn speak_http1(worker: Arc<Worker>, client: Client, io: ClientIo, hang_up: Arc<Notify>) {
    let draining = worker.drain.draining();
    let service = service_fn(move |request| answer_one(Arc::clone(&worker), client.clone(), request));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(io), service)
        .with_upgrades();
    let mut connection = pin!(connection);
    let mut told = false;
    loop {
        tokio::select! {
            biased;
            ended = connection.as_mut() => return log_end(ended),
            () = hang_up.notified() => return,
            () = draining.cancelled(), if !told => {
                connection.as_mut().graceful_shutdown();
                told = true;
            }
        }
    }
}

async fn speak_http2(worker: Arc<Worker>, client: Client, io: ClientIo) {
    let draining = worker.drain.draining();
    let service = service_fn(move |request| answer_one(Arc::clone(&worker), client.clone(), request));
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(256)
        .serve_connection(TokioIo::new(io), service);
    let mut connection = pin!(connection);
    tokio::select! {
        biased;
        ended = connection.as_mut() => return log_end(ended),
        () = draining.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    log_end(connection.await);
}

fn log_end(ended: hyper::Result<()>) {
    if let Err(error) = ended {
        tracing::debug!(%error, "a client's connection ended");
    }
}

async fn answer_one(
    worker: Arc<Worker>,
    client: Client,
    request: Request<Incoming>,
) -> Result<Response<ProxyBody>, Infallible> {
    let entry = entry::entry(&request);
    let answered = match entry {
        Entry::Connect => AssertUnwindSafe(tunnel::serve(&worker, &client, request)).catch_unwind().await,
        Entry::Forward | Entry::Reverse => {
            AssertUnwindSafe(exchange::serve(&worker, &client, request, entry)).catch_unwind().await
        }
    };
    Ok(answered.unwrap_or_else(|_| {
        tracing::error!("a request ended in a panic; it was answered with 500");
        answer::refuse(ResinError::InternalError, entry, None)
    }))
}

/// The client's side: what was read to tell the protocol comes first.
#[derive(Debug)]
pub(crate) struct ClientIo {
    early: Bytes,
    io: Counted,
}

impl ClientIo {
    /// Puts bytes that were read already in front again.
    pub(crate) fn with_early(mut self, early: Bytes) -> Self {
        if !early.is_empty() {
            self.early = if self.early.is_empty() { early } else { [early, self.early].concat().into() };
        }
        self
    }

    /// Ends the connection so that the client sees that it was cut.
    pub(crate) fn reset(&self) {
        self.io.0.reset_on_close();
    }
}

impl AsyncRead for ClientIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.early.is_empty() {
            let bytes = self.early.len().min(buf.remaining());
            buf.put_slice(&self.early.split_to(bytes));
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl AsyncWrite for ClientIo {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
