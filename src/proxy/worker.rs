//! What one thread of the data plane has: its own idle connections, buffers and timers, and its share of the rest.

use std::sync::{Arc, atomic::AtomicUsize};

use tokio::time::{MissedTickBehavior, interval};

use super::{
    http1::HeadLimits,
    relay::Buffers,
    roster::{self, Numbers, Roster},
};
use crate::{
    config::{ClientLimits, Config},
    drain::Drain,
    model::Secret,
    record::Journal,
    retry::Limits,
    routing::Directory,
    telemetry::{Metrics, Tracing},
    upstream::{Dialer, Patience, Pool, PoolLimits, Targets, Trust, Watchdog},
};

/// What all threads of the data plane share.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) directory: Arc<Directory>,
    pub(crate) journal: Arc<Journal>,
    pub(crate) metrics: Metrics,
    pub(crate) tracing: Tracing,
    pub(crate) trust: Trust,
    pub(crate) targets: Targets,
    pub(crate) drain: Drain,
    /// Idle upstream connections of all threads.
    pub(crate) idle: Arc<AtomicUsize>,
    pub(crate) numbers: Numbers,
}

/// One thread's part of the data plane.
pub(crate) struct Worker {
    pub(crate) directory: Arc<Directory>,
    pub(crate) journal: Arc<Journal>,
    pub(crate) metrics: Metrics,
    pub(crate) tracing: Tracing,
    pub(crate) trace_propagate: bool,
    pub(crate) token: Secret,
    pub(crate) drain: Drain,
    pub(crate) dialer: Dialer,
    pub(crate) pool: Arc<Pool>,
    pub(crate) limits: Limits,
    pub(crate) patience: Patience,
    pub(crate) buffers: Buffers,
    pub(crate) watchdog: Watchdog,
    pub(crate) roster: Roster,
    /// The platform name of a request that was refused before it had one.
    pub(crate) no_name: Arc<str>,
    idle_timeout: std::time::Duration,
}

impl Worker {
    pub(crate) fn new(shared: Shared, config: &Config) -> Arc<Self> {
        let limits = PoolLimits {
            max_idle: config.pool_max_idle,
            idle_timeout: config.pool_idle_timeout,
            max_age: config.pool_max_age,
        };
        Arc::new(Self {
            pool: Arc::new(Pool::new(limits, shared.idle, shared.metrics.clone())),
            directory: shared.directory,
            journal: shared.journal,
            metrics: shared.metrics,
            tracing: shared.tracing,
            trace_propagate: config.trace_propagate,
            token: config.proxy_token.clone(),
            drain: shared.drain.of_thread(),
            dialer: Dialer::new(shared.trust, shared.targets),
            limits: Limits { connect: config.connect_timeout, deadline: config.retry_deadline },
            patience: Patience { response: config.response_timeout, idle: config.idle_timeout },
            buffers: Buffers::default(),
            watchdog: Watchdog::new(config.idle_timeout),
            roster: Roster::new(limits_of(&config.clients), shared.numbers),
            no_name: Arc::from(""),
            idle_timeout: config.pool_idle_timeout,
        })
    }

    /// Enforces the limits of what stands still, until dropped.
    pub(crate) async fn sweep(&self) {
        let idle = self.idle_timeout.max(std::time::Duration::from_millis(80)) / 4;
        let period = self.watchdog.period().min(idle).min(self.roster.period());
        let mut clock = interval(period);
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut told = false;
        loop {
            tokio::select! {
                _ = clock.tick() => {}
                () = self.drain.begun(), if !told => {
                    told = true;
                    self.roster.call_all();
                }
            }
            self.pool.sweep();
            self.watchdog.sweep();
            self.roster.sweep();
        }
    }
}

fn limits_of(clients: &ClientLimits) -> roster::Limits {
    roster::Limits {
        head: HeadLimits {
            bytes: clients.max_header_bytes,
            fields: clients.max_headers,
            line: clients.max_request_line,
        },
        head_time: clients.header_timeout,
        idle_time: clients.client_idle_timeout,
        connections: clients.max_connections,
        connections_per_client: clients.max_connections_per_client,
        streams: clients.max_streams,
        tunnels: clients.max_tunnels,
    }
}
