//! Records out of `request_logs`: one, a page, or the stream.
//!
//! The stream's order is that of insertion: first the inserting transaction's number, then the row's. Transactions do
//! not commit in the order of their numbers, so a reader takes only rows below the horizon: of transactions below the
//! oldest one that was still open when it looked. Whatever becomes visible later stands behind its cursor: nothing is lost, nothing comes
//! twice.

use std::{
    fmt::Write as _,
    net::IpAddr,
    time::{Duration, SystemTime},
};

use serde::Deserialize;
use tokio_postgres::{
    Row,
    types::{Json, ToSql},
};
use uuid::Uuid;

use super::{Store, StoreError, error::column, horizon::number, in_time, interval::Interval};
use crate::model::{NodeHash, ProxyType};

/// What a record must be like. None is any.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RecordFilter {
    pub platform_name: Option<String>,
    pub account: Option<String>,
    /// Lower case.
    pub target_host: Option<String>,
    pub node_hash: Option<NodeHash>,
    pub egress_ip: Option<IpAddr>,
    pub proxy_type: Option<ProxyType>,
    pub net_ok: Option<bool>,
    pub http_status: Option<i32>,
    pub resin_error: Option<String>,
    pub min_retry_attempts: Option<i32>,
    /// Inclusive.
    pub started_after: Option<SystemTime>,
    /// Exclusive.
    pub started_before: Option<SystemTime>,
}

/// A place in the stream: behind the row of this transaction with this number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor {
    pub xid: u64,
    pub seq: i64,
}

impl Cursor {
    /// Before everything.
    pub const START: Self = Self { xid: 0, seq: 0 };

    /// Behind every row of the transactions below `xid`.
    fn below(xid: u64) -> Self {
        Self { xid: xid.saturating_sub(1), seq: i64::MAX }
    }
}

/// A record as it was read.
#[derive(Debug, Clone)]
pub struct StoredRecord {
    pub id: Uuid,
    pub started_at: SystemTime,
    pub duration: Duration,
    pub proxy_type: String,
    pub client_ip: IpAddr,
    pub platform_id: Option<Uuid>,
    pub platform_name: String,
    pub account: String,
    pub target_host: String,
    pub target_port: i32,
    pub target_url: String,
    pub node_hash: String,
    pub node_tag: String,
    pub egress_ip: Option<IpAddr>,
    pub net_ok: bool,
    pub http_method: String,
    pub http_status: i32,
    pub resin_error: String,
    pub upstream_stage: String,
    pub upstream_phase: String,
    pub upstream_err_kind: String,
    pub upstream_errno: String,
    pub upstream_err_msg: String,
    pub request_written: bool,
    pub ingress_bytes: i64,
    pub egress_bytes: i64,
    pub retry_attempts: i32,
    pub retry_details: Vec<StoredAttempt>,
    pub trace_id: String,
    pub instance_id: Uuid,
    /// Where it stands in the stream.
    pub cursor: Cursor,
}

/// A failed attempt as it was read.
#[derive(Debug, Clone, Deserialize)]
pub struct StoredAttempt {
    pub node_hash: String,
    pub node_tag: String,
    pub egress_ip: String,
    pub stage: String,
    pub phase: String,
    pub err_kind: String,
    pub errno: String,
    pub err_msg: String,
    pub request_written: bool,
    pub reused_connection: bool,
    /// RFC 3339.
    pub started_at: String,
    /// Seconds, `0.000283s`.
    pub duration: String,
}

/// How many old records go in one statement.
pub(super) const DELETED_AT_ONCE: u64 = 10_000;

const SELECT: &str = "select id, started_at, duration, proxy_type, client_ip, platform_id, platform_name, account, \
    target_host, target_port, target_url, node_hash, node_tag, egress_ip, net_ok, http_method, http_status, \
    resin_error, upstream_stage, upstream_phase, upstream_err_kind, upstream_errno, upstream_err_msg, \
    request_written, ingress_bytes, egress_bytes, retry_attempts, retry_details, trace_id, instance_id, \
    xid::text as xid, seq from request_logs";

/// A condition that grows, with its parameters.
#[derive(Default)]
struct Where {
    sql: String,
    parameters: Vec<Box<dyn ToSql + Sync + Send>>,
}

impl Where {
    /// `$` in `condition` stands for the value.
    fn and(&mut self, condition: &str, value: impl ToSql + Sync + Send + 'static) {
        self.parameters.push(Box::new(value));
        let place = format!("${}", self.parameters.len());
        let glue = if self.sql.is_empty() { " where " } else { " and " };
        let _infallible = write!(self.sql, "{glue}{}", condition.replace('$', &place));
    }

    /// `$` stands for the first value, `%` for the second.
    fn and_pair(
        &mut self,
        condition: &str,
        first: impl ToSql + Sync + Send + 'static,
        second: impl ToSql + Sync + Send + 'static,
    ) {
        let second_place = format!("#{}", self.parameters.len() + 2);
        self.and(&condition.replace('%', &second_place), first);
        self.parameters.push(Box::new(second));
        self.sql = self.sql.replace('#', "$");
    }

    fn of(filter: &RecordFilter) -> Self {
        let mut all = Self::default();
        let f = filter.clone();
        f.platform_name.into_iter().for_each(|value| all.and("platform_name = $", value));
        f.account.into_iter().for_each(|value| all.and("account = $", value));
        f.target_host.into_iter().for_each(|value| all.and("target_host = $", value));
        f.node_hash.into_iter().for_each(|value| all.and("node_hash = $", value.to_string()));
        f.egress_ip.into_iter().for_each(|value| all.and("egress_ip = $", value));
        f.proxy_type.into_iter().for_each(|value| all.and("proxy_type = $", value.as_str()));
        f.net_ok.into_iter().for_each(|value| all.and("net_ok = $", value));
        f.http_status.into_iter().for_each(|value| all.and("http_status = $", value));
        f.resin_error.into_iter().for_each(|value| all.and("resin_error = $", value));
        f.min_retry_attempts.into_iter().for_each(|value| all.and("retry_attempts >= $", value));
        f.started_after.into_iter().for_each(|value| all.and("started_at >= $", value));
        f.started_before.into_iter().for_each(|value| all.and("started_at < $", value));
        all
    }

    fn parameters(&self) -> Vec<&(dyn ToSql + Sync)> {
        self.parameters.iter().map(|parameter| &**parameter as &(dyn ToSql + Sync)).collect()
    }
}

impl Store {
    pub async fn record(&self, id: Uuid) -> Result<Option<StoredRecord>, StoreError> {
        let rows = self.rows(&format!("{SELECT} where id = $1"), &[&id]).await?;
        rows.first().map(record).transpose()
    }

    /// The newest records, or those older than `before`.
    pub async fn records(
        &self,
        filter: &RecordFilter,
        before: Option<(SystemTime, Uuid)>,
        limit: i64,
    ) -> Result<Vec<StoredRecord>, StoreError> {
        let mut all = Where::of(filter);
        if let Some((started_at, id)) = before {
            all.and_pair("(started_at, id) < ($, %)", started_at, id);
        }
        let select = format!("{SELECT}{} order by started_at desc, id desc limit {limit}", all.sql);
        let rows = self.rows(&select, &all.parameters()).await?;
        rows.iter().map(record).collect()
    }

    /// Behind everything that is settled now: what is not comes later.
    pub async fn cursor_at_end(&self) -> Result<Cursor, StoreError> {
        Ok(Cursor::below(self.horizon().await?))
    }

    /// Before the last `count` records.
    pub async fn cursor_before_last(&self, filter: &RecordFilter, count: i64) -> Result<Cursor, StoreError> {
        let horizon = self.horizon().await?;
        if count == 0 {
            return Ok(Cursor::below(horizon));
        }
        let mut all = Where::of(filter);
        all.and("xid < $::text::xid8", horizon.to_string());
        let select = format!(
            "select xid::text as xid, seq from request_logs{} order by request_logs.xid desc, seq desc limit {count}",
            all.sql
        );
        let rows = self.rows(&select, &all.parameters()).await?;
        let Some(first) = rows.last() else { return Ok(Cursor::below(horizon)) };
        let first = cursor(first)?;
        Ok(Cursor { seq: first.seq - 1, ..first })
    }

    /// The next records of the stream, and where to go on. At most `limit`; fewer means that all settled ones were read.
    pub async fn records_after(
        &self,
        after: Cursor,
        filter: &RecordFilter,
        limit: i64,
    ) -> Result<(Vec<StoredRecord>, Cursor), StoreError> {
        let horizon = self.horizon().await?;
        let mut all = Where::of(filter);
        all.and("xid < $::text::xid8", horizon.to_string());
        all.and_pair("(xid, seq) > ($::text::xid8, %)", after.xid.to_string(), after.seq);
        let select = format!("{SELECT}{} order by request_logs.xid, seq limit {limit}", all.sql);
        let rows = self.rows(&select, &all.parameters()).await?;
        let records = rows.iter().map(record).collect::<Result<Vec<_>, _>>()?;
        let next = match records.last() {
            Some(last) if i64::try_from(records.len()).unwrap_or(i64::MAX) >= limit => last.cursor,
            _ => after.max(Cursor::below(horizon)),
        };
        Ok((records, next))
    }

    /// Drops records older than `time`, at most `DELETED_AT_ONCE`.
    pub async fn delete_records_before(&self, time: SystemTime) -> Result<u64, StoreError> {
        let delete = format!(
            "delete from request_logs where ctid = any (array( \
             select ctid from request_logs where started_at < $1 order by started_at limit {DELETED_AT_ONCE}))"
        );
        in_time(async { Ok(self.client().await?.execute(&delete, &[&time]).await?) }).await
    }
}

fn cursor(row: &Row) -> Result<Cursor, StoreError> {
    Ok(Cursor { xid: number(column(row, "xid")?)?, seq: column(row, "seq")? })
}

fn record(row: &Row) -> Result<StoredRecord, StoreError> {
    Ok(StoredRecord {
        id: column(row, "id")?,
        started_at: column(row, "started_at")?,
        duration: column::<Interval>(row, "duration")?.0,
        proxy_type: column(row, "proxy_type")?,
        client_ip: column(row, "client_ip")?,
        platform_id: column(row, "platform_id")?,
        platform_name: column(row, "platform_name")?,
        account: column(row, "account")?,
        target_host: column(row, "target_host")?,
        target_port: column(row, "target_port")?,
        target_url: column(row, "target_url")?,
        node_hash: column(row, "node_hash")?,
        node_tag: column(row, "node_tag")?,
        egress_ip: column(row, "egress_ip")?,
        net_ok: column(row, "net_ok")?,
        http_method: column(row, "http_method")?,
        http_status: column(row, "http_status")?,
        resin_error: column(row, "resin_error")?,
        upstream_stage: column(row, "upstream_stage")?,
        upstream_phase: column(row, "upstream_phase")?,
        upstream_err_kind: column(row, "upstream_err_kind")?,
        upstream_errno: column(row, "upstream_errno")?,
        upstream_err_msg: column(row, "upstream_err_msg")?,
        request_written: column(row, "request_written")?,
        ingress_bytes: column(row, "ingress_bytes")?,
        egress_bytes: column(row, "egress_bytes")?,
        retry_attempts: column(row, "retry_attempts")?,
        retry_details: column::<Json<Vec<StoredAttempt>>>(row, "retry_details")?.0,
        trace_id: column(row, "trace_id")?,
        instance_id: column(row, "instance_id")?,
        cursor: cursor(row)?,
    })
}
