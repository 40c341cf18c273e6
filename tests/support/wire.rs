//! HTTP/1.1 as bytes, read strictly, for clients and origins alike: nothing here repairs what is broken, so that a
//! message that was cut is seen to be cut.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Header lines in order, names in lower case.
pub type Fields = Vec<(String, String)>;

/// A start line and its header lines.
#[derive(Debug, Clone, Default)]
pub struct Head {
    pub line: String,
    pub fields: Fields,
}

impl Head {
    /// The first value of this name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub fn count(&self, name: &str) -> usize {
        self.fields.iter().filter(|(known, _)| known == name).count()
    }

    pub fn status(&self) -> u16 {
        self.line.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0)
    }

    pub fn method(&self) -> &str {
        self.line.split(' ').next().unwrap_or_default()
    }

    pub fn target(&self) -> &str {
        self.line.split(' ').nth(1).unwrap_or_default()
    }

    pub fn is_chunked(&self) -> bool {
        self.get("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked"))
    }
}

/// How a message's body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    Nothing,
    Exactly(usize),
    Chunked,
    ToTheEnd,
}

impl Length {
    pub fn of_request(head: &Head) -> Self {
        match head.get("content-length") {
            _ if head.is_chunked() => Self::Chunked,
            Some(length) => Self::Exactly(length.parse().unwrap()),
            None => Self::Nothing,
        }
    }

    pub fn of_answer(head: &Head, method: &str) -> Self {
        let status = head.status();
        if method == "HEAD" || status < 200 || status == 204 || status == 304 {
            return Self::Nothing;
        }
        match Self::of_request(head) {
            Self::Nothing => Self::ToTheEnd,
            known => known,
        }
    }
}

/// A body as far as it came.
#[derive(Debug, Clone, Default)]
pub struct Payload {
    pub bytes: Vec<u8>,
    pub trailers: Fields,
    /// It ended where it said that it would.
    pub whole: bool,
}

/// One side of a connection and what was read ahead on it.
pub struct Wire<S> {
    pub stream: S,
    pub ahead: Vec<u8>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    pub fn new(stream: S) -> Self {
        Self { stream, ahead: Vec::new() }
    }

    pub async fn say(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref()).await?;
        self.stream.flush().await
    }

    /// The next head, or none where the connection ended before its first byte.
    pub async fn head(&mut self) -> io::Result<Option<Head>> {
        let end = loop {
            if let Some(end) = find(&self.ahead, b"\r\n\r\n") {
                break end;
            }
            if self.more().await? == 0 {
                return if self.ahead.is_empty() {
                    Ok(None)
                } else {
                    Err(io::ErrorKind::UnexpectedEof.into())
                };
            }
        };
        let head: Vec<u8> = self.ahead.drain(..end + 4).collect();
        let text = String::from_utf8_lossy(&head);
        let mut lines = text.trim_end().split("\r\n");
        let line = lines.next().unwrap_or_default().to_owned();
        Ok(Some(Head { line, fields: lines.map(field).collect() }))
    }

    /// The body as far as it comes.
    pub async fn body(&mut self, length: Length) -> Payload {
        let mut payload = Payload::default();
        payload.whole = match length {
            Length::Nothing => true,
            Length::Exactly(length) => self.take(length, &mut payload.bytes).await.is_ok(),
            Length::Chunked => self.chunks(&mut payload).await.is_ok(),
            Length::ToTheEnd => loop {
                payload.bytes.append(&mut self.ahead);
                match self.more().await {
                    Ok(0) => break true,
                    Ok(_) => {}
                    Err(_) => break false,
                }
            },
        };
        payload
    }

    async fn chunks(&mut self, payload: &mut Payload) -> io::Result<()> {
        loop {
            let size = self.line().await?;
            let digits = size.split(';').next().unwrap_or_default();
            let size = usize::from_str_radix(digits, 16)
                .map_err(|_| io::Error::other("a chunk without its size"))?;
            if size == 0 {
                break;
            }
            self.take(size, &mut payload.bytes).await?;
            if !self.line().await?.is_empty() {
                return Err(io::Error::other("a chunk that is longer than it said"));
            }
        }
        loop {
            let line = self.line().await?;
            if line.is_empty() {
                return Ok(());
            }
            payload.trailers.push(field(&line));
        }
    }

    async fn line(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = find(&self.ahead, b"\r\n") {
                let line: Vec<u8> = self.ahead.drain(..end + 2).collect();
                return Ok(String::from_utf8_lossy(&line[..end]).into_owned());
            }
            if self.more().await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// So many bytes; those that came before an end are in `into` all the same.
    pub async fn take(&mut self, count: usize, into: &mut Vec<u8>) -> io::Result<()> {
        let mut left = count;
        loop {
            let here = left.min(self.ahead.len());
            into.extend(self.ahead.drain(..here));
            left -= here;
            if left == 0 {
                return Ok(());
            }
            if self.more().await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    pub async fn more(&mut self) -> io::Result<usize> {
        self.stream.read_buf(&mut self.ahead).await
    }
}

fn find(bytes: &[u8], pattern: &[u8]) -> Option<usize> {
    bytes.windows(pattern.len()).position(|window| window == pattern)
}

fn field(line: &str) -> (String, String) {
    let (name, value) = line.split_once(':').unwrap_or((line, ""));
    (name.to_ascii_lowercase(), value.trim().to_owned())
}
