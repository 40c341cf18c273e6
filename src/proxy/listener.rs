//! Accepting clients, and finding out which HTTP they speak: HTTP/1.1, or HTTP/2 by prior knowledge.
//!
//! Each thread of the data plane has a listening socket of its own on the same port, so that a connection and all that
//! is done for it stay on one thread.

use std::{future::poll_fn, io, net::SocketAddr, sync::Arc, task::Poll, time::Duration};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::{
    net::{TcpListener, TcpStream},
    time::sleep,
};
use tokio_util::sync::CancellationToken;

use super::{
    client::Client,
    http1, http2, refusal,
    roster::{Due, Ticket},
    worker::Worker,
};
use crate::upstream::Wire;

const BACKLOG: i32 = 1024;

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
    let http2 = poll_fn(|cx| {
        // What has come goes before what is due.
        let begins = client.inbound().poll_begins(cx, http2::PREFACE);
        let called = begins.is_pending() && client.called.poll(cx).is_ready();
        if called && worker.roster.due(&client) == Due::End { Poll::Ready(None) } else { begins }
    });
    match http2.await {
        Some(true) => Box::pin(http2::speak(worker, client)).await,
        Some(false) => http1::speak(&worker, &client).await,
        None => {}
    }
}
