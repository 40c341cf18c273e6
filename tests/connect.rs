//! Tunnels: how they open, carry, half-close and end, and what the record says of it.

#![allow(clippy::unwrap_used)] // a broken expectation is a failed test

mod support;

use resin::proto::{ProxyType, UpstreamPhase, UpstreamStage};
use support::{
    client::{Client, ask},
    nodes::{Manner, Nodes, lead_through, resin_direct},
    origins::{Resettable, Server},
    resin::{Resin, soon},
    wire::Wire,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

async fn open(resin: &Resin, server: &Server) -> Client {
    let mut client = Client::of(resin).await;
    let answer = client.connect(&server.address.to_string()).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    for absent in ["content-length", "transfer-encoding", "x-resin-error", "proxy-status"] {
        assert_eq!(answer.header(absent), None, "RFC 9110 9.3.6: {answer:?}");
    }
    client
}

#[tokio::test]
async fn the_clients_half_close_is_passed_on_and_the_answer_still_comes() {
    let server = Server::start(|mut connection| async move {
        let mut said = Vec::new();
        connection.read_to_end(&mut said).await.unwrap(); // ends with the client's half only
        connection.write_all(format!("{} bytes", said.len()).as_bytes()).await.unwrap();
    })
    .await;
    let resin = Resin::start(&[]).await;
    for nodes in [Nodes::http(&[Manner::Good]).await, Nodes::socks5(&[Manner::Good]).await] {
        lead_through(&resin, &nodes, 0).await;
        let mut client = open(&resin, &server).await;
        client.say("hello").await;
        client.wire.stream.shutdown().await.unwrap();
        let mut heard = String::new();
        soon("the answer", client.wire.stream.read_to_string(&mut heard)).await.unwrap();
        assert_eq!(heard, "5 bytes");
        let record = resin.last_record().await;
        assert_eq!((record.egress_bytes, record.ingress_bytes, record.net_ok), (5, 7, true));
        assert_eq!(record.upstream_stage(), UpstreamStage::Unspecified, "{record:#?}");
    }
}

#[tokio::test]
async fn the_upstreams_half_close_is_passed_on_and_the_upload_goes_on() {
    let (told, heard) = tokio::sync::mpsc::unbounded_channel();
    let server = Server::start(move |mut connection| {
        let told = told.clone();
        async move {
            connection.write_all(b"bye").await.unwrap();
            connection.shutdown().await.unwrap();
            let mut said = String::new();
            connection.read_to_string(&mut said).await.unwrap();
            told.send(said).unwrap();
        }
    })
    .await;
    let resin = resin_direct(&[]).await;
    let mut heard = heard;
    let mut client = open(&resin, &server).await;
    // The first of it may have come together with the head.
    let mut said = std::mem::take(&mut client.wire.ahead);
    soon("the server's half", client.wire.stream.read_to_end(&mut said)).await.unwrap();
    assert_eq!(said, b"bye");
    client.say("and on it goes").await;
    client.wire.stream.shutdown().await.unwrap();
    assert_eq!(soon("the upload", heard.recv()).await.unwrap(), "and on it goes");
}

#[tokio::test]
async fn a_server_that_speaks_first_is_heard() {
    let resin = Resin::start(&[]).await;
    let nodes = Nodes::http(&[Manner::Early("220 welcome")]).await;
    lead_through(&resin, &nodes, 0).await;
    let mut client = Client::of(&resin).await;
    assert_eq!(client.connect("mail.test:25").await.status, 200);
    let mut heard = Vec::new();
    soon("the greeting", client.wire.take(11, &mut heard)).await.unwrap();
    assert_eq!(heard, b"220 welcome");
    drop(client);
    let record = resin.last_record().await;
    assert_eq!((record.ingress_bytes, record.egress_bytes), (11, 0));
    assert_eq!(record.upstream_stage(), UpstreamStage::ConnectNoEgressTraffic, "{record:#?}");
    assert!(record.net_ok);
}

#[tokio::test]
async fn bytes_sent_along_with_the_connect_request_are_the_tunnels_first() {
    let server = Server::start(|connection| async move {
        let mut wire = Wire::new(connection);
        let mut said = Vec::new();
        wire.take(9, &mut said).await.unwrap();
        wire.say(said).await.unwrap();
    })
    .await;
    let resin = resin_direct(&[]).await;
    let mut client = Client::of(&resin).await;
    let authority = server.address;
    client.say(format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\nimpatient")).await;
    assert_eq!(client.answer("CONNECT").await.status, 200);
    let mut heard = Vec::new();
    soon("the echo", client.wire.take(9, &mut heard)).await.unwrap();
    assert_eq!(heard, b"impatient");
}

#[tokio::test]
async fn much_goes_both_ways_at_once() {
    const MUCH: usize = 24 << 20;
    let server = Server::start(|mut connection| async move {
        let (mut from, mut to) = connection.split();
        let _ = tokio::io::copy(&mut from, &mut to).await;
        let _ = to.shutdown().await;
    })
    .await;
    let resin = Resin::start(&[]).await;
    let nodes = Nodes::http(&[Manner::Good]).await;
    lead_through(&resin, &nodes, 0).await;
    let client = open(&resin, &server).await;
    let (mut from, mut to) = client.wire.stream.into_split();
    let pattern: Vec<u8> = (0..1 << 16).map(|number| (number % 251) as u8).collect();
    let sent = pattern.clone();
    let up = tokio::spawn(async move {
        for _ in 0..MUCH / sent.len() {
            to.write_all(&sent).await.unwrap();
        }
        to.shutdown().await.unwrap();
    });
    let mut block = vec![0; pattern.len()];
    for number in 0..MUCH / pattern.len() {
        soon("a block", from.read_exact(&mut block)).await.unwrap();
        assert!(block == pattern, "block {number} came back changed");
    }
    assert_eq!(soon("the end", from.read(&mut block)).await.unwrap(), 0);
    up.await.unwrap();
    let record = resin.last_record().await;
    let much = i64::try_from(MUCH).unwrap();
    assert_eq!((record.egress_bytes, record.ingress_bytes, record.net_ok), (much, much, true));
}

#[tokio::test]
async fn a_tunnel_that_the_upstream_resets_is_reset_for_the_client_and_recorded() {
    let server = Server::start(|connection| async move {
        let mut wire = Wire::new(connection);
        wire.take(4, &mut Vec::new()).await.unwrap();
        wire.say("part").await.unwrap();
        wire.stream.reset();
    })
    .await;
    let resin = resin_direct(&[]).await;
    let mut client = open(&resin, &server).await;
    client.say("ping").await;
    let mut heard = Vec::new();
    let end = soon("the end", client.wire.stream.read_to_end(&mut heard)).await;
    assert!(end.is_err(), "a reset is no orderly end: {end:?} {heard:?}");
    let record = resin.last_record().await;
    assert_eq!(record.upstream_stage(), UpstreamStage::ConnectUpstreamToClientCopy, "{record:#?}");
    assert_eq!((&*record.upstream_err_kind, &*record.upstream_errno), ("connection_reset", "ECONNRESET"));
    assert_eq!((record.net_ok, record.http_status, record.retry_attempts), (false, 200, 0));
    assert_eq!(record.upstream_phase(), UpstreamPhase::Tunnel);
}

#[tokio::test]
async fn only_bytes_up_and_none_down_is_no_ingress_and_not_ok() {
    let server = Server::start(|mut connection| async move {
        let _ = connection.read_to_end(&mut Vec::new()).await;
    })
    .await;
    let resin = resin_direct(&[]).await;
    let mut client = open(&resin, &server).await;
    client.say("anybody there?").await;
    client.wire.stream.shutdown().await.unwrap();
    assert!(client.is_at_end().await);
    let record = resin.last_record().await;
    assert_eq!(record.upstream_stage(), UpstreamStage::ConnectNoIngressTraffic, "{record:#?}");
    assert_eq!((record.net_ok, record.egress_bytes, record.ingress_bytes), (false, 14, 0));
}

#[tokio::test]
async fn an_idle_tunnel_ends_by_the_idle_timeout() {
    let server = Server::start(|connection| async move {
        let _held = connection;
        std::future::pending().await
    })
    .await;
    let resin = resin_direct(&[("RESIN_IDLE_TIMEOUT", "500ms")]).await;
    let mut client = open(&resin, &server).await;
    let end = soon("an end", client.wire.more()).await;
    assert!(end.is_err() || end.is_ok_and(|read| read == 0));
    let record = resin.last_record().await;
    assert_eq!((record.http_method.as_str(), record.http_status), ("CONNECT", 200), "{record:#?}");
}

#[tokio::test]
async fn an_authority_that_cannot_be_is_an_invalid_host() {
    let resin = resin_direct(&[]).await;
    for authority in ["shop.test", "shop.test:0", "shop.test:99999", ":443", "a_b!:443"] {
        let mut client = Client::of(&resin).await;
        let answer = client.connect(authority).await;
        assert_eq!(answer.status, 400, "{authority}: {answer:?}");
        // What is no authority at all may be refused before it is a request of ours.
        if authority != ":443" {
            answer.assert_error(400, "INVALID_HOST");
        }
    }
}

#[tokio::test]
async fn no_tunnel_is_upstream_connect_failed_and_another_connection_may_have_one() {
    let server = Server::start(|mut connection| async move {
        let _ = connection.write_all(b"x").await;
    })
    .await;
    let resin = Resin::start(&[]).await;
    let nodes = Nodes::http(&[Manner::Refuse(503), Manner::Good]).await;
    lead_through(&resin, &nodes, 0).await;
    let mut client = Client::of(&resin).await;
    client.connect(&server.address.to_string()).await.assert_error(502, "UPSTREAM_CONNECT_FAILED");
    let record = resin.last_record().await;
    assert_eq!((&*record.http_method, record.proxy_type()), ("CONNECT", ProxyType::Forward));
    assert_eq!((&*record.target_url, &*record.upstream_err_kind), ("", "node_refused"));
    assert_eq!(record.upstream_stage(), UpstreamStage::ConnectDial);
    assert_eq!(record.target_port, i32::from(server.address.port()));

    // Bytes sent ahead for the tunnel must not become a request: the connection ended with the refusal.
    let mut another = Client::of(&resin).await;
    assert_eq!(another.connect(&server.address.to_string()).await.status, 200);
}

#[tokio::test]
async fn many_tunnels_live_side_by_side() {
    let server = Server::start(|mut connection| async move {
        let (mut from, mut to) = connection.split();
        let _ = tokio::io::copy(&mut from, &mut to).await;
    })
    .await;
    let resin = resin_direct(&[]).await;
    let mut clients = Vec::new();
    for number in 0..100 {
        let mut client = open(&resin, &server).await;
        client.say(format!("{number:03}")).await;
        clients.push(client);
    }
    for (number, client) in clients.iter_mut().enumerate() {
        let mut heard = Vec::new();
        soon("an echo", client.wire.take(3, &mut heard)).await.unwrap();
        assert_eq!(heard, format!("{number:03}").into_bytes());
    }
    drop(clients);
    let records = resin.records_until(100).await;
    assert!(records.iter().all(|record| record.net_ok && record.ingress_bytes == 3), "{records:#?}");
    assert_eq!(ask(&resin, support::client::Way::Connect, "shop.invalid:1").await.status, 502);
}
