//! Running rows: each way, straight to the origin and through a node, in one piece and byte by byte.

use std::{collections::BTreeMap, time::Duration};

use futures_util::{StreamExt, stream};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::{
    judge,
    origin::{Book, Strict},
    row::{Row, Then, fill},
};
use crate::support::{client::Way, resin::Resin};

/// What nothing takes on a slow machine.
pub const LONG: Duration = Duration::from_secs(20);
/// Runs at once.
const TOGETHER: usize = 24;

/// How the bytes go out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pieces {
    One,
    Bytes,
}

/// What came back, to the end of the connection.
#[derive(Debug, Clone, Default)]
pub struct Transcript {
    pub bytes: Vec<u8>,
    /// It ended with a reset.
    pub reset: bool,
}

/// Runs every row everywhere; all that went wrong, in one failure.
pub async fn run(rows: Vec<Row>, direct: &Resin, through_node: &Resin) {
    let mut runs = Vec::new();
    for row in &rows {
        for way in row.ways {
            runs.push((row, *way, direct, Pieces::One));
            runs.push((row, *way, direct, Pieces::Bytes));
            runs.push((row, *way, through_node, Pieces::One));
        }
    }
    let count = runs.len();
    let started = std::time::Instant::now();
    let done: Vec<_> = stream::iter(runs)
        .map(|(row, way, resin, pieces)| async move {
            let origin = Strict::start().await;
            let wrong = one(row, way, resin, pieces, &origin).await.err();
            let route = if std::ptr::eq(resin, direct) { "direct" } else { "node" };
            (row, way, format!("{way:?}, {route}, {pieces:?}"), wrong, origin)
        })
        .buffer_unordered(TOGETHER)
        .collect()
        .await;
    println!("{} rows, {count} runs in {:?}", rows.len(), started.elapsed());
    let mut wrong: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (row, way, place, first, origin) in &done {
        // Also what came late counts.
        let late = || judge::heard(row, *way, origin).err();
        if let Some(what) = first.clone().or_else(late) {
            let name =
                format!("RFC {}: {}\n    {:?}", row.rfc, row.what, super::strict::show(row.say.as_bytes()));
            wrong.entry(name).or_default().push(format!("{place}: {what}"));
        }
    }
    let told = wrong.iter().map(|(row, places)| {
        format!("{row}\n    {}\n    and {} more of its runs\n", places[0], places.len() - 1)
    });
    let told: String = told.collect();
    assert!(wrong.is_empty(), "{} of {} rows went wrong:\n{told}", wrong.len(), rows.len());
}

async fn one(row: &Row, way: Way, resin: &Resin, pieces: Pieces, origin: &Strict) -> Result<(), String> {
    let mut bytes = row.bytes(way, origin.address);
    if !row.ends {
        bytes.extend(canary(row, way, origin));
    }
    let transcript = exchange(resin, bytes, pieces, row.ends).await?;
    settle(origin).await?;
    judge::client(row, way, &transcript)?;
    judge::heard(row, way, origin)
}

/// The request behind a row's bytes. Where a tunnel was refused it must not run; where it opened it goes through.
pub fn canary(row: &Row, way: Way, origin: &Strict) -> Vec<u8> {
    let target = match (way, &row.then) {
        (Way::Connect, Then::Up(_) | Then::UpAndEnd(_)) => "/canary".to_owned(),
        (Way::Forward | Way::Connect, _) => "http://<A>/canary".to_owned(),
        (Way::Reverse, _) => "/any/Default/http/<A>/canary".to_owned(),
    };
    let text = format!("GET {target} HTTP/1.1\r\nHost: <A>\r\nConnection: close\r\n\r\n");
    fill(&text, way, origin.address)
}

/// Sends all of this and reads to the end.
pub async fn exchange(
    resin: &Resin,
    bytes: Vec<u8>,
    pieces: Pieces,
    ends: bool,
) -> Result<Transcript, String> {
    let connection = TcpStream::connect(resin.data).await.map_err(|error| error.to_string())?;
    connection.set_nodelay(true).map_err(|error| error.to_string())?;
    let (mut from, mut to) = connection.into_split();
    let sending = tokio::spawn(async move {
        let step = match pieces {
            Pieces::One => bytes.len(),
            Pieces::Bytes => (bytes.len() / 1000).max(1),
        };
        for piece in bytes.chunks(step.max(1)) {
            // A peer that has closed is what some rows want.
            if to.write_all(piece).await.is_err() {
                break;
            }
            tokio::task::yield_now().await;
        }
        if ends {
            let _ = to.shutdown().await;
        }
        to
    });
    let mut transcript = Transcript::default();
    let reading = async {
        loop {
            match from.read_buf(&mut transcript.bytes).await {
                Ok(0) => return,
                Ok(_) => {}
                Err(_) => {
                    transcript.reset = true;
                    return;
                }
            }
        }
    };
    let ended = timeout(LONG, reading).await;
    sending.abort();
    match ended {
        Ok(()) => Ok(transcript),
        Err(_) => {
            let came = super::strict::show(&transcript.bytes);
            Err(format!("the connection did not end; what came: {came:?}"))
        }
    }
}

/// Waits until nothing is under way at the origin any more but connections that idle in the pool.
async fn settle(origin: &Strict) -> Result<(), String> {
    let quiet = async {
        loop {
            let Book { open, heard, parts, connections, junk } = origin.book();
            // Each connection of a request that never came whole has to end.
            if open == 0 || heard.len() + parts.len() + junk.len() >= connections {
                return;
            }
            tokio::time::sleep(Duration::from_millis(2)).await; // an origin's end gives no signal to here
        }
    };
    timeout(LONG, quiet).await.map_err(|_| format!("a connection at the origin stays: {:?}", origin.book()))
}
