//! At most once: what may have been written is never sent again, and what is known not to have been is.

#![allow(clippy::unwrap_used)] // a broken expectation is a failed test

mod support;

use std::io::Write as _;

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use resin::proto::{RequestLogFilter, UpstreamPhase, UpstreamStage};
use support::{
    client::{Client, EXCHANGES, WAYS, Way, ask, ask_with, post},
    nodes::{Manner, Nodes, lead_through, resin_direct, resin_over},
    origins::{Ledger, Origin, Reply, early_413, random_closer},
    resin::Resin,
};
use tokio::task::JoinSet;

#[tokio::test]
async fn a_request_that_reached_the_origin_is_never_sent_again() {
    let resin = Resin::start(&[]).await;
    for (end, kind) in [(Reply::Reset(Vec::new()), "connection_reset"), (Reply::Close(Vec::new()), "eof")] {
        let origin = Origin::start(move |_| end.clone()).await;
        for way in EXCHANGES {
            for method in ["GET", "POST"] {
                let nodes = Nodes::http(&[Manner::Good; 4]).await;
                lead_through(&resin, &nodes, 3).await;
                let before = origin.count();

                let answer = match method {
                    "GET" => ask(&resin, way, &origin.authority()).await,
                    _ => post(&resin, way, &origin.authority()).await,
                };

                answer.assert_error(502, "UPSTREAM_REQUEST_FAILED");
                assert_eq!(origin.count() - before, 1, "{method} {way:?} {kind}");
                assert_eq!(nodes.dial_count(), 1, "{method} {way:?} {kind}");
                let record = resin.last_record().await;
                assert_eq!((record.retry_attempts, record.net_ok), (0, false));
                assert_eq!(record.upstream_stage(), way.first_stage());
                assert_eq!(record.upstream_phase(), UpstreamPhase::ResponseHead, "{record:#?}");
                assert_eq!(&*record.upstream_err_kind, kind, "{record:#?}");
                assert!(record.request_written);
            }
        }
    }
}

#[tokio::test]
async fn a_tunnel_that_dies_after_it_opened_is_not_retried() {
    let resin = Resin::start(&[]).await;
    for manner in [Manner::YesThenClose, Manner::Early("half an ans")] {
        let nodes = Nodes::http(&[manner, Manner::Good, Manner::Good]).await;
        lead_through(&resin, &nodes, 2).await;
        let mut client = Client::of(&resin).await;
        assert_eq!(client.connect("shop.test:80").await.status, 200);
        if manner == Manner::YesThenClose {
            assert!(client.is_at_end().await);
        }
        drop(client);
        let record = resin.last_record().await;
        assert_eq!((nodes.dial_count(), record.retry_attempts), (1, 0), "{manner:?}");
    }
}

#[tokio::test]
async fn an_origin_that_hangs_up_behind_an_open_tunnel_to_it_is_not_retried_for_an_exchange() {
    // The node says yes and leaves: whether the request was written is not certain, or it was not.
    let resin = Resin::start(&[]).await;
    for way in EXCHANGES {
        let nodes = Nodes::http(&[Manner::YesThenClose, Manner::YesThenClose, Manner::YesThenClose]).await;
        lead_through(&resin, &nodes, 2).await;
        ask(&resin, way, "shop.test").await.assert_error(502, "UPSTREAM_REQUEST_FAILED");
        let record = resin.last_record().await;
        let dials = i32::try_from(nodes.dial_count()).unwrap();
        assert_eq!(dials, 1 + record.retry_attempts, "{record:#?}");
        assert!(record.retry_details.iter().all(|attempt| !attempt.request_written), "{record:#?}");
        if dials < 3 {
            assert!(record.request_written, "it stopped for a reason: {record:#?}");
        }
        nodes.assert_each_at_most_once();
    }
}

#[tokio::test]
async fn a_failure_while_the_answer_is_copied_is_not_retried_and_shows_as_a_cut() {
    let resin = Resin::start(&[]).await;
    let length = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly a part";
    let chunks = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nb\r\nonly a part\r\n";
    for head in [length, chunks] {
        for reply in [Reply::Close(head.into()), Reply::Reset(head.into())] {
            let told = reply.clone();
            let origin = Origin::start(move |_| told.clone()).await;
            for way in WAYS {
                let nodes = Nodes::http(&[Manner::Good; 3]).await;
                lead_through(&resin, &nodes, 2).await;

                let answer = ask(&resin, way, &origin.authority()).await;

                assert_eq!(answer.status, 200, "{way:?}");
                assert!(!answer.whole, "a cut answer arrives cut: {way:?} {reply:?} {answer:?}");
                assert!("only a part".starts_with(&answer.text()), "{answer:?}");
                assert_eq!((nodes.dial_count(), origin.count()), (1, 1 + way as usize), "{way:?}");
                let record = resin.last_record().await;
                assert_eq!((record.retry_attempts, record.http_status), (0, 200));
                if way != Way::Connect {
                    assert_eq!((record.net_ok, record.upstream_stage()), (false, way.copy_stage()));
                    assert_eq!(record.upstream_phase(), UpstreamPhase::Body, "{record:#?}");
                    assert!(record.resin_error.is_empty() && record.request_written);
                }
            }
        }
    }
}

#[tokio::test]
async fn the_response_timeout_never_leads_to_a_retry() {
    let origin = Origin::start(|_| Reply::Silence).await;
    let resin = Resin::start(&[("RESIN_RESPONSE_TIMEOUT", "300ms")]).await;
    for way in EXCHANGES {
        let nodes = Nodes::http(&[Manner::Good; 3]).await;
        lead_through(&resin, &nodes, 2).await;

        ask(&resin, way, &origin.authority()).await.assert_error(504, "UPSTREAM_TIMEOUT");

        assert_eq!(nodes.dial_count(), 1, "{way:?}");
        let record = resin.last_record().await;
        assert_eq!(
            (&*record.upstream_err_kind, record.upstream_phase()),
            ("timeout", UpstreamPhase::ResponseHead)
        );
        assert_eq!((record.upstream_stage(), record.request_written), (way.first_stage(), true));
        assert!(!record.net_ok);
    }
    assert_eq!(origin.count(), 2);
}

#[tokio::test]
async fn a_client_that_leaves_a_written_request_has_no_retry_and_blames_nobody() {
    let origin = Origin::start(|_| Reply::Silence).await;
    let resin = Resin::start(&[]).await;
    for (number, way) in EXCHANGES.into_iter().enumerate() {
        let nodes = Nodes::http(&[Manner::Good; 3]).await;
        lead_through(&resin, &nodes, 2).await;
        let mut client = Client::of(&resin).await;
        let target = way.target(&origin.authority(), "/");
        client.say(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n")).await;
        origin.arrived(number + 1).await;

        drop(client);

        let record = resin.last_record().await;
        assert_eq!((record.net_ok, record.http_status, record.retry_attempts), (true, 0, 0), "{record:#?}");
        assert_eq!((&*record.upstream_err_kind, nodes.dial_count()), ("canceled", 1), "{record:#?}");
    }
}

#[tokio::test]
async fn an_early_answer_reaches_the_client_although_the_upload_is_cut() {
    let requests = Arc::new(AtomicUsize::new(0));
    let origin = early_413(Arc::clone(&requests)).await;
    let resin = resin_direct(&[]).await;
    for (number, way) in EXCHANGES.into_iter().enumerate() {
        let mut client = Client::of(&resin).await;
        let target = way.target(&origin.address.to_string(), "/");
        client.say(format!("POST {target} HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n")).await;
        client.say(vec![b'x'; 10_000]).await; // the rest never comes

        let answer = client.answer("POST").await;

        assert_eq!((answer.status, answer.text().as_str()), (413, "big"), "{way:?}");
        assert_eq!(requests.load(Ordering::SeqCst), number + 1, "{way:?}");
    }
}

#[tokio::test]
async fn a_stale_pooled_connection_is_dialled_afresh_and_is_no_attempt() {
    let origin = Origin::start(|heard| match heard.head.target() {
        // Answered as if the connection were to stay.
        "/last" => Reply::Close(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_vec()),
        _ => Reply::ok("ok"),
    })
    .await;
    for max_retries in [0, 2] {
        let nodes = Nodes::http(&[Manner::Good]).await;
        let resin = resin_over(&nodes, max_retries, &[("RESIN_DATA_THREADS", "1")]).await;
        let authority = origin.authority();
        for way in EXCHANGES {
            let dials = nodes.dial_count();
            let last = ask_with(&resin, way, ("GET", &authority, "/last"), "", "").await;
            assert_eq!(last.status, 200);
            resin.last_record().await;

            let answer = post(&resin, way, &authority).await;

            assert_eq!(answer.status, 200, "{way:?}");
            assert_eq!(resin.last_record().await.retry_attempts, 0, "{way:?}");
            assert!(nodes.dial_count() > dials, "{way:?}");
            assert_eq!(origin.heard().last().unwrap().body, b"a small body");
        }
    }
}

#[tokio::test]
async fn five_thousand_requests_to_an_origin_that_closes_at_random_are_delivered_at_most_once() {
    const REQUESTS: usize = 5_000;
    const CLIENTS: usize = 8;
    let ledger = Arc::new(Ledger::default());
    let origin = random_closer(Arc::clone(&ledger)).await;
    // Other nodes stand ready, one of them dead: every temptation to send a request again.
    let (good, dead) = (Nodes::http(&[Manner::Good]).await, Nodes::http(&[Manner::Refuse(502)]).await);
    let uris = format!("direct:// {} {}", good.uris[0], dead.uris[0]);
    let resin = Resin::start(&[("RESIN_NODES", &uris), ("RESIN_DEFAULT_PLATFORM_MAX_RETRIES", "2")]).await;
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        let (data, authority) = (resin.data, origin.address.to_string());
        clients.spawn(async move {
            let mut connection = Client::to(data).await;
            let mut answers = Vec::new();
            for number in 0..REQUESTS / CLIENTS {
                let way = EXCHANGES[number / 2 % 2];
                let id = format!("{client}-{number}");
                let (method, body) = if number % 2 == 0 { ("GET", "") } else { ("POST", "a small body") };
                let length = if body.is_empty() {
                    String::new()
                } else {
                    format!("Content-Length: {}\r\n", body.len())
                };
                let rest = format!("Host: a\r\nX-Request-Id: {id}\r\n{length}\r\n{body}");
                let answer = connection.ask(method, &way.target(&authority, "/"), &rest).await;
                answers.push((id, answer.status));
            }
            answers
        });
    }
    let answers = clients.join_all().await.concat();
    let deliveries = ledger.deliveries();

    assert_eq!(answers.len(), REQUESTS);
    let duplicates: Vec<_> = deliveries.iter().filter(|(_, count)| **count > 1).collect();
    assert!(duplicates.is_empty(), "delivered more than once: {duplicates:?}");
    for (id, status) in &answers {
        assert!([200, 502].contains(status), "{id}: {status}");
        assert!(*status != 200 || deliveries.contains_key(id), "{id} was answered but never delivered");
    }
    let failed = answers.iter().filter(|(_, status)| *status == 502).count();
    let unwritten = RequestLogFilter { http_status: Some(502), ..Default::default() };
    let lost = if failed > 0 { resin.records_matching(unwritten, failed).await } else { Vec::new() };
    assert!(lost.iter().all(|record| record.request_written), "what is not written is dialled afresh");
    let dials = origin.connections();
    // Every dial but each client's first follows a connection that died; of these, the uncertain ones were lost.
    let died = dials.saturating_sub(CLIENTS).max(1);
    let recovered = 100.0 * died.saturating_sub(failed) as f64 / died as f64;
    let told = format!(
        "{REQUESTS} requests, {died} met a dying connection: {recovered:.1} % recovered, {failed} uncertain, duplicates 0"
    );
    // Past the harness, which keeps what a passing test prints.
    let _nobody_reads = writeln!(std::io::stderr(), "{told}");
    assert!(failed * 5 < REQUESTS, "most requests on dying connections are recovered: {failed} failed");
}

#[tokio::test]
async fn an_upload_is_not_read_before_there_is_a_connection() {
    let resin = Resin::start(&[("RESIN_CONNECT_TIMEOUT", "20s"), ("RESIN_RETRY_DEADLINE", "60s")]).await;
    for way in EXCHANGES {
        let nodes = Nodes::http(&[Manner::Swallow]).await;
        lead_through(&resin, &nodes, 0).await;
        let mut client = Client::of(&resin).await;
        let target = way.target("shop.test", "/");
        client.say(format!("POST {target} HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\n")).await;
        nodes.dialled(1).await;

        // Only the sockets' buffers take it, and what the server's one read of a head brings along.
        let block = vec![b'x'; 64 * 1024];
        let mut taken = 0;
        while let Ok(written) =
            tokio::time::timeout(std::time::Duration::from_millis(500), client.wire.say(&block)).await
        {
            written.unwrap();
            taken += block.len();
            assert!(taken < 64 << 20, "an upload with nowhere to go was taken: {taken} bytes");
        }
    }
}

#[tokio::test]
async fn a_tunnel_that_opened_and_ended_without_a_byte_is_named_so() {
    let resin = Resin::start(&[]).await;
    let nodes = Nodes::http(&[Manner::YesThenClose]).await;
    lead_through(&resin, &nodes, 2).await;
    let mut client = Client::of(&resin).await;
    assert_eq!(client.connect("shop.test:80").await.status, 200);
    assert!(client.is_at_end().await);
    drop(client);
    let record = resin.last_record().await;
    assert_eq!(record.upstream_stage(), UpstreamStage::ConnectZeroTraffic, "{record:#?}");
    assert_eq!((record.upstream_phase(), record.net_ok), (UpstreamPhase::Tunnel, true));
}
