//! What can be seen from outside while it runs: metrics, spans, logs, and the ops port that shows them.
//!
//! Everything here is cheap enough for the data path: handles are kept, no thread is woken, and what is switched off
//! costs nothing.

pub mod logs;
mod metrics;
pub mod ops;
mod spans;

pub use metrics::{Metrics, Path, TunnelGuard};
pub use spans::{
    AttemptEnd, AttemptSpan, AttemptStart, RequestEnd, RequestSpan, SpanName, Tracing, TracingError,
};
