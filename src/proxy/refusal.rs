//! Answers to what is no request: recorded like any other.

use std::{fmt, sync::Arc};

use http::{Method, StatusCode};
use tokio::{io::AsyncWriteExt, net::TcpStream};

use super::{
    answer,
    client::Client,
    entry::{self, Entry},
    flaw::Flaw,
    message::{Request, Response},
    recording::{Outcome, Recording},
    roster::TooMany,
    worker::Worker,
};

/// Answers bytes that are no head, and closes.
pub(crate) async fn refuse(worker: &Arc<Worker>, client: &Arc<Client>, flaw: &Flaw) {
    let (method, entry) = sketch(&client.inbound().read);
    let request = Request { method, ..Request::default() };
    record(Recording::begin(worker, client, &request, entry), flaw);
    client.say(&answer::flawed_bytes(flaw)).await;
    client.linger().await;
}

/// Answers a request whose head says two things, or nothing certain.
pub(crate) fn answer(worker: &Arc<Worker>, client: &Arc<Client>, request: &Request, flaw: &Flaw) -> Response {
    record(Recording::begin(worker, client, request, entry::entry(request)), flaw);
    answer::flawed(flaw)
}

fn record(mut recording: Box<Recording>, flaw: &Flaw) {
    match flaw.code {
        Some(code) => recording.refused(code, flaw.status.as_u16()),
        None => {
            recording.status(flaw.status.as_u16());
            recording.ended(Outcome::Whole);
        }
    }
}

/// What can be told of a head that is none: its method, and the path that it would have taken.
fn sketch(bytes: &[u8]) -> (Method, Entry) {
    let line = bytes.split(|byte| matches!(byte, b'\r' | b'\n')).next().unwrap_or_default();
    let mut words = line.split(|byte| *byte == b' ');
    let method = words.next().and_then(|word| Method::from_bytes(word).ok());
    let Some(method) = method else { return (Method::default(), Entry::Reverse) };
    let origin_form = words.next().is_none_or(|target| target.starts_with(b"/"));
    let entry = match method {
        Method::CONNECT => Entry::Connect,
        _ if origin_form => Entry::Reverse,
        _ => Entry::Forward,
    };
    (method, entry)
}

/// Closes a connection that there is no room for, with a word of why.
pub(crate) async fn turn_away(mut stream: TcpStream, why: TooMany) {
    let flaw = Flaw { status: StatusCode::SERVICE_UNAVAILABLE, ..Flaw::malformed(why.to_string()) };
    // Best effort: nothing was read, so the answer may be lost with the connection.
    let _told = stream.write_all(&answer::flawed_bytes(&flaw)).await;
    let _closed = stream.shutdown().await;
}

impl fmt::Display for TooMany {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connections(most) => write!(f, "{most} connections are open (RESIN_MAX_CONNECTIONS)"),
            Self::OfOneClient(most) => {
                write!(f, "{most} connections of this client are open (RESIN_MAX_CONNECTIONS_PER_CLIENT)")
            }
        }
    }
}
