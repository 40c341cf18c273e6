//! Spans as a collector receives them: one SERVER span per request, one CLIENT child per attempt, and the record's
//! trace is theirs.

#![allow(clippy::unwrap_used)] // a broken expectation is a failed test

mod support;

use opentelemetry_proto::tonic::trace::v1::{Span, span::SpanKind};
use support::{
    otlp::{Collector, attributes, hex},
    resin::{Resin, exchange},
    world::{Dying, Origin, Refusing, basic, forward, forward_with, tunnel},
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

async fn traced(more: &[(&str, &str)]) -> (Collector, Resin) {
    let collector = Collector::start().await;
    let endpoint = collector.endpoint();
    // The batch goes out soon, so that no test waits for the SDK's five seconds.
    let settings = [("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()), ("OTEL_BSP_SCHEDULE_DELAY", "50")];
    let resin = Resin::start(&[&settings, more].concat()).await;
    (collector, resin)
}

fn split(spans: Vec<Span>) -> (Span, Vec<Span>) {
    let (mut servers, mut attempts): (Vec<Span>, Vec<Span>) =
        spans.into_iter().partition(|span| span.kind() == SpanKind::Server);
    assert_eq!(servers.len(), 1, "{servers:?}");
    attempts.sort_by_key(|span| span.start_time_unix_nano);
    (servers.remove(0), attempts)
}

fn traceparent() -> String {
    format!("Traceparent: 00-{TRACE}-{PARENT}-01\r\n")
}

#[tokio::test]
async fn n_attempts_are_n_client_children_of_one_server_span() {
    let (collector, resin) = traced(&[]).await;
    let dying = Dying::nodes(4).await;
    dying.join(&resin).await;
    let nimbus = resin.set_retries("Nimbus", 2).await;

    assert_eq!(forward(&resin, &nimbus.name, "http://shop.test:8080/cart").await.0, 502);
    let record = resin.last_record().await;
    let (server, attempts) = split(collector.spans(4).await);

    assert_eq!(server.name, "GET forward");
    assert_eq!(hex(&server.trace_id), record.trace_id);
    assert!(server.parent_span_id.is_empty());
    let about = attributes(&server);
    assert_eq!(about["http.request.method"], "GET");
    assert_eq!(about["resin.platform"], "Nimbus");
    assert_eq!(
        (&*about["resin.error"], &*about["http.response.status_code"]),
        ("UPSTREAM_REQUEST_FAILED", "502")
    );
    let names: Vec<&str> = attempts.iter().map(|span| span.name.as_str()).collect();
    assert_eq!(names, ["attempt 1", "attempt 2", "attempt 3"]);
    let mut hashes: Vec<String> =
        record.retry_details.iter().map(|attempt| attempt.node_hash.clone()).collect();
    hashes.push(record.node_hash.clone());
    for (number, (attempt, hash)) in attempts.iter().zip(&hashes).enumerate() {
        assert_eq!(attempt.kind(), SpanKind::Client);
        assert_eq!((&attempt.trace_id, &attempt.parent_span_id), (&server.trace_id, &server.span_id));
        assert!(attempt.start_time_unix_nano >= server.start_time_unix_nano);
        assert!(attempt.end_time_unix_nano <= server.end_time_unix_nano, "a child ends before its parent");
        let about = attributes(attempt);
        assert_eq!(&about["resin.node.hash"], hash);
        assert!(about["resin.node.tag"].starts_with("dying-"));
        assert_eq!((&*about["server.address"], &*about["server.port"]), ("shop.test", "8080"));
        assert!(about["network.peer.address"].starts_with("127.0.0.1"), "{about:?}");
        assert_eq!(about["resin.upstream.stage"], "forward_roundtrip");
        assert_eq!(about["resin.upstream.phase"], "node_handshake");
        assert_eq!(about["resin.request.written"], "false");
        let kind =
            record.retry_details.get(number).map_or(&record.upstream_err_kind, |attempt| &attempt.err_kind);
        assert_eq!(&about["error.type"], kind);
        let verdict = if number < 2 { "retried" } else { "no_retries_left" };
        assert_eq!(about["resin.retry.verdict"], verdict);
        let resent = about.get("http.request.resend_count").map(String::as_str);
        assert_eq!(resent, [None, Some("1"), Some("2")][number]);
    }
}

#[tokio::test]
async fn a_good_request_has_one_attempt_that_was_answered() {
    let (collector, resin) = traced(&[]).await;
    let origin = Origin::start().await;
    resin.upsert_nodes(&[("direct://", "way-out")]).await;

    assert_eq!(forward(&resin, "Default", &origin.url("/")).await.0, 200);
    let record = resin.last_record().await;
    let (server, attempts) = split(collector.spans(2).await);

    assert_eq!((server.name.as_str(), hex(&server.trace_id)), ("GET forward", record.trace_id));
    assert_eq!(attributes(&server)["http.response.status_code"], "200");
    assert!(!attributes(&server).contains_key("resin.error"));
    assert_eq!(attempts.len(), 1);
    let about = attributes(&attempts[0]);
    assert_eq!(about["resin.retry.verdict"], "answered");
    assert_eq!(about["resin.request.written"], "true");
    assert!(
        !about.contains_key("error.type") && !about.contains_key("http.request.resend_count"),
        "{about:?}"
    );
    let head = &origin.heads()[0];
    assert!(!head.contains("traceparent") && !head.contains("tracestate"), "not passed on: {head}");
}

#[tokio::test]
async fn reverse_and_connect_have_their_own_names() {
    let (collector, resin) = traced(&[]).await;
    let (origin, echo) = (Origin::start().await, support::world::echo().await);
    resin.upsert_nodes(&[("direct://", "")]).await;
    let path = format!("/any/Default/http/{}/", origin.address);
    let request =
        format!("POST {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
    exchange(resin.data, &request).await.unwrap();
    let mut through = tunnel(&resin, "Default", &echo.to_string()).await;
    through.write_all(b"x").await.unwrap();
    through.shutdown().await.unwrap();
    through.read_to_end(&mut Vec::new()).await.unwrap();

    let spans = collector.spans(4).await;

    let servers = spans.iter().filter(|span| span.kind() == SpanKind::Server);
    let mut names: Vec<&str> = servers.map(|span| span.name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["CONNECT", "POST reverse"]);
}

#[tokio::test]
async fn a_refusal_is_a_server_span_without_attempts() {
    let (collector, resin) = traced(&[]).await;
    assert_eq!(forward(&resin, "Nobody", "http://a.test/").await.0, 404);
    let (server, attempts) = split(collector.spans(1).await);
    assert_eq!(attributes(&server)["resin.error"], "PLATFORM_NOT_FOUND");
    assert!(attempts.is_empty());
}

#[tokio::test]
async fn the_reasons_not_to_retry_are_told() {
    let (collector, resin) = traced(&[]).await;
    let refusing = Refusing::port();
    resin.upsert_nodes(&[(&format!("http://{}", refusing.address), "refusing")]).await;
    let verdict = async |max_retries: i32, spans: usize| {
        resin.set_retries("Default", max_retries).await;
        forward(&resin, "Default", "http://a.test/").await;
        let all = collector.spans(spans).await;
        let last = all.iter().filter(|span| span.kind() == SpanKind::Client);
        let last = last.max_by_key(|span| span.start_time_unix_nano).unwrap();
        assert_eq!(attributes(last)["error.type"], "connection_refused");
        attributes(last)["resin.retry.verdict"].clone()
    };
    assert_eq!(verdict(0, 2).await, "disabled");
    assert_eq!(verdict(3, 4).await, "no_untried_node");
}

#[tokio::test]
async fn the_clients_trace_is_continued_and_passed_on_only_where_it_is_wished() {
    for propagate in ["false", "true"] {
        let (collector, resin) = traced(&[("RESIN_TRACE_PROPAGATE", propagate)]).await;
        let origin = Origin::start().await;
        resin.upsert_nodes(&[("direct://", "")]).await;
        let headers = format!("{}Proxy-Authorization: {}\r\n", traceparent(), basic("Default", "any"));

        assert_eq!(forward_with(&resin, &origin.url("/"), &headers).await.0, 200);
        let record = resin.last_record().await;
        let (server, attempts) = split(collector.spans(2).await);

        assert_eq!(
            (hex(&server.trace_id), hex(&server.parent_span_id)),
            (TRACE.to_owned(), PARENT.to_owned())
        );
        assert_eq!(record.trace_id, TRACE);
        let head = &origin.heads()[0];
        let passed = head.lines().find_map(|line| line.strip_prefix("traceparent: "));
        let own = format!("00-{TRACE}-{}-01", hex(&attempts[0].span_id));
        let expected = (propagate == "true").then_some(own.as_str());
        assert_eq!(passed.map(str::trim), expected, "RESIN_TRACE_PROPAGATE={propagate}: {head}");
    }
}

#[tokio::test]
async fn without_a_collector_the_record_keeps_the_clients_trace() {
    let resin = Resin::start(&[]).await;
    let origin = Origin::start().await;
    resin.upsert_nodes(&[("direct://", "")]).await;
    let authorization = format!("Proxy-Authorization: {}\r\n", basic("Default", "any"));
    let id_after = async |headers: &str| {
        forward_with(&resin, &origin.url("/"), headers).await;
        resin.last_record().await.trace_id
    };
    assert_eq!(id_after(&format!("{}{authorization}", traceparent())).await, TRACE);
    assert_eq!(id_after(&authorization).await, "");
    let broken = format!("Traceparent: 00-{}-{PARENT}-01\r\n{authorization}", "0".repeat(32));
    assert_eq!(id_after(&broken).await, "", "an invalid traceparent counts as none");
}

#[tokio::test]
async fn spans_are_flushed_before_the_end() {
    let collector = Collector::start().await;
    let endpoint = collector.endpoint();
    let settings =
        [("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()), ("OTEL_BSP_SCHEDULE_DELAY", "600000")];
    let resin = Resin::start(&settings).await;
    let origin = Origin::start().await;
    resin.upsert_nodes(&[("direct://", "")]).await;
    forward(&resin, "Default", &origin.url("/")).await;

    assert!(resin.stop().await.success());

    assert_eq!(collector.spans_so_far().len(), 2);
}
