//! The works: what is done through each proxy, and what one unit of it is.

mod list;
mod memory;
mod steady;

use std::time::Duration;

use crate::{
    Outcome,
    lane::Lane,
    peers::{Kind, Peer, Way, World},
    results::Figures,
};

pub use list::all;

/// Something to do through a proxy.
#[derive(Debug, Clone)]
pub struct Work {
    pub name: &'static str,
    pub title: &'static str,
    pub unit: &'static str,
    /// Which of the figures is compared.
    pub main: &'static str,
    pub task: Task,
    /// Whether latency is measured as well.
    pub latency: bool,
    /// Whether system calls and allocations are counted as well.
    pub counted: bool,
    /// Done so often, where it is less than the rounds that are asked for.
    pub rounds: usize,
}

impl Work {
    /// For who has little time.
    pub fn shorten(&mut self) {
        if let Task::Long { many, .. } = &mut self.task {
            *many /= 10;
        }
    }
}

#[derive(Debug, Clone, Copy)]
pub enum Task {
    /// Requests on connections that are kept.
    Requests { way: Way, connections: usize, path: &'static str, body: usize },
    /// The same over HTTP/2.
    Streams { way: Way, connections: usize, streams: usize },
    /// Tunnels that are opened and closed.
    Tunnels { way: Way, clients: usize, each: u64 },
    /// Bodies of so many bytes; a unit is so many bytes as well.
    Bulk { way: Way, up: bool, bytes: u64, connections: usize, each: u64, unit: u64 },
    /// Requests with and without retry in turn; nothing has to be retried.
    RetryUnused { connections: usize },
    /// Memory of a fresh process with so many of something that idles.
    Idle { what: Idle, count: usize },
    /// Memory of a fresh process before and after so many clients at once.
    Burst { clients: usize },
    /// Memory of a fresh process after some requests, and after many.
    Long { some: u64, many: u64 },
    /// From start to ready.
    Start,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Idle {
    Clients,
    Upstreams,
    Tunnels,
}

impl Task {
    pub fn way(self) -> Way {
        match self {
            Self::Requests { way, .. }
            | Self::Streams { way, .. }
            | Self::Tunnels { way, .. }
            | Self::Bulk { way, .. } => way,
            Self::RetryUnused { .. } => Way::NoRetry,
            Self::Idle { what: Idle::Tunnels, .. } => Way::ConnectNode,
            Self::Idle { .. } | Self::Burst { .. } | Self::Long { .. } | Self::Start => Way::ForwardNode,
        }
    }

    /// Whether a peer has what it takes.
    pub fn is_for(self, peer: &Peer) -> bool {
        match self {
            Self::Idle { what: Idle::Tunnels, .. } => peer.route(Way::ConnectNode).is_some(),
            Self::Long { .. } => peer.control.is_some(),
            task if task.is_fresh() => true,
            task => peer.route(task.way()).is_some(),
        }
    }

    /// Whether it is done with a process of its own.
    pub fn is_fresh(self) -> bool {
        matches!(self, Self::Idle { .. } | Self::Burst { .. } | Self::Long { .. } | Self::Start)
    }
}

/// What works are done with.
pub struct Bench<'a> {
    pub world: &'a World,
    pub load: &'a Lane,
    /// How long is counted.
    pub slot: Duration,
    /// How long an allocator has to give back what is free.
    pub settle: Duration,
}

impl Bench<'_> {
    /// Does the work once: through this peer, or through another of its kind that is started for it.
    pub async fn measure(&self, work: &Work, kind: &Kind, peer: &Peer) -> Outcome<Figures> {
        match work.task {
            task if task.is_fresh() => {
                let fresh = kind.start(self.world).await?;
                self.fresh(task, &fresh).await
            }
            task => {
                let mut figures = self.steady(task, peer).await?;
                if work.latency {
                    self.latency(task, peer, &mut figures).await?;
                }
                Ok(figures)
            }
        }
    }
}
