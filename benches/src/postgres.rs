//! A PostgreSQL server for resin's records, in a folder that goes with it. It is not measured.
//!
//! A small shell owns it and waits for the end of its own standard input, so it ends when we do, however that is.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    os::unix::{fs::chown, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering::Relaxed},
};

use crate::Outcome;

pub struct Postgres {
    programs: PathBuf,
    folder: PathBuf,
    databases: AtomicU32,
    /// Its standard input is what keeps the server up.
    _keeper: Child,
}

/// `$1`: the server programs, `$2`: an empty directory. Says `ready`, or what went wrong and leaves.
const KEEPER: &str = r#"
trap '' INT TERM HUP
if "$1/initdb" --no-sync -A trust -U bench -E UTF8 --locale=C -D "$2/data" >"$2/log" 2>&1 \
    && printf '%s\n' "unix_socket_directories = '$2'" "listen_addresses = ''" 'fsync = off' 'max_wal_size = 64MB' \
        'wal_level = minimal' 'max_wal_senders = 0' >>"$2/data/postgresql.conf" \
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

impl Postgres {
    pub fn start() -> Outcome<Self> {
        let programs =
            programs().ok_or("PostgreSQL's server programs are missing (make deps brings them)")?;
        let folder = tempfile::Builder::new().prefix("resin-bench-pg-").tempdir()?.keep();
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(KEEPER).arg("keeper").arg(&programs).arg(&folder).current_dir(&folder);
        // A Ctrl-C is ours to hear.
        shell.process_group(0);
        if let Some((uid, gid)) = unprivileged()? {
            chown(&folder, Some(uid), Some(gid))?;
            shell.uid(uid).gid(gid);
        }
        let mut keeper = shell.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let mut said = BufReader::new(keeper.stdout.take().ok_or("no standard output")?);
        let mut line = String::new();
        said.read_line(&mut line)?;
        if line.trim() != "ready" {
            said.read_to_string(&mut line)?;
            return Err(format!("PostgreSQL does not start: {line}").into());
        }
        Ok(Self { programs, folder, databases: AtomicU32::new(0), _keeper: keeper })
    }

    /// The URL of a new database.
    pub fn database(&self) -> Outcome<String> {
        let name = self.name(self.databases.fetch_add(1, Relaxed));
        self.run("createdb", &[&name])?;
        let host = self.folder.to_string_lossy().replace('/', "%2F");
        Ok(format!("postgres://bench@{host}:5432/{name}"))
    }

    /// Drops what was recorded, so that millions of records do not fill the disk.
    pub fn forget_records(&self) -> Outcome<()> {
        for number in 0..self.databases.load(Relaxed) {
            self.run("psql", &["-q", "-c", "truncate request_logs", &self.name(number)])?;
        }
        Ok(())
    }

    fn name(&self, number: u32) -> String {
        format!("bench{number}")
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Outcome<()> {
        let mut command = Command::new(self.programs.join(program));
        command.arg("-h").arg(&self.folder).args(["-U", "bench"]).args(arguments);
        let output = command.stdin(Stdio::null()).output()?;
        if output.status.success() {
            return Ok(());
        }
        Err(format!("{program}: {}", String::from_utf8_lossy(&output.stderr)).into())
    }
}

/// The directory of `initdb`, `pg_ctl` and `createdb`: on the path, or the newest of Debian's.
fn programs() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let mut versions: Vec<PathBuf> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .collect();
    versions.sort_by_key(|version| std::cmp::Reverse(number_in(version)));
    places.extend(versions.into_iter().map(|version| version.join("bin")));
    let usable =
        |place: &PathBuf| ["initdb", "pg_ctl", "createdb"].iter().all(|name| place.join(name).is_file());
    places.into_iter().find(usable)
}

fn number_in(path: &Path) -> u32 {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.parse().unwrap_or(0)
}

/// As root, who PostgreSQL runs as: `postgres`, else `nobody`. Otherwise nobody else.
fn unprivileged() -> Outcome<Option<(u32, u32)>> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let found = user("postgres").or_else(|| user("nobody"));
    Ok(Some(found.ok_or("there is no user to run PostgreSQL as")?))
}

fn user(name: &str) -> Option<(u32, u32)> {
    let passwd = fs::read_to_string("/etc/passwd").ok()?;
    let line = passwd.lines().find(|line| line.split(':').next() == Some(name))?;
    let fields: Vec<&str> = line.split(':').collect();
    Some((fields.get(2)?.parse().ok()?, fields.get(3)?.parse().ok()?))
}
