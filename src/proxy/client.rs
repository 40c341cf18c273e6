//! The client's side of a connection: its bytes, and what its requests may know of it.

use std::{
    fmt, io,
    net::IpAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, StatusCode};
use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    sync::Notify,
    time::{Instant, timeout},
};

use super::{
    gate::{Flaw, Gate, HeadLimits},
    headers,
    roster::Ticket,
};
use crate::upstream::{Counted, Interim, Wire};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// What may be held back of a client's bytes beyond one head.
const AHEAD: usize = 16 * 1024;
/// How long, and for how much, a connection is still read after a last answer, so that the answer arrives.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 1024 * 1024;

/// A client's connection, as its IO and its requests share it.
pub(crate) struct Client {
    pub(crate) ip: IpAddr,
    wire: Arc<Wire>,
    /// Ends the connection from outside.
    pub(crate) hang_up: Arc<Notify>,
    /// Carries many requests at a time.
    multiplexed: AtomicBool,
    inbound: Mutex<Inbound>,
    /// Nothing that hyper wrote still waits to go out.
    flushed: AtomicBool,
    /// Interim answers that go out before anything else does.
    interim: Mutex<BytesMut>,
    _ticket: Ticket,
}

/// What came from the client, and how it stands with its requests.
struct Inbound {
    gate: Gate,
    /// Bytes that were read and not let through yet.
    held: BytesMut,
    /// How many of them hyper may have.
    cleared: usize,
    most_held: usize,
    /// What is wrong with the head that is held.
    flaw: Option<Flaw>,
    /// A body is not framed as it should be.
    garbled: bool,
    begun: u64,
    finished: u64,
    /// Since when no request is under way.
    quiet_since: Instant,
    /// Since when a head has begun and not ended.
    head_since: Option<Instant>,
}

/// A request under way on a client's connection.
pub(crate) struct Busy(Arc<Client>);

/// How a connection stands for whoever enforces its limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    Busy,
    /// A head has begun so long ago and has no end, or the first one has not begun.
    Heading(Duration),
    Idle(Duration),
}

impl Client {
    pub(crate) fn new(ip: IpAddr, wire: Arc<Wire>, limits: HeadLimits, ticket: Ticket) -> Arc<Self> {
        let inbound = Inbound {
            gate: Gate::new(limits),
            held: BytesMut::new(),
            cleared: 0,
            most_held: limits.bytes + AHEAD,
            flaw: None,
            garbled: false,
            begun: 0,
            finished: 0,
            quiet_since: Instant::now(),
            head_since: None,
        };
        Arc::new(Self {
            ip,
            wire,
            hang_up: Arc::default(),
            multiplexed: AtomicBool::new(false),
            inbound: Mutex::new(inbound),
            flushed: AtomicBool::new(true),
            interim: Mutex::default(),
            _ticket: ticket,
        })
    }

    /// A request begins.
    pub(crate) fn begin(self: &Arc<Self>) -> Busy {
        self.inbound.lock().begun += 1;
        Busy(Arc::clone(self))
    }

    /// Whether the request that began last has a target without a path.
    pub(crate) fn is_pathless(&self) -> bool {
        let mut inbound = self.inbound.lock();
        let head = inbound.begun;
        inbound.gate.is_pathless(head)
    }

    /// Whether the peer is known to have closed.
    pub(crate) fn has_left(&self) -> bool {
        self.wire.peer_has_left()
    }

    /// Makes the end of its connection a reset.
    pub(crate) fn reset_on_close(&self) {
        self.wire.reset_on_close();
    }

    /// What follows the request that is being answered belongs to its tunnel.
    pub(crate) fn open_tunnel(&self) {
        self.inbound.lock().gate.open();
    }

    /// There will be no tunnel. What was sent ahead was meant for it, and must not be read as the next request: whether
    /// there was any.
    pub(crate) fn refuse_tunnel(&self) -> bool {
        let mut inbound = self.inbound.lock();
        let ahead = inbound.gate.asks_tunnel() && !inbound.held.is_empty();
        if ahead {
            inbound.gate.shut();
        } else {
            inbound.gate.settle();
        }
        ahead
    }

    /// No further request is read.
    pub(crate) fn shut(&self) {
        self.inbound.lock().gate.shut();
    }

    pub(crate) fn standing(&self) -> Standing {
        let inbound = self.inbound.lock();
        if inbound.outstanding() > 0 {
            return Standing::Busy;
        }
        match inbound.head_since {
            Some(since) => Standing::Heading(since.elapsed()),
            None if inbound.begun == 0 && !self.multiplexed.load(Ordering::Relaxed) => {
                Standing::Heading(inbound.quiet_since.elapsed())
            }
            None => Standing::Idle(inbound.quiet_since.elapsed()),
        }
    }

    /// The head that has begun takes too long. One that has not is not worth an answer.
    pub(crate) fn give_up_on_head(&self) {
        let mut inbound = self.inbound.lock();
        if inbound.head_since.is_some() && inbound.flaw.is_none() {
            inbound.flaw = Some(Flaw::slow_head());
        }
        self.hang_up.notify_one();
    }

    /// What is wrong with the bytes that are held back, and those bytes; where an answer to them would not get into the
    /// middle of another.
    pub(crate) fn flaw(&self) -> Option<(Flaw, Bytes)> {
        let mut inbound = self.inbound.lock();
        let answerable = inbound.outstanding() == 0 && self.flushed.load(Ordering::Relaxed);
        let flaw = inbound.flaw.take().filter(|_| answerable)?;
        Some((flaw, std::mem::take(&mut inbound.held).freeze()))
    }

    /// Whether the client may still be sending what nobody reads: closing now could take its answer away from it.
    pub(crate) fn lingers(&self) -> bool {
        let inbound = self.inbound.lock();
        // A tunnel is somebody else's by now.
        !inbound.gate.is_through() && (inbound.gate.is_mid_message() || !inbound.held.is_empty())
    }

    /// The last answer, past hyper, which is gone by now.
    pub(crate) async fn say(&self, answer: &[u8]) {
        let mut io = Counted(Arc::clone(&self.wire));
        let _best_effort = timeout(LINGER, io.write_all(answer)).await;
    }

    /// Lets the last answer arrive: the end of the connection is told, and what still comes is read by nobody.
    pub(crate) async fn linger(&self) {
        let mut io = Counted(Arc::clone(&self.wire));
        let drain = async {
            io.shutdown().await?;
            let mut left = LINGER_BYTES;
            let mut buffer = [0; 4096];
            while left > 0 {
                match io.read(&mut buffer).await? {
                    0 => break,
                    read => left = left.saturating_sub(read),
                }
            }
            io::Result::Ok(())
        };
        let _best_effort = timeout(LINGER, drain).await;
    }
}

impl Interim for Client {
    /// Left out where hyper still has something else to send, or an earlier one waits.
    fn relay(&self, status: StatusCode, fields: &HeaderMap) {
        let mut interim = self.interim.lock();
        if !self.flushed.load(Ordering::Relaxed) || !interim.is_empty() {
            return;
        }
        headers::write_interim(&mut interim, status, fields);
        let mut context = Context::from_waker(Waker::noop());
        let mut io = Counted(Arc::clone(&self.wire));
        if let Poll::Ready(Ok(written)) = Pin::new(&mut io).poll_write(&mut context, &interim) {
            interim.advance(written);
        }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("ip", &self.ip).finish_non_exhaustive()
    }
}

impl Inbound {
    fn outstanding(&self) -> u64 {
        self.gate.heads().max(self.begun) - self.finished
    }

    /// Keeps bytes back until more is known.
    fn hold(&mut self, bytes: &[u8]) {
        self.held.extend_from_slice(bytes);
        self.note_head();
    }

    fn note_head(&mut self) {
        if self.head_since.is_none() && self.gate.is_at_head() && !self.held.is_empty() {
            self.head_since = Some(Instant::now());
        }
    }

    /// Looks at what is held; true where some of it may go on.
    fn look(&mut self) -> bool {
        if self.flaw.is_some() || self.garbled || self.held.is_empty() {
            return false;
        }
        match self.gate.pass(&self.held) {
            Ok(passed) => {
                self.cleared = passed;
                if passed > 0 {
                    self.head_since = None;
                }
                passed > 0
            }
            Err(flaw) => {
                self.find(flaw);
                false
            }
        }
    }

    /// What is wrong with a head is told instead of its answer; a body's flaw breaks the body off.
    fn find(&mut self, flaw: Flaw) {
        if self.gate.is_at_head() {
            self.flaw = Some(flaw);
        } else {
            self.garbled = true;
        }
    }

    fn give(&mut self, buf: &mut ReadBuf<'_>) {
        let bytes = self.cleared.min(buf.remaining());
        buf.put_slice(&self.held[..bytes]);
        self.held.advance(bytes);
        self.cleared -= bytes;
        if self.cleared == 0 {
            if self.held.is_empty() {
                // Most connections never need it again.
                self.held = BytesMut::new();
            }
            self.note_head();
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let mut inbound = self.0.inbound.lock();
        inbound.finished += 1;
        inbound.quiet_since = Instant::now();
    }
}

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

    /// Puts bytes that were read already in front again.
    pub(crate) fn with_early(mut self, early: &[u8]) -> Self {
        if !early.is_empty() {
            let mut inbound = self.client.inbound.lock();
            inbound.held = [early, &inbound.held].concat().as_slice().into();
            self.free = false;
        }
        self
    }

    /// Ends the connection so that the client sees that it was cut.
    pub(crate) fn reset(&self) {
        self.io.0.reset_on_close();
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
