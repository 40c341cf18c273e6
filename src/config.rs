//! Every setting: what the user said becomes what is in effect, or a list of every mistake.
//!
//! Pure but for reading the files that settings name: settings come from a lookup function, so that tests never touch
//! the process environment. Only `main` reads it.

mod parse;
mod settings;

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf, time::Duration};

use crate::model::{NodeUri, Secret};

pub use parse::{Ambient, Mistakes};
pub use settings::{SETTINGS, Setting};

/// The longest path of a Unix socket, in bytes.
pub const MAX_SOCKET_PATH: usize = 107;

/// The settings in effect. Each field is the environment variable of its name with `RESIN_` before it.
#[derive(Debug, Clone)]
pub struct Config {
    pub data_listen: SocketAddr,
    pub control_listen: SocketAddr,
    pub ops_listen: SocketAddr,
    /// Empty: anybody may use the data port.
    pub proxy_token: Secret,
    /// Empty: anybody may use the control port.
    pub admin_token: Secret,
    pub database: Database,
    /// Absolute.
    pub data_dir: PathBuf,
    /// At least 1.
    pub data_threads: usize,
    /// Idle upstream connections in all; 0 keeps none.
    pub pool_max_idle: usize,
    pub pool_idle_timeout: Duration,
    pub pool_max_age: Duration,
    /// At least 1.
    pub log_queue: usize,
    /// More roots to trust.
    pub ca_file: Option<PathBuf>,
    pub nodes: Vec<NodeUri>,
    /// At most 16; 0 or less switches retry off.
    pub default_platform_max_retries: i32,
    pub connect_timeout: Duration,
    pub retry_deadline: Duration,
    pub response_timeout: Duration,
    pub idle_timeout: Duration,
    pub clients: ClientLimits,
    pub drain_timeout: Duration,
    pub trace_propagate: bool,
    pub targets: Targets,
    pub log_retention: Duration,
    /// What is logged, in `tracing`'s filter syntax.
    pub log: String,
    pub log_format: LogFormat,
}

/// What clients may have. A number of connections or tunnels that is 0 is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientLimits {
    pub max_header_bytes: usize,
    pub max_headers: usize,
    pub max_request_line: usize,
    pub header_timeout: Duration,
    pub client_idle_timeout: Duration,
    pub max_connections: usize,
    pub max_connections_per_client: usize,
    pub max_streams: u32,
    pub max_tunnels: usize,
}

/// Which PostgreSQL keeps platforms, nodes and records.
#[derive(Debug, Clone)]
pub enum Database {
    /// One of our own, in `data_dir`.
    Private,
    /// `RESIN_DATABASE_URL`, with the roots of `RESIN_DATABASE_CA_FILE` where given.
    Url { url: Secret, ca_file: Option<PathBuf> },
}

/// Which targets may be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Targets {
    Any,
    /// Public addresses, and names of such.
    Public,
}

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    Human,
    Json,
}

impl Config {
    /// Reads every setting from `lookup`, which says what the environment variable of a name holds.
    pub fn parse(lookup: impl Fn(&str) -> Option<String>, ambient: &Ambient) -> Result<Self, Mistakes> {
        parse::parse(&lookup, ambient)
    }

    /// What is in effect, by the environment variable's name. Secrets are left out.
    #[must_use]
    pub fn effective(&self) -> BTreeMap<String, String> {
        let path =
            |path: &Option<PathBuf>| path.as_ref().map_or(String::new(), |path| path.display().to_string());
        let (database, database_ca) = match &self.database {
            Database::Private => ("private PostgreSQL".to_owned(), String::new()),
            Database::Url { url, ca_file } => {
                (crate::config::parse::without_password(url.expose()), path(ca_file))
            }
        };
        let nodes: Vec<String> = self.nodes.iter().map(|node| node.config.uri()).collect();
        let targets = if self.targets == Targets::Public { "public" } else { "any" };
        let format = if self.log_format == LogFormat::Json { "json" } else { "human" };
        let clients = &self.clients;
        let pairs: [(&str, String); 32] = [
            ("RESIN_DATA_LISTEN", self.data_listen.to_string()),
            ("RESIN_CONTROL_LISTEN", self.control_listen.to_string()),
            ("RESIN_OPS_LISTEN", self.ops_listen.to_string()),
            ("RESIN_DATABASE_URL", database),
            ("RESIN_DATABASE_CA_FILE", database_ca),
            ("RESIN_DATA_DIR", self.data_dir.display().to_string()),
            ("RESIN_DATA_THREADS", self.data_threads.to_string()),
            ("RESIN_POOL_MAX_IDLE", self.pool_max_idle.to_string()),
            ("RESIN_POOL_IDLE_TIMEOUT", parse::show(self.pool_idle_timeout)),
            ("RESIN_POOL_MAX_AGE", parse::show(self.pool_max_age)),
            ("RESIN_LOG_QUEUE", self.log_queue.to_string()),
            ("RESIN_CA_FILE", path(&self.ca_file)),
            ("RESIN_NODES", nodes.join(" ")),
            ("RESIN_DEFAULT_PLATFORM_MAX_RETRIES", self.default_platform_max_retries.to_string()),
            ("RESIN_CONNECT_TIMEOUT", parse::show(self.connect_timeout)),
            ("RESIN_RETRY_DEADLINE", parse::show(self.retry_deadline)),
            ("RESIN_RESPONSE_TIMEOUT", parse::show(self.response_timeout)),
            ("RESIN_IDLE_TIMEOUT", parse::show(self.idle_timeout)),
            ("RESIN_MAX_HEADER_BYTES", parse::show_bytes(clients.max_header_bytes)),
            ("RESIN_MAX_HEADERS", clients.max_headers.to_string()),
            ("RESIN_MAX_REQUEST_LINE", parse::show_bytes(clients.max_request_line)),
            ("RESIN_HEADER_TIMEOUT", parse::show(clients.header_timeout)),
            ("RESIN_CLIENT_IDLE_TIMEOUT", parse::show(clients.client_idle_timeout)),
            ("RESIN_MAX_CONNECTIONS", clients.max_connections.to_string()),
            ("RESIN_MAX_CONNECTIONS_PER_CLIENT", clients.max_connections_per_client.to_string()),
            ("RESIN_MAX_STREAMS", clients.max_streams.to_string()),
            ("RESIN_MAX_TUNNELS", clients.max_tunnels.to_string()),
            ("RESIN_DRAIN_TIMEOUT", parse::show(self.drain_timeout)),
            ("RESIN_TRACE_PROPAGATE", self.trace_propagate.to_string()),
            ("RESIN_TARGETS", targets.to_owned()),
            ("RESIN_LOG_RETENTION", parse::show(self.log_retention)),
            ("RESIN_LOG_FORMAT", format.to_owned()),
        ];
        let mut shown: BTreeMap<String, String> =
            pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        shown.insert("RESIN_LOG".to_owned(), self.log.clone());
        shown
    }
}

/// Where a database is, without anybody's password.
pub(crate) fn shown_database(config: &tokio_postgres::Config) -> String {
    use tokio_postgres::config::Host;
    let ports = config.get_ports();
    let mut hosts: Vec<String> = Vec::new();
    for (at, host) in config.get_hosts().iter().enumerate() {
        let port = ports.get(at).or(ports.first()).copied().unwrap_or(5432);
        hosts.push(match host {
            Host::Tcp(name) => format!("{name}:{port}"),
            #[cfg(unix)]
            Host::Unix(path) => path.display().to_string(),
        });
    }
    let database = config.get_dbname().or(config.get_user()).unwrap_or_default();
    format!("postgres://{}/{database}", hosts.join(","))
}
