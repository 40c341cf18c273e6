//! One SERVER span per request and one CLIENT child per attempt, through the OpenTelemetry API.
//!
//! Off (no endpoint is set) it costs nothing but a look for `traceparent`. An unsampled request costs its trace id.

use std::{
    borrow::Cow,
    net::{IpAddr, SocketAddr},
    str,
    sync::Arc,
    time::{Duration, SystemTime},
};

use http::Method;
use opentelemetry::{
    Context, KeyValue,
    propagation::{Extractor, Injector, TextMapPropagator},
    trace::{
        Span as _, SpanBuilder, SpanContext, SpanKind, Status, TraceContextExt, Tracer as _,
        TracerProvider as _,
    },
};
use opentelemetry_sdk::{
    Resource,
    propagation::TraceContextPropagator,
    trace::{SdkTracer, SdkTracerProvider, Span},
};

use crate::model::{Failure, Fields, Name, Node, ResinError, Verdict};

/// How long spans may take to be flushed at the end.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(3);

/// Makes spans, or does not. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Tracing(Option<Arc<Live>>);

#[derive(Debug)]
struct Live {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
}

/// Why spans cannot be exported as the `OTEL_*` settings say.
#[derive(Debug, thiserror::Error)]
#[error("OTEL_EXPORTER_OTLP_ENDPOINT: {0}")]
pub struct TracingError(String);

/// The name of a request's span.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpanName {
    Forward,
    Connect,
    Reverse,
}

impl Tracing {
    /// Live where `OTEL_EXPORTER_OTLP_ENDPOINT` (or its `…_TRACES_…` form) is set. Must be called in a runtime that
    /// lives as long as this.
    pub fn from_env(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, TracingError> {
        let given = |name: &str| lookup(name).is_some_and(|text| !text.trim().is_empty());
        let wanted = given("OTEL_EXPORTER_OTLP_ENDPOINT") || given("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT");
        let disabled = lookup("OTEL_SDK_DISABLED").is_some_and(|text| text.eq_ignore_ascii_case("true"));
        let none = lookup("OTEL_TRACES_EXPORTER").is_some_and(|text| text == "none");
        if !wanted || disabled || none {
            return Ok(Self(None));
        }
        let exporter = opentelemetry_otlp::SpanExporter::builder().with_tonic();
        let exporter = exporter.build().map_err(|error| TracingError(error.to_string()))?;
        let mut resource = Resource::builder();
        let named = given("OTEL_SERVICE_NAME")
            || lookup("OTEL_RESOURCE_ATTRIBUTES").is_some_and(|text| text.contains("service.name="));
        if !named {
            resource = resource.with_service_name("resin");
        }
        let resource =
            resource.with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION"))).build();
        let provider =
            SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build();
        let tracer = provider.tracer("resin");
        Ok(Self(Some(Arc::new(Live { provider, tracer }))))
    }

    /// A request begins. Its trace is the client's where the client has one.
    #[must_use]
    pub fn request(
        &self,
        fields: &Fields,
        name: SpanName,
        method: &Method,
        started: SystemTime,
    ) -> RequestSpan {
        let parent = fields.get(Name::Traceparent).filter(|value| is_traceparent(value)).map(|_| {
            let context = TraceContextPropagator::new().extract_with_context(&Context::new(), &Told(fields));
            context.span().span_context().clone()
        });
        let parent = parent.filter(SpanContext::is_valid);
        let Some(live) = &self.0 else {
            let trace_id = parent.map(|parent| parent.trace_id().to_bytes());
            return RequestSpan(State::Off { trace_id });
        };
        let context = match parent {
            Some(parent) => Context::new().with_remote_span_context(parent),
            None => Context::new(),
        };
        let builder =
            SpanBuilder::from_name(name.of(method)).with_kind(SpanKind::Server).with_start_time(started);
        let span = live.tracer.build_with_context(builder, &context);
        RequestSpan(State::Live { span: Box::new(span), live: Arc::clone(live) })
    }

    /// Flushes what is waiting. Bounded, also where the collector is dead.
    pub async fn shutdown(&self) {
        let Some(live) = self.0.clone() else { return };
        let flushing = tokio::task::spawn_blocking(move || {
            if let Err(error) = live.provider.shutdown_with_timeout(FLUSH_TIMEOUT) {
                tracing::warn!(%error, "not all spans could be sent");
            }
        });
        let _late = tokio::time::timeout(FLUSH_TIMEOUT, flushing).await;
    }
}

impl SpanName {
    fn of(self, method: &Method) -> Cow<'static, str> {
        let method = known(method.as_str()).unwrap_or("HTTP");
        match (self, method) {
            (Self::Connect, _) => "CONNECT".into(),
            (Self::Forward, "GET") => "GET forward".into(),
            (Self::Reverse, "GET") => "GET reverse".into(),
            (Self::Forward, "POST") => "POST forward".into(),
            (Self::Reverse, "POST") => "POST reverse".into(),
            (Self::Forward, method) => format!("{method} forward").into(),
            (Self::Reverse, method) => format!("{method} reverse").into(),
        }
    }
}

/// Version, trace id, parent id and flags, of their exact lengths (W3C Trace Context, section 3.2).
fn is_traceparent(value: &[u8]) -> bool {
    let lengths = [2, 32, 16, 2];
    let Ok(text) = str::from_utf8(value) else { return false };
    let parts: Vec<&str> = text.split('-').collect();
    let hex = |part: &str| part.bytes().all(|byte| byte.is_ascii_hexdigit() && !byte.is_ascii_uppercase());
    parts.len() >= 4 && parts.iter().zip(lengths).all(|(part, length)| part.len() == length && hex(part))
}

/// The methods that the conventions know; all others are one.
fn known(method: &str) -> Option<&'static str> {
    const KNOWN: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];
    KNOWN.into_iter().find(|known| *known == method)
}

/// A request's span.
#[derive(Debug)]
pub struct RequestSpan(State);

#[derive(Debug)]
enum State {
    Off { trace_id: Option<[u8; 16]> },
    Live { span: Box<Span>, live: Arc<Live> },
}

impl Default for RequestSpan {
    fn default() -> Self {
        Self(State::Off { trace_id: None })
    }
}

/// What a request's span says at its end.
#[derive(Debug)]
pub struct RequestEnd<'a> {
    pub method: &'a str,
    /// 0 where none was sent.
    pub status: u16,
    pub platform: &'a str,
    pub host: &'a str,
    pub port: u16,
    pub client: IpAddr,
    pub error: Option<ResinError>,
    pub failure: Option<&'a Failure>,
}

impl RequestSpan {
    /// The trace's id; where tracing is off, the one that the client sent.
    #[must_use]
    pub fn trace_id(&self) -> Option<[u8; 16]> {
        match &self.0 {
            State::Off { trace_id } => *trace_id,
            State::Live { span, .. } => Some(span.span_context().trace_id().to_bytes()),
        }
    }

    #[must_use]
    pub fn is_recording(&self) -> bool {
        match &self.0 {
            State::Off { .. } => false,
            State::Live { span, .. } => span.is_recording(),
        }
    }

    /// An attempt begins.
    #[must_use]
    pub fn attempt(&self, start: &AttemptStart<'_>) -> AttemptSpan {
        let State::Live { span, live } = &self.0 else { return AttemptSpan::default() };
        if !span.is_recording() {
            return AttemptSpan { span: None, context: Some(span.span_context().clone()) };
        }
        let context = Context::new().with_remote_span_context(span.span_context().clone());
        let builder = SpanBuilder::from_name(format!("attempt {}", start.number)).with_kind(SpanKind::Client);
        let mut span = live.tracer.build_with_context(builder, &context);
        if start.number > 1 {
            set(&mut span, "http.request.resend_count", i64::from(start.number - 1));
        }
        set_method(&mut span, start.method);
        set(&mut span, "server.address", start.host.to_owned());
        set(&mut span, "server.port", i64::from(start.port));
        set(&mut span, "resin.platform", start.platform.to_owned());
        set(&mut span, "resin.node.hash", start.node.hash.to_string());
        set(&mut span, "resin.node.tag", start.node.tag().to_owned());
        AttemptSpan { context: Some(span.span_context().clone()), span: Some(Box::new(span)) }
    }

    pub fn end(self, end: RequestEnd<'_>) {
        let State::Live { mut span, .. } = self.0 else { return };
        set_method(&mut span, end.method);
        set(&mut span, "server.address", end.host.to_owned());
        set(&mut span, "server.port", i64::from(end.port));
        set(&mut span, "client.address", end.client.to_string());
        set(&mut span, "resin.platform", end.platform.to_owned());
        if end.status != 0 {
            set(&mut span, "http.response.status_code", i64::from(end.status));
        }
        if let Some(error) = end.error {
            set(&mut span, "resin.error", error.as_str());
        }
        if let Some(failure) = end.failure {
            set(&mut span, "resin.upstream.stage", failure.stage.as_str());
            set(&mut span, "resin.upstream.phase", failure.phase.as_str());
        }
        let kind = end.failure.map(|failure| failure.kind.as_str());
        if let Some(kind) = kind.or(end.error.map(ResinError::as_str)) {
            set(&mut span, "error.type", kind);
        } else if end.status >= 500 {
            set(&mut span, "error.type", end.status.to_string());
        }
        if end.status >= 500 {
            let why = end.failure.map_or(String::new(), |failure| failure.message.clone());
            span.set_status(Status::error(why));
        }
        span.end();
    }
}

/// An attempt's span.
#[derive(Debug, Default)]
pub struct AttemptSpan {
    span: Option<Box<Span>>,
    context: Option<SpanContext>,
}

/// What an attempt's span says from its start.
#[derive(Debug)]
pub struct AttemptStart<'a> {
    /// The first is 1.
    pub number: u32,
    pub node: &'a Node,
    pub platform: &'a str,
    pub method: &'a str,
    pub host: &'a str,
    pub port: u16,
}

/// What an attempt's span says at its end.
#[derive(Debug)]
pub struct AttemptEnd<'a> {
    /// What was connected to.
    pub peer: Option<SocketAddr>,
    pub failure: Option<&'a Failure>,
    pub verdict: Verdict,
    pub request_written: bool,
    /// Of the upstream's answer.
    pub status: Option<u16>,
}

impl AttemptSpan {
    #[must_use]
    pub fn is_recording(&self) -> bool {
        self.span.is_some()
    }

    /// A pooled connection was dead, and the node was dialled afresh.
    pub fn stale_connection(&mut self) {
        if let Some(span) = &mut self.span {
            span.add_event("stale_connection", Vec::new());
        }
    }

    /// Tells the upstream the trace (W3C Trace Context).
    pub fn inject(&self, fields: &mut Fields) {
        if let Some(context) = &self.context {
            let context = Context::new().with_remote_span_context(context.clone());
            TraceContextPropagator::new().inject_context(&context, &mut Telling(fields));
        }
    }

    pub fn end(self, end: AttemptEnd<'_>) {
        let Some(mut span) = self.span else { return };
        if let Some(peer) = end.peer {
            set(&mut span, "network.peer.address", peer.ip().to_canonical().to_string());
            set(&mut span, "network.peer.port", i64::from(peer.port()));
        }
        if let Some(status) = end.status {
            set(&mut span, "http.response.status_code", i64::from(status));
        }
        set(&mut span, "resin.request.written", end.request_written);
        set(&mut span, "resin.retry.verdict", end.verdict.as_str());
        if let Some(failure) = end.failure {
            set(&mut span, "resin.upstream.stage", failure.stage.as_str());
            set(&mut span, "resin.upstream.phase", failure.phase.as_str());
            set(&mut span, "error.type", failure.kind.as_str());
            span.set_status(Status::error(failure.message.clone()));
        }
        span.end();
    }
}

fn set(span: &mut Span, key: &'static str, value: impl Into<opentelemetry::Value>) {
    span.set_attribute(KeyValue::new(key, value));
}

fn set_method(span: &mut Span, method: &str) {
    match known(method) {
        Some(known) => set(span, "http.request.method", known),
        None => {
            set(span, "http.request.method", "_OTHER");
            set(span, "http.request.method_original", method.to_owned());
        }
    }
}

struct Told<'a>(&'a Fields);

impl Extractor for Told<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.written(key).and_then(|value| str::from_utf8(value).ok())
    }

    fn keys(&self) -> Vec<&str> {
        self.0.iter().filter_map(|field| str::from_utf8(field.written).ok()).collect()
    }
}

struct Telling<'a>(&'a mut Fields);

impl Injector for Telling<'_> {
    fn set(&mut self, key: &str, value: String) {
        self.0.set(key, value.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_tracing_is_off_the_clients_trace_id_is_kept_if_it_is_one() {
        let tracing = Tracing::default();
        let of = |traceparent: &str| {
            let mut fields = Fields::default();
            fields.push("traceparent", traceparent.as_bytes());
            tracing.request(&fields, SpanName::Forward, &Method::GET, SystemTime::now()).trace_id()
        };
        assert_eq!(of("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01").map(|id| id[0]), Some(0x0a));
        for wrong in ["", "x", "00-00000000000000000000000000000000-b7ad6b7169203331-01", "00-0af7-b7ad-01"] {
            assert_eq!(of(wrong), None, "{wrong}");
        }
    }
}
