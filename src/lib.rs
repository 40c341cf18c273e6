//! resin: a data plane over a pool of proxy nodes.

pub mod app;
pub mod config;
pub mod control;
pub mod demo;
pub mod drain;
#[doc(hidden)]
pub mod fuzzing;
pub mod model;
mod proxy;
pub mod record;
mod retry;
pub mod routing;
pub mod store;
pub mod telemetry;
mod upstream;

/// The generated gRPC code of `proto/`.
pub mod proto {
    #![allow(clippy::all, clippy::pedantic, missing_docs, unreachable_pub)]
    tonic::include_proto!("resin.control.v1");
    /// The descriptors that reflection serves, comments included.
    pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptor.bin"));
}
