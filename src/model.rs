//! The words that every part of resin uses, as types.
//!
//! Pure: no IO, no clock, no async. Bytes, proto messages and rows become these at the door (their constructors
//! check and say what is wrong); past it nothing is checked twice. Everything above `model` may name it; it names
//! nothing of the crate.

mod attempt;
mod encoding;
mod fields;
mod node;
mod platform;
mod public;
mod secret;
mod target;
mod words;

pub use attempt::{AttemptFacts, Failure};
pub(crate) use encoding::percent_decode;
pub use fields::{Field, Fields, Name};
pub(crate) use node::is_tag;
pub use node::{Endpoint, Node, NodeConfig, NodeHash, NodeTls, NodeUri, NodeUriError, Region, RegionError};
pub use platform::{
    AccountError, DEFAULT_PLATFORM, FilterError, MAX_ACCOUNT_BYTES, MAX_RETRIES, NodeFilter, Platform,
    PlatformName, PlatformNameError,
};
pub use public::is_public;
pub use secret::Secret;
pub use target::{Authority, Host, HostError};
pub use words::{ErrKind, Phase, ProxyType, ResinError, Stage, Verdict};
