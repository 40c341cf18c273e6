//! What an answer's fields say about where it ends, and about its connection.

use std::time::Duration;

use http::{
    HeaderName, HeaderValue, Version,
    header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING},
};

/// Taken down field by field.
#[derive(Debug, Default)]
pub(super) struct Said {
    pub(super) lengths: u32,
    /// The last of them, where it is a number.
    pub(super) length: Option<u64>,
    pub(super) codings: u32,
    chunked: bool,
    pub(super) close: bool,
    /// How long a connection is used after `Keep-Alive: timeout=N`: a request that is sent at the end of the peer's
    /// patience would be lost.
    pub(super) idle_limit: Option<Duration>,
}

impl Said {
    pub(super) fn note(&mut self, name: &HeaderName, value: &HeaderValue) {
        match *name {
            CONTENT_LENGTH => {
                self.lengths += 1;
                self.length = number(value);
            }
            TRANSFER_ENCODING => {
                self.codings += 1;
                self.chunked = value.as_bytes().eq_ignore_ascii_case(b"chunked");
            }
            CONNECTION => {
                self.close |= has_token(value.as_bytes(), b"close");
            }
            _ if name.as_str() == "keep-alive" && self.idle_limit.is_none() => {
                self.idle_limit = announced_limit(value);
            }
            _ => {}
        }
    }

    /// Why nobody can be sure where the answer ends (RFC 9112, section 6.3): others would take one of the readings.
    pub(super) fn is_ambiguous(&self, version: Version) -> Option<&'static str> {
        match (self.lengths, self.codings) {
            (0, 0) => None,
            (1, 0) if self.length.is_some() => None,
            (_, 0) => Some("the answer's Content-Length is not one number"),
            (0, 1) if !self.chunked => Some("the answer's Transfer-Encoding is not chunked alone"),
            (0, 1) if version != Version::HTTP_11 => Some("an answer of HTTP/1.0 has no Transfer-Encoding"),
            (0, 1) => None,
            (0, _) => Some("the answer's Transfer-Encoding is not chunked alone"),
            (_, _) => Some("the answer has a Content-Length beside its Transfer-Encoding"),
        }
    }
}

/// Whether a list of tokens has this one.
pub(crate) fn has_token(list: &[u8], token: &[u8]) -> bool {
    list.split(|byte| *byte == b',').any(|found| found.trim_ascii().eq_ignore_ascii_case(token))
}

fn number(value: &HeaderValue) -> Option<u64> {
    let text = value.to_str().ok()?;
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

fn announced_limit(value: &HeaderValue) -> Option<Duration> {
    let seconds = value.to_str().ok()?.split(',').find_map(|part| {
        let (name, seconds) = part.split_once('=')?;
        name.trim().eq_ignore_ascii_case("timeout").then(|| seconds.trim().parse::<u32>().ok())?
    })?;
    let limit = Duration::from_secs(seconds.into());
    Some(limit - (limit / 2).min(Duration::from_secs(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_can_be_ended_in_two_places_is_told() {
        let (length, coding) = ("content-length", "transfer-encoding");
        type Row<'t> = (Version, &'t [(&'static str, &'static str)], bool);
        let table: [Row<'_>; 14] = [
            (Version::HTTP_11, &[], false),
            (Version::HTTP_11, &[(length, "5")], false),
            (Version::HTTP_10, &[(length, "0")], false),
            (Version::HTTP_11, &[(coding, "chunked")], false),
            (Version::HTTP_11, &[(coding, "Chunked")], false),
            (Version::HTTP_11, &[(length, "5"), (coding, "chunked")], true),
            (Version::HTTP_11, &[(length, "5"), (length, "5")], true),
            (Version::HTTP_11, &[(length, "5, 5")], true),
            (Version::HTTP_11, &[(length, "+5")], true),
            (Version::HTTP_11, &[(length, "")], true),
            (Version::HTTP_11, &[(coding, "gzip, chunked")], true),
            (Version::HTTP_11, &[(coding, "gzip"), (coding, "chunked")], true),
            (Version::HTTP_11, &[(coding, "identity")], true),
            (Version::HTTP_10, &[(coding, "chunked")], true),
        ];
        for (version, fields, told) in table {
            let mut said = Said::default();
            for (name, value) in fields {
                said.note(&HeaderName::from_static(name), &HeaderValue::from_static(value));
            }
            assert_eq!(said.is_ambiguous(version).is_some(), told, "{version:?} {fields:?}");
        }
    }

    #[test]
    fn a_peers_patience_is_kept_with_something_to_spare() {
        for (value, limit) in [
            ("timeout=5, max=100", Some(4000)),
            ("max=3,Timeout = 60", Some(59_000)),
            ("timeout=1", Some(500)),
            ("timeout=0", Some(0)),
            ("timeout=soon", None),
            ("max=3", None),
        ] {
            let mut said = Said::default();
            said.note(&HeaderName::from_static("keep-alive"), &HeaderValue::from_static(value));
            assert_eq!(said.idle_limit, limit.map(Duration::from_millis), "{value}");
        }
    }
}
