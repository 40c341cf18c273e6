//! Running the tables of answers: every version of HTTP, both ways, and through a node; then a canary that must get its
//! own answer and nobody else's.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::Request;
use http_body_util::{BodyExt, Empty};
use tokio::{io::AsyncWriteExt, net::TcpStream, time::timeout};

use super::{
    row::{fill, latin},
    script::{End, Script, Scripted},
    strict::show,
};
use crate::support::{
    client::{EXCHANGES, Way, http2},
    resin::Resin,
    wire::{Length, Wire},
    world::basic,
};

/// What no run takes on a slow machine.
const LONG: Duration = Duration::from_secs(10);

/// What the client must see.
#[derive(Debug, Clone)]
pub enum Seen {
    /// This status and this body, whole.
    Whole(u16, String),
    /// The proxy's own 502.
    Bad,
    /// This status, a part of this body (perhaps none), and then a cut.
    Cut(u16, String),
    /// The proxy's own 502, or a cut where the head was out already.
    BadOrCut,
}

#[derive(Debug, Clone)]
pub struct AnswerRow {
    /// RFC and section.
    pub rfc: &'static str,
    pub what: String,
    pub method: &'static str,
    pub script: Script,
    pub seen: Seen,
    /// Lines that the answer must have; a name alone is one that it must not have.
    pub lines: &'static [&'static str],
    /// Interim answers that a client of HTTP/1.1 gets before.
    pub interim: &'static [u16],
}

impl AnswerRow {
    pub fn to(mut self, method: &'static str) -> Self {
        self.method = method;
        self
    }

    pub fn lines(mut self, lines: &'static [&'static str]) -> Self {
        self.lines = lines;
        self
    }

    pub fn ending(mut self, end: End) -> Self {
        self.script.end = end;
        self
    }
}

pub fn row(rfc: &'static str, what: &str, say: impl Into<String>, end: End, seen: Seen) -> AnswerRow {
    let script = Script { say: say.into(), end };
    AnswerRow { rfc, what: what.to_owned(), method: "GET", script, seen, lines: &[], interim: &[] }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    Http11,
    Http10,
    Http2,
}

const VERSIONS: [Version; 3] = [Version::Http11, Version::Http10, Version::Http2];

/// An answer as far as it came.
#[derive(Debug, Default)]
struct Got {
    status: u16,
    fields: Vec<(String, String)>,
    body: Vec<u8>,
    whole: bool,
    interim: Vec<u16>,
}

/// Runs every row everywhere; all that went wrong, in one failure.
pub async fn run(rows: Vec<AnswerRow>, routes: &[&Resin]) {
    let mut runs = Vec::new();
    for row in &rows {
        for (number, resin) in routes.iter().enumerate() {
            // What a version makes of an answer does not depend on the node.
            let versions = if number == 0 { &VERSIONS[..] } else { &VERSIONS[..1] };
            for version in versions.iter().copied() {
                runs.extend(EXCHANGES.map(|way| (row, number, *resin, version, way)));
            }
        }
    }
    let count = runs.len();
    let started = std::time::Instant::now();
    let done: Vec<_> = stream::iter(runs)
        .map(|(row, route, resin, version, way)| async move {
            let wrong = timeout(LONG, one(row, resin, version, way)).await;
            let wrong = wrong.unwrap_or_else(|_| Err("it did not end".to_owned())).err();
            (row, format!("{version:?}, {way:?}, route {route}"), wrong)
        })
        .buffer_unordered(24)
        .collect()
        .await;
    println!("{} rows, {count} runs in {:?}", rows.len(), started.elapsed());
    let mut wrong: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (row, place, what) in done {
        if let Some(what) = what {
            let said = show(&latin(&row.script.say));
            let name = format!("RFC {}: {}\n    {said:?}", row.rfc, row.what);
            wrong.entry(name).or_default().push(format!("{place}: {what}"));
        }
    }
    let told = wrong.iter().map(|(row, places)| {
        format!("{row}\n    {}\n    and {} more of its runs\n", places[0], places.len() - 1)
    });
    let told: String = told.collect();
    assert!(wrong.is_empty(), "{} of {} rows went wrong:\n{told}", wrong.len(), rows.len());
}

async fn one(row: &AnswerRow, resin: &Resin, version: Version, way: Way) -> Result<(), String> {
    let origin = Scripted::start(row.script.clone()).await;
    let got = ask(resin, version, way, (row.method, "/it"), &origin).await?;
    if matches!(row.script.end, End::Late(_)) {
        origin.answered.notify_one();
        origin.late.notified().await;
    }
    judge(row, version, &got).map_err(|what| {
        format!("{what}: {} {:?} {:?} whole: {}", got.status, got.fields, show(&got.body), got.whole)
    })?;
    for version in [Version::Http11, version] {
        let canary = ask(resin, version, way, ("GET", "/canary"), &origin).await?;
        if (canary.status, &*canary.body, canary.whole) != (200, b"canary", true) {
            return Err(format!("the canary got {} {:?}", canary.status, show(&canary.body)));
        }
    }
    let last = row.script.say.contains("HTTP/1.0 ") || row.script.say.contains("\nConnection: close");
    let connections = origin.connections();
    if last && connections.iter().skip(1).any(|connection| *connection == connections[0]) {
        return Err(format!("another request behind the last of its connection: {connections:?}"));
    }
    let heard = origin.heard();
    let once = heard.iter().filter(|heard| heard.target == "/it").count() <= 1;
    if once { Ok(()) } else { Err(format!("the request came more than once: {heard:?}")) }
}

fn judge(row: &AnswerRow, version: Version, got: &Got) -> Result<(), String> {
    let code = got.fields.iter().find(|(name, _)| name == "x-resin-error").map_or("", |(_, value)| value);
    let bad = got.status == 502 && code == "UPSTREAM_REQUEST_FAILED" && got.whole;
    match &row.seen {
        Seen::Whole(status, body) => {
            if (got.status, &*got.body, got.whole) != (*status, &*latin(body), true) || !code.is_empty() {
                return Err(format!("not a whole {status} with {body:?}"));
            }
            if version == Version::Http11 && got.interim != row.interim {
                return Err(format!("interim answers {:?} and not {:?}", got.interim, row.interim));
            }
            lines(row.lines, got)
        }
        Seen::Bad if bad => Ok(()),
        Seen::Bad => Err("not 502".to_owned()),
        // The reset overtook what was said before it.
        Seen::Cut(..) if bad && row.script.end == End::Rst => Ok(()),
        Seen::Cut(status, body) => {
            let part = latin(body).starts_with(&got.body);
            if got.status == *status && part && !got.whole && code.is_empty() {
                return Ok(());
            }
            Err(format!("not a {status} that is cut within {body:?}"))
        }
        Seen::BadOrCut if bad || (!got.whole && code.is_empty()) => Ok(()),
        Seen::BadOrCut => Err("neither 502 nor cut".to_owned()),
    }
}

fn lines(lines: &[&str], got: &Got) -> Result<(), String> {
    for line in lines {
        let (name, value) = line.split_once(": ").map_or((*line, None), |(name, value)| (name, Some(value)));
        let found: Vec<&str> =
            got.fields.iter().filter(|(known, _)| known == name).map(|(_, value)| value.as_str()).collect();
        let wanted: Vec<&str> = value.into_iter().collect();
        if found != wanted {
            return Err(format!("{name} is {found:?} and not {wanted:?}"));
        }
    }
    Ok(())
}

async fn ask(
    resin: &Resin,
    version: Version,
    way: Way,
    (method, path): (&str, &str),
    origin: &Scripted,
) -> Result<Got, String> {
    match version {
        Version::Http2 => over_http2(resin, way, method, path, origin).await,
        Version::Http11 => over_http1(resin, way, method, path, origin, "1.1").await,
        Version::Http10 => over_http1(resin, way, method, path, origin, "1.0").await,
    }
}

async fn over_http1(
    resin: &Resin,
    way: Way,
    method: &str,
    path: &str,
    origin: &Scripted,
    version: &str,
) -> Result<Got, String> {
    let connection = TcpStream::connect(resin.data).await.map_err(|error| error.to_string())?;
    let mut wire = Wire::new(connection);
    let target = way.target("<A>", path);
    let text = format!("{method} {target} HTTP/{version}\r\nHost: <A>\r\nConnection: close\r\n\r\n");
    let bytes = fill(&text, way, origin.address);
    wire.stream.write_all(&bytes).await.map_err(|error| error.to_string())?;
    let mut got = Got::default();
    loop {
        let Ok(Some(head)) = wire.head().await else { return Ok(got) };
        if (100..200).contains(&head.status()) && head.status() != 101 {
            got.interim.push(head.status());
            continue;
        }
        got.status = head.status();
        let doubtful = head.count("content-length") + head.count("transfer-encoding") > 1
            || head.get("content-length").is_some_and(|length| length.parse::<u64>().is_err());
        if doubtful {
            return Err(format!("the client is told where its answer ends by {:?}", head.fields));
        }
        let length = Length::of_answer(&head, method);
        got.fields = head.fields;
        let payload = wire.body(length).await;
        (got.body, got.whole) = (payload.bytes, payload.whole);
        // Nothing may follow, and the end of a whole answer is no reset.
        let behind = wire.body(Length::ToTheEnd).await;
        if !behind.bytes.is_empty() || (got.whole && !behind.whole) {
            return Err(format!("behind the answer: {:?}, reset: {}", show(&behind.bytes), !behind.whole));
        }
        return Ok(got);
    }
}

async fn over_http2(
    resin: &Resin,
    way: Way,
    method: &str,
    path: &str,
    origin: &Scripted,
) -> Result<Got, String> {
    let authority = origin.address;
    let url = match way {
        Way::Reverse => format!("http://{authority}/any/Default/http/{authority}{path}"),
        Way::Forward | Way::Connect => format!("http://{authority}{path}"),
    };
    let mut request = Request::builder().method(method).uri(url);
    if way == Way::Forward {
        request = request.header("proxy-authorization", basic("Default", "any"));
    }
    let request = request.body(Empty::<Bytes>::new()).map_err(|error| error.to_string())?;
    let Ok(response) = http2(resin).await.send_request(request).await else { return Ok(Got::default()) };
    let mut got = Got { status: response.status().as_u16(), ..Got::default() };
    for (name, value) in response.headers() {
        let value = value.as_bytes().iter().map(|byte| char::from(*byte)).collect();
        got.fields.push((name.to_string(), value));
    }
    let mut body = response.into_body();
    got.whole = true;
    while let Some(frame) = body.frame().await {
        match frame.map(http_body::Frame::into_data) {
            Ok(Ok(data)) => got.body.extend(&data),
            Ok(Err(_trailers)) => {}
            Err(_) => {
                got.whole = false;
                break;
            }
        }
    }
    Ok(got)
}
