//! The answers that are the proxy's own: one table from code to status, header and sentence.

use bytes::BytesMut;
use http::StatusCode;

use super::{body::ProxyBody, entry::Entry, flaw::Flaw, headers, message::Response};
use crate::model::{ErrKind, Failure, Phase, ResinError};

/// The answer for `error`. `failure` is that of the last attempt, where one was made.
pub(crate) fn refuse(error: ResinError, entry: Entry, failure: Option<&Failure>) -> Response {
    let mut text = sentence(error).to_owned();
    if let Some(failure) = failure {
        text = format!("{text} ({}, {}: {})", failure.phase, failure.kind, failure.message);
    }
    text.push('\n');
    let mut response = Response::new(status(error, entry), ProxyBody::text(text));
    let fields = &mut response.fields;
    fields.push("content-type", TEXT);
    fields.push("x-resin-error", error.as_str().as_bytes());
    let proxy_status = format!("resin; error={}", proxy_status(error, failure));
    fields.push("proxy-status", proxy_status.as_bytes());
    if response.status == StatusCode::PROXY_AUTHENTICATION_REQUIRED {
        fields.push("proxy-authenticate", b"Basic realm=\"Resin\"");
    }
    response
}

/// The answer to what is no HTTP that could be passed on. What follows it on the connection is not read.
pub(crate) fn flawed(flaw: &Flaw) -> Response {
    let mut response = Response::new(flaw.status, ProxyBody::text(format!("{}\n", flaw.sentence)));
    let fields = &mut response.fields;
    fields.push("content-type", TEXT);
    fields.push("proxy-status", flaw_status(flaw).as_bytes());
    if let Some(code) = flaw.code {
        fields.push("x-resin-error", code.as_str().as_bytes());
    }
    response.closing()
}

/// The same as it goes over HTTP/1.1.
pub(crate) fn flawed_bytes(flaw: &Flaw) -> BytesMut {
    let Response { status, mut fields, .. } = flawed(flaw);
    let text = format!("{}\n", flaw.sentence);
    fields.push("content-length", text.len().to_string().as_bytes());
    let mut bytes = BytesMut::new();
    headers::write_head(&mut bytes, status, &fields);
    bytes.extend_from_slice(text.as_bytes());
    bytes
}

fn flaw_status(flaw: &Flaw) -> &'static str {
    match flaw.status {
        StatusCode::SERVICE_UNAVAILABLE => "resin; error=connection_limit_reached",
        _ => "resin; error=http_request_error",
    }
}

const TEXT: &[u8] = b"text/plain; charset=utf-8";

/// The code for a request whose last attempt failed like this.
pub(crate) fn code(failure: Option<&Failure>, entry: Entry) -> ResinError {
    match (failure.map(|failure| failure.kind), entry) {
        (Some(ErrKind::Timeout), _) => ResinError::UpstreamTimeout,
        (_, Entry::Connect) => ResinError::UpstreamConnectFailed,
        (_, Entry::Forward | Entry::Reverse) => ResinError::UpstreamRequestFailed,
    }
}

fn status(error: ResinError, entry: Entry) -> StatusCode {
    match error {
        ResinError::AuthFailed if entry == Entry::Reverse => StatusCode::FORBIDDEN,
        ResinError::AuthRequired | ResinError::AuthFailed => StatusCode::PROXY_AUTHENTICATION_REQUIRED,
        ResinError::UrlParseError | ResinError::InvalidProtocol | ResinError::InvalidHost => {
            StatusCode::BAD_REQUEST
        }
        ResinError::PlatformNotFound => StatusCode::NOT_FOUND,
        ResinError::AccountRejected | ResinError::TargetDenied => StatusCode::FORBIDDEN,
        ResinError::NoAvailableNodes => StatusCode::SERVICE_UNAVAILABLE,
        ResinError::UpstreamConnectFailed | ResinError::UpstreamRequestFailed => StatusCode::BAD_GATEWAY,
        ResinError::UpstreamTimeout => StatusCode::GATEWAY_TIMEOUT,
        ResinError::InternalError => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

fn sentence(error: ResinError) -> &'static str {
    match error {
        ResinError::AuthRequired => {
            "proxy credentials are missing or malformed: Basic <platform>.<account>:<token> is expected"
        }
        ResinError::AuthFailed => "the proxy token is wrong",
        ResinError::UrlParseError => {
            "the path is not /<token>/<platform>.<account>/<http|https>/<host[:port]>/<path>, percent-encoded"
        }
        ResinError::InvalidProtocol => "the protocol in the path must be http or https",
        ResinError::InvalidHost => "the target's host or port is not valid",
        ResinError::PlatformNotFound => "there is no platform of this name",
        ResinError::AccountRejected => {
            "the account is not acceptable: at most 256 bytes, no control characters"
        }
        ResinError::TargetDenied => "the target is not public, or is the proxy itself",
        ResinError::NoAvailableNodes => "the platform has no node that could carry the request",
        ResinError::UpstreamConnectFailed => "no tunnel could be opened",
        ResinError::UpstreamRequestFailed => "the exchange with the upstream failed",
        ResinError::UpstreamTimeout => "the upstream took too long",
        ResinError::InternalError => "a defect of the proxy",
    }
}

/// RFC 9209, section 2.3.
fn proxy_status(error: ResinError, failure: Option<&Failure>) -> &'static str {
    match error {
        ResinError::AuthRequired
        | ResinError::AuthFailed
        | ResinError::AccountRejected
        | ResinError::TargetDenied => "http_request_denied",
        ResinError::UrlParseError
        | ResinError::InvalidProtocol
        | ResinError::InvalidHost
        | ResinError::PlatformNotFound => "http_request_error",
        ResinError::NoAvailableNodes => "destination_unavailable",
        ResinError::InternalError => "proxy_internal_error",
        ResinError::UpstreamConnectFailed
        | ResinError::UpstreamRequestFailed
        | ResinError::UpstreamTimeout => failure.map_or("proxy_internal_error", of_failure),
    }
}

fn of_failure(failure: &Failure) -> &'static str {
    match failure.kind {
        ErrKind::Timeout => match failure.phase {
            Phase::Send | Phase::ResponseHead => "http_response_timeout",
            Phase::Body => "http_response_incomplete",
            _ => "connection_timeout",
        },
        ErrKind::DnsError => "dns_error",
        ErrKind::ConnectionRefused => "connection_refused",
        ErrKind::TlsCertInvalid | ErrKind::TlsUnknownAuthority | ErrKind::TlsHostnameInvalid => {
            "tls_certificate_error"
        }
        ErrKind::TlsRecordHeader | ErrKind::TlsHandshake => "tls_protocol_error",
        ErrKind::NetworkUnreachable
        | ErrKind::HostUnreachable
        | ErrKind::NodeRefused
        | ErrKind::NodeAuthFailed => "destination_unavailable",
        ErrKind::ProtocolError => "http_response_incomplete",
        ErrKind::DialError
        | ErrKind::ConnectionReset
        | ErrKind::ConnectionAborted
        | ErrKind::BrokenPipe
        | ErrKind::Eof
        | ErrKind::ReadError
        | ErrKind::WriteError
        | ErrKind::NetworkError
        | ErrKind::Canceled => match failure.phase {
            Phase::ResponseHead if failure.kind == ErrKind::Eof => "http_response_incomplete",
            _ => "connection_terminated",
        },
    }
}
