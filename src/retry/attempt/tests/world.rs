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
use http::{HeaderMap, HeaderValue, Method, Uri};
use rustls::{ServerConfig, ServerConnection, crypto::ring, pki_types::PrivateKeyDer};
use tokio::time::Instant;

use super::super::{Answer, Errand, Exchange, Failed};
use crate::{
    config,
    model::{Authority, Host, Node, NodeConfig, Stage},
    retry::trail::Trail,
    telemetry::{AttemptSpan, Metrics},
    upstream::{
        AnswerBody, Destination, Dialer, Found, Key, Patience, Pool, PoolLimits, Source, Targets, Trust,
        Unsent, Upload, Wire,
        script::{self, Peer, Plan},
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
    pub(super) tls: bool,
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

/// What all attempts of the tests share.
struct Shared {
    dialer: Dialer,
    server: Arc<ServerConfig>,
    metrics: Metrics,
    node: Arc<Node>,
}

static SHARED: LazyLock<Shared> = LazyLock::new(|| {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let certificate = certificate.self_signed(&key).unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), certificate.pem()).unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let server = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    let config = NodeConfig::Direct;
    Shared {
        dialer: Dialer::new(Trust::load(Some(file.path())).unwrap(), Targets::new(config::Targets::Any, [])),
        server: Arc::new(server),
        metrics: Metrics::new(),
        node: Arc::new(Node {
            hash: config.hash(),
            config,
            tags: vec!["direct".to_owned()],
            egress_ip: None,
            region: None,
        }),
    }
});

/// A pool of its own for each run.
pub(super) fn pool() -> Arc<Pool> {
    let hour = Duration::from_secs(3600);
    let limits = PoolLimits { max_idle: 8, idle_timeout: hour, max_age: hour };
    Arc::new(Pool::new(limits, Arc::new(AtomicUsize::new(0)), SHARED.metrics.clone()))
}

pub(super) fn peer(tls: bool, plan: Plan) -> Peer {
    if tls {
        Peer::secure(ServerConnection::new(Arc::clone(&SHARED.server)).unwrap(), plan)
    } else {
        Peer::plain(plan)
    }
}

pub(super) fn request(kind: Kind) -> Box<Unsent> {
    let mut headers = HeaderMap::new();
    headers.insert("host", HeaderValue::from_static("origin.example"));
    if kind == Kind::Large {
        headers.insert("x-large", "x".repeat(LARGE).parse().unwrap());
    }
    let frames: VecDeque<Bytes> = (0..FRAMES).map(|_| Bytes::from_static(b"frame")).collect();
    let upload = (kind == Kind::Body).then(|| Upload::over(Source::Script(frames)));
    Box::new(Unsent { method: Method::POST, uri: Uri::from_static("/"), headers, upload, interim: None })
}

fn destination(tls: bool) -> Arc<Destination> {
    let host = Host::parse("127.0.0.1").unwrap();
    Arc::new(Destination { authority: Authority { host, port: 1 }, tls })
}

/// One attempt through the product's own pool, dialer and connection; dropped after `drop_after` polls.
async fn attempt(
    pool: &Arc<Pool>,
    destination: &Arc<Destination>,
    request: Box<Unsent>,
    drop_after: usize,
    mut each_poll: impl FnMut(),
) -> (Option<Result<Answer, Failed<Box<Unsent>>>>, Trail, usize) {
    let exchange = Exchange {
        dialer: &SHARED.dialer,
        pool,
        destination,
        patience: PATIENCE,
        stage: Stage::ForwardRoundtrip,
    };
    let mut trail = Trail::default();
    let mut polls = 0;
    let until = Instant::now() + Duration::from_secs(5);
    let progress = trail.begin(&SHARED.node, Stage::ForwardRoundtrip, AttemptSpan::default());
    let ended = if drop_after == 0 {
        drop(exchange.attempt(request, &SHARED.node, until, progress));
        None
    } else {
        let mut attempt = pin!(exchange.attempt(request, &SHARED.node, until, progress));
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
pub(super) async fn park(pool: &Arc<Pool>, tls: bool) -> Peer {
    exchange(pool, tls, Plan::good()).await
}

/// An exchange that is answered; its connection goes to the pool if it may.
pub(super) async fn exchange(pool: &Arc<Pool>, tls: bool, plan: Plan) -> Peer {
    let peer = peer(tls, plan);
    script::expect_dial(Some(peer.clone()));
    let (ended, ..) = attempt(pool, &destination(tls), request(Kind::Bare), usize::MAX, || {}).await;
    let Some(Ok(answer)) = ended else { panic!("the first exchange fails") };
    keep(pool, answer);
    peer
}

/// An exchange with whoever listens there: who answered, and the wire that it went over.
pub(super) async fn over_tcp(pool: &Arc<Pool>, address: SocketAddr) -> (String, Arc<Wire>) {
    let authority = Authority { host: Host::Ip(address.ip()), port: address.port() };
    let to = Arc::new(Destination { authority, tls: false });
    let (ended, trail, _) = attempt(pool, &to, request(Kind::Bare), usize::MAX, || {}).await;
    let Some(Ok(answer)) = ended else { panic!("no answer from {address}") };
    let name = answer.answered.response.headers()["x-from"].to_str().unwrap().to_owned();
    keep(pool, answer);
    (name, trail.live.unwrap().wire.unwrap())
}

/// The answer is over; its connection goes to the pool if it may.
fn keep(pool: &Arc<Pool>, Answer { answered, key }: Answer) {
    let (head, incoming) = answered.response.into_parts();
    let home = Arc::clone(pool);
    drop(AnswerBody::new(incoming, head.version, answered.connection, answered.upload, home, key));
}

/// Whether the pool has a connection that may be used.
pub(super) fn is_parked(pool: &Pool, tls: bool) -> bool {
    let key = Key { node: SHARED.node.hash, destination: destination(tls) };
    matches!(pool.take(&key), Found::Alive(_))
}

/// One attempt as the row says, dropped after so many polls.
pub(super) async fn run(row: &Row, drop_after: usize) -> Run {
    let pool = pool();
    let old = if row.reused { Some(park(&pool, row.tls).await) } else { None };
    if let Some(old) = &old {
        old.follow(row.plan.clone());
    }
    let new = peer(row.tls, row.plan.clone());
    script::expect_dial(Some(new.clone()));
    let request = request(row.kind);
    let upload = request.upload.clone();
    let mut dial_polls = 0;
    let dialling = || dial_polls += usize::from(!row.reused && !new.has_begun());
    let (ended, mut trail, polls) =
        attempt(&pool, &destination(row.tls), request, drop_after, dialling).await;
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
