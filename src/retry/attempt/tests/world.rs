//! What an attempt needs around it: a node, a pool, whom to believe, and peers that follow a plan.

use std::{
    collections::VecDeque,
    future::poll_fn,
    net::SocketAddr,
    pin::pin,
    sync::{Arc, LazyLock, atomic::AtomicUsize},
    task::Poll,
    time::Duration,
};

use bytes::Bytes;
use http::Method;
use tokio::time::Instant;

use super::{
    super::{Answer, Errand, Exchange, Failed},
    way::{Way, dialer},
};
use crate::{
    model::{Authority, Host, Node, Stage},
    retry::trail::Trail,
    telemetry::{AttemptSpan, Metrics},
    upstream::{
        AnswerBody, Destination, Patience, Pool, PoolLimits, Source, Unsent, Upload, Wire,
        script::{self, Cut, Peer, Plan},
    },
};

pub(super) const FRAMES: usize = 3;
/// Two TLS records, and more than one.
pub(super) const LARGE: usize = 20_000;
const PATIENCE: Patience = Patience { response: Duration::from_secs(60), idle: Duration::from_secs(30) };

/// What is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Bare,
    Body,
    /// Without a body, and of a head that is longer than a TLS record.
    Large,
}

/// One way in which things may go.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) way: Way,
    /// A first exchange went well on the connection, and it was parked. A fresh dial goes by the same plan.
    pub(super) reused: bool,
    pub(super) kind: Kind,
    pub(super) plan: Plan,
}

/// How an attempt ended.
pub(super) enum Outcome {
    Answered,
    Unsent(Box<Unsent>),
    Sent,
    /// After so many polls; and whether it says that something was written.
    Dropped {
        written: bool,
    },
}

/// An attempt that is over, and whom it spoke to.
pub(super) struct Run {
    pub(super) outcome: Outcome,
    pub(super) polls: usize,
    /// Of these, how many passed before a request could be sent.
    pub(super) dial_polls: usize,
    /// Where the parked connection leads.
    pub(super) old: Option<Peer>,
    /// Where a dial leads.
    pub(super) new: Peer,
    pub(super) upload: Option<Upload>,
}

impl Run {
    pub(super) fn tries(&self) -> usize {
        self.new.tries() + self.old.as_ref().map_or(0, Peer::tries)
    }

    pub(super) fn open(&self) {
        self.new.open();
        if let Some(old) = &self.old {
            old.open();
        }
    }
}

static METRICS: LazyLock<Metrics> = LazyLock::new(Metrics::new);

/// A pool of its own for each run.
pub(super) fn pool() -> Arc<Pool> {
    let hour = Duration::from_secs(3600);
    let limits = PoolLimits { max_idle: 8, idle_timeout: hour, max_age: hour };
    Arc::new(Pool::new(limits, Arc::new(AtomicUsize::new(0)), METRICS.clone()))
}

pub(super) fn request(kind: Kind) -> Box<Unsent> {
    let frames: VecDeque<Bytes> = (0..FRAMES).map(|_| Bytes::from_static(b"frame")).collect();
    let upload = (kind == Kind::Body).then(|| Upload::over(Source::Script(frames)));
    let mut request = Unsent::example(Method::POST, upload);
    if kind == Kind::Large {
        request.fields.push("x-large", "x".repeat(LARGE).as_bytes());
    }
    Box::new(request)
}

/// One attempt through the product's own pool, dialer and connection; dropped after `drop_after` polls.
async fn attempt(
    pool: &Arc<Pool>,
    (node, destination): (Node, &Arc<Destination>),
    request: Box<Unsent>,
    drop_after: usize,
    mut each_poll: impl FnMut(),
) -> (Option<Result<Answer, Failed<Box<Unsent>>>>, Trail, usize) {
    let exchange =
        Exchange { dialer: dialer(), pool, destination, patience: PATIENCE, stage: Stage::ForwardRoundtrip };
    let node = Arc::new(node);
    let mut trail = Trail::default();
    let mut polls = 0;
    let until = Instant::now() + Duration::from_secs(5);
    let progress = trail.begin(&node, Stage::ForwardRoundtrip, AttemptSpan::default(), Instant::now());
    let ended = if drop_after == 0 {
        drop(exchange.attempt(request, &node, until, progress));
        None
    } else {
        let mut attempt = pin!(exchange.attempt(request, &node, until, progress));
        poll_fn(|cx| {
            polls += 1;
            let polled = attempt.as_mut().poll(cx);
            each_poll();
            match polled {
                Poll::Ready(ended) => Poll::Ready(Some(ended)),
                Poll::Pending if polls == drop_after => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            }
        })
        .await
    };
    (ended, trail, polls)
}

/// A first exchange that goes well; its connection is in the pool afterwards.
pub(super) async fn park(pool: &Arc<Pool>, way: Way) -> Peer {
    let (peer, answer) = exchange(pool, way, Plan::good()).await;
    keep(pool, answer);
    peer
}

/// An exchange that is answered.
pub(super) async fn exchange(pool: &Arc<Pool>, way: Way, plan: Plan) -> (Peer, Answer) {
    let peer = way.peer(plan, None);
    script::expect_dial(Some(peer.clone()));
    let (ended, ..) =
        attempt(pool, (way.node(), &way.destination()), request(Kind::Bare), usize::MAX, || {}).await;
    let Some(Ok(answer)) = ended else { panic!("the exchange fails") };
    (peer, answer)
}

/// An exchange with whoever listens there: who answered, and the wire that it went over.
pub(super) async fn over_tcp(pool: &Arc<Pool>, address: SocketAddr) -> (String, Arc<Wire>) {
    let authority = Authority { host: Host::Ip(address.ip()), port: address.port() };
    let to = Arc::new(Destination { authority, tls: false });
    let (ended, trail, _) =
        attempt(pool, (Way::Plain.node(), &to), request(Kind::Bare), usize::MAX, || {}).await;
    let Some(Ok(answer)) = ended else { panic!("no answer from {address}") };
    let name = String::from_utf8_lossy(answer.answered.head.fields.written("x-from").unwrap()).into_owned();
    keep(pool, answer);
    (name, trail.live.unwrap().wire.unwrap())
}

/// The answer is over; its connection goes to the pool if it may.
pub(super) fn keep(pool: &Arc<Pool>, Answer { answered, key }: Answer) {
    drop(AnswerBody::new(answered.connection, Arc::clone(pool), key));
}

/// Whether the next request goes out on the connection to this peer; no other can be had.
pub(super) async fn is_used_again(pool: &Arc<Pool>, way: Way, peer: &Peer) -> bool {
    let before = peer.of_requests();
    script::expect_dial(None);
    let (_, trail, _) =
        attempt(pool, (way.node(), &way.destination()), request(Kind::Bare), usize::MAX, || {}).await;
    script::forget_dials();
    let written = peer.of_requests() > before;
    assert_eq!(trail.live.unwrap().reused, written, "it says what it did");
    written
}

/// One attempt as the row says, dropped after so many polls.
pub(super) async fn run(row: &Row, drop_after: usize) -> Run {
    run_cut(row, None, drop_after).await
}

/// The same where the dial is cut.
pub(super) async fn run_cut(row: &Row, cut: Option<Cut>, drop_after: usize) -> Run {
    let pool = pool();
    let old = if row.reused { Some(park(&pool, row.way).await) } else { None };
    if let Some(old) = &old {
        old.follow(row.plan.clone());
    }
    let new = row.way.peer(row.plan.clone(), cut);
    script::expect_dial(Some(new.clone()));
    let request = request(row.kind);
    let upload = request.upload.clone();
    let mut dial_polls = 0;
    let dialling = || dial_polls += usize::from(!row.reused && !new.has_begun());
    let (ended, mut trail, polls) =
        attempt(&pool, (row.way.node(), &row.way.destination()), request, drop_after, dialling).await;
    let outcome = match ended {
        Some(Ok(answer)) => {
            drop(answer);
            Outcome::Answered
        }
        Some(Err(Failed::Unsent { request, .. })) => Outcome::Unsent(request),
        Some(Err(Failed::Sent { .. })) => Outcome::Sent,
        None => {
            trail.client_left();
            Outcome::Dropped { written: trail.request_written }
        }
    };
    script::forget_dials();
    Run { outcome, polls, dial_polls, old, new, upload }
}
