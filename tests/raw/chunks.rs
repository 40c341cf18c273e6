//! Chunks: sizes, extensions, the ends of lines, trailers.

use super::row::{Row, broken, truncated, up};

const HEAD: &str = "POST <T> HTTP/1.1\r\nHost: <A>\r\nTransfer-Encoding: chunked\r\n\r\n";
const HEARD: &str = "POST /it\nTransfer-Encoding: chunked\n\n";

pub fn rows() -> Vec<Row> {
    [sizes(), line_ends(), extensions(), good(), trailers(), bad_trailers(), cut()].concat()
}

/// Not 1*HEXDIG, or more than there is a number for.
fn sizes() -> Vec<Row> {
    let bad = [
        ("empty", ""),
        ("with 0x", "0x5"),
        ("signed", "+5"),
        ("negative", "-5"),
        ("a letter beyond f", "g"),
        ("a letter behind", "5g"),
        ("a list", "5,5"),
        ("a fraction", "5.0"),
        ("quoted", "\"5\""),
        ("a space before", " 5"),
        ("a tab before", "\t5"),
        ("a space within", "0 5"),
        ("a vertical tab behind", "5\u{b}"),
        ("a NUL behind", "5\0"),
        ("a NUL before", "\x00005"),
        ("an underscore", "0_5"),
        ("a colon", "5:"),
        ("an equals sign", "5=x"),
        ("2^64", "10000000000000000"),
        ("2^64 and five", "10000000000000005"),
        ("seventeen digits f", "fffffffffffffffff"),
        ("2^68 and five", "100000000000000005"),
        ("two to the power of 32 times itself and five", "00000000010000000000000005"),
        ("a byte beyond ASCII", "5\u{a0}"),
        ("a field", "X-A: b"),
        ("a word", "hello"),
    ];
    bad.iter()
        .map(|(what, size)| {
            let say = format!("{HEAD}{size}\r\nhello\r\n0\r\n\r\n");
            broken("9112 7.1", &format!("a chunk size: {what}"), say)
        })
        .collect()
}

fn line_ends() -> Vec<Row> {
    let bad = [
        ("LF behind a size", "5\nhello\r\n0\r\n\r\n"),
        ("CR behind a size", "5\rhello\r\n0\r\n\r\n"),
        ("two CRs behind a size", "5\r\r\nhello\r\n0\r\n\r\n"),
        ("LF CR behind a size", "5\n\rhello\r\n0\r\n\r\n"),
        ("nothing behind the data", "5\r\nhello0\r\n\r\n"),
        ("LF behind the data", "5\r\nhello\n0\r\n\r\n"),
        ("CR behind the data", "5\r\nhello\r0\r\n\r\n"),
        ("two CRs behind the data", "5\r\nhello\r\r\n0\r\n\r\n"),
        ("a space behind the data", "5\r\nhello \r\n0\r\n\r\n"),
        ("more data than its size", "4\r\nhello\r\n0\r\n\r\n"),
        ("less data than its size", "7\r\nhello\r\n0\r\n\r\n0\r\n\r\n"),
        ("one byte less than its size", "6\r\nhello\r\n0\r\n\r\n"),
        ("LF behind the last chunk", "5\r\nhello\r\n0\n\r\n"),
        ("CR behind the last chunk", "5\r\nhello\r\n0\r\r\n"),
        ("an X instead of the last line", "5\r\nhello\r\n0\r\nX\r\n\r\n"),
        ("an empty line before the first size", "\r\n5\r\nhello\r\n0\r\n\r\n"),
        ("an empty line between chunks", "5\r\nhello\r\n\r\n0\r\n\r\n"),
        ("no chunk at all but an empty line", "\r\n"),
    ];
    bad.iter().map(|(what, body)| broken("9112 7.1", what, format!("{HEAD}{body}"))).collect()
}

fn extensions() -> Vec<Row> {
    let mut rows = Vec::new();
    for (what, extension) in [
        ("a name", ";a"),
        ("a name and a value", ";a=b"),
        ("a quoted value", ";a=\"b c\""),
        ("two", ";a=b;c=d"),
        ("nothing behind its semicolon", ";"),
        ("a size of its own", ";5"),
    ] {
        let say = format!("{HEAD}5{extension}\r\nhello\r\n0{extension}\r\n\r\n");
        rows.push(up(
            "9112 7.1.1",
            &format!("an extension: {what}; it goes no further"),
            say,
            &format!("{HEARD}hello"),
        ));
    }
    for (what, extension) in [
        ("white space before it", " ;a"),
        ("LF in it", ";a\nb"),
        ("LF at its end", ";a\n"),
        ("a CR in it", ";a\rb"),
        ("LF in quotes", ";a=\"\n\""),
        ("a request behind LF", ";\nGET /hidden HTTP/1.1"),
        ("20 KiB", &format!(";{}", "x".repeat(20 * 1024))),
    ] {
        let say = format!("{HEAD}5{extension}\r\nhello\r\n0\r\n\r\n");
        rows.push(broken("9112 7.1.1", &format!("an extension: {what}"), say));
    }
    let endless: String = "1;xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\na\r\n".repeat(1000);
    rows.push(broken(
        "9112 7.1.1",
        "extensions that are far more than the data",
        format!("{HEAD}{endless}0\r\n\r\n"),
    ));
    rows
}

fn good() -> Vec<Row> {
    let ok = |what: &str, body: &str, heard: &str| {
        up("9112 7.1", what, format!("{HEAD}{body}"), &format!("{HEARD}{heard}"))
    };
    vec![
        ok("one chunk", "5\r\nhello\r\n0\r\n\r\n", "hello"),
        ok("two chunks", "2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n", "hello"),
        ok("chunks of one byte", "1\r\nh\r\n1\r\ni\r\n0\r\n\r\n", "hi"),
        ok("a size in capitals", "A\r\n0123456789\r\n0\r\n\r\n", "0123456789"),
        ok("a size in small letters", "a\r\n0123456789\r\n0\r\n\r\n", "0123456789"),
        ok("noughts before a size", "00005\r\nhello\r\n0\r\n\r\n", "hello"),
        ok("many noughts at the end", "5\r\nhello\r\n000000\r\n\r\n", "hello"),
        ok("data that looks like chunks", "f\r\n0\r\n\r\nGET / HTTP\r\n0\r\n\r\n", "0\r\n\r\nGET / HTTP"),
        ok("data of line ends", "4\r\n\r\n\r\n\r\n0\r\n\r\n", "\r\n\r\n"),
        ok("data of NULs", "3\r\n\0\0\0\r\n0\r\n\r\n", "\0\0\0"),
        ok("nothing", "0\r\n\r\n", ""),
    ]
}

fn trailers() -> Vec<Row> {
    let say = |announced: &str, fields: &str| {
        format!(
            "POST <T> HTTP/1.1\r\nHost: <A>\r\nTrailer: {announced}\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n{fields}\r\n"
        )
    };
    let heard = |announced: &str, kept: &str| {
        format!("POST /it\nTrailer: {announced}\nTransfer-Encoding: chunked\n\nhello\n\n{kept}")
    };
    let mut rows = vec![
        up("9110 6.5", "a trailer that was announced", say("X-A", "X-A: b\r\n"), &heard("X-A", "X-A: b")),
        up(
            "9110 6.5",
            "two trailers",
            say("X-A, X-B", "X-A: b\r\nX-B: c\r\n"),
            &heard("X-A, X-B", "X-A: b\nX-B: c"),
        ),
        up("9110 6.5", "a trailer that was announced and does not come", say("X-A", ""), &heard("X-A", "")),
    ];
    for name in [
        "Content-Length",
        "Transfer-Encoding",
        "Host",
        "Connection",
        "Trailer",
        "TE",
        "Upgrade",
        "Keep-Alive",
        "Authorization",
        "Proxy-Authorization",
        "X-Resin-Account",
        "Content-Type",
        "Content-Encoding",
        "Content-Range",
        "Cache-Control",
        "Max-Forwards",
        "Set-Cookie",
    ] {
        let value = if name == "Content-Length" { "99" } else { "chunked" };
        rows.push(up(
            "9110 6.5.1",
            &format!("{name} in trailers goes no further"),
            say(name, &format!("{name}: {value}\r\n")),
            &heard(name, ""),
        ));
    }
    rows
}

fn bad_trailers() -> Vec<Row> {
    let many: String = (0..1000).map(|number| format!("X-{number}: y\r\n")).collect();
    let long = format!("X-A: {}\r\n", "y".repeat(100 * 1024));
    let bad = [
        ("a space in its name", "X A: b\r\n"),
        ("a space before its colon", "X-A : b\r\n"),
        ("no colon", "X-A\r\n"),
        ("no name", ": b\r\n"),
        ("a NUL", "X-A: b\0\r\n"),
        ("a bare CR", "X-A: b\rc\r\n"),
        ("a fold", "X-A: b\r\n c\r\n"),
        ("a fold at the front", " X-A: b\r\n"),
        ("a request", "GET /hidden HTTP/1.1\r\nHost: a\r\n"),
        ("a thousand", many.as_str()),
        ("100 KiB", long.as_str()),
    ];
    bad.iter()
        .map(|(what, fields)| {
            let say = format!("{HEAD}5\r\nhello\r\n0\r\n{fields}\r\n");
            broken("9112 7.1.2", &format!("trailers: {what}"), say)
        })
        .collect()
}

fn cut() -> Vec<Row> {
    let whole = "5\r\nhello\r\n0\r\nX-A: b\r\n\r\n";
    let parts = (0..whole.len()).map(|length| &whole[..length]);
    parts
        .chain(["ffffffffffffffff\r\nhello\r\n0\r\n\r\n"]) // the largest number that is one
        .map(|part| truncated("9112 8", &format!("the client ends behind {part:?}"), format!("{HEAD}{part}")))
        .collect()
}
