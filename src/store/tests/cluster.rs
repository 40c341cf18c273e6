//! The cluster of a run and the databases in it.
//!
//! A server outlives a test process that ends, so a small shell waits for the end of its standard input, which we hold,
//! and then takes the server down, however we end.

use std::{
    io::Write as _,
    process::{Child, Command, Stdio},
    sync::{Mutex, mpsc},
    thread,
};

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio_postgres::{Client, NoTls};
use uuid::Uuid;

use super::super::{PrivateServer, Store};
use crate::model::Secret;

const KEEPER: &str = r#"
trap '' INT TERM HUP
read -r dir
cat >/dev/null
read -r server _ <"$dir/cluster/postmaster.pid" || exit
kill -INT "$server"
while kill -0 "$server" 2>/dev/null; do sleep 0.05; done
rm -rf "$dir"
"#;

/// The server lets 50 connections in; a test takes up to a dozen.
static DATABASES: Semaphore = Semaphore::const_new(4);
static CLUSTER: Mutex<Option<Cluster>> = Mutex::new(None);

struct Cluster {
    url: String,
    /// Its standard input is what keeps the cluster up.
    _keeper: Child,
}

/// A database of the test's own, with the schema in it.
pub(super) struct Database {
    pub(super) store: Store,
    name: String,
    _one_of_few: SemaphorePermit<'static>,
}

impl Database {
    pub(super) async fn new() -> Self {
        let database = Self::empty().await;
        database.store.migrate().await.unwrap();
        database
    }

    pub(super) async fn empty() -> Self {
        let one_of_few = DATABASES.acquire().await.unwrap();
        let name = format!("t{}", Uuid::now_v7().simple());
        client("resin").await.batch_execute(&format!("create database {name}")).await.unwrap();
        let store = Store::open(&Secret::new(url_of(&name)), None).unwrap();
        Self { store, name, _one_of_few: one_of_few }
    }

    /// Another instance's way to the same database.
    pub(super) fn another(&self) -> Store {
        Store::open(&Secret::new(url_of(&self.name)), None).unwrap()
    }

    pub(super) async fn client(&self) -> Client {
        client(&self.name).await
    }

    pub(super) async fn count(&self, sql: &str) -> i64 {
        self.client().await.query_one(sql, &[]).await.unwrap().get(0)
    }

    /// Ends every connection and lets nobody in.
    pub(super) async fn go_away(&self) {
        self.close(0).await;
    }

    /// The same, but this one stays.
    pub(super) async fn go_away_but_for(&self, client: &Client) {
        let pid: i32 = client.query_one("select pg_backend_pid()", &[]).await.unwrap().get(0);
        self.close(pid).await;
    }

    async fn close(&self, but: i32) {
        let closed = format!("alter database {} allow_connections false", self.name);
        client("resin").await.batch_execute(&closed).await.unwrap();
        let end = "select pg_terminate_backend(pid) from pg_stat_activity where datname = $1 and pid <> $2";
        client("resin").await.query(end, &[&self.name, &but]).await.unwrap();
    }

    pub(super) async fn come_back(&self) {
        let open = format!("alter database {} allow_connections true", self.name);
        client("resin").await.batch_execute(&open).await.unwrap();
    }
}

async fn client(database: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(&url_of(database), NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

fn url_of(database: &str) -> String {
    let mut cluster = CLUSTER.lock().unwrap();
    let cluster = cluster.get_or_insert_with(Cluster::start);
    cluster.url.replace("postgres:///resin?", &format!("postgres:///{database}?"))
}

impl Cluster {
    fn start() -> Self {
        let dir = tempfile::Builder::new().prefix("resin-store-").tempdir_in("/tmp").unwrap().keep();
        let mut keeper = Command::new("sh")
            .args(["-c", KEEPER])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        writeln!(keeper.stdin.as_mut().unwrap(), "{}", dir.display()).unwrap();
        let (started, url) = mpsc::channel();
        // A test's runtime ends with the test; the server's stays.
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let server = PrivateServer::start(&dir).await.unwrap();
                started.send(server.url().expose().to_owned()).unwrap();
                std::future::pending::<()>().await;
            });
        });
        Self { url: url.recv().unwrap(), _keeper: keeper }
    }
}
