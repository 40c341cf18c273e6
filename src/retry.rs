//! Carrying a request through one node after another, for as long as it is proven that nothing of it was written.
//!
//! [`boundary`] decides (pure), [`attempt`] is one try through one node, [`mod@carry`] is the loop. A failed attempt hands
//! the request back exactly when it is unwritten; the loop cannot go on without it. Facts are returned in a [`Trail`];
//! nothing is recorded here.

mod attempt;
pub(crate) mod boundary;
mod carry;
mod trail;

pub(crate) use attempt::{Answer, Exchange, OpenTunnel};
pub(crate) use carry::{Ended, Limits, Plan, carry};
pub(crate) use trail::Trail;
