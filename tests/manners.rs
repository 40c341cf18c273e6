//! HTTP manners: which header lines travel, how bodies and trailers do, and what is switched or expected.

#![allow(clippy::unwrap_used)] // a broken expectation is a failed test

mod support;

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use support::{
    client::{Client, EXCHANGES, Way, ask_with, http2},
    nodes::{Manner, Nodes, lead_through, resin_direct},
    origins::{Origin, Reply, switching},
    resin::{Resin, soon},
};

#[tokio::test]
async fn hop_by_hop_lines_stay_on_their_hop_on_the_way_up() {
    let (resin, origin) = (resin_direct(&[]).await, Origin::ok().await);
    let headers = "Connection: keep-alive, X-Named , x-other\r\nX-Named: drop\r\nX-Other: drop\r\n\
                   Keep-Alive: timeout=drop\r\nProxy-Connection: drop\r\nTE: drop\r\nX-Resin-Trace: drop\r\n\
                   Proxy-Authorization: Basic OmRyb3A=\r\nX-Resin-Account: drop\r\n\
                   Via: 1.1 kept-on-forward\r\nX-Mine: kept\r\nAccept: a\r\nAccept: b\r\n";
    for way in EXCHANGES {
        let answer = ask_with(&resin, way, ("GET", &origin.authority(), "/"), headers, "").await;
        assert_eq!(answer.status, 200, "{way:?}");
        let heard = origin.heard().pop().unwrap();
        for (name, value) in &heard.head.fields {
            assert!(!value.contains("drop"), "{way:?} {name}: {value}");
            assert!(!value.to_ascii_lowercase().contains("x-named"), "{way:?} {name}: {value}");
        }
        assert_eq!(heard.header("proxy-authorization"), None, "{way:?}");
        assert_eq!((heard.header("x-mine"), heard.head.count("accept")), (Some("kept"), 2), "{way:?}");
    }
}

#[tokio::test]
async fn hop_by_hop_lines_stay_on_their_hop_on_the_way_down() {
    let origin = Origin::start(|_| {
        Reply::say(
            "HTTP/1.1 200 OK\r\nConnection: X-Named\r\nX-Named: drop\r\nKeep-Alive: timeout=drop\r\n\
             Proxy-Authenticate: Basic realm=drop\r\nProxy-Connection: drop\r\nX-Resin-Error: drop\r\n\
             Content-Length: 2\r\nSet-Cookie: a\r\nSet-Cookie: b\r\nX-Mine: kept\r\n\r\nok",
        )
    })
    .await;
    let resin = resin_direct(&[]).await;
    for way in EXCHANGES {
        let answer = ask_with(&resin, way, ("GET", &origin.authority(), "/"), "", "").await;
        for (name, value) in &answer.head.fields {
            assert!(!value.contains("drop"), "{way:?} {name}: {value}");
        }
        assert_eq!(answer.header("x-mine"), Some("kept"));
        assert_eq!(answer.head.count("set-cookie"), 2);
        assert_eq!((answer.header("content-length"), answer.text().as_str()), (Some("2"), "ok"));
    }
}

#[tokio::test]
async fn trailers_travel_both_ways() {
    let origin = Origin::start(|_| {
        Reply::say(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n\
             4\r\nwiki\r\n5\r\npedia\r\n0\r\nX-Sum: 42\r\n\r\n",
        )
    })
    .await;
    let resin = resin_direct(&[]).await;
    for way in EXCHANGES {
        let mut client = Client::of(&resin).await;
        let target = way.target(&origin.authority(), "/");
        let rest = "Host: a\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\nTrailer: X-Up\r\n\r\n\
                    3\r\nabc\r\n0\r\nX-Up: 7\r\n\r\n";
        let answer = client.ask("POST", &target, rest).await;

        assert_eq!(
            (answer.status, answer.text().as_str(), answer.whole),
            (200, "wikipedia", true),
            "{way:?}"
        );
        assert_eq!(answer.trailers, [("x-sum".to_owned(), "42".to_owned())], "{way:?}");
        let heard = origin.heard().pop().unwrap();
        assert_eq!((&*heard.body, heard.head.is_chunked()), (&b"abc"[..], true), "{way:?}");
        assert_eq!(heard.trailers, [("x-up".to_owned(), "7".to_owned())], "{way:?}");
    }
}

#[tokio::test]
async fn trailers_that_nobody_announced_travel_to_a_client_that_takes_them_and_to_no_other() {
    let origin = Origin::start(|_| {
        Reply::say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 42\r\n\r\n")
    })
    .await;
    let resin = resin_direct(&[]).await;
    for way in EXCHANGES {
        let mut client = Client::of(&resin).await; // one connection: a line too many would show
        let target = way.target(&origin.authority(), "/");
        for (rest, trailers) in [("Host: a\r\nTE: trailers\r\n\r\n", Some("42")), ("Host: a\r\n\r\n", None)] {
            let answer = client.ask("GET", &target, rest).await;
            assert_eq!((answer.text().as_str(), answer.whole), ("ok", true), "{way:?}");
            let told: Vec<_> = answer.trailers.iter().map(|(_, value)| value.as_str()).collect();
            assert_eq!(told, Vec::from_iter(trailers), "{way:?}");
        }
    }
}

#[tokio::test]
async fn trailers_travel_over_http2_too() {
    let origin = Origin::start(|_| {
        Reply::say(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 42\r\n\r\n",
        )
    })
    .await;
    let resin = resin_direct(&[]).await;
    let mut up = HeaderMap::new();
    up.insert("x-up", HeaderValue::from_static("7"));
    let frames: [Result<_, std::io::Error>; 2] =
        [Ok(Frame::data(Bytes::from_static(b"abc"))), Ok(Frame::trailers(up))];
    let url = format!("http://resin.test/any/Default/http/{}/", origin.authority());
    let request = Request::post(url)
        .header("te", "trailers")
        .header("trailer", "x-up")
        .body(StreamBody::new(tokio_stream::iter(frames)))
        .unwrap();
    let mut sender = http2(&resin).await;
    let response = soon("an answer", sender.send_request(request)).await.unwrap();
    let collected = soon("a body", response.into_body().collect()).await.unwrap();
    assert_eq!(collected.trailers().unwrap()["x-sum"], "42");
    assert_eq!(collected.to_bytes(), "ok");
    let heard = origin.only();
    assert_eq!(heard.body, b"abc");
    assert_eq!(heard.trailers, [("x-up".to_owned(), "7".to_owned())]);
}

#[tokio::test]
async fn answers_without_a_body_have_none_and_keep_their_lines() {
    let origin = Origin::start(|heard| match heard.head.target() {
        "/204" => Reply::say("HTTP/1.1 204 No Content\r\nX-Mine: 1\r\n\r\n"),
        "/304" => Reply::say("HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\nContent-Length: 10\r\n\r\n"),
        _ => Reply::say("HTTP/1.1 200 OK\r\nContent-Length: 10\r\nX-Mine: 1\r\n\r\n"), // to HEAD
    })
    .await;
    let resin = resin_direct(&[]).await;
    for way in EXCHANGES {
        let mut client = Client::of(&resin).await; // one connection: a body too many would show
        for (method, path, status, length) in
            [("HEAD", "/", 200, Some("10")), ("GET", "/204", 204, None), ("GET", "/304", 304, Some("10"))]
        {
            let target = way.target(&origin.authority(), path);
            let answer = client.ask(method, &target, "Host: a\r\n\r\n").await;
            assert_eq!(answer.status, status, "{way:?} {path}");
            assert_eq!(answer.header("content-length"), length, "{way:?} {path}");
        }
        for _ in 0..3 {
            assert!(resin.last_record().await.net_ok);
        }
    }
}

#[tokio::test]
async fn whatever_shows_the_end_of_an_answer_the_client_sees_the_same_bytes() {
    let ends = [
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello",
        "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        "HTTP/1.0 200 OK\r\n\r\nhello",
    ];
    let resin = resin_direct(&[]).await;
    for text in ends {
        let origin = Origin::start(move |_| Reply::Close(text.into())).await;
        for way in EXCHANGES {
            let answer = ask_with(&resin, way, ("GET", &origin.authority(), "/"), "", "").await;
            assert_eq!((answer.text().as_str(), answer.whole), ("hello", true), "{way:?} {text:?}");
            let record = resin.last_record().await;
            assert_eq!((record.net_ok, record.ingress_bytes), (true, 5), "{text:?} {record:#?}");
        }
    }
}

#[tokio::test]
async fn an_old_client_gets_an_answer_that_it_understands() {
    let origin = Origin::start(|_| {
        Reply::say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n")
    })
    .await;
    let resin = resin_direct(&[]).await;
    for way in EXCHANGES {
        let mut client = Client::of(&resin).await;
        client.say(format!("GET {} HTTP/1.0\r\n\r\n", way.target(&origin.authority(), "/"))).await;
        let answer = client.answer("GET").await;
        assert_eq!((answer.text().as_str(), answer.head.is_chunked()), ("hello", false), "{way:?}");
    }
}

#[tokio::test]
async fn expect_is_answered_once_there_is_a_connection() {
    let (resin, origin) = (Resin::start(&[]).await, Origin::ok().await);
    for way in EXCHANGES {
        let nodes = Nodes::http(&[Manner::Refuse(502), Manner::Good]).await;
        lead_through(&resin, &nodes, 1).await;
        let mut client = Client::of(&resin).await;
        let target = way.target(&origin.authority(), "/");
        let head =
            format!("POST {target} HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n");
        client.say(head).await;
        assert_eq!(client.head().await.status(), 100, "{way:?}");
        assert_eq!(nodes.dial_count(), 2, "{way:?}");
        client.say("body").await;
        assert_eq!(client.answer("POST").await.status, 200, "{way:?}");
        assert_eq!(origin.heard().last().unwrap().body, b"body");
    }
}

#[tokio::test]
async fn expect_is_not_answered_where_no_connection_comes_about() {
    let resin = Resin::start(&[]).await;
    let nodes = Nodes::http(&[Manner::Refuse(502); 3]).await;
    lead_through(&resin, &nodes, 2).await;
    for way in EXCHANGES {
        let mut client = Client::of(&resin).await;
        let target = way.target("shop.test", "/");
        let head =
            format!("POST {target} HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n");
        client.say(head).await;
        let first = client.head().await;
        assert_eq!(
            (first.status(), first.get("x-resin-error")),
            (502, Some("UPSTREAM_REQUEST_FAILED")),
            "{way:?}"
        );
    }
}

#[tokio::test]
async fn a_connection_is_switched_to_another_protocol_and_carries_both_ways() {
    let heads = Arc::default();
    let origin = switching(Arc::clone(&heads)).await;
    let resin = Resin::start(&[]).await;
    let nodes = Nodes::http(&[Manner::Good]).await;
    lead_through(&resin, &nodes, 1).await;
    for way in EXCHANGES {
        let mut client = Client::of(&resin).await;
        let target = way.target(&origin.address.to_string(), "/socket");
        let rest =
            "Host: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: echo\r\nSec-WebSocket-Key: k\r\n\r\n";
        let answer = client.ask("GET", &target, rest).await;
        assert_eq!((answer.status, answer.header("upgrade")), (101, Some("echo")), "{way:?} {answer:?}");
        let connection = answer.header("connection").unwrap().to_ascii_lowercase();
        assert!(connection.contains("upgrade"), "{connection}");
        client.say("hello").await;
        let mut heard = Vec::new();
        soon("the echo", client.wire.take(12, &mut heard)).await.unwrap();
        assert_eq!(heard, b"welcomehello", "{way:?}");
        drop(client);

        let record = resin.last_record().await;
        assert_eq!((record.http_status, record.net_ok), (101, true), "{record:#?}");
        assert_eq!((record.ingress_bytes, record.egress_bytes), (12, 5), "{record:#?}");
    }
    for head in heads.lock().unwrap().iter() {
        let head: &support::wire::Head = head;
        assert_eq!((head.get("upgrade"), head.get("sec-websocket-key")), (Some("echo"), Some("k")));
    }
}

#[tokio::test]
async fn events_reach_the_client_while_the_answer_goes_on() {
    let (next, released) = tokio::sync::watch::channel(0_usize);
    let origin = support::origins::Server::start(move |connection| {
        let mut released = released.clone();
        async move {
            let mut wire = support::wire::Wire::new(connection);
            let Ok(Some(_)) = wire.head().await else { return };
            let head =
                "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
            wire.say(head).await.unwrap();
            for event in 0..3 {
                released.wait_for(|released| *released > event).await.unwrap();
                wire.say(format!("9\r\ndata: {event}\n\n\r\n")).await.unwrap();
            }
            wire.say("0\r\n\r\n").await.unwrap();
        }
    })
    .await;
    let resin = resin_direct(&[]).await;
    let mut client = Client::of(&resin).await;
    let target = Way::Reverse.target(&origin.address.to_string(), "/");
    client.say(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n")).await;
    assert_eq!(client.head().await.status(), 200, "the head comes before the first event");
    for event in 0..3 {
        next.send_replace(event + 1);
        let mut heard = Vec::new();
        soon("an event", client.wire.take(14, &mut heard)).await.unwrap();
        assert!(String::from_utf8(heard).unwrap().contains(&format!("data: {event}")));
    }
}

#[tokio::test]
async fn interim_answers_do_not_disturb_and_a_switch_that_nobody_asked_for_is_an_error() {
    let origin = Origin::start(|heard| match heard.head.target() {
        "/hints" => Reply::say(
            "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        ),
        _ => Reply::say("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"),
    })
    .await;
    let resin = resin_direct(&[]).await;
    for way in EXCHANGES {
        let answer = ask_with(&resin, way, ("GET", &origin.authority(), "/hints"), "", "").await;
        assert_eq!((answer.status, answer.text().as_str()), (200, "ok"), "{way:?}");
        let switched = ask_with(&resin, way, ("GET", &origin.authority(), "/switch"), "", "").await;
        switched.assert_error(502, "UPSTREAM_REQUEST_FAILED");
    }
    assert_eq!(origin.count(), 4, "nothing was sent twice");
}

#[tokio::test]
async fn a_client_that_wants_to_close_is_answered_and_closed() {
    let resin = resin_direct(&[("RESIN_DATA_THREADS", "1")]).await;
    let origin = Origin::ok().await;
    for way in EXCHANGES {
        let mut client = Client::of(&resin).await;
        let target = way.target(&origin.authority(), "/");
        let answer = client.ask("GET", &target, "Host: a\r\nConnection: close\r\n\r\n").await;
        assert_eq!((answer.status, answer.text().as_str()), (200, "ok"), "{way:?}");
        assert!(client.is_at_end().await, "{way:?}");
    }
    assert_eq!(origin.connections(), 1, "what the client wants is nothing to the upstream");
}

#[tokio::test]
async fn requests_that_come_in_one_packet_are_answered_in_order() {
    let (resin, origin) =
        (resin_direct(&[]).await, Origin::start(|heard| Reply::ok(heard.head.target())).await);
    let mut client = Client::of(&resin).await;
    let requests: String = (0..5)
        .map(|number| {
            let target = Way::Forward.target(&origin.authority(), &format!("/{number}"));
            format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n")
        })
        .collect();
    client.say(requests).await;
    for number in 0..5 {
        assert_eq!(client.answer("GET").await.text(), format!("/{number}"));
    }
}

#[tokio::test]
async fn every_method_travels_with_and_without_a_body() {
    let heard_methods = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&heard_methods);
    let origin = Origin::start(move |heard| {
        kept.lock().unwrap().push(heard.head.method().to_owned());
        Reply::ok("ok")
    })
    .await;
    let resin = resin_direct(&[]).await;
    for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND", "BREW"] {
        for body in ["", "with a body"] {
            let answer = ask_with(&resin, Way::Forward, (method, &origin.authority(), "/"), "", body).await;
            assert_eq!(answer.status, 200, "{method}");
            assert_eq!(origin.heard().last().unwrap().body, body.as_bytes(), "{method}");
            assert_eq!(heard_methods.lock().unwrap().last().unwrap(), method);
        }
    }
}
