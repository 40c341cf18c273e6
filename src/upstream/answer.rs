//! The body of an upstream's answer: it drives the connection that it comes over, and brings it home.
//!
//! While the upload is still running, a client that uploads before it reads would never poll this body and the upload
//! would stop for ever; then the connection gets a task of its own, which ends with the body.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::Version;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::task::AbortHandle;

use super::{
    connection::{Remains, may_be_kept},
    error::Fault,
    pool::{Key, Pool},
    upload::Upload,
};
use crate::model::Phase;

/// An answer's body as it streams.
pub(crate) struct AnswerBody {
    incoming: Incoming,
    way: Way,
    upload: Option<Upload>,
    /// Where the connection goes when it may be used again.
    home: Option<(Arc<Pool>, Key)>,
    ending: Ending,
}

/// What the body comes over.
enum Way {
    /// Driven as the body is polled.
    Owned(Box<Remains>),
    /// Driven by a task, which is aborted with the body.
    Task(AbortHandle),
    /// Nothing more comes, or it went home.
    Gone,
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
    pub(crate) fn new(
        incoming: Incoming,
        version: Version,
        connection: Remains,
        upload: Option<Upload>,
        pool: Arc<Pool>,
        key: Key,
    ) -> Self {
        let home = may_be_kept(version).then_some((pool, key));
        let mut body =
            Self { incoming, way: Way::Owned(Box::new(connection)), upload, home, ending: Ending::UnderWay };
        if body.incoming.is_end_stream() {
            body.whole();
        } else if body.upload.as_ref().is_some_and(|upload| !upload.is_over()) {
            body.leave_to_a_task();
        }
        body
    }

    pub(crate) fn ending(&self) -> Ending {
        self.ending
    }

    fn leave_to_a_task(&mut self) {
        if let Way::Owned(mut connection) = std::mem::replace(&mut self.way, Way::Gone) {
            let drive = async move {
                poll_fn(|cx| if connection.drive(cx) { Poll::Ready(()) } else { Poll::Pending }).await;
            };
            self.way = Way::Task(tokio::spawn(drive).abort_handle());
        }
    }

    /// The last byte is there: the connection goes home if everything else is over too.
    fn whole(&mut self) {
        self.ending = Ending::Whole;
        let upload_over = self.upload.as_ref().is_none_or(Upload::is_over);
        match std::mem::replace(&mut self.way, Way::Gone) {
            Way::Owned(connection) if upload_over => {
                if let (Some((pool, key)), Some(idle)) = (self.home.take(), connection.into_idle()) {
                    pool.park(key, idle);
                }
            }
            Way::Task(task) => task.abort(),
            Way::Owned(_) | Way::Gone => {}
        }
    }

    fn broken(&mut self) {
        self.ending = Ending::Broken;
        if let Way::Task(task) = std::mem::replace(&mut self.way, Way::Gone) {
            task.abort();
        }
    }

    fn poll_incoming(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        // First the body, so that the connection knows that more is wanted.
        if let Poll::Ready(frame) = Pin::new(&mut self.incoming).poll_frame(cx) {
            return Poll::Ready(frame);
        }
        match &mut self.way {
            Way::Owned(connection) => {
                connection.drive(cx);
                Pin::new(&mut self.incoming).poll_frame(cx)
            }
            Way::Task(_) | Way::Gone => Poll::Pending,
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
        match std::task::ready!(body.poll_incoming(cx)) {
            Some(Ok(frame)) => {
                // Nothing follows trailers, and hyper's server does not ask whether.
                if frame.is_trailers() || body.incoming.is_end_stream() {
                    body.whole();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(error)) => {
                body.broken();
                Poll::Ready(Some(Err(Fault::http(Phase::Body, &error))))
            }
            None => {
                body.whole();
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ending == Ending::Whole
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

impl Drop for AnswerBody {
    /// hyper's server never polls past the end that it knows of.
    fn drop(&mut self) {
        if self.ending == Ending::UnderWay && self.incoming.is_end_stream() {
            self.whole();
        } else if self.ending == Ending::UnderWay {
            self.broken();
        }
    }
}
