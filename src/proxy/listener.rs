//! Accepting clients and speaking HTTP with them: HTTP/1.1, or HTTP/2 by prior knowledge.
//!
//! Each thread of the data plane has a listening socket of its own on the same port, so that a connection and all that
//! is done for it stay on one thread.

use std::{
    convert::Infallible, io, net::SocketAddr, panic::AssertUnwindSafe, pin::pin, sync::Arc, time::Duration,
};

use futures_util::FutureExt;
use http::{
    HeaderValue, Method, Request, Response, StatusCode, Version,
    header::{CONNECTION, UPGRADE},
};
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{
    net::{TcpListener, TcpStream},
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

use super::{
    answer,
    body::ProxyBody,
    client::{Client, ClientIo},
    entry::{self, Entry},
    exchange,
    gate::{Flaw, HeadLimits, USUAL_FIELDS},
    headers, refusal,
    roster::{Due, Ticket},
    target::NoPath,
    tunnel,
    worker::Worker,
};
use crate::{model::ResinError, upstream::Wire};

const BACKLOG: i32 = 1024;
/// What hyper may read at a time; it must be able to hold the largest head.
const READ_BUFFER: usize = 64 * 1024;

/// The drain has its own limit.
const FOREVER: Duration = Duration::from_secs(86_400 * 365);

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
            Ok((stream, peer)) => match worker.roster.admit(peer.ip().to_canonical()) {
                Ok(ticket) => {
                    short = false;
                    tokio::spawn(connection(Arc::clone(&worker), stream, peer, ticket));
                }
                Err(too_many) => {
                    if !std::mem::replace(&mut short, true) {
                        tracing::warn!(client = %peer.ip(), "{too_many}");
                    }
                    tokio::spawn(refusal::turn_away(stream, too_many));
                }
            },
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

pub(super) async fn connection(worker: Arc<Worker>, stream: TcpStream, peer: SocketAddr, ticket: Ticket) {
    let Ok(wire) = Wire::new(stream, peer) else { return };
    let client = Client::new(peer.ip().to_canonical(), wire, worker.roster.limits.head, ticket);
    worker.roster.watch(&client);
    let mut io = ClientIo::new(Arc::clone(&client));
    let http2 = tokio::select! {
        biased;
        http2 = io.starts_with_preface() => http2,
        () = client.called.notified() => None,
    };
    match http2 {
        Some(true) => return Box::pin(speak_http2(worker, client, io)).await,
        Some(false) => {}
        None => return,
    }
    // What is boxed here is what a connection at rest has no need of.
    while Box::pin(speak_http1(&worker, &client, io)).await == Then::Rest
        && more_comes(&worker, &client).await
    {
        io = ClientIo::new(Arc::clone(&client));
    }
    // hyper is gone. What it was not given, and what the client may not have read yet, is seen to here.
    if let Some((flaw, bytes)) = client.flaw() {
        Box::pin(refusal::refuse(&worker, &client, &flaw, &bytes)).await;
    } else if client.lingers() {
        Box::pin(client.linger()).await;
    }
}

/// What follows when hyper is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    /// The connection idles, and goes on when the client asks for more.
    Rest,
    End,
}

/// Waits at rest: false where the client has had its time, or the drain begins.
async fn more_comes(worker: &Worker, client: &Client) -> bool {
    loop {
        tokio::select! {
            biased;
            () = client.rest() => return true,
            () = client.called.notified() => {
                if worker.roster.due(client) == Due::End {
                    return false;
                }
            }
            () = worker.drain.begun() => return false,
        }
    }
}

async fn speak_http1(worker: &Arc<Worker>, client: &Arc<Client>, io: ClientIo) -> Then {
    let draining = worker.drain.draining();
    let head = worker.roster.limits.head;
    let (each, of) = (Arc::clone(worker), Arc::clone(client));
    let service = service_fn(move |request| answer_one(Arc::clone(&each), Arc::clone(&of), request));
    let mut builder = http1::Builder::new();
    builder.max_buf_size(head.bytes.max(READ_BUFFER));
    if head.fields > USUAL_FIELDS {
        builder.max_headers(head.fields);
    }
    let mut connection = pin!(builder.serve_connection(TokioIo::new(io), service).with_upgrades());
    let mut told = false;
    loop {
        tokio::select! {
            biased;
            ended = connection.as_mut() => {
                log_end(ended);
                return Then::End;
            }
            () = client.hang_up.notified() => return Then::End,
            () = client.called.notified() => match worker.roster.due(client) {
                Due::Nothing => {}
                Due::Rest => return Then::Rest,
                Due::End => return Then::End,
            },
            () = draining.cancelled(), if !told => {
                connection.as_mut().graceful_shutdown();
                told = true;
            }
        }
    }
}

async fn speak_http2(worker: Arc<Worker>, client: Arc<Client>, io: ClientIo) {
    let (draining, patience) = (worker.drain.draining(), worker.patience.idle);
    let (streams, HeadLimits { bytes, .. }) = (worker.roster.limits.streams, worker.roster.limits.head);
    let (each, of) = (Arc::clone(&worker), Arc::clone(&client));
    let service = service_fn(move |request| answer_one(Arc::clone(&each), Arc::clone(&of), request));
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(streams)
        .max_header_list_size(u32::try_from(bytes).unwrap_or(u32::MAX))
        .serve_connection(TokioIo::new(io), service);
    let mut connection = pin!(connection);
    // The first call to leave is a polite one, and gives the other streams time to end.
    let (mut told, mut last) = (false, pin!(sleep(patience)));
    loop {
        let time_to_end = tokio::select! {
            biased;
            ended = connection.as_mut() => return log_end(ended),
            () = client.hang_up.notified() => patience,
            () = client.called.notified() => match worker.roster.due(&client) {
                Due::End => patience,
                Due::Nothing | Due::Rest => continue,
            },
            () = draining.cancelled(), if !told => FOREVER,
            () = last.as_mut(), if told => return,
        };
        if std::mem::replace(&mut told, true) {
            return;
        }
        last.as_mut().reset(Instant::now() + time_to_end);
        connection.as_mut().graceful_shutdown();
    }
}

fn log_end(ended: hyper::Result<()>) {
    if let Err(error) = ended {
        tracing::debug!(%error, "a client's connection ended");
    }
}

async fn answer_one(
    worker: Arc<Worker>,
    client: Arc<Client>,
    mut request: Request<Incoming>,
) -> Result<Response<ProxyBody>, Infallible> {
    let busy = client.begin();
    if request.method() == Method::OPTIONS && client.is_pathless() {
        request.extensions_mut().insert(NoPath);
    }
    let entry = entry::entry(&request);
    let asks_tunnel = entry == Entry::Connect || request.headers().contains_key(UPGRADE);
    let mut response = match head_flaw(&request) {
        Some(flaw) => refusal::answer(&worker, &client, &request, &flaw),
        None if entry == Entry::Connect => {
            survive(Box::pin(tunnel::serve(&worker, &client, request)), entry).await
        }
        None => survive(Box::pin(exchange::serve(&worker, &client, request, entry)), entry).await,
    };
    let opens = response.status() == StatusCode::SWITCHING_PROTOCOLS
        || (entry == Entry::Connect && response.status().is_success());
    if asks_tunnel && !opens && client.refuse_tunnel() {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    if response.headers().get(CONNECTION).is_some_and(|value| value == "close") {
        client.shut();
    }
    Ok(response.map(|body| body.of(busy)))
}

/// A defect of ours in one request is that request's alone.
async fn survive(serve: impl Future<Output = Response<ProxyBody>>, entry: Entry) -> Response<ProxyBody> {
    AssertUnwindSafe(serve).catch_unwind().await.unwrap_or_else(|_| {
        tracing::error!("a request ended in a panic; it was answered with 500");
        answer::refuse(ResinError::InternalError, entry, None)
    })
}

/// What is wrong with a head of HTTP/2: the gate has seen those of HTTP/1.
fn head_flaw(request: &Request<Incoming>) -> Option<Flaw> {
    (request.version() == Version::HTTP_2).then(|| headers::flaw(request.uri(), request.headers()))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_in_a_request_is_answered_and_goes_no_further() {
        let broken = async { panic!("a defect") };
        let answer = survive(broken, Entry::Forward).await;
        assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(answer.headers()["x-resin-error"], "INTERNAL_ERROR");
    }
}
