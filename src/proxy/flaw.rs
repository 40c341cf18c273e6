//! Why bytes of a client's are not read as a request.

use std::borrow::Cow;

use http::StatusCode;

use super::http1::HeadLimits;
use crate::model::ResinError;

/// What is wrong, in the words of the answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Flaw {
    pub(crate) status: StatusCode,
    pub(crate) code: Option<ResinError>,
    pub(crate) sentence: Cow<'static, str>,
}

impl Flaw {
    pub(crate) fn malformed(sentence: impl Into<Cow<'static, str>>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, code: None, sentence: sentence.into() }
    }

    pub(crate) fn host(sentence: impl Into<Cow<'static, str>>) -> Self {
        Self { code: Some(ResinError::InvalidHost), ..Self::malformed(sentence) }
    }

    pub(crate) fn path(sentence: impl Into<Cow<'static, str>>) -> Self {
        Self { code: Some(ResinError::UrlParseError), ..Self::malformed(sentence) }
    }

    pub(crate) fn long_line(limits: HeadLimits) -> Self {
        let sentence =
            format!("the request line is longer than {} bytes (RESIN_MAX_REQUEST_LINE)", limits.line);
        Self { status: StatusCode::URI_TOO_LONG, ..Self::malformed(sentence) }
    }

    pub(crate) fn large_head(limits: HeadLimits) -> Self {
        let sentence = format!("the head is larger than {} bytes (RESIN_MAX_HEADER_BYTES)", limits.bytes);
        Self { status: StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, ..Self::malformed(sentence) }
    }

    pub(crate) fn many_fields(limits: HeadLimits) -> Self {
        let sentence = format!("the head has more than {} fields (RESIN_MAX_HEADERS)", limits.fields);
        Self { status: StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, ..Self::malformed(sentence) }
    }

    pub(crate) fn slow_body() -> Self {
        let sentence = "nothing more of the request's body came (RESIN_IDLE_TIMEOUT)";
        Self { status: StatusCode::REQUEST_TIMEOUT, ..Self::malformed(sentence) }
    }

    pub(crate) fn slow_head() -> Self {
        let sentence = "the head did not come in time (RESIN_HEADER_TIMEOUT)";
        Self { status: StatusCode::REQUEST_TIMEOUT, ..Self::malformed(sentence) }
    }
}
