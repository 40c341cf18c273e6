//! Every work that there is.

use super::{Idle, Task, Work};
use crate::peers::Way;

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
const GIB: u64 = 1024 * MIB;

fn work(name: &'static str, title: &'static str, unit: &'static str, task: Task) -> Work {
    Work { name, title, unit, main: "cpu_us", task, latency: false, counted: false, rounds: usize::MAX }
}

fn requests(name: &'static str, title: &'static str, way: Way, connections: usize) -> Work {
    work(name, title, "request", Task::Requests { way, connections, path: "/", body: 0 })
}

fn sized(name: &'static str, title: &'static str, path: &'static str, body: usize) -> Work {
    let task = Task::Requests { way: Way::ForwardNode, connections: 32, path, body };
    work(name, title, "request", task)
}

fn tunnels(name: &'static str, title: &'static str, way: Way) -> Work {
    work(name, title, "tunnel", Task::Tunnels { way, clients: 32, each: 80 })
}

fn bulk(name: &'static str, title: &'static str, up: bool) -> Work {
    let way = Way::ConnectNode;
    work(name, title, "GiB", Task::Bulk { way, up, bytes: 128 * MIB, connections: 2, each: 2, unit: GIB })
}

fn idle(name: &'static str, title: &'static str, unit: &'static str, what: Idle) -> Work {
    Work { main: "memory_kib", rounds: 1, ..work(name, title, unit, Task::Idle { what, count: 1000 }) }
}

/// In the order in which they run: what makes a resin of its own larger comes last.
pub fn all() -> Vec<Work> {
    let counted = |work| Work { counted: true, ..work };
    let timed = |work| Work { latency: true, counted: true, ..work };
    let download_64m = Task::Bulk {
        way: Way::ForwardNode,
        up: false,
        bytes: 64 * MIB,
        connections: 4,
        each: 2,
        unit: 64 * MIB,
    };
    vec![
        requests("forward-node-1", "forward through a node, 1 connection", Way::ForwardNode, 1),
        timed(requests("forward-node-32", "forward through a node, 32 connections", Way::ForwardNode, 32)),
        requests("forward-node-256", "forward through a node, 256 connections", Way::ForwardNode, 256),
        requests("forward-node-2000", "forward through a node, 2,000 connections", Way::ForwardNode, 2000),
        counted(requests("forward-direct", "forward direct, 32 connections", Way::ForwardDirect, 32)),
        timed(requests("reverse-direct", "reverse direct, 32 connections", Way::ReverseDirect, 32)),
        requests("reverse-node", "reverse through a node, 32 connections", Way::ReverseNode, 32),
        requests(
            "https-node",
            "forward to an https origin through a node, 32 connections",
            Way::HttpsNode,
            32,
        ),
        work(
            "http2",
            "HTTP/2 in, HTTP/1.1 on, reverse direct, 4 connections of 8 streams",
            "request",
            Task::Streams { way: Way::Http2, connections: 4, streams: 8 },
        ),
        counted(tunnels("connect-node", "CONNECT through a node, set-up", Way::ConnectNode)),
        tunnels("connect-direct", "CONNECT direct, set-up", Way::ConnectDirect),
        bulk("bulk-down", "bulk through a tunnel, down", false),
        bulk("bulk-up", "bulk through a tunnel, up", true),
        counted(sized("upload-64k", "64 KiB upload", "/", 64 * 1024)),
        counted(sized("download-64k", "64 KiB download", "/bytes/65536", 0)),
        work("download-64m", "64 MiB download", "request", download_64m),
        requests("retry", "every second node refuses, 32 connections", Way::Retry, 32),
        Work {
            main: "with_to_without",
            ..work(
                "retry-unused",
                "max_retries = 2 to 0, nothing to retry",
                "request",
                Task::RetryUnused { connections: 32 },
            )
        },
        tunnels("nodes-1", "CONNECT, 1 node in the pool", Way::Nodes(1)),
        tunnels("nodes-1000", "CONNECT, 1,000 nodes in the pool", Way::Nodes(1_000)),
        tunnels("nodes-100000", "CONNECT, 100,000 nodes in the pool", Way::Nodes(100_000)),
        idle("idle-tunnel", "memory of an idle tunnel", "tunnel", Idle::Tunnels),
        idle("idle-client", "memory of an idle client connection", "connection", Idle::Clients),
        idle("idle-upstream", "memory of an idle upstream connection", "connection", Idle::Upstreams),
        Work {
            main: "burst_mib",
            rounds: 1,
            ..work(
                "burst",
                "resident at rest and after 1,000 clients",
                "process",
                Task::Burst { clients: 1000 },
            )
        },
        Work {
            main: "growth",
            rounds: 1,
            ..work(
                "long",
                "memory after 10,000 requests and after many more",
                "process",
                Task::Long { some: 10_000, many: 1_000_000 },
            )
        },
        Work { main: "start_ms", ..work("start", "from start to ready", "start", Task::Start) },
    ]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_two_works_have_one_name() {
        let names: BTreeSet<_> = all().iter().map(|work| work.name).collect();
        assert_eq!(names.len(), all().len());
    }
}
