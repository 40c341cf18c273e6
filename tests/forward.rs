//! The forward path: absolute-form requests through every kind of node, over HTTP/1.1 and HTTP/2.

#![allow(clippy::unwrap_used)] // a broken expectation is a failed test

mod support;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use resin::proto::{ProxyType, UpstreamPhase};
use support::{
    client::{Client, WAYS, Way, ask, ask_with, http2, over_http2},
    nodes::{Manner, Nodes, lead_through, resin_direct, resin_over},
    origins::{Origin, Reply},
    resin::{Resin, soon},
    tls::Authority,
    world::basic,
};

#[tokio::test]
async fn every_kind_of_node_carries_every_way_and_resolves_the_names() {
    let authority = Authority::new();
    let resin = Resin::start(&[("RESIN_CA_FILE", authority.file())]).await;
    let origin = Origin::start(|heard| Reply::ok(&heard.head.target().replace('/', "it is "))).await;
    let name = format!("shop.test:{}", origin.address.port());
    for nodes in [
        Nodes::http(&[Manner::Good]).await,
        Nodes::https(&[Manner::Good], authority.acceptor("127.0.0.1")).await,
        Nodes::socks5(&[Manner::Good]).await,
    ] {
        lead_through(&resin, &nodes, 0).await;
        for way in WAYS {
            let answer = ask_with(&resin, way, ("GET", &name, "/here"), "", "").await;
            assert_eq!(
                (answer.status, answer.text().as_str()),
                (200, "it is here"),
                "{way:?} {:?}",
                nodes.uris
            );
            let heard = origin.heard().pop().unwrap();
            assert_eq!(heard.head.line, "GET /here HTTP/1.1", "origin-form at the origin: {way:?}");
            assert_eq!(heard.header("host"), Some(name.as_str()));
        }
        for dial in nodes.dials() {
            assert_eq!(dial.target, name, "the name goes to the node as it is");
        }
    }
}

#[tokio::test]
async fn nodes_take_their_credentials_and_no_others() {
    let resin = Resin::start(&[]).await;
    let origin = Origin::ok().await;
    for mut nodes in [
        Nodes::http(&[Manner::Locked("tom:p@ss:word")]).await,
        Nodes::socks5(&[Manner::Locked("tom:p@ss:word")]).await,
    ] {
        let locked = nodes.uris[0].clone();
        nodes.uris[0] = locked.replace("://", "://tom:p%40ss%3Aword@");
        lead_through(&resin, &nodes, 0).await;
        for way in WAYS {
            assert_eq!(ask(&resin, way, &origin.authority()).await.status, 200, "{way:?} {locked}");
            resin.last_record().await;
        }
        nodes.uris[0] = locked.replace("://", "://tom:wrong@");
        lead_through(&resin, &nodes, 0).await;
        for way in WAYS {
            ask(&resin, way, &origin.authority()).await.assert_error(502, way.failure_code());
            let record = resin.last_record().await;
            assert_eq!(&*record.upstream_err_kind, "node_auth_failed", "{record:#?}");
            assert_eq!(record.upstream_phase(), UpstreamPhase::NodeHandshake);
        }
    }
}

#[tokio::test]
async fn a_nodes_refusal_never_looks_like_the_origins_answer() {
    for status in [407, 401, 403, 302, 500] {
        let nodes = Nodes::http(&[Manner::Refuse(status)]).await;
        let resin = resin_over(&nodes, 0, &[]).await;
        for way in WAYS {
            let answer = ask(&resin, way, "shop.test:80").await;
            answer.assert_error(502, way.failure_code());
            assert_eq!(answer.header("x-of-the-node"), None, "{answer:?}");
            assert_eq!(answer.header("proxy-authenticate"), None, "{answer:?}");
            assert!(!answer.text().contains("node says"));
        }
    }
}

#[tokio::test]
async fn the_host_comes_from_the_target_and_the_rest_passes_as_it_is() {
    let (resin, origin) = (resin_direct(&[]).await, Origin::ok().await);
    let authority = origin.authority();
    let table = [
        (format!("http://{authority}/a%2Fb/../c?x=%20&y"), "/a%2Fb/../c?x=%20&y"),
        (format!("http://{authority}"), "/"),
        (format!("http://{authority}?q"), "/?q"),
        (format!("HTTP://{authority}/"), "/"),
    ];
    for (url, path) in table {
        let answer = Client::of(&resin).await.ask("GET", &url, "Host: somebody.else.test\r\n\r\n").await;
        assert_eq!(answer.status, 200, "{url}");
        let heard = origin.heard().pop().unwrap();
        assert_eq!((heard.head.target(), heard.header("host")), (path, Some(authority.as_str())), "{url}");
        assert_eq!(heard.head.count("host"), 1);
    }
}

#[tokio::test]
async fn an_https_url_is_fetched_over_tls_that_is_checked() {
    let (ours, foreign) = (Authority::new(), Authority::new());
    let resin = resin_direct(&[("RESIN_CA_FILE", ours.file())]).await;
    let good = Origin::secure(ours.acceptor("127.0.0.1"), |_| Reply::ok("sealed")).await;
    let unknown = Origin::secure(foreign.acceptor("127.0.0.1"), |_| Reply::ok("sealed")).await;
    let misnamed = Origin::secure(ours.acceptor("shop.test"), |_| Reply::ok("sealed")).await;
    let plain = Origin::deaf("HTTP/1.1 400 Bad Request\r\n\r\n").await;
    let get = async |origin: &Origin, reverse: bool| {
        let authority = origin.authority();
        let target = match reverse {
            true => format!("/any/Default/https/{authority}/"),
            false => format!("https://{authority}/"),
        };
        Client::of(&resin).await.ask("GET", &target, "Host: a\r\n\r\n").await
    };
    for reverse in [false, true] {
        assert_eq!(get(&good, reverse).await.text(), "sealed", "reverse: {reverse}");
        assert_eq!(resin.last_record().await.http_status, 200);
        for (origin, kind, error) in [
            (&unknown, "tls_unknown_authority", "tls_certificate_error"),
            (&misnamed, "tls_hostname_invalid", "tls_certificate_error"),
            (&plain, "tls_record_header", "tls_protocol_error"),
        ] {
            let answer = get(origin, reverse).await;
            answer.assert_error(502, "UPSTREAM_REQUEST_FAILED");
            let status = answer.header("proxy-status").unwrap();
            assert!(status.contains(error), "{kind}: {status}");
            let record = resin.last_record().await;
            assert_eq!(
                (&*record.upstream_err_kind, record.upstream_phase()),
                (kind, UpstreamPhase::OriginTls)
            );
            assert!(!record.request_written && !record.net_ok);
            assert_eq!(origin.count(), 0, "{kind}");
        }
    }
}

#[tokio::test]
async fn a_node_behind_tls_is_checked_unless_its_uri_says_otherwise() {
    let (ours, foreign) = (Authority::new(), Authority::new());
    let resin = Resin::start(&[("RESIN_CA_FILE", ours.file())]).await;
    let origin = Origin::ok().await;
    let mut nodes = Nodes::https(&[Manner::Good], foreign.acceptor("127.0.0.1")).await;
    let uri = nodes.uris[0].clone();
    lead_through(&resin, &nodes, 0).await;
    ask(&resin, Way::Forward, &origin.authority()).await.assert_error(502, "UPSTREAM_REQUEST_FAILED");
    let record = resin.last_record().await;
    assert_eq!(
        (&*record.upstream_err_kind, record.upstream_phase()),
        ("tls_unknown_authority", UpstreamPhase::NodeTls)
    );

    nodes.uris[0] = format!("{uri}?insecure=true");
    lead_through(&resin, &nodes, 0).await;
    assert_eq!(ask(&resin, Way::Forward, &origin.authority()).await.status, 200);

    let mut named = Nodes::https(&[Manner::Good], ours.acceptor("node.test")).await;
    named.uris[0] = format!("{}?sni=node.test", named.uris[0]);
    lead_through(&resin, &named, 0).await;
    assert_eq!(ask(&resin, Way::Forward, &origin.authority()).await.status, 200);
}

#[tokio::test]
async fn a_target_that_cannot_be_is_an_invalid_host() {
    let resin = resin_direct(&[]).await;
    for target in ["http://shop.test:0/", "http://shop.test:99999/", "ftp://shop.test/", "http://a_b!.test/"]
    {
        let answer = Client::of(&resin).await.ask("GET", target, "Host: a\r\n\r\n").await;
        assert_eq!(answer.status, 400, "{target}: {answer:?}");
        assert_eq!(resin.last_record().await.http_status, 400, "{target}");
        answer.assert_error(400, "INVALID_HOST");
    }
}

#[tokio::test]
async fn a_name_that_does_not_resolve_is_a_dns_error() {
    let resin = resin_direct(&[]).await;
    for way in WAYS {
        let answer = ask(&resin, way, "nowhere.invalid:80").await;
        answer.assert_error(502, way.failure_code());
        assert!(answer.header("proxy-status").unwrap().contains("dns_error"), "{answer:?}");
        let record = resin.last_record().await;
        assert_eq!((&*record.upstream_err_kind, record.upstream_phase()), ("dns_error", UpstreamPhase::Dns));
    }
}

#[tokio::test]
async fn over_http2_a_request_with_credentials_is_forward() {
    let (resin, origin) = (resin_direct(&[]).await, Origin::ok().await);
    resin.set_retries("Nimbus", 0).await;
    let request = Request::post(format!("http://{}/x?y", origin.authority()))
        .header("proxy-authorization", basic("Nimbus.Tom", "any"))
        .body(Full::new(Bytes::from_static(b"over two")))
        .unwrap();

    let mut sender = http2(&resin).await;
    let response = soon("an answer", sender.send_request(request)).await.unwrap();
    assert_eq!(response.status(), 200);
    assert!(response.headers().get("connection").is_none());
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "ok");

    let heard = origin.only();
    assert_eq!((heard.head.line.as_str(), &*heard.body), ("POST /x?y HTTP/1.1", &b"over two"[..]));
    assert_eq!(heard.header("host"), Some(origin.authority().as_str()));
    assert_eq!(heard.header("proxy-authorization"), None);
    let record = resin.last_record().await;
    assert_eq!(record.proxy_type(), ProxyType::Forward);
    assert_eq!((&*record.platform_name, &*record.account), ("Nimbus", "Tom"));
}

#[tokio::test]
async fn over_http2_other_requests_are_reverse() {
    let (resin, origin) = (resin_direct(&[]).await, Origin::ok().await);
    let url = format!("http://resin.test/any/Default.Tom/http/{}/x?y", origin.authority());
    let request = Request::get(url).body(Full::new(Bytes::new())).unwrap();

    let mut sender = http2(&resin).await;
    let response = soon("an answer", sender.send_request(request)).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "ok");
    assert_eq!(origin.only().head.line, "GET /x?y HTTP/1.1");
    assert_eq!(resin.last_record().await.proxy_type(), ProxyType::Reverse);
}

#[tokio::test]
async fn over_http2_a_cut_answer_arrives_cut_and_an_error_is_ours() {
    let origin = Origin::start(|heard| match heard.head.target() {
        "/cut" => Reply::Close(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly a part".to_vec()),
        _ => Reply::Close(Vec::new()),
    })
    .await;
    let resin = resin_direct(&[]).await;
    let get = async |path: &str| {
        let url = format!("http://resin.test/any/Default/http/{}{path}", origin.authority());
        over_http2(&resin, Request::get(url).body(Full::new(Bytes::new())).unwrap()).await
    };
    let cut = get("/cut").await;
    assert_eq!(cut.status(), 200);
    assert!(soon("a cut", cut.into_body().collect()).await.is_err(), "a cut answer arrives cut");
    let failed = get("/").await;
    assert_eq!(failed.status(), 502);
    assert_eq!(failed.headers()["x-resin-error"], "UPSTREAM_REQUEST_FAILED");
}

#[tokio::test]
async fn over_http2_many_requests_go_side_by_side_and_each_has_its_record() {
    let (resin, origin) =
        (resin_direct(&[]).await, Origin::start(|heard| Reply::ok(heard.head.target())).await);
    let sender = http2(&resin).await;
    let mut requests = tokio::task::JoinSet::new();
    for number in 0..100 {
        let url = format!("http://resin.test/any/Default.{number}/http/{}/{number}", origin.authority());
        let request = Request::get(url).body(Full::new(Bytes::new())).unwrap();
        let mut sender = sender.clone();
        requests.spawn(async move {
            let response = soon("an answer", sender.send_request(request)).await.unwrap();
            let body = response.into_body().collect().await.unwrap().to_bytes();
            assert_eq!(body, format!("/{number}"));
        });
    }
    requests.join_all().await;
    let mut accounts: Vec<u32> =
        resin.records_until(100).await.iter().map(|record| record.account.parse().unwrap()).collect();
    accounts.sort_unstable();
    assert_eq!(accounts, (0..100).collect::<Vec<_>>());
}
