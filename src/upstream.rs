//! Reaching a node and, through it, an origin.
//!
//! [`Dialer`] makes a [`Link`] (TCP, TLS to the node, the node's handshake, TLS to the origin), counted right above TCP.
//! [`Connection`] is one HTTP/1.1 connection over a link, owned by whoever uses it; sending on it says whether anything
//! of the request was written. [`Pool`] keeps the idle ones. Knows nothing of platforms, retries or records.

mod answer;
mod channel;
mod connection;
mod dial;
mod error;
mod framing;
mod habit;
pub(crate) mod handshake;
mod http1;
mod link;
mod out;
mod pool;
mod targets;
mod tls;
mod upload;
mod watchdog;
mod wire;

pub(crate) use answer::{AnswerBody, Ending};
pub(crate) use connection::{Answered, Connection, Interim, Patience, SendFailure, Unsent};
pub(crate) use dial::{Destination, Dialer, Place};
pub(crate) use error::Fault;
pub(crate) use framing::has_token;
pub(crate) use habit::Death;
pub(crate) use http1::{AnswerHead, Framing, Next};
pub(crate) use link::Link;
pub(crate) use out::{Out, make_room, put_field, put_length};
pub(crate) use pool::{Found, Key, Limits as PoolLimits, Pool};
pub(crate) use targets::Targets;
pub(crate) use tls::{OwnRoots, Trust, TrustError, unverified, verified};
#[cfg(test)]
pub(crate) use upload::Source;
pub(crate) use upload::{BrokenOff, ClientBody, Upload};
pub(crate) use watchdog::{Bell, Pulse, Watchdog};
#[cfg(test)]
pub(crate) use wire::script;
pub(crate) use wire::{Counted, Wire};
