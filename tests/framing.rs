//! Where one message ends and the next begins, and who is to blame when it does not: cuts, trailers, lengths that
//! contradict, bytes behind a refusal.

#![allow(clippy::unwrap_used)] // a broken expectation is a failed test

mod support;

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use support::{
    client::{Client, EXCHANGES, Way, ask, over_http2},
    nodes::resin_direct,
    origins::{Origin, Reply, Server},
    wire::{Length, Wire},
};

#[tokio::test]
async fn an_answer_with_two_framings_is_the_upstreams_failure_and_ends_its_connection() {
    let resin = resin_direct(&[("RESIN_DATA_THREADS", "1")]).await;
    let framed =
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    let origin = Origin::start(move |_| Reply::say(framed)).await;
    for (way, connections) in EXCHANGES.into_iter().zip([1, 2]) {
        ask(&resin, way, &origin.authority()).await.assert_error(502, "UPSTREAM_REQUEST_FAILED");
        let record = resin.last_record().await;
        assert_eq!((&*record.upstream_err_kind, record.net_ok), ("protocol_error", false), "{record:#?}");
        assert_eq!((record.request_written, record.retry_attempts), (true, 0));
        assert_eq!(origin.connections(), connections);
    }
}

#[tokio::test]
async fn an_exchange_with_trailers_both_ways_went_well_and_keeps_its_connection() {
    let resin = resin_direct(&[("RESIN_DATA_THREADS", "1")]).await;
    let reply = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum, X-Resin-Error\r\n\r\n\
        5\r\nhello\r\n0\r\nX-Sum: 7\r\nX-Resin-Error: INTERNAL_ERROR\r\n\r\n";
    let origin = Origin::start(move |_| Reply::say(reply)).await;
    let fields = "Host: a\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\nTrailer: X-Mine, X-Resin-Account, \
        X-Forwarded-For\r\n\r\n2\r\nhi\r\n0\r\nX-Mine: 1\r\nX-Resin-Account: a\r\nX-Forwarded-For: 10.0.0.1\r\n\r\n";
    for way in EXCHANGES {
        for _ in 0..3 {
            let mut client = Client::of(&resin).await;
            let answer = client.ask("POST", &way.target(&origin.authority(), "/"), fields).await;
            assert_eq!(answer.trailers, [("x-sum".to_owned(), "7".to_owned())], "{answer:?}");
            let record = resin.last_record().await;
            assert_eq!((&*record.upstream_err_kind, record.net_ok), ("", true), "{record:#?}");
            let heard = origin.heard().pop().unwrap();
            let names: Vec<_> = heard.trailers.iter().map(|(name, _)| name.as_str()).collect();
            let expected: &[&str] =
                if way == Way::Reverse { &["x-mine"] } else { &["x-mine", "x-forwarded-for"] };
            assert_eq!(names, expected, "{way:?}");
        }
    }
    assert_eq!(origin.connections(), 1);
}

#[tokio::test]
async fn bytes_behind_a_refused_connect_are_no_request() {
    let resin = resin_direct(&[]).await;
    let origin = Origin::ok().await;
    for (authority, status, code) in
        [("127.0.0.1:1", 502, "UPSTREAM_CONNECT_FAILED"), ("127.0.0.1:99999", 400, "INVALID_HOST")]
    {
        let mut client = Client::of(&resin).await;
        let behind = format!("GET http://{}/behind HTTP/1.1\r\nHost: a\r\n\r\n", origin.authority());
        client.say(format!("CONNECT {authority} HTTP/1.1\r\nHost: a\r\n\r\n{behind}")).await;
        client.answer("CONNECT").await.assert_error(status, code);
        assert!(client.is_at_end().await);
    }
    assert_eq!(origin.count(), 0);
}

#[tokio::test]
async fn a_connect_with_a_body_opens_no_tunnel() {
    let resin = resin_direct(&[]).await;
    let origin = Origin::ok().await;
    for framing in
        ["Content-Length: 5\r\n\r\nhello", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"]
    {
        let mut client = Client::of(&resin).await;
        client.say(format!("CONNECT {} HTTP/1.1\r\nHost: a\r\n{framing}", origin.authority())).await;
        assert_eq!(client.answer("POST").await.status, 400);
        let record = resin.last_record().await;
        assert_eq!((record.http_status, record.net_ok), (400, true));
    }
    assert_eq!(origin.connections(), 0);
    let mut client = Client::of(&resin).await;
    client
        .say(format!("CONNECT {} HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", origin.authority()))
        .await;
    assert_eq!(client.answer("CONNECT").await.status, 200);
}

#[tokio::test]
async fn a_url_is_no_target_for_connect() {
    let resin = resin_direct(&[]).await;
    let origin = Origin::ok().await;
    let target = format!("http://{}/", origin.authority());
    let answer = Client::of(&resin).await.ask("CONNECT", &target, "Host: a\r\n\r\n").await;
    answer.assert_error(400, "INVALID_HOST");
    assert_eq!(origin.connections(), 0);
}

#[tokio::test]
async fn a_body_that_the_client_garbles_is_not_the_nodes_fault() {
    let resin = resin_direct(&[]).await;
    let origin = Origin::ok().await;
    for way in EXCHANGES {
        let mut client = Client::of(&resin).await;
        let garbled = "Host: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nnot a size\r\n\r\n";
        let answer = client.ask("POST", &way.target(&origin.authority(), "/"), garbled).await;
        assert_eq!(answer.status, 400, "{answer:?}");
        let record = resin.last_record().await;
        assert_eq!((&*record.upstream_err_kind, record.net_ok), ("canceled", true), "{record:#?}");
        assert_eq!((record.http_status, &*record.resin_error, record.retry_attempts), (400, "", 0));
    }
    assert_eq!(origin.count(), 0, "the origin got no whole request");
}

#[tokio::test]
async fn cookies_that_http2_split_are_one_field_again() {
    let resin = resin_direct(&[]).await;
    let origin = Origin::ok().await;
    let request = Request::get(format!("http://{}/any/Default/http/{}/", resin.data, origin.authority()));
    let request = request.header("cookie", "a=1").header("cookie", "b=2").body(Full::<Bytes>::default());
    assert_eq!(over_http2(&resin, request.unwrap()).await.status(), 200);
    let heard = origin.only();
    assert_eq!((heard.header("cookie"), heard.head.count("cookie")), (Some("a=1; b=2"), 1));
}

#[tokio::test]
async fn an_upload_that_moves_keeps_its_exchange_alive() {
    let resin = resin_direct(&[("RESIN_IDLE_TIMEOUT", "600ms")]).await;
    let origin = Server::start(|connection| async move {
        let mut wire = Wire::new(connection);
        wire.head().await.unwrap();
        wire.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await.unwrap();
        let body = wire.body(Length::Exactly(8)).await;
        assert!(body.whole);
        wire.say("2\r\nok\r\n0\r\n\r\n").await.unwrap();
        wire.more().await.unwrap();
    })
    .await;
    for way in EXCHANGES {
        let mut client = Client::of(&resin).await;
        let target = way.target(&origin.address.to_string(), "/");
        client.say(format!("POST {target} HTTP/1.1\r\nHost: a\r\nContent-Length: 8\r\n\r\n")).await;
        for _ in 0..8 {
            client.say("x").await;
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        let answer = client.answer("POST").await;
        assert_eq!((answer.text().as_str(), answer.whole), ("ok", true), "{way:?}");
    }
}
