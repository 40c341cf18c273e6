//! The peer of a scripted socket: what it says, when, and what it heard.

use std::{
    collections::VecDeque,
    io::{self, Read as _, Write as _},
    task::{Context, Poll, Waker},
};

use rustls::ServerConnection;
use tokio::io::ReadBuf;

use super::{ANSWER, Cut, Plan, Read, When, Write};

const JUNK: &[u8] = b"\x16\x03junk\r\n\r\n";
/// A TLS record's header, and the longest body of a record that is no request: an alert or new keys, encrypted.
const RECORD_HEADER: usize = 5;
const LONGEST_NOTICE: usize = 22;

#[derive(Debug)]
pub(super) struct State {
    session: Option<ServerConnection>,
    /// A tunnel is to be asked for first; the session behind it, where there is one.
    tunnel: Option<Option<ServerConnection>>,
    cut: Option<Cut>,
    /// It was: nothing is heard any more.
    is_cut: bool,
    /// What begins once the dial is over.
    plan: Option<Plan>,
    writes: VecDeque<Write>,
    reads: VecDeque<Read>,
    when: When,
    written_to: bool,
    /// Readable bytes.
    lying: VecDeque<u8>,
    /// What comes behind them.
    end: Option<Read>,
    /// It was read, with nothing taken before.
    left_unwritten: bool,
    /// They are the reaction to a write, which takes its time: readable from the next poll on.
    under_way: bool,
    pub(super) tries: usize,
    pub(super) taken: Vec<u8>,
    pub(super) heard: Vec<u8>,
    waiting: Vec<Waker>,
}

impl State {
    pub(super) fn new(
        session: Option<ServerConnection>,
        tunnel: Option<Option<ServerConnection>>,
        cut: Option<Cut>,
        plan: Plan,
    ) -> Self {
        let direct = session.is_none() && tunnel.is_none();
        let mut state = Self {
            session,
            tunnel,
            cut,
            is_cut: false,
            plan: Some(plan),
            writes: VecDeque::new(),
            reads: VecDeque::new(),
            when: When::AfterAWrite,
            written_to: false,
            lying: VecDeque::new(),
            end: None,
            left_unwritten: false,
            under_way: false,
            tries: 0,
            taken: Vec::new(),
            heard: Vec::new(),
            waiting: Vec::new(),
        };
        if direct {
            state.begin();
        }
        state
    }

    pub(super) fn has_begun(&self) -> bool {
        self.plan.is_none()
    }

    pub(super) fn follow(&mut self, plan: Plan) {
        self.under_way = false;
        self.plan = Some(plan);
        self.begin();
    }

    fn begin(&mut self) {
        let Some(plan) = self.plan.take() else { return };
        self.writes = plan.writes.into();
        self.reads = plan.reads.into();
        self.when = plan.when;
        self.written_to = false;
        self.taken.clear();
        self.heard.clear();
        if self.when != When::AfterAWrite {
            self.say_one();
            self.say_next();
        }
    }

    pub(super) fn open(&mut self) {
        self.writes.clear();
        self.wake();
    }

    fn wake(&mut self) {
        for waiting in self.waiting.drain(..) {
            waiting.wake();
        }
    }

    /// The peer goes on once what it said before has been read.
    fn say_next(&mut self) {
        while self.lying.is_empty() && self.end.is_none() && !self.reads.is_empty() {
            self.say_one();
        }
    }

    fn say_one(&mut self) {
        match self.reads.pop_front() {
            None => {}
            Some(Read::Silence) => self.reads.clear(),
            Some(end @ (Read::Fin | Read::Rst)) => self.end = Some(end),
            Some(Read::Junk) => self.say(JUNK),
            Some(Read::Answer) => self.say(ANSWER),
            Some(Read::Part) => self.say(&ANSWER[..ANSWER.len() / 2]),
            Some(Read::Garbage) => self.lying.extend(JUNK),
            Some(Read::CloseNotify) => {
                if let Some(session) = &mut self.session {
                    session.send_close_notify();
                }
                self.send();
            }
            Some(Read::NewKeys) => {
                if let Some(session) = &mut self.session {
                    session.refresh_traffic_keys().unwrap();
                }
                self.send();
            }
        }
    }

    fn say(&mut self, text: &[u8]) {
        match &mut self.session {
            None => self.lying.extend(text),
            Some(session) => {
                session.writer().write_all(text).unwrap();
                self.send();
            }
        }
    }

    /// What the TLS session has to say comes into the socket.
    fn send(&mut self) {
        let Some(session) = &mut self.session else { return };
        while session.wants_write() {
            session.write_tls(&mut self.lying).unwrap();
        }
    }

    fn hear(&mut self, bytes: &[u8]) {
        if self.has_begun() {
            self.taken.extend_from_slice(bytes);
            self.read(bytes);
            return;
        }
        // The dial is answered as it goes on.
        self.under_way = true;
        self.read(bytes);
        self.send();
        if self.session.as_ref().is_some_and(|session| session.is_handshaking()) {
            return;
        }
        match self.tunnel.take() {
            None => self.begin(),
            Some(later) if self.heard.ends_with(b"\r\n\r\n") => {
                self.say(b"HTTP/1.1 200 OK\r\n\r\n");
                match later {
                    None => self.begin(),
                    later => self.session = later,
                }
            }
            asked_for => self.tunnel = asked_for,
        }
    }

    fn read(&mut self, mut bytes: &[u8]) {
        let Some(session) = &mut self.session else {
            self.heard.extend_from_slice(bytes);
            return;
        };
        while !bytes.is_empty() {
            // A client that gives up says so, and nothing follows.
            if !session.read_tls(&mut bytes).is_ok_and(|read| read > 0) {
                break;
            }
            let Ok(state) = session.process_new_packets() else { break };
            let mut plain = vec![0; state.plaintext_bytes_to_read()];
            session.reader().read_exact(&mut plain).unwrap();
            self.heard.append(&mut plain);
        }
    }

    pub(super) fn of_requests(&self) -> usize {
        if self.is_cut && self.session.is_some() && self.tunnel.is_some() {
            return 0; // what was encrypted is the question for the tunnel, which nobody answered
        }
        if self.session.is_none() || self.is_cut {
            return self.taken.len();
        }
        let mut left = &self.taken[..];
        while let Some(header) = left.first_chunk::<RECORD_HEADER>() {
            let whole = RECORD_HEADER + usize::from(u16::from_be_bytes([header[3], header[4]]));
            if whole > RECORD_HEADER + LONGEST_NOTICE || left.len() < whole {
                break;
            }
            left = &left[whole..];
        }
        left.len()
    }

    pub(super) fn was_written_to_after_its_end(&self) -> bool {
        self.left_unwritten && self.of_requests() > 0
    }

    pub(super) fn peek(&self) -> io::Result<usize> {
        match self.end {
            _ if !self.lying.is_empty() => Ok(1),
            None => Err(io::ErrorKind::WouldBlock.into()),
            Some(Read::Rst) => Err(io::ErrorKind::ConnectionReset.into()),
            Some(_) => Ok(0),
        }
    }

    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if std::mem::take(&mut self.under_way) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let told = self.when != When::Unnoticed || self.written_to || !self.has_begun();
        if told && !self.lying.is_empty() {
            let bytes = self.lying.len().min(buf.remaining());
            for byte in self.lying.drain(..bytes) {
                buf.put_slice(&[byte]);
            }
            if self.has_begun() && (self.when != When::AfterAWrite || self.written_to) {
                self.say_next();
            }
            return Poll::Ready(Ok(()));
        }
        let end = self.end.filter(|_| told);
        self.left_unwritten |= end.is_some() && self.has_begun() && self.taken.is_empty();
        match end {
            Some(Read::Rst) => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
            Some(_) => Poll::Ready(Ok(())),
            None => {
                self.waiting.push(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.tries += 1;
        if let Some(Cut { end, .. }) = self.cut.filter(|cut| !self.has_begun() && cut.at == self.tries) {
            self.is_cut = true;
            self.end = Some(end).filter(|end| *end != Read::Silence);
            return Poll::Ready(Ok(buf.len()));
        }
        if self.is_cut {
            self.taken.extend_from_slice(buf);
            return Poll::Ready(Ok(buf.len()));
        }
        let next = if self.has_begun() { self.writes.pop_front() } else { None };
        let written = match next.unwrap_or(Write::Accept) {
            Write::Pending => {
                self.waiting.push(cx.waker().clone());
                Poll::Pending
            }
            Write::Later => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Write::Fail(kind) => Poll::Ready(Err(kind.into())),
            Write::Short(bytes) => Poll::Ready(Ok(bytes.min(buf.len()))),
            Write::Accept => Poll::Ready(Ok(buf.len())),
        };
        let began = self.has_begun();
        if let Poll::Ready(Ok(bytes)) = written {
            self.hear(&buf[..bytes]);
        }
        if began && !std::mem::replace(&mut self.written_to, true) {
            if self.when == When::AfterAWrite {
                self.say_next();
                self.under_way = !self.lying.is_empty() || self.end.is_some();
            }
            self.wake();
        }
        written
    }
}
