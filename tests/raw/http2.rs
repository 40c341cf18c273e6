//! Requests over HTTP/2 that must not become something else over HTTP/1.1 (RFC 9113, sections 8.1 to 8.3 and 10.3).

use super::frames::{CONTINUATION, END_HEADERS, END_STREAM, RST_STREAM, block, frame};

/// What must become of stream 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Then {
    /// It goes up as this, in the spelling of the request tables, and is answered with its target.
    Up(String),
    /// A 4xx, a reset or the end of the connection; nothing of it goes up. Where the connection stays, so do others.
    Refused,
    /// The same; a part may have gone up, never the whole.
    Broken,
    /// The connection is ended (GOAWAY or a plain end); nothing goes up.
    Ended,
    /// A tunnel: what is sent through it is the origin's.
    Tunnel,
}

#[derive(Debug, Clone)]
pub struct H2Row {
    pub rfc: &'static str,
    pub what: String,
    /// Frames behind the preface.
    pub say: Vec<Say>,
    pub then: Then,
    /// The paths that it is tried on: forward (told by its credentials) or not.
    pub forward: &'static [bool],
}

/// Frames whose fields may have places: `<A>` and `<P>` as in the other tables.
#[derive(Debug, Clone)]
pub enum Say {
    /// HEADERS with these flags on stream 1.
    Head(u8, Vec<(String, String)>),
    Data(u8, String),
    Raw(Vec<u8>),
}

pub type Fields<'a> = &'a [(&'a str, &'a str)];

/// The pseudo-fields of a reverse request.
pub const REVERSE: [(&str, &str); 4] =
    [(":method", "GET"), (":scheme", "http"), (":authority", "<A>"), (":path", "/any/Default/http/<A>/it")];

impl H2Row {
    pub fn on(mut self, forward: &'static [bool]) -> Self {
        self.forward = forward;
        self
    }
}

pub fn head(flags: u8, fields: Fields) -> Say {
    let owned = fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Say::Head(flags | END_HEADERS, owned.collect())
}

pub fn row(rfc: &'static str, what: &str, say: Vec<Say>, then: Then) -> H2Row {
    H2Row { rfc, what: what.to_owned(), say, then, forward: &[false, true] }
}

/// The usual request with these fields behind.
pub fn get(more: Fields) -> Say {
    head(END_STREAM, &[&REVERSE[..], more].concat())
}

fn post(more: Fields) -> Say {
    let mut fields = REVERSE;
    fields[0].1 = "POST";
    head(0, &[&fields[..], more].concat())
}

/// The usual request with one pseudo-field changed.
pub fn changed(name: &str, value: &str) -> Say {
    let fields = REVERSE.map(|(known, usual)| if known == name { (known, value) } else { (known, usual) });
    head(END_STREAM, &fields)
}

fn data(flags: u8, text: &str) -> Say {
    Say::Data(flags, text.to_owned())
}

pub fn up(heard: &str) -> Then {
    Then::Up(heard.to_owned())
}

pub fn rows() -> Vec<H2Row> {
    [good(), fields(), lengths()].concat()
}

fn good() -> Vec<H2Row> {
    let chunked = |method: &str| format!("{method} /it\nTransfer-Encoding: chunked\n\nhello");
    vec![
        row("9113 8.3.1", "a GET", vec![get(&[])], up("GET /it")),
        row("9113 8.1", "a POST", vec![post(&[]), data(END_STREAM, "hello")], up(&chunked("POST"))),
        row(
            "9113 8.1",
            "a POST with its length",
            vec![post(&[("content-length", "5")]), data(END_STREAM, "hello")],
            up("POST /it\nContent-Length: 5\n\nhello"),
        ),
        row(
            "9113 8.1",
            "a body in three frames",
            vec![post(&[("content-length", "5")]), data(0, "he"), data(0, "l"), data(END_STREAM, "lo")],
            up("POST /it\nContent-Length: 5\n\nhello"),
        ),
        row(
            "9113 8.1",
            "a body that looks like a request",
            vec![post(&[("content-length", "29")]), data(END_STREAM, "GET /x HTTP/1.1\r\nHost: a\r\n\r\n\r")],
            up("POST /it\nContent-Length: 29\n\nGET /x HTTP/1.1\r\nHost: a\r\n\r\n\r"),
        ),
        row(
            "9113 8.1",
            "a body that looks like chunks",
            vec![post(&[]), data(END_STREAM, "0\r\n\r\nGET /x HTTP/1.1\r\n")],
            up("POST /it\nTransfer-Encoding: chunked\n\n0\r\n\r\nGET /x HTTP/1.1\r\n"),
        ),
        row(
            "9113 8.2.3",
            "a cookie in crumbs",
            vec![get(&[("cookie", "a=1"), ("cookie", "b=2"), ("cookie", "c=3")])],
            up("GET /it\nCookie: a=1; b=2; c=3"),
        ),
        row(
            "9113 8.2.2",
            "TE: trailers",
            vec![get(&[("te", "trailers")])],
            up("GET /it\nTE: trailers\nConnection: te"),
        ),
        row("9113 8.2.1", "a byte beyond ASCII", vec![get(&[("x-a", "\u{e4}")])], up("GET /it\nX-A: \u{e4}")),
        row("9113 8.3.1", "host that equals :authority", vec![get(&[("host", "<A>")])], up("GET /it")),
        row(
            "9113 8.1",
            "a field twice",
            vec![get(&[("x-a", "b"), ("x-a", "c")])],
            up("GET /it\nX-A: b\nX-A: c"),
        ),
        row(
            "9113 6.10",
            "a head in two frames",
            vec![
                Say::Head(
                    END_STREAM,
                    REVERSE.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec(),
                ),
                Say::Raw(frame(CONTINUATION, END_HEADERS, 1, &block(&[("x-a", "b")]))),
            ],
            up("GET /it\nX-A: b"),
        ),
    ]
}

fn fields() -> Vec<H2Row> {
    let mut rows = Vec::new();
    for (what, name, value) in [
        ("CR LF in a value", "x-a", "b\r\nX-B: c"),
        ("CR in a value", "x-a", "b\rc"),
        ("LF in a value", "x-a", "b\nc"),
        ("a NUL in a value", "x-a", "b\0c"),
        ("a request in a value", "x-a", "b\r\n\r\nGET /hidden HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("CR LF in a name", "x-a: b\r\nx-b", "c"),
        ("LF in a name", "x-a\nx-b", "c"),
        ("a NUL in a name", "x\0a", "b"),
        ("a space in a name", "x a", "b"),
        ("a colon in a name", "x-a:", "b"),
        ("a colon within a name", "x:a", "b"),
        ("an empty name", "", "b"),
        ("a capital in a name", "X-a", "b"),
        ("a capital at a name's end", "x-A", "b"),
        ("a byte beyond ASCII in a name", "x-\u{e4}", "b"),
        ("DEL in a name", "x\u{7f}a", "b"),
        ("a control character in a name", "x\u{1}a", "b"),
        ("DEL in a value", "x-a", "b\u{7f}"),
        ("a control character in a value", "x-a", "b\u{1}"),
    ] {
        rows.push(row("9113 8.2.1", what, vec![get(&[(name, value)])], Then::Refused));
    }
    for (name, value) in [
        ("connection", "close"),
        ("connection", "keep-alive, x-a"),
        ("connection", "upgrade"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "keep-alive"),
        ("transfer-encoding", "chunked"),
        ("transfer-encoding", "identity"),
        ("upgrade", "websocket"),
        ("upgrade", "h2c"),
        ("te", "gzip"),
        ("te", "trailers, deflate;q=0.5"),
        ("te", "chunked"),
    ] {
        let what = format!("{name}: {value}");
        rows.push(row("9113 8.2.2", &what, vec![get(&[(name, value)])], Then::Refused));
    }
    let chunks = "5\r\nhello\r\n0\r\n\r\nGET /hidden HTTP/1.1\r\nHost: <A>\r\n\r\n";
    rows.push(row(
        "9113 8.2.2",
        "a coding with a body of chunks",
        vec![post(&[("transfer-encoding", "chunked")]), data(END_STREAM, chunks)],
        Then::Refused,
    ));
    rows.push(row(
        "9113 8.2.2",
        "a coding and a length",
        vec![post(&[("transfer-encoding", "chunked"), ("content-length", "5")]), data(END_STREAM, "hello")],
        Then::Refused,
    ));
    rows
}

fn lengths() -> Vec<H2Row> {
    let mut rows = Vec::new();
    for (length, body) in
        [("5", "hell"), ("5", "hello!"), ("5", ""), ("0", "hello"), ("4", "hello"), ("100", "hello")]
    {
        let what = format!("a length of {length} and {} bytes", body.len());
        rows.push(row(
            "9113 8.1.1",
            &what,
            vec![post(&[("content-length", length)]), data(END_STREAM, body)],
            Then::Broken,
        ));
    }
    for value in [
        "+5",
        "-5",
        "5, 5",
        "5,5",
        "",
        "0x5",
        "5a",
        "a",
        "5.0",
        " 5 x",
        "18446744073709551616",
        "99999999999999999999999",
    ] {
        let what = format!("the length {value:?}");
        rows.push(row(
            "9110 8.6",
            &what,
            vec![post(&[("content-length", value)]), data(END_STREAM, "hello")],
            Then::Refused,
        ));
    }
    let twice =
        |other| vec![post(&[("content-length", "5"), ("content-length", other)]), data(END_STREAM, "hello")];
    rows.push(row("9110 8.6", "two lengths", twice("6"), Then::Refused));
    rows.push(row("9110 8.6", "two equal lengths", twice("5"), Then::Refused));
    rows.push(row(
        "9113 8.1.1",
        "a length and the end with the head",
        vec![get(&[("content-length", "5")])],
        Then::Refused,
    ));
    rows.push(row(
        "9113 8.1",
        "trailers",
        vec![post(&[("trailer", "x-t")]), data(0, "hello"), head(END_STREAM, &[("x-t", "u")])],
        up("POST /it\nTrailer: x-t\nTransfer-Encoding: chunked\n\nhello\n\nX-T: u"),
    ));
    for (what, fields) in [
        ("CR LF", &[("x-t", "a\r\nb")][..]),
        ("a capital", &[("X-T", "u")][..]),
        ("a coding", &[("transfer-encoding", "chunked")][..]),
    ] {
        let say = vec![post(&[("trailer", "x-t")]), data(0, "hello"), head(END_STREAM, fields)];
        rows.push(row("9113 8.1", &format!("trailers with {what}"), say, Then::Broken));
    }
    // A reader beneath us drops it.
    let odd = vec![post(&[("trailer", "x-t")]), data(0, "hello"), head(END_STREAM, &[(":path", "/x")])];
    let heard = up("POST /it\nTrailer: x-t\nTransfer-Encoding: chunked\n\nhello");
    rows.push(row("9113 8.1", "a pseudo-field in trailers goes no further", odd, heard));
    let early = vec![post(&[]), data(0, "hello"), head(0, &[("x-t", "u")])];
    rows.push(row("9113 8.1", "trailers that are not the end", early, Then::Broken));
    rows.push(row(
        "9113 8.1",
        "a reset in the middle",
        vec![
            post(&[("content-length", "10")]),
            data(0, "hello"),
            Say::Raw(frame(RST_STREAM, 0, 1, &[0, 0, 0, 8])),
        ],
        Then::Broken,
    ));
    rows
}
