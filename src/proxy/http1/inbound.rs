//! What comes from a client: read when somebody waits for it, and taken apart into heads and bodies.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use http_body::{Frame, SizeHint};
use tokio::time::Instant;

use super::{
    head::{Head, HeadLimits},
    reader::Reader,
};
use crate::{
    proxy::flaw::Flaw,
    upstream::{BrokenOff, Counted, Framing, Next, make_room},
};

/// What is read at a time; more where that was not enough, or more is announced.
const FIRST_READ: usize = 4 * 1024;
const LARGEST_READ: usize = 64 * 1024;
/// What a client may send ahead of its tunnel.
const AHEAD: usize = 64 * 1024;

/// One client's bytes, and how it stands with its requests.
pub(crate) struct Inbound {
    io: Counted,
    reader: Reader,
    /// Read, and not taken yet.
    pub(crate) read: BytesMut,
    step: usize,
    /// The request that is under way asks for a tunnel: what follows it may be no HTTP.
    asks_tunnel: bool,
    pub(crate) begun: u64,
    pub(crate) finished: u64,
    at_rest: bool,
    /// Since when no request is under way.
    pub(crate) quiet_since: Instant,
    /// Since when a head has begun and not ended.
    pub(crate) head_since: Option<Instant>,
}

impl Inbound {
    pub(crate) fn new(io: Counted, limits: HeadLimits) -> Self {
        Self {
            io,
            reader: Reader::new(limits),
            read: BytesMut::new(),
            step: FIRST_READ,
            asks_tunnel: false,
            begun: 0,
            finished: 0,
            at_rest: false,
            quiet_since: Instant::now(),
            head_since: None,
        }
    }

    pub(crate) fn outstanding(&self) -> u64 {
        self.begun - self.finished
    }

    /// Whether it lies between two messages, with nothing of the next one there.
    pub(crate) fn is_empty(&self) -> bool {
        self.read.is_empty() && self.reader.body().is_over()
    }

    pub(crate) fn may_rest(&self) -> bool {
        !self.at_rest && self.is_empty()
    }

    /// Ready once there is something to be read, be it the end.
    pub(crate) fn poll_arrival(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let arrived = self.io.0.poll_readable(cx);
        self.at_rest = arrived.is_pending();
        arrived
    }

    /// The next head; none where the client has no more. One that waits for it holds no buffer.
    pub(crate) fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Head>, Flaw>> {
        loop {
            if let Some(head) = self.reader.take_head(&mut self.read)? {
                self.head_since = None;
                self.asks_tunnel = head.manner.asks_tunnel;
                return Poll::Ready(Ok(Some(head)));
            }
            if self.read.is_empty() {
                (self.read, self.step) = (BytesMut::new(), FIRST_READ);
                // An empty line before a request is none of it.
                self.head_since = None;
                ready!(self.io.0.poll_readable(cx));
            } else if self.head_since.is_none() {
                self.head_since = Some(Instant::now());
            }
            if ready!(self.poll_fill(cx)).is_none() {
                return Poll::Ready(Ok(None));
            }
        }
    }

    /// The next of the body of the request that was begun as this one.
    pub(crate) fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
        number: u64,
        mut before_a_wait: impl FnMut(),
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        if number != self.begun {
            return Poll::Ready(Some(Err(BrokenOff)));
        }
        let announced = self.reader.body().size_hint().lower();
        if (1..FIRST_READ).contains(&self.read.len()) && announced > self.read.len() as u64 {
            // What came together with the head is to be moved on together. An end is found again.
            let _what_has_come = self.poll_fill(cx);
        }
        loop {
            match self.reader.take_body(&mut self.read) {
                Ok(Next::Data(data)) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Ok(Next::Trailers(trailers)) => return Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
                Ok(Next::End) => return Poll::Ready(None),
                Ok(Next::More) => {}
                Err(_) => return Poll::Ready(Some(Err(BrokenOff))),
            }
            before_a_wait();
            if ready!(self.poll_fill(cx)).is_none() {
                return Poll::Ready(Some(Err(BrokenOff)));
            }
        }
    }

    pub(crate) fn body_size(&self, number: u64) -> SizeHint {
        if number == self.begun { self.reader.body().size_hint() } else { SizeHint::with_exact(0) }
    }

    /// Whether nothing is to come any more of that request's body.
    pub(crate) fn is_body_over(&self, number: u64) -> bool {
        number != self.begun || self.reader.body().is_over()
    }

    /// How many bytes stand behind the body of the request that is under way; none where it is not all there.
    fn behind_body(&self) -> Option<usize> {
        match self.reader.body() {
            Framing::Length(left) => self.read.len().checked_sub(usize::try_from(*left).ok()?),
            Framing::Chunked(_) | Framing::ToTheEnd => None,
        }
    }

    /// Whether the first bytes of the body can be had at once.
    pub(crate) fn has_body_at_hand(&self) -> bool {
        // Of a chunk there may be no more than half of its size.
        !self.read.is_empty() && self.reader.body().size_hint().lower() > 0
    }

    /// Whether nobody reads any more before the request that is under way is answered.
    pub(crate) fn is_all_there(&self) -> bool {
        self.behind_body().is_some()
    }

    /// Ready when the client goes away while it waits for its answer. Whoever reads its body sees it go as well; where it
    /// has sent much ahead, the sweep does.
    pub(crate) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let room = if self.asks_tunnel { AHEAD } else { 1 };
        while self.behind_body().is_some_and(|behind| behind < room) {
            if ready!(self.poll_fill(cx)).is_none() {
                return Poll::Ready(());
            }
        }
        Poll::Pending
    }

    /// Takes what has come of a body that nobody wants: true where that was all of it.
    pub(crate) fn pass_over_body(&mut self, cx: &mut Context<'_>) -> bool {
        let mut most = LARGEST_READ;
        loop {
            match self.reader.take_body(&mut self.read) {
                Ok(Next::Data(data)) => most = most.saturating_sub(data.len()),
                Ok(Next::Trailers(_) | Next::End) => return true,
                Ok(Next::More) if most > 0 => match self.poll_fill(cx) {
                    Poll::Ready(Some(_)) => {}
                    Poll::Ready(None) | Poll::Pending => return false,
                },
                Ok(Next::More) | Err(_) => return false,
            }
        }
    }

    /// There will be no tunnel. What was sent ahead was meant for it, and must not be read as the next request: whether
    /// there was any.
    pub(crate) fn refuse_tunnel(&mut self) -> bool {
        // What has come by now was sent before the answer could be read, whether the runtime knows of it or not.
        let comes = || self.io.0.peek().is_ok_and(|bytes| bytes > 0);
        let ahead = self.asks_tunnel && (!self.is_empty() || comes());
        self.asks_tunnel = false;
        ahead
    }

    /// Reads until the first bytes are so many or differ from these: whether they are the same. None: nothing came.
    pub(crate) fn poll_begins(&mut self, cx: &mut Context<'_>, with: &[u8]) -> Poll<Option<bool>> {
        loop {
            let compared = self.read.len().min(with.len());
            let same = self.read[..compared] == with[..compared];
            if compared > 0 && (!same || compared == with.len()) {
                return Poll::Ready(Some(same));
            }
            if self.read.is_empty() {
                ready!(self.io.0.poll_readable(cx));
            }
            if ready!(self.poll_fill(cx)).is_none() {
                return Poll::Ready(None);
            }
        }
    }

    /// Reads more: none at the end, whichever it is.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<Option<usize>> {
        if self.read.capacity() - self.read.len() < FIRST_READ / 4 {
            let announced = self.reader.body().size_hint().lower();
            let announced = usize::try_from(announced).unwrap_or(usize::MAX).min(LARGEST_READ);
            make_room(&mut self.read, self.step.max(announced));
        }
        let room = self.read.capacity() - self.read.len();
        let read: io::Result<usize> =
            ready!(tokio_util::io::poll_read_buf(Pin::new(&mut self.io), cx, &mut self.read));
        let read = read.unwrap_or(0);
        if read == room {
            self.step = (self.step * 2).min(LARGEST_READ);
        }
        Poll::Ready((read > 0).then_some(read))
    }
}
