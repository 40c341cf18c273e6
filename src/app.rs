//! Where all parts are made and joined, and taken apart again. Whatever can fail at the start fails here.
//!
//! [`bind`] takes the ports (one in use is an error at once; the ops port answers from here), [`Bound::open`] brings
//! the rest up in the order of the contract: PostgreSQL, migrations, snapshot, data and control, ready. [`App::stop`]
//! goes the other way: not ready, drained, records and spans flushed.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    sync::{Arc, atomic::Ordering},
    thread,
    time::{Duration, SystemTime},
};

use tokio::{
    sync::watch,
    task::{JoinHandle, spawn_blocking},
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    config::{Config, Database},
    control::{self, Control, SystemFacts},
    drain::Drain,
    proxy::{self, Shared, Worker},
    record::Journal,
    routing::{Directory, Snapshot},
    store::{Changes, NodeChange, PrivateServer, PrivateServerError, Recorder, Store, StoreError},
    telemetry::{Metrics, Tracing, ops},
    upstream::{OwnRoots, Targets, Trust, TrustError},
};

const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// How long records and spans may take to be flushed once everything else has ended.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(5);

/// Why it does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("{setting} {address}: {source}")]
    Bind { setting: &'static str, address: SocketAddr, source: io::Error },
    #[error(transparent)]
    Trust(#[from] TrustError),
    #[error(transparent)]
    PrivateServer(#[from] PrivateServerError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("tracing: {0}")]
    Tracing(String),
    #[error("threads: {0}")]
    Threads(io::Error),
}

/// Binds the ports and brings everything up.
pub async fn start(config: Config) -> Result<App, StartError> {
    bind(config, |_| None).await?.open().await
}

/// All ports are bound, and the ops port answers. Nothing else runs yet.
pub struct Bound {
    config: Config,
    data: proxy::Listeners,
    control: tokio::net::TcpListener,
    addresses: Addresses,
    metrics: Metrics,
    tracing: Tracing,
    trust: JoinHandle<Result<Trust, TrustError>>,
    ready: watch::Sender<ops::Readiness>,
    halt: CancellationToken,
    ops: JoinHandle<()>,
}

/// Where it listens.
#[derive(Debug, Clone, Copy)]
pub struct Addresses {
    pub data: SocketAddr,
    pub control: SocketAddr,
    pub ops: SocketAddr,
}

/// Binds the ports. `environment` is where the `OTEL_*` settings are looked up.
pub async fn bind(config: Config, environment: impl Fn(&str) -> Option<String>) -> Result<Bound, StartError> {
    // Whatever can be wrong with it is told now; the system's are read while the database is waited for.
    let own = OwnRoots::read(config.ca_file.as_deref())?;
    let trust = spawn_blocking(move || Trust::load(own));
    let refuse = |setting, address| move |source| StartError::Bind { setting, address, source };
    let data = proxy::bind(config.data_listen, config.data_threads)
        .map_err(refuse("RESIN_DATA_LISTEN", config.data_listen))?;
    let (control, control_address) =
        listen(config.control_listen).map_err(refuse("RESIN_CONTROL_LISTEN", config.control_listen))?;
    let (ops_listener, ops_address) =
        listen(config.ops_listen).map_err(refuse("RESIN_OPS_LISTEN", config.ops_listen))?;
    let addresses = Addresses { data: data.address, control: control_address, ops: ops_address };

    let metrics = Metrics::new();
    let tracing = Tracing::from_env(environment).map_err(|error| StartError::Tracing(error.to_string()))?;
    let (ready, readiness) = watch::channel(ops::Readiness::NotReady("starting"));
    let halt = CancellationToken::new();
    let ops = tokio::spawn(ops::serve(ops_listener, metrics.clone(), readiness, halt.clone()));
    Ok(Bound { config, data, control, addresses, metrics, tracing, trust, ready, halt, ops })
}

fn listen(address: SocketAddr) -> io::Result<(tokio::net::TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    Ok((tokio::net::TcpListener::from_std(listener)?, address))
}

impl Bound {
    #[must_use]
    pub fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// Brings the rest up. Waits for a database that cannot be reached.
    pub async fn open(self) -> Result<App, StartError> {
        let Self { config, data, control, addresses, metrics, tracing, trust, ready, halt, ops } = self;
        let (store, private) = open_store(&config, &ready).await?;
        let directory = Arc::new(Directory::new(Snapshot::default()));
        let changes = Changes::new(store.clone(), Arc::clone(&directory));
        prepare(&store, &changes, &config, &ready).await?;

        let instance = Uuid::now_v7();
        let journal = Arc::new(Journal::new(config.log_queue));
        let recorder = Recorder::new(store.clone(), Arc::clone(&journal), instance, config.log_retention);
        observe_log(&metrics, &journal, &recorder);
        let flush = CancellationToken::new();
        let recorder = tokio::spawn(recorder.run(flush.clone()));
        let listener = tokio::spawn(Arc::clone(&changes).listen(halt.clone()));

        let drain = Drain::new();
        let shared = Shared {
            directory: Arc::clone(&directory),
            journal,
            metrics,
            tracing: tracing.clone(),
            trust: trust.await.map_err(|error| StartError::Threads(error.into()))??,
            targets: Targets::new(config.targets, [addresses.data, addresses.control, addresses.ops]),
            drain: drain.clone(),
            idle: Arc::default(),
            numbers: proxy::Numbers::default(),
        };
        let threads = spawn_data_threads(data, &shared, &config, &halt)?;
        let control = serve_control(control, store, changes, directory, instance, &config, &ready, &halt);
        ready.send_replace(ops::Readiness::Ready);
        Ok(App {
            addresses,
            drain,
            ready,
            halt,
            flush,
            tracing,
            private,
            threads,
            control,
            recorder,
            listener,
            ops,
            config,
        })
    }
}

/// Opens the database that is configured, starting the private one where there is none.
async fn open_store(
    config: &Config,
    ready: &watch::Sender<ops::Readiness>,
) -> Result<(Store, Option<PrivateServer>), StartError> {
    ready.send_replace(ops::Readiness::NotReady("waiting for PostgreSQL"));
    match &config.database {
        Database::Url { url, ca_file } => Ok((Store::open(url, ca_file.as_deref())?, None)),
        Database::Private => {
            let server = PrivateServer::start(&config.data_dir).await?;
            tracing::info!(psql = server.psql_line(), "private PostgreSQL started");
            Ok((Store::open(server.url(), None)?, Some(server)))
        }
    }
}

/// Migrations, the default platform, the nodes of the settings, the first snapshot; over again while the database is
/// away.
async fn prepare(
    store: &Store,
    changes: &Changes,
    config: &Config,
    ready: &watch::Sender<ops::Readiness>,
) -> Result<(), StartError> {
    let mut pause = FIRST_PAUSE;
    loop {
        match prepare_once(store, changes, config).await {
            Ok(()) => return Ok(()),
            Err(error) if error.is_unavailable() => {
                ready.send_replace(ops::Readiness::NotReady("PostgreSQL cannot be reached"));
                tracing::warn!(
                    database = %store.name(),
                    %error,
                    again_in_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX),
                    "PostgreSQL cannot be reached; trying again"
                );
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
            Err(error) => return Err(error.into()),
        }
    }
}

async fn prepare_once(store: &Store, changes: &Changes, config: &Config) -> Result<(), StoreError> {
    // The first of the pool's connections is made meanwhile.
    let pooled = store.clone();
    tokio::spawn(async move { pooled.ping().await });
    store.migrate().await?;
    store.ensure_default_platform(config.default_platform_max_retries).await?;
    let nodes = NodeChange::of_settings(&config.nodes);
    if !nodes.is_empty() {
        store.put_nodes(nodes).await?;
    }
    changes.reload().await
}

fn observe_log(metrics: &Metrics, journal: &Arc<Journal>, recorder: &Recorder) {
    let waiting = Arc::clone(journal);
    let refused = Arc::clone(journal);
    let (written, lost) = (recorder.counts(), recorder.counts());
    metrics.observe_log(
        move || waiting.len() as u64,
        move || written.written.load(Ordering::Relaxed),
        move || lost.lost.load(Ordering::Relaxed) + refused.refused(),
    );
}

/// One runtime per thread: whatever is done for a connection stays on the thread that accepted it.
fn spawn_data_threads(
    listeners: proxy::Listeners,
    shared: &Shared,
    config: &Config,
    halt: &CancellationToken,
) -> Result<Vec<thread::JoinHandle<()>>, StartError> {
    let spawn = |(number, socket): (usize, TcpListener)| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let worker = Worker::new(shared.clone(), config);
        let halt = halt.clone();
        thread::Builder::new().name(format!("data-{number}")).spawn(move || {
            runtime.block_on(async {
                let sweeping = Arc::clone(&worker);
                tokio::spawn(async move { sweeping.sweep().await });
                match tokio::net::TcpListener::from_std(socket) {
                    Ok(listener) => proxy::accept(Arc::clone(&worker), listener, halt).await,
                    Err(error) => tracing::error!(%error, "a data thread has no listener"),
                }
                worker.pool.clear();
            });
            // Dropping the runtime drops what is still under way: each writes its record.
            drop(runtime);
        })
    };
    listeners
        .sockets
        .into_iter()
        .enumerate()
        .map(spawn)
        .collect::<io::Result<_>>()
        .map_err(StartError::Threads)
}

#[allow(clippy::too_many_arguments)]
fn serve_control(
    listener: tokio::net::TcpListener,
    store: Store,
    changes: Arc<Changes>,
    directory: Arc<Directory>,
    instance: Uuid,
    config: &Config,
    ready: &watch::Sender<ops::Readiness>,
    halt: &CancellationToken,
) -> JoinHandle<()> {
    let system = SystemFacts {
        version: env!("CARGO_PKG_VERSION"),
        instance_id: instance,
        started_at: SystemTime::now(),
        settings: config.effective(),
    };
    let control = Control {
        store,
        changes,
        directory,
        system,
        admin_token: config.admin_token.clone(),
        default_max_retries: config.default_platform_max_retries,
    };
    let (halt, mut readiness) = (halt.clone(), ready.subscribe());
    let (serving, is_serving) = watch::channel(true);
    tokio::spawn(async move {
        while readiness.changed().await.is_ok() {
            serving.send_replace(*readiness.borrow() == ops::Readiness::Ready);
        }
    });
    tokio::spawn(async move {
        if let Err(error) = control::serve(control, listener, is_serving, halt).await {
            tracing::error!(%error, "the control port has ended");
        }
    })
}

/// Everything runs.
pub struct App {
    addresses: Addresses,
    drain: Drain,
    ready: watch::Sender<ops::Readiness>,
    halt: CancellationToken,
    flush: CancellationToken,
    tracing: Tracing,
    private: Option<PrivateServer>,
    threads: Vec<thread::JoinHandle<()>>,
    control: JoinHandle<()>,
    recorder: JoinHandle<()>,
    listener: JoinHandle<()>,
    ops: JoinHandle<()>,
    config: Config,
}

impl App {
    #[must_use]
    pub fn data_addr(&self) -> SocketAddr {
        self.addresses.data
    }

    #[must_use]
    pub fn control_addr(&self) -> SocketAddr {
        self.addresses.control
    }

    #[must_use]
    pub fn ops_addr(&self) -> SocketAddr {
        self.addresses.ops
    }

    /// How to look into the private database, where there is one.
    #[must_use]
    pub fn psql_line(&self) -> Option<String> {
        self.private.as_ref().map(PrivateServer::psql_line)
    }

    /// Not ready; what is in flight ends, or the drain's time is over; records and spans are flushed.
    pub async fn stop(self) {
        self.ready.send_replace(ops::Readiness::NotReady("draining"));
        if timeout(self.config.drain_timeout, self.drain.drained()).await.is_err() {
            tracing::warn!(
                in_flight = self.drain.in_flight(),
                "the drain timeout has passed; ending what is left"
            );
        }
        self.halt.cancel();
        let threads = self.threads;
        let joined = spawn_blocking(move || threads.into_iter().for_each(|thread| drop(thread.join())));
        if joined.await.is_err() {
            tracing::error!("the data threads could not be joined");
        }
        self.flush.cancel();
        if timeout(FLUSH_TIMEOUT, self.recorder).await.is_err() {
            tracing::warn!("not all records could be written in time");
        }
        self.tracing.shutdown().await;
        for part in [self.control, self.listener, self.ops] {
            let _ended_or_late = timeout(Duration::from_secs(2), part).await;
        }
        if let Some(server) = self.private {
            server.stop().await;
        }
    }
}
