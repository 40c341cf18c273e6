//! From text to settings, collecting every mistake on the way.

use std::{
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use super::{ClientLimits, Config, Database, LogFormat, MAX_SOCKET_PATH, Targets};
use crate::model::{MAX_RETRIES, NodeUri, Secret};

/// What the process knows about itself and its machine.
#[derive(Debug, Clone)]
pub struct Ambient {
    pub root: bool,
    /// Cores that may be used.
    pub cores: usize,
    pub current_dir: PathBuf,
}

/// Everything that is wrong with the settings, one line each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistakes(Vec<String>);

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl std::error::Error for Mistakes {}

type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Reads settings, and remembers what was wrong with them.
struct Reader<'a> {
    lookup: Lookup<'a>,
    mistakes: Vec<String>,
}

pub(super) fn parse(lookup: Lookup<'_>, ambient: &Ambient) -> Result<Config, Mistakes> {
    let mut read = Reader { lookup, mistakes: Vec::new() };
    let data_listen = read.address("RESIN_DATA_LISTEN", 2260);
    let control_listen = read.address("RESIN_CONTROL_LISTEN", 2261);
    let ops_listen = read.address("RESIN_OPS_LISTEN", 2262);
    let data_dir = read.data_dir(ambient);
    let database = read.database(&data_dir);
    let config = Config {
        data_listen,
        control_listen,
        ops_listen,
        proxy_token: read.token("RESIN_PROXY_TOKEN", "RESIN_DATA_LISTEN", data_listen),
        admin_token: read.token("RESIN_ADMIN_TOKEN", "RESIN_CONTROL_LISTEN", control_listen),
        database,
        data_dir,
        data_threads: read.number("RESIN_DATA_THREADS", ambient.cores.clamp(1, 256), 1..=256),
        pool_max_idle: read.number("RESIN_POOL_MAX_IDLE", 1024, 0..=1_000_000),
        pool_idle_timeout: read.duration("RESIN_POOL_IDLE_TIMEOUT", Duration::from_secs(30)),
        pool_max_age: read.duration("RESIN_POOL_MAX_AGE", Duration::from_secs(600)),
        log_queue: read.number("RESIN_LOG_QUEUE", 65_536, 1..=100_000_000),
        ca_file: read.file("RESIN_CA_FILE"),
        nodes: read.nodes(),
        default_platform_max_retries: read.number(
            "RESIN_DEFAULT_PLATFORM_MAX_RETRIES",
            2,
            i32::MIN..=MAX_RETRIES,
        ),
        connect_timeout: read.duration("RESIN_CONNECT_TIMEOUT", Duration::from_secs(5)),
        retry_deadline: read.duration("RESIN_RETRY_DEADLINE", Duration::from_secs(15)),
        response_timeout: read.duration("RESIN_RESPONSE_TIMEOUT", Duration::from_secs(60)),
        idle_timeout: read.duration("RESIN_IDLE_TIMEOUT", Duration::from_secs(300)),
        clients: read.client_limits(),
        drain_timeout: read.span("RESIN_DRAIN_TIMEOUT", Duration::from_secs(30), Duration::ZERO),
        trace_propagate: read.boolean("RESIN_TRACE_PROPAGATE"),
        targets: read.one_of("RESIN_TARGETS", [("any", Targets::Any), ("public", Targets::Public)]),
        log_retention: read.duration("RESIN_LOG_RETENTION", Duration::from_secs(7 * 86_400)),
        log: read.log_filter(),
        log_format: read.one_of("RESIN_LOG_FORMAT", [("human", LogFormat::Human), ("json", LogFormat::Json)]),
    };
    if read.mistakes.is_empty() { Ok(config) } else { Err(Mistakes(read.mistakes)) }
}

impl Reader<'_> {
    /// A setting that is given; an empty one is not.
    fn given(&self, name: &str) -> Option<String> {
        (self.lookup)(name).filter(|text| !text.trim().is_empty()).map(|text| text.trim().to_owned())
    }

    fn wrong(&mut self, name: &str, text: &str, allowed: &str) {
        self.mistakes.push(format!("{name}: {text:?} is not {allowed}"));
    }

    fn address(&mut self, name: &str, port: u16) -> SocketAddr {
        let default = SocketAddr::from(([127, 0, 0, 1], port));
        let Some(text) = self.given(name) else { return default };
        text.parse().unwrap_or_else(|_| {
            self.wrong(name, &text, "an IP address and a port, such as 127.0.0.1:2260 or [::1]:0");
            default
        })
    }

    fn number<T: FromStr + PartialOrd + fmt::Display + Copy>(
        &mut self,
        name: &str,
        default: T,
        allowed: std::ops::RangeInclusive<T>,
    ) -> T {
        let Some(text) = self.given(name) else { return default };
        match text.parse::<T>() {
            Ok(number) if allowed.contains(&number) => number,
            _ => {
                self.wrong(
                    name,
                    &text,
                    &format!("a whole number from {} to {}", allowed.start(), allowed.end()),
                );
                default
            }
        }
    }

    fn client_limits(&mut self) -> ClientLimits {
        let limits = ClientLimits {
            max_header_bytes: self.bytes("RESIN_MAX_HEADER_BYTES", 64 * KIB, KIB..=16 * 1024 * KIB),
            max_headers: self.number("RESIN_MAX_HEADERS", 100, 1..=10_000),
            // hyper takes no longer target.
            max_request_line: self.bytes("RESIN_MAX_REQUEST_LINE", 32 * KIB, 64..=63 * KIB),
            header_timeout: self.duration("RESIN_HEADER_TIMEOUT", Duration::from_secs(30)),
            client_idle_timeout: self.duration("RESIN_CLIENT_IDLE_TIMEOUT", Duration::from_secs(75)),
            max_connections: self.number("RESIN_MAX_CONNECTIONS", 32_768, 0..=10_000_000),
            max_connections_per_client: self.number("RESIN_MAX_CONNECTIONS_PER_CLIENT", 0, 0..=10_000_000),
            max_streams: self.number("RESIN_MAX_STREAMS", 256, 1..=100_000),
            max_tunnels: self.number("RESIN_MAX_TUNNELS", 0, 0..=10_000_000),
        };
        if limits.max_request_line > limits.max_header_bytes {
            self.mistakes.push(format!(
                "RESIN_MAX_REQUEST_LINE: {} is more than RESIN_MAX_HEADER_BYTES, {}, of which the line is a part",
                show_bytes(limits.max_request_line),
                show_bytes(limits.max_header_bytes)
            ));
        }
        limits
    }

    fn bytes(&mut self, name: &str, default: usize, allowed: std::ops::RangeInclusive<usize>) -> usize {
        let Some(text) = self.given(name) else { return default };
        match bytes(&text) {
            Some(bytes) if allowed.contains(&bytes) => bytes,
            _ => {
                let (least, most) = (show_bytes(*allowed.start()), show_bytes(*allowed.end()));
                self.wrong(
                    name,
                    &text,
                    &format!("a number of bytes from {least} to {most} such as 8192, 64KiB, 1MiB"),
                );
                default
            }
        }
    }

    fn duration(&mut self, name: &str, default: Duration) -> Duration {
        self.span(name, default, Duration::from_millis(1))
    }

    fn span(&mut self, name: &str, default: Duration, least: Duration) -> Duration {
        let Some(text) = self.given(name) else { return default };
        match duration(&text) {
            Some(duration) if duration >= least && duration <= LONGEST => duration,
            _ => {
                let allowed = format!(
                    "a duration from {} to {} such as 500ms, 15s, 10m, 2h, 7d",
                    show(least),
                    show(LONGEST)
                );
                self.wrong(name, &text, &allowed);
                default
            }
        }
    }

    fn boolean(&mut self, name: &str) -> bool {
        match self.given(name).as_deref() {
            None | Some("false" | "0") => false,
            Some("true" | "1") => true,
            Some(text) => {
                let text = text.to_owned();
                self.wrong(name, &text, "true or false");
                false
            }
        }
    }

    fn file(&mut self, name: &str) -> Option<PathBuf> {
        let path = PathBuf::from(self.given(name)?);
        if let Err(error) = std::fs::read(&path) {
            self.mistakes.push(format!("{name}: {} cannot be read: {error}", path.display()));
        }
        Some(path)
    }

    /// An unset token is refused where others than this machine can reach the port; an empty one is a decision.
    fn token(&mut self, name: &str, listen_name: &str, listen: SocketAddr) -> Secret {
        let file_name = format!("{name}_FILE");
        let direct = (self.lookup)(name);
        let file = self.given(&file_name);
        let token = match (direct, file) {
            (Some(token), Some(_)) if !token.is_empty() => {
                self.mistakes.push(format!("{name} and {file_name} are both set; one of them is enough"));
                Some(String::new())
            }
            (_, Some(path)) => Some(self.token_file(&file_name, &path)),
            (direct, None) => direct,
        };
        match token {
            Some(token) if token.chars().any(char::is_control) => {
                self.mistakes.push(format!("{name}: the token contains a control character"));
                Secret::new("")
            }
            Some(token) => Secret::new(token),
            None if listen.ip().is_loopback() => Secret::new(""),
            None => {
                self.mistakes.push(format!(
                    "{name} is unset, but {listen_name} {listen} is not a loopback address: set a token, or set it to \
                     the empty string if anybody may use this port"
                ));
                Secret::new("")
            }
        }
    }

    fn token_file(&mut self, name: &str, path: &str) -> String {
        match std::fs::read_to_string(path) {
            Ok(text) => text.trim_end_matches(['\r', '\n']).to_owned(),
            Err(error) => {
                self.mistakes.push(format!("{name}: {path} cannot be read: {error}"));
                String::new()
            }
        }
    }

    fn data_dir(&mut self, ambient: &Ambient) -> PathBuf {
        let given = self.given("RESIN_DATA_DIR").map(PathBuf::from);
        let directory = given.or_else(|| {
            if ambient.root {
                return Some(PathBuf::from("/var/lib/resin"));
            }
            let state = self.given("XDG_STATE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
            let home = || self.given("HOME").map(|home| Path::new(&home).join(".local/state"));
            state.or_else(home).map(|state| state.join("resin"))
        });
        match directory {
            Some(directory) => ambient.current_dir.join(directory),
            None => {
                self.mistakes
                    .push("RESIN_DATA_DIR is unset, and there is no HOME to derive it from".to_owned());
                ambient.current_dir.clone()
            }
        }
    }

    fn database(&mut self, data_dir: &Path) -> Database {
        let ca_file = self.file("RESIN_DATABASE_CA_FILE");
        let Some(url) = self.given("RESIN_DATABASE_URL") else {
            if ca_file.is_some() {
                self.mistakes.push("RESIN_DATABASE_CA_FILE is set without RESIN_DATABASE_URL".to_owned());
            }
            let socket = data_dir.join("pg/.s.PGSQL.5432");
            let length = socket.as_os_str().len();
            if length > MAX_SOCKET_PATH {
                self.mistakes.push(format!(
                    "RESIN_DATA_DIR: the private PostgreSQL's socket would be {}, of {length} bytes; at most \
                     {MAX_SOCKET_PATH} are allowed",
                    socket.display()
                ));
            }
            return Database::Private;
        };
        if let Err(error) = url.parse::<tokio_postgres::Config>() {
            let mut reason = error.to_string();
            let mut source = std::error::Error::source(&error);
            while let Some(cause) = source {
                reason = format!("{reason}: {cause}");
                source = cause.source();
            }
            // Its name may be a part of a password.
            if let Some(unknown) = reason.find("unknown option") {
                reason.truncate(unknown + "unknown option".len());
            }
            self.mistakes.push(format!(
                "RESIN_DATABASE_URL is not a PostgreSQL URL such as postgres://user@host:5432/database ({reason})"
            ));
        }
        Database::Url { url: Secret::new(url), ca_file }
    }

    fn nodes(&mut self) -> Vec<NodeUri> {
        let text = self.given("RESIN_NODES").unwrap_or_default();
        let mut nodes = Vec::new();
        for (at, uri) in text.split_whitespace().enumerate() {
            match uri.parse() {
                Ok(node) => nodes.push(node),
                Err(error) => self.mistakes.push(format!("RESIN_NODES: node {}: {error}", at + 1)),
            }
        }
        nodes
    }

    fn log_filter(&mut self) -> String {
        let text = self.given("RESIN_LOG").unwrap_or_else(|| "info".to_owned());
        if tracing_subscriber::EnvFilter::try_new(&text).is_err() {
            self.wrong("RESIN_LOG", &text, "a log filter such as info, debug or resin=debug,hyper=warn");
        }
        text
    }

    /// One of two words, the first where nothing is given.
    fn one_of<T: Copy>(&mut self, name: &str, [first, second]: [(&str, T); 2]) -> T {
        match self.given(name) {
            Some(text) if text == second.0 => return second.1,
            Some(text) if text != first.0 => self.wrong(name, &text, &format!("{} or {}", first.0, second.0)),
            _ => {}
        }
        first.1
    }
}

const KIB: usize = 1024;

/// `8192`, `64KiB`, `1MiB`.
fn bytes(text: &str) -> Option<usize> {
    let unit_at = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(unit_at);
    let unit = match unit {
        "" => 1,
        "KiB" => KIB,
        "MiB" => KIB * KIB,
        _ => return None,
    };
    digits.parse::<usize>().ok()?.checked_mul(unit)
}

/// In the largest unit that loses nothing.
pub(super) fn show_bytes(bytes: usize) -> String {
    match bytes {
        0 => "0".to_owned(),
        bytes if bytes.is_multiple_of(KIB * KIB) => format!("{}MiB", bytes / KIB / KIB),
        bytes if bytes.is_multiple_of(KIB) => format!("{}KiB", bytes / KIB),
        bytes => bytes.to_string(),
    }
}

const LONGEST: Duration = Duration::from_secs(3650 * 86_400);

/// `500ms`, `15s`, `10m`, `2h`, `7d`.
fn duration(text: &str) -> Option<Duration> {
    let unit_at = text.find(|c: char| !c.is_ascii_digit())?;
    let (digits, unit) = text.split_at(unit_at);
    let number: u64 = digits.parse().ok()?;
    let seconds = match unit {
        "ms" => return Some(Duration::from_millis(number)),
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return None,
    };
    number.checked_mul(seconds).map(Duration::from_secs)
}

/// In the largest unit that loses nothing.
pub(super) fn show(duration: Duration) -> String {
    let seconds = duration.as_secs();
    if duration.subsec_millis() != 0 || seconds == 0 {
        return format!("{}ms", duration.as_millis());
    }
    for (unit, length) in [("d", 86_400), ("h", 3600), ("m", 60)] {
        if seconds.is_multiple_of(length) {
            return format!("{}{unit}", seconds / length);
        }
    }
    format!("{seconds}s")
}

/// A database URL as it may be shown.
pub(super) fn without_password(text: &str) -> String {
    let Ok(config) = text.parse::<tokio_postgres::Config>() else { return "PostgreSQL".to_owned() };
    crate::config::shown_database(&config)
}

#[cfg(test)]
mod tests;
