//! Every INVALID_ARGUMENT that a comment in `proto/` promises, as a row: what is asked, and the fields that are named.
//!
//! Nothing here gets as far as a database: the request is refused before.

use prost_types::Timestamp;
use tonic::{Response, Status};
use tonic_types::StatusExt;

use super::{Port, named};
use crate::proto::{
    DeleteNodesRequest, DeletePlatformRequest, GetNodeRequest, GetPlatformRequest, GetRequestLogRequest,
    ListNodesRequest, ListPlatformsRequest, ListRequestLogsRequest, NodeSpec, Platform, RequestLogFilter,
    StreamRequestLogsRequest, UpsertNodesRequest, UpsertPlatformRequest, delete_platform_request,
    get_platform_request, stream_request_logs_request::Start,
};

fn refused<T>(answer: Result<Response<T>, Status>, expected: &[&str]) {
    let status = answer.map(drop).expect_err(&expected.join(", "));
    let Some(details) = status.get_details_bad_request() else { panic!("{expected:?}: {status:?}") };
    let fields: Vec<&str> =
        details.field_violations.iter().map(|violation| violation.field.as_str()).collect();
    assert_eq!(fields, expected, "{status:?}");
}

#[tokio::test]
async fn of_platforms() {
    let port = Port::without_database().await;
    let upsert = async |platform: Platform, fields: &[&str]| {
        let request = UpsertPlatformRequest { platform: Some(platform), ..Default::default() };
        refused(port.platforms().upsert_platform(request).await, fields);
    };
    refused(port.platforms().upsert_platform(UpsertPlatformRequest::default()).await, &["platform"]);
    let long = "x".repeat(129);
    for name in
        ["", " ", "a b", "a.b", "a:b", "a|b", "a/b", "a\\b", "a@b", "a?b", "a#b", "a%b", "a~b", "aPi", &long]
    {
        upsert(named(name), &["platform.name"]).await;
    }
    for filter in ["", "!", "(", "a\0b", &"x".repeat(513)] {
        let regex_filters = vec!["fine".to_owned(), filter.to_owned()];
        upsert(Platform { regex_filters, ..named("A") }, &["platform.regex_filters[1]"]).await;
    }
    let regex_filters = vec!["a".to_owned(); 65];
    upsert(Platform { regex_filters, ..named("A") }, &["platform.regex_filters"]).await;
    for max_retries in [Some(-1), Some(17)] {
        upsert(Platform { max_retries, ..named("A") }, &["platform.max_retries"]).await;
    }
    upsert(Platform { id: "7".to_owned(), ..named("A") }, &["platform.id"]).await;
    for path in
        ["id", "etag", "create_time", "update_time", "routable_node_count", "colour", "", "platform.name"]
    {
        let update_mask = Some(prost_types::FieldMask { paths: vec![path.to_owned()] });
        let request = UpsertPlatformRequest { platform: Some(named("A")), update_mask, validate_only: true };
        refused(port.platforms().upsert_platform(request).await, &["update_mask"]);
    }

    refused(port.platforms().get_platform(GetPlatformRequest { key: None }).await, &["key"]);
    let key = Some(get_platform_request::Key::Id("7".to_owned()));
    refused(port.platforms().get_platform(GetPlatformRequest { key }).await, &["id"]);
    refused(port.platforms().delete_platform(DeletePlatformRequest::default()).await, &["key"]);
    let key = Some(delete_platform_request::Key::Id("7".to_owned()));
    let request = DeletePlatformRequest { key, ..Default::default() };
    refused(port.platforms().delete_platform(request).await, &["id"]);
    let request = ListPlatformsRequest { page_size: -1, page_token: "x".to_owned() };
    refused(port.platforms().list_platforms(request).await, &["page_size", "page_token"]);
}

#[tokio::test]
async fn of_nodes() {
    let port = Port::without_database().await;
    let upsert = async |nodes: Vec<NodeSpec>, fields: &[&str]| {
        refused(port.nodes().upsert_nodes(UpsertNodesRequest { nodes, validate_only: true }).await, fields);
    };
    let direct = || NodeSpec { uri: "direct://".to_owned(), ..NodeSpec::default() };
    upsert(vec![], &["nodes"]).await;
    upsert(vec![direct(); 10_001], &["nodes"]).await;
    for uri in [
        "",
        "proxy:80",
        "ftp://h:1",
        "direct://x",
        "http://",
        "http://h:1/p",
        "http://h:1?a=b",
        "http://h:1#%zz",
    ] {
        upsert(vec![direct(), NodeSpec { uri: uri.to_owned(), ..direct() }], &["nodes[1].uri"]).await;
    }
    for tag in ["\u{1}".to_owned(), "x".repeat(257)] {
        upsert(vec![NodeSpec { tag, ..direct() }], &["nodes[0].tag"]).await;
    }
    upsert(vec![NodeSpec { egress_ip: Some("1.2.3".to_owned()), ..direct() }], &["nodes[0].egress_ip"]).await;
    for region in ["DE", "d", "deu", "d1"] {
        upsert(vec![NodeSpec { region: Some(region.to_owned()), ..direct() }], &["nodes[0].region"]).await;
    }
    let all_wrong = NodeSpec {
        uri: "x".to_owned(),
        tag: "\n".to_owned(),
        egress_ip: Some("x".to_owned()),
        region: Some("X".to_owned()),
    };
    let fields = ["nodes[0].uri", "nodes[0].tag", "nodes[0].egress_ip", "nodes[0].region"];
    upsert(vec![all_wrong], &fields).await;

    for hash in ["", "xyz", &"g".repeat(32), &"a".repeat(33)] {
        refused(port.nodes().get_node(GetNodeRequest { hash: hash.to_owned() }).await, &["hash"]);
        let hashes = vec!["0".repeat(32), hash.to_owned()];
        refused(port.nodes().delete_nodes(DeleteNodesRequest { hashes }).await, &["hashes[1]"]);
    }
    for count in [0, 10_001] {
        let hashes = vec!["0".repeat(32); count];
        refused(port.nodes().delete_nodes(DeleteNodesRequest { hashes }).await, &["hashes"]);
    }
    let request = ListNodesRequest { page_size: -1, page_token: "x".to_owned(), platform: String::new() };
    refused(port.nodes().list_nodes(request).await, &["page_size", "page_token"]);
}

#[tokio::test]
async fn of_request_logs() {
    let port = Port::without_database().await;
    let text = |text: &str| Some(text.to_owned());
    let any = RequestLogFilter::default;
    let late = Some(Timestamp { seconds: i64::MAX, nanos: 0 });
    let filters = [
        (RequestLogFilter { platform_name: text("\0"), ..any() }, "filter.platform_name"),
        (RequestLogFilter { account: text("\0"), ..any() }, "filter.account"),
        (RequestLogFilter { target_host: text("\0"), ..any() }, "filter.target_host"),
        (RequestLogFilter { node_hash: text("7"), ..any() }, "filter.node_hash"),
        (RequestLogFilter { egress_ip: text("1.2.3"), ..any() }, "filter.egress_ip"),
        (RequestLogFilter { proxy_type: Some(0), ..any() }, "filter.proxy_type"),
        (RequestLogFilter { proxy_type: Some(9), ..any() }, "filter.proxy_type"),
        (RequestLogFilter { http_status: Some(-1), ..any() }, "filter.http_status"),
        (RequestLogFilter { http_status: Some(1000), ..any() }, "filter.http_status"),
        (RequestLogFilter { resin_error: text("OOPS"), ..any() }, "filter.resin_error"),
        (RequestLogFilter { min_retry_attempts: Some(-1), ..any() }, "filter.min_retry_attempts"),
        (RequestLogFilter { started_after: late, ..any() }, "filter.started_after"),
        (RequestLogFilter { started_before: late, ..any() }, "filter.started_before"),
    ];
    for (filter, field) in filters {
        let filter = Some(filter);
        let request =
            ListRequestLogsRequest { filter: filter.clone(), page_size: -1, page_token: "x".to_owned() };
        refused(port.logs().list_request_logs(request).await, &["page_size", field, "page_token"]);
        let start = Some(Start::Cursor("x".to_owned()));
        let request = StreamRequestLogsRequest { filter, start, follow: true };
        refused(port.logs().stream_request_logs(request).await, &[field, "cursor"]);
    }
    let starts = [
        (Start::Cursor(String::new()), "cursor"),
        (Start::Tail(-1), "tail"),
        (Start::Tail(10_001), "tail"),
        (Start::Since(Timestamp { seconds: 0, nanos: -1 }), "since"),
        (Start::Since(Timestamp { seconds: -1, nanos: 0 }), "since"),
    ];
    for (start, field) in starts {
        let request = StreamRequestLogsRequest { start: Some(start), ..Default::default() };
        refused(port.logs().stream_request_logs(request).await, &[field]);
    }
    for id in ["", "7"] {
        refused(port.logs().get_request_log(GetRequestLogRequest { id: id.to_owned() }).await, &["id"]);
    }
}
