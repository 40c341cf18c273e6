//! Records as they are listed, got and filtered, and as they lie in PostgreSQL.

#![allow(clippy::unwrap_used)] // a broken expectation is a failed test

mod support;

use resin::proto::{
    GetRequestLogRequest, ListRequestLogsRequest, ListRequestLogsResponse, ProxyType, RequestLog,
    RequestLogFilter, UpstreamPhase, UpstreamStage,
};
use support::{
    grpc::{Grpc, assert_refused, violations},
    resin::{Resin, exchange},
    world::{Dying, Origin, Refusing, forward, tunnel},
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tonic::{Code, Status};

async fn list(
    grpc: &Grpc,
    filter: RequestLogFilter,
    page_size: i32,
    page_token: &str,
) -> Result<ListRequestLogsResponse, Status> {
    let request =
        ListRequestLogsRequest { filter: Some(filter), page_size, page_token: page_token.to_owned() };
    grpc.logs.clone().list_request_logs(request).await.map(tonic::Response::into_inner)
}

async fn get(grpc: &Grpc, id: &str) -> Result<RequestLog, Status> {
    let request = GetRequestLogRequest { id: id.to_owned() };
    grpc.logs.clone().get_request_log(request).await.map(tonic::Response::into_inner)
}

fn any() -> RequestLogFilter {
    RequestLogFilter::default()
}

#[tokio::test]
async fn a_good_forward_request_leaves_a_whole_record() {
    let resin = Resin::start(&[]).await;
    let origin = Origin::start().await;
    let nodes = resin.upsert_nodes(&[("direct://", "way-out")]).await;
    resin.set_retries("Nimbus", 1).await;
    let url = origin.url("/a/b?c=d");

    assert_eq!(forward(&resin, "Nimbus.Tom:1", &url).await.0, 200);
    let record = resin.last_record().await;

    let id = uuid::Uuid::parse_str(&record.id).unwrap();
    assert_eq!(id.get_version_num(), 7);
    assert!(record.started_at.is_some() && record.duration.is_some());
    assert_eq!(record.proxy_type(), ProxyType::Forward);
    assert_eq!(record.client_ip, "127.0.0.1");
    assert_eq!(record.platform_id, resin.grpc().platform("Nimbus").await.unwrap().id);
    assert_eq!((&*record.platform_name, &*record.account), ("Nimbus", "Tom:1"));
    assert_eq!((&*record.target_host, record.target_port), ("127.0.0.1", i32::from(origin.address.port())));
    assert_eq!((&*record.http_method, &*record.target_url), ("GET", url.as_str()));
    assert_eq!((record.http_status, record.net_ok), (200, true));
    assert_eq!((&record.node_hash, &*record.node_tag), (&nodes[0].hash, "way-out"));
    assert_eq!((record.ingress_bytes, record.egress_bytes), (2, 0), "payload only");
    assert_eq!(record.upstream_stage(), UpstreamStage::Unspecified);
    assert_eq!(record.upstream_phase(), UpstreamPhase::Unspecified);
    let empty =
        [&record.upstream_err_kind, &record.upstream_errno, &record.upstream_err_msg, &record.resin_error];
    assert!(empty.iter().all(|text| text.is_empty()), "{record:?}");
    assert_eq!((record.retry_attempts, record.retry_details.len()), (0, 0));
    assert!(record.request_written && record.trace_id.is_empty());
    assert!(!record.instance_id.is_empty());
    assert_eq!(get(&resin.grpc(), &record.id).await.unwrap(), record);
}

#[tokio::test]
async fn a_reverse_request_and_a_tunnel_leave_theirs() {
    let resin = Resin::start(&[]).await;
    let (origin, echo) = (Origin::start().await, support::world::echo().await);
    resin.upsert_nodes(&[("direct://", "")]).await;
    let target = format!("/any/Default.Tom/http/{}/x?y", origin.address);
    let request = format!("GET {target} HTTP/1.1\r\nHost: resin.test\r\nConnection: close\r\n\r\n");
    assert!(exchange(resin.data, &request).await.unwrap().starts_with("HTTP/1.1 200"));

    let record = resin.last_record().await;
    assert_eq!((record.proxy_type(), &*record.account), (ProxyType::Reverse, "Tom"));
    assert_eq!(record.target_url, origin.url("/x?y"));

    let mut through = tunnel(&resin, "Default.Tom", &echo.to_string()).await;
    through.write_all(b"twelve bytes").await.unwrap();
    through.shutdown().await.unwrap();
    through.read_to_end(&mut Vec::new()).await.unwrap();
    let record = resin.last_record().await;
    assert_eq!((record.proxy_type(), &*record.http_method), (ProxyType::Forward, "CONNECT"));
    assert_eq!((&*record.target_url, &*record.target_host), ("", "127.0.0.1"));
    assert_eq!((record.ingress_bytes, record.egress_bytes), (12, 12));
    assert_eq!((record.http_status, record.net_ok), (200, true), "{record:?}");
}

#[tokio::test]
async fn every_failed_attempt_stands_in_the_record_with_its_evidence() {
    let resin = Resin::start(&[]).await;
    let refusing = [Refusing::port(), Refusing::port(), Refusing::port()];
    let uris: Vec<String> = refusing.iter().map(|port| format!("http://{}", port.address)).collect();
    let nodes: Vec<(&str, &str)> = uris.iter().map(|uri| (uri.as_str(), "refusing")).collect();
    resin.upsert_nodes(&nodes).await;
    resin.set_retries("Default", 2).await;

    assert_eq!(forward(&resin, "Default", "http://shop.test/").await.0, 502);
    let record = resin.last_record().await;

    assert_eq!((record.retry_attempts, record.retry_details.len()), (2, 2));
    assert_eq!((record.net_ok, &*record.resin_error), (false, "UPSTREAM_REQUEST_FAILED"));
    assert_eq!(record.upstream_stage(), UpstreamStage::ForwardRoundtrip);
    assert_eq!(record.upstream_phase(), UpstreamPhase::Tcp);
    assert_eq!((&*record.upstream_err_kind, &*record.upstream_errno), ("connection_refused", "ECONNREFUSED"));
    assert!(!record.upstream_err_msg.is_empty() && !record.request_written);
    let mut tried = vec![record.node_hash.clone()];
    for attempt in &record.retry_details {
        assert_eq!((attempt.stage(), attempt.phase()), (UpstreamStage::ForwardRoundtrip, UpstreamPhase::Tcp));
        assert_eq!((&*attempt.err_kind, &*attempt.errno), ("connection_refused", "ECONNREFUSED"));
        assert!(!attempt.request_written && !attempt.reused_connection && !attempt.err_msg.is_empty());
        assert!(attempt.started_at.is_some() && attempt.duration.is_some());
        assert_eq!(attempt.node_tag, "refusing");
        tried.push(attempt.node_hash.clone());
    }
    tried.sort();
    tried.dedup();
    assert_eq!(tried.len(), 3, "three nodes, each tried once");
}

#[tokio::test]
async fn refusals_of_our_own_are_recorded_too() {
    let resin = Resin::start(&[("RESIN_PROXY_TOKEN", "open-sesame")]).await;
    let refused = async |request: &str, code: &str, status: i32| {
        let _ = exchange(resin.data, request).await.unwrap();
        let record = resin.last_record().await;
        assert_eq!((&*record.resin_error, record.http_status), (code, status), "{request}");
        assert_eq!((record.retry_attempts, &*record.node_hash), (0, ""), "{request}");
        record.net_ok
    };
    let close = "HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n";
    let good = format!("Proxy-Authorization: {}\r\n", support::world::basic("", "open-sesame"));
    let nobody = format!("Proxy-Authorization: {}\r\n", support::world::basic("Nobody", "open-sesame"));

    assert!(refused(&format!("GET http://a.test/ {close}\r\n"), "AUTH_REQUIRED", 407).await);
    assert!(refused(&format!("GET /wrong/Default/http/a.test/ {close}\r\n"), "AUTH_FAILED", 403).await);
    assert!(refused(&format!("GET http://a.test/ {close}{nobody}\r\n"), "PLATFORM_NOT_FOUND", 404).await);
    assert!(
        refused(&format!("GET /open-sesame/Default/ftp/a.test/ {close}\r\n"), "INVALID_PROTOCOL", 400).await
    );
    assert!(!refused(&format!("GET http://a.test/ {close}{good}\r\n"), "NO_AVAILABLE_NODES", 503).await);
}

#[tokio::test]
async fn records_are_listed_newest_first_in_pages_bound_to_their_filter() {
    let resin = Resin::start(&[]).await;
    let origin = Origin::start().await;
    resin.upsert_nodes(&[("direct://", "")]).await;
    for number in 0..7 {
        let account = if number % 2 == 0 { "Default.even" } else { "Default.odd" };
        forward(&resin, account, &origin.url(&format!("/{number}"))).await;
    }
    resin.records_until(7).await;
    let grpc = resin.grpc();
    let numbers = |logs: &[RequestLog]| -> Vec<String> {
        logs.iter().map(|log| log.target_url.rsplit('/').next().unwrap().to_owned()).collect()
    };
    let even = || RequestLogFilter { account: Some("even".to_owned()), ..any() };

    let first = list(&grpc, even(), 3, "").await.unwrap();
    let second = list(&grpc, even(), 3, &first.next_page_token).await.unwrap();
    assert_eq!(
        (numbers(&first.request_logs), numbers(&second.request_logs)),
        (vec!["6".to_owned(), "4".to_owned(), "2".to_owned()], vec!["0".to_owned()])
    );
    assert!(!first.next_page_token.is_empty() && second.next_page_token.is_empty());
    assert_eq!(list(&grpc, any(), 0, "").await.unwrap().request_logs.len(), 7);

    let foreign = list(&grpc, any(), 3, &first.next_page_token).await.unwrap_err();
    assert_eq!(violations(&foreign), ["page_token"]);
    assert_eq!(violations(&list(&grpc, any(), 3, "nonsense").await.unwrap_err()), ["page_token"]);
    assert_eq!(violations(&list(&grpc, any(), -1, "").await.unwrap_err()), ["page_size"]);
    assert_refused(&get(&grpc, "0198c0de-0000-7000-8000-000000000000").await.unwrap_err(), Code::NotFound);
    assert_eq!(violations(&get(&grpc, "seven").await.unwrap_err()), ["id"]);
}

#[tokio::test]
async fn each_filter_lets_through_what_it_says_and_bad_ones_are_named() {
    let resin = Resin::start(&[]).await;
    let (origin, dying) = (Origin::start().await, Dying::nodes(2).await);
    let direct = resin.upsert_nodes(&[("direct://", "good")]).await.remove(0);
    dying.join(&resin).await;
    let filtered = |name: &str, filter: &str| resin::proto::Platform {
        regex_filters: vec![filter.to_owned()],
        max_retries: Some(1),
        ..support::grpc::named(name)
    };
    resin.set_platform(filtered("Good", "^good$")).await;
    resin.set_platform(filtered("Bad", "^dying")).await;
    forward(&resin, "Good.Tom", &origin.url("/")).await;
    forward(&resin, "Bad.Tim", "http://shop.test/").await;
    let records = resin.records_until(2).await;
    let split = records[1].started_at;
    let grpc = resin.grpc();

    let good = [
        RequestLogFilter { platform_name: Some("Good".to_owned()), ..any() },
        RequestLogFilter { account: Some("Tom".to_owned()), ..any() },
        RequestLogFilter { target_host: Some("127.0.0.1".to_owned()), ..any() },
        RequestLogFilter { node_hash: Some(direct.hash.clone()), ..any() },
        RequestLogFilter { net_ok: Some(true), ..any() },
        RequestLogFilter { http_status: Some(200), ..any() },
        RequestLogFilter { resin_error: Some(String::new()), ..any() },
        RequestLogFilter { started_before: split, ..any() },
    ];
    let bad = [
        RequestLogFilter { net_ok: Some(false), ..any() },
        RequestLogFilter { http_status: Some(502), ..any() },
        RequestLogFilter { resin_error: Some("UPSTREAM_REQUEST_FAILED".to_owned()), ..any() },
        RequestLogFilter { min_retry_attempts: Some(1), ..any() },
        RequestLogFilter { started_after: split, ..any() },
    ];
    for (filters, expected) in [(&good[..], &records[0]), (&bad[..], &records[1])] {
        for filter in filters {
            let found = list(&grpc, filter.clone(), 0, "").await.unwrap().request_logs;
            assert_eq!(found, std::slice::from_ref(expected), "{filter:?}");
        }
    }
    let both = RequestLogFilter {
        proxy_type: Some(ProxyType::Forward.into()),
        min_retry_attempts: Some(0),
        ..any()
    };
    assert_eq!(list(&grpc, both, 0, "").await.unwrap().request_logs.len(), 2);
    let neither = RequestLogFilter { net_ok: Some(true), account: Some("Tim".to_owned()), ..any() };
    assert_eq!(list(&grpc, neither, 0, "").await.unwrap().request_logs.len(), 0, "every field must hold");

    let wrong = RequestLogFilter {
        node_hash: Some("xyz".to_owned()),
        egress_ip: Some("10.0".to_owned()),
        proxy_type: Some(77),
        started_after: Some(prost_types::Timestamp { seconds: 0, nanos: -1 }),
        ..any()
    };
    let refused = list(&grpc, wrong, 0, "").await.unwrap_err();
    let fields = ["filter.egress_ip", "filter.node_hash", "filter.proxy_type", "filter.started_after"];
    assert_eq!(violations(&refused), fields);
}

#[tokio::test]
async fn in_sql_retry_attempts_is_the_length_of_retry_details_in_every_row() {
    let resin = Resin::start(&[]).await;
    let (origin, dying) = (Origin::start().await, Dying::nodes(3).await);
    resin.upsert_nodes(&[("direct://", "good")]).await;
    dying.join(&resin).await;
    resin.set_retries("Default", 3).await;
    for _ in 0..20 {
        assert_eq!(forward(&resin, "Default", &origin.url("/")).await.0, 200, "one good node among four");
    }
    let records = resin.records_until(20).await;

    let database = resin.database();
    assert_eq!(database.count("select count(*) from request_logs").await, 20);
    let wrong = "select count(*) from request_logs where retry_attempts <> jsonb_array_length(retry_details)";
    assert_eq!(database.count(wrong).await, 0);
    let sum = "select coalesce(sum(retry_attempts), 0)::bigint from request_logs";
    let retried: i64 = records.iter().map(|record| i64::from(record.retry_attempts)).sum();
    assert_eq!(database.count(sum).await, retried);
    assert_eq!(i64::try_from(dying.dials()).unwrap(), retried, "each dial at a dead node is one retry");
}
