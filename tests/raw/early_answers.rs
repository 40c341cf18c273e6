//! An origin that answers before the body is there (RFC 9112, section 9.3): the rest of the body is still a body, and
//! never the next request, neither here nor there.

use std::sync::{Arc, Mutex};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use super::strict::{Read, find, request, show};
use crate::support::{
    client::{Client, EXCHANGES, Way},
    resin::{Resin, soon},
    wire::Length,
};

const HIDDEN: &str = "GET http://<A>/hidden HTTP/1.1\r\nHost: <A>\r\n\r\n";

/// Answers each head at once, whatever follows it, and keeps the bytes that it got on each connection.
async fn hasty() -> (std::net::SocketAddr, Arc<Mutex<Vec<Vec<u8>>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let book: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
    let kept = Arc::clone(&book);
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            let book = Arc::clone(&kept);
            let number = {
                let mut book = book.lock().unwrap();
                book.push(Vec::new());
                book.len() - 1
            };
            tokio::spawn(async move {
                let mut answered = false;
                let mut got = Vec::new();
                while connection.read_buf(&mut got).await.is_ok_and(|read| read > 0) {
                    book.lock().unwrap()[number].clone_from(&got);
                    if !answered && find(&got, b"\r\n\r\n").is_some() {
                        answered = true;
                        let answer = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 4\r\n\r\nsoon";
                        let _ = connection.write_all(answer.as_bytes()).await;
                    }
                }
            });
        }
    });
    (address, book)
}

pub async fn run(resin: &Resin) {
    for way in EXCHANGES {
        for chunked in [false, true] {
            // The client goes on with its body once the answer is there, or before.
            for waits in [true, false] {
                one(resin, way, chunked, waits).await;
            }
        }
    }
}

async fn one(resin: &Resin, way: Way, chunked: bool, waits: bool) {
    let (address, book) = hasty().await;
    let authority = address.to_string();
    let body = HIDDEN.replace("<A>", &authority).repeat(20);
    let target = way.target(&authority, "/it");
    let (framing, framed) = match chunked {
        true => ("Transfer-Encoding: chunked".to_owned(), format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len())),
        false => (format!("Content-Length: {}", body.len()), body.clone()),
    };
    let canary = format!(
        "GET {} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n",
        way.target(&authority, "/canary")
    );
    let mut client = Client::of(resin).await;
    client.say(format!("POST {target} HTTP/1.1\r\nHost: {authority}\r\n{framing}\r\n\r\n")).await;
    let case = format!("{way:?}, chunked: {chunked}, waits: {waits}");
    if !waits {
        client.say(&framed).await;
    }
    let head = client.head().await;
    let answer = soon(&case, client.wire.body(Length::of_answer(&head, "POST"))).await;
    assert_eq!((head.status(), &*answer.bytes), (200, &b"soon"[..]), "{case}");
    // Where the connection was closed instead, nothing of this arrives.
    let rest = if waits { format!("{framed}{canary}") } else { canary };
    let _ = client.wire.say(rest).await;
    let behind = soon(&case, client.wire.body(Length::ToTheEnd)).await;
    let behind = show(&behind.bytes);
    assert!(behind.matches("HTTP/1.1 ").count() <= 1 && !behind.contains(" 400 "), "{case}: {behind:?}");

    for bytes in book.lock().unwrap().iter() {
        let text = show(bytes);
        let own = text.starts_with("POST /it ") || text.starts_with("GET /canary ");
        assert!(own, "{case}: the origin was sent {text:?}");
        match request(bytes) {
            Read::Part => {}
            Read::Whole(heard, length) => {
                let whole = heard.body.is_empty() || heard.body == body.as_bytes();
                assert!(whole && length == bytes.len(), "{case}: more than one request: {text:?}");
            }
            Read::Junk(what) => panic!("{case}: {what}"),
        }
    }
}
