//! The table `platforms`.

use std::time::SystemTime;

use tokio_postgres::{IsolationLevel, Row, Transaction};
use uuid::Uuid;

use super::{Store, StoreError, WriteError, changes::notify, nodes};
use crate::model::{DEFAULT_PLATFORM, Node, NodeFilter, Platform, PlatformName};

const COLUMNS: &str = "id, name, regex_filters, max_retries, revision, create_time, update_time";

/// Which platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlatformKey {
    Name(String),
    Id(Uuid),
}

/// What is to change. None leaves as it is, or takes the default of a new platform.
#[derive(Debug, Clone)]
pub struct PlatformChange {
    /// That platform, which is renamed where `name` is another one. Without it, the platform called `name`.
    pub id: Option<Uuid>,
    pub name: Option<PlatformName>,
    pub filters: Option<Vec<NodeFilter>>,
    pub max_retries: Option<i32>,
    /// Of a platform that is created and was given none.
    pub default_max_retries: i32,
    /// What the caller last read.
    pub etag: Option<String>,
}

impl Store {
    /// Makes sure that `Default` exists.
    pub async fn ensure_default_platform(&self, max_retries: i32) -> Result<(), StoreError> {
        let client = self.client().await?;
        let insert =
            "insert into platforms (id, name, max_retries) values ($1, $2, $3) on conflict (name) do nothing";
        client.execute(insert, &[&Uuid::now_v7(), &DEFAULT_PLATFORM, &max_retries.max(0)]).await?;
        Ok(())
    }

    /// All platforms and nodes, as of one moment.
    pub async fn configuration(&self) -> Result<(Vec<Platform>, Vec<Node>), StoreError> {
        let mut client = self.client().await?;
        let read = client.build_transaction().isolation_level(IsolationLevel::RepeatableRead).read_only(true);
        let read = read.start().await?;
        let platforms = read.query(&format!("select {COLUMNS} from platforms"), &[]).await?;
        let nodes = read.query(nodes::SELECT, &[]).await?;
        read.commit().await?;
        let platforms = platforms.iter().map(platform).collect::<Result<_, _>>()?;
        Ok((platforms, nodes.iter().map(nodes::node).collect::<Result<_, _>>()?))
    }

    /// Creates or changes a platform. With `validate_only` everything is checked and nothing written.
    pub async fn upsert_platform(
        &self,
        change: PlatformChange,
        validate_only: bool,
    ) -> Result<Platform, WriteError> {
        match self.try_upsert(&change, validate_only).await {
            // Somebody created it between our look and our insert: now it is a change.
            Err(WriteError::NameInUse) if change.id.is_none() => {
                self.try_upsert(&change, validate_only).await
            }
            done => done,
        }
    }

    async fn try_upsert(&self, change: &PlatformChange, validate_only: bool) -> Result<Platform, WriteError> {
        let mut client = self.client().await?;
        let transaction = client.transaction().await?;
        let key = match (&change.id, &change.name) {
            (Some(id), _) => PlatformKey::Id(*id),
            (None, Some(name)) => PlatformKey::Name(name.as_str().to_owned()),
            (None, None) => return Err(WriteError::NotFound),
        };
        let existing = find(&transaction, &key).await?;
        if existing.is_none() && change.id.is_some() {
            return Err(WriteError::NotFound);
        }
        check_etag(existing.as_ref(), change.etag.as_deref())?;
        let written = match existing {
            Some(platform) => update(&transaction, platform, change).await?,
            None => insert(&transaction, change).await?,
        };
        if validate_only {
            transaction.rollback().await?;
        } else {
            transaction.commit().await?;
        }
        Ok(written)
    }

    /// Deletes a platform.
    pub async fn delete_platform(&self, key: PlatformKey, etag: Option<String>) -> Result<(), WriteError> {
        let mut client = self.client().await?;
        let transaction = client.transaction().await?;
        let platform = find(&transaction, &key).await?.ok_or(WriteError::NotFound)?;
        if platform.is_default() {
            return Err(WriteError::DefaultProtected);
        }
        check_etag(Some(&platform), etag.as_deref())?;
        transaction.execute("delete from platforms where id = $1", &[&platform.id]).await?;
        notify(&transaction).await?;
        transaction.commit().await?;
        Ok(())
    }
}

async fn find(transaction: &Transaction<'_>, key: &PlatformKey) -> Result<Option<Platform>, StoreError> {
    let row = match key {
        PlatformKey::Name(name) => {
            let select = format!("select {COLUMNS} from platforms where name = $1 for update");
            transaction.query_opt(&select, &[name]).await?
        }
        PlatformKey::Id(id) => {
            let select = format!("select {COLUMNS} from platforms where id = $1 for update");
            transaction.query_opt(&select, &[id]).await?
        }
    };
    row.as_ref().map(platform).transpose()
}

fn check_etag(existing: Option<&Platform>, etag: Option<&str>) -> Result<(), WriteError> {
    match etag {
        Some(given) if existing.is_none_or(|platform| platform.etag() != given) => Err(WriteError::StaleEtag),
        _ => Ok(()),
    }
}

async fn insert(transaction: &Transaction<'_>, change: &PlatformChange) -> Result<Platform, WriteError> {
    let name = change.name.as_ref().ok_or(WriteError::NotFound)?;
    let filters = texts(change.filters.as_deref().unwrap_or_default());
    let max_retries = change.max_retries.unwrap_or(change.default_max_retries).max(0);
    let insert = format!(
        "insert into platforms (id, name, regex_filters, max_retries) values ($1, $2, $3, $4) returning {COLUMNS}"
    );
    let id = Uuid::now_v7();
    let row = transaction.query_one(&insert, &[&id, &name.as_str(), &filters, &max_retries]).await?;
    notify(transaction).await?;
    Ok(platform(&row)?)
}

async fn update(
    transaction: &Transaction<'_>,
    existing: Platform,
    change: &PlatformChange,
) -> Result<Platform, WriteError> {
    let name = change.name.as_ref().unwrap_or(&existing.name);
    if existing.is_default() && *name != existing.name {
        return Err(WriteError::DefaultProtected);
    }
    let filters = texts(change.filters.as_deref().unwrap_or(&existing.filters));
    let max_retries = change.max_retries.unwrap_or(existing.max_retries);
    let same =
        *name == existing.name && filters == texts(&existing.filters) && max_retries == existing.max_retries;
    if same {
        return Ok(existing);
    }
    let update = format!(
        "update platforms set name = $2, regex_filters = $3, max_retries = $4, revision = revision + 1, \
         update_time = now() where id = $1 returning {COLUMNS}"
    );
    let row = transaction.query_one(&update, &[&existing.id, &name.as_str(), &filters, &max_retries]).await?;
    notify(transaction).await?;
    Ok(platform(&row)?)
}

fn texts(filters: &[NodeFilter]) -> Vec<String> {
    filters.iter().map(|filter| filter.as_str().to_owned()).collect()
}

fn platform(row: &Row) -> Result<Platform, StoreError> {
    let unreadable = |what: String| StoreError::Unreadable(format!("platforms: {what}"));
    let name: &str = row.try_get("name")?;
    let filters: Vec<&str> = row.try_get("regex_filters")?;
    let filters = filters.into_iter().map(NodeFilter::parse).collect::<Result<_, _>>();
    Ok(Platform {
        id: row.try_get("id")?,
        name: PlatformName::parse(name).map_err(|error| unreadable(error.to_string()))?,
        filters: filters.map_err(|error| unreadable(error.to_string()))?,
        max_retries: row.try_get("max_retries")?,
        revision: row.try_get("revision")?,
        create_time: row.try_get::<_, SystemTime>("create_time")?,
        update_time: row.try_get::<_, SystemTime>("update_time")?,
    })
}
