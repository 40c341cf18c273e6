//! Where the snapshot in force is found, and where its changes are told.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::watch;

use super::{Pool, Snapshot};

/// Holds the snapshot in force. Publishing is the business of one caller at a time.
#[derive(Debug)]
pub struct Directory {
    current: ArcSwap<Snapshot>,
    changed: watch::Sender<Arc<Snapshot>>,
}

impl Directory {
    #[must_use]
    pub fn new(snapshot: Snapshot) -> Self {
        let first = Arc::new(snapshot);
        Self { current: ArcSwap::new(Arc::clone(&first)), changed: watch::Sender::new(first) }
    }

    /// The platform of this name, as it is in force now. Cheap enough for every request.
    #[must_use]
    pub fn platform(&self, name: &str) -> Option<Arc<Pool>> {
        self.current.load().platform(name).cloned()
    }

    /// The snapshot in force.
    #[must_use]
    pub fn current(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// Puts a snapshot in force. From the return on, every new request sees it.
    pub fn publish(&self, snapshot: Snapshot) {
        let next = Arc::new(snapshot);
        self.current.store(Arc::clone(&next));
        self.changed.send_replace(next);
    }

    /// Follows publications: the present snapshot at once, then the newest one after each change.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.changed.subscribe()
    }
}
