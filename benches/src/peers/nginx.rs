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

pub async fn start(world: &World) -> Outcome<Peer> {
    let version = version(PROGRAM, "-v")?;
    let ways = [Way::ReverseDirect];
    let origin = world.origin();
    let folder = world.folder().join("nginx");
    fs::create_dir_all(&folder)?;
    let at = folder.display();
    let mut text = format!(
        "worker_processes 2;\nerror_log stderr;\npid {at}/pid;\nevents {{ worker_connections 4096; }}\nhttp {{\n  \
         access_log off;\n  keepalive_requests 1000000000;\n  client_body_buffer_size 64k;\n  client_max_body_size 0;\n"
    );
    for place in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"] {
        writeln!(text, "  {place}_temp_path {at}/{place};")?;
    }
    writeln!(
        text,
        "  upstream origin {{ server {origin}; keepalive 1024; keepalive_requests 1000000000; }}\n  proxy_http_version \
         1.1;\n  proxy_set_header Connection \"\";"
    )?;
    let mut routes = Vec::new();
    for (way, port) in ways.into_iter().zip(free_ports(ways.len())?) {
        writeln!(text, "  server {{ listen {port}; location / {{ proxy_pass http://origin; }} }}")?;
        let route =
            Route { proxy: port, prefix: String::new(), host: origin.to_string(), fields: String::new() };
        routes.push((way, route));
    }
    text.push_str("}\n");
    let file = folder.join("nginx.conf");
    fs::write(&file, text)?;
    let mut command = Command::new(PROGRAM);
    command.arg("-c").arg(&file).args(["-g", "daemon off;"]).stdout(Stdio::null());
    let mut process = Process::spawn(&mut command, &folder.join("log"))?;
    process.listens(routes[0].1.proxy).await?;
    Ok(Peer { version, process, routes })
}
