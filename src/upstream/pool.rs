//! Idle upstream connections of one thread, keyed by node and destination, the last one parked taken first.
//!
//! Nobody polls an idle connection. What the runtime knows of it is asked when it is taken, and its socket is looked at
//! right before the first write; the sweep enforces idle limit and age.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use foldhash::fast::RandomState;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::{
    connection::Connection,
    dial::Destination,
    habit::{Death, Habits, Life},
};
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
    shelves: Mutex<Shelves>,
    all_idle: Arc<AtomicUsize>,
    limits: Limits,
    metrics: Metrics,
}

#[derive(Default)]
struct Shelves {
    idle: HashMap<Key, Vec<Idle>, RandomState>,
    habits: Habits,
}

struct Idle {
    connection: Connection,
    since: Instant,
}

/// What has idled for so long makes room, where there is none.
const STALE: Duration = Duration::from_secs(1);
/// So many shelves are looked at for it, and so many connections let go at once.
const LOOKED_AT: usize = 16;
const LET_GO: usize = 16;

impl Shelves {
    /// Some connections that have idled for long: those of yesterday's destinations must not keep today's from being
    /// used again.
    fn make_room(&mut self, now: Instant) -> Vec<Idle> {
        let is_stale = |idle: &Idle| now.duration_since(idle.since) >= STALE;
        let mut shelves = self.idle.values_mut().take(LOOKED_AT);
        // On each shelf the one that was parked first comes first.
        let Some(list) = shelves.find(|list| list.first().is_some_and(is_stale)) else { return Vec::new() };
        let stale = list.iter().take(LET_GO).take_while(|idle| is_stale(idle)).count();
        list.drain(..stale).collect()
    }
}

/// What the pool had for a key.
pub(crate) enum Found {
    /// As far as is known. Its first write is preceded by a look.
    Alive(Connection),
    /// There was one, and its peer had left it.
    Stale,
    Nothing,
}

impl Pool {
    pub(crate) fn new(limits: Limits, all_idle: Arc<AtomicUsize>, metrics: Metrics) -> Self {
        Self { shelves: Mutex::default(), all_idle, limits, metrics }
    }

    /// The connection that was parked last, if its peer is not known to have left it, nor about to.
    pub(crate) fn take(&self, key: &Key) -> Found {
        let mut stale = false;
        while let Some((mut idle, limit)) = self.pop(key) {
            let now = Instant::now();
            let life = Life { born: idle.connection.born, idled: now.duration_since(idle.since) };
            if self.in_time(&idle, limit, now) {
                if !idle.connection.has_ended() {
                    idle.connection.idled = Some(life.idled);
                    return Found::Alive(idle.connection);
                }
                self.died(key, life, Death::Seen);
            }
            stale = true;
        }
        if stale { Found::Stale } else { Found::Nothing }
    }

    /// A connection turned out to be dead when it was used again.
    pub(crate) fn died(&self, key: &Key, life: Life, death: Death) {
        self.shelves.lock().habits.died(key, life, death, Instant::now());
    }

    /// Keeps a connection, unless the bound is reached.
    pub(crate) fn park(&self, key: Key, connection: Connection) {
        let idle = Idle { connection, since: Instant::now() };
        if !self.in_time(&idle, None, idle.since) {
            return;
        }
        let mut shelves = self.shelves.lock();
        if self.all_idle.fetch_add(1, Ordering::Relaxed) >= self.limits.max_idle {
            let let_go = shelves.make_room(idle.since);
            if let_go.is_empty() {
                self.all_idle.fetch_sub(1, Ordering::Relaxed);
                return;
            }
            self.forget(let_go.len());
        }
        self.metrics.idle_connections(1);
        if let Some(idled) = idle.connection.idled {
            shelves.habits.survived(&key, idled);
        }
        shelves.idle.entry(key).or_default().push(idle);
    }

    /// Drops what has been idle too long, is too old, or was closed by its peer.
    pub(crate) fn sweep(&self) {
        let now = Instant::now();
        let mut dropped = Vec::new();
        let Shelves { idle, habits } = &mut *self.shelves.lock();
        habits.forget(now);
        idle.retain(|key, list| {
            let limit = habits.limit(key);
            dropped.extend(
                list.extract_if(.., |idle| !self.in_time(idle, limit, now) || !idle.connection.is_alive()),
            );
            !list.is_empty()
        });
        self.forget(dropped.len());
    }

    /// Drops everything: the thread is about to end.
    pub(crate) fn clear(&self) {
        let all = std::mem::take(&mut self.shelves.lock().idle);
        self.forget(all.values().map(Vec::len).sum());
    }

    /// With how long it can be trusted, where that was learned.
    fn pop(&self, key: &Key) -> Option<(Idle, Option<Duration>)> {
        let mut shelves = self.shelves.lock();
        let list = shelves.idle.get_mut(key)?;
        // An empty list stays until the next sweep: most keys are used again at once.
        let last = list.pop();
        let limit = shelves.habits.limit(key);
        drop(shelves);
        if last.is_some() {
            self.forget(1);
        }
        Some((last?, limit))
    }

    fn forget(&self, connections: usize) {
        self.all_idle.fetch_sub(connections, Ordering::Relaxed);
        self.metrics.idle_connections(-i64::try_from(connections).unwrap_or(i64::MAX));
    }

    fn in_time(&self, idle: &Idle, learned: Option<Duration>, now: Instant) -> bool {
        let idled = now.duration_since(idle.since);
        idled < self.limits.idle_timeout
            && idle.connection.idle_limit.is_none_or(|limit| idled < limit)
            && learned.is_none_or(|limit| idled < limit)
            && now.duration_since(idle.connection.born) < self.limits.max_age
    }
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;
    use crate::{
        model::{Authority, NodeConfig, Phase},
        upstream::{
            connection::{Patience, SendFailure, Unsent},
            link::{Hop, Link},
            wire::{
                Counted,
                script::{Peer, Plan, Read, When},
            },
        },
    };

    fn pool() -> (Pool, Key) {
        let limits =
            Limits { max_idle: 8, idle_timeout: Duration::from_secs(30), max_age: Duration::from_secs(600) };
        let authority = Authority::parse("shop.test:80", None).unwrap();
        let destination = Arc::new(Destination { authority, tls: false });
        let key = Key { node: NodeConfig::Direct.hash(), destination };
        (Pool::new(limits, Arc::default(), Metrics::default()), key)
    }

    const PATIENCE: Patience = Patience { response: Duration::from_secs(60), idle: Duration::from_secs(30) };

    /// A connection that has carried a request, and whose peer has by now said something more.
    async fn used() -> (Connection, Peer) {
        let peer = Peer::plain(Plan::good());
        let wire = peer.wire();
        let link = Link::over(Arc::clone(&wire), Hop::Plain(Counted(wire)));
        let connection = Connection::over(link);
        let answered = connection
            .send(Box::new(Unsent::example(Method::GET, None)), PATIENCE, &mut Phase::Send)
            .await
            .unwrap();
        let idle = answered.connection.into_idle().unwrap();
        peer.follow(Plan { writes: Vec::new(), reads: vec![Read::Junk], when: When::Unnoticed });
        (idle, peer)
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_look_comes_right_before_the_first_write_and_lets_nothing_through() {
        let ((pool, key), (connection, peer)) = (pool(), used().await);
        pool.park(key.clone(), connection);
        let tries = peer.tries();
        let Found::Alive(connection) = pool.take(&key) else { panic!("nobody knows that it is dead") };

        let failed =
            connection.send(Box::new(Unsent::example(Method::GET, None)), PATIENCE, &mut Phase::Send).await;

        assert!(matches!(failed, Err(SendFailure::Unsent { .. })), "{failed:?}");
        assert_eq!(peer.tries(), tries, "the socket was written to");
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_not_used_longer_than_its_peer_said_or_than_others_lived() {
        let ms = Duration::from_millis;
        for (idle, announced, learned, alive) in [
            (ms(900), Some(ms(1000)), None, true),
            (ms(1000), Some(ms(1000)), None, false),
            (ms(700), None, Some(ms(1000)), true),
            (ms(750), None, Some(ms(1000)), false),
        ] {
            let ((pool, key), (mut connection, _)) = (pool(), used().await);
            connection.idle_limit = announced;
            if let Some(idled) = learned {
                pool.died(&key, Life { born: connection.born, idled }, Death::Lost);
            }
            pool.park(key.clone(), connection);
            tokio::time::advance(idle).await;
            assert_eq!(
                matches!(pool.take(&key), Found::Alive(_)),
                alive,
                "{idle:?} {announced:?} {learned:?}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_pool_lets_go_of_what_idles_for_what_is_used() {
        let (pool, yesterday) = pool();
        let authority = Authority::parse("other.test:80", None).unwrap();
        let destination = Arc::new(Destination { authority, tls: false });
        let today = Key { node: yesterday.node, destination };
        for _ in 0..pool.limits.max_idle {
            pool.park(yesterday.clone(), used().await.0);
        }
        for (waited, kept) in [(STALE / 2, false), (STALE / 2, true)] {
            tokio::time::advance(waited).await;
            pool.park(today.clone(), used().await.0);
            assert!(pool.all_idle.load(Ordering::Relaxed) <= pool.limits.max_idle);
            assert_eq!(matches!(pool.take(&today), Found::Alive(_)), kept, "{waited:?}");
        }
    }
}
