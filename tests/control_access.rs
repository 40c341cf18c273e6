//! Who may call the control plane, whether it is well, and what it says about itself.

#![allow(clippy::unwrap_used)] // a broken expectation is a failed test

mod support;

use resin::proto::GetSystemInfoRequest;
use support::{
    grpc::Grpc,
    postgres::{Database, PASSWORD, Wire},
    resin::{Resin, soon},
    world::{Origin, forward},
};
use tonic::{Code, transport::Channel};
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus,
    health_client::HealthClient,
};

const SERVICES: [&str; 4] = [
    "resin.control.v1.PlatformService",
    "resin.control.v1.NodeService",
    "resin.control.v1.RequestLogService",
    "resin.control.v1.SystemService",
];

fn of(service: &str) -> HealthCheckRequest {
    HealthCheckRequest { service: service.to_owned() }
}

async fn health(channel: &Channel, service: &str) -> Result<ServingStatus, Code> {
    let answer = HealthClient::new(channel.clone()).check(of(service)).await;
    answer.map(|answer| answer.into_inner().status()).map_err(|status| status.code())
}

/// Follows a service's health until it is this.
async fn until(stream: &mut tonic::Streaming<HealthCheckResponse>, wanted: ServingStatus) {
    let reading = async { while stream.message().await.unwrap().unwrap().status() != wanted {} };
    soon(&format!("health {wanted:?}"), reading).await;
}

#[tokio::test]
async fn every_call_but_health_needs_the_admin_token() {
    let resin = Resin::start(&[("RESIN_ADMIN_TOKEN", "open-sesame")]).await;
    for wrong in ["", "open-sesam", "open-sesame2", "OPEN-SESAME"] {
        let grpc = Grpc::new(resin.control, wrong);
        let refusals = [
            grpc.platform("Default").await.map(drop),
            grpc.upsert_nodes(vec![]).await.map(drop),
            grpc.logs
                .clone()
                .list_request_logs(resin::proto::ListRequestLogsRequest::default())
                .await
                .map(drop),
            grpc.logs
                .clone()
                .stream_request_logs(resin::proto::StreamRequestLogsRequest::default())
                .await
                .map(drop),
            grpc.platforms.clone().watch_platforms(resin::proto::WatchPlatformsRequest {}).await.map(drop),
            grpc.system.clone().get_system_info(GetSystemInfoRequest {}).await.map(drop),
        ];
        for refusal in refusals {
            let status = refusal.unwrap_err();
            assert_eq!(status.code(), Code::Unauthenticated, "{wrong:?}: {status:?}");
            assert!(!format!("{status:?}").contains("open-sesame"), "{status:?}");
        }
        assert_eq!(
            health(&grpc.channel, "").await,
            Ok(ServingStatus::Serving),
            "health is open to everybody"
        );
    }
    resin.grpc().platform("Default").await.unwrap();
}

#[tokio::test]
async fn a_token_may_stand_in_a_file() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "from-the-file\n").unwrap();
    let database = Database::new().await;
    let settings = [
        ("RESIN_DATABASE_URL", database.url.as_str()),
        ("RESIN_DATA_LISTEN", "127.0.0.1:0"),
        ("RESIN_CONTROL_LISTEN", "127.0.0.1:0"),
        ("RESIN_OPS_LISTEN", "127.0.0.1:0"),
        ("RESIN_ADMIN_TOKEN_FILE", file.path().to_str().unwrap()),
    ];
    let resin = Resin::ready(support::resin::Process::spawn(&["serve"], &settings)).await;

    let refused = Grpc::new(resin.control, "").platform("Default").await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    Grpc::new(resin.control, "from-the-file").platform("Default").await.unwrap();
}

#[tokio::test]
async fn health_is_told_per_service_and_overall() {
    let resin = Resin::start(&[]).await;
    let channel = resin.grpc().channel;
    assert_eq!(health(&channel, "").await, Ok(ServingStatus::Serving));
    for service in SERVICES {
        assert_eq!(health(&channel, service).await, Ok(ServingStatus::Serving), "{service}");
    }
    assert_eq!(health(&channel, "resin.control.v1.NoService").await, Err(Code::NotFound));
}

#[tokio::test]
async fn a_lost_database_shows_in_health_and_not_on_the_data_path() {
    let database = Database::new().await;
    let mut wire = Wire::new(&database).await;
    let resin = Resin::start_bare(&[("RESIN_DATABASE_URL", wire.url.as_str())]).await;
    let origin = Origin::start().await;
    resin.upsert_nodes(&[("direct://", "")]).await;
    let grpc = resin.grpc();
    let mut watches = Vec::new();
    for service in ["", "resin.control.v1.RequestLogService", "resin.control.v1.PlatformService"] {
        let answer = HealthClient::new(grpc.channel.clone()).watch(of(service)).await.unwrap();
        let mut watch = answer.into_inner();
        until(&mut watch, ServingStatus::Serving).await;
        watches.push(watch);
    }

    wire.cut().await;
    for watch in &mut watches {
        until(watch, ServingStatus::NotServing).await;
    }
    let (status, head) = forward(&resin, "Default", &origin.url("/away")).await;
    assert_eq!(status, 200, "{head}");
    assert_eq!(resin.ops_get("/readyz").await.0, 200, "readiness is the data path's");
    let refused = soon("an answer", grpc.upsert_platform(support::grpc::named("Nimbus"))).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
    let details = tonic_types::StatusExt::get_details_retry_info(&refused);
    assert!(details.is_some_and(|info| info.retry_delay.is_some()), "RetryInfo: {refused:?}");
    assert!(!format!("{refused:?}").contains(PASSWORD));
    assert_eq!(grpc.platform("Default").await.unwrap().name, "Default", "reads come from memory");

    wire.restore().await;
    for watch in &mut watches {
        until(watch, ServingStatus::Serving).await;
    }
    grpc.upsert_platform(support::grpc::named("Nimbus")).await.unwrap();
    let record = resin.records_until(1).await.pop().unwrap();
    assert_eq!(record.target_url, origin.url("/away"), "the record waited for the database");
}

#[tokio::test]
async fn system_info_tells_the_settings_without_secrets() {
    let database = Database::new().await;
    let wire = Wire::new(&database).await;
    let settings = [
        ("RESIN_DATABASE_URL", wire.url.as_str()),
        ("RESIN_ADMIN_TOKEN", "open-sesame"),
        ("RESIN_PROXY_TOKEN", "close-sesame"),
        ("RESIN_CONNECT_TIMEOUT", "1500ms"),
        ("RESIN_NODES", "http://tom:hunter2@10.0.0.1:80"),
    ];
    let resin = Resin::start_bare(&settings).await;
    let info = async || {
        let answer = resin.grpc().system.get_system_info(GetSystemInfoRequest {}).await;
        answer.unwrap().into_inner()
    };

    let told = info().await;

    assert_eq!(told.version, env!("CARGO_PKG_VERSION"));
    assert!(uuid::Uuid::parse_str(&told.instance_id).is_ok(), "{}", told.instance_id);
    assert!(told.start_time.is_some());
    assert_eq!(info().await, told, "nothing in it changes while it runs");
    assert_eq!(told.settings.get("RESIN_CONNECT_TIMEOUT").map(String::as_str), Some("1500ms"));
    assert_eq!(told.settings.get("RESIN_DEFAULT_PLATFORM_MAX_RETRIES").map(String::as_str), Some("2"));
    assert!(told.settings.contains_key("RESIN_DATABASE_URL"), "{:?}", told.settings);
    let all = format!("{told:?}");
    for secret in ["open-sesame", "close-sesame", "hunter2", PASSWORD] {
        assert!(!all.contains(secret), "{secret} in {all}");
    }
}
