//! The request line: method, target, version and what separates them.

use super::row::{FORWARD, Row, beyond, refused, rejected, up, up_and_end};
use crate::support::client::EXCHANGES;

pub fn rows() -> Vec<Row> {
    [methods(), versions(), spaces(), targets(), lengths()].concat()
}

fn methods() -> Vec<Row> {
    let bad = [
        ("empty", ""),
        ("with an at sign", "G@T"),
        ("with a colon", "GET:"),
        ("with a slash", "GE/T"),
        ("with a bracket", "GE(T"),
        ("with a quote", "\"GET\""),
        ("with a comma", "GET,POST"),
        ("with a NUL", "GE\0T"),
        ("with a control character", "GE\u{1}T"),
        ("with DEL", "GE\u{7f}T"),
        ("with a byte beyond ASCII", "G\u{c9}T"),
        ("with a CR", "GE\rT"),
        ("in brackets", "[GET]"),
        ("in braces", "{GET}"),
    ];
    let say = |method: &str| format!("{method} <T> HTTP/1.1\r\nHost: <A>\r\n\r\n");
    let mut rows: Vec<Row> = bad
        .iter()
        .map(|(what, method)| rejected("9110 9.1", &format!("a method {what}"), say(method)).on(&EXCHANGES))
        .collect();
    for method in ["get", "PROPFIND", "M-SEARCH", "X!#$%&'*+-.^_`|~9", "A", "BREW", "QUERY"] {
        let heard = format!("{method} /it");
        rows.push(up("9110 9.1", &format!("the method {method}"), say(method), &heard));
    }
    // Names of methods are told apart by case: this is no CONNECT.
    let small = "connect <A> HTTP/1.1\r\nHost: <A>\r\n\r\n";
    rows.push(refused("9110 9.1", "connect in small letters", small, "*").on(FORWARD));
    let preface = "PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n";
    rows.push(rejected("9113 3.4", "a preface of HTTP/2 that breaks", preface).on(FORWARD));
    rows
}

fn versions() -> Vec<Row> {
    let bad = [
        "HTTP/0.9",
        "HTTP/1.2",
        "HTTP/1.9",
        "HTTP/2.0",
        "HTTP/2",
        "HTTP/3.0",
        "HTTP/1",
        "HTTP/1.",
        "HTTP/.1",
        "HTTP/1.10",
        "HTTP/1.01",
        "HTTP/01.1",
        "HTTP/11.1",
        "HTTP/1,1",
        "HTTP/1.1.1",
        "HTTP/1.x",
        "HTTP/-1.1",
        "HTTP/+1.1",
        "http/1.1",
        "Http/1.1",
        "HTTPS/1.1",
        "HTP/1.1",
        "HTTP /1.1",
        "HTTP/ 1.1",
        "HTTP1.1",
        "HTTP",
        "HTTP/1.1x",
        "HTTP/1.1\u{b}",
        "HTTP/1.1\0",
        "ICY/1.1",
        "1.1",
        "HTTP/1.1 HTTP/1.1",
    ];
    bad.iter()
        .map(|version| {
            let say = format!("GET <T> {version}\r\nHost: <A>\r\n\r\n");
            rejected("9112 2.3", &format!("the version {version:?}"), say)
        })
        .collect()
}

fn spaces() -> Vec<Row> {
    let bad = [
        ("a space before the method", " GET <T> HTTP/1.1\r\n"),
        ("a tab before the method", "\tGET <T> HTTP/1.1\r\n"),
        ("a tab behind the method", "GET\t<T> HTTP/1.1\r\n"),
        ("two spaces behind the method", "GET  <T> HTTP/1.1\r\n"),
        ("two spaces before the version", "GET <T>  HTTP/1.1\r\n"),
        ("a tab before the version", "GET <T>\tHTTP/1.1\r\n"),
        ("a space behind the version", "GET <T> HTTP/1.1 \r\n"),
        ("a tab behind the version", "GET <T> HTTP/1.1\t\r\n"),
        ("a vertical tab for a space", "GET\u{b}<T>\u{b}HTTP/1.1\r\n"),
        ("a form feed for a space", "GET\u{c}<T> HTTP/1.1\r\n"),
        ("two targets", "GET <T> <T> HTTP/1.1\r\n"),
        ("no target", "GET HTTP/1.1\r\n"),
        ("an empty target", "GET  HTTP/1.1\r\n"),
        ("no version", "GET <T>\r\n"),
        ("a method alone", "GET\r\n"),
        ("a CR alone at its end", "GET <T> HTTP/1.1\r"),
        ("two CRs at its end", "GET <T> HTTP/1.1\r\r\n"),
        ("LF and CR at its end", "GET <T> HTTP/1.1\n\r"),
        ("a CR in the target", "GET <T>\r HTTP/1.1\r\n"),
        ("a NUL before the method", "\0GET <T> HTTP/1.1\r\n"),
        ("a byte order mark before the method", "\u{ef}\u{bb}\u{bf}GET <T> HTTP/1.1\r\n"),
        ("a status line", "HTTP/1.1 200 OK\r\n"),
        ("a field line", "Host: <A>\r\n"),
    ];
    let mut rows: Vec<Row> = bad
        .iter()
        .map(|(what, line)| rejected("9112 3", what, format!("{line}Host: <A>\r\n\r\n")).on(&EXCHANGES))
        .collect();
    let get = "GET <T> HTTP/1.1\r\nHost: <A>\r\n\r\n";
    rows.push(up("9112 2.2", "an empty line before it", format!("\r\n{get}"), "GET /it"));
    rows.push(up("9112 2.2", "two empty lines before it", format!("\r\n\r\n{get}"), "GET /it"));
    rows
}

fn targets() -> Vec<Row> {
    let mut rows = Vec::new();
    let say = |target: &str| format!("GET {target} HTTP/1.1\r\nHost: <A>\r\n\r\n");
    for (what, behind) in [
        ("a fragment", "#x"),
        ("an empty fragment", "#"),
        ("a fragment behind a query", "?q#x"),
        ("a fragment with a slash", "#/../x"),
    ] {
        let say = say(&format!("<T>{behind}"));
        rows.push(refused("9112 3.2", &format!("a target with {what}"), say, "*").on(&EXCHANGES));
    }
    for (what, behind) in [
        ("a NUL", "\0"),
        ("a control character", "\u{1}"),
        ("an escape", "\u{1b}[0m"),
        ("DEL", "\u{7f}"),
        ("a tab", "\tx"),
        ("a less-than sign", "<x"),
        ("a greater-than sign", ">x"),
    ] {
        let say = say(&format!("<T>{behind}"));
        rows.push(rejected("3986 2", &format!("a target with {what}"), say).on(&EXCHANGES));
    }
    for (what, behind) in [
        ("dots", "/../../x/./y"),
        ("two slashes", "//x"),
        ("escapes, whole and broken", "%2e%2E%zz%"),
        ("a semicolon", ";x=1"),
        ("a query that looks like a request", "?GET%20/%20HTTP/1.1%0d%0a"),
        ("two question marks", "?a?b"),
        ("signs that may stand there", "/a:b@c!$&'()*+,;=~-._"),
    ] {
        let heard = format!("GET /it{behind}");
        rows.push(up(
            "3986 3.3",
            &format!("a target with {what} stays"),
            say(&format!("<T>{behind}")),
            &heard,
        ));
    }
    for (what, target) in [
        ("a star", "*"),
        ("a relative path", "it"),
        ("a question mark", "?x"),
        ("a host and a port", "<A>"),
        ("a host, a port and a path", "<A>/it"),
        ("a scheme without slashes", "http:<A>/it"),
        ("a scheme with one slash", "http:/<A>/it"),
        ("a backslash", "\\it"),
        ("a dot", "."),
        ("an authority without a scheme", "//<A>/it"),
    ] {
        rows.push(anyhow(&format!("GET to {what}"), say(target)));
    }
    let options = "OPTIONS http://<A> HTTP/1.1\r\nHost: <A>\r\n\r\n";
    rows.push(up("9112 3.2.4", "OPTIONS to an empty path", options, "OPTIONS *").on(FORWARD));
    let root = "OPTIONS http://<A>/ HTTP/1.1\r\nHost: <A>\r\n\r\n";
    rows.push(up("9112 3.2.4", "OPTIONS to a slash", root, "OPTIONS /").on(FORWARD));
    rows
}

/// In none of the forms that a way has: 400 from whoever sees it first.
fn anyhow(what: &str, say: String) -> Row {
    let row = rejected("9112 3.2", what, say).on(FORWARD);
    Row { then: super::row::Then::Nowhere, ..row }
}

fn lengths() -> Vec<Row> {
    let long = |length: usize| format!("GET <T>/{} HTTP/1.1\r\nHost: <A>\r\n\r\n", "x".repeat(length));
    let method = |length: usize| format!("{} <T> HTTP/1.1\r\nHost: <A>\r\n\r\n", "M".repeat(length));
    vec![
        up("9112 3", "a target of 8000 bytes", long(8000), &format!("GET /it/{}", "x".repeat(8000))),
        beyond("9110 15.5.15", "a target of 33 KiB", long(33 * 1024), &[414]).on(&EXCHANGES),
        beyond("9110 15.5.15", "a target of 70 KiB", long(70 * 1024), &[414, 431]).on(&EXCHANGES),
        beyond("9110 15.5.15", "a target of 600 KiB", long(600 * 1024), &[414, 431]).on(&EXCHANGES),
        beyond("9110 15.6.2", "a method of 100 KiB", method(100 * 1024), &[400, 414, 431, 501])
            .on(&EXCHANGES),
        up_and_end("9112 9.3", "an old client", "GET <T> HTTP/1.0\r\nHost: <A>\r\n\r\n", "GET /it")
            .on(&EXCHANGES),
    ]
}

/// Where requests end, one behind the other.
pub fn pipelines() -> Vec<Row> {
    use super::row::pipelined;
    let get = |path: &str| format!("GET <T>{path} HTTP/1.1\r\nHost: <A>\r\n\r\n");
    let many: String = (0..40).map(|number| get(&format!("/{number}"))).collect();
    let heard: Vec<String> = (0..40).map(|number| format!("GET /it/{number}")).collect();
    let heard: Vec<&str> = heard.iter().map(String::as_str).collect();
    let post = "POST <T> HTTP/1.1\r\nHost: <A>\r\nContent-Length: 5\r\n\r\nhello";
    let chunked =
        "PUT <T> HTTP/1.1\r\nHost: <A>\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    let head = "HEAD <T> HTTP/1.1\r\nHost: <A>\r\n\r\n";
    let posted = "POST /it\nContent-Length: 5\n\nhello";
    let put = "PUT /it\nTransfer-Encoding: chunked\n\nhello";
    let mixed = [post, &get("/1"), chunked, head, post, &get("/2")].concat();
    let order = [posted, "GET /it/1", put, "HEAD /it", posted, "GET /it/2"];
    vec![
        pipelined("9112 9.3.2", "forty at once", many, &heard),
        pipelined("9112 9.3.2", "with and without bodies", mixed, &order),
        pipelined("9112 9.3.2", "HEAD behind HEAD", [head, head].concat(), &["HEAD /it", "HEAD /it"]),
        pipelined("9112 2.2", "an empty line between two", [post, "\r\n", post].concat(), &[posted, posted]),
        up_and_end(
            "9112 9.6",
            "the first says close",
            "GET <T> HTTP/1.1\r\nHost: <A>\r\nConnection: close\r\n\r\n",
            "GET /it",
        ),
        up_and_end(
            "9112 9.6",
            "the first says close in a list and in capitals",
            "GET <T> HTTP/1.1\r\nHost: <A>\r\nConnection: foo, CLOSE\r\n\r\n",
            "GET /it",
        ),
        up(
            "9112 9.3",
            "an old client keeps its connection",
            "GET <T> HTTP/1.0\r\nHost: <A>\r\nConnection: keep-alive\r\n\r\n",
            "GET /it",
        ),
    ]
}

/// Lines that end with LF alone: read by some as an end and by others not, so nobody is asked to.
pub fn bare_line_feeds() -> Vec<Row> {
    [
        ("ends the request line", "GET <T> HTTP/1.1\nHost: <A>\r\n\r\n"),
        ("ends a field", "GET <T> HTTP/1.1\r\nHost: <A>\nX-A: b\r\n\r\n"),
        ("hides a coding", "GET <T> HTTP/1.1\r\nHost: <A>\r\nX-A: b\nTransfer-Encoding: chunked\r\n\r\n"),
        ("hides a length", "GET <T> HTTP/1.1\r\nHost: <A>\r\nX-A: b\nContent-Length: 5\r\n\r\nhello"),
        ("ends the head", "GET <T> HTTP/1.1\r\nHost: <A>\r\n\n"),
        ("ends everything", "GET <T> HTTP/1.1\nHost: <A>\n\n"),
        ("stands before the request line", "\nGET <T> HTTP/1.1\r\nHost: <A>\r\n\r\n"),
        ("stands in a value", "GET <T> HTTP/1.1\r\nHost: <A>\r\nX-A: b\nc\r\n\r\n"),
    ]
    .map(|(what, say)| rejected("9112 2.2", &format!("LF alone {what}"), say))
    .to_vec()
}
