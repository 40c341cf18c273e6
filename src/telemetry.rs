//! STUB
use crate::model::{ErrKind, Failure, Node, ResinError, Stage, Verdict};
use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, SystemTime},
};
#[derive(Clone, Debug, Default)]
pub struct Metrics;
#[derive(Clone, Copy, Debug)]
pub enum Path {
    Forward,
    Connect,
    Reverse,
}
#[derive(Debug)]
pub struct TunnelGuard;
impl Metrics {
    pub fn request_done(&self, _: Path, _: u16, _: Option<ResinError>, _: Duration) {}
    pub fn attempt_answered(&self, _: Option<Duration>) {}
    pub fn attempt_failed(&self, _: Stage, _: ErrKind, _: Verdict) {}
    pub fn retried(&self) {}
    pub fn tunnel_opened(&self) -> TunnelGuard {
        TunnelGuard
    }
    pub fn idle_connections(&self, _: i64) {}
}
#[derive(Clone, Debug, Default)]
pub struct Tracing;
#[derive(Clone, Copy, Debug)]
pub enum SpanName {
    Forward,
    Connect,
    Reverse,
}
#[derive(Debug, Default)]
pub struct RequestSpan;
#[derive(Debug, Default)]
pub struct AttemptSpan;
impl Tracing {
    pub fn request(&self, _: &http::HeaderMap, _: SpanName, _: &http::Method, _: SystemTime) -> RequestSpan {
        RequestSpan
    }
}
impl RequestSpan {
    pub fn trace_id(&self) -> Option<[u8; 16]> {
        None
    }
    pub fn is_recording(&self) -> bool {
        false
    }
    pub fn attempt(&self, _: u32) -> AttemptSpan {
        AttemptSpan
    }
    pub fn end(self, _: RequestEnd<'_>) {}
}
impl AttemptSpan {
    pub fn is_recording(&self) -> bool {
        false
    }
    pub fn stale_connection(&mut self) {}
    pub fn end(self, _: AttemptEnd<'_>) {}
}
pub struct AttemptEnd<'a> {
    pub node: &'a Arc<Node>,
    pub platform: &'a str,
    pub method: &'a str,
    pub host: &'a str,
    pub port: u16,
    pub peer: Option<SocketAddr>,
    pub failure: Option<&'a Failure>,
    pub verdict: Verdict,
    pub request_written: bool,
}
pub struct RequestEnd<'a> {
    pub method: &'a str,
    pub status: u16,
    pub platform: &'a str,
    pub host: &'a str,
    pub port: u16,
    pub client: IpAddr,
    pub error: Option<ResinError>,
    pub failure: Option<&'a Failure>,
}
