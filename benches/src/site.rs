//! Origin and http node in one: whatever is asked of it, in either role, it answers itself.
//!
//! It is cheap and steady, so that what is measured is the proxy. A CONNECT is answered with 200, and what follows in
//! the tunnel is answered as an origin would (behind TLS where the tunnel leads to the TLS port), so that no second hop
//! adds its noise. The path says what is wanted: `/bytes/N` a body of N bytes, `/wait/MS` an answer after that time,
//! anything else a small answer.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use memchr::memmem;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
};
use tokio_rustls::TlsAcceptor;

use crate::{Outcome, certificate::Certificate, lane::Lane};

/// The body of a small answer.
pub const SMALL: usize = 100;
const BUFFER: usize = 4 * 1024;
/// Bodies go and come in parts of this size.
pub const CHUNK: usize = 64 * 1024;
const TUNNEL_IS_OPEN: &[u8] = b"HTTP/1.1 200 OK\r\n\r\n";

/// What the site saw, since it began.
#[derive(Debug, Default)]
pub struct Seen {
    pub connections: AtomicU64,
    /// Of these, still there.
    pub open: AtomicU64,
    pub requests: AtomicU64,
    pub tunnels: AtomicU64,
}

/// A running site: it answers on every address of 127/8.
pub struct Site {
    pub port: u16,
    pub tls_port: u16,
    /// Here every connection is refused: the port is taken, and nobody listens.
    pub refusing_port: u16,
    pub seen: Arc<Seen>,
    pub certificate: Certificate,
    _refusing: TcpSocket,
    _lane: Lane,
}

/// What all connections share.
struct Answers {
    small: Vec<u8>,
    chunk: Vec<u8>,
    tls: TlsAcceptor,
    tls_suffix: Vec<u8>,
    seen: Arc<Seen>,
}

impl Site {
    pub fn start() -> Outcome<Self> {
        let lane = Lane::new("site")?;
        let certificate = Certificate::new()?;
        let inside = lane.handle.enter();
        let (plain, tls, refusing) = (listen()?, listen()?, bound()?);
        let (port, tls_port) = (plain.local_addr()?.port(), tls.local_addr()?.port());
        let refusing_port = refusing.local_addr()?.port();
        let seen = Arc::new(Seen::default());
        let mut small = head(SMALL);
        small.extend(body(SMALL));
        let answers = Arc::new(Answers {
            small,
            chunk: body(CHUNK),
            tls: certificate.acceptor()?,
            tls_suffix: format!(":{tls_port}").into_bytes(),
            seen: Arc::clone(&seen),
        });
        lane.handle.spawn(accept(plain, Arc::clone(&answers), false));
        lane.handle.spawn(accept(tls, answers, true));
        drop(inside);
        Ok(Self { port, tls_port, refusing_port, seen, certificate, _refusing: refusing, _lane: lane })
    }

    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }
}

fn bound() -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((Ipv4Addr::UNSPECIFIED, 0).into())?;
    Ok(socket)
}

fn listen() -> io::Result<TcpListener> {
    bound()?.listen(4096)
}

fn head(length: usize) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n\r\n").into_bytes()
}

fn body(length: usize) -> Vec<u8> {
    b"All is well. ".iter().copied().cycle().take(length).collect()
}

async fn accept(listener: TcpListener, answers: Arc<Answers>, tls: bool) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let _best_effort = stream.set_nodelay(true);
        answers.seen.connections.fetch_add(1, Relaxed);
        answers.seen.open.fetch_add(1, Relaxed);
        let answers = Arc::clone(&answers);
        tokio::spawn(async move {
            // However it ends: whoever measures looks at the other side.
            let _ended = if tls { answers.behind_tls(stream).await } else { answers.plain(stream).await };
            answers.seen.open.fetch_sub(1, Relaxed);
        });
    }
}

/// What a request asks for.
enum Wanted {
    Tunnel { tls: bool },
    Small,
    Bytes(u64),
    Wait(Duration),
}

/// A request whose head was read: what it wants, and how its body goes on.
struct Request {
    wanted: Wanted,
    head: usize,
    body: u64,
}

impl Answers {
    async fn plain(&self, mut stream: TcpStream) -> io::Result<()> {
        match self.serve(&mut stream).await? {
            true => self.behind_tls(stream).await,
            false => Ok(()),
        }
    }

    async fn behind_tls(&self, stream: TcpStream) -> io::Result<()> {
        let mut stream = self.tls.accept(stream).await?;
        self.serve(&mut stream).await.map(|_| ())
    }

    /// Answers until the end (false), or until a tunnel to TLS was opened (true).
    async fn serve<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: &mut S) -> io::Result<bool> {
        let mut buffer = vec![0; BUFFER];
        let mut filled = 0;
        loop {
            let Some(request) = self.parse(&buffer[..filled]) else {
                if filled == buffer.len() {
                    buffer.resize(filled * 2, 0);
                }
                match stream.read(&mut buffer[filled..]).await? {
                    0 => return Ok(false),
                    read => filled += read,
                }
                continue;
            };
            let had = (filled - request.head) as u64;
            if had > request.body {
                return Err(io::Error::other("more than one request at a time"));
            }
            drain(stream, &mut buffer, request.body - had).await?;
            filled = 0;
            self.seen.requests.fetch_add(1, Relaxed);
            match request.wanted {
                Wanted::Small => stream.write_all(&self.small).await?,
                Wanted::Bytes(length) => self.send(stream, length).await?,
                Wanted::Wait(time) => {
                    tokio::time::sleep(time).await;
                    stream.write_all(&self.small).await?;
                }
                Wanted::Tunnel { tls } => {
                    self.seen.tunnels.fetch_add(1, Relaxed);
                    stream.write_all(TUNNEL_IS_OPEN).await?;
                    if tls {
                        return Ok(true);
                    }
                }
            }
            stream.flush().await?;
        }
    }

    /// None as long as the head is not there as a whole.
    fn parse(&self, bytes: &[u8]) -> Option<Request> {
        let head = memmem::find(bytes, b"\r\n\r\n")? + 4;
        let line = &bytes[..memchr::memchr(b'\r', bytes)?];
        let target = line.split(|&byte| byte == b' ').nth(1)?;
        let wanted = if bytes.starts_with(b"CONNECT ") {
            Wanted::Tunnel { tls: target.ends_with(&self.tls_suffix) }
        } else if let Some(length) = number_after(target, b"/bytes/") {
            Wanted::Bytes(length)
        } else if let Some(time) = number_after(target, b"/wait/") {
            Wanted::Wait(Duration::from_millis(time))
        } else {
            Wanted::Small
        };
        let body = if bytes.starts_with(b"POST ") { content_length(&bytes[..head])? } else { 0 };
        Some(Request { wanted, head, body })
    }

    async fn send<S: AsyncWrite + Unpin>(&self, stream: &mut S, length: u64) -> io::Result<()> {
        let mut first = head(usize::try_from(length).unwrap_or(usize::MAX));
        let with_head = length.min(CHUNK as u64);
        first.extend_from_slice(&self.chunk[..usize::try_from(with_head).unwrap_or(CHUNK)]);
        stream.write_all(&first).await?;
        let mut left = length - with_head;
        while left > 0 {
            let part = left.min(CHUNK as u64);
            stream.write_all(&self.chunk[..usize::try_from(part).unwrap_or(CHUNK)]).await?;
            left -= part;
        }
        Ok(())
    }
}

/// Reads so many bytes and keeps none.
pub async fn drain<S: AsyncRead + Unpin>(
    stream: &mut S,
    buffer: &mut Vec<u8>,
    mut left: u64,
) -> io::Result<()> {
    if left > CHUNK as u64 && buffer.len() < CHUNK {
        buffer.resize(CHUNK, 0);
    }
    while left > 0 {
        let part = usize::try_from(left.min(buffer.len() as u64)).unwrap_or(CHUNK);
        match stream.read(&mut buffer[..part]).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => left -= read as u64,
        }
    }
    Ok(())
}

/// The length that a head names, in whatever case proxies write it.
pub fn content_length(head: &[u8]) -> Option<u64> {
    number_after(head, b"ontent-length: ").or_else(|| number_after(head, b"ontent-Length: "))
}

fn number_after(bytes: &[u8], name: &[u8]) -> Option<u64> {
    let start = memmem::find(bytes, name)? + name.len();
    let digits = bytes[start..].iter().take_while(|byte| byte.is_ascii_digit());
    Some(digits.fold(0, |number, digit| number * 10 + u64::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_is_found_in_either_case() {
        assert_eq!(content_length(b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n"), Some(12));
        assert_eq!(content_length(b"HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n"), Some(7));
        assert_eq!(content_length(b"HTTP/1.1 200 OK\r\n\r\n"), None);
    }
}
