//! Clients that speak HTTP/2 from the start: some connections, each with some requests at a time.

use std::{
    net::SocketAddr,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::{Request, StatusCode, client::conn::http2::SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{net::TcpStream, task::JoinSet};

use super::{Done, Running};
use crate::{Outcome, lane::Lane};

/// Each stream goes again as soon as it was answered.
pub fn closed_loop(lane: &Lane, proxy: SocketAddr, uri: &str, connections: usize, streams: usize) -> Running {
    let done = Arc::new(Done::default());
    let mut tasks = JoinSet::new();
    for _ in 0..connections {
        let (uri, done) = (uri.to_owned(), Arc::clone(&done));
        let client = async move {
            if let Err(error) = connection(proxy, &uri, streams, &done).await {
                done.failed(&*error);
            }
        };
        tasks.spawn_on(client, &lane.handle);
    }
    Running { done, tasks }
}

async fn connection(proxy: SocketAddr, uri: &str, streams: usize, done: &Arc<Done>) -> Outcome<()> {
    let stream = TcpStream::connect(proxy).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
    let mut tasks: JoinSet<Outcome<()>> = JoinSet::new();
    tasks.spawn(async move { Ok(connection.await?) });
    for _ in 0..streams {
        tasks.spawn(ask(sender.clone(), uri.to_owned(), Arc::clone(done)));
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    Ok(())
}

async fn ask(mut sender: SendRequest<Empty<Bytes>>, uri: String, done: Arc<Done>) -> Outcome<()> {
    loop {
        let request = Request::get(&uri).body(Empty::new())?;
        let answer = sender.send_request(request).await?;
        if answer.status() != StatusCode::OK {
            return Err(format!("{answer:?}").into());
        }
        answer.into_body().collect().await?;
        done.times.fetch_add(1, Relaxed);
    }
}
