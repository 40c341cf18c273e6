//! Who is asking: identity V1, its challenge, and what a wrong token gets.

#![allow(clippy::unwrap_used)] // a broken expectation is a failed test

mod support;

use resin::proto::RequestLog;
use support::{
    client::{Answer, Client},
    nodes::resin_direct,
    origins::Origin,
    resin::Resin,
    world::basic,
};

const TOKEN: &str = "tok";

async fn guarded() -> Resin {
    let resin = resin_direct(&[("RESIN_PROXY_TOKEN", TOKEN)]).await;
    for name in ["Nimbus", "MyHub"] {
        resin.set_retries(name, 0).await;
    }
    resin
}

fn authorization(identity: &str, token: &str) -> String {
    format!("Proxy-Authorization: {}\r\n", basic(identity, token))
}

async fn forward(resin: &Resin, authority: &str, header: &str) -> Answer {
    let rest = format!("Host: {authority}\r\n{header}\r\n");
    Client::of(resin).await.ask("GET", &format!("http://{authority}/"), &rest).await
}

async fn connect(resin: &Resin, authority: &str, header: &str) -> Answer {
    let rest = format!("Host: {authority}\r\n{header}\r\n");
    Client::of(resin).await.ask("CONNECT", authority, &rest).await
}

async fn reverse(resin: &Resin, path: &str, header: &str) -> Answer {
    Client::of(resin).await.ask("GET", path, &format!("Host: resin.test\r\n{header}\r\n")).await
}

fn identity(record: &RequestLog) -> (&str, &str) {
    (&record.platform_name, &record.account)
}

#[tokio::test]
async fn credentials_split_into_platform_and_account_as_the_table_says() {
    let (resin, origin) = (guarded().await, Origin::ok().await);
    let table = [
        ("Nimbus.Tom", "Nimbus", "Tom"),
        ("Nimbus:Tom", "Nimbus", "Tom"),
        (".Tom", "Default", "Tom"),
        (":Tom", "Default", "Tom"),
        ("Nimbus", "Nimbus", ""),
        ("Nimbus.", "Nimbus", ""),
        ("MyHub.bEA:234", "MyHub", "bEA:234"),
        ("MyHub.a.b:c", "MyHub", "a.b:c"),
        ("", "Default", ""),
        (".", "Default", ""),
        ("Default", "Default", ""),
    ];
    for (credentials, platform, account) in table {
        let answer = forward(&resin, &origin.authority(), &authorization(credentials, TOKEN)).await;
        assert_eq!(answer.status, 200, "{credentials}: {answer:?}");
        assert_eq!(identity(&resin.last_record().await), (platform, account), "{credentials}");
    }
}

#[tokio::test]
async fn connect_takes_the_same_credentials() {
    let (resin, origin) = (guarded().await, Origin::ok().await);
    let authority = origin.authority();
    assert_eq!(connect(&resin, &authority, &authorization("Nimbus.Tom", TOKEN)).await.status, 200);
    assert_eq!(identity(&resin.last_record().await), ("Nimbus", "Tom"));
    connect(&resin, &authority, "").await.assert_error(407, "AUTH_REQUIRED");
    connect(&resin, &authority, &authorization("Nimbus.Tom", "no")).await.assert_error(407, "AUTH_FAILED");
}

#[tokio::test]
async fn the_reverse_path_names_the_same_and_its_header_beats_it() {
    let (resin, origin) = (guarded().await, Origin::ok().await);
    let authority = origin.authority();
    let table = [
        ("Nimbus.Tom", "", "Nimbus", "Tom"),
        ("MyHub.ops%2Fprod%3Feu%231", "", "MyHub", "ops/prod?eu#1"),
        ("MyHub.bEA:234", "", "MyHub", "bEA:234"),
        ("Nimbus", "", "Nimbus", ""),
        (".Tom", "", "Default", "Tom"),
        ("", "", "Default", ""),
        ("Nimbus.Tom", "X-Resin-Account: Tim\r\n", "Nimbus", "Tim"),
        ("Nimbus", "X-Resin-Account: Tim\r\n", "Nimbus", "Tim"),
    ];
    for (segment, header, platform, account) in table {
        let answer = reverse(&resin, &format!("/{TOKEN}/{segment}/http/{authority}/x"), header).await;
        assert_eq!(answer.status, 200, "{segment}: {answer:?}");
        assert_eq!(identity(&resin.last_record().await), (platform, account), "{segment}");
    }
    let told = origin.heard().iter().any(|heard| heard.header("x-resin-account").is_some());
    assert!(!told, "the account never reaches the upstream");
}

#[tokio::test]
async fn missing_or_malformed_credentials_are_required_and_challenged() {
    let (resin, origin) = (guarded().await, Origin::ok().await);
    let malformed = [
        String::new(),
        "Proxy-Authorization: Bearer tok\r\n".to_owned(),
        "Proxy-Authorization: Basic !!!\r\n".to_owned(),
        "Proxy-Authorization: Basic \r\n".to_owned(),
        "Proxy-Authorization: Basic bm9jb2xvbg==\r\n".to_owned(), // `nocolon`
    ];
    for header in malformed {
        let answer = forward(&resin, &origin.authority(), &header).await;
        answer.assert_error(407, "AUTH_REQUIRED");
        assert_eq!(answer.header("proxy-authenticate"), Some("Basic realm=\"Resin\""), "{header}");
    }
    assert_eq!(origin.count(), 0);
}

#[tokio::test]
async fn a_wrong_token_is_407_on_forward_and_403_on_reverse() {
    let (resin, origin) = (guarded().await, Origin::ok().await);
    let authority = origin.authority();
    for wrong in ["", "to", "tokk", "TOK", "tok "] {
        let answer = forward(&resin, &authority, &authorization("Nimbus.Tom", wrong)).await;
        answer.assert_error(407, "AUTH_FAILED");
        assert_eq!(answer.header("proxy-authenticate"), Some("Basic realm=\"Resin\""));
        let segment = wrong.replace(' ', "%20");
        let answer = reverse(&resin, &format!("/{segment}/Nimbus.Tom/http/{authority}/"), "").await;
        answer.assert_error(403, "AUTH_FAILED");
        assert_eq!(answer.header("proxy-authenticate"), None);
    }
    assert_eq!(origin.count(), 0);
}

#[tokio::test]
async fn a_token_with_colons_cannot_be_mistaken_for_an_account() {
    let resin = resin_direct(&[("RESIN_PROXY_TOKEN", "s3cret")]).await;
    let origin = Origin::ok().await;
    let answer = forward(&resin, &origin.authority(), &authorization("Default.a:b:c", "s3cret")).await;
    assert_eq!(answer.status, 200);
    assert_eq!(resin.last_record().await.account, "a:b:c");
}

#[tokio::test]
async fn a_connection_outlives_its_407() {
    let (resin, origin) = (guarded().await, Origin::ok().await);
    let authority = origin.authority();
    let mut client = Client::of(&resin).await;
    let plain = format!("Host: {authority}\r\n\r\n");
    let good = format!("Host: {authority}\r\n{}\r\n", authorization("Nimbus", TOKEN));
    let url = format!("http://{authority}/");

    client.ask("GET", &url, &plain).await.assert_error(407, "AUTH_REQUIRED");
    client.ask("CONNECT", &authority, &plain).await.assert_error(407, "AUTH_REQUIRED");
    assert_eq!(client.ask("GET", &url, &good).await.status, 200);
    assert_eq!(client.ask("CONNECT", &authority, &good).await.status, 200);
}

#[tokio::test]
async fn without_a_token_everybody_may_and_the_identity_still_counts() {
    let (resin, origin) = (resin_direct(&[]).await, Origin::ok().await);
    resin.set_retries("Nimbus", 0).await;
    let authority = origin.authority();

    assert_eq!(forward(&resin, &authority, "").await.status, 200);
    assert_eq!(identity(&resin.last_record().await), ("Default", ""));
    assert_eq!(forward(&resin, &authority, &authorization("Nimbus.Tom", "whatever")).await.status, 200);
    assert_eq!(identity(&resin.last_record().await), ("Nimbus", "Tom"));
    for token in ["", "whatever", "a%2Fb"] {
        let path = format!("/{token}/Nimbus.Tim/http/{authority}/");
        assert_eq!(reverse(&resin, &path, "").await.status, 200, "{path}");
        assert_eq!(identity(&resin.last_record().await), ("Nimbus", "Tim"));
    }
}

#[tokio::test]
async fn an_unknown_platform_is_404_and_names_are_case_sensitive() {
    let (resin, origin) = (guarded().await, Origin::ok().await);
    let authority = origin.authority();
    for name in ["Nobody", "nimbus", "NIMBUS"] {
        let header = authorization(name, TOKEN);
        forward(&resin, &authority, &header).await.assert_error(404, "PLATFORM_NOT_FOUND");
        connect(&resin, &authority, &header).await.assert_error(404, "PLATFORM_NOT_FOUND");
        let path = format!("/{TOKEN}/{name}/http/{authority}/");
        reverse(&resin, &path, "").await.assert_error(404, "PLATFORM_NOT_FOUND");
    }
    assert_eq!(origin.count(), 0);
}

#[tokio::test]
async fn an_account_is_at_most_256_bytes() {
    let (resin, origin) = (guarded().await, Origin::ok().await);
    let authority = origin.authority();
    for (length, status) in [(256, 200), (257, 403)] {
        let account = "a".repeat(length);
        let header = authorization(&format!("Nimbus.{account}"), TOKEN);
        let path = format!("/{TOKEN}/Nimbus.{account}/http/{authority}/");
        for answer in [forward(&resin, &authority, &header).await, reverse(&resin, &path, "").await] {
            assert_eq!(answer.status, status, "{length}: {answer:?}");
            if status != 200 {
                answer.assert_error(403, "ACCOUNT_REJECTED");
            }
        }
    }
}
