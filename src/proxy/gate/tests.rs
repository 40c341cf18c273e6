//! The gate against bytes: what it lets through, and where it stops.

use super::*;
use crate::model::ResinError;

const LIMITS: HeadLimits = HeadLimits { bytes: 1024, fields: 10, line: 256 };

/// What passes of `bytes`, shown whole, and then what is said of the rest.
fn at_once(bytes: &[u8]) -> (usize, Option<Flaw>) {
    let mut gate = Gate::new(LIMITS);
    let mut passed = 0;
    loop {
        match gate.pass(&bytes[passed..]) {
            Ok(0) => return (passed, None),
            Ok(more) => passed += more,
            Err(flaw) => return (passed, Some(flaw)),
        }
    }
}

/// The same, shown as if each byte came alone.
fn bit_by_bit(bytes: &[u8]) -> (usize, Option<Flaw>) {
    let mut gate = Gate::new(LIMITS);
    let mut passed = 0;
    for shown in 1..=bytes.len() {
        match gate.pass(&bytes[passed..shown]) {
            Ok(more) => passed += more,
            Err(flaw) => return (passed, Some(flaw)),
        }
    }
    (passed, None)
}

fn passes(bytes: &[u8]) -> (usize, Option<Flaw>) {
    let (told, slowly) = (at_once(bytes), bit_by_bit(bytes));
    assert_eq!(told.0, slowly.0, "{:?}", String::from_utf8_lossy(bytes));
    assert_eq!(told.1, slowly.1, "{:?}", String::from_utf8_lossy(bytes));
    told
}

#[test]
fn good_requests_pass_one_behind_the_other_up_to_the_last_byte() {
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
fn a_head_passes_only_when_it_is_whole() {
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
    let unread = at_once(b"GET /\xc3\x28 HTTP/1.1\r\nHost: a\r\n\r\n").1.unwrap();
    assert_eq!(unread.code.unwrap_or(UrlParseError), UrlParseError);
}

#[test]
fn what_follows_a_request_for_a_tunnel_waits_until_it_is_decided() {
    let connect = "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n";
    let upgrade = "POST / HTTP/1.1\r\nHost: a\r\nUpgrade: x\r\nContent-Length: 2\r\n\r\nab";
    for head in [connect, upgrade] {
        let sent = format!("{head}GET / HTTP/1.1\r\nHost: a\r\n\r\n\0");
        assert_eq!(passes(sent.as_bytes()), (head.len(), None));
        let rest = &sent.as_bytes()[head.len()..];

        let mut gate = Gate::new(LIMITS);
        assert_eq!(gate.pass(sent.as_bytes()), Ok(head.len()));
        assert!(!gate.listens());
        gate.open();
        assert_eq!(gate.pass(rest), Ok(rest.len()));

        let mut gate = Gate::new(LIMITS);
        assert_eq!(gate.pass(sent.as_bytes()), Ok(head.len()));
        gate.settle();
        assert_eq!(gate.pass(rest), Ok(rest.len() - 1));
        assert!(gate.pass(b"\0").is_err());

        gate.shut();
        assert_eq!(gate.pass(b"GET"), Ok(0));
    }
}

#[test]
fn a_garbled_body_passes_up_to_where_it_is_garbled() {
    let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let sent = format!("{head}3\r\nabcX\r\n0\r\n\r\n");
    let (passed, flaw) = passes(sent.as_bytes());
    assert_eq!(passed, head.len() + "3\r\nabc".len());
    assert_eq!(flaw.unwrap().status.as_u16(), 400);
}
