//! The client's side of a connection: its bytes, and what its requests may know of it.

use std::{
    io,
    net::IpAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::{Bytes, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf},
    sync::Notify,
};

use crate::upstream::{Counted, Wire};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A client's connection, as its requests see it.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) ip: IpAddr,
    wire: Arc<Wire>,
    /// Ends the connection from outside, where one request is all that it carries.
    pub(crate) hang_up: Option<Arc<Notify>>,
}

impl Client {
    pub(crate) fn new(ip: IpAddr, wire: Arc<Wire>, hang_up: Option<Arc<Notify>>) -> Self {
        Self { ip, wire, hang_up }
    }

    /// Whether the peer is known to have closed.
    pub(crate) fn has_left(&self) -> bool {
        self.wire.peer_has_left()
    }

    /// Makes the end of its connection a reset.
    pub(crate) fn reset_on_close(&self) {
        self.wire.reset_on_close();
    }
}

/// The client's side: what was read to tell the protocol comes first.
#[derive(Debug)]
pub(crate) struct ClientIo {
    early: Bytes,
    io: Counted,
}

impl ClientIo {
    pub(crate) fn new(wire: Arc<Wire>) -> Self {
        Self { early: Bytes::new(), io: Counted(wire) }
    }

    /// Reads until it is known which HTTP this is; what was read stays in front. None: nothing came.
    pub(crate) async fn starts_with_preface(&mut self) -> Option<bool> {
        let mut first = BytesMut::with_capacity(1024);
        loop {
            if self.io.read_buf(&mut first).await.ok()? == 0 {
                return None;
            }
            let compared = first.len().min(PREFACE.len());
            let same = first[..compared] == PREFACE[..compared];
            if !same || compared == PREFACE.len() {
                self.early = first.freeze();
                return Some(same);
            }
        }
    }

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
