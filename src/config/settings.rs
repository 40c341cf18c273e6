//! The settings by name: what the command line and the documentation are made of.

/// One setting: an environment variable, and a flag of `resin serve`.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// `RESIN_DATA_LISTEN`.
    pub env: &'static str,
    /// `data-listen`.
    pub flag: &'static str,
    pub default: &'static str,
    /// One line: effect and unit.
    pub help: &'static str,
}

const fn setting(
    env: &'static str,
    flag: &'static str,
    default: &'static str,
    help: &'static str,
) -> Setting {
    Setting { env, flag, default, help }
}

/// Every setting, in the order in which a reader meets them.
pub const SETTINGS: &[Setting] = &[
    setting("RESIN_DATA_LISTEN", "data-listen", "127.0.0.1:2260", "address:port of the data plane"),
    setting(
        "RESIN_CONTROL_LISTEN",
        "control-listen",
        "127.0.0.1:2261",
        "address:port of the gRPC control plane",
    ),
    setting(
        "RESIN_OPS_LISTEN",
        "ops-listen",
        "127.0.0.1:2262",
        "address:port of /livez, /readyz and /metrics",
    ),
    setting(
        "RESIN_PROXY_TOKEN",
        "proxy-token",
        "unset",
        "token of the data plane; empty: anybody may use it",
    ),
    setting(
        "RESIN_PROXY_TOKEN_FILE",
        "proxy-token-file",
        "unset",
        "file that holds the token of the data plane",
    ),
    setting(
        "RESIN_ADMIN_TOKEN",
        "admin-token",
        "unset",
        "token of the control plane; empty: anybody may use it",
    ),
    setting(
        "RESIN_ADMIN_TOKEN_FILE",
        "admin-token-file",
        "unset",
        "file that holds the token of the control plane",
    ),
    setting("RESIN_DATABASE_URL", "database-url", "private PostgreSQL", "PostgreSQL 14 or newer"),
    setting(
        "RESIN_DATABASE_CA_FILE",
        "database-ca-file",
        "unset",
        "PEM roots that the database's certificate must have",
    ),
    setting(
        "RESIN_DATA_DIR",
        "data-dir",
        "XDG state directory; as root /var/lib/resin",
        "home of the private PostgreSQL",
    ),
    setting("RESIN_DATA_THREADS", "data-threads", "cores", "threads of the data plane, 1 to 256"),
    setting(
        "RESIN_POOL_MAX_IDLE",
        "pool-max-idle",
        "1024",
        "idle upstream connections that are kept, in all",
    ),
    setting(
        "RESIN_POOL_IDLE_TIMEOUT",
        "pool-idle-timeout",
        "30s",
        "how long an upstream connection may idle",
    ),
    setting(
        "RESIN_POOL_MAX_AGE",
        "pool-max-age",
        "10m",
        "how old an upstream connection may be when it is used again",
    ),
    setting("RESIN_LOG_QUEUE", "log-queue", "65536", "finished records that may wait in memory"),
    setting("RESIN_CA_FILE", "ca-file", "unset", "PEM roots trusted beside the system's"),
    setting(
        "RESIN_NODES",
        "nodes",
        "empty",
        "node URIs put in at start, separated by white space, tag as #fragment",
    ),
    setting(
        "RESIN_DEFAULT_PLATFORM_MAX_RETRIES",
        "default-platform-max-retries",
        "2",
        "max_retries of a platform that names none; 0 or less switches retry off",
    ),
    setting("RESIN_CONNECT_TIMEOUT", "connect-timeout", "5s", "connection phase of one attempt"),
    setting("RESIN_RETRY_DEADLINE", "retry-deadline", "15s", "connection phases of all attempts together"),
    setting(
        "RESIN_RESPONSE_TIMEOUT",
        "response-timeout",
        "60s",
        "from the request's last byte to the response head",
    ),
    setting("RESIN_IDLE_TIMEOUT", "idle-timeout", "5m", "nothing moves on a tunnel or a body"),
    setting(
        "RESIN_MAX_HEADER_BYTES",
        "max-header-bytes",
        "64KiB",
        "a request's line and fields together; more is refused with 431",
    ),
    setting("RESIN_MAX_HEADERS", "max-headers", "100", "a request's fields; more are refused with 431"),
    setting(
        "RESIN_MAX_REQUEST_LINE",
        "max-request-line",
        "32KiB",
        "a request's line alone; a longer one is refused with 414",
    ),
    setting(
        "RESIN_HEADER_TIMEOUT",
        "header-timeout",
        "30s",
        "from a head's first byte to its last; a slower one is refused with 408",
    ),
    setting(
        "RESIN_CLIENT_IDLE_TIMEOUT",
        "client-idle-timeout",
        "75s",
        "how long a client's connection may idle between requests",
    ),
    setting(
        "RESIN_MAX_CONNECTIONS",
        "max-connections",
        "32768",
        "clients' connections in all; 0 for no limit",
    ),
    setting(
        "RESIN_MAX_CONNECTIONS_PER_CLIENT",
        "max-connections-per-client",
        "0",
        "connections from one address; 0 for no limit",
    ),
    setting("RESIN_MAX_STREAMS", "max-streams", "256", "requests at a time on one HTTP/2 connection"),
    setting("RESIN_MAX_TUNNELS", "max-tunnels", "0", "open tunnels; 0 for no limit"),
    setting(
        "RESIN_DRAIN_TIMEOUT",
        "drain-timeout",
        "30s",
        "how long in-flight work may take to end on SIGTERM",
    ),
    setting("RESIN_TRACE_PROPAGATE", "trace-propagate", "false", "pass traceparent on to the upstream"),
    setting("RESIN_TARGETS", "targets", "any", "any, or public: targets that are not public are refused"),
    setting("RESIN_LOG_RETENTION", "log-retention", "7d", "records older than this are dropped"),
    setting(
        "RESIN_LOG",
        "log",
        "info",
        "what is logged to standard error, such as debug or resin=debug,hyper=warn",
    ),
    setting("RESIN_LOG_FORMAT", "log-format", "human", "human or json"),
];
