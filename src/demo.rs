//! `resin demo`: a small world around an ordinary instance, told as a story.
//!
//! A private PostgreSQL, an origin, and three nodes of which two are bad. Real requests go through all three paths, and
//! what happened to each is read back from the log stream over gRPC, as any controller would.

mod show;
mod world;

use std::{
    io,
    net::SocketAddr,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::timeout,
};
use tonic::{Streaming, transport::Channel};

use crate::{
    app::{self, App, Bound, StartError},
    config::{Ambient, Config, Mistakes},
    drain::StopSignals,
    proto::{
        NodeSpec, Platform, RequestLog, StreamRequestLogsRequest, StreamRequestLogsResponse,
        UpsertNodesRequest, UpsertPlatformRequest, node_service_client::NodeServiceClient,
        platform_service_client::PlatformServiceClient, request_log_service_client::RequestLogServiceClient,
    },
    telemetry::logs,
};
use show::Show;
use world::{Trip, World};

const PLATFORM: &str = "Demo";
const MAX_RETRIES: i32 = 2;
/// Picks are random: after this many requests every path has shown a retry, or something is wrong.
const MOST_REQUESTS: usize = 50;
const PATIENCE: Duration = Duration::from_secs(30);
/// Nobody who presses Ctrl-C wants to wait for a tunnel that was left open.
const DRAIN_TIMEOUT: &str = "2s";
const DEFAULT_PORTS: [u16; 3] = [2260, 2261, 2262];
const ANY_PORTS: [u16; 3] = [0; 3];

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Tells the story. With `once` it leaves when the story is over: 0 when everything was as told, else 1.
pub async fn run(once: bool) -> ExitCode {
    logs::init("warn", crate::config::LogFormat::Human);
    let show = Show::on_standard_output();
    match tell(&show, once).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            show.failure(&*error);
            ExitCode::FAILURE
        }
    }
}

async fn tell(show: &Show, once: bool) -> Result<(), Failure> {
    let mut end = End::listen()?;
    let home = Home::make()?;
    show.title();
    let begun = Instant::now();
    show.step("starting a private PostgreSQL and an instance of resin");
    let app = {
        let mut starting = std::pin::pin!(start(&home.0));
        tokio::select! {
            app = &mut starting => app?,
            () = end.asked() => {
                // What has been started half is started whole, so that it can be stopped in good order.
                stop(starting.await?, &mut end).await?;
                return Err("interrupted".into());
            }
        }
    };
    show.done(begun.elapsed());
    let told = tokio::select! {
        told = story(show, &app) => told,
        () = end.asked() => Err("interrupted".into()),
    };
    match &told {
        Ok(_) if once => show.leaves(),
        Ok(_) => {
            show.stays_up();
            end.asked().await;
            show.is_stopping();
        }
        Err(_) => {}
    }
    stop(app, &mut end).await?;
    told.map(drop)
}

/// In good order, unless somebody asks a second time.
async fn stop(app: App, end: &mut End) -> Result<(), Failure> {
    tokio::select! {
        () = app.stop() => Ok(()),
        () = end.asked() => Err("interrupted while stopping".into()),
    }
}

/// Ctrl-C, SIGTERM, or the terminal has gone.
struct End {
    stop: StopSignals,
    hangup: Signal,
}

impl End {
    fn listen() -> io::Result<Self> {
        Ok(Self { stop: StopSignals::listen()?, hangup: signal(SignalKind::hangup())? })
    }

    async fn asked(&mut self) {
        tokio::select! {
            () = self.stop.next() => {}
            _ = self.hangup.recv() => {}
        }
    }
}

/// An instance as anybody would start it: on the default ports, or where one of them is taken, on any.
async fn start(home: &Path) -> Result<App, Failure> {
    let bound = match bind(home, DEFAULT_PORTS).await? {
        Err(StartError::Bind { .. }) => bind(home, ANY_PORTS).await?,
        bound => bound,
    };
    Ok(bound?.open().await?)
}

async fn bind(home: &Path, [data, control, ops]: [u16; 3]) -> Result<Result<Bound, StartError>, Mistakes> {
    let listen = |port: u16| Some(format!("127.0.0.1:{port}"));
    let lookup = |name: &str| match name {
        "RESIN_DATA_LISTEN" => listen(data),
        "RESIN_CONTROL_LISTEN" => listen(control),
        "RESIN_OPS_LISTEN" => listen(ops),
        "RESIN_DATA_DIR" => Some(home.display().to_string()),
        "RESIN_DRAIN_TIMEOUT" => Some(DRAIN_TIMEOUT.to_owned()),
        _ => None,
    };
    let ambient = Ambient { root: false, cores: 2, current_dir: PathBuf::from("/") };
    let config = Config::parse(lookup, &ambient)?;
    // Spans go where the environment says, as they would from any instance.
    Ok(app::bind(config, |name| std::env::var(name).ok()).await)
}

async fn story(show: &Show, app: &App) -> Result<World, Failure> {
    let world = World::start().await?;
    show.world(&world);
    let channel = Channel::from_shared(format!("http://{}", app.control_addr()))?.connect().await?;
    declare(&channel, &world).await?;
    show.platform(PLATFORM, MAX_RETRIES);
    let follow = StreamRequestLogsRequest { follow: true, ..StreamRequestLogsRequest::default() };
    let stream = RequestLogServiceClient::new(channel).stream_request_logs(follow).await?.into_inner();
    send_until_each_path_was_retried(show, app.data_addr(), &world, stream).await?;
    show.commands(app, &world, PLATFORM);
    Ok(world)
}

/// What a controller does: nodes, then a platform that picks them by their tags.
async fn declare(channel: &Channel, world: &World) -> Result<(), Failure> {
    let spec = |(tag, address): (&str, SocketAddr)| NodeSpec {
        uri: format!("http://{address}"),
        tag: tag.to_owned(),
        ..NodeSpec::default()
    };
    let nodes = world.nodes().into_iter().map(spec).collect();
    let nodes = UpsertNodesRequest { nodes, validate_only: false };
    NodeServiceClient::new(channel.clone()).upsert_nodes(nodes).await?;
    let platform = Platform {
        name: PLATFORM.to_owned(),
        regex_filters: vec!["^demo-".to_owned()],
        max_retries: Some(MAX_RETRIES),
        ..Platform::default()
    };
    let platform = UpsertPlatformRequest { platform: Some(platform), ..UpsertPlatformRequest::default() };
    PlatformServiceClient::new(channel.clone()).upsert_platform(platform).await?;
    Ok(())
}

async fn send_until_each_path_was_retried(
    show: &Show,
    data: SocketAddr,
    world: &World,
    mut stream: Streaming<StreamRequestLogsResponse>,
) -> Result<(), Failure> {
    let mut missing = Trip::ALL.to_vec();
    let mut records = Vec::new();
    for number in 1..=MOST_REQUESTS {
        let trip = missing[number % missing.len()];
        let body = timeout(PATIENCE, world.send(trip, data, PLATFORM, number)).await??;
        if body != World::says(number) {
            return Err(format!("request {number} was answered with {body:?}").into());
        }
        let record = timeout(PATIENCE, next_record(&mut stream, &mut records)).await??;
        show.record(trip, &record);
        check(&record)?;
        let delivered = world.delivered(number);
        if delivered != 1 {
            return Err(format!("request {number} reached the origin {delivered} times").into());
        }
        if record.retry_attempts > 0 {
            missing.retain(|other| *other != trip);
        }
        if missing.is_empty() {
            show.every_path_was_retried(number);
            return Ok(());
        }
    }
    Err(format!("{MOST_REQUESTS} requests, and {missing:?} were never retried").into())
}

async fn next_record(
    stream: &mut Streaming<StreamRequestLogsResponse>,
    waiting: &mut Vec<RequestLog>,
) -> Result<RequestLog, Failure> {
    loop {
        if let Some(record) = waiting.pop() {
            return Ok(record);
        }
        let answer = stream.message().await?.ok_or("the log stream has ended")?;
        waiting.extend(answer.request_logs.into_iter().rev());
    }
}

fn check(record: &RequestLog) -> Result<(), Failure> {
    let retries = usize::try_from(record.retry_attempts).unwrap_or(usize::MAX);
    let told = record.http_status == 200
        && record.net_ok
        && record.node_tag == world::GOOD
        && retries == record.retry_details.len()
        && record.retry_details.iter().all(|attempt| !attempt.request_written);
    if told { Ok(()) } else { Err(format!("this record is not as it should be: {record:?}").into()) }
}

/// A folder that goes with the demo.
struct Home(PathBuf);

impl Home {
    /// Rather in `/tmp` than where `TMPDIR` says: a socket's path must be short, and where root starts the demo, the
    /// database's account must get there. Nobody else's folder is ever taken: it must not be there before.
    fn make() -> io::Result<Self> {
        let name = format!("resin-demo-{:08x}", fastrand::u32(..));
        let make = |parent: &Path| {
            let home = parent.join(&name);
            std::fs::DirBuilder::new().mode(0o700).create(&home).map(|()| Self(home))
        };
        make(Path::new("/tmp")).or_else(|_| make(&std::env::temp_dir()))
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        match std::fs::remove_dir_all(&self.0) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                eprintln!("{} could not be removed: {error}", self.0.display());
            }
            _ => {}
        }
    }
}
