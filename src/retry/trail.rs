//! The facts that a request leaves behind on its way through the nodes.
//!
//! Outlives the attempts: when the client leaves in the middle of one, the trail still says where it stood.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::time::Instant;

use crate::{
    model::{AttemptFacts, ErrKind, Failure, Node, Phase, Stage, Verdict},
    telemetry::{AttemptEnd, AttemptSpan},
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
    span: AttemptSpan,
}

impl Progress {
    fn new(stage: Stage, span: AttemptSpan, started: Instant) -> Self {
        Self {
            started,
            stage,
            place: Place { phase: Phase::Dns, peer: None },
            wire: None,
            reused: false,
            stale: false,
            connected: None,
            span,
        }
    }

    fn end_span(
        &mut self,
        failure: Option<&Failure>,
        verdict: Verdict,
        request_written: bool,
        status: Option<u16>,
    ) {
        let mut span = std::mem::take(&mut self.span);
        if self.stale {
            span.stale_connection();
        }
        span.end(AttemptEnd { peer: self.place.peer, failure, verdict, request_written, status });
    }
}

impl Trail {
    /// An attempt begins.
    pub(crate) fn begin(
        &mut self,
        node: &Arc<Node>,
        stage: Stage,
        span: AttemptSpan,
        started: Instant,
    ) -> &mut Progress {
        self.node = Some(Arc::clone(node));
        self.failure = None;
        self.request_written = false;
        self.live.insert(Progress::new(stage, span, started))
    }

    /// The attempt was answered: its request is written. Says how long its dial took, where there was one.
    pub(crate) fn answered(&mut self, verdict: Verdict, status: Option<u16>) -> Option<Duration> {
        self.request_written = true;
        let mut live = self.live.take()?;
        live.end_span(None, verdict, true, status);
        live.connected
    }

    /// The attempt failed; says at which stage.
    pub(crate) fn failed(&mut self, fault: Fault, verdict: Verdict, written: bool) -> Stage {
        let stage = self.live.as_ref().map_or(Stage::ConnectDial, |live| live.stage);
        let failure = fault.at(stage);
        if let Some(live) = &mut self.live {
            live.end_span(Some(&failure), verdict, written, None);
        }
        self.failure = Some(failure);
        self.request_written = written;
        stage
    }

    /// The target may not be asked for. The attempt did nothing and is nobody's failure, so it leaves no facts.
    pub(crate) fn denied(&mut self, verdict: Verdict) {
        if let Some(mut live) = self.live.take() {
            live.end_span(None, verdict, false, None);
        }
        self.node = None;
    }

    /// Another attempt follows the failed one.
    pub(crate) fn retried(&mut self) {
        if let (Some(live), Some(node), Some(failure)) =
            (self.live.take(), self.node.take(), self.failure.take())
        {
            let duration = live.started.elapsed();
            self.retries.push(AttemptFacts {
                node,
                failure,
                request_written: self.request_written,
                reused_connection: live.reused,
                started_at: SystemTime::now() - duration,
                duration,
            });
        }
    }

    /// The client left in the middle of an attempt; says at which stage. By now whatever was under way has been dropped,
    /// so nothing can be written any more.
    pub(crate) fn client_left(&mut self) -> Option<Stage> {
        let live = self.live.as_ref()?;
        if self.failure.is_some() {
            return None;
        }
        let written = live.wire.as_ref().is_some_and(|wire| wire.accepted() > 0);
        let fault = Fault::new(live.place.phase, ErrKind::Canceled, "the client went away");
        Some(self.failed(fault, Verdict::Canceled, written))
    }
}
