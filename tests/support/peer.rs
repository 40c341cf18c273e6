//! Other people's programs that listen: found, started on a port that is free, and ended with the test.

use std::{
    env,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::PathBuf,
    process::Stdio,
    time::Duration,
};

use tokio::{
    net::TcpStream,
    process::{Child, Command},
};

use super::resin::soon;

/// A program that listens. It ends with this value.
pub struct Peer {
    pub address: SocketAddr,
    _child: Child,
}

/// Where a program is, if it is on the machine.
pub fn find(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let more = ["/usr/sbin", "/usr/local/sbin", "/usr/local/bin"].map(PathBuf::from);
    env::split_paths(&path).chain(more).map(|place| place.join(name)).find(|file| file.is_file())
}

impl Peer {
    /// `command` makes one that listens on this port. These programs cannot choose a free one by themselves.
    pub async fn start(name: &str, command: impl Fn(u16) -> Command) -> Self {
        for _ in 0..10 {
            let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
            let mut command = command(free.port());
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
            let mut child = command.spawn().unwrap();
            let listens = async {
                while TcpStream::connect(free).await.is_err() {
                    if child.try_wait().unwrap().is_some() {
                        return false;
                    }
                    tokio::time::sleep(Duration::from_millis(10)).await; // it gives no other sign
                }
                true
            };
            if soon(name, listens).await {
                return Self { address: free, _child: child };
            }
        }
        panic!("{name} did not start on any of ten ports");
    }
}
