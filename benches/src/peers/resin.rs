//! resin as users run it: records into PostgreSQL, metrics that are scraped, one trace of a hundred exported, and
//! platforms that retry.

use std::{
    io::{BufRead, BufReader},
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tonic::transport::{Channel, Endpoint};

use super::{
    Peer, Route, Way, World,
    process::{Process, version},
};
use crate::{
    Outcome,
    proto::{self, node_service_client::NodeServiceClient, platform_service_client::PlatformServiceClient},
};

/// Between two scrapes of the metrics.
const SCRAPE: Duration = Duration::from_secs(1);
const TELL_AS_JSON: &str = "stats_print:true,stats_print_opts:Ja";
/// Nodes in one call.
const BATCH: usize = 1_000;
/// The pools that grow.
pub const POOLS: [usize; 3] = [1, 1_000, 100_000];

/// What a resin is started for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Life {
    /// As users run it.
    Measured,
    /// Nothing is left to chance or to the clock: no trace is sampled, nobody scrapes. At its end the allocator tells
    /// what it has done, where it was built for that.
    Counted,
}

pub async fn start(world: &World, program: &Path, life: Life) -> Outcome<Peer> {
    let version = version(&program.to_string_lossy(), "--version")?;
    let database = world.postgres.database()?;
    let migrated = Command::new(program).arg("migrate").env("RESIN_DATABASE_URL", &database).output()?;
    if !migrated.status.success() {
        return Err(format!("resin migrate: {}", String::from_utf8_lossy(&migrated.stderr)).into());
    }
    let mut command = command(world, program, &database)?;
    if life == Life::Counted {
        command.env("OTEL_TRACES_SAMPLER_ARG", "0").env("_RJEM_MALLOC_CONF", TELL_AS_JSON);
    }
    let folder = world.folder("resin-")?;
    let mut process = Process::spawn(command.stdout(Stdio::piped()), &folder.join("log"))?;
    let ports = ready(&mut process)?;
    let ready_in = process.age();
    set_up(world, ports.control).await?;
    if life == Life::Measured {
        tokio::spawn(scrape(ports.ops));
    }
    let mut ways = vec![
        Way::ForwardNode,
        Way::ForwardDirect,
        Way::ReverseDirect,
        Way::ReverseNode,
        Way::HttpsNode,
        Way::Http2,
        Way::ConnectNode,
        Way::ConnectDirect,
        Way::Retry,
        Way::NoRetry,
    ];
    ways.extend(POOLS.map(Way::Nodes));
    let routes = ways.into_iter().map(|way| (way, route(way, ports.data, world))).collect();
    Ok(Peer { version, process, ready_in, routes, control: Some(ports.control) })
}

fn command(world: &World, program: &Path, database: &str) -> Outcome<Command> {
    let mut command = Command::new(program);
    // The settings of whoever measures are not those of what is measured.
    let theirs = std::env::vars_os().map(|(name, _)| name.to_string_lossy().into_owned());
    for name in theirs.filter(|name| name.starts_with("RESIN_") || name.starts_with("OTEL_")) {
        command.env_remove(name);
    }
    for name in ["RESIN_DATA_LISTEN", "RESIN_CONTROL_LISTEN", "RESIN_OPS_LISTEN"] {
        command.env(name, "127.0.0.1:0");
    }
    let ca = world.dir.path().join("ca.pem");
    std::fs::write(&ca, &world.site.certificate.pem)?;
    command
        .arg("serve")
        .env("RESIN_DATABASE_URL", database)
        .env("RESIN_DATA_THREADS", "2")
        .env("RESIN_CA_FILE", ca)
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", &world.spans)
        .env("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
        .env("OTEL_TRACES_SAMPLER_ARG", "0.01");
    Ok(command)
}

struct Ports {
    data: SocketAddr,
    control: SocketAddr,
    ops: SocketAddr,
}

/// Reads where it listens, until it says that it is ready.
fn ready(process: &mut Process) -> Outcome<Ports> {
    let out = process.child().stdout.take().ok_or("no standard output")?;
    let mut found = Vec::new();
    for line in BufReader::new(out).lines() {
        let line = line?;
        if line == "resin ready" {
            let [data, control, ops] = found[..] else { return Err("resin did not name three ports".into()) };
            return Ok(Ports { data, control, ops });
        }
        found.extend(line.rsplit(' ').next().and_then(|address| address.parse::<SocketAddr>().ok()));
    }
    Err(format!("it did not become ready: {}", process.last_words()).into())
}

async fn set_up(world: &World, control: SocketAddr) -> Outcome<()> {
    let (origin, refusing) = (world.origin(), world.site.refusing_port);
    let nodes = [
        node(format!("http://{origin}"), "node"),
        node(format!("http://{origin}"), "retry"),
        node(format!("http://127.0.0.1:{refusing}"), "retry"),
        node("direct://".to_owned(), "direct"),
    ];
    upsert_nodes(control, nodes.to_vec()).await?;
    for (name, tag, max_retries) in
        [("Node", "node", 2), ("Direct", "direct", 2), ("Retry", "retry", 2), ("NoRetry", "node", 0)]
    {
        upsert_platform(control, name, tag, max_retries).await?;
    }
    Ok(())
}

/// A platform with so many nodes of its own, all of which are the site.
pub async fn add_pool(peer: &Peer, world: &World, size: usize) -> Outcome<()> {
    let Some(control) = peer.control else { return Ok(()) };
    let port = world.origin().port();
    let tag = format!("pool-{size}");
    // Each size has addresses of its own: one node with two tags would be in both pools.
    let first = u32::from(Ipv4Addr::new(127, 1, 0, 0)) + u32::try_from(size)?;
    let nodes = (0..u32::try_from(size)?)
        .map(|number| node(format!("http://{}:{port}", Ipv4Addr::from(first + number)), &tag));
    let nodes: Vec<_> = nodes.collect();
    for batch in nodes.chunks(BATCH) {
        upsert_nodes(control, batch.to_vec()).await?;
    }
    upsert_platform(control, &format!("Pool{size}"), &tag, 2).await
}

fn node(uri: String, tag: &str) -> proto::NodeSpec {
    proto::NodeSpec { uri, tag: tag.to_owned(), ..Default::default() }
}

async fn channel(control: SocketAddr) -> Outcome<Channel> {
    Ok(Endpoint::from_shared(format!("http://{control}"))?.connect().await?)
}

async fn upsert_nodes(control: SocketAddr, nodes: Vec<proto::NodeSpec>) -> Outcome<()> {
    let request = proto::UpsertNodesRequest { nodes, validate_only: false };
    NodeServiceClient::new(channel(control).await?).upsert_nodes(request).await?;
    Ok(())
}

async fn upsert_platform(control: SocketAddr, name: &str, tag: &str, max_retries: i32) -> Outcome<()> {
    let platform = proto::Platform {
        name: name.to_owned(),
        regex_filters: vec![format!("^{tag}$")],
        max_retries: Some(max_retries),
        ..Default::default()
    };
    let request = proto::UpsertPlatformRequest { platform: Some(platform), ..Default::default() };
    PlatformServiceClient::new(channel(control).await?).upsert_platform(request).await?;
    Ok(())
}

fn route(way: Way, proxy: SocketAddr, world: &World) -> Route {
    let platform = match way {
        Way::ForwardNode | Way::ReverseNode | Way::HttpsNode | Way::ConnectNode => "Node".to_owned(),
        Way::ForwardDirect | Way::ReverseDirect | Way::Http2 | Way::ConnectDirect => "Direct".to_owned(),
        Way::Retry => "Retry".to_owned(),
        Way::NoRetry => "NoRetry".to_owned(),
        Way::Nodes(size) => format!("Pool{size}"),
    };
    let origin = world.origin();
    let reverse = Route::reverse(proxy, origin);
    if matches!(way, Way::ReverseDirect | Way::ReverseNode | Way::Http2) {
        return Route { prefix: format!("/any/{platform}.bench/http/{origin}"), ..reverse };
    }
    let credentials = BASE64_STANDARD.encode(format!("{platform}.bench:any"));
    let fields = format!("Proxy-Authorization: Basic {credentials}\r\n");
    if way == Way::HttpsNode {
        let host = format!("127.0.0.1:{}", world.site.tls_port);
        return Route { proxy, prefix: format!("https://{host}"), host, fields };
    }
    Route { fields, ..Route::forward(proxy, origin) }
}

/// As a Prometheus does, until resin is gone.
async fn scrape(ops: SocketAddr) {
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {ops}\r\nConnection: close\r\n\r\n");
    loop {
        let Ok(mut stream) = TcpStream::connect(ops).await else { return };
        let mut text = Vec::new();
        let sent = stream.write_all(request.as_bytes()).await;
        if sent.is_err() || stream.read_to_end(&mut text).await.is_err() {
            return;
        }
        tokio::time::sleep(SCRAPE).await;
    }
}
