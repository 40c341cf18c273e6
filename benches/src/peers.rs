//! The proxies that are measured: each takes the same work, and says which of it it can do.

pub mod haproxy;
pub mod nginx;
pub mod process;
pub mod resin;
pub mod squid;

use std::{net::SocketAddr, path::Path};

use bytes::Bytes;

use crate::{Outcome, postgres::Postgres, site::Site};
use process::Process;

/// How a request comes in and goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Way {
    ForwardNode,
    ForwardDirect,
    ReverseDirect,
    ReverseNode,
}

/// Every way there is, for those who need a port for each.
pub const WAYS: [Way; 4] = [Way::ForwardNode, Way::ForwardDirect, Way::ReverseDirect, Way::ReverseNode];

/// What the peers are started with.
pub struct World {
    pub site: Site,
    pub postgres: Postgres,
    /// Where spans are sent, as a URL.
    pub spans: String,
    /// For configurations and logs; each peer may have a folder of its own in it.
    pub dir: tempfile::TempDir,
}

impl World {
    pub fn origin(&self) -> SocketAddr {
        self.site.address()
    }

    pub fn folder(&self) -> &Path {
        self.dir.path()
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
    /// A request as it is written; with a body it is a POST.
    pub fn request(&self, path: &str, body: usize) -> Bytes {
        let Self { prefix, host, fields, .. } = self;
        let method = if body == 0 { "GET" } else { "POST" };
        let length = if body == 0 { String::new() } else { format!("Content-Length: {body}\r\n") };
        let head = format!("{method} {prefix}{path} HTTP/1.1\r\nHost: {host}\r\n{fields}{length}\r\n");
        let mut request = head.into_bytes();
        request.resize(request.len() + body, b'b');
        request.into()
    }
}

/// A proxy that runs.
pub struct Peer {
    pub version: String,
    pub process: Process,
    pub routes: Vec<(Way, Route)>,
}

impl Peer {
    pub fn route(&self, way: Way) -> Option<&Route> {
        self.routes.iter().find(|(of, _)| *of == way).map(|(_, route)| route)
    }
}

/// Which proxy, and how it is set up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    Haproxy { log: bool },
    Nginx,
    Squid,
    Resin { program: std::path::PathBuf },
}

impl Kind {
    pub async fn start(&self, world: &World) -> Outcome<Peer> {
        match self {
            Self::Haproxy { log } => haproxy::start(world, *log).await,
            Self::Nginx => nginx::start(world).await,
            Self::Squid => squid::start(world).await,
            Self::Resin { program } => resin::start(world, program).await,
        }
    }
}
