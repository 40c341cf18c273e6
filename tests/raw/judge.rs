//! What a row's run must have left: at the client, and at the origin.

use super::{
    origin::Strict,
    row::{Row, Then},
    run::Transcript,
    strict::{Heard, find, show},
};
use crate::support::client::Way;

/// An answer as the client got it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Got {
    pub status: u16,
    pub fields: Vec<(String, String)>,
    pub body: String,
}

impl Got {
    pub fn get(&self, name: &str) -> &str {
        self.fields.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }
}

/// The client's side.
pub fn client(row: &Row, way: Way, transcript: &Transcript) -> Result<(), String> {
    let came = || format!("{:?}", show(&transcript.bytes));
    match &row.then {
        Then::Up(_) | Then::UpAndEnd(_) if transcript.reset => Err(format!("a reset behind {}", came())),
        Then::Up(heard) => answered(row, way, heard, !row.ends, transcript),
        Then::UpAndEnd(heard) => answered(row, way, heard, false, transcript),
        Then::Refused(status, code) => {
            let got = only(transcript)?.ok_or("no answer")?;
            let right = got.status == *status && (*code == "*" || got.get("x-resin-error") == *code);
            let closes = got.get("connection").eq_ignore_ascii_case("close");
            if right && closes {
                Ok(())
            } else {
                Err(format!("not {status} {code:?} and closed: {}", came()))
            }
        }
        Then::Told(status) => {
            let got = answers(&transcript.bytes, &["GET", "GET"])?;
            let told: Vec<(u16, &str)> = got.iter().map(|got| (got.status, got.body.as_str())).collect();
            match told[..] {
                [(first, _), (200, "heard /canary")] if first == *status => Ok(()),
                _ => Err(format!("not {status}, and then the canary's: {}", came())),
            }
        }
        Then::Nowhere => match answers(&transcript.bytes, &["GET", "GET"])?.first() {
            Some(got) if !(400..500).contains(&got.status) => Err(format!("not refused: {}", came())),
            _ => Ok(()),
        },
        Then::Rejected(statuses) => match only(transcript)? {
            None => Ok(()),
            Some(got) if statuses.contains(&got.status) => Ok(()),
            Some(_) => Err(format!("not {statuses:?}: {}", came())),
        },
        Then::Broken => match only(transcript) {
            Ok(None) => Ok(()),
            Ok(Some(got)) if got.status >= 400 => Ok(()),
            _ => Err(format!("not cut, and not told: {}", came())),
        },
    }
}

/// Each was answered with its own target, in order, and so was the canary where there is one.
fn answered(
    row: &Row,
    way: Way,
    heard: &[String],
    canary: bool,
    transcript: &Transcript,
) -> Result<(), String> {
    let mut expected: Vec<(String, String)> = Vec::new();
    if way == Way::Connect {
        expected.push(("CONNECT".to_owned(), String::new()));
    }
    for text in through(way, heard) {
        let wanted = wanted(text);
        expected.push((wanted.method, format!("heard {}", wanted.target)));
    }
    if canary {
        expected.push(("GET".to_owned(), "heard /canary".to_owned()));
    }
    let methods: Vec<&str> = expected.iter().map(|(method, _)| method.as_str()).collect();
    let got = answers(&transcript.bytes, &methods)?;
    let bodies: Vec<&str> = got.iter().map(|got| got.body.as_str()).collect();
    let bodiless = |method: &str| method == "HEAD" || method == "CONNECT";
    let right: Vec<&str> =
        expected.iter().map(|(method, body)| if bodiless(method) { "" } else { body.as_str() }).collect();
    if bodies == right && got.iter().all(|got| got.status == 200) {
        Ok(())
    } else {
        Err(format!("not answered with {right:?}: {:?} ({})", show(&transcript.bytes), row.what))
    }
}

/// The only answer, whole, where there is one.
fn only(transcript: &Transcript) -> Result<Option<Got>, String> {
    let mut got = answers(&transcript.bytes, &["GET"])?;
    if got.len() > 1 {
        return Err(format!("more than one answer: {:?}", show(&transcript.bytes)));
    }
    Ok(got.pop())
}

/// Final answers, one behind the other to the end. What is behind the last method's is read as if for GET.
pub fn answers(mut bytes: &[u8], methods: &[&str]) -> Result<Vec<Got>, String> {
    let mut all: Vec<Got> = Vec::new();
    while !bytes.is_empty() {
        let method = methods.get(all.len()).copied().unwrap_or("GET");
        let end = find(bytes, b"\r\n\r\n").ok_or_else(|| format!("no answer: {:?}", show(bytes)))?;
        let head: String = bytes[..end].iter().map(|byte| char::from(*byte)).collect();
        bytes = &bytes[end + 4..];
        let mut got = head_of(&head).ok_or_else(|| format!("no answer's head: {head:?}"))?;
        let bodiless = method == "HEAD"
            || (method == "CONNECT" && got.status == 200)
            || [204, 304].contains(&got.status);
        if got.status < 200 {
            continue;
        }
        let length = if bodiless {
            0
        } else if got.get("transfer-encoding") == "chunked" {
            return Err("chunks are not expected here".to_owned());
        } else {
            got.get("content-length").parse().unwrap_or(bytes.len())
        };
        let body = bytes.get(..length).ok_or_else(|| format!("a cut answer: {head:?}"))?;
        got.body = body.iter().map(|byte| char::from(*byte)).collect();
        bytes = &bytes[length..];
        all.push(got);
    }
    Ok(all)
}

fn head_of(head: &str) -> Option<Got> {
    let mut lines = head.split("\r\n");
    let line = lines.next()?;
    let status = line.strip_prefix("HTTP/1.1 ").or_else(|| line.strip_prefix("HTTP/1.0 "))?;
    let status = status.get(..3)?.parse().ok()?;
    let field = |line: &str| {
        let (name, value) = line.split_once(':')?;
        Some((name.to_ascii_lowercase(), value.trim().to_owned()))
    };
    Some(Got { status, fields: lines.map(field).collect::<Option<_>>()?, body: String::new() })
}

/// The origin's side.
pub fn heard(row: &Row, way: Way, origin: &Strict) -> Result<(), String> {
    let (book, authority) = (origin.book(), origin.address.to_string());
    if let Some(lost) = book.heard.iter().find(|heard| heard.all("host") != [authority.as_str()]) {
        return Err(format!("another Host than the target's: {lost:?}"));
    }
    if !book.junk.is_empty() {
        return Err(format!("the origin could not read {:?}", book.junk));
    }
    let (expected, canary): (&[String], bool) = match &row.then {
        Then::Up(heard) => (heard, !row.ends),
        Then::UpAndEnd(heard) => (heard, false),
        Then::Told(_) => (&[], true),
        Then::Nowhere => (&[], book.connections > 0),
        Then::Refused(..) | Then::Rejected(_) if book.connections > 0 => {
            return Err(format!("the origin was called: {book:?}"));
        }
        Then::Broken if book.parts.len() > 1 => return Err(format!("more than one part: {:?}", book.parts)),
        Then::Refused(..) | Then::Rejected(_) | Then::Broken => (&[], false),
    };
    let mut wanted_all: Vec<Heard> = through(way, expected).map(|text| wanted(text)).collect();
    if canary {
        let closes = if way == Way::Connect { "\nConnection: close" } else { "" };
        wanted_all.push(wanted(&format!("GET /canary{closes}")));
    }
    if !expected.is_empty() && !book.parts.is_empty() {
        return Err(format!("a part: {:?}", book.parts));
    }
    let got: Vec<Heard> = book.heard.iter().map(plain).collect();
    if got == wanted_all {
        Ok(())
    } else {
        Err(format!("the origin heard {got:?}\n    and not {wanted_all:?}"))
    }
}

/// What the origin hears. A row for every way means its CONNECT itself by the path `/it`.
fn through(way: Way, heard: &[String]) -> impl Iterator<Item = &String> {
    heard.iter().filter(move |text| way != Way::Connect || !(text.is_empty() || text.contains(" /it")))
}

/// A request as a row writes it: method and target, fields, an empty line, body; behind another, trailers.
pub fn wanted(text: &str) -> Heard {
    let (head, rest) = text.split_once("\n\n").unwrap_or((text, ""));
    let (body, trailers) = rest.split_once("\n\n").unwrap_or((rest, ""));
    let mut lines = head.split('\n');
    let (method, target) = lines.next().unwrap_or_default().split_once(' ').unwrap_or_default();
    let field = |line: &str| {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        (name.to_ascii_lowercase(), value.trim().to_owned())
    };
    let trailers = trailers.split('\n').filter(|line| !line.is_empty()).map(field).collect();
    let heard = Heard {
        method: method.to_owned(),
        target: target.to_owned(),
        fields: lines.map(field).collect(),
        body: super::row::latin(body),
        trailers,
    };
    plain(&heard)
}

/// Without what every request has, and in an order that does not matter.
pub fn plain(heard: &Heard) -> Heard {
    let mut heard = heard.clone();
    heard.fields.retain(|(name, _)| name != "host");
    heard.fields.sort();
    heard
}
