//! What clients may have: each limit is a setting, and whoever exceeds it is told, and costs nobody else anything.

#![allow(clippy::unwrap_used)] // a broken expectation is a failed test

mod support;

use std::time::Duration;

use support::{
    client::{Client, EXCHANGES, Way, http2},
    nodes::resin_direct,
    origins::Origin,
    resin::{Resin, soon},
};

/// The proxy's own refusal, and the end of the connection.
async fn assert_refused(client: &mut Client, status: u16, names: &str) {
    let answer = client.answer("POST").await;
    assert_eq!(answer.status, status, "{answer:?}");
    assert!(answer.text().contains(names), "the setting is named: {answer:?}");
    assert_eq!(answer.header("proxy-status"), Some("resin; error=http_request_error"));
    assert_eq!(answer.header("connection"), Some("close"));
    assert!(client.is_at_end().await, "{names}");
}

async fn assert_recorded(resin: &Resin, status: i32) {
    let record = resin.last_record().await;
    assert_eq!((record.http_status, record.net_ok, &*record.resin_error), (status, true, ""), "{record:#?}");
    assert_eq!((record.retry_attempts, &*record.node_hash), (0, ""));
}

#[tokio::test]
async fn a_head_beyond_its_limits_is_refused_with_the_limits_name_and_recorded() {
    let settings =
        [("RESIN_MAX_HEADER_BYTES", "4KiB"), ("RESIN_MAX_HEADERS", "20"), ("RESIN_MAX_REQUEST_LINE", "1KiB")];
    let resin = resin_direct(&settings).await;
    let origin = Origin::ok().await;
    let within = format!("x-long: {}\r\n", "x".repeat(3_800));
    let many = "x: y\r\n".repeat(19);
    let long_path = format!("/{}", "p".repeat(900));
    for way in EXCHANGES {
        let target = |path: &str| way.target(&origin.authority(), path);
        let mut client = Client::of(&resin).await;
        for (path, fields) in [("/", &within), ("/", &many), (&*long_path, &String::new())] {
            let rest = format!("Host: a\r\n{fields}\r\n");
            assert_eq!(client.ask("GET", &target(path), &rest).await.status, 200, "{way:?}");
            resin.last_record().await;
        }
        let reached = origin.count();

        let line = format!("GET {} HTTP/1.1\r\nHost: a\r\n\r\n", target(&"p".repeat(1_100)));
        let fields = format!("GET {} HTTP/1.1\r\nHost: a\r\n{}\r\n", target("/"), "x: y\r\n".repeat(20));
        let bytes = format!("GET {} HTTP/1.1\r\nHost: a\r\n{within}{within}\r\n", target("/"));
        let endless = format!("GET {} HTTP/1.1\r\nHost: a\r\nx: {}", target("/"), "x".repeat(100_000));
        for (sent, status, names) in [
            (&line, 414, "RESIN_MAX_REQUEST_LINE"),
            (&fields, 431, "RESIN_MAX_HEADERS"),
            (&bytes, 431, "RESIN_MAX_HEADER_BYTES"),
            (&endless, 431, "RESIN_MAX_HEADER_BYTES"),
            (&"x".repeat(50_000), 414, "RESIN_MAX_REQUEST_LINE"),
        ] {
            let mut client = Client::of(&resin).await;
            client.say(sent).await;
            assert_refused(&mut client, status, names).await;
            assert_recorded(&resin, i32::from(status)).await;
        }
        assert_eq!(origin.count(), reached, "{way:?}");
    }
}

#[tokio::test]
async fn more_fields_than_usual_are_taken_where_the_setting_says_so() {
    let resin = resin_direct(&[("RESIN_MAX_HEADERS", "300")]).await;
    let origin = Origin::ok().await;
    let mut client = Client::of(&resin).await;
    let rest = format!("Host: a\r\n{}\r\n", "x: y\r\n".repeat(299));
    let answer = client.ask("GET", &Way::Forward.target(&origin.authority(), "/"), &rest).await;
    assert_eq!((answer.status, origin.only().head.count("x")), (200, 299));
}

#[tokio::test]
async fn a_head_that_does_not_come_is_refused_with_408_and_what_has_not_begun_is_closed() {
    let resin = resin_direct(&[("RESIN_HEADER_TIMEOUT", "300ms")]).await;
    let origin = Origin::ok().await;
    let target = Way::Reverse.target(&origin.authority(), "/");
    for begun in ["G", "GET / HTTP/1.1\r\n", "GET / HTTP/1.1\r\nHost: a\r\n\r"] {
        let mut client = Client::of(&resin).await;
        client.say(begun).await;
        assert_refused(&mut client, 408, "RESIN_HEADER_TIMEOUT").await;
        assert_recorded(&resin, 408).await;
    }
    // The second request's head counts from its own first byte.
    let mut client = Client::of(&resin).await;
    assert_eq!(client.ask("GET", &target, "Host: a\r\n\r\n").await.status, 200);
    resin.last_record().await;
    client.say("GET / HT").await;
    assert_refused(&mut client, 408, "RESIN_HEADER_TIMEOUT").await;
    assert_recorded(&resin, 408).await;

    let mut silent = Client::of(&resin).await;
    assert!(silent.is_at_end().await, "nothing was begun, so there is nothing to say");
    assert_eq!(origin.count(), 1);
}

#[tokio::test]
async fn a_trickled_head_is_as_late_as_a_silent_one() {
    let resin = resin_direct(&[("RESIN_HEADER_TIMEOUT", "400ms")]).await;
    let mut client = Client::of(&resin).await;
    client.say("GET / HTTP/1.1\r\nHost: a\r\n").await;
    let mut ticks = 0;
    // Each line comes well within the limit; all together do not.
    while client.wire.say("x: y\r\n").await.is_ok() && ticks < 100 {
        ticks += 1;
        if tokio::time::timeout(Duration::from_millis(100), client.wire.more()).await.is_ok() {
            break;
        }
    }
    assert!(ticks < 100, "it may go on for ever");
    assert_refused(&mut client, 408, "RESIN_HEADER_TIMEOUT").await;
}

#[tokio::test]
async fn an_idle_connection_is_closed_and_one_at_work_is_not() {
    let resin = resin_direct(&[("RESIN_CLIENT_IDLE_TIMEOUT", "300ms")]).await;
    let origin = Origin::start(|_| support::origins::Reply::Silence).await;
    let quick = Origin::ok().await;
    let mut waiting = Client::of(&resin).await;
    let target = Way::Forward.target(&origin.authority(), "/");
    waiting.say(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n")).await;
    origin.arrived(1).await;
    for _ in 0..2 {
        let mut idle = Client::of(&resin).await;
        let target = Way::Forward.target(&quick.authority(), "/");
        assert_eq!(idle.ask("GET", &target, "Host: a\r\n\r\n").await.status, 200);
        assert!(idle.is_at_end().await);
    }
    let waited = tokio::time::timeout(Duration::from_millis(10), waiting.wire.more()).await;
    assert!(waited.is_err(), "it waits for its answer, and idles not: {waited:?}");

    // HTTP/2 has no heads to wait for; its connection is told to go away.
    let mut sender = http2::<http_body_util::Empty<bytes::Bytes>>(&resin).await;
    soon("the end of an idle HTTP/2 connection", async {
        while !sender.is_closed() {
            if sender.ready().await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await; // there is no signal for a closed sender
        }
    })
    .await;
}

#[tokio::test]
async fn connections_beyond_their_number_are_turned_away_until_one_ends() {
    for (setting, most) in [("RESIN_MAX_CONNECTIONS", "3"), ("RESIN_MAX_CONNECTIONS_PER_CLIENT", "3")] {
        let resin = resin_direct(&[(setting, most)]).await;
        let origin = Origin::ok().await;
        let target = Way::Reverse.target(&origin.authority(), "/");
        let mut clients = Vec::new();
        for _ in 0..3 {
            let mut client = Client::of(&resin).await;
            assert_eq!(client.ask("GET", &target, "Host: a\r\n\r\n").await.status, 200);
            clients.push(client);
        }
        let mut one_more = Client::of(&resin).await;
        let answer = one_more.answer("GET").await;
        assert_eq!(answer.status, 503, "{answer:?}");
        assert!(answer.text().contains(setting), "{answer:?}");
        assert_eq!(answer.header("proxy-status"), Some("resin; error=connection_limit_reached"));
        assert!(one_more.is_at_end().await);

        // Those within the limit go on, and a place that is left is free again.
        assert_eq!(clients[0].ask("GET", &target, "Host: a\r\n\r\n").await.status, 200);
        drop(clients.pop());
        soon("a free place", async {
            loop {
                let mut client = Client::of(&resin).await;
                client.say(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n")).await;
                if client.answer("GET").await.status == 200 {
                    break;
                }
            }
        })
        .await;
    }
}

#[tokio::test]
async fn tunnels_beyond_their_number_are_refused_until_one_ends() {
    let resin = resin_direct(&[("RESIN_MAX_TUNNELS", "2")]).await;
    let origin = Origin::ok().await;
    let mut tunnels = Vec::new();
    for _ in 0..2 {
        let mut client = Client::of(&resin).await;
        assert_eq!(client.connect(&origin.authority()).await.status, 200);
        tunnels.push(client);
    }
    let mut client = Client::of(&resin).await;
    let answer = client.ask("CONNECT", &origin.authority(), "Host: a\r\n\r\n").await;
    assert_eq!(answer.status, 503, "{answer:?}");
    assert!(answer.text().contains("RESIN_MAX_TUNNELS"), "{answer:?}");
    assert_recorded(&resin, 503).await;

    drop(tunnels.pop());
    resin.last_record().await;
    assert_eq!(Client::of(&resin).await.connect(&origin.authority()).await.status, 200);
}
