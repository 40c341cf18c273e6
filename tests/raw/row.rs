//! A row of the request tables: what a client sends, and what must become of it.
//!
//! Text stands for bytes, one character each (`\u{ff}` is the byte 255). `<T>` is the target on the way that is tried
//! (the path at the origin is `/it`), `<A>` the origin's authority, `<P>` its port. On CONNECT the first word becomes
//! `CONNECT` and `<T>` the authority.

use std::net::SocketAddr;

use crate::support::client::{EXCHANGES, WAYS, Way};

pub const FORWARD: &[Way] = &[Way::Forward];
pub const REVERSE: &[Way] = &[Way::Reverse];
pub const CONNECT: &[Way] = &[Way::Connect];

/// What must become of a row's bytes.
#[derive(Debug, Clone)]
pub enum Then {
    /// These requests go up, once each and in order, and so does the canary behind them. A request is written as its
    /// method and target, its fields but `Host`, an empty line and its body without framing. On CONNECT the tunnel
    /// opens, and the canary goes through it.
    Up(Vec<String>),
    /// The same, and then the connection ends: nothing behind them is read.
    UpAndEnd(Vec<String>),
    /// This status with this `X-Resin-Error` (none where it is empty, any where it is `*`). Nothing goes up.
    Refused(u16, &'static str),
    /// This status, and nothing goes up; the connection stays, and the canary behind it goes up.
    Told(u16),
    /// Refused (4xx) by whoever sees it first, and nothing goes up; the canary may, where the connection stays.
    Nowhere,
    /// Refused as no HTTP: one of these statuses, or a connection that just ends. Nothing goes up.
    Rejected(&'static [u16]),
    /// It breaks in its body: a part may go up, never the whole; the client is told, or just cut off.
    Broken,
}

#[derive(Debug, Clone)]
pub struct Row {
    /// RFC and section.
    pub rfc: &'static str,
    pub what: String,
    pub ways: &'static [Way],
    pub say: String,
    /// The client ends its side behind these bytes; no canary follows.
    pub ends: bool,
    pub then: Then,
}

impl Row {
    pub fn on(mut self, ways: &'static [Way]) -> Self {
        self.ways = ways;
        self
    }

    /// The client's bytes on this way to this origin.
    pub fn bytes(&self, way: Way, origin: SocketAddr) -> Vec<u8> {
        let mut text = self.say.clone();
        if way == Way::Connect {
            let method = text.trim_start().split(' ').next().unwrap_or_default().to_owned();
            text = text.replacen(&method, "CONNECT", 1);
        }
        fill(&text, way, origin)
    }
}

/// Text with its places filled, as bytes.
pub fn fill(text: &str, way: Way, origin: SocketAddr) -> Vec<u8> {
    let authority = origin.to_string();
    let target = match way {
        Way::Connect => authority.clone(),
        Way::Forward | Way::Reverse => way.target(&authority, "/it"),
    };
    let text = text.replace("<T>", &target).replace("<A>", &authority);
    latin(&text.replace("<P>", &origin.port().to_string()))
}

/// One byte for each character.
pub fn latin(text: &str) -> Vec<u8> {
    text.chars().map(|letter| u8::try_from(u32::from(letter)).expect("a byte for each character")).collect()
}

pub fn row(rfc: &'static str, what: &str, say: impl Into<String>, then: Then) -> Row {
    Row { rfc, what: what.to_owned(), ways: &EXCHANGES, say: say.into(), ends: false, then }
}

/// Goes up as this.
pub fn up(rfc: &'static str, what: &str, say: impl Into<String>, heard: &str) -> Row {
    row(rfc, what, say, Then::Up(vec![heard.to_owned()]))
}

/// Goes up as this, and then the connection ends.
pub fn up_and_end(rfc: &'static str, what: &str, say: impl Into<String>, heard: &str) -> Row {
    row(rfc, what, say, Then::UpAndEnd(vec![heard.to_owned()]))
}

/// Several at once.
pub fn pipelined(rfc: &'static str, what: &str, say: impl Into<String>, heard: &[&str]) -> Row {
    row(rfc, what, say, Then::Up(heard.iter().map(|&heard| heard.to_owned()).collect()))
}

/// 400 with this code, on every way unless it says otherwise.
pub fn refused(rfc: &'static str, what: &str, say: impl Into<String>, code: &'static str) -> Row {
    row(rfc, what, say, Then::Refused(400, code)).on(&WAYS)
}

/// Refused as no HTTP, on every way unless it says otherwise.
pub fn rejected(rfc: &'static str, what: &str, say: impl Into<String>) -> Row {
    row(rfc, what, say, Then::Rejected(&[400])).on(&WAYS)
}

/// Over a limit: this status.
pub fn beyond(rfc: &'static str, what: &str, say: impl Into<String>, status: &'static [u16]) -> Row {
    row(rfc, what, say, Then::Rejected(status)).on(&WAYS)
}

/// Breaks in its body.
pub fn broken(rfc: &'static str, what: &str, say: impl Into<String>) -> Row {
    row(rfc, what, say, Then::Broken)
}

/// Ends before it is whole.
pub fn truncated(rfc: &'static str, what: &str, say: impl Into<String>) -> Row {
    Row { ends: true, ..broken(rfc, what, say) }
}
