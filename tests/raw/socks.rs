//! What a SOCKS5 node says (RFC 1928, RFC 1929): yes, no, or something else entirely.

use std::sync::{Arc, Mutex};

use futures_util::{StreamExt, stream};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
    time::timeout,
};

use super::{origin::Strict, row::latin, run::LONG, strict::show};
use crate::support::{
    client::{WAYS, Way},
    resin::Resin,
    wire::{Length, Wire},
};

/// What must come of it: the tunnel with these first bytes, or this status of the proxy's own.
#[derive(Debug, Clone, Copy)]
enum Then {
    Opens(&'static str),
    Fails(u16),
}

#[derive(Debug, Clone)]
struct SocksRow {
    what: String,
    /// Said to the greeting.
    method: &'static str,
    /// Said to the request.
    reply: String,
    then: Then,
}

const FREE: &str = "\u{5}\0";
const BOUND: &str = "\u{1}\0\0\0\0\0\0";

fn rows() -> Vec<SocksRow> {
    let row = |what: &str, method, reply: &str, then| SocksRow {
        what: what.to_owned(),
        method,
        reply: reply.to_owned(),
        then,
    };
    let yes = |bound: &str| format!("\u{5}\0\0{bound}");
    let mut rows = vec![
        row("yes, bound to IPv4", FREE, &yes(BOUND), Then::Opens("")),
        row("yes, bound to IPv6", FREE, &yes(&format!("\u{4}{}", "\0".repeat(18))), Then::Opens("")),
        row("yes, bound to a name", FREE, &yes("\u{3}\u{3}a.b\0P"), Then::Opens("")),
        row("yes, and the origin's first bytes", FREE, &format!("{}hello", yes(BOUND)), Then::Opens("hello")),
        row(
            "yes, and an answer",
            FREE,
            &format!("{}HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison", yes(BOUND)),
            Then::Opens("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"),
        ),
    ];
    for code in 1..=9 {
        let reply = format!("\u{5}{}\0{BOUND}", char::from(code));
        rows.push(row(&format!("no: {code}"), FREE, &reply, Then::Fails(502)));
    }
    for (what, method) in [
        ("no method", "\u{5}\u{ff}"),
        ("a method that was not offered", "\u{5}\u{2}"),
        ("GSSAPI", "\u{5}\u{1}"),
        ("SOCKS4", "\u{4}\0"),
        ("version nought", "\0\0"),
        ("HTTP", "HTTP/1.1 400 No\r\n\r\n"),
        ("a banner", "220 smtp.test\r\n"),
    ] {
        rows.push(row(&format!("to the greeting: {what}"), method, "", Then::Fails(502)));
    }
    for (what, reply) in [
        ("SOCKS4", format!("\u{4}\0\0{BOUND}")),
        ("version nought", format!("\0\0\0{BOUND}")),
        ("an unknown kind of address", "\u{5}\0\0\u{9}\0\0\0\0\0\0".to_owned()),
        ("HTTP", "HTTP/1.1 200 OK\r\n\r\n".to_owned()),
    ] {
        rows.push(row(&format!("to the request: {what}"), FREE, &reply, Then::Fails(502)));
    }
    for (what, method, reply) in [
        ("nothing", "", ""),
        ("half a greeting", "\u{5}", ""),
        ("nothing to the request", FREE, ""),
        ("half an answer", FREE, "\u{5}\0\0\u{1}\0"),
        ("a name that is shorter than its length", FREE, "\u{5}\0\0\u{3}\u{ff}a.b"),
    ] {
        rows.push(row(&format!("it waits behind {what}"), method, reply, Then::Fails(504)));
    }
    rows
}

/// A node that follows the row it was given last.
async fn node(row: Arc<Mutex<Option<SocksRow>>>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("socks5://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            let row = row.lock().unwrap().clone();
            tokio::spawn(async move { follow(connection, &row?).await });
        }
    });
    uri
}

async fn follow(mut connection: TcpStream, row: &SocksRow) -> Option<()> {
    let mut greeting = [0; 3];
    connection.read_exact(&mut greeting).await.ok()?;
    connection.write_all(&latin(row.method)).await.ok()?;
    // Version, command, a reserved byte, IPv4, address and port.
    let mut asked = [0; 10];
    connection.read_exact(&mut asked).await.ok()?;
    connection.write_all(&latin(&row.reply)).await.ok()?;
    if let Then::Opens(_) = row.then {
        let port = u16::from_be_bytes([asked[8], asked[9]]);
        let mut origin = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
        copy_bidirectional(&mut connection, &mut origin).await.ok()?;
    } else {
        while connection.read_buf(&mut Vec::new()).await.ok()? > 0 {}
    }
    Some(())
}

/// Each row and way has a node of its own; `resin` has no other.
pub async fn run(start: impl AsyncFn(&str) -> Resin) {
    let row = Arc::new(Mutex::new(None));
    let resin = start(&node(Arc::clone(&row)).await).await;
    // Rows that wait have the connect timeout to wait for, so they run at once.
    let (waiting, others): (Vec<SocksRow>, Vec<SocksRow>) =
        rows().into_iter().partition(|row| matches!(row.then, Then::Fails(504)));
    let mut wrong = Vec::new();
    for each in &others {
        *row.lock().unwrap() = Some(each.clone());
        for way in WAYS {
            wrong.extend(
                timeout(LONG, one(each, way, &resin)).await.unwrap_or_else(|_| Err("no end".into())).err(),
            );
        }
    }
    for each in &waiting {
        *row.lock().unwrap() = Some(each.clone());
        let ways: Vec<Result<(), String>> =
            stream::iter(WAYS).map(|way| one(each, way, &resin)).buffer_unordered(3).collect().await;
        wrong.extend(ways.into_iter().filter_map(Result::err));
    }
    println!("{} rows, {} runs", others.len() + waiting.len(), (others.len() + waiting.len()) * WAYS.len());
    assert!(wrong.is_empty(), "{} runs went wrong:\n{}", wrong.len(), wrong.join("\n"));
}

async fn one(row: &SocksRow, way: Way, resin: &Resin) -> Result<(), String> {
    let origin = Strict::start().await;
    let authority = origin.address.to_string();
    let mut wire = Wire::new(TcpStream::connect(resin.data).await.unwrap());
    let (method, target) = match way {
        Way::Connect => ("CONNECT", authority.clone()),
        Way::Forward | Way::Reverse => ("GET", way.target(&authority, "/it")),
    };
    wire.say(format!("{method} {target} HTTP/1.1\r\nHost: {authority}\r\n\r\n")).await.unwrap();
    let failed = |what: &str| format!("RFC 1928: {} ({way:?})\n    {what}", row.what);
    let head =
        wire.head().await.map_err(|error| failed(&error.to_string()))?.ok_or_else(|| failed("no answer"))?;
    let ours = head.get("x-resin-error").is_some();
    let told = failed(&format!("{} {:?}", head.line, head.get("x-resin-error")));
    let right = match (row.then, way) {
        (Then::Fails(status), _) => head.status() == status && ours,
        // They came before the request did, so they are no answer to it.
        (Then::Opens(early), Way::Forward | Way::Reverse) if !early.is_empty() => {
            head.status() == 502 && ours
        }
        (Then::Opens(_), Way::Forward | Way::Reverse) => head.status() == 200,
        (Then::Opens(early), Way::Connect) => {
            wire.say(format!("GET /it HTTP/1.1\r\nHost: {authority}\r\n\r\n"))
                .await
                .map_err(|_| told.clone())?;
            let mut got = Vec::new();
            wire.take(latin(early).len(), &mut got).await.map_err(|_| failed(&show(&got)))?;
            let head = wire.head().await.ok().flatten().ok_or_else(|| failed("no answer in the tunnel"))?;
            let body = wire.body(Length::of_answer(&head, "GET")).await;
            got == latin(early) && body.bytes == b"heard /it"
        }
    };
    if right { Ok(()) } else { Err(told) }
}
