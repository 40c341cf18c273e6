//! Moving bytes both ways between two ends of a tunnel.
//!
//! A direction holds a buffer only while it has bytes in hand; an idle tunnel holds none. Buffers are shared by the
//! tunnels of a thread.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::upstream::Pulse;

const BUFFER: usize = 64 * 1024;
const KEPT: usize = 16;

/// Buffers that are free to be used.
#[derive(Debug, Default)]
pub(crate) struct Buffers(Mutex<Vec<Box<[u8]>>>);

impl Buffers {
    fn take(&self) -> Box<[u8]> {
        self.0.lock().pop().unwrap_or_else(|| vec![0; BUFFER].into_boxed_slice())
    }

    fn give(&self, buffer: Box<[u8]>) {
        let mut free = self.0.lock();
        if free.len() < KEPT {
            free.push(buffer);
        }
    }
}

/// One direction of a tunnel.
#[derive(Debug, Default)]
pub(crate) struct Flow {
    /// Bytes that were moved.
    pub(crate) bytes: u64,
    hand: Option<Hand>,
    state: State,
}

#[derive(Debug)]
struct Hand {
    buffer: Box<[u8]>,
    from: usize,
    to: usize,
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

    /// Moves what can be moved; ready once the end of `from` has been passed on to `to`.
    pub(crate) fn poll<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut R,
        to: &mut W,
        buffers: &Buffers,
        pulse: &Pulse,
    ) -> Poll<Result<(), Broken>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        loop {
            match self.state {
                State::Closed => return Poll::Ready(Ok(())),
                State::Closing => {
                    // A peer that is gone has no need to be told.
                    let _told = ready!(Pin::new(&mut *to).poll_shutdown(cx));
                    self.state = State::Closed;
                }
                State::Moving => {
                    ready!(self.poll_write(cx, to, buffers, pulse)).map_err(Broken::Write)?;
                    match self.poll_read(cx, from, buffers) {
                        Poll::Ready(Ok(0)) => self.state = State::Closing,
                        Poll::Ready(Ok(_)) => pulse.beat(),
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

    fn poll_read<R: AsyncRead + Unpin>(
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
                self.hand = Some(Hand { buffer, from: 0, to: bytes });
                Poll::Ready(Ok(bytes))
            }
            other => {
                buffers.give(buffer);
                other.map_ok(|()| 0)
            }
        }
    }

    fn poll_write<W: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut W,
        buffers: &Buffers,
        pulse: &Pulse,
    ) -> Poll<io::Result<()>> {
        while let Some(hand) = &mut self.hand {
            let written = ready!(Pin::new(&mut *to).poll_write(cx, &hand.buffer[hand.from..hand.to]))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            hand.from += written;
            self.bytes += written as u64;
            pulse.beat();
            if hand.from == hand.to
                && let Some(hand) = self.hand.take()
            {
                buffers.give(hand.buffer);
            }
        }
        Poll::Ready(Ok(()))
    }
}
