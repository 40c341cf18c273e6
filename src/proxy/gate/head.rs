//! One request's head as bytes: where it ends, and whether it says one thing only.

use std::mem::MaybeUninit;

use http::Uri;
use memchr::{memchr, memchr_iter};

use super::{Flaw, Framing, HeadLimits};
use crate::model::Authority;

/// hyper's own number, for which it needs no memory.
pub(crate) const USUAL_FIELDS: usize = 100;
/// The longest body that hyper can count.
const MAX_LENGTH: u64 = u64::MAX - 2;

/// What of a head decides over the bytes behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) framing: Framing,
    pub(super) asks_tunnel: bool,
    /// `OPTIONS http://host`, which is not `OPTIONS http://host/`.
    pub(super) pathless: bool,
}

/// Where the head at the front of `bytes` ends, once it does. What was searched is remembered in `scanned`.
pub(super) fn end(bytes: &[u8], scanned: &mut usize, limits: HeadLimits) -> Result<Option<usize>, Flaw> {
    if !bytes.first().is_some_and(|first| is_token(*first)) {
        return Err(Flaw::malformed("a request does not begin like this"));
    }
    if bytes.len() > limits.line && memchr(b'\n', &bytes[..limits.line]).is_none() {
        return Err(Flaw::long_line(limits));
    }
    let from = *scanned;
    for at in memchr_iter(b'\n', &bytes[from..]).map(|at| from + at) {
        if at == 0 || bytes[at - 1] != b'\r' {
            return Err(Flaw::malformed("a line of the head ends without CR"));
        }
        if at + 1 > limits.bytes {
            return Err(Flaw::large_head(limits));
        }
        if bytes[..at].ends_with(b"\r\n\r") {
            return Ok(Some(at + 1));
        }
    }
    if bytes.len() > limits.bytes {
        return Err(Flaw::large_head(limits));
    }
    *scanned = bytes.len();
    Ok(None)
}

/// Looks at a whole head.
pub(super) fn look(head: &[u8], limits: HeadLimits) -> Result<Found, Flaw> {
    let mut usual = [const { MaybeUninit::uninit() }; USUAL_FIELDS];
    let mut more = Vec::new();
    let fields = if limits.fields <= USUAL_FIELDS {
        &mut usual[..limits.fields]
    } else {
        more.resize_with(limits.fields, MaybeUninit::uninit);
        &mut more[..]
    };
    let mut request = httparse::Request::new(&mut []);
    match request.parse_with_uninit_headers(head, fields) {
        Ok(httparse::Status::Complete(length)) if length == head.len() => {}
        Ok(_) => return Err(Flaw::malformed("the head ends in its middle")),
        Err(httparse::Error::TooManyHeaders) => return Err(Flaw::many_fields(limits)),
        Err(error) => return Err(Flaw::malformed(format!("the head is not HTTP/1.1: {error}"))),
    }
    let (Some(method), Some(target), Some(minor)) = (request.method, request.path, request.version) else {
        return Err(Flaw::malformed("the request line is not HTTP/1.1"));
    };
    let connect = method == "CONNECT";
    check_target(method, target)?;
    let told = Told::of(request.headers)?;
    told.check_host(minor)?;
    let framing = told.framing(minor)?;
    if connect && framing != Framing::Length(0) {
        return Err(Flaw::malformed("CONNECT takes no body"));
    }
    Ok(Found {
        framing,
        asks_tunnel: connect || (told.upgrade && minor == 1),
        pathless: method == "OPTIONS" && is_pathless(target),
    })
}

/// The fields that decide, as the client told them.
#[derive(Debug, Default)]
struct Told<'h> {
    host: Option<&'h [u8]>,
    length: Option<&'h [u8]>,
    coding: Option<&'h [u8]>,
    upgrade: bool,
}

impl<'h> Told<'h> {
    fn of(fields: &[httparse::Header<'h>]) -> Result<Self, Flaw> {
        let mut told = Self::default();
        for field in fields {
            let slot = match field.name.len() {
                4 if field.name.eq_ignore_ascii_case("host") => &mut told.host,
                14 if field.name.eq_ignore_ascii_case("content-length") => &mut told.length,
                17 if field.name.eq_ignore_ascii_case("transfer-encoding") => &mut told.coding,
                7 if field.name.eq_ignore_ascii_case("upgrade") => {
                    told.upgrade = true;
                    continue;
                }
                _ => continue,
            };
            if slot.replace(field.value).is_some() {
                return Err(match field.name.len() {
                    4 => Flaw::host("there is more than one Host"),
                    14 => Flaw::malformed("there is more than one Content-Length"),
                    _ => Flaw::malformed("there is more than one Transfer-Encoding"),
                });
            }
        }
        Ok(told)
    }

    /// RFC 9112, section 3.2.
    fn check_host(&self, minor: u8) -> Result<(), Flaw> {
        match self.host {
            None if minor == 0 => Ok(()),
            None => Err(Flaw::host("there is no Host")),
            Some(host) => match std::str::from_utf8(host).map(Authority::check) {
                Ok(Ok(())) => Ok(()),
                Ok(Err(error)) => Err(Flaw::host(format!("the Host is not valid: {error}"))),
                Err(_) => Err(Flaw::host("the Host is not valid: it is not ASCII")),
            },
        }
    }

    /// RFC 9112, section 6.3, without what it merely tolerates.
    fn framing(&self, minor: u8) -> Result<Framing, Flaw> {
        match (self.coding, self.length) {
            (Some(_), Some(_)) => {
                Err(Flaw::malformed("there is a Content-Length beside the Transfer-Encoding"))
            }
            (Some(_), None) if minor == 0 => Err(Flaw::malformed("HTTP/1.0 has no Transfer-Encoding")),
            (Some(coding), None) if coding.eq_ignore_ascii_case(b"chunked") => Ok(Framing::Chunked),
            (Some(_), None) => Err(Flaw::malformed("the only Transfer-Encoding that is taken is chunked")),
            (None, Some(length)) => digits(length).map(Framing::Length),
            (None, None) => Ok(Framing::Length(0)),
        }
    }
}

fn digits(text: &[u8]) -> Result<u64, Flaw> {
    let number = std::str::from_utf8(text).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    match number.and_then(|text| text.parse().ok()) {
        Some(number) if number <= MAX_LENGTH => Ok(number),
        _ => Err(Flaw::malformed("the Content-Length is not one number, or too large")),
    }
}

/// Refuses what hyper's own reader would refuse without a word, and what it would leave out.
fn check_target(method: &str, target: &str) -> Result<(), Flaw> {
    if memchr(b'#', target.as_bytes()).is_some() {
        return Err(Flaw::malformed("the request target has a fragment"));
    }
    if target == "*" {
        return if method == "OPTIONS" {
            Ok(())
        } else {
            Err(Flaw::malformed("the target * is for OPTIONS alone"))
        };
    }
    let origin_form = target.starts_with('/');
    if is_usual(target) {
        return Ok(());
    }
    match target.parse::<Uri>() {
        Ok(_) => Ok(()),
        Err(error) if origin_form => Err(Flaw::path(format!("the path is not valid: {error}"))),
        Err(error) => Err(Flaw::host(format!("the request target is not valid: {error}"))),
    }
}

/// What every reader takes: a plain path, or that behind `http://` and a plain host.
fn is_usual(target: &str) -> bool {
    let path = match target.strip_prefix("http://") {
        None => target,
        Some(behind) => {
            let Some(slash) = memchr(b'/', behind.as_bytes()) else { return false };
            let (host, path) = behind.split_at(slash);
            let (host, port) = host.split_once(':').unwrap_or((host, "80"));
            let plain_host =
                host.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'.' || byte == b'-');
            let plain_port = (1..=4).contains(&port.len()) && port.bytes().all(|byte| byte.is_ascii_digit());
            if host.is_empty() || !plain_host || !plain_port {
                return false;
            }
            path
        }
    };
    path.starts_with('/') && path.bytes().all(is_plain)
}

fn is_pathless(target: &str) -> bool {
    let behind = target.split_once("://").map(|(_, behind)| behind);
    behind.is_some_and(|authority| !authority.contains(['/', '?']))
}

/// What every reader of a path takes (RFC 3986, section 3.3, with `?` for the query).
fn is_plain(byte: u8) -> bool {
    const PLAIN: [bool; 256] = {
        let (mut table, mut byte) = ([false; 256], 0);
        while byte < 128 {
            table[byte] = matches!(byte as u8, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'!'
                | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=' | b':' | b'@' | b'/' | b'?' | b'%');
            byte += 1;
        }
        table
    };
    PLAIN[usize::from(byte)]
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
