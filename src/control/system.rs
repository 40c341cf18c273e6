//! `SystemService`: the instance that answers.

use std::{collections::BTreeMap, time::SystemTime};

use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::convert;
use crate::proto::{GetSystemInfoRequest, GetSystemInfoResponse, system_service_server::SystemService};

/// What an instance says of itself.
#[derive(Debug, Clone)]
pub struct SystemFacts {
    pub version: &'static str,
    pub instance_id: Uuid,
    pub started_at: SystemTime,
    /// By the environment variable's name; no secrets.
    pub settings: BTreeMap<String, String>,
}

pub(super) struct System {
    facts: SystemFacts,
}

impl System {
    pub(super) fn new(facts: SystemFacts) -> Self {
        Self { facts }
    }
}

#[tonic::async_trait]
impl SystemService for System {
    async fn get_system_info(
        &self,
        _: Request<GetSystemInfoRequest>,
    ) -> Result<Response<GetSystemInfoResponse>, Status> {
        Ok(Response::new(GetSystemInfoResponse {
            version: self.facts.version.to_owned(),
            instance_id: self.facts.instance_id.to_string(),
            start_time: Some(convert::timestamp(self.facts.started_at)),
            settings: self.facts.settings.clone().into_iter().collect(),
        }))
    }
}
