//! Clients of the data port: HTTP/1.1 byte by byte, and HTTP/2 with prior knowledge.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::{body::Incoming, client::conn::http2::SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

use super::{
    resin::{Resin, soon},
    wire::{Fields, Head, Length, Wire},
};

/// The ways through the data port that requests are tried on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Forward,
    Reverse,
    Connect,
}

pub const WAYS: [Way; 3] = [Way::Forward, Way::Reverse, Way::Connect];
pub const EXCHANGES: [Way; 2] = [Way::Forward, Way::Reverse];

impl Way {
    /// The stage in which an attempt fails before it has a connection or an answer.
    pub fn first_stage(self) -> resin::proto::UpstreamStage {
        use resin::proto::UpstreamStage as Stage;
        match self {
            Self::Forward => Stage::ForwardRoundtrip,
            Self::Reverse => Stage::ReverseRoundtrip,
            Self::Connect => Stage::ConnectDial,
        }
    }

    pub fn copy_stage(self) -> resin::proto::UpstreamStage {
        use resin::proto::UpstreamStage as Stage;
        match self {
            Self::Forward => Stage::ForwardUpstreamToClientCopy,
            Self::Reverse => Stage::ReverseUpstreamToClientCopy,
            Self::Connect => Stage::ConnectUpstreamToClientCopy,
        }
    }

    /// The code of a failed exchange, or of a tunnel that did not come about.
    pub fn failure_code(self) -> &'static str {
        match self {
            Self::Connect => "UPSTREAM_CONNECT_FAILED",
            Self::Forward | Self::Reverse => "UPSTREAM_REQUEST_FAILED",
        }
    }

    /// The request target and Host for `path` at an http origin.
    pub fn target(self, authority: &str, path: &str) -> String {
        match self {
            Self::Forward => format!("http://{authority}{path}"),
            Self::Reverse => format!("/any/Default/http/{authority}{path}"),
            Self::Connect => path.to_owned(),
        }
    }
}

/// An answer as far as it came.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub head: Head,
    pub body: Vec<u8>,
    pub trailers: Fields,
    /// The body ended where its head said that it would.
    pub whole: bool,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.get(name)
    }

    /// It is the proxy's own answer: this code, in the form that all of them have.
    pub fn assert_error(&self, status: u16, code: &str) {
        assert_eq!((self.status, self.header("x-resin-error")), (status, Some(code)), "{self:?}");
        let proxy_status =
            self.header("proxy-status").unwrap_or_else(|| panic!("no Proxy-Status in {self:?}"));
        assert!(!proxy_status.is_empty());
        let kind = self.header("content-type").unwrap_or_default();
        assert!(kind.starts_with("text/plain"), "{self:?}");
        let text = self.text();
        assert!(!text.trim().is_empty() && text.trim_end().lines().count() == 1, "one sentence: {text:?}");
    }
}

/// A connection to the data port.
pub struct Client {
    pub wire: Wire<TcpStream>,
}

impl Client {
    pub async fn to(address: SocketAddr) -> Self {
        let connection = soon("a connection", TcpStream::connect(address)).await.unwrap();
        connection.set_nodelay(true).unwrap();
        Self { wire: Wire::new(connection) }
    }

    pub async fn of(resin: &Resin) -> Self {
        Self::to(resin.data).await
    }

    pub async fn say(&mut self, bytes: impl AsRef<[u8]>) {
        soon("room for a request", self.wire.say(bytes)).await.unwrap();
    }

    /// The next head.
    pub async fn head(&mut self) -> Head {
        soon("an answer's head", self.wire.head()).await.unwrap().expect("an answer, not an end")
    }

    /// The next answer that is not interim.
    pub async fn answer(&mut self, method: &str) -> Answer {
        let mut head = self.head().await;
        while (100..200).contains(&head.status()) && head.status() != 101 {
            head = self.head().await;
        }
        let length = match head.status() {
            200 if method == "CONNECT" => Length::Nothing,
            _ => Length::of_answer(&head, method),
        };
        let payload = soon("an answer's body", self.wire.body(length)).await;
        let status = head.status();
        Answer { status, head, body: payload.bytes, trailers: payload.trailers, whole: payload.whole }
    }

    /// One exchange; `rest` is header lines (each with its CRLF), the empty line and the body.
    pub async fn ask(&mut self, method: &str, target: &str, rest: &str) -> Answer {
        self.say(format!("{method} {target} HTTP/1.1\r\n{rest}")).await;
        self.answer(method).await
    }

    /// The answer to a CONNECT as the default platform.
    pub async fn connect(&mut self, authority: &str) -> Answer {
        self.ask("CONNECT", authority, &format!("Host: {authority}\r\n\r\n")).await
    }

    /// Whether the peer has ended the connection, and nothing more came.
    pub async fn is_at_end(&mut self) -> bool {
        soon("an end", self.wire.more()).await.is_ok_and(|read| read == 0) && self.wire.ahead.is_empty()
    }
}

/// A request for `path` at an http origin on this way; through a tunnel where it opens. `headers` are whole lines.
pub async fn ask_with(
    resin: &Resin,
    way: Way,
    (method, authority, path): (&str, &str, &str),
    headers: &str,
    body: &str,
) -> Answer {
    let mut client = Client::of(resin).await;
    if way == Way::Connect {
        let answer = client.connect(authority).await;
        if answer.status != 200 {
            return answer;
        }
    }
    let framing = match (method, body.len()) {
        ("GET" | "HEAD", 0) => String::new(),
        (_, length) => format!("Content-Length: {length}\r\n"),
    };
    let rest = format!("Host: {authority}\r\n{framing}{headers}\r\n{body}");
    client.ask(method, &way.target(authority, path), &rest).await
}

/// A GET on this way.
pub async fn ask(resin: &Resin, way: Way, authority: &str) -> Answer {
    ask_with(resin, way, ("GET", authority, "/"), "", "").await
}

/// A POST with a small body on this way.
pub async fn post(resin: &Resin, way: Way, authority: &str) -> Answer {
    ask_with(resin, way, ("POST", authority, "/"), "", "a small body").await
}

/// HTTP/2 with prior knowledge.
pub async fn http2<B>(resin: &Resin) -> SendRequest<B>
where
    B: Body<Data = Bytes, Error: std::error::Error + Send + Sync> + Send + Unpin + 'static,
{
    let connection = TcpStream::connect(resin.data).await.unwrap();
    let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(connection));
    let (sender, connection) = soon("an HTTP/2 handshake", handshake).await.unwrap();
    tokio::spawn(connection);
    sender
}

/// An exchange over HTTP/2.
pub async fn over_http2<B>(resin: &Resin, request: Request<B>) -> Response<Incoming>
where
    B: Body<Data = Bytes, Error: std::error::Error + Send + Sync> + Send + Unpin + 'static,
{
    let mut sender = http2(resin).await;
    let response = soon("an answer over HTTP/2", sender.send_request(request)).await.unwrap();
    // The sender lives as long as its connection is needed: the body holds on to the connection itself.
    drop(sender);
    response
}
