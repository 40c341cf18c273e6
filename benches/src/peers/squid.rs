//! Squid as a forward proxy, its cache and its logs off.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    process::{Command, Stdio},
};

use super::{
    Peer, Route, Way, World,
    process::{Process, free_ports, version},
};
use crate::Outcome;

const PROGRAM: &str = "squid";

pub async fn start(world: &World) -> Outcome<Peer> {
    let version = version(PROGRAM, "-v")?;
    let origin = world.origin();
    let folder = world.folder().join("squid");
    fs::create_dir_all(&folder)?;
    // It gives its rights away, and writes afterwards.
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o777))?;
    let ports = free_ports(2)?;
    let [direct, node] = ports[..] else { return Err("no two free ports".into()) };
    let (at, parent) = (folder.display(), origin.port());
    let text = format!(
        "http_port {direct}\nhttp_port {node}\nacl through_node localport {}\ncache_peer 127.0.0.1 parent {parent} 0 \
         no-query default no-digest name=node\ncache_peer_access node allow through_node\nnever_direct allow \
         through_node\nalways_direct allow !through_node\nhttp_access allow all\ncache deny all\ncache_mem 0\naccess_log \
         none\ncache_log /dev/stderr\ncache_store_log none\npid_filename {at}/pid\ncoredump_dir {at}\npinger_enable \
         off\nforwarded_for transparent\nvia off\nnetdb_filename none\nmax_filedescriptors 8192\nworkers 1\n\
         shutdown_lifetime 0 seconds\n",
        node.port()
    );
    let file = folder.join("squid.conf");
    fs::write(&file, text)?;
    let mut command = Command::new(PROGRAM);
    command.arg("-N").arg("-f").arg(&file).stdout(Stdio::null());
    let mut process = Process::spawn(&mut command, &folder.join("log"))?;
    process.listens(direct).await?;
    let route = |proxy| Route {
        proxy,
        prefix: format!("http://{origin}"),
        host: origin.to_string(),
        fields: String::new(),
    };
    let routes = vec![(Way::ForwardDirect, route(direct)), (Way::ForwardNode, route(node))];
    Ok(Peer { version, process, routes })
}
