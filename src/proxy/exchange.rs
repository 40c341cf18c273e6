//! Forward and reverse: one request from top to bottom.
//!
//! Who is asking, in which platform, for what; then through the platform's nodes until one answers; then the answer.
//! Nothing of the body is read before an upstream connection has taken the head.

use std::{str, sync::Arc};

use http::{HeaderMap, Method, StatusCode, Version};

use super::{
    answer,
    body::ProxyBody,
    client::Client,
    entry::Entry,
    flaw::Flaw,
    headers::{self, Onward},
    identity::Identity,
    message::{Request, Response},
    recording::{Outcome, Recording},
    roster::TunnelTicket,
    service::Served,
    target::{self, ReversePath, Target},
    tunnel::{self, Tunnel},
    worker::Worker,
};
use crate::{
    model::{ErrKind, Name, Phase, ResinError, Stage},
    retry::{Answer, Ended, Exchange, Plan, carry},
    routing,
    upstream::{AnswerBody, AnswerHead, Fault, Interim, Unsent, Upload, has_token},
};

/// Answers a forward or reverse request.
pub(crate) async fn serve(
    worker: &Arc<Worker>,
    client: &Arc<Client>,
    mut request: Request,
    entry: Entry,
) -> Served {
    let mut recording = Recording::begin(worker, client, &request, entry);
    if request.uri.path() == "*" {
        return last_hop(&request.method, recording).into();
    }
    let (pool, target) = match route(worker, client, &request, entry, &mut recording) {
        Ok(route) => route,
        Err(error) => return refuse(recording, error, entry).into(),
    };
    match hops_left(&request) {
        Some(0) => return last_hop(&request.method, recording).into(),
        Some(left) => request.fields.set("max-forwards", (left - 1).to_string().as_bytes()),
        None => {}
    }
    let asked = upgrade_asked(&request);
    let method = request.method.clone();
    let (old, http2) = (request.version == Version::HTTP_10, request.version == Version::HTTP_2);
    let ticket = match &asked {
        Some(_) => match worker.roster.admit_tunnel() {
            Some(ticket) => Some(ticket),
            None => return tunnel::too_many(worker, recording).into(),
        },
        None => None,
    };
    // HTTP/1.0 has no interim answers, and hyper lets none through for HTTP/2.
    let interim = (!old && !http2).then(|| Arc::clone(client) as Arc<dyn Interim>);
    let begins_at_hand = request.body.is_some() && client.inbound().has_body_at_hand();
    let mut request = outgoing(request, &target, entry, asked.as_deref(), &mut recording);
    (request.begins_at_hand, request.interim) = (begins_at_hand, interim);

    let (round_trip, copy) = stages(entry);
    let exchange = Exchange {
        dialer: &worker.dialer,
        pool: &worker.pool,
        destination: &target.aim.destination,
        patience: worker.patience,
        stage: round_trip,
    };
    let upload = recording.upload.clone();
    let garbled = || upload.as_ref().is_some_and(|upload| upload.client_failed() || upload.client_stalled());
    let left = || client.has_left() || garbled();
    let host = if recording.span.is_recording() {
        target.aim.destination.authority.host.to_string()
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
        port: target.aim.destination.authority.port,
    };
    match carry(&exchange, request, &plan, &mut recording.trail).await {
        Ok(answer) if answer.answered.head.status == StatusCode::SWITCHING_PROTOCOLS => {
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
fn broken_off(mut recording: Box<Recording>, flaw: &Flaw, listens: bool) -> Response {
    let response = answer::flawed(flaw);
    if listens {
        recording.status(response.status.as_u16());
    }
    response
}

/// How many more proxies may pass this on (RFC 9110, section 7.6.2).
fn hops_left(request: &Request) -> Option<u64> {
    if request.method != Method::OPTIONS && request.method != Method::TRACE {
        return None;
    }
    let value = str::from_utf8(request.fields.get(Name::MaxForwards)?).ok()?;
    value.bytes().all(|byte| byte.is_ascii_digit()).then(|| value.parse().ok())?
}

/// The request is for this proxy itself. There is nothing to tell about it but that it is there.
fn last_hop(method: &Method, mut recording: Box<Recording>) -> Response {
    let mut response = Response::new(StatusCode::OK, ProxyBody::empty());
    if *method != Method::OPTIONS {
        response.status = StatusCode::METHOD_NOT_ALLOWED;
        response.fields.push("allow", b"OPTIONS");
    }
    recording.status(response.status.as_u16());
    recording.ended(Outcome::Whole);
    response
}

/// Credentials, then platform, then target.
fn route(
    worker: &Worker,
    client: &Client,
    request: &Request,
    entry: Entry,
    recording: &mut Recording,
) -> Result<(Arc<routing::Pool>, Target), ResinError> {
    let reverse = (entry == Entry::Reverse).then(|| ReversePath::split(&request.uri));
    let identity = match &reverse {
        None => Identity::of_proxy(&request.fields, &worker.token)?,
        Some(path) => {
            let mut identity = path.identity(&worker.token)?;
            if let Some(account) = request.fields.get(Name::ResinAccount).filter(|value| !value.is_empty()) {
                let account = str::from_utf8(account).map_err(|_| ResinError::AccountRejected)?;
                account.clone_into(&mut identity.account);
            }
            identity
        }
    };
    let pool = recording.asked_by(identity)?;
    let target = match &reverse {
        None => target::forward(&request.uri, request.pathless, &client.last_aim)?,
        Some(path) => path.target(&client.last_aim)?,
    };
    let authority = &target.aim.destination.authority;
    recording.aimed_at(authority, target.aim.host(), Some(target.url()));
    if worker.dialer.refuses(authority) {
        return Err(ResinError::TargetDenied);
    }
    Ok((pool, target))
}

/// An upgrade that can be carried: not over HTTP/2, and not to another version of HTTP.
fn upgrade_asked(request: &Request) -> Option<Vec<u8>> {
    let asked = headers::upgrade(&request.fields).filter(|_| request.version == Version::HTTP_11)?;
    (!has_token(asked, b"h2c")).then(|| asked.to_owned())
}

/// The request as the upstream is to see it, the body in its slot.
fn outgoing(
    request: Request,
    target: &Target,
    entry: Entry,
    upgrade: Option<&[u8]>,
    recording: &mut Recording,
) -> Box<Unsent> {
    let Request { method, version, mut fields, body, .. } = request;
    let (onward, clean_trailers): (Onward, fn(&mut HeaderMap)) = match entry {
        Entry::Reverse => {
            (Onward::ReverseRequest, |fields| headers::clean_trailers(fields, Onward::ReverseRequest))
        }
        Entry::Forward | Entry::Connect => {
            (Onward::ForwardRequest, |fields| headers::clean_trailers(fields, Onward::ForwardRequest))
        }
    };
    headers::clean(&mut fields, onward);
    if version == Version::HTTP_2 {
        headers::join_cookies(&mut fields);
    }
    if let Some(protocol) = upgrade {
        headers::ask_upgrade(&mut fields, protocol);
    }
    let upload = body.and_then(|body| Upload::new(body, clean_trailers));
    recording.upload.clone_from(&upload);
    let (path, host) = (target.path.clone(), target.aim.host.clone());
    Box::new(Unsent { method, path, host, fields, upload, begins_at_hand: false, interim: None })
}

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
) -> Response {
    let Answer { answered, key } = answer;
    let AnswerHead { status, reason, mut fields } = answered.head;
    headers::clean(&mut fields, Onward::Response);
    if status == StatusCode::NO_CONTENT {
        // It would promise a body that cannot come (RFC 9110, section 8.6).
        fields.remove(Name::ContentLength);
    }
    recording.status(status.as_u16());
    let pool = Arc::clone(&worker.pool);
    let body = AnswerBody::new(answered.connection, pool, key);
    let body = ProxyBody::answer(body, recording, copy, Arc::clone(client), old);
    Response { status, reason, fields, body }
}

/// The upstream switches protocols: from here on it is a tunnel, if that was asked for.
fn switch(
    worker: &Arc<Worker>,
    answer: Answer,
    asked: Option<TunnelTicket>,
    mut recording: Box<Recording>,
    entry: Entry,
) -> Served {
    let AnswerHead { status, reason, mut fields } = answer.answered.head;
    let protocol = fields.get(Name::Upgrade).map(<[u8]>::to_owned);
    let link = answer.answered.connection.into_upgraded();
    let (Some(ticket), Some(protocol), Some((link, early))) = (asked, protocol, link) else {
        let fault = Fault::new(Phase::ResponseHead, ErrKind::ProtocolError, "a 101 that nobody asked for");
        recording.trail.failure = Some(fault.at(stages(entry).0));
        let error = ResinError::UpstreamRequestFailed;
        return refuse(recording, error, entry).into();
    };
    headers::clean(&mut fields, Onward::Response);
    headers::ask_upgrade(&mut fields, &protocol);
    recording.status(status.as_u16());
    let kind = tunnel::Kind::Upgrade(stages(entry).1);
    let tunnel = Tunnel::new(worker, link.with_early(early), recording, kind, ticket);
    let response = Response { status, reason, fields, body: ProxyBody::empty() };
    Served { response, tunnel: Some(Box::new(tunnel)) }
}

fn refuse(mut recording: Box<Recording>, error: ResinError, entry: Entry) -> Response {
    let response = answer::refuse(error, entry, recording.trail.failure.as_ref());
    recording.refused(error, response.status.as_u16());
    // Whoever writes such a target may mean something else by what follows it.
    if entry == Entry::Forward && error == ResinError::InvalidHost { response.closing() } else { response }
}
