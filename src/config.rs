//! Every setting: what the user said becomes what is in effect, or a list of every mistake.
//!
//! Pure: settings come from a lookup function, so that tests never touch the process environment. Only `main` reads it.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use crate::model::{NodeUri, Secret};

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
    pub drain_timeout: Duration,
    pub trace_propagate: bool,
    pub log_retention: Duration,
}

/// Which PostgreSQL keeps platforms, nodes and records.
#[derive(Debug, Clone)]
pub enum Database {
    /// One of our own, in `data_dir`.
    Private,
    /// `RESIN_DATABASE_URL`, with the roots of `RESIN_DATABASE_CA_FILE` where given.
    Url { url: Secret, ca_file: Option<PathBuf> },
}
