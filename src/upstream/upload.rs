//! The request body on its way up: it stays in its slot until the head of its request is on the wire.
//!
//! What was polled cannot be put back, so [`Pump`] asks for a body's first frame only when everything before it was
//! written: an unwritten request has an untouched body, by construction. Nothing of a body is ever kept.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;
use parking_lot::Mutex;

use super::channel::Channel;

/// A request's body in its slot. The attempt, the answer and the record share it; there is one body.
#[derive(Debug, Clone)]
pub(crate) struct Upload(Arc<Slot>);

#[derive(Debug)]
struct Slot {
    body: Mutex<Source>,
    sent: AtomicU64,
    over: AtomicBool,
    client_failed: AtomicBool,
    /// The last time that somebody asked for more, there was none.
    client_awaited: AtomicBool,
    client_stalled: AtomicBool,
}

/// A request's body as its client sends it. It fails where the client breaks it off, and that is all there is to know.
pub(crate) type ClientBody = UnsyncBoxBody<Bytes, BrokenOff>;

/// The client's body ended before its end.
#[derive(Debug)]
pub(crate) struct BrokenOff;

#[derive(Debug)]
pub(crate) enum Source {
    /// The client's body, and what cleans its trailers.
    Client(ClientBody, fn(&mut HeaderMap)),
    #[cfg(test)]
    Script(std::collections::VecDeque<Bytes>),
}

impl Upload {
    /// Nothing where the request has no body. `clean` takes out of its trailers what may not pass.
    pub(crate) fn new(body: ClientBody, clean: fn(&mut HeaderMap)) -> Option<Self> {
        (!body.is_end_stream()).then(|| Self::over(Source::Client(body, clean)))
    }

    pub(crate) fn over(source: Source) -> Self {
        Self(Arc::new(Slot {
            body: Mutex::new(source),
            sent: AtomicU64::new(0),
            over: AtomicBool::new(false),
            client_failed: AtomicBool::new(false),
            client_awaited: AtomicBool::new(false),
            client_stalled: AtomicBool::new(false),
        }))
    }

    /// Payload bytes that were taken from the client.
    pub(crate) fn sent(&self) -> u64 {
        self.0.sent.load(Ordering::Relaxed)
    }

    /// Whether the whole body was taken from the client.
    pub(crate) fn is_over(&self) -> bool {
        self.0.over.load(Ordering::Relaxed)
    }

    /// Whether the client broke off its own body.
    pub(crate) fn client_failed(&self) -> bool {
        self.0.client_failed.load(Ordering::Relaxed)
    }

    /// Nothing moved for too long: if it was the client that was waited for, it is the client's doing.
    pub(super) fn stood_still(&self) {
        if self.0.client_awaited.load(Ordering::Relaxed) {
            self.0.client_stalled.store(true, Ordering::Relaxed);
        }
    }

    /// Whether the client stopped sending its body.
    pub(crate) fn client_stalled(&self) -> bool {
        self.0.client_stalled.load(Ordering::Relaxed)
    }

    /// Frames that nobody has taken yet.
    #[cfg(test)]
    pub(crate) fn frames_left(&self) -> usize {
        match &*self.0.body.lock() {
            Source::Client(..) => 0,
            Source::Script(frames) => frames.len(),
        }
    }

    fn poll_frame(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        let Self(slot) = self;
        let mut body = slot.body.lock();
        let polled = body.poll_frame(cx);
        slot.client_awaited.store(polled.is_pending(), Ordering::Relaxed);
        let frame = ready!(polled);
        match &frame {
            Some(Ok(frame)) => {
                let bytes = frame.data_ref().map_or(0, Bytes::len);
                slot.sent.fetch_add(bytes as u64, Ordering::Relaxed);
                if frame.is_trailers() || body.is_end_stream() || body.size_hint().exact() == Some(0) {
                    slot.over.store(true, Ordering::Relaxed);
                }
            }
            Some(Err(BrokenOff)) => slot.client_failed.store(true, Ordering::Relaxed),
            None => slot.over.store(true, Ordering::Relaxed),
        }
        Poll::Ready(frame)
    }

    /// The length, where the client said it.
    pub(crate) fn exact_length(&self) -> Option<u64> {
        self.0.body.lock().size_hint().exact()
    }
}

/// Writes a request's head, then its body as it comes.
#[derive(Debug)]
pub(super) struct Pump {
    upload: Option<Upload>,
    /// Payload that is still to come, where that is known; otherwise it goes in chunks.
    left: Option<u64>,
    /// The last of it waits to be written, or was.
    over: bool,
}

/// Why an upload cannot go on.
#[derive(Debug)]
pub(super) enum Stopped {
    /// The client broke off its body, or sent more than it had said.
    Client,
    Wire(io::Error),
}

impl Pump {
    pub(super) fn new(upload: Option<&Upload>) -> Self {
        let left = upload.map_or(Some(0), Upload::exact_length);
        Self { upload: upload.cloned(), left, over: upload.is_none() }
    }

    /// How long the body will be, where that is known.
    pub(super) fn length(&self) -> Option<u64> {
        self.left
    }

    /// Whether the last of it was written, or waits in the channel.
    pub(super) fn is_at_its_end(&self) -> bool {
        self.over
    }

    /// Moves what can be moved; ready when all is written.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, channel: &mut Channel) -> Poll<Result<(), Stopped>> {
        loop {
            // First what waits, then the next frame: nothing is taken from the client that could not go out.
            ready!(channel.poll_out(cx)).map_err(Stopped::Wire)?;
            let Some(upload) = self.upload.as_ref().filter(|_| !self.over) else {
                return Poll::Ready(Ok(()));
            };
            match ready!(upload.poll_frame(cx)) {
                Some(Ok(frame)) => self.queue(frame, channel)?,
                Some(Err(BrokenOff)) => return Poll::Ready(Err(Stopped::Client)),
                None => self.end(None, channel)?,
            }
        }
    }

    fn queue(&mut self, frame: Frame<Bytes>, channel: &mut Channel) -> Result<(), Stopped> {
        let out = channel.out();
        match frame.into_data() {
            Ok(data) if data.is_empty() => {}
            Ok(data) => {
                if let Some(left) = &mut self.left {
                    *left = left.checked_sub(data.len() as u64).ok_or(Stopped::Client)?;
                    self.over = *left == 0;
                } else {
                    out.chunk_size(data.len());
                    out.tail = b"\r\n";
                }
                out.data = data;
            }
            Err(frame) => {
                if let Ok(trailers) = frame.into_trailers() {
                    self.end(Some(&trailers), channel)?;
                }
            }
        }
        Ok(())
    }

    fn end(&mut self, trailers: Option<&HeaderMap>, channel: &mut Channel) -> Result<(), Stopped> {
        self.over = true;
        if let Some(left) = self.left {
            return if left == 0 { Ok(()) } else { Err(Stopped::Client) };
        }
        channel.out().last_chunk(trailers);
        Ok(())
    }
}

impl Source {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        match self {
            Self::Client(body, clean) => Pin::new(body).poll_frame(cx).map_ok(|mut frame| {
                if let Some(trailers) = frame.trailers_mut() {
                    clean(trailers);
                }
                frame
            }),
            #[cfg(test)]
            Self::Script(frames) => Poll::Ready(frames.pop_front().map(|data| Ok(Frame::data(data)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Client(body, _) => body.is_end_stream(),
            #[cfg(test)]
            Self::Script(frames) => frames.is_empty(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Client(body, _) => body.size_hint(),
            #[cfg(test)]
            Self::Script(_) => SizeHint::default(),
        }
    }
}
