//! The bytes of one HTTP/1.1 connection: what was read and not taken yet, and what waits to be written.
//!
//! Nothing here decides anything, and nothing moves but when its owner polls. An idle one holds no buffer to speak of.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, Waker, ready},
};

use bytes::{Bytes, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep_until},
};

use super::{
    http1::Looked,
    link::Link,
    out::{Out, make_room},
    wire::Wire,
};

/// What is read at a time; more where that was not enough.
const FIRST_READ: usize = 4 * 1024;
const LARGEST_READ: usize = 128 * 1024;
const ANNOUNCED_READ: usize = 64 * 1024;
/// What an idle connection keeps for its next head.
const KEPT_LEAD: usize = 1024;

/// Both directions of a link.
#[derive(Debug)]
pub(super) struct Channel {
    link: Link,
    /// Read, and not taken yet.
    pub(super) read: BytesMut,
    pub(super) looked: Looked,
    step: usize,
    out: Out,
    /// Something was written, and may still wait in the link.
    unflushed: bool,
    /// Something of the request that is under way was taken by the link.
    begun: bool,
    /// How reading ended, where that is still to be told.
    ended: Option<io::Result<usize>>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Channel {
    pub(super) fn over(link: Link) -> Self {
        Self {
            link,
            read: BytesMut::new(),
            looked: Looked::default(),
            step: FIRST_READ,
            out: Out::default(),
            unflushed: false,
            begun: false,
            ended: None,
            timer: None,
        }
    }

    /// Ready at this time.
    ///
    /// The connection's one timer is set for the first of the times that are waited for, and left as it is while later
    /// ones take its place: to set one and take it back for each request would cost more than to wake up once in vain.
    pub(super) fn poll_until(&mut self, time: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(time)));
        if timer.deadline() > time {
            timer.as_mut().reset(time);
        }
        loop {
            ready!(timer.as_mut().poll(cx));
            if timer.deadline() >= time {
                return Poll::Ready(());
            }
            timer.as_mut().reset(time);
        }
    }

    pub(super) fn wire(&self) -> &std::sync::Arc<Wire> {
        self.link.wire()
    }

    pub(super) fn is_tls(&self) -> bool {
        self.link.is_tls()
    }

    /// Whether anything of the request that is under way went out: only then can what comes be its answer. (TLS writes
    /// on its own account, too.)
    pub(super) fn has_begun(&self) -> bool {
        self.begun && self.wire().accepted() > 0
    }

    /// The link, and what was read of it and not taken.
    pub(super) fn into_parts(self) -> (Link, Bytes) {
        (self.link, self.read.freeze())
    }

    /// What is to be written next. Only to be filled while nothing waits.
    pub(super) fn out(&mut self) -> &mut Out {
        &mut self.out
    }

    /// Whether nothing waits to be written.
    pub(super) fn is_written(&self) -> bool {
        self.out.is_empty() && !self.unflushed
    }

    /// Writes what waits, through all layers. Ready when nothing waits any more.
    pub(super) fn poll_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.out.is_empty() {
            ready!(self.out.poll_write(cx, Pin::new(&mut self.link)))?;
            (self.unflushed, self.begun) = (true, true);
        }
        if self.unflushed {
            ready!(Pin::new(&mut self.link).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Reads more: how much, and 0 at the end. So many bytes are announced, where that is known: they are to come with
    /// few calls.
    pub(super) fn poll_fill(&mut self, cx: &mut Context<'_>, announced: u64) -> Poll<io::Result<usize>> {
        if let Some(ended) = self.ended.take() {
            return Poll::Ready(ended);
        }
        let room = self.read.capacity() - self.read.len();
        if room < FIRST_READ / 4 {
            let announced = usize::try_from(announced).unwrap_or(usize::MAX).min(ANNOUNCED_READ);
            make_room(&mut self.read, self.step.max(announced));
        }
        let room = self.read.capacity() - self.read.len();
        let read = ready!(tokio_util::io::poll_read_buf(Pin::new(&mut self.link), cx, &mut self.read))?;
        if read == room {
            self.step = (self.step * 2).min(LARGEST_READ);
        }
        Poll::Ready(Ok(read))
    }

    /// Reads what else has come by now of so many bytes that are announced, behind those that were read with the head:
    /// what came together is to be moved on together.
    pub(super) fn gather(&mut self, cx: &mut Context<'_>, announced: u64) {
        let left = announced.saturating_sub(self.read.len() as u64);
        if self.read.is_empty() || left == 0 || self.read.len() >= FIRST_READ {
            return;
        }
        match self.poll_fill(cx, left) {
            Poll::Pending | Poll::Ready(Ok(1..)) => {}
            Poll::Ready(ended) => self.ended = Some(ended),
        }
    }

    /// Whether nothing comes, as far as the runtime has been told. Takes in what TLS has to say to itself, and leaves
    /// no owner to be woken.
    pub(super) fn is_quiet(&mut self) -> bool {
        let mut byte = [0];
        let mut context = Context::from_waker(Waker::noop());
        let read = Pin::new(&mut self.link).poll_read(&mut context, &mut ReadBuf::new(&mut byte));
        self.read.is_empty() && read.is_pending()
    }

    /// Comes to rest between two requests: true where nothing waits either way.
    pub(super) fn rest(&mut self) -> bool {
        let empty = self.is_written() && self.read.is_empty() && self.ended.is_none();
        (self.read, self.step, self.begun) = (BytesMut::new(), FIRST_READ, false);
        if self.out.lead.capacity() > KEPT_LEAD {
            self.out.lead = BytesMut::new();
        }
        if let Some(timer) = &mut self.timer {
            // Whoever it would have woken may be gone by then, and must not be kept for it.
            let _time = timer.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        }
        empty && self.is_quiet()
    }
}
