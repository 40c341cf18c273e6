//! HTTP/1.1 as bytes: the head of a request, the head of an answer, and where its body ends. Pure.

mod body;
pub(crate) mod chunks;
mod head;

pub(super) use body::{Framing, Next};
pub(super) use head::{Head, Looked, take_head, write_head};
