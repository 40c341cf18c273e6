//! Requests that meet a reused connection which dies around the send: how many of them are recovered.
//!
//! The origin hangs up 0 to 400 µs after each answer, half with a FIN and half with a reset. Whatever the connection
//! cannot prove unwritten is lost by rule; everything else goes out again over a fresh connection.

#![allow(clippy::unwrap_used)] // a broken expectation is a failed test

mod support;

use std::{
    io::Write as _,
    sync::Arc,
    time::{Duration, Instant},
};

use resin::proto::RequestLogFilter;
use support::{
    client::{Client, Way},
    nodes::resin_direct,
    origins::{Ledger, Resettable, Server},
    resin::Resin,
    tls::Authority,
    wire::{Length, Wire},
};
use tokio::{io::AsyncWriteExt, task::JoinSet};
use tokio_rustls::TlsAcceptor;

const CLIENTS: usize = 4;
/// Requests that a client has under way at once: with two, the next one waits at the proxy while one is answered.
const PACES: [(&str, usize); 2] = [("one after the other", 1), ("back to back", 2)];

fn requests() -> usize {
    std::env::var("RESIN_CHAOS_REQUESTS").map_or(2_000, |value| value.parse::<usize>().unwrap() / 10)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn most_requests_that_meet_a_dying_connection_are_recovered_and_none_is_delivered_twice() {
    let authority = Authority::new();
    let acceptor = authority.acceptor("127.0.0.1");
    let resin = resin_direct(&[("RESIN_CA_FILE", authority.file()), ("RESIN_DATA_THREADS", "2")]).await;
    for (scheme, acceptor, bar) in [("http", None, 0.85), ("https", Some(acceptor), 0.70)] {
        for (pace, ahead) in PACES {
            let ledger = Arc::new(Ledger::default());
            let origin = dying(Arc::clone(&ledger), acceptor.clone()).await;
            let base = format!("{scheme}://{}", origin.address);
            let answers = storm(&resin, &base, requests(), ahead).await;

            let deliveries = ledger.deliveries();
            let duplicates = deliveries.values().filter(|count| **count > 1).count();
            let lost = answers.iter().filter(|(_, status)| *status == 502).count();
            let share = 1.0 - lost as f64 / answers.len() as f64;
            tell(&format!(
                "dying connections, {scheme}, {pace}: {} sends, {:.1} % recovered, {lost} uncertain, \
                 duplicates {duplicates}, {} dials",
                answers.len(),
                100.0 * share,
                origin.connections()
            ));
            assert_eq!(duplicates, 0);
            for (id, status) in &answers {
                assert!([200, 502].contains(status), "{id}: {status}");
                assert!(
                    *status != 200 || deliveries.contains_key(id),
                    "{id} was answered but never delivered"
                );
            }
            assert!(share > bar, "{scheme}, {pace}: {share}");
        }
    }
    let unwritten = RequestLogFilter { http_status: Some(502), ..Default::default() };
    let lost = resin.records_matching(unwritten, 1).await;
    assert!(lost.iter().all(|record| record.request_written), "what is not written is dialled afresh");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_at_the_pace_of_their_origins_patience_stop_losing_requests() {
    let resin = resin_direct(&[("RESIN_DATA_THREADS", "1")]).await;
    // One says how long it waits, as Apache and Node do; the other has to be found out.
    for (patience, rounds, says) in [(1_000, 4, "Keep-Alive: timeout=1\r\n"), (300, 16, "")] {
        let patience = Duration::from_millis(patience);
        let origin = impatient(patience, says).await;
        let base = format!("http://{}", origin.address);
        let mut clients = JoinSet::new();
        for client in 0..16 {
            let (data, base) = (resin.data, base.clone());
            clients.spawn(async move {
                let mut connection = Client::to(data).await;
                let mut lost = Vec::new();
                for number in 0..rounds {
                    connection.say(request(&base, client, number * 2)).await;
                    let answer = connection.answer("GET").await;
                    assert!([200, 502].contains(&answer.status), "{answer:?}");
                    lost.push(usize::from(answer.status == 502));
                    // At the very pace: the request and the end of its connection meet on their way.
                    tokio::time::sleep(patience + LONG_WAY / 2).await;
                }
                lost
            });
        }
        let lost = clients.join_all().await;
        let of = |rounds: std::ops::Range<usize>| -> usize {
            lost.iter().flat_map(|client| &client[rounds.clone()]).sum()
        };
        let (early, late) = (of(0..rounds / 2), of(rounds / 2..rounds));
        let told = if says.is_empty() { "not told" } else { "told" };
        tell(&format!(
            "an idle limit of {patience:?}, {told}, met by 16 clients: lost {early} in the first {} rounds, {late} in \
             as many after that",
            rounds / 2
        ));
        assert!(says.is_empty() || early + late == 0, "a limit that was told is kept");
        assert!(early == 0 || late == 0, "a limit that was met is remembered");
    }
}

/// How long the end of a connection is on its way.
const LONG_WAY: Duration = Duration::from_millis(20);

/// Closes connections that have idled so long.
async fn impatient(patience: Duration, says: &'static str) -> Server {
    Server::start(move |connection| async move {
        let mut wire = Wire::new(connection);
        while let Ok(Ok(Some(_))) = tokio::time::timeout(patience, wire.head()).await {
            if wire.say(format!("HTTP/1.1 200 OK\r\n{says}Content-Length: 2\r\n\r\nok")).await.is_err() {
                return;
            }
        }
        tokio::time::sleep(LONG_WAY).await;
    })
    .await
}

/// Past the harness, which keeps what a passing test prints.
fn tell(text: &str) {
    let _nobody_reads = writeln!(std::io::stderr(), "{text}");
}

/// So many requests by a few clients, GET and POST in turn: ids and statuses.
async fn storm(resin: &Resin, base: &str, requests: usize, ahead: usize) -> Vec<(String, u16)> {
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        let (data, base) = (resin.data, base.to_owned());
        clients.spawn(async move {
            let mut connection = Client::to(data).await;
            let (mut answers, mut said) = (Vec::new(), 0);
            let all = requests / CLIENTS;
            while answers.len() < all {
                while said < all && said < answers.len() + ahead {
                    connection.say(request(&base, client, said)).await;
                    said += 1;
                }
                let answer = connection.answer("GET").await;
                answers.push((format!("{client}-{}", answers.len()), answer.status));
            }
            answers
        });
    }
    clients.join_all().await.concat()
}

fn request(base: &str, client: usize, number: usize) -> String {
    let (method, body) = if number.is_multiple_of(2) { ("GET", "") } else { ("POST", "a small body") };
    let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    let host = base.split_once("://").unwrap().1;
    let target = Way::Forward.target("", "").replace("http://", base);
    format!(
        "{method} {target}/ HTTP/1.1\r\nHost: {host}\r\nX-Request-Id: {client}-{number}\r\n{length}\r\n{body}"
    )
}

/// Answers, and hangs up 0 to 400 µs later.
async fn dying(ledger: Arc<Ledger>, acceptor: Option<TlsAcceptor>) -> Server {
    Server::start(move |connection| {
        let (ledger, acceptor) = (Arc::clone(&ledger), acceptor.clone());
        async move {
            match acceptor {
                None => serve(connection, &ledger).await,
                Some(acceptor) => {
                    if let Ok(stream) = acceptor.accept(connection).await {
                        serve(stream, &ledger).await;
                    }
                }
            }
        }
    })
    .await
}

async fn serve<S: Resettable>(stream: S, ledger: &Ledger) {
    let mut wire = Wire::new(stream);
    let Ok(Some(head)) = wire.head().await else { return };
    ledger.enter(&head);
    if !wire.body(Length::of_request(&head)).await.whole
        || wire.say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.is_err()
    {
        return;
    }
    let until = Instant::now() + Duration::from_micros(fastrand::u64(0..400));
    while Instant::now() < until {
        tokio::task::yield_now().await; // tokio's timer is too coarse for this
    }
    if fastrand::bool() {
        wire.stream.reset();
    } else {
        let _ = wire.stream.shutdown().await;
    }
}
