//! Domain and rows to proto messages, and the enums both ways.

use std::time::{Duration, SystemTime};

use crate::{
    model::{Node, Platform, Region},
    proto,
    store::{StoredAttempt, StoredRecord},
};

pub(super) fn platform(platform: &Platform, routable: usize) -> proto::Platform {
    proto::Platform {
        id: platform.id.to_string(),
        name: platform.name.as_str().to_owned(),
        regex_filters: platform.filters.iter().map(|filter| filter.as_str().to_owned()).collect(),
        max_retries: Some(platform.max_retries),
        etag: platform.etag(),
        create_time: Some(timestamp(platform.create_time)),
        update_time: Some(timestamp(platform.update_time)),
        routable_node_count: i32::try_from(routable).unwrap_or(i32::MAX),
    }
}

pub(super) fn node(node: &Node) -> proto::Node {
    proto::Node {
        hash: node.hash.to_string(),
        uri: node.config.uri(),
        tags: node.tags.clone(),
        egress_ip: node.egress_ip.map_or(String::new(), |ip| ip.to_string()),
        region: node.region.as_ref().map_or(String::new(), |region| Region::as_str(region).to_owned()),
        state: proto::NodeState::Unknown.into(),
    }
}

pub(super) fn request_log(record: StoredRecord) -> proto::RequestLog {
    proto::RequestLog {
        id: record.id.to_string(),
        started_at: Some(timestamp(record.started_at)),
        duration: Some(duration(record.duration)),
        proxy_type: proxy_type(&record.proxy_type).into(),
        client_ip: record.client_ip.to_string(),
        platform_id: record.platform_id.map_or(String::new(), |id| id.to_string()),
        platform_name: record.platform_name,
        account: record.account,
        target_host: record.target_host,
        target_port: record.target_port,
        target_url: record.target_url,
        node_hash: record.node_hash,
        node_tag: record.node_tag,
        egress_ip: record.egress_ip.map_or(String::new(), |ip| ip.to_string()),
        net_ok: record.net_ok,
        http_method: record.http_method,
        http_status: record.http_status,
        resin_error: record.resin_error,
        upstream_stage: stage(&record.upstream_stage).into(),
        upstream_phase: phase(&record.upstream_phase).into(),
        upstream_err_kind: record.upstream_err_kind,
        upstream_errno: record.upstream_errno,
        upstream_err_msg: record.upstream_err_msg,
        request_written: record.request_written,
        ingress_bytes: record.ingress_bytes,
        egress_bytes: record.egress_bytes,
        retry_attempts: record.retry_attempts,
        retry_details: record.retry_details.into_iter().map(retry_detail).collect(),
        trace_id: record.trace_id,
        instance_id: record.instance_id.to_string(),
    }
}

fn retry_detail(attempt: StoredAttempt) -> proto::RetryDetail {
    proto::RetryDetail {
        node_hash: attempt.node_hash,
        node_tag: attempt.node_tag,
        egress_ip: attempt.egress_ip,
        stage: stage(&attempt.stage).into(),
        phase: phase(&attempt.phase).into(),
        err_kind: attempt.err_kind,
        errno: attempt.errno,
        err_msg: attempt.err_msg,
        request_written: attempt.request_written,
        reused_connection: attempt.reused_connection,
        started_at: attempt.started_at.parse().ok(),
        duration: attempt.duration.parse().ok(),
    }
}

fn stage(text: &str) -> proto::UpstreamStage {
    proto::UpstreamStage::from_str_name(&format!("UPSTREAM_STAGE_{}", text.to_ascii_uppercase()))
        .unwrap_or_default()
}

fn phase(text: &str) -> proto::UpstreamPhase {
    proto::UpstreamPhase::from_str_name(&format!("UPSTREAM_PHASE_{}", text.to_ascii_uppercase()))
        .unwrap_or_default()
}

fn proxy_type(text: &str) -> proto::ProxyType {
    proto::ProxyType::from_str_name(&format!("PROXY_TYPE_{text}")).unwrap_or_default()
}

pub(super) fn timestamp(time: SystemTime) -> prost_types::Timestamp {
    time.into()
}

fn duration(duration: Duration) -> prost_types::Duration {
    duration.try_into().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Phase, ProxyType, Stage};

    #[test]
    fn every_word_of_a_closed_set_has_its_enum_value() {
        for word in Stage::ALL {
            assert_ne!(stage(word.as_str()), proto::UpstreamStage::Unspecified, "{word}");
        }
        for word in Phase::ALL {
            assert_ne!(phase(word.as_str()), proto::UpstreamPhase::Unspecified, "{word}");
        }
        for word in ProxyType::ALL {
            assert_ne!(proxy_type(word.as_str()), proto::ProxyType::Unspecified, "{word}");
        }
        assert_eq!(stage(""), proto::UpstreamStage::Unspecified);
    }
}
