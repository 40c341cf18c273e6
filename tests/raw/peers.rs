//! nginx and HAProxy in front of a strict reader: what they took for requests is what arrives there.

use std::{fs, net::SocketAddr, path::Path};

use tokio::process::Command;

use crate::support::peer::{Peer, find};

impl Peer {
    /// nginx, passing everything on to `origin`.
    pub async fn nginx(dir: &Path, origin: SocketAddr) -> Option<Self> {
        let program = find("nginx")?;
        let user = if rustix::process::geteuid().is_root() { "user root;" } else { "" };
        let (dir, file) = (dir.to_owned(), dir.join("nginx.conf"));
        let peer = Self::start("nginx", move |port| {
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
        });
        Some(peer.await)
    }

    /// HAProxy, the same.
    pub async fn haproxy(dir: &Path, origin: SocketAddr) -> Option<Self> {
        let program = find("haproxy")?;
        let file = dir.join("haproxy.cfg");
        let peer = Self::start("haproxy", move |port| {
            let text = format!(
                "global\n  tune.bufsize 131072\n  tune.http.maxhdr 200\ndefaults\n  mode http\n  timeout connect 5s\n  \
                 timeout client 60s\n  timeout server 60s\nlisten peer\n  bind 127.0.0.1:{port}\n  \
                 option http-server-close\n  server origin {origin}\n"
            );
            fs::write(&file, text).unwrap();
            let mut command = Command::new(&program);
            command.arg("-db").arg("-f").arg(&file);
            command
        });
        Some(peer.await)
    }
}
