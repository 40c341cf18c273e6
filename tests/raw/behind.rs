//! What stands behind an answer that is whole: nobody's, and never the answer to the next request of its connection.

use super::{
    answer_run::{AnswerRow, Seen, row},
    script::End,
};

const POISON: &str = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison";
const HELLO: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

pub fn rows() -> Vec<AnswerRow> {
    [bodiless(), behind()].concat()
}

/// They have no body, whatever they say; what stands behind them is nobody's.
fn bodiless() -> Vec<AnswerRow> {
    let empty = |status: u16| Seen::Whole(status, String::new());
    let mut rows = Vec::new();
    for (what, behind) in
        [("nothing", ""), ("an answer", POISON), ("a body", "hello"), ("a chunk", "5\r\nhello\r\n0\r\n\r\n")]
    {
        for (status, fields) in [
            (204, ""),
            (204, "Content-Length: 5\r\n"),
            (204, "Transfer-Encoding: chunked\r\n"),
            (304, ""),
            (304, "Content-Length: 5\r\n"),
            (304, "Transfer-Encoding: chunked\r\n"),
        ] {
            let say = format!("HTTP/1.1 {status} x\r\n{fields}\r\n{behind}");
            let row = row(
                "9112 6.3",
                &format!("{what} behind a {status} with {fields:?}"),
                say,
                End::Stays,
                empty(status),
            );
            rows.push(if status == 204 { row.lines(&["content-length", "transfer-encoding"]) } else { row });
        }
        for fields in ["Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n", ""] {
            let say = format!("HTTP/1.1 200 OK\r\n{fields}\r\n{behind}");
            rows.push(
                row(
                    "9110 9.3.2",
                    &format!("{what} behind an answer to HEAD with {fields:?}"),
                    say,
                    End::Stays,
                    empty(200),
                )
                .to("HEAD"),
            );
        }
    }
    rows
}

/// What stands behind a whole answer is no answer to the next request.
fn behind() -> Vec<AnswerRow> {
    let mut rows = Vec::new();
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    let (empty, gone) = ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 204 x\r\n\r\n");
    for (what, answer, body) in [
        ("a length", HELLO, "hello"),
        ("chunks", chunked, "hello"),
        ("a length of nought", empty, ""),
        ("a 204", gone, ""),
    ] {
        let status = if answer == gone { 204 } else { 200 };
        for (kind, more) in [
            ("an answer", POISON),
            ("a byte", "x"),
            ("a line", "\r\n"),
            ("a hundred answers", &POISON.repeat(100)),
            ("a 408", "HTTP/1.1 408 x\r\nContent-Length: 0\r\n\r\n"),
        ] {
            let seen = Seen::Whole(status, body.to_owned());
            rows.push(row(
                "9112 9.2",
                &format!("{kind} behind {what}"),
                format!("{answer}{more}"),
                End::Stays,
                seen.clone(),
            ));
            rows.push(row(
                "9112 9.2",
                &format!("{kind} behind {what}, later"),
                answer,
                End::Late(more.to_owned()),
                seen,
            ));
        }
    }
    rows
}
