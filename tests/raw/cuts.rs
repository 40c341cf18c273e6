//! Answers that are cut: the client must see that they were, whatever version it speaks.

use super::{
    answer_run::{AnswerRow, Seen, row},
    script::End,
};

pub fn rows() -> Vec<AnswerRow> {
    [lengths(), chunks(), to_the_end(), bad_chunks()].concat()
}

fn ends() -> [(&'static str, End); 2] {
    [("ends", End::Fin), ("is reset", End::Rst)]
}

fn lengths() -> Vec<AnswerRow> {
    let mut rows = Vec::new();
    for (what, end) in ends() {
        for body in ["", "h", "hell"] {
            let say = format!("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n{body}");
            let what = format!("an answer of five bytes {what} behind {}", body.len());
            rows.push(row("9112 8", &what, say, end.clone(), Seen::Cut(200, body.to_owned())));
        }
        let say = "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhell";
        rows.push(row(
            "9112 8",
            &format!("an answer of HTTP/1.0 {what}"),
            say,
            end,
            Seen::Cut(200, "hell".into()),
        ));
    }
    rows
}

fn chunks() -> Vec<AnswerRow> {
    let mut rows = Vec::new();
    let body = "5\r\nhello\r\n0\r\nX-A: b\r\n\r\n";
    for (what, end) in ends() {
        for length in 0..body.len() {
            let part = &body[..length];
            let say = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{part}");
            let what = format!("a chunked answer {what} behind {part:?}");
            rows.push(row("9112 8", &what, say, end.clone(), Seen::Cut(200, "hello".to_owned())));
        }
    }
    rows
}

fn to_the_end() -> Vec<AnswerRow> {
    let say = "HTTP/1.1 200 OK\r\n\r\nhello";
    let old = "HTTP/1.0 200 OK\r\n\r\nhello";
    vec![
        row("9112 8", "an answer to the end is reset", say, End::Rst, Seen::Cut(200, "hello".into())),
        row(
            "9112 8",
            "an answer of HTTP/1.0 to the end is reset",
            old,
            End::Rst,
            Seen::Cut(200, "hello".into()),
        ),
    ]
}

fn bad_chunks() -> Vec<AnswerRow> {
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let mut rows = Vec::new();
    for (what, body) in [
        ("an empty size", "\r\nhello\r\n0\r\n\r\n"),
        ("a size with 0x", "0x5\r\nhello\r\n0\r\n\r\n"),
        ("a signed size", "+5\r\nhello\r\n0\r\n\r\n"),
        ("a negative size", "-5\r\nhello\r\n0\r\n\r\n"),
        ("a size beyond its number", "10000000000000005\r\nhello\r\n0\r\n\r\n"),
        ("a size that is none", "x\r\nhello\r\n0\r\n\r\n"),
        ("LF behind a size", "5\nhello\r\n0\r\n\r\n"),
        ("CR behind a size", "5\rhello\r\n0\r\n\r\n"),
        ("nothing behind the data", "5\r\nhello0\r\n\r\n"),
        ("more data than its size", "4\r\nhello\r\n0\r\n\r\n"),
        ("less data than its size", "6\r\nhello\r\n0\r\n\r\n"),
        ("an extension with LF", "5;\nx\r\nhello\r\n0\r\n\r\n"),
        ("LF behind the last chunk", "5\r\nhello\r\n0\n\r\n"),
        ("a trailer without a colon", "5\r\nhello\r\n0\r\nX-A\r\n\r\n"),
        ("a trailer with a space in its name", "5\r\nhello\r\n0\r\nX A: b\r\n\r\n"),
        ("a trailer with a NUL", "5\r\nhello\r\n0\r\nX-A: \0\r\n\r\n"),
        ("an answer in its trailers", "5\r\nhello\r\n0\r\nHTTP/1.1 200 OK\r\n\r\n"),
    ] {
        rows.push(row("9112 7.1", what, format!("{head}{body}"), End::Stays, Seen::BadOrCut));
    }
    rows.push(row(
        "9112 7.1.1",
        "an extension without end",
        format!("{head}5;"),
        End::Again("xxxxxxxxxxxxxxxx".into()),
        Seen::BadOrCut,
    ));
    rows.push(row(
        "9112 7.1.2",
        "trailers without end",
        format!("{head}0\r\n"),
        End::Again("X-A: b\r\n".into()),
        Seen::BadOrCut,
    ));
    rows
}
