//! Tunnels that carry much: through pipes where both sides are bare sockets, through copies elsewhere, byte for byte.

#![allow(clippy::unwrap_used)] // a broken expectation is a failed test

mod support;

use std::{fs, io, ops::Range, sync::Arc};

use ::resin::proto::UpstreamStage;
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use support::{
    client::Client,
    nodes::{Manner, Nodes, lead_through},
    origins::{Resettable, Server},
    resin::{Resin, soon},
    tls::Authority,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    sync::Notify,
};

const MIB: usize = 1 << 20;
/// More than all sockets on the way hold.
const MUCH: usize = 24 * MIB;

const UP: u64 = 1;
const DOWN: u64 = 2;

/// What a side says, over and over. Its length is no multiple of anybody's block.
fn tape(side: u64) -> Vec<u8> {
    let mut bytes = vec![0; 256 * 1021];
    fastrand::Rng::with_seed(side).fill(&mut bytes);
    bytes
}

/// Sends so many bytes of a side's tape.
async fn send(to: &mut (impl AsyncWrite + Unpin), side: u64, count: usize) -> io::Result<()> {
    let tape = tape(side);
    let mut left = count;
    while left > 0 {
        let part = tape.len().min(left);
        to.write_all(&tape[..part]).await?;
        left -= part;
    }
    Ok(())
}

/// Reads from this place of a side's tape to that, or to the end: each byte must be right. Says how far it came.
async fn receive(from: &mut (impl AsyncRead + Unpin), side: u64, places: Range<usize>) -> io::Result<usize> {
    let (tape, mut block) = (tape(side), vec![0; 128 * 1024]);
    let mut place = places.start;
    while place < places.end {
        let said = &tape[place % tape.len()..];
        let room = block.len().min(said.len()).min(places.end - place);
        let read = soon("more", from.read(&mut block[..room])).await?;
        if read == 0 {
            break;
        }
        assert!(block[..read] == said[..read], "what came behind byte {place} was changed");
        place += read;
    }
    Ok(place)
}

const ALL: Range<usize> = 0..usize::MAX;

/// An origin that sends so much and half-closes, whatever comes meanwhile, and checks that.
async fn sending(down: usize, up: usize) -> Server {
    Server::start(move |connection| async move {
        let (mut from, mut to) = connection.into_split();
        let sending = tokio::spawn(async move {
            let sent = send(&mut to, DOWN, down).await;
            if sent.is_ok() {
                to.shutdown().await.unwrap();
            }
        });
        if let Ok(came) = receive(&mut from, UP, ALL).await {
            assert_eq!(came, up, "what the origin got");
        }
        let _ = sending.await;
    })
    .await
}

async fn open(resin: &Resin, server: &Server) -> TcpStream {
    let mut client = Client::of(resin).await;
    let authority = server.address.to_string();
    client.say(format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n")).await;
    // Its head alone is read, however much comes behind it.
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(soon("the head", client.wire.stream.read_u8()).await.unwrap());
    }
    assert!(head.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&head));
    client.wire.stream
}

/// Both ways at once, each side ending as soon as it has sent its own.
async fn exchange(client: TcpStream, up: usize, down: usize) {
    let (mut from, mut to) = client.into_split();
    let sending = tokio::spawn(async move {
        send(&mut to, UP, up).await.unwrap();
        to.shutdown().await.unwrap();
    });
    assert_eq!(receive(&mut from, DOWN, ALL).await.unwrap(), down);
    sending.await.unwrap();
}

/// Descriptors of the process that are pipes, and all.
fn descriptors(resin: &Resin) -> (usize, usize) {
    let all = fs::read_dir(format!("/proc/{}/fd", resin.pid())).unwrap().flatten();
    let targets: Vec<_> = all.filter_map(|entry| fs::read_link(entry.path()).ok()).collect();
    (targets.iter().filter(|target| target.to_string_lossy().starts_with("pipe:")).count(), targets.len())
}

async fn over_a_node(settings: &[(&str, &str)]) -> Resin {
    let resin = Resin::start(settings).await;
    lead_through(&resin, &Nodes::http(&[Manner::Good]).await, 0).await;
    resin
}

#[tokio::test]
async fn what_comes_in_bulk_arrives_byte_for_byte_whichever_side_ends_first() {
    let resin = over_a_node(&[]).await;
    let (pipes, _) = descriptors(&resin);
    for (up, down) in [(MUCH + 17, 3), (3, MUCH + 17), (MUCH, MIB + 1), (MIB - 1, MUCH), (MUCH, MUCH)] {
        let server = sending(down, up).await;
        exchange(open(&resin, &server).await, up, down).await;
        let record = resin.last_record().await;
        let counts = (record.egress_bytes, record.ingress_bytes, record.net_ok);
        assert_eq!(counts, (up as i64, down as i64, true), "{record:#?}");
    }
    assert!(descriptors(&resin).0 > pipes, "it went through pipes");
}

#[tokio::test]
async fn where_a_side_is_tls_or_no_pipe_can_be_made_it_is_copied() {
    let (up, down) = (MUCH + 5, MUCH + 7);
    let server = sending(down, up).await;

    let authority = Authority::new();
    let resin = Resin::start(&[("RESIN_CA_FILE", authority.file())]).await;
    let nodes = Nodes::https(&[Manner::Good], authority.acceptor("127.0.0.1")).await;
    lead_through(&resin, &nodes, 0).await;
    let before = descriptors(&resin).0;
    exchange(open(&resin, &server).await, up, down).await;
    let record = resin.last_record().await;
    assert_eq!((record.egress_bytes, record.ingress_bytes), (up as i64, down as i64));
    assert_eq!(descriptors(&resin).0, before, "no pipe was made");

    let resin = over_a_node(&[]).await;
    let client = open(&resin, &server).await;
    let before = descriptors(&resin);
    let pid = Pid::from_raw(i32::try_from(resin.pid()).unwrap());
    let none_more = Rlimit { current: Some(3), maximum: Some(4096) };
    prlimit(pid, Resource::Nofile, none_more).unwrap();
    exchange(client, up, down).await;
    prlimit(pid, Resource::Nofile, Rlimit { current: Some(4096), maximum: Some(4096) }).unwrap();
    assert!(descriptors(&resin).0 <= before.0, "no pipe was made");
    let record = resin.last_record().await;
    assert_eq!((record.egress_bytes, record.ingress_bytes), (up as i64, down as i64));
}

#[tokio::test]
async fn an_upstream_that_resets_in_the_middle_of_much_is_to_blame_and_the_client_sees_a_cut() {
    let now = Arc::new(Notify::new());
    let cue = Arc::clone(&now);
    let server = Server::start(move |mut connection| {
        let cue = Arc::clone(&cue);
        async move {
            tokio::select! {
                sent = send(&mut connection, DOWN, 4 * MUCH) => sent.unwrap(),
                () = cue.notified() => connection.reset(),
            }
        }
    })
    .await;
    let resin = over_a_node(&[]).await;
    let mut client = open(&resin, &server).await;
    let place = receive(&mut client, DOWN, 0..MUCH).await.unwrap();
    now.notify_one();
    let end = receive(&mut client, DOWN, place..usize::MAX).await;
    assert!(end.is_err(), "a reset is no orderly end: {end:?}");
    let record = resin.last_record().await;
    assert_eq!((&*record.upstream_errno, record.net_ok), ("ECONNRESET", false), "{record:#?}");
    assert_eq!(record.upstream_stage(), UpstreamStage::ConnectUpstreamToClientCopy, "{record:#?}");
}

#[tokio::test]
async fn what_a_broken_tunnel_left_in_its_pipe_gets_into_no_other() {
    let resin = over_a_node(&[("RESIN_DATA_THREADS", "1")]).await;
    let server = sending(4 * MUCH, 3).await;
    for _ in 0..20 {
        let mut client = open(&resin, &server).await;
        client.write_all(&tape(UP)[..3]).await.unwrap();
        assert_eq!(receive(&mut client, DOWN, 0..2 * MIB).await.unwrap(), 2 * MIB);
        client.reset();
    }
    for record in resin.records_until(20).await {
        assert_eq!((&*record.upstream_err_kind, record.net_ok), ("canceled", true), "{record:#?}");
        assert_eq!(record.egress_bytes, 3);
    }
    let server = sending(MUCH, 3).await;
    exchange(open(&resin, &server).await, 3, MUCH).await;
}

#[tokio::test]
async fn one_that_reads_slowly_or_one_that_moves_much_keeps_no_other_of_its_thread_waiting() {
    let resin = over_a_node(&[("RESIN_DATA_THREADS", "1")]).await;
    let much = sending(4 * MUCH, 3).await;
    let mut slow = open(&resin, &much).await;
    let place = receive(&mut slow, DOWN, 0..MIB).await.unwrap();
    // An end that is never waited for: it swallows what comes, as fast as it comes.
    let endless = Server::start(|connection| async move {
        let (mut from, mut to) = connection.into_split();
        let swallowing =
            tokio::spawn(async move { tokio::io::copy(&mut from, &mut tokio::io::sink()).await });
        let _ = tokio::io::copy(&mut tokio::io::repeat(7), &mut to).await;
        swallowing.abort();
    })
    .await;
    let (mut from, mut to) = open(&resin, &endless).await.into_split();
    let busy = [
        tokio::spawn(async move { drop(tokio::io::copy(&mut from, &mut tokio::io::sink()).await) }),
        tokio::spawn(async move { drop(tokio::io::copy(&mut tokio::io::repeat(7), &mut to).await) }),
    ];
    let echo = Server::start(|connection| async move {
        let (mut from, mut to) = connection.into_split();
        let _ = tokio::io::copy(&mut from, &mut to).await;
    })
    .await;
    let mut small = open(&resin, &echo).await;
    for number in 0..200_u32 {
        small.write_u32(number).await.unwrap();
        assert_eq!(soon("an echo", small.read_u32()).await.unwrap(), number);
    }
    for task in busy {
        assert!(!task.is_finished(), "much is still moved");
        task.abort();
    }
    slow.write_all(&tape(UP)[..3]).await.unwrap();
    slow.shutdown().await.unwrap();
    assert_eq!(receive(&mut slow, DOWN, place..usize::MAX).await.unwrap(), 4 * MUCH);
}

#[tokio::test]
async fn pipes_come_back_and_no_descriptor_is_left_behind() {
    let resin = over_a_node(&[("RESIN_DATA_THREADS", "1")]).await;
    let server = sending(MIB, 3).await;
    let before = descriptors(&resin);
    for _ in 0..125 {
        let clients = (0..8).map(|_| async { exchange(open(&resin, &server).await, 3, MIB).await });
        futures_util::future::join_all(clients).await;
    }
    resin.records_until(1000).await;
    let after = descriptors(&resin);
    let kept = after.0 - before.0;
    assert!(kept > 0 && kept <= 2 * 16, "{kept} ends of pipes are kept");
    // A client of the control port may have left meanwhile.
    assert!(after.1 - kept <= before.1, "nothing else is: {before:?} {after:?}");
}
