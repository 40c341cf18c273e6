//! The request body on its way up: it stays in its slot until bytes of its request are on the wire.
//!
//! hyper polls a body before the head is flushed, and what it polled but did not write is lost. So hyper is given a
//! [`Shell`] that is pending while the wire's count is zero: an unwritten request has an untouched body, by
//! construction. Nothing of a body is ever kept.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use parking_lot::Mutex;

use super::wire::Wire;

/// A request's body in its slot. The attempt and hyper's shell share it; there is one body.
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

#[derive(Debug)]
pub(crate) enum Source {
    /// The client's body, and what cleans its trailers.
    Client(Incoming, fn(&mut HeaderMap)),
    #[cfg(test)]
    Script(std::collections::VecDeque<Bytes>),
}

impl Upload {
    /// Nothing where the request has no body. `clean` takes out of its trailers what may not pass.
    pub(crate) fn new(body: Incoming, clean: fn(&mut HeaderMap)) -> Option<Self> {
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

    /// The length, where the client said it.
    pub(crate) fn exact_length(&self) -> Option<u64> {
        self.0.body.lock().size_hint().exact()
    }
}

/// What hyper is given as the body.
#[derive(Debug)]
pub(crate) struct Shell(Option<(Upload, Arc<Wire>)>);

/// The client broke off its body.
#[derive(Debug, thiserror::Error)]
#[error("the client broke off its request body")]
pub(crate) struct ClientBrokeOff;

impl Shell {
    pub(crate) fn new(upload: Option<&Upload>, wire: &Arc<Wire>) -> Self {
        Self(upload.map(|upload| (upload.clone(), Arc::clone(wire))))
    }
}

impl Body for Shell {
    type Data = Bytes;
    type Error = ClientBrokeOff;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ClientBrokeOff>>> {
        let Some((Upload(slot), wire)) = &self.0 else { return Poll::Ready(None) };
        if wire.accepted() == 0 {
            // hyper polls again after it has flushed.
            return Poll::Pending;
        }
        let mut body = slot.body.lock();
        let polled = body.poll_frame(cx);
        slot.client_awaited.store(polled.is_pending(), Ordering::Relaxed);
        match std::task::ready!(polled) {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    slot.sent.fetch_add(data.len() as u64, Ordering::Relaxed);
                }
                // hyper asks no further behind trailers, nor where the promised length is reached.
                if frame.is_trailers() || body.is_end_stream() || body.size_hint().exact() == Some(0) {
                    slot.over.store(true, Ordering::Relaxed);
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(())) => {
                slot.client_failed.store(true, Ordering::Relaxed);
                Poll::Ready(Some(Err(ClientBrokeOff)))
            }
            None => {
                slot.over.store(true, Ordering::Relaxed);
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(|(Upload(slot), _)| slot.body.lock().is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            None => SizeHint::with_exact(0),
            Some((Upload(slot), _)) => slot.body.lock().size_hint(),
        }
    }
}

impl Source {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ()>>> {
        match self {
            Self::Client(body, clean) => Pin::new(body).poll_frame(cx).map_err(|_| ()).map_ok(|mut frame| {
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
