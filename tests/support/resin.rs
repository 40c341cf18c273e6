//! The program under test as a process: started on free ports with an environment of its own, spoken to from outside.
//!
//! Nothing here sleeps: what is waited for is a line on standard output, an answer, a record on the stream or the
//! end of the process, each under [`PATIENCE`].

use std::{
    env,
    future::Future,
    net::SocketAddr,
    path::Path,
    process::{ExitStatus, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use resin::proto::{
    Node, Platform, RequestLog, RequestLogFilter, StreamRequestLogsRequest,
    stream_request_logs_request::Start,
};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines},
    net::TcpStream,
    process::{Child, ChildStdout, Command},
    time::timeout,
};

use super::{
    grpc::{Grpc, named, spec},
    postgres::Database,
    secrets::{Verdict, Watch},
};

/// Far beyond what anything takes on a slow machine; a test that reaches it has failed.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Waits for what must come; the name is in the failure.
pub async fn soon<F: Future>(what: &str, future: F) -> F::Output {
    timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("{what}: nothing within {PATIENCE:?}"))
}

/// A run of the program, ready or not.
pub struct Process {
    child: Child,
    stdout: Lines<BufReader<ChildStdout>>,
    /// Lines of standard output so far.
    pub said: Vec<String>,
    stderr: Arc<Mutex<String>>,
    pid: u32,
    watch: Verdict,
}

/// How a run that ended by itself ended.
#[derive(Debug)]
pub struct Ended {
    pub status: ExitStatus,
    pub stdout: Vec<String>,
    pub stderr: String,
}

/// The program's command with none of this process's settings in its environment.
pub fn command(args: &[&str], settings: &[(&str, &str)]) -> std::process::Command {
    // Another build of it, where one is named: a long run is for what is shipped.
    let other = env::var_os("RESIN_TEST_PROGRAM");
    command_of(other.as_deref().unwrap_or(PROGRAM.as_ref()).as_ref(), args, settings)
}

/// Where the program under test was built.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_resin");

/// The same for a copy of the program.
pub fn command_of(program: &Path, args: &[&str], settings: &[(&str, &str)]) -> std::process::Command {
    let mut command = std::process::Command::new(program);
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    for (name, _) in env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        if name.starts_with("RESIN_") || name.starts_with("OTEL_") || name == "RUST_LOG" {
            command.env_remove(name);
        }
    }
    command.envs(settings.iter().copied());
    command
}

impl Process {
    pub fn spawn(args: &[&str], settings: &[(&str, &str)]) -> Self {
        Self::of(command(args, settings))
    }

    pub fn of(command: std::process::Command) -> Self {
        let settings =
            command.get_envs().filter_map(|(name, value)| Some((name.to_str()?, value?.to_str()?)));
        let watch = Watch::of_settings(settings);
        let mut child = Command::from(command).kill_on_drop(true).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut lines = BufReader::new(child.stderr.take().unwrap());
        let stderr = Arc::new(Mutex::new(String::new()));
        let (written, watching) = (Arc::clone(&stderr), watch.clone());
        tokio::spawn(async move {
            let mut line = Vec::new();
            while lines.read_until(b'\n', &mut line).await.is_ok_and(|read| read > 0) {
                let text = String::from_utf8_lossy(&line);
                watching.look(&text);
                written.lock().unwrap().push_str(&text);
                line.clear();
            }
        });
        let pid = child.id().unwrap();
        Self { child, stdout, said: Vec::new(), stderr, pid, watch: Verdict(watch) }
    }

    /// Reads standard output up to the line that begins so, and gives what follows.
    pub async fn line(&mut self, beginning: &str) -> String {
        loop {
            let next = timeout(PATIENCE, self.stdout.next_line()).await;
            let Ok(Ok(Some(line))) = next else {
                let stderr = self.stderr();
                panic!(
                    "no line `{beginning}…` on standard output ({next:?}), only {:?}\n{stderr}",
                    self.said
                );
            };
            self.watch.0.look(&line);
            self.said.push(line.clone());
            if let Some(rest) = line.strip_prefix(beginning) {
                return rest.trim().to_owned();
            }
        }
    }

    /// Standard error so far.
    pub fn stderr(&self) -> String {
        self.stderr.lock().unwrap().clone()
    }

    /// Waits until a line of standard error satisfies this.
    pub async fn stderr_line(&self, what: &str, matches: impl Fn(&str) -> bool) -> String {
        let found = async {
            loop {
                if let Some(line) = self.stderr().lines().find(|line| matches(line)) {
                    return line.to_owned();
                }
                tokio::time::sleep(Duration::from_millis(10)).await; // there is no signal for another's log line
            }
        };
        match timeout(PATIENCE, found).await {
            Ok(line) => line,
            Err(_) => panic!("no log line with {what} in:\n{}", self.stderr()),
        }
    }

    pub fn pid(&self) -> u32 {
        self.pid
    }

    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.pid).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Waits for the end, whatever brings it.
    pub async fn ended(mut self) -> Ended {
        let ending = async {
            let status = self.child.wait().await.unwrap();
            while let Ok(Some(line)) = self.stdout.next_line().await {
                self.watch.0.look(&line);
                self.said.push(line);
            }
            // The reader of standard error drops its half when it is through.
            while Arc::strong_count(&self.stderr) > 1 {
                tokio::task::yield_now().await;
            }
            status
        };
        let Ok(status) = timeout(PATIENCE, ending).await else {
            panic!("the program did not end within {PATIENCE:?}\n{}", self.stderr());
        };
        Ended { status, stderr: self.stderr(), stdout: self.said }
    }
}

/// A ready instance. Dropping it kills it.
pub struct Resin {
    pub process: Process,
    pub data: SocketAddr,
    pub control: SocketAddr,
    pub ops: SocketAddr,
    pub database: Option<Database>,
    admin_token: String,
    taken: AtomicUsize,
    data_dir: Option<TempDir>,
}

impl Resin {
    /// On a fresh database, with empty tokens, unless the settings say otherwise.
    pub async fn start(settings: &[(&str, &str)]) -> Self {
        let database = Database::new().await;
        Self::start_on(&database, settings).await
    }

    /// On a database that is there already.
    pub async fn start_on(database: &Database, settings: &[(&str, &str)]) -> Self {
        let url = [("RESIN_DATABASE_URL", database.url.as_str())];
        let mut resin = Self::start_bare(&[&url, settings].concat()).await;
        resin.database = Some(database.clone());
        resin
    }

    /// With no database in the settings but what is given.
    pub async fn start_bare(settings: &[(&str, &str)]) -> Self {
        let data_dir = tempfile::tempdir().unwrap();
        let place = [("RESIN_DATA_DIR", data_dir.path().to_str().unwrap())];
        let all = [&DEFAULTS[..], &place, settings].concat();
        let mut resin = Self::ready(Process::spawn(&["serve"], &all)).await;
        resin.admin_token = setting(&all, "RESIN_ADMIN_TOKEN");
        resin.data_dir = Some(data_dir);
        resin
    }

    /// Waits until a process that was started by hand is ready.
    pub async fn ready(mut process: Process) -> Self {
        let mut address = [None; 3];
        for (port, address) in ["resin data ", "resin control ", "resin ops "].iter().zip(&mut address) {
            let text = process.line(port).await;
            *address = Some(text.parse().unwrap_or_else(|_| panic!("`{port}{text}` is no address")));
        }
        process.line("resin ready").await;
        let [data, control, ops] = address.map(Option::unwrap);
        let taken = AtomicUsize::new(0);
        Self {
            process,
            data,
            control,
            ops,
            database: None,
            admin_token: String::new(),
            taken,
            data_dir: None,
        }
    }

    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Waits until a line of the log satisfies this.
    pub async fn stderr_line(&self, what: &str, matches: impl Fn(&str) -> bool) -> String {
        self.process.stderr_line(what, matches).await
    }

    pub fn stderr(&self) -> String {
        self.process.stderr()
    }

    pub fn database(&self) -> &Database {
        self.database.as_ref().expect("a database of the test's")
    }

    /// SIGTERM, then the end.
    pub async fn stop(self) -> ExitStatus {
        self.process.signal(Signal::TERM);
        self.ended().await.status
    }

    pub async fn ended(self) -> Ended {
        let data_dir = self.data_dir;
        let ended = self.process.ended().await;
        drop(data_dir);
        ended
    }

    /// SIGKILL, and waits until it is gone.
    pub async fn kill(self) {
        self.process.signal(Signal::KILL);
        self.ended().await;
    }

    /// Clients with the admin token that the instance was started with.
    pub fn grpc(&self) -> Grpc {
        Grpc::new(self.control, &self.admin_token)
    }

    /// Nodes as (uri, tag), in force when this returns.
    pub async fn upsert_nodes(&self, nodes: &[(&str, &str)]) -> Vec<Node> {
        let nodes = nodes.iter().map(|(uri, tag)| spec(uri, tag)).collect();
        soon("UpsertNodes", self.grpc().upsert_nodes(nodes)).await.unwrap()
    }

    /// The platform, made where it is not there, retries so often.
    pub async fn set_retries(&self, platform: &str, max_retries: i32) -> Platform {
        self.set_platform(Platform { max_retries: Some(max_retries), ..named(platform) }).await
    }

    pub async fn set_platform(&self, platform: Platform) -> Platform {
        soon("UpsertPlatform", self.grpc().upsert_platform(platform)).await.unwrap()
    }

    /// The first so many records since the instance's database was made, in order of insertion; waits for them.
    pub async fn records_until(&self, count: usize) -> Vec<RequestLog> {
        let records = self.records_matching(RequestLogFilter::default(), count).await;
        self.taken.fetch_max(count, Ordering::Relaxed);
        records
    }

    /// The first so many records that match.
    pub async fn records_matching(&self, filter: RequestLogFilter, count: usize) -> Vec<RequestLog> {
        let start = Some(Start::Since(SystemTime::UNIX_EPOCH.into()));
        let request = StreamRequestLogsRequest { filter: Some(filter), start, follow: true };
        let mut records = Vec::new();
        let reading = async {
            let mut stream = self.grpc().logs.stream_request_logs(request).await.unwrap().into_inner();
            while records.len() < count {
                let batch = stream.message().await.unwrap().expect("a stream that follows does not end");
                records.extend(batch.request_logs);
            }
        };
        if timeout(PATIENCE, reading).await.is_err() {
            panic!(
                "{} of {count} records within {PATIENCE:?}: {records:#?}\n{}",
                records.len(),
                self.stderr()
            );
        }
        records.truncate(count);
        records
    }

    /// The next record in order of insertion that none of these calls has given yet: after one request, its record.
    pub async fn last_record(&self) -> RequestLog {
        let count = self.taken.load(Ordering::Relaxed) + 1;
        self.records_until(count).await.pop().unwrap()
    }

    /// Most memory that the process ever held, in KiB.
    pub fn peak_memory_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches("kB").trim().parse().unwrap()
    }

    /// From here on the peak is counted anew.
    pub fn forget_peak_memory(&self) {
        std::fs::write(format!("/proc/{}/clear_refs", self.pid()), "5").unwrap();
    }

    /// Status and body of a GET on the ops port.
    pub async fn ops_get(&self, path: &str) -> (u16, String) {
        get(self.ops, path).await.unwrap()
    }

    pub async fn metrics(&self) -> String {
        let (status, body) = self.ops_get("/metrics").await;
        assert_eq!(status, 200, "{body}");
        body
    }
}

/// What every instance of a test starts from; settings that come later win.
pub const DEFAULTS: [(&str, &str); 6] = [
    ("RESIN_DATA_LISTEN", "127.0.0.1:0"),
    ("RESIN_CONTROL_LISTEN", "127.0.0.1:0"),
    ("RESIN_OPS_LISTEN", "127.0.0.1:0"),
    ("RESIN_PROXY_TOKEN", ""),
    ("RESIN_ADMIN_TOKEN", ""),
    ("NO_COLOR", "1"),
];

fn setting(settings: &[(&str, &str)], name: &str) -> String {
    settings.iter().rev().find(|(known, _)| *known == name).map_or("", |(_, value)| value).to_owned()
}

/// A plain GET whose connection is closed after the answer: status and body.
pub async fn get(address: SocketAddr, path: &str) -> std::io::Result<(u16, String)> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    let answer = exchange(address, &request).await?;
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body).to_owned();
    Ok((status, body))
}

/// Says this and hears the answer to its end.
pub async fn exchange(address: SocketAddr, request: &str) -> std::io::Result<String> {
    let exchange = async {
        let mut connection = TcpStream::connect(address).await?;
        connection.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        connection.read_to_end(&mut answer).await?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    };
    soon("a whole answer", exchange).await
}
