//! WebSocket through the proxy with a library that knows it: messages large and small, pings, close codes, on every way.

#![allow(clippy::unwrap_used)] // a broken expectation is a failed test

mod support;

use std::borrow::Cow;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use support::{
    client::{Client, EXCHANGES, WAYS, Way},
    nodes::{Manner, Nodes, lead_through, resin_direct},
    origins::Server,
    resin::{Resin, soon},
};
use tokio::net::TcpStream;
use tokio_tungstenite::{
    WebSocketStream, accept_async,
    tungstenite::{
        Message,
        protocol::{CloseFrame, Role, frame::coding::CloseCode},
    },
};

/// Echoes messages; answers `close N` by closing with that code.
async fn echo() -> Server {
    Server::start(|connection| async move {
        let Ok(mut socket) = accept_async(connection).await else { return };
        while let Some(Ok(message)) = socket.next().await {
            match message {
                Message::Text(text) if text.starts_with("close ") => {
                    let code: u16 = text[6..].parse().unwrap();
                    let frame = CloseFrame { code: CloseCode::from(code), reason: "as you wish".into() };
                    let _ = socket.close(Some(frame)).await;
                }
                Message::Text(_) | Message::Binary(_) => drop(socket.send(message).await),
                _ => {}
            }
        }
    })
    .await
}

async fn open(resin: &Resin, way: Way, authority: &str) -> WebSocketStream<TcpStream> {
    let mut client = Client::of(resin).await;
    if way == Way::Connect {
        assert_eq!(client.connect(authority).await.status, 200);
    }
    let target = way.target(authority, "/chat?room=1");
    let rest = format!(
        "Host: {authority}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    client.say(format!("GET {target} HTTP/1.1\r\n{rest}")).await;
    let head = client.head().await;
    assert_eq!(head.status(), 101, "{way:?} {head:?}");
    assert_eq!(head.get("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    assert!(client.wire.ahead.is_empty());
    WebSocketStream::from_raw_socket(client.wire.stream, Role::Client, None).await
}

async fn next(socket: &mut WebSocketStream<TcpStream>) -> Message {
    soon("a message", socket.next()).await.unwrap().unwrap()
}

#[tokio::test]
async fn messages_pings_and_close_codes_come_through_on_every_way() {
    let (resin, server) = (Resin::start(&[]).await, echo().await);
    for way in WAYS {
        let nodes = Nodes::http(&[Manner::Good]).await;
        lead_through(&resin, &nodes, 2).await;
        let mut socket = open(&resin, way, &server.address.to_string()).await;

        let large = Bytes::from(vec![0xa5; 4 << 20]);
        for message in [
            Message::text("hello"),
            Message::text(""),
            Message::binary(large.clone()),
            Message::text("ü".repeat(70_000)),
        ] {
            let (mut to, mut from) = socket.split();
            let (sent, back) = tokio::join!(to.send(message.clone()), from.next());
            sent.unwrap();
            assert!(back.unwrap().unwrap() == message, "{way:?}");
            socket = to.reunite(from).unwrap();
        }
        socket.send(Message::Ping(Bytes::from_static(b"alive?"))).await.unwrap();
        assert_eq!(next(&mut socket).await, Message::Pong(Bytes::from_static(b"alive?")), "{way:?}");

        socket.send(Message::text("close 4001")).await.unwrap();
        let Message::Close(Some(frame)) = next(&mut socket).await else { panic!("no close frame: {way:?}") };
        assert_eq!((u16::from(frame.code), frame.reason.as_str()), (4001, "as you wish"), "{way:?}");
        assert!(soon("the end", socket.next()).await.is_none());
        drop(socket);

        let record = resin.last_record().await;
        assert_eq!((record.net_ok, record.retry_attempts, nodes.dial_count()), (true, 0, 1), "{record:#?}");
        assert!(record.ingress_bytes > 4 << 20 && record.egress_bytes > 4 << 20, "{record:#?}");
    }
}

#[tokio::test]
async fn a_client_that_closes_is_heard_at_the_origin_with_its_code() {
    let (told, mut codes) = tokio::sync::mpsc::unbounded_channel();
    let server = Server::start(move |connection| {
        let told = told.clone();
        async move {
            let mut socket = accept_async(connection).await.unwrap();
            while let Some(Ok(message)) = socket.next().await {
                if let Message::Close(Some(frame)) = message {
                    told.send((u16::from(frame.code), Cow::from(frame.reason.to_string()))).unwrap();
                }
            }
        }
    })
    .await;
    let resin = resin_direct(&[]).await;
    for way in EXCHANGES {
        let mut socket = open(&resin, way, &server.address.to_string()).await;
        let frame = CloseFrame { code: CloseCode::Away, reason: "home".into() };
        socket.close(Some(frame)).await.unwrap();
        assert_eq!(soon("the code", codes.recv()).await.unwrap(), (1001, Cow::from("home")), "{way:?}");
    }
}
