//! Heads: a request's as it is written, an answer's as it is read.

use std::{mem::MaybeUninit, time::Duration};

use bytes::{BufMut, Bytes, BytesMut};
use http::{Method, StatusCode};

use super::body::Framing;
use crate::{
    model::{Fields, Name},
    upstream::{
        connection::Unsent,
        framing::Said,
        out::{make_room, put_field, put_length},
    },
};

/// The largest head that an answer may have.
const MAX_HEAD: usize = 64 * 1024;
const MAX_FIELDS: usize = 100;

/// An answer's head as it is passed on.
#[derive(Debug)]
pub(crate) struct AnswerHead {
    pub(crate) status: StatusCode,
    /// What the status line says behind its code, where that is not the usual.
    pub(crate) reason: Option<Bytes>,
    pub(crate) fields: Fields,
}

/// The same, and what it says about what follows.
#[derive(Debug)]
pub(in crate::upstream) struct Head {
    pub(in crate::upstream) answer: AnswerHead,
    pub(in crate::upstream) framing: Framing,
    /// The connection may carry another request afterwards.
    pub(in crate::upstream) keeps: bool,
    /// How long it may idle, where that was said.
    pub(in crate::upstream) idle_limit: Option<Duration>,
}

impl Head {
    /// Another one follows. The one that ends HTTP on its connection (101) is the last.
    pub(in crate::upstream) fn is_interim(&self) -> bool {
        self.answer.status.is_informational() && self.answer.status != StatusCode::SWITCHING_PROTOCOLS
    }
}

/// Writes the head of `request`; its body has this length, where that is known. The framing is said here and nowhere
/// else.
pub(in crate::upstream) fn write_head(out: &mut BytesMut, request: &Unsent, length: Option<u64>) {
    let path = request.path.as_str();
    let has_body = request.upload.is_some();
    make_room(out, 128 + path.len() + request.host.len() + request.fields.size());
    out.put_slice(request.method.as_str().as_bytes());
    out.put_u8(b' ');
    out.put_slice(path.as_bytes());
    out.put_slice(b" HTTP/1.1\r\n");
    put_field(out, "host", request.host.as_bytes());
    request.fields.write(out, |name| match name {
        Name::Host | Name::TransferEncoding => false,
        // A length that the client gave is the body's, else it would have been refused.
        Name::ContentLength => !has_body || length.is_some(),
        _ => true,
    });
    match length {
        Some(length) if has_body && !request.fields.has(Name::ContentLength) => put_length(out, length),
        None if has_body => out.put_slice(b"transfer-encoding: chunked\r\n"),
        _ => {}
    }
    out.put_slice(b"\r\n");
}

/// Takes the head of an answer to a request of this method out of `read`, where it is whole; or says what is wrong.
pub(in crate::upstream) fn take_head(
    read: &mut BytesMut,
    looked: &mut Looked,
    method: &Method,
) -> Result<Option<Head>, String> {
    if !looked.is_due(read) {
        return Ok(None);
    }
    let Some(Parsed { answer, old, said }) = parse(read)? else {
        return if read.len() < MAX_HEAD { Ok(None) } else { Err(TOO_LARGE.to_owned()) };
    };
    *looked = Looked::default();
    if let Some(said_twice) = said.is_ambiguous(old) {
        return Err(said_twice.to_owned());
    }
    let framing = framing(answer.status, &said, method)?;
    let keeps = !old && !matches!(framing, Framing::ToTheEnd) && !said.close;
    Ok(Some(Head { answer, framing, keeps, idle_limit: said.idle_limit }))
}

/// How far a head was looked at that is not whole yet: one that comes byte by byte is not to be parsed at each.
#[derive(Debug, Default)]
pub(in crate::upstream) struct Looked {
    parsed: usize,
    seen: usize,
}

impl Looked {
    /// Its end may be there; or so much more than the last time that what it is no part of may show.
    fn is_due(&mut self, read: &[u8]) -> bool {
        let new = &read[self.seen.saturating_sub(2).min(read.len())..];
        let mut lines = memchr::memchr_iter(b'\n', new);
        let ends = lines.any(|at| matches!(&new[at + 1..], [b'\n', ..] | [b'\r', b'\n', ..]));
        self.seen = read.len();
        let due = ends || read.len() >= MAX_HEAD || (!read.is_empty() && read.len() >= 2 * self.parsed);
        if due {
            self.parsed = read.len();
        }
        due
    }
}

const TOO_LARGE: &str = "the answer's head is larger than 65536 bytes";

struct Parsed {
    answer: AnswerHead,
    /// HTTP/1.0.
    old: bool,
    said: Said,
}

fn parse(read: &mut BytesMut) -> Result<Option<Parsed>, String> {
    if read.is_empty() {
        return Ok(None);
    }
    let mut found = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut parsed = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    let status = config
        .parse_response_with_uninit_headers(&mut parsed, read, &mut found)
        .map_err(|error| format!("the answer is no HTTP: {error}"))?;
    let httparse::Status::Complete(length) = status else { return Ok(None) };
    if length > MAX_HEAD {
        return Err(TOO_LARGE.to_owned());
    }
    let status =
        StatusCode::from_u16(parsed.code.unwrap_or(0)).map_err(|_| "the answer has a status that is none")?;
    let reason =
        parsed.reason.filter(|reason| !reason.is_empty() && Some(*reason) != status.canonical_reason());
    let reason = reason.map(|reason| Bytes::copy_from_slice(reason.as_bytes()));
    let (mut fields, mut said) = (Fields::with_room(parsed.headers.len()), Said::default());
    for field in parsed.headers.iter() {
        let name = fields.note(read, field.name.as_bytes(), field.value);
        said.note(name, field.value);
    }
    let old = parsed.version == Some(0);
    fields.lie_in(read.split_to(length).freeze());
    Ok(Some(Parsed { answer: AnswerHead { status, reason, fields }, old, said }))
}

/// RFC 9112, section 6.3. What is ambiguous was refused before.
fn framing(status: StatusCode, said: &Said, method: &Method) -> Result<Framing, &'static str> {
    let bodyless = *method == Method::HEAD
        || status.is_informational()
        || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    if bodyless {
        return Ok(Framing::Length(0));
    }
    match said.length {
        _ if said.codings > 0 => Ok(Framing::chunked()),
        _ if said.lengths == 0 => Ok(Framing::ToTheEnd),
        Some(length) => Ok(Framing::Length(length)),
        None => Err("the answer's Content-Length is not one number"),
    }
}

#[cfg(test)]
mod tests {
    use http::uri::PathAndQuery;

    use super::*;
    use crate::upstream::upload::{Source, Upload};

    fn head(bytes: &[u8], method: &Method, step: usize) -> Result<Option<(Head, usize)>, String> {
        let (mut read, mut looked) = (BytesMut::new(), Looked::default());
        for part in bytes.chunks(step) {
            read.extend_from_slice(part);
            if let Some(head) = take_head(&mut read, &mut looked, method)? {
                return Ok(Some((head, read.len())));
            }
        }
        Ok(None)
    }

    #[test]
    fn a_head_is_found_whole_however_it_comes() {
        let text = b"HTTP/1.1 299 Quite fine\r\nA: 1\r\na:  2 \r\nContent-Length: 3\n\r\nabc";
        for step in 1..=text.len() {
            let (head, _) = head(text, &Method::GET, step).unwrap().unwrap();
            let fields = head.answer.fields.iter();
            let values: Vec<_> = fields.filter(|field| field.written.eq_ignore_ascii_case(b"a")).collect();
            assert_eq!((values[0].value, values[1].value), (&b"1"[..], &b"2"[..]), "{step}");
            assert_eq!(head.answer.reason.unwrap(), &b"Quite fine"[..]);
            assert!(matches!(head.framing, Framing::Length(3)) && head.keeps);
        }
        assert_eq!(head(text, &Method::GET, text.len()).unwrap().unwrap().1, 3);
        assert!(head(&text[..text.len() - 5], &Method::GET, 7).unwrap().is_none());
    }

    #[test]
    fn what_is_no_head_is_told() {
        let long = format!("HTTP/1.1 200 OK\r\na: {}", "x".repeat(70_000));
        let crowded = format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(101));
        for text in
            ["SSH-2.0-x\r\n", "HTTP/1.1 2x0 OK\r\n\r\n", "HTTP/1.1 200 OK\r\n: x\r\n\r\n", &long, &crowded]
        {
            for step in [1, 1000] {
                assert!(head(text.as_bytes(), &Method::GET, step).is_err(), "{text:.40}");
            }
        }
    }

    #[test]
    fn where_an_answer_ends_is_told_by_its_head_and_by_what_was_asked() {
        let table = [
            (Method::GET, "200", "", "end"),
            (Method::GET, "200", "content-length: 7", "7"),
            (Method::GET, "200", "transfer-encoding: chunked", "chunks"),
            (Method::HEAD, "200", "content-length: 7", "0"),
            (Method::GET, "204", "content-length: 7", "0"),
            (Method::GET, "304", "transfer-encoding: chunked", "0"),
        ];
        for (method, status, field, ends) in table {
            let text = format!("HTTP/1.1 {status} x\r\n{field}\r\n\r\n");
            let (head, _) =
                head(text.replace("\r\n\r\n\r\n", "\r\n\r\n").as_bytes(), &method, 1000).unwrap().unwrap();
            let told = match head.framing {
                Framing::Length(length) => length.to_string(),
                Framing::Chunked(_) => "chunks".to_owned(),
                Framing::ToTheEnd => "end".to_owned(),
            };
            assert_eq!(told, ends, "{method} {text:?}");
            assert_eq!(head.keeps, ends != "end");
        }
    }

    #[test]
    fn a_connection_is_kept_unless_the_answer_says_otherwise() {
        for (line, keeps) in [
            ("HTTP/1.1 204 x", true),
            ("HTTP/1.0 204 x", false),
            ("HTTP/1.1 204 x\r\nConnection: foo, CLOSE", false),
            ("HTTP/1.1 204 x\r\nConnection: closed", true),
        ] {
            let text = format!("{line}\r\n\r\n");
            assert_eq!(head(text.as_bytes(), &Method::GET, 1000).unwrap().unwrap().0.keeps, keeps, "{line}");
        }
    }

    #[test]
    fn a_request_is_framed_by_its_body_alone() {
        for (body, length, said) in [
            (false, None, "content-length: 9\r\n\r\n"),
            (true, Some(9), "content-length: 9\r\n\r\n"),
            (true, None, "transfer-encoding: chunked\r\n\r\n"),
        ] {
            let upload = body.then(|| Upload::over(Source::Script([].into())));
            let mut request = Unsent::example(Method::POST, upload);
            request.path = PathAndQuery::from_static("/a?b");
            request.fields.push("Host", b"another");
            request.fields.push("content-length", b"9");
            request.fields.push("transfer-encoding", b"gzip");
            let mut out = BytesMut::new();
            write_head(&mut out, &request, length);
            assert_eq!(
                std::str::from_utf8(&out).unwrap(),
                format!("POST /a?b HTTP/1.1\r\nhost: origin.example\r\n{said}")
            );
        }
    }
}
