//! Squid as a forward proxy, its cache and its logs off; one process, as it is by default.

use std::{
    fs,
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
    let folder = world.folder("squid-")?;
    let origin = world.origin();
    let ports = free_ports(2)?;
    let [direct, node] = ports[..] else { return Err("no two free ports".into()) };
    let (at, parent) = (folder.display(), origin.port());
    let text = format!(
        "http_port {direct}\nhttp_port {node}\nacl through_node localport {}\ncache_peer 127.0.0.1 parent {parent} 0 \
         no-query default no-digest name=node\ncache_peer_access node allow through_node\nnever_direct allow \
         through_node\nalways_direct allow !through_node\nhttp_access allow all\ncache deny all\ncache_mem 0\n\
         access_log none\ncache_log /dev/stderr\ncache_store_log none\npid_filename {at}/pid\ncoredump_dir {at}\n\
         pinger_enable off\nforwarded_for transparent\nvia off\nnetdb_filename none\nmax_filedescriptors 8192\n\
         shutdown_lifetime 0 seconds\n",
        node.port()
    );
    let file = folder.join("squid.conf");
    fs::write(&file, text)?;
    let mut command = Command::new(PROGRAM);
    command.arg("-N").arg("-f").arg(&file).stdout(Stdio::null());
    let mut process = Process::spawn(&mut command, &folder.join("log"))?;
    let ready_in = process.listens(direct).await?;
    let routes = vec![
        (Way::ForwardDirect, Route::forward(direct, origin)),
        (Way::ConnectDirect, Route::forward(direct, origin)),
        (Way::ForwardNode, Route::forward(node, origin)),
        (Way::ConnectNode, Route::forward(node, origin)),
    ];
    Ok(Peer { version, process, ready_in, routes, control: None })
}
