//! Real peers: curl as the client, tinyproxy and microsocks as nodes, nginx as the origin.

#![allow(clippy::unwrap_used)] // a broken expectation is a failed test

mod support;

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use support::{
    client::WAYS,
    peer::{Peer, find},
    resin::Resin,
    tls::Authority,
    world::Refusing,
};
use tempfile::TempDir;
use tokio::process::Command;

const TOKEN: &str = "tok";
const IDENTITY: &str = "Default.Tom";

fn program(name: &str) -> PathBuf {
    find(name).unwrap_or_else(|| panic!("{name} is not installed; `make deps` brings it"))
}

impl Peer {
    async fn tinyproxy(dir: &Path) -> Self {
        let file = dir.join("tinyproxy.conf");
        Self::start("tinyproxy", |port| {
            let text =
                format!("Port {port}\nListen 127.0.0.1\nAllow 127.0.0.1\nTimeout 60\nMaxClients 100\n");
            fs::write(&file, text).unwrap();
            let mut command = Command::new(program("tinyproxy"));
            command.arg("-d").arg("-c").arg(&file);
            command
        })
        .await
    }

    async fn microsocks(credentials: Option<(&str, &str)>) -> Self {
        Self::start("microsocks", |port| {
            let mut command = Command::new(program("microsocks"));
            command.args(["-i", "127.0.0.1", "-p", &port.to_string()]);
            if let Some((user, password)) = credentials {
                command.args(["-u", user, "-P", password]);
            }
            command
        })
        .await
    }

    /// Serves and takes files in `dir/files`, over TLS where there is an authority.
    async fn nginx(dir: &Path, authority: Option<&Authority>) -> Self {
        fs::create_dir_all(dir.join("files")).unwrap();
        let mut tls = String::new();
        if let Some(authority) = authority {
            let (certificate, key) = authority.pem("127.0.0.1");
            fs::write(dir.join("certificate.pem"), certificate).unwrap();
            fs::write(dir.join("key.pem"), key).unwrap();
            tls = format!(
                "ssl_certificate {0}/certificate.pem; ssl_certificate_key {0}/key.pem;",
                dir.display()
            );
        }
        let listen = if authority.is_some() { "ssl" } else { "" };
        Self::start("nginx", |port| {
            let user = if rustix::process::geteuid().is_root() { "user root;" } else { "" };
            let text = format!(
                "{user} daemon off; master_process off; error_log stderr; pid {0}/nginx.pid; events {{}}
                http {{
                    access_log off; client_body_temp_path {0}/body; proxy_temp_path {0}/proxy;
                    fastcgi_temp_path {0}/fastcgi; uwsgi_temp_path {0}/uwsgi; scgi_temp_path {0}/scgi;
                    server {{
                        listen 127.0.0.1:{port} {listen}; {tls} root {0}/files; client_max_body_size 0;
                        location / {{ dav_methods PUT DELETE; create_full_put_path on; }}
                        location = /hello {{ return 200 \"hello from nginx, $http_x_forwarded_for\"; }}
                        location = /teapot {{ return 418 \"short and stout\"; }}
                    }}
                }}",
                dir.display()
            );
            let file = dir.join("nginx.conf");
            fs::write(&file, text).unwrap();
            let mut command = Command::new(program("nginx"));
            command.arg("-e").arg("stderr").arg("-p").arg(dir).arg("-c").arg(&file);
            command
        })
        .await
    }
}

/// Runs curl; what it wrote on standard output.
async fn curl(args: &[&str]) -> String {
    let mut command = Command::new(program("curl"));
    command.args(["-sS", "--noproxy", "", "--max-time", "60"]).args(args).kill_on_drop(true);
    for name in ["http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
        command.env_remove(name);
    }
    let output = command.output().await.unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "curl {args:?}: {} {said}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

/// The URL and flags that make curl take each way to a path of the origin.
fn routes(resin: &Resin, scheme: &str, origin: SocketAddr, path: &str) -> [(String, Vec<String>); 3] {
    let url = format!("{scheme}://{origin}{path}");
    let proxy = format!("http://{}", resin.data);
    let through = |more: &[&str]| -> Vec<String> {
        let credentials = format!("{IDENTITY}:{TOKEN}");
        let flags = ["-x", &proxy, "--proxy-user", &credentials];
        flags.iter().chain(more).map(|flag| (*flag).to_owned()).collect()
    };
    let prefixed = format!("http://{}/{TOKEN}/{IDENTITY}/{scheme}/{origin}{path}", resin.data);
    [(url.clone(), through(&[])), (prefixed, Vec::new()), (url, through(&["--proxytunnel"]))]
}

async fn curl_on(route: &(String, Vec<String>), more: &[&str]) -> String {
    let flags = route.1.iter().map(String::as_str);
    let args: Vec<&str> = flags.chain(more.iter().copied()).chain([route.0.as_str()]).collect();
    curl(&args).await
}

async fn resin_with(nodes: &str, more: &[(&str, &str)]) -> Resin {
    let own = [("RESIN_NODES", nodes), ("RESIN_PROXY_TOKEN", TOKEN)];
    Resin::start(&[&own, more].concat()).await
}

#[tokio::test]
async fn curl_gets_and_puts_through_tinyproxy_and_microsocks_to_nginx_on_every_way() {
    let dir = TempDir::new().unwrap();
    let origin = Peer::nginx(dir.path(), None).await;
    let tinyproxy = Peer::tinyproxy(dir.path()).await;
    let microsocks = Peer::microsocks(Some(("tom", "secret"))).await;
    let large: Vec<u8> = (0..3_000_000_u32).map(|number| (number % 253) as u8).collect();
    let (sent, got) = (dir.path().join("sent"), dir.path().join("got"));
    fs::write(&sent, &large).unwrap();
    let uris =
        [format!("http://{}", tinyproxy.address), format!("socks5://tom:secret@{}", microsocks.address)];
    for uri in &uris {
        let resin = resin_with(uri, &[]).await;
        let hello = routes(&resin, "http", origin.address, "/hello");
        let file = routes(&resin, "http", origin.address, "/upload/file");
        let teapot = routes(&resin, "http", origin.address, "/teapot");
        for ((way, hello), (file, teapot)) in WAYS.iter().zip(&hello).zip(file.iter().zip(&teapot)) {
            assert_eq!(curl_on(hello, &[]).await, "hello from nginx, ", "{way:?} {uri}");
            // curl expects a 100 before so large an upload.
            let status = ["-o", "/dev/null", "-w", "%{http_code}"];
            let put = [&["-T", sent.to_str().unwrap()], &status[..]].concat();
            assert!(["201", "204"].contains(&curl_on(file, &put).await.as_str()), "{way:?} {uri}");
            assert!(fs::read(dir.path().join("files/upload/file")).unwrap() == large, "{way:?} {uri}");
            curl_on(file, &["-o", got.to_str().unwrap()]).await;
            assert!(fs::read(&got).unwrap() == large, "{way:?} {uri}");
            let body_and_status = curl_on(teapot, &["-w", " %{http_code}"]).await;
            assert_eq!(body_and_status, "short and stout 418", "{way:?} {uri}");
        }
        let records = resin.records_until(12).await;
        assert!(records.iter().all(|record| record.net_ok && record.account == "Tom"), "{records:#?}");
    }
}

#[tokio::test]
async fn curl_speaks_tls_to_nginx_through_a_tunnel_and_we_do_on_the_reverse_path() {
    let (dir, authority) = (TempDir::new().unwrap(), Authority::new());
    let origin = Peer::nginx(dir.path(), Some(&authority)).await;
    let tinyproxy = Peer::tinyproxy(dir.path()).await;
    let uri = format!("http://{}", tinyproxy.address);
    let resin = resin_with(&uri, &[("RESIN_CA_FILE", authority.file())]).await;
    for route in &routes(&resin, "https", origin.address, "/hello") {
        let answer = curl_on(route, &["--cacert", authority.file()]).await;
        assert_eq!(answer, "hello from nginx, ", "{route:?}");
    }
}

#[tokio::test]
async fn curl_sees_a_retry_as_nothing_but_an_answer() {
    let dir = TempDir::new().unwrap();
    let origin = Peer::nginx(dir.path(), None).await;
    let tinyproxy = Peer::tinyproxy(dir.path()).await;
    let (first, second) = (Refusing::port(), Refusing::port());
    let nodes = format!("http://{} http://{} socks5://{}", tinyproxy.address, first.address, second.address);
    let resin = resin_with(&nodes, &[("RESIN_DEFAULT_PLATFORM_MAX_RETRIES", "2")]).await;
    for _ in 0..8 {
        for route in &routes(&resin, "http", origin.address, "/hello") {
            assert_eq!(curl_on(route, &[]).await, "hello from nginx, ", "{route:?}");
        }
    }
    let records = resin.records_until(24).await;
    assert!(records.iter().any(|record| record.retry_attempts > 0), "two of three nodes are dead");
    assert!(records.iter().all(|record| record.net_ok && record.http_status == 200), "{records:#?}");
}

#[tokio::test]
async fn curl_is_told_what_went_wrong() {
    let refusing = Refusing::port();
    let resin = resin_with(&format!("http://{}", refusing.address), &[]).await;
    let error = ["-o", "/dev/null", "-w", "%{http_code} %header{x-resin-error}"];
    let target = "http://shop.test/";
    let proxy = format!("http://{}", resin.data);

    let without = [&["-x", &proxy], &error[..], &[target]].concat();
    assert_eq!(curl(&without).await, "407 AUTH_REQUIRED");
    let wrong = [&["-x", &proxy, "--proxy-user", "Default:no"], &error[..], &[target]].concat();
    assert_eq!(curl(&wrong).await, "407 AUTH_FAILED");
    let right = [&["-x", &proxy, "--proxy-user", "Default:tok"], &error[..], &[target]].concat();
    assert_eq!(curl(&right).await, "502 UPSTREAM_REQUEST_FAILED");
}

#[tokio::test]
async fn curl_speaks_http2_on_the_reverse_path() {
    let dir = TempDir::new().unwrap();
    let origin = Peer::nginx(dir.path(), None).await;
    let resin = resin_with("direct://", &[]).await;
    let [_, reverse, _] = routes(&resin, "http", origin.address, "/hello");
    let more = ["--http2-prior-knowledge", "-w", " %{http_version}"];
    assert_eq!(curl_on(&reverse, &more).await, "hello from nginx,  2");
}
