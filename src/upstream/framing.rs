//! What an answer's fields say about where it ends, and about its connection.

use std::{str, time::Duration};

use crate::model::Name;

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
    pub(super) fn note(&mut self, name: Name, value: &[u8]) {
        match name {
            Name::ContentLength => {
                self.lengths += 1;
                self.length = number(value);
            }
            Name::TransferEncoding => {
                self.codings += 1;
                self.chunked = value.eq_ignore_ascii_case(b"chunked");
            }
            Name::Connection => self.close |= has_token(value, b"close"),
            Name::KeepAlive if self.idle_limit.is_none() => self.idle_limit = announced_limit(value),
            _ => {}
        }
    }

    /// Why nobody can be sure where the answer ends (RFC 9112, section 6.3): others would take one of the readings.
    pub(super) fn is_ambiguous(&self, old: bool) -> Option<&'static str> {
        match (self.lengths, self.codings) {
            (0, 0) => None,
            (1, 0) if self.length.is_some() => None,
            (_, 0) => Some("the answer's Content-Length is not one number"),
            (0, 1) if !self.chunked => Some("the answer's Transfer-Encoding is not chunked alone"),
            (0, 1) if old => Some("an answer of HTTP/1.0 has no Transfer-Encoding"),
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

fn number(value: &[u8]) -> Option<u64> {
    let text = str::from_utf8(value).ok()?;
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

fn announced_limit(value: &[u8]) -> Option<Duration> {
    let seconds = str::from_utf8(value).ok()?.split(',').find_map(|part| {
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
        type Row<'t> = (bool, &'t [(&'static str, &'static str)], bool);
        let table: [Row<'_>; 14] = [
            (false, &[], false),
            (false, &[(length, "5")], false),
            (true, &[(length, "0")], false),
            (false, &[(coding, "chunked")], false),
            (false, &[(coding, "Chunked")], false),
            (false, &[(length, "5"), (coding, "chunked")], true),
            (false, &[(length, "5"), (length, "5")], true),
            (false, &[(length, "5, 5")], true),
            (false, &[(length, "+5")], true),
            (false, &[(length, "")], true),
            (false, &[(coding, "gzip, chunked")], true),
            (false, &[(coding, "gzip"), (coding, "chunked")], true),
            (false, &[(coding, "identity")], true),
            (true, &[(coding, "chunked")], true),
        ];
        for (old, fields, told) in table {
            let mut said = Said::default();
            for (name, value) in fields {
                said.note(Name::of(name.as_bytes()), value.as_bytes());
            }
            assert_eq!(said.is_ambiguous(old).is_some(), told, "{old} {fields:?}");
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
            said.note(Name::KeepAlive, value.as_bytes());
            assert_eq!(said.idle_limit, limit.map(Duration::from_millis), "{value}");
        }
    }
}
