//! The loop over an errand whose attempts end as they are told: where it goes, how often, and with what.

use std::{collections::HashSet, sync::Mutex, time::SystemTime};

use super::*;
use crate::{
    model::{Authority, Host, NodeConfig, Phase, Platform, PlatformName, Stage},
    telemetry::AttemptSpan,
};

/// How an attempt through a node ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    Unsent,
    Sent,
    Answer,
}

/// Remembers where it was sent and what it was given to carry; the n-th attempt ends in the n-th manner, or unsent.
struct Told {
    manners: Vec<Manner>,
    seen: Mutex<Vec<(NodeHash, u32)>>,
}

impl Told {
    fn new(manners: &[Manner]) -> Self {
        Self { manners: manners.to_vec(), seen: Mutex::default() }
    }

    fn nodes(&self) -> Vec<NodeHash> {
        self.seen.lock().unwrap().iter().map(|(node, _)| *node).collect()
    }
}

impl Errand for Told {
    /// Which request it is: there is but one.
    type Request = u32;
    type Answer = ();

    fn stage(&self) -> Stage {
        Stage::ForwardRoundtrip
    }

    fn tell_trace(&self, _: &mut u32, _: &AttemptSpan) {}

    fn status((): &()) -> Option<u16> {
        Some(200)
    }

    async fn attempt(
        &self,
        request: u32,
        node: &Node,
        _: Instant,
        _: &mut Progress,
    ) -> Result<(), Failed<u32>> {
        let mut seen = self.seen.lock().unwrap();
        seen.push((node.hash, request));
        let fault = Fault::new(Phase::Send, ErrKind::Eof, "as told");
        match self.manners.get(seen.len() - 1).unwrap_or(&Manner::Unsent) {
            Manner::Unsent => Err(Failed::Unsent { request, fault }),
            Manner::Sent => Err(Failed::Sent { fault }),
            Manner::Answer => Ok(()),
        }
    }
}

fn nodes(count: u16, max_retries: i32) -> routing::Pool {
    let node = |port| {
        let authority = Authority { host: Host::parse("127.0.0.1").unwrap(), port };
        let config = NodeConfig::Socks5 { endpoint: crate::model::Endpoint { authority, credentials: None } };
        let tags = vec![port.to_string()];
        Arc::new(Node { hash: config.hash(), config, tags, egress_ip: None, region: None })
    };
    let platform = Platform {
        id: uuid::Uuid::nil(),
        name: PlatformName::parse("test").unwrap(),
        filters: Vec::new(),
        max_retries,
        revision: 1,
        create_time: SystemTime::UNIX_EPOCH,
        update_time: SystemTime::UNIX_EPOCH,
    };
    routing::Pool { platform, name: Arc::from("test"), nodes: (1..=count).map(node).collect() }
}

async fn carry_through(errand: &Told, nodes: &routing::Pool) -> (Result<(), Ended>, Trail) {
    let plan = Plan {
        nodes,
        limits: Limits { connect: Duration::from_secs(5), deadline: Duration::from_secs(15) },
        span: &RequestSpan::default(),
        metrics: &Metrics::new(),
        propagate: false,
        client_left: &|| false,
        method: &http::Method::GET,
        host: "origin.example",
        port: 80,
    };
    let mut trail = Trail::default();
    let ended = carry(errand, 7, &plan, &mut trail).await;
    (ended, trail)
}

#[tokio::test]
async fn no_node_is_tried_twice_however_many_fail() {
    for (count, max_retries, attempts) in [(17, 16, 17), (16, 16, 16), (3, 16, 3), (17, 3, 4)] {
        let errand = Told::new(&[]);
        let (ended, trail) = carry_through(&errand, &nodes(count, max_retries)).await;
        assert_eq!((ended, trail.retries.len()), (Err(Ended::Failed), attempts - 1));
        let tried = errand.nodes();
        let different: HashSet<[u8; 16]> = tried.iter().map(|node| *node.as_bytes()).collect();
        assert_eq!((tried.len(), different.len()), (attempts, attempts), "{count} nodes: {tried:?}");
    }
}

#[tokio::test]
async fn what_may_have_been_written_goes_to_no_other_node() {
    for before in 0..3 {
        let manners = [vec![Manner::Unsent; before], vec![Manner::Sent, Manner::Answer]].concat();
        let errand = Told::new(&manners);
        let (ended, trail) = carry_through(&errand, &nodes(9, 8)).await;
        assert_eq!((ended, errand.nodes().len()), (Err(Ended::Failed), before + 1));
        assert!(trail.request_written && trail.retries.iter().all(|attempt| !attempt.request_written));
    }
}

#[tokio::test]
async fn the_request_that_comes_back_is_the_one_that_goes_on() {
    let errand = Told::new(&[Manner::Unsent, Manner::Unsent, Manner::Answer]);
    let (ended, trail) = carry_through(&errand, &nodes(9, 8)).await;
    assert_eq!((ended, trail.retries.len(), trail.request_written), (Ok(()), 2, true));
    assert!(errand.seen.lock().unwrap().iter().all(|(_, request)| *request == 7));
}

#[tokio::test]
async fn without_retries_one_failure_is_the_end() {
    for max_retries in [0, -1, i32::MIN] {
        let errand = Told::new(&[]);
        let (ended, trail) = carry_through(&errand, &nodes(9, max_retries)).await;
        assert_eq!((ended, errand.nodes().len(), trail.retries.len()), (Err(Ended::Failed), 1, 0));
    }
}

#[test]
fn no_attempt_may_eat_the_time_of_those_that_may_follow() {
    let now = Instant::now();
    let at = |seconds: u64| now + Duration::from_secs(seconds);
    let connect = Duration::from_secs(5);
    assert_eq!(share(now, at(15), connect, 2, 10), at(5));
    assert_eq!(share(now, at(9), connect, 2, 10), at(3));
    assert_eq!(share(now, at(9), connect, 16, 3), at(3));
    assert_eq!(share(now, at(4), connect, 0, 10), at(4));
    assert_eq!(share(now, now, connect, 3, 10), now);
}
