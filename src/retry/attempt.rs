//! One try to carry a request through one node: an exchange of request and answer, or the opening of a tunnel.
//!
//! Sees to the pool of idle connections: where a connection that was used before turns out to be dead with nothing
//! written, the same node is dialled afresh, once. That is not another attempt.

use std::sync::Arc;

use tokio::time::Instant;

use super::trail::Progress;
use crate::{
    model::{Authority, Node, Stage},
    telemetry::AttemptSpan,
    upstream::{
        Answered, Connection, Death, Destination, Dialer, Fault, Found, Key, Link, Patience, Place, Pool,
        SendFailure, Unsent,
    },
};

/// Something that is carried through a node.
pub(crate) trait Errand {
    /// What must not be lost, and not be sent twice.
    type Request: Send;
    type Answer: Send;

    /// How a failure of this errand is named.
    fn stage(&self) -> Stage;

    /// Tells the upstream the attempt's trace.
    fn tell_trace(&self, request: &mut Self::Request, span: &AttemptSpan);

    /// The status of the upstream's answer, where it has one.
    fn status(answer: &Self::Answer) -> Option<u16>;

    /// One try. `until` bounds the connection phase.
    fn attempt(
        &self,
        request: Self::Request,
        node: &Node,
        until: Instant,
        progress: &mut Progress,
    ) -> impl Future<Output = Result<Self::Answer, Failed<Self::Request>>> + Send;
}

/// Why an attempt has no answer.
#[derive(Debug)]
pub(crate) enum Failed<R> {
    /// Nothing of it was written. The request is whole, and here it is.
    Unsent { request: R, fault: Fault },
    /// The upstream may have seen it; there is no request to hand back.
    Sent { fault: Fault },
}

/// A request that is answered by a response.
pub(crate) struct Exchange<'a> {
    pub(crate) dialer: &'a Dialer,
    pub(crate) pool: &'a Arc<Pool>,
    pub(crate) destination: &'a Arc<Destination>,
    pub(crate) patience: Patience,
    pub(crate) stage: Stage,
}

/// A response's head, and what its body will need.
pub(crate) struct Answer {
    pub(crate) answered: Answered,
    /// Where its connection belongs.
    pub(crate) key: Key,
}

impl Errand for Exchange<'_> {
    type Request = Box<Unsent>;
    type Answer = Answer;

    fn stage(&self) -> Stage {
        self.stage
    }

    fn tell_trace(&self, request: &mut Box<Unsent>, span: &AttemptSpan) {
        span.inject(&mut request.fields);
    }

    fn status(answer: &Answer) -> Option<u16> {
        Some(answer.answered.head.status.as_u16())
    }

    async fn attempt(
        &self,
        request: Box<Unsent>,
        node: &Node,
        until: Instant,
        progress: &mut Progress,
    ) -> Result<Answer, Failed<Box<Unsent>>> {
        let key = Key { node: node.hash, destination: Arc::clone(self.destination) };
        let mut request = request;
        match self.pool.take(&key) {
            Found::Alive(connection) => {
                progress.reused = true;
                let life = connection.life();
                let died = |death| life.map_or((), |life| self.pool.died(&key, life, death));
                match self.send(connection, request, progress).await {
                    Ok(answered) => return Ok(Answer { answered, key }),
                    Err(SendFailure::Sent { fault }) => {
                        if fault.is_hang_up() {
                            died(Death::Lost);
                        }
                        return Err(Failed::Sent { fault });
                    }
                    Err(SendFailure::Unsent { request: whole, .. }) => {
                        died(Death::Seen);
                        request = whole;
                    }
                }
                progress.reused = false;
                progress.stale = true;
            }
            Found::Stale => progress.stale = true,
            Found::Nothing => {}
        }
        progress.wire = None;
        let began = Instant::now();
        // Most requests dial nobody: what a dial needs is not to be a part of every request.
        let connection = match Box::pin(self.connect(node, until, &mut progress.place)).await {
            Ok(connection) => connection,
            Err(fault) => return Err(Failed::Unsent { request, fault }),
        };
        progress.connected = Some(began.elapsed());
        match self.send(connection, request, progress).await {
            Ok(answered) => Ok(Answer { answered, key }),
            Err(SendFailure::Sent { fault }) => Err(Failed::Sent { fault }),
            Err(SendFailure::Unsent { request, fault }) => Err(Failed::Unsent { request, fault }),
        }
    }
}

impl Exchange<'_> {
    async fn connect(&self, node: &Node, until: Instant, place: &mut Place) -> Result<Connection, Fault> {
        let link = self.dialer.open(&node.config, self.destination, until, place).await?;
        Ok(Connection::over(link))
    }

    async fn send(
        &self,
        connection: Connection,
        request: Box<Unsent>,
        progress: &mut Progress,
    ) -> Result<Answered, SendFailure> {
        progress.place.peer = Some(connection.wire().peer());
        progress.wire = Some(Arc::clone(connection.wire()));
        connection.send(request, self.patience, &mut progress.place.phase).await
    }
}

/// A tunnel that is asked for by CONNECT. There is nothing to write yet, so every failure is unwritten.
pub(crate) struct OpenTunnel<'a> {
    pub(crate) dialer: &'a Dialer,
    pub(crate) authority: &'a Authority,
}

impl Errand for OpenTunnel<'_> {
    type Request = ();
    type Answer = Link;

    fn stage(&self) -> Stage {
        Stage::ConnectDial
    }

    fn tell_trace(&self, (): &mut (), _: &AttemptSpan) {}

    fn status(_: &Link) -> Option<u16> {
        None
    }

    async fn attempt(
        &self,
        (): (),
        node: &Node,
        until: Instant,
        progress: &mut Progress,
    ) -> Result<Link, Failed<()>> {
        match self.dialer.tunnel(&node.config, self.authority, until, &mut progress.place).await {
            Ok(link) => {
                progress.connected = Some(progress.started.elapsed());
                progress.wire = Some(Arc::clone(link.wire()));
                Ok(link)
            }
            Err(fault) => Err(Failed::Unsent { request: (), fault }),
        }
    }
}

#[cfg(test)]
mod tests;
