//! The reader against bytes: what it takes, and where it stops.

use bytes::BytesMut;

use super::*;
use crate::{model::ResinError, upstream};

const LIMITS: HeadLimits = HeadLimits { bytes: 1024, fields: 10, line: 256 };

/// How many of these bytes are taken when they come in such pieces, and what is said of the rest.
fn taken(bytes: &[u8], piece: usize) -> (usize, Option<Flaw>) {
    let (mut reader, mut read, mut come) = (Reader::new(LIMITS), BytesMut::new(), 0);
    for part in bytes.chunks(piece) {
        read.extend_from_slice(part);
        come += part.len();
        loop {
            let more = if reader.body().is_over() {
                reader.take_head(&mut read).map(|head| head.is_some())
            } else {
                let next = reader.take_body(&mut read).map_err(Flaw::malformed);
                next.map(|next| next != upstream::Next::More)
            };
            match more {
                Ok(true) => {}
                Ok(false) => break,
                Err(flaw) => return (come - read.len(), Some(flaw)),
            }
        }
    }
    (come - read.len(), None)
}

fn passes(bytes: &[u8]) -> (usize, Option<Flaw>) {
    let told = taken(bytes, bytes.len().max(1));
    assert_eq!(told, taken(bytes, 1), "{:?}", String::from_utf8_lossy(bytes));
    told
}

#[test]
fn good_requests_are_taken_one_behind_the_other_up_to_the_last_byte() {
    let good = [
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /x?y=/z%20 HTTP/1.0\r\n\r\n",
        "\r\nGET http://a.example:8080/ HTTP/1.1\r\nhost:b\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
        "POST / HTTP/1.1\r\nHost: a\r\ncontent-LENGTH:  007 \r\n\r\n0123456",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n3\r\nabc\r\n0\r\nx: y\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: [::1]:80\r\nX-Empty:\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
        "M-SEARCH /\"{}| HTTP/1.1\r\nHost: a\r\n\r\n",
    ];
    let all = good.concat();
    assert_eq!(passes(all.as_bytes()), (all.len(), None));
    for one in good {
        assert_eq!(passes(one.as_bytes()), (one.len(), None), "{one:?}");
        let cut = &one[..one.len() - 1];
        assert_eq!(passes(cut.as_bytes()).1, None, "{one:?}");
    }
}

#[test]
fn a_head_is_taken_only_when_it_is_whole() {
    let head = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    for cut in 0..head.len() {
        assert_eq!(passes(&head.as_bytes()[..cut]), (0, None));
    }
}

#[test]
fn a_head_that_says_two_things_or_nothing_is_refused() {
    use ResinError::{InvalidHost, UrlParseError};
    let line = "x".repeat(300);
    let table: Vec<(String, u16, Option<ResinError>)> = [
        ("GET / HTTP/1.1\r\n\r\n", 400, Some(InvalidHost)),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400, Some(InvalidHost)),
        ("GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", 400, Some(InvalidHost)),
        ("GET / HTTP/1.1\r\nHost:\r\n\r\n", 400, Some(InvalidHost)),
        ("GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", 400, Some(InvalidHost)),
        ("GET / HTTP/1.1\r\nHost: a]\r\n\r\n", 400, Some(InvalidHost)),
        ("GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", 400, Some(InvalidHost)),
        ("GET / HTTP/1.1\r\nHost: a:+80\r\n\r\n", 400, Some(InvalidHost)),
        ("GET http:// HTTP/1.1\r\nHost: a\r\n\r\n", 400, Some(InvalidHost)),
        ("CONNECT [::1 HTTP/1.1\r\nHost: a\r\n\r\n", 400, Some(InvalidHost)),
        ("GET /\\\x7f HTTP/1.1\r\nHost: a\r\n\r\n", 400, None),
        ("GET /#x HTTP/1.1\r\nHost: a\r\n\r\n", 400, None),
        ("GET http://a/#x HTTP/1.1\r\nHost: a\r\n\r\n", 400, None),
        ("GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400, None),
        ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx", 400, None),
        ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\nx", 400, None),
        ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\nx", 400, None),
        ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\nx", 400, None),
        ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551614\r\n\r\n", 400, None),
        ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400, None),
        ("GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n", 400, None),
        ("GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 400, None),
        ("GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n", 400, None),
        ("GET / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", 400, None),
        ("CONNECT a:1 HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx", 400, None),
        ("CONNECT a:1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", 400, None),
        ("GET / HTTP/1.1\nHost: a\r\n\r\n", 400, None),
        ("GET / HTTP/1.1\r\nHost: a\n\n", 400, None),
        ("GET / HTTP/1.1\r\nHost: a\r\nx: a\rb\r\n\r\n", 400, None),
        ("GET / HTTP/1.1\r\nHost: a\r\nx: a\0b\r\n\r\n", 400, None),
        ("GET / HTTP/1.1\r\nHost: a\r\n y: z\r\n\r\n", 400, None),
        ("GET / HTTP/1.1\r\nHost: a\r\ny : z\r\n\r\n", 400, None),
        ("GET / HTTP/1.2\r\nHost: a\r\n\r\n", 400, None),
        ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", 400, None),
        ("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400, None),
        ("GET /\r\n\r\n", 400, None),
        ("\x16\x03\x01", 400, None),
        ("\nGET / HTTP/1.1\r\n", 400, None),
        ("\rGET / HTTP/1.1\r\n", 400, None),
    ]
    .into_iter()
    .map(|(head, status, code)| (head.to_owned(), status, code))
    .chain([
        (format!("GET /{line} HTTP/1.1\r\nHost: a\r\n\r\n"), 414, None),
        (format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "x: y\r\n".repeat(10)), 431, None),
        (
            format!("GET / HTTP/1.1\r\nHost: a\r\n{}", "x: yyyyyyyyyyyyyyyyyyyyyyyyyy\r\n".repeat(40)),
            431,
            None,
        ),
        (format!("GET / HTTP/1.1\r\nHost: a\r\nx: {}", line.repeat(4)), 431, None),
    ])
    .collect();
    for (head, status, code) in table {
        let (passed, flaw) = passes(head.as_bytes());
        let flaw = flaw.unwrap_or_else(|| panic!("it passed: {head:?}"));
        assert_eq!((flaw.status.as_u16(), flaw.code), (status, code), "{head:?}: {flaw:?}");
        assert!(passed <= 1, "{head:?}");
    }
    let unread = passes(b"GET /\xc3\x28 HTTP/1.1\r\nHost: a\r\n\r\n").1.unwrap();
    assert_eq!(unread.code.unwrap_or(UrlParseError), UrlParseError);
}

#[test]
fn a_garbled_body_is_taken_up_to_where_it_is_garbled() {
    let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let sent = format!("{head}3\r\nabcX\r\n0\r\n\r\n");
    let (passed, flaw) = passes(sent.as_bytes());
    assert_eq!(passed, head.len() + "3\r\nabc".len());
    assert_eq!(flaw.unwrap().status.as_u16(), 400);
}
