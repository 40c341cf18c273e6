//! The table `nodes`.

use std::{collections::HashMap, net::IpAddr};

use serde::Serialize;
use tokio_postgres::{Row, types::Json};

use super::{Store, StoreError, WriteError, changes::notify};
use crate::model::{Node, NodeConfig, NodeHash, NodeUri, Region};

pub(super) const SELECT: &str = "select hash, uri, tags, egress_ip, region from nodes";

/// What is to become of a node. None leaves as it is, `Some(None)` clears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeChange {
    pub config: NodeConfig,
    pub tags: Vec<String>,
    pub egress_ip: Option<Option<IpAddr>>,
    pub region: Option<Option<Region>>,
}

impl NodeChange {
    /// One change per node: entries with one hash are merged, tags in order, the later declaration wins.
    #[must_use]
    pub fn merged(changes: Vec<Self>) -> Vec<Self> {
        let mut merged: Vec<Self> = Vec::with_capacity(changes.len());
        let mut places: HashMap<NodeHash, usize> = HashMap::new();
        for change in changes {
            let place = *places.entry(change.config.hash()).or_insert(merged.len());
            let Some(node) = merged.get_mut(place) else {
                merged.push(change);
                continue;
            };
            for tag in change.tags {
                if !node.tags.contains(&tag) {
                    node.tags.push(tag);
                }
            }
            node.egress_ip = change.egress_ip.or(node.egress_ip);
            node.region = change.region.or(node.region);
        }
        merged
    }

    /// The nodes of `RESIN_NODES`.
    #[must_use]
    pub fn of_settings(nodes: &[NodeUri]) -> Vec<Self> {
        let change = |node: &NodeUri| Self {
            config: node.config.clone(),
            tags: vec![node.tag.clone().unwrap_or_else(|| node.config.default_tag())],
            egress_ip: None,
            region: None,
        };
        Self::merged(nodes.iter().map(change).collect())
    }
}

/// How a change travels to PostgreSQL.
#[derive(Serialize)]
struct Entry<'a> {
    place: usize,
    hash: String,
    uri: String,
    tags: &'a [String],
    egress_ip: Option<IpAddr>,
    set_egress_ip: bool,
    region: Option<&'a str>,
    set_region: bool,
}

impl std::fmt::Debug for Entry<'_> {
    /// The driver may log parameters, and the URI has its secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Entry({})", self.hash)
    }
}

// Ordered by hash, so that two batches at once cannot lock each other out.
const UPSERT: &str = "
    with entry as (
        select * from jsonb_to_recordset($1) as entry (
            place integer, hash text, uri text, tags text[],
            egress_ip inet, set_egress_ip boolean, region text, set_region boolean
        )
    ), written as (
        insert into nodes (hash, uri, tags, egress_ip, region)
        select hash, uri, tags, egress_ip, region from entry order by hash
        on conflict (hash) do update set
            tags = excluded.tags,
            egress_ip = case when (select set_egress_ip from entry where entry.hash = excluded.hash)
                then excluded.egress_ip else nodes.egress_ip end,
            region = case when (select set_region from entry where entry.hash = excluded.hash)
                then excluded.region else nodes.region end,
            update_time = now()
        returning hash, uri, tags, egress_ip, region
    )
    select written.hash, written.uri, written.tags, written.egress_ip, written.region
    from written join entry using (hash) order by entry.place";

impl Store {
    /// Writes all of these, or none. One change per node; the answer keeps their order.
    pub async fn upsert_nodes(
        &self,
        changes: Vec<NodeChange>,
        validate_only: bool,
    ) -> Result<Vec<Node>, WriteError> {
        let entries: Vec<Entry<'_>> = changes.iter().enumerate().map(entry).collect();
        let mut client = self.client().await?;
        let transaction = client.transaction().await?;
        let rows = transaction.query(UPSERT, &[&Json(entries)]).await?;
        let nodes = rows.iter().map(node).collect::<Result<_, _>>()?;
        if validate_only {
            transaction.rollback().await?;
        } else {
            notify(&transaction).await?;
            transaction.commit().await?;
        }
        Ok(nodes)
    }

    /// Writes the nodes of the settings. Nothing but the database can fail there.
    pub async fn put_nodes(&self, changes: Vec<NodeChange>) -> Result<(), StoreError> {
        match self.upsert_nodes(changes, false).await {
            Ok(_) => Ok(()),
            Err(WriteError::Store(error)) => Err(error),
            Err(error) => Err(StoreError::Refused(error.to_string())),
        }
    }

    /// Deletes those that exist, and says how many they were.
    pub async fn delete_nodes(&self, hashes: &[NodeHash]) -> Result<u64, StoreError> {
        let hashes: Vec<String> = hashes.iter().map(ToString::to_string).collect();
        let mut client = self.client().await?;
        let transaction = client.transaction().await?;
        let deleted = transaction.execute("delete from nodes where hash = any($1)", &[&hashes]).await?;
        if deleted > 0 {
            notify(&transaction).await?;
        }
        transaction.commit().await?;
        Ok(deleted)
    }
}

fn entry((place, change): (usize, &NodeChange)) -> Entry<'_> {
    Entry {
        place,
        hash: change.config.hash().to_string(),
        uri: change.config.uri_with_secrets(),
        tags: &change.tags,
        egress_ip: change.egress_ip.flatten(),
        set_egress_ip: change.egress_ip.is_some(),
        region: change.region.as_ref().and_then(|region| region.as_ref().map(Region::as_str)),
        set_region: change.region.is_some(),
    }
}

pub(super) fn node(row: &Row) -> Result<Node, StoreError> {
    let unreadable = |what: &str| StoreError::Unreadable(format!("nodes: {what}"));
    let hash = NodeHash::parse(row.try_get("hash")?).ok_or_else(|| unreadable("hash"))?;
    let uri: NodeUri = row.try_get::<_, &str>("uri")?.parse().map_err(|_| unreadable("uri"))?;
    let region = row.try_get::<_, Option<&str>>("region")?.map(Region::parse).transpose();
    Ok(Node {
        hash,
        config: uri.config,
        tags: row.try_get("tags")?,
        egress_ip: row.try_get("egress_ip")?,
        region: region.map_err(|_| unreadable("region"))?,
    })
}
