//! Ends in the middle: one side stalls or leaves, or we ourselves run out of something.

#![allow(clippy::unwrap_used)] // a broken expectation is a failed test

mod support;

use bytes::Bytes;
use http::Request;
use http_body_util::Empty;
use resin::proto::UpstreamPhase;
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use support::{
    client::{Client, EXCHANGES, WAYS, Way, ask, http2},
    nodes::{Manner, Nodes, lead_through, resin_direct, resin_over},
    origins::{Origin, Reply, Server, bulk},
    resin::{Resin, soon},
    wire::{Length, Wire},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::mpsc,
};

/// Gives the beginning of an answer and waits for the other side to leave, then tells.
async fn stalling() -> (Server, mpsc::UnboundedReceiver<()>) {
    let (left, leavings) = mpsc::unbounded_channel();
    let server = Server::start(move |connection| {
        let left = left.clone();
        async move {
            let mut wire = Wire::new(connection);
            let Ok(Some(_)) = wire.head().await else { return };
            wire.say("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly a part").await.unwrap();
            while wire.more().await.is_ok_and(|read| read > 0) {}
            let _ = left.send(());
        }
    })
    .await;
    (server, leavings)
}

#[tokio::test]
async fn a_client_that_leaves_in_the_middle_of_an_answer_blames_nobody_and_frees_the_origin() {
    let (origin, mut leavings) = stalling().await;
    let resin = Resin::start(&[]).await;
    for way in EXCHANGES {
        let nodes = Nodes::http(&[Manner::Good; 3]).await;
        lead_through(&resin, &nodes, 2).await;
        let mut client = Client::of(&resin).await;
        let target = way.target(&origin.address.to_string(), "/");
        client.say(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n")).await;
        assert_eq!(client.head().await.status(), 200);
        client.wire.take(11, &mut Vec::new()).await.unwrap();

        drop(client);

        soon("the origin's connection is let go", leavings.recv()).await.unwrap();
        let record = resin.last_record().await;
        assert_eq!((record.net_ok, record.http_status, record.ingress_bytes), (true, 200, 11), "{record:#?}");
        assert_eq!((record.upstream_stage(), &*record.upstream_err_kind), (way.copy_stage(), "canceled"));
        assert_eq!((record.retry_attempts, nodes.dial_count()), (0, 1));
    }
}

#[tokio::test]
async fn a_client_that_leaves_when_its_upload_has_ended_behind_an_early_answer_blames_nobody() {
    let origin = Server::start(|connection| async move {
        let mut wire = Wire::new(connection);
        let Ok(Some(_)) = wire.head().await else { return };
        wire.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nearly\r\n").await.unwrap();
        while wire.more().await.is_ok_and(|read| read > 0) {}
    })
    .await;
    let resin = resin_direct(&[]).await;
    for way in EXCHANGES {
        let mut client = Client::of(&resin).await;
        let target = way.target(&origin.address.to_string(), "/");
        client.say(format!("POST {target} HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello")).await;
        assert_eq!(client.head().await.status(), 200);
        client.wire.take("5\r\nearly\r\n".len(), &mut Vec::new()).await.unwrap();
        client.say("world").await;

        drop(client);

        let record = resin.last_record().await;
        assert_eq!((record.net_ok, record.egress_bytes), (true, 10), "{way:?} {record:#?}");
        assert_eq!(&*record.upstream_err_kind, "canceled", "{way:?}");
    }
}

#[tokio::test]
async fn an_answer_that_stalls_is_cut_after_the_idle_timeout_and_the_network_is_blamed() {
    let (origin, mut leavings) = stalling().await;
    let resin = resin_direct(&[("RESIN_IDLE_TIMEOUT", "400ms")]).await;
    for way in EXCHANGES {
        let answer = ask(&resin, way, &origin.address.to_string()).await;
        assert_eq!((answer.status, answer.whole, answer.text().as_str()), (200, false, "only a part"));
        soon("the origin's connection is let go", leavings.recv()).await.unwrap();
        let record = resin.last_record().await;
        assert_eq!((record.net_ok, record.upstream_stage()), (false, way.copy_stage()), "{record:#?}");
        assert_eq!((&*record.upstream_err_kind, record.upstream_phase()), ("timeout", UpstreamPhase::Body));
    }
}

#[tokio::test]
async fn an_upload_that_its_client_stalls_is_refused_with_408_and_blames_nobody() {
    let origin = Origin::ok().await;
    let resin = Resin::start(&[("RESIN_IDLE_TIMEOUT", "400ms")]).await;
    for way in EXCHANGES {
        let nodes = Nodes::http(&[Manner::Good; 3]).await;
        lead_through(&resin, &nodes, 2).await;
        let mut client = Client::of(&resin).await;
        let target = way.target(&origin.authority(), "/");
        client
            .say(format!("POST {target} HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nonly a part"))
            .await;
        let answer = client.answer("POST").await;
        assert_eq!((answer.status, answer.header("connection")), (408, Some("close")), "{answer:?}");
        assert!(answer.text().contains("RESIN_IDLE_TIMEOUT"), "{answer:?}");
        let record = resin.last_record().await;
        assert_eq!((record.net_ok, &*record.upstream_err_kind), (true, "canceled"), "{record:#?}");
        assert_eq!((record.retry_attempts, nodes.dial_count()), (0, 1), "{record:#?}");
        assert!(record.request_written, "{record:#?}");
        assert_eq!(record.egress_bytes, 11, "{record:#?}");
    }
    assert_eq!(origin.count(), 0, "half a request is no request");
}

#[tokio::test]
async fn an_upload_that_the_upstream_does_not_take_is_the_upstreams_timeout() {
    let origin = Server::start(|connection| async move {
        let mut wire = Wire::new(connection);
        let _ = wire.head().await;
        std::future::pending::<()>().await;
    })
    .await;
    let resin = resin_direct(&[("RESIN_IDLE_TIMEOUT", "400ms")]).await;
    for way in EXCHANGES {
        let mut client = Client::of(&resin).await;
        let target = way.target(&origin.address.to_string(), "/");
        client.say(format!("POST {target} HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\n")).await;
        let (mut from, mut to) = client.wire.stream.into_split();
        let sending = tokio::spawn(async move { while to.write_all(&[b'x'; 64 * 1024]).await.is_ok() {} });
        let mut answer = vec![0; 12];
        soon("an answer", from.read_exact(&mut answer)).await.unwrap();
        assert_eq!(String::from_utf8_lossy(&answer), "HTTP/1.1 504", "{way:?}");
        sending.abort();
        let record = resin.last_record().await;
        assert_eq!((&*record.resin_error, record.net_ok), ("UPSTREAM_TIMEOUT", false), "{record:#?}");
    }
}

#[tokio::test]
async fn an_http2_client_that_does_not_read_is_let_go_after_the_idle_timeout() {
    let server = bulk().await;
    let resin = resin_direct(&[("RESIN_IDLE_TIMEOUT", "400ms")]).await;
    let mut sender = http2::<Empty<Bytes>>(&resin).await;
    let url = format!("http://{}/any/Default/http/{}/", resin.data, server.address) + "give/50000000";
    let answer = sender.send_request(Request::get(url).body(Empty::new()).unwrap()).await.unwrap();
    assert_eq!(answer.status(), 200);
    // Nobody reads: its window fills, and then nothing moves.
    let record = resin.last_record().await;
    assert_eq!((record.net_ok, &*record.upstream_err_kind), (true, "canceled"), "{record:#?}");
    drop(answer);
}

#[tokio::test]
async fn a_client_that_leaves_in_the_middle_of_its_upload_cuts_it_for_the_origin() {
    let (came, mut cuts) = mpsc::unbounded_channel();
    let (began, mut beginnings) = mpsc::unbounded_channel();
    let origin = Server::start(move |connection| {
        let (came, began) = (came.clone(), began.clone());
        async move {
            let mut wire = Wire::new(connection);
            let Ok(Some(head)) = wire.head().await else { return };
            began.send(()).unwrap();
            let _ = came.send(wire.body(Length::of_request(&head)).await);
        }
    })
    .await;
    let resin = resin_direct(&[]).await;
    for way in EXCHANGES {
        for (framing, part) in
            [("Content-Length: 100", "only a part"), ("Transfer-Encoding: chunked", "b\r\nonly a part\r\n")]
        {
            let mut client = Client::of(&resin).await;
            let target = way.target(&origin.address.to_string(), "/");
            client.say(format!("POST {target} HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n{part}")).await;
            soon("the head at the origin", beginnings.recv()).await.unwrap();
            drop(client);
            let payload = soon("a cut at the origin", cuts.recv()).await.unwrap();
            assert!(!payload.whole, "a cut upload arrives cut: {way:?} {framing} {payload:?}");
            let record = resin.last_record().await;
            assert_eq!((record.net_ok, record.retry_attempts), (true, 0), "{record:#?}");
        }
    }
}

#[tokio::test]
async fn our_own_shortage_of_descriptors_is_final_and_no_retry() {
    let resin = Resin::start(&[]).await;
    let nodes = Nodes::http(&[Manner::Good; 4]).await;
    lead_through(&resin, &nodes, 3).await;
    let pid = Pid::from_raw(i32::try_from(resin.pid()).unwrap());
    for way in WAYS {
        let mut client = Client::of(&resin).await;
        // Refused, so that the connection is accepted before there is nothing left.
        client.ask("GET", "/", "Host: a\r\n\r\n").await.assert_error(400, "URL_PARSE_ERROR");
        resin.last_record().await;
        let usual = prlimit(pid, Resource::Nofile, Rlimit { current: Some(3), maximum: Some(4096) }).unwrap();
        let (method, target) = match way {
            Way::Connect => ("CONNECT", "shop.test:80".to_owned()),
            _ => ("GET", way.target("shop.test", "/")),
        };
        let answer = client.ask(method, &target, "Host: a\r\n\r\n").await;
        prlimit(
            pid,
            Resource::Nofile,
            Rlimit { current: Some(1024), maximum: usual.maximum.min(Some(4096)) },
        )
        .unwrap();

        answer.assert_error(502, way.failure_code());
        let record = resin.last_record().await;
        assert_eq!((&*record.upstream_errno, record.retry_attempts), ("EMFILE", 0), "{way:?} {record:#?}");
        assert_eq!((record.upstream_stage(), nodes.dial_count()), (way.first_stage(), 0), "{way:?}");
        assert!(!record.request_written);
    }
}

#[tokio::test]
async fn without_descriptors_accepting_waits_and_neither_spins_nor_ends() {
    let (resin, origin) = (resin_direct(&[("RESIN_DATA_THREADS", "1")]).await, Origin::ok().await);
    let target = Way::Reverse.target(&origin.authority(), "/");
    let mut client = Client::of(&resin).await;
    assert_eq!(client.ask("GET", &target, "Host: a\r\n\r\n").await.status, 200);
    let pid = Pid::from_raw(i32::try_from(resin.pid()).unwrap());
    let usual = prlimit(pid, Resource::Nofile, Rlimit { current: Some(3), maximum: Some(4096) }).unwrap();
    // They get into the backlog, and no further.
    let mut waiting: Vec<Client> = Vec::new();
    for _ in 0..20 {
        let mut client = Client::of(&resin).await;
        client.say(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n")).await;
        waiting.push(client);
    }
    resin.stderr_line("the shortage", |line| line.contains("cannot accept connections")).await;
    let before = processor_time(resin.pid());
    tokio::time::sleep(std::time::Duration::from_secs(1)).await; // the time over which it must not spin
    let spent = processor_time(resin.pid()) - before;
    assert!(spent < 50, "{spent} ticks of a hundredth of a second in one second: it spins");
    // Who is connected is served on.
    assert_eq!(client.ask("GET", &target, "Host: a\r\n\r\n").await.status, 200);

    prlimit(pid, Resource::Nofile, Rlimit { current: Some(1024), maximum: usual.maximum.min(Some(4096)) })
        .unwrap();
    for client in &mut waiting {
        assert_eq!(client.answer("GET").await.status, 200);
    }
    let told = resin.stderr().matches("cannot accept connections").count();
    assert_eq!(told, 1, "said once");
}

/// User and system time so far, in the kernel's ticks.
fn processor_time(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

#[tokio::test]
async fn a_name_with_several_addresses_is_one_attempt() {
    let origin = Origin::ok().await; // on 127.0.0.1 alone, while `localhost` may be ::1 too
    let resin = resin_direct(&[]).await;
    let authority = format!("localhost:{}", origin.address.port());
    for way in WAYS {
        assert_eq!(ask(&resin, way, &authority).await.status, 200, "{way:?}");
        assert_eq!(resin.last_record().await.retry_attempts, 0, "{way:?}");
    }
}

#[tokio::test]
async fn a_garbled_answer_is_final() {
    for garbage in
        ["\x16\x03\x00garbage\r\n\r\n", "HTTP/9.9 200 OK\r\n\r\n", "HTTP/1.1 200 OK\r\nno colon\r\n\r\n"]
    {
        let origin = Origin::start(move |_| Reply::Close(garbage.into())).await;
        let nodes = Nodes::http(&[Manner::Good; 3]).await;
        let resin = resin_over(&nodes, 2, &[]).await;
        for way in EXCHANGES {
            ask(&resin, way, &origin.authority()).await.assert_error(502, "UPSTREAM_REQUEST_FAILED");
            let record = resin.last_record().await;
            assert_eq!((record.retry_attempts, record.net_ok), (0, false), "{garbage:?}");
            assert_eq!(&*record.upstream_err_kind, "protocol_error", "{garbage:?} {record:#?}");
            assert_eq!(record.upstream_phase(), UpstreamPhase::ResponseHead);
        }
        assert_eq!(origin.count(), 2, "{garbage:?}");
    }
}
