//! Secrets: after a busy life with every kind of failure, at the most talkative log level, none of the tokens and
//! passwords in it stands in anything that comes out, in any form.

#![allow(clippy::unwrap_used)] // a broken expectation is a failed test

mod support;

use std::time::SystemTime;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Empty};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use resin::{
    config::{Ambient, Config},
    model::{NodeUri, Secret},
    proto::{
        DeleteNodesRequest, GetNodeRequest, GetRequestLogRequest, GetSystemInfoRequest, ListPlatformsRequest,
        ListRequestLogsRequest, RequestLogFilter, StreamRequestLogsRequest,
        stream_request_logs_request::Start,
    },
    store::NodeChange,
};
use support::{
    client::over_http2,
    grpc::{Grpc, named, spec},
    nodes::{Manner, Nodes},
    origins::Origin,
    otlp::Collector,
    postgres::{Database, PASSWORD, Wire},
    resin::{DEFAULTS, Process, Resin, exchange, soon},
    secrets::assert_hidden,
    tls::Authority,
    world::{Refusing, basic, forward_with},
};

/// With letters that look different in every encoding.
const PROXY_TOKEN: &str = "tok/of the+data=port~1";
const ADMIN_TOKEN: &str = "tok:of/the+control=port~2";
const NODE_PASSWORD: &str = "hunter2@of:a/node~3";
const USER_PASSWORD: &str = "hunter2-of-a-url-4";
const WRONG_TOKEN: &str = "tok that+was/guessed~5";
const WRONG_ADMIN: &str = "tok:that/was+guessed~6";
const OTLP_TOKEN: &str = "tok-of-the-collector~7";
const REJECTED: &str = "hunter2-of-a-rejected-node";
const ALL: [&str; 9] = [
    PROXY_TOKEN,
    ADMIN_TOKEN,
    NODE_PASSWORD,
    USER_PASSWORD,
    WRONG_TOKEN,
    WRONG_ADMIN,
    OTLP_TOKEN,
    REJECTED,
    PASSWORD,
];

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

/// Node URIs that are refused, each with a password somewhere in it.
fn rejected() -> Vec<String> {
    let of = |uri: &str| uri.replace("PW", REJECTED);
    [
        "http://tom:PW@10.0.0.1",
        "http://tom:PW@10.0.0.1:99999",
        "http://tom:PW@10.0.0.1:80/path",
        "http://tom:PW@10.0.0.1:80?PW=1",
        "https://tom:x@10.0.0.1:80?PW@10.0.0.2=1",
        "https://tom:x@10.0.0.1:80?sni=PW@x",
        "https://tom:x@10.0.0.1:80?insecure=PW",
        "http://tom:x?PW@10.0.0.1:80",
        "http://tom:x/PW@10.0.0.1:80",
        "http://tom:x#PW@10.0.0.1:80",
        "http://tom:PW",
        "http://tom:%zz-PW@10.0.0.1:80",
        "http://to%3Am:PW@10.0.0.1:80",
        "gopher://tom:PW@10.0.0.1:70",
        "PW://10.0.0.1:70",
        "tom:PW@10.0.0.1:70",
        "direct://tom:PW@",
        "socks5://:PW@10.0.0.1:80",
        "socks5://tom:PW@a b:80",
        "http://tom:PW@PW@:80",
        "http://tom:PW@h.PW.123:80",
    ]
    .into_iter()
    .map(of)
    .collect()
}

/// Everything that came out, and where.
type Texts = Vec<(&'static str, String)>;

/// Nodes that take the credentials, refuse them, or fail in one way or another.
async fn nodes(authority: &Authority) -> (Vec<(String, &'static str)>, Vec<Nodes>, Refusing) {
    let refusing = Refusing::port();
    let secure = Nodes::https(&[Manner::Good], Authority::new().acceptor("127.0.0.1")).await;
    let trusted = Nodes::https(&[Manner::Refuse(502)], authority.acceptor("127.0.0.1")).await;
    let tagged = [
        ("good", Nodes::http(&[Manner::Good]).await),
        ("locked", Nodes::http(&[Manner::Locked("tom:another")]).await),
        ("refuses", Nodes::http(&[Manner::Refuse(407)]).await),
        ("garbage", Nodes::http(&[Manner::Garbage]).await),
        ("closes", Nodes::http(&[Manner::Close]).await),
        ("untrusted", secure),
        ("trusted", trusted),
        ("socks-good", Nodes::socks5(&[Manner::Good]).await),
        ("socks-locked", Nodes::socks5(&[Manner::Locked("tom:another")]).await),
        ("socks-refuses", Nodes::socks5(&[Manner::Refuse(5)]).await),
    ];
    let with_password = |uri: &str| uri.replace("://", &format!("://tom:{}@", encoded(NODE_PASSWORD)));
    let mut uris = vec![(with_password(&format!("http://{}", refusing.address)), "nobody")];
    let mut kept = Vec::new();
    for (tag, nodes) in tagged {
        uris.push((with_password(&nodes.uris[0]), tag));
        kept.push(nodes);
    }
    (uris, kept, refusing)
}

/// Requests of every kind, good and bad, through one node after the other.
async fn requests(resin: &Resin, origin: &Origin, out: &mut Texts) -> usize {
    let mut asked = 0;
    let target = origin.authority();
    for (user, token) in
        [("Default.Tom", PROXY_TOKEN), ("Default.Tom", WRONG_TOKEN), ("Nowhere", PROXY_TOKEN)]
    {
        let credentials = basic(user, token);
        let header = format!("Proxy-Authorization: {credentials}\r\n");
        for url in [
            format!("http://{target}/"),
            format!("http://tom:{USER_PASSWORD}@{target}/"),
            "http://nowhere.invalid/".to_owned(),
            "http://127.0.0.1:1/".to_owned(),
            format!("ftp://tom:{USER_PASSWORD}@{target}/"),
        ] {
            out.push(("an answer on forward", forward_with(resin, &url, &header).await.1));
            asked += 1;
        }
        for segment in [token.replace(' ', "%20").replace('/', "%2F"), encoded(token)] {
            for rest in
                [format!("http/{target}/x"), "ftp/shop.test/x".into(), "http".into(), "http/%zz/x".into()]
            {
                let head = "HTTP/1.1\r\nHost: a\r\nConnection: close\r\n";
                let request =
                    format!("GET /{segment}/{user}/{rest} {head}Authorization: {credentials}\r\n\r\n");
                out.push(("an answer on reverse", exchange(resin.data, &request).await.unwrap()));
                asked += 1;
            }
        }
        for authority in [target.as_str(), "127.0.0.1:1", "nowhere", &format!("tom:{USER_PASSWORD}@a:1")] {
            let request = format!("CONNECT {authority} HTTP/1.1\r\nHost: a\r\n{header}\r\n");
            let request = if authority == target {
                format!("{request}GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            } else {
                request
            };
            let answer = exchange_and_end(resin, &request).await;
            out.push(("an answer to CONNECT", answer));
            asked += 1;
        }
        let request = Request::get(format!("http://{target}/")).header("proxy-authorization", &credentials);
        let answer = over_http2(resin, request.body(Empty::<Bytes>::new()).unwrap()).await;
        let (head, body) = answer.into_parts();
        out.push(("an answer over HTTP/2", format!("{head:?} {:?}", body.collect().await)));
        asked += 1;
    }
    asked
}

/// Ends its own side, so that a tunnel ends too.
async fn exchange_and_end(resin: &Resin, request: &str) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut connection = tokio::net::TcpStream::connect(resin.data).await.unwrap();
    connection.write_all(request.as_bytes()).await.unwrap();
    connection.shutdown().await.unwrap();
    let mut answer = Vec::new();
    let _cut = soon("an end", connection.read_to_end(&mut answer)).await;
    String::from_utf8_lossy(&answer).into_owned()
}

/// Every call of the control plane, as `Debug` shows its answer or its error with all details.
async fn calls(grpc: &Grpc, out: &mut Texts) {
    let mut say = |answer: String| out.push(("an answer over gRPC", answer));
    for uri in rejected() {
        let refused = grpc.upsert_nodes(vec![spec(&uri, "rejected")]).await;
        assert!(refused.is_err(), "{uri} was taken: {refused:?}");
        say(format!("{refused:?} {}", refused.as_ref().unwrap_err()));
    }
    say(format!("{:?}", grpc.upsert_nodes(rejected().iter().map(|uri| spec(uri, "")).collect()).await));
    say(format!("{:?}", grpc.upsert_platform(named("api")).await));
    say(format!("{:?}", grpc.platform("Nowhere").await));
    let mut nodes = grpc.nodes.clone();
    let all = nodes.list_nodes(resin::proto::ListNodesRequest::default()).await;
    let hash = all.as_ref().map_or_else(
        |_| "0".repeat(32),
        |all| all.get_ref().nodes.first().map_or_else(|| "0".repeat(32), |node| node.hash.clone()),
    );
    say(format!("{all:?}"));
    say(format!("{:?}", nodes.get_node(GetNodeRequest { hash }).await));
    say(format!(
        "{:?}",
        nodes.delete_nodes(DeleteNodesRequest { hashes: vec![REJECTED.len().to_string()] }).await
    ));
    say(format!("{:?}", grpc.platforms.clone().list_platforms(ListPlatformsRequest::default()).await));
    say(format!("{:?}", grpc.system.clone().get_system_info(GetSystemInfoRequest {}).await));
    let mut logs = grpc.logs.clone();
    let list = ListRequestLogsRequest { page_size: 1000, ..Default::default() };
    say(format!("{:?}", logs.list_request_logs(list).await));
    say(format!("{:?}", logs.get_request_log(GetRequestLogRequest { id: "none".into() }).await));
    let start = Some(Start::Since(SystemTime::UNIX_EPOCH.into()));
    let stream = StreamRequestLogsRequest { filter: None::<RequestLogFilter>, start, follow: false };
    match logs.stream_request_logs(stream).await {
        Ok(stream) => {
            let mut stream = stream.into_inner();
            while let Ok(Some(batch)) = stream.message().await {
                say(format!("{batch:?}"));
            }
        }
        Err(status) => say(format!("{status:?}")),
    }
}

/// Every table but the one column that must hold passwords.
async fn dump(database: &Database) -> String {
    let rows = "select coalesce(string_agg(row::text, ' '), '') from (
        select to_jsonb(request_logs) as row from request_logs
        union all select to_jsonb(platforms) from platforms
        union all select to_jsonb(nodes) - 'uri' from nodes) everything";
    database.client().await.query_one(rows, &[]).await.unwrap().get(0)
}

async fn no_secret_comes_out(format: &str) {
    let (collector, authority) = (Collector::start().await, Authority::new());
    let (database, origin) = (Database::new().await, Origin::ok().await);
    let (nodes, _kept, _refusing) = nodes(&authority).await;
    let mut wire = Wire::new(&database).await;
    let (of_settings, later) = nodes.split_at(4);
    let uris: Vec<String> = of_settings.iter().map(|(uri, tag)| format!("{uri}#{tag}")).collect();
    let resin = Resin::start_bare(&[
        ("RESIN_DATABASE_URL", &wire.url),
        ("RESIN_PROXY_TOKEN", PROXY_TOKEN),
        ("RESIN_ADMIN_TOKEN", ADMIN_TOKEN),
        ("RESIN_NODES", &uris.join(" ")),
        ("RESIN_CA_FILE", authority.file()),
        ("RESIN_LOG", "trace"),
        ("RESIN_LOG_FORMAT", format),
        ("RESIN_DEFAULT_PLATFORM_MAX_RETRIES", "16"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.endpoint()),
        ("OTEL_EXPORTER_OTLP_HEADERS", &format!("authorization=Bearer%20{OTLP_TOKEN}")),
        ("OTEL_BSP_SCHEDULE_DELAY", "50"),
    ])
    .await;
    let mut out = Texts::new();
    let grpc = resin.grpc();
    let mut asked = requests(&resin, &origin, &mut out).await;
    let specs = later.iter().map(|(uri, tag)| spec(uri, tag)).collect();
    out.push(("UpsertNodes", format!("{:?}", grpc.upsert_nodes(specs).await.unwrap())));
    asked += requests(&resin, &origin, &mut out).await;

    // Some that are never read as HTTP have no record, so this waits for most of them.
    let records = resin.records_until(asked * 3 / 4).await;
    out.push(("records", format!("{records:?}")));
    for caller in [&grpc, &Grpc::new(resin.control, WRONG_ADMIN), &Grpc::new(resin.control, "")] {
        calls(caller, &mut out).await;
    }
    wire.cut().await;
    calls(&grpc, &mut out).await;
    wire.restore().await;
    for path in ["/livez", "/readyz", "/metrics", "/nothing"] {
        out.push(("the ops port", resin.ops_get(path).await.1));
    }
    out.push(("the database", dump(&database).await));
    resin.process.signal(rustix::process::Signal::TERM);
    let ended = resin.ended().await;
    assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
    let spans = collector.spans_so_far();
    assert!(spans.len() > asked, "{} spans", spans.len());
    assert!(ended.stderr.contains("TRACE"), "the log is not at its most talkative");
    out.push(("spans", format!("{spans:?}")));
    out.push(("standard error", ended.stderr));
    out.push(("standard output", ended.stdout.join("\n")));
    assert_hidden(&out, &ALL);
}

#[tokio::test]
async fn no_secret_comes_out_anywhere() {
    no_secret_comes_out("human").await;
}

#[tokio::test]
async fn no_secret_comes_out_anywhere_where_logs_are_for_machines() {
    no_secret_comes_out("json").await;
}

#[tokio::test]
async fn a_secret_in_a_wrong_setting_is_not_repeated() {
    let database = |url: &str| ("RESIN_DATABASE_URL", url.replace("PW", REJECTED));
    let mut wrong = vec![
        database("postgres://tom:PW@h:port/d"),
        database("postgres://tom:PW@h:1/d?PW=1"),
        database("postgres://tom:x?PW@h:1/d"),
        database("postgres://tom:x/PW@h:1/d?a=b"),
        database("postgres://tom:PW@h:1/d?sslmode=PW"),
        database("host=h user=tom password='PW"),
        database("host=h user=tom password=x PW"),
        database("host=h user=tom password=x PW=y"),
        database("host=h user=tom passwort=PW"),
        database("PW"),
        ("RESIN_PROXY_TOKEN", format!("{REJECTED}\u{1}")),
        ("RESIN_ADMIN_TOKEN", format!("{REJECTED}\n{REJECTED}")),
    ];
    wrong.extend(rejected().into_iter().filter(|uri| !uri.contains(' ')).map(|uri| ("RESIN_NODES", uri)));
    // The library takes more than one would think; what it takes is no wrong setting.
    let taken = |url: &str| url.parse::<tokio_postgres::Config>().is_ok();
    wrong.retain(|(name, value)| *name != "RESIN_DATABASE_URL" || !taken(value));
    assert!(wrong.iter().filter(|(name, _)| *name == "RESIN_DATABASE_URL").count() >= 6, "{wrong:?}");
    let mut out = Texts::new();
    for (name, value) in &wrong {
        let flag = name.trim_start_matches("RESIN_").to_ascii_lowercase().replace('_', "-");
        let others: Vec<_> = DEFAULTS.into_iter().filter(|(known, _)| known != name).collect();
        let nowhere = [("RESIN_DATABASE_URL", "postgres://resin@127.0.0.1:1/resin")];
        let of_environment = [&nowhere[..], &others, &[(name, value.as_str())]].concat();
        let of_flags = [&nowhere[..], &others].concat();
        for process in [
            Process::spawn(&["serve"], &of_environment),
            Process::spawn(&["serve", &format!("--{flag}"), value], &of_flags),
        ] {
            let ended = process.ended().await;
            assert_eq!(ended.status.code(), Some(2), "{name}={value}: {ended:?}");
            assert!(ended.stderr.contains(name), "{name}={value}: {ended:?}");
            out.push(("a mistake in the settings", ended.stderr));
        }
    }
    assert_hidden(&out, &[REJECTED]);
}

#[test]
fn no_public_type_shows_a_secret() {
    let node = format!("https://tom:{}@10.0.0.1:8080?sni=node.test#tag", encoded(NODE_PASSWORD));
    let settings = [
        ("RESIN_PROXY_TOKEN", PROXY_TOKEN.to_owned()),
        ("RESIN_ADMIN_TOKEN", ADMIN_TOKEN.to_owned()),
        ("RESIN_DATABASE_URL", format!("postgres://tom:{PASSWORD}@h:5432/d")),
        ("RESIN_NODES", node.clone()),
        ("HOME", "/nowhere".to_owned()),
    ];
    let lookup =
        |name: &str| settings.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone());
    let ambient = Ambient { root: false, cores: 1, current_dir: "/".into() };
    let config = Config::parse(lookup, &ambient).unwrap();
    let parsed: NodeUri = node.parse().unwrap();
    // (What carries a node's URI over gRPC, `NodeSpec`, has no `Debug` at all.)
    let change = NodeChange::of_settings(std::slice::from_ref(&parsed));
    let mut out = vec![
        ("settings", format!("{config:?} {config:#?} {:?}", config.effective())),
        ("a node's URI", format!("{parsed:?} {parsed:#?} {}", parsed.config.uri())),
        ("a secret", format!("{:?}", Secret::new(NODE_PASSWORD))),
        ("a change of nodes", format!("{change:?} {change:#?}")),
    ];
    for uri in rejected() {
        let error = uri.parse::<NodeUri>().unwrap_err();
        out.push(("what is wrong with a node's URI", format!("{error} {error:?}")));
    }
    assert_hidden(&out, &ALL);
}

#[test]
fn a_secret_is_found_in_every_form() {
    use support::secrets::Forms;
    let secret = "pass/of \"one~?";
    let forms = Forms::of(secret);
    for text in [
        format!("x{secret}y"),
        format!("{:?}", secret),
        encoded(secret),
        basic("tom", secret),
        basic("tommy", secret),
        basic("to", &format!("{secret} and more")),
        serde_json::json!({ "a": secret }).to_string(),
        format!("{:?}", secret.as_bytes()),
    ] {
        assert!(forms.find(&text).is_some(), "{text}");
    }
    assert!(forms.find("pass/of one, cGFzcw==, and nothing else").is_none());
}
