//! One client's HTTP/2 connection, spoken by hyper: its streams are requests that are served side by side.

use std::{
    convert::Infallible,
    future::poll_fn,
    io,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method};
use http_body::Body;
use http_body_util::BodyExt;
use hyper::{body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, sleep},
};

use super::{
    body::ProxyBody,
    client::Client,
    downstream::Downstream,
    headers,
    message::{Request, Response},
    refusal,
    roster::Due,
    service::{self, Served},
    worker::Worker,
};
use crate::{
    model::Fields,
    upstream::{BrokenOff, Counted},
};

/// What a client begins with that speaks HTTP/2 without being asked (RFC 9113, section 3.4).
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The drain has its own limit.
const FOREVER: Duration = Duration::from_secs(86_400 * 365);

/// Serves streams until the connection is over.
pub(super) async fn speak(worker: Arc<Worker>, client: Arc<Client>) {
    let (draining, patience) = (worker.drain.draining(), worker.patience.idle);
    let (streams, bytes) = (worker.roster.limits.streams, worker.roster.limits.head.bytes);
    let (each, of) = (Arc::clone(&worker), Arc::clone(&client));
    let service = service_fn(move |request| answer_one(Arc::clone(&each), Arc::clone(&of), request));
    let io = Begun { read: client.multiplex(), io: client.io() };
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(streams)
        .max_header_list_size(u32::try_from(bytes).unwrap_or(u32::MAX))
        .serve_connection(TokioIo::new(io), service);
    let mut connection = pin!(connection);
    // The first call to leave is a polite one, and gives the other streams time to end.
    let (mut told, mut last) = (false, pin!(sleep(patience)));
    loop {
        let time_to_end = tokio::select! {
            biased;
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "a client's connection ended");
                }
                return;
            }
            () = poll_fn(|cx| client.hang_up.poll(cx)) => patience,
            () = poll_fn(|cx| client.called.poll(cx)) => match worker.roster.due(&client) {
                Due::End => patience,
                Due::Nothing | Due::Rest => continue,
            },
            () = draining.cancelled(), if !told => FOREVER,
            () = last.as_mut(), if told => return,
        };
        if std::mem::replace(&mut told, true) {
            return;
        }
        last.as_mut().reset(Instant::now() + time_to_end);
        connection.as_mut().graceful_shutdown();
    }
}

async fn answer_one(
    worker: Arc<Worker>,
    client: Arc<Client>,
    mut request: http::Request<Incoming>,
) -> Result<http::Response<ProxyBody>, Infallible> {
    let (busy, _) = client.begin();
    let on_upgrade = (request.method() == Method::CONNECT).then(|| hyper::upgrade::on(&mut request));
    let request = incoming(request);
    if let Some(flaw) = headers::flaw(&request.uri, &request.fields) {
        return Ok(outgoing(refusal::answer(&worker, &client, &request, &flaw)).map(|body| body.of(busy)));
    }
    let Served { response, tunnel } = service::serve(&worker, &client, request).await;
    if let Some((tunnel, on_upgrade)) = tunnel.zip(on_upgrade) {
        tunnel.begin(Downstream::Awaited(on_upgrade, client.begin().0));
    }
    Ok(outgoing(response).map(|body| body.of(busy)))
}

fn incoming(request: http::Request<Incoming>) -> Request {
    let (head, body) = request.into_parts();
    let mut fields = Fields::with_room(head.headers.len());
    for (name, value) in &head.headers {
        fields.push(name.as_str(), value.as_bytes());
    }
    let body = (!body.is_end_stream()).then(|| body.map_err(|_| BrokenOff).boxed_unsync());
    Request { method: head.method, uri: head.uri, pathless: false, version: head.version, fields, body }
}

fn outgoing(response: Response) -> http::Response<ProxyBody> {
    let mut answer = http::Response::new(response.body);
    *answer.status_mut() = response.status;
    for field in response.fields.iter() {
        // What came as a field can go as one.
        let name = HeaderName::from_bytes(field.written);
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(field.value)) {
            answer.headers_mut().append(name, value);
        }
    }
    answer
}

/// The connection with what was read of it in front.
struct Begun {
    read: Bytes,
    io: Counted,
}

impl AsyncRead for Begun {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.read.is_empty() {
            return Pin::new(&mut self.io).poll_read(cx, buf);
        }
        let bytes = self.read.len().min(buf.remaining());
        buf.put_slice(&self.read.split_to(bytes));
        if self.read.is_empty() {
            // An empty slice would still keep what it was cut from.
            self.read = Bytes::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Begun {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
