//! What passes as it came: fields in their order and case, and a head with the body that came together with it.

#![allow(clippy::unwrap_used)] // a broken expectation is a failed test

mod support;

use std::sync::Arc;

use support::{
    client::{Client, EXCHANGES},
    nodes::resin_direct,
    origins::Server,
    resin::soon,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::mpsc,
};

/// Tells each read as it comes, and answers what ends with `end`.
async fn by_reads(end: &'static str, answer: &'static str) -> (Server, mpsc::UnboundedReceiver<String>) {
    let (told, reads) = mpsc::unbounded_channel();
    let told = Arc::new(told);
    let server = Server::start(move |mut connection| {
        let told = Arc::clone(&told);
        async move {
            let mut buffer = [0; 64 * 1024];
            while let Ok(read @ 1..) = connection.read(&mut buffer).await {
                let text = String::from_utf8_lossy(&buffer[..read]).into_owned();
                let ends = text.ends_with(end);
                let _ = told.send(text);
                if ends {
                    connection.write_all(answer.as_bytes()).await.unwrap();
                }
            }
        }
    })
    .await;
    (server, reads)
}

#[tokio::test]
async fn fields_pass_in_their_order_and_case_and_as_one_line_each() {
    let resin = resin_direct(&[]).await;
    let answer = "HTTP/1.1 200 As You Like\r\nX-B: 1\r\nx-a:2\r\nConnection: X-Gone\r\nX-B:  3 \r\nX-Gone: 1\r\n\
        X-Empty:\r\nDATE: then\r\nContent-LENGTH: 2\r\n\r\nok";
    let (origin, mut reads) = by_reads("\r\n\r\n", answer).await;
    let authority = origin.address.to_string();
    for way in EXCHANGES {
        let mut client = Client::of(&resin).await;
        let target = way.target(&authority, "/");
        for _ in 0..2 {
            client
                .say(format!(
                    "GET {target} HTTP/1.1\r\nUser-AGENT: u\r\nHost: {authority}\r\nB:1\r\nProxy-Connection: x\r\n\
                     connection: Keep-Alive, DROP\r\nDrop: 1\r\nA:  2 \r\nX-Resin-Account: a\r\nEmpty:\r\nB: \t3\r\n\r\n"
                ))
                .await;
            let heard = soon("the head", reads.recv()).await.unwrap();
            let fields = "User-AGENT: u\r\nB: 1\r\nA: 2\r\nEmpty: \r\nB: 3\r\n";
            assert_eq!(heard, format!("GET / HTTP/1.1\r\nhost: {authority}\r\n{fields}\r\n"), "{way:?}");

            let mut told = Vec::new();
            while !told.ends_with(b"ok") {
                assert_ne!(client.wire.stream.read_buf(&mut told).await.unwrap(), 0);
            }
            let fields = "X-B: 1\r\nx-a: 2\r\nX-B: 3\r\nX-Empty: \r\nDATE: then\r\nContent-LENGTH: 2\r\n";
            let head = format!("HTTP/1.1 200 As You Like\r\n{fields}\r\nok");
            assert_eq!(String::from_utf8_lossy(&told), head, "{way:?}");
        }
    }
}

#[tokio::test]
async fn a_body_that_came_with_its_head_reaches_the_origin_with_it() {
    let resin = resin_direct(&[]).await;
    let (origin, mut reads) = by_reads("all", "HTTP/1.1 204 No Content\r\n\r\n").await;
    for way in EXCHANGES {
        let mut client = Client::of(&resin).await;
        let target = way.target(&origin.address.to_string(), "/");
        for _ in 0..50 {
            client.say(format!("POST {target} HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nall")).await;
            let heard = soon("the request", reads.recv()).await.unwrap();
            assert!(heard.starts_with("POST ") && heard.ends_with("\r\n\r\nall"), "{way:?}: {heard}");
            assert_eq!(client.answer("POST").await.status, 204);
        }
    }
}

#[tokio::test]
async fn a_head_does_not_wait_for_a_body_that_is_still_to_come() {
    let resin = resin_direct(&[]).await;
    let (origin, mut reads) = by_reads("\0", "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n").await;
    for way in EXCHANGES {
        // Half a chunk's size is nothing that could go on.
        for (framing, first, second) in
            [("Content-Length: 2", "", "a"), ("Transfer-Encoding: chunked", "0", "2\r\na")]
        {
            let mut client = Client::of(&resin).await;
            let target = way.target(&origin.address.to_string(), "/");
            let head = format!("POST {target} HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n");
            client.say(format!("{head}{first}")).await;
            let heard = soon("the head", reads.recv()).await.unwrap();
            assert!(heard.ends_with("\r\n\r\n"), "{way:?} {framing}: {heard}");
            for (part, byte) in [(second, 'a'), ("\0", '\0')] {
                client.say(part).await;
                let heard = soon("what follows", reads.recv()).await.unwrap();
                assert!(heard.contains(byte), "{way:?} {framing}: {heard:?}");
            }
        }
    }
}
