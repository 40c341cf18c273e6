//! What waits to be written on a connection: a line or head of ours, then bytes of somebody's, then an end of ours.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::HeaderMap;
use tokio::io::AsyncWrite;

/// To be filled while nothing waits, but for the lead, which may always grow while there is nothing behind it.
#[derive(Debug, Default)]
pub(crate) struct Out {
    pub(crate) lead: BytesMut,
    pub(crate) data: Bytes,
    pub(crate) tail: &'static [u8],
}

impl Out {
    pub(crate) fn is_empty(&self) -> bool {
        self.lead.is_empty() && self.data.is_empty() && self.tail.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.lead.len() + self.data.len() + self.tail.len()
    }

    /// Writes once, all three parts together.
    pub(crate) fn poll_write<W: AsyncWrite>(
        &mut self,
        cx: &mut Context<'_>,
        to: Pin<&mut W>,
    ) -> Poll<io::Result<()>> {
        let slices = [IoSlice::new(&self.lead), IoSlice::new(&self.data), IoSlice::new(self.tail)];
        let written = if slices[1].is_empty() && slices[2].is_empty() {
            ready!(to.poll_write(cx, &slices[0]))?
        } else {
            ready!(to.poll_write_vectored(cx, &slices))?
        };
        if written == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.advance(written);
        Poll::Ready(Ok(()))
    }

    fn advance(&mut self, mut written: usize) {
        let mut take = |part: &mut dyn Buf| {
            let step = written.min(part.remaining());
            part.advance(step);
            written -= step;
        };
        take(&mut self.lead);
        take(&mut self.data);
        take(&mut self.tail);
    }

    /// The line before a chunk.
    pub(crate) fn chunk_size(&mut self, size: usize) {
        self.lead.put_slice(format!("{size:x}\r\n").as_bytes());
    }

    /// What ends a body of chunks.
    pub(crate) fn last_chunk(&mut self, trailers: Option<&HeaderMap>) {
        self.lead.put_slice(b"0\r\n");
        for (name, value) in trailers.into_iter().flatten() {
            put_field(&mut self.lead, name.as_str(), value.as_bytes());
        }
        self.lead.put_slice(b"\r\n");
    }
}

/// Room for so much more. A buffer that has none yet is made at once: to let it grow costs more.
pub(crate) fn make_room(buffer: &mut BytesMut, bytes: usize) {
    if buffer.capacity() == 0 {
        *buffer = BytesMut::with_capacity(bytes);
    } else {
        buffer.reserve(bytes);
    }
}

/// A field line.
pub(crate) fn put_field(to: &mut BytesMut, name: &str, value: &[u8]) {
    to.reserve(name.len() + value.len() + 4);
    to.put_slice(name.as_bytes());
    to.put_slice(b": ");
    to.put_slice(value);
    to.put_slice(b"\r\n");
}

/// The field that tells a body's length.
pub(crate) fn put_length(to: &mut BytesMut, length: u64) {
    // The longest number there is has 20 digits.
    let (mut digits, mut at, mut left) = ([0; 20], 20, length);
    loop {
        at -= 1;
        digits[at] = b"0123456789"[(left % 10) as usize];
        left /= 10;
        if left == 0 {
            break;
        }
    }
    put_field(to, "content-length", &digits[at..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_is_written_as_it_is() {
        for length in [0, 7, 10, 65_536, u64::MAX] {
            let mut out = BytesMut::new();
            put_length(&mut out, length);
            assert_eq!(out, format!("content-length: {length}\r\n"));
        }
    }
}
