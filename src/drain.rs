//! STUB
use tokio_util::sync::CancellationToken;
use tokio_util::task::{TaskTracker, task_tracker::TaskTrackerToken};
#[derive(Clone, Debug, Default)]
pub struct Drain {
    tracker: TaskTracker,
    token: CancellationToken,
}
pub type Guard = TaskTrackerToken;
impl Drain {
    pub fn guard(&self) -> Guard {
        self.tracker.token()
    }
    pub fn draining(&self) -> CancellationToken {
        self.token.clone()
    }
}
