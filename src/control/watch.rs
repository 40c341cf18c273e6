//! `WatchPlatforms`: what is there, then every change as it comes into force.

use std::{collections::BTreeMap, sync::Arc};

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use uuid::Uuid;

use super::convert;
use crate::{
    proto::{self, WatchPlatformsResponse, watch_platforms_response::Event},
    routing::{Directory, Snapshot},
};

/// Events that a slow watcher may have waiting.
const WAITING: usize = 64;

type Seen = BTreeMap<Uuid, proto::Platform>;

pub(super) fn platforms(
    directory: &Arc<Directory>,
    stop: CancellationToken,
) -> ReceiverStream<Result<WatchPlatformsResponse, Status>> {
    let mut snapshots = directory.watch();
    let (send, receive) = mpsc::channel(WAITING);
    tokio::spawn(async move {
        let mut seen = Seen::new();
        let mut first = true;
        loop {
            let now = seen_in(&snapshots.borrow_and_update());
            let mut events = changes(&seen, &now);
            seen = now;
            if std::mem::take(&mut first) {
                events.push(Event::SnapshotComplete(true));
            }
            for event in events {
                if send.send(Ok(WatchPlatformsResponse { event: Some(event) })).await.is_err() {
                    return;
                }
            }
            tokio::select! {
                changed = snapshots.changed() => if changed.is_err() { return },
                () = send.closed() => return,
                () = stop.cancelled() => return,
            }
        }
    });
    ReceiverStream::new(receive)
}

fn seen_in(snapshot: &Snapshot) -> Seen {
    let show = |pool: &Arc<crate::routing::Pool>| {
        (pool.platform.id, convert::platform(&pool.platform, pool.nodes.len()))
    };
    snapshot.platforms().map(show).collect()
}

/// What turns `before` into `now`: first what went, then what came or changed.
fn changes(before: &Seen, now: &Seen) -> Vec<Event> {
    let gone =
        before.iter().filter(|(id, platform)| now.get(id).is_none_or(|found| found.name != platform.name));
    let gone = gone.map(|(_, platform)| Event::DeletedName(platform.name.clone()));
    let mut changed: Vec<_> = now.iter().filter(|(id, platform)| before.get(id) != Some(platform)).collect();
    changed.sort_by(|(_, a), (_, b)| a.name.cmp(&b.name));
    gone.chain(changed.into_iter().map(|(_, platform)| Event::Platform(platform.clone()))).collect()
}
