//! resin as users run it: records into PostgreSQL, metrics that are scraped, one trace of a hundred exported, and
//! platforms that retry.

use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tonic::transport::Endpoint;

use super::{
    Peer, Route, WAYS, Way, World,
    process::{Process, version},
};
use crate::{Outcome, proto};

/// Between two scrapes of the metrics.
const SCRAPE: Duration = Duration::from_secs(1);
const MAX_RETRIES: i32 = 2;

pub async fn start(world: &World, program: &Path) -> Outcome<Peer> {
    let version = version(&program.to_string_lossy(), "--version")?;
    let database = world.postgres.database()?;
    let mut command = command(world, program, &database);
    let log = world.folder().join(format!("resin-{}.log", fastrand::u32(..)));
    let mut process = Process::spawn(command.stdout(Stdio::piped()), &log)?;
    let ports = ready(&mut process)?;
    let origin = world.origin();
    let nodes = [(format!("http://{origin}"), "node"), ("direct://".to_owned(), "direct")];
    let platforms = [("Node", "^node$", MAX_RETRIES), ("Direct", "^direct$", MAX_RETRIES)];
    set_up(ports.control, &nodes, &platforms).await?;
    tokio::spawn(scrape(ports.ops));
    let routes = WAYS.into_iter().map(|way| (way, route(way, ports.data, origin))).collect();
    Ok(Peer { version, process, routes })
}

/// With its settings, and nothing of the environment that could change them.
fn command(world: &World, program: &Path, database: &str) -> Command {
    let mut command = Command::new(program);
    for name in ["RESIN_DATA_LISTEN", "RESIN_CONTROL_LISTEN", "RESIN_OPS_LISTEN"] {
        command.env(name, "127.0.0.1:0");
    }
    command
        .arg("serve")
        .env("RESIN_DATABASE_URL", database)
        .env("RESIN_DATA_THREADS", "2")
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", &world.spans)
        .env("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
        .env("OTEL_TRACES_SAMPLER_ARG", "0.01");
    command
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

async fn set_up(
    control: SocketAddr,
    nodes: &[(String, &str)],
    platforms: &[(&str, &str, i32)],
) -> Outcome<()> {
    let channel = Endpoint::from_shared(format!("http://{control}"))?.connect().await?;
    let nodes = nodes.iter().map(|(uri, tag)| proto::NodeSpec {
        uri: uri.clone(),
        tag: (*tag).to_owned(),
        ..Default::default()
    });
    let request = proto::UpsertNodesRequest { nodes: nodes.collect(), validate_only: false };
    proto::node_service_client::NodeServiceClient::new(channel.clone()).upsert_nodes(request).await?;
    let mut client = proto::platform_service_client::PlatformServiceClient::new(channel);
    for (name, filter, max_retries) in platforms {
        let platform = proto::Platform {
            name: (*name).to_owned(),
            regex_filters: vec![(*filter).to_owned()],
            max_retries: Some(*max_retries),
            ..Default::default()
        };
        let request = proto::UpsertPlatformRequest { platform: Some(platform), ..Default::default() };
        client.upsert_platform(request).await?;
    }
    Ok(())
}

fn route(way: Way, proxy: SocketAddr, origin: SocketAddr) -> Route {
    let platform = match way {
        Way::ForwardNode | Way::ReverseNode => "Node",
        Way::ForwardDirect | Way::ReverseDirect => "Direct",
    };
    let credentials = BASE64_STANDARD.encode(format!("{platform}.bench:any"));
    let (prefix, fields) = match way {
        Way::ForwardNode | Way::ForwardDirect => {
            (format!("http://{origin}"), format!("Proxy-Authorization: Basic {credentials}\r\n"))
        }
        Way::ReverseDirect | Way::ReverseNode => {
            (format!("/any/{platform}.bench/http/{origin}"), String::new())
        }
    };
    Route { proxy, prefix, host: origin.to_string(), fields }
}

/// As a Prometheus does, until resin is gone.
async fn scrape(ops: SocketAddr) {
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {ops}\r\nConnection: close\r\n\r\n");
    loop {
        let Ok(mut stream) = tokio::net::TcpStream::connect(ops).await else { return };
        let mut text = Vec::new();
        let sent = stream.write_all(request.as_bytes()).await;
        if sent.is_err() || stream.read_to_end(&mut text).await.is_err() {
            return;
        }
        tokio::time::sleep(SCRAPE).await;
    }
}
