//! One request's head as bytes: where it ends, and whether it says one thing only.

use std::mem::MaybeUninit;

use bytes::Bytes;
use http::{Method, Uri, Version};
use memchr::{memchr, memchr_iter};

use crate::{
    model::{Authority, Fields, Name},
    proxy::{flaw::Flaw, message::Request},
    upstream::{Framing, has_token},
};

/// How large a head may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HeadLimits {
    /// `RESIN_MAX_HEADER_BYTES`: the request line and all fields.
    pub(crate) bytes: usize,
    /// `RESIN_MAX_HEADERS`.
    pub(crate) fields: usize,
    /// `RESIN_MAX_REQUEST_LINE`.
    pub(crate) line: usize,
}

/// So many fields need no memory of their own to be found.
const USUAL_FIELDS: usize = 100;
/// The longest body that anybody counts.
const MAX_LENGTH: u64 = u64::MAX - 2;

/// A request's head.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) request: Request,
    pub(crate) manner: Manner,
}

/// What a head says about this connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Manner {
    /// HTTP/1.0.
    pub(crate) old: bool,
    /// The client may ask for more afterwards.
    pub(crate) keeps: bool,
    pub(crate) expects_continue: bool,
    pub(crate) takes_trailers: bool,
    pub(crate) asks_tunnel: bool,
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

/// Takes a whole head apart: the request, and how the body behind it is framed.
pub(super) fn parse(head: &Bytes, limits: HeadLimits) -> Result<(Head, Framing), Flaw> {
    let mut usual = [const { MaybeUninit::uninit() }; USUAL_FIELDS];
    let mut more = Vec::new();
    let fields = if limits.fields <= USUAL_FIELDS {
        &mut usual[..limits.fields]
    } else {
        more.resize_with(limits.fields, MaybeUninit::uninit);
        &mut more[..]
    };
    let mut parsed = httparse::Request::new(&mut []);
    match parsed.parse_with_uninit_headers(head, fields) {
        Ok(httparse::Status::Complete(length)) if length == head.len() => {}
        Ok(_) => return Err(Flaw::malformed("the head ends in its middle")),
        Err(httparse::Error::TooManyHeaders) => return Err(Flaw::many_fields(limits)),
        Err(error) => return Err(Flaw::malformed(format!("the head is not HTTP/1.1: {error}"))),
    }
    let (Some(method), Some(target), Some(minor)) = (parsed.method, parsed.path, parsed.version) else {
        return Err(Flaw::malformed("the request line is not HTTP/1.1"));
    };
    let method = Method::from_bytes(method.as_bytes()).map_err(|_| Flaw::malformed("the method is none"))?;
    let uri = uri(head.slice_ref(target.as_bytes()), &method, target)?;
    let pathless = method == Method::OPTIONS && is_pathless(target);

    let (mut fields, mut told) = (Fields::with_room(parsed.headers.len()), Told::default());
    for field in parsed.headers.iter() {
        let name = fields.note(head, field.name.as_bytes(), field.value);
        told.note(name, field.value)?;
    }
    fields.lie_in(head.clone());
    told.check_host(minor, uri.authority())?;
    let framing = told.framing(minor)?;
    let connect = method == Method::CONNECT;
    if connect && !framing.is_over() {
        return Err(Flaw::malformed("CONNECT takes no body"));
    }
    let manner = Manner {
        old: minor == 0,
        keeps: if minor == 0 { told.keep_alive && !told.close } else { !told.close },
        expects_continue: told.expects_continue && minor == 1,
        takes_trailers: told.trailers && minor == 1,
        asks_tunnel: connect || (told.upgrade && minor == 1),
    };
    let version = if minor == 0 { Version::HTTP_10 } else { Version::HTTP_11 };
    let request = Request { method, uri, pathless, version, fields, body: None };
    Ok((Head { request, manner }, framing))
}

/// The fields that decide, as the client told them.
#[derive(Debug, Default)]
struct Told<'h> {
    host: Option<&'h [u8]>,
    length: Option<&'h [u8]>,
    coding: Option<&'h [u8]>,
    upgrade: bool,
    close: bool,
    keep_alive: bool,
    expects_continue: bool,
    trailers: bool,
}

impl<'h> Told<'h> {
    fn note(&mut self, name: Name, value: &'h [u8]) -> Result<(), Flaw> {
        match name {
            Name::Host if self.host.replace(value).is_some() => {
                Err(Flaw::host("there is more than one Host"))
            }
            Name::ContentLength if self.length.replace(value).is_some() => {
                Err(Flaw::malformed("there is more than one Content-Length"))
            }
            Name::TransferEncoding if self.coding.replace(value).is_some() => {
                Err(Flaw::malformed("there is more than one Transfer-Encoding"))
            }
            Name::Connection => {
                self.close |= has_token(value, b"close");
                self.keep_alive |= has_token(value, b"keep-alive");
                Ok(())
            }
            Name::Expect => {
                self.expects_continue = value.eq_ignore_ascii_case(b"100-continue");
                Ok(())
            }
            Name::Te => {
                self.trailers |= has_token(value, b"trailers");
                Ok(())
            }
            Name::Upgrade => {
                self.upgrade = true;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// RFC 9112, section 3.2.
    fn check_host(&self, minor: u8, target: Option<&http::uri::Authority>) -> Result<(), Flaw> {
        match self.host {
            // It is checked where the target is.
            Some(host) if target.is_some_and(|target| target.as_str().as_bytes() == host) => Ok(()),
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
            (Some(coding), None) if coding.eq_ignore_ascii_case(b"chunked") => {
                Ok(Framing::strictly_chunked())
            }
            (Some(_), None) => Err(Flaw::malformed("the only Transfer-Encoding that is taken is chunked")),
            (None, Some(length)) => digits(length).map(Framing::Length),
            (None, None) => Ok(Framing::NONE),
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

/// The target, in whichever form it is.
fn uri(bytes: Bytes, method: &Method, target: &str) -> Result<Uri, Flaw> {
    if memchr(b'#', target.as_bytes()).is_some() {
        return Err(Flaw::malformed("the request target has a fragment"));
    }
    if target == "*" && method != Method::OPTIONS {
        return Err(Flaw::malformed("the target * is for OPTIONS alone"));
    }
    Uri::from_maybe_shared(bytes).map_err(|error| {
        if target.starts_with('/') {
            Flaw::path(format!("the path is not valid: {error}"))
        } else {
            Flaw::host(format!("the request target is not valid: {error}"))
        }
    })
}

fn is_pathless(target: &str) -> bool {
    let behind = target.split_once("://").map(|(_, behind)| behind);
    behind.is_some_and(|authority| !authority.contains(['/', '?']))
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
