//! One table from error to gRPC status. INVALID_ARGUMENT carries every field violation, all others an `ErrorInfo`.

use std::{any::Any, collections::HashMap, time::Duration};

use http_body_util::Full;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt};

use crate::store::{StoreError, WriteError};

const DOMAIN: &str = "resin";
const RETRY_DELAY: Duration = Duration::from_secs(1);
/// A status travels in headers, its details in base64, and clients accept as little as 8 KiB of them: hyper ends the
/// whole connection over more. These are the shares, in bytes, of violations, of the message, and of a text that is the
/// caller's own.
const MOST_DETAILS: usize = 3584;
const MOST_MESSAGE: usize = 512;
const MOST_QUOTED: usize = 256;
const DEFECT: &str = "a defect of the server; its log says more";

/// What is wrong with a request, field by field.
#[derive(Debug, Default)]
pub(crate) struct Violations(Vec<FieldViolation>);

impl Violations {
    pub(crate) fn add(&mut self, field: impl Into<String>, what: impl Into<String>) {
        self.0.push(FieldViolation::new(field, clipped(&what.into())));
    }

    /// The value, or what is wrong with it.
    pub(crate) fn take<T, E: std::fmt::Display>(&mut self, field: &str, parsed: Result<T, E>) -> Option<T> {
        parsed.map_err(|error| self.add(field, error.to_string())).ok()
    }

    /// All of them at once, if there are any: those that fit, and how many more there were.
    pub(crate) fn check(self) -> Result<(), Status> {
        if self.0.is_empty() {
            return Ok(());
        }
        let count = self.0.len();
        let mut told = self.0;
        let mut left = MOST_DETAILS;
        let fitting = told.iter().take_while(|violation| {
            // Two tags and lengths in the violation, one in the list.
            let size = violation.field.len() + violation.description.len() + 9;
            let fits = size <= left;
            left = left.saturating_sub(size);
            fits
        });
        told.truncate(fitting.count());
        let message = summary(&told, count);
        Err(Status::with_error_details(Code::InvalidArgument, message, ErrorDetails::with_bad_request(told)))
    }

    /// A single one.
    pub(super) fn one(field: &str, what: impl Into<String>) -> Status {
        let mut violations = Self::default();
        violations.add(field, what);
        violations.check().err().unwrap_or_else(|| Status::internal("no violation"))
    }
}

/// The violations as one line, as far as it may go.
fn summary(told: &[FieldViolation], count: usize) -> String {
    let mut line = String::new();
    let mut said = 0;
    for violation in told {
        let next = format!("{}: {}", violation.field, violation.description);
        if said > 0 && line.len() + next.len() > MOST_MESSAGE {
            break;
        }
        let glue = if said > 0 { "; " } else { "" };
        line = line + glue + &next;
        said += 1;
    }
    if said < count {
        line += &format!("; and {} more", count - said);
    }
    line
}

/// The beginning of a text that may be of any length.
fn clipped(text: &str) -> String {
    if text.len() <= MOST_QUOTED {
        return text.to_owned();
    }
    let end = (0..=MOST_QUOTED).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    format!("{}…", &text[..end])
}

pub(super) fn not_found(what: &str, which: &str) -> Status {
    let which = clipped(which);
    with_info(Code::NotFound, "NOT_FOUND", format!("there is no {what} {which}"), &[("resource", &which)])
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
    with_info(Code::Internal, "INTERNAL", DEFECT.to_owned(), &[])
}

/// A handler panicked: the caller gets an answer all the same.
pub(super) fn of_panic(_: Box<dyn Any + Send + 'static>) -> http::Response<Full<bytes::Bytes>> {
    with_info(Code::Internal, "INTERNAL", DEFECT.to_owned(), &[]).into_http()
}

fn with_info(code: Code, reason: &str, message: String, metadata: &[(&str, &str)]) -> Status {
    Status::with_error_details(code, message, info(reason, metadata))
}

fn info(reason: &str, metadata: &[(&str, &str)]) -> ErrorDetails {
    let metadata: HashMap<String, String> =
        metadata.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    ErrorDetails::with_error_info(reason, DOMAIN, metadata)
}
