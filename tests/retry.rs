//! The retry contract from outside: what is tried again, how often, where, and what the answer is in the end.

#![allow(clippy::unwrap_used)] // a broken expectation is a failed test

mod support;

use std::time::Instant;

use resin::proto::{UpstreamPhase, UpstreamStage};
use support::{
    client::{Client, WAYS, Way, ask, post},
    nodes::{Blackhole, Manner, Nodes, lead_through, resin_over},
    origins::Origin,
    resin::Resin,
    world::Refusing,
};

/// Every way in which a node fails before there is a tunnel, except by time.
const FAILURES: [Manner; 7] = [
    Manner::Close,
    Manner::Reset,
    Manner::Refuse(502),
    Manner::Refuse(403),
    Manner::Refuse(407),
    Manner::Garbage,
    Manner::EndlessHead,
];

#[tokio::test]
async fn a_failure_before_the_tunnel_is_retried_on_another_node_on_every_way() {
    let resin = Resin::start(&[]).await;
    let origin = Origin::ok().await;
    for failure in FAILURES {
        for way in WAYS {
            let nodes = Nodes::http(&[failure, failure, Manner::Good]).await;
            lead_through(&resin, &nodes, 2).await;

            let answer = ask(&resin, way, &origin.authority()).await;

            assert_eq!((answer.status, answer.text().as_str()), (200, "ok"), "{failure:?} {way:?}");
            assert_eq!(nodes.dial_count(), 3, "{failure:?} {way:?}");
            nodes.assert_each_at_most_once();
            let record = resin.last_record().await;
            assert_eq!((record.retry_attempts, record.retry_details.len()), (2, 2), "{record:#?}");
            assert_eq!((record.net_ok, record.http_status), (true, 200), "{record:#?}");
            assert!(record.resin_error.is_empty(), "{record:#?}");
            for attempt in &record.retry_details {
                assert_eq!(attempt.stage(), way.first_stage(), "{failure:?} {way:?}");
                assert_eq!(attempt.phase(), UpstreamPhase::NodeHandshake, "{failure:?} {way:?} {attempt:?}");
                assert!(!attempt.request_written, "{failure:?} {way:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_post_that_never_left_is_retried_with_its_whole_body() {
    let resin = Resin::start(&[]).await;
    let origin = Origin::ok().await;
    for way in WAYS {
        let nodes = Nodes::http(&[Manner::Reset, Manner::Refuse(502), Manner::Good]).await;
        lead_through(&resin, &nodes, 2).await;
        let before = origin.count();

        assert_eq!(post(&resin, way, &origin.authority()).await.status, 200, "{way:?}");

        assert_eq!((nodes.dial_count(), origin.count() - before), (3, 1), "{way:?}");
        assert_eq!(origin.heard().last().unwrap().body, b"a small body");
    }
}

#[tokio::test]
async fn exactly_one_plus_max_retries_nodes_are_dialled() {
    let resin = Resin::start(&[]).await;
    for max_retries in [0_usize, 1, 2, 5] {
        for way in WAYS {
            let nodes = Nodes::http(&[Manner::Refuse(502); 8]).await;
            lead_through(&resin, &nodes, i32::try_from(max_retries).unwrap()).await;

            ask(&resin, way, "shop.test:80").await.assert_error(502, way.failure_code());

            assert_eq!(nodes.dial_count(), 1 + max_retries, "{way:?}");
            nodes.assert_each_at_most_once();
            let record = resin.last_record().await;
            assert_eq!(usize::try_from(record.retry_attempts).unwrap(), max_retries);
            assert_eq!((record.upstream_stage(), record.net_ok), (way.first_stage(), false));
            assert_eq!(&*record.upstream_err_kind, "node_refused", "{record:#?}");
        }
    }
}

#[tokio::test]
async fn without_retries_there_is_one_attempt_and_no_trace_of_the_mechanism() {
    let resin = Resin::start(&[]).await;
    for way in WAYS {
        let nodes = Nodes::http(&[Manner::Close, Manner::Good, Manner::Good]).await;
        lead_through(&resin, &nodes, 0).await;

        ask(&resin, way, "shop.test:80").await.assert_error(502, way.failure_code());

        assert_eq!(nodes.dial_count(), 1, "{way:?}");
        let record = resin.last_record().await;
        assert_eq!((record.retry_attempts, record.retry_details.len()), (0, 0), "{way:?}");
    }
}

#[tokio::test]
async fn negative_default_retries_switch_the_mechanism_off_too() {
    let nodes = Nodes::http(&[Manner::Close, Manner::Good]).await;
    let resin = resin_over(&nodes, -1, &[]).await;
    ask(&resin, Way::Forward, "shop.test").await.assert_error(502, "UPSTREAM_REQUEST_FAILED");
    assert_eq!(nodes.dial_count(), 1);
}

#[tokio::test]
async fn a_platforms_retries_count_at_once() {
    let nodes = Nodes::http(&[Manner::Refuse(502); 8]).await;
    let resin = resin_over(&nodes, 2, &[]).await;
    for (max_retries, dials) in [(1, 2), (0, 3), (4, 8)] {
        resin.set_retries("Default", max_retries).await;
        ask(&resin, Way::Forward, "shop.test").await;
        assert_eq!(nodes.dial_count(), dials, "after max_retries = {max_retries}");
    }
}

#[tokio::test]
async fn when_no_untried_node_is_left_the_answer_is_the_last_real_error() {
    let resin = Resin::start(&[]).await;
    for way in WAYS {
        let nodes = Nodes::http(&[Manner::Close, Manner::Refuse(503)]).await;
        lead_through(&resin, &nodes, 9).await;

        ask(&resin, way, "shop.test:80").await.assert_error(502, way.failure_code());

        assert_eq!(nodes.dial_count(), 2, "{way:?}");
        let record = resin.last_record().await;
        assert_eq!(record.retry_attempts, 1);
        assert_eq!(&*record.upstream_err_kind, "node_refused", "the last attempt's: {record:#?}");
        assert_eq!(record.upstream_stage(), way.first_stage());
    }
}

#[tokio::test]
async fn no_available_nodes_is_503_and_no_retry() {
    let resin = Resin::start(&[]).await;
    for way in WAYS {
        let answer = ask(&resin, way, "shop.test:80").await;
        answer.assert_error(503, "NO_AVAILABLE_NODES");
        assert!(answer.header("proxy-status").unwrap().contains("error=destination_unavailable"));
        let record = resin.last_record().await;
        assert_eq!((&*record.resin_error, record.net_ok), ("NO_AVAILABLE_NODES", false));
        assert_eq!((record.retry_attempts, &*record.node_hash), (0, ""));
    }
}

#[tokio::test]
async fn a_dead_port_is_retried_and_named() {
    let origin = Origin::ok().await;
    let (dead, good) = (Refusing::port(), Nodes::http(&[Manner::Good]).await);
    let uris = format!("http://{} {}", dead.address, good.uris[0]);
    let resin = Resin::start(&[("RESIN_NODES", &uris)]).await;
    let mut retried = 0;
    for way in WAYS {
        for _ in 0..12 {
            assert_eq!(ask(&resin, way, &origin.authority()).await.status, 200);
            let record = resin.last_record().await;
            for attempt in &record.retry_details {
                assert_eq!((attempt.stage(), attempt.phase()), (way.first_stage(), UpstreamPhase::Tcp));
                assert_eq!((&*attempt.err_kind, &*attempt.errno), ("connection_refused", "ECONNREFUSED"));
                retried += 1;
            }
        }
    }
    assert!(retried > 0, "one of two nodes is dead: some request of 36 met it first");
}

#[tokio::test]
async fn a_refusing_socks_node_is_retried() {
    let resin = Resin::start(&[]).await;
    let origin = Origin::ok().await;
    for failure in
        [Manner::Refuse(5), Manner::Refuse(1), Manner::Garbage, Manner::Close, Manner::Locked("a:b")]
    {
        for way in WAYS {
            let nodes = Nodes::socks5(&[failure, Manner::Good]).await;
            lead_through(&resin, &nodes, 1).await;
            assert_eq!(ask(&resin, way, &origin.authority()).await.status, 200, "{failure:?} {way:?}");
            let record = resin.last_record().await;
            assert_eq!(record.retry_details[0].phase(), UpstreamPhase::NodeHandshake, "{failure:?}");
            if let Manner::Locked(_) = failure {
                assert_eq!(&*record.retry_details[0].err_kind, "node_auth_failed");
            }
        }
    }
}

#[tokio::test]
async fn a_node_that_swallows_does_not_eat_the_others_time() {
    let origin = Origin::ok().await;
    // The deadline would be over with the first attempt, had it not only its share.
    let times = [("RESIN_CONNECT_TIMEOUT", "2s"), ("RESIN_RETRY_DEADLINE", "2s")];
    let resin = Resin::start(&times).await;
    for way in WAYS {
        let nodes = Nodes::http(&[Manner::Swallow, Manner::Swallow, Manner::Good]).await;
        lead_through(&resin, &nodes, 2).await;

        assert_eq!(ask(&resin, way, &origin.authority()).await.status, 200, "{way:?}");

        assert_eq!(nodes.dial_count(), 3, "{way:?}");
        let record = resin.last_record().await;
        for attempt in &record.retry_details {
            assert_eq!((&*attempt.err_kind, attempt.phase()), ("timeout", UpstreamPhase::NodeHandshake));
            assert!(!attempt.request_written);
        }
        let lasted: Vec<i64> =
            record.retry_details.iter().map(|a| i64::from(a.duration.unwrap().nanos)).collect();
        let ratio = lasted[1] * 100 / lasted[0];
        assert!((40..=250).contains(&ratio), "shares are alike: {lasted:?}");
    }
}

#[tokio::test]
async fn the_connect_timeout_bounds_each_attempt_and_the_answer_is_504() {
    let resin = Resin::start(&[("RESIN_CONNECT_TIMEOUT", "200ms")]).await;
    for way in WAYS {
        let nodes = Nodes::http(&[Manner::Swallow; 2]).await;
        lead_through(&resin, &nodes, 1).await;

        ask(&resin, way, "shop.test:80").await.assert_error(504, "UPSTREAM_TIMEOUT");

        assert_eq!(nodes.dial_count(), 2, "{way:?}");
        let record = resin.last_record().await;
        assert_eq!((&*record.upstream_err_kind, record.net_ok), ("timeout", false));
        assert_eq!((record.http_status, record.upstream_stage()), (504, way.first_stage()));
    }
}

#[tokio::test]
async fn the_retry_deadline_bounds_all_attempts_together() {
    let nodes = Nodes::http(&[Manner::Swallow; 4]).await;
    let times = [("RESIN_CONNECT_TIMEOUT", "20s"), ("RESIN_RETRY_DEADLINE", "1s")];
    let resin = resin_over(&nodes, 3, &times).await;
    let begun = Instant::now();
    ask(&resin, Way::Forward, "shop.test").await.assert_error(504, "UPSTREAM_TIMEOUT");
    assert!(begun.elapsed().as_secs() < 10, "far below one connect timeout: {:?}", begun.elapsed());
    assert_eq!(nodes.dial_count(), 4, "each had its quarter");
}

#[tokio::test]
async fn attempts_left_are_no_more_than_the_untried_nodes() {
    let nodes = Nodes::http(&[Manner::Swallow]).await;
    // Sixteen retries but one node: it may have the whole deadline, less than which it does not get.
    let times = [("RESIN_CONNECT_TIMEOUT", "20s"), ("RESIN_RETRY_DEADLINE", "1s")];
    let resin = resin_over(&nodes, 16, &times).await;
    let begun = Instant::now();
    ask(&resin, Way::Forward, "shop.test").await.assert_error(504, "UPSTREAM_TIMEOUT");
    assert!(begun.elapsed().as_millis() > 500, "a seventeenth of it was not all: {:?}", begun.elapsed());
}

#[tokio::test]
async fn a_dial_that_is_never_answered_is_a_timeout_of_tcp() {
    let origin = Origin::ok().await;
    let (hole, good) = (Blackhole::open(), Nodes::http(&[Manner::Good]).await);
    let uris = format!("http://{}#hole {}#good", hole.address, good.uris[0]);
    let times = [("RESIN_NODES", uris.as_str()), ("RESIN_CONNECT_TIMEOUT", "150ms")];
    let resin = Resin::start(&times).await;
    let mut timeouts = 0;
    for _ in 0..16 {
        // Through a tunnel each, so that no pooled connection spares the dial.
        assert_eq!(ask(&resin, Way::Connect, &origin.authority()).await.status, 200);
        for attempt in resin.last_record().await.retry_details {
            assert_eq!((&*attempt.err_kind, attempt.phase()), ("timeout", UpstreamPhase::Tcp));
            assert_eq!(&*attempt.node_tag, "hole");
            timeouts += 1;
        }
    }
    assert!(timeouts > 0, "one of two nodes is a hole: some request of 16 met it first");
}

#[tokio::test]
async fn an_answer_of_whatever_status_is_an_answer() {
    let resin = Resin::start(&[]).await;
    for status in [400, 401, 404, 429, 500, 502, 503, 504] {
        let origin = Origin::start(move |_| {
            support::origins::Reply::say(format!("HTTP/1.1 {status} X\r\nContent-Length: 4\r\n\r\nmine"))
        })
        .await;
        for way in WAYS {
            let nodes = Nodes::http(&[Manner::Good; 3]).await;
            lead_through(&resin, &nodes, 2).await;

            let answer = ask(&resin, way, &origin.authority()).await;

            assert_eq!((answer.status, answer.text().as_str()), (status, "mine"), "{way:?}");
            assert_eq!(answer.header("x-resin-error"), None);
            assert_eq!(nodes.dial_count(), 1, "{way:?} {status}");
            let record = resin.last_record().await;
            assert_eq!((record.retry_attempts, record.net_ok), (0, true));
            if way != Way::Connect {
                assert_eq!((record.http_status, record.net_ok), (i32::from(status), true));
                assert_eq!((record.retry_attempts, record.upstream_stage()), (0, UpstreamStage::Unspecified));
            }
        }
    }
}

#[tokio::test]
async fn a_client_that_leaves_ends_it_without_a_retry_and_without_blame() {
    for way in WAYS {
        let nodes = Nodes::http(&[Manner::Swallow, Manner::Good, Manner::Good]).await;
        let resin =
            resin_over(&nodes, 2, &[("RESIN_CONNECT_TIMEOUT", "20s"), ("RESIN_RETRY_DEADLINE", "60s")]).await;
        let mut client = Client::of(&resin).await;
        let target =
            if way == Way::Connect { "shop.test:80".to_owned() } else { way.target("shop.test", "/") };
        let method = if way == Way::Connect { "CONNECT" } else { "GET" };
        client.say(format!("{method} {target} HTTP/1.1\r\nHost: shop.test\r\n\r\n")).await;
        nodes.dialled(1).await;

        drop(client);

        let record = resin.last_record().await;
        assert_eq!((record.net_ok, record.http_status), (true, 0), "{way:?} {record:#?}");
        assert_eq!((record.retry_attempts, &*record.upstream_err_kind), (0, "canceled"), "{way:?}");
        assert_eq!(nodes.dial_count(), 1, "{way:?}");
    }
}

#[tokio::test]
async fn a_client_that_leaves_is_noticed_whatever_it_has_sent_by_then() {
    let nodes = Nodes::http(&[Manner::Swallow]).await;
    let patience = [("RESIN_CONNECT_TIMEOUT", "60s"), ("RESIN_RETRY_DEADLINE", "60s")];
    let resin = resin_over(&nodes, 2, &patience).await;
    let mut dials = 0;
    for way in WAYS.into_iter().filter(|way| *way != Way::Connect) {
        let target = way.target("shop.test", "/");
        let next = format!("GET {target} HTTP/1.1\r\nHost: shop.test\r\n\r\n");
        for (method, rest) in [
            ("POST", "Content-Length: 5\r\n\r\nhello".to_owned()),
            ("GET", "\r\nGET ".to_owned()),
            ("GET", format!("\r\n{next}")),
        ] {
            let mut client = Client::of(&resin).await;
            client.say(format!("{method} {target} HTTP/1.1\r\nHost: shop.test\r\n{rest}")).await;
            dials += 1;
            nodes.dialled(dials).await;

            drop(client);

            let record = resin.last_record().await;
            assert_eq!((record.net_ok, record.http_status), (true, 0), "{way:?} {rest:?} {record:#?}");
            assert_eq!(&*record.upstream_err_kind, "canceled", "{way:?} {rest:?}");
        }
    }
}
