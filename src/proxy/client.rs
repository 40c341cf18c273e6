//! The client's side of a connection: its bytes, and what its requests may know of it.

mod inbound;
mod io;

use std::{
    fmt,
    future::poll_fn,
    net::IpAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, StatusCode};
use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt, AsyncWrite, AsyncWriteExt},
    sync::Notify,
    time::{Instant, timeout},
};

use self::inbound::Inbound;
pub(crate) use self::io::ClientIo;
use super::{
    gate::{Flaw, HeadLimits},
    headers,
    roster::Ticket,
};
use crate::upstream::{Counted, Interim, Wire};

/// How long, and for how much, a connection is still read after a last answer, so that the answer arrives.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 1024 * 1024;

/// A client's connection, as its IO and its requests share it.
pub(crate) struct Client {
    pub(crate) ip: IpAddr,
    wire: Arc<Wire>,
    /// Ends the connection from outside.
    pub(crate) hang_up: Arc<Notify>,
    /// The roster has something for it to do. A request may have come in the same moment: that one is not to be dropped.
    pub(crate) called: Notify,
    /// Carries many requests at a time.
    multiplexed: AtomicBool,
    inbound: Mutex<Inbound>,
    /// Nothing that hyper wrote still waits to go out.
    flushed: AtomicBool,
    /// Interim answers that go out before anything else does.
    interim: Mutex<BytesMut>,
    /// Goes on to its tunnel, where it becomes one.
    ticket: Mutex<Option<Ticket>>,
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
        Arc::new(Self {
            ip,
            wire,
            hang_up: Arc::default(),
            called: Notify::new(),
            multiplexed: AtomicBool::new(false),
            inbound: Mutex::new(Inbound::new(limits)),
            flushed: AtomicBool::new(true),
            interim: Mutex::default(),
            ticket: Mutex::new(Some(ticket)),
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

    /// Whether hyper could be put away, and has not been: it holds nothing of the client's nor for it.
    pub(crate) fn may_rest(&self) -> bool {
        let inbound = self.inbound.lock();
        inbound.outstanding() == 0
            && inbound.is_empty()
            && !inbound.at_rest
            && self.flushed.load(Ordering::Relaxed)
            && self.interim.lock().is_empty()
    }

    /// Waits without hyper until something comes from the client, or its end.
    pub(crate) async fn rest(&self) {
        self.inbound.lock().at_rest = true;
        poll_fn(|cx| self.wire.poll_readable(cx)).await;
        self.inbound.lock().at_rest = false;
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

    /// It was waited for long enough. A head that has begun is told so; one that has not is not worth an answer.
    pub(crate) fn give_up(&self) {
        let mut inbound = self.inbound.lock();
        if inbound.head_since.is_some() && inbound.flaw.is_none() {
            inbound.flaw = Some(Flaw::slow_head());
        }
        self.called.notify_one();
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
            let mut buffer = vec![0; 4096];
            while left > 0 {
                match io.read(&mut buffer).await? {
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

impl Drop for Busy {
    fn drop(&mut self) {
        let mut inbound = self.0.inbound.lock();
        inbound.finished += 1;
        inbound.quiet_since = Instant::now();
    }
}
