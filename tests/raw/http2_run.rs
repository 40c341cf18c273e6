//! Running the rows of HTTP/2: stream 1 is the row's, stream 101 a canary's on the same connection.

use std::{collections::BTreeMap, time::Duration};

use futures_util::{StreamExt, stream};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::{
    frames::{
        DATA, END_HEADERS, END_STREAM, HEADERS, PING, PRIORITY, RST_STREAM, SETTINGS, Seen, Stream, block,
        frame, preface,
    },
    http2::{H2Row, Say, Then},
    judge::{plain, wanted},
    origin::Strict,
    row::latin,
    run::LONG,
    strict::show,
};
use crate::support::{resin::Resin, world::basic};

const CANARY: u32 = 101;

/// Runs every row on the reverse and on the forward path.
pub async fn run(rows: Vec<H2Row>, resin: &Resin) {
    let started = std::time::Instant::now();
    let runs = rows.iter().flat_map(|row| row.forward.iter().map(move |forward| (row, *forward)));
    let done: Vec<_> = stream::iter(runs)
        .map(|(row, forward)| async move {
            let run = timeout(LONG, one(row, forward, resin)).await;
            (row, forward, run.unwrap_or_else(|_| Err("it did not end".to_owned())).err())
        })
        .buffer_unordered(16)
        .collect()
        .await;
    println!("{} rows, {} runs in {:?}", rows.len(), done.len(), started.elapsed());
    let mut wrong: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (row, forward, what) in done {
        if let Some(what) = what {
            let way = if forward { "forward" } else { "reverse" };
            wrong
                .entry(format!("RFC {}: {}", row.rfc, row.what))
                .or_default()
                .push(format!("\n    {way}: {what}"));
        }
    }
    let told: String = wrong.iter().map(|(row, places)| format!("{row}{}\n", places.concat())).collect();
    assert!(wrong.is_empty(), "{} of {} rows went wrong:\n{told}", wrong.len(), rows.len());
}

async fn one(row: &H2Row, forward: bool, resin: &Resin) -> Result<(), String> {
    let origin = Strict::start().await;
    let authority = origin.address.to_string();
    let port = origin.address.port().to_string();
    let fill = |text: &str| text.replace("<A>", &authority).replace("<P>", &port);
    let mut bytes = preface();
    for say in &row.say {
        bytes.extend(match say {
            Say::Head(flags, fields) => {
                let mut fields: Vec<(String, String)> =
                    fields.iter().map(|(name, value)| (name.clone(), fill(value))).collect();
                // On the forward path, told by its credentials, the path is the origin's own.
                if forward && fields.iter().any(|(name, _)| name == ":method") {
                    let prefix = format!("/any/Default/http/{authority}");
                    for (_, value) in fields.iter_mut().filter(|(name, _)| name == ":path") {
                        *value = value.strip_prefix(&prefix).unwrap_or(value).to_owned();
                    }
                    fields.push(("proxy-authorization".to_owned(), basic("Default", "any")));
                }
                let fields: Vec<(&str, &str)> =
                    fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
                frame(HEADERS, *flags, 1, &block(&fields))
            }
            Say::Data(flags, text) => frame(DATA, *flags, 1, &latin(&fill(text))),
            Say::Raw(bytes) => bytes.clone(),
        });
    }
    if row.then == Then::Tunnel {
        let request = format!("GET /it HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n");
        bytes.extend(frame(DATA, 0, 1, request.as_bytes()));
    }
    let path = format!("/any/Default/http/{authority}/canary");
    let canary = [(":method", "GET"), (":scheme", "http"), (":authority", &*authority), (":path", &*path)];
    bytes.extend(frame(HEADERS, END_HEADERS | END_STREAM, CANARY, &block(&canary)));
    // A stream that the client resets is not answered.
    let reset = row.what.contains("a reset");
    let seen = exchange(resin, bytes, |seen| {
        let over = |stream: Stream| stream.ended || stream.reset.is_some();
        (reset || over(seen.stream(1))) && over(seen.stream(CANARY))
    })
    .await?;
    judge(row, &seen, &origin).map_err(|what| format!("{what}: {}", told(&seen)))
}

fn told(seen: &Seen) -> String {
    let stream = |number: u32| {
        let Stream { status, data, ended, reset } = seen.stream(number);
        format!("{status} {:?} ended: {ended} reset: {reset:?}", show(&data))
    };
    format!("{}; canary {}; GOAWAY {:?}", stream(1), stream(CANARY), seen.goaway)
}

/// Sends this and reads until it is enough or the connection ends.
pub async fn exchange(resin: &Resin, bytes: Vec<u8>, enough: impl Fn(&Seen) -> bool) -> Result<Seen, String> {
    let connection = TcpStream::connect(resin.data).await.map_err(|error| error.to_string())?;
    let (mut from, mut to) = connection.into_split();
    let (answers, mut outgoing) = tokio::sync::mpsc::unbounded_channel::<Vec<u8>>();
    let sending = tokio::spawn(async move {
        // A peer that has closed is what some rows want.
        let _ = to.write_all(&bytes).await;
        while let Some(bytes) = outgoing.recv().await {
            let _ = to.write_all(&bytes).await;
        }
    });
    let (mut seen, mut ahead) = (Seen::default(), Vec::new());
    let reading = async {
        while !enough(&seen) && from.read_buf(&mut ahead).await.is_ok_and(|read| read > 0) {
            let mut out = Vec::new();
            seen.read(&mut ahead, &mut out);
            let _ = answers.send(out);
        }
    };
    let ended = timeout(Duration::from_secs(8), reading).await;
    sending.abort();
    ended.map_err(|_| format!("the connection neither ended nor answered: {}", told(&seen)))?;
    Ok(seen)
}

fn judge(row: &H2Row, seen: &Seen, origin: &Strict) -> Result<(), String> {
    let (book, first, canary) = (origin.book(), seen.stream(1), seen.stream(CANARY));
    let authority = origin.address.to_string();
    if !book.junk.is_empty() {
        return Err(format!("the origin could not read {:?}", book.junk));
    }
    if let Some(lost) = book.heard.iter().find(|heard| heard.all("host") != [authority.as_str()]) {
        return Err(format!("another Host than the target's: {lost:?}"));
    }
    let canaried = canary.status == 200 && canary.data == b"heard /canary" && canary.ended;
    let mut own: Vec<_> = book.heard.iter().map(plain).filter(|heard| heard.target != "/canary").collect();
    match &row.then {
        Then::Up(heard) => {
            let wanted = wanted(heard);
            let answer = format!("heard {}", wanted.target);
            let right = own == [wanted] && first.status == 200 && first.data == answer.as_bytes() && canaried;
            if right { Ok(()) } else { Err(format!("not answered, the origin heard {own:?}")) }
        }
        Then::Tunnel => {
            let text = show(&first.data);
            let right = first.status == 200 && text.ends_with("heard /it") && own.len() == 1 && canaried;
            if right { Ok(()) } else { Err(format!("no tunnel, the origin heard {own:?}")) }
        }
        Then::Refused | Then::Broken => {
            if let Some(heard) = own.pop() {
                return Err(format!("the origin heard {heard:?}"));
            }
            if row.then == Then::Refused && !book.parts.is_empty() {
                return Err(format!("the origin heard a part: {:?}", book.parts));
            }
            let refused = (400..500).contains(&first.status) || first.reset.is_some();
            let told =
                refused || row.what.contains("a reset") || (row.then == Then::Broken && first.status >= 500);
            let right = if seen.goaway.is_some_and(|code| code != 0) { true } else { told && canaried };
            if right { Ok(()) } else { Err("neither refused nor ended".to_owned()) }
        }
        Then::Ended => {
            let right =
                seen.goaway.is_some_and(|code| code != 0) || (first == Stream::default() && !canaried);
            if right && own.is_empty() { Ok(()) } else { Err(format!("not ended, the origin heard {own:?}")) }
        }
    }
}

/// What is cheap to say and dear to hear, in bulk: it is bounded, and others are served meanwhile.
pub async fn floods(resin: &Resin) {
    let origin = Strict::start().await;
    let authority = origin.address.to_string();
    let path = format!("/any/Default/http/{authority}/it");
    let fields = [(":method", "GET"), (":scheme", "http"), (":authority", &*authority), (":path", &*path)];
    let head = block(&fields);
    let rapid = |stream: u32| {
        let stream = stream * 2 + 1;
        [frame(HEADERS, END_HEADERS | END_STREAM, stream, &head), frame(RST_STREAM, 0, stream, &[0, 0, 0, 8])]
            .concat()
    };
    let open = |stream: u32| frame(HEADERS, END_HEADERS, stream * 2 + 1, &head);
    let many = |each: Vec<u8>| each.repeat(20_000);
    let floods: [(&str, Vec<u8>); 7] = [
        ("streams that are reset at once", (0..20_000).flat_map(rapid).collect()),
        ("streams that are left open", (0..5_000).flat_map(open).collect()),
        ("PING", many(frame(PING, 0, 0, &[0; 8]))),
        ("SETTINGS", many(frame(SETTINGS, 0, 0, &[]))),
        ("empty DATA", [open(0), many(frame(DATA, 0, 1, &[]))].concat()),
        ("PRIORITY", many(frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 16]))),
        ("frames of an unknown kind", many(frame(99, 0, 0, b"hello"))),
    ];
    for (what, bytes) in floods {
        let before = origin.book().connections;
        let all = [preface(), bytes, frame(PING, 0, 0, b"the last")].concat();
        // The last PING is answered, or the connection was ended before.
        let pings = if what == "PING" { 20_001 } else { 1 };
        let seen = exchange(resin, all, |seen| seen.pongs >= pings).await;
        let seen = seen.unwrap_or_else(|error| panic!("{what}: {error}"));
        let called = origin.book().connections - before;
        assert!(called <= 600, "{what}: {called} connections to the origin, GOAWAY {:?}", seen.goaway);
        let request = [frame(HEADERS, END_HEADERS | END_STREAM, 1, &head)];
        let served =
            exchange(resin, [preface(), request.concat()].concat(), |seen| seen.stream(1).ended).await;
        assert_eq!(served.map(|seen| seen.stream(1).status), Ok(200), "{what}: another client");
    }
}
