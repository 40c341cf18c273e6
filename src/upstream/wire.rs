//! The witness: counts what the socket accepted, below TLS and below every handshake.
//!
//! Counting higher up would be unsound: a TLS stream can fail with "nothing accepted" while records have left.
//! The count is only ever judged by the attempt that owned the connection, after the connection was dropped.

use std::{
    io,
    net::SocketAddr,
    os::fd::{AsFd, BorrowedFd},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
};

use futures_util::FutureExt;
use rustix::net::SendFlags;
use tokio::{
    io::{AsyncRead, AsyncWrite, Interest, ReadBuf},
    net::TcpStream,
};

/// A TCP stream and the number of bytes that it accepted since the last [`Wire::arm`].
#[derive(Debug)]
pub(crate) struct Wire {
    socket: Socket,
    accepted: AtomicU64,
    /// A request is being sent: a write that fails behind its first byte waits for the answer instead.
    armed: AtomicBool,
    /// The next write is preceded by a look at whether the peer has left.
    wary: AtomicBool,
    /// What is written next is followed by more at once.
    more_follows: AtomicBool,
    peer: SocketAddr,
}

impl Wire {
    /// Who the peer is must be known already: one that has reset the connection by now has no address any more, and asking
    /// for it would hide the reset.
    pub(crate) fn new(stream: TcpStream, peer: SocketAddr) -> io::Result<Arc<Self>> {
        stream.set_nodelay(true)?;
        Ok(Arc::new(Self {
            socket: Socket::Tcp(stream),
            accepted: AtomicU64::new(0),
            armed: AtomicBool::new(false),
            wary: AtomicBool::new(false),
            more_follows: AtomicBool::new(false),
            peer,
        }))
    }

    pub(crate) fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Starts the count for the next request.
    pub(crate) fn arm(&self) {
        self.accepted.store(0, Ordering::Relaxed);
        self.armed.store(true, Ordering::Relaxed);
    }

    /// Looks at the connection right before its next write, and fails that where the peer has closed or spoken.
    ///
    /// Here and no earlier: between a look when the connection is taken and the write lies the making of the head (and
    /// of a TLS record), and a peer that hangs up meanwhile would leave the request uncertain.
    pub(crate) fn be_wary(&self) {
        self.wary.store(true, Ordering::Relaxed);
    }

    /// What is written next need not go out alone: more is at hand, and is written right behind it. It counts as
    /// written all the same.
    pub(crate) fn more_follows(&self) {
        self.more_follows.store(true, Ordering::Relaxed);
    }

    /// What the look says, where one is due.
    fn look(&self) -> io::Result<()> {
        if !self.wary.load(Ordering::Relaxed) {
            return Ok(());
        }
        if !self.is_quiet() {
            // It stays wary: whoever tries again gets no further.
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        self.wary.store(false, Ordering::Relaxed);
        Ok(())
    }

    /// No request is being sent any more: write errors are errors.
    pub(crate) fn disarm(&self) {
        self.armed.store(false, Ordering::Relaxed);
    }

    /// Bytes that the socket accepted since [`Wire::arm`].
    pub(crate) fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    /// What lies in the socket, without taking it: `Ok(0)` is the end, `WouldBlock` is a quiet connection.
    pub(crate) fn peek(&self) -> io::Result<usize> {
        let mut byte = [std::mem::MaybeUninit::uninit()];
        match &self.socket {
            Socket::Tcp(stream) => socket2::SockRef::from(stream).peek(&mut byte),
            #[cfg(test)]
            Socket::Script(script) => script.peek(),
        }
    }

    /// Whether nothing lies in the socket, not even its end.
    pub(super) fn is_quiet(&self) -> bool {
        matches!(self.peek(), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Ready once there is something to read, be it the end.
    pub(crate) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(stream) = self.socket.tcp() else { return Poll::Ready(()) };
        stream.poll_read_ready(cx).map(|_error_is_read_too| ())
    }

    /// Whether the peer is known to have closed its side.
    pub(crate) fn peer_has_left(&self) -> bool {
        let Some(stream) = self.socket.tcp() else { return false };
        match stream.ready(Interest::READABLE).now_or_never() {
            Some(Ok(ready)) => ready.is_read_closed(),
            Some(Err(_)) => true,
            None => false,
        }
    }

    /// Reads by a call of one's own on the socket, as soon as it has something; `WouldBlock` must mean that it has not.
    pub(crate) fn poll_read_by(
        &self,
        cx: &mut Context<'_>,
        call: impl FnMut(BorrowedFd<'_>) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        self.poll_by(cx, Interest::READABLE, call)
    }

    /// The same for writing. Past the count: it is for tunnels, of which nothing is ever sent again, and no attempt that
    /// could be judged by the count is left by then.
    pub(crate) fn poll_write_by(
        &self,
        cx: &mut Context<'_>,
        call: impl FnMut(BorrowedFd<'_>) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        self.poll_by(cx, Interest::WRITABLE, call)
    }

    fn poll_by(
        &self,
        cx: &mut Context<'_>,
        interest: Interest,
        mut call: impl FnMut(BorrowedFd<'_>) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        let Some(stream) = self.socket.tcp() else {
            return Poll::Ready(Err(io::ErrorKind::Unsupported.into()));
        };
        poll_call(stream, cx, interest, 0, || call(stream.as_fd()))
    }

    /// Makes the end of this connection a reset: the peer must not take what it has for the whole.
    pub(crate) fn reset_on_close(&self) {
        if let Some(stream) = self.socket.tcp() {
            let _best_effort = socket2::SockRef::from(stream).set_linger(Some(std::time::Duration::ZERO));
        }
    }
}

/// What a wire is made of. In tests of the witness the socket follows a script.
#[derive(Debug)]
enum Socket {
    Tcp(TcpStream),
    #[cfg(test)]
    Script(script::Script),
}

impl Socket {
    fn tcp(&self) -> Option<&TcpStream> {
        match self {
            Self::Tcp(stream) => Some(stream),
            #[cfg(test)]
            Self::Script(_) => None,
        }
    }
}

/// Calls a socket as soon as it is ready. (Its own `poll_read` would want it for itself alone, and so a lock.)
///
/// A call that moves something, but less than there was `room` for, has found the end of what there is: the runtime is
/// told so, and the next call waits instead of asking the system in vain.
fn poll_call(
    stream: &TcpStream,
    cx: &mut Context<'_>,
    interest: Interest,
    room: usize,
    mut call: impl FnMut() -> io::Result<usize>,
) -> Poll<io::Result<usize>> {
    loop {
        let ready =
            if interest.is_readable() { stream.poll_read_ready(cx) } else { stream.poll_write_ready(cx) };
        ready!(ready)?;
        let mut moved = None;
        let tried = stream.try_io(interest, || {
            let bytes = call()?;
            moved = Some(bytes);
            if bytes > 0 && bytes < room { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
        });
        match (moved, tried) {
            (Some(bytes), _) => return Poll::Ready(Ok(bytes)),
            (None, Err(error)) if error.kind() != io::ErrorKind::WouldBlock => {
                return Poll::Ready(Err(error));
            }
            (None, _) => {}
        }
    }
}

/// Calls the socket, whichever it is.
macro_rules! on_socket {
    ($counted:ident, $cx:ident, $interest:ident, $room:expr, $stream:ident => $call:expr, $script:ident => $own:expr) => {
        match &$counted.0.socket {
            Socket::Tcp($stream) => poll_call($stream, $cx, Interest::$interest, $room, || $call),
            #[cfg(test)]
            Socket::Script($script) => $own,
        }
    };
}

#[cfg(test)]
pub(crate) mod script;

const SMALL: usize = 1024;

/// The IO that everything above is built on: a [`Wire`] that counts.
#[derive(Debug)]
pub(crate) struct Counted(pub(crate) Arc<Wire>);

impl Counted {
    fn counted(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match written {
            Poll::Ready(Ok(bytes)) => {
                self.0.more_follows.store(false, Ordering::Relaxed);
                self.0.accepted.fetch_add(bytes as u64, Ordering::Relaxed);
                Poll::Ready(Ok(bytes))
            }
            // Part of a request is out and the peer stopped reading: an early answer may lie in the socket, and an
            // error here would end the exchange before it is read. The read side brings the answer or the end.
            Poll::Ready(Err(error)) if self.waits_for_answer(&error) => Poll::Pending,
            other => other,
        }
    }

    fn waits_for_answer(&self, error: &io::Error) -> bool {
        self.0.armed.load(Ordering::Relaxed)
            && self.0.accepted() > 0
            && matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
    }
}

impl AsyncRead for Counted {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let room = buf.remaining();
        let read = on_socket!(self, cx, READABLE, room,
            stream => stream.try_read_buf(buf),
            script => script.poll_read(cx, buf).map_ok(|()| 0));
        read.map_ok(drop)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.0.look()?;
        let flags =
            if self.0.more_follows.load(Ordering::Relaxed) { SendFlags::MORE } else { SendFlags::empty() };
        let written = on_socket!(self, cx, WRITABLE, buf.len(),
            stream => rustix::net::send(stream, buf, flags | SendFlags::NOSIGNAL).map_err(io::Error::from),
            script => script.poll_write(cx, buf));
        self.counted(written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let all: usize = bufs.iter().map(|buf| buf.len()).sum();
        if all <= SMALL {
            // A head with a small body: to copy it costs less than the system's way of gathering it.
            let (mut together, mut end) = ([0; SMALL], 0);
            for buf in bufs {
                together[end..end + buf.len()].copy_from_slice(buf);
                end += buf.len();
            }
            return self.poll_write(cx, &together[..end]);
        }
        self.0.look()?;
        let written = on_socket!(self, cx, WRITABLE, all,
            stream => stream.try_write_vectored(bufs),
            script => script.poll_write(cx, &bufs.iter().flat_map(|buf| buf.to_vec()).collect::<Vec<u8>>()));
        self.counted(written)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // What a socket took is on its way.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &self.0.socket {
            Socket::Tcp(stream) => match socket2::SockRef::from(stream).shutdown(std::net::Shutdown::Write) {
                Err(error) if error.kind() == io::ErrorKind::NotConnected => Poll::Ready(Ok(())),
                told => Poll::Ready(told),
            },
            #[cfg(test)]
            Socket::Script(script) => script.shut_down(),
        }
    }
}
