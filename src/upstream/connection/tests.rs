//! The witness against scripted sockets: what is called unwritten was not written, and is not written later.

use std::{collections::VecDeque, io::ErrorKind, pin::pin, task::Waker};

use bytes::Bytes;

use super::*;
use crate::upstream::{
    link::Hop,
    upload::Source,
    wire::{
        Counted,
        script::{Peer, Plan, Read, When, Write},
    },
};

const FRAMES: usize = 3;
const PATIENCE: Patience = Patience { response: Duration::from_secs(60), idle: Duration::from_secs(30) };

/// One row of the matrix.
#[derive(Debug, Clone)]
struct Row {
    writes: Vec<Write>,
    read: Read,
    when: When,
    body: bool,
}

/// {pending, error, short write, accepted} at the first and second write × what the peer does × body.
fn matrix() -> Vec<Row> {
    let one = [
        Write::Pending,
        Write::Fail(ErrorKind::BrokenPipe),
        Write::Fail(ErrorKind::ConnectionReset),
        Write::Fail(ErrorKind::Other),
        Write::Short(1),
        Write::Accept,
    ];
    let mut rows = Vec::new();
    for first in one {
        for second in one {
            for read in [Read::Silence, Read::Fin, Read::Rst, Read::Junk, Read::Answer] {
                for when in [When::AtOnce, When::AfterAWrite] {
                    for body in [false, true] {
                        rows.push(Row { writes: vec![first, second], read, when, body });
                    }
                }
            }
        }
    }
    rows
}

fn request(body: bool) -> Unsent {
    let frames: VecDeque<Bytes> = (0..FRAMES).map(|_| Bytes::from_static(b"frame")).collect();
    let upload = body.then(|| Upload::over(Source::Script(frames)));
    Unsent::example(Method::POST, upload)
}

async fn connection(row: &Row) -> (Connection, Peer) {
    let peer = Peer::plain(Plan { writes: row.writes.clone(), reads: vec![row.read], when: row.when });
    let wire = peer.wire();
    let link = Link::over(Arc::clone(&wire), Hop::Plain(Counted(wire)));
    (Connection::over(link), peer)
}

fn assert_untouched(request: &Unsent, row: &Row) {
    let left = request.upload.as_ref().map_or(FRAMES, Upload::frames_left);
    assert_eq!(left, FRAMES, "the body was polled: {row:?}");
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_says_unwritten_let_no_byte_through_and_gives_the_whole_request_back() {
    let (mut unsent, mut sent, mut answered) = (0, 0, 0);
    for row in matrix() {
        let (connection, peer) = connection(&row).await;
        let mut phase = Phase::Send;
        let ended = connection.send(Box::new(request(row.body)), PATIENCE, &mut phase).await;
        let at_verdict = peer.accepted();
        match ended {
            Err(SendFailure::Unsent { request, .. }) => {
                assert_eq!(at_verdict, 0, "{row:?}");
                assert_untouched(&request, &row);
                unsent += 1;
            }
            Err(SendFailure::Sent { .. }) => {
                assert!(at_verdict > 0, "provable, but not proven: {row:?}");
                sent += 1;
            }
            Ok(answer) => {
                assert_eq!(row.read, Read::Answer, "{row:?}");
                drop(answer);
                answered += 1;
            }
        }
        let tries = peer.tries();
        peer.open();
        tokio::task::yield_now().await;
        assert_eq!(peer.tries(), tries, "a write after the verdict: {row:?}");
    }
    assert!(unsent > 100 && sent > 100 && answered > 20, "{unsent} {sent} {answered}");
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_is_dropped_after_any_poll_writes_nothing_more() {
    for row in matrix() {
        for polls in 0..6 {
            let (connection, peer) = connection(&row).await;
            let mut phase = Phase::Send;
            let mut context = Context::from_waker(Waker::noop());
            {
                let mut attempt = pin!(connection.send(Box::new(request(row.body)), PATIENCE, &mut phase));
                for _ in 0..polls {
                    if attempt.as_mut().poll(&mut context).is_ready() {
                        break;
                    }
                }
            }
            let at_drop = peer.tries();
            peer.open();
            tokio::task::yield_now().await;
            assert_eq!(peer.tries(), at_drop, "a write after the drop: {row:?}, {polls} polls");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_reused_connection_that_its_peer_has_left_is_seen_before_anything_is_written() {
    for (read, alive) in [(Read::Silence, true), (Read::Fin, false), (Read::Rst, false), (Read::Junk, false)]
    {
        let row = Row { writes: vec![], read, when: When::AtOnce, body: false };
        let (mut connection, peer) = connection(&row).await;
        assert_eq!(connection.is_alive(), alive, "{read:?}");
        assert_eq!(peer.tries(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn an_early_answer_is_read_although_the_upload_can_no_longer_be_written() {
    // The head goes out, then the peer answers and resets: the answer is worth more than the write error.
    let writes = vec![Write::Accept, Write::Fail(ErrorKind::BrokenPipe)];
    let row = Row { writes, read: Read::Answer, when: When::AfterAWrite, body: true };
    let (connection, _) = connection(&row).await;
    let mut phase = Phase::Send;
    let answer = connection.send(Box::new(request(true)), PATIENCE, &mut phase).await;
    assert_eq!(answer.unwrap().head.status, 200);
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_not_lost_where_its_task_has_used_up_its_budget() {
    // tokio tells such a task "not yet" although all is there; here the connection ends with its answer.
    for reads in [vec![Read::Answer], vec![Read::Answer, Read::Fin], vec![Read::Answer, Read::Rst]] {
        let peer = Peer::plain(Plan { writes: vec![], reads: reads.clone(), when: When::AfterAWrite });
        let wire = peer.wire();
        let link = Link::over(Arc::clone(&wire), Hop::Plain(Counted(wire)));
        let connection = Connection::over(link);
        let mut phase = Phase::Send;
        let mut attempt = pin!(connection.send(Box::new(request(false)), PATIENCE, &mut phase));
        tokio::task::yield_now().await; // with a budget of its own
        let mut polls = 0;
        let answer = poll_fn(|cx| {
            polls += 1;
            // The request must get under way, and what is late must come.
            while (2..8).contains(&polls) && tokio::task::coop::has_budget_remaining() {
                let _used = pin!(tokio::task::coop::consume_budget()).poll(cx);
            }
            attempt.as_mut().poll(cx)
        });
        assert_eq!(answer.await.unwrap().head.status, 200, "{reads:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_comes_before_anything_was_written_is_no_answer_and_leaves_the_request_unwritten() {
    for read in [Read::Answer, Read::Part, Read::Junk, Read::Fin, Read::Rst] {
        let row = Row { writes: vec![], read, when: When::AtOnce, body: true };
        let (connection, peer) = connection(&row).await;
        let ended = connection.send(Box::new(request(true)), PATIENCE, &mut Phase::Send).await;
        let Err(SendFailure::Unsent { request, .. }) = ended else { panic!("{read:?}: {ended:?}") };
        assert_untouched(&request, &row);
        assert_eq!(peer.tries(), 0, "{read:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_upload_goes_on_behind_an_early_answer_until_its_last_byte_is_written() {
    // The head and the frames go out, what ends them does not; by then the answer is there.
    let writes = vec![Write::Accept, Write::Accept, Write::Accept, Write::Accept, Write::Jam];
    let row = Row { writes, read: Read::Answer, when: When::AfterAWrite, body: true };
    let (connection, peer) = connection(&row).await;
    let request = Box::new(request(true));
    let upload = request.upload.clone().unwrap();
    let mut remains = connection.send(request, PATIENCE, &mut Phase::Send).await.unwrap().connection;
    assert!(upload.is_over() && !remains.is_uploaded());
    peer.open();
    poll_fn(|cx| remains.pump.poll(cx, &mut remains.channel)).await.unwrap();
    assert!(remains.is_uploaded() && peer.heard().ends_with(b"0\r\n\r\n"));
}
