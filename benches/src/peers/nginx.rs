//! nginx as a reverse proxy: two workers, upstream connections kept.

use std::{
    fmt::Write as _,
    fs,
    process::{Command, Stdio},
};

use super::{
    Peer, Route, Way, World,
    process::{Process, free_ports, version},
};
use crate::Outcome;

const PROGRAM: &str = "nginx";
const WAYS: [Way; 2] = [Way::ReverseDirect, Way::Http2];

pub async fn start(world: &World) -> Outcome<Peer> {
    let version = version(PROGRAM, "-v")?;
    let folder = world.folder("nginx-")?;
    let (origin, at) = (world.origin(), folder.display());
    let mut text = format!(
        "worker_processes 2;\nerror_log stderr;\npid {at}/pid;\nevents {{ worker_connections 4096; }}\nhttp {{\n  \
         access_log off;\n  keepalive_requests 1000000000;\n  client_max_body_size 0;\n"
    );
    for place in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"] {
        writeln!(text, "  {place}_temp_path {at}/{place};")?;
    }
    writeln!(
        text,
        "  upstream origin {{ server {origin}; keepalive 1024; keepalive_requests 1000000000; }}\n  \
         proxy_http_version 1.1;\n  proxy_set_header Connection \"\";"
    )?;
    let mut routes = Vec::new();
    for (way, port) in WAYS.into_iter().zip(free_ports(WAYS.len())?) {
        let protocol = if way == Way::Http2 { " http2" } else { "" };
        writeln!(text, "  server {{ listen {port}{protocol}; location / {{ proxy_pass http://origin; }} }}")?;
        routes.push((way, Route::reverse(port, origin)));
    }
    text.push_str("}\n");
    let file = folder.join("nginx.conf");
    fs::write(&file, text)?;
    let mut command = Command::new(PROGRAM);
    command.arg("-c").arg(&file).args(["-g", "daemon off;"]).stdout(Stdio::null());
    let mut process = Process::spawn(&mut command, &folder.join("log"))?;
    let ready_in = process.listens(routes[0].1.proxy).await?;
    Ok(Peer { version, process, ready_in, routes, control: None })
}
