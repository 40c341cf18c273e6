//! One record per request: the row itself and the journal that finished rows wait in.
//!
//! A record is pure data, made by the proxy's guard when a request is over (however it is over) and put into the
//! [`Journal`]. Nobody waits on the journal: its reader comes by the clock, so that no request wakes a thread.

mod journal;

use std::{
    borrow::Cow,
    net::IpAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use uuid::Uuid;

use crate::model::{AttemptFacts, Failure, Node, ProxyType, ResinError};

pub use journal::Journal;

/// The row that describes a finished request with all its attempts.
#[derive(Debug, Clone)]
pub struct Record {
    /// UUIDv7.
    pub id: Uuid,
    pub started_at: SystemTime,
    pub duration: Duration,
    pub proxy_type: ProxyType,
    pub client_ip: IpAddr,
    /// None where no platform was found.
    pub platform_id: Option<Uuid>,
    /// As the client named it.
    pub platform_name: Arc<str>,
    pub account: String,
    /// The host alone, lower case; empty where the target could not be read.
    pub target_host: String,
    /// 0 where the target could not be read.
    pub target_port: u16,
    /// Empty for CONNECT. Free of credentials.
    pub target_url: String,
    /// Of the last attempt; none where no attempt was made.
    pub node: Option<Arc<Node>>,
    pub net_ok: bool,
    /// Any method token; the guard has cut it to 64 bytes.
    pub http_method: Cow<'static, str>,
    /// 0 where no status was sent to the client.
    pub http_status: u16,
    pub resin_error: Option<ResinError>,
    /// Of the last attempt; none where it went well.
    pub failure: Option<Failure>,
    /// Of the last attempt.
    pub request_written: bool,
    /// Payload, upstream to client.
    pub ingress_bytes: u64,
    /// Payload, client to upstream.
    pub egress_bytes: u64,
    /// Failed attempts that were followed by another. Empty (and unallocated) for most.
    pub retries: Vec<AttemptFacts>,
    pub trace_id: Option<[u8; 16]>,
}
