//! One HTTP/1.1 connection, owned by whoever uses it, and the proof of what was written on it.
//!
//! hyper may write a request after it reported its failure, as long as its connection runs in a task of its own. Here
//! it does not: [`Connection::send`] owns both of hyper's halves and polls them itself, so dropping them ends all
//! writing, and only then is the wire's count judged. Nothing here is spawned before an answer is there.

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use futures_util::FutureExt;
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri, Version};
use hyper::{
    body::Incoming,
    client::conn::http1::{self, SendRequest},
};
use hyper_util::rt::TokioIo;
use tokio::{
    task::coop::unconstrained,
    time::{Instant, Sleep, sleep},
};

use super::{
    error::Fault,
    framing::ambiguous,
    habit::Life,
    link::Link,
    pool::announced_limit,
    upload::{Shell, Upload},
    wire::Wire,
};
use crate::model::{ErrKind, Phase};

type Driver = http1::Connection<TokioIo<Link>, Shell>;

/// An open connection with no request on it.
#[derive(Debug)]
pub(crate) struct Connection {
    sender: SendRequest<Shell>,
    driver: Driver,
    wire: Arc<Wire>,
    tls: bool,
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
    /// In origin-form.
    pub(crate) uri: Uri,
    pub(crate) headers: HeaderMap,
    pub(crate) upload: Option<Upload>,
    /// Who is told of interim answers.
    pub(crate) interim: Option<Arc<dyn Interim>>,
}

/// Takes the answers that come before the answer (1xx, but not 100 and 101).
pub(crate) trait Interim: std::fmt::Debug + Send + Sync {
    fn relay(&self, status: StatusCode, fields: &HeaderMap);
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
    pub(crate) response: Response<Incoming>,
    pub(crate) connection: Remains,
    pub(crate) upload: Option<Upload>,
}

/// A connection whose answer is under way.
#[derive(Debug)]
pub(crate) struct Remains {
    pub(super) sender: SendRequest<Shell>,
    /// None once it has ended.
    pub(super) driver: Option<Driver>,
    /// It has said so: it must not be polled again.
    ended: bool,
    wire: Arc<Wire>,
    tls: bool,
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

/// What ended the wait for an answer.
enum End {
    Answer(Response<Incoming>),
    Failed(http1_error::TrySend),
    DriverEnded,
    TimedOut,
    /// One interim answer after the other, and no end of them.
    Endless,
}

mod http1_error {
    //! The one error of hyper's that may carry the request back.
    pub(super) type TrySend = hyper::client::conn::TrySendError<http::Request<super::Shell>>;
}

impl Connection {
    pub(crate) fn over(link: Link) -> Result<Self, Fault> {
        let wire = Arc::clone(link.wire());
        let tls = link.is_tls();
        let mut builder = http1::Builder::new();
        builder.max_buf_size(MAX_BUFFER).max_header_size(MAX_HEAD);
        // HTTP/1 has none: this only makes the two halves.
        let (sender, driver) = match builder.handshake(TokioIo::new(link)).now_or_never() {
            Some(Ok(halves)) => halves,
            Some(Err(error)) => return Err(Fault::http(Phase::Send, &error)),
            None => return Err(Fault::new(Phase::Send, ErrKind::ProtocolError, "HTTP is not ready")),
        };
        Ok(Self { sender, driver, wire, tls, idled: None, born: Instant::now(), idle_limit: None })
    }

    pub(crate) fn wire(&self) -> &Arc<Wire> {
        &self.wire
    }

    /// Its life so far, where it is to be used again.
    pub(crate) fn life(&self) -> Option<Life> {
        self.idled.map(|idled| Life { born: self.born, idled })
    }

    /// Whether it is known to have ended. Asks no more than what the runtime has been told; also takes in session tickets
    /// and key updates, so that the look before the first write does not take them for an answer.
    pub(super) fn has_ended(&mut self) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        self.driver.poll_without_shutdown(&mut context).is_ready()
    }

    /// A look at an idle connection: false where the peer has closed it or spoken on it.
    pub(crate) fn is_alive(&mut self) -> bool {
        if self.wire.is_quiet() {
            return true;
        }
        if !self.tls {
            return false;
        }
        // Session tickets and key updates are no answer: let TLS take them, then look again.
        !self.has_ended() && self.wire.is_quiet()
    }

    /// The link alone, for [`Connection::over`] later; none where something was read that nobody asked for.
    pub(super) fn put_away(self) -> Option<Link> {
        let parts = self.driver.into_parts();
        parts.read_buf.is_empty().then(|| parts.io.into_inner())
    }

    /// Sends the request and waits for the head of its response. `phase` tells where it stands, also when it is dropped.
    pub(crate) async fn send(
        self,
        request: Unsent,
        patience: Patience,
        phase: &mut Phase,
    ) -> Result<Answered, SendFailure> {
        let Self { mut sender, driver, wire, tls, idled, born, .. } = self;
        let shell = Shell::new(request.upload.as_ref(), &wire);
        *phase = Phase::Send;
        wire.arm();
        if idled.is_some() {
            wire.be_wary();
        }
        let mut driver = Some(driver);
        let mut ended = false;
        // Without this a task that has used up its budget would be told "pending" by an answer that is there.
        let mut answer = pin!(unconstrained(sender.try_send_request(request.to_http(shell, &wire))));
        let mut clock = Clock::new(patience, request.upload.as_ref());
        let mut timer = pin!(sleep(clock.first()));

        let end = poll_fn(|cx| {
            ended = driver.as_mut().is_some_and(|driver| driver.poll_without_shutdown(cx).is_ready());
            match answer.as_mut().poll(cx) {
                Poll::Ready(Err(error)) => return Poll::Ready(End::Failed(error)),
                _ if wire.interim_answers() > MAX_INTERIM => return Poll::Ready(End::Endless),
                Poll::Ready(Ok(response)) => return Poll::Ready(End::Answer(response)),
                Poll::Pending if ended => return Poll::Ready(End::DriverEnded),
                Poll::Pending => {}
            }
            let uploading = request.upload.as_ref().is_some_and(|upload| !upload.is_over());
            if wire.accepted() > 0 && !uploading {
                *phase = Phase::ResponseHead;
            }
            clock.poll(timer.as_mut(), request.upload.as_ref(), cx).map(|()| End::TimedOut)
        })
        .await;

        let failed = match end {
            End::Answer(response) => {
                if let Some(said_twice) = ambiguous(&response) {
                    let fault = Fault::new(Phase::ResponseHead, ErrKind::ProtocolError, said_twice);
                    return Err(SendFailure::Sent { fault });
                }
                let Unsent { upload, .. } = request;
                let idle_limit = announced_limit(response.headers());
                let connection = Remains { sender, driver, ended, wire, tls, idled, born, idle_limit };
                return Ok(Answered { response, connection, upload });
            }
            End::Endless => {
                let fault = Fault::new(*phase, ErrKind::ProtocolError, "interim answers without end");
                return Err(SendFailure::Sent { fault });
            }
            End::Failed(error) => Some(error),
            // hyper's half is dropped first: what is left resolves at once, and nobody can write any more.
            End::DriverEnded => {
                drop(driver.take());
                answer.as_mut().await.err()
            }
            End::TimedOut => {
                if let Some(upload) = request.upload.as_ref().filter(|upload| !upload.is_over()) {
                    upload.stood_still();
                }
                drop(driver.take());
                let handed_back = answer.as_mut().await.err().and_then(|mut error| error.take_message());
                let fault = Fault::timeout(*phase, waited_for(*phase));
                return Err(judge(request, &wire, handed_back.is_some(), fault));
            }
        };
        drop(driver.take());
        let (handed_back, fault) = match failed {
            Some(mut error) => {
                let handed_back = error.take_message().is_some();
                (handed_back, Fault::http(*phase, error.error()))
            }
            None => {
                (false, Fault::new(*phase, ErrKind::Eof, "the connection ended in the middle of its answer"))
            }
        };
        Err(judge(request, &wire, handed_back, fault))
    }
}

/// The proof. By now the connection is dropped and nothing can be written any more.
fn judge(request: Unsent, wire: &Wire, handed_back: bool, fault: Fault) -> SendFailure {
    if handed_back || wire.accepted() == 0 {
        SendFailure::Unsent { request: Box::new(request), fault }
    } else {
        SendFailure::Sent { fault }
    }
}

const MAX_BUFFER: usize = 256 * 1024;
/// The largest head that an answer may have.
const MAX_HEAD: usize = 64 * 1024;
/// The most interim answers before the one that counts.
pub(super) const MAX_INTERIM: u32 = 64;

fn waited_for(phase: Phase) -> &'static str {
    if phase == Phase::ResponseHead { "waiting for the response head" } else { "sending the request" }
}

impl Unsent {
    /// The request as it goes to hyper this time. The original stays here.
    fn to_http(&self, shell: Shell, wire: &Arc<Wire>) -> Request<Shell> {
        let mut request = Request::new(shell);
        let (wire, interim) = (Arc::clone(wire), self.interim.clone());
        hyper::ext::on_informational(&mut request, move |answer| {
            wire.answered_interim();
            if let Some(interim) = interim.as_ref().filter(|_| answer.status() != StatusCode::CONTINUE) {
                interim.relay(answer.status(), answer.headers());
            }
        });
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        request
    }
}

impl Remains {
    /// The idle connection, where it may carry another request.
    pub(super) fn into_idle(mut self) -> Option<Connection> {
        let mut driver = self.driver.take().filter(|_| !self.ended)?;
        // One poll under no one's waker: it brings hyper to rest and leaves no last owner to be woken.
        let mut context = Context::from_waker(Waker::noop());
        if driver.poll_without_shutdown(&mut context).is_ready() || !self.sender.is_ready() {
            return None;
        }
        Some(Connection {
            sender: self.sender,
            driver,
            wire: self.wire,
            tls: self.tls,
            idled: self.idled,
            born: self.born,
            idle_limit: self.idle_limit,
        })
    }

    /// The link and the bytes that were read behind the head: what a 101 leaves.
    pub(crate) fn into_upgraded(self) -> Option<(Link, bytes::Bytes)> {
        let mut driver = self.driver?;
        let mut context = Context::from_waker(Waker::noop());
        if !self.ended && driver.poll_without_shutdown(&mut context).is_pending() {
            return None;
        }
        let parts = driver.into_parts();
        drop(self.sender);
        self.wire.disarm();
        drop(self.wire);
        Some((parts.io.into_inner(), parts.read_buf))
    }
}

/// Watches the upload while it lasts, then the wait for the response.
struct Clock {
    patience: Patience,
    /// What had been sent when the timer was last set; none once the upload is over.
    uploaded: Option<u64>,
}

impl Clock {
    fn new(patience: Patience, upload: Option<&Upload>) -> Self {
        Self { patience, uploaded: upload.map(|_| 0) }
    }

    fn first(&self) -> Duration {
        if self.uploaded.is_some() { self.patience.idle } else { self.patience.response }
    }

    fn poll(
        &mut self,
        mut timer: Pin<&mut Sleep>,
        upload: Option<&Upload>,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        if self.uploaded.is_some() && upload.is_some_and(Upload::is_over) {
            self.uploaded = None;
            timer.as_mut().reset(Instant::now() + self.patience.response);
        }
        loop {
            std::task::ready!(timer.as_mut().poll(cx));
            let sent = upload.map_or(0, Upload::sent);
            match self.uploaded {
                Some(before) if before != sent => {
                    self.uploaded = Some(sent);
                    timer.as_mut().reset(Instant::now() + self.patience.idle);
                }
                _ => return Poll::Ready(()),
            }
        }
    }
}

impl Remains {
    /// Lets the connection go on; true once it has ended.
    pub(super) fn drive(&mut self, cx: &mut Context<'_>) -> bool {
        if !self.ended {
            self.ended =
                self.driver.as_mut().is_none_or(|driver| driver.poll_without_shutdown(cx).is_ready());
        }
        self.ended
    }
}

/// The answers of an HTTP/1.0 upstream end their connection: hyper would send the next chunked body as nothing.
pub(super) fn may_be_kept(version: Version) -> bool {
    version == Version::HTTP_11
}

#[cfg(test)]
mod tests;
