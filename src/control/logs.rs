//! `RequestLogService`.

use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::{
    convert, filter, page,
    status::{self, Violations},
    stream,
};
use crate::{
    proto::{
        GetRequestLogRequest, ListRequestLogsRequest, ListRequestLogsResponse, RequestLog,
        StreamRequestLogsRequest, StreamRequestLogsResponse, request_log_service_server::RequestLogService,
    },
    store::Store,
};

pub(super) struct RequestLogs {
    store: Store,
    stop: CancellationToken,
}

impl RequestLogs {
    pub(super) fn new(store: Store, stop: CancellationToken) -> Self {
        Self { store, stop }
    }
}

#[tonic::async_trait]
impl RequestLogService for RequestLogs {
    type StreamRequestLogsStream = ReceiverStream<Result<StreamRequestLogsResponse, Status>>;

    async fn stream_request_logs(
        &self,
        request: Request<StreamRequestLogsRequest>,
    ) -> Result<Response<Self::StreamRequestLogsStream>, Status> {
        let stream = stream::open(&self.store, request.into_inner(), self.stop.clone()).await?;
        Ok(Response::new(stream))
    }

    async fn list_request_logs(
        &self,
        request: Request<ListRequestLogsRequest>,
    ) -> Result<Response<ListRequestLogsResponse>, Status> {
        let ListRequestLogsRequest { filter: given, page_size, page_token } = request.into_inner();
        let mut violations = Violations::default();
        let size = page::size(page_size, &mut violations);
        let wanted = filter::parse(given.as_ref(), &mut violations);
        let bound_to = [b"request_logs", &filter::fingerprint(given.as_ref())[..]].concat();
        let place = page::place(&page_token, &bound_to, &mut violations);
        let before = place.and_then(|place| {
            let read = page::read_record_place(&place).ok_or("not a next_page_token");
            violations.take("page_token", read)
        });
        violations.check()?;
        let limit = i64::try_from(size + 1).unwrap_or(i64::MAX);
        let mut records =
            self.store.records(&wanted, before, limit).await.map_err(|error| status::of_store(&error))?;
        let more = records.len() > size;
        records.truncate(size);
        let places: Vec<_> = records.iter().map(|record| (record.started_at, record.id)).collect();
        let mut request_logs: Vec<_> = records.into_iter().map(convert::request_log).collect();
        let more = page::cut(&mut request_logs) || more;
        let last = request_logs.len().checked_sub(1).and_then(|last| places.get(last)).filter(|_| more);
        let next = last.map(|(started_at, id)| page::token(&bound_to, &page::record_place(*started_at, *id)));
        Ok(Response::new(ListRequestLogsResponse { request_logs, next_page_token: next.unwrap_or_default() }))
    }

    async fn get_request_log(
        &self,
        request: Request<GetRequestLogRequest>,
    ) -> Result<Response<RequestLog>, Status> {
        let text = request.into_inner().id;
        let id = Uuid::parse_str(&text).map_err(|_| Violations::one("id", "not a UUID"))?;
        let found = self.store.record(id).await.map_err(|error| status::of_store(&error))?;
        let record = found.ok_or_else(|| status::not_found("request log", &text))?;
        Ok(Response::new(convert::request_log(record)))
    }
}
