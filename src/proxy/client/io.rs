//! A client's bytes as hyper reads and writes them.

use std::{
    io,
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

use super::Client;
use crate::proxy::downstream::Connection;
use crate::upstream::Counted;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The client's side as hyper sees it: whatever the gate lets through.
pub(crate) struct ClientIo {
    client: Arc<Client>,
    io: Counted,
    /// Everything passes, and nothing is held.
    free: bool,
}

impl ClientIo {
    pub(crate) fn new(client: Arc<Client>) -> Self {
        let io = Counted(Arc::clone(&client.wire));
        Self { client, io, free: false }
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
                let mut inbound = self.client.inbound.lock();
                if same {
                    inbound.gate.open();
                    self.client.multiplexed.store(true, Ordering::Relaxed);
                }
                inbound.held = first;
                inbound.note_head();
                return Some(same);
            }
        }
    }

    /// What is left of it in a tunnel. `read` are bytes that hyper had read and not used.
    pub(crate) fn into_connection(self, read: Bytes) -> Connection {
        let held = std::mem::take(&mut self.client.inbound.lock().held);
        let early = match (read.is_empty(), held.is_empty()) {
            // An empty slice would still keep what it was cut from.
            (true, true) => Bytes::new(),
            (false, true) => read,
            (_, false) => [read, held.freeze()].concat().into(),
        };
        Connection { early, io: self.io, _ticket: self.client.ticket.lock().take() }
    }

    fn poll_gated(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let inbound = &mut *self.client.inbound.lock();
        loop {
            if inbound.cleared > 0 || inbound.look() {
                inbound.give(buf);
                return Poll::Ready(Ok(()));
            }
            if inbound.garbled {
                return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
            }
            if inbound.flaw.is_some() {
                // It is told when everything before it was answered.
                let answered = inbound.outstanding() == 0 && self.client.flushed.load(Ordering::Relaxed);
                return if answered {
                    Poll::Ready(Err(io::ErrorKind::InvalidData.into()))
                } else {
                    Poll::Pending
                };
            }
            if inbound.held.is_empty() && inbound.gate.listens() {
                let before = buf.filled().len();
                ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
                let new = &buf.filled()[before..];
                let passed = match inbound.gate.pass(new) {
                    Ok(passed) => passed,
                    Err(flaw) => {
                        inbound.find(flaw);
                        0
                    }
                };
                if passed == new.len() {
                    self.free = inbound.gate.is_through();
                    return Poll::Ready(Ok(()));
                }
                inbound.hold(&new[passed..]);
                buf.set_filled(before + passed);
                if passed > 0 {
                    return Poll::Ready(Ok(()));
                }
            } else {
                if inbound.held.len() >= inbound.most_held {
                    // Whoever decides over it asks again.
                    return Poll::Pending;
                }
                let read = tokio_util::io::poll_read_buf(Pin::new(&mut self.io), cx, &mut inbound.held);
                if ready!(read)? == 0 {
                    return Poll::Ready(Ok(()));
                }
                inbound.note_head();
            }
        }
    }

    fn poll_interim(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut interim = self.client.interim.lock();
        while !interim.is_empty() {
            let written = ready!(Pin::new(&mut self.io).poll_write(cx, &interim))?;
            interim.advance(written);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for ClientIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.free { Pin::new(&mut self.io).poll_read(cx, buf) } else { self.poll_gated(cx, buf) }
    }
}

impl AsyncWrite for ClientIo {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_interim(cx))?;
        self.client.flushed.store(false, Ordering::Relaxed);
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_interim(cx))?;
        self.client.flushed.store(false, Ordering::Relaxed);
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.io).poll_flush(cx))?;
        if !self.client.flushed.swap(true, Ordering::Relaxed) && self.client.inbound.lock().flaw.is_some() {
            // The refusal of what came behind the answer was waiting for this.
            cx.waker().wake_by_ref();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.client.inbound.lock().flaw.is_some() {
            // There is a last word to be said behind hyper's back.
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
