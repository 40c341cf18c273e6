//! The end of the process: what is in flight, and the signals that ask to stop.
//!
//! A [`Guard`] is one request or tunnel. Dropping it is the event; while nothing drains it wakes nobody.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::Notify,
};
use tokio_util::sync::CancellationToken;

/// Counts what is in flight and tells connections when the end has begun. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Drain(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    in_flight: AtomicUsize,
    begun: CancellationToken,
    ended: Notify,
}

/// One request or tunnel in flight.
#[derive(Debug)]
pub struct Guard(Arc<Inner>);

impl Drain {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    #[must_use]
    pub fn guard(&self) -> Guard {
        self.0.in_flight.fetch_add(1, Ordering::AcqRel);
        Guard(Arc::clone(&self.0))
    }

    /// Cancelled when the drain begins.
    #[must_use]
    pub fn draining(&self) -> CancellationToken {
        self.0.begun.clone()
    }

    /// Waits until the drain begins.
    pub async fn begun(&self) {
        self.0.begun.cancelled().await;
    }

    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.0.begun.is_cancelled()
    }

    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.0.in_flight.load(Ordering::Acquire)
    }

    /// Begins the drain and waits until nothing is in flight.
    pub async fn drained(&self) {
        self.0.begun.cancel();
        loop {
            let ended = self.0.ended.notified();
            if self.in_flight() == 0 {
                return;
            }
            ended.await;
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let before = self.0.in_flight.fetch_sub(1, Ordering::AcqRel);
        if before == 1 && self.0.begun.is_cancelled() {
            self.0.ended.notify_one();
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
        let (one, other) = (drain.guard(), drain.guard());
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
