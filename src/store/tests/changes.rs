//! The directory follows the database.

use std::{sync::Arc, time::Duration};

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::cluster::Database;
use crate::{
    model::PlatformName,
    routing::{Directory, Snapshot},
    store::{Changes, PlatformChange, Store},
};

const SOON: Duration = Duration::from_secs(10);

struct Instance {
    directory: Arc<Directory>,
    changes: Arc<Changes>,
    stop: CancellationToken,
}

impl Instance {
    fn of(store: Store) -> Self {
        let directory = Arc::new(Directory::new(Snapshot::default()));
        let changes = Changes::new(store, Arc::clone(&directory));
        let stop = CancellationToken::new();
        tokio::spawn(Arc::clone(&changes).listen(stop.clone()));
        Self { directory, changes, stop }
    }

    async fn knows(&self, name: &str) {
        let mut watch = self.directory.watch();
        let known = watch.wait_for(|snapshot| snapshot.platform(name).is_some());
        timeout(SOON, known).await.expect("a change was not followed").unwrap();
    }

    async fn database_is_up(&self, expected: bool) {
        let mut up = self.changes.database_up();
        timeout(SOON, up.wait_for(|up| *up == expected)).await.expect("not noticed").unwrap();
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn create(store: &Store, name: &str) {
    let change = PlatformChange {
        id: None,
        name: Some(PlatformName::parse(name).unwrap()),
        filters: None,
        max_retries: None,
        default_max_retries: 2,
        etag: None,
    };
    store.upsert_platform(change, false).await.unwrap();
}

#[tokio::test]
async fn what_one_instance_writes_the_others_follow() {
    let database = Database::new().await;
    let (one, two) = (Instance::of(database.another()), Instance::of(database.another()));
    one.database_is_up(true).await;
    two.database_is_up(true).await;
    create(&database.store, "Nimbus").await;
    one.knows("Nimbus").await;
    two.knows("Nimbus").await;
}

#[tokio::test]
async fn after_a_gap_everything_is_read_again() {
    let database = Database::new().await;
    let instance = Instance::of(database.another());
    instance.database_is_up(true).await;
    // One whose commit comes while nobody listens, and without a notification.
    let insert = "insert into platforms (id, name, max_retries) values (gen_random_uuid(), 'Nimbus', 1)";
    let meanwhile = database.client().await;

    database.go_away_but_for(&meanwhile).await;
    instance.database_is_up(false).await;
    meanwhile.batch_execute(insert).await.unwrap();
    database.come_back().await;
    instance.database_is_up(true).await;
    instance.knows("Nimbus").await;
}
