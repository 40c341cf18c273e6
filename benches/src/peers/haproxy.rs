//! HAProxy, the measure: two threads, upstream connections kept, with or without its own log.
//!
//! Through a node it passes the absolute form on, with the node as its server: the cheapest there is. It has no
//! forward mode of its own, so "direct" has the origin as its server.

use std::{fmt::Write as _, fs, process::Command, process::Stdio};

use super::{
    Peer, Route, WAYS, Way, World,
    process::{Process, free_ports, version},
};
use crate::Outcome;

const PROGRAM: &str = "haproxy";

pub async fn start(world: &World, log: bool) -> Outcome<Peer> {
    let version = version(PROGRAM, "-v")?;
    let ports = free_ports(WAYS.len())?;
    let origin = world.origin();
    let mut text = String::from("global\n  nbthread 2\n  maxconn 4096\n  no numa-cpu-mapping\n");
    if log {
        let sink = std::net::UdpSocket::bind("127.0.0.1:0")?;
        writeln!(text, "  log {} local0", sink.local_addr()?)?;
        tokio::spawn(swallow(sink));
    }
    text.push_str(
        "defaults\n  mode http\n  timeout connect 5s\n  timeout client 300s\n  timeout server 300s\n  http-reuse always\n  \
         retries 2\n  option redispatch 1\n",
    );
    if log {
        text.push_str("  log global\n  option httplog\n");
    }
    let mut routes = Vec::new();
    for (way, port) in WAYS.into_iter().zip(ports) {
        writeln!(text, "listen {way:?}\n  bind {port}\n  server s {origin}")?;
        let prefix = match way {
            Way::ForwardNode | Way::ForwardDirect => format!("http://{origin}"),
            Way::ReverseDirect | Way::ReverseNode => String::new(),
        };
        routes.push((way, Route { proxy: port, prefix, host: origin.to_string(), fields: String::new() }));
    }
    let name = if log { "haproxy-log" } else { "haproxy" };
    let file = world.folder().join(format!("{name}.cfg"));
    fs::write(&file, text)?;
    let mut command = Command::new(PROGRAM);
    command.arg("-db").arg("-f").arg(&file).stdout(Stdio::null());
    let mut process = Process::spawn(&mut command, &world.folder().join(format!("{name}.log")))?;
    process.listens(routes[0].1.proxy).await?;
    Ok(Peer { version, process, routes })
}

/// Takes HAProxy's log and keeps none of it.
async fn swallow(sink: std::net::UdpSocket) {
    let ready = sink.set_nonblocking(true).and_then(|()| tokio::net::UdpSocket::from_std(sink));
    let Ok(sink) = ready else { return };
    let mut buffer = vec![0; 64 * 1024];
    while sink.recv(&mut buffer).await.is_ok() {}
}
