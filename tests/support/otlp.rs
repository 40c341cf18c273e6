//! A real OTLP collector: the gRPC service that the SDK's exporter speaks to, keeping the spans it is sent.

use std::{collections::HashMap, net::SocketAddr};

use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    common::v1::{KeyValue, any_value::Value},
    trace::v1::Span,
};
use tokio::sync::watch;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

use super::resin::soon;

pub struct Collector {
    pub address: SocketAddr,
    spans: watch::Receiver<Vec<Span>>,
}

impl Collector {
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (received, spans) = watch::channel(Vec::new());
        let service = TraceServiceServer::new(Receiving { received });
        let server = tonic::transport::Server::builder().add_service(service);
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        Self { address, spans }
    }

    /// For `OTEL_EXPORTER_OTLP_ENDPOINT`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// All spans so far, once there are so many.
    pub async fn spans(&self, count: usize) -> Vec<Span> {
        let mut spans = self.spans.clone();
        let enough = spans.wait_for(|spans| spans.len() >= count);
        soon(&format!("{count} spans"), enough).await.unwrap().clone()
    }

    /// All spans so far.
    pub fn spans_so_far(&self) -> Vec<Span> {
        self.spans.borrow().clone()
    }
}

struct Receiving {
    received: watch::Sender<Vec<Span>>,
}

#[tonic::async_trait]
impl TraceService for Receiving {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let scopes =
            request.into_inner().resource_spans.into_iter().flat_map(|resource| resource.scope_spans);
        let new: Vec<Span> = scopes.flat_map(|scope| scope.spans).collect();
        self.received.send_modify(|spans| spans.extend(new));
        Ok(Response::new(ExportTraceServiceResponse { partial_success: None }))
    }
}

/// A span's attributes as text: numbers and truths are written out.
pub fn attributes(span: &Span) -> HashMap<String, String> {
    span.attributes.iter().map(|attribute| (attribute.key.clone(), text(attribute))).collect()
}

fn text(attribute: &KeyValue) -> String {
    match attribute.value.as_ref().and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::BoolValue(truth)) => truth.to_string(),
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::DoubleValue(number)) => number.to_string(),
        other => format!("{other:?}"),
    }
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
