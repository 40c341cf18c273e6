//! A lane: a platform with nodes and origins of its own, and the client that sends one request after another there.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use hyper::client::conn::http2::SendRequest;
use resin::proto::Platform;
use tokio_rustls::TlsAcceptor;

use super::{
    super::support::{
        client::{Client, Way},
        grpc::named,
        nodes::Blackhole,
        resin::{Resin, soon},
        wire::Length,
        world::{Refusing, basic},
    },
    judge::{Outcome, Report},
    nodes::{self, Speech, Ways},
    origin::{Origin, spin},
    plan::{Load, Plan, Wish},
    stage::{Door, Stage},
    tally::path,
};

/// A kind of node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Direct,
    Http,
    Https,
    Socks5,
    /// Nobody listens.
    Refused,
    /// Takes no notice of a call.
    Hole,
    /// Its name does not exist.
    Nameless,
}

/// Of each lane in turn: its nodes, the platform's `max_retries`, and whether further nodes come and go.
pub const LAYOUTS: [(&[Kind], i32, bool); 8] = [
    (&[Kind::Http, Kind::Https, Kind::Socks5, Kind::Direct], 2, false),
    (&[Kind::Http, Kind::Http, Kind::Refused, Kind::Nameless], 3, false),
    (&[Kind::Direct, Kind::Https, Kind::Refused], 1, false),
    (&[Kind::Socks5, Kind::Socks5, Kind::Https], 2, false),
    (&[Kind::Direct], 2, false),
    (&[Kind::Http, Kind::Https], 0, false),
    (&[Kind::Http, Kind::Socks5, Kind::Direct, Kind::Http], 2, true),
    (&[Kind::Http, Kind::Hole, Kind::Https], 2, false),
];

/// What HTTP/2 carries.
pub type Content = BoxBody<Bytes, std::convert::Infallible>;

pub struct Node {
    pub tag: String,
    pub uri: String,
    pub kind: Kind,
}

pub struct Lane {
    pub number: usize,
    pub platform: String,
    pub nodes: Vec<Node>,
    pub max_retries: i32,
    /// The last node comes and goes.
    pub churned: bool,
    pub stage: Arc<Stage>,
    plain: Origin,
    secure: Origin,
    doors: Vec<Door>,
    _dead: Vec<Box<dyn std::any::Any + Send + Sync>>,
}

impl Lane {
    pub async fn open(number: usize, stage: Arc<Stage>, acceptor: &TlsAcceptor) -> Self {
        let (kinds, max_retries, churned) = LAYOUTS[number % LAYOUTS.len()];
        let direct = kinds.iter().position(|kind| *kind == Kind::Direct).unwrap_or(0);
        let plain = Origin::open(&stage, direct, None).await;
        let secure = Origin::open(&stage, direct, Some(acceptor.clone())).await;
        let ways = Ways {
            plain: (plain.front.address.port(), plain.back.address),
            secure: (secure.front.address.port(), secure.back.address),
        };
        let (mut nodes, mut doors) = (Vec::new(), Vec::new());
        let mut dead: Vec<Box<dyn std::any::Any + Send + Sync>> = Vec::new();
        for (at, kind) in kinds.iter().copied().enumerate() {
            let mut tag = format!("l{number}-{at}-{kind:?}");
            let speech = match kind {
                Kind::Http => Some(("http", Speech::Http)),
                Kind::Https => Some(("https", Speech::Https(acceptor.clone()))),
                Kind::Socks5 => Some(("socks5", Speech::Socks5)),
                _ => None,
            };
            let uri = match (kind, speech) {
                (_, Some((scheme, speech))) => {
                    doors.push(nodes::open(&stage, at, speech, ways).await);
                    format!("{scheme}://{}", doors[doors.len() - 1].address)
                }
                (Kind::Refused, _) => {
                    let port = Refusing::port();
                    let uri = format!("http://{}", port.address);
                    dead.push(Box::new(port));
                    uri
                }
                (Kind::Hole, _) => {
                    let hole = Blackhole::open();
                    let uri = format!("http://{}", hole.address);
                    dead.push(Box::new(hole));
                    uri
                }
                (Kind::Nameless, _) => format!("http://no-such-host-{number}.invalid:8080"),
                _ => {
                    "direct".clone_into(&mut tag); // one node, whichever lanes it is in
                    "direct://".to_owned()
                }
            };
            nodes.push(Node { tag, uri, kind });
        }
        let platform = format!("Lane{number}");
        Self { number, platform, nodes, max_retries, churned, stage, plain, secure, doors, _dead: dead }
    }

    /// How the platform is told to the instance.
    pub fn as_platform(&self) -> Platform {
        let direct = self.nodes.iter().any(|node| node.kind == Kind::Direct);
        let own = format!("^l{}-", self.number);
        let filter = if direct { format!("{own}|^direct$") } else { own };
        Platform { regex_filters: vec![filter], max_retries: Some(self.max_retries), ..named(&self.platform) }
    }

    /// Nodes that are always there.
    pub fn steady(&self) -> &[Node] {
        &self.nodes[..self.nodes.len() - usize::from(self.churned)]
    }

    /// Returns once every call that was made before now was taken.
    pub async fn settle(&self) {
        for door in self
            .doors
            .iter()
            .chain([&self.plain, &self.secure].map(|origin| [&origin.front, &origin.back]).concat())
        {
            soon("a server's turn", door.settle()).await;
        }
    }

    fn authority(&self, plan: &Plan) -> String {
        if plan.secure { self.secure.front.address } else { self.plain.front.address }.to_string()
    }
}

/// The client of a lane.
pub struct Sender<'a> {
    pub resin: &'a Resin,
    pub lane: &'a Lane,
    pub kept: Option<Client>,
    pub http2: SendRequest<Content>,
}

impl Sender<'_> {
    /// One request from its first byte to whatever the client got.
    pub async fn send(&mut self, id: usize, plan: Plan) -> Report {
        self.lane.stage.begin(id, &plan);
        let stage = Arc::clone(&self.lane.stage);
        let leaves = plan.leaves;
        let left = async move {
            match leaves {
                Some(delay) => {
                    stage.noticed().await;
                    spin(delay).await;
                }
                None => std::future::pending().await,
            }
        };
        let outcome = tokio::select! {
            outcome = soon("an outcome", self.exchange(id, &plan)) => outcome,
            () = left => Outcome { left: true, ..Outcome::default() },
        };
        Report { id, lane: self.lane.number, plan, outcome, dials: self.lane.stage.dials() }
    }

    async fn exchange(&mut self, id: usize, plan: &Plan) -> Outcome {
        let scheme = if plan.secure { "https" } else { "http" };
        let (authority, path) = (self.lane.authority(plan), path(id));
        if plan.client == Wish::Http2 {
            return self.over_http2(scheme, &authority, &path, plan).await;
        }
        let target = match plan.way {
            Way::Forward => format!("{scheme}://{authority}{path}"),
            _ => format!("/any/{}/{scheme}/{authority}{path}", self.lane.platform),
        };
        let mut client = match self.kept.take() {
            Some(client) if plan.client == Wish::Kept => client,
            _ => Client::of(self.resin).await,
        };
        let (method, framing, body) = parts(plan.load);
        let credentials = basic(&self.lane.platform, "any");
        let request = format!(
            "{method} {target} HTTP/1.1\r\nHost: {authority}\r\nProxy-Authorization: {credentials}\r\n{framing}\r\n{body}"
        );
        // An upload may be cut short by an answer.
        let sent = if plan.trickles {
            trickle(&mut client, request.as_bytes()).await
        } else {
            client.wire.say(request).await.is_ok()
        };
        let outcome = answer(&mut client, method).await;
        if sent && outcome.whole && matches!(outcome.status, 200 | 204) {
            self.kept = Some(client);
        }
        outcome
    }

    async fn over_http2(&self, scheme: &str, authority: &str, path: &str, plan: &Plan) -> Outcome {
        let (method, _, _) = parts(plan.load);
        let mut request = Request::builder().method(method);
        request = match plan.way {
            Way::Forward => request
                .uri(format!("{scheme}://{authority}{path}"))
                .header("proxy-authorization", basic(&self.lane.platform, "any")),
            _ => request.uri(format!(
                "http://{}/any/{}/{scheme}/{authority}{path}",
                self.resin.data, self.lane.platform
            )),
        };
        let (length, chunked) = match plan.load {
            Load::Get => (0, false),
            Load::Post(length) => (length, false),
            Load::Chunks(length) => (length, true),
        };
        if chunked {
            request = request.header("trailer", "x-sum");
        }
        let full = Full::new(Bytes::from("x".repeat(length)));
        let body: Content = if chunked {
            let sum = HeaderMap::from_iter([("x-sum".parse().unwrap(), length.to_string().parse().unwrap())]);
            full.with_trailers(async move { Some(Ok(sum)) }).boxed()
        } else {
            full.boxed()
        };
        let request = request.header("x-load", length.to_string()).body(body).unwrap();
        let mut sender = self.http2.clone();
        let Ok(response) = sender.send_request(request).await else { return Outcome::default() };
        let status = response.status().as_u16();
        Outcome { status, whole: response.into_body().collect().await.is_ok(), left: false }
    }
}

/// Method, header lines and framed body of an HTTP/1.1 request.
fn parts(load: Load) -> (&'static str, String, String) {
    match load {
        Load::Get => ("GET", String::new(), String::new()),
        Load::Post(length) => {
            ("POST", format!("X-Load: {length}\r\nContent-Length: {length}\r\n"), "x".repeat(length))
        }
        Load::Chunks(length) => {
            let (first, second) = ("x".repeat(length / 2), "x".repeat(length - length / 2));
            let first = if first.is_empty() { first } else { format!("{:x}\r\n{first}\r\n", first.len()) };
            let body = format!("{first}{:x}\r\n{second}\r\n0\r\nX-Sum: {length}\r\n\r\n", second.len());
            let framing = format!("X-Load: {length}\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n");
            ("PUT", framing, body)
        }
    }
}

/// The first bytes few by few, the rest at once.
async fn trickle(client: &mut Client, bytes: &[u8]) -> bool {
    let (few, rest) = bytes.split_at(bytes.len().min(400));
    for part in few.chunks(7) {
        if client.wire.say(part).await.is_err() {
            return false;
        }
        tokio::task::yield_now().await;
    }
    client.wire.say(rest).await.is_ok()
}

/// What the client gets, as far as it comes.
async fn answer(client: &mut Client, method: &str) -> Outcome {
    loop {
        let Ok(Some(head)) = client.wire.head().await else { return Outcome::default() };
        let status = head.status();
        if (100..200).contains(&status) {
            continue;
        }
        let payload = client.wire.body(Length::of_answer(&head, method)).await;
        return Outcome { status, whole: payload.whole, left: false };
    }
}

/// Nodes of a lane come and go until this is dropped.
pub async fn churn(resin: &Resin, lane: &Lane) {
    let extra = &lane.nodes[lane.nodes.len() - 1];
    loop {
        let nodes = resin.upsert_nodes(&[(&extra.uri, &extra.tag)]).await;
        tokio::time::sleep(Duration::from_millis(5)).await; // a pace, not a signal
        let hashes = nodes.into_iter().map(|node| node.hash).collect();
        let request = resin::proto::DeleteNodesRequest { hashes };
        soon("DeleteNodes", resin.grpc().nodes.delete_nodes(request)).await.unwrap();
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
