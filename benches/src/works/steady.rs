//! CPU time: what a peer that runs has spent on so many units.

use std::{sync::atomic::Ordering::Relaxed, time::Duration};

use tokio::time::{Instant, sleep};

use super::{Bench, Task};
use crate::{
    Outcome,
    cpu::{Clock, Cpu, Family},
    load::{self, Clients, Errand, Running, http2, paced},
    peers::{Peer, Route, Way},
    results::Figures,
};

/// Let the connections be made and the buffers grow before anything is counted: so long at least, and until so many
/// requests of each connection were answered, unless that takes too long.
const WARM_UP: Duration = Duration::from_millis(200);
const WARM_UP_EACH: u64 = 5;
const WARM_UP_AT_MOST: Duration = Duration::from_secs(4);
/// Each half of a slot in which retry is on and off in turn.
const TURNS: u32 = 3;

/// Counts from now.
struct Watch<'a> {
    bench: &'a Bench<'a>,
    family: Family,
    dials: u64,
    began: Instant,
    clock: Clock,
}

impl<'a> Watch<'a> {
    fn begin(bench: &'a Bench<'a>, peer: &Peer) -> Self {
        let family = peer.process.family();
        let dials = bench.world.site.seen.connections.load(Relaxed);
        Self { bench, dials, began: Instant::now(), clock: family.clock(), family }
    }

    fn cpu(&self) -> Cpu {
        self.family.clock() - self.clock
    }

    /// What so many units have cost.
    fn end(self, units: f64) -> Figures {
        let cpu = self.cpu();
        let seconds = self.began.elapsed().as_secs_f64();
        let dials = (self.bench.world.site.seen.connections.load(Relaxed) - self.dials) as f64;
        Figures::from([
            ("cpu_us".to_owned(), cpu.total() / units / 1e3),
            ("user_us".to_owned(), cpu.user / units / 1e3),
            ("system_us".to_owned(), cpu.system / units / 1e3),
            ("rate".to_owned(), units / seconds),
            ("dials".to_owned(), dials / units),
            ("busy".to_owned(), cpu.total() / 1e9 / seconds),
        ])
    }
}

/// What clients of this work do, where they are of HTTP/1.1.
pub(super) fn errand(task: Task, route: &Route) -> Option<Errand> {
    let tunnel = task.way().is_tunnel().then(|| route.connect());
    match task {
        Task::Requests { path, body, .. } => {
            Some(Errand { tunnel, request: route.request(path, body), body: 0 })
        }
        Task::Tunnels { .. } => Some(Errand { tunnel, ..Errand::default() }),
        Task::Bulk { up, bytes, .. } => {
            // In a tunnel the origin itself is asked.
            let origin = Route { prefix: String::new(), fields: String::new(), ..route.clone() };
            let asked = if tunnel.is_some() { &origin } else { route };
            let (path, body) = if up { ("/".to_owned(), bytes) } else { (format!("/bytes/{bytes}"), 0) };
            Some(Errand { request: asked.head(&path, body), tunnel, body })
        }
        _ => None,
    }
}

impl Bench<'_> {
    /// Does a work once through a peer that runs.
    pub(super) async fn steady(&self, task: Task, peer: &Peer) -> Outcome<Figures> {
        let route = peer.route(task.way()).ok_or("it has no such way")?;
        let proxy = route.proxy;
        let errand = errand(task, route).unwrap_or_default();
        match task {
            Task::Requests { connections, .. } => {
                let running = load::closed_loop(self.load, &Clients { proxy, connections, errand });
                self.watch(peer, &running).await
            }
            Task::Streams { connections, streams, .. } => {
                let uri = format!("http://{}{}/", route.host, route.prefix);
                let running = http2::closed_loop(self.load, proxy, &uri, connections, streams);
                self.watch(peer, &running).await
            }
            Task::Tunnels { clients, each, .. } => {
                let clients = Clients { proxy, connections: clients, errand };
                load::times(self.load, &clients, each / 8).await?;
                let watch = Watch::begin(self, peer);
                load::times(self.load, &clients, each).await?;
                Ok(watch.end((clients.connections as u64 * each) as f64))
            }
            Task::Bulk { connections, each, bytes, unit, .. } => {
                let watch = Watch::begin(self, peer);
                load::times(self.load, &Clients { proxy, connections, errand }, each).await?;
                Ok(watch.end((connections as u64 * each * bytes) as f64 / unit as f64))
            }
            Task::RetryUnused { connections } => self.retry_unused(connections, peer).await,
            Task::Idle { .. } | Task::Burst { .. } | Task::Long { .. } | Task::Start => {
                Err("it needs a process of its own".into())
            }
        }
    }

    /// Counts for a while what a peer does for clients that are at work.
    async fn watch(&self, peer: &Peer, running: &Running) -> Outcome<Figures> {
        let (begun, enough) = (Instant::now(), WARM_UP_EACH * running.tasks.len() as u64);
        while begun.elapsed() < WARM_UP
            || running.done.times.load(Relaxed) < enough && begun.elapsed() < WARM_UP_AT_MOST
        {
            sleep(WARM_UP / 4).await;
        }
        let before = running.done.times.load(Relaxed);
        let watch = Watch::begin(self, peer);
        sleep(self.slot).await;
        running.done.well()?;
        let units = running.done.times.load(Relaxed) - before;
        if units == 0 {
            return Err("nothing was answered in time".into());
        }
        Ok(watch.end(units as f64))
    }

    async fn retry_unused(&self, connections: usize, peer: &Peer) -> Outcome<Figures> {
        let (mut spent, mut last) = ([0.0; 2], Figures::new());
        for turn in 0..2 * TURNS {
            // With, without, without, with, …
            let with = turn % 4 == 0 || turn % 4 == 3;
            let way = if with { Way::ForwardNode } else { Way::NoRetry };
            let task = Task::Requests { way, connections, path: "/", body: 0 };
            last = Box::pin(self.steady(task, peer)).await?;
            spent[usize::from(with)] += last["cpu_us"] / f64::from(TURNS);
        }
        last.insert("cpu_us".to_owned(), spent[1]);
        last.insert("without_us".to_owned(), spent[0]);
        last.insert("with_to_without".to_owned(), spent[1] / spent[0]);
        Ok(last)
    }

    /// What the proxy adds at half of the load that it took, to what the same load takes without it.
    pub(super) async fn latency(&self, task: Task, peer: &Peer, figures: &mut Figures) -> Outcome<()> {
        let route = peer.route(task.way()).ok_or("it has no such way")?;
        let rate = figures["rate"] / 2.0;
        let through = paced::latency(route.proxy, route.request("/", 0), rate, self.slot / 2).await?;
        let origin = self.world.origin();
        let without = Route::reverse(origin, origin).request("/", 0);
        let without = paced::latency(origin, without, rate, self.slot / 2).await?;
        figures.insert("added_p50_us".to_owned(), through.p50 - without.p50);
        figures.insert("added_p99_us".to_owned(), through.p99 - without.p99);
        Ok(())
    }

    /// So many units by so many clients at the most, for who counts something else; how many they were.
    pub async fn do_some(&self, task: Task, peer: &Peer, units: u64, clients: usize) -> Outcome<u64> {
        let route = peer.route(task.way()).ok_or("it has no such way")?;
        let errand = errand(task, route).ok_or("it is not counted")?;
        let each = units.div_ceil(clients as u64);
        load::times(self.load, &Clients { proxy: route.proxy, connections: clients, errand }, each).await?;
        Ok(each * clients as u64)
    }
}
