//! The works: what is done through each proxy, and what one unit of it is.

use std::{sync::atomic::Ordering::Relaxed, time::Duration};

use crate::{
    Outcome,
    lane::Lane,
    load::{self, Running, Spec},
    peers::{Peer, Way, World},
    results::Figures,
};

/// Let the connections be made and the buffers grow before anything is counted.
const WARM_UP: Duration = Duration::from_millis(200);

/// Something to do through a proxy.
#[derive(Debug, Clone)]
pub struct Work {
    pub name: &'static str,
    pub title: &'static str,
    pub unit: &'static str,
    /// Which of the figures is compared.
    pub main: &'static str,
    pub task: Task,
}

#[derive(Debug, Clone, Copy)]
pub enum Task {
    /// Requests on connections that are kept.
    Requests { way: Way, connections: usize, path: &'static str, body: usize },
}

impl Task {
    pub fn way(self) -> Way {
        match self {
            Self::Requests { way, .. } => way,
        }
    }
}

const fn requests(name: &'static str, title: &'static str, way: Way, connections: usize) -> Work {
    let task = Task::Requests { way, connections, path: "/", body: 0 };
    Work { name, title, unit: "request", main: "cpu_us", task }
}

/// All of them, in the order in which they run.
pub fn all() -> Vec<Work> {
    vec![
        requests("forward-node-1", "forward through a node, 1 connection", Way::ForwardNode, 1),
        requests("forward-node-32", "forward through a node, 32 connections", Way::ForwardNode, 32),
        requests("forward-node-256", "forward through a node, 256 connections", Way::ForwardNode, 256),
        requests("forward-direct", "forward direct, 32 connections", Way::ForwardDirect, 32),
        requests("reverse-direct", "reverse direct, 32 connections", Way::ReverseDirect, 32),
    ]
}

/// What works are done with.
pub struct Bench<'a> {
    pub world: &'a World,
    pub load: &'a Lane,
    /// How long is counted.
    pub slot: Duration,
}

impl Bench<'_> {
    /// Does the work once through this peer.
    pub async fn measure(&self, task: Task, peer: &Peer) -> Outcome<Figures> {
        let route = peer.route(task.way()).ok_or("it has no such way")?;
        match task {
            Task::Requests { connections, path, body, .. } => {
                let request = route.request(path, body);
                let running =
                    load::closed_loop(self.load, &Spec { proxy: route.proxy, connections, request });
                self.watch(peer, &running).await
            }
        }
    }

    /// Counts for a while what a peer does for clients that are at work.
    async fn watch(&self, peer: &Peer, running: &Running) -> Outcome<Figures> {
        let seen = &self.world.site.seen;
        tokio::time::sleep(WARM_UP).await;
        let family = peer.process.family();
        let (answers, dials) = (running.done.answers.load(Relaxed), seen.connections.load(Relaxed));
        let (began, before) = (tokio::time::Instant::now(), family.clock());
        tokio::time::sleep(self.slot).await;
        let cpu = family.clock() - before;
        let seconds = began.elapsed().as_secs_f64();
        let answers = (running.done.answers.load(Relaxed) - answers) as f64;
        let dials = (seen.connections.load(Relaxed) - dials) as f64;
        let failures = running.done.failures.load(Relaxed);
        if failures > 0 || answers < 1.0 {
            let first = running.done.first_failure.lock().ok().and_then(|first| first.clone());
            return Err(format!("{failures} failures, the first: {}", first.unwrap_or_default()).into());
        }
        Ok(Figures::from([
            ("cpu_us".to_owned(), cpu.total() / answers / 1e3),
            ("user_us".to_owned(), cpu.user / answers / 1e3),
            ("system_us".to_owned(), cpu.system / answers / 1e3),
            ("rate".to_owned(), answers / seconds),
            ("dials".to_owned(), dials / answers),
            ("busy".to_owned(), cpu.total() / 1e9 / seconds),
        ]))
    }
}
