//! Forward and reverse: one request from top to bottom.
//!
//! Who is asking, in which platform, for what; then through the platform's nodes until one answers; then the answer.
//! Nothing of the body is read before an upstream connection has taken the head.

use std::sync::Arc;

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version,
    header::{ALLOW, CONNECTION, CONTENT_LENGTH, HOST, MAX_FORWARDS, UPGRADE},
};

use super::{
    answer,
    body::ProxyBody,
    client::Client,
    entry::Entry,
    flaw::Flaw,
    headers::{self, Onward},
    identity::Identity,
    recording::{Outcome, Recording},
    roster::TunnelTicket,
    service::Served,
    target::{self, ReversePath, Target},
    tunnel::{self, Tunnel},
    worker::Worker,
};
use crate::{
    model::{ErrKind, Phase, ResinError, Stage},
    retry::{Answer, Ended, Exchange, Plan, carry},
    routing,
    upstream::{AnswerBody, ClientBody, Fault, Interim, Unsent, Upload},
};

/// Answers a forward or reverse request.
pub(crate) async fn serve(
    worker: &Arc<Worker>,
    client: &Arc<Client>,
    mut request: Request<Option<ClientBody>>,
    entry: Entry,
) -> Served {
    let mut recording = Recording::begin(worker, client, &request, entry);
    if request.uri().path() == "*" {
        return last_hop(request.method(), recording).into();
    }
    let (pool, target) = match route(worker, &request, entry, &mut recording) {
        Ok(route) => route,
        Err(error) => return refuse(recording, error, entry).into(),
    };
    match hops_left(request.method(), request.headers()) {
        Some(0) => return last_hop(request.method(), recording).into(),
        Some(left) => {
            request.headers_mut().insert(MAX_FORWARDS, HeaderValue::from(left - 1));
        }
        None => {}
    }
    let asked = upgrade_asked(&request);
    let method = request.method().clone();
    let (old, http2) = (request.version() == Version::HTTP_10, request.version() == Version::HTTP_2);
    let ticket = match &asked {
        Some(_) => match worker.roster.admit_tunnel() {
            Some(ticket) => Some(ticket),
            None => return tunnel::too_many(worker, recording).into(),
        },
        None => None,
    };
    // HTTP/1.0 has no interim answers, and hyper lets none through for HTTP/2.
    let interim = (request.version() == Version::HTTP_11).then(|| Arc::clone(client) as Arc<dyn Interim>);
    let mut request = outgoing(request, &target, entry, asked, &mut recording);
    request.interim = interim;

    let (round_trip, copy) = stages(entry);
    let exchange = Exchange {
        dialer: &worker.dialer,
        pool: &worker.pool,
        destination: &target.destination,
        patience: worker.patience,
        stage: round_trip,
    };
    let upload = recording.upload.clone();
    let garbled = || upload.as_ref().is_some_and(|upload| upload.client_failed() || upload.client_stalled());
    let left = || client.has_left() || garbled();
    let host = if recording.span.is_recording() {
        target.destination.authority.host.to_string()
    } else {
        String::new()
    };
    let plan = Plan {
        nodes: &pool,
        limits: worker.limits,
        span: &recording.span,
        metrics: &worker.metrics,
        propagate: worker.trace_propagate,
        client_left: &left,
        method: &method,
        host: &host,
        port: target.destination.authority.port,
    };
    match carry(&exchange, request, &plan, &mut recording.trail).await {
        Ok(answer) if answer.answered.response.status() == StatusCode::SWITCHING_PROTOCOLS => {
            switch(worker, answer, ticket, recording, entry)
        }
        Ok(answer) => stream(worker, client, answer, recording, copy, old).into(),
        Err(Ended::NoNodes) => refuse(recording, ResinError::NoAvailableNodes, entry).into(),
        Err(Ended::Denied) => refuse(recording, ResinError::TargetDenied, entry).into(),
        Err(Ended::Failed) => {
            let error = answer::code(recording.trail.failure.as_ref(), entry);
            refuse(recording, error, entry).into()
        }
        Err(Ended::ClientLeft) => {
            let stalled = upload.as_ref().is_some_and(Upload::client_stalled);
            let flaw = if stalled { Flaw::slow_body() } else { Flaw::malformed(BROKEN_OFF) };
            // A stream of HTTP/2 whose body breaks off was reset: nobody reads what is said on it.
            let listens = stalled || (garbled() && !http2);
            broken_off(recording, &flaw, listens && !client.has_left()).into()
        }
    }
}

const BROKEN_OFF: &str = "the request's body broke off or is not framed as it should be";

/// The client left, or its body broke off: nobody else is to blame. Only one that `listens` reads this.
fn broken_off(mut recording: Box<Recording>, flaw: &Flaw, listens: bool) -> Response<ProxyBody> {
    let response = answer::flawed(flaw);
    if listens {
        recording.status(response.status().as_u16());
    }
    response
}

/// How many more proxies may pass this on (RFC 9110, section 7.6.2).
fn hops_left(method: &Method, headers: &HeaderMap) -> Option<u64> {
    if *method != Method::OPTIONS && *method != Method::TRACE {
        return None;
    }
    let value = headers.get(MAX_FORWARDS)?.to_str().ok()?;
    value.bytes().all(|byte| byte.is_ascii_digit()).then(|| value.parse().ok())?
}

/// The request is for this proxy itself. There is nothing to tell about it but that it is there.
fn last_hop(method: &Method, mut recording: Box<Recording>) -> Response<ProxyBody> {
    let mut response = Response::new(ProxyBody::empty());
    if *method != Method::OPTIONS {
        *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("OPTIONS"));
    }
    recording.status(response.status().as_u16());
    recording.ended(Outcome::Whole);
    response
}

/// Credentials, then platform, then target.
fn route(
    worker: &Worker,
    request: &Request<Option<ClientBody>>,
    entry: Entry,
    recording: &mut Recording,
) -> Result<(Arc<routing::Pool>, Target), ResinError> {
    let reverse = (entry == Entry::Reverse).then(|| ReversePath::split(request.uri()));
    let identity = match &reverse {
        None => Identity::of_proxy(request.headers(), &worker.token)?,
        Some(path) => {
            let mut identity = path.identity(&worker.token)?;
            if let Some(account) = request.headers().get(&ACCOUNT).filter(|value| !value.is_empty()) {
                let account =
                    std::str::from_utf8(account.as_bytes()).map_err(|_| ResinError::AccountRejected)?;
                account.clone_into(&mut identity.account);
            }
            identity
        }
    };
    let pool = recording.asked_by(identity)?;
    let target = match &reverse {
        None => target::forward(request)?,
        Some(path) => path.target()?,
    };
    recording.aimed_at(&target.destination.authority, target.host(), Some(target.url()));
    if worker.dialer.refuses(&target.destination.authority) {
        return Err(ResinError::TargetDenied);
    }
    Ok((pool, target))
}

/// An upgrade that can be carried: not over HTTP/2, and not to another version of HTTP.
fn upgrade_asked(request: &Request<Option<ClientBody>>) -> Option<HeaderValue> {
    let asked = headers::upgrade(request.headers()).filter(|_| request.version() == Version::HTTP_11)?;
    let http = asked
        .to_str()
        .is_ok_and(|text| text.split(',').any(|token| token.trim().eq_ignore_ascii_case("h2c")));
    (!http).then_some(asked)
}

/// The request as the upstream is to see it, the body in its slot.
fn outgoing(
    request: Request<Option<ClientBody>>,
    target: &Target,
    entry: Entry,
    upgrade: Option<HeaderValue>,
    recording: &mut Recording,
) -> Box<Unsent> {
    let (mut head, body) = request.into_parts();
    let (onward, clean_trailers): (Onward, fn(&mut HeaderMap)) = match entry {
        Entry::Reverse => {
            (Onward::ReverseRequest, |fields| headers::clean_trailers(fields, Onward::ReverseRequest))
        }
        Entry::Forward | Entry::Connect => {
            (Onward::ForwardRequest, |fields| headers::clean_trailers(fields, Onward::ForwardRequest))
        }
    };
    headers::clean(&mut head.headers, onward);
    if head.version == Version::HTTP_2 {
        headers::join_cookies(&mut head.headers);
    }
    head.headers.insert(HOST, target.host.clone());
    if let Some(protocol) = upgrade {
        headers::ask_upgrade(&mut head.headers, protocol);
    }
    let upload = body.and_then(|body| Upload::new(body, clean_trailers));
    recording.upload.clone_from(&upload);
    let uri = http::Uri::from(target.path.clone());
    Box::new(Unsent { method: head.method, uri, headers: head.headers, upload, interim: None })
}

/// A name is looked up faster when it is made once.
static ACCOUNT: HeaderName = HeaderName::from_static("x-resin-account");

fn stages(entry: Entry) -> (Stage, Stage) {
    match entry {
        Entry::Reverse => (Stage::ReverseRoundtrip, Stage::ReverseUpstreamToClientCopy),
        Entry::Forward | Entry::Connect => (Stage::ForwardRoundtrip, Stage::ForwardUpstreamToClientCopy),
    }
}

/// The upstream's answer goes to the client as it comes.
fn stream(
    worker: &Arc<Worker>,
    client: &Arc<Client>,
    answer: Answer,
    mut recording: Box<Recording>,
    copy: Stage,
    old: bool,
) -> Response<ProxyBody> {
    let Answer { answered, key } = answer;
    let (mut head, ()) = answered.response.into_parts();
    head.version = Version::HTTP_11;
    headers::clean(&mut head.headers, Onward::Response);
    if head.status == StatusCode::NO_CONTENT {
        // It would promise a body that cannot come (RFC 9110, section 8.6).
        head.headers.remove(CONTENT_LENGTH);
    }
    recording.status(head.status.as_u16());
    let pool = Arc::clone(&worker.pool);
    let body = AnswerBody::new(answered.connection, pool, key);
    Response::from_parts(head, ProxyBody::answer(body, recording, copy, Arc::clone(client), old))
}

/// The upstream switches protocols: from here on it is a tunnel, if that was asked for.
fn switch(
    worker: &Arc<Worker>,
    answer: Answer,
    asked: Option<TunnelTicket>,
    mut recording: Box<Recording>,
    entry: Entry,
) -> Served {
    let (mut head, ()) = answer.answered.response.into_parts();
    let protocol = head.headers.get(UPGRADE).cloned();
    let link = answer.answered.connection.into_upgraded();
    let (Some(ticket), Some(protocol), Some((link, early))) = (asked, protocol, link) else {
        let fault = Fault::new(Phase::ResponseHead, ErrKind::ProtocolError, "a 101 that nobody asked for");
        recording.trail.failure = Some(fault.at(stages(entry).0));
        let error = ResinError::UpstreamRequestFailed;
        return refuse(recording, error, entry).into();
    };
    headers::clean(&mut head.headers, Onward::Response);
    headers::ask_upgrade(&mut head.headers, protocol);
    recording.status(StatusCode::SWITCHING_PROTOCOLS.as_u16());
    let kind = tunnel::Kind::Upgrade(stages(entry).1);
    let tunnel = Tunnel::new(worker, link.with_early(early), recording, kind, ticket);
    Served { response: Response::from_parts(head, ProxyBody::empty()), tunnel: Some(Box::new(tunnel)) }
}

fn refuse(mut recording: Box<Recording>, error: ResinError, entry: Entry) -> Response<ProxyBody> {
    let mut response = answer::refuse(error, entry, recording.trail.failure.as_ref());
    if entry == Entry::Forward && error == ResinError::InvalidHost {
        // Whoever writes such a target may mean something else by what follows it.
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    recording.refused(error, response.status().as_u16());
    response
}
