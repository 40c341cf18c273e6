//! One HTTP/1.1 connection, owned by whoever uses it, and the proof of what was written on it.
//!
//! Nothing is written but when [`Connection::send`] is polled: it owns the connection, so dropping it ends all writing,
//! and only then is the wire's count judged. Nothing here is spawned before an answer is there.

use std::{
    future::poll_fn,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use http::{HeaderValue, Method, StatusCode, uri::PathAndQuery};
use tokio::time::Instant;

use super::{
    channel::Channel,
    error::Fault,
    habit::Life,
    http1::{AnswerHead, Framing, Head, take_head, write_head},
    link::Link,
    upload::{Pump, Stopped, Upload},
    wire::Wire,
};
use crate::model::{ErrKind, Fields, Phase};

/// An open connection with no request on it.
#[derive(Debug)]
pub(crate) struct Connection {
    channel: Box<Channel>,
    /// How long it had idled when it was taken out of the pool: its peer may be about to leave it.
    pub(super) idled: Option<Duration>,
    pub(super) born: Instant,
    /// How long it may idle, where its peer said so with its last answer.
    pub(super) idle_limit: Option<Duration>,
}

/// A request of which nothing was written: the head as it was made once, and the untouched body.
#[derive(Debug)]
pub(crate) struct Unsent {
    pub(crate) method: Method,
    pub(crate) path: PathAndQuery,
    pub(crate) host: HeaderValue,
    pub(crate) fields: Fields,
    pub(crate) upload: Option<Upload>,
    /// The body's first bytes came together with the head, and can be had at once.
    pub(crate) begins_at_hand: bool,
    /// Who is told of interim answers.
    pub(crate) interim: Option<Arc<dyn Interim>>,
}

#[cfg(test)]
impl Unsent {
    /// A request for nothing in particular.
    pub(crate) fn example(method: Method, upload: Option<Upload>) -> Self {
        let (path, host) = (PathAndQuery::from_static("/"), HeaderValue::from_static("origin.example"));
        Self { method, path, host, fields: Fields::default(), upload, begins_at_hand: false, interim: None }
    }
}

/// Takes the answers that come before the answer (1xx, but not 100 and 101).
pub(crate) trait Interim: std::fmt::Debug + Send + Sync {
    fn relay(&self, status: StatusCode, fields: &Fields);
}

/// How long sending and waiting may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// From the request's last byte to the head of the response.
    pub(crate) response: Duration,
    /// While nothing of the upload moves.
    pub(crate) idle: Duration,
}

/// The head of a response is there. What its body needs is kept with it.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) head: AnswerHead,
    pub(crate) connection: Remains,
}

/// A connection whose answer is under way.
#[derive(Debug)]
pub(crate) struct Remains {
    pub(super) channel: Box<Channel>,
    /// What of the request was not written yet.
    pub(super) pump: Pump,
    pub(super) framing: Framing,
    keeps: bool,
    idled: Option<Duration>,
    born: Instant,
    idle_limit: Option<Duration>,
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum SendFailure {
    /// Nothing of it was written. The request is whole, and here it is.
    Unsent { request: Box<Unsent>, fault: Fault },
    /// The upstream may have seen it; there is no request to hand back.
    Sent { fault: Fault },
}

impl Connection {
    pub(crate) fn over(link: Link) -> Self {
        let channel = Box::new(Channel::over(link));
        Self { channel, idled: None, born: Instant::now(), idle_limit: None }
    }

    pub(crate) fn wire(&self) -> &Arc<Wire> {
        self.channel.wire()
    }

    /// Its life so far, where it is to be used again.
    pub(crate) fn life(&self) -> Option<Life> {
        self.idled.map(|idled| Life { born: self.born, idled })
    }

    /// Whether it is known to have ended, or to have been spoken on. Asks no more than what the runtime has been told;
    /// also takes in session tickets and key updates, so that the look before the first write does not take them for an
    /// answer.
    pub(super) fn has_ended(&mut self) -> bool {
        !self.channel.is_quiet()
    }

    /// A look at an idle connection: false where the peer has closed it or spoken on it.
    pub(crate) fn is_alive(&mut self) -> bool {
        if self.wire().is_quiet() {
            return true;
        }
        if !self.channel.is_tls() {
            return false;
        }
        // Session tickets and key updates are no answer: let TLS take them, then look again.
        !self.has_ended() && self.wire().is_quiet()
    }

    /// Sends the request and waits for the head of its response. `phase` tells where it stands, also when it is dropped.
    pub(crate) async fn send(
        mut self,
        request: Box<Unsent>,
        patience: Patience,
        phase: &mut Phase,
    ) -> Result<Answered, SendFailure> {
        let wire = Arc::clone(self.wire());
        *phase = Phase::Send;
        wire.arm();
        if self.idled.is_some() {
            wire.be_wary();
        }
        if request.begins_at_hand && !self.channel.is_tls() {
            wire.more_follows();
        }
        let mut pump = Pump::new(request.upload.as_ref());
        write_head(&mut self.channel.out().lead, &request, pump.length());
        let mut interim_answers = 0;
        let mut clock = Clock::new(patience, request.upload.as_ref());

        let answered = poll_fn(|cx| {
            // An end that is there before anything was written is proof that nobody heard.
            if !self.channel.has_begun()
                && let Poll::Ready(ended) = self.poll_answer(cx, &request, &mut interim_answers, *phase)
            {
                return Poll::Ready(ended);
            }
            if let Poll::Ready(Err(stopped)) = pump.poll(cx, &mut self.channel) {
                return Poll::Ready(Err(stopped.into_fault(*phase)));
            }
            let uploading = request.upload.as_ref().is_some_and(|upload| !upload.is_over());
            if wire.accepted() > 0 && !uploading {
                *phase = Phase::ResponseHead;
            }
            if let Poll::Ready(answered) = self.poll_answer(cx, &request, &mut interim_answers, *phase) {
                return Poll::Ready(answered);
            }
            ready!(clock.poll(&mut self.channel, request.upload.as_ref(), cx));
            if let Some(upload) = request.upload.as_ref().filter(|upload| !upload.is_over()) {
                upload.stood_still();
            }
            Poll::Ready(Err(Fault::timeout(*phase, waited_for(*phase))))
        })
        .await;

        match answered {
            Ok(Head { answer: head, framing, keeps, idle_limit }) => {
                let Self { channel, idled, born, .. } = self;
                let connection = Remains { channel, pump, framing, keeps, idled, born, idle_limit };
                Ok(Answered { head, connection })
            }
            Err(fault) => {
                // First nobody can write any more, then it is judged.
                drop(self);
                Err(judge(request, &wire, fault))
            }
        }
    }

    /// Reads until the head of the answer is there. What comes before anything was written answers something else.
    fn poll_answer(
        &mut self,
        cx: &mut Context<'_>,
        request: &Unsent,
        interim_answers: &mut u32,
        phase: Phase,
    ) -> Poll<Result<Head, Fault>> {
        let garbled = |why: String| Fault::new(phase, ErrKind::ProtocolError, why);
        loop {
            let written = self.channel.has_begun();
            let Channel { read, looked, .. } = &mut *self.channel;
            let head =
                if written { take_head(read, looked, &request.method).map_err(garbled)? } else { None };
            if let Some(head) = head {
                if !head.is_interim() {
                    return Poll::Ready(Ok(head));
                }
                *interim_answers += 1;
                if *interim_answers > MAX_INTERIM {
                    return Poll::Ready(Err(garbled("interim answers without end".to_owned())));
                }
                let relay = request.interim.as_ref().filter(|_| head.answer.status != StatusCode::CONTINUE);
                if let Some(interim) = relay {
                    interim.relay(head.answer.status, &head.answer.fields);
                }
                continue;
            }
            let read = ready!(self.channel.poll_fill(cx, 0));
            let read = read.map_err(|error| Fault::io(phase, &error, ErrKind::ReadError))?;
            if read == 0 {
                let what = "the connection ended in the middle of its answer";
                return Poll::Ready(Err(Fault::new(phase, ErrKind::Eof, what)));
            }
            if !written {
                let what = "the upstream spoke before it was asked".to_owned();
                return Poll::Ready(Err(garbled(what)));
            }
        }
    }
}

/// The proof. By now the connection is dropped and nothing can be written any more.
fn judge(request: Box<Unsent>, wire: &Wire, fault: Fault) -> SendFailure {
    if wire.accepted() == 0 { SendFailure::Unsent { request, fault } } else { SendFailure::Sent { fault } }
}

/// The most interim answers before the one that counts.
pub(super) const MAX_INTERIM: u32 = 64;

fn waited_for(phase: Phase) -> &'static str {
    if phase == Phase::ResponseHead { "waiting for the response head" } else { "sending the request" }
}

impl Stopped {
    pub(super) fn into_fault(self, phase: Phase) -> Fault {
        match self {
            Self::Client => Fault::new(phase, ErrKind::Canceled, "the client broke off its request body"),
            Self::Wire(error) => Fault::io(phase, &error, ErrKind::WriteError),
        }
    }
}

impl Remains {
    /// Whether the last byte of the request was written.
    pub(super) fn is_uploaded(&self) -> bool {
        self.pump.is_at_its_end() && self.channel.is_written()
    }

    /// The idle connection, where it may carry another request.
    pub(super) fn into_idle(mut self) -> Option<Connection> {
        if !self.keeps || !self.is_uploaded() || !self.channel.rest() {
            return None;
        }
        let Self { channel, idled, born, idle_limit, .. } = self;
        Some(Connection { channel, idled, born, idle_limit })
    }

    /// The link and the bytes that were read behind the head: what a 101 leaves.
    pub(crate) fn into_upgraded(self) -> Option<(Link, bytes::Bytes)> {
        if !self.is_uploaded() {
            return None;
        }
        self.channel.wire().disarm();
        Some(self.channel.into_parts())
    }
}

/// Watches the upload while it lasts, then the wait for the response.
struct Clock {
    patience: Patience,
    deadline: Instant,
    /// What had been sent when the deadline was last set; none once the upload is over.
    uploaded: Option<u64>,
}

impl Clock {
    fn new(patience: Patience, upload: Option<&Upload>) -> Self {
        let first = if upload.is_some() { patience.idle } else { patience.response };
        Self { patience, deadline: Instant::now() + first, uploaded: upload.map(|_| 0) }
    }

    fn poll(&mut self, channel: &mut Channel, upload: Option<&Upload>, cx: &mut Context<'_>) -> Poll<()> {
        if self.uploaded.is_some() && upload.is_some_and(Upload::is_over) {
            self.uploaded = None;
            self.deadline = Instant::now() + self.patience.response;
        }
        loop {
            ready!(channel.poll_until(self.deadline, cx));
            let sent = upload.map_or(0, Upload::sent);
            match self.uploaded {
                Some(before) if before != sent => {
                    self.uploaded = Some(sent);
                    self.deadline = Instant::now() + self.patience.idle;
                }
                _ => return Poll::Ready(()),
            }
        }
    }
}

#[cfg(test)]
mod tests;
