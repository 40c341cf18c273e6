//! What came from a client: what it may be read as, and what waits until that is known.

use bytes::{Buf, BytesMut};
use tokio::{io::ReadBuf, time::Instant};

use crate::proxy::gate::{Flaw, Gate, HeadLimits};

/// What may be held back of a client's bytes beyond one head.
const AHEAD: usize = 16 * 1024;

/// What came from the client, and how it stands with its requests.
pub(super) struct Inbound {
    pub(super) gate: Gate,
    /// Bytes that were read and not let through yet.
    pub(super) held: BytesMut,
    /// How many of them hyper may have.
    pub(super) cleared: usize,
    pub(super) most_held: usize,
    /// What is wrong with the head that is held.
    pub(super) flaw: Option<Flaw>,
    /// A body is not framed as it should be.
    pub(super) garbled: bool,
    pub(super) begun: u64,
    pub(super) finished: u64,
    /// Since when no request is under way.
    pub(super) quiet_since: Instant,
    /// Since when a head has begun and not ended.
    pub(super) head_since: Option<Instant>,
    /// Nobody reads it: hyper was put away until more comes.
    pub(super) at_rest: bool,
}

impl Inbound {
    pub(super) fn new(limits: HeadLimits) -> Self {
        Self {
            gate: Gate::new(limits),
            held: BytesMut::new(),
            cleared: 0,
            most_held: limits.bytes + AHEAD,
            flaw: None,
            garbled: false,
            begun: 0,
            finished: 0,
            quiet_since: Instant::now(),
            head_since: None,
            at_rest: false,
        }
    }

    pub(super) fn outstanding(&self) -> u64 {
        self.gate.heads().max(self.begun) - self.finished
    }

    /// Whether it lies between two messages, with nothing of the next one there.
    pub(super) fn is_empty(&self) -> bool {
        self.gate.is_at_head() && self.held.is_empty() && self.flaw.is_none() && !self.garbled
    }

    /// Keeps bytes back until more is known.
    pub(super) fn hold(&mut self, bytes: &[u8]) {
        self.held.extend_from_slice(bytes);
        self.note_head();
    }

    pub(super) fn note_head(&mut self) {
        if self.head_since.is_none() && self.gate.is_at_head() && !self.held.is_empty() {
            self.head_since = Some(Instant::now());
        }
    }

    /// Looks at what is held; true where some of it may go on.
    pub(super) fn look(&mut self) -> bool {
        if self.flaw.is_some() || self.garbled || self.held.is_empty() {
            return false;
        }
        match self.gate.pass(&self.held) {
            Ok(passed) => {
                self.cleared = passed;
                if passed > 0 {
                    self.head_since = None;
                }
                passed > 0
            }
            Err(flaw) => {
                self.find(flaw);
                false
            }
        }
    }

    /// What is wrong with a head is told instead of its answer; a body's flaw breaks the body off.
    pub(super) fn find(&mut self, flaw: Flaw) {
        if self.gate.is_at_head() {
            self.flaw = Some(flaw);
        } else {
            self.garbled = true;
        }
    }

    pub(super) fn give(&mut self, buf: &mut ReadBuf<'_>) {
        let bytes = self.cleared.min(buf.remaining());
        buf.put_slice(&self.held[..bytes]);
        self.held.advance(bytes);
        self.cleared -= bytes;
        if self.cleared == 0 {
            if self.held.is_empty() {
                // Most connections never need it again.
                self.held = BytesMut::new();
            }
            self.note_head();
        }
    }
}
