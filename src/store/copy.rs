//! Records into `request_logs`, by binary COPY.

use std::{collections::HashSet, net::IpAddr, pin::pin, time::SystemTime};

use bytes::Bytes;
use futures_util::SinkExt;
use serde::Serialize;
use tokio_postgres::types::{Json, ToSql, Type};
use uuid::Uuid;

use super::{Store, StoreError, error::column, in_time, interval::Interval, rows::Rows};
use crate::{
    model::{AttemptFacts, Node},
    record::Record,
};

/// `xid` and `seq` are left to their defaults.
const COPY: &str = "copy request_logs (id, started_at, duration, proxy_type, client_ip, platform_id, platform_name, \
    account, target_host, target_port, target_url, node_hash, node_tag, egress_ip, net_ok, http_method, http_status, \
    resin_error, upstream_stage, upstream_phase, upstream_err_kind, upstream_errno, upstream_err_msg, request_written, \
    ingress_bytes, egress_bytes, retry_attempts, retry_details, trace_id, instance_id) from stdin (format binary)";

const TYPES: [Type; 30] = [
    Type::UUID,
    Type::TIMESTAMPTZ,
    Type::INTERVAL,
    Type::TEXT,
    Type::INET,
    Type::UUID,
    Type::TEXT,
    Type::TEXT,
    Type::TEXT,
    Type::INT4,
    Type::TEXT,
    Type::TEXT,
    Type::TEXT,
    Type::INET,
    Type::BOOL,
    Type::TEXT,
    Type::INT4,
    Type::TEXT,
    Type::TEXT,
    Type::TEXT,
    Type::TEXT,
    Type::TEXT,
    Type::TEXT,
    Type::BOOL,
    Type::INT8,
    Type::INT8,
    Type::INT4,
    Type::JSONB,
    Type::TEXT,
    Type::UUID,
];

/// A failed attempt as `retry_details` holds it.
#[derive(Debug, Serialize)]
struct RetryDetail {
    node_hash: String,
    node_tag: String,
    egress_ip: String,
    stage: &'static str,
    phase: &'static str,
    err_kind: &'static str,
    errno: &'static str,
    err_msg: String,
    request_written: bool,
    reused_connection: bool,
    /// RFC 3339.
    started_at: String,
    /// Seconds, `0.000283s`.
    duration: String,
}

impl Store {
    /// Writes all of these in one transaction, or none. An error can also mean that the commit was not heard of.
    pub async fn copy_in(&self, instance: Uuid, records: &[Record]) -> Result<(), StoreError> {
        in_time(async {
            let mut client = self.client().await?;
            let transaction = client.transaction().await?;
            let mut sink = pin!(transaction.copy_in::<_, Bytes>(COPY).await?);
            let mut rows = Rows::new(&TYPES);
            for record in records {
                push(&mut rows, instance, record)?;
                if let Some(piece) = rows.piece() {
                    sink.send(piece).await?;
                }
            }
            sink.send(rows.end()).await?;
            sink.finish().await?;
            transaction.commit().await?;
            Ok(())
        })
        .await
    }

    /// Which of these are in the database.
    pub(super) async fn record_ids_of(&self, records: &[Record]) -> Result<HashSet<Uuid>, StoreError> {
        let ids: Vec<Uuid> = records.iter().map(|record| record.id).collect();
        let rows = self.rows("select id from request_logs where id = any($1)", &[&ids]).await?;
        rows.iter().map(|row| column(row, "id")).collect()
    }
}

fn push(rows: &mut Rows<'_>, instance: Uuid, record: &Record) -> Result<(), StoreError> {
    let node = record.node.as_deref();
    let node_hash = node.map_or(String::new(), |node| node.hash.to_string());
    let node_tag = text(node.map_or("", Node::tag));
    let egress_ip: Option<IpAddr> = node.and_then(|node| node.egress_ip);
    let failure = record.failure.as_ref();
    let stage = failure.map_or("", |failure| failure.stage.as_str());
    let phase = failure.map_or("", |failure| failure.phase.as_str());
    let kind = failure.map_or("", |failure| failure.kind.as_str());
    let errno = failure.map_or("", |failure| failure.errno);
    let message = text(failure.map_or("", |failure| failure.message.as_str()));
    let error = record.resin_error.map_or("", |error| error.as_str());
    let details: Vec<RetryDetail> = record.retries.iter().map(retry_detail).collect();
    let trace_id = record.trace_id.map_or(String::new(), |id| Uuid::from_bytes(id).simple().to_string());
    let duration = Interval(record.duration);
    let (platform_name, account) = (text(&record.platform_name), text(&record.account));
    let (host, url, method) =
        (text(&record.target_host), text(&record.target_url), text(&record.http_method));
    let attempts = i32::try_from(details.len()).unwrap_or(i32::MAX);
    let columns: [&(dyn ToSql + Sync); 30] = [
        &record.id,
        &record.started_at,
        &duration,
        &record.proxy_type.as_str(),
        &record.client_ip,
        &record.platform_id,
        &platform_name,
        &account,
        &host,
        &i32::from(record.target_port),
        &url,
        &node_hash,
        &node_tag,
        &egress_ip,
        &record.net_ok,
        &method,
        &i32::from(record.http_status),
        &error,
        &stage,
        &phase,
        &kind,
        &errno,
        &message,
        &record.request_written,
        &i64::try_from(record.ingress_bytes).unwrap_or(i64::MAX),
        &i64::try_from(record.egress_bytes).unwrap_or(i64::MAX),
        &attempts,
        &Json(details),
        &trace_id,
        &instance,
    ];
    rows.push(&columns)
}

fn retry_detail(attempt: &AttemptFacts) -> RetryDetail {
    let AttemptFacts { node, failure, request_written, reused_connection, started_at, duration } = attempt;
    RetryDetail {
        node_hash: node.hash.to_string(),
        node_tag: text(node.tag()).into_owned(),
        egress_ip: node.egress_ip.map_or(String::new(), |ip| ip.to_string()),
        stage: failure.stage.as_str(),
        phase: failure.phase.as_str(),
        err_kind: failure.kind.as_str(),
        errno: failure.errno,
        err_msg: text(&failure.message).into_owned(),
        request_written: *request_written,
        reused_connection: *reused_connection,
        started_at: rfc3339(*started_at),
        duration: format!("{}.{:06}s", duration.as_secs(), duration.subsec_micros()),
    }
}

fn rfc3339(time: SystemTime) -> String {
    prost_types::Timestamp::from(time).to_string()
}

/// One NUL would make PostgreSQL refuse the whole batch.
fn text(text: &str) -> std::borrow::Cow<'_, str> {
    if text.contains('\0') { text.replace('\0', "").into() } else { text.into() }
}
