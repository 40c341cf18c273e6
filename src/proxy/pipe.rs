//! Bytes from one socket to another past our own memory: `splice(2)` through a pipe.
//!
//! A pipe is filled only while it is empty and goes back to its thread only when it is empty again, so "would block"
//! always speaks of the socket. There are only so many: each takes two of the descriptors that clients need as well.

use std::{
    io,
    os::fd::OwnedFd,
    sync::Arc,
    task::{Context, Poll, ready},
};

use parking_lot::Mutex;
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};

use crate::upstream::Wire;

/// What a pipe may hold, where the system allows it. More is moved by a call then.
const SIZE: usize = 256 * 1024;
/// Pipes of a thread.
const MOST: usize = 64;
/// Of those, what is kept while no tunnel needs them.
const KEPT: usize = 16;

/// A thread's pipes.
#[derive(Debug, Default)]
pub(crate) struct Pipes {
    empty: Mutex<Vec<Pipe>>,
    /// Shared with each that there is, to count them.
    all: Arc<()>,
}

/// A pipe, and how much is in it.
#[derive(Debug)]
pub(crate) struct Pipe {
    out: OwnedFd,
    into: OwnedFd,
    held: usize,
    _one_of_all: Arc<()>,
}

impl Pipes {
    /// An empty pipe, where there may be one.
    pub(crate) fn take(&self) -> Option<Pipe> {
        if let Some(pipe) = self.empty.lock().pop() {
            return Some(pipe);
        }
        if Arc::strong_count(&self.all) > MOST {
            return None;
        }
        let (out, into) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).ok()?;
        // Smaller ones do as well.
        let _allowed = fcntl_setpipe_size(&into, SIZE);
        Some(Pipe { out, into, held: 0, _one_of_all: Arc::clone(&self.all) })
    }

    /// Takes a pipe back. One that still holds a broken tunnel's bytes is closed.
    pub(crate) fn give(&self, pipe: Pipe) {
        let mut empty = self.empty.lock();
        if pipe.held == 0 && empty.len() < KEPT {
            empty.push(pipe);
        }
    }
}

impl Pipe {
    pub(crate) fn is_empty(&self) -> bool {
        self.held == 0
    }

    /// Fills an empty pipe with what the socket has. Zero is the socket's end.
    pub(crate) fn poll_fill(&mut self, cx: &mut Context<'_>, from: &Wire) -> Poll<io::Result<usize>> {
        let into = &self.into;
        let filled = ready!(from.poll_read_by(cx, |socket| {
            Ok(splice(socket, None, into, None, SIZE, SpliceFlags::MOVE | SpliceFlags::NONBLOCK)?)
        }))?;
        self.held = filled;
        Poll::Ready(Ok(filled))
    }

    /// Moves on what the socket takes.
    pub(crate) fn poll_empty(&mut self, cx: &mut Context<'_>, to: &Wire) -> Poll<io::Result<usize>> {
        let (out, held) = (&self.out, self.held);
        let moved = ready!(to.poll_write_by(cx, |socket| {
            Ok(splice(out, None, socket, None, held, SpliceFlags::MOVE | SpliceFlags::NONBLOCK)?)
        }))?;
        self.held -= moved;
        Poll::Ready(Ok(moved))
    }
}

/// Whether this says that sockets and pipes do not go together here, rather than that something is wrong with these.
pub(crate) fn is_unsupported(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let never = [Errno::INVAL, Errno::NOSYS, Errno::PERM, Errno::OPNOTSUPP];
    Errno::from_io_error(error).is_some_and(|errno| never.contains(&errno))
}
