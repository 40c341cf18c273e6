//! Clients: each does its errand again and again, one after the other.
//!
//! What is sent was built beforehand and answers are read by the byte, so that little of the machine goes to us.

pub mod http2;
pub mod paced;

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use bytes::Bytes;
use memchr::memmem;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
};

use crate::{
    Outcome,
    lane::Lane,
    site::{CHUNK, content_length, drain},
};

const BUFFER: usize = 4 * 1024;
/// A connection that fails so often is given up.
const PATIENCE: u32 = 20;
static CHUNK_OF_A_BODY: [u8; CHUNK] = [b'b'; CHUNK];

/// What a client does over and over.
#[derive(Debug, Clone, Default)]
pub struct Errand {
    /// A CONNECT that each connection begins with.
    pub tunnel: Option<Bytes>,
    /// A request; with none, a tunnel is opened and closed each time.
    pub request: Bytes,
    /// So much of a body follows the request.
    pub body: u64,
}

/// Who goes where.
#[derive(Debug, Clone)]
pub struct Clients {
    pub proxy: SocketAddr,
    pub connections: usize,
    pub errand: Errand,
}

/// What came of it so far.
#[derive(Debug, Default)]
pub struct Done {
    pub times: AtomicU64,
    failures: AtomicU64,
    first_failure: Mutex<Option<String>>,
}

impl Done {
    pub fn failed(&self, error: &dyn std::error::Error) {
        self.failures.fetch_add(1, Relaxed);
        if let Ok(mut first) = self.first_failure.lock() {
            first.get_or_insert_with(|| error.to_string());
        }
    }

    /// That nothing failed, and something was done.
    pub fn well(&self) -> Outcome<()> {
        let (times, failures) = (self.times.load(Relaxed), self.failures.load(Relaxed));
        if failures == 0 && times > 0 {
            return Ok(());
        }
        let first = self.first_failure.lock().ok().and_then(|first| first.clone());
        Err(format!("{times} answers, {failures} failures: {}", first.unwrap_or_default()).into())
    }
}

/// Clients at work, until dropped.
pub struct Running {
    pub done: Arc<Done>,
    pub tasks: JoinSet<()>,
}

/// Each goes again as soon as it is back, without an end.
pub fn closed_loop(lane: &Lane, clients: &Clients) -> Running {
    let done = Arc::new(Done::default());
    let mut tasks = JoinSet::new();
    for _ in 0..clients.connections {
        let (clients, done) = (clients.clone(), Arc::clone(&done));
        let client = async move {
            for _ in 0..PATIENCE {
                if let Err(error) = clients.go(&done, u64::MAX).await {
                    done.failed(&error);
                }
            }
        };
        tasks.spawn_on(client, &lane.handle);
    }
    Running { done, tasks }
}

/// Each goes so many times. Connections stay open as long as what is returned is kept.
pub async fn times(lane: &Lane, clients: &Clients, each: u64) -> Outcome<Vec<Option<TcpStream>>> {
    let done = Arc::new(Done::default());
    let mut tasks = JoinSet::new();
    for _ in 0..clients.connections {
        let (clients, done) = (clients.clone(), Arc::clone(&done));
        tasks.spawn_on(async move { clients.go(&done, each).await }, &lane.handle);
    }
    let mut kept = Vec::new();
    while let Some(ended) = tasks.join_next().await {
        kept.push(ended??);
    }
    done.well()?;
    Ok(kept)
}

impl Clients {
    async fn go(&self, done: &Done, times: u64) -> io::Result<Option<TcpStream>> {
        let errand = &self.errand;
        if errand.request.is_empty() {
            for _ in 0..times {
                self.open_and_close().await?;
                done.times.fetch_add(1, Relaxed);
            }
            return Ok(None);
        }
        let mut stream = self.open().await?;
        let mut buffer = vec![0; BUFFER];
        for _ in 0..times {
            stream.write_all(&errand.request).await?;
            send_body(&mut stream, errand.body).await?;
            read_answer(&mut stream, &mut buffer).await?;
            done.times.fetch_add(1, Relaxed);
        }
        Ok(Some(stream))
    }

    /// A connection, in a tunnel where there is to be one.
    pub async fn open(&self) -> io::Result<TcpStream> {
        let mut stream = TcpStream::connect(self.proxy).await?;
        stream.set_nodelay(true)?;
        if let Some(connect) = &self.errand.tunnel {
            stream.write_all(connect).await?;
            let mut buffer = [0; 1024];
            read_head(&mut stream, &mut buffer).await?;
        }
        Ok(stream)
    }

    /// As a client does that changed its mind: it says that nothing follows, and hears the same.
    async fn open_and_close(&self) -> io::Result<()> {
        let mut stream = self.open().await?;
        stream.shutdown().await?;
        let mut rest = [0; 16];
        match stream.read(&mut rest).await? {
            0 => Ok(()),
            _ => Err(io::Error::other("something came out of a tunnel that nothing went into")),
        }
    }
}

async fn send_body(stream: &mut TcpStream, mut left: u64) -> io::Result<()> {
    while left > 0 {
        let part = left.min(CHUNK as u64);
        stream.write_all(&CHUNK_OF_A_BODY[..usize::try_from(part).unwrap_or(CHUNK)]).await?;
        left -= part;
    }
    Ok(())
}

/// Reads a head that must be a 200: how long it is, and how much was read.
async fn read_head<S: AsyncRead + Unpin>(stream: &mut S, buffer: &mut [u8]) -> io::Result<(usize, usize)> {
    let mut filled = 0;
    let head = loop {
        match stream.read(&mut buffer[filled..]).await? {
            0 => return Err(io::Error::other("the connection ended before an answer")),
            read => filled += read,
        }
        if let Some(end) = memmem::find(&buffer[..filled], b"\r\n\r\n") {
            break end + 4;
        }
    };
    if !buffer.starts_with(b"HTTP/1.1 200") {
        return Err(io::Error::other(String::from_utf8_lossy(&buffer[..filled]).into_owned()));
    }
    Ok((head, filled))
}

/// Reads an answer to its end.
pub async fn read_answer<S: AsyncRead + Unpin>(stream: &mut S, buffer: &mut Vec<u8>) -> io::Result<()> {
    let (head, filled) = read_head(stream, buffer).await?;
    let length =
        content_length(&buffer[..head]).ok_or_else(|| io::Error::other("an answer without a length"))?;
    drain(stream, buffer, length - (filled - head) as u64).await
}
