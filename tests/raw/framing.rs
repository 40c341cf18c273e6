//! Where a body ends: `Content-Length` and `Transfer-Encoding`, alone, together, and never in doubt.

use super::row::{Row, Then, rejected, row, up, up_and_end};
use crate::support::client::{EXCHANGES, WAYS};

/// What a smuggler would like to see run.
const HIDDEN: &str = "GET <T>/hidden HTTP/1.1\r\nHost: <A>\r\n\r\n";
const CHUNKS: &str = "5\r\nhello\r\n0\r\n\r\n";

pub fn rows() -> Vec<Row> {
    [lengths(), good_lengths(), codings(), good_codings(), both(), bodies()].concat()
}

fn lengths() -> Vec<Row> {
    let bad = [
        ("signed", "+5"),
        ("negative", "-5"),
        ("minus nought", "-0"),
        ("two numbers", "5 5"),
        ("a list of equals", "5, 5"),
        ("a list without a space", "5,5"),
        ("a list that differs", "5, 6"),
        ("a list with an empty member", "5,"),
        ("a list that begins empty", ",5"),
        ("empty", ""),
        ("white space", "  \t"),
        ("hex", "0x5"),
        ("a hex digit", "a"),
        ("a letter behind", "5a"),
        ("a letter before", "a5"),
        ("a fraction", "5.0"),
        ("an exponent", "5e0"),
        ("quoted", "\"5\""),
        ("a parameter", "5;q=1"),
        ("a slash", "5/5"),
        ("an underscore", "5_0"),
        ("2^64", "18446744073709551616"),
        ("2^64 and five", "18446744073709551621"),
        ("thirty digits", "999999999999999999999999999999"),
        ("a word", "chunked"),
        ("a byte beyond ASCII", "5\u{a0}"),
        ("digits of another script", "\u{d9}\u{a5}"),
    ];
    let say = |value: &str| {
        format!("POST <T> HTTP/1.1\r\nHost: <A>\r\nContent-Length: {value}\r\n\r\nhello{HIDDEN}")
    };
    let mut rows: Vec<Row> = bad
        .iter()
        .map(|(what, value)| doubtful("9112 6.3", &format!("a length: {what}"), say(value)))
        .collect();
    for (what, fields) in [
        ("twice the same", "Content-Length: 5\r\nContent-Length: 5\r\n"),
        ("twice, different", "Content-Length: 5\r\nContent-Length: 6\r\n"),
        ("twice, different, the other way", "Content-Length: 6\r\nContent-Length: 5\r\n"),
        ("twice, one nought", "Content-Length: 0\r\nContent-Length: 5\r\n"),
        ("twice, one empty", "Content-Length: 5\r\nContent-Length:\r\n"),
        ("twice, in two cases, far apart", "content-length: 5\r\nX-A: b\r\nCONTENT-LENGTH: 5\r\n"),
        ("three times", "Content-Length: 5\r\nContent-Length: 5\r\nContent-Length: 5\r\n"),
        (
            "twice, and Connection names it",
            "Content-Length: 5\r\nContent-Length: 5\r\nConnection: content-length\r\n",
        ),
    ] {
        let say = format!("POST <T> HTTP/1.1\r\nHost: <A>\r\n{fields}\r\nhello{HIDDEN}");
        rows.push(doubtful("9112 6.3", &format!("a length {what}"), say));
    }
    for (what, field) in [
        ("a space before its colon", "Content-Length : 5"),
        ("a tab before its colon", "Content-Length\t: 5"),
        ("a space in its name", "Content Length: 5"),
        ("a space before its name", " Content-Length: 5"),
        ("a fold before its value", "Content-Length:\r\n 5"),
        ("a fold within", "Content-Length: 5\r\n 6"),
        ("a vertical tab", "Content-Length: \u{b}5"),
        ("a NUL behind", "Content-Length: 5\0"),
        ("a NUL in its name", "Content-Length\0: 5"),
        ("a bare CR behind", "Content-Length: 5\rX"),
        ("a bare CR before its name", "X-A: b\rContent-Length: 5"),
        ("no colon", "Content-Length 5"),
        ("a DEL", "Content-Length: 5\u{7f}"),
    ] {
        let say = format!("POST <T> HTTP/1.1\r\nHost: <A>\r\n{field}\r\n\r\nhello{HIDDEN}");
        rows.push(rejected("9112 5.1", &format!("a length with {what}"), say).on(&EXCHANGES));
    }
    rows
}

/// Refused, whoever sees it first: 400 with a code of ours or without.
fn doubtful(rfc: &'static str, what: &str, say: impl Into<String>) -> Row {
    row(rfc, what, say, Then::Refused(400, "*")).on(&WAYS)
}

fn good_lengths() -> Vec<Row> {
    let say = |field: &str, body: &str| format!("POST <T> HTTP/1.1\r\nHost: <A>\r\n{field}\r\n\r\n{body}");
    vec![
        up("9110 8.6", "a length", say("Content-Length: 5", "hello"), "POST /it\nContent-Length: 5\n\nhello"),
        up("9110 8.6", "a length of nought", say("Content-Length: 0", ""), "POST /it\nContent-Length: 0"),
        up(
            "9112 5.1",
            "white space around a length",
            say("Content-Length: \t 5 \t", "hello"),
            "POST /it\nContent-Length: 5\n\nhello",
        ),
        up(
            "9112 5",
            "a length in capitals",
            say("CONTENT-LENGTH:5", "hello"),
            "POST /it\nContent-Length: 5\n\nhello",
        ),
        up(
            "9110 8.6",
            "a length with noughts before it",
            say("Content-Length: 0005", "hello"),
            "POST /it\nContent-Length: 0005\n\nhello",
        ),
        up(
            "9112 6.3",
            "a name that only looks like it",
            say("Content_Length: 5", ""),
            "POST /it\nContent_Length: 5",
        ),
        up(
            "9112 6.3",
            "another name that only looks like it",
            say("X-Content-Length: 5", ""),
            "POST /it\nX-Content-Length: 5",
        ),
        up(
            "9110 7.6.1",
            "Connection names the length",
            say("Connection: content-length\r\nContent-Length: 5", "hello"),
            "POST /it\nContent-Length: 5\n\nhello",
        ),
        up(
            "9110 7.6.1",
            "Connection names both",
            say("Connection: Content-Length, Transfer-Encoding\r\nContent-Length: 5", "hello"),
            "POST /it\nContent-Length: 5\n\nhello",
        ),
        up(
            "9112 6.3",
            "a body of a request",
            say("Content-Length: 30", "GET /hidden HTTP/1.1\r\nX: y\r\n\r\n"),
            "POST /it\nContent-Length: 30\n\nGET /hidden HTTP/1.1\r\nX: y\r\n\r\n",
        ),
        up(
            "9110 6.4",
            "a body of every kind of byte",
            say("Content-Length: 8", "\0\u{1}\r\n\r\n\u{ff}\u{80}"),
            "POST /it\nContent-Length: 8\n\n\0\u{1}\r\n\r\n\u{ff}\u{80}",
        ),
        up_and_end(
            "9112 6.2",
            "a length in HTTP/1.0",
            "POST <T> HTTP/1.0\r\nHost: <A>\r\nContent-Length: 5\r\n\r\nhello",
            "POST /it\nContent-Length: 5\n\nhello",
        ),
    ]
}

fn codings() -> Vec<Row> {
    let bad = [
        "identity",
        "gzip",
        "gzip, chunked",
        "chunked, gzip",
        "chunked, chunked",
        "chunked,chunked",
        "chunked, identity",
        "identity, chunked",
        "identity,chunked",
        "xchunked",
        "chunkedx",
        "x-chunked",
        "chunk",
        "\"chunked\"",
        "'chunked'",
        "chunked;q=1",
        "chunked; x=y",
        "chunked=1",
        "chunked, ",
        ", chunked",
        ",chunked,",
        ",",
        "",
        "  ",
        "chunked identity",
        "chunked chunked",
        "chunked/1.1",
        "trailers",
        "*",
        "cow",
        "deflate,chunked",
        "chunked\u{a0}",
        "\u{e7}hunked",
        "ch\u{fc}nked",
        "chunke",
        "chunked,gzip,chunked",
        "Chunked, cow",
        "(x) chunked",
    ];
    let mut rows = Vec::new();
    for coding in bad {
        let say =
            format!("POST <T> HTTP/1.1\r\nHost: <A>\r\nTransfer-Encoding: {coding}\r\n\r\n{CHUNKS}{HIDDEN}");
        rows.push(doubtful("9112 6.1", &format!("the coding {coding:?}"), say));
    }
    for (what, fields) in [
        ("chunked twice", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"),
        ("chunked, then identity", "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n"),
        ("identity, then chunked", "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n"),
        ("gzip, then chunked", "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n"),
        ("chunked, then cow", "Transfer-Encoding: chunked\r\nX-A: b\r\ntransfer-encoding: cow\r\n"),
        ("chunked, then nothing", "Transfer-Encoding: chunked\r\nTransfer-Encoding:\r\n"),
        ("nothing, then chunked", "Transfer-Encoding:\r\nTransfer-Encoding: chunked\r\n"),
        (
            "gzip, and Connection names it",
            "Transfer-Encoding: gzip, chunked\r\nConnection: transfer-encoding\r\n",
        ),
    ] {
        let say = format!("POST <T> HTTP/1.1\r\nHost: <A>\r\n{fields}\r\n{CHUNKS}{HIDDEN}");
        rows.push(doubtful("9112 6.1", &format!("two codings: {what}"), say));
    }
    for coding in ["chunked", "identity", "gzip, chunked"] {
        let say =
            format!("POST <T> HTTP/1.0\r\nHost: <A>\r\nTransfer-Encoding: {coding}\r\n\r\n{CHUNKS}{HIDDEN}");
        rows.push(doubtful("9112 6.1", &format!("the coding {coding:?} in HTTP/1.0"), say));
        let say = format!(
            "POST <T> HTTP/1.0\r\nHost: <A>\r\nConnection: keep-alive\r\nTransfer-Encoding: {coding}\r\n\r\n{CHUNKS}{HIDDEN}"
        );
        rows.push(doubtful("9112 6.1", &format!("the coding {coding:?} in HTTP/1.0, kept alive"), say));
    }
    for (what, field) in [
        ("a space before its colon", "Transfer-Encoding : chunked"),
        ("a tab before its colon", "Transfer-Encoding\t: chunked"),
        ("a space before its name", " Transfer-Encoding: chunked"),
        ("a space in its name", "Transfer Encoding: chunked"),
        ("a fold before its value", "Transfer-Encoding:\r\n chunked"),
        ("a fold by a tab", "Transfer-Encoding:\r\n\tchunked"),
        ("a fold behind it", "Transfer-Encoding: chunked\r\n , identity"),
        ("a vertical tab before its value", "Transfer-Encoding: \u{b}chunked"),
        ("a vertical tab behind its value", "Transfer-Encoding: chunked\u{b}"),
        ("a form feed", "Transfer-Encoding: \u{c}chunked"),
        ("a NUL behind its value", "Transfer-Encoding: chunked\0"),
        ("a NUL in its name", "Transfer\0-Encoding: chunked"),
        ("a bare CR behind its value", "Transfer-Encoding: chunked\rX"),
        ("a bare CR before its name", "X-A: b\rTransfer-Encoding: chunked"),
        ("a bare CR before its value", "Transfer-Encoding: \rchunked"),
        ("a byte beyond ASCII in its name", "Tr\u{e4}nsfer-Encoding: chunked"),
        ("no colon", "Transfer-Encoding chunked"),
    ] {
        let say = format!("POST <T> HTTP/1.1\r\nHost: <A>\r\n{field}\r\n\r\n{CHUNKS}{HIDDEN}");
        rows.push(rejected("9112 5.1", &format!("a coding with {what}"), say).on(&EXCHANGES));
    }
    rows
}

fn good_codings() -> Vec<Row> {
    let say = |fields: &str| format!("POST <T> HTTP/1.1\r\nHost: <A>\r\n{fields}\r\n\r\n{CHUNKS}");
    let heard = "POST /it\nTransfer-Encoding: chunked\n\nhello";
    vec![
        up("9112 7.1", "chunks", say("Transfer-Encoding: chunked"), heard),
        up("9112 7", "chunks in capitals", say("TRANSFER-ENCODING: CHUNKED"), heard),
        up("9112 7", "chunks in mixed case", say("transfer-encoding:Chunked"), heard),
        up("9112 5.1", "white space around a coding", say("Transfer-Encoding: \t chunked \t"), heard),
        up(
            "9110 7.6.1",
            "Connection names the coding",
            say("Connection: transfer-encoding\r\nTransfer-Encoding: chunked"),
            heard,
        ),
        up(
            "9112 6.1",
            "a name that only looks like it",
            "POST <T> HTTP/1.1\r\nHost: <A>\r\nTransfer_Encoding: chunked\r\n\r\n",
            "POST /it\nTransfer_Encoding: chunked",
        ),
        up(
            "9112 6.1",
            "a name that begins like it",
            "POST <T> HTTP/1.1\r\nHost: <A>\r\nTransfer-Encodings: chunked\r\n\r\n",
            "POST /it\nTransfer-Encodings: chunked",
        ),
    ]
}

fn both() -> Vec<Row> {
    let mut rows = Vec::new();
    let codings = ["chunked", "Chunked", "identity", "gzip", "chunked, identity", "cow", ""];
    for length in ["5", "0", "15", "60", "+5", "5, 5"] {
        for coding in codings {
            let (one, other) =
                (format!("Content-Length: {length}\r\n"), format!("Transfer-Encoding: {coding}\r\n"));
            for (what, fields) in [("before", format!("{one}{other}")), ("behind", format!("{other}{one}"))] {
                let say = format!("POST <T> HTTP/1.1\r\nHost: <A>\r\n{fields}\r\n{CHUNKS}{HIDDEN}");
                let what = format!("the length {length:?} {what} the coding {coding:?}");
                rows.push(doubtful("9112 6.1", &what, say));
            }
        }
    }
    for version in ["1.0", "1.1"] {
        for method in ["GET", "HEAD", "DELETE", "OPTIONS"] {
            let say = format!(
                "{method} <T> HTTP/{version}\r\nHost: <A>\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n{CHUNKS}{HIDDEN}"
            );
            let what = format!("{method} of HTTP/{version} with a length and a coding");
            let row = doubtful("9112 6.1", &what, say);
            rows.push(if method == "GET" { row } else { row.on(&EXCHANGES) });
        }
    }
    rows
}

/// A body is a body whatever the method.
fn bodies() -> Vec<Row> {
    let mut rows = Vec::new();
    for method in ["GET", "HEAD", "DELETE", "OPTIONS", "PATCH", "TRACE", "QUERY"] {
        let head = format!("{method} <T> HTTP/1.1\r\nHost: <A>\r\n");
        rows.push(up(
            "9110 9.3.1",
            &format!("{method} with a length"),
            format!("{head}Content-Length: 5\r\n\r\nhello"),
            &format!("{method} /it\nContent-Length: 5\n\nhello"),
        ));
        rows.push(up(
            "9110 9.3.1",
            &format!("{method} with chunks"),
            format!("{head}Transfer-Encoding: chunked\r\n\r\n{CHUNKS}"),
            &format!("{method} /it\nTransfer-Encoding: chunked\n\nhello"),
        ));
        rows.push(up(
            "9110 9.3.1",
            &format!("{method} with no chunk but the last"),
            format!("{head}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
            &format!("{method} /it\nTransfer-Encoding: chunked"),
        ));
    }
    rows
}
