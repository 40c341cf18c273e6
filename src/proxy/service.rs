//! One request, whichever HTTP it came by: the path that it takes, and what is left of it when it panics.

use std::{panic::AssertUnwindSafe, sync::Arc};

use futures_util::FutureExt;

use super::{
    answer,
    client::Client,
    entry::{self, Entry},
    exchange,
    message::{Request, Response},
    tunnel::{self, Tunnel},
    worker::Worker,
};
use crate::model::ResinError;

/// The answer, and the tunnel that follows its head.
pub(crate) struct Served {
    pub(crate) response: Response,
    pub(crate) tunnel: Option<Box<Tunnel>>,
}

impl From<Response> for Served {
    fn from(response: Response) -> Self {
        Self { response, tunnel: None }
    }
}

/// Serves a request.
pub(crate) fn serve(
    worker: &Arc<Worker>,
    client: &Arc<Client>,
    request: Request,
) -> impl Future<Output = Served> {
    let entry = entry::entry(&request);
    survive(entry, async move {
        match entry {
            Entry::Connect => Box::pin(tunnel::serve(worker, client, request)).await,
            Entry::Forward | Entry::Reverse => exchange::serve(worker, client, request, entry).await,
        }
    })
}

/// A defect of ours in one request is that request's alone. (It takes a future in and is no `async fn`: that would hold
/// it twice.)
fn survive(entry: Entry, serve: impl Future<Output = Served>) -> impl Future<Output = Served> {
    AssertUnwindSafe(serve).catch_unwind().map(move |served| {
        served.unwrap_or_else(|_| {
            tracing::error!("a request ended in a panic; it was answered with 500");
            answer::refuse(ResinError::InternalError, entry, None).into()
        })
    })
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;

    #[tokio::test]
    async fn a_panic_in_a_request_is_answered_and_goes_no_further() {
        let broken = async { panic!("a defect") };
        let Served { response, .. } = survive(Entry::Forward, broken).await;
        assert_eq!(response.status, StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(response.fields.written("x-resin-error"), Some(&b"INTERNAL_ERROR"[..]));
    }
}
