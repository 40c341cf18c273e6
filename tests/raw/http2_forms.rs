//! Pseudo-fields, CONNECT and frames over HTTP/2: what forms a request, and what forms none (RFC 9113, sections 4 to 8).

use super::{
    frames::{
        CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PING, PUSH_PROMISE, SETTINGS, WINDOW_UPDATE,
        block, frame,
    },
    http2::{Fields, H2Row, REVERSE, Say, Then, changed, get, head, row, up},
};

pub fn rows() -> Vec<H2Row> {
    [pseudo(), connect(), frames()].concat()
}

fn pseudo() -> Vec<H2Row> {
    let without = |name: &str| {
        let left: Vec<(&str, &str)> = REVERSE.into_iter().filter(|(known, _)| *known != name).collect();
        head(END_STREAM, &left)
    };
    let late = [&[REVERSE[0], REVERSE[1], REVERSE[2]][..], &[("x-a", "b"), REVERSE[3]]].concat();
    let mut rows = vec![
        row(
            "9113 8.3.1",
            "host instead of :authority",
            vec![head(END_STREAM, &[REVERSE[0], REVERSE[1], REVERSE[3], ("host", "<A>")])],
            up("GET /it"),
        )
        .on(&[false]),
        row("9113 8.3.1", "neither host nor :authority", vec![without(":authority")], Then::Refused),
        row("9113 8.3.1", "no :method", vec![without(":method")], Then::Refused),
        row("9113 8.3.1", "no :scheme", vec![without(":scheme")], Then::Refused),
        row("9113 8.3.1", "no :path", vec![without(":path")], Then::Refused),
        row("9113 8.3.1", "no pseudo-field at all", vec![head(END_STREAM, &[("x-a", "b")])], Then::Refused),
        row("9113 8.3", "no field at all", vec![head(END_STREAM, &[])], Then::Refused),
        row("9113 8.3", "a pseudo-field behind a field", vec![head(END_STREAM, &late)], Then::Refused),
        row("9113 8.3.1", "host that is not :authority", vec![get(&[("host", "other.test")])], Then::Refused),
        row("9113 8.3.1", "two hosts", vec![get(&[("host", "<A>"), ("host", "other.test")])], Then::Refused),
        row("9113 8.3.1", "two equal hosts", vec![get(&[("host", "<A>"), ("host", "<A>")])], Then::Refused),
        row("9113 8.3.1", "an empty host", vec![get(&[("host", "")])], Then::Refused),
        row("9113 8.3.1", "a host with user information", vec![get(&[("host", "user@<A>")])], Then::Refused),
    ];
    for (name, value) in REVERSE {
        let what = format!("{name} twice");
        rows.push(row(
            "9113 8.3",
            &what,
            vec![head(END_STREAM, &[&REVERSE[..], &[(name, value)]].concat())],
            Then::Refused,
        ));
    }
    for name in [":status", ":protocol", ":foo", ":", ":host"] {
        let fields = [&REVERSE[..], &[(name, "200")]].concat();
        rows.push(row(
            "9113 8.3",
            &format!("the pseudo-field {name}"),
            vec![head(END_STREAM, &fields)],
            Then::Refused,
        ));
    }
    for value in [
        "",
        "G T",
        "GET / HTTP/1.1\r\nX: y\r\n",
        "GET\r\n",
        "GET\0",
        "G\u{e4}T",
        "GET:",
        "(GET)",
        "GET /it HTTP/1.1",
    ] {
        rows.push(row(
            "9113 8.3.1",
            &format!(":method is {value:?}"),
            vec![changed(":method", value)],
            Then::Refused,
        ));
    }
    for value in ["ht tp", "http\r\n", "http://a", "http:", "h\0", "\u{e4}"] {
        rows.push(row(
            "9113 8.3.1",
            &format!(":scheme is {value:?}"),
            vec![changed(":scheme", value)],
            Then::Refused,
        ));
    }
    for value in [
        "user@<A>",
        "@<A>",
        "<A>/x",
        "<A>?x",
        "<A>#x",
        "a b",
        "a\r\nb",
        "a\0b",
        "a,b",
        "[::1",
        "a:b:80",
        "127.0.0.1:99999",
        "127.0.0.1:0",
        "127.0.0.1:+80",
        "127.0.0.1:",
        "http://<A>",
    ] {
        rows.push(row(
            "9113 8.3.1",
            &format!(":authority is {value:?}"),
            vec![changed(":authority", value)],
            Then::Refused,
        ));
    }
    for value in [
        "",
        "*",
        "it",
        "?x",
        "http://<A>/it",
        "/any/Default/http/<A>/it HTTP/1.1\r\nX: y",
        "/any/Default/http/<A>/\r\n\r\nGET /hidden",
        "/any/Default/http/<A>/a b",
        "/any/Default/http/<A>/\tx",
        "/any/Default/http/<A>/\0",
        "/any/Default/http/<A>/\u{1}",
        "/any/Default/http/<A>/\u{7f}",
    ] {
        rows.push(row(
            "9113 8.3.1",
            &format!(":path is {value:?}"),
            vec![changed(":path", value)],
            Then::Refused,
        ));
    }
    for value in ["//", "/any/Default/http/user@<A>/it", "/any/Default/http/127.0.0.1%0d%0a:80/it"] {
        let say = vec![changed(":path", value)];
        rows.push(row("9110 7.4", &format!("a reverse path is {value:?}"), say, Then::Refused).on(&[false]));
    }
    for value in ["", "1http", "ftp", "ws"] {
        let say = vec![changed(":scheme", value)];
        rows.push(
            row("9113 8.3.1", &format!("a forward :scheme is {value:?}"), say, Then::Refused).on(&[true]),
        );
    }
    // A reader beneath us cuts it off: nobody further on sees it, nor do we.
    let cut = vec![changed(":path", "/any/Default/http/<A>/it#x")];
    rows.push(row("9113 8.3.1", "a fragment goes no further", cut, up("GET /it")));
    let odd = "/any/Default/http/<A>/it/../%2e//x?a=b&c=%0d%0a";
    rows.push(row(
        "9113 8.3.1",
        ":path with dots and escapes stays",
        vec![changed(":path", odd)],
        up("GET /it/../%2e//x?a=b&c=%0d%0a"),
    ));
    rows
}

fn connect() -> Vec<H2Row> {
    let plain = [(":method", "CONNECT"), (":authority", "<A>")];
    let with = |more: Fields| vec![head(0, &[&plain[..], more].concat())];
    let to = |authority: &str| vec![head(0, &[(":method", "CONNECT"), (":authority", authority)])];
    let mut rows = vec![
        row("9113 8.5", "CONNECT", with(&[]), Then::Tunnel),
        row(
            "9113 8.5",
            "CONNECT without :authority",
            vec![head(0, &[(":method", "CONNECT")])],
            Then::Refused,
        ),
        row(
            "9113 8.5",
            "CONNECT with :path",
            vec![head(0, &[plain[0], plain[1], (":path", "/")])],
            Then::Refused,
        ),
        row(
            "9113 8.5",
            "CONNECT with :scheme",
            vec![head(0, &[plain[0], plain[1], (":scheme", "http")])],
            Then::Refused,
        ),
        row(
            "9113 8.5",
            "CONNECT with both",
            vec![head(0, &[plain[0], (":scheme", "http"), plain[1], (":path", "/")])],
            Then::Refused,
        ),
        row(
            "8441 4",
            "extended CONNECT",
            vec![head(
                0,
                &[plain[0], (":protocol", "websocket"), (":scheme", "http"), (":path", "/it"), plain[1]],
            )],
            Then::Refused,
        ),
        row(
            "8441 4",
            "extended CONNECT without the rest",
            vec![head(0, &[plain[0], (":protocol", "websocket"), plain[1]])],
            Then::Refused,
        ),
        // hyper ends the whole connection over this one.
        row("9113 8.5", "CONNECT with a length", with(&[("content-length", "5")]), Then::Ended),
        row("9113 8.5", "CONNECT with a coding", with(&[("transfer-encoding", "chunked")]), Then::Refused),
        row("9113 8.3.1", "CONNECT with another host", with(&[("host", "other.test")]), Then::Refused),
    ];
    for authority in [
        "127.0.0.1",
        "127.0.0.1:",
        "127.0.0.1:0",
        "127.0.0.1:65536",
        "127.0.0.1:+<P>",
        "user@<A>",
        "<A>/",
        "<A>?x",
        "http://<A>",
        "a b:80",
        "[::1:80",
        ":80",
        "",
    ] {
        rows.push(row("9113 8.5", &format!("CONNECT to {authority:?}"), to(authority), Then::Refused));
    }
    rows
}

fn frames() -> Vec<H2Row> {
    let raw = |bytes: Vec<u8>| vec![Say::Raw(bytes)];
    let flood = |frames: usize, each: &[u8]| {
        let open = frame(HEADERS, END_STREAM, 1, &block(&REVERSE));
        [open, frame(CONTINUATION, 0, 1, each).repeat(frames)].concat()
    };
    let long = block(&[("x-a", &"b".repeat(16_000))]);
    let big = [
        frame(HEADERS, END_STREAM, 1, &block(&REVERSE)),
        frame(CONTINUATION, 0, 1, &long).repeat(20),
        frame(CONTINUATION, END_HEADERS, 1, &long),
    ]
    .concat();
    vec![
        row("9113 10.5", "CONTINUATION without end, and empty", raw(flood(50_000, &[])), Then::Ended),
        row(
            "9113 10.5",
            "CONTINUATION without end",
            raw(flood(200, &block(&[("x-a", &"b".repeat(8000))]))),
            Then::Ended,
        ),
        row("9113 10.5.1", "a head of 300 KiB", raw(big), Then::Refused),
        row(
            "9113 6.10",
            "CONTINUATION on another stream",
            raw([frame(HEADERS, 0, 1, &block(&REVERSE)), frame(CONTINUATION, END_HEADERS, 3, &[])].concat()),
            Then::Ended,
        ),
        row(
            "9113 6.10",
            "CONTINUATION of nothing",
            raw(frame(CONTINUATION, END_HEADERS, 1, &[])),
            Then::Ended,
        ),
        row(
            "9113 6.10",
            "DATA within a head",
            raw([frame(HEADERS, 0, 1, &block(&REVERSE)), frame(DATA, 0, 1, b"x")].concat()),
            Then::Ended,
        ),
        row(
            "9113 5.1.1",
            "a head on stream 0",
            raw(frame(HEADERS, END_HEADERS | END_STREAM, 0, &block(&REVERSE))),
            Then::Ended,
        ),
        row(
            "9113 5.1.1",
            "a head on an even stream",
            raw(frame(HEADERS, END_HEADERS | END_STREAM, 2, &block(&REVERSE))),
            Then::Ended,
        ),
        row("9113 6.1", "DATA on a stream that is not there", raw(frame(DATA, 0, 1, b"x")), Then::Ended),
        row("9113 6.1", "DATA on stream 0", raw(frame(DATA, 0, 0, b"x")), Then::Ended),
        row(
            "9113 6.6",
            "PUSH_PROMISE from a client",
            raw(frame(PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2])),
            Then::Ended,
        ),
        row("9113 6.5", "SETTINGS of five bytes", raw(frame(SETTINGS, 0, 0, &[0; 5])), Then::Ended),
        row("9113 6.5", "SETTINGS on a stream", raw(frame(SETTINGS, 0, 1, &[])), Then::Ended),
        row("9113 6.7", "PING of seven bytes", raw(frame(PING, 0, 0, &[0; 7])), Then::Ended),
        row("9113 6.9", "WINDOW_UPDATE by nought", raw(frame(WINDOW_UPDATE, 0, 0, &[0; 4])), Then::Ended),
        row(
            "9113 6.9.1",
            "WINDOW_UPDATE beyond its range",
            raw(frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff])),
            Then::Ended,
        ),
        row("9113 4.2", "a frame that is too large", raw(frame(DATA, 0, 1, &vec![0; 20_000])), Then::Ended),
        row(
            "7541 5.1",
            "HPACK with an index beyond its table",
            raw(frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0xff, 0xff, 0x7f])),
            Then::Ended,
        ),
        row(
            "7541 5.2",
            "HPACK that ends within a string",
            raw(frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0, 5, b'x'])),
            Then::Ended,
        ),
        row(
            "7541 6.3",
            "HPACK with a table beyond what was allowed",
            raw(frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0x3f, 0xe1, 0xff, 0x7f])),
            Then::Ended,
        ),
    ]
}
