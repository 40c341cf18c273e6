//! Nodes over gRPC: identity, tags, what a batch does, what is shown and what never is.

#![allow(clippy::unwrap_used)] // a broken expectation is a failed test

mod support;

use resin::proto::{
    DeleteNodesRequest, GetNodeRequest, ListNodesRequest, Node, NodeSpec, NodeState, Platform,
    UpsertNodesRequest,
};
use support::{
    grpc::{Grpc, assert_refused, named, spec, violations},
    resin::Resin,
};
use tonic::{Code, Status};

async fn node(grpc: &Grpc, hash: &str) -> Result<Node, Status> {
    let request = GetNodeRequest { hash: hash.to_owned() };
    grpc.nodes.clone().get_node(request).await.map(tonic::Response::into_inner)
}

async fn one(grpc: &Grpc, node: NodeSpec) -> Node {
    let nodes = grpc.upsert_nodes(vec![node]).await.unwrap();
    let [node] = nodes.try_into().unwrap();
    node
}

fn hashes(nodes: &[Node]) -> Vec<&str> {
    nodes.iter().map(|node| node.hash.as_str()).collect()
}

#[tokio::test]
async fn one_configuration_has_one_hash_whatever_its_tag_and_spelling() {
    let resin = Resin::start(&[]).await;
    let grpc = resin.grpc();
    let hash = async |uri: &str, tag: &str| one(&grpc, spec(uri, tag)).await.hash;

    let first = hash("socks5://tom:secret@Node.Example.com:1080", "a").await;
    assert!(first.len() == 32 && first.bytes().all(|byte| byte.is_ascii_hexdigit()), "{first}");
    for same in
        ["socks5h://tom:secret@node.example.com:1080", "SOCKS5://tom:secret@node.example.com:1080#other"]
    {
        assert_eq!(hash(same, "").await, first, "{same}");
    }
    for other in [
        "socks5://tom:other@node.example.com:1080",
        "socks5://node.example.com:1080",
        "socks5://tom:secret@node.example.com:1081",
        "http://tom:secret@node.example.com:1080",
        "https://tom:secret@node.example.com:1080",
        "https://tom:secret@node.example.com:1080?insecure=true",
        "https://tom:secret@node.example.com:1080?sni=front.example.com",
        "direct://",
    ] {
        assert_ne!(hash(other, "").await, first, "{other}");
    }
    assert_eq!(grpc.all_nodes().await.len(), 9);
}

#[tokio::test]
async fn a_hash_is_the_same_on_every_database() {
    let (one_place, other_place) = (Resin::start(&[]).await, Resin::start(&[]).await);
    let nodes = [("http://u:p@10.0.0.1:3128", "x"), ("direct://", "")];
    let (here, there) = (one_place.upsert_nodes(&nodes).await, other_place.upsert_nodes(&nodes).await);
    assert_eq!(hashes(&here), hashes(&there));
}

#[tokio::test]
async fn tags_come_from_the_batch_the_fragment_or_the_address() {
    let resin = Resin::start(&[]).await;
    let grpc = resin.grpc();
    let tags = async |uri: &str, tag: &str| one(&grpc, spec(uri, tag)).await.tags;

    assert_eq!(tags("http://10.0.0.1:80", "given").await, ["given"]);
    assert_eq!(tags("http://10.0.0.1:80#fragment", "").await, ["fragment"], "an upsert replaces the tags");
    assert_eq!(tags("http://10.0.0.1:80#fragment", "given").await, ["given"]);
    assert_eq!(tags("http://10.0.0.1:80#two%20words", "").await, ["two words"]);
    assert_eq!(tags("http://10.0.0.1:80", "").await, ["10.0.0.1:80"]);
    assert_eq!(tags("direct://", "").await, ["direct"]);
}

#[tokio::test]
async fn entries_of_one_hash_are_merged_in_the_order_of_the_batch() {
    let resin = Resin::start(&[]).await;
    let batch = [
        ("http://10.0.0.2:80", "b"),
        ("http://10.0.0.1:80", "a1"),
        ("http://10.0.0.1:80", "a2"),
        ("http://10.0.0.1:80", "a1"),
    ];

    let nodes = resin.upsert_nodes(&batch).await;

    assert_eq!(
        nodes.iter().map(|node| node.uri.as_str()).collect::<Vec<_>>(),
        ["http://10.0.0.2:80", "http://10.0.0.1:80"]
    );
    let mut tags = nodes[1].tags.clone();
    tags.sort();
    assert_eq!(tags, ["a1", "a2"]);
    assert_eq!(node(&resin.grpc(), &nodes[1].hash).await.unwrap(), nodes[1]);
    assert_eq!(nodes[0].state(), NodeState::Unknown);
}

#[tokio::test]
async fn a_batch_with_one_bad_node_stores_none_and_names_every_mistake() {
    let resin = Resin::start(&[]).await;
    let grpc = resin.grpc();
    let bad = [
        "",
        "10.0.0.1:80",
        "ftp://10.0.0.1:21",
        "http://10.0.0.1",
        "http://10.0.0.1:0",
        "http://10.0.0.1:65536",
        "http://:80",
        "http://10.0.0.1:80/path",
        "http://10.0.0.1:80?mode=sideways",
        "https://10.0.0.1:80?insecure=perhaps",
        "http://10.0.0.1:80?insecure=true",
        "direct://10.0.0.1:80",
        "http://a b:80",
        "socks5://user@10.0.0.1:1080?sni=x",
    ];
    for uri in bad {
        let batch = vec![spec("http://10.0.0.9:80", "good"), spec(uri, "bad")];
        let refused = grpc.upsert_nodes(batch).await.expect_err(uri);
        assert_eq!(violations(&refused), ["nodes[1].uri"], "{uri:?}");
    }
    let region =
        |region: &str| NodeSpec { region: Some(region.to_owned()), ..spec("http://10.0.0.9:80", "x") };
    let egress = |ip: &str| NodeSpec { egress_ip: Some(ip.to_owned()), ..spec("http://10.0.0.9:80", "x") };
    let long = spec("http://10.0.0.9:80", &"x".repeat(257));
    let batch = vec![region("DE"), egress("10.0.0"), long, spec("nonsense", ""), region("deu")];
    let refused = grpc.upsert_nodes(batch).await.unwrap_err();
    let wrong = ["nodes[0].region", "nodes[1].egress_ip", "nodes[2].tag", "nodes[3].uri", "nodes[4].region"];
    assert_eq!(violations(&refused), wrong);
    assert_eq!(violations(&grpc.upsert_nodes(vec![]).await.unwrap_err()), ["nodes"]);

    assert!(grpc.all_nodes().await.is_empty());
}

#[tokio::test]
async fn a_refused_uri_is_not_repeated_with_its_password() {
    let resin = Resin::start(&[]).await;
    let refused =
        resin.grpc().upsert_nodes(vec![spec("http://tom:hunter2@10.0.0.1:99999", "")]).await.unwrap_err();
    assert_eq!(violations(&refused), ["nodes[0].uri"]);
    assert!(!format!("{refused:?}").contains("hunter2"), "{refused:?}");
    assert!(!String::from_utf8_lossy(refused.details()).contains("hunter2"));
}

#[tokio::test]
async fn validate_only_answers_what_would_be_and_stores_nothing() {
    let resin = Resin::start(&[]).await;
    let grpc = resin.grpc();
    let request = UpsertNodesRequest { nodes: vec![spec("direct://", "way-out")], validate_only: true };

    let would = grpc.nodes.clone().upsert_nodes(request).await.unwrap().into_inner().nodes;

    assert_eq!(would[0].tags, ["way-out"]);
    assert_refused(&node(&grpc, &would[0].hash).await.unwrap_err(), Code::NotFound);
}

#[tokio::test]
async fn a_declared_address_and_region_hold_until_they_are_cleared() {
    let resin = Resin::start(&[]).await;
    let grpc = resin.grpc();
    let uri = "socks5://10.0.0.1:1080";
    let facts = async |egress_ip: Option<&str>, region: Option<&str>| {
        let (egress_ip, region) = (egress_ip.map(str::to_owned), region.map(str::to_owned));
        let shown = one(&grpc, NodeSpec { egress_ip, region, ..spec(uri, "") }).await;
        assert_eq!(node(&grpc, &shown.hash).await.unwrap(), shown);
        (shown.egress_ip, shown.region)
    };
    let pair = |ip: &str, region: &str| (ip.to_owned(), region.to_owned());

    assert_eq!(facts(None, None).await, pair("", ""));
    assert_eq!(facts(Some("203.0.113.7"), Some("de")).await, pair("203.0.113.7", "de"));
    assert_eq!(facts(None, None).await, pair("203.0.113.7", "de"), "absent leaves");
    assert_eq!(facts(Some("2001:db8::7"), None).await, pair("2001:db8::7", "de"));
    assert_eq!(facts(None, Some("")).await, pair("2001:db8::7", ""), "empty clears");
    assert_eq!(facts(Some(""), Some("fr")).await, pair("", "fr"));
}

#[tokio::test]
async fn secrets_of_a_node_are_never_shown() {
    let resin = Resin::start(&[]).await;
    let grpc = resin.grpc();
    let shown = one(&grpc, spec("https://tom:hunter2@10.0.0.1:443?insecure=true&sni=front.test", "x")).await;

    let listed = grpc.all_nodes().await;

    assert_eq!(listed, std::slice::from_ref(&shown));
    assert!(!format!("{listed:?}").contains("hunter2") && !shown.uri.contains("tom"), "{listed:?}");
    assert!(shown.uri.starts_with("https://10.0.0.1:443"), "{}", shown.uri);
    assert!(shown.uri.contains("insecure=true") && shown.uri.contains("sni=front.test"), "{}", shown.uri);
}

#[tokio::test]
async fn nodes_are_listed_by_platform_and_in_pages() {
    let resin = Resin::start(&[]).await;
    let grpc = resin.grpc();
    let uris: Vec<String> = (1..=7).map(|last| format!("http://10.0.0.{last}:80#eu-{last}")).collect();
    let mut nodes: Vec<(&str, &str)> = uris.iter().map(|uri| (uri.as_str(), "")).collect();
    nodes.push(("direct://", "us"));
    resin.upsert_nodes(&nodes).await;
    resin.set_platform(Platform { regex_filters: vec!["^eu-".to_owned()], ..named("Nimbus") }).await;
    let list = async |platform: &str, page_size: i32, page_token: &str| {
        let (platform, page_token) = (platform.to_owned(), page_token.to_owned());
        let request = ListNodesRequest { platform, page_size, page_token };
        grpc.nodes.clone().list_nodes(request).await.map(tonic::Response::into_inner)
    };

    let mut seen = Vec::new();
    let mut page = list("Nimbus", 3, "").await.unwrap();
    let foreign = page.next_page_token.clone();
    loop {
        seen.append(&mut page.nodes);
        if page.next_page_token.is_empty() {
            break;
        }
        page = list("Nimbus", 3, &page.next_page_token).await.unwrap();
    }
    assert_eq!(seen.len(), 7);
    assert!(seen.iter().all(|node| node.tags[0].starts_with("eu-")));
    assert!(hashes(&seen).is_sorted(), "ordered by hash");
    assert_eq!(list("", 0, "").await.unwrap().nodes.len(), 8);

    assert_eq!(
        violations(&list("", 3, &foreign).await.unwrap_err()),
        ["page_token"],
        "another platform's token"
    );
    assert_eq!(violations(&list("", 3, "nonsense").await.unwrap_err()), ["page_token"]);
    assert_eq!(violations(&list("", -1, "").await.unwrap_err()), ["page_size"]);
    assert_refused(&list("Nobody", 0, "").await.unwrap_err(), Code::NotFound);
}

#[tokio::test]
async fn deleting_says_how_many_there_were() {
    let resin = Resin::start(&[]).await;
    let grpc = resin.grpc();
    let nodes = resin.upsert_nodes(&[("direct://", ""), ("http://10.0.0.1:80", "")]).await;
    let delete = async |hashes: &[&str]| {
        let hashes = hashes.iter().map(ToString::to_string).collect();
        let answer = grpc.nodes.clone().delete_nodes(DeleteNodesRequest { hashes }).await;
        answer.map(|answer| answer.into_inner().deleted_count)
    };
    let unknown = "0".repeat(32);

    assert_eq!(violations(&delete(&[&nodes[0].hash, "xyz"]).await.unwrap_err()), ["hashes[1]"]);
    assert_eq!(violations(&delete(&[]).await.unwrap_err()), ["hashes"]);
    assert_eq!(grpc.all_nodes().await.len(), 2);
    assert_eq!(delete(&[&nodes[0].hash, &unknown]).await.unwrap(), 1);
    assert_eq!(delete(&[&nodes[0].hash]).await.unwrap(), 0);
    assert_refused(&node(&grpc, &nodes[0].hash).await.unwrap_err(), Code::NotFound);
    assert_eq!(violations(&node(&grpc, "xyz").await.unwrap_err()), ["hash"]);
    assert_eq!(grpc.platform("Default").await.unwrap().routable_node_count, 1);
}

#[tokio::test]
async fn nodes_of_the_settings_are_put_in_and_delete_nothing() {
    let database = support::postgres::Database::new().await;
    let first = Resin::start_on(&database, &[("RESIN_NODES", "direct://#way-out  http://10.0.0.1:80")]).await;
    let shown = |nodes: Vec<Node>| {
        let mut tags: Vec<String> = nodes.into_iter().flat_map(|node| node.tags).collect();
        tags.sort();
        tags
    };
    assert_eq!(shown(first.grpc().all_nodes().await), ["10.0.0.1:80", "way-out"]);
    assert!(first.stop().await.success());

    let second = Resin::start_on(&database, &[("RESIN_NODES", "direct://#renamed")]).await;
    assert_eq!(shown(second.grpc().all_nodes().await), ["10.0.0.1:80", "renamed"]);
}
