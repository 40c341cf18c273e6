//! Clients: as many requests as are answered, each connection one after the other.
//!
//! What is sent was built beforehand and answers are read by the byte, so that little of the machine goes to us.

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
    lane::Lane,
    site::{content_length, drain},
};

const BUFFER: usize = 4 * 1024;
/// A connection that fails so often is given up.
const PATIENCE: u32 = 20;

/// What clients do.
#[derive(Debug, Clone)]
pub struct Spec {
    pub proxy: SocketAddr,
    pub connections: usize,
    pub request: Bytes,
}

/// What came of it so far.
#[derive(Debug, Default)]
pub struct Done {
    pub answers: AtomicU64,
    pub failures: AtomicU64,
    pub first_failure: Mutex<Option<String>>,
}

impl Done {
    fn failed(&self, error: &io::Error) {
        self.failures.fetch_add(1, Relaxed);
        if let Ok(mut first) = self.first_failure.lock() {
            first.get_or_insert_with(|| error.to_string());
        }
    }
}

/// Clients at work, until dropped.
pub struct Running {
    pub done: Arc<Done>,
    _tasks: JoinSet<()>,
}

/// Each connection asks again as soon as it was answered.
pub fn closed_loop(lane: &Lane, spec: &Spec) -> Running {
    let done = Arc::new(Done::default());
    let mut tasks = JoinSet::new();
    for _ in 0..spec.connections {
        tasks.spawn_on(ask_on_and_on(spec.clone(), Arc::clone(&done)), &lane.handle);
    }
    Running { done, _tasks: tasks }
}

async fn ask_on_and_on(spec: Spec, done: Arc<Done>) {
    for _ in 0..PATIENCE {
        if let Err(error) = ask_until_it_fails(&spec, &done).await {
            done.failed(&error);
        }
    }
}

async fn ask_until_it_fails(spec: &Spec, done: &Done) -> io::Result<()> {
    let mut stream = connect(spec.proxy).await?;
    let mut buffer = vec![0; BUFFER];
    loop {
        stream.write_all(&spec.request).await?;
        read_answer(&mut stream, &mut buffer).await?;
        done.answers.fetch_add(1, Relaxed);
    }
}

pub async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Reads an answer to its end; what is not a 200 is an error.
pub async fn read_answer<S: AsyncRead + Unpin>(stream: &mut S, buffer: &mut Vec<u8>) -> io::Result<()> {
    let mut filled = 0;
    let head = loop {
        match stream.read(&mut buffer[filled..]).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => filled += read,
        }
        if let Some(end) = memmem::find(&buffer[..filled], b"\r\n\r\n") {
            break end + 4;
        }
    };
    if !buffer.starts_with(b"HTTP/1.1 200") {
        return Err(io::Error::other(String::from_utf8_lossy(&buffer[..filled]).into_owned()));
    }
    let length =
        content_length(&buffer[..head]).ok_or_else(|| io::Error::other("an answer without a length"))?;
    drain(stream, buffer, length - (filled - head) as u64).await
}
