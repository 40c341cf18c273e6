//! Changes of platforms as they are watched, here and on another instance of the same database.

#![allow(clippy::unwrap_used)] // a broken expectation is a failed test

mod support;

use std::time::{Duration, Instant};

use resin::proto::{
    DeletePlatformRequest, Platform, WatchPlatformsRequest, WatchPlatformsResponse,
    delete_platform_request::Key, watch_platforms_response::Event,
};
use support::{
    grpc::{Grpc, named, spec},
    postgres::Database,
    resin::{Resin, soon},
    world::{Dying, forward},
};
use tonic::Streaming;

struct Watch(Streaming<WatchPlatformsResponse>);

impl Watch {
    async fn open(grpc: &Grpc) -> Self {
        let answer = grpc.platforms.clone().watch_platforms(WatchPlatformsRequest {}).await.unwrap();
        Self(answer.into_inner())
    }

    async fn next(&mut self) -> Event {
        let message = soon("an event of WatchPlatforms", self.0.message()).await.unwrap();
        message.expect("the stream goes on").event.expect("an event says something")
    }

    /// The next event as one word: `+name`, `-name` or `complete`.
    async fn word(&mut self) -> String {
        match self.next().await {
            Event::SnapshotComplete(complete) => {
                assert!(complete);
                "complete".to_owned()
            }
            Event::Platform(platform) => format!("+{}", platform.name),
            Event::DeletedName(name) => format!("-{name}"),
        }
    }
}

async fn delete(grpc: &Grpc, name: &str) {
    let key = Some(Key::Name(name.to_owned()));
    let request = DeletePlatformRequest { key, ..Default::default() };
    grpc.platforms.clone().delete_platform(request).await.unwrap();
}

#[tokio::test]
async fn a_watch_tells_what_is_there_and_then_each_change() {
    let resin = Resin::start(&[]).await;
    let grpc = resin.grpc();
    let nimbus = grpc.upsert_platform(named("Nimbus")).await.unwrap();

    let mut watch = Watch::open(&grpc).await;
    let mut present = [watch.word().await, watch.word().await];
    present.sort();
    assert_eq!(present, ["+Default", "+Nimbus"]);
    assert_eq!(watch.word().await, "complete");

    grpc.upsert_platform(named("Cirrus")).await.unwrap();
    assert_eq!(watch.word().await, "+Cirrus");

    let changed = grpc.upsert_platform(Platform { max_retries: Some(4), ..named("Nimbus") }).await.unwrap();
    assert_eq!(watch.next().await, Event::Platform(changed));

    grpc.upsert_platform(Platform { id: nimbus.id, ..named("Stratus") }).await.unwrap();
    assert_eq!([watch.word().await, watch.word().await], ["-Nimbus", "+Stratus"], "a rename");

    delete(&grpc, "Cirrus").await;
    assert_eq!(watch.word().await, "-Cirrus");
}

#[tokio::test]
async fn another_instance_follows_within_a_second() {
    let database = Database::new().await;
    let (here, there) = (Resin::start_on(&database, &[]).await, Resin::start_on(&database, &[]).await);
    let dying = Dying::nodes(4).await;
    let mut watch = Watch::open(&there.grpc()).await;
    while watch.word().await != "complete" {}

    dying.join(&here).await;
    let written = Instant::now();
    here.set_retries("Nimbus", 1).await;
    while watch.word().await != "+Nimbus" {}
    assert!(written.elapsed() < Duration::from_secs(1), "{:?}", written.elapsed());

    assert_eq!(there.grpc().all_nodes().await.len(), 4);
    let (status, head) = forward(&there, "Nimbus", "http://127.0.0.1:9/").await;
    assert_eq!((status, dying.dials()), (502, 2), "{head}");
}

#[tokio::test]
async fn another_instance_catches_up_after_its_connections_were_lost() {
    let database = Database::new().await;
    let (here, there) = (Resin::start_on(&database, &[]).await, Resin::start_on(&database, &[]).await);
    let mut watch = Watch::open(&there.grpc()).await;
    while watch.word().await != "complete" {}

    database.end_connections().await;
    let made = async {
        // The first call may meet a connection that has just died; the next must not.
        let first = here.grpc().upsert_platform(named("Nimbus")).await;
        if first.is_err() {
            here.grpc().upsert_platform(named("Nimbus")).await.unwrap();
        }
    };
    soon("an upsert after lost connections", made).await;

    while watch.word().await != "+Nimbus" {}
}

#[tokio::test]
async fn routable_nodes_are_counted_as_filters_and_nodes_change() {
    let resin = Resin::start(&[]).await;
    let grpc = resin.grpc();
    grpc.upsert_nodes(vec![
        spec("http://10.0.0.1:80", "eu-1"),
        spec("http://10.0.0.2:80", "eu-2-slow"),
        spec("http://10.0.0.3:80", "us-1"),
    ])
    .await
    .unwrap();
    let count = async |filters: &[&str]| {
        let regex_filters = filters.iter().map(ToString::to_string).collect();
        let answered = resin.set_platform(Platform { regex_filters, ..named("Nimbus") }).await;
        assert_eq!(grpc.platform("Nimbus").await.unwrap().routable_node_count, answered.routable_node_count);
        answered.routable_node_count
    };

    assert_eq!(count(&[]).await, 3, "no filters: all nodes");
    assert_eq!(count(&["^eu-"]).await, 2);
    assert_eq!(count(&["^eu-", "!slow"]).await, 1);
    assert_eq!(count(&["^eu-", "1$"]).await, 1, "every filter must match");
    assert_eq!(count(&["!^eu-"]).await, 1);
    assert_eq!(count(&["^EU-"]).await, 0);
    resin.upsert_nodes(&[("http://10.0.0.4:80", "EU-9")]).await;
    assert_eq!(grpc.platform("Nimbus").await.unwrap().routable_node_count, 1);
}
