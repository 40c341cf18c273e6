//! CONNECT takes no body, what stands behind it belongs to the tunnel or to nobody; and requests that end before they do.

use super::row::{CONNECT, Row, pipelined, refused, truncated, up, up_and_end};
use crate::support::client::WAYS;

const CHUNKS: &str = "5\r\nhello\r\n0\r\n\r\n";

pub fn rows() -> Vec<Row> {
    [on_connect(), nowhere(), expecting(), cut()].concat()
}

/// A tunnel that does not come about leaves nothing behind that could run.
fn nowhere() -> Vec<Row> {
    let mut rows = Vec::new();
    for (what, authority) in [("a port that refuses", "127.0.0.1:1"), ("another that does", "[::1]:1")] {
        for (kind, behind) in [
            ("nothing", ""),
            ("a request", "GET http://<A>/hidden HTTP/1.1\r\nHost: <A>\r\n\r\n"),
            ("a reverse request", "GET /any/Default/http/<A>/hidden HTTP/1.1\r\nHost: <A>\r\n\r\n"),
            ("another CONNECT", "CONNECT <A> HTTP/1.1\r\nHost: <A>\r\n\r\n"),
            ("TLS", "\u{16}\u{3}\u{1}\0\u{5}hello"),
        ] {
            let say = format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n{behind}");
            let row = refused(
                "9931",
                &format!("{kind} behind a CONNECT to {what}"),
                say,
                "UPSTREAM_CONNECT_FAILED",
            );
            rows.push(
                Row { then: super::row::Then::Refused(502, "UPSTREAM_CONNECT_FAILED"), ..row }.on(CONNECT),
            );
        }
    }
    let early = "CONNECT <A> HTTP/1.1\r\nHost: <A>\r\n\r\nGET /early HTTP/1.1\r\nHost: <A>\r\n\r\n";
    rows.push(
        pipelined("9110 9.3.6", "a request sent ahead goes through the tunnel", early, &["GET /early"])
            .on(CONNECT),
    );
    rows
}

fn on_connect() -> Vec<Row> {
    let say =
        |fields: &str, behind: &str| format!("CONNECT <A> HTTP/1.1\r\nHost: <A>\r\n{fields}\r\n{behind}");
    let refused = |what: &str, fields: &str, behind: &str| {
        refused("9110 9.3.6", what, say(fields, behind), "*").on(CONNECT)
    };
    vec![
        refused("CONNECT with a length", "Content-Length: 5\r\n", "hello"),
        refused("CONNECT with a length and nothing behind", "Content-Length: 5\r\n", ""),
        refused("CONNECT with chunks", "Transfer-Encoding: chunked\r\n", CHUNKS),
        refused("CONNECT with no chunk but the last", "Transfer-Encoding: chunked\r\n", "0\r\n\r\n"),
        refused("CONNECT with another coding", "Transfer-Encoding: identity\r\n", ""),
        refused(
            "CONNECT with a coding and a length",
            "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n",
            CHUNKS,
        ),
        refused("CONNECT with two lengths of nought", "Content-Length: 0\r\nContent-Length: 0\r\n", ""),
        refused("CONNECT with a list of noughts", "Content-Length: 0, 0\r\n", ""),
        refused("CONNECT with a length that is none", "Content-Length: x\r\n", ""),
        refused(
            "CONNECT that expects to send a body",
            "Expect: 100-continue\r\nContent-Length: 5\r\n",
            "hello",
        ),
        up("9110 9.3.6", "CONNECT with a length of nought", say("Content-Length: 0\r\n", ""), "").on(CONNECT),
        up("9110 9.3.6", "CONNECT", say("", ""), "").on(CONNECT),
        up(
            "9110 9.3.6",
            "CONNECT that says keep-alive",
            say("Connection: keep-alive\r\nProxy-Connection: keep-alive\r\n", ""),
            "",
        )
        .on(CONNECT),
        up("9110 9.3.6", "CONNECT that says close", say("Connection: close\r\n", ""), "").on(CONNECT),
        up(
            "9110 7.8",
            "CONNECT that asks for an upgrade",
            say("Connection: upgrade\r\nUpgrade: websocket\r\n", ""),
            "",
        )
        .on(CONNECT),
        up("9110 9.3.6", "CONNECT of HTTP/1.0", "CONNECT <A> HTTP/1.0\r\n\r\n", "").on(CONNECT),
    ]
}

/// `Expect` neither hides a body nor makes one.
fn expecting() -> Vec<Row> {
    let say = |fields: &str, body: &str| format!("POST <T> HTTP/1.1\r\nHost: <A>\r\n{fields}\r\n{body}");
    let heard = |fields: &str| format!("POST /it\n{fields}\n\nhello");
    let length = "Expect: 100-continue\r\nContent-Length: 5\r\n";
    let chunked = "Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n";
    let old = "POST <T> HTTP/1.0\r\nHost: <A>\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello";
    let mut rows = vec![
        up(
            "9110 10.1.1",
            "100-continue, and the body is there",
            say(length, "hello"),
            &heard("Expect: 100-continue\nContent-Length: 5"),
        ),
        up(
            "9110 10.1.1",
            "100-continue, and chunks are there",
            say(chunked, CHUNKS),
            &heard("Expect: 100-continue\nTransfer-Encoding: chunked"),
        ),
        up(
            "9110 10.1.1",
            "100-continue in capitals",
            say("EXPECT: 100-CONTINUE\r\nContent-Length: 5\r\n", "hello"),
            &heard("Expect: 100-CONTINUE\nContent-Length: 5"),
        ),
        up(
            "9110 10.1.1",
            "100-continue without a body",
            say("Expect: 100-continue\r\nContent-Length: 0\r\n", ""),
            "POST /it\nExpect: 100-continue\nContent-Length: 0",
        ),
        up_and_end(
            "9110 10.1.1",
            "100-continue of an old client",
            old,
            &heard("Expect: 100-continue\nContent-Length: 5"),
        ),
    ];
    for (what, fields) in [
        ("a length and a coding", "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"),
        ("two lengths", "Content-Length: 5\r\nContent-Length: 5\r\n"),
        ("two codings", "Transfer-Encoding: gzip, chunked\r\n"),
    ] {
        let say = say(&format!("Expect: 100-continue\r\n{fields}"), CHUNKS);
        rows.push(refused("9110 10.1.1", &format!("100-continue with {what}"), say, "*"));
    }
    rows.push(truncated("9110 10.1.1", "100-continue, and half a body", say(length, "hel")));
    rows
}

/// The client ends before its request does.
fn cut() -> Vec<Row> {
    let head = "POST <T> HTTP/1.1\r\nHost: <A>\r\n";
    vec![
        truncated("9112 8", "the head ends early", head).on(&WAYS),
        truncated("9112 8", "the request line ends early", "GET <T> HT"),
        truncated(
            "9112 8",
            "the body is shorter than its length",
            format!("{head}Content-Length: 10\r\n\r\nhello"),
        ),
        truncated("9112 8", "the body does not come", format!("{head}Content-Length: 10\r\n\r\n")),
        truncated("9112 8", "a body of one byte does not come", format!("{head}Content-Length: 1\r\n\r\n")),
    ]
}
