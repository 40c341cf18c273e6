//! The ops port: `GET /livez`, `/readyz`, `/metrics`. It answers from the start to the very end.

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::{net::TcpListener, sync::watch};
use tokio_util::sync::CancellationToken;

use super::Metrics;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Whether traffic may be sent here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readiness {
    NotReady(&'static str),
    Ready,
}

#[derive(Clone)]
struct Ops {
    metrics: Metrics,
    readiness: watch::Receiver<Readiness>,
}

/// Serves until `stop`.
pub async fn serve(
    listener: TcpListener,
    metrics: Metrics,
    readiness: watch::Receiver<Readiness>,
    stop: CancellationToken,
) {
    let router = Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(show_metrics))
        .with_state(Ops { metrics, readiness });
    let served = axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await;
    if let Err(error) = served {
        tracing::error!(%error, "the ops port has ended");
    }
}

async fn readyz(State(ops): State<Ops>) -> Response {
    match *ops.readiness.borrow() {
        Readiness::Ready => "ok\n".into_response(),
        Readiness::NotReady(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response(),
    }
}

async fn show_metrics(State(ops): State<Ops>) -> Response {
    ([(CONTENT_TYPE, OPEN_METRICS)], ops.metrics.encode()).into_response()
}
