//! A way to an origin that is open from end to end: plain, or TLS to the node, to the origin, or both.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::client::TlsStream;

use super::wire::{Counted, Wire};

/// What leads to a node, or to the origin where there is none.
#[derive(Debug)]
pub(crate) enum Hop {
    Plain(Counted),
    Tls(Box<TlsStream<Counted>>),
}

/// What leads to the origin.
#[derive(Debug)]
pub(crate) struct Link {
    wire: Arc<Wire>,
    layers: Layers,
    /// Bytes that came right behind a node's answer: they are the origin's.
    early: bytes::Bytes,
}

#[derive(Debug)]
enum Layers {
    Hop(Hop),
    Tls(Box<TlsStream<Hop>>),
}

impl Link {
    pub(crate) fn over(wire: Arc<Wire>, hop: Hop) -> Self {
        Self { wire, layers: Layers::Hop(hop), early: bytes::Bytes::new() }
    }

    /// A link whose first bytes to be read are these.
    pub(crate) fn with_early(mut self, early: bytes::Bytes) -> Self {
        if !early.is_empty() {
            self.early = early;
        }
        self
    }

    /// A TLS session with the origin over `hop`.
    pub(crate) fn secured(wire: Arc<Wire>, session: TlsStream<Hop>) -> Self {
        Self { wire, layers: Layers::Tls(Box::new(session)), early: bytes::Bytes::new() }
    }

    /// The hop below, for a TLS session on top of it; and the early bytes that must be none by then.
    pub(crate) fn into_hop(self) -> Option<(Arc<Wire>, Hop)> {
        match self.layers {
            Layers::Hop(hop) if self.early.is_empty() => Some((self.wire, hop)),
            Layers::Hop(_) | Layers::Tls(_) => None,
        }
    }

    pub(crate) fn has_early(&self) -> bool {
        !self.early.is_empty()
    }

    pub(crate) fn wire(&self) -> &Arc<Wire> {
        &self.wire
    }

    /// The socket, where what is read from it next is the origin's.
    pub(crate) fn bare(&self) -> Option<&Wire> {
        match &self.layers {
            Layers::Hop(Hop::Plain(Counted(wire))) if self.early.is_empty() => Some(wire),
            Layers::Hop(_) | Layers::Tls(_) => None,
        }
    }

    /// Whether readable bytes in the socket may be something else than an answer (session tickets, a key update).
    pub(crate) fn is_tls(&self) -> bool {
        match &self.layers {
            Layers::Hop(Hop::Plain(_)) => false,
            Layers::Hop(Hop::Tls(_)) | Layers::Tls(_) => true,
        }
    }
}

/// Forwards to whichever layer is on top.
macro_rules! on_top {
    ($self:ident, $kind:ident, $stream:ident => $call:expr) => {
        match $self.get_mut() {
            $kind::Plain($stream) => $call,
            $kind::Tls($stream) => $call,
        }
    };
}

impl AsyncRead for Hop {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        on_top!(self, Hop, stream => Pin::new(stream).poll_read(cx, buf))
    }
}

impl AsyncWrite for Hop {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        on_top!(self, Hop, stream => Pin::new(stream).poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        on_top!(self, Hop, stream => Pin::new(stream).poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_top!(self, Hop, stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_top!(self, Hop, stream => Pin::new(stream).poll_shutdown(cx))
    }
}

macro_rules! on_layers {
    ($self:ident, $stream:ident => $call:expr) => {
        match &mut $self.get_mut().layers {
            Layers::Hop($stream) => $call,
            Layers::Tls($stream) => $call,
        }
    };
}

impl AsyncRead for Link {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.early.is_empty() {
            let bytes = self.early.len().min(buf.remaining());
            buf.put_slice(&self.early.split_to(bytes));
            if self.early.is_empty() {
                // An empty slice would still keep what it was cut from.
                self.early = bytes::Bytes::new();
            }
            return Poll::Ready(Ok(()));
        }
        on_layers!(self, stream => Pin::new(stream).poll_read(cx, buf))
    }
}

impl AsyncWrite for Link {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        on_layers!(self, stream => Pin::new(stream).poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        on_layers!(self, stream => Pin::new(stream).poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        match &self.layers {
            Layers::Hop(stream) => stream.is_write_vectored(),
            Layers::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_layers!(self, stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_layers!(self, stream => Pin::new(stream).poll_shutdown(cx))
    }
}
