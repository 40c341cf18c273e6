//! Which of the three paths a request takes.

use http::{Method, Version};

use super::message::Request;
use crate::model::Name;

/// The path of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entry {
    Connect,
    Forward,
    Reverse,
}

/// Told by the method and the form of the target; over HTTP/2, which has no such forms, by the credentials.
pub(crate) fn entry(request: &Request) -> Entry {
    if request.method == Method::CONNECT {
        return Entry::Connect;
    }
    let forward = if request.version == Version::HTTP_2 {
        request.fields.has(Name::ProxyAuthorization)
    } else {
        request.uri.scheme().is_some() || request.uri.authority().is_some()
    };
    if forward { Entry::Forward } else { Entry::Reverse }
}
