//! A client's bytes, taken apart into requests: heads only whole and found good, bodies up to their end.
//!
//! Pure: it is given what was read, and takes from its front what it knows. Each head is read once, and strictly: what
//! another reader might take for two things is refused (a repeated `Content-Length`, one beside `Transfer-Encoding`, a
//! `#fragment`).

use bytes::{Buf, BytesMut};

use super::head::{self, Head, HeadLimits};
use crate::{
    proxy::flaw::Flaw,
    upstream::{Framing, Next},
};

/// Where in a client's bytes the next one lies.
#[derive(Debug)]
pub(crate) struct Reader {
    limits: HeadLimits,
    /// What of the head that begins at the front was searched for its end.
    scanned: usize,
    /// What is still to come of the body behind the last head.
    body: Framing,
}

impl Reader {
    pub(crate) fn new(limits: HeadLimits) -> Self {
        Self { limits, scanned: 0, body: Framing::NONE }
    }

    /// Takes the head at the front of `read`, once it is whole. Only to be asked between two messages. What is wrong is
    /// told with everything left as it was.
    pub(crate) fn take_head(&mut self, read: &mut BytesMut) -> Result<Option<Head>, Flaw> {
        while self.scanned == 0 && read.first() == Some(&b'\r') {
            // An empty line before a request is passed over (RFC 9112, section 2.2).
            match read.get(1) {
                Some(b'\n') => read.advance(2),
                Some(_) => return Err(Flaw::malformed("a CR without its LF before the request line")),
                None => return Ok(None),
            }
        }
        if read.is_empty() {
            return Ok(None);
        }
        let Some(end) = head::end(read, &mut self.scanned, self.limits)? else { return Ok(None) };
        let bytes = read.split_to(end).freeze();
        match head::parse(&bytes, self.limits) {
            Ok((head, body)) => {
                self.scanned = 0;
                self.body = body;
                Ok(Some(head))
            }
            Err(flaw) => {
                *read = BytesMut::from([&bytes[..], &read[..]].concat().as_slice());
                Err(flaw)
            }
        }
    }

    /// Takes what comes next of the body.
    pub(crate) fn take_body(&mut self, read: &mut BytesMut) -> Result<Next, &'static str> {
        let next = self.body.next(read)?;
        if matches!(next, Next::Trailers(_) | Next::End) {
            self.body = Framing::NONE;
        }
        Ok(next)
    }

    /// What is still to come of the body.
    pub(crate) fn body(&self) -> &Framing {
        &self.body
    }
}
