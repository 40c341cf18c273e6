//! Answers of an origin: what is no answer, what is cut, and what stands behind one.

use super::{
    answer_run::{AnswerRow, Seen, row},
    script::End,
};

const HELLO: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

pub fn rows() -> Vec<AnswerRow> {
    [good(), framings(), heads(), status_lines(), interim()].concat()
}

fn bad(rfc: &'static str, what: &str, say: impl Into<String>) -> AnswerRow {
    row(rfc, what, say, End::Stays, Seen::Bad)
}

fn whole(rfc: &'static str, what: &str, say: impl Into<String>, body: &str) -> AnswerRow {
    row(rfc, what, say, End::Stays, Seen::Whole(200, body.to_owned()))
}

fn good() -> Vec<AnswerRow> {
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\n\r\n";
    let fields = "HTTP/1.1 200 OK\r\nConnection: X-Named\r\nX-Named: drop\r\nKeep-Alive: timeout=5\r\nUpgrade: h2c\r\n\
                  Proxy-Authenticate: Basic\r\nX-Resin-Error: x\r\nProxy-Connection: close\r\nX-A: b\r\nContent-Length: 5\r\n\r\nhello";
    vec![
        whole("9112 6.2", "a length", HELLO, "hello"),
        whole("9112 7.1", "chunks", chunked, "hello"),
        whole("9112 6.3", "a length of nought", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", ""),
        whole("9112 6.3", "to the end", "HTTP/1.1 200 OK\r\n\r\nhello", "hello").ending(End::Fin),
        whole(
            "9112 6.3",
            "to the end, and it says so",
            "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello",
            "hello",
        )
        .ending(End::Fin),
        whole(
            "9112 9.6",
            "a length and close",
            "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello",
            "hello",
        ),
        whole(
            "9112 9.3",
            "HTTP/1.0 with a length",
            "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello",
            "hello",
        ),
        whole(
            "9112 9.3",
            "HTTP/1.0 kept alive",
            "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\nhello",
            "hello",
        ),
        whole("9112 9.3", "HTTP/1.0 to the end", "HTTP/1.0 200 OK\r\n\r\nhello", "hello").ending(End::Fin),
        whole("9112 4", "no reason", "HTTP/1.1 200 \r\nContent-Length: 5\r\n\r\nhello", "hello"),
        whole("9112 4", "no reason and no space", "HTTP/1.1 200\r\nContent-Length: 5\r\n\r\nhello", "hello"),
        whole(
            "9112 4",
            "a reason beyond ASCII",
            "HTTP/1.1 200 \u{e4}\u{ff}\r\nContent-Length: 5\r\n\r\nhello",
            "hello",
        ),
        whole("9112 5", "names in any case", "HTTP/1.1 200 OK\r\ncOnTeNt-LeNgTh:5\r\n\r\nhello", "hello"),
        whole(
            "9110 8.6",
            "a length with noughts before it",
            "HTTP/1.1 200 OK\r\nContent-Length: 0005\r\n\r\nhello",
            "hello",
        ),
        whole(
            "9112 6.3",
            "names that look like framing",
            "HTTP/1.1 200 OK\r\nContent_Length: 9\r\nTransfer_Encoding: chunked\r\nContent-Length: 5\r\n\r\nhello",
            "hello",
        ),
        whole("9110 7.6.1", "fields of this hop", fields, "hello").lines(&[
            "x-named",
            "keep-alive",
            "upgrade",
            "proxy-authenticate",
            "x-resin-error",
            "proxy-connection",
            "x-a: b",
        ]),
        whole(
            "9112 2.2",
            "lines that end with LF alone",
            "HTTP/1.1 200 OK\nX-A: b\nContent-Length: 5\n\nhello",
            "hello",
        )
        .lines(&["x-a: b"]),
        whole(
            "9112 6.3",
            "close and a length, and more behind",
            "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello, more",
            "hello",
        ),
        whole(
            "9110 15.3.6",
            "a 206",
            "HTTP/1.1 200 OK\r\nContent-Range: bytes 0-4/9\r\nContent-Length: 5\r\n\r\nhello",
            "hello",
        ),
        row(
            "9110 15.3.6",
            "a 205 with a length of nought",
            "HTTP/1.1 205 x\r\nContent-Length: 0\r\n\r\n",
            End::Stays,
            Seen::Whole(205, String::new()),
        ),
        row(
            "9110 15.5",
            "a 404 is the origin's",
            "HTTP/1.1 404 No\r\nContent-Length: 2\r\n\r\nno",
            End::Stays,
            Seen::Whole(404, "no".into()),
        ),
        row(
            "9110 15.6",
            "a 502 is the origin's",
            "HTTP/1.1 502 No\r\nContent-Length: 2\r\n\r\nno",
            End::Stays,
            Seen::Whole(502, "no".into()),
        ),
        row(
            "9110 15",
            "a status beyond the known",
            "HTTP/1.1 599 No\r\nContent-Length: 2\r\n\r\nno",
            End::Stays,
            Seen::Whole(599, "no".into()),
        ),
    ]
}

/// Where such an answer ends is in doubt.
fn framings() -> Vec<AnswerRow> {
    let mut rows = Vec::new();
    let chunks = "5\r\nhello\r\n0\r\n\r\n";
    for length in ["5", "0", "3", "15", "100"] {
        for coding in ["chunked", "identity"] {
            let (one, other) =
                (format!("Content-Length: {length}\r\n"), format!("Transfer-Encoding: {coding}\r\n"));
            for (what, fields) in [("before", format!("{one}{other}")), ("behind", format!("{other}{one}"))] {
                let what = format!("the length {length} {what} the coding {coding}");
                rows.push(bad("9112 6.3", &what, format!("HTTP/1.1 200 OK\r\n{fields}\r\n{chunks}")));
            }
        }
    }
    for value in [
        "+5",
        "-5",
        "5, 5",
        "5,5",
        "5, 6",
        "",
        " ",
        "0x5",
        "5a",
        "a",
        "5.0",
        "5;q",
        "\"5\"",
        "18446744073709551616",
        "99999999999999999999999",
    ] {
        let say = format!("HTTP/1.1 200 OK\r\nContent-Length: {value}\r\n\r\nhello");
        rows.push(bad("9112 6.3", &format!("the length {value:?}"), say).ending(End::Fin));
    }
    for (what, fields) in [
        ("a length twice", "Content-Length: 5\r\nContent-Length: 5\r\n"),
        ("two lengths", "Content-Length: 5\r\nContent-Length: 3\r\n"),
        ("two lengths the other way", "Content-Length: 3\r\nContent-Length: 5\r\n"),
        ("a length twice in two cases", "content-length: 5\r\nX-A: b\r\nCONTENT-LENGTH: 5\r\n"),
    ] {
        rows.push(bad("9112 6.3", what, format!("HTTP/1.1 200 OK\r\n{fields}\r\nhello")));
    }
    for coding in [
        "identity",
        "gzip",
        "gzip, chunked",
        "chunked, gzip",
        "chunked, chunked",
        "chunked, identity",
        "xchunked",
        "",
        ",",
        "chunked;q=1",
        "\"chunked\"",
    ] {
        let say = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: {coding}\r\n\r\n{chunks}");
        rows.push(bad("9112 6.1", &format!("the coding {coding:?}"), say).ending(End::Fin));
    }
    for (what, fields) in [
        ("chunked twice", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"),
        ("gzip, then chunked", "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n"),
        ("chunked, then identity", "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n"),
    ] {
        rows.push(bad("9112 6.1", what, format!("HTTP/1.1 200 OK\r\n{fields}\r\n{chunks}")).ending(End::Fin));
    }
    rows.push(
        bad(
            "9112 6.1",
            "chunks of HTTP/1.0",
            format!("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}"),
        )
        .ending(End::Fin),
    );
    rows.push(
        bad(
            "9112 6.1",
            "chunks and a length of HTTP/1.0",
            format!("HTTP/1.0 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}"),
        )
        .ending(End::Fin),
    );
    rows
}

fn heads() -> Vec<AnswerRow> {
    let mut rows = Vec::new();
    for (what, line) in [
        ("a space before a colon", "X-A : b"),
        ("a length with a space before its colon", "Content-Length : 5"),
        ("a fold", "X-A: b\r\n c"),
        ("a fold before the first name", " X-A: b"),
        ("a fold that hides a length", "X-A: b\r\n Content-Length: 100"),
        ("a NUL", "X-A: b\0c"),
        ("a bare CR", "X-A: b\rc"),
        ("a bare CR that hides a length", "X-A: b\rContent-Length: 100"),
        ("a control character", "X-A: b\u{1}"),
        ("DEL", "X-A: b\u{7f}"),
        ("no colon", "X-A"),
        ("no name", ": b"),
        ("a space in a name", "X A: b"),
        ("a byte beyond ASCII in a name", "X\u{e4}: b"),
    ] {
        let say = format!("HTTP/1.1 200 OK\r\n{line}\r\nContent-Length: 5\r\n\r\nhello");
        rows.push(bad("9112 5", &format!("a field with {what}"), say));
    }
    let many: String = (0..1000).map(|number| format!("X-{number}: y\r\n")).collect();
    let long = |length: usize| format!("X-A: {}\r\n", "y".repeat(length));
    for (what, fields) in [("a thousand fields", many), ("a field of 300 KiB", long(300 * 1024))] {
        let say = format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: 5\r\n\r\nhello");
        rows.push(bad("9110 5.4", what, say));
    }
    rows.push(
        bad("9110 5.4", "fields without end", "HTTP/1.1 200 OK\r\n").ending(End::Again("X-A: b\r\n".into())),
    );
    rows.push(
        bad("9110 5.4", "one field without end", "HTTP/1.1 200 OK\r\nX-A: ")
            .ending(End::Again("yyyyyyyyyyyyyyyy".into())),
    );
    rows.push(
        bad("9112 4", "a reason without end", "HTTP/1.1 200 ").ending(End::Again("yyyyyyyyyyyyyyyy".into())),
    );
    rows.push(
        bad("9112 7.1.2", "a head without end behind chunks of nothing", "HTTP/1.1 200 OK\r\n")
            .ending(End::Again("\r ".into())),
    );
    rows
}

fn status_lines() -> Vec<AnswerRow> {
    let mut rows = Vec::new();
    for line in [
        "HTTP/1.1 20 OK",
        "HTTP/1.1 2000 OK",
        "HTTP/1.1 abc OK",
        "HTTP/1.1 099 OK",
        "HTTP/1.1 000 OK",
        "HTTP/1.1 -200 OK",
        "HTTP/1.1 +20 OK",
        "HTTP/1.1  200 OK",
        "HTTP/1.1\t200 OK",
        "HTTP/1.2 200 OK",
        "HTTP/2 200 OK",
        "HTTP/2.0 200 OK",
        "HTTP/0.9 200 OK",
        "HTTP/3 200",
        "http/1.1 200 OK",
        "HTTP/1.1",
        "HTTP/1.1 ",
        "HTTP/1 200 OK",
        "ICY 200 OK",
        "HTTPS/1.1 200 OK",
        " HTTP/1.1 200 OK",
        "xHTTP/1.1 200 OK",
        "\0HTTP/1.1 200 OK",
        "HTTP/1.1 200 O\0K",
        "HTTP/1.1 200 O\rK",
        "<html>",
        "x",
        "SSH-2.0-OpenSSH_9.2",
        "220 smtp.test ESMTP",
        "GET / HTTP/1.1",
        "\u{16}\u{3}\u{1}\u{2}",
        "200 OK",
        "HTTP/1.1 200OK",
    ] {
        let say = format!("{line}\r\nContent-Length: 5\r\n\r\nhello");
        rows.push(bad("9112 4", &format!("the status line {line:?}"), say).ending(End::Fin));
    }
    for (what, before) in [
        ("a word", "junk\r\n"),
        ("a body too many", "hello"),
        ("a NUL", "\0"),
        ("a chunk", "5\r\nhello\r\n0\r\n\r\n"),
        ("a space", " "),
    ] {
        rows.push(
            bad("9112 4", &format!("{what} before the status line"), format!("{before}{HELLO}"))
                .ending(End::Fin),
        );
    }
    for length in [0, 1, 8, 12, 15, 17, 30, 37] {
        let part = &HELLO[..length];
        rows.push(bad("9112 8", &format!("the head ends behind {part:?}"), part).ending(End::Fin));
        rows.push(bad("9112 8", &format!("the head is reset behind {part:?}"), part).ending(End::Rst));
    }
    rows
}

fn interim() -> Vec<AnswerRow> {
    let hint = "HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n";
    let unasked = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    let mut rows = vec![
        whole(
            "9110 15.2.1",
            "a 100 that nobody asked for",
            format!("HTTP/1.1 100 Continue\r\n\r\n{HELLO}"),
            "hello",
        ),
        AnswerRow { interim: &[103], ..whole("8297 2", "a 103", format!("{hint}{HELLO}"), "hello") },
        AnswerRow {
            interim: &[103, 103],
            ..whole("8297 2", "two of 103", format!("{hint}{hint}{HELLO}"), "hello")
        },
        AnswerRow {
            interim: &[102],
            ..whole("9110 15.2", "a 102", format!("HTTP/1.1 102 Processing\r\n\r\n{HELLO}"), "hello")
        },
        bad("9110 15.2", "65 interim answers", format!("{}{HELLO}", hint.repeat(65))),
        bad(
            "9110 15.2",
            "a thousand interim answers",
            format!("{}{HELLO}", "HTTP/1.1 100 Continue\r\n\r\n".repeat(1000)),
        ),
        bad(
            "9110 15.2",
            "a 103 with a body",
            format!("HTTP/1.1 103 x\r\nContent-Length: 5\r\n\r\nhello{HELLO}"),
        ),
        bad("9110 15.2.2", "a 101 that nobody asked for", format!("{unasked}hello")),
        bad("9110 15.2.2", "a 101 and an answer behind it", format!("{unasked}{HELLO}")),
        bad(
            "9110 15.2.2",
            "a 101 without Upgrade",
            format!("HTTP/1.1 101 Switching Protocols\r\n\r\n{HELLO}"),
        ),
        bad("9110 15.2", "an interim answer and the end", hint).ending(End::Fin),
    ];
    for (what, again) in
        [("100", "HTTP/1.1 100 Continue\r\n\r\n"), ("102", "HTTP/1.1 102 Processing\r\n\r\n"), ("103", hint)]
    {
        rows.push(
            bad("9110 15.2", &format!("answers of {what} without end"), "").ending(End::Again(again.into())),
        );
    }
    rows
}
