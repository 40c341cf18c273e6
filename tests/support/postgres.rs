//! PostgreSQL for the tests: one cluster a run, one database a test.
//!
//! `RESIN_TEST_POSTGRES` names a cluster that is already there (a conninfo of a superuser on a Unix socket).
//! Without it each test binary starts a private one with its first database. A small shell owns that one and waits
//! for the end of its own standard input, so the cluster goes when the test process does, however that ends.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    net::SocketAddr,
    os::unix::{fs::chown, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::OnceLock,
};

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, UnixStream},
    task::{JoinHandle, JoinSet},
};
use tokio_postgres::{Client, NoTls, config::Host};

/// Stands in every URL, so that a test can look for it where it must not be.
pub const PASSWORD: &str = "hunter2-of-the-database";

/// A database of the test's own.
#[derive(Debug, Clone)]
pub struct Database {
    /// With a (needless) password in it.
    pub url: String,
    name: String,
}

impl Database {
    pub async fn new() -> Self {
        let cluster = cluster();
        let name = format!("t{}", uuid::Uuid::now_v7().simple());
        let url = cluster.url(&name);
        cluster.client("postgres").await.batch_execute(&format!("create database {name}")).await.unwrap();
        Self { url, name }
    }

    pub async fn client(&self) -> Client {
        cluster().client(&self.name).await
    }

    /// One number out of the database.
    pub async fn count(&self, sql: &str) -> i64 {
        self.client().await.query_one(sql, &[]).await.unwrap().get(0)
    }

    /// Ends every connection to this database, as a restart would.
    pub async fn end_connections(&self) {
        let sql = "select pg_terminate_backend(pid) from pg_stat_activity where datname = $1";
        cluster().client("postgres").await.query(sql, &[&self.name]).await.unwrap();
    }
}

/// A way to a database over TCP that can be cut: then the port refuses and every open connection is gone.
pub struct Wire {
    pub url: String,
    address: SocketAddr,
    relay: Option<JoinHandle<()>>,
}

impl Wire {
    pub async fn new(database: &Database) -> Self {
        let mut wire = Self::cut_off(database).await;
        wire.restore().await;
        wire
    }

    /// One that is cut from the start.
    pub async fn cut_off(database: &Database) -> Self {
        let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let (user, name) = (&cluster().user, &database.name);
        let url = format!("postgres://{user}:{PASSWORD}@{address}/{name}?sslmode=disable");
        Self { url, address, relay: None }
    }

    pub async fn restore(&mut self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        self.relay = Some(tokio::spawn(relay(listener)));
    }

    pub async fn cut(&mut self) {
        if let Some(relay) = self.relay.take() {
            relay.abort();
            let _ = relay.await;
        }
    }
}

/// Dropping this drops the listener and every connection with it.
async fn relay(listener: TcpListener) {
    let mut connections = JoinSet::new();
    while let Ok((mut outside, _)) = listener.accept().await {
        connections.spawn(async move {
            let mut inside = UnixStream::connect(cluster().socket()).await.unwrap();
            let _ = copy_bidirectional(&mut outside, &mut inside).await;
        });
    }
}

struct Cluster {
    socket_dir: PathBuf,
    port: u16,
    user: String,
    /// Its standard input is what keeps the cluster up.
    _keeper: Option<Child>,
}

fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(|| match std::env::var("RESIN_TEST_POSTGRES") {
        Ok(conninfo) if !conninfo.is_empty() => Cluster::given(&conninfo),
        _ => Cluster::private(),
    })
}

impl Cluster {
    fn given(conninfo: &str) -> Self {
        let config: tokio_postgres::Config = conninfo.parse().expect("RESIN_TEST_POSTGRES is a conninfo");
        let Some(Host::Unix(socket_dir)) = config.get_hosts().first() else {
            panic!("RESIN_TEST_POSTGRES names no socket directory (host=/…)");
        };
        Self {
            socket_dir: socket_dir.clone(),
            port: config.get_ports().first().copied().unwrap_or(5432),
            user: config.get_user().unwrap_or("postgres").to_owned(),
            _keeper: None,
        }
    }

    fn private() -> Self {
        let dir = tempfile::Builder::new().prefix("resin-pg-").tempdir().unwrap().keep();
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(KEEPER).arg("keeper").arg(programs()).arg(&dir).current_dir(&dir);
        if let Some((uid, gid)) = unprivileged() {
            chown(&dir, Some(uid), Some(gid)).unwrap();
            shell.uid(uid).gid(gid);
        }
        let mut keeper =
            shell.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut said = BufReader::new(keeper.stdout.take().unwrap());
        let mut line = String::new();
        said.read_line(&mut line).unwrap();
        if line.trim() != "ready" {
            said.read_to_string(&mut line).unwrap();
            panic!("the test cluster did not start: {line}");
        }
        Self { socket_dir: dir, port: 5432, user: "resin_test".to_owned(), _keeper: Some(keeper) }
    }

    fn socket(&self) -> PathBuf {
        self.socket_dir.join(format!(".s.PGSQL.{}", self.port))
    }

    fn url(&self, database: &str) -> String {
        let host = self.socket_dir.to_str().unwrap().replace('/', "%2F");
        format!("postgres://{}:{PASSWORD}@{host}:{}/{database}", self.user, self.port)
    }

    async fn client(&self, database: &str) -> Client {
        let (client, connection) = tokio_postgres::connect(&self.url(database), NoTls).await.unwrap();
        tokio::spawn(connection);
        client
    }
}

/// `$1`: the server programs, `$2`: an empty directory. Says `ready`, or what went wrong and leaves.
const KEEPER: &str = r#"
trap '' INT TERM HUP
if "$1/initdb" --no-sync -A trust -U resin_test -E UTF8 --locale=C -D "$2/data" >"$2/log" 2>&1 \
    && printf '%s\n' "unix_socket_directories = '$2'" "listen_addresses = ''" 'fsync = off' \
        'synchronous_commit = off' 'full_page_writes = off' 'max_connections = 300' >>"$2/data/postgresql.conf" \
    && "$1/pg_ctl" -D "$2/data" -l "$2/log" -w -t 60 start >/dev/null 2>&1 </dev/null
then
    echo ready
    cat >/dev/null
    "$1/pg_ctl" -D "$2/data" -m immediate stop >/dev/null 2>&1
else
    cat "$2/log"
fi
rm -rf "$2"/* "$2"/.s.* 2>/dev/null
rmdir "$2" 2>/dev/null
"#;

/// The directory of `initdb` and `pg_ctl`: on the path, or the newest of Debian's, or Homebrew's.
pub fn programs() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places: Vec<PathBuf> = std::env::split_paths(&path).collect();
    for (parent, below) in [("/usr/lib/postgresql", "bin"), ("/usr", "bin"), ("/opt/homebrew/opt", "bin")] {
        let mut versions: Vec<PathBuf> = fs::read_dir(parent)
            .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
            .unwrap_or_default();
        versions.sort_by_key(|version| std::cmp::Reverse(number_in(version)));
        places.extend(versions.into_iter().map(|version| version.join(below)));
    }
    let usable = |place: &PathBuf| place.join("initdb").is_file() && place.join("pg_ctl").is_file();
    places
        .into_iter()
        .find(usable)
        .expect("PostgreSQL 14+ server programs (initdb, pg_ctl); `make deps` brings them")
}

fn number_in(path: &Path) -> u32 {
    let digits: String = path.to_string_lossy().chars().filter(char::is_ascii_digit).collect();
    digits.parse().unwrap_or(0)
}

/// As root, who PostgreSQL runs as: `postgres`, else `nobody`. Otherwise nobody else.
fn unprivileged() -> Option<(u32, u32)> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    Some(user("postgres").or_else(|| user("nobody")).expect("a user to run PostgreSQL as"))
}

/// Number and group of a user of this machine.
pub fn user(name: &str) -> Option<(u32, u32)> {
    let passwd = fs::read_to_string("/etc/passwd").ok()?;
    let line = passwd.lines().find(|line| line.split(':').next() == Some(name))?;
    let fields: Vec<&str> = line.split(':').collect();
    Some((fields.get(2)?.parse().ok()?, fields.get(3)?.parse().ok()?))
}
