//! Bodies and tunnels on which nothing moves.
//!
//! Why not a timer in the body's own poll: a client that does not read never has its body polled. So each transfer has
//! a [`Pulse`], and one sweep per thread ends those that stand still.

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::upload::Upload;

/// Calls the task of a connection: it is woken, and finds that it was rung.
#[derive(Debug, Default)]
pub(crate) struct Bell {
    rung: AtomicBool,
    waker: AtomicWaker,
}

impl Bell {
    pub(crate) fn ring(&self) {
        self.rung.store(true, Ordering::Release);
        self.waker.wake();
    }

    /// Forgets what was meant for something that is over.
    pub(crate) fn silence(&self) {
        self.rung.store(false, Ordering::Relaxed);
    }

    /// Ready when it was rung since it was last answered.
    pub(crate) fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.waker.register(cx.waker());
        if self.rung.load(Ordering::Acquire) {
            self.rung.store(false, Ordering::Relaxed);
            return Poll::Ready(());
        }
        Poll::Pending
    }
}

/// Signs of life of one transfer.
#[derive(Debug)]
pub(crate) struct Pulse {
    born: Instant,
    /// Milliseconds since `born` of the last movement.
    last: AtomicU64,
    expired: AtomicBool,
    /// The request body that is still going up beside it: its movement counts too.
    upload: Option<Upload>,
    /// What of it had been sent when it was last looked at.
    uploaded: AtomicU64,
    /// Whoever is waiting for more.
    pub(crate) waker: AtomicWaker,
    /// It is the upstream that is waited for, not the client.
    upstream_awaited: AtomicBool,
    /// Asks the client's connection to end.
    hang_up: Option<Arc<Bell>>,
}

/// The transfers of one thread.
#[derive(Debug)]
pub(crate) struct Watchdog {
    pulses: Mutex<Vec<Weak<Pulse>>>,
    limit: Duration,
}

impl Pulse {
    /// Something moved.
    pub(crate) fn beat(&self) {
        let since = Instant::now().duration_since(self.born);
        self.last.store(u64::try_from(since.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Whom it waits for: the upstream to say more, or the client to take it.
    pub(crate) fn awaits_upstream(&self, awaits: bool) {
        self.upstream_awaited.store(awaits, Ordering::Relaxed);
    }

    /// The upload's movement since the last time is one of this transfer's.
    fn look_at_upload(&self) {
        if let Some(upload) = &self.upload {
            let sent = upload.sent();
            if self.uploaded.swap(sent, Ordering::Relaxed) != sent {
                self.beat();
            }
        }
    }

    /// Whether it stood still for too long.
    pub(crate) fn is_expired(&self) -> bool {
        self.expired.load(Ordering::Relaxed)
    }
}

impl Watchdog {
    /// Ends transfers on which nothing moved for `limit` (`RESIN_IDLE_TIMEOUT`).
    pub(crate) fn new(limit: Duration) -> Self {
        Self { pulses: Mutex::new(Vec::new()), limit }
    }

    /// Watches a transfer until its pulse is dropped.
    pub(crate) fn watch(&self, hang_up: Option<Arc<Bell>>, upload: Option<Upload>) -> Arc<Pulse> {
        let uploaded = AtomicU64::new(upload.as_ref().map_or(0, Upload::sent));
        let pulse = Arc::new(Pulse {
            born: Instant::now(),
            last: AtomicU64::new(0),
            expired: AtomicBool::new(false),
            upload,
            uploaded,
            waker: AtomicWaker::new(),
            upstream_awaited: AtomicBool::new(false),
            hang_up,
        });
        self.pulses.lock().push(Arc::downgrade(&pulse));
        pulse
    }

    /// How often to sweep.
    pub(crate) fn period(&self) -> Duration {
        (self.limit / 8).clamp(Duration::from_millis(20), Duration::from_secs(5))
    }

    pub(crate) fn sweep(&self) {
        let now = Instant::now();
        let mut expired = Vec::new();
        self.pulses.lock().retain(|pulse| {
            let Some(pulse) = pulse.upgrade() else { return false };
            pulse.look_at_upload();
            let last = pulse.born + Duration::from_millis(pulse.last.load(Ordering::Relaxed));
            let alive = now.saturating_duration_since(last) < self.limit;
            if !alive {
                expired.push(pulse);
            }
            alive
        });
        for pulse in expired {
            pulse.expired.store(true, Ordering::Relaxed);
            pulse.waker.wake();
            // Whoever waits for the upstream was just woken; nothing else would wake one whose client does not read.
            if let Some(connection) =
                pulse.hang_up.as_ref().filter(|_| !pulse.upstream_awaited.load(Ordering::Relaxed))
            {
                connection.ring();
            }
        }
    }
}
