//! What may pass in a head, and what belongs to one hop alone (RFC 9110, section 7.6.1).

use bytes::BytesMut;
use http::{
    HeaderMap, HeaderName, HeaderValue, StatusCode, Uri,
    header::{
        AUTHORIZATION, CACHE_CONTROL, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE,
        CONTENT_TYPE, COOKIE, HOST, MAX_FORWARDS, SET_COOKIE, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
    },
};

use super::flaw::Flaw;
use crate::{model::Authority, upstream::has_token};

/// Reverse requests come from clients that do not know of a proxy: what others said of their identity stays here.
const FORWARDING_IDENTITY: [&str; 6] =
    ["forwarded", "via", "x-real-ip", "x-client-ip", "true-client-ip", "cf-connecting-ip"];

/// Where a head goes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Onward {
    ForwardRequest,
    ReverseRequest,
    Response,
}

/// Whether `Connection` asks for an upgrade, and to what.
pub(crate) fn upgrade(headers: &HeaderMap) -> Option<HeaderValue> {
    let asked = headers.get(UPGRADE)?;
    says(headers, &CONNECTION, "upgrade").then(|| asked.clone())
}

/// What makes a head of HTTP/2 say two things, or nothing certain (RFC 9113, section 8.3.1).
pub(crate) fn flaw(uri: &Uri, headers: &HeaderMap) -> Option<Flaw> {
    let mut hosts = headers.get_all(HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return Some(Flaw::host("there is more than one Host"));
    }
    if headers.get_all(CONTENT_LENGTH).iter().nth(1).is_some() {
        return Some(Flaw::malformed("there is more than one Content-Length"));
    }
    if uri.path_and_query().is_some_and(|path| path.as_str().starts_with('?')) {
        return Some(Flaw::path("the :path does not begin with a slash"));
    }
    let authority = uri.authority().map(|authority| authority.as_str().as_bytes());
    match (authority, host.map(HeaderValue::as_bytes)) {
        (Some(authority), Some(host)) if !authority.eq_ignore_ascii_case(host) => {
            Some(Flaw::host("the Host is not the :authority"))
        }
        (Some(authority), _) | (None, Some(authority)) => {
            let checked = std::str::from_utf8(authority).map(Authority::check);
            (checked != Ok(Ok(()))).then(|| Flaw::host("the :authority is not valid"))
        }
        (None, None) => Some(Flaw::host("there is neither :authority nor Host")),
    }
}

/// Removes what belongs to this hop, and what is nobody's business further on.
pub(crate) fn clean(headers: &mut HeaderMap, onward: Onward) {
    let mut unwanted: Vec<HeaderName> =
        headers.keys().filter(|name| !passes(name.as_str(), onward)).cloned().collect();
    let trailers = onward != Onward::Response && unwanted.contains(&TE) && says(headers, &TE, "trailers");
    if unwanted.contains(&CONNECTION) {
        unwanted.extend(connection_named(headers));
    }
    for name in &unwanted {
        headers.remove(name);
    }
    if trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
        headers.insert(CONNECTION, HeaderValue::from_static("te"));
    }
}

/// Removes from trailers what may not pass in a head, and what has no place behind a body.
pub(crate) fn clean_trailers(trailers: &mut HeaderMap, onward: Onward) {
    let passes = |name: &HeaderName| passes(name.as_str(), onward) && !NO_TRAILERS.contains(name);
    let unwanted: Vec<HeaderName> = trailers.keys().filter(|name| !passes(name)).cloned().collect();
    for name in &unwanted {
        trailers.remove(name);
    }
}

/// Framing, routing, authentication, and what has to be known before the body (RFC 9110, section 6.5.1).
const NO_TRAILERS: [HeaderName; 12] = [
    AUTHORIZATION,
    CACHE_CONTROL,
    CONTENT_ENCODING,
    CONTENT_LENGTH,
    CONTENT_RANGE,
    CONTENT_TYPE,
    HOST,
    MAX_FORWARDS,
    SET_COOKIE,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
];

/// HTTP/2 may split a cookie into crumbs; HTTP/1.1 knows one field only (RFC 9113, section 8.2.3).
pub(crate) fn join_cookies(headers: &mut HeaderMap) {
    let crumbs: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if crumbs.len() > 1
        && let Ok(whole) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..]))
    {
        headers.insert(COOKIE, whole);
    }
}

/// An interim answer's head as it goes over HTTP/1.1. It has no body, so it promises none (RFC 9110, section 8.6).
pub(crate) fn write_interim(to: &mut BytesMut, status: StatusCode, fields: &HeaderMap) {
    let mut fields = fields.clone();
    clean(&mut fields, Onward::Response);
    fields.remove(CONTENT_LENGTH);
    write_head(to, status, &fields);
}

/// An answer's head as it goes over HTTP/1.1.
pub(crate) fn write_head(to: &mut BytesMut, status: StatusCode, fields: &HeaderMap) {
    to.extend_from_slice(
        format!("HTTP/1.1 {} {}\r\n", status.as_u16(), status.canonical_reason().unwrap_or("")).as_bytes(),
    );
    for (name, value) in fields {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            to.extend_from_slice(part);
        }
    }
    to.extend_from_slice(b"\r\n");
}

/// Asks the next hop for the same upgrade.
pub(crate) fn ask_upgrade(headers: &mut HeaderMap, protocol: HeaderValue) {
    headers.insert(UPGRADE, protocol);
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
}

fn passes(name: &str, onward: Onward) -> bool {
    match name {
        "connection"
        | "keep-alive"
        | "proxy-connection"
        | "te"
        | "transfer-encoding"
        | "upgrade"
        | "proxy-authenticate"
        | "proxy-authorization"
        | "proxy-authentication-info" => false,
        // Each attempt tells its own where the upstream is to know; otherwise the trace ends here.
        "traceparent" | "tracestate" if onward != Onward::Response => false,
        name if name.starts_with("x-resin-") => false,
        name if onward == Onward::ReverseRequest => {
            !name.starts_with("x-forwarded-") && !FORWARDING_IDENTITY.contains(&name)
        }
        _ => true,
    }
}

fn connection_named(headers: &HeaderMap) -> Vec<HeaderName> {
    let values = headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
    // What it mostly says names nothing that would pass.
    let values = values.filter(|value| !matches!(*value, "keep-alive" | "Keep-Alive" | "close"));
    values.flat_map(|value| value.split(',')).filter_map(|token| token.trim().parse().ok()).collect()
}

fn says(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    headers.get_all(name).iter().any(|value| has_token(value.as_bytes(), token.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cleaned(fields: &[(&str, &str)], onward: Onward) -> Vec<String> {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        }
        clean(&mut headers, onward);
        let mut names: Vec<String> = headers.keys().map(ToString::to_string).collect();
        names.sort();
        names
    }

    #[test]
    fn what_belongs_to_one_hop_goes_no_further() {
        let fields = [
            ("connection", "close, X-Private"),
            ("x-private", "1"),
            ("keep-alive", "1"),
            ("proxy-authorization", "x"),
            ("x-resin-account", "a"),
            ("te", "gzip"),
            ("upgrade", "h2c"),
            ("transfer-encoding", "chunked"),
            ("accept", "*/*"),
            ("via", "1.1 x"),
            ("x-forwarded-for", "1.2.3.4"),
        ];
        assert_eq!(cleaned(&fields, Onward::ForwardRequest), ["accept", "via", "x-forwarded-for"]);
        assert_eq!(cleaned(&fields, Onward::ReverseRequest), ["accept"]);
    }

    #[test]
    fn trailers_are_asked_for_where_the_client_did() {
        assert_eq!(cleaned(&[("te", "deflate, Trailers")], Onward::ForwardRequest), ["connection", "te"]);
        assert!(cleaned(&[("te", "trailers")], Onward::Response).is_empty());
    }
}
