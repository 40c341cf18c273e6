//! The body of an upstream's answer: it reads the connection that it comes over, and brings it home.
//!
//! While the upload is still running, a client that uploads before it reads would never poll this body and the upload
//! would stop for ever; then the upload gets a task of its own, which ends with the body.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use parking_lot::Mutex;
use tokio::task::AbortHandle;

use super::{
    connection::Remains,
    error::Fault,
    http1::Next,
    pool::{Key, Pool},
};
use crate::model::{ErrKind, Phase};

/// An answer's body as it streams.
pub(crate) struct AnswerBody {
    way: Way,
    /// Where the connection goes when it may be used again.
    home: Option<(Arc<Pool>, Key)>,
    size: SizeHint,
    ending: Ending,
}

/// What the body comes over.
enum Way {
    Owned(Remains),
    /// The upload goes on in a task, which is aborted with the body.
    Shared(Arc<Mutex<Shared>>, AbortHandle),
    /// Nothing more comes, or it went home.
    Gone,
}

/// A connection whose two directions are polled by different tasks of one thread.
struct Shared {
    remains: Remains,
    /// What stopped the upload.
    stopped: Option<Fault>,
    reader: Option<Waker>,
}

/// How the body ended, as far as the upstream goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    UnderWay,
    Whole,
    Broken,
}

impl AnswerBody {
    /// Takes over the connection. It goes back to `pool` when the answer is whole and it may carry another request.
    pub(crate) fn new(connection: Remains, pool: Arc<Pool>, key: Key) -> Self {
        let size = connection.framing.size_hint();
        let (over, uploading) = (connection.framing.is_over(), !connection.is_uploaded());
        let way = Way::Owned(connection);
        let mut body = Self { way, home: Some((pool, key)), size, ending: Ending::UnderWay };
        if over {
            body.whole();
        } else if uploading {
            body.leave_the_upload_to_a_task();
        }
        body
    }

    pub(crate) fn ending(&self) -> Ending {
        self.ending
    }

    fn leave_the_upload_to_a_task(&mut self) {
        if let Way::Owned(remains) = std::mem::replace(&mut self.way, Way::Gone) {
            let shared = Arc::new(Mutex::new(Shared { remains, stopped: None, reader: None }));
            let of_task = Arc::clone(&shared);
            let upload = async move { poll_fn(|cx| of_task.lock().poll_upload(cx)).await };
            self.way = Way::Shared(shared, tokio::spawn(upload).abort_handle());
        }
    }

    /// The last byte is there: the connection goes home if everything else is over too.
    fn whole(&mut self) {
        self.ending = Ending::Whole;
        match std::mem::replace(&mut self.way, Way::Gone) {
            Way::Owned(connection) => {
                if let (Some((pool, key)), Some(idle)) = (self.home.take(), connection.into_idle()) {
                    pool.park(key, idle);
                }
            }
            Way::Shared(_, task) => task.abort(),
            Way::Gone => {}
        }
    }

    fn broken(&mut self) {
        self.ending = Ending::Broken;
        if let Way::Shared(_, task) = std::mem::replace(&mut self.way, Way::Gone) {
            task.abort();
        }
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Next, Fault>> {
        match &mut self.way {
            Way::Owned(remains) => remains.poll_body(cx),
            Way::Shared(shared, _) => {
                let shared = &mut *shared.lock();
                // Whoever is polled last is the one that is woken, for either direction: so both move the upload.
                let _moved = shared.poll_upload(cx);
                if let Some(fault) = shared.stopped.take() {
                    return Poll::Ready(Err(fault));
                }
                let polled = shared.remains.poll_body(cx);
                shared.reader = polled.is_pending().then(|| cx.waker().clone());
                polled
            }
            Way::Gone => Poll::Ready(Ok(Next::End)),
        }
    }
}

impl Shared {
    fn poll_upload(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let remains = &mut self.remains;
        if let Err(stopped) = ready!(remains.pump.poll(cx, &mut remains.channel)) {
            self.stopped = Some(stopped.into_fault(Phase::Body));
        }
        // Nobody reads from the client any more: whoever waits for the answer is to see it go.
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
        Poll::Ready(())
    }
}

impl Remains {
    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<Next, Fault>> {
        self.channel.gather(cx, self.framing.size_hint().exact().unwrap_or(0));
        loop {
            let next = self.framing.next(&mut self.channel.read);
            match next.map_err(|why| Fault::new(Phase::Body, ErrKind::ProtocolError, why))? {
                Next::More => {}
                next => return Poll::Ready(Ok(next)),
            }
            let announced = self.framing.size_hint().lower();
            let read = ready!(self.channel.poll_fill(cx, announced));
            if read.map_err(|error| Fault::io(Phase::Body, &error, ErrKind::ReadError))? == 0 {
                return Poll::Ready(self.framing.at_the_end());
            }
        }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = Fault;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        let body = self.get_mut();
        if body.ending != Ending::UnderWay {
            return Poll::Ready(None);
        }
        match ready!(body.poll_next(cx)) {
            Ok(Next::Data(data)) => {
                if let Some(left) = body.size.exact() {
                    let left = left.saturating_sub(data.len() as u64);
                    body.size = SizeHint::with_exact(left);
                    // hyper's server does not ask for what comes behind a promised length.
                    if left == 0 {
                        body.whole();
                    }
                }
                Poll::Ready(Some(Ok(Frame::data(data))))
            }
            Ok(Next::Trailers(trailers)) => {
                body.whole();
                Poll::Ready(Some(Ok(Frame::trailers(trailers))))
            }
            Ok(Next::End | Next::More) => {
                body.whole();
                Poll::Ready(None)
            }
            Err(fault) => {
                body.broken();
                Poll::Ready(Some(Err(fault)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ending == Ending::Whole
    }

    fn size_hint(&self) -> SizeHint {
        self.size
    }
}

impl Drop for AnswerBody {
    fn drop(&mut self) {
        if self.ending == Ending::UnderWay {
            self.broken();
        }
    }
}
