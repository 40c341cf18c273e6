//! The data plane: from a client's connection to its answer.
//!
//! [`listener`] accepts, [`http1`] and [`http2`] speak with the client, [`entry`] tells the three paths apart, [`identity`] who is asking,
//! [`target`] where to; [`exchange`] (forward and reverse) and [`tunnel`] (CONNECT) are each one request from top to
//! bottom. Every request leaves one record, whatever becomes of it: [`recording`] is its guard.

mod answer;
mod body;
mod client;
#[cfg(test)]
mod cost;
mod downstream;
mod entry;
mod exchange;
mod flaw;
mod headers;
pub(crate) mod http1;
mod http2;
pub(crate) mod identity;
mod listener;
mod message;
mod pipe;
mod recording;
mod refusal;
mod relay;
mod roster;
mod service;
pub(crate) mod target;
mod tunnel;
mod worker;

pub(crate) use listener::{Listeners, accept, bind};
pub(crate) use roster::Numbers;
pub(crate) use worker::{Shared, Worker};
