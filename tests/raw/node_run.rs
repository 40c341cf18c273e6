//! A node that follows the rows of `node_answers`, and clients of every way that must be told what came of it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Instant,
};

use futures_util::{StreamExt, stream};
use resin::proto::Platform;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
    task::AbortHandle,
    time::timeout,
};

use super::{
    node_answers::{Next, NodeRow, Then},
    origin::Strict,
    row::latin,
    run::LONG,
    strict::{find, show},
};
use crate::support::{
    client::{WAYS, Way},
    grpc::named,
    resin::Resin,
    wire::{Length, Wire},
    world::basic,
};

/// Rows by the origin that a tunnel is asked to.
type Plan = Arc<Mutex<HashMap<String, NodeRow>>>;

/// A node that follows the row of the origin that it is asked for. One that speaks first follows one row alone.
struct Node {
    uri: String,
    plan: Plan,
    accepting: AbortHandle,
}

impl Drop for Node {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Node {
    async fn start(first: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let uri = format!("http://{}", listener.local_addr().unwrap());
        let plan = Plan::default();
        let kept = Arc::clone(&plan);
        let accepting = tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                let plan = Arc::clone(&kept);
                tokio::spawn(async move { follow(connection, first, &plan).await });
            }
        });
        Self { uri, plan, accepting: accepting.abort_handle() }
    }
}

async fn follow(mut connection: TcpStream, first: &str, plan: &Plan) -> Option<()> {
    connection.set_nodelay(true).ok()?;
    connection.write_all(&latin(first)).await.ok()?;
    let mut asked = Vec::new();
    while find(&asked, b"\r\n\r\n").is_none() {
        if connection.read_buf(&mut asked).await.ok()? == 0 {
            return None;
        }
    }
    let asked: String = asked.iter().map(|byte| char::from(*byte)).collect();
    let target = asked.split(' ').nth(1)?.to_owned();
    let row = plan.lock().unwrap().get(&target).cloned()?;
    let words = latin(&row.say);
    if let Next::Slowly(pause) = row.next {
        for byte in words {
            connection.write_all(&[byte]).await.ok()?;
            tokio::time::sleep(pause).await;
        }
    } else {
        connection.write_all(&words).await.ok()?;
    }
    match row.next {
        Next::Joins | Next::Slowly(_) => {
            let mut origin = TcpStream::connect(&target).await.ok()?;
            copy_bidirectional(&mut connection, &mut origin).await.ok()?;
        }
        Next::Ends => connection.shutdown().await.ok()?,
        Next::Waits => while connection.read_buf(&mut Vec::new()).await.ok()? > 0 {},
        Next::Again(bytes) => loop {
            connection.write_all(&latin(bytes)).await.ok()?;
        },
    }
    Some(())
}

/// One node and one platform for each word that is said first.
pub async fn run(rows: Vec<NodeRow>, resin: &Resin) {
    let mut firsts: Vec<&'static str> = rows.iter().map(|row| row.first).collect();
    firsts.sort_unstable();
    firsts.dedup();
    let mut nodes = HashMap::new();
    for (number, first) in firsts.into_iter().enumerate() {
        let node = Node::start(first).await;
        resin.upsert_nodes(&[(&node.uri, &format!("n{number}"))]).await;
        let (name, regex_filters) = (format!("P{number}"), vec![format!("^n{number}$")]);
        resin.set_platform(Platform { regex_filters, max_retries: Some(0), ..named(&name) }).await;
        nodes.insert(first, (name, node));
    }
    let started = Instant::now();
    let runs = rows.iter().flat_map(|row| WAYS.map(|way| (row, way)));
    let wrong: Vec<Option<String>> = stream::iter(runs)
        .map(|(row, way)| {
            let (platform, node) = &nodes[row.first];
            async move {
                let run = timeout(LONG, one(platform, node, row, way, resin)).await;
                let wrong = run.unwrap_or_else(|_| Err("it did not end".to_owned())).err();
                wrong.map(|what| format!("RFC {}: {} ({way:?})\n    {what}\n", row.rfc, row.what))
            }
        })
        .buffer_unordered(48)
        .collect()
        .await;
    let wrong: Vec<String> = wrong.into_iter().flatten().collect();
    println!("{} rows, {} runs in {:?}", rows.len(), rows.len() * WAYS.len(), started.elapsed());
    assert!(wrong.is_empty(), "{} runs went wrong:\n{}", wrong.len(), wrong.concat());
}

async fn one(platform: &str, node: &Node, row: &NodeRow, way: Way, resin: &Resin) -> Result<(), String> {
    let origin = Strict::start().await;
    let authority = origin.address.to_string();
    node.plan.lock().unwrap().insert(authority.clone(), row.clone());
    let mut wire = Wire::new(TcpStream::connect(resin.data).await.unwrap());
    let (method, target) = match way {
        Way::Connect => ("CONNECT", authority.clone()),
        Way::Forward => ("GET", format!("http://{authority}/it")),
        Way::Reverse => ("GET", format!("/any/{platform}/http/{authority}/it")),
    };
    let authorization = basic(platform, "any");
    let request = format!(
        "{method} {target} HTTP/1.1\r\nHost: {authority}\r\nProxy-Authorization: {authorization}\r\n\r\n"
    );
    wire.say(request).await.unwrap();
    let head = wire.head().await.map_err(|error| error.to_string())?.ok_or("no answer")?;
    let body = match (way, head.status()) {
        (Way::Connect, 200) => Vec::new(),
        _ => wire.body(Length::of_answer(&head, method)).await.bytes,
    };
    let told = format!("{} {:?} {:?}", head.line, head.get("x-resin-error"), show(&body));
    let ours = head.get("x-resin-error").is_some() && !show(&body).contains("node says");
    match (&row.then, way) {
        (Then::Fails(status), _) if head.status() == *status && ours => {}
        // They came before the request did, so they are no answer to it.
        (Then::Opens(early), Way::Forward | Way::Reverse) if !early.is_empty() => {
            let refused = head.status() == 502 && ours;
            return if refused { Ok(()) } else { Err(format!("not 502: {told}")) };
        }
        (Then::Opens(_), Way::Forward | Way::Reverse) if show(&body) == "heard /it" => {}
        (Then::Opens(early), Way::Connect) if head.status() == 200 => {
            wire.say(format!("GET /it HTTP/1.1\r\nHost: {authority}\r\n\r\n"))
                .await
                .map_err(|error| error.to_string())?;
            let mut got = Vec::new();
            wire.take(latin(early).len(), &mut got).await.map_err(|error| error.to_string())?;
            let head =
                wire.head().await.map_err(|error| error.to_string())?.ok_or("no answer in the tunnel")?;
            let body = wire.body(Length::of_answer(&head, "GET")).await;
            if got != latin(early) || body.bytes != b"heard /it" {
                return Err(format!("in the tunnel: {:?}, then {:?}", show(&got), show(&body.bytes)));
            }
        }
        _ => return Err(told),
    }
    let heard = origin.book().heard.len();
    let wanted = usize::from(matches!(row.then, Then::Opens(_)));
    if heard == wanted { Ok(()) } else { Err(format!("the origin heard {heard} requests")) }
}
