//! The facts that a request leaves behind on its way through the nodes.
//!
//! Outlives the attempts: when the client leaves in the middle of one, the trail still says where it stood.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::time::Instant;

use crate::{
    model::{AttemptFacts, ErrKind, Failure, Node, Phase, Stage},
    upstream::{Fault, Place, Wire},
};

/// What happened so far.
#[derive(Debug, Default)]
pub(crate) struct Trail {
    /// Of the last attempt.
    pub(crate) node: Option<Arc<Node>>,
    /// Of the last attempt, where it failed.
    pub(crate) failure: Option<Failure>,
    /// Of the last attempt.
    pub(crate) request_written: bool,
    /// Failed attempts that were followed by another.
    pub(crate) retries: Vec<AttemptFacts>,
    /// The attempt that is under way.
    pub(crate) live: Option<Progress>,
}

/// Where an attempt stands.
#[derive(Debug)]
pub(crate) struct Progress {
    pub(crate) started_at: SystemTime,
    pub(crate) started: Instant,
    pub(crate) stage: Stage,
    pub(crate) place: Place,
    /// What the request goes over, once there is a connection.
    pub(crate) wire: Option<Arc<Wire>>,
    /// The connection had been used before.
    pub(crate) reused: bool,
    /// A pooled connection was stale and the node was dialled afresh.
    pub(crate) stale: bool,
    /// How long it took until there was a connection, where one was made.
    pub(crate) connected: Option<Duration>,
}

impl Progress {
    pub(crate) fn new(stage: Stage) -> Self {
        Self {
            started_at: SystemTime::now(),
            started: Instant::now(),
            stage,
            place: Place { phase: Phase::Dns, peer: None },
            wire: None,
            reused: false,
            stale: false,
            connected: None,
        }
    }
}

impl Trail {
    /// An attempt begins.
    pub(crate) fn begin(&mut self, node: &Arc<Node>, stage: Stage) -> &mut Progress {
        self.node = Some(Arc::clone(node));
        self.failure = None;
        self.request_written = false;
        self.live.insert(Progress::new(stage))
    }

    /// The attempt was answered: its request is written.
    pub(crate) fn answered(&mut self) {
        self.request_written = true;
        self.live = None;
    }

    /// The attempt failed.
    pub(crate) fn failed(&mut self, failure: Failure, written: bool) {
        self.failure = Some(failure);
        self.request_written = written;
    }

    /// Another attempt follows the failed one.
    pub(crate) fn retried(&mut self) {
        if let (Some(live), Some(node), Some(failure)) =
            (self.live.take(), self.node.take(), self.failure.take())
        {
            self.retries.push(AttemptFacts {
                node,
                failure,
                request_written: self.request_written,
                reused_connection: live.reused,
                started_at: live.started_at,
                duration: live.started.elapsed(),
            });
        }
    }

    /// The client left. By now whatever was under way has been dropped, so nothing can be written any more.
    pub(crate) fn client_left(&mut self) {
        let Some(live) = self.live.take() else { return };
        if self.failure.is_none() {
            let phase = live.place.phase;
            self.failure = Some(Fault::new(phase, ErrKind::Canceled, "the client went away").at(live.stage));
            self.request_written = live.wire.is_some_and(|wire| wire.accepted() > 0);
        }
    }
}
