//! The Prometheus metrics, with handles that are kept: no label is looked up for a request that went well.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::AtomicI64,
    },
    time::Duration,
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric, text::encode},
    metrics::{
        MetricType,
        counter::{ConstCounter, Counter},
        family::Family,
        gauge::{ConstGauge, Gauge},
        histogram::Histogram,
    },
    registry::Registry,
};

use crate::model::{ErrKind, ResinError, Stage, Verdict};

const REQUEST_SECONDS: [f64; 14] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0];
const CONNECT_SECONDS: [f64; 11] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0];

/// Which of the three paths a request took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Path {
    Forward,
    Connect,
    Reverse,
}

const PATHS: [Path; 3] = [Path::Forward, Path::Connect, Path::Reverse];
const CLASSES: [&str; 6] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    path: &'static str,
    code: &'static str,
    error: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AttemptLabels {
    stage: &'static str,
    kind: &'static str,
    verdict: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PathLabels {
    path: &'static str,
}

/// Every metric. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Metrics(Arc<Inner>);

struct Inner {
    registry: parking_lot::RwLock<Registry>,
    requests: Family<RequestLabels, Counter>,
    /// By path and class of status, for requests without an error of ours.
    fine_requests: Vec<Counter>,
    request_seconds: [Histogram; 3],
    attempts: Family<AttemptLabels, Counter>,
    answered: Counter,
    retries: Counter,
    connect_seconds: Histogram,
    open_tunnels: Gauge<i64, AtomicI64>,
    idle_connections: Gauge<i64, AtomicI64>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    #[must_use]
    pub fn new() -> Self {
        let mut registry = Registry::default();
        let requests = Family::<RequestLabels, Counter>::default();
        registry.register("resin_requests", "Finished requests", requests.clone());
        let fine_requests = PATHS
            .iter()
            .flat_map(|path| CLASSES.iter().map(|code| RequestLabels { path: path.label(), code, error: "" }))
            .map(|labels| requests.get_or_create_owned(&labels))
            .collect();
        let seconds = Family::<PathLabels, Histogram>::new_with_constructor(|| Histogram::new(REQUEST_SECONDS));
        registry.register("resin_request_duration_seconds", "From a request's head to its end", seconds.clone());
        let request_seconds = PATHS.map(|path| seconds.get_or_create_owned(&PathLabels { path: path.label() }));
        let attempts = Family::<AttemptLabels, Counter>::default();
        registry.register("resin_attempts", "Finished attempts", attempts.clone());
        let fine = AttemptLabels { stage: "", kind: "", verdict: Verdict::Answered.as_str() };
        let answered = attempts.get_or_create_owned(&fine);
        let retries = Counter::default();
        registry.register("resin_retries", "Attempts that followed a failed one", retries.clone());
        let connect_seconds = Histogram::new(CONNECT_SECONDS);
        let help = "From the begin of a dial to an open connection";
        registry.register("resin_attempt_connect_seconds", help, connect_seconds.clone());
        let open_tunnels = Gauge::default();
        registry.register("resin_open_tunnels", "Tunnels that stand", open_tunnels.clone());
        let idle_connections = Gauge::default();
        registry.register("resin_idle_connections", "Idle upstream connections", idle_connections.clone());
        Self(Arc::new(Inner {
            registry: parking_lot::RwLock::new(registry),
            requests,
            fine_requests,
            request_seconds,
            attempts,
            answered,
            retries,
            connect_seconds,
            open_tunnels,
            idle_connections,
        }))
    }

    pub fn request_done(&self, path: Path, status: u16, error: Option<ResinError>, duration: Duration) {
        let class = usize::from(status / 100).min(5);
        match error {
            None => self.0.fine_requests[path as usize * CLASSES.len() + class].inc(),
            Some(error) => {
                let labels = RequestLabels { path: path.label(), code: CLASSES[class], error: error.as_str() };
                self.0.requests.get_or_create(&labels).inc()
            }
        };
        self.0.request_seconds[path as usize].observe(duration.as_secs_f64());
    }

    /// An attempt was answered; `connect` is how long its dial took, where there was one.
    pub fn attempt_answered(&self, connect: Option<Duration>) {
        self.0.answered.inc();
        if let Some(connect) = connect {
            self.0.connect_seconds.observe(connect.as_secs_f64());
        }
    }

    pub fn attempt_failed(&self, stage: Stage, kind: ErrKind, verdict: Verdict) {
        let labels = AttemptLabels { stage: stage.as_str(), kind: kind.as_str(), verdict: verdict.as_str() };
        self.0.attempts.get_or_create(&labels).inc();
    }

    pub fn retried(&self) {
        self.0.retries.inc();
    }

    /// A tunnel stands until the guard is dropped.
    #[must_use]
    pub fn tunnel_opened(&self) -> TunnelGuard {
        self.0.open_tunnels.inc();
        TunnelGuard(self.0.open_tunnels.clone())
    }

    /// So many idle upstream connections more, or less.
    pub fn idle_connections(&self, change: i64) {
        self.0.idle_connections.inc_by(change);
    }

    /// Shows what the log's parts count themselves: records waiting, written, lost.
    pub fn observe_log(
        &self,
        waiting: impl Fn() -> u64 + Send + Sync + 'static,
        written: impl Fn() -> u64 + Send + Sync + 'static,
        lost: impl Fn() -> u64 + Send + Sync + 'static,
    ) {
        let log = Log { waiting: Box::new(waiting), written: Box::new(written), lost: Box::new(lost) };
        self.0.registry.write().register_collector(Box::new(log));
    }

    /// OpenMetrics text.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut text = String::new();
        match encode(&mut text, &self.0.registry.read()) {
            Ok(()) => text,
            Err(fmt::Error) => String::new(),
        }
    }
}

impl Path {
    fn label(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::Connect => "connect",
            Self::Reverse => "reverse",
        }
    }
}

/// A tunnel that is counted as open.
#[derive(Debug)]
pub struct TunnelGuard(Gauge<i64, AtomicI64>);

impl Drop for TunnelGuard {
    fn drop(&mut self) {
        self.0.dec();
    }
}

type Count = Box<dyn Fn() -> u64 + Send + Sync>;

struct Log {
    waiting: Count,
    written: Count,
    lost: Count,
}

impl Collector for Log {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let waiting = ConstGauge::new(i64::try_from((self.waiting)()).unwrap_or(i64::MAX));
        let help = "Finished records that wait in memory";
        waiting.encode(encoder.encode_descriptor("resin_log_queue_records", help, None, MetricType::Gauge)?)?;
        let help = "Finished records by what became of them";
        let mut records = encoder.encode_descriptor("resin_log_records", help, None, MetricType::Counter)?;
        for (outcome, count) in [("written", (self.written)()), ("lost", (self.lost)())] {
            ConstCounter::new(count).encode(records.encode_family(&[("outcome", outcome)])?)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Log")
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}


#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_of_the_contract_is_shown_under_its_name() {
        let metrics = Metrics::new();
        metrics.observe_log(|| 3, || 4, || 5);
        metrics.request_done(Path::Forward, 200, None, Duration::from_millis(3));
        metrics.request_done(Path::Connect, 502, Some(ResinError::UpstreamConnectFailed), Duration::ZERO);
        metrics.attempt_answered(Some(Duration::from_millis(1)));
        metrics.attempt_failed(Stage::ConnectDial, ErrKind::Timeout, Verdict::Retried);
        metrics.retried();
        let guard = metrics.tunnel_opened();
        metrics.idle_connections(2);
        let text = metrics.encode();
        for line in [
            "resin_requests_total{path=\"forward\",code=\"2xx\",error=\"\"} 1",
            "resin_requests_total{path=\"connect\",code=\"5xx\",error=\"UPSTREAM_CONNECT_FAILED\"} 1",
            "resin_attempts_total{stage=\"connect_dial\",kind=\"timeout\",verdict=\"retried\"} 1",
            "resin_retries_total 1",
            "resin_request_duration_seconds_count{path=\"forward\"} 1",
            "resin_attempt_connect_seconds_count 1",
            "resin_open_tunnels 1",
            "resin_idle_connections 2",
            "resin_log_queue_records 3",
            "resin_log_records_total{outcome=\"written\"} 4",
            "resin_log_records_total{outcome=\"lost\"} 5",
        ] {
            assert!(text.lines().any(|shown| shown == line), "{line} is missing in\n{text}");
        }
        drop(guard);
        assert!(metrics.encode().contains("resin_open_tunnels 0"));
    }
}
