//! Which targets are refused: what is not public where that is wanted, and the program's own ports always. Refused
//! means that nothing was dialled and no node is blamed.

#![allow(clippy::unwrap_used)] // a broken expectation is a failed test

mod support;

use std::net::SocketAddr;

use bytes::Bytes;
use http::Request;
use http_body_util::Empty;
use resin::proto::{RequestLog, UpstreamStage};
use support::{
    client::{Answer, WAYS, Way, ask, over_http2},
    network,
    nodes::{Manner, Nodes, lead_through, resin_direct, resin_over},
    origins::{Origin, Reply, Server},
    otlp::{Collector, attributes},
    resin::Resin,
};

const PUBLIC_ONLY: [(&str, &str); 1] = [("RESIN_TARGETS", "public")];

const NOT_PUBLIC: [&str; 30] = [
    "127.0.0.1:80",
    "127.8.9.1:80",
    "0.0.0.0:80",
    "10.1.2.3:80",
    "172.16.0.1:443",
    "192.168.1.1:80",
    "169.254.169.254:80",
    "100.64.0.1:80",
    "192.0.2.1:80",
    "198.51.100.1:80",
    "203.0.113.1:80",
    "198.18.0.1:80",
    "224.0.0.1:80",
    "240.0.0.1:80",
    "255.255.255.255:80",
    "[::]:80",
    "[::1]:80",
    "[fd00::1]:80",
    "[fe80::1]:80",
    "[ff02::1]:80",
    "[2001:db8::1]:80",
    "[100::1]:80",
    "[::ffff:127.0.0.1]:80",
    "[::ffff:a9fe:a9fe]:80",
    "[::10.0.0.1]:80",
    "[2002:7f00:1::1]:80",
    "[2001:0:808:808::80ff:fffe]:80",
    "[64:ff9b::a00:1]:80",
    "localhost:80",
    "a.localhost.:80",
];

/// The proxy's own answer, in the form that all of them have.
fn assert_denied(answer: &Answer, what: &str) {
    assert_eq!(answer.status, 403, "{what}: {answer:?}");
    answer.assert_error(403, "TARGET_DENIED");
    assert_eq!(answer.header("proxy-status"), Some("resin; error=http_request_denied"), "{what}");
}

/// No attempt, no node, no failure of the network's.
fn assert_nobody_is_blamed(record: &RequestLog) {
    assert_eq!((record.resin_error.as_str(), record.http_status), ("TARGET_DENIED", 403), "{record:?}");
    assert!(record.net_ok && !record.request_written && record.node_hash.is_empty(), "{record:?}");
    assert_eq!((record.retry_attempts, record.retry_details.len()), (0, 0), "{record:?}");
    assert_eq!(record.upstream_stage(), UpstreamStage::Unspecified, "{record:?}");
    assert_eq!((record.upstream_err_kind.as_str(), record.upstream_err_msg.as_str()), ("", ""), "{record:?}");
    assert!(!record.target_host.is_empty() && record.target_port != 0, "{record:?}");
}

#[tokio::test]
async fn with_public_targets_an_address_that_is_not_public_is_refused_on_every_way_and_nothing_is_dialled() {
    let nodes = Nodes::http(&[Manner::Good]).await;
    let resin = resin_over(&nodes, 2, &PUBLIC_ONLY).await;
    for target in NOT_PUBLIC {
        for way in WAYS {
            assert_denied(&ask(&resin, way, target).await, &format!("{way:?} {target}"));
        }
    }
    let through_the_node = NOT_PUBLIC.len() * WAYS.len();
    resin.upsert_nodes(&[("direct://", "direct")]).await;
    for target in NOT_PUBLIC {
        assert_denied(&ask(&resin, Way::Forward, target).await, target);
    }
    assert_eq!(nodes.dial_count(), 0);
    for record in resin.records_until(through_the_node + NOT_PUBLIC.len()).await {
        assert_nobody_is_blamed(&record);
    }
    let metrics = resin.metrics().await;
    let counted = |path: &str| {
        let labels = format!("resin_requests_total{{path=\"{path}\",code=\"4xx\",error=\"TARGET_DENIED\"}} ");
        metrics.lines().find_map(|line| line.strip_prefix(labels.as_str())?.parse::<usize>().ok())
    };
    let once = NOT_PUBLIC.len();
    assert_eq!(["forward", "connect", "reverse"].map(counted), [Some(2 * once), Some(once), Some(once)]);
    assert!(!metrics.contains("verdict=\"not_retryable\""), "no attempt was made: {metrics}");
}

#[tokio::test]
async fn with_public_targets_a_name_is_left_to_the_proxy_node_that_resolves_it() {
    let origin = Origin::ok().await;
    for nodes in [Nodes::http(&[Manner::Good]).await, Nodes::socks5(&[Manner::Good]).await] {
        let resin = resin_over(&nodes, 0, &PUBLIC_ONLY).await;
        let name = format!("shop.test:{}", origin.address.port());
        for way in WAYS {
            assert_eq!(ask(&resin, way, &name).await.status, 200, "{way:?}");
        }
        assert!(nodes.dials().iter().all(|dial| dial.target == name), "{:?}", nodes.dials());
    }
}

#[tokio::test]
async fn every_target_is_taken_where_none_is_ruled_out() {
    let origin = Origin::ok().await;
    let resin = resin_direct(&[("RESIN_TARGETS", "any")]).await;
    for host in ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "0.0.0.0"] {
        let authority = format!("{host}:{}", origin.address.port());
        for way in WAYS {
            assert_eq!(ask(&resin, way, &authority).await.status, 200, "{way:?} {authority}");
        }
    }
}

#[tokio::test]
async fn the_programs_own_ports_are_never_targets() {
    let nodes = Nodes::http(&[Manner::Good]).await;
    let resin = Resin::start(&[("RESIN_DEFAULT_PLATFORM_MAX_RETRIES", "2")]).await;
    let mut asked = 0;
    for through in ["direct", "node"] {
        match through {
            "node" => lead_through(&resin, &nodes, 2).await,
            _ => drop(resin.upsert_nodes(&[("direct://", "direct")]).await),
        }
        for own in [resin.data, resin.control, resin.ops] {
            for host in ["127.0.0.1", "localhost", "sub.localhost", "0.0.0.0", "[::ffff:127.0.0.1]"] {
                for way in WAYS {
                    let target = format!("{host}:{}", own.port());
                    let answer = ask(&resin, way, &target).await;
                    assert_denied(&answer, &format!("{through} {way:?} {target}"));
                    asked += 1;
                }
            }
        }
    }
    assert_eq!(nodes.dial_count(), 0);
    for record in resin.records_until(asked).await {
        assert_nobody_is_blamed(&record);
    }
}

#[tokio::test]
async fn over_http2_a_target_is_refused_like_over_http1() {
    let resin = resin_direct(&PUBLIC_ONLY).await;
    let requests = [
        Request::get("http://10.0.0.1/").header("proxy-authorization", support::world::basic("Default", "x")),
        Request::get(format!("http://{}/any/Default/http/10.0.0.1/", resin.data)),
        Request::connect("10.0.0.1:443"),
    ];
    for request in requests {
        let response = over_http2(&resin, request.body(Empty::<Bytes>::new()).unwrap()).await;
        assert_eq!(response.status(), 403);
        assert_eq!(response.headers()["x-resin-error"], "TARGET_DENIED");
    }
}

/// What tells whether anybody dialled an address.
async fn listener_at(address: SocketAddr) -> Server {
    let listener = tokio::net::TcpListener::bind(address).await.unwrap();
    Server::over(listener, |_| async {})
}

#[tokio::test]
async fn a_name_is_checked_by_what_it_resolves_to_and_only_checked_addresses_are_dialled() {
    let hosts = format!(
        "127.0.0.1 private.test both.test\n::1 both.test\n127.0.0.1 mixed.test\n{0} mixed.test public.test\n",
        network::PUBLIC
    );
    let this = "a_name_is_checked_by_what_it_resolves_to_and_only_checked_addresses_are_dialled";
    if !network::is_own(this, &hosts) {
        return;
    }
    let public: SocketAddr = format!("{}:0", network::PUBLIC).parse().unwrap();
    let origin = Origin::start_at(public, |_| Reply::ok("ok")).await;
    let port = origin.address.port();
    let private = listener_at(SocketAddr::from(([127, 0, 0, 1], port))).await;
    let collector = Collector::start().await;
    let resin = resin_direct(&[
        PUBLIC_ONLY[0],
        ("RESIN_DEFAULT_PLATFORM_MAX_RETRIES", "2"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.endpoint()),
        ("OTEL_BSP_SCHEDULE_DELAY", "50"),
    ])
    .await;
    for way in WAYS {
        for name in ["private.test", "both.test"] {
            let answer = ask(&resin, way, &format!("{name}:{port}")).await;
            assert_denied(&answer, &format!("{way:?} {name}"));
        }
    }
    for record in resin.records_until(6).await {
        assert_nobody_is_blamed(&record);
    }
    for span in collector.spans(12).await {
        let said = attributes(&span);
        assert_eq!(said.get("error.type").map(String::as_str), said.get("resin.error").map(String::as_str));
        match said.get("resin.retry.verdict") {
            Some(verdict) => assert_eq!(verdict, "not_retryable"),
            None => assert_eq!(said["resin.error"], "TARGET_DENIED"),
        }
        assert!(!said.contains_key("network.peer.address"), "nothing was dialled: {said:?}");
    }
    for way in WAYS {
        for name in ["mixed.test", "public.test"] {
            assert_eq!(ask(&resin, way, &format!("{name}:{port}")).await.status, 200, "{way:?} {name}");
        }
    }
    assert_eq!((private.connections(), origin.count()), (0, 6));
}

#[tokio::test]
async fn a_refused_name_is_not_tried_through_another_node() {
    let this = "a_refused_name_is_not_tried_through_another_node";
    if !network::is_own(this, "127.0.0.1 shop.test\n") {
        return;
    }
    let origin = Origin::ok().await;
    let nodes = Nodes::http(&[Manner::Good]).await;
    let resin = resin_over(&nodes, 2, &PUBLIC_ONLY).await;
    resin.upsert_nodes(&[("direct://", "direct")]).await;
    let name = format!("shop.test:{}", origin.address.port());
    let (mut refused, mut carried) = (0, 0);
    // Which node comes first is chance.
    while refused < 5 || carried < 5 {
        assert!(refused + carried < 200, "{refused} were refused, {carried} were carried");
        let answer = ask(&resin, Way::Connect, &name).await;
        match answer.status {
            200 => carried += 1,
            _ => {
                assert_denied(&answer, &name);
                refused += 1;
            }
        }
    }
    assert_eq!(nodes.dial_count(), carried);
    for record in resin.records_until(refused + carried).await {
        assert_eq!(record.retry_attempts, 0, "{record:?}");
    }
}

#[tokio::test]
async fn a_port_that_is_bound_to_every_address_is_refused_at_every_address_of_the_machine() {
    let this = "a_port_that_is_bound_to_every_address_is_refused_at_every_address_of_the_machine";
    if !network::is_own(this, &format!("{} public.test\n127.0.0.1 private.test\n", network::PUBLIC)) {
        return;
    }
    for wildcard in ["0.0.0.0:0", "[::]:0"] {
        let resin =
            resin_direct(&[("RESIN_DATA_LISTEN", wildcard), ("RESIN_CONTROL_LISTEN", wildcard)]).await;
        let client = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
        let data = client(resin.data.port());
        for own in [resin.data, resin.control] {
            for host in [network::PUBLIC, "public.test", "private.test", "127.0.0.1", "127.1.2.3", "[::1]"] {
                let target = format!("{host}:{}", own.port());
                let mut client = support::client::Client::to(data).await;
                assert_denied(&client.connect(&target).await, &format!("{wildcard} {target}"));
            }
        }
    }
}

#[tokio::test]
async fn a_node_that_is_the_proxy_itself_carries_nothing_round_and_round() {
    let (resin, origin) = (Resin::start(&[]).await, Origin::ok().await);
    let itself = format!("http://{}", resin.data);
    resin.upsert_nodes(&[(&itself, "itself")]).await;
    resin.set_retries("Default", 1).await;
    for way in WAYS {
        let answer = ask(&resin, way, &origin.authority()).await;
        answer.assert_error(502, way.failure_code());
        assert!(answer.text().contains("is this proxy itself"), "{answer:?}");
        let record = resin.last_record().await;
        assert_eq!((record.retry_attempts, record.request_written), (0, false), "{record:#?}");
    }
    // Beside another node it is one attempt that failed.
    resin.upsert_nodes(&[("direct://", "direct")]).await;
    for _ in 0..6 {
        assert_eq!(ask(&resin, Way::Forward, &origin.authority()).await.status, 200);
    }
}
