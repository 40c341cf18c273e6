//! The store against a real PostgreSQL: one cluster a run, which the store's own private server is, one database a test.

mod changes;
mod cluster;
mod configuration;
mod recorder;
mod records;

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::{Duration, SystemTime},
};

use uuid::Uuid;

use crate::{
    model::{AttemptFacts, ErrKind, Failure, Node, NodeUri, Phase, ProxyType, Stage},
    record::Record,
};

/// A GET through no node that went well.
fn record() -> Record {
    Record {
        id: Uuid::now_v7(),
        started_at: SystemTime::now(),
        duration: Duration::from_micros(1_234_567),
        proxy_type: ProxyType::Forward,
        client_ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
        platform_id: None,
        platform_name: "Nimbus".into(),
        account: "Tom".to_owned(),
        target_host: "origin.test".to_owned(),
        target_port: 80,
        target_url: "http://origin.test/".to_owned(),
        node: None,
        net_ok: true,
        http_method: "GET".into(),
        http_status: 200,
        resin_error: None,
        failure: None,
        request_written: true,
        ingress_bytes: 10,
        egress_bytes: 20,
        retries: Vec::new(),
        trace_id: None,
    }
}

fn records(count: usize) -> Vec<Record> {
    (0..count).map(|_| record()).collect()
}

fn of_account(account: &str) -> Record {
    Record { account: account.to_owned(), ..record() }
}

fn refused() -> Failure {
    Failure {
        stage: Stage::ConnectDial,
        phase: Phase::Tcp,
        kind: ErrKind::ConnectionRefused,
        errno: "ECONNREFUSED",
        message: "nobody\0listens".to_owned(),
    }
}

fn node(uri: &str, tag: &str) -> Arc<Node> {
    let uri: NodeUri = uri.parse().unwrap();
    Arc::new(Node {
        hash: uri.config.hash(),
        config: uri.config,
        tags: vec![tag.to_owned()],
        egress_ip: Some("192.0.2.7".parse().unwrap()),
        region: None,
    })
}

fn attempt(node: &Arc<Node>) -> AttemptFacts {
    AttemptFacts {
        node: Arc::clone(node),
        failure: refused(),
        request_written: false,
        reused_connection: false,
        started_at: SystemTime::now(),
        duration: Duration::from_micros(283),
    }
}
