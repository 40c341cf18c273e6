//! The request tables once more, now towards others: nginx, HAProxy and a strict reader must agree on how many requests
//! came out of the proxy, on their targets and on the lengths of their bodies.

#![allow(clippy::unwrap_used)] // a broken expectation is a failed test

mod support;

#[allow(clippy::unwrap_used, dead_code, unreachable_pub)] // another test binary uses a part of it too
mod raw {
    pub mod chunks;
    pub mod connect;
    pub mod fields;
    pub mod framing;
    pub mod host;
    pub mod judge;
    pub mod origin;
    pub mod peers;
    pub mod request_line;
    pub mod row;
    pub mod run;
    pub mod strict;
}

use std::net::SocketAddr;

use raw::{
    chunks, connect, fields, framing, host,
    origin::Strict,
    request_line,
    row::{Row, Then, fill},
    run::{Pieces, exchange},
    strict::Heard,
};
use support::{client::Way, nodes::resin_direct, peer::Peer, resin::Resin};

/// Requests that are good and that a server has a rule of its own against: it answers 4xx, and passes nothing on.
const RULES: [(&str, &[&str]); 2] = [
    (
        "nginx",
        &[
            "the method get",
            "the method X!#$%&'*+-.^_`|~9",
            "TRACE",
            "OPTIONS to an empty path",
            "escapes, whole and broken",
            "with dots",
        ],
    ),
    ("HAProxy", &[]),
];

/// A request as the peers are compared by it.
type Arrived = (String, String, usize);

/// What arrived for each row on each way.
async fn arrivals(rows: &[Row], resin: &Resin, to: SocketAddr, origin: &Strict) -> Vec<Vec<Arrived>> {
    let mut all = Vec::new();
    for row in rows {
        for way in row.ways.iter().copied().filter(|way| *way != Way::Connect) {
            let before = origin.book().heard.len();
            let mut bytes = row.bytes(way, to);
            if !row.ends {
                bytes.extend(canary(way, to));
            }
            exchange(resin, bytes, Pieces::One, row.ends).await.unwrap();
            // What is broken off on one side is so on the other a little later; nothing whole may come of it.
            if matches!(row.then, Then::Broken) {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
            let heard = origin.book().heard.split_off(before);
            all.push(
                heard
                    .into_iter()
                    .map(|Heard { method, target, body, .. }| (method, target, body.len()))
                    .collect(),
            );
        }
    }
    all
}

fn canary(way: Way, to: SocketAddr) -> Vec<u8> {
    let target = if way == Way::Reverse { "/any/Default/http/<A>/canary" } else { "http://<A>/canary" };
    fill(&format!("GET {target} HTTP/1.1\r\nHost: <A>\r\nConnection: close\r\n\r\n"), way, to)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_servers_agree_on_what_came_out_of_the_proxy() {
    let rows = [
        host::rows(),
        request_line::rows(),
        request_line::pipelines(),
        request_line::bare_line_feeds(),
        framing::rows(),
        chunks::rows(),
        connect::rows(),
        fields::rows(),
    ]
    .concat();
    // Large ones try limits of ours, and servers have others.
    let rows: Vec<Row> = rows.into_iter().filter(|row| row.say.len() < 8000).collect();
    let resin = resin_direct(&[]).await;
    let dir = tempfile::tempdir().unwrap();
    let (strict, behind_nginx, behind_haproxy) =
        (Strict::start().await, Strict::start().await, Strict::start().await);
    let nginx = Peer::nginx(dir.path(), behind_nginx.address).await;
    let haproxy = Peer::haproxy(dir.path(), behind_haproxy.address).await;
    let peers = [("nginx", nginx, &behind_nginx), ("HAProxy", haproxy, &behind_haproxy)];

    let ours = arrivals(&rows, &resin, strict.address, &strict).await;
    assert!(strict.book().junk.is_empty(), "{:?}", strict.book().junk);
    let names: Vec<String> = rows
        .iter()
        .flat_map(|row| {
            let ways = row.ways.iter().filter(|way| **way != Way::Connect);
            ways.map(move |way| format!("RFC {}: {} ({way:?})", row.rfc, row.what))
        })
        .collect();
    println!(
        "{} cases of {} rows: {} requests at the strict reader",
        names.len(),
        rows.len(),
        ours.concat().len()
    );
    for (peer, started, origin) in peers {
        let Some(started) = started else {
            println!("skipped: {peer} is not installed");
            continue;
        };
        let theirs = arrivals(&rows, &resin, started.address, origin).await;
        assert!(origin.book().junk.is_empty(), "{:?}", origin.book().junk);
        let rules = RULES.iter().find(|(name, _)| *name == peer).unwrap().1;
        let (mut disagreements, mut ruled_out) = (Vec::new(), 0);
        for ((name, ours), theirs) in names.iter().zip(&ours).zip(&theirs) {
            let ruled = rules.iter().any(|rule| name.contains(rule));
            let canary_alone = theirs.iter().all(|(_, target, _)| target == "/canary");
            if ruled && canary_alone {
                ruled_out += 1;
            } else if ours != theirs {
                disagreements.push(format!("{name}\n    strict: {ours:?}\n    {peer}: {theirs:?}\n"));
            }
        }
        let count = theirs.concat().len();
        println!(
            "{peer}: {count} requests, {ruled_out} cases against its own rules, {} disagreements",
            disagreements.len()
        );
        assert!(disagreements.is_empty(), "{}", disagreements.concat());
    }
}
