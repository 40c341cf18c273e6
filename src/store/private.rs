//! The private PostgreSQL: found on the machine, run on a Unix socket in the data directory, stopped with us.
//!
//! The data directory is ours alone: a file lock, which the kernel releases when we die however we die, keeps a second
//! instance out. A server that a killed instance left behind is stopped and started again.

mod leftover;
mod programs;

use std::{
    fs, io,
    os::unix::{
        fs::{OpenOptionsExt, PermissionsExt},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use rustix::{
    fs::{FlockOperation, flock},
    process::{Pid, Signal, kill_process},
};
use tokio::{
    process::Child,
    time::{Instant, sleep, timeout},
};

use crate::{config::MAX_SOCKET_PATH, model::Secret};
use programs::{Account, Programs, ProgramsError};

const START_TIMEOUT: Duration = Duration::from_secs(60);
const STOP_TIMEOUT: Duration = Duration::from_secs(10);
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// The log of the server starts anew beyond this.
const MAX_LOG: u64 = 16 * 1024 * 1024;
const UNFINISHED: &str = "cluster.unfinished";

/// A PostgreSQL server of our own. Dropped without [`PrivateServer::stop`], it is told to stop and not waited for.
pub struct PrivateServer {
    child: Child,
    url: Secret,
    socket_dir: PathBuf,
    psql: PathBuf,
    /// Held as long as the data directory is ours.
    _lock: fs::File,
}

/// Why there is no private PostgreSQL.
#[derive(Debug, thiserror::Error)]
pub enum PrivateServerError {
    #[error(transparent)]
    Programs(#[from] ProgramsError),
    #[error("RESIN_DATA_DIR {path}: {source}")]
    Directory { path: PathBuf, source: io::Error },
    #[error(
        "RESIN_DATA_DIR: the private PostgreSQL's socket would be {path}, of {length} bytes; at most {MAX_SOCKET_PATH} \
         are allowed"
    )]
    SocketPath { path: PathBuf, length: usize },
    #[error("RESIN_DATA_DIR {0} is in use by another resin")]
    InUse(PathBuf),
    #[error(
        "RESIN_DATA_DIR {path}: the user {user}, whom PostgreSQL runs as because root may not, cannot reach it: every \
         folder above it must be open to others (chmod o+x)"
    )]
    Unreachable { path: PathBuf, user: String },
    #[error("{program} failed: {output}")]
    Failed { program: String, output: String },
    #[error("the private PostgreSQL did not start within {START_TIMEOUT:?}; its log is {0}")]
    Late(PathBuf),
    #[error("a PostgreSQL that an earlier resin left in {0} could not be stopped")]
    LeftBehind(PathBuf),
}

/// Where everything lies.
struct Places {
    data_dir: PathBuf,
    /// The cluster.
    cluster: PathBuf,
    /// The folder of the socket.
    socket: PathBuf,
    log: PathBuf,
}

impl PrivateServer {
    /// Starts the server of this data directory, making its cluster the first time.
    pub async fn start(data_dir: &Path) -> Result<Self, PrivateServerError> {
        let places = Places::in_dir(data_dir)?;
        let programs = Programs::find()?;
        let account = Account::to_run_as()?;
        let lock = places.prepare(&account)?;
        places.stop_left_behind().await?;
        if !places.cluster.join("PG_VERSION").exists() {
            places.make_cluster(&programs, &account).await?;
        }
        let child = places.spawn(&programs, &account)?;
        let url = format!("postgres:///resin?host={}&user=resin", encode(&places.socket));
        let mut server = Self {
            child,
            url: Secret::new(url),
            socket_dir: places.socket.clone(),
            psql: programs.psql.clone(),
            _lock: lock,
        };
        server.wait_until_it_answers(&places).await?;
        server.make_database(&places).await?;
        Ok(server)
    }

    /// For [`super::Store::open`].
    #[must_use]
    pub fn url(&self) -> &Secret {
        &self.url
    }

    /// How a person looks into it.
    #[must_use]
    pub fn psql_line(&self) -> String {
        format!("{} -h {} -U resin resin", quoted(&self.psql), quoted(&self.socket_dir))
    }

    /// Stops the server: what is open is broken off, what is committed is kept.
    pub async fn stop(mut self) {
        self.signal(Signal::INT);
        if timeout(STOP_TIMEOUT, self.child.wait()).await.is_err() {
            tracing::warn!("the private PostgreSQL does not stop; stopping it the hard way");
            self.signal(Signal::QUIT);
            let _gone_or_late = timeout(STOP_TIMEOUT, self.child.wait()).await;
        }
    }

    fn signal(&self, signal: Signal) {
        let pid = self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        if let Some(pid) = pid {
            let _gone = kill_process(pid, signal);
        }
    }

    async fn wait_until_it_answers(&mut self, places: &Places) -> Result<(), PrivateServerError> {
        let config = places.superuser_config("postgres");
        let late = Instant::now() + START_TIMEOUT;
        loop {
            if let Ok(Some(status)) = self.child.try_wait() {
                let output = format!("{status}; the end of {}: {}", places.log.display(), places.log_end());
                return Err(PrivateServerError::Failed { program: "postgres".to_owned(), output });
            }
            if let Ok((client, connection)) = config.connect(tokio_postgres::NoTls).await {
                drop((client, connection));
                return Ok(());
            }
            if Instant::now() >= late {
                return Err(PrivateServerError::Late(places.log.clone()));
            }
            sleep(LOOK_AGAIN).await;
        }
    }

    /// Role and database `resin`, where they are not there yet.
    async fn make_database(&self, places: &Places) -> Result<(), PrivateServerError> {
        let failed = |error: tokio_postgres::Error| PrivateServerError::Failed {
            program: "creating the database".to_owned(),
            output: super::error::chain(&error),
        };
        let config = places.superuser_config("postgres");
        let (client, connection) = config.connect(tokio_postgres::NoTls).await.map_err(failed)?;
        let driver = tokio::spawn(connection);
        let there = client
            .query_opt("select 1 from pg_database where datname = 'resin'", &[])
            .await
            .map_err(failed)?;
        if there.is_none() {
            client.batch_execute("create database resin").await.map_err(failed)?;
        }
        driver.abort();
        Ok(())
    }
}

impl Drop for PrivateServer {
    fn drop(&mut self) {
        self.signal(Signal::INT);
    }
}

impl Places {
    fn in_dir(data_dir: &Path) -> Result<Self, PrivateServerError> {
        let socket = data_dir.join("pg");
        let path = socket.join(".s.PGSQL.5432");
        let length = path.as_os_str().len();
        if length > MAX_SOCKET_PATH {
            return Err(PrivateServerError::SocketPath { path, length });
        }
        Ok(Self {
            data_dir: data_dir.to_owned(),
            cluster: data_dir.join("cluster"),
            log: data_dir.join("postgresql.log"),
            socket,
        })
    }

    /// Makes the folders, takes the lock, and sees to it that the server's account can work there.
    fn prepare(&self, account: &Account) -> Result<fs::File, PrivateServerError> {
        let at = |path: &Path| {
            let path = path.to_owned();
            move |source| PrivateServerError::Directory { path, source }
        };
        fs::create_dir_all(&self.data_dir).map_err(at(&self.data_dir))?;
        let lock_path = self.data_dir.join("lock");
        let lock = fs::File::create(&lock_path).map_err(at(&lock_path))?;
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Err(PrivateServerError::InUse(self.data_dir.clone()));
        }
        fs::create_dir_all(&self.socket).map_err(at(&self.socket))?;
        fs::set_permissions(&self.socket, fs::Permissions::from_mode(0o700)).map_err(at(&self.socket))?;
        if fs::metadata(&self.log).is_ok_and(|log| log.len() > MAX_LOG) {
            fs::remove_file(&self.log).map_err(at(&self.log))?;
        }
        // For nobody else's eyes: a server's log quotes statements.
        let log = fs::OpenOptions::new().create(true).append(true).mode(0o600).open(&self.log);
        drop(log.map_err(at(&self.log))?);
        if let Some(user) = account.other() {
            // The socket and the log are the server's; the folder itself stays ours, but can be passed through.
            let mode = fs::metadata(&self.data_dir).map_err(at(&self.data_dir))?.permissions().mode();
            let open = fs::Permissions::from_mode(mode | 0o011);
            fs::set_permissions(&self.data_dir, open).map_err(at(&self.data_dir))?;
            for path in [&self.socket, &self.log] {
                std::os::unix::fs::chown(path, Some(user.uid), Some(user.gid)).map_err(at(path))?;
            }
            let closed = self
                .data_dir
                .ancestors()
                .skip(1)
                .find(|above| fs::metadata(above).is_ok_and(|above| !user.can_pass(&above)));
            if closed.is_some() {
                return Err(PrivateServerError::Unreachable {
                    path: self.data_dir.clone(),
                    user: user.name.clone(),
                });
            }
        }
        Ok(lock)
    }

    /// Made beside its place and moved there when it is whole, so that a kill in between leaves nothing half done.
    async fn make_cluster(&self, programs: &Programs, account: &Account) -> Result<(), PrivateServerError> {
        let at = |source| PrivateServerError::Directory { path: self.data_dir.clone(), source };
        self.remove_unfinished().map_err(at)?;
        // Of a name of its own: what a killed instance began may still be under way.
        let unfinished = self.data_dir.join(format!("{UNFINISHED}.{}", std::process::id()));
        fs::create_dir(&unfinished).map_err(at)?;
        fs::set_permissions(&unfinished, fs::Permissions::from_mode(0o700)).map_err(at)?;
        if let Some(user) = account.other() {
            std::os::unix::fs::chown(&unfinished, Some(user.uid), Some(user.gid)).map_err(at)?;
        }
        let mut initdb = account.command(&programs.initdb, &unfinished);
        initdb.arg("--pgdata").arg(&unfinished);
        initdb.args(["--username=resin", "--auth=trust", "--encoding=UTF8", "--no-locale", "--no-sync"]);
        let mut initdb = tokio::process::Command::from(initdb);
        let made = initdb.stdin(Stdio::null()).kill_on_drop(true).output().await;
        let failed = |output: String| PrivateServerError::Failed { program: "initdb".to_owned(), output };
        let made = made.map_err(|error| failed(error.to_string()))?;
        if !made.status.success() {
            return Err(failed(last_line(&String::from_utf8_lossy(&made.stderr))));
        }
        // All at once is many times faster than initdb's file by file.
        flush(&unfinished).map_err(at)?;
        fs::rename(&unfinished, &self.cluster).map_err(at)?;
        flush(&self.data_dir).map_err(at)
    }

    fn remove_unfinished(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.data_dir)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with(UNFINISHED) {
                fs::remove_dir_all(entry.path())?;
            }
        }
        if self.cluster.exists() { fs::remove_dir_all(&self.cluster) } else { Ok(()) }
    }

    fn spawn(&self, programs: &Programs, account: &Account) -> Result<Child, PrivateServerError> {
        let failed = |error: io::Error| PrivateServerError::Failed {
            program: programs.postgres.display().to_string(),
            output: error.to_string(),
        };
        let log = fs::OpenOptions::new().append(true).open(&self.log).map_err(failed)?;
        let mut postgres = account.command(&programs.postgres, &self.cluster);
        postgres.arg("-D").arg(&self.cluster);
        for setting in [
            "listen_addresses=".to_owned(),
            // A list to PostgreSQL: quoted, so that a comma is part of the name.
            format!("unix_socket_directories=\"{}\"", self.socket.display().to_string().replace('"', "\"\"")),
            "unix_socket_permissions=0700".to_owned(),
            "port=5432".to_owned(),
            "max_connections=50".to_owned(),
            "log_min_messages=warning".to_owned(),
            // Details quote rows, and nodes have passwords in theirs.
            "log_error_verbosity=terse".to_owned(),
        ] {
            postgres.arg("-c").arg(setting);
        }
        // In a group of its own: a Ctrl-C in the terminal is for us.
        postgres.process_group(0);
        postgres.stdin(Stdio::null()).stdout(log.try_clone().map_err(failed)?).stderr(log);
        tokio::process::Command::from(postgres).spawn().map_err(failed)
    }

    fn superuser_config(&self, database: &str) -> tokio_postgres::Config {
        let mut config = tokio_postgres::Config::new();
        config.host_path(&self.socket).user("resin").dbname(database).connect_timeout(Duration::from_secs(5));
        config
    }

    fn log_end(&self) -> String {
        last_line(&fs::read_to_string(&self.log).unwrap_or_default())
    }
}

fn last_line(text: &str) -> String {
    text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("no output").trim().to_owned()
}

/// Everything under this folder is on the disk.
fn flush(folder: &Path) -> io::Result<()> {
    let folder = fs::File::open(folder)?;
    #[cfg(target_os = "linux")]
    rustix::fs::syncfs(&folder)?;
    #[cfg(not(target_os = "linux"))]
    rustix::fs::sync();
    drop(folder);
    Ok(())
}

/// For a shell.
fn quoted(path: &Path) -> String {
    let path = path.display().to_string();
    let plain = |c: char| c.is_alphanumeric() || "/._-+@".contains(c);
    if path.chars().all(plain) { path } else { format!("'{}'", path.replace('\'', "'\\''")) }
}

fn encode(path: &Path) -> String {
    percent_encoding::utf8_percent_encode(&path.to_string_lossy(), percent_encoding::NON_ALPHANUMERIC)
        .to_string()
}

impl Account {
    /// A command that runs as this account, in a folder that it can read.
    fn command(&self, program: &Path, working_dir: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir(working_dir).env_remove("PGDATA").env_remove("PGPORT").env_remove("PGHOST");
        if let Some(user) = self.other() {
            command.uid(user.uid).gid(user.gid);
        }
        command
    }
}

#[cfg(test)]
mod tests;
