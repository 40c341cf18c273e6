//! An answer on its way to a client of HTTP/1.1: its head, and the framing of its body.

use std::{
    cell::RefCell,
    pin::Pin,
    task::{Context, Poll},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, StatusCode};
use http_body::Body;

use super::head::Manner;
use crate::{
    model::{Fields, Name},
    proxy::{
        body::ProxyBody,
        client::{Busy, Client},
        message::Response,
    },
    upstream::{Counted, Out, make_room, put_field, put_length},
};

/// What is no larger is copied behind what already waits, and goes out with it.
const SMALL: usize = 1024;
/// So much may wait while more comes.
const FULL: usize = 16 * 1024;

/// What an answer must know of its request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    pub(super) manner: Manner,
    /// Of the answer, only the head is wanted.
    pub(super) head_only: bool,
}

/// How the end of a body is told to the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    /// So many bytes are still to come.
    Length(u64),
    Chunked {
        trailers: bool,
    },
    /// It ends with the connection.
    ToTheEnd,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    UnderWay,
    /// The last of the body was taken, and may still wait to be written.
    Over,
    Broken,
}

/// An answer, written as its body comes.
pub(super) struct Answer {
    io: Counted,
    out: Out,
    framing: Framing,
    keeps: bool,
    /// With what it has in tow: the record is made when the last byte is out.
    body: ProxyBody,
    state: State,
}

impl Answer {
    /// Writes nothing yet. `keeps`: the connection may carry another request, as far as is known. `opens`: a tunnel
    /// follows the head.
    pub(super) fn begin(
        response: Response,
        busy: Busy,
        asked: Asked,
        keeps: bool,
        client: &Client,
        opens: bool,
    ) -> Self {
        let ends = response.is_closing();
        let Response { status, reason, fields, body } = response;
        let length = body.size_hint().exact();
        let bodyless =
            opens || asked.head_only || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        let framing = match length {
            _ if bodyless => Framing::Length(0),
            Some(length) => Framing::Length(length),
            None if asked.manner.old => Framing::ToTheEnd,
            None => Framing::Chunked { trailers: asked.manner.takes_trailers },
        };
        let closes = !keeps || ends || framing == Framing::ToTheEnd;
        let length = match length {
            // It is as long as the answer to a GET would be, where that is known.
            Some(length) if asked.head_only && length > 0 => Some(length),
            Some(length) if !bodyless => Some(length),
            _ => None,
        };
        let mut lead = client.take_ahead();
        let frame = Frames { framing, length, closes, opens, old: asked.manner.old };
        write_head(&mut lead, status, reason.as_deref(), &fields, &frame);
        Self {
            io: client.io(),
            out: Out { lead, ..Out::default() },
            framing,
            keeps: !closes,
            body: body.of(busy),
            state: if framing == Framing::Length(0) { State::Over } else { State::UnderWay },
        }
    }

    /// Whether the connection may carry another request afterwards.
    pub(super) fn keeps(&self) -> bool {
        self.keeps
    }

    /// How many bytes wait to be written that are the last; none before there are any.
    pub(super) fn last_bytes(&self) -> Option<usize> {
        (self.state == State::Over).then(|| self.out.len())
    }

    /// Writes what there is; ready when it is over: whether it is whole.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        loop {
            self.take_frames(cx);
            if !self.out.is_empty() {
                match self.out.poll_write(cx, Pin::new(&mut self.io)) {
                    Poll::Ready(Ok(())) => continue,
                    Poll::Ready(Err(_)) => return Poll::Ready(false),
                    // What came before a break is given its chance to go out, and no more.
                    Poll::Pending if self.state == State::Broken => return Poll::Ready(false),
                    Poll::Pending => return Poll::Pending,
                }
            }
            return match self.state {
                State::UnderWay => Poll::Pending,
                State::Over => Poll::Ready(true),
                State::Broken => Poll::Ready(false),
            };
        }
    }

    /// The connection ends before the last byte is out.
    pub(super) fn cut(&mut self) {
        if self.state == State::Over {
            self.body.cut();
        }
    }

    /// Takes of the body what can go out now.
    fn take_frames(&mut self, cx: &mut Context<'_>) {
        while self.state == State::UnderWay
            && self.out.data.is_empty()
            && self.out.tail.is_empty()
            && self.out.lead.len() < FULL
        {
            match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Pending => return,
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => self.queue(data),
                    Err(frame) => self.end(frame.into_trailers().ok().as_ref()),
                },
                Poll::Ready(Some(Err(_))) => self.state = State::Broken,
                Poll::Ready(None) => self.end(None),
            }
            if self.framing == Framing::Length(0) {
                self.state = State::Over;
            }
        }
    }

    fn queue(&mut self, mut data: Bytes) {
        match &mut self.framing {
            Framing::Length(left) => {
                data.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= data.len() as u64;
            }
            Framing::Chunked { .. } if data.is_empty() => return,
            Framing::Chunked { .. } => {
                self.out.chunk_size(data.len());
                self.out.tail = b"\r\n";
            }
            Framing::ToTheEnd => {}
        }
        if data.len() <= SMALL {
            self.out.lead.put_slice(&data);
            self.out.lead.put_slice(std::mem::take(&mut self.out.tail));
        } else {
            self.out.data = data;
        }
    }

    /// The body is over.
    fn end(&mut self, trailers: Option<&HeaderMap>) {
        self.state = State::Over;
        match self.framing {
            Framing::Length(0) | Framing::ToTheEnd => {}
            Framing::Length(_) => self.state = State::Broken,
            Framing::Chunked { trailers: wanted } => self.out.last_chunk(trailers.filter(|_| wanted)),
        }
    }
}

/// What the head says about this connection.
struct Frames {
    framing: Framing,
    length: Option<u64>,
    closes: bool,
    opens: bool,
    old: bool,
}

fn write_head(
    out: &mut BytesMut,
    status: StatusCode,
    reason: Option<&[u8]>,
    fields: &Fields,
    frame: &Frames,
) {
    make_room(out, 160 + fields.size());
    out.put_slice(if frame.old { b"HTTP/1.0 " } else { b"HTTP/1.1 " });
    out.put_slice(status.as_str().as_bytes());
    out.put_u8(b' ');
    out.put_slice(reason.unwrap_or_else(|| status.canonical_reason().unwrap_or("Unknown").as_bytes()));
    out.put_slice(b"\r\n");
    let chunked = matches!(frame.framing, Framing::Chunked { .. });
    fields.write(out, |name| match name {
        Name::Connection => frame.opens,
        Name::TransferEncoding => false,
        Name::Trailer => chunked,
        // It is the body's, or else the answer would have been refused.
        Name::ContentLength => !chunked && !frame.opens,
        _ => true,
    });
    if let Some(length) = frame.length.filter(|_| !fields.has(Name::ContentLength)) {
        put_length(out, length);
    }
    if chunked {
        put_field(out, "transfer-encoding", b"chunked");
    }
    match (frame.opens, frame.closes) {
        (true, _) => {}
        (false, true) => put_field(out, "connection", b"close"),
        (false, false) if frame.old => put_field(out, "connection", b"keep-alive"),
        (false, false) => {}
    }
    if !fields.has(Name::Date) {
        DATES.with_borrow_mut(|dates| put_field(out, "date", dates.now().as_bytes()));
    }
    out.put_slice(b"\r\n");
}

thread_local! {
    static DATES: RefCell<Dates> = RefCell::default();
}

/// The date as it was last written down, and for which second.
#[derive(Default)]
struct Dates {
    second: u64,
    text: String,
}

impl Dates {
    fn now(&mut self) -> &str {
        let second = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        if self.second != second || self.text.is_empty() {
            self.second = second;
            self.text = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(second));
        }
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(status: u16, fields: &[(&'static str, &'static str)], frame: &Frames) -> String {
        let mut all = Fields::default();
        for (name, value) in [("date", "now")].iter().chain(fields) {
            all.push(name, value.as_bytes());
        }
        let mut out = BytesMut::new();
        write_head(&mut out, StatusCode::from_u16(status).unwrap(), None, &all, frame);
        String::from_utf8(out.to_vec()).unwrap().replace("date: now\r\n", "")
    }

    #[test]
    fn an_answer_says_how_it_ends_once_and_so_that_its_client_can_read_it() {
        let (ten, chunked) = (("content-length", "10"), Framing::Chunked { trailers: true });
        let frame = |framing, length| Frames { framing, length, closes: false, opens: false, old: false };
        let table = [
            (200, vec![], frame(Framing::Length(10), Some(10)), "200 OK\r\ncontent-length: 10\r\n"),
            (200, vec![ten], frame(Framing::Length(10), Some(10)), "200 OK\r\ncontent-length: 10\r\n"),
            (200, vec![], frame(Framing::Length(0), Some(0)), "200 OK\r\ncontent-length: 0\r\n"),
            // To HEAD, and with 304, the length of what does not come.
            (304, vec![ten], frame(Framing::Length(0), None), "304 Not Modified\r\ncontent-length: 10\r\n"),
            (204, vec![], frame(Framing::Length(0), None), "204 No Content\r\n"),
            (
                200,
                vec![ten, ("trailer", "a")],
                frame(chunked, None),
                "200 OK\r\ntrailer: a\r\ntransfer-encoding: chunked\r\n",
            ),
            (
                200,
                vec![("trailer", "a"), ("connection", "x")],
                frame(Framing::Length(0), Some(0)),
                "200 OK\r\ncontent-length: 0\r\n",
            ),
            (299, vec![], frame(Framing::Length(0), Some(0)), "299 Unknown\r\ncontent-length: 0\r\n"),
        ];
        for (status, fields, frame, text) in table {
            assert_eq!(framed(status, &fields, &frame), format!("HTTP/1.1 {text}\r\n"));
        }
        let frame =
            |closes, opens, old| Frames { framing: Framing::ToTheEnd, length: None, closes, opens, old };
        for (frame, text) in [
            (frame(true, false, false), "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n"),
            (frame(true, false, true), "HTTP/1.0 200 OK\r\nconnection: close\r\n\r\n"),
            (frame(false, false, true), "HTTP/1.0 200 OK\r\nconnection: keep-alive\r\n\r\n"),
            (frame(false, true, false), "HTTP/1.1 200 OK\r\nconnection: upgrade\r\n\r\n"),
        ] {
            assert_eq!(framed(200, &[("connection", "upgrade"), ("transfer-encoding", "x")], &frame), text);
        }
    }
}
