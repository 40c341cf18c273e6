//! A socket that follows a script, the peer behind it, and what reached them.
//!
//! The socket takes the place of TCP right under the counter, so everything above it is the product's own: the count,
//! TLS, HTTP, the pool, the attempt. Where TLS is spoken, [`peer`] is a real server session in memory.

mod peer;

use std::{
    cell::RefCell,
    collections::VecDeque,
    io,
    sync::Arc,
    task::{Context, Poll},
};

use parking_lot::Mutex;
use rustls::ServerConnection;
use tokio::io::ReadBuf;

use super::{Socket, Wire};
use peer::State;

/// What becomes of a write. When the list is used up, everything is accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Write {
    /// Not now, and nobody will say when; a later try may find it otherwise.
    Pending,
    /// Not now, and no more until the test opens the socket.
    Jam,
    /// Not now, and asked again at once.
    Later,
    Fail(io::ErrorKind),
    /// So many bytes at the most.
    Short(usize),
    Accept,
}

/// What the peer says next. When the list is used up, it is silent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Read {
    Silence,
    Fin,
    Rst,
    Junk,
    Answer,
    /// An answer's first half.
    Part,
    /// Over TLS: bytes that are no TLS.
    Garbage,
    /// Over TLS: its orderly end, without that of TCP.
    CloseNotify,
    /// Over TLS: new keys, to which this side has something to reply.
    NewKeys,
}

/// From when on the peer says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    AtOnce,
    /// It lies in the socket at once, but the runtime was not told yet: only a look into the socket finds it, until
    /// somebody has tried to write.
    Unnoticed,
    /// Once somebody has tried to write, whatever became of it.
    AfterAWrite,
}

/// What happens on a connection from its next request on.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) writes: Vec<Write>,
    pub(crate) reads: Vec<Read>,
    pub(crate) when: When,
}

impl Plan {
    /// Everything is accepted, and answered.
    pub(crate) fn good() -> Self {
        Self { writes: Vec::new(), reads: vec![Read::Answer], when: When::AfterAWrite }
    }
}

/// The dial is cut: what is written the n-th time is not heard any more, and this is the end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cut {
    pub(crate) at: usize,
    pub(crate) end: Read,
}

pub(crate) const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

/// The far end of a scripted connection.
#[derive(Debug, Clone)]
pub(crate) struct Peer(Arc<Mutex<State>>);

impl Peer {
    pub(crate) fn plain(plan: Plan) -> Self {
        Self::direct(None, plan, None)
    }

    /// Speaks TLS where there is a session; the plan begins once the handshake is over.
    pub(crate) fn direct(session: Option<ServerConnection>, plan: Plan, cut: Option<Cut>) -> Self {
        Self(Arc::new(Mutex::new(State::new(session, None, cut, plan))))
    }

    /// Wants to be asked for a tunnel first, over `session` where there is one; `later` is that of the tunnel's far end.
    pub(crate) fn behind_connect(
        session: Option<ServerConnection>,
        later: Option<ServerConnection>,
        plan: Plan,
        cut: Option<Cut>,
    ) -> Self {
        Self(Arc::new(Mutex::new(State::new(session, Some(later), cut, plan))))
    }

    /// The wire whose far end this is.
    pub(crate) fn wire(&self) -> Arc<Wire> {
        Arc::new(Wire {
            socket: Socket::Script(Script(Arc::clone(&self.0))),
            accepted: 0.into(),
            armed: false.into(),
            wary: false.into(),
            more_follows: false.into(),
            peer: ([127, 0, 0, 1], 1).into(),
        })
    }

    /// Another request is to follow on this connection: from here on this is what happens, counted anew.
    pub(crate) fn follow(&self, plan: Plan) {
        self.0.lock().follow(plan);
    }

    /// Whether the plan is in force: no handshake is under way any more.
    pub(crate) fn has_begun(&self) -> bool {
        self.0.lock().has_begun()
    }

    /// From here on everything is accepted, and whoever waited is woken: who still can write, will.
    pub(crate) fn open(&self) {
        self.0.lock().open();
    }

    /// How often somebody tried to write, since the beginning.
    pub(crate) fn tries(&self) -> usize {
        self.0.lock().tries
    }

    /// Bytes that the socket took since the plan began.
    pub(crate) fn accepted(&self) -> usize {
        self.0.lock().taken.len()
    }

    /// Of these, what can be a request's: over TLS all but whole records that are too short for one.
    pub(crate) fn of_requests(&self) -> usize {
        self.0.lock().of_requests()
    }

    /// Whether its end had been read with nothing written before, and something of a request came all the same.
    pub(crate) fn was_written_to_after_its_end(&self) -> bool {
        self.0.lock().was_written_to_after_its_end()
    }

    /// What the peer could read since the plan began, decrypted.
    pub(crate) fn heard(&self) -> Vec<u8> {
        self.0.lock().heard.clone()
    }
}

thread_local! {
    static DIALS: RefCell<VecDeque<Option<Peer>>> = const { RefCell::new(VecDeque::new()) };
}

/// The next dial of this thread that is not spoken for yet ends so: at this peer, or refused.
pub(crate) fn expect_dial(peer: Option<Peer>) {
    DIALS.with_borrow_mut(|dials| dials.push_back(peer));
}

/// Takes back what nobody dialled; says how many there were.
pub(crate) fn forget_dials() -> usize {
    DIALS.with_borrow_mut(|dials| std::mem::take(dials).len())
}

/// What becomes of a dial, where a test has said so.
pub(crate) fn dialled() -> Option<io::Result<Arc<Wire>>> {
    let next = DIALS.with_borrow_mut(VecDeque::pop_front)?;
    Some(next.map(|peer| peer.wire()).ok_or_else(|| io::ErrorKind::ConnectionRefused.into()))
}

/// The near end: what a wire is made of instead of a TCP stream.
#[derive(Debug)]
pub(crate) struct Script(Arc<Mutex<State>>);

impl Script {
    pub(super) fn peek(&self) -> io::Result<usize> {
        self.0.lock().peek()
    }

    pub(super) fn poll_read(&self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.0.lock().poll_read(cx, buf)
    }

    pub(super) fn poll_write(&self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.0.lock().poll_write(cx, bytes)
    }

    /// An end of our side is told to the peer, as a write is.
    pub(super) fn shut_down(&self) -> Poll<io::Result<()>> {
        self.0.lock().tries += 1;
        Poll::Ready(Ok(()))
    }
}
