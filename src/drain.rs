//! The end of the process: what is in flight, and the signals that ask to stop.
//!
//! A [`Guard`] is one request or tunnel. Dropping it is the event; while nothing drains it wakes nobody. Each thread
//! counts its own: a number that all of them write would be fetched from another core for every request.

use std::sync::{
    Arc, Weak,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use parking_lot::Mutex;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::Notify,
};
use tokio_util::sync::CancellationToken;

/// Counts what is in flight and tells connections when the end has begun. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Drain {
    whole: Arc<Whole>,
    lane: Arc<Lane>,
}

#[derive(Debug, Default)]
struct Whole {
    lanes: Mutex<Vec<Weak<Lane>>>,
    has_begun: AtomicBool,
    begun: CancellationToken,
    ended: Notify,
}

/// What one thread has in flight.
#[derive(Debug)]
struct Lane {
    in_flight: AtomicUsize,
    whole: Arc<Whole>,
}

/// One request or tunnel in flight.
#[derive(Debug)]
pub struct Guard(Arc<Lane>);

impl Drain {
    #[must_use]
    pub fn new() -> Self {
        Self::over(Arc::default())
    }

    /// The same for one thread.
    #[must_use]
    pub fn of_thread(&self) -> Self {
        Self::over(Arc::clone(&self.whole))
    }

    fn over(whole: Arc<Whole>) -> Self {
        let lane = Arc::new(Lane { in_flight: AtomicUsize::new(0), whole: Arc::clone(&whole) });
        whole.lanes.lock().push(Arc::downgrade(&lane));
        Self { whole, lane }
    }

    #[must_use]
    pub fn guard(&self) -> Guard {
        self.lane.in_flight.fetch_add(1, Ordering::SeqCst);
        Guard(Arc::clone(&self.lane))
    }

    /// Cancelled when the drain begins.
    #[must_use]
    pub fn draining(&self) -> CancellationToken {
        self.whole.begun.clone()
    }

    /// Waits until the drain begins.
    pub async fn begun(&self) {
        self.whole.begun.cancelled().await;
    }

    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.whole.has_begun.load(Ordering::SeqCst)
    }

    #[must_use]
    pub fn in_flight(&self) -> usize {
        let lanes = self.whole.lanes.lock();
        lanes.iter().filter_map(Weak::upgrade).map(|lane| lane.in_flight.load(Ordering::SeqCst)).sum()
    }

    /// Begins the drain and waits until nothing is in flight.
    pub async fn drained(&self) {
        self.whole.has_begun.store(true, Ordering::SeqCst);
        self.whole.begun.cancel();
        loop {
            let ended = self.whole.ended.notified();
            if self.in_flight() == 0 {
                return;
            }
            ended.await;
        }
    }
}

impl Default for Drain {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // In one order with the begin of the drain: either this sees it, or it sees this.
        let before = self.0.in_flight.fetch_sub(1, Ordering::SeqCst);
        if before == 1 && self.0.whole.has_begun.load(Ordering::SeqCst) {
            self.0.whole.ended.notify_one();
        }
    }
}

/// SIGTERM and SIGINT, from now on.
#[derive(Debug)]
pub struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    pub fn listen() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// The next one of them.
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_drain_ends_with_the_last_guard() {
        let drain = Drain::new();
        let (one, other) = (drain.guard(), drain.of_thread().guard());
        let waiting = tokio::spawn({
            let drain = drain.clone();
            async move { drain.drained().await }
        });
        drain.draining().cancelled().await;
        drop(one);
        assert!(!waiting.is_finished());
        drop(other);
        waiting.await.unwrap();
        drain.drained().await;
    }
}
