//! HTTP/1.1 as bytes: the head of a request, the head of an answer, and where its body ends. Pure.

mod body;
mod chunks;
mod head;

pub(crate) use body::{Framing, Next};
pub(crate) use head::AnswerHead;
pub(super) use head::{Head, Looked, take_head, write_head};
