//! The client's end of a tunnel.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::client::ClientIo;

/// A connection that has become a tunnel, or one stream of an HTTP/2 connection.
pub(crate) enum Downstream {
    Connection(Box<ClientIo>),
    Stream(TokioIo<Upgraded>),
}

impl Downstream {
    pub(crate) fn new(upgraded: Upgraded) -> Self {
        match upgraded.downcast::<TokioIo<ClientIo>>() {
            Ok(parts) => Self::Connection(Box::new(parts.io.into_inner().with_early(&parts.read_buf))),
            Err(stream) => Self::Stream(TokioIo::new(stream)),
        }
    }

    /// Ends it so that the client sees that it was cut. hyper has no way to say so of a stream: it just ends.
    pub(crate) fn reset(&self) {
        if let Self::Connection(io) = self {
            io.reset();
        }
    }
}

macro_rules! on_either {
    ($self:ident, $io:ident => $call:expr) => {
        match $self.get_mut() {
            Self::Connection($io) => $call,
            Self::Stream($io) => $call,
        }
    };
}

impl AsyncRead for Downstream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        on_either!(self, io => Pin::new(io).poll_read(cx, buf))
    }
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
