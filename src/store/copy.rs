//! Records into `request_logs`, by binary COPY.

use std::{collections::HashSet, pin::pin, time::SystemTime};

use bytes::Bytes;
use futures_util::SinkExt;
use serde::Serialize;
use uuid::Uuid;

use super::{Store, StoreError, error::column, in_time, rows::Rows};
use crate::{
    model::{AttemptFacts, Node},
    record::Record,
};

/// `xid` and `seq` are left to their defaults.
const COPY: &str = "copy request_logs (id, started_at, duration, proxy_type, client_ip, platform_id, platform_name, \
    account, target_host, target_port, target_url, node_hash, node_tag, egress_ip, net_ok, http_method, http_status, \
    resin_error, upstream_stage, upstream_phase, upstream_err_kind, upstream_errno, upstream_err_msg, request_written, \
    ingress_bytes, egress_bytes, retry_attempts, retry_details, trace_id, instance_id) from stdin (format binary)";

const COLUMNS: i16 = 30;

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
            let mut rows = Rows::new();
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

/// The values in the order of the columns.
fn push(rows: &mut Rows, instance: Uuid, record: &Record) -> Result<(), StoreError> {
    let (mut hash, mut trace) = ([0; 32], [0; 32]);
    let mut row = rows.row(COLUMNS);
    row.uuid(record.id);
    row.timestamptz(record.started_at);
    row.interval(record.duration);
    row.word(record.proxy_type.as_str());
    row.inet(record.client_ip);
    row.maybe_uuid(record.platform_id);
    row.text(&record.platform_name);
    row.text(&record.account);
    row.text(&record.target_host);
    row.int4(record.target_port.into());
    row.text(&record.target_url);
    let node = record.node.as_deref();
    row.text(
        node.map_or("", |node| Uuid::from_bytes(*node.hash.as_bytes()).simple().encode_lower(&mut hash)),
    );
    row.text(node.map_or("", Node::tag));
    row.maybe_inet(node.and_then(|node| node.egress_ip));
    row.bool(record.net_ok);
    row.text(&record.http_method);
    row.int4(record.http_status.into());
    row.word(record.resin_error.map_or("", |error| error.as_str()));
    let failure = record.failure.as_ref();
    row.word(failure.map_or("", |failure| failure.stage.as_str()));
    row.word(failure.map_or("", |failure| failure.phase.as_str()));
    row.word(failure.map_or("", |failure| failure.kind.as_str()));
    row.word(failure.map_or("", |failure| failure.errno));
    row.text(failure.map_or("", |failure| failure.message.as_str()));
    row.bool(record.request_written);
    row.int8(i64::try_from(record.ingress_bytes).unwrap_or(i64::MAX));
    row.int8(i64::try_from(record.egress_bytes).unwrap_or(i64::MAX));
    row.int4(i32::try_from(record.retries.len()).unwrap_or(i32::MAX));
    if record.retries.is_empty() {
        row.jsonb(b"[]");
    } else {
        let details: Vec<RetryDetail> = record.retries.iter().map(retry_detail).collect();
        row.jsonb(&serde_json::to_vec(&details).map_err(|why| StoreError::Value(why.to_string()))?);
    }
    row.text(record.trace_id.map_or("", |id| Uuid::from_bytes(id).simple().encode_lower(&mut trace)));
    row.uuid(instance);
    Ok(())
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
