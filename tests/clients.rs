//! The clients that people use, each as it is installed here: forward, CONNECT, a 407 and then success, keep-alive, a
//! large download and a large upload. What is not on the machine is skipped by name, and counted.

#![allow(clippy::unwrap_used)] // a broken expectation is a failed test

mod support;

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use sha2::{Digest, Sha256};
use support::{
    nodes::resin_direct,
    otlp::hex,
    resin::Resin,
    site::{Door, Site, uploaded},
    tls::Authority,
};
use tokio::{process::Command, time::timeout};

const USER: &str = "Default.Tom";
const TOKEN: &str = "tok-of-real-clients";
const BIG: usize = 24 * 1024 * 1024;
/// For one scenario of one client.
const LONGEST: Duration = Duration::from_secs(180);

const SCENARIOS: [&str; 8] = [
    "forward",
    "connect",
    "auth-forward",
    "auth-connect",
    "keep-forward",
    "keep-connect",
    "download",
    "upload",
];

/// Connections that a client may use for several requests: one, but for habits of its own.
fn most_connections(name: &str, scenario: &str) -> usize {
    match (name, scenario) {
        // Up to 3.8 it dials a proxy anew for each request that is not tunnelled, whichever proxy it is.
        ("aiohttp", "keep-forward") => 5,
        // Its pool is not back when the second request comes.
        ("undici", "keep-forward") => 2,
        // Drops the connection on which a tunnel was refused with 407.
        ("HttpClient", "keep-connect") => 2,
        // More for the page's icon at the same time, and tunnels that it makes ahead: of seven requests.
        ("chromium", "keep-forward") => 3,
        ("chromium", _) => 5,
        _ => 1,
    }
}

/// A client that is on this machine.
struct Client {
    name: &'static str,
    version: String,
    command: Vec<String>,
    environment: Vec<(&'static str, String)>,
}

/// What a program says, if it can be run and goes well.
async fn told(program: &str, args: &[&str]) -> Option<String> {
    let command = Command::new(program).args(args).stdin(Stdio::null()).kill_on_drop(true).output();
    let output = timeout(LONGEST, command).await.ok()?.ok()?;
    let said = [output.stdout, output.stderr].concat();
    output.status.success().then(|| String::from_utf8_lossy(&said).trim().to_owned())
}

/// The first number with a dot in it.
fn number(text: &str) -> String {
    let mut words = text.split(|c: char| !(c.is_ascii_digit() || c == '.'));
    words.find(|word| word.contains('.') && word.len() > 2).unwrap_or(text).to_owned()
}

fn script(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(name);
    path.to_str().unwrap().to_owned()
}

impl Client {
    fn new(name: &'static str, version: &str, command: &[&str]) -> Self {
        let command = command.iter().map(|word| (*word).to_owned()).collect();
        Self { name, version: number(version), command, environment: Vec::new() }
    }

    async fn of_shell(name: &'static str) -> Option<Self> {
        let version = told(name, &["--version"]).await?;
        Some(Self::new(name, &version, &["sh", &script(&format!("{name}.sh"))]))
    }

    async fn of_python(name: &'static str) -> Option<Self> {
        for python in ["python3", "/usr/bin/python3"] {
            let version = told(python, &["-c", &format!("import {name}; print({name}.__version__)")]).await;
            if let Some(version) = version {
                return Some(Self::new(name, &version, &[python, &script(&format!("with_{name}.py"))]));
            }
        }
        None
    }

    async fn undici() -> Option<Self> {
        let roots = told("npm", &["root", "-g"]).await.unwrap_or_default();
        let places = [format!("{roots}/undici"), "/usr/share/nodejs/undici".to_owned()];
        let place = places.into_iter().find(|place| Path::new(place).is_dir())?;
        let version = told("node", &["-p", &format!("require('{place}/package.json').version")]).await?;
        let mut client = Self::new("undici", &version, &["node", &script("with_undici.mjs")]);
        client.environment.push(("UNDICI", place));
        Some(client)
    }

    async fn go(dir: &Path) -> Option<Self> {
        let version = told("go", &["version"]).await?;
        let program = dir.join("client-in-go");
        let program = program.to_str().unwrap();
        told("go", &["build", "-o", program, &script("client.go")]).await?;
        Some(Self::new("net/http", &version, &[program]))
    }

    async fn java(dir: &Path) -> Option<Self> {
        let version = told("java", &["-version"]).await?;
        let classes = dir.to_str().unwrap();
        told("javac", &["-d", classes, &script("Client.java")]).await?;
        // Without this, Java takes no Basic for tunnels.
        let tunnels = "-Djdk.http.auth.tunneling.disabledSchemes=";
        Some(Self::new("HttpClient", &version, &["java", tunnels, "-cp", classes, "Client"]))
    }

    async fn chromium() -> Option<Self> {
        for program in ["chromium", "chromium-browser", "google-chrome"] {
            if let Some(version) = told(program, &["--version"]).await {
                let mut client = Self::new("chromium", &version, &["python3", &script("chromium.py")]);
                client.environment.push(("CHROMIUM", program.to_owned()));
                return Some(client);
            }
        }
        None
    }
}

/// All that there are, and the names of those that there are not.
async fn clients(dir: &Path) -> (Vec<Client>, Vec<&'static str>) {
    let all = [
        ("curl", Client::of_shell("curl").await),
        ("wget", Client::of_shell("wget").await),
        ("git", Client::of_shell("git").await),
        ("requests", Client::of_python("requests").await),
        ("httpx", Client::of_python("httpx").await),
        ("aiohttp", Client::of_python("aiohttp").await),
        ("undici", Client::undici().await),
        ("net/http", Client::go(dir).await),
        ("HttpClient", Client::java(dir).await),
        ("chromium", Client::chromium().await),
    ];
    let (mut here, mut missing) = (Vec::new(), Vec::new());
    for (name, client) in all {
        match client {
            Some(client) => here.push(client),
            None => missing.push(name),
        }
    }
    (here, missing)
}

/// A bare repository that holds one file, or nothing yet.
async fn repository(dir: &Path, name: &str, file: Option<(&str, &[u8])>) {
    let bare = dir.join(format!("{name}.git"));
    let bare = bare.to_str().unwrap();
    told("git", &["init", "-q", "--bare", "-b", "main", bare]).await.unwrap();
    told("git", &["-C", bare, "config", "http.receivepack", "true"]).await.unwrap();
    let Some((file, content)) = file else { return };
    let work = dir.join(format!("{name}-work"));
    fs::create_dir(&work).unwrap();
    fs::write(work.join(file), content).unwrap();
    let work = work.to_str().unwrap();
    for command in [
        &["init", "-q", "-b", "main"][..],
        &["add", file],
        &["-c", "user.name=t", "-c", "user.email=t@t.test", "commit", "-q", "-m", "one file"],
        &["push", "-q", bare, "main"],
    ] {
        told("git", &[&["-C", work, "-c", "core.compression=0"], command].concat()).await.unwrap();
    }
}

/// The world that every client meets.
struct World {
    resin: Resin,
    authority: Authority,
    http: String,
    https: String,
    /// SHA-256 of the server's public key, in base64.
    key: String,
    digest: String,
    file: PathBuf,
}

impl World {
    async fn make(dir: &Path) -> Self {
        let authority = Authority::new();
        let settings = [("RESIN_PROXY_TOKEN", TOKEN), ("RESIN_CA_FILE", authority.file())];
        let resin = resin_direct(&settings).await;
        let repositories = dir.join("repositories");
        fs::create_dir(&repositories).unwrap();
        let site = Site::new(BIG, &repositories);
        if told("git", &["--version"]).await.is_some() {
            repository(&repositories, "small", Some(("small", b"hello"))).await;
            repository(&repositories, "big", Some(("big", &site.big))).await;
            repository(&repositories, "up1", None).await;
            repository(&repositories, "up2", None).await;
        }
        let file = dir.join("upload");
        fs::write(&file, &site.big).unwrap();
        let (acceptor, key) = authority.acceptor_and_key("localhost");
        let http = format!("http://{}", site.serve(None).await);
        let https = format!("https://localhost:{}", site.serve(Some(acceptor)).await.port());
        let key = BASE64_STANDARD.encode(Sha256::digest(key));
        Self { resin, authority, http, https, key, digest: hex(&Sha256::digest(&site.big)), file }
    }

    /// What a client should say.
    fn expected(&self, client: &Client, scenario: &str) -> Vec<String> {
        let line = match scenario {
            "auth-forward" | "auth-connect" => return vec!["407".to_owned(), "200 hello".to_owned()],
            "download" => format!("200 {}", self.digest),
            "upload" => format!("200 {}", uploaded(BIG, true)),
            _ => "200 hello".to_owned(),
        };
        let count = match scenario {
            "download" | "upload" => 2,
            // Of git a single clone is several requests.
            "keep-forward" | "keep-connect" if client.name != "git" => 5,
            _ => 1,
        };
        vec![line; count]
    }

    /// One scenario; what went wrong, if anything.
    async fn run(&self, client: &Client, scenario: &str, dir: &Path) -> Result<(), String> {
        let origins = [&self.http, &self.https].map(|url| url.split_once("://").unwrap().1);
        let door = Door::before(self.resin.data, &origins).await;
        let mut command = Command::new(&client.command[0]);
        command.args(&client.command[1..]).envs(client.environment.iter().map(|(name, value)| (name, value)));
        command.env("SCENARIO", scenario).env("PROXY", door.address.to_string());
        command.env("PROXY_USER", USER).env("PROXY_PASSWORD", TOKEN).env("DIR", dir);
        command.env("HTTP", &self.http).env("HTTPS", &self.https).env("SPKI", &self.key);
        command.env("CA", self.authority.file()).env("FILE", &self.file);
        command.stdin(Stdio::null()).kill_on_drop(true);
        let Ok(output) = timeout(LONGEST, command.output()).await else {
            return Err(format!("nothing within {LONGEST:?}"));
        };
        let output = output.map_err(|error| error.to_string())?;
        let said = String::from_utf8_lossy(&output.stdout);
        let lines: Vec<&str> = said.lines().map(str::trim_end).collect();
        if lines != self.expected(client, scenario) {
            let complaint = String::from_utf8_lossy(&output.stderr);
            return Err(format!("{lines:?} {} {}", output.status, complaint.trim()));
        }
        match door.comers() {
            0 => Err("it did not come through the proxy".to_owned()),
            several if scenario.starts_with("keep-") && several > most_connections(client.name, scenario) => {
                Err(format!("{several} connections"))
            }
            _ => Ok(()),
        }
    }
}

/// Past the harness, which keeps what is printed.
fn say(line: &str) {
    std::io::stderr().write_all(format!("{line}\n").as_bytes()).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_clients_of_this_machine_get_along_on_every_way() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::make(dir.path()).await;
    let (clients, missing) = clients(dir.path()).await;
    let mut wrong = Vec::new();
    for client in &clients {
        let mut row = format!("client {} {}:", client.name, client.version);
        for scenario in SCENARIOS {
            let place = dir.path().join(format!("{}-{scenario}", client.name.replace('/', "-")));
            fs::create_dir(&place).unwrap();
            let verdict = match world.run(client, scenario, &place).await {
                Ok(()) => "ok",
                Err(what) => {
                    wrong.push(format!("{} {scenario}: {what}", client.name));
                    "FAILED"
                }
            };
            row += &format!(" {scenario} {verdict}");
        }
        say(&row);
    }
    say(&format!("clients: {} run, {} skipped: {}", clients.len(), missing.len(), missing.join(" ")));
    assert!(wrong.is_empty(), "{}\n{}", wrong.join("\n"), world.resin.stderr());
    assert!(clients.iter().any(|client| client.name == "curl"), "curl is what `make deps` brings");
    world.resin.records_until(clients.len() * SCENARIOS.len()).await;
    let failures = world.failures().await;
    assert!(failures.is_empty(), "{failures:#?}");
}

impl World {
    /// Records of what the network is said to have failed at.
    async fn failures(&self) -> Vec<resin::proto::RequestLog> {
        let filter = resin::proto::RequestLogFilter { net_ok: Some(false), ..Default::default() };
        let request = resin::proto::ListRequestLogsRequest {
            filter: Some(filter),
            page_size: 1000,
            ..Default::default()
        };
        let mut logs = self.resin.grpc().logs;
        let mut failures = logs.list_request_logs(request).await.unwrap().into_inner().request_logs;
        // A browser calls home, which is no business of this test's.
        failures.retain(|record| {
            [&self.http, &self.https]
                .iter()
                .any(|origin| origin.ends_with(&format!(":{}", record.target_port)))
        });
        failures
    }
}
