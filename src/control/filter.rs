//! A caller's filter over records, checked.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prost::Message;

use super::status::Violations;
use crate::{
    model::{NodeHash, ProxyType, ResinError},
    proto::{self, RequestLogFilter},
    store::RecordFilter,
};

/// The year 9999 ends: beyond it PostgreSQL and protobuf do not agree.
const LAST_SECOND: i64 = 253_402_300_799;

pub(crate) fn parse(filter: Option<&RequestLogFilter>, violations: &mut Violations) -> RecordFilter {
    let Some(filter) = filter else { return RecordFilter::default() };
    let node_hash = filter.node_hash.as_deref().and_then(|text| {
        let hash = NodeHash::parse(text).ok_or("a node's hash is 32 hex digits");
        violations.take("filter.node_hash", hash)
    });
    let egress_ip = filter
        .egress_ip
        .as_deref()
        .and_then(|text| violations.take("filter.egress_ip", text.parse().map_err(|_| "not an IP address")));
    let proxy_type =
        filter.proxy_type.and_then(|number| violations.take("filter.proxy_type", proxy_type(number)));
    let resin_error = filter.resin_error.clone().filter(|text| {
        let known = text.is_empty() || ResinError::parse(text).is_some();
        if !known {
            violations
                .add("filter.resin_error", "not one of the proxy's error codes, such as UPSTREAM_TIMEOUT");
        }
        known
    });
    if let Some(status) = filter.http_status.filter(|status| !(0..=999).contains(status)) {
        violations.add("filter.http_status", format!("{status} is not a status from 0 to 999"));
    }
    if let Some(least) = filter.min_retry_attempts.filter(|least| *least < 0) {
        violations.add("filter.min_retry_attempts", format!("{least} is negative"));
    }
    for (field, text) in [
        ("filter.platform_name", &filter.platform_name),
        ("filter.account", &filter.account),
        ("filter.target_host", &filter.target_host),
    ] {
        if text.as_ref().is_some_and(|text| text.contains('\0')) {
            violations.add(field, "contains a NUL character");
        }
    }
    RecordFilter {
        platform_name: filter.platform_name.clone(),
        account: filter.account.clone(),
        target_host: filter.target_host.as_ref().map(|host| host.to_ascii_lowercase()),
        node_hash,
        egress_ip,
        proxy_type,
        net_ok: filter.net_ok,
        http_status: filter.http_status,
        resin_error,
        min_retry_attempts: filter.min_retry_attempts,
        started_after: time("filter.started_after", filter.started_after.as_ref(), violations),
        started_before: time("filter.started_before", filter.started_before.as_ref(), violations),
    }
}

/// What a page token is bound to.
pub(crate) fn fingerprint(filter: Option<&RequestLogFilter>) -> Vec<u8> {
    filter.map(Message::encode_to_vec).unwrap_or_default()
}

pub(super) fn time(
    field: &str,
    given: Option<&prost_types::Timestamp>,
    violations: &mut Violations,
) -> Option<SystemTime> {
    let given = given?;
    let seconds = u64::try_from(given.seconds).ok().filter(|_| given.seconds <= LAST_SECOND);
    let nanos = u32::try_from(given.nanos).ok().filter(|nanos| *nanos < 1_000_000_000);
    let parsed = seconds.zip(nanos).map(|(seconds, nanos)| UNIX_EPOCH + Duration::new(seconds, nanos));
    violations.take(field, parsed.ok_or("not a time from 1970 to 9999"))
}

fn proxy_type(number: i32) -> Result<ProxyType, &'static str> {
    match proto::ProxyType::try_from(number) {
        Ok(proto::ProxyType::Forward) => Ok(ProxyType::Forward),
        Ok(proto::ProxyType::Reverse) => Ok(ProxyType::Reverse),
        Ok(proto::ProxyType::Unspecified) | Err(_) => Err("PROXY_TYPE_FORWARD or PROXY_TYPE_REVERSE"),
    }
}

#[cfg(test)]
mod tests {
    use prost_types::Timestamp;
    use tonic_types::StatusExt;

    use super::*;

    #[test]
    fn every_violation_of_a_filter_is_told_with_its_path() {
        let filter = RequestLogFilter {
            node_hash: Some("xyz".to_owned()),
            egress_ip: Some("1.2.3".to_owned()),
            proxy_type: Some(7),
            http_status: Some(-1),
            resin_error: Some("NO_SUCH".to_owned()),
            min_retry_attempts: Some(-1),
            account: Some("\0".to_owned()),
            started_after: Some(Timestamp { seconds: -1, nanos: 0 }),
            started_before: Some(Timestamp { seconds: i64::MAX, nanos: 0 }),
            ..RequestLogFilter::default()
        };
        let mut violations = Violations::default();
        let _ = parse(Some(&filter), &mut violations);
        let status = violations.check().unwrap_err();
        let told = status.get_details_bad_request().unwrap().field_violations;
        let fields: Vec<&str> = told.iter().map(|violation| violation.field.as_str()).collect();
        for field in [
            "filter.node_hash",
            "filter.egress_ip",
            "filter.proxy_type",
            "filter.http_status",
            "filter.resin_error",
            "filter.min_retry_attempts",
            "filter.account",
            "filter.started_after",
            "filter.started_before",
        ] {
            assert!(fields.contains(&field), "{field} is missing in {fields:?}");
        }
    }
}
