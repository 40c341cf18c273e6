//! The loop: one attempt after another, until one is answered or the boundary says no.
//!
//! This is the only place where a request goes out again, and it cannot without `request = whole`.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    attempt::{Errand, Failed},
    boundary::{End, Left, verdict},
    trail::{Progress, Trail},
};
use crate::{
    model::{ErrKind, Node, NodeHash, Verdict},
    routing,
    telemetry::{AttemptStart, Metrics, RequestSpan},
    upstream::Fault,
};

/// How long attempts may take until they have a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Each (`RESIN_CONNECT_TIMEOUT`).
    pub(crate) connect: Duration,
    /// All together (`RESIN_RETRY_DEADLINE`).
    pub(crate) deadline: Duration,
}

/// What a request is carried by.
pub(crate) struct Plan<'a> {
    pub(crate) nodes: &'a routing::Pool,
    pub(crate) limits: Limits,
    pub(crate) span: &'a RequestSpan,
    pub(crate) metrics: &'a Metrics,
    /// The upstream is told the trace (`RESIN_TRACE_PROPAGATE`).
    pub(crate) propagate: bool,
    /// Whether the client is known to be gone.
    pub(crate) client_left: &'a (dyn Fn() -> bool + Sync),
    pub(crate) method: &'a http::Method,
    pub(crate) host: &'a str,
    pub(crate) port: u16,
}

/// Why there is no answer. The failure itself is in the trail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// Nothing was routable for the first attempt.
    NoNodes,
    /// The last attempt failed.
    Failed,
    /// The target may not be asked for; nobody is to blame.
    Denied,
    /// The client left; nobody is to blame.
    ClientLeft,
}

/// Carries `request` through the platform's nodes.
pub(crate) async fn carry<E: Errand>(
    errand: &E,
    request: E::Request,
    plan: &Plan<'_>,
    trail: &mut Trail,
) -> Result<E::Answer, Ended> {
    match u32::try_from(plan.nodes.platform.max_retries) {
        Ok(retries) if retries > 0 => through_several(errand, request, retries, plan, trail).await,
        _ => through_one(errand, request, plan, trail).await,
    }
}

/// Retry is off: one attempt, and nothing is kept for another.
async fn through_one<E: Errand>(
    errand: &E,
    mut request: E::Request,
    plan: &Plan<'_>,
    trail: &mut Trail,
) -> Result<E::Answer, Ended> {
    let node = plan.nodes.pick(&[], fastrand_below).ok_or(Ended::NoNodes)?;
    let now = Instant::now();
    let deadline = now + plan.limits.connect.min(plan.limits.deadline);
    let progress = plan.begin(errand, &mut request, node, 1, now, trail);
    let left = Left { enabled: false, retries: 0, untried_nodes: 0, deadline };
    match errand.attempt(request, node, deadline, progress).await {
        Ok(answer) => {
            plan.answered(E::status(&answer), left, trail);
            Ok(answer)
        }
        Err(failed) => Err(plan.failed(failed, left, trail).1),
    }
}

async fn through_several<E: Errand>(
    errand: &E,
    mut request: E::Request,
    retries: u32,
    plan: &Plan<'_>,
    trail: &mut Trail,
) -> Result<E::Answer, Ended> {
    let mut now = Instant::now();
    let deadline = now + plan.limits.deadline;
    let mut tried: Vec<NodeHash> = Vec::new();
    let mut retries_left = retries;
    let mut untried = plan.nodes.nodes.len();
    loop {
        let node = plan.nodes.pick(&tried, fastrand_below).ok_or(Ended::NoNodes)?;
        let until = share(now, deadline, plan.limits.connect, retries_left, untried);
        let progress = plan.begin(errand, &mut request, node, retries - retries_left + 1, now, trail);
        untried -= 1;
        let left = Left { enabled: true, retries: retries_left, untried_nodes: untried, deadline };
        match errand.attempt(request, node, until, progress).await {
            Ok(answer) => {
                plan.answered(E::status(&answer), left, trail);
                return Ok(answer);
            }
            Err(failed) => {
                match plan.failed(failed, left, trail) {
                    (Some(whole), _) => request = whole,
                    (None, ended) => return Err(ended),
                }
                plan.metrics.retried();
                trail.retried();
                tried.push(node.hash);
                retries_left -= 1;
                now = Instant::now();
            }
        }
    }
}

/// When this attempt must have its connection, so that it cannot eat the time of those that may follow.
fn share(now: Instant, deadline: Instant, connect: Duration, retries_left: u32, untried: usize) -> Instant {
    let attempts_left = (retries_left + 1).min(u32::try_from(untried).unwrap_or(u32::MAX)).max(1);
    now + connect.min(deadline.saturating_duration_since(now) / attempts_left)
}

fn fastrand_below(limit: usize) -> usize {
    fastrand::usize(..limit)
}

impl Plan<'_> {
    /// An attempt begins: its span, and the upstream's knowledge of it.
    fn begin<'t, E: Errand>(
        &self,
        errand: &E,
        request: &mut E::Request,
        node: &Arc<Node>,
        number: u32,
        now: Instant,
        trail: &'t mut Trail,
    ) -> &'t mut Progress {
        let span = self.span.attempt(&AttemptStart {
            number,
            node,
            platform: &self.nodes.name,
            method: self.method.as_str(),
            host: self.host,
            port: self.port,
        });
        if self.propagate {
            errand.tell_trace(request, &span);
        }
        trail.begin(node, errand.stage(), span, now)
    }

    fn answered(&self, status: Option<u16>, left: Left, trail: &mut Trail) {
        // No verdict on an answer depends on the time.
        let verdict = verdict(End::Answered, left, left.deadline);
        let connected = trail.answered(verdict, status);
        self.metrics.attempt_answered(connected);
    }

    /// Judges a failure. The request comes back exactly when it is to be carried on.
    fn failed<R>(&self, failed: Failed<R>, left: Left, trail: &mut Trail) -> (Option<R>, Ended) {
        let client_left = (self.client_left)();
        let (request, fault, end) = match failed {
            Failed::Sent { fault } => {
                (None, fault, if client_left { End::ClientLeft } else { End::Uncertain })
            }
            Failed::Unsent { request, fault } if client_left => (Some(request), fault, End::ClientLeft),
            Failed::Unsent { request, fault } if fault.denied => (Some(request), fault, End::Denied),
            Failed::Unsent { request, fault } if fault.exhausted => (Some(request), fault, End::Exhausted),
            Failed::Unsent { request, fault } => (Some(request), fault, End::Unwritten),
        };
        let verdict = verdict(end, left, Instant::now());
        if end == End::Denied {
            trail.denied(verdict);
            return (None, Ended::Denied);
        }
        let (fault, ended) = match end {
            End::ClientLeft => {
                (Fault::new(fault.phase, ErrKind::Canceled, "the client went away"), Ended::ClientLeft)
            }
            _ => (fault, Ended::Failed),
        };
        let kind = fault.kind;
        let stage = trail.failed(fault, verdict, request.is_none());
        self.metrics.attempt_failed(stage, kind, verdict);
        (request.filter(|_| verdict == Verdict::Retried), ended)
    }
}

#[cfg(test)]
mod tests;
