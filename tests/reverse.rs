//! The reverse path: the target in the URL, its codes and their order.

#![allow(clippy::unwrap_used)] // a broken expectation is a failed test

mod support;

use resin::proto::ProxyType;
use support::{
    client::{Answer, Client},
    nodes::resin_direct,
    origins::Origin,
    resin::Resin,
};

async fn get(resin: &Resin, path: &str) -> Answer {
    get_with(resin, path, "").await
}

async fn get_with(resin: &Resin, path: &str, headers: &str) -> Answer {
    Client::of(resin).await.ask("GET", path, &format!("Host: resin.test\r\n{headers}\r\n")).await
}

#[tokio::test]
async fn path_and_query_pass_through_byte_for_byte() {
    let (resin, origin) = (resin_direct(&[]).await, Origin::ok().await);
    let authority = origin.authority();
    let table = [
        ("", "/"),
        ("/", "/"),
        ("/a/b", "/a/b"),
        ("//a//b/", "//a//b/"),
        ("/a%2Fb%20c%zz/%e4", "/a%2Fb%20c%zz/%e4"),
        ("/a/../b/./c", "/a/../b/./c"),
        ("/x?y=1&z=%2F?&&", "/x?y=1&z=%2F?&&"),
        ("?only=query", "/?only=query"),
        ("/http/other.test/x", "/http/other.test/x"),
        ("/;p=1,2!$'()*+", "/;p=1,2!$'()*+"),
    ];
    for (rest, expected) in table {
        let answer = get(&resin, &format!("/any/Default/http/{authority}{rest}")).await;
        assert_eq!(answer.status, 200, "{rest}: {answer:?}");
        let heard = origin.heard().pop().unwrap();
        assert_eq!(
            (heard.head.target(), heard.header("host")),
            (expected, Some(authority.as_str())),
            "{rest}"
        );
        let record = resin.last_record().await;
        assert_eq!(record.target_url, format!("http://{authority}{expected}"), "{rest}");
        assert_eq!(record.proxy_type(), ProxyType::Reverse);
    }
}

#[tokio::test]
async fn every_segment_is_decoded_once_on_its_own() {
    let resin = resin_direct(&[("RESIN_PROXY_TOKEN", "a/b%c")]).await;
    let origin = Origin::ok().await;
    let authority = origin.authority();
    let encoded = authority.replace(':', "%3A").replace('.', "%2E");
    for (path, account) in [
        (format!("/a%2Fb%25c/Default.x/http/{authority}/"), "x"),
        (format!("/a%2fb%25c/Default%2Ex/http/{authority}/"), "x"),
        (format!("/%61%2Fb%25%63/Default.x%252F/%68ttp/{encoded}/"), "x%2F"),
        (format!("/a%2Fb%25c/Default.%E4%B8%96/http/{authority}/"), "世"),
    ] {
        assert_eq!(get(&resin, &path).await.status, 200, "{path}");
        assert_eq!(resin.last_record().await.account, account, "{path}");
    }
    let twice = format!("/a%252Fb%2525c/Default/http/{authority}/");
    get(&resin, &twice).await.assert_error(403, "AUTH_FAILED");
}

#[tokio::test]
async fn a_target_that_is_no_target_has_its_code() {
    let resin = resin_direct(&[]).await;
    let table = [
        ("/", "URL_PARSE_ERROR"),
        ("/any", "URL_PARSE_ERROR"),
        ("/any/Default", "URL_PARSE_ERROR"),
        ("/any/Default/http", "URL_PARSE_ERROR"),
        ("/any/Default%2/http/shop.test/", "URL_PARSE_ERROR"),
        ("/any/Default/http/%zz/", "URL_PARSE_ERROR"),
        ("/any/Default.%ff/http/shop.test/", "URL_PARSE_ERROR"),
        ("/any/Default/ftp/shop.test/", "INVALID_PROTOCOL"),
        ("/any/Default/https%3A/shop.test/", "INVALID_PROTOCOL"),
        ("/any/Default//shop.test/", "INVALID_PROTOCOL"),
        ("/any/Default/ws/shop.test/", "INVALID_PROTOCOL"),
        ("/any/Default/http//x", "INVALID_HOST"),
        ("/any/Default/http/shop.test:0/", "INVALID_HOST"),
        ("/any/Default/http/shop.test:65536/", "INVALID_HOST"),
        ("/any/Default/http/shop.test:x/", "INVALID_HOST"),
        ("/any/Default/http/:80/", "INVALID_HOST"),
        ("/any/Default/http/a%20b/", "INVALID_HOST"),
        ("/any/Default/http/a%2Fb/", "INVALID_HOST"),
        ("/any/Default/http/user@shop.test/", "INVALID_HOST"),
        ("/any/Default/http/[::1/", "INVALID_HOST"),
    ];
    for (path, code) in table {
        let answer = get(&resin, path).await;
        assert_eq!(answer.header("x-resin-error"), Some(code), "{path}: {answer:?}");
        answer.assert_error(400, code);
        let record = resin.last_record().await;
        assert_eq!((&*record.resin_error, record.http_status, record.net_ok), (code, 400, true), "{path}");
        assert_eq!((record.retry_attempts, &*record.node_hash), (0, ""));
    }
}

#[tokio::test]
async fn credentials_are_checked_first_then_the_platform_then_the_target() {
    let resin = resin_direct(&[("RESIN_PROXY_TOKEN", "tok")]).await;
    get(&resin, "/no/Nobody/ftp/:0/").await.assert_error(403, "AUTH_FAILED");
    get(&resin, "/tok/Nobody/ftp/:0/").await.assert_error(404, "PLATFORM_NOT_FOUND");
    get(&resin, "/tok/Default/ftp/:0/").await.assert_error(400, "INVALID_PROTOCOL");
    get(&resin, "/tok/Default/http/:0/").await.assert_error(400, "INVALID_HOST");
}

#[tokio::test]
async fn forwarding_identity_and_our_own_headers_are_stripped() {
    let (resin, origin) = (resin_direct(&[]).await, Origin::ok().await);
    let stripped = [
        "Forwarded",
        "Via",
        "X-Forwarded-For",
        "X-Forwarded-Host",
        "X-Forwarded-Proto",
        "X-Forwarded-Anything",
        "X-Real-IP",
        "X-Client-IP",
        "True-Client-IP",
        "CF-Connecting-IP",
        "X-Resin-Account",
        "X-Resin-Anything",
        "Proxy-Authorization",
    ];
    let mut headers: String = stripped.iter().map(|name| format!("{name}: for=\"leak\"\r\n")).collect();
    headers += "Authorization: Bearer kept\r\nCookie: a=b\r\nCookie: c=d\r\nX-Mine: kept\r\n";
    let answer = get_with(&resin, &format!("/any/Default/http/{}/", origin.authority()), &headers).await;
    assert_eq!(answer.status, 200);

    let heard = origin.only();
    for (name, value) in &heard.head.fields {
        assert!(!value.contains("leak"), "{name}: {value}");
    }
    assert_eq!(heard.header("authorization"), Some("Bearer kept"));
    assert_eq!((heard.header("x-mine"), heard.head.count("cookie")), (Some("kept"), 2));
}

#[tokio::test]
async fn the_port_follows_the_protocol_where_none_is_given() {
    let nodes = support::nodes::Nodes::http(&[support::nodes::Manner::Refuse(502)]).await;
    let resin = support::nodes::resin_over(&nodes, 0, &[]).await;
    for (path, target) in [
        ("http/shop.test/", "shop.test:80"),
        ("https/shop.test/", "shop.test:443"),
        ("http/SHOP.test:8080/", "shop.test:8080"),
        ("http/[2001:db8::1]/", "[2001:db8::1]:80"),
        ("http/[2001:db8::1]:8080/", "[2001:db8::1]:8080"),
    ] {
        get(&resin, &format!("/any/Default/{path}")).await.assert_error(502, "UPSTREAM_REQUEST_FAILED");
        let dial = nodes.dials().pop().unwrap();
        assert_eq!(dial.target.to_ascii_lowercase(), target, "{path}");
        let record = resin.last_record().await;
        let (host, port) = target.rsplit_once(':').unwrap();
        assert_eq!(record.target_host, host.trim_matches(['[', ']']), "{path}");
        assert_eq!(record.target_port.to_string(), port);
    }
}
