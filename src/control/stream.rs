//! `StreamRequestLogs`: a cursor that moves through the table.
//!
//! The stream's state is its cursor alone, so a lost database connection loses nothing: it is asked again from there. A
//! slow reader fills its own small queue and is then waited for.

use std::time::Duration;

use tokio::{
    sync::mpsc,
    time::{Instant, sleep},
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::{
    convert, filter, page,
    status::{self, Violations},
};
use crate::{
    proto::{StreamRequestLogsRequest, StreamRequestLogsResponse, stream_request_logs_request::Start},
    store::{Cursor, RecordFilter, Store, StoreError},
};

const BATCH: i64 = 500;
const MOST_TAIL: i32 = 10_000;
const LOOK_AGAIN: Duration = Duration::from_millis(150);
const HEARTBEAT: Duration = Duration::from_secs(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Batches that a slow reader may have waiting.
const WAITING: usize = 4;

type Sender = mpsc::Sender<Result<StreamRequestLogsResponse, Status>>;

struct Tail {
    store: Store,
    filter: RecordFilter,
    cursor: Cursor,
    follow: bool,
    send: Sender,
}

enum Begin {
    At(Cursor),
    /// Of the newest records, this many; 0 is from now on.
    BeforeLast(i64),
}

/// Checks the request, finds the beginning, and goes on in a task of its own.
pub(super) async fn open(
    store: &Store,
    request: StreamRequestLogsRequest,
    stop: CancellationToken,
) -> Result<ReceiverStream<Result<StreamRequestLogsResponse, Status>>, Status> {
    let mut violations = Violations::default();
    let mut wanted = filter::parse(request.filter.as_ref(), &mut violations);
    if let Some(Start::Tail(tail)) = request.start
        && !(0..=MOST_TAIL).contains(&tail)
    {
        violations.add("tail", format!("{tail} is not from 0 to {MOST_TAIL}"));
    }
    if let Some(Start::Since(since)) = &request.start {
        let since = filter::time("since", Some(since), &mut violations);
        wanted.started_after = wanted.started_after.max(since);
    }
    let begin = match request.start {
        // A cursor that cannot be read is refused below.
        Some(Start::Cursor(text)) => {
            Begin::At(page::read_cursor(&text, &mut violations).unwrap_or(Cursor::START))
        }
        Some(Start::Since(_)) => Begin::At(Cursor::START),
        Some(Start::Tail(count)) => Begin::BeforeLast(i64::from(count)),
        None => Begin::BeforeLast(0),
    };
    violations.check()?;
    let cursor = match begin {
        // Even so the caller learns now that the database is away.
        Begin::At(cursor) => store.ping().await.map(|()| cursor),
        Begin::BeforeLast(count) => store.cursor_before_last(&wanted, count).await,
    };
    let cursor = cursor.map_err(|error| status::of_store(&error))?;
    let (send, receive) = mpsc::channel(WAITING);
    let tail =
        Tail { store: store.clone(), filter: wanted, cursor, follow: request.follow, send: send.clone() };
    tokio::spawn(async move {
        tokio::select! {
            () = tail.run() => {}
            () = send.closed() => {}
            () = stop.cancelled() => {
                let _full = send.try_send(Err(Status::unavailable("the server is being stopped; resume from the cursor")));
            }
        }
    });
    Ok(ReceiverStream::new(receive))
}

impl Tail {
    async fn run(mut self) {
        let mut spoken = Instant::now();
        let mut pause = LOOK_AGAIN;
        loop {
            match self.next_batch().await {
                Ok((answer, caught_up)) => {
                    pause = LOOK_AGAIN;
                    let any = !answer.request_logs.is_empty();
                    // Without records only the last answer of a stream that ends is worth sending.
                    if any || (caught_up && !self.follow) {
                        spoken = Instant::now();
                        if self.send.send(Ok(answer)).await.is_err() {
                            return;
                        }
                    }
                    if !caught_up {
                        continue;
                    }
                    if !self.follow {
                        return;
                    }
                }
                Err(error) if self.follow && error.is_unavailable() => {
                    tracing::warn!(%error, "a stream of records waits for the database");
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
                Err(error) => {
                    let _left = self.send.send(Err(status::of_store(&error))).await;
                    return;
                }
            }
            if spoken.elapsed() >= HEARTBEAT {
                spoken = Instant::now();
                let cursor = page::show_cursor(self.cursor);
                let beat = StreamRequestLogsResponse { request_logs: Vec::new(), cursor, heartbeat: true };
                if self.send.send(Ok(beat)).await.is_err() {
                    return;
                }
            }
            sleep(pause.min(HEARTBEAT.saturating_sub(spoken.elapsed()).max(Duration::from_millis(1)))).await;
        }
    }

    /// The next records, and whether these were all that are settled.
    async fn next_batch(&mut self) -> Result<(StreamRequestLogsResponse, bool), StoreError> {
        let (records, next) = self.store.records_after(self.cursor, &self.filter, BATCH).await?;
        let all = i64::try_from(records.len()).unwrap_or(i64::MAX) < BATCH;
        let places: Vec<Cursor> = records.iter().map(|record| record.cursor).collect();
        let mut request_logs: Vec<_> = records.into_iter().map(convert::request_log).collect();
        let is_cut = page::cut(&mut request_logs);
        let last = request_logs.len().checked_sub(1).and_then(|last| places.get(last)).filter(|_| is_cut);
        self.cursor = last.copied().unwrap_or(next);
        let cursor = page::show_cursor(self.cursor);
        Ok((StreamRequestLogsResponse { request_logs, cursor, heartbeat: false }, all && !is_cut))
    }
}
