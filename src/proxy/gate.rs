//! What of a client's HTTP/1 bytes may be read: heads only whole and found good, bodies up to their end.
//!
//! hyper parses leniently in places and drops the evidence before anybody can look: a repeated `Content-Length`, one
//! beside `Transfer-Encoding`, a `#fragment`, what was sent ahead behind a CONNECT. So each head is looked at here, as
//! bytes, before hyper is given it; and since a body's end is known here too, the next head is found where it begins.

mod flaw;
mod head;

use crate::upstream::Chunks;

pub(crate) use self::{flaw::Flaw, head::USUAL_FIELDS};

/// How large a head may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HeadLimits {
    /// `RESIN_MAX_HEADER_BYTES`: the request line and all fields.
    pub(crate) bytes: usize,
    /// `RESIN_MAX_HEADERS`.
    pub(crate) fields: usize,
    /// `RESIN_MAX_REQUEST_LINE`.
    pub(crate) line: usize,
}

/// Where in a client's bytes the next one lies.
#[derive(Debug)]
pub(crate) struct Gate {
    state: State,
    /// What of the head that begins at the front was searched for its end.
    scanned: usize,
    /// The message that is passing asks for a tunnel: what follows it may be no HTTP.
    asks_tunnel: bool,
    /// Heads that were let through.
    heads: u64,
    /// Which of them ask for the server itself, by a target without a path.
    pathless: Vec<u64>,
    limits: HeadLimits,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Head,
    Length(u64),
    Chunks(Chunks),
    /// Nobody knows yet whether this is a tunnel's.
    Undecided,
    /// A tunnel, or HTTP/2.
    Through,
    /// Nothing more is read.
    Shut,
}

/// How the body behind a head is framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    Length(u64),
    Chunked,
}

impl Gate {
    pub(crate) fn new(limits: HeadLimits) -> Self {
        Self { state: State::Head, scanned: 0, asks_tunnel: false, heads: 0, pathless: Vec::new(), limits }
    }

    /// How many of `bytes`, the first of which is the first that was not let through yet, may be read now.
    ///
    /// What is held back must be shown again, with more behind it.
    pub(crate) fn pass(&mut self, bytes: &[u8]) -> Result<usize, Flaw> {
        let mut passed = 0;
        while passed < bytes.len() {
            let rest = &bytes[passed..];
            let step = match &mut self.state {
                State::Through => Ok(rest.len()),
                State::Undecided | State::Shut => Ok(0),
                State::Head => self.head(rest),
                State::Length(left) => {
                    let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(rest.len());
                    *left -= taken as u64;
                    if *left == 0 {
                        self.message_ended();
                    }
                    Ok(taken)
                }
                State::Chunks(chunks) => match chunks.take(rest) {
                    Ok((taken, over)) => {
                        if over {
                            self.message_ended();
                        }
                        Ok(taken)
                    }
                    Err(why) => Err(Flaw::malformed(why)),
                },
            };
            match step {
                Ok(0) => break,
                Ok(taken) => passed += taken,
                // It is told when it is the first thing that is shown.
                Err(_) if passed > 0 => break,
                Err(flaw) => return Err(flaw),
            }
        }
        Ok(passed)
    }

    fn head(&mut self, bytes: &[u8]) -> Result<usize, Flaw> {
        if self.scanned == 0 && bytes.starts_with(b"\r") {
            // An empty line before a request is passed over (RFC 9112, section 2.2).
            return match bytes.get(1) {
                Some(b'\n') => Ok(2),
                Some(_) => Err(Flaw::malformed("a CR without its LF before the request line")),
                None => Ok(0),
            };
        }
        let Some(end) = head::end(bytes, &mut self.scanned, self.limits)? else { return Ok(0) };
        let found = head::look(&bytes[..end], self.limits)?;
        self.scanned = 0;
        self.heads += 1;
        self.asks_tunnel = found.asks_tunnel;
        if found.pathless {
            self.pathless.push(self.heads);
        }
        match found.framing {
            Framing::Length(0) => self.message_ended(),
            Framing::Length(length) => self.state = State::Length(length),
            Framing::Chunked => self.state = State::Chunks(Chunks::default()),
        }
        Ok(end)
    }

    fn message_ended(&mut self) {
        self.state = if self.asks_tunnel { State::Undecided } else { State::Head };
    }

    /// From here on it is no HTTP/1.
    pub(crate) fn open(&mut self) {
        self.state = State::Through;
    }

    /// The tunnel that was asked for is not to be: what follows is the next request.
    pub(crate) fn settle(&mut self) {
        self.asks_tunnel = false;
        if self.state == State::Undecided {
            self.state = State::Head;
        }
    }

    /// What follows is read by nobody. A tunnel, and HTTP/2, has nothing to do with it.
    pub(crate) fn shut(&mut self) {
        if self.state != State::Through {
            self.state = State::Shut;
        }
    }

    /// Whether the message that passed last asked for a tunnel.
    pub(crate) fn asks_tunnel(&self) -> bool {
        self.asks_tunnel
    }

    /// Whether more bytes of the client's could be let through now.
    pub(crate) fn listens(&self) -> bool {
        !matches!(self.state, State::Undecided | State::Shut)
    }

    /// Whether what is held back is the beginning of a head.
    pub(crate) fn is_at_head(&self) -> bool {
        self.state == State::Head
    }

    /// Whether the head of this number has a target without a path. Asked once.
    pub(crate) fn is_pathless(&mut self, head: u64) -> bool {
        let before = self.pathless.len();
        self.pathless.retain(|number| *number > head);
        self.pathless.len() < before
    }

    /// Whether everything passes.
    pub(crate) fn is_through(&self) -> bool {
        self.state == State::Through
    }

    /// Whether the body of a message is not over yet.
    pub(crate) fn is_mid_message(&self) -> bool {
        matches!(self.state, State::Length(_) | State::Chunks(_))
    }

    pub(crate) fn heads(&self) -> u64 {
        self.heads
    }
}

#[cfg(test)]
mod tests;
