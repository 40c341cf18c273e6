//! What an attempt says about itself once it is over.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use super::{ErrKind, Node, Phase, Stage};

/// How an attempt failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub stage: Stage,
    pub phase: Phase,
    pub kind: ErrKind,
    /// Symbolic (`ECONNREFUSED`), or empty.
    pub errno: &'static str,
    /// One line, at most 512 bytes, free of credentials.
    pub message: String,
}

/// A failed attempt that was followed by another.
#[derive(Debug, Clone)]
pub struct AttemptFacts {
    pub node: Arc<Node>,
    pub failure: Failure,
    pub request_written: bool,
    pub reused_connection: bool,
    pub started_at: SystemTime,
    pub duration: Duration,
}
