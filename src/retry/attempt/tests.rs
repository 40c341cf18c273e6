//! The whole attempt, product code from pool to counter, against scripted sockets: every row of a table, dropped after
//! every poll.
//!
//! What is called unwritten was not written, is not written later, and comes back whole. What the sockets and the peers
//! behind them saw is the judge; the attempt's own count is what is judged.

mod look;
mod scripts;
mod table;
mod way;
mod world;

use std::time::Instant as Clock;

use crate::upstream::{
    Unsent, Upload,
    script::{Cut, Peer, Plan, Read, When},
};
use way::{WAYS, Way};
use world::{FRAMES, Kind, LARGE, Outcome, Row, Run, run, run_cut};

/// Bytes of the longest TLS record that is no request.
const NOTICE: usize = 5 + 22;

/// How the attempts of a table ended.
#[derive(Debug, Default)]
struct Tally {
    rows: usize,
    answered: usize,
    unsent: usize,
    sent: usize,
    dropped: usize,
    dropped_unwritten: usize,
    /// Went out on the parked connection.
    reused: usize,
}

/// Runs the row to its end, then again for every poll after which it can be dropped.
async fn try_every_drop_point(row: &Row, with_the_dial: bool, tally: &mut Tally) {
    let whole = run(row, usize::MAX).await;
    let (polls, dial_polls) = (whole.polls, whole.dial_polls);
    tally.rows += 1;
    judge(row, &whole, tally).await;
    let first = if with_the_dial { 0 } else { dial_polls };
    for drop_after in first..polls {
        judge(row, &run(row, drop_after).await, tally).await;
    }
}

/// Holds what the attempt says against what the sockets and the peers saw.
async fn judge(row: &Row, run: &Run, tally: &mut Tally) {
    let told = |what: &str| format!("{what}: {row:?}, {} polls", run.polls);
    let (old, new) = (of_requests(row, run.old.as_ref()), of_requests(row, Some(&run.new)));
    assert!(old == 0 || new == 0, "{}", told("the request went to two connections"));
    let through = old + new;
    tally.reused += usize::from(old > 0);
    match &run.outcome {
        Outcome::Answered => {
            assert!(row.plan.reads.contains(&Read::Answer), "{}", told("nobody answered"));
            tally.answered += 1;
        }
        Outcome::Unsent(request) => {
            assert_eq!(through, 0, "{}", told("unwritten, but bytes got through"));
            assert!(is_whole(row.kind, request), "{}", told("the request is not whole"));
            assert!(is_untouched(run.upload.as_ref()), "{}", told("the body was polled"));
            tally.unsent += 1;
        }
        Outcome::Sent => {
            let accepted = run.new.accepted() + run.old.as_ref().map_or(0, Peer::accepted);
            let proven = if sends_notices(row) { accepted } else { through };
            assert!(proven > 0, "{}", told("provable, but not proven"));
            tally.sent += 1;
        }
        Outcome::Dropped { written } => {
            assert!(*written || through == 0, "{}", told("dropped as unwritten, but bytes got through"));
            assert!(*written || is_untouched(run.upload.as_ref()), "{}", told("the body was polled"));
            tally.dropped += 1;
            tally.dropped_unwritten += usize::from(!written);
        }
    }
    if lies_there_before_the_request(row) {
        assert_eq!(old, 0, "{}", told("written to a connection that its peer had left or spoken on"));
    }
    for peer in run.old.iter().chain([&run.new]) {
        // Whoever wound the connection up in an orderly way would write what waits in its buffers.
        assert!(
            !peer.was_written_to_after_its_end(),
            "{}",
            told("nothing was written, then the end was read")
        );
    }
    let tries = run.tries();
    run.open();
    for _ in 0..3 {
        tokio::task::yield_now().await;
    }
    assert_eq!(run.tries(), tries, "{}", told("a write after the end"));
}

/// Bytes of a request that got through to this peer.
fn of_requests(row: &Row, peer: Option<&Peer>) -> usize {
    let Some(peer) = peer else { return 0 };
    let through = peer.of_requests();
    // A part of a notice may be all that got through.
    if sends_notices(row) && peer.heard().is_empty() && through < NOTICE {
        return 0;
    }
    through
}

/// What is no TLS is answered by an alert, new keys by a receipt.
fn sends_notices(row: &Row) -> bool {
    row.way.is_tls() && row.plan.reads.iter().any(|read| matches!(read, Read::Garbage | Read::NewKeys))
}

/// Whether a look into the parked connection's socket shows that it is of no use any more.
fn lies_there_before_the_request(row: &Row) -> bool {
    let first = row.plan.reads.first().copied().unwrap_or(Read::Silence);
    row.reused && row.plan.when != When::AfterAWrite && !matches!(first, Read::Silence | Read::NewKeys)
}

fn is_untouched(upload: Option<&Upload>) -> bool {
    upload.is_none_or(|upload| upload.frames_left() == FRAMES && upload.sent() == 0)
}

fn is_whole(kind: Kind, request: &Unsent) -> bool {
    let large = request.fields.written("x-large").map_or(0, <[u8]>::len);
    request.method == http::Method::POST
        && request.path == "/"
        && request.host == "origin.example"
        && large == if kind == Kind::Large { LARGE } else { 0 }
        && request.upload.is_some() == (kind == Kind::Body)
}

async fn try_all(name: &str, rows: Vec<Row>) -> Tally {
    let begun = Clock::now();
    let mut tally = Tally::default();
    let mut kinds = Vec::new();
    for row in &rows {
        // Until its request can be sent, an attempt is the same in all rows.
        let kind = (row.way, row.reused, row.kind);
        let first_of_its_kind = !kinds.contains(&kind);
        if first_of_its_kind {
            kinds.push(kind);
        }
        try_every_drop_point(row, first_of_its_kind, &mut tally).await;
    }
    println!("{name}: {tally:?} in {:?}", begun.elapsed());
    tally
}

fn assert_all_ends_were_met(tally: &Tally, reused: bool) {
    let least = tally.answered.min(tally.unsent).min(tally.sent).min(tally.dropped_unwritten);
    assert!(least > 50 && tally.dropped > tally.dropped_unwritten + 50, "{tally:?}");
    assert!(if reused { tally.reused > 100 } else { tally.reused == 0 }, "{tally:?}");
}

#[tokio::test(start_paused = true)]
async fn what_is_called_unwritten_on_a_fresh_connection_was_not_written_and_never_will_be() {
    assert_all_ends_were_met(&try_all("fresh, plain", table::plain(false)).await, false);
}

#[tokio::test(start_paused = true)]
async fn what_is_called_unwritten_on_a_reused_connection_was_not_written_and_never_will_be() {
    assert_all_ends_were_met(&try_all("reused, plain", table::plain(true)).await, true);
}

#[tokio::test(start_paused = true)]
async fn what_is_called_unwritten_on_a_fresh_tls_connection_was_not_written_and_never_will_be() {
    assert_all_ends_were_met(&try_all("fresh, TLS", table::tls(false)).await, false);
}

#[tokio::test(start_paused = true)]
async fn what_is_called_unwritten_on_a_reused_tls_connection_was_not_written_and_never_will_be() {
    assert_all_ends_were_met(&try_all("reused, TLS", table::tls(true)).await, true);
}

#[tokio::test(start_paused = true)]
async fn what_is_called_unwritten_through_a_node_was_not_written_and_never_will_be() {
    assert_all_ends_were_met(&try_all("through nodes", table::through_nodes()).await, true);
}

#[tokio::test(start_paused = true)]
async fn wherever_a_dial_is_cut_what_is_called_unwritten_was_not_written() {
    for way in WAYS {
        let (mut cuts, mut tally) = (0, Tally::default());
        for end in [Read::Fin, Read::Rst, Read::Silence] {
            for at in 1.. {
                let row = Row { way, reused: false, kind: Kind::Body, plan: Plan::good() };
                let cut = Some(Cut { at, end });
                let whole = run_cut(&row, cut, usize::MAX).await;
                if matches!(whole.outcome, Outcome::Answered) {
                    break; // it was through before
                }
                cuts += 1;
                judge(&row, &whole, &mut tally).await;
                for drop_after in 0..whole.polls {
                    judge(&row, &run_cut(&row, cut, drop_after).await, &mut tally).await;
                }
            }
        }
        println!("{way:?}: cut in {cuts} places: {tally:?}");
        assert_eq!(cuts == 0, way == Way::Plain, "{way:?}");
        assert!(tally.unsent > tally.sent || cuts == 0, "{way:?}: {tally:?}");
    }
}
