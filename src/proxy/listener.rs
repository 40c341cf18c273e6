//! Accepting clients and speaking HTTP with them: HTTP/1.1, or HTTP/2 by prior knowledge.
//!
//! Each thread of the data plane has a listening socket of its own on the same port, so that a connection and all that
//! is done for it stay on one thread.

use std::{
    convert::Infallible, io, net::SocketAddr, panic::AssertUnwindSafe, pin::pin, sync::Arc, time::Duration,
};

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
    net::{TcpListener, TcpStream},
    sync::Notify,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    answer,
    body::ProxyBody,
    client::{Client, ClientIo},
    entry::{self, Entry},
    exchange, tunnel,
    worker::Worker,
};
use crate::{model::ResinError, upstream::Wire};

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

/// Accepts until `halt`. A shortage of ours makes it wait; nothing makes it end.
pub(crate) async fn accept(worker: Arc<Worker>, listener: TcpListener, halt: CancellationToken) {
    // Said once per shortage.
    let mut short = false;
    loop {
        let accepted = tokio::select! {
            biased;
            () = halt.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                short = false;
                tokio::spawn(connection(Arc::clone(&worker), stream, peer));
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                if !std::mem::replace(&mut short, true) {
                    tracing::warn!(%error, "cannot accept connections for the moment");
                }
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
    let mut io = ClientIo::new(Arc::clone(&wire));
    let Ok(Some(http2)) = timeout(HEAD_TIMEOUT, io.starts_with_preface()).await else { return };
    let ip = peer.ip().to_canonical();
    if http2 {
        speak_http2(worker, Client::new(ip, wire, None), io).await;
    } else {
        let hang_up = Arc::new(Notify::new());
        speak_http1(worker, Client::new(ip, wire, Some(Arc::clone(&hang_up))), io, hang_up).await;
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
