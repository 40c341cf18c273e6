//! Clients that keep to a clock, to see how long answers take while there is time for them.
//!
//! Each is a thread of its own that sleeps until it is its turn; a runtime's timers are too coarse.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    thread,
    time::{Duration, Instant},
};

use memchr::memmem;

use crate::{Outcome, site::content_length, statistics::quantile};

const CLIENTS: u32 = 16;
const TIMEOUT: Duration = Duration::from_secs(10);

/// Microseconds.
#[derive(Debug, Clone, Copy)]
pub struct Latency {
    pub p50: f64,
    pub p99: f64,
}

/// Asks so many times a second in all, for so long.
pub async fn latency(
    proxy: SocketAddr,
    request: bytes::Bytes,
    rate: f64,
    time: Duration,
) -> Outcome<Latency> {
    let gap = Duration::from_secs_f64(f64::from(CLIENTS) / rate.max(1.0));
    let begin = Instant::now() + Duration::from_millis(20);
    let clients = (0..CLIENTS).map(|client| {
        let (request, first) = (request.clone(), begin + gap * client / CLIENTS);
        tokio::task::spawn_blocking(move || ask(proxy, &request, first, gap, time))
    });
    let clients: Vec<_> = clients.collect();
    let mut took = Vec::new();
    for client in clients {
        took.extend(client.await??);
    }
    took.sort_by(f64::total_cmp);
    if took.is_empty() {
        return Err("nobody was answered".into());
    }
    Ok(Latency { p50: quantile(&took, 0.5), p99: quantile(&took, 0.99) })
}

/// From the time that it was sent; where the answer before it came too late for that, from when it should have been.
fn ask(
    proxy: SocketAddr,
    request: &[u8],
    first: Instant,
    gap: Duration,
    time: Duration,
) -> io::Result<Vec<f64>> {
    let mut stream = TcpStream::connect(proxy)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    let mut took = Vec::new();
    let mut due = first;
    while due < first + time {
        let now = Instant::now();
        if due > now {
            thread::sleep(due - now);
        }
        let sent = if due > now { Instant::now() } else { due };
        stream.write_all(request)?;
        hear(&mut stream)?;
        took.push(sent.elapsed().as_secs_f64() * 1e6);
        due += gap;
    }
    Ok(took)
}

fn hear(stream: &mut TcpStream) -> io::Result<()> {
    let mut buffer = [0; 4096];
    let mut filled = 0;
    loop {
        match stream.read(&mut buffer[filled..])? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => filled += read,
        }
        let Some(head) = memmem::find(&buffer[..filled], b"\r\n\r\n") else { continue };
        if !buffer.starts_with(b"HTTP/1.1 200") {
            return Err(io::Error::other(String::from_utf8_lossy(&buffer[..filled]).into_owned()));
        }
        if (filled - head - 4) as u64 >= content_length(&buffer[..head]).unwrap_or(0) {
            return Ok(());
        }
    }
}
