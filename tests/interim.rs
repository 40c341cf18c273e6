//! Answers before the answer, and requests that are for the proxy itself.

#![allow(clippy::unwrap_used)] // a broken expectation is a failed test

mod support;

use support::{
    client::{Client, EXCHANGES},
    nodes::resin_direct,
    origins::{Origin, Reply},
};

#[tokio::test]
async fn interim_answers_reach_the_client_before_the_answer() {
    let resin = resin_direct(&[]).await;
    let origin = Origin::start(|_| {
        Reply::say(
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\nContent-Length: 5\r\nConnection: x-named\r\n\
             X-Named: drop\r\n\r\nHTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        )
    })
    .await;
    for way in EXCHANGES {
        let mut client = Client::of(&resin).await;
        let target = way.target(&origin.authority(), "/");
        for _ in 0..3 {
            client.say(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n")).await;
            let hints = client.head().await;
            assert_eq!((hints.status(), hints.get("link"), hints.get("x-named")), (103, Some("</a>"), None));
            assert_eq!(hints.get("content-length"), None, "it would promise a body");
            assert_eq!(client.head().await.status(), 102, "{way:?}");
            let answer = client.answer("GET").await;
            assert_eq!((answer.status, answer.text().as_str()), (200, "ok"), "{way:?}");
        }
        // HTTP/1.0 knows of none.
        client.say(format!("GET {target} HTTP/1.0\r\n\r\n")).await;
        assert_eq!(client.head().await.status(), 200, "{way:?}");
    }
}

#[tokio::test]
async fn interim_answers_without_end_are_the_upstreams_failure() {
    let resin = resin_direct(&[]).await;
    let origin = Origin::start(|_| Reply::say("HTTP/1.1 103 Early Hints\r\n\r\n".repeat(10_000))).await;
    for way in EXCHANGES {
        let mut client = Client::of(&resin).await;
        client.say(format!("GET {} HTTP/1.1\r\nHost: a\r\n\r\n", way.target(&origin.authority(), "/"))).await;
        client.answer("GET").await.assert_error(502, "UPSTREAM_REQUEST_FAILED");
        let record = resin.last_record().await;
        assert_eq!((&*record.upstream_err_kind, record.request_written), ("protocol_error", true));
    }
    assert_eq!(origin.count(), 2, "nothing is sent twice");
}

#[tokio::test]
async fn options_of_a_server_goes_up_as_the_asterisk_and_the_proxys_own_is_answered_here() {
    let (resin, origin) = (resin_direct(&[]).await, Origin::ok().await);
    let authority = origin.authority();
    let mut client = Client::of(&resin).await;
    // Two at once: which of them has no path is told apart.
    client
        .say(format!(
            "OPTIONS http://{authority} HTTP/1.1\r\nHost: a\r\n\r\nOPTIONS http://{authority}/ HTTP/1.1\r\nHost: a\r\n\r\n"
        ))
        .await;
    for _ in 0..2 {
        assert_eq!(client.answer("OPTIONS").await.status, 200);
    }
    let targets: Vec<String> = origin.heard().iter().map(|heard| heard.head.target().to_owned()).collect();
    assert_eq!(targets, ["*", "/"]);
    assert_eq!(client.ask("OPTIONS", "*", "Host: a\r\n\r\n").await.status, 200);
    assert_eq!(origin.count(), 2);
}

#[tokio::test]
async fn max_forwards_counts_down_to_this_proxy() {
    let (resin, origin) = (resin_direct(&[]).await, Origin::ok().await);
    for way in EXCHANGES {
        let target = way.target(&origin.authority(), "/");
        let mut client = Client::of(&resin).await;
        for (method, max, status, told) in [
            ("OPTIONS", "3", 200, Some("2")),
            ("TRACE", "1", 200, Some("0")),
            ("GET", "0", 200, Some("0")),
            ("OPTIONS", "0", 200, None),
            ("TRACE", "0", 405, None),
        ] {
            let before = origin.count();
            let rest = format!("Host: a\r\nMax-Forwards: {max}\r\n\r\n");
            assert_eq!(client.ask(method, &target, &rest).await.status, status, "{way:?} {method} {max}");
            assert_eq!(origin.count() > before, told.is_some(), "{way:?} {method} {max}");
            if told.is_some() {
                assert_eq!(origin.heard().last().unwrap().header("max-forwards"), told);
            }
        }
    }
}
