//! Secrets: after a busy life with every kind of failure none of them stands in anything that comes out.

#![allow(clippy::unwrap_used)] // a broken expectation is a failed test

mod support;

use support::{
    grpc::spec,
    otlp::Collector,
    postgres::{Database, PASSWORD, Wire},
    resin::{Resin, exchange},
    world::{Refusing, basic, forward_with},
};

const PROXY_TOKEN: &str = "tok-of-the-data-port";
const ADMIN_TOKEN: &str = "tok-of-the-control-port";
const NODE_PASSWORD: &str = "hunter2-of-a-node";
const USER_PASSWORD: &str = "hunter2-of-a-url";
const WRONG_TOKEN: &str = "tok-that-was-guessed";
const ALL: [&str; 6] = [PROXY_TOKEN, ADMIN_TOKEN, NODE_PASSWORD, USER_PASSWORD, WRONG_TOKEN, PASSWORD];

#[tokio::test]
async fn no_secret_comes_out_anywhere() {
    let collector = Collector::start().await;
    let (database, refusing) = (Database::new().await, Refusing::port());
    let wire = Wire::new(&database).await;
    let node = format!("http://tom:{NODE_PASSWORD}@{}", refusing.address);
    let socks = format!("socks5://tom:{NODE_PASSWORD}@{}#socks", refusing.address);
    let endpoint = collector.endpoint();
    let resin = Resin::start_bare(&[
        ("RESIN_DATABASE_URL", &wire.url),
        ("RESIN_PROXY_TOKEN", PROXY_TOKEN),
        ("RESIN_ADMIN_TOKEN", ADMIN_TOKEN),
        ("RESIN_NODES", &socks),
        ("RUST_LOG", "trace"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint),
        ("OTEL_BSP_SCHEDULE_DELAY", "50"),
    ])
    .await;
    let grpc = resin.grpc();
    let mut out = vec![format!("{:?}", grpc.upsert_nodes(vec![spec(&node, "http")]).await)];
    out.push(format!("{:?}", grpc.upsert_nodes(vec![spec(&format!("{node}9999999"), "bad")]).await));

    let good = format!("Proxy-Authorization: {}\r\n", basic("Default.Tom", PROXY_TOKEN));
    let bad = format!("Proxy-Authorization: {}\r\n", basic("Default.Tom", WRONG_TOKEN));
    out.push(forward_with(&resin, "http://shop.test/", &good).await.1);
    out.push(forward_with(&resin, &format!("http://tom:{USER_PASSWORD}@shop.test/"), &good).await.1);
    out.push(forward_with(&resin, "http://shop.test/", &bad).await.1);
    for token in [PROXY_TOKEN, WRONG_TOKEN] {
        for target in ["http/shop.test/x", "ftp/shop.test/x", "http", "http/%zz/x"] {
            let request =
                format!("GET /{token}/Default/{target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
            out.push(exchange(resin.data, &request).await.unwrap());
        }
        let authorization = basic("Default", token);
        let request = format!(
            "CONNECT shop.test:443 HTTP/1.1\r\nHost: a\r\nConnection: close\r\nProxy-Authorization: {authorization}\r\n\r\n"
        );
        out.push(exchange(resin.data, &request).await.unwrap());
    }

    let records = resin.records_until(13).await;
    out.push(format!("{records:?}"));
    out.push(format!("{:?}", grpc.all_nodes().await));
    out.push(format!(
        "{:?}",
        grpc.system.clone().get_system_info(resin::proto::GetSystemInfoRequest {}).await
    ));
    out.push(resin.metrics().await);
    let rows = "select coalesce(string_agg(row_to_json(request_logs)::text, ' '), '') from request_logs";
    out.push(database.client().await.query_one(rows, &[]).await.unwrap().get(0));
    resin.process.signal(rustix::process::Signal::TERM);
    let ended = resin.ended().await;
    assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
    out.push(format!("{:?}", collector.spans_so_far()));
    assert!(!collector.spans_so_far().is_empty());
    out.extend([ended.stderr, ended.stdout.join("\n")]);

    let encoded: Vec<String> = [PROXY_TOKEN, WRONG_TOKEN]
        .iter()
        .map(|token| basic("Default.Tom", token).trim_start_matches("Basic ").to_owned())
        .collect();
    for text in &out {
        for secret in ALL.into_iter().chain(encoded.iter().map(String::as_str)) {
            let found = text.lines().find(|line| line.contains(secret));
            assert!(found.is_none(), "{secret} stands in: {}", found.unwrap_or_default());
        }
    }
}
