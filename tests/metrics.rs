//! Metrics on the ops port: the names that dashboards rely on, and that they count.

#![allow(clippy::unwrap_used)] // a broken expectation is a failed test

mod support;

use support::{
    postgres::{Database, Wire},
    resin::{Resin, soon},
    world::{Dying, Origin, forward, tunnel},
};

/// Sum over all label sets of a sample whose labels include this text.
fn value(text: &str, name: &str, label: &str) -> f64 {
    let of_name = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{']));
    let lines = text.lines().filter(of_name).filter(|line| line.contains(label));
    lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
}

#[tokio::test]
async fn every_promised_name_is_there() {
    let resin = Resin::start(&[]).await;
    let origin = Origin::start().await;
    resin.upsert_nodes(&[("direct://", "")]).await;
    forward(&resin, "Default", &origin.url("/")).await;
    resin.records_until(1).await;

    let text = resin.metrics().await;

    for (name, kind) in [
        ("resin_requests", "counter"),
        ("resin_attempts", "counter"),
        ("resin_retries", "counter"),
        ("resin_request_duration_seconds", "histogram"),
        ("resin_attempt_connect_seconds", "histogram"),
        ("resin_open_tunnels", "gauge"),
        ("resin_idle_connections", "gauge"),
        ("resin_log_queue_records", "gauge"),
        ("resin_log_records", "counter"),
    ] {
        let declared = [format!("# TYPE {name} {kind}"), format!("# TYPE {name}_total {kind}")];
        assert!(text.lines().any(|line| declared.iter().any(|known| known == line)), "{name} {kind}: {text}");
    }
    for sample in ["resin_requests_total", "resin_attempts_total", "resin_request_duration_seconds_count"] {
        assert!(value(&text, sample, "") >= 1.0, "{sample}: {text}");
    }
}

#[tokio::test]
async fn requests_attempts_retries_and_rows_are_counted() {
    let resin = Resin::start(&[]).await;
    let (origin, dying) = (Origin::start().await, Dying::nodes(3).await);
    dying.join(&resin).await;
    resin.set_retries("Default", 2).await;
    forward(&resin, "Default", "http://a.test/").await;
    resin.upsert_nodes(&[("direct://", "good")]).await;
    let good =
        resin::proto::Platform { regex_filters: vec!["^good$".to_owned()], ..support::grpc::named("Good") };
    resin.set_platform(good).await;
    forward(&resin, "Good", &origin.url("/")).await;
    forward(&resin, "Nobody", "http://a.test/").await;
    resin.records_until(3).await;

    let text = resin.metrics().await;

    assert_eq!(value(&text, "resin_requests_total", ""), 3.0, "{text}");
    assert_eq!(value(&text, "resin_attempts_total", ""), 4.0, "{text}");
    assert_eq!(value(&text, "resin_attempts_total", "\"forward_roundtrip\""), 3.0, "by stage: {text}");
    assert_eq!(value(&text, "resin_attempts_total", "\"retried\""), 2.0, "by verdict: {text}");
    assert_eq!(value(&text, "resin_attempts_total", "\"answered\""), 1.0, "{text}");
    assert_eq!(value(&text, "resin_retries_total", ""), 2.0, "{text}");
    assert_eq!(value(&text, "resin_request_duration_seconds_count", ""), 3.0, "{text}");
    assert_eq!(value(&text, "resin_log_records_total", "outcome=\"written\""), 3.0, "{text}");
    assert_eq!(value(&text, "resin_log_records_total", "outcome=\"lost\""), 0.0, "{text}");
    assert!(!text.contains("Nobody") && !text.contains("a.test"), "labels are closed sets: {text}");
}

#[tokio::test]
async fn open_tunnels_are_counted_up_and_down() {
    let resin = Resin::start(&[]).await;
    resin.upsert_nodes(&[("direct://", "")]).await;
    let echo = support::world::echo().await.to_string();
    let until = async |count: f64| {
        let reading = async { while value(&resin.metrics().await, "resin_open_tunnels", "") != count {} };
        soon(&format!("{count} open tunnels"), reading).await;
    };
    let (one, two) = (tunnel(&resin, "Default", &echo).await, tunnel(&resin, "Default", &echo).await);
    until(2.0).await;
    drop(one);
    until(1.0).await;
    drop(two);
    until(0.0).await;
}

#[tokio::test]
async fn records_that_find_no_place_are_counted_as_lost_and_no_request_notices() {
    let database = Database::new().await;
    let mut wire = Wire::new(&database).await;
    let url = wire.url.clone();
    let settings = [("RESIN_DATABASE_URL", &*url), ("RESIN_LOG_QUEUE", "5"), ("RESIN_NODES", "direct://")];
    let resin = Resin::start_bare(&settings).await;
    let origin = Origin::start().await;
    wire.cut().await;

    for _ in 0..30 {
        assert_eq!(forward(&resin, "Default", &origin.url("/")).await.0, 200);
    }
    let lost = value(&resin.metrics().await, "resin_log_records_total", "outcome=\"lost\"");
    assert!(lost >= 1.0, "{lost}");
    resin.process.stderr_line("the loss", |line| line.contains("lost")).await;

    wire.restore().await;
    let all = async {
        loop {
            let text = resin.metrics().await;
            let count = |outcome| value(&text, "resin_log_records_total", outcome);
            if count("outcome=\"written\"") + count("outcome=\"lost\"") == 30.0 {
                return count("outcome=\"written\"");
            }
        }
    };
    let written = soon("every record is written or lost", all).await;
    assert_eq!(database.count("select count(*) from request_logs").await as f64, written);
}
