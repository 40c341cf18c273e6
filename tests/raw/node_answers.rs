//! What a node says when it is asked for a tunnel: yes, no, nothing, or something else entirely.

use std::time::Duration;

/// What must come of it.
#[derive(Debug, Clone)]
pub enum Then {
    /// The tunnel opens, and these bytes are its first.
    Opens(&'static str),
    /// It does not: the proxy's own 502, or 504 where the time is over.
    Fails(u16),
}

/// What follows the node's words.
#[derive(Debug, Clone)]
pub enum Next {
    /// Both sides are joined.
    Joins,
    /// The node hangs up.
    Ends,
    /// The node says no more.
    Waits,
    /// These bytes again and again.
    Again(&'static str),
    /// It says its words byte by byte, so far apart, and then joins.
    Slowly(Duration),
}

#[derive(Debug, Clone)]
pub struct NodeRow {
    pub rfc: &'static str,
    pub what: String,
    /// Said before the node was asked.
    pub first: &'static str,
    pub say: String,
    pub next: Next,
    pub then: Then,
}

fn row(rfc: &'static str, what: &str, say: impl Into<String>, next: Next, then: Then) -> NodeRow {
    NodeRow { rfc, what: what.to_owned(), first: "", say: say.into(), next, then }
}

pub fn rows() -> Vec<NodeRow> {
    [yes(), early(), no(), junk(), endless()].concat()
}

fn yes() -> Vec<NodeRow> {
    let mut rows = Vec::new();
    for say in [
        "HTTP/1.1 200 OK",
        "HTTP/1.1 200 Connection established",
        "HTTP/1.1 200 ",
        "HTTP/1.1 200",
        "HTTP/1.0 200 OK",
        "HTTP/1.1 201 x",
        "HTTP/1.1 204 No Content",
        "HTTP/1.1 206 x",
        "HTTP/1.1 299 x",
        "HTTP/1.1 200 OK\r\nContent-Length: 0",
        "HTTP/1.1 200 OK\r\nContent-Length: 5",
        "HTTP/1.1 200 OK\r\nContent-Length: x",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked",
        "HTTP/1.1 204 x\r\nTransfer-Encoding: chunked",
        "HTTP/1.1 200 OK\r\nConnection: close",
        "HTTP/1.1 200 OK\r\nProxy-Agent: x\r\nVia: 1.1 y",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK",
        "HTTP/1.1 103 x\r\nA: b\r\n\r\nHTTP/1.1 102 x\r\n\r\nHTTP/1.1 200 OK",
    ] {
        let what = format!("yes: {say:?}");
        rows.push(row("9110 9.3.6", &what, format!("{say}\r\n\r\n"), Next::Joins, Then::Opens("")));
    }
    let slow = "HTTP/1.1 200 OK\r\nA: b\r\n\r\n";
    rows.push(row(
        "9110 9.3.6",
        "yes, slowly",
        slow,
        Next::Slowly(Duration::from_millis(2)),
        Then::Opens(""),
    ));
    rows
}

/// What stands right behind a yes is the tunnel's, whatever the head says of lengths.
fn early() -> Vec<NodeRow> {
    let mut rows = Vec::new();
    for head in [
        "HTTP/1.1 200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 204 x\r\n\r\n",
    ] {
        for early in [
            "hello",
            "x",
            "0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison",
            "220 smtp.test\r\n",
            "\u{16}\u{3}\u{3}\0\u{1}x",
        ] {
            let what = format!("{early:?} behind {head:?}");
            rows.push(row("9110 9.3.6", &what, format!("{head}{early}"), Next::Joins, Then::Opens(early)));
        }
    }
    rows
}

fn no() -> Vec<NodeRow> {
    let mut rows = Vec::new();
    for status in [
        "300", "301", "302", "400", "401", "403", "404", "407", "429", "500", "502", "503", "504", "599",
        "600", "999", "101",
    ] {
        for (what, behind) in [
            ("nothing", "\r\n"),
            ("a body", "Content-Length: 5\r\n\r\nhello"),
            ("a length and no body", "Content-Length: 500000\r\n\r\n"),
            ("chunks", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
            ("a yes", "\r\nHTTP/1.1 200 OK\r\n\r\n"),
        ] {
            let say = format!("HTTP/1.1 {status} No\r\n{behind}");
            rows.push(row(
                "9110 9.3.6",
                &format!("{status} with {what}"),
                say,
                Next::Waits,
                Then::Fails(502),
            ));
        }
    }
    for status in ["403", "407", "502"] {
        let say = format!("HTTP/1.1 {status} No\r\n\r\n");
        rows.push(row(
            "9110 9.3.6",
            &format!("{status} with a body without end"),
            say,
            Next::Again("node says no\r\n"),
            Then::Fails(502),
        ));
    }
    rows
}

fn junk() -> Vec<NodeRow> {
    let mut rows = Vec::new();
    for say in [
        "",
        "x",
        "HTTP",
        "HTTP/1.1",
        "HTTP/1.1 2",
        "HTTP/1.1 200 OK",
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.1 200 OK\r\nA: b",
        "HTTP/1.1 200 OK\r\n\r",
        "HTTP/1.1 100 Continue\r\n\r\n",
        "HTTP/1.1 103 x\r\n\r\nHTTP/1.1 2",
    ] {
        rows.push(row("9112 8", &format!("it ends behind {say:?}"), say, Next::Ends, Then::Fails(502)));
    }
    for say in [
        "\r\n\r\n\r\n\0",
        "SSH-2.0-x\r\n\r\n",
        "220 smtp.test ESMTP\r\n\r\n",
        "<html>\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "\u{16}\u{3}\u{1}\0\u{2}\u{1}\0\r\n\r\n",
        "\u{5}\0",
        "\0HTTP/1.1 200 OK\r\n\r\n",
        " HTTP/1.1 200 OK\r\n\r\n",
        "xHTTP/1.1 200 OK\r\n\r\n",
        "http/1.1 200 OK\r\n\r\n",
        "HTTP/2 200\r\n\r\n",
        "HTTP/2.0 200 OK\r\n\r\n",
        "HTTP/1.2 200 OK\r\n\r\n",
        "HTTP/0.9 200 OK\r\n\r\n",
        "ICY 200 OK\r\n\r\n",
        "HTTP/1.1 2000 OK\r\n\r\n",
        "HTTP/1.1 20 OK\r\n\r\n",
        "HTTP/1.1 000 OK\r\n\r\n",
        "HTTP/1.1 099 OK\r\n\r\n",
        "HTTP/1.1 +20 OK\r\n\r\n",
        "HTTP/1.1 abc OK\r\n\r\n",
        "HTTP/1.1  200 OK\r\n\r\n",
        "HTTP/1.1\t200 OK\r\n\r\n",
        "HTTP/1.1 200OK\r\n\r\n",
        "200 OK\r\n\r\n",
        "HTTP/1.1 200 O\0K\r\n\r\n",
        "HTTP/1.1 200 O\rK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA\r\n\r\n",
        "HTTP/1.1 200 OK\r\n: b\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n",
        "HTTP/1.1 200 OK\r\n A: b\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA: b\0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA: b\rc\r\n\r\n",
        "HTTP/1.1 100 x\r\n\r\njunk\r\n\r\n",
    ] {
        rows.push(row("9112 4", &format!("it is no answer: {say:?}"), say, Next::Waits, Then::Fails(502)));
    }
    for first in [
        "220 smtp.test\r\n",
        "SSH-2.0-x\r\n",
        "\0",
        "HTTP/1.1 407 No\r\n\r\n",
        "HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n",
    ] {
        let what = format!("it speaks first: {first:?}");
        let row = row("9110 9.3.6", &what, "HTTP/1.1 200 OK\r\n\r\n", Next::Waits, Then::Fails(502));
        rows.push(NodeRow { first, ..row });
    }
    rows
}

/// As long as the node goes on: a bound ends it.
fn endless() -> Vec<NodeRow> {
    let second = Next::Slowly(Duration::from_secs(1));
    let long = format!("HTTP/1.1 200 OK\r\nA: {}\r\n\r\n", "b".repeat(100 * 1024));
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "A: b\r\n".repeat(5000));
    let interim = format!("{}HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 100 Continue\r\n\r\n".repeat(1000));
    vec![
        row("9110 5.4", "a field of 100 KiB", long, Next::Joins, Then::Fails(502)),
        row("9110 5.4", "five thousand fields", many, Next::Joins, Then::Fails(502)),
        row(
            "9110 5.4",
            "fields without end",
            "HTTP/1.1 200 OK\r\n",
            Next::Again("A: b\r\n"),
            Then::Fails(502),
        ),
        row(
            "9110 5.4",
            "a field without end",
            "HTTP/1.1 200 OK\r\nA: ",
            Next::Again("bbbbbbbb"),
            Then::Fails(502),
        ),
        row("9112 4", "a reason without end", "HTTP/1.1 200 ", Next::Again("bbbbbbbb"), Then::Fails(502)),
        row("9112 2.2", "empty lines without end", "", Next::Again("\r\n"), Then::Fails(502)),
        row("9110 15.2", "a thousand interim answers", interim, Next::Joins, Then::Fails(502)),
        row(
            "9110 15.2",
            "interim answers without end",
            "",
            Next::Again("HTTP/1.1 100 Continue\r\n\r\n"),
            Then::Fails(502),
        ),
        row(
            "9110 15.2",
            "early hints without end",
            "",
            Next::Again("HTTP/1.1 103 x\r\nA: b\r\n\r\n"),
            Then::Fails(502),
        ),
        row("9112 8", "nothing", "", Next::Waits, Then::Fails(504)),
        row("9112 8", "half a head", "HTTP/1.1 200 OK\r\n", Next::Waits, Then::Fails(504)),
        row(
            "9112 8",
            "an interim answer and nothing",
            "HTTP/1.1 100 Continue\r\n\r\n",
            Next::Waits,
            Then::Fails(504),
        ),
        row("9112 8", "one byte a second", "HTTP/1.1 200 OK\r\nA: b\r\n\r\n", second, Then::Fails(504)),
    ]
}
