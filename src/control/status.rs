//! One table from error to gRPC status. INVALID_ARGUMENT carries every field violation, all others an `ErrorInfo`.

use std::{any::Any, collections::HashMap, time::Duration};

use http_body_util::Full;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt};

use crate::store::{StoreError, WriteError};

const DOMAIN: &str = "resin";
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// What is wrong with a request, field by field.
#[derive(Debug, Default)]
pub(super) struct Violations(Vec<FieldViolation>);

impl Violations {
    pub(super) fn add(&mut self, field: impl Into<String>, what: impl Into<String>) {
        self.0.push(FieldViolation::new(field, what));
    }

    /// The value, or what is wrong with it.
    pub(super) fn take<T, E: std::fmt::Display>(&mut self, field: &str, parsed: Result<T, E>) -> Option<T> {
        parsed.map_err(|error| self.add(field, error.to_string())).ok()
    }

    /// All of them at once, if there are any.
    pub(super) fn check(self) -> Result<(), Status> {
        if self.0.is_empty() {
            return Ok(());
        }
        let all: Vec<String> = self
            .0
            .iter()
            .map(|violation| format!("{}: {}", violation.field, violation.description))
            .collect();
        let details = ErrorDetails::with_bad_request(self.0);
        Err(Status::with_error_details(Code::InvalidArgument, all.join("; "), details))
    }

    /// A single one.
    pub(super) fn one(field: &str, what: impl Into<String>) -> Status {
        let mut violations = Self::default();
        violations.add(field, what);
        violations.check().err().unwrap_or_else(|| Status::internal("no violation"))
    }
}

pub(super) fn not_found(what: &str, which: &str) -> Status {
    with_info(Code::NotFound, "NOT_FOUND", format!("there is no {what} {which}"), &[("resource", which)])
}

pub(super) fn unauthenticated(reason: &str, message: &str) -> Status {
    with_info(Code::Unauthenticated, reason, message.to_owned(), &[])
}

/// For a platform called `name`.
pub(super) fn of_write(error: WriteError, name: &str) -> Status {
    let named = [("platform", name)];
    match error {
        WriteError::NotFound => not_found("platform", name),
        WriteError::NameInUse => {
            with_info(Code::AlreadyExists, "NAME_IN_USE", format!("the name {name} is in use"), &named)
        }
        WriteError::DefaultProtected => {
            with_info(Code::FailedPrecondition, "DEFAULT_PLATFORM_PROTECTED", error.to_string(), &named)
        }
        WriteError::StaleEtag => {
            let message = "the etag is not the current one: read the platform again, then decide";
            with_info(Code::Aborted, "ETAG_STALE", message.to_owned(), &named)
        }
        WriteError::Store(error) => of_store(&error),
    }
}

pub(super) fn of_store(error: &StoreError) -> Status {
    if error.is_unavailable() {
        tracing::warn!(%error, "a call failed because the database is away");
        let message = "the database is not available for the moment";
        let mut details = info("DATABASE_UNAVAILABLE", &[]);
        details.set_retry_info(Some(RETRY_DELAY));
        return Status::with_error_details(Code::Unavailable, message, details);
    }
    tracing::error!(%error, "a call failed");
    with_info(Code::Internal, "INTERNAL", "a defect of the server; its log says more".to_owned(), &[])
}

/// A handler panicked: the caller gets an answer all the same.
pub(super) fn of_panic(_: Box<dyn Any + Send + 'static>) -> http::Response<Full<bytes::Bytes>> {
    Status::internal("a defect of the server; its log says more").into_http()
}

fn with_info(code: Code, reason: &str, message: String, metadata: &[(&str, &str)]) -> Status {
    Status::with_error_details(code, message, info(reason, metadata))
}

fn info(reason: &str, metadata: &[(&str, &str)]) -> ErrorDetails {
    let metadata: HashMap<String, String> =
        metadata.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    ErrorDetails::with_error_info(reason, DOMAIN, metadata)
}
