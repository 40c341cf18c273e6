//! HTTP/2 clients: what only they can do, and what they must not be able to.

#![allow(clippy::unwrap_used)] // a broken expectation is a failed test

mod support;

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use support::{
    client::{Client, http2},
    nodes::{Manner, Nodes, lead_through, resin_direct},
    origins::{Origin, Server},
    resin::{Resin, get, soon},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::Notify,
};

fn connect(authority: &str) -> Request<Empty<Bytes>> {
    Request::builder().method(Method::CONNECT).uri(authority).body(Empty::new()).unwrap()
}

async fn echo() -> Server {
    Server::start(|mut connection| async move {
        let (mut from, mut to) = connection.split();
        let _ = tokio::io::copy(&mut from, &mut to).await;
        let _ = to.shutdown().await;
    })
    .await
}

#[tokio::test]
async fn a_tunnel_is_one_stream_among_others() {
    const MUCH: usize = 2 << 20;
    let resin = Resin::start(&[]).await;
    let (nodes, server, origin) = (Nodes::http(&[Manner::Good]).await, echo().await, Origin::ok().await);
    lead_through(&resin, &nodes, 0).await;
    let sender = http2::<Empty<Bytes>>(&resin).await;
    let mut tunnels = Vec::new();
    for _ in 0..3 {
        let opened = sender.clone().send_request(connect(&server.address.to_string())).await.unwrap();
        assert_eq!(opened.status(), StatusCode::OK);
        tunnels.push(TokioIo::new(hyper::upgrade::on(opened).await.unwrap()));
    }
    for (number, tunnel) in tunnels.into_iter().enumerate() {
        let (mut from, mut to) = tokio::io::split(tunnel);
        let sent = tokio::spawn(async move {
            to.write_all(&vec![b'x'; MUCH]).await.unwrap();
            to.shutdown().await.unwrap();
        });
        let mut back = Vec::new();
        soon("the echo", from.read_to_end(&mut back)).await.unwrap();
        sent.await.unwrap();
        assert_eq!(back.len(), MUCH);
        let record = resin.last_record().await;
        assert_eq!((&*record.http_method, record.http_status, record.net_ok), ("CONNECT", 200, true));
        assert_eq!((record.ingress_bytes, record.egress_bytes), (MUCH as i64, MUCH as i64));

        let url = format!("http://{}/any/Default/http/{}/{number}", resin.data, origin.authority());
        let answer = sender.clone().send_request(Request::get(url).body(Empty::new()).unwrap()).await;
        assert_eq!(answer.unwrap().status(), 200);
        resin.last_record().await;
    }
}

#[tokio::test]
async fn a_connection_with_an_open_tunnel_does_not_idle() {
    let resin =
        resin_direct(&[("RESIN_CLIENT_IDLE_TIMEOUT", "100ms"), ("RESIN_HEADER_TIMEOUT", "100ms")]).await;
    let server = echo().await;
    let mut sender = http2::<Empty<Bytes>>(&resin).await;
    let opened = sender.send_request(connect(&server.address.to_string())).await.unwrap();
    let mut tunnel = TokioIo::new(hyper::upgrade::on(opened).await.unwrap());
    let mut plain = Client::of(&resin).await;
    assert_eq!(plain.connect(&server.address.to_string()).await.status, 200);
    tokio::time::sleep(std::time::Duration::from_millis(800)).await; // many times what an idle one has
    tunnel.write_all(b"still there").await.unwrap();
    let mut back = [0; 11];
    soon("the echo", tunnel.read_exact(&mut back)).await.unwrap();
    assert_eq!(&back, b"still there");
    plain.say("and this").await;
    soon("the echo", plain.wire.take(8, &mut Vec::new())).await.unwrap();
    assert!(sender.ready().await.is_ok());
}

#[tokio::test]
async fn a_refused_connect_is_told_as_over_http1() {
    let resin = Resin::start(&[("RESIN_PROXY_TOKEN", "tok")]).await;
    let nodes = Nodes::http(&[Manner::Refuse(503)]).await;
    lead_through(&resin, &nodes, 0).await;
    let sender = http2::<Empty<Bytes>>(&resin).await;
    let ask = async |request| sender.clone().send_request(request).await.unwrap();

    let unknown = ask(connect("shop.test:443")).await;
    assert_eq!(unknown.status(), 407);
    assert_eq!(unknown.headers()["x-resin-error"], "AUTH_REQUIRED");
    let mut request = connect("shop.test:443");
    request.headers_mut().insert("proxy-authorization", "Basic OnRvaw==".parse().unwrap());
    let refused = ask(request).await;
    assert_eq!(
        (refused.status(), &refused.headers()["x-resin-error"]),
        (StatusCode::BAD_GATEWAY, &"UPSTREAM_CONNECT_FAILED".parse().unwrap())
    );
    assert_eq!(nodes.dial_count(), 1);
}

#[tokio::test]
async fn a_host_that_is_not_the_authority_is_refused() {
    let (resin, origin) = (resin_direct(&[]).await, Origin::ok().await);
    let sender = http2::<Empty<Bytes>>(&resin).await;
    let url = format!("http://{}/any/Default/http/{}/", resin.data, origin.authority());
    for (host, status) in [("elsewhere.example", 400), (&*resin.data.to_string(), 200)] {
        let request = Request::get(&url).header("host", host).body(Empty::new()).unwrap();
        let answer = sender.clone().send_request(request).await.unwrap();
        assert_eq!(answer.status(), status, "{host}");
        assert_eq!(resin.last_record().await.http_status, i32::from(answer.status().as_u16()));
    }
    assert_eq!(origin.count(), 1);
}

#[tokio::test]
async fn a_stopping_proxy_lets_streams_end_and_takes_no_new_ones() {
    let resin = resin_direct(&[]).await;
    let go_on = Arc::new(Notify::new());
    let told = Arc::clone(&go_on);
    let slow = Server::start(move |connection| {
        let go_on = Arc::clone(&told);
        async move {
            let mut wire = support::wire::Wire::new(connection);
            wire.head().await.unwrap();
            wire.say("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab").await.unwrap();
            go_on.notified().await;
            wire.say("cd").await.unwrap();
            let _ = wire.more().await;
        }
    })
    .await;
    let mut sender = http2::<Empty<Bytes>>(&resin).await;
    let url = format!("http://{}/any/Default/http/{}/", resin.data, slow.address);
    let answer = sender.send_request(Request::get(url).body(Empty::new()).unwrap()).await.unwrap();
    let ops = resin.ops;
    let stopping = tokio::spawn(resin.stop());
    soon("the end of readiness", async {
        while get(ops, "/readyz").await.is_ok_and(|(status, _)| status == 200) {}
    })
    .await;
    go_on.notify_one();
    let body = soon("the rest of the answer", answer.into_body().collect()).await.unwrap().to_bytes();
    assert_eq!(body, "abcd");
    assert!(soon("the end", stopping).await.unwrap().success());
    assert!(sender.ready().await.is_err());
}

#[tokio::test]
async fn http1_beside_it_is_served_as_ever() {
    let (resin, origin) = (resin_direct(&[]).await, Origin::ok().await);
    let _sender = http2::<Empty<Bytes>>(&resin).await;
    let target = support::client::Way::Reverse.target(&origin.authority(), "/");
    assert_eq!(Client::of(&resin).await.ask("GET", &target, "Host: a\r\n\r\n").await.status, 200);
}
