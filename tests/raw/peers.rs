//! nginx and HAProxy in front of a strict reader: what they took for requests is what arrives there.

use std::{
    env, fs,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use tokio::{
    net::TcpStream,
    process::{Child, Command},
};

use crate::support::resin::soon;

/// A program that listens. It ends with this value.
pub struct Peer {
    pub address: SocketAddr,
    _child: Child,
}

/// Where a program is, if it is on the machine.
pub fn program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let more = ["/usr/sbin", "/usr/local/sbin", "/usr/local/bin"].map(PathBuf::from);
    env::split_paths(&path).chain(more).map(|place| place.join(name)).find(|file| file.is_file())
}

impl Peer {
    /// nginx, passing everything on to `origin`.
    pub async fn nginx(dir: &Path, origin: SocketAddr) -> Option<Self> {
        let program = program("nginx")?;
        let user = if rustix::process::geteuid().is_root() { "user root;" } else { "" };
        let (dir, file) = (dir.to_owned(), dir.join("nginx.conf"));
        Self::start("nginx", move |port| {
            let text = format!(
                "{user} daemon off; master_process off; error_log stderr; pid {0}/nginx.pid; events {{}}
                http {{
                    access_log off; client_body_temp_path {0}/body; proxy_temp_path {0}/proxy;
                    fastcgi_temp_path {0}/fastcgi; uwsgi_temp_path {0}/uwsgi; scgi_temp_path {0}/scgi;
                    large_client_header_buffers 8 64k; client_max_body_size 0;
                    server {{
                        listen 127.0.0.1:{port};
                        location / {{
                            proxy_pass http://{origin}; proxy_http_version 1.1;
                            proxy_set_header Host $http_host; proxy_set_header Connection \"\";
                        }}
                    }}
                }}",
                dir.display()
            );
            fs::write(&file, text).unwrap();
            let mut command = Command::new(&program);
            command.arg("-e").arg("stderr").arg("-p").arg(&dir).arg("-c").arg(&file);
            command
        })
        .await
    }

    /// HAProxy, the same.
    pub async fn haproxy(dir: &Path, origin: SocketAddr) -> Option<Self> {
        let program = program("haproxy")?;
        let file = dir.join("haproxy.cfg");
        Self::start("haproxy", move |port| {
            let text = format!(
                "global\n  tune.bufsize 131072\n  tune.http.maxhdr 200\ndefaults\n  mode http\n  timeout connect 5s\n  \
                 timeout client 60s\n  timeout server 60s\nlisten peer\n  bind 127.0.0.1:{port}\n  \
                 option http-server-close\n  server origin {origin}\n"
            );
            fs::write(&file, text).unwrap();
            let mut command = Command::new(&program);
            command.arg("-db").arg("-f").arg(&file);
            command
        })
        .await
    }

    /// `command` makes one that listens on this port. These programs cannot choose a free one by themselves.
    async fn start(name: &str, command: impl Fn(u16) -> Command) -> Option<Self> {
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
                return Some(Self { address: free, _child: child });
            }
        }
        panic!("{name} did not start on any of ten ports");
    }
}
