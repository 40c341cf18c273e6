//! The control plane as grpcurl sees it: the schema comes from server reflection (v1 and v1alpha), requests are JSON,
//! and nothing of the generated code is used.

#![allow(clippy::unwrap_used)] // a broken expectation is a failed test

mod support;

use prost_reflect::{DescriptorPool, DynamicMessage, MethodDescriptor};
use serde_json::{Value, json};
use support::{
    resin::{Resin, soon},
    world::{Dying, forward},
};
use tonic::{
    Code, Request, Status, Streaming,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    transport::Channel,
};

const SERVICES: [&str; 4] = [
    "resin.control.v1.NodeService",
    "resin.control.v1.PlatformService",
    "resin.control.v1.RequestLogService",
    "resin.control.v1.SystemService",
];

/// Both versions of the protocol have the same shape under different names.
macro_rules! ask_reflection {
    ($channel:expr, $version:ident) => {{
        use tonic_reflection::pb::$version::{
            ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
            server_reflection_request::MessageRequest as Ask,
            server_reflection_response::MessageResponse as Answer,
        };
        let channel: Channel = $channel;
        let ask = async |what: Ask| {
            let request = ServerReflectionRequest { host: String::new(), message_request: Some(what) };
            let mut client = ServerReflectionClient::new(channel.clone());
            let stream = client.server_reflection_info(tokio_stream::once(request)).await.unwrap();
            soon("reflection", stream.into_inner().message())
                .await
                .unwrap()
                .unwrap()
                .message_response
                .unwrap()
        };
        let Answer::ListServicesResponse(list) = ask(Ask::ListServices(String::new())).await else {
            panic!("no list of services");
        };
        let mut files: Vec<Vec<u8>> = Vec::new();
        let mut wanted: Vec<Ask> =
            SERVICES.iter().map(|name| Ask::FileContainingSymbol((*name).to_owned())).collect();
        let mut asked = std::collections::HashSet::new();
        while let Some(what) = wanted.pop() {
            let Answer::FileDescriptorResponse(found) = ask(what).await else { panic!("no file descriptor") };
            for bytes in found.file_descriptor_proto {
                let file: prost_types::FileDescriptorProto = prost::Message::decode(&*bytes).unwrap();
                if asked.insert(file.name().to_owned()) {
                    files.push(bytes);
                }
                for dependency in file.dependency {
                    if !asked.contains(&dependency) {
                        wanted.push(Ask::FileByFilename(dependency));
                    }
                }
            }
        }
        (list.service.into_iter().map(|service| service.name).collect::<Vec<String>>(), files)
    }};
}

/// A client that knows only what reflection told it.
struct Reflected {
    channel: Channel,
    pool: DescriptorPool,
}

impl Reflected {
    async fn new(resin: &Resin) -> Self {
        let channel = resin.grpc().channel;
        let (_, files) = ask_reflection!(channel.clone(), v1);
        Self { channel, pool: pool(&files) }
    }

    /// `Service/Method` with a JSON request; every answer of the stream up to `limit`.
    async fn call(&self, method: &str, request: Value, limit: usize) -> Result<Vec<Value>, Status> {
        let (service, name) = method.split_once('/').unwrap();
        let service = self.pool.get_service_by_name(&format!("resin.control.v1.{service}")).unwrap();
        let method =
            service.methods().find(|method| method.name() == name).unwrap_or_else(|| panic!("no {name}"));
        let message = DynamicMessage::deserialize(method.input(), request).unwrap();
        let path = format!("/{}/{}", service.full_name(), method.name()).parse().unwrap();
        let mut client = tonic::client::Grpc::new(self.channel.clone());
        client.ready().await.unwrap();
        let codec = Dynamic(method);
        let answer = client.server_streaming(Request::new(message), path, codec).await?;
        let mut stream: Streaming<DynamicMessage> = answer.into_inner();
        let mut answers = Vec::new();
        while answers.len() < limit {
            let Some(message) = soon(name, stream.message()).await? else { break };
            answers.push(serde_json::to_value(message).unwrap());
        }
        Ok(answers)
    }

    async fn unary(&self, method: &str, request: Value) -> Result<Value, Status> {
        Ok(self.call(method, request, 1).await?.remove(0))
    }
}

fn pool(files: &[Vec<u8>]) -> DescriptorPool {
    let file = files.iter().map(|bytes| prost::Message::decode(&**bytes).unwrap()).collect();
    let set = prost_types::FileDescriptorSet { file };
    let mut pool = DescriptorPool::new();
    pool.add_file_descriptor_set(set).unwrap();
    pool
}

#[derive(Clone)]
struct Dynamic(MethodDescriptor);

impl Codec for Dynamic {
    type Encode = DynamicMessage;
    type Decode = DynamicMessage;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        self.clone()
    }

    fn decoder(&mut self) -> Self {
        self.clone()
    }
}

impl Encoder for Dynamic {
    type Item = DynamicMessage;
    type Error = Status;

    fn encode(&mut self, item: DynamicMessage, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        prost::Message::encode(&item, buffer).map_err(|error| Status::internal(error.to_string()))
    }
}

impl Decoder for Dynamic {
    type Item = DynamicMessage;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<DynamicMessage>, Status> {
        let message = DynamicMessage::decode(self.0.output(), buffer);
        message.map(Some).map_err(|error| Status::internal(error.to_string()))
    }
}

#[tokio::test]
async fn both_reflections_list_the_services_and_give_the_same_schema() {
    let resin = Resin::start(&[]).await;
    let (mut listed, mut files) = ask_reflection!(resin.grpc().channel, v1);
    let (mut listed_alpha, mut files_alpha) = ask_reflection!(resin.grpc().channel, v1alpha);
    for name in SERVICES.iter().chain(&["grpc.health.v1.Health"]) {
        assert!(listed.iter().any(|listed| listed == name), "{name} is not among {listed:?}");
        assert!(listed_alpha.iter().any(|listed| listed == name), "{name} is not among {listed_alpha:?}");
    }
    listed.retain(|name| name.starts_with("resin."));
    listed_alpha.retain(|name| name.starts_with("resin."));
    listed.sort();
    listed_alpha.sort();
    assert_eq!(listed, SERVICES);
    assert_eq!(listed_alpha, SERVICES);
    files.sort();
    files_alpha.sort();
    assert_eq!(files, files_alpha);
}

#[tokio::test]
async fn the_schema_has_the_names_that_clients_outside_rely_on() {
    let resin = Resin::start(&[]).await;
    let pool = Reflected::new(&resin).await.pool;
    for (message, fields) in NAMES {
        let descriptor = pool.get_message_by_name(&format!("resin.control.v1.{message}"));
        let descriptor = descriptor.unwrap_or_else(|| panic!("no message {message}"));
        for field in fields.split(' ') {
            let (field, oneof) = field.split_once('@').unwrap_or((field, ""));
            let found = descriptor.get_field_by_name(field).unwrap_or_else(|| panic!("no {message}.{field}"));
            let within = found.containing_oneof().filter(|oneof| !oneof.name().starts_with('_'));
            assert_eq!(
                within.map_or(String::new(), |oneof| oneof.name().to_owned()),
                oneof,
                "{message}.{field}"
            );
        }
    }
    let filter = pool.get_message_by_name("resin.control.v1.RequestLogFilter").unwrap();
    assert!(filter.fields().all(|field| field.supports_presence()), "absent means any");
    let platform = pool.get_message_by_name("resin.control.v1.Platform").unwrap();
    assert!(platform.get_field_by_name("max_retries").unwrap().supports_presence());
    for service in pool.services().filter(|service| service.full_name().starts_with("resin.")) {
        for method in service.methods() {
            let streams = ["WatchPlatforms", "StreamRequestLogs"].contains(&method.name());
            assert_eq!((method.is_client_streaming(), method.is_server_streaming()), (false, streams));
        }
    }
}

/// Message and fields; `field@oneof` where the field is a member of one.
const NAMES: [(&str, &str); 22] = [
    ("GetSystemInfoResponse", "version instance_id start_time settings"),
    (
        "RetryDetail",
        "node_hash node_tag egress_ip stage phase err_kind errno err_msg request_written reused_connection \
         started_at duration",
    ),
    ("UpsertPlatformRequest", "platform update_mask validate_only"),
    ("GetPlatformRequest", "name@key id@key"),
    ("DeletePlatformRequest", "name@key id@key etag allow_missing"),
    ("ListPlatformsRequest", "page_size page_token"),
    ("ListPlatformsResponse", "platforms next_page_token"),
    ("WatchPlatformsResponse", "snapshot_complete@event platform@event deleted_name@event"),
    ("Platform", "id name regex_filters max_retries etag create_time update_time routable_node_count"),
    ("UpsertNodesRequest", "nodes validate_only"),
    ("NodeSpec", "uri tag egress_ip region"),
    ("UpsertNodesResponse", "nodes"),
    ("Node", "hash uri tags egress_ip region state"),
    ("GetNodeRequest", "hash"),
    ("DeleteNodesRequest", "hashes"),
    ("DeleteNodesResponse", "deleted_count"),
    ("ListNodesRequest", "platform page_size page_token"),
    ("ListRequestLogsRequest", "filter page_size page_token"),
    ("StreamRequestLogsRequest", "filter cursor@start since@start tail@start follow"),
    ("StreamRequestLogsResponse", "request_logs cursor heartbeat"),
    (
        "RequestLogFilter",
        "platform_name account target_host node_hash egress_ip proxy_type net_ok http_status resin_error \
         min_retry_attempts started_after started_before",
    ),
    (
        "RequestLog",
        "id started_at duration proxy_type client_ip platform_id platform_name account target_host target_port \
         target_url node_hash node_tag egress_ip net_ok http_method http_status resin_error upstream_stage \
         upstream_phase upstream_err_kind upstream_errno upstream_err_msg request_written ingress_bytes \
         egress_bytes retry_attempts retry_details trace_id instance_id",
    ),
];

#[tokio::test]
async fn json_requests_do_the_whole_job() {
    let resin = Resin::start(&[]).await;
    let client = Reflected::new(&resin).await;
    let dying = Dying::nodes(3).await;
    let nodes: Vec<Value> = dying.uris.iter().map(|uri| json!({"uri": uri, "tag": "dying"})).collect();

    let made = client.unary("NodeService/UpsertNodes", json!({"nodes": nodes})).await.unwrap();
    assert_eq!(made["nodes"].as_array().unwrap().len(), 3);
    assert_eq!(made["nodes"][0]["state"], "NODE_STATE_UNKNOWN");
    let platform = json!({"platform": {"name": "Nimbus", "maxRetries": 1}});
    let made = client.unary("PlatformService/UpsertPlatform", platform).await.unwrap();
    assert_eq!((&made["maxRetries"], &made["routableNodeCount"]), (&json!(1), &json!(3)), "{made}");
    let got = client.unary("PlatformService/GetPlatform", json!({"name": "Nimbus"})).await.unwrap();
    assert_eq!(got, made);
    let (status, head) = forward(&resin, "Nimbus.Tom", "http://Shop.Example.com:8080/cart?x=1").await;
    assert_eq!((status, dying.dials()), (502, 2), "{head}");

    let since = json!({"since": "1970-01-01T00:00:00Z", "follow": true, "filter": {"account": "Tom"}});
    let batch = client.call("RequestLogService/StreamRequestLogs", since, 1).await.unwrap().remove(0);
    let record = &batch["requestLogs"][0];
    assert_eq!(record["proxyType"], "PROXY_TYPE_FORWARD", "{record:#}");
    assert_eq!((&record["targetHost"], &record["targetPort"]), (&json!("shop.example.com"), &json!(8080)));
    assert_eq!(record["upstreamStage"], "UPSTREAM_STAGE_FORWARD_ROUNDTRIP");
    assert_eq!(record["upstreamPhase"], "UPSTREAM_PHASE_NODE_HANDSHAKE");
    assert_eq!(
        (&record["resinError"], &record["httpStatus"]),
        (&json!("UPSTREAM_REQUEST_FAILED"), &json!(502))
    );
    assert_eq!((&record["retryAttempts"], record["retryDetails"].as_array().unwrap().len()), (&json!(1), 1));
    assert_eq!(record["retryDetails"][0]["stage"], "UPSTREAM_STAGE_FORWARD_ROUNDTRIP");
    assert_eq!(record["retryDetails"][0]["nodeTag"], "dying");
    let got = client.unary("RequestLogService/GetRequestLog", json!({"id": record["id"]})).await.unwrap();
    assert_eq!(&got, record);

    let refused = client.unary("PlatformService/UpsertPlatform", json!({"platform": {"name": "a b"}})).await;
    assert_eq!(support::grpc::violations(&refused.unwrap_err()), ["platform.name"]);
    let missing = client.unary("RequestLogService/GetRequestLog", json!({"id": "seven"})).await.unwrap_err();
    assert_eq!(missing.code(), Code::InvalidArgument);
}
