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
async fn an_answer_with_two_framings_is_read_by_its_chunks_and_says_no_other_length() {
    let resin = resin_direct(&[]).await;
    let framed =
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    let origin = Origin::start(move |_| Reply::say(framed)).await;
    for way in EXCHANGES {
        let answer = ask(&resin, way, &origin.authority()).await;
        assert_eq!((answer.text().as_str(), answer.whole), ("hello", true), "{answer:?}");
        assert_eq!(answer.header("content-length"), None);
    }
}
