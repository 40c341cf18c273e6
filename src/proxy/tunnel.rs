//! CONNECT: one tunnel from top to bottom; and what follows a 101.
//!
//! Until the tunnel stands, failures are tried elsewhere as the boundary allows. From the 200 on nothing is.

use std::{
    future::poll_fn,
    sync::Arc,
    task::{Context, Poll},
};

use http::StatusCode;

use super::{
    answer,
    body::ProxyBody,
    client::Client,
    downstream::Downstream,
    entry::Entry,
    flaw::Flaw,
    identity::Identity,
    message::{Request, Response},
    recording::{Outcome, Recording},
    relay::{Broken, Flow},
    roster::TunnelTicket,
    service::Served,
    target,
    worker::Worker,
};
use crate::{
    model::{Authority, ErrKind, Name, Phase, ResinError, Stage},
    retry::{Ended, OpenTunnel, Plan, carry},
    routing,
    telemetry::TunnelGuard,
    upstream::{Fault, Link, Pulse},
};

/// Answers a CONNECT request.
pub(crate) async fn serve(worker: &Arc<Worker>, client: &Arc<Client>, request: Request) -> Served {
    let mut recording = Recording::begin(worker, client, &request, Entry::Connect);
    let (pool, authority) = match route(worker, &request, &mut recording) {
        Ok(route) => route,
        Err(error) => return refuse(recording, error).into(),
    };
    let Some(ticket) = worker.roster.admit_tunnel() else {
        return too_many(worker, recording).into();
    };
    let errand = OpenTunnel { dialer: &worker.dialer, authority: &authority };
    let left = || client.has_left();
    let host = authority.host.to_string();
    let plan = Plan {
        nodes: &pool,
        limits: worker.limits,
        span: &recording.span,
        metrics: &worker.metrics,
        propagate: false,
        client_left: &left,
        method: &request.method,
        host: &host,
        port: authority.port,
    };
    match carry(&errand, (), &plan, &mut recording.trail).await {
        Ok(link) => {
            recording.status(StatusCode::OK.as_u16());
            recording.trail.request_written = false;
            let tunnel = Tunnel::new(worker, link, recording, Kind::Connect, ticket);
            Served {
                response: Response::new(StatusCode::OK, ProxyBody::empty()),
                tunnel: Some(Box::new(tunnel)),
            }
        }
        Err(Ended::NoNodes) => refuse(recording, ResinError::NoAvailableNodes).into(),
        Err(Ended::Denied) => refuse(recording, ResinError::TargetDenied).into(),
        Err(Ended::Failed) => {
            let error = answer::code(recording.trail.failure.as_ref(), Entry::Connect);
            refuse(recording, error).into()
        }
        // Nobody will read this.
        Err(Ended::ClientLeft) => {
            drop(recording);
            answer::refuse(ResinError::UpstreamConnectFailed, Entry::Connect, None).into()
        }
    }
}

/// Credentials, then platform, then target.
fn route(
    worker: &Worker,
    request: &Request,
    recording: &mut Recording,
) -> Result<(Arc<routing::Pool>, Authority), ResinError> {
    let identity = Identity::of_proxy(&request.fields, &worker.token)?;
    let pool = recording.asked_by(identity)?;
    let authority = target::connect(&request.uri)?;
    let written = request.uri.authority().map_or("", http::uri::Authority::as_str);
    recording.aimed_at(&authority, written, None);
    if worker.dialer.refuses(&authority) {
        return Err(ResinError::TargetDenied);
    }
    Ok((pool, authority))
}

fn refuse(mut recording: Box<Recording>, error: ResinError) -> Response {
    let response = answer::refuse(error, Entry::Connect, recording.trail.failure.as_ref());
    recording.refused(error, response.status.as_u16());
    if response.fields.has(Name::ProxyAuthenticate) {
        return response;
    }
    // What a client sent ahead was meant for the tunnel: it must not be read as its next request.
    response.closing()
}

/// No room for another tunnel.
pub(crate) fn too_many(worker: &Worker, mut recording: Box<Recording>) -> Response {
    let most = worker.roster.limits.tunnels;
    let sentence = format!("{most} tunnels are open (RESIN_MAX_TUNNELS)");
    let flaw = Flaw { status: StatusCode::SERVICE_UNAVAILABLE, ..Flaw::malformed(sentence) };
    recording.status(flaw.status.as_u16());
    recording.ended(Outcome::Whole);
    answer::flawed(&flaw)
}

/// What a tunnel came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Connect,
    /// A 101 on forward or reverse, with the stage that its failures have.
    Upgrade(Stage),
}

/// A tunnel, with its record in tow.
pub(crate) struct Tunnel {
    worker: Arc<Worker>,
    link: Link,
    up: Flow,
    down: Flow,
    recording: Box<Recording>,
    kind: Kind,
    pulse: Arc<Pulse>,
    open: Option<TunnelGuard>,
    _ticket: TunnelTicket,
}

/// How a tunnel ended.
enum TunnelEnd {
    /// Both sides closed.
    Clean,
    Upstream(Fault, Stage),
    Client,
    Idle,
}

impl Tunnel {
    pub(crate) fn new(
        worker: &Arc<Worker>,
        link: Link,
        recording: Box<Recording>,
        kind: Kind,
        ticket: TunnelTicket,
    ) -> Self {
        Self {
            worker: Arc::clone(worker),
            link,
            up: Flow::default(),
            down: Flow::default(),
            recording,
            kind,
            pulse: worker.watchdog.watch(None, None),
            open: None,
            _ticket: ticket,
        }
    }

    /// Lets it run on this thread, in a task that is as large as the tunnel and no larger.
    pub(crate) fn begin(mut self: Box<Self>, client: Downstream) {
        tokio::spawn(async move {
            match client.open().await {
                Ok(client) => self.runs(client).await,
                Err(_) => self.client_left(),
            }
        });
    }

    /// The client left before its answer was written.
    pub(crate) fn client_left(mut self: Box<Self>) {
        let stage = self.stage(Stage::ConnectHijack);
        let failure = Fault::new(Phase::Tunnel, ErrKind::Canceled, "the client went away").at(stage);
        self.recording.ended(Outcome::Ended { failure, net_ok: true });
    }

    async fn runs(&mut self, mut client: Downstream) {
        self.open = Some(self.worker.metrics.tunnel_opened());
        let end = poll_fn(|cx| self.poll(cx, &mut client)).await;
        if matches!(end, TunnelEnd::Upstream(..)) {
            // The client must not take what it has for the whole.
            client.reset();
        }
        let outcome = self.outcome(end);
        self.recording.ended(outcome);
    }

    fn poll(&mut self, cx: &mut Context<'_>, client: &mut Downstream) -> Poll<TunnelEnd> {
        self.pulse.waker.register(cx.waker());
        if self.pulse.is_expired() {
            return Poll::Ready(TunnelEnd::Idle);
        }
        let moved = self.moves(cx, client);
        if self.up.has_moved() | self.down.has_moved() {
            self.pulse.beat();
        }
        moved
    }

    fn moves(&mut self, cx: &mut Context<'_>, client: &mut Downstream) -> Poll<TunnelEnd> {
        let Self { worker, link, up, down, .. } = self;
        match up.poll(cx, client, link, &worker.buffers, down.is_closed()) {
            Poll::Ready(Err(Broken::Read(_))) => return Poll::Ready(TunnelEnd::Client),
            Poll::Ready(Err(Broken::Write(error))) => {
                let fault = Fault::io(Phase::Tunnel, &error, ErrKind::WriteError);
                return Poll::Ready(TunnelEnd::Upstream(fault, Stage::ConnectClientToUpstreamCopy));
            }
            Poll::Ready(Ok(())) | Poll::Pending => {}
        }
        match down.poll(cx, link, client, &worker.buffers, up.is_closed()) {
            Poll::Ready(Err(Broken::Write(_))) => return Poll::Ready(TunnelEnd::Client),
            Poll::Ready(Err(Broken::Read(error))) => {
                let fault = Fault::io(Phase::Tunnel, &error, ErrKind::ReadError);
                return Poll::Ready(TunnelEnd::Upstream(fault, Stage::ConnectUpstreamToClientCopy));
            }
            Poll::Ready(Ok(())) | Poll::Pending => {}
        }
        if up.is_closed() && down.is_closed() { Poll::Ready(TunnelEnd::Clean) } else { Poll::Pending }
    }

    fn outcome(&self, end: TunnelEnd) -> Outcome {
        match end {
            TunnelEnd::Clean => self.clean_end(),
            TunnelEnd::Upstream(fault, stage) => {
                Outcome::Ended { failure: fault.at(self.stage(stage)), net_ok: false }
            }
            TunnelEnd::Client => {
                let fault = Fault::new(Phase::Tunnel, ErrKind::Canceled, "the client went away");
                let stage = self.stage(Stage::ConnectUpstreamToClientCopy);
                Outcome::Ended { failure: fault.at(stage), net_ok: true }
            }
            TunnelEnd::Idle => {
                let fault = Fault::timeout(Phase::Tunnel, "nothing moved in the tunnel");
                let stage = self.stage(Stage::ConnectUpstreamToClientCopy);
                Outcome::Ended { failure: fault.at(stage), net_ok: true }
            }
        }
    }

    /// Clean ends that have a name: nothing moved at all, or only one way.
    fn clean_end(&self) -> Outcome {
        let (stage, what, net_ok) = match (self.kind, self.up.bytes, self.down.bytes) {
            (Kind::Connect, 0, 0) => (Stage::ConnectZeroTraffic, "closed without a byte either way", true),
            (Kind::Connect, _, 0) => {
                (Stage::ConnectNoIngressTraffic, "closed without a byte from the upstream", false)
            }
            (Kind::Connect, 0, _) => {
                (Stage::ConnectNoEgressTraffic, "closed without a byte from the client", true)
            }
            _ => return Outcome::Whole,
        };
        let fault = Fault::new(Phase::Tunnel, ErrKind::Eof, what);
        Outcome::Ended { failure: fault.at(stage), net_ok }
    }

    fn stage(&self, connect: Stage) -> Stage {
        match self.kind {
            Kind::Connect => connect,
            Kind::Upgrade(stage) => stage,
        }
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        self.recording.moved(self.down.bytes, self.up.bytes);
        if self.kind == Kind::Connect {
            self.recording.trail.request_written = self.up.bytes > 0;
        }
        if !self.recording.is_over() {
            // Our own drain ended it.
            let fault = Fault::new(Phase::Tunnel, ErrKind::Canceled, "the proxy was stopped");
            let stage = self.stage(Stage::ConnectUpstreamToClientCopy);
            self.recording.ended(Outcome::Ended { failure: fault.at(stage), net_ok: true });
        }
    }
}
