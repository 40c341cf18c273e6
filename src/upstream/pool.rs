//! Idle upstream connections of one thread, keyed by node and destination, the last one parked taken first.
//!
//! Nobody polls an idle connection. Its state is looked at when it is taken; the sweep enforces idle limit and age.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::time::Instant;

use super::{connection::Connection, dial::Destination};
use crate::{model::NodeHash, telemetry::Metrics};

/// What makes two connections interchangeable.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) node: NodeHash,
    pub(crate) destination: Arc<Destination>,
}

/// How many idle connections are kept, and how long.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) max_idle: usize,
    pub(crate) idle_timeout: Duration,
    pub(crate) max_age: Duration,
}

/// The idle connections of one thread. The bound is shared with the other threads' pools.
pub(crate) struct Pool {
    idle: Mutex<HashMap<Key, Vec<Idle>>>,
    all_idle: Arc<AtomicUsize>,
    limits: Limits,
    metrics: Metrics,
}

struct Idle {
    connection: Connection,
    since: Instant,
}

/// What the pool had for a key.
pub(crate) enum Found {
    /// Looked at just now.
    Alive(Box<Connection>),
    /// There was one, and its peer had left it.
    Stale,
    Nothing,
}

impl Pool {
    pub(crate) fn new(limits: Limits, all_idle: Arc<AtomicUsize>, metrics: Metrics) -> Self {
        Self { idle: Mutex::new(HashMap::new()), all_idle, limits, metrics }
    }

    /// The connection that was parked last, if its peer has not left it.
    pub(crate) fn take(&self, key: &Key) -> Found {
        let mut stale = false;
        while let Some(mut idle) = self.pop(key) {
            if self.in_time(&idle, Instant::now()) && idle.connection.is_alive() {
                return Found::Alive(Box::new(idle.connection));
            }
            stale = true;
        }
        if stale { Found::Stale } else { Found::Nothing }
    }

    /// Keeps a connection, unless the bound is reached.
    pub(crate) fn park(&self, key: Key, connection: Connection) {
        let idle = Idle { connection, since: Instant::now() };
        if !self.in_time(&idle, idle.since) {
            return;
        }
        if self.all_idle.fetch_add(1, Ordering::Relaxed) >= self.limits.max_idle {
            self.all_idle.fetch_sub(1, Ordering::Relaxed);
            return;
        }
        self.metrics.idle_connections(1);
        self.idle.lock().entry(key).or_default().push(idle);
    }

    /// Drops what has been idle too long, is too old, or was closed by its peer.
    pub(crate) fn sweep(&self) {
        let now = Instant::now();
        let mut dropped = Vec::new();
        self.idle.lock().retain(|_, list| {
            dropped
                .extend(list.extract_if(.., |idle| !self.in_time(idle, now) || !idle.connection.is_alive()));
            !list.is_empty()
        });
        self.forget(dropped.len());
    }

    /// Drops everything: the thread is about to end.
    pub(crate) fn clear(&self) {
        let all = std::mem::take(&mut *self.idle.lock());
        self.forget(all.values().map(Vec::len).sum());
    }

    fn pop(&self, key: &Key) -> Option<Idle> {
        let mut idle = self.idle.lock();
        let list = idle.get_mut(key)?;
        let last = list.pop();
        if list.is_empty() {
            idle.remove(key);
        }
        drop(idle);
        if last.is_some() {
            self.forget(1);
        }
        last
    }

    fn forget(&self, connections: usize) {
        self.all_idle.fetch_sub(connections, Ordering::Relaxed);
        self.metrics.idle_connections(-i64::try_from(connections).unwrap_or(i64::MAX));
    }

    fn in_time(&self, idle: &Idle, now: Instant) -> bool {
        now.duration_since(idle.since) < self.limits.idle_timeout
            && now.duration_since(idle.connection.born) < self.limits.max_age
    }
}
