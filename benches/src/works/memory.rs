//! Memory: of a process that nobody has used before.

use std::time::Duration;

use tokio::{net::TcpStream, time::sleep};

use super::{Bench, Idle, Task, steady::errand};
use crate::{
    Outcome,
    load::{self, Clients, Errand},
    peers::{Peer, Way},
    results::Figures,
};

const KIB: f64 = 1024.0;
const MIB: f64 = 1024.0 * 1024.0;
/// What a process does before what it holds is called its own.
const FIRST_REQUESTS: u64 = 200;
/// Held back so long, so many requests are under way at once.
const ALL_AT_ONCE: &str = "/wait/1000";
/// Until what a start leaves behind is gone.
const SHORT: Duration = Duration::from_secs(2);

impl Bench<'_> {
    /// Does a work with a process that was just started.
    pub(super) async fn fresh(&self, task: Task, peer: &Peer) -> Outcome<Figures> {
        let memory = || peer.process.family().memory() as f64;
        let figure = |name: &str, value: f64| (name.to_owned(), value);
        let start = figure("start_ms", peer.ready_in.as_secs_f64() * 1e3);
        match task {
            Task::Start => Ok(Figures::from([start, figure("rest_mib", memory() / MIB)])),
            Task::Idle { what, count } => self.idle(what, count, peer).await,
            Task::Burst { clients } => {
                sleep(SHORT).await;
                let rest = memory();
                let kept = self.requests(peer, clients, ALL_AT_ONCE, 1).await?;
                let peak = memory();
                drop(kept);
                sleep(self.settle).await;
                Ok(Figures::from([
                    figure("rest_mib", rest / MIB),
                    figure("peak_mib", peak / MIB),
                    figure("burst_mib", memory() / MIB),
                ]))
            }
            Task::Long { some, many } => {
                self.requests(peer, 32, "/", some / 32).await?;
                sleep(self.settle).await;
                let after_some = memory();
                self.requests(peer, 32, "/", many / 32).await?;
                sleep(self.settle).await;
                let after_many = memory();
                Ok(Figures::from([
                    figure("requests", (some + many) as f64),
                    figure("some_mib", after_some / MIB),
                    figure("many_mib", after_many / MIB),
                    figure("growth", after_many / after_some),
                ]))
            }
            _ => Err("it is done with a peer that runs".into()),
        }
    }

    async fn requests(
        &self,
        peer: &Peer,
        connections: usize,
        path: &'static str,
        each: u64,
    ) -> Outcome<Vec<Option<TcpStream>>> {
        let ways = [Way::ForwardNode, Way::ForwardDirect, Way::ReverseDirect];
        let route = ways.iter().find_map(|way| peer.route(*way)).ok_or("it takes no requests")?;
        let errand = Errand { request: route.request(path, 0), ..Errand::default() };
        load::times(self.load, &Clients { proxy: route.proxy, connections, errand }, each).await
    }

    /// What one of so many takes.
    async fn idle(&self, what: Idle, count: usize, peer: &Peer) -> Outcome<Figures> {
        self.requests(peer, 1, "/", FIRST_REQUESTS).await?;
        // Only ours gives back by the clock what its start has left behind.
        sleep(if peer.control.is_some() { self.settle } else { SHORT }).await;
        let family = peer.process.family();
        let (before, descriptors) = (family.memory() as f64, family.descriptors());
        let mut kept = Vec::new();
        match what {
            Idle::Tunnels => {
                let route = peer.route(Way::ConnectNode).ok_or("it has no such way")?;
                let task = Task::Tunnels { way: Way::ConnectNode, clients: count, each: 1 };
                let errand = errand(task, route).ok_or("it has no such way")?;
                let clients = Clients { proxy: route.proxy, connections: 1, errand };
                for _ in 0..count {
                    let clients = clients.clone();
                    kept.push(Some(self.load.handle.spawn(async move { clients.open().await }).await??));
                }
            }
            Idle::Clients => {
                for _ in 0..count {
                    kept.extend(self.requests(peer, 1, "/", 1).await?);
                }
            }
            Idle::Upstreams => drop(self.requests(peer, count, ALL_AT_ONCE, 1).await?),
        }
        sleep(self.settle).await;
        let after = family.memory() as f64;
        // Clients that idle have one; a tunnel has two.
        let gained = family.descriptors() as f64 - descriptors as f64;
        let idle = if what == Idle::Tunnels { gained / 2.0 } else { gained };
        if idle < count as f64 * 0.9 {
            return Err(format!("of {count} only {idle} are there").into());
        }
        drop(kept);
        Ok(Figures::from([
            ("memory_kib".to_owned(), (after - before) / KIB / idle),
            ("idle".to_owned(), idle),
        ]))
    }
}
