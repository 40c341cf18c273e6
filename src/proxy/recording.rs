//! The guard of a request's record: whatever becomes of the request, dropping this writes its one record.
//!
//! It also closes the request's span, counts it, and keeps the drain waiting while it lives. Nobody is woken by it.

use std::{
    borrow::Cow,
    net::IpAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use http::{Method, StatusCode};
use tokio::time::Instant;
use uuid::Uuid;

use super::{client::Client, entry::Entry, identity::Identity, message::Request, worker::Worker};
use crate::{
    drain,
    model::{Authority, ErrKind, Failure, Host, ProxyType, ResinError, Verdict},
    record::Record,
    retry::Trail,
    routing,
    telemetry::{self, RequestEnd, RequestSpan, SpanName},
    upstream::{Bell, Pulse, Upload},
};

const MAX_METHOD: usize = 64;
const MAX_URL: usize = 8 * 1024;

/// A request that will be recorded.
pub(crate) struct Recording {
    worker: Arc<Worker>,
    record: Option<Record>,
    started: Instant,
    entry: Entry,
    outcome: Outcome,
    pub(crate) span: RequestSpan,
    pub(crate) trail: Trail,
    pub(crate) upload: Option<Upload>,
    _in_flight: drain::Guard,
}

/// A UUIDv7. Its random part is no secret, so it comes from this thread's generator: the system's costs a call.
fn record_id(started_at: SystemTime) -> Uuid {
    let millis =
        started_at.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
    let random = fastrand::u128(..).to_ne_bytes();
    let mut tail = [0; 10];
    tail.copy_from_slice(&random[..10]);
    uuid::Builder::from_unix_timestamp_millis(millis, &tail).into_uuid()
}

/// Those that most requests have are not copied.
fn method_name(method: &Method) -> Cow<'static, str> {
    match *method {
        Method::GET => "GET".into(),
        Method::POST => "POST".into(),
        Method::PUT => "PUT".into(),
        Method::HEAD => "HEAD".into(),
        Method::CONNECT => "CONNECT".into(),
        _ => method.as_str().chars().take(MAX_METHOD).collect::<String>().into(),
    }
}

/// How it stands with the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Not over. Dropped now, it is the client that left.
    UnderWay,
    /// The proxy itself answered.
    Refused,
    /// The upstream's answer, or the tunnel, went through.
    Whole,
    /// A tunnel's clean end that has a name of its own, or a client that left in the middle.
    Ended { failure: Failure, net_ok: bool },
}

impl Recording {
    pub(crate) fn begin(worker: &Arc<Worker>, client: &Client, request: &Request, entry: Entry) -> Box<Self> {
        let started_at = SystemTime::now();
        let name = match entry {
            Entry::Connect => SpanName::Connect,
            Entry::Forward => SpanName::Forward,
            Entry::Reverse => SpanName::Reverse,
        };
        let span = worker.tracing.request(&request.fields, name, &request.method, started_at);
        let record = Record {
            id: record_id(started_at),
            started_at,
            duration: Duration::ZERO,
            proxy_type: if entry == Entry::Reverse { ProxyType::Reverse } else { ProxyType::Forward },
            client_ip: client.ip,
            platform_id: None,
            platform_name: Arc::clone(&worker.no_name),
            account: String::new(),
            target_host: String::new(),
            target_port: 0,
            target_url: String::new(),
            node: None,
            net_ok: true,
            http_method: method_name(&request.method),
            http_status: 0,
            resin_error: None,
            failure: None,
            request_written: false,
            ingress_bytes: 0,
            egress_bytes: 0,
            retries: Vec::new(),
            trace_id: span.trace_id(),
        };
        // It goes from hand to hand, and is large.
        Box::new(Self {
            worker: Arc::clone(worker),
            record: Some(record),
            started: Instant::now(),
            entry,
            outcome: Outcome::UnderWay,
            span,
            trail: Trail::default(),
            upload: None,
            _in_flight: worker.drain.guard(),
        })
    }

    /// Whom the client says it is, known or not; and the platform that this is, with an account that can be kept.
    pub(crate) fn asked_by(&mut self, identity: Identity) -> Result<Arc<routing::Pool>, ResinError> {
        let checked = identity.check();
        let found = self.worker.directory.platform(&identity.platform);
        if let Some(record) = &mut self.record {
            record.platform_id = found.as_ref().map(|pool| pool.platform.id);
            record.platform_name =
                found.as_ref().map_or_else(|| (&*identity.platform).into(), |pool| Arc::clone(&pool.name));
            if checked.is_ok() {
                record.account = identity.account;
            }
        }
        let pool = found.ok_or(ResinError::PlatformNotFound)?;
        checked.map(|()| pool)
    }

    /// `written` is the authority as the client wrote it.
    pub(crate) fn aimed_at(&mut self, authority: &Authority, written: &str, url: Option<String>) {
        if let Some(record) = &mut self.record {
            record.target_host = match &authority.host {
                Host::Name(name) => name.clone(),
                // It can be written in one way only, so it need not be written anew.
                Host::Ip(IpAddr::V4(_)) => written.split(':').next().unwrap_or_default().to_owned(),
                host => host.to_string(),
            };
            record.target_port = authority.port;
            let mut url = url.unwrap_or_default();
            if url.len() > MAX_URL {
                let cut = (0..=MAX_URL).rev().find(|at| url.is_char_boundary(*at)).unwrap_or(0);
                url.truncate(cut);
            }
            record.target_url = url;
        }
    }

    /// The head of an answer goes to the client.
    pub(crate) fn status(&mut self, status: u16) {
        if let Some(record) = &mut self.record {
            record.http_status = status;
        }
    }

    /// The proxy answers itself.
    pub(crate) fn refused(&mut self, error: ResinError, status: u16) {
        self.outcome = Outcome::Refused;
        if let Some(record) = &mut self.record {
            record.resin_error = Some(error);
            record.http_status = status;
            record.net_ok = !matches!(
                error,
                ResinError::NoAvailableNodes
                    | ResinError::UpstreamConnectFailed
                    | ResinError::UpstreamRequestFailed
                    | ResinError::UpstreamTimeout
            );
        }
    }

    pub(crate) fn ended(&mut self, outcome: Outcome) {
        self.outcome = outcome;
    }

    /// Whether how it ended is known.
    pub(crate) fn is_over(&self) -> bool {
        self.outcome != Outcome::UnderWay
    }

    /// Watches a transfer of this request's.
    pub(crate) fn watch(&self, hang_up: Option<Arc<Bell>>) -> Arc<Pulse> {
        self.worker.watchdog.watch(hang_up, self.upload.clone())
    }

    /// Payload to the client.
    pub(crate) fn ingress(&mut self, bytes: u64) {
        if let Some(record) = &mut self.record {
            record.ingress_bytes += bytes;
        }
    }

    /// Payload of a tunnel, both ways.
    pub(crate) fn moved(&mut self, ingress: u64, egress: u64) {
        if let Some(record) = &mut self.record {
            record.ingress_bytes = ingress;
            record.egress_bytes = egress;
        }
    }

    fn finish(&mut self, mut record: Record) {
        match std::mem::replace(&mut self.outcome, Outcome::Whole) {
            Outcome::UnderWay if std::thread::panicking() => {
                record.resin_error = Some(ResinError::InternalError);
                if record.http_status == 0 {
                    record.http_status = StatusCode::INTERNAL_SERVER_ERROR.as_u16();
                }
            }
            Outcome::UnderWay => {
                if let Some(stage) = self.trail.client_left() {
                    self.worker.metrics.attempt_failed(stage, ErrKind::Canceled, Verdict::Canceled);
                }
            }
            Outcome::Refused | Outcome::Whole => {}
            Outcome::Ended { failure, net_ok } => {
                self.trail.failure = Some(failure);
                record.net_ok = net_ok;
            }
        }
        record.duration = self.started.elapsed();
        record.node = self.trail.node.take();
        record.failure = self.trail.failure.take();
        record.request_written = self.trail.request_written;
        record.retries = std::mem::take(&mut self.trail.retries);
        if let Some(upload) = &self.upload {
            record.egress_bytes = upload.sent();
        }
        let path = match self.entry {
            Entry::Connect => telemetry::Path::Connect,
            Entry::Forward => telemetry::Path::Forward,
            Entry::Reverse => telemetry::Path::Reverse,
        };
        self.worker.metrics.request_done(path, record.http_status, record.resin_error, record.duration);
        let span = std::mem::take(&mut self.span);
        if span.is_recording() {
            span.end(RequestEnd {
                method: &record.http_method,
                status: record.http_status,
                platform: &record.platform_name,
                host: &record.target_host,
                port: record.target_port,
                client: record.client_ip,
                error: record.resin_error,
                failure: record.failure.as_ref(),
            });
        }
        self.worker.journal.put(record);
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        if let Some(record) = self.record.take() {
            self.finish(record);
        }
    }
}
