//! `PlatformService`.

use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::{
    Control, convert, page,
    status::{self, Violations},
    watch,
};
use crate::{
    model::{MAX_RETRIES, NodeFilter, Platform, PlatformName},
    proto::{
        self, DeletePlatformRequest, DeletePlatformResponse, GetPlatformRequest, ListPlatformsRequest,
        ListPlatformsResponse, UpsertPlatformRequest, WatchPlatformsRequest, WatchPlatformsResponse,
        delete_platform_request, get_platform_request, platform_service_server::PlatformService,
    },
    routing::Pool,
    store::{PlatformChange, PlatformKey, WriteError},
};

const MOST_FILTERS: usize = 64;
const WRITABLE: [&str; 3] = ["name", "regex_filters", "max_retries"];

pub(super) struct Platforms {
    control: Control,
    stop: CancellationToken,
}

impl Platforms {
    pub(super) fn new(control: Control, stop: CancellationToken) -> Self {
        Self { control, stop }
    }

    /// As it is in force here, which counts its nodes; or as it would be.
    fn show(&self, platform: &Platform) -> proto::Platform {
        let snapshot = self.control.directory.current();
        let routable = snapshot.nodes().filter(|node| platform.admits(node)).count();
        convert::platform(platform, routable)
    }
}

#[tonic::async_trait]
impl PlatformService for Platforms {
    async fn upsert_platform(
        &self,
        request: Request<UpsertPlatformRequest>,
    ) -> Result<Response<proto::Platform>, Status> {
        let request = request.into_inner();
        let change = change(&request, self.control.default_max_retries)?;
        let name = request.platform.map_or(String::new(), |platform| {
            if platform.name.is_empty() { platform.id } else { platform.name.trim().to_owned() }
        });
        let written = self.control.store.upsert_platform(change, request.validate_only).await;
        let written = written.map_err(|error| status::of_write(error, &name))?;
        if !request.validate_only {
            self.control.changes.reload().await.map_err(|error| status::of_store(&error))?;
        }
        Ok(Response::new(self.show(&written)))
    }

    async fn get_platform(
        &self,
        request: Request<GetPlatformRequest>,
    ) -> Result<Response<proto::Platform>, Status> {
        let snapshot = self.control.directory.current();
        let (found, which) = match request.into_inner().key {
            Some(get_platform_request::Key::Name(name)) => (snapshot.platform(&name), name),
            Some(get_platform_request::Key::Id(id)) => (snapshot.platform_by_id(uuid("id", &id)?), id),
            None => return Err(Violations::one("key", NO_KEY)),
        };
        let pool = found.ok_or_else(|| status::not_found("platform", &which))?;
        Ok(Response::new(convert::platform(&pool.platform, pool.nodes.len())))
    }

    async fn list_platforms(
        &self,
        request: Request<ListPlatformsRequest>,
    ) -> Result<Response<ListPlatformsResponse>, Status> {
        let ListPlatformsRequest { page_size, page_token } = request.into_inner();
        let mut violations = Violations::default();
        let size = page::size(page_size, &mut violations);
        let after = page::place(&page_token, b"platforms", &mut violations);
        violations.check()?;
        let snapshot = self.control.directory.current();
        let mut pools: Vec<_> = snapshot.platforms().collect();
        pools.sort_by(|a, b| a.name.cmp(&b.name));
        if let Some(after) = after {
            pools.retain(|pool| pool.name.as_bytes() > &after[..]);
        }
        let more = pools.len() > size;
        pools.truncate(size);
        let show = |pool: &std::sync::Arc<Pool>| convert::platform(&pool.platform, pool.nodes.len());
        let mut platforms: Vec<_> = pools.into_iter().map(show).collect();
        let more = page::cut(&mut platforms) || more;
        let next = platforms.last().filter(|_| more);
        let next = next.map(|last| page::token(b"platforms", last.name.as_bytes()));
        Ok(Response::new(ListPlatformsResponse { platforms, next_page_token: next.unwrap_or_default() }))
    }

    async fn delete_platform(
        &self,
        request: Request<DeletePlatformRequest>,
    ) -> Result<Response<DeletePlatformResponse>, Status> {
        let DeletePlatformRequest { key, etag, allow_missing } = request.into_inner();
        let (key, which) = match key {
            Some(delete_platform_request::Key::Name(name)) => (PlatformKey::Name(name.clone()), name),
            Some(delete_platform_request::Key::Id(id)) => (PlatformKey::Id(uuid("id", &id)?), id),
            None => return Err(Violations::one("key", NO_KEY)),
        };
        let etag = Some(etag).filter(|etag| !etag.is_empty());
        let deleted = if which.contains('\0') {
            // PostgreSQL takes none, so there is no such platform.
            Err(WriteError::NotFound)
        } else {
            self.control.store.delete_platform(key, etag).await
        };
        match deleted {
            Err(WriteError::NotFound) if allow_missing => {}
            deleted => deleted.map_err(|error| status::of_write(error, &which))?,
        }
        self.control.changes.reload().await.map_err(|error| status::of_store(&error))?;
        Ok(Response::new(DeletePlatformResponse {}))
    }

    type WatchPlatformsStream = ReceiverStream<Result<WatchPlatformsResponse, Status>>;

    async fn watch_platforms(
        &self,
        _: Request<WatchPlatformsRequest>,
    ) -> Result<Response<Self::WatchPlatformsStream>, Status> {
        Ok(Response::new(watch::platforms(&self.control.directory, self.stop.clone())))
    }
}

const NO_KEY: &str = "one of name and id is needed";

fn uuid(field: &str, text: &str) -> Result<Uuid, Status> {
    Uuid::parse_str(text).map_err(|_| Violations::one(field, "not a UUID"))
}

/// What the request wants changed, or everything that is wrong with it.
pub(super) fn change(
    request: &UpsertPlatformRequest,
    default_max_retries: i32,
) -> Result<PlatformChange, Status> {
    let mut violations = Violations::default();
    let Some(given) = &request.platform else { return Err(Violations::one("platform", "is required")) };
    let mask = mask(request, &mut violations);
    let named = |field: &str| mask.as_ref().is_none_or(|mask| mask.contains(&field));

    let id = Some(&given.id).filter(|id| !id.is_empty());
    let id = id.and_then(|id| violations.take("platform.id", Uuid::parse_str(id).map_err(|_| "not a UUID")));
    let by_id = !given.id.is_empty();
    // The name is the key where there is no id; otherwise it is a field like others.
    let name_matters = if by_id { named("name") && (mask.is_some() || !given.name.is_empty()) } else { true };
    let name =
        name_matters.then(|| violations.take("platform.name", PlatformName::parse(&given.name))).flatten();

    if given.regex_filters.len() > MOST_FILTERS {
        let count = given.regex_filters.len();
        violations
            .add("platform.regex_filters", format!("{count} filters; at most {MOST_FILTERS} are allowed"));
    }
    let mut filters = Vec::new();
    for (at, text) in given.regex_filters.iter().enumerate() {
        let field = format!("platform.regex_filters[{at}]");
        if text.contains('\0') {
            // No tag has one, and PostgreSQL takes none.
            violations.add(field, "contains a NUL character");
        } else {
            filters.extend(violations.take(&field, NodeFilter::parse(text)));
        }
    }
    if let Some(retries) = given.max_retries.filter(|retries| !(0..=MAX_RETRIES).contains(retries)) {
        violations.add("platform.max_retries", format!("{retries} is not from 0 to {MAX_RETRIES}"));
    }
    violations.check()?;
    let max_retries = match (given.max_retries, &mask) {
        (Some(retries), _) => Some(retries),
        // Named, but absent: back to the default.
        (None, Some(_)) => Some(default_max_retries.clamp(0, MAX_RETRIES)),
        (None, None) => None,
    };
    Ok(PlatformChange {
        id,
        name,
        filters: Some(filters)
            .filter(|filters| named("regex_filters") && (mask.is_some() || !filters.is_empty())),
        max_retries: max_retries.filter(|_| named("max_retries")),
        default_max_retries,
        etag: Some(given.etag.clone()).filter(|etag| !etag.is_empty()),
    })
}

/// The fields that may change; none where there is no mask.
fn mask<'a>(request: &'a UpsertPlatformRequest, violations: &mut Violations) -> Option<Vec<&'a str>> {
    let mask = request.update_mask.as_ref().filter(|mask| !mask.paths.is_empty())?;
    if mask.paths.iter().any(|path| path == "*") {
        return Some(WRITABLE.to_vec());
    }
    for path in &mask.paths {
        if !WRITABLE.contains(&path.as_str()) {
            violations.add("update_mask", format!("{path:?} cannot be changed; {} can", WRITABLE.join(", ")));
        }
    }
    Some(mask.paths.iter().map(String::as_str).collect())
}
