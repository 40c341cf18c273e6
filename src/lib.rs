//! resin: a data plane over a pool of proxy nodes.

pub mod config;
pub mod drain;
pub mod model;
mod proxy;
pub mod record;
mod retry;
pub mod routing;
pub mod telemetry;
mod upstream;

/// The generated gRPC code of `proto/`.
pub mod proto {
    #![allow(clippy::all, clippy::pedantic, missing_docs, unreachable_pub)]
    tonic::include_proto!("resin.control.v1");
    /// The descriptors that reflection serves, comments included.
    pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptor.bin"));
}
pub fn try_it() {
    use std::{sync::Arc, time::Duration};
    let env = |k: &str| std::env::var(k).ok();
    let config = config::Config {
        data_listen: env("RESIN_DATA_LISTEN").unwrap_or("127.0.0.1:2260".into()).parse().unwrap(),
        control_listen: "127.0.0.1:0".parse().unwrap(),
        ops_listen: "127.0.0.1:0".parse().unwrap(),
        proxy_token: model::Secret::new(env("RESIN_PROXY_TOKEN").unwrap_or_default()),
        admin_token: model::Secret::new(""),
        database: config::Database::Private,
        data_dir: "/tmp/x".into(),
        data_threads: 2,
        pool_max_idle: 1024,
        pool_idle_timeout: Duration::from_secs(30),
        pool_max_age: Duration::from_secs(600),
        log_queue: 65536,
        ca_file: None,
        nodes: vec![],
        default_platform_max_retries: env("R").unwrap_or("2".into()).parse().unwrap(),
        connect_timeout: Duration::from_secs(5),
        retry_deadline: Duration::from_secs(15),
        response_timeout: Duration::from_secs(60),
        idle_timeout: Duration::from_secs(300),
        drain_timeout: Duration::from_secs(30),
        trace_propagate: false,
        log_retention: Duration::from_secs(1),
    };
    let nodes = env("RESIN_NODES").unwrap_or("direct://".into());
    let nodes: Vec<model::Node> = nodes
        .split_whitespace()
        .map(|u| {
            let n: model::NodeUri = u.parse().unwrap();
            model::Node {
                hash: n.config.hash(),
                tags: vec![n.tag.unwrap_or(n.config.default_tag())],
                config: n.config,
                egress_ip: None,
                region: None,
            }
        })
        .collect();
    let p = model::Platform {
        id: uuid::Uuid::now_v7(),
        name: model::PlatformName::parse("Default").unwrap(),
        filters: vec![],
        max_retries: config.default_platform_max_retries,
        revision: 1,
        create_time: std::time::SystemTime::now(),
        update_time: std::time::SystemTime::now(),
    };
    let directory = Arc::new(routing::Directory::new(routing::Snapshot::new(vec![p], nodes)));
    let journal = Arc::new(record::Journal::new(65536));
    let shared = proxy::Shared {
        directory,
        journal: journal.clone(),
        metrics: Default::default(),
        tracing: Default::default(),
        trust: upstream::Trust::load(None).unwrap(),
        drain: Default::default(),
        idle: Default::default(),
    };
    let l = proxy::bind(config.data_listen, 2).unwrap();
    println!("resin data {}", l.address);
    for s in l.sockets {
        let (shared, config) = (shared.clone(), config.clone());
        std::thread::spawn(move || {
            let rt = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            rt.block_on(async move {
                let w = proxy::Worker::new(shared, &config);
                let w2 = w.clone();
                tokio::spawn(async move { w2.sweep().await });
                proxy::accept(w, tokio::net::TcpListener::from_std(s).unwrap(), Default::default()).await;
            });
        });
    }
    let quiet = env("QUIET").is_some();
    loop {
        std::thread::sleep(Duration::from_millis(30));
        for r in journal.take() {
            if !quiet {
                println!(
                    "{} {} {}:{} {} st={} err={:?} fail={:?} w={} in={} eg={} ok={} retries={:?}",
                    r.http_method,
                    r.platform_name,
                    r.target_host,
                    r.target_port,
                    r.target_url,
                    r.http_status,
                    r.resin_error,
                    r.failure,
                    r.request_written,
                    r.ingress_bytes,
                    r.egress_bytes,
                    r.net_ok,
                    r.retries
                );
            }
        }
    }
}
