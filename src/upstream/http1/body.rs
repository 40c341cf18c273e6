//! A body, whoever sends it: taken out of what was read, up to where it ends.

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body::SizeHint;

use super::chunks::{Chunks, Part};
use crate::{
    model::{ErrKind, Phase},
    upstream::error::Fault,
};

/// How the end of a body is told.
#[derive(Debug)]
pub(crate) enum Framing {
    /// So many bytes are still to come.
    Length(u64),
    Chunked(Box<Chunked>),
    /// It ends with the connection.
    ToTheEnd,
}

#[derive(Debug, Default)]
pub(crate) struct Chunked {
    chunks: Chunks,
    trailers: Vec<u8>,
}

/// What comes next of a body.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    Data(Bytes),
    /// They are its end, too.
    Trailers(HeaderMap),
    End,
    /// Nothing before more was read.
    More,
}

impl Framing {
    /// No body.
    pub(crate) const NONE: Self = Self::Length(0);

    pub(super) fn chunked() -> Self {
        Self::Chunked(Box::new(Chunked { chunks: Chunks::lenient(), trailers: Vec::new() }))
    }

    /// A client's, so that nobody can end it elsewhere.
    pub(crate) fn strictly_chunked() -> Self {
        Self::Chunked(Box::default())
    }

    /// Nothing of it is to come any more.
    pub(crate) fn is_over(&self) -> bool {
        matches!(self, Self::Length(0))
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        match self {
            Self::Length(left) => SizeHint::with_exact(*left),
            Self::Chunked(_) | Self::ToTheEnd => SizeHint::default(),
        }
    }

    /// What the end of the connection is for it.
    pub(crate) fn at_the_end(&self) -> Result<Next, Fault> {
        match self {
            Self::ToTheEnd => Ok(Next::End),
            Self::Length(_) | Self::Chunked(_) => {
                let what = "the connection ended in the middle of its answer";
                Err(Fault::new(Phase::Body, ErrKind::Eof, what))
            }
        }
    }

    /// Takes the next part of the body out of `read`; or says what is wrong with it.
    pub(crate) fn next(&mut self, read: &mut BytesMut) -> Result<Next, &'static str> {
        match self {
            Self::Length(0) => Ok(Next::End),
            _ if read.is_empty() => Ok(Next::More),
            Self::Length(left) => {
                let step = usize::try_from(*left).unwrap_or(usize::MAX).min(read.len());
                *left -= step as u64;
                Ok(Next::Data(read.split_to(step).freeze()))
            }
            Self::Chunked(chunked) => chunked.next(read),
            Self::ToTheEnd => Ok(Next::Data(read.split().freeze())),
        }
    }
}

impl Chunked {
    fn next(&mut self, read: &mut BytesMut) -> Result<Next, &'static str> {
        while !read.is_empty() {
            let (bytes, part) = self.chunks.step(read)?;
            match part {
                Part::Framing => read.advance(bytes),
                Part::Data => return Ok(Next::Data(read.split_to(bytes).freeze())),
                Part::Trailer => self.trailers.extend_from_slice(&read.split_to(bytes)),
                Part::End => {
                    read.advance(bytes);
                    return self.end();
                }
            }
        }
        Ok(Next::More)
    }

    fn end(&self) -> Result<Next, &'static str> {
        if self.trailers.is_empty() {
            return Ok(Next::End);
        }
        let lines = [&self.trailers, b"\r\n".as_slice()].concat();
        let mut fields = [httparse::EMPTY_HEADER; MAX_TRAILERS];
        let parsed = httparse::parse_headers(&lines, &mut fields);
        let Ok(httparse::Status::Complete((_, fields))) = parsed else { return Err(BAD_TRAILERS) };
        let mut trailers = HeaderMap::with_capacity(fields.len());
        for field in fields {
            let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| BAD_TRAILERS)?;
            trailers.append(name, HeaderValue::from_bytes(field.value).map_err(|_| BAD_TRAILERS)?);
        }
        Ok(Next::Trailers(trailers))
    }
}

const MAX_TRAILERS: usize = 64;
const BAD_TRAILERS: &str = "the trailers are no header fields";

#[cfg(test)]
mod tests {
    use super::*;

    fn all(
        mut framing: Framing,
        bytes: &[u8],
        step: usize,
    ) -> Result<(Vec<u8>, Option<HeaderMap>, usize), &'static str> {
        let (mut read, mut body, mut fed) = (BytesMut::new(), Vec::new(), 0);
        loop {
            match framing.next(&mut read)? {
                Next::Data(data) => body.extend_from_slice(&data),
                Next::Trailers(trailers) => {
                    return Ok((body, Some(trailers), bytes.len() - fed + read.len()));
                }
                Next::End => return Ok((body, None, bytes.len() - fed + read.len())),
                Next::More if fed == bytes.len() => return Err("more"),
                Next::More => {
                    let to = bytes.len().min(fed + step);
                    read.extend_from_slice(&bytes[fed..to]);
                    fed = to;
                }
            }
        }
    }

    #[test]
    fn a_body_is_read_up_to_its_end_and_not_beyond_however_it_comes() {
        for step in [1, 2, 3, 7, 1000] {
            assert_eq!(all(Framing::Length(3), b"abcd", step).unwrap().0, b"abc");
            assert_eq!(all(Framing::Length(3), b"ab", step), Err("more"));
            let (body, trailers, _) =
                all(Framing::chunked(), b"3\r\nabc\r\n2  \r\nde\r\n0\r\n\r\nHTTP", step).unwrap();
            assert_eq!((body.as_slice(), trailers), (b"abcde".as_slice(), None));
            let (body, trailers, left) =
                all(Framing::chunked(), b"1;x\r\na\r\n0\r\nx-sum: 1\r\nx-sum: 2\r\n\r\n", step).unwrap();
            assert_eq!((body.as_slice(), left), (b"a".as_slice(), 0));
            assert_eq!(trailers.unwrap().get_all("x-sum").iter().count(), 2);
            assert!(all(Framing::chunked(), b"1\r\nab\r\n", step).is_err());
            assert!(all(Framing::chunked(), b"0\r\nbad name: 1\r\n\r\n", step).is_err());
        }
    }
}
