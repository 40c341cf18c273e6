//! Upstream connections are kept and used again, and what is sent over them arrives whole.

#![allow(clippy::unwrap_used)] // a broken expectation is a failed test

mod support;

use bytes::Bytes;
use http::Request;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use support::{
    client::{Client, EXCHANGES, Way, http2},
    nodes::{Manner, Nodes, lead_through, resin_direct, resin_over},
    origins::{Origin, Reply, Server, streaming_echo},
    resin::{Resin, soon},
    tls::Authority,
    wire::{Length, Wire},
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// One client connection is served by one data thread, so its upstream connection is found again.
async fn repeat(resin: &Resin, way: Way, authority: &str, path: &str, method: &str, times: usize) {
    let mut client = Client::of(resin).await;
    let target = way.target(authority, path);
    for number in 0..times {
        let rest =
            if method == "POST" { "Host: a\r\nContent-Length: 4\r\n\r\nbody" } else { "Host: a\r\n\r\n" };
        let answer = client.ask(method, &target, rest).await;
        assert!(answer.status < 400 && answer.whole, "{method} {path}, number {number}: {answer:?}");
    }
}

#[tokio::test]
async fn two_hundred_requests_need_one_dial_however_the_answers_end() {
    let origin = Origin::start(|heard| match heard.head.target() {
        "/empty" => Reply::ok(""),
        "/204" => Reply::say("HTTP/1.1 204 No Content\r\n\r\n"),
        "/304" => Reply::say("HTTP/1.1 304 Not Modified\r\n\r\n"),
        "/head" => Reply::say("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n"),
        "/chunked" => Reply::say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
        _ => Reply::ok("a body with its length"),
    })
    .await;
    let resin = Resin::start(&[]).await;
    let kinds = [
        ("GET", "/length"),
        ("POST", "/length"),
        ("GET", "/empty"),
        ("GET", "/204"),
        ("GET", "/304"),
        ("HEAD", "/head"),
        ("GET", "/chunked"),
    ];
    for (method, path) in kinds {
        for way in EXCHANGES {
            let nodes = Nodes::http(&[Manner::Good]).await;
            lead_through(&resin, &nodes, 2).await;
            repeat(&resin, way, &origin.authority(), path, method, 200).await;
            assert_eq!(nodes.dial_count(), 1, "{method} {path} {way:?}");
        }
    }
}

#[tokio::test]
async fn connections_over_tls_are_kept_too() {
    let authority = Authority::new();
    let origin = Origin::secure(authority.acceptor("127.0.0.1"), |_| Reply::ok("sealed")).await;
    let resin = Resin::start(&[("RESIN_CA_FILE", authority.file())]).await;
    for nodes in [
        Nodes::http(&[Manner::Good]).await,
        Nodes::https(&[Manner::Good], authority.acceptor("127.0.0.1")).await,
    ] {
        lead_through(&resin, &nodes, 2).await;
        let mut client = Client::of(&resin).await;
        let target = format!("https://{}/", origin.authority());
        for _ in 0..200 {
            assert_eq!(client.ask("GET", &target, "Host: a\r\n\r\n").await.text(), "sealed");
        }
        assert_eq!(nodes.dial_count(), 1, "tickets after each handshake are no end: {:?}", nodes.uris);
    }
}

#[tokio::test]
async fn connections_are_not_shared_between_nodes_or_origins() {
    let origins = [Origin::ok().await, Origin::ok().await];
    let nodes = Nodes::http(&[Manner::Good]).await;
    let resin = resin_over(&nodes, 2, &[("RESIN_DATA_THREADS", "1")]).await;
    for origin in &origins {
        repeat(&resin, Way::Forward, &origin.authority(), "/", "GET", 5).await;
        repeat(&resin, Way::Reverse, &origin.authority(), "/", "GET", 5).await;
        assert_eq!((origin.connections(), origin.count()), (1, 10));
    }
    assert_eq!(nodes.dial_count(), 2);
    let others = Nodes::http(&[Manner::Good]).await;
    lead_through(&resin, &others, 2).await;
    repeat(&resin, Way::Forward, &origins[0].authority(), "/", "GET", 5).await;
    assert_eq!((others.dial_count(), nodes.dial_count()), (1, 2));
}

#[tokio::test]
async fn an_answer_that_says_close_is_not_kept() {
    let origin =
        Origin::start(|_| Reply::say("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"))
            .await;
    let nodes = Nodes::http(&[Manner::Good]).await;
    let resin = resin_over(&nodes, 2, &[]).await;
    repeat(&resin, Way::Forward, &origin.authority(), "/", "GET", 5).await;
    assert_eq!((nodes.dial_count(), origin.connections()), (5, 5));
}

#[tokio::test]
async fn no_connection_is_kept_where_none_may_be_idle() {
    let origin = Origin::ok().await;
    let nodes = Nodes::http(&[Manner::Good]).await;
    let resin = resin_over(&nodes, 2, &[("RESIN_POOL_MAX_IDLE", "0")]).await;
    repeat(&resin, Way::Forward, &origin.authority(), "/", "GET", 3).await;
    assert_eq!(nodes.dial_count(), 3, "RESIN_POOL_MAX_IDLE=0 keeps none");
}

#[tokio::test]
async fn what_an_origin_says_unasked_is_never_taken_for_the_next_answer() {
    let ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let unasked = "HTTP/1.1 408 Request Timeout\r\nContent-Length: 4\r\n\r\nlate";
    for at_once in [true, false] {
        let (went, mut went_out) = tokio::sync::mpsc::unbounded_channel();
        let origin = Server::start(move |connection| {
            let went = went.clone();
            async move {
                let mut wire = Wire::new(connection);
                let Ok(Some(_)) = wire.head().await else { return };
                if at_once {
                    let _ = wire.say(format!("{ok}{unasked}")).await;
                } else {
                    let _ = wire.say(ok).await;
                    let _ = wire.say(unasked).await;
                }
                let _ = went.send(());
                let _ = wire.more().await; // it stays open until the other side has had enough
            }
        })
        .await;
        let resin = resin_direct(&[("RESIN_DATA_THREADS", "1")]).await;
        let mut client = Client::of(&resin).await;
        let target = Way::Forward.target(&origin.address.to_string(), "/");
        for number in 0..20 {
            let answer = client.ask("GET", &target, "Host: a\r\n\r\n").await;
            assert_eq!((answer.status, answer.text().as_str()), (200, "ok"), "number {number}");
            soon("the unasked answer", went_out.recv()).await.unwrap();
        }
        assert_eq!(origin.connections(), 20);
    }
}

#[tokio::test]
async fn idle_connections_are_closed_when_their_time_is_over() {
    let (ended, mut ends) = tokio::sync::mpsc::unbounded_channel();
    let origin = Server::start(move |connection| {
        let ended = ended.clone();
        async move {
            let mut wire = Wire::new(connection);
            while let Ok(Some(_)) = wire.head().await {
                wire.say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.unwrap();
            }
            ended.send(()).unwrap();
        }
    })
    .await;
    for limit in ["RESIN_POOL_IDLE_TIMEOUT", "RESIN_POOL_MAX_AGE"] {
        let resin = resin_direct(&[(limit, "300ms")]).await;
        repeat(&resin, Way::Forward, &origin.address.to_string(), "/", "GET", 1).await;
        soon("the end of the idle connection", ends.recv()).await.unwrap();
    }
}

#[tokio::test]
async fn a_chunked_post_after_an_http_1_0_keep_alive_answer_keeps_its_body() {
    let origin = Origin::start(|_| {
        Reply::say("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok")
    })
    .await;
    let nodes = Nodes::http(&[Manner::Good]).await;
    let resin = resin_over(&nodes, 0, &[]).await;
    for way in EXCHANGES {
        let mut client = Client::of(&resin).await;
        let target = way.target(&origin.authority(), "/");
        let rest = "Host: a\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nchunks\r\n0\r\n\r\n";
        for _ in 0..3 {
            let answer = client.ask("POST", &target, rest).await;
            assert_eq!((answer.status, answer.text().as_str()), (200, "ok"), "{way:?}");
            assert_eq!(origin.heard().pop().unwrap().body, b"chunks", "{way:?}");
        }
    }
}

#[tokio::test]
async fn an_answer_before_the_upload_is_over_does_not_poison_the_next_request() {
    // Answers at the head; the body that still comes must not be taken for a request.
    let origin = Server::start(|connection| async move {
        let mut wire = Wire::new(connection);
        while let Ok(Some(head)) = wire.head().await {
            assert!(["GET", "POST"].contains(&head.method()), "a body was read as a request: {head:?}");
            if wire.say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.is_err() {
                return;
            }
            wire.body(Length::of_request(&head)).await;
        }
    })
    .await;
    let nodes = Nodes::http(&[Manner::Good]).await;
    let resin = resin_over(&nodes, 0, &[("RESIN_DATA_THREADS", "1")]).await;
    let authority = origin.address.to_string();
    for _ in 0..3 {
        let mut early = Client::of(&resin).await;
        let target = Way::Forward.target(&authority, "/");
        early.say(format!("POST {target} HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nsome")).await;
        let answer = early.answer("POST").await;
        assert_eq!((answer.status, answer.text().as_str()), (200, "ok"));
        repeat(&resin, Way::Forward, &authority, "/", "GET", 3).await;
        drop(early);
    }
}

#[tokio::test]
async fn a_client_that_uploads_before_it_reads_gets_all_of_it_back() {
    const MUCH: usize = 64 << 20;
    let origin = streaming_echo().await;
    let nodes = Nodes::http(&[Manner::Good]).await;
    // The way back is full long before the upload is over, so the client must not wait for it to read.
    let resin = resin_over(&nodes, 2, &[]).await;
    for (way, length) in [(Way::Forward, true), (Way::Reverse, false)] {
        let much = if length { MUCH } else { MUCH / 4 };
        let client = Client::of(&resin).await;
        let (mut from, mut to) = client.wire.stream.into_split();
        let target = way.target(&origin.address.to_string(), "/");
        let framing =
            if length { format!("Content-Length: {much}") } else { "Transfer-Encoding: chunked".to_owned() };
        let reading = tokio::spawn(async move {
            // Nothing is read before the answer has been there for a while: sockets fill up meanwhile.
            let mut first = [0; 1];
            from.peek(&mut first).await.unwrap();
            let mut count = 0;
            let mut block = vec![0; 1 << 20];
            while count < much {
                let read = from.read(&mut block).await.unwrap();
                assert!(read > 0, "an end after {count} bytes");
                count += read;
            }
        });
        let uploading = async {
            to.write_all(format!("POST {target} HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n").as_bytes())
                .await?;
            let block = vec![b'x'; 1 << 20];
            for _ in 0..much >> 20 {
                if length {
                    to.write_all(&block).await?;
                } else {
                    to.write_all(b"100000\r\n").await?;
                    to.write_all(&block).await?;
                    to.write_all(b"\r\n").await?;
                }
            }
            if !length {
                to.write_all(b"0\r\n\r\n").await?;
            }
            std::io::Result::Ok(())
        };
        soon("the upload", uploading).await.unwrap();
        soon("all of it back", reading).await.unwrap();
    }
}

/// Takes a whole upload, keeps it, and only then gives it back, answering at the head.
async fn patient_echo() -> Server {
    Server::start(|connection| async move {
        let mut wire = Wire::new(connection);
        let Ok(Some(head)) = wire.head().await else { return };
        let Length::Exactly(length) = Length::of_request(&head) else { panic!("a length is wanted") };
        if wire.say(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n")).await.is_err() {
            return;
        }
        let payload = wire.body(Length::Exactly(length)).await;
        if payload.whole {
            let _ = wire.say(payload.bytes).await;
        }
    })
    .await
}

#[tokio::test]
async fn an_upload_goes_on_although_nobody_reads_the_answer_that_has_begun() {
    let origin = patient_echo().await;
    let nodes = Nodes::http(&[Manner::Good]).await;
    let resin = resin_over(&nodes, 2, &[]).await;
    let much = 64 << 20;
    let mut client = Client::of(&resin).await;
    let target = Way::Forward.target(&origin.address.to_string(), "/");
    client.say(format!("POST {target} HTTP/1.1\r\nHost: a\r\nContent-Length: {much}\r\n\r\n")).await;
    let block = vec![b'x'; 1 << 20];
    for _ in 0..much >> 20 {
        client.say(&block).await; // not a byte is read in between
    }
    let head = client.head().await;
    assert_eq!(head.status(), 200);
    let mut count = client.wire.ahead.len();
    let mut sink = vec![0; 1 << 20];
    while count < much {
        let read = soon("the echo", client.wire.stream.read(&mut sink)).await.unwrap();
        assert!(read > 0, "an end after {count} bytes");
        count += read;
    }
}

#[tokio::test]
async fn over_http2_an_upload_goes_on_although_nobody_reads_the_answer() {
    let origin = patient_echo().await;
    let nodes = Nodes::http(&[Manner::Good]).await;
    let resin = resin_over(&nodes, 2, &[]).await;
    let much: usize = 4 << 20;
    let block = Bytes::from(vec![b'x'; 64 * 1024]);
    let (sender, receiver) = tokio::sync::mpsc::channel::<Result<Frame<Bytes>, std::io::Error>>(1);
    let body = StreamBody::new(tokio_stream::wrappers::ReceiverStream::new(receiver));
    let url = format!("http://resin.test/any/Default/http/{}/", origin.address);
    let request = Request::post(url).header("content-length", much).body(body).unwrap();
    let mut connection = http2(&resin).await;
    let response = connection.send_request(request);
    let response = tokio::spawn(response);
    for _ in 0..much / block.len() {
        soon("room for the upload", sender.send(Ok(Frame::data(block.clone())))).await.unwrap();
    }
    drop(sender);
    let response = soon("an answer", response).await.unwrap().unwrap();
    let echoed = soon("the echo", response.into_body().collect()).await.unwrap().to_bytes();
    assert_eq!(echoed.len(), much);
}
