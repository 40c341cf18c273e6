//! A socket that follows a script, and writes down what reaches it.

use std::{
    collections::VecDeque,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{Socket, Wire};

/// What becomes of a write. When the list is used up, everything is accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Write {
    /// Not now, and nobody will say when.
    Pending,
    Fail(io::ErrorKind),
    Short(usize),
    Accept,
}

/// What the peer says, from the moment on that [`When`] names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Read {
    Silence,
    Fin,
    Rst,
    Junk,
    Answer,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    AtOnce,
    /// Once somebody has tried to write, whatever became of it.
    AfterAWrite,
}

/// What reached the socket.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) accepted: usize,
    pub(crate) tries: usize,
}

#[derive(Debug)]
pub(crate) struct Script {
    writes: VecDeque<Write>,
    read: Read,
    when: When,
    said: bool,
    seen: Arc<Mutex<Seen>>,
}

pub(crate) const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

impl Script {
    /// A wire over a scripted socket.
    pub(crate) fn wire(writes: &[Write], read: Read, when: When) -> (Arc<Wire>, Arc<Mutex<Seen>>) {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let script = Self {
            writes: writes.iter().copied().collect(),
            read,
            when,
            said: false,
            seen: Arc::clone(&seen),
        };
        let wire = Wire {
            stream: parking_lot::Mutex::new(Socket::Script(script)),
            accepted: 0.into(),
            armed: false.into(),
            interim: 0.into(),
            wary: false.into(),
            peer: ([127, 0, 0, 1], 1).into(),
        };
        (Arc::new(wire), seen)
    }

    fn speaks(&self) -> bool {
        self.when == When::AtOnce || self.seen.lock().tries > 0
    }

    pub(super) fn peek(&self) -> io::Result<usize> {
        match self.read {
            _ if !self.speaks() => Err(io::ErrorKind::WouldBlock.into()),
            Read::Silence => Err(io::ErrorKind::WouldBlock.into()),
            Read::Fin => Ok(0),
            Read::Rst => Err(io::ErrorKind::ConnectionReset.into()),
            Read::Junk | Read::Answer => Ok(1),
        }
    }
}

impl AsyncRead for Script {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.speaks() {
            // The next poll may find that somebody has written.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let text: &[u8] = match self.read {
            Read::Silence => return Poll::Pending,
            Read::Fin => return Poll::Ready(Ok(())),
            Read::Rst => return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
            Read::Junk => b"\x16\x03junk\r\n\r\n",
            Read::Answer => ANSWER,
        };
        if std::mem::replace(&mut self.said, true) {
            return Poll::Pending;
        }
        buf.put_slice(text);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Script {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let next = self.writes.pop_front().unwrap_or(Write::Accept);
        let mut seen = self.seen.lock();
        seen.tries += 1;
        let accepted = match next {
            Write::Pending => return Poll::Pending,
            Write::Fail(kind) => return Poll::Ready(Err(kind.into())),
            Write::Short(bytes) => bytes.min(buf.len()),
            Write::Accept => buf.len(),
        };
        seen.accepted += accepted;
        Poll::Ready(Ok(accepted))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
