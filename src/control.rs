//! The control plane: gRPC services over the store and the snapshot in force.
//!
//! Proto messages become domain types at the door (`convert`), errors become statuses in one table (`status`). Writes
//! go to the store and are in force here before they are answered; reads come from the snapshot.

mod auth;
mod convert;
pub(crate) mod filter;
mod logs;
mod nodes;
pub(crate) mod page;
mod platforms;
pub(crate) mod status;
mod stream;
mod system;
#[cfg(test)]
mod tests;
mod watch;

use std::{sync::Arc, time::Duration};

use tokio::{net::TcpListener, sync::watch as signal, time::timeout};
use tokio_util::sync::CancellationToken;
use tonic::{
    service::{Routes, interceptor::InterceptedService},
    transport::{Server, server::TcpIncoming},
};
use tonic_health::{ServingStatus, server::HealthReporter};
use tower_http::catch_panic::CatchPanicLayer;

use crate::{
    model::Secret,
    proto::{
        self, node_service_server::NodeServiceServer, platform_service_server::PlatformServiceServer,
        request_log_service_server::RequestLogServiceServer, system_service_server::SystemServiceServer,
    },
    routing::Directory,
    store::{Changes, Store},
};

pub use system::SystemFacts;

const SERVICES: [&str; 4] = [
    "resin.control.v1.PlatformService",
    "resin.control.v1.NodeService",
    "resin.control.v1.RequestLogService",
    "resin.control.v1.SystemService",
];
/// Ten thousand nodes fit.
const MAX_MESSAGE: usize = 16 * 1024 * 1024;
const KEEPALIVE: Duration = Duration::from_secs(30);
/// How long calls may take to end once it stops.
const STOP_TIMEOUT: Duration = Duration::from_secs(1);

/// What the services work with.
#[derive(Clone)]
pub struct Control {
    pub store: Store,
    pub changes: Arc<Changes>,
    pub directory: Arc<Directory>,
    pub system: SystemFacts,
    /// Empty: anybody may call.
    pub admin_token: Secret,
    /// Of a platform that is created without `max_retries`.
    pub default_max_retries: i32,
}

/// Serves until `stop`; open streams end then.
pub async fn serve(
    control: Control,
    listener: TcpListener,
    ready: signal::Receiver<bool>,
    stop: CancellationToken,
) -> Result<(), tonic::transport::Error> {
    let (reporter, health) = tonic_health::server::health_reporter();
    let database = control.changes.database_up();
    let (is_ready, is_up) = (*ready.borrow(), *database.borrow());
    report(&reporter, is_ready, is_up).await;
    let reporting = tokio::spawn(keep_reporting(reporter, ready, database));

    let auth = auth::Bearer::new(control.admin_token.clone());
    let platforms = PlatformServiceServer::new(platforms::Platforms::new(control.clone(), stop.clone()))
        .max_decoding_message_size(MAX_MESSAGE);
    let nodes =
        NodeServiceServer::new(nodes::Nodes::new(control.clone())).max_decoding_message_size(MAX_MESSAGE);
    let logs = RequestLogServiceServer::new(logs::RequestLogs::new(control.store.clone(), stop.clone()));
    let system = SystemServiceServer::new(system::System::new(control.system.clone()));

    let mut routes = Routes::builder();
    routes
        .add_service(health)
        .add_service(InterceptedService::new(platforms, auth.clone()))
        .add_service(InterceptedService::new(nodes, auth.clone()))
        .add_service(InterceptedService::new(logs, auth.clone()))
        .add_service(InterceptedService::new(system, auth.clone()));
    if let Ok(reflection) = reflection().build_v1() {
        routes.add_service(InterceptedService::new(reflection, auth.clone()));
    }
    if let Ok(reflection) = reflection().build_v1alpha() {
        routes.add_service(InterceptedService::new(reflection, auth));
    }
    let served = Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE))
        .layer(CatchPanicLayer::custom(status::of_panic))
        .add_routes(routes.routes())
        .serve_with_incoming_shutdown(
            TcpIncoming::from(listener).with_nodelay(Some(true)),
            stop.clone().cancelled_owned(),
        );
    // Streams end by `stop` themselves; what does not is cut.
    let mut served = std::pin::pin!(served);
    let ended = tokio::select! {
        ended = served.as_mut() => ended,
        () = stop.cancelled() => timeout(STOP_TIMEOUT, served).await.unwrap_or(Ok(())),
    };
    reporting.abort();
    ended
}

fn reflection() -> tonic_reflection::server::Builder<'static> {
    tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(proto::DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        // So that clients can show the details of an error.
        .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
}

/// The services need their database; overall health is that of all of them.
async fn report(reporter: &HealthReporter, ready: bool, database: bool) {
    let status = |serving| if serving { ServingStatus::Serving } else { ServingStatus::NotServing };
    for service in SERVICES.into_iter().chain([""]) {
        reporter.set_service_status(service, status(ready && database)).await;
    }
}

async fn keep_reporting(
    reporter: HealthReporter,
    mut ready: signal::Receiver<bool>,
    mut database: signal::Receiver<bool>,
) {
    loop {
        let (is_ready, is_up) = (*ready.borrow_and_update(), *database.borrow_and_update());
        report(&reporter, is_ready, is_up).await;
        let changed = tokio::select! {
            changed = ready.changed() => changed,
            changed = database.changed() => changed,
        };
        if changed.is_err() {
            return;
        }
    }
}
