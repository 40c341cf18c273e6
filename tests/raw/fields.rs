//! Header fields: names, values, the ends of lines, and which belong to this hop alone.

use super::row::{FORWARD, REVERSE, Row, beyond, rejected, up, up_and_end};
use crate::support::client::WAYS;

pub fn rows() -> Vec<Row> {
    [names(), values(), lines(), kept(), hops(), limits()].concat()
}

fn say(lines: &str) -> String {
    format!("GET <T> HTTP/1.1\r\nHost: <A>\r\n{lines}\r\n")
}

fn names() -> Vec<Row> {
    let bad = [
        ("empty", ": b"),
        ("with a space", "X A: b"),
        ("with a space before the colon", "X-A : b"),
        ("with a tab before the colon", "X-A\t: b"),
        ("with an at sign", "X@A: b"),
        ("with a bracket", "X(A: b"),
        ("with a square bracket", "X[A]: b"),
        ("with a slash", "X/A: b"),
        ("with a backslash", "X\\A: b"),
        ("with a comma", "X,A: b"),
        ("with a semicolon", "X;A: b"),
        ("with an equals sign", "X=A: b"),
        ("with a question mark", "X?A: b"),
        ("with a quote", "\"X-A\": b"),
        ("with an angle bracket", "<X-A>: b"),
        ("with a brace", "X{A}: b"),
        ("with a NUL", "X\0A: b"),
        ("with a control character", "X\u{1}A: b"),
        ("with DEL", "X\u{7f}A: b"),
        ("with a byte beyond ASCII", "X\u{e4}A: b"),
        ("with a vertical tab", "X\u{b}A: b"),
        ("with a CR", "X\rA: b"),
        ("without a colon", "X-A b"),
        ("without a colon or value", "X-A"),
    ];
    bad.iter()
        .map(|(what, line)| rejected("9112 5.1", &format!("a name {what}"), say(&format!("{line}\r\n"))))
        .collect()
}

fn values() -> Vec<Row> {
    let bad = [
        ("a NUL", "a\0b"),
        ("a NUL alone", "\0"),
        ("a bare CR", "a\rb"),
        ("a bare CR at its end", "a\r"),
        ("a bare CR at its front", "\ra"),
        ("a control character", "a\u{1}b"),
        ("an escape", "\u{1b}[0m"),
        ("a vertical tab", "a\u{b}b"),
        ("a form feed", "a\u{c}b"),
        ("a backspace", "a\u{8}b"),
        ("DEL", "a\u{7f}b"),
    ];
    bad.iter()
        .map(|(what, value)| {
            rejected("9110 5.5", &format!("a value with {what}"), say(&format!("X-A: {value}\r\n")))
        })
        .collect()
}

fn lines() -> Vec<Row> {
    let bad = [
        ("a fold by a space", "X-A: b\r\n c\r\n"),
        ("a fold by a tab", "X-A: b\r\n\tc\r\n"),
        ("a fold of nothing", "X-A: b\r\n \r\n"),
        ("a fold that hides a field", "X-A: b\r\n Transfer-Encoding: chunked\r\n"),
        ("a fold before a value", "X-A:\r\n b\r\n"),
        ("two folds", "X-A: b\r\n c\r\n d\r\n"),
        ("a line that begins with a space", " X-A: b\r\n"),
        ("a line of a space", " \r\n"),
        ("a line of a tab", "\t\r\n"),
        ("a CR before CR LF", "X-A: b\r\r\n"),
        ("LF CR", "X-A: b\n\r"),
        ("a line of a NUL", "\0\r\n"),
        ("a request line", "GET /hidden HTTP/1.1\r\n"),
        ("a status line", "HTTP/1.1 200 OK\r\n"),
        ("a colon alone", ":\r\n"),
    ];
    let mut rows: Vec<Row> =
        bad.iter().map(|(what, line)| rejected("9112 5.2", what, say(line)).on(&WAYS)).collect();
    let first = "GET <T> HTTP/1.1\r\n Host: <A>\r\nHost: <A>\r\n\r\n";
    rows.push(rejected("9112 2.2", "white space before the first field", first));
    let first = "GET <T> HTTP/1.1\r\n\tX-A: b\r\nHost: <A>\r\n\r\n";
    rows.push(rejected("9112 2.2", "a tab before the first field", first));
    rows
}

fn kept() -> Vec<Row> {
    let table = [
        ("a byte beyond ASCII", "X-A: \u{e4}\u{ff}\r\n", "X-A: \u{e4}\u{ff}"),
        ("no space behind the colon", "X-A:b\r\n", "X-A: b"),
        ("white space around", "X-A: \t b c \t \r\n", "X-A: b c"),
        ("an empty value", "X-A:\r\n", "X-A:"),
        ("a value of white space", "X-A:  \t \r\n", "X-A:"),
        ("a tab within", "X-A: b\tc\r\n", "X-A: b\tc"),
        ("the same name twice", "X-A: b\r\nX-A: c\r\n", "X-A: b\nX-A: c"),
        ("a name in capitals", "X-ABC: b\r\n", "X-ABC: b"),
        ("a name of every sign", "!#$%&'*+-.^_`|~0a: b\r\n", "!#$%&'*+-.^_`|~0a: b"),
        ("a value of colons", "X-A: :b::c:\r\n", "X-A: :b::c:"),
        ("a value like a request", "X-A: GET / HTTP/1.1\r\n", "X-A: GET / HTTP/1.1"),
        ("escaped line ends", "X-A: %0d%0aX-B: c\r\n", "X-A: %0d%0aX-B: c"),
        ("a cookie", "Cookie: a=b; c=\"d\"\r\n", "Cookie: a=b; c=\"d\""),
        ("an Authorization", "Authorization: Basic eDp5\r\n", "Authorization: Basic eDp5"),
        ("Max-Forwards with GET", "Max-Forwards: 0\r\n", "Max-Forwards: 0"),
        ("an unknown TE is this hop's", "TE: gzip, deflate\r\n", ""),
    ];
    table
        .iter()
        .map(|(what, lines, heard)| {
            let heard = format!("GET /it\n{heard}");
            up("9110 5", what, say(lines), heard.trim_end_matches('\n'))
        })
        .collect()
}

fn hops() -> Vec<Row> {
    let table = [
        ("what Connection names", "Connection: X-A\r\nX-A: b\r\nX-B: c\r\n", "X-B: c"),
        ("what Connection names in another case", "Connection: x-a\r\nX-A: b\r\n", ""),
        ("what Connection lists", "Connection: X-A,X-B ,\tX-C\r\nX-A: b\r\nX-B: c\r\nX-C: d\r\n", ""),
        ("what a second Connection names", "Connection: foo\r\nConnection: X-A\r\nX-A: b\r\n", ""),
        ("a Connection of empty members", "Connection: ,, X-A ,\r\nX-A: b\r\n", ""),
        ("a Connection that names nothing", "Connection:\r\nX-A: b\r\n", "X-A: b"),
        ("a Connection that is no list of names", "Connection: \"X-A\", X A\r\nX-A: b\r\n", "X-A: b"),
        ("a Connection that names itself", "Connection: connection\r\nX-A: b\r\n", "X-A: b"),
        ("a Connection that names what is not there", "Connection: X-Z\r\nX-A: b\r\n", "X-A: b"),
        ("every value of a named field", "Connection: X-A\r\nX-A: b\r\nX-A: c\r\n", ""),
        ("Keep-Alive", "Keep-Alive: timeout=5\r\n", ""),
        ("Proxy-Connection", "Proxy-Connection: keep-alive\r\n", ""),
        ("our own fields", "X-Resin-Trace: 1\r\nX-Resin-Error: 1\r\n", ""),
        ("Proxy-Authenticate", "Proxy-Authenticate: Basic\r\nProxy-Authentication-Info: x\r\n", ""),
    ];
    let mut rows: Vec<Row> = table
        .iter()
        .map(|(what, lines, heard)| {
            let heard = format!("GET /it\n{heard}");
            up("9110 7.6.1", &format!("{what}: this hop's"), say(lines), heard.trim_end_matches('\n'))
        })
        .collect();
    // What asks for another protocol is the last on its connection, whatever comes of it.
    let settings = "HTTP2-Settings: AAMAAABkAAQAAP__\r\n";
    for (what, lines) in [
        ("an Upgrade that Connection does not name", "Upgrade: websocket\r\n".to_owned()),
        ("an upgrade to h2c", format!("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n{settings}")),
        (
            "an upgrade to a list with h2c",
            format!("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: websocket, h2c\r\n{settings}"),
        ),
    ] {
        rows.push(up_and_end("9110 7.8", &format!("{what}: this hop's"), say(&lines), "GET /it"));
    }
    let told =
        "Forwarded: for=a\r\nX-Forwarded-For: a\r\nX-Forwarded-Host: b\r\nX-Real-IP: c\r\nVia: 1.1 d\r\n";
    let kept = "GET /it\nForwarded: for=a\nX-Forwarded-For: a\nX-Forwarded-Host: b\nX-Real-IP: c\nVia: 1.1 d";
    rows.push(up("9110 7.6.3", "forwarding identity passes on forward", say(told), kept).on(FORWARD));
    rows.push(up("7239 8", "forwarding identity stays here on reverse", say(told), "GET /it").on(REVERSE));
    rows
}

fn limits() -> Vec<Row> {
    let many = |count: usize| (0..count).map(|number| format!("X-{number}: y\r\n")).collect::<String>();
    let heard: String = (0..90).map(|number| format!("\nX-{number}: y")).collect();
    let value = |length: usize| format!("X-A: {}\r\n", "y".repeat(length));
    let name = |length: usize| format!("X{}: y\r\n", "n".repeat(length));
    let wide: String = (0..70).map(|number| format!("X-{number}: {}\r\n", "y".repeat(1000))).collect();
    let long = format!("GET /it\nX-A: {}", "y".repeat(20_000));
    vec![
        up("6585 5", "ninety fields", say(&many(90)), &format!("GET /it{heard}")),
        beyond("6585 5", "120 fields", say(&many(120)), &[431]),
        beyond("6585 5", "a thousand fields", say(&many(1000)), &[431]),
        up("6585 5", "a value of 20 000 bytes", say(&value(20_000)), &long),
        beyond("6585 5", "a value of 70 KiB", say(&value(70 * 1024)), &[431]),
        beyond("6585 5", "a value of a megabyte", say(&value(1024 * 1024)), &[431]),
        beyond("6585 5", "seventy fields of a thousand bytes", say(&wide), &[431]),
        beyond("6585 5", "a name of 66 KiB", say(&name(66 * 1024)), &[400, 431]),
        beyond("6585 5", "a name of 300 KiB", say(&name(300 * 1024)), &[400, 431]),
    ]
}
