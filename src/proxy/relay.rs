//! Moving bytes both ways between two ends of a tunnel.
//!
//! A direction holds a buffer only while it has bytes in hand; an idle tunnel holds none. Buffers are shared by the
//! tunnels of a thread. What comes in bulk from one bare socket for another goes through a pipe instead, and never
//! enters our memory.

use std::{
    io,
    pin::{Pin, pin},
    task::{Context, Poll, ready},
};

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::pipe::{Pipe, Pipes, is_unsupported};
use crate::upstream::{Link, Wire};

const BUFFER: usize = 64 * 1024;
const KEPT: usize = 16;

/// What is read at once of a bulk transfer, at least.
const LARGE: usize = BUFFER / 4;
/// After so many large reads in a row there will be more. A pipe costs more than a copy where there is little to move.
const BULK: u8 = 3;
/// A direction moves on at most so often before others of its thread have their turn.
const TURN: u8 = 16;

/// Buffers and pipes that are free to be used.
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    free: Mutex<Vec<Box<[u8]>>>,
    pipes: Pipes,
}

impl Buffers {
    fn take(&self) -> Box<[u8]> {
        self.free.lock().pop().unwrap_or_else(|| vec![0; BUFFER].into_boxed_slice())
    }

    fn give(&self, buffer: Box<[u8]>) {
        let mut free = self.free.lock();
        if free.len() < KEPT {
            free.push(buffer);
        }
    }
}

/// One end of a tunnel.
pub(crate) trait End: AsyncRead + AsyncWrite + Unpin {
    /// Its socket, where the next bytes on that are the tunnel's own: no TLS, no HTTP/2, nothing read ahead.
    fn bare(&self) -> Option<&Wire>;
}

impl End for Link {
    fn bare(&self) -> Option<&Wire> {
        self.bare()
    }
}

/// One direction of a tunnel.
#[derive(Debug, Default)]
pub(crate) struct Flow {
    /// Bytes that were moved.
    pub(crate) bytes: u64,
    hand: Option<Hand>,
    state: State,
    has_moved: bool,
    /// Large reads in a row.
    large: u8,
    /// The system has no pipes for it.
    copies: bool,
}

/// Bytes that were read and not all written yet.
#[derive(Debug)]
enum Hand {
    Buffer { buffer: Box<[u8]>, from: usize, to: usize },
    Pipe(Pipe),
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Moving,
    /// The reader has ended; the writer is being told.
    Closing,
    Closed,
}

/// Which end of a direction failed.
#[derive(Debug)]
pub(crate) enum Broken {
    Read(io::Error),
    Write(io::Error),
}

impl Flow {
    pub(crate) fn is_closed(&self) -> bool {
        self.state == State::Closed
    }

    /// Whether something was read or written since this was last asked.
    pub(crate) fn has_moved(&mut self) -> bool {
        std::mem::take(&mut self.has_moved)
    }

    /// Moves what can be moved; ready once the end of `from` has been passed on to `to`. Where this is the last direction
    /// that was open, a bare socket is not told: it is closed at once, and that tells the same.
    pub(crate) fn poll<R: End, W: End>(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut R,
        to: &mut W,
        buffers: &Buffers,
        last: bool,
    ) -> Poll<Result<(), Broken>> {
        let mut turns = TURN;
        loop {
            match self.state {
                State::Closed => return Poll::Ready(Ok(())),
                State::Closing if last && to.bare().is_some() => self.state = State::Closed,
                State::Closing => {
                    // A peer that is gone has no need to be told.
                    let _told = ready!(Pin::new(&mut *to).poll_shutdown(cx));
                    self.state = State::Closed;
                }
                State::Moving => {
                    ready!(self.poll_write(cx, to, buffers)).map_err(Broken::Write)?;
                    if turns == 0 {
                        // Others come first, and what the system has to tell: a waker alone would ask for neither.
                        return pin!(tokio::task::yield_now()).poll(cx).map(Ok);
                    }
                    turns -= 1;
                    match self.poll_read(cx, from, to, buffers) {
                        Poll::Ready(Ok(0)) => self.state = State::Closing,
                        Poll::Ready(Ok(_)) => self.has_moved = true,
                        Poll::Ready(Err(error)) => return Poll::Ready(Err(Broken::Read(error))),
                        Poll::Pending => {
                            let flushed = Pin::new(&mut *to).poll_flush(cx);
                            if let Poll::Ready(Err(error)) = flushed {
                                return Poll::Ready(Err(Broken::Write(error)));
                            }
                            return Poll::Pending;
                        }
                    }
                }
            }
        }
    }

    fn poll_read<R: End, W: End>(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut R,
        to: &W,
        buffers: &Buffers,
    ) -> Poll<io::Result<usize>> {
        let read = match (from.bare(), to.bare()) {
            (Some(from), Some(_)) if self.large >= BULK && !self.copies => {
                ready!(self.poll_fill(cx, from, buffers))
            }
            _ => None,
        };
        let read = match read {
            Some(read) => read?,
            None => ready!(self.poll_copy(cx, from, buffers))?,
        };
        self.large = if read < LARGE { 0 } else { self.large.saturating_add(1) };
        Poll::Ready(Ok(read))
    }

    /// Reads into a pipe; none where there is no pipe for it.
    fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        from: &Wire,
        buffers: &Buffers,
    ) -> Poll<Option<io::Result<usize>>> {
        let Some(mut pipe) = buffers.pipes.take() else { return Poll::Ready(None) };
        let polled = pipe.poll_fill(cx, from);
        if pipe.is_empty() {
            buffers.pipes.give(pipe);
        } else {
            self.hand = Some(Hand::Pipe(pipe));
        }
        match ready!(polled) {
            Err(error) if is_unsupported(&error) => {
                self.copies = true;
                Poll::Ready(None)
            }
            read => Poll::Ready(Some(read)),
        }
    }

    fn poll_copy<R: End>(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut R,
        buffers: &Buffers,
    ) -> Poll<io::Result<usize>> {
        let mut buffer = buffers.take();
        let mut read = ReadBuf::new(&mut buffer);
        let polled = Pin::new(from).poll_read(cx, &mut read);
        let bytes = read.filled().len();
        match polled {
            Poll::Ready(Ok(())) if bytes > 0 => {
                self.hand = Some(Hand::Buffer { buffer, from: 0, to: bytes });
                Poll::Ready(Ok(bytes))
            }
            other => {
                buffers.give(buffer);
                other.map_ok(|()| 0)
            }
        }
    }

    fn poll_write<W: End>(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut W,
        buffers: &Buffers,
    ) -> Poll<io::Result<()>> {
        while let Some(hand) = &mut self.hand {
            let written = ready!(hand.poll_write(cx, to))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.bytes += written as u64;
            self.has_moved = true;
            if hand.is_empty() {
                match self.hand.take() {
                    Some(Hand::Buffer { buffer, .. }) => buffers.give(buffer),
                    Some(Hand::Pipe(pipe)) => buffers.pipes.give(pipe),
                    None => {}
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl Hand {
    fn is_empty(&self) -> bool {
        match self {
            Self::Buffer { from, to, .. } => from == to,
            Self::Pipe(pipe) => pipe.is_empty(),
        }
    }

    fn poll_write<W: End>(&mut self, cx: &mut Context<'_>, to: &mut W) -> Poll<io::Result<usize>> {
        match self {
            Self::Buffer { buffer, from, to: end } => {
                let written = ready!(Pin::new(to).poll_write(cx, &buffer[*from..*end]))?;
                *from += written;
                Poll::Ready(Ok(written))
            }
            Self::Pipe(pipe) => match to.bare() {
                Some(wire) => pipe.poll_empty(cx, wire),
                // An end that was bare stays bare.
                None => Poll::Ready(Err(io::ErrorKind::Unsupported.into())),
            },
        }
    }
}
