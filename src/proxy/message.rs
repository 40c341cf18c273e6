//! A request and its answer as the proxy sees them, whichever HTTP they come and go by.

use bytes::Bytes;
use http::{Method, StatusCode, Uri, Version};

use super::body::ProxyBody;
use crate::{
    model::{Fields, Name},
    upstream::ClientBody,
};

/// A client's request.
#[derive(Debug, Default)]
pub(crate) struct Request {
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    /// The target is in absolute-form and has no path at all: `http` makes it `/`, and the difference is lost.
    pub(crate) pathless: bool,
    pub(crate) version: Version,
    pub(crate) fields: Fields,
    /// None where there is nothing in it.
    pub(crate) body: Option<ClientBody>,
}

/// What the client is answered.
pub(crate) struct Response {
    pub(crate) status: StatusCode,
    /// What the status line says behind its code, where that is not the usual.
    pub(crate) reason: Option<Bytes>,
    pub(crate) fields: Fields,
    pub(crate) body: ProxyBody,
}

impl Response {
    pub(crate) fn new(status: StatusCode, body: ProxyBody) -> Self {
        Self { status, reason: None, fields: Fields::default(), body }
    }

    /// Nothing more is read on its connection.
    pub(crate) fn closing(mut self) -> Self {
        self.fields.set("connection", b"close");
        self
    }

    /// Whether it says so.
    pub(crate) fn is_closing(&self) -> bool {
        self.fields.get(Name::Connection) == Some(b"close")
    }
}
