//! One client's HTTP/1.1 connection: a head is read, the request is served, its answer is written, and only then is the
//! next head looked at.
//!
//! It is one task, and nothing is read before somebody waits for it: what a client sends behind a request for a tunnel
//! is the tunnel's, or else nobody's.

mod answer;
mod body;
mod head;
mod inbound;
mod reader;

use std::{
    future::poll_fn,
    pin::pin,
    sync::Arc,
    task::{Context, Poll},
};

use http::Method;
use http_body_util::BodyExt;

use self::{
    answer::{Answer, Asked},
    body::RequestBody,
    head::Head,
};
pub(crate) use self::{head::HeadLimits, inbound::Inbound, reader::Reader};
use super::{
    client::Client,
    downstream::Downstream,
    flaw::Flaw,
    refusal,
    roster::Due,
    service::{self, Served},
    worker::Worker,
};
use crate::upstream::Pulse;

/// What a client's connection brings next.
enum Next {
    Request(Head),
    /// What came is no request.
    Flaw(Flaw),
    /// Nothing for a while.
    Rest,
    Over,
}

/// What follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    Another,
    /// The connection idles, and goes on when the client asks for more.
    Rest,
    /// The connection ends with this answer, but the client may still be sending.
    Linger,
    End,
}

/// Serves one request after the other until the connection is over.
pub(super) async fn speak(worker: &Arc<Worker>, client: &Arc<Client>) {
    // What is boxed here is what a connection at rest has no need of.
    while Box::pin(serve_awake(worker, client)).await == Then::Rest {
        if !poll_fn(|cx| poll_rest(worker, client, cx)).await {
            return;
        }
    }
}

/// The same until it has idled for a while.
async fn serve_awake(worker: &Arc<Worker>, client: &Arc<Client>) -> Then {
    loop {
        let head = match poll_fn(|cx| poll_next(worker, client, cx)).await {
            Next::Request(head) => head,
            Next::Flaw(flaw) => {
                Box::pin(refusal::refuse(worker, client, &flaw)).await;
                return Then::End;
            }
            Next::Rest => return Then::Rest,
            Next::Over => return Then::End,
        };
        match one(worker, client, head).await {
            Then::Another => {}
            Then::Linger => {
                Box::pin(client.linger()).await;
                return Then::End;
            }
            then => return then,
        }
    }
}

/// Ready when the client asks for more; or, as false, when it has had its time, or the drain begins.
fn poll_rest(worker: &Worker, client: &Client, cx: &mut Context<'_>) -> Poll<bool> {
    if client.inbound().poll_arrival(cx).is_ready() {
        return Poll::Ready(true);
    }
    let called = client.called.poll(cx).is_ready();
    let over = (called && worker.roster.due(client) == Due::End) || worker.drain.has_begun();
    if over { Poll::Ready(false) } else { Poll::Pending }
}

fn poll_next(worker: &Worker, client: &Client, cx: &mut Context<'_>) -> Poll<Next> {
    let head = client.inbound().poll_head(cx);
    match head {
        Poll::Ready(Ok(Some(head))) => return Poll::Ready(Next::Request(head)),
        Poll::Ready(Ok(None)) => return Poll::Ready(Next::Over),
        Poll::Ready(Err(flaw)) => return Poll::Ready(Next::Flaw(flaw)),
        Poll::Pending => {}
    }
    let called = client.called.poll(cx).is_ready();
    match if called { worker.roster.due(client) } else { Due::Nothing } {
        Due::Nothing => {}
        Due::Rest => return Poll::Ready(Next::Rest),
        // A head that has begun is told so; one that has not is not worth an answer.
        Due::End if client.inbound().head_since.is_some() => {
            return Poll::Ready(Next::Flaw(Flaw::slow_head()));
        }
        Due::End => return Poll::Ready(Next::Over),
    }
    if worker.drain.has_begun() && client.inbound().is_empty() {
        return Poll::Ready(Next::Over);
    }
    Poll::Pending
}

/// One request from its head to the last byte of its answer.
async fn one(worker: &Arc<Worker>, client: &Arc<Client>, head: Head) -> Then {
    let (busy, body) = client.begin();
    let has_body = body.is_some();
    client.hang_up.silence();
    let Head { mut request, manner } = head;
    let asked = Asked { manner, head_only: request.method == Method::HEAD };
    request.body = body
        .map(|number| RequestBody::new(Arc::clone(client), number, manner.expects_continue).boxed_unsync());
    let mut service = pin!(service::serve(worker, client, request));
    let served = poll_fn(|cx| match service.as_mut().poll(cx) {
        Poll::Ready(served) => Poll::Ready(Some(served)),
        Poll::Pending => poll_lost(worker, client, cx).map(|()| None),
    });
    let Some(Served { mut response, tunnel }) = served.await else { return Then::End };
    if manner.asks_tunnel && tunnel.is_none() && client.inbound().refuse_tunnel() {
        response = response.closing();
    }
    // Nobody wants the rest of a body whose request is answered already.
    let unwanted = has_body && response.body.is_own() && !passed_over(client).await;
    let keeps = manner.keeps && !unwanted && !worker.drain.has_begun();

    let mut answer = Answer::begin(response, busy, asked, keeps, client, tunnel.is_some());
    // Watches the last bytes: nothing else does when the body is over.
    let mut last: Option<(Arc<Pulse>, usize)> = None;
    let whole = poll_fn(|cx| match answer.poll(cx) {
        Poll::Ready(whole) => Poll::Ready(whole),
        Poll::Pending => {
            if let Some(bytes) = answer.last_bytes() {
                let watch = || (worker.watchdog.watch(Some(Arc::clone(&client.hang_up)), None), bytes);
                let (pulse, before) = last.get_or_insert_with(watch);
                if std::mem::replace(before, bytes) != bytes {
                    pulse.beat();
                }
            }
            poll_lost(worker, client, cx).map(|()| false)
        }
    })
    .await;
    if !whole {
        answer.cut();
    }
    let keeps = answer.keeps();
    // Here the record is made.
    drop(answer);
    match tunnel {
        Some(tunnel) if whole => {
            tunnel.begin(Downstream::Connection(client.to_tunnel()));
            Then::End
        }
        Some(tunnel) => {
            tunnel.client_left();
            Then::End
        }
        None if !whole => Then::End,
        None if keeps && (!has_body || passed_over(client).await) => Then::Another,
        None => Then::Linger,
    }
}

/// Whether all of the request's body has come by now; what nobody took of it is passed over.
async fn passed_over(client: &Client) -> bool {
    poll_fn(|cx| Poll::Ready(client.inbound().pass_over_body(cx))).await
}

/// Ready when nobody is there any more to be answered, or has stood still for too long.
fn poll_lost(worker: &Worker, client: &Client, cx: &mut Context<'_>) -> Poll<()> {
    if client.hang_up.poll(cx).is_ready() {
        return Poll::Ready(());
    }
    if client.called.poll(cx).is_ready() && worker.roster.due(client) == Due::End {
        return Poll::Ready(());
    }
    if let Poll::Ready(Err(_)) = client.poll_ahead(cx) {
        return Poll::Ready(());
    }
    client.inbound().poll_gone(cx)
}

#[cfg(test)]
mod tests;
