//! Keeps the directory equal to the database: reloads after our own writes, and after those of other instances.

use std::{future::poll_fn, pin::pin, sync::Arc, time::Duration};

use tokio::{
    sync::{Mutex, Notify, watch},
    time::{interval, sleep, timeout},
};
use tokio_postgres::{AsyncMessage, Transaction};
use tokio_util::sync::CancellationToken;

use super::{Store, StoreError};
use crate::routing::{Directory, Snapshot};

/// The notification that says: platforms or nodes have changed.
const CHANNEL: &str = "resin_configuration";
const LIVENESS_PERIOD: Duration = Duration::from_secs(1);
const LIVENESS_TIMEOUT: Duration = Duration::from_secs(3);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Tells every instance, once this commits.
pub(super) async fn notify(transaction: &Transaction<'_>) -> Result<(), tokio_postgres::Error> {
    transaction.execute("select pg_notify($1, '')", &[&CHANNEL]).await.map(|_| ())
}

/// Publishes what the database holds.
pub struct Changes {
    store: Store,
    directory: Arc<Directory>,
    /// One load at a time: a later one has read what is later.
    loading: Mutex<()>,
    up: watch::Sender<bool>,
}

impl Changes {
    #[must_use]
    pub fn new(store: Store, directory: Arc<Directory>) -> Arc<Self> {
        Arc::new(Self { store, directory, loading: Mutex::new(()), up: watch::Sender::new(false) })
    }

    /// Loads everything and puts it in force.
    pub async fn reload(&self) -> Result<(), StoreError> {
        let _one_at_a_time = self.loading.lock().await;
        let (platforms, nodes) = self.store.configuration().await?;
        self.directory.publish(Snapshot::new(platforms, nodes));
        self.up.send_if_modified(|up| !std::mem::replace(up, true));
        Ok(())
    }

    /// Whether the database can be reached.
    #[must_use]
    pub fn database_up(&self) -> watch::Receiver<bool> {
        self.up.subscribe()
    }

    /// Follows the notifications of all instances until `stop`. After every gap everything is loaded again.
    pub async fn listen(self: Arc<Self>, stop: CancellationToken) {
        let mut pause = FIRST_PAUSE;
        loop {
            let ended = tokio::select! {
                () = stop.cancelled() => return,
                ended = self.listen_once() => ended,
            };
            let was_up = self.up.send_replace(false);
            if was_up {
                pause = FIRST_PAUSE;
            }
            tracing::warn!(error = %ended, "changes of other instances cannot be followed; trying again");
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(pause) => {}
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// On a connection of its own, until it breaks.
    async fn listen_once(&self) -> StoreError {
        let connected = self.store.0.config.connect(self.store.0.tls.clone()).await;
        let (client, mut connection) = match connected {
            Ok(connected) => connected,
            Err(error) => return StoreError::unreachable(&error),
        };
        let changed = Notify::new();
        let receive = async {
            loop {
                match poll_fn(|cx| connection.poll_message(cx)).await {
                    Some(Ok(AsyncMessage::Notification(_))) => changed.notify_one(),
                    Some(Ok(_)) => {}
                    Some(Err(error)) => return StoreError::unreachable(&error),
                    None => return StoreError::Unavailable("the connection was closed".to_owned()),
                }
            }
        };
        let follow = async {
            if let Err(error) = client.batch_execute(&format!("listen {CHANNEL}")).await {
                return StoreError::from(error);
            }
            let mut liveness = interval(LIVENESS_PERIOD);
            // Once at the beginning: nobody told what happened before.
            changed.notify_one();
            loop {
                tokio::select! {
                    () = changed.notified() => {
                        if let Err(error) = self.reload().await {
                            return error;
                        }
                    }
                    _ = liveness.tick() => match timeout(LIVENESS_TIMEOUT, client.simple_query("")).await {
                        Ok(Ok(_)) => {}
                        Ok(Err(error)) => return StoreError::from(error),
                        Err(_) => return StoreError::Unavailable("the database does not answer".to_owned()),
                    }
                }
            }
        };
        let (receive, follow) = (pin!(receive), pin!(follow));
        tokio::select! {
            ended = receive => ended,
            ended = follow => ended,
        }
    }
}
