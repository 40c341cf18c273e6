//! Platforms over gRPC: what an upsert changes and refuses, what is watched, and that it is in force when it answers.

#![allow(clippy::unwrap_used)] // a broken expectation is a failed test

mod support;

use prost_types::FieldMask;
use resin::proto::{
    DeletePlatformRequest, GetPlatformRequest, ListPlatformsRequest, Platform, UpsertPlatformRequest,
    delete_platform_request, get_platform_request,
};
use support::{
    grpc::{Grpc, assert_refused, named, violations},
    resin::Resin,
    world::{Dying, forward},
};
use tonic::{Code, Status};

const NOBODY: &str = "0198c0de-0000-7000-8000-000000000000";

async fn with_mask(grpc: &Grpc, platform: Platform, paths: &[&str]) -> Result<Platform, Status> {
    let update_mask = Some(FieldMask { paths: paths.iter().map(ToString::to_string).collect() });
    let request = UpsertPlatformRequest { platform: Some(platform), update_mask, validate_only: false };
    grpc.platforms.clone().upsert_platform(request).await.map(tonic::Response::into_inner)
}

async fn delete(grpc: &Grpc, name: &str, etag: &str) -> Result<(), Status> {
    let key = Some(delete_platform_request::Key::Name(name.to_owned()));
    let request = DeletePlatformRequest { key, etag: etag.to_owned(), allow_missing: false };
    grpc.platforms.clone().delete_platform(request).await.map(drop)
}

async fn names(grpc: &Grpc) -> Vec<String> {
    let all = grpc.platforms.clone().list_platforms(ListPlatformsRequest::default()).await.unwrap();
    all.into_inner().platforms.into_iter().map(|platform| platform.name).collect()
}

#[tokio::test]
async fn default_is_there_and_a_platform_without_max_retries_takes_the_setting() {
    let resin = Resin::start(&[("RESIN_DEFAULT_PLATFORM_MAX_RETRIES", "5")]).await;
    let grpc = resin.grpc();

    let default = grpc.platform("Default").await.unwrap();
    assert_eq!(default.max_retries, Some(5));
    assert!(!default.id.is_empty() && !default.etag.is_empty());
    assert!(default.create_time.is_some() && default.update_time.is_some());

    let nimbus = grpc.upsert_platform(named("Nimbus")).await.unwrap();
    assert_eq!(nimbus.max_retries, Some(5));
    assert_eq!(names(&grpc).await, ["Default", "Nimbus"]);
}

#[tokio::test]
async fn an_upsert_is_idempotent_and_trims_the_name() {
    let resin = Resin::start(&[]).await;
    let grpc = resin.grpc();
    let wanted = Platform {
        regex_filters: vec!["^eu-".to_owned(), "!slow".to_owned()],
        max_retries: Some(3),
        ..named("  Nimbus\t")
    };

    let first = grpc.upsert_platform(wanted.clone()).await.unwrap();
    let second = grpc.upsert_platform(wanted).await.unwrap();

    assert_eq!(first.name, "Nimbus");
    assert_eq!((&first.id, &first.create_time), (&second.id, &second.create_time));
    assert_eq!((second.max_retries, second.regex_filters.len()), (Some(3), 2));
    assert_eq!(grpc.platform("Nimbus").await.unwrap(), second, "what is read is what the upsert answered");
    let key = Some(get_platform_request::Key::Id(first.id));
    let by_id = grpc.platforms.clone().get_platform(GetPlatformRequest { key }).await.unwrap().into_inner();
    assert_eq!(by_id, second);
    assert_eq!(names(&grpc).await, ["Default", "Nimbus"]);
}

#[tokio::test]
async fn each_bad_field_is_named_and_nothing_is_stored() {
    let resin = Resin::start(&[]).await;
    let grpc = resin.grpc();
    let long = "x".repeat(129);
    let mut bad_names: Vec<String> =
        [".", ":", "|", "/", "\\", "@", "?", "#", "%", "~", " ", "\t", "\u{a0}", "\n"]
            .iter()
            .map(|forbidden| format!("Nim{forbidden}bus"))
            .collect();
    bad_names.extend(["", "   ", "api", "API", "Api", &long].map(ToString::to_string));

    for name in &bad_names {
        let refused = grpc.upsert_platform(named(name)).await.expect_err(name);
        assert_eq!(violations(&refused), ["platform.name"], "{name:?}");
    }
    for max_retries in [-1, 17, i32::MIN, i32::MAX] {
        let platform = Platform { max_retries: Some(max_retries), ..named("Nimbus") };
        let refused = grpc.upsert_platform(platform).await.unwrap_err();
        assert_eq!(violations(&refused), ["platform.max_retries"], "{max_retries}");
    }
    for filter in ["(", "[a", "!(", "*", "a{2,1}", &"x".repeat(513)] {
        let regex_filters = vec!["fine".to_owned(), filter.to_owned()];
        let refused =
            grpc.upsert_platform(Platform { regex_filters, ..named("Nimbus") }).await.expect_err(filter);
        assert_eq!(violations(&refused), ["platform.regex_filters[1]"], "{filter:?}");
    }
    let regex_filters = vec!["a".to_owned(); 65];
    let refused = grpc.upsert_platform(Platform { regex_filters, ..named("Nimbus") }).await.unwrap_err();
    assert_eq!(violations(&refused), ["platform.regex_filters"]);
    let refused =
        grpc.upsert_platform(Platform { id: "seven".to_owned(), ..named("Nimbus") }).await.unwrap_err();
    assert_eq!(violations(&refused), ["platform.id"]);
    let refused = grpc.platforms.clone().upsert_platform(UpsertPlatformRequest::default()).await.unwrap_err();
    assert_eq!(violations(&refused), ["platform"]);

    assert_eq!(names(&grpc).await, ["Default"]);
}

#[tokio::test]
async fn all_violations_come_at_once() {
    let resin = Resin::start(&[]).await;
    let regex_filters = vec!["(".to_owned(), "fine".to_owned(), "!)".to_owned()];
    let platform = Platform { max_retries: Some(-1), regex_filters, ..named("a/b") };

    let refused = resin.grpc().upsert_platform(platform).await.unwrap_err();

    let wrong =
        ["platform.max_retries", "platform.name", "platform.regex_filters[0]", "platform.regex_filters[2]"];
    assert_eq!(violations(&refused), wrong);
}

#[tokio::test]
async fn max_retries_of_zero_and_sixteen_are_kept() {
    let resin = Resin::start(&[]).await;
    for max_retries in [0, 16] {
        resin.set_retries("Nimbus", max_retries).await;
        assert_eq!(resin.grpc().platform("Nimbus").await.unwrap().max_retries, Some(max_retries));
    }
}

#[tokio::test]
async fn an_id_renames_and_a_name_in_use_is_refused() {
    let resin = Resin::start(&[]).await;
    let grpc = resin.grpc();
    let nimbus = grpc.upsert_platform(Platform { max_retries: Some(7), ..named("Nimbus") }).await.unwrap();
    grpc.upsert_platform(named("Cirrus")).await.unwrap();

    let renamed = grpc.upsert_platform(Platform { id: nimbus.id.clone(), ..named("Stratus") }).await.unwrap();
    assert_eq!((&renamed.id, renamed.max_retries), (&nimbus.id, Some(7)));
    assert_refused(&grpc.platform("Nimbus").await.unwrap_err(), Code::NotFound);

    let taken =
        grpc.upsert_platform(Platform { id: nimbus.id.clone(), ..named("Cirrus") }).await.unwrap_err();
    assert_refused(&taken, Code::AlreadyExists);
    let unknown = grpc.upsert_platform(Platform { id: NOBODY.to_owned(), ..named("New") }).await.unwrap_err();
    assert_refused(&unknown, Code::NotFound);
    assert_eq!(names(&grpc).await, ["Cirrus", "Default", "Stratus"]);
}

#[tokio::test]
async fn a_stale_etag_is_aborted_and_nothing_changes() {
    let resin = Resin::start(&[]).await;
    let grpc = resin.grpc();
    let first = grpc.upsert_platform(Platform { max_retries: Some(1), ..named("Nimbus") }).await.unwrap();
    let fresh = Platform { max_retries: Some(2), etag: first.etag.clone(), ..named("Nimbus") };
    let second = grpc.upsert_platform(fresh).await.unwrap();
    assert_ne!(first.etag, second.etag);

    let stale = Platform { max_retries: Some(3), etag: first.etag.clone(), ..named("Nimbus") };
    assert_refused(&grpc.upsert_platform(stale).await.unwrap_err(), Code::Aborted);
    assert_refused(&delete(&grpc, "Nimbus", &first.etag).await.unwrap_err(), Code::Aborted);
    assert_eq!(grpc.platform("Nimbus").await.unwrap(), second);

    delete(&grpc, "Nimbus", &second.etag).await.unwrap();
    assert_eq!(names(&grpc).await, ["Default"]);
}

#[tokio::test]
async fn a_mask_changes_exactly_what_it_names() {
    let resin = Resin::start(&[]).await;
    let grpc = resin.grpc();
    let filters = |text: &str| vec![text.to_owned()];
    let all = Platform { regex_filters: filters("a"), max_retries: Some(3), ..named("Nimbus") };
    grpc.upsert_platform(all).await.unwrap();

    let other = Platform { regex_filters: filters("b"), max_retries: Some(9), ..named("Nimbus") };
    let only = with_mask(&grpc, other, &["max_retries"]).await.unwrap();
    assert_eq!((only.max_retries, only.regex_filters), (Some(9), filters("a")));

    let present =
        grpc.upsert_platform(Platform { regex_filters: filters("c"), ..named("Nimbus") }).await.unwrap();
    assert_eq!(
        (present.max_retries, present.regex_filters),
        (Some(9), filters("c")),
        "no mask: what is present"
    );

    let cleared = with_mask(&grpc, named("Nimbus"), &["regex_filters"]).await.unwrap();
    assert_eq!(
        (cleared.max_retries, cleared.regex_filters),
        (Some(9), vec![]),
        "a named list can be emptied"
    );

    for path in ["colour", "id", "etag", "platform.max_retries", ""] {
        let refused = with_mask(&grpc, named("Nimbus"), &["max_retries", path]).await.expect_err(path);
        assert!(violations(&refused)[0].starts_with("update_mask"), "{path}: {refused:?}");
    }
    assert_eq!(grpc.platform("Nimbus").await.unwrap().max_retries, Some(9));
}

#[tokio::test]
async fn validate_only_checks_everything_and_writes_nothing() {
    let resin = Resin::start(&[]).await;
    let grpc = resin.grpc();
    let nimbus = grpc.upsert_platform(Platform { max_retries: Some(1), ..named("Nimbus") }).await.unwrap();
    grpc.upsert_platform(named("Cirrus")).await.unwrap();
    let check = async |platform: Platform| {
        let request =
            UpsertPlatformRequest { platform: Some(platform), validate_only: true, update_mask: None };
        grpc.platforms.clone().upsert_platform(request).await.map(tonic::Response::into_inner)
    };

    let would = check(Platform { max_retries: Some(8), ..named("Nimbus") }).await.unwrap();
    assert_eq!((would.max_retries, &would.id), (Some(8), &nimbus.id));
    assert_eq!(check(named("New")).await.unwrap().name, "New");
    assert_eq!(violations(&check(named("a b")).await.unwrap_err()), ["platform.name"]);
    let taken = check(Platform { id: nimbus.id.clone(), ..named("Cirrus") }).await.unwrap_err();
    assert_refused(&taken, Code::AlreadyExists);
    let stale = check(Platform { etag: "old".to_owned(), ..named("Nimbus") }).await.unwrap_err();
    assert!(matches!(stale.code(), Code::Aborted | Code::InvalidArgument), "{stale:?}");

    assert_eq!(grpc.platform("Nimbus").await.unwrap(), nimbus);
    assert_eq!(names(&grpc).await, ["Cirrus", "Default", "Nimbus"]);
}

#[tokio::test]
async fn default_can_be_changed_but_neither_deleted_nor_renamed() {
    let resin = Resin::start(&[]).await;
    let grpc = resin.grpc();
    let default = resin.set_retries("Default", 0).await;
    assert_eq!(default.max_retries, Some(0));

    assert_refused(&delete(&grpc, "Default", "").await.unwrap_err(), Code::FailedPrecondition);
    let renamed = grpc.upsert_platform(Platform { id: default.id, ..named("Other") }).await.unwrap_err();
    assert_refused(&renamed, Code::FailedPrecondition);
    assert_eq!(names(&grpc).await, ["Default"]);
}

#[tokio::test]
async fn what_is_not_there_is_not_found_and_a_bad_key_is_named() {
    let resin = Resin::start(&[]).await;
    let grpc = resin.grpc();
    grpc.upsert_platform(named("Nimbus")).await.unwrap();
    let get = async |key: Option<get_platform_request::Key>| {
        grpc.platforms.clone().get_platform(GetPlatformRequest { key }).await.map(drop).unwrap_err()
    };
    let remove = async |key: Option<delete_platform_request::Key>, allow_missing: bool| {
        let request = DeletePlatformRequest { key, allow_missing, etag: String::new() };
        grpc.platforms.clone().delete_platform(request).await.map(drop)
    };
    use delete_platform_request::Key as Delete;
    use get_platform_request::Key as Get;

    assert_refused(&get(Some(Get::Name("nimbus".to_owned()))).await, Code::NotFound); // names are case-sensitive
    assert_refused(&get(Some(Get::Id(NOBODY.to_owned()))).await, Code::NotFound);
    assert_eq!(violations(&get(Some(Get::Id("seven".to_owned()))).await), ["id"]);
    assert_eq!(get(None).await.code(), Code::InvalidArgument);

    let missing = || Some(Delete::Name("Nobody".to_owned()));
    assert_refused(&remove(missing(), false).await.unwrap_err(), Code::NotFound);
    remove(missing(), true).await.unwrap();
    remove(Some(Delete::Id(NOBODY.to_owned())), true).await.unwrap();
    assert_eq!(violations(&remove(Some(Delete::Id("x".to_owned())), true).await.unwrap_err()), ["id"]);
    assert_eq!(remove(None, true).await.unwrap_err().code(), Code::InvalidArgument);
    assert_eq!(names(&grpc).await, ["Default", "Nimbus"]);
}

#[tokio::test]
async fn pages_cover_everything_once_and_a_foreign_token_is_refused() {
    let resin = Resin::start(&[]).await;
    let grpc = resin.grpc();
    for name in ["A", "B", "C", "E"] {
        grpc.upsert_platform(named(name)).await.unwrap();
    }
    let list = async |page_size: i32, page_token: &str| {
        let request = ListPlatformsRequest { page_size, page_token: page_token.to_owned() };
        grpc.platforms.clone().list_platforms(request).await.map(tonic::Response::into_inner)
    };

    let (mut seen, mut token) = (Vec::new(), String::new());
    loop {
        let page = list(2, &token).await.unwrap();
        assert!(page.platforms.len() <= 2);
        seen.extend(page.platforms.into_iter().map(|platform| platform.name));
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    assert_eq!(seen, ["A", "B", "C", "Default", "E"]);
    assert_eq!(list(1_000_000, "").await.unwrap().platforms.len(), 5);
    assert_eq!(violations(&list(-1, "").await.unwrap_err()), ["page_size"]);
    assert_eq!(violations(&list(0, "not a token").await.unwrap_err()), ["page_token"]);
}

#[tokio::test]
async fn an_upsert_is_in_force_when_it_answers() {
    let resin = Resin::start(&[]).await;
    let dying = Dying::nodes(5).await;
    dying.join(&resin).await;

    let mut before = 0;
    for max_retries in [1, 0, 3, 2] {
        resin.set_retries("Nimbus", max_retries).await;
        let (status, head) = forward(&resin, "Nimbus", "http://127.0.0.1:9/").await;
        assert_eq!(status, 502, "{head}");
        let dials = dying.dials();
        assert_eq!(dials - before, 1 + usize::try_from(max_retries).unwrap(), "max_retries = {max_retries}");
        before = dials;
    }
}
