//! The proxies that are measured: each says by its routes which of the work it can do.

pub mod envoy;
pub mod haproxy;
pub mod nginx;
pub mod process;
pub mod resin;
pub mod squid;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::Bytes;

use crate::{Outcome, postgres::Postgres, site::Site};
use process::Process;

/// How a request comes in and goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    ForwardNode,
    ForwardDirect,
    ReverseDirect,
    ReverseNode,
    /// To an https origin.
    HttpsNode,
    /// In by HTTP/2, on by HTTP/1.1.
    Http2,
    ConnectNode,
    ConnectDirect,
    /// Forward, with a second node that refuses.
    Retry,
    /// As `ForwardNode`, with retry switched off.
    NoRetry,
    /// As `ConnectNode`, with so many nodes to choose from.
    Nodes(usize),
}

impl Way {
    /// Whether the client asks for a tunnel.
    pub fn is_tunnel(self) -> bool {
        matches!(self, Self::ConnectNode | Self::ConnectDirect | Self::Nodes(_))
    }
}

/// What the peers are started with.
pub struct World {
    pub site: Site,
    pub postgres: Postgres,
    /// Where spans are sent, as a URL.
    pub spans: String,
    /// For configurations and logs.
    pub dir: tempfile::TempDir,
}

impl World {
    pub fn origin(&self) -> SocketAddr {
        self.site.address()
    }

    /// A folder that nobody else has.
    pub fn folder(&self, name: &str) -> Outcome<PathBuf> {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::Builder::new().prefix(name).tempdir_in(self.dir.path())?.keep();
        // Some give their rights away, and write afterwards.
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o777))?;
        Ok(folder)
    }
}

/// Where a peer is asked, and in which words.
#[derive(Debug, Clone)]
pub struct Route {
    pub proxy: SocketAddr,
    /// What stands before the path in the request line.
    pub prefix: String,
    pub host: String,
    /// Fields of its own, each with its CRLF.
    pub fields: String,
}

impl Route {
    /// To a proxy that is asked as the origin itself would be.
    pub fn reverse(proxy: SocketAddr, origin: SocketAddr) -> Self {
        Self { proxy, prefix: String::new(), host: origin.to_string(), fields: String::new() }
    }

    /// To a proxy that is asked as proxies are.
    pub fn forward(proxy: SocketAddr, origin: SocketAddr) -> Self {
        Self { prefix: format!("http://{origin}"), ..Self::reverse(proxy, origin) }
    }

    /// The head of a request that has a body of this length.
    pub fn head(&self, path: &str, body: u64) -> Bytes {
        let Self { prefix, host, fields, .. } = self;
        let method = if body == 0 { "GET" } else { "POST" };
        let length = if body == 0 { String::new() } else { format!("Content-Length: {body}\r\n") };
        format!("{method} {prefix}{path} HTTP/1.1\r\nHost: {host}\r\n{fields}{length}\r\n").into()
    }

    /// A request with its body, to be written at once.
    pub fn request(&self, path: &str, body: usize) -> Bytes {
        let mut request = self.head(path, body as u64).to_vec();
        request.resize(request.len() + body, b'b');
        request.into()
    }

    pub fn connect(&self) -> Bytes {
        let Self { host, fields, .. } = self;
        format!("CONNECT {host} HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n").into()
    }
}

/// A proxy that runs.
pub struct Peer {
    pub version: String,
    pub process: Process,
    /// From its start until it served.
    pub ready_in: Duration,
    pub routes: Vec<(Way, Route)>,
    /// resin's, where nodes are put in.
    pub control: Option<SocketAddr>,
}

impl Peer {
    /// None where it cannot do that.
    pub fn route(&self, way: Way) -> Option<&Route> {
        let of = |way| self.routes.iter().find(|(of, _)| *of == way).map(|(_, route)| route);
        // Only resin has pools that grow.
        of(way).or_else(|| matches!(way, Way::Nodes(_)).then(|| of(Way::ConnectNode)).flatten())
    }
}

/// Which proxy, and how it is set up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    Haproxy { log: bool },
    Nginx,
    Squid,
    Envoy,
    Resin { program: PathBuf },
}

impl Kind {
    pub async fn start(&self, world: &World) -> Outcome<Peer> {
        match self {
            Self::Haproxy { log } => haproxy::start(world, *log).await,
            Self::Nginx => nginx::start(world).await,
            Self::Squid => squid::start(world).await,
            Self::Envoy => envoy::start(world).await,
            Self::Resin { program } => resin::start(world, program, resin::Life::Measured).await,
        }
    }

    pub fn is_ours(&self) -> bool {
        matches!(self, Self::Resin { .. })
    }
}

/// Whether a file is there to be run, by its path or on the PATH.
pub fn found(program: &str) -> Option<PathBuf> {
    let places = std::env::var_os("PATH").unwrap_or_default();
    let mut candidates = std::env::split_paths(&places).map(|place| place.join(program));
    if program.contains('/') {
        Some(Path::new(program).to_owned()).filter(|path| path.is_file())
    } else {
        candidates.find(|path| path.is_file())
    }
}
