//! What the tests stand on: the program as a process, PostgreSQL, clients, nodes and origins that misbehave on purpose.
#![allow(clippy::unwrap_used, dead_code, unreachable_pub)] // each test binary uses a part of it

pub mod client;
pub mod grpc;
pub mod network;
pub mod nodes;
pub mod origins;
pub mod otlp;
pub mod peer;
pub mod postgres;
pub mod resin;
pub mod secrets;
pub mod site;
pub mod tls;
pub mod wire;
pub mod world;
