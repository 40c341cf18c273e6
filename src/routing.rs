//! What is in force: the configuration that every request sees as one unchanging snapshot.
//!
//! [`Snapshot`] is built whole from platforms and nodes, then published through the [`Directory`]. A request takes one
//! `Arc<Snapshot>` and keeps it to its end. Picking among a platform's nodes is [`Pool::pick`].

mod directory;
mod snapshot;

pub use directory::Directory;
pub use snapshot::{Pool, Snapshot};
