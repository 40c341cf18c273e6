//! The client's side of a connection: its bytes, and what its requests may know of it.

use std::{
    fmt,
    future::poll_fn,
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
use http::StatusCode;
use parking_lot::{Mutex, MutexGuard};
use tokio::{
    io::{AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::{Instant, timeout},
};

use super::{
    downstream::Connection,
    headers,
    http1::{HeadLimits, Inbound},
    roster::Ticket,
    target::LastAim,
};
use crate::{
    model::Fields,
    upstream::{Bell, Counted, Interim, Wire},
};

/// How long, and for how much, a connection is still read after a last answer, so that the answer arrives.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 1024 * 1024;

/// A client's connection, as its task and its requests share it.
pub(crate) struct Client {
    pub(crate) ip: IpAddr,
    wire: Arc<Wire>,
    /// Ends the connection from outside.
    pub(crate) hang_up: Arc<Bell>,
    /// The roster has something for it to do. A request may have come in the same moment: that one is not to be dropped.
    pub(crate) called: Bell,
    pub(crate) last_aim: LastAim,
    /// Carries many requests at a time.
    multiplexed: AtomicBool,
    inbound: Mutex<Inbound>,
    /// What goes out ahead of an answer, and was not written yet.
    ahead: Mutex<BytesMut>,
    /// There is some.
    has_ahead: AtomicBool,
    /// The answer itself goes out.
    is_late: AtomicBool,
    /// Goes on to its tunnel, where it becomes one.
    ticket: Mutex<Option<Ticket>>,
}

/// A request under way on a client's connection.
pub(crate) struct Busy(Arc<Client>);

/// How a connection stands for whoever enforces its limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    Busy,
    /// The client has gone without waiting for its answer.
    Left,
    /// A head has begun so long ago and has no end, or the first one has not begun.
    Heading(Duration),
    Idle(Duration),
}

impl Client {
    pub(crate) fn new(ip: IpAddr, wire: Arc<Wire>, limits: HeadLimits, ticket: Ticket) -> Arc<Self> {
        let inbound = Inbound::new(Counted(Arc::clone(&wire)), limits);
        Arc::new(Self {
            ip,
            wire,
            hang_up: Arc::default(),
            called: Bell::default(),
            last_aim: LastAim::default(),
            multiplexed: AtomicBool::new(false),
            inbound: Mutex::new(inbound),
            ahead: Mutex::default(),
            has_ahead: AtomicBool::new(false),
            is_late: AtomicBool::new(false),
            ticket: Mutex::new(Some(ticket)),
        })
    }

    /// A request begins: it is under way until this is dropped. By its number its body is asked for, where there is
    /// one to be read from [`Self::inbound`].
    pub(crate) fn begin(self: &Arc<Self>) -> (Busy, Option<u64>) {
        let body = {
            let mut inbound = self.inbound();
            inbound.begun += 1;
            (!inbound.is_body_over(inbound.begun)).then_some(inbound.begun)
        };
        self.is_late.store(false, Ordering::Relaxed);
        (Busy(Arc::clone(self)), body)
    }

    pub(crate) fn inbound(&self) -> MutexGuard<'_, Inbound> {
        self.inbound.lock()
    }

    /// The connection itself, to write on.
    pub(crate) fn io(&self) -> Counted {
        Counted(Arc::clone(&self.wire))
    }

    /// From here on it is HTTP/2, with these bytes read.
    pub(crate) fn multiplex(&self) -> Bytes {
        self.multiplexed.store(true, Ordering::Relaxed);
        std::mem::take(&mut self.inbound().read).freeze()
    }

    /// Whether the peer is known to have closed.
    pub(crate) fn has_left(&self) -> bool {
        self.wire.peer_has_left()
    }

    /// Makes the end of its connection a reset.
    pub(crate) fn reset_on_close(&self) {
        self.wire.reset_on_close();
    }

    /// What is left of it in a tunnel.
    pub(crate) fn to_tunnel(&self) -> Connection {
        let read = std::mem::take(&mut self.inbound().read);
        // An empty slice would still keep what it was cut from.
        let early = if read.is_empty() { Bytes::new() } else { read.freeze() };
        Connection { early, io: self.io(), _ticket: self.ticket.lock().take() }
    }

    pub(crate) fn standing(&self) -> Standing {
        let inbound = self.inbound();
        if inbound.outstanding() > 0 {
            // A connection of HTTP/2 sees to that itself.
            let unnoticed = !self.multiplexed.load(Ordering::Relaxed) && inbound.is_all_there();
            return if unnoticed && self.has_left() { Standing::Left } else { Standing::Busy };
        }
        match inbound.head_since {
            Some(since) => Standing::Heading(since.elapsed()),
            None if inbound.begun == 0 && !self.multiplexed.load(Ordering::Relaxed) => {
                Standing::Heading(inbound.quiet_since.elapsed())
            }
            None => Standing::Idle(inbound.quiet_since.elapsed()),
        }
    }

    /// Whether it could be put at rest, and has not been.
    pub(crate) fn may_rest(&self) -> bool {
        !self.multiplexed.load(Ordering::Relaxed) && self.inbound().may_rest()
    }

    /// Says something ahead of the answer. Left out where the answer has begun, or something else waits.
    pub(crate) fn say_ahead(&self, write: impl FnOnce(&mut BytesMut)) {
        if self.is_late.load(Ordering::Relaxed) || self.has_ahead.load(Ordering::Relaxed) {
            return;
        }
        write(&mut self.ahead.lock());
        self.has_ahead.store(true, Ordering::Relaxed);
        // What does not go out now is written by the connection's task.
        let _tried = self.poll_ahead(&mut Context::from_waker(Waker::noop()));
    }

    /// Ready when all that was said ahead is out.
    pub(crate) fn poll_ahead(&self, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        if self.has_ahead.load(Ordering::Relaxed) {
            let mut waiting = self.ahead.lock();
            while !waiting.is_empty() {
                let written = ready!(Pin::new(&mut self.io()).poll_write(cx, &waiting))?;
                waiting.advance(written);
            }
            self.has_ahead.store(false, Ordering::Relaxed);
        }
        Poll::Ready(Ok(()))
    }

    /// The answer begins: what must still go out ahead of it.
    pub(crate) fn take_ahead(&self) -> BytesMut {
        self.is_late.store(true, Ordering::Relaxed);
        if !self.has_ahead.load(Ordering::Relaxed) {
            return BytesMut::new();
        }
        self.has_ahead.store(false, Ordering::Relaxed);
        std::mem::take(&mut self.ahead.lock())
    }

    /// The last answer to what is no request.
    pub(crate) async fn say(&self, answer: &[u8]) {
        let _best_effort = timeout(LINGER, self.io().write_all(answer)).await;
    }

    /// Lets the last answer arrive (RFC 9112, section 9.6): the end of the connection is told, and what still comes is
    /// read by nobody. To close with something unread would reset the connection, and take the answer away.
    pub(crate) async fn linger(&self) {
        let mut io = self.io();
        let drain = async {
            io.shutdown().await?;
            let mut left = LINGER_BYTES;
            while left > 0 {
                poll_fn(|cx| self.wire.poll_readable(cx)).await;
                match io.read_buf(&mut BytesMut::with_capacity(4096)).await? {
                    0 => break,
                    read => left = left.saturating_sub(read),
                }
            }
            std::io::Result::Ok(())
        };
        let _best_effort = timeout(LINGER, drain).await;
    }
}

impl Interim for Client {
    fn relay(&self, status: StatusCode, fields: &Fields) {
        self.say_ahead(|ahead| headers::write_interim(ahead, status, fields));
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("ip", &self.ip).finish_non_exhaustive()
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let mut inbound = self.0.inbound();
        inbound.finished += 1;
        inbound.quiet_since = Instant::now();
    }
}
