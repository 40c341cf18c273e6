//! `NodeService`.

use tonic::{Request, Response, Status};

use super::{
    Control, convert, page,
    status::{self, Violations},
};
use crate::{
    model::{NodeHash, NodeUri, Region, is_tag},
    proto::{
        self, DeleteNodesRequest, DeleteNodesResponse, GetNodeRequest, ListNodesRequest, ListNodesResponse,
        NodeSpec, UpsertNodesRequest, UpsertNodesResponse, node_service_server::NodeService,
    },
    store::NodeChange,
};

const MOST: usize = 10_000;

pub(super) struct Nodes {
    control: Control,
}

impl Nodes {
    pub(super) fn new(control: Control) -> Self {
        Self { control }
    }
}

#[tonic::async_trait]
impl NodeService for Nodes {
    async fn upsert_nodes(
        &self,
        request: Request<UpsertNodesRequest>,
    ) -> Result<Response<UpsertNodesResponse>, Status> {
        let UpsertNodesRequest { nodes, validate_only } = request.into_inner();
        let mut violations = Violations::default();
        check_count("nodes", nodes.len(), &mut violations);
        let changes: Vec<_> =
            nodes.iter().enumerate().filter_map(|(at, spec)| change(at, spec, &mut violations)).collect();
        violations.check()?;
        let written = self.control.store.upsert_nodes(NodeChange::merged(changes), validate_only).await;
        let written = written.map_err(|error| status::of_write(error, ""))?;
        if !validate_only {
            self.control.changes.reload().await.map_err(|error| status::of_store(&error))?;
        }
        Ok(Response::new(UpsertNodesResponse { nodes: written.iter().map(convert::node).collect() }))
    }

    async fn get_node(&self, request: Request<GetNodeRequest>) -> Result<Response<proto::Node>, Status> {
        let text = request.into_inner().hash;
        let hash = NodeHash::parse(&text).ok_or_else(|| Violations::one("hash", NOT_A_HASH))?;
        let snapshot = self.control.directory.current();
        let node = snapshot.node(hash).ok_or_else(|| status::not_found("node", &text))?;
        Ok(Response::new(convert::node(node)))
    }

    async fn list_nodes(
        &self,
        request: Request<ListNodesRequest>,
    ) -> Result<Response<ListNodesResponse>, Status> {
        let ListNodesRequest { platform, page_size, page_token } = request.into_inner();
        let mut violations = Violations::default();
        let size = page::size(page_size, &mut violations);
        let filter = format!("nodes {platform}");
        let after = page::place(&page_token, filter.as_bytes(), &mut violations);
        violations.check()?;
        let snapshot = self.control.directory.current();
        let mut nodes: Vec<_> = if platform.is_empty() {
            snapshot.nodes().cloned().collect()
        } else {
            let pool =
                snapshot.platform(&platform).ok_or_else(|| status::not_found("platform", &platform))?;
            pool.nodes.clone()
        };
        nodes.sort_by_key(|node| node.hash);
        if let Some(after) = after {
            nodes.retain(|node| node.hash.as_bytes()[..] > after[..]);
        }
        let more = nodes.len() > size;
        nodes.truncate(size);
        let mut shown: Vec<_> = nodes.iter().map(|node| convert::node(node)).collect();
        let more = page::cut(&mut shown) || more;
        let last = shown.len().checked_sub(1).and_then(|last| nodes.get(last)).filter(|_| more);
        let next = last.map(|last| page::token(filter.as_bytes(), last.hash.as_bytes()));
        Ok(Response::new(ListNodesResponse { nodes: shown, next_page_token: next.unwrap_or_default() }))
    }

    async fn delete_nodes(
        &self,
        request: Request<DeleteNodesRequest>,
    ) -> Result<Response<DeleteNodesResponse>, Status> {
        let texts = request.into_inner().hashes;
        let mut violations = Violations::default();
        check_count("hashes", texts.len(), &mut violations);
        let hashes: Vec<NodeHash> = texts
            .iter()
            .enumerate()
            .filter_map(|(at, text)| {
                violations.take(&format!("hashes[{at}]"), NodeHash::parse(text).ok_or(NOT_A_HASH))
            })
            .collect();
        violations.check()?;
        let deleted =
            self.control.store.delete_nodes(&hashes).await.map_err(|error| status::of_store(&error))?;
        self.control.changes.reload().await.map_err(|error| status::of_store(&error))?;
        let deleted_count = i32::try_from(deleted).unwrap_or(i32::MAX);
        Ok(Response::new(DeleteNodesResponse { deleted_count }))
    }
}

const NOT_A_HASH: &str = "a node's hash is 32 hex digits";

fn check_count(field: &str, count: usize, violations: &mut Violations) {
    if !(1..=MOST).contains(&count) {
        violations.add(field, format!("{count} entries; 1 to {MOST} are allowed"));
    }
}

fn change(at: usize, spec: &NodeSpec, violations: &mut Violations) -> Option<NodeChange> {
    let uri = violations.take(&format!("nodes[{at}].uri"), spec.uri.parse::<NodeUri>());
    if !spec.tag.is_empty() && !is_tag(&spec.tag) {
        violations.add(format!("nodes[{at}].tag"), "a tag has 1 to 256 bytes and no control characters");
    }
    let egress_ip = match spec.egress_ip.as_deref() {
        None => None,
        Some("") => Some(None),
        Some(text) => {
            let parsed = text.parse().map_err(|_| "not an IP address; empty clears it");
            Some(violations.take(&format!("nodes[{at}].egress_ip"), parsed))
        }
    };
    let region = match spec.region.as_deref() {
        None => None,
        Some("") => Some(None),
        Some(text) => Some(violations.take(&format!("nodes[{at}].region"), Region::parse(text))),
    };
    let NodeUri { config, tag } = uri?;
    let tag = match (spec.tag.as_str(), tag) {
        ("", Some(tag)) => tag,
        ("", None) => config.default_tag(),
        (given, _) => given.to_owned(),
    };
    Some(NodeChange { config, tags: vec![tag], egress_ip, region })
}
