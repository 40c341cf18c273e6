//! The body that goes to the client: nothing, a sentence of ours, or the upstream's answer with its record in tow.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;

use super::{
    client::{Busy, Client},
    headers::{self, Onward},
    recording::{Outcome, Recording},
};
use crate::{
    model::{ErrKind, Phase, Stage},
    upstream::{AnswerBody, Ending, Fault, Pulse, Upload},
};

/// What is sent to the client.
pub(crate) struct ProxyBody {
    kind: Kind,
    /// The request is under way until the last of its answer was taken.
    _busy: Option<Busy>,
}

enum Kind {
    Text(Full<Bytes>),
    Answer(Box<Streaming>),
}

/// An upstream's answer on its way.
pub(crate) struct Streaming {
    body: AnswerBody,
    recording: Box<Recording>,
    stage: Stage,
    /// Made when the body first has to wait: most are over before.
    pulse: Option<Arc<Pulse>>,
    client: Arc<Client>,
    /// The client only sees the end of this answer by the end of its connection.
    ends_with_connection: bool,
    /// The last poll found nothing: it is the upstream that is waited for.
    waiting: bool,
    /// What broke the answer off. Told one poll later, so that what came before is flushed to the client.
    broken: Option<Fault>,
}

impl ProxyBody {
    pub(crate) fn text(text: String) -> Self {
        Kind::Text(Full::new(Bytes::from(text))).into()
    }

    pub(crate) fn empty() -> Self {
        Kind::Text(Full::new(Bytes::new())).into()
    }

    /// The answer of this request.
    pub(crate) fn of(self, busy: Busy) -> Self {
        Self { _busy: Some(busy), ..self }
    }

    /// Whether nothing of the upstream's is to come: what its request's body still has is wanted by nobody.
    pub(crate) fn is_own(&self) -> bool {
        matches!(self.kind, Kind::Text(_))
    }

    /// All of it was taken, and not all was written.
    pub(crate) fn cut(&mut self) {
        if let Kind::Answer(streaming) = &mut self.kind {
            streaming.fail(client_left(), true);
        }
    }

    /// The upstream's answer. Its record is written when it is over, or dropped.
    pub(crate) fn answer(
        body: AnswerBody,
        recording: Box<Recording>,
        stage: Stage,
        client: Arc<Client>,
        old: bool,
    ) -> Self {
        if body.ending() == Ending::Whole {
            return Self::finished(recording);
        }
        let ends_with_connection = old && body.size_hint().exact().is_none();
        Kind::Answer(Box::new(Streaming {
            body,
            recording,
            stage,
            pulse: None,
            client,
            ends_with_connection,
            waiting: false,
            broken: None,
        }))
        .into()
    }

    fn finished(mut recording: Box<Recording>) -> Self {
        recording.ended(Outcome::Whole);
        Self::empty()
    }
}

impl From<Kind> for ProxyBody {
    fn from(kind: Kind) -> Self {
        Self { kind, _busy: None }
    }
}

impl Streaming {
    fn fail(&mut self, fault: Fault, net_ok: bool) {
        if self.ends_with_connection {
            self.client.reset_on_close();
        }
        self.recording.ended(Outcome::Ended { failure: fault.at(self.stage), net_ok });
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        if let Some(fault) = self.broken.take() {
            return Poll::Ready(Some(Err(fault)));
        }
        if let Some(fault) = self.expired() {
            self.fail(fault.clone(), !self.waiting);
            return Poll::Ready(Some(Err(fault)));
        }
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        self.waiting = polled.is_pending();
        match polled {
            Poll::Ready(Some(Ok(mut frame))) => {
                if let Some(trailers) = frame.trailers_mut() {
                    headers::clean_trailers(trailers, Onward::Response);
                }
                if let Some(data) = frame.data_ref() {
                    self.recording.ingress(data.len() as u64);
                }
                if self.body.ending() == Ending::Whole {
                    self.recording.ended(Outcome::Whole);
                } else {
                    let pulse = self.pulse();
                    pulse.awaits_upstream(false);
                    pulse.beat();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(fault))) => {
                let by_client = self.recording.upload.as_ref().is_some_and(Upload::client_failed);
                let fault = if by_client { client_left() } else { fault };
                self.fail(fault.clone(), by_client);
                self.broken = Some(fault);
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Poll::Ready(None) => {
                self.recording.ended(Outcome::Whole);
                Poll::Ready(None)
            }
            Poll::Pending => {
                let pulse = self.pulse();
                pulse.awaits_upstream(true);
                pulse.waker.register(cx.waker());
                Poll::Pending
            }
        }
    }

    fn pulse(&mut self) -> &Pulse {
        let (recording, client) = (&self.recording, &self.client);
        self.pulse.get_or_insert_with(|| recording.watch(Some(Arc::clone(&client.hang_up))))
    }

    fn expired(&self) -> Option<Fault> {
        let expired = self.pulse.as_ref().is_some_and(|pulse| pulse.is_expired());
        expired.then(|| Fault::timeout(Phase::Body, "nothing of the body moved"))
    }
}

impl Body for ProxyBody {
    type Data = Bytes;
    type Error = Fault;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        match &mut self.get_mut().kind {
            Kind::Text(full) => Pin::new(full).poll_frame(cx).map_err(|never| match never {}),
            Kind::Answer(streaming) => streaming.poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Text(full) => full.is_end_stream(),
            Kind::Answer(streaming) => streaming.body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Text(full) => full.size_hint(),
            Kind::Answer(streaming) => streaming.body.size_hint(),
        }
    }
}

fn client_left() -> Fault {
    Fault::new(Phase::Body, ErrKind::Canceled, "the client went away")
}

impl Drop for Streaming {
    /// Dropped in the middle: the client left, or did not read for too long.
    fn drop(&mut self) {
        if self.recording.is_over() {
            return;
        }
        let fault = match self.expired() {
            Some(fault) if self.waiting => {
                self.fail(fault, false);
                return;
            }
            _ => client_left(),
        };
        self.fail(fault, true);
    }
}
