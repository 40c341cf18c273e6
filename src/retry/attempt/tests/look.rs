//! The last look: what lies in a parked connection's socket is neither written behind nor taken for an answer.
//!
//! The runtime learns of bytes and ends only when it asks the system for news. A connection that is taken from the pool
//! before that seems quiet to every read, and only a look into the socket itself shows what lies there.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{Arc, mpsc},
};

use super::way::{WAYS, Way};
use super::world::{exchange, is_used_again, keep, over_tcp, park, pool};
use crate::upstream::{
    Wire,
    script::{Plan, Read, When},
};

/// Takes one connection, reads one head, answers it in this name, and gives the connection back.
fn answer_one(listener: &TcpListener, name: &str) -> TcpStream {
    let (mut stream, _) = listener.accept().unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    stream.write_all(answer(name).as_bytes()).unwrap();
    stream
}

fn answer(name: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-From: {name}\r\n\r\n")
}

/// A parked connection whose peer then does this; the next request's answer, and what the old peer heard of it. The
/// runtime has no chance to notice anything in between.
async fn next_answer_after(act: impl FnOnce(&mut TcpStream)) -> (String, usize) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (streams, taken) = mpsc::channel();
    let server = std::thread::spawn(move || {
        for name in ["first", "second"] {
            streams.send(answer_one(&listener, name)).unwrap();
        }
    });
    let pool = pool();
    let (first, wire) = over_tcp(&pool, address).await;
    assert_eq!(first, "first");
    let mut old = taken.recv().unwrap();

    act(&mut old);
    wait_until_it_lies_there(&wire);
    let (second, _) = over_tcp(&pool, address).await;

    old.set_nonblocking(true).unwrap();
    let heard = old.read(&mut [0; 1024]).unwrap_or(0);
    drop(pool);
    // Where the request went to the old peer, the server still waits for another connection.
    drop(TcpStream::connect(address).map(|mut stream| stream.write_all(b"\r\n\r\n")));
    drop(server.join());
    (second, heard)
}

fn wait_until_it_lies_there(wire: &Arc<Wire>) {
    while wire.peek().is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock) {
        std::thread::yield_now(); // the loopback takes no time, but no lock either
    }
}

#[tokio::test]
async fn an_answer_that_lies_in_a_parked_connections_socket_is_not_taken_for_the_next_requests() {
    let planted = next_answer_after(|old| old.write_all(answer("planted").as_bytes()).unwrap());
    assert_eq!(planted.await, ("second".to_owned(), 0));
}

#[tokio::test]
async fn a_parked_connection_that_its_peer_has_closed_unnoticed_is_not_written_to() {
    let closed = next_answer_after(|old| old.shutdown(Shutdown::Both).unwrap());
    assert_eq!(closed.await, ("second".to_owned(), 0));
}

/// All that makes a connection useless, over TLS or not.
fn spoilers(way: Way) -> impl Iterator<Item = Read> {
    let all = [Read::Junk, Read::Answer, Read::Part, Read::Fin, Read::Rst, Read::Garbage, Read::CloseNotify];
    all.into_iter().filter(move |read| way.is_tls() || *read != Read::CloseNotify)
}

#[tokio::test(start_paused = true)]
async fn what_comes_right_behind_an_answer_keeps_its_connection_out_of_the_pool() {
    for way in WAYS {
        for next in spoilers(way) {
            let pool = pool();
            let plan = Plan { writes: Vec::new(), reads: vec![Read::Answer, next], when: When::AfterAWrite };
            let (peer, answer) = exchange(&pool, way, plan).await;
            keep(&pool, answer);
            assert!(!is_used_again(&pool, way, &peer).await, "{way:?}: {next:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_comes_before_or_while_a_connection_is_parked_takes_it_out_of_use() {
    for way in WAYS {
        for next in spoilers(way) {
            for when in [When::AtOnce, When::Unnoticed] {
                for parked in [false, true] {
                    let pool = pool();
                    let (peer, answer) = exchange(&pool, way, Plan::good()).await;
                    let spoil = || peer.follow(Plan { writes: Vec::new(), reads: vec![next], when });
                    if parked {
                        keep(&pool, answer);
                        spoil();
                    } else {
                        spoil();
                        keep(&pool, answer);
                    }
                    assert!(
                        !is_used_again(&pool, way, &peer).await,
                        "{way:?}: {next:?} {when:?}, parked before {parked}"
                    );
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_quiet_connection_is_kept_and_what_is_tls_own_business_does_not_spoil_it() {
    for (way, reads) in WAYS.into_iter().flat_map(|way| [(way, vec![]), (way, vec![Read::NewKeys])]) {
        let pool = pool();
        let peer = park(&pool, way).await;
        peer.follow(Plan { writes: Vec::new(), reads: reads.clone(), when: When::AtOnce });
        assert!(is_used_again(&pool, way, &peer).await, "{way:?}: {reads:?}");
    }
}
