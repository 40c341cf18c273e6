//! The configuration at one moment, with each platform's routable nodes worked out beforehand.

use std::{collections::HashMap, sync::Arc};

use foldhash::fast::RandomState;
use uuid::Uuid;

use crate::model::{Node, NodeHash, Platform};

/// Everything that routing needs to know, unchanging.
#[derive(Debug, Default)]
pub struct Snapshot {
    by_name: HashMap<String, Arc<Pool>, RandomState>,
    by_id: HashMap<Uuid, Arc<Pool>>,
    nodes: HashMap<NodeHash, Arc<Node>>,
}

/// A platform and the nodes that its filters let through.
#[derive(Debug)]
pub struct Pool {
    pub platform: Platform,
    pub name: Arc<str>,
    pub nodes: Vec<Arc<Node>>,
}

impl Snapshot {
    #[must_use]
    pub fn new(platforms: Vec<Platform>, nodes: Vec<Node>) -> Self {
        let mut nodes: Vec<Arc<Node>> = nodes.into_iter().map(Arc::new).collect();
        nodes.sort_by_key(|node| node.hash);
        let mut snapshot = Self::default();
        for platform in platforms {
            let admitted = nodes.iter().filter(|node| platform.admits(node)).cloned().collect();
            let name = Arc::from(platform.name.as_str());
            let pool = Arc::new(Pool { platform, name, nodes: admitted });
            snapshot.by_id.insert(pool.platform.id, Arc::clone(&pool));
            snapshot.by_name.insert(pool.platform.name.as_str().to_owned(), pool);
        }
        snapshot.nodes = nodes.into_iter().map(|node| (node.hash, node)).collect();
        snapshot
    }

    /// The platform of this name; names are case-sensitive.
    #[must_use]
    pub fn platform(&self, name: &str) -> Option<&Arc<Pool>> {
        self.by_name.get(name)
    }

    #[must_use]
    pub fn platform_by_id(&self, id: Uuid) -> Option<&Arc<Pool>> {
        self.by_id.get(&id)
    }

    #[must_use]
    pub fn node(&self, hash: NodeHash) -> Option<&Arc<Node>> {
        self.nodes.get(&hash)
    }

    /// All platforms, in no order.
    pub fn platforms(&self) -> impl Iterator<Item = &Arc<Pool>> {
        self.by_name.values()
    }

    /// All nodes, in no order.
    pub fn nodes(&self) -> impl Iterator<Item = &Arc<Node>> {
        self.nodes.values()
    }
}

impl Pool {
    /// One of the nodes that were not tried, each as likely as the others. `below(n)` gives a number under `n`.
    #[must_use]
    pub fn pick(&self, tried: &[NodeHash], below: impl FnOnce(usize) -> usize) -> Option<&Arc<Node>> {
        if tried.is_empty() {
            return (!self.nodes.is_empty()).then(|| &self.nodes[below(self.nodes.len())]);
        }
        let left = self.untried(tried);
        if left == 0 {
            return None;
        }
        self.nodes.iter().filter(|node| !tried.contains(&node.hash)).nth(below(left))
    }

    /// How many nodes were not tried.
    #[must_use]
    pub fn untried(&self, tried: &[NodeHash]) -> usize {
        self.nodes.len()
            - tried.iter().filter(|hash| self.nodes.iter().any(|node| node.hash == **hash)).count()
    }
}
