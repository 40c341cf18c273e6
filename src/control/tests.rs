//! The control plane through its own port: refusals and answers that clients can read, and what a mask changes.
//!
//! Most of it needs no database: a store that was never connected is one that is away.

mod promised;

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::{Duration, SystemTime},
};

use prost_types::FieldMask;
use tokio::{net::TcpListener, sync::watch, task::JoinHandle, time::timeout};
use tokio_util::sync::CancellationToken;
use tonic::{
    Code, Request, Status,
    transport::{Channel, Endpoint},
};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tonic_types::StatusExt;
use uuid::Uuid;

use super::{Control, SystemFacts, serve, status};
use crate::{
    model::{ProxyType, Secret},
    proto::{
        DeletePlatformRequest, GetPlatformRequest, GetSystemInfoRequest, ListRequestLogsRequest, NodeSpec,
        Platform, StreamRequestLogsRequest, UpsertNodesRequest, UpsertPlatformRequest, WatchPlatformsRequest,
        delete_platform_request, get_platform_request, node_service_client::NodeServiceClient,
        platform_service_client::PlatformServiceClient, request_log_service_client::RequestLogServiceClient,
        stream_request_logs_request::Start, system_service_client::SystemServiceClient,
        watch_platforms_response::Event,
    },
    record::Record,
    routing::{Directory, Snapshot},
    store::{Changes, PrivateServer, Store},
};

const DEFAULT_MAX_RETRIES: i32 = 2;

/// A control plane on a port of its own.
struct Port {
    channel: Channel,
    stop: CancellationToken,
    served: JoinHandle<Result<(), tonic::transport::Error>>,
}

impl Port {
    async fn open(store: Store, admin_token: &str) -> Self {
        let directory = Arc::new(Directory::new(Snapshot::default()));
        let changes = Changes::new(store.clone(), Arc::clone(&directory));
        let system = SystemFacts {
            version: "0",
            instance_id: Uuid::now_v7(),
            started_at: SystemTime::now(),
            settings: [].into(),
        };
        let admin_token = Secret::new(admin_token);
        let control = Control {
            store,
            changes,
            directory,
            system,
            admin_token,
            default_max_retries: DEFAULT_MAX_RETRIES,
        };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let channel = connect(listener.local_addr().unwrap());
        let (stop, (_, ready)) = (CancellationToken::new(), watch::channel(true));
        let served = tokio::spawn(serve(control, listener, ready, stop.clone()));
        Self { channel, stop, served }
    }

    /// One whose database is away.
    async fn without_database() -> Self {
        let url = Secret::new("postgres://nobody@127.0.0.1:1/none?sslmode=disable");
        Self::open(Store::open(&url, None).unwrap(), "").await
    }

    fn platforms(&self) -> PlatformServiceClient<Channel> {
        PlatformServiceClient::new(self.channel.clone())
    }

    fn nodes(&self) -> NodeServiceClient<Channel> {
        NodeServiceClient::new(self.channel.clone())
    }

    fn logs(&self) -> RequestLogServiceClient<Channel> {
        RequestLogServiceClient::new(self.channel.clone())
    }

    async fn upsert(&self, platform: Platform, paths: Option<&[&str]>) -> Result<Platform, Status> {
        let update_mask =
            paths.map(|paths| FieldMask { paths: paths.iter().map(ToString::to_string).collect() });
        let request = UpsertPlatformRequest { platform: Some(platform), update_mask, validate_only: false };
        self.platforms().upsert_platform(request).await.map(tonic::Response::into_inner)
    }
}

fn connect(address: SocketAddr) -> Channel {
    Endpoint::from_shared(format!("http://{address}")).unwrap().connect_lazy()
}

fn named(name: &str) -> Platform {
    Platform { name: name.to_owned(), ..Platform::default() }
}

/// A database for one test, with the server that it is on.
async fn database() -> (PrivateServer, tempfile::TempDir, Store) {
    let dir = tempfile::Builder::new().prefix("resin-control-").tempdir_in("/tmp").unwrap();
    let server = PrivateServer::start(dir.path()).await.unwrap();
    let store = Store::open(server.url(), None).unwrap();
    store.migrate().await.unwrap();
    store.ensure_default_platform(DEFAULT_MAX_RETRIES).await.unwrap();
    (server, dir, store)
}

#[tokio::test]
async fn a_refusal_of_ten_thousand_nodes_still_reaches_the_client() {
    let port = Port::without_database().await;
    let bad = NodeSpec { uri: "ftp://é.example".to_owned(), ..NodeSpec::default() };
    let request = UpsertNodesRequest { nodes: vec![bad; 10_000], validate_only: false };

    let refused = port.nodes().upsert_nodes(request).await.unwrap_err();

    assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
    let told = refused.get_details_bad_request().unwrap().field_violations;
    assert_eq!(told[1].field, "nodes[1].uri");
    let in_message = refused.message().matches(".uri: ").count();
    assert!(
        refused.message().ends_with(&format!("; and {} more", 10_000 - in_message)),
        "{}",
        refused.message()
    );
}

#[tokio::test]
async fn thirty_violations_are_all_told() {
    let port = Port::without_database().await;
    let bad = NodeSpec { uri: "ftp://proxy.example".to_owned(), ..NodeSpec::default() };
    let request = UpsertNodesRequest { nodes: vec![bad; 30], validate_only: false };

    let refused = port.nodes().upsert_nodes(request).await.unwrap_err();

    assert_eq!(refused.get_details_bad_request().unwrap().field_violations.len(), 30);
}

#[tokio::test]
async fn a_long_text_of_the_callers_does_not_burst_the_refusal() {
    let port = Port::without_database().await;
    let long = "é".repeat(50_000);

    let key = Some(get_platform_request::Key::Name(long.clone()));
    let refused = port.platforms().get_platform(GetPlatformRequest { key }).await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound, "{refused:?}");
    assert_eq!(refused.get_details_error_info().unwrap().reason, "NOT_FOUND");

    let refused = port.upsert(named("Nimbus"), Some(&[&long])).await.unwrap_err();
    assert_eq!(refused.get_details_bad_request().unwrap().field_violations[0].field, "update_mask");
}

#[tokio::test]
async fn without_its_database_every_call_that_needs_one_says_when_to_try_again() {
    let port = Port::without_database().await;
    let node = NodeSpec { uri: "direct://".to_owned(), ..NodeSpec::default() };
    let key = Some(delete_platform_request::Key::Name("Nimbus".to_owned()));
    let answers = [
        port.upsert(named("Nimbus"), None).await.map(drop),
        port.platforms().delete_platform(DeletePlatformRequest { key, ..Default::default() }).await.map(drop),
        port.nodes()
            .upsert_nodes(UpsertNodesRequest { nodes: vec![node], validate_only: true })
            .await
            .map(drop),
        port.logs().list_request_logs(ListRequestLogsRequest::default()).await.map(drop),
        port.logs().stream_request_logs(StreamRequestLogsRequest::default()).await.map(drop),
    ];
    for answer in answers {
        let refused = answer.unwrap_err();
        assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
        assert_eq!(refused.get_details_error_info().unwrap().reason, "DATABASE_UNAVAILABLE");
        assert!(refused.get_details_retry_info().unwrap().retry_delay.is_some());
    }
}

#[tokio::test]
async fn the_scheme_of_the_token_may_be_written_in_any_case() {
    let url = Secret::new("postgres://nobody@127.0.0.1:1/none?sslmode=disable");
    let port = Port::open(Store::open(&url, None).unwrap(), "open-sesame").await;
    let call = async |authorization: Option<&str>| {
        let mut request = Request::new(GetSystemInfoRequest {});
        if let Some(value) = authorization {
            request.metadata_mut().insert("authorization", value.parse().unwrap());
        }
        SystemServiceClient::new(port.channel.clone()).get_system_info(request).await
    };

    for right in ["Bearer open-sesame", "bearer open-sesame", "BEARER open-sesame"] {
        assert!(call(Some(right)).await.is_ok(), "{right}");
    }
    let wrong =
        [None, Some(""), Some("open-sesame"), Some("Bearer"), Some("Bearer "), Some("Basic open-sesame")];
    for wrong in wrong {
        let refused = call(wrong).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unauthenticated, "{wrong:?}");
        assert_eq!(refused.get_details_error_info().unwrap().domain, "resin", "{wrong:?}");
    }
}

#[tokio::test]
async fn a_stop_ends_open_streams_and_does_not_wait_for_those_of_health() {
    let port = Port::without_database().await;
    let mut watch = port.platforms().watch_platforms(WatchPlatformsRequest {}).await.unwrap().into_inner();
    assert_eq!(watch.message().await.unwrap().unwrap().event, Some(Event::SnapshotComplete(true)));
    let mut health = HealthClient::new(port.channel.clone());
    let _open = health.watch(HealthCheckRequest::default()).await.unwrap();

    port.stop.cancel();

    assert_eq!(watch.message().await.unwrap(), None);
    timeout(Duration::from_secs(10), port.served).await.unwrap().unwrap().unwrap();
}

#[test]
fn a_defect_is_told_like_every_other_error() {
    let told = Status::from_header_map(status::of_panic(Box::new("boom")).headers()).unwrap();
    assert_eq!(told.code(), Code::Internal);
    assert_eq!(told.get_details_error_info().unwrap().reason, "INTERNAL");
}

#[tokio::test]
async fn a_mask_resets_what_it_names_and_a_star_names_everything() {
    let (server, _dir, store) = database().await;
    let port = Port::open(store, "").await;
    let whole = Platform { regex_filters: vec!["a".to_owned()], max_retries: Some(9), ..named("Nimbus") };
    let fill = async || port.upsert(whole.clone(), None).await.unwrap();

    let nimbus = fill().await;
    let reset = port.upsert(named("Nimbus"), Some(&["max_retries"])).await.unwrap();
    assert_eq!((reset.max_retries, reset.regex_filters.len()), (Some(DEFAULT_MAX_RETRIES), 1));

    fill().await;
    let replaced = port.upsert(named("Nimbus"), Some(&["*"])).await.unwrap();
    assert_eq!((replaced.max_retries, replaced.regex_filters.len()), (Some(DEFAULT_MAX_RETRIES), 0));

    fill().await;
    let by_id = Platform { id: nimbus.id.clone(), ..named("Ignored") };
    let kept = port.upsert(by_id, Some(&["max_retries"])).await.unwrap();
    assert_eq!(kept.name, "Nimbus", "a name that the mask does not name stays");

    let key = Some(delete_platform_request::Key::Name("a\0b".to_owned()));
    let request = DeletePlatformRequest { key, allow_missing: true, ..Default::default() };
    port.platforms().delete_platform(request).await.expect("a name that no platform can have is missing");

    let partly = Platform { regex_filters: vec!["b".to_owned()], max_retries: Some(7), ..named("Cirrus") };
    let created = port.upsert(partly, Some(&["regex_filters"])).await.unwrap();
    assert_eq!((created.max_retries, created.regex_filters.len()), (Some(DEFAULT_MAX_RETRIES), 1));
    server.stop().await;
}

/// As large as the proxy lets a record become, but for its retries.
fn large_record() -> Record {
    Record {
        id: Uuid::now_v7(),
        started_at: SystemTime::now(),
        duration: Duration::from_millis(1),
        proxy_type: ProxyType::Forward,
        client_ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
        platform_id: None,
        platform_name: "Default".into(),
        account: "a".repeat(256),
        target_host: "shop.test".to_owned(),
        target_port: 80,
        target_url: "x".repeat(8 * 1024),
        node: None,
        net_ok: true,
        http_method: "GET".into(),
        http_status: 200,
        resin_error: None,
        failure: None,
        request_written: true,
        ingress_bytes: 0,
        egress_bytes: 0,
        retries: Vec::new(),
        trace_id: None,
    }
}

/// Clients refuse a message beyond 4 MiB unless they are told otherwise: a batch beyond it could never be passed.
#[tokio::test]
async fn large_records_pass_in_messages_that_clients_accept() {
    let (server, _dir, store) = database().await;
    let records: Vec<Record> = (0..1100).map(|_| large_record()).collect();
    store.copy_in(Uuid::now_v7(), &records).await.unwrap();
    let mut written: Vec<String> = records.iter().map(|record| record.id.to_string()).collect();
    let port = Port::open(store, "").await;

    let start = Some(Start::Since(prost_types::Timestamp::default()));
    let request = StreamRequestLogsRequest { start, ..Default::default() };
    let mut stream = port.logs().stream_request_logs(request).await.unwrap().into_inner();
    let (mut streamed, mut cursors) = (Vec::new(), Vec::new());
    while let Some(batch) = stream.message().await.unwrap() {
        streamed.extend(batch.request_logs.into_iter().map(|record| record.id));
        cursors.push((batch.cursor, streamed.len()));
    }
    assert_eq!(streamed, written, "each once, in the order of insertion");

    let (cursor, before) = cursors.swap_remove(0);
    let request = StreamRequestLogsRequest { start: Some(Start::Cursor(cursor)), ..Default::default() };
    let mut stream = port.logs().stream_request_logs(request).await.unwrap().into_inner();
    let next = stream.message().await.unwrap().unwrap().request_logs.remove(0);
    assert_eq!(next.id, written[before], "the cursor of a batch that was cut stands behind its last record");

    let (mut listed, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = ListRequestLogsRequest { page_size: 1000, page_token, ..Default::default() };
        let page = port.logs().list_request_logs(request).await.unwrap().into_inner();
        listed.extend(page.request_logs.into_iter().map(|record| record.id));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    listed.sort();
    written.sort();
    assert_eq!(listed, written);
    port.stop.cancel();
    port.served.await.unwrap().unwrap();
    server.stop().await;
}
