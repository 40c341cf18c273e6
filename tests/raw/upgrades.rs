//! Upgrades: what is asked for, what an origin makes of it, and whose the bytes behind it are.

use futures_util::{StreamExt, stream};
use tokio::{io::AsyncWriteExt, net::TcpStream, time::timeout};

use super::{
    row::fill,
    run::LONG,
    script::{End, Script, Scripted},
    strict::show,
};
use crate::support::{
    client::{EXCHANGES, Way},
    resin::Resin,
    wire::{Head, Length, Wire},
};

/// What must become of an upgrade and of the bytes behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    /// 101 to the client, and the bytes behind go through and come back.
    Switches,
    /// This answer, and nothing behind it is read as a request.
    Answered(u16),
}

struct UpgradeRow {
    rfc: &'static str,
    what: &'static str,
    say: &'static str,
    /// Sent right behind, before any answer.
    early: &'static str,
    origin: &'static str,
    then: Then,
}

const ASK: &str = "GET <T> HTTP/1.1\r\nHost: <A>\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n";
const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const HIDDEN: &str = "GET http://<A>/hidden HTTP/1.1\r\nHost: <A>\r\n\r\n";

fn row(
    (rfc, what): (&'static str, &'static str),
    say: &'static str,
    early: &'static str,
    origin: &'static str,
    then: Then,
) -> UpgradeRow {
    UpgradeRow { rfc, what, say, early, origin, then }
}

fn rows() -> Vec<UpgradeRow> {
    let small = "GET <T> HTTP/1.1\r\nHost: <A>\r\nconnection: keep-alive,upgrade\r\nupgrade: echo\r\n\r\n";
    let post = "POST <T> HTTP/1.1\r\nHost: <A>\r\nConnection: Upgrade\r\nUpgrade: echo\r\nContent-Length: 5\r\n\r\nhello";
    let chunked = "POST <T> HTTP/1.1\r\nHost: <A>\r\nConnection: Upgrade\r\nUpgrade: echo\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    let old = "GET <T> HTTP/1.0\r\nHost: <A>\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n";
    let unnamed = "GET <T> HTTP/1.1\r\nHost: <A>\r\nUpgrade: echo\r\n\r\n";
    let bare = "GET <T> HTTP/1.1\r\nHost: <A>\r\nConnection: Upgrade\r\n\r\n";
    let h2c = "GET <T> HTTP/1.1\r\nHost: <A>\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n";
    let preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\u{4}\0\0\0\0\0";
    let switch_h2c = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n";
    let nameless = "HTTP/1.1 101 Switching Protocols\r\n\r\n";
    let early = "hello\0\u{ff}";
    vec![
        row(("9110 7.8", "an upgrade"), ASK, "", SWITCH, Then::Switches),
        row(("9110 7.8", "an upgrade in small letters and in a list"), small, "", SWITCH, Then::Switches),
        row(("9110 7.8", "bytes sent ahead"), ASK, early, SWITCH, Then::Switches),
        row(("9110 7.8", "a request sent ahead is the new protocol's"), ASK, HIDDEN, SWITCH, Then::Switches),
        row(("9110 7.8", "an upgrade with a body"), post, early, SWITCH, Then::Switches),
        row(("9110 7.8", "an upgrade with chunks"), chunked, early, SWITCH, Then::Switches),
        row(("9110 7.8", "refused with 200"), ASK, "", OK, Then::Answered(200)),
        row(("9931 5", "refused with 200, and a request sent ahead"), ASK, HIDDEN, OK, Then::Answered(200)),
        row(("9931 5", "refused with 200, and bytes sent ahead"), ASK, early, OK, Then::Answered(200)),
        row(
            ("9931 5", "refused with 403, and a request sent ahead"),
            ASK,
            HIDDEN,
            "HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno",
            Then::Answered(403),
        ),
        row(("9931 5", "refused with a body to the end"), post, HIDDEN, OK, Then::Answered(200)),
        row(("9110 7.8", "an old client asks; it is not passed on"), old, HIDDEN, OK, Then::Answered(200)),
        row(
            ("9110 7.8", "an old client asks and the origin switches"),
            old,
            HIDDEN,
            SWITCH,
            Then::Answered(502),
        ),
        row(
            ("9110 7.8", "Connection does not name it, the origin switches"),
            unnamed,
            HIDDEN,
            SWITCH,
            Then::Answered(502),
        ),
        row(
            ("9110 7.8", "Connection names nothing, the origin switches"),
            bare,
            "",
            SWITCH,
            Then::Answered(502),
        ),
        row(("9113 3.1", "h2c, and the origin goes on with HTTP/1.1"), h2c, preface, OK, Then::Answered(200)),
        row(("9113 3.1", "h2c, and the origin switches"), h2c, preface, switch_h2c, Then::Answered(502)),
        row(("9110 15.2.2", "an origin that switches to nothing"), ASK, "", nameless, Then::Answered(502)),
        row(
            ("9110 15.2.2", "an origin that switches to nothing, and a request sent ahead"),
            ASK,
            HIDDEN,
            nameless,
            Then::Answered(502),
        ),
    ]
}

pub async fn run(routes: &[&Resin]) {
    let rows = rows();
    let runs = rows.iter().flat_map(|row| {
        let each = routes.iter().flat_map(|resin| EXCHANGES.map(|way| (*resin, way)));
        each.flat_map(move |(resin, way)| [true, false].map(|at_once| (row, resin, way, at_once)))
    });
    let wrong: Vec<Option<String>> = stream::iter(runs)
        .map(|(row, resin, way, at_once)| async move {
            let run = timeout(LONG, one(row, resin, way, at_once)).await;
            let what = run.unwrap_or_else(|_| Err("it did not end".to_owned())).err()?;
            Some(format!("RFC {}: {} ({way:?}, at once: {at_once})\n    {what}\n", row.rfc, row.what))
        })
        .buffer_unordered(16)
        .collect()
        .await;
    println!("{} rows, {} runs", rows.len(), wrong.len());
    let wrong: Vec<String> = wrong.into_iter().flatten().collect();
    assert!(wrong.is_empty(), "{} runs went wrong:\n{}", wrong.len(), wrong.concat());
}

async fn one(row: &UpgradeRow, resin: &Resin, way: Way, at_once: bool) -> Result<(), String> {
    let end = if row.origin.contains(" 101 ") { End::Echo } else { End::Stays };
    let origin = Scripted::start(Script { say: row.origin.to_owned(), end }).await;
    let early = fill(row.early, way, origin.address);
    let bytes = [fill(row.say, way, origin.address), early.clone()].concat();
    let mut wire = Wire::new(TcpStream::connect(resin.data).await.map_err(|error| error.to_string())?);
    wire.stream.set_nodelay(true).map_err(|error| error.to_string())?;
    for piece in bytes.chunks(if at_once { bytes.len() } else { 1 }) {
        // A peer that has closed is what some rows want.
        let _ = wire.say(piece).await;
    }
    let head = wire.head().await.map_err(|error| error.to_string())?.ok_or("no answer")?;
    judge(row, &mut wire, &head, &early).await.map_err(|what| format!("{what} behind {head:?}"))?;
    // Where the connection stays, the client ends it; nothing more comes.
    let _ = wire.stream.shutdown().await;
    let rest = wire.body(Length::ToTheEnd).await.bytes;
    if !rest.is_empty() {
        return Err(format!("more than was to come: {:?}", show(&rest)));
    }
    let heard = origin.heard();
    let once = heard.len() == 1 && heard[0].target == "/it";
    if once { Ok(()) } else { Err(format!("the origin heard {heard:?}")) }
}

async fn judge(
    row: &UpgradeRow,
    wire: &mut Wire<TcpStream>,
    head: &Head,
    early: &[u8],
) -> Result<(), String> {
    match row.then {
        Then::Switches => {
            let fields = (head.get("upgrade"), head.get("connection").map(str::to_ascii_lowercase));
            if head.status() != 101 || fields != (Some("echo"), Some("upgrade".to_owned())) {
                return Err("not switched".to_owned());
            }
            let mut echoed = Vec::new();
            wire.take(early.len(), &mut echoed).await.map_err(|_| format!("only {:?}", show(&echoed)))?;
            if echoed == early { Ok(()) } else { Err(format!("{:?}", show(&echoed))) }
        }
        Then::Answered(status) => {
            let body = wire.body(Length::of_answer(head, "GET")).await;
            if head.status() == status && body.whole { Ok(()) } else { Err(format!("not a whole {status}")) }
        }
    }
}
