//! What may pass in a head, and what belongs to one hop alone (RFC 9110, section 7.6.1).

use bytes::{BufMut, BytesMut};
use http::{
    HeaderMap, HeaderName, StatusCode, Uri,
    header::{
        AUTHORIZATION, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HOST,
        MAX_FORWARDS, SET_COOKIE, TE, TRAILER, TRANSFER_ENCODING,
    },
};

use super::flaw::Flaw;
use crate::{
    model::{Authority, Fields, Name},
    upstream::has_token,
};

/// Where a head goes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Onward {
    ForwardRequest,
    ReverseRequest,
    Response,
}

/// What `Upgrade` asks for, where `Connection` says that it is meant.
pub(crate) fn upgrade(fields: &Fields) -> Option<&[u8]> {
    fields.get(Name::Upgrade).filter(|_| says(fields, Name::Connection, "upgrade"))
}

/// What makes a head of HTTP/2 say two things, or nothing certain (RFC 9113, section 8.3.1).
pub(crate) fn flaw(uri: &Uri, fields: &Fields) -> Option<Flaw> {
    let mut hosts = fields.all(Name::Host);
    let host = hosts.next();
    if hosts.next().is_some() {
        return Some(Flaw::host("there is more than one Host"));
    }
    if fields.all(Name::ContentLength).nth(1).is_some() {
        return Some(Flaw::malformed("there is more than one Content-Length"));
    }
    if uri.path_and_query().is_some_and(|path| path.as_str().starts_with('?')) {
        return Some(Flaw::path("the :path does not begin with a slash"));
    }
    match (uri.authority().map(|authority| authority.as_str().as_bytes()), host) {
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
pub(crate) fn clean(fields: &mut Fields, onward: Onward) {
    let trailers = onward != Onward::Response && says(fields, Name::Te, "trailers");
    let named = named_by_connection(fields);
    fields.retain(|field| {
        passes(field.name, onward) && !named.iter().any(|name| field.written.eq_ignore_ascii_case(name))
    });
    if trailers {
        fields.push("te", b"trailers");
        fields.push("connection", b"te");
    }
}

/// Removes from trailers what may not pass in a head, and what has no place behind a body.
pub(crate) fn clean_trailers(trailers: &mut HeaderMap, onward: Onward) {
    let passes =
        |name: &HeaderName| passes(Name::of(name.as_str().as_bytes()), onward) && !NO_TRAILERS.contains(name);
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
pub(crate) fn join_cookies(fields: &mut Fields) {
    let crumbs: Vec<&[u8]> = fields.all(Name::Cookie).collect();
    if crumbs.len() > 1 {
        let whole = crumbs.join(&b"; "[..]);
        fields.set("cookie", &whole);
    }
}

/// An interim answer's head as it goes over HTTP/1.1. It has no body, so it promises none (RFC 9110, section 8.6).
pub(crate) fn write_interim(to: &mut BytesMut, status: StatusCode, fields: &Fields) {
    let mut fields = fields.clone();
    clean(&mut fields, Onward::Response);
    fields.remove(Name::ContentLength);
    write_head(to, status, &fields);
}

/// An answer's head as it goes over HTTP/1.1.
pub(crate) fn write_head(to: &mut BytesMut, status: StatusCode, fields: &Fields) {
    to.put_slice(
        format!("HTTP/1.1 {} {}\r\n", status.as_u16(), status.canonical_reason().unwrap_or("")).as_bytes(),
    );
    fields.write(to, |_| true);
    to.put_slice(b"\r\n");
}

/// Asks the next hop for the same upgrade.
pub(crate) fn ask_upgrade(fields: &mut Fields, protocol: &[u8]) {
    fields.set("upgrade", protocol);
    fields.set("connection", b"upgrade");
}

fn passes(name: Name, onward: Onward) -> bool {
    match name {
        Name::Connection
        | Name::KeepAlive
        | Name::ProxyConnection
        | Name::Te
        | Name::TransferEncoding
        | Name::Upgrade
        | Name::ProxyAuthenticate
        | Name::ProxyAuthorization
        | Name::ProxyAuthenticationInfo
        | Name::Resin
        | Name::ResinAccount => false,
        // Each attempt tells its own where the upstream is to know; otherwise the trace ends here.
        Name::Traceparent | Name::Tracestate => onward == Onward::Response,
        // The target's is written instead.
        Name::Host => onward == Onward::Response,
        // Reverse requests come from clients that do not know of a proxy: what others said of their identity stays here.
        Name::Forwarding => onward != Onward::ReverseRequest,
        _ => true,
    }
}

/// What else belongs to this hop, as `Connection` says.
fn named_by_connection(fields: &Fields) -> Vec<Vec<u8>> {
    let lists = fields.all(Name::Connection);
    // What it mostly says names nothing that would pass.
    let lists = lists.filter(|list| !matches!(*list, b"keep-alive" | b"Keep-Alive" | b"close"));
    lists.flat_map(|list| list.split(|byte| *byte == b',')).map(|name| name.trim_ascii().to_vec()).collect()
}

fn says(fields: &Fields, name: Name, token: &str) -> bool {
    fields.all(name).any(|value| has_token(value, token.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cleaned(fields: &[(&str, &str)], onward: Onward) -> Vec<String> {
        let mut head = Fields::default();
        for (name, value) in fields {
            head.push(name, value.as_bytes());
        }
        clean(&mut head, onward);
        head.iter().map(|field| String::from_utf8_lossy(field.written).into_owned()).collect()
    }

    #[test]
    fn what_belongs_to_one_hop_goes_no_further() {
        let fields = [
            ("connection", "close, X-Private"),
            ("host", "h"),
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
        assert_eq!(cleaned(&[("te", "deflate, Trailers")], Onward::ForwardRequest), ["te", "connection"]);
        assert!(cleaned(&[("te", "trailers")], Onward::Response).is_empty());
    }
}
