//! PostgreSQL: what must outlive the process.
//!
//! Owns the schema, the rows of platforms and nodes, and the way of finished records into `request_logs` and out again.
//! Nothing on the data path can name this module, so no request can wait for a database.

mod changes;
mod copy;
mod error;
mod horizon;
mod interval;
mod nodes;
mod platforms;
mod private;
mod recorder;
mod records;
mod rows;

use std::{path::Path, sync::Arc, time::Duration};

use deadpool_postgres::{Hook, HookError, Manager, ManagerConfig, Object, Pool, RecyclingMethod, Runtime};
use tokio::time::timeout;
use tokio_postgres::{
    Client, Config, Connection, Row, Socket, config::SslMode, tls::MakeTlsConnect, types::ToSql,
};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::{
    config::shown_database,
    model::Secret,
    upstream::{self, OwnRoots},
};

pub use changes::Changes;
pub use error::{StoreError, WriteError};
pub use nodes::NodeChange;
pub use platforms::{PlatformChange, PlatformKey};
pub use private::{PrivateServer, PrivateServerError};
pub use recorder::{Recorder, RecorderCounts};
pub use records::{Cursor, RecordFilter, StoredAttempt, StoredRecord};

/// One lock for everybody who migrates.
const MIGRATION_LOCK: i64 = 0x7265_7369_6e00;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const WAIT_TIMEOUT: Duration = Duration::from_secs(5);
/// What a statement may take, by the server's clock. Of ours a call may take a little more: a server that hangs does
/// not look at its clock.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(30);
const CALL_TIMEOUT: Duration = Duration::from_secs(35);
/// A host that is gone without a word is noticed after a silence of this and the user timeout.
const KEEPALIVE: Duration = Duration::from_secs(5);
const USER_TIMEOUT: Duration = Duration::from_secs(10);
const CONNECTIONS: usize = 8;

mod embedded {
    refinery::embed_migrations!("migrations");
}

/// The database. Cheap to clone.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    pool: Pool,
    config: Config,
    tls: MakeRustlsConnect,
    name: String,
}

impl Store {
    /// Does not connect yet. `url` is a PostgreSQL URL or connection string; `ca_file` has the roots that the server's
    /// certificate must have. With `sslmode=prefer` (the default) and without `ca_file` certificates are not verified;
    /// with `require` they are.
    pub fn open(url: &Secret, ca_file: Option<&Path>) -> Result<Self, StoreError> {
        let mut config: Config =
            url.expose().parse().map_err(|error| StoreError::Tls(error::chain(&error)))?;
        settle(&mut config);
        let tls = match (config.get_ssl_mode(), ca_file) {
            // Reading the roots takes longer than all else at the start.
            (SslMode::Disable | SslMode::Prefer, None) => upstream::unverified(),
            _ => OwnRoots::read(ca_file).and_then(upstream::verified),
        };
        let tls = MakeRustlsConnect::new(tls.map_err(|error| StoreError::Tls(error.to_string()))?);
        let manager = ManagerConfig { recycling_method: RecyclingMethod::Verified };
        let manager = Manager::from_config(config.clone(), tls.clone(), manager);
        let pool = Pool::builder(manager)
            .max_size(CONNECTIONS)
            .runtime(Runtime::Tokio1)
            .wait_timeout(Some(WAIT_TIMEOUT))
            .create_timeout(Some(CONNECT_TIMEOUT))
            .recycle_timeout(Some(WAIT_TIMEOUT))
            .post_create(Hook::async_fn(|client, _| {
                Box::pin(async move {
                    let set = format!("set statement_timeout = {}", STATEMENT_TIMEOUT.as_millis());
                    client.batch_execute(&set).await.map_err(HookError::Backend)
                })
            }))
            .build()
            .map_err(|error| StoreError::Tls(error.to_string()))?;
        let name = shown_database(&config);
        Ok(Self(Arc::new(Inner { pool, config, tls, name })))
    }

    /// Where the database is, without a password.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Brings the schema up to date. Safe when several do it at once.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        let (mut client, connection) = self.connect().await?;
        let driver = tokio::spawn(connection);
        client.execute("select pg_advisory_lock($1)", &[&MIGRATION_LOCK]).await?;
        let mut runner = embedded::migrations::runner();
        // An older binary may run on a newer schema: migrations only go forward.
        runner = runner.set_abort_missing(false);
        let migrated = runner.run_async(&mut client).await;
        // The lock goes with the session.
        drop(client);
        driver.abort();
        match migrated {
            Ok(report) => {
                for migration in report.applied_migrations() {
                    tracing::info!(version = %migration.version(), name = migration.name(), "migration applied");
                }
                Ok(())
            }
            Err(error) => Err(StoreError::Migration(error::chain(&error))),
        }
    }

    /// Whether the database answers.
    pub async fn ping(&self) -> Result<(), StoreError> {
        in_time(async {
            self.client().await?.simple_query("").await?;
            Ok(())
        })
        .await
    }

    async fn client(&self) -> Result<Object, StoreError> {
        // Over all: a server that hangs would be waited for once per idle connection.
        match timeout(WAIT_TIMEOUT, self.0.pool.get()).await {
            Ok(client) => Ok(client?),
            Err(_late) => Err(StoreError::late()),
        }
    }

    async fn rows(&self, select: &str, parameters: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, StoreError> {
        in_time(async { Ok(self.client().await?.query(select, parameters).await?) }).await
    }

    /// A connection outside the pool, with what drives it.
    async fn connect(&self) -> Result<(Client, Driver), StoreError> {
        match timeout(CONNECT_TIMEOUT, self.0.config.connect(self.0.tls.clone())).await {
            Ok(connected) => connected.map_err(|error| StoreError::unreachable(&error)),
            Err(_late) => Err(StoreError::late()),
        }
    }
}

type Driver = Connection<Socket, <MakeRustlsConnect as MakeTlsConnect<Socket>>::Stream>;

/// What the URL leaves open.
fn settle(config: &mut Config) {
    if config.get_connect_timeout().is_none() {
        // Several hosts share it: the last one is to be tried as well.
        let hosts = u32::try_from(config.get_hosts().len()).unwrap_or(u32::MAX).max(1);
        config.connect_timeout(CONNECT_TIMEOUT / hosts);
    }
    if config.get_application_name().is_none() {
        config.application_name("resin");
    }
    if config.get_tcp_user_timeout().is_none() {
        config.tcp_user_timeout(USER_TIMEOUT);
    }
    if config.get_keepalives_idle() == Config::new().get_keepalives_idle() {
        config.keepalives_idle(KEEPALIVE);
    }
}

/// However the database behaves, a call ends.
async fn in_time<T, E: From<StoreError>>(work: impl Future<Output = Result<T, E>>) -> Result<T, E> {
    match timeout(CALL_TIMEOUT, work).await {
        Ok(done) => done,
        Err(_late) => Err(StoreError::late().into()),
    }
}

#[cfg(test)]
mod tests;
