//! Which of the three paths a request takes.

use http::{Method, Request, Version, header::PROXY_AUTHORIZATION};

/// The path of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entry {
    Connect,
    Forward,
    Reverse,
}

/// Told by the method and the form of the target; over HTTP/2, which has no such forms, by the credentials.
pub(crate) fn entry<B>(request: &Request<B>) -> Entry {
    if request.method() == Method::CONNECT {
        return Entry::Connect;
    }
    let forward = if request.version() == Version::HTTP_2 {
        request.headers().contains_key(PROXY_AUTHORIZATION)
    } else {
        request.uri().scheme().is_some() || request.uri().authority().is_some()
    };
    if forward { Entry::Forward } else { Entry::Reverse }
}
