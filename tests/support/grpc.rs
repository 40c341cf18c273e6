//! The control plane as a generated client sees it.

use resin::proto::{
    Node, Platform, UpsertPlatformRequest, node_service_client::NodeServiceClient,
    platform_service_client::PlatformServiceClient, request_log_service_client::RequestLogServiceClient,
    system_service_client::SystemServiceClient,
};
use tonic::{
    Code, Request, Response, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Channel, Endpoint},
};
use tonic_types::StatusExt;

use super::resin::PATIENCE;

/// Puts the admin token on every call, where there is one.
#[derive(Clone)]
pub struct Bearer(Option<MetadataValue<Ascii>>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = &self.0 {
            request.metadata_mut().insert("authorization", token.clone());
        }
        Ok(request)
    }
}

type Authorized = InterceptedService<Channel, Bearer>;

/// Clients of all four services over one connection.
#[derive(Clone)]
pub struct Grpc {
    pub channel: Channel,
    pub platforms: PlatformServiceClient<Authorized>,
    pub nodes: NodeServiceClient<Authorized>,
    pub logs: RequestLogServiceClient<Authorized>,
    pub system: SystemServiceClient<Authorized>,
}

impl Grpc {
    /// `token`: what follows `Bearer `; empty for none.
    pub fn new(address: std::net::SocketAddr, token: &str) -> Self {
        let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap().connect_timeout(PATIENCE);
        let channel = endpoint.connect_lazy();
        let bearer = Bearer((!token.is_empty()).then(|| format!("Bearer {token}").parse().unwrap()));
        Self {
            platforms: PlatformServiceClient::with_interceptor(channel.clone(), bearer.clone()),
            nodes: NodeServiceClient::with_interceptor(channel.clone(), bearer.clone()),
            logs: RequestLogServiceClient::with_interceptor(channel.clone(), bearer.clone()),
            system: SystemServiceClient::with_interceptor(channel.clone(), bearer),
            channel,
        }
    }

    pub async fn upsert_platform(&self, platform: Platform) -> Result<Platform, Status> {
        let request = UpsertPlatformRequest { platform: Some(platform), ..Default::default() };
        self.platforms.clone().upsert_platform(request).await.map(Response::into_inner)
    }

    pub async fn platform(&self, name: &str) -> Result<Platform, Status> {
        use resin::proto::{GetPlatformRequest, get_platform_request::Key};
        let request = GetPlatformRequest { key: Some(Key::Name(name.to_owned())) };
        self.platforms.clone().get_platform(request).await.map(Response::into_inner)
    }

    pub async fn upsert_nodes(&self, nodes: Vec<resin::proto::NodeSpec>) -> Result<Vec<Node>, Status> {
        let request = resin::proto::UpsertNodesRequest { nodes, validate_only: false };
        self.nodes.clone().upsert_nodes(request).await.map(|answer| answer.into_inner().nodes)
    }

    pub async fn all_nodes(&self) -> Vec<Node> {
        let request = resin::proto::ListNodesRequest { page_size: 1000, ..Default::default() };
        self.nodes.clone().list_nodes(request).await.unwrap().into_inner().nodes
    }
}

pub fn named(name: &str) -> Platform {
    Platform { name: name.to_owned(), ..Default::default() }
}

pub fn spec(uri: &str, tag: &str) -> resin::proto::NodeSpec {
    resin::proto::NodeSpec { uri: uri.to_owned(), tag: tag.to_owned(), ..Default::default() }
}

/// The field paths of an INVALID_ARGUMENT, sorted; each has a description.
pub fn violations(status: &Status) -> Vec<String> {
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    let details = status.get_details_bad_request().expect("a google.rpc.BadRequest");
    let mut fields: Vec<String> = details
        .field_violations
        .into_iter()
        .map(|violation| {
            assert!(!violation.description.is_empty(), "{} has no description", violation.field);
            violation.field
        })
        .collect();
    fields.sort();
    fields.dedup();
    fields
}

/// The status has this code and an `ErrorInfo` with a reason.
pub fn assert_refused(status: &Status, code: Code) {
    assert_eq!(status.code(), code, "{status:?}");
    let info = status.get_details_error_info().unwrap_or_else(|| panic!("no ErrorInfo in {status:?}"));
    assert!(!info.reason.is_empty() && !info.domain.is_empty(), "{info:?}");
}
