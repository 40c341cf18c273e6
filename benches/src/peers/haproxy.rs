//! HAProxy, the measure: two threads, upstream connections kept, with or without its own log.
//!
//! Through a node it passes the absolute form, or the CONNECT, on with the node as its server: the cheapest there is.
//! It has no forward mode of its own, so "direct" has the origin as its server; a CONNECT "direct" is relayed as bytes,
//! and the origin answers it. It cannot reach a TLS origin through an http node: there it goes straight.

use std::{
    fmt::Write as _,
    fs,
    net::UdpSocket,
    process::{Command, Stdio},
};

use super::{
    Peer, Route, Way, World,
    process::{Process, free_ports, version},
};
use crate::Outcome;

const PROGRAM: &str = "haproxy";
const WAYS: [Way; 9] = [
    Way::ForwardNode,
    Way::ForwardDirect,
    Way::ReverseDirect,
    Way::ReverseNode,
    Way::HttpsNode,
    Way::Http2,
    Way::ConnectNode,
    Way::ConnectDirect,
    Way::Retry,
];
const DEFAULTS: &str = "\
global
  nbthread 2
  maxconn 4096
  no numa-cpu-mapping
  tune.pool-low-fd-ratio 90
  tune.pool-high-fd-ratio 95
defaults
  mode http
  timeout connect 5s
  timeout client 300s
  timeout server 300s
  http-reuse always
  retries 2
  option redispatch 1
  default-server pool-purge-delay 600s
";

pub async fn start(world: &World, log: bool) -> Outcome<Peer> {
    let version = version(PROGRAM, "-v")?;
    let folder = world.folder("haproxy-")?;
    let origin = world.origin();
    let mut text = DEFAULTS.to_owned();
    if log {
        writeln!(text, "  log {} local0\n  option httplog", sink()?)?;
    }
    let ca = folder.join("ca.pem");
    fs::write(&ca, &world.site.certificate.pem)?;
    let mut routes = Vec::new();
    for (way, port) in WAYS.into_iter().zip(free_ports(WAYS.len())?) {
        let protocol = if way == Way::Http2 { " proto h2" } else { "" };
        writeln!(text, "listen {way:?}\n  bind {port}{protocol}")?;
        match way {
            Way::HttpsNode => {
                let (port, ca) = (world.site.tls_port, ca.display());
                writeln!(text, "  server s 127.0.0.1:{port} ssl verify required ca-file {ca}")?;
            }
            Way::Retry => {
                let refusing = world.site.refusing_port;
                writeln!(text, "  balance roundrobin\n  server s {origin}\n  server r 127.0.0.1:{refusing}")?;
            }
            Way::ConnectDirect if log => writeln!(text, "  mode tcp\n  option tcplog\n  server s {origin}")?,
            Way::ConnectDirect => writeln!(text, "  mode tcp\n  server s {origin}")?,
            _ => writeln!(text, "  server s {origin}")?,
        }
        let route = match way {
            Way::ReverseDirect | Way::ReverseNode | Way::Http2 => Route::reverse(port, origin),
            _ => Route::forward(port, origin),
        };
        routes.push((way, route));
    }
    let file = folder.join("haproxy.cfg");
    fs::write(&file, text)?;
    let mut command = Command::new(PROGRAM);
    command.arg("-db").arg("-f").arg(&file).stdout(Stdio::null());
    let mut process = Process::spawn(&mut command, &folder.join("log"))?;
    let ready_in = process.listens(routes[0].1.proxy).await?;
    Ok(Peer { version, process, ready_in, routes, control: None })
}

/// Takes its log and keeps none of it.
fn sink() -> Outcome<std::net::SocketAddr> {
    let sink = UdpSocket::bind("127.0.0.1:0")?;
    let address = sink.local_addr()?;
    sink.set_nonblocking(true)?;
    let sink = tokio::net::UdpSocket::from_std(sink)?;
    tokio::spawn(async move {
        let mut buffer = vec![0; 64 * 1024];
        while sink.recv(&mut buffer).await.is_ok() {}
    });
    Ok(address)
}
