//! What resin costs beside other proxies doing the same work.
//!
//! [`works`] says what is done, [`peers`] by whom, [`rounds`] in which order, [`results`] what was found, [`report`] how
//! it is told. [`load`] is the client's side of a proxy, [`site`] the other one.

pub mod certificate;
pub mod collector;
pub mod compare;
pub mod counts;
pub mod cpu;
pub mod lane;
pub mod limits;
pub mod load;
pub mod machine;
pub mod peers;
pub mod postgres;
pub mod report;
pub mod results;
pub mod rounds;
pub mod site;
pub mod smoke;
pub mod statistics;
pub mod works;

/// resin's control plane, as a client sees it.
pub mod proto {
    tonic::include_proto!("resin.control.v1");
}

/// What went wrong is told in a sentence, and never looked into.
pub type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;
