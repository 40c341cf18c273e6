//! The client's end of a tunnel.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{client::Busy, relay::End, roster::Ticket};
use crate::upstream::{Counted, Wire};

/// A connection that has become a tunnel, or one stream of an HTTP/2 connection.
pub(crate) enum Downstream {
    /// hyper still has the stream. The connection that it is one of idles not while it is open.
    Awaited(OnUpgrade, Busy),
    Connection(Connection),
    Stream(Stream),
}

/// A stream of an HTTP/2 connection.
pub(crate) struct Stream {
    io: TokioIo<Upgraded>,
    _busy: Busy,
}

/// What is left of a client's connection once it is nothing but a tunnel.
pub(crate) struct Connection {
    /// What was read of it before it was one.
    pub(super) early: Bytes,
    pub(super) io: Counted,
    /// It still counts as a connection.
    pub(super) _ticket: Option<Ticket>,
}

impl Downstream {
    /// Waits until it is there.
    pub(crate) async fn open(self) -> hyper::Result<Self> {
        match self {
            Self::Awaited(on_upgrade, busy) => {
                Ok(Self::Stream(Stream { io: TokioIo::new(on_upgrade.await?), _busy: busy }))
            }
            open => Ok(open),
        }
    }

    /// Ends it so that the client sees that it was cut. hyper has no way to say so of a stream: it just ends.
    pub(crate) fn reset(&self) {
        if let Self::Connection(connection) = self {
            connection.io.0.reset_on_close();
        }
    }
}

impl End for Downstream {
    fn bare(&self) -> Option<&Wire> {
        match self {
            Self::Connection(connection) if connection.early.is_empty() => Some(&connection.io.0),
            Self::Connection(_) | Self::Stream(..) | Self::Awaited(..) => None,
        }
    }
}

impl AsyncRead for Downstream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Connection(connection) if connection.early.is_empty() => {
                Pin::new(&mut connection.io).poll_read(cx, buf)
            }
            Self::Connection(connection) => {
                connection.give_early(buf);
                Poll::Ready(Ok(()))
            }
            Self::Stream(stream) => Pin::new(&mut stream.io).poll_read(cx, buf),
            Self::Awaited(..) => not_open(),
        }
    }
}

impl Connection {
    fn give_early(&mut self, buf: &mut ReadBuf<'_>) {
        let bytes = self.early.len().min(buf.remaining());
        buf.put_slice(&self.early.split_to(bytes));
        if self.early.is_empty() {
            // An empty slice would still keep what it was cut from.
            self.early = Bytes::new();
        }
    }
}

fn not_open<T>() -> Poll<io::Result<T>> {
    Poll::Ready(Err(io::ErrorKind::NotConnected.into()))
}

macro_rules! on_either {
    ($self:ident, $io:ident => $call:expr) => {
        match $self.get_mut() {
            Self::Connection(Connection { io: $io, .. }) => $call,
            Self::Stream(Stream { io: $io, .. }) => $call,
            Self::Awaited(..) => not_open(),
        }
    };
}

impl AsyncWrite for Downstream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        on_either!(self, io => Pin::new(io).poll_write(cx, buf))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_either!(self, io => Pin::new(io).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_either!(self, io => Pin::new(io).poll_shutdown(cx))
    }
}
