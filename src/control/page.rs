//! Pages and places: sizes, page tokens that are bound to their filter, stream cursors. All opaque to callers.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use prost::Message;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::status::Violations;
use crate::store::Cursor;

const DEFAULT_SIZE: usize = 100;
const LARGEST_SIZE: usize = 1000;
/// Clients refuse a message beyond 4 MiB unless they were told otherwise.
const LARGEST_MESSAGE: usize = 2 * 1024 * 1024;
const CURSOR_VERSION: u8 = 1;

/// 0 is the default, too many is the most.
pub(crate) fn size(page_size: i32, violations: &mut Violations) -> usize {
    match usize::try_from(page_size) {
        Ok(0) => DEFAULT_SIZE,
        Ok(size) => size.min(LARGEST_SIZE),
        Err(_) => {
            violations.add(
                "page_size",
                format!("{page_size} is negative; 0 (the default) to {LARGEST_SIZE} are allowed"),
            );
            DEFAULT_SIZE
        }
    }
}

/// A token for the page behind `place`, good only with the same `filter`.
pub(crate) fn token(filter: &[u8], place: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode([&check(filter, place), place].concat())
}

/// The place that a token stands for; none for the first page.
pub(crate) fn place(page_token: &str, filter: &[u8], violations: &mut Violations) -> Option<Vec<u8>> {
    if page_token.is_empty() {
        return None;
    }
    let bytes = URL_SAFE_NO_PAD.decode(page_token).ok();
    let parts = bytes.as_deref().and_then(|bytes| bytes.split_at_checked(8));
    let place =
        parts.filter(|(given, place)| *given == check(filter, place)).map(|(_, place)| place.to_vec());
    violations.take("page_token", place.ok_or("not a next_page_token of a call with the same filter"))
}

/// Keeps as many as fit into one message, one at least; says whether any had to go.
pub(super) fn cut<T: Message>(items: &mut Vec<T>) -> bool {
    let mut left = LARGEST_MESSAGE;
    let fitting = items.iter().take_while(|item| {
        // A tag and a length before each.
        let size = item.encoded_len() + 6;
        let fits = size <= left;
        left = left.saturating_sub(size);
        fits
    });
    let keep = fitting.count().max(1);
    let is_cut = keep < items.len();
    items.truncate(keep);
    is_cut
}

fn check(filter: &[u8], place: &[u8]) -> [u8; 8] {
    let mut hash = Sha256::new();
    hash.update((filter.len() as u64).to_be_bytes());
    hash.update(filter);
    hash.update(place);
    let mut first = [0; 8];
    first.copy_from_slice(&hash.finalize()[..8]);
    first
}

/// The place of a record in the order of newest first.
pub(crate) fn record_place(started_at: SystemTime, id: Uuid) -> Vec<u8> {
    let micros = started_at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64);
    [&micros.to_be_bytes()[..], id.as_bytes()].concat()
}

pub(crate) fn read_record_place(place: &[u8]) -> Option<(SystemTime, Uuid)> {
    let (micros, id) = place.split_at_checked(8)?;
    let micros = u64::from_be_bytes(micros.try_into().ok()?);
    Some((UNIX_EPOCH + Duration::from_micros(micros), Uuid::from_slice(id).ok()?))
}

/// A stream's cursor as callers see it.
pub(crate) fn show_cursor(cursor: Cursor) -> String {
    let mut bytes = vec![CURSOR_VERSION];
    bytes.extend(cursor.xid.to_be_bytes());
    bytes.extend(cursor.seq.to_be_bytes());
    let check = check(b"cursor", &bytes);
    bytes.extend(&check[..4]);
    URL_SAFE_NO_PAD.encode(bytes)
}

pub(crate) fn read_cursor(text: &str, violations: &mut Violations) -> Option<Cursor> {
    violations.take("cursor", cursor(text).ok_or("not a cursor of an earlier answer"))
}

fn cursor(text: &str) -> Option<Cursor> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    let (said, given) = bytes.split_at_checked(17)?;
    if said[0] != CURSOR_VERSION || given != &check(b"cursor", said)[..4] {
        return None;
    }
    let (xid, seq) = said[1..].split_at(8);
    Some(Cursor {
        xid: u64::from_be_bytes(xid.try_into().ok()?),
        seq: i64::from_be_bytes(seq.try_into().ok()?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_good_only_with_its_own_filter() {
        let read = |token: &str, filter: &[u8]| {
            let mut violations = Violations::default();
            let place = place(token, filter, &mut violations);
            violations.check().map(|()| place)
        };
        let token = token(b"filter", b"place");
        assert_eq!(read(&token, b"filter").unwrap().as_deref(), Some(&b"place"[..]));
        assert!(read(&token, b"other").is_err());
        for wrong in ["x", "AAAA", "%%%", &token[1..], &format!("{token}A")] {
            assert!(read(wrong, b"filter").is_err(), "{wrong}");
        }
        assert_eq!(read("", b"filter").unwrap(), None);
    }

    #[test]
    fn a_cursor_is_read_back_and_anything_else_is_refused() {
        for place in [Cursor::START, Cursor { xid: u64::MAX, seq: i64::MAX }, Cursor { xid: 7, seq: -1 }] {
            assert_eq!(cursor(&show_cursor(place)), Some(place));
        }
        let shown = show_cursor(Cursor { xid: 1, seq: 2 });
        for wrong in ["", "x", &shown[1..], &shown.replace('A', "B"), &format!("{shown}AA")] {
            assert_eq!(cursor(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_message_is_cut_where_it_would_be_too_large_and_keeps_one_at_least() {
        let items = |count: usize, bytes: usize| vec!["x".repeat(bytes); count];
        for (mut given, kept) in [
            (items(0, 1), 0),
            (items(9, 1), 9),
            (items(3, LARGEST_MESSAGE / 2), 1),
            (items(2, LARGEST_MESSAGE), 1),
        ] {
            let before = given.len();
            assert_eq!(cut(&mut given), kept < before);
            assert_eq!(given.len(), kept);
        }
    }
}
