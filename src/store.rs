//! PostgreSQL: what must outlive the process.
//!
//! Owns the schema, the rows of platforms and nodes, the way of finished records into `request_logs` and out again.
//! Nothing on the data path can name this module, so no request can wait for a database.

use std::{net::IpAddr, sync::Arc, time::SystemTime};

use uuid::Uuid;

use crate::{
    config::{Config, Database},
    model::{Node, NodeConfig, NodeFilter, NodeHash, Platform, PlatformName, ProxyType, Region, ResinError},
    record::{Journal, Record},
    routing::Directory,
};
