//! A request's body, read from its client's connection when somebody asks for it.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::{proxy::client::Client, upstream::BrokenOff};

/// The body of one request. A later request's is never read through it.
pub(super) struct RequestBody {
    client: Arc<Client>,
    number: u64,
    /// The client waits to be told to go on.
    expects_continue: bool,
}

impl RequestBody {
    pub(super) fn new(client: Arc<Client>, number: u64, expects_continue: bool) -> Self {
        Self { client, number, expects_continue }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        let Self { client, number, expects_continue } = &mut *self;
        client.inbound().poll_body(cx, *number, || {
            if std::mem::take(expects_continue) {
                client.say_ahead(|ahead| ahead.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n"));
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.client.inbound().is_body_over(self.number)
    }

    fn size_hint(&self) -> SizeHint {
        self.client.inbound().body_size(self.number)
    }
}
