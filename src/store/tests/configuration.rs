//! Platforms, nodes and the schema itself.

use std::collections::HashSet;

use tokio::task::JoinSet;

use super::cluster::Database;
use crate::{
    model::{NodeFilter, NodeUri, Platform, PlatformName},
    store::{NodeChange, PlatformChange, PlatformKey, StoreError, WriteError},
};

fn called(name: &str) -> PlatformChange {
    PlatformChange {
        id: None,
        name: Some(PlatformName::parse(name).unwrap()),
        filters: None,
        max_retries: None,
        default_max_retries: 2,
        etag: None,
    }
}

fn of(platform: &Platform) -> PlatformChange {
    PlatformChange { id: Some(platform.id), name: None, ..called("unused") }
}

fn nodes(uris: &[&str]) -> Vec<NodeChange> {
    let uris: Vec<NodeUri> = uris.iter().map(|uri| uri.parse().unwrap()).collect();
    NodeChange::of_settings(&uris)
}

fn by_name(name: &str) -> PlatformKey {
    PlatformKey::Name(name.to_owned())
}

#[tokio::test]
async fn four_that_migrate_at_once_all_succeed() {
    let database = Database::empty().await;
    let mut all = JoinSet::new();
    for _ in 0..4 {
        let store = database.another();
        all.spawn(async move { store.migrate().await });
    }
    while let Some(done) = all.join_next().await {
        done.unwrap().unwrap();
    }
    assert_eq!(database.count("select count(*) from refinery_schema_history").await, 1);
}

#[tokio::test]
async fn a_newer_schema_does_not_keep_an_older_binary_out() {
    let database = Database::new().await;
    let newer = "insert into refinery_schema_history \
                 select version + 100, 'later', applied_on, checksum from refinery_schema_history";
    database.client().await.batch_execute(newer).await.unwrap();
    database.store.migrate().await.unwrap();
}

#[tokio::test]
async fn an_upsert_is_idempotent_and_every_change_has_its_etag() {
    let store = Database::new().await.store;
    let made = store.upsert_platform(called("Nimbus"), false).await.unwrap();
    assert_eq!(made.max_retries, 2);

    let again = store.upsert_platform(called("Nimbus"), false).await.unwrap();
    assert_eq!((again.id, again.etag()), (made.id, made.etag()));

    let change = PlatformChange { max_retries: Some(5), etag: Some(made.etag()), ..called("Nimbus") };
    let changed = store.upsert_platform(change, false).await.unwrap();
    assert_eq!(changed.id, made.id);
    assert_ne!(changed.etag(), made.etag());
}

#[tokio::test]
async fn a_stale_etag_changes_and_deletes_nothing() {
    let store = Database::new().await.store;
    let first = store.upsert_platform(called("Nimbus"), false).await.unwrap();
    let change = PlatformChange { max_retries: Some(5), ..of(&first) };
    store.upsert_platform(change, false).await.unwrap();

    let stale = PlatformChange { max_retries: Some(9), etag: Some(first.etag()), ..of(&first) };
    assert!(matches!(store.upsert_platform(stale, false).await, Err(WriteError::StaleEtag)));
    let deleted = store.delete_platform(by_name("Nimbus"), Some(first.etag())).await;
    assert!(matches!(deleted, Err(WriteError::StaleEtag)));
    let create = PlatformChange { etag: Some(first.etag()), ..called("Other") };
    assert!(matches!(store.upsert_platform(create, false).await, Err(WriteError::StaleEtag)));

    let (platforms, _) = store.configuration().await.unwrap();
    assert_eq!(platforms.iter().map(|platform| platform.max_retries).collect::<Vec<_>>(), [5]);
}

#[tokio::test]
async fn a_name_that_is_used_again_brings_no_etag_back() {
    let store = Database::new().await.store;
    let mut etags = HashSet::new();
    for _ in 0..50 {
        let made = store.upsert_platform(called("Nimbus"), false).await.unwrap();
        assert!(etags.insert(made.etag()), "{} came twice", made.etag());
        store.delete_platform(PlatformKey::Id(made.id), Some(made.etag())).await.unwrap();
    }
    let gone = store.delete_platform(by_name("Nimbus"), None).await;
    assert!(matches!(gone, Err(WriteError::NotFound)));
}

#[tokio::test]
async fn an_id_renames_and_neither_a_name_in_use_nor_default_is_taken() {
    let store = Database::new().await.store;
    store.ensure_default_platform(1).await.unwrap();
    store.ensure_default_platform(7).await.unwrap();
    let one = store.upsert_platform(called("One"), false).await.unwrap();
    let two = store.upsert_platform(called("Two"), false).await.unwrap();

    let rename = PlatformChange { name: called("Uno").name, ..of(&one) };
    assert_eq!(store.upsert_platform(rename, false).await.unwrap().id, one.id);
    let taken = PlatformChange { name: called("Uno").name, ..of(&two) };
    assert!(matches!(store.upsert_platform(taken, false).await, Err(WriteError::NameInUse)));

    let default = store.upsert_platform(called("Default"), false).await.unwrap();
    assert_eq!(default.max_retries, 1);
    let rename = PlatformChange { name: called("Else").name, ..of(&default) };
    assert!(matches!(store.upsert_platform(rename, false).await, Err(WriteError::DefaultProtected)));
    let deleted = store.delete_platform(by_name("Default"), None).await;
    assert!(matches!(deleted, Err(WriteError::DefaultProtected)));

    let unknown = PlatformChange { id: Some(uuid::Uuid::now_v7()), ..called("New") };
    assert!(matches!(store.upsert_platform(unknown, false).await, Err(WriteError::NotFound)));
}

#[tokio::test]
async fn many_that_create_one_name_at_once_make_one_platform() {
    let database = Database::new().await;
    let mut all = JoinSet::new();
    for retries in 0..16 {
        let store = database.store.clone();
        let change = PlatformChange { max_retries: Some(retries), ..called("Nimbus") };
        all.spawn(async move { store.upsert_platform(change, false).await });
    }
    let mut revisions = HashSet::new();
    while let Some(done) = all.join_next().await {
        let platform = done.unwrap().unwrap();
        assert!(revisions.insert(platform.revision), "two changes with one etag");
    }
    assert_eq!(database.count("select count(*) from platforms").await, 1);
}

#[tokio::test]
async fn batches_of_the_same_nodes_in_any_order_do_not_lock_each_other_out() {
    let database = Database::new().await;
    let there: Vec<String> = (1..60).map(|port| format!("http://node.test:{port}")).collect();
    let there: Vec<&str> = there.iter().map(String::as_str).collect();
    let back: Vec<&str> = there.iter().rev().copied().collect();
    let mut all = JoinSet::new();
    for round in 0..12 {
        let (store, changes) = (database.store.clone(), nodes(if round % 2 == 0 { &there } else { &back }));
        all.spawn(async move { store.upsert_nodes(changes, false).await });
    }
    while let Some(done) = all.join_next().await {
        assert_eq!(done.unwrap().unwrap().len(), there.len());
    }
}

#[tokio::test]
async fn nodes_keep_the_order_of_their_batch_and_their_declarations() {
    let store = Database::new().await.store;
    let mut changes = nodes(&["socks5://u:p@z.test:1#zed", "direct://", "http://a.test:2"]);
    changes[0].egress_ip = Some(Some("192.0.2.1".parse().unwrap()));
    let written = store.upsert_nodes(changes.clone(), false).await.unwrap();
    let order = |nodes: &[crate::model::Node]| nodes.iter().map(|node| node.hash).collect::<Vec<_>>();
    assert_eq!(order(&written), changes.iter().map(|change| change.config.hash()).collect::<Vec<_>>());

    changes[0].egress_ip = None;
    let kept = store.upsert_nodes(changes.clone(), false).await.unwrap();
    assert_eq!(kept[0].egress_ip, written[0].egress_ip);
    changes[0].egress_ip = Some(None);
    assert_eq!(store.upsert_nodes(changes, false).await.unwrap()[0].egress_ip, None);

    let deleted = store.delete_nodes(&[written[0].hash, written[0].hash]).await.unwrap();
    assert_eq!(deleted, 1);
}

#[tokio::test]
async fn validate_only_answers_what_would_be_and_writes_nothing() {
    let database = Database::new().await;
    let filters = vec![NodeFilter::parse("^de").unwrap()];
    let change = PlatformChange { filters: Some(filters), ..called("Nimbus") };
    let would_be = database.store.upsert_platform(change, true).await.unwrap();
    assert_eq!(would_be.filters.len(), 1);
    assert_eq!(database.store.upsert_nodes(nodes(&["direct://"]), true).await.unwrap().len(), 1);
    let rows = "select (select count(*) from platforms) + (select count(*) from nodes)";
    assert_eq!(database.count(rows).await, 0);
}

#[tokio::test]
async fn what_cannot_be_read_is_no_sign_of_a_database_that_is_away_and_shows_no_secret() {
    let database = Database::new().await;
    let changes = nodes(&["http://u:hunter2@node.test:1"]);
    database.store.upsert_nodes(changes.clone(), false).await.unwrap();
    database.client().await.batch_execute("update nodes set region = 'nowhere'").await.unwrap();
    let error = database.store.configuration().await.unwrap_err();
    assert!(matches!(error, StoreError::Unreadable(_)), "{error}");

    let untagged = NodeChange { tags: Vec::new(), ..changes[0].clone() };
    let error = database.store.upsert_nodes(vec![untagged], false).await.unwrap_err();
    assert!(!error.to_string().contains("hunter2"), "{error}");
    assert!(matches!(error, WriteError::Store(StoreError::Value(_))), "{error}");
}

#[tokio::test]
async fn a_database_that_is_away_is_told_as_such_and_found_again() {
    let database = Database::new().await;
    database.go_away().await;
    assert!(database.store.ping().await.unwrap_err().is_unavailable());
    let refused = database.store.upsert_platform(called("Nimbus"), false).await;
    assert!(matches!(refused, Err(WriteError::Store(error)) if error.is_unavailable()));
    database.come_back().await;
    database.store.upsert_platform(called("Nimbus"), false).await.unwrap();
}
